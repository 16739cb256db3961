//! Tests of the tests: the FLV reader, the comparison, the proxy, and what publishers are believed to send.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sha1::{Digest, Sha1};
use support::flv::{self, Kind, Rules, Tag};
use support::process::Process;
use support::publishers::{self, Ffmpeg, GstSink, Publisher};
use support::recorder::{End, Recorder};
use support::reference_server::ReferenceServer;
use support::wire;

const DEADLINE: Duration = Duration::from_secs(20);

fn tag(kind: Kind, timestamp: u32, body: &[u8]) -> Tag {
    Tag {
        kind,
        timestamp,
        body: body.to_vec(),
    }
}

fn file_of(tags: &[Tag]) -> Vec<u8> {
    let mut file = flv::FILE_HEADER.to_vec();
    for tag in tags {
        let id = match tag.kind {
            Kind::Audio => 8,
            Kind::Video => 9,
            Kind::Script => 18,
        };
        let size = (tag.body.len() as u32).to_be_bytes();
        let time = tag.timestamp.to_be_bytes();
        file.push(id);
        file.extend_from_slice(&size[1..]);
        file.extend_from_slice(&[time[1], time[2], time[3], time[0], 0, 0, 0]);
        file.extend_from_slice(&tag.body);
        file.extend_from_slice(&(11 + tag.body.len() as u32).to_be_bytes());
    }
    file
}

fn some_tags() -> Vec<Tag> {
    vec![
        tag(Kind::Script, 0, b"\x02\x00\x0aonMetaData"),
        tag(Kind::Video, 0, b"\x17\x00config"),
        tag(Kind::Audio, 0x0123_4567, b""),
        tag(Kind::Video, u32::MAX, b"\x27\x01picture"),
    ]
}

#[test]
fn flv_reader_reads_what_was_written() {
    let tags = some_tags();
    assert_eq!(flv::parse(&file_of(&tags)).unwrap(), tags);
}

#[test]
fn flv_reader_finds_every_fault() {
    let whole = file_of(&some_tags());
    for cut in 14..whole.len() {
        let (tags, end) = flv::parse_prefix(&whole[..cut]).unwrap();
        assert_eq!(tags, some_tags()[..tags.len()]);
        assert_eq!(
            flv::parse(&whole[..cut]).is_ok(),
            end == cut,
            "cut at {cut}"
        );
    }
    let first_tag = flv::FILE_HEADER.len();
    // Signature, version, reserved flag, header size, PreviousTagSize0; tag type, body size, stream id, PreviousTagSize.
    let last = whole.len() - 1;
    for place in [
        0,
        3,
        4,
        8,
        12,
        first_tag,
        first_tag + 3,
        first_tag + 10,
        last,
    ] {
        let mut broken = whole.clone();
        broken[place] ^= 0x40;
        assert!(
            flv::parse(&broken).is_err(),
            "byte {place} is wrong and nobody noticed"
        );
    }
}

#[test]
fn comparison_sees_any_difference() {
    let sent = some_tags();
    let strict = Rules::default();
    assert!(flv::compare(&sent, &sent, strict).is_same());

    for place in 0..sent.len() {
        let mut shorter = sent.clone();
        shorter.remove(place);
        for (sent, captured) in [(&sent, &shorter), (&shorter, &sent)] {
            let comparison = flv::compare(sent, captured, strict);
            let found = (comparison.identical, comparison.differences.len());
            assert_eq!(found, (shorter.len(), 1), "{comparison}");
        }
    }
    let mut swapped = sent.clone();
    swapped.swap(1, 2);
    assert!(!flv::compare(&sent, &swapped, strict).is_same());
    let mut changed = sent.clone();
    changed[3].body[2] ^= 1;
    let comparison = flv::compare(&sent, &changed, strict);
    assert_eq!(comparison.identical, 3);
    assert!(comparison.differences[0].contains("tag 3"), "{comparison}");
    let mut late = sent.clone();
    late[1].timestamp += 1;
    assert!(!flv::compare(&sent, &late, strict).is_same());

    let prefix = Rules {
        prefix: true,
        ..strict
    };
    assert!(flv::compare(&sent, &sent[..2], prefix).is_same());
    assert!(!flv::compare(&sent[..2], &sent, prefix).is_same());
    let ignore_script = Rules {
        ignore_script: true,
        ..strict
    };
    assert!(flv::compare(&sent, &sent[1..], ignore_script).is_same());
}

