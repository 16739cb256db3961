//! Who may publish where.

mod find;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::event::{Observer, Rejection};
use super::login::Credentials;
use super::publication::{Departure, Item};
use super::{ItemQueue, Publisher};
use crate::rtmp::PublishRequest;
pub(super) use find::{Found, IDLE, Movers, find};

/// What a route takes, and how. Changes take effect at the next publish.
#[derive(Clone)]
pub struct RouteSettings {
    /// Application without outer slashes; none = any.
    pub application: Option<String>,
    /// Publishing name without its query; none = any.
    pub stream_key: Option<String>,
    /// Who may publish; none = anyone.
    pub login: Option<Credentials>,
    /// Silence after which a publisher counts as lost; zero = never.
    pub timeout: Duration,
    /// Takes the next publisher after one left; else the first is the last.
    pub keep_listening: bool,
    /// What a second publisher gets.
    pub policy: PublisherPolicy,
}

impl RouteSettings {
    pub(super) fn takes_application(&self, app: &str) -> bool {
        let wanted = self.application.as_deref();
        wanted.is_none_or(|wanted| wanted.trim_matches('/') == app)
    }
}

/// Without the stream key.
impl fmt::Debug for RouteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteSettings")
            .field("application", &self.application)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// What a publisher gets that comes to a route where somebody publishes already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublisherPolicy {
    /// It is turned away.
    Reject,
    /// The route: the other one is disconnected.
    Takeover,
    /// The route if the other one has been silent for 2 s, which an encoder that
    /// lost its network is and one that lives is not; else it is turned away.
    #[default]
    TakeoverIfIdle,
}

/// Who is asked whether a publisher may come, once its application and stream key
/// are right.
pub trait Gate: Send + Sync + 'static {
    /// Whether anybody wants to be asked: if not, nobody waits for an answer.
    fn is_watched(&self) -> bool;
    /// May block: it is called on a thread of its own. `username` is who logged in, if
    /// anybody did.
    fn admit(&self, peer: SocketAddr, request: &PublishRequest, username: Option<&str>) -> bool;
}

/// Questions to a gate at once. Each blocks a thread until it is answered, also if who
/// it is about has hung up: more than one, so that one that is never answered does not
/// end it all.
const QUESTIONS: usize = 4;

/// A destination for one publisher at a time.
pub struct Route {
    queue: ItemQueue,
    observer: Arc<dyn Observer>,
    gate: Option<Arc<dyn Gate>>,
    /// One for each question to the gate that is under way.
    questions: Arc<Semaphore>,
    settings: Mutex<RouteSettings>,
    state: Mutex<State>,
    latest: Mutex<Option<Arc<Publisher>>>,
    takeovers: AtomicU64,
    /// Wakes those that wait until it is known who gets the route.
    decided: Notify,
}

#[derive(Debug)]
enum State {
    Free,
    Busy {
        /// Nobody yet, while a claim is being decided on.
        publisher: Option<Arc<Publisher>>,
        /// Who gets the route when the publisher has given way.
        successor: Option<oneshot::Sender<Claim>>,
    },
    Ended,
}

impl State {
    const CLAIMED: Self = Self::Busy {
        publisher: None,
        successor: None,
    };
}

/// How narrowly a route says what it takes: by stream key, by application.
type Specificity = (bool, bool);

impl Route {
    /// A free route whose data go into a queue of `max_queue_bytes`.
    pub fn new(
        settings: RouteSettings,
        max_queue_bytes: usize,
        observer: Arc<dyn Observer>,
        gate: Option<Arc<dyn Gate>>,
    ) -> Self {
        Self {
            queue: ItemQueue::new(max_queue_bytes),
            observer,
            gate,
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            settings: Mutex::new(settings),
            state: Mutex::new(State::Free),
            latest: Mutex::new(None),
            takeovers: AtomicU64::new(0),
            decided: Notify::new(),
        }
    }

    pub fn queue(&self) -> &ItemQueue {
        &self.queue
    }

    /// A copy of the settings in force for the next publish.
    pub fn settings(&self) -> RouteSettings {
        lock(&self.settings).clone()
    }

    /// Changes settings for the next publish.
    pub fn update(&self, change: impl FnOnce(&mut RouteSettings)) {
        change(&mut lock(&self.settings));
    }

