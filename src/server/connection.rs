//! One connection: socket in, session, queue and socket out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::buffer::ReadBuffer;
use super::event::{CloseReason, ConnectionEvent, Rejection};
use super::listener::{Slot, Standing};
use super::publication::{EndReason, Order, Publication, Publisher, PublisherStats};
use super::routing::{self, Claim};
use crate::queue::Closed;
use crate::rtmp::{Event, Media, PublishRequest, Session, Step};

/// How long a client may take to read a refusal or to close after its last word.
/// To close on it at once would be a reset, which discards what it has not read.
const LINGER: Duration = Duration::from_secs(2);

/// How long the host application may think about a publisher.
const DECISION: Duration = Duration::from_secs(5);

/// How long EOS waits for the last publisher to close after it said that it ends.
const GRACE: Duration = Duration::from_secs(1);

/// Bytes of one read after which the others have a turn: a worker that parses
/// megabytes in a row keeps them waiting. Of smaller reads, tokio's budget allows
/// 128.
const MUCH: usize = 128 << 10;

struct Connection {
    stream: TcpStream,
    slot: Slot,
    session: Session,
    input: ReadBuffer,
    phase: Phase,
    out_bytes_total: u64,
    backpressure: Duration,
    stalled_since: Option<Instant>,
}

/// Each phase has its own idea of patience.
enum Phase {
    /// Until a publish is accepted.
    Arriving { deadline: Instant },
    Publishing {
        publication: Publication,
        /// Silence that counts as loss; none = never.
        timeout: Option<Duration>,
    },
    /// Published before. The client is to close, and may publish again.
    Leaving {
        deadline: Instant,
        /// What it published, if it was the last: EOS, and with it most likely the
        /// end of this server, waits for the client to close. rtmp2sink takes it
        /// for an error if the server is faster.
        last: Option<Publication>,
    },
}

pub(super) async fn serve(stream: TcpStream, slot: Slot) {
    slot.notify(ConnectionEvent::Opened);
    // Answers are few and small; waiting for more of them costs 40 ms each.
    let _ = stream.set_nodelay(true);
    let deadline = Instant::now() + slot.shared.publish_deadline;
    let session = Session::new(slot.shared.session.clone(), rand_seed(&slot));
    let mut connection = Connection {
        stream,
        slot,
        session,
        input: ReadBuffer::new(),
        phase: Phase::Arriving { deadline },
        out_bytes_total: 0,
        backpressure: Duration::ZERO,
        stalled_since: None,
    };
    let reason = match connection.run().await {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    connection.finish(reason).await;
}

/// S1 only has to differ from one connection to the next.
fn rand_seed(slot: &Slot) -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    let mut seed = [0; 32];
    for (n, part) in seed.chunks_exact_mut(8).enumerate() {
        let hash = RandomState::new().hash_one((n, slot.peer));
        part.copy_from_slice(&hash.to_ne_bytes());
    }
    seed
}

