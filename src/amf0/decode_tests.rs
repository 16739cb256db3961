use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::amf0::{encode, encode_all};

fn object(properties: &[(&str, Value)]) -> Object {
    properties.iter().cloned().collect()
}

/// What is on the wire and what it means, in the one form that the encoder writes, too.
fn canonical() -> Vec<(&'static str, Vec<u8>, Value)> {
    let ab = object(&[("a", Value::Null), ("b", true.into())]);
    vec![
        ("one", b"\0\x3F\xF0\0\0\0\0\0\0".into(), 1.0.into()),
        (
            "negative zero",
            b"\0\x80\0\0\0\0\0\0\0".into(),
            (-0.0).into(),
        ),
        (
            "infinity",
            b"\0\x7F\xF0\0\0\0\0\0\0".into(),
            f64::INFINITY.into(),
        ),
        ("true", b"\x01\x01".into(), true.into()),
        ("false", b"\x01\x00".into(), false.into()),
        ("string", b"\x02\0\x04live".into(), "live".into()),
        ("empty string", b"\x02\0\0".into(), "".into()),
        (
            "text beyond ASCII",
            b"\x02\0\x03\xE2\x82\xAC".into(),
            "€".into(),
        ),
        (
            "object",
            b"\x03\0\x01a\x05\0\x01b\x01\x01\0\0\x09".into(),
            ab.clone().into(),
        ),
        ("empty object", b"\x03\0\0\x09".into(), Object::new().into()),
        (
            "empty name",
            b"\x03\0\0\x05\0\0\x09".into(),
            object(&[("", Value::Null)]).into(),
        ),
        ("null", b"\x05".into(), Value::Null),
        ("undefined", b"\x06".into(), Value::Undefined),
        ("reference", b"\x07\x01\x02".into(), Value::Reference(0x102)),
        (
            "ECMA array",
            b"\x08\0\0\0\x02\0\x01a\x05\0\x01b\x01\x01\0\0\x09".into(),
            Value::EcmaArray(ab.clone()),
        ),
        (
            "strict array",
            b"\x0A\0\0\0\x02\x05\x0A\0\0\0\0".into(),
            Value::StrictArray(vec![Value::Null, Value::StrictArray(vec![])]),
        ),
        (
            "date",
            b"\x0B\x40\x8F\x40\0\0\0\0\0\xFF\xC4".into(),
            Value::Date {
                millis: 1000.0,
                time_zone: -60,
            },
        ),
        ("unsupported", b"\x0D".into(), Value::Unsupported),
        (
            "XML",
            b"\x0F\0\0\0\x04<a/>".into(),
            Value::Xml("<a/>".into()),
        ),
        (
            "typed object",
            b"\x10\0\x01C\0\x01a\x05\0\x01b\x01\x01\0\0\x09".into(),
            Value::TypedObject {
                class: "C".into(),
                object: ab,
            },
        ),
    ]
}

/// What the encoder would write differently.
fn lenient() -> Vec<(&'static str, Vec<u8>, Value)> {
    let a = object(&[("a", Value::Null)]);
    vec![
        ("true as 255", b"\x01\xFF".into(), true.into()),
        ("short long string", b"\x0C\0\0\0\x02ab".into(), "ab".into()),
        ("Latin-1", b"\x02\0\x03f\xFCr".into(), "f\u{FFFD}r".into()),
        (
            "count too small",
            b"\x08\0\0\0\0\0\x01a\x05\0\0\x09".into(),
            Value::EcmaArray(a.clone()),
        ),
        (
            "count too large",
            b"\x08\xFF\xFF\xFF\xFF\0\x01a\x05\0\0\x09".into(),
            Value::EcmaArray(a.clone()),
        ),
        (
            "no end marker",
            b"\x08\0\0\0\x01\0\x01a\x05".into(),
            Value::EcmaArray(a),
        ),
        (
            "nothing after the count",
            b"\x08\0\0\0\x05".into(),
            Value::EcmaArray(Object::new()),
        ),
    ]
}

fn rejected() -> Vec<(&'static str, Vec<u8>, Error)> {
    vec![
        ("movie clip", b"\x04".into(), Error::UnknownMarker(0x04)),
        ("record set", b"\x0E".into(), Error::UnknownMarker(0x0E)),
        ("no such type", b"\xFF".into(), Error::UnknownMarker(0xFF)),
        (
            "end of no object",
            b"\x09".into(),
            Error::UnknownMarker(0x09),
        ),
        ("half a number", b"\0\x3F\xF0".into(), Error::Truncated),
        ("short string", b"\x02\0\x05live".into(), Error::Truncated),
        (
            "huge long string",
            b"\x0C\xFF\xFF\xFF\xFFx".into(),
            Error::Truncated,
        ),
        (
            "huge XML",
            b"\x0F\xFF\xFF\xFF\xFFx".into(),
            Error::Truncated,
        ),
        (
            "object without end",
            b"\x03\0\x01a\x05".into(),
            Error::Truncated,
        ),
        (
            "name cut off",
            b"\x08\0\0\0\x01\0\x09abc".into(),
            Error::Truncated,
        ),
        (
            "strict array of 2^32-1",
            b"\x0A\xFF\xFF\xFF\xFF\x05".into(),
            Error::Truncated,
        ),
        (
            "strict array one short",
            b"\x0A\0\0\0\x02\x05".into(),
            Error::Truncated,
        ),
    ]
}

