//! A strict reader of FLV files, and a comparison of two of them.
//!
//! It shares no code with the crate on purpose: it is the second opinion on what the element wrote.

use std::fmt;

/// The file header that the element promises: version 1, audio and video, header size 9, PreviousTagSize0 = 0.
pub const FILE_HEADER: [u8; 13] = *b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00";

const TAG_HEADER: usize = 11;
const TRAILER: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Audio,
    Video,
    Script,
}

impl Kind {
    pub fn from_type_id(id: u8) -> Option<Kind> {
        match id {
            8 => Some(Kind::Audio),
            9 => Some(Kind::Video),
            18 => Some(Kind::Script),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Script => "script",
        })
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct Tag {
    pub kind: Kind,
    /// Milliseconds, all 32 bits.
    pub timestamp: u32,
    pub body: Vec<u8>,
}

impl Tag {
    /// Whether this tag carries a picture, rather than a codec's configuration or an end of sequence.
    pub fn is_video_frame(&self) -> bool {
        const AVC: u8 = 7;
        const COMMAND_FRAME: u8 = 5;
        if self.kind != Kind::Video || self.body.is_empty() {
            return false;
        }
        let (first, enhanced) = (self.body[0], self.body[0] & 0x80 != 0);
        let frame_type = (first >> 4) & 7;
        if frame_type == COMMAND_FRAME {
            false
        } else if enhanced {
            matches!(first & 0x0f, 1 | 3) // CodedFrames, CodedFramesX
        } else if first & 0x0f == AVC {
            self.body.get(1) == Some(&1) // NALUs
        } else {
            true
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let head: String = self
            .body
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let more = if self.body.len() > 8 { "…" } else { "" };
        write!(
            f,
            "{} at {} ms, {} bytes, {head}{more}",
            self.kind,
            self.timestamp,
            self.body.len()
        )
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub offset: usize,
    pub what: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for Malformed {}

fn malformed<T>(offset: usize, what: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed {
        offset,
        what: what.into(),
    })
}

/// Reads a file that ends with a whole tag.
pub fn parse(file: &[u8]) -> Result<Vec<Tag>, Malformed> {
    let (tags, end) = parse_prefix(file)?;
    match file.len() - end {
        0 => Ok(tags),
        rest => malformed(end, format!("{rest} bytes after the last whole tag")),
    }
}

/// Reads the whole tags of a file that may break off within one; also says where the last whole one ends.
pub fn parse_prefix(file: &[u8]) -> Result<(Vec<Tag>, usize), Malformed> {
    let mut at = check_file_header(file)?;
    let mut tags = Vec::new();
    while let Some((tag, size)) = parse_tag(&file[at..]).map_err(|e| Malformed {
        offset: at + e.offset,
        ..e
    })? {
        tags.push(tag);
        at += size;
    }
    Ok((tags, at))
}

fn check_file_header(file: &[u8]) -> Result<usize, Malformed> {
    let Some(header) = file.get(..FILE_HEADER.len()) else {
        return malformed(0, format!("{} bytes are no FLV file", file.len()));
    };
    if header[..4] != FILE_HEADER[..4] {
        return malformed(0, "not an FLV file of version 1");
    }
    if header[4] & !0b101 != 0 {
        return malformed(4, format!("flags {:#04x} use reserved bits", header[4]));
    }
    if header[5..] != FILE_HEADER[5..] {
        return malformed(
            5,
            "the header size is not 9, or the first PreviousTagSize not 0",
        );
    }
    Ok(FILE_HEADER.len())
}

/// Reads one tag with its PreviousTagSize; `None` if there is no whole one.
fn parse_tag(bytes: &[u8]) -> Result<Option<(Tag, usize)>, Malformed> {
    let Some(header) = bytes.get(..TAG_HEADER) else {
        return Ok(None);
    };
    let Some(kind) = Kind::from_type_id(header[0]) else {
        return malformed(
            0,
            format!("tag type {} is not audio, video or script", header[0]),
        );
    };
    let timestamp = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
    if header[8..] != [0; 3] {
        return malformed(8, "the stream id of a tag is not 0");
    }
    let body_size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    let tag_size = TAG_HEADER + body_size;
    let Some(trailer) = bytes.get(tag_size..tag_size + TRAILER) else {
        return Ok(None);
    };
    let stated = u32::from_be_bytes(trailer.try_into().unwrap());
    if stated as usize != tag_size {
        return malformed(
            tag_size,
            format!("PreviousTagSize is {stated}, the tag has {tag_size} bytes"),
        );
    }
    let body = bytes[TAG_HEADER..tag_size].to_vec();
    Ok(Some((
        Tag {
            kind,
            timestamp,
            body,
        },
        tag_size + TRAILER,
    )))
}

/// How two lists of tags are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// What was captured may stop early.
    pub prefix: bool,
    /// Script tags are left out on both sides.
    pub ignore_script: bool,
}

/// The outcome of comparing what was sent with what was captured.
#[derive(Debug)]
pub struct Comparison {
    pub sent: usize,
    pub captured: usize,
    /// Tags that were sent and captured with the same type, time and body, in the same order.
    pub identical: usize,
    pub differences: Vec<String>,
}

impl Comparison {
    const SHOWN: usize = 10;

    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} tags sent, {} captured, {} identical",
            self.sent, self.captured, self.identical
        )?;
        for difference in self.differences.iter().take(Self::SHOWN) {
            write!(f, "\n  {difference}")?;
        }
        match self.differences.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more differences"),
        }
    }
}

