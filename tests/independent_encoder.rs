//! Messages written by somebody else's encoder come out as they went in.
//!
//! rml_rtmp picks the header format and compresses the headers. It knows one
//! chunk stream per kind of message, so each chunk stream here gets a serializer
//! of its own, whose chunks are then given another id and interleaved.

mod core_support;

use bytes::Bytes;
use core_support::{Rng, Seen, Server, audio, cut, script, video, wire};
use gstrtmp2server::rtmp::Limits;
use gstrtmp2server::rtmp::chunk::{ChunkReader, Read};
use proptest::collection::vec;
use proptest::prelude::*;
use rml_rtmp::chunk_io::ChunkSerializer;
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;

/// A message, as both sides see it.
#[derive(Clone, PartialEq)]
struct Sent {
    kind: u8,
    stream: u32,
    time: u32,
    body: Vec<u8>,
}

/// Short enough to read when a case fails.
impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            stream,
            time,
            body,
        } = self;
        let head = &body[..body.len().min(8)];
        let length = body.len();
        write!(
            f,
            "{kind} on {stream} at {time:#x}: {length} bytes {head:x?}"
        )
    }
}

/// What goes over one chunk stream.
#[derive(Debug, Clone)]
struct Line {
    id: u32,
    /// Bytes of the basic header; ids from 64 to 319 can have two or three.
    width: usize,
    messages: Vec<Sent>,
}

/// Whether fmt 3 chunks within a message repeat the extended timestamp.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Repeat {
    Yes,
    No,
}

/// One chunk stream's serializer and the chunks of the message that it is at.
struct Encoder<'a> {
    line: &'a Line,
    serializer: ChunkSerializer,
    todo: std::slice::Iter<'a, Sent>,
    /// Chunks of the current message, the next one last.
    chunks: Vec<Vec<u8>>,
}

impl<'a> Encoder<'a> {
    fn new(line: &'a Line) -> Self {
        Self {
            line,
            serializer: ChunkSerializer::new(),
            todo: line.messages.iter(),
            chunks: Vec::new(),
        }
    }

    fn done(&self) -> bool {
        self.chunks.is_empty() && self.todo.len() == 0
    }

    /// Nothing of a message is on its way.
    fn between_messages(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The next chunk, and the message if it is its last.
    fn chunk(&mut self, chunk_size: usize, repeat: Repeat) -> (Vec<u8>, Option<&'a Sent>) {
        if self.chunks.is_empty() {
            let message = self.todo.next().expect("not done");
            let packet = self.serializer.serialize(&payload(message), false, false);
            let bytes = packet.expect("serializable").bytes;
            let length = message.body.len();
            self.chunks = take_apart(&bytes, length, chunk_size, self.line, repeat);
            self.chunks.reverse();
        }
        let chunk = self.chunks.pop().expect("a message has a chunk");
        let whole = self.chunks.is_empty();
        let sent = self.line.messages.len() - self.todo.len() - 1;
        (chunk, whole.then(|| &self.line.messages[sent]))
    }
}

fn payload(message: &Sent) -> MessagePayload {
    MessagePayload {
        timestamp: RtmpTimestamp::new(message.time),
        type_id: message.kind,
        message_stream_id: message.stream,
        data: Bytes::from(message.body.clone()),
    }
}

/// Cuts a serialized message at its chunks and puts each on the chunk stream of
/// `line`, changing nothing behind the basic header but, if the field is not to
/// be repeated, the extended timestamp of all chunks but the first.
fn take_apart(
    mut bytes: &[u8],
    length: usize,
    chunk_size: usize,
    line: &Line,
    repeat: Repeat,
) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut left = length;
    while !bytes.is_empty() {
        let format = bytes[0] >> 6;
        let header = [11, 7, 3, 0][usize::from(format)];
        let payload = left.min(chunk_size);
        let begins = chunks.is_empty();
        assert!(begins || format == 3, "only the first chunk has a header");
        // fmt 3 shows it by its length: all that is left is one chunk or more.
        let extended = match format {
            3 if begins => is_extended_same(bytes, length, chunk_size),
            3 => chunks.first().is_some_and(|(_, extended)| *extended),
            _ => bytes[1..4] == [0xFF; 3],
        };
        let field = if extended { 4 } else { 0 };
        let (chunk, rest) = bytes.split_at(1 + header + field + payload);
        let mut rewritten = wire::basic_of(line.width, format, line.id);
        let skip = match (begins, repeat) {
            (false, Repeat::No) => field,
            _ => 0,
        };
        rewritten.extend_from_slice(&chunk[1 + skip..]);
        chunks.push((rewritten, extended));
        left -= payload;
        bytes = rest;
    }
    assert_eq!(left, 0, "the serializer's chunk size is the wire's");
    chunks.into_iter().map(|(chunk, _)| chunk).collect()
}

