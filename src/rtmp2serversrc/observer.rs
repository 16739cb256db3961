//! From the server's workers to the element: log, signals, messages.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;

use super::limiter::Limiter;
use super::{CAT, signals};
use crate::rtmp::PublishRequest;
use crate::server::{CloseReason, ConnectionEvent, Gate, Observer, Serial};

/// Holds the element weakly: a connection must not keep a pipeline alive.
pub(super) struct ElementObserver {
    element: glib::WeakRef<super::Rtmp2ServerSrc>,
    /// Handlers may block; the workers must not.
    serial: Serial,
    rejections: Mutex<Limiter>,
    failures: Mutex<Limiter>,
}

/// Of those that are turned away, and of connections that fail, so many are reported at
/// once, and then one per interval. `stats` counts all of them.
const REPORTS: (u32, Duration) = (64, Duration::from_secs(10));

impl ElementObserver {
    /// An error if the process can have no more threads.
    pub fn new(element: &super::Rtmp2ServerSrc) -> io::Result<Self> {
        let limiter = || Mutex::new(Limiter::new(REPORTS.0, REPORTS.1));
        Ok(Self {
            element: element.downgrade(),
            serial: Serial::new()?,
            rejections: limiter(),
            failures: limiter(),
        })
    }

    /// Emits `signal`, and posts `message` if there is one, off the workers.
    fn tell(&self, signal: &'static str, caller: gst::Structure, message: Option<gst::Structure>) {
        let weak = self.element.clone();
        let told = self.serial.run(move || {
            let Some(element) = weak.upgrade() else {
                return;
            };
            element.emit_by_name::<()>(signal, &[&caller]);
            if let Some(message) = message {
                signals::post(&element, message);
            }
        });
        if let (false, Some(element)) = (told, self.element.upgrade()) {
            gst::warning!(CAT, obj = element, "a handler blocks: {signal} not emitted");
        }
    }
}

fn pass(limiter: &Mutex<Limiter>) -> Option<u64> {
    let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
    limiter.pass(Instant::now())
}

impl Observer for ElementObserver {
    fn connection(&self, peer: SocketAddr, event: ConnectionEvent<'_>) {
        let Some(element) = self.element.upgrade() else {
            return;
        };
        match event {
            ConnectionEvent::Opened => gst::debug!(CAT, obj = element, "{peer}: connected"),
            ConnectionEvent::Connected(connect) => gst::debug!(
                CAT,
                obj = element,
                // Not the application: some put the whole URL there, key and all.
                "{peer}: RTMP session with {:?}, Enhanced RTMP: {}",
                connect.flash_ver,
                connect.capabilities.enhanced
            ),
            ConnectionEvent::Published(publisher) => {
                gst::info!(
                    CAT,
                    obj = element,
                    "{peer}: publishes to application {:?} with {:?}",
                    publisher.application,
                    publisher.flash_ver
                );
                self.tell("caller-added", signals::publisher(publisher), None);
            }
            ConnectionEvent::Rejected(request, why) => {
                let Some(unreported) = pass(&self.rejections) else {
                    gst::debug!(CAT, obj = element, "{peer}: publisher turned away: {why}");
                    return;
                };
                gst::warning!(
                    CAT,
                    obj = element,
                    "{peer}: publisher turned away: {why} ({unreported} not reported before)"
                );
                let (caller, message) = signals::rejected(peer, request, why, unreported);
                self.tell("caller-rejected", caller, Some(message));
            }
            ConnectionEvent::Unpublished(publisher, reason) => {
                gst::info!(CAT, obj = element, "{peer}: publication ended: {reason}");
                self.tell("caller-removed", signals::publisher(publisher), None);
            }
            ConnectionEvent::Closed(reason) => {
                let is_failure = matches!(
                    reason,
                    CloseReason::Protocol(_) | CloseReason::Panicked | CloseReason::Evicted
                );
                match is_failure.then(|| pass(&self.failures)).flatten() {
                    Some(unreported) => gst::warning!(
                        CAT,
                        obj = element,
                        "{peer}: connection closed: {reason} ({unreported} not reported before)"
                    ),
                    None => gst::debug!(CAT, obj = element, "{peer}: connection closed: {reason}"),
                }
            }
        }
    }

    fn accept_failed(&self, error: &io::Error) {
        if let Some(element) = self.element.upgrade() {
            gst::warning!(
                CAT,
                obj = element,
                "can't accept a connection, trying again: {error}"
            );
        }
    }
}

/// Asks the handlers of `caller-connecting`.
pub(super) struct ElementGate(pub glib::WeakRef<super::Rtmp2ServerSrc>);

impl Gate for ElementGate {
    fn is_watched(&self) -> bool {
        self.0
            .upgrade()
            .is_some_and(|element| signals::has_handler(&element, "caller-connecting"))
    }

    fn admit(&self, peer: SocketAddr, request: &PublishRequest) -> bool {
        // Without an element there is nothing to publish to.
        self.0.upgrade().is_some_and(|element| {
            let caller = signals::connecting(peer, request);
            element.emit_by_name("caller-connecting", &[&caller])
        })
    }
}
