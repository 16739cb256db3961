//! The examples, each run as a user would run it, with a real ffmpeg.

#[path = "examples/converted.rs"]
mod converted;
#[path = "examples/documented.rs"]
mod documented;
mod support;
mod text;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use support::flv::{self, Rules, Tag};
use support::launch::{free_port, wait_for_listener, with_plugin};
use support::process::{Finished, Process};
use support::publishers::{DEADLINE, read_flv};

const PICTURE: &str = "-re -f lavfi -i testsrc2=size=320x240:rate=30";
const SOUND: &str = "-re -f lavfi -i sine=frequency=440";
const H264: &str = "-c:v libx264 -preset ultrafast -bf 0 -g 30 -threads 1";

/// A real ffmpeg, which also writes what it sends to a file.
struct Encoder {
    process: Process,
    sent: PathBuf,
}

impl Encoder {
    /// Publishes picture and sound with that key, until it is stopped if no seconds are given.
    fn start(port: u16, key: &str, seconds: Option<u32>, directory: &Path) -> Encoder {
        let what = format!("{PICTURE} {SOUND} -map 0 -map 1 {H264} -c:a aac");
        Encoder::start_with(port, key, seconds, &what, directory)
    }

    /// The same with other inputs or codecs.
    fn start_with(
        port: u16,
        key: &str,
        seconds: Option<u32>,
        what: &str,
        directory: &Path,
    ) -> Encoder {
        let sent = directory.join(format!("sent-{key}.flv"));
        let flv = "f=flv:flvflags=no_duration_filesize";
        let outputs = format!(
            "[{flv}]{}|[{flv}:onfail=abort]rtmp://127.0.0.1:{port}/live/{key}",
            sent.display()
        );
        let duration = seconds.map_or(String::new(), |seconds| format!("-t {seconds}"));
        let arguments = format!(
            "-hide_banner -nostdin -v warning -y {what} {duration} -flags +global_header -f tee"
        );
        let mut command = Command::new("ffmpeg");
        command
            .args(arguments.split_ascii_whitespace())
            .arg(outputs);
        let process = Process::spawn(&mut command).unwrap();
        Encoder { process, sent }
    }

    fn wait(self) -> (Finished, PathBuf) {
        (self.process.wait(DEADLINE).unwrap(), self.sent)
    }

    /// Waits until it has ended well, and returns what it sent.
    fn finish(self) -> Vec<Tag> {
        let (finished, sent) = self.wait();
        finished.expect_success("ffmpeg").unwrap();
        read_flv(&sent).unwrap()
    }
}

/// An example in Rust, built as this test was.
fn example(name: &str) -> Command {
    static BUILT: Once = Once::new();
    // target/PROFILE/deps/TEST-HASH
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    BUILT.call_once(|| {
        // Where the tests were taken elsewhere there is no cargo, and they have to be there.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--examples", "--quiet", "--target-dir"]);
        cargo.arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        if let Ok(status) = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status() {
            assert!(status.success(), "the examples do not build");
        }
    });
    Command::new(profile.join("examples").join(name))
}

fn source_of(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(example)
}

/// Starts a command that listens on a port, and waits until it does.
fn listening(command: &mut Command, port: u16) -> Process {
    let process = Process::spawn(command).unwrap();
    wait_for_listener(port, &process);
    process
}

fn end_well(process: Process) -> Finished {
    let finished = process.wait(DEADLINE).unwrap();
    finished.expect_success("the example").unwrap()
}

fn assert_same(sent: &[Tag], recorded: &[Tag], rules: Rules) {
    let comparison = flv::compare(sent, recorded, rules);
    assert!(comparison.is_same(), "{comparison}");
}

fn frames(tags: &[Tag]) -> usize {
    tags.iter().filter(|tag| tag.is_video_frame()).count()
}

