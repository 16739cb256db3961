//! Actions act at once, on a publisher that is held up by a stalled pipeline too.

mod support;

use std::time::{Duration, Instant};

use gst::prelude::*;
use support::client::{Client, tags};
use support::flv::{self, Rules};
use support::pipeline::{DEADLINE, Recording, wait_until};

const AT_ONCE: Duration = Duration::from_secs(2);
/// Nothing passes until it plays.
const SMALL_QUEUE: &str = "loop=true max-queue-bytes=20000";

/// `capsEx` of E-RTMP v2: it acts on a request to reconnect.
const RECONNECTS: f64 = 1.0;

fn request_reconnect(recording: &Recording, url: Option<&str>) -> bool {
    let source = recording.source();
    source.emit_by_name("request-reconnect", &[&url])
}

/// A recording that takes nothing, and a publisher that it holds up.
fn stalled(recording: &Recording) -> (Client, usize) {
    let mut client = Client::connect_with(recording.address(), "live", RECONNECTS).unwrap();
    client.must_publish("test").unwrap();
    recording.pipeline().set_state(gst::State::Paused).unwrap();
    let sent = tags(400, 1000);
    client.send_all(&sent).unwrap();
    wait_until(DEADLINE, || recording.counter("backpressure-time") > 0).unwrap();
    (client, sent.len())
}

#[test]
fn who_understands_is_asked_to_reconnect_and_goes_on_until_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    assert!(!request_reconnect(&recording, None), "there is nobody");
    let mut client = Client::connect_with(recording.address(), "live", RECONNECTS).unwrap();
    client.must_publish("test").unwrap();
    let sent = tags(60, 300);
    let (first, rest) = sent.split_at(30);
    client.send_all(first).unwrap();
    for url in [None, Some("rtmp://elsewhere/live")] {
        let since = Instant::now();
        assert!(request_reconnect(&recording, url));
        let told = client.status_with("tcUrl").unwrap();
        assert_eq!(told.0.code, "NetConnection.Connect.ReconnectRequest");
        assert_eq!(told.1.as_deref(), url);
        assert!(since.elapsed() < AT_ONCE);
    }
    client.send_all(rest).unwrap();
    client.close().unwrap();
    let captured = recording.finish().unwrap();
    let comparison = flv::compare(&sent, &captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

#[test]
fn who_is_held_up_is_asked_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), SMALL_QUEUE).unwrap();
    let (mut client, _) = stalled(&recording);
    let since = Instant::now();
    assert!(request_reconnect(&recording, None));
    let told = client.status().unwrap();
    assert_eq!(told.code, "NetConnection.Connect.ReconnectRequest");
    assert!(since.elapsed() < AT_ONCE);
}

#[test]
fn who_is_held_up_is_disconnected_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), SMALL_QUEUE).unwrap();
    let (mut client, sent) = stalled(&recording);
    let since = Instant::now();
    let source = recording.source();
    assert!(source.emit_by_name::<bool>("disconnect-publisher", &[]));
    let told = client.status().unwrap();
    assert_eq!(told.code, "NetStream.Publish.Rejected");
    wait_until(AT_ONCE, || !recording.is_publishing()).unwrap();
    assert!(since.elapsed() < AT_ONCE);
    // The next one is let in before anything of the first has been put out, and what was received of that is kept.
    let received = recording.counter("received");
    assert!(received > 10 && received < sent as u64, "{received}");
    let second = Client::connect(recording.address(), "live");
    assert!(second.is_ok());
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    recording.wait_for_counter("pushed", received).unwrap();
    recording.send_eos();
    let captured = recording.finish().unwrap();
    assert_eq!(captured.len() as u64, received);
    assert!(tags(400, 1000).starts_with(&captured));
}
