//! What a connection reads from and writes to.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use super::tls::TlsSocket;

/// A connected socket, as tokio has it: operations that never wait, and waiting
/// until they may succeed.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// The connection underneath.
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// Reads what there is, `WouldBlock` if that is nothing. 0 is the end.
    pub fn try_read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_read(room),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.try_read(room),
        }
    }

    /// Writes what there is room for, `WouldBlock` if there is none.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.try_write(bytes),
        }
    }

    /// Waits until [`try_read`](Self::try_read) or [`try_write`](Self::try_write),
    /// whichever is of interest, may not block. Cancel safe. To be called after
    /// one of them would have blocked.
    pub async fn ready(&mut self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.ready(interest).await.map(drop),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.ready(interest).await,
        }
    }

    /// Gives memory back that is not needed while nothing comes.
    pub fn release(&mut self) {
        match self {
            Self::Plain(_) => {}
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.release(),
        }
    }

    /// Says that nothing follows. The peer may still send.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => shut_down(tcp),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.shutdown().await,
        }
    }

    /// Reads into the void until the peer closes. Below TLS: nobody is interested.
    pub async fn drain(&mut self) -> io::Result<()> {
        let (tcp, mut void) = (self.tcp(), [0; 4096]);
        loop {
            tcp.readable().await?;
            match tcp.try_read(&mut void) {
                Ok(0) => return Ok(()),
                Ok(_) => tokio::task::coop::consume_budget().await,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Waits until the peer closes its side. Unread data hide that from a read, so
    /// the socket is asked for its state now and then.
    pub async fn hung_up(&self) {
        let tcp = self.tcp();
        while !matches!(tcp.ready(Interest::READABLE).await, Ok(ready) if ready.is_read_closed()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// ffmpeg and librtmp leave Nagle's algorithm on and send a command, or a tag,
    /// in several writes: each next one waits for our TCP acknowledgement, which
    /// Linux holds back for 40 ms once a connection looks like a dialogue. It falls
    /// back to that by itself, so this is to be said whenever we are about to wait.
    pub fn acknowledge_at_once(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(self.tcp()).set_tcp_quickack(true);
    }
}

/// Closes our direction only. tokio's own shutdown wants a mutable stream and is
/// no more than this.
pub(super) fn shut_down(tcp: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(tcp).shutdown(Shutdown::Write)
}

/// The peer is gone, or takes nothing more.
pub(super) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
