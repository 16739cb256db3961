//! Accepting connections, and how many may stay without publishing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::bind::{BindError, bind};
use super::connection;
use super::event::{CloseReason, ConnectionEvent, Observer};
use super::routing::Route;
use super::tls::{Certificates, TlsFiles};
use crate::rtmp::SessionConfig;

/// Waits after a failed accept (no descriptors left, say): the first, and the
/// longest. Trying again at once would spin.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What a listener is made of.
pub struct ListenerConfig {
    /// Address or name; all addresses of a name are listened on. `::` takes IPv4 too.
    pub host: String,
    /// 0 picks a free one.
    pub port: u16,
    /// Connections that do not publish; when there are more, the oldest goes.
    pub max_connections: usize,
    /// Time from accept to publish.
    pub publish_deadline: Duration,
    pub session: SessionConfig,
    /// Every connection is TLS if there is a certificate, else none.
    pub tls: Option<TlsFiles>,
    /// Every connection begins with a PROXY header, and counts as its client's.
    pub proxy_protocol: bool,
    pub routes: Vec<Arc<Route>>,
    pub observer: Arc<dyn Observer>,
}

/// Counters of a listener since it was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Accepted.
    pub connections: u64,
    /// Publish requests turned away.
    pub rejected: u64,
    /// Connections that never got through the handshake: port scans, HTTP, TLS
    /// on a plain port or none on one with TLS.
    /// A load balancer's health checks are no failures.
    pub handshake_failures: u64,
    /// Connections that ended by a panic: a defect of this server each.
    pub panics: u64,
    /// Open and not publishing.
    pub idle: u64,
}

/// A bound port. Dropping it closes the port and every connection on it.
pub struct Listener {
    port: u16,
    addresses: Vec<SocketAddr>,
    doors: Vec<Arc<Door>>,
    tasks: Vec<AbortHandle>,
    shared: Arc<Shared>,
}

/// A listening socket that can be closed there and then. Its task's end would
/// close it a little later, and the port would still be busy for the next element.
struct Door(Mutex<Option<TcpListener>>);

impl Door {
    /// The next connection; none once the door is closed.
    async fn accept(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        std::future::poll_fn(|context| match &*self.lock() {
            Some(listener) => listener.poll_accept(context).map(Some),
            None => Poll::Ready(None),
        })
        .await
    }

    fn close(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the connections of a listener have in common.
pub(super) struct Shared {
    pub routes: Vec<Arc<Route>>,
    pub observer: Arc<dyn Observer>,
    pub session: SessionConfig,
    pub publish_deadline: Duration,
    pub certificates: Option<Arc<Certificates>>,
    pub proxy_protocol: bool,
    pub connections: AtomicU64,
    pub rejected: AtomicU64,
    pub handshake_failures: AtomicU64,
    pub panics: AtomicU64,
    max_connections: usize,
    open: Mutex<Open>,
}

/// The connections' tasks, by age. Ids only grow.
#[derive(Default)]
struct Open {
    next_id: u64,
    strangers: BTreeMap<u64, Task>,
    idle: BTreeMap<u64, Task>,
    publishing: BTreeMap<u64, Task>,
    closed: bool,
}

/// Which of the lists a connection is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not past the handshake.
    Stranger,
    /// Past it, and not publishing.
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

    fn idlers(&self) -> usize {
        self.strangers.len() + self.idle.len()
    }

    /// Takes the oldest of those that do not publish off its list, if there are
    /// more than `max`. Strangers get no more than half of the places at the
    /// expense of others: who is past the handshake is about to publish, most
    /// likely, and must not make way for a port scan.
    fn evict(&mut self, max: usize) -> Option<Task> {
        if self.idlers() <= max {
            return None;
        }
        let list = if self.strangers.len() > max.div_ceil(2) {
            &mut self.strangers
        } else {
            &mut self.idle
        };
        list.pop_first().map(|(_, task)| task)
    }
}

struct Task {
    peer: SocketAddr,
    handle: AbortHandle,
}

impl Listener {
    /// Binds, and begins to accept. An error is of binding only; what fails later
    /// goes to the observer.
    pub fn bind(config: ListenerConfig) -> Result<Self, BindError> {
        let runtime = super::runtime().map_err(BindError::Runtime)?;
        let certificates = match config.tls {
            Some(files) => {
                let (certificates, news) = Certificates::load(files)?;
                if let Some(news) = news {
                    config.observer.certificate(&news);
                }
                Some(Arc::new(certificates))
            }
            None => None,
        };
        let sockets = bind(&config.host, config.port)?;
        let shared = Arc::new(Shared {
            routes: config.routes,
            observer: config.observer,
            session: config.session,
            publish_deadline: config.publish_deadline,
            certificates,
            proxy_protocol: config.proxy_protocol,
            connections: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            handshake_failures: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            max_connections: config.max_connections.max(1),
            open: Mutex::default(),
        });
        let mut this = Self {
            port: 0,
            addresses: Vec::with_capacity(sockets.len()),
            doors: Vec::with_capacity(sockets.len()),
            tasks: Vec::with_capacity(sockets.len()),
            shared,
        };
        // tokio's sockets register with the runtime that is current.
        let _guard = runtime.enter();
        for socket in sockets {
            let listener = TcpListener::from_std(socket).map_err(BindError::Runtime)?;
            let address = listener.local_addr().map_err(BindError::Runtime)?;
            this.port = address.port();
            this.addresses.push(address);
            let door = Arc::new(Door(Mutex::new(Some(listener))));
            this.doors.push(door.clone());
            let task = runtime.spawn(accept(door, this.shared.clone()));
            this.tasks.push(task.abort_handle());
        }
        Ok(this)
    }

