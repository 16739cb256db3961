//! What a peer can make a session hold, measured by the allocator.

mod core_support;
#[path = "core_support/meter.rs"]
mod meter;

use core_support::config;
use core_support::wire::{
    self, AGGREGATE, AUDIO, COMMAND, Message, SET_CHUNK_SIZE, VIDEO, command, connect, control,
    fmt0, fmt3, handshake, until_published,
};
use gstrtmp2server::rtmp::{Event, Limits, Session, Step};
use meter::{Counting, Meter};

#[global_allocator]
static COUNTING: Counting = Counting;

fn session() -> Session {
    Session::new(config(Limits::default()), [7; 32])
}

/// Feeds one read and drops what comes out, as a consumer that keeps up does.
fn feed(session: &mut Session, mut input: &[u8]) {
    let input = &mut input;
    loop {
        match session.poll(input).expect("no error") {
            Step::Event(Event::Connect(_)) => session.accept_connect(),
            Step::Event(Event::Publish(_)) => session.accept_publish(),
            Step::Event(_) => {}
            Step::NeedMore if session.output().is_empty() => break,
            Step::NeedMore => drop(session.output_mut().split()),
        }
    }
    assert!(input.is_empty(), "the tests send whole headers");
}

const KIB: isize = 1 << 10;
const MIB: isize = 1 << 20;

#[test]
fn the_meter_works() {
    let meter = Meter::new();
    let bytes = vec![0u8; 1 << 20];
    assert_eq!(meter.live(), MIB);
    drop(bytes);
    assert_eq!((meter.live(), meter.peak()), (0, MIB));
}

#[test]
fn who_only_connects_costs_next_to_nothing() {
    let meter = Meter::new();
    let mut silent = session();
    feed(&mut silent, &[]);
    assert!(meter.live() < KIB, "{}", meter.live());
    let input = [handshake(), connect()].concat();
    let meter = Meter::new();
    let mut connected = session();
    feed(&mut connected, &input);
    assert!(meter.live() < 16 * KIB, "{}", meter.live());
}

#[test]
fn what_is_declared_and_not_sent_costs_nothing() {
    let start = [until_published(), control(SET_CHUNK_SIZE, 1)].concat();
    let mut session = session();
    feed(&mut session, &start);
    let meter = Meter::new();
    feed(&mut session, &fmt0(4, 0, 0xFF_FFFF, VIDEO, 1));
    assert!(meter.peak() < KIB, "{}", meter.peak());
    feed(&mut session, &[1]);
    // As many of them as there may be, and a byte of each.
    for id in 10..130 {
        feed(&mut session, &fmt0(id, 0, 0xFF_FFFF, VIDEO, 1));
        feed(&mut session, &[1]);
    }
    assert!(meter.peak() < 64 * KIB, "{}", meter.peak());
}

#[test]
fn a_message_holds_at_most_twice_what_arrived() {
    let start = [until_published(), control(SET_CHUNK_SIZE, 0xFF_FFFF)].concat();
    let mut session = session();
    feed(&mut session, &start);
    let piece = [5; 10_000];
    let meter = Meter::new();
    feed(&mut session, &fmt0(4, 0, 0xFF_FFFF, VIDEO, 1));
    for n in 1..1600 {
        feed(&mut session, &piece);
        let arrived = n * 10_000;
        assert!(
            meter.live() <= 2 * arrived + 4 * KIB,
            "{} of {arrived}",
            meter.live()
        );
    }
    feed(&mut session, &[5; 0xFF_FFFF - 1599 * 10_000]);
    assert!(meter.live() < 4 * KIB, "{}", meter.live());
    // While it grows, the old vector and one of the full size.
    assert!(meter.peak() <= 32 * MIB + 4 * KIB, "{}", meter.peak());
}

