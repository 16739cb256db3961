//! Properties, actions and the application's handlers on many threads: any of them at any time, with no lock held while the
//! application is called.

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use support::client::{Client, Random, tags};
use support::flv::Kind;
use support::own_process::wait_until;
use support::pipeline::{DEADLINE, Recording};

/// Longer than anything here takes that does not wait for a lock.
const HANG: Duration = Duration::from_secs(5);

fn own_properties(source: &gst::Element) -> Vec<glib::ParamSpec> {
    let all = source.list_properties().to_vec();
    let own = all
        .into_iter()
        .filter(|spec| spec.owner_type() == source.type_());
    own.collect()
}

/// A value that a property takes; those that say where to listen stay on loopback.
fn any_value(spec: &glib::ParamSpec, random: &mut Random) -> glib::Value {
    let of = |choices: &[Option<&str>], n: u64| choices[n as usize % choices.len()].to_value();
    let n = random.next();
    match spec.name() {
        "host" => of(&[Some("127.0.0.1"), Some("localhost")], n),
        "port" => 0u32.to_value(),
        "location" => of(&[None, Some("rtmp://127.0.0.1:0/live/k")], n),
        "application" => of(&[None, Some("live"), Some("other")], n),
        "stream-key" => of(&[None, Some("test"), Some("other")], n),
        _ => match spec.downcast_ref::<glib::ParamSpecUInt>() {
            Some(range) => {
                let count = u64::from(range.maximum() - range.minimum()) + 1;
                (range.minimum() + (n % count) as u32).to_value()
            }
            None if spec.value_type() == bool::static_type() => n.is_multiple_of(2).to_value(),
            None => spec.default_value().clone(),
        },
    }
}

/// Reads and sets everything, and returns how many of both.
fn touch(source: &gst::Element, random: &mut Random) -> usize {
    let properties = own_properties(source);
    for spec in &properties {
        let flags = spec.flags();
        if flags.contains(glib::ParamFlags::WRITABLE) {
            source.set_property_from_value(spec.name(), &any_value(spec, random));
        }
        if flags.contains(glib::ParamFlags::READABLE) {
            let value = source.property_value(spec.name());
            assert!(value.type_().is_a(spec.value_type()));
        }
    }
    let stats: gst::Structure = source.property("stats");
    let count = |name| stats.get::<u64>(name).expect(name);
    assert_eq!(
        count("received"),
        count("pushed") + count("queued") + count("withheld"),
        "{stats}"
    );
    properties.len()
}

fn change_state(recording: &Recording, state: gst::State) {
    // A port that a property said in between may be taken, a name unknown.
    let _ = recording.pipeline().set_state(state);
}

/// While the element starts, stops and takes publishers.
#[test]
fn every_property_at_any_time() {
    const THREADS: u64 = 4;
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "loop=true", "").unwrap();
    let done = AtomicBool::new(false);
    let touched = AtomicUsize::new(0);
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (done, touched, rounds) = (&done, &touched, &rounds);
        let source = recording.source();
        let mut handles = Vec::new();
        for seed in 1..=THREADS {
            handles.push(scope.spawn(move || {
                let mut random = Random(seed);
                while !done.load(Ordering::Relaxed) {
                    touched.fetch_add(touch(source, &mut random), Ordering::Relaxed);
                    source.emit_by_name::<bool>("disconnect-publisher", &[]);
                    source.emit_by_name::<bool>("request-reconnect", &[&None::<String>]);
                }
            }));
        }
        handles.push(scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let port: u32 = source.property("current-port");
                // It is turned away, or sent away, or stopped: whatever the others have set.
                let address = (std::net::Ipv4Addr::LOCALHOST, port as u16).into();
                let client = Client::connect(address, "live");
                let _ = client.and_then(|mut client| {
                    client.must_publish("test")?;
                    client.send_all(&tags(50, 200))
                });
            }
        }));
        let (finished, wait) = mpsc::channel();
        let recording = &recording;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for state in [gst::State::Playing, gst::State::Paused, gst::State::Null] {
                    change_state(recording, state);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            finished.send(()).ok();
        });
        let enough = || {
            touched.load(Ordering::Relaxed) > 20_000 && rounds.load(Ordering::Relaxed) > 100
                || handles.iter().any(|handle| handle.is_finished())
        };
        let in_time = wait_until(DEADLINE, enough);
        done.store(true, Ordering::Relaxed);
        if wait.recv_timeout(2 * HANG).is_err() {
            // Not eprintln: what a test prints is kept, and goes with the process.
            let _ = writeln!(std::io::stderr(), "a change of state hangs");
            std::process::abort();
        }
        assert!(in_time, "{touched:?} properties, {rounds:?} rounds");
    });
    // What was set last is what is there.
    recording.source().set_property("latency", 77u32);
    assert_eq!(recording.source().property::<u32>("latency"), 77);
}

