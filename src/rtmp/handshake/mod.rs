//! The server's side of the RTMP handshake.
//!
//! ```text
//! client                      server
//!   C0 (1 byte), C1 (1536)  →
//!                           ←   S0 (1), S1 (1536), S2 (1536)
//!   C2 (1536)               →
//! ```
//!
//! There are two dialects: the simple one of the specification ("Adobe's Real Time Messaging
//! Protocol", section 5.2), in which S2 echoes C1, and the digest one of Flash. The client chooses
//! by what it puts into C1.
//!
//! Nothing here reads a socket, a clock or a random source:
//!
//! ```
//! use bytes::BytesMut;
//! use gstrtmp2server::rtmp::handshake::{Progress, ServerHandshake};
//!
//! let mut handshake = ServerHandshake::new([7; 32]);
//! let mut to_send = BytesMut::new();
//!
//! let hello = [&[3][..], &[0; 1536]].concat();
//! let mut received = hello.as_slice();
//! assert_eq!(handshake.read(&mut received, &mut to_send), Ok(Progress::NeedMore));
//! assert!(received.is_empty());
//! assert_eq!(to_send.len(), 1 + 1536 + 1536);
//! ```

mod digest;
mod sha256;

use bytes::{BufMut, BytesMut};

use digest::Signed;

/// Bytes of C1, C2, S1 and S2 (section 5.2.3).
const PACKET: usize = 1536;

type Packet = [u8; PACKET];

/// The version of plain RTMP, the only content of C0 and S0 (section 5.2.2).
const VERSION: u8 = 3;

/// What S1 states in the digest handshake. Clients check a server's digests only from Flash Media
/// Server 3 on; this is 4.5.0.1, as other servers say.
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];

/// The state of one connection's handshake.
#[derive(Debug)]
pub struct ServerHandshake {
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitC0C1 { seed: [u8; 32] },
    AwaitC2,
    Done,
}

/// How far a handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next packet is not whole yet.
    NeedMore,
    /// The handshake is over; what is left of the input are chunks.
    Done,
}

/// Who is there instead of an RTMP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Encrypted RTMP: version 6 (RTMPE), 8 (RTMPE with XTEA) or 9 (RTMPE with Blowfish). Long
    /// broken; RTMPS is what replaced it.
    #[error("the client wants RTMPE (version {0}), which is not supported")]
    Encrypted(u8),
    /// An HTTP request, or another text protocol that starts with a capital letter.
    #[error("the client speaks HTTP, not RTMP")]
    Http,
    /// A TLS handshake: an RTMPS client on a port without TLS.
    #[error("the client speaks TLS, but this port is plain RTMP")]
    Tls,
    /// Nothing that is known.
    #[error("the client asks for unknown RTMP version {0}")]
    Version(u8),
}

impl HandshakeError {
    /// What to send before closing, so that the other side learns why in its own language. Empty
    /// if there is no such language.
    pub fn farewell(&self) -> &'static [u8] {
        match self {
            HandshakeError::Http => {
                b"HTTP/1.1 400 Bad Request\r\n\
                  Connection: close\r\n\
                  Content-Type: text/plain\r\n\
                  Content-Length: 32\r\n\
                  \r\n\
                  this port speaks RTMP, not HTTP\n"
            }
            // A record of type alert, version 3.3 (TLS 1.2), 2 bytes: fatal, handshake_failure
            // (RFC 8446, sections 5.1 and 6).
            HandshakeError::Tls => &[21, 3, 3, 0, 2, 2, 40],
            HandshakeError::Encrypted(_) | HandshakeError::Version(_) => &[],
        }
    }
}

impl ServerHandshake {
    /// Waits for a client.
    ///
    /// `seed` becomes the random part of the server's packets. It should differ between
    /// connections, but nothing rests on it being secret.
    pub fn new(seed: [u8; 32]) -> Self {
        ServerHandshake {
            state: State::AwaitC0C1 { seed },
        }
    }

    /// Whether C0 and C1 have come and were answered.
    pub fn has_answered(&self) -> bool {
        !matches!(self.state, State::AwaitC0C1 { .. })
    }

    /// Goes on with what has been received.
    ///
    /// Consumes whole packets from the front of `input`; what is incomplete stays there, at most
    /// 1536 bytes, and has to be there again the next time. Appends to `output` what is to be
    /// sent now.
    ///
    /// After an error, send [`HandshakeError::farewell`] and close. Whether the first byte can be
    /// RTMP is known as soon as it is there.
    pub fn read(
        &mut self,
        input: &mut &[u8],
        output: &mut BytesMut,
    ) -> Result<Progress, HandshakeError> {
        loop {
            match &self.state {
                State::AwaitC0C1 { seed } => {
                    let Some((&c0, after_c0)) = input.split_first() else {
                        return Ok(Progress::NeedMore);
                    };
                    check_version(c0)?;
                    let Some((c1, rest)) = after_c0.split_first_chunk() else {
                        return Ok(Progress::NeedMore);
                    };
                    answer(c1, seed, output);
                    *input = rest;
                    self.state = State::AwaitC2;
                }
                State::AwaitC2 => {
                    // Section 5.2.4 makes C2 an echo of S1, but nginx and others send something
                    // else, so whatever is there will do.
                    let Some((_, rest)) = input.split_first_chunk::<PACKET>() else {
                        return Ok(Progress::NeedMore);
                    };
                    *input = rest;
                    self.state = State::Done;
                }
                State::Done => return Ok(Progress::Done),
            }
        }
    }
}

/// Section 5.2.2 reserves 32 and up so that text protocols can be told from RTMP.
fn check_version(c0: u8) -> Result<(), HandshakeError> {
    match c0 {
        VERSION => Ok(()),
        6 | 8 | 9 => Err(HandshakeError::Encrypted(c0)),
        // The record type "handshake", with which a ClientHello starts.
        0x16 => Err(HandshakeError::Tls),
        // Every HTTP method starts with a capital letter, and no RTMP version is one.
        b'A'..=b'Z' => Err(HandshakeError::Http),
        _ => Err(HandshakeError::Version(c0)),
    }
}

/// Writes S0, S1 and S2, in one go: they are one segment or two, and no client needs S1 early.
fn answer(c1: &Packet, seed: &[u8; 32], output: &mut BytesMut) {
    let mut s1 = random(seed, 1);
    // The time, whose zero is ours to choose.
    s1[..4].fill(0);
    // A version of zero promises nothing; then there is no digest to look for.
    let version = &c1[4..8];
    let signed = if version == [0; 4] {
        None
    } else {
        digest::find(c1)
    };
    let s2 = match signed {
        Some(Signed { scheme, digest }) => {
            s1[4..8].copy_from_slice(&SERVER_VERSION);
            digest::sign_s1(&mut s1, scheme);
            let mut s2 = random(seed, 2);
            digest::sign_s2(&mut s2, &digest);
            s2
        }
        None => {
            s1[4..8].fill(0);
            *c1
        }
    };
    output.reserve(1 + 2 * PACKET);
    output.put_u8(VERSION);
    output.put_slice(&s1);
    output.put_slice(&s2);
}

/// Stretches the seed to a packet; `number` tells the packets of one connection apart.
fn random(seed: &[u8; 32], number: u8) -> Packet {
    let mut packet = [0; PACKET];
    for (chunk, index) in packet.as_chunks_mut().0.iter_mut().zip(0u8..) {
        *chunk = sha256::sha256(&[seed, &[number, index]]);
    }
    packet
}

#[cfg(test)]
mod tests;
