//! One publisher at 20 Mbit/s while all that is known to have brought down other servers runs beside it.
//!
//! A short battle is among the tests; `make fire MINUTES=10` is the long one, which also insists on the latency.

#[path = "../support/mod.rs"]
mod support;

mod attacks;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attacks::Battle;
use gst::prelude::*;
use support::client::{Client, Random};
use support::flv::{Kind, Tag};
use support::own_process::{descriptors, panics, resident_bytes, wait_until, watch_for_panics};

const DEADLINE: Duration = Duration::from_secs(60);
const FRAMES_PER_SECOND: u32 = 30;
/// With the sound, 20 Mbit/s.
const VIDEO_BYTES: usize = 82_500;
const AUDIO_BYTES: usize = 800;

/// The `n`th tag of the stream: a frame of video and one of audio in turn.
fn tag(n: u32) -> Tag {
    let frame = n / 2;
    let (kind, start, size): (Kind, &[u8], usize) = match n % 2 {
        0 if frame.is_multiple_of(60) => (Kind::Video, &[0x17, 1, 0, 0, 0], VIDEO_BYTES),
        0 => (Kind::Video, &[0x27, 1, 0, 0, 0], VIDEO_BYTES),
        _ => (Kind::Audio, &[0xAF, 1], AUDIO_BYTES),
    };
    let mut random = Random(u64::from(n) + 1);
    let mut body = start.to_vec();
    while body.len() < size {
        body.extend(random.next().to_be_bytes());
    }
    body.truncate(size);
    Tag {
        kind,
        timestamp: frame * 1000 / FRAMES_PER_SECOND,
        body,
    }
}

/// What the pad has seen, compared as it comes: an hour of it would not fit into memory.
#[derive(Default)]
struct Watch {
    seen: u32,
    wrong: Option<String>,
    /// When the writing of each tag began.
    written: Vec<Instant>,
    latencies: Vec<Duration>,
}

impl Watch {
    fn buffer(&mut self, buffer: &gst::Buffer, now: Instant) {
        let n = self.seen;
        self.seen += 1;
        let expected = tag(n);
        let data = buffer.map_readable().unwrap();
        // Type, size, time; body; size of all before.
        let [t3, t2, t1, t0] = expected.timestamp.to_be_bytes();
        let size = (expected.body.len() as u32).to_be_bytes();
        let kind = match expected.kind {
            Kind::Audio => 8,
            Kind::Video => 9,
            Kind::Script => 18,
        };
        let header = [kind, size[1], size[2], size[3], t2, t1, t0, t3, 0, 0, 0];
        let trailer = (11 + expected.body.len() as u32).to_be_bytes();
        let parts = [&header[..], &expected.body, &trailer];
        if data.as_slice() != parts.concat() {
            self.wrong
                .get_or_insert_with(|| format!("tag {n} is another one"));
        }
        match self.written.get(n as usize) {
            Some(written) => self.latencies.push(now.saturating_duration_since(*written)),
            None => self.wrong = Some(format!("tag {n} came before it was sent")),
        }
    }

    /// The latencies since this was last asked.
    fn take_latencies(&mut self) -> Latencies {
        let mut sorted = std::mem::take(&mut self.latencies);
        sorted.sort();
        Latencies(sorted)
    }
}

struct Latencies(Vec<Duration>);

impl Latencies {
    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, most] = [50, 99, 100].map(|p| self.percentile(p));
        write!(
            f,
            "p50 {p50:.0?}, p99 {p99:.0?}, at most {most:.0?}, of {} tags",
            self.0.len()
        )
    }
}

/// Publishes in real time until the time is up.
fn publish(address: SocketAddr, watch: &Mutex<Watch>, time: Duration) -> u32 {
    let mut client = Client::connect(address, "live").unwrap();
    client.must_publish("good").unwrap();
    let began = Instant::now();
    let mut n = 0;
    while began.elapsed() < time {
        let due = began + Duration::from_secs(1) / FRAMES_PER_SECOND * (n / 2);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let tag = tag(n);
        watch.lock().unwrap().written.push(Instant::now());
        client.send(&tag).unwrap();
        n += 1;
    }
    client.close().unwrap();
    n
}

/// As an application does that reads its messages: unread ones would stay for ever, several of each of the publishers.
fn read_messages(pipeline: &gst::Pipeline) {
    let bus = pipeline.bus().unwrap();
    bus.set_sync_handler(|_, message| match message.type_() {
        gst::MessageType::Eos | gst::MessageType::Error => gst::BusSyncReply::Pass,
        _ => gst::BusSyncReply::Drop,
    });
}

