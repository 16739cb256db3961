//! Stopping and starting again, many times over and with peers of every kind: at once, on the same port, and each
//! recording is one of its own.

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use gst::prelude::*;

use support::client::{Client, tags};
use support::flv;
use support::peer;
use support::pipeline::{DEADLINE, Recording};

const AT_ONCE: Duration = Duration::from_millis(100);

#[test]
fn the_port_is_free_as_soon_as_the_element_has_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let port = recording.port();
    recording.source().set_property("port", u32::from(port));
    for round in 0..300 {
        // With somebody connected, and somebody about to be.
        let clients = [(); 2].map(|()| peer::connect(recording.address()).unwrap());
        let to = [gst::State::Ready, gst::State::Null][round % 2];
        recording.pipeline().set_state(to).unwrap();
        let playing = recording.pipeline().set_state(gst::State::Playing);
        assert!(playing.is_ok(), "round {round}");
        assert_eq!(recording.port(), port);
        drop(clients);
    }
}

#[test]
fn each_start_is_a_recording_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    for round in 0..20 {
        recording.pipeline().set_state(gst::State::Playing).unwrap();
        let sent = tags(50 + round, 1000);
        let mut client = Client::publisher(recording.address()).unwrap();
        client.send_all(&sent).unwrap();
        client.delete_stream().unwrap();
        client.close().unwrap();
        recording.wait_for_eos(DEADLINE).unwrap();
        assert_eq!(recording.counter("received"), sent.len() as u64);
        recording.stop().unwrap();
        let file = std::fs::read(directory.path().join("output.flv")).unwrap();
        assert!(flv::parse(&file).unwrap() == sent, "round {round}");
    }
}

/// The best of three: the machine may be busy with something else. Afterwards everybody is disconnected.
fn insist_on_null_at_once(between: &str, arrange: impl Fn(&Recording) -> Vec<TcpStream>) {
    let time_to_null = |_| {
        let directory = tempfile::tempdir().unwrap();
        let properties = "max-connections=300 max-queue-bytes=100000";
        let recording = Recording::prepare(directory.path(), properties, between).unwrap();
        recording.pipeline().set_state(gst::State::Playing).unwrap();
        let streams = arrange(&recording);
        let since = Instant::now();
        recording.stop().unwrap();
        let took = since.elapsed();
        for mut stream in streams {
            peer::listen(&mut stream).expect("the server closes");
        }
        took
    };
    let best = (0..3).map(time_to_null).min().expect("three of them");
    assert!(best < AT_ONCE, "{best:?}");
}

#[test]
fn null_with_200_silent_connections() {
    insist_on_null_at_once("", |recording| {
        let streams = (0..200).map(|_| peer::connect(recording.address()).unwrap());
        let streams = streams.collect();
        recording.wait_for_counter("idle-connections", 200).unwrap();
        streams
    });
}

#[test]
fn null_while_an_eos_event_waits_for_a_stuck_consumer() {
    insist_on_null_at_once("identity name=stuck !", |recording| {
        let stuck = recording.pipeline().by_name("stuck").expect("named");
        let pad = stuck.static_pad("sink").expect("a filter has one");
        let kinds = gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER;
        pad.add_probe(kinds, |_, _| gst::PadProbeReturn::Ok);
        let mut client = Client::publisher(recording.address()).unwrap();
        client.send_all(&tags(80, 1000)).unwrap();
        recording.wait_for_counter("received", 80).unwrap();
        recording.send_eos();
        vec![]
    });
}
