//! A thousand random sequences of state changes while a publisher comes and goes: none hangs, nothing leaks, and what is
//! put out is whole as long as the pipeline plays.

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use gst::prelude::*;
use support::client::{Client, Random, tags};
use support::flv::{self, Tag};
use support::own_process::{descriptors, wait_until};
use support::pipeline::init;

const SEQUENCES: u64 = 1000;
/// Of anything that is done here.
const HANG: Duration = Duration::from_secs(5);

/// Ends the process when something takes longer than [`HANG`]: a test that hangs tells nobody where.
struct Watchdog(mpsc::Sender<Option<String>>);

impl Watchdog {
    fn start() -> Watchdog {
        let (sender, doings) = mpsc::channel::<Option<String>>();
        thread::spawn(move || {
            while let Ok(doing) = doings.recv() {
                let Some(what) = doing else { continue };
                if doings.recv_timeout(HANG) == Err(mpsc::RecvTimeoutError::Timeout) {
                    // Not eprintln: what a test prints is kept, and goes with the process.
                    let _ = writeln!(std::io::stderr(), "hangs for {HANG:?}: {what}");
                    std::process::abort();
                }
            }
        });
        Watchdog(sender)
    }

    fn watch<T>(&self, what: impl Into<String>, action: impl FnOnce() -> T) -> T {
        self.0.send(Some(what.into())).expect("the dog lives");
        let result = action();
        self.0.send(None).expect("the dog lives");
        result
    }
}

/// What one publisher sent.
struct Sent {
    tags: Vec<Tag>,
    /// The run of the element in which it came, was taken in whole and left; none if it was cut off.
    run: Option<usize>,
}

/// What the publisher's thread and the test know of each other.
#[derive(Default)]
struct Shared {
    /// Counts the times that the element was stopped.
    run: AtomicUsize,
    /// The publisher is to wait.
    pause: AtomicBool,
    done: AtomicBool,
    /// Held while somebody publishes.
    sent: Mutex<HashMap<u64, Sent>>,
}

/// A number in the last bytes of each body says whose it is.
fn numbered(publisher: u64, count: usize) -> Vec<Tag> {
    let mut tags = tags(count, 300);
    for tag in &mut tags {
        tag.body.extend(publisher.to_be_bytes());
    }
    tags
}

fn publisher_of(tag: &Tag) -> u64 {
    u64::from_be_bytes(*tag.body.last_chunk().expect("numbered"))
}

/// One publisher after another until the test is done with them.
fn publish(source: &gst::Element, shared: &Shared, mut random: Random) {
    let mut number = 0;
    while !shared.done.load(Ordering::SeqCst) {
        let mut sent = shared.sent.lock().unwrap();
        let run = shared.run.load(Ordering::SeqCst);
        let port: u32 = source.property("current-port");
        if port != 0 && !shared.pause.load(Ordering::SeqCst) {
            number += 1;
            let tags = numbered(number, 1 + random.below(60) as usize);
            let address = (Ipv4Addr::LOCALHOST, port as u16).into();
            let all = Client::publisher(address).and_then(|mut client| {
                client.send_all(&tags)?;
                match random.below(4) {
                    0 => client.delete_stream().and_then(|()| client.close()),
                    1 => client.fc_unpublish().and_then(|()| client.close()),
                    2 => client.close(),
                    _ => client
                        .reset()
                        .and(Err("may lose what is on its way".to_owned())),
                }
            });
            let whole = all.is_ok() && shared.run.load(Ordering::SeqCst) == run;
            let run = whole.then_some(run);
            sent.insert(number, Sent { tags, run });
        }
        drop(sent);
        thread::sleep(Duration::from_micros(500));
    }
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    tags: u64,
}

/// A pipeline in a storm, and what its sink gets: a file for each run in which somebody published.
struct Storm<'a> {
    pipeline: gst::Pipeline,
    source: gst::Element,
    files: Arc<Mutex<Vec<File>>>,
    shared: &'a Shared,
    watchdog: &'a Watchdog,
    /// The runs of which all was waited for.
    settled: Vec<usize>,
}

