//! Tags around bodies, without moving the bodies.

use std::{error::Error, fmt};

/// What every FLV file starts with: version 1, audio and video present, a header of 9 bytes, and
/// the size of the tag before the first, which is 0.
///
/// FLV file format 10.1, E.2 and E.3.
pub const FILE_HEADER: [u8; 13] = [
    b'F', b'L', b'V', 1, 0b101, 0, 0, 0, 9, // header
    0, 0, 0, 0, // PreviousTagSize0
];

/// Bytes in front of a tag's body.
///
/// FLV file format 10.1, E.4.1.
pub const TAG_HEADER_SIZE: usize = 11;

/// Bytes behind a tag's body: PreviousTagSize, the size of header and body together.
///
/// FLV file format 10.1, E.3.
pub const TAG_TRAILER_SIZE: usize = 4;

/// The longest body, in bytes, that a tag can hold: DataSize has 24 bits.
///
/// FLV file format 10.1, E.4.1.
pub const MAX_BODY_SIZE: usize = 0xff_ffff;

/// The three kinds of tag.
///
/// FLV file format 10.1, E.4.1, TagType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagKind {
    /// 8.
    Audio,
    /// 9.
    Video,
    /// 18, also called data.
    Script,
}

impl TagKind {
    /// The kind as it stands in the tag header.
    pub const fn id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Script => 18,
        }
    }
}

/// Why [`frame`] left a vector as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The vector is shorter than the room that a tag header takes.
    NoHeadroom {
        /// Length of the vector in bytes, less than [`TAG_HEADER_SIZE`].
        len: usize,
    },
    /// The body is longer than [`MAX_BODY_SIZE`].
    BodyTooLong {
        /// Length of the body in bytes.
        len: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeadroom { len } => write!(
                f,
                "{len} bytes leave no room for a tag header of {TAG_HEADER_SIZE}"
            ),
            Self::BodyTooLong { len } => write!(
                f,
                "a body of {len} bytes exceeds the {MAX_BODY_SIZE} that a tag can hold"
            ),
        }
    }
}

impl Error for FrameError {}

