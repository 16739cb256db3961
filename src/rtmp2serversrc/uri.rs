//! One string for host, port, application and stream key.

use glib::{Uri, UriFlags};

use super::settings::{DEFAULT_HOST, DEFAULT_PORT, Settings};

/// What the element answers to in `playbin3 uri=…`. `rtmp://` is rtmp2src's: it
/// connects to somebody else's server.
pub(super) const PROTOCOLS: &[&str] = &["rtmpserver", "rtmpsserver"];

/// What is shown instead of a secret.
const MASK: &str = "***";

/// Where clients look for rtmps:// without a port.
const DEFAULT_TLS_PORT: u32 = 443;

impl Settings {
    /// Takes over `SCHEME://[USER:PASSWORD@]HOST[:PORT][/APPLICATION[/KEY]]`, with any of
    /// `schemes`. What is not there is any, but a login stays as it was; an application
    /// may have several segments. The path is taken as it is written, as encoders send it.
    pub fn set_location(&mut self, location: &str, schemes: &[&str]) -> Result<(), glib::Error> {
        let bad = |why: &str| {
            // Without the location itself: it holds the key.
            glib::Error::new(gst::URIError::BadUri, why)
        };
        let flags = UriFlags::ENCODED_PATH | UriFlags::HAS_PASSWORD;
        let uri = Uri::parse(location, flags).map_err(|_| bad("this is no URI"))?;
        if !schemes.contains(&uri.scheme().as_str()) {
            let text = format!("the scheme must be {}", schemes.join(" or "));
            return Err(glib::Error::new(gst::URIError::UnsupportedProtocol, &text));
        }
        let host = uri.host().filter(|host| !host.is_empty());
        // It would be shown, with what is in front.
        if host.as_ref().is_some_and(|host| host.contains('@')) {
            return Err(bad("an @ in the user name or password is written %40"));
        }
        let wants_tls = matches!(uri.scheme().as_str(), "rtmps" | "rtmpsserver");
        let port = match uri.port() {
            -1 if wants_tls => DEFAULT_TLS_PORT,
            -1 => DEFAULT_PORT,
            port => port as u32,
        };
        let path = uri.path();
        let segments: Vec<String> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        let (application, key) = match segments.as_slice() {
            [] => (None, None),
            [application] => (Some(application.clone()), None),
            [application @ .., key] => (Some(application.join("/")), Some(key.clone())),
        };
        let port = u16::try_from(port).map_err(|_| bad("the port is above 65535"))?;
        // Set again as it was read, the key would be one that anybody can guess.
        if key.as_deref() == Some(MASK) || uri.password().as_deref() == Some(MASK) {
            return Err(bad(
                "it stems from reading location: *** stands for a secret",
            ));
        }
        self.location = Some(public(
            location,
            &uri,
            application.as_deref(),
            key.is_some(),
        ));
        self.location_has_login = uri.user().is_some();
        self.location_error = None;
        self.port = port;
        self.host = host.map_or_else(|| DEFAULT_HOST.to_owned(), |host| host.to_string());
        self.application = application;
        self.stream_key = key;
        if let Some(user) = uri.user() {
            self.username = Some(user.into());
            self.password = uri.password().map(Into::into);
        }
        self.location_wants_tls = wants_tls;
        Ok(())
    }

    /// Back to what is listened on without a location.
    pub fn forget_location(&mut self) {
        if self.location.take().is_some() {
            if std::mem::take(&mut self.location_has_login) {
                self.username = None;
                self.password = None;
            }
            let default = Self::default();
            self.host = default.host;
            self.port = default.port;
            self.application = None;
            self.stream_key = None;
            self.location_wants_tls = false;
        }
    }

    /// The location as a URI that this element answers to, however it was set: for
    /// people to read as well.
    pub fn uri(&self) -> Option<String> {
        let scheme = PROTOCOLS[usize::from(self.location_wants_tls)];
        let location = self.location.as_ref()?;
        let (_, rest) = location.split_once("://")?;
        Some(format!("{scheme}://{rest}"))
    }
}

