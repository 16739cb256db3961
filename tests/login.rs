//! Logins by user name and password: the real encoders, and a client of our own for what none of them does.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use gst::prelude::*;

use support::client::{Client, tags};
use support::flv::assert_same;
use support::login::{answer, limelights_answer, turned_away};
use support::pipeline::Recording;
use support::process::Process;
use support::publishers::{self, GstSink, Publisher};

const AT_ONCE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(60);

const USER: &str = "alice";
const PASSWORD: &str = "pa55w0rdpa55w0rd";

/// A recording that wants the login. It is set in code, as users should.
fn guarded(directory: &Path, properties: &str) -> Recording {
    let recording = Recording::prepare(directory, properties, "").unwrap();
    recording.source().set_property("username", USER);
    recording.source().set_property("password", PASSWORD);
    recording.play().unwrap()
}

// The real ones.

/// Publishes with user name and password, or with neither.
type Publish<'a> = &'a dyn Fn(u16, Option<(&str, &str)>, &Path) -> Result<Publisher, String>;

/// The reasons of the next publishers that were turned away, which must be `count`, in their order.
fn rejections(recording: &Recording, count: usize) -> Vec<String> {
    let bus = recording.pipeline().bus().unwrap();
    let deadline = gst::ClockTime::try_from(DEADLINE).unwrap();
    let messages =
        std::iter::from_fn(|| bus.timed_pop_filtered(deadline, &[gst::MessageType::Element]));
    messages
        .filter_map(|message| {
            let structure = message.structure()?.to_owned();
            (structure.name() == "rtmp2server-publisher-rejected").then_some(structure)
        })
        .map(|structure| {
            assert!(!structure.to_string().contains(PASSWORD), "{structure}");
            let code: String = structure.get("code").unwrap();
            assert_eq!(code, "NetConnection.Connect.Rejected");
            structure.get("reason").unwrap()
        })
        .take(count)
        .collect()
}

