//! Whether the machine kept time. What synchronising sinks render depends on it: if the encoder, the server or the sink
//! had to wait for a processor for longer than the latency, frames are late, and rightly dropped.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Well below the element's default latency of 200 ms.
const STALL: Duration = Duration::from_millis(60);
/// Of the time in which somebody waited for a processor. What a test itself does keeps one of them busy at the most.
const SHORTAGE: f64 = 0.5;
const TICK: Duration = Duration::from_millis(5);
const ATTEMPTS: usize = 5;

/// Runs a test in which time matters, alone among those of its process, and again if it failed while the machine did
/// not keep time. A failure while it did is one.
pub fn in_real_time(test: impl Fn()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    for attempt in 1.. {
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
        let since = (Instant::now(), waited_for_processors());
        let (result, longest) = watched(&test);
        let waited = waited_for_processors().saturating_sub(since.1);
        let share = waited.as_secs_f64() / since.0.elapsed().as_secs_f64();
        match result {
            Ok(()) => return,
            Err(_) if (longest >= STALL || share >= SHORTAGE) && attempt < ATTEMPTS => {
                eprintln!(
                    "a thread woke up {longest:?} late, {share:.2} of the time was short of processors: again"
                );
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// For how long anybody on this machine did, since it started; 0 where the kernel does not tell.
fn waited_for_processors() -> Duration {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let some = pressure.lines().find(|line| line.starts_with("some"));
    let total = some.and_then(|line| line.rsplit_once("total="));
    let micros = total.and_then(|(_, number)| number.parse().ok());
    Duration::from_micros(micros.unwrap_or(0))
}

/// The result, and the longest time by which a thread woke up too late meanwhile.
fn watched(test: &impl Fn()) -> (thread::Result<()>, Duration) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let asleep = Instant::now();
                thread::sleep(TICK);
                longest = longest.max(asleep.elapsed().saturating_sub(TICK));
            }
            longest
        });
        let result = catch_unwind(AssertUnwindSafe(test));
        done.store(true, Ordering::Relaxed);
        (result, watch.join().expect("it only sleeps"))
    })
}
