//! The examples that put out more than FLV files: what they put out is decoded and compared.

use std::path::Path;
use std::process::Command;

use crate::support::flv::{self, Rules, Tag};
use crate::support::launch::{free_port, with_plugin};
use crate::support::pipeline::{Recording, wait_until};
use crate::support::process::Process;
use crate::support::publishers::DEADLINE;
use crate::{Encoder, H264, PICTURE, SOUND, assert_same, end_well, example, listening, source_of};

#[test]
fn relay() {
    check_relay("aac");
}

/// Which has AAC's name in caps, and another parser.
#[test]
fn relay_mp3() {
    check_relay("libmp3lame");
}

fn check_relay(sound_codec: &str) {
    let directory = tempfile::tempdir().unwrap();
    let there = Recording::start(directory.path(), "").unwrap();
    let (port, srt) = (free_port(), free_port());
    let said = directory.path().join("said");
    // What it says is to be read while it runs.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" > \"$0\""]);
    command.arg(&said).arg(example("relay").get_program());
    command.arg(port.to_string());
    command.arg(format!("rtmp://127.0.0.1:{}/live/relayed", there.port()));
    command.arg(format!("srt://127.0.0.1:{srt}?mode=listener"));
    let relay = listening(&mut command, port);
    // The SRT socket is bound when the relay plays, which it does when RTMP listens: a caller tries for 3 s.
    let received = directory.path().join("received.ts");
    let mut receiver = Command::new("ffmpeg");
    receiver.args(["-hide_banner", "-nostdin", "-v", "error", "-y", "-copyts"]);
    receiver
        .arg("-i")
        .arg(format!("srt://127.0.0.1:{srt}?mode=caller"));
    receiver
        .args(["-map", "0", "-c", "copy", "-f", "mpegts"])
        .arg(&received);
    let receiver = Process::spawn(&mut receiver).unwrap();
    let is_watched = || std::fs::read_to_string(&said).is_ok_and(|said| said.contains("over SRT"));
    wait_until(DEADLINE, is_watched).unwrap();

    let what = format!("{PICTURE} {SOUND} -map 0 -map 1 {H264} -c:a {sound_codec}");
    let encoder = Encoder::start_with(port, "key", Some(4), &what, directory.path());
    let sent_file = encoder.sent.clone();
    let sent = encoder.finish();
    end_well(relay);
    let relayed = there.finish().unwrap();
    // rtmp2sink sends the stream header of the caps, and then the same tags as they come.
    let (sent_headers, sent) = headers_and_stream(sent);
    let (headers, relayed) = headers_and_stream(relayed);
    assert!(sent_headers.iter().all(|header| headers.contains(header)));
    assert_same(&sent, &relayed, Rules::default());
    // ffmpeg calls a closed SRT connection an error.
    receiver.wait(DEADLINE).unwrap();
    assert_eq!(
        count_frames(&received),
        sent.iter().filter(|t| t.is_video_frame()).count()
    );
    for stream in ["v", "a"] {
        let (sent, received) = (decoded(&sent_file, stream), decoded(&received, stream));
        assert!(sent.len() > 100, "{stream}: {}", sent.len());
        assert!(
            sent == received,
            "{stream}: {} of {} frames, or others",
            received.len(),
            sent.len()
        );
    }
}

#[test]
fn transcode_hls() {
    let what = format!("{PICTURE} {SOUND} -map 0 -map 1 {H264} -c:a aac");
    check_hls(None, &what, &["video", "audio"]);
}

#[test]
fn transcode_hls_of_pictures_alone() {
    let what = format!("{PICTURE} -map 0 {H264}");
    check_hls(Some("--no-audio"), &what, &["video"]);
}

#[test]
fn transcode_hls_of_sound_alone() {
    let what = format!("{SOUND} -map 0 -c:a aac");
    check_hls(Some("--no-video"), &what, &["audio"]);
}

/// Five seconds of what a publisher sends are in the playlist as these streams.
fn check_hls(option: Option<&str>, what: &str, streams: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let (port, hls) = (free_port(), directory.path().join("hls"));
    let mut command = with_plugin(source_of("transcode_hls.sh"), directory.path());
    command.args(option).arg(port.to_string()).arg(&hls);
    let server = listening(&mut command, port);
    Encoder::start_with(port, "key", Some(5), what, directory.path()).finish();
    end_well(server);
    let playlist = hls.join("index.m3u8");
    let text = std::fs::read_to_string(&playlist).unwrap();
    assert!(text.contains("#EXT-X-ENDLIST"), "{text}");
    assert!(text.matches("#EXTINF").count() >= 3, "{text}");
    let mut command = Command::new("ffprobe");
    command.args("-v error -show_entries stream=codec_type -of csv=p=0".split(' '));
    let found = end_well(Process::spawn(command.arg(&playlist)).unwrap()).stdout;
    let mut found: Vec<&str> = found.split_whitespace().collect();
    found.sort_by(|a, b| b.cmp(a));
    found.dedup();
    assert_eq!(found, streams);
    if streams.contains(&"video") {
        // videorate may repeat one at either end.
        let frames = count_frames(&playlist);
        assert!((150..=152).contains(&frames), "{frames}");
    }
    if streams.contains(&"audio") {
        // Frames of 1024 samples at 48 kHz: the last one may be cut, and encoders begin with one or two of silence.
        let frames = decoded(&playlist, "a").len();
        assert!((233..=238).contains(&frames), "{frames}");
    }
}

/// Checksums of all that ffmpeg decodes of a file's picture or sound: the times and the way of packing may differ.
fn decoded(file: &Path, stream: &str) -> Vec<String> {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-v", "error", "-i"]);
    command.arg(file).args(["-map", &format!("0:{stream}")]);
    command.args(["-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let finished = end_well(Process::spawn(&mut command).unwrap());
    let frames = finished
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#'));
    let checksum = |line: &str| line.rsplit(", ").next().unwrap().to_owned();
    frames.map(checksum).collect()
}

/// Metadata and the codecs' sequence headers, and all else.
pub fn headers_and_stream(tags: Vec<Tag>) -> (Vec<Tag>, Vec<Tag>) {
    tags.into_iter()
        .partition(|tag| tag.kind == flv::Kind::Script || tag.body[1] == 0)
}

/// How many frames ffmpeg decodes of a file or playlist, without complaints.
fn count_frames(file: &Path) -> usize {
    let mut command = Command::new("ffprobe");
    command.args("-v error -count_frames -select_streams v:0".split(' '));
    command.args("-show_entries stream=nb_read_frames -of csv=p=0".split(' '));
    let finished = end_well(Process::spawn(command.arg(file)).unwrap());
    let complaint = finished.stderr.lines().next();
    assert_eq!(
        complaint,
        None,
        "of {} lines",
        finished.stderr.lines().count()
    );
    let count = finished.stdout.lines().next().expect("a count");
    count.trim_end_matches(',').parse().expect("a number")
}
