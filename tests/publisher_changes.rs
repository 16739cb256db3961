//! With `loop=true`, `flvdemux` goes on behind the element when the next publisher sends something else, and when one
//! sends what would kill it.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;
use support::client::{Client, tags};
use support::flv::{Kind, Tag};
use support::pipeline::{DEADLINE, init, wait_until};
use support::publishers::ffmpeg_tee;

/// A frame behind the demuxer, and the caps of its stream at that time.
struct Frame {
    caps: gst::Caps,
    bytes: Vec<u8>,
}

/// What a decoder made: how many frames of each size or rate, in order.
type Decoded = Vec<(i32, u64)>;

/// `rtmp2serversrc ! flvdemux`, and behind it whatever decodes the stream: an application that exchanges the decoder when
/// the codec changes, because `decodebin` and its like do not in GStreamer 1.22.
struct Player {
    pipeline: gst::Pipeline,
    streams: [Stream; 2],
}

#[derive(Clone, Default)]
struct Stream {
    frames: Arc<Mutex<Vec<Frame>>>,
    decoded: Arc<Mutex<Decoded>>,
}

impl Player {
    fn start(decodes: bool) -> Player {
        init();
        let description = "rtmp2serversrc name=source port=0 loop=true ! flvdemux name=demux \
             demux.video ! queue name=video max-size-time=0 \
             demux.audio ! queue name=audio max-size-time=0";
        let pipeline = gst::parse::launch(description)
            .expect("a valid description")
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let streams = ["video", "audio"].map(|name| {
            let queue = pipeline.by_name(name).expect("named");
            let stream = Stream::default();
            stream.watch(&queue);
            if decodes {
                stream.decode(&queue, &pipeline);
            } else {
                attach(&pipeline, &queue, "fakesink async=false");
            }
            stream
        });
        pipeline.set_state(gst::State::Playing).expect("starts");
        Player { pipeline, streams }
    }

    fn source(&self) -> gst::Element {
        self.pipeline.by_name("source").expect("named")
    }

    fn counter(&self, name: &str) -> u64 {
        let stats: gst::Structure = self.source().property("stats");
        stats.get(name).expect("a counter")
    }

    fn port(&self) -> u16 {
        let port: u32 = self.source().property("current-port");
        port.try_into().expect("16 bits")
    }

    /// One real encoder, from its start to its end.
    fn watch_publisher(&self, arguments: &str) -> Vec<Tag> {
        let directory = tempfile::tempdir().unwrap();
        let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
        let publisher = ffmpeg_tee(arguments.collect(), self.port(), directory.path()).unwrap();
        publisher.finish().unwrap()
    }

