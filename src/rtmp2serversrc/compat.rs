//! Tags for demuxers that predate Enhanced RTMP.

use gst::glib;

use super::output::TagCounts;
use crate::flv::TAG_HEADER_SIZE;
use crate::flv::legacy::{Codec, DropReason, Legacy, to_legacy_audio, to_legacy_video};
use crate::rtmp::MediaKind;

/// Whom the tags have to suit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstRtmp2ServerSrcCompat")]
pub enum Compat {
    /// Every tag as the publisher sent it.
    #[default]
    #[enum_value(name = "Every tag as the publisher sent it", nick = "passthrough")]
    Passthrough,
    /// Classic FLV.
    #[enum_value(
        name = "Classic FLV: enhanced H.264, AAC and MP3 rewritten, further tracks and \
                metadata packets left out, an error at other enhanced codecs",
        nick = "flvdemux"
    )]
    Flvdemux,
}

/// What was left out to suit the demuxer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Withheld {
    pub other_track: u64,
    pub metadata_packet: u64,
    pub multichannel_config: u64,
    pub command: u64,
    pub unknown_packet: u64,
    pub truncated: u64,
    pub unsupported_codec: u64,
    /// Beside a track that was put out, so no messages of their own.
    pub tracks: u64,
}

/// Why a message makes no tag; the reason is counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTag {
    Withheld,
    /// The demuxer doesn't know it, and the stream makes no sense without.
    Unsupported(Codec),
}

/// Rewrites a body, behind room for a tag header, for a demuxer of classic FLV.
pub(super) fn to_classic(
    kind: MediaKind,
    bytes: &mut Vec<u8>,
    counts: &mut TagCounts,
) -> Result<(), NoTag> {
    let body = bytes.get(TAG_HEADER_SIZE..).unwrap_or_default();
    let legacy = match kind {
        MediaKind::Video => to_legacy_video(body),
        MediaKind::Audio => to_legacy_audio(body),
        MediaKind::Script => return Ok(()),
    };
    let withheld = &mut counts.withheld_compat;
    match legacy {
        // Whoever reads the result keeps back what is empty.
        Legacy::AsIs | Legacy::Drop(DropReason::Empty) => Ok(()),
        Legacy::Rewrite(rewrite) => {
            rewrite.apply(bytes, TAG_HEADER_SIZE);
            withheld.tracks += rewrite.other_tracks() as u64;
            Ok(())
        }
        Legacy::Unsupported(codec) => {
            withheld.unsupported_codec += 1;
            Err(NoTag::Unsupported(codec))
        }
        Legacy::Drop(reason) => {
            *match reason {
                DropReason::OtherTrack => &mut withheld.other_track,
                DropReason::Metadata => &mut withheld.metadata_packet,
                DropReason::MultichannelConfig => &mut withheld.multichannel_config,
                DropReason::Command => &mut withheld.command,
                DropReason::EndOfSequence => &mut counts.withheld_end_of_sequence,
                DropReason::UnknownPacket => &mut withheld.unknown_packet,
                DropReason::Truncated | DropReason::Empty => &mut withheld.truncated,
            } += 1;
            Err(NoTag::Withheld)
        }
    }
}

impl Withheld {
    pub fn has_other_tracks(&self) -> bool {
        self.other_track + self.tracks > 0
    }
}

/// What the log says of [`Withheld::has_other_tracks`].
pub(super) const TRACKS_LEFT_OUT: &str = "the publisher sends further tracks: compat=flvdemux leaves out all but those \
     with id 0, one of video and one of audio";

/// What to tell the application of a codec that can't go on.
pub(super) fn error(codec: Codec) -> gst::ErrorMessage {
    gst::error_msg!(
        gst::StreamError::CodecNotFound,
        ("The publisher sends {codec}, which compat=flvdemux can't put out: let the encoder \
             send H.264 and AAC, or set compat=passthrough and record it, or use a demuxer that \
             knows it"),
        ["what came before it was put out"]
    )
}
