//! One pipeline: it waits for a publisher, records it, and is done when the publisher has left.
//!
//!     rtmp2serversrc ! tee ! filesink           as sent, written tag by tag
//!                          ! appsink - - - ->   the preview's own pipeline, see there
//!
//! What is behind the tee is made when a publisher has come, because the file is named after it: in the streaming thread,
//! before its first tag. The appsink hands on and never waits, so the preview can hold up nothing.

mod begin;
mod run;
mod show;
mod verdict;

use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, PoisonError};
use std::thread;

use anyhow::{Context, anyhow};
use gst::prelude::*;

use crate::streams::Streams;
use begin::{Admissions, Begin, Begun};
use run::Run;
pub use verdict::Verdict;

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
        let admitted = Admissions::default();
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
                    let address = message
                        .structure()
                        .and_then(|structure| structure.get::<&str>("address").ok());
                    let _ = events.send(match begin.begin(address.unwrap_or_default()) {
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
        let run = Run::new(config, pipeline, source, events.clone());
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
fn decide_with(source: &gst::Element, streams: Arc<Streams>, admitted: Admissions) {
    source.connect("caller-connecting", false, move |values| {
        let caller: gst::Structure = values[1].get().expect("a structure, as documented");
        let address: &str = caller.get("address").unwrap_or_default();
        let key: &str = caller.get("stream-key").unwrap_or_default();
        let decision = streams.admit(key);
        if let Err(refusal) = &decision {
            tracing::warn!("{address}: turned away: {refusal}");
        }
        let is_admitted = decision.is_ok();
        if let Ok(decision) = decision {
            let mut admitted = admitted.lock().unwrap_or_else(PoisonError::into_inner);
            admitted.insert(address.to_owned(), decision);
        }
        Some(is_admitted.to_value())
    });
}

fn is_named(message: &gst::Message, name: &str) -> bool {
    message
        .structure()
        .is_some_and(|structure| structure.name() == name)
}

/// The error that a message is, if it is one. "Could not write" alone helps nobody; why is in the details, behind the line
/// of GStreamer's code that says so.
fn error_of(message: &gst::Message) -> Option<anyhow::Error> {
    match message.view() {
        gst::MessageView::Error(error) => {
            let details = error.debug().unwrap_or_default();
            tracing::debug!("{}: {details}", error.error());
            Some(match details.split_once('\n') {
                Some((_, why)) => anyhow!("{} ({})", error.error(), why.trim()),
                None => error.error().into(),
            })
        }
        _ => None,
    }
}
