//! Messages: what chunks add up to (RTMP 1.0, section 6).

use std::ops::Deref;

/// Message type ids (RTMP 1.0, sections 5.4 and 7.1).
pub(crate) mod type_id {
    pub const SET_CHUNK_SIZE: u8 = 1;
    pub const ABORT: u8 = 2;
    pub const ACKNOWLEDGEMENT: u8 = 3;
    pub const USER_CONTROL: u8 = 4;
    pub const WINDOW_ACK_SIZE: u8 = 5;
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    pub const AUDIO: u8 = 8;
    pub const VIDEO: u8 = 9;
    pub const DATA_AMF3: u8 = 15;
    pub const COMMAND_AMF3: u8 = 17;
    pub const DATA_AMF0: u8 = 18;
    pub const COMMAND_AMF0: u8 = 20;
    pub const AGGREGATE: u8 = 22;
}

/// A whole message as the chunk layer delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Milliseconds modulo 2³².
    pub timestamp: u32,
    /// Message type id.
    pub type_id: u8,
    /// Message stream id. Encoders are careless with it: never key media on it.
    pub stream_id: u32,
    pub body: Body,
}

/// What kind of media a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
    /// A data message: AMF, usually `onMetaData`.
    Script,
}

/// One audio, video or data message of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    pub kind: MediaKind,
    /// Milliseconds modulo 2³², as the publisher counts them.
    pub timestamp: u32,
    pub body: Body,
}

/// A message's bytes, with room in front (and, by capacity, behind) so that the
/// next layer can frame them where they are.
#[derive(Debug, Clone, Default)]
pub struct Body {
    bytes: Vec<u8>,
    headroom: usize,
}

impl Body {
    /// The smallest room worth an allocation.
    const MIN_GROWTH: usize = 64;

    pub(crate) fn new(headroom: usize) -> Self {
        Self {
            bytes: Vec::new(),
            headroom,
        }
    }

    /// Appends bytes of a message that declared `declared` bytes in all. The
    /// capacity at most doubles what has arrived, or grows by what is `in_hand`: a
    /// declared length costs the peer nothing, so it must cost us nothing.
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        declared: usize,
        tailroom: usize,
        in_hand: usize,
    ) {
        self.append_all([bytes], bytes.len(), declared, tailroom, in_hand);
    }

    /// The same with bytes in several pieces, `total` in all.
    #[inline]
    pub(crate) fn append_all<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        total: usize,
        declared: usize,
        tailroom: usize,
        in_hand: usize,
    ) {
        let len = self.len() + total;
        let full = self.headroom + declared + tailroom;
        let needed = if len < declared {
            self.headroom + len
        } else {
            full
        };
        if self.bytes.capacity() < needed {
            let grown = self.headroom + (len + self.len().max(in_hand)).max(Self::MIN_GROWTH);
            let target = grown.min(full).max(needed);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        if self.bytes.is_empty() {
            self.bytes.resize(self.headroom, 0);
        }
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// Copies `bytes` into a body of their own.
    pub(crate) fn copy_of(bytes: &[u8], headroom: usize, tailroom: usize) -> Self {
        let mut body = Self::new(headroom);
        body.append(bytes, bytes.len(), tailroom, 0);
        body
    }

    /// Drops the first `n` bytes of the message (all of them, if it has fewer).
    pub(crate) fn strip_front(&mut self, n: usize) {
        let end = self.headroom.saturating_add(n).min(self.bytes.len());
        if end > self.headroom {
            self.bytes.drain(self.headroom..end);
        }
    }

    /// Length of the message in bytes, without the room around it.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.headroom)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vector itself: the headroom asked for in
    /// [`SessionConfig`](super::SessionConfig), then the message.
    pub fn into_vec(mut self) -> Vec<u8> {
        if self.bytes.len() < self.headroom {
            self.bytes.resize(self.headroom, 0);
        }
        self.bytes
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.headroom..).unwrap_or_default()
    }
}

/// Bodies are equal if their messages are; the room around them does not count.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Body {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_follows_what_arrived() {
        let mut body = Body::new(11);
        body.append(&[1; 100], 16 << 20, 4, 0);
        assert!(body.bytes.capacity() < 1024);
        for _ in 0..100 {
            body.append(&[2; 1000], 16 << 20, 4, 0);
            assert!(body.bytes.capacity() <= 2 * body.len() + 11 + 1000);
        }
        assert_eq!(body.len(), 100_100);
    }

    #[test]
    fn what_is_in_hand_needs_no_second_allocation() {
        let mut body = Body::new(11);
        body.append(&[3; 1000], 7000, 4, 5900);
        let first = (body.bytes.capacity(), body.bytes.as_ptr());
        assert_eq!(first.0, 11 + 6900);
        for _ in 0..5 {
            body.append(&[3; 1000], 7000, 4, 0);
        }
        assert_eq!((body.bytes.capacity(), body.bytes.as_ptr()), first);
        let mut body = Body::new(11);
        body.append(&[3; 1000], 7000, 4, 1 << 20);
        assert_eq!(body.bytes.capacity(), 11 + 7000 + 4);
    }

    #[test]
    fn a_whole_message_has_room_for_its_frame() {
        let mut body = Body::new(11);
        for _ in 0..7 {
            body.append(&[3; 1000], 7000, 4, 0);
        }
        let vec = body.into_vec();
        assert_eq!(vec.len(), 7011);
        assert!(vec.capacity() >= 7015);
    }

    #[test]
    fn stripping_never_eats_the_headroom() {
        let mut body = Body::copy_of(b"abc", 11, 4);
        body.strip_front(2);
        assert_eq!(&*body, b"c");
        body.strip_front(9);
        assert!(body.is_empty());
        assert_eq!(body.into_vec().len(), 11);
        assert_eq!(Body::new(11).into_vec().len(), 11);
    }
}
