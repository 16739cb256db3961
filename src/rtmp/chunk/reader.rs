//! From chunks to messages.

use super::DEFAULT_CHUNK_SIZE;
use super::header::{ChunkHeader, Fields, Incomplete, MessageHeader};
use crate::rtmp::message::{Body, Message, type_id};
use crate::rtmp::{Error, Limits};

/// What [`ChunkReader::read`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Message(Message),
    /// The end of a message that was not kept, see [`ChunkReader::distrust`].
    Stray,
    /// What is left of the input, if anything, is a header cut short: keep it in
    /// front of the bytes that come next.
    NeedMore,
}

/// Puts messages together from interleaved chunks.
///
/// Payload is consumed as it comes, so the input never has to hold a whole
/// chunk; a header is consumed whole or not at all.
#[derive(Debug)]
pub struct ChunkReader {
    chunk_size: u32,
    /// In the order in which they came up. Encoders use 2 to 6 of them, which are
    /// looked through faster than any map, and at most `max_chunk_streams`.
    streams: Vec<ChunkStream>,
    /// The chunk whose payload is being read.
    open: Option<OpenChunk>,
    /// The chunk stream whose message has room for bytes that are in the input, and
    /// may turn out to be another message's. One at a time: what is reserved ahead
    /// is never more than one input.
    ahead: Option<usize>,
    unfinished: usize,
    restarted: u64,
    /// Whether media are collected at all.
    keeps_media: bool,
    /// Of audio, video and data messages, and aggregates.
    max_media_size: usize,
    /// Of all others.
    max_message_size: usize,
    max_unfinished: usize,
    max_chunk_streams: usize,
    headroom: usize,
    tailroom: usize,
}

#[derive(Debug, Clone, Copy)]
struct OpenChunk {
    /// The place of its chunk stream.
    stream: usize,
    left: usize,
}

/// What lives as long as the connection for each chunk stream: compression of
/// the next header refers to the last one.
#[derive(Debug, Default)]
struct ChunkStream {
    id: u32,
    timestamp: u32,
    /// Added by a fmt 3 chunk that begins a message.
    delta: u32,
    /// The last extended timestamp field, if the last header had one.
    extended: Option<u32>,
    length: u32,
    type_id: u8,
    message_stream_id: u32,
    partial: Option<Partial>,
}

/// What has come of a message.
#[derive(Debug)]
enum Partial {
    Kept(Body),
    /// So many bytes, of a message that is nobody's.
    Skipped(usize),
}

impl Partial {
    fn len(&self) -> usize {
        match self {
            Self::Kept(body) => body.len(),
            Self::Skipped(len) => *len,
        }
    }

    /// Bytes in memory.
    fn held(&self) -> usize {
        match self {
            Self::Kept(body) => body.len(),
            Self::Skipped(_) => 0,
        }
    }

    /// Returns what that frees.
    fn skip(&mut self) -> usize {
        let held = self.held();
        *self = Self::Skipped(self.len());
        held
    }
}

impl ChunkReader {
    /// A reader whose message bodies have `headroom` spare bytes in front and
    /// capacity for `tailroom` behind.
    pub fn new(limits: &Limits, headroom: usize, tailroom: usize) -> Self {
        Self {
            chunk_size: DEFAULT_CHUNK_SIZE,
            streams: Vec::new(),
            open: None,
            ahead: None,
            unfinished: 0,
            restarted: 0,
            keeps_media: true,
            max_media_size: limits.max_stranger_bytes,
            max_message_size: limits.max_stranger_bytes,
            max_unfinished: limits.max_stranger_bytes,
            max_chunk_streams: limits.max_chunk_streams,
            headroom,
            tailroom,
        }
    }

    /// From the stranger's bounds to those of a publisher.
    pub fn trust(&mut self, limits: &Limits) {
        self.max_media_size = limits.max_message_size;
        self.max_message_size = limits.max_message_size.max(limits.max_stranger_bytes);
        self.max_unfinished = limits.max_unfinished.max(self.max_message_size);
        self.keeps_media = true;
    }

    /// Back to a stranger's bounds, for a publisher whose publication has ended:
    /// what is not whole by then is given up, and media are read past until there
    /// is trust again. Else every connection that has once published, and there
    /// may be many, could hold a publisher's worth of memory.
    pub fn distrust(&mut self, limits: &Limits) {
        self.max_message_size = limits.max_stranger_bytes;
        self.max_unfinished = limits.max_stranger_bytes;
        self.keeps_media = false;
        self.skip(|stream| is_media(stream.type_id));
        // Commands and controls that stay in bounds go on: the next chunk's size
        // may depend on one.
        if self.unfinished > self.max_unfinished {
            self.skip(|_| true);
        }
    }

