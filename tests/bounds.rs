//! Nothing that a peer declares or repeats goes beyond its bound, and whoever
//! goes beyond one is told apart by the error.

mod core_support;

use core_support::wire::{
    self, ABORT, ACKNOWLEDGEMENT, AUDIO, COMMAND, Message, SET_CHUNK_SIZE, VIDEO, WINDOW, command,
    connect, control, fmt0, fmt1, fmt3, handshake, message, until_published,
};
use core_support::{Seen, Server, answers, audio, video};
use gstrtmp2server::amf0;
use gstrtmp2server::rtmp::{Error, Limits, handshake::HandshakeError};

/// What ends a session that has received `parts`, in one read and in many.
fn failure(parts: &[Vec<u8>]) -> Option<Error> {
    failure_with(Limits::default(), parts)
}

fn failure_with(limits: Limits, parts: &[Vec<u8>]) -> Option<Error> {
    let bytes = parts.concat();
    let mut whole = Server::with_limits(limits.clone());
    whole.feed(&bytes);
    let mut split = Server::with_limits(limits);
    bytes.chunks(100).for_each(|piece| split.feed(piece));
    assert_eq!(whole.seen, split.seen);
    whole.failed().cloned()
}

#[test]
fn a_stranger_may_leave_8_kib_unfinished() {
    let limit = 8 << 10;
    let declared = |length| fmt0(4, 0, length, VIDEO, 1);
    let too_large = |declared| Some(Error::MessageTooLarge { declared, limit });
    for start in [handshake(), [handshake(), connect()].concat()] {
        assert_eq!(failure(&[start.clone(), declared(limit)]), None);
        let failed = failure(&[start.clone(), declared(limit + 1)]);
        assert_eq!(failed, too_large(limit + 1));
        let failed = failure(&[start, fmt1(4, 0, 0xFF_FFFF, VIDEO)]);
        assert_eq!(failed, too_large(0xFF_FFFF));
    }
    // The bound is on unfinished messages in all, too; an aborted one is none.
    let unfinished = |id| [fmt0(id, 0, 5001, AUDIO, 1), vec![0; 5000]].concat();
    let chunk_size = control(SET_CHUNK_SIZE, 5000);
    let failed = failure(&[
        handshake(),
        chunk_size.clone(),
        unfinished(4),
        unfinished(5),
    ]);
    assert_eq!(failed, Some(Error::TooMuchUnfinished { limit }));
    let abort = control(ABORT, 4);
    let parts = [handshake(), chunk_size, unfinished(4), abort, unfinished(5)];
    assert_eq!(failure(&parts), None);
}

#[test]
fn a_publishers_bounds_are_those_set() {
    let limits = Limits::with_max_message_size(100_000);
    let body = vec![7; 100_000];
    let parts = [until_published(), message(VIDEO, 1, 1, &body)];
    assert_eq!(failure_with(limits.clone(), &parts), None);
    let parts = [until_published(), fmt0(4, 0, 100_001, VIDEO, 1)];
    let error = Error::MessageTooLarge {
        declared: 100_001,
        limit: 100_000,
    };
    assert_eq!(failure_with(limits.clone(), &parts), Some(error));
    // 100,000 bytes and 1 MiB of unfinished messages; below it, none is lost.
    let limit = limits.max_unfinished;
    assert_eq!(limit, 100_000 + (1 << 20));
    let mut parts = vec![until_published(), control(SET_CHUNK_SIZE, 99_999)];
    for id in 10..21 {
        parts.push(fmt0(id, id, 100_000, VIDEO, 1));
        parts.push(vec![id as u8; 99_999]);
    }
    assert_eq!(failure_with(limits.clone(), &parts), None);
    let mut server = Server::with_limits(limits.clone());
    server.feed(&parts.concat());
    server.take_seen();
    for id in 10..21 {
        server.feed(&[wire::fmt3(id), vec![id as u8]].concat());
        assert_eq!(server.take_seen(), [video(id, &[id as u8; 100_000])]);
    }
    parts.push(fmt0(21, 0, 100_000, VIDEO, 1));
    parts.push(vec![0; 99_999]);
    let error = Error::TooMuchUnfinished { limit };
    assert_eq!(failure_with(limits, &parts), Some(error));
}

