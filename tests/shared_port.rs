//! Elements that name the same port: who gets which publisher, and who is disturbed by whom.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gst::prelude::*;
use support::client::{Client, tags};
use support::flv::{Tag, assert_same};
use support::launch::{free_port, gst_launch, wait_for_listener};
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::process::Process;
use support::publishers::{live_to, read_flv};

const AT_ONCE: Duration = Duration::from_secs(2);

/// A recording on the port of another one, in a directory of its own.
fn join(
    parent: &Path,
    first: &Recording,
    name: &str,
    properties: &str,
) -> Result<Recording, String> {
    let directory = parent.join(name);
    std::fs::create_dir(&directory).unwrap();
    Recording::start(&directory, &format!("port={} {properties}", first.port()))
}

/// Publishes under a key; the tags, different for each `number`, have been sent when this returns.
fn publish(recording: &Recording, key: &str, number: usize) -> (Client, Vec<Tag>) {
    let mut client = Client::connect(recording.address(), "live").unwrap();
    client.must_publish(key).unwrap();
    let sent = tags(100 + number, 2000);
    client.send_all(&sent).unwrap();
    (client, sent)
}

#[test]
fn two_cameras_into_one_gst_launch() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let source = |key: &str| {
        format!("rtmp2serversrc port={port} stream-key={key} ! filesink location={key}.flv")
    };
    let recording = Process::spawn(
        gst_launch(directory.path())
            .args(source("cam1").split_ascii_whitespace())
            .args(source("cam2").split_ascii_whitespace()),
    )
    .unwrap();
    wait_for_listener(port, &recording);
    let publishers = ["cam2", "cam1"].map(|key| {
        let own = directory.path().join(key);
        std::fs::create_dir(&own).unwrap();
        let url = format!("rtmp://127.0.0.1:{port}/live/{key}");
        (key, live_to(Command::new("ffmpeg"), 2, &url, &own).unwrap())
    });
    let sent = publishers.map(|(key, publisher)| (key, publisher.finish().unwrap()));
    recording
        .wait(DEADLINE)
        .unwrap()
        .expect_success("gst-launch-1.0")
        .unwrap();
    for (key, sent) in sent {
        let captured = read_flv(&directory.path().join(format!("{key}.flv"))).unwrap();
        assert_same(&sent, &captured);
    }
}

#[test]
fn the_narrowest_route_takes_a_publisher() {
    let directory = tempfile::tempdir().unwrap();
    // Else they would be taken for one encoder that comes again.
    let policy = "publisher-policy=reject";
    let any = Recording::start(directory.path(), policy).unwrap();
    let join = |name: &str, properties: &str| {
        join(
            directory.path(),
            &any,
            name,
            &format!("{policy} {properties}"),
        )
        .unwrap()
    };
    let app = join("app", "application=live");
    let key = join("key", "stream-key=k");
    let both = join("both", "application=live stream-key=k");

    let mut open = Vec::new();
    // Each is taken when it is the turn of the next wider one.
    for (n, expected) in [both, key, app, any].into_iter().enumerate() {
        let (client, sent) = publish(&expected, "k", n);
        assert!(expected.is_publishing(), "{n}");
        open.push((client, sent, expected));
    }
    for (client, sent, recording) in open {
        client.close().unwrap();
        assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
    }
}

#[test]
fn equal_elements_are_a_pool() {
    const ELEMENTS: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let first = Recording::start(directory.path(), "publisher-policy=reject").unwrap();
    let address = first.address();
    let mut pool: Vec<_> = (1..ELEMENTS)
        .map(|n| {
            join(
                directory.path(),
                &first,
                &n.to_string(),
                "publisher-policy=reject",
            )
            .unwrap()
        })
        .collect();
    pool.push(first);

    let published: Vec<_> = (0..ELEMENTS)
        .map(|n| publish(&pool[0], &format!("key{n}"), n))
        .collect();
    assert!(pool.iter().all(Recording::is_publishing));
    let mut ninth = Client::connect(address, "live").unwrap();
    assert_eq!(
        ninth.publish("key9").unwrap().code,
        "NetStream.Publish.BadName"
    );

    let mut sent: Vec<_> = published
        .into_iter()
        .map(|(client, sent)| {
            client.close().unwrap();
            sent
        })
        .collect();
    let mut captured: Vec<_> = pool
        .into_iter()
        .map(|recording| recording.finish_within(AT_ONCE).unwrap())
        .collect();
    sent.sort_by_key(Vec::len);
    captured.sort_by_key(Vec::len);
    for (sent, captured) in sent.iter().zip(&captured) {
        assert_same(sent, captured);
    }
}

