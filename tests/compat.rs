//! `compat=flvdemux`: what encoders send with Enhanced RTMP plays through a `flvdemux` that doesn't know it, and what
//! can't play ends in an error that says so.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use rml_rtmp::chunk_io::ChunkDeserializer;
use rml_rtmp::messages::MessagePayload;
use support::demuxed::{AV, Demuxed, assert_withheld, counter, frames, is_multitrack};
use support::flv::{self, Kind, Tag};
use support::pipeline::{DEADLINE, Recording};
use support::wire;

/// C0, C1 and C2.
const HANDSHAKE: usize = 1 + 1536 + 1536;

/// What a client sent, from its first byte to its last.
fn fixture(name: &str) -> Vec<u8> {
    let file = format!("tests/fixtures/client-{name}.bin");
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Sends it, hangs up, and waits for the server to close.
fn replay(port: u16, client_bytes: &[u8]) {
    send(port, |mut socket| {
        // The server is free to leave first, as it does at a codec that it can't pass on.
        if socket.write_all(client_bytes).is_ok() {
            let _ = socket.shutdown(Shutdown::Write);
        }
    });
}

/// Lets `sender` send, reads the answers to nowhere, and waits for the server to close.
fn send(port: u16, sender: impl FnOnce(&TcpStream)) {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut answers = [0; 4096];
            while matches!((&socket).read(&mut answers), Ok(1..)) {}
        });
        sender(&socket);
    });
}

/// The same messages, each in chunks of its own; audio and video bodies are replaced by `replace`, which may make any
/// number of one.
fn rewrap(client_bytes: &[u8], mut replace: impl FnMut(&Tag) -> Vec<Vec<u8>>) -> Vec<u8> {
    let (handshake, chunks) = client_bytes.split_at(HANDSHAKE);
    let mut bytes = handshake.to_vec();
    let mut reader = ChunkDeserializer::new();
    let mut chunk_size = 128;
    // In pieces, because the reader moves all that it holds at every chunk.
    for piece in chunks.chunks(16 * 1024) {
        let mut input = piece;
        while let Some(message) = reader.get_next_message(input).expect("a recorded stream") {
            input = &[];
            let bodies = match Kind::from_type_id(message.type_id) {
                Some(kind @ (Kind::Audio | Kind::Video)) => replace(&Tag {
                    kind,
                    timestamp: message.timestamp.value,
                    body: message.data.to_vec(),
                }),
                _ => vec![message.data.to_vec()],
            };
            for body in &bodies {
                append_chunks(&mut bytes, &message, body, chunk_size);
            }
            if message.type_id == 1 {
                let size = u32::from_be_bytes(message.data[..4].try_into().unwrap());
                chunk_size = size as usize;
                reader.set_max_chunk_size(chunk_size).unwrap();
            }
        }
    }
    bytes
}

/// A message with `body` and a full header, on a chunk stream for its type.
fn append_chunks(bytes: &mut Vec<u8>, message: &MessagePayload, body: &[u8], chunk_size: usize) {
    let chunk_stream = if message.type_id == 1 {
        2
    } else {
        3 + message.type_id
    };
    let timestamp = message.timestamp.value;
    assert!(timestamp < 0xff_ffff, "extended timestamps are not needed");
    bytes.push(chunk_stream);
    bytes.extend(&timestamp.to_be_bytes()[1..]);
    bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
    bytes.push(message.type_id);
    bytes.extend(message.message_stream_id.to_le_bytes());
    for (index, chunk) in body.chunks(chunk_size).enumerate() {
        if index > 0 {
            bytes.push(0xc0 | chunk_stream);
        }
        bytes.extend(chunk);
    }
}

