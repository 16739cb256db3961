//! One of several processes behind a load balancer: takes as many publishers as it has elements, all on one port, and
//! records each publication to a file of its own.
//!
//! SIGTERM or SIGINT drains it: it tells the balancer, takes no further publisher, asks those that can to connect again,
//! gives the others time to leave, and ends when the last file is complete. See README.md beside this file.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use signal_hook::consts::{SIGINT, SIGTERM};

const USAGE: &str =
    "usage: worker DIRECTORY [--elements 8] [--agent PORT] [--patience 30] [PROPERTY=VALUE …]

  DIRECTORY   gets one file per publication, and the file `log`, a line per beginning and end
  --elements  how many publishers at the same time
  --agent     port of 127.0.0.1 on which a balancer is told `up` or `drain` (HAProxy's agent-check)
  --patience  seconds that a publisher which can't be asked to connect again has to leave by itself
  PROPERTY    of the elements: port=1936 host=127.0.0.1 proxy-protocol=required …";

/// A balancer that has an agent asks it more often than this.
const NOTICE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

#[allow(dead_code)] // The test of this example calls `run`.
fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    directory: PathBuf,
    elements: usize,
    agent: Option<u16>,
    patience: Duration,
    /// As in a pipeline description.
    properties: Vec<String>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut parsed = Arguments {
            directory: PathBuf::from(arguments.next()?),
            elements: 8,
            agent: None,
            patience: Duration::from_secs(30),
            properties: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next();
            match argument.as_str() {
                "--elements" => parsed.elements = value()?.parse().ok()?,
                "--agent" => parsed.agent = Some(value()?.parse().ok()?),
                "--patience" => parsed.patience = Duration::from_secs(value()?.parse().ok()?),
                property if property.contains('=') => parsed.properties.push(argument),
                _ => return None,
            }
        }
        Some(parsed)
    }
}

pub fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let arguments = Arguments::parse(arguments).ok_or(USAGE)?;
    gst::init().map_err(|e| e.to_string())?;
    gstrtmp2server::plugin_register_static().map_err(|e| e.to_string())?;
    let said = |what: &str| format!("{}: {what}", arguments.directory.display());
    fs::create_dir_all(&arguments.directory).map_err(|e| said(&e.to_string()))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(arguments.directory.join("log"));
    let agent = Agent::start(arguments.agent).map_err(|e| format!("the agent's port: {e}"))?;
    let main_loop = glib::MainLoop::new(None, false);
    let worker = Rc::new(RefCell::new(Worker {
        log: log.map_err(|e| said(&e.to_string()))?,
        agent,
        recorders: Vec::new(),
        recordings: 0,
        draining: None,
        main_loop: main_loop.clone(),
        arguments,
    }));

    let elements = worker.borrow().arguments.elements;
    for number in 0..elements {
        let recorder = Recorder::new(number, &worker)?;
        let mut worker = worker.borrow_mut();
        worker.recorders.push(recorder);
        worker.record(number)?;
    }
    let asked_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, asked_to_end.clone()).map_err(|e| e.to_string())?;
    }
    glib::timeout_add_local(BETWEEN_LOOKS, {
        let worker = worker.clone();
        move || {
            if asked_to_end.load(Ordering::Relaxed) {
                worker.borrow_mut().drain();
            }
            glib::ControlFlow::Continue
        }
    });
    main_loop.run();
    // What is left is stopped with it.
    worker.borrow_mut().recorders.clear();
    Ok(())
}

/// The whole process.
struct Worker {
    arguments: Arguments,
    log: File,
    agent: Agent,
    recorders: Vec<Recorder>,
    /// Files so far.
    recordings: usize,
    draining: Option<Draining>,
    main_loop: glib::MainLoop,
}

struct Draining {
    since: Instant,
    step: Step,
}

enum Step {
    /// The balancer is being told. Who connects again before it knows comes back here.
    Announced,
    /// Publishers were asked to connect again; some can't be asked, and have time to leave.
    Asked,
    /// They were disconnected.
    Disconnected,
}

/// `rtmp2serversrc ! filesink`, started anew for every publication.
struct Recorder {
    pipeline: gst::Pipeline,
    source: gst::Element,
    sink: gst::Element,
    file: PathBuf,
    /// Somebody has published into this file.
    used: bool,
    /// Takes no publisher any more, and its file is complete.
    ended: bool,
    _watch: gst::bus::BusWatchGuard,
}

impl Recorder {
    fn new(number: usize, worker: &Rc<RefCell<Worker>>) -> Result<Self, String> {
        let properties = worker.borrow().arguments.properties.join(" ");
        // A newcomer gets a free element, or is for another process to take.
        let description = format!(
            "rtmp2serversrc name=source publisher-policy=reject {properties} ! filesink name=sink"
        );
        let pipeline = gst::parse::launch(&description).map_err(|e| e.to_string())?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().expect("two elements");
        let element = |name| pipeline.by_name(name).expect("named above");
        let (source, sink) = (element("source"), element("sink"));
        let weak = Rc::downgrade(worker);
        let watch =
            pipeline
                .bus()
                .expect("a pipeline has one")
                .add_watch_local(move |_, message| {
                    if let Some(worker) = weak.upgrade() {
                        worker.borrow_mut().hear(number, message);
                    }
                    glib::ControlFlow::Continue
                });
        Ok(Recorder {
            source,
            sink,
            file: PathBuf::new(),
            used: false,
            ended: false,
            _watch: watch.map_err(|e| e.to_string())?,
            pipeline,
        })
    }

    fn is_publishing(&self) -> bool {
        let stats: gst::Structure = self.source.property("stats");
        stats.get::<&str>("state") == Ok("publishing")
    }

