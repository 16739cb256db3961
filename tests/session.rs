//! What a session answers, ignores and refuses.

mod core_support;

use core_support::answers::{self, lines_after_connect};
use core_support::wire::{
    self, ABORT, ACKNOWLEDGEMENT, AGGREGATE, AUDIO, COMMAND, COMMAND_AMF3, DATA, SET_CHUNK_SIZE,
    USER_CONTROL, VIDEO, WINDOW, call, command, command_on, connect, control, handshake, message,
    number, object, publish, text, until_published,
};
use core_support::{Seen, Server, audio, config, seen, video};
use gstrtmp2server::rtmp::{Counters, Error, Event, Limits, Session, Step, UnpublishReason};
use rml_rtmp::rml_amf0::Amf0Value;

/// A server that has received `parts`, in one read.
fn after(parts: &[Vec<u8>]) -> Server {
    Server::fed([&parts.concat()[..]])
}

/// A server that has received `parts` behind handshake and connect.
fn connected(parts: &[Vec<u8>]) -> Server {
    after(&[&[handshake(), connect()], parts].concat())
}

/// A server that has received `parts` from a publisher, and its new events only.
fn publishing(parts: &[Vec<u8>]) -> (Server, Vec<Seen>) {
    let mut server = after(&[until_published()]);
    server.take_seen();
    server.feed(&parts.concat());
    let seen = server.take_seen();
    (server, seen)
}

fn counters(server: &Server) -> Counters {
    server.session.counters()
}

const CONNECTED: [&str; 4] = [
    "window 2500000",
    "bandwidth 2500000",
    "chunk size 65536",
    "_result 1 NetConnection.Connect.Success",
];
const PUBLISHED: [&str; 2] = ["begin 1", "onStatus NetStream.Publish.Start on 1"];
const UNPUBLISHED: &str = "onStatus NetStream.Unpublish.Success on 1";

fn published() -> Seen {
    Seen::Publish {
        app: "live".to_owned(),
        key: "test".to_owned(),
    }
}

#[test]
fn the_handshake_alone_says_nothing_more() {
    let server = after(&[handshake()]);
    assert_eq!(server.sent.len(), answers::HANDSHAKE);
    assert_eq!(server.seen, []);
}

#[test]
fn connect_is_answered_in_the_order_that_encoders_need() {
    let server = connected(&[]);
    assert_eq!(answers::lines(&server.sent), CONNECTED);
    assert_eq!(counters(&server).out_chunk_size, 65_536);
}

/// The answer to a `connect` with these properties.
fn connect_with(property: Option<(&str, Amf0Value)>) -> [Vec<String>; 2] {
    let properties = match property {
        Some(property) => object([("app", text("live")), property]),
        None => object([("app", text("live"))]),
    };
    let body = call("connect", 1.0, vec![properties]);
    let server = after(&[handshake(), message(COMMAND, 0, 0, &body)]);
    let answers = answers::decode(&server.sent);
    let (properties, info) = answers.last().expect("an answer").objects();
    [properties, info].map(|answer| {
        let enhanced = [
            "fourCcList",
            "videoFourCcInfoMap",
            "audioFourCcInfoMap",
            "capsEx",
        ];
        enhanced
            .iter()
            .filter_map(|name| Some(format!("{name} {:?}", answer.get(*name)?)))
            .collect()
    })
}

#[test]
fn enhanced_rtmp_is_answered_if_asked_for() {
    let none: [Vec<String>; 2] = [vec![], vec![]];
    assert_eq!(connect_with(None), none);
    assert_eq!(connect_with(Some(("videoCodecs", number(252.0)))), none);
    let any = object([("*", number(4.0))]);
    let list = Amf0Value::StrictArray(vec![text("*")]);
    let expected = vec![
        format!("fourCcList {list:?}"),
        format!("videoFourCcInfoMap {any:?}"),
        format!("audioFourCcInfoMap {any:?}"),
        // Reconnect, Multitrack and ModEx; no TimestampNanoOffset.
        format!("capsEx {:?}", number(7.0)),
    ];
    let expected = [expected.clone(), expected];
    for asked in [
        ("fourCcList", Amf0Value::StrictArray(vec![text("hvc1")])),
        ("fourCcList", Amf0Value::StrictArray(vec![])),
        ("videoFourCcInfoMap", object([("hvc1", number(1.0))])),
        ("audioFourCcInfoMap", object([("*", number(7.0))])),
        ("capsEx", number(0.0)),
        ("capsEx", number(f64::NAN)),
        ("capsEx", number(-1e300)),
    ] {
        assert_eq!(connect_with(Some(asked.clone())), expected, "{asked:?}");
    }
}