    fn skip(&mut self, which: impl Fn(&ChunkStream) -> bool) {
        for stream in self.streams.iter_mut().filter(|stream| which(stream)) {
            let freed = stream.partial.as_mut().map_or(0, Partial::skip);
            self.unfinished -= freed;
        }
        self.ahead = None;
    }

    /// Gives up all that is unfinished, for a session that has failed.
    pub fn clear(&mut self) {
        self.streams.clear();
        self.open = None;
        self.ahead = None;
        self.unfinished = 0;
    }

    /// Bytes of payload in a chunk, as the peer announced them.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Takes effect at the next chunk, even in the middle of a message.
    pub fn set_chunk_size(&mut self, size: u32) -> Result<(), Error> {
        // The top bit must be zero (section 5.4.1); some set it all the same.
        match size & 0x7FFF_FFFF {
            0 => Err(Error::ChunkSizeZero),
            size => {
                self.chunk_size = size;
                Ok(())
            }
        }
    }

    /// Discards what has come of the message on a chunk stream (section 5.4.2).
    pub fn abort(&mut self, chunk_stream_id: u32) {
        if let Some(index) = self.find(chunk_stream_id) {
            self.give_up(index);
        }
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.streams.iter().position(|stream| stream.id == id)
    }

    fn give_up(&mut self, index: usize) {
        if let Some(partial) = self.streams[index].partial.take() {
            self.unfinished -= partial.held();
            self.restarted += 1;
            self.ahead.take_if(|ahead| *ahead == index);
        }
    }

    /// Messages that were given up half-way, by Abort or by a header in their middle.
    pub fn restarted(&self) -> u64 {
        self.restarted
    }

    /// Bytes of messages begun and not finished.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Chunk streams that have been used.
    pub fn chunk_streams(&self) -> usize {
        self.streams.len()
    }

    /// The next whole message of `input`, consuming what it takes.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Read, Error> {
        loop {
            let chunk = match self.open.take() {
                Some(chunk) => chunk,
                None => match self.begin_chunk(input)? {
                    Ok(chunk) => chunk,
                    Err(Incomplete) => return Ok(Read::NeedMore),
                },
            };
            if chunk.left > 0 && input.is_empty() {
                self.open = Some(chunk);
                return Ok(Read::NeedMore);
            }
            let stream = &mut self.streams[chunk.stream];
            let partial = stream.partial.as_mut().expect("begin_chunk made it");

            let (payload, rest) = input.split_at(chunk.left.min(input.len()));
            match partial {
                Partial::Kept(body) => {
                    if self.unfinished + payload.len() > self.max_unfinished {
                        return Err(Error::TooMuchUnfinished {
                            limit: self.max_unfinished,
                        });
                    }
                    // Most likely the message goes on in what is at hand already.
                    let ahead = *self.ahead.get_or_insert(chunk.stream);
                    let in_hand = match ahead == chunk.stream {
                        true => rest.len(),
                        false => 0,
                    };
                    body.append(payload, stream.length as usize, self.tailroom, in_hand);
                    self.unfinished += payload.len();
                }
                Partial::Skipped(len) => *len += payload.len(),
            }
            *input = rest;

            let left = chunk.left - payload.len();
            if left > 0 {
                self.open = Some(OpenChunk { left, ..chunk });
                return Ok(Read::NeedMore);
            }
            if partial.len() == stream.length as usize {
                let Some(Partial::Kept(body)) = stream.partial.take() else {
                    return Ok(Read::Stray);
                };
                self.unfinished -= body.len();
                self.ahead.take_if(|ahead| *ahead == chunk.stream);
                return Ok(Read::Message(Message {
                    timestamp: stream.timestamp,
                    type_id: stream.type_id,
                    stream_id: stream.message_stream_id,
                    body,
                }));
            }
            self.read_on(chunk.stream, input);
        }
    }

    /// The chunks between a message's first and its last that are whole in the input: nearly
    /// all encoders send them one behind the other, each behind a header of one byte. In
    /// chunks of 128 bytes they are nearly all there is. What is different in any way is left
    /// to [`read`](Self::read).
    fn read_on(&mut self, index: usize, input: &mut &[u8]) {
        let stream = &mut self.streams[index];
        let (Some(header), Some(Partial::Kept(body))) =
            (stream.shortest_header(), &mut stream.partial)
        else {
            return;
        };
        let size = self.chunk_size as usize;
        let missing = stream.length as usize - body.len();
        // No more than may be taken: what is counted in vain would be counted again.
        let room = self.max_unfinished.saturating_sub(self.unfinished);
        let most = missing.saturating_sub(1).min(room) / size;
        let chunks = input.chunks_exact(1 + size).take(most);
        let count = chunks.take_while(|chunk| chunk[0] == header).count();
        if count == 0 {
            return;
        }
        let total = count * size;
        let (chunks, rest) = input.split_at(count * (1 + size));
        let ahead = *self.ahead.get_or_insert(index);
        let in_hand = if ahead == index { rest.len() } else { 0 };
        let payloads = chunks.chunks_exact(1 + size).map(|chunk| &chunk[1..]);
        body.append_all(
            payloads,
            total,
            stream.length as usize,
            self.tailroom,
            in_hand,
        );
        self.unfinished += total;
        *input = rest;
    }

    /// Reads a chunk's header and brings its chunk stream up to date.
    fn begin_chunk(&mut self, input: &mut &[u8]) -> Result<Result<OpenChunk, Incomplete>, Error> {
        let mut fields = Fields(input);
        let Ok(header) = ChunkHeader::parse(&mut fields) else {
            return Ok(Err(Incomplete));
        };
        let id = header.chunk_stream_id;
        let index = match self.find(id) {
            Some(index) => index,
            None if header.message == MessageHeader::Same => {
                return Err(Error::NoSuchMessage(id));
            }
            None if self.streams.len() >= self.max_chunk_streams => {
                return Err(Error::TooManyChunkStreams {
                    limit: self.max_chunk_streams,
                });
            }
            None => {
                self.streams.push(ChunkStream {
                    id,
                    ..ChunkStream::default()
                });
                self.streams.len() - 1
            }
        };
        let stream = &self.streams[index];
        if header.message == MessageHeader::Same
            && let Some(field) = stream.extended
        {
            // The field is repeated on fmt 3, except by encoders that leave it
            // out, or that repeat the time where the header had a delta: look
            // before taking it, as rtmp2src and SRS do.
            if fields.skip_u32_if([field, stream.timestamp]).is_err() {
                return Ok(Err(Incomplete));
            }
        }
        *input = fields.0;

        if header.message != MessageHeader::Same || stream.partial.is_none() {
            self.give_up(index);
            self.begin_message(index, &header)?;
        }
        let stream = &self.streams[index];
        let have = stream.partial.as_ref().map_or(0, Partial::len);
        Ok(Ok(OpenChunk {
            stream: index,
            left: (stream.length as usize - have).min(self.chunk_size as usize),
        }))
    }

    fn begin_message(&mut self, index: usize, header: &ChunkHeader) -> Result<(), Error> {
        let stream = &mut self.streams[index];
        stream.begin_message(header);
        let media = is_media(stream.type_id);
        let limit = match media {
            true => self.max_media_size,
            false => self.max_message_size,
        };
        if stream.length as usize > limit {
            return Err(Error::MessageTooLarge {
                declared: stream.length as usize,
                limit,
            });
        }
        stream.partial = Some(match media && !self.keeps_media {
            true => Partial::Skipped(0),
            false => Partial::Kept(Body::new(self.headroom)),
        });
        Ok(())
    }
}