/// Makes a whole tag of a vector that holds [`TAG_HEADER_SIZE`] spare bytes and then the body.
///
/// The header goes into the spare bytes, whatever they held, and [`TAG_TRAILER_SIZE`] bytes are
/// appended; the body stays where it is, provided that the vector has capacity left for the
/// trailer. `timestamp` is in milliseconds and uses all 32 bits.
///
/// On an error the vector is unchanged.
///
/// FLV file format 10.1, E.3 and E.4.1.
pub fn frame(tag: &mut Vec<u8>, kind: TagKind, timestamp: u32) -> Result<(), FrameError> {
    let len = tag.len();
    let Some((header, body)) = tag.split_first_chunk_mut::<TAG_HEADER_SIZE>() else {
        return Err(FrameError::NoHeadroom { len });
    };
    let body_len = body.len();
    if body_len > MAX_BODY_SIZE {
        return Err(FrameError::BodyTooLong { len: body_len });
    }
    // At most 24 bits, as just checked.
    let data_size = body_len as u32;

    let [_, s2, s1, s0] = data_size.to_be_bytes();
    // The low 24 bits come first, TimestampExtended holds the upper 8.
    let [extended, t2, t1, t0] = timestamp.to_be_bytes();
    // The last three bytes are StreamID, always 0.
    *header = [kind.id(), s2, s1, s0, t2, t1, t0, extended, 0, 0, 0];

    let tag_size = TAG_HEADER_SIZE as u32 + data_size;
    tag.extend_from_slice(&tag_size.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_header_as_on_disk() {
        assert_eq!(
            FILE_HEADER,
            *b"\x46\x4c\x56\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
        );
    }

    #[test]
    fn framed_tags_as_on_disk() {
        struct Case {
            name: &'static str,
            kind: TagKind,
            timestamp: u32,
            body: &'static [u8],
            expected: &'static [u8],
        }
        let cases = [
            Case {
                name: "audio at 0",
                kind: TagKind::Audio,
                timestamp: 0,
                body: b"\xaf\x00\x12\x10",
                expected: b"\x08\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\xaf\x00\x12\x10\x00\x00\x00\x0f",
            },
            Case {
                name: "video, time above 24 bits",
                kind: TagKind::Video,
                timestamp: 0x0123_4567,
                body: b"\x17\x02\x00\x00\x00",
                expected: b"\x09\x00\x00\x05\x23\x45\x67\x01\x00\x00\x00\x17\x02\x00\x00\x00\x00\x00\x00\x10",
            },
            Case {
                name: "script at the last millisecond",
                kind: TagKind::Script,
                timestamp: u32::MAX,
                body: b"\x02\x00\x01a",
                expected: b"\x12\x00\x00\x04\xff\xff\xff\xff\x00\x00\x00\x02\x00\x01a\x00\x00\x00\x0f",
            },
            Case {
                name: "no body",
                kind: TagKind::Audio,
                timestamp: 0xff_ffff,
                body: b"",
                expected: b"\x08\x00\x00\x00\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x0b",
            },
        ];
        for case in cases {
            // The spare bytes may hold anything.
            let mut tag = vec![0xee; TAG_HEADER_SIZE];
            tag.extend_from_slice(case.body);
            frame(&mut tag, case.kind, case.timestamp).expect(case.name);
            assert_eq!(tag, case.expected, "{}", case.name);
        }
    }

    #[test]
    fn no_headroom_is_an_error() {
        for len in 0..TAG_HEADER_SIZE {
            let mut tag = vec![7; len];
            assert_eq!(
                frame(&mut tag, TagKind::Video, 1),
                Err(FrameError::NoHeadroom { len })
            );
            assert_eq!(tag, vec![7; len]);
        }
    }

    #[test]
    fn longest_body_fits_and_one_byte_more_does_not() {
        let mut tag = vec![0; TAG_HEADER_SIZE + MAX_BODY_SIZE];
        frame(&mut tag, TagKind::Video, 0).expect("a body of 24 bits");
        assert_eq!(tag[1..4], [0xff, 0xff, 0xff]);
        assert!(tag.ends_with(&[0x01, 0x00, 0x00, 0x0a]));

        let mut tag = vec![7; TAG_HEADER_SIZE + MAX_BODY_SIZE + 1];
        assert_eq!(
            frame(&mut tag, TagKind::Video, 0),
            Err(FrameError::BodyTooLong {
                len: MAX_BODY_SIZE + 1
            })
        );
        assert_eq!(tag.len(), TAG_HEADER_SIZE + MAX_BODY_SIZE + 1);
        assert!(tag[..TAG_HEADER_SIZE].iter().all(|&byte| byte == 7));
    }

    #[test]
    fn body_stays_in_place_when_there_is_capacity() {
        let mut tag = Vec::with_capacity(TAG_HEADER_SIZE + 3 + TAG_TRAILER_SIZE);
        tag.resize(TAG_HEADER_SIZE + 3, 0);
        let before = tag.as_ptr();
        frame(&mut tag, TagKind::Audio, 0).expect("a short body");
        assert_eq!(tag.as_ptr(), before);
    }

    /// Reads a tag the way a demuxer would, with arithmetic of its own.
    fn unframe(tag: &[u8]) -> (u8, u32, &[u8]) {
        let number = |range: std::ops::Range<usize>| {
            tag[range]
                .iter()
                .fold(0u32, |sum, &byte| sum * 256 + u32::from(byte))
        };
        let size = number(1..4) as usize;
        let timestamp = number(4..7) + u32::from(tag[7]) * 0x100_0000;
        assert_eq!(number(8..11), 0, "StreamID");
        assert_eq!(tag.len(), 11 + size + 4);
        assert_eq!(number(11 + size..15 + size) as usize, 11 + size);
        (tag[0], timestamp, &tag[11..11 + size])
    }

    proptest! {
        #[test]
        fn what_is_framed_reads_back(
            kind in prop_oneof![Just(TagKind::Audio), Just(TagKind::Video), Just(TagKind::Script)],
            timestamp: u32,
            body in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut tag = vec![0; TAG_HEADER_SIZE];
            tag.extend_from_slice(&body);
            frame(&mut tag, kind, timestamp).expect("a short body");
            prop_assert_eq!(unframe(&tag), (kind.id(), timestamp, &body[..]));
        }
    }
}
