//! Commands and their answers (RTMP 1.0, section 7.2).

use crate::amf0::{self, Decoder, Object, Value};

/// A remote procedure call: a name, the caller's number for it, arguments.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub name: String,
    /// Answers carry it back. 0 asks for no answer, and encoders use any number.
    pub transaction_id: f64,
    pub arguments: Vec<Value>,
    /// Why the arguments end where they do, if not because there are no more.
    pub damage: Option<amf0::Error>,
}

impl Call {
    /// Decodes a command message; none if it has no name. AMF3 framing (type 17)
    /// puts one format byte before the same values.
    pub fn decode(body: &[u8], amf3_framing: bool) -> Option<Self> {
        let body = match body {
            [_format, rest @ ..] if amf3_framing => rest,
            _ => body,
        };
        let mut values = Decoder::new(body);
        let Ok(Some(Value::String(name))) = values.next_value() else {
            return None;
        };
        let mut call = Self {
            name,
            transaction_id: 0.0,
            arguments: Vec::new(),
            damage: None,
        };
        for (n, value) in values.enumerate() {
            match value {
                // Some leave the number out of commands that want no answer.
                Ok(Value::Number(id)) if n == 0 => call.transaction_id = id,
                Ok(value) => call.arguments.push(value),
                Err(error) => {
                    call.damage = Some(error);
                    break;
                }
            }
        }
        Some(call)
    }

    /// The command object, null in all commands but `connect`.
    pub fn object(&self) -> Option<&Object> {
        self.arguments.first().and_then(Value::as_object)
    }

    /// The first argument behind the command object.
    pub fn argument(&self) -> Option<&Value> {
        self.arguments.get(1)
    }

    /// Bytes of text in the command object and the arguments, not in what is
    /// further inside.
    pub fn text_len(&self) -> usize {
        let object = self.object().into_iter().flat_map(Object::iter);
        object
            .map(|(_, value)| value)
            .chain(&self.arguments)
            .filter_map(Value::as_str)
            .map(str::len)
            .sum()
    }

    pub fn string_argument(&self) -> &str {
        self.argument().and_then(Value::as_str).unwrap_or_default()
    }
}

/// Encodes `name, transaction id, object, info`.
pub(crate) fn encode(name: &str, transaction_id: f64, object: Value, info: Value) -> Vec<u8> {
    let mut body = bytes::BytesMut::new();
    for value in [name.into(), transaction_id.into(), object, info] {
        amf0::encode(&value, &mut body);
    }
    body.into()
}

/// The information object of `onStatus` and of results.
pub(crate) fn status(level: &str, code: &str, description: &str) -> Object {
    Object::from_iter([
        ("level", level),
        ("code", code),
        ("description", description),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_say_the_same() {
        let body = encode("publish", 5.0, Value::Null, "key".into());
        let call = Call::decode(&body, false).unwrap();
        assert_eq!(call.string_argument(), "key");
        assert_eq!(call.transaction_id, 5.0);
        let framed = [&[0], &body[..]].concat();
        assert_eq!(Call::decode(&framed, true).unwrap(), call);
    }

    #[test]
    fn what_is_no_command() {
        for body in [&[][..], &[0x05], &[2, 0, 9, b'a']] {
            assert_eq!(Call::decode(body, false), None);
        }
    }

    #[test]
    fn a_damaged_command_keeps_its_name() {
        let call = Call::decode(&[2, 0, 1, b'a', 0, 1], false).unwrap();
        assert_eq!((call.name.as_str(), call.transaction_id), ("a", 0.0));
        assert_eq!(call.damage, Some(amf0::Error::Truncated));
        let call = Call::decode(&[2, 0, 1, b'a'], false).unwrap();
        assert_eq!(call.damage, None);
    }
}
