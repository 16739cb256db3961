//! One publisher's stay on a route, from acceptance to the end mark.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::routing::{Claim, Route};
use crate::queue::Closed;
use crate::rtmp::{Counters, Media, PublishRequest, UnpublishReason};

/// What travels through a route's queue.
#[derive(Debug)]
pub enum Item {
    /// A publisher was accepted; its media follow.
    Begin(Arc<Publisher>),
    Media(Media),
    /// It is gone, and everything that it sent is in front of this mark.
    End {
        publisher: Arc<Publisher>,
        reason: EndReason,
        /// The route takes no further publisher.
        last: bool,
    },
}

/// Who publishes.
pub struct Publisher {
    pub peer: SocketAddr,
    /// Its connection is encrypted.
    pub tls: bool,
    pub application: String,
    /// As much of the stream key as may be shown: `***` behind its first four characters, if it has 16 or more.
    pub masked_key: String,
    /// The encoder's name for itself.
    pub flash_ver: String,
    pub since: Instant,
    /// Another publisher may follow: as it was set when this one came.
    pub goes_on: bool,
    /// It acts on a request to reconnect (E-RTMP v2).
    pub can_reconnect: bool,
    /// Whom it took the route over from.
    pub taken_from: Option<SocketAddr>,
    /// Tells whether another one publishes the same: see [`identity`].
    pub(super) identity: u64,
    /// It said goodbye, and its connection is about to close.
    leaving: AtomicBool,
    stats: Mutex<PublisherStats>,
    /// Something was heard of it, or it is gone.
    stirred: Notify,
    orders: Mutex<Vec<Order>>,
    ordered: Notify,
}

/// What the host application wants of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Disconnect,
    /// There is nobody left to send to.
    Leave,
    /// Another publisher takes over; what has arrived until now is still wanted.
    GiveWay {
        newcomer: SocketAddr,
    },
    Reconnect {
        tc_url: Option<String>,
    },
}

/// Figures of a publisher's connection, brought up to date with every read.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublisherStats {
    pub session: Counters,
    /// Bytes written to its socket.
    pub out_bytes_total: u64,
    /// When something came from it last; none = not since it was accepted.
    pub(super) heard: Option<Instant>,
    /// Time that it was not read from because the queue was full: up to the last
    /// update, and since when that has been so if it is so now.
    pub(super) backpressure: Duration,
    pub(super) stalled_since: Option<Instant>,
}

impl PublisherStats {
    /// Time that it was not read from because the queue was full.
    pub fn backpressure(&self) -> Duration {
        let now = self.stalled_since.map_or(Duration::ZERO, |s| s.elapsed());
        self.backpressure + now
    }
}

impl Publisher {
    pub fn stats(&self) -> PublisherStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends its publication and closes its connection.
    pub fn disconnect(&self) {
        self.order(Order::Disconnect);
    }

    /// Asks it to connect again, to `tc_url` if given; it goes on publishing until
    /// it does. False if it can't be asked.
    pub fn request_reconnect(&self, tc_url: Option<String>) -> bool {
        if self.can_reconnect {
            self.order(Order::Reconnect { tc_url });
        }
        self.can_reconnect
    }

    pub(super) fn leave(&self) {
        self.order(Order::Leave);
    }

    pub(super) fn give_way(&self, newcomer: SocketAddr) {
        self.order(Order::GiveWay { newcomer });
    }

    pub(super) fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// How long nothing has come from it. Zero while it is not listened to because
    /// the queue is full: that silence is ours.
    pub(super) fn silence(&self) -> Duration {
        let stats = self.stats();
        match stats.stalled_since {
            Some(_) => Duration::ZERO,
            None => stats.heard.unwrap_or(self.since).elapsed(),
        }
    }

    /// Waits until nothing has come from it for `time`. False as soon as something
    /// does, or it is gone.
    pub(super) async fn stays_silent(&self, time: Duration) -> bool {
        let mut stirred = std::pin::pin!(self.stirred.notified());
        // Registered before the look, or what comes in between is missed.
        stirred.as_mut().enable();
        if self.stats().stalled_since.is_some() {
            return false;
        }
        let rest = time.saturating_sub(self.silence());
        tokio::select! {
            biased;
            () = stirred => false,
            () = tokio::time::sleep(rest) => true,
        }
    }

    fn order(&self, order: Order) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // More than a few can only be the same again.
        if orders.len() < 8 {
            orders.push(order);
        }
        drop(orders);
        self.ordered.notify_one();
    }

    /// Waits for orders. Cancel safe.
    pub(super) async fn orders(&self) -> Vec<Order> {
        loop {
            let orders =
                std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner));
            if !orders.is_empty() {
                return orders;
            }
            self.ordered.notified().await;
        }
    }

    pub(super) fn update(&self, stats: PublisherStats) {
        let mut current = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let stirred = current.heard != stats.heard;
        *current = stats;
        drop(current);
        if stirred {
            self.stirred.notify_waiters();
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("peer", &self.peer)
            .field("application", &self.application)
            .field("flash_ver", &self.flash_ver)
            .finish_non_exhaustive()
    }
}

