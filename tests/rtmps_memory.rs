//! What strangers cost a port with TLS. Alone in its process: memory is that of all of it.

mod core_support;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use core_support::strangers::strangers;
use rustls::version::TLS13;
use rustls::{ClientConnection, StreamOwned};
use support::certificates::Identity;
use support::own_process::resident_bytes;
use support::peer;
use support::pipeline::{Recording, wait_until};

const STRANGERS: usize = 200;
/// From accept to publish.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);

/// The element has taken all that was sent.
fn wait_until_read(streams: &[TcpStream]) {
    let is_read = |stream: &TcpStream| {
        use std::os::fd::AsRawFd;
        let mut unsent: libc::c_int = 0;
        // SAFETY: TIOCOUTQ writes one int: what the peer has not acknowledged.
        let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut unsent) };
        assert_eq!(result, 0);
        unsent == 0
    };
    wait_until(PUBLISH_DEADLINE, || streams.iter().all(is_read)).unwrap();
    // Acknowledged is in the element's socket, from where it is read at once.
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn a_stranger_costs_a_few_tens_of_kib() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let properties = format!("max-connections=1000 {}", identity.properties());
    let recording = Recording::start(directory.path(), &properties).unwrap();
    let config = identity.client(&[&TLS13]);
    let secure_and_say = |rtmp: &[u8]| {
        let tcp = peer::connect(recording.address()).unwrap();
        let name = "localhost".try_into().unwrap();
        let mut tls = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp);
        while tls.conn.is_handshaking() || tls.conn.wants_write() {
            tls.conn.complete_io(&mut tls.sock).unwrap();
        }
        tls.write_all(rtmp).unwrap();
        // What it costs here goes with it.
        tls.sock
    };
    let secure = || secure_and_say(b"");
    // Once, for what stays.
    drop(secure());
    wait_until(PUBLISH_DEADLINE, || {
        recording.counter("idle-connections") == 0
    })
    .unwrap();

    // A ClientHello of 64 KiB, as much of it as is not refused.
    let hello = [
        &[22, 3, 1, 0x3F, 0xF0, 1, 0, 0xFF, 0xFF][..],
        &[0x55; 16000],
    ]
    .concat();
    // A record of application data but for its last byte.
    let record = [&[23, 3, 3, 0x40, 0x11][..], &[0x55; 0x4010]].concat();
    let (began, mut all) = (Instant::now(), Vec::new());
    type Begin<'a> = &'a dyn Fn() -> TcpStream;
    let (_, rtmp) = strangers().pop().expect("all of it");
    let cases: [(&str, Begin, &[u8]); 4] = [
        (
            "silent",
            &|| peer::connect(recording.address()).unwrap(),
            b"",
        ),
        (
            "in the ClientHello",
            &|| peer::connect(recording.address()).unwrap(),
            &hello,
        ),
        ("in a record", &secure, &record),
        (
            "all bounds, and in a record",
            &|| secure_and_say(&rtmp),
            &record,
        ),
    ];
    for (what, begin, bytes) in cases {
        let before = resident_bytes();
        let streams: Vec<_> = (0..STRANGERS).map(|_| begin()).collect();
        for mut stream in &streams {
            stream.write_all(bytes).unwrap();
        }
        wait_until_read(&streams);
        let each = resident_bytes().saturating_sub(before) / STRANGERS;
        println!("{what}: {} KiB each", each >> 10);
        assert!(each < 72 << 10, "{what}: {each} bytes each");
        // They stay, or the next ones would have what these have freed.
        all.extend(streams);
    }
    let open = recording.counter("idle-connections");
    assert_eq!(open, all.len() as u64);
    assert!(began.elapsed() < PUBLISH_DEADLINE, "the deadline did it");
}
