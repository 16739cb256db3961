//! The figures of a soak, as they are committed.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;
use std::time::Duration;

use crate::support::station::Usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Client,
    Ffmpeg,
    TakenOver,
    Changed,
    Stalled,
    CutAndReplaced,
    Cut,
    Restart,
    WrongKey,
    Rubbish,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Client,
        Kind::Ffmpeg,
        Kind::TakenOver,
        Kind::Changed,
        Kind::Stalled,
        Kind::CutAndReplaced,
        Kind::Cut,
        Kind::Restart,
        Kind::WrongKey,
        Kind::Rubbish,
    ];

    fn text(self) -> &'static str {
        match self {
            Kind::Client => "our client publishes and ends in one of five ways",
            Kind::Ffmpeg => "ffmpeg publishes a file in real time (`-re -c copy`)",
            Kind::TakenOver => "a second publisher takes over, both whole",
            Kind::Changed => {
                "key, application, timeout and policy changed while one publishes, and the next one by the new ones"
            }
            Kind::Stalled => "ffmpeg's link is cut for up to 1.2 s and mended: whole",
            Kind::CutAndReplaced => {
                "ffmpeg's link is cut, another publisher gets its place: a beginning, and a whole"
            }
            Kind::Cut => "ffmpeg's link is cut, and nobody comes: a beginning",
            Kind::Restart => "an element restarted",
            Kind::WrongKey => "wrong key: refused",
            Kind::Rubbish => "HTTP, noise, half a handshake, silence",
        }
    }
}

#[derive(Default)]
pub struct Counts {
    events: BTreeMap<Kind, u64>,
    publications: u64,
    tags: u64,
    lost: u64,
}

impl Counts {
    pub fn add(&mut self, kind: Kind) {
        *self.events.entry(kind).or_default() += 1;
    }

    /// Of one publication.
    pub fn tags(&mut self, captured: usize, lost: usize) {
        self.publications += 1;
        self.tags += captured as u64;
        self.lost += lost as u64;
    }
}

pub struct Report {
    pub commit: String,
    pub seed: u64,
    pub routes: usize,
    pub elapsed: Duration,
    pub counts: Counts,
    pub before: Usage,
    pub after: Usage,
    pub samples: Vec<Usage>,
}

/// Least, middle and most.
struct Spread([usize; 3]);

impl Spread {
    fn of(samples: &[Usage], figure: impl Fn(&Usage) -> usize) -> Spread {
        let mut figures: Vec<_> = samples.iter().map(figure).collect();
        figures.sort_unstable();
        let at = |n: usize| figures.get(n).copied().unwrap_or_default();
        let count = figures.len();
        Spread([at(0), at(count / 2), at(count.saturating_sub(1))])
    }

    fn median(&self) -> usize {
        self.0[1]
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [least, middle, most] = self.0;
        write!(f, "{least} / {middle} / {most}")
    }
}

impl Report {
    fn thirds(&self) -> (&[Usage], &[Usage]) {
        let third = self.samples.len() / 3;
        (
            &self.samples[..third],
            &self.samples[self.samples.len() - third..],
        )
    }

    pub fn assert_everything_happened(&self) {
        for kind in Kind::ALL {
            assert!(
                self.counts.events.contains_key(&kind),
                "never: {}",
                kind.text()
            );
        }
        assert_eq!(self.counts.lost, 0);
    }

    pub fn assert_flat(&self) {
        let (first, last) = self.thirds();
        let resident = |samples| Spread::of(samples, |u| u.resident_bytes).median();
        let (before, after) = (resident(first), resident(last));
        // What the allocator makes of who happens to publish, and of the first minutes.
        const MARGIN: usize = 2 << 20;
        assert!(
            after <= before + before / 10 + MARGIN,
            "resident: {before} bytes in the first third, {after} in the last"
        );
        let descriptors = |samples| Spread::of(samples, |u| u.descriptors).median();
        let (before, after) = (descriptors(first), descriptors(last));
        assert!(
            after <= before + before / 4,
            "{before} descriptors in the first third, {after} in the last"
        );
    }
}

/// Of what is checked out.
pub fn commit() -> String {
    first_line("git", &["describe", "--always", "--dirty"])
}

/// What a program says of its version, or nothing.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Counts {
            events,
            publications,
            tags,
            lost,
        } = &self.counts;
        let minutes = self.elapsed.as_secs_f64() / 60.0;
        let cpu = (self.after.cpu - self.before.cpu).as_secs_f64();
        let share = 100.0 * cpu / self.elapsed.as_secs_f64();
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        let ffmpeg = first_line("ffmpeg", &["-version"]);
        let ffmpeg = ffmpeg.split(" Copyright").next().unwrap_or_default();
        writeln!(f, "# Soak\n")?;
        writeln!(
            f,
            "Written by `make soak MINUTES={:.0}` (tests/soak). {} routes on one port in one process; publishers come and go\n\
             at random (seed {:#x}), beside cut links, takeovers, changes of properties, wrong keys and rubbish. What was sent\n\
             is known of each publication and compared with what came out: number of tags, and a hash of their types,\n\
             times and bodies.\n",
            minutes.floor(),
            self.routes,
            self.seed,
        )?;
        writeln!(f, "| | |\n|---|---|")?;
        writeln!(f, "| date | {} |", first_line("date", &["-u", "+%F"]))?;
        writeln!(f, "| commit | {} |", self.commit)?;
        writeln!(f, "| build | {build} |")?;
        writeln!(f, "| GStreamer | {} |", gst::version_string())?;
        writeln!(f, "| ffmpeg | {ffmpeg} |")?;
        writeln!(
            f,
            "| processors | {} |",
            std::thread::available_parallelism().map_or(0, usize::from)
        )?;
        writeln!(f, "| minutes | {minutes:.1} |")?;
        writeln!(f, "| publications | {publications} |")?;
        writeln!(f, "| tags that came out | {tags} |")?;
        writeln!(f, "| **tags lost** outside of cut links | **{lost}** |")?;
        writeln!(f, "| processor | {share:.1} % of one |\n")?;
        writeln!(f, "| what happened | times |\n|---|---|")?;
        for kind in Kind::ALL {
            let times = events.get(&kind).copied().unwrap_or(0);
            writeln!(f, "| {} | {times} |", kind.text())?;
        }
        let (first, last) = self.thirds();
        writeln!(
            f,
            "\n| least / median / most | first third | last third | before | after |\n|---|---|---|---|---|"
        )?;
        let mut row = |name: &str, figure: &dyn Fn(&Usage) -> usize| {
            let (a, b) = (Spread::of(first, figure), Spread::of(last, figure));
            let (before, after) = (figure(&self.before), figure(&self.after));
            writeln!(f, "| {name} | {a} | {b} | {before} | {after} |")
        };
        row("resident memory, KB", &|u| u.resident_bytes >> 10)?;
        row("descriptors", &|u| u.descriptors)?;
        row("threads", &|u| u.threads)
    }
}
