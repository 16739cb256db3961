//! One run of each measurement: start a server, load it, check what came out, read what it used.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;
use crate::checksum::{Checksum, Frames, compare};
use crate::load::content::{self, Content};
use crate::load::wire::Wire;
use crate::publisher::{Client, Publisher, Sent};
use crate::rows::Row;
use crate::server::{Peer, Server};
use crate::settings::Settings;

/// As much as the kernel's cache of a core holds beside everything else: a bare loop is fastest with it.
const RECV_BUFFER: &str = "65536";
const CHUNK_SIZE: usize = 4096;
const MIB: f64 = (1 << 20) as f64;

pub type Figures = Vec<(Row, Peer, f64)>;

/// A named measurement of one peer.
pub struct Run {
    pub row: Row,
    pub peer: Peer,
    kind: Kind,
}

enum Kind {
    Speed { chunk_size: usize, sink: Sink },
    Small,
    Latency,
    Connect,
    Many,
    Idle,
    Core { chunk_size: usize },
    Memcpy,
    Startup,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Fake,
    File,
}

/// All that is measured, in the order of one round.
pub fn round() -> Vec<Run> {
    use Peer::{Ffmpeg, Memory, Nginx, Recv, Rtmp2ServerSrc, TcpServerSrc};
    let mut runs = Vec::new();
    let mut add = |row, peer, kind| runs.push(Run { row, peer, kind });
    let fake = |chunk_size| Kind::Speed {
        chunk_size,
        sink: Sink::Fake,
    };
    let file = || Kind::Speed {
        chunk_size: CHUNK_SIZE,
        sink: Sink::File,
    };
    for (row, chunk_size) in [
        (Row::Fake4096, CHUNK_SIZE),
        (Row::Fake65536, 65536),
        (Row::Fake128, 128),
    ] {
        add(row, Rtmp2ServerSrc, fake(chunk_size));
        add(row, Nginx, fake(chunk_size));
    }
    // They know no chunks.
    add(Row::Fake4096, TcpServerSrc, fake(CHUNK_SIZE));
    add(Row::Fake4096, Recv, fake(CHUNK_SIZE));
    for peer in [Rtmp2ServerSrc, TcpServerSrc, Nginx, Ffmpeg] {
        add(Row::File4096, peer, file());
    }
    for peer in [Rtmp2ServerSrc, TcpServerSrc, Nginx, Ffmpeg] {
        add(Row::SmallTags, peer, Kind::Small);
    }
    for peer in [Rtmp2ServerSrc, TcpServerSrc] {
        add(Row::LatencyMedian, peer, Kind::Latency);
    }
    for peer in [Rtmp2ServerSrc, TcpServerSrc, Nginx] {
        add(Row::ManyCpu, peer, Kind::Many);
    }
    for peer in [Rtmp2ServerSrc, Nginx] {
        add(Row::Connect, peer, Kind::Connect);
        add(Row::Idle, peer, Kind::Idle);
    }
    for (row, chunk_size) in [
        (Row::Core4096, CHUNK_SIZE),
        (Row::Core65536, 65536),
        (Row::Core128, 128),
    ] {
        add(row, Rtmp2ServerSrc, Kind::Core { chunk_size });
    }
    add(Row::Core4096, Memory, Kind::Memcpy);
    for peer in [Rtmp2ServerSrc, TcpServerSrc, Nginx] {
        add(Row::Startup, peer, Kind::Startup);
    }
    runs
}

pub struct Bench {
    pub settings: Settings,
    /// 1080p at 8 Mbit/s.
    large: Content,
    /// 320x240 at 300 kbit/s.
    small: Content,
}

