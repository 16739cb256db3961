//! RTMPS: real encoders and our own, certificates that change, and whoever else comes to such a port.

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};
use support::certificates::Identity;
use support::client::{Client, Stream, tags};
use support::flv::{self, Tag, assert_same};
use support::launch::{free_port, gst_launch, wait_for_listener};
use support::log::Log;
use support::peer;
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::process::Process;
use support::publishers::{Ffmpeg, GstSink, Publisher, write_burst_file};

/// Longer than the element takes for what it does at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// From accept to publish.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);

fn url(recording: &Recording) -> String {
    format!("rtmps://localhost:{}/live/test", recording.port())
}

/// Records a publisher three times, each with all that it says it sent.
fn capture_all(properties: &str, publish: impl Fn(&str, &Path) -> Result<Publisher, String>) {
    for _ in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let properties = format!(
            "{} {properties}",
            Identity::write_to(directory.path()).properties()
        );
        let recording = Recording::start(directory.path(), &properties).unwrap();
        let publisher = publish(&url(&recording), directory.path()).unwrap();
        let recorder = std::thread::spawn(move || recording.finish());
        let sent = publisher.finish().unwrap();
        assert_same(&sent, &recorder.join().unwrap().unwrap());
    }
}

#[test]
fn ffmpeg_publishes() {
    capture_all("", |url, directory| {
        Ffmpeg::AudioAndVideo.publish_to(url, directory)
    });
}

/// Into a queue that is far smaller, so that the socket is not read most of the time.
#[test]
fn ffmpeg_publishes_13_mb_as_fast_as_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_burst_file(directory.path()).unwrap();
    capture_all("max-queue-bytes=100000", |url, directory| {
        Ffmpeg::Copy(file.clone()).publish_to(url, directory)
    });
}

#[test]
fn rtmp2sink_publishes() {
    capture_all("", |url, directory| {
        GstSink::Rtmp2Sink { chunk_size: 128 }.publish_to(url, directory)
    });
}

fn version_of(client: &Client) -> Option<ProtocolVersion> {
    match client.stream() {
        Stream::Tls(tls) => tls.conn.protocol_version(),
        Stream::Plain(_) => None,
    }
}

/// The client trusts the authority alone, so the certificate in between must have come along. Nothing follows the last
/// tag for as long as it takes to come out: none may be left behind in a buffer.
fn publishes_with(version: &'static rustls::SupportedProtocolVersion, size: usize) {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &identity.properties()).unwrap();
    let config = identity.client(&[version]);
    let mut client = Client::connect_tls(recording.address(), "live", config).unwrap();
    assert_eq!(version_of(&client), Some(version.version));
    client.must_publish("test").unwrap();
    let mut sent = Vec::new();
    for part in tags(500, size).chunks(50) {
        client.send_all(part).unwrap();
        sent.extend_from_slice(part);
        let count = sent.len() as u64;
        recording.wait_for_counter("pushed", count).unwrap();
    }
    let stats: gst::Structure = recording.source().property("stats");
    assert!(stats.get::<bool>("tls").unwrap());
    client.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

/// In a process of its own, and not in Rust's, where SIGPIPE is ignored. ffmpeg closes without reading the last answers,
/// so that they meet a socket that is reset.
#[test]
fn a_client_that_is_gone_does_not_end_the_process() {
    const TIMES: usize = 10;
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let port = free_port();
    let mut command = gst_launch(directory.path());
    command
        .args(["-e", "rtmp2serversrc", "loop=true", &format!("port={port}")])
        .args(identity.properties().split(' '))
        .args(["!", "filesink", "location=output.flv"]);
    let host = Process::spawn(&mut command).unwrap();
    wait_for_listener(port, &host);
    for n in 0..TIMES {
        let mut command = Command::new("ffmpeg");
        let arguments = "-nostdin -v error -re -f lavfi -i testsrc=size=160x120:rate=30 -frames:v 5 \
             -c:v libx264 -preset ultrafast -f flv -tls_verify 0";
        command
            .args(arguments.split_ascii_whitespace())
            .arg(format!("rtmps://127.0.0.1:{port}/live/test"));
        let publisher = Process::spawn(&mut command).unwrap();
        publisher
            .wait(DEADLINE)
            .unwrap()
            .expect_success("ffmpeg")
            .unwrap();
        assert!(host.is_running(), "ended by publisher {n}");
    }
    host.interrupt();
    host.wait(DEADLINE)
        .unwrap()
        .expect_success("gst-launch-1.0")
        .unwrap();
    let file = fs::read(directory.path().join("output.flv")).unwrap();
    let tags = flv::parse(&file).unwrap();
    let frames = tags.iter().filter(|tag| tag.is_video_frame()).count();
    assert_eq!(frames, 5 * TIMES);
}

#[test]
fn tls_1_2_alone() {
    publishes_with(&TLS12, 300);
    publishes_with(&TLS12, 70_000);
}

#[test]
fn tls_1_3_alone() {
    publishes_with(&TLS13, 300);
    publishes_with(&TLS13, 70_000);
}

/// Writes byte by byte.
struct Trickle(TcpStream);

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Trickle {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }
}

