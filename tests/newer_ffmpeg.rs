//! The real ffmpeg 8 and 9, which know Enhanced RTMP: all codecs are recorded as sent, and `compat=flvdemux` makes what it
//! can of them and says so where it can't.

mod support;

use std::path::{Path, PathBuf};

use gst::prelude::*;
use support::demuxed::{AV, Demuxed, assert_withheld, frames, is_multitrack};
use support::flv::{self, Kind, Rules, Tag};
use support::pipeline::Recording;
use support::publishers::{Publisher, tee_of};

/// Where scripts/install-encoders.sh puts it.
fn ffmpeg(version: u32) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join(format!("encoders/ffmpeg-{version}"));
    assert!(
        program.exists(),
        "there is no {}: run scripts/install-encoders.sh",
        program.display()
    );
    program
}

const VERSIONS: [u32; 2] = [8, 9];

const H264: &str = "-c:v libx264 -preset ultrafast -threads 1";
const AAC: &str = "-c:a aac";
const PICTURE: &str = "-f lavfi -i testsrc=size=160x120:rate=30";
const ANOTHER_PICTURE: &str = "-f lavfi -i testsrc2=size=320x240:rate=30";
const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000";
const ANOTHER_SOUND: &str = "-f lavfi -i sine=frequency=880:sample_rate=48000";

fn publish(
    version: u32,
    inputs: &[&str],
    codecs: &str,
    seconds: u32,
    port: u16,
    directory: &Path,
) -> Publisher {
    let maps: String = (0..inputs.len()).map(|n| format!("-map {n} ")).collect();
    let inputs = inputs.join(" ");
    let arguments = format!("{inputs} -t {seconds} {maps} -pix_fmt yuv420p -g 30 {codecs}");
    let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
    tee_of(&ffmpeg(version), arguments.collect(), port, directory).unwrap()
}

/// The first FourCC of an enhanced stream of this kind; none if it is a classic one.
fn four_cc(tags: &[Tag], kind: Kind) -> Option<&[u8]> {
    let first = tags.iter().find(|tag| tag.kind == kind)?;
    let enhanced = match kind {
        Kind::Video => first.body[0] & 0x80 != 0,
        _ => first.body[0] >> 4 == 9,
    };
    enhanced.then(|| &first.body[1..5])
}

/// Every tag is in the file as it was sent. Without a FourCC, a codec is to be sent in the classic way.
fn is_recorded(codecs: &str, video: Option<&str>, audio: Option<&str>) {
    for version in VERSIONS {
        let directory = tempfile::tempdir().unwrap();
        let properties = "timestamp-mode=passthrough compat=passthrough";
        let recording = Recording::start(directory.path(), properties).unwrap();
        let inputs = [PICTURE, SOUND];
        let sent = publish(
            version,
            &inputs,
            codecs,
            1,
            recording.port(),
            directory.path(),
        )
        .finish()
        .unwrap();
        let source = recording.source().clone();
        let captured = recording.finish().unwrap();
        let comparison = flv::compare(&sent, &captured, Rules::default());
        assert!(comparison.is_same(), "ffmpeg {version}: {comparison}");
        assert_withheld(&source, &[]);

        for (kind, expected) in [(Kind::Video, video), (Kind::Audio, audio)] {
            let found = four_cc(&sent, kind);
            assert_eq!(found, expected.map(str::as_bytes), "ffmpeg {version}");
        }
        // 30 pictures, and packets of 20 to 96 ms of sound.
        let pictures = sent.iter().filter(|tag| tag.is_video_frame()).count();
        assert_eq!(pictures, 30, "ffmpeg {version}");
        let sounds = sent.iter().filter(|tag| tag.kind == Kind::Audio).count();
        assert!(sounds > 10, "ffmpeg {version}: {sounds}");
    }
}

#[test]
fn h264_and_aac_are_recorded() {
    is_recorded(&format!("{H264} {AAC}"), None, None);
}

