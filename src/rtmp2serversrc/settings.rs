//! What the properties say. Copied out whenever it is needed, so the lock is
//! never held across anything that blocks.

use std::path::PathBuf;
use std::time::Duration;

use gst::glib;

use super::{Compat, PublisherPolicy, TimestampMode};
use crate::rtmp::Limits;
use crate::server::{Credentials, RouteSettings, TlsFiles};

pub(super) const DEFAULT_HOST: &str = "0.0.0.0";
pub(super) const DEFAULT_PORT: u32 = 1935;
pub(super) const DEFAULT_TIMEOUT: u32 = 30;
/// Milliseconds.
pub(super) const DEFAULT_LATENCY: u32 = 200;
pub(super) const DEFAULT_MAX_CONNECTIONS: u32 = 64;
pub(super) const DEFAULT_MAX_MESSAGE_SIZE: u32 = Limits::LARGEST_MESSAGE as u32;
pub(super) const DEFAULT_MAX_QUEUE_BYTES: u32 = 8 << 20;

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstRtmp2ServerSrcProxyProtocol")]
pub enum ProxyProtocol {
    /// Nothing before RTMP, or TLS.
    #[default]
    #[enum_value(name = "Clients connect themselves", nick = "none")]
    None,
    /// A header of the PROXY protocol, and nobody is served without.
    #[enum_value(
        name = "Load balancers connect, and say for whom in a PROXY header, version 1 or 2",
        nick = "required"
    )]
    Required,
}

#[derive(Clone)]
pub(super) struct Settings {
    /// As it may be shown, without secrets; host, port, application and stream key come
    /// from it.
    pub location: Option<String>,
    /// User name and password come from it as well.
    pub location_has_login: bool,
    /// The location says rtmps: it must not be served without TLS.
    pub location_wants_tls: bool,
    /// Why the last location was not taken.
    pub location_error: Option<String>,
    pub host: String,
    pub port: u16,
    pub application: Option<String>,
    pub stream_key: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    /// Seconds, 0 = never.
    pub timeout: u32,
    pub keep_listening: bool,
    pub publisher_policy: PublisherPolicy,
    pub is_live: bool,
    /// Milliseconds.
    pub latency: u32,
    pub timestamp_mode: TimestampMode,
    pub compat: Compat,
    pub certificate_file: Option<String>,
    pub private_key_file: Option<String>,
    pub proxy_protocol: ProxyProtocol,
    pub max_connections: u32,
    pub max_message_size: u32,
    pub max_queue_bytes: u32,
    pub no_eof_is_error: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
            location_has_login: false,
            location_wants_tls: false,
            location_error: None,
            host: DEFAULT_HOST.to_owned(),
            port: DEFAULT_PORT as u16,
            application: None,
            stream_key: None,
            username: None,
            password: None,
            timeout: DEFAULT_TIMEOUT,
            keep_listening: false,
            publisher_policy: PublisherPolicy::default(),
            is_live: true,
            latency: DEFAULT_LATENCY,
            timestamp_mode: TimestampMode::default(),
            compat: Compat::default(),
            certificate_file: None,
            private_key_file: None,
            proxy_protocol: ProxyProtocol::default(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            max_queue_bytes: DEFAULT_MAX_QUEUE_BYTES,
            no_eof_is_error: false,
        }
    }
}

impl Settings {
    /// Who may publish; none = anyone.
    fn login(&self) -> Option<Credentials> {
        let (username, password) = (self.username.clone(), self.password.clone());
        (username.is_some() || password.is_some()).then_some(Credentials { username, password })
    }

    /// Why these settings are no use to start with.
    pub fn error(&self) -> Option<String> {
        if let Some(error) = &self.location_error {
            return Some(format!("the location is not usable: {error}"));
        }
        // While it runs, one follows the other.
        match (&self.username, &self.password) {
            (Some(_), None) => Some("there is a username without a password".to_owned()),
            (None, Some(_)) => Some("there is a password without a username".to_owned()),
            // Clients put it into a query as it is.
            (Some(user), _) if user.contains(['?', '&']) => {
                Some("a username holds no ? and no &: no encoder could send it".to_owned())
            }
            _ => None,
        }
    }

    /// The part that a route takes, now or at the next publish.
    pub fn route(&self) -> RouteSettings {
        RouteSettings {
            application: self.application.clone(),
            stream_key: self.stream_key.clone(),
            login: self.login(),
            timeout: Duration::from_secs(self.timeout.into()),
            keep_listening: self.keep_listening,
            policy: self.publisher_policy.into(),
        }
    }

    /// TLS if both files are set. Never silently without: an error if one is
    /// missing, or if the location wants TLS and there is none.
    pub fn tls(&self) -> Result<Option<TlsFiles>, &'static str> {
        match (&self.certificate_file, &self.private_key_file) {
            (Some(certificate), Some(private_key)) => Ok(Some(TlsFiles {
                certificate: PathBuf::from(certificate),
                private_key: PathBuf::from(private_key),
            })),
            (Some(_), None) => {
                Err("certificate-file is set and private-key-file is not: TLS needs both")
            }
            (None, Some(_)) => {
                Err("private-key-file is set and certificate-file is not: TLS needs both")
            }
            (None, None) if self.location_wants_tls => Err(
                "the location says rtmps, which needs a certificate: set certificate-file and \
                 private-key-file, or use rtmp://",
            ),
            (None, None) => Ok(None),
        }
    }
}