/// What `publish` says to its user if the password is wrong, the user is, or there is neither; then the right ones.
fn logs_in(publish: Publish, [wrong_password, wrong_user, neither]: [&str; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let recording = guarded(directory.path(), "");
    let port = recording.port();
    for (login, said) in [
        (Some((USER, "wrong")), wrong_password),
        (Some(("bob", PASSWORD)), wrong_user),
        (None, neither),
    ] {
        let publisher = publish(port, login, directory.path()).unwrap();
        let error = publisher.finish().expect_err("let in with {login:?}");
        assert!(error.contains(said), "{login:?}: {error}");
    }
    // The steps of a login and who does not even try are no rejections, and nobody was a publisher.
    assert_eq!(recording.counter("rejected"), 2);
    assert_eq!(recording.counter("session"), 0);
    let reasons = ["login failed: wrong password", "login failed: no such user"];
    assert_eq!(rejections(&recording, 2), reasons);

    let publisher = publish(port, Some((USER, PASSWORD)), directory.path()).unwrap();
    let recorder = std::thread::spawn(move || recording.finish());
    let sent = publisher.finish().unwrap();
    assert_same(&sent, &recorder.join().unwrap().unwrap());
}

fn ffmpeg(
    path: &str,
    port: u16,
    login: Option<(&str, &str)>,
    to: &Path,
) -> Result<Publisher, String> {
    let login = login.map_or_else(String::new, |(user, password)| {
        format!("{user}:{password}@")
    });
    publishers::ffmpeg_to(&format!("rtmp://{login}127.0.0.1:{port}/{path}"), to)
}

const FFMPEGS: [&str; 3] = [
    "Incorrect username/password",
    "Incorrect username\n",
    "No credentials set",
];

#[test]
fn ffmpeg_by_adobes_challenge() {
    logs_in(
        &|port, login, to| ffmpeg("live/test", port, login, to),
        FFMPEGS,
    );
}

#[test]
fn ffmpeg_by_limelights_challenge() {
    let path = "live?authmod=llnw/test";
    logs_in(&|port, login, to| ffmpeg(path, port, login, to), FFMPEGS);
}

/// With an instance in the application, which Limelight's response has in another way, and a query of its own.
#[test]
fn ffmpeg_to_an_instance() {
    for path in [
        "live/east/test",
        "live?vhost=a/test",
        "live/east?authmod=llnw/test",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let recording = guarded(directory.path(), "");
        let login = Some((USER, PASSWORD));
        let publisher = ffmpeg(path, recording.port(), login, directory.path()).unwrap();
        let recorder = std::thread::spawn(move || recording.finish());
        let sent = publisher.finish().unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_same(&sent, &recorder.join().unwrap().unwrap());
    }
}

fn rtmp2sink(authmod: &str) {
    let publish = |port, login: Option<(&str, &str)>, to: &Path| {
        let login = login.map_or_else(String::new, |(user, password)| {
            format!("username={user} password={password}")
        });
        let sink = GstSink::Rtmp2Sink { chunk_size: 128 };
        let location = format!("rtmp://127.0.0.1:{port}/live/test");
        sink.publish_with(&format!("authmod={authmod} {login}"), &location, None, to)
    };
    let says = [
        "authentication failed; wrong credentials?",
        "authentication failed; reason 'nosuchuser'",
        "no username for adobe authentication",
    ];
    logs_in(&publish, says);
}

#[test]
fn rtmp2sink_that_waits_to_be_asked() {
    rtmp2sink("auto");
}

#[test]
fn rtmp2sink_that_does_not() {
    rtmp2sink("adobe");
}

/// `parameters` are librtmp's, behind the address, without the login.
fn rtmpsink(
    parameters: &str,
    preload: Option<&Path>,
    port: u16,
    login: Option<(&str, &str)>,
    to: &Path,
) -> Result<Publisher, String> {
    let login = login.map_or_else(String::new, |(user, password)| {
        format!(" pubUser={user} pubPasswd={password}")
    });
    let location = format!("rtmp://127.0.0.1:{port}{parameters}{login}");
    GstSink::RtmpSink.publish_with("", &location, preload, to)
}

/// See the file itself.
fn build_repair(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/terminated_base64.c");
    let library = directory.join("libterminated_base64.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
    Process::spawn(compiler.arg(&library).arg(source))
        .unwrap()
        .wait(DEADLINE)
        .unwrap()
        .expect_success("cc")
        .unwrap();
    library
}

#[test]
fn librtmp_by_adobes_challenge() {
    let directory = tempfile::tempdir().unwrap();
    let repair = build_repair(directory.path());
    let says = [
        "Authentication failed: wrong password",
        "Authentication failed: no such user",
        "need to set pubUser & pubPasswd for publisher auth",
    ];
    let publish = |port, login: Option<(&str, &str)>, to: &Path| {
        rtmpsink("/live/test", Some(&repair), port, login, to)
    };
    logs_in(&publish, says);
}

/// As it is in Debian. It answers Limelight's challenge only if it asked for it with all that it takes.
#[test]
fn librtmp_by_limelights_challenge() {
    let says = [
        "PublisherAuth, Authentication failed\n",
        "Authentication failed: no such user",
        "wrong pubUser & pubPasswd for publisher auth",
    ];
    let publish = |port, login: Option<(&str, &str)>, to: &Path| {
        let user = login.map_or_else(String::new, |(user, _)| format!("&user={user}"));
        let parameters = format!(" app=live?authmod=llnw{user} playpath=test");
        rtmpsink(&parameters, None, port, login, to)
    };
    logs_in(&publish, says);
}

// Our own.

fn publishes(mut client: Client) {
    client.must_publish("test").unwrap();
    client.send_all(&tags(20, 300)).unwrap();
    client.close().unwrap();
}

#[test]
fn what_was_overheard_is_no_use() {
    let directory = tempfile::tempdir().unwrap();
    let recording = guarded(directory.path(), "loop=true");
    let server = recording.address();
    for answer in [answer, limelights_answer] {
        let login = answer(server, USER, PASSWORD);
        let client = Client::connect(server, &login).unwrap();
        // While it is in use, and afterwards.
        assert!(turned_away(server, &login).ends_with("?reason=authfailed"));
        publishes(client);
        assert!(turned_away(server, &login).ends_with("?reason=authfailed"));
        // To answer an old challenge anew takes the password.
        let of_other = answer(server, USER, "other");
        assert!(turned_away(server, &of_other).ends_with("?reason=authfailed"));
    }
    assert_eq!(recording.counter("rejected"), 6);
    let told = rejections(&recording, 6);
    let replayed = "login failed: the answer to a challenge came too late or twice";
    let count = |reason: &str| told.iter().filter(|told| *told == reason).count();
    assert_eq!((count(replayed), told.len()), (4, 6), "{told:?}");
    recording.wait_for_counter("pushed", 40).unwrap();
    recording.send_eos();
    assert_eq!(recording.finish_within(AT_ONCE).unwrap().len(), 40);
}

/// Without credentials nobody publishes, whatever he writes into his application.
#[test]
fn malformed_logins_are_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let recording = guarded(directory.path(), "loop=true");
    let server = recording.address();
    let long = "x".repeat(3_500);
    let (long_user, long_opaque) = (format!("user={long}"), format!("user={USER}&opaque={long}"));
    let many = "user=&".repeat(600);
    for query in [
        "",
        "authmod",
        "authmod=",
        "authmod=adobe",
        "authmod=llnw&user",
        "user=alice&response=",
        "response=x&opaque=y",
        "\u{0}",
        "user=\u{fffd}",
        "=",
        "&&??==",
        "authmod=adobe&user=alice&opaque=0",
        &long_user,
        &long_opaque,
        &many,
    ] {
        for method in ["", "authmod=adobe&", "authmod=llnw&"] {
            for end in ["", "&response=", "&response=x"] {
                let text = turned_away(server, &format!("live?{method}{query}{end}"));
                let start = "[ AccessManager.Reject ] : [ ";
                assert!(text.starts_with(start), "{text}");
                assert!(text.len() < 256, "{query}: {text}");
            }
        }
    }
    assert_eq!(recording.counter("session"), 0);
    assert_eq!(recording.counter("panics"), 0);
    publishes(Client::connect(server, &answer(server, USER, PASSWORD)).unwrap());
    recording.wait_for_counter("pushed", 20).unwrap();
}

#[test]
fn changes_are_taken_up_by_the_next_connection_and_the_next_publish() {
    let directory = tempfile::tempdir().unwrap();
    let recording = guarded(directory.path(), "loop=true timestamp-mode=passthrough");
    let (server, source) = (recording.address(), recording.source().clone());
    let connect = |user, password| Client::connect(server, &answer(server, user, password));
    let mut publisher = connect(USER, PASSWORD).unwrap();
    publisher.must_publish("test").unwrap();
    let mut waiting = connect(USER, PASSWORD).unwrap();
    let open = answer(server, USER, PASSWORD);

    source.set_property("password", "another");
    // Who publishes goes on; who only proved to know the old one is too late.
    let sent = tags(50, 300);
    publisher.send_all(&sent).unwrap();
    publisher.close().unwrap();
    recording.wait_for_counter("pushed", 50).unwrap();
    let denied = waiting.publish("test").unwrap();
    assert_eq!(denied.code, "NetStream.Publish.Denied");
    assert!(denied.text.contains("login"), "{denied:?}");
    assert!(turned_away(server, &open).ends_with("?reason=authfailed"));
    publishes(connect(USER, "another").unwrap());

    source.set_property("username", "bob");
    let no_user = turned_away(server, "live?authmod=adobe&user=alice");
    assert!(no_user.ends_with("?reason=nosuchuser"), "{no_user}");
    publishes(connect("bob", "another").unwrap());

    // Half of a login opens nothing.
    let none = None::<&str>;
    source.set_property("username", none);
    assert!(turned_away(server, "live").contains("code=403 need auth"));
    source.set_property("password", none);
    publishes(Client::connect(server, "live").unwrap());
    // And who offers one that nobody wants is welcome as well.
    publishes(Client::connect(server, "live?authmod=adobe&user=alice").unwrap());

    // A connection that never logged in, when one is wanted again.
    let mut early = Client::connect(server, "live").unwrap();
    source.set_property("password", PASSWORD);
    assert_eq!(
        early.publish("test").unwrap().code,
        "NetStream.Publish.Denied"
    );
    recording.send_eos();
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_eq!(captured.len(), 50 + 4 * 20);
    assert_same(&sent, &captured[..50]);
}

#[test]
fn a_handler_hears_who_it_is_and_not_how_he_proved_it() {
    let directory = tempfile::tempdir().unwrap();
    let recording = guarded(directory.path(), "");
    let (sender, callers) = mpsc::channel::<gst::Structure>();
    let source = recording.source();
    source.connect("caller-connecting", false, move |values| {
        sender.send(values[1].get().unwrap()).ok();
        Some(true.to_value())
    });
    let server = recording.address();
    let mut client = Client::connect(server, &answer(server, USER, PASSWORD)).unwrap();
    client.must_publish("test").unwrap();
    let caller = callers.recv_timeout(DEADLINE).unwrap();
    let text = |name: &str| caller.get::<String>(name).unwrap();
    assert_eq!(
        (text("username").as_str(), text("stream-key").as_str()),
        (USER, "test")
    );
    assert_eq!(text("tc-url"), format!("rtmp://{server}/live"));
}

#[test]
fn half_a_login_does_not_start() {
    for (properties, said) in [
        ("username=alice", "a username without a password"),
        ("password=p", "a password without a username"),
        ("username=a?b password=p", "a username holds no ?"),
        (
            "location=rtmp://alice@127.0.0.1:0/live",
            "a username without a password",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let Err(reason) = Recording::start(directory.path(), properties) else {
            panic!("{properties} is fine?");
        };
        assert!(reason.contains(said), "{reason}");
    }
}

#[test]
fn a_login_in_the_location() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "", "").unwrap();
    let location = format!("rtmp://{USER}:{PASSWORD}@127.0.0.1:0/live/test");
    recording.source().set_property("location", location);
    let shown: String = recording.source().property("location");
    assert_eq!(shown, format!("rtmp://{USER}:***@127.0.0.1:0/live/***"));
    let recording = recording.play().unwrap();
    let server = recording.address();
    turned_away(server, "live");
    publishes(Client::connect(server, &answer(server, USER, PASSWORD)).unwrap());
    assert_eq!(recording.finish_within(AT_ONCE).unwrap().len(), 20);
}