impl<'a> Storm<'a> {
    fn new(is_live: bool, shared: &'a Shared, watchdog: &'a Watchdog) -> Storm<'a> {
        let description = format!(
            "rtmp2serversrc name=source host=127.0.0.1 port=0 loop=true timestamp-mode=passthrough \
             is-live={is_live} ! fakesink name=sink sync=false async=false"
        );
        let pipeline = gst::parse::launch(&description).expect("a valid description");
        let pipeline: gst::Pipeline = pipeline.downcast().expect("a pipeline");
        let source = pipeline.by_name("source").expect("named");
        let files = Arc::new(Mutex::new(Vec::<File>::new()));
        let sink = pipeline.by_name("sink").expect("named");
        let pad = sink.static_pad("sink").expect("a sink has one");
        pad.add_probe(gst::PadProbeType::BUFFER, {
            let files = files.clone();
            move |_, info| {
                let bytes = info.buffer().expect("asked for").map_readable().unwrap();
                let mut files = files.lock().unwrap();
                if *bytes == flv::FILE_HEADER {
                    files.push(File::default());
                }
                let file = files.last_mut().expect("a header comes first");
                file.tags += u64::from(!file.bytes.is_empty());
                file.bytes.extend_from_slice(&bytes);
                gst::PadProbeReturn::Ok
            }
        });
        Storm {
            pipeline,
            source,
            files,
            shared,
            watchdog,
            settled: Vec::new(),
        }
    }

    fn set_state(&self, state: gst::State) {
        let what = format!("{:?} to {state:?}", self.pipeline.current_state());
        let result = self
            .watchdog
            .watch(what.clone(), || self.pipeline.set_state(state));
        assert!(result.is_ok(), "{what}");
        if state < gst::State::Paused {
            let port: u32 = self.source.property("current-port");
            assert_eq!(port, 0, "{what}");
        }
    }

    /// Plays until somebody has published and all that was sent has passed. Nobody else comes before the next stop.
    fn settle(&mut self) {
        self.set_state(gst::State::Playing);
        let run = Some(self.shared.run.load(Ordering::SeqCst));
        self.watchdog.watch("a publisher", || {
            let one = || {
                self.shared
                    .sent
                    .lock()
                    .unwrap()
                    .values()
                    .any(|sent| sent.run == run)
            };
            assert!(wait_until(HANG * 2, one));
        });
        self.shared.pause.store(true, Ordering::SeqCst);
        let sent = self
            .watchdog
            .watch("the last publisher", || self.shared.sent.lock().unwrap());
        self.watchdog.watch("the queue", || {
            let counters = || {
                let stats: gst::Structure = self.source.property("stats");
                let count = |name| stats.get::<u64>(name).expect(name);
                let [received, pushed, queued, withheld] =
                    ["received", "pushed", "queued", "withheld"].map(count);
                assert_eq!(received, pushed + queued + withheld, "{stats}");
                // What has left the source may not be at the sink yet.
                let at_sink = self.files.lock().unwrap().last().map_or(0, |f| f.tags);
                let passing = pushed.abs_diff(at_sink);
                let publishing = stats.get::<&str>("state") == Ok("publishing");
                (queued, passing, publishing)
            };
            assert!(wait_until(HANG * 2, || counters() == (0, 0, false)));
        });
        self.settled.push(self.shared.run.load(Ordering::SeqCst));
        drop(sent);
    }

    /// What is published meanwhile belongs to no run: it may or may not be put out.
    fn stop(&mut self, state: gst::State) {
        self.shared.run.fetch_add(1, Ordering::SeqCst);
        self.set_state(state);
        self.shared.run.fetch_add(1, Ordering::SeqCst);
        self.shared.pause.store(false, Ordering::SeqCst);
    }

    fn step(&mut self, random: &mut Random) {
        const STATES: [gst::State; 4] = [
            gst::State::Null,
            gst::State::Ready,
            gst::State::Paused,
            gst::State::Playing,
        ];
        let next = STATES[random.below(4) as usize];
        if next < gst::State::Paused {
            if random.below(3) == 0 {
                self.settle();
            }
            self.stop(next);
        } else {
            self.set_state(next);
        }
        match random.below(3) {
            0 => {}
            1 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(random.below(4000))),
        }
    }

    /// Each publisher's tags came out in one piece from the first on, and all of them if they were waited for. Returns how
    /// many publishers and tags there were of that kind.
    fn check(&self) -> [usize; 2] {
        let sent = self.shared.sent.lock().unwrap();
        let mut put_out = HashMap::<u64, Vec<Tag>>::new();
        for file in self.files.lock().unwrap().iter() {
            let tags = flv::parse(&file.bytes).expect("each run gives a whole file");
            for of_one in tags.chunk_by(|a, b| publisher_of(a) == publisher_of(b)) {
                let before = put_out.insert(publisher_of(&of_one[0]), of_one.to_vec());
                assert!(before.is_none(), "one publisher in two pieces");
            }
        }
        let mut whole = [0; 2];
        for (number, sent) in sent.iter() {
            let got = put_out.remove(number).unwrap_or_default();
            assert!(sent.tags.starts_with(&got), "publisher {number}");
            if sent.run.is_some_and(|run| self.settled.contains(&run)) {
                assert_eq!(got.len(), sent.tags.len(), "publisher {number}");
                whole[0] += 1;
                whole[1] += got.len();
            }
        }
        assert!(put_out.is_empty(), "of nobody");
        whole
    }
}

