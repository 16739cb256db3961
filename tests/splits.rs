//! The invariant that the core stands on: how the network cuts a byte stream
//! into reads changes nothing, neither what comes out nor how it fails.

mod core_support;

use core_support::wire::{self, Message};
use core_support::{Rng, Server, cut};
use gstrtmp2server::rtmp::Error;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Recordings that differ most: chunk sizes, header formats, ways to begin.
const RECORDINGS: [&[u8]; 7] = [
    include_bytes!("fixtures/client-ff5-mp3-only.bin"),
    include_bytes!("fixtures/client-ff5-ts-cross31.bin"),
    include_bytes!("fixtures/client-gst-rtmp2sink-chunk128.bin"),
    include_bytes!("fixtures/client-gst-rtmpsink-av.bin"),
    include_bytes!("fixtures/client-librtmp-python-ext.bin"),
    include_bytes!("fixtures/client-obs29.bin"),
    include_bytes!("fixtures/client-rs-shiguredo.bin"),
];

/// How much of a recording a case uses.
const EXCERPT: usize = 40_000;

/// Where the chunks begin in a recording of a well-behaved handshake.
const CHUNKS: usize = 3073;

/// Asserts that every cutting of `input` comes to the same.
fn assert_splits_alike(input: &[u8], seed: u64) -> Result<(), TestCaseError> {
    let whole = Server::fed([input]);
    let mut rng = Rng(seed);
    let mut cuttings: Vec<Vec<&[u8]>> = (0..4).map(|_| cut(input, &mut rng)).collect();
    cuttings.push(input.chunks(1).collect());
    for pieces in cuttings {
        let sizes = pieces.iter().map(|p| p.len()).take(50);
        let sizes: Vec<_> = sizes.collect();
        let split = Server::fed(pieces);
        prop_assert_eq!(&whole.seen, &split.seen, "cut into {:?}…", sizes);
        if whole.failed().is_none() {
            prop_assert_eq!(whole.left(), split.left(), "cut into {:?}…", sizes);
            let (all, some) = (whole.session.counters(), split.session.counters());
            prop_assert_eq!(all.in_bytes_total, some.in_bytes_total);
            prop_assert_eq!(all.stray_media, some.stray_media);
            prop_assert_eq!(all.ignored_messages, some.ignored_messages);
            prop_assert_eq!(all.restarted_messages, some.restarted_messages);
        }
    }
    Ok(())
}

/// Damage as a bad network, a bad encoder or a bad mind does it.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Copies a stretch to another place.
    Duplicate(Index, usize, Index),
    Truncate(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    // Bytes that are headers and lengths more often than chance has it.
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0xFF), Just(0xC4), Just(0xC3)];
    prop_oneof![
        4 => (any::<Index>(), 1..=255u8).prop_map(|(at, x)| Mutation::Flip(at, x)),
        4 => (any::<Index>(), byte).prop_map(|(at, x)| Mutation::Set(at, x)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, x)| Mutation::Insert(at, x)),
        2 => (any::<Index>(), 1..300usize).prop_map(|(at, n)| Mutation::Remove(at, n)),
        2 => (any::<Index>(), 1..3000usize, any::<Index>())
            .prop_map(|(from, n, to)| Mutation::Duplicate(from, n, to)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
    ]
}

/// Applies a mutation to what follows the first `from` bytes.
fn mutate(bytes: &mut Vec<u8>, from: usize, mutation: &Mutation) {
    let span = bytes.len().saturating_sub(from);
    if span == 0 {
        return;
    }
    let place = |index: &Index| from + index.index(span);
    match mutation {
        Mutation::Flip(at, mask) => bytes[place(at)] ^= mask,
        Mutation::Set(at, byte) => bytes[place(at)] = *byte,
        Mutation::Insert(at, inserted) => {
            let at = place(at);
            bytes.splice(at..at, inserted.iter().copied());
        }
        Mutation::Remove(at, length) => {
            let at = place(at);
            let end = (at + length).min(bytes.len());
            bytes.drain(at..end);
        }
        Mutation::Duplicate(at, length, to) => {
            let (at, to) = (place(at), place(to));
            let copy = bytes[at..(at + length).min(bytes.len())].to_vec();
            bytes.splice(to..to, copy);
        }
        Mutation::Truncate(at) => bytes.truncate(place(at)),
    }
}

