//! TLS on a socket, with the operations of a plain one.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::TlsError;
use crate::rtmp::handshake::HandshakeError;
use crate::server::buffer::ReadBuffer;
use crate::server::proxy::{self, ProxyError};
use crate::server::socket::{is_reset, shut_down};

/// Bytes that a client may send before its TLS handshake is over. A ClientHello
/// with everything that browsers put into it has 2 KiB; rustls would gather 64.
const LONGEST_HANDSHAKE: usize = 16 << 10;

/// A record with its header and all that encryption may add (RFC 5246, section 6.2.3).
const LONGEST_RECORD: usize = 5 + (16 << 10) + 2048;

/// Encrypted bytes that wait for room in the socket. Answers are few and small;
/// what finds no room here stays with the session, which counts it.
const WAITING: usize = 16 << 10;

/// Reads and writes plaintext. The TLS handshake takes place inside of
/// [`try_read`](Self::try_read): until it is over, there is nothing to read.
///
/// What a stranger costs here: 16 KiB for what it sends, at most as much in rustls
/// for a record or handshake message that is not whole (34 KiB for such a message
/// behind the handshake), and our flight.
pub(in crate::server) struct TlsSocket {
    tcp: TcpStream,
    tls: ServerConnection,
    /// Encrypted, and not yet with rustls, which takes 4 KiB at a time.
    received: ReadBuffer,
    handshake_bytes: usize,
    /// Encrypted bytes that rustls took since anything came out.
    unproductive: usize,
    /// Came after plaintext that was handed out first.
    late_error: Option<io::Error>,
    failed: bool,
}

