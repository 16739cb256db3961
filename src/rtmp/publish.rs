//! What a client says of itself and of what it publishes.

use std::fmt;
use std::sync::Arc;

use super::Capabilities;
use crate::amf0::{Object, Value};

/// The `connect` command (RTMP 1.0, section 7.2.1.1). No text in it has a NUL: to some
/// who read it on, that is where a text ends.
#[derive(Clone, Default, PartialEq)]
pub struct Connect {
    /// `app` as the client sent it. The query may hold a token or the response of a
    /// login. Never log it.
    pub app_as_sent: String,
    /// `tcUrl`: where the client believes it connected to. Most have the query of
    /// the application here as well. Never log it.
    pub tc_url: String,
    /// `flashVer`: the client's name for itself.
    pub flash_ver: String,
    /// `objectEncoding`, 0 (AMF0) or 3 (AMF3).
    pub object_encoding: f64,
    pub capabilities: Capabilities,
}

impl Connect {
    pub(crate) fn from_object(object: &Object) -> Self {
        let string = |name| {
            let value = object.get(name).and_then(Value::as_str);
            without_nul(value.unwrap_or_default())
        };
        Self {
            app_as_sent: string("app"),
            tc_url: string("tcUrl"),
            flash_ver: string("flashVer"),
            object_encoding: object
                .get("objectEncoding")
                .and_then(Value::as_number)
                .unwrap_or(0.0),
            capabilities: Capabilities::from_connect(object),
        }
    }

    /// Application without query and outer slashes: `live` of `/live/?vhost=a`.
    pub fn app(&self) -> &str {
        let (app, _query) = split_query(&self.app_as_sent);
        app.trim_matches('/')
    }

    /// What followed the first `?` in the application, without it.
    pub fn app_query(&self) -> &str {
        split_query(&self.app_as_sent).1
    }

    /// The application for people to read, before it is known whether its last part
    /// is the stream key: without that part, if there are several.
    pub fn public_app(&self) -> &str {
        let app = self.app();
        app.rsplit_once('/').map_or(app, |(app, _)| app)
    }
}

/// What is before and what is behind the first `?`.
fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// Leaves out everything that may hold a key, a token or a login: people log with
/// `{:?}`.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("app", &self.public_app())
            .field("flash_ver", &self.flash_ver)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// Replaced and not left out, so that it makes no other key of a key.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// A `publish` command that waits for a decision (RTMP 1.0, section 7.2.2.6).
#[derive(Clone, PartialEq)]
pub struct PublishRequest {
    /// The publishing name without its query: the secret. Never log it.
    pub stream_key: String,
    /// What followed a `?` in the publishing name, without it. May hold a token.
    pub query: String,
    pub connect: Arc<Connect>,
}

impl PublishRequest {
    pub(crate) fn new(connect: Arc<Connect>, name: &str) -> Self {
        let name = without_nul(name);
        let (key, query) = split_query(&name);
        Self {
            stream_key: key.to_owned(),
            query: query.to_owned(),
            connect,
        }
    }
}

impl PublishRequest {
    /// The application, as in [`Connect::app`].
    pub fn app(&self) -> &str {
        self.connect.app()
    }

    /// The application for people to read. Some put the whole URL where only the
    /// server belongs: then the application's last part is the key.
    pub fn public_app(&self) -> &str {
        match self.app().rsplit_once('/') {
            Some((app, _key)) if self.stream_key.is_empty() => app,
            _ => self.app(),
        }
    }
}

/// Likewise.
impl fmt::Debug for PublishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishRequest")
            .field("app", &self.public_app())
            .field("flash_ver", &self.connect.flash_ver)
            .finish_non_exhaustive()
    }
}

/// How a publisher said that it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnpublishReason {
    FcUnpublish,
    DeleteStream,
    CloseStream,
}

impl fmt::Display for UnpublishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FcUnpublish => "FCUnpublish",
            Self::DeleteStream => "deleteStream",
            Self::CloseStream => "closeStream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(app: &str) -> Connect {
        Connect::from_object(&Object::from_iter([("app", app), ("tcUrl", app)]))
    }

    #[test]
    fn an_application_and_its_query() {
        for (sent, app, query) in [
            ("live", "live", ""),
            ("/live/?vhost=a/b", "live", "vhost=a/b"),
            (
                "live?a=1?authmod=adobe&user=u",
                "live",
                "a=1?authmod=adobe&user=u",
            ),
            ("?", "", ""),
            ("live/inst/", "live/inst", ""),
        ] {
            let connect = connect(sent);
            assert_eq!((connect.app(), connect.app_query()), (app, query));
            assert_eq!(connect.app_as_sent, sent);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!(
            "{:?}",
            connect("live/s3cret?authmod=adobe&user=u&response=r3sponse")
        );
        assert!(shown.contains("live"), "{shown}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("r3sponse"),
            "{shown}"
        );
    }
}
