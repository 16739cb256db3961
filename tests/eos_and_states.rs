//! An EOS event at any moment gives a whole file, and state changes neither wait nor lose anything.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex, Once, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gst::prelude::*;

use support::client::{Client, Random, tags};
use support::flv::{self, Rules, Tag, assert_same};
use support::launch::{free_port, gst_launch, wait_for_listener};
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::process::Process;
use support::publishers::Ffmpeg;
use support::recorder::Recorder;
use support::wire;

const AT_ONCE: Duration = Duration::from_secs(2);
const SMALL_QUEUE: &str = "max-queue-bytes=1000000";
/// Nothing passes, until a change of state that lets the streaming thread go.
const STUCK: &str = "queue max-size-buffers=1 ! valve name=valve !";

/// The captured tags are the first ones that were sent.
fn assert_begins(sent: &[Tag], captured: &[Tag]) {
    let prefix = Rules {
        prefix: true,
        ..Rules::default()
    };
    let comparison = flv::compare(sent, captured, prefix);
    assert!(comparison.is_same(), "{comparison}");
}

/// Sends as fast as it can until all is sent or the server has had enough.
fn burst(recording: &Recording, sent: &[Tag]) -> JoinHandle<Client> {
    let mut client = Client::publisher(recording.address()).unwrap();
    let sent = sent.to_vec();
    thread::spawn(move || {
        // To be cut off is the point of some tests.
        let _ = client.send_all(&sent);
        client
    })
}

fn wait_until_queue_is_full(recording: &Recording, tag_size: u64) {
    let max: u32 = recording.source().property("max-queue-bytes");
    let full = u64::from(max) - tag_size - 1000;
    recording.wait_for_counter("queue-bytes", full).unwrap();
}

#[test]
fn eos_event_without_publisher_gives_an_empty_file() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    recording.send_eos();
    assert_eq!(recording.finish_within(AT_ONCE), Ok(vec![]));
    let file = std::fs::read(directory.path().join("output.flv")).unwrap();
    assert_eq!(file, flv::FILE_HEADER);
}

#[test]
fn eos_event_while_a_publisher_has_yet_to_send() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let client = Client::publisher(recording.address()).unwrap();
    recording.send_eos();
    assert_eq!(recording.finish_within(AT_ONCE), Ok(vec![]));
    drop(client);
}

#[test]
fn eos_event_in_paused_ends_when_playing() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    recording.pipeline().set_state(gst::State::Paused).unwrap();
    recording.send_eos();
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    assert_eq!(recording.finish_within(AT_ONCE), Ok(vec![]));
}

/// Time in which the pipeline takes nothing because it is paused does not count.
#[test]
fn eos_event_in_paused_keeps_what_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let sent = tags(100, 500);
    let mut client = Client::publisher(recording.address()).unwrap();
    client.send_all(&sent[..50]).unwrap();
    recording.wait_for_counter("pushed", 50).unwrap();
    recording.pipeline().set_state(gst::State::Paused).unwrap();
    client.send_all(&sent[50..]).unwrap();
    recording.wait_for_counter("received", 100).unwrap();
    recording.send_eos();
    // Longer than the element waits for a pipeline that plays.
    std::thread::sleep(Duration::from_millis(5500));
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_eq!(captured.len(), 100);
    assert_begins(&sent, &captured);
}

#[test]
fn eos_event_in_mid_stream_keeps_all_that_was_received() {
    let sent = tags(20_000, 2000);
    for moment in [1, 100, 3000] {
        let directory = tempfile::tempdir().unwrap();
        let recording = Recording::start(directory.path(), "").unwrap();
        let publisher = burst(&recording, &sent);
        recording.wait_for_counter("received", moment).unwrap();
        recording.send_eos();
        recording.wait_for_eos(AT_ONCE).unwrap();
        let received = recording.counter("received");
        assert_eq!(recording.counter("pushed"), received);
        let captured = recording.read().unwrap();
        assert_eq!(captured.len() as u64, received);
        assert!(received >= moment);
        assert_begins(&sent, &captured);
        drop(publisher.join());
    }
}

/// A recording through `between` whose queue was filled while it was paused.
fn with_a_full_queue(
    directory: &Path,
    between: &str,
    sent: &[Tag],
) -> (Recording, JoinHandle<Client>) {
    let recording = Recording::prepare(directory, SMALL_QUEUE, between).unwrap();
    recording.pipeline().set_state(gst::State::Paused).unwrap();
    let publisher = burst(&recording, sent);
    wait_until_queue_is_full(&recording, sent[sent.len() - 1].body.len() as u64);
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    (recording, publisher)
}

