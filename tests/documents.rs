//! The documents: every command in them is run, here or by what `documents/elsewhere.rs` names, and every link, file
//! and error text in them is there.

mod support;

#[path = "documents/elsewhere.rs"]
mod elsewhere;
mod text;
#[path = "documents/things.rs"]
mod things;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use elsewhere::{By, COMMANDS, TARGETS_BY_HAND};
use support::flv;
use support::launch::{free_port, wait_for_listener, with_plugin};
use support::process::{Finished, Process};
use text::{commands, documents, root, the_command, without_assignments};

const DEADLINE: Duration = Duration::from_secs(60);
/// What a publisher sends.
const FRAMES: usize = 30;

/// Commands that tests take from the documents by these beginnings, besides pipelines: the only one of its kind, or all.
const READ_FROM_THE_DOCUMENT: &[(&str, &str)] = &[
    (
        "ffmpeg -re -f lavfi -i testsrc=size=320x240:rate=30 -t 5 ",
        "record_a_stream",
    ),
    ("ffmpeg -i x.flv ", "record_a_stream"),
    ("ffmpeg -re -i input.mp4 ", "recordings_through_tls"),
    ("openssl req ", "recordings_through_tls"),
    ("export GST_PLUGIN_PATH=", "the_plugin_is_found"),
    ("gst-inspect-1.0 ", "the_plugin_is_found"),
    ("ss -ltnp", "the_log_of_a_report"),
    ("GST_DEBUG=rtmp2serversrc:6,2 ", "the_log_of_a_report"),
    ("cargo package --list", "what_a_release_looks_at"),
    ("cargo update --workspace", "what_a_release_looks_at"),
    ("ulimit -n", "what_a_shell_shows"),
];
/// The same, taken by `tests/examples/documented.rs`.
const READ_FOR_THE_EXAMPLES: &[(&str, &str)] = &[
    ("cargo run --release --example record ", "records"),
    ("cc -o record examples/c/record.c ", "records"),
    (
        "cargo run --release --example auth_signal ",
        "asks_who_it_is",
    ),
    ("cargo run --release --example relay ", "relays"),
    ("cargo run --release --example http_flv ", "plays_over_http"),
    ("examples/transcode_hls.sh ", "transcodes"),
    ("INGEST_KEYS=", "keeps_a_file_for_each_key"),
];

