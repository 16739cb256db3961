//! Chunks, and messages in them.

use rml_rtmp::rml_amf0::Amf0Value;

use super::core_support::Rng;
use super::core_support::wire::{
    ABORT, AGGREGATE, AUDIO, COMMAND, EXTENDED, Message, SET_CHUNK_SIZE, VIDEO, WINDOW, call,
    control, extension, fmt0, fmt1, fmt2, fmt3, handshake, message, object, text, until_published,
};
use super::support::flv::{self, Rules};
use super::{KEY_FRAME, SOUND, audio, insist_on, recorded, video};

/// PTZOptics cameras, from 64 on.
#[test]
fn chunk_streams_of_any_number() {
    let mut parts = vec![handshake()];
    let on = |chunk_stream, kind, time, body: &[u8]| {
        let message = Message {
            chunk_stream,
            time,
            kind,
            stream: 1,
            body,
        };
        message.chunks(128)
    };
    let connect_object = object([("app", text("live"))]);
    parts.push(on(
        64,
        COMMAND,
        0,
        &call("connect", 1.0, vec![connect_object]),
    ));
    let null = Amf0Value::Null;
    let publish = call("publish", 0.0, vec![null, text("test")]);
    parts.push(on(65_599, COMMAND, 0, &publish));
    let mut expected = Vec::new();
    for (n, id) in [2, 3, 63, 64, 65, 318, 319, 320, 321, 65_598, 65_599]
        .into_iter()
        .enumerate()
    {
        let time = n as u32 * 40;
        let body = [KEY_FRAME, &[id as u8; 300]].concat();
        parts.push(on(id, VIDEO, time, &body));
        // Compressed headers refer to the same chunk stream.
        parts.extend([fmt1(id, 20, SOUND.len(), AUDIO), SOUND.to_vec()]);
        expected.extend([video(time, &body), audio(time + 20, SOUND)]);
    }
    let captured = recorded("timestamp-mode=passthrough", &parts);
    assert!(
        captured == expected,
        "{}",
        flv::compare(&expected, &captured, Rules::default())
    );
}

/// DJI's and librtmp's first header on a chunk stream.
#[test]
fn chunk_streams_that_begin_with_a_delta() {
    insist_on(
        &[
            audio(40, SOUND),
            audio(60, SOUND),
            video(7, KEY_FRAME),
            video(47, KEY_FRAME),
        ],
        &[
            fmt1(40, 40, SOUND.len(), AUDIO),
            SOUND.to_vec(),
            fmt2(40, 20),
            SOUND.to_vec(),
            // Without a length there is nothing to it, but its time counts.
            fmt2(41, 7),
            fmt1(41, 0, KEY_FRAME.len(), VIDEO),
            KEY_FRAME.to_vec(),
            fmt2(41, 40),
            KEY_FRAME.to_vec(),
        ],
    );
}

/// A chunk stream that gives a message up and begins another.
#[test]
fn a_header_within_an_unfinished_message() {
    let long = [KEY_FRAME, &[3; 500]].concat();
    insist_on(
        &[video(80, KEY_FRAME), audio(5, SOUND), video(120, &long)],
        &[
            fmt0(6, 40, long.len(), VIDEO, 1),
            long[..128].to_vec(),
            fmt0(6, 80, KEY_FRAME.len(), VIDEO, 1),
            KEY_FRAME.to_vec(),
            fmt1(6, 40, long.len(), VIDEO),
            long[..128].to_vec(),
            message(AUDIO, 5, 1, SOUND),
            // The same once more from its start, with a time of its own.
            Message {
                chunk_stream: 6,
                time: 120,
                kind: VIDEO,
                stream: 1,
                body: &long,
            }
            .chunks(128),
        ],
    );
}