impl Bench {
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            settings,
            large: encode("1920x1080", "8M", "128k")?,
            small: encode("320x240", "300k", "64k")?,
        })
    }

    pub fn run(&self, run: &Run) -> Result<Figures> {
        let (row, peer) = (run.row, run.peer);
        let one = |value| vec![(row, peer, value)];
        let megabytes = 1_000_000 * self.settings.megabytes;
        match run.kind {
            Kind::Speed { chunk_size, sink } => {
                let laps = self.large.laps(megabytes);
                let cpu = full_speed(peer, sink, &self.large, laps, chunk_size)?;
                Ok(one(cpu * 1e9 / flv_size(&self.large, laps)))
            }
            Kind::Small => {
                let laps = self.small.laps(1_000_000 * self.settings.small_megabytes);
                let cpu = full_speed(peer, Sink::File, &self.small, laps, CHUNK_SIZE)?;
                Ok(one(cpu * 1e6 / self.small.tags(laps) as f64))
            }
            Kind::Latency => self.latency(peer),
            Kind::Connect => self.connects(peer).map(one),
            Kind::Many => self.many(peer),
            Kind::Idle => self.idle(peer).map(one),
            Kind::Core { chunk_size } => {
                let megabytes = self.settings.core_megabytes.to_string();
                said(&["core", &chunk_size.to_string(), &megabytes]).map(one)
            }
            Kind::Memcpy => {
                let megabytes = self.settings.core_megabytes.to_string();
                said(&["memcpy", &megabytes]).map(one)
            }
            Kind::Startup => startup(peer).map(one),
        }
    }

    /// Of one publisher in real time.
    fn latency(&self, peer: Peer) -> Result<Figures> {
        let (content, laps) = (&self.large, self.paced_laps());
        let source = match peer {
            Peer::TcpServerSrc => "tcpserversrc host=127.0.0.1",
            _ => "rtmp2serversrc host=127.0.0.1",
        };
        let mut server = Server::pipeline(&format!(
            "{source} port=0 name=timed ! fakesink name=hashed"
        ))?;
        let wire = wire(peer, content, CHUNK_SIZE);
        let mut publisher = publisher(peer, server.port(), "bench", CHUNK_SIZE)?;
        let sent = publisher.send_paced(&wire, laps, content.sizes().0)?;
        publisher.finish()?;
        compare(&expected(peer, content, laps), &server.line()?)?;
        let arrivals = fs::read_to_string(server.file("arrivals"))?;
        let mut delays = delays(&sent, &arrivals)?;
        delays.sort_unstable();
        let at = |share: f64| delays[(delays.len() as f64 * share) as usize].as_secs_f64() * 1e6;
        Ok(vec![
            (Row::LatencyMedian, peer, at(0.5)),
            (Row::Latency99, peer, at(0.99)),
        ])
    }

    /// Milliseconds until a publisher may send, the median of many.
    fn connects(&self, peer: Peer) -> Result<f64> {
        let server = match peer {
            Peer::Nginx => Server::nginx(false)?,
            _ => Server::pipeline("rtmp2serversrc host=127.0.0.1 port=0 loop=true ! fakesink")?,
        };
        let mut times = Vec::new();
        for _ in 0..self.settings.connects {
            let (publisher, time) = Publisher::rtmp(server.port(), "bench", CHUNK_SIZE)?;
            times.push(time);
            publisher.finish()?;
        }
        times.sort_unstable();
        Ok(times[times.len() / 2].as_secs_f64() * 1e3)
    }

    /// Publishers at a time, each with a recording of its own.
    fn many(&self, peer: Peer) -> Result<Figures> {
        let (content, laps, count) = (&self.large, self.paced_laps(), self.settings.publishers);
        let name = |n: usize| format!("bench{n:04}");
        let server = match peer {
            Peer::Nginx => Server::nginx(true)?,
            _ => Server::pipeline(
                &(0..count)
                    .map(|n| {
                        let name = name(n);
                        format!(
                            "{peer} host=127.0.0.1 port=0 name={name} \
                             ! filesink location={name}.flv "
                        )
                    })
                    .collect::<String>(),
            )?,
        };
        let wire = wire(peer, content, CHUNK_SIZE);
        let mut publishers = Vec::new();
        for n in 0..count {
            let port = server.ports[n % server.ports.len()];
            publishers.push(publisher(peer, port, &name(n), CHUNK_SIZE)?);
        }
        let (before, start) = (server.cpu()?, Instant::now());
        let sent: Result<Vec<_>> = std::thread::scope(|scope| {
            let threads: Vec<_> = publishers
                .iter_mut()
                .enumerate()
                .map(|(n, publisher)| {
                    let wire = &wire;
                    scope.spawn(move || {
                        // Encoders do not send their frames at the same moment.
                        std::thread::sleep(wire.duration * n as u32 / count as u32 / 8);
                        publisher.send_paced(wire, laps, 0).map(drop)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().map_err(|_| "a publisher panicked")?)
                .collect()
        });
        sent?;
        let cpu = (server.cpu()? - before).as_secs_f64() / start.elapsed().as_secs_f64();
        let (_, most) = server.usage.resident()?;
        publishers.into_iter().try_for_each(Publisher::finish)?;
        let mut server = server;
        if peer != Peer::Nginx {
            server.line()?;
        }
        for n in 0..count {
            check_recording(peer, &server, &format!("{}.flv", name(n)), content, laps)?;
        }
        Ok(vec![
            (Row::ManyCpu, peer, 100.0 * cpu),
            (Row::ManyResident, peer, most as f64 / MIB),
        ])
    }

    /// KiB of each connection that has said connect, and nothing since.
    fn idle(&self, peer: Peer) -> Result<f64> {
        let count = self.settings.idle;
        let server = match peer {
            Peer::Nginx => Server::nginx(false)?,
            _ => Server::pipeline(&format!(
                "rtmp2serversrc host=127.0.0.1 port=0 max-connections={count} ! fakesink"
            ))?,
        };
        let (before, _) = server.usage.resident()?;
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Client::connect(server.port(), CHUNK_SIZE)?);
        }
        let (after, _) = server.usage.resident()?;
        for client in &clients {
            if !client.is_open()? {
                return Err("a connection was closed meanwhile".into());
            }
        }
        Ok(after.saturating_sub(before) as f64 / 1024.0 / count as f64)
    }

    /// MiB that the process grew by, after the first tenth of a long stream.
    pub fn long(&self) -> Result<Figures> {
        let content = &self.large;
        let laps = content.laps(1_000_000_000 * self.settings.long_gigabytes);
        let mut server =
            Server::pipeline("rtmp2serversrc host=127.0.0.1 port=0 ! fakesink name=hashed")?;
        let wire = Wire::new(content, CHUNK_SIZE);
        let (mut publisher, _) = Publisher::rtmp(server.port(), "bench", CHUNK_SIZE)?;
        let first = laps / 10;
        publisher.send(&wire, first)?;
        let (_, before) = server.usage.resident()?;
        // The head once more would be another stream.
        let rest = Wire {
            head: Vec::new(),
            ..wire
        };
        publisher.send(&rest, laps - first)?;
        publisher.finish()?;
        compare(&Checksum::of_flv(content, laps), &server.line()?)?;
        let (_, after) = server.usage.resident()?;
        let growth = (after - before) as f64 / MIB;
        Ok(vec![(Row::Long, Peer::Rtmp2ServerSrc, growth)])
    }

    /// CPU seconds per GB of taking a checksum, which the processes that put nothing out do beside their work.
    pub fn checksum(&self) -> Result<f64> {
        said(&["checksum", "2000"])
    }

    fn paced_laps(&self) -> u32 {
        (self.settings.seconds * 1000).div_ceil(self.large.duration)
    }
}

