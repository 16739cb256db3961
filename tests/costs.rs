//! What a peer can cost the host application, in resident memory and in time, measured where it hurts: in the process
//! that the element runs in. What a session by itself can hold is in `memory`.

mod core_support;
mod support;

use std::fs;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use core_support::strangers::strangers;
use core_support::wire::{
    AUDIO, SET_CHUNK_SIZE, USER_CONTROL, VIDEO, command, connect, control, fmt0, fmt3, handshake,
    message, text, until_published,
};
use core_support::{Seen, Server};
use gst::prelude::*;
use gstrtmp2server::rtmp::{Error, Limits};
use support::client::{Client, tags};
use support::own_process::{resident_bytes, wait_until};
use support::peer;
use support::pipeline::Recording;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// Resident memory is the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the allocator keeps of earlier tests would hide what the next one costs.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// CPU time of this thread: what others do beside it does not count.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of ours.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Whatever it sends, a connection that has not published costs some tens of KiB. How many there may be is a property.
#[test]
fn a_stranger_costs_little_whatever_it_sends() {
    const MANY: usize = 300;
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "max-connections=1000").unwrap();
    let address = recording.address();
    // What the process needs once.
    drop(peer::shake_hands(address).unwrap());
    for (what, bytes) in strangers() {
        assert!(wait_until(DEADLINE, || recording
            .counter("idle-connections")
            == 0));
        give_back();
        let before = resident_bytes();
        let open: Vec<TcpStream> = (0..MANY)
            .map(|_| {
                let mut stream = peer::connect(address).unwrap();
                stream.write_all(&bytes).unwrap();
                stream
            })
            .collect();
        assert!(wait_until(DEADLINE, || {
            recording.counter("idle-connections") == MANY as u64
        }));
        // All of it has been taken from the sockets when nothing waits there.
        assert!(
            wait_until(DEADLINE, || unread_by(address) == 0),
            "{what}: not read"
        );
        assert_eq!(
            recording.counter("idle-connections"),
            MANY as u64,
            "{what}: gone"
        );
        let each = resident_bytes().saturating_sub(before) / MANY;
        println!("{what}: {} KiB each", each / KIB);
        assert!(each < 48 * KIB, "{what}: {each} bytes each");
        drop(open);
    }
}

/// Bytes that wait to be read in the sockets that were accepted on a port.
fn unread_by(address: SocketAddr) -> u64 {
    const ESTABLISHED: &str = "01";
    let port = format!(":{:04X}", address.port());
    let mut waiting = 0;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        for line in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            // Local address, remote address, state, bytes to send and to read.
            if fields[1].ends_with(&port) && fields[3] == ESTABLISHED {
                let (_, unread) = fields[4].split_once(':').expect("two queues");
                waiting += u64::from_str_radix(unread, 16).expect("a number");
            }
        }
    }
    waiting
}

/// Publishers come one at a time; those who have been may still be there, and hold what a stranger may. Otherwise the
/// bound in total would be `max-connections` times that of a publisher.
#[test]
fn who_has_published_holds_no_more_than_a_stranger() {
    const MANY: usize = 40;
    const UNFINISHED: usize = 4 * MIB;
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "loop=true").unwrap();
    let half_a_message = [fmt0(9, 0, 2 * UNFINISHED, VIDEO, 1), vec![7; UNFINISHED]].concat();
    let chunk_size = control(SET_CHUNK_SIZE, UNFINISHED as u32);
    let end = command("FCUnpublish", 0.0, Some(text("test")));
    // Half before the end, and half of another behind it.
    let bytes = [until_published(), chunk_size, half_a_message.clone(), end].concat();
    let behind = [fmt0(10, 0, 2 * UNFINISHED, VIDEO, 1), vec![7; UNFINISHED]].concat();
    let round = || {
        let mut stream = peer::connect(recording.address()).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.write_all(&behind).unwrap();
        stream
    };
    let ended = |sessions: usize| {
        wait_until(DEADLINE, || {
            recording.counter("session") == sessions as u64 && !recording.is_publishing()
        })
    };
    // One of them, so that what the process needs for a publisher is there.
    let mut open = vec![round()];
    assert!(ended(1));
    let before = resident_bytes();
    let mut most = 0;
    for n in 2..=MANY {
        open.push(round());
        assert!(ended(n));
        most = most.max(resident_bytes().saturating_sub(before));
    }
    assert!(
        recording.counter("idle-connections") > MANY as u64 / 2,
        "they are still there"
    );
    println!("at most {} MiB more", most / MIB);
    // Of the publisher there is now: old and new vector of its message, and what the allocator keeps.
    assert!(most < 6 * UNFINISHED, "{most} bytes more");
}

