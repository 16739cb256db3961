//! A process with many elements on one port, and publishers for them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::load::{Content, publish_in_real_time};
use super::support::station::{self, Station};

pub const BITS_PER_SECOND: usize = 2_000_000;
/// How many times an element is restarted beside others.
pub const RESTARTS: usize = 50;

pub fn key(n: usize) -> String {
    format!("cam{n}")
}

/// Elements with a key each, all on one port.
pub fn start(elements: usize, properties: &str) -> (Station, SocketAddr) {
    let station = Station::start();
    let ports = (0..elements).map(|n| {
        let properties = format!("stream-key={} loop=true {properties}", key(n));
        station.add(n, &properties).unwrap()
    });
    let port = ports.last().expect("at least one");
    (station, station::address(port))
}

pub fn content(n: usize) -> Content {
    Content::new(n as u64, BITS_PER_SECOND)
}

/// Every tag of the first `publishers` streams came out, in order.
pub fn assert_complete(station: &Station, publishers: usize, seconds: usize) {
    let count = Content::tags_in(seconds);
    for n in 0..publishers {
        let captured = station.take(n).unwrap();
        let sent = content(n).digest(count);
        assert_eq!(
            (captured.tags, captured.hash),
            (sent.tags, sent.hash()),
            "publisher {n}: {captured:?}"
        );
    }
    assert_eq!(station.complaints(), Vec::<String>::new());
}

/// Publishes `publishers` streams of so many seconds, all at once; `meanwhile` runs when all of them publish. Returns how
/// long it took until they did.
pub fn publish(
    station: &Station,
    address: SocketAddr,
    publishers: usize,
    seconds: usize,
    meanwhile: impl FnOnce(),
) -> Duration {
    let count = Content::tags_in(seconds);
    let since = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..publishers)
            .map(|n| scope.spawn(move || publish_in_real_time(address, &key(n), content(n), count)))
            .collect();
        let all = station.wait_for_publishing(publishers);
        let after = since.elapsed();
        if all.is_ok() {
            meanwhile();
        }
        for (n, thread) in threads.into_iter().enumerate() {
            let result = thread.join().unwrap();
            result.unwrap_or_else(|e| panic!("publisher {n}: {e}"));
        }
        all.unwrap();
        after
    })
}

/// Restarts an element again and again, every other time while somebody publishes there. Returns the longest time that it
/// took.
pub fn restart_one(
    station: &Station,
    address: SocketAddr,
    element: usize,
    times: usize,
) -> Duration {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Short, because who is cut off has 2 s to find out by itself.
            let moment = Content::tags_in(1) / 5;
            while !done.load(Ordering::Relaxed) {
                // Refused while the element is away.
                let _ = publish_in_real_time(address, &key(element), content(element), moment);
                thread::sleep(Duration::from_millis(10));
            }
        });
        let longest = (0..times).try_fold(Duration::ZERO, |longest, n| {
            if n.is_multiple_of(2) {
                station.wait_for_begin(element, station.begun(element) + 1)?;
            }
            Ok::<_, String>(longest.max(station.restart(element)?))
        });
        // Before any panic, or the publisher would never end.
        done.store(true, Ordering::Relaxed);
        longest.unwrap()
    })
}
