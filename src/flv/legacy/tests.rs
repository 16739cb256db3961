use super::*;
use proptest::prelude::*;

/// What comes of a body.
#[derive(Debug, PartialEq)]
enum Becomes {
    Same,
    /// The new body, and the number of tracks that it leaves out.
    New(&'static [u8], usize),
    Dropped(DropReason),
    Unsupported(&'static str),
}
use Becomes::{Dropped, New, Same, Unsupported};
use DropReason as D;

type Case = (&'static str, &'static [u8], Becomes);

/// Both ways to rewrite: with room in front, which must stay, and without.
fn rewritten(rewrite: &Rewrite, body: &[u8]) -> Vec<u8> {
    let mut bare = body.to_vec();
    rewrite.apply(&mut bare, 0);
    let mut tag = [&[0xee; 11], body].concat();
    let before = tag.as_ptr();
    rewrite.apply(&mut tag, 11);
    assert_eq!(tag.as_ptr(), before, "nothing is allocated");
    assert_eq!(tag, [&[0xee; 11], &bare[..]].concat());
    bare
}

fn check(cases: &[Case], convert: fn(&[u8]) -> Legacy) {
    for (name, body, expected) in cases {
        match (convert(body), expected) {
            (Legacy::AsIs, Same) => {}
            (Legacy::Rewrite(rewrite), New(new, other_tracks)) => {
                assert_eq!(rewritten(&rewrite, body), *new, "{name}");
                assert_eq!(rewrite.other_tracks(), *other_tracks, "{name}");
            }
            (Legacy::Drop(reason), Dropped(expected)) => {
                assert_eq!(reason, *expected, "{name}");
            }
            (Legacy::Unsupported(codec), Unsupported(expected)) => {
                assert_eq!(codec.to_string(), *expected, "{name}");
            }
            (other, expected) => panic!("{name}: {other:?} instead of {expected:?}"),
        }
    }
}

#[rustfmt::skip]
const VIDEO: &[Case] = &[
    ("H.264 configuration", b"\x17\x00\x00\x00\x00avcC", Same),
    ("H.264 key frame", b"\x17\x01\x00\x00\x50nalu", Same),
    ("H.264 frame", b"\x27\x01\xff\xff\xd8nalu", Same),
    ("H.264 frame without a frame", b"\x27\x01\x00\x00\x00", Same),
    ("H.264 end of sequence", b"\x17\x02\x00\x00\x00", Same),
    ("H.264 end of sequence, short", b"\x17\x02", Dropped(D::Truncated)),
    ("H.264, cut off at once", b"\x17", Dropped(D::Truncated)),
    ("H.264, cut off in the time", b"\x27\x01\x00\x00", Dropped(D::Truncated)),
    ("H.264 without its configuration", b"\x17\x00\x00\x00\x00", Dropped(D::Truncated)),
    ("H.264, unknown packet type", b"\x17\x03\x00\x00\x00data", Dropped(D::UnknownPacket)),
    ("Sorenson H.263", b"\x12data", Same),
    ("screen video", b"\x13data", Same),
    ("VP6", b"\x14\x00data", Same),
    ("VP6 with alpha", b"\x15\x00data", Same),
    ("H.263", b"\x18data", Same),
    ("MPEG-4", b"\x19data", Same),
    ("command", b"\x57\x00", Dropped(D::Command)),
    ("command of a codec that is unknown", b"\x5c\x00", Dropped(D::Command)),
    ("empty", b"", Dropped(D::Empty)),
    ("JPEG", b"\x11data", Unsupported("JPEG video")),
    ("screen video 2", b"\x16data", Unsupported("Screen video 2 video")),
    ("H.265 by id", b"\x1c\x00\x00\x00\x00hvcC", Unsupported("H.265 video")),
    ("H.265 by id, cut off", b"\x1c", Unsupported("H.265 video")),
    ("AV1 by id", b"\x1d\x00\x00\x00\x00av1C", Unsupported("AV1 video")),
    ("unknown id", b"\x1adata", Unsupported("unknown (10) video")),

    ("avc1 configuration", b"\x90avc1avcC", New(b"\x17\x00\x00\x00\x00avcC", 0)),
    ("avc1 without its configuration", b"\x90avc1", Dropped(D::Truncated)),
    ("avc1 key frame", b"\x91avc1\x00\x00\x50nalu", New(b"\x17\x01\x00\x00\x50nalu", 0)),
    ("avc1 frame, negative time", b"\xa1avc1\xff\xff\xd8nalu", New(b"\x27\x01\xff\xff\xd8nalu", 0)),
    ("avc1 disposable frame", b"\xb1avc1\x00\x00\x50nalu", New(b"\x37\x01\x00\x00\x50nalu", 0)),
    ("avc1 key frame, X", b"\x93avc1nalu", New(b"\x17\x01\x00\x00\x00nalu", 0)),
    ("avc1 frame, X", b"\xa3avc1nalu", New(b"\x27\x01\x00\x00\x00nalu", 0)),
    ("avc1 end of sequence", b"\x92avc1", New(b"\x17\x02\x00\x00\x00", 0)),
    ("avc1 end of sequence that holds something", b"\xa2avc1data", New(b"\x17\x02\x00\x00\x00", 0)),
    ("avc1, MPEG-2 TS configuration", b"\x95avc1data", Dropped(D::UnknownPacket)),
    ("avc1, unknown packet type", b"\x9favc1data", Dropped(D::UnknownPacket)),
    ("avc1, cut off in the FourCC", b"\x91avc", Dropped(D::Truncated)),
    ("avc1, cut off in the time", b"\x91avc1\x00\x00", Dropped(D::Truncated)),
    ("colours", b"\xd4avc1amf", Dropped(D::Metadata)),
    ("colours of an unsupported codec", b"\xd4hvc1amf", Dropped(D::Metadata)),
    ("enhanced command", b"\xd1\x00", Dropped(D::Command)),
    ("nanoseconds", b"\xa7\x02\x0f\x42\x3f\x03avc1nalu", New(b"\x27\x01\x00\x00\x00nalu", 0)),
    ("nanoseconds, cut off", b"\xa7\x02\x0f\x42", Dropped(D::Truncated)),
    ("two ModEx", b"\xa7\x00\xee\x17\x02\x0f\x42\x3f\x01avc1\x00\x00\x50nalu", New(b"\x27\x01\x00\x00\x50nalu", 0)),
    ("hvc1", b"\x90hvc1hvcC", Unsupported("H.265 (hvc1) video")),
    ("av01", b"\x91av01data", Unsupported("AV1 (av01) video")),
    ("vp09", b"\x91vp09data", Unsupported("VP9 (vp09) video")),
    ("vp08", b"\x91vp08data", Unsupported("VP8 (vp08) video")),
    ("vvc1, cut off in the time", b"\x91vvc1\x00", Unsupported("H.266 (vvc1) video")),
    ("unknown FourCC", b"\x91\x1b[2Jdata", Unsupported("unknown (\\x1b[2J) video")),

    ("one track, 0", b"\x96\x01avc1\x00\x00\x00\x50nalu", New(b"\x17\x01\x00\x00\x50nalu", 0)),
    ("one track, 0, configuration", b"\x96\x00avc1\x00avcC", New(b"\x17\x00\x00\x00\x00avcC", 0)),
    ("one track, 1", b"\x96\x01avc1\x01\x00\x00\x50nalu", Dropped(D::OtherTrack)),
    ("one track, 1, unsupported", b"\x96\x00hvc1\x01hvcC", Dropped(D::OtherTrack)),
    ("one track, 0, unsupported", b"\x96\x00hvc1\x00hvcC", Unsupported("H.265 (hvc1) video")),
    ("one track, cut off", b"\x96\x01avc1", Dropped(D::Truncated)),
    ("many tracks, 0 first", b"\x96\x13avc1\x00\x00\x00\x04nalu\x01\x00\x00\x01x", New(b"\x17\x01\x00\x00\x00nalu", 1)),
    ("many tracks, 0 last", b"\xa6\x11avc1\x02\x00\x00\x01x\x01\x00\x00\x01x\x00\x00\x00\x07\x00\x00\x50nalu", New(b"\x27\x01\x00\x00\x50nalu", 2)),
    ("many tracks, 0 twice", b"\x96\x13avc1\x00\x00\x00\x01a\x00\x00\x00\x01b", New(b"\x17\x01\x00\x00\x00a", 1)),
    ("many tracks, none 0", b"\x96\x13avc1\x01\x00\x00\x01a\x02\x00\x00\x01b", Dropped(D::OtherTrack)),
    ("many tracks, second cut off", b"\x96\x13avc1\x00\x00\x00\x01a\x01\x00\x00\x09b", New(b"\x17\x01\x00\x00\x00a", 0)),
    ("many tracks, 0 cut off", b"\x96\x13avc1\x01\x00\x00\x01a\x00\x00\x00\x09b", Dropped(D::Truncated)),
    ("many tracks, no track", b"\x96\x13avc1", Dropped(D::Truncated)),
    ("many codecs, 0 is H.264", b"\x96\x23hvc1\x01\x00\x00\x01havc1\x00\x00\x00\x01a", New(b"\x17\x01\x00\x00\x00a", 1)),
    ("many codecs, 0 is not", b"\x96\x23avc1\x01\x00\x00\x01aav01\x00\x00\x00\x01b", Unsupported("AV1 (av01) video")),
    ("reserved layout of tracks", b"\x96\x31avc1\x00data", Dropped(D::UnknownPacket)),
    ("multitrack in multitrack", b"\x96\x06avc1\x00data", Dropped(D::UnknownPacket)),
    ("nanoseconds of a track", b"\xa7\x02\x0f\x42\x3f\x06\x03avc1\x00nalu", New(b"\x27\x01\x00\x00\x00nalu", 0)),
    ("colours of track 0", b"\x96\x04avc1\x00amf", Dropped(D::Metadata)),
    ("colours of another track", b"\x96\x04avc1\x01amf", Dropped(D::OtherTrack)),
    ("command to tracks", b"\xd6\x04avc1\x01amf", Dropped(D::Command)),
];

#[rustfmt::skip]
const AUDIO: &[Case] = &[
    ("AAC configuration", b"\xaf\x00\x12\x10", Same),
    ("AAC without its configuration", b"\xaf\x00", Dropped(D::Truncated)),
    ("AAC frame", b"\xaf\x01data", Same),
    ("AAC frame without a frame", b"\xaf\x01", Same),
    ("AAC, cut off", b"\xaf", Dropped(D::Truncated)),
    ("AAC, unknown packet type", b"\xaf\x02data", Dropped(D::UnknownPacket)),
    ("PCM of the platform", b"\x03data", Same),
    ("ADPCM", b"\x1fdata", Same),
    ("MP3", b"\x2fdata", Same),
    ("PCM", b"\x3fdata", Same),
    ("Nellymoser 16 kHz", b"\x4edata", Same),
    ("Nellymoser 8 kHz", b"\x5edata", Same),
    ("Nellymoser", b"\x6edata", Same),
    ("A-law", b"\x72data", Same),
    ("µ-law", b"\x82data", Same),
    ("Speex", b"\xb6data", Same),
    ("MP3 at 8 kHz", b"\xe2data", Same),
    ("silence", b"", Same),
    ("format that nobody uses", b"\xc0data", Unsupported("unknown (12) audio")),
    ("Opus by id", b"\xd0data", Unsupported("Opus audio")),
    ("device specific", b"\xf0data", Unsupported("device specific audio")),

    ("mp4a configuration", b"\x90mp4a\x12\x10", New(b"\xaf\x00\x12\x10", 0)),
    ("mp4a without its configuration", b"\x90mp4a", Dropped(D::Truncated)),
    ("mp4a frame", b"\x91mp4adata", New(b"\xaf\x01data", 0)),
    ("mp4a end of sequence", b"\x92mp4a", Dropped(D::EndOfSequence)),
    ("mp4a channels", b"\x94mp4a\x01\x02\x00\x00\x00\x03", Dropped(D::MultichannelConfig)),
    ("mp4a, unknown packet type", b"\x93mp4adata", Dropped(D::UnknownPacket)),
    ("mp4a, cut off in the FourCC", b"\x91mp4", Dropped(D::Truncated)),
    ("nanoseconds", b"\x97\x02\x0f\x42\x3f\x01mp4adata", New(b"\xaf\x01data", 0)),
    ("nanoseconds, cut off", b"\x97\x02\x0f", Dropped(D::Truncated)),
    ("one track, 0", b"\x95\x01mp4a\x00data", New(b"\xaf\x01data", 0)),
    ("one track, 1", b"\x95\x01mp4a\x01data", Dropped(D::OtherTrack)),
    ("one track, 1, unsupported", b"\x95\x01Opus\x01data", Dropped(D::OtherTrack)),
    ("many tracks", b"\x95\x11mp4a\x01\x00\x00\x01x\x00\x00\x00\x04data", New(b"\xaf\x01data", 1)),
    ("many codecs", b"\x95\x21Opus\x01\x00\x00\x01x.mp3\x00\x00\x00\x04\xff\xfb\x90\x00", New(b"\x2f\xff\xfb\x90\x00", 1)),
    ("reserved layout of tracks", b"\x95\x31mp4a\x00data", Dropped(D::UnknownPacket)),
    ("multitrack in multitrack", b"\x95\x05mp4a\x00data", Dropped(D::UnknownPacket)),
    ("Opus", b"\x90OpusOpusHead", Unsupported("Opus (Opus) audio")),
    ("Opus channels", b"\x94Opus\x01\x02", Dropped(D::MultichannelConfig)),
    ("FLAC", b"\x90fLaCdata", Unsupported("FLAC (fLaC) audio")),
    ("AC-3", b"\x91ac-3data", Unsupported("AC-3 (ac-3) audio")),
    ("E-AC-3", b"\x91ec-3data", Unsupported("E-AC-3 (ec-3) audio")),
    ("unknown FourCC", b"\x91what", Unsupported("unknown (what) audio")),

    ("MP3, MPEG 1, 44.1 kHz stereo", b"\x91.mp3\xff\xfb\x90\x00d", New(b"\x2f\xff\xfb\x90\x00d", 0)),
    ("MP3, MPEG 1, 48 kHz mono", b"\x91.mp3\xff\xfb\x94\xc0d", New(b"\x2e\xff\xfb\x94\xc0d", 0)),
    ("MP3, MPEG 1, with checksum, joint stereo", b"\x91.mp3\xff\xfa\x90\x40d", New(b"\x2f\xff\xfa\x90\x40d", 0)),
    ("MP3, MPEG 2, 22.05 kHz mono", b"\x91.mp3\xff\xf3\x90\xc0d", New(b"\x2a\xff\xf3\x90\xc0d", 0)),
    ("MP3, MPEG 2.5, 11.025 kHz stereo", b"\x91.mp3\xff\xe3\x90\x00d", New(b"\x27\xff\xe3\x90\x00d", 0)),
    ("MP3, MPEG 2.5, 8 kHz mono", b"\x91.mp3\xff\xe3\x98\xc0d", New(b"\xe2\xff\xe3\x98\xc0d", 0)),
    ("MPEG 1, layer II", b"\x91.mp3\xff\xfd\x90\xc0d", New(b"\x2f\xff\xfd\x90\xc0d", 0)),
    ("MP3, reserved rate", b"\x91.mp3\xff\xfb\x9c\xc0d", New(b"\x2f\xff\xfb\x9c\xc0d", 0)),
    ("MP3, reserved version", b"\x91.mp3\xff\xeb\x90\xc0d", New(b"\x2f\xff\xeb\x90\xc0d", 0)),
    ("MP3, no frame", b"\x91.mp3data", New(b"\x2fdata", 0)),
    ("MP3, cut off", b"\x91.mp3\xff\xe3\x98", New(b"\x2f\xff\xe3\x98", 0)),
    ("MP3 configuration, which there is none", b"\x90.mp3", Dropped(D::UnknownPacket)),
    ("MP3 end of sequence", b"\x92.mp3", Dropped(D::EndOfSequence)),
];

#[test]
fn video_bodies() {
    check(VIDEO, to_legacy_video);
}

#[test]
fn audio_bodies() {
    check(AUDIO, to_legacy_audio);
}

/// What flvdemux 1.22 needs of a body to read its header within bounds and know the codec.
fn is_legacy_video(body: &[u8]) -> bool {
    match body {
        [head, rest @ ..] => {
            head >> 4 != 5
                && head & 0x80 == 0
                && match head & 0x0f {
                    7 => rest.len() >= 4 && rest[0] <= 2,
                    2..=5 | 8 | 9 => true,
                    _ => false,
                }
        }
        [] => false,
    }
}

fn is_legacy_audio(body: &[u8]) -> bool {
    match body {
        [] => true,
        [head, rest @ ..] => match head >> 4 {
            10 => matches!(rest, [0, _, ..] | [1, ..]),
            0..=8 | 11 | 14 => true,
            _ => false,
        },
    }
}

fn check_any(body: &[u8]) -> Result<(), TestCaseError> {
    type Way = (fn(&[u8]) -> Legacy, fn(&[u8]) -> bool);
    let ways: [Way; 2] = [
        (to_legacy_video, is_legacy_video),
        (to_legacy_audio, is_legacy_audio),
    ];
    for (convert, is_legacy) in ways {
        match convert(body) {
            Legacy::AsIs => prop_assert!(is_legacy(body)),
            Legacy::Rewrite(rewrite) => {
                let new = rewritten(&rewrite, body);
                prop_assert!(is_legacy(&new), "{new:02x?}");
                prop_assert!(new.len() <= body.len());
                prop_assert_eq!(convert(&new), Legacy::AsIs);
            }
            Legacy::Drop(_) | Legacy::Unsupported(_) => {}
        }
    }
    Ok(())
}

#[test]
fn truncated_bodies() {
    for (name, body, _) in VIDEO.iter().chain(AUDIO) {
        for end in 0..body.len() {
            if let Err(error) = check_any(&body[..end]) {
                panic!("{name}, cut at {end}: {error}");
            }
        }
    }
}

#[test]
fn a_rewrite_of_another_body_does_not_panic() {
    let Legacy::Rewrite(rewrite) = to_legacy_video(b"\x91avc1\x00\x00\x50nalu") else {
        panic!("H.264 has a legacy form");
    };
    for len in 0..12 {
        for headroom in 0..14 {
            let mut bytes = vec![0xee; len];
            rewrite.apply(&mut bytes, headroom);
            assert!(bytes[..len.min(headroom)].iter().all(|&byte| byte == 0xee));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_safe(body: Vec<u8>) {
        check_any(&body)?;
    }

    #[test]
    fn known_bodies_with_wrong_bytes_are_safe(
        case in any::<proptest::sample::Index>(),
        wrong in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let cases: Vec<_> = VIDEO.iter().chain(AUDIO).filter(|case| !case.1.is_empty()).collect();
        let mut body = case.get(&cases).1.to_vec();
        for (at, byte) in wrong {
            *at.get_mut(&mut body) = byte;
        }
        check_any(&body)?;
    }
}
