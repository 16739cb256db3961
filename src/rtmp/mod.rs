//! The RTMP protocol, seen from a server that receives: sans-IO, no clock, no
//! runtime, nothing but bytes in and events out.
//!
//! [`Session`] is driven by one rule: *give it the bytes you have, poll until it
//! says [`Step::NeedMore`], and only then read the socket again.* Whoever waits
//! for the network while a whole message lies in the buffer delivers it late or
//! never. What it wants to tell the peer gathers in [`Session::output`], to be
//! written in one batch whenever polling has gone idle.
//!
//! ```
//! use gstrtmp2server::rtmp::{Event, Session, SessionConfig, Step};
//!
//! # fn read_socket(_: &mut Vec<u8>) -> bool { false }
//! # fn write_socket(_: &[u8]) {}
//! # fn main() -> Result<(), gstrtmp2server::rtmp::Error> {
//! let mut session = Session::new(SessionConfig::default(), [7; 32]);
//! let mut received = Vec::new();
//! while read_socket(&mut received) {
//!     let mut input = &received[..];
//!     loop {
//!         while let Step::Event(event) = session.poll(&mut input)? {
//!             match event {
//!                 Event::Connect(connect) => {
//!                     println!("{} came", connect.flash_ver);
//!                     session.accept_connect();
//!                 }
//!                 Event::Publish(request) if request.app() == "live" => session.accept_publish(),
//!                 Event::Publish(_) => session.reject_publish("NetStream.Publish.Denied", "no such application"),
//!                 Event::Media(media) => println!("{:?} at {} ms", media.kind, media.timestamp),
//!                 Event::Unpublish(reason) => println!("ended by {reason}"),
//!             }
//!         }
//!         if session.output().is_empty() {
//!             break;
//!         }
//!         write_socket(session.output());
//!         session.output_mut().clear();
//!         // As many answers as may wait held up what comes after them.
//!     }
//!     let left = input.len();
//!     received.drain(..received.len() - left);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! "RTMP 1.0" in these pages is Adobe's *Real-Time Messaging Protocol (RTMP)
//! specification 1.0* (2012); "E-RTMP v2" is Veovera's *Enhanced RTMP (V2)*.

mod aggregate;
mod capabilities;
pub mod chunk;
mod command;
mod error;
pub mod handshake;
mod limits;
mod message;
mod publish;
mod session;

pub use capabilities::Capabilities;
pub use error::Error;
pub use limits::Limits;
pub use message::{Body, Media, MediaKind, Message};
pub use publish::{Connect, PublishRequest, UnpublishReason};
pub use session::{Counters, Event, Session, SessionConfig, Step};
