//! Certificates and keys in files: which are taken, when they are read again, and what is said of those that can't be used.

mod support;

use std::fs;
use std::time::Duration;

use gst::prelude::*;
use rustls::version::TLS13;
use support::certificates::Identity;
use support::client::{Client, Stream, tags};
use support::flv::assert_same;
use support::log::Log;
use support::peer;
use support::pipeline::{DEADLINE, Recording};
use support::publishers::{Ffmpeg, Publisher};

/// Longer than the element takes for what it does at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The files are looked at no more often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The server's own certificate, as this client was shown it.
fn seen_by(client: &Client) -> &[u8] {
    match client.stream() {
        Stream::Tls(tls) => &tls.conn.peer_certificates().unwrap()[0],
        Stream::Plain(_) => panic!("without TLS"),
    }
}

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
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_same(&sent, &captured);
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
        let reason = Recording::refused(&properties);
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
        let reason = Recording::refused(&properties);
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
        // ffmpeg is told not to verify it.
        let url = format!("rtmps://localhost:{}/live/test", recording.port());
        let publisher = Ffmpeg::LiveVideo.publish_to(&url, directory.path());
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
        std::thread::spawn(move || sender.send(Recording::refused(&properties)));
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
