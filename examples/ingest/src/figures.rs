//! The figures of a stream, from the element's `stats`.

use std::collections::VecDeque;

use gst::glib;
use gst::glib::value::FromValue;
use serde::Serialize;

/// FLV's file header with the first PreviousTagSize, which `bytes` does not count.
pub const FILE_HEADER: u64 = 13;
/// Seconds that the graphs show.
const HISTORY: usize = 120;

/// A snapshot.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    pub received: u64,
    pub pushed: u64,
    pub queued: u64,
    pub withheld: u64,
    /// Of those: what was not written in time when the program was stopped.
    pub withheld_at_eos: u64,
    pub video_tags: u64,
    pub audio_tags: u64,
    pub key_frames: u64,
    /// Of the tags that were put out.
    pub bytes: u64,
    /// Bits per second.
    pub bitrate: u64,
    pub queue_bytes: u64,
    /// For how long the encoder was held up, in nanoseconds.
    pub backpressure_time: u64,
    /// For people: `H.264, AAC`.
    pub codecs: String,
    pub video_codec: Option<String>,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub framerate: Option<f64>,
    pub audio_codec: Option<String>,
    pub audio_rate: Option<i32>,
    pub audio_channels: Option<i32>,
    pub encoder: Option<String>,
    pub remote_address: Option<String>,
}

impl Figures {
    pub fn of(stats: &gst::Structure) -> Self {
        Self {
            received: field(stats, "received").unwrap_or_default(),
            pushed: field(stats, "pushed").unwrap_or_default(),
            queued: field(stats, "queued").unwrap_or_default(),
            withheld: field(stats, "withheld").unwrap_or_default(),
            withheld_at_eos: field(stats, "withheld-at-eos").unwrap_or_default(),
            video_tags: field(stats, "video-tags").unwrap_or_default(),
            audio_tags: field(stats, "audio-tags").unwrap_or_default(),
            key_frames: field(stats, "keyframes").unwrap_or_default(),
            bytes: field(stats, "bytes").unwrap_or_default(),
            bitrate: field(stats, "bitrate").unwrap_or_default(),
            queue_bytes: field(stats, "queue-bytes").unwrap_or_default(),
            backpressure_time: field(stats, "backpressure-time").unwrap_or_default(),
            codecs: field(stats, "codecs").unwrap_or_default(),
            video_codec: field(stats, "video-codec"),
            width: field(stats, "width"),
            height: field(stats, "height"),
            framerate: field::<gst::Fraction>(stats, "framerate")
                .map(|rate| f64::from(rate.numer()) / f64::from(rate.denom())),
            audio_codec: field(stats, "audio-codec"),
            audio_rate: field(stats, "audio-rate"),
            audio_channels: field(stats, "audio-channels"),
            encoder: field(stats, "encoder").or_else(|| field(stats, "flash-ver")),
            remote_address: field(stats, "remote-address"),
        }
    }

    /// All that came is accounted for. Whether all of it is in the file, its end tells: see `Verdict`.
    pub fn is_complete(&self) -> bool {
        self.received == self.pushed + self.queued + self.withheld
    }
}

/// A field of `stats`; none if the element does not know it of this stream.
fn field<T: for<'a> FromValue<'a> + glib::types::StaticType + 'static>(
    stats: &gst::Structure,
    name: &str,
) -> Option<T> {
    stats.get_optional(name).ok().flatten()
}

/// One second of a stream.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Second {
    pub bitrate: u64,
    pub key_frames: u64,
}

/// The latest seconds.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct History(VecDeque<Second>);

impl History {
    pub fn push(&mut self, second: Second) {
        if self.0.len() == HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(second);
    }
}
