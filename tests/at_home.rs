//! At home in GStreamer: in what applications play and mix with, beside another source of its kind, and with preroll.

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use support::flv::{self, Kind, Rules, Tag};
use support::pipeline::{DEADLINE, init, wait_until};
use support::playback::{Shown, all_of, frames, publish, recalculate_latency, shown};
use support::publishers::ffmpeg_tee;
use support::steady::in_real_time;

/// Drops what comes 5 ms late, as video sinks do.
const SINK: &str = "fakesink sync=true qos=true max-lateness=5000000";
/// On a free port.
const URI: &str = "rtmpserver://127.0.0.1:0/live/test";

/// A pipeline whose server listens. Dropping it sets it to NULL.
struct Player {
    pipeline: gst::Pipeline,
    port: u16,
}

impl Player {
    fn launch(description: &str) -> Player {
        init();
        let pipeline = gst::parse::launch(description).expect("a valid description");
        Player::start(pipeline.downcast().expect("a pipeline"))
    }

    fn start(pipeline: gst::Pipeline) -> Player {
        recalculate_latency(&pipeline);
        let mut player = Player { pipeline, port: 0 };
        player
            .pipeline
            .set_state(gst::State::Playing)
            .expect("starts");
        player.port = player.listening();
        player
    }

    fn bus(&self) -> gst::Bus {
        self.pipeline.bus().expect("a pipeline has a bus")
    }

    /// The port of the next source that listens.
    fn listening(&self) -> u16 {
        loop {
            let message = self.message(&[gst::MessageType::Element]);
            let structure = message.structure().expect("an element's message");
            if structure.name() == "rtmp2server-listening" {
                return structure.get::<u32>("port").expect("a number") as u16;
            }
        }
    }

    fn message(&self, wanted: &[gst::MessageType]) -> gst::Message {
        let wanted = [wanted, &[gst::MessageType::Error]].concat();
        let deadline = gst::ClockTime::try_from(DEADLINE).expect("short");
        let message = self.bus().timed_pop_filtered(deadline, &wanted);
        let message = message.expect("a message");
        assert_ne!(message.type_(), gst::MessageType::Error, "{message:?}");
        message
    }

    fn wait_for_eos(&self) {
        self.message(&[gst::MessageType::Eos]);
    }