#[test]
fn amf3_framing_is_understood() {
    let framed =
        |stream, body: Vec<u8>| message(COMMAND_AMF3, 0, stream, &[&[0], &body[..]].concat());
    let properties = object([("app", text("live")), ("objectEncoding", number(3.0))]);
    let server = after(&[
        handshake(),
        framed(0, call("connect", 1.0, vec![properties])),
        framed(0, call("createStream", 2.0, vec![Amf0Value::Null])),
        framed(1, call("publish", 0.0, vec![Amf0Value::Null, text("test")])),
        message(AUDIO, 0, 1, b"a"),
        framed(
            0,
            call("FCUnpublish", 0.0, vec![Amf0Value::Null, text("test")]),
        ),
    ]);
    let connected = Seen::Connected {
        app: "live".to_owned(),
    };
    let ended = Seen::Unpublish(UnpublishReason::FcUnpublish);
    assert_eq!(server.seen, [connected, published(), audio(0, b"a"), ended]);
    let answers = answers::decode(&server.sent);
    let (_, info) = answers[3].objects();
    assert_eq!(info.get("objectEncoding"), Some(&number(3.0)));
}

#[test]
fn commands_in_any_order() {
    let name = || Some(text("test"));
    let create = command("createStream", 2.0, None);
    let release = command("releaseStream", 3.0, name());
    let fc_publish = command("FCPublish", 4.0, name());
    let orders = [
        vec![
            create.clone(),
            release.clone(),
            fc_publish.clone(),
            publish(),
        ],
        vec![
            fc_publish.clone(),
            create.clone(),
            publish(),
            release.clone(),
        ],
        // Nothing but publish itself is needed.
        vec![publish()],
        vec![publish(), fc_publish, release, create],
    ];
    for order in orders {
        let server = connected(&[order, vec![message(AUDIO, 1, 1, b"a")]].concat());
        assert_eq!(server.seen[1..], [published(), audio(1, b"a")]);
        let lines = lines_after_connect(&server.sent);
        for line in PUBLISHED {
            assert!(lines.iter().any(|l| l == line), "{lines:?}");
        }
    }
}

#[test]
fn a_publish_is_answered_on_its_own_stream() {
    for stream in [0, 1, 2, 7, u32::MAX] {
        let server = connected(&[
            command("createStream", 2.0, None),
            command_on(stream, "publish", 5.0, Some(text("test?token=a"))),
            message(VIDEO, 1, stream, b"v"),
        ]);
        assert_eq!(server.seen[1..], [published(), video(1, b"v")]);
        let start = format!("onStatus NetStream.Publish.Start on {stream}");
        let expected = ["_result 2 = 1".to_owned(), format!("begin {stream}"), start];
        assert_eq!(lines_after_connect(&server.sent), expected);
    }
}

#[test]
fn streams_are_numbered() {
    let create = |id| command("createStream", id, None);
    let server = connected(&[create(2.0), create(2.5), create(-3.0), create(0.0)]);
    let expected = [
        "_result 2 = 1",
        "_result 2.5 = 2",
        "_result -3 = 3",
        "_result 0 = 4",
    ];
    assert_eq!(lines_after_connect(&server.sent), expected);
}

