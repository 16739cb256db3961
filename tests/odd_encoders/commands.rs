//! Commands, their names, and the time between them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rml_rtmp::rml_amf0::Amf0Value;

use super::core_support::answers;
use super::core_support::wire::{
    self, AUDIO, COMMAND, COMMAND_AMF3, DATA_AMF3, VIDEO, call, command, command_on, connect,
    handshake, message, number, object, publish, text, until_published,
};
use super::support::peer;
use super::support::pipeline::{DEADLINE, Recording, wait_until};
use super::{KEY_FRAME, SOUND, audio, insist_on, recorded, script, send, video};

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
    let last = answers::lines(&heard);
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
