//! One pipeline: it waits for a publisher, records it, and is done when the publisher has left.
//!
//!     rtmp2serversrc ! tee ! filesink           as sent, written tag by tag
//!                          ! appsink - - - ->   the preview's own pipeline, see there
//!
//! What is behind the tee is made when a publisher has come, because the file is named after it: in the streaming thread,
//! before its first tag. The appsink hands on and never waits, so the preview can hold up nothing.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use gst::glib;
use gst::prelude::*;
use gst_utils::StreamProducer;
use gst_utils::streamproducer::ProducerSettings;

use crate::figures::{FILE_HEADER, Figures};
use crate::preview::{self, Preview};
use crate::streams::{self, Admitted, End, Publication, Streams};

/// What all pipelines have in common.
pub struct Config {
    pub host: String,
    pub port: u16,
    pub application: String,
    pub directory: PathBuf,
    pub timeout: u32,
    /// Where previews are put; none without previews.
    pub preview_directory: Option<PathBuf>,
}

/// A little more than the element gives a pipeline to take what is queued.
const EOS_DEADLINE: Duration = Duration::from_secs(7);

/// What a recording tells the pool.
pub enum News {
    /// Somebody publishes: it takes nobody else.
    Taken,
    /// It is over, however it went.
    Over,
}

/// A pipeline at work, on a thread of its own.
pub struct Recording {
    events: Sender<Event>,
    thread: thread::JoinHandle<()>,
}

enum Event {
    /// From the pipeline, in order.
    Message(gst::Message),
    Begun(Begun),
    CanNotBegin(anyhow::Error),
    /// From the preview's pipeline.
    Preview(gst::Message),
    Stop,
}

/// A publisher's tags follow.
struct Begun {
    publication: Arc<Publication>,
    producer: StreamProducer,
}

impl Recording {
    /// Listens. Returns the port too.
    pub fn start(
        config: Arc<Config>,
        streams: Arc<Streams>,
        port: u16,
        tell: impl Fn(News) + Send + Sync + Clone + 'static,
    ) -> anyhow::Result<(Self, u16)> {
        let source = gst::ElementFactory::make("rtmp2serversrc")
            .property("host", &config.host)
            .property("port", u32::from(port))
            .property("application", &config.application)
            .property("timeout", config.timeout)
            // A stranger's silent camera is nobody's to take over; see `Streams::admit` for one's own.
            .property_from_str("publisher-policy", "reject")
            .build()?;
        // One that ends without a publisher puts out a file header, for nobody.
        let tee = gst::ElementFactory::make("tee")
            .property("allow-not-linked", true)
            .build()?;
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([&source, &tee])?;
        source.link(&tee)?;

        let (events, incoming) = mpsc::channel();
        let admitted = Arc::new(Mutex::new(None));
        decide_with(&source, streams.clone(), admitted.clone());
        let begin = Begin {
            config: config.clone(),
            streams,
            admitted,
            pipeline: pipeline.downgrade(),
            source: source.downgrade(),
            tee,
        };
        let bus = pipeline.bus().expect("a pipeline has a bus");
        bus.set_sync_handler({
            let (events, tell) = (events.clone(), tell.clone());
            move |_, message| {
                if is_named(message, "rtmp2server-publisher-connected") {
                    tell(News::Taken);
                    let _ = events.send(match begin.begin() {
                        Ok(begun) => Event::Begun(begun),
                        Err(error) => Event::CanNotBegin(error),
                    });
                }
                let _ = events.send(Event::Message(message.clone()));
                gst::BusSyncReply::Drop
            }
        });

        if pipeline.set_state(gst::State::Playing).is_err() {
            let errors = incoming.try_iter().find_map(|event| match event {
                Event::Message(message) => error_of(&message),
                _ => None,
            });
            let _ = pipeline.set_state(gst::State::Null);
            return Err(errors.unwrap_or_else(|| anyhow!("the pipeline does not start")));
        }
        let port: u32 = source.property("current-port");
        let run = Run {
            config,
            pipeline,
            source,
            events: events.clone(),
            begun: None,
            preview: None,
            left: None,
        };
        let thread = thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || {
                run.until_over(&incoming);
                tell(News::Over);
            })?;
        let port = u16::try_from(port).context("a port has 16 bits")?;
        Ok((Self { events, thread }, port))
    }

    /// Asks it to end: what was received is recorded.
    pub fn stop(&self) {
        // One that is over does not listen any more.
        let _ = self.events.send(Event::Stop);
    }

    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a recording's thread panicked");
        }
    }
}

