//! A small publisher of our own, for what no encoder does on demand: to stop within a message, to end in each of the ways
//! that there are, to be refused and to say what it was told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rml_rtmp::chunk_io::ChunkDeserializer;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::flv::{Kind, Tag};

/// Longer than the server takes to answer, or to take what is sent.
const DEADLINE: Duration = Duration::from_secs(20);
const CHUNK_SIZE: u32 = 4096;

const SET_CHUNK_SIZE: u8 = 1;
const COMMAND: u8 = 20;

/// What an `onStatus` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: String,
    pub text: String,
}

/// With or without TLS.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(room),
            Stream::Tls(tls) => tls.read(room),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

pub struct Client {
    stream: Stream,
    reader: ChunkDeserializer,
    /// Given out by the server.
    stream_id: u32,
}

impl Client {
    /// Connects to an application and asks for a stream, with which nothing happens yet.
    pub fn connect(server: SocketAddr, application: &str) -> Result<Client, String> {
        let stream = Stream::Plain(tcp(server)?);
        Client::over(stream, server, application)
    }

    /// The same, or what the server has against it.
    pub fn try_connect(
        server: SocketAddr,
        application: &str,
    ) -> Result<Result<Client, Status>, String> {
        Client::try_over(Stream::Plain(tcp(server)?), server, application, None)
    }

    /// The same with TLS, to a server that must prove to be `localhost`.
    pub fn connect_tls(
        server: SocketAddr,
        application: &str,
        config: Arc<ClientConfig>,
    ) -> Result<Client, String> {
        let name = "localhost".try_into().expect("a name");
        let tls = ClientConnection::new(config, name).map_err(told)?;
        let stream = StreamOwned::new(tls, tcp(server)?);
        Client::over(Stream::Tls(Box::new(stream)), server, application)
    }

    /// The same over a connection that is there.
    pub fn over(stream: Stream, server: SocketAddr, application: &str) -> Result<Client, String> {
        match Client::try_over(stream, server, application, None)? {
            Ok(client) => Ok(client),
            Err(status) => Err(format!("not let in: {status:?}")),
        }
    }

    /// [`connect`](Client::connect) with the `capsEx` of Enhanced RTMP.
    pub fn connect_with(
        server: SocketAddr,
        application: &str,
        caps_ex: f64,
    ) -> Result<Client, String> {
        let stream = Stream::Plain(tcp(server)?);
        Client::try_over(stream, server, application, Some(caps_ex))?
            .map_err(|status| format!("not let in: {status:?}"))
    }

    fn try_over(
        stream: Stream,
        server: SocketAddr,
        application: &str,
        caps_ex: Option<f64>,
    ) -> Result<Result<Client, Status>, String> {
        let mut client = Client {
            stream,
            reader: ChunkDeserializer::new(),
            stream_id: 0,
        };
        client.shake_hands()?;
        let size = CHUNK_SIZE.to_be_bytes();
        client.write(&message(SET_CHUNK_SIZE, 0, 0, &size))?;
        let url = format!("rtmp://{server}/{application}");
        let mut object = vec![0x03];
        for (name, value) in [("app", application), ("tcUrl", &url)] {
            object.extend(&string(name)[1..]);
            object.extend(string(value));
        }
        if let Some(caps_ex) = caps_ex {
            object.extend(&string("capsEx")[1..]);
            object.extend(number(caps_ex));
        }
        object.extend([0, 0, 9]);
        client.command(0, &[string("connect"), number(1.0), object])?;
        let (name, answer) = client.wait_for_any(&["_result", "_error"])?;
        if name == "_error" {
            return status_in(&answer).map(Err);
        }
        client.create_stream()?;
        Ok(Ok(client))
    }

