//! The streaming thread: from the queue to the pad.

use std::sync::Arc;
use std::time::Instant;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;

use super::{DRAIN_DEADLINE, Rtmp2ServerSrc, lock};
use crate::queue::Pop;
use crate::rtmp::Media;
use crate::rtmp2serversrc::compat::{self, NoTag};
use crate::rtmp2serversrc::output::Output;
use crate::rtmp2serversrc::{CAT, signals};
use crate::server::{EndReason, Item, Publisher, Route};

#[derive(Default)]
pub(super) struct Stream {
    /// Made at start.
    pub(super) output: Option<Output>,
    /// Where the tags come from. The same as the running element's.
    pub(super) route: Option<Arc<Route>>,
    /// The first tag, behind the file header.
    pub(super) next: Option<gst::Buffer>,
    /// The buffer that `create` returned last, until the pad has seen it. Since
    /// 1.24, the base class of a live source drops it if the state left PLAYING
    /// in between, and asks again.
    pub(super) held: Option<Held>,
    /// Downstream has got its first frame of a kind: see `announce_latency`.
    pub(super) latency_due: bool,
    /// Whose tags are going out.
    pub(super) publisher: Option<Arc<Publisher>>,
    /// How the last publisher left: why EOS follows.
    pub(super) left: Option<EndReason>,
}

pub(super) struct Held {
    buffer: gst::Buffer,
    is_tag: bool,
}

impl Stream {
    /// Remembers a buffer until the pad has seen it.
    fn hold(&mut self, buffer: gst::Buffer, is_tag: bool) -> CreateSuccess {
        self.held = Some(Held {
            buffer: buffer.clone(),
            is_tag,
        });
        CreateSuccess::NewBuffer(buffer)
    }

    /// The pad has the buffer: nobody can drop it unseen any more.
    pub(super) fn seen(&mut self) {
        if self.held.take().is_some_and(|held| held.is_tag)
            && let Some(route) = &self.route
        {
            route.queue().passed();
        }
    }
}

impl Rtmp2ServerSrc {
    /// What comes after the last tag: the file header if there was none, so that
    /// the file is a complete one, then EOS.
    fn end(&self) -> Result<CreateSuccess, gst::FlowError> {
        let (left, publisher) = {
            let mut stream = lock(&self.stream);
            if let Some(header) = stream.output.as_mut().and_then(Output::header) {
                return Ok(stream.hold(header, false));
            }
            (stream.left.take(), stream.publisher.take())
        };
        let reason = left.map_or_else(|| "EOS event".to_owned(), |left| left.to_string());
        if let Some(publisher) = publisher {
            // Its end mark came too late for the queue.
            self.tell_of_end(&publisher, &EndReason::Lost(reason.clone()));
        }
        signals::post(&self.obj(), signals::pre_eos(&reason));
        Err(gst::FlowError::Eos)
    }

    fn tell_of_end(&self, publisher: &Publisher, reason: &EndReason) {
        let output = lock(&self.stream).output.as_ref().map(Output::of_publisher);
        let (tags, bytes) = output.unwrap_or_default();
        let message = signals::disconnected(publisher, reason, tags, bytes);
        signals::post(&self.obj(), message);
    }

