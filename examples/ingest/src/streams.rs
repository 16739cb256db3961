//! What is known of every stream: who publishes, what its figures are, and what the page is told.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use serde::Serialize;
use tokio::sync::watch;

use crate::figures::{Figures, History, Second};
use crate::keys::Keys;
use crate::recording::Verdict;

/// Silence after which the same stream is given to who comes with its key again: an encoder that lost its network comes
/// back long before the server has noticed.
const IDLE: Duration = Duration::from_secs(2);
/// From the decision to the first tag. The element itself waits no longer for a decision.
const PENDING: Duration = Duration::from_secs(5);

/// A stream that was let in and has not begun. Neither printed nor logged: it holds the key.
pub struct Admitted {
    pub name: String,
    key: String,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    UnknownKey,
    Busy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "its key is not in the keys file",
            Self::Busy => "somebody else is publishing with that key",
        })
    }
}

/// One encoder's stream, from its first tag to its last.
pub struct Publication {
    pub id: u64,
    pub name: String,
    pub path: PathBuf,
    key: String,
    source: glib::WeakRef<gst::Element>,
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    figures: Figures,
    history: History,
    /// When a tag came last, to a second.
    progress: Option<Instant>,
    preview: Preview,
    end: Option<End>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Preview {
    #[default]
    Starting,
    Playing {
        url: String,
    },
    None {
        reason: String,
    },
}

/// How a publication ended.
#[derive(Debug, Clone, Serialize)]
pub struct End {
    /// The encoder said goodbye.
    pub clean: bool,
    pub reason: String,
    pub seconds: u64,
    /// On its recording, when it was closed.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl Publication {
    pub fn figures(&self) -> Figures {
        self.state().figures.clone()
    }

    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    pub fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    pub fn set_preview(&self, preview: Preview) {
        self.state().preview = preview;
    }

    /// Reads the element's figures. To be called once a second.
    fn tick(&self) {
        let Some(source) = self.source.upgrade() else {
            return;
        };
        let figures = Figures::of(&source.property("stats"));
        let mut state = self.state();
        // An element that was stopped meanwhile has forgotten what it counted.
        if state.end.is_some() || figures.received < state.figures.received {
            return;
        }
        if figures.received > state.figures.received {
            state.progress = Some(Instant::now());
        }
        let second = Second {
            bitrate: figures.bitrate,
            key_frames: figures.key_frames.saturating_sub(state.figures.key_frames),
        };
        state.history.push(second);
        state.figures = figures;
    }

    /// The last figures, read while the element still has them.
    pub fn end(&self, figures: Figures, end: End) {
        let mut state = self.state();
        state.figures = figures;
        state.end = Some(end);
    }

    /// Asks the encoder to leave. What it has sent is still recorded.
    fn disconnect(&self) {
        if let Some(source) = self.source.upgrade() {
            source.emit_by_name::<bool>("disconnect-publisher", &[]);
        }
    }

    fn is_idle(&self) -> bool {
        let since = self.state().progress.unwrap_or(self.since);
        since.elapsed() >= IDLE
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All streams.
pub struct Streams {
    keys: Keys,
    known: Mutex<Known>,
    page: watch::Sender<Arc<str>>,
}

#[derive(Default)]
struct Known {
    /// Live ones, and of those that ended the latest of each name.
    publications: BTreeMap<String, Arc<Publication>>,
    pending: HashMap<String, Instant>,
    next_id: u64,
}

impl Streams {
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            known: Mutex::default(),
            page: watch::Sender::new("{}".into()),
        }
    }

    /// Decides on who wants to publish.
    pub fn admit(&self, key: &str) -> Result<Admitted, Refusal> {
        let name = self.keys.name_of(key).ok_or(Refusal::UnknownKey)?;
        let mut known = self.known();
        if let Some(publication) = known.publications.get(&name)
            && !publication.has_ended()
        {
            if !publication.is_idle() {
                return Err(Refusal::Busy);
            }
            tracing::info!("{name}: silent, and its encoder came again");
            publication.disconnect();
        }
        let pending = known.pending.get(&name);
        if pending.is_some_and(|since| since.elapsed() < PENDING) {
            return Err(Refusal::Busy);
        }
        known.pending.insert(name.clone(), Instant::now());
        Ok(Admitted {
            name,
            key: key.to_owned(),
        })
    }

    /// The first tag of who was let in follows.
    pub fn begin(
        &self,
        admitted: Admitted,
        source: &gst::Element,
        path: PathBuf,
    ) -> Arc<Publication> {
        let mut known = self.known();
        let Admitted { name, key } = admitted;
        known.pending.remove(&name);
        known.next_id += 1;
        let publication = Arc::new(Publication {
            id: known.next_id,
            name: name.clone(),
            path,
            key,
            source: source.downgrade(),
            since: Instant::now(),
            state: Mutex::default(),
        });
        known.publications.insert(name, publication.clone());
        publication
    }

    /// To be called once a second: reads all figures, and disconnects who has lost its key.
    pub fn tick(&self) {
        for publication in self.live() {
            publication.tick();
            if self.keys.name_of(&publication.key).as_ref() != Some(&publication.name) {
                tracing::info!("{}: its key is no longer valid", publication.name);
                publication.disconnect();
            }
        }
        self.page.send_replace(self.describe().into());
    }

    pub fn live(&self) -> Vec<Arc<Publication>> {
        let known = self.known();
        let all = known.publications.values();
        all.filter(|p| !p.has_ended()).cloned().collect()
    }

    /// What the page shows, as JSON, once a second.
    pub fn page(&self) -> watch::Receiver<Arc<str>> {
        self.page.subscribe()
    }

    fn describe(&self) -> String {
        let publications = self.known().publications.clone();
        let mut names = self.keys.names();
        names.retain(|name| !publications.contains_key(name));
        let states: Vec<_> = publications.values().map(|p| (p, p.state())).collect();
        let published = states.iter().map(|(publication, state)| View {
            name: &publication.name,
            state: if state.end.is_some() { "ended" } else { "live" },
            published: Some(Published {
                id: publication.id,
                file: publication
                    .path
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned()),
                seconds: match &state.end {
                    Some(end) => end.seconds,
                    None => publication.elapsed().as_secs(),
                },
                is_complete: match &state.end {
                    Some(end) => end.verdict.is_complete,
                    None => state.figures.is_complete(),
                },
                figures: &state.figures,
                history: &state.history,
                preview: &state.preview,
                end: state.end.as_ref(),
            }),
        });
        let waiting = names.iter().map(|name| View {
            name,
            state: "waiting",
            published: None,
        });
        let views: Vec<View> = published.chain(waiting).collect();
        serde_json::to_string(&views).expect("maps with names as keys alone")
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the page gets of a stream.
#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    state: &'static str,
    #[serde(flatten)]
    published: Option<Published<'a>>,
}

#[derive(Serialize)]
struct Published<'a> {
    id: u64,
    file: Option<String>,
    seconds: u64,
    /// While it is live, that all tags are accounted for; then, that they are in the file.
    is_complete: bool,
    figures: &'a Figures,
    history: &'a History,
    preview: &'a Preview,
    end: Option<&'a End>,
}
