//! The `stats` property.

use std::time::Duration;

use super::output::{Output, TagCounts};
use super::stream_info::StreamInfo;
use crate::queue::Tally;
use crate::server::{Listening, Route};

/// What the streaming thread adds.
#[derive(Default)]
pub(super) struct OutputStats {
    counts: TagCounts,
    tally: Tally,
    bitrate: u64,
    info: StreamInfo,
}

impl OutputStats {
    pub fn of(output: &Output, tally: Tally) -> Self {
        Self {
            counts: output.counts,
            tally,
            bitrate: output.bitrate(),
            info: output.stream_info().clone(),
        }
    }
}

/// A snapshot. Names are those of rtmp2src where it has them.
///
/// Counters of tags are since the element was started; those of the server since
/// its port was opened, by whichever element that shares it. Those of a connection, and what is said of a publisher and its stream, are the present
/// publisher's, or the last one's after it left.
///
/// `received = pushed + queued + withheld` holds in every snapshot: what is queued is what is not known to have gone.
pub(super) fn structure(
    listening: Option<&Listening>,
    route: Option<&Route>,
    output: &OutputStats,
) -> gst::Structure {
    let counts = &output.counts;
    let tally = &output.tally;
    let (queue_bytes, high_water) = route.map_or((0, 0), |r| r.queue().levels());
    let server = listening.map(|l| l.stats()).unwrap_or_default();
    let is_publishing = route.is_some_and(|r| r.publisher().is_some());
    let publisher = route.and_then(|r| r.latest_publisher());
    let connection = publisher.as_ref().map(|p| p.stats()).unwrap_or_default();
    let session = connection.session;
    let compat = &counts.withheld_compat;
    let state = match (&listening, is_publishing) {
        (None, _) => "stopped",
        (Some(_), false) => "listening",
        (Some(_), true) => "publishing",
    };

    let mut structure = gst::Structure::builder("application/x-rtmp2server-stats")
        .field("state", state)
        .field("received", tally.received)
        .field("queued", tally.queued)
        .field("pushed", tally.passed)
        .field("withheld", tally.withheld)
        .field("withheld-empty-video", counts.withheld_empty_video)
        .field("withheld-empty-script", counts.withheld_empty_script)
        .field("withheld-end-of-sequence", counts.withheld_end_of_sequence)
        .field("withheld-too-long", counts.withheld_too_long)
        .field("withheld-at-eos", counts.withheld_at_eos)
        .field("withheld-other-track", compat.other_track)
        .field("withheld-metadata-packet", compat.metadata_packet)
        .field("withheld-multichannel-config", compat.multichannel_config)
        .field("withheld-command", compat.command)
        .field("withheld-unknown-packet", compat.unknown_packet)
        .field("withheld-truncated", compat.truncated)
        .field("withheld-unsupported-codec", compat.unsupported_codec)
        .field("tracks-left-out", compat.tracks)
        .field("video-tags", counts.video)
        .field("audio-tags", counts.audio)
        .field("script-tags", counts.script)
        .field("keyframes", counts.keyframes)
        .field("bytes", counts.bytes)
        .field("bitrate", output.bitrate)
        .field("codecs", output.info.codecs())
        .field("last-timestamp", counts.last_timestamp)
        .field("session", counts.publishers)
        .field("takeovers", route.map_or(0, |r| r.takeovers()))
        .field("queue-bytes", queue_bytes as u64)
        .field("queue-high-water", high_water as u64)
        .field("connections", server.connections)
        .field("idle-connections", server.idle)
        .field("rejected", server.rejected)
        .field("handshake-failures", server.handshake_failures)
        .field("panics", server.panics)
        .field("in-chunk-size", session.in_chunk_size)
        .field("out-chunk-size", session.out_chunk_size)
        .field("in-window-ack-size", session.in_window_ack_size)
        .field("out-window-ack-size", session.out_window_ack_size)
        .field("in-bytes-total", session.in_bytes_total)
        .field("in-bytes-acked", session.in_bytes_acked)
        .field("out-bytes-total", connection.out_bytes_total)
        .field("out-bytes-acked", u64::from(session.out_bytes_acked))
        .field("ignored-messages", session.ignored_messages)
        .field("stray-media", session.stray_media)
        .field("restarted-messages", session.restarted_messages)
        .field("backpressure-time", nanoseconds(connection.backpressure()))
        .build();
    output.info.describe(&mut structure);
    if let Some(publisher) = publisher {
        structure.set("remote-address", publisher.peer.to_string());
        structure.set("tls", publisher.tls);
        structure.set("application", &publisher.application);
        structure.set("stream-key", &publisher.masked_key);
        structure.set("flash-ver", &publisher.flash_ver);
    }
    structure
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
