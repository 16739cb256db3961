//! Enhanced RTMP bodies as bodies that a demuxer understands which knows FLV file format 10.1 only.
//!
//! The measure is the `flvdemux` of GStreamer 1.22, to which an extended header is a codec that it
//! doesn't know, and such a codec a fatal error. One video and one audio track can be had from it:
//! those with id 0, which every message without tracks belongs to. A stream that has other tracks
//! only is left with none, because which one was meant can't be told from a single message.
//!
//! ```
//! use gstrtmp2server::flv::legacy::{Legacy, to_legacy_video};
//!
//! let mut body = b"\x91avc1\x00\x00\x50nalu".to_vec();
//! let Legacy::Rewrite(rewrite) = to_legacy_video(&body) else {
//!     panic!("H.264 has a legacy form");
//! };
//! rewrite.apply(&mut body, 0);
//! assert_eq!(body, b"\x17\x01\x00\x00\x50nalu");
//! ```

use super::audio::{AudioCodec, AudioPacket, AudioTag, inspect_audio};
use super::enhanced::{
    ExPacket, FourCc, NoTracks, Track, audio_packet_type as audio_type,
    video_packet_type as video_type,
};
use super::video::{VideoCodec, VideoPacket, VideoTag, inspect_video};
use std::fmt;
use std::ops::Range;

/// What to do with a body for a demuxer that knows FLV file format 10.1 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Legacy {
    /// Nothing: it has a form that the demuxer understands.
    AsIs,
    /// Rewrite its header, the payload stays.
    Rewrite(Rewrite),
    /// Leave it out; the stream does without.
    Drop(DropReason),
    /// The stream can't do without it, and the demuxer doesn't know the codec.
    Unsupported(Codec),
}

/// Why a body is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// It holds tracks with other ids than 0 only.
    OtherTrack,
    /// It holds AMF data about the frames to come, such as colour information.
    Metadata,
    /// It holds the number and order of the channels.
    MultichannelConfig,
    /// It holds a command instead of a frame.
    Command,
    /// It ends an audio sequence, which a legacy header can't say. Of video it can.
    EndOfSequence,
    /// Its packet type is unknown, or none that its codec has in a legacy header.
    UnknownPacket,
    /// It ends within its header, or where a configuration should begin.
    Truncated,
    /// It is a video body of no bytes.
    Empty,
}

/// The codec of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Of a video body.
    Video(VideoCodec),
    /// Of an audio body.
    Audio(AudioCodec),
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Video(codec) => write!(f, "{codec} video"),
            Self::Audio(codec) => write!(f, "{codec} audio"),
        }
    }
}

/// A legacy header, and which part of the body goes behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    header: Header,
    /// Within the body.
    payload: Range<usize>,
    other_tracks: usize,
}

impl Rewrite {
    /// How many tracks of the message are left out.
    pub fn other_tracks(&self) -> usize {
        self.other_tracks
    }

    /// Rewrites a vector that holds `headroom` bytes of anything and then the body that this was
    /// made from. The headroom stays as it is, and nothing is allocated.
    pub fn apply(&self, bytes: &mut Vec<u8>, headroom: usize) {
        // In bounds if it is that body; no reason to panic if it is not.
        let at = |offset: usize, len: usize| headroom.saturating_add(offset).min(len);
        bytes.truncate(at(self.payload.end, bytes.len()));
        let front = at(0, bytes.len())..at(self.payload.start, bytes.len());
        bytes.splice(front, self.header.as_slice().iter().copied());
    }
}

/// At most as long as the extended header that it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Header {
    /// FLV file format 10.1, E.4.3.1.
    Avc([u8; 5]),
    /// FLV file format 10.1, E.4.2.1.
    Aac([u8; 2]),
    /// FLV file format 10.1, E.4.2.1.
    Mp3([u8; 1]),
}

impl Header {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Avc(bytes) => bytes,
            Self::Aac(bytes) => bytes,
            Self::Mp3(bytes) => bytes,
        }
    }
}

/// FrameType, which stands in the same place in both headers, without the bit that makes it an
/// extended one.
const FRAME_TYPE: u8 = 0x70;
/// FrameType 1, which sequence headers and ends have, too.
const KEY: u8 = 1 << 4;
/// CodecID.
const AVC: u8 = 7;
/// SoundFormat AAC, and the rest as it always is with AAC: 44 100 Hz, 16 bits, stereo.
const AAC: u8 = 0xaf;

