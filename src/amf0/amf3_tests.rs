use crate::amf0::{Error, Object, Value, decode_all};

/// Decodes one AMF3 value and a null after it, which shows that the first one ends where it should.
fn one(bytes: &[u8]) -> Result<Value, Error> {
    let mut values = decode_all(&[b"\x11", bytes, b"\x05"].concat())?;
    assert_eq!(values.pop(), Some(Value::Null));
    assert_eq!(values.len(), 1);
    Ok(values.remove(0))
}

fn object(properties: &[(&str, Value)]) -> Object {
    properties.iter().cloned().collect()
}

fn point(x: f64) -> Value {
    Value::TypedObject {
        class: "P".into(),
        object: object(&[("x", x.into())]),
    }
}

#[test]
fn decodes() {
    let table: Vec<(&str, &[u8], Value)> = vec![
        ("undefined", b"\x00", Value::Undefined),
        ("null", b"\x01", Value::Null),
        ("false", b"\x02", false.into()),
        ("true", b"\x03", true.into()),
        ("integer of 1 byte", b"\x04\x7F", 127.0.into()),
        ("integer of 2 bytes", b"\x04\x81\x00", 128.0.into()),
        (
            "integer of 3 bytes",
            b"\x04\xFF\xFF\x7F",
            2_097_151.0.into(),
        ),
        (
            "largest integer",
            b"\x04\xBF\xFF\xFF\xFF",
            268_435_455.0.into(),
        ),
        (
            "smallest integer",
            b"\x04\xC0\x80\x80\x00",
            (-268_435_456.0).into(),
        ),
        ("-1", b"\x04\xFF\xFF\xFF\xFF", (-1.0).into()),
        ("double", b"\x05\x3F\xF0\0\0\0\0\0\0", 1.0.into()),
        ("string", b"\x06\x09live", "live".into()),
        ("empty string", b"\x06\x01", "".into()),
        ("XML document", b"\x07\x09<a/>", Value::Xml("<a/>".into())),
        ("XML", b"\x0B\x09<a/>", Value::Xml("<a/>".into())),
        (
            "date",
            b"\x08\x01\x40\x8F\x40\0\0\0\0\0",
            Value::Date {
                millis: 1000.0,
                time_zone: 0,
            },
        ),
        (
            "dense array",
            b"\x09\x05\x01\x04\x01\x03",
            Value::StrictArray(vec![1.0.into(), true.into()]),
        ),
        ("empty array", b"\x09\x01\x01", Value::StrictArray(vec![])),
        (
            "associative array",
            b"\x09\x01\x03a\x03\x01",
            Value::EcmaArray(object(&[("a", true.into())])),
        ),
        (
            "array with both parts",
            b"\x09\x03\x03a\x03\x01\x02",
            Value::EcmaArray(object(&[("a", true.into()), ("0", false.into())])),
        ),
        (
            "strings sent before",
            b"\x09\x09\x01\x06\x03a\x06\x03b\x06\x02\x06\x00",
            Value::StrictArray(vec!["a".into(), "b".into(), "b".into(), "a".into()]),
        ),
        (
            "the empty string is not in the table",
            b"\x09\x07\x01\x06\x01\x06\x03a\x06\x00",
            Value::StrictArray(vec!["".into(), "a".into(), "a".into()]),
        ),
        (
            "dynamic object, as a connect has it",
            b"\x0A\x0B\x01\x07app\x06\x09live\x0DcapsEx\x04\x0F\x01",
            object(&[("app", "live".into()), ("capsEx", 15.0.into())]).into(),
        ),
        ("sealed object", b"\x0A\x13\x03P\x03x\x04\x01", point(1.0)),
        (
            "traits sent before",
            b"\x09\x05\x01\x0A\x13\x03P\x03x\x04\x01\x0A\x01\x04\x02",
            Value::StrictArray(vec![point(1.0), point(2.0)]),
        ),
        (
            "sealed and dynamic",
            b"\x0A\x1B\x01\x03x\x03\x03y\x02\x01",
            object(&[("x", true.into()), ("y", false.into())]).into(),
        ),
        (
            "array sent before",
            b"\x09\x05\x01\x09\x01\x01\x09\x02",
            Value::StrictArray(vec![Value::StrictArray(vec![]), Value::Unsupported]),
        ),
        ("object inside itself", b"\x0A\x0B\x01\x03a\x0A\x00\x01", {
            object(&[("a", Value::Unsupported)]).into()
        }),
        ("byte array", b"\x0C\x07abc", Value::Unsupported),
        ("byte array sent before", b"\x0C\x00", Value::Unsupported),
    ];
    for (name, bytes, value) in table {
        assert_eq!(one(bytes), Ok(value), "{name}");
    }
}

