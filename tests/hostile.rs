//! Peers that mean harm, or RTMP to somebody else: a good publisher beside them is complete, and they cost little.

#[path = "hostile/crowds.rs"]
mod crowds;
mod support;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use support::client::{Client, tags};
use support::flv::assert_same;
use support::login::{answer, turned_away};
use support::own_process::{descriptors, panics, resident_bytes, wait_until, watch_for_panics};
use support::peer;
use support::pipeline::Recording;
use support::publishers::Ffmpeg;

const DEADLINE: Duration = Duration::from_secs(30);
/// From accept to publish.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);
/// Of messages.
const UNKNOWN_TYPE: u8 = 99;
const PICTURE: &[u8] = b"\x17\x01\0\0\0a picture";

/// Runs a test while no other one runs: descriptors and panics are those of the whole process. After it, there are as
/// many descriptors as before, and nothing has panicked.
fn alone(test: impl FnOnce(&Path)) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    watch_for_panics();
    // What is opened once and stays, such as the runtime's descriptors.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let first = Recording::start(directory.path(), "").expect("starts");
    let address = first.address();
    drop(first);
    assert!(wait_until(DEADLINE, || peer::connect(address).is_err()));

    let (before, panics_before) = (descriptors(), panics().len());
    test(directory.path());
    wait_until(DEADLINE, || descriptors().len() <= before.len());
    let after = descriptors();
    let some = &after[after.len().saturating_sub(20)..];
    assert_eq!(after.len(), before.len(), "… {some:?}");
    assert_eq!(panics()[panics_before..], [""; 0]);
}

/// Waits for a figure of `stats`; fails as soon as it is beyond.
fn insist_on(recording: &Recording, name: &str, expected: u64) {
    wait_until(DEADLINE, || recording.counter(name) >= expected);
    assert_eq!(recording.counter(name), expected, "{name}");
}

fn wrong_credentials(address: SocketAddr) {
    let attempts = [
        ("live", "wrong", "NetStream.Publish.Denied"),
        ("other", "test", "NetStream.Publish.Denied"),
        ("live", "test", "NetStream.Publish.BadName"),
    ];
    for (application, key, code) in attempts {
        let mut stream = peer::shake_hands(address).unwrap();
        let commands = [
            peer::connect_command(application),
            peer::publish_command(key),
            // Goes on as if it had been let in.
            peer::message(peer::VIDEO, 1, b"\x17\x01\0\0\0not to be seen"),
        ];
        let heard = peer::say(&mut stream, &commands.concat()).unwrap();
        assert!(
            peer::contains(&heard, code),
            "{code} to {application}/{key}"
        );
    }
}

fn port_scan(address: SocketAddr) {
    for _ in 0..100 {
        drop(peer::connect(address).unwrap());
    }
}