#[test]
fn the_ways_to_end() {
    let null = || Some(Amf0Value::Null);
    for (name, argument, reason) in [
        (
            "FCUnpublish",
            Some(text("test")),
            UnpublishReason::FcUnpublish,
        ),
        ("closeStream", None, UnpublishReason::CloseStream),
        (
            "deleteStream",
            Some(number(1.0)),
            UnpublishReason::DeleteStream,
        ),
        // rtmp2sink gives the name, others a number that they never got, or nothing.
        (
            "deleteStream",
            Some(text("test")),
            UnpublishReason::DeleteStream,
        ),
        (
            "deleteStream",
            Some(number(9.0)),
            UnpublishReason::DeleteStream,
        ),
        (
            "deleteStream",
            Some(number(0.0)),
            UnpublishReason::DeleteStream,
        ),
        ("deleteStream", null(), UnpublishReason::DeleteStream),
        ("deleteStream", None, UnpublishReason::DeleteStream),
    ] {
        let (mut server, seen) = publishing(&[
            command(name, 0.0, argument.clone()),
            // Again, and the others: it has ended already.
            command("deleteStream", 0.0, Some(number(1.0))),
            command("closeStream", 0.0, None),
            message(AUDIO, 1, 1, b"late"),
        ]);
        assert_eq!(seen, [Seen::Unpublish(reason)], "{name} {argument:?}");
        assert!(!server.session.is_publishing());
        assert_eq!(counters(&server).stray_media, 1);
        let lines = lines_after_connect(&server.sent);
        assert_eq!(lines.last().map(String::as_str), Some(UNPUBLISHED));
        // The connection may publish again.
        server.feed(&[publish(), message(AUDIO, 2, 1, b"more")].concat());
        assert_eq!(server.take_seen(), [published(), audio(2, b"more")]);
    }
}

#[test]
fn another_streams_end_is_not_the_publications() {
    let (_, seen) = publishing(&[
        command("createStream", 4.0, None),
        command("deleteStream", 0.0, Some(number(2.0))),
        message(AUDIO, 1, 1, b"a"),
        command("deleteStream", 0.0, Some(number(1.0))),
    ]);
    let ended = Seen::Unpublish(UnpublishReason::DeleteStream);
    assert_eq!(seen, [audio(1, b"a"), ended]);
}

#[test]
fn publish_twice() {
    let (server, seen) = publishing(&[
        publish(),
        command_on(1, "publish", 6.0, Some(text("other"))),
        message(AUDIO, 1, 1, b"a"),
    ]);
    assert_eq!(seen, [audio(1, b"a")]);
    let lines = lines_after_connect(&server.sent);
    let again = [&PUBLISHED[..], &["onStatus NetStream.Publish.BadName on 1"]].concat();
    assert_eq!(lines[3..], again);
}

#[test]
fn connect_twice() {
    let server = connected(&[connect(), publish(), connect(), message(AUDIO, 1, 1, b"a")]);
    assert_eq!(server.seen[0], server.seen[1]);
    assert_eq!(server.seen[2..], [published(), audio(1, b"a")]);
    let lines = answers::lines(&server.sent);
    assert_eq!(lines, [&CONNECTED[..], &CONNECTED, &PUBLISHED].concat());
}

#[test]
fn pings_are_answered_and_other_events_are_not() {
    let user = |bytes: &[u8]| message(USER_CONTROL, 0, 0, bytes);
    let server = connected(&[
        user(&[0, 6, 0, 0, 1, 0]),
        user(&[0, 3, 0, 0, 0, 1, 0, 0, 1, 0]),
        user(&[0, 7, 0, 0, 0, 9]),
        user(&[0, 6, 0]),
        user(&[]),
        user(&[0, 6, 0, 0, 0, 2, 9]),
    ]);
    assert_eq!(lines_after_connect(&server.sent), ["pong 256", "pong 2"]);
}

#[test]
fn unknown_commands_are_answered_if_they_ask_for_it() {
    let server = connected(&[
        command("_checkbw", 5.0, None),
        command("_checkbw", 0.0, None),
        command("getStreamLength", 6.0, Some(text("test"))),
        command("FCSubscribe", 7.0, Some(text("test"))),
        // Answers are not answered, or two polite peers would go on for ever.
        command("_result", 8.0, None),
        command("_error", 9.0, None),
        command("onStatus", 10.0, None),
        command("close", 11.0, None),
        // No number, no answer; no name, no command.
        message(COMMAND, 0, 0, &wire::amf(vec![text("hello")])),
        message(COMMAND, 0, 0, &wire::amf(vec![number(1.0)])),
        message(COMMAND, 0, 0, &[]),
        // Damaged behind the name and number.
        message(
            COMMAND,
            0,
            0,
            &[call("hello", 12.0, vec![]), vec![2, 0, 9]].concat(),
        ),
        command_on(1, "play", 0.0, Some(text("test"))),
    ]);
    let expected = [
        "_result 5",
        "_result 6 = 0",
        "_result 7",
        "_result 12",
        "onStatus NetStream.Play.StreamNotFound on 1",
    ];
    assert_eq!(lines_after_connect(&server.sent), expected);
    assert_eq!(counters(&server).ignored_messages, 2);
}

