//! What a second publisher gets, and how publishers that are gone without a word are found.

mod support;

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use support::client::{Client, Status, tags};
use support::flv::assert_same;
use support::host::Host;
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::publishers::{copy_to, ffmpeg_tee, live_to, read_flv, write_live_file};

const AT_ONCE: Duration = Duration::from_secs(2);
/// Silence that makes a publisher idle.
const IDLE: Duration = Duration::from_secs(2);

const BUSY: &str = "NetStream.Publish.BadName";

fn record(directory: &tempfile::TempDir, properties: &str) -> Recording {
    // Times as they were sent, so that they can be compared.
    let properties = format!("timestamp-mode=passthrough {properties}");
    Recording::start(directory.path(), &properties).unwrap()
}

/// The element's messages so far.
struct Messages {
    bus: gst::Bus,
    seen: Vec<gst::Structure>,
}

impl Messages {
    fn of(recording: &Recording) -> Self {
        Self {
            bus: recording.pipeline().bus().unwrap(),
            seen: Vec::new(),
        }
    }

    /// Waits until there are `count` of this name. To be asked before the end, for which all others are skipped.
    fn wait_for(&mut self, name: &str, count: usize) -> Vec<gst::Structure> {
        // Longer than keepalive takes.
        let deadline = Instant::now() + 2 * DEADLINE;
        loop {
            let found: Vec<_> = self
                .seen
                .iter()
                .filter(|s| s.name() == name)
                .cloned()
                .collect();
            if found.len() >= count {
                return found;
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            let rest = gst::ClockTime::try_from(rest).unwrap();
            let message = self
                .bus
                .timed_pop_filtered(rest, &[gst::MessageType::Element]);
            let message =
                message.unwrap_or_else(|| panic!("only {} of {count}: {name}", found.len()));
            self.seen.extend(message.structure().map(|s| s.to_owned()));
        }
    }
}

const CONNECTED: &str = "rtmp2server-publisher-connected";
const DISCONNECTED: &str = "rtmp2server-publisher-disconnected";

#[test]
fn takeover_moves_even_a_lively_publisher_and_both_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "publisher-policy=takeover");
    let mut first = Client::publisher(recording.address()).unwrap();
    let (from_first, from_second) = (tags(300, 3000), tags(250, 2000));
    first.send_all(&from_first).unwrap();

    let mut second = Client::connect(recording.address(), "live").unwrap();
    second.must_publish("test").unwrap();
    let told = Status {
        code: BUSY.to_owned(),
        text: "another publisher took over this stream".to_owned(),
    };
    assert_eq!(first.status().unwrap(), told);
    first.close().unwrap();
    second.send_all(&from_second).unwrap();
    assert_eq!(recording.counter("takeovers"), 1);

    let mut messages = Messages::of(&recording);
    let connected = messages.wait_for(CONNECTED, 2);
    assert!(!connected[0].has_field("taken-over-from"));
    let (first_address, second_address) = (
        connected[0].get::<&str>("address").unwrap(),
        connected[1].get::<&str>("address").unwrap(),
    );
    assert_eq!(connected[1].get("taken-over-from"), Ok(first_address));
    // Without loop, the stream ends with the last of them.
    second.close().unwrap();
    let gone = messages.wait_for(DISCONNECTED, 2).remove(0);
    assert_eq!(gone.get("clean"), Ok(false));
    assert_eq!(
        gone.get::<String>("reason").unwrap(),
        format!("another publisher took over: {second_address}")
    );
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_same(&[from_first, from_second].concat(), &captured);
}

#[test]
fn what_a_publisher_sent_before_it_gave_way_waits_for_a_stalled_pipeline() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(
        &directory,
        "publisher-policy=takeover max-queue-bytes=20000",
    );
    let mut first = Client::publisher(recording.address()).unwrap();
    // More than the queue holds, less than the sockets do.
    let (from_first, from_second) = (tags(200, 3000), tags(100, 1000));
    recording.pipeline().set_state(gst::State::Paused).unwrap();
    first.send_all(&from_first).unwrap();
    wait_until(DEADLINE, || recording.counter("backpressure-time") > 0).unwrap();

    let (asked, answer) = mpsc::channel();
    let mut second = Client::connect(recording.address(), "live").unwrap();
    let newcomer = std::thread::spawn(move || {
        asked.send(()).unwrap();
        second.must_publish("test").unwrap();
        second.send_all(&from_second).unwrap();
        second.close().unwrap();
        from_second
    });
    answer.recv().unwrap();
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    let from_second = newcomer.join().unwrap();
    let captured = recording.finish_within(DEADLINE).unwrap();
    assert_same(&[from_first, from_second].concat(), &captured);
}

