//! A session that is driven from memory: what the core costs without sockets, threads and GStreamer.
#![allow(dead_code)]

use gstrtmp2server::flv::{self, TagKind};
use gstrtmp2server::rtmp::{Event, Limits, MediaKind, Session, SessionConfig, Step};

use crate::load::commands;
use crate::load::wire::Wire;

/// As much as a connection has in its hands after one read.
pub const READ: usize = 64 << 10;

pub fn config() -> SessionConfig {
    SessionConfig {
        limits: Limits::default(),
        headroom: flv::TAG_HEADER_SIZE,
        tailroom: flv::TAG_TRAILER_SIZE,
    }
}

pub struct Driven {
    session: Session,
    tags: u64,
    bytes: u64,
}

impl Driven {
    /// A session that has accepted a publisher and taken its headers.
    pub fn new(wire: &Wire, chunk_size: usize) -> Self {
        let mut driven = Self {
            session: Session::new(config(), [7; 32]),
            tags: 0,
            bytes: 0,
        };
        driven.feed(&commands::monologue(chunk_size));
        driven.feed(&wire.head);
        driven
    }

    /// Takes all of `bytes`, read by read, and frames every tag in them.
    // A name for profilers: callgrind counts what happens in here.
    #[inline(never)]
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + READ);
            let mut input = &bytes[start..end];
            loop {
                match self.session.poll(&mut input).expect("no error") {
                    Step::Event(Event::Media(media)) => {
                        let kind = match media.kind {
                            MediaKind::Audio => TagKind::Audio,
                            MediaKind::Video => TagKind::Video,
                            MediaKind::Script => TagKind::Script,
                        };
                        let mut tag = media.body.into_vec();
                        flv::frame(&mut tag, kind, media.timestamp).expect("a short body");
                        self.tags += 1;
                        self.bytes += tag.len() as u64;
                        std::hint::black_box(tag);
                    }
                    Step::Event(Event::Connect(_)) => self.session.accept_connect(),
                    Step::Event(Event::Publish(_)) => self.session.accept_publish(),
                    Step::Event(_) => {}
                    Step::NeedMore if self.session.output().is_empty() => break,
                    Step::NeedMore => self.session.output_mut().clear(),
                }
            }
            // What is left is a header cut short.
            assert!(input.len() < end - start, "the session takes something");
            start = end - input.len();
        }
    }

    /// Tags made so far, and their bytes.
    pub fn made(&self) -> (u64, u64) {
        (self.tags, self.bytes)
    }
}