/// All of it was sent, and all that was sent is there.
#[track_caller]
pub fn assert_same(sent: &[Tag], captured: &[Tag]) {
    assert!(!sent.is_empty(), "the publisher sent nothing");
    let comparison = compare(sent, captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

/// Compares type, time and body of every tag, in order. After a loss it goes on at the next tags that fit.
pub fn compare(sent: &[Tag], captured: &[Tag], rules: Rules) -> Comparison {
    let chosen = |tag: &&Tag| !(rules.ignore_script && tag.kind == Kind::Script);
    let sent: Vec<&Tag> = sent.iter().filter(chosen).collect();
    let captured: Vec<&Tag> = captured.iter().filter(chosen).collect();
    let mut differences = Vec::new();
    let mut identical = 0;
    let (mut s, mut c) = (0, 0);
    while s < sent.len() && c < captured.len() {
        if sent[s] == captured[c] {
            identical += 1;
            (s, c) = (s + 1, c + 1);
        } else if let Some(lost) = distance(captured[c], &sent[s..]) {
            differences.extend((s..s + lost).map(|s| not_captured(s, sent[s])));
            s += lost;
        } else if let Some(added) = distance(sent[s], &captured[c..]) {
            differences.extend((c..c + added).map(|c| never_sent(c, captured[c])));
            c += added;
        } else {
            differences.push(describe(s, sent[s], captured[c]));
            (s, c) = (s + 1, c + 1);
        }
    }
    if !rules.prefix {
        differences.extend((s..sent.len()).map(|s| not_captured(s, sent[s])));
    }
    differences.extend((c..captured.len()).map(|c| never_sent(c, captured[c])));
    Comparison {
        sent: sent.len(),
        captured: captured.len(),
        identical,
        differences,
    }
}

/// How many tags further on `wanted` is found.
fn distance(wanted: &Tag, tags: &[&Tag]) -> Option<usize> {
    const FAR: usize = 1000;
    tags.iter().take(FAR).position(|tag| *tag == wanted)
}

fn not_captured(place: usize, tag: &Tag) -> String {
    format!("tag {place} sent, but not captured: {tag}")
}

fn never_sent(place: usize, tag: &Tag) -> String {
    format!("tag {place} captured, but never sent: {tag}")
}

fn describe(place: usize, expected: &Tag, found: &Tag) -> String {
    if (expected.kind, expected.timestamp, expected.body.len())
        == (found.kind, found.timestamp, found.body.len())
    {
        let byte = expected
            .body
            .iter()
            .zip(&found.body)
            .position(|(a, b)| a != b)
            .unwrap_or_default();
        return format!("tag {place}: {expected}: the bodies differ from byte {byte} on");
    }
    format!("tag {place}: sent {expected}; captured {found}")
}
