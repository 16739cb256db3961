//! The real OBS Studio, with a scene of its own on a screen that nobody sees.
//!
//! Not among the tests that run by default, for it wants half a gigabyte of packages: `make test-obs` installs them.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use support::certificates::Identity;
use support::flv::{self, Kind, Rules};
use support::pipeline::Recording;
use support::process::Process;
use support::recorder::Recorder;
use support::wire;

const DEADLINE: Duration = Duration::from_secs(60);

/// A screen in memory.
struct Screen {
    server: Child,
    display: String,
}

impl Screen {
    fn new() -> Screen {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("Xvfb");
        command
            .args("-screen 0 1280x800x24 -nolisten tcp -displayfd".split(' '))
            .arg(writer.as_raw_fd().to_string())
            .stderr(Stdio::null());
        keep_open(&mut command, writer.as_raw_fd());
        let server = command.spawn().expect("Xvfb, of the package xvfb");
        drop(writer);
        // Written when it can be connected to.
        let mut number = String::new();
        BufReader::new(reader).read_line(&mut number).unwrap();
        Screen {
            server,
            display: format!(":{}", number.trim()),
        }
    }

    /// Takes a picture of it.
    fn shoot(&self, file: &Path) {
        let mut command = Command::new("ffmpeg");
        command
            .args("-v error -y -f x11grab -video_size 1080x730 -i".split(' '))
            .arg(&self.display)
            .args("-frames:v 1".split(' '))
            .arg(file);
        let shot = Process::spawn(&mut command).unwrap().wait(DEADLINE);
        shot.unwrap().expect_success("ffmpeg").unwrap();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has no other way to end.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Lets a descriptor pass into the program that `command` runs.
fn keep_open(command: &mut Command, descriptor: i32) {
    use std::os::unix::process::CommandExt;
    // SAFETY: fcntl is async-signal-safe, and is all that is called between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::fcntl(descriptor, libc::F_SETFD, 0) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

/// OBS, set up to stream to `service` for five seconds as soon as it has started.
fn start_obs(home: &Path, screen: &Screen, service: serde_json::Value) -> Process {
    start_obs_trusting(None, home, screen, service)
}

/// The same with a directory of authorities instead of the system's.
fn start_obs_trusting(
    trusted: Option<&Path>,
    home: &Path,
    screen: &Screen,
    service: serde_json::Value,
) -> Process {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/obs");
    let configuration = home.join("obs-studio");
    let profile = configuration.join("basic/profiles/Test");
    let scenes = configuration.join("basic/scenes");
    fs::create_dir_all(&profile).unwrap();
    fs::create_dir_all(&scenes).unwrap();
    fs::copy(own.join("global.ini"), configuration.join("global.ini")).unwrap();
    fs::copy(own.join("basic.ini"), profile.join("basic.ini")).unwrap();
    let service = json!({ "type": "rtmp_custom", "settings": service });
    fs::write(profile.join("service.json"), service.to_string()).unwrap();
    let scene = scene(own.join("scene.lua"));
    fs::write(scenes.join("Test.json"), scene.to_string()).unwrap();
    let mut command = match trusted {
        None => Command::new("obs"),
        Some(authorities) => {
            // It knows no other place for them: a mount of its own lies over it.
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-c"])
                .arg(r#"mount --bind "$0" /etc/ssl/certs && exec obs "$@""#)
                .arg(authorities);
            command
        }
    };
    Process::spawn(
        command
            .args("--multi --startstreaming --collection Test --profile Test".split(' '))
            .args("--disable-updater --disable-missing-files-check".split(' '))
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .env("DISPLAY", &screen.display)
            .env("LIBGL_ALWAYS_SOFTWARE", "1"),
    )
    .expect("obs, of the package obs-studio")
}

fn scene(script: PathBuf) -> serde_json::Value {
    let item = |name, id, x, y| {
        json!({ "name": name, "id": id, "visible": true, "align": 5, "bounds_type": 0,
            "pos": { "x": x, "y": y }, "scale": { "x": 1.0, "y": 1.0 } })
    };
    json!({
        "name": "Test", "current_scene": "Scene", "current_program_scene": "Scene",
        "scene_order": [{ "name": "Scene" }],
        "modules": { "scripts-tool": [{ "path": script, "settings": {} }] },
        "sources": [
            { "name": "Colour", "id": "color_source", "versioned_id": "color_source_v3",
                "settings": { "width": 640, "height": 360, "color": 0xFF80_4000u32 } },
            { "name": "Clock", "id": "text_ft2_source", "versioned_id": "text_ft2_source_v2",
                "settings": { "text": "", "font": { "face": "DejaVu Sans", "size": 48, "style": "Book", "flags": 0 } } },
            { "name": "Scene", "id": "scene", "settings": { "id_counter": 2, "custom_size": false,
                "items": [item("Colour", 1, 0.0, 0.0), item("Clock", 2, 40.0, 150.0)] } },
        ],
    })
}

/// Ends OBS, which goes on when its stream has ended, and returns its log.
fn log_of(mut obs: Process) -> String {
    obs.kill();
    obs.wait(DEADLINE).unwrap().stdout
}

fn number_after(log: &str, text: &str) -> Option<usize> {
    let (_, rest) = log.split_once(text)?;
    let digits = rest
        .trim_start()
        .split(|c: char| !c.is_ascii_digit())
        .next()?;
    digits.parse().ok()
}

#[test]
fn obs_is_recorded_frame_by_frame() {
    let directory = tempfile::tempdir().unwrap();
    let recording =
        Recording::start(directory.path(), "application=live stream-key=obs-key").unwrap();
    let recorder = Recorder::start(recording.address());
    let screen = Screen::new();
    let server = format!("rtmp://127.0.0.1:{}/live", recorder.port());
    let service = json!({ "server": server, "key": "obs-key", "use_auth": false });
    let obs = start_obs(directory.path(), &screen, service);
    recording.wait_for_counter("video-tags", 60).unwrap();
    if let Some(picture) = std::env::var_os("RTMP2SERVER_OBS_PICTURE") {
        screen.shoot(Path::new(&picture));
    }
    let wire = recorder.wait_for_end(0, DEADLINE).unwrap();
    let captured = recording.finish_within(DEADLINE).unwrap();
    let sent = wire::tags(&wire.bytes).unwrap();
    let comparison = flv::compare(&sent, &captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
    // And by OBS's own count.
    let log = log_of(obs);
    let frames = captured.iter().filter(|tag| tag.is_video_frame()).count();
    assert_eq!(
        number_after(&log, "Total frames output:"),
        Some(frames),
        "{log}"
    );
    assert!(frames > 100, "{frames}");
}

/// OBS's log of a stream that `properties` turn away. It gives up by itself, and its window says why.
fn refused(properties: &str, service: impl Fn(u16) -> serde_json::Value) -> String {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), properties).unwrap();
    let screen = Screen::new();
    let obs = start_obs(directory.path(), &screen, service(recording.port()));
    let turned_away = || {
        // Who is asked for a login and has none is no failure.
        recording.counter("connections") > 0 && recording.counter("idle-connections") == 0
    };
    if let Err(error) = support::pipeline::wait_until(DEADLINE, turned_away) {
        panic!("{error}: {}", log_of(obs));
    }
    if let Some(picture) = std::env::var_os("RTMP2SERVER_OBS_REFUSED_PICTURE") {
        screen.shoot(Path::new(&picture));
    }
    assert_eq!(recording.counter("session"), 0);
    let log = log_of(obs);
    assert!(!log.contains("Streaming Start"), "{log}");
    log
}

#[test]
fn obs_says_that_the_key_is_wrong() {
    let log = refused("stream-key=right", |port| {
        let server = format!("rtmp://127.0.0.1:{port}/live");
        json!({ "server": server, "key": "wrong", "use_auth": false })
    });
    assert!(log.contains("NetStream.Publish.Denied"), "{log}");
}

/// "Use authentication" in its settings.
fn login(port: u16, password: &str) -> serde_json::Value {
    json!({
        "server": format!("rtmp://127.0.0.1:{port}/live"), "key": "obs-key",
        "use_auth": true, "username": "alice", "password": password,
    })
}

const LOGIN: &str = "username=alice password=s3cret stream-key=obs-key";

#[test]
fn obs_logs_in() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), LOGIN).unwrap();
    let recorder = Recorder::start(recording.address());
    let screen = Screen::new();
    let obs = start_obs(directory.path(), &screen, login(recorder.port(), "s3cret"));
    // The first two steps of the login are connections as well.
    let Ok(wire) = recorder.wait_for_end(2, DEADLINE) else {
        panic!("{}", log_of(obs));
    };
    let captured = recording.finish_within(DEADLINE).unwrap();
    let sent = wire::tags(&wire.bytes).unwrap();
    let comparison = flv::compare(&sent, &captured, Rules::default());
    assert!(comparison.is_same(), "{comparison}");
    let frames = captured.iter().filter(|tag| tag.is_video_frame()).count();
    let log = log_of(obs);
    let counted = number_after(&log, "Total frames output:");
    assert_eq!(counted, Some(frames), "{log}");
    assert!(frames > 100, "{frames}");
}

