//! Many elements on one port: what each costs, and whether one is felt by the others.
//!
//! `make scale` prints the figures.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::launch::{free_port, wait_for_listener};
use support::load::{Content, publish_in_real_time};
use support::process::Process;
use support::station::{self, Station, Usage};
use support::steady::in_real_time;

const BITS_PER_SECOND: usize = 2_000_000;
/// How many times an element is restarted beside others.
const RESTARTS: usize = 50;

/// The process that is measured: see `support/station.rs`.
#[test]
fn station() {
    station::run();
}

fn key(n: usize) -> String {
    format!("cam{n}")
}

/// Elements with a key each, all on one port.
fn start(elements: usize, properties: &str) -> (Station, SocketAddr) {
    let station = Station::start();
    let ports = (0..elements).map(|n| {
        let properties = format!("stream-key={} loop=true {properties}", key(n));
        station.add(n, &properties).unwrap()
    });
    let port = ports.last().expect("at least one");
    (station, station::address(port))
}

fn content(n: usize) -> Content {
    Content::new(n as u64, BITS_PER_SECOND)
}

/// Every tag of the first `publishers` streams came out, in order.
fn assert_complete(station: &Station, publishers: usize, seconds: usize) {
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
fn publish(
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

#[test]
fn two_hundred_publishers_come_at_once_to_one_port_and_all_are_whole() {
    const PUBLISHERS: usize = 200;
    const SECONDS: usize = 4;
    let (station, address) = start(PUBLISHERS, "");
    publish(&station, address, PUBLISHERS, SECONDS, || ());
    assert_complete(&station, PUBLISHERS, SECONDS);
    let usage = station.usage().unwrap();
    assert_eq!((usage.rejected, usage.handshake_failures), (0, 0));
}

/// Restarts an element again and again, every other time while somebody publishes there. Returns the longest time that it
/// took.
fn restart_one(station: &Station, address: SocketAddr, element: usize, times: usize) -> Duration {
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

#[test]
fn restarting_one_element_disturbs_no_other() {
    const OTHERS: usize = 20;
    const SECONDS: usize = 12;
    /// Pictures are 40 ms apart.
    const BOUND: Duration = Duration::from_millis(200);
    in_real_time(|| {
        let (station, address) = start(OTHERS + 1, "");
        publish(&station, address, OTHERS, SECONDS, || {
            station.usage().unwrap();
            restart_one(&station, address, OTHERS, RESTARTS);
            // Of the others as well: the one that is restarted has the same pictures.
            let gap = station.usage().unwrap().longest_gap;
            assert!(gap < BOUND, "{gap:?}");
        });
        assert_complete(&station, OTHERS, SECONDS);
    });
}

// Figures.

struct Figures {
    publishers: usize,
    elapsed: Duration,
    /// Before there were any, when they waited for publishers, and when all published.
    empty: Usage,
    idle: Usage,
    begin: Usage,
    end: Usage,
    /// Until all of them published who came at the same time.
    all_publish_after: Duration,
    gap_while_one_restarts: Duration,
    slowest_restart: Duration,
}

fn measure(publishers: usize) -> Figures {
    const SECONDS: usize = 45;
    const WARM_UP: Duration = Duration::from_secs(3);
    const WINDOW: Duration = Duration::from_secs(20);
    let station = Station::start();
    // The first one brings the runtime and the listener.
    let properties = |n| format!("stream-key={} loop=true", key(n));
    let port = station.add(publishers, &properties(publishers)).unwrap();
    let empty = station.usage().unwrap();
    for n in 0..publishers {
        station.add(n, &properties(n)).unwrap();
    }
    let idle = station.usage().unwrap();
    let address = station::address(port);
    let mut figures = None;
    let all_publish_after = publish(&station, address, publishers, SECONDS, || {
        thread::sleep(WARM_UP);
        let since = Instant::now();
        let begin = station.usage().unwrap();
        thread::sleep(WINDOW);
        let end = station.usage().unwrap();
        let elapsed = since.elapsed();
        let slowest_restart = restart_one(&station, address, publishers, RESTARTS);
        figures = Some(Figures {
            publishers,
            elapsed,
            empty,
            idle,
            begin,
            end,
            all_publish_after: Duration::ZERO,
            gap_while_one_restarts: station.usage().unwrap().longest_gap,
            slowest_restart,
        });
    });
    assert_complete(&station, publishers, SECONDS);
    Figures {
        all_publish_after,
        ..figures.expect("it ran")
    }
}

impl Figures {
    /// Of a processor, in percent.
    fn cpu(&self) -> f64 {
        let cpu = self.end.cpu - self.begin.cpu;
        100.0 * cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    fn print(&self) {
        // Kilobytes.
        let grown = |from: Usage, to: Usage| {
            let bytes = to.resident_bytes as f64 - from.resident_bytes as f64;
            bytes / 1e3 / self.publishers as f64
        };
        println!(
            "| {} | {:.1} % | {:.3} % | {:.0} KB | {:.0} KB | {:.1} MB | {} | {} | {:.0} ms | {:.0} ms | {:.0} ms | {:.1} ms |",
            self.publishers,
            self.cpu(),
            self.cpu() / self.publishers as f64,
            grown(self.empty, self.idle),
            grown(self.idle, self.end),
            self.end.resident_bytes as f64 / 1e6,
            self.end.threads,
            self.end.descriptors,
            self.all_publish_after.as_secs_f64() * 1e3,
            self.end.longest_gap.as_secs_f64() * 1e3,
            self.gap_while_one_restarts.as_secs_f64() * 1e3,
            self.slowest_restart.as_secs_f64() * 1e3,
        );
    }
}

/// For `make scale`: release build, nothing else running.
#[test]
#[ignore = "takes minutes, and measures"]
fn figures() {
    println!(
        "| publishers | processor | per publisher | memory per element | and per publisher | resident | threads | descriptors | \
         all publish after | longest gap | while one restarts | slowest restart |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let all: Vec<_> = [25, 50, 100, 200].map(measure).into();
    all.iter().for_each(Figures::print);
    let each = |figures: &Figures| figures.cpu() / figures.publishers as f64;
    let (few, many) = (each(&all[0]), each(&all[3]));
    assert!(
        many < 1.5 * few,
        "{few:.3} % each of 25, {many:.3} % each of 200"
    );
}

/// What the balancer of `examples/fleet` adds, for `make scale`.
#[test]
#[ignore = "measures"]
fn figures_of_haproxy() {
    const PUBLISHERS: usize = 100;
    const SECONDS: usize = 25;
    const WINDOW: Duration = Duration::from_secs(15);
    let (station, worker) = start(PUBLISHERS, "proxy-protocol=required");
    let balancer = station::address(free_port());
    let configuration = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fleet/haproxy.cfg");
    let mut command = Command::new("/usr/sbin/haproxy");
    command.args(["-db", "-f", configuration]);
    command.env("FLEET_BIND", balancer.to_string());
    for n in 1..=3 {
        // All the same one. It has no agent; nobody listens on that port.
        command.env(format!("FLEET_W{n}"), worker.to_string());
        command.env(format!("FLEET_A{n}"), "1");
    }
    let haproxy = Process::spawn(&mut command).unwrap();
    wait_for_listener(balancer.port(), &haproxy);
    publish(&station, balancer, PUBLISHERS, SECONDS, || {
        let (since, before) = (Instant::now(), haproxy.cpu_time());
        thread::sleep(WINDOW);
        let share = (haproxy.cpu_time() - before).as_secs_f64() / since.elapsed().as_secs_f64();
        println!(
            "HAProxy: {:.3} % of a processor per publisher",
            100.0 * share / PUBLISHERS as f64
        );
    });
    assert_complete(&station, PUBLISHERS, SECONDS);
}