fn one(bytes: &[u8]) -> Result<Value, Error> {
    // The generated values may be more than the default allows.
    let limits = Limits {
        values: usize::MAX,
        ..Limits::default()
    };
    let mut decoder = Decoder::with_limits(bytes, limits);
    let value = decoder.next_value()?.expect("a value");
    assert_eq!(decoder.position(), bytes.len());
    assert_eq!(decoder.next_value(), Ok(None));
    Ok(value)
}

#[test]
fn decodes() {
    for (name, bytes, value) in canonical().into_iter().chain(lenient()) {
        assert_eq!(one(&bytes), Ok(value), "{name}");
    }
}

#[test]
fn encodes() {
    for (name, bytes, value) in canonical() {
        let mut out = BytesMut::new();
        encode(&value, &mut out);
        assert_eq!(out, bytes, "{name}");
    }
}

#[test]
fn rejects() {
    for (name, bytes, error) in rejected() {
        assert_eq!(decode_all(&bytes), Err(error), "{name}");
    }
}

#[test]
fn every_prefix_is_whole_or_truncated() {
    for (name, bytes, value) in canonical() {
        for end in 1..bytes.len() {
            let result = decode_all(&bytes[..end]);
            // An ECMA array may end early, with what it has so far.
            if matches!(value, Value::EcmaArray(_)) && result.is_ok() {
                continue;
            }
            assert_eq!(result, Err(Error::Truncated), "{name}, {end} bytes");
        }
    }
}

#[test]
fn a_message_is_a_sequence_of_values() {
    let values: Vec<Value> = canonical().into_iter().map(|(_, _, value)| value).collect();
    let mut out = BytesMut::new();
    encode_all(&values, &mut out);
    assert_eq!(decode_all(&out), Ok(values));
}

#[test]
fn an_error_is_final_and_leaves_the_position() {
    let mut decoder = Decoder::new(b"\x05\x03\0\x01a\xFF\x05");
    assert_eq!(decoder.next_value(), Ok(Some(Value::Null)));
    for _ in 0..2 {
        assert_eq!(decoder.next_value(), Err(Error::UnknownMarker(0xFF)));
        assert_eq!(decoder.position(), 1);
    }
    assert_eq!(decoder.next(), None);
    let items: Vec<_> = Decoder::new(b"\x05\xFF\x05").collect();
    assert_eq!(items, [Ok(Value::Null), Err(Error::UnknownMarker(0xFF))]);
}

/// The inside of `levels` containers of each kind that can nest.
fn deep(levels: usize) -> Vec<Vec<u8>> {
    let around_null = |open: &[u8]| [open.repeat(levels).as_slice(), b"\x05"].concat();
    vec![
        around_null(b"\x03\0\x01a"),
        around_null(b"\x08\0\0\0\x01\0\x01a"),
        around_null(b"\x0A\0\0\0\x01"),
        around_null(b"\x10\0\x01C\0\x01a"),
        // AMF3: an array of one, an array with a named value, a dynamic object.
        [b"\x11", around_null(b"\x09\x03\x01").as_slice()].concat(),
        [b"\x11", around_null(b"\x09\x01\x03a").as_slice()].concat(),
        [b"\x11", around_null(b"\x0A\x0B\x01\x03a").as_slice()].concat(),
    ]
}