#[test]
fn windows() {
    let acks = |window: Option<u32>, reads: usize| {
        let (mut server, _) = publishing(&[]);
        server.sent.truncate(answers::HANDSHAKE);
        if let Some(window) = window {
            server.feed(&control(WINDOW, window));
        }
        for _ in 0..reads {
            server.feed(&message(AUDIO, 1, 1, &[0; 84]));
        }
        let lines = answers::lines(&server.sent);
        let numbers: Vec<u32> = lines
            .iter()
            .map(|line| {
                line.strip_prefix("ack ")
                    .expect("an ack")
                    .parse()
                    .expect("n")
            })
            .collect();
        (numbers, counters(&server))
    };
    let none = (vec![], 0);
    for window in [None, Some(0), Some(u32::MAX), Some(1_000_000)] {
        let (numbers, counters) = acks(window, 100);
        assert_eq!((numbers, counters.in_bytes_acked), none, "{window:?}");
    }
    // A window of 1: one for each read, not one for each byte.
    let (numbers, counters) = acks(Some(1), 100);
    assert_eq!(numbers.len(), 101);
    assert_eq!(u64::from(numbers[100]), counters.in_bytes_total);
    assert_eq!(counters.in_bytes_acked, counters.in_bytes_total);
    // 96 bytes each, the first at once for what came before.
    let (numbers, _) = acks(Some(960), 100);
    assert_eq!(numbers.len(), 11);
    assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == 960));
    // Set back to 0, as if none had been announced.
    let (mut server, _) = publishing(&[control(WINDOW, 1), control(WINDOW, 0)]);
    let sent = server.sent.len();
    server.feed(&message(AUDIO, 1, 1, &[0; 1000]));
    assert_eq!(server.sent.len(), sent);
}

#[test]
fn the_peers_acknowledgements_are_noted() {
    let (server, _) = publishing(&[control(ACKNOWLEDGEMENT, 3073)]);
    assert_eq!(counters(&server).out_bytes_acked, 3073);
}

#[test]
fn a_peer_that_never_reads_is_cut_off() {
    let limit = Limits::default().max_stranger_bytes;
    let mut session = Session::new(config(Limits::default()), [7; 32]);
    let mut input = [handshake(), connect()].concat();
    for _ in 0..10_000 {
        input.extend(command("createStream", 2.0, None));
    }
    let mut rest = &input[..];
    assert!(matches!(
        session.poll(&mut rest),
        Ok(Step::Event(Event::Connect(_)))
    ));
    session.accept_connect();
    // As many answers as may wait: the rest of the requests is not touched.
    assert_eq!(session.poll(&mut rest), Ok(Step::NeedMore));
    assert!((limit..limit + 1000).contains(&session.output().len()));
    assert!(!rest.is_empty());
    let before = (rest.len(), session.output().len());
    assert_eq!(session.poll(&mut rest), Err(Error::OutputFull { limit }));
    assert_eq!((rest.len(), session.output().len()), before);
}

#[test]
fn a_peer_that_reads_slowly_is_served() {
    let mut session = Session::new(config(Limits::default()), [7; 32]);
    let mut input = until_published();
    for _ in 0..10_000 {
        input.extend(command("createStream", 2.0, None));
    }
    let mut rest = &input[..];
    while !rest.is_empty() {
        while let Step::Event(event) = session.poll(&mut rest).expect("patience") {
            match event {
                Event::Connect(_) => session.accept_connect(),
                Event::Publish(_) => session.accept_publish(),
                _ => {}
            }
        }
        let half = session.output().len() / 2;
        let _ = session.output_mut().split_to(half);
    }
}

#[test]
fn media_before_publish_is_dropped_and_counted() {
    let media = [
        message(AUDIO, 1, 1, b"a"),
        message(VIDEO, 1, 1, b"v"),
        message(DATA, 1, 1, b"d"),
        message(AGGREGATE, 1, 1, b"aggregate"),
    ]
    .concat();
    let server = after(&[handshake(), media.clone(), connect(), media, publish()]);
    assert_eq!(server.seen[1..], [published()]);
    assert_eq!(counters(&server).stray_media, 8);
}