#[test]
fn eos_event_drains_a_full_queue_behind_a_slow_consumer() {
    let directory = tempfile::tempdir().unwrap();
    let slow = "identity sleep-time=5000 !";
    let sent = tags(1000, 10_000);
    let (recording, publisher) = with_a_full_queue(directory.path(), slow, &sent);
    recording.send_eos();
    recording.wait_for_eos(AT_ONCE).unwrap();
    let received = recording.counter("received");
    assert!(received >= 90, "the queue was full: {received}");
    let captured = recording.read().unwrap();
    assert_eq!(captured.len() as u64, received);
    assert_begins(&sent, &captured);
    drop(publisher.join());
}

/// With what it would take a minute to write, the deadline of the source decides; what is left out is counted.
#[test]
fn eos_event_does_not_wait_for_a_consumer_that_is_far_too_slow() {
    let directory = tempfile::tempdir().unwrap();
    let slow = "identity sleep-time=200000 !";
    let sent = tags(1000, 3000);
    let (recording, publisher) = with_a_full_queue(directory.path(), slow, &sent);
    let since = Instant::now();
    recording.send_eos();
    recording.wait_for_eos(DEADLINE).unwrap();
    assert!(since.elapsed() < Duration::from_secs(7));
    let received = recording.counter("received");
    let withheld = recording.counter("withheld-at-eos");
    assert!(withheld > 100, "{withheld} of {received}");
    let captured = recording.read().unwrap();
    assert_eq!(captured.len() as u64 + withheld, received);
    assert_begins(&sent, &captured);
    drop(publisher.join());
}

#[test]
fn eos_event_as_the_publisher_leaves() {
    let sent = tags(50, 200);
    for round in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        let properties = ["", "loop=true", "no-eof-is-error=true"][round % 3];
        let recording = Recording::start(directory.path(), properties).unwrap();
        let mut client = Client::publisher(recording.address()).unwrap();
        client.send_all(&sent).unwrap();
        let now = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                now.wait();
                match round % 4 {
                    0 => client.fc_unpublish().and_then(|()| client.close()),
                    1 => client.delete_stream().and_then(|()| client.close()),
                    _ => client.close(),
                }
            });
            now.wait();
            recording.send_eos();
        });
        let outcome = recording.wait_for_eos(AT_ONCE);
        // An error is there before the EOS that makes filesink write what it holds.
        recording.wait_for_end_of_file().unwrap();
        let received = recording.counter("received");
        let captured = recording.read().unwrap();
        assert_eq!(captured.len() as u64, received);
        assert_begins(&sent, &captured);
        match outcome {
            Ok(()) => {}
            // The publisher was faster than the event.
            Err(e) => assert!(round % 3 == 2 && e.contains("no-eof-is-error"), "{e}"),
        }
    }
}

#[test]
fn interrupted_gst_launch_leaves_a_whole_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let recording = Process::spawn(
        gst_launch(directory.path())
            .args(["-e", "rtmp2serversrc", &format!("port={port}")])
            .args(["!", "filesink", "location=output.flv"]),
    )
    .unwrap();
    wait_for_listener(port, &recording);
    let recorder = Recorder::start(([127, 0, 0, 1], port).into());
    let publisher = Ffmpeg::Endless.publish(recorder.port(), directory.path());
    recorder
        .wait_for(0, DEADLINE, |wire| wire.bytes.len() >= 100_000)
        .unwrap();

    recording.interrupt();
    recording
        .wait(AT_ONCE)
        .unwrap()
        .expect_success("gst-launch-1.0")
        .unwrap();
    let arrived = recorder.wait_for_end(0, DEADLINE).unwrap();
    publisher.unwrap().kill();
    let output = directory.path().join("output.flv");
    let captured = flv::parse(&std::fs::read(&output).unwrap()).unwrap();
    assert!(captured.iter().filter(|tag| tag.is_video_frame()).count() > 5);
    assert_begins(&wire::tags(&arrived.bytes).unwrap(), &captured);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "warning", "-i"]).arg(&output);
    ffmpeg.args(["-f", "null", "-"]);
    let reading = Process::spawn(&mut ffmpeg).unwrap().wait(DEADLINE).unwrap();
    assert_eq!(reading.expect_success("ffmpeg").unwrap().stderr, "");
}

// States.

#[derive(Clone, Copy, Debug)]
enum Situation {
    NoPublisher,
    MidStream,
    FullQueue,
}

