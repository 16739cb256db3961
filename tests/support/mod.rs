//! What the tests share. Each test uses a part of it, so the compiler sees unused code in every one of them.
#![allow(dead_code)]

pub mod certificates;
pub mod client;
#[cfg(feature = "element")]
pub mod demuxed;
pub mod flv;
#[cfg(feature = "element")]
pub mod haproxy;
pub mod host;
#[cfg(feature = "element")]
pub mod launch;
pub mod link;
pub mod load;
#[cfg(feature = "element")]
pub mod log;
#[cfg(feature = "server")]
pub mod login;
pub mod own_process;
pub mod peer;
#[cfg(feature = "element")]
pub mod pipeline;
#[cfg(feature = "element")]
pub mod playback;
pub mod process;
pub mod publishers;
pub mod recorder;
pub mod reference_server;
#[cfg(feature = "element")]
pub mod station;
pub mod steady;
pub mod wire;