impl Connection {
    async fn run(&mut self) -> Result<std::convert::Infallible, CloseReason> {
        let mut read = 0;
        loop {
            let parsed = self.parse().await;
            if let Phase::Publishing { publication, .. } = &self.phase {
                // Once for all tags of a read, not for each.
                publication.wake();
                if read >= MUCH {
                    // If the streaming thread has to share this core, now is its turn: the
                    // tags are still in the core's cache.
                    std::thread::yield_now();
                }
            }
            if self.slot.standing() == Standing::Stranger && self.session.is_past_handshake() {
                self.slot.stand(Standing::Idle);
            }
            // Also after an error: what it wrote tells the peer why.
            let waited = !self.session.output().is_empty();
            self.flush()?;
            parsed?;
            self.update_stats();
            // A peer that never lets us wait runs out of time as well.
            let now = Instant::now();
            if self.deadline(now).is_some_and(|deadline| deadline <= now) {
                return Err(self.out_of_patience());
            }
            let waits = !self.session.output().is_empty();
            if waited && !waits && !self.input.unread().is_empty() {
                // The answers may have held up what comes after them.
                continue;
            }
            if waits && self.input.is_full() {
                // Requests that nobody may answer yet leave no room for more.
                self.wait().await?;
                continue;
            }
            match self.stream.try_read(self.input.room()) {
                Ok(0) => return Err(CloseReason::Finished),
                Ok(n) => {
                    // A stranger gets no more memory for talking fast.
                    let may_grow = matches!(self.phase, Phase::Publishing { .. });
                    self.input.filled(n, may_grow);
                    read = n;
                    // A peer that always has more must not starve the others.
                    if n < MUCH {
                        tokio::task::coop::consume_budget().await;
                    } else {
                        tokio::task::yield_now().await;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    read = 0;
                    self.wait().await?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Takes everything out of the buffer that can be taken.
    async fn parse(&mut self) -> Result<(), CloseReason> {
        loop {
            let mut unread = self.input.unread();
            let step = self.session.poll(&mut unread);
            let left = unread.len();
            self.input.keep(left);
            match step? {
                Step::NeedMore => return Ok(()),
                Step::Event(event) => self.event(event).await?,
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), CloseReason> {
        match event {
            Event::Connected(connect) => {
                self.slot.notify(ConnectionEvent::Connected(&connect));
                Ok(())
            }
            Event::Publish(request) => self.publish(request).await,
            Event::Media(media) => self.media(media).await,
            Event::Unpublish(reason) => {
                self.unpublish(EndReason::Unpublished(reason));
                Ok(())
            }
        }
    }

    async fn publish(&mut self, request: PublishRequest) -> Result<(), CloseReason> {
        // What was answered so far must not wait for anybody's decision.
        self.flush()?;
        if let Phase::Leaving { last, .. } = &mut self.phase {
            // What it published before is over now.
            drop(last.take());
        }
        let claimed = routing::claim(&self.slot.shared.routes, &request);
        // Nobody makes way with a route in its hands, nor takes one on the way out:
        // that would be the end of a publication, and so of the stream.
        if claimed.is_ok() && !self.slot.stand(Standing::Publishing) {
            return Err(CloseReason::Evicted);
        }
        let admitted = match claimed {
            Ok(claim) => self.admit(claim, &request).await,
            Err(rejection) => Err(rejection),
        };
        match admitted {
            Ok(publication) => {
                let timeout = publication.route().settings().timeout;
                self.session.accept_publish();
                let publisher = publication.publisher();
                self.slot.notify(ConnectionEvent::Published(publisher));
                self.phase = Phase::Publishing {
                    publication,
                    timeout: Some(timeout).filter(|t| !t.is_zero()),
                };
                Ok(())
            }
            Err(rejection) => {
                self.slot.stand(Standing::Idle);
                let shared = &self.slot.shared;
                shared.rejected.fetch_add(1, Ordering::Relaxed);
                self.session
                    .reject_publish(rejection.code(), &rejection.to_string());
                let event = ConnectionEvent::Rejected(&request, &rejection);
                self.slot.notify(event);
                Err(CloseReason::Rejected)
            }
        }
    }

    /// Asks whoever watches a route, and takes it.
    async fn admit(
        &self,
        claim: Claim,
        request: &PublishRequest,
    ) -> Result<Publication, Rejection> {
        if let Some(gate) = claim.route().watched_gate() {
            let (peer, request) = (self.slot.peer, request.clone());
            let asked = tokio::task::spawn_blocking(move || gate.admit(peer, &request));
            let decided = tokio::select! {
                biased;
                decided = tokio::time::timeout(DECISION, asked) => decided,
                () = hung_up(&self.stream) => return Err(Rejection::Gone),
            };
            match decided {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Err(Rejection::Refused),
                // Too late, or it panicked: nobody said yes.
                Ok(Err(_)) | Err(_) => return Err(Rejection::Undecided),
            }
        }
        Publication::begin(claim, self.slot.peer, request)
            .await
            .map_err(|_| Rejection::Ended)
    }

    async fn media(&mut self, media: Media) -> Result<(), CloseReason> {
        // The session hands out media between accept and unpublish only.
        let Phase::Publishing { publication, .. } = &self.phase else {
            return Ok(());
        };
        let pushed = match publication.try_push(media) {
            Ok(None) => Ok(()),
            Ok(Some(media)) => self.push_when_there_is_room(media).await?,
            Err(closed) => Err(closed),
        };
        pushed.map_err(|_| {
            self.session
                .end_publish("NetStream.Publish.Rejected", "the pipeline has ended");
            CloseReason::PipelineEnded
        })
    }

    /// Back-pressure: while this waits, the socket is not read.
    async fn push_when_there_is_room(
        &mut self,
        media: Media,
    ) -> Result<Result<(), Closed>, CloseReason> {
        // The answers so far must not wait for the pipeline, nor the figures.
        self.flush()?;
        let since = Instant::now();
        self.stalled_since = Some(since);
        self.update_stats();
        let Phase::Publishing { publication, .. } = &self.phase else {
            return Ok(Ok(()));
        };
        let publisher = publication.publisher().clone();
        let push = publication.push(media);
        let mut push = std::pin::pin!(push);
        let pushed = loop {
            // An order to leave is obeyed at once, full queue or not.
            tokio::select! {
                pushed = &mut push => break pushed,
                orders = publisher.orders() => {
                    obey(&mut self.session, orders)?;
                    flush(&self.stream, &mut self.session, &mut self.out_bytes_total)?;
                }
            }
        };
        self.backpressure += since.elapsed();
        self.stalled_since = None;
        self.update_stats();
        Ok(pushed)
    }

    fn unpublish(&mut self, reason: EndReason) {
        self.update_stats();
        let leaving = Phase::Leaving {
            deadline: Instant::now() + LINGER,
            last: None,
        };
        let Phase::Publishing {
            mut publication, ..
        } = std::mem::replace(&mut self.phase, leaving)
        else {
            return;
        };
        let publisher = Arc::clone(publication.publisher());
        let event = ConnectionEvent::Unpublished(&publisher, &reason);
        self.slot.notify(event);
        let waits = reason.is_clean() && !publisher.goes_on;
        publication.wake();
        publication.set_reason(reason);
        if waits {
            self.phase = Phase::Leaving {
                deadline: Instant::now() + GRACE,
                last: Some(publication),
            };
        } else {
            drop(publication);
            self.slot.stand(Standing::Idle);
        }
    }

    fn update_stats(&self) {
        if let Phase::Publishing { publication, .. } = &self.phase {
            publication.publisher().update(PublisherStats {
                session: self.session.counters(),
                out_bytes_total: self.out_bytes_total,
                backpressure: self.backpressure,
                stalled_since: self.stalled_since.map(Instant::into_std),
            });
        }
    }

    /// Writes as much of the waiting answers, all in one batch, as the socket
    /// takes at once. The rest goes when it can: a peer that does not read must
    /// not keep us from reading.
    fn flush(&mut self) -> Result<(), CloseReason> {
        flush(&self.stream, &mut self.session, &mut self.out_bytes_total)
    }

    /// Until the socket has something to read, or room for what waits.
    async fn wait(&mut self) -> Result<(), CloseReason> {
        acknowledge_at_once(&self.stream);
        if !matches!(self.phase, Phase::Publishing { .. }) {
            // Thousands may wait like this, and none of them for a burst.
            self.input.release();
        }
        let deadline = self.deadline(Instant::now());
        let interest = match (self.session.output().is_empty(), self.input.is_full()) {
            (true, _) => Interest::READABLE,
            (false, false) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
        };
        let publisher = match &self.phase {
            Phase::Publishing { publication, .. } => Some(publication.publisher().clone()),
            Phase::Arriving { .. } | Phase::Leaving { .. } => None,
        };
        tokio::select! {
            ready = self.stream.ready(interest) => {
                ready?;
                Ok(())
            }
            () = until(deadline) => Err(self.out_of_patience()),
            orders = orders_for(publisher.as_deref()) => obey(&mut self.session, orders),
        }
    }

    /// When the peer's time is up if nothing comes from `now` on.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        match &self.phase {
            Phase::Arriving { deadline } | Phase::Leaving { deadline, .. } => Some(*deadline),
            Phase::Publishing { timeout, .. } => timeout.and_then(|t| now.checked_add(t)),
        }
    }

    fn out_of_patience(&self) -> CloseReason {
        match &self.phase {
            Phase::Arriving { .. } => {
                CloseReason::NoPublish(self.slot.shared.publish_deadline.as_secs())
            }
            Phase::Publishing { timeout, .. } => {
                CloseReason::Silent(timeout.unwrap_or_default().as_secs())
            }
            Phase::Leaving { .. } => CloseReason::Lingered,
        }
    }

    /// Ends the publication, if any, and gives the peer time to read why.
    async fn finish(mut self, reason: CloseReason) {
        self.unpublish(match &reason {
            CloseReason::Finished => EndReason::Finished,
            other => EndReason::Lost(other.to_string()),
        });
        // Who closed, or was given its time already, reads nothing any more.
        if !matches!(
            reason,
            CloseReason::Finished | CloseReason::Socket(_) | CloseReason::Lingered
        ) {
            let _ = timeout_at(Instant::now() + LINGER, self.linger()).await;
        }
        self.slot.close(reason);
    }

    /// Sends what waits, says that nothing follows, and reads into the void
    /// until the peer closes: bytes that arrive at a closed socket reset it, and
    /// a reset takes the last words back.
    async fn linger(&mut self) -> Result<(), CloseReason> {
        while !self.session.output().is_empty() {
            self.stream.writable().await?;
            self.flush()?;
        }
        shutdown(&self.stream);
        let mut void = [0; 4096];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut void) {
                Ok(0) => return Ok(()),
                Ok(_) => tokio::task::coop::consume_budget().await,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

fn flush(stream: &TcpStream, session: &mut Session, written: &mut u64) -> Result<(), CloseReason> {
    while !session.output().is_empty() {
        match stream.try_write(session.output()) {
            Ok(n) => {
                *written += n as u64;
                session.output_mut().advance(n);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // It may have closed its side and still have sent us data.
            Err(e) if is_reset(&e) => {
                session.output_mut().clear();
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// The peer closed its side. Unread data hide that from a read, so the socket is
/// asked for its state now and then.
async fn hung_up(stream: &TcpStream) {
    while !matches!(stream.ready(Interest::READABLE).await, Ok(ready) if ready.is_read_closed()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Never, if there is no deadline.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn orders_for(publisher: Option<&Publisher>) -> Vec<Order> {
    match publisher {
        Some(publisher) => publisher.orders().await,
        None => std::future::pending().await,
    }
}

fn obey(session: &mut Session, orders: Vec<Order>) -> Result<(), CloseReason> {
    for order in orders {
        match order {
            Order::Disconnect => {
                let text = "the server's application ended this publication";
                session.end_publish("NetStream.Publish.Rejected", text);
                return Err(CloseReason::Disconnected);
            }
            Order::Leave => {
                session.end_publish("NetStream.Publish.Rejected", "the pipeline has ended");
                return Err(CloseReason::PipelineEnded);
            }
            Order::Reconnect { tc_url } => {
                session.request_reconnect(tc_url.as_deref(), "please connect again");
            }
        }
    }
    Ok(())
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// ffmpeg and librtmp leave Nagle's algorithm on and send a command, or a tag, in
/// several writes: each next one waits for our TCP acknowledgement, which Linux
/// holds back for 40 ms once a connection looks like a dialogue. It falls back to
/// that by itself, so this is to be said whenever we are about to wait.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge_at_once(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_tcp_quickack(true);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge_at_once(_: &TcpStream) {}

/// Closes our direction only. tokio's own shutdown wants a mutable stream and is
/// no more than this.
fn shutdown(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}