#[test]
fn elements_come_and_go_in_any_order() {
    let directory = tempfile::tempdir().unwrap();
    let first = Recording::start(directory.path(), "stream-key=a").unwrap();
    let (port, address) = (first.port(), first.address());
    let second = join(directory.path(), &first, "second", "stream-key=b").unwrap();
    assert_eq!(second.port(), port);

    let (a, _) = publish(&first, "a", 0);
    let (b, sent) = publish(&second, "b", 1);
    // Who opened the port goes, and its publisher with it; the other one stays.
    drop(first);
    a.close().unwrap();
    let mut refused = Client::connect(address, "live").unwrap();
    assert_eq!(
        refused.publish("a").unwrap().code,
        "NetStream.Publish.Denied"
    );

    let third = join(directory.path(), &second, "third", "stream-key=a").unwrap();
    let (c, sent_to_third) = publish(&third, "a", 2);
    for (client, sent, recording) in [(b, sent, second), (c, sent_to_third, third)] {
        client.close().unwrap();
        assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
    }
    // Nobody is left: the port is free, for others as well.
    std::net::TcpListener::bind(address).unwrap();
}

#[test]
fn a_name_is_not_an_address_that_it_stands_for() {
    // `localhost` may be one address or two; who listens on both shares with nobody who wants one of them alone.
    let directory = tempfile::tempdir().unwrap();
    let one = Recording::start(directory.path(), "host=127.0.0.1").unwrap();
    let error = join(directory.path(), &one, "all", "host=0.0.0.0")
        .err()
        .unwrap();
    assert!(error.contains("same host and port share it"), "{error}");
}