    /// The file is complete when this returns; one that nobody published into is removed.
    fn stop(&mut self) {
        // To NULL does not fail.
        let _ = self.pipeline.set_state(gst::State::Null);
        if !self.used {
            let _ = fs::remove_file(&self.file);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Worker {
    /// Waits for the next publisher, with a file of its own.
    fn record(&mut self, number: usize) -> Result<(), String> {
        self.recordings += 1;
        let name = format!("{}-{:06}.flv", std::process::id(), self.recordings);
        let recorder = &mut self.recorders[number];
        recorder.file = self.arguments.directory.join(name);
        recorder.used = false;
        let location = recorder
            .file
            .to_str()
            .ok_or("a directory of a plain name, please")?;
        recorder.sink.set_property("location", location);
        if recorder.pipeline.set_state(gst::State::Playing).is_ok() {
            return Ok(());
        }
        let bus = recorder.pipeline.bus().expect("a pipeline has one");
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        Err(match error.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => error.error().to_string(),
            _ => "the pipeline does not start".to_owned(),
        })
    }

    fn hear(&mut self, number: usize, message: &gst::Message) {
        match message.view() {
            gst::MessageView::Element(element) => {
                if let Some(structure) = element.structure() {
                    self.hear_of_publisher(number, structure);
                }
            }
            gst::MessageView::Eos(_) => self.recording_ended(number),
            gst::MessageView::Error(error) => {
                self.note(number, &format!("error {}", error.error()));
                self.recording_ended(number);
            }
            _ => {}
        }
    }

    fn hear_of_publisher(&mut self, number: usize, message: &gst::StructureRef) {
        let text = |field| message.get::<&str>(field).unwrap_or_default();
        match message.name().as_str() {
            "rtmp2server-publisher-connected" => {
                self.recorders[number].used = true;
                let line = format!("began {} {}", text("address"), text("application"));
                self.note(number, &line);
            }
            "rtmp2server-publisher-disconnected" => {
                let tags = message.get::<u64>("tags").unwrap_or_default();
                self.note(number, &format!("ended {tags} {}", text("reason")));
            }
            _ => {}
        }
    }

    fn recording_ended(&mut self, number: usize) {
        if self.draining.is_some() {
            // It stays, so that who comes is told that this process is done.
            self.recorders[number].ended = true;
            return;
        }
        self.recorders[number].stop();
        if let Err(error) = self.record(number) {
            self.note(number, &format!("error {error}"));
            self.recorders[number].ended = true;
        }
    }

    /// A line of the log: the file, and what of it.
    fn note(&mut self, number: usize, what: &str) {
        let file = self.recorders[number].file.file_name().unwrap_or_default();
        let line = format!("{} {what}\n", file.display());
        if let Err(error) = self.log.write_all(line.as_bytes()) {
            eprintln!("the log: {error}");
        }
    }

    /// One step towards the end, until it is there.
    fn drain(&mut self) {
        match self.draining {
            None => self.begin_to_drain(),
            Some(_) => self.go_on_draining(),
        }
    }

    /// From now on, nobody is let in who was not already.
    fn begin_to_drain(&mut self) {
        self.agent.say_drain();
        self.draining = Some(Draining {
            since: Instant::now(),
            step: Step::Announced,
        });
        for recorder in &self.recorders {
            // Its publisher is its last anyway. One that comes to an idle element in this very moment is told to go, and
            // what it sent until then is recorded.
            if !recorder.is_publishing() {
                recorder.pipeline.send_event(gst::event::Eos::new());
            }
        }
    }

    fn go_on_draining(&mut self) {
        let Some(draining) = &mut self.draining else {
            return;
        };
        if self.recorders.iter().all(|recorder| recorder.ended) {
            self.main_loop.quit();
            return;
        }
        let waited = draining.since.elapsed();
        let publishing = self.recorders.iter().filter(|recorder| !recorder.ended);
        let sources = publishing.map(|recorder| &recorder.source);
        match draining.step {
            Step::Announced if self.agent.has_told() || waited >= NOTICE => {
                draining.step = Step::Asked;
                for source in sources {
                    let elsewhere = None::<String>;
                    source.emit_by_name::<bool>("request-reconnect", &[&elsewhere]);
                }
            }
            Step::Asked if waited >= self.arguments.patience => {
                draining.step = Step::Disconnected;
                for source in sources {
                    source.emit_by_name::<bool>("disconnect-publisher", &[]);
                }
            }
            _ => {}
        }
    }
}

/// Tells a balancer whether to send anybody here, as HAProxy's `agent-check` asks for it: one line per connection.
struct Agent {
    is_asked: bool,
    draining: Arc<AtomicBool>,
    told: Arc<AtomicBool>,
}

impl Agent {
    fn start(port: Option<u16>) -> io::Result<Self> {
        let agent = Agent {
            is_asked: port.is_some(),
            draining: Arc::default(),
            told: Arc::default(),
        };
        if let Some(port) = port {
            let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
            let (draining, told) = (agent.draining.clone(), agent.told.clone());
            thread::spawn(move || {
                for mut asked in listener.incoming().flatten() {
                    let drains = draining.load(Ordering::SeqCst);
                    let answer: &[u8] = if drains { b"drain\n" } else { b"ready up\n" };
                    // Who hangs up asks again.
                    if asked.write_all(answer).is_ok() && drains {
                        told.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
        Ok(agent)
    }

    fn say_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// The balancer knows, or there is none to be told.
    fn has_told(&self) -> bool {
        !self.is_asked || self.told.load(Ordering::SeqCst)
    }
}
