//! The page in a real Chromium, with real encoders: it shows the streams, and their pictures move.
//!
//! Needs Chromium and what `npm ci` installs, see `make test-ingest`.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::process::Process;
use support::{App, Encoder, H264, PICTURE, SOUND, assert_same, limit_files};

const BROWSER_DEADLINE: Duration = Duration::from_secs(150);

const KEYS: &str =
    "stage-left left-key\nstage-right right-key\nterrace old-key\nbackstage unused-key\n";

/// What a script in tests/ finds on the page. The browser has nothing to complain of.
fn look(script: &str, app: &App, directory: &Path, arguments: &[&str]) -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        here.join("node_modules/playwright-core").exists(),
        "run `npm ci` in {}, or `make test-ingest`",
        here.display()
    );
    let mut browser = Command::new("node");
    browser.arg(here.join("tests").join(script));
    browser.arg(&app.page).arg(directory).args(arguments);
    let browser = Process::spawn(&mut browser).unwrap();
    let seen = browser
        .wait(BROWSER_DEADLINE)
        .and_then(|f| f.expect_success("node"));
    let seen = seen.unwrap_or_else(|error| panic!("{error}"));
    let seen: Value = serde_json::from_str(&seen.stdout).expect("JSON");
    assert_eq!(seen["complaints"], serde_json::json!([]), "of the browser");
    seen
}

#[test]
fn shows_what_is_published() {
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

    let screenshot = std::env::var("INGEST_SCREENSHOT").ok();
    let screenshot: Vec<&str> = screenshot.iter().map(String::as_str).collect();
    let seen = look("page.mjs", &app, directory.path(), &screenshot);
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

/// Sound alone, and MP3, for which flvdemux and browsers want other parsers and containers.
#[test]
fn plays_sound_alone_and_mp3() {
    const MP3: &str = "-c:a libmp3lame -ar 44100";
    let directory = tempfile::tempdir().unwrap();
    let keys = "aac aac-key\nmp3 mp3-key\nboth both-key\n";
    let app = App::start(directory.path(), keys);
    let encoders = [
        ("aac", format!("{SOUND} -map 0 -c:a aac")),
        ("mp3", format!("{SOUND} -map 0 {MP3}")),
        ("both", format!("{SOUND} {PICTURE} -map 1 {H264} {MP3}")),
    ];
    let encoders = encoders.map(|(name, arguments)| {
        let key = format!("{name}-key");
        let encoder = Encoder::start(app.port, &key, &arguments, directory.path());
        (name, encoder)
    });
    let arguments = ["", "aac=plays", "mp3=plays", "both=plays"];
    let seen = look("cards.mjs", &app, directory.path(), &arguments);
    for (name, encoder) in encoders {
        let video = &seen["videos"][name];
        let seconds = video["to"].as_f64().unwrap() - video["from"].as_f64().unwrap();
        assert!(seconds > 3.0, "{name}: {video}");
        // Decoded, and not just counted.
        assert!(
            video["soundBytes"].as_u64() > Some(10_000),
            "{name}: {video}"
        );
        if name == "both" {
            assert!(video["frames"].as_u64() > Some(50), "{video}");
        }
        assert_eq!(seen["streams"][name]["notice"], "", "{name}");
        let sent = encoder.interrupt();
        app.wait_for_stream(name, "the end", |stream| stream["state"] == "ended");
        assert_same(&sent, &app.recorded(name));
    }
    assert!(app.interrupt().success());
}

#[test]
fn says_what_is_missing_in_a_recording() {
    const LIMIT: u64 = 300_000;
    let directory = tempfile::tempdir().unwrap();
    let keys = "large large-key\nsmall small-key\n";
    let app = App::start_with(directory.path(), keys, |c| limit_files(c, LIMIT));
    let sound = format!("{SOUND} -map 0 -c:a aac -t 1");
    Encoder::start(app.port, "small-key", &sound, directory.path()).finish();
    let endless = format!("{PICTURE} {H264}");
    Encoder::start(app.port, "large-key", &endless, directory.path()).fail();
    let arguments = ["", "large=ended", "small=ended"];
    let seen = look("cards.mjs", &app, directory.path(), &arguments);
    let (large, small) = (&seen["streams"]["large"], &seen["streams"]["small"]);
    assert_eq!(large["verdict"], "✗ missing");
    let missing = large["missing"].as_str().unwrap();
    assert!(
        missing.starts_with("not complete: ") && missing.contains("the file has 300000 bytes of "),
        "{missing}"
    );
    let file = large["file"].as_str().unwrap();
    assert!(
        file.contains("lost: ") && file.contains("File too large"),
        "{file}"
    );
    assert_eq!(small["verdict"], "✓ complete");
    assert_eq!(small["missing"], "");
    assert!(app.interrupt().success());
}

/// An encoder may tell half of what its stream is. No encoder at hand does, so the server's words are made up.
#[test]
fn says_nothing_of_what_is_not_known() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::start(directory.path(), "one key\n");
    let stream = |name: &str, known: Value| {
        let mut figures = serde_json::json!({
            "received": 1, "pushed": 1, "queued": 0, "withheld": 0, "bytes": 1, "bitrate": 1,
            "video_codec": null, "width": null, "height": null, "framerate": null,
            "audio_codec": null, "audio_rate": null, "audio_channels": null,
            "encoder": null, "remote_address": null,
        });
        let figures_of_it = figures.as_object_mut().unwrap();
        figures_of_it.extend(known.as_object().unwrap().clone());
        serde_json::json!({
            "name": name, "state": "live", "id": 1, "file": "f.flv", "seconds": 1, "is_complete": true,
            "figures": figures, "history": [], "preview": { "state": "starting" }, "end": null,
        })
    };
    let aac = "AAC";
    let events = serde_json::json!([
        stream(
            "rate",
            serde_json::json!({ "audio_codec": aac, "audio_rate": 48000 })
        ),
        stream(
            "channels",
            serde_json::json!({ "audio_codec": aac, "audio_channels": 6 })
        ),
        stream(
            "width",
            serde_json::json!({ "video_codec": "H.264", "width": 640 })
        ),
        stream("nothing", serde_json::json!({})),
    ]);
    let arguments = [
        &events.to_string(),
        "rate=live",
        "channels=live",
        "width=live",
        "nothing=live",
    ];
    let seen = look("cards.mjs", &app, directory.path(), &arguments);
    let format = |name: &str| seen["streams"][name]["format"].as_str().unwrap().to_owned();
    assert_eq!(format("rate"), "AAC 48 kHz");
    assert_eq!(format("channels"), "AAC 6 channels");
    assert_eq!(format("width"), "H.264");
    assert_eq!(format("nothing"), "");
    assert!(!seen.to_string().contains("null "), "{seen}");
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
