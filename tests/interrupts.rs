//! Ctrl-C as users press it, at any moment, and what a publisher that goes on hears of it.

mod support;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use support::client::{Client, tags};
use support::flv::{self, Rules};
use support::launch::{free_port, gst_launch};
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::process::Process;
use support::publishers::Ffmpeg;
use support::recorder::Recorder;
use support::wire;

const AT_ONCE: Duration = Duration::from_secs(2);

/// Interrupts `gst-launch-1.0 -e` when so many bytes of a publisher are on the way; none: there is no publisher.
fn interrupt_after(bytes: Option<usize>) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let log = directory.path().join("states.log");
    let recording = Process::spawn(
        gst_launch(directory.path())
            .env("GST_DEBUG", "GST_STATES:4")
            .env("GST_DEBUG_NO_COLOR", "1")
            .env("GST_DEBUG_FILE", &log)
            .args(["-e", "rtmp2serversrc", &format!("port={port}")])
            .args(["!", "filesink", "location=output.flv"]),
    )
    .unwrap();
    // Before that, gst-launch-1.0 ends without an EOS event.
    wait_until(DEADLINE, || {
        std::fs::read_to_string(&log)
            .is_ok_and(|log| log.contains("<rtmp2serversrc0> completed state change to PLAYING"))
    })
    .unwrap();
    let recorder = Recorder::start((Ipv4Addr::LOCALHOST, port).into());
    let publisher = bytes.map(|bytes| {
        let publisher = Ffmpeg::Endless.publish(recorder.port(), directory.path());
        recorder
            .wait_for(0, DEADLINE, |wire| wire.bytes.len() >= bytes)
            .unwrap();
        publisher.unwrap()
    });

    let since = Instant::now();
    recording.interrupt();
    let finished = recording.wait(DEADLINE).unwrap();
    let took = since.elapsed();
    finished.expect_success("gst-launch-1.0").unwrap();
    assert!(took < AT_ONCE, "{bytes:?}: {took:?}");

    let file = std::fs::read(directory.path().join("output.flv")).unwrap();
    let captured = flv::parse(&file).unwrap();
    let sent = match publisher {
        Some(publisher) => {
            let arrived = recorder.wait_for_end(0, DEADLINE).unwrap();
            publisher.kill();
            wire::tags(&arrived.bytes).unwrap()
        }
        None => Vec::new(),
    };
    let prefix = Rules {
        prefix: true,
        ..Rules::default()
    };
    let comparison = flv::compare(&sent, &captured, prefix);
    assert!(comparison.is_same(), "{bytes:?}: {comparison}");
    captured.len()
}

#[test]
fn with_no_publisher() {
    assert_eq!(interrupt_after(None), 0);
}

#[test]
fn while_a_publisher_introduces_itself() {
    // Just connected, in the handshake, behind it, in the commands.
    for bytes in [0, 1, 3073, 3300] {
        interrupt_after(Some(bytes));
    }
}

#[test]
fn in_mid_stream() {
    for bytes in [10_000, 40_003, 70_001] {
        let captured = interrupt_after(Some(bytes));
        assert!(bytes < 70_000 || captured > 10, "{captured}");
    }
}

#[test]
fn a_publisher_that_goes_on_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let sent = tags(3000, 500);
    let mut client = Client::publisher(recording.address()).unwrap();
    let publishing = std::thread::spawn({
        let sent = sent.clone();
        move || {
            // It fails some time after the end, when the server has closed.
            while client.send_all(&sent).is_ok() {}
            client.status()
        }
    });
    recording.wait_for_counter("received", 1000).unwrap();
    recording.send_eos();
    recording.wait_for_eos(AT_ONCE).unwrap();
    let status = publishing.join().unwrap().unwrap();
    assert_eq!(status.code, "NetStream.Publish.Rejected");
    let received = recording.counter("received") as usize;
    let captured = recording.read().unwrap();
    assert_eq!(captured.len(), received);
    assert!(captured.iter().eq(sent.iter().cycle().take(received)));
}
