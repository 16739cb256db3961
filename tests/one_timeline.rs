//! Two real encoders, one after the other, in one file: a single recording with one timeline, or with
//! `timestamp-mode=passthrough` every time as it was sent.

mod support;

use std::path::Path;
use std::process::Command;

use support::flv::{Kind, Tag};
use support::pipeline::Recording;
use support::playback::{frames, publish};
use support::process::Process;
use support::publishers::DEADLINE;

/// ffmpeg ends its video with it; with `loop` it stays out.
const END_OF_SEQUENCE: &[u8] = &[0x17, 2];

fn without_end_of_sequence(sent: Vec<Tag>) -> Vec<Tag> {
    let count = sent.len();
    let is_end = |tag: &Tag| tag.kind == Kind::Video && tag.body.starts_with(END_OF_SEQUENCE);
    let kept: Vec<Tag> = sent.into_iter().filter(|tag| !is_end(tag)).collect();
    assert_eq!(kept.len(), count - 1);
    kept
}

/// What each of two encoders sent, and the recording. The second one's times begin at `start` seconds.
fn record(directory: &Path, properties: &str, start: &str) -> ([Vec<Tag>; 2], Vec<Tag>) {
    let recording = Recording::start(directory, &format!("loop=true {properties}")).unwrap();
    let sent = ["0", start].map(|start| {
        let publisher = publish(recording.port(), directory, start);
        without_end_of_sequence(publisher.finish().unwrap())
    });
    recording
        .wait_for_counter("withheld-end-of-sequence", 2)
        .unwrap();
    assert_eq!(recording.counter("withheld"), 2);
    recording.send_eos();
    (sent, recording.finish().unwrap())
}

fn is_frame(tag: &&Tag) -> bool {
    frames(std::slice::from_ref(*tag), tag.kind) == 1
}

fn run(command: &str, file: &Path) -> String {
    let mut words = command.split_ascii_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    for word in words {
        match word {
            "FILE" => command.arg(file),
            word => command.arg(word),
        };
    }
    let process = Process::spawn(&mut command).unwrap();
    let finished = process.wait(DEADLINE).unwrap();
    let finished = finished.expect_success("the reader").unwrap();
    format!("{}{}", finished.stdout, finished.stderr)
}

fn on_one_timeline(start: &str) {
    let directory = tempfile::tempdir().unwrap();
    let ([first, second], recorded) = record(directory.path(), "", start);

    // The first keeps everything.
    let (a, b) = recorded.split_at(first.len());
    assert!(a == first);

    // The second is moved as a whole, to where the first ends or later.
    let bodies = |tags: &[Tag]| -> Vec<(Kind, Vec<u8>)> {
        let tags = tags.iter();
        tags.map(|tag| (tag.kind, tag.body.clone())).collect()
    };
    assert!(bodies(b) == bodies(&second));
    let pairs = b.iter().zip(&second).filter(|(tag, _)| is_frame(tag));
    let mut offsets: Vec<i64> = pairs
        .map(|(placed, sent)| i64::from(placed.timestamp) - i64::from(sent.timestamp))
        .collect();
    assert!(offsets.len() > 140);
    offsets.dedup();
    assert_eq!(offsets.len(), 1, "{offsets:?}");
    // Sequence headers, sent as of 0, have their place right before the frames; metadata stays at 0.
    assert_eq!((b[0].kind, b[0].timestamp), (Kind::Script, 0));
    let media = |tags: &[Tag]| -> Vec<u32> {
        let media = tags.iter().filter(|tag| tag.kind != Kind::Script);
        media.map(|tag| tag.timestamp).collect()
    };
    assert!(media(&recorded).is_sorted());
    assert_eq!(media(&recorded).len(), recorded.len() - 2);
    assert!(media(a).last() < media(b).first());

    // As others see it.
    let file = directory.path().join("output.flv");
    // In milliseconds, as they are: else ffmpeg rounds to a frame rate, which it guesses, and the pause is in it.
    let complaints = run(
        "ffmpeg -nostdin -v warning -i FILE -map 0 -fps_mode passthrough -enc_time_base 1/1000 -f null -",
        &file,
    );
    assert_eq!(complaints, "");
    for (stream, kind) in [("v:0", Kind::Video), ("a:0", Kind::Audio)] {
        let counted = run(
            &format!(
                "ffprobe -v error -count_frames -select_streams {stream} \
                 -show_entries stream=nb_read_frames -of csv=p=0 FILE"
            ),
            &file,
        );
        let sent = frames(&first, kind) + frames(&second, kind);
        assert_eq!(counted.trim(), sent.to_string(), "{kind}");
    }
}

#[test]
fn the_second_starts_at_zero() {
    on_one_timeline("0");
}

#[test]
fn the_second_goes_on_counting() {
    on_one_timeline("2");
}

#[test]
fn the_second_steps_back() {
    on_one_timeline("1.96");
}

#[test]
fn passthrough_keeps_every_time() {
    for start in ["0", "1.96"] {
        let directory = tempfile::tempdir().unwrap();
        let properties = "timestamp-mode=passthrough";
        let (sent, recorded) = record(directory.path(), properties, start);
        assert!(recorded == sent.concat(), "{start}");
    }
}