    /// Connects to `live` and publishes `test`, which must succeed.
    pub fn publisher(server: SocketAddr) -> Result<Client, String> {
        let mut client = Client::connect(server, "live")?;
        client.must_publish("test")?;
        Ok(client)
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    pub fn create_stream(&mut self) -> Result<(), String> {
        self.command(0, &[string("createStream"), number(2.0), null()])?;
        let result = self.wait_for("_result")?;
        // The last value is the number of the stream.
        let id = result.last_chunk::<8>().ok_or("a short answer")?;
        self.stream_id = f64::from_be_bytes(*id) as u32;
        Ok(())
    }

    /// Asks to publish, and returns the answer.
    pub fn publish(&mut self, key: &str) -> Result<Status, String> {
        self.ask_to_publish(key)?;
        self.status()
    }

    /// Waits for no answer.
    pub fn ask_to_publish(&mut self, key: &str) -> Result<(), String> {
        let name = string("publish");
        let arguments = [name, number(3.0), null(), string(key), string("live")];
        self.command(self.stream_id, &arguments)
    }

    pub fn must_publish(&mut self, key: &str) -> Result<(), String> {
        match self.publish(key)? {
            Status { code, .. } if code == "NetStream.Publish.Start" => Ok(()),
            other => Err(format!("not let in: {other:?}")),
        }
    }

    /// Waits for the next `onStatus`.
    pub fn status(&mut self) -> Result<Status, String> {
        status_in(&self.wait_for("onStatus")?)
    }

    /// The same, and a further property of it.
    pub fn status_with(&mut self, name: &str) -> Result<(Status, Option<String>), String> {
        let body = self.wait_for("onStatus")?;
        Ok((status_in(&body)?, property(&body, name)))
    }

    pub fn send(&mut self, tag: &Tag) -> Result<(), String> {
        self.write(&self.message(tag))
    }

    pub fn send_all(&mut self, tags: &[Tag]) -> Result<(), String> {
        tags.iter().try_for_each(|tag| self.send(tag))
    }

    /// Sends the first half of a message.
    pub fn send_half(&mut self, tag: &Tag) -> Result<(), String> {
        let bytes = self.message(tag);
        self.write(&bytes[..bytes.len() / 2])
    }

    pub fn fc_unpublish(&mut self) -> Result<(), String> {
        self.command(
            0,
            &[string("FCUnpublish"), number(4.0), null(), string("test")],
        )
    }

    pub fn delete_stream(&mut self) -> Result<(), String> {
        let id = number(self.stream_id.into());
        self.command(0, &[string("deleteStream"), number(5.0), null(), id])
    }

    pub fn close_stream(&mut self) -> Result<(), String> {
        let id = self.stream_id;
        self.command(id, &[string("closeStream"), number(0.0), null()])
    }

    /// Says that nothing follows (FIN), and waits until the server has closed as well.
    pub fn close(mut self) -> Result<(), String> {
        if let Stream::Tls(tls) = &mut self.stream {
            tls.conn.send_close_notify();
            tls.flush().map_err(told)?;
        }
        self.stream.tcp().shutdown(Shutdown::Write).map_err(told)?;
        let mut void = [0; 4096];
        loop {
            match self.stream.read(&mut void) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(told(e)),
            }
        }
    }

    /// Ends the connection with a reset, as a machine does that was restarted.
    pub fn reset(self) -> Result<(), String> {
        let socket = socket2::SockRef::from(self.stream.tcp());
        socket.set_linger(Some(Duration::ZERO)).map_err(told)
    }

    fn message(&self, tag: &Tag) -> Vec<u8> {
        let type_id = match tag.kind {
            Kind::Audio => 8,
            Kind::Video => 9,
            Kind::Script => 18,
        };
        message(type_id, self.stream_id, tag.timestamp, &tag.body)
    }

    fn command(&mut self, stream_id: u32, values: &[Vec<u8>]) -> Result<(), String> {
        self.write(&message(COMMAND, stream_id, 0, &values.concat()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(told)
    }

    /// The body of the next command of this name.
    fn wait_for(&mut self, name: &str) -> Result<Vec<u8>, String> {
        self.wait_for_any(&[name]).map(|(_, body)| body)
    }

    /// The next command of any of these names, and which it is.
    fn wait_for_any<'a>(&mut self, names: &[&'a str]) -> Result<(&'a str, Vec<u8>), String> {
        let (mut input, mut length) = ([0; 4096], 0);
        loop {
            let message = self.reader.get_next_message(&input[..length]);
            length = 0;
            match message.map_err(told)? {
                Some(message) if message.type_id == SET_CHUNK_SIZE => {
                    let size = message.data.first_chunk().ok_or("a short chunk size")?;
                    let size = u32::from_be_bytes(*size) as usize;
                    self.reader.set_max_chunk_size(size).map_err(told)?;
                }
                Some(message) if message.type_id == COMMAND => {
                    let is_it = |name: &&&str| message.data.starts_with(&string(name));
                    if let Some(name) = names.iter().find(is_it) {
                        return Ok((name, message.data.to_vec()));
                    }
                }
                Some(_) => {}
                None => {
                    length = self.stream.read(&mut input).map_err(told)?;
                    if length == 0 {
                        return Err("the server closed the connection".to_owned());
                    }
                }
            }
        }
    }