/// One chunk of a generated stream: likely sense, and any nonsense.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![4 => 2..8u32, 1 => 60..70u32, 1 => 310..330u32, 1 => 64..65_600u32];
    let time = prop_oneof![4 => 0..100u32, 1 => 0xFF_FFF0..0x100_0010u32, 1 => any::<u32>()];
    let kind = prop_oneof![
        4 => 8..=9u8,
        2 => Just(18),
        1 => Just(15),
        1 => Just(22),
        2 => 1..=6u8,
        1 => any::<u8>(),
    ];
    let length = prop_oneof![4 => 0..10usize, 2 => 0..400usize, 1 => 0..70_000usize];
    let payload = vec(any::<u8>(), 0..200);
    let header = (0..4u8, id, time, kind, length);
    (header, payload, any::<bool>()).prop_map(
        |((format, id, time, kind, length), payload, fits)| {
            // Mostly as much payload as the header says, so that what follows
            // is read as a chunk again.
            let length = if fits { payload.len() } else { length };
            let mut bytes = match format {
                0 => wire::fmt0(id, time, length, kind, 1),
                1 => wire::fmt1(id, time, length, kind),
                2 => wire::fmt2(id, time),
                _ => wire::fmt3(id),
            };
            bytes.extend(payload.chunks(128).next().unwrap_or_default());
            if fits && payload.len() > 128 {
                bytes.extend(wire::fmt3(id));
                if format != 3 {
                    bytes.extend(wire::extension(time));
                }
                bytes.extend(&payload[128..]);
            }
            bytes
        },
    )
}

/// Whole messages that change the state of the session.
fn event() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![
        1..300u32,
        Just(0),
        Just(0x8000_0000),
        Just(65_536),
        any::<u32>()
    ];
    prop_oneof![
        size.prop_map(|size| wire::control(wire::SET_CHUNK_SIZE, size)),
        (2..9u32).prop_map(|id| wire::control(wire::ABORT, id)),
        (0..100u32).prop_map(|window| wire::control(wire::WINDOW, window)),
        Just(wire::connect()),
        Just(wire::publish()),
        Just(wire::command("createStream", 4.0, None)),
        Just(wire::command("FCUnpublish", 5.0, Some(wire::text("test")))),
        Just(wire::command("deleteStream", 5.0, Some(wire::number(1.0)))),
        Just(wire::command("hello", 6.0, None)),
        (0..3usize, vec(any::<u8>(), 0..40)).prop_map(|(n, body)| {
            let kind = [wire::AUDIO, wire::VIDEO, wire::DATA][n];
            wire::message(kind, 40, 1, &body)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_damaged_recordings(
        recording in 0..RECORDINGS.len(),
        mutations in vec(mutation(), 0..6),
        handshake_too in prop::bool::weighted(0.05),
        seed in any::<u64>(),
    ) {
        let mut bytes = RECORDINGS[recording][..EXCERPT].to_vec();
        for mutation in &mutations {
            mutate(&mut bytes, if handshake_too { 0 } else { CHUNKS }, mutation);
        }
        assert_splits_alike(&bytes, seed)?;
    }

    #[test]
    fn of_generated_streams(
        chunks in vec(prop_oneof![3 => chunk(), 1 => event()], 0..60),
        prologue in 0..4usize,
        seed in any::<u64>(),
    ) {
        let prologue = match prologue {
            0 => wire::handshake(),
            _ => wire::until_published(),
        };
        assert_splits_alike(&[prologue, chunks.concat()].concat(), seed)?;
    }

    #[test]
    fn of_noise(noise in vec(any::<u8>(), 0..2000), seed in any::<u64>()) {
        assert_splits_alike(&noise, seed)?;
        assert_splits_alike(&[wire::until_published(), noise].concat(), seed)?;
    }
}

/// Far more answers than may wait, for a peer that reads them all.
#[test]
fn of_a_flood_of_requests() {
    let mut input = wire::until_published();
    for n in 0..4000 {
        input.extend(wire::command("createStream", f64::from(n), None));
    }
    input.extend(wire::message(wire::AUDIO, 7, 1, b"sound"));
    let server = Server::fed([&input[..]]);
    assert_eq!(server.failed(), None);
    assert_eq!(server.tags().count(), 1);
    assert_splits_alike(&input, 1).expect("the same");
}

/// The cases above would prove little if everything failed at once.
#[test]
fn reach_deep() {
    let message = Message {
        chunk_stream: 4,
        time: 0,
        kind: wire::VIDEO,
        stream: 1,
        body: &[1; 1000],
    };
    let input = [wire::until_published(), message.chunks(128), wire::fmt3(99)].concat();
    let server = Server::fed(input.chunks(1));
    assert_eq!(server.tags().count(), 1);
    assert_eq!(server.failed(), Some(&Error::NoSuchMessage(99)));
    for recording in RECORDINGS {
        let server = Server::fed([&recording[..EXCERPT]]);
        assert_eq!(server.failed(), None);
        assert!(server.tags().count() > 10);
    }
}