fn flv_size(content: &Content, laps: u32) -> f64 {
    let (head, lap) = content.sizes();
    (head + lap * u64::from(laps)) as f64
}

/// CPU seconds that a server needs for a stream at full speed.
fn full_speed(
    peer: Peer,
    sink: Sink,
    content: &Content,
    laps: u32,
    chunk_size: usize,
) -> Result<f64> {
    let behind = match sink {
        Sink::Fake => "fakesink name=hashed",
        Sink::File => "filesink location=out.flv",
    };
    let mut server = match peer {
        Peer::Nginx => Server::nginx(sink == Sink::File)?,
        Peer::Ffmpeg => Server::ffmpeg()?,
        Peer::Recv => Server::listening(&["recv", RECV_BUFFER])?,
        _ => Server::pipeline(&format!("{peer} host=127.0.0.1 port=0 ! {behind}"))?,
    };
    let wire = wire(peer, content, chunk_size);
    let before = server.cpu()?;
    let mut publisher = publisher(peer, server.port(), "bench", chunk_size)?;
    publisher.send(&wire, laps)?;
    publisher.finish()?;
    let said = match peer {
        Peer::Nginx => None,
        Peer::Ffmpeg => {
            server.wait()?;
            None
        }
        _ => Some(server.line()?),
    };
    let cpu = server.cpu()? - before;
    match (sink, said) {
        (Sink::Fake, Some(said)) => compare(&expected(peer, content, laps), &said)?,
        // nginx puts nothing out.
        (Sink::Fake, None) => {}
        (Sink::File, _) => {
            let name = if peer == Peer::Nginx {
                "bench.flv"
            } else {
                "out.flv"
            };
            check_recording(peer, &server, name, content, laps)?;
        }
    }
    Ok(cpu.as_secs_f64())
}