/// A publisher is not lost for a long one; it is not read.
#[test]
fn commands_have_a_bound_of_their_own() {
    let limit = 8 << 10;
    let name = |length| Some(wire::text(&"x".repeat(length)));
    let parts = [until_published(), command("hello", 1.0, name(8000))];
    assert_eq!(failure(&parts), None);
    let large = command("hello", 1.0, name(8192));
    let after = message(VIDEO, 1, 1, b"after it");
    let mut server = Server::with_limits(Limits::default());
    server.feed(&[until_published(), large.clone(), after].concat());
    assert_eq!(server.seen.last(), Some(&video(1, b"after it")));
    let failed = failure(&[handshake(), connect(), large]);
    assert!(
        matches!(failed, Some(Error::MessageTooLarge { declared: 8193.., limit: l }) if l == limit)
    );
}

#[test]
fn chunk_streams_have_a_number() {
    let limit = Limits::default().max_chunk_streams;
    let stream = |id: usize| {
        let message = Message {
            chunk_stream: 100 + id as u32,
            time: 0,
            kind: AUDIO,
            stream: 1,
            body: b"a",
        };
        message.chunks(128)
    };
    // The prologue used chunk stream 3.
    let mut parts = vec![until_published()];
    parts.extend((1..limit).map(stream));
    assert_eq!(failure(&parts), None);
    parts.push(stream(limit));
    assert_eq!(failure(&parts), Some(Error::TooManyChunkStreams { limit }));
}

/// `depth` objects in each other as the argument of a command.
fn deep(name: &str, depth: usize) -> Vec<u8> {
    let mut body = wire::call(name, 1.0, vec![]);
    for _ in 0..depth {
        body.extend(b"\x03\0\x01a");
    }
    body.push(5);
    for _ in 0..depth {
        body.extend(b"\0\0\x09");
    }
    let message = Message {
        chunk_stream: 3,
        time: 0,
        kind: COMMAND,
        stream: 0,
        body: &body,
    };
    message.chunks(128)
}

#[test]
fn deep_amf_is_refused_on_a_small_stack() {
    let run = || {
        let too_deep = Some(Error::Command(amf0::Error::TooDeep));
        assert_eq!(failure(&[handshake(), deep("connect", 10)]), None);
        // As deep as 8 KiB can hold.
        for depth in [17, 100, 1150] {
            let failed = failure(&[handshake(), deep("connect", depth)]);
            assert_eq!(failed, too_deep);
            let failed = failure(&[handshake(), connect(), deep("publish", depth)]);
            assert_eq!(failed, too_deep);
            // No reason to lose a publisher.
            let after = message(AUDIO, 1, 1, b"a");
            let mut server = Server::fed([&until_published()[..]]);
            server.take_seen();
            server.feed(&[deep("hello", depth), after].concat());
            assert_eq!(server.seen, [audio(1, b"a")]);
        }
    };
    let small = std::thread::Builder::new().stack_size(256 << 10);
    small
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no overflow");
}

/// Names are kept, and each byte of one that is no UTF-8 takes three.
#[test]
fn names_have_a_bound_after_decoding() {
    let limit = 8 << 10;
    let start = [handshake(), connect()].concat();
    let name = |length: u16| {
        [
            &b"\x02"[..],
            &length.to_be_bytes(),
            &vec![0xFF; length.into()],
        ]
        .concat()
    };
    let publish = |length| {
        let body = [wire::call("publish", 1.0, vec![]), vec![5], name(length)].concat();
        message(COMMAND, 0, 1, &body)
    };
    assert_eq!(failure(&[start.clone(), publish(2730)]), None);
    let too_large = Error::TooMuchText { len: 8193, limit };
    assert_eq!(failure(&[start, publish(2731)]), Some(too_large.clone()));
    let app = [&b"\x03\0\x03app"[..], &name(2731), b"\0\0\x09"].concat();
    let body = [wire::call("connect", 1.0, vec![]), app].concat();
    let failed = failure(&[handshake(), message(COMMAND, 0, 0, &body)]);
    assert_eq!(failed, Some(too_large));
}

