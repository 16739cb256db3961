//! What the server tells whoever runs it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::proxy::ProxyError;
use super::publication::{EndReason, Publisher};
use super::tls::{CertificateNews, TlsError};
use crate::rtmp::{self, Connect, PublishRequest};

/// Hears of everything that happens on a listener. Called on the server's
/// workers: it must not block.
pub trait Observer: Send + Sync + 'static {
    fn connection(&self, peer: SocketAddr, event: ConnectionEvent<'_>);
    /// Accepting failed (out of descriptors, say); the listener tries again.
    fn accept_failed(&self, error: &io::Error);
    /// Called wherever it may block: when the listener is bound, and on threads
    /// of its own.
    fn certificate(&self, news: &CertificateNews);
}

/// What happened on one connection. None of it holds a stream key.
#[derive(Debug)]
pub enum ConnectionEvent<'a> {
    Opened,
    /// The RTMP session is up.
    Connected(&'a Connect),
    /// It could not prove who it is. The steps before that are no events.
    LoginFailed(&'a Connect, LoginFailure),
    Published(&'a Publisher),
    Rejected(&'a PublishRequest, &'a Rejection),
    /// The publication ended; the connection may go on.
    Unpublished(&'a Publisher, &'a EndReason),
    Closed(&'a CloseReason),
}

/// Why a publisher was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    WrongApplication,
    WrongStreamKey,
    /// What was proved when it connected, if anything, is not what this needs, or not
    /// any more.
    NotLoggedIn,
    /// Somebody publishes there already.
    Busy,
    /// The host application said no.
    Refused,
    /// The host application did not answer in time.
    Undecided,
    /// The pipeline did not take what came before in time.
    Stalled,
    /// It hung up before anybody decided.
    Gone,
    /// The pipeline has had its publisher, or is about to stop.
    Ended,
}

impl Rejection {
    /// The `onStatus` code: one that encoders act on. OBS and rtmp2sink know
    /// `Denied` as a matter of permission and `BadName` as a name in use.
    pub fn code(self) -> &'static str {
        match self {
            Self::WrongApplication | Self::WrongStreamKey | Self::NotLoggedIn | Self::Refused => {
                "NetStream.Publish.Denied"
            }
            Self::Busy => "NetStream.Publish.BadName",
            Self::Undecided | Self::Stalled | Self::Gone | Self::Ended => {
                "NetStream.Publish.Rejected"
            }
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongApplication => "there is no such application on this server",
            Self::WrongStreamKey => "wrong stream key",
            Self::NotLoggedIn => "this needs a login: set user name and password in the encoder",
            Self::Busy => "somebody else is publishing here already",
            Self::Refused => "the server's application refused this publisher",
            Self::Undecided => "the server's application did not answer in time: try again",
            Self::Stalled => "the pipeline takes no data at the moment: try again",
            Self::Gone => "it hung up before it was let in",
            Self::Ended => "this server is done and takes no further publisher",
        })
    }
}

/// Why a login failed. The client hears of a wrong user, and of a wrong answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    #[error("no such user")]
    NoSuchUser,
    #[error("wrong password")]
    WrongPassword,
    /// Or never asked: somebody may repeat what he overheard.
    #[error("the answer to a challenge came too late or twice")]
    Stale,
}

impl LoginFailure {
    /// The code that `connect` is answered with.
    pub fn code(self) -> &'static str {
        CONNECT_REJECTED
    }
}

/// What clients look for a login in.
pub(super) const CONNECT_REJECTED: &str = "NetConnection.Connect.Rejected";

/// Why a connection is gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    #[error("the peer closed it")]
    Finished,
    #[error("the socket failed: {0}")]
    Socket(io::Error),
    #[error("{0}")]
    Tls(TlsError),
    #[error("{0}")]
    Proxy(ProxyError),
    #[error("{0}")]
    Protocol(#[from] rtmp::Error),
    #[error("nothing was published within {0} s")]
    NoPublish(u64),
    #[error("the publisher was silent for {0} s")]
    Silent(u64),
    #[error("it did not close after its publication ended")]
    Lingered,
    #[error("its publish request was turned away")]
    Rejected,
    #[error("it was asked to log in, on another connection")]
    LoginNeeded,
    #[error("it failed to log in")]
    LoginFailed,
    #[error("the application disconnected it")]
    Disconnected,
    #[error("it gave way to another publisher: {0}")]
    TakenOver(SocketAddr),
    #[error("the pipeline takes no more data")]
    PipelineEnded,
    #[error("it made way: too many connections that do not publish")]
    Evicted,
    #[error("the listener was closed")]
    ListenerClosed,
    #[error("a defect in this server; please report it")]
    Panicked,
}

impl From<io::Error> for CloseReason {
    /// A socket with TLS fails with what it is that failed.
    fn from(error: io::Error) -> Self {
        match error.downcast() {
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Socket(error),
        }
    }
}