impl TlsSocket {
    pub fn new(
        tcp: TcpStream,
        config: Arc<ServerConfig>,
        received: ReadBuffer,
    ) -> io::Result<Self> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(WAITING));
        Ok(Self {
            tcp,
            tls,
            received,
            handshake_bytes: 0,
            unproductive: 0,
            late_error: None,
            failed: false,
        })
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// `WouldBlock` means that neither the socket nor rustls has anything more.
    /// 0 is the end, with or without a close_notify: most encoders just close, and
    /// whoever could cut TCP short could as well have cut a plain connection.
    pub fn try_read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.late_error.take() {
            return Err(error);
        }
        let mut filled = 0;
        while filled < room.len() {
            match self.tls.reader().read(&mut room[filled..]) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            if self.received.unread().is_empty() {
                if filled > 0 {
                    break;
                }
                match self.tcp.try_read(self.received.room())? {
                    0 => return Ok(0),
                    n => self.received.filled(n, false),
                }
            }
            match self.decrypt() {
                Ok(()) => {}
                Err(error) if filled > 0 => {
                    self.late_error = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Hands the next piece of what was received to rustls, and the socket what
    /// rustls has to say to that.
    fn decrypt(&mut self) -> io::Result<()> {
        let result = self.take_piece();
        if result.is_err() {
            self.failed = true;
        }
        // If it can't be written, the next read or write finds out.
        let _ = self.write_pending();
        result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn take_piece(&mut self) -> Result<(), TlsError> {
        let was_handshaking = self.tls.is_handshaking();
        let mut unread = self.received.unread();
        if self.handshake_bytes == 0
            && let Err(error) = insist_on_tls(unread)
        {
            if error == TlsError::PlainHttp {
                // In its own language, as on a plain port.
                let _ = self.tcp.try_write(HandshakeError::Http.farewell());
            }
            return Err(error);
        }
        let before = unread.len();
        let failed = |error: String| match was_handshaking {
            true => TlsError::Handshake(error),
            false => TlsError::Record(error),
        };
        // Into memory, so this fails for want of room only.
        let read = self.tls.read_tls(&mut unread);
        let left = unread.len();
        self.received.keep(left);
        read.map_err(|error| failed(error.to_string()))?;
        if was_handshaking {
            self.handshake_bytes += before - left;
        }
        let state = self
            .tls
            .process_new_packets()
            .map_err(|error| failed(error.to_string()))?;
        self.unproductive += before - left;
        if state.plaintext_bytes_to_read() > 0 {
            self.unproductive = 0;
        }
        // A handshake message behind the handshake, which rustls would gather as well.
        if !was_handshaking && self.unproductive > LONGEST_HANDSHAKE + LONGEST_RECORD {
            return Err(TlsError::TooLong(LONGEST_HANDSHAKE));
        }
        if self.tls.is_handshaking() && self.handshake_bytes > LONGEST_HANDSHAKE {
            return Err(TlsError::TooLong(LONGEST_HANDSHAKE));
        }
        Ok(())
    }

    /// At most [`WAITING`] bytes are taken before the socket has them.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_pending()?;
        let n = self.tls.writer().write(bytes)?;
        match self.write_pending() {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(n),
        }
    }

    /// Writes what is encrypted already. `WouldBlock` if there is no room for all
    /// of it.
    fn write_pending(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut TryWrite(&self.tcp)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // It takes nothing more, and may have sent something before.
                Err(e) if is_reset(&e) => {
                    self.tls.write_tls(&mut io::sink())?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub async fn ready(&mut self, interest: Interest) -> io::Result<()> {
        while self.tls.wants_write() {
            let ready = self.tcp.ready(interest | Interest::WRITABLE).await?;
            if ready.is_writable() {
                match self.write_pending() {
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                    _ => {}
                }
            }
            if interest.is_readable() && ready.is_readable() {
                return Ok(());
            }
        }
        self.tcp.ready(interest).await.map(drop)
    }

    /// Gives memory back that is not needed while nothing comes.
    pub fn release(&mut self) {
        self.received.release();
    }

    /// close_notify, and then the end.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.say_the_end();
        while let Err(error) = self.write_pending() {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            self.tcp.writable().await?;
        }
        shut_down(&self.tcp)
    }

    /// After a failure there is an alert instead, or nobody who speaks TLS.
    fn say_the_end(&mut self) {
        if !self.failed {
            self.tls.send_close_notify();
        }
    }
}

/// However the connection ends, a client that waits for close_notify gets it.
impl Drop for TlsSocket {
    fn drop(&mut self) {
        self.say_the_end();
        let _ = self.write_pending();
    }
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSocket")
            .field("tcp", &self.tcp)
            .finish_non_exhaustive()
    }
}

/// What a client is that does not begin with a TLS handshake.
fn insist_on_tls(first: &[u8]) -> Result<(), TlsError> {
    /// The content type of a record that holds handshake messages (RFC 8446,
    /// section 5.1).
    const HANDSHAKE: u8 = 22;
    match first {
        [] | [HANDSHAKE, ..] => Ok(()),
        _ if proxy::is_header(first) => Err(TlsError::Proxy(ProxyError::Unexpected)),
        [3, ..] => Err(TlsError::PlainRtmp),
        [b'A'..=b'Z', ..] => Err(TlsError::PlainHttp),
        _ => Err(TlsError::NoTls),
    }
}

/// A writer that does not wait.
struct TryWrite<'a>(&'a TcpStream);

/// Without `write_vectored`: that is writev(2), which raises SIGPIPE if the peer is gone. Rust's own programs ignore
/// it; of a host like gst-launch-1.0 it is the end. `write` is send(2) with MSG_NOSIGNAL.
impl Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

    fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    fn would_block<T>(result: &io::Result<T>) -> bool {
        matches!(result, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    type Peer = StreamOwned<ClientConnection, std::net::TcpStream>;

    /// A connection to `peer`, which runs on a thread of its own and has said hello.
    async fn connected<T: Send + 'static>(
        peer: impl FnOnce(Peer) -> T + Send + 'static,
    ) -> (TlsSocket, std::thread::JoinHandle<T>) {
        let (server, client) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let tcp = std::net::TcpStream::connect(address).unwrap();
            let name = "localhost".try_into().unwrap();
            let tls = ClientConnection::new(client, name).unwrap();
            let mut stream = StreamOwned::new(tls, tcp);
            stream.write_all(b"hello").unwrap();
            peer(stream)
        });
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_nonblocking(true).unwrap();
        let tcp = TcpStream::from_std(tcp).unwrap();
        let mut socket = TlsSocket::new(tcp, server, ReadBuffer::new()).unwrap();
        let mut hello = [0; 5];
        assert_eq!(read(&mut socket, &mut hello).await, 5);
        assert_eq!(&hello, b"hello");
        (socket, peer)
    }

    async fn read(socket: &mut TlsSocket, room: &mut [u8]) -> usize {
        loop {
            let result = socket.try_read(room);
            if !would_block(&result) {
                return result.unwrap();
            }
            socket.ready(Interest::READABLE).await.unwrap();
        }
    }

    /// The peer reads nothing until the socket is full. What was taken until then gets
    /// to it without another write: who has nothing more to say only waits to read.
    #[tokio::test]
    async fn what_was_taken_is_written_while_waiting_to_read() {
        let (full, may_read) = std::sync::mpsc::channel();
        let (mut socket, peer) = connected(move |mut stream| {
            let wanted: usize = may_read.recv().unwrap();
            let mut heard = vec![0; wanted];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(b"all").unwrap();
            heard
        })
        .await;
        let mut sent = Vec::new();
        loop {
            let bytes: Vec<u8> = (0..1000).map(|n| (n + sent.len()) as u8).collect();
            let taken = socket.try_write(&bytes);
            if would_block(&taken) {
                break;
            }
            sent.extend_from_slice(&bytes[..taken.unwrap()]);
        }
        assert!(socket.tls.wants_write(), "nothing is left to write");
        full.send(sent.len()).unwrap();
        let mut all = [0; 3];
        let heard = timeout(PATIENCE, read(&mut socket, &mut all));
        assert_eq!(heard.await.expect("the peer has heard all"), 3);
        assert!(peer.join().unwrap() == sent);
    }

    /// However little room there is: nobody wakes who waits for a socket while what
    /// it waits for is here.
    #[tokio::test]
    async fn nothing_stays_behind_when_it_would_block() {
        const COUNT: usize = 40_000;
        let (sent, all_sent) = std::sync::mpsc::channel();
        let (mut socket, peer) = connected(move |mut stream| {
            let bytes: Vec<u8> = (0..COUNT).map(|n| n as u8).collect();
            stream.write_all(&bytes).unwrap();
            sent.send(()).unwrap();
            // Open until the other side has closed.
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            bytes
        })
        .await;
        all_sent.recv().unwrap();
        let (mut got, mut room) = (Vec::new(), [0; 100]);
        let first = timeout(PATIENCE, read(&mut socket, &mut room));
        let first = first.await.expect("something comes");
        got.extend_from_slice(&room[..first]);
        // All of it is here, so nothing blocks before the end.
        while got.len() < COUNT {
            let n = socket.try_read(&mut room).unwrap();
            got.extend_from_slice(&room[..n]);
        }
        assert!(would_block(&socket.try_read(&mut room)));
        drop(socket);
        assert!(peer.join().unwrap() == got);
    }
}
