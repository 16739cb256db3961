//! `proxy-protocol=required`: behind a real HAProxy with a real encoder, and headers made by hand.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gst::prelude::*;
#[cfg(feature = "tls")]
use support::certificates::Identity;
use support::client::{Client, Stream, tags};
use support::flv::assert_same;
use support::haproxy::Haproxy;
use support::log::Log;
use support::peer;
use support::pipeline::{DEADLINE, Recording, wait_until};
use support::publishers::{Ffmpeg, Publisher};

/// Longer than the element takes for what it does at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// From accept to publish.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// 192.0.2.7:12345 to 10.0.0.1:1935.
const INET: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 7, 0x8F];
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1935\r\n";

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, body].concat()
}

fn text(structure: &gst::StructureRef, field: &str) -> String {
    structure.get(field).expect(field)
}

/// Where signals, messages and stats say that somebody is.
struct Addresses {
    signals: mpsc::Receiver<gst::Structure>,
}

impl Addresses {
    fn of(source: &gst::Element) -> Addresses {
        let (sender, signals) = mpsc::channel();
        for signal in ["caller-connecting", "caller-added", "caller-removed"] {
            let sender = sender.clone();
            source.connect(signal, false, move |values| {
                sender.send(values[1].get().unwrap()).ok();
                (signal == "caller-connecting").then(|| true.to_value())
            });
        }
        Addresses { signals }
    }

    /// All of one publisher's, which must be the same.
    fn the_only_one(&self, recording: &Recording) -> SocketAddr {
        let stats: gst::Structure = recording.source().property("stats");
        let mut addresses = vec![text(&stats, "remote-address")];
        for _ in 0..3 {
            let caller = self.signals.recv_timeout(DEADLINE).unwrap();
            addresses.push(text(&caller, "address"));
        }
        let bus = recording.pipeline().bus().unwrap();
        let deadline = gst::ClockTime::try_from(DEADLINE).unwrap();
        let mut last = String::new();
        while last != "rtmp2server-publisher-disconnected" {
            let message = bus
                .timed_pop_filtered(deadline, &[gst::MessageType::Element])
                .expect("it left");
            let structure = message.structure().unwrap();
            last = structure.name().to_string();
            if structure.has_field("address") {
                addresses.push(text(structure, "address"));
            }
        }
        assert!(addresses.len() >= 6, "{addresses:?}");
        addresses.dedup();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        addresses[0].parse().unwrap()
    }
}

/// Passes what ffmpeg sends on to HAProxy from another address than everybody else has.
fn relay_from(source: IpAddr, target: SocketAddr) -> (u16, std::thread::JoinHandle<SocketAddr>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let relay = std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&target.into()).unwrap();
        let server: TcpStream = socket.into();
        let from = server.local_addr().unwrap();
        let copy = |mut a: TcpStream, mut b: TcpStream| {
            move || {
                let _ = std::io::copy(&mut a, &mut b);
                let _ = b.shutdown(std::net::Shutdown::Write);
            }
        };
        let back = copy(server.try_clone().unwrap(), client.try_clone().unwrap());
        let back = std::thread::spawn(back);
        copy(client, server)();
        back.join().unwrap();
        from
    });
    (port, relay)
}

