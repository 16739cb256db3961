//! What is made when a publisher has come: its file, named after it, and the elements behind the tee.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use gst::glib;
use gst::prelude::*;
use gst_utils::StreamProducer;
use gst_utils::streamproducer::ProducerSettings;

use super::Config;
use crate::streams::{Admitted, Publication, Streams};

/// A publisher's tags follow.
pub struct Begun {
    pub publication: Arc<Publication>,
    pub producer: StreamProducer,
}

/// Who was let in by one element and has not begun, by address. Usually one; but who hangs up meanwhile makes room for the
/// next question.
pub type Admissions = Arc<Mutex<HashMap<String, Admitted>>>;

/// What is needed when a publisher's tags are about to come.
pub struct Begin {
    pub config: Arc<Config>,
    pub streams: Arc<Streams>,
    pub admitted: Admissions,
    pub pipeline: glib::WeakRef<gst::Pipeline>,
    pub source: glib::WeakRef<gst::Element>,
    pub tee: gst::Element,
}

impl Begin {
    pub fn begin(&self, address: &str) -> anyhow::Result<Begun> {
        // Whoever else was let in is gone: this element has its publisher.
        let mut admissions =
            std::mem::take(&mut *self.admitted.lock().unwrap_or_else(PoisonError::into_inner));
        let admitted = admissions
            .remove(address)
            .context("a publisher that was not let in")?;
        let pipeline = self.pipeline.upgrade().context("the pipeline is gone")?;
        let source = self.source.upgrade().context("the element is gone")?;
        let path = free_path(&self.config.directory, &admitted.name)?;
        match self.record_to(&path, &pipeline) {
            Ok(producer) => Ok(Begun {
                publication: self.streams.begin(admitted, &source, path),
                producer,
            }),
            Err(error) => {
                // Nothing is in it, and nobody would know what it is.
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!("{} stays, empty: {error}", path.display());
                }
                Err(error.context(format!("can't record to {}", path.display())))
            }
        }
    }

    fn record_to(&self, path: &Path, pipeline: &gst::Pipeline) -> anyhow::Result<StreamProducer> {
        let file = gst::ElementFactory::make("filesink")
            .property("location", path)
            // One write per tag: whatever becomes of this process, what was received is in the file.
            .property_from_str("buffer-mode", "unbuffered")
            .property("sync", false)
            .property("async", false)
            .build()?;
        let producer = gst_app::AppSink::builder().async_(false).build();
        for sink in [&file, producer.upcast_ref()] {
            pipeline.add(sink)?;
            self.tee.link(sink)?;
            sink.sync_state_with_parent()?;
        }
        Ok(StreamProducer::with(
            &producer,
            ProducerSettings { sync: false },
        ))
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::keys::Keys;

    /// A pipeline that has no place for the sinks, or has one.
    fn begin(directory: &Path, has_place: bool) -> anyhow::Result<Begun> {
        gst::init().unwrap();
        let keys = directory.join("keys");
        std::fs::write(&keys, "one key\ntwo other\n").unwrap();
        let streams = Arc::new(Streams::new(Keys::open(&keys).unwrap()));
        let recordings = directory.join("recordings");
        std::fs::create_dir_all(&recordings).unwrap();
        let pipeline = gst::Pipeline::new();
        let make = |element| gst::ElementFactory::make(element).build().unwrap();
        let (source, tee) = (make("fakesrc"), make("tee"));
        pipeline.add(&source).unwrap();
        if has_place {
            pipeline.add(&tee).unwrap();
        }
        let begin = Begin {
            config: Arc::new(Config {
                host: String::new(),
                port: 0,
                application: String::new(),
                directory: recordings,
                timeout: 0,
                preview_directory: None,
            }),
            admitted: Arc::new(Mutex::new(HashMap::from([
                ("10.0.0.1:1".to_owned(), streams.admit("key").unwrap()),
                ("10.0.0.2:2".to_owned(), streams.admit("other").unwrap()),
            ]))),
            streams,
            pipeline: pipeline.downgrade(),
            source: source.downgrade(),
            tee,
        };
        let begun = begin.begin("10.0.0.1:1");
        pipeline.set_state(gst::State::Null).unwrap();
        begun
    }

    fn files(directory: &Path) -> usize {
        let files = std::fs::read_dir(directory.join("recordings")).unwrap();
        files.count()
    }

    #[test]
    fn what_can_not_begin_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let Err(error) = begin(directory.path(), false) else {
            panic!("a tee elsewhere was linked");
        };
        assert!(error.to_string().starts_with("can't record to "), "{error}");
        assert_eq!(files(directory.path()), 0);
        // And what can begin has one.
        let begun = begin(directory.path(), true).unwrap();
        assert!(begun.publication.path.exists());
        assert_eq!(begun.publication.name, "one");
        assert_eq!(files(directory.path()), 1);
    }
}