    fn finish(&self) {
        self.pipeline.send_event(gst::event::Eos::new());
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let deadline = gst::ClockTime::try_from(DEADLINE).expect("short");
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(deadline, &ends);
        match message.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Eos(_)) => {}
            other => panic!("instead of EOS: {other:?}"),
        }
    }

    /// Asserts that these frames came out, each with the caps that its publisher's headers ask for.
    fn assert_shows(&self, publishers: &[&[Tag]]) {
        for (stream, kind) in self.streams.iter().zip([Kind::Video, Kind::Audio]) {
            let shown = stream.frames.lock().unwrap();
            let mut rest = &shown[..];
            for (number, sent) in publishers.iter().enumerate() {
                let sent_frames = frames(sent, kind);
                assert!(!sent_frames.is_empty());
                assert!(
                    rest.len() >= sent_frames.len(),
                    "{kind} of publisher {number}: {} of {} frames",
                    rest.len(),
                    sent_frames.len()
                );
                let own;
                (own, rest) = rest.split_at(sent_frames.len());
                let config = codec_data(sent, kind);
                for (place, (shown, sent)) in own.iter().zip(sent_frames).enumerate() {
                    let what = || format!("{kind} frame {place} of publisher {number}");
                    assert!(shown.bytes == sent, "{}", what());
                    let caps = shown.caps.structure(0).expect("fixed caps");
                    let shown_config = caps.get::<gst::Buffer>("codec_data").ok();
                    let shown_config = shown_config.map(|b| b.map_readable().unwrap().to_vec());
                    // A codec without one has that of the former in newer versions.
                    if config.is_some() || gst::version() < (1, 27, 0, 0) {
                        assert_eq!(shown_config.as_deref(), config, "{}", what());
                    }
                }
            }
            assert_eq!(rest.len(), 0, "more {kind} frames than were sent");
        }
    }

    fn caps(&self, stream: usize) -> Vec<gst::Caps> {
        let frames = self.streams[stream].frames.lock().unwrap();
        let mut caps: Vec<gst::Caps> = frames.iter().map(|frame| frame.caps.clone()).collect();
        caps.dedup();
        caps
    }

    fn decoded(&self, stream: usize) -> Decoded {
        self.streams[stream].decoded.lock().unwrap().clone()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Stream {
    /// Keeps what enters the queue behind the demuxer.
    fn watch(&self, queue: &gst::Element) {
        let frames = self.frames.clone();
        let pad = queue.static_pad("sink").expect("a queue has one");
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let buffer = info.buffer().expect("asked for");
            frames.lock().unwrap().push(Frame {
                caps: pad.current_caps().expect("before buffers"),
                bytes: buffer.map_readable().expect("memory").to_vec(),
            });
            gst::PadProbeReturn::Ok
        });
    }

    /// Puts the right decoder behind the queue whenever the codec changes.
    fn decode(&self, queue: &gst::Element, pipeline: &gst::Pipeline) {
        let (stream, pipeline, queue) = (self.clone(), pipeline.downgrade(), queue.downgrade());
        let current = Mutex::new("");
        let pad = queue.upgrade().unwrap().static_pad("src").unwrap();
        // The queue asks the decoder that is about to go whether it takes the new caps.
        pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
            if let Some(gst::PadProbeData::Query(query)) = &mut info.data
                && let gst::QueryViewMut::AcceptCaps(query) = query.view_mut()
            {
                query.set_result(true);
                return gst::PadProbeReturn::Handled;
            }
            gst::PadProbeReturn::Ok
        });
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            let Some(gst::PadProbeData::Event(event)) = &info.data else {
                return gst::PadProbeReturn::Ok;
            };
            let gst::EventView::Caps(event) = event.view() else {
                return gst::PadProbeReturn::Ok;
            };
            let wanted = decoder(event.caps());
            let mut current = current.lock().unwrap();
            if *current == wanted {
                return gst::PadProbeReturn::Ok;
            }
            *current = wanted;
            let (pipeline, queue) = (pipeline.upgrade().unwrap(), queue.upgrade().unwrap());
            if let Some(former) = pad.peer() {
                pad.unlink(&former).expect("linked");
                // It gives out what it still holds.
                former.send_event(gst::event::Eos::new());
            }
            let description = format!("{wanted} ! fakesink name=sink async=false");
            let decoder = attach(&pipeline, &queue, &description);
            stream.count(&decoder.by_name("sink").expect("just named"));
            // These caps are about to be sent to it, and they must not be the first that it gets.
            let start = pad.sticky_event::<gst::event::StreamStart>(0);
            pad.peer().unwrap().send_event(start.expect("before caps"));
            gst::PadProbeReturn::Ok
        });
    }

    fn count(&self, sink: &gst::Element) {
        let decoded = self.decoded.clone();
        let pad = sink.static_pad("sink").expect("a sink has one");
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
            let caps = pad.current_caps().expect("before buffers");
            let caps = caps.structure(0).expect("fixed");
            let format = caps.get("width").or_else(|_| caps.get("rate")).unwrap();
            let mut decoded = decoded.lock().unwrap();
            match decoded.last_mut() {
                Some((last, count)) if *last == format => *count += 1,
                _ => decoded.push((format, 1)),
            }
            gst::PadProbeReturn::Ok
        });
    }
}

