//! What the process of the test itself uses, and whether one of its threads panicked.

use std::sync::Mutex;
use std::sync::Once;
use std::time::{Duration, Instant};

/// There is no event to wait for when a figure of a process changes.
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Waits until `is_so`, and says whether that came in time.
pub fn wait_until(deadline: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + deadline;
    while !is_so() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    true
}

/// What is behind each open descriptor, sorted.
pub fn descriptors() -> Vec<String> {
    let directory = std::fs::read_dir("/proc/self/fd").expect("Linux");
    let mut targets: Vec<String> = directory
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        // The directory that is being read.
        .filter(|target| !target.contains("/proc/"))
        .collect();
    targets.sort();
    targets
}

/// Resident memory in bytes.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .expect("the second field is the resident size in pages");
    // SAFETY: takes no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * usize::try_from(page).expect("a size")
}

/// Of all its threads, those that have ended included.
pub fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: an all-zero rusage is valid, and getrusage writes to nothing else.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on, every panic is noted, on whatever thread.
pub fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a foreign thread");
            PANICS.lock().unwrap().push(format!("{name}: {info}"));
            usual(info);
        }));
    });
}

/// Panics so far.
pub fn panics() -> Vec<String> {
    PANICS.lock().unwrap().clone()
}
