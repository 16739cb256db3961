//! The preview of one publication: made when its codecs are known, made anew when they change.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::Context;
use gst::prelude::*;
use gst_utils::StreamProducer;

use super::{Config, Event, error_of};
use crate::preview::{Layout, Preview};
use crate::streams::{self, Publication};

pub struct Show {
    config: Arc<Config>,
    source: gst::Element,
    producer: StreamProducer,
    publication: Arc<Publication>,
    /// Gets what the preview's pipeline says.
    events: Sender<Event>,
    preview: Option<Preview>,
}

impl Show {
    pub fn new(
        config: Arc<Config>,
        source: gst::Element,
        producer: StreamProducer,
        publication: Arc<Publication>,
        events: Sender<Event>,
    ) -> Self {
        if config.preview_directory.is_none() {
            publication.set_preview(streams::Preview::None {
                reason: "previews are off".to_owned(),
            });
        }
        Self {
            config,
            source,
            producer,
            publication,
            events,
            preview: None,
        }
    }

    /// The stream is known, or known better: makes the preview that suits its codecs.
    pub fn stream_is(&mut self, info: &gst::StructureRef) {
        let Some(directory) = &self.config.preview_directory else {
            return;
        };
        let layout = Layout::of(info);
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
                &self.producer,
                &caps.context("a stream without caps")?,
                directory,
                move |message| {
                    let _ = events.send(Event::Preview(message.clone()));
                },
            )
        });
        match preview {
            Ok(preview) => self.preview = Some(preview),
            Err(error) => self.none(&error),
        }
    }

    /// What the preview's pipeline says.
    pub fn hear(&mut self, message: &gst::Message) {
        let Some(preview) = &self.preview else {
            return;
        };
        if !preview.is_from(message) {
            return;
        }
        if let Some(error) = error_of(message) {
            self.preview = None;
            self.none(&error);
        } else if preview.has_playlist() {
            let url = preview.url();
            self.publication
                .set_preview(streams::Preview::Playing { url });
        }
    }

    fn none(&self, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        tracing::info!("{}: no preview: {reason}", self.publication.name);
        self.publication
            .set_preview(streams::Preview::None { reason });
    }
}
