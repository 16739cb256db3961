//! The load: a stream's content, and its bytes as a publisher sends them. All of it is made before the first byte goes
//! out, and none of it with an RTMP crate, nor with the one that is measured.
// Each benchmark uses a part of it.
#![allow(dead_code)]

pub mod commands;
pub mod content;
pub mod wire;