fn median(of: &[usize]) -> usize {
    let mut sorted = of.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

#[test]
fn a_publisher_under_fire_is_complete() {
    let seconds = std::env::var("RTMP2SERVER_FIRE_SECONDS").map_or(20, |s| s.parse().unwrap());
    let is_long = seconds >= 300;
    let battle_time = Duration::from_secs(seconds);
    let quiet_time = battle_time / 5;
    watch_for_panics();
    support::pipeline::init();

    // Beside it an element that takes all others, so that the damaged sessions get as far as they can.
    let pipeline = gst::parse::launch(
        "rtmp2serversrc name=good host=127.0.0.1 port=0 application=live stream-key=good max-connections=100 \
         ! fakesink sync=false async=false",
    );
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("good").unwrap();
    let watch = Arc::new(Mutex::new(Watch::default()));
    let probed = watch.clone();
    let is_file_header = AtomicBool::new(true);
    source
        .static_pad("src")
        .unwrap()
        .add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let now = Instant::now();
            if let Some(buffer) = info.buffer()
                && !is_file_header.swap(false, Ordering::Relaxed)
            {
                probed.lock().unwrap().buffer(buffer, now);
            }
            gst::PadProbeReturn::Ok
        });
    read_messages(&pipeline);
    pipeline.set_state(gst::State::Playing).unwrap();
    let port: u32 = source.property("current-port");
    let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
    let others = gst::parse::launch(&format!(
        "rtmp2serversrc host=127.0.0.1 port={port} loop=true publisher-policy=takeover max-connections=100 \
         ! fakesink sync=false async=false"
    ));
    let others = others.unwrap().downcast::<gst::Pipeline>().unwrap();
    read_messages(&others);
    others.set_state(gst::State::Playing).unwrap();
    let descriptors_before = descriptors().len();

    let battle = Battle::new();
    let (mut memory, mut quiet) = (Vec::new(), Latencies(Vec::new()));
    let sent = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(address, &watch, quiet_time + battle_time));
        std::thread::sleep(quiet_time);
        quiet = watch.lock().unwrap().take_latencies();
        scope.spawn(|| attacks::mutants(&battle, address, seconds));
        scope.spawn(|| attacks::skirmishers(&battle, address));
        scope.spawn(|| attacks::floods(&battle, address));
        scope.spawn(|| attacks::besiegers(&battle, address));
        while !publisher.is_finished() {
            std::thread::sleep(Duration::from_secs(1));
            memory.push(resident_bytes() >> 10);
        }
        battle.end();
        publisher.join().unwrap()
    });
    let bus = pipeline.bus().unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &wanted);
    let end = end.map(|message| message.type_());
    assert_eq!(end, Some(gst::MessageType::Eos));

    let fire = watch.lock().unwrap().take_latencies();
    let stats: gst::Structure = source.property("stats");
    let (first, last) = (&memory[..memory.len() / 3], &memory[memory.len() * 2 / 3..]);
    println!("quiet: {quiet}");
    println!("under fire: {fire}");
    println!(
        "{} attacks, {} of them damaged sessions; {} connections, {} publishers of the other element",
        battle.attacks(),
        battle.mutants.load(Ordering::Relaxed),
        stats.get::<u64>("connections").unwrap(),
        others_published(&others),
    );
    println!(
        "resident: median {} KiB in the first third, {} KiB in the last",
        median(first),
        median(last)
    );

    let watch = watch.lock().unwrap();
    assert_eq!(watch.wrong, None);
    assert_eq!(watch.seen, sent, "tags");
    assert_eq!(stats.get::<u64>("panics"), Ok(0));
    assert_eq!(panics(), [""; 0]);
    assert!(
        others_published(&others) > 10,
        "the damaged sessions got nowhere"
    );
    // What it costs to hold the attackers' data; it must not grow with time.
    assert!(median(last) < median(first) + (32 << 10), "{memory:?}");
    if is_long {
        assert!(
            fire.percentile(99) <= quiet.percentile(99) * 3,
            "{quiet}; {fire}"
        );
        assert!(median(last) < median(first) * 11 / 10, "{memory:?}");
    }
    others.set_state(gst::State::Null).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    // The ports are closed as well.
    wait_until(DEADLINE, || descriptors().len() < descriptors_before);
    let after = descriptors();
    assert!(
        after.len() < descriptors_before,
        "{descriptors_before}: {after:?}"
    );
}

fn others_published(others: &gst::Pipeline) -> u32 {
    let source = others.iterate_sources().next().unwrap().unwrap();
    let stats: gst::Structure = source.property("stats");
    stats.get::<u64>("session").unwrap() as u32
}