fn other_protocols(address: SocketAddr) {
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let heard = peer::say(&mut peer::connect(address).unwrap(), request).unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 400 "), "{heard:02x?}");

    // A record with a ClientHello of TLS 1.2.
    let mut hello = vec![22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    hello.resize(5 + 512, 0x55);
    let heard = peer::say(&mut peer::connect(address).unwrap(), &hello).unwrap();
    const ALERT: u8 = 21;
    assert!(heard.starts_with(&[ALERT, 3]), "{heard:02x?}");
}

/// Each is closed because of what it says, long before any deadline.
fn nonsense(address: SocketAddr) {
    const STRICT_ARRAY_OF_ONE: [u8; 5] = [10, 0, 0, 0, 1];
    let kinds: [(&str, Vec<u8>); 5] = [
        ("garbage", vec![0xFF; 10_000]),
        (
            "a chunk size of 0",
            peer::message(peer::SET_CHUNK_SIZE, 0, &[0; 4]),
        ),
        (
            "a deep command",
            peer::connect_with(&STRICT_ARRAY_OF_ONE.repeat(3_000)),
        ),
        ("300 MB of unfinished messages", peer::unfinished_messages()),
        (
            "3,000 messages of no meaning",
            peer::message(UNKNOWN_TYPE, 0, &[0; 100]).repeat(3000),
        ),
    ];
    for (what, bytes) in kinds {
        let began = Instant::now();
        let mut stream = peer::shake_hands(address).unwrap();
        peer::say(&mut stream, &bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
        let took = began.elapsed();
        assert!(took < PUBLISH_DEADLINE, "{what}: closed after {took:?}");
    }
}

/// Asks without end and reads no answer.
fn ping_flood(address: SocketAddr) {
    const PING_REQUEST: [u8; 6] = [0, 6, 0, 0, 0, 1];
    let began = Instant::now();
    let mut stream = peer::shake_hands(address).unwrap();
    let pings = peer::message(peer::USER_CONTROL, 0, &PING_REQUEST).repeat(1000);
    peer::flood(&mut stream, &pings).unwrap();
    let took = began.elapsed();
    assert!(took < PUBLISH_DEADLINE, "closed after {took:?}");
}

/// Never says anything that matters, never stops, and never says too much at once.
fn endless_talk(address: SocketAddr) {
    let mut stream = peer::shake_hands(address).unwrap();
    let chatter = peer::message(UNKNOWN_TYPE, 0, &[0; 100]);
    peer::flood_in_steps(&mut stream, &chatter, Duration::from_millis(20)).unwrap();
}

/// Those that wait for something that never comes, and when they began to.
fn idlers(address: SocketAddr) -> Vec<TcpStream> {
    let silent = (0..200).map(|_| peer::connect(address).unwrap());
    let mut idlers: Vec<TcpStream> = silent.collect();
    let mut half_a_handshake = peer::connect(address).unwrap();
    half_a_handshake.write_all(&peer::c0_c1()[..700]).unwrap();
    idlers.push(half_a_handshake);
    idlers.push(peer::shake_hands(address).unwrap());
    let mut connected = peer::shake_hands(address).unwrap();
    connected.write_all(&peer::connect_command("live")).unwrap();
    idlers.push(connected);
    idlers
}

#[test]
fn a_publisher_is_complete_beside_hostile_peers() {
    alone(|directory| {
        let properties = "application=live stream-key=test max-connections=400";
        let recording = Recording::start(directory, properties).unwrap();
        let address = recording.address();
        let publisher = Ffmpeg::Endless
            .publish(recording.port(), directory)
            .unwrap();
        assert!(wait_until(DEADLINE, || recording.is_publishing()));

        let began = Instant::now();
        std::thread::scope(|scope| {
            let idlers = idlers(address);
            let count = idlers.len() as u64;
            insist_on(&recording, "idle-connections", count);
            let talker = scope.spawn(|| endless_talk(address));

            wrong_credentials(address);
            port_scan(address);
            other_protocols(address);
            nonsense(address);
            ping_flood(address);
            assert!(began.elapsed() < PUBLISH_DEADLINE, "all that was at once");
            assert!(recording.counter("idle-connections") > count);

            for mut idler in idlers {
                peer::listen(&mut idler).expect("closed in time");
                assert!(began.elapsed() >= PUBLISH_DEADLINE, "closed early");
            }
            talker.join().unwrap();
            let late = began.elapsed() - PUBLISH_DEADLINE;
            assert!(late < Duration::from_secs(5), "closed {late:?} late");
        });

        // 200 silent ones and half a handshake, the port scan, HTTP, TLS.
        insist_on(&recording, "handshake-failures", 201 + 100 + 2);
        insist_on(&recording, "rejected", 3);
        // The publisher; two more idlers, the talker; credentials, nonsense, pings.
        insist_on(&recording, "connections", 303 + 1 + 3 + 3 + 5 + 1);
        assert!(wait_until(DEADLINE, || {
            recording.counter("idle-connections") == 0
        }));
        assert!(recording.is_publishing());
        assert_eq!(recording.counter("session"), 1, "publishers");

        let sent = publisher.interrupt().unwrap();
        assert_same(&sent, &recording.finish().unwrap());
    });
}

/// The application need not read its bus, nor an operator the log.
#[test]
fn rejections_without_end_are_counted_and_cost_nothing() {
    const MANY: u64 = 1000;
    alone(|directory| {
        let recording = Recording::start(directory, "stream-key=right").unwrap();
        let long_name = "x".repeat(7000);
        let object = [
            &[3, 0, 8][..],
            b"flashVer",
            &peer::amf_string(&long_name),
            &[0, 0, 9],
        ];
        let commands = [
            peer::connect_with(&object.concat()),
            peer::publish_command("wrong"),
        ]
        .concat();
        let turn_away = || {
            let mut stream = peer::shake_hands(recording.address()).unwrap();
            stream.write_all(&commands).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            peer::listen(&mut stream).unwrap();
        };
        (0..100).for_each(|_| turn_away());
        let before = resident_bytes();
        (100..MANY).for_each(|_| turn_away());
        insist_on(&recording, "rejected", MANY);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes");

        let bus = recording.pipeline().bus().unwrap();
        let mut told = Vec::new();
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Element]) {
            let structure = message.structure().unwrap().to_owned();
            if structure.name() == "rtmp2server-publisher-rejected" {
                told.push(structure);
            }
        }
        assert!((64..80).contains(&told.len()), "{}", told.len());
        assert_eq!(told[0].get("unreported"), Ok(0u64));
        assert!(told[0].get::<&str>("flash-ver").unwrap().len() <= 256);
    });
}

