//! What an element logs, as it appears to somebody who reads it.

use std::sync::{Arc, Mutex};

use gst::glib::translate::ToGlibPtr;

use super::pipeline::{DEADLINE, Recording, wait_until};

/// Lines about one element since this was made, with their levels.
pub struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Debug, Clone)]
pub struct Line {
    pub level: gst::DebugLevel,
    pub text: String,
}

impl Log {
    pub fn of(recording: &Recording) -> Log {
        let element: *mut gst::ffi::GstElement = recording.source().to_glib_none().0;
        let element = element as usize;
        gst::log::set_threshold_for_name("rtmp2serversrc", gst::DebugLevel::Debug);
        gst::log::remove_default_log_function();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let collected = lines.clone();
        gst::log::add_log_function(move |_, level, _, _, _, object, message| {
            if object.is_some_and(|object| object.as_ptr() as usize == element)
                && let Some(text) = message.get()
            {
                let text = text.to_string();
                collected.lock().unwrap().push(Line { level, text });
            }
        });
        Log(lines)
    }

    /// The lines with this text so far.
    pub fn find(&self, text: &str) -> Vec<Line> {
        let lines = self.0.lock().unwrap();
        let found = lines.iter().filter(|line| line.text.contains(text));
        found.cloned().collect()
    }

    /// Waits for a line with this text.
    pub fn wait_for(&self, text: &str) -> Line {
        let came = wait_until(DEADLINE, || !self.find(text).is_empty());
        let lines = || format!("no {text:?} in {:#?}", self.0.lock().unwrap());
        came.unwrap_or_else(|e| panic!("{e}: {}", lines()));
        self.find(text).remove(0)
    }
}