fn decoder(caps: &gst::CapsRef) -> &'static str {
    let caps = caps.structure(0).expect("fixed");
    match (caps.name().as_str(), caps.get::<i32>("mpegversion")) {
        ("video/x-h264", _) => "h264parse ! avdec_h264",
        ("video/x-flash-video", _) => "avdec_flv",
        ("audio/mpeg", Ok(4)) => "aacparse ! avdec_aac",
        ("audio/mpeg", Ok(1)) => "mpegaudioparse ! avdec_mp3",
        _ => panic!("none of these streams: {caps}"),
    }
}

/// Puts elements behind the queue, the last of which is a sink.
fn attach(pipeline: &gst::Pipeline, queue: &gst::Element, description: &str) -> gst::Bin {
    let new = gst::parse::bin_from_description(description, true).expect(description);
    pipeline.add(&new).unwrap();
    queue.link(&new).unwrap();
    new.sync_state_with_parent().unwrap();
    new
}

/// What flvdemux makes buffers of: the frames, without FLV's header in front of each.
fn frames(tags: &[Tag], kind: Kind) -> Vec<&[u8]> {
    let of_kind = tags.iter().filter(|tag| tag.kind == kind);
    let frame = of_kind.filter_map(|tag| match (kind, &tag.body[..]) {
        (Kind::Video, [0x17 | 0x27, 1, _, _, _, frame @ ..]) => Some(frame),
        (Kind::Video, [head, frame @ ..]) if head & 0x0f == 2 => Some(frame),
        (Kind::Audio, [0xaf, 1, frame @ ..]) => Some(frame),
        (Kind::Audio, [head, frame @ ..]) if head >> 4 == 2 => Some(frame),
        _ => None,
    });
    frame.collect()
}

/// The codec's configuration, from the sequence header.
fn codec_data(tags: &[Tag], kind: Kind) -> Option<&[u8]> {
    let mut of_kind = tags.iter().filter(|tag| tag.kind == kind);
    of_kind.find_map(|tag| match (kind, &tag.body[..]) {
        (Kind::Video, [0x17, 0, _, _, _, config @ ..]) => Some(config),
        (Kind::Audio, [0xaf, 0, config @ ..]) => Some(config),
        _ => None,
    })
}

const SMALL_H264_AND_AAC: &str = "-f lavfi -i testsrc=size=160x120:rate=30 \
     -f lavfi -i sine=frequency=440:sample_rate=44100 -t 1.5 -map 0 -map 1 -pix_fmt yuv420p \
     -c:v libx264 -preset ultrafast -profile:v baseline -g 30 -threads 1 -c:a aac";
const LARGE_H264_AND_AAC: &str = "-f lavfi -i testsrc2=size=320x240:rate=30 \
     -f lavfi -i sine=frequency=880:sample_rate=48000 -t 1.5 -map 0 -map 1 -pix_fmt yuv420p \
     -c:v libx264 -preset veryfast -profile:v high -bf 2 -b_strategy 0 -g 30 -threads 1 -c:a aac";
const SORENSON_AND_MP3: &str = "-f lavfi -i testsrc2=size=320x240:rate=30 \
     -f lavfi -i sine=frequency=880:sample_rate=44100 -t 1.5 -map 0 -map 1 \
     -c:v flv -g 30 -c:a libmp3lame";

fn field<'a, T: gst::glib::value::FromValue<'a>>(caps: &'a gst::Caps, name: &str) -> T {
    let caps = caps.structure(0).expect("fixed");
    caps.get(name).expect(name)
}

/// The fields of a stream's caps, of one publisher after the other.
fn each<T>(caps: &[gst::Caps], field: impl Fn(&gst::Caps) -> T) -> Vec<T> {
    caps.iter().map(field).collect()
}