/// How long it takes from a state to NULL.
fn time_to_null(state: gst::State, situation: Situation) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let between = match situation {
        Situation::FullQueue => STUCK,
        _ => "",
    };
    let recording = Recording::prepare(directory.path(), SMALL_QUEUE, between).unwrap();
    let pipeline = recording.pipeline();
    let mut publisher = None;
    if state == gst::State::Ready {
        pipeline.set_state(gst::State::Paused).unwrap();
    } else {
        pipeline.set_state(gst::State::Playing).unwrap();
    }
    match situation {
        Situation::NoPublisher => {}
        Situation::MidStream => {
            publisher = Some(burst(&recording, &tags(20_000, 1000)));
            let moment = if state == gst::State::Ready { 1 } else { 100 };
            recording.wait_for_counter("received", moment).unwrap();
        }
        Situation::FullQueue => {
            let valve = pipeline.by_name("valve").expect("in the description");
            let pad = valve.static_pad("sink").expect("a filter has one");
            pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
                gst::PadProbeReturn::Ok
            });
            publisher = Some(burst(&recording, &tags(20_000, 1000)));
            wait_until_queue_is_full(&recording, 1000);
        }
    }
    pipeline.set_state(state).unwrap();
    let since = Instant::now();
    pipeline.set_state(gst::State::Null).unwrap();
    let took = since.elapsed();
    assert_eq!(recording.port(), 0, "the port is closed");
    drop(recording);
    if let Some(publisher) = publisher {
        // The server is gone, so it ends.
        drop(publisher.join());
    }
    took
}

#[test]
fn null_takes_less_than_100_ms_from_anywhere() {
    const LIMIT: Duration = Duration::from_millis(100);
    for state in [gst::State::Ready, gst::State::Paused, gst::State::Playing] {
        for situation in [
            Situation::NoPublisher,
            Situation::MidStream,
            Situation::FullQueue,
        ] {
            // The best of three: the machine may be busy with something else.
            let tries = (0..3).map(|_| time_to_null(state, situation));
            let best = tries.min().expect("three of them");
            println!("{state:?} to NULL, {situation:?}: {best:?}");
            assert!(best < LIMIT, "{state:?}, {situation:?}: {best:?}");
        }
    }
}

#[test]
fn paused_has_no_preroll_and_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    let since = Instant::now();
    let change = recording.pipeline().set_state(gst::State::Paused);
    assert_eq!(change, Ok(gst::StateChangeSuccess::NoPreroll));
    assert!(since.elapsed() < Duration::from_secs(1));
    assert_ne!(recording.port(), 0, "it listens already");
}

/// Pauses whenever a random number of tags has passed; resumes after a random number of those that arrive meanwhile, or
/// when the queue takes no more.
fn pause_and_resume(recording: &Recording, random: &mut Random, step: u64, all: u64) {
    let pipeline = recording.pipeline();
    let max: u32 = recording.source().property("max-queue-bytes");
    let mut pauses = 0;
    while recording.counter("pushed") < all {
        let wanted = all.min(recording.counter("pushed") + random.below(step));
        recording.wait_for_counter("pushed", wanted).unwrap();
        pipeline.set_state(gst::State::Paused).unwrap();
        let wanted = all.min(recording.counter("received") + random.below(step));
        wait_until(DEADLINE, || {
            recording.counter("received") >= wanted
                // Or there is no room for more.
                || recording.counter("queue-bytes") + 10_000 > u64::from(max)
        })
        .unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        pauses += 1;
    }
    assert!(pauses > 10, "{pauses}");
}

#[test]
fn pauses_during_a_burst_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), SMALL_QUEUE).unwrap();
    let sent = tags(10_000, 1000);
    let publisher = burst(&recording, &sent);
    pause_and_resume(&recording, &mut Random(11), 200, sent.len() as u64);
    publisher.join().unwrap().close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

#[test]
fn pauses_of_a_live_publisher_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let sent = tags(1000, 500);
    let mut client = Client::publisher(recording.address()).unwrap();
    let publisher = thread::spawn({
        let sent = sent.clone();
        move || {
            for tag in &sent {
                client.send(tag).unwrap();
                // Its frame rate.
                thread::sleep(Duration::from_millis(1));
            }
            client.close().unwrap();
        }
    });
    pause_and_resume(&recording, &mut Random(12), 30, sent.len() as u64);
    publisher.join().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

#[test]
fn quick_toggles_lose_neither_a_tag_nor_an_unlock() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let sent = tags(3000, 500);
    let mut client = Client::publisher(recording.address()).unwrap();
    let pipeline = recording.pipeline();
    for part in sent.chunks(10) {
        client.send_all(part).unwrap();
        pipeline.set_state(gst::State::Paused).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
    }
    client.delete_stream().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

