//! The PROXY protocol, versions 1 and 2: how a load balancer says for whom it
//! connects, in front of everything else ("The PROXY protocol", HAProxy, section 2).
//!
//! The parser is the crate proxy-protocol-rs; here is what a listener makes of it.

use std::io;
use std::net::SocketAddr;

use proxy_protocol_rs::{Command, ParseError, TransportProtocol, V2_SIGNATURE};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::buffer::ReadBuffer;

/// Bytes of the longest header. Addresses need 52 at the most; HAProxy can add what
/// it knows of TLS, up to a client's whole certificate. The length field would
/// allow 64 KiB.
const LONGEST: usize = 4096;

/// What begins every header of version 1.
const V1_PREFIX: &[u8] = b"PROXY ";

/// Bytes in front of addresses and TLVs in version 2 (section 2.2).
const V2_FIXED: usize = 16;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of this client.
    Client(SocketAddr),
    /// Of a client whose address the balancer does not know or does not tell.
    Unknown,
    /// The balancer's own: a health check.
    Local,
}

/// Why a connection to a port that wants a header is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    #[error(
        "the client {0}: this port takes connections from a load balancer alone \
         (proxy-protocol=required)"
    )]
    Missing(&'static str),
    #[error("a PROXY header that can't be read: {0}")]
    Invalid(String),
    #[error("a PROXY header of {0} bytes; {LONGEST} are allowed")]
    TooLong(usize),
    #[error("a PROXY header for datagrams in front of a stream")]
    Datagrams,
    #[error("half a PROXY header")]
    Half,
    #[error("no PROXY header within {0} s (proxy-protocol=required)")]
    Late(u64),
    #[error(
        "a load balancer sends a PROXY header, which this port does not expect: set \
         proxy-protocol=required, or leave out send-proxy there"
    )]
    Unexpected,
}

/// Why there is no header.
#[derive(Debug)]
pub(super) enum Failure {
    /// It closed without a word, as a health check does that sends none.
    Silent,
    Refused(ProxyError),
}

/// Reads the header. What came behind it stays in `received`.
pub(super) async fn read_header(
    tcp: &TcpStream,
    received: &mut ReadBuffer,
    deadline: Instant,
    seconds: u64,
) -> Result<Origin, Failure> {
    let reading = async {
        loop {
            let unread = received.unread();
            let left = match parse(unread).map_err(Failure::Refused)? {
                Some((origin, length)) => {
                    let left = unread.len() - length;
                    received.keep(left);
                    return Ok(origin);
                }
                None => unread.len(),
            };
            // Whatever becomes of the socket, nothing can follow.
            let ended = || match left {
                0 => Failure::Silent,
                _ => Failure::Refused(ProxyError::Half),
            };
            tcp.readable().await.map_err(|_| ended())?;
            match tcp.try_read(received.room()) {
                Ok(0) => return Err(ended()),
                Ok(n) => received.filled(n, false),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(ended()),
            }
        }
    };
    timeout_at(deadline, reading)
        .await
        .unwrap_or(Err(Failure::Refused(ProxyError::Late(seconds))))
}

/// Whether this is a header, or the beginning of one.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(V1_PREFIX) || bytes.starts_with(V2_SIGNATURE)
}

/// The header at the start of `bytes` and its length; none while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Origin, usize)>, ProxyError> {
    let could_be = |magic: &[u8]| bytes.iter().zip(magic).all(|(a, b)| a == b);
    if !could_be(V1_PREFIX) && !could_be(V2_SIGNATURE) {
        return Err(ProxyError::Missing(who_speaks(bytes)));
    }
    if let (true, Some(&[command, family, high, low])) = (
        bytes.starts_with(V2_SIGNATURE),
        bytes
            .get(V2_FIXED - 4..V2_FIXED)
            .and_then(<[u8]>::first_chunk),
    ) {
        // Before any of it is there: nobody has to wait for what is refused.
        let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST {
            return Err(ProxyError::TooLong(length));
        }
        // A connection of some client, of an address family that has no name here.
        // Whether to take it is up to the receiver (section 2.2); the parser would
        // not.
        if (command, family) == (0x21, 0x00) {
            return Ok((bytes.len() >= length).then_some((Origin::Unknown, length)));
        }
    }
    let (info, length) = match proxy_protocol_rs::parse(bytes) {
        Ok(parsed) => parsed,
        Err(ParseError::Incomplete) => return Ok(None),
        // Some errors quote what was sent.
        Err(error) => {
            let text = error.to_string().escape_debug().to_string();
            return Err(ProxyError::Invalid(text));
        }
    };
    if let Some(transport) = info.transport
        && transport.protocol != TransportProtocol::Stream
    {
        return Err(ProxyError::Datagrams);
    }
    let origin = match (info.command, info.source_inet()) {
        (Command::Local, _) => Origin::Local,
        (_, Some(client)) => Origin::Client(client),
        (_, None) => Origin::Unknown,
    };
    Ok(Some((origin, length)))
}

