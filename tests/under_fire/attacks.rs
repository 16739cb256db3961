//! What a publisher has to bear beside it, each again and again, at the pace of an attacker with a line of some 40 Mbit/s.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Random;
use crate::support::peer;

/// Bytes per second of a flood.
const LINE: usize = 5 << 20;

/// The end of all attacks, and how many there were.
pub struct Battle {
    over: AtomicBool,
    attacks: AtomicU64,
    pub mutants: AtomicU64,
}

impl Battle {
    pub fn new() -> Self {
        Self {
            over: AtomicBool::new(false),
            attacks: AtomicU64::new(0),
            mutants: AtomicU64::new(0),
        }
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub fn attacks(&self) -> u64 {
        self.attacks.load(Ordering::Relaxed)
    }

    /// Calls `attack` so many times a minute until the battle is over. What it fails with is the server's defence.
    fn wage(&self, per_minute: u32, mut attack: impl FnMut() -> std::io::Result<()>) {
        let period = Duration::from_secs(60) / per_minute;
        let mut next = Instant::now();
        while !self.is_over() {
            let _ = attack();
            self.attacks.fetch_add(1, Ordering::Relaxed);
            next = (next + period).max(Instant::now() - period);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Sends the same without end and without reading, as fast as the line allows, until the server has had enough.
    fn flood(&self, mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        let (began, mut sent) = (Instant::now(), 0);
        while !self.is_over() {
            stream.write_all(bytes)?;
            sent += bytes.len();
            let due = began + Duration::from_secs_f64(sent as f64 / LINE as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}

/// Recorded sessions, damaged anew each time: 2,000 a minute, over as many threads as it takes.
pub fn mutants(battle: &Battle, address: SocketAddr, seed: u64) {
    const THREADS: u32 = 4;
    let recordings = recordings();
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let recordings = &recordings;
            let mut random = Random(seed + u64::from(n));
            scope.spawn(move || {
                battle.wage(2_000 / THREADS, || {
                    let choice = random.below(recordings.len() as u64) as usize;
                    let mutant = mutate(&recordings[choice], &mut random);
                    let mut stream = peer::connect(address)?;
                    battle.mutants.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(&mutant)?;
                    // Some say that they are done, others are gone.
                    match random.below(2) {
                        0 => stream.shutdown(Shutdown::Write),
                        _ => Ok(()),
                    }
                });
            });
        }
    });
}

fn recordings() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|f| f.unwrap().path());
    let recordings: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|e| e == "bin"))
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    assert!(recordings.len() > 10);
    recordings
}

/// A few bytes changed, cut out, put in, or said twice.
fn mutate(recording: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = recording.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() as u64) as usize;
        let length = random.below(64.min((bytes.len() - at) as u64)) as usize;
        match random.below(5) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let twice = bytes[at..at + length].to_vec();
                bytes.splice(at..at, twice);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// Those that come to say something short and wrong.
pub fn skirmishers(battle: &Battle, address: SocketAddr) {
    const STRICT_ARRAY_OF_ONE: [u8; 5] = [10, 0, 0, 0, 1];
    let said_after_the_handshake = [
        vec![0xFF; 10_000],
        peer::message(peer::SET_CHUNK_SIZE, 0, &[0; 4]),
        peer::message(peer::SET_CHUNK_SIZE, 0, &[0x7F, 0xFF, 0xFF, 0xFF]),
        peer::connect_with(&STRICT_ARRAY_OF_ONE.repeat(5_000)),
        peer::unfinished_messages(),
        // In mid-air: no connect before.
        peer::message(peer::VIDEO, 1, &[0x17; 20_000]),
        peer::publish_command("good"),
        [
            peer::connect_command("live"),
            peer::publish_command("wrong"),
            peer::message(peer::VIDEO, 1, b"\x17\x01\0\0\0not to be seen"),
        ]
        .concat(),
    ];
    let mut hello = vec![22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    hello.resize(5 + 512, 0x55);
    let said_at_once = [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        hello,
        Vec::new(),
        peer::c0_c1()[..700].to_vec(),
    ];
    let mut turn = 0;
    battle.wage(1_200, || {
        turn += 1;
        if turn % 2 == 0 {
            let mut stream = peer::shake_hands(address)?;
            stream.write_all(&said_after_the_handshake[turn / 2 % said_after_the_handshake.len()])
        } else {
            let mut stream = peer::connect(address)?;
            stream.write_all(&said_at_once[turn / 2 % said_at_once.len()])
        }
    });
}

/// Those that ask without end and never read an answer, one after another.
pub fn floods(battle: &Battle, address: SocketAddr) {
    const WINDOW_ACK_SIZE: u8 = 5;
    const UNKNOWN_TYPE: u8 = 99;
    let ping = peer::message(peer::USER_CONTROL, 0, &[0, 6, 0, 0, 0, 1]);
    let create_stream = [
        peer::amf_string("createStream"),
        vec![0, 0x40, 0, 0, 0, 0, 0, 0, 0],
        vec![5],
    ];
    let one_byte_chunks = [
        vec![
            2,
            0,
            0,
            0,
            0,
            0,
            4,
            peer::SET_CHUNK_SIZE,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            1,
        ],
        peer::message_header(3, UNKNOWN_TYPE, 0, 30_000),
        [0x55, 0xC3].repeat(30_000),
    ];
    // An acknowledgement for each byte, if it had its way.
    let tiny_window = [
        peer::message(WINDOW_ACK_SIZE, 0, &[0, 0, 0, 1]),
        peer::message(UNKNOWN_TYPE, 0, &[0; 100]).repeat(100),
    ];
    let floods = [
        ping.repeat(1000),
        peer::message(peer::COMMAND, 0, &create_stream.concat()).repeat(500),
        peer::message(UNKNOWN_TYPE, 0, &[0; 100]).repeat(1000),
        tiny_window.concat(),
        one_byte_chunks.concat(),
        [
            peer::connect_command("live"),
            peer::publish_command("wrong").repeat(50),
        ]
        .concat(),
    ];
    let mut turn = 0;
    battle.wage(600, || {
        turn += 1;
        let stream = peer::shake_hands(address)?;
        battle.flood(stream, &floods[turn % floods.len()])
    });
}

/// Those that come in numbers and stay without a word.
pub fn besiegers(battle: &Battle, address: SocketAddr) {
    const MANY: usize = 200;
    let mut silent = Vec::new();
    battle.wage(6_000, || {
        silent.push(peer::connect(address)?);
        if silent.len() > MANY {
            silent.remove(0);
        }
        Ok(())
    });
}
