use bytes::{BufMut, BytesMut};

use super::{Object, Value, marker};

/// Appends `value` to `out` in AMF0.
///
/// A string of more than 65 535 bytes is written as a long string. Names of properties and
/// classes have no long form and are cut at that length, at a character boundary.
pub fn encode(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Number(number) => {
            out.put_u8(marker::NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(boolean) => {
            out.put_u8(marker::BOOLEAN);
            out.put_u8(u8::from(*boolean));
        }
        Value::String(text) if text.len() <= usize::from(u16::MAX) => {
            out.put_u8(marker::STRING);
            put_short_text(text, out);
        }
        Value::String(text) => {
            out.put_u8(marker::LONG_STRING);
            put_long_text(text, out);
        }
        Value::Object(object) => {
            out.put_u8(marker::OBJECT);
            put_properties(object, out);
        }
        Value::Null => out.put_u8(marker::NULL),
        Value::Undefined => out.put_u8(marker::UNDEFINED),
        Value::Reference(index) => {
            out.put_u8(marker::REFERENCE);
            out.put_u16(*index);
        }
        Value::EcmaArray(object) => {
            out.put_u8(marker::ECMA_ARRAY);
            out.put_u32(saturate(object.len()));
            put_properties(object, out);
        }
        Value::StrictArray(values) => {
            out.put_u8(marker::STRICT_ARRAY);
            let count = saturate(values.len());
            out.put_u32(count);
            for (value, _) in values.iter().zip(0..count) {
                encode(value, out);
            }
        }
        Value::Date { millis, time_zone } => {
            out.put_u8(marker::DATE);
            out.put_f64(*millis);
            out.put_i16(*time_zone);
        }
        Value::Unsupported => out.put_u8(marker::UNSUPPORTED),
        Value::Xml(text) => {
            out.put_u8(marker::XML_DOCUMENT);
            put_long_text(text, out);
        }
        Value::TypedObject { class, object } => {
            out.put_u8(marker::TYPED_OBJECT);
            put_short_text(class, out);
            put_properties(object, out);
        }
    }
}

/// Appends `values` one after the other, as an RTMP command holds them.
pub fn encode_all(values: &[Value], out: &mut BytesMut) {
    for value in values {
        encode(value, out);
    }
}

fn put_properties(object: &Object, out: &mut BytesMut) {
    for (name, value) in object.iter() {
        put_short_text(name, out);
        encode(value, out);
    }
    out.put_u16(0);
    out.put_u8(marker::OBJECT_END);
}

fn put_short_text(text: &str, out: &mut BytesMut) {
    let text = cut(text, u16::MAX.into());
    // Cut to fit, so the conversion never saturates.
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_long_text(text: &str, out: &mut BytesMut) {
    let text = cut(text, usize::try_from(u32::MAX).unwrap_or(usize::MAX));
    out.put_u32(saturate(text.len()));
    out.put_slice(text.as_bytes());
}

/// At most the first `limit` bytes, without half a character at the end.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amf0::decode_all;

    fn encoded(value: &Value) -> BytesMut {
        let mut out = BytesMut::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn strings_become_long_above_65535_bytes() {
        let short = encoded(&Value::String("x".repeat(65_535)));
        assert_eq!(short[..3], [0x02, 0xFF, 0xFF]);
        assert_eq!(short.len(), 3 + 65_535);
        let long = encoded(&Value::String("x".repeat(65_536)));
        assert_eq!(long[..5], [0x0C, 0, 1, 0, 0]);
        assert_eq!(long.len(), 5 + 65_536);
    }

    #[test]
    fn names_are_cut_at_a_character() {
        // One byte and then pairs: the limit of 65 535 falls between two characters.
        let name = format!("x{}", "é".repeat(40_000));
        let object: Object = [(name.as_str(), 1.0)].into_iter().collect();
        let value = Value::TypedObject {
            class: name.clone(),
            object,
        };
        let decoded = decode_all(&encoded(&value)).unwrap();
        let [Value::TypedObject { class, object }] = decoded.as_slice() else {
            panic!("not a typed object: {decoded:?}");
        };
        assert_eq!(class.len(), 65_535);
        assert!(name.starts_with(class.as_str()));
        assert_eq!(object.get(class).and_then(Value::as_number), Some(1.0));

        // Pairs from the start: the limit splits one.
        let name = "é".repeat(40_000);
        let object: Object = [(name.as_str(), 1.0)].into_iter().collect();
        let decoded = decode_all(&encoded(&object.into())).unwrap();
        let (cut, _) = decoded[0].as_object().unwrap().iter().next().unwrap();
        assert_eq!(cut.len(), 65_534);
    }
}