#[test]
fn a_newcomer_that_the_stalled_pipeline_keeps_waiting_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(
        &directory,
        "publisher-policy=takeover max-queue-bytes=20000",
    );
    let mut first = Client::publisher(recording.address()).unwrap();
    let sent = tags(200, 3000);
    recording.pipeline().set_state(gst::State::Paused).unwrap();
    first.send_all(&sent).unwrap();
    let mut second = Client::connect(recording.address(), "live").unwrap();
    assert_eq!(
        second.publish("test").unwrap().code,
        "NetStream.Publish.Rejected"
    );
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    // The first one had been asked to go; as nobody waits for it any more, it stays.
    let rest = tags(50, 3000);
    first.send_all(&rest).unwrap();
    first.close().unwrap();
    let sent = [sent, rest].concat();
    assert_same(&sent, &recording.finish_within(DEADLINE).unwrap());
}

#[test]
fn an_encoder_that_lost_its_network_gets_its_own_route_and_not_a_wider_one() {
    let directory = tempfile::tempdir().unwrap();
    let own = record(&directory, "stream-key=cam1 loop=true");
    let other = tempfile::tempdir().unwrap();
    let any = record(&other, &format!("port={}", own.port()));
    let mut first = Client::connect(own.address(), "live").unwrap();
    first.must_publish("cam1").unwrap();
    let (from_first, from_second) = (tags(100, 1000), tags(50, 1000));
    first.send_all(&from_first).unwrap();
    own.wait_for_counter("received", 100).unwrap();
    // Its connection is still there, and silent from now on.
    let mut second = Client::connect(own.address(), "live").unwrap();
    second.must_publish("cam1").unwrap();
    second.send_all(&from_second).unwrap();
    second.close().unwrap();
    own.wait_for_counter("received", 150).unwrap();
    assert_eq!((own.counter("takeovers"), any.counter("session")), (1, 0));
    own.send_eos();
    let captured = own.finish_within(DEADLINE).unwrap();
    assert_same(&[from_first, from_second].concat(), &captured);
}

#[test]
fn by_default_a_lively_publisher_stays_and_a_silent_one_makes_way() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "");
    let mut first = Client::publisher(recording.address()).unwrap();
    let (from_first, from_second) = (tags(200, 1000), tags(100, 1000));
    let (asked, answers) = mpsc::channel();
    let address = recording.address();
    let second = std::thread::spawn(move || {
        let mut second = Client::connect(address, "live").unwrap();
        let before = Instant::now();
        asked.send(()).unwrap();
        (second.publish("test").unwrap(), before.elapsed())
    });
    answers.recv().unwrap();
    // It says something every now and then until the other one has been answered.
    let mut rest = from_first.iter();
    while !second.is_finished() {
        first.send(rest.next().unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let (answer, waited) = second.join().unwrap();
    assert_eq!(answer.code, BUSY);
    assert!(waited < IDLE, "{waited:?}");
    first.send_all(rest.as_slice()).unwrap();
    recording.wait_for_counter("received", 200).unwrap();

    let silent_since = Instant::now();
    let mut third = Client::connect(recording.address(), "live").unwrap();
    third.must_publish("test").unwrap();
    let waited = silent_since.elapsed();
    assert!(waited + Duration::from_millis(200) >= IDLE, "{waited:?}");
    third.send_all(&from_second).unwrap();
    third.close().unwrap();
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_same(&[from_first, from_second].concat(), &captured);
}

#[test]
fn with_reject_even_a_silent_publisher_stays() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "publisher-policy=reject");
    let mut first = Client::publisher(recording.address()).unwrap();
    let sent = tags(100, 1000);
    first.send_all(&sent[..50]).unwrap();
    recording.wait_for_counter("received", 50).unwrap();
    let until = Instant::now() + IDLE + Duration::from_millis(500);
    while Instant::now() < until {
        let mut second = Client::connect(recording.address(), "live").unwrap();
        let before = Instant::now();
        assert_eq!(second.publish("test").unwrap().code, BUSY);
        assert!(before.elapsed() < IDLE);
    }
    first.send_all(&sent[50..]).unwrap();
    first.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

#[test]
fn the_policy_can_be_changed_while_somebody_publishes() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "publisher-policy=reject");
    let _first = Client::publisher(recording.address()).unwrap();
    let mut second = Client::connect(recording.address(), "live").unwrap();
    assert_eq!(second.publish("test").unwrap().code, BUSY);
    recording
        .source()
        .set_property_from_str("publisher-policy", "takeover");
    let mut third = Client::connect(recording.address(), "live").unwrap();
    third.must_publish("test").unwrap();
}

#[test]
fn the_application_is_asked_before_anybody_has_to_go() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "publisher-policy=takeover");
    recording
        .source()
        .connect("caller-connecting", false, |arguments| {
            let caller = arguments[1].get::<gst::Structure>().unwrap();
            Some((caller.get::<&str>("stream-key") == Ok("test")).to_value())
        });
    let mut first = Client::publisher(recording.address()).unwrap();
    let sent = tags(100, 1000);
    first.send_all(&sent[..50]).unwrap();
    let mut second = Client::connect(recording.address(), "live").unwrap();
    assert_eq!(
        second.publish("other").unwrap().code,
        "NetStream.Publish.Denied"
    );
    first.send_all(&sent[50..]).unwrap();
    first.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

