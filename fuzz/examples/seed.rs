//! Writes what the recorded encoders sent, cut to size, as seeds of the corpus:
//! `cargo run --example seed -- FOLDER`. `scripts/fuzz.sh seed` does it.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs, io};

use gstrtmp2server::flv::enhanced::ExPacket;
use gstrtmp2server::rtmp::chunk::{ChunkReader, Read};
use gstrtmp2server::rtmp::{Event, Limits, MediaKind, Session, SessionConfig, Step};

/// C0, C1 and C2.
const HANDSHAKE: usize = 1 + 2 * 1536;
/// Of a recorded session: all of its commands, and media of each kind.
const SESSION: usize = 12_000;
/// Of its chunks alone. They are tried much more often.
const CHUNKS: usize = 3000;
/// Of a body: header, configuration, and the first of the frame.
const BODY: usize = 80;

const SET_CHUNK_SIZE: u8 = 1;
const USER_CONTROL: u8 = 4;
const VIDEO: u8 = 9;
const DATA: u8 = 18;
const COMMAND: u8 = 20;

fn main() -> io::Result<()> {
    let folder = env::args().nth(1).expect("a folder");
    let seeds = Seeds(Path::new(&folder));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    for entry in fs::read_dir(fixtures)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            seeds.of_recording(&fs::read(path)?)?;
        }
    }
    seeds.handshakes()?;
    seeds.attacks()
}

struct Seeds<'a>(&'a Path);

