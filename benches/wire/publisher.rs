//! The publishing side: plain writes of bytes that were made before.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::commands::{self, COMMAND, PACKET, SET_CHUNK_SIZE};
use crate::load::wire::Wire;
use crate::machine::monotonic;

/// Longer than any server takes for anything here.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of one write at full speed.
const WRITE: usize = 256 << 10;

/// When the last byte of a tag was about to be written, and where the tag ends in the FLV.
pub struct Sent {
    pub at: Duration,
    pub end: u64,
}

pub struct Publisher {
    stream: TcpStream,
    /// Reads what the server says, until it closes. None without RTMP.
    drain: Option<JoinHandle<std::io::Result<u64>>>,
    chunk_size: usize,
}

impl Publisher {
    /// A connection that carries FLV and nothing else.
    pub fn plain(port: u16) -> Result<Self> {
        Ok(Self {
            stream: connect(port)?,
            drain: None,
            chunk_size: 0,
        })
    }

    /// Publishes, and says how long that took: from connect to `NetStream.Publish.Start`.
    pub fn rtmp(port: u16, key: &str, chunk_size: usize) -> Result<(Self, Duration)> {
        let start = Instant::now();
        let mut client = Client::connect(port, chunk_size)?;
        client.write(&commands::create_stream(chunk_size))?;
        client.wait_for("_result")?;
        client.write(&commands::publish(key, chunk_size))?;
        let status = client.wait_for("onStatus")?;
        let started = b"NetStream.Publish.Start";
        if !status.windows(started.len()).any(|part| part == started) {
            return Err(format!("not let in: {}", status.escape_ascii()).into());
        }
        let elapsed = start.elapsed();
        let mut answers = client.answers;
        let drain = std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        let publisher = Self {
            stream: client.stream,
            drain: Some(drain),
            chunk_size,
        };
        Ok((publisher, elapsed))
    }

    /// Head and laps as fast as the server takes them.
    pub fn send(&mut self, wire: &Wire, laps: u32) -> Result<()> {
        self.stream.write_all(&wire.head)?;
        for _ in 0..laps {
            for part in wire.lap.chunks(WRITE) {
                self.stream.write_all(part)?;
            }
        }
        Ok(())
    }

    /// Head and laps in real time, each message in one write when it is due.
    pub fn send_paced(&mut self, wire: &Wire, laps: u32, head_size: u64) -> Result<Vec<Sent>> {
        let mut sent = Vec::with_capacity(wire.messages.len() * laps as usize);
        self.stream.write_all(&wire.head)?;
        let begin = Instant::now();
        let mut end = head_size;
        for lap in 0..laps {
            let mut from = 0;
            for message in &wire.messages {
                let due = begin + wire.duration * lap + message.due;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                end += message.tag_size;
                sent.push(Sent {
                    at: monotonic(),
                    end,
                });
                self.stream.write_all(&wire.lap[from..message.end])?;
                from = message.end;
            }
        }
        Ok(sent)
    }

    /// Says that nothing follows, and waits until an RTMP server has closed as well.
    pub fn finish(mut self) -> Result<()> {
        if let Some(drain) = self.drain {
            self.stream
                .write_all(&commands::delete_stream(self.chunk_size))?;
            self.stream.shutdown(Shutdown::Write)?;
            match drain.join() {
                Ok(drained) => drop(drained?),
                Err(_) => return Err("the thread that reads answers panicked".into()),
            }
        } else {
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

/// A client that has said `connect`, and does not publish.
pub struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    in_chunk_size: usize,
    /// Length and type of the last message on each chunk stream, by id.
    shapes: [(usize, u8); 64],
}

impl Client {
    pub fn connect(port: u16, chunk_size: usize) -> Result<Self> {
        let stream = connect(port)?;
        let mut client = Self {
            answers: BufReader::new(stream.try_clone()?),
            stream,
            in_chunk_size: commands::DEFAULT_CHUNK_SIZE,
            shapes: [(0, 0); 64],
        };
        client.write(&commands::hello())?;
        let mut s0_s1_s2 = [0; 1 + 2 * PACKET];
        client.answers.read_exact(&mut s0_s1_s2)?;
        let c2 = s0_s1_s2[1..=PACKET].to_vec();
        client.write(&[c2, commands::connect(chunk_size)].concat())?;
        client.wait_for("_result")?;
        Ok(client)
    }

    /// Whether the server has not closed.
    pub fn is_open(&self) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        Ok(match self.stream.peek(&mut [0]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The body of the next command of this name.
    fn wait_for(&mut self, name: &str) -> Result<Vec<u8>> {
        let name = commands::string(name);
        loop {
            let (kind, body) = self.message()?;
            match kind {
                COMMAND if body.starts_with(&name) => return Ok(body),
                COMMAND if body.starts_with(&commands::string("_error")) => {
                    return Err(format!("refused: {}", body.escape_ascii()).into());
                }
                SET_CHUNK_SIZE => {
                    let size = body.first_chunk().ok_or("a short chunk size")?;
                    self.in_chunk_size = u32::from_be_bytes(*size) as usize;
                }
                _ => {}
            }
        }
    }

    /// The next message. Servers do not interleave theirs, nor need more than 62 chunk streams.
    fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut body = Vec::new();
        loop {
            let [first] = self.fields()?;
            let shape = usize::from(first & 0x3F);
            if shape < 2 {
                return Err("a long chunk stream id".into());
            }
            if first >> 6 < 3 {
                let [t2, t1, t0] = self.fields()?;
                if first >> 6 < 2 {
                    let [l2, l1, l0, kind] = self.fields()?;
                    let length = u32::from_be_bytes([0, l2, l1, l0]) as usize;
                    self.shapes[shape] = (length, kind);
                }
                if first >> 6 == 0 {
                    let _stream: [u8; 4] = self.fields()?;
                }
                if [t2, t1, t0] == [0xFF; 3] {
                    return Err("an extended time".into());
                }
            }
            let (length, kind) = self.shapes[shape];
            let from = body.len();
            body.resize(length.min(from + self.in_chunk_size), 0);
            self.answers.read_exact(&mut body[from..])?;
            if body.len() == length {
                return Ok((kind, body));
            }
        }
    }

    fn fields<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.answers.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}
