//! Recorded encoders, replayed: what comes out is what they sent.

mod core_support;

use core_support::{Rng, Seen, Server, answers, cut};
use gstrtmp2server::rtmp::{MediaKind, UnpublishReason};
use serde_json::Value;
use sha1::{Digest, Sha1};

const CUTTINGS: u64 = 50;

/// One recorded connection and what it is known to hold.
struct Recording {
    name: String,
    bytes: Vec<u8>,
    app: String,
    key: String,
    commands: Vec<(String, f64)>,
    script: Vec<Known>,
    tags: Vec<Known>,
}

/// A message as the listing describes it.
#[derive(Debug, PartialEq)]
struct Known {
    kind: MediaKind,
    time: u32,
    length: usize,
    hash: String,
}

fn recordings() -> Vec<Recording> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut listings: Vec<_> = std::fs::read_dir(folder)
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    listings.sort();
    let recordings: Vec<_> = listings
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a listing");
            let listing: Value = serde_json::from_str(&text).expect("JSON");
            let connections = list(&listing["connections"]).to_vec();
            connections
                .into_iter()
                .map(move |connection| recording(folder, &listing, &connection))
        })
        .collect();
    assert_eq!(recordings.len(), 21, "a fixture is missing");
    recordings
}

fn recording(folder: &str, listing: &Value, connection: &Value) -> Recording {
    let file = string(&connection["file"]);
    let bytes = std::fs::read(format!("{folder}/{file}")).expect("a recording");
    assert_eq!(connection["bytes"], bytes.len());
    assert_eq!(connection["unfinished_tail"], 0);
    let commands = list(&connection["commands"]).iter();
    Recording {
        name: file,
        bytes,
        app: string(&listing["app"]),
        key: string(&listing["key"]),
        commands: commands
            .map(|c| (string(&c[0]), c[1].as_f64().expect("a number")))
            .collect(),
        script: list(&connection["script"])
            .iter()
            .map(|s| known(MediaKind::Script, s))
            .collect(),
        tags: list(&connection["tags"])
            .iter()
            .map(|tag| match tag["type"].as_u64() {
                Some(8) => known(MediaKind::Audio, tag),
                Some(9) => known(MediaKind::Video, tag),
                other => panic!("a tag of type {other:?}"),
            })
            .collect(),
    }
}