fn count(tags: &[Tag], kind: Kind) -> u64 {
    frames(tags, kind).len() as u64
}

#[test]
fn another_size_profile_and_rate() {
    let player = Player::start(true);
    let first = player.watch_publisher(SMALL_H264_AND_AAC);
    let second = player.watch_publisher(LARGE_H264_AND_AAC);
    let third = player.watch_publisher(SMALL_H264_AND_AAC);
    player.finish();
    player.assert_shows(&[&first, &second, &third]);
    let sizes = |caps: &gst::Caps| (field::<i32>(caps, "width"), field::<i32>(caps, "height"));
    let expected = [(160, 120), (320, 240), (160, 120)];
    assert_eq!(each(&player.caps(0), sizes), expected);
    let profile = |tags: &[Tag]| codec_data(tags, Kind::Video).unwrap()[1];
    assert_eq!([&first, &second].map(|t| profile(t)), [66, 100]);
    let rate = |caps: &gst::Caps| field::<i32>(caps, "rate");
    assert_eq!(each(&player.caps(1), rate), [44100, 48000, 44100]);

    assert_eq!(player.decoded(0), [(160, 45), (320, 45), (160, 45)]);
    let audio = [(44100, &first), (48000, &second), (44100, &third)];
    let audio = audio.map(|(rate, sent)| (rate, count(sent, Kind::Audio)));
    assert_eq!(player.decoded(1), audio);
    assert_eq!(player.counter("withheld-end-of-sequence"), 3);
}

#[test]
fn another_codec_and_back() {
    let player = Player::start(true);
    let first = player.watch_publisher(SMALL_H264_AND_AAC);
    let second = player.watch_publisher(SORENSON_AND_MP3);
    let third = player.watch_publisher(SMALL_H264_AND_AAC);
    player.finish();
    player.assert_shows(&[&first, &second, &third]);
    let name = |caps: &gst::Caps| caps.structure(0).unwrap().name().to_string();
    let [h264, sorenson] = ["video/x-h264", "video/x-flash-video"];
    assert_eq!(each(&player.caps(0), name), [h264, sorenson, h264]);
    assert_eq!(player.decoded(0), [(160, 45), (320, 45), (160, 45)]);
    // Since it knows several tracks, flvdemux gives out MP3 as the AAC that was before it.
    if gst::version() >= (1, 27, 0, 0) {
        return;
    }
    let version = |caps: &gst::Caps| field::<i32>(caps, "mpegversion");
    assert_eq!(each(&player.caps(1), version), [4, 1, 4]);
    let all = [&first, &second, &third].map(|sent| count(sent, Kind::Audio));
    assert_eq!(player.decoded(1), [(44100, all.iter().sum())]);
}

/// They are a fatal error to flvdemux, of any version.
#[test]
fn empty_video_messages_do_not_reach_the_demuxer() {
    let player = Player::start(false);
    let mut sent = Vec::new();
    for _ in 0..2 {
        let own = tags(203, 700);
        let address = (std::net::Ipv4Addr::LOCALHOST, player.port()).into();
        let mut client = Client::publisher(address).unwrap();
        for part in own.chunks(20) {
            client.send_all(part).unwrap();
            let timestamp = part[part.len() - 1].timestamp;
            let empty = Tag {
                kind: Kind::Video,
                timestamp,
                body: Vec::new(),
            };
            client.send(&empty).unwrap();
        }
        client.delete_stream().unwrap();
        client.status().unwrap();
        client.close().unwrap();
        sent.push(own);
    }
    wait_until(Duration::from_secs(20), || {
        player.counter("received") == 2 * (203 + 11)
    })
    .unwrap();
    player.finish();
    player.assert_shows(&[&sent[0], &sent[1]]);
    assert_eq!(player.counter("withheld-empty-video"), 22);
    assert_eq!(player.counter("withheld"), 22);
    assert_eq!(player.counter("pushed"), 406);
}
