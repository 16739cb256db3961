//! A pipeline that stalls while a publisher sends as fast as it can: nothing is lost, and memory stays bounded.

mod support;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use support::flv::{self, Rules, Tag};
use support::own_process::{BETWEEN_LOOKS, resident_bytes, wait_until};
use support::pipeline::{DEADLINE, Recording, init};
use support::publishers::{self, Ffmpeg};

const PAUSE: Duration = Duration::from_secs(3);
/// What arrives at full speed, at the least.
const INPUT_BYTES: usize = 50_000_000;
const MAX_QUEUE_BYTES: usize = 4 << 20;
/// The marks of where a publisher begins and ends, 128 bytes each, always find room.
const MARKS: usize = 256;
/// Beside the queue: the connection's buffer (1 MiB), the message that waits for room and the one in the pipeline, and
/// what the allocator and the C libraries keep.
const BESIDE_THE_QUEUE: usize = 12 << 20;

/// The most that the process holds, looked at until this is dropped.
struct Watch {
    before: usize,
    peak: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn start() -> Watch {
        let before = resident_bytes();
        let watch = Watch {
            before,
            peak: Arc::new(AtomicUsize::new(before)),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let (peak, stop) = (watch.peak.clone(), watch.stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(resident_bytes(), Ordering::Relaxed);
                std::thread::sleep(BETWEEN_LOOKS);
            }
        });
        watch
    }

    fn growth(&self) -> usize {
        self.peak.load(Ordering::Relaxed) - self.before
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Runs one test at a time, as memory is that of the whole process; gives it a directory and a file to publish.
fn alone(test: impl FnOnce(&Path, Ffmpeg)) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    init();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let burst = publishers::write_burst_file(directory.path()).unwrap();
    test(directory.path(), Ffmpeg::Repeat(burst, 4));
}

/// Waits until the publisher was made to wait because the queue is full.
fn wait_for_backpressure(recording: &Recording) {
    let full = wait_until(DEADLINE, || recording.counter("backpressure-time") > 0);
    assert!(full, "the publisher never had to wait");
}

/// The end of a run: everything arrived, and the element never held more than it may. `arrive` waits for what is on its
/// way to the file when the pipeline has stopped.
fn insist_on_all(recording: Recording, growth: usize, sent: &[Tag], arrive: impl FnOnce()) {
    let bytes: usize = sent.iter().map(|tag| tag.body.len()).sum();
    assert!(bytes >= INPUT_BYTES, "only {bytes} bytes were sent");
    let largest = sent.iter().map(|tag| tag.body.len()).max().unwrap_or(0);
    assert!(largest < MAX_QUEUE_BYTES);

    let high_water = recording.counter("queue-high-water") as usize;
    println!(
        "{bytes} bytes in {} tags, the largest of {largest}: at most {high_water} in a queue of \
         {MAX_QUEUE_BYTES}, and {growth} more resident than before",
        sent.len()
    );
    assert!(high_water <= MAX_QUEUE_BYTES + MARKS, "{high_water}");
    assert!(growth <= MAX_QUEUE_BYTES + BESIDE_THE_QUEUE, "{growth}");
    assert_eq!(recording.counter("received"), sent.len() as u64);
    assert_eq!(recording.counter("pushed"), sent.len() as u64);

    recording.stop().unwrap();
    arrive();
    let captured = recording.read().unwrap();
    let comparison = flv::compare(sent, &captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

fn properties() -> String {
    format!("max-queue-bytes={MAX_QUEUE_BYTES}")
}

/// 2 ms for each tag are seconds in all.
#[test]
fn a_slow_consumer() {
    alone(|directory, input| {
        let output = directory.join("output.flv");
        let slow = "identity sleep-time=2000 !";
        let recording = Recording::prepare_to(&properties(), slow, &output.clone(), output)
            .and_then(Recording::play)
            .unwrap();
        let watch = Watch::start();
        let began = Instant::now();
        let publisher = input.publish(recording.port(), directory).unwrap();
        wait_for_backpressure(&recording);
        recording.wait_for_eos(DEADLINE).unwrap();
        let growth = watch.growth();
        // To read what was sent takes memory.
        let sent = publisher.finish().unwrap();
        assert!(began.elapsed() > Duration::from_secs(3), "not that slow");
        insist_on_all(recording, growth, &sent, || {});
    });
}

/// Nothing is read for seconds from the fifo that the pipeline writes to.
#[test]
fn a_consumer_that_pauses() {
    const BEFORE: u64 = 5_000_000;
    alone(|directory, input| {
        let (fifo, output) = (directory.join("fifo"), directory.join("output.flv"));
        make_fifo(&fifo);
        let (pause, pause_begins) = mpsc::channel();
        let (go_on, pause_is_over) = mpsc::channel();
        let reader = std::thread::spawn({
            let (fifo, output) = (fifo.clone(), output.clone());
            move || {
                let mut fifo = File::open(fifo).unwrap();
                let mut output = File::create(output).unwrap();
                io::copy(&mut (&mut fifo).take(BEFORE), &mut output).unwrap();
                pause.send(()).unwrap();
                pause_is_over.recv().unwrap();
                io::copy(&mut fifo, &mut output).unwrap();
            }
        });
        let recording = Recording::prepare_to(&properties(), "", &fifo, output)
            .and_then(Recording::play)
            .unwrap();
        // Dropped before the recording if this fails: filesink writes until somebody reads.
        let go_on = go_on;
        let watch = Watch::start();
        let publisher = input.publish(recording.port(), directory).unwrap();

        pause_begins.recv_timeout(DEADLINE).unwrap();
        wait_for_backpressure(&recording);
        let stalled = || Duration::from_nanos(recording.counter("backpressure-time"));
        // Also seen while it lasts.
        let until = stalled() + PAUSE;
        assert!(
            wait_until(DEADLINE, || stalled() >= until),
            "{:?}",
            stalled()
        );
        let bytes = recording.counter("queue-bytes") as usize;
        assert!(bytes > MAX_QUEUE_BYTES / 2, "{bytes} bytes in a full queue");
        let pushed = recording.counter("bytes");
        // The fifo and filesink have room for some more than was read.
        assert!(pushed < BEFORE + 1_000_000, "{pushed} bytes");
        go_on.send(()).unwrap();

        recording.wait_for_eos(DEADLINE).unwrap();
        let growth = watch.growth();
        // To read what was sent takes memory.
        let sent = publisher.finish().unwrap();
        insist_on_all(recording, growth, &sent, || reader.join().unwrap());
    });
}

fn make_fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a plain name");
    // SAFETY: the pointer is to a string that ends with 0 and lives on.
    let result = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}
