//! A pipeline that plays what is published, in time: `rtmp2serversrc ! flvdemux`, and sinks that synchronise.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use gst::prelude::*;

use super::flv::{Kind, Tag};
use super::pipeline::{DEADLINE, init};
use super::publishers::{Publisher, ffmpeg_tee, live_input};

/// Video and audio through `flvdemux` to sinks that drop what comes 5 ms late, as video sinks do.
pub struct Playback {
    pub pipeline: gst::Pipeline,
}

/// Frames of one sink.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub rendered: u64,
    pub dropped: u64,
}

impl Playback {
    /// `late` is how long the pipeline has been PLAYING, for all that its clock says, when the publisher can come.
    pub fn start(properties: &str, late: Duration) -> Playback {
        init();
        let sink = "queue ! fakesink sync=true qos=true max-lateness=5000000 async=false";
        let description = format!(
            "rtmp2serversrc name=source port=0 {properties} ! flvdemux name=demux \
             demux.video ! {sink} name=video \
             demux.audio ! {sink} name=audio"
        );
        let pipeline = gst::parse::launch(&description)
            .expect("a valid description")
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        recalculate_latency(&pipeline);
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

    pub fn source(&self) -> gst::Element {
        self.pipeline.by_name("source").expect("named")
    }

    pub fn port(&self) -> u16 {
        let port: u32 = self.source().property("current-port");
        port.try_into().expect("16 bits")
    }

    pub fn finish(&self) {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let deadline = gst::ClockTime::try_from(DEADLINE).expect("short");
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(deadline, &ends);
        match message.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Eos(_)) => {}
            other => panic!("instead of EOS: {other:?}"),
        }
    }

    pub fn shown(&self, sink: &str) -> Shown {
        shown(&self.pipeline.by_name(sink).expect("named"))
    }
}

/// What this sink has made of its frames so far.
pub fn shown(sink: &gst::Element) -> Shown {
    let stats: gst::Structure = sink.property("stats");
    Shown {
        rendered: stats.get("rendered").expect("a sink's figure"),
        dropped: stats.get("dropped").expect("a sink's figure"),
    }
}

/// Whenever an element asks for it, as applications do, and gst-launch-1.0: in a thread of the application, because a
/// streaming thread would wait for a change of state that waits for it.
pub fn recalculate_latency(pipeline: &gst::Pipeline) {
    let weak = pipeline.downgrade();
    let (ask, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for () in asked {
            if let Some(pipeline) = weak.upgrade() {
                // Fails while a sink has no upstream yet; another message follows.
                let _ = pipeline.recalculate_latency();
            }
        }
    });
    let bus = pipeline.bus().expect("a pipeline has a bus");
    bus.set_sync_handler(move |_, message| {
        if message.type_() == gst::MessageType::Latency {
            // The thread ends with the bus.
            let _ = ask.send(());
        }
        gst::BusSyncReply::Pass
    });
}

impl Drop for Playback {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Video and audio in real time, with times that begin at `start` seconds.
pub fn publish(port: u16, directory: &Path, start: &str) -> Publisher {
    let live = live_input();
    let arguments = format!(
        "{live} -f lavfi -i testsrc=size=160x120:rate=30 -f lavfi -i sine=frequency=440 -t 2 \
         -map 0:v -map 1:a -c:v libx264 -preset ultrafast -tune zerolatency -g 30 -threads 1 \
         -c:a aac -output_ts_offset {start}"
    );
    let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
    ffmpeg_tee(arguments.collect(), port, directory).expect("ffmpeg starts")
}

/// What flvdemux makes buffers of: all but metadata, sequence headers and ends of sequence.
pub fn frames(tags: &[Tag], kind: Kind) -> u64 {
    let has_frame = |tag: &&Tag| {
        tag.kind == kind
            && tag.body.len() > 1
            && (tag.body[1] == 1 || kind == Kind::Video && tag.body[1] != 0 && tag.body[1] != 2)
    };
    tags.iter().filter(has_frame).count() as u64
}

pub fn all_of(sent: &[&[Tag]], kind: Kind) -> Shown {
    Shown {
        rendered: sent.iter().map(|tags| frames(tags, kind)).sum(),
        dropped: 0,
    }
}
