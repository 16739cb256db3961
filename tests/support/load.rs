//! Publishers for measurements: streams of a known bitrate, in real time, every tag of which can be made again from its
//! number.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::client::{Client, Random};
use super::flv::{Kind, Tag};

/// 25 pictures a second.
const PICTURE: Duration = Duration::from_millis(40);
/// A picture, and the sound of its time.
const TAGS_PER_PICTURE: usize = 3;
/// Metadata and the codecs' configurations.
const HEADERS: usize = 3;
const PICTURES_PER_GROUP: usize = 50;
const KEY_FRAME: usize = 50_000;
const AUDIO_FRAME: usize = 300;

/// What is sent is cut out of this.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random(1);
    (0..32 << 10)
        .flat_map(|_| random.next().to_be_bytes())
        .collect()
});

/// A stream of video and sound without end.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Makes its tags differ from those of all others.
    pub id: u64,
    /// Bytes of a picture and its sound, on average.
    picture: usize,
}

impl Content {
    /// At least 500,000 bits per second.
    pub fn new(id: u64, bits_per_second: usize) -> Content {
        let picture = bits_per_second / 8 * PICTURE.as_millis() as usize / 1000;
        Content { id, picture }
    }

    pub fn tag(&self, n: usize) -> Tag {
        let (frame, part) = (
            n.saturating_sub(HEADERS) / TAGS_PER_PICTURE,
            n.saturating_sub(HEADERS) % TAGS_PER_PICTURE,
        );
        let is_key = frame.is_multiple_of(PICTURES_PER_GROUP);
        let (kind, start): (Kind, &[u8]) = match (n, part) {
            (0, _) => (Kind::Script, b"\x02\x00\x0aonMetaData\x05"),
            (1, _) => (Kind::Video, &[0x17, 0, 0, 0, 0, 1, 0x42]),
            (2, _) => (Kind::Audio, &[0xAF, 0, 0x12, 0x10]),
            (_, 0) if is_key => (Kind::Video, &[0x17, 1, 0, 0, 0]),
            (_, 0) => (Kind::Video, &[0x27, 1, 0, 0, 0]),
            _ => (Kind::Audio, &[0xAF, 1]),
        };
        let group = PICTURES_PER_GROUP * (self.picture - 2 * AUDIO_FRAME);
        let size = match (n, kind) {
            (..HEADERS, _) => start.len(),
            (_, Kind::Video) if is_key => KEY_FRAME.min(group / 2),
            (_, Kind::Video) => (group - KEY_FRAME.min(group / 2)) / (PICTURES_PER_GROUP - 1),
            _ => AUDIO_FRAME,
        };
        let mut body = Vec::with_capacity(size);
        body.extend(start);
        if n >= HEADERS {
            body.extend(self.id.to_be_bytes());
            body.extend((n as u64).to_be_bytes());
            let rest = size - body.len();
            let at = (self.id as usize).wrapping_mul(7919).wrapping_add(n * 31) % (NOISE.len() / 2);
            body.extend(&NOISE[at..at + rest]);
        }
        let timestamp = PICTURE.as_millis() as usize * frame + 20 * part.saturating_sub(1);
        Tag {
            kind,
            timestamp: timestamp as u32,
            body,
        }
    }

    /// How many tags that many seconds have.
    pub fn tags_in(seconds: usize) -> usize {
        HEADERS + seconds * 1000 / PICTURE.as_millis() as usize * TAGS_PER_PICTURE
    }

    /// Number and hash of the first `count` tags.
    pub fn digest(&self, count: usize) -> Digest {
        let mut digest = Digest::default();
        (0..count).for_each(|n| digest.add(&self.tag(n)));
        digest
    }
}

/// Stands for a list of tags: their number, and a hash of types, times and bodies.
#[derive(Clone, Default)]
pub struct Digest {
    pub tags: usize,
    hasher: DefaultHasher,
}

impl Digest {
    pub fn add(&mut self, tag: &Tag) {
        let kind = match tag.kind {
            Kind::Audio => 8,
            Kind::Video => 9,
            Kind::Script => 18,
        };
        self.add_parts(kind, tag.timestamp, &tag.body);
    }

    pub fn add_parts(&mut self, type_id: u8, timestamp: u32, body: &[u8]) {
        self.tags += 1;
        self.hasher.write_u8(type_id);
        self.hasher.write_u32(timestamp);
        self.hasher.write_usize(body.len());
        self.hasher.write(body);
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}

/// Publishes the first `count` tags in real time, from `start` on. All of it was sent when this returns.
pub fn send_in_real_time(
    client: &mut Client,
    content: Content,
    count: usize,
    start: Instant,
) -> Result<(), String> {
    for n in 0..count {
        let frame = n.saturating_sub(HEADERS) / TAGS_PER_PICTURE;
        let due = start + PICTURE * frame as u32;
        // Time is what this is about.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        client.send(&content.tag(n))?;
    }
    Ok(())
}

/// The whole life of a publisher: connects, publishes under `key`, and closes.
pub fn publish_in_real_time(
    server: SocketAddr,
    key: &str,
    content: Content,
    count: usize,
) -> Result<(), String> {
    let mut client = Client::connect(server, "live")?;
    client.must_publish(key)?;
    send_in_real_time(&mut client, content, count, Instant::now())?;
    client.close()
}
