//! What the properties do, what they refuse, and that the stream key stays secret.

mod support;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gst::prelude::*;

use support::client::{Client, tags};
use support::flv::{Kind, Tag, assert_same};
use support::log::Log;
use support::pipeline::Recording;
use support::process::Process;

const AT_ONCE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(60);

/// Publishes from these addresses one after another, each of which must get through.
fn listens_on(host: &str, clients: &[SocketAddr]) {
    let directory = tempfile::tempdir().unwrap();
    let properties = format!("host={host} loop=true timestamp-mode=passthrough");
    let recording = Recording::start(directory.path(), &properties).unwrap();
    let (own, mut sent) = (tags(20, 300), Vec::new());
    for address in clients {
        let address = SocketAddr::new(address.ip(), recording.port());
        let mut client = Client::publisher(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        client.send_all(&own).unwrap();
        client.close().unwrap();
        sent.extend_from_slice(&own);
    }
    recording.send_eos();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

fn v4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn v6() -> SocketAddr {
    (Ipv6Addr::LOCALHOST, 0).into()
}

/// A machine may be without, and then there is nothing to test.
fn has_ipv6() -> bool {
    let has = TcpListener::bind(v6()).is_ok();
    if !has {
        eprintln!("this machine has no IPv6: not tested");
    }
    has
}

#[test]
fn host_is_an_ipv4_address() {
    listens_on("127.0.0.1", &[v4()]);
    listens_on("0.0.0.0", &[v4()]);
}

#[test]
fn host_is_an_ipv6_address() {
    if has_ipv6() {
        listens_on("::1", &[v6()]);
        listens_on("[::1]", &[v6()]);
    }
}

#[test]
fn host_is_all_addresses_of_both_kinds() {
    if has_ipv6() {
        listens_on("::", &[v4(), v6(), v4()]);
    }
}

#[test]
fn host_is_a_name() {
    listens_on("localhost", &[v4()]);
}

#[test]
fn a_name_without_address_is_refused() {
    let reason = Recording::refused("host=nowhere.invalid");
    assert!(reason.contains("nowhere.invalid"), "{reason}");
    assert!(reason.contains("set host to"), "{reason}");
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // For documentation only (RFC 5737).
    let reason = Recording::refused("host=192.0.2.1");
    assert!(reason.contains("192.0.2.1"), "{reason}");
    assert!(reason.contains("not one of this machine"), "{reason}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_that_is_not_built_in_is_refused() {
    let reason = Recording::refused("certificate-file=a.pem private-key-file=b.pem");
    assert!(reason.contains("has no TLS"), "{reason}");
}

#[test]
fn a_busy_port_is_refused_and_taken_when_it_is_free() {
    let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    recording.source().set_property("port", u32::from(port));
    let pipeline = recording.pipeline();
    assert!(pipeline.set_state(gst::State::Playing).is_err());
    let reason = recording.wait_for_eos(AT_ONCE).unwrap_err();
    assert!(reason.contains(&port.to_string()), "{reason}");
    assert!(reason.contains("set another port"), "{reason}");
    assert_eq!(recording.port(), 0);

    pipeline.set_state(gst::State::Null).unwrap();
    drop(other);
    pipeline.set_state(gst::State::Playing).unwrap();
    assert_eq!(recording.port(), port);
    // As soon as it was closed, a port can be listened on again.
    pipeline.set_state(gst::State::Null).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    Client::publisher(recording.address())
        .unwrap()
        .close()
        .unwrap();
    recording.wait_for_eos(AT_ONCE).unwrap();
}

#[test]
fn current_port_is_notified() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    recording.source().connect_notify(Some("current-port"), {
        let seen = seen.clone();
        move |source, _| {
            // A handler may ask for anything.
            let _: gst::Structure = source.property("stats");
            let port: u32 = source.property("current-port");
            seen.lock().unwrap().push(port);
        }
    });
    assert_eq!(recording.port(), 0);
    recording.pipeline().set_state(gst::State::Playing).unwrap();
    let port = recording.port();
    assert_ne!(port, 0);
    recording.pipeline().set_state(gst::State::Null).unwrap();
    assert_eq!(*seen.lock().unwrap(), [u32::from(port), 0]);
}

// Who is let in.

/// The answer to a publish of `key` to `application`.
fn answer(recording: &Recording, application: &str, key: &str) -> String {
    let mut client = Client::connect(recording.address(), application).unwrap();
    let answer = client.publish(key).unwrap();
    client.close().unwrap();
    match answer.code.as_str() {
        "NetStream.Publish.Start" => "let in".to_owned(),
        "NetStream.Publish.Denied" => answer.text,
        other => panic!("{other}: {}", answer.text),
    }
}

const NO_APPLICATION: &str = "there is no such application on this server";
const WRONG_KEY: &str = "wrong stream key";

#[test]
fn application_and_key_decide_who_is_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "loop=true application=live stream-key=right";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let expected = [
        ("live", "right", "let in"),
        ("live/", "right", "let in"),
        ("/live", "right", "let in"),
        ("live?vhost=a/b", "right", "let in"),
        ("live", "right?token=1/2", "let in"),
        ("live", "right?", "let in"),
        ("other", "right", NO_APPLICATION),
        ("", "right", NO_APPLICATION),
        ("live/right", "right", NO_APPLICATION),
        ("Live", "right", NO_APPLICATION),
        ("live", "wrong", WRONG_KEY),
        ("live", "", WRONG_KEY),
        ("live", "?right", WRONG_KEY),
        ("live", "right ", WRONG_KEY),
        ("live", "righ", WRONG_KEY),
        ("live", "rightright", WRONG_KEY),
    ];
    for (application, key, outcome) in expected {
        let got = answer(&recording, application, key);
        assert_eq!(got, outcome, "{application:?}, {key:?}");
    }
}

#[test]
fn slashes_within_are_kept_and_those_around_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "loop=true application=/live/east/ stream-key=a/b";
    let recording = Recording::start(directory.path(), properties).unwrap();
    assert_eq!(answer(&recording, "live/east", "a/b"), "let in");
    assert_eq!(answer(&recording, "/live/east/", "a/b?c"), "let in");
    assert_eq!(answer(&recording, "live", "a/b"), NO_APPLICATION);
    assert_eq!(answer(&recording, "live/east", "a"), WRONG_KEY);
}

