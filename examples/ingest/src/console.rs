//! The console: the log, and a line per publication below it. Where there is no terminal the lines go to the log, from time
//! to time.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::streams::Publication;

/// How often lines go to the log if there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub struct Console {
    lines: MultiProgress,
    of: HashMap<u64, Line>,
}

struct Line {
    bar: ProgressBar,
    logged: Instant,
}

impl Console {
    /// Takes over the terminal and the log. `RUST_LOG` says what is logged.
    pub fn start() -> Self {
        let lines = MultiProgress::new();
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_ansi(!lines.is_hidden())
            .with_writer(AboveLines(lines.clone()))
            .init();
        let of = HashMap::new();
        Self { lines, of }
    }

    /// To be called once a second, with who publishes.
    pub fn show(&mut self, live: &[Arc<Publication>]) {
        self.of.retain(|id, line| {
            let stays = live.iter().any(|publication| publication.id == *id);
            if !stays {
                line.bar.finish_and_clear();
            }
            stays
        });
        for publication in live {
            let line = self.of.entry(publication.id).or_insert_with(|| Line {
                bar: self.lines.add(ProgressBar::new_spinner().with_style(
                    ProgressStyle::with_template("{spinner} {wide_msg}").expect("a valid template"),
                )),
                logged: Instant::now(),
            });
            let text = describe(publication);
            if self.lines.is_hidden() && line.logged.elapsed() >= LOG_INTERVAL {
                line.logged = Instant::now();
                tracing::info!("{text}");
            }
            line.bar.set_message(text);
            line.bar.tick();
        }
    }
}

/// `stage-left  00:01:20  H.264, AAC 1280x720  2.5 Mbit/s  12.3 MB  2400 of 2400 tags recorded`
fn describe(publication: &Publication) -> String {
    let figures = publication.figures();
    let seconds = publication.elapsed().as_secs();
    let size = figures.width.zip(figures.height);
    let size = size.map_or(String::new(), |(width, height)| {
        format!(" {width}x{height}")
    });
    format!(
        "{}  {:02}:{:02}:{:02}  {}{size}  {:.1} Mbit/s  {:.1} MB  {} of {} tags recorded",
        publication.name,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        figures.codecs,
        figures.bitrate as f64 / 1e6,
        figures.bytes as f64 / 1e6,
        figures.pushed,
        figures.received,
    )
}

/// Writes log lines above the progress lines.
#[derive(Clone)]
struct AboveLines(MultiProgress);

impl<'a> MakeWriter<'a> for AboveLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for AboveLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .suspend(|| io::stderr().write_all(bytes))
            .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