    /// A publisher left, for good if `last`.
    fn publisher_left(
        &self,
        reason: EndReason,
        last: bool,
    ) -> Option<Result<CreateSuccess, gst::FlowError>> {
        if !last {
            gst::info!(CAT, imp = self, "waiting for the next publisher: {reason}");
            return None;
        }
        let error_wanted = lock(&self.settings).no_eof_is_error;
        if error_wanted && !reason.is_clean() {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Read,
                ("The stream ended without an end: {reason} \
                     (no-eof-is-error is set; without it this is EOS)",),
                ["no FCUnpublish, deleteStream or closeStream"]
            );
            return Some(Err(gst::FlowError::Error));
        }
        gst::info!(CAT, imp = self, "EOS: {reason}");
        // The consumer has its end; nobody is let in behind it.
        if let Some(route) = self.route() {
            route.end();
        }
        lock(&self.stream).left = Some(reason);
        Some(self.end())
    }

    /// Turns one message into a buffer and sends what has to go before it.
    fn tag(&self, media: Media) -> Result<CreateSuccess, NoTag> {
        let obj = self.obj();
        let running_time = || obj.current_running_time().map(gst::ClockTime::mseconds);
        let (tag, caps, header, publisher) = {
            let stream = &mut *lock(&self.stream);
            let goes_on = stream.publisher.as_ref().is_some_and(|p| p.goes_on);
            let output = stream.output.as_mut().ok_or(NoTag::Withheld)?;
            let tag = output.tag(media, goes_on, running_time)?;
            let caps = tag.headers_changed.then(|| output.caps());
            let header = output.header();
            stream.latency_due |= tag.is_new_stream;
            if caps.is_none() && header.is_none() && tag.is_plain() {
                // Nearly all of them: nothing goes before it.
                return Ok(stream.hold(tag.buffer, true));
            }
            (tag, caps, header, stream.publisher.clone())
        };
        if let Some(caps) = caps
            && let Err(error) = obj.set_caps(&caps)
        {
            gst::warning!(CAT, imp = self, "downstream refused {caps}: {error}");
        }
        if let Some(start) = tag.segment_start {
            self.send_segment(start);
        }
        if let (Some(publisher), Some(info)) = (publisher, tag.news) {
            signals::post(&obj, signals::stream_info(&publisher, &info));
        }
        let mut stream = lock(&self.stream);
        Ok(match header {
            Some(header) => {
                stream.next = Some(tag.buffer);
                stream.hold(header, false)
            }
            None => stream.hold(tag.buffer, true),
        })
    }

    /// flvdemux makes its first frame running time 0 plus the base of this
    /// segment, so the base is the running time at which the frame came: a sink
    /// that synchronises would drop a late publisher's frames otherwise.
    fn send_segment(&self, start: gst::ClockTime) {
        let obj = self.obj();
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(start);
        segment.set_time(start);
        segment.set_position(start);
        segment.set_base(obj.current_running_time().unwrap_or(gst::ClockTime::ZERO));
        gst::debug!(CAT, imp = self, "timeline: {segment:?}");
        if let Err(error) = obj.new_segment(segment.upcast_ref()) {
            gst::warning!(CAT, imp = self, "segment not taken: {error}");
        }
    }

    /// A demuxer behind us makes its pads at the first frames, after the pipeline
    /// asked for the latency: its sinks would run without any. By now it has them.
    pub(super) fn announce_latency(&self) {
        let obj = self.obj();
        let message = gst::message::Latency::builder().src(&*obj).build();
        // Without a bus there is nobody to ask again.
        let _ = obj.post_message(message);
    }

    fn withhold_at_eos(&self) {
        let mut stream = lock(&self.stream);
        let Some(output) = &mut stream.output else {
            return;
        };
        output.counts.withheld_at_eos += 1;
        if output.counts.withheld_at_eos == 1 {
            drop(stream);
            gst::warning!(
                CAT,
                imp = self,
                "the pipeline did not take what was queued within {DRAIN_DEADLINE:?} of the EOS \
                 event: the rest is left out"
            );
        }
    }

    /// After an unlock. A live source is unlocked to pause as well: if it already
    /// plays again, to return would make the base class stop its task for good.
    fn wait_until_playing(&self) -> Result<(), gst::FlowError> {
        let obj = self.obj();
        if obj.is_live() {
            obj.wait_playing().map(|_| ())
        } else {
            Err(gst::FlowError::Flushing)
        }
    }

    /// If an EOS event was taken over, its time starts when the base class asks for
    /// the next buffer: it does so in PLAYING only. `create` may get one in PAUSED.
    fn note_draining(&self) {
        if let Some(running) = &mut *lock(&self.running)
            && running.draining
        {
            let until = || Instant::now() + DRAIN_DEADLINE;
            running.drain_until.get_or_insert_with(until);
        }
    }

    /// An EOS event was taken over and its time is up.
    fn drain_is_over(&self) -> bool {
        let until = lock(&self.running).as_ref().and_then(|r| r.drain_until);
        until.is_some_and(|until| Instant::now() >= until)
    }

    /// What goes out next, waiting for it.
    pub(super) fn next_buffer(&self) -> Result<CreateSuccess, gst::FlowError> {
        let (route, latency_due) = {
            let mut stream = lock(&self.stream);
            if let Some(held) = &stream.held {
                return Ok(CreateSuccess::NewBuffer(held.buffer.clone()));
            }
            if let Some(next) = stream.next.take() {
                return Ok(stream.hold(next, true));
            }
            (
                stream.route.clone(),
                std::mem::take(&mut stream.latency_due),
            )
        };
        if latency_due {
            self.announce_latency();
        }
        let Some(route) = route else {
            return Err(gst::FlowError::Flushing);
        };
        // The base class may take back an unlock that came after the state change
        // which it belongs to. Of a pad that is being deactivated this flag is set
        // before the unlock, so one of the two is seen.
        let pad_flags = self.obj().src_pad().pad_flags();
        if pad_flags.contains(gst::PadFlags::FLUSHING) {
            return Err(gst::FlowError::Flushing);
        }
        self.note_draining();
        loop {
            match route.queue().pop() {
                Pop::Flushing(unlocked) => {
                    self.wait_until_playing()?;
                    route.queue().resume(unlocked);
                }
                Pop::Closed => return self.end(),
                Pop::Item(Item::Begin(publisher)) => {
                    gst::debug!(CAT, imp = self, "tags of {publisher:?} follow");
                    {
                        let mut stream = lock(&self.stream);
                        stream.publisher = Some(publisher.clone());
                        if let Some(output) = &mut stream.output {
                            output.begin();
                        }
                    }
                    signals::post(&self.obj(), signals::connected(&publisher));
                }
                Pop::Item(Item::Media(_)) if self.drain_is_over() => {
                    self.withhold_at_eos();
                    route.queue().withheld();
                }
                Pop::Item(Item::Media(media)) => match self.tag(media) {
                    Ok(created) => return Ok(created),
                    Err(NoTag::Withheld) => route.queue().withheld(),
                    Err(NoTag::Unsupported(codec)) => {
                        route.queue().withheld();
                        // The publisher is told, instead of left waiting.
                        route.end();
                        self.post_error_message(compat::error(codec));
                        return Err(gst::FlowError::Error);
                    }
                },
                Pop::Item(Item::End {
                    publisher,
                    reason,
                    last,
                }) => {
                    lock(&self.stream).publisher = None;
                    self.tell_of_end(&publisher, &reason);
                    if let Some(result) = self.publisher_left(reason, last) {
                        return result;
                    }
                }
            }
        }
    }
}
