//! At home in GStreamer: late joiners of a network sink start with the stream headers and a key frame; nothing leaks.

mod support;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use gst::prelude::*;
use support::flv::{self, Kind};
use support::launch::{free_port, gst_launch, wait_for_listener};
use support::pipeline::init;
use support::process::Process;

const DEADLINE: Duration = Duration::from_secs(60);

fn ffmpeg(url: &str, seconds: u32) -> Process {
    let arguments = format!(
        "-hide_banner -nostdin -v error -re -f lavfi -i testsrc=size=160x120:rate=30 -f lavfi -i sine \
         -t {seconds} -c:v libx264 -preset ultrafast -tune zerolatency -g 15 -threads 1 -c:a aac -f flv {url}"
    );
    Process::spawn(Command::new("ffmpeg").args(arguments.split_ascii_whitespace())).unwrap()
}

#[test]
fn a_late_joiner_starts_at_a_key_frame() {
    init();
    let pipeline = gst::parse::launch(
        "rtmp2serversrc name=source port=0 ! \
         tcpserversink name=sink host=127.0.0.1 port=0 sync-method=latest-keyframe recover-policy=keyframe",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let source = pipeline.by_name("source").unwrap();
    let sink = pipeline.by_name("sink").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let port: u32 = source.property("current-port");
    let publisher = ffmpeg(&format!("rtmp://127.0.0.1:{port}/live/k"), 3);

    // More than two groups of pictures are out.
    let deadline = std::time::Instant::now() + DEADLINE;
    let keyframes = || {
        let stats: gst::Structure = source.property("stats");
        stats.get::<u64>("keyframes").unwrap()
    };
    while keyframes() < 3 {
        assert!(std::time::Instant::now() < deadline, "no key frames");
        std::thread::yield_now();
    }
    let served = sink.property::<i32>("current-port") as u16;
    let mut joined = TcpStream::connect(("127.0.0.1", served)).unwrap();
    joined.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut file, mut part) = (Vec::new(), [0; 4096]);
    let tags = loop {
        let n = joined.read(&mut part).unwrap();
        assert_ne!(n, 0, "closed");
        file.extend_from_slice(&part[..n]);
        match flv::parse_prefix(&file) {
            Ok((tags, _)) if tags.len() > 10 => break tags,
            _ => {}
        }
    };
    publisher
        .wait(DEADLINE)
        .unwrap()
        .expect_success("ffmpeg")
        .unwrap();
    pipeline.set_state(gst::State::Null).unwrap();

    let [metadata, headers @ ..] = &tags[..3] else {
        panic!("only {} tags", tags.len())
    };
    assert!(metadata.kind == Kind::Script && metadata.body.starts_with(b"\x02\0\x0aonMetaData"));
    for header in headers {
        let is_header = match header.kind {
            Kind::Video => header.body.starts_with(&[0x17, 0]),
            Kind::Audio => header.body.starts_with(&[0xAF, 0]),
            Kind::Script => false,
        };
        assert!(is_header, "{:02x?}", &header.body[..2]);
    }
    assert_ne!(headers[0].kind, headers[1].kind);
    let first = &tags[3];
    assert!(
        first.kind == Kind::Video && first.body.starts_with(&[0x17, 1]),
        "starts at a key frame"
    );
    assert!(
        first.timestamp >= 500,
        "joined late, at {} ms",
        first.timestamp
    );
}

#[test]
fn nothing_leaks_and_nothing_is_critical() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let log = directory.path().join("tracers.log");
    let playing = Process::spawn(
        gst_launch(directory.path())
            .env("GST_TRACERS", "leaks")
            .env("GST_DEBUG", "GST_TRACER:7")
            .env("GST_DEBUG_FILE", &log)
            .env("G_DEBUG", "fatal-criticals")
            .args(["rtmp2serversrc", &format!("port={port}"), "!"])
            .args([
                "flvdemux", "name=d", "d.video", "!", "queue", "!", "fakesink",
            ])
            .args(["d.audio", "!", "queue", "!", "fakesink"]),
    )
    .unwrap();
    wait_for_listener(port, &playing);
    let publisher = ffmpeg(&format!("rtmp://127.0.0.1:{port}/live/k"), 1);
    publisher
        .wait(DEADLINE)
        .unwrap()
        .expect_success("ffmpeg")
        .unwrap();
    playing
        .wait(DEADLINE)
        .unwrap()
        .expect_success("gst-launch-1.0")
        .unwrap();
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("object-alive"), "the tracer was on");
    let leaks: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("object-alive, type-name=(string)") && !line.contains("%s"))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}
