//! The streaming thread: from the queue to the pad.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;

use super::{DRAIN_DEADLINE, Rtmp2ServerSrc, lock};
use crate::queue::{Found, Hand, Tally};
use crate::rtmp::Media;
use crate::rtmp2serversrc::compat::{self, NoTag};
use crate::rtmp2serversrc::farewell::Farewell;
use crate::rtmp2serversrc::output::{Output, Tag};
use crate::rtmp2serversrc::{CAT, signals};
use crate::server::{EndReason, Item, Publisher, Route};

#[derive(Default)]
pub(super) struct Stream {
    /// Made at start.
    pub(super) output: Option<Output>,
    /// Where the tags come from. The same as the running element's.
    pub(super) route: Option<Arc<Route>>,
    /// What was taken from the route's queue and has not gone out.
    hand: Hand<Item>,
    farewell: Farewell,
    /// The first tag, behind the file header.
    next: Option<gst::Buffer>,
    /// The buffer that `create` returned last, until the pad has seen it. Since
    /// 1.24, the base class of a live source drops it if the state left PLAYING
    /// in between, and asks again.
    held: Option<Held>,
    /// Downstream has got its first frame of a kind: see `announce_latency`.
    latency_due: bool,
    /// There was the first tag of a further track, which the log is to say.
    warning_due: bool,
    /// Whose tags are going out.
    publisher: Option<Arc<Publisher>>,
    /// How the last publisher left: why EOS follows.
    left: Option<EndReason>,
    /// Until when the pipeline may take what is queued, once an EOS event was taken over. Counts from when it takes data,
    /// which it does not while it is paused.
    drain_until: Option<Instant>,
}

struct Held {
    buffer: gst::Buffer,
    is_tag: bool,
}

