//! Times and flags of the buffers, for every codec that FLV and Enhanced RTMP know: what is expected comes from their
//! specifications, not from the code that is tested.

mod support;

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use support::client::Client;
use support::flv::{FILE_HEADER, Kind, Tag};
use support::pipeline::Recording;

/// What a tag is to a player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Needed by whoever joins later.
    Header,
    /// Playing can start here.
    Entry,
    /// Makes no sense without what came before.
    Delta,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    role: Role,
    discontinuity: bool,
    dts: Option<gst::ClockTime>,
    pts: Option<gst::ClockTime>,
    bytes: Vec<u8>,
}

/// All buffers of the element, the file header included.
fn watch(recording: &Recording) -> Arc<Mutex<Vec<Seen>>> {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let pad = recording.source().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, {
        let seen = seen.clone();
        move |_, info| {
            let buffer = info.buffer().unwrap();
            let flags = buffer.flags();
            let is_header = flags.contains(gst::BufferFlags::HEADER);
            let is_delta = flags.contains(gst::BufferFlags::DELTA_UNIT);
            seen.lock().unwrap().push(Seen {
                role: match (is_header, is_delta) {
                    (true, false) => Role::Header,
                    (false, false) => Role::Entry,
                    (false, true) => Role::Delta,
                    (true, true) => panic!("a header that needs what came before"),
                },
                discontinuity: flags.contains(gst::BufferFlags::DISCONT),
                dts: buffer.dts(),
                pts: buffer.pts(),
                bytes: buffer.map_readable().unwrap().to_vec(),
            });
            gst::PadProbeReturn::Ok
        }
    });
    seen
}

/// Publishes `sent`, one publisher for each list, and checks what comes out.
fn check(lists: &[Vec<(Kind, Vec<u8>, Role)>]) {
    let directory = tempfile::tempdir().unwrap();
    let recording =
        Recording::prepare(directory.path(), "loop=true timestamp-mode=passthrough", "").unwrap();
    let seen = watch(&recording);
    let recording = recording.play().unwrap();
    let mut expected = Vec::new();
    for list in lists {
        let mut client = Client::publisher(recording.address()).unwrap();
        for (i, (kind, body, role)) in list.iter().enumerate() {
            let tag = Tag {
                kind: *kind,
                timestamp: 1000 + 7 * i as u32,
                body: body.clone(),
            };
            client.send(&tag).unwrap();
            expected.push((tag, *role, i == 0));
        }
        client.delete_stream().unwrap();
        client.close().unwrap();
        recording
            .wait_for_counter("pushed", expected.len() as u64)
            .unwrap();
    }
    recording.send_eos();
    recording.finish().unwrap();

    let seen = seen.lock().unwrap();
    let (header, seen) = seen.split_first().unwrap();
    assert_eq!(header.bytes, FILE_HEADER);
    assert_eq!(header.role, Role::Header);
    assert_eq!(seen.len(), expected.len());
    for (i, (seen, (tag, role, begins))) in seen.iter().zip(&expected).enumerate() {
        let time = gst::ClockTime::from_mseconds(tag.timestamp.into());
        assert_eq!(seen.dts, Some(time), "{i}: {tag:02x?}");
        assert_eq!(seen.pts, Some(time), "{i}: {tag:02x?}");
        assert_eq!(seen.role, *role, "{i}: {tag:02x?}");
        // The first of all follows the file header.
        assert_eq!(seen.discontinuity, *begins && i > 0, "{i}: {tag:02x?}");
        let body = &seen.bytes[11..seen.bytes.len() - 4];
        assert_eq!(body, tag.body, "{i}");
    }
}

fn video(body: &[u8], role: Role) -> (Kind, Vec<u8>, Role) {
    (Kind::Video, body.to_vec(), role)
}

fn audio(body: &[u8], role: Role) -> (Kind, Vec<u8>, Role) {
    (Kind::Audio, body.to_vec(), role)
}

fn script(body: &[u8]) -> (Kind, Vec<u8>, Role) {
    (Kind::Script, body.to_vec(), Role::Header)
}

const METADATA: &[u8] = b"\x02\0\x0aonMetaData\x08\0\0\0\0\0\0\x09";

