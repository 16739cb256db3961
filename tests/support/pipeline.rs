//! A pipeline that records a publisher to a file: `rtmp2serversrc port=0 ! filesink`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::flv::{self, Tag};

/// Longer than the element needs to notice the end of any publisher here, and shorter than the silence after which it
/// would take one for lost.
pub const DEADLINE: Duration = Duration::from_secs(25);

/// Initialises GStreamer and registers the plugin, once per process.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().expect("GStreamer initialises");
        gstrtmp2server::plugin_register_static().expect("the plugin registers");
        if std::env::var_os("GST_TRACERS").is_some() {
            // SAFETY: takes a function that lives as long as the process.
            unsafe { libc::atexit(tell_tracers) };
        }
    });
}

/// The tracer of leaks tells of what is alive when GStreamer goes: see scripts/traced.sh.
extern "C" fn tell_tracers() {
    // SAFETY: all tests have ended, and nobody uses GStreamer after this.
    unsafe { gst::deinit() };
}

/// A pipeline around one `rtmp2serversrc`; dropping it sets it to NULL.
pub struct Recording {
    pipeline: gst::Pipeline,
    source: gst::Element,
    output: PathBuf,
    buffer_sizes: Arc<Mutex<Vec<usize>>>,
}

impl Recording {
    /// The error that the bus tells of when the element does not start.
    pub fn refused(properties: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        match Self::start(directory.path(), properties) {
            Ok(_) => panic!("{properties} is fine?"),
            Err(reason) => reason,
        }
    }

    /// Records to `output.flv` in `directory`; `properties` are those of the source, such as `timeout=5`.
    pub fn start(directory: &Path, properties: &str) -> Result<Recording, String> {
        Recording::start_through(directory, properties, "")
    }

    /// The same with other elements in between, such as `identity sleep-time=5000 !`.
    pub fn start_through(
        directory: &Path,
        properties: &str,
        between: &str,
    ) -> Result<Recording, String> {
        Recording::prepare(directory, properties, between)?.play()
    }