/// Touches everything on another thread, and waits for that where the element calls the application.
#[derive(Clone)]
struct Visitor {
    visits: mpsc::Sender<String>,
}

impl Visitor {
    fn visit(&self, source: &gst::Element, place: &str) {
        // Setting `latency` posts a message of its own, on that thread.
        if thread::current().name() == Some("visitor") {
            return;
        }
        let (done, wait) = mpsc::channel();
        let source = source.clone();
        let visitor = thread::Builder::new().name("visitor".into());
        visitor
            .spawn(move || {
                let all = own_properties(&source);
                let writable = all.iter().filter(|spec| {
                    let both = glib::ParamFlags::READWRITE;
                    // Those that decide about this very run stay.
                    spec.flags().contains(both) && !["location", "host"].contains(&spec.name())
                });
                for spec in writable {
                    let value = source.property_value(spec.name());
                    source.set_property_from_value(spec.name(), &value);
                }
                let _: gst::Structure = source.property("stats");
                let _: u32 = source.property("current-port");
                source.emit_by_name::<bool>("request-reconnect", &[&None::<String>]);
                done.send(()).ok();
            })
            .expect("a thread");
        let answer = wait.recv_timeout(HANG);
        assert!(answer.is_ok(), "a lock is held: {place}");
        self.visits.send(place.to_owned()).ok();
    }
}

