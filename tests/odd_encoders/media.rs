//! Audio, video and data.

use rml_rtmp::rml_amf0::Amf0Value;

use super::core_support::wire::{self, AUDIO, DATA, VIDEO, message, number, object, text};
use super::support::flv::Kind;
use super::{KEY_FRAME, SOUND, audio, insist_on, script, tag, video};

fn metadata(properties: Amf0Value) -> Vec<u8> {
    wire::amf(vec![text("onMetaData"), properties])
}

fn set_data_frame(metadata: &[u8]) -> Vec<u8> {
    [&wire::amf(vec![text("@setDataFrame")]), metadata].concat()
}

/// Before, between and behind the frames, wrapped and not; the last one is cut off as some muxers do.
#[test]
fn metadata_late_and_again_and_again() {
    let first = metadata(object([("width", number(640.0))]));
    let again = metadata(object([("width", number(1280.0)), ("encoder", text("x"))]));
    let array = b"\x02\0\x0aonMetaData\x08\0\0\0\0\0\x05width\0\x40\x84\0\0\0\0\0\0".to_vec();
    let mut parts = vec![message(VIDEO, 0, 1, KEY_FRAME)];
    let mut expected = vec![video(0, KEY_FRAME)];
    for (n, body) in [&first, &first, &again, &array].into_iter().enumerate() {
        let time = 40 * (n as u32 + 1);
        let sent = if n == 1 {
            body.clone()
        } else {
            set_data_frame(body)
        };
        parts.extend([
            message(DATA, time, 1, &sent),
            message(VIDEO, time, 1, KEY_FRAME),
        ]);
        expected.extend([script(time, body), video(time, KEY_FRAME)]);
    }
    insist_on(&expected, &parts);
}

/// The second audio track of a Twitch VOD is described in an object within the metadata.
#[test]
fn metadata_of_additional_media() {
    let stream = object([("codec", text("mp4a")), ("bitrate", number(160.0))]);
    let media = object([("processingIntents", text("ArchiveProgramNarrationAudio"))]);
    let additional = object([("stream0", stream), ("media", media)]);
    let body = metadata(object([("additionalMedia", additional)]));
    // What such a second track is sent in.
    let track = [&wire::amf(vec![text("additionalMedia")]), &[5, 6, 5][..]].concat();
    insist_on(
        &[script(0, &body), script(10, &track), audio(20, SOUND)],
        &[
            message(DATA, 0, 1, &set_data_frame(&body)),
            message(DATA, 10, 1, &track),
            message(AUDIO, 20, 1, SOUND),
        ],
    );
}

/// FFmpeg's data and timecode streams, captions, cue points, and what can't be read at all.
#[test]
fn data_of_any_shape_and_no_metadata() {
    let shapes: [Vec<u8>; 9] = [
        wire::amf(vec![text("onTextData"), object([("text", text("hello"))])]),
        wire::amf(vec![text("onCuePoint"), object([("time", number(1.0))])]),
        wire::amf(vec![text("onFi"), object([("tc", text("10:20:30:04"))])]),
        wire::amf(vec![number(1.0), text("a number first")]),
        wire::amf(vec![text("a name alone")]),
        b"\x02\xFF\xFFcut off".to_vec(),
        b"no AMF at all".to_vec(),
        vec![0xFF; 5000],
        // Depth has no bearing on what is only passed on.
        b"\x03\0\x01a".repeat(2000),
    ];
    let times = (0u32..).step_by(20);
    let parts: Vec<_> = times
        .clone()
        .zip(&shapes)
        .map(|(time, body)| message(DATA, time, 1, body))
        .collect();
    let expected: Vec<_> = times
        .zip(&shapes)
        .map(|(time, body)| script(time, body))
        .collect();
    insist_on(&expected, &parts);
}

/// Dahua's cameras send 2 s of audio first.
#[test]
fn audio_long_before_video() {
    let times = (0..2000).step_by(23);
    let mut parts = vec![message(AUDIO, 0, 1, b"\xAF\0\x12\x10")];
    let mut expected = vec![audio(0, b"\xAF\0\x12\x10")];
    for time in times {
        parts.push(message(AUDIO, time, 1, SOUND));
        expected.push(audio(time, SOUND));
    }
    for time in [2003, 2043] {
        parts.push(message(VIDEO, time, 1, KEY_FRAME));
        expected.push(video(time, KEY_FRAME));
    }
    insist_on(&expected, &parts);
}

/// E-RTMP's and those that nobody has heard of.
#[test]
fn codecs_by_four_cc() {
    let mut bodies = Vec::new();
    for four_cc in [
        b"vp08",
        b"vp09",
        b"av01",
        b"avc1",
        b"hvc1",
        b"vvc1",
        b"what",
        b"\0\xFF\n\"",
    ] {
        for packet_type in 0..16 {
            let body = [&[0x90 | packet_type], &four_cc[..], b"\0\0\0frame"].concat();
            bodies.push((Kind::Video, body));
        }
    }
    for four_cc in [
        b"ac-3", b"ec-3", b"Opus", b".mp3", b"fLaC", b"mp4a", b"what",
    ] {
        for packet_type in 0..16 {
            bodies.push((
                Kind::Audio,
                [&[0x90 | packet_type], &four_cc[..], b"frame"].concat(),
            ));
        }
    }
    let (mut parts, mut expected) = (Vec::new(), Vec::new());
    for (time, (kind, body)) in (0u32..).step_by(10).zip(&bodies) {
        let type_id = if *kind == Kind::Audio { AUDIO } else { VIDEO };
        parts.push(message(type_id, time, 1, body));
        expected.push(tag(*kind, time, body));
    }
    insist_on(&expected, &parts);
}

/// OBS before 29.1 called H.265 codec 7: the configuration is not one of H.264.
#[test]
fn hevc_under_the_name_of_h264() {
    let configuration =
        b"\x17\0\0\0\0\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x5D\xF0\0\xFC\xFD\xF8\xF8\0\0\x0F\x03";
    insist_on(
        &[
            video(0, configuration),
            video(0, KEY_FRAME),
            video(40, b"\x1C\x01\0\0\0"),
        ],
        &[
            message(VIDEO, 0, 1, configuration),
            message(VIDEO, 0, 1, KEY_FRAME),
            // And later, in its own name from before E-RTMP.
            message(VIDEO, 40, 1, b"\x1C\x01\0\0\0"),
        ],
    );
}
