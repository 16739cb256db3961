//! Twenty routes in one process with publishers coming and going at random, for as long as is asked for.
//!
//! What was sent is known of each publication, and compared with what came out: all of it, or of a publisher whose link was
//! cut a beginning. A minute by default; `make soak MINUTES=30` also writes `docs/soak.md`.

#[path = "../support/mod.rs"]
mod support;

mod report;
mod route;
mod rubbish;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use report::{Counts, Report};
use route::{Clip, Driver, Surroundings};
use support::host::Host;
use support::own_process::wait_until;
use support::station::{self, Station};

const ROUTES: usize = 20;
/// Hosts whose links can be cut.
const HOSTS: usize = 4;
/// All that is random follows from this.
const SEED: u64 = 0x5EED;
/// Between looks at what the process uses.
const SAMPLING: Duration = Duration::from_secs(1);

/// The process that all of this is done to: see `support/station.rs`.
#[test]
fn station() {
    station::run();
}

fn duration() -> Duration {
    let minutes = std::env::var("RTMP2SERVER_SOAK_MINUTES").ok();
    let minutes = minutes.map_or(1.0, |text| text.parse().expect("a number of minutes"));
    Duration::from_secs_f64(60.0 * minutes)
}

#[test]
fn publishers_come_and_go_and_nothing_is_lost() {
    let (directory, commit) = (tempfile::tempdir().unwrap(), report::commit());
    let clips = [2, 4, 7].map(|seconds| Clip::new(directory.path(), seconds).unwrap());
    let hosts: Vec<_> = (0..HOSTS).map(|_| Host::new().unwrap()).collect();
    let station = Station::start();
    let ports = (0..ROUTES).map(|n| station.add(n, &route::properties(n)).unwrap());
    let port = ports.last().unwrap();
    let surroundings = Surroundings {
        station: &station,
        port,
        clips: &clips,
        hosts: Mutex::new(hosts),
        counts: Mutex::new(Counts::default()),
        failures: Mutex::new(Vec::new()),
    };

    // Everything once, so that what is made at first use is there.
    let mut drivers: Vec<_> = (0..ROUTES)
        .map(|n| Driver::new(n, SEED, &surroundings))
        .collect();
    drivers[0].publish_with_our_client();
    let before = station.usage().unwrap();

    let (since, duration) = (Instant::now(), duration());
    let mut samples = Vec::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for driver in &mut drivers {
            scope.spawn(|| driver.run_until(since + duration));
        }
        let rubbish = scope.spawn(|| rubbish::talk(SEED, port, &surroundings.counts, &done));
        let mut next = since;
        while since.elapsed() < duration {
            next += SAMPLING;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            samples.extend(station.usage());
        }
        done.store(true, Ordering::Relaxed);
        rubbish.join().unwrap();
    });
    // Who was cut off or said nothing is given up within 12 s.
    let descriptors = || {
        station
            .usage()
            .map_or(usize::MAX, |usage| usage.descriptors)
    };
    let returned = wait_until(Duration::from_secs(30), || {
        descriptors() <= before.descriptors
    });

    let report = Report {
        commit,
        seed: SEED,
        routes: ROUTES,
        elapsed: since.elapsed(),
        counts: surroundings.counts.into_inner().unwrap(),
        before,
        after: station.usage().unwrap(),
        samples,
    };
    println!("{report}");
    if let Some(path) = std::env::var_os("RTMP2SERVER_SOAK_REPORT").map(PathBuf::from) {
        std::fs::write(path, report.to_string()).unwrap();
    }
    let failures = surroundings.failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(station.complaints(), Vec::<String>::new());
    assert_eq!(station.left(), 0, "publications that nobody sent");
    report.assert_everything_happened();
    report.assert_flat();
    assert!(returned, "{} descriptors are left", descriptors());
}
