//! Script tags: only their name, the values belong to an AMF0 decoder.

/// AMF0 type marker of a string with a length of two bytes.
const STRING_MARKER: u8 = 2;

/// The name that a script body starts with, such as `onMetaData`, as the bytes that were sent.
///
/// `None` if the body does not start with a whole AMF0 string of the kind with a length of two
/// bytes; the long kind is never a name.
///
/// FLV file format 10.1, E.4.4.1 and E.4.4.4.
pub fn script_name(body: &[u8]) -> Option<&[u8]> {
    let (&[marker, high, low], rest) = body.split_first_chunk()?;
    if marker != STRING_MARKER {
        return None;
    }
    rest.get(..u16::from_be_bytes([high, low]).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let long = [&b"\x02\x01\x00"[..], &[b'x'; 256]].concat();
        type Case<'a> = (&'a str, &'a [u8], Option<&'a [u8]>);
        let cases: &[Case] = &[
            (
                "metadata",
                b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x00\x00\x00\x09",
                Some(b"onMetaData"),
            ),
            ("name alone", b"\x02\x00\x06onText", Some(b"onText")),
            ("empty name", b"\x02\x00\x00\x05", Some(b"")),
            ("high byte of the length", &long, Some(&[b'x'; 256])),
            ("not UTF-8", b"\x02\x00\x02\xff\xfe", Some(b"\xff\xfe")),
            ("name cut off", b"\x02\x00\x0aonMetaDat", None),
            ("length cut off", b"\x02\x00", None),
            ("marker alone", b"\x02", None),
            ("empty", b"", None),
            ("a number", b"\x00\x3f\xf0\x00\x00\x00\x00\x00\x00", None),
            ("a long string", b"\x0c\x00\x00\x00\x01a", None),
        ];
        for (name, body, expected) in cases {
            assert_eq!(script_name(body), *expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body: Vec<u8>) {
            if let Some(name) = script_name(&body) {
                prop_assert!(body[3..].starts_with(name));
            }
        }
    }
}
