//! What a publisher has to send: read from an FLV file, or made up.

use std::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Audio,
    Video,
    Script,
}

impl Kind {
    fn of(id: u8) -> Option<Self> {
        match id {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }

    /// RTMP's message type and FLV's tag type are the same number.
    pub fn id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Script => 18,
        }
    }
}

/// One FLV tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub kind: Kind,
    /// Milliseconds.
    pub time: u32,
    pub body: Vec<u8>,
}

impl Tag {
    /// Metadata, or the configuration of a codec (H.264 and AAC).
    pub fn is_header(&self) -> bool {
        match self.kind {
            Kind::Script => true,
            Kind::Video => self.body.get(1) == Some(&0),
            Kind::Audio => self.body.first() == Some(&0xAF) && self.body.get(1) == Some(&0),
        }
    }

    /// H.264's end of sequence, with which ffmpeg ends a file.
    pub fn is_end(&self) -> bool {
        self.kind == Kind::Video && self.body.get(1) == Some(&2)
    }
}

/// The tags of an FLV file.
pub fn parse(file: &[u8]) -> Result<Vec<Tag>, Box<dyn Error + Send + Sync>> {
    let mut rest = file
        .strip_prefix(b"FLV\x01")
        .and_then(|rest| rest.get(9..))
        .ok_or("no FLV file")?;
    let mut tags = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<11>() {
        let [kind, s2, s1, s0, t2, t1, t0, t3, ..] = *header;
        let kind = Kind::of(kind).ok_or("neither audio, video nor script")?;
        let size = u32::from_be_bytes([0, s2, s1, s0]) as usize;
        let body = behind.get(..size).ok_or("a tag is cut short")?;
        let trailer = behind.get(size..size + 4).ok_or("a trailer is cut short")?;
        if trailer != (11 + size as u32).to_be_bytes() {
            return Err("a trailer does not fit its tag".into());
        }
        tags.push(Tag {
            kind,
            time: u32::from_be_bytes([t3, t2, t1, t0]),
            body: body.to_vec(),
        });
        rest = &behind[size + 4..];
    }
    if !rest.is_empty() {
        return Err("a tag's header is cut short".into());
    }
    Ok(tags)
}

/// A frame of audio or video in a lap that can follow itself.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: Kind,
    /// Milliseconds since the frame before of the same kind, in this lap or the one before.
    pub step: u32,
    /// When it is due, in milliseconds from the beginning of its lap.
    pub due: u32,
    pub body: Vec<u8>,
}

/// A stream that can go on for as long as it has to: what comes once, and a lap of frames.
#[derive(Debug, Clone)]
pub struct Content {
    pub head: Vec<Tag>,
    pub frames: Vec<Frame>,
    /// Of a lap, in milliseconds.
    pub duration: u32,
}

impl Content {
    /// Makes `tags`, which begin at 0 and last for `duration` ms, a lap.
    pub fn new(tags: Vec<Tag>, duration: u32) -> Self {
        let (head, mut frames): (Vec<_>, Vec<_>) = tags
            .into_iter()
            .filter(|tag| !tag.is_end())
            .partition(Tag::is_header);
        frames.retain(|frame| frame.time < duration);
        let last = |kind| {
            let of_kind = frames.iter().rev().find(|frame| frame.kind == kind);
            of_kind.map_or(0, |frame| frame.time)
        };
        let mut before = [
            i64::from(last(Kind::Audio)) - i64::from(duration),
            i64::from(last(Kind::Video)) - i64::from(duration),
        ];
        let frames = frames
            .into_iter()
            .map(|frame| {
                let before = &mut before[usize::from(frame.kind == Kind::Video)];
                let step = i64::from(frame.time) - *before;
                *before = frame.time.into();
                Frame {
                    kind: frame.kind,
                    step: step.try_into().expect("a file's times go forward"),
                    due: frame.time,
                    body: frame.body,
                }
            })
            .collect();
        Self {
            head,
            frames,
            duration,
        }
    }

