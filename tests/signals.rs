//! Signals, actions and messages, as applications use them.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gst::prelude::*;
use support::client::Client;
use support::pipeline::{DEADLINE, init};
use support::process::{Finished, Process};

struct Running {
    pipeline: gst::Pipeline,
    source: gst::Element,
}

impl Running {
    /// `prepare` gets the source before it starts.
    fn start(properties: &str, prepare: impl FnOnce(&gst::Element)) -> Running {
        init();
        let description = format!("rtmp2serversrc name=source port=0 {properties} ! fakesink");
        let pipeline = gst::parse::launch(&description)
            .expect("a valid description")
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let source = pipeline.by_name("source").expect("named");
        prepare(&source);
        pipeline.set_state(gst::State::Playing).expect("starts");
        Running { pipeline, source }
    }

    fn url(&self, key: &str) -> String {
        let port: u32 = self.source.property("current-port");
        format!("rtmp://127.0.0.1:{port}/live/{key}")
    }

    /// The next element message of that name.
    fn message(&self, name: &str) -> gst::Structure {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let deadline = gst::ClockTime::try_from(DEADLINE).expect("short");
        loop {
            let message = bus
                .timed_pop_filtered(deadline, &[gst::MessageType::Element])
                .unwrap_or_else(|| panic!("no {name} within {deadline}"));
            if let Some(structure) = message.structure()
                && structure.name() == name
            {
                return structure.to_owned();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn ffmpeg(url: &str, seconds: &str) -> Process {
    let arguments = format!(
        "-hide_banner -nostdin -v error -re -f lavfi -i testsrc=size=160x120:rate=30 -t {seconds} \
         -c:v libx264 -preset ultrafast -threads 1 -f flv {url}"
    );
    Process::spawn(Command::new("ffmpeg").args(arguments.split_ascii_whitespace()))
        .expect("ffmpeg starts")
}

fn wait(process: Process) -> Finished {
    process.wait(DEADLINE).expect("ffmpeg ends")
}

/// Sends on what a signal carried.
fn forward(source: &gst::Element, signal: &str) -> mpsc::Receiver<gst::Structure> {
    let (sender, receiver) = mpsc::channel();
    source.connect(signal, false, move |values| {
        sender.send(values[1].get().expect("a structure")).ok();
        None
    });
    receiver
}

fn text(structure: &gst::Structure, field: &str) -> String {
    structure.get(field).expect(field)
}

#[test]
fn a_handler_decides_and_sees_the_request() {
    let (asked, questions) = mpsc::channel();
    let running = Running::start("loop=true application=live", |source| {
        source.connect("caller-connecting", false, move |values| {
            let caller: gst::Structure = values[1].get().expect("a structure");
            let right = text(&caller, "stream-key") == "right";
            asked.send(caller).ok();
            Some(right.to_value())
        });
    });
    let rejected = forward(&running.source, "caller-rejected");
    let added = forward(&running.source, "caller-added");
    let removed = forward(&running.source, "caller-removed");

    let wrong = wait(ffmpeg(&running.url("wrong?token=a"), "1"));
    assert!(!wrong.status.success());
    assert!(
        wrong.stderr.contains("refused this publisher"),
        "{}",
        wrong.stderr
    );
    let caller = questions.recv_timeout(DEADLINE).unwrap();
    assert_eq!(text(&caller, "query"), "token=a");
    assert_eq!(text(&caller, "application"), "live");
    assert!(text(&caller, "flash-ver").contains("Lavf"));
    assert!(text(&caller, "tc-url").starts_with("rtmp://127.0.0.1"));
    let caller = rejected.recv_timeout(DEADLINE).unwrap();
    assert!(text(&caller, "reason").contains("refused"));
    assert!(
        !caller.to_string().contains("wrong"),
        "the key is in {caller}"
    );
    let message = running.message("rtmp2server-publisher-rejected");
    assert!(
        !message.to_string().contains("wrong"),
        "the key is in {message}"
    );

    assert!(wait(ffmpeg(&running.url("right"), "1")).status.success());
    let came = added.recv_timeout(DEADLINE).unwrap();
    let left = removed.recv_timeout(DEADLINE).unwrap();
    assert_eq!(text(&came, "address"), text(&left, "address"));
    running.message("rtmp2server-publisher-connected");
    let message = running.message("rtmp2server-publisher-disconnected");
    assert!(message.get::<bool>("clean").unwrap());
    // 30 frames, the sequence header and the metadata; with loop, no end of sequence.
    assert_eq!(message.get::<u64>("tags").unwrap(), 32);
}

#[test]
fn the_first_no_counts() {
    let running = Running::start("", |source| {
        source.connect("caller-connecting", false, |_| Some(true.to_value()));
        source.connect("caller-connecting", false, |_| Some(false.to_value()));
        source.connect("caller-connecting", false, |_| {
            panic!("asked after somebody said no")
        });
    });
    assert!(!wait(ffmpeg(&running.url("k"), "1")).status.success());
}

#[test]
fn a_handler_that_blocks_holds_nobody_else_up() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let (entered, inside) = mpsc::channel();
    let running = Running::start("loop=true", |source| {
        source.connect("caller-connecting", false, move |values| {
            let caller: gst::Structure = values[1].get().unwrap();
            if text(&caller, "stream-key") == "slow" {
                entered.send(()).ok();
                blocked.lock().unwrap().recv().ok();
            }
            Some(true.to_value())
        });
    });
    let waiting = ffmpeg(&running.url("slow"), "1");
    inside.recv_timeout(DEADLINE).unwrap();
    assert!(wait(ffmpeg(&running.url("quick"), "1")).status.success());
    // The deadline turns the first away, whatever the handler does.
    let first = wait(waiting);
    assert!(
        first.stderr.contains("did not answer in time"),
        "{}",
        first.stderr
    );
    // And neither reading properties nor stopping waits for the handler.
    let _: gst::Structure = running.source.property("stats");
    running.pipeline.set_state(gst::State::Null).unwrap();
    drop(release);
}

#[test]
fn who_guesses_keys_keeps_nobody_out() {
    const GUESSES: usize = 3;
    let running = Running::start("loop=true", |source| {
        source.connect("caller-connecting", false, move |values| {
            let caller: gst::Structure = values[1].get().unwrap();
            // As long as looking into a database takes.
            std::thread::sleep(Duration::from_millis(300));
            Some((text(&caller, "stream-key") == "right").to_value())
        });
    });
    let port: u32 = running.source.property("current-port");
    let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (guessed, guesses) = mpsc::channel();
        for _ in 0..GUESSES {
            let (guessed, done) = (guessed.clone(), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut client = Client::connect(address, "live").unwrap();
                    let answer = client.publish("wrong").unwrap();
                    assert_eq!(answer.code, "NetStream.Publish.Denied");
                    let _ = guessed.send(());
                }
            });
        }
        // They are at it, and one of them is thought about at any time.
        guesses.iter().take(GUESSES).for_each(drop);
        let mut client = Client::connect(address, "live").unwrap();
        let answer = client.publish("right");
        done.store(true, Ordering::Relaxed);
        assert_eq!(answer.unwrap().code, "NetStream.Publish.Start");
    });
}