/// Objects that never end, and arrays that promise four billion values.
#[test]
fn damaged_connects_are_refused() {
    let name = || wire::call("connect", 1.0, vec![]);
    for (rest, error) in [
        (&b"\x03\0\x01a"[..], amf0::Error::Truncated),
        (b"\x03\0\x03app\x02\xFF\xFFlive", amf0::Error::Truncated),
        (b"\x0A\xFF\xFF\xFF\xFF\x05\x05", amf0::Error::Truncated),
        (b"\x0C\xFF\xFF\xFF\xFFlive", amf0::Error::Truncated),
        (b"\x04", amf0::Error::UnknownMarker(4)),
    ] {
        let body = [&name()[..], rest].concat();
        let failed = failure(&[handshake(), message(COMMAND, 0, 0, &body)]);
        assert_eq!(failed, Some(Error::Command(error)), "{rest:x?}");
    }
    // A bare name is poor, but whole.
    assert_eq!(
        failure(&[handshake(), message(COMMAND, 0, 0, &name())]),
        None
    );
}

#[test]
fn control_messages_must_be_whole() {
    for type_id in [SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, WINDOW] {
        for len in 0..4 {
            let failed = failure(&[handshake(), message(type_id, 0, 0, &[1; 3][..len])]);
            assert_eq!(failed, Some(Error::ShortControlMessage { type_id, len }));
        }
        // More than needed does no harm.
        assert_eq!(
            failure(&[handshake(), message(type_id, 0, 0, &[1; 9])]),
            None
        );
    }
}

#[test]
fn chunk_sizes() {
    let zero = control(SET_CHUNK_SIZE, 0);
    assert_eq!(failure(&[handshake(), zero]), Some(Error::ChunkSizeZero));
    for size in [1, 0xFF_FFFF, 0x100_0000, 0x7FFF_FFFF, u32::MAX] {
        let media = Message {
            chunk_stream: 4,
            time: 3,
            kind: VIDEO,
            stream: 1,
            body: &[9; 5000],
        };
        let chunk_size = size.min(0x7FFF_FFFF) as usize;
        let mut server = Server::fed([&until_published()[..]]);
        server.take_seen();
        server.feed(&control(SET_CHUNK_SIZE, size));
        server.feed(&media.chunks(chunk_size));
        assert_eq!(server.seen, [video(3, &[9; 5000])]);
    }
}

/// A publisher whose stream breaks is told, and keeps what came before.
#[test]
fn the_last_words() {
    let parts = [until_published(), message(AUDIO, 1, 1, b"a"), fmt3(99)];
    let server = Server::fed([&parts.concat()[..]]);
    let failed = Seen::Failed(Error::NoSuchMessage(99));
    assert_eq!(server.seen[2..], [audio(1, b"a"), failed]);
    let lines = answers::lines(&server.sent);
    let last = lines.last().map(String::as_str);
    assert_eq!(last, Some("onStatus NetStream.Failed on 1"));
}

#[test]
fn publish_needs_a_connect() {
    let failed = failure(&[handshake(), wire::publish()]);
    assert_eq!(failed, Some(Error::PublishBeforeConnect));
}

#[test]
fn strangers_of_other_protocols() {
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], HandshakeError::Http),
        (&[0x16, 3, 1, 2, 0, 1], HandshakeError::Tls),
        (&[6; 1537], HandshakeError::Encrypted(6)),
        (&[0xFF], HandshakeError::Version(0xFF)),
    ] {
        let failed = failure(&[bytes.to_vec()]);
        assert_eq!(failed, Some(Error::Handshake(error)));
        let server = Server::fed([bytes]);
        assert_eq!(server.sent, error.farewell());
    }
}
