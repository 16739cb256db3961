//! Publishers as they are out there: they publish, and if they are cut off they come back.
//!
//! Every publication goes to an application of its own, so that it is found again in the workers' logs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::encoder::Encoder;
use crate::support::flv::Tag;
use crate::support::load::Content;
use crate::support::process::Process;
use crate::support::publishers::{copy_command, read_flv, write_live_file};

const BITS_PER_SECOND: usize = 500_000;
const PICTURE: Duration = Duration::from_millis(40);
const TAGS_PER_PICTURE: usize = 3;
/// An encoder's pause before it tries again; OBS waits for 2 s by default.
const RETRY: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(60);

/// What was sent in one publication.
pub struct Sent {
    /// Where from, if that is known.
    pub address: Option<SocketAddr>,
    pub tags: Vec<Tag>,
    /// How many of them the server has acknowledged; all of them if the publication came to its end.
    pub acknowledged: usize,
}

/// By application.
pub type Truth = Mutex<BTreeMap<String, Sent>>;

/// Makes an application's name: who publishes, and for which time.
fn application(publisher: &str, n: usize) -> String {
    format!("{publisher}-{n}")
}

/// Who publishes to this application.
pub fn publisher_of(application: &str) -> &str {
    application.rsplit_once('-').expect("made above").0
}

/// Our encoder, until `stop`. If it `listens` to requests to connect again, it does so without a gap.
pub fn publish(
    server: SocketAddr,
    name: &str,
    number: usize,
    listens: bool,
    stop: &AtomicBool,
    truth: &Truth,
) {
    let mut next = 0;
    let mut begin = || {
        next += 1;
        let content = Content::new((number << 16 | next) as u64, BITS_PER_SECOND);
        let application = application(name, next);
        let encoder = Encoder::publish(server, &application, listens);
        encoder.map(|encoder| Publication::new(encoder, application, content))
    };
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut publication) = begin() else {
            thread::sleep(RETRY);
            continue;
        };
        loop {
            let cut_off = publication.send_picture().is_err();
            let moves = publication.encoder.is_told_to_reconnect();
            if cut_off {
                publication.note(false, truth);
                break;
            }
            if stop.load(Ordering::Relaxed) {
                let ended = publication.encoder.finish().is_ok();
                publication.note(ended, truth);
                return;
            }
            // It goes on where it is until it is let in elsewhere.
            if moves && let Ok(other) = begin() {
                let mut former = std::mem::replace(&mut publication, other);
                let ended = former.encoder.finish().is_ok();
                former.note(ended, truth);
            }
        }
        thread::sleep(RETRY);
    }
}

struct Publication {
    encoder: Encoder,
    application: String,
    content: Content,
    since: Instant,
    pictures: u32,
    /// Bytes sent up to each tag.
    ends: Vec<u64>,
}

impl Publication {
    fn new(encoder: Encoder, application: String, content: Content) -> Self {
        Publication {
            encoder,
            application,
            content,
            since: Instant::now(),
            pictures: 0,
            ends: Vec::new(),
        }
    }

    fn send_picture(&mut self) -> Result<(), String> {
        let due = self.since + PICTURE * self.pictures;
        // Time is what this is about.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        self.pictures += 1;
        for _ in 0..TAGS_PER_PICTURE {
            let tag = self.content.tag(self.ends.len());
            self.ends.push(self.encoder.send(&tag)?);
        }
        Ok(())
    }

    fn note(self, ended: bool, truth: &Truth) {
        // One that failed was sent in part, perhaps.
        let tags: Vec<_> = (0..self.ends.len() + 1)
            .map(|n| self.content.tag(n))
            .collect();
        let acknowledged = self.encoder.acknowledged();
        let address = Some(self.encoder.address());
        let sent = match ended {
            true => Sent {
                address,
                acknowledged: self.ends.len(),
                tags: tags[..self.ends.len()].to_vec(),
            },
            false => Sent {
                address,
                acknowledged: self.ends.partition_point(|end| *end <= acknowledged),
                tags,
            },
        };
        truth.lock().unwrap().insert(self.application, sent);
    }
}

/// What ffmpeg publishes again and again.
pub struct Clip {
    file: PathBuf,
    tags: Vec<Tag>,
}

impl Clip {
    pub fn new(directory: &Path, seconds: u32) -> Result<Clip, String> {
        let file = write_live_file(directory, seconds)?;
        let tags = read_flv(&file)?;
        Ok(Clip { file, tags })
    }
}

/// ffmpeg in a loop, as in a shell script, until `stop`.
pub fn publish_with_ffmpeg(url: &str, name: &str, clip: &Clip, stop: &AtomicBool, truth: &Truth) {
    for n in 1.. {
        let application = application(name, n);
        let url = format!("{url}/{application}/key");
        let mut command = copy_command(Command::new("ffmpeg"), &clip.file, &url);
        let finished = Process::spawn(&mut command)
            .unwrap()
            .wait(DEADLINE)
            .unwrap();
        let sent = Sent {
            address: None,
            tags: clip.tags.clone(),
            acknowledged: match finished.status.success() {
                true => clip.tags.len(),
                false => 0,
            },
        };
        truth.lock().unwrap().insert(application, sent);
        if stop.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(RETRY);
    }
}