/// FLV file format 10.1, E.4.3.1 and E.4.2.1.
#[test]
fn classic_tags() {
    let mut tags = vec![script(METADATA), script(b"\x02\0\x06onText\x05")];
    // Without a packet type: Sorenson H.263, screen video, VP6, VP6 with alpha, screen video 2, and FFmpeg's H.263
    // and MPEG-4.
    for codec in [2, 3, 4, 5, 6, 8, 9] {
        tags.push(video(&[0x10 | codec, 0xff], Role::Entry));
        tags.push(video(&[0x20 | codec, 0xff], Role::Delta));
        tags.push(video(&[0x30 | codec, 0xff], Role::Delta));
        tags.push(video(&[0x40 | codec, 0xff], Role::Entry));
        tags.push(video(&[0x50 | codec, 0], Role::Delta));
    }
    // With one: H.264, and H.265 and AV1 as they were sent before Enhanced RTMP.
    for codec in [7, 12, 13] {
        tags.push(video(&[0x10 | codec, 0, 0, 0, 0, 1, 2, 3], Role::Header));
        tags.push(video(&[0x10 | codec, 1, 0, 0, 80, 9, 9], Role::Entry));
        tags.push(video(&[0x20 | codec, 1, 0, 0, 0, 9, 9], Role::Delta));
        tags.push(video(&[0x30 | codec, 1, 0xff, 0xff, 0xd8, 9], Role::Delta));
        tags.push(video(&[0x50 | codec, 0], Role::Delta));
    }
    // Beside video nobody starts at audio.
    tags.push(audio(&[0xaf, 0, 0x12, 0x10], Role::Header));
    tags.push(audio(&[0xaf, 1, 0x21, 0x10], Role::Delta));
    for format in [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 14, 15] {
        tags.push(audio(&[format << 4 | 0xf, 0, 1], Role::Delta));
    }
    // Silence.
    tags.push(audio(&[], Role::Delta));
    check(&[tags]);
}

/// E-RTMP v2, "Enhanced Video".
#[test]
fn enhanced_video() {
    let mut tags = vec![];
    for codec in [
        b"vp08", b"vp09", b"av01", b"avc1", b"hvc1", b"vvc1", b"abcd",
    ] {
        let mut ex = |head: u8, rest: &[u8], role| {
            let body = [&[0x80 | head][..], codec, rest].concat();
            tags.push(video(&body, role));
        };
        ex(0x10, &[1, 2, 3], Role::Header);
        // Colour information: of the frames to come.
        ex(0x14, b"\x02\0\x09colorInfo\x05", Role::Delta);
        ex(0x11, &[0, 0, 40, 9, 9], Role::Entry);
        ex(0x13, &[9, 9], Role::Entry);
        ex(0x21, &[0, 0, 0, 9, 9], Role::Delta);
        ex(0x23, &[9, 9], Role::Delta);
        ex(0x33, &[9, 9], Role::Delta);
        ex(0x43, &[9, 9], Role::Entry);
    }
    // The other kind of sequence header.
    tags.push(video(b"\x95av01\x80\x04", Role::Header));
    // A command is one byte.
    tags.push(video(&[0xd1], Role::Delta));
    // ModEx with a time of nanoseconds in front of a key frame.
    tags.push(video(b"\x97\x02\0\0\x05\x03hvc1\x09", Role::Entry));
    check(&[tags]);
}

/// E-RTMP v2, "Enhanced Video", multitrack: the first track decides, and other tracks alone are no place to start.
#[test]
fn enhanced_tracks() {
    let tags = vec![
        // One track, 0.
        video(b"\x96\x00avc1\0\x01\x02", Role::Header),
        video(b"\x96\x01avc1\0\0\0\0\x09", Role::Entry),
        // One track, 1.
        video(b"\x96\x00avc1\x01\x01\x02", Role::Delta),
        video(b"\x96\x01avc1\x01\0\0\0\x09", Role::Delta),
        // Two tracks of one codec, with sizes.
        video(
            b"\x96\x10avc1\0\0\0\x02\x01\x02\x01\0\0\x02\x01\x02",
            Role::Header,
        ),
        video(
            b"\x96\x13avc1\0\0\0\x02\x01\x02\x01\0\0\x02\x01\x02",
            Role::Entry,
        ),
        // Two tracks of two codecs.
        video(
            b"\x96\x23avc1\0\0\0\x02\x01\x02hvc1\x01\0\0\x02\x01\x02",
            Role::Entry,
        ),
        audio(b"\x95\x00mp4a\0\x12\x10", Role::Header),
        audio(b"\x95\x00Opus\x01OpusHead", Role::Delta),
        audio(b"\x95\x01mp4a\0\x21\x10", Role::Delta),
    ];
    check(&[tags]);
}

