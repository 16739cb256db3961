//! In time: behind `flvdemux`, sinks that synchronise render every frame, whenever the publisher comes.

mod support;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use gst::prelude::*;
use support::client::{Client, tags};
use support::flv::Kind;
use support::playback::{Playback, Shown, all_of, frames, publish};
use support::steady::in_real_time;

fn one_publisher(late: Duration, start: &str) {
    in_real_time(|| try_one_publisher(late, start));
}

fn try_one_publisher(late: Duration, start: &str) {
    let directory = tempfile::tempdir().unwrap();
    let playback = Playback::start("", late);
    let sent = publish(playback.port(), directory.path(), start)
        .finish()
        .unwrap();
    playback.finish();
    assert_eq!(playback.shown("video"), all_of(&[&sent], Kind::Video));
    assert_eq!(playback.shown("audio"), all_of(&[&sent], Kind::Audio));
    assert!(frames(&sent, Kind::Video) == 60 && frames(&sent, Kind::Audio) > 80);
}

#[test]
fn a_publisher_at_once() {
    one_publisher(Duration::ZERO, "0");
}

#[test]
fn a_publisher_after_3_s() {
    one_publisher(Duration::from_secs(3), "0");
}

#[test]
fn a_publisher_after_60_s() {
    one_publisher(Duration::from_secs(60), "0");
}

#[test]
fn a_publisher_whose_clock_has_run_for_hours() {
    one_publisher(Duration::from_secs(3), "16800");
}

#[test]
fn a_publisher_whose_clock_wraps() {
    // A second before 2^31 ms.
    one_publisher(Duration::from_secs(3), "2147482.648");
}

fn two_publishers(first_start: &str, second_start: &str) {
    in_real_time(|| try_two_publishers(first_start, second_start));
}

fn try_two_publishers(first_start: &str, second_start: &str) {
    let directory = tempfile::tempdir().unwrap();
    let playback = Playback::start("loop=true", Duration::from_secs(3));
    let first = publish(playback.port(), directory.path(), first_start)
        .finish()
        .unwrap();
    // The gap is what this is about.
    std::thread::sleep(Duration::from_millis(1500));
    let second = publish(playback.port(), directory.path(), second_start)
        .finish()
        .unwrap();
    playback.pipeline.send_event(gst::event::Eos::new());
    playback.finish();
    let sent = [&first[..], &second[..]];
    assert_eq!(playback.shown("video"), all_of(&sent, Kind::Video));
    assert_eq!(playback.shown("audio"), all_of(&sent, Kind::Audio));
}

#[test]
fn a_second_publisher_starts_at_zero() {
    two_publishers("0", "0");
}

#[test]
fn a_second_publisher_goes_on_counting() {
    two_publishers("0", "2");
}

#[test]
fn a_second_publisher_steps_back() {
    two_publishers("0", "1.96");
}

/// The first one's times wrap, or the second one's place is behind the wrap.
#[test]
fn two_publishers_across_a_wrap() {
    two_publishers("2147482.648", "0");
    two_publishers("2147480.648", "2147482.648");
}

/// Metadata and headers come when it connects, and the first frame when it has encoded one.
#[test]
fn a_publisher_that_takes_its_time_to_encode() {
    in_real_time(|| {
        let playback = Playback::start("", Duration::ZERO);
        let address = (Ipv4Addr::LOCALHOST, playback.port()).into();
        let mut client = Client::publisher(address).unwrap();
        let sent = tags(103, 500);
        let (headers, frames) = sent.split_at(3);
        client.send_all(headers).unwrap();
        // Time is what this is about, here and below.
        std::thread::sleep(Duration::from_secs(1));
        let start = Instant::now();
        for tag in frames {
            let due = start + Duration::from_millis(tag.timestamp.into());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            client.send(tag).unwrap();
        }
        client.close().unwrap();
        playback.finish();
        for sink in ["video", "audio"] {
            let all = Shown {
                rendered: 50,
                dropped: 0,
            };
            assert_eq!(playback.shown(sink), all, "{sink}");
        }
    });
}