/// Whole pipelines with the element, which `pipelines` and `recordings_through_tls` run.
fn is_pipeline(command: &str) -> bool {
    let launch = without_assignments(command).next() == Some("gst-launch-1.0");
    launch && command.contains("rtmp") && !command.contains('…')
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn all_commands() -> Vec<String> {
    documents().iter().flat_map(commands).collect()
}

fn launch_lines() -> Vec<String> {
    let mut lines = all_commands();
    lines.retain(|command| is_pipeline(command));
    assert!(lines.len() >= 7, "{lines:?}");
    lines
}

#[test]
fn every_command_is_run_by_some_test() {
    let mut unused: BTreeSet<&str> = COMMANDS.iter().map(|(command, _)| *command).collect();
    let mut unknown = Vec::new();
    for document in documents() {
        for command in commands(&document) {
            let mut read = READ_FROM_THE_DOCUMENT.iter().chain(READ_FOR_THE_EXAMPLES);
            let is_read = read.any(|(start, _)| command.starts_with(start));
            let is_make = without_assignments(&command).next() == Some("make");
            let is_listed = COMMANDS.iter().any(|(listed, _)| *listed == command);
            unused.remove(command.as_str());
            if !(is_listed || is_read || is_make || is_pipeline(&command)) {
                unknown.push(format!("{}: {command}", document.file.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "who runs this?\n{}", unknown.join("\n"));
    assert!(unused.is_empty(), "in no document: {unused:?}");
    for (command, by) in COMMANDS {
        match by {
            By::File(file, text) => assert!(
                read(file).contains(text),
                "{file} does not run {command}: there is no {text}"
            ),
            By::Hand(reason) => assert!(!reason.is_empty(), "{command}"),
        }
    }
    for (file, read_by) in [
        ("tests/documents.rs", READ_FROM_THE_DOCUMENT),
        ("tests/examples/documented.rs", READ_FOR_THE_EXAMPLES),
    ] {
        let tests = read(file);
        for (start, test) in read_by {
            let (_, body) = tests.split_once(&format!("fn {test}()")).expect("a test");
            let (body, _) = body.split_once("\n}\n").expect("an end");
            assert!(
                body.contains(start.trim_end()),
                "{test} does not run {start}"
            );
        }
    }
}

/// Target → what it has done first.
fn targets() -> BTreeMap<String, Vec<String>> {
    let makefile = read("Makefile");
    let rules = makefile.lines().filter_map(|line| line.split_once(':'));
    let rules = rules.filter(|(target, _)| {
        target.starts_with(|c: char| c.is_ascii_lowercase()) && !target.contains([' ', '\t', '='])
    });
    let first = |rest: &str| {
        let rest = rest.split("##").next().unwrap_or_default();
        rest.split_whitespace().map(str::to_owned).collect()
    };
    rules
        .map(|(target, rest)| (target.to_owned(), first(rest)))
        .collect()
}

/// The targets of each `make` in a script.
fn made_by<'a>(
    script: &'a str,
    all: &'a BTreeMap<String, Vec<String>>,
) -> impl Iterator<Item = String> + 'a {
    let calls = script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let calls = calls
        .filter_map(|line| line.split_once("make "))
        .map(|(_, rest)| rest);
    let words = calls.flat_map(|rest| {
        rest.split(['|', '>'])
            .next()
            .unwrap_or_default()
            .split_whitespace()
    });
    words
        .filter(|word| all.contains_key(*word))
        .map(str::to_owned)
}

#[test]
fn every_target_is_there_and_run() {
    let all = targets();
    let mut named = 0;
    for command in all_commands() {
        let mut words = without_assignments(&command);
        if words.next() != Some("make") {
            continue;
        }
        for target in words.filter(|word| !word.contains('=')) {
            named += 1;
            assert!(all.contains_key(target), "{command}");
        }
    }
    assert!(named > 30, "{named}");

    let mut by_ci = BTreeSet::new();
    let mut next: Vec<String> = made_by(&read(".ci/run"), &all).collect();
    let nightly = read(".ci/nightly");
    let (_, nightly) = nightly.split_once("\nall=\"").expect("its targets");
    let (nightly, _) = nightly.split_once('"').expect("an end");
    next.extend(nightly.split(' ').map(str::to_owned));
    while let Some(target) = next.pop() {
        next.extend(
            all[&target]
                .iter()
                .filter(|first| all.contains_key(*first))
                .cloned(),
        );
        if target == "test-ingest" && !by_ci.contains(&target) {
            next.extend(made_by(&read("scripts/test-ingest.sh"), &all));
        }
        by_ci.insert(target);
    }
    for target in all.keys() {
        let by_hand = TARGETS_BY_HAND.iter().any(|(name, _)| name == target);
        assert!(
            by_ci.contains(target) != by_hand,
            "who runs make {target}? .ci/run or .ci/nightly: {by_ci:?}"
        );
    }
}

/// The command for a free port, with sinks that need no screen.
fn here(line: &str, port: u16) -> String {
    let line = line
        .replace("0.0.0.0:1935", &format!("127.0.0.1:{port}"))
        .replace("autovideosink", "fakesink");
    let line = match line.contains("playbin3") {
        true => format!("{line} video-sink=fakesink audio-sink=fakesink"),
        false => line,
    };
    let ports = ["port=1935", "port=443"];
    match ports.iter().find(|named| line.contains(*named)) {
        Some(named) => line.replace(named, &format!("port={port}")),
        None => line.replace("rtmp2serversrc ", &format!("rtmp2serversrc port={port} ")),
    }
}

/// What stands behind `name` in it, each time.
fn values<'a>(line: &'a str, name: &str) -> Vec<&'a str> {
    let found = line.split(name).skip(1);
    found
        .map(|rest| rest.split(' ').next().unwrap_or_default())
        .collect()
}

/// With `arguments` behind its name.
fn ffmpeg(arguments: &str, directory: &Path) -> Process {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostdin", "-v", "error"])
        .args(arguments.split_ascii_whitespace())
        .current_dir(directory);
    Process::spawn(&mut command).unwrap()
}

fn start(line: &str, directory: &Path) -> Process {
    let mut shell = with_plugin("sh", directory);
    // In the shell's place, so that Ctrl-C reaches it.
    Process::spawn(shell.args(["-c", &format!("exec env {line}")])).unwrap()
}

/// Runs a command with a publisher for each key that it names, and compares what it records with what was sent.
fn run(line: &str) {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let line = here(line, port);
    let pipeline = start(&line, directory.path());
    wait_for_listener(port, &pipeline);
    let mut keys = values(&line, "stream-key=");
    if keys.is_empty() {
        let of_uri = values(&line, "/live/");
        keys.push(of_uri.first().copied().unwrap_or("test"));
    }
    for key in &keys {
        let arguments = format!(
            "-re -f lavfi -i testsrc=size=320x240:rate=30 -frames:v {FRAMES} -c:v libx264 -preset ultrafast -g 30 \
             -f flv rtmp://127.0.0.1:{port}/live/{key}"
        );
        let publisher = ffmpeg(&arguments, directory.path());
        let finished = publisher.wait(DEADLINE).unwrap();
        finished.expect_success(&line).unwrap();
    }
    if line.contains("loop=true") {
        pipeline.interrupt();
    }
    let finished = pipeline.wait(DEADLINE).unwrap();
    finished.expect_success(&line).unwrap();
    let files = values(&line, "filesink location=");
    assert!(files.is_empty() || files.len() == keys.len(), "{line}");
    for file in files {
        assert_recorded(&directory.path().join(file));
    }
}

fn assert_recorded(file: &Path) {
    assert_eq!(frames(file), FRAMES, "{}", file.display());
}

fn frames(file: &Path) -> usize {
    let tags = flv::parse(&fs::read(file).unwrap()).unwrap();
    tags.iter().filter(|tag| tag.is_video_frame()).count()
}

fn end_well(process: Process, name: &str) -> Finished {
    process
        .wait(DEADLINE)
        .unwrap()
        .expect_success(name)
        .unwrap()
}

fn shell(script: &str, directory: &Path) -> Finished {
    let mut shell = with_plugin("sh", directory);
    end_well(Process::spawn(shell.args(["-ec", script])).unwrap(), script)
}

#[test]
fn pipelines() {
    for line in launch_lines() {
        if !line.contains("certificate-file=") {
            run(&line);
        }
    }
}

/// The first two commands of the README, as they are but for the port, and what examples/ingest makes of a recording.
#[test]
fn record_a_stream() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let recorder = the_command("gst-launch-1.0 rtmp2serversrc port=1935 ! filesink ");
    let publisher = the_command("ffmpeg -re -f lavfi -i testsrc=size=320x240:rate=30 -t 5 ");
    let recorder = start(
        &recorder.replace("1935", &port.to_string()),
        directory.path(),
    );
    wait_for_listener(port, &recorder);
    let publisher = publisher.replace("localhost:1935", &format!("localhost:{port}"));
    let publisher = ffmpeg(publisher.trim_start_matches("ffmpeg "), directory.path());
    end_well(publisher, "ffmpeg");
    end_well(recorder, "gst-launch-1.0");
    assert_eq!(frames(&directory.path().join("output.flv")), 150);
    // Others think so, too.
    let count = "-v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames \
                 -of default=nokey=1:noprint_wrappers=1 output.flv";
    let mut ffprobe = Command::new("ffprobe");
    let ffprobe = ffprobe
        .args(count.split_ascii_whitespace())
        .current_dir(directory.path());
    let counted = end_well(Process::spawn(ffprobe).unwrap(), "ffprobe");
    assert_eq!(counted.stdout.trim(), "150");
    let decoder = ffmpeg("-v warning -i output.flv -f null -", directory.path());
    assert_eq!(end_well(decoder, "ffmpeg").stderr, "");

    fs::rename(
        directory.path().join("output.flv"),
        directory.path().join("x.flv"),
    )
    .unwrap();
    let convert = the_command("ffmpeg -i x.flv ");
    end_well(
        ffmpeg(convert.trim_start_matches("ffmpeg "), directory.path()),
        "ffmpeg",
    );
    assert!(fs::metadata(directory.path().join("x.mp4")).unwrap().len() > 1000);
}

