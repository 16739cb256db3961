//! A network between a publisher and the server that delivers in order, as TCP does, but not evenly.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::Random;

/// With this the server lets a publisher publish; media follow.
const LET_IN: &[u8] = b"NetStream.Publish.Start";
/// The first frames leave within this.
const BEGINNING: Duration = Duration::from_millis(100);

/// How long pieces of the publisher's media are on their way.
#[derive(Clone, Copy, Debug)]
pub struct Jitter {
    /// Those of the beginning, from which a receiver has to guess how the clocks stand to each other.
    pub first: Duration,
    /// All others: evenly distributed from 0 to this, the same in every run.
    pub up_to: Duration,
}

/// A link for one connection. All that comes before the media passes at once.
pub struct Link {
    address: SocketAddr,
    worker: Option<JoinHandle<()>>,
    late: Arc<Mutex<Vec<Duration>>>,
}

impl Link {
    pub fn start(server: SocketAddr, jitter: Jitter) -> Link {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
        let address = listener.local_addr().unwrap();
        let late = Arc::default();
        let worker = std::thread::spawn({
            let late = Arc::clone(&late);
            move || {
                let (client, _) = listener.accept().expect("a client");
                // The test is over, and has seen no publisher.
                if let Ok(server) = TcpStream::connect(server) {
                    carry(&client, &server, jitter, &late);
                }
            }
        });
        Link {
            address,
            worker: Some(worker),
            late,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How long each piece of media was on its way, the wait behind slower ones included.
    pub fn delays(&self) -> Vec<Duration> {
        self.late.lock().unwrap().clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Ends the waiting for a client if none has come.
        let _ = TcpStream::connect(self.address);
        let worker = self.worker.take().expect("dropped once");
        let panicked = worker.join().is_err();
        assert!(!panicked || std::thread::panicking(), "the link panicked");
    }
}

fn carry(client: &TcpStream, server: &TcpStream, jitter: Jitter, late: &Mutex<Vec<Duration>>) {
    for socket in [client, server] {
        socket
            .set_nodelay(true)
            .expect("TCP_NODELAY on a connected socket");
    }
    let let_in = OnceLock::new();
    let (pieces, to_deliver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| send_back(server, client, &let_in));
        scope.spawn(|| deliver(server, client, to_deliver, late));
        receive(client, jitter, &let_in, pieces);
    });
}

/// A piece of the stream, and if it is media when it came and when it is due.
struct Piece {
    bytes: Vec<u8>,
    times: Option<(Instant, Instant)>,
}

fn receive(
    mut client: &TcpStream,
    jitter: Jitter,
    let_in: &OnceLock<Instant>,
    pieces: mpsc::Sender<Piece>,
) {
    let up_to = jitter.up_to.as_micros() as u64;
    let (mut random, mut buffer) = (Random(1), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        acknowledge(client);
        let now = Instant::now();
        let times = let_in.get().map(|let_in| {
            let delay = if now < *let_in + BEGINNING {
                jitter.first
            } else {
                Duration::from_micros(random.below(up_to + 1))
            };
            (now, now + delay)
        });
        let bytes = buffer[..count].to_vec();
        if pieces.send(Piece { bytes, times }).is_err() {
            break;
        }
    }
}

/// At once: ffmpeg waits for it with what it has to send next, and its clock runs meanwhile, so that its first frame would
/// be late by as much as all of this takes.
fn acknowledge(client: &TcpStream) {
    let socket = socket2::SockRef::from(client);
    socket
        .set_tcp_quickack(true)
        .expect("TCP_QUICKACK on a connected socket");
}

fn deliver(
    mut server: &TcpStream,
    client: &TcpStream,
    pieces: mpsc::Receiver<Piece>,
    late: &Mutex<Vec<Duration>>,
) {
    for Piece { bytes, times } in pieces {
        if let Some((_, due)) = times {
            // Time is what this is about.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        if server.write_all(&bytes).is_err() {
            // Nobody there any more: the sender is told.
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        if let Some((came, _)) = times {
            late.lock().unwrap().push(came.elapsed());
        }
    }
    // The other side may have gone first.
    let _ = server.shutdown(Shutdown::Write);
}

fn send_back(mut server: &TcpStream, mut client: &TcpStream, let_in: &OnceLock<Instant>) {
    let (mut heard, mut buffer) = (Vec::<u8>::new(), [0; 4096]);
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if let_in.get().is_none() {
            heard.extend(&buffer[..count]);
            if heard.windows(LET_IN.len()).any(|bytes| bytes == LET_IN) {
                let_in.get_or_init(Instant::now);
            }
        }
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
}