#[test]
fn of_several_tracks_the_first_plays() {
    let client = fixture("ff9-multitrack");
    let sent = wire::tags(&client).unwrap();
    let others = sent.iter().filter(|tag| is_multitrack(tag)).count();
    let playback = Demuxed::start("compat=flvdemux", AV);
    replay(playback.port(), &client);

    // Track 0 has the classic headers.
    playback.assert_shows(&sent);
    assert_eq!(frames(&sent, Kind::Video).len(), 150);
    assert!(frames(&sent, Kind::Audio).len() > 200 && others > 350);
    assert_withheld(&playback.source(), &[("withheld-other-track", others)]);
}

/// A body of the first track as another track has it: OBS sends track 0 in the classic way, and each of the others in a
/// message of its own (obs-outputs, flv-mux.c, flv_packet_ex and flv_packet_audio_ex).
fn of_another_track(tag: &Tag, track: u8) -> Vec<u8> {
    let head = match tag.kind {
        Kind::Video => [&[tag.body[0] & 0x70 | 0x86, tag.body[1]], &b"avc1"[..]].concat(),
        _ => [&[0x95, tag.body[1]], &b"mp4a"[..]].concat(),
    };
    let rest = match (tag.kind, &tag.body[..]) {
        // Only coded frames have a composition time.
        (Kind::Video, [_, 1, rest @ ..]) => rest,
        (Kind::Video, [_, _, _, _, _, rest @ ..]) => rest,
        (_, body) => &body[2..],
    };
    [&head[..], &[track], rest].concat()
}

#[test]
fn of_what_obs_sends_with_several_tracks_the_first_plays() {
    let client = fixture("obs29");
    let classic = wire::tags(&client).unwrap();
    let mut others = 0;
    let client = rewrap(&client, |tag| {
        let tracks = if tag.kind == Kind::Video {
            1..=2
        } else {
            1..=1
        };
        let further = tracks.map(|track| of_another_track(tag, track));
        let all: Vec<_> = std::iter::once(tag.body.clone()).chain(further).collect();
        others += all.len() - 1;
        all
    });
    let playback = Demuxed::start("compat=flvdemux", AV);
    replay(playback.port(), &client);
    playback.assert_shows(&classic);
    assert!(frames(&classic, Kind::Video).len() > 20 && frames(&classic, Kind::Audio).len() > 20);
    assert!(others > 60, "{others}");
    assert_withheld(&playback.source(), &[("withheld-other-track", others)]);
}

#[test]
fn as_sent_it_kills_flvdemux() {
    let playback = Demuxed::start("", AV);
    replay(playback.port(), &fixture("ff9-multitrack"));
    let end = playback.end();
    // Later ones know more.
    if gst::version() < (1, 24, 0, 0) {
        assert_eq!(end.type_(), gst::MessageType::Error, "{end:?}");
    }
    assert_withheld(&playback.source(), &[]);
}

#[test]
fn by_default_every_tag_stays_as_it_was_sent() {
    for name in ["ff9-multitrack", "ff9-hevc", "ff9-opus"] {
        let client = fixture(name);
        let directory = tempfile::tempdir().unwrap();
        let recording = Recording::start(directory.path(), "").unwrap();
        replay(recording.port(), &client);
        let recorded = recording.finish().unwrap();
        assert!(recorded == wire::tags(&client).unwrap(), "{name}");
    }
}

/// What the rewriting has to undo.
#[derive(Default)]
struct Enhancer {
    tags: usize,
    metadata_packets: usize,
    multichannel_configs: usize,
    other_tracks: usize,
    tracks_beside: usize,
}