/// What both recorders, in Rust and in C, have to do: `command` gets the port and the file.
fn check_recorder(mut command: impl FnMut() -> Command, directory: &Path) {
    let output = directory.join("output.flv");
    let port = free_port();
    let start = |mut command: Command| listening(command.arg(port.to_string()).arg(&output), port);

    let recorder = start(command());
    let sent = Encoder::start(port, "key", Some(1), directory).finish();
    let said = end_well(recorder).stdout;
    assert_same(&sent, &read_flv(&output).unwrap(), Rules::default());
    assert!(
        said.contains(&format!("listening on port {port}\n")),
        "{said}"
    );
    assert!(
        said.contains(&format!("recorded {} tags: ", sent.len())),
        "{said}"
    );

    // Ctrl-C in the middle: a whole file of what had come.
    let recorder = start(command());
    let encoder = Encoder::start(port, "key", None, directory);
    let has_begun = || std::fs::metadata(&output).is_ok_and(|file| file.len() > 100_000);
    // The file of before is overwritten at the start.
    support::pipeline::wait_until(DEADLINE, has_begun).unwrap();
    recorder.interrupt();
    end_well(recorder);
    let (finished, sent) = encoder.wait();
    assert!(!finished.status.success(), "ffmpeg was not told");
    let sent = std::fs::read(sent).unwrap();
    let (sent, _) = flv::parse_prefix(&sent).unwrap();
    let recorded = read_flv(&output).unwrap();
    assert_same(
        &sent,
        &recorded,
        Rules {
            prefix: true,
            ..Rules::default()
        },
    );

    // What is wrong is said.
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let recorder = Process::spawn(command().arg(port.to_string()).arg(&output)).unwrap();
    let finished = recorder.wait(DEADLINE).unwrap();
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stderr.contains("Address already in use"),
        "{}",
        finished.stderr
    );
}

#[test]
fn record() {
    let directory = tempfile::tempdir().unwrap();
    check_recorder(|| example("record"), directory.path());
}

#[test]
fn c_record() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("record");
    let flags =
        Process::spawn(Command::new("pkg-config").args(["--cflags", "--libs", "gstreamer-1.0"]));
    let flags = flags
        .and_then(|p| p.wait(DEADLINE))
        .and_then(|f| f.expect_success("pkg-config"));
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-o"]);
    compiler.arg(&program).arg(source_of("c/record.c"));
    compiler.args(flags.unwrap().stdout.split_ascii_whitespace());
    end_well(Process::spawn(&mut compiler).unwrap());
    let plugins = tempfile::tempdir().unwrap();
    with_plugin(&program, plugins.path());
    let command = || {
        let mut command = Command::new(&program);
        command
            .env("GST_PLUGIN_PATH", plugins.path().join("plugins"))
            .env("GST_REGISTRY", plugins.path().join("registry.bin"));
        command
    };
    check_recorder(command, directory.path());
}

#[test]
fn auth_signal() {
    let directory = tempfile::tempdir().unwrap();
    let (port, output) = (free_port(), directory.path().join("output.flv"));
    let mut command = example("auth_signal");
    let server = listening(command.arg(port.to_string()).arg(&output), port);
    let (refused, _) = Encoder::start(port, "guessed", Some(1), directory.path()).wait();
    assert!(!refused.status.success());
    assert!(
        refused.stderr.contains("refused this publisher"),
        "{}",
        refused.stderr
    );
    let anna = Encoder::start(port, "s3cret-of-anna", Some(1), directory.path()).finish();
    let ben = Encoder::start(port, "s3cret-of-ben", Some(1), directory.path()).finish();
    server.interrupt();
    let said = end_well(server).stdout;
    for part in [
        "is nobody we know",
        "is anna",
        "is ben",
        "caller-added: ",
        "caller-rejected: ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !said.contains("s3cret") && !said.contains("guessed"),
        "{said}"
    );
    // One timeline of both, without the codecs' ends of sequence.
    let recorded = read_flv(&output).unwrap();
    assert_eq!(frames(&recorded), frames(&anna) + frames(&ben));
}

