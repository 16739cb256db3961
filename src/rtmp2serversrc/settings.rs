//! What the properties say. Copied out whenever it is needed, so the lock is
//! never held across anything that blocks.

use std::time::Duration;

use super::{Compat, PublisherPolicy, TimestampMode};
use crate::rtmp::Limits;
use crate::server::{Credentials, RouteSettings};

pub(super) const DEFAULT_HOST: &str = "0.0.0.0";
pub(super) const DEFAULT_PORT: u32 = 1935;
pub(super) const DEFAULT_TIMEOUT: u32 = 30;
/// Milliseconds.
pub(super) const DEFAULT_LATENCY: u32 = 200;
pub(super) const DEFAULT_MAX_CONNECTIONS: u32 = 64;
pub(super) const DEFAULT_MAX_MESSAGE_SIZE: u32 = Limits::LARGEST_MESSAGE as u32;
pub(super) const DEFAULT_MAX_QUEUE_BYTES: u32 = 8 << 20;

#[derive(Clone)]
pub(super) struct Settings {
    /// As it was set; host, port, application and stream key come from it.
    pub location: Option<String>,
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
    pub max_connections: u32,
    pub max_message_size: u32,
    pub max_queue_bytes: u32,
    pub no_eof_is_error: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
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
}