    fn shake_hands(&mut self) -> Result<(), String> {
        let mut c0_and_c1 = [0; 1537];
        c0_and_c1[0] = 3;
        self.write(&c0_and_c1)?;
        let mut answer = [0; 1537 + 1536];
        self.stream.read_exact(&mut answer).map_err(told)?;
        self.write(&answer[1..1537])
    }
}

fn tcp(server: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&server, DEADLINE).map_err(told)?;
    stream.set_nodelay(true).map_err(told)?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(told)?;
    stream.set_write_timeout(Some(DEADLINE)).map_err(told)?;
    Ok(stream)
}

/// A message in chunks: the first with the full header, the others with none.
fn message(type_id: u8, stream_id: u32, timestamp: u32, body: &[u8]) -> Vec<u8> {
    let chunk_stream = match type_id {
        SET_CHUNK_SIZE => 2,
        COMMAND => 3,
        8 => 4,
        9 => 6,
        _ => 5,
    };
    const EXTENDED: u32 = 0xFF_FFFF;
    let is_extended = timestamp >= EXTENDED;
    let extension = if is_extended {
        &timestamp.to_be_bytes()[..]
    } else {
        &[]
    };
    let length = u32::try_from(body.len()).expect("a message");
    let mut bytes = vec![chunk_stream];
    bytes.extend(&timestamp.min(EXTENDED).to_be_bytes()[1..]);
    bytes.extend(&length.to_be_bytes()[1..]);
    bytes.push(type_id);
    bytes.extend(stream_id.to_le_bytes());
    bytes.extend(extension);
    for (n, chunk) in body.chunks(CHUNK_SIZE as usize).enumerate() {
        if n > 0 {
            bytes.push(0xC0 | chunk_stream);
            bytes.extend(extension);
        }
        bytes.extend(chunk);
    }
    bytes
}

/// A stream's worth of tags, every body different: metadata, sequence headers, a frame of video and one of audio in turn.
/// Frames have `size` bytes; the times are 20 ms apart.
pub fn tags(count: usize, size: usize) -> Vec<Tag> {
    let mut random = Random(count as u64 + 1);
    let mut tag = |n: usize| {
        let frame = n.saturating_sub(3);
        let (kind, start): (Kind, &[u8]) = match n {
            0 => (Kind::Script, b"\x02\x00\x0aonMetaData\x05"),
            1 => (Kind::Video, &[0x17, 0, 0, 0, 0, 1, 0x42]),
            2 => (Kind::Audio, &[0xAF, 0, 0x12, 0x10]),
            _ if frame.is_multiple_of(60) => (Kind::Video, &[0x17, 1, 0, 0, 0]),
            _ if frame.is_multiple_of(2) => (Kind::Video, &[0x27, 1, 0, 0, 0]),
            _ => (Kind::Audio, &[0xAF, 1]),
        };
        let mut body = start.to_vec();
        while n > 2 && body.len() < size {
            body.extend(random.next().to_be_bytes());
        }
        let timestamp = 20 * frame as u32;
        Tag {
            kind,
            timestamp,
            body,
        }
    };
    (0..count).map(&mut tag).collect()
}

/// xorshift64: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn status_in(body: &[u8]) -> Result<Status, String> {
    let property = |name| property(body, name).ok_or(format!("no {name} in {body:?}"));
    Ok(Status {
        code: property("code")?,
        text: property("description")?,
    })
}

fn told(error: impl std::fmt::Display) -> String {
    format!("the client: {error}")
}

// AMF0, as much as is needed to write.

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short string");
    [&[2][..], &length.to_be_bytes(), text.as_bytes()].concat()
}

fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

fn null() -> Vec<u8> {
    vec![5]
}

/// The string that is the value of a property, of the one object in `body` or of any.
fn property(body: &[u8], name: &str) -> Option<String> {
    let name = &string(name)[1..];
    let at = body.windows(name.len()).position(|bytes| bytes == name)?;
    let value = &body[at + name.len()..];
    let (&[2, high, low], text) = value.split_first_chunk::<3>()? else {
        return None;
    };
    let text = text.get(..u16::from_be_bytes([high, low]) as usize)?;
    String::from_utf8(text.to_vec()).ok()
}
