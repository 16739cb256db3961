//! Encoders that come, go, are not let in, and are recorded tag by tag.

mod support;

use std::net::TcpListener;

use support::flv::{Rules, compare};
use support::process::Process;
use support::{App, DEADLINE, Encoder, H264, PICTURE, SOUND};
use support::{assert_same, limit_files, read, read_prefix, wait_for};

fn is_live(stream: &serde_json::Value) -> bool {
    stream["state"] == "live" && stream["figures"]["pushed"].as_u64() > Some(0)
}

#[test]
fn many_at_once_on_one_port() {
    let directory = tempfile::tempdir().unwrap();
    let keys: String = (0..6).map(|n| format!("camera-{n} key-{n}\n")).collect();
    let app = App::start(directory.path(), &keys);
    let encoders: Vec<Encoder> = (0..6)
        .map(|n| {
            let arguments = match n {
                // Nothing that a browser plays: recorded all the same.
                0 => format!("{PICTURE} -c:v flv1 -g 30 -t 3"),
                1 => "-re -f lavfi -i sine=frequency=440 -map 0 -c:a aac -t 3".to_owned(),
                n if n % 2 == 0 => format!("{PICTURE} {H264} -t 3"),
                _ => format!(
                    "-re -f lavfi -i sine=frequency=440 {PICTURE} -map 1 -c:a aac {H264} -t 3"
                ),
            };
            Encoder::start(app.port, &format!("key-{n}"), &arguments, directory.path())
        })
        .collect();
    for (n, encoder) in encoders.into_iter().enumerate() {
        let name = format!("camera-{n}");
        let sent = encoder.finish();
        let stream = app.wait_for_stream(&name, "the end", |s| s["state"] == "ended");
        assert_same(&sent, &app.recorded(&name));
        let figures = &stream["figures"];
        assert_eq!(figures["received"], sent.len());
        assert_eq!(figures["pushed"], sent.len());
        assert_eq!(stream["is_complete"], true);
        assert_eq!(stream["end"]["clean"], true);
        let size = std::fs::metadata(&app.recordings(&name)[0]).unwrap().len();
        assert_eq!(stream["end"]["file_bytes"], size);
        let preview = &stream["preview"];
        if n == 0 {
            assert_eq!(preview["state"], "none");
            let reason = preview["reason"].as_str().unwrap();
            assert!(reason.contains("Sorenson"), "{reason}");
        } else {
            assert_ne!(preview["state"], "none", "{name}: {preview}");
        }
    }
    assert!(app.interrupt().success());
}

#[test]
fn the_keys_file_decides_and_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::start(directory.path(), "one first-key\n");
    let endless = format!("{PICTURE} {H264}");
    Encoder::start(app.port, "wrong-key", &endless, directory.path()).fail();
    app.wait_for_line("turned away: its key is not in the keys file");

    app.write_keys("one first-key\ntwo wrong-key\n");
    let two = Encoder::start(app.port, "wrong-key", &endless, directory.path());
    app.wait_for_stream("two", "live", is_live);
    let elsewhere = tempfile::tempdir().unwrap();
    Encoder::start(app.port, "wrong-key", &endless, elsewhere.path()).fail();
    app.wait_for_line("turned away: somebody else is publishing with that key");

    app.write_keys("one first-key\n");
    app.wait_for_stream("two", "the end", |s| s["state"] == "ended");
    two.fail();
    let keys = ["first-key", "wrong-key"];
    let leaks = |line: &String| keys.iter().any(|key| line.contains(key));
    assert!(!app.log().iter().any(leaks), "a key is in the log");
    assert!(app.interrupt().success());
}

#[test]
fn ctrl_c_keeps_what_was_received() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::start(directory.path(), "one key\n");
    let encoder = Encoder::start(
        app.port,
        "key",
        &format!("{PICTURE} {H264}"),
        directory.path(),
    );
    app.wait_for_stream("one", "a second", |s| {
        s["figures"]["key_frames"].as_u64() > Some(1)
    });
    let file = app.recordings("one").remove(0);
    assert!(app.interrupt().success());
    let sent = encoder.sent.clone();
    encoder.fail();
    let comparison = compare(
        &read_prefix(&sent),
        &read(&file),
        Rules {
            prefix: true,
            ..Rules::default()
        },
    );
    assert!(comparison.is_same(), "{comparison}");
}

#[test]
fn an_encoder_that_went_silent_is_replaced_when_it_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::start(directory.path(), "one key\n");
    let endless = format!("{PICTURE} {H264}");
    let silent = Encoder::start(app.port, "key", &endless, directory.path());
    app.wait_for_stream("one", "live", is_live);
    signal(&silent.process, libc::SIGSTOP);

    let elsewhere = tempfile::tempdir().unwrap();
    let seconds = format!("{PICTURE} {H264} -t 1");
    // As encoders do: again and again.
    let sent = wait_for("second publisher", || {
        let encoder = Encoder::start(app.port, "key", &seconds, elsewhere.path());
        let finished = encoder.process.wait(DEADLINE).unwrap();
        finished.status.success().then(|| read(&encoder.sent))
    });
    let files = wait_for("two recordings", || {
        let ended = app.stream("one").is_some_and(|s| s["state"] == "ended");
        Some(app.recordings("one")).filter(|files| ended && files.len() == 2)
    });
    assert_same(&sent, &read(&files[1]));
    assert!(read(&files[0]).len() > 1);
    assert!(app.interrupt().success());
}

