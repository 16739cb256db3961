use gstrtmp2server::rtmp::chunk::{ChunkReader, Read};
use gstrtmp2server::rtmp::{Error, Limits};

use super::pieces::cuttings;

const HEADROOM: usize = 11;
const TAILROOM: usize = 4;
/// Basic header of 3 bytes, message header of 11, extended time of 4; less one,
/// or it would be whole.
const HALF_A_HEADER: usize = 17;

/// Small, so that a few KiB of input reach every one of them.
fn limits() -> Limits {
    Limits {
        max_message_size: 3000,
        max_unfinished: 5000,
        max_stranger_bytes: 700,
        max_chunk_streams: 6,
        ..Limits::default()
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<(u32, u8, u32, Vec<u8>)>,
    error: Option<Error>,
    restarted: u64,
    unfinished: usize,
    /// Means nothing after an error.
    left: Vec<u8>,
}

/// The first byte says whom the chunks are from: a stranger, a publisher, or one
/// whose publication has ended.
pub fn chunk_reader(data: &[u8]) {
    let Some((&from, data)) = data.split_first() else {
        return;
    };
    let whole = run(from, [data]);
    for pieces in cuttings(data) {
        assert_eq!(run(from, pieces), whole);
    }
}

fn run<'a>(from: u8, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let limits = limits();
    let mut reader = ChunkReader::new(&limits, HEADROOM, TAILROOM);
    let mut max_unfinished = limits.max_stranger_bytes;
    let role = from % 3;
    if role > 0 {
        reader.trust(&limits);
        max_unfinished = limits.max_unfinished;
    }
    let mut outcome = Outcome {
        messages: Vec::new(),
        error: None,
        restarted: 0,
        unfinished: 0,
        left: Vec::new(),
    };
    for piece in pieces {
        outcome.left.extend_from_slice(piece);
        let mut input = &outcome.left[..];
        loop {
            let offered = input.len();
            let read = reader.read(&mut input);
            assert!(reader.unfinished() <= max_unfinished);
            assert!(reader.chunk_streams() <= limits.max_chunk_streams);
            match read {
                Ok(Read::Message(message)) => {
                    // Else a byte could be read for ever.
                    assert!(input.len() < offered);
                    let size = message.body.len();
                    assert!(size <= limits.max_message_size);
                    let body = message.body.clone();
                    if let Err(error) = obey(&mut reader, message.type_id, &body) {
                        outcome.error = Some(error);
                        break;
                    }
                    let framed = message.body.into_vec();
                    assert_eq!(framed.len(), HEADROOM + size);
                    assert!(size == 0 || framed.capacity() >= HEADROOM + size + TAILROOM);
                    outcome.messages.push((
                        message.timestamp,
                        message.type_id,
                        message.stream_id,
                        framed[HEADROOM..].to_vec(),
                    ));
                    // As a session does after the first publish, and after its end.
                    if role == 2 && outcome.messages.len() == 3 {
                        reader.distrust(&limits);
                        max_unfinished = limits.max_stranger_bytes;
                        assert!(reader.unfinished() <= max_unfinished);
                    }
                }
                Ok(Read::Stray) => assert!(input.len() < offered),
                Ok(Read::NeedMore) => {
                    assert!(input.len() <= HALF_A_HEADER, "{} bytes", input.len());
                    break;
                }
                Err(error) => {
                    outcome.error = Some(error);
                    break;
                }
            }
        }
        if outcome.error.is_some() {
            outcome.left.clear();
            break;
        }
        let left = input.len();
        let consumed = outcome.left.len() - left;
        outcome.left.drain(..consumed);
    }
    outcome.restarted = reader.restarted();
    // After an error, how much of a chunk has come is up to the cut.
    if outcome.error.is_none() {
        outcome.unfinished = reader.unfinished();
    }
    outcome
}

/// The two messages that are for the reader itself.
fn obey(reader: &mut ChunkReader, type_id: u8, body: &[u8]) -> Result<(), Error> {
    const SET_CHUNK_SIZE: u8 = 1;
    const ABORT: u8 = 2;
    match (type_id, body.first_chunk()) {
        (SET_CHUNK_SIZE, Some(size)) => reader.set_chunk_size(u32::from_be_bytes(*size)),
        (ABORT, Some(id)) => {
            reader.abort(u32::from_be_bytes(*id));
            Ok(())
        }
        _ => Ok(()),
    }
}