    /// A stream of 10 s that is the same on every machine and in every year: 30 frames of video a second at `bits` per
    /// second with a key frame of eight times their size every two seconds, and AAC of 128 kbit/s.
    pub fn synthetic(bits: usize) -> Self {
        const SECONDS: u32 = 10;
        let mut random = Random(bits as u64);
        let mut tags = vec![
            Tag {
                kind: Kind::Script,
                time: 0,
                body: b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x00\x00\x00\x09".to_vec(),
            },
            Tag {
                kind: Kind::Video,
                time: 0,
                body: b"\x17\x00\x00\x00\x00\x01\x64\x00\x28".to_vec(),
            },
            Tag {
                kind: Kind::Audio,
                time: 0,
                body: b"\xAF\x00\x12\x10".to_vec(),
            },
        ];
        // 1 key frame of 8 and 59 of 1.
        let usual = bits * 2 / 8 / (59 + 8);
        for n in 0..SECONDS * 30 {
            let is_key = n % 60 == 0;
            let size = if is_key { 8 * usual } else { usual };
            let start: &[u8] = if is_key {
                &[0x17, 1, 0, 0, 0]
            } else {
                &[0x27, 1, 0, 0, 0]
            };
            tags.push(Tag {
                kind: Kind::Video,
                time: n * 100 / 3,
                body: random.fill(start, size),
            });
        }
        // 1024 samples each, at 44.1 kHz.
        for n in 0.. {
            let time = (n * 1024 * 10 / 441) as u32;
            if time >= SECONDS * 1000 {
                break;
            }
            tags.push(Tag {
                kind: Kind::Audio,
                time,
                body: random.fill(&[0xAF, 1], 372),
            });
        }
        tags.sort_by_key(|tag| tag.time);
        Self::new(tags, SECONDS * 1000)
    }

    /// FLV bytes of the head, with the file header, and of one lap.
    pub fn sizes(&self) -> (u64, u64) {
        let head: usize = self.head.iter().map(|tag| tag.body.len() + 15).sum();
        let lap: usize = self.frames.iter().map(|frame| frame.body.len() + 15).sum();
        (13 + head as u64, lap as u64)
    }

    /// Laps that make up `bytes` or a little more.
    pub fn laps(&self, bytes: u64) -> u32 {
        bytes.div_ceil(self.sizes().1) as u32
    }

    /// Tags of the head and of `laps`.
    pub fn tags(&self, laps: u32) -> u64 {
        self.head.len() as u64 + self.frames.len() as u64 * u64::from(laps)
    }

    /// The FLV file that a server has to make of it, piece by piece.
    pub fn flv(&self, laps: u32, mut out: impl FnMut(&[u8])) {
        out(b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        for tag in &self.head {
            flv_tag(tag.kind, tag.time, &tag.body, &mut out);
        }
        let mut times = [0_u32; 2];
        for _ in 0..laps {
            for frame in &self.frames {
                let time = &mut times[usize::from(frame.kind == Kind::Video)];
                *time += frame.step;
                flv_tag(frame.kind, *time, &frame.body, &mut out);
            }
        }
    }
}

fn flv_tag(kind: Kind, time: u32, body: &[u8], out: &mut impl FnMut(&[u8])) {
    let [_, s2, s1, s0] = (body.len() as u32).to_be_bytes();
    let [t3, t2, t1, t0] = time.to_be_bytes();
    out(&[kind.id(), s2, s1, s0, t2, t1, t0, t3, 0, 0, 0]);
    out(body);
    out(&(11 + body.len() as u32).to_be_bytes());
}

/// xorshift64: the same bytes in every run.
struct Random(u64);

impl Random {
    fn fill(&mut self, start: &[u8], size: usize) -> Vec<u8> {
        let mut body = start.to_vec();
        while body.len() < size {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            body.extend(self.0.to_be_bytes());
        }
        body
    }
}
