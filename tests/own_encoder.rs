//! A random encoder that uses all the freedom there is: any header format that
//! says the truth, chunks of many streams in any order, the chunk size changed
//! in the middle of messages, messages aborted and begun anew.

mod core_support;

use std::collections::BTreeMap;

use core_support::wire::{self, ABORT, SET_CHUNK_SIZE};
use core_support::{Rng, Seen, Server, audio, cut, script, video};
use proptest::prelude::*;

/// What the receiver remembers of a chunk stream, kept by the sender here.
#[derive(Default)]
struct Stream {
    time: u32,
    delta: u32,
    /// The last header's extended field.
    field: Option<u32>,
    kind: u8,
    length: usize,
    body: Vec<u8>,
    /// Bytes of the body that are out; none if no message has begun.
    sent: Option<usize>,
    began: bool,
}

struct Encoder {
    rng: Rng,
    streams: BTreeMap<u32, Stream>,
    chunk_size: usize,
    wire: Vec<u8>,
    expected: Vec<Seen>,
    restarted: u64,
}

impl Encoder {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng(seed),
            streams: BTreeMap::new(),
            chunk_size: 128,
            wire: Vec::new(),
            expected: Vec::new(),
            restarted: 0,
        }
    }

    fn step(&mut self) {
        const IDS: [u32; 8] = [3, 4, 63, 64, 200, 319, 320, 65_599];
        let id = IDS[self.rng.below(IDS.len())];
        match self.rng.below(20) {
            0 => self.set_chunk_size(),
            1 => self.abort(id),
            2 => self.begin(id),
            _ if self.streams.get(&id).is_some_and(|s| s.sent.is_some()) => self.go_on(id),
            _ => self.begin(id),
        }
    }

    fn set_chunk_size(&mut self) {
        let size = [1, 2, 7, 100, 128, 1000, 65_536][self.rng.below(7)];
        self.control(SET_CHUNK_SIZE, size);
        self.chunk_size = size as usize;
    }

    fn abort(&mut self, id: u32) {
        self.control(ABORT, id);
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.sent.take().is_some()
        {
            self.restarted += 1;
        }
    }

    fn control(&mut self, kind: u8, number: u32) {
        let message = wire::Message {
            chunk_stream: 2,
            time: 0,
            kind,
            stream: 0,
            body: &number.to_be_bytes(),
        };
        self.wire.extend(message.chunks(self.chunk_size));
    }

    /// The first chunk of a message, in place of what is left of another.
    fn begin(&mut self, id: u32) {
        let rng = &mut self.rng;
        let stream = self.streams.entry(id).or_default();
        let formats = match (stream.began, stream.sent) {
            (false, _) => 2,
            (true, Some(_)) => 3,
            (true, None) => 4,
        };
        self.restarted += u64::from(stream.sent.is_some());
        let format = rng.below(formats);
        let time = match rng.below(6) {
            0 => rng.next() as u32,
            1 => 0xFF_FFF0 + rng.below(32) as u32,
            2 => (rng.below(50) as u32).wrapping_neg(),
            _ => rng.below(50) as u32,
        };
        if format < 2 {
            stream.kind = [wire::AUDIO, wire::VIDEO, wire::DATA][rng.below(3)];
            stream.length = [0, 1, 1 + rng.below(20), rng.below(3000)][rng.below(4)];
        }
        if format < 3 {
            stream.delta = time;
            stream.field = (time >= wire::EXTENDED).then_some(time);
        }
        stream.time = match format {
            0 => time,
            _ => stream.time.wrapping_add(stream.delta),
        };
        stream.body = rng.bytes(stream.length);
        stream.sent = Some(0);
        stream.began = true;
        // The message stream differs to show that nobody cares.
        let number = rng.below(3) as u32;
        let header = match format {
            0 => wire::fmt0(id, time, stream.length, stream.kind, number),
            1 => wire::fmt1(id, time, stream.length, stream.kind),
            2 => wire::fmt2(id, time),
            _ => [wire::fmt3(id), field(stream.field)].concat(),
        };
        self.wire.extend(header);
        self.payload(id);
    }

    /// The next chunk of a message.
    fn go_on(&mut self, id: u32) {
        let stream = &self.streams[&id];
        // Repeated, as the time, or left out. Random bodies are no likely match.
        let field = match self.rng.below(3) {
            0 => field(stream.field),
            1 => field(stream.field.and(Some(stream.time))),
            _ => Vec::new(),
        };
        self.wire.extend(wire::fmt3(id));
        self.wire.extend(field);
        self.payload(id);
    }

    fn payload(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).expect("begun");
        let sent = stream.sent.expect("begun");
        let end = (sent + self.chunk_size).min(stream.length);
        self.wire.extend(&stream.body[sent..end]);
        stream.sent = Some(end);
        if end == stream.length {
            stream.sent = None;
            let make = match stream.kind {
                wire::AUDIO => audio,
                wire::VIDEO => video,
                _ => script,
            };
            self.expected.push(make(stream.time, &stream.body));
        }
    }

    /// Ends every message, so that none may wait for a byte after its last.
    fn finish(&mut self) {
        let open: Vec<_> = self.streams.keys().copied().collect();
        for id in open {
            while self.streams[&id].sent.is_some() {
                self.go_on(id);
            }
        }
        self.control(wire::ACKNOWLEDGEMENT, 0);
    }
}

fn field(field: Option<u32>) -> Vec<u8> {
    field.map_or_else(Vec::new, |field| field.to_be_bytes().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_that_is_sent_whole_comes_out(seed in any::<u64>(), steps in 1..150usize) {
        let mut encoder = Encoder::new(seed);
        for _ in 0..steps {
            encoder.step();
        }
        encoder.finish();
        for way in 0..3 {
            let mut server = Server::fed([&wire::until_published()[..]]);
            server.take_seen();
            match way {
                0 => server.feed(&encoder.wire),
                1 => encoder.wire.chunks(1).for_each(|byte| server.feed(byte)),
                _ => for piece in cut(&encoder.wire, &mut encoder.rng) {
                    server.feed(piece);
                },
            }
            prop_assert_eq!(&server.seen, &encoder.expected, "way {}", way);
            prop_assert_eq!(server.session.counters().restarted_messages, encoder.restarted);
            prop_assert_eq!(server.left(), b"");
        }
    }
}