impl Enhancer {
    /// A classic body in one of the ways that Enhanced RTMP has for it, with company that is to be left out.
    fn enhance(&mut self, tag: &Tag) -> Vec<Vec<u8>> {
        self.tags += 1;
        // The upper half of the first byte, the packet type, the FourCC, the payload.
        let (upper, packet_type, four_cc, payload): (u8, u8, &[u8; 4], &[u8]) =
            match (tag.kind, &tag.body[..]) {
                (Kind::Video, [0x17, 0, _, _, _, config @ ..]) => (0x90, 0, b"avc1", config),
                (Kind::Video, [head, 1, 0, 0, 0, nalus @ ..]) if self.tags.is_multiple_of(2) => {
                    (head & 0x70 | 0x80, 3, b"avc1", nalus)
                }
                (Kind::Video, [head, 1, rest @ ..]) => (head & 0x70 | 0x80, 1, b"avc1", rest),
                (Kind::Video, [0x17, 2, ..]) => (0x90, 2, b"avc1", &[]),
                (Kind::Audio, [0xaf, packet_type, rest @ ..]) => {
                    (0x90, *packet_type, b"mp4a", rest)
                }
                (Kind::Audio, [head, rest @ ..]) if head >> 4 == 2 => (0x90, 1, b".mp3", rest),
                _ => panic!("not in these streams: {tag}"),
            };
        let multitrack = if tag.kind == Kind::Video { 6 } else { 5 };
        let size = &(payload.len() as u32).to_be_bytes()[1..];
        let nanoseconds = [0x02, 0x0f, 0x42, 0x3f];
        let body = match self.tags % 5 {
            0 => [&[upper | packet_type], &four_cc[..], payload].concat(),
            1 => {
                let head = [&[upper | 7], &nanoseconds[..], &[packet_type]].concat();
                [&head, &four_cc[..], payload].concat()
            }
            2 => {
                let head = [upper | multitrack, packet_type];
                [&head, &four_cc[..], &[0], payload].concat()
            }
            3 => {
                self.tracks_beside += 1;
                let head = [upper | multitrack, 0x10 | packet_type];
                let other = [7, 0, 0, 2, 0xee, 0xee];
                let first = [&[0], size, payload].concat();
                [&head, &four_cc[..], &other, &first].concat()
            }
            _ => {
                self.tracks_beside += 1;
                let head = [upper | multitrack, 0x20 | packet_type];
                let first = [&four_cc[..], &[0], size, payload].concat();
                [&head, &first[..], b"what\x01\x00\x00\x01x"].concat()
            }
        };

        let mut bodies = vec![body];
        if tag.kind == Kind::Audio && self.tags.is_multiple_of(7) {
            self.multichannel_configs += 1;
            bodies.push([&[0x94], &four_cc[..], &[1, 2, 0, 0, 0, 3]].concat());
        }
        if tag.kind == Kind::Video && self.tags.is_multiple_of(7) {
            self.metadata_packets += 1;
            bodies.insert(
                0,
                [&[0xd4], &four_cc[..], b"\x02\x00\x09colorInfo"].concat(),
            );
        }
        if self.tags.is_multiple_of(11) {
            self.other_tracks += 1;
            let head = [upper | multitrack, packet_type];
            bodies.push([&head, &b"hvc1"[..], &[1], payload].concat());
        }
        bodies
    }

