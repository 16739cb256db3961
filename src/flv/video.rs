//! What a video body says about itself.

use super::enhanced::{
    ExPacket, FRAME_TYPE_COMMAND, FourCc, Multitrack, NoTracks, VIDEO_EX_HEADER, i24,
    video_packet_type as packet_type,
};
use std::fmt;

/// The codec of a video body.
///
/// FLV file format 10.1, E.4.3.1, CodecID, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// 1: JPEG; in version 9 of the format, never used, now reserved.
    Jpeg,
    /// 2: Sorenson H.263.
    SorensonH263,
    /// 3: Screen video.
    ScreenVideo,
    /// 4: On2 VP6.
    Vp6,
    /// 5: On2 VP6 with alpha channel.
    Vp6Alpha,
    /// 6: Screen video version 2.
    ScreenVideo2,
    /// 7: H.264.
    Avc,
    /// 8: H.263 proper; FFmpeg's, in no specification.
    H263,
    /// 9: MPEG-4 part 2; FFmpeg's, in no specification.
    Mpeg4,
    /// 12: H.265 as encoders send it that predate Enhanced RTMP; laid out like 7.
    Hevc,
    /// 13: AV1 as encoders send it that predate Enhanced RTMP; laid out like 7.
    Av1,
    /// Enhanced RTMP; may be one that no specification knows.
    ///
    /// E-RTMP v2, section "Enhanced Video", VideoFourCc.
    FourCc(FourCc),
    /// Any other id, 0 to 15.
    Unknown(u8),
    /// The body names no codec: it is empty, an Enhanced RTMP command frame, or ends before the
    /// FourCC.
    Unspecified,
}

impl VideoCodec {
    const fn from_id(id: u8) -> Self {
        match id {
            1 => Self::Jpeg,
            2 => Self::SorensonH263,
            3 => Self::ScreenVideo,
            4 => Self::Vp6,
            5 => Self::Vp6Alpha,
            6 => Self::ScreenVideo2,
            7 => Self::Avc,
            8 => Self::H263,
            9 => Self::Mpeg4,
            12 => Self::Hevc,
            13 => Self::Av1,
            id => Self::Unknown(id),
        }
    }

    /// A name for people, the same for one codec whichever way it is signalled.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::SorensonH263 => "Sorenson H.263",
            Self::ScreenVideo => "Screen video",
            Self::Vp6 => "VP6",
            Self::Vp6Alpha => "VP6 with alpha",
            Self::ScreenVideo2 => "Screen video 2",
            Self::Avc | Self::FourCc(FourCc::AVC) => "H.264",
            Self::H263 => "H.263",
            Self::Mpeg4 => "MPEG-4",
            Self::Hevc | Self::FourCc(FourCc::HEVC) => "H.265",
            Self::Av1 | Self::FourCc(FourCc::AV1) => "AV1",
            Self::FourCc(FourCc::VP8) => "VP8",
            Self::FourCc(FourCc::VP9) => "VP9",
            Self::FourCc(FourCc::VVC) => "H.266",
            Self::FourCc(_) | Self::Unknown(_) => "unknown",
            Self::Unspecified => "unspecified",
        }
    }

    /// Whether the header of FLV file format 10.1 goes on with a packet type and a composition
    /// time.
    const fn has_packet_type(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Av1)
    }
}

impl fmt::Display for VideoCodec {
    /// The name, and in parentheses how a codec is signalled that has no id of its own here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FourCc(four_cc) => write!(f, "{} ({four_cc})", self.name()),
            Self::Unknown(id) => write!(f, "{} ({id})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

/// What kind of frame a video body holds.
///
/// FLV file format 10.1, E.4.3.1, FrameType; E-RTMP v2, section "Enhanced Video", VideoFrameType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// 1: a key frame, also on sequence headers and ends.
    Key,
    /// 2: needs earlier frames.
    Inter,
    /// 3: needs earlier frames, and no other needs it.
    DisposableInter,
    /// 4: a key frame made by a server.
    GeneratedKey,
    /// 5: a command instead of a frame.
    Command,
    /// 0, 6 or 7: reserved.
    Unknown(u8),
}

impl FrameType {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::DisposableInter,
            4 => Self::GeneratedKey,
            FRAME_TYPE_COMMAND => Self::Command,
            bits => Self::Unknown(bits),
        }
    }
}