#[test]
fn changes_are_taken_up_by_the_next_publish() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "loop=true timestamp-mode=passthrough stream-key=first";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let mut client = Client::connect(recording.address(), "live").unwrap();
    client.must_publish("first").unwrap();
    recording.source().set_property("stream-key", "second");
    recording.source().set_property("application", "other");
    // Whoever publishes already goes on.
    let sent = tags(50, 300);
    client.send_all(&sent).unwrap();
    client.close().unwrap();
    assert_eq!(answer(&recording, "live", "first"), NO_APPLICATION);
    assert_eq!(answer(&recording, "other", "first"), WRONG_KEY);
    assert_eq!(answer(&recording, "other", "second"), "let in");
    let none = None::<&str>;
    recording.source().set_property("stream-key", none);
    recording.source().set_property("application", none);
    assert_eq!(answer(&recording, "any", "at all"), "let in");

    // The next one is to be the last.
    recording.source().set_property("loop", false);
    assert_eq!(answer(&recording, "any", "at all"), "let in");
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

#[test]
fn ffmpeg_tells_its_user_why_it_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "application=live stream-key=right";
    let recording = Recording::start(directory.path(), properties).unwrap();
    for (name, reason) in [("live/wrong", WRONG_KEY), ("other/right", NO_APPLICATION)] {
        let input = "-nostdin -v error -f lavfi -i testsrc=size=64x64 -t 1 -f flv";
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg
            .args(input.split_ascii_whitespace())
            .arg(format!("rtmp://127.0.0.1:{}/{name}", recording.port()));
        let finished = Process::spawn(&mut ffmpeg).unwrap().wait(DEADLINE).unwrap();
        assert!(!finished.status.success());
        assert!(finished.stderr.contains(reason), "{}", finished.stderr);
    }
    assert_eq!(recording.counter("rejected"), 2);
}

#[test]
fn a_message_that_is_too_large_ends_the_publication_and_nothing_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "max-message-size=5000").unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    let mut sent = tags(100, 2000);
    sent[99].body.resize(5000, 7);
    client.send_all(&sent).unwrap();
    let too_large = Tag {
        kind: Kind::Video,
        timestamp: 4000,
        body: vec![0x27; 5001],
    };
    client.send(&too_large).unwrap();
    let status = client.status().unwrap();
    assert_eq!(status.code, "NetStream.Failed");
    assert!(status.text.contains("5001"), "{status:?}");
    assert!(status.text.contains("5000"), "{status:?}");
    client.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

