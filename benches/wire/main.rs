//! What it costs to get RTMP into a process, beside others who do it: `make bench`.
//!
//! Every server runs alone on one core, the load on another. What is measured is measured in rounds, everything once in
//! each, so that whatever changes on the machine meets all of them. What came out is checked in every run; a run that
//! lost anything is an error, not a figure. See `settings.rs` for the environment variables.

mod checksum;
mod child;
#[path = "../driven/mod.rs"]
mod driven;
mod facts;
#[path = "../load/mod.rs"]
mod load;
mod machine;
mod publisher;
mod report;
mod rows;
mod runs;
mod server;
mod settings;

use std::process::{Command, ExitCode};

use facts::Facts;
use report::Results;
use rows::Row;
use runs::{Bench, Run};
use server::Peer;
use settings::Settings;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The argument that makes this program one of its own children.
const CHILD: &str = "child";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((first, rest)) if first == CHILD => child::run(rest),
        Some(_) if arguments.iter().any(|argument| argument == "--bench") => bench(),
        // `cargo test --all-targets` runs benchmarks as well, and does not mean it.
        _ => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    gst::init()?;
    let settings = Settings::from_environment()?;
    // Before anything is pinned: a build may have all cores.
    let facts = match settings.only {
        None => Some(Facts::find(&settings)?),
        Some(_) => None,
    };
    machine::raise_descriptor_limit()?;
    let bench = Bench::new(settings)?;
    // GStreamer looks at a plugin when it first sees it, and writes down what it saw.
    let mut inspect = Command::new("gst-inspect-1.0");
    server::with_plugin(&mut inspect)?;
    let seen = inspect.arg("rtmp2serversrc").output()?;
    if !seen.status.success() {
        return Err("gst-inspect-1.0 does not know the plugin".into());
    }
    machine::pin_load()?;

    let settings = &bench.settings;
    let is_wanted = |row: Row, peer: Peer| match &settings.only {
        Some(part) => format!("{row:?} {peer}").contains(part.as_str()),
        None => true,
    };
    let mut results = Results::default();
    for round in 1..=settings.runs {
        eprintln!("round {round} of {}", settings.runs);
        results.add_checksum(bench.checksum()?);
        for run in runs::round() {
            if is_wanted(run.row, run.peer) {
                results.add(measured(&bench, &run)?);
            }
        }
    }
    if is_wanted(Row::Long, Peer::Rtmp2ServerSrc) {
        results.add(bench.long()?);
    }
    println!("{}\n{}", results.targets(), results.all());
    if let Some(facts) = facts {
        println!("{}\n{}", facts.setting(), facts.table());
        report::write(&results, &facts)?;
    }
    Ok(())
}

fn measured(bench: &Bench, run: &Run) -> Result<runs::Figures> {
    let figures = bench
        .run(run)
        .map_err(|error| format!("{}, {}: {error}", run.row, run.peer))?;
    for (row, peer, value) in &figures {
        eprintln!("  {row}: {peer} {} {}", row.show(*value), row.unit());
    }
    Ok(figures)
}
