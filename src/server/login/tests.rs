use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::amf0::Object;
use crate::server::{ConnectionEvent, Observer, PublisherPolicy, RouteSettings};

struct Deaf;

impl Observer for Deaf {
    fn connection(&self, _: SocketAddr, _: ConnectionEvent<'_>) {}
    fn accept_failed(&self, _: &std::io::Error) {}
    fn certificate(&self, _: &crate::server::CertificateNews) {}
}

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials {
        username: Some(username.into()),
        password: Some(password.into()),
    }
}

fn route(application: Option<&str>, login: Option<Credentials>) -> Arc<Route> {
    let settings = RouteSettings {
        application: application.map(Into::into),
        stream_key: None,
        login,
        timeout: Duration::ZERO,
        keep_listening: false,
        policy: PublisherPolicy::Reject,
    };
    Arc::new(Route::new(settings, 1, Arc::new(Deaf), None))
}

/// A listener, and what it says to a client.
struct Server {
    logins: Logins,
    routes: Vec<Arc<Route>>,
}

impl Server {
    fn new(routes: impl Into<Vec<Arc<Route>>>) -> Self {
        Self {
            logins: Logins::new().unwrap(),
            routes: routes.into(),
        }
    }

    fn judge(&self, app: &str) -> Verdict {
        let connect = Connect::from_object(&Object::from_iter([("app", app)]));
        self.logins.judge(&connect, &self.routes)
    }

    /// The login that an application with its query is admitted with.
    fn admitted(&self, app: &str) -> Option<Credentials> {
        match self.judge(app) {
            Verdict::Admitted(login) => login,
            Verdict::Asked(text)
            | Verdict::Failed {
                description: text, ..
            } => panic!("{app}: {text}"),
        }
    }

    fn asked(&self, app: &str) -> String {
        match self.judge(app) {
            Verdict::Asked(text) => text,
            Verdict::Failed { description, .. } => panic!("{app}: {description}"),
            Verdict::Admitted(_) => panic!("{app} is admitted"),
        }
    }

    fn failed(&self, app: &str) -> (LoginFailure, String) {
        match self.judge(app) {
            Verdict::Failed {
                why, description, ..
            } => (why, description),
            Verdict::Asked(text) => panic!("{app}: {text}"),
            Verdict::Admitted(_) => panic!("{app} is admitted"),
        }
    }

    /// An application with a response as ffmpeg appends it.
    fn adobe(&self, app: &str, user: &str, password: &str) -> String {
        let asked = self.asked(&format!("{app}?authmod=adobe&user={user}"));
        let [salt, opaque] = ["salt", "opaque"].map(|name| value(&asked, name));
        let response = response::adobe(user, password, salt, opaque, "0000abcd");
        let login = format!("?authmod=adobe&user={user}&challenge=0000abcd&response={response}");
        format!("{app}{login}&opaque={opaque}")
    }

    /// The same with Limelight's; `hashed` is what the client takes for the application.
    fn llnw(&self, app: &str, hashed: &str, user: &str, password: &str) -> String {
        let asked = self.asked(&format!("{app}?authmod=llnw&user={user}"));
        let nonce = value(&asked, "nonce");
        let response = response::llnw(&response::Llnw {
            user,
            password,
            application: hashed,
            nonce,
            count: "00000001",
            their_nonce: "0000abcd",
        });
        let login = format!("?authmod=llnw&user={user}&nonce={nonce}&cnonce=0000abcd");
        format!("{app}{login}&nc=00000001&response={response}")
    }
}

