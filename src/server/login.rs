//! Logins by user name and password, as encoders speak them over `connect`.
//!
//! Nobody published these dialogues; what clients do is in the sources of FFmpeg
//! (`libavformat/rtmpproto.c`), GStreamer (`gst/rtmp2/rtmp/rtmpclient.c`) and librtmp
//! (`PublisherAuth`, also in OBS Studio). The client puts its part into the query of the
//! application, the server puts its own into the description of a rejection, and each
//! step is a connection of its own:
//!
//! ```text
//!   live                                          code=403 need auth; authmod=adobe
//!   live?authmod=adobe&user=U                     ?reason=needauth&user=U&salt=…&challenge=…&opaque=…
//!   live?authmod=adobe&user=U&challenge=…&response=…&opaque=…           accepted
//! ```
//!
//! With `authmod=llnw`, Limelight's, the middle is a `nonce` and the response that of
//! HTTP's digest authentication.

mod challenge;
mod response;

use std::fmt;
use std::sync::Arc;

use super::event::LoginFailure;
use super::routing::{Route, same_secret};
use crate::rtmp::Connect;
use challenge::Challenges;

/// What a publisher has to know. With half of it nobody gets in: of two properties
/// that are changed one after the other, the first must not open the door.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: Option<String>,
    pub password: Option<String>,
}

impl Credentials {
    fn is_of(&self, user: &str) -> bool {
        self.username.as_deref() == Some(user)
    }
}

/// The user name is sent in the clear, the password is a secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The logins of a listener.
pub(super) struct Logins {
    challenges: Challenges,
}

/// What a `connect` comes to.
pub(super) enum Verdict {
    /// It may go on, as the user that it proved to be, if it was asked.
    Admitted(Option<Credentials>),
    /// One of the first steps: it is to come again. The description says with what.
    Asked(String),
    Failed {
        why: LoginFailure,
        description: String,
        /// Whose element shall hear of it.
        closest: Arc<Route>,
    },
}

impl Logins {
    /// An error if the system has no random numbers.
    pub fn new() -> std::io::Result<Self> {
        let challenges = Challenges::new()?;
        Ok(Self { challenges })
    }

    /// Decides about a `connect`, by what is set on the routes now. Only the
    /// application is known yet, so it must log in if all routes that may be meant want
    /// it, or if it asks to; what it proved counts at the publish.
    pub fn judge(&self, connect: &Connect, routes: &[Arc<Route>]) -> Verdict {
        let mut is_open = false;
        let mut logins = Vec::new();
        for route in routes {
            let settings = route.settings();
            match settings.login {
                _ if !settings.takes_application(connect.app()) => {}
                None => is_open = true,
                Some(login) => logins.push((login, route)),
            }
        }
        let request = Request::parse(connect.app_query());
        let Some((_, closest)) = logins.first() else {
            return Verdict::Admitted(None);
        };
        if is_open && request.method.is_none() {
            return Verdict::Admitted(None);
        }
        // What all of them speak, unless it names another one.
        let (Some(method), Some(user)) = (request.method, request.user) else {
            let method = request.method.unwrap_or(Method::Adobe);
            return Verdict::Asked(method.ask_for_user());
        };
        let failed = |why: LoginFailure, closest: &Arc<Route>| Verdict::Failed {
            why,
            description: method.refuse(why),
            closest: closest.clone(),
        };
        let of_user = |(login, _): &&(Credentials, _)| login.is_of(user);
        let Some((_, closest)) = logins.iter().find(of_user) else {
            return failed(LoginFailure::NoSuchUser, closest);
        };
        let Some(response) = request.response else {
            return Verdict::Asked(method.challenge(user, &self.challenges));
        };
        let token = match method {
            Method::Adobe => request.opaque,
            Method::Llnw => request.nonce,
        };
        let Some(challenge) = token.and_then(|token| self.challenges.recognise(token)) else {
            return failed(LoginFailure::Stale, closest);
        };
        let is_right = |password: &str| match method {
            Method::Adobe => {
                let their_challenge = request.challenge.unwrap_or_default();
                let token = challenge.token();
                let expected =
                    response::adobe(user, password, &challenge.salt(), &token, their_challenge);
                same_secret(expected.as_bytes(), response.as_bytes())
            }
            Method::Llnw => response::llnw_applications(&connect.app_as_sent).any(|application| {
                let expected = response::llnw(&response::Llnw {
                    user,
                    password,
                    application,
                    nonce: &challenge.token(),
                    count: request.count.unwrap_or_default(),
                    their_nonce: request.their_nonce.unwrap_or_default(),
                });
                same_secret(expected.as_bytes(), response.as_bytes())
            }),
        };
        let proved = logins
            .iter()
            .filter(of_user)
            .find(|(login, _)| login.password.as_deref().is_some_and(is_right));
        match proved {
            None => failed(LoginFailure::WrongPassword, closest),
            // Who knows the answer may still be somebody who listened.
            Some((_, route)) if !self.challenges.spend(&challenge) => {
                failed(LoginFailure::Stale, route)
            }
            Some((login, _)) => Verdict::Admitted(Some(login.clone())),
        }
    }
}