/// A question goes on when who it is about has hung up, so there are not to be many of them.
#[test]
fn who_comes_and_hangs_up_costs_few_threads_and_keeps_nobody_out() {
    let inside = Arc::new(AtomicUsize::new(0));
    let (most, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak, count) = (inside.clone(), most.clone(), asked.clone());
    let running = Running::start("loop=true", move |source| {
        source.connect("caller-connecting", false, move |values| {
            count.fetch_add(1, Ordering::SeqCst);
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let caller: gst::Structure = values[1].get().unwrap();
            // As long as looking into a database takes.
            std::thread::sleep(Duration::from_millis(500));
            now.fetch_sub(1, Ordering::SeqCst);
            Some((text(&caller, "stream-key") == "right").to_value())
        });
    });
    let port: u32 = running.source.property("current-port");
    let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut client = Client::connect(address, "live").unwrap();
                    client.ask_to_publish("wrong").unwrap();
                    // Long enough to be asked about, and not to be answered.
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        assert!(
            eventually(|| asked.load(Ordering::SeqCst) >= 16),
            "nobody hung up"
        );
        let mut client = Client::connect(address, "live").unwrap();
        let answer = client.publish("right");
        done.store(true, Ordering::Relaxed);
        assert_eq!(answer.unwrap().code, "NetStream.Publish.Start");
    });
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 4, "{most} at once");
}

