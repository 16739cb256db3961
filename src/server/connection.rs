//! One connection: socket in, session, queue and socket out.

mod opening;
mod orders;
mod publishing;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::opening::{notice_dead_peers, open, rand_seed};
use self::orders::{obey, orders_for};
use super::buffer::ReadBuffer;
use super::event::{CONNECT_REJECTED, CloseReason, ConnectionEvent};
use super::login::{Credentials, Verdict};
use super::proxy::{self, ProxyError};
use super::publication::{EndReason, Publication};
use super::slot::{Slot, Standing};
use super::socket::{Socket, is_reset};
use crate::rtmp::{Connect, Error, Event, Session, Step};

/// How long a client may take to read a refusal or to close after its last word.
/// To close on it at once would be a reset, which discards what it has not read.
const LINGER: Duration = Duration::from_secs(2);

/// How long EOS waits for the last publisher to close after it said that it ends.
const GRACE: Duration = Duration::from_secs(1);

/// Bytes of one read after which the others have a turn: a worker that parses
/// megabytes in a row keeps them waiting. Of smaller reads, tokio's budget allows
/// 128.
const MUCH: usize = 128 << 10;

/// Bytes that are still read of a publisher that has to give way, until its socket
/// is empty: more than a receive buffer holds. One that always sends more would
/// never be done.
const LAST_WORDS: usize = 16 << 20;

struct Connection {
    socket: Socket,
    slot: Slot,
    session: Session,
    input: ReadBuffer,
    phase: Phase,
    /// What the client proved to know when it connected.
    login: Option<Credentials>,
    out_bytes_total: u64,
    backpressure: Duration,
    stalled_since: Option<Instant>,
    heard: Option<Instant>,
}

