//! AMF3 values inside AMF0 (marker 0x11), decoded to the AMF0 types.
//!
//! Section numbers refer to "Action Message Format -- AMF 3" (Adobe, 2013). Flash and FMLE send
//! such values in command messages of type 17.

use super::cursor::{Cursor, text};
use super::decode::Budget;
use super::{Error, Object, Value};

/// The type markers of section 3.1.
mod marker {
    pub const UNDEFINED: u8 = 0x00;
    pub const NULL: u8 = 0x01;
    pub const FALSE: u8 = 0x02;
    pub const TRUE: u8 = 0x03;
    pub const INTEGER: u8 = 0x04;
    pub const DOUBLE: u8 = 0x05;
    pub const STRING: u8 = 0x06;
    pub const XML_DOCUMENT: u8 = 0x07;
    pub const DATE: u8 = 0x08;
    pub const ARRAY: u8 = 0x09;
    pub const OBJECT: u8 = 0x0A;
    pub const XML: u8 = 0x0B;
    pub const BYTE_ARRAY: u8 = 0x0C;
    pub const VECTOR_INT: u8 = 0x0D;
    pub const VECTOR_OBJECT: u8 = 0x10;
    pub const DICTIONARY: u8 = 0x11;
}

/// Decodes one value. Its reference tables start empty and end with it.
pub(super) fn decode(cursor: &mut Cursor<'_>, budget: &mut Budget) -> Result<Value, Error> {
    Decoder {
        cursor,
        budget,
        strings: Vec::new(),
        traits: Vec::new(),
    }
    .value()
}

/// The tables hold slices of the input, and each entry has been paid for from the budget of
/// values, so that they stay small next to what is decoded.
struct Decoder<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    budget: &'c mut Budget,
    strings: Vec<&'a [u8]>,
    traits: Vec<Traits<'a>>,
}

/// What objects of one class have in common (section 3.12).
struct Traits<'a> {
    class: &'a [u8],
    /// The names of the properties that every object of the class has.
    sealed: Vec<&'a [u8]>,
    /// Whether an object may have further properties with names of its own.
    dynamic: bool,
}

/// The number in front of most types: bit 0 tells a reference from what is there in full.
enum Head {
    Reference(usize),
    /// A length, a count or, for objects, more flags.
    Inline(usize),
}