/// It asks without end and reads nothing: it is cut off, and what it had sent is in the file.
#[test]
fn a_publisher_that_never_reads_its_answers() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let mut stream = peer::connect(recording.address()).unwrap();
    stream.write_all(&until_published()).unwrap();
    stream
        .write_all(&message(VIDEO, 0, 1, b"\x17\x01\0\0\0"))
        .unwrap();
    assert!(wait_until(DEADLINE, || recording.counter("pushed") == 1));
    let before = resident_bytes();
    let pings = message(USER_CONTROL, 0, 0, &[0, 6, 0, 0, 0, 1]).repeat(1000);
    let since = Instant::now();
    peer::flood(&mut stream, &pings).unwrap();
    println!("cut off after {:?}", since.elapsed());
    let more = resident_bytes().saturating_sub(before);
    assert!(more < 4 * MIB, "{more} bytes more");
    assert_eq!(recording.finish().unwrap().len(), 1);
}

/// A flood of the smallest messages ends a stranger before it has cost a second, and the error says why.
#[test]
fn a_flood_before_the_publish_costs_little_time() {
    let ping = message(USER_CONTROL, 0, 0, &[0, 6, 0, 0, 0, 1]);
    let floods: [(&str, Vec<u8>); 5] = [
        (
            "empty messages",
            [fmt0(4, 0, 0, 99, 0), vec![0xC4; 300_000]].concat(),
        ),
        (
            "empty media",
            [fmt0(4, 0, 0, AUDIO, 0), vec![0xC4; 300_000]].concat(),
        ),
        ("controls", control(SET_CHUNK_SIZE, 128).repeat(20_000)),
        ("pings", ping.repeat(20_000)),
        ("commands", command("createStream", 1.0, None).repeat(8000)),
    ];
    for (what, flood) in floods {
        let input = [handshake(), connect(), flood].concat();
        let mut server = Server::new();
        let since = cpu_time();
        input.chunks(16 << 10).for_each(|read| server.feed(read));
        let took = cpu_time() - since;
        println!("{what}: {took:?}");
        let limit = 256 << 10;
        assert_eq!(
            server.failed(),
            Some(&Error::TooMuchBeforePublish { limit }),
            "{what}"
        );
        // But for half a header.
        let taken = server.session.counters().in_bytes_total as usize;
        assert!((limit - 17..=limit).contains(&taken), "{what}: {taken}");
        // In an unoptimised build.
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
    }
}

/// A chunk of one byte has a header of one, or five. That costs more per byte than large ones, by a factor that is
/// bounded.
#[test]
fn chunks_of_one_byte_cost_a_bounded_time() {
    const SIZE: usize = 300_000;
    let time = |chunk_size: usize, timestamp: u32| {
        let mut bytes = [
            until_published(),
            control(SET_CHUNK_SIZE, chunk_size as u32),
        ]
        .concat();
        let body = vec![7; SIZE];
        let message = core_support::wire::Message {
            chunk_stream: 4,
            time: timestamp,
            kind: VIDEO,
            stream: 1,
            body: &body,
        };
        bytes.extend(message.chunks(chunk_size));
        let mut server = Server::new();
        let since = cpu_time();
        bytes.chunks(64 << 10).for_each(|read| server.feed(read));
        let took = cpu_time() - since;
        assert!(matches!(server.seen.last(), Some(Seen::Media(tag)) if tag.body == body));
        took
    };
    let large = time(65_536, 0);
    for (what, timestamp) in [
        ("one byte", 0),
        ("one byte and an extended time", 0x0100_0000),
    ] {
        let took = time(1, timestamp);
        println!("{what}: {took:?}, large chunks {large:?}");
        // 3 µs a chunk in an unoptimised build.
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
    }
}