/// Whether a message that is fmt 3 throughout has the extended field.
fn is_extended_same(bytes: &[u8], length: usize, chunk_size: usize) -> bool {
    bytes.len() > length + length.div_ceil(chunk_size)
}

/// The wire, and the messages in the order in which they become whole.
struct Encoded {
    wire: Vec<u8>,
    messages: Vec<Sent>,
    /// At the end.
    chunk_size: u32,
}

impl Encoded {
    /// The wire and a message that keeps the reader from waiting: if fields are
    /// not repeated, the last bytes of a message may be the first of a field.
    fn with_full_stop(&self) -> Vec<u8> {
        let stop = wire::Message {
            chunk_stream: 2,
            time: 0,
            kind: FULL_STOP.kind,
            stream: FULL_STOP.stream,
            body: &[0; 4],
        };
        [&self.wire[..], &stop.chunks(self.chunk_size as usize)].concat()
    }
}

/// An Acknowledgement.
const FULL_STOP: Sent = Sent {
    kind: wire::ACKNOWLEDGEMENT,
    stream: 0,
    time: 0,
    body: Vec::new(),
};

/// A chunk size that applies once this many chunks are out.
type Resize = (usize, u32);

/// Interleaves the chunks of all lines at random.
fn encode(lines: &[Line], resizes: &[Resize], repeat: Repeat, rng: &mut Rng) -> Encoded {
    let mut encoders: Vec<_> = lines.iter().map(Encoder::new).collect();
    let mut control = ChunkSerializer::new();
    let mut resizes = resizes.to_vec();
    resizes.sort_unstable();
    let mut resizes = resizes.into_iter().peekable();
    let mut encoded = Encoded {
        wire: Vec::new(),
        messages: Vec::new(),
        chunk_size: 128,
    };
    let mut chunks = 0;
    loop {
        // A serializer cuts whole messages, so its chunk size can change between
        // messages only: no new ones begin while a change is due.
        let due = resizes.peek().is_some_and(|(at, _)| *at <= chunks);
        if due && encoders.iter().all(Encoder::between_messages) {
            let (_, size) = resizes.next().expect("one is due");
            let time = RtmpTimestamp::new(0);
            let packet = control.set_max_chunk_size(size, time).expect("a size");
            encoded
                .wire
                .extend(join_full(&packet.bytes, encoded.chunk_size));
            for encoder in &mut encoders {
                encoder
                    .serializer
                    .set_max_chunk_size(size, time)
                    .expect("a size");
            }
            encoded.chunk_size = size;
            continue;
        }
        let ready: Vec<_> = encoders
            .iter_mut()
            .filter(|e| !e.done() && (!due || !e.between_messages()))
            .collect();
        let count = ready.len();
        if count == 0 {
            break;
        }
        let encoder = ready.into_iter().nth(rng.below(count)).expect("in range");
        let (chunk, whole) = encoder.chunk(encoded.chunk_size as usize, repeat);
        encoded.wire.extend(chunk);
        encoded.messages.extend(whole.cloned());
        chunks += 1;
    }
    encoded
}

