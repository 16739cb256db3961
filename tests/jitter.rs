//! Over a network that delivers unevenly, by up to ±100 ms, the default `latency` lets synchronising sinks render every
//! frame, and none would not.

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use support::flv::Kind;
use support::link::{Jitter, Link};
use support::playback::{Playback, Shown, all_of, frames, publish};
use support::steady::in_real_time;

/// From 100 ms early to 100 ms late.
const SPREAD: Duration = Duration::from_millis(200);

/// Plays a publisher whose first frames take as long as said, and returns what was and what should be shown, of video and
/// audio.
fn play(properties: &str, first: Duration) -> [(Shown, Shown); 2] {
    let directory = tempfile::tempdir().unwrap();
    let playback = Playback::start(properties, Duration::ZERO);
    let server = (Ipv4Addr::LOCALHOST, playback.port()).into();
    let up_to = SPREAD;
    let link = Link::start(server, Jitter { first, up_to });
    let sent = publish(link.port(), directory.path(), "0")
        .finish()
        .unwrap();
    playback.finish();
    assert!(frames(&sent, Kind::Video) == 60 && frames(&sent, Kind::Audio) > 80);

    let delays = link.delays();
    let unlike = delays.iter().filter(|delay| **delay > SPREAD / 2).count();
    assert!(
        unlike > 20 && delays.iter().max() > Some(&(SPREAD * 9 / 10)),
        "no jitter: {delays:?}"
    );
    [("video", Kind::Video), ("audio", Kind::Audio)]
        .map(|(sink, kind)| (playback.shown(sink), all_of(&[&sent], kind)))
}

fn renders_all(first: Duration) {
    in_real_time(|| {
        for (shown, sent) in play("", first) {
            assert_eq!(shown, sent);
        }
    });
}

#[test]
fn the_first_frame_comes_in_time() {
    renders_all(SPREAD / 2);
}

/// All others are later than it, by the whole spread.
#[test]
fn the_first_frame_comes_early() {
    renders_all(Duration::ZERO);
}

/// All others are earlier.
#[test]
fn the_first_frame_comes_late() {
    renders_all(SPREAD);
}

#[test]
fn without_latency_frames_are_dropped() {
    in_real_time(|| {
        for (shown, sent) in play("latency=0", Duration::ZERO) {
            assert_eq!(shown.rendered + shown.dropped, sent.rendered);
            assert!(shown.dropped > 20, "{shown:?}");
        }
    });
}
