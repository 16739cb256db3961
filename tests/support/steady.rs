//! Whether the machine kept time. What synchronising sinks render depends on it: if the encoder, the server or the sink
//! had to wait for a processor for longer than the latency, frames are late, and rightly dropped.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// A sink that wakes up later than a packet of sound lasts (23 ms), and 5 ms more, drops the next one.
const STALL: Duration = Duration::from_millis(20);
/// Of the time in which somebody waited for a processor. What a test itself does keeps one of them busy at the most.
const SHORTAGE: f64 = 0.5;
const TICK: Duration = Duration::from_millis(5);
const ATTEMPTS: usize = 5;
/// That are made in any case: a sink's own thread may be kept from running unseen (52 ms, in one of fifteen runs on a busy
/// host, with the watches on time). What the element makes late is late each time.
const UNSEEN: usize = 3;

/// Runs a test in which time matters, alone among those of its process, and again if it failed while the machine did
/// not keep time.
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
            Err(_) if attempt < UNSEEN => eprintln!("again: {longest:?}, {share:.2}"),
            Err(_) if (longest >= STALL || share >= SHORTAGE) && attempt < ATTEMPTS => {
                eprintln!(
                    "a thread ran {longest:?} late, {share:.2} of the time was short of processors: again"
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

/// The result, and the longest time by which a thread woke up too late meanwhile, on any of the processors: a host may
/// take one away and leave the others.
fn watched(test: &impl Fn()) -> (thread::Result<()>, Duration) {
    let done = AtomicBool::new(false);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let watch = |processor| {
            let done = &done;
            scope.spawn(move || {
                stay_on(processor);
                let mut longest = Duration::ZERO;
                while !done.load(Ordering::Relaxed) {
                    let asleep = Instant::now();
                    thread::sleep(TICK);
                    longest = longest.max(asleep.elapsed().saturating_sub(TICK));
                }
                longest
            })
        };
        let watches: Vec<_> = (0..processors).map(watch).collect();
        let result = catch_unwind(AssertUnwindSafe(test));
        done.store(true, Ordering::Relaxed);
        let late = watches.into_iter().map(|w| w.join().expect("it sleeps"));
        (result, late.max().unwrap_or_default())
    })
}

/// The calling thread. Where it may not, it watches whichever it is on.
fn stay_on(processor: usize) {
    let mut processors = CpuSet::new();
    if processors.set(processor).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &processors);
    }
}
