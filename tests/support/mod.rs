//! What the tests share. Each test uses a part of it, so the compiler sees unused code in every one of them.
#![allow(dead_code)]

pub mod client;
#[cfg(feature = "element")]
pub mod demuxed;
pub mod flv;
pub mod host;
#[cfg(feature = "element")]
pub mod launch;
pub mod link;
pub mod load;
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