#[test]
fn what_can_not_be_shared_names_both_elements() {
    let directory = tempfile::tempdir().unwrap();
    let first = Recording::start(directory.path(), "max-connections=10").unwrap();
    let error = join(
        directory.path(),
        &first,
        "second",
        "max-connections=20 max-message-size=100000",
    )
    .err()
    .unwrap();
    for part in [
        &format!("0.0.0.0:{}", first.port()),
        "source can't share",
        "with source",
        "max-connections is 20 here and 10 there",
        "max-message-size is 100000 here and 16777215 there",
        "use another port",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let (client, sent) = publish(&first, "k", 0);
    client.close().unwrap();
    assert_same(&sent, &first.finish_within(AT_ONCE).unwrap());
}

/// An element with a pipeline and so a bus of its own.
fn named(name: &str, properties: &str) -> gst::Pipeline {
    support::pipeline::init();
    let description = format!("rtmp2serversrc name={name} {properties} ! fakesink");
    let pipeline = gst::parse::launch(&description).unwrap();
    pipeline.downcast().unwrap()
}

fn port_of(pipeline: &gst::Pipeline, name: &str) -> u32 {
    pipeline.by_name(name).unwrap().property("current-port")
}

/// Why it does not start.
fn refused(pipeline: &gst::Pipeline) -> String {
    assert!(pipeline.set_state(gst::State::Playing).is_err());
    let bus = pipeline.bus().unwrap();
    let message = bus.pop_filtered(&[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    match message.expect("an error").view() {
        gst::MessageView::Error(error) => error.error().to_string(),
        _ => unreachable!("filtered"),
    }
}

#[test]
fn who_is_gone_is_named_in_no_conflict() {
    let alpha = named("alpha", "port=0");
    alpha.set_state(gst::State::Playing).unwrap();
    let port = port_of(&alpha, "alpha");
    let beta = named("beta", &format!("port={port}"));
    beta.set_state(gst::State::Playing).unwrap();
    let gamma = named("gamma", &format!("port={port} max-connections=20"));
    let reason = refused(&gamma);
    assert!(reason.contains("gamma can't share"), "{reason}");
    assert!(reason.contains("with alpha: "), "{reason}");
    alpha.set_state(gst::State::Null).unwrap();
    let reason = refused(&gamma);
    assert!(reason.contains("with beta: "), "{reason}");
    // Who comes back is behind who stayed.
    let alpha = named("alpha", &format!("port={port}"));
    alpha.set_state(gst::State::Playing).unwrap();
    let reason = refused(&gamma);
    assert!(reason.contains("with beta: "), "{reason}");
    beta.set_state(gst::State::Null).unwrap();
    let reason = refused(&gamma);
    assert!(reason.contains("with alpha: "), "{reason}");
    alpha.set_state(gst::State::Null).unwrap();
    gamma.set_state(gst::State::Playing).unwrap();
    gamma.set_state(gst::State::Null).unwrap();
}

/// Each way round: nobody gets a port without what was asked for, whoever was first.
fn conflict(one: &str, other: &str, setting: &str, [of_one, of_other]: [&str; 2]) {
    for (first, second, there, here) in [
        (one, other, of_one, of_other),
        (other, one, of_other, of_one),
    ] {
        let first = named("first", &format!("port=0 {first}"));
        first.set_state(gst::State::Playing).unwrap();
        let port = port_of(&first, "first");
        let second = named("second", &format!("port={port} {second}"));
        let reason = refused(&second);
        for part in [
            &format!("second can't share 0.0.0.0:{port} with first: "),
            &format!("{setting} is {here} here and {there} there"),
        ] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        first.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn proxy_protocol_can_not_be_shared_with_none() {
    let required = "proxy-protocol=required";
    conflict(required, "", "proxy-protocol", ["required", "none"]);
}

#[cfg(feature = "tls")]
#[test]
fn tls_can_not_be_shared_with_none_nor_with_another_certificate() {
    use support::certificates::Identity;
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [one, other] = directories
        .each_ref()
        .map(|directory| Identity::write_to(directory.path()));
    let text = |identity: &Identity| {
        format!(
            "certificate {} with key {}",
            identity.certificate.display(),
            identity.private_key.display()
        )
    };
    let (of_one, of_other) = (text(&one), text(&other));
    conflict(&one.properties(), "", "TLS", [&of_one, "off"]);
    conflict(
        &one.properties(),
        &other.properties(),
        "TLS",
        [&of_one, &of_other],
    );
}

#[test]
fn a_wrong_key_is_told_to_one_element() {
    let directory = tempfile::tempdir().unwrap();
    let first = Recording::start(directory.path(), "application=a stream-key=k").unwrap();
    let second = join(
        directory.path(),
        &first,
        "second",
        "application=b stream-key=k",
    )
    .unwrap();
    let mut client = Client::connect(first.address(), "b").unwrap();
    let status = client.publish("wrong").unwrap();
    assert_eq!(status.text, "wrong stream key");
    let told = |recording: &Recording| {
        let bus = recording.pipeline().bus().unwrap();
        let mut names = BTreeSet::new();
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Element]) {
            names.extend(message.structure().map(|s| s.name().to_string()));
        }
        names
    };
    let rejected = "rtmp2server-publisher-rejected";
    wait_until(DEADLINE, || told(&second).contains(rejected)).unwrap();
    assert!(!told(&first).contains(rejected));
}

#[test]
fn elements_that_start_while_others_stop_find_the_port_shared_or_free() {
    const THREADS: usize = 3;
    const ROUNDS: usize = 100;
    support::pipeline::init();
    let port = free_port();
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            std::thread::spawn(move || {
                let source = gst::ElementFactory::make("rtmp2serversrc")
                    .property("host", "127.0.0.1")
                    .property("port", u32::from(port))
                    .build()
                    .unwrap();
                for _ in 0..ROUNDS {
                    source.set_state(gst::State::Paused).unwrap();
                    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                    source.set_state(gst::State::Null).unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
}
