use std::iter::FusedIterator;

use super::cursor::{Cursor, text};
use super::{Error, Object, Value, amf3, marker};

/// The deepest nesting that [`Limits::depth`] can allow, in objects and arrays.
///
/// Decoding recurses, and so does dropping the result: this many levels fit into 128 KiB of stack
/// even in an unoptimised build.
pub const MAX_DEPTH: usize = 32;

/// How many bytes of text the string references of AMF3 may repeat in one decoder. A reference is
/// two bytes on the wire for a string of any length, so the input does not bound this by itself.
const REPEATED_TEXT: usize = 256 * 1024;

/// What a peer may spend in one [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects and arrays inside each other; 1 allows an object of plain values. Anything above
    /// [`MAX_DEPTH`] means [`MAX_DEPTH`]. Default 16; real commands and metadata need up to 4.
    pub depth: usize,
    /// Values in all, those inside of objects and arrays included. Default 1024; real commands
    /// and metadata need up to about 60.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            depth: 16,
            values: 1024,
        }
    }
}

/// What is left of the [`Limits`].
pub(super) struct Budget {
    depth: usize,
    values: usize,
    repeated_text: usize,
}

impl Budget {
    /// Pays for one value.
    pub(super) fn spend_value(&mut self) -> Result<(), Error> {
        self.values = self.values.checked_sub(1).ok_or(Error::TooManyValues)?;
        Ok(())
    }

    /// Pays for text that is not in the input at this place.
    pub(super) fn spend_repeated_text(&mut self, length: usize) -> Result<(), Error> {
        self.repeated_text = self
            .repeated_text
            .checked_sub(length)
            .ok_or(Error::TooMuchText)?;
        Ok(())
    }

    /// Steps into an object or array. An error ends the decoding, so only a success needs
    /// [`leave`](Self::leave).
    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.depth = self.depth.checked_sub(1).ok_or(Error::TooDeep)?;
        Ok(())
    }

    /// Steps out again.
    pub(super) fn leave(&mut self) {
        self.depth += 1;
    }
}

/// Decodes the values of one message one after the other.
///
/// As an iterator it ends after the first error.
pub struct Decoder<'a> {
    cursor: Cursor<'a>,
    budget: Budget,
    failed: Option<Error>,
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `data` with the default [`Limits`].
    pub fn new(data: &'a [u8]) -> Self {
        Self::with_limits(data, Limits::default())
    }

    /// Starts at the front of `data`. The limits are for all of it, not for each value.
    pub fn with_limits(data: &'a [u8], limits: Limits) -> Self {
        let budget = Budget {
            depth: limits.depth.min(MAX_DEPTH),
            values: limits.values,
            repeated_text: REPEATED_TEXT,
        };
        Decoder {
            cursor: Cursor::new(data),
            budget,
            failed: None,
        }
    }

    /// The next value, or `None` if the data ends where a value could start.
    ///
    /// There is no way on after an error: it is returned again.
    pub fn next_value(&mut self) -> Result<Option<Value>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.cursor.remaining() == 0 {
            return Ok(None);
        }
        let start = self.cursor.position();
        match self.value() {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.cursor.rewind(start);
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// How many bytes the values returned so far took. After an error, where the value starts
    /// that could not be read.
    pub fn position(&self) -> usize {
        self.cursor.position()
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.budget.spend_value()?;
        match self.cursor.u8()? {
            marker::OBJECT => self.properties(End::Required).map(Value::Object),
            marker::ECMA_ARRAY => self.ecma_array().map(Value::EcmaArray),
            marker::STRICT_ARRAY => self.strict_array().map(Value::StrictArray),
            marker::TYPED_OBJECT => self.typed_object(),
            other => self.leaf(other),
        }
    }

    /// A value that holds no others. Not a part of [`value`](Self::value), so that a level of
    /// recursion takes less stack.
    fn leaf(&mut self, marker: u8) -> Result<Value, Error> {
        Ok(match marker {
            marker::NUMBER => Value::Number(self.cursor.f64()?),
            marker::BOOLEAN => Value::Boolean(self.cursor.u8()? != 0),
            marker::STRING => Value::String(self.short_text()?),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::REFERENCE => Value::Reference(self.cursor.u16()?),
            marker::DATE => Value::Date {
                millis: self.cursor.f64()?,
                time_zone: self.cursor.i16()?,
            },
            marker::LONG_STRING => Value::String(self.long_text()?),
            marker::UNSUPPORTED => Value::Unsupported,
            marker::XML_DOCUMENT => Value::Xml(self.long_text()?),
            marker::AVMPLUS_OBJECT => amf3::decode(&mut self.cursor, &mut self.budget)?,
            unknown => return Err(Error::UnknownMarker(unknown)),
        })
    }

    fn short_text(&mut self) -> Result<String, Error> {
        let length = self.cursor.u16()?;
        Ok(text(self.cursor.take(length.into())?))
    }

    fn long_text(&mut self) -> Result<String, Error> {
        let length = self.cursor.length()?;
        Ok(text(self.cursor.take(length)?))
    }

    /// Names and values up to an empty name that is followed by the end marker (section 2.11).
    fn properties(&mut self, end: End) -> Result<Object, Error> {
        self.budget.enter()?;
        let mut object = Object::new();
        loop {
            if let Some(&[0, 0, marker::OBJECT_END]) = self.cursor.rest().first_chunk() {
                self.cursor.take(3)?;
                break;
            }
            if end == End::Optional && self.cursor.remaining() == 0 {
                break;
            }
            let name = self.short_text()?;
            object.push(name, self.value()?);
        }
        self.budget.leave();
        Ok(object)
    }

    /// The declared count is often an estimate, and 0 with encoders that write while they record,
    /// so only the end marker counts. Some muxers leave even that out at the end of `onMetaData`.
    fn ecma_array(&mut self) -> Result<Object, Error> {
        self.cursor.length()?;
        self.properties(End::Optional)
    }

    fn typed_object(&mut self) -> Result<Value, Error> {
        let class = self.short_text()?;
        let object = self.properties(End::Required)?;
        Ok(Value::TypedObject { class, object })
    }

    fn strict_array(&mut self) -> Result<Vec<Value>, Error> {
        let count = self.cursor.length()?;
        // The shortest value is one byte.
        if count > self.cursor.remaining() {
            return Err(Error::Truncated);
        }
        self.budget.enter()?;
        // Not with_capacity: a value in memory is many times the byte that it may be here.
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value()?);
        }
        self.budget.leave();
        Ok(values)
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Value, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.failed {
            Some(_) => None,
            None => self.next_value().transpose(),
        }
    }
}

impl FusedIterator for Decoder<'_> {}

/// Whether the end of the input also ends a list of properties.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Required,
    Optional,
}

/// Decodes all values of a message with the default [`Limits`].
pub fn decode_all(data: &[u8]) -> Result<Vec<Value>, Error> {
    Decoder::new(data).collect()
}

/// Looks past a string at the front of `data`, without a copy.
///
/// Returns the bytes of its text, which need not be UTF-8, and how many bytes the whole value
/// takes, that is, where the next one starts. `None` if there is no whole string.
///
/// This is what unwraps `@setDataFrame` from around metadata that otherwise stays as it was sent.
pub fn skip_string(data: &[u8]) -> Option<(&[u8], usize)> {
    let mut cursor = Cursor::new(data);
    let length = match cursor.u8().ok()? {
        marker::STRING => cursor.u16().ok()?.into(),
        marker::LONG_STRING => cursor.length().ok()?,
        _ => return None,
    };
    let text = cursor.take(length).ok()?;
    Some((text, cursor.position()))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