    fn shown(&self, sink: &str) -> Shown {
        shown(&self.pipeline.by_name(sink).expect("named"))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// What decoding takes, loaded beforehand. Libraries take as long as the latency on a slow machine, and the first frames
/// would be late for it.
fn load_decoders() {
    init();
    for name in [
        "flvdemux",
        "typefind",
        "multiqueue",
        "decodebin",
        "decodebin3",
        "parsebin",
        "h264parse",
        "aacparse",
        "avdec_h264",
        "avdec_aac",
    ] {
        let element = gst::ElementFactory::make(name).build().expect(name);
        // A decoder has its library open by then.
        element.set_state(gst::State::Ready).expect(name);
        element.set_state(gst::State::Null).expect(name);
    }
}

/// Every picture and every packet of sound is decoded and shown in time.
fn plays(start: impl Fn() -> Player) {
    load_decoders();
    in_real_time(|| {
        let directory = tempfile::tempdir().unwrap();
        let player = start();
        let sent = publish(player.port, directory.path(), "0")
            .finish()
            .unwrap();
        player.wait_for_eos();
        assert_eq!(frames(&sent, Kind::Video), 60);
        assert_eq!(player.shown("video"), all_of(&[&sent], Kind::Video));
        assert_eq!(player.shown("audio"), all_of(&[&sent], Kind::Audio));
    });
}

#[test]
fn in_playbin3() {
    plays(|| {
        init();
        let sink = |name| {
            let sink = gst::parse::launch(&format!("{SINK} name={name}"));
            sink.expect("a valid description")
        };
        let player = gst::ElementFactory::make("playbin3")
            .property("uri", URI)
            // Without a volume of its own, which GStreamer 1.22 never frees.
            .property_from_str("flags", "video+audio")
            .property("video-sink", sink("video"))
            .property("audio-sink", sink("audio"))
            .build()
            .unwrap();
        Player::start(player.downcast().expect("playbin3 is a pipeline"))
    });
}

/// What becomes of a decoder's two outputs.
fn decoded(sink: &str) -> String {
    format!(
        "d. ! video/x-raw ! queue ! {sink} name=video async=false \
         d. ! audio/x-raw ! queue ! {sink} name=audio async=false"
    )
}

const SOURCE: &str = "rtmp2serversrc host=127.0.0.1 port=0";

#[test]
fn in_uridecodebin3() {
    plays(|| {
        let decoded = decoded(SINK);
        Player::launch(&format!("uridecodebin3 name=d uri={URI} {decoded}"))
    });
}

/// `decodebin` shows nothing until the demuxer says that it has no more pads. Since it knows several tracks it says so after
/// six seconds, and what came before is late by then.
#[test]
fn in_decodebin() {
    let sink = if gst::version() < (1, 27, 0, 0) {
        SINK
    } else {
        "fakesink sync=false"
    };
    plays(|| Player::launch(&format!("{SOURCE} ! decodebin name=d {}", decoded(sink))));
}

/// As the README has it.
#[test]
fn in_decodebin_behind_flvdemux() {
    let decoder =
        |kind| format!("demux.{kind} ! decodebin ! queue ! {SINK} name={kind} async=false");
    let [video, audio] = ["video", "audio"].map(decoder);
    plays(|| Player::launch(&format!("{SOURCE} ! flvdemux name=demux {video} {audio}")));
}

/// Each with a publisher of its own at the same time, and neither gets anything of the other's.
#[test]
fn beside_another() {
    in_real_time(|| {
        let source = |n: u8| {
            format!(
                "rtmp2serversrc host=127.0.0.1 port=0 name=source{n} ! tee name=tee{n} \
                 tee{n}. ! queue ! flvdemux name=d{n} \
                 d{n}.video ! queue ! {SINK} name=video{n} async=false \
                 d{n}.audio ! queue ! {SINK} name=audio{n} async=false \
                 tee{n}. ! queue ! filesink async=false name=file{n} "
            )
        };
        let directories = [0, 1].map(|_| tempfile::tempdir().unwrap());
        init();
        let pipeline = gst::parse::launch(&(source(0) + &source(1))).unwrap();
        let pipeline: gst::Pipeline = pipeline.downcast().unwrap();
        let output = |n: usize| directories[n].path().join("output.flv");
        for n in 0..2 {
            let sink = pipeline.by_name(&format!("file{n}")).unwrap();
            sink.set_property("location", output(n).to_str().unwrap());
        }
        let player = Player::start(pipeline);
        let publishers = [0, 1].map(|n| {
            let source = player.pipeline.by_name(&format!("source{n}")).unwrap();
            let port: u32 = source.property("current-port");
            publish(port as u16, directories[n].path(), ["0", "1000"][n])
        });
        let sent = publishers.map(|publisher| publisher.finish().unwrap());
        player.wait_for_eos();
        for (n, sent) in sent.iter().enumerate() {
            for (kind, name) in [(Kind::Video, "video"), (Kind::Audio, "audio")] {
                assert_eq!(player.shown(&format!("{name}{n}")), all_of(&[sent], kind));
            }
        }
        drop(player);
        for (n, sent) in sent.iter().enumerate() {
            let captured = flv::parse(&std::fs::read(output(n)).unwrap()).unwrap();
            let comparison = flv::compare(sent, &captured, Rules::default());
            assert!(comparison.is_same(), "{n}: {comparison}");
        }
    });
}

/// Pictures that say in their brightness which one they are; 30 of them a second.
fn publish_numbered(port: u16, directory: &Path, pictures: u32) -> Vec<Tag> {
    let arguments = format!(
        "-re -f lavfi -i color=black:size=160x120:rate=30,geq=lum='32+3*N':cb=128:cr=128 \
         -frames:v {pictures} -map 0 -pix_fmt yuv420p -c:v libx264 -preset ultrafast \
         -tune zerolatency -qp 1 -g 15 -threads 1"
    );
    let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
    let publisher = ffmpeg_tee(arguments.collect(), port, directory).expect("ffmpeg starts");
    publisher.finish().unwrap()
}

/// When each picture is to be shown, and how bright it is on the left and on the right.
type Mixed = Arc<Mutex<Vec<(gst::ClockTime, u8, u8)>>>;

fn watch_mixer(pipeline: &gst::Pipeline) -> Mixed {
    let mixed = Mixed::default();
    let sink = pipeline.by_name("sink").expect("named");
    let pad = sink.static_pad("sink").expect("a sink has one");
    pad.add_probe(gst::PadProbeType::BUFFER, {
        let mixed = mixed.clone();
        move |_, info| {
            let buffer = info.buffer().expect("asked for");
            let map = buffer.map_readable().expect("memory");
            // A row of the luma plane in the middle.
            let row = &map[320 * 60..][..320];
            let picture = (buffer.pts().expect("timed"), row[80], row[240]);
            mixed.lock().unwrap().push(picture);
            gst::PadProbeReturn::Ok
        }
    });
    mixed
}

/// As an application does it: a mixer waits for every input that it has, so there is none before it is needed.
fn mix_what_comes(pipeline: &gst::Pipeline) {
    let demux = pipeline.by_name("demux").expect("named");
    let pipeline = pipeline.downgrade();
    demux.connect_pad_added(move |_, pad| {
        let pipeline = pipeline.upgrade().expect("it runs");
        let mix = pipeline.by_name("mix").expect("named");
        let decoder = "h264parse ! avdec_h264 ! queue";
        let decoder = gst::parse::bin_from_description(decoder, true).expect(decoder);
        pipeline.add(&decoder).unwrap();
        decoder
            .link_pads(Some("src"), &mix, Some("sink_1"))
            .unwrap();
        // Beside the other.
        let place = mix.static_pad("sink_1").expect("linked");
        place.set_property("xpos", 160);
        decoder.sync_state_with_parent().unwrap();
        pad.link(&decoder.static_pad("sink").expect("linkable"))
            .unwrap();
    });
}

/// A mixer gives out pictures all the time, and while somebody publishes each of its pictures is on them.
#[test]
fn in_a_compositor_beside_a_test_source() {
    const PICTURES: u32 = 60;
    in_real_time(|| {
        let directory = tempfile::tempdir().unwrap();
        // Twice as many as there are of either source, so that each is on one of them at least. A mixer goes on as soon as
        // every input has something: the first pictures of an input that is added find it there if the others are late, too.
        let player = Player::launch(
            "compositor name=mix background=black \
             ! video/x-raw,format=I420,width=320,height=120,framerate=60/1 ! queue \
             ! fakesink name=sink sync=true async=false \
             videotestsrc is-live=true pattern=white ! video/x-raw,width=160,height=120,framerate=30/1 \
             ! queue min-threshold-time=200000000 ! mix.sink_0 \
             rtmp2serversrc host=127.0.0.1 port=0 loop=true ! flvdemux name=demux",
        );
        mix_what_comes(&player.pipeline);
        let mixed = watch_mixer(&player.pipeline);
        let count = || mixed.lock().unwrap().len();
        // Before anybody publishes the mixer is not held up.
        wait_until(DEADLINE, || count() > 60).unwrap();
        let sent = publish_numbered(player.port, directory.path(), PICTURES);
        assert_eq!(frames(&sent, Kind::Video), u64::from(PICTURES));
        let after = count();
        // Nor is it when nobody does any more.
        wait_until(DEADLINE, || count() > after + 90).unwrap();

        let mixed = mixed.lock().unwrap().clone();
        // The test source has to start as well, and is late by its queue.
        let mut of_the_other = mixed.iter().skip_while(|(_, left, _)| *left < 225);
        assert!(of_the_other.clone().count() > mixed.len() - 60);
        assert!(of_the_other.all(|(_, left, _)| *left > 225));
        let gaps = mixed.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let longest = gaps.max().expect("pictures");
        // It may leave out one by itself, to catch up.
        assert!(
            longest < 100 * gst::ClockTime::MSECOND,
            "held up: {longest}"
        );
        let number = |luma: u8| (u32::from(luma) + 1).checked_sub(32).map(|n| n / 3);
        let mut seen: Vec<u32> = mixed
            .iter()
            .filter_map(|&(.., right)| number(right))
            .collect();
        seen.dedup();
        assert_eq!(seen, Vec::from_iter(0..PICTURES));
    });
}

/// Not live, it has to wait for a publisher to get to PAUSED; sinks set the pace then, and the publisher is held up.
#[test]
fn prerolls_on_the_first_publisher() {
    in_real_time(|| {
        let directory = tempfile::tempdir().unwrap();
        init();
        let pipeline = gst::parse::launch(&format!(
            "rtmp2serversrc name=source is-live=false host=127.0.0.1 port=0 max-queue-bytes=20000 ! flvdemux name=d \
             d.video ! queue ! {SINK} name=video d.audio ! queue ! {SINK} name=audio"
        ));
        let pipeline: gst::Pipeline = pipeline.unwrap().downcast().unwrap();
        let change = pipeline.set_state(gst::State::Paused);
        assert_eq!(change, Ok(gst::StateChangeSuccess::Async));
        let player = Player { port: 0, pipeline };
        let port = player.listening();
        let (change, ..) = player.pipeline.state(300 * gst::ClockTime::MSECOND);
        assert_eq!(
            change,
            Ok(gst::StateChangeSuccess::Async),
            "nothing to show yet"
        );

        // As fast as it is taken.
        let arguments = "-f lavfi -i testsrc=size=320x240:rate=30 -f lavfi -i sine=frequency=440 -t 3 \
             -map 0 -map 1 -c:v libx264 -preset ultrafast -tune zerolatency -g 30 -threads 1 -c:a aac";
        let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
        let publisher = ffmpeg_tee(arguments.collect(), port, directory.path()).unwrap();
        let (change, state, _) = player.pipeline.state(gst::ClockTime::from_seconds(20));
        assert_eq!(
            (change, state),
            (Ok(gst::StateChangeSuccess::Success), gst::State::Paused)
        );
        for sink in ["video", "audio"] {
            let sink = player.pipeline.by_name(sink).expect("named");
            let first: Option<gst::Sample> = sink.property("last-sample");
            assert!(first.is_some(), "prerolled");
        }

        let since = Instant::now();
        player.pipeline.set_state(gst::State::Playing).unwrap();
        let sent = publisher.finish().unwrap();
        player.wait_for_eos();
        assert!(
            since.elapsed() > Duration::from_millis(2800),
            "in real time"
        );
        assert_eq!(frames(&sent, Kind::Video), 90);
        assert_eq!(player.shown("video"), all_of(&[&sent], Kind::Video));
        assert_eq!(player.shown("audio"), all_of(&[&sent], Kind::Audio));
    });
}
