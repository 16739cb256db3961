//! Whether everything arrived.

use std::fmt;

use crc32fast::Hasher;

use crate::Result;
use crate::load::content::{self, Content, Kind};

/// Length and CRC-32 of bytes: fast enough to be taken of every byte in every run, and to tell any loss, repetition or
/// change of order.
#[derive(Debug, Clone, Default)]
pub struct Checksum {
    hasher: Hasher,
    length: u64,
}

impl Checksum {
    pub fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Of the FLV that a server has to make of `content`.
    pub fn of_flv(content: &Content, laps: u32) -> Self {
        let mut sum = Self::default();
        content.flv(laps, |part| sum.add(part));
        sum
    }

    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }

    pub fn length(&self) -> u64 {
        self.length
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let crc = self.hasher.clone().finalize();
        write!(f, "{} bytes, CRC-32 {crc:08x}", self.length)
    }
}

/// Insists that what came out is what had to.
pub fn compare(expected: &impl fmt::Display, found: &impl fmt::Display) -> Result<()> {
    let (expected, found) = (expected.to_string(), found.to_string());
    if expected == found {
        Ok(())
    } else {
        Err(format!("incomplete: expected {expected}; got {found}").into())
    }
}

/// The frames of a stream, video and audio each for itself: what is left if a server writes headers and metadata of
/// its own and orders audio and video anew.
#[derive(Default)]
pub struct Frames {
    video: Checksum,
    audio: Checksum,
}

impl Frames {
    pub fn of(content: &Content, laps: u32) -> Self {
        let mut frames = Self::default();
        for _ in 0..laps {
            for frame in &content.frames {
                frames.add(frame.kind, &frame.body);
            }
        }
        frames
    }

    /// Of a recording.
    pub fn of_file(file: &[u8]) -> Result<Self> {
        let mut frames = Self::default();
        for tag in content::parse(file)? {
            if !tag.is_header() && !tag.is_end() {
                frames.add(tag.kind, &tag.body);
            }
        }
        Ok(frames)
    }

    fn add(&mut self, kind: Kind, body: &[u8]) {
        let sum = match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
            Kind::Script => return,
        };
        // With the length, so that where a frame ends counts as well.
        sum.add(&(body.len() as u32).to_be_bytes());
        sum.add(body);
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "video {}, audio {}", self.video, self.audio)
    }
}
