//! An encoder that writes exactly the chunk it is told to, sensible or not.
//! Header fields as in RTMP 1.0, section 5.3.1.

use std::collections::HashMap;

use rml_rtmp::rml_amf0::{self, Amf0Value};

pub const SET_CHUNK_SIZE: u8 = 1;
pub const ABORT: u8 = 2;
pub const ACKNOWLEDGEMENT: u8 = 3;
pub const USER_CONTROL: u8 = 4;
pub const WINDOW: u8 = 5;
pub const AUDIO: u8 = 8;
pub const VIDEO: u8 = 9;
pub const DATA_AMF3: u8 = 15;
pub const COMMAND_AMF3: u8 = 17;
pub const DATA: u8 = 18;
pub const COMMAND: u8 = 20;
pub const AGGREGATE: u8 = 22;

pub const EXTENDED: u32 = 0xFF_FFFF;

/// The basic header in its shortest form.
pub fn basic(format: u8, chunk_stream: u32) -> Vec<u8> {
    let width = match chunk_stream {
        2..=63 => 1,
        64..=319 => 2,
        _ => 3,
    };
    basic_of(width, format, chunk_stream)
}

/// The basic header in `width` bytes. Ids from 64 to 319 have two forms.
pub fn basic_of(width: usize, format: u8, chunk_stream: u32) -> Vec<u8> {
    let high = format << 6;
    match width {
        1 => vec![high | u8::try_from(chunk_stream).expect("2 to 63")],
        2 => vec![high, u8::try_from(chunk_stream - 64).expect("64 to 319")],
        _ => {
            let id = u16::try_from(chunk_stream - 64).expect("64 to 65599");
            let [low, high_byte] = id.to_le_bytes();
            vec![high | 1, low, high_byte]
        }
    }
}

fn u24(value: u32) -> [u8; 3] {
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}

/// fmt 0, the extended field included if `time` needs it.
pub fn fmt0(chunk_stream: u32, time: u32, length: usize, kind: u8, stream: u32) -> Vec<u8> {
    let mut bytes = basic(0, chunk_stream);
    bytes.extend(u24(time.min(EXTENDED)));
    bytes.extend(u24(length as u32));
    bytes.push(kind);
    bytes.extend(stream.to_le_bytes());
    bytes.extend(extension(time));
    bytes
}

/// fmt 1, likewise.
pub fn fmt1(chunk_stream: u32, delta: u32, length: usize, kind: u8) -> Vec<u8> {
    let mut bytes = basic(1, chunk_stream);
    bytes.extend(u24(delta.min(EXTENDED)));
    bytes.extend(u24(length as u32));
    bytes.push(kind);
    bytes.extend(extension(delta));
    bytes
}

/// fmt 2, likewise.
pub fn fmt2(chunk_stream: u32, delta: u32) -> Vec<u8> {
    let mut bytes = basic(2, chunk_stream);
    bytes.extend(u24(delta.min(EXTENDED)));
    bytes.extend(extension(delta));
    bytes
}

/// fmt 3, without an extended field.
pub fn fmt3(chunk_stream: u32) -> Vec<u8> {
    basic(3, chunk_stream)
}

/// The extended field of a time or delta, if it has one.
pub fn extension(time: u32) -> Vec<u8> {
    if time < EXTENDED {
        return Vec::new();
    }
    time.to_be_bytes().to_vec()
}

/// A whole message: fmt 0 and as many fmt 3 chunks as it takes.
pub struct Message<'a> {
    pub chunk_stream: u32,
    pub time: u32,
    pub kind: u8,
    pub stream: u32,
    pub body: &'a [u8],
}

impl Message<'_> {
    pub fn chunks(&self, chunk_size: usize) -> Vec<u8> {
        let (id, length) = (self.chunk_stream, self.body.len());
        let mut bytes = fmt0(id, self.time, length, self.kind, self.stream);
        for (n, payload) in self.body.chunks(chunk_size).enumerate() {
            if n > 0 {
                bytes.extend(fmt3(id));
                bytes.extend(extension(self.time));
            }
            bytes.extend_from_slice(payload);
        }
        bytes
    }
}

/// A message on a chunk stream of its kind, in chunks of the default size.
pub fn message(kind: u8, time: u32, stream: u32, body: &[u8]) -> Vec<u8> {
    let chunk_stream = match kind {
        0..=6 => 2,
        COMMAND | COMMAND_AMF3 => 3,
        other => u32::from(other),
    };
    let message = Message {
        chunk_stream,
        time,
        kind,
        stream,
        body,
    };
    message.chunks(128)
}

/// A protocol control message of one number.
pub fn control(kind: u8, number: u32) -> Vec<u8> {
    message(kind, 0, 0, &number.to_be_bytes())
}

pub fn text(text: &str) -> Amf0Value {
    Amf0Value::Utf8String(text.to_owned())
}

pub fn number(number: f64) -> Amf0Value {
    Amf0Value::Number(number)
}

pub fn object<const N: usize>(properties: [(&str, Amf0Value); N]) -> Amf0Value {
    let owned = properties.map(|(name, value)| (name.to_owned(), value));
    Amf0Value::Object(HashMap::from(owned))
}

pub fn amf(values: Vec<Amf0Value>) -> Vec<u8> {
    rml_amf0::serialize(&values).expect("serializable")
}

/// The body of a command.
pub fn call(name: &str, transaction: f64, arguments: Vec<Amf0Value>) -> Vec<u8> {
    let mut values = vec![text(name), number(transaction)];
    values.extend(arguments);
    amf(values)
}

/// A command on message stream 0: name, number, null and an argument.
pub fn command(name: &str, transaction: f64, argument: Option<Amf0Value>) -> Vec<u8> {
    command_on(0, name, transaction, argument)
}

pub fn command_on(
    stream: u32,
    name: &str,
    transaction: f64,
    argument: Option<Amf0Value>,
) -> Vec<u8> {
    let mut arguments = vec![Amf0Value::Null];
    arguments.extend(argument);
    message(COMMAND, 0, stream, &call(name, transaction, arguments))
}

pub fn connect() -> Vec<u8> {
    let properties = object([("app", text("live")), ("tcUrl", text("rtmp://host/live"))]);
    message(COMMAND, 0, 0, &call("connect", 1.0, vec![properties]))
}

pub fn publish() -> Vec<u8> {
    command_on(1, "publish", 3.0, Some(text("test")))
}

/// C0, C1 and C2 of the simple handshake.
pub fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
}

/// All that comes before the first tag.
pub fn until_published() -> Vec<u8> {
    let create = command("createStream", 2.0, None);
    [handshake(), connect(), create, publish()].concat()
}