fn tls_over<T: Read + Write>(
    config: Arc<ClientConfig>,
    stream: T,
) -> StreamOwned<ClientConnection, T> {
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
}

/// Wherever the records are cut, in the handshake and after.
#[test]
fn records_come_byte_by_byte() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &identity.properties()).unwrap();
    let tcp = peer::connect(recording.address()).unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut stream = tls_over(identity.client(&[&TLS13]), Trickle(tcp));
    stream.write_all(&peer::c0_c1()).unwrap();
    let mut answer = vec![0; 1 + 1536 + 1536];
    stream.read_exact(&mut answer).unwrap();
    stream.write_all(&answer[1..1 + 1536]).unwrap();
    let picture = b"\x17\x01\0\0\0a picture".to_vec();
    let commands = [
        peer::connect_command("live"),
        peer::publish_command("test"),
        peer::message(peer::VIDEO, 1, &picture),
    ];
    for command in commands {
        stream.write_all(&command).unwrap();
    }
    recording.wait_for_counter("pushed", 1).unwrap();
    // Without close_notify, as many encoders do.
    drop(stream);
    let sent = Tag {
        kind: flv::Kind::Video,
        timestamp: 0,
        body: picture,
    };
    assert_same(&[sent], &recording.finish_within(AT_ONCE).unwrap());
}

#[test]
fn applications_are_told_that_it_is_tls() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let properties = format!(
        "loop=true publisher-policy=reject {}",
        identity.properties()
    );
    let recording = Recording::prepare(directory.path(), &properties, "").unwrap();
    let (sender, callers) = std::sync::mpsc::channel();
    for signal in [
        "caller-connecting",
        "caller-added",
        "caller-removed",
        "caller-rejected",
    ] {
        let sender = sender.clone();
        recording.source().connect(signal, false, move |values| {
            let caller: gst::Structure = values[1].get().unwrap();
            sender.send((signal, caller)).unwrap();
            (signal == "caller-connecting").then(|| true.to_value())
        });
    }
    let recording = recording.play().unwrap();
    let connect = || {
        let config = identity.client(&[&TLS12, &TLS13]);
        Client::connect_tls(recording.address(), "live", config).unwrap()
    };
    let mut first = connect();
    first.must_publish("test").unwrap();
    let mut second = connect();
    assert_eq!(
        second.publish("test").unwrap().code,
        "NetStream.Publish.BadName"
    );
    first.close().unwrap();
    for expected in [
        "caller-connecting",
        "caller-added",
        "caller-rejected",
        "caller-removed",
    ] {
        let (signal, caller) = callers.recv_timeout(DEADLINE).unwrap();
        assert_eq!(signal, expected);
        assert!(caller.get::<bool>("tls").unwrap(), "{caller}");
    }
}