#[test]
fn an_undecided_connect_holds_everything_back() {
    let mut session = Session::new(config(Limits::default()), [7; 32]);
    let behind = [command("createStream", 2.0, None), publish()].concat();
    let input = [&handshake()[..], &connect(), &behind].concat();
    let mut rest = &input[..];
    let poll = |session: &mut Session, rest: &mut &[u8]| session.poll(rest).expect("no error");
    let connects = |step| matches!(step, Step::Event(Event::Connect(_)));
    assert!(connects(poll(&mut session, &mut rest)));
    // There is nothing to decide about a publish yet.
    session.accept_publish();
    assert_eq!(poll(&mut session, &mut rest), Step::NeedMore);
    assert_eq!(rest, behind);
    assert_eq!(session.output().len(), answers::HANDSHAKE);

    session.reject_connect("NetConnection.Connect.Rejected", "not you");
    session.accept_connect();
    let error = "_error 1 NetConnection.Connect.Rejected";
    assert_eq!(answers::lines(session.output()), [error]);
    let info = answers::decode(session.output())[0].objects().1;
    assert_eq!(info["level"], text("error"));
    assert_eq!(info["description"], text("not you"));

    // It may try again.
    let mut rest = &connect()[..];
    assert!(connects(poll(&mut session, &mut rest)));
    session.accept_connect();
    assert_eq!(answers::lines(session.output())[1..], CONNECTED);
    // What was granted before is gone with a rejection.
    let input = [connect(), publish()].concat();
    let mut rest = &input[..];
    assert!(connects(poll(&mut session, &mut rest)));
    session.reject_connect("NetConnection.Connect.Rejected", "not any more");
    assert_eq!(session.poll(&mut rest), Err(Error::PublishBeforeConnect));
}

#[test]
fn an_undecided_publish_holds_everything_back() {
    let mut session = Session::new(config(Limits::default()), [7; 32]);
    let input = [until_published(), message(AUDIO, 1, 1, b"a")].concat();
    let mut rest = &input[..];
    let mut events = Vec::new();
    while let Step::Event(event) = session.poll(&mut rest).expect("no error") {
        // Decides about connects only.
        session.accept_connect();
        events.push(seen(event));
    }
    assert_eq!(events.last(), Some(&published()));
    let left = rest.len();
    assert_eq!(left, message(AUDIO, 1, 1, b"a").len());
    assert_eq!(session.poll(&mut rest), Ok(Step::NeedMore));
    assert_eq!(rest.len(), left);

    session.reject_publish("NetStream.Publish.BadName", "taken");
    assert_eq!(session.poll(&mut rest), Ok(Step::NeedMore));
    assert_eq!((rest.len(), session.counters().stray_media), (0, 1));
    let again = [publish(), message(AUDIO, 2, 1, b"b")].concat();
    let mut rest = &again[..];
    assert!(matches!(
        session.poll(&mut rest),
        Ok(Step::Event(Event::Publish(_)))
    ));
    session.accept_publish();
    let Ok(Step::Event(event)) = session.poll(&mut rest) else {
        panic!("no media");
    };
    assert_eq!(seen(event), audio(2, b"b"));
    session.end_publish("NetStream.Publish.Denied", "enough");
    let lines = lines_after_connect(session.output());
    let expected = [
        &["_result 2 = 1", "onStatus NetStream.Publish.BadName on 1"],
        &PUBLISHED,
        &["onStatus NetStream.Publish.Denied on 1"][..],
    ];
    assert_eq!(lines, expected.concat());
}

#[test]
fn odd_protocol_messages() {
    let (server, seen) = publishing(&[
        message(0, 0, 0, b""),
        message(6, 0, 0, &[0, 0, 0, 1, 2]),
        message(16, 0, 0, b"shared object"),
        message(255, 0, 0, b"?"),
        control(ABORT, 9),
        control(SET_CHUNK_SIZE, 1),
        message(AUDIO, 1, 1, b"a"),
    ]);
    assert_eq!(seen, [audio(1, b"a")]);
    assert_eq!(counters(&server).ignored_messages, 3);
    assert_eq!(counters(&server).in_chunk_size, 1);
}
