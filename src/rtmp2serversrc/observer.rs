//! From the server's workers to the element: log, signals, messages.

use std::net::SocketAddr;

use gst::glib;
use gst::prelude::*;

use super::{CAT, signals};
use crate::rtmp::PublishRequest;
use crate::server::{CertificateNews, CloseReason, ConnectionEvent, Gate, Observer, Serial};

/// Holds the element weakly: a connection must not keep a pipeline alive.
pub(super) struct ElementObserver {
    pub element: glib::WeakRef<super::Rtmp2ServerSrc>,
    /// Every caller's connection is encrypted, or none is.
    pub tls: bool,
    /// Handlers may block; the workers must not.
    pub serial: Serial,
}

impl ElementObserver {
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
                gst::warning!(CAT, obj = element, "{peer}: publisher turned away: {why}");
                let (caller, message) = signals::rejected(peer, self.tls, request, why);
                self.tell("caller-rejected", caller, Some(message));
            }
            ConnectionEvent::Unpublished(publisher, reason) => {
                gst::info!(CAT, obj = element, "{peer}: publication ended: {reason}");
                self.tell("caller-removed", signals::publisher(publisher), None);
            }
            ConnectionEvent::Closed(reason) => match reason {
                CloseReason::Protocol(_)
                | CloseReason::Tls(_)
                | CloseReason::Proxy(_)
                | CloseReason::Panicked
                | CloseReason::Evicted => {
                    gst::warning!(CAT, obj = element, "{peer}: connection closed: {reason}")
                }
                _ => gst::debug!(CAT, obj = element, "{peer}: connection closed: {reason}"),
            },
        }
    }

    fn accept_failed(&self, error: &std::io::Error) {
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

    fn admit(&self, peer: SocketAddr, request: &PublishRequest) -> bool {
        // Without an element there is nothing to publish to.
        self.element.upgrade().is_some_and(|element| {
            let caller = signals::connecting(peer, self.tls, request);
            element.emit_by_name("caller-connecting", &[&caller])
        })
    }
}
