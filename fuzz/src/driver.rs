//! A session driven as its documentation says, with an eye on every bound.

use gstrtmp2server::rtmp::{
    Counters, Error, Event, Limits, MediaKind, Session, SessionConfig, Step, UnpublishReason,
};

use super::meter::Meter;
use super::pieces::cuttings;

const HEADROOM: usize = 11;
const TAILROOM: usize = 4;
/// What a session may leave in the input: a handshake packet but for a byte, or
/// half a chunk header.
const HALF_A_PACKET: usize = 1536;
const HALF_A_HEADER: usize = 17;
/// S0, S1 and S2.
const HANDSHAKE: usize = 1 + 2 * 1536;
/// Longer than any single answer: the texts in it are ours.
const ANSWER: usize = 1024;

/// What a session reported.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Connected { app: String },
    Publish { app: String, key: String },
    Media(MediaKind, u32, Vec<u8>),
    Unpublish(UnpublishReason),
}

/// All that must not depend on how the input was cut.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub seen: Vec<Seen>,
    pub error: Option<Error>,
    /// Acknowledgements come once per read: with one among them, this is empty.
    sent: Vec<u8>,
    /// Means nothing after an error, nor do the figures.
    left: Vec<u8>,
    counters: Option<[u64; 4]>,
}

/// Runs a session over `input`, behind a prologue that comes in one piece, in one
/// piece and in many; all come to the same.
pub fn run_in_pieces(limits: &Limits, prologue: &[u8], input: &[u8]) -> Outcome {
    let mut whole = run(limits, [prologue, input]);
    for pieces in cuttings(input) {
        let pieces = [prologue].into_iter().chain(pieces);
        let mut pieces = run(limits, pieces);
        if pieces.sent.is_empty() || whole.sent.is_empty() {
            pieces.sent.clear();
            whole.sent.clear();
        }
        assert_eq!(pieces, whole);
    }
    weigh(limits, &[prologue, input].concat());
    whole
}

fn session(limits: &Limits) -> Session {
    let config = SessionConfig {
        limits: limits.clone(),
        headroom: HEADROOM,
        tailroom: TAILROOM,
    };
    Session::new(config, [7; 32])
}

/// Keys of an odd length are turned away, so that this is seen as well.
fn decide(session: &mut Session, key: &str) {
    if key.len().is_multiple_of(2) {
        session.accept_publish();
    } else {
        session.reject_publish("NetStream.Publish.Denied", "an odd key");
    }
}

fn run<'a>(limits: &Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut session = session(limits);
    let mut outcome = Outcome {
        seen: Vec::new(),
        error: None,
        sent: Vec::new(),
        left: Vec::new(),
        counters: None,
    };
    let mut is_stranger = true;
    for piece in pieces {
        outcome.left.extend_from_slice(piece);
        let mut input = &outcome.left[..];
        loop {
            let polled = session.poll(&mut input);
            check_bounds(&session, limits, is_stranger);
            match polled {
                Ok(Step::Event(event)) => {
                    let seen = seen(event);
                    match &seen {
                        Seen::Connected { .. } => session.accept_connect(),
                        Seen::Publish { key, .. } => decide(&mut session, key),
                        _ => {}
                    }
                    is_stranger &= !session.is_publishing();
                    outcome.seen.push(seen);
                }
                Ok(Step::NeedMore) if session.output().is_empty() => break,
                Ok(Step::NeedMore) => outcome.sent.extend(session.output_mut().split()),
                Err(error) => {
                    outcome.sent.extend(session.output_mut().split());
                    outcome.error = Some(error);
                    break;
                }
            }
        }
        if outcome.error.is_some() {
            outcome.left.clear();
            break;
        }
        let most = match session.is_past_handshake() {
            true => HALF_A_HEADER,
            false => HALF_A_PACKET,
        };
        let left = input.len();
        assert!(left <= most, "{left} bytes not consumed");
        let consumed = outcome.left.len() - left;
        outcome.left.drain(..consumed);
    }
    let counters = session.counters();
    if counters.in_bytes_acked > 0 {
        outcome.sent.clear();
    }
    if outcome.error.is_none() {
        outcome.counters = Some(figures(&counters));
    }
    outcome
}

