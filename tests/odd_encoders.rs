//! What cameras, phones and old software do and no encoder at hand does on demand: each publishes over a socket to the
//! element, and all of it is in the file. `docs/encoders.md` says who does what, and which test is for it.

#[path = "odd_encoders/chunks.rs"]
mod chunks;
#[path = "odd_encoders/commands.rs"]
mod commands;
mod core_support;
#[path = "odd_encoders/media.rs"]
mod media;
mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use core_support::wire::until_published;
use core_support::{Rng, cut};
use support::flv::{self, Kind, Rules, Tag};
use support::peer;
use support::pipeline::Recording;

const KEY_FRAME: &[u8] = b"\x17\x01\0\0\0a picture";
const SOUND: &[u8] = b"\xAF\x01a sound";

fn tag(kind: Kind, timestamp: u32, body: &[u8]) -> Tag {
    Tag {
        kind,
        timestamp,
        body: body.to_vec(),
    }
}

fn audio(timestamp: u32, body: &[u8]) -> Tag {
    tag(Kind::Audio, timestamp, body)
}

fn video(timestamp: u32, body: &[u8]) -> Tag {
    tag(Kind::Video, timestamp, body)
}

fn script(timestamp: u32, body: &[u8]) -> Tag {
    tag(Kind::Script, timestamp, body)
}

/// Sends it in pieces of any size and waits for nothing, as a recorded encoder does.
fn send(recording: &Recording, bytes: &[u8]) -> TcpStream {
    let mut stream = peer::connect(recording.address()).unwrap();
    for piece in cut(bytes, &mut Rng(bytes.len() as u64)) {
        stream.write_all(piece).unwrap();
    }
    // Unread answers would make a reset of a close.
    stream.shutdown(Shutdown::Write).unwrap();
    stream
}

/// What the element records of a connection that sends `parts`.
fn recorded(properties: &str, parts: &[Vec<u8>]) -> Vec<Tag> {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), properties).unwrap();
    let _stream = send(&recording, &parts.concat());
    recording.finish().unwrap()
}

/// A publisher that sends `parts` behind what every encoder begins with.
#[track_caller]
fn insist_on(expected: &[Tag], parts: &[Vec<u8>]) {
    let all = [&[until_published()], parts].concat();
    let captured = recorded("timestamp-mode=passthrough", &all);
    let comparison = flv::compare(expected, &captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

/// The table names tests that there are.
#[test]
fn every_test_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/encoders.md")).unwrap();
    let mut named = 0;
    for name in table.split('`').filter(|name| name.contains("::")) {
        let (file, test) = name.split_once("::").unwrap();
        let has_test = |path: &Path| {
            let source = std::fs::read_to_string(path).unwrap();
            source.contains(&format!("fn {test}("))
        };
        // Or in one of its modules.
        let modules = std::fs::read_dir(root.join("tests").join(file));
        let modules = modules
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        let is_there = has_test(&root.join(format!("tests/{file}.rs")))
            || modules.into_iter().any(|path| has_test(&path));
        assert!(is_there, "{name}");
        named += 1;
    }
    assert!(named > 60, "{named} tests in the table");
}