#[test]
fn hevc_is_recorded() {
    let codecs = format!("-c:v libx265 -preset ultrafast -x265-params log-level=error {AAC}");
    is_recorded(&codecs, Some("hvc1"), None);
}

#[test]
fn av1_is_recorded() {
    is_recorded(
        &format!("-c:v libsvtav1 -preset 12 {AAC}"),
        Some("av01"),
        None,
    );
}

#[test]
fn vp9_is_recorded() {
    let codecs = format!("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 {AAC}");
    is_recorded(&codecs, Some("vp09"), None);
}

#[test]
fn opus_is_recorded() {
    is_recorded(&format!("{H264} -c:a libopus"), None, Some("Opus"));
}

#[test]
fn flac_is_recorded() {
    is_recorded(&format!("{H264} -c:a flac"), None, Some("fLaC"));
}

#[test]
fn ac3_is_recorded() {
    is_recorded(&format!("{H264} -c:a ac3"), None, Some("ac-3"));
}

/// flvdemux gets all of track 0 and nothing else.
fn first_tracks_play(inputs: &[&str]) {
    for version in VERSIONS {
        let directory = tempfile::tempdir().unwrap();
        let demuxed = Demuxed::start("compat=flvdemux", AV);
        let codecs = format!("{H264} {AAC}");
        let sent = publish(
            version,
            inputs,
            &codecs,
            2,
            demuxed.port(),
            directory.path(),
        )
        .finish()
        .unwrap();
        let others = sent.iter().filter(|tag| is_multitrack(tag)).count();
        assert!(others > 60, "ffmpeg {version}: {others}");
        // ffmpeg sends track 0 in the classic way.
        demuxed.assert_shows(&sent);
        assert_eq!(frames(&sent, Kind::Video).len(), 60);
        assert!(frames(&sent, Kind::Audio).len() > 90);
        assert_withheld(&demuxed.source(), &[("withheld-other-track", others)]);
    }
}

#[test]
fn of_two_video_tracks_the_first_plays() {
    first_tracks_play(&[PICTURE, ANOTHER_PICTURE, SOUND]);
}

#[test]
fn of_two_audio_tracks_the_first_plays() {
    first_tracks_play(&[PICTURE, SOUND, ANOTHER_SOUND]);
}

#[test]
fn of_two_tracks_of_each_the_first_play() {
    first_tracks_play(&[PICTURE, ANOTHER_PICTURE, SOUND, ANOTHER_SOUND]);
}

/// The element says what it can't put out, and what to do about it; the encoder is sent away.
fn is_an_error(codecs: &str, codec: &str) {
    for version in VERSIONS {
        let directory = tempfile::tempdir().unwrap();
        let demuxed = Demuxed::start("compat=flvdemux", AV);
        let inputs = [&format!("-re {PICTURE}"), SOUND];
        // Longer than anyone waits.
        let publisher = publish(
            version,
            &inputs,
            codecs,
            600,
            demuxed.port(),
            directory.path(),
        );
        let end = demuxed.end();
        let gst::MessageView::Error(error) = end.view() else {
            panic!("ffmpeg {version}: no error: {end:?}");
        };
        assert_eq!(error.src(), Some(demuxed.source().upcast_ref()));
        let error = error.error();
        assert!(error.matches(gst::StreamError::CodecNotFound), "{error:?}");
        for part in [codec, "compat=passthrough", "H.264 and AAC"] {
            assert!(error.message().contains(part), "{error}");
        }
        assert_withheld(&demuxed.source(), &[("withheld-unsupported-codec", 1)]);
        let told = publisher.finish().unwrap_err();
        assert!(told.starts_with("ffmpeg ended with"), "{told}");
    }
}

#[test]
fn hevc_is_an_error_that_says_so() {
    let codecs = format!("-c:v libx265 -preset ultrafast -x265-params log-level=error {AAC}");
    is_an_error(&codecs, "H.265 (hvc1) video");
}

#[test]
fn opus_is_an_error_that_says_so() {
    is_an_error(&format!("{H264} -c:a libopus"), "Opus (Opus) audio");
}