    /// Who publishes now.
    pub fn publisher(&self) -> Option<Arc<Publisher>> {
        match &*lock(&self.state) {
            State::Busy { publisher, .. } => publisher.clone(),
            State::Free | State::Ended => None,
        }
    }

    /// Who publishes now or did last: its figures stay.
    pub fn latest_publisher(&self) -> Option<Arc<Publisher>> {
        lock(&self.latest).clone()
    }

    /// How often a publisher took this route over from another one.
    pub fn takeovers(&self) -> u64 {
        self.takeovers.load(Ordering::Relaxed)
    }

    /// No more data and no more publishers; what is in the queue stays for the
    /// consumer.
    pub fn end(&self) {
        let before = std::mem::replace(&mut *lock(&self.state), State::Ended);
        self.queue.close();
        self.decided.notify_waiters();
        // One that is silent would not notice before its timeout.
        if let State::Busy {
            publisher: Some(publisher),
            ..
        } = before
        {
            publisher.leave();
        }
    }

    pub(super) fn observer(&self) -> &Arc<dyn Observer> {
        &self.observer
    }

    /// The gate, if somebody watches it.
    pub(super) fn watched_gate(&self) -> Option<Arc<dyn Gate>> {
        self.gate.clone().filter(|gate| gate.is_watched())
    }

    /// Waits until the gate may be asked once more. To be held for as long as that
    /// takes, whoever is still there to hear the answer.
    pub(super) async fn question(&self) -> OwnedSemaphorePermit {
        let questions = self.questions.clone();
        questions.acquire_owned().await.expect("is never closed")
    }

    pub(super) fn published(&self, by: &Arc<Publisher>) {
        if let State::Busy { publisher, .. } = &mut *lock(&self.state) {
            *publisher = Some(by.clone());
            *lock(&self.latest) = Some(by.clone());
        }
        self.decided.notify_waiters();
    }

    /// Whether it is kept for somebody who is not let in yet.
    fn is_undecided(&self) -> bool {
        matches!(
            &*lock(&self.state),
            State::Busy {
                publisher: None,
                ..
            }
        )
    }

    /// Waits until that is decided.
    pub(super) async fn decided(&self) {
        let mut decided = std::pin::pin!(self.decided.notified());
        // Registered before the look, or what comes in between is missed.
        decided.as_mut().enable();
        if self.is_undecided() {
            decided.await;
        }
    }

    /// Passes on what [`decided`](Self::decided) told somebody who has no use for it.
    pub(super) fn tell_next(&self) {
        self.decided.notify_one();
    }

    /// Frees the route after a publication, ends it, or hands it to a successor:
    /// decided here and not when the consumer gets to the end mark, or a publisher
    /// could be let in whose data nobody will read.
    pub(super) fn release(self: &Arc<Self>, departure: Departure) {
        let mut state = lock(&self.state);
        if let State::Busy { successor, .. } = &mut *state
            && let Some(successor) = successor.take()
        {
            *state = State::CLAIMED;
            drop(state);
            let claim = Claim {
                route: Some(self.clone()),
                predecessor: Some(departure),
            };
            // One that has gone meanwhile drops the claim, and we are here again.
            let _ = successor.send(claim);
            return;
        }
        let last = !departure.publisher.goes_on;
        self.push_end(departure, last);
        *state = match *state {
            State::Ended => State::Ended,
            _ if last => State::Ended,
            State::Free | State::Busy { .. } => State::Free,
        };
    }

    fn push_end(&self, departure: Departure, last: bool) {
        let Departure { publisher, reason } = departure;
        let mark = Item::End {
            publisher,
            reason,
            last,
        };
        // If the queue is closed the consumer has its end already.
        let _ = self.queue.push_mark(mark);
    }

    fn claim(self: &Arc<Self>) -> Option<Claim> {
        let mut state = lock(&self.state);
        match *state {
            State::Free if !self.queue.is_closed() => {
                *state = State::CLAIMED;
                Some(Claim {
                    route: Some(self.clone()),
                    predecessor: None,
                })
            }
            _ => None,
        }
    }