#[test]
fn what_a_shell_shows() {
    let directory = tempfile::tempdir().unwrap();
    let shown = shell(&the_command("ulimit -n"), directory.path()).stdout;
    assert!(
        shown.trim() == "unlimited" || shown.trim().parse::<u64>().is_ok(),
        "{shown}"
    );
}

#[test]
fn the_plugin_is_found() {
    let mut inspections = all_commands();
    inspections.retain(|command| command.starts_with("gst-inspect-1.0 "));
    assert!(inspections.len() >= 3, "{inspections:?}");
    for inspection in inspections {
        let directory = tempfile::tempdir().unwrap();
        let said = shell(&inspection, directory.path()).stdout;
        let is_ours = said.contains("rtmp2serversrc") || said.contains("gst-plugin-rtmp2server");
        assert!(
            is_ours || inspection.ends_with("--version"),
            "{inspection}: {said}"
        );
    }
    let mut exports = all_commands();
    exports.retain(|command| command.starts_with("export GST_PLUGIN_PATH="));
    assert!(exports.len() >= 3, "{exports:?}");
    for export in exports {
        let directory = tempfile::tempdir().unwrap();
        let find = "mkdir target; mv plugins target/gstreamer-1.0; unset GST_PLUGIN_PATH
            if gst-inspect-1.0 rtmp2serversrc; then exit 1; fi
            EXPORT
            gst-inspect-1.0 rtmp2serversrc";
        let find = find.replace("EXPORT", &export.replace('…', "$PWD"));
        shell(&find, directory.path());
    }
}

