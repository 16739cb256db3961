//! How publications begin and end: in EOS, an error or waiting, always after the last whole tag.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::client::{Client, Status, tags};
use support::flv::{Kind, Tag, assert_same};
use support::pipeline::{DEADLINE, Recording};

/// Ends are noticed, not timed out.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Bodies alone: with `loop`, later publishers' times are moved onto the pipeline's clock.
fn without_times(tags: &[Tag]) -> Vec<Tag> {
    let timeless = |tag: &Tag| Tag {
        timestamp: 0,
        ..tag.clone()
    };
    tags.iter().map(timeless).collect()
}

fn read_so_far(recording: Recording) -> Vec<Tag> {
    recording.read().unwrap()
}

/// Publishes, ends as told, and insists on EOS at once with every tag. The connection stays open where the end left it so.
fn ends_in_eos(end: impl FnOnce(&Recording, Client) -> Result<Option<Client>, String>) {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    let sent = tags(200, 3000);
    client.send_all(&sent).unwrap();
    let still_open = end(&recording, client).unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
    drop(still_open);
}

/// The message that is cut off by the end of the connection.
fn unfinished() -> Tag {
    Tag {
        kind: Kind::Video,
        timestamp: 9000,
        body: vec![0x27; 10_000],
    }
}

#[test]
fn fc_unpublish_ends_in_eos() {
    ends_in_eos(|_, mut client| {
        client.fc_unpublish()?;
        Ok(Some(client))
    });
}

#[test]
fn delete_stream_ends_in_eos() {
    ends_in_eos(|_, mut client| {
        client.delete_stream()?;
        Ok(Some(client))
    });
}

#[test]
fn close_stream_ends_in_eos() {
    ends_in_eos(|_, mut client| {
        client.close_stream()?;
        Ok(Some(client))
    });
}

#[test]
fn all_three_and_a_closed_connection_end_in_eos() {
    ends_in_eos(|_, mut client| {
        client.fc_unpublish()?;
        client.close_stream()?;
        client.delete_stream()?;
        client.close().map(|()| None)
    });
}

#[test]
fn a_closed_connection_ends_in_eos() {
    ends_in_eos(|_, client| client.close().map(|()| None));
}

#[test]
fn a_connection_closed_within_a_message_ends_in_eos() {
    ends_in_eos(|_, mut client| {
        client.send_half(&unfinished())?;
        client.close().map(|()| None)
    });
}

#[test]
fn a_reset_within_a_message_ends_in_eos() {
    ends_in_eos(|recording, mut client| {
        // What the server has not read yet, a reset discards.
        recording.wait_for_counter("received", 200)?;
        client.send_half(&unfinished())?;
        client.reset().map(|()| None)
    });
}

#[test]
fn media_behind_the_end_is_not_recorded() {
    ends_in_eos(|_, mut client| {
        client.fc_unpublish()?;
        client.send(&unfinished())?;
        Ok(Some(client))
    });
}

#[test]
fn nobody_is_let_in_behind_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let mut first = Client::publisher(recording.address()).unwrap();
    first.fc_unpublish().unwrap();
    recording.wait_for_eos(AT_ONCE).unwrap();
    let mut second = Client::connect(recording.address(), "live").unwrap();
    let answer = second.publish("test").unwrap();
    assert_eq!(answer.code, "NetStream.Publish.Rejected");
    assert_eq!(read_so_far(recording), []);
}

/// ffmpeg ends every stream with it; to a demuxer it would mean the end of all.
fn end_of_sequence() -> Tag {
    Tag {
        kind: Kind::Video,
        timestamp: 4000,
        body: vec![0x17, 2, 0, 0, 0],
    }
}

/// Three publishers that end in different ways; returns what they sent, and what was captured.
fn three_in_a_row(directory: &Path, properties: &str) -> (Vec<Tag>, Vec<Tag>) {
    let properties = format!("loop=true {properties}");
    let recording = Recording::start(directory, &properties).unwrap();
    let mut sent = Vec::new();
    for round in 0..3 {
        let own = tags(150 + round, 2000);
        let mut client = Client::publisher(recording.address()).unwrap();
        client.send_all(&own).unwrap();
        client.send(&end_of_sequence()).unwrap();
        sent.extend(own);
        match round {
            0 => client.close().unwrap(),
            1 => {
                client.delete_stream().unwrap();
                assert_eq!(client.status().unwrap().code, UNPUBLISHED);
            }
            _ => {
                let all = sent.len() as u64 + 3;
                recording.wait_for_counter("received", all).unwrap();
                client.reset().unwrap();
            }
        }
        // Still open, to others as well.
        Client::connect(recording.address(), "live").unwrap();
    }
    recording
        .wait_for_counter("withheld-end-of-sequence", 3)
        .unwrap();
    assert_eq!(recording.counter("session"), 3);
    recording.send_eos();
    (sent, recording.finish_within(AT_ONCE).unwrap())
}