/// Lets the keys file decide. The element calls this on a thread of its own.
fn decide_with(source: &gst::Element, streams: Arc<Streams>, admitted: Slot) {
    source.connect("caller-connecting", false, move |values| {
        let caller: gst::Structure = values[1].get().expect("a structure, as documented");
        let address: &str = caller.get("address").unwrap_or_default();
        let key: &str = caller.get("stream-key").unwrap_or_default();
        let decision = streams.admit(key);
        if let Err(refusal) = &decision {
            tracing::warn!("{address}: turned away: {refusal}");
        }
        let is_admitted = decision.is_ok();
        *admitted.lock().unwrap_or_else(PoisonError::into_inner) = decision.ok();
        Some(is_admitted.to_value())
    });
}

/// Who was let in by one element and has not begun: there is one at a time.
type Slot = Arc<Mutex<Option<Admitted>>>;

/// What is needed when a publisher's tags are about to come.
struct Begin {
    config: Arc<Config>,
    streams: Arc<Streams>,
    admitted: Slot,
    pipeline: glib::WeakRef<gst::Pipeline>,
    source: glib::WeakRef<gst::Element>,
    tee: gst::Element,
}

impl Begin {
    fn begin(&self) -> anyhow::Result<Begun> {
        let admitted = self
            .admitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .context("a publisher that was not let in")?;
        let pipeline = self.pipeline.upgrade().context("the pipeline is gone")?;
        let source = self.source.upgrade().context("the element is gone")?;
        let path = free_path(&self.config.directory, &admitted.name)?;

        let file = gst::ElementFactory::make("filesink")
            .property("location", &path)
            // One write per tag: whatever becomes of this process, what was received is in the file.
            .property_from_str("buffer-mode", "unbuffered")
            .property("sync", false)
            .property("async", false)
            .build()?;
        let producer = gst_app::AppSink::builder().async_(false).build();
        for sink in [&file, producer.upcast_ref()] {
            pipeline.add(sink)?;
            self.tee.link(sink)?;
            sink.sync_state_with_parent()
                .with_context(|| format!("can't record to {}", path.display()))?;
        }
        let producer = StreamProducer::with(&producer, ProducerSettings { sync: false });
        let publication = self.streams.begin(admitted, &source, path);
        Ok(Begun {
            publication,
            producer,
        })
    }
}

/// `NAME-20260131T235959Z.flv` in `directory`, or with a number if that is there.
fn free_path(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let time = glib::DateTime::now_utc()?.format("%Y%m%dT%H%M%SZ")?;
    let paths = (1..).map(|number| match number {
        1 => directory.join(format!("{name}-{time}.flv")),
        _ => directory.join(format!("{name}-{time}-{number}.flv")),
    });
    for path in paths.take(1000) {
        // Made here, so that of two that look for a name at the same moment each gets its own.
        match std::fs::File::create_new(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't record to {}", path.display()));
            }
        }
    }
    Err(anyhow!("no free file name for {name}"))
}

/// A recording's thread.
struct Run {
    config: Arc<Config>,
    pipeline: gst::Pipeline,
    source: gst::Element,
    events: Sender<Event>,
    begun: Option<Begun>,
    preview: Option<Preview>,
    /// How the publisher left: in words, and whether it said so.
    left: Option<(String, bool)>,
}

impl Run {
    fn until_over(mut self, incoming: &mpsc::Receiver<Event>) {
        let mut deadline: Option<Instant> = None;
        loop {
            let event = match deadline {
                None => incoming.recv().ok(),
                Some(deadline) => {
                    let left = Instant::saturating_duration_since(&deadline, Instant::now());
                    incoming.recv_timeout(left).ok()
                }
            };
            match event {
                Some(Event::Message(message)) => {
                    if self.is_over(&message) {
                        break;
                    }
                }
                Some(Event::Begun(begun)) => self.begun(begun),
                Some(Event::CanNotBegin(error)) => {
                    tracing::error!("{error:#}");
                    break;
                }
                Some(Event::Preview(message)) => self.preview_says(&message),
                Some(Event::Stop) => {
                    // The element puts out what it has, and then EOS.
                    self.pipeline.send_event(gst::event::Eos::new());
                    deadline.get_or_insert(Instant::now() + EOS_DEADLINE);
                }
                None => {
                    tracing::error!("a recording did not end in time");
                    break;
                }
            }
        }
        self.finish();
    }

    fn begun(&mut self, begun: Begun) {
        let Publication { name, path, .. } = &*begun.publication;
        let address = Figures::of(&self.source.property("stats")).remote_address;
        tracing::info!(
            "{name}: {} publishes, recorded to {}",
            address.unwrap_or_default(),
            path.display()
        );
        if self.config.preview_directory.is_none() {
            begun.publication.set_preview(streams::Preview::None {
                reason: "previews are off".to_owned(),
            });
        }
        self.begun = Some(begun);
    }