/// Who reads no answer must not cost more than without TLS, nor stay.
#[test]
fn a_peer_that_never_reads_is_closed() {
    const PING_REQUEST: [u8; 6] = [0, 6, 0, 0, 0, 1];
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &identity.properties()).unwrap();
    let log = Log::of(&recording);
    let tcp = peer::connect(recording.address()).unwrap();
    let mut stream = tls_over(identity.client(&[&TLS13]), tcp);
    stream.write_all(&peer::c0_c1()).unwrap();
    let mut answer = vec![0; 1 + 1536 + 1536];
    stream.read_exact(&mut answer).unwrap();
    stream.write_all(&answer[1..1 + 1536]).unwrap();
    let pings = peer::message(peer::USER_CONTROL, 0, &PING_REQUEST).repeat(1000);
    let began = Instant::now();
    while stream.write_all(&pings).is_ok() {
        assert!(began.elapsed() < PUBLISH_DEADLINE);
    }
    // The socket took the answers to as much as a stranger may say.
    log.wait_for("262144 bytes came and no publish was accepted");
}

#[test]
fn whoever_speaks_no_tls_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &identity.properties()).unwrap();
    let log = Log::of(&recording);
    let request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let alert = [21, 3, 3, 0, 2, 2].to_vec();
    let fake = [&[22, 3, 1, 2, 0, 1, 0, 1, 0xFC][..], &[0x55; 508]].concat();
    // A ClientHello that announces 64 KiB.
    let long = [&[22, 3, 1, 0x40, 0, 1, 0, 0xFF, 0xFF][..], &[0x55; 16380]].concat();
    let long = [&long[..], &[22, 3, 3, 0x40, 0], &[0x55; 16384]].concat();
    let cases = [
        (
            peer::c0_c1(),
            vec![],
            "speaks RTMP without TLS, but this port is RTMPS",
        ),
        (
            request,
            b"HTTP/1.1 400 ".to_vec(),
            "speaks HTTP without TLS",
        ),
        (b"\0\0\0".to_vec(), vec![], "does not speak TLS"),
        (fake, alert, "the TLS handshake failed"),
        (long, vec![], "a TLS handshake of more than 16384 bytes"),
    ];
    let count = cases.len() as u64;
    for (bytes, answer, why) in cases {
        let began = Instant::now();
        let mut stream = peer::connect(recording.address()).unwrap();
        stream.write_all(&bytes).unwrap();
        let heard = listen_to_the_end(&mut stream);
        assert!(heard.starts_with(&answer), "{why}: {heard:02x?}");
        drop(stream);
        let line = log.wait_for(why);
        assert_eq!(line.level, gst::DebugLevel::Warning);
        assert!(began.elapsed() < AT_ONCE, "{why}");
    }
    recording
        .wait_for_counter("handshake-failures", count)
        .unwrap();

    // ffmpeg says something as well.
    let plain = format!("rtmp://localhost:{}/live/test", recording.port());
    let publisher = Ffmpeg::LiveVideo.publish_to(&plain, directory.path());
    assert!(publisher.and_then(Publisher::finish).is_err());
    assert_eq!(recording.counter("session"), 0);
}

fn listen_to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut heard);
    heard
}

/// Silent from the start, in the middle of the ClientHello, after our flight, and after the whole handshake.
#[test]
fn half_a_tls_handshake_runs_out_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &identity.properties()).unwrap();
    let address: SocketAddr = recording.address();
    let began = Instant::now();
    let mut silent = vec![peer::connect(address).unwrap()];

    let config = identity.client(&[&TLS13]);
    let name = || "localhost".try_into().unwrap();
    let mut hello = Vec::new();
    let mut tls = ClientConnection::new(config.clone(), name()).unwrap();
    tls.write_tls(&mut hello).unwrap();
    for length in [1, hello.len() / 2, hello.len()] {
        let mut stream = peer::connect(address).unwrap();
        stream.write_all(&hello[..length]).unwrap();
        silent.push(stream);
    }
    let mut tls = tls_over(config, peer::connect(address).unwrap());
    tls.flush().unwrap();
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).unwrap();
    }
    silent.push(tls.sock);

    wait_until(AT_ONCE, || recording.counter("idle-connections") == 5).unwrap();
    for mut stream in silent {
        listen_to_the_end(&mut stream);
        assert!(began.elapsed() >= PUBLISH_DEADLINE, "closed early");
    }
    let late = began.elapsed() - PUBLISH_DEADLINE;
    assert!(late < Duration::from_secs(5), "closed {late:?} late");
    recording.wait_for_counter("handshake-failures", 5).unwrap();
}