#[test]
fn rejects() {
    let table: Vec<(&str, &[u8], Error)> = vec![
        ("nothing", b"", Error::Truncated),
        ("no such type", b"\x12", Error::UnknownAmf3Marker(0x12)),
        ("endless integer", b"\x04\xFF\xFF\xFF", Error::Truncated),
        ("huge string", b"\x06\xFF\xFF\xFF\xFFx", Error::Truncated),
        (
            "huge byte array",
            b"\x0C\xFF\xFF\xFF\xFFx",
            Error::Truncated,
        ),
        (
            "huge array",
            b"\x09\xFF\xFF\xFF\xFF\x01\x01",
            Error::Truncated,
        ),
        (
            "huge number of traits",
            b"\x0A\xFF\xFF\xFF\xF3\x01\x03a",
            Error::Truncated,
        ),
        ("string never sent", b"\x06\x00", Error::BadReference),
        ("traits never sent", b"\x0A\x01", Error::BadReference),
        (
            "externalizable",
            b"\x0A\x07\x03Cdata",
            Error::Unsupported("externalizable object"),
        ),
        (
            "vector of int",
            b"\x0D\x03\x00\0\0\0\x01",
            Error::Unsupported("vector"),
        ),
        (
            "vector of objects",
            b"\x10\x01\x00\x01",
            Error::Unsupported("vector"),
        ),
        (
            "dictionary",
            b"\x11\x01\x00",
            Error::Unsupported("dictionary"),
        ),
    ];
    for (name, bytes, error) in table {
        assert_eq!(decode_all(&[b"\x11", bytes].concat()), Err(error), "{name}");
    }
}

#[test]
fn tables_end_with_their_value() {
    assert!(one(b"\x06\x03a").is_ok());
    assert_eq!(
        decode_all(b"\x11\x06\x03a\x11\x06\x00"),
        Err(Error::BadReference)
    );
}

#[test]
fn every_prefix_is_truncated() {
    let bytes = b"\x11\x09\x05\x03k\x06\x03v\x01\x0A\x13\x03P\x03x\x05\x3F\xF0\0\0\0\0\0\0\x08\x01\0\0\0\0\0\0\0\0";
    assert!(decode_all(bytes).is_ok());
    for end in 1..bytes.len() {
        assert_eq!(
            decode_all(&bytes[..end]),
            Err(Error::Truncated),
            "{end} bytes"
        );
    }
}

/// 1000 references of two bytes to a string of 60 KB would be 60 MB.
#[test]
fn repeated_text_is_bounded() {
    let length = 60_000u32;
    // 1001 as a U29 with the flag: 0x7D3; the length likewise takes three bytes.
    let head = length << 1 | 1;
    let head = [
        0x80 | (head >> 14) as u8,
        0x80 | (head >> 7 & 0x7F) as u8,
        (head & 0x7F) as u8,
    ];
    let string = [b"\x06".as_slice(), &head, &vec![b'x'; length as usize]].concat();
    let bomb = [
        b"\x11\x09\x8F\x53\x01",
        string.as_slice(),
        &b"\x06\x00".repeat(1000),
    ]
    .concat();
    assert_eq!(decode_all(&bomb), Err(Error::TooMuchText));
    // Four times 60 KB are within the bound.
    let array = [
        b"\x11\x09\x0B\x01",
        string.as_slice(),
        &b"\x06\x00".repeat(4),
    ]
    .concat();
    assert!(decode_all(&array).is_ok());
}

/// The same by way of a class with a long property name.
#[test]
fn repeated_names_are_bounded() {
    // A length of 8191 is 0x3FFF with the flag, two bytes on the wire.
    let name = [b"\xFF\x7F".as_slice(), &[b'n'; 8191]].concat();
    let first = [b"\x0A\x13\x01".as_slice(), &name, b"\x01"].concat();
    let bomb = [
        b"\x11\x09\x83\x49\x01",
        first.as_slice(),
        &b"\x0A\x01\x01".repeat(227),
    ]
    .concat();
    assert_eq!(decode_all(&bomb), Err(Error::TooMuchText));
}

/// Names of properties count, too: 40 bytes of memory for one on the wire.
#[test]
fn trait_names_are_counted() {
    // 2000 sealed names, each a reference to the first: 2000 << 4 | 3 = 0x7D03.
    let names = [b"\x03a".as_slice(), &[0u8; 1999]].concat();
    let bomb = [b"\x11\x0A\x81\xFA\x03\x01", names.as_slice()].concat();
    assert_eq!(decode_all(&bomb), Err(Error::TooManyValues));
}
