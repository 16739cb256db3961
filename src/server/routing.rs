//! Who may publish where.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};

use super::event::Rejection;
use super::publication::Item;
use super::{ItemQueue, Publisher};
use crate::rtmp::PublishRequest;

/// What a route takes, and how. Changes take effect at the next publish.
#[derive(Debug, Clone)]
pub struct RouteSettings {
    /// Application without outer slashes; none = any.
    pub application: Option<String>,
    /// Publishing name without its query; none = any.
    pub stream_key: Option<String>,
    /// Silence after which a publisher counts as lost; zero = never.
    pub timeout: Duration,
    /// Takes the next publisher after one left; else the first is the last.
    pub keep_listening: bool,
}

/// Who is asked whether a publisher may come, once its application and stream key
/// are right.
pub trait Gate: Send + Sync + 'static {
    /// Whether anybody wants to be asked: if not, nobody waits for an answer.
    fn is_watched(&self) -> bool;
    /// May block: it is called on a thread of its own.
    fn admit(&self, peer: SocketAddr, request: &PublishRequest) -> bool;
}

/// A destination for one publisher at a time.
pub struct Route {
    queue: ItemQueue,
    gate: Option<Arc<dyn Gate>>,
    settings: Mutex<RouteSettings>,
    state: Mutex<State>,
    latest: Mutex<Option<Arc<Publisher>>>,
}

#[derive(Debug)]
enum State {
    Free,
    Busy(Option<Arc<Publisher>>),
    Ended,
}

impl Route {
    /// A free route whose data go into a queue of `max_queue_bytes`.
    pub fn new(
        settings: RouteSettings,
        max_queue_bytes: usize,
        gate: Option<Arc<dyn Gate>>,
    ) -> Self {
        Self {
            queue: ItemQueue::new(max_queue_bytes),
            gate,
            settings: Mutex::new(settings),
            state: Mutex::new(State::Free),
            latest: Mutex::new(None),
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
            State::Busy(publisher) => publisher.clone(),
            State::Free | State::Ended => None,
        }
    }

    /// Who publishes now or did last: its figures stay.
    pub fn latest_publisher(&self) -> Option<Arc<Publisher>> {
        lock(&self.latest).clone()
    }

    /// No more data and no more publishers; what is in the queue stays for the
    /// consumer.
    pub fn end(&self) {
        let before = std::mem::replace(&mut *lock(&self.state), State::Ended);
        self.queue.close();
        // One that is silent would not notice before its timeout.
        if let State::Busy(Some(publisher)) = before {
            publisher.leave();
        }
    }

    /// The gate, if somebody watches it.
    pub(super) fn watched_gate(&self) -> Option<Arc<dyn Gate>> {
        self.gate.clone().filter(|gate| gate.is_watched())
    }

    pub(super) fn published(&self, publisher: &Arc<Publisher>) {
        if let State::Busy(slot) = &mut *lock(&self.state) {
            *slot = Some(publisher.clone());
            *lock(&self.latest) = Some(publisher.clone());
        }
    }

    /// Frees the route after a publication, or ends it: decided here and not
    /// when the consumer gets to the end mark, or a publisher could be let in
    /// whose data nobody will read.
    pub(super) fn release(&self, mark: Item, last: bool) {
        let mut state = lock(&self.state);
        // If the queue is closed the consumer has its end already.
        let _ = self.queue.push_mark(mark);
        *state = match *state {
            State::Ended => State::Ended,
            _ if last => State::Ended,
            State::Free | State::Busy(_) => State::Free,
        };
    }

    fn claim(self: &Arc<Self>) -> Result<Claim, Rejection> {
        let mut state = lock(&self.state);
        match *state {
            State::Free if self.queue.is_closed() => Err(Rejection::Ended),
            State::Free => {
                *state = State::Busy(None);
                Ok(Claim(Some(self.clone())))
            }
            State::Busy(_) => Err(Rejection::Busy),
            State::Ended => Err(Rejection::Ended),
        }
    }
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
pub(super) struct Claim(Option<Arc<Route>>);

impl Claim {
    pub fn route(&self) -> &Route {
        self.0.as_ref().expect("taken by into_route alone")
    }