/// Each login leads to the element that wants it, and a failure is told by the one that came closest.
#[test]
fn elements_that_share_a_port_have_logins_of_their_own() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let alices = guarded(directories[0].path(), "");
    let server = alices.address();
    let properties = format!("port={} username=bob password=b0b", server.port());
    let bobs = Recording::start(directories[1].path(), &properties).unwrap();
    // Neither's password will do for the other.
    for (user, password) in [("bob", PASSWORD), (USER, "b0b")] {
        turned_away(server, &answer(server, user, password));
    }
    let reason = ["login failed: wrong password"];
    assert_eq!(rejections(&bobs, 1), reason);
    assert_eq!(rejections(&alices, 1), reason);
    publishes(Client::connect(server, &answer(server, "bob", "b0b")).unwrap());
    assert_eq!(bobs.finish_within(AT_ONCE).unwrap().len(), 20);
    assert_eq!(alices.counter("session"), 0);
    publishes(Client::connect(server, &answer(server, USER, PASSWORD)).unwrap());
    assert_eq!(alices.finish_within(AT_ONCE).unwrap().len(), 20);
}

// Secrets.

/// Also runs in a process of its own, with everything logged to a file: see below.
#[test]
fn log_in_and_fail_to() {
    let directory = tempfile::tempdir().unwrap();
    let recording = guarded(directory.path(), "loop=true");
    let server = recording.address();
    for answer in [answer, limelights_answer] {
        turned_away(server, "live");
        turned_away(server, &answer(server, USER, "wr0ngwr0ng"));
        turned_away(server, "live?authmod=adobe&user=m1stak3");
        publishes(Client::connect(server, &answer(server, USER, PASSWORD)).unwrap());
    }
    recording.wait_for_counter("pushed", 40).unwrap();
    let stats: gst::Structure = recording.source().property("stats");
    assert!(!stats.to_string().contains(PASSWORD), "{stats}");
    recording.send_eos();
    assert_eq!(recording.finish_within(AT_ONCE).unwrap().len(), 40);
}