fn sequence(seed: u64, watchdog: &Watchdog) -> [usize; 2] {
    let mut random = Random(seed);
    let shared = Shared::default();
    let mut storm = Storm::new(random.below(4) > 0, &shared, watchdog);
    let source = storm.source.clone();
    thread::scope(|scope| {
        let publisher = Random(random.next());
        scope.spawn(|| publish(&source, &shared, publisher));
        // Whatever happens, or the other thread would never end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..2 + random.below(8) {
                storm.step(&mut random);
            }
            storm.settle();
        }));
        shared.done.store(true, Ordering::SeqCst);
        storm.stop(gst::State::Null);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let whole = storm.check();
    let weak = [
        storm.pipeline.upcast_ref::<gst::Element>().downgrade(),
        source.downgrade(),
    ];
    drop((storm, source));
    // A connection that is just ending may look at the element until it has.
    let gone = || weak.iter().all(|weak| weak.upgrade().is_none());
    assert!(wait_until(HANG, gone), "somebody still holds the element");
    whole
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux").count()
}

#[test]
fn a_thousand_sequences() {
    init();
    let watchdog = Watchdog::start();
    let mut whole = [0; 2];
    let mut before = None;
    for seed in 1..=SEQUENCES {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sequence(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), &watchdog)
        }));
        let Ok([publishers, tags]) = result else {
            panic!("sequence {seed}");
        };
        whole = [whole[0] + publishers, whole[1] + tags];
        if seed == SEQUENCES / 10 {
            before = Some((descriptors().len(), threads()));
        }
    }
    println!(
        "{} publishers and {} tags that had to be whole",
        whole[0], whole[1]
    );
    assert!(whole[0] > SEQUENCES as usize, "{whole:?}");
    // Threads of pools go when they have been idle for a while.
    let (descriptors_before, threads_before) = before.expect("set above");
    assert!(
        wait_until(Duration::from_secs(60), || {
            descriptors().len() <= descriptors_before && threads() <= threads_before
        }),
        "{descriptors_before} descriptors and {threads_before} threads, and now {:?} and {}",
        descriptors(),
        threads()
    );
}
