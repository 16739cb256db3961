//! Nobody waits for those who talk much, and nobody is blamed for what the pipeline is slow at.

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use gst::prelude::*;

use support::client::{Client, tags};
use support::own_process::wait_until;
use support::peer;
use support::pipeline::{DEADLINE, Recording};

/// More than the server has threads, each sending as fast as it can.
const TALKERS: usize = 4;

#[test]
fn talkers_do_not_keep_others_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let address = recording.address();
    // Only publishers may talk much, and each needs an element. All elements of a
    // process have the same threads.
    let talkers = [(); TALKERS].map(|()| {
        let directory = tempfile::tempdir().unwrap();
        let recording = Recording::start(directory.path(), "").unwrap();
        let mut stream = peer::shake_hands(recording.address()).unwrap();
        stream.write_all(&peer::connect_command("live")).unwrap();
        stream.write_all(&peer::publish_command("test")).unwrap();
        assert!(wait_until(DEADLINE, || recording.is_publishing()));
        let talking = std::thread::spawn(move || {
            // Small, so that there are many of them in each read.
            const UNKNOWN_TYPE: u8 = 99;
            let chatter = peer::message(UNKNOWN_TYPE, 0, &[0; 4]).repeat(100_000);
            // Until the element stops.
            peer::flood(&mut stream, &chatter)
        });
        (talking, recording, directory)
    });
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let since = Instant::now();
        drop(peer::shake_hands(address).unwrap());
        longest = longest.max(since.elapsed());
    }
    let sent = tags(50, 1000);
    let mut client = Client::publisher(address).unwrap();
    client.send_all(&sent).unwrap();
    client.close().unwrap();
    assert!(recording.finish().unwrap() == sent);
    println!("a handshake took at most {longest:?}");
    // It was 4 to 9 s when a talker's turn lasted as long as it liked.
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    for (talking, recording, _directory) in talkers {
        assert!(recording.is_publishing(), "it may talk as much as it likes");
        recording.stop().unwrap();
        talking.join().unwrap().unwrap();
    }
}

#[test]
fn a_publisher_is_not_silent_while_the_pipeline_keeps_it_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "timeout=1 max-queue-bytes=10000";
    let recording = Recording::start(directory.path(), properties).unwrap();
    recording.pipeline().set_state(gst::State::Paused).unwrap();
    let sent = tags(2000, 5000);
    let mut client = Client::publisher(recording.address()).unwrap();
    let publishing = std::thread::spawn({
        let sent = sent.clone();
        move || client.send_all(&sent).and_then(|()| client.close())
    });
    recording.wait_for_counter("queue-bytes", 5000).unwrap();
    // Longer than the timeout: that is the condition.
    std::thread::sleep(Duration::from_millis(1500));
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    publishing.join().unwrap().unwrap();
    assert!(recording.finish().unwrap() == sent);
}
