//! Whether a recording holds all that was received.

use std::path::Path;

use serde::Serialize;

use crate::figures::{FILE_HEADER, Figures};

/// What became of a recording, when its file is closed and its figures are final.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Every tag that was received is in the file, but for those that no file is to have.
    pub is_complete: bool,
    pub file_bytes: u64,
    /// Of all tags that were put out.
    pub expected_bytes: u64,
    /// In words; nothing if it is complete.
    pub missing: Option<String>,
}

impl Verdict {
    pub fn on(figures: &Figures, path: &Path) -> Self {
        let expected_bytes = figures.bytes + FILE_HEADER;
        let mut missing = Vec::new();
        let file_bytes = match std::fs::metadata(path) {
            Ok(file) => file.len(),
            Err(error) => {
                missing.push(format!("the file can't be looked at: {error}"));
                0
            }
        };
        let counted = figures.pushed + figures.queued + figures.withheld;
        if figures.received != counted {
            missing.push(format!(
                "{} tags were received and {counted} accounted for",
                figures.received
            ));
        }
        // Those that were withheld at the end are tags like others; nobody took them in time.
        let left = figures.queued + figures.withheld_at_eos;
        if left > 0 {
            missing.push(format!("{left} tags came and were not put out"));
        }
        if file_bytes != expected_bytes {
            missing.push(format!(
                "the file has {file_bytes} bytes of {expected_bytes}"
            ));
        }
        Self {
            is_complete: missing.is_empty(),
            file_bytes,
            expected_bytes,
            missing: (!missing.is_empty()).then(|| missing.join("; ")),
        }
    }
}
