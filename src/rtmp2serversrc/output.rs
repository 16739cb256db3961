//! From RTMP media to FLV buffers: framed in the memory that they came in.

use std::time::Instant;

use super::bitrate::Bitrate;
use super::compat::{self, Compat, NoTag};
use super::stream_headers::{MAX_STREAM_HEADER, StreamHeaders, body_of, file_header};
use super::stream_info::{StreamInfo, Watch};
use super::time::{Timeline, TimestampMode};
use crate::flv::{self, AudioPacket, TagKind, VideoPacket};
use crate::rtmp::{Media, MediaKind};

/// The streaming thread's idea of what it has put out. Lives as long as the
/// element is started, not as long as a publisher.
#[derive(Debug)]
pub(super) struct Output {
    compat: Compat,
    timeline: Timeline,
    header_sent: bool,
    /// The next buffer is the first of a new publisher.
    discontinuity: bool,
    has_video: bool,
    /// Kinds of frames put out so far: video, audio.
    seen: (bool, bool),
    headers: StreamHeaders,
    watch: Watch,
    bitrate: Bitrate,
    pub counts: TagCounts,
    /// Tags and bytes before the current publisher.
    before: (u64, u64),
}

/// Tags put out, and what was kept back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TagCounts {
    pub video: u64,
    pub audio: u64,
    pub script: u64,
    pub keyframes: u64,
    /// With tag headers and trailers.
    pub bytes: u64,
    /// Milliseconds, as put out.
    pub last_timestamp: u32,
    pub withheld_empty_video: u64,
    pub withheld_empty_script: u64,
    pub withheld_end_of_sequence: u64,
    pub withheld_too_long: u64,
    pub withheld_at_eos: u64,
    pub withheld_compat: compat::Withheld,
    pub publishers: u64,
}

/// One tag, ready to go.
pub(super) struct Tag {
    pub buffer: gst::Buffer,
    /// Where on the timeline a segment is due before it, if one is.
    pub segment_start: Option<gst::ClockTime>,
    /// What late joiners need first has changed: new caps are due before it.
    pub headers_changed: bool,
    /// The first frame of its kind: a demuxer makes a new pad of it.
    pub is_new_stream: bool,
    /// What the application does not know yet of the stream.
    pub news: Option<StreamInfo>,
}

impl Tag {
    /// Whether nothing is due before it or told with it.
    pub fn is_plain(&self) -> bool {
        self.segment_start.is_none() && !self.headers_changed && self.news.is_none()
    }
}

/// What a body's first bytes say of a tag.
struct Traits {
    kind: TagKind,
    /// Carries a frame, as opposed to metadata and sequence headers.
    is_frame: bool,
    is_header: bool,
    /// A player can start here.
    is_entry: bool,
}

impl Output {
    pub fn new(mode: TimestampMode, compat: Compat) -> Self {
        Self {
            compat,
            timeline: Timeline::new(mode),
            header_sent: false,
            discontinuity: false,
            has_video: false,
            seen: (false, false),
            headers: StreamHeaders::default(),
            watch: Watch::default(),
            bitrate: Bitrate::default(),
            counts: TagCounts::default(),
            before: (0, 0),
        }
    }

    /// The file header, once.
    pub fn header(&mut self) -> Option<gst::Buffer> {
        if std::mem::replace(&mut self.header_sent, true) {
            return None;
        }
        Some(file_header())
    }

    /// Whether it has been put out.
    pub fn header_is_out(&self) -> bool {
        self.header_sent
    }

    /// A publisher's media follow.
    pub fn begin(&mut self) {
        self.timeline.begin();
        self.discontinuity = self.counts.publishers > 0;
        self.has_video = false;
        self.watch = Watch::default();
        self.headers.begin();
        self.counts.publishers += 1;
        self.before = self.totals();
    }

    /// Tags and bytes put out of the current publisher.
    pub fn of_publisher(&self) -> (u64, u64) {
        let (tags, bytes) = self.totals();
        (tags - self.before.0, bytes - self.before.1)
    }

    /// What is known of the latest publisher's stream.
    pub fn stream_info(&self) -> &StreamInfo {
        self.watch.info()
    }

    /// Of the last two seconds, in bits per second.
    pub fn bitrate(&self) -> u64 {
        self.bitrate.at(Instant::now())
    }

    fn totals(&self) -> (u64, u64) {
        let counts = &self.counts;
        let tags = counts.video + counts.audio + counts.script;
        (tags, counts.bytes)
    }

    /// Caps with all that late joiners need first.
    pub fn caps(&self) -> gst::Caps {
        self.headers.caps()
    }

