//! A recording's thread: what its pipeline says, up to the end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::begin::Begun;
use super::show::Show;
use super::{Config, Event, Verdict, error_of};
use crate::figures::Figures;
use crate::streams::{End, Publication};

/// A little more than the element gives a pipeline to take what is queued.
const EOS_DEADLINE: Duration = Duration::from_secs(7);

pub struct Run {
    config: Arc<Config>,
    pipeline: gst::Pipeline,
    source: gst::Element,
    events: Sender<Event>,
    publication: Option<Arc<Publication>>,
    show: Option<Show>,
    /// How the publisher left: in words, and whether it said so.
    left: Option<(String, bool)>,
}

impl Run {
    pub fn new(
        config: Arc<Config>,
        pipeline: gst::Pipeline,
        source: gst::Element,
        events: Sender<Event>,
    ) -> Self {
        Self {
            config,
            pipeline,
            source,
            events,
            publication: None,
            show: None,
            left: None,
        }
    }

    pub fn until_over(mut self, incoming: &Receiver<Event>) {
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
                Some(Event::Preview(message)) => {
                    if let Some(show) = &mut self.show {
                        show.hear(&message);
                    }
                }
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
        let Begun {
            publication,
            producer,
        } = begun;
        let address = Figures::of(&self.source.property("stats")).remote_address;
        tracing::info!(
            "{}: {} publishes, recorded to {}",
            publication.name,
            address.unwrap_or_default(),
            publication.path.display()
        );
        self.show = Some(Show::new(
            self.config.clone(),
            self.source.clone(),
            producer,
            publication.clone(),
            self.events.clone(),
        ));
        self.publication = Some(publication);
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
                    "rtmp2server-pre-eos" => return self.publication.is_none(),
                    "rtmp2server-stream-info" => {
                        if let Some(show) = &mut self.show {
                            show.stream_is(structure);
                        }
                    }
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
        let publication = self.publication.as_ref();
        publication.map_or(String::new(), |publication| {
            format!("{}: ", publication.name)
        })
    }

    fn finish(mut self) {
        self.show = None;
        // The element forgets its figures in NULL.
        let figures = Figures::of(&self.source.property("stats"));
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("{}the pipeline does not stop", self.prefix());
        }
        let Some(publication) = self.publication.take() else {
            return;
        };
        let name = &publication.name;
        let path = publication.path.display();
        let (reason, clean) = self.left.take().unwrap_or_default();
        let verdict = Verdict::on(&figures, &publication.path);
        match &verdict.missing {
            None => tracing::info!(
                "{name}: ended: {reason}; all of {} tags, {} withheld, are in {path}",
                figures.received,
                figures.withheld
            ),
            Some(missing) => tracing::error!(
                "{name}: ended: {reason}; {path} is not complete: {missing}; \
                 {} tags received, {} put out, {} left in the queue",
                figures.received,
                figures.pushed,
                figures.queued
            ),
        }
        let seconds = publication.elapsed().as_secs();
        publication.end(
            figures,
            End {
                clean,
                reason,
                seconds,
                verdict,
            },
        );
    }
}
