//! What cameras, phones and old software do and no encoder at hand does on demand: each publishes over a socket to the
//! element, and all of it is in the file. `docs/encoders.md` says who does what, and which test is for it.

mod core_support;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use core_support::wire::{
    self, ABORT, AGGREGATE, AUDIO, COMMAND, COMMAND_AMF3, DATA, DATA_AMF3, EXTENDED, Message,
    SET_CHUNK_SIZE, VIDEO, WINDOW, call, command, command_on, connect, control, extension, fmt0,
    fmt1, fmt2, fmt3, handshake, message, number, object, publish, text, until_published,
};
use core_support::{Rng, cut};
use rml_rtmp::rml_amf0::Amf0Value;
use support::flv::{self, Kind, Rules, Tag};
use support::peer;
use support::pipeline::{DEADLINE, Recording, wait_until};

const KEY_FRAME: &[u8] = b"\x17\x01\0\0\0a picture";
const SOUND: &[u8] = b"\xAF\x01a sound";

fn tag(kind: Kind, timestamp: u32, body: &[u8]) -> Tag {
    Tag {
        kind,
        timestamp,
        body: body.to_vec(),
    }
}

fn audio(timestamp: u32, body: &[u8]) -> Tag {
    tag(Kind::Audio, timestamp, body)
}

fn video(timestamp: u32, body: &[u8]) -> Tag {
    tag(Kind::Video, timestamp, body)
}

fn script(timestamp: u32, body: &[u8]) -> Tag {
    tag(Kind::Script, timestamp, body)
}

/// Sends it in pieces of any size and waits for nothing, as a recorded encoder does.
fn send(recording: &Recording, bytes: &[u8]) -> TcpStream {
    let mut stream = peer::connect(recording.address()).unwrap();
    for piece in cut(bytes, &mut Rng(bytes.len() as u64)) {
        stream.write_all(piece).unwrap();
    }
    // Unread answers would make a reset of a close.
    stream.shutdown(Shutdown::Write).unwrap();
    stream
}

/// What the element records of a connection that sends `parts`.
fn recorded(properties: &str, parts: &[Vec<u8>]) -> Vec<Tag> {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), properties).unwrap();
    let _stream = send(&recording, &parts.concat());
    recording.finish().unwrap()
}