impl Seeds<'_> {
    /// Named by its content: the same again is no other seed.
    fn add(&self, target: &str, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        });
        self.write(target, &format!("seed-{hash:016x}"), &bytes)
    }

    /// Made by hand; stays when the corpus is minimised.
    fn made(&self, target: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.write(target, &format!("made-{name}"), &parts.concat())
    }

    fn write(&self, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    }

    /// What reaches each bound: too long, or too regular, to be found by chance.
    fn attacks(&self) -> io::Result<()> {
        const HANDSHAKEN: &[u8] = &[0];
        const PUBLISHED: &[u8] = &[1];
        let session = |name, parts: &[&[u8]]| self.made("session_raw", name, parts);
        let big_chunks = message(2, SET_CHUNK_SIZE, &10_000_u32.to_be_bytes());
        let half = [&header(4, VIDEO, 50_000)[..], &[7; 10_000]].concat();
        let end = message(3, COMMAND, b"\x02\0\x0bFCUnpublish\0\0\0\0\0\0\0\0\0\x05");
        let rest = [&[0xC4], &[7; 10_000][..]].concat().repeat(4);
        let picture = message(6, VIDEO, b"\x17\x01\0\0\0picture");
        session(
            "ends-in-mid-message",
            &[PUBLISHED, &big_chunks, &half, &end, &rest, &picture],
        )?;
        session(
            "half-a-message-of-a-stranger",
            &[HANDSHAKEN, &big_chunks, &half],
        )?;
        session("half-a-message", &[PUBLISHED, &big_chunks, &half, &picture])?;

        let ping = message(2, USER_CONTROL, &[0, 6, 0, 0, 0, 1]);
        session("pings-of-a-stranger", &[HANDSHAKEN, &ping.repeat(800)])?;
        session("pings", &[PUBLISHED, &ping.repeat(500), &picture])?;
        session(
            "empty-messages",
            &[HANDSHAKEN, &header(4, 99, 0), &[0xC4; 9000]],
        )?;
        session(
            "chunk-size-0",
            &[PUBLISHED, &message(2, SET_CHUNK_SIZE, &[0; 4])],
        )?;
        let chunk_streams: Vec<u8> = (10..30).flat_map(|id| message(id, VIDEO, b"v")).collect();
        session("chunk-streams", &[PUBLISHED, &chunk_streams])?;
        self.made("chunk_reader", "chunk-streams", &[&[1], &chunk_streams])?;
        let unfinished: Vec<u8> = (10..30)
            .flat_map(|id| [&header(id, VIDEO, 2999)[..], &[7; 128]].concat())
            .collect();
        for from in 0..3 {
            let name = format!("unfinished-{from}");
            self.made("chunk_reader", &name, &[&[from], &unfinished])?;
        }
        let ended = [
            &picture.repeat(2)[..],
            &header(4, VIDEO, 2999),
            &[7; 128],
            &picture,
        ]
        .concat();
        let more = [&[0xC4], &[7; 128][..]].concat().repeat(20);
        self.made(
            "chunk_reader",
            "ends-in-mid-message",
            &[&[2], &ended, &more],
        )?;

        let amf = |name, parts: &[&[u8]]| self.made("amf0", name, parts);
        let opened = |n: usize| b"\x03\0\x01a".repeat(n);
        amf("deep", &[&opened(5000)])?;
        amf(
            "deep-and-whole",
            &[&opened(16), &[5], &b"\0\0\x09".repeat(16)],
        )?;
        amf("many-values", &[&[5; 2000]])?;
        // An AMF3 array of many values, each of which repeats the same long text.
        let text = [&[6, 0xC0, 0x01][..], &[b'x'; 4096]].concat();
        amf(
            "repeated-text",
            &[&[0x11, 0x09, 0x8F, 0x01, 1], &text, &[6, 0].repeat(900)],
        )?;
        amf("no-utf-8", &[&[2, 0x20, 0], &[0xFF; 0x2000]])?;
        amf("declared-array", &[b"\x0A\xFF\xFF\xFF\xFF\x05"])?;

        let body = |name, parts: &[&[u8]]| self.made("ertmp_inspect", name, parts);
        // ModEx with nanoseconds beyond the last, and then at it.
        body("nanoseconds", &[b"\0\x97\x02\xFF\xFF\xFF\x01Opus"])?;
        body("last-nanosecond", &[b"\0\x97\x02\x0F\x42\x3F\x01Opus"])?;
        body(
            "mod-ex-without-end",
            &[&[0, 0x97], &[0, 0, 0x07].repeat(500)],
        )?;
        body(
            "long-mod-ex",
            &[b"\x01\x97\xFF\x01\x00", &[7; 257], b"\x01avc1\0\0\x01nal"],
        )?;
        let tracks = b"avc1\0\0\0\x05\0\0\x01xxhvc1\x01\0\0\x01y";
        body("two-codecs", &[b"\x01\x96\x21", tracks])?;
        body(
            "two-tracks",
            &[b"\x01\x96\x11avc1\x01\0\0\x04\0\0\0x\0\0\0\x04\0\0\0y"],
        )?;
        body("mp3", &[b"\0\x91.mp3\xFF\xFB\x90\x44"])
    }

    fn handshakes(&self) -> io::Result<()> {
        const HELLO_OF_TLS: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &HELLO_OF_TLS,
            &[6],
            &[8],
            &[0xFF],
        ] {
            self.add("handshake", &[bytes])?;
            self.add("session_raw", &[bytes])?;
        }
        Ok(())
    }

    fn of_recording(&self, bytes: &[u8]) -> io::Result<()> {
        let (handshake, chunks) = bytes.split_at(HANDSHAKE);
        self.add("handshake", &[handshake])?;
        // Both whole and with the handshake that the target puts in front.
        self.add("session_raw", &[&bytes[..bytes.len().min(SESSION)]])?;
        let some = &chunks[..chunks.len().min(CHUNKS)];
        self.add("session_raw", &[&[0], some])?;
        for from in 0..3 {
            self.add("chunk_reader", &[&[from], some])?;
        }
        self.messages(chunks)?;
        self.bodies(bytes)
    }

    /// Commands and data.
    fn messages(&self, mut chunks: &[u8]) -> io::Result<()> {
        let limits = Limits::default();
        let mut reader = ChunkReader::new(&limits, 0, 0);
        reader.trust(&limits);
        while let Ok(Read::Message(message)) = reader.read(&mut chunks) {
            match (message.type_id, message.body.first_chunk()) {
                (SET_CHUNK_SIZE, Some(size)) => {
                    let size = u32::from_be_bytes(*size);
                    reader.set_chunk_size(size).expect("a recorded size");
                }
                (DATA | COMMAND, _) => self.add("amf0", &[&message.body])?,
                _ => {}
            }
        }
        Ok(())
    }

    /// One audio and video body of each shape.
    fn bodies(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut session = Session::new(SessionConfig::default(), [7; 32]);
        let mut shapes = BTreeSet::new();
        while let Ok(Step::Event(event)) = session.poll(&mut bytes) {
            session.output_mut().clear();
            let media = match event {
                Event::Publish(_) => {
                    session.accept_publish();
                    continue;
                }
                Event::Media(media) => media,
                _ => continue,
            };
            let body = &media.body[..media.body.len().min(BODY)];
            let (kind, ex) = match media.kind {
                MediaKind::Audio => (0, ExPacket::audio(body)),
                MediaKind::Video => (1, ExPacket::video(body)),
                MediaKind::Script => continue,
            };
            let enhanced = ex.map(|ex| (ex.packet_type, ex.multitrack.map(|kind| kind as u8)));
            let head = [body.first().copied(), body.get(1).copied()];
            // The second byte is the packet type of H.264 and AAC.
            let head = if enhanced.is_ok() {
                [head[0], None]
            } else {
                head
            };
            if shapes.len() < 12 && shapes.insert((kind, head, enhanced.ok())) {
                self.add("ertmp_inspect", &[&[kind], body])?;
            }
        }
        Ok(())
    }
}

/// A header of format 0.
fn header(chunk_stream: u8, type_id: u8, length: u32) -> Vec<u8> {
    let [_, l2, l1, l0] = length.to_be_bytes();
    vec![chunk_stream, 0, 0, 0, l2, l1, l0, type_id, 1, 0, 0, 0]
}

/// A whole message in one chunk.
fn message(chunk_stream: u8, type_id: u8, body: &[u8]) -> Vec<u8> {
    [&header(chunk_stream, type_id, body.len() as u32)[..], body].concat()
}