/// In C a NUL ends a text, and to GLib's debug builds it is a reason to panic.
#[test]
fn a_nul_in_a_peers_text_is_harmless() {
    alone(|directory| {
        let recording = Recording::start(directory, "").unwrap();
        let (asked, answers) = std::sync::mpsc::channel();
        let asked = std::sync::Mutex::new(asked);
        recording
            .source()
            .connect("caller-connecting", false, move |arguments| {
                let caller = arguments[1].get::<gst::Structure>().unwrap();
                let key = caller.get::<String>("stream-key").unwrap();
                asked.lock().unwrap().send(key).unwrap();
                Some(true.to_value())
            });
        let field = |name: &str| {
            let length = [0, name.len() as u8];
            let value = peer::amf_string(&format!("{name}\0and more"));
            [&length[..], name.as_bytes(), &value].concat()
        };
        let object = [
            vec![3],
            field("app"),
            field("flashVer"),
            field("tcUrl"),
            vec![0, 0, 9],
        ];
        let metadata = [
            peer::amf_string("onMetaData"),
            vec![3],
            field("encoder"),
            vec![0, 0, 9],
        ];
        const DATA: u8 = 18;
        let commands = [
            peer::connect_with(&object.concat()),
            peer::publish_command("allowed\0and more"),
            peer::message(DATA, 1, &metadata.concat()),
            peer::message(peer::VIDEO, 1, PICTURE),
        ];
        let mut publisher = peer::shake_hands(recording.address()).unwrap();
        publisher.write_all(&commands.concat()).unwrap();
        recording.wait_for_counter("pushed", 2).unwrap();
        assert_eq!(answers.recv().unwrap(), "allowed\u{FFFD}and more");
        let stats: gst::Structure = recording.source().property("stats");
        assert_eq!(stats.get("flash-ver"), Ok("flashVer\u{FFFD}and more"));
        assert_eq!(stats.get("encoder"), Ok("encoderand more"));
        publisher.shutdown(Shutdown::Write).unwrap();
        assert_eq!(recording.finish().unwrap().len(), 2);
    });
}

#[test]
fn what_a_silent_connection_costs() {
    const MANY: usize = 1000;
    alone(|directory| {
        let properties = format!("max-connections={MANY}");
        let recording = Recording::start(directory, &properties).unwrap();
        let before = resident_bytes();
        let silent: Vec<_> = (0..MANY)
            .map(|_| peer::connect(recording.address()).unwrap())
            .collect();
        insist_on(&recording, "idle-connections", MANY as u64);
        let each = resident_bytes().saturating_sub(before) / MANY;
        println!("{each} bytes per silent connection");
        assert!(each < 32 << 10, "{each} bytes per silent connection");
        drop(silent);
        insist_on(&recording, "handshake-failures", MANY as u64);
    });
}

/// Whoever asks for login challenges costs nothing, and does not push out those of others.
#[test]
fn a_flood_of_login_questions() {
    const QUESTIONS: usize = 2000;
    alone(|directory| {
        let properties = "loop=true username=alice password=s3cret";
        let recording = Recording::start(directory, properties).unwrap();
        let server = recording.address();
        let honest = answer(server, "alice", "s3cret");
        // No failures among them: those are told on the bus, which keeps them.
        let [none, adobe, llnw] = ["", "?authmod=adobe&user=alice", "?authmod=llnw&user=alice"];
        let ask = |times: usize| {
            for query in [none, adobe, llnw, adobe].iter().cycle().take(times) {
                turned_away(server, &format!("live{query}"));
            }
        };
        // What it costs at first and stays, such as what the allocator keeps.
        ask(QUESTIONS / 4);
        let before = resident_bytes();
        ask(QUESTIONS);
        let grown = resident_bytes().saturating_sub(before);
        // A number kept for each challenge would be as much.
        assert!(grown < 64 << 10, "{grown} bytes more");
        let mut client = Client::connect(server, &honest).unwrap();
        client.must_publish("test").unwrap();
        let sent = tags(50, 300);
        client.send_all(&sent).unwrap();
        client.close().unwrap();
        recording.wait_for_counter("pushed", 50).unwrap();
        assert_eq!(recording.counter("session"), 1);
        recording.send_eos();
        assert_same(&sent, &recording.finish().unwrap());
    });
}
