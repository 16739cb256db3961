//! `examples/fleet`: HAProxy in front of several processes. One is killed and one is drained, and all publishers are back
//! where somebody takes them.

#[path = "../support/mod.rs"]
mod support;

mod encoder;
mod publishers;

#[path = "../../examples/fleet/worker.rs"]
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use publishers::{Clip, Sent, Truth, publisher_of};
use support::certificates::Identity;
use support::flv::{self, Rules};
use support::haproxy::HAPROXY;
use support::launch::{free_port, wait_for_listener};
use support::pipeline::wait_until;
use support::process::Process;

const WORKERS: usize = 3;
/// Each can take all publishers.
const ELEMENTS: usize = 12;
/// What a publisher gets that can't be asked to connect again, in seconds.
const PATIENCE: u64 = 4;
const DEADLINE: Duration = Duration::from_secs(30);

const ARGUMENTS: &str = "RTMP2SERVER_TEST_WORKER";

/// The example, in a process of its own.
#[test]
fn worker() {
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        worker::run(arguments.lines().map(str::to_owned)).unwrap();
    }
}

struct Worker {
    process: Process,
    directory: PathBuf,
    address: SocketAddr,
    agent: u16,
}

/// A publication in a worker's log.
struct Entry {
    file: PathBuf,
    address: String,
    application: String,
    /// Number of tags and why, once it has ended.
    end: Option<(usize, String)>,
}

impl Worker {
    fn start(parent: &Path, number: usize, properties: &str) -> Worker {
        let directory = parent.join(format!("worker{number}"));
        let (port, agent) = (free_port(), free_port());
        let arguments = [
            directory.to_str().unwrap().to_owned(),
            "--elements".to_owned(),
            ELEMENTS.to_string(),
            "--agent".to_owned(),
            agent.to_string(),
            "--patience".to_owned(),
            PATIENCE.to_string(),
            "host=127.0.0.1".to_owned(),
            format!("port={port}"),
            "proxy-protocol=required".to_owned(),
        ]
        .into_iter()
        .chain(properties.split_ascii_whitespace().map(str::to_owned));
        let process = Process::spawn(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "worker", "--nocapture"])
                .env(ARGUMENTS, arguments.collect::<Vec<_>>().join("\n"))
                .env("GST_DEBUG", "rtmp2serversrc:5")
                .env_remove("GST_DEBUG_FILE")
                .env("GST_DEBUG_NO_COLOR", "1"),
        )
        .unwrap();
        wait_for_listener(port, &process);
        Worker {
            process,
            directory,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            agent,
        }
    }

    fn read_log(directory: &Path) -> Vec<Entry> {
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        let mut entries = Vec::<Entry>::new();
        // The last line may be about to be written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let fields: Vec<_> = line.splitn(4, ' ').collect();
            match fields[..] {
                [file, "began", address, application] => entries.push(Entry {
                    file: directory.join(file),
                    address: address.to_owned(),
                    application: application.to_owned(),
                    end: None,
                }),
                [file, "ended", tags, reason] => {
                    let file = directory.join(file);
                    let entry = entries.iter_mut().find(|entry| entry.file == file);
                    entry.expect("it began").end = Some((tags.parse().unwrap(), reason.to_owned()));
                }
                _ => panic!("in the log: {line}"),
            }
        }
        entries
    }

    /// Who publishes here now.
    fn publishers(&self) -> Vec<String> {
        let entries = Worker::read_log(&self.directory);
        let now = entries.iter().filter(|entry| entry.end.is_none());
        now.map(|entry| publisher_of(&entry.application).to_owned())
            .collect()
    }
}

/// HAProxy with the example's configuration.
struct Balancer {
    process: Process,
    address: SocketAddr,
    /// For `rtmps`, if it has a certificate.
    tls_address: SocketAddr,
}

