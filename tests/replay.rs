//! Every encoder that was ever recorded publishes again, over a socket and in awkward pieces: the element records it whole.

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::path::Path;

use support::flv::{self, Rules, Tag};
use support::peer;
use support::pipeline::Recording;
use support::wire;

/// Bytes of each write, over and over: within headers, at the edges of the handshake's packets, and large ones.
const PIECES: [usize; 9] = [1, 1536, 1, 1537, 3, 4096, 17, 999, 65536];

#[test]
fn encoders_that_were_recorded_are_recorded_again() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut replayed = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let sent = wire::tags(&bytes).unwrap();
        replay(&bytes, &sent).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        replayed += 1;
    }
    assert!(replayed > 20, "{replayed} recorded encoders");
}

/// All of it is there, and now and then the end is noticed as well, before the server has decided anything.
#[test]
fn who_is_gone_before_the_answer_is_recorded_all_the_same() {
    let bytes = include_bytes!("fixtures/client-ff5-speex.bin");
    let sent = wire::tags(bytes).unwrap();
    for round in 0..200 {
        replay_in(&[bytes.len()], bytes, &sent).unwrap_or_else(|e| panic!("round {round}: {e}"));
    }
}

fn replay(bytes: &[u8], sent: &[Tag]) -> Result<(), String> {
    replay_in(&PIECES, bytes, sent)
}

/// Sends what an encoder once sent, without waiting for any answer.
fn replay_in(pieces: &[usize], bytes: &[u8], sent: &[Tag]) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "timestamp-mode=passthrough")?;
    let mut stream = peer::connect(recording.address()).map_err(|e| e.to_string())?;
    let mut rest = bytes;
    for size in pieces.iter().cycle() {
        let (piece, left) = rest.split_at(rest.len().min(*size));
        stream.write_all(piece).map_err(|e| e.to_string())?;
        rest = left;
        if rest.is_empty() {
            break;
        }
    }
    let closed = stream.shutdown(Shutdown::Write);
    closed.map_err(|e| e.to_string())?;
    let comparison = flv::compare(sent, &recording.finish()?, Rules::default());
    match comparison.is_same() && !sent.is_empty() {
        true => Ok(()),
        false => Err(comparison.to_string()),
    }
}
