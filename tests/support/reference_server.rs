//! A small RTMP server made of an independent crate, which lets any publisher publish.
//!
//! It keeps nothing. With a `Recorder` in front it shows what a publisher sends to some server, and so whether the
//! tests know rightly what was sent, before they judge the element by it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult,
};

pub struct ReferenceServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl ReferenceServer {
    pub fn start() -> ReferenceServer {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
        let address = listener.local_addr().unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let acceptor = std::thread::spawn({
            let stopping = stopping.clone();
            move || {
                for client in listener.incoming().flatten() {
                    if stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    // One after the other; a client that fails is none of the next one's business.
                    let _ = serve(&client);
                    let _ = client.shutdown(Shutdown::Both);
                }
            }
        });
        ReferenceServer {
            address,
            stopping,
            acceptor: Some(acceptor),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ReferenceServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if nothing can connect, it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn serve(mut client: &TcpStream) -> Result<(), AnyError> {
    client.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut handshake = Handshake::new(PeerType::Server);
    client.write_all(&handshake.generate_outbound_p0_and_p1().map_err(as_text)?)?;
    let early = loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        match handshake.process_bytes(&buffer[..count]).map_err(as_text)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                client.write_all(&response_bytes)?
            }
            HandshakeProcessResult::Completed {
                response_bytes,
                remaining_bytes,
            } => {
                client.write_all(&response_bytes)?;
                break remaining_bytes;
            }
        }
    };

    let (mut session, greeting) =
        ServerSession::new(ServerSessionConfig::new()).map_err(as_text)?;
    answer(client, &mut session, greeting)?;
    let results = session.handle_input(&early).map_err(as_text)?;
    answer(client, &mut session, results)?;
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let results = session.handle_input(&buffer[..count]).map_err(as_text)?;
        answer(client, &mut session, results)?;
    }
}

/// Sends what the session wants sent, and grants every request.
fn answer(
    mut client: &TcpStream,
    session: &mut ServerSession,
    results: Vec<ServerSessionResult>,
) -> Result<(), AnyError> {
    for result in results {
        match result {
            ServerSessionResult::OutboundResponse(packet) => client.write_all(&packet.bytes)?,
            ServerSessionResult::RaisedEvent(
                ServerSessionEvent::ConnectionRequested { request_id, .. }
                | ServerSessionEvent::ReleaseStreamRequested { request_id, .. }
                | ServerSessionEvent::PublishStreamRequested { request_id, .. },
            ) => {
                let granted = session.accept_request(request_id).map_err(as_text)?;
                answer(client, session, granted)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The crate's errors cannot pass between threads as they are.
fn as_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
