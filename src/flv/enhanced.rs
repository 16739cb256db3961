//! The extended header of Enhanced RTMP, which audio and video share: ModEx packets, multitrack,
//! FourCC.
//!
//! [`ExPacket::video`] and [`ExPacket::audio`] read the header, [`Tracks`] walks over what follows
//! it. Nothing is copied, and no size that the peer states reaches beyond the body.

use std::fmt;

/// Video packet types that change how a header is read.
///
/// E-RTMP v2, section "Enhanced Video", VideoPacketType.
pub(super) mod video_packet_type {
    pub const SEQUENCE_START: u8 = 0;
    pub const CODED_FRAMES: u8 = 1;
    pub const SEQUENCE_END: u8 = 2;
    pub const CODED_FRAMES_X: u8 = 3;
    pub const METADATA: u8 = 4;
    pub const MPEG2_TS_SEQUENCE_START: u8 = 5;
    pub const MULTITRACK: u8 = 6;
}

/// Audio packet types.
///
/// E-RTMP v2, section "Enhanced Audio", AudioPacketType.
pub(super) mod audio_packet_type {
    pub const SEQUENCE_START: u8 = 0;
    pub const CODED_FRAMES: u8 = 1;
    pub const SEQUENCE_END: u8 = 2;
    pub const MULTICHANNEL_CONFIG: u8 = 4;
    pub const MULTITRACK: u8 = 5;
}

/// The packet type of a modifier in front of the real packet type, the same for audio and video.
///
/// E-RTMP v2, sections "Enhanced Audio" and "Enhanced Video".
const MOD_EX: u8 = 7;

/// The only ModEx type defined so far.
///
/// E-RTMP v2, section "Enhanced Video", VideoPacketModExType.
const MOD_EX_TIMESTAMP_OFFSET_NANO: u8 = 0;

/// The largest offset below a millisecond, in nanoseconds.
///
/// E-RTMP v2, section "Enhanced Video", TimestampOffsetNano.
const MAX_NANOSECOND_OFFSET: u32 = 999_999;

/// IsExVideoHeader, the uppermost bit of a video body.
///
/// E-RTMP v2, section "Enhanced Video".
pub(super) const VIDEO_EX_HEADER: u8 = 0x80;

/// VideoFrameType.Command.
///
/// FLV file format 10.1, E.4.3.1; E-RTMP v2, section "Enhanced Video".
pub(super) const FRAME_TYPE_COMMAND: u8 = 5;

/// SoundFormat.ExHeader, the upper four bits of an audio body.
///
/// E-RTMP v2, section "Enhanced Audio".
pub(super) const SOUND_FORMAT_EX_HEADER: u8 = 9;

/// Four bytes that name a codec.
///
/// They are the publisher's and may be anything. `Display` escapes whatever is not printable ASCII,
/// so the result can go into a log.
///
/// E-RTMP v2, sections "Enhanced Audio", AudioFourCc, and "Enhanced Video", VideoFourCc.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// VP8 video.
    pub const VP8: Self = Self(*b"vp08");
    /// VP9 video.
    pub const VP9: Self = Self(*b"vp09");
    /// AV1 video.
    pub const AV1: Self = Self(*b"av01");
    /// H.264 video.
    pub const AVC: Self = Self(*b"avc1");
    /// H.265 video.
    pub const HEVC: Self = Self(*b"hvc1");
    /// H.266 video.
    pub const VVC: Self = Self(*b"vvc1");
    /// AC-3 audio.
    pub const AC3: Self = Self(*b"ac-3");
    /// E-AC-3 audio.
    pub const EAC3: Self = Self(*b"ec-3");
    /// Opus audio.
    pub const OPUS: Self = Self(*b"Opus");
    /// MP3 audio.
    pub const MP3: Self = Self(*b".mp3");
    /// FLAC audio.
    pub const FLAC: Self = Self(*b"fLaC");
    /// AAC audio.
    pub const AAC: Self = Self(*b"mp4a");
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FourCc({self})")
    }
}

/// How the tracks of a multitrack message are laid out.
///
/// E-RTMP v2, section "Enhanced Audio", AvMultitrackType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MultitrackKind {
    /// 0: one track, up to the end of the body.
    OneTrack,
    /// 1: several tracks of one codec, each with its size.
    ManyTracks,
    /// 2: several tracks, each with its codec and size.
    ManyTracksManyCodecs,
}

impl MultitrackKind {
    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::OneTrack),
            1 => Some(Self::ManyTracks),
            2 => Some(Self::ManyTracksManyCodecs),
            _ => None,
        }
    }
}

