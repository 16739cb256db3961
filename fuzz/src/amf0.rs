use bytes::BytesMut;
use gstrtmp2server::amf0::{self, Decoder, Error, Limits, MAX_DEPTH, Value};

use super::meter::Meter;

/// What is decoded stays within the limits, and encoded again it decodes to the
/// same.
pub fn amf0(data: &[u8]) {
    bounded(data, Limits::default());
    bounded(
        data,
        Limits {
            depth: 3,
            values: 20,
        },
    );
    same_again(data);
    if let Some((text, length)) = amf0::skip_string(data) {
        let mut decoder = Decoder::new(data);
        let first = decoder.next_value().expect("a whole string").expect("one");
        assert_eq!(first.as_str(), Some(&*String::from_utf8_lossy(text)));
        assert_eq!(decoder.position(), length);
    }
}

fn bounded(data: &[u8], limits: Limits) {
    let meter = Meter::new();
    let mut decoder = Decoder::with_limits(data, limits);
    let mut values = Vec::new();
    let failed = loop {
        let before = decoder.position();
        match decoder.next_value() {
            Ok(Some(value)) => {
                assert!(before < decoder.position());
                values.push(value);
            }
            Ok(None) => {
                assert_eq!(decoder.position(), data.len());
                break None;
            }
            Err(error) => {
                assert_eq!(decoder.position(), before);
                assert_eq!(decoder.next_value(), Err(error));
                break Some(error);
            }
        }
    };
    // A value and its name take below 64 bytes, and lists double as they grow. A
    // byte that is not UTF-8 becomes three, in a string that doubles too. The text
    // that AMF3 repeats is bounded by itself.
    const REPEATED: usize = 256 << 10;
    let most = 8 * 64 * limits.values + 8 * data.len() + 8 * REPEATED + 4096;
    assert!(
        meter.peak() <= most as isize,
        "{} for {}",
        meter.peak(),
        data.len()
    );
    assert!(values.iter().map(nodes).sum::<usize>() <= limits.values);
    assert!(
        values
            .iter()
            .all(|value| depth(value) <= limits.depth.min(MAX_DEPTH))
    );
    if failed == Some(Error::TooManyValues) {
        assert!(data.len() >= limits.values, "each is at least a byte");
    }
}

fn same_again(data: &[u8]) {
    let values: Vec<_> = Decoder::new(data).map_while(Result::ok).collect();
    let mut once = BytesMut::new();
    amf0::encode_all(&values, &mut once);
    let mut twice = BytesMut::new();
    let again = amf0::decode_all(&once).expect("our own encoding");
    amf0::encode_all(&again, &mut twice);
    // Values may be NaN, which equals nothing; their bytes do.
    assert_eq!(once, twice);
}

fn children(value: &Value) -> Vec<&Value> {
    match (value, value.as_object()) {
        (Value::StrictArray(values), _) => values.iter().collect(),
        (_, Some(object)) => object.iter().map(|(_, value)| value).collect(),
        (_, None) => Vec::new(),
    }
}

fn nodes(value: &Value) -> usize {
    1 + children(value).into_iter().map(nodes).sum::<usize>()
}

fn depth(value: &Value) -> usize {
    let holds_others = matches!(value, Value::StrictArray(_)) || value.as_object().is_some();
    let deepest = children(value).into_iter().map(depth).max();
    usize::from(holds_others) + deepest.unwrap_or(0)
}
