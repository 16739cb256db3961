//! The listener: tokio sockets around [`rtmp::Session`](crate::rtmp::Session),
//! and the way from a publisher to the [`Queue`] of the [`Route`] that takes it.
//!
//! [`Listener::bind`] binds before it returns, so that a busy port is an error
//! there and then. Everything after runs on one process-wide runtime with one
//! worker, made when it is first needed. Dropping the [`Listener`] closes its
//! sockets and connections without waiting for anything.

mod bind;
mod buffer;
mod connection;
mod event;
mod listener;
mod publication;
mod routing;
mod serial;

use std::io;
use std::sync::OnceLock;

use tokio::runtime::Runtime;

pub use bind::BindError;
pub use event::{CloseReason, ConnectionEvent, Observer, Rejection};
pub use listener::{Listener, ListenerConfig, ListenerStats};
pub use publication::{EndReason, Item, Publisher, PublisherStats};
pub use routing::{Gate, Route, RouteSettings};
pub use serial::Serial;

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