    /// Asks `incumbent` to give way. The route comes when everything that it sent
    /// is in the queue; none if it is not who publishes, or has been asked already.
    pub(super) fn take_over(
        &self,
        incumbent: &Arc<Publisher>,
        newcomer: SocketAddr,
    ) -> Option<oneshot::Receiver<Claim>> {
        match &mut *lock(&self.state) {
            State::Busy {
                publisher: Some(publisher),
                successor,
            } if Arc::ptr_eq(publisher, incumbent) && !is_awaited(successor.as_ref()) => {
                let (sender, receiver) = oneshot::channel();
                *successor = Some(sender);
                incumbent.give_way(newcomer);
                Some(receiver)
            }
            _ => None,
        }
    }

    /// Whether somebody still waits for the publisher to give way.
    pub(super) fn has_successor(&self) -> bool {
        match &*lock(&self.state) {
            State::Busy { successor, .. } => is_awaited(successor.as_ref()),
            State::Free | State::Ended => false,
        }
    }

    /// How narrowly it takes `request` of a client that proved `login`, or why it does
    /// not.
    fn judge(
        &self,
        request: &PublishRequest,
        login: Option<&Credentials>,
    ) -> Result<Specificity, Rejection> {
        let settings = lock(&self.settings);
        if !settings.takes_application(request.app()) {
            return Err(Rejection::WrongApplication);
        }
        let key = settings.stream_key.as_deref();
        if key.is_some_and(|key| !same_secret(key.as_bytes(), request.stream_key.as_bytes())) {
            return Err(Rejection::WrongStreamKey);
        }
        if settings.login.is_some() && settings.login.as_ref() != login {
            return Err(Rejection::NotLoggedIn);
        }
        Ok((key.is_some(), settings.application.is_some()))
    }

    /// Who has to be moved for a newcomer, and on what terms.
    fn incumbent(&self) -> Result<(Arc<Publisher>, PublisherPolicy), Rejection> {
        let policy = lock(&self.settings).policy;
        match &*lock(&self.state) {
            State::Ended => Err(Rejection::Ended),
            // It said goodbye, and nobody else will be let in.
            State::Busy {
                publisher: Some(publisher),
                ..
            } if publisher.is_leaving() => Err(Rejection::Ended),
            State::Busy {
                publisher: Some(publisher),
                successor,
            } if policy != PublisherPolicy::Reject && !is_awaited(successor.as_ref()) => {
                Ok((publisher.clone(), policy))
            }
            State::Busy { .. } | State::Free => Err(Rejection::Busy),
        }
    }
}

fn is_awaited(successor: Option<&oneshot::Sender<Claim>>) -> bool {
    successor.is_some_and(|successor| !successor.is_closed())
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A route kept for a publisher that is not let in yet. Dropping it, for whatever
/// reason, frees the route.
#[derive(Debug)]
pub(super) struct Claim {
    route: Option<Arc<Route>>,
    /// Whom it was taken over from. The end mark is ours to put: whether it was
    /// the last depends on what becomes of us.
    predecessor: Option<Departure>,
}

impl Claim {
    pub fn route(&self) -> &Arc<Route> {
        self.route.as_ref().expect("taken by into_route alone")
    }

    /// Where the publisher was that had to give way, if one had to.
    pub fn taken_from(&self) -> Option<SocketAddr> {
        self.predecessor.as_ref().map(|p| p.publisher.peer)
    }

    /// The newcomer is let in: another one's data end here, and the output goes on.
    pub fn succeed(&mut self) {
        if let Some(predecessor) = self.predecessor.take() {
            let route = self.route();
            route.takeovers.fetch_add(1, Ordering::Relaxed);
            route.push_end(predecessor, false);
        }
    }

    /// The route, busy until [`Route::release`].
    pub fn into_route(mut self) -> Arc<Route> {
        self.route.take().expect("taken by into_route alone")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(route) = self.route.take() else {
            return;
        };
        if let Some(predecessor) = self.predecessor.take() {
            route.release(predecessor);
        } else if let state @ State::Busy { .. } = &mut *lock(&route.state) {
            *state = State::Free;
        }
        // In the order in which they came: who is told of last would run first.
        route.decided.notify_one();
    }
}

/// Compares in a time that depends on what the peer sent alone: not on where
/// the first difference is, nor on the secret's length.
pub(super) fn same_secret(secret: &[u8], given: &[u8]) -> bool {
    let mut equal = (secret.len() as u64).ct_eq(&(given.len() as u64));
    for (n, byte) in given.iter().enumerate() {
        let expected = secret.get(n % secret.len().max(1)).unwrap_or(&0);
        equal &= byte.ct_eq(expected);
    }
    Choice::into(equal)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
