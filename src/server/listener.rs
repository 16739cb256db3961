//! Accepting connections. How many may stay is the slots' affair, who shares a
//! listener with whom is the registry's.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::bind::BindError;
use super::connection;
use super::event::{CloseReason, ConnectionEvent, Observer};
use super::login::Logins;
use super::routing::Route;
use super::slot::{Open, Slot, canonical};
use super::tls::{Certificates, TlsFiles};
use crate::rtmp::SessionConfig;

/// Waits after a failed accept (no descriptors left, say): the first, and the
/// longest. Trying again at once would spin.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What all routes of a listener have in common.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Connections that do not publish; when there are more, an old one goes.
    pub max_connections: usize,
    /// Time from accept to publish.
    pub publish_deadline: Duration,
    pub session: SessionConfig,
    /// Every connection is TLS if there is a certificate, else none.
    pub tls: Option<TlsFiles>,
    /// Every connection begins with a PROXY header, and counts as its client's.
    pub proxy_protocol: bool,
}

impl ListenerSettings {
    /// What keeps two from sharing a listener: of each difference its name, and the
    /// value here and there.
    pub(super) fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let text = |s: &Self| {
            [
                ("max-connections", s.max_connections.to_string()),
                (
                    "max-message-size",
                    s.session.limits.max_message_size.to_string(),
                ),
                (
                    "TLS",
                    s.tls.as_ref().map_or("off".into(), TlsFiles::to_string),
                ),
                (
                    "proxy-protocol",
                    if s.proxy_protocol { "required" } else { "none" }.into(),
                ),
            ]
        };
        let pairs = text(self).into_iter().zip(text(other));
        pairs
            .filter(|((_, here), (_, there))| here != there)
            .map(|((name, here), (_, there))| (name, here, there))
            .collect()
    }
}

/// Counters of a listener since it was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Accepted.
    pub connections: u64,
    /// Publish requests turned away, and failed logins.
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

/// A bound port and the connections on it.
pub(super) struct Listener {
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
    routes: Mutex<Vec<Arc<Route>>>,
    pub settings: ListenerSettings,
    pub logins: Logins,
    pub certificates: Option<Arc<Certificates>>,
    pub connections: AtomicU64,
    pub rejected: AtomicU64,
    pub handshake_failures: AtomicU64,
    pub panics: AtomicU64,
    pub open: Mutex<Open>,
}

impl Listener {
    /// Begins to accept for a first route, on sockets that listen.
    pub fn new(
        sockets: Vec<std::net::TcpListener>,
        settings: ListenerSettings,
        certificates: Option<Arc<Certificates>>,
        first: Arc<Route>,
    ) -> Result<Self, BindError> {
        let runtime = super::runtime().map_err(BindError::Runtime)?;
        let shared = Arc::new(Shared {
            routes: Mutex::new(vec![first]),
            settings,
            logins: Logins::new().map_err(BindError::Runtime)?,
            certificates,
            connections: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            handshake_failures: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let mut this = Self {
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
            this.addresses.push(address);
            let door = Arc::new(Door(Mutex::new(Some(listener))));
            this.doors.push(door.clone());
            let task = runtime.spawn(accept(door, this.shared.clone()));
            this.tasks.push(task.abort_handle());
        }
        Ok(this)
    }

    pub fn settings(&self) -> &ListenerSettings {
        &self.shared.settings
    }

    pub fn add(&self, route: Arc<Route>) {
        lock(&self.shared.routes).push(route);
    }

    /// Its publisher is told that the pipeline has ended.
    pub fn remove(&self, route: &Arc<Route>) {
        lock(&self.shared.routes).retain(|other| !Arc::ptr_eq(other, route));
        route.end();
    }

    pub fn has_routes(&self) -> bool {
        !lock(&self.shared.routes).is_empty()
    }

    /// Closes the port and every connection, there and then.
    pub fn close(&self) {
        for door in &self.doors {
            door.close();
        }
        for task in &self.tasks {
            task.abort();
        }
        let tasks = lock(&self.shared.open).close();
        tasks.iter().for_each(AbortHandle::abort);
    }

    pub fn port(&self) -> u16 {
        self.addresses.first().map_or(0, SocketAddr::port)
    }

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
            idle: lock(&shared.open).idlers() as u64,
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
        self.close();
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
                if let Some(observer) = shared.any_observer() {
                    observer.accept_failed(&error);
                }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The routes as they are now.
    pub fn routes(&self) -> Vec<Arc<Route>> {
        lock(&self.routes).clone()
    }

    /// Who hears of connections that concern no route yet: the one that has been
    /// there for longest. None if the last one is just leaving.
    pub fn any_observer(&self) -> Option<Arc<dyn Observer>> {
        lock(&self.routes).first().map(|r| r.observer().clone())
    }

    /// Starts a connection's task; an old one makes way if there are too many, so
    /// that idlers can't lock a publisher out.
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let max = self.settings.max_connections.max(1);
        let evicted = lock(&self.open).admit(peer, max, |id| {
            let slot = Slot::new(id, peer, self.clone());
            tokio::spawn(connection::serve(stream, slot)).abort_handle()
        });
        for task in evicted {
            task.handle.abort();
            let reason = CloseReason::Evicted;
            let event = ConnectionEvent::Closed(&reason);
            if let Some(observer) = self.any_observer() {
                observer.connection(task.peer, event);
            }
        }
    }
}