fn known(kind: MediaKind, entry: &Value) -> Known {
    let number = |name: &str| entry[name].as_u64().expect("a number");
    Known {
        kind,
        time: number("ts") as u32,
        length: number("len") as usize,
        hash: string(&entry["sha1_16"]),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn describe(kind: MediaKind, time: u32, body: &[u8]) -> Known {
    let digest = Sha1::digest(body);
    let hash = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    Known {
        kind,
        time,
        length: body.len(),
        hash,
    }
}

/// The AMF0 string that the listing's script messages still have in front.
const SET_DATA_FRAME: &[u8] = b"\x02\0\x0d@setDataFrame";

impl Recording {
    fn ends_with(&self) -> Option<UnpublishReason> {
        self.commands
            .iter()
            .find_map(|(name, _)| match name.as_str() {
                "FCUnpublish" => Some(UnpublishReason::FcUnpublish),
                "deleteStream" => Some(UnpublishReason::DeleteStream),
                "closeStream" => Some(UnpublishReason::CloseStream),
                _ => None,
            })
    }

    /// The answers to its commands, in order.
    fn answers(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut streams = 0;
        let mut publishing = false;
        // The message stream of the publish command; each was told to take 1.
        let stream = match self.name.as_str() {
            "client-rs-rtmp_rs.bin" => 0,
            "client-rs-shiguredo.bin" => 2,
            _ => 1,
        };
        for (name, id) in &self.commands {
            let result = (*id != 0.0).then(|| format!("_result {id}"));
            match name.as_str() {
                "connect" => lines.extend([
                    "window 2500000".to_owned(),
                    "bandwidth 2500000".to_owned(),
                    "chunk size 65536".to_owned(),
                    format!("_result {id} NetConnection.Connect.Success"),
                ]),
                "createStream" => {
                    streams += 1;
                    lines.push(format!("_result {id} = {streams}"));
                }
                "FCPublish" => {
                    lines.push("onFCPublish 0 NetStream.Publish.Start".to_owned());
                    lines.extend(result);
                }
                "publish" => {
                    publishing = true;
                    lines.push(format!("begin {stream}"));
                    lines.push(format!("onStatus NetStream.Publish.Start on {stream}"));
                }
                "FCUnpublish" | "deleteStream" if publishing => {
                    publishing = false;
                    lines.push(format!("onStatus NetStream.Unpublish.Success on {stream}"));
                }
                "FCUnpublish" | "deleteStream" => {}
                "releaseStream" => lines.extend(result),
                other => panic!("{other} is new here"),
            }
        }
        lines
    }

    /// Checks what came of the recording against its listing.
    fn check(&self, server: &Server) {
        let Self { name, .. } = self;
        let mut phases = Vec::new();
        let (mut tags, mut scripts) = (Vec::new(), Vec::new());
        for seen in &server.seen {
            let Seen::Media(tag) = seen else {
                phases.push(seen.clone());
                continue;
            };
            assert_eq!(phases.len(), 2, "{name}: media outside the publication");
            if tag.kind == MediaKind::Script {
                scripts.push(tag);
            } else {
                tags.push(describe(tag.kind, tag.time, &tag.body));
            }
        }
        let (app, key) = (self.app.clone(), self.key.clone());
        let mut expected = vec![
            Seen::Connected { app: app.clone() },
            Seen::Publish { app, key },
        ];
        expected.extend(self.ends_with().map(Seen::Unpublish));
        assert_eq!(phases, expected, "{name}");
        assert!(tags == self.tags, "{name}: other tags than sent");

        assert_eq!(scripts.len(), self.script.len(), "{name}");
        for (script, known) in scripts.iter().zip(&self.script) {
            let bare = describe(script.kind, script.time, &script.body);
            let wrapped = [SET_DATA_FRAME, &script.body].concat();
            let wrapped = describe(script.kind, script.time, &wrapped);
            assert!(bare == *known || wrapped == *known, "{name}: {bare:?}");
            assert!(script.body.starts_with(b"\x02\0\x0aonMetaData"), "{name}");
        }
        assert_eq!(server.left(), b"", "{name}");
        // None of the recordings reaches its window, and most announce none, so
        // the list has no Acknowledgement.
        assert_eq!(answers::lines(&server.sent), self.answers(), "{name}");
        let counters = server.session.counters();
        assert_eq!(counters.in_bytes_total, self.bytes.len() as u64, "{name}");
        assert_eq!(counters.stray_media, 0, "{name}");
        assert_eq!(counters.ignored_messages, 0, "{name}");
        assert_eq!(counters.restarted_messages, 0, "{name}");
    }
}

#[test]
fn whole() {
    for recording in recordings() {
        recording.check(&Server::fed([&recording.bytes[..]]));
    }
}

#[test]
fn byte_by_byte() {
    for recording in recordings() {
        recording.check(&Server::fed(recording.bytes.chunks(1)));
    }
}

#[test]
fn at_random_splits() {
    for recording in recordings() {
        let whole = Server::fed([&recording.bytes[..]]);
        for seed in 0..CUTTINGS {
            let pieces = cut(&recording.bytes, &mut Rng(seed));
            let server = Server::fed(pieces);
            assert!(
                server.seen == whole.seen && server.sent == whole.sent,
                "{}, cutting {seed}",
                recording.name
            );
        }
    }
}

/// What arrived whole is there however early the connection breaks off.
#[test]
fn cut_off() {
    for recording in recordings() {
        let whole = Server::fed([&recording.bytes[..]]);
        let mut rng = Rng(1);
        for _ in 0..10 {
            let end = rng.below(recording.bytes.len());
            let server = Server::fed([&recording.bytes[..end]]);
            assert!(whole.seen.starts_with(&server.seen), "{}", recording.name);
            assert!(server.failed().is_none(), "{}", recording.name);
        }
    }
}

/// The recordings' windows are larger than the recordings, so their announcement
/// is changed to a small one here.
#[test]
fn one_acknowledgement_per_window() {
    const WINDOW: u32 = 10_000;
    let mut with_window = 0;
    for mut recording in recordings() {
        let announcements = set_windows(&mut recording.bytes, WINDOW);
        with_window += usize::from(announcements > 0);
        let server = Server::fed(recording.bytes.chunks(1));
        let acks: Vec<u32> = answers::lines(&server.sent)
            .iter()
            .filter_map(|line| line.strip_prefix("ack ")?.parse().ok())
            .collect();
        let expected = match announcements {
            0 => 0,
            _ => recording.bytes.len() as u32 / WINDOW,
        };
        // A header is consumed at once, so each may come up to 18 bytes late.
        let near = (expected.saturating_sub(1)..=expected).contains(&(acks.len() as u32));
        assert!(near, "{}: {acks:?}", recording.name);
        for pair in [&[0][..], &acks].concat().windows(2) {
            let apart = pair[1] - pair[0];
            let first = if pair[0] == 0 { 4000 } else { 0 };
            let allowed = WINDOW..WINDOW + 18 + first;
            assert!(allowed.contains(&apart), "{}: {acks:?}", recording.name);
        }
    }
    // rtmp2sink twice, tgrtmp, rml_rtmp, nginx push, shiguredo.
    assert_eq!(with_window, 6);
}

/// Changes the windows that the recorded client announces; how many there are.
fn set_windows(bytes: &mut [u8], window: u32) -> usize {
    let mut announcements = 0;
    for at in 3073..bytes.len().min(6000) - 8 {
        // Length 4, type 5, then either a message stream id of 0 and the number
        // (fmt 0) or the number itself (fmt 1).
        if bytes[at..at + 4] != [0, 0, 4, 5] {
            continue;
        }
        let body = match bytes[at + 4..at + 8] {
            [0, 0, 0, 0] => at + 8,
            _ => at + 4,
        };
        bytes[body..body + 4].copy_from_slice(&window.to_be_bytes());
        announcements += 1;
    }
    announcements
}