#[test]
fn quick_toggles_without_publisher() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let pipeline = recording.pipeline();
    for _ in 0..300 {
        pipeline.set_state(gst::State::Paused).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
    }
    recording.send_eos();
    assert_eq!(recording.finish_within(AT_ONCE), Ok(vec![]));
}

#[test]
fn starts_again_after_null() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    client.send_all(&tags(30, 100)).unwrap();
    recording.wait_for_counter("pushed", 30).unwrap();
    recording.pipeline().set_state(gst::State::Null).unwrap();
    drop(client);

    recording.pipeline().set_state(gst::State::Playing).unwrap();
    let sent = tags(40, 100);
    let mut client = Client::publisher(recording.address()).unwrap();
    client.send_all(&sent).unwrap();
    client.close().unwrap();
    recording.wait_for_eos(AT_ONCE).unwrap();
    recording.pipeline().set_state(gst::State::Null).unwrap();
    // The second recording, in place of the first.
    let file = std::fs::read(directory.path().join("output.flv")).unwrap();
    assert_same(&sent, &flv::parse(&file).unwrap());
}

/// A flush turns a buffer away that `create` has handed out and the pad has not had, and so does a relink to what wants
/// other caps: it comes again, and nothing is counted that did not go.
#[test]
fn what_a_flush_turns_away_comes_again() {
    gst::init().unwrap();
    let sent = tags(30, 500);
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    let source = recording.source().clone();
    let pad = source.static_pad("src").unwrap();
    let (reached, segments) = mpsc::channel();
    let went = Arc::new(Mutex::new(Vec::new()));
    // Behind the element, where what has gone out is.
    let behind = pad.peer().unwrap();
    let types = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    behind.add_probe(types, {
        let (went, pad, first) = (went.clone(), pad.clone(), Once::new());
        move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    let bytes = buffer.map_readable().unwrap();
                    went.lock().unwrap().extend_from_slice(&bytes);
                }
                // Between `create` and the pad: the base class sends it before the buffer.
                Some(gst::PadProbeData::Event(e)) if e.type_() == gst::EventType::Segment => {
                    first.call_once(|| {
                        reached.send(()).unwrap();
                        let flushes = || pad.pad_flags().contains(gst::PadFlags::FLUSHING);
                        wait_until(DEADLINE, flushes).unwrap();
                    });
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        }
    });
    let recording = recording.play().unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    client.send_all(&sent).unwrap();
    segments.recv_timeout(DEADLINE).unwrap();
    assert!(source.send_event(gst::event::FlushStart::new()));
    assert!(source.send_event(gst::event::FlushStop::new(true)));
    client.close().unwrap();
    recording.wait_for_eos(DEADLINE).unwrap();
    assert_eq!(recording.counter("pushed"), 30);
    let went = went.lock().unwrap();
    assert_same(&sent, &flv::parse(&went).unwrap());
}

/// flvdemux of 1.28 ends everything at the codec's end of sequence: whoever stops the pipeline then must not cut off the
/// publisher, which has yet to say that it ends.
#[test]
fn an_end_of_sequence_goes_out_when_the_publisher_has_gone() {
    let end = |timestamp| Tag {
        kind: flv::Kind::Video,
        timestamp,
        body: b"\x17\x02\0\0\0".to_vec(),
    };
    let mut sent = tags(40, 500);
    // One in the middle, which has its place, and the last.
    sent.insert(20, end(sent[20].timestamp));
    sent.push(end(sent[40].timestamp));
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let source = recording.source().downgrade();
    let (went, ends) = mpsc::channel();
    let pad = recording.source().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let is_end = info
            .buffer()
            .is_some_and(|buffer| buffer.size() == 11 + 5 + 4);
        if is_end {
            let stats: gst::Structure = source.upgrade().unwrap().property("stats");
            went.send(stats.get::<String>("state").unwrap()).unwrap();
        }
        gst::PadProbeReturn::Ok
    });
    let mut client = Client::publisher(recording.address()).unwrap();
    client.send_all(&sent).unwrap();
    assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), "publishing");
    recording.wait_for_counter("received", 42).unwrap();
    recording.wait_for_counter("pushed", 41).unwrap();
    assert_eq!(recording.counter("queued"), 1);
    client.close().unwrap();
    assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), "listening");
    assert_same(&sent, &recording.finish().unwrap());
}
