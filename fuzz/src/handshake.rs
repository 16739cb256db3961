use bytes::BytesMut;
use gstrtmp2server::rtmp::handshake::{HandshakeError, Progress, ServerHandshake};

use super::pieces::cuttings;

/// The largest packet that may lie half in the input.
const PACKET: usize = 1536;
/// S0, S1 and S2.
const ANSWER: usize = 1 + 2 * PACKET;

#[derive(Debug, PartialEq)]
struct Outcome {
    progress: Result<Progress, HandshakeError>,
    sent: BytesMut,
    /// Means nothing after an error: how much has come by then is up to the cut.
    left: Vec<u8>,
}

/// Any cutting of any bytes comes to the same, in bounded memory.
pub fn handshake(data: &[u8]) {
    let whole = run([data]);
    for pieces in cuttings(data) {
        assert_eq!(run(pieces), whole);
    }
}

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut handshake = ServerHandshake::new([7; 32]);
    let mut sent = BytesMut::new();
    let mut received = Vec::new();
    let mut progress = Ok(Progress::NeedMore);
    for piece in pieces {
        received.extend_from_slice(piece);
        let mut input = &received[..];
        progress = handshake.read(&mut input, &mut sent);
        let left = input.len();
        match progress {
            Ok(Progress::NeedMore) => assert!(left <= PACKET, "{left} bytes not consumed"),
            Ok(Progress::Done) => assert_eq!(sent.len(), ANSWER),
            Err(_) => received.clear(),
        }
        assert!(
            sent.is_empty() || sent.len() == ANSWER,
            "{} bytes",
            sent.len()
        );
        if progress.is_err() {
            break;
        }
        received.drain(..received.len() - left);
    }
    Outcome {
        progress,
        sent,
        left: received,
    }
}