/// Stands for application and stream key where the key itself must not be kept.
/// Means nothing outside of this process.
pub(super) fn identity(request: &PublishRequest) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one((request.app(), &request.stream_key))
}

/// As much of a peer's text as is kept for people to read: 256 characters.
pub fn clip(text: &str) -> String {
    text.chars().take(256).collect()
}

/// Enough of a key to tell which of many it is, if it is long enough to stay a secret without:
/// the first four of 16 characters or more. Empty if the key is.
fn mask(key: &str) -> String {
    const SHOWN: usize = 4;
    const LONG: usize = 16;
    const MASK: &str = "***";
    match key.char_indices().nth(SHOWN) {
        Some((end, _)) if key.chars().count() >= LONG => format!("{}{MASK}", &key[..end]),
        _ if key.is_empty() => String::new(),
        _ => MASK.to_owned(),
    }
}

/// How a publication ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// By the publisher's own word.
    #[error("the publisher said {0}")]
    Unpublished(UnpublishReason),
    /// Its side of the connection was closed without a word; many encoders do.
    #[error("the publisher closed the connection")]
    Finished,
    /// Another publisher got its place.
    #[error("another publisher took over: {0}")]
    TakenOver(SocketAddr),
    /// Anything else: a reset, silence, a protocol error.
    #[error("the publisher was lost: {0}")]
    Lost(String),
}

impl EndReason {
    /// Whether the publisher took its leave.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Unpublished(_))
    }
}

/// Who left a route, and how.
#[derive(Debug)]
pub(super) struct Departure {
    pub publisher: Arc<Publisher>,
    pub reason: EndReason,
}

/// Holds a route for a publisher. However the connection's task ends, by return,
/// abort or panic, dropping this frees the route and puts the end mark behind
/// the data.
#[derive(Debug)]
pub(super) struct Publication {
    route: Arc<Route>,
    publisher: Arc<Publisher>,
    reason: Option<EndReason>,
}

impl Publication {
    /// Waits for room in the queue: a peer may come and go as often as it likes.
    /// Cancel safe: until the mark is in, there is a claim only.
    pub async fn begin(
        mut claim: Claim,
        peer: SocketAddr,
        tls: bool,
        request: &PublishRequest,
    ) -> Result<Self, Closed> {
        let publisher = Arc::new(Publisher {
            peer,
            tls,
            application: clip(request.public_app()),
            masked_key: mask(&request.stream_key),
            flash_ver: clip(&request.connect.flash_ver),
            goes_on: claim.route().settings().keep_listening,
            since: Instant::now(),
            can_reconnect: request.connect.capabilities.reconnect(),
            taken_from: claim.taken_from(),
            identity: identity(request),
            leaving: AtomicBool::new(false),
            stats: Mutex::default(),
            stirred: Notify::new(),
            orders: Mutex::default(),
            ordered: Notify::new(),
        });
        // Before the mark: who hears of it may want to act on it at once.
        claim.route().published(&publisher);
        claim.succeed();
        let mark = Item::Begin(publisher.clone());
        let queue = claim.route().queue();
        let texts = publisher.application.len() + publisher.flash_ver.len();
        let bytes = size_of::<Publisher>() + texts;
        queue.push_mark_when_there_is_room(mark, bytes).await?;
        Ok(Self {
            route: claim.into_route(),
            publisher,
            reason: None,
        })
    }

    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    pub async fn push(&self, media: Media) -> Result<(), Closed> {
        let bytes = media.body.len();
        self.route.queue().push(Item::Media(media), bytes).await
    }

    pub fn try_push(&self, media: Media) -> Result<Option<Media>, Closed> {
        let bytes = media.body.len();
        let back = self.route.queue().try_push(Item::Media(media), bytes)?;
        Ok(back.map(|item| match item {
            Item::Media(media) => media,
            Item::Begin(_) | Item::End { .. } => unreachable!("gave it media"),
        }))
    }

    /// Whoever takes the media is to look after them: nothing more comes for now.
    pub fn wake(&self) {
        self.route.queue().wake();
    }

    /// How it ends when it is dropped.
    pub fn set_reason(&mut self, reason: EndReason) {
        self.reason.get_or_insert(reason);
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let reason = self.reason.take().unwrap_or_else(|| {
            let why = if std::thread::panicking() {
                "a defect in this server; please report it"
            } else {
                "the listener was closed"
            };
            EndReason::Lost(why.to_owned())
        });
        self.route.release(Departure {
            publisher: self.publisher.clone(),
            reason,
        });
        // Whoever waits for its silence need not wait for it any more.
        self.publisher.stirred.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked() {
        for (key, shown) in [
            ("", ""),
            ("k", "***"),
            ("fifteen-letters", "***"),
            ("sixteen--letters", "sixt***"),
            ("ключ-ключ-ключ-ключ", "ключ***"),
        ] {
            assert_eq!(mask(key), shown);
        }
    }
}
