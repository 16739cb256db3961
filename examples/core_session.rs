//! The core under a profiler: `core_session [CHUNK_SIZE [BITS_PER_SECOND [LAPS]]]`.
//!
//! Feeds a session laps of a made-up stream of 10 s from memory, on one thread, and says how fast it went. All that is
//! to be measured happens in `Driven::feed`, the rest makes the input:
//!
//! ```sh
//! cargo build --release --no-default-features --example core_session
//! valgrind --tool=callgrind --toggle-collect='*Driven::feed' target/release/examples/core_session 4096
//! ```
//!
//! `make callgrind` compares the number of instructions with the committed one.

#[path = "../benches/driven/mod.rs"]
mod driven;
#[path = "../benches/load/mod.rs"]
mod load;

use std::time::Instant;

use driven::Driven;
use load::content::Content;
use load::wire::Wire;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| {
        argument.parse().unwrap_or_else(|_| {
            eprintln!("usage: core_session [CHUNK_SIZE [BITS_PER_SECOND [LAPS]]]");
            std::process::exit(2);
        })
    });
    let mut argument = |default: usize| arguments.next().unwrap_or(default);
    let (chunk_size, bits, laps) = (argument(4096), argument(8_000_000), argument(1));

    let content = Content::synthetic(bits);
    let wire = Wire::new(&content, chunk_size);
    let mut driven = Driven::new(&wire, chunk_size);
    let (before, start) = (driven.made(), Instant::now());
    for _ in 0..laps {
        driven.feed(&wire.lap);
    }
    let elapsed = start.elapsed().as_secs_f64();
    let (tags, bytes) = driven.made();
    let (tags, bytes) = (tags - before.0, bytes - before.1);
    let expected = content.sizes().1 * laps as u64;
    assert_eq!(bytes, expected, "every tag comes out whole");
    println!(
        "{tags} tags, {bytes} bytes: {:.2} GB/s, {:.0} ns per tag",
        bytes as f64 / 1e9 / elapsed,
        elapsed * 1e9 / tags as f64
    );
}