    /// The route, busy until [`Route::release`].
    pub fn into_route(mut self) -> Arc<Route> {
        self.0.take().expect("taken by into_route alone")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(route) = &self.0
            && let state @ State::Busy(_) = &mut *lock(&route.state)
        {
            *state = State::Free;
        }
    }
}

/// Claims the most specific free route for `request`.
pub(super) fn claim(routes: &[Arc<Route>], request: &PublishRequest) -> Result<Claim, Rejection> {
    let mut rejection = Rejection::WrongApplication;
    let mut matching = Vec::new();
    for route in routes {
        let settings = route.settings();
        let wanted = settings.application.as_deref();
        if wanted.is_some_and(|app| app.trim_matches('/') != request.app) {
            continue;
        }
        let key = settings.stream_key.as_deref();
        if key.is_some_and(|key| !same_secret(key.as_bytes(), request.stream_key.as_bytes())) {
            rejection = Rejection::WrongStreamKey;
            continue;
        }
        matching.push(((key.is_some(), wanted.is_some()), route));
    }
    // Stable: of equal routes, the one that came first.
    matching.sort_by_key(|(specific, _)| std::cmp::Reverse(*specific));
    for (_, route) in matching {
        match route.claim() {
            Ok(claim) => return Ok(claim),
            Err(why) => rejection = why,
        }
    }
    Err(rejection)
}

/// Compares in a time that depends on what the peer sent alone: not on where
/// the first difference is, nor on the secret's length.
fn same_secret(secret: &[u8], given: &[u8]) -> bool {
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
mod tests {
    use super::*;
    use crate::rtmp::Connect;

    fn route(application: Option<&str>, stream_key: Option<&str>) -> Arc<Route> {
        let settings = RouteSettings {
            application: application.map(Into::into),
            stream_key: stream_key.map(Into::into),
            timeout: Duration::ZERO,
            keep_listening: false,
        };
        Arc::new(Route::new(settings, 1, None))
    }

    fn request(app: &str, key: &str) -> PublishRequest {
        PublishRequest {
            app: app.into(),
            stream_key: key.into(),
            query: String::new(),
            connect: Arc::new(Connect::default()),
        }
    }

    #[test]
    fn the_most_specific_free_route_takes_a_publisher() {
        let routes = [
            route(None, None),
            route(Some("/live/"), None),
            route(None, Some("k")),
            route(Some("live"), Some("k")),
        ];
        let order: Vec<_> = (0..4)
            .map(|_| claim(&routes, &request("live", "k")).unwrap().into_route())
            .map(|got| routes.iter().position(|r| Arc::ptr_eq(r, &got)).unwrap())
            .collect();
        assert_eq!(order, [3, 2, 1, 0]);
        let err = claim(&routes, &request("live", "k")).unwrap_err();
        assert_eq!(err, Rejection::Busy);
    }

    #[test]
    fn a_rejection_says_why() {
        let routes = [route(Some("live"), Some("right"))];
        let reject = |app, key| claim(&routes, &request(app, key)).unwrap_err();
        assert_eq!(reject("other", "right"), Rejection::WrongApplication);
        for wrong in ["wrong", "", "righ", "rightr", "rightright", "Right"] {
            assert_eq!(reject("live", wrong), Rejection::WrongStreamKey);
        }
        routes[0].end();
        assert_eq!(reject("live", "right"), Rejection::Ended);
    }

    #[test]
    fn a_claim_that_comes_to_nothing_frees_the_route() {
        let routes = [route(None, None)];
        let claimed = claim(&routes, &request("live", "k")).unwrap();
        assert!(claim(&routes, &request("live", "k")).is_err());
        drop(claimed);
        assert!(claim(&routes, &request("live", "k")).is_ok());
    }

    #[test]
    fn an_empty_key_is_a_key() {
        let routes = [route(None, Some(""))];
        assert!(claim(&routes, &request("live", "a")).is_err());
        assert!(claim(&routes, &request("live", "")).is_ok());
    }
}
