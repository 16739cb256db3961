//! What each of many elements on one port costs: `make scale`, in a release build, with nothing else running.

#[path = "../support/mod.rs"]
mod support;

mod shared;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use shared::{RESTARTS, assert_complete, key, publish, restart_one, start};
use support::launch::{free_port, wait_for_listener};
use support::process::Process;
use support::station::{self, Station, Usage};

/// The process that is measured: see `support/station.rs`.
#[test]
fn station() {
    station::run();
}

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

#[test]
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

/// What the balancer of `examples/fleet` adds.
#[test]
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