    /// The tag of one message, unless it must not be put out. `goes_on` if other publishers may follow; `running_time` is the
    /// pipeline's, in ms.
    pub fn tag(
        &mut self,
        media: Media,
        goes_on: bool,
        running_time: impl Fn() -> Option<u64>,
    ) -> Result<Tag, NoTag> {
        let mut bytes = media.body.into_vec();
        if self.compat == Compat::Flvdemux {
            compat::to_classic(media.kind, &mut bytes, &mut self.counts)?;
        }
        let traits = self
            .inspect(media.kind, body_of(&bytes), goes_on)
            .ok_or(NoTag::Withheld)?;
        let is_untimed =
            traits.kind == TagKind::Script && self.timeline.is_untimed(media.timestamp);
        let placed = self
            .timeline
            .place(media.timestamp, traits.is_frame, running_time);
        let timestamp = if is_untimed { 0 } else { placed.timestamp };

        if flv::frame(&mut bytes, traits.kind, timestamp).is_err() {
            // RTMP's length has as many bits as FLV's, so this can't be.
            self.counts.withheld_too_long += 1;
            return Err(NoTag::Withheld);
        }
        match traits.kind {
            TagKind::Video => self.counts.video += 1,
            TagKind::Audio => self.counts.audio += 1,
            TagKind::Script => self.counts.script += 1,
        }
        if traits.kind == TagKind::Video && traits.is_entry {
            self.counts.keyframes += 1;
        }
        let now = Instant::now();
        self.bitrate.add(now, bytes.len());
        self.counts.bytes += bytes.len() as u64;
        self.counts.last_timestamp = placed.timestamp;

        let repeat = traits.is_header && bytes.len() <= MAX_STREAM_HEADER;
        let header = repeat.then(|| bytes.clone());
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let writable = buffer.make_mut();
        let time = gst::ClockTime::from_mseconds(placed.position);
        writable.set_dts(time);
        writable.set_pts(time);
        if traits.is_header {
            writable.set_flags(gst::BufferFlags::HEADER);
        } else if !traits.is_entry {
            writable.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        if std::mem::take(&mut self.discontinuity) {
            writable.set_flags(gst::BufferFlags::DISCONT);
        }
        if let Some(header) = header {
            self.headers.keep(traits.kind, header);
        }
        let seen = match traits.kind {
            TagKind::Video => &mut self.seen.0,
            _ => &mut self.seen.1,
        };
        Ok(Tag {
            is_new_stream: traits.is_frame && !std::mem::replace(seen, traits.is_frame || *seen),
            buffer,
            segment_start: placed.starts.then_some(time),
            // Not before the first frame: until then more headers may come.
            headers_changed: traits.is_frame && self.headers.take_changed(),
            news: traits.is_frame.then(|| self.watch.news(now)).flatten(),
        })
    }

    fn inspect(&mut self, kind: MediaKind, body: &[u8], goes_on: bool) -> Option<Traits> {
        match kind {
            MediaKind::Video => {
                let tag = flv::inspect_video(body);
                if tag.packet == VideoPacket::Empty {
                    // A fatal error to flvdemux, and nothing to anyone else.
                    self.counts.withheld_empty_video += 1;
                    return None;
                }
                if goes_on && tag.is_end_of_sequence() {
                    // EOS to a flvdemux of 1.28, while another publisher may come.
                    self.counts.withheld_end_of_sequence += 1;
                    return None;
                }
                self.has_video = true;
                // Of several tracks, the first alone says where a player can start.
                let leads = tag.multitrack.is_none_or(|m| m.first_track == 0);
                if leads {
                    self.watch.video(&tag, body);
                }
                let is_header = leads && tag.is_sequence_header();
                Some(Traits {
                    kind: TagKind::Video,
                    is_frame: tag.packet.is_coded() && !tag.is_sequence_header(),
                    is_header,
                    is_entry: leads && tag.is_key_frame(),
                })
            }
            MediaKind::Audio => {
                let tag = flv::inspect_audio(body);
                if goes_on && matches!(tag.packet, AudioPacket::SequenceEnd) {
                    self.counts.withheld_end_of_sequence += 1;
                    return None;
                }
                let leads = tag.multitrack.is_none_or(|m| m.first_track == 0);
                if leads {
                    self.watch.audio(&tag, body);
                }
                let is_header = leads && tag.is_sequence_header();
                Some(Traits {
                    kind: TagKind::Audio,
                    is_frame: !tag.is_sequence_header() && !body.is_empty(),
                    is_header,
                    // Beside video, nobody can start at audio: as flvmux has it.
                    is_entry: !self.has_video,
                })
            }
            MediaKind::Script if body.is_empty() => {
                self.counts.withheld_empty_script += 1;
                None
            }
            MediaKind::Script => {
                self.watch.script(body);
                Some(Traits {
                    kind: TagKind::Script,
                    is_frame: false,
                    is_header: true,
                    is_entry: true,
                })
            }
        }
    }
}