/// rml_rtmp puts a full header before each chunk of a message that it may not
/// compress. With chunks of 1 to 3 bytes that breaks up its own SetChunkSize.
fn join_full(bytes: &[u8], chunk_size: u32) -> Vec<u8> {
    const HEADER: usize = 12;
    let mut joined = Vec::new();
    for (n, chunk) in bytes
        .chunks(HEADER + chunk_size.min(4) as usize)
        .enumerate()
    {
        match n {
            0 => joined.extend_from_slice(chunk),
            _ => {
                joined.extend(wire::fmt3(2));
                joined.extend_from_slice(&chunk[HEADER..]);
            }
        }
    }
    joined
}

/// Reads with the chunk layer alone.
fn read(pieces: &[&[u8]]) -> Vec<Sent> {
    let limits = Limits::default();
    let mut reader = ChunkReader::new(&limits, 11, 4);
    reader.trust(&limits);
    let mut received = Vec::new();
    let mut messages = Vec::new();
    for piece in pieces {
        received.extend_from_slice(piece);
        let mut input = &received[..];
        while let Read::Message(message) = reader.read(&mut input).expect("good chunks") {
            if message.type_id == FULL_STOP.kind {
                continue;
            }
            if message.type_id == wire::SET_CHUNK_SIZE {
                let size = message.body.first_chunk().expect("4 bytes");
                let size = u32::from_be_bytes(*size);
                reader.set_chunk_size(size).expect("a size");
                continue;
            }
            messages.push(Sent {
                kind: message.type_id,
                stream: message.stream_id,
                time: message.timestamp,
                body: message.body.to_vec(),
            });
        }
        let left = input.len();
        received.drain(..received.len() - left);
    }
    assert_eq!(reader.restarted(), 0);
    assert_eq!(reader.unfinished(), 0);
    messages
}

