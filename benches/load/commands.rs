//! What a publisher says before its media, as bytes (RTMP 1.0, sections 5.2 and 7).

use super::wire::{MEDIA_STREAM, chunks, full_header};

/// Chunks are of this size until somebody says otherwise.
pub const DEFAULT_CHUNK_SIZE: usize = 128;

pub const SET_CHUNK_SIZE: u8 = 1;
pub const COMMAND: u8 = 20;

/// Size of C1, S1, C2 and S2.
pub const PACKET: usize = 1536;

/// C0 and C1 of the simple handshake.
pub fn hello() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.resize(1 + PACKET, 0);
    bytes
}

/// Announces the chunk size, and asks for the application `live`.
pub fn connect(chunk_size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = (chunk_size as u32).to_be_bytes();
    let header = full_header(2, 0, size.len(), SET_CHUNK_SIZE, 0);
    chunks(&header, 2, &size, chunk_size, &mut bytes);
    let mut object = vec![3];
    for (name, value) in [
        ("app", "live"),
        ("flashVer", "FMLE/3.0 (compatible; bench)"),
        ("tcUrl", "rtmp://127.0.0.1/live"),
    ] {
        object.extend(&string(name)[1..]);
        object.extend(string(value));
    }
    object.extend([0, 0, 9]);
    let values = [string("connect"), number(1.0), object];
    bytes.extend(command(0, &values, chunk_size));
    bytes
}

pub fn create_stream(chunk_size: usize) -> Vec<u8> {
    let values = [string("createStream"), number(2.0), null()];
    command(0, &values, chunk_size)
}

pub fn publish(key: &str, chunk_size: usize) -> Vec<u8> {
    let name = string("publish");
    let values = [name, number(3.0), null(), string(key), string("live")];
    command(MEDIA_STREAM, &values, chunk_size)
}

pub fn delete_stream(chunk_size: usize) -> Vec<u8> {
    let id = number(MEDIA_STREAM.into());
    command(
        0,
        &[string("deleteStream"), number(4.0), null(), id],
        chunk_size,
    )
}

/// All that a session needs to hear before media, for one that needs no answers.
pub fn monologue(chunk_size: usize) -> Vec<u8> {
    [
        hello(),
        vec![0; PACKET],
        connect(chunk_size),
        create_stream(chunk_size),
        publish("bench", chunk_size),
    ]
    .concat()
}

fn command(stream: u32, values: &[Vec<u8>], chunk_size: usize) -> Vec<u8> {
    let body = values.concat();
    let mut bytes = Vec::new();
    let header = full_header(3, 0, body.len(), COMMAND, stream);
    chunks(&header, 3, &body, chunk_size, &mut bytes);
    bytes
}

// AMF0, as much as is needed to write.

pub fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short string");
    [&[2][..], &length.to_be_bytes(), text.as_bytes()].concat()
}

fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

fn null() -> Vec<u8> {
    vec![5]
}