/// A value of a description, read as librtmp does.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, query) = text.split_once('?').expect("a query");
    query
        .split('&')
        .filter_map(|part| part.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn guarded() -> Server {
    Server::new([route(Some("live"), Some(credentials("u", "p")))])
}

#[test]
fn the_steps_of_a_login() {
    let server = guarded();
    let asked = server.asked("live");
    assert_eq!(
        asked,
        "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "
    );
    let asked = server.asked("live?authmod=adobe&user=u");
    let start = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=u&salt=";
    assert!(asked.starts_with(start), "{asked}");
    let login = server.adobe("live", "u", "p");
    assert_eq!(server.admitted(&login), Some(credentials("u", "p")));
}

/// ffmpeg reads 255 bytes of a description, and takes user names of up to 49.
#[test]
fn a_challenge_fits_into_what_ffmpeg_reads() {
    let user = "u".repeat(49);
    let server = Server::new([route(None, Some(credentials(&user, "p")))]);
    let asked = server.asked(&format!("live?authmod=adobe&user={user}"));
    assert!(asked.len() <= 255, "{} bytes", asked.len());
}

#[test]
fn what_is_wrong() {
    let server = guarded();
    for (user, password) in [("u", "q"), ("u", ""), ("u", "pp")] {
        let (why, text) = server.failed(&server.adobe("live", user, password));
        assert_eq!(why, LoginFailure::WrongPassword);
        assert!(
            text.ends_with("[ authmod=adobe ] : ?reason=authfailed"),
            "{text}"
        );
        let (why, text) = server.failed(&server.llnw("live", "live", user, password));
        assert_eq!(why, LoginFailure::WrongPassword);
        assert!(
            text.ends_with("[ authmod=llnw ] : ?reason=authfailed"),
            "{text}"
        );
    }
    for user in ["", "U", "uu", "p"] {
        let (why, text) = server.failed(&format!("live?authmod=adobe&user={user}"));
        assert_eq!(why, LoginFailure::NoSuchUser);
        assert!(text.ends_with("?reason=nosuchuser"), "{text}");
    }
}

#[test]
fn a_response_is_good_once_and_for_its_own_server() {
    let server = guarded();
    for login in [
        server.adobe("live", "u", "p"),
        server.llnw("live", "live", "u", "p"),
    ] {
        assert_eq!(guarded().failed(&login).0, LoginFailure::Stale);
        server.admitted(&login);
        assert_eq!(server.failed(&login).0, LoginFailure::Stale);
    }
    // A wrong one does not use its challenge up: to guess again is no easier than anew.
    let right = server.adobe("live", "u", "p");
    let opaque = value(&right, "opaque");
    server.failed(&format!(
        "live?authmod=adobe&user=u&response=x&opaque={opaque}"
    ));
    server.admitted(&right);
}

#[test]
fn malformed_queries_are_turned_away() {
    let server = guarded();
    for query in [
        "",
        "?",
        "?&",
        "?=",
        "?authmod",
        "?authmod=",
        "?authmod=other&user",
        "?user=u",
        "?user=u&response=r",
        "?authmod=adobe",
        "?authmod=llnw",
        "??&&==",
    ] {
        let asked = server.asked(&format!("live{query}"));
        assert!(asked.contains("code=403 need auth"), "{query}: {asked}");
    }
    for query in [
        "response=",
        "response=r",
        "response=r&opaque=",
        "response=r&opaque=0",
        "response=r&opaque=é",
        "challenge=&response==&opaque==",
        "response=r&nonce=n",
    ] {
        for method in ["adobe", "llnw"] {
            let (why, _) = server.failed(&format!("live?authmod={method}&user=u&{query}"));
            assert_eq!(why, LoginFailure::Stale, "{query}");
        }
    }
    // Right in all but one.
    let right = server.adobe("live", "u", "p");
    let opaque = value(&right, "opaque");
    for (from, to) in [
        ("challenge=0000abcd", "challenge=0000abce"),
        ("challenge=0000abcd", ""),
        ("response=", "response=A"),
        ("=&opaque", "&opaque"),
    ] {
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right);
        assert_eq!(
            server.failed(&wrong).0,
            LoginFailure::WrongPassword,
            "{from}"
        );
    }
    let other_method = right.replace("authmod=adobe", "authmod=llnw");
    assert_eq!(server.failed(&other_method).0, LoginFailure::Stale);
    let nonce = format!("{other_method}&nonce={opaque}");
    assert_eq!(server.failed(&nonce).0, LoginFailure::WrongPassword);
    server.admitted(&right);
}