/// What the form for reports asks for.
#[test]
fn the_log_of_a_report() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let line = the_command("GST_DEBUG=rtmp2serversrc:6,2 ");
    let line = line.replace(
        '…',
        &format!("rtmp2serversrc port={port} stream-key=s3cret ! fakesink"),
    );
    let pipeline = start(&line, directory.path());
    wait_for_listener(port, &pipeline);
    let listeners = shell(&the_command("ss -ltnp"), &directory.path().join("plugins"));
    assert!(
        listeners.stdout.contains(&format!(":{port} ")),
        "{}",
        listeners.stdout
    );
    let source = "-f lavfi -i testsrc=size=320x240:rate=30 -frames:v 30 -c:v libx264 -f flv";
    let url = format!("rtmp://127.0.0.1:{port}/live");
    let refused = ffmpeg(&format!("{source} {url}/guessed"), directory.path());
    assert!(!refused.wait(DEADLINE).unwrap().status.success());
    end_well(
        ffmpeg(&format!("{source} {url}/s3cret"), directory.path()),
        "ffmpeg",
    );
    let said = end_well(pipeline, &line).stdout;
    let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
    assert!(
        said.contains("rtmp2server-publisher-disconnected"),
        "{said}"
    );
    assert!(log.contains("wrong stream key"), "{log}");
    assert!(
        !log.contains("guessed") && !said.contains("guessed"),
        "{log}{said}"
    );
}

#[test]
fn what_a_release_looks_at() {
    let cargo = |start: &str, more: &str| {
        let command = the_command(start) + more;
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(command.split(' ').skip(1)).current_dir(root());
        end_well(Process::spawn(&mut cargo).unwrap(), &command).stdout
    };
    let packed = cargo("cargo package --list", " --allow-dirty");
    let packed: Vec<_> = packed.lines().collect();
    for file in ["README.md", "src/lib.rs", "tests/fixtures/client-obs29.bin"] {
        assert!(packed.contains(&file), "{file} is not in the package");
    }
    cargo("cargo update --workspace", " --dry-run --offline");
    // Which is asked for in each folder whose lock file names this package with its version.
    let version = |file: &str| {
        let text = read(file);
        let (_, rest) = text
            .split_once("name = \"gst-plugin-rtmp2server\"\nversion = ")
            .expect("this package");
        rest.lines().next().map(str::to_owned)
    };
    for lock in ["examples/ingest/Cargo.lock", "fuzz/Cargo.lock"] {
        assert_eq!(version(lock), version("Cargo.toml"), "{lock}");
    }
}

/// With the certificate that the README shows how to make, and the publisher that stands beside it.
#[test]
fn recordings_through_tls() {
    let directory = tempfile::tempdir().unwrap();
    let mut made = Command::new("sh");
    made.args(["-ec", &the_command("openssl req ")])
        .current_dir(directory.path());
    let made = Process::spawn(&mut made).unwrap().wait(DEADLINE).unwrap();
    made.expect_success("openssl").unwrap();
    let source = "-f lavfi -i testsrc=size=320x240:rate=30 -frames:v 30 -c:v libx264 -preset ultrafast input.mp4";
    let made = ffmpeg(source, directory.path()).wait(DEADLINE).unwrap();
    made.expect_success("ffmpeg").unwrap();

    let lines = launch_lines();
    let line = lines.iter().find(|line| line.contains("certificate-file="));
    let port = free_port();
    let line = here(line.expect("a pipeline with TLS"), port);
    let pipeline = start(&line, directory.path());
    wait_for_listener(port, &pipeline);
    let publisher = the_command("ffmpeg -re -i input.mp4 ");
    let publisher = publisher.replace("HOST", &format!("localhost:{port}"));
    let publisher = publisher.trim_start_matches("ffmpeg ").to_owned();
    for process in [ffmpeg(&publisher, directory.path()), pipeline] {
        let finished = process.wait(DEADLINE).unwrap();
        finished.expect_success(&line).unwrap();
    }
    assert_recorded(&directory.path().join("output.flv"));
}
