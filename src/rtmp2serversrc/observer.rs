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
use crate::server::{CertificateNews, CloseReason, ConnectionEvent, Gate, Observer, Serial};

/// Holds the element weakly: a connection must not keep a pipeline alive.
pub(super) struct ElementObserver {
    element: glib::WeakRef<super::Rtmp2ServerSrc>,
    /// Every caller's connection is encrypted, or none is.
    tls: bool,
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
    pub fn new(element: &super::Rtmp2ServerSrc, tls: bool) -> io::Result<Self> {
        let limiter = || Mutex::new(Limiter::new(REPORTS.0, REPORTS.1));
        Ok(Self {
            element: element.downgrade(),
            tls,
            serial: Serial::new()?,
            rejections: limiter(),
            failures: limiter(),
        })
    }

    /// Logs that somebody was turned away. Whether the application is to hear of it as
    /// well: how many there were since it last did.
    fn report(&self, element: &super::Rtmp2ServerSrc, peer: SocketAddr, text: &str) -> Option<u64> {
        let unreported = pass(&self.rejections);
        match unreported {
            Some(0) => gst::warning!(CAT, obj = element, "{peer}: {text}"),
            Some(more) => gst::warning!(CAT, obj = element, "{peer}: {text} ({more} more before)"),
            None => gst::debug!(CAT, obj = element, "{peer}: {text}"),
        }
        unreported
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
            ConnectionEvent::LoginFailed(connect, why) => {
                // Not the user name: some type the password there.
                if let Some(unreported) =
                    self.report(&element, peer, &format!("login failed: {why}"))
                {
                    let told = signals::login_failed(peer, self.tls, connect, why, unreported);
                    self.tell("caller-rejected", told.0, Some(told.1));
                }
            }
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
                let text = format!("publisher turned away: {why}");
                if let Some(unreported) = self.report(&element, peer, &text) {
                    let told = signals::rejected(peer, self.tls, request, why, unreported);
                    self.tell("caller-rejected", told.0, Some(told.1));
                }
            }
            ConnectionEvent::Unpublished(publisher, reason) => {
                gst::info!(CAT, obj = element, "{peer}: publication ended: {reason}");
                self.tell("caller-removed", signals::publisher(publisher), None);
            }
            ConnectionEvent::Closed(reason) => {
                let is_failure = matches!(
                    reason,
                    CloseReason::Protocol(_)
                        | CloseReason::Tls(_)
                        | CloseReason::Proxy(_)
                        | CloseReason::Panicked
                        | CloseReason::Evicted
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

    fn certificate(&self, news: &CertificateNews) {
        let Some(element) = self.element.upgrade() else {
            return;
        };
        if matches!(news, CertificateNews::Renewed) {
            gst::info!(CAT, obj = element, "{news}");
        } else {
            gst::warning!(CAT, obj = element, "{news}");
            // Also on the bus: it is for the application's people to do something.
            gst::element_warning!(element, gst::ResourceError::Settings, ("{news}"));
        }
    }
}

/// Asks the handlers of `caller-connecting`.
pub(super) struct ElementGate {
    pub element: glib::WeakRef<super::Rtmp2ServerSrc>,
    pub tls: bool,
}

impl Gate for ElementGate {
    fn is_watched(&self) -> bool {
        self.element
            .upgrade()
            .is_some_and(|element| signals::has_handler(&element, "caller-connecting"))
    }

    fn admit(&self, peer: SocketAddr, request: &PublishRequest, username: Option<&str>) -> bool {
        // Without an element there is nothing to publish to.
        self.element.upgrade().is_some_and(|element| {
            let caller = signals::connecting(peer, self.tls, request, username);
            element.emit_by_name("caller-connecting", &[&caller])
        })
    }
}
