//! Late joiners of a sink that serves many get the stream headers from the caps, and then the stream from a key frame on:
//! every tag as the encoder sent it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use gst::prelude::*;
use support::flv::{self, Kind, Tag};
use support::pipeline::{DEADLINE, init, wait_until};
use support::process::{Finished, Process};
use support::publishers::{Publisher, ffmpeg_tee};

/// Where someone who joins in between starts.
const FROM_A_KEY_FRAME: &str = "sync-method=latest-keyframe recover-policy=keyframe";

/// `rtmp2serversrc` with a sink behind it that serves whoever connects.
struct Server {
    pipeline: gst::Pipeline,
}

impl Server {
    fn start(sink: &str) -> Server {
        init();
        let description =
            format!("rtmp2serversrc name=source port=0 ! {sink} name=sink {FROM_A_KEY_FRAME}");
        let pipeline = gst::parse::launch(&description)
            .expect("a valid description")
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        pipeline.set_state(gst::State::Playing).expect("starts");
        Server { pipeline }
    }

    fn element(&self, name: &str) -> gst::Element {
        self.pipeline.by_name(name).expect("named")
    }

    /// An encoder in real time, with a key frame every half second.
    fn publish(&self, directory: &Path) -> Publisher {
        let port: u32 = self.element("source").property("current-port");
        let arguments = "-re -f lavfi -i testsrc=size=160x120:rate=30 -f lavfi -i sine=frequency=440 -t 4 \
             -map 0 -map 1 -c:v libx264 -preset ultrafast -tune zerolatency -g 15 -threads 1 -c:a aac";
        let arguments = arguments.split_ascii_whitespace().map(str::to_owned);
        ffmpeg_tee(arguments.collect(), port as u16, directory).expect("ffmpeg starts")
    }

    fn wait_for_keyframes(&self, wanted: u64) {
        let source = self.element("source");
        let keyframes = || {
            let stats: gst::Structure = source.property("stats");
            stats.get::<u64>("keyframes").expect("a counter")
        };
        wait_until(DEADLINE, || keyframes() >= wanted).expect("key frames");
    }

    fn wait_for_eos(&self) {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let deadline = gst::ClockTime::try_from(DEADLINE).expect("short");
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(deadline, &ends).expect("an end");
        assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Someone who reads all that comes until the server closes.
struct Client {
    read: Arc<Mutex<Vec<u8>>>,
    worker: JoinHandle<()>,
}

impl Client {
    fn read_on(mut from: TcpStream) -> Client {
        from.set_read_timeout(Some(DEADLINE)).unwrap();
        let read = Arc::new(Mutex::new(Vec::new()));
        let worker = std::thread::spawn({
            let read = read.clone();
            move || {
                let mut part = [0; 1 << 16];
                loop {
                    match from.read(&mut part).expect("the server closes") {
                        0 => return,
                        n => read.lock().unwrap().extend_from_slice(&part[..n]),
                    }
                }
            }
        });
        Client { read, worker }
    }

    fn read(&self) -> MutexGuard<'_, Vec<u8>> {
        self.read.lock().unwrap()
    }
}

/// What a tag takes in a file.
fn size(tag: &Tag) -> usize {
    11 + tag.body.len() + 4
}

/// Someone who joined `at_least` that many ms into the stream has its headers, and from a key frame on all that was sent.
fn assert_joined(file: &[u8], sent: &[Tag], at_least: u32) {
    let joined = flv::parse(file).unwrap();
    let first = joined
        .iter()
        .position(|tag| tag.is_video_frame())
        .expect("video frames");
    let (headers, stream) = joined.split_at(first);
    // They are repeated as they were sent: metadata, and a sequence header of each kind.
    assert!(headers == &sent[..3], "{headers:?}");
    assert!(stream[0].body.starts_with(&[0x17, 1]), "a key frame");
    assert!(
        stream[0].timestamp >= at_least,
        "joined late, at {} ms",
        stream[0].timestamp
    );
    let same = sent.iter().position(|tag| *tag == stream[0]);
    let same = same.expect("a tag of the encoder");
    assert!(same > 30);
    assert!(stream == &sent[same..], "all from there on");
}

#[test]
fn of_tcpserversink() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start("tcpserversink host=127.0.0.1 port=0");
    let publisher = server.publish(directory.path());
    let port: i32 = server.element("sink").property("current-port");
    let joined = [3, 5].map(|keyframes| {
        server.wait_for_keyframes(keyframes);
        Client::read_on(TcpStream::connect((Ipv4Addr::LOCALHOST, port as u16)).unwrap())
    });
    let sent = publisher.finish().unwrap();
    server.wait_for_eos();
    let files = close_and_read(&server, joined, &sent);
    assert_joined(&files[0], &sent, 500);
    assert_joined(&files[1], &sent, 1500);
}

