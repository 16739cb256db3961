//! What comes out of `flvdemux` behind the element, and what the element kept from it.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::flv::{Kind, Tag};
use super::pipeline::{DEADLINE, init};

/// What follows the header of a frame; none if the tag holds no frame.
fn frame(tag: &Tag) -> Option<&[u8]> {
    match (tag.kind, &tag.body[..]) {
        (Kind::Video, [0x17 | 0x27, 1, _, _, _, frame @ ..]) => Some(frame),
        (Kind::Audio, [0xaf, 1, frame @ ..]) => Some(frame),
        (Kind::Audio, [head, frame @ ..]) if head >> 4 == 2 => Some(frame),
        _ => None,
    }
}

pub fn frames(tags: &[Tag], kind: Kind) -> Vec<Vec<u8>> {
    let tags = tags.iter().filter(|tag| tag.kind == kind);
    tags.filter_map(frame).map(<[u8]>::to_vec).collect()
}

pub fn is_multitrack(tag: &Tag) -> bool {
    match tag.kind {
        Kind::Video => tag.body[0] & 0x8f == 0x86,
        Kind::Audio => tag.body[0] == 0x95,
        Kind::Script => false,
    }
}

pub fn counter(source: &gst::Element, name: &str) -> u64 {
    let stats: gst::Structure = source.property("stats");
    stats.get(name).expect(name)
}

/// Asserts these counters, and that nothing else was kept back.
pub fn assert_withheld(source: &gst::Element, expected: &[(&str, usize)]) {
    let stats: gst::Structure = source.property("stats");
    let mut found: Vec<(&str, usize)> = Vec::new();
    for (name, value) in stats.iter() {
        if name.starts_with("withheld-") {
            let count = value.get::<u64>().unwrap() as usize;
            if count > 0 {
                found.push((name.as_str(), count));
            }
        }
    }
    assert_eq!(found, expected);
    let sum = expected.iter().map(|(_, count)| *count as u64).sum::<u64>();
    assert_eq!(counter(source, "withheld"), sum);
    let [received, pushed, queued] =
        ["received", "pushed", "queued"].map(|name| counter(source, name));
    assert_eq!(received, pushed + queued + sum);
}

pub const AV: &[&str] = &["video", "audio"];

/// `rtmp2serversrc ! flvdemux`, and what comes out of it.
pub struct Demuxed {
    pipeline: gst::Pipeline,
    video: Frames,
    audio: Frames,
}

type Frames = Arc<Mutex<Vec<Vec<u8>>>>;

impl Demuxed {
    pub fn start(properties: &str, streams: &[&str]) -> Demuxed {
        init();
        let mut description =
            format!("rtmp2serversrc name=source port=0 {properties} ! flvdemux name=demux ");
        for stream in streams {
            description +=
                &format!("demux.{stream} ! queue ! fakesink name={stream} async=false sync=false ");
        }
        let pipeline = gst::parse::launch(&description)
            .expect("a valid description")
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let [video, audio] = ["video", "audio"].map(|stream| {
            let frames = Frames::default();
            if let Some(sink) = pipeline.by_name(stream) {
                let pad = sink.static_pad("sink").expect("a sink has one");
                let frames = frames.clone();
                pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                    let bytes = info.buffer().unwrap().map_readable().unwrap().to_vec();
                    frames.lock().unwrap().push(bytes);
                    gst::PadProbeReturn::Ok
                });
            }
            frames
        });
        pipeline.set_state(gst::State::Playing).expect("starts");
        Demuxed {
            pipeline,
            video,
            audio,
        }
    }

    pub fn source(&self) -> gst::Element {
        self.pipeline.by_name("source").expect("named")
    }

    pub fn port(&self) -> u16 {
        let port: u32 = self.source().property("current-port");
        port.try_into().expect("16 bits")
    }

    /// The first of EOS and errors.
    pub fn end(&self) -> gst::Message {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let deadline = gst::ClockTime::try_from(DEADLINE).expect("short");
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        bus.timed_pop_filtered(deadline, &ends)
            .expect("EOS or an error")
    }

    pub fn assert_shows(&self, sent: &[Tag]) {
        assert_eq!(self.end().type_(), gst::MessageType::Eos);
        for (kind, shown) in [(Kind::Video, &self.video), (Kind::Audio, &self.audio)] {
            let (sent, shown) = (frames(sent, kind), shown.lock().unwrap());
            assert_eq!(shown.len(), sent.len(), "{kind} frames");
            assert!(*shown == sent, "{kind} frames differ");
        }
    }
}

impl Drop for Demuxed {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
