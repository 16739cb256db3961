//! What applications are told of a publisher's stream: the message `rtmp2server-stream-info`, and `stats`.

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;
use support::client::Client;
use support::flv::{Kind, Tag};
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::process::Process;

/// The messages with that name, each with the number of buffers that were out before it.
fn messages(recording: &Recording) -> Arc<Mutex<Vec<(usize, gst::Structure)>>> {
    let found: Arc<Mutex<Vec<(usize, gst::Structure)>>> = Arc::default();
    let buffers = Arc::new(Mutex::new(0));
    let pad = recording.source().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, {
        let buffers = buffers.clone();
        move |_, _| {
            *buffers.lock().unwrap() += 1;
            gst::PadProbeReturn::Ok
        }
    });
    let bus = recording.pipeline().bus().unwrap();
    bus.set_sync_handler({
        let found = found.clone();
        move |_, message| {
            if let Some(structure) = message.structure()
                && structure.name() == "rtmp2server-stream-info"
            {
                let before = *buffers.lock().unwrap();
                found.lock().unwrap().push((before, structure.to_owned()));
            }
            gst::BusSyncReply::Pass
        }
    });
    found
}

fn stats(recording: &Recording) -> gst::Structure {
    recording.source().property("stats")
}

fn ffmpeg(arguments: &str, recording: &Recording) -> Process {
    let url = format!("rtmp://127.0.0.1:{}/live/k", recording.port());
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-nostdin", "-v", "error"]);
    ffmpeg.args(arguments.split_ascii_whitespace());
    Process::spawn(ffmpeg.args(["-f", "flv", &url])).unwrap()
}

fn wait(publisher: Process) {
    let finished = publisher.wait(DEADLINE).unwrap();
    finished.expect_success("ffmpeg").unwrap();
}

/// Records what a real ffmpeg sends, and returns the messages and the `stats` after its end.
fn publish(arguments: &str) -> (Vec<(usize, gst::Structure)>, gst::Structure) {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "loop=true", "").unwrap();
    let messages = messages(&recording);
    let recording = recording.play().unwrap();
    wait(ffmpeg(arguments, &recording));
    wait_until(DEADLINE, || {
        !recording.is_publishing() && recording.counter("queued") == 0
    })
    .unwrap();
    let stats = stats(&recording);
    let messages = messages.lock().unwrap().clone();
    (messages, stats)
}

#[track_caller]
fn assert_fields(structure: &gst::StructureRef, fields: &[&str]) {
    let text = structure.to_string();
    for field in fields {
        assert!(text.contains(field), "{field}: {text}");
    }
}

const VIDEO: &str = "-c:v libx264 -preset ultrafast -g 30 -threads 1";

#[test]
fn of_video_and_audio() {
    let (messages, stats) = publish(&format!(
        "-f lavfi -i testsrc=size=320x180:rate=30000/1001 -f lavfi -i sine=sample_rate=48000 \
         -t 1 {VIDEO} -c:a aac -ac 2"
    ));
    let [(before, info)] = &messages[..] else {
        panic!("{messages:?}");
    };
    // The file header, metadata and two sequence headers: before any frame.
    assert_eq!(*before, 4);
    let stream = [
        "video-codec=(string)H.264",
        "width=(int)320, height=(int)180",
        "framerate=(fraction)30000/1001",
        "audio-codec=(string)AAC",
        "audio-rate=(int)48000, audio-channels=(int)2",
        "encoder=(string)Lavf",
    ];
    assert_fields(info, &stream);
    assert_fields(
        info,
        &["address=(string)", "application=(string)live", "flash-ver="],
    );
    // They stay after the publisher left.
    assert_fields(&stats, &stream);
    assert_eq!(stats.get("codecs"), Ok("H.264, AAC"));
    assert_eq!(stats.get("state"), Ok("listening"));
}

#[test]
fn without_metadata() {
    let size = "testsrc=size=1920x1080:rate=5";
    let no_metadata = "-flvflags no_metadata";
    for (pixels, codec) in [
        ("-pix_fmt yuv420p", VIDEO),
        ("-pix_fmt yuv422p", VIDEO),
        ("-pix_fmt yuv420p -flags +ilme+ildct", VIDEO),
    ] {
        let (messages, _) = publish(&format!(
            "-f lavfi -i {size} -frames:v 3 {pixels} {codec} {no_metadata}"
        ));
        assert_eq!(messages.len(), 1);
        let info = &messages[0].1;
        assert_fields(info, &["width=(int)1920, height=(int)1080"]);
        assert!(!info.has_field("framerate") && !info.has_field("encoder"));
        assert!(!info.has_field("audio-codec"));
    }
}