/// What somebody speaks who came without a balancer.
fn who_speaks(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(3) => "speaks RTMP without a PROXY header",
        Some(22) => "speaks TLS without a PROXY header",
        Some(b'A'..=b'Z') => "speaks HTTP without a PROXY header",
        _ => "sent no PROXY header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family][..], &length, body].concat()
    }

    fn client(text: &str) -> Origin {
        Origin::Client(text.parse().unwrap())
    }

    const INET: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 7, 0x8F];

    fn inet6() -> Vec<u8> {
        let mut body = vec![0; 36];
        body[..4].copy_from_slice(&[0x20, 1, 0x0D, 0xB8]);
        body[15] = 9;
        body[31] = 1;
        body[32..].copy_from_slice(&[0x30, 0x39, 7, 0x8F]);
        body
    }

    fn good() -> Vec<(Vec<u8>, Origin)> {
        let noop = |length: usize| {
            let size = u16::try_from(length).unwrap().to_be_bytes();
            [INET, &[4], &size, &vec![0; length]].concat()
        };
        vec![
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1935\r\n".to_vec(),
                client("192.0.2.7:12345"),
            ),
            (
                b"PROXY TCP6 2001:db8::9 ::1 12345 1935\r\n".to_vec(),
                client("[2001:db8::9]:12345"),
            ),
            (
                b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                  ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
                    .to_vec(),
                client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Unknown),
            (
                b"PROXY UNKNOWN ffff::1 whatever it may be\r\n".to_vec(),
                Origin::Unknown,
            ),
            (v2(0x21, 0x11, INET), client("192.0.2.7:12345")),
            (v2(0x21, 0x21, &inet6()), client("[2001:db8::9]:12345")),
            (v2(0x21, 0x31, &[b'/'; 216]), Origin::Unknown),
            (v2(0x21, 0x00, b""), Origin::Unknown),
            (v2(0x21, 0x00, b"anything"), Origin::Unknown),
            (v2(0x20, 0x00, b""), Origin::Local),
            // The addresses of such a one are to be ignored.
            (v2(0x20, 0x11, INET), Origin::Local),
            (v2(0x21, 0x11, &noop(0)), client("192.0.2.7:12345")),
            // An unknown TLV, as of a cloud's balancer.
            (
                v2(0x21, 0x11, &[INET, &[0xEA, 0, 2, 1, 2]].concat()),
                client("192.0.2.7:12345"),
            ),
            // The longest that is allowed.
            (
                v2(0x21, 0x11, &noop(LONGEST - V2_FIXED - INET.len() - 3)),
                client("192.0.2.7:12345"),
            ),
        ]
    }

    #[test]
    fn headers_and_what_follows_them() {
        for (header, origin) in good() {
            assert!(is_header(&header));
            let expected = Ok(Some((origin, header.len())));
            assert_eq!(parse(&header), expected, "{header:02x?}");
            let more = [&header[..], b"\x03 and so on"].concat();
            assert_eq!(parse(&more), expected, "{header:02x?}");
        }
    }

    #[test]
    fn headers_cut_at_every_byte() {
        for (header, _) in good() {
            for length in 0..header.len() {
                assert_eq!(
                    parse(&header[..length]),
                    Ok(None),
                    "{length}: {header:02x?}"
                );
            }
        }
    }

    #[test]
    fn refusals() {
        let missing = |who| ProxyError::Missing(who);
        let cases = [
            (
                b"\x03\0\0".to_vec(),
                missing("speaks RTMP without a PROXY header"),
            ),
            (
                b"\x16\x03\x01".to_vec(),
                missing("speaks TLS without a PROXY header"),
            ),
            (
                b"GET / HTTP/1.1".to_vec(),
                missing("speaks HTTP without a PROXY header"),
            ),
            (
                b"POST / HTTP/1.1".to_vec(),
                missing("speaks HTTP without a PROXY header"),
            ),
            (
                b"\r\n\r\n\0\r\nQUIZ\n".to_vec(),
                missing("sent no PROXY header"),
            ),
            (v2(0x21, 0x12, INET), ProxyError::Datagrams),
            (
                v2(0x21, 0x11, &vec![0; LONGEST])[..V2_FIXED].to_vec(),
                ProxyError::TooLong(V2_FIXED + LONGEST),
            ),
            (
                v2(0x21, 0x00, &vec![0; LONGEST])[..V2_FIXED].to_vec(),
                ProxyError::TooLong(V2_FIXED + LONGEST),
            ),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(&bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn headers_that_make_no_sense() {
        let mut long = b"PROXY UNKNOWN ".to_vec();
        long.resize(107, b'x');
        let bad_checksum = [INET, &[3, 0, 4, 1, 2, 3, 4]].concat();
        for bytes in [
            &b"PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            b"PROXY TCP4 192.0.2.777 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 2001:db8::9 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
            b"PROXY \x1b[2J\xFF\r\n",
            b"PROXY \r\n",
            &long,
            &v2(0x31, 0x11, INET),
            &v2(0x22, 0x11, INET),
            &v2(0x21, 0x41, INET),
            &v2(0x21, 0x11, &INET[..11]),
            &v2(0x21, 0x21, INET),
            &v2(0x21, 0x11, &[INET, &[4, 0, 9]].concat()),
            &v2(0x21, 0x11, &bad_checksum),
        ] {
            match parse(bytes) {
                Err(ProxyError::Invalid(why)) => {
                    assert!(why.chars().all(|c| !c.is_control()), "{why:?}");
                }
                other => panic!("{bytes:02x?}: {other:?}"),
            }
        }
    }
}
