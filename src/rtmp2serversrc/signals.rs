//! Signals, actions and messages: names and fields as srtsrc has them.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use gst::glib;
use gst::glib::subclass::{Signal, SignalType};
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::Rtmp2ServerSrc;
use super::stream_info::StreamInfo;
use crate::rtmp::{Connect, PublishRequest};
use crate::server::{EndReason, LoginFailure, Publisher, Rejection, clip, without_login};

/// All signals and actions of the element.
pub(super) fn signals() -> Vec<Signal> {
    let structure = || [gst::Structure::static_type()];
    vec![
        // Someone with the right application and key wants to publish. The first
        // handler that returns FALSE turns it away. Called on a thread of its
        // own, with a deadline of 5 s.
        Signal::builder("caller-connecting")
            .param_types(structure())
            .return_type::<bool>()
            .run_last()
            .class_handler(|_| Some(true.to_value()))
            .accumulator(|_hint, _so_far, answer| {
                if answer.get().unwrap_or(false) {
                    ControlFlow::Continue(answer.clone())
                } else {
                    ControlFlow::Break(answer.clone())
                }
            })
            .build(),
        Signal::builder("caller-added")
            .param_types(structure())
            .build(),
        Signal::builder("caller-removed")
            .param_types(structure())
            .build(),
        Signal::builder("caller-rejected")
            .param_types(structure())
            .build(),
        // Ends the publication, if there is one. Returns whether there was.
        Signal::builder("disconnect-publisher")
            .flags(glib::SignalFlags::RUN_LAST | glib::SignalFlags::ACTION)
            .return_type::<bool>()
            .class_handler(|values| {
                let element = values[0].get::<Rtmp2ServerSrc>().ok()?;
                let publisher = element.imp().publisher();
                if let Some(publisher) = &publisher {
                    publisher.disconnect();
                }
                Some(publisher.is_some().to_value())
            })
            .build(),
        // Asks the publisher to connect again, to the URL if there is one. Returns
        // whether it said that it understands that (E-RTMP v2).
        Signal::builder("request-reconnect")
            .param_types([SignalType::from(Option::<String>::static_type())])
            .flags(glib::SignalFlags::RUN_LAST | glib::SignalFlags::ACTION)
            .return_type::<bool>()
            .class_handler(|values| {
                let element = values[0].get::<Rtmp2ServerSrc>().ok()?;
                let tc_url = values[1].get::<Option<String>>().ok()?;
                let asked = element
                    .imp()
                    .publisher()
                    .is_some_and(|publisher| publisher.request_reconnect(tc_url));
                Some(asked.to_value())
            })
            .build(),
    ]
}

/// Whether anybody listens.
pub(super) fn has_handler(element: &Rtmp2ServerSrc, signal: &str) -> bool {
    let id = glib::subclass::SignalId::lookup(signal, Rtmp2ServerSrc::static_type());
    id.is_some_and(|id| glib::signal::signal_has_handler_pending(element, id, None, false))
}

/// What is known of someone who wants to publish. With the key: the handler is to
/// decide. `username` is who logged in, if anybody did.
pub(super) fn connecting(
    peer: SocketAddr,
    tls: bool,
    request: &PublishRequest,
    username: Option<&str>,
) -> gst::Structure {
    caller(peer, tls, request.public_app(), &request.connect)
        .field("application", request.app())
        .field("stream-key", &request.stream_key)
        .field("query", &request.query)
        .field("tc-url", without_login(&request.connect.tc_url))
        .field_if_some("username", username)
        .build()
}

fn caller(
    peer: SocketAddr,
    tls: bool,
    application: &str,
    connect: &Connect,
) -> gst::structure::Builder {
    gst::Structure::builder("application/x-rtmp2server-caller")
        .field("address", peer.to_string())
        .field("application", clip(application))
        .field("flash-ver", clip(&connect.flash_ver))
        .field("tls", tls)
}