/// What inspection tells about a multitrack message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Multitrack {
    /// The layout.
    pub kind: MultitrackKind,
    /// Id of the first track in the message, 0 to 255. The main track of a stream should be 0.
    pub first_track: u8,
}

/// Why a body has no tracks to walk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoTracks {
    /// The body is empty or has the header of FLV file format 10.1.
    NotEnhanced,
    /// The body ends within the header.
    Truncated,
    /// A video command frame: one byte of command instead of codec and data.
    Command,
    /// A layout of tracks that is reserved, 3 to 15.
    UnknownMultitrack(u8),
}

/// A track, or a track header, that reaches beyond the end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackTruncated;

/// An audio or video body with an extended header, up to where the tracks start.
#[derive(Clone, Debug)]
pub struct ExPacket<'a> {
    /// The packet type, 0 to 15, that applies to all tracks; ModEx and Multitrack are already
    /// resolved.
    pub packet_type: u8,
    /// What a ModEx adds to the presentation time of this message, in nanoseconds, 0 to 999 999. It
    /// never changes the RTMP time.
    pub nanosecond_offset: Option<u32>,
    /// The layout of the tracks; `None` for a message that is not multitrack.
    pub multitrack: Option<MultitrackKind>,
    /// The tracks; exactly one, with id 0, for a message that is not multitrack.
    pub tracks: Tracks<'a>,
}

impl<'a> ExPacket<'a> {
    /// Reads the extended header of a video body.
    ///
    /// E-RTMP v2, section "Enhanced Video", ExVideoTagHeader.
    pub fn video(body: &'a [u8]) -> Result<Self, NoTracks> {
        let (&head, rest) = body.split_first().ok_or(NoTracks::NotEnhanced)?;
        if head & VIDEO_EX_HEADER == 0 {
            return Err(NoTracks::NotEnhanced);
        }
        let unwrapped = unwrap_mod_ex(head & 0x0f, rest).ok_or(NoTracks::Truncated)?;
        // Metadata makes the frame type void.
        let frame_type = (head >> 4) & 0x07;
        if frame_type == FRAME_TYPE_COMMAND && unwrapped.packet_type != video_packet_type::METADATA
        {
            return Err(NoTracks::Command);
        }
        Self::after_mod_ex(unwrapped, video_packet_type::MULTITRACK)
    }

    /// Reads the extended header of an audio body.
    ///
    /// E-RTMP v2, section "Enhanced Audio", ExAudioTagHeader.
    pub fn audio(body: &'a [u8]) -> Result<Self, NoTracks> {
        let (&head, rest) = body.split_first().ok_or(NoTracks::NotEnhanced)?;
        if head >> 4 != SOUND_FORMAT_EX_HEADER {
            return Err(NoTracks::NotEnhanced);
        }
        let unwrapped = unwrap_mod_ex(head & 0x0f, rest).ok_or(NoTracks::Truncated)?;
        Self::after_mod_ex(unwrapped, audio_packet_type::MULTITRACK)
    }

    fn after_mod_ex(unwrapped: Unwrapped<'a>, multitrack_type: u8) -> Result<Self, NoTracks> {
        let Unwrapped {
            mut packet_type,
            nanosecond_offset,
            mut rest,
        } = unwrapped;

        let mut multitrack = None;
        if packet_type == multitrack_type {
            let (&byte, after) = rest.split_first().ok_or(NoTracks::Truncated)?;
            let kind = byte >> 4;
            multitrack =
                Some(MultitrackKind::from_bits(kind).ok_or(NoTracks::UnknownMultitrack(kind))?);
            packet_type = byte & 0x0f;
            rest = after;
        }

        let layout = if multitrack == Some(MultitrackKind::ManyTracksManyCodecs) {
            Layout::SizedWithCodec
        } else {
            let (four_cc, after) = split_four_cc(rest).ok_or(NoTracks::Truncated)?;
            rest = after;
            match multitrack {
                None => Layout::Bare(four_cc),
                Some(MultitrackKind::OneTrack) => Layout::One(four_cc),
                Some(_) => Layout::Sized(four_cc),
            }
        };

        Ok(Self {
            packet_type,
            nanosecond_offset,
            multitrack,
            tracks: Tracks { layout, rest },
        })
    }
}

/// What is left of a header once its ModEx packets are off.
struct Unwrapped<'a> {
    packet_type: u8,
    nanosecond_offset: Option<u32>,
    rest: &'a [u8],
}

