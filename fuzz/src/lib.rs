//! What the fuzz targets do, as functions of bytes. libFuzzer calls them, and so
//! does the plugin's own test `fuzz_corpus` with the committed corpus, on a stable
//! compiler: this file is a module there.
//!
//! None of them is about crashes only. Each states what must hold for any input:
//! any cutting of it comes to the same, nothing that is held goes beyond its
//! bound, and what is encoded decodes to the same.

#[path = "amf0.rs"]
mod amf0_target;
#[path = "chunk_reader.rs"]
mod chunk_reader_target;
mod driver;
mod encoder;
#[path = "ertmp_inspect.rs"]
mod ertmp_inspect_target;
#[path = "handshake.rs"]
mod handshake_target;
#[path = "../../tests/core_support/meter.rs"]
mod meter;
mod pieces;
#[path = "session_raw.rs"]
mod session_raw_target;
#[path = "session_structured.rs"]
mod session_structured_target;

pub use amf0_target::amf0;
pub use chunk_reader_target::chunk_reader;
pub use ertmp_inspect_target::ertmp_inspect;
pub use handshake_target::handshake;
pub use session_raw_target::session_raw;
pub use session_structured_target::session_structured;

#[global_allocator]
static COUNTING: meter::Counting = meter::Counting;

pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its folder in the corpus as well.
pub const TARGETS: [(&str, Target); 6] = [
    ("handshake", handshake),
    ("chunk_reader", chunk_reader),
    ("amf0", amf0),
    ("session_raw", session_raw),
    ("session_structured", session_structured),
    ("ertmp_inspect", ertmp_inspect),
];