/// What belongs to a publication: audio, video and data, and several of them in one.
fn is_media(kind: u8) -> bool {
    matches!(
        kind,
        type_id::AUDIO
            | type_id::VIDEO
            | type_id::DATA_AMF0
            | type_id::DATA_AMF3
            | type_id::AGGREGATE
    )
}

impl ChunkStream {
    /// Applies the header of a message's first chunk. A first header of fmt 1 or
    /// 2 (librtmp, DJI) counts from zero.
    fn begin_message(&mut self, header: &ChunkHeader) {
        match header.message {
            MessageHeader::Full {
                time,
                length,
                type_id,
                stream_id,
            } => {
                self.timestamp = time;
                self.length = length;
                self.type_id = type_id;
                self.message_stream_id = stream_id;
                // A fmt 3 message right after adds this time once more
                // (section 5.3.1.2.4); rtmp2sink and ffmpeg count on it.
                self.set_delta(time, header.extended);
            }
            MessageHeader::SameStream {
                time,
                length,
                type_id,
            } => {
                self.length = length;
                self.type_id = type_id;
                self.set_delta(time, header.extended);
                self.advance();
            }
            MessageHeader::SameShape { time } => {
                self.set_delta(time, header.extended);
                self.advance();
            }
            MessageHeader::Same => self.advance(),
        }
    }

    /// The header of a chunk that goes on with its message, if it has one byte.
    fn shortest_header(&self) -> Option<u8> {
        const SAME: u8 = 3 << 6;
        let id = u8::try_from(self.id).ok()?;
        ((2..64).contains(&id) && self.extended.is_none()).then_some(SAME | id)
    }

    fn set_delta(&mut self, time: u32, extended: bool) {
        self.delta = time;
        self.extended = extended.then_some(time);
    }

    /// Modulo 2³²: librtmp steps back by adding 0xFFFFFFE7.
    fn advance(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(self.delta);
    }
}
