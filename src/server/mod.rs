//! The listener: tokio sockets around [`rtmp::Session`](crate::rtmp::Session),
//! and the way from a publisher to the [`Queue`] of the [`Route`] that takes it.
//!
//! [`Listening::start`] binds before it returns, so that a busy port is an error
//! there and then; who names the same host and port shares the listener.
//! Everything after runs on one process-wide runtime with one worker, made when it
//! is first needed. Dropping the last [`Listening`] of a port closes its
//! sockets and connections without waiting for anything.

mod admission;
mod bind;
mod buffer;
mod connection;
mod event;
mod listener;
mod login;
mod proxy;
mod publication;
mod registry;
mod routing;
mod serial;
mod slot;
mod socket;
mod tls;

use std::io;
use std::sync::OnceLock;

use tokio::runtime::Runtime;

pub use bind::BindError;
pub use event::{CloseReason, ConnectionEvent, LoginFailure, Observer, Rejection};
pub use listener::{ListenerSettings, ListenerStats};
pub use login::{Credentials, without_login};
pub use proxy::ProxyError;
pub use publication::{EndReason, Item, Publisher, PublisherStats, clip};
pub use registry::{Listening, ListeningConfig};
pub use routing::{Gate, PublisherPolicy, Route, RouteSettings};
pub use serial::Serial;
pub use tls::{CertificateError, CertificateNews, TlsError, TlsFiles};

use crate::queue::Queue;

/// The hand-over of one route.
pub type ItemQueue = Queue<Item>;

/// The process-wide runtime. One worker: it moves gigabytes a second, connections
/// yield to each other after 128 KiB, and a second one would cost more than it
/// brings, for each is woken to look for work that the other has already. What may
/// block is not done here.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("rtmp2server")
        .enable_all()
        .build()?;
    // If another thread was faster, its runtime stays; ours has nothing to wait for.
    if let Err(spare) = RUNTIME.set(made) {
        spare.shutdown_background();
    }
    Ok(RUNTIME.get().expect("set just above"))
}