/// Takes off any number of ModEx packets; those of an unknown type are passed over. `None` if the
/// body ends within one.
fn unwrap_mod_ex(mut packet_type: u8, mut rest: &[u8]) -> Option<Unwrapped<'_>> {
    let mut nanosecond_offset = None;
    while packet_type == MOD_EX {
        let (&short, after) = rest.split_first()?;
        // A size of 256 is not a size: the real one follows in 16 bits.
        let (size, after) = if short == u8::MAX {
            let (&long, after) = after.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(long)) + 1, after)
        } else {
            (usize::from(short) + 1, after)
        };
        let (data, after) = after.split_at_checked(size)?;
        let (&types, after) = after.split_first()?;
        if types >> 4 == MOD_EX_TIMESTAMP_OFFSET_NANO
            && let Some((&bytes, _)) = data.split_first_chunk()
            && let nanos @ ..=MAX_NANOSECOND_OFFSET = u24(bytes)
        {
            nanosecond_offset = Some(nanos);
        }
        packet_type = types & 0x0f;
        rest = after;
    }
    Some(Unwrapped {
        packet_type,
        nanosecond_offset,
        rest,
    })
}

/// One track of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track<'a> {
    /// The codec.
    pub four_cc: FourCc,
    /// The track's id, 0 to 255.
    pub id: u8,
    /// What follows the track's header. It starts with the composition time if codec and packet
    /// type have one.
    pub payload: &'a [u8],
}

/// Walks over the tracks of an [`ExPacket`].
///
/// A track that reaches beyond the body is an error and the last item.
///
/// E-RTMP v2, sections "Enhanced Audio", ExAudioTagBody, and "Enhanced Video", ExVideoTagBody.
#[derive(Clone, Debug)]
pub struct Tracks<'a> {
    layout: Layout,
    rest: &'a [u8],
}

/// What stands in front of the next track's payload.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Nothing: the message is not multitrack.
    Bare(FourCc),
    /// Id.
    One(FourCc),
    /// Id and size.
    Sized(FourCc),
    /// FourCC, id and size.
    SizedWithCodec,
    /// There is no next track.
    Done,
}

impl<'a> Tracks<'a> {
    /// Reads the next track of a layout that has not ended. `None` if the body is too short for it.
    fn read(&mut self) -> Option<Track<'a>> {
        let rest = self.rest;
        match self.layout {
            Layout::Bare(four_cc) => {
                self.layout = Layout::Done;
                Some(Track {
                    four_cc,
                    id: 0,
                    payload: rest,
                })
            }
            Layout::One(four_cc) => {
                self.layout = Layout::Done;
                let (&id, payload) = rest.split_first()?;
                Some(Track {
                    four_cc,
                    id,
                    payload,
                })
            }
            Layout::Sized(four_cc) => self.read_sized(four_cc, rest),
            Layout::SizedWithCodec => {
                let (four_cc, rest) = split_four_cc(rest)?;
                self.read_sized(four_cc, rest)
            }
            Layout::Done => None,
        }
    }

    fn read_sized(&mut self, four_cc: FourCc, rest: &'a [u8]) -> Option<Track<'a>> {
        let (&[id, s2, s1, s0], rest) = rest.split_first_chunk()?;
        let size = usize::try_from(u24([s2, s1, s0])).ok()?;
        let (payload, rest) = rest.split_at_checked(size)?;
        self.rest = rest;
        Some(Track {
            four_cc,
            id,
            payload,
        })
    }
}

impl<'a> Iterator for Tracks<'a> {
    type Item = Result<Track<'a>, TrackTruncated>;

    fn next(&mut self) -> Option<Self::Item> {
        let ended = match self.layout {
            Layout::Done => true,
            Layout::Sized(_) | Layout::SizedWithCodec => self.rest.is_empty(),
            Layout::Bare(_) | Layout::One(_) => false,
        };
        if ended {
            return None;
        }
        let track = self.read();
        if track.is_none() {
            self.layout = Layout::Done;
        }
        Some(track.ok_or(TrackTruncated))
    }
}

impl std::iter::FusedIterator for Tracks<'_> {}

fn split_four_cc(bytes: &[u8]) -> Option<(FourCc, &[u8])> {
    let (&four_cc, rest) = bytes.split_first_chunk()?;
    Some((FourCc(four_cc), rest))
}

/// UI24.
const fn u24([b2, b1, b0]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, b2, b1, b0])
}

/// SI24.
pub(super) const fn i24([b2, b1, b0]: [u8; 3]) -> i32 {
    i32::from_be_bytes([b2, b1, b0, 0]) >> 8
}

#[cfg(test)]
mod tests;
