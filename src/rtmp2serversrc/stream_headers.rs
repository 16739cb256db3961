//! What a player needs before it can start anywhere in the stream: the caps' `streamheader`.

use crate::flv::{self, TagKind};

/// Larger headers are not repeated to late joiners: real ones have a few KiB, and
/// they are held as long as the element runs.
pub(super) const MAX_STREAM_HEADER: usize = 256 << 10;

/// The latest of each kind.
#[derive(Debug, Default)]
pub(super) struct StreamHeaders {
    metadata: Option<StreamHeader>,
    video: Option<StreamHeader>,
    audio: Option<StreamHeader>,
    changed: bool,
}

#[derive(Debug)]
struct StreamHeader {
    buffer: gst::Buffer,
    /// From a publisher that has left: goes with the next one's first frame, unless
    /// that one has the same.
    is_former: bool,
}

impl StreamHeaders {
    /// Caps with all that is known of them (`streamheader`, as flvmux has it), for
    /// sinks that serve late joiners.
    pub fn caps(&self) -> gst::Caps {
        let tags = [&self.metadata, &self.video, &self.audio];
        let tags = tags.into_iter().flatten();
        let buffers = std::iter::once(file_header()).chain(tags.map(|tag| tag.buffer.clone()));
        gst::Caps::builder("video/x-flv")
            .field("streamheader", gst::Array::new(buffers))
            .build()
    }

    pub fn keep(&mut self, kind: TagKind, tag: Vec<u8>) {
        let slot = match kind {
            TagKind::Video => &mut self.video,
            TagKind::Audio => &mut self.audio,
            TagKind::Script => {
                let body = tag.get(flv::TAG_HEADER_SIZE..).unwrap_or_default();
                if flv::script_name(body) != Some(b"onMetaData") {
                    return;
                }
                &mut self.metadata
            }
        };
        if let Some(old) = slot
            && let Ok(bytes) = old.buffer.map_readable()
            && body_of(&bytes) == body_of(&tag)
        {
            old.is_former = false;
            return;
        }
        let mut buffer = gst::Buffer::from_slice(tag);
        buffer.make_mut().set_flags(gst::BufferFlags::HEADER);
        *slot = Some(StreamHeader {
            buffer,
            is_former: false,
        });
        self.changed = true;
    }

    fn all(&mut self) -> [&mut Option<StreamHeader>; 3] {
        [&mut self.metadata, &mut self.video, &mut self.audio]
    }

    /// Another publisher's may follow.
    pub fn begin(&mut self) {
        for header in self.all().into_iter().flatten() {
            header.is_former = true;
        }
    }

    /// Whether they differ from what was last asked for, at a frame: until then more may come.
    pub fn take_changed(&mut self) -> bool {
        let mut changed = std::mem::take(&mut self.changed);
        for slot in self.all() {
            changed |= slot.take_if(|header| header.is_former).is_some();
        }
        changed
    }
}

/// A tag's body, without the time in front of it.
pub(super) fn body_of(tag: &[u8]) -> &[u8] {
    tag.get(flv::TAG_HEADER_SIZE..).unwrap_or_default()
}

pub(super) fn file_header() -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(flv::FILE_HEADER);
    buffer.make_mut().set_flags(gst::BufferFlags::HEADER);
    buffer
}