/// E-RTMP v2, "Enhanced Audio"; without video, every frame is one to start at.
#[test]
fn enhanced_audio_alone() {
    let mut tags = vec![script(METADATA)];
    for codec in [
        b"ac-3", b"ec-3", b"Opus", b".mp3", b"fLaC", b"mp4a", b"abcd",
    ] {
        let mut ex = |packet: u8, rest: &[u8], role| {
            let body = [&[0x90 | packet][..], codec, rest].concat();
            tags.push(audio(&body, role));
        };
        ex(0, &[1, 2, 3], Role::Header);
        ex(4, &[1, 2, 0, 0, 0, 3], Role::Entry);
        ex(1, &[9, 9], Role::Entry);
    }
    check(&[tags]);
}

#[test]
fn a_new_publisher_is_a_discontinuity() {
    let publisher = || {
        vec![
            script(METADATA),
            audio(&[0xaf, 0, 0x12, 0x10], Role::Header),
            // Before any video of this publisher.
            audio(&[0xaf, 1, 0x21, 0x10], Role::Entry),
            video(&[0x17, 0, 0, 0, 0, 1, 2, 3], Role::Header),
            video(&[0x17, 1, 0, 0, 0, 9], Role::Entry),
            audio(&[0xaf, 1, 0x21, 0x10], Role::Delta),
        ]
    };
    check(&[publisher(), publisher(), publisher()]);
}

/// The times of buffers go on where those of FLV step back.
#[test]
fn times_beyond_2_31_ms() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    let seen = watch(&recording);
    let recording = recording.play().unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    let times = [0x7fff_ffd0_u32, 0x7fff_fff8, 0x8000_0020, 0x8000_0048];
    for time in times {
        let tag = Tag {
            kind: Kind::Video,
            timestamp: time,
            body: vec![0x17, 1, 0, 0, 0, 9],
        };
        client.send(&tag).unwrap();
    }
    client.close().unwrap();
    let tags = recording.finish().unwrap();
    let in_file: Vec<u32> = tags.iter().map(|tag| tag.timestamp).collect();
    assert_eq!(in_file, [0x7fff_ffd0, 0x7fff_fff8, 0x20, 0x48]);
    let seen = seen.lock().unwrap();
    let on_buffers: Vec<_> = seen[1..].iter().map(|buffer| buffer.dts).collect();
    let expected = times.map(|time| Some(gst::ClockTime::from_mseconds(time.into())));
    assert_eq!(on_buffers, expected);
}

/// Kind and body of each stream header behind the file header, as the caps have them now.
fn stream_headers(recording: &Recording) -> Vec<(u8, Vec<u8>)> {
    let pad = recording.source().static_pad("src").unwrap();
    let caps = pad.current_caps().expect("caps");
    let headers = caps.structure(0).unwrap().get::<gst::Array>("streamheader");
    let headers = headers.expect("stream headers");
    let buffers = headers.iter().map(|header| {
        let buffer: gst::Buffer = header.get().expect("buffers");
        buffer.map_readable().unwrap().to_vec()
    });
    let buffers: Vec<_> = buffers.collect();
    assert_eq!(buffers[0], FILE_HEADER);
    let tags = buffers[1..].iter();
    tags.map(|tag| (tag[0], tag[11..tag.len() - 4].to_vec()))
        .collect()
}

/// Who joins while the second publishes must not be told of the first one's sound.
#[test]
fn stream_headers_are_those_of_who_publishes() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "loop=true").unwrap();
    let avc = |profile| vec![0x17, 0, 0, 0, 0, 1, profile];
    let (aac, picture, sound) = (
        vec![0xAF, 0, 0x12, 8],
        vec![0x17, 1, 0, 0, 0, 9],
        vec![0xAF, 1, 9],
    );
    let streams = [
        (
            vec![avc(66), aac.clone(), picture.clone(), sound.clone()],
            vec![(9, avc(66)), (8, aac.clone())],
        ),
        // The same video, and no sound.
        (vec![avc(66), picture.clone()], vec![(9, avc(66))]),
        (vec![aac.clone(), sound], vec![(8, aac)]),
        (vec![avc(77), picture], vec![(9, avc(77))]),
    ];
    let mut sent = 0;
    for (bodies, expected) in streams {
        let mut client = Client::publisher(recording.address()).unwrap();
        for body in bodies {
            let kind = if body[0] == 0xAF {
                Kind::Audio
            } else {
                Kind::Video
            };
            client
                .send(&Tag {
                    kind,
                    timestamp: 40,
                    body,
                })
                .unwrap();
            sent += 1;
        }
        client.delete_stream().unwrap();
        client.close().unwrap();
        recording.wait_for_counter("pushed", sent).unwrap();
        assert_eq!(stream_headers(&recording), expected);
    }
}