/// A publisher that sends `parts` behind what every encoder begins with.
#[track_caller]
fn insist_on(expected: &[Tag], parts: &[Vec<u8>]) {
    let all = [&[until_published()], parts].concat();
    let captured = recorded("timestamp-mode=passthrough", &all);
    let comparison = flv::compare(expected, &captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

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

/// FMLE and Flash: commands and data in AMF3 framing, and AMF3 values in them.
#[test]
fn amf3_commands_and_data() {
    const AMF3: u8 = 0x11;
    let framed = |kind, stream, body: &[u8]| message(kind, 9, stream, &[&[0], body].concat());
    let string = |text: &str| [&[text.len() as u8 * 2 + 1], text.as_bytes()].concat();
    // A dynamic object without a class: app=live, objectEncoding=3.
    let mut properties = vec![AMF3, 0x0A, 0x0B, 0x01];
    properties.extend([string("app"), vec![0x06], string("live")].concat());
    properties.extend([string("objectEncoding"), vec![0x04, 3], vec![0x01]].concat());
    let connect = [call("connect", 1.0, vec![]), properties].concat();
    let key = [vec![AMF3, 0x06], string("test")].concat();
    let publish = [call("publish", 3.0, vec![Amf0Value::Null]), key].concat();

    let set = wire::amf(vec![text("@setDataFrame")]);
    let plain = wire::amf(vec![text("onMetaData"), object([("width", number(640.0))])]);
    let other = [
        wire::amf(vec![text("onTextData")]),
        vec![AMF3, 0x06],
        string("hi"),
    ]
    .concat();
    let directory = tempfile::tempdir().unwrap();
    let properties = "timestamp-mode=passthrough application=live stream-key=test";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let parts = [
        handshake(),
        framed(COMMAND_AMF3, 0, &connect),
        framed(
            COMMAND_AMF3,
            0,
            &call("createStream", 2.0, vec![Amf0Value::Null]),
        ),
        framed(COMMAND_AMF3, 1, &publish),
        framed(DATA_AMF3, 1, &[&set[..], &plain].concat()),
        framed(DATA_AMF3, 1, &other),
        message(VIDEO, 10, 1, KEY_FRAME),
        framed(
            COMMAND_AMF3,
            1,
            &call("FCUnpublish", 4.0, vec![Amf0Value::Null]),
        ),
    ];
    let _stream = send(&recording, &parts.concat());
    let expected = [script(9, &plain), script(9, &other), video(10, KEY_FRAME)];
    assert!(recording.finish().unwrap() == expected);
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

fn metadata(properties: Amf0Value) -> Vec<u8> {
    wire::amf(vec![text("onMetaData"), properties])
}

fn set_data_frame(metadata: &[u8]) -> Vec<u8> {
    [&wire::amf(vec![text("@setDataFrame")]), metadata].concat()
}

/// Before, between and behind the frames, wrapped and not; the last one is cut off as some muxers do.
#[test]
fn metadata_late_and_again_and_again() {
    let first = metadata(object([("width", number(640.0))]));
    let again = metadata(object([("width", number(1280.0)), ("encoder", text("x"))]));
    let array = b"\x02\0\x0aonMetaData\x08\0\0\0\0\0\x05width\0\x40\x84\0\0\0\0\0\0".to_vec();
    let mut parts = vec![message(VIDEO, 0, 1, KEY_FRAME)];
    let mut expected = vec![video(0, KEY_FRAME)];
    for (n, body) in [&first, &first, &again, &array].into_iter().enumerate() {
        let time = 40 * (n as u32 + 1);
        let sent = if n == 1 {
            body.clone()
        } else {
            set_data_frame(body)
        };
        parts.extend([
            message(DATA, time, 1, &sent),
            message(VIDEO, time, 1, KEY_FRAME),
        ]);
        expected.extend([script(time, body), video(time, KEY_FRAME)]);
    }
    insist_on(&expected, &parts);
}

/// The second audio track of a Twitch VOD is described in an object within the metadata.
#[test]
fn metadata_of_additional_media() {
    let stream = object([("codec", text("mp4a")), ("bitrate", number(160.0))]);
    let media = object([("processingIntents", text("ArchiveProgramNarrationAudio"))]);
    let additional = object([("stream0", stream), ("media", media)]);
    let body = metadata(object([("additionalMedia", additional)]));
    // What such a second track is sent in.
    let track = [&wire::amf(vec![text("additionalMedia")]), &[5, 6, 5][..]].concat();
    insist_on(
        &[script(0, &body), script(10, &track), audio(20, SOUND)],
        &[
            message(DATA, 0, 1, &set_data_frame(&body)),
            message(DATA, 10, 1, &track),
            message(AUDIO, 20, 1, SOUND),
        ],
    );
}

/// FFmpeg's data and timecode streams, captions, cue points, and what can't be read at all.
#[test]
fn data_of_any_shape_and_no_metadata() {
    let shapes: [Vec<u8>; 9] = [
        wire::amf(vec![text("onTextData"), object([("text", text("hello"))])]),
        wire::amf(vec![text("onCuePoint"), object([("time", number(1.0))])]),
        wire::amf(vec![text("onFi"), object([("tc", text("10:20:30:04"))])]),
        wire::amf(vec![number(1.0), text("a number first")]),
        wire::amf(vec![text("a name alone")]),
        b"\x02\xFF\xFFcut off".to_vec(),
        b"no AMF at all".to_vec(),
        vec![0xFF; 5000],
        // Depth has no bearing on what is only passed on.
        b"\x03\0\x01a".repeat(2000),
    ];
    let times = (0u32..).step_by(20);
    let parts: Vec<_> = times
        .clone()
        .zip(&shapes)
        .map(|(time, body)| message(DATA, time, 1, body))
        .collect();
    let expected: Vec<_> = times
        .zip(&shapes)
        .map(|(time, body)| script(time, body))
        .collect();
    insist_on(&expected, &parts);
}

/// Dahua's cameras send 2 s of audio first.
#[test]
fn audio_long_before_video() {
    let times = (0..2000).step_by(23);
    let mut parts = vec![message(AUDIO, 0, 1, b"\xAF\0\x12\x10")];
    let mut expected = vec![audio(0, b"\xAF\0\x12\x10")];
    for time in times {
        parts.push(message(AUDIO, time, 1, SOUND));
        expected.push(audio(time, SOUND));
    }
    for time in [2003, 2043] {
        parts.push(message(VIDEO, time, 1, KEY_FRAME));
        expected.push(video(time, KEY_FRAME));
    }
    insist_on(&expected, &parts);
}

/// E-RTMP's and those that nobody has heard of.
#[test]
fn codecs_by_four_cc() {
    let mut bodies = Vec::new();
    for four_cc in [
        b"vp08",
        b"vp09",
        b"av01",
        b"avc1",
        b"hvc1",
        b"vvc1",
        b"what",
        b"\0\xFF\n\"",
    ] {
        for packet_type in 0..16 {
            let body = [&[0x90 | packet_type], &four_cc[..], b"\0\0\0frame"].concat();
            bodies.push((Kind::Video, body));
        }
    }
    for four_cc in [
        b"ac-3", b"ec-3", b"Opus", b".mp3", b"fLaC", b"mp4a", b"what",
    ] {
        for packet_type in 0..16 {
            bodies.push((
                Kind::Audio,
                [&[0x90 | packet_type], &four_cc[..], b"frame"].concat(),
            ));
        }
    }
    let (mut parts, mut expected) = (Vec::new(), Vec::new());
    for (time, (kind, body)) in (0u32..).step_by(10).zip(&bodies) {
        let type_id = if *kind == Kind::Audio { AUDIO } else { VIDEO };
        parts.push(message(type_id, time, 1, body));
        expected.push(tag(*kind, time, body));
    }
    insist_on(&expected, &parts);
}

/// OBS before 29.1 called H.265 codec 7: the configuration is not one of H.264.
#[test]
fn hevc_under_the_name_of_h264() {
    let configuration =
        b"\x17\0\0\0\0\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x5D\xF0\0\xFC\xFD\xF8\xF8\0\0\x0F\x03";
    insist_on(
        &[
            video(0, configuration),
            video(0, KEY_FRAME),
            video(40, b"\x1C\x01\0\0\0"),
        ],
        &[
            message(VIDEO, 0, 1, configuration),
            message(VIDEO, 0, 1, KEY_FRAME),
            // And later, in its own name from before E-RTMP.
            message(VIDEO, 40, 1, b"\x1C\x01\0\0\0"),
        ],
    );
}

#[test]
fn several_streams_are_created_and_any_is_published() {
    for stream in [0, 1, 2, 3, 4, 77] {
        let create = |id| command("createStream", id, None);
        let parts = [
            handshake(),
            connect(),
            create(2.0),
            create(3.0),
            create(4.0),
            command_on(stream, "publish", 5.0, Some(text("test"))),
            // On whichever it likes, too.
            message(VIDEO, 1, stream + 1, KEY_FRAME),
            message(AUDIO, 2, 0, SOUND),
            command("deleteStream", 6.0, Some(number(stream.into()))),
        ];
        let captured = recorded("timestamp-mode=passthrough", &parts);
        assert!(
            captured == [video(1, KEY_FRAME), audio(2, SOUND)],
            "{stream}"
        );
    }
}

#[test]
fn publishing_twice_changes_nothing() {
    insist_on(
        &[
            video(0, KEY_FRAME),
            video(40, KEY_FRAME),
            video(80, KEY_FRAME),
        ],
        &[
            message(VIDEO, 0, 1, KEY_FRAME),
            publish(),
            message(VIDEO, 40, 1, KEY_FRAME),
            command_on(1, "publish", 9.0, Some(text("another"))),
            connect(),
            message(VIDEO, 80, 1, KEY_FRAME),
        ],
    );
}

/// A connection that has connected to `app` and publishes `key`.
fn named(app: &str, key: &str) -> Vec<u8> {
    let url = format!("rtmp://host:1935/{app}");
    let properties = object([("app", text(app)), ("tcUrl", text(&url))]);
    [
        handshake(),
        message(COMMAND, 0, 0, &call("connect", 1.0, vec![properties])),
        command("createStream", 2.0, None),
        command_on(1, "publish", 3.0, Some(text(key))),
        message(VIDEO, 0, 1, KEY_FRAME),
    ]
    .concat()
}

/// With slashes, in other scripts, with queries, and empty: what is set is what is let in.
#[test]
fn names_of_any_kind() {
    for (application, key, app, name) in [
        ("live/0", "cam/1", "live/0", "cam/1"),
        ("live/0", "cam/1", "/live/0/", "cam/1?vhost=a"),
        ("live", "key", "live?vhost=example.org", "key?token=a/b=c"),
        ("größe", "ключ", "größe", "ключ?x=ü"),
        ("直播", "キー", "直播/", "キー"),
        ("a b", "🎥", "a b", "🎥"),
    ] {
        let properties = format!("application=\"{application}\" stream-key=\"{key}\"");
        let captured = recorded(&properties, &[named(app, name)]);
        assert!(captured == [video(0, KEY_FRAME)], "{app:?} {name:?}");
    }
    // Nothing is set: anything will do.
    let long = "x".repeat(3000);
    for (app, name) in [
        ("", ""),
        ("", "key"),
        ("live", ""),
        ("///", "?"),
        (&long, &long),
    ] {
        let captured = recorded("", &[named(app, name)]);
        assert!(captured == [video(0, KEY_FRAME)], "{app:?} {name:?}");
    }
    // Something is: nothing will not do, nor what merely looks alike.
    let directory = tempfile::tempdir().unwrap();
    let properties = "application=live stream-key=k\u{e9}y";
    let recording = Recording::start(directory.path(), properties).unwrap();
    for (app, name) in [
        ("live", ""),
        ("", "k\u{e9}y"),
        ("live", "ke\u{301}y"),
        ("live", "k\0y"),
    ] {
        let mut stream = send(&recording, &named(app, name));
        let heard = peer::listen(&mut stream).unwrap();
        assert!(
            peer::contains(&heard, "NetStream.Publish.Denied"),
            "{app:?} {name:?}"
        );
    }
    assert_eq!(recording.counter("rejected"), 4);
    assert_eq!(recording.counter("session"), 0);
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

/// The DJI Osmo Pocket 3 answers no ping. It is asked none, nor is anybody else: what the server says after the start of
/// the publication is nothing at all.
#[test]
fn nobody_is_pinged() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let mut stream = peer::connect(recording.address()).unwrap();
    stream.write_all(&until_published()).unwrap();
    wait_until(DEADLINE, || recording.is_publishing()).unwrap();
    for time in (0..3000).step_by(40) {
        stream
            .write_all(&message(VIDEO, time, 1, KEY_FRAME))
            .unwrap();
    }
    recording.wait_for_counter("pushed", 75).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let heard = peer::listen(&mut stream).unwrap();
    let last = core_support::answers::lines(&heard);
    let last = last.last().map(String::as_str);
    assert_eq!(last, Some("onStatus NetStream.Publish.Start on 1"));
    assert_eq!(recording.finish().unwrap().len(), 75);
}

/// Larix connects and waits for its user. The pauses are what is tested.
#[test]
fn pauses_between_the_commands() {
    const PAUSE: Duration = Duration::from_millis(1500);
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "timeout=1").unwrap();
    let mut stream = peer::shake_hands(recording.address()).unwrap();
    for part in [connect(), command("createStream", 2.0, None), publish()] {
        std::thread::sleep(PAUSE);
        stream.write_all(&part).unwrap();
    }
    stream.write_all(&message(VIDEO, 0, 1, KEY_FRAME)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(recording.finish().unwrap() == [video(0, KEY_FRAME)]);
}

/// A client that waits for each answer gets it at once, and not with the acknowledgement that Linux holds back for
/// 40 ms.
#[test]
fn answers_do_not_wait_for_acknowledgements() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "loop=true").unwrap();
    let answered = |stream: &mut TcpStream, until: &str| {
        let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
        while !peer::contains(&heard, until) {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "closed before {until}");
            heard.extend_from_slice(&buffer[..length]);
        }
    };
    let rounds = (0..10).map(|_| {
        let mut stream = peer::shake_hands(recording.address()).unwrap();
        let since = Instant::now();
        for (sent, answer) in [
            (connect(), "Connect.Success"),
            (command("createStream", 2.0, None), "_result"),
            (publish(), "Publish.Start"),
            (command("deleteStream", 0.0, None), "Unpublish.Success"),
        ] {
            // As librtmp writes: header and body apart.
            stream.write_all(&sent[..12]).unwrap();
            stream.write_all(&sent[12..]).unwrap();
            answered(&mut stream, answer);
        }
        since.elapsed()
    });
    // The best of them: a machine may be busy, a rule is kept always.
    let best = rounds.min().unwrap();
    println!("four answers within {best:?}");
    assert!(best < Duration::from_millis(20), "{best:?}");
}

/// The table names tests that there are.
#[test]
fn every_test_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/encoders.md")).unwrap();
    let mut named = 0;
    for name in table.split('`').filter(|name| name.contains("::")) {
        let (file, test) = name.split_once("::").unwrap();
        let source = std::fs::read_to_string(root.join(format!("tests/{file}.rs")));
        let source = source.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(source.contains(&format!("fn {test}(")), "{name}");
        named += 1;
    }
    assert!(named > 60, "{named} tests in the table");
}
