//! The documents: every command in them is run, here or by the test that is named here, and every link leads somewhere.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::flv;
use support::launch::{free_port, wait_for_listener, with_plugin};
use support::process::Process;

const DEADLINE: Duration = Duration::from_secs(60);
/// What a publisher sends.
const FRAMES: usize = 30;

/// Commands that are run elsewhere: how they begin, and by what.
const ELSEWHERE: &[(&str, &str)] = &[
    ("make ", "every_target_is_there, and `make help`"),
    (
        "export GST_PLUGIN_PATH=",
        "all tests that run gst-launch-1.0",
    ),
    (
        "ffmpeg -re -f lavfi -i testsrc=size=320x240:rate=30 -t 5 -c:v libx264 -preset ultrafast -g 30 \
         -f flv rtmp://localhost:1935/live/test",
        "tests/commands.rs",
    ),
    (
        "ffmpeg -re -i input.mp4 -c copy -f flv rtmps://HOST/",
        "recordings_through_tls",
    ),
    ("cargo run --release --example ", "tests/examples.rs"),
    ("examples/transcode_hls.sh ", "tests/examples.rs"),
    (
        "INGEST_KEYS=\"anna=s3cret\" examples/python/ingest.py ",
        "tests/examples.rs",
    ),
    ("cc -o record examples/c/record.c ", "tests/examples.rs"),
    ("cp examples/ingest/keys.example ", "examples/ingest/tests"),
    ("cd examples/ingest && cargo run ", "examples/ingest/tests"),
    ("sudo apt-get install haproxy", "scripts/install-deps.sh"),
    (
        "cargo build --release --example fleet_worker",
        "tests/fleet",
    ),
    ("for n in 1 2 3; do", "tests/fleet"),
    ("FLEET_BIND=", "tests/fleet"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<(PathBuf, String)> {
    let folders = ["", "docs", "examples", "examples/ingest", "examples/fleet"];
    let files = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path())
    });
    let mut documents: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|name| name == "md"))
        .map(|file| (file.clone(), fs::read_to_string(file).unwrap()))
        .collect();
    documents.sort();
    assert!(documents.len() > 12, "{}", documents.len());
    documents
}

/// Each command of the shell blocks, with its continuation lines and without its comment.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("\n```sh\n").skip(1);
    blocks
        .flat_map(|block| {
            let (block, _) = block.split_once("\n```").expect("an end");
            let joined = block.replace("\\\n", " ");
            let lines = joined.lines().map(|line| {
                let code = line.split("  #").next().unwrap_or_default();
                code.split_whitespace().collect::<Vec<_>>().join(" ")
            });
            // Of a loop, its first line stands for it.
            let whole = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            let whole: Vec<_> = whole.collect();
            let mut inside = false;
            let top = whole.into_iter().filter(move |line| {
                let skipped = inside;
                inside = (inside || line.ends_with("; do")) && line != "done";
                !skipped
            });
            top.collect::<Vec<_>>()
        })
        .collect()
}

fn launch_lines() -> Vec<String> {
    let lines: Vec<_> = documents()
        .iter()
        .flat_map(|(_, text)| commands(text))
        .filter(|line| line.contains("gst-launch-1.0 "))
        .collect();
    assert!(lines.len() >= 7, "{lines:?}");
    lines
}

#[test]
fn every_command_is_run_by_some_test() {
    for (file, text) in documents() {
        for command in commands(&text) {
            let elsewhere = ELSEWHERE
                .iter()
                .any(|(start, _)| command.starts_with(start));
            assert!(
                elsewhere || command.contains("gst-launch-1.0 "),
                "{}: who runs this? {command}",
                file.display()
            );
        }
    }
}

#[test]
fn every_target_is_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    let mut named = 0;
    for (file, text) in documents() {
        for code in text.split('`').skip(1).step_by(2) {
            let Some(target) = code.strip_prefix("make ") else {
                continue;
            };
            let target = target.split_whitespace().next().unwrap_or_default();
            named += 1;
            assert!(targets.contains(target), "{}: {code}", file.display());
        }
    }
    assert!(named > 20, "{named}");
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for (file, text) in documents() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => file.clone(),
                path => file.with_file_name("").join(path),
            };
            assert!(target.exists(), "{}: {link}", file.display());
            if !fragment.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|heading| anchor(heading) == fragment);
                assert!(found, "{}: {link}", file.display());
            }
        }
    }
    assert!(links > 20, "{links}");
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
    let tags = flv::parse(&fs::read(file).unwrap()).unwrap();
    let frames = tags.iter().filter(|tag| tag.is_video_frame()).count();
    assert_eq!(frames, FRAMES, "{}", file.display());
}

#[test]
fn pipelines() {
    for line in launch_lines() {
        if !line.contains("certificate-file=") {
            run(&line);
        }
    }
}

/// With the certificate that the README shows how to make, and the publisher that stands beside it.
#[test]
fn recordings_through_tls() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let certificate = readme
        .split('`')
        .find(|code| code.starts_with("openssl req"))
        .expect("how to make a certificate");
    let mut made = Command::new("sh");
    made.args(["-ec", &certificate.replace('\n', " ")])
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
    let publisher = commands(&readme)
        .into_iter()
        .find(|line| line.starts_with("ffmpeg ") && line.contains("rtmps://HOST/"))
        .expect("a publisher with TLS");
    let publisher = publisher.replace("HOST", &format!("localhost:{port}"));
    let publisher = publisher.trim_start_matches("ffmpeg ").to_owned();
    for process in [ffmpeg(&publisher, directory.path()), pipeline] {
        let finished = process.wait(DEADLINE).unwrap();
        finished.expect_success(&line).unwrap();
    }
    assert_recorded(&directory.path().join("output.flv"));
}
