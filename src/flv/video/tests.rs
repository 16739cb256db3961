use super::FrameType::*;
use super::{VideoCodec as C, VideoPacket as P, *};
use crate::flv::MultitrackKind;
use proptest::prelude::*;

const fn legacy(codec: C, frame_type: FrameType, packet: P, composition_time_ms: i32) -> VideoTag {
    VideoTag {
        codec,
        frame_type,
        packet,
        composition_time_ms,
        multitrack: None,
        enhanced: false,
    }
}

const fn enhanced(
    codec: C,
    frame_type: FrameType,
    packet: P,
    composition_time_ms: i32,
) -> VideoTag {
    VideoTag {
        codec,
        frame_type,
        packet,
        composition_time_ms,
        multitrack: None,
        enhanced: true,
    }
}

const fn multitrack(kind: MultitrackKind, first_track: u8, tag: VideoTag) -> VideoTag {
    VideoTag {
        multitrack: Some(Multitrack { kind, first_track }),
        ..tag
    }
}

/// A name, a body, how many bytes of it tell all that is expected, and what is expected.
type Case = (&'static str, &'static [u8], usize, VideoTag);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("Sorenson H.263", b"\x22data", 1, legacy(C::SorensonH263, Inter, P::Legacy, 0)),
    ("Screen video", b"\x13data", 1, legacy(C::ScreenVideo, Key, P::Legacy, 0)),
    ("VP6", b"\x14data", 1, legacy(C::Vp6, Key, P::Legacy, 0)),
    ("VP6 with alpha", b"\x25data", 1, legacy(C::Vp6Alpha, Inter, P::Legacy, 0)),
    ("Screen video 2", b"\x16data", 1, legacy(C::ScreenVideo2, Key, P::Legacy, 0)),
    ("JPEG", b"\x11data", 1, legacy(C::Jpeg, Key, P::Legacy, 0)),
    ("H.263", b"\x18data", 1, legacy(C::H263, Key, P::Legacy, 0)),
    ("MPEG-4", b"\x29data", 1, legacy(C::Mpeg4, Inter, P::Legacy, 0)),
    ("disposable frame", b"\x32data", 1, legacy(C::SorensonH263, DisposableInter, P::Legacy, 0)),
    ("key frame made by a server", b"\x42data", 1, legacy(C::SorensonH263, GeneratedKey, P::Legacy, 0)),
    ("codec id that nobody uses", b"\x1adata", 1, legacy(C::Unknown(10), Key, P::Legacy, 0)),
    ("reserved frame type", b"\x62data", 1, legacy(C::SorensonH263, Unknown(6), P::Legacy, 0)),
    ("seek command", b"\x52\x00", 1, legacy(C::SorensonH263, Command, P::Command, 0)),
    ("command of a codec with packet types", b"\x57\x01", 1, legacy(C::Avc, Command, P::Command, 0)),
    ("H.264 sequence header", b"\x17\x00\x00\x00\x00\x01\x64", 5, legacy(C::Avc, Key, P::SequenceStart, 0)),
    ("H.264 key frame", b"\x17\x01\x00\x00\x50data", 5, legacy(C::Avc, Key, P::CodedFrames, 80)),
    ("H.264 frame, negative composition time", b"\x27\x01\xff\xff\xd8data", 5, legacy(C::Avc, Inter, P::CodedFrames, -40)),
    ("H.264 end of sequence", b"\x17\x02\x00\x00\x00", 2, legacy(C::Avc, Key, P::SequenceEnd, 0)),
    ("H.265 by id sequence header", b"\x1c\x00\x00\x00\x00\x01\x64", 5, legacy(C::Hevc, Key, P::SequenceStart, 0)),
    ("H.265 by id key frame", b"\x1c\x01\x00\x00\x50data", 5, legacy(C::Hevc, Key, P::CodedFrames, 80)),
    ("H.265 by id frame, negative composition time", b"\x2c\x01\xff\xff\xd8data", 5, legacy(C::Hevc, Inter, P::CodedFrames, -40)),
    ("H.265 by id end of sequence", b"\x1c\x02\x00\x00\x00", 2, legacy(C::Hevc, Key, P::SequenceEnd, 0)),
    ("AV1 by id sequence header", b"\x1d\x00\x00\x00\x00\x01\x64", 5, legacy(C::Av1, Key, P::SequenceStart, 0)),
    ("AV1 by id key frame", b"\x1d\x01\x00\x00\x50data", 5, legacy(C::Av1, Key, P::CodedFrames, 80)),
    ("AV1 by id frame, negative composition time", b"\x2d\x01\xff\xff\xd8data", 5, legacy(C::Av1, Inter, P::CodedFrames, -40)),
    ("AV1 by id end of sequence", b"\x1d\x02\x00\x00\x00", 2, legacy(C::Av1, Key, P::SequenceEnd, 0)),
    ("H.264, composition time of a sequence header is void", b"\x17\x00\x00\x00\x50\x01", 5, legacy(C::Avc, Key, P::SequenceStart, 0)),
    ("H.264, unknown packet type", b"\x17\x03\x00\x00\x00", 2, legacy(C::Avc, Key, P::Unknown(3), 0)),
    ("enhanced VP8 sequence header", b"\x90vp08data", 5, enhanced(C::FourCc(FourCc::VP8), Key, P::SequenceStart, 0)),
    ("enhanced VP8 key frame has no composition time", b"\x91vp08\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::VP8), Key, P::CodedFrames, 0)),
    ("enhanced VP8 frame, composition time implied", b"\xa3vp08\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::VP8), Inter, P::CodedFramesX, 0)),
    ("enhanced VP8 end of sequence", b"\x92vp08", 5, enhanced(C::FourCc(FourCc::VP8), Key, P::SequenceEnd, 0)),
    ("enhanced VP9 sequence header", b"\x90vp09data", 5, enhanced(C::FourCc(FourCc::VP9), Key, P::SequenceStart, 0)),
    ("enhanced VP9 key frame has no composition time", b"\x91vp09\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::VP9), Key, P::CodedFrames, 0)),
    ("enhanced VP9 frame, composition time implied", b"\xa3vp09\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::VP9), Inter, P::CodedFramesX, 0)),
    ("enhanced VP9 end of sequence", b"\x92vp09", 5, enhanced(C::FourCc(FourCc::VP9), Key, P::SequenceEnd, 0)),
    ("enhanced AV1 sequence header", b"\x90av01data", 5, enhanced(C::FourCc(FourCc::AV1), Key, P::SequenceStart, 0)),
    ("enhanced AV1 key frame has no composition time", b"\x91av01\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::AV1), Key, P::CodedFrames, 0)),
    ("enhanced AV1 frame, composition time implied", b"\xa3av01\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::AV1), Inter, P::CodedFramesX, 0)),
    ("enhanced AV1 end of sequence", b"\x92av01", 5, enhanced(C::FourCc(FourCc::AV1), Key, P::SequenceEnd, 0)),
    ("enhanced H.264 sequence header", b"\x90avc1data", 5, enhanced(C::FourCc(FourCc::AVC), Key, P::SequenceStart, 0)),
    ("enhanced H.264 key frame", b"\x91avc1\x00\x01\x00data", 8, enhanced(C::FourCc(FourCc::AVC), Key, P::CodedFrames, 256)),
    ("enhanced H.264 frame, composition time implied", b"\xa3avc1\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::AVC), Inter, P::CodedFramesX, 0)),
    ("enhanced H.264 end of sequence", b"\x92avc1", 5, enhanced(C::FourCc(FourCc::AVC), Key, P::SequenceEnd, 0)),
    ("enhanced H.265 sequence header", b"\x90hvc1data", 5, enhanced(C::FourCc(FourCc::HEVC), Key, P::SequenceStart, 0)),
    ("enhanced H.265 key frame", b"\x91hvc1\x00\x01\x00data", 8, enhanced(C::FourCc(FourCc::HEVC), Key, P::CodedFrames, 256)),
    ("enhanced H.265 frame, composition time implied", b"\xa3hvc1\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::HEVC), Inter, P::CodedFramesX, 0)),
    ("enhanced H.265 end of sequence", b"\x92hvc1", 5, enhanced(C::FourCc(FourCc::HEVC), Key, P::SequenceEnd, 0)),
    ("enhanced H.266 sequence header", b"\x90vvc1data", 5, enhanced(C::FourCc(FourCc::VVC), Key, P::SequenceStart, 0)),
    ("enhanced H.266 key frame", b"\x91vvc1\x00\x01\x00data", 8, enhanced(C::FourCc(FourCc::VVC), Key, P::CodedFrames, 256)),
    ("enhanced H.266 frame, composition time implied", b"\xa3vvc1\x00\x01\x00data", 5, enhanced(C::FourCc(FourCc::VVC), Inter, P::CodedFramesX, 0)),
    ("enhanced H.266 end of sequence", b"\x92vvc1", 5, enhanced(C::FourCc(FourCc::VVC), Key, P::SequenceEnd, 0)),
    ("enhanced frame, negative composition time", b"\xa1hvc1\xff\xff\xffdata", 8, enhanced(C::FourCc(FourCc::HEVC), Inter, P::CodedFrames, -1)),
    ("colour metadata", b"\x94hvc1\x02\x00\x09colorInfo", 5, enhanced(C::FourCc(FourCc::HEVC), Key, P::Metadata, 0)),
    ("colour metadata with the frame type of a command", b"\xd4hvc1\x02\x00\x09colorInfo", 5, enhanced(C::FourCc(FourCc::HEVC), Command, P::Metadata, 0)),
    ("MPEG-2 TS sequence header", b"\x95av01data", 5, enhanced(C::FourCc(FourCc::AV1), Key, P::Mpeg2TsSequenceStart, 0)),
    ("unknown packet type", b"\x9favc1data", 5, enhanced(C::FourCc(FourCc::AVC), Key, P::Unknown(15), 0)),
    ("unknown FourCC", b"\x91\x00\x01\x02\x03data", 5, enhanced(C::FourCc(FourCc([0, 1, 2, 3])), Key, P::CodedFrames, 0)),
    ("enhanced command", b"\xd0\x00", 1, enhanced(C::Unspecified, Command, P::Command, 0)),
    ("nanoseconds", b"\x97\x02\x00\x00\x01\x01avc1\x00\x00\x28data", 13, enhanced(C::FourCc(FourCc::AVC), Key, P::CodedFrames, 40)),
    ("one track", b"\x96\x01avc1\x01\x00\x00\x28data", 10, multitrack(MultitrackKind::OneTrack, 1, enhanced(C::FourCc(FourCc::AVC), Key, P::CodedFrames, 40))),
    ("one track, sequence header", b"\x96\x00hvc1\x02data", 7, multitrack(MultitrackKind::OneTrack, 2, enhanced(C::FourCc(FourCc::HEVC), Key, P::SequenceStart, 0))),
    ("many tracks", b"\xa6\x11hvc1\x00\x00\x00\x04\x00\x00\x28d\x01\x00\x00\x04\x00\x00\x50d", 14, multitrack(MultitrackKind::ManyTracks, 0, enhanced(C::FourCc(FourCc::HEVC), Inter, P::CodedFrames, 40))),
    ("many codecs", b"\x96\x23av01\x03\x00\x00\x01davc1\x00\x00\x00\x01d", 11, multitrack(MultitrackKind::ManyTracksManyCodecs, 3, enhanced(C::FourCc(FourCc::AV1), Key, P::CodedFramesX, 0))),
    ("multitrack in multitrack", b"\x96\x06avc1\x00data", 7, multitrack(MultitrackKind::OneTrack, 0, enhanced(C::FourCc(FourCc::AVC), Key, P::Unknown(6), 0))),
    ("reserved layout of tracks", b"\x96\x31avc1\x00data", 2, enhanced(C::Unspecified, Key, P::Unknown(6), 0)),
];

#[test]
fn bodies_of_every_codec() {
    for (name, body, _, expected) in CASES {
        assert_eq!(inspect_video(body), *expected, "{name}");
    }
}

#[test]
fn truncated_bodies() {
    for (name, body, header, expected) in CASES {
        assert_eq!(inspect_video(&body[..0]).packet, VideoPacket::Empty);
        for end in 1..*header {
            let tag = inspect_video(&body[..end]);
            assert_eq!(tag.packet, VideoPacket::Truncated, "{name}, cut at {end}");
            assert_eq!(tag.composition_time_ms, 0, "{name}, cut at {end}");
            assert_eq!(tag.enhanced, expected.enhanced, "{name}, cut at {end}");
        }
        for end in *header..body.len() {
            assert_eq!(
                inspect_video(&body[..end]),
                *expected,
                "{name}, cut at {end}"
            );
        }
    }
}

#[test]
fn roles() {
    type Role = (bool, bool, bool);
    const NONE: Role = (false, false, false);
    const KEY_FRAME: Role = (true, false, false);
    const SEQUENCE_HEADER: Role = (false, true, false);
    const END: Role = (false, false, true);
    let cases: &[(&str, &[u8], Role)] = &[
        ("H.263 key frame", b"\x12d", KEY_FRAME),
        ("H.263 frame", b"\x22d", NONE),
        ("H.263 disposable frame", b"\x32d", NONE),
        ("H.263 key frame made by a server", b"\x42d", KEY_FRAME),
        ("command", b"\x52\x00", NONE),
        ("H.264 key frame", b"\x17\x01\x00\x00\x00d", KEY_FRAME),
        ("H.264 frame", b"\x27\x01\x00\x00\x00d", NONE),
        (
            "H.264 sequence header",
            b"\x17\x00\x00\x00\x00d",
            SEQUENCE_HEADER,
        ),
        ("H.264 end of sequence", b"\x17\x02\x00\x00\x00", END),
        ("H.264 end of sequence, short", b"\x17\x02", END),
        ("H.264 key frame cut off", b"\x17\x01\x00\x00", NONE),
        ("enhanced key frame", b"\x91hvc1\x00\x00\x00d", KEY_FRAME),
        ("enhanced key frame, X", b"\x93hvc1d", KEY_FRAME),
        ("enhanced frame", b"\xa1hvc1\x00\x00\x00d", NONE),
        ("enhanced sequence header", b"\x90hvc1d", SEQUENCE_HEADER),
        ("MPEG-2 TS sequence header", b"\x95hvc1d", SEQUENCE_HEADER),
        ("enhanced end of sequence", b"\x92hvc1", END),
        ("metadata", b"\x94hvc1d", NONE),
        ("enhanced command", b"\xd1\x00", NONE),
        ("multitrack key frame", b"\x96\x03hvc1\x00d", KEY_FRAME),
        ("reserved layout of tracks", b"\x96\x33hvc1\x00d", NONE),
        ("empty", b"", NONE),
    ];
    for (name, body, expected) in cases {
        let tag = inspect_video(body);
        let role = (
            tag.is_key_frame(),
            tag.is_sequence_header(),
            tag.is_end_of_sequence(),
        );
        assert_eq!(role, *expected, "{name}");
    }
}

#[test]
fn codec_names() {
    let display = |body| inspect_video(body).codec.to_string();
    assert_eq!(display(b"\x17"), "H.264");
    assert_eq!(display(b"\x90avc1"), "H.264 (avc1)");
    assert_eq!(display(b"\x90\x1b[2J"), "unknown (\\x1b[2J)");
    assert_eq!(display(b"\x1f"), "unknown (15)");
    assert_eq!(display(b""), "unspecified");
    assert_eq!(inspect_video(b"\x90avc1").codec_name(), "H.264");
    assert_eq!(inspect_video(b"\x1c").codec_name(), "H.265");
}

proptest! {
    #[test]
    fn any_bytes_are_safe(body: Vec<u8>) {
        let tag = inspect_video(&body);
        prop_assert_eq!(tag.enhanced, body.first().is_some_and(|&head| head >= 0x80));
        prop_assert_eq!(tag.packet == VideoPacket::Empty, body.is_empty());
    }

    #[test]
    fn known_bodies_with_a_wrong_byte_are_safe(
        case in any::<proptest::sample::Index>(),
        at in any::<proptest::sample::Index>(),
        byte: u8,
    ) {
        let mut body = case.get(CASES).1.to_vec();
        *at.get_mut(&mut body) = byte;
        let tag = inspect_video(&body);
        prop_assert!((-0x80_0000..0x80_0000).contains(&tag.composition_time_ms));
    }
}
