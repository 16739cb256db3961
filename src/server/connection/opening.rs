//! What is between TCP and RTMP.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::server::buffer::ReadBuffer;
use crate::server::event::{CloseReason, ConnectionEvent};
use crate::server::proxy::{self, Failure, Origin};
use crate::server::slot::Slot;
use crate::server::socket::Socket;

/// The PROXY header and TLS, if there are to be any. What was read of RTMP already comes with it.
pub async fn open(
    stream: TcpStream,
    slot: &mut Slot,
    deadline: Instant,
) -> Result<(Socket, ReadBuffer), CloseReason> {
    let mut received = ReadBuffer::new();
    if slot.shared.settings.proxy_protocol {
        let seconds = slot.shared.settings.publish_deadline.as_secs();
        match proxy::read_header(&stream, &mut received, deadline, seconds).await {
            Ok(Origin::Client(client)) => slot.speaks_for(client),
            Ok(Origin::Unknown) => {}
            // It may look as deep as it likes, into TLS and the handshake.
            Ok(Origin::Local) => slot.is_health_check = true,
            Err(Failure::Silent) => {
                slot.is_health_check = true;
                return Err(CloseReason::Finished);
            }
            Err(Failure::Refused(error)) => return Err(CloseReason::Proxy(error)),
        }
    }
    slot.notify(ConnectionEvent::Opened);
    Ok(match &slot.shared.certificates {
        None => (Socket::Plain(stream), received),
        Some(certificates) => {
            let observer = slot.shared.any_observer();
            let socket = certificates.accept(stream, received, observer).await?;
            (socket, ReadBuffer::new())
        }
    })
}

/// S1 only has to differ from one connection to the next.
pub fn rand_seed(slot: &Slot) -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    let mut seed = [0; 32];
    for (n, part) in seed.chunks_exact_mut(8).enumerate() {
        let hash = RandomState::new().hash_one((n, slot.peer));
        part.copy_from_slice(&hash.to_ne_bytes());
    }
    seed
}

/// A peer that lost its power or its network sends no FIN. The kernel asks it whether
/// it is there, so that with `timeout` 0, or while its data are not wanted, its
/// connection does not stay for ever: after 10 s of silence, three times, 5 s apart.
/// A living one answers that, whatever its encoder does.
pub fn notice_dead_peers(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5));
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    let keepalive = keepalive.with_retries(3);
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&keepalive);
    // The same for what we sent and it did not acknowledge.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(25)));
}