/// ffmpeg at 127.0.0.9, and HAProxy, which looks every 50 ms whether the element is there.
fn behind_haproxy(options: &str) {
    let directory = tempfile::tempdir().unwrap();
    let recording =
        Recording::prepare(directory.path(), "proxy-protocol=required loop=true", "").unwrap();
    let addresses = Addresses::of(recording.source());
    let recording = recording.play().unwrap();
    let log = Log::of(&recording);
    let haproxy = Haproxy::start(directory.path(), recording.address(), options);
    // Some health checks before it, and some beside it.
    recording.wait_for_counter("connections", 5).unwrap();

    let (port, relay) = relay_from("127.0.0.9".parse().unwrap(), haproxy.address);
    let publisher = Ffmpeg::LiveVideo.publish(port, directory.path());
    let sent = publisher.and_then(Publisher::finish).unwrap();
    let client = relay.join().unwrap();
    wait_until(DEADLINE, || !recording.is_publishing()).unwrap();
    recording
        .wait_for_counter("pushed", sent.len() as u64 - 1)
        .unwrap();
    let checks = recording.counter("connections");
    recording
        .wait_for_counter("connections", checks + 5)
        .unwrap();
    assert_eq!(addresses.the_only_one(&recording), client);
    recording.send_eos();
    recording.wait_for_eos(AT_ONCE).unwrap();
    log.wait_for(&format!("{client}: publishes to application"));
    let warnings: Vec<_> = log
        .find("")
        .into_iter()
        .filter(|line| line.level <= gst::DebugLevel::Info && line.text.contains("127.0.0.1:"))
        .collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    for (counter, count) in [
        ("session", 1),
        ("handshake-failures", 0),
        ("rejected", 0),
        // With loop, the end of sequence is not for the file.
        ("withheld-end-of-sequence", 1),
    ] {
        assert_eq!(recording.counter(counter), count, "{counter}");
    }
    assert_same(&sent[..sent.len() - 1], &recording.read().unwrap());
}

#[test]
fn haproxy_sends_version_1() {
    behind_haproxy("send-proxy check");
}

#[test]
fn haproxy_sends_version_2() {
    behind_haproxy("send-proxy-v2 check");
}

/// TLS ends at the element: the header comes before it, and so do the checks.
#[cfg(feature = "tls")]
#[test]
fn the_header_comes_before_tls() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let properties = format!("proxy-protocol=required {}", identity.properties());
    let recording = Recording::start(directory.path(), &properties).unwrap();
    let options = "send-proxy-v2 check check-ssl verify none";
    let haproxy = Haproxy::start(directory.path(), recording.address(), options);
    recording.wait_for_counter("connections", 5).unwrap();
    let url = format!("rtmps://localhost:{}/live/test", haproxy.address.port());
    let publisher = Ffmpeg::AudioAndVideo.publish_to(&url, directory.path());
    let sent = publisher.and_then(Publisher::finish).unwrap();
    assert_eq!(recording.counter("handshake-failures"), 0);
    assert_same(&sent, &recording.finish().unwrap());
}

/// Publishes behind a header, in pieces of which the first two are cut at `cut`.
fn publish_behind(recording: &Recording, header: &[u8], cut: usize) -> Client {
    let mut tcp = peer::connect(recording.address()).unwrap();
    tcp.set_nodelay(true).unwrap();
    let (first, second) = header.split_at(cut);
    tcp.write_all(first).unwrap();
    if cut > 0 {
        // Of its own: it has been read before the rest comes, or the next cut is as good.
        std::thread::sleep(Duration::from_millis(2));
    }
    tcp.write_all(second).unwrap();
    let mut client = Client::over(Stream::Plain(tcp), recording.address(), "live").unwrap();
    client.must_publish("test").unwrap();
    client
}

#[test]
fn headers_are_cut_at_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "proxy-protocol=required loop=true timestamp-mode=passthrough";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let (own, mut sent) = (tags(4, 300), Vec::new());
    for header in [V1.to_vec(), v2(0x21, 0x11, INET)] {
        for cut in 0..=header.len() {
            let mut client = publish_behind(&recording, &header, cut);
            let stats: gst::Structure = recording.source().property("stats");
            assert_eq!(text(&stats, "remote-address"), "192.0.2.7:12345");
            client.send_all(&own).unwrap();
            client.close().unwrap();
            sent.extend_from_slice(&own);
        }
    }
    recording.send_eos();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