#[test]
fn a_handler_may_stop_and_drop_the_element() {
    let (done, stopped) = mpsc::channel();
    let running = Running::start("", |_| {});
    let pipeline = running.pipeline.downgrade();
    running
        .source
        .connect("caller-connecting", false, move |_| {
            if let Some(pipeline) = pipeline.upgrade() {
                pipeline.set_state(gst::State::Null).expect("stops");
            }
            done.send(()).ok();
            Some(true.to_value())
        });
    let url = running.url("k");
    let weak = running.source.downgrade();
    let publisher = ffmpeg(&url, "1");
    stopped.recv_timeout(DEADLINE).expect("no deadlock");
    drop(running);
    assert!(!wait(publisher).status.success());
    // The handler's own references go when it returns.
    let gone = || weak.upgrade().is_none();
    assert!(eventually(gone), "somebody still holds the element");
}

fn eventually(condition: impl Fn() -> bool) -> bool {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !condition() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    condition()
}

#[test]
fn a_publisher_can_be_disconnected() {
    let running = Running::start("loop=true", |_| {});
    assert!(
        !running
            .source
            .emit_by_name::<bool>("disconnect-publisher", &[])
    );
    let publisher = ffmpeg(&running.url("k"), "60");
    running.message("rtmp2server-publisher-connected");
    assert!(
        running
            .source
            .emit_by_name::<bool>("disconnect-publisher", &[])
    );
    let message = running.message("rtmp2server-publisher-disconnected");
    assert!(text(&message, "reason").contains("the application disconnected it"));
    // It notices long before its minute is over.
    publisher
        .wait(Duration::from_secs(20))
        .expect("ffmpeg ends");
}

#[test]
fn who_hangs_up_before_the_decision_takes_no_place() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let (entered, inside) = mpsc::channel();
    let running = Running::start("", |source| {
        source.connect("caller-connecting", false, move |_| {
            entered.send(()).ok();
            blocked.lock().unwrap().recv().ok();
            Some(true.to_value())
        });
    });
    let rejected = forward(&running.source, "caller-rejected");
    let mut gone = ffmpeg(&running.url("k"), "1");
    inside.recv_timeout(DEADLINE).unwrap();
    gone.kill();
    let caller = rejected.recv_timeout(DEADLINE).unwrap();
    assert!(text(&caller, "reason").contains("hung up"), "{caller}");
    release.send(()).unwrap();
    // The place is free for the next one.
    release.send(()).unwrap();
    assert!(wait(ffmpeg(&running.url("k"), "1")).status.success());
    let message = running.message("rtmp2server-publisher-disconnected");
    assert!(message.get::<u64>("tags").unwrap() > 30);
}

#[test]
fn a_publisher_hears_that_nobody_takes_its_data_any_more() {
    for properties in ["num-buffers=20", "! identity error-after=20"] {
        let running = Running::start(properties, |_| {});
        let publisher = ffmpeg(&running.url("k"), "60");
        let finished = publisher
            .wait(Duration::from_secs(20))
            .expect("ffmpeg does not go on for its minute");
        assert!(!finished.status.success(), "{properties}");
    }
}

