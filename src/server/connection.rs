//! One connection: socket in, session, queue and socket out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::admission::{Candidate, Refusal};
use super::buffer::ReadBuffer;
use super::event::{CONNECT_REJECTED, CloseReason, ConnectionEvent};
use super::listener::{Slot, Standing};
use super::login::{Credentials, Verdict};
use super::proxy::{self, Failure, Origin, ProxyError};
use super::publication::{EndReason, Order, Publication, Publisher, PublisherStats};
use super::socket::{Socket, is_reset};
use crate::queue::Closed;
use crate::rtmp::{Connect, Error, Event, Media, PublishRequest, Session, Step};

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

/// What is between TCP and RTMP. What was read of RTMP already comes with it.
async fn open(
    stream: TcpStream,
    slot: &mut Slot,
    deadline: Instant,
) -> Result<(Socket, ReadBuffer), CloseReason> {
    let mut received = ReadBuffer::new();
    if slot.shared.settings.proxy_protocol {
        let seconds = slot.shared.settings.publish_deadline.as_secs();
        match proxy::read_header(&stream, &mut received, deadline, seconds).await {
            Ok(Origin::Client(client)) => slot.speaks_for(client),
            Ok(Origin::Unknown) => {}
            // It may look as deep as it likes, into TLS and the handshake.
            Ok(Origin::Local) => slot.is_health_check = true,
            Err(Failure::Silent) => {
                slot.is_health_check = true;
                return Err(CloseReason::Finished);
            }
            Err(Failure::Refused(error)) => return Err(CloseReason::Proxy(error)),
        }
    }
    slot.notify(ConnectionEvent::Opened);
    Ok(match &slot.shared.certificates {
        None => (Socket::Plain(stream), received),
        Some(certificates) => {
            let observer = slot.shared.any_observer();
            let socket = certificates.accept(stream, received, observer).await?;
            (socket, ReadBuffer::new())
        }
    })
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

    async fn publish(&mut self, request: PublishRequest) -> Result<(), CloseReason> {
        // What was answered so far must not wait for anybody's decision.
        self.flush()?;
        if let Phase::Leaving { last, .. } = &mut self.phase {
            // What it published before is over now.
            drop(last.take());
        }
        let mut candidate = Candidate {
            slot: &mut self.slot,
            socket: &self.socket,
            request: &request,
            login: self.login.as_ref(),
        };
        match candidate.admit().await {
            Ok(publication) => {
                let timeout = publication.route().settings().timeout;
                self.session.accept_publish();
                let observer = publication.route().observer().clone();
                self.slot.follow(observer);
                let publisher = publication.publisher();
                self.slot.notify(ConnectionEvent::Published(publisher));
                self.phase = Phase::Publishing {
                    publication,
                    timeout: Some(timeout).filter(|t| !t.is_zero()),
                    successor: None,
                };
                Ok(())
            }
            Err(Refusal::Evicted) => Err(CloseReason::Evicted),
            Err(Refusal::Rejected { rejection, closest }) => {
                self.slot.stand(Standing::Idle);
                let shared = &self.slot.shared;
                shared.rejected.fetch_add(1, Ordering::Relaxed);
                self.session
                    .reject_publish(rejection.code(), &rejection.to_string());
                if let Some(route) = closest {
                    self.slot.follow(route.observer().clone());
                }
                let event = ConnectionEvent::Rejected(&request, &rejection);
                self.slot.notify(event);
                Err(CloseReason::Rejected)
            }
        }
    }

    /// A publisher that has to give way does so when it has been heard out: after
    /// `n` more bytes, or nothing left to read.
    fn count_last_words(&mut self, n: usize) -> Result<(), CloseReason> {
        let Phase::Publishing {
            successor: Some((newcomer, left)),
            ..
        } = &mut self.phase
        else {
            return Ok(());
        };
        *left = left.saturating_sub(n);
        if *left > 0 {
            return Ok(());
        }
        let text = "another publisher took over this stream";
        self.session.end_publish("NetStream.Publish.BadName", text);
        Err(CloseReason::TakenOver(*newcomer))
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
        let mut newcomer = None;
        let pushed = {
            let Phase::Publishing { publication, .. } = &self.phase else {
                return Ok(Ok(()));
            };
            let publisher = publication.publisher().clone();
            let mut push = std::pin::pin!(publication.push(media));
            loop {
                // An order to leave is obeyed at once, full queue or not.
                tokio::select! {
                    pushed = &mut push => break pushed,
                    orders = publisher.orders() => {
                        newcomer = obey(&mut self.session, orders)?.or(newcomer);
                        flush(&mut self.socket, &mut self.session, &mut self.out_bytes_total)?;
                    }
                }
            }
        };
        self.make_way_for(newcomer);
        self.backpressure += since.elapsed();
        self.stalled_since = None;
        // It may have had more to say all the time.
        self.heard = Some(Instant::now());
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
        if waits {
            publisher.set_leaving();
        }
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
                heard: self.heard.map(Instant::into_std),
            });
        }
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

async fn orders_for(publisher: Option<&Publisher>) -> Vec<Order> {
    match publisher {
        Some(publisher) => publisher.orders().await,
        None => std::future::pending().await,
    }
}

/// Does what the host application wants; returns for whom the publisher has to make
/// way, if it has to.
fn obey(session: &mut Session, orders: Vec<Order>) -> Result<Option<SocketAddr>, CloseReason> {
    let mut newcomer = None;
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
            Order::GiveWay { newcomer: peer } => newcomer = Some(peer),
            Order::Reconnect { tc_url } => {
                session.request_reconnect(tc_url.as_deref(), "please connect again");
            }
        }
    }
    Ok(newcomer)
}

/// A peer that lost its power or its network sends no FIN. The kernel asks it whether
/// it is there, so that with `timeout` 0, or while its data are not wanted, its
/// connection does not stay for ever: after 10 s of silence, three times, 5 s apart.
/// A living one answers that, whatever its encoder does.
fn notice_dead_peers(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5));
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    let keepalive = keepalive.with_retries(3);
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&keepalive);
    // The same for what we sent and it did not acknowledge.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(25)));
}