#[test]
fn addresses_of_every_kind() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "proxy-protocol=required loop=true";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let mapped = [
        &[0; 10][..],
        &[0xFF, 0xFF, 192, 0, 2, 7],
        &[0; 16],
        &[0x30, 0x39, 7, 0x8F],
    ];
    let tlv = [INET, &[0xEA, 0, 2, 1, 2]].concat();
    for (header, address) in [
        (v2(0x21, 0x11, &tlv), "192.0.2.7:12345"),
        (v2(0x21, 0x21, &mapped.concat()), "192.0.2.7:12345"),
        (
            b"PROXY TCP6 2001:db8::9 ::1 5 6\r\n".to_vec(),
            "[2001:db8::9]:5",
        ),
        // Nothing is known of the client: the balancer's.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1:"),
        (v2(0x21, 0x00, b""), "127.0.0.1:"),
        (v2(0x20, 0x00, b""), "127.0.0.1:"),
    ] {
        let client = publish_behind(&recording, &header, 0);
        let stats: gst::Structure = recording.source().property("stats");
        let told = text(&stats, "remote-address");
        assert!(told.starts_with(address), "{told}: {header:02x?}");
        client.close().unwrap();
        wait_until(DEADLINE, || !recording.is_publishing()).unwrap();
    }
}

/// Of the header, and of what it is in front of.
#[test]
fn what_comes_in_the_same_segment_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "proxy-protocol=required").unwrap();
    for header in [V1.to_vec(), v2(0x21, 0x11, INET)] {
        let mut tcp = peer::connect(recording.address()).unwrap();
        tcp.write_all(&[&header[..], &peer::c0_c1()].concat())
            .unwrap();
        tcp.read_exact(&mut [0; 1 + 1536 + 1536]).unwrap();
    }
    #[cfg(feature = "tls")]
    {
        let identity = Identity::write_to(directory.path());
        let properties = format!("proxy-protocol=required {}", identity.properties());
        let recording = Recording::start(directory.path(), &properties).unwrap();
        let config = identity.client(rustls::ALL_VERSIONS);
        let name = "localhost".try_into().unwrap();
        let mut tls = rustls::ClientConnection::new(config, name).unwrap();
        let mut first = V1.to_vec();
        tls.write_tls(&mut first).unwrap();
        let mut tcp = peer::connect(recording.address()).unwrap();
        tcp.write_all(&first).unwrap();
        let tls = Box::new(rustls::StreamOwned::new(tls, tcp));
        let client = Client::over(Stream::Tls(tls), recording.address(), "live");
        client.unwrap().must_publish("test").unwrap();
    }
}

/// Also of who is closed for others, of which only the listener knows.
#[test]
fn who_makes_way_is_named_by_its_own_address() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "proxy-protocol=required max-connections=1";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let log = Log::of(&recording);
    let mut first = peer::connect(recording.address()).unwrap();
    first.write_all(V1).unwrap();
    log.wait_for("192.0.2.7:12345: connected");
    let _second = peer::connect(recording.address()).unwrap();
    log.wait_for("192.0.2.7:12345: connection closed: it made way");
}

/// Sends it, and waits for the end.
fn say(recording: &Recording, bytes: &[u8]) -> TcpStream {
    let mut stream = peer::connect(recording.address()).unwrap();
    stream.write_all(bytes).unwrap();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut Vec::new());
    stream
}

#[test]
fn anything_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "proxy-protocol=required").unwrap();
    let log = Log::of(&recording);
    let began = Instant::now();
    let cases: [(&[u8], &str); 8] = [
        (&peer::c0_c1(), "speaks RTMP without a PROXY header"),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "speaks HTTP without a PROXY header",
        ),
        (&[22, 3, 1, 2, 0, 1], "speaks TLS without a PROXY header"),
        (b"\0\0", "sent no PROXY header"),
        (
            b"PROXY TCP4 here there 1 2\r\n",
            "a PROXY header that can't be read",
        ),
        (&v2(0x21, 0x12, INET), "a PROXY header for datagrams"),
        (
            &v2(0x21, 0x11, &[0; 5000])[..16],
            "a PROXY header of 5016 bytes",
        ),
        (&v2(0x31, 0x11, INET), "unsupported protocol version"),
    ];
    for (bytes, why) in cases {
        drop(say(&recording, bytes));
        assert_eq!(log.wait_for(why).level, gst::DebugLevel::Warning);
    }
    let mut half = peer::connect(recording.address()).unwrap();
    half.write_all(&V1[..20]).unwrap();
    drop(half);
    log.wait_for("half a PROXY header");
    assert!(began.elapsed() < AT_ONCE);
    recording.wait_for_counter("handshake-failures", 9).unwrap();
    assert_eq!(recording.counter("session"), 0);

    // ffmpeg, which speaks for itself alone, does not get in.
    let publisher = Ffmpeg::LiveVideo.publish(recording.port(), directory.path());
    assert!(publisher.and_then(Publisher::finish).is_err());
}

