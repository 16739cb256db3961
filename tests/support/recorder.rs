//! A TCP proxy on loopback that forwards both directions and keeps what the client sent.
//!
//! It shows what reached the server when the publisher itself cannot tell, because it was killed. A half close is
//! forwarded as a half close and a reset as a reset; a byte counts as recorded once it was handed on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How one direction of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

/// What is known of one connection.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The client's bytes that were handed on to the server.
    pub bytes: Vec<u8>,
    /// How the client ended its direction, once it has.
    pub end: Option<End>,
}

#[derive(Default)]
struct Shared {
    recordings: Mutex<Vec<Recording>>,
    changed: Condvar,
    stopping: AtomicBool,
    /// Held weakly: a socket closes when both of its directions have ended.
    sockets: Mutex<Vec<Weak<TcpStream>>>,
}

pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts to listen, and forwards every connection to `server`.
    pub fn start(server: SocketAddr) -> Recorder {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, server, &shared)
        });
        Recorder {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Waits until connection `index` (counted from 0) satisfies `condition`, and returns it as it then is.
    pub fn wait_for(
        &self,
        index: usize,
        deadline: Duration,
        condition: impl Fn(&Recording) -> bool,
    ) -> Result<Recording, String> {
        let recordings = self.shared.recordings.lock().unwrap();
        let unmet =
            |recordings: &mut Vec<Recording>| !recordings.get(index).is_some_and(&condition);
        let (recordings, timeout) = self
            .shared
            .changed
            .wait_timeout_while(recordings, deadline, unmet)
            .unwrap();
        if timeout.timed_out() {
            let state: Vec<_> = recordings.iter().map(|r| (r.bytes.len(), r.end)).collect();
            return Err(format!(
                "not seen on the wire within {deadline:?}; connections (bytes, end): {state:?}"
            ));
        }
        Ok(recordings[index].clone())
    }

    /// Waits until the client of connection `index` has ended its direction.
    pub fn wait_for_end(&self, index: usize, deadline: Duration) -> Result<Recording, String> {
        self.wait_for(index, deadline, |recording| recording.end.is_some())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if nothing can connect, it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, shared: &Arc<Shared>) {
    let mut relays = Vec::new();
    for client in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(client) = client else { continue };
        // A server that does not listen is seen by the client as a connection that closes at once.
        let Ok(server) = TcpStream::connect(server) else {
            continue;
        };
        relays.extend(forward(client, server, shared));
    }
    for socket in shared
        .sockets
        .lock()
        .unwrap()
        .iter()
        .filter_map(Weak::upgrade)
    {
        // Already closed is as good.
        let _ = socket.shutdown(Shutdown::Both);
    }
    for relay in relays {
        let _ = relay.join();
    }
}

fn forward(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) -> [JoinHandle<()>; 2] {
    for socket in [&client, &server] {
        socket
            .set_nodelay(true)
            .expect("TCP_NODELAY on a connected socket");
    }
    let index = {
        let mut recordings = shared.recordings.lock().unwrap();
        recordings.push(Recording::default());
        recordings.len() - 1
    };
    let (client, server) = (Arc::new(client), Arc::new(server));
    shared
        .sockets
        .lock()
        .unwrap()
        .extend([Arc::downgrade(&client), Arc::downgrade(&server)]);
    let upstream = std::thread::spawn({
        let (client, server, shared) = (client.clone(), server.clone(), shared.clone());
        move || {
            let record = |bytes: &[u8]| {
                shared.recordings.lock().unwrap()[index]
                    .bytes
                    .extend_from_slice(bytes);
                shared.changed.notify_all();
            };
            let end = relay(&client, &server, record);
            shared.recordings.lock().unwrap()[index].end = Some(end);
            shared.changed.notify_all();
        }
    });
    let downstream = std::thread::spawn(move || {
        relay(&server, &client, |_| ());
    });
    [upstream, downstream]
}

/// Copies one direction until it ends, and hands the end on.
fn relay(from: &TcpStream, to: &TcpStream, mut copied: impl FnMut(&[u8])) -> End {
    let mut buffer = vec![0; 64 * 1024];
    let (mut source, mut sink) = (from, to);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => {
                // The other side may have gone first.
                let _ = to.shutdown(Shutdown::Write);
                return End::Closed;
            }
            Ok(count) => match sink.write_all(&buffer[..count]) {
                Ok(()) => copied(&buffer[..count]),
                Err(_) => {
                    // The receiver is gone, so the sender is told.
                    reset_at_close(from);
                    wake_reader(to);
                    return End::Reset;
                }
            },
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => {
                wait_until_delivered(to);
                reset_at_close(to);
                wake_reader(to);
                return End::Reset;
            }
        }
    }
}

/// The last close of this socket sends a reset. Both directions share the socket, so that is when both have ended.
fn reset_at_close(socket: &TcpStream) {
    socket2::SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .expect("SO_LINGER on a socket");
}

/// Ends the other direction, which reads from this socket; puts nothing on the wire.
fn wake_reader(socket: &TcpStream) {
    // A socket that is no longer connected has no reader to wake.
    let _ = socket.shutdown(Shutdown::Read);
}

/// A reset throws away what was not delivered yet, but what was recorded is to arrive.
fn wait_until_delivered(socket: &TcpStream) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut unsent: libc::c_int = 0;
    loop {
        // SAFETY: TIOCOUTQ writes one int to the address given, for as long as the call lasts.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut unsent) };
        if result != 0 || unsent == 0 || Instant::now() > deadline {
            return;
        }
        std::thread::yield_now();
    }
}
