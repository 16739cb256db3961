//! The chunk stream: how messages are cut up on the wire (RTMP 1.0, section 5.3).

mod header;
mod reader;
mod writer;

pub use reader::{ChunkReader, Read};
pub use writer::ChunkWriter;

/// Chunk size of both directions until a Set Chunk Size message (section 5.4.1).
pub const DEFAULT_CHUNK_SIZE: u32 = 128;
