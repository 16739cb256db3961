//! The open connections: each one's place among them, and who makes way when there
//! are too many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::event::{CloseReason, ConnectionEvent, Observer};
use super::listener::Shared;

/// The connections' tasks, by age. Ids only grow.
#[derive(Default)]
pub(super) struct Open {
    next_id: u64,
    strangers: BTreeMap<u64, Task>,
    idle: BTreeMap<u64, Task>,
    publishing: BTreeMap<u64, Task>,
    closed: bool,
}

/// Which of the lists a connection is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has sent no C1 yet: may be anybody.
    Stranger,
    /// Speaks RTMP, and does not publish.
    Idle,
    /// Has the right to publish, and is asked to make way by nobody.
    Publishing,
}

impl Open {
    fn list(&mut self, standing: Standing) -> &mut BTreeMap<u64, Task> {
        match standing {
            Standing::Stranger => &mut self.strangers,
            Standing::Idle => &mut self.idle,
            Standing::Publishing => &mut self.publishing,
        }
    }

    /// Lists a connection whose task `start` spawns, by its id, unless the listener is
    /// closed. Returns who has to make way for it.
    pub fn admit(
        &mut self,
        peer: SocketAddr,
        max: usize,
        start: impl FnOnce(u64) -> AbortHandle,
    ) -> Vec<Task> {
        if self.closed {
            return Vec::new();
        }
        let id = self.next_id;
        self.next_id += 1;
        let task = Task {
            peer,
            network: network(peer.ip()),
            handle: start(id),
        };
        self.strangers.insert(id, task);
        std::iter::from_fn(|| self.evict(max)).collect()
    }

    /// Takes all off their lists; nobody else gets on one.
    pub fn close(&mut self) -> Vec<AbortHandle> {
        self.closed = true;
        let lists = [&mut self.strangers, &mut self.idle, &mut self.publishing];
        let tasks = lists.map(std::mem::take).into_iter().flatten();
        tasks.map(|(_, task)| task.handle).collect()
    }

    /// How many do not publish.
    pub fn idlers(&self) -> usize {
        self.strangers.len() + self.idle.len()
    }

    /// Takes one of those that do not publish off its list, if there are more than
    /// `max`: the oldest of the network that holds the most, so that a flood is its own
    /// enemy, also one from a few places at once. Only strangers are looked at once they
    /// hold more than half of the places: who speaks RTMP is about to publish, most
    /// likely, and must not make way for a port scan. Before that all are, or who shakes
    /// hands and stays could keep everybody out who comes after.
    fn evict(&mut self, max: usize) -> Option<Task> {
        if self.idlers() <= max {
            return None;
        }
        let strangers_only = self.strangers.len() > max.div_ceil(2);
        let idle = self.idle.iter().filter(|_| !strangers_only);
        // Of each network: how many, and the oldest.
        let mut held: HashMap<[u8; 8], (usize, Reverse<u64>)> = HashMap::new();
        for (id, task) in self.strangers.iter().chain(idle) {
            let (count, oldest) = held.entry(task.network).or_insert((0, Reverse(*id)));
            *count += 1;
            // The greater one, in reverse.
            *oldest = (*oldest).max(Reverse(*id));
        }
        let (_, Reverse(id)) = held.into_values().max()?;
        self.strangers.remove(&id).or_else(|| self.idle.remove(&id))
    }
}

/// Who counts as one: an IPv4 address, or the 64 bits of an IPv6 address that are
/// handed out as one.
fn network(address: IpAddr) -> [u8; 8] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(v6) => *v6.octets().first_chunk().expect("16 bytes"),
    }
}

pub(super) struct Task {
    pub peer: SocketAddr,
    network: [u8; 8],
    pub handle: AbortHandle,
}

/// A connection's place among the open ones. Dropping it, however its task ends,
/// takes it off the list and says so.
pub(super) struct Slot {
    id: u64,
    pub peer: SocketAddr,
    pub shared: Arc<Shared>,
    standing: Standing,
    /// The RTMP handshake was completed.
    pub past_handshake: bool,
    /// Was never to be a publisher: no failure if it does not become one.
    pub is_health_check: bool,
    /// Of the route that it has to do with, once it has.
    observer: Option<Arc<dyn Observer>>,
    reason: Option<CloseReason>,
}

impl Slot {
    pub fn new(id: u64, peer: SocketAddr, shared: Arc<Shared>) -> Self {
        Self {
            id,
            peer,
            shared,
            standing: Standing::Stranger,
            past_handshake: false,
            is_health_check: false,
            observer: None,
            reason: None,
        }
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Moves to another list. False if it is on none: it has to make way, and its
    /// task ends at the next await.
    pub fn stand(&mut self, standing: Standing) -> bool {
        let open = &mut *lock(&self.shared);
        let Some(task) = open.list(self.standing).remove(&self.id) else {
            return false;
        };
        open.list(standing).insert(self.id, task);
        self.standing = standing;
        true
    }

    /// From now on, what happens here is told to this one.
    pub fn follow(&mut self, observer: Arc<dyn Observer>) {
        self.observer = Some(observer);
    }

    /// From now on this is the connection of `peer`, for whom somebody else made it.
    pub fn speaks_for(&mut self, peer: SocketAddr) {
        self.peer = canonical(peer);
        let open = &mut *lock(&self.shared);
        if let Some(task) = open.list(self.standing).get_mut(&self.id) {
            task.peer = self.peer;
            task.network = network(self.peer.ip());
        }
    }

    pub fn notify(&self, event: ConnectionEvent<'_>) {
        let observer = self.observer.clone().or_else(|| self.shared.any_observer());
        if let Some(observer) = observer {
            observer.connection(self.peer, event);
        }
    }

    pub fn close(mut self, reason: CloseReason) {
        self.reason = Some(reason);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (listed, closed) = {
            let open = &mut *lock(&self.shared);
            let task = open.list(self.standing).remove(&self.id);
            (task.is_some(), open.closed)
        };
        if !self.past_handshake && !self.is_health_check {
            let failures = &self.shared.handshake_failures;
            failures.fetch_add(1, Ordering::Relaxed);
        }
        if std::thread::panicking() {
            self.shared.panics.fetch_add(1, Ordering::Relaxed);
        }
        let reason = match self.reason.take() {
            Some(reason) => reason,
            None if std::thread::panicking() => CloseReason::Panicked,
            None if closed => CloseReason::ListenerClosed,
            // Off the list already: evicted, and whoever did it has said so.
            None if !listed => return,
            None => CloseReason::ListenerClosed,
        };
        self.notify(ConnectionEvent::Closed(&reason));
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Open> {
    shared.open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An IPv4 client of a dual-stack socket by its IPv4 address.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
