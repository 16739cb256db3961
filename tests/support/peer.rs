//! RTMP clients made by hand, byte by byte: what no library would send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than the server takes to answer, or to close what it has given up.
const PATIENCE: Duration = Duration::from_secs(20);

pub const SET_CHUNK_SIZE: u8 = 1;
pub const USER_CONTROL: u8 = 4;
pub const VIDEO: u8 = 9;
pub const COMMAND: u8 = 20;

/// A connection that has sent nothing.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// C0 and C1 of the simple handshake.
pub fn c0_c1() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 1536];
    bytes[0] = 3;
    bytes
}

/// A connection after the simple handshake.
pub fn shake_hands(address: SocketAddr) -> io::Result<TcpStream> {
    finish_handshake(connect(address)?)
}

/// The same from another of our addresses.
pub fn shake_hands_from(own: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&own.into())?;
    socket.connect(&address.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    finish_handshake(stream)
}

fn finish_handshake(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.write_all(&c0_c1())?;
    let mut answer = vec![0; 1 + 1536 + 1536];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer[0], 3, "S0");
    stream.write_all(&answer[1..1 + 1536])?;
    Ok(stream)
}

/// A message header of format 0 and no more.
pub fn message_header(chunk_stream: u8, type_id: u8, stream_id: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![chunk_stream, 0, 0, 0];
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.push(type_id);
    bytes.extend_from_slice(&stream_id.to_le_bytes());
    bytes
}

/// A whole message in chunks of 128 bytes.
pub fn message(type_id: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    const CHUNK_STREAM: u8 = 3;
    let length = u32::try_from(payload.len()).expect("a short message");
    let mut bytes = message_header(CHUNK_STREAM, type_id, stream_id, length);
    for (n, chunk) in payload.chunks(128).enumerate() {
        if n > 0 {
            bytes.push(0xC0 | CHUNK_STREAM);
        }
        bytes.extend_from_slice(chunk);
    }
    bytes
}

/// The beginnings of 19 messages of 16 MiB.
pub fn unfinished_messages() -> Vec<u8> {
    let beginning = |chunk_stream| {
        let mut chunk = message_header(chunk_stream, VIDEO, 1, 0xFF_FFFF);
        chunk.resize(chunk.len() + 128, 0);
        chunk
    };
    (3..22).flat_map(beginning).collect()
}

pub fn amf_string(text: &str) -> Vec<u8> {
    [&[2][..], &key(text)].concat()
}

fn amf_number(number: f64) -> Vec<u8> {
    [&[0][..], &number.to_be_bytes()].concat()
}

fn key(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short string");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// `connect` to an application.
pub fn connect_command(application: &str) -> Vec<u8> {
    let app = [key("app"), amf_string(application)].concat();
    connect_with(&[&[3][..], &app, &[0, 0, 9]].concat())
}

/// `connect` with anything for a command object.
pub fn connect_with(object: &[u8]) -> Vec<u8> {
    let body = [amf_string("connect"), amf_number(1.0), object.to_vec()].concat();
    message(COMMAND, 0, &body)
}

pub fn publish_command(stream_key: &str) -> Vec<u8> {
    const NULL: u8 = 5;
    let body = [
        amf_string("publish"),
        amf_number(2.0),
        vec![NULL],
        amf_string(stream_key),
        amf_string("live"),
    ];
    message(COMMAND, 1, &body.concat())
}

/// Sends all, and returns what the server says until it closes. A reset is an end as well.
pub fn say(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match stream.write_all(bytes) {
        Err(e) if !is_closed(&e) => Err(e),
        _ => listen(stream),
    }
}

/// What the server says until it closes.
pub fn listen(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Err(e) if !is_closed(&e) => Err(e),
        _ => Ok(heard),
    }
}

/// Sends the same again and again, reading nothing, until the server has closed.
pub fn flood(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    flood_in_steps(stream, bytes, Duration::ZERO)
}

/// The same, with a pause behind each.
pub fn flood_in_steps(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match stream.write_all(bytes) {
            Err(e) if is_closed(&e) => return Ok(()),
            result => result?,
        }
        std::thread::sleep(pause);
    }
    Err(ErrorKind::TimedOut.into())
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

pub fn contains(heard: &[u8], text: &str) -> bool {
    heard.windows(text.len()).any(|w| w == text.as_bytes())
}
