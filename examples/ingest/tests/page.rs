//! The page in a real Chromium, with real encoders: it shows the streams, and their pictures move.
//!
//! Needs Chromium and what `npm ci` installs, see `make test-ingest`.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::process::Process;
use support::{App, Encoder, H264, assert_same};

const BROWSER_DEADLINE: Duration = Duration::from_secs(150);

const KEYS: &str =
    "stage-left left-key\nstage-right right-key\nterrace old-key\nbackstage unused-key\n";

#[test]
fn shows_what_is_published() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        here.join("node_modules/playwright-core").exists(),
        "run `npm ci` in {}, or `make test-ingest`",
        here.display()
    );
    let directory = tempfile::tempdir().unwrap();
    let app = App::start(directory.path(), KEYS);
    let live = |key: &str, inputs: &str, codecs: &str| {
        let arguments = format!("-re -f lavfi -i {inputs} {codecs}");
        Encoder::start(app.port, key, &arguments, directory.path())
    };
    let left = live(
        "left-key",
        "testsrc2=size=640x360:rate=30 -re -f lavfi -i sine=frequency=440 -map 0 -map 1 -c:a aac",
        H264,
    );
    let right = live("right-key", "smptehdbars=size=640x360:rate=25 -map 0", H264);
    let old = live(
        "old-key",
        "testsrc=size=320x240:rate=15 -map 0",
        "-c:v flv1 -g 30",
    );

    let mut browser = Command::new("node");
    browser
        .arg(here.join("tests/page.mjs"))
        .arg(&app.page)
        .arg(directory.path());
    if let Some(screenshot) = std::env::var_os("INGEST_SCREENSHOT") {
        browser.arg(screenshot);
    }
    let browser = Process::spawn(&mut browser).unwrap();
    let seen = browser
        .wait(BROWSER_DEADLINE)
        .and_then(|f| f.expect_success("node"));
    let seen = seen.unwrap_or_else(|error| panic!("{error}"));
    let seen: Value = serde_json::from_str(&seen.stdout).expect("JSON");

    assert_eq!(seen["complaints"], serde_json::json!([]), "of the browser");
    assert!(
        seen["summary"].as_str().unwrap().starts_with("3 of 4 live"),
        "{seen:#}"
    );
    assert_eq!(seen["waiting"], "waiting");
    for name in ["stage-left", "stage-right", "later"] {
        let video = &seen["videos"][name];
        assert_eq!(
            (&video["width"], &video["height"]),
            (&640.into(), &360.into())
        );
        let seconds = video["to"].as_f64().unwrap() - video["from"].as_f64().unwrap();
        assert!(seconds > 3.0, "{video}");
        // It decodes, and does not just count.
        assert!(video["frames"].as_u64().unwrap() > 50, "{video}");
    }
    for (name, format) in [
        ("stage-left", "H.264 640×360, 30 fps · AAC 44.1 kHz mono"),
        ("stage-right", "H.264 640×360, 25 fps"),
        ("terrace", "Sorenson H.263 320×240, 15 fps"),
    ] {
        let stream = &seen["streams"][name];
        assert_eq!(stream["badge"], "live");
        assert_eq!(stream["format"], format);
        assert_eq!(stream["verdict"], "✓ complete");
        assert!(stream["keyMarks"].as_u64() > Some(1), "{stream}");
        assert!(stream["line"].as_str().unwrap().len() > 20, "{stream}");
        let number = |part: &str| {
            let text = stream[part].as_str().unwrap().replace(',', "");
            text.parse::<u64>().unwrap()
        };
        assert!(
            number("received") >= number("pushed") && number("pushed") > 50,
            "{stream}"
        );
    }
    let notice = seen["streams"]["terrace"]["notice"].as_str().unwrap();
    assert!(notice.contains("this is Sorenson H.263"), "{notice}");

    // And with all of that going on, every tag is in the files.
    for (name, encoder) in [
        ("stage-left", left),
        ("stage-right", right),
        ("terrace", old),
    ] {
        let sent = encoder.interrupt();
        app.wait_for_stream(name, "the end", |stream| stream["state"] == "ended");
        assert_same(&sent, &app.recorded(name));
    }
    assert!(app.interrupt().success());
}

/// What the page loads is what npm has under that version.
#[test]
fn the_vendored_player_is_the_one_in_the_lock_file() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: &str| std::fs::read(here.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    for (ours, theirs) in [
        (
            "web/vendor/hls.light.min.js",
            "node_modules/hls.js/dist/hls.light.min.js",
        ),
        ("web/vendor/hls.js.LICENSE", "node_modules/hls.js/LICENSE"),
    ] {
        assert!(read(ours) == read(theirs), "{ours} is not {theirs}");
    }
}
