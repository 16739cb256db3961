//! A process of its own with many elements on one port. It takes orders and tells of every publication how many tags came
//! out and what their hash is, and of itself what it uses.
//!
//! The process is the test program once more: each that uses this has a test named `station` that calls [`run`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::flv::FILE_HEADER;
use super::load::Digest;
use super::own_process;
use super::pipeline::init;

const IS_STATION: &str = "RTMP2SERVER_TEST_STATION";
/// Begins every line that is ours: the test program has others to say.
const MARK: &str = "@ ";
const DEADLINE: Duration = Duration::from_secs(60);

// The process that is asked.

pub struct Station {
    child: Child,
    orders: Mutex<ChildStdin>,
    told: Arc<Told>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Of each route, in order.
    publications: BTreeMap<usize, Vec<Publication>>,
    /// Routes on which somebody publishes, and how often somebody has begun to.
    publishing: BTreeMap<usize, usize>,
    begun: BTreeMap<usize, usize>,
    answers: Vec<String>,
    complaints: Vec<String>,
    has_ended: bool,
}

/// A publication that has ended, and all of whose tags are out.
#[derive(Clone, Debug)]
pub struct Publication {
    pub tags: usize,
    pub hash: u64,
    pub reason: String,
}

/// What the process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Of all its threads, since it started.
    pub cpu: Duration,
    pub resident_bytes: usize,
    pub descriptors: usize,
    pub threads: usize,
    /// The longest time between two tags of one publication since the last look.
    pub longest_gap: Duration,
    pub handshake_failures: u64,
    pub rejected: u64,
    pub takeovers: u64,
}

impl Station {
    pub fn start() -> Station {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "station", "--nocapture"])
            .env(IS_STATION, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = Mutex::new(child.stdin.take().unwrap());
        let told = Arc::new(Told::default());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn({
            let told = told.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    if let Some((_, line)) = line.split_once(MARK) {
                        told.state.lock().unwrap().hear(line);
                        told.changed.notify_all();
                    }
                }
                told.state.lock().unwrap().has_ended = true;
                told.changed.notify_all();
            }
        });
        Station {
            child,
            orders,
            told,
            reader: Some(reader),
        }
    }

    /// Adds a source with these properties; all have to name the same port. Returns the port.
    pub fn add(&self, route: usize, properties: &str) -> Result<u16, String> {
        let answer = self.ask(&format!("add {route} {properties}"))?;
        answer.parse().map_err(|_| answer)
    }

    /// To NULL and to PLAYING again. Returns how long that took.
    pub fn restart(&self, route: usize) -> Result<Duration, String> {
        let answer = self.ask(&format!("restart {route}"))?;
        let micros = answer.parse().map_err(|_| answer)?;
        Ok(Duration::from_micros(micros))
    }

    pub fn set(&self, route: usize, property: &str, value: &str) -> Result<(), String> {
        self.ask(&format!("set {route} {property} {value}"))
            .map(|_| ())
    }

    pub fn usage(&self) -> Result<Usage, String> {
        let answer = self.ask("usage")?;
        let numbers: Option<Vec<u64>> = answer.split(' ').map(|n| n.parse().ok()).collect();
        let Some(
            &[
                cpu,
                resident,
                fds,
                threads,
                gap,
                failures,
                rejected,
                takeovers,
            ],
        ) = numbers.as_deref()
        else {
            return Err(answer);
        };
        Ok(Usage {
            cpu: Duration::from_micros(cpu),
            resident_bytes: resident as usize,
            descriptors: fds as usize,
            threads: threads as usize,
            longest_gap: Duration::from_micros(gap),
            handshake_failures: failures,
            rejected,
            takeovers,
        })
    }

    /// On how many routes somebody publishes.
    pub fn publishing(&self) -> usize {
        let state = self.told.state.lock().unwrap();
        state
            .publishing
            .values()
            .filter(|&&count| count > 0)
            .count()
    }

    pub fn wait_for_publishing(&self, count: usize) -> Result<(), String> {
        self.wait(|state| state.publishing.values().filter(|&&n| n > 0).count() >= count)
            .map(|_| ())
            .map_err(|e| format!("{} of {count} publish: {e}", self.publishing()))
    }

    /// Waits until somebody has begun to publish on a route for the `nth` time.
    pub fn wait_for_begin(&self, route: usize, nth: usize) -> Result<(), String> {
        self.wait(|state| state.begun.get(&route).is_some_and(|&count| count >= nth))
            .map(|_| ())
    }

    pub fn begun(&self, route: usize) -> usize {
        let state = self.told.state.lock().unwrap();
        state.begun.get(&route).copied().unwrap_or(0)
    }

    /// Takes the oldest publication that has ended on a route and was not taken yet, waiting for it.
    pub fn take(&self, route: usize) -> Result<Publication, String> {
        let mut state = self.wait(|state| {
            state
                .publications
                .get(&route)
                .is_some_and(|list| !list.is_empty())
        })?;
        Ok(state.publications.get_mut(&route).unwrap().remove(0))
    }

    /// Publications that nobody has taken.
    pub fn left(&self) -> usize {
        let state = self.told.state.lock().unwrap();
        state.publications.values().map(Vec::len).sum()
    }

    /// What went wrong inside.
    pub fn complaints(&self) -> Vec<String> {
        self.told.state.lock().unwrap().complaints.clone()
    }

    fn ask(&self, order: &str) -> Result<String, String> {
        // One at a time: the next answer is the one to this order.
        let mut orders = self.orders.lock().unwrap();
        writeln!(orders, "{order}").map_err(|e| format!("{order}: {e}"))?;
        let mut state = self.wait(|state| !state.answers.is_empty())?;
        let answer = state.answers.remove(0);
        match answer.strip_prefix("error ") {
            Some(error) => Err(format!("{order}: {error}")),
            None => Ok(answer),
        }
    }

    fn wait(
        &self,
        is_so: impl Fn(&State) -> bool,
    ) -> Result<std::sync::MutexGuard<'_, State>, String> {
        let state = self.told.state.lock().unwrap();
        let (state, _) = self
            .told
            .changed
            .wait_timeout_while(state, DEADLINE, |state| !state.has_ended && !is_so(state))
            .unwrap();
        match is_so(&state) {
            true => Ok(state),
            false if state.has_ended => Err("the station has ended".to_owned()),
            false => Err(format!("not within {DEADLINE:?}")),
        }
    }
}

