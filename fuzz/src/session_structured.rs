use arbitrary::{Arbitrary, Unstructured};
use gstrtmp2server::rtmp::Limits;

use super::driver::run_in_pieces;
use super::encoder::{Encoder, Step, handshake};

/// Steps of an encoder that uses all the freedom there is. All that it sends whole
/// comes out, whatever else happens on the connection.
pub fn session_structured(data: &[u8]) {
    let mut encoder = Encoder::default();
    // Mostly as every encoder begins; else what comes of it if it does not.
    if data.first().is_some_and(|&first| first != 0) {
        encoder.introduce();
    }
    let mut steps = Unstructured::new(data.get(1..).unwrap_or_default());
    while !steps.is_empty() {
        let Ok(step) = Step::arbitrary(&mut steps) else {
            break;
        };
        encoder.step(step);
    }
    if !encoder.nonsense {
        encoder.finish();
    }
    let outcome = run_in_pieces(&Limits::default(), &handshake(), &encoder.wire);
    if encoder.nonsense {
        assert!(outcome.seen.starts_with(&encoder.expected));
    } else {
        assert_eq!(outcome.error, None);
        assert_eq!(outcome.seen, encoder.expected);
    }
}
