//! Applications in Python use the element through GObject introspection.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use support::client::{Client, tags};
use support::flv::{self, Rules};
use support::launch::{free_port, wait_for_listener, with_plugin};
use support::process::{Finished, Process};

const DEADLINE: Duration = Duration::from_secs(60);

/// One of the applications in `tests/python`, with its server on this port.
struct Application {
    process: Process,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Application {
    fn start(name: &str) -> Application {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
        // Debian's, which GObject introspection is installed for; there may be others.
        let mut python = with_plugin("/usr/bin/python3", directory.path());
        // Unbuffered, and none of the crate's directories gets a cache.
        python
            .arg("-uB")
            .arg(script.join(name))
            .arg(port.to_string());
        let process = Process::spawn(&mut python).unwrap();
        wait_for_listener(port, &process);
        Application {
            process,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            directory,
        }
    }

    fn finish(self) -> (Vec<String>, tempfile::TempDir) {
        let finished = self.process.wait(DEADLINE).unwrap();
        let Finished { stdout, stderr, .. } = finished.expect_success("python3").unwrap();
        assert_eq!(stderr, "");
        let lines = stdout.lines().map(str::to_owned).collect();
        (lines, self.directory)
    }

    fn client(&self) -> Client {
        Client::connect(self.address, "live").unwrap()
    }
}

#[test]
fn as_the_readme_has_it() {
    let application = Application::start("readme.py");
    let answer = application.client().publish("guessed").unwrap();
    assert_eq!(answer.code, "NetStream.Publish.Denied");
    let sent = tags(30, 500);
    let mut client = application.client();
    client.must_publish("s3cret").unwrap();
    client.send_all(&sent).unwrap();
    client.close().unwrap();
    let (said, directory) = application.finish();
    let expected = [
        "rejected: the server's application refused this publisher",
        "received 30 pushed 30 queued 0 withheld 0",
    ];
    assert_eq!(said, expected);
    let recorded = std::fs::read(directory.path().join("output.flv")).unwrap();
    flv::assert_same(&sent, &flv::parse(&recorded).unwrap());
}

#[test]
fn a_handler_decides() {
    let application = Application::start("decide.py");
    let answer = application.client().publish("wrong?token=1").unwrap();
    assert_eq!(answer.code, "NetStream.Publish.Denied");
    let sent = tags(60, 400);
    let mut client = application.client();
    client.must_publish("right?token=2").unwrap();
    client.send_all(&sent).unwrap();
    client.close().unwrap();
    let (said, directory) = application.finish();
    // Signals and messages come on different threads.
    let (messages, signals): (Vec<_>, Vec<_>) = said
        .into_iter()
        .partition(|line| line.starts_with("message"));
    assert_eq!(messages, ["message of the publisher: 60 tags"]);
    let expected = [
        "asked about live wrong token=1",
        "rejected: the server's application refused this publisher",
        "asked about live right token=2",
        "added",
        "removed",
        "received 60 pushed 60 queued 0 withheld 0",
    ];
    assert_eq!(signals, expected);
    let captured = flv::parse(&std::fs::read(directory.path().join("output.flv")).unwrap());
    let comparison = flv::compare(&sent, &captured.unwrap(), Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

/// One handler sleeps for longer than anyone waits, with the element stopped and dropped meanwhile; another stops it itself.
#[test]
fn handlers_may_block_and_stop_the_element() {
    let application = Application::start("block_and_stop.py");
    let answer = application.client().publish("block").unwrap();
    assert_eq!(answer.code, "NetStream.Publish.Rejected");
    assert!(answer.text.contains("did not answer in time"), "{answer:?}");
    // It has no time to say why.
    let stopped = application.client().publish("stop");
    assert!(stopped.is_err(), "{stopped:?}");
    let (said, _) = application.finish();
    assert_eq!(said, ["blocks", "stops", "stopped", "gone"]);
}

#[test]
fn actions_act_at_once() {
    let application = Application::start("disconnect.py");
    let sent = tags(40, 400);
    let mut client = application.client();
    client.must_publish("k").unwrap();
    client.send_all(&sent).unwrap();
    let status = client.status().unwrap();
    assert!(status.text.contains("ended this publication"), "{status:?}");
    client.close().unwrap();
    let (said, _) = application.finish();
    assert_eq!(
        said,
        [
            "nobody to disconnect",
            "can't reconnect",
            "disconnected",
            "the publisher was lost: the application disconnected it: 40 tags",
            "received 40 pushed 40 queued 0 withheld 0",
        ]
    );
}
