//! The core alone, on one thread: `cargo bench --bench core`.
//!
//! `dechunk` is the chunk layer, `frame` the FLV tag around a body, `session` all of it, from the bytes of a socket to
//! finished tags. Also counts allocations. `examples/core_session.rs` is the same for a profiler.

mod driven;
mod load;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use driven::Driven;
use gstrtmp2server::flv::{self, TagKind};
use gstrtmp2server::rtmp::chunk::{ChunkReader, Read};
use load::content::Content;
use load::wire::Wire;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const CHUNK_SIZES: [usize; 3] = [128, 4096, 65536];
/// Bits per second of video.
const RATES: [usize; 2] = [8_000_000, 300_000];

fn main() {
    divan::main();
}

#[divan::bench(args = CHUNK_SIZES, consts = RATES, sample_count = 20)]
fn session<const RATE: usize>(bencher: Bencher, chunk_size: usize) {
    let content = Content::synthetic(RATE);
    let wire = Wire::new(&content, chunk_size);
    let mut driven = Driven::new(&wire, chunk_size);
    bencher
        .counter(BytesCount::new(wire.lap.len()))
        .counter(ItemsCount::new(content.frames.len()))
        .bench_local(|| driven.feed(&wire.lap));
}

#[divan::bench(args = CHUNK_SIZES, consts = RATES, sample_count = 20)]
fn dechunk<const RATE: usize>(bencher: Bencher, chunk_size: usize) {
    let content = Content::synthetic(RATE);
    let wire = Wire::new(&content, chunk_size);
    let config = driven::config();
    let mut reader = ChunkReader::new(&config.limits, config.headroom, config.tailroom);
    reader.trust(&config.limits);
    reader.set_chunk_size(chunk_size as u32).expect("not 0");
    // The lap's headers refer to those of the head.
    let mut take = |mut input: &[u8]| {
        while let Read::Message(message) = reader.read(&mut input).expect("no error") {
            divan::black_box(message);
        }
        assert!(input.is_empty());
    };
    take(&wire.head);
    bencher
        .counter(BytesCount::new(wire.lap.len()))
        .counter(ItemsCount::new(content.frames.len()))
        .bench_local(|| wire.lap.chunks(driven::READ).for_each(&mut take));
}

#[divan::bench(args = [372, 4096, 33_000])]
fn frame(bencher: Bencher, size: usize) {
    let room = flv::TAG_HEADER_SIZE + size;
    let mut tag = Vec::with_capacity(room + flv::TAG_TRAILER_SIZE);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        tag.resize(room, 0);
        flv::frame(&mut tag, TagKind::Video, 40).expect("a short body");
        divan::black_box(&tag);
    });
}