/// Polled all the time while publishers come and go and the pipeline is slower than they are.
#[test]
fn stats_account_for_every_tag_at_any_time() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "loop=true max-queue-bytes=50000";
    let slow = "identity sleep-time=200 !";
    let recording = Recording::start_through(directory.path(), properties, slow).unwrap();
    let address = recording.address();
    let source = recording.source().clone();
    let done = AtomicBool::new(false);
    // Has no body, so it is withheld.
    let empty = Tag {
        kind: Kind::Video,
        timestamp: 0,
        body: vec![],
    };
    let mut sent = tags(1000, 700);
    sent.insert(500, empty);
    let looks = thread::scope(|scope| {
        let polling = scope.spawn(|| {
            let (mut looks, mut last) = (0, [0; 3]);
            while !done.load(Ordering::Relaxed) {
                let stats: gst::Structure = source.property("stats");
                let count = |name| stats.get::<u64>(name).unwrap();
                let now = [count("received"), count("pushed"), count("withheld")];
                assert_eq!(now[0], now[1] + count("queued") + now[2], "{stats}");
                // None ever goes back.
                assert!(now.iter().zip(last).all(|(now, last)| *now >= last));
                (looks, last) = (looks + 1, now);
            }
            looks
        });
        let published = (0..3).try_for_each(|_| {
            let mut client = Client::publisher(address)?;
            client.send_all(&sent)?;
            client.close()
        });
        let all = published.and_then(|()| recording.wait_for_counter("pushed", 3000));
        // Before any panic, or the other thread would never end.
        done.store(true, Ordering::Relaxed);
        all.unwrap();
        polling.join().unwrap()
    });
    assert!(looks > 100, "{looks}");
    recording.send_eos();
    recording.wait_for_eos(AT_ONCE).unwrap();
    let expected = [
        ("received", 3003),
        ("pushed", 3000),
        ("queued", 0),
        ("withheld", 3),
        ("withheld-empty-video", 3),
    ];
    for (name, value) in expected {
        assert_eq!(recording.counter(name), value, "{name}");
    }
    let names = ["video-tags", "audio-tags", "script-tags"];
    let counted = names.map(|name| recording.counter(name));
    let bytes = recording.counter("bytes");
    let captured = recording.read().unwrap();
    let in_file = [Kind::Video, Kind::Audio, Kind::Script]
        .map(|kind| captured.iter().filter(|tag| tag.kind == kind).count() as u64);
    assert_eq!(counted, in_file);
    let in_file: usize = captured.iter().map(|tag| 11 + tag.body.len() + 4).sum();
    assert_eq!(bytes, in_file as u64);
}

// Secrets.

const KEY: &str = "s3cr3tk3y";
const TOKEN: &str = "t0k3nt0k3n";

/// What somebody sees who reads the property, asks for the URI, or sends the query that dumps and demuxers send.
fn shown(source: &gst::Element) -> [Option<String>; 3] {
    let pad = source.static_pad("src").unwrap();
    let mut query = gst::query::Uri::new();
    let answered = pad.query(&mut query);
    let uri = query.uri().filter(|_| answered).map(Into::into);
    let handler = source.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    [
        source.property("location"),
        handler.uri().map(Into::into),
        uri,
    ]
}

fn source() -> gst::Element {
    support::pipeline::init();
    gst::ElementFactory::make("rtmp2serversrc").build().unwrap()
}

#[test]
fn a_location_shows_no_secret() {
    let source = source();
    let none = None::<&str>;
    for (rest, expected) in [
        ("h", "h"),
        ("h:1/", "h:1"),
        ("[::1]:1/live", "[::1]:1/live"),
        ("h/live/KEY", "h/live/***"),
        ("h/live/KEY/", "h/live/***"),
        ("h/live//KEY//", "h/live/***"),
        ("h/live/inst/KEY", "h/live/inst/***"),
        ("h/live/KEY?vhost=a/KEY", "h/live/***?***"),
        ("h/live/KEY/?vhost=a/KEY", "h/live/***?***"),
        ("h/live?key=KEY", "h/live?***"),
        ("h?KEY@KEY:KEY/KEY", "h?***"),
        ("h/live/KEY#a/KEY", "h/live/***#***"),
        ("h/live/KEY@KEY:KEY", "h/live/***"),
        ("u:KEY@h/live/KEY", "u:***@h/live/***"),
        ("u:KEY%40:KEY@h:1/live", "u:***@h:1/live"),
        ("u%40x:KEY@[::1]/live/KEY/", "u%40x:***@[::1]/live/***"),
        ("u@h/live", "u@h/live"),
        ("u:@h/live/KEY", "u:***@h/live/***"),
    ] {
        let location = format!("rtmp://{rest}");
        source.set_property("location", &location);
        let uri = Some(format!("rtmpserver://{expected}"));
        let all = [Some(format!("rtmp://{expected}")), uri.clone(), uri.clone()];
        assert_eq!(shown(&source), all, "{location}");
        // Nor of an old one.
        source.set_property("stream-key", none);
        source.set_property("password", none);
        assert_eq!(shown(&source), all, "{location}");
        let handler = source.dynamic_cast_ref::<gst::URIHandler>().unwrap();
        handler.set_uri(&format!("rtmpserver://{rest}")).unwrap();
        assert_eq!(shown(&source), [uri.clone(), uri.clone(), uri]);
    }
    source.set_property("location", "rtmp:/live/KEY?from=http://KEY/a");
    let location: String = source.property("location");
    assert_eq!(location, "rtmp:///live/***?***");
    source.set_property("location", none);
    assert_eq!(shown(&source), [None, None, None]);
}

