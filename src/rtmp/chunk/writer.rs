//! From messages to chunks.

use bytes::{BufMut, BytesMut};

use super::DEFAULT_CHUNK_SIZE;

/// Cuts the server's own messages into chunks.
///
/// They are few, small and without a time, so each begins with a full header.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk_size: u32,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self {
            chunk_size: DEFAULT_CHUNK_SIZE,
        }
    }
}

impl ChunkWriter {
    /// Bytes of payload in a chunk.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// To be called when the Set Chunk Size message itself has been written.
    pub fn set_chunk_size(&mut self, size: u32) {
        self.chunk_size = size.max(1);
    }

    /// Appends a message to `out`. `chunk_stream_id` is 2 to 63.
    pub fn write(
        &self,
        chunk_stream_id: u8,
        type_id: u8,
        message_stream_id: u32,
        payload: &[u8],
        out: &mut BytesMut,
    ) {
        debug_assert!((2..64).contains(&chunk_stream_id) && payload.len() <= 0xFF_FFFF);
        out.reserve(12 + payload.len() + payload.len() / self.chunk_size as usize);
        out.put_u8(chunk_stream_id);
        out.put_uint(0, 3);
        out.put_uint(payload.len() as u64, 3);
        out.put_u8(type_id);
        out.put_u32_le(message_stream_id);
        for (n, chunk) in payload.chunks(self.chunk_size as usize).enumerate() {
            if n > 0 {
                out.put_u8(0xC0 | chunk_stream_id);
            }
            out.put_slice(chunk);
        }
    }
}
