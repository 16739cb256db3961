//! Properties that are changed while somebody publishes: the next publish finds them changed, the running one does not.
//! Application and stream key are in `settings.rs`.

mod support;

use std::time::{Duration, Instant};

use gst::prelude::*;
use support::client::{Client, Status, tags};
use support::flv::assert_same;
use support::pipeline::{DEADLINE, Recording, wait_until};

const AT_ONCE: Duration = Duration::from_secs(2);

const BUSY: &str = "NetStream.Publish.BadName";

fn record(directory: &tempfile::TempDir, properties: &str) -> Recording {
    // Times as they were sent, so that they can be compared.
    let properties = format!("timestamp-mode=passthrough {properties}");
    Recording::start(directory.path(), &properties).unwrap()
}

fn connect(recording: &Recording) -> Client {
    Client::connect(recording.address(), "live").unwrap()
}

/// Waits until the publisher is gone, and says why and how long that took.
fn end_of_publisher(recording: &Recording) -> (Duration, String) {
    let since = Instant::now();
    let bus = recording.pipeline().bus().unwrap();
    let deadline = gst::ClockTime::try_from(DEADLINE).unwrap();
    loop {
        let message = bus
            .timed_pop_filtered(deadline, &[gst::MessageType::Element])
            .expect("its end is announced");
        let message = message.structure().unwrap();
        if message.name() == "rtmp2server-publisher-disconnected" {
            return (since.elapsed(), message.get("reason").unwrap());
        }
    }
}

#[test]
fn publisher_policy() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "publisher-policy=reject");
    let set = |policy| {
        recording
            .source()
            .set_property_from_str("publisher-policy", policy)
    };
    let (from_first, from_second) = (tags(200, 1000), tags(100, 2000));
    let mut first = Client::publisher(recording.address()).unwrap();
    first.send_all(&from_first[..100]).unwrap();
    assert_eq!(connect(&recording).publish("test").unwrap().code, BUSY);

    set("takeover");
    // Nobody else has come: the one that publishes goes on.
    first.send_all(&from_first[100..]).unwrap();
    recording.wait_for_counter("received", 200).unwrap();
    assert!(recording.is_publishing());
    let mut second = connect(&recording);
    second.must_publish("test").unwrap();
    let told = Status {
        code: BUSY.to_owned(),
        text: "another publisher took over this stream".to_owned(),
    };
    assert_eq!(first.status().unwrap(), told);

    set("reject");
    assert_eq!(connect(&recording).publish("test").unwrap().code, BUSY);
    second.send_all(&from_second).unwrap();
    second.close().unwrap();
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_same(&[from_first, from_second].concat(), &captured);
}

#[test]
fn timeout() {
    const SHORT: Duration = Duration::from_secs(1);
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "loop=true timeout=0");
    let sent = tags(100, 1000);
    let mut first = Client::publisher(recording.address()).unwrap();
    first.send_all(&sent[..50]).unwrap();
    recording.source().set_property("timeout", 1u32);
    // Twice the time that its successors have.
    std::thread::sleep(2 * SHORT);
    assert!(recording.is_publishing());
    first.send_all(&sent[50..]).unwrap();
    first.close().unwrap();
    end_of_publisher(&recording);

    let mut second = Client::publisher(recording.address()).unwrap();
    recording.source().set_property("timeout", 0u32);
    let (after, reason) = end_of_publisher(&recording);
    assert!(reason.contains("silent for 1 s"), "{reason}");
    assert!(
        after + Duration::from_millis(200) >= SHORT && after < 4 * SHORT,
        "{after:?}"
    );
    assert!(second.status().is_err(), "it is disconnected");

    let mut third = Client::publisher(recording.address()).unwrap();
    std::thread::sleep(2 * SHORT);
    third.send_all(&sent).unwrap();
    third.close().unwrap();
    recording.send_eos();
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_same(&[sent.clone(), sent].concat(), &captured);
}

#[test]
fn no_more_loop() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "loop=true");
    let sent = tags(100, 1000);
    let mut first = Client::publisher(recording.address()).unwrap();
    first.send_all(&sent[..50]).unwrap();
    recording.source().set_property("loop", false);
    first.send_all(&sent[50..]).unwrap();
    first.close().unwrap();
    wait_until(DEADLINE, || !recording.is_publishing()).unwrap();

    // This one is the last.
    let mut second = Client::publisher(recording.address()).unwrap();
    second.send_all(&sent).unwrap();
    second.close().unwrap();
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_same(&[sent.clone(), sent].concat(), &captured);
}

#[test]
fn a_loop_that_comes_too_late() {
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&directory, "loop=false");
    let sent = tags(100, 1000);
    let mut first = Client::publisher(recording.address()).unwrap();
    first.send_all(&sent[..50]).unwrap();
    recording.source().set_property("loop", true);
    first.send_all(&sent[50..]).unwrap();
    first.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}