/// What a video body holds.
///
/// FLV file format 10.1, E.4.3.1, AVCPacketType; E-RTMP v2, section "Enhanced Video",
/// VideoPacketType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoPacket {
    /// The configuration that a decoder needs before the first frame.
    SequenceStart,
    /// Frames, after a composition time if the codec has one.
    CodedFrames,
    /// Frames with an implied composition time of 0; Enhanced RTMP only.
    CodedFramesX,
    /// The end of the sequence; holds nothing.
    SequenceEnd,
    /// AMF data about the frames to come, such as colour information; Enhanced RTMP only.
    Metadata,
    /// The configuration as an MPEG-2 TS descriptor; Enhanced RTMP only.
    Mpeg2TsSequenceStart,
    /// A frame of a codec whose header has no packet type.
    Legacy,
    /// A command, such as the start of a client-side seek.
    Command,
    /// A packet type that no specification knows. 6 in an extended header is a reserved layout of
    /// tracks.
    Unknown(u8),
    /// The body ends within its header or within the first track.
    Truncated,
    /// There is no body.
    Empty,
}

impl VideoPacket {
    /// Whether there are frames to decode.
    pub const fn is_coded(self) -> bool {
        matches!(self, Self::CodedFrames | Self::CodedFramesX | Self::Legacy)
    }

    /// The packet types of an extended header.
    const fn from_ex_header(bits: u8) -> Self {
        match bits {
            packet_type::SEQUENCE_START => Self::SequenceStart,
            packet_type::CODED_FRAMES => Self::CodedFrames,
            packet_type::SEQUENCE_END => Self::SequenceEnd,
            packet_type::CODED_FRAMES_X => Self::CodedFramesX,
            packet_type::METADATA => Self::Metadata,
            packet_type::MPEG2_TS_SEQUENCE_START => Self::Mpeg2TsSequenceStart,
            bits => Self::Unknown(bits),
        }
    }
}

/// What [`inspect_video`] found.
///
/// Of a multitrack message it describes the first track: what it says about sequences then holds
/// for that track, which `multitrack` names, and not for the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoTag {
    /// The codec.
    pub codec: VideoCodec,
    /// What kind of frame it is. Means nothing if `packet` is metadata.
    pub frame_type: FrameType,
    /// What the body holds.
    pub packet: VideoPacket,
    /// What to add to the tag's time to get the presentation time, in milliseconds, −8 388 608 to 8
    /// 388 607. 0 unless the body states it.
    ///
    /// FLV file format 10.1, E.4.3.1, CompositionTime; E-RTMP v2, section "Enhanced Video", for
    /// CodedFrames of `avc1`, `hvc1` and `vvc1`.
    pub composition_time_ms: i32,
    /// The layout of tracks and the first of them; `None` for a message that is not multitrack, or
    /// whose tracks can't be read.
    pub multitrack: Option<Multitrack>,
    /// Whether the body has the extended header of Enhanced RTMP.
    pub enhanced: bool,
}

impl VideoTag {
    /// Whether decoding can start at this body: a key frame, not a sequence header.
    pub const fn is_key_frame(&self) -> bool {
        self.packet.is_coded()
            && matches!(self.frame_type, FrameType::Key | FrameType::GeneratedKey)
    }

    /// Whether this is the configuration that a decoder needs.
    pub const fn is_sequence_header(&self) -> bool {
        matches!(
            self.packet,
            VideoPacket::SequenceStart | VideoPacket::Mpeg2TsSequenceStart
        )
    }