/// The key would be `***`, which anybody can guess.
#[test]
fn what_a_location_shows_can_not_be_set_again() {
    let source = source();
    for location in [
        "rtmp://127.0.0.1:0/live/***",
        "rtmp://u:***@127.0.0.1:0/live",
    ] {
        source.set_property("location", location);
        assert!(source.set_state(gst::State::Paused).is_err(), "{location}");
        source.set_state(gst::State::Null).unwrap();
    }
    // A password that is cut by its own @ would be shown as part of the host.
    source.set_property("location", "rtmp://u:p@KEY@127.0.0.1:0/live");
    assert_eq!(shown(&source), [None, None, None]);
    let handler = source.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    handler.set_uri("rtmpserver://127.0.0.1:0/live").unwrap();
    source.set_state(gst::State::Paused).unwrap();
    source.set_state(gst::State::Null).unwrap();
}

/// Of what it stands for, some could be taken up at once and some could not.
#[test]
fn a_location_is_ignored_while_the_element_runs() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "loop=true", "").unwrap();
    let source = recording.source();
    let none = None::<&str>;
    source.set_property("location", "rtmp://u:p@127.0.0.1:0/live/right");
    source.set_property("username", none);
    source.set_property("password", none);
    let log = Log::of(&recording);
    for state in [gst::State::Paused, gst::State::Playing] {
        recording.pipeline().set_state(state).unwrap();
        let before = shown(source);
        let said = log.find("location is ignored").len();
        for location in [
            Some("rtmp://u:p@127.0.0.2:1/other/wrong"),
            Some("no location"),
            None,
        ] {
            source.set_property("location", location);
            assert_eq!(shown(source), before);
            assert_eq!(source.property::<String>("host"), "127.0.0.1");
            assert_eq!(source.property::<u32>("port"), 0);
            assert_eq!(source.property::<String>("application"), "live");
            assert_eq!(source.property::<Option<String>>("username"), None);
        }
        let lines = log.find("location is ignored").split_off(said);
        assert_eq!(lines.len(), 3);
        assert!(
            lines
                .iter()
                .all(|line| line.level == gst::DebugLevel::Warning)
        );
    }
    assert_eq!(answer(&recording, "other", "wrong"), NO_APPLICATION);
    assert_eq!(answer(&recording, "live", "wrong"), WRONG_KEY);
    assert_eq!(answer(&recording, "live", "right"), "let in");
    // And has left nothing behind that would keep it from starting again.
    for state in [gst::State::Ready, gst::State::Playing] {
        recording.pipeline().set_state(state).unwrap();
    }
    source.send_event(gst::event::Eos::new());
    recording.pipeline().set_state(gst::State::Ready).unwrap();
    source.set_property("location", "rtmp://127.0.0.1:0/other");
    assert_eq!(source.property::<String>("application"), "other");
}

/// Also runs in a process of its own, with everything logged to a file: see below.
#[test]
fn publish_with_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "loop=true").unwrap();
    recording.source().set_property("stream-key", KEY);
    for (application, key) in [
        ("live", format!("{KEY}?token={TOKEN}")),
        ("live", format!("{KEY}wrong")),
    ] {
        let mut client = Client::connect(recording.address(), application).unwrap();
        let answer = client.publish(&key).unwrap();
        assert!(!answer.text.contains(KEY));
        let _ = client.send_all(&tags(20, 300));
        let stats: gst::Structure = recording.source().property("stats");
        assert!(!stats.to_string().contains(KEY), "{stats}");
        assert!(!stats.to_string().contains(TOKEN), "{stats}");
        let _ = client.fc_unpublish();
        client.close().unwrap();
    }
    recording.wait_for_counter("pushed", 20).unwrap();
    recording.send_eos();
    assert_eq!(recording.finish_within(AT_ONCE).unwrap().len(), 20);
}

/// The whole log of GStreamer, at the highest level. The key is set in code: a pipeline description that holds it is
/// logged by GStreamer itself.
#[test]
fn the_key_is_in_no_log_and_not_in_stats() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut this_test = Command::new(std::env::current_exe().unwrap());
    this_test
        .args(["--exact", "publish_with_a_key"])
        .env("GST_DEBUG", "*:9")
        .env("GST_DEBUG_FILE", &log);
    let finished = Process::spawn(&mut this_test)
        .unwrap()
        .wait(DEADLINE)
        .unwrap()
        .expect_success("the test in its own process")
        .unwrap();
    assert!(finished.stdout.contains("1 passed"), "{}", finished.stdout);
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    assert!(log.contains("publishes to application \"live\""));
    assert!(log.contains("publisher turned away: wrong stream key"));
    for secret in [KEY, TOKEN] {
        let leaks: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
    }
}