#[test]
fn obs_says_that_the_password_is_wrong() {
    let log = refused(LOGIN, |port| login(port, "wrong"));
    let text = "Authentication failed: wrong password";
    assert!(log.contains(text), "{log}");
}

#[test]
fn obs_says_that_the_user_is_wrong() {
    let log = refused("username=bob password=s3cret", |port| login(port, "s3cret"));
    let text = "Authentication failed: no such user";
    assert!(log.contains(text), "{log}");
}

#[test]
fn obs_says_that_a_login_is_needed() {
    let log = refused(LOGIN, |port| {
        let server = format!("rtmp://127.0.0.1:{port}/live");
        json!({ "server": server, "key": "obs-key", "use_auth": false })
    });
    assert!(log.contains("need to set pubUser"), "{log}");
}

/// What it sent can't be read on the way, so it is compared with OBS's own count, and with the pace of its encoders.
#[test]
fn obs_publishes_through_tls() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let properties = format!(
        "application=live stream-key=obs-key {}",
        identity.properties()
    );
    let recording = Recording::start(directory.path(), &properties).unwrap();
    let authorities = directory.path().join("authorities");
    fs::create_dir(&authorities).unwrap();
    fs::write(authorities.join("authority.pem"), &identity.authority_pem).unwrap();
    let screen = Screen::new();
    let server = format!("rtmps://localhost:{}/live", recording.port());
    let service = json!({ "server": server, "key": "obs-key", "use_auth": false });
    let obs = start_obs_trusting(Some(&authorities), directory.path(), &screen, service);
    let captured = match recording.finish_within(DEADLINE) {
        Ok(captured) => captured,
        Err(error) => panic!("{error}: {}", log_of(obs)),
    };
    let log = log_of(obs);
    let frames: Vec<_> = captured.iter().filter(|tag| tag.is_video_frame()).collect();
    let counted = number_after(&log, "Total frames output:");
    assert_eq!(counted, Some(frames.len()), "{log}");
    assert!(frames.len() > 100, "{}", frames.len());
    assert!(!log.contains("dropped frames"), "{log}");
    // 30 pictures a second, and 48,000 samples in frames of 1024: a lost one is a gap.
    let sound: Vec<_> = captured
        .iter()
        .filter(|tag| tag.kind == Kind::Audio && tag.body.get(1) == Some(&1))
        .collect();
    assert!(sound.len() > 150, "{}", sound.len());
    for (tags, apart) in [(frames, 33..=34), (sound, 21..=22)] {
        for pair in tags.windows(2) {
            let step = pair[1].timestamp - pair[0].timestamp;
            assert!(
                apart.contains(&step),
                "{step} ms after {}",
                pair[0].timestamp
            );
        }
    }
}

/// Who is not known to it is not given the stream.
#[test]
fn obs_does_not_trust_just_anybody() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::write_to(directory.path());
    let recording = Recording::start(directory.path(), &identity.properties()).unwrap();
    let screen = Screen::new();
    let server = format!("rtmps://localhost:{}/live", recording.port());
    let service = json!({ "server": server, "key": "obs-key", "use_auth": false });
    let obs = start_obs(directory.path(), &screen, service);
    if let Err(error) = recording.wait_for_counter("handshake-failures", 1) {
        panic!("{error}: {}", log_of(obs));
    }
    assert_eq!(recording.counter("session"), 0);
    drop(obs);
}