/// Each phase has its own idea of patience.
enum Phase {
    /// Until a publish is accepted.
    Arriving { deadline: Instant },
    Publishing {
        publication: Publication,
        /// Silence that counts as loss; none = never.
        timeout: Option<Duration>,
        /// It is to give way to this one, as soon as what has arrived is read, which
        /// is at most so many bytes.
        successor: Option<(SocketAddr, usize)>,
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

pub(super) async fn serve(stream: TcpStream, mut slot: Slot) {
    let deadline = Instant::now() + slot.shared.settings.publish_deadline;
    // Answers are few and small; waiting for more of them costs 40 ms each.
    let _ = stream.set_nodelay(true);
    notice_dead_peers(&stream);
    let (socket, input) = match open(stream, &mut slot, deadline).await {
        Ok(opened) => opened,
        Err(reason) => return slot.close(reason),
    };
    let session = Session::new(slot.shared.settings.session.clone(), rand_seed(&slot));
    let mut connection = Connection {
        socket,
        slot,
        session,
        input,
        phase: Phase::Arriving { deadline },
        login: None,
        out_bytes_total: 0,
        backpressure: Duration::ZERO,
        stalled_since: None,
        heard: None,
    };
    let reason = match connection.run().await {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    connection.finish(reason).await;
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
            if self.slot.standing() == Standing::Stranger && self.session.has_greeted() {
                self.slot.stand(Standing::Idle);
            }
            self.slot.past_handshake = self.session.is_past_handshake();
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
            match self.socket.try_read(self.input.room()) {
                Ok(0) => return Err(CloseReason::Finished),
                Ok(n) => {
                    self.heard = Some(Instant::now());
                    self.count_last_words(n)?;
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
                    self.count_last_words(usize::MAX)?;
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
            match step {
                Ok(Step::NeedMore) => return Ok(()),
                Ok(Step::Event(event)) => self.event(event).await?,
                // To the session it looks like HTTP, or like nothing at all.
                Err(Error::Handshake(_)) if proxy::is_header(self.input.unread()) => {
                    return Err(CloseReason::Proxy(ProxyError::Unexpected));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), CloseReason> {
        match event {
            Event::Connect(connect) => self.connect(&connect),
            Event::Publish(request) => self.publish(request).await,
            Event::Media(media) => self.media(media).await,
            Event::Unpublish(reason) => {
                self.unpublish(EndReason::Unpublished(reason));
                Ok(())
            }
        }
    }

    fn connect(&mut self, connect: &Connect) -> Result<(), CloseReason> {
        let shared = &self.slot.shared;
        let (description, reason) = match shared.logins.judge(connect, &shared.routes()) {
            Verdict::Admitted(login) => {
                self.login = login;
                self.session.accept_connect();
                self.slot.notify(ConnectionEvent::Connected(connect));
                return Ok(());
            }
            Verdict::Asked(description) => (description, CloseReason::LoginNeeded),
            Verdict::Failed {
                why,
                description,
                closest,
            } => {
                shared.rejected.fetch_add(1, Ordering::Relaxed);
                self.slot.follow(closest.observer().clone());
                self.slot.notify(ConnectionEvent::LoginFailed(connect, why));
                (description, CloseReason::LoginFailed)
            }
        };
        self.session.reject_connect(CONNECT_REJECTED, &description);
        Err(reason)
    }

    /// A publisher that has to give way does so when it has been heard out: after
    /// `n` more bytes, or nothing left to read.
    fn count_last_words(&mut self, n: usize) -> Result<(), CloseReason> {
        let Phase::Publishing {
            publication,
            successor: successor @ Some(_),
            ..
        } = &mut self.phase
        else {
            return Ok(());
        };
        let (newcomer, left) = successor.as_mut().expect("just seen");
        *left = left.saturating_sub(n);
        if *left > 0 {
            return Ok(());
        }
        if !publication.route().has_successor() {
            // It could not wait so long.
            *successor = None;
            return Ok(());
        }
        let text = "another publisher took over this stream";
        self.session.end_publish("NetStream.Publish.BadName", text);
        Err(CloseReason::TakenOver(*newcomer))
    }

    /// Writes as much of the waiting answers, all in one batch, as the socket
    /// takes at once. The rest goes when it can: a peer that does not read must
    /// not keep us from reading.
    fn flush(&mut self) -> Result<(), CloseReason> {
        flush(
            &mut self.socket,
            &mut self.session,
            &mut self.out_bytes_total,
        )
    }

    /// Until the socket has something to read, or room for what waits.
    async fn wait(&mut self) -> Result<(), CloseReason> {
        self.socket.acknowledge_at_once();
        if !matches!(self.phase, Phase::Publishing { .. }) {
            // Thousands may wait like this, and none of them for a burst.
            self.input.release();
            self.socket.release();
            if self.session.output().is_empty() {
                *self.session.output_mut() = BytesMut::new();
            }
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
        let newcomer = tokio::select! {
            ready = self.socket.ready(interest) => {
                ready?;
                None
            }
            () = until(deadline) => return Err(self.out_of_patience()),
            orders = orders_for(publisher.as_deref()) => obey(&mut self.session, orders)?,
        };
        self.make_way_for(newcomer);
        Ok(())
    }

    fn make_way_for(&mut self, newcomer: Option<SocketAddr>) {
        if let (Some(newcomer), Phase::Publishing { successor, .. }) = (newcomer, &mut self.phase) {
            *successor = Some((newcomer, LAST_WORDS));
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
                CloseReason::NoPublish(self.slot.shared.settings.publish_deadline.as_secs())
            }
            Phase::Publishing { timeout, .. } => {
                CloseReason::Silent(timeout.unwrap_or_default().as_secs())
            }
            Phase::Leaving { .. } => CloseReason::Lingered,
        }
    }

    /// Ends the publication, if any, and gives the peer time to read why.
    async fn finish(mut self, reason: CloseReason) {
        // A balancer that looks whether there is somebody says no more than a PROXY
        // header and a TLS handshake, and hangs up as it likes.
        if self.slot.shared.settings.proxy_protocol
            && self.session.counters().in_bytes_total == 0
            && self.input.unread().is_empty()
            && matches!(reason, CloseReason::Finished | CloseReason::Socket(_))
        {
            self.slot.is_health_check = true;
        }
        self.unpublish(match &reason {
            CloseReason::Finished => EndReason::Finished,
            CloseReason::TakenOver(newcomer) => EndReason::TakenOver(*newcomer),
            other => EndReason::Lost(other.to_string()),
        });
        // Nothing is read any more but into the void.
        self.input.keep(0);
        self.input.release();
        self.socket.release();
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
            self.socket.ready(Interest::WRITABLE).await?;
            self.flush()?;
        }
        self.socket.shutdown().await?;
        Ok(self.socket.drain().await?)
    }
}

fn flush(socket: &mut Socket, session: &mut Session, written: &mut u64) -> Result<(), CloseReason> {
    while !session.output().is_empty() {
        match socket.try_write(session.output()) {
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

/// Never, if there is no deadline.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