impl Balancer {
    fn start(workers: [&Worker; 3], certificate: Option<&Path>) -> Balancer {
        let new_address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (address, tls_address) = (new_address(), new_address());
        let configuration = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fleet/haproxy.cfg");
        let mut command = Command::new(HAPROXY);
        command.args(["-db", "-f", configuration]);
        command.env("FLEET_BIND", address.to_string());
        if let Some(certificate) = certificate {
            command.env("FLEET_BIND_TLS", tls_address.to_string());
            command.env("FLEET_CERTIFICATE", certificate);
        }
        for (n, worker) in (1..).zip(workers) {
            command.env(format!("FLEET_W{n}"), worker.address.to_string());
            command.env(format!("FLEET_A{n}"), worker.agent.to_string());
        }
        let process = Process::spawn(&mut command).unwrap();
        wait_for_listener(address.port(), &process);
        Balancer {
            process,
            address,
            tls_address,
        }
    }
}

/// Certificate and key in one file, as HAProxy wants them.
fn write_pem(directory: &Path) -> PathBuf {
    let identity = Identity::write_to(directory);
    let parts = [identity.certificate, identity.private_key].map(|part| fs::read(part).unwrap());
    let file = directory.join("both.pem");
    fs::write(&file, parts.concat()).unwrap();
    file
}

/// Waits until all of `names` publish to one of the workers, and returns how long each took, shortest first.
fn wait_for_all(names: &[String], workers: &[Worker]) -> Vec<Duration> {
    let since = Instant::now();
    let back = Mutex::new(BTreeMap::new());
    let all_are_back = || {
        let now: Vec<_> = workers
            .iter()
            .flat_map(|worker| worker.publishers())
            .collect();
        let mut back = back.lock().unwrap();
        for name in now {
            back.entry(name).or_insert_with(|| since.elapsed());
        }
        back.len() == names.len()
    };
    let result = wait_until(DEADLINE, all_are_back);
    let back = back.into_inner().unwrap();
    result.unwrap_or_else(|e| panic!("{e}: only {:?} of {names:?}", back.keys()));
    let mut times: Vec<_> = back.into_values().collect();
    times.sort();
    times
}

#[test]
fn one_of_three_is_killed_and_one_drained_and_nine_publishers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let clip = Clip::new(directory.path(), 6).unwrap();
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|n| Worker::start(directory.path(), n, ""))
        .collect();
    let certificate = write_pem(directory.path());
    let [first, second, third] = &workers[..] else {
        panic!("{WORKERS} workers")
    };
    let balancer = Balancer::start([first, second, third], Some(&certificate));
    let address = balancer.address;

    let (stop, truth) = (AtomicBool::new(false), Truth::default());
    let names = |kind: &str| -> Vec<_> { (0..3).map(|n| format!("{kind}{n}")).collect() };
    // ffmpeg, an encoder that knows no ReconnectRequest, and one that does.
    let (real, deaf, listening) = (names("ffmpeg"), names("deaf"), names("listening"));
    let all = [&real[..], &deaf, &listening].concat();
    let urls = [
        format!("rtmp://{address}"),
        format!("rtmps://{}", balancer.tls_address),
    ];
    let drained = thread::scope(|scope| {
        for (name, url) in real.iter().zip(urls.iter().cycle()) {
            let (clip, stop, truth) = (&clip, &stop, &truth);
            scope.spawn(move || publishers::publish_with_ffmpeg(url, name, clip, stop, truth));
        }
        for (number, name) in deaf.iter().chain(&listening).enumerate() {
            let (stop, truth, listens) = (&stop, &truth, listening.contains(name));
            scope.spawn(move || publishers::publish(address, name, number, listens, stop, truth));
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            kill_one(&mut workers, &all);
            drain_one(&mut workers, &all, &listening)
        }));
        // Before any panic, or the publishers would never end.
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    });
    balancer.process.terminate();
    let said = balancer.process.wait(DEADLINE).unwrap().stderr;
    for line in ["w1 is DOWN, reason: Layer4", "enters drain state"] {
        assert!(said.contains(line), "{line}: {said}");
    }

    // Nobody is left, so the last one ends at once.
    let last = workers.pop().unwrap();
    last.process.terminate();
    let last = last.end();
    assert_eq!(last.logged(" WARN "), 0, "{}", last.stderr);
    // The health checks, at level 5 and no higher.
    assert!(last.logged(": connected") > last.log.len());
    let truth = truth.into_inner().unwrap();
    drained.assert_complete(&truth);
    last.assert_complete(&truth);
}