#[test]
fn of_audio_alone() {
    let (messages, stats) = publish("-f lavfi -i sine=sample_rate=44100 -t 1 -c:a libmp3lame");
    assert_eq!(messages.len(), 1);
    assert_fields(
        &messages[0].1,
        &[
            "audio-codec=(string)MP3",
            "audio-rate=(int)44100, audio-channels=(int)1",
        ],
    );
    assert!(!messages[0].1.has_field("video-codec"));
    assert_eq!(stats.get("codecs"), Ok("MP3"));
}

fn tag(kind: Kind, timestamp: u32, body: &[u8]) -> Tag {
    Tag {
        kind,
        timestamp,
        body: body.to_vec(),
    }
}

#[test]
fn a_change_is_told_before_its_first_frame() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    let messages = messages(&recording);
    let recording = recording.play().unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    client
        .send_all(&[
            tag(Kind::Video, 0, b"\x22\x01"),
            tag(Kind::Video, 40, b"\x22\x02"),
            tag(Kind::Audio, 40, &[0xaf, 0, 0x12, 0x10]),
            tag(Kind::Audio, 40, &[0xaf, 1, 1]),
            tag(Kind::Audio, 60, &[0xaf, 0, 0x11, 0x88]),
            tag(Kind::Video, 80, b"\x90hvc1\x01"),
            tag(Kind::Audio, 80, &[0xaf, 1, 2]),
        ])
        .unwrap();
    client.close().unwrap();
    recording.finish().unwrap();
    let messages = messages.lock().unwrap();
    let told: Vec<(usize, Vec<Option<String>>)> = messages
        .iter()
        .map(|(before, info)| {
            let text = |name| info.get::<String>(name).ok();
            let rate = info.get::<i32>("audio-rate").ok();
            let fields = [text("video-codec"), text("audio-codec")];
            let fields = fields.into_iter().chain([rate.map(|r| r.to_string())]);
            (*before, fields.collect())
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    let [h263, aac] = [some("Sorenson H.263"), some("AAC")];
    assert_eq!(
        told,
        [
            (0, vec![h263.clone(), None, None]),
            (4, vec![h263, aac.clone(), some("44100")]),
            (7, vec![some("H.265 (hvc1)"), aac, some("48000")]),
        ]
    );
}

#[test]
fn the_bitrate_is_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "loop=true").unwrap();
    assert_eq!(stats(&recording).get("bitrate"), Ok(0_u64));
    // Five seconds in real time, the same all the way: uncompressed sound has one rate, 44 100 Hz at 16 bits.
    let publisher = ffmpeg(
        "-re -f lavfi -i sine=sample_rate=44100 -t 5 -c:a pcm_s16le",
        &recording,
    );
    let nominal = 44_100 * 16;
    let near = |rate: u64| rate.abs_diff(nominal) < nominal / 5;
    let rate = || stats(&recording).get::<u64>("bitrate").unwrap();
    // Newer versions of ffmpeg begin with a burst; by now it is more than two seconds ago.
    wait_until(DEADLINE, || recording.counter("bytes") > 3 * nominal / 8).unwrap();
    let measured = rate();
    assert!(near(measured), "{measured}");
    wait(publisher);
    // It has left: nothing comes.
    wait_until(Duration::from_secs(10), || rate() == 0).unwrap();
}

#[test]
fn the_key_is_masked_and_the_figures_stay() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "loop=true").unwrap();
    assert!(!stats(&recording).has_field("stream-key"));
    let keys = [("live_2f6c1a9e8b", "***"), ("live_2f6c1a9e8b7d", "live***")];
    for ((key, shown), tags) in keys.into_iter().zip(1..) {
        let mut client = Client::connect(recording.address(), "studio").unwrap();
        client.must_publish(key).unwrap();
        client
            .send(&tag(Kind::Audio, 0, &[0xaf, 1, 1, 2, 3]))
            .unwrap();
        recording.wait_for_counter("received", tags).unwrap();
        let text = stats(&recording).to_string();
        assert!(!text.contains(key), "{text}");
        assert_eq!(stats(&recording).get("stream-key"), Ok(shown));
        client.close().unwrap();
        wait_until(DEADLINE, || !recording.is_publishing()).unwrap();
        let after = stats(&recording);
        assert_fields(
            &after,
            &["state=(string)listening", "application=(string)studio"],
        );
        assert_eq!(after.get("stream-key"), Ok(shown));
        assert!(
            after
                .get::<&str>("remote-address")
                .unwrap()
                .starts_with("127.0.0.1:")
        );
        assert!(after.get::<u64>("in-bytes-total").unwrap() > 3073);
        assert_eq!(after.get::<u32>("in-chunk-size"), Ok(4096));
    }
}