/// The encoder's network is gone, and it comes back by another way while its dead connection is still there.
#[test]
fn an_encoder_whose_link_was_cut_gets_its_route_back() {
    let directory = tempfile::tempdir().unwrap();
    let (before, after) = (
        directory.path().join("before"),
        directory.path().join("after"),
    );
    std::fs::create_dir_all(&before).unwrap();
    std::fs::create_dir_all(&after).unwrap();
    let recording = record(&directory, "stream-key=cam timeout=0");
    let host = Host::new().unwrap();
    let url = |address: &str| format!("rtmp://{address}:{}/live/cam", recording.port());
    // Copied from a file: what a publisher that hangs was about to write elsewhere would be lost with it.
    let file = write_live_file(&before, 30).unwrap();
    let url_behind_the_link = url(&host.our_address());
    let lost = copy_to(host.command("ffmpeg"), &file, &url_behind_the_link).unwrap();
    recording.wait_for_counter("received", 50).unwrap();
    host.cut();
    let cut = Instant::now();

    let again = live_to(Command::new("ffmpeg"), 2, &url("127.0.0.1"), &after).unwrap();
    wait_until(DEADLINE, || recording.counter("takeovers") == 1).unwrap();
    // Two seconds of silence, and what it takes to start an encoder.
    assert!(
        cut.elapsed() < Duration::from_secs(10),
        "{:?}",
        cut.elapsed()
    );
    let from_second = again.finish().unwrap();
    let gone = Messages::of(&recording).wait_for(DISCONNECTED, 2).remove(0);
    recording.wait_for_eos(DEADLINE).unwrap();
    let address = gone.get::<&str>("address").unwrap().to_owned();
    assert!(address.starts_with(&host.address()), "{address}");
    let of_first = gone.get::<u64>("tags").unwrap() as usize;
    let captured = recording.read().unwrap();
    assert_same(&from_second, &captured[of_first..]);
    assert!(of_first >= 50);

    // What came of it is the beginning of what it sent.
    lost.kill();
    let from_first = read_flv(&file).unwrap();
    assert_same(&from_first[..of_first], &captured[..of_first]);
}

/// Publishes from behind a link that is cut, and measures how long that goes unnoticed.
fn time_to_notice(properties: &str) -> (Duration, String) {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, properties);
    let host = Host::new().unwrap();
    let url = format!(
        "rtmp://{}:{}/live/cam",
        host.our_address(),
        recording.port()
    );
    let publisher = live_to(host.command("ffmpeg"), 120, &url, directory.path()).unwrap();
    recording.wait_for_counter("received", 50).unwrap();
    host.cut();
    let cut = Instant::now();
    let gone = Messages::of(&recording).wait_for(DISCONNECTED, 1).remove(0);
    let elapsed = cut.elapsed();
    recording.wait_for_eos(AT_ONCE).unwrap();
    publisher.kill();
    (elapsed, gone.get("reason").unwrap())
}

#[test]
fn a_cut_link_is_silence() {
    let (elapsed, reason) = time_to_notice("timeout=4");
    // The last frame came a moment before the cut.
    assert!((3..8).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert!(reason.contains("silent for 4 s"), "{reason}");
}

#[test]
fn without_timeout_a_cut_link_is_found_by_keepalive() {
    let (elapsed, reason) = time_to_notice("timeout=0");
    assert!((15..40).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert!(reason.contains("the socket failed"), "{reason}");
}

/// Real encoders that send little, for much longer than `timeout`; and 20 s of nothing within the default one.
#[test]
fn slow_publishers_stay() {
    let slow = |arguments: &str| {
        let directory = tempfile::tempdir().unwrap();
        let recording = record(&directory, "timeout=3");
        let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
        let publisher = ffmpeg_tee(arguments.collect(), recording.port(), directory.path());
        let sent = publisher.unwrap().finish().unwrap();
        assert!(sent.len() > 8, "{}", sent.len());
        assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            slow(
                "-re -f lavfi -i testsrc=size=160x120:rate=1 -t 10 -map 0 \
                 -c:v libx264 -preset ultrafast -tune zerolatency -threads 1",
            );
        });
        scope.spawn(|| slow("-re -f lavfi -i sine=frequency=440 -t 10 -map 0 -c:a aac"));
        let directory = tempfile::tempdir().unwrap();
        let recording = record(&directory, "");
        let mut client = Client::publisher(recording.address()).unwrap();
        let sent = tags(20, 1000);
        client.send_all(&sent[..10]).unwrap();
        std::thread::sleep(Duration::from_secs(20));
        client.send_all(&sent[10..]).unwrap();
        client.close().unwrap();
        assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
    });
}