fn kill_one(workers: &mut Vec<Worker>, all: &[String]) {
    wait_for_all(all, workers);
    for worker in workers.iter() {
        let publishers = worker.publishers();
        assert!(publishers.len() >= 2, "not balanced: {publishers:?}");
    }
    let mut killed = workers.remove(0);
    killed.process.kill();
    let times = wait_for_all(all, workers);
    println!("killed: the nine publish after {times:.1?}");
}

fn drain_one(workers: &mut Vec<Worker>, all: &[String], listening: &[String]) -> Ended {
    // One that has such as can be asked to go, and such as can not.
    let can_be_asked = |worker: &Worker| {
        let publishers = worker.publishers();
        publishers
            .iter()
            .filter(|name| listening.contains(name))
            .count()
    };
    workers.sort_by_key(can_be_asked);
    let drained = workers.pop().expect("two are left");
    let before = drained.publishers();
    assert!(before.len() >= 2, "not balanced: {before:?}");
    let since = Instant::now();
    drained.process.terminate();
    let times = wait_for_all(all, workers);
    println!("drained: the nine publish elsewhere after {times:.1?}");
    let drained = drained.end();
    println!("drained: ended after {:.1?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(PATIENCE + 5));
    // Who can be asked goes by itself; who can not is told to when its time is up.
    for entry in &drained.log {
        let publisher = publisher_of(&entry.application);
        let (_, reason) = entry.end.as_ref().expect("it is over");
        if listening.iter().any(|name| name == publisher) {
            assert_eq!(reason, "the publisher closed the connection");
        }
    }
    drained
}

/// What a worker left that came to its end.
struct Ended {
    log: Vec<Entry>,
    stderr: String,
}

impl Worker {
    fn end(self) -> Ended {
        let finished = self.process.wait(DEADLINE).unwrap();
        let finished = finished.expect_success("the worker").unwrap();
        Ended {
            log: Worker::read_log(&self.directory),
            stderr: finished.stderr,
        }
    }
}

impl Ended {
    /// Every publication is in its file: all that its publisher knows to have arrived, and nothing else.
    fn assert_complete(&self, truth: &BTreeMap<String, Sent>) {
        for entry in &self.log {
            let Entry {
                file,
                address,
                application,
                end,
            } = entry;
            let captured = flv::parse(&fs::read(file).unwrap()).unwrap();
            let sent = &truth[application];
            let beginning = Rules {
                prefix: true,
                ..Rules::default()
            };
            let comparison = flv::compare(&sent.tags, &captured, beginning);
            assert!(comparison.is_same(), "{application}: {comparison}");
            let count = captured.len();
            assert!(
                count >= sent.acknowledged,
                "{application}: {count} tags of {} that were acknowledged",
                sent.acknowledged
            );
            assert_eq!(end.as_ref().expect("it is over").0, count, "{application}");
            // Not that of the balancer.
            if let Some(own) = sent.address {
                assert_eq!(*address, own.to_string(), "{application}");
            }
        }
        // Whoever else connected was not taken for a publisher.
        assert_eq!(self.logged("publishes to application"), self.log.len());
    }

    /// How many lines of GStreamer's log have this.
    fn logged(&self, text: &str) -> usize {
        self.stderr
            .lines()
            .filter(|line| line.contains(text))
            .count()
    }
}

#[test]
fn tls_may_end_at_the_elements() {
    let directory = tempfile::tempdir().unwrap();
    let clip = Clip::new(directory.path(), 3).unwrap();
    let identity = Identity::write_to(directory.path());
    let worker = Worker::start(directory.path(), 0, &identity.properties());
    // Without a certificate the balancer passes on what it does not understand.
    let balancer = Balancer::start([&worker; 3], None);
    let (stop, truth) = (AtomicBool::new(true), Truth::default());
    let url = format!("rtmps://{}", balancer.address);
    publishers::publish_with_ffmpeg(&url, "ffmpeg", &clip, &stop, &truth);
    worker.process.terminate();
    let ended = worker.end();
    assert_eq!(ended.log.len(), 1);
    let truth = truth.into_inner().unwrap();
    assert_eq!(truth["ffmpeg-1"].acknowledged, truth["ffmpeg-1"].tags.len());
    ended.assert_complete(&truth);
}
