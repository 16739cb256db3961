//! The commands of the README as they are typed, except for the port: they end by themselves with every frame recorded.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::flv;
use support::launch::{free_port, gst_launch, wait_for_listener};
use support::process::Process;

const DEADLINE: Duration = Duration::from_secs(60);
const FRAMES: usize = 150;

#[test]
fn ffmpeg_into_gst_launch() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();

    let recording = Process::spawn(
        gst_launch(directory.path())
            .args(["rtmp2serversrc", &format!("port={port}")])
            .args(["!", "filesink", "location=output.flv"]),
    )
    .unwrap();
    wait_for_listener(port, &recording);

    let options = "-re -f lavfi -i testsrc=size=320x240:rate=30 -t 5 \
         -c:v libx264 -preset ultrafast -g 30 -f flv";
    let publishing = Process::spawn(
        Command::new("ffmpeg")
            .args(options.split_ascii_whitespace())
            .arg(format!("rtmp://localhost:{port}/live/test")),
    )
    .unwrap();
    publishing
        .wait(DEADLINE)
        .unwrap()
        .expect_success("ffmpeg")
        .unwrap();
    recording
        .wait(DEADLINE)
        .unwrap()
        .expect_success("gst-launch-1.0")
        .unwrap();

    let output = directory.path().join("output.flv");
    let file = fs::read(&output).unwrap();
    assert_eq!(file[..13], flv::FILE_HEADER);
    let tags = flv::parse(&file).unwrap();
    assert_eq!(
        tags.iter().filter(|tag| tag.is_video_frame()).count(),
        FRAMES
    );
    assert_eq!(frames_counted_by_ffprobe(&output), FRAMES.to_string());
    assert_eq!(complaints_of_ffmpeg(&output), "");
}

fn frames_counted_by_ffprobe(file: &Path) -> String {
    let options = "-v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames \
         -of default=nokey=1:noprint_wrappers=1";
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(options.split_ascii_whitespace()).arg(file);
    let finished = Process::spawn(&mut ffprobe)
        .unwrap()
        .wait(DEADLINE)
        .unwrap();
    let finished = finished.expect_success("ffprobe").unwrap();
    assert_eq!(finished.stderr, "");
    finished.stdout.trim().to_string()
}

fn complaints_of_ffmpeg(file: &Path) -> String {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-v", "warning", "-i"])
        .arg(file)
        .args(["-f", "null", "-"]);
    let finished = Process::spawn(&mut ffmpeg).unwrap().wait(DEADLINE).unwrap();
    finished.expect_success("ffmpeg").unwrap().stderr
}
