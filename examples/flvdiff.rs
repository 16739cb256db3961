//! Compares two FLV files tag by tag: `flvdiff sent.flv captured.flv [--prefix] [--ignore-script]`.
//!
//! Exit status: 0 = the same, 1 = different, 2 = a file cannot be read or is no FLV file.

use std::process::ExitCode;

#[path = "../tests/support/flv.rs"]
#[allow(dead_code)]
mod flv;

use flv::{Kind, Rules, Tag};

const USAGE: &str = "usage: flvdiff SENT CAPTURED [--prefix] [--ignore-script]

  --prefix         CAPTURED may stop early, also in the middle of a tag
  --ignore-script  do not compare script tags (metadata)";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let mut rules = Rules::default();
    let mut files = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--prefix" => rules.prefix = true,
            "--ignore-script" => rules.ignore_script = true,
            option if option.starts_with('-') => return Err(USAGE.to_string()),
            _ => files.push(argument),
        }
    }
    let [sent, captured] = files.as_slice() else {
        return Err(USAGE.to_string());
    };
    let sent = read(sent, false)?;
    let captured = read(captured, rules.prefix)?;
    print_summary(&sent, &captured);
    let comparison = flv::compare(&sent, &captured, rules);
    println!();
    println!("{comparison}");
    println!(
        "{}",
        if comparison.is_same() {
            "SAME"
        } else {
            "DIFFERENT"
        }
    );
    Ok(comparison.is_same())
}

fn read(path: &str, may_break_off: bool) -> Result<Vec<Tag>, String> {
    let file = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    let tags = if may_break_off {
        flv::parse_prefix(&file).map(|(tags, _)| tags)
    } else {
        flv::parse(&file)
    };
    tags.map_err(|e| format!("{path}: {e}"))
}

fn print_summary(sent: &[Tag], captured: &[Tag]) {
    let row = |name: &str, value: &dyn Fn(&[Tag]) -> String| {
        println!("{name:<14}{:>14}{:>14}", value(sent), value(captured));
    };
    let count = |tags: &[Tag], keep: &dyn Fn(&Tag) -> bool| {
        tags.iter().filter(|tag| keep(tag)).count().to_string()
    };
    let time =
        |tag: Option<&Tag>| tag.map_or("–".to_string(), |tag| format!("{} ms", tag.timestamp));

    println!("{:<14}{:>14}{:>14}", "", "sent", "captured");
    row("tags", &|tags| tags.len().to_string());
    for kind in [Kind::Video, Kind::Audio, Kind::Script] {
        row(&format!("  {kind}"), &|tags| {
            count(tags, &|tag| tag.kind == kind)
        });
    }
    row("video frames", &|tags| count(tags, &Tag::is_video_frame));
    row("body bytes", &|tags| {
        tags.iter()
            .map(|tag| tag.body.len())
            .sum::<usize>()
            .to_string()
    });
    row("first time", &|tags| time(tags.first()));
    row("last time", &|tags| time(tags.last()));
}