impl State {
    fn hear(&mut self, line: &str) {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut fields = rest.splitn(4, ' ');
        let mut number = || fields.next().and_then(|n| n.parse::<u64>().ok());
        match what {
            "began" => {
                let route = number().expect("a route") as usize;
                *self.publishing.entry(route).or_default() += 1;
                *self.begun.entry(route).or_default() += 1;
            }
            "ended" => {
                let (route, tags, hash) = (number(), number(), number());
                let route = route.expect("a route") as usize;
                *self.publishing.get_mut(&route).expect("it began") -= 1;
                self.publications
                    .entry(route)
                    .or_default()
                    .push(Publication {
                        tags: tags.expect("tags") as usize,
                        hash: hash.expect("a hash"),
                        reason: fields.next().unwrap_or_default().to_owned(),
                    });
            }
            "answer" => self.answers.push(rest.to_owned()),
            _ => self.complaints.push(line.to_owned()),
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // It ends with its input; killed if not.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

// The process that answers.

fn say(line: std::fmt::Arguments) {
    // In one piece: many threads speak.
    let mut text = String::from("\n");
    let _ = writeln!(text, "{MARK}{line}");
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

struct Source {
    pipeline: gst::Pipeline,
    source: gst::Element,
    arrivals: Arc<Mutex<Arrivals>>,
}

/// What came out of one source.
#[derive(Default)]
struct Arrivals {
    is_publishing: bool,
    digest: Digest,
    last: Option<Instant>,
    longest_gap: Duration,
}

/// Does what it is told until its input ends, if this process is a station.
pub fn run() {
    if std::env::var_os(IS_STATION).is_none() {
        return;
    }
    init();
    let (mut sources, mut port) = (BTreeMap::new(), 0);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match obey(&mut sources, &mut port, &line) {
            Ok(answer) => say(format_args!("answer {answer}")),
            Err(error) => say(format_args!("answer error {error}")),
        }
    }
}

fn obey(
    sources: &mut BTreeMap<usize, Source>,
    port: &mut u16,
    line: &str,
) -> Result<String, String> {
    let (order, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (route, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if order == "usage" {
        return Ok(usage(sources));
    }
    let route: usize = route.parse().map_err(|e| format!("{route}: {e}"))?;
    if order == "add" {
        let source = Source::start(route, *port, rest)?;
        *port = source.source.property::<u32>("current-port") as u16;
        sources.insert(route, source);
        return Ok(port.to_string());
    }
    let source = sources.get(&route).ok_or("no such route")?;
    match order {
        "restart" => {
            let since = Instant::now();
            let set = |state| source.pipeline.set_state(state).map_err(|e| e.to_string());
            set(gst::State::Null)?;
            // Nobody else says so.
            let mut arrivals = source.arrivals.lock().unwrap();
            arrivals.end(route, "the element was stopped");
            drop(arrivals);
            // The first one had picked its own, and is to keep it.
            source.source.set_property("port", u32::from(*port));
            set(gst::State::Playing)?;
            Ok(since.elapsed().as_micros().to_string())
        }
        "set" => {
            let (property, value) = rest.split_once(' ').ok_or("set what?")?;
            source.source.set_property_from_str(property, value);
            Ok("set".to_owned())
        }
        _ => Err("what?".to_owned()),
    }
}

fn usage(sources: &BTreeMap<usize, Source>) -> String {
    let gaps = sources.values().map(|source| {
        let mut arrivals = source.arrivals.lock().unwrap();
        std::mem::take(&mut arrivals.longest_gap)
    });
    let gap = gaps.max().unwrap_or_default().as_micros();
    let cpu = own_process::cpu_time().as_micros();
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux").count();
    let count = |name: &str| {
        sources
            .values()
            .map(move |source| {
                let stats: gst::Structure = source.source.property("stats");
                stats.get::<u64>(name).unwrap_or(0)
            })
            .collect::<Vec<_>>()
    };
    // Of the port, so the same for each.
    let port = |name| count(name).into_iter().max().unwrap_or(0);
    format!(
        "{cpu} {} {} {threads} {gap} {} {} {}",
        own_process::resident_bytes(),
        own_process::descriptors().len(),
        port("handshake-failures"),
        port("rejected"),
        count("takeovers").iter().sum::<u64>(),
    )
}

impl Source {
    fn start(route: usize, port: u16, properties: &str) -> Result<Source, String> {
        let description = format!(
            "rtmp2serversrc name=source host=127.0.0.1 port={port} timestamp-mode=passthrough \
             {properties} ! fakesink sync=false"
        );
        let pipeline = gst::parse::launch(&description).map_err(|e| e.to_string())?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().expect("two elements");
        let source = pipeline.by_name("source").expect("named above");
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        // Both are called by the streaming thread, so messages and tags come in order.
        pipeline.bus().unwrap().set_sync_handler({
            let arrivals = arrivals.clone();
            move |_, message| {
                if let Some(structure) = message.structure() {
                    arrivals.lock().unwrap().message(route, structure);
                } else if let gst::MessageView::Error(e) = message.view() {
                    say(format_args!("error of {route}: {}", e.error()));
                }
                gst::BusSyncReply::Drop
            }
        });
        let pad = source.static_pad("src").expect("a source has one");
        pad.add_probe(gst::PadProbeType::BUFFER, {
            let arrivals = arrivals.clone();
            move |_, info| {
                let buffer = info.buffer().expect("asked for buffers").map_readable();
                if let Err(error) = arrivals.lock().unwrap().buffer(&buffer.expect("readable")) {
                    say(format_args!("malformed tag of {route}: {error}"));
                }
                gst::PadProbeReturn::Ok
            }
        });
        let started = pipeline.set_state(gst::State::Playing);
        started.map_err(|e| format!("{properties}: {e}"))?;
        Ok(Source {
            pipeline,
            source,
            arrivals,
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Arrivals {
    fn message(&mut self, route: usize, message: &gst::StructureRef) {
        match message.name().as_str() {
            "rtmp2server-publisher-connected" => {
                self.is_publishing = true;
                self.digest = Digest::default();
                self.last = None;
                say(format_args!("began {route}"));
            }
            "rtmp2server-publisher-disconnected" => {
                let Digest { tags, .. } = self.digest;
                self.end(route, message.get("reason").unwrap_or_default());
                let counted = message.get::<u64>("tags").unwrap_or_default();
                if counted != tags as u64 {
                    say(format_args!(
                        "wrong count of {route}: {counted}, not {tags}"
                    ));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, route: usize, reason: &str) {
        if std::mem::take(&mut self.is_publishing) {
            self.last = None;
            let (tags, hash) = (self.digest.tags, self.digest.hash());
            say(format_args!("ended {route} {tags} {hash} {reason}"));
        }
    }

    fn buffer(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if bytes == FILE_HEADER {
            return Ok(());
        }
        let now = Instant::now();
        let gap = self.last.replace(now).map(|last| now - last);
        self.longest_gap = self.longest_gap.max(gap.unwrap_or_default());
        let (header, rest) = bytes.split_first_chunk::<11>().ok_or("no header")?;
        let (body, trailer) = rest.split_last_chunk::<4>().ok_or("no trailer")?;
        let size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if size != body.len() || u32::from_be_bytes(*trailer) as usize != 11 + size {
            return Err("sizes do not fit");
        }
        let timestamp = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        self.digest.add_parts(header[0], timestamp, body);
        Ok(())
    }
}

/// Where a station listens.
pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