/// Small chunks, more of them at hand than may be taken: each is looked at once.
#[test]
fn a_run_beyond_the_bound_costs_a_bounded_time() {
    let limits = Limits::default();
    let begin = |chunk_stream| fmt0(chunk_stream, 0, limits.max_message_size, VIDEO, 1);
    let chunk = vec![7; MIB];
    let mut server = Server::fed([&until_published()[..], &control(SET_CHUNK_SIZE, MIB as u32)]);
    server.feed(&begin(5));
    (1..15).for_each(|_| server.feed(&[&chunk[..], &fmt3(5)].concat()));
    server.feed(&[&chunk[..], &begin(6), &chunk, &control(SET_CHUNK_SIZE, 2)].concat());
    assert_eq!(server.failed(), None);
    // There is room for one more MiB.
    let run = [&fmt3(6)[..], &[7, 7]].concat().repeat(MIB);
    let since = cpu_time();
    server.feed(&run);
    let took = cpu_time() - since;
    println!("{took:?}");
    let limit = limits.max_unfinished;
    assert_eq!(server.failed(), Some(&Error::TooMuchUnfinished { limit }));
    // In an unoptimised build.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// What many paced publishers cost is the switching of threads more than the bytes.
#[test]
fn a_tag_that_comes_alone_wakes_each_thread_once() {
    const TAGS: usize = 200;
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let (arrived, arrivals) = mpsc::channel();
    let pad = recording.source().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        arrived.send(this_thread()).unwrap();
        gst::PadProbeReturn::Ok
    });
    let sent = tags(TAGS + 1, 500);
    let mut client = Client::publisher(recording.address()).unwrap();
    // With the file header before it.
    client.send(&sent[0]).unwrap();
    let streaming = arrivals.recv_timeout(DEADLINE).unwrap();
    arrivals.recv_timeout(DEADLINE).unwrap();
    // The worker, and who decides for it whether somebody may publish.
    let server = threads("rtmp2server");
    let both = [&[streaming][..], &server];
    let all_sleep = || {
        wait_until(DEADLINE, || {
            both.iter().copied().flatten().all(|t| sleeps(t))
        })
    };
    let times = || both.map(|threads| threads.iter().map(|t| times_asleep(t)).collect::<Vec<_>>());
    assert!(all_sleep());
    let before = times();
    for tag in &sent[1..] {
        client.send(tag).unwrap();
        arrivals.recv_timeout(DEADLINE).unwrap();
        assert!(all_sleep());
    }
    for (before, after) in before.iter().zip(times()) {
        let of_each = before.iter().zip(after);
        let woken: usize = of_each
            .filter_map(|(before, after)| Some(after? - (*before)?))
            .sum();
        println!("{woken} times for {TAGS} tags");
        // Now and then one finds a lock taken.
        assert!((TAGS..TAGS * 5 / 4).contains(&woken), "{woken}");
    }
    client.close().unwrap();
    assert!(recording.finish().unwrap() == sent);
}

/// The calling thread's directory.
fn this_thread() -> PathBuf {
    Path::new("/proc").join(fs::read_link("/proc/thread-self").unwrap())
}

/// This process's threads of that name.
fn threads(name: &str) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc/self/task").unwrap();
    all.map(|thread| thread.unwrap().path())
        .filter(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|c| c.trim() == name))
        .collect()
}

/// Nothing of a thread that has ended: who decides waits for the next decision for 10 s.
fn status(thread: &Path, field: &str) -> Option<String> {
    let status = fs::read_to_string(thread.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    Some(line.expect(field).trim_start_matches(':').trim().to_owned())
}

fn sleeps(thread: &Path) -> bool {
    status(thread, "State").is_none_or(|state| state.starts_with('S'))
}

fn times_asleep(thread: &Path) -> Option<usize> {
    status(thread, "voluntary_ctxt_switches").map(|times| times.parse().unwrap())
}

/// A publisher beside all of that is complete, and waits for nobody.
#[test]
fn a_publisher_beside_floods_of_strangers() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let address = recording.address();
    let sent = tags(200, 3000);
    let mut client = Client::publisher(address).unwrap();
    let kinds = strangers();
    let mut longest = Duration::ZERO;
    for (n, tag) in sent.iter().enumerate() {
        let mut stream = peer::connect(address).unwrap();
        // A stranger may have been cut off before it has said all.
        let _ = stream.write_all(&kinds[n % kinds.len()].1);
        let _ = stream.shutdown(Shutdown::Write);
        let since = Instant::now();
        client.send(tag).unwrap();
        assert!(wait_until(DEADLINE, || recording.counter("pushed") > n as u64));
        longest = longest.max(since.elapsed());
    }
    client.close().unwrap();
    println!("a tag was out after {longest:?} at most");
    assert!(recording.finish().unwrap() == sent);
}