#[test]
fn a_preview_that_fails_takes_nothing_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::start(directory.path(), "one key\n");
    let arguments = format!("{PICTURE} {H264} -t 6");
    let encoder = Encoder::start(app.port, "key", &arguments, directory.path());
    app.wait_for_stream("one", "a preview", |s| s["preview"]["state"] == "playing");
    let previews = std::fs::read_dir(directory.path()).unwrap();
    let previews = previews.map(|entry| entry.unwrap().path());
    let is_preview = |path: &std::path::PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("ingest-")
    };
    for directory in previews.filter(is_preview) {
        std::fs::remove_dir_all(directory).unwrap();
    }
    app.wait_for_stream("one", "no preview", |s| s["preview"]["state"] == "none");
    assert_same(&encoder.finish(), &{
        app.wait_for_stream("one", "the end", |s| s["state"] == "ended");
        app.recorded("one")
    });
    assert!(app.interrupt().success());
}

/// A disk that is full for one of two.
#[test]
fn what_did_not_fit_is_missed_and_nobody_else_is_concerned() {
    const LIMIT: u64 = 300_000;
    let directory = tempfile::tempdir().unwrap();
    let keys = "large large-key\nsmall small-key\n";
    let app = App::start_with(directory.path(), keys, |c| limit_files(c, LIMIT));
    let sound = format!("{SOUND} -map 0 -c:a aac");
    let small = Encoder::start(app.port, "small-key", &sound, directory.path());
    app.wait_for_stream("small", "live", is_live);
    let picture = format!("{PICTURE} {H264}");
    let large = Encoder::start(app.port, "large-key", &picture, directory.path());
    let ended = |s: &serde_json::Value| s["state"] == "ended";
    let stream = app.wait_for_stream("large", "the end", ended);
    let sent = large.sent.clone();
    large.fail();

    let end = &stream["end"];
    assert_eq!(stream["is_complete"], false);
    assert_eq!(end["is_complete"], false);
    assert_eq!(end["clean"], false);
    let reason = end["reason"].as_str().unwrap();
    assert!(reason.contains("File too large"), "{reason}");
    assert_eq!(end["file_bytes"], LIMIT);
    let expected = end["expected_bytes"].as_u64().unwrap();
    assert!(expected > LIMIT, "{expected}");
    let missing = end["missing"].as_str().unwrap();
    let bytes = format!("the file has {LIMIT} bytes of {expected}");
    assert!(missing.contains(&bytes), "{missing}");
    let errors = app
        .log()
        .into_iter()
        .filter(|l| l.contains("ERROR large: "));
    let errors = errors.collect::<Vec<_>>().join("\n");
    for part in ["File too large", "is not complete: ", &bytes] {
        assert!(errors.contains(part), "no {part}: {errors}");
    }
    let rules = Rules {
        prefix: true,
        ..Rules::default()
    };
    let recorded = read_prefix(&app.recordings("large")[0]);
    assert!(recorded.len() > 10);
    let comparison = compare(&read_prefix(&sent), &recorded, rules);
    assert!(comparison.is_same(), "{comparison}");

    assert_eq!(app.stream("small").unwrap()["state"], "live");
    let sent = small.interrupt();
    let stream = app.wait_for_stream("small", "the end", ended);
    assert_eq!(stream["is_complete"], true);
    assert_eq!(stream["end"]["missing"], serde_json::Value::Null);
    assert_same(&sent, &app.recorded("small"));
    assert!(app.interrupt().success());
}

#[test]
fn what_is_wrong_at_the_start_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let complaint = |port| {
        let mut command = App::command(directory.path(), port);
        let finished = Process::spawn(&mut command).unwrap();
        let finished = finished.wait(DEADLINE).unwrap();
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        finished.stderr
    };
    assert!(complaint(0).contains("can't read the keys file"));
    std::fs::write(directory.path().join("keys"), "one\n").unwrap();
    assert!(complaint(0).contains("line 1 is not a name and a key"));
    std::fs::write(directory.path().join("keys"), "one key\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = complaint(taken.local_addr().unwrap().port());
    assert!(error.contains("Address already in use"), "{error}");
}

fn signal(process: &Process, signal: libc::c_int) {
    let id = libc::pid_t::try_from(process.id()).unwrap();
    // SAFETY: the child was not reaped, so the id is its own.
    assert_eq!(unsafe { libc::kill(id, signal) }, 0);
}
