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
use support::flv::{self, Rules, Tag};
use support::launch::{free_port, gst_launch, wait_for_listener};
use support::log::Log;
use support::peer;
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::process::Process;
use support::publishers::{Ffmpeg, GstSink, Publisher, write_burst_file};

/// Longer than the element takes for what it does at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The files are looked at no more often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// From accept to publish.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);

fn assert_same(sent: &[Tag], captured: &[Tag]) {
    assert!(!sent.is_empty());
    let comparison = flv::compare(sent, captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

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

/// The server's own certificate, as this client was shown it.
fn seen_by(client: &Client) -> &[u8] {
    match client.stream() {
        Stream::Tls(tls) => &tls.conn.peer_certificates().unwrap()[0],
        Stream::Plain(_) => panic!("without TLS"),
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
             -c:v libx264 -preset ultrafast -f flv";
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

// Certificates.

/// The next look is due.
fn wait_for_the_next_look() {
    std::thread::sleep(BETWEEN_LOOKS);
}

fn publishes_now(recording: &Recording, identity: &Identity) -> Result<Client, String> {
    Client::connect_tls(recording.address(), "live", identity.client(&[&TLS13]))
}

#[test]
fn a_new_certificate_is_taken_and_nobody_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let first = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &first.properties()).unwrap();
    let log = Log::of(&recording);
    let mut publisher = publishes_now(&recording, &first).unwrap();
    assert_eq!(seen_by(&publisher), &first.own[..]);
    publisher.must_publish("test").unwrap();
    let sent = tags(200, 300);
    publisher.send_all(&sent[..100]).unwrap();

    let second = Identity::write_to(directory.path());
    wait_for_the_next_look();
    let client = publishes_now(&recording, &second).unwrap();
    assert_eq!(seen_by(&client), &second.own[..]);
    // Who trusts the former one alone sees the new one, and refuses it.
    assert!(publishes_now(&recording, &first).is_err());
    log.wait_for("the certificate was renewed");

    publisher.send_all(&sent[100..]).unwrap();
    publisher.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
    assert_eq!(log.find("the certificate was renewed").len(), 1);
}

/// Warnings on the bus so far.
fn warnings(recording: &Recording) -> Vec<String> {
    let bus = recording.pipeline().bus().unwrap();
    let messages = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning]));
    let texts = messages.map(|message| match message.view() {
        gst::MessageView::Warning(warning) => warning.error().to_string(),
        _ => unreachable!("filtered"),
    });
    texts.collect()
}

#[test]
fn a_new_certificate_that_is_broken_leaves_the_former_one() {
    let directory = tempfile::tempdir().unwrap();
    let first = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &first.properties()).unwrap();
    let log = Log::of(&recording);
    let kept = "the new certificate is not used, the former one stays";
    let breaks: [(&str, &dyn Fn()); 3] = [
        ("holds no private key: it is empty", &|| {
            fs::write(&first.private_key, "").unwrap();
        }),
        ("No such file or directory", &|| {
            fs::remove_file(&first.certificate).unwrap();
        }),
        ("is not that of the certificate", &|| {
            let elsewhere = tempfile::tempdir().unwrap();
            let other = Identity::write_to(elsewhere.path());
            fs::copy(other.private_key, &first.private_key).unwrap();
            fs::write(&first.certificate, first_pem(&first)).unwrap();
        }),
    ];
    for (n, (why, change)) in breaks.iter().enumerate() {
        change();
        // Each is tried once, however often somebody comes.
        for _ in 0..2 {
            wait_for_the_next_look();
            let client = publishes_now(&recording, &first).unwrap();
            assert_eq!(seen_by(&client), &first.own[..]);
        }
        log.wait_for(why);
        assert_eq!(log.find(kept).len(), n + 1);
        let warnings = warnings(&recording);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains(kept) && warnings[0].contains(why),
            "{warnings:?}"
        );
    }
    let last = Identity::write_to(directory.path());
    wait_for_the_next_look();
    let client = publishes_now(&recording, &last).unwrap();
    assert_eq!(seen_by(&client), &last.own[..]);
}

