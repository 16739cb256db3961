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
    seeds.handshakes()
}

struct Seeds<'a>(&'a Path);

impl Seeds<'_> {
    /// Named by its content: the same again is no other seed.
    fn add(&self, target: &str, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        });
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{hash:016x}")), bytes)
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