    /// The port in use, also where 0 was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All addresses in use.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn stats(&self) -> ListenerStats {
        let shared = &self.shared;
        ListenerStats {
            connections: shared.connections.load(Ordering::Relaxed),
            rejected: shared.rejected.load(Ordering::Relaxed),
            handshake_failures: shared.handshake_failures.load(Ordering::Relaxed),
            panics: shared.panics.load(Ordering::Relaxed),
            idle: shared.lock().idlers() as u64,
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for door in &self.doors {
            door.close();
        }
        for task in &self.tasks {
            task.abort();
        }
        let mut open = self.shared.lock();
        open.closed = true;
        let tasks = [
            std::mem::take(&mut open.strangers),
            std::mem::take(&mut open.idle),
            std::mem::take(&mut open.publishing),
        ];
        drop(open);
        for task in tasks.iter().flat_map(BTreeMap::values) {
            task.handle.abort();
        }
    }
}

async fn accept(door: Arc<Door>, shared: Arc<Shared>) {
    let mut backoff = ACCEPT_BACKOFF.0;
    while let Some(accepted) = door.accept().await {
        match accepted {
            Ok((stream, peer)) => {
                backoff = ACCEPT_BACKOFF.0;
                shared.admit(stream, canonical(peer));
                // Many may wait: each is read from before it can be asked to
                // make way for the next.
                tokio::task::yield_now().await;
            }
            // The peer gave up while it waited: nothing is wrong here.
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                shared.observer.accept_failed(&error);
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(ACCEPT_BACKOFF.1);
            }
        }
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// An IPv4 client of a dual-stack socket by its IPv4 address.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a connection's task; an old one makes way if there are too many, so
    /// that idlers can't lock a publisher out.
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut open = self.lock();
        if open.closed {
            return;
        }
        let id = open.next_id;
        open.next_id += 1;
        let slot = Slot {
            id,
            peer,
            shared: self.clone(),
            standing: Standing::Stranger,
            is_health_check: false,
            reason: None,
        };
        // The task can't run before it is listed: whoever ends looks here.
        let handle = tokio::spawn(connection::serve(stream, slot)).abort_handle();
        open.strangers.insert(id, Task { peer, handle });
        let evicted: Vec<_> = std::iter::from_fn(|| open.evict(self.max_connections)).collect();
        drop(open);
        for task in evicted {
            task.handle.abort();
            let reason = CloseReason::Evicted;
            let event = ConnectionEvent::Closed(&reason);
            self.observer.connection(task.peer, event);
        }
    }
}

/// A connection's place among the open ones. Dropping it, however its task ends,
/// takes it off the list and says so.
pub(super) struct Slot {
    id: u64,
    pub peer: SocketAddr,
    pub shared: Arc<Shared>,
    standing: Standing,
    /// Was never to be a publisher: no failure if it does not become one.
    pub is_health_check: bool,
    reason: Option<CloseReason>,
}

impl Slot {
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Moves to another list. False if it is on none: it has to make way, and its
    /// task ends at the next await.
    pub fn stand(&mut self, standing: Standing) -> bool {
        let open = &mut *self.shared.lock();
        let Some(task) = open.list(self.standing).remove(&self.id) else {
            return false;
        };
        open.list(standing).insert(self.id, task);
        self.standing = standing;
        true
    }

    /// From now on this is the connection of `peer`, for whom somebody else made it.
    pub fn speaks_for(&mut self, peer: SocketAddr) {
        self.peer = canonical(peer);
        if let Some(task) = self.shared.lock().list(self.standing).get_mut(&self.id) {
            task.peer = self.peer;
        }
    }

    pub fn notify(&self, event: ConnectionEvent<'_>) {
        self.shared.observer.connection(self.peer, event);
    }

    pub fn close(mut self, reason: CloseReason) {
        self.reason = Some(reason);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (listed, closed) = {
            let open = &mut *self.shared.lock();
            let task = open.list(self.standing).remove(&self.id);
            (task.is_some(), open.closed)
        };
        if self.standing == Standing::Stranger && !self.is_health_check {
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
