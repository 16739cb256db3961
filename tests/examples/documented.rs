//! The commands of `examples/README.md`, run as they stand there but for ports and hosts, and with what cargo has built.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::text::{root, the_command};
use crate::converted::headers_and_stream;
use crate::support::flv::Rules;
use crate::support::launch::{free_port, with_plugin};
use crate::support::pipeline::Recording;
use crate::support::process::Process;
use crate::support::publishers::{DEADLINE, read_flv};
use crate::{Encoder, assert_same, end_well, example, frames, listening, python_with_gi};

/// A folder like the one that the commands are meant for.
struct Checkout {
    directory: tempfile::TempDir,
    port: u16,
}

impl Checkout {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        symlink(root().join("examples"), directory.path().join("examples")).unwrap();
        let programs = directory.path().join("bin");
        fs::create_dir(&programs).unwrap();
        // They are built already, and perhaps not for release.
        let built = PathBuf::from(example("record").get_program());
        let cargo = format!(
            "#!/bin/sh -e\n[ \"$1 $2 $3 $5\" = 'run --release --example --' ]\nname=$4\nshift 5\n\
             exec '{}'/\"$name\" \"$@\"\n",
            built.parent().unwrap().display()
        );
        fs::write(programs.join("cargo"), cargo).unwrap();
        fs::set_permissions(programs.join("cargo"), PermissionsExt::from_mode(0o755)).unwrap();
        // One of several may be first in PATH, and have no gi.
        let python = format!("#!/bin/sh\nexec {} \"$@\"\n", python_with_gi());
        fs::write(programs.join("python3"), python).unwrap();
        fs::set_permissions(programs.join("python3"), PermissionsExt::from_mode(0o755)).unwrap();
        Self {
            directory,
            port: free_port(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the one command of the documents that begins so, and waits until it listens.
    fn start(&self, begin: &str, others: &[(&str, String)]) -> Process {
        let mut line = the_command(begin);
        let port = ("1935", self.port.to_string());
        for (documented, here) in [port].iter().chain(others) {
            assert!(line.contains(documented), "{line}");
            line = line.replace(documented, here);
        }
        // In the shell's place, so that Ctrl-C reaches it.
        if !line.contains("&&") {
            line = format!("exec env {line}");
        }
        let path = std::env::var("PATH").unwrap();
        // The examples in Rust bring the plugin with them.
        let mut shell = match begin.starts_with("cargo ") {
            true => Command::new("sh"),
            false => with_plugin("sh", self.path()),
        };
        shell
            .current_dir(self.path())
            .env("PATH", format!("{}/bin:{path}", self.path().display()))
            .args(["-ec", &line]);
        listening(&mut shell, self.port)
    }

    fn publish(&self, key: &str) -> Encoder {
        Encoder::start(self.port, key, Some(1), self.path())
    }
}

#[test]
fn records() {
    for command in [
        "cargo run --release --example record ",
        "cc -o record examples/c/record.c ",
    ] {
        let checkout = Checkout::new();
        let recorder = checkout.start(command, &[]);
        let sent = checkout.publish("key").finish();
        end_well(recorder);
        let recorded = read_flv(&checkout.path().join("output.flv")).unwrap();
        assert_same(&sent, &recorded, Rules::default());
    }
}

#[test]
fn asks_who_it_is() {
    let checkout = Checkout::new();
    let server = checkout.start("cargo run --release --example auth_signal ", &[]);
    let sent = checkout.publish("s3cret-of-anna").finish();
    server.interrupt();
    end_well(server);
    let recorded = read_flv(&checkout.path().join("output.flv")).unwrap();
    assert_eq!(frames(&recorded), frames(&sent));
}

#[test]
fn relays() {
    let checkout = Checkout::new();
    let there = Recording::start(checkout.path(), "stream-key=key").unwrap();
    let relay = checkout.start(
        "cargo run --release --example relay ",
        &[
            ("example.com", format!("127.0.0.1:{}", there.port())),
            (":7001", format!(":{}", free_port())),
        ],
    );
    let sent = checkout.publish("key").finish();
    end_well(relay);
    let (_, sent) = headers_and_stream(sent);
    let (_, relayed) = headers_and_stream(there.finish().unwrap());
    assert_same(&sent, &relayed, Rules::default());
}

#[test]
fn plays_over_http() {
    let checkout = Checkout::new();
    let http = free_port();
    let server = checkout.start(
        "cargo run --release --example http_flv ",
        &[(" 8080", format!(" {http}"))],
    );
    let mut player = TcpStream::connect(("127.0.0.1", http)).unwrap();
    player.set_read_timeout(Some(DEADLINE)).unwrap();
    player.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let sent = checkout.publish("key").finish();
    let first_picture = &sent.iter().find(|tag| tag.is_video_frame()).unwrap().body;
    let mut played = Vec::<u8>::new();
    while !played
        .windows(first_picture.len())
        .any(|part| part == first_picture)
    {
        let mut more = [0; 65536];
        let count = player.read(&mut more).unwrap();
        assert!(count > 0, "closed early");
        played.extend(&more[..count]);
    }
    server.interrupt();
    end_well(server);
}

#[test]
fn transcodes() {
    let checkout = Checkout::new();
    let server = checkout.start("examples/transcode_hls.sh ", &[]);
    checkout.publish("key").finish();
    end_well(server);
    let playlist = fs::read_to_string(checkout.path().join("hls/index.m3u8")).unwrap();
    assert!(playlist.contains("#EXT-X-ENDLIST"), "{playlist}");
}

#[test]
fn keeps_a_file_for_each_key() {
    let checkout = Checkout::new();
    let server = checkout.start("INGEST_KEYS=", &[]);
    let sent = checkout.publish("s3cret").finish();
    server.interrupt();
    end_well(server);
    let files = fs::read_dir(checkout.path()).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let is_annas = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("anna-")
    };
    let recorded = read_flv(&files.find(is_annas).expect("anna's")).unwrap();
    assert_same(&sent, &recorded, Rules::default());
}