#[test]
fn a_header_that_does_not_come_runs_out_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "proxy-protocol=required").unwrap();
    let log = Log::of(&recording);
    let began = Instant::now();
    let mut idlers = Vec::new();
    for start in [&b""[..], &V1[..10], V1] {
        let mut stream = peer::connect(recording.address()).unwrap();
        stream.write_all(start).unwrap();
        idlers.push(stream);
    }
    for mut stream in idlers {
        let _ = stream.read_to_end(&mut Vec::new());
        let took = began.elapsed();
        assert!(took >= PUBLISH_DEADLINE, "closed early, after {took:?}");
        assert!(took < PUBLISH_DEADLINE + AT_ONCE, "closed after {took:?}");
    }
    log.wait_for("no PROXY header within 10 s");
    // The deadline is one for all: the header does not begin it anew.
    log.wait_for("192.0.2.7:12345: connection closed: nothing was published within 10 s");
    recording.wait_for_counter("handshake-failures", 3).unwrap();
}

/// The usual mistake, the other way around.
#[test]
fn a_header_that_nobody_expects_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let plain = Recording::start(directory.path(), "").unwrap();
    let log = Log::of(&plain);
    for header in [V1.to_vec(), v2(0x21, 0x11, INET)] {
        let before = log.find("which this port does not expect").len();
        drop(say(&plain, &[&header[..], &peer::c0_c1()].concat()));
        wait_until(DEADLINE, || {
            log.find("which this port does not expect").len() > before
        })
        .unwrap();
    }
    #[cfg(feature = "tls")]
    {
        let properties = Identity::write_to(directory.path()).properties();
        let secure = Recording::start(directory.path(), &properties).unwrap();
        let log = Log::of(&secure);
        drop(say(&secure, V1));
        log.wait_for("which this port does not expect");
    }
}

/// A peer that looks whether somebody is there, in every way that there is, is neither a failure nor worth a warning.
#[test]
fn health_checks_are_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "proxy-protocol=required").unwrap();
    let log = Log::of(&recording);
    let local = v2(0x20, 0, b"");
    let checks: [&[u8]; 4] = [b"", V1, &local, &[&local[..], &peer::c0_c1()].concat()];
    for (n, bytes) in checks.iter().enumerate() {
        for reset in [false, true] {
            let mut stream = peer::connect(recording.address()).unwrap();
            stream.write_all(bytes).unwrap();
            if reset {
                let socket = socket2::SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(stream);
            let count = 2 * n as u64 + u64::from(reset) + 1;
            wait_until(DEADLINE, || {
                log.find("connection closed").len() as u64 == count
            })
            .unwrap();
        }
    }
    let loud: Vec<_> = log
        .find("")
        .into_iter()
        .filter(|line| line.level <= gst::DebugLevel::Info)
        .collect();
    assert!(loud.is_empty(), "{loud:?}");
    assert_eq!(recording.counter("connections"), 8);
    assert_eq!(recording.counter("handshake-failures"), 0);
    // What says something behind the header, and is no RTMP, is a failure as anywhere.
    drop(say(&recording, &[V1, b"GET / HTTP/1.1\r\n"].concat()));
    recording.wait_for_counter("handshake-failures", 1).unwrap();
}
