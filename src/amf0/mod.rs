//! AMF0, the value format of RTMP commands and FLV script data.
//!
//! Follows "Action Message Format -- AMF 0" (Adobe, 2007); section numbers in this module refer to
//! it. A value may switch to AMF3 for itself alone (marker 0x11), which is decoded too, but never
//! written.
//!
//! Everything decoded here comes from a stranger, so [`Decoder`] bounds what a message can cost:
//! the nesting depth, the number of values, and what an AMF3 reference can repeat. No count that
//! the peer merely declares is ever used to allocate.
//!
//! ```
//! use bytes::BytesMut;
//! use gstrtmp2server::amf0::{self, Object, Value};
//!
//! let mut info = Object::new();
//! info.insert("level", "status");
//! info.insert("code", "NetStream.Publish.Start");
//!
//! let mut message = BytesMut::new();
//! amf0::encode_all(&["onStatus".into(), 0.0.into(), Value::Null, info.into()], &mut message);
//!
//! let values = amf0::decode_all(&message)?;
//! assert_eq!(values[0].as_str(), Some("onStatus"));
//! let code = values[3].as_object().and_then(|info| info.get("code"));
//! assert_eq!(code.and_then(Value::as_str), Some("NetStream.Publish.Start"));
//! # Ok::<(), amf0::Error>(())
//! ```

mod amf3;
mod cursor;
mod decode;
mod encode;
mod value;

pub use decode::{Decoder, Limits, MAX_DEPTH, decode_all, skip_string};
pub use encode::{encode, encode_all};
pub use value::{Object, Value};

/// The type markers of section 2.1 that this module reads or writes.
///
/// The two reserved ones (0x04 movie clip, 0x0E record set) never carried data.
mod marker {
    pub const NUMBER: u8 = 0x00;
    pub const BOOLEAN: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const OBJECT: u8 = 0x03;
    pub const NULL: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const REFERENCE: u8 = 0x07;
    pub const ECMA_ARRAY: u8 = 0x08;
    pub const OBJECT_END: u8 = 0x09;
    pub const STRICT_ARRAY: u8 = 0x0A;
    pub const DATE: u8 = 0x0B;
    pub const LONG_STRING: u8 = 0x0C;
    pub const UNSUPPORTED: u8 = 0x0D;
    pub const XML_DOCUMENT: u8 = 0x0F;
    pub const TYPED_OBJECT: u8 = 0x10;
    pub const AVMPLUS_OBJECT: u8 = 0x11;
}

/// Why a byte string is not AMF.
///
/// None of these says that the connection is out of step: RTMP frames the message, so a message
/// that cannot be read can be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data ends inside a value, or a count promises more values than there are bytes left.
    #[error("the AMF data ends inside a value")]
    Truncated,
    /// No AMF0 value starts with this byte.
    #[error("unknown AMF0 type marker {0:#04x}")]
    UnknownMarker(u8),
    /// No AMF3 value starts with this byte.
    #[error("unknown AMF3 type marker {0:#04x}")]
    UnknownAmf3Marker(u8),
    /// Objects and arrays are nested deeper than [`Limits::depth`].
    #[error("the AMF data is nested too deeply")]
    TooDeep,
    /// There are more values than [`Limits::values`].
    #[error("the AMF data holds too many values")]
    TooManyValues,
    /// AMF3 string references would repeat more text than is sensible (256 KiB per decoder).
    #[error("the AMF3 string references repeat too much text")]
    TooMuchText,
    /// An AMF3 reference names an entry that was never sent.
    #[error("an AMF3 reference points nowhere")]
    BadReference,
    /// An AMF3 type whose length is only known to the application that defined it, or that no
    /// RTMP client sends.
    #[error("unsupported AMF3 type: {0}")]
    Unsupported(&'static str),
}