fn first_pem(identity: &Identity) -> String {
    let der = identity.own.to_vec();
    pem_of("CERTIFICATE", &der)
}

/// PEM of anything.
fn pem_of(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The error that the bus tells of when the element does not start.
fn refused(properties: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    match Recording::start(directory.path(), properties) {
        Ok(_) => panic!("{properties} is fine?"),
        Err(reason) => reason,
    }
}

#[test]
fn errors_say_which_file_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Identity::write_to(elsewhere.path());
    let made = |name: &str, content: &str| {
        let file = directory.path().join(name);
        fs::write(&file, content).unwrap();
        file.display().to_string()
    };
    let certificate = identity.certificate.display().to_string();
    let key = identity.private_key.display().to_string();
    let other_key = other.private_key.display().to_string();
    let empty = made("empty.pem", "");
    let prose = made("prose.pem", "not a certificate\n");
    let cut = made("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let no_der = made("no-der.pem", &pem_of("CERTIFICATE", b"no DER"));
    let no_key = made("no-key.pem", &pem_of("PRIVATE KEY", b"no DER"));
    let encrypted = made("encrypted.pem", &pem_of("ENCRYPTED PRIVATE KEY", b"secret"));
    let old_encrypted = made(
        "old.pem",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    );
    let missing = directory.path().join("missing.pem").display().to_string();
    let folder = directory.path().display().to_string();
    // Whoever may read everything, as root, can't be shown a file that may not be read.
    for (certificate, key, file, why) in [
        (&missing, &key, &missing, "can't read the certificate file"),
        (
            &certificate,
            &missing,
            &missing,
            "can't read the private key file",
        ),
        (&missing, &key, &missing, "No such file or directory"),
        (&folder, &key, &folder, "Is a directory"),
        (&empty, &key, &empty, "holds no certificate: it is empty"),
        (
            &prose,
            &key,
            &prose,
            "holds no certificate: it has no line BEGIN CERTIFICATE",
        ),
        (
            &key,
            &key,
            &key,
            "holds no certificate: it holds a private key instead",
        ),
        (&cut, &key, &cut, "is damaged"),
        (&no_der, &key, &no_der, "is damaged"),
        (
            &certificate,
            &empty,
            &empty,
            "holds no private key: it is empty",
        ),
        (
            &certificate,
            &certificate,
            &certificate,
            "it holds a certificate instead",
        ),
        (&certificate, &no_key, &no_key, "the private key file"),
        (&certificate, &encrypted, &encrypted, "is encrypted"),
        (&certificate, &old_encrypted, &old_encrypted, "is encrypted"),
        (
            &certificate,
            &other_key,
            &other_key,
            "not that of the certificate",
        ),
    ] {
        let properties = format!("certificate-file={certificate} private-key-file={key}");
        let reason = refused(&properties);
        let named = reason.contains(file.as_str());
        assert!(named && reason.contains(why), "{properties}: {reason}");
    }
    for (properties, why) in [
        (
            format!("certificate-file={certificate}"),
            "private-key-file is not: TLS needs both",
        ),
        (
            format!("private-key-file={key}"),
            "certificate-file is not: TLS needs both",
        ),
        (
            "location=rtmps://127.0.0.1:0/live".to_owned(),
            "needs a certificate",
        ),
        (
            "location=rtmpsserver://127.0.0.1:0".to_owned(),
            "needs a certificate",
        ),
    ] {
        let reason = refused(&properties);
        assert!(reason.contains(why), "{properties}: {reason}");
    }
}

#[test]
fn one_file_may_hold_both() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let both = [&identity.private_key, &identity.certificate].map(|f| fs::read(f).unwrap());
    let file = directory.path().join("both.pem");
    fs::write(&file, both.concat()).unwrap();
    let file = file.display();
    let properties = format!("certificate-file={file} private-key-file={file}");
    let recording = Recording::start(directory.path(), &properties).unwrap();
    assert!(publishes_now(&recording, &identity).is_ok());
}

