use gstrtmp2server::rtmp::Limits;

use super::driver::run_in_pieces;
use super::encoder::{handshake, until_published};

/// Bytes as they come from the network. A first byte of 0 or 1, which is no RTMP,
/// stands for a handshake, or for all that comes before the first tag: a mutation
/// seldom gets that far by itself.
pub fn session_raw(data: &[u8]) {
    let (prologue, input) = match data {
        [0, rest @ ..] => (handshake(), rest),
        [1, rest @ ..] => (until_published(), rest),
        _ => (Vec::new(), data),
    };
    // Each of them can be reached with what a fuzzer tries.
    let limits = Limits {
        max_message_size: 60_000,
        max_unfinished: 80_000,
        max_stranger_bytes: 4000,
        max_stranger_total: 8000,
        max_chunk_streams: 10,
        max_output: 2000,
    };
    run_in_pieces(&limits, &prologue, input);
}