impl<'a> Decoder<'_, 'a> {
    fn value(&mut self) -> Result<Value, Error> {
        self.budget.spend_value()?;
        match self.cursor.u8()? {
            marker::ARRAY => self.array(),
            marker::OBJECT => self.object(),
            other => self.leaf(other),
        }
    }

    /// A value that holds no others. Not a part of [`value`](Self::value), so that a level of
    /// recursion takes less stack.
    fn leaf(&mut self, marker: u8) -> Result<Value, Error> {
        Ok(match marker {
            marker::UNDEFINED => Value::Undefined,
            marker::NULL => Value::Null,
            marker::FALSE => Value::Boolean(false),
            marker::TRUE => Value::Boolean(true),
            marker::INTEGER => Value::Number(sign_extend(self.u29()?).into()),
            marker::DOUBLE => Value::Number(self.cursor.f64()?),
            marker::STRING => Value::String(text(self.string()?)),
            marker::XML_DOCUMENT | marker::XML => match self.head()? {
                Head::Reference(_) => Value::Unsupported,
                Head::Inline(length) => Value::Xml(text(self.cursor.take(length)?)),
            },
            marker::DATE => match self.head()? {
                Head::Reference(_) => Value::Unsupported,
                Head::Inline(_) => Value::Date {
                    millis: self.cursor.f64()?,
                    time_zone: 0,
                },
            },
            marker::BYTE_ARRAY => {
                if let Head::Inline(length) = self.head()? {
                    self.cursor.take(length)?;
                }
                Value::Unsupported
            }
            marker::VECTOR_INT..=marker::VECTOR_OBJECT => return Err(Error::Unsupported("vector")),
            marker::DICTIONARY => return Err(Error::Unsupported("dictionary")),
            unknown => return Err(Error::UnknownAmf3Marker(unknown)),
        })
    }

    /// A number of 1 to 4 bytes: 7 bits each and a flag for more, but all 8 of the fourth
    /// (section 1.3.1).
    fn u29(&mut self) -> Result<u32, Error> {
        let mut number = 0;
        for _ in 0..3 {
            let byte = self.cursor.u8()?;
            number = number << 7 | u32::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Ok(number << 8 | u32::from(self.cursor.u8()?))
    }

    fn head(&mut self) -> Result<Head, Error> {
        let number = self.u29()?;
        // Cannot fail: 28 bits.
        let rest = usize::try_from(number >> 1).map_err(|_| Error::Truncated)?;
        Ok(if number & 1 == 0 {
            Head::Reference(rest)
        } else {
            Head::Inline(rest)
        })
    }

    /// A string without its marker: in full or by its number among those sent so far, of which
    /// the empty one is none (section 1.3.2).
    fn string(&mut self) -> Result<&'a [u8], Error> {
        match self.head()? {
            Head::Reference(index) => {
                let string = *self.strings.get(index).ok_or(Error::BadReference)?;
                self.budget.spend_repeated_text(string.len())?;
                Ok(string)
            }
            Head::Inline(length) => {
                let string = self.cursor.take(length)?;
                if !string.is_empty() {
                    self.strings.push(string);
                }
                Ok(string)
            }
        }
    }

    /// Section 3.11: a count, named values up to an empty name, then that many unnamed ones.
    ///
    /// A reference to an array or object seen before becomes [`Value::Unsupported`]: resolving it
    /// costs as much as [`Value::Reference`] says, and the number counts in a table that nobody
    /// outside of this module has.
    fn array(&mut self) -> Result<Value, Error> {
        let count = match self.head()? {
            Head::Reference(_) => return Ok(Value::Unsupported),
            Head::Inline(count) => count,
        };
        self.budget.enter()?;
        let mut named = Object::new();
        self.named_values(&mut named)?;
        // The shortest value is one byte.
        if count > self.cursor.remaining() {
            return Err(Error::Truncated);
        }
        let array = if named.is_empty() {
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(self.value()?);
            }
            Value::StrictArray(values)
        } else {
            for index in 0..count {
                named.push(index.to_string(), self.value()?);
            }
            Value::EcmaArray(named)
        };
        self.budget.leave();
        Ok(array)
    }

    /// Section 3.12.
    fn object(&mut self) -> Result<Value, Error> {
        let index = match self.head()? {
            Head::Reference(_) => return Ok(Value::Unsupported),
            Head::Inline(flags) => self.object_traits(flags)?,
        };
        self.budget.enter()?;
        let mut object = Object::new();
        let mut sealed = 0;
        // Looked up each time around: the values may add to the table.
        while let Some(&name) = self.traits.get(index).and_then(|t| t.sealed.get(sealed)) {
            self.budget.spend_repeated_text(name.len())?;
            object.push(text(name), self.value()?);
            sealed += 1;
        }
        let traits = self.traits.get(index).ok_or(Error::BadReference)?;
        let class = traits.class;
        if traits.dynamic {
            self.named_values(&mut object)?;
        }
        self.budget.leave();
        if class.is_empty() {
            return Ok(Value::Object(object));
        }
        self.budget.spend_repeated_text(class.len())?;
        Ok(Value::TypedObject {
            class: text(class),
            object,
        })
    }

    /// Reads the traits of an object, or finds them, and returns their number in the table.
    /// `flags` is the head of the object without its lowest bit.
    fn object_traits(&mut self, flags: usize) -> Result<usize, Error> {
        if flags & 0b001 == 0 {
            let index = flags >> 1;
            return if index < self.traits.len() {
                Ok(index)
            } else {
                Err(Error::BadReference)
            };
        }
        if flags & 0b010 != 0 {
            // What follows is up to the class, and only the application knows its length.
            return Err(Error::Unsupported("externalizable object"));
        }
        let dynamic = flags & 0b100 != 0;
        let count = flags >> 3;
        let class = self.string()?;
        // A name is at least one byte here, and 16 in the table: it counts as a value.
        if count > self.cursor.remaining() {
            return Err(Error::Truncated);
        }
        let mut sealed = Vec::new();
        for _ in 0..count {
            self.budget.spend_value()?;
            sealed.push(self.string()?);
        }
        self.traits.push(Traits {
            class,
            sealed,
            dynamic,
        });
        Ok(self.traits.len() - 1)
    }

    /// Names and values up to an empty name.
    fn named_values(&mut self, object: &mut Object) -> Result<(), Error> {
        loop {
            let name = self.string()?;
            if name.is_empty() {
                return Ok(());
            }
            object.push(text(name), self.value()?);
        }
    }
}

/// Integers are 29 bits in two's complement (section 3.6).
fn sign_extend(number: u32) -> i32 {
    (number << 3).cast_signed() >> 3
}

#[cfg(test)]
#[path = "amf3_tests.rs"]
mod tests;