#[test]
fn an_eos_event_ends_the_publication_in_the_messages_too() {
    let running = Running::start("loop=true", |_| {});
    let publisher = ffmpeg(&running.url("k"), "60");
    running.message("rtmp2server-publisher-connected");
    running.pipeline.send_event(gst::event::Eos::new());
    running.message("rtmp2server-publisher-disconnected");
    running.message("rtmp2server-pre-eos");
    let finished = publisher.wait(Duration::from_secs(20)).expect("is told");
    assert!(!finished.status.success());
}

#[test]
fn a_location_that_cannot_be_obeyed_listens_nowhere() {
    init();
    for location in [
        "rtmps://127.0.0.1:0/live/s3cret",
        "127.0.0.1/live/s3cret",
        "rtmp://h:99999/",
    ] {
        let source = gst::ElementFactory::make("rtmp2serversrc")
            .property("location", location)
            .build()
            .unwrap();
        let bus = gst::Bus::new();
        source.set_bus(Some(&bus));
        assert!(source.set_state(gst::State::Paused).is_err(), "{location}");
        let message = bus
            .pop_filtered(&[gst::MessageType::Error])
            .expect("an error");
        let gst::MessageView::Error(error) = message.view() else {
            panic!("{message:?}")
        };
        let text = format!("{} {:?}", error.error(), error.debug());
        assert!(
            text.contains("location") && !text.contains("s3cret"),
            "{text}"
        );
        // A better one, or none, and it works.
        source.set_property("location", "rtmp://127.0.0.1:0/live/s3cret");
        assert!(source.set_state(gst::State::Paused).is_ok());
        let shown: String = source.property("location");
        assert_eq!(shown, "rtmp://127.0.0.1:0/live/***");
        source.set_state(gst::State::Null).unwrap();
        // Its messages hold the source, which holds the bus.
        bus.set_flushing(true);
    }
}

#[test]
fn only_who_understands_is_asked_to_reconnect() {
    let running = Running::start("loop=true", |_| {});
    let publisher = ffmpeg(&running.url("k"), "1");
    running.message("rtmp2server-publisher-connected");
    // ffmpeg 5 knows nothing of Enhanced RTMP.
    let nowhere: Option<String> = None;
    let asked = running
        .source
        .emit_by_name::<bool>("request-reconnect", &[&nowhere]);
    assert!(!asked);
    assert!(wait(publisher).status.success());
}

#[test]
fn messages_in_their_order() {
    let running = Running::start("", |_| {});
    let listening = running.message("rtmp2server-listening");
    let port: u32 = running.source.property("current-port");
    assert_eq!(listening.get::<u32>("port").unwrap(), port);
    assert!(
        wait(ffmpeg(&running.url("secret-key"), "1"))
            .status
            .success()
    );
    let connected = running.message("rtmp2server-publisher-connected");
    assert_eq!(text(&connected, "application"), "live");
    let disconnected = running.message("rtmp2server-publisher-disconnected");
    assert!(text(&disconnected, "reason").contains("FCUnpublish"));
    assert!(disconnected.get::<gst::ClockTime>("duration").unwrap() > gst::ClockTime::SECOND / 2);
    let end = running.message("rtmp2server-pre-eos");
    for message in [connected, disconnected, end] {
        assert!(!message.to_string().contains("secret-key"), "{message}");
    }
}

#[test]
fn properties_from_many_threads_while_it_runs() {
    let running = Running::start("loop=true", |_| {});
    let publisher = ffmpeg(&running.url("k"), "1");
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for name in ["timeout", "latency"] {
            let (source, ended) = (&running.source, &ended);
            scope.spawn(move || {
                for value in 1u32.. {
                    source.set_property(name, value % 100 + 1);
                    let stats: gst::Structure = source.property("stats");
                    let count = |field| stats.get::<u64>(field).expect(field);
                    assert_eq!(
                        count("received"),
                        count("pushed") + count("queued") + count("withheld")
                    );
                    if ended.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let finished = wait(publisher);
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(finished.status.success(), "{}", finished.stderr);
    });
}