/// What to do with a video body.
///
/// Passed are the codecs 2 to 5 and 7 to 9, and H.264 however it is signalled.
pub fn to_legacy_video(body: &[u8]) -> Legacy {
    let tag = inspect_video(body);
    if tag.packet == VideoPacket::Empty {
        return Legacy::Drop(DropReason::Empty);
    }
    if tag.packet == VideoPacket::Command {
        return Legacy::Drop(DropReason::Command);
    }
    if tag.enhanced {
        enhanced_video(body)
    } else {
        known_video(body, tag)
    }
}

/// What to do with an audio body.
///
/// Passed are the codecs 0 to 8, 10, 11 and 14, and AAC and MP3 however they are signalled.
pub fn to_legacy_audio(body: &[u8]) -> Legacy {
    let tag = inspect_audio(body);
    if tag.enhanced {
        enhanced_audio(body)
    } else {
        known_audio(body, tag)
    }
}

fn known_video(body: &[u8], tag: VideoTag) -> Legacy {
    match tag.codec {
        VideoCodec::SorensonH263
        | VideoCodec::ScreenVideo
        | VideoCodec::Vp6
        | VideoCodec::Vp6Alpha
        | VideoCodec::H263
        | VideoCodec::Mpeg4 => Legacy::AsIs,
        VideoCodec::Avc => match tag.packet {
            VideoPacket::SequenceStart if body.len() > 5 => Legacy::AsIs,
            VideoPacket::CodedFrames => Legacy::AsIs,
            // Shorter ones are valid, but flvdemux reads the composition time that isn't there.
            VideoPacket::SequenceEnd if body.len() >= 5 => Legacy::AsIs,
            VideoPacket::Unknown(_) => Legacy::Drop(DropReason::UnknownPacket),
            _ => Legacy::Drop(DropReason::Truncated),
        },
        codec => Legacy::Unsupported(Codec::Video(codec)),
    }
}

fn known_audio(body: &[u8], tag: AudioTag) -> Legacy {
    match tag.codec {
        AudioCodec::PcmPlatform
        | AudioCodec::Adpcm
        | AudioCodec::Mp3
        | AudioCodec::PcmLittleEndian
        | AudioCodec::Nellymoser16k
        | AudioCodec::Nellymoser8k
        | AudioCodec::Nellymoser
        | AudioCodec::G711ALaw
        | AudioCodec::G711MuLaw
        | AudioCodec::Speex
        | AudioCodec::Mp3At8k
        // Without a body: silence.
        | AudioCodec::Unspecified => Legacy::AsIs,
        AudioCodec::Aac => match tag.packet {
            AudioPacket::SequenceStart if body.len() > 2 => Legacy::AsIs,
            AudioPacket::CodedFrames => Legacy::AsIs,
            AudioPacket::Unknown(_) => Legacy::Drop(DropReason::UnknownPacket),
            _ => Legacy::Drop(DropReason::Truncated),
        },
        codec => Legacy::Unsupported(Codec::Audio(codec)),
    }
}

fn enhanced_video(body: &[u8]) -> Legacy {
    let Main {
        packet_type,
        track,
        other_tracks,
    } = match main_track(ExPacket::video(body)) {
        Ok(main) => main,
        Err(reason) => return Legacy::Drop(reason),
    };
    if packet_type == video_type::METADATA {
        return Legacy::Drop(DropReason::Metadata);
    }
    if track.four_cc != FourCc::AVC {
        return Legacy::Unsupported(Codec::Video(VideoCodec::FourCc(track.four_cc)));
    }
    let frame_type = body.first().map_or(0, |head| head & FRAME_TYPE);
    let payload = track.payload;
    let (header, payload) = match packet_type {
        video_type::SEQUENCE_START if !payload.is_empty() => ([KEY | AVC, 0, 0, 0, 0], payload),
        video_type::CODED_FRAMES => {
            let Some((&[t2, t1, t0], nalus)) = payload.split_first_chunk() else {
                return Legacy::Drop(DropReason::Truncated);
            };
            ([frame_type | AVC, 1, t2, t1, t0], nalus)
        }
        video_type::CODED_FRAMES_X => ([frame_type | AVC, 1, 0, 0, 0], payload),
        video_type::SEQUENCE_END => ([KEY | AVC, 2, 0, 0, 0], &payload[..0]),
        video_type::SEQUENCE_START => return Legacy::Drop(DropReason::Truncated),
        _ => return Legacy::Drop(DropReason::UnknownPacket),
    };
    Legacy::Rewrite(Rewrite {
        header: Header::Avc(header),
        payload: place(payload, body),
        other_tracks,
    })
}