/// A location for people to read, put together from what is no secret: nobody can say
/// what else a key may look like.
fn public(location: &str, uri: &Uri, application: Option<&str>, has_key: bool) -> String {
    let authority = location
        .split_once(':')
        .and_then(|(_, rest)| rest.strip_prefix("//"))
        .and_then(|rest| rest.split(['/', '?', '#']).next());
    let authority = authority.unwrap_or_default();
    let mut public = format!("{}://", uri.scheme());
    // Not decoded, so that it stays a URI.
    let host = match authority.rsplit_once('@') {
        Some((login, host)) => {
            match login.split_once(':') {
                Some((user, _)) => public.extend([user, ":", MASK]),
                None => public.push_str(login),
            }
            public.push('@');
            host
        }
        None => authority,
    };
    public.push_str(host);
    if let Some(application) = application {
        public.extend(["/", application]);
    }
    if has_key {
        public.extend(["/", MASK]);
    }
    if uri.query().is_some() {
        public.extend(["?", MASK]);
    }
    if uri.fragment().is_some() {
        public.extend(["#", MASK]);
    }
    public
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(
        location: &str,
    ) -> Result<(String, u16, Option<String>, Option<String>), glib::Error> {
        gst::init().unwrap();
        let mut settings = Settings::default();
        settings.set_location(location, &["rtmp", "rtmps", "rtmpserver"])?;
        let Settings {
            host,
            port,
            application,
            stream_key,
            ..
        } = settings;
        Ok((host, port, application, stream_key))
    }

    #[test]
    fn what_a_location_says() {
        let some = |s: &str| Some(s.to_owned());
        for (location, expected) in [
            ("rtmpserver://", ("0.0.0.0", 1935, None, None)),
            ("rtmp://127.0.0.1", ("127.0.0.1", 1935, None, None)),
            ("rtmp://localhost:1936/", ("localhost", 1936, None, None)),
            ("rtmps://localhost", ("localhost", 443, None, None)),
            ("rtmps://localhost:1936", ("localhost", 1936, None, None)),
            ("rtmp://0.0.0.0:0/live", ("0.0.0.0", 0, some("live"), None)),
            (
                "rtmp://[::]:1935/live/key",
                ("::", 1935, some("live"), some("key")),
            ),
            (
                "rtmp://h/live/inst/key",
                ("h", 1935, some("live/inst"), some("key")),
            ),
            (
                "rtmp://h/live/a%20b",
                ("h", 1935, some("live"), some("a%20b")),
            ),
        ] {
            let (host, port, application, key) = expected;
            let expected = (host.to_owned(), port, application, key);
            assert_eq!(parsed(location).unwrap(), expected, "{location}");
        }
    }

    #[test]
    fn a_login_in_a_location() {
        gst::init().unwrap();
        let mut settings = Settings::default();
        let of = |settings: &Settings| (settings.username.clone(), settings.password.clone());
        let some = |s: &str| Some(s.to_owned());
        let mut set = |location: &str| {
            settings.set_location(location, &["rtmp"]).unwrap();
            (of(&settings), settings.location.clone().unwrap())
        };
        let login = (some("u"), some("p@:s"));
        assert_eq!(
            set("rtmp://u:p%40:s@h/live/key"),
            (login.clone(), "rtmp://u:***@h/live/***".to_owned())
        );
        // One without leaves what there is.
        assert_eq!(set("rtmp://h/l@x").0, login);
        assert_eq!(set("rtmp://u@h").0, (some("u"), None));
        settings.forget_location();
        assert_eq!(of(&settings), (None, None));
        // Those that were set by themselves stay.
        settings.username = some("u");
        settings.set_location("rtmp://h/live", &["rtmp"]).unwrap();
        settings.forget_location();
        assert_eq!(of(&settings).0, some("u"));
    }

    #[test]
    fn what_is_no_location() {
        for location in ["", "live", "http://h/live/key", "rtmp://h:99999/live"] {
            let error = parsed(location).unwrap_err();
            assert!(!error.to_string().contains("live"), "{error}");
        }
    }
    #[test]
    fn the_uri_says_whether_it_is_tls() {
        gst::init().unwrap();
        let mut settings = Settings::default();
        for (location, uri) in [
            ("rtmps://h:1/live/key", "rtmpsserver://h:1/live/***"),
            ("rtmpsserver://h:1", "rtmpsserver://h:1"),
            ("rtmp://h:1/live", "rtmpserver://h:1/live"),
            ("rtmpserver://h:1", "rtmpserver://h:1"),
        ] {
            let schemes = ["rtmp", "rtmps", "rtmpserver", "rtmpsserver"];
            settings.set_location(location, &schemes).unwrap();
            assert_eq!(settings.uri().as_deref(), Some(uri));
            assert_eq!(settings.tls().is_err(), uri.starts_with("rtmpss"));
        }
        settings.forget_location();
        assert_eq!(settings.uri(), None);
        assert_eq!(settings.tls(), Ok(None));
    }
}
