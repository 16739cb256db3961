//! Chunks that are legal, or at least sent by somebody, and that no library
//! writes.

mod core_support;

use core_support::wire::{
    ABORT, AGGREGATE, AUDIO, DATA, DATA_AMF3, Message, SET_CHUNK_SIZE, VIDEO, basic_of, control,
    extension, fmt0, fmt1, fmt2, fmt3, message, text, until_published,
};
use core_support::{Seen, Server, audio, script, video, wire};
use gstrtmp2server::rtmp::{Counters, Error};

/// What `parts` bring a publisher, in one piece as well as byte by byte.
fn received(parts: &[Vec<u8>]) -> Vec<Seen> {
    received_and_counted(parts).0
}

fn received_and_counted(parts: &[Vec<u8>]) -> (Vec<Seen>, Counters) {
    let bytes = parts.concat();
    let mut whole = Server::fed([&until_published()[..]]);
    whole.take_seen();
    whole.feed(&bytes);
    let mut split = Server::fed([&until_published()[..]]);
    split.take_seen();
    for byte in bytes.chunks(1) {
        split.feed(byte);
    }
    assert_eq!(whole.seen, split.seen);
    // What is behind a mistake is not looked at.
    if whole.failed().is_none() {
        assert_eq!(whole.left(), split.left());
    }
    (whole.seen, whole.session.counters())
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn fmt3_after_fmt0_adds_its_time_once_more() {
    let parts = [
        fmt0(4, 1000, 1, AUDIO, 1),
        bytes("a"),
        fmt3(4),
        bytes("b"),
        fmt3(4),
        bytes("c"),
    ];
    let expected = [audio(1000, b"a"), audio(2000, b"b"), audio(3000, b"c")];
    assert_eq!(received(&parts), expected);
}

#[test]
fn fmt3_after_fmt1_and_fmt2_adds_their_delta() {
    let parts = [
        fmt0(4, 1000, 1, AUDIO, 1),
        bytes("a"),
        fmt1(4, 20, 2, VIDEO),
        bytes("bb"),
        fmt3(4),
        bytes("cc"),
        fmt2(4, 7),
        bytes("dd"),
        fmt3(4),
        bytes("ee"),
    ];
    let expected = [
        audio(1000, b"a"),
        video(1020, b"bb"),
        video(1040, b"cc"),
        video(1047, b"dd"),
        video(1054, b"ee"),
    ];
    assert_eq!(received(&parts), expected);
}

/// librtmp goes back in time by adding 2³² − 25.
#[test]
fn deltas_are_modulo_2_32() {
    let back = 0xFFFF_FFE7;
    let parts = [
        fmt0(4, 100, 1, AUDIO, 1),
        bytes("a"),
        fmt1(4, back, 1, VIDEO),
        bytes("b"),
        fmt2(4, back),
        bytes("c"),
        fmt3(4),
        extension(back),
        bytes("d"),
        fmt3(4),
        extension(back),
        bytes("e"),
    ];
    let expected = [
        audio(100, b"a"),
        video(75, b"b"),
        video(50, b"c"),
        video(25, b"d"),
        video(0, b"e"),
    ];
    assert_eq!(received(&parts), expected);
    let parts = [
        fmt0(4, u32::MAX, 1, AUDIO, 1),
        bytes("a"),
        fmt2(4, 2),
        bytes("b"),
    ];
    assert_eq!(received(&parts), [audio(u32::MAX, b"a"), audio(1, b"b")]);
}

/// The field on fmt 3 within a message: repeated, holding the time where the
/// header has a delta, or left out.
#[test]
fn extended_times_with_and_without_the_repeated_field() {
    const DELTA: u32 = 0x0100_0001;
    const TIME: u32 = 50 + DELTA;
    let fields = [
        DELTA.to_be_bytes().to_vec(),
        TIME.to_be_bytes().to_vec(),
        vec![],
    ];
    let body: Vec<u8> = (0..=255).collect();
    for field in fields {
        for header in [fmt1(4, DELTA, 256, AUDIO), fmt2(4, DELTA)] {
            let parts = [
                fmt0(4, 50, 256, AUDIO, 1),
                body[..128].to_vec(),
                fmt3(4),
                body[128..].to_vec(),
                header,
                body[..128].to_vec(),
                fmt3(4),
                field.clone(),
                body[128..].to_vec(),
                fmt2(4, 1),
                body[..128].to_vec(),
                // The last header had no field, so there is none to repeat.
                fmt3(4),
                body[128..].to_vec(),
            ];
            let expected = [audio(50, &body), audio(TIME, &body), audio(TIME + 1, &body)];
            assert_eq!(received(&parts), expected, "{field:?}");
        }
        let field = if field.is_empty() {
            vec![]
        } else {
            extension(TIME)
        };
        let parts = [
            fmt0(4, TIME, 256, AUDIO, 1),
            body[..128].to_vec(),
            fmt3(4),
            field.clone(),
            body[128..].to_vec(),
            message(VIDEO, 1, 1, b"x"),
        ];
        assert_eq!(
            received(&parts),
            [audio(TIME, &body), video(1, b"x")],
            "{field:?}"
        );
    }
}

/// A payload that begins as the field would, but is none.
#[test]
fn a_payload_like_a_field() {
    const TIME: u32 = 0x0102_0304;
    for payload in [&[1, 2, 3][..], &[1, 2, 3, 5], &[1], &[1, 2, 3, 3, 9]] {
        let body = [&[0; 128], payload].concat();
        let parts = [
            fmt0(4, TIME, body.len(), AUDIO, 1),
            body[..128].to_vec(),
            fmt3(4),
            payload.to_vec(),
            message(VIDEO, 1, 1, b"x"),
        ];
        assert_eq!(received(&parts), [audio(TIME, &body), video(1, b"x")]);
    }
}

#[test]
fn fmt3_begins_a_message_with_an_extended_time() {
    const TIME: u32 = 0x0123_4567;
    let parts = [
        fmt0(4, TIME, 1, AUDIO, 1),
        bytes("a"),
        fmt3(4),
        extension(TIME),
        bytes("b"),
        fmt3(4),
        extension(TIME),
        bytes("c"),
    ];
    let expected = [
        audio(TIME, b"a"),
        audio(2 * TIME, b"b"),
        audio(3 * TIME, b"c"),
    ];
    assert_eq!(received(&parts), expected);
}

/// 0xFFFFFF itself can't be told from the mark, so it is extended, too.
#[test]
fn the_border_of_the_extended_time() {
    for time in [0xFF_FFFE, 0xFF_FFFF, 0x100_0000] {
        let parts = [
            fmt0(4, time, 1, AUDIO, 1),
            bytes("a"),
            fmt2(4, time),
            bytes("b"),
        ];
        assert_eq!(received(&parts), [audio(time, b"a"), audio(2 * time, b"b")]);
    }
}

#[test]
fn abort_discards_what_came_of_one_message() {
    let parts = [
        fmt0(4, 10, 300, AUDIO, 1),
        vec![1; 128],
        fmt0(6, 11, 200, VIDEO, 1),
        vec![2; 128],
        control(ABORT, 4),
        // Nothing to discard on these.
        control(ABORT, 4),
        control(ABORT, 2),
        control(ABORT, 77),
        fmt3(6),
        vec![2; 72],
        // A new message, 10 ms after the one that never was.
        fmt1(4, 10, 1, AUDIO),
        bytes("b"),
    ];
    let (seen, counters) = received_and_counted(&parts);
    assert_eq!(seen, [video(11, &[2; 200]), audio(20, b"b")]);
    assert_eq!(counters.restarted_messages, 1);
}

#[test]
fn the_chunk_size_grows_and_shrinks_within_a_message() {
    let body: Vec<u8> = (0..5000).map(|n| (n / 7) as u8).collect();
    let mut parts = vec![fmt0(4, 10, body.len(), VIDEO, 1)];
    let mut rest = &body[..];
    let mut take = |n: usize| {
        let (head, tail) = rest.split_at(n.min(rest.len()));
        rest = tail;
        head.to_vec()
    };
    parts.push(take(128));
    for size in [1000, 3, 1, 128, 70_000] {
        parts.extend([control(SET_CHUNK_SIZE, size), fmt3(4), take(size as usize)]);
        if size < 1000 {
            // Another chunk of it, and back to where controls fit in one chunk.
            parts.extend([fmt3(4), take(size as usize)]);
            let back = Message {
                chunk_stream: 2,
                time: 0,
                kind: SET_CHUNK_SIZE,
                stream: 0,
                body: &128u32.to_be_bytes(),
            };
            parts.push(back.chunks(size as usize));
        }
    }
    assert_eq!(received(&parts), [video(10, &body)]);
}

/// Chunks one behind the other, whole in one read, and whatever can come between two of them. Byte by byte, each is read by
/// itself.
#[test]
fn a_run_of_chunks_and_what_can_end_it() {
    const SIZE: usize = 128;
    let body: Vec<u8> = (0..10 * SIZE as u32 + 50).map(|n| (n / 3) as u8).collect();
    let another = message(AUDIO, 7, 1, b"sound");
    let again = [fmt0(4, 90, 2, VIDEO, 1), bytes("vv")].concat();
    // What it is, and whether the message goes on behind it.
    let between: [(Vec<u8>, bool); 7] = [
        (vec![], true),
        (another, true),
        // Unfinished itself.
        (
            [fmt0(5, 1, 3 * SIZE, AUDIO, 1), vec![1; SIZE]].concat(),
            true,
        ),
        (control(SET_CHUNK_SIZE, SIZE as u32), true),
        (control(ABORT, 4), false),
        (again, false),
        // A continuation of nothing, on chunk stream 68.
        (vec![0xC0, 4], false),
    ];
    for (id, time) in [(4, 10), (4, 0x0100_0000), (63, 10), (64, 10), (400, 10)] {
        let whole = Message {
            chunk_stream: id,
            time,
            kind: VIDEO,
            stream: 1,
            body: &body,
        };
        let continued = [fmt3(id), extension(time)].concat();
        for (between, goes_on) in &between {
            for place in 1..=10 {
                let mut parts = vec![fmt0(id, time, body.len(), VIDEO, 1)];
                for (n, payload) in body.chunks(SIZE).enumerate() {
                    if n == place {
                        parts.push(between.clone());
                    }
                    if n > 0 {
                        parts.push(continued.clone());
                    }
                    parts.push(payload.to_vec());
                }
                let seen = received(&parts);
                if *goes_on {
                    assert!(seen.contains(&video(time, &body)), "{id} {time} {place}");
                } else if between[..] == [0xC0, 4] {
                    assert_eq!(seen, [Seen::Failed(Error::NoSuchMessage(68))]);
                }
            }
        }
        assert_eq!(received(&[whole.chunks(SIZE)]), [video(time, &body)]);
    }
}

/// The top bit of a chunk size must be 0; some set it all the same.
#[test]
fn the_top_bit_of_a_chunk_size_is_ignored() {
    let parts = [
        control(SET_CHUNK_SIZE, 0x8000_0000 | 200),
        fmt0(4, 10, 200, VIDEO, 1),
        vec![1; 200],
    ];
    assert_eq!(received(&parts), [video(10, &[1; 200])]);
    let failed = received(&[control(SET_CHUNK_SIZE, 0x8000_0000)]);
    assert_eq!(failed, [Seen::Failed(Error::ChunkSizeZero)]);
}

#[test]
fn a_header_within_a_message_restarts_it() {
    for (header, expected) in [
        (fmt0(4, 50, 3, VIDEO, 1), video(50, b"new")),
        (fmt1(4, 50, 3, VIDEO), video(60, b"new")),
    ] {
        let parts = [
            fmt0(4, 10, 300, AUDIO, 1),
            vec![1; 128],
            header,
            bytes("new"),
        ];
        let (seen, counters) = received_and_counted(&parts);
        assert_eq!(seen, [expected]);
        assert_eq!(counters.restarted_messages, 1);
    }
    let parts = [
        fmt0(4, 10, 200, AUDIO, 1),
        vec![1; 128],
        fmt2(4, 50),
        vec![2; 128],
        fmt3(4),
        vec![2; 72],
    ];
    assert_eq!(received(&parts), [audio(60, &[2; 200])]);
}

#[test]
fn a_chunk_stream_that_begins_without_a_full_header() {
    // librtmp and shiguredo_rtmp: fmt 1 counts from 0.
    let parts = [fmt1(9, 40, 1, AUDIO), bytes("a"), fmt2(9, 2), bytes("b")];
    assert_eq!(received(&parts), [audio(40, b"a"), audio(42, b"b")]);
    // fmt 2 says nothing of what it begins: an empty message of no type.
    let parts = [fmt2(9, 40), fmt1(9, 2, 1, AUDIO), bytes("a")];
    let (seen, counters) = received_and_counted(&parts);
    assert_eq!(seen, [audio(42, b"a")]);
    assert_eq!(counters.ignored_messages, 1);
    // fmt 3 says nothing at all.
    let failed = Seen::Failed(Error::NoSuchMessage(9));
    assert_eq!(received(&[fmt3(9)]), [failed]);
}

/// Ids from 64 to 319 can be written in two bytes and in three.
#[test]
fn one_chunk_stream_in_two_forms() {
    let mut header = basic_of(3, 0, 100);
    header.extend(&fmt0(3, 5, 300, AUDIO, 1)[1..]);
    let parts = [
        header,
        vec![1; 128],
        basic_of(2, 3, 100),
        vec![1; 128],
        basic_of(3, 3, 100),
        vec![1; 44],
    ];
    assert_eq!(received(&parts), [audio(5, &[1; 300])]);
}

#[test]
fn empty_messages() {
    let parts = [
        fmt0(4, 10, 0, AUDIO, 1),
        fmt3(4),
        fmt1(4, 1, 0, VIDEO),
        fmt2(4, 5),
        message(DATA, 7, 1, &[]),
        message(DATA_AMF3, 8, 1, &[]),
        message(DATA_AMF3, 9, 1, &[0]),
        message(AGGREGATE, 9, 1, &[]),
        message(AUDIO, 30, 1, b"a"),
    ];
    let expected = [
        audio(10, b""),
        audio(20, b""),
        video(21, b""),
        video(26, b""),
        script(7, b""),
        script(8, b""),
        script(9, b""),
        audio(30, b"a"),
    ];
    assert_eq!(received(&parts), expected);
}

#[test]
fn data_messages_are_unwrapped() {
    let plain = wire::amf(vec![text("onMetaData"), wire::number(1.0)]);
    let wrapped = [wire::amf(vec![text("@setDataFrame")]), plain.clone()].concat();
    let other = wire::amf(vec![text("onTextData"), text("@setDataFrame")]);
    // The two AMF3 forms: a format byte, and each value behind a marker if it
    // is an AMF3 value, which is not the case here.
    let parts = [
        message(DATA, 1, 1, &plain),
        message(DATA, 2, 1, &wrapped),
        message(DATA_AMF3, 3, 1, &[&[0], &plain[..]].concat()),
        message(DATA_AMF3, 4, 1, &[&[0], &wrapped[..]].concat()),
        message(DATA, 5, 1, &other),
        // What can't be decoded is passed on.
        message(DATA, 6, 1, b"\x02\xFF\xFFno string"),
    ];
    let expected = [
        script(1, &plain),
        script(2, &plain),
        script(3, &plain),
        script(4, &plain),
        script(5, &other),
        script(6, b"\x02\xFF\xFFno string"),
    ];
    assert_eq!(received(&parts), expected);
}

/// A part of an aggregate, with the length behind it.
fn part(kind: u8, time: u32, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32;
    let [high, times @ ..] = time.to_be_bytes();
    let mut bytes = vec![kind];
    bytes.extend(&length.to_be_bytes()[1..]);
    bytes.extend(times);
    bytes.push(high);
    bytes.extend([0; 3]);
    bytes.extend(body);
    bytes.extend((11 + length).to_be_bytes());
    bytes
}

#[test]
fn aggregates_are_split_and_rebased() {
    let meta = wire::amf(vec![text("@setDataFrame"), text("onMetaData")]);
    let command = wire::call("deleteStream", 0.0, vec![]);
    let body = [
        part(AUDIO, 0x0200_0000, b"a"),
        part(VIDEO, 0x0200_0028, &[7; 1000]),
        part(DATA, 0x0200_0028, &meta),
        // Has no business here.
        part(wire::COMMAND, 0x0200_0028, &command),
        part(AGGREGATE, 0x0200_0028, &part(AUDIO, 0, b"nested")),
        part(AUDIO, 0x01FF_FFFF, b""),
        // Cut short.
        part(VIDEO, 0x0200_0050, b"lost")[..14].to_vec(),
    ]
    .concat();
    let parts = [
        message(AGGREGATE, 100, 1, &body),
        message(AUDIO, 150, 1, b"after"),
    ];
    let (seen, counters) = received_and_counted(&parts);
    let expected = [
        audio(100, b"a"),
        video(140, &[7; 1000]),
        script(140, &wire::amf(vec![text("onMetaData")])),
        audio(99, b""),
        audio(150, b"after"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(counters.ignored_messages, 2);
}

/// Media on any message stream belong to the publication.
#[test]
fn the_message_stream_does_not_matter() {
    let parts = [0, 1, 2, u32::MAX].map(|stream| message(AUDIO, 5, stream, b"a"));
    assert_eq!(received(&parts), [0; 4].map(|_| audio(5, b"a")));
}