#[test]
fn depth_is_bounded_on_a_small_stack() {
    let limits = Limits {
        depth: usize::MAX,
        values: usize::MAX,
    };
    let decode = move || {
        for bytes in deep(200_000) {
            assert_eq!(decode_all(&bytes), Err(Error::TooDeep));
            let result = Decoder::with_limits(&bytes, limits).next_value();
            assert_eq!(result, Err(Error::TooDeep));
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(decode);
    thread.expect("a thread").join().expect("no overflow");
}

#[test]
fn depth_counts_containers() {
    let nested = |levels| [b"\x0A\0\0\0\x01".repeat(levels).as_slice(), b"\x05"].concat();
    assert!(decode_all(&nested(16)).is_ok());
    assert_eq!(decode_all(&nested(17)), Err(Error::TooDeep));
    let flat = Limits {
        depth: 0,
        ..Limits::default()
    };
    assert_eq!(
        Decoder::with_limits(b"\x05", flat).next_value(),
        Ok(Some(Value::Null))
    );
    assert_eq!(
        Decoder::with_limits(&nested(1), flat).next_value(),
        Err(Error::TooDeep)
    );
    // Side by side is not inside.
    assert!(decode_all(&nested(16).repeat(3)).is_ok());
}

#[test]
fn values_are_counted_over_the_whole_message() {
    assert_eq!(
        decode_all(&[0x05; 1024]).map(|values| values.len()),
        Ok(1024)
    );
    assert_eq!(decode_all(&[0x05; 1025]), Err(Error::TooManyValues));
    let array = [&b"\x0A\0\0\x04\0"[..], &[0x05; 1024]].concat();
    assert_eq!(decode_all(&array), Err(Error::TooManyValues));
    let limits = Limits {
        values: 2,
        ..Limits::default()
    };
    let mut decoder = Decoder::with_limits(b"\x03\0\x01a\x05\0\0\x09\x05", limits);
    assert!(decoder.next_value().is_ok());
    assert_eq!(decoder.next_value(), Err(Error::TooManyValues));
}

#[test]
fn skips_a_string() {
    let wrapped = b"\x02\0\x0D@setDataFrame\x02\0\x0AonMetaData";
    let (name, length) = skip_string(wrapped).expect("a string");
    assert_eq!(name, b"@setDataFrame");
    assert_eq!(
        skip_string(&wrapped[length..]),
        Some((&b"onMetaData"[..], 13))
    );
    assert_eq!(skip_string(b"\x0C\0\0\0\x01x\x05"), Some((&b"x"[..], 6)));
    for none in [
        &b""[..],
        b"\x02",
        b"\x02\0",
        b"\x02\0\x02a",
        b"\x05",
        b"\x0C\xFF\xFF\xFF\xFF",
    ] {
        assert_eq!(skip_string(none), None, "{none:?}");
    }
}

/// The connect command of OBS 29 as recorded: after the handshake and a SetChunkSize of 16 bytes
/// there is a 12-byte chunk header and 191 bytes of message.
#[test]
fn reads_a_recorded_connect() {
    let recording = include_bytes!("../../tests/fixtures/client-obs29.bin");
    let start = 1 + 1536 + 1536 + 16 + 12;
    let message = &recording[start..start + 191];
    let values = decode_all(message).expect("a command");
    let [command, transaction, properties] = values.as_slice() else {
        panic!("not three values: {values:?}");
    };
    assert_eq!(command.as_str(), Some("connect"));
    assert_eq!(transaction.as_number(), Some(1.0));
    let properties = properties.as_object().expect("an object");
    let names: Vec<_> = properties.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "app",
            "type",
            "supportsGoAway",
            "flashVer",
            "swfUrl",
            "tcUrl"
        ]
    );
    assert_eq!(properties.get("app").and_then(Value::as_str), Some("live"));
    assert_eq!(
        properties.get("supportsGoAway").and_then(Value::as_bool),
        Some(true)
    );

    let mut out = BytesMut::new();
    encode_all(&values, &mut out);
    assert_eq!(out, message);
}

fn any_value() -> impl Strategy<Value = Value> {
    // No NaN: it is not equal to itself.
    let number = any::<f64>()
        .prop_filter("NaN", |number| !number.is_nan())
        .boxed();
    let leaf = prop_oneof![
        number.clone().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        any::<String>().prop_map(Value::String),
        any::<String>().prop_map(Value::Xml),
        any::<u16>().prop_map(Value::Reference),
        (number, any::<i16>()).prop_map(|(millis, time_zone)| Value::Date { millis, time_zone }),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
    ];
    leaf.prop_recursive(6, 64, 8, |value| {
        let properties = prop::collection::vec((any::<String>(), value.clone()), 0..8);
        let object = properties.prop_map(|properties| properties.into_iter().collect::<Object>());
        prop_oneof![
            object.clone().prop_map(Value::Object),
            object.clone().prop_map(Value::EcmaArray),
            prop::collection::vec(value, 0..8).prop_map(Value::StrictArray),
            (any::<String>(), object)
                .prop_map(|(class, object)| Value::TypedObject { class, object }),
        ]
    })
}

/// Bytes that get further than random ones: mostly markers and small lengths.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0..0x13u8, 2 => Just(0u8), 1 => any::<u8>()];
    prop::collection::vec(byte, 0..400)
}

proptest! {
    #[test]
    fn round_trip(value in any_value()) {
        let mut out = BytesMut::new();
        encode(&value, &mut out);
        prop_assert_eq!(one(&out), Ok(value));
    }

    #[test]
    fn truncation_never_panics(value in any_value(), end in any::<prop::sample::Index>()) {
        let mut out = BytesMut::new();
        encode(&value, &mut out);
        let _ = decode_all(&out[..end.index(out.len())]);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode_all(&bytes);
        let _ = skip_string(&bytes);
    }

    #[test]
    fn likely_bytes_never_panic(bytes in likely_bytes()) {
        let _ = decode_all(&bytes);
        let _ = decode_all(&[&[0x11], bytes.as_slice()].concat());
    }

    /// Whatever decodes can be written and read again.
    #[test]
    fn what_decodes_encodes(bytes in likely_bytes()) {
        for value in Decoder::new(&bytes).flatten() {
            let mut out = BytesMut::new();
            encode(&value, &mut out);
            let again = one(&out).map(|value| format!("{value:?}"));
            prop_assert_eq!(again, Ok(format!("{value:?}")));
        }
    }
}