/// The two dialogues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Adobe,
    Llnw,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Adobe => "adobe",
            Self::Llnw => "llnw",
        }
    }

    // The texts are what Adobe's and Wowza's servers send, because clients search them:
    // ffmpeg and librtmp for `authmod=adobe`, `code=403 need auth` and `?reason=…`,
    // rtmp2sink for the brackets and colons of the second and third. ffmpeg takes the
    // name up to a space and 255 bytes of the whole.

    fn ask_for_user(self) -> String {
        let name = self.name();
        format!("[ AccessManager.Reject ] : [ code=403 need auth; authmod={name} ] : ")
    }

    fn challenge(self, user: &str, challenges: &Challenges) -> String {
        let challenge = challenges.issue();
        let token = challenge.token();
        let query = match self {
            // Clients hash `opaque`, which they bring back. `challenge` is for servers
            // that give no `opaque`, but some clients look for it.
            Self::Adobe => {
                let (salt, end) = (challenge.salt(), &token[token.len() - 8..]);
                format!("&salt={salt}&challenge={end}&opaque={token}")
            }
            Self::Llnw => format!("&nonce={token}"),
        };
        self.reject(&format!("needauth&user={user}{query}"))
    }

    fn refuse(self, why: LoginFailure) -> String {
        self.reject(match why {
            LoginFailure::NoSuchUser => "nosuchuser",
            LoginFailure::WrongPassword | LoginFailure::Stale => "authfailed",
        })
    }

    fn reject(self, reason: &str) -> String {
        let name = self.name();
        format!("[ AccessManager.Reject ] : [ authmod={name} ] : ?reason={reason}")
    }
}

/// A client's part, from the query of its application.
#[derive(Default)]
struct Request<'a> {
    method: Option<Method>,
    user: Option<&'a str>,
    response: Option<&'a str>,
    challenge: Option<&'a str>,
    opaque: Option<&'a str>,
    nonce: Option<&'a str>,
    their_nonce: Option<&'a str>,
    count: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Clients append their part with a `?` of its own to whatever is there, so the last
    /// value of a name counts. None of them encodes anything.
    fn parse(query: &'a str) -> Self {
        let mut request = Self::default();
        for (name, value) in query
            .split(['?', '&'])
            .filter_map(|part| part.split_once('='))
        {
            let value = Some(value);
            match name {
                "authmod" => {
                    // One that is unknown is asked for the usual one.
                    request.method = match value {
                        Some("llnw") => Some(Method::Llnw),
                        _ => Some(Method::Adobe),
                    }
                }
                "user" => request.user = value,
                "response" => request.response = value,
                "challenge" => request.challenge = value,
                "opaque" => request.opaque = value,
                "nonce" => request.nonce = value,
                "cnonce" => request.their_nonce = value,
                "nc" => request.count = value,
                _ => {}
            }
        }
        request
    }
}

/// A URL or an application without the login that a client appended to it.
pub fn without_login(text: &str) -> &str {
    let at = ["?authmod=", "&authmod="]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    at.map_or(text, |at| &text[..at])
}

#[cfg(test)]
mod tests;
