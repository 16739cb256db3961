use super::*;
use proptest::prelude::*;

const fn track(four_cc: FourCc, id: u8, payload: &[u8]) -> Track<'_> {
    Track {
        four_cc,
        id,
        payload,
    }
}

struct Case {
    name: &'static str,
    body: &'static [u8],
    packet_type: u8,
    nanosecond_offset: Option<u32>,
    multitrack: Option<MultitrackKind>,
    tracks: &'static [Result<Track<'static>, TrackTruncated>],
}

impl Case {
    fn check(&self, parse: fn(&'static [u8]) -> Result<ExPacket<'static>, NoTracks>) {
        let packet = parse(self.body).expect(self.name);
        assert_eq!(packet.packet_type, self.packet_type, "{}", self.name);
        assert_eq!(
            packet.nanosecond_offset, self.nanosecond_offset,
            "{}",
            self.name
        );
        assert_eq!(packet.multitrack, self.multitrack, "{}", self.name);
        let tracks: Vec<_> = packet.tracks.collect();
        assert_eq!(tracks, self.tracks, "{}", self.name);
    }
}

#[test]
fn video_packets() {
    const CASES: &[Case] = &[
        Case {
            name: "one track, not multitrack",
            body: b"\x91hvc1\x00\x00\x28data",
            packet_type: 1,
            nanosecond_offset: None,
            multitrack: None,
            tracks: &[Ok(track(FourCc::HEVC, 0, b"\x00\x00\x28data"))],
        },
        Case {
            name: "no payload",
            body: b"\x92av01",
            packet_type: 2,
            nanosecond_offset: None,
            multitrack: None,
            tracks: &[Ok(track(FourCc::AV1, 0, b""))],
        },
        Case {
            name: "nanoseconds",
            body: b"\xa7\x02\x0f\x42\x3f\x03avc1data",
            packet_type: 3,
            nanosecond_offset: Some(999_999),
            multitrack: None,
            tracks: &[Ok(track(FourCc::AVC, 0, b"data"))],
        },
        Case {
            name: "nanoseconds out of range are passed over",
            body: b"\xa7\x02\x0f\x42\x40\x03avc1data",
            packet_type: 3,
            nanosecond_offset: None,
            multitrack: None,
            tracks: &[Ok(track(FourCc::AVC, 0, b"data"))],
        },
        Case {
            name: "nanoseconds in too few bytes are passed over",
            body: b"\xa7\x01\x00\x01\x03avc1data",
            packet_type: 3,
            nanosecond_offset: None,
            multitrack: None,
            tracks: &[Ok(track(FourCc::AVC, 0, b"data"))],
        },
        Case {
            name: "an unknown ModEx and then nanoseconds with a byte to spare",
            body: b"\xa7\x00\xee\xf7\x03\x00\x00\x05\xee\x01vp09data",
            packet_type: 1,
            nanosecond_offset: Some(5),
            multitrack: None,
            tracks: &[Ok(track(FourCc::VP9, 0, b"data"))],
        },
        Case {
            name: "one multitrack track reaches to the end",
            body: b"\x96\x01avc1\x07\x00\x00\x00data",
            packet_type: 1,
            nanosecond_offset: None,
            multitrack: Some(MultitrackKind::OneTrack),
            tracks: &[Ok(track(FourCc::AVC, 7, b"\x00\x00\x00data"))],
        },
        Case {
            name: "one multitrack track without id",
            body: b"\x96\x01avc1",
            packet_type: 1,
            nanosecond_offset: None,
            multitrack: Some(MultitrackKind::OneTrack),
            tracks: &[Err(TrackTruncated)],
        },
        Case {
            name: "many tracks",
            body: b"\x96\x10hvc1\x00\x00\x00\x03abc\x01\x00\x00\x00\xff\x00\x00\x01d",
            packet_type: 0,
            nanosecond_offset: None,
            multitrack: Some(MultitrackKind::ManyTracks),
            tracks: &[
                Ok(track(FourCc::HEVC, 0, b"abc")),
                Ok(track(FourCc::HEVC, 1, b"")),
                Ok(track(FourCc::HEVC, 255, b"d")),
            ],
        },
        Case {
            name: "many tracks that are none",
            body: b"\x96\x10hvc1",
            packet_type: 0,
            nanosecond_offset: None,
            multitrack: Some(MultitrackKind::ManyTracks),
            tracks: &[],
        },
        Case {
            name: "many tracks, the second too long by one",
            body: b"\x96\x10hvc1\x00\x00\x00\x03abc\x01\x00\x00\x04def",
            packet_type: 0,
            nanosecond_offset: None,
            multitrack: Some(MultitrackKind::ManyTracks),
            tracks: &[Ok(track(FourCc::HEVC, 0, b"abc")), Err(TrackTruncated)],
        },
        Case {
            name: "many codecs, after nanoseconds",
            body: b"\x97\x02\x00\x00\x01\x06\x23avc1\x00\x00\x00\x02abvp09\x01\x00\x00\x01c",
            packet_type: 3,
            nanosecond_offset: Some(1),
            multitrack: Some(MultitrackKind::ManyTracksManyCodecs),
            tracks: &[
                Ok(track(FourCc::AVC, 0, b"ab")),
                Ok(track(FourCc::VP9, 1, b"c")),
            ],
        },
        Case {
            name: "many codecs, a size of 24 bits that the body has not",
            body: b"\x96\x21avc1\x00\xff\xff\xffab",
            packet_type: 1,
            nanosecond_offset: None,
            multitrack: Some(MultitrackKind::ManyTracksManyCodecs),
            tracks: &[Err(TrackTruncated)],
        },
        Case {
            name: "metadata makes a command no command",
            body: b"\xd4hvc1data",
            packet_type: 4,
            nanosecond_offset: None,
            multitrack: None,
            tracks: &[Ok(track(FourCc::HEVC, 0, b"data"))],
        },
    ];
    for case in CASES {
        case.check(ExPacket::video);
    }
}

#[test]
fn audio_packets() {
    const CASES: &[Case] = &[
        Case {
            name: "one track, not multitrack",
            body: b"\x91Opusdata",
            packet_type: 1,
            nanosecond_offset: None,
            multitrack: None,
            tracks: &[Ok(track(FourCc::OPUS, 0, b"data"))],
        },
        Case {
            name: "many codecs",
            body: b"\x95\x20mp4a\x00\x00\x00\x02\x12\x10.mp3\x01\x00\x00\x00",
            packet_type: 0,
            nanosecond_offset: None,
            multitrack: Some(MultitrackKind::ManyTracksManyCodecs),
            tracks: &[
                Ok(track(FourCc::AAC, 0, b"\x12\x10")),
                Ok(track(FourCc::MP3, 1, b"")),
            ],
        },
        Case {
            name: "6 is multitrack for video only",
            body: b"\x96mp4a\x00",
            packet_type: 6,
            nanosecond_offset: None,
            multitrack: None,
            tracks: &[Ok(track(FourCc::AAC, 0, b"\x00"))],
        },
    ];
    for case in CASES {
        case.check(ExPacket::audio);
    }
}

#[test]
fn mod_ex_data_of_each_size() {
    for size in [1usize, 2, 254, 255, 256, 257, 65_535, 65_536] {
        let mut body = vec![0x97];
        // Up to 255 bytes have a short size; 256 is the escape.
        match u8::try_from(size - 1) {
            Ok(short) if short < u8::MAX => body.push(short),
            _ => {
                body.push(u8::MAX);
                body.extend_from_slice(&((size - 1) as u16).to_be_bytes());
            }
        }
        body.resize(body.len() + size, 0xee);
        body.extend_from_slice(b"\x11vp08data");

        let mut packet = ExPacket::video(&body).expect("a whole packet");
        assert_eq!(packet.packet_type, 1, "{size}");
        assert_eq!(packet.nanosecond_offset, None, "{size}");
        assert_eq!(
            packet.tracks.next(),
            Some(Ok(track(FourCc::VP8, 0, b"data"))),
            "{size}"
        );
        for end in 1..body.len() - 4 {
            assert_eq!(
                ExPacket::video(&body[..end]).err(),
                Some(NoTracks::Truncated),
                "{size}, cut at {end}"
            );
        }
    }
}

#[test]
fn bodies_without_tracks() {
    let cases: &[(&str, &[u8], NoTracks)] = &[
        ("empty", b"", NoTracks::NotEnhanced),
        (
            "no extended header",
            b"\x17\x00\x00\x00\x00",
            NoTracks::NotEnhanced,
        ),
        ("command", b"\xd0\x01", NoTracks::Command),
        (
            "command after ModEx",
            b"\xd7\x00\xee\x10\x01",
            NoTracks::Command,
        ),
        ("FourCC cut off", b"\x91avc", NoTracks::Truncated),
        ("ModEx without end", b"\x97\x00\xee", NoTracks::Truncated),
        (
            "reserved layout",
            b"\x96\x31avc1",
            NoTracks::UnknownMultitrack(3),
        ),
        (
            "last reserved layout",
            b"\x96\xf1",
            NoTracks::UnknownMultitrack(15),
        ),
    ];
    for (name, body, expected) in cases {
        assert_eq!(ExPacket::video(body).err(), Some(*expected), "{name}");
    }
    assert_eq!(
        ExPacket::audio(b"\xaf\x01data").err(),
        Some(NoTracks::NotEnhanced)
    );
}

#[test]
fn four_cc_never_prints_control_bytes() {
    assert_eq!(FourCc::MP3.to_string(), ".mp3");
    assert_eq!(FourCc(*b"\x1b[2\xff").to_string(), "\\x1b[2\\xff");
    assert_eq!(format!("{:?}", FourCc(*b"a\n\0 ")), "FourCc(a\\n\\x00 )");
    for byte in 0..=u8::MAX {
        let text = FourCc([byte; 4]).to_string();
        assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
    }
}

#[test]
fn composition_times_are_signed() {
    assert_eq!(i24([0x7f, 0xff, 0xff]), 8_388_607);
    assert_eq!(i24([0x80, 0x00, 0x00]), -8_388_608);
    assert_eq!(i24([0xff, 0xff, 0xff]), -1);
    assert_eq!(i24([0x00, 0x00, 0x50]), 80);
}

/// Bytes that often make it past the header, which random ones seldom do.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let likely = prop_oneof![
        Just(vec![0x00]),
        Just(vec![0x01]),
        Just(vec![0x10]),
        Just(vec![0x21]),
        Just(vec![0x06]),
        Just(vec![0x07]),
        Just(vec![0xff]),
        Just(b"avc1".to_vec()),
        Just(b"\x00\x00\x00\x02ab".to_vec()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    let head = prop_oneof![Just(0x91), Just(0x95), Just(0x96), Just(0x97), any::<u8>()];
    (head, proptest::collection::vec(likely, 0..40)).prop_map(|(head, parts)| {
        let mut body = vec![head];
        body.extend(parts.concat());
        body
    })
}

proptest! {
    #[test]
    fn tracks_stay_within_the_body(body in body()) {
        for packet in [ExPacket::video(&body), ExPacket::audio(&body)].into_iter().flatten() {
            let mut sum = 0;
            let mut tracks = packet.tracks.clone();
            for track in tracks.by_ref().flatten() {
                prop_assert!(body.as_ptr_range().start <= track.payload.as_ptr_range().start);
                prop_assert!(track.payload.as_ptr_range().end <= body.as_ptr_range().end);
                // Each track takes its payload and, if there may be more, four bytes in front.
                sum += track.payload.len() + 4;
            }
            prop_assert!(sum <= body.len());
            prop_assert_eq!(tracks.next(), None);
            // An error is the last item.
            let errors: Vec<_> = packet.tracks.map(|track| track.is_err()).collect();
            prop_assert!(errors.iter().rev().skip(1).all(|error| !error));
        }
    }
}