/// What is in hand may be any message's, and is reserved for one of them only.
#[test]
fn what_is_at_hand_is_reserved_once() {
    let start = [until_published(), control(SET_CHUNK_SIZE, 1)].concat();
    let mut session = session();
    feed(&mut session, &start);
    let mut input = Vec::new();
    for id in 10..130 {
        input.extend(fmt0(id, 0, 0xFF_FFFF, VIDEO, 1));
        input.push(1);
    }
    // In chunks of 1 byte, which it ends.
    for (n, byte) in control(SET_CHUNK_SIZE, 60_000).into_iter().enumerate() {
        if n > 12 {
            input.extend(fmt3(2));
        }
        input.push(byte);
    }
    input.extend(fmt3(10));
    input.extend([5; 60_000]);
    let meter = Meter::new();
    feed(&mut session, &input);
    assert!(meter.live() >= 60_000, "{}", meter.live());
    assert!(meter.peak() < 64 * KIB + 120 * KIB, "{}", meter.peak());
}

/// The dearest use of 8 KiB: as many messages as possible, each just above the
/// size of the vector that it had.
#[test]
fn a_stranger_stays_near_its_bound() {
    let start = [handshake(), control(SET_CHUNK_SIZE, 65)].concat();
    let mut session = session();
    feed(&mut session, &start);
    let meter = Meter::new();
    let ids = 10..73;
    for id in ids.clone() {
        feed(&mut session, &fmt0(id, 0, 8 << 10, AUDIO, 1));
        feed(&mut session, &[1; 65]);
    }
    for id in ids {
        feed(&mut session, &fmt3(id));
        feed(&mut session, &[1; 65]);
    }
    assert!(meter.live() > 8 * KIB, "{}", meter.live());
    assert!(meter.peak() < 32 * KIB, "{}", meter.peak());
}

#[test]
fn commands_are_cheap_to_refuse() {
    let big = |values: &[u8], count: usize| {
        let mut body = wire::call("hello", 1.0, vec![]);
        (0..count).for_each(|_| body.extend(values));
        let message = Message {
            chunk_stream: 3,
            time: 0,
            kind: COMMAND,
            stream: 0,
            body: &body,
        };
        [&handshake()[..], &message.chunks(128)].concat()
    };
    // 7,500 nulls, empty objects, and empty AMF3 arrays.
    for values in [&b"\x05"[..], b"\x03\0\0\x09", b"\x11\x09\x01\x01"] {
        let input = big(values, 7_500 / values.len());
        let mut session = session();
        let meter = Meter::new();
        feed(&mut session, &input);
        assert!(meter.peak() < 256 * KIB, "{}", meter.peak());
        assert!(meter.live() < 16 * KIB, "{}", meter.live());
    }
}

#[test]
fn answers_are_bounded_at_any_moment() {
    let mut input = until_published();
    for n in 0..20_000 {
        input.extend(command("createStream", f64::from(n), None));
    }
    let meter = Meter::new();
    feed(&mut session(), &input);
    assert!(meter.peak() < 512 * KIB, "{}", meter.peak());
}

#[test]
fn an_aggregate_is_split_one_part_at_a_time() {
    // 11 bytes of header and a back pointer of 4 for each empty part.
    let body = [&[AUDIO][..], &[0; 14]].concat().repeat(60_000);
    let message = Message {
        chunk_stream: 4,
        time: 0,
        kind: AGGREGATE,
        stream: 1,
        body: &body,
    };
    let input = [until_published(), message.chunks(128)].concat();
    let meter = Meter::new();
    feed(&mut session(), &input);
    assert!(meter.peak() < 3 * MIB, "{}", meter.peak());
    assert!(meter.live() < 16 * KIB, "{}", meter.live());
}

#[test]
fn a_publication_leaves_nothing_behind() {
    let recording = include_bytes!("fixtures/client-obs29.bin");
    let meter = Meter::new();
    let mut session = session();
    feed(&mut session, recording);
    assert!(meter.live() < 16 * KIB, "{}", meter.live());
    assert!(meter.peak() < 64 * KIB, "{}", meter.peak());
    drop(session);
    assert_eq!(meter.live(), 0);
}
