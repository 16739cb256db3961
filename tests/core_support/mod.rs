//! What the tests of the core share: a driver that feeds a session as a server
//! would, and a record of what came out.
#![allow(dead_code)] // Each test binary uses its own part.

pub mod answers;
pub mod strangers;
pub mod wire;

use gstrtmp2server::rtmp::{
    Error, Event, Limits, Media, MediaKind, Session, SessionConfig, Step, UnpublishReason,
};

/// What a session reported, in a form that compares and prints well.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Connected { app: String },
    Publish { app: String, key: String },
    Media(Tag),
    Unpublish(UnpublishReason),
    Failed(Error),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    pub kind: MediaKind,
    pub time: u32,
    pub body: Vec<u8>,
}

pub const HEADROOM: usize = 11;
pub const TAILROOM: usize = 4;

pub fn config(limits: Limits) -> SessionConfig {
    SessionConfig {
        limits,
        headroom: HEADROOM,
        tailroom: TAILROOM,
    }
}

/// A session driven by the rule of its documentation: poll until it needs more,
/// write the answers, keep what is left in front of the next piece.
pub struct Server {
    pub session: Session,
    received: Vec<u8>,
    pub seen: Vec<Seen>,
    /// All answers so far.
    pub sent: Vec<u8>,
}

impl Server {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self {
            session: Session::new(config(limits), [7; 32]),
            received: Vec::new(),
            seen: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// A server that has received `pieces`.
    pub fn fed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut server = Self::new();
        for piece in pieces {
            server.feed(piece);
        }
        server
    }

    /// One read of the socket. Nothing more happens after an error.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.failed().is_some() {
            return;
        }
        self.received.extend_from_slice(piece);
        let mut input = &self.received[..];
        loop {
            match self.session.poll(&mut input) {
                Ok(Step::Event(event)) => {
                    match event {
                        Event::Connect(_) => self.session.accept_connect(),
                        Event::Publish(_) => self.session.accept_publish(),
                        Event::Media(_) | Event::Unpublish(_) => {}
                    }
                    self.seen.push(seen(event));
                }
                Ok(Step::NeedMore) if self.session.output().is_empty() => break,
                Ok(Step::NeedMore) => self.sent.extend(self.session.output_mut().split()),
                Err(error) => {
                    self.seen.push(Seen::Failed(error));
                    self.sent.extend(self.session.output_mut().split());
                    break;
                }
            }
        }
        let left = input.len();
        self.received.drain(..self.received.len() - left);
    }

    pub fn failed(&self) -> Option<&Error> {
        match self.seen.last() {
            Some(Seen::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Input that the session has not consumed.
    pub fn left(&self) -> &[u8] {
        &self.received
    }

    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Media(tag) => Some(tag),
            _ => None,
        })
    }

    /// What happened since the last call.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }
}

pub fn seen(event: Event) -> Seen {
    match event {
        Event::Connect(connect) => Seen::Connected {
            app: connect.app().to_owned(),
        },
        Event::Publish(request) => Seen::Publish {
            app: request.app().to_owned(),
            key: request.stream_key.clone(),
        },
        Event::Media(media) => Seen::Media(tag(media)),
        Event::Unpublish(reason) => Seen::Unpublish(reason),
    }
}

/// Takes a body apart as the framing layer does, so every test also checks that
/// the room for the frame is there.
fn tag(media: Media) -> Tag {
    let Media {
        kind,
        timestamp,
        body,
    } = media;
    let len = body.len();
    let bytes = body.into_vec();
    assert_eq!(bytes.len(), HEADROOM + len);
    assert!(bytes.capacity() >= HEADROOM + len + TAILROOM);
    Tag {
        kind,
        time: timestamp,
        body: bytes[HEADROOM..].to_vec(),
    }
}

pub fn audio(time: u32, body: &[u8]) -> Seen {
    media(MediaKind::Audio, time, body)
}

pub fn video(time: u32, body: &[u8]) -> Seen {
    media(MediaKind::Video, time, body)
}

pub fn script(time: u32, body: &[u8]) -> Seen {
    media(MediaKind::Script, time, body)
}

fn media(kind: MediaKind, time: u32, body: &[u8]) -> Seen {
    Seen::Media(Tag {
        kind,
        time,
        body: body.to_vec(),
    })
}

/// SplitMix64: the same numbers on every machine for ever.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Cuts `bytes` at random places: each cutting has a piece size of its own, from
/// single bytes to a full socket buffer.
pub fn cut<'a>(bytes: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let largest = [4, 20, 200, 1448, 5000, 16 << 10, 128 << 10][rng.below(7)];
    // Small pieces everywhere take long in long inputs, and say no more.
    let smallest = bytes.len() / 4000;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let length = (smallest + 1 + rng.below(largest)).min(rest.len());
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