#[test]
fn a_process_is_bounded_in_time_and_speaks() {
    let quick =
        Process::spawn(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
    let finished = quick.wait(DEADLINE).unwrap();
    assert_eq!(finished.status.code(), Some(3));
    assert_eq!(
        (finished.stdout.as_str(), finished.stderr.as_str()),
        ("out\n", "err\n")
    );

    let endless = Process::spawn(Command::new("sleep").arg("1000")).unwrap();
    let pid = endless.id();
    assert!(
        endless
            .wait(Duration::from_millis(20))
            .err()
            .unwrap()
            .contains("did not end")
    );
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "still running"
    );

    let dropped = Process::spawn(Command::new("sleep").arg("1000")).unwrap();
    let pid = dropped.id();
    drop(dropped);
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "still running"
    );
}

/// A server that reads to the end, then sends back all it got and closes; `join` tells how the reading ended.
fn echo_at_end() -> (
    std::net::SocketAddr,
    std::thread::JoinHandle<(Vec<u8>, bool)>,
) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let orderly = client.read_to_end(&mut bytes).is_ok();
        if orderly {
            client.write_all(&bytes).unwrap();
        }
        (bytes, orderly)
    });
    (address, server)
}

#[test]
fn recorder_forwards_both_directions_and_a_half_close() {
    let (address, server) = echo_at_end();
    let recorder = Recorder::start(address);
    let message: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 / 3) as u8).collect();

    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, recorder.port())).unwrap();
    client.write_all(&message).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();

    let recording = recorder.wait_for_end(0, DEADLINE).unwrap();
    let (received, orderly) = server.join().unwrap();
    assert!(orderly);
    assert!(received == message && answer == message && recording.bytes == message);
    assert_eq!(recording.end, Some(End::Closed));
}

#[test]
fn recorder_forwards_a_reset_behind_the_data() {
    let (address, server) = echo_at_end();
    let recorder = Recorder::start(address);
    let message = vec![42; 100_000];

    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, recorder.port())).unwrap();
    client.write_all(&message).unwrap();
    recorder
        .wait_for(0, DEADLINE, |recording| {
            recording.bytes.len() == message.len()
        })
        .unwrap();
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);

    let recording = recorder.wait_for_end(0, DEADLINE).unwrap();
    let (received, orderly) = server.join().unwrap();
    assert!(!orderly, "the server saw an orderly end");
    assert!(received == message && recording.bytes == message);
    assert_eq!(recording.end, Some(End::Reset));
}

#[test]
fn recorder_ends_with_connections_open() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let recorder = Recorder::start(listener.local_addr().unwrap());
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, recorder.port())).unwrap();
    client.write_all(b"hello").unwrap();
    recorder
        .wait_for(0, DEADLINE, |recording| recording.bytes == b"hello")
        .unwrap();
    drop(recorder);
}

/// Lets a publisher publish to the reference server, and compares what passed on the wire with what it says it sent.
fn check_truth(publish: impl FnOnce(u16, &Path) -> Result<Publisher, String>) -> Vec<Tag> {
    let directory = tempfile::tempdir().unwrap();
    let server = ReferenceServer::start();
    let recorder = Recorder::start(server.address());
    let publisher = publish(recorder.port(), directory.path()).unwrap();
    let sent = publisher.finish().unwrap();
    let recording = recorder.wait_for_end(0, DEADLINE).unwrap();
    let on_the_wire = wire::tags(&recording.bytes).unwrap();
    let comparison = flv::compare(&sent, &on_the_wire, Rules::default());
    assert!(comparison.is_same() && !sent.is_empty(), "{comparison}");
    sent
}

fn count(tags: &[Tag], kind: Kind) -> usize {
    tags.iter().filter(|tag| tag.kind == kind).count()
}

#[test]
fn truth_of_ffmpeg_live_video() {
    let sent = check_truth(|port, directory| Ffmpeg::LiveVideo.publish(port, directory));
    assert_eq!(sent.iter().filter(|tag| tag.is_video_frame()).count(), 30);
    assert_eq!(count(&sent, Kind::Script), 1);
}

#[test]
fn truth_of_ffmpeg_audio_and_video() {
    let sent = check_truth(|port, directory| Ffmpeg::AudioAndVideo.publish(port, directory));
    assert_eq!(sent.iter().filter(|tag| tag.is_video_frame()).count(), 60);
    assert!(count(&sent, Kind::Audio) > 80);
}

#[test]
fn truth_of_ffmpeg_b_frames() {
    let sent = check_truth(|port, directory| Ffmpeg::BFrames.publish(port, directory));
    let composition_time = |tag: &&Tag| tag.is_video_frame() && tag.body[2..5] != [0; 3];
    assert!(
        sent.iter().filter(composition_time).count() > 20,
        "hardly a B frame"
    );
}