    /// Whether this says that no more frames follow.
    pub const fn is_end_of_sequence(&self) -> bool {
        matches!(self.packet, VideoPacket::SequenceEnd)
    }

    /// [`VideoCodec::name`].
    pub const fn codec_name(&self) -> &'static str {
        self.codec.name()
    }
}

/// Reads the header of a video body, whatever the bytes are.
///
/// Takes time in proportion to the header, which is a few bytes except for ModEx data, and does not
/// allocate.
pub fn inspect_video(body: &[u8]) -> VideoTag {
    match body {
        [] => VideoTag {
            codec: VideoCodec::Unspecified,
            frame_type: FrameType::Unknown(0),
            packet: VideoPacket::Empty,
            composition_time_ms: 0,
            multitrack: None,
            enhanced: false,
        },
        [head, ..] if head & VIDEO_EX_HEADER != 0 => inspect_ex_header(*head, body),
        [head, rest @ ..] => inspect_legacy(*head, rest),
    }
}

/// FLV file format 10.1, E.4.3.1.
fn inspect_legacy(head: u8, rest: &[u8]) -> VideoTag {
    let codec = VideoCodec::from_id(head & 0x0f);
    let frame_type = FrameType::from_bits(head >> 4);
    let mut composition_time_ms = 0;
    let packet = if frame_type == FrameType::Command {
        VideoPacket::Command
    } else if !codec.has_packet_type() {
        VideoPacket::Legacy
    } else {
        match rest {
            // Nothing that follows matters, so nothing needs to follow.
            [2, ..] => VideoPacket::SequenceEnd,
            [0, _, _, _, ..] => VideoPacket::SequenceStart,
            [1, t2, t1, t0, ..] => {
                composition_time_ms = i24([*t2, *t1, *t0]);
                VideoPacket::CodedFrames
            }
            [] | [0 | 1, ..] => VideoPacket::Truncated,
            [other, ..] => VideoPacket::Unknown(*other),
        }
    };
    VideoTag {
        codec,
        frame_type,
        packet,
        composition_time_ms,
        multitrack: None,
        enhanced: false,
    }
}

/// E-RTMP v2, section "Enhanced Video", ExVideoTagHeader.
fn inspect_ex_header(head: u8, body: &[u8]) -> VideoTag {
    let mut tag = VideoTag {
        codec: VideoCodec::Unspecified,
        frame_type: FrameType::from_bits((head >> 4) & 0x07),
        packet: VideoPacket::Truncated,
        composition_time_ms: 0,
        multitrack: None,
        enhanced: true,
    };
    let mut ex = match ExPacket::video(body) {
        Ok(ex) => ex,
        Err(reason) => {
            tag.packet = match reason {
                NoTracks::Command => VideoPacket::Command,
                NoTracks::UnknownMultitrack(_) => VideoPacket::Unknown(packet_type::MULTITRACK),
                NoTracks::Truncated | NoTracks::NotEnhanced => VideoPacket::Truncated,
            };
            return tag;
        }
    };
    let Some(Ok(track)) = ex.tracks.next() else {
        return tag;
    };
    tag.codec = VideoCodec::FourCc(track.four_cc);
    tag.multitrack = ex.multitrack.map(|kind| Multitrack {
        kind,
        first_track: track.id,
    });
    let packet = VideoPacket::from_ex_header(ex.packet_type);
    if packet == VideoPacket::CodedFrames && has_composition_time(track.four_cc) {
        let Some((&time, _)) = track.payload.split_first_chunk() else {
            return tag;
        };
        tag.composition_time_ms = i24(time);
    }
    tag.packet = packet;
    tag
}

/// Whether CodedFrames of a codec start with a composition time.
///
/// E-RTMP v2, section "Enhanced Video", ExVideoTagBody.
const fn has_composition_time(four_cc: FourCc) -> bool {
    matches!(four_cc, FourCc::AVC | FourCc::HEVC | FourCc::VVC)
}

#[cfg(test)]
mod tests;
