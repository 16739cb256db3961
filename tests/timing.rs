//! In time: behind `flvdemux`, sinks that synchronise render every frame, whenever the publisher comes.

mod support;

use std::path::Path;
use std::time::Duration;

use gst::prelude::*;
use support::flv::{Kind, Tag};
use support::pipeline::{DEADLINE, init};
use support::publishers::{Publisher, ffmpeg_tee};

/// Video and audio through `flvdemux` to sinks that drop what comes 20 ms late, as video sinks do.
struct Playback {
    pipeline: gst::Pipeline,
}

/// Frames of one sink.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    rendered: u64,
    dropped: u64,
}

impl Playback {
    /// `late` is how long the pipeline has been PLAYING, for all that its clock says, when the publisher can come.
    fn start(properties: &str, late: Duration) -> Playback {
        init();
        let sink = "queue ! fakesink sync=true qos=true max-lateness=20000000 async=false";
        let description = format!(
            "rtmp2serversrc name=source port=0 {properties} ! flvdemux name=demux \
             demux.video ! {sink} name=video \
             demux.audio ! {sink} name=audio"
        );
        let pipeline = gst::parse::launch(&description)
            .expect("a valid description")
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        // As applications do, and gst-launch-1.0.
        let weak = pipeline.downgrade();
        let bus = pipeline.bus().expect("a pipeline has a bus");
        bus.set_sync_handler(move |_, message| {
            if let (gst::MessageView::Latency(_), Some(pipeline)) = (message.view(), weak.upgrade())
            {
                // Fails while a sink has no upstream yet; another message follows.
                let _ = pipeline.recalculate_latency();
            }
            gst::BusSyncReply::Pass
        });
        if !late.is_zero() {
            let late = gst::ClockTime::try_from(late).expect("a short time");
            let clock = gst::SystemClock::obtain();
            pipeline.use_clock(Some(&clock));
            pipeline.set_start_time(gst::ClockTime::NONE);
            let now = clock.time();
            pipeline.set_base_time(now.checked_sub(late).expect("the machine runs for longer"));
        }
        pipeline.set_state(gst::State::Playing).expect("starts");
        Playback { pipeline }
    }

    fn source(&self) -> gst::Element {
        self.pipeline.by_name("source").expect("named")
    }

    fn port(&self) -> u16 {
        let port: u32 = self.source().property("current-port");
        port.try_into().expect("16 bits")
    }

    fn finish(&self) {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let deadline = gst::ClockTime::try_from(DEADLINE).expect("short");
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(deadline, &ends);
        match message.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Eos(_)) => {}
            other => panic!("instead of EOS: {other:?}"),
        }
    }

    fn shown(&self, sink: &str) -> Shown {
        let sink = self.pipeline.by_name(sink).expect("named");
        let stats: gst::Structure = sink.property("stats");
        Shown {
            rendered: stats.get("rendered").expect("a sink's figure"),
            dropped: stats.get("dropped").expect("a sink's figure"),
        }
    }
}

impl Drop for Playback {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Video and audio in real time, with times that begin at `start` seconds.
fn publish(port: u16, directory: &Path, start: &str) -> Publisher {
    let arguments = format!(
        "-re -f lavfi -i testsrc=size=160x120:rate=30 -f lavfi -i sine=frequency=440 -t 2 \
         -map 0:v -map 1:a -c:v libx264 -preset ultrafast -tune zerolatency -g 30 -threads 1 \
         -c:a aac -output_ts_offset {start}"
    );
    let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
    ffmpeg_tee(arguments.collect(), port, directory).expect("ffmpeg starts")
}

/// What flvdemux makes buffers of: all but metadata, sequence headers and ends of sequence.
fn frames(tags: &[Tag], kind: Kind) -> u64 {
    let has_frame = |tag: &&Tag| {
        tag.kind == kind
            && tag.body.len() > 1
            && (tag.body[1] == 1 || kind == Kind::Video && tag.body[1] != 0 && tag.body[1] != 2)
    };
    tags.iter().filter(has_frame).count() as u64
}

fn all_of(sent: &[&[Tag]], kind: Kind) -> Shown {
    Shown {
        rendered: sent.iter().map(|tags| frames(tags, kind)).sum(),
        dropped: 0,
    }
}

fn one_publisher(late: Duration, start: &str) {
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

fn two_publishers(second_start: &str) {
    let directory = tempfile::tempdir().unwrap();
    let playback = Playback::start("loop=true", Duration::from_secs(3));
    let first = publish(playback.port(), directory.path(), "0")
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
    two_publishers("0");
}

#[test]
fn a_second_publisher_goes_on_counting() {
    two_publishers("2");
}

#[test]
fn a_second_publisher_steps_back() {
    two_publishers("1.96");
}
