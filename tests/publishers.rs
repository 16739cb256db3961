//! Real publishers over loopback: every tag that was sent is captured, and the recording ends by itself.
//!
//! Each is repeated; `RTMP2SERVER_REPEAT` says how often (20 if it is not set).

mod support;

use std::path::Path;

use support::flv::{self, Rules, Tag};
use support::pipeline::Recording;
use support::publishers::{self, Ffmpeg, GstSink, Publisher};
use support::recorder::Recorder;
use support::wire;

/// Runs a round as often as asked, also after a failure, and tells how many were complete.
fn repeat(mut round: impl FnMut(usize, &Path) -> Result<(), String>) {
    let rounds = match std::env::var("RTMP2SERVER_REPEAT") {
        Ok(count) => count.parse().expect("RTMP2SERVER_REPEAT is a number"),
        Err(_) => 20,
    };
    let failures: Vec<String> = (0..rounds)
        .filter_map(|number| {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let failure = round(number, directory.path()).err()?;
            Some(format!("round {}: {failure}", number + 1))
        })
        .collect();
    println!("{} of {rounds} complete", rounds - failures.len());
    assert!(
        failures.is_empty(),
        "{} of {rounds} complete\n{}",
        rounds - failures.len(),
        failures.join("\n")
    );
}

fn insist_on_same(sent: &[Tag], captured: &[Tag]) -> Result<(), String> {
    if sent.is_empty() {
        return Err("the publisher sent nothing".to_string());
    }
    let comparison = flv::compare(sent, captured, Rules::default());
    if comparison.is_same() {
        Ok(())
    } else {
        Err(comparison.to_string())
    }
}

/// Records a publisher that ends in an orderly way, and compares with what it says it sent.
fn capture_all(publish: impl Fn(u16, &Path) -> Result<Publisher, String>) {
    repeat(|_, directory| {
        let recording = Recording::start(directory, "")?;
        let publisher = publish(recording.port(), directory)?;
        // The recorder goes to NULL at EOS, as gst-launch-1.0 does, whatever the publisher is still doing: it must not
        // take that for an error.
        let recorder = std::thread::spawn(move || recording.finish());
        let sent = publisher.finish()?;
        let captured = recorder.join().expect("no panic")?;
        insist_on_same(&sent, &captured)
    });
}

#[test]
fn ffmpeg_live_video() {
    capture_all(|port, directory| Ffmpeg::LiveVideo.publish(port, directory));
}

#[test]
fn ffmpeg_audio_and_video() {
    capture_all(|port, directory| Ffmpeg::AudioAndVideo.publish(port, directory));
}

#[test]
fn ffmpeg_b_frames() {
    capture_all(|port, directory| Ffmpeg::BFrames.publish(port, directory));
}

#[test]
fn ffmpeg_audio_only() {
    capture_all(|port, directory| Ffmpeg::AudioOnly.publish(port, directory));
}

#[test]
fn ffmpeg_burst_of_13_mb() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = publishers::write_burst_file(directory.path()).unwrap();
    capture_all(|port, directory| Ffmpeg::Copy(file.clone()).publish(port, directory));
}

#[test]
fn ffmpeg_start_beyond_24_bits() {
    capture_all(|port, directory| Ffmpeg::LateStart.publish(port, directory));
}

/// All that reached the server whole is captured, wherever the publisher was killed.
#[test]
fn ffmpeg_killed_in_mid_stream() {
    repeat(|number, directory| {
        let recording = Recording::start(directory, "")?;
        let recorder = Recorder::start(recording.address());
        let publisher = Ffmpeg::Endless.publish(recorder.port(), directory)?;
        let enough = 60_000 + 3_777 * number;
        recorder.wait_for(0, publishers::DEADLINE, |wire| wire.bytes.len() >= enough)?;
        publisher.kill();
        let arrived = recorder.wait_for_end(0, publishers::DEADLINE)?;
        insist_on_same(&wire::tags(&arrived.bytes)?, &recording.finish()?)
    });
}

#[test]
fn rtmp2sink_with_small_chunks() {
    capture_all(|port, directory| GstSink::Rtmp2Sink { chunk_size: 128 }.publish(port, directory));
}

#[test]
fn rtmp2sink_with_large_chunks() {
    capture_all(|port, directory| {
        GstSink::Rtmp2Sink { chunk_size: 65536 }.publish(port, directory)
    });
}

#[test]
fn rtmpsink() {
    capture_all(|port, directory| GstSink::RtmpSink.publish(port, directory));
}