#[test]
fn truth_of_ffmpeg_audio_only() {
    let sent = check_truth(|port, directory| Ffmpeg::AudioOnly.publish(port, directory));
    assert_eq!(count(&sent, Kind::Video), 0);
    assert!(count(&sent, Kind::Audio) > 160);
}

#[test]
fn truth_of_ffmpeg_burst() {
    let directory = tempfile::tempdir().unwrap();
    let file = publishers::write_burst_file(directory.path()).unwrap();
    let sent = check_truth(|port, directory| Ffmpeg::Copy(file).publish(port, directory));
    let bytes: usize = sent.iter().map(|tag| tag.body.len()).sum();
    assert!(
        sent.len() >= 400 && bytes >= 13_000_000,
        "{} tags, {bytes} bytes",
        sent.len()
    );
}

#[test]
fn truth_of_ffmpeg_late_start() {
    let sent = check_truth(|port, directory| Ffmpeg::LateStart.publish(port, directory));
    // The step to the first of these cannot be told in 24 bits, be it sent as a time or as a difference.
    let late = sent.iter().find(|tag| tag.is_video_frame()).unwrap();
    assert!(late.timestamp > 0xff_ffff, "{late}");
    let largest = sent.iter().map(|tag| tag.body.len()).max().unwrap();
    assert!(
        largest > 2 * 65536,
        "no message takes several chunks of 64 KiB: {largest}"
    );
}

#[test]
fn truth_of_rtmp2sink() {
    for chunk_size in [128, 65536] {
        let sent = check_truth(|port, directory| {
            GstSink::Rtmp2Sink { chunk_size }.publish(port, directory)
        });
        assert_eq!(sent.iter().filter(|tag| tag.is_video_frame()).count(), 60);
    }
}

#[test]
fn truth_of_rtmpsink() {
    let sent = check_truth(|port, directory| GstSink::RtmpSink.publish(port, directory));
    assert_eq!(sent.iter().filter(|tag| tag.is_video_frame()).count(), 60);
}

#[test]
fn recorded_streams_read_by_another_crate_hold_the_listed_tags() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let names: Vec<String> = std::fs::read_dir(&fixtures)
        .unwrap()
        .filter_map(|entry| {
            Some(
                entry
                    .unwrap()
                    .file_name()
                    .to_str()?
                    .strip_suffix(".json")?
                    .to_string(),
            )
        })
        .collect();
    assert!(!names.is_empty());
    let faults: Vec<String> = names
        .iter()
        .filter_map(|name| {
            check_fixture(&fixtures, name)
                .err()
                .map(|fault| format!("{name}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check_fixture(fixtures: &Path, name: &str) -> Result<(), String> {
    let description = std::fs::read(fixtures.join(format!("{name}.json"))).unwrap();
    let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
    for connection in description["connections"].as_array().unwrap() {
        let file = connection["file"].as_str().unwrap();
        let tags = wire::tags(&std::fs::read(fixtures.join(file)).unwrap())?;
        let found: Vec<_> = tags
            .iter()
            .filter(|tag| tag.kind != Kind::Script)
            .map(fingerprint)
            .collect();
        let listed: Vec<_> = connection["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(listed_fingerprint)
            .collect();
        if listed.is_empty() {
            return Err(format!("{file}: no tags are listed"));
        }
        if let Some(place) = found
            .iter()
            .zip(&listed)
            .position(|(found, listed)| found != listed)
        {
            return Err(format!(
                "{file}: tag {place} is {:?}, listed {:?}",
                found[place], listed[place]
            ));
        }
        if found.len() != listed.len() {
            return Err(format!(
                "{file}: {} tags, {} listed",
                found.len(),
                listed.len()
            ));
        }
    }
    Ok(())
}

/// Type, time, length and the start of the SHA-1 of the body, as the fixtures list them.
type Fingerprint = (u64, u64, u64, String);

fn fingerprint(tag: &Tag) -> Fingerprint {
    let type_id = if tag.kind == Kind::Audio { 8 } else { 9 };
    let sha1: String = Sha1::digest(&tag.body)[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (type_id, tag.timestamp.into(), tag.body.len() as u64, sha1)
}

fn listed_fingerprint(tag: &serde_json::Value) -> Fingerprint {
    let number = |key: &str| tag[key].as_u64().unwrap();
    (
        number("type"),
        number("ts"),
        number("len"),
        tag["sha1_16"].as_str().unwrap().to_string(),
    )
}