#[test]
fn no_lock_is_held_while_the_application_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "publisher-policy=reject";
    let recording = Recording::prepare(directory.path(), properties, "").unwrap();
    let (visits, places) = mpsc::channel();
    let visitor = Visitor { visits };
    let source = recording.source();

    let bus = recording.pipeline().bus().unwrap();
    bus.set_sync_handler({
        let (visitor, weak) = (visitor.clone(), source.downgrade());
        move |_, message| {
            if let Some(source) = weak.upgrade()
                && message.src() == Some(source.upcast_ref())
            {
                let name = match message.view() {
                    gst::MessageView::Element(e) => e.structure().unwrap().name().to_string(),
                    _ => format!("{:?}", message.type_()),
                };
                visitor.visit(&source, &name);
            }
            gst::BusSyncReply::Pass
        }
    });
    source.connect_notify(Some("current-port"), {
        let visitor = visitor.clone();
        move |source, _| visitor.visit(source, "notify")
    });
    for signal in [
        "caller-connecting",
        "caller-added",
        "caller-removed",
        "caller-rejected",
    ] {
        let visitor = visitor.clone();
        source.connect(signal, false, move |values| {
            let source: gst::Element = values[0].get().expect("the emitter");
            visitor.visit(&source, signal);
            (signal == "caller-connecting").then(|| true.to_value())
        });
    }
    let pad = source.static_pad("src").unwrap();
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(mask, {
        let (visitor, weak) = (visitor.clone(), source.downgrade());
        move |_, info| {
            let place = match &info.data {
                Some(gst::PadProbeData::Event(event)) => format!("{:?}", event.type_()),
                _ => "buffer".to_owned(),
            };
            if let Some(source) = weak.upgrade() {
                visitor.visit(&source, &place);
            }
            gst::PadProbeReturn::Ok
        }
    });

    // What is logged goes to the application as well, if it wants to have it.
    gst::log::set_threshold_for_name("rtmp2serversrc", gst::DebugLevel::Debug);
    // It would write a line for each of what the other tests here do.
    gst::log::remove_default_log_function();
    let log_function = gst::log::add_log_function({
        let weak = source.downgrade();
        move |category, _, _, _, _, object, message| {
            // Other tests' elements log as well.
            if category.name() == "rtmp2serversrc"
                && let (Some(object), Some(source)) = (object, weak.upgrade())
                && object.as_ptr() == source.as_ptr().cast()
            {
                let text = message.get().map(|text| text.to_string());
                let text = text.unwrap_or_default();
                visitor.visit(
                    &source,
                    text.split(['{', ':', '(']).next().unwrap_or_default(),
                );
            }
        }
    });

    let recording = recording.play().unwrap();
    let sent = tags(10, 300);
    let mut client = Client::publisher(recording.address()).unwrap();
    let second = Client::connect(recording.address(), "live")
        .unwrap()
        .publish("test");
    assert_eq!(second.unwrap().code, "NetStream.Publish.BadName");
    client.send_all(&sent).unwrap();
    assert_eq!(sent.iter().filter(|tag| tag.kind == Kind::Video).count(), 5);
    client.close().unwrap();
    recording.wait_for_eos(DEADLINE).unwrap();
    recording.stop().unwrap();
    gst::log::remove_log_function(log_function);
    gst::log::unset_threshold_for_name("rtmp2serversrc");
    let seen: Vec<String> = places.try_iter().collect();
    for place in [
        "notify",
        "rtmp2server-listening",
        "caller-connecting",
        "caller-added",
        "rtmp2server-publisher-connected",
        "caller-rejected",
        "rtmp2server-publisher-rejected",
        "Segment",
        "Caps",
        "rtmp2server-stream-info",
        "Latency",
        "buffer",
        "caller-removed",
        "rtmp2server-publisher-disconnected",
        "rtmp2server-pre-eos",
        "Eos",
        "tags of Publisher ",
        "timeline",
    ] {
        assert!(seen.iter().any(|seen| seen == place), "{place}: {seen:?}");
    }
}

/// Each of the handlers stops the pipeline, and its reference is the last one.
#[test]
fn any_handler_may_stop_and_drop_the_element() {
    for (signal, properties) in [
        ("caller-connecting", "loop=true"),
        ("caller-added", "loop=true"),
        ("caller-removed", "loop=true"),
        ("caller-rejected", "application=other"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let recording = Recording::start(directory.path(), properties).unwrap();
        let weak = recording.source().downgrade();
        let address = recording.address();
        let (stopped, wait) = mpsc::channel();
        let owned = std::sync::Mutex::new(None::<Recording>);
        let owned = std::sync::Arc::new(owned);
        let inside = owned.clone();
        recording.source().connect(signal, false, move |_| {
            // Dropped here, and set to NULL by that.
            let recording = inside.lock().unwrap().take();
            stopped.send(recording.is_some()).ok();
            (signal == "caller-connecting").then(|| true.to_value())
        });
        *owned.lock().unwrap() = Some(recording);
        let client = Client::connect(address, "live");
        // It may be cut off at any of these.
        let _ = client.and_then(|mut client| {
            client.must_publish("test")?;
            client.send_all(&tags(20, 200))?;
            client.close()
        });
        assert_eq!(wait.recv_timeout(HANG), Ok(true), "{signal}");
        let gone = wait_until(HANG, || weak.upgrade().is_none());
        assert!(gone, "somebody still holds the element: {signal}");
    }
}