#[test]
fn dates_that_are_not_now_are_a_warning() {
    let year = |year| rcgen::date_time_ymd(year, 1, 1);
    for (from, to, why) in [
        (2000, 2001, "the certificate expired"),
        (4000, 4001, "the certificate is not valid for another"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::with(directory.path(), |params| {
            (params.not_before, params.not_after) = (year(from), year(to));
        });
        let recording = Recording::start(directory.path(), &identity.properties()).unwrap();
        let warnings = warnings(&recording);
        assert!(
            warnings.iter().any(|text| text.contains(why)),
            "{warnings:?}"
        );
        // ffmpeg does not verify it.
        let publisher = Ffmpeg::LiveVideo.publish_to(&url(&recording), directory.path());
        let sent = publisher.and_then(Publisher::finish).unwrap();
        assert_same(&sent, &recording.finish().unwrap());
    }
}

/// Elements share the list of listeners, which must not be locked while an application is told of something.
#[test]
fn who_is_told_of_an_expired_certificate_may_stop_another_element() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::with(directory.path(), |params| {
        (params.not_before, params.not_after) = (
            rcgen::date_time_ymd(2000, 1, 1),
            rcgen::date_time_ymd(2001, 1, 1),
        );
    });
    // What drops it would wait without end if the test fails.
    let other = Recording::start(directory.path(), "").unwrap();
    let other = std::mem::ManuallyDrop::new(other);
    let properties = identity.properties();
    let expired = Recording::prepare(directory.path(), &properties, "").unwrap();
    let (sender, stopped) = std::sync::mpsc::channel();
    let (to_stop, address) = (other.pipeline().clone(), other.address());
    let bus = expired.pipeline().bus().unwrap();
    bus.set_sync_handler(move |_, message| {
        if message.type_() == gst::MessageType::Warning {
            to_stop.set_state(gst::State::Null).unwrap();
            sender.send(()).unwrap();
        }
        gst::BusSyncReply::Pass
    });
    let (started, start) = std::sync::mpsc::channel();
    std::thread::spawn(move || started.send(expired.play()));
    stopped.recv_timeout(DEADLINE).expect("stopped in time");
    let expired = start.recv_timeout(DEADLINE).expect("started in time");
    assert!(peer::connect(expired.unwrap().address()).is_ok());
    assert!(peer::connect(address).is_err());
    drop(std::mem::ManuallyDrop::into_inner(other));
}

/// Opening one waits for whoever writes to it.
#[cfg(unix)]
#[test]
fn a_fifo_is_no_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let fifo = directory.path().join("fifo").display().to_string();
    let path = std::ffi::CString::new(fifo.clone()).unwrap();
    // SAFETY: a string that ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let certificate = identity.certificate.display();
    let key = identity.private_key.display();
    for (properties, role) in [
        (
            format!("certificate-file={fifo} private-key-file={key}"),
            "certificate",
        ),
        (
            format!("certificate-file={certificate} private-key-file={fifo}"),
            "private key",
        ),
    ] {
        let (sender, reason) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(refused(&properties)));
        let reason = reason.recv_timeout(AT_ONCE).expect("an error at once");
        let expected = format!("can't read the {role} file '{fifo}': it is not a regular file");
        assert!(reason.contains(&expected), "{reason}");
    }
}

#[test]
fn a_certificate_decides_and_not_the_scheme_of_the_location() {
    for scheme in ["rtmp", "rtmps", "rtmpserver", "rtmpsserver"] {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::write_to(directory.path());
        let location = format!("{scheme}://localhost:0/live");
        let properties = format!("location={location} {}", identity.properties());
        let recording = Recording::start(directory.path(), &properties).unwrap();
        assert!(publishes_now(&recording, &identity).is_ok(), "{scheme}");
    }
}

// Who else comes.

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