#[test]
fn http_flv() {
    let directory = tempfile::tempdir().unwrap();
    let (port, http) = (free_port(), free_port());
    let mut command = example("http_flv");
    let server = listening(command.arg(port.to_string()).arg(http.to_string()), port);
    let play = || {
        let mut player = TcpStream::connect(("127.0.0.1", http)).unwrap();
        player.set_read_timeout(Some(DEADLINE)).unwrap();
        player
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        player
    };
    // Before there is anything to play.
    let mut early = play();
    let encoder = Encoder::start(port, "key", Some(6), directory.path());
    // Some seconds into the stream.
    let mut begun = vec![0; 400_000];
    early.read_exact(&mut begun).unwrap();
    let late = play();
    let sent = encoder.finish();

    // With `loop`, the codecs' ends of sequence are withheld.
    let is_end = |tag: &Tag| tag.kind == flv::Kind::Video && tag.body[..2] == [0x17, 2];
    let sent: Vec<Tag> = sent.into_iter().filter(|tag| !is_end(tag)).collect();
    let end = &sent.last().expect("many").body;
    for (mut played, mut player, from) in [(begun, early, 0..100), (Vec::new(), late, 900..6000)] {
        // The connection stays, for the next publisher.
        let is_whole = |played: &[u8]| {
            let size_of_last = played.len().saturating_sub(4);
            played[..size_of_last].ends_with(end)
        };
        while !is_whole(&played) {
            let mut more = [0; 65536];
            let count = player.read(&mut more).unwrap();
            assert!(count > 0, "closed early");
            played.extend(&more[..count]);
        }
        let end_of_head = |bytes: &[u8]| bytes == b"\r\n\r\n";
        let head = played.windows(4).position(end_of_head).expect("a head") + 4;
        assert!(played.starts_with(b"HTTP/1.1 200 OK\r\n"));
        let played = flv::parse(&played[head..]).unwrap();
        // Metadata and two sequence headers, whose time is of no interest, and then the stream without a gap up to its end.
        let (headers, stream) = played.split_at(3);
        let bodies = |tags: &[Tag]| tags.iter().map(|tag| tag.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(headers), bodies(&sent[..3]));
        // Of the very beginning also what goes before the first key frame.
        let first = stream.iter().find(|tag| tag.is_video_frame());
        let first = first.expect("video");
        assert_eq!(first.body[0] >> 4, 1, "it begins with no key frame");
        assert!(
            from.contains(&first.timestamp),
            "it begins at {}",
            first.timestamp
        );
        let position = sent.iter().position(|tag| *tag == stream[0]);
        let position = position.expect("as sent");
        assert_same(&sent[position..], stream, Rules::default());
    }
    server.interrupt();
    end_well(server);
}

/// One of several may be first in PATH, and have no gi.
fn python_with_gi() -> String {
    let with_gi = |python: &str| {
        let probe = "import gi, sys; print(sys.executable)";
        let said = Command::new(python).args(["-c", probe]).output().ok()?;
        let path = String::from_utf8(said.stdout).ok()?.trim().to_owned();
        said.status.success().then_some(path)
    };
    let python = ["python3", "/usr/bin/python3"]
        .into_iter()
        .find_map(with_gi);
    python.expect("python3-gi is installed")
}

#[test]
fn python_ingest() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = with_plugin(python_with_gi(), directory.path());
    command.arg(source_of("python/ingest.py"));
    command
        .env("INGEST_KEYS", "anna=k1 ben=k2")
        .arg(port.to_string())
        .arg(directory.path());
    // Of the next minutes, each name that anna's recording could have is taken.
    let now = gst::glib::DateTime::now_utc().unwrap();
    let taken = (0..300).map(|seconds| {
        let time = now.add_seconds(f64::from(seconds)).unwrap();
        let time = time.format("%Y%m%dT%H%M%SZ").unwrap();
        directory.path().join(format!("anna-{time}.flv"))
    });
    let taken: Vec<PathBuf> = taken.collect();
    for path in &taken {
        std::fs::write(path, "an earlier one").unwrap();
    }
    let server = listening(&mut command, port);
    let (refused, _) = Encoder::start(port, "k3", Some(1), directory.path()).wait();
    assert!(!refused.status.success());
    let mut sent = Vec::new();
    for key in ["k1", "k2"] {
        sent.push(Encoder::start(port, key, Some(1), directory.path()).finish());
        // It listens again when it has closed the file.
        wait_for_listener(port, &server);
    }
    server.interrupt();
    let said = end_well(server).stdout;
    assert!(said.contains("has no key of ours"), "{said}");
    for (name, sent) in ["anna", "ben"].into_iter().zip(&sent) {
        let files = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_its = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_string_lossy();
            file.starts_with(&format!("{name}-")) && !taken.contains(path)
        };
        let files: Vec<PathBuf> = files.filter(is_its).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_same(sent, &read_flv(&files[0]).unwrap(), Rules::default());
        assert!(
            said.contains(&format!("{name}: recorded {} tags", sent.len())),
            "{said}"
        );
    }
    let is_whole = |path| std::fs::read(path).unwrap() == b"an earlier one";
    assert!(taken.iter().all(is_whole), "a recording was written over");
}

/// They are to be read in one go.
#[test]
fn they_are_short() {
    for name in [
        "auth_signal.rs",
        "http_flv.rs",
        "record.rs",
        "relay.rs",
        "transcode_hls.sh",
        "c/record.c",
        "python/ingest.py",
    ] {
        let lines = std::fs::read_to_string(source_of(name))
            .unwrap()
            .lines()
            .count();
        assert!(lines < 150, "{name} has {lines} lines");
    }
}
