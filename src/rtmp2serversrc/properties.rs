//! The properties: what `gst-inspect-1.0` shows, and how they reach [`Settings`].

use gst::glib;
use gst::prelude::*;

use super::settings::*;
use super::{Compat, PublisherPolicy, TimestampMode};

/// All properties of the element.
pub(super) fn param_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("host")
            .nick("Host")
            .blurb(
                "Address or host name to listen on: 0.0.0.0 = all IPv4 addresses, \
                 :: = all IPv6 and IPv4 addresses",
            )
            .default_value(DEFAULT_HOST)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("port")
            .nick("Port")
            .blurb(
                "TCP port to listen on, 0 = any free one, see current-port. Elements of one \
                 process that name the same host and port share it",
            )
            .maximum(u16::MAX.into())
            .default_value(DEFAULT_PORT)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("current-port")
            .nick("Current port")
            .blurb("TCP port listened on now, 0 = none")
            .maximum(u16::MAX.into())
            .read_only()
            .build(),
        glib::ParamSpecString::builder("location")
            .nick("Location")
            .blurb(
                "rtmp[s]://HOST:PORT/APPLICATION/KEY as a shorthand for host, port, application \
                 and stream-key; what is left out is any. rtmps needs certificate-file and \
                 private-key-file, and its default port is 443. USER:PASSWORD@HOST sets username \
                 and password. Reads back with *** for key, password and query",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("application")
            .nick("Application")
            .blurb(
                "Application that publishers must name (\"live\" in rtmp://host/live/key), \
                 without query and outer slashes, NULL = any; taken up by the next publish",
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("stream-key")
            .nick("Stream key")
            .blurb(
                "Stream key that publishers must know (\"key\" in rtmp://host/live/key), \
                 without query, NULL = any; taken up by the next publish. Can't be read back, \
                 so that it is in no dump of the pipeline",
            )
            .write_only()
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("username")
            .nick("User name")
            .blurb(
                "User name that publishers must log in with, without ? and &, NULL = no login; \
                 needs a password; taken up by the next connection",
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("password")
            .nick("Password")
            .blurb(
                "Password that publishers must log in with, by the Adobe or the Limelight \
                 challenge, NULL = no login; taken up by the next connection. Can't be read \
                 back, so that it is in no dump of the pipeline",
            )
            .write_only()
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("timeout")
            .nick("Timeout")
            .blurb(
                "Seconds of silence after which a publisher counts as lost, 0 = never; \
                 taken up by the next publish",
            )
            .default_value(DEFAULT_TIMEOUT)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("loop")
            .nick("Loop")
            .blurb(
                "Wait for the next publisher when one has left, instead of sending EOS; \
                 taken up by the next publish",
            )
            .default_value(false)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("publisher-policy", PublisherPolicy::default())
            .nick("Publisher policy")
            .blurb(
                "What a publisher gets that comes while another one publishes and no other \
                 element on the port takes it; taken up by the next publish",
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("is-live")
            .nick("Is live")
            .blurb(
                "Act as a live source: no preroll, data in PLAYING only. \
                 If false, prerolls on the first publisher",
            )
            .default_value(true)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("latency")
            .nick("Latency")
            .blurb(
                "Milliseconds of network jitter that synchronising sinks shall absorb, 0 = none; \
                 reported in the LATENCY query",
            )
            .default_value(DEFAULT_LATENCY)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("timestamp-mode", TimestampMode::default())
            .nick("Timestamp mode")
            .blurb(
                "What times the tags carry. The first publisher's are kept either way, \
                 up to a step back by 2^31 ms after 24.8 days",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("compat", Compat::default())
            .nick("Compatibility")
            .blurb(
                "Whom the tags have to suit: flvdemux = one that knows no Enhanced RTMP, \
                 as in GStreamer 1.22",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("certificate-file")
            .nick("Certificate file")
            .blurb(
                "PEM file with the server's certificate, and those between it and its authority \
                 behind it. Set together with private-key-file, every connection is TLS (RTMPS), \
                 1.2 or 1.3; NULL = none is. Read again when it changes",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("private-key-file")
            .nick("Private key file")
            .blurb(
                "PEM file with the certificate's private key, not encrypted; may be the same \
                 file. Read again when it changes",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("proxy-protocol", ProxyProtocol::default())
            .nick("PROXY protocol")
            .blurb(
                "Whether a load balancer (HAProxy's send-proxy or send-proxy-v2, AWS NLB) says \
                 first whose connection it is. Whoever can reach the port can say anything there: \
                 let the balancer alone reach it",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-connections")
            .nick("Maximum connections")
            .blurb(
                "Open connections that do not publish; when there are more, \
                 the oldest of the address that holds the most is closed",
            )
            .minimum(1)
            .default_value(DEFAULT_MAX_CONNECTIONS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-message-size")
            .nick("Maximum message size")
            .blurb(
                "Bytes of the largest audio, video or data message that a publisher \
                 may send; it is disconnected at a larger one",
            )
            .minimum(1024)
            .maximum(DEFAULT_MAX_MESSAGE_SIZE)
            .default_value(DEFAULT_MAX_MESSAGE_SIZE)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-queue-bytes")
            .nick("Maximum queue bytes")
            .blurb(
                "Bytes held for a slow pipeline before the publisher is slowed down; \
                 nothing is dropped, and one message always fits, also with 0. Each message counts \
                 128 bytes more than it has",
            )
            .default_value(DEFAULT_MAX_QUEUE_BYTES)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("no-eof-is-error")
            .nick("No EOF is error")
            .blurb(
                "Post an error instead of sending EOS if the last publisher was lost \
                 without FCUnpublish, deleteStream or closeStream",
            )
            .default_value(false)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Counters since the element was started; \
                 received = pushed + queued + withheld at any time",
            )
            .read_only()
            .build(),
    ]
}

impl Settings {
    /// Takes over a property's new value.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        // The types are those of the specifications above; GObject checks them.
        let string = || value.get::<Option<String>>().expect("string property");
        let number = || value.get::<u32>().expect("unsigned property");
        let flag = || value.get::<bool>().expect("boolean property");
        match name {
            "location" => {
                // A URL that can't be obeyed must not leave the port open to all:
                // the error is kept for the start.
                match string() {
                    Some(location) => {
                        let schemes = ["rtmp", "rtmps", "rtmpserver", "rtmpsserver"];
                        if let Err(error) = self.set_location(&location, &schemes) {
                            self.location_error = Some(error.message().to_owned());
                        }
                    }
                    None => {
                        self.location_error = None;
                        self.forget_location();
                    }
                }
            }
            "host" => self.host = string().unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            "port" => self.port = u16::try_from(number()).expect("range of the property"),
            "application" => self.application = string(),
            "stream-key" => self.stream_key = string(),
            "username" => self.username = string(),
            "password" => self.password = string(),
            "timeout" => self.timeout = number(),
            "loop" => self.keep_listening = flag(),
            "publisher-policy" => self.publisher_policy = value.get().expect("enum property"),
            "is-live" => self.is_live = flag(),
            "latency" => self.latency = number(),
            "timestamp-mode" => self.timestamp_mode = value.get().expect("enum property"),
            "compat" => self.compat = value.get().expect("enum property"),
            "certificate-file" => self.certificate_file = string(),
            "private-key-file" => self.private_key_file = string(),
            "proxy-protocol" => self.proxy_protocol = value.get().expect("enum property"),
            "max-connections" => self.max_connections = number(),
            "max-message-size" => self.max_message_size = number(),
            "max-queue-bytes" => self.max_queue_bytes = number(),
            "no-eof-is-error" => self.no_eof_is_error = flag(),
            _ => unreachable!("GObject knows the names: {name}"),
        }
    }

    /// A property's value; none for those that are not settings.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "location" => self.location.to_value(),
            "host" => self.host.to_value(),
            "port" => u32::from(self.port).to_value(),
            "application" => self.application.to_value(),
            "username" => self.username.to_value(),
            "timeout" => self.timeout.to_value(),
            "loop" => self.keep_listening.to_value(),
            "publisher-policy" => self.publisher_policy.to_value(),
            "is-live" => self.is_live.to_value(),
            "latency" => self.latency.to_value(),
            "timestamp-mode" => self.timestamp_mode.to_value(),
            "compat" => self.compat.to_value(),
            "certificate-file" => self.certificate_file.to_value(),
            "private-key-file" => self.private_key_file.to_value(),
            "proxy-protocol" => self.proxy_protocol.to_value(),
            "max-connections" => self.max_connections.to_value(),
            "max-message-size" => self.max_message_size.to_value(),
            "max-queue-bytes" => self.max_queue_bytes.to_value(),
            "no-eof-is-error" => self.no_eof_is_error.to_value(),
            _ => return None,
        })
    }
}