    fn expected(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("withheld-other-track", self.other_tracks),
            ("withheld-metadata-packet", self.metadata_packets),
            ("withheld-multichannel-config", self.multichannel_configs),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// Enhanced by us, what is put out must be the classic tags that it was made from, and play.
fn enhanced(name: &str, streams: &[&str]) {
    let client = fixture(name);
    let classic = wire::tags(&client).unwrap();
    let mut enhancer = Enhancer::default();
    let client = rewrap(&client, |tag| enhancer.enhance(tag));
    assert!(enhancer.tags > 100 && enhancer.tracks_beside > 40);

    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "compat=flvdemux").unwrap();
    let source = recording.source().clone();
    replay(recording.port(), &client);
    recording.wait_for_eos(DEADLINE).unwrap();
    assert_withheld(&source, &enhancer.expected());
    let beside = counter(&source, "tracks-left-out");
    assert_eq!(beside, enhancer.tracks_beside as u64);
    drop(recording);
    let file = std::fs::read(directory.path().join("output.flv")).unwrap();
    let recorded = flv::parse(&file).unwrap();
    let differs = recorded.iter().zip(&classic).find(|(a, b)| a != b);
    assert_eq!(differs, None, "{name}");
    assert_eq!(recorded.len(), classic.len(), "{name}");

    let playback = Demuxed::start("compat=flvdemux", streams);
    replay(playback.port(), &client);
    playback.assert_shows(&classic);
}

#[test]
fn enhanced_h264_and_aac_play() {
    enhanced("ff5-bframes", AV);
}

#[test]
fn enhanced_mp3_plays() {
    enhanced("ff5-mp3-only", &["audio"]);
}

/// The stream ends in an error of the element before the demuxer can make one, and what came before is kept.
fn unsupported(name: &str, codec: &str, is_culprit: impl Fn(&Tag) -> bool) {
    let client = fixture(name);
    let sent = wire::tags(&client).unwrap();
    let before = sent.iter().position(is_culprit).unwrap();

    let playback = Demuxed::start("compat=flvdemux", AV);
    let port = playback.port();
    let (error_seen, wait_for_error) = mpsc::channel();
    let publisher = std::thread::spawn({
        let (first, rest) = client.split_at(client.len() / 2);
        // Without the end, which would be reason enough to close.
        let (first, rest) = (first.to_vec(), rest[..rest.len() / 2].to_vec());
        move || {
            let mut start = None;
            send(port, |mut socket| {
                // Either may come too late for the server.
                let _ = socket.write_all(&first);
                wait_for_error.recv().unwrap();
                start = Some(Instant::now());
                let _ = socket.write_all(&rest);
            });
            start.unwrap().elapsed()
        }
    });
    let end = playback.end();
    error_seen.send(()).unwrap();
    let gst::MessageView::Error(error) = end.view() else {
        panic!("no error: {end:?}");
    };
    assert_eq!(error.src(), Some(playback.source().upcast_ref()));
    let error = error.error();
    assert!(error.matches(gst::StreamError::CodecNotFound), "{error:?}");
    for part in [codec, "compat=passthrough", "H.264 and AAC"] {
        assert!(error.message().contains(part), "{error}");
    }
    // The publisher is sent away as it goes on: the pipeline need not stop for that.
    assert!(publisher.join().unwrap() < Duration::from_secs(10));
    let source = playback.source();
    assert_withheld(&source, &[("withheld-unsupported-codec", 1)]);
    let pushed = counter(&source, "pushed");
    assert_eq!(pushed, before as u64);

    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "compat=flvdemux").unwrap();
    replay(recording.port(), &client);
    let error = recording.wait_for_eos(DEADLINE).unwrap_err();
    assert!(error.contains(codec), "{error}");
    // The end of the file follows the error; filesink keeps up to 64 KiB until then.
    while let Err(error) = recording.wait_for_eos(DEADLINE) {
        assert!(!error.starts_with("neither"), "{error}");
    }
    drop(recording);
    let file = std::fs::read(directory.path().join("output.flv")).unwrap();
    if before > 0 {
        assert!(flv::parse(&file).unwrap() == sent[..before]);
    }
}

#[test]
fn hevc_is_an_error_that_says_so() {
    unsupported("ff9-hevc", "H.265 (hvc1) video", |tag| {
        tag.kind == Kind::Video
    });
}

#[test]
fn opus_is_an_error_that_says_so() {
    unsupported("ff9-opus", "Opus (Opus) audio", |tag| {
        tag.kind == Kind::Audio
    });
}

#[test]
fn a_stream_without_track_0_ends_with_nothing_put_out() {
    let mut tags = 0;
    let client = rewrap(&fixture("ff5-mp3-only"), |tag| {
        tags += 1;
        vec![[b"\x95\x01.mp3\x05", &tag.body[1..]].concat()]
    });
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "compat=flvdemux").unwrap();
    let source = recording.source().clone();
    replay(recording.port(), &client);
    recording.wait_for_eos(Duration::from_secs(20)).unwrap();
    assert_withheld(&source, &[("withheld-other-track", tags)]);
    assert_eq!(counter(&source, "audio-tags"), 0);
}