/// Hardware boxes put several messages in one, with times of their own.
#[test]
fn aggregates_with_their_own_clock() {
    let part = |kind: u8, time: u32, body: &[u8]| {
        let [high, times @ ..] = time.to_be_bytes();
        let length = (body.len() as u32).to_be_bytes();
        let head = [&[kind], &length[1..], &times, &[high, 0, 0, 0]].concat();
        let behind = (11 + body.len() as u32).to_be_bytes();
        [&head, body, &behind].concat()
    };
    const CLOCK: u32 = 0x8000_0000;
    let aggregate = |time, from: u32| {
        let parts = [
            part(VIDEO, from, KEY_FRAME),
            part(AUDIO, from.wrapping_add(10), SOUND),
            part(AUDIO, from.wrapping_add(33), SOUND),
        ];
        message(AGGREGATE, time, 1, &parts.concat())
    };
    insist_on(
        &[
            video(1000, KEY_FRAME),
            audio(1010, SOUND),
            audio(1033, SOUND),
            video(1040, KEY_FRAME),
            audio(1050, SOUND),
            audio(1073, SOUND),
            audio(1080, SOUND),
        ],
        &[
            aggregate(1000, CLOCK),
            // Its clock may even wrap.
            aggregate(1040, u32::MAX - 4),
            message(AUDIO, 1080, 1, SOUND),
        ],
    );
}

#[test]
fn an_abort_takes_back_what_came_of_a_message() {
    let long = [KEY_FRAME, &[3; 500]].concat();
    insist_on(
        &[audio(1, SOUND), video(60, KEY_FRAME)],
        &[
            fmt0(6, 40, long.len(), VIDEO, 1),
            long[..128].to_vec(),
            message(AUDIO, 1, 1, SOUND),
            control(ABORT, 6),
            fmt1(6, 20, KEY_FRAME.len(), VIDEO),
            KEY_FRAME.to_vec(),
        ],
    );
}

/// Announced between two chunks of a message; the next chunk has the new size. Down to a byte, at which nginx writes
/// garbage.
#[test]
fn a_chunk_size_that_changes_within_a_message() {
    let body = [KEY_FRAME, &Rng(5).bytes(2000)].concat();
    let mut parts = vec![fmt0(6, 40, body.len(), VIDEO, 1), body[..128].to_vec()];
    let mut rest = &body[128..];
    let mut current = 128;
    for size in [1000, 5, 1, 300, 1, 65_536] {
        let announcement = Message {
            chunk_stream: 2,
            time: 0,
            kind: SET_CHUNK_SIZE,
            stream: 0,
            body: &u32::try_from(size).unwrap().to_be_bytes(),
        };
        parts.push(announcement.chunks(current));
        current = size;
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        parts.extend([fmt3(6), chunk.to_vec()]);
        rest = after;
    }
    assert!(rest.is_empty());
    insist_on(&[video(40, &body)], &parts);
}

/// A header for each byte, and with extended times five.
#[test]
fn chunks_of_one_byte() {
    let body = [KEY_FRAME, &Rng(6).bytes(5000)].concat();
    let time = EXTENDED + 5;
    let mut parts = vec![control(SET_CHUNK_SIZE, 1)];
    parts.push(fmt0(6, time, body.len(), VIDEO, 1));
    for (n, byte) in body.iter().enumerate() {
        if n > 0 {
            parts.extend([fmt3(6), extension(time)]);
        }
        parts.push(vec![*byte]);
    }
    insist_on(&[video(time, &body)], &parts);
}

/// Others divide by it.
#[test]
fn a_window_of_nothing() {
    insist_on(
        &[video(0, KEY_FRAME), video(40, KEY_FRAME)],
        &[
            control(WINDOW, 0),
            message(VIDEO, 0, 1, KEY_FRAME),
            control(WINDOW, 1),
            control(WINDOW, 0),
            message(VIDEO, 40, 1, KEY_FRAME),
        ],
    );
}

/// RootEncoder's first frames after a retry, and librtmp's audio beside its video. Each keeps the time that it has.
#[test]
fn steps_back_of_20_to_40_ms() {
    let times = [100, 140, 120, 160, 120, 200, 180, 240];
    let parts: Vec<_> = times.map(|time| message(VIDEO, time, 1, KEY_FRAME)).into();
    let expected = times.map(|time| video(time, KEY_FRAME));
    insist_on(&expected, &parts);
    // On the session's own timeline as well.
    let captured = recorded("", &[vec![until_published()], parts].concat());
    assert!(captured == expected);
}