/// The whole log of GStreamer, at the highest level.
#[test]
fn no_secret_is_in_the_log_and_only_failures_are_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut this_test = Command::new(std::env::current_exe().unwrap());
    this_test
        .args(["--exact", "log_in_and_fail_to"])
        .env("GST_DEBUG", "*:9")
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("GST_DEBUG_FILE", &log);
    let finished = Process::spawn(&mut this_test)
        .unwrap()
        .wait(DEADLINE)
        .unwrap()
        .expect_success("the test in its own process")
        .unwrap();
    assert!(finished.stdout.contains("1 passed"), "{}", finished.stdout);
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    // Also what proves to know the password, and what was typed in place of a user name.
    for secret in [
        PASSWORD,
        "wr0ngwr0ng",
        "response=",
        "opaque=",
        "cnonce",
        "m1stak3",
    ] {
        let leaks: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(leaks.is_empty(), "{secret}: {leaks:#?}");
    }
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" WARN ") && line.contains(" rtmp2serversrc "))
        .collect();
    let wrong = |warning: &&&str| warning.ends_with("login failed: wrong password");
    let nobody = |warning: &&&str| warning.ends_with("login failed: no such user");
    let count = |are: &dyn Fn(&&&str) -> bool| warnings.iter().filter(are).count();
    assert_eq!(
        (count(&wrong), count(&nobody), warnings.len()),
        (2, 2, 4),
        "{warnings:#?}"
    );
    assert!(log.contains("connection closed: it was asked to log in"));
}