/// The sink posts EOS while it still sends, and only stopping closes the connections, with what was not sent yet.
fn close_and_read<const N: usize>(
    server: &Server,
    joined: [Client; N],
    sent: &[Tag],
) -> [Vec<u8>; N] {
    let last = sent.last().expect("tags");
    let end = [&last.body[..], &(size(last) as u32 - 4).to_be_bytes()].concat();
    for client in &joined {
        wait_until(DEADLINE, || client.read().ends_with(&end)).expect("the last tag");
    }
    server.pipeline.set_state(gst::State::Null).unwrap();
    joined.map(|client| {
        client.worker.join().unwrap();
        std::mem::take(&mut *client.read.lock().unwrap())
    })
}

const HTTP_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n";

/// HTTP-FLV as servers do it: the answer's head, and then the stream for as long as it lasts.
struct HttpServer {
    address: SocketAddr,
    worker: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Hands each of so many clients over to a `multifdsink`.
    fn start(sink: gst::Element, clients: usize) -> HttpServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // It leaves closing to who handed the descriptor over.
        sink.connect("client-fd-removed", false, |values| {
            let fd: i32 = values[1].get().expect("a descriptor");
            // SAFETY: it came from `into_raw_fd` below, and the sink is done with it.
            unsafe { libc::close(fd) };
            None
        });
        let worker = std::thread::spawn(move || {
            for client in listener.incoming().take(clients) {
                let mut client = client.unwrap();
                client.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut request = BufReader::new(&client).lines().map_while(Result::ok);
                let first = request.next().expect("a request");
                assert!(first.starts_with("GET /live.flv HTTP/1."), "{first}");
                assert!(request.any(|line| line.is_empty()), "a whole request");
                client.write_all(HTTP_HEAD.as_bytes()).unwrap();
                sink.emit_by_name::<()>("add", &[&client.into_raw_fd()]);
            }
        });
        HttpServer {
            address,
            worker: Some(worker),
        }
    }

    fn url(&self) -> String {
        format!("http://{}/live.flv", self.address)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let worker = self.worker.take().expect("dropped once");
            worker.join().expect("all requests were good");
        }
    }
}

/// A real HTTP client that saves what it gets, packet for packet.
fn watch(url: &str, to: &Path) -> Process {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-hide_banner", "-nostdin", "-v", "warning", "-y", "-i", url])
        .args(["-map", "0", "-c", "copy", "-copyts", "-f", "flv"])
        .args(["-flvflags", "no_duration_filesize"]);
    Process::spawn(ffmpeg.arg(to)).unwrap()
}

fn raw(address: SocketAddr) -> Client {
    let mut client = TcpStream::connect(address).unwrap();
    client
        .write_all(b"GET /live.flv HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    Client::read_on(client)
}

fn of_kind(tags: &[Tag], kind: Kind) -> Vec<&Tag> {
    let frames = tags.iter().filter(|tag| tag.kind == kind);
    frames.filter(|tag| tag.body[1] == 1).collect()
}

#[test]
fn of_an_http_flv_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start("multifdsink");
    let http = HttpServer::start(server.element("sink"), 3);
    let publisher = server.publish(directory.path());
    server.wait_for_keyframes(3);
    let early = raw(http.address);
    let saved = directory.path().join("saved.flv");
    let player = watch(&http.url(), &saved);
    server.wait_for_keyframes(6);
    let late = raw(http.address);
    let sent = publisher.finish().unwrap();
    server.wait_for_eos();
    // Of the player, the sink alone can tell whether it got all: headers, and from some key frame on to the end.
    let wholes: Vec<usize> = (3..sent.len())
        .filter(|n| sent[*n].is_video_frame() && sent[*n].body[0] == 0x17)
        .map(|n| 13 + sent[..3].iter().chain(&sent[n..]).map(size).sum::<usize>())
        .collect();
    wait_until(DEADLINE, || {
        let heads = 2 * HTTP_HEAD.len();
        let others = (early.read().len() + late.read().len()).saturating_sub(heads);
        let served: u64 = server.element("sink").property("bytes-served");
        wholes.contains(&(served as usize).saturating_sub(others))
    })
    .expect("the player gets all");
    let files = close_and_read(&server, [early, late], &sent);

    for (file, at_least) in files.iter().zip([500, 2000]) {
        let head = file.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        assert_joined(&file[head.expect("a head") + 4..], &sent, at_least);
    }

    // A player has all frames from its first key frame on, and complains of nothing but that HTTP told no length.
    let Finished { status, stderr, .. } = player.wait(DEADLINE).unwrap();
    let of_length = ["Stream ends prematurely", "repeated", "Input/output error"];
    let complaints = stderr.lines().filter(|line| !line.is_empty());
    let mut others = complaints.filter(|line| !of_length.iter().any(|text| line.contains(text)));
    assert_eq!((status.success(), others.next()), (true, None), "{stderr}");
    let saved = flv::parse(&std::fs::read(saved).unwrap()).unwrap();
    for kind in [Kind::Video, Kind::Audio] {
        let (saved, sent) = (of_kind(&saved, kind), of_kind(&sent, kind));
        assert!(saved.len() > 30, "{} {kind} frames", saved.len());
        assert!(sent.ends_with(&saved), "{kind}");
        assert!(kind != Kind::Video || saved[0].body.starts_with(&[0x17, 1]));
    }
}