fn figures(counters: &Counters) -> [u64; 4] {
    [
        counters.in_bytes_total,
        counters.ignored_messages,
        counters.stray_media,
        counters.restarted_messages,
    ]
}

/// A stranger is who has never been let in to publish.
fn check_bounds(session: &Session, limits: &Limits, is_stranger: bool) {
    let most = match session.is_publishing() {
        true => limits.max_unfinished.max(limits.max_message_size),
        false => limits.max_stranger_bytes,
    };
    assert!(
        session.unfinished_bytes() <= most,
        "{}",
        session.unfinished_bytes()
    );
    assert!(session.chunk_streams() <= limits.max_chunk_streams);
    let answers = match is_stranger {
        true => limits.max_output.min(limits.max_stranger_bytes),
        false => limits.max_output,
    };
    let output = session.output().len();
    assert!(output <= answers + HANDSHAKE + ANSWER, "{output}");
    let total = session.counters().in_bytes_total;
    assert!(
        !is_stranger || total <= limits.max_stranger_total as u64,
        "{total}"
    );
}

/// Runs the session once more, drops what comes out, and asks the allocator what
/// is held meanwhile.
fn weigh(limits: &Limits, mut input: &[u8]) {
    /// A vector grows to twice what it has, and there are two while it moves.
    const GROWTH: usize = 2;
    /// The first room of a message, and what is known of its chunk stream.
    const CHUNK_STREAM: usize = 512;
    let meter = Meter::new();
    let mut session = session(limits);
    // One message may have room for what is at hand already.
    let at_hand = GROWTH * input.len();
    loop {
        let unfinished = session.unfinished_bytes();
        let polled = session.poll(&mut input);
        let handed_out = match &polled {
            Ok(Step::Event(Event::Media(media))) => media.body.len(),
            _ => 0,
        };
        let most = GROWTH * unfinished.max(session.unfinished_bytes())
            + handed_out
            + at_hand
            + CHUNK_STREAM * limits.max_chunk_streams
            + GROWTH * (limits.max_output + HANDSHAKE + ANSWER)
            // Application, server and key of a connect and a publish.
            + 8 * limits.max_stranger_bytes;
        assert!(meter.live() <= most as isize, "{} of {most}", meter.live());
        match polled {
            Ok(Step::Event(Event::Connect(_))) => session.accept_connect(),
            Ok(Step::Event(Event::Publish(request))) => decide(&mut session, &request.stream_key),
            Ok(Step::Event(_)) => {}
            Ok(Step::NeedMore) if session.output().is_empty() => break,
            Ok(Step::NeedMore) => drop(session.output_mut().split()),
            Err(_) => break,
        }
    }
    drop(session);
    assert_eq!(meter.live(), 0, "a leak");
}

/// Takes a body apart as the framing layer does.
fn seen(event: Event) -> Seen {
    match event {
        Event::Connect(connect) => Seen::Connected {
            app: connect.app().to_owned(),
        },
        Event::Publish(request) => Seen::Publish {
            app: request.app().to_owned(),
            key: request.stream_key,
        },
        Event::Media(media) => {
            let length = media.body.len();
            let framed = media.body.into_vec();
            assert_eq!(framed.len(), HEADROOM + length);
            // A message of no bytes has none in the vector either.
            assert!(length == 0 || framed.capacity() >= HEADROOM + length + TAILROOM);
            Seen::Media(media.kind, media.timestamp, framed[HEADROOM..].to_vec())
        }
        Event::Unpublish(reason) => Seen::Unpublish(reason),
    }
}