fn chunk_size() -> impl Strategy<Value = u32> {
    prop_oneof![
        2 => 1..=64u32,
        2 => 65..=4096u32,
        1 => 4097..=65_536u32,
        1 => Just(128),
        1 => Just(65_536),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    // Lengths repeat, so that all header formats occur. Not empty: rml_rtmp
    // writes nothing at all for an empty message.
    let length =
        prop_oneof![4 => 1..6usize, 2 => Just(200), 2 => 1..1000usize, 1 => 1..70_000usize];
    (length, any::<u64>()).prop_map(|(length, seed)| Rng(seed).bytes(length))
}

/// Messages that share a chunk stream with rml_rtmp: `kinds` must be of one of
/// its groups.
fn messages(kinds: &'static [u8]) -> impl Strategy<Value = Vec<Sent>> {
    let start = prop_oneof![
        2 => Just(0),
        2 => 0..1000u32,
        2 => 0xFF_FF00..0x100_0010u32,
        1 => 0x7FFF_FF00..0x8000_0100u32,
        1 => 0xFFFF_FF00..=u32::MAX,
        1 => any::<u32>(),
    ];
    let step = prop_oneof![
        3 => Just(0u32),
        6 => Just(33),
        3 => 0..100u32,
        1 => 0xFF_FFF0..0x100_0010u32,
        1 => (1..100u32).prop_map(u32::wrapping_neg),
        1 => any::<u32>(),
    ];
    let kind = prop::sample::select(kinds);
    let stream = prop_oneof![8 => Just(1u32), 1 => any::<u32>()];
    (start, vec((kind, stream, step, body()), 1..12)).prop_map(|(start, parts)| {
        let mut time = start;
        let sent = |(kind, stream, step, body)| {
            time = u32::wrapping_add(time, step);
            Sent {
                kind,
                stream,
                time,
                body,
            }
        };
        parts.into_iter().map(sent).collect()
    })
}

/// Basic headers of all widths, and the borders between them.
fn id_and_width() -> impl Strategy<Value = (u32, usize)> {
    prop_oneof![
        (3..=63u32, Just(1)),
        (64..=319u32, 2..=3usize),
        prop_oneof![Just(64), Just(319), Just(320), Just(65_599), 64..=65_599u32]
            .prop_map(|id| (id, 3)),
    ]
}

fn lines(groups: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<Line>> {
    let line = (
        id_and_width(),
        prop::sample::select(groups).prop_flat_map(messages),
    );
    vec(line, 1..6).prop_map(|parts| {
        let mut lines: Vec<Line> = Vec::new();
        for ((id, width), messages) in parts {
            if lines.iter().all(|line| line.id != id) {
                lines.push(Line {
                    id,
                    width,
                    messages,
                });
            }
        }
        lines
    })
}

fn resizes() -> impl Strategy<Value = Vec<Resize>> {
    vec((0..60usize, chunk_size()), 0..4)
}

fn repeat() -> impl Strategy<Value = Repeat> {
    prop_oneof![Just(Repeat::Yes), Just(Repeat::No)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any message type, through the chunk layer.
    #[test]
    fn messages_come_out_as_sent(
        lines in lines(&[&[8], &[9], &[18, 19], &[7, 15, 16, 17, 20, 22, 200]]),
        resizes in resizes(),
        repeat in repeat(),
        seed in any::<u64>(),
    ) {
        let mut rng = Rng(seed);
        let encoded = encode(&lines, &resizes, repeat, &mut rng);
        let wire = encoded.with_full_stop();
        let expected = encoded.messages;
        let whole = read(&[&wire]);
        prop_assert!(whole == expected, "{:?}\ninstead of {:?}", whole, expected);
        let split = read(&cut(&wire, &mut rng));
        prop_assert!(split == expected, "{:?}\ninstead of {:?}", split, expected);
    }

    /// Media, through a whole session.
    #[test]
    fn media_come_out_as_sent(
        lines in lines(&[&[8], &[9], &[18]]),
        resizes in resizes(),
        repeat in repeat(),
        seed in any::<u64>(),
    ) {
        let mut rng = Rng(seed);
        let encoded = encode(&lines, &resizes, repeat, &mut rng);
        let mut server = Server::fed([&wire::until_published()[..]]);
        server.take_seen();
        for piece in cut(&encoded.with_full_stop(), &mut rng) {
            server.feed(piece);
        }
        let expected: Vec<Seen> = encoded.messages.iter().map(|sent| match sent.kind {
            8 => audio(sent.time, &sent.body),
            9 => video(sent.time, &sent.body),
            _ => script(sent.time, &sent.body),
        }).collect();
        prop_assert!(server.seen == expected);
    }
}

/// The generated cases reach what they are for.
#[test]
fn all_headers_occur() {
    let sent = |time, length| Sent {
        kind: 9,
        stream: 1,
        time,
        body: vec![1; length],
    };
    // Full, another length, another delta, the same, an extended delta, twice.
    let times = [
        (7, 9),
        (9, 300),
        (12, 300),
        (15, 300),
        (0x200_000F, 300),
        (0x400_000F, 300),
    ];
    let line = Line {
        id: 70,
        width: 3,
        messages: times.map(|(time, length)| sent(time, length)).to_vec(),
    };
    let mut encoder = Encoder::new(&line);
    let mut formats = Vec::new();
    while !encoder.done() {
        let begins = encoder.between_messages();
        let (chunk, _) = encoder.chunk(128, Repeat::Yes);
        if begins {
            formats.push(chunk[0] >> 6);
        }
        assert_eq!(chunk[0] & 63, 1);
        assert_eq!(chunk[1..3], [6, 0]);
    }
    assert_eq!(formats, [0, 1, 2, 3, 2, 3]);
    for repeat in [Repeat::Yes, Repeat::No] {
        let encoded = encode(std::slice::from_ref(&line), &[], repeat, &mut Rng(1));
        assert_eq!(read(&[&encoded.with_full_stop()]), line.messages);
    }
}