const UNPUBLISHED: &str = "NetStream.Unpublish.Success";

#[test]
fn three_publishers_one_after_another_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let (sent, captured) = three_in_a_row(directory.path(), "timestamp-mode=passthrough");
    assert_same(&sent, &captured);
}

#[test]
fn three_publishers_on_one_timeline() {
    let directory = tempfile::tempdir().unwrap();
    let (sent, captured) = three_in_a_row(directory.path(), "");
    assert_same(&without_times(&sent), &without_times(&captured));
    // Metadata stays at 0.
    let media = captured.iter().filter(|tag| tag.kind != Kind::Script);
    assert!(media.is_sorted_by_key(|tag| tag.timestamp));
    // The first keeps its times.
    assert_same(&sent[..150], &captured[..150]);
}

#[test]
fn one_connection_publishes_again() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "loop=true timestamp-mode=passthrough";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    let (first, second) = (tags(50, 500), tags(60, 500));
    client.send_all(&first).unwrap();
    client.delete_stream().unwrap();
    assert_eq!(client.status().unwrap().code, UNPUBLISHED);
    client.create_stream().unwrap();
    client.must_publish("another").unwrap();
    client.send_all(&second).unwrap();
    client.close().unwrap();
    recording.send_eos();
    let captured = recording.finish_within(AT_ONCE).unwrap();
    assert_same(&[first, second].concat(), &captured);
}

#[test]
fn a_second_publisher_is_told_and_the_first_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let properties = "publisher-policy=reject";
    let recording = Recording::start(directory.path(), properties).unwrap();
    let mut first = Client::publisher(recording.address()).unwrap();
    let sent = tags(300, 1000);
    for part in sent.chunks(100) {
        first.send_all(part).unwrap();
        let mut second = Client::connect(recording.address(), "live").unwrap();
        let expected = Status {
            code: "NetStream.Publish.BadName".to_owned(),
            text: "somebody else is publishing here already".to_owned(),
        };
        assert_eq!(second.publish("test").unwrap(), expected);
        // It goes on as if it had been let in.
        let _ = second.send(&unfinished());
    }
    assert_eq!(recording.counter("rejected"), 3);
    first.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}

/// What `no-eof-is-error` makes of an end, and that the recording before it is whole.
fn with_no_eof_is_error(
    end: impl FnOnce(Client) -> Result<Option<Client>, String>,
) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "no-eof-is-error=true").unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    let sent = tags(100, 1000);
    client.send_all(&sent).unwrap();
    recording.wait_for_counter("received", 100).unwrap();
    let still_open = end(client).unwrap();
    let outcome = recording.wait_for_eos(AT_ONCE);
    recording.wait_for_end_of_file().unwrap();
    assert_same(&sent, &read_so_far(recording));
    drop(still_open);
    outcome
}

#[test]
fn no_eof_is_error_makes_an_error_of_a_lost_publisher() {
    let closed = with_no_eof_is_error(|client| client.close().map(|()| None)).unwrap_err();
    assert!(closed.contains("closed the connection"), "{closed}");
    assert!(closed.contains("no-eof-is-error"), "{closed}");
    let reset = with_no_eof_is_error(|client| client.reset().map(|()| None)).unwrap_err();
    assert!(reset.contains("publisher was lost"), "{reset}");
}

#[test]
fn no_eof_is_error_leaves_an_orderly_end_alone() {
    let outcome = with_no_eof_is_error(|mut client| {
        client.delete_stream()?;
        Ok(Some(client))
    });
    assert_eq!(outcome, Ok(()));
}

#[test]
fn a_silent_publisher_ends_in_eos() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "timeout=1").unwrap();
    let mut client = Client::publisher(recording.address()).unwrap();
    let sent = tags(100, 1000);
    client.send_all(&sent).unwrap();
    client.send_half(&unfinished()).unwrap();
    let since = Instant::now();
    recording.wait_for_eos(DEADLINE).unwrap();
    let took = since.elapsed().as_secs_f64();
    assert!((0.9..3.0).contains(&took), "{took} s");
    assert_same(&sent, &read_so_far(recording));
}

#[test]
fn silence_before_the_publish_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "timeout=1").unwrap();
    let silent = Client::connect(recording.address(), "live").unwrap();
    let outcome = recording.wait_for_eos(Duration::from_millis(1300));
    assert!(outcome.unwrap_err().starts_with("neither EOS nor an error"));
    drop(silent);
    let mut client = Client::publisher(recording.address()).unwrap();
    let sent = tags(20, 100);
    client.send_all(&sent).unwrap();
    client.close().unwrap();
    assert_same(&sent, &recording.finish_within(AT_ONCE).unwrap());
}
