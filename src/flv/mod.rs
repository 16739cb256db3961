//! FLV: the file header, tags framed in place, and what a tag's body says about itself.
//!
//! This module knows neither RTMP nor GStreamer. It takes the bodies of audio, video and script
//! messages, which RTMP and FLV share byte for byte, and never changes or copies them; only
//! [`legacy`] rewrites headers, for demuxers that predate Enhanced RTMP. Whatever the bytes are,
//! inspection gives an answer and neither fails nor panics: what cannot be read is reported as such,
//! because a body that we don't understand is still one that a publisher sent.
//!
//! Sources, as they are cited throughout:
//! - *FLV file format 10.1*: Adobe Flash Video File Format Specification, version 10.1, annex E;
//! - *E-RTMP v2*: Enhanced RTMP, version 2, Veovera Software Organization.
//!
//! ```
//! use gstrtmp2server::flv::{self, TAG_HEADER_SIZE, TagKind, VideoPacket};
//!
//! let body = [0x17, 0x01, 0x00, 0x00, 0x50, 0xde, 0xad];
//! let video = flv::inspect_video(&body);
//! assert!(video.is_key_frame());
//! assert_eq!(video.packet, VideoPacket::CodedFrames);
//! assert_eq!(video.composition_time_ms, 80);
//!
//! let mut tag = vec![0; TAG_HEADER_SIZE];
//! tag.extend_from_slice(&body);
//! flv::frame(&mut tag, TagKind::Video, 40)?;
//! assert_eq!(tag.len(), 11 + body.len() + 4);
//! # Ok::<(), flv::FrameError>(())
//! ```

mod audio;
mod config;
pub mod enhanced;
pub mod legacy;
mod script;
mod tag;
mod video;

pub use audio::{AudioCodec, AudioPacket, AudioTag, inspect_audio};
pub use config::{aac_format, avc_picture_size};
pub use enhanced::{FourCc, Multitrack, MultitrackKind};
pub use script::script_name;
pub use tag::{
    FILE_HEADER, FrameError, MAX_BODY_SIZE, TAG_HEADER_SIZE, TAG_TRAILER_SIZE, TagKind, frame,
};
pub use video::{FrameType, VideoCodec, VideoPacket, VideoTag, inspect_video};