    /// To PLAYING.
    pub fn play(self) -> Result<Recording, String> {
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            let reason = self
                .wait_for_eos(Duration::from_secs(1))
                .err()
                .unwrap_or_default();
            return Err(format!("the pipeline does not start: {reason}"));
        }
        Ok(self)
    }

    /// Waits until filesink has handled EOS. After an error of the source that follows a moment later, and until then up
    /// to 64 KiB are in filesink's buffer, which it throws away if it is stopped at once.
    pub fn wait_for_end_of_file(&self) -> Result<(), String> {
        let sink = self.pipeline.by_name("sink").expect("named above");
        let pad = sink.static_pad("sink").expect("a sink has one");
        // The pad keeps the event when it has been handled.
        wait_until(DEADLINE, || {
            pad.sticky_event::<gst::event::Eos>(0).is_some()
        })
    }

    /// To NULL: what was recorded is in the file.
    pub fn stop(&self) -> Result<(), String> {
        self.pipeline
            .set_state(gst::State::Null)
            .map_err(|e| format!("to NULL: {e}"))?;
        Ok(())
    }

    pub fn is_publishing(&self) -> bool {
        let stats: gst::Structure = self.source.property("stats");
        stats.get::<&str>("state") == Ok("publishing")
    }

    /// The same in state NULL.
    pub fn prepare(directory: &Path, properties: &str, between: &str) -> Result<Recording, String> {
        let output = directory.join("output.flv");
        Recording::prepare_to(properties, between, &output.clone(), output)
    }

    /// Records to `location`, from where everything gets to `output`.
    pub fn prepare_to(
        properties: &str,
        between: &str,
        location: &Path,
        output: PathBuf,
    ) -> Result<Recording, String> {
        init();
        let description = format!(
            "rtmp2serversrc name=source port=0 {properties} ! {between} filesink name=sink"
        );
        let pipeline =
            gst::parse::launch(&description).map_err(|e| format!("{description}: {e}"))?;
        let pipeline = pipeline
            .downcast::<gst::Pipeline>()
            .expect("a description of two elements is a pipeline");
        let source = pipeline
            .by_name("source")
            .expect("named in the description");
        let sink = pipeline.by_name("sink").expect("named in the description");
        sink.set_property(
            "location",
            location
                .to_str()
                .expect("test directories have plain names"),
        );
        let buffer_sizes = note_buffer_sizes(&source);

        Ok(Recording {
            pipeline,
            source,
            output,
            buffer_sizes,
        })
    }

    pub fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    pub fn source(&self) -> &gst::Element {
        &self.source
    }

    pub fn port(&self) -> u16 {
        let port = self
            .source
            .property_value("current-port")
            .transform::<u32>()
            .expect("current-port is a number");
        u16::try_from(port.get::<u32>().expect("just transformed")).expect("a port has 16 bits")
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// A counter of the source's `stats`.
    pub fn counter(&self, name: &str) -> u64 {
        let stats: gst::Structure = self.source.property("stats");
        stats.get(name).expect("a counter of 64 bits")
    }

    /// Waits until a counter of `stats`, which has no event of its own, is at least `wanted`.
    pub fn wait_for_counter(&self, name: &str, wanted: u64) -> Result<(), String> {
        wait_until(DEADLINE, || self.counter(name) >= wanted)
            .map_err(|e| format!("{name} is {}, not {wanted}: {e}", self.counter(name)))
    }

    /// An EOS event to the pipeline, as gst-launch-1.0 -e sends it.
    pub fn send_eos(&self) {
        assert!(self.pipeline.send_event(gst::event::Eos::new()));
    }

    /// Waits for the pipeline to end by itself.
    pub fn wait_for_eos(&self, deadline: Duration) -> Result<(), String> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let deadline =
            gst::ClockTime::try_from(deadline).expect("a deadline of less than centuries");
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(deadline, &wanted);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(e)) => {
                Err(format!("{} ({})", e.error(), e.debug().unwrap_or_default()))
            }
            _ => Err(format!("neither EOS nor an error within {deadline}")),
        }
    }

    /// Waits for the end of the recording, and reads it.
    ///
    /// Also checks the shape of the stream: the file header is one buffer, and so is every tag.
    pub fn finish(self) -> Result<Vec<Tag>, String> {
        self.finish_within(DEADLINE)
    }

    /// The same, with a shorter deadline.
    pub fn finish_within(self, deadline: Duration) -> Result<Vec<Tag>, String> {
        self.wait_for_eos(deadline)?;
        self.read()
    }

    /// Ends the recording as it is now, and reads it.
    pub fn read(self) -> Result<Vec<Tag>, String> {
        self.stop()?;
        let file =
            std::fs::read(&self.output).map_err(|e| format!("{}: {e}", self.output.display()))?;
        if !file.starts_with(&flv::FILE_HEADER) {
            let start = &file[..file.len().min(flv::FILE_HEADER.len())];
            return Err(format!("the file begins with {start:02x?}"));
        }
        let tags = flv::parse(&file).map_err(|e| format!("the recording: {e}"))?;
        let expected: Vec<usize> = std::iter::once(flv::FILE_HEADER.len())
            .chain(tags.iter().map(|tag| 11 + tag.body.len() + 4))
            .collect();
        if *self.buffer_sizes.lock().unwrap() != expected {
            return Err("the buffers are not the file header and then one per tag".to_string());
        }
        Ok(tags)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Waits for what has no event to wait for.
pub fn wait_until(deadline: Duration, condition: impl Fn() -> bool) -> Result<(), String> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
    let until = Instant::now() + deadline;
    while !condition() {
        if Instant::now() >= until {
            return Err(format!("not within {deadline:?}"));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

fn note_buffer_sizes(source: &gst::Element) -> Arc<Mutex<Vec<usize>>> {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let pad = source.static_pad("src").expect("a source has a src pad");
    pad.add_probe(gst::PadProbeType::BUFFER, {
        let sizes = sizes.clone();
        move |_, info| {
            if let Some(buffer) = info.buffer() {
                sizes.lock().unwrap().push(buffer.size());
            }
            gst::PadProbeReturn::Ok
        }
    });
    sizes
}