fn publisher(peer: Peer, port: u16, key: &str, chunk_size: usize) -> Result<Publisher> {
    Ok(match peer {
        Peer::TcpServerSrc | Peer::Recv => Publisher::plain(port)?,
        _ => Publisher::rtmp(port, key, chunk_size)?.0,
    })
}

fn wire(peer: Peer, content: &Content, chunk_size: usize) -> Wire {
    match peer {
        Peer::TcpServerSrc | Peer::Recv => Wire::plain(content),
        _ => Wire::new(content, chunk_size),
    }
}

/// What has to come out, byte for byte.
fn expected(peer: Peer, content: &Content, laps: u32) -> Checksum {
    match peer {
        Peer::TcpServerSrc | Peer::Recv => {
            let wire = Wire::plain(content);
            let mut sum = Checksum::of(&wire.head);
            (0..laps).for_each(|_| sum.add(&wire.lap));
            sum
        }
        _ => Checksum::of_flv(content, laps),
    }
}

fn check_recording(
    peer: Peer,
    server: &Server,
    name: &str,
    content: &Content,
    laps: u32,
) -> Result<()> {
    let file = fs::read(server.file(name))?;
    let checked = match peer {
        Peer::Nginx | Peer::Ffmpeg => compare(&Frames::of(content, laps), &Frames::of_file(&file)?),
        _ => compare(&expected(peer, content, laps), &Checksum::of(&file)),
    };
    checked.map_err(|error| format!("{peer}, {name}: {error}").into())
}

/// From when a tag was about to be sent to when its last byte was in a buffer on the pad.
fn delays(sent: &[Sent], arrivals: &str) -> Result<Vec<Duration>> {
    let mut arrivals = arrivals.lines().map(|line| {
        let (at, bytes) = line.split_once(' ').ok_or("half an arrival")?;
        Result::Ok((Duration::from_nanos(at.parse()?), bytes.parse::<u64>()?))
    });
    let mut arrived = (Duration::ZERO, 0);
    let mut delays = Vec::with_capacity(sent.len());
    for tag in sent {
        while arrived.1 < tag.end {
            arrived = arrivals.next().ok_or("a tag never arrived")??;
        }
        delays.push(arrived.0.saturating_sub(tag.at));
    }
    Ok(delays)
}

/// Milliseconds from the start of a process until it listens.
fn startup(peer: Peer) -> Result<f64> {
    let start = Instant::now();
    let _server = match peer {
        Peer::Nginx => Server::nginx(false)?,
        Peer::TcpServerSrc => Server::gst_launch("tcpserversrc")?,
        _ => Server::gst_launch("rtmp2serversrc")?,
    };
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// The one number that a child says.
fn said(arguments: &[&str]) -> Result<f64> {
    Ok(Server::child(arguments)?.line()?.parse()?)
}

/// Four seconds of a moving picture with noise, by a real encoder at a constant rate.
fn encode(size: &str, video: &str, audio: &str) -> Result<Content> {
    const SECONDS: u32 = 4;
    let directory = tempfile::TempDir::new()?;
    let picture = format!("testsrc2=size={size}:rate=30,noise=alls=20:allf=t");
    let mut command = Command::new("ffmpeg");
    command.current_dir(directory.path());
    command.args(["-loglevel", "error", "-f", "lavfi", "-i", &picture]);
    command.args([
        "-f",
        "lavfi",
        "-i",
        "anoisesrc=color=pink:sample_rate=44100",
    ]);
    command.args(["-t", &SECONDS.to_string(), "-codec:v", "libx264"]);
    command.args(["-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60"]);
    command.args(["-b:v", video, "-minrate", video, "-maxrate", video]);
    command.args(["-bufsize", video, "-x264-params", "nal-hrd=cbr"]);
    command.args(["-codec:a", "aac", "-ac", "2", "-b:a", audio]);
    command.args(["-flvflags", "no_duration_filesize", "content.flv"]);
    let status = command.status()?;
    if !status.success() {
        return Err(format!("ffmpeg ended with {status}").into());
    }
    let file = fs::read(directory.path().join("content.flv"))?;
    Ok(Content::new(content::parse(&file)?, SECONDS * 1000))
}
