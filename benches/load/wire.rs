//! Content as RTMP chunks (RTMP 1.0, section 5.3.1).

use std::time::Duration;

use super::content::{Content, Kind};

/// The message stream that media are sent on; every server here gives out this one.
pub const MEDIA_STREAM: u32 = 1;

/// A stream's bytes. All times in the lap are differences, so it can be sent any number of times.
pub struct Wire {
    pub head: Vec<u8>,
    pub lap: Vec<u8>,
    /// Of the lap.
    pub messages: Vec<Message>,
    pub duration: Duration,
}

/// One message of a lap.
pub struct Message {
    /// Where it ends in the lap's bytes.
    pub end: usize,
    /// When it is to be sent, from the lap's beginning.
    pub due: Duration,
    /// Bytes of the tag that the server makes of it.
    pub tag_size: u64,
}

impl Wire {
    pub fn new(content: &Content, chunk_size: usize) -> Self {
        let mut head = Vec::new();
        for tag in &content.head {
            let id = chunk_stream(tag.kind);
            let header = full_header(id, tag.time, tag.body.len(), tag.kind.id(), MEDIA_STREAM);
            chunks(&header, id, &tag.body, chunk_size, &mut head);
        }
        let mut lap = Vec::new();
        let messages = content.frames.iter().map(|frame| {
            let id = chunk_stream(frame.kind);
            // fmt 1: the message stream of the message before, and the time since then.
            let [_, d2, d1, d0] = frame.step.to_be_bytes();
            let [_, l2, l1, l0] = (frame.body.len() as u32).to_be_bytes();
            let header = [0x40 | id, d2, d1, d0, l2, l1, l0, frame.kind.id()];
            chunks(&header, id, &frame.body, chunk_size, &mut lap);
            Message {
                end: lap.len(),
                due: Duration::from_millis(frame.due.into()),
                tag_size: frame.body.len() as u64 + 15,
            }
        });
        Self {
            messages: messages.collect(),
            head,
            lap,
            duration: Duration::from_millis(content.duration.into()),
        }
    }

    /// The same content as plain FLV, for servers that know no RTMP. Its times start anew with each lap.
    pub fn plain(content: &Content) -> Self {
        let mut bytes = Vec::new();
        content.flv(1, |part| bytes.extend_from_slice(part));
        let (head_size, _) = content.sizes();
        let lap = bytes.split_off(head_size as usize);
        let mut end = 0;
        let messages = content.frames.iter().map(|frame| {
            end += frame.body.len() + 15;
            Message {
                end,
                due: Duration::from_millis(frame.due.into()),
                tag_size: frame.body.len() as u64 + 15,
            }
        });
        Self {
            messages: messages.collect(),
            head: bytes,
            lap,
            duration: Duration::from_millis(content.duration.into()),
        }
    }
}

/// As ffmpeg has them.
fn chunk_stream(kind: Kind) -> u8 {
    match kind {
        Kind::Audio => 4,
        Kind::Script => 5,
        Kind::Video => 6,
    }
}

/// fmt 0.
pub fn full_header(id: u8, time: u32, length: usize, kind: u8, stream: u32) -> [u8; 12] {
    let [_, t2, t1, t0] = time.to_be_bytes();
    let [_, l2, l1, l0] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_le_bytes();
    [id, t2, t1, t0, l2, l1, l0, kind, s0, s1, s2, s3]
}

pub fn chunks(header: &[u8], id: u8, body: &[u8], chunk_size: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(header);
    for (n, chunk) in body.chunks(chunk_size).enumerate() {
        if n > 0 {
            out.push(0xC0 | id);
        }
        out.extend_from_slice(chunk);
    }
}