/// The same of someone who publishes or did. Without the key.
pub(super) fn publisher(publisher: &Publisher) -> gst::Structure {
    gst::Structure::builder("application/x-rtmp2server-caller")
        .field("address", publisher.peer.to_string())
        .field("application", &publisher.application)
        .field("flash-ver", &publisher.flash_ver)
        .field("tls", publisher.tls)
        .build()
}

/// The signal's structure and the message of a rejection. Without the key. `unreported`
/// is how many there were since the last one that was told of.
pub(super) fn rejected(
    peer: SocketAddr,
    tls: bool,
    request: &PublishRequest,
    why: &Rejection,
    unreported: u64,
) -> (gst::Structure, gst::Structure) {
    let caller = caller(peer, tls, request.public_app(), &request.connect);
    turned_away(caller, &why.to_string(), why.code(), unreported)
}

/// The same of a failed login.
pub(super) fn login_failed(
    peer: SocketAddr,
    tls: bool,
    connect: &Connect,
    why: LoginFailure,
    unreported: u64,
) -> (gst::Structure, gst::Structure) {
    let reason = format!("login failed: {why}");
    let caller = caller(peer, tls, connect.public_app(), connect);
    turned_away(caller, &reason, why.code(), unreported)
}

fn turned_away(
    caller: gst::structure::Builder,
    reason: &str,
    code: &str,
    unreported: u64,
) -> (gst::Structure, gst::Structure) {
    let signal = caller
        .field("reason", reason)
        .field("code", code)
        .field("unreported", unreported)
        .build();
    let mut message = signal.clone();
    message.set_name("rtmp2server-publisher-rejected");
    (signal, message)
}

/// `rtmp2server-listening`: bound, and to what.
pub(super) fn listening(addresses: &[SocketAddr], port: u16) -> gst::Structure {
    let addresses = addresses.iter().map(ToString::to_string);
    gst::Structure::builder("rtmp2server-listening")
        .field("port", u32::from(port))
        .field("addresses", gst::Array::new(addresses))
        .build()
}

/// `rtmp2server-publisher-connected`: its tags follow.
pub(super) fn connected(publisher: &Publisher) -> gst::Structure {
    let mut message = self::publisher(publisher);
    message.set_name("rtmp2server-publisher-connected");
    if let Some(other) = publisher.taken_from {
        message.set("taken-over-from", other.to_string());
    }
    message
}

/// `rtmp2server-stream-info`: what the headers and metadata tell of its stream.
pub(super) fn stream_info(publisher: &Publisher, info: &StreamInfo) -> gst::Structure {
    let mut message = self::publisher(publisher);
    message.set_name("rtmp2server-stream-info");
    info.describe(&mut message);
    message
}

/// `rtmp2server-publisher-disconnected`: all of its tags have been put out.
pub(super) fn disconnected(
    publisher: &Publisher,
    reason: &EndReason,
    tags: u64,
    bytes: u64,
) -> gst::Structure {
    let mut message = self::publisher(publisher);
    message.set_name("rtmp2server-publisher-disconnected");
    message.set("reason", reason.to_string());
    message.set("clean", reason.is_clean());
    message.set("tags", tags);
    message.set("bytes", bytes);
    let duration = gst::ClockTime::try_from(publisher.since.elapsed());
    message.set("duration", duration.unwrap_or(gst::ClockTime::MAX));
    message
}

/// `rtmp2server-pre-eos`: EOS follows, and why.
pub(super) fn pre_eos(reason: &str) -> gst::Structure {
    gst::Structure::builder("rtmp2server-pre-eos")
        .field("reason", reason)
        .build()
}

/// Posts an element message. To be called with no lock held: a bus may have a
/// handler that runs at once.
pub(super) fn post(element: &Rtmp2ServerSrc, message: gst::Structure) {
    let message = gst::message::Element::builder(message).src(element).build();
    // Without a bus there is nobody to tell.
    let _ = element.post_message(message);
}