impl Stream {
    pub(super) fn new(output: Output, route: Arc<Route>) -> Self {
        Self {
            output: Some(output),
            route: Some(route),
            ..Self::default()
        }
    }

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
        if self.held.take().is_some_and(|held| held.is_tag) {
            self.hand.passed();
        }
    }

    /// What became of the tags so far.
    pub(super) fn tally(&self) -> Tally {
        let route = self.route.as_ref();
        route.map_or_else(Tally::default, |route| route.queue().tally(&self.hand))
    }

    /// The file header is out.
    fn has_begun(&self) -> bool {
        self.output.as_ref().is_some_and(Output::header_is_out)
    }

    fn drain_is_over(&self) -> bool {
        self.drain_until
            .is_some_and(|until| Instant::now() >= until)
    }

    fn next_item(&mut self) -> Option<Item> {
        let queue = self.route.as_ref()?.queue();
        self.farewell.next(|| queue.pop(&mut self.hand))
    }

    /// Turns one message into a tag.
    fn tag(&mut self, media: Media, running_time: impl Fn() -> Option<u64>) -> Result<Tag, NoTag> {
        let goes_on = self.publisher.as_ref().is_some_and(|p| p.goes_on);
        let output = self.output.as_mut().ok_or(NoTag::Withheld)?;
        let had_tracks = output.counts.withheld_compat.has_other_tracks();
        let tag = output.tag(media, goes_on, running_time);
        self.warning_due |= !had_tracks && output.counts.withheld_compat.has_other_tracks();
        let tag = tag?;
        self.latency_due |= tag.is_new_stream;
        Ok(tag)
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

    /// Puts a tag out, and before it what has to go before it.
    fn put_out(&self, tag: Tag) -> CreateSuccess {
        let (caps, header, publisher) = {
            let stream = &mut *lock(&self.stream);
            let output = stream.output.as_mut();
            let (caps, header) = output.map_or((None, None), |output| {
                let caps = tag.headers_changed.then(|| output.caps());
                (caps, output.header())
            });
            (caps, header, stream.publisher.clone())
        };
        let obj = self.obj();
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
        match header {
            Some(header) => {
                stream.next = Some(tag.buffer);
                stream.hold(header, false)
            }
            None => stream.hold(tag.buffer, true),
        }
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
        stream.hand.withheld();
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

    /// Waits for something to take. False if nothing will come any more.
    fn wait(&self, route: &Route) -> Result<bool, gst::FlowError> {
        loop {
            // The base class may take back an unlock that came after the state change
            // which it belongs to. Of a pad that is being deactivated this flag is set
            // before the unlock, so one of the two is seen.
            let pad_flags = self.obj().src_pad().pad_flags();
            if pad_flags.contains(gst::PadFlags::FLUSHING) {
                return Err(gst::FlowError::Flushing);
            }
            match route.queue().wait() {
                Found::Items => return Ok(true),
                Found::Closed => return Ok(false),
                Found::Flushing(unlocked) => {
                    self.wait_until_playing()?;
                    route.queue().resume(unlocked);
                }
            }
        }
    }

    /// What goes out next, waiting for it.
    pub(super) fn next_buffer(&self) -> Result<CreateSuccess, gst::FlowError> {
        let mut stream = lock(&self.stream);
        if let Some(held) = &stream.held {
            return Ok(CreateSuccess::NewBuffer(held.buffer.clone()));
        }
        if let Some(next) = stream.next.take() {
            return Ok(stream.hold(next, true));
        }
        if std::mem::take(&mut stream.latency_due) {
            drop(stream);
            self.announce_latency();
            stream = lock(&self.stream);
        }
        // The base class asks for a buffer in PLAYING only. `create` may get one in PAUSED.
        if self.draining.load(Ordering::Relaxed) {
            let until = || Instant::now() + DRAIN_DEADLINE;
            stream.drain_until.get_or_insert_with(until);
        }
        let running_time = || {
            self.obj()
                .current_running_time()
                .map(gst::ClockTime::mseconds)
        };
        // The lock is held for what is nearly always the case, a plain tag from the hand, and for nothing that waits or
        // calls out.
        loop {
            if std::mem::take(&mut stream.warning_due) {
                drop(stream);
                gst::warning!(CAT, imp = self, "{}", compat::TRACKS_LEFT_OUT);
                stream = lock(&self.stream);
            }
            match stream.next_item() {
                Some(Item::Media(_)) if stream.drain_is_over() => {
                    drop(stream);
                    self.withhold_at_eos();
                }
                Some(Item::Media(media)) => match stream.tag(media, running_time) {
                    Ok(tag) if tag.is_plain() && stream.has_begun() => {
                        return Ok(stream.hold(tag.buffer, true));
                    }
                    Ok(tag) => {
                        drop(stream);
                        return Ok(self.put_out(tag));
                    }
                    Err(NoTag::Withheld) => {
                        stream.hand.withheld();
                        continue;
                    }
                    Err(NoTag::Unsupported(codec)) => {
                        stream.hand.withheld();
                        drop(stream);
                        // The publisher is told, instead of left waiting.
                        if let Some(route) = self.route() {
                            route.end();
                        }
                        self.post_error_message(compat::error(codec));
                        return Err(gst::FlowError::Error);
                    }
                },
                Some(Item::Begin(publisher)) => {
                    stream.publisher = Some(publisher.clone());
                    if let Some(output) = &mut stream.output {
                        output.begin();
                    }
                    drop(stream);
                    gst::debug!(CAT, imp = self, "tags of {publisher:?} follow");
                    signals::post(&self.obj(), signals::connected(&publisher));
                }
                Some(Item::End {
                    publisher,
                    reason,
                    last,
                }) => {
                    stream.publisher = None;
                    drop(stream);
                    self.tell_of_end(&publisher, &reason);
                    if let Some(result) = self.publisher_left(reason, last) {
                        return result;
                    }
                }
                None => {
                    let route = stream.route.clone().ok_or(gst::FlowError::Flushing)?;
                    drop(stream);
                    let has_more = self.wait(&route)?;
                    stream = lock(&self.stream);
                    if has_more {
                        route.queue().take(&mut stream.hand);
                    } else if !stream.farewell.release() {
                        drop(stream);
                        return self.end();
                    }
                    continue;
                }
            }
            stream = lock(&self.stream);
        }
    }
}