    /// Whether the message is the last one of interest.
    fn is_over(&mut self, message: &gst::Message) -> bool {
        match message.view() {
            gst::MessageView::Eos(_) => return true,
            gst::MessageView::Error(_) => {
                if let Some(error) = error_of(message) {
                    tracing::error!("{}{error:#}", self.prefix());
                    self.left = Some((format!("{error:#}"), false));
                }
                return true;
            }
            gst::MessageView::Warning(warning) => {
                tracing::warn!("{}{}", self.prefix(), warning.error());
            }
            gst::MessageView::Element(_) => {
                let Some(structure) = message.structure() else {
                    return false;
                };
                match structure.name().as_str() {
                    // Without sinks, nobody posts EOS.
                    "rtmp2server-pre-eos" => return self.begun.is_none(),
                    "rtmp2server-stream-info" => self.preview_anew(structure),
                    "rtmp2server-publisher-disconnected" => {
                        let reason = structure.get("reason").unwrap_or_default();
                        self.left = Some((reason, structure.get("clean").unwrap_or(false)));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        false
    }

    fn prefix(&self) -> String {
        let begun = self.begun.as_ref();
        begun.map_or(String::new(), |begun| {
            format!("{}: ", begun.publication.name)
        })
    }

    /// The stream is known, or known better: makes the preview that suits its codecs.
    fn preview_anew(&mut self, info: &gst::StructureRef) {
        let Some((begun, directory)) = self
            .begun
            .as_ref()
            .zip(self.config.preview_directory.as_ref())
        else {
            return;
        };
        let layout = preview::Layout::of(info);
        if let (Some(preview), Ok(layout)) = (&self.preview, &layout)
            && preview.layout() == layout
        {
            return;
        }
        self.preview = None;
        let events = self.events.clone();
        let preview = layout.and_then(|layout| {
            let pad = self.source.static_pad("src");
            let caps = pad.and_then(|pad| pad.current_caps());
            Preview::start(
                layout,
                &begun.producer,
                &caps.context("a stream without caps")?,
                directory,
                move |message| {
                    let _ = events.send(Event::Preview(message.clone()));
                },
            )
        });
        match preview {
            Ok(preview) => self.preview = Some(preview),
            Err(error) => self.no_preview(&error),
        }
    }

    fn preview_says(&mut self, message: &gst::Message) {
        let (Some(preview), Some(begun)) = (&self.preview, &self.begun) else {
            return;
        };
        if !preview.is_from(message) {
            return;
        }
        if let Some(error) = error_of(message) {
            self.preview = None;
            self.no_preview(&error);
        } else if preview.has_playlist() {
            begun
                .publication
                .set_preview(streams::Preview::Playing { url: preview.url() });
        }
    }

    fn no_preview(&self, error: &anyhow::Error) {
        if let Some(begun) = &self.begun {
            let reason = format!("{error:#}");
            tracing::info!("{}: no preview: {reason}", begun.publication.name);
            begun
                .publication
                .set_preview(streams::Preview::None { reason });
        }
    }

    fn finish(mut self) {
        self.preview = None;
        // The element forgets its figures in NULL.
        let figures = Figures::of(&self.source.property("stats"));
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("{}the pipeline does not stop", self.prefix());
        }
        let Some(begun) = self.begun.take() else {
            return;
        };
        let publication = &begun.publication;
        let name = &publication.name;
        let path = publication.path.display();
        let (reason, clean) = self.left.take().unwrap_or_default();
        let file_bytes = std::fs::metadata(&publication.path).map_or(0, |file| file.len());
        let expected = figures.bytes + FILE_HEADER;
        if figures.is_complete() && figures.queued == 0 && file_bytes == expected {
            tracing::info!(
                "{name}: ended: {reason}; all of {} tags, {} withheld, are in {path}",
                figures.received,
                figures.withheld
            );
        } else {
            tracing::error!(
                "{name}: ended: {reason}; {} tags received, {} put out, {} left in the queue; \
                 {path} has {file_bytes} bytes of {expected}",
                figures.received,
                figures.pushed,
                figures.queued
            );
        }
        let seconds = publication.elapsed().as_secs();
        publication.end(
            figures,
            End {
                clean,
                reason,
                file_bytes,
                seconds,
            },
        );
    }
}

fn is_named(message: &gst::Message, name: &str) -> bool {
    message
        .structure()
        .is_some_and(|structure| structure.name() == name)
}

/// The error that a message is, if it is one.
fn error_of(message: &gst::Message) -> Option<anyhow::Error> {
    match message.view() {
        gst::MessageView::Error(error) => {
            let details = error.debug().unwrap_or_default();
            tracing::debug!("{}: {details}", error.error());
            Some(error.error().into())
        }
        _ => None,
    }
}
