//! Reads the tags out of the bytes that an RTMP client sent, with an independent implementation of the chunk protocol.

use super::flv::{Kind, Tag};
use rml_rtmp::chunk_io::ChunkDeserializer;
use rml_rtmp::messages::{MessagePayload, RtmpMessage};

/// C0, C1 and C2.
const HANDSHAKE: usize = 1 + 1536 + 1536;
/// The AMF0 string that precedes the real contents of a metadata message.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// Every whole audio, video and data message of one connection, as the tag that it becomes.
///
/// A message that breaks off at the end is left out. `@setDataFrame` is taken off, as an RTMP server does.
pub fn tags(client_bytes: &[u8]) -> Result<Vec<Tag>, String> {
    let Some(chunks) = client_bytes.get(HANDSHAKE..) else {
        return Ok(Vec::new());
    };
    let mut reader = ChunkDeserializer::new();
    let mut tags = Vec::new();
    // In pieces, because the reader moves all that it holds at every chunk.
    for piece in chunks.chunks(16 * 1024) {
        let mut input = piece;
        while let Some(message) = reader
            .get_next_message(input)
            .map_err(|e| format!("not RTMP: {e}"))?
        {
            input = &[];
            if message.type_id == 1 {
                let size = chunk_size(&message)?;
                reader
                    .set_max_chunk_size(size)
                    .map_err(|e| format!("chunk size {size}: {e}"))?;
            } else if let Some(kind) = Kind::from_type_id(message.type_id) {
                tags.push(Tag {
                    kind,
                    timestamp: message.timestamp.value,
                    body: tag_body(kind, &message),
                });
            }
        }
    }
    Ok(tags)
}

fn chunk_size(message: &MessagePayload) -> Result<usize, String> {
    match message.to_rtmp_message() {
        Ok(RtmpMessage::SetChunkSize { size }) => Ok(size as usize),
        other => Err(format!("not a chunk size: {other:?}")),
    }
}

fn tag_body(kind: Kind, message: &MessagePayload) -> Vec<u8> {
    match message.data.strip_prefix(SET_DATA_FRAME) {
        Some(contents) if kind == Kind::Script => contents.to_vec(),
        _ => message.data.to_vec(),
    }
}
