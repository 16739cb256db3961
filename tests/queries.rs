//! What the element answers to queries and seeks: live, forward only, of no known length.

mod support;

use gst::prelude::*;
use support::client::{Client, tags};
use support::flv::{self, Rules};
use support::pipeline::{Recording, init};

/// Flags, least and largest size, alignment, and modes.
type Scheduling = (gst::SchedulingFlags, i32, i32, i32, Vec<gst::PadMode>);

fn scheduling(element: &gst::Element) -> Scheduling {
    let mut query = gst::query::Scheduling::new();
    let pad = element.static_pad("src").expect("a source has one");
    assert!(pad.query(&mut query));
    let (flags, min, max, align) = query.result();
    (flags, min, max, align, query.scheduling_modes().collect())
}

#[test]
fn scheduling_is_that_of_rtmp2src() {
    init();
    let [own, other] = ["rtmp2serversrc", "rtmp2src"]
        .map(|name| gst::ElementFactory::make(name).build().expect(name));
    let own = scheduling(&own);
    assert_eq!(own, scheduling(&other));
    // Without this, buffering players would not know that it is the network.
    assert!(own.0.contains(gst::SchedulingFlags::BANDWIDTH_LIMITED));
}

fn latency(element: &gst::Element) -> (bool, gst::ClockTime, Option<gst::ClockTime>) {
    let mut query = gst::query::Latency::new();
    assert!(element.query(&mut query));
    query.result()
}

#[test]
fn latency_is_the_property_and_has_no_maximum() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::start(directory.path(), "").unwrap();
    let source = recording.source();
    let ms = gst::ClockTime::from_mseconds;
    assert_eq!(latency(source), (true, ms(200), None));

    // A change is announced, for the pipeline to ask again.
    let bus = recording.pipeline().bus().unwrap();
    let announced = |bus: &gst::Bus| {
        let message = bus.pop_filtered(&[gst::MessageType::Latency])?;
        message.src().cloned()
    };
    while announced(&bus).is_some() {}
    for value in [0, 1500, u32::MAX] {
        source.set_property("latency", value);
        assert_eq!(announced(&bus).as_ref(), Some(source.upcast_ref()));
        assert_eq!(latency(source), (true, ms(value.into()), None));
    }
}

#[test]
fn without_is_live_it_is_no_live_source() {
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::prepare(directory.path(), "is-live=false", "").unwrap();
    assert!(!latency(recording.source()).0);
}

fn seek(element: &gst::Element) -> bool {
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
    element
        .seek_simple(flags, 200 * gst::ClockTime::MSECOND)
        .is_ok()
}

#[test]
fn seeks_are_refused_and_there_is_no_duration() {
    for is_live in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let properties = format!("is-live={is_live}");
        let recording = Recording::start(directory.path(), &properties).unwrap();
        let source = recording.source();
        let ask = || {
            for format in [gst::Format::Time, gst::Format::Bytes] {
                let mut query = gst::query::Seeking::new(format);
                if source.query(&mut query) {
                    assert!(!query.result().0, "{format:?}");
                }
            }
            assert_eq!(source.query_duration::<gst::ClockTime>(), None);
            assert_eq!(source.query_duration::<gst::format::Bytes>(), None);
            assert!(!seek(source), "of the element");
            assert!(!seek(recording.pipeline().upcast_ref()), "of the pipeline");
        };
        ask();
        let sent = tags(60, 500);
        let mut client = Client::publisher(recording.address()).unwrap();
        for part in sent.chunks(20) {
            client.send_all(part).unwrap();
            ask();
        }
        client.close().unwrap();
        let captured = recording.finish().unwrap();
        let comparison = flv::compare(&sent, &captured, Rules::default());
        assert!(comparison.is_same(), "{comparison}");
    }
}