fn enhanced_audio(body: &[u8]) -> Legacy {
    let Main {
        packet_type,
        track,
        other_tracks,
    } = match main_track(ExPacket::audio(body)) {
        Ok(main) => main,
        Err(reason) => return Legacy::Drop(reason),
    };
    if packet_type == audio_type::MULTICHANNEL_CONFIG {
        return Legacy::Drop(DropReason::MultichannelConfig);
    }
    let header = match (track.four_cc, packet_type) {
        (FourCc::AAC | FourCc::MP3, audio_type::SEQUENCE_END) => {
            return Legacy::Drop(DropReason::EndOfSequence);
        }
        (FourCc::AAC, audio_type::SEQUENCE_START) if track.payload.is_empty() => {
            return Legacy::Drop(DropReason::Truncated);
        }
        (FourCc::AAC, audio_type::SEQUENCE_START) => Header::Aac([AAC, 0]),
        (FourCc::AAC, audio_type::CODED_FRAMES) => Header::Aac([AAC, 1]),
        (FourCc::MP3, audio_type::CODED_FRAMES) => Header::Mp3([mp3_header(track.payload)]),
        // MP3 has no configuration.
        (FourCc::AAC | FourCc::MP3, _) => return Legacy::Drop(DropReason::UnknownPacket),
        (four_cc, _) => return Legacy::Unsupported(Codec::Audio(AudioCodec::FourCc(four_cc))),
    };
    Legacy::Rewrite(Rewrite {
        header,
        payload: place(track.payload, body),
        other_tracks,
    })
}

impl From<NoTracks> for DropReason {
    fn from(reason: NoTracks) -> Self {
        match reason {
            NoTracks::Command => Self::Command,
            NoTracks::UnknownMultitrack(_) => Self::UnknownPacket,
            NoTracks::Truncated | NoTracks::NotEnhanced => Self::Truncated,
        }
    }
}

/// What a legacy body can hold of a packet: one track.
struct Main<'a> {
    packet_type: u8,
    track: Track<'a>,
    /// How many others are beside it.
    other_tracks: usize,
}

/// The first track with id 0.
fn main_track(packet: Result<ExPacket<'_>, NoTracks>) -> Result<Main<'_>, DropReason> {
    let ExPacket {
        packet_type,
        tracks,
        ..
    } = packet?;
    let (mut main, mut other_tracks, mut truncated) = (None, 0, false);
    for track in tracks {
        match track {
            Ok(track) if track.id == 0 && main.is_none() => main = Some(track),
            Ok(_) => other_tracks += 1,
            Err(_) => truncated = true,
        }
    }
    match main {
        Some(track) => Ok(Main {
            packet_type,
            track,
            other_tracks,
        }),
        // Track 0 may be the one that was cut off.
        None if truncated || other_tracks == 0 => Err(DropReason::Truncated),
        None => Err(DropReason::OtherTrack),
    }
}

/// Where a slice of `body` lies in it.
fn place(part: &[u8], body: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}

/// The legacy header of MP3 frames: what it can tell of the first one's own header.
///
/// SoundRate has 44 100, 22 050 and 11 025 Hz only, SoundFormat 14 means 8000 Hz. For others it says
/// the first of these that the same version of MPEG has, as FFmpeg does with 48 000 Hz: decoders go
/// by the frames. 44 100 Hz and stereo if that is no MP3 frame.
///
/// FLV file format 10.1, E.4.2.1, SoundFormat to SoundType; ISO/IEC 11172-3, 2.4.2.3.
fn mp3_header(frame: &[u8]) -> u8 {
    const FORMAT_MP3: u8 = 2 << 4;
    const FORMAT_MP3_AT_8K: u8 = 14 << 4;
    const SIZE_16_BITS: u8 = 1 << 1;
    const LAYER_III: u8 = 1;
    const MONO: u8 = 3;
    const UNKNOWN: u8 = FORMAT_MP3 | 3 << 2 | SIZE_16_BITS | 1;

    let &[0xff, version, rate, channels, ..] = frame else {
        return UNKNOWN;
    };
    if version >> 5 != 0b111 || (version >> 1) & 3 != LAYER_III {
        return UNKNOWN;
    }
    let format = match ((version >> 3) & 3, (rate >> 2) & 3) {
        // Both reserved.
        (1, _) | (_, 3) => return UNKNOWN,
        // MPEG 2.5
        (0, 2) => FORMAT_MP3_AT_8K,
        (0, _) => FORMAT_MP3 | 1 << 2,
        // MPEG 2
        (2, _) => FORMAT_MP3 | 2 << 2,
        // MPEG 1
        _ => FORMAT_MP3 | 3 << 2,
    };
    format | SIZE_16_BITS | u8::from(channels >> 6 != MONO)
}

#[cfg(test)]
mod tests;