#[test]
fn clients_append_to_what_is_there() {
    let server = guarded();
    for app in ["live", "live/", "live?vhost=a", "live?authmod=adobe&user=x"] {
        server.admitted(&server.adobe(app, "u", "p"));
    }
    // librtmp hashes the application without, ffmpeg with what was there before.
    for hashed in ["live", "live?authmod=llnw"] {
        let login = server.llnw("live?authmod=llnw", hashed, "u", "p");
        assert_eq!(server.admitted(&login), Some(credentials("u", "p")));
    }
    // librtmp appends the last step to the one before.
    let asked = server.asked("live?authmod=adobe&user=u");
    let [salt, opaque] = ["salt", "opaque"].map(|name| value(&asked, name));
    let response = response::adobe("u", "p", salt, opaque, "aW50Cg==");
    let last = format!("&challenge=aW50Cg==&response={response}&opaque={opaque}");
    server.admitted(&format!("live?authmod=adobe&user=u{last}"));
}

#[test]
fn only_who_may_need_it_is_asked() {
    let open = Server::new([route(Some("live"), None)]);
    for app in ["live", "other", "live?authmod=adobe&user=u"] {
        assert_eq!(open.admitted(app), None);
    }
    // To nothing but a rejection of its publish.
    assert_eq!(guarded().admitted("other"), None);
    let mixed = Server::new([
        route(Some("live"), Some(credentials("u", "p"))),
        route(None, None),
        route(Some("live"), Some(credentials("u", "q"))),
        route(Some("live"), Some(credentials("v", "p"))),
    ]);
    assert_eq!(mixed.admitted("live"), None);
    for (user, password) in [("u", "p"), ("u", "q"), ("v", "p")] {
        let proved = mixed.admitted(&mixed.adobe("live", user, password));
        assert_eq!(proved, Some(credentials(user, password)));
    }
    let (why, _) = mixed.failed(&mixed.adobe("live", "v", "q"));
    assert_eq!(why, LoginFailure::WrongPassword);
}

#[test]
fn half_a_login_lets_nobody_in() {
    let halves = [(Some("u"), None), (None, Some("p"))];
    for (username, password) in halves {
        let half = Credentials {
            username: username.map(Into::into),
            password: password.map(Into::into),
        };
        let server = Server::new([route(None, Some(half))]);
        server.asked("live");
        server.failed("live?authmod=adobe&user=");
        if username.is_some() {
            server.failed(&server.adobe("live", "u", ""));
        }
    }
}

#[test]
fn logins_are_taken_off_what_is_shown() {
    for (text, shown) in [
        ("rtmp://h/live", "rtmp://h/live"),
        (
            "rtmp://h/live?a=1&authmod=adobe&user=u",
            "rtmp://h/live?a=1",
        ),
        (
            "rtmp://h/live?authmod=llnw?authmod=llnw&user=u",
            "rtmp://h/live",
        ),
        ("live?xauthmod=a", "live?xauthmod=a"),
    ] {
        assert_eq!(without_login(text), shown);
    }
    let shown = format!("{:?}", credentials("user", "s3cret"));
    assert!(
        shown.contains("user") && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn the_element_that_came_closest_hears_of_it() {
    let [one, other, last] = [("u", "p"), ("v", "p"), ("u", "q")]
        .map(|(user, password)| route(Some("live"), Some(credentials(user, password))));
    let server = Server::new([one.clone(), other.clone(), last.clone()]);
    let closest = |app: &str| match server.judge(app) {
        Verdict::Failed { closest, .. } => closest,
        _ => panic!("{app} does not fail"),
    };
    assert!(Arc::ptr_eq(&closest("live?authmod=adobe&user=x"), &one));
    assert!(Arc::ptr_eq(
        &closest(&server.adobe("live", "v", "x")),
        &other
    ));
    assert!(Arc::ptr_eq(&closest(&server.adobe("live", "u", "x")), &one));
    let login = server.adobe("live", "u", "q");
    server.admitted(&login);
    assert!(Arc::ptr_eq(&closest(&login), &last));
}
