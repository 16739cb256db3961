//! What applications see of the element, compared with `docs/introspection.txt`: nothing of it changes unseen.
//!
//! `RTMP2SERVER_BLESS=1 cargo test --test introspection` writes the file anew.

mod support;

use std::fmt::Write;
use std::path::Path;

use gst::glib;
use gst::prelude::*;
use support::pipeline::init;

fn describe_value(value: &glib::Value) -> String {
    if value.type_() == gst::Structure::static_type() {
        // GStreamer can't serialise one that is not there.
        return "NULL".to_owned();
    }
    value
        .serialize()
        .map_or_else(|_| "NULL".to_owned(), |text| text.to_string())
}

fn describe_property(text: &mut String, spec: &glib::ParamSpec) {
    writeln!(text, "property {}: {}", spec.name(), spec.value_type()).unwrap();
    writeln!(text, "    nick: {}", spec.nick()).unwrap();
    writeln!(text, "    blurb: {}", spec.blurb().unwrap_or_default()).unwrap();
    let flags = spec.flags();
    let access = match (
        flags.contains(glib::ParamFlags::READABLE),
        flags.contains(glib::ParamFlags::WRITABLE),
    ) {
        (true, true) => "read, write",
        (true, false) => "read",
        _ => "write",
    };
    let user = flags.bits();
    let state = [
        (gst::PARAM_FLAG_MUTABLE_PLAYING.bits(), "PLAYING"),
        (gst::PARAM_FLAG_MUTABLE_PAUSED.bits(), "PAUSED"),
        (gst::PARAM_FLAG_MUTABLE_READY.bits(), "READY"),
    ]
    .into_iter()
    .find(|(bit, _)| user & bit != 0)
    .map_or("any state", |(_, state)| state);
    writeln!(text, "    access: {access}; changes up to: {state}").unwrap();
    let default = describe_value(spec.default_value());
    if let Some(range) = spec.downcast_ref::<glib::ParamSpecUInt>() {
        writeln!(
            text,
            "    range: {} to {}",
            range.minimum(),
            range.maximum()
        )
        .unwrap();
    }
    if let Some(values) = glib::EnumClass::with_type(spec.value_type()) {
        for value in values.values() {
            writeln!(text, "    {}: {}", value.nick(), value.name()).unwrap();
        }
    }
    writeln!(text, "    default: {default}").unwrap();
}

/// All that the type itself has, in the order of the alphabet.
fn signals(of: glib::Type) -> Vec<glib::subclass::SignalId> {
    use glib::translate::{FromGlib, IntoGlib};
    let mut count = 0;
    // SAFETY: the array that is returned has as many elements as are told, and is ours to free.
    let mut ids: Vec<_> = unsafe {
        let ids = glib::gobject_ffi::g_signal_list_ids(of.into_glib(), &mut count);
        let found = std::slice::from_raw_parts(ids, count as usize);
        let found = found
            .iter()
            .map(|id| glib::subclass::SignalId::from_glib(*id));
        let found = found.collect();
        glib::ffi::g_free(ids.cast());
        found
    };
    ids.sort_by_key(|id| id.query().signal_name().to_owned());
    ids
}

fn describe_signal(text: &mut String, id: glib::subclass::SignalId) {
    let query = id.query();
    let parameters: Vec<_> = query
        .param_types()
        .iter()
        .map(|t| t.type_().to_string())
        .collect();
    let kind = match query.flags().contains(glib::SignalFlags::ACTION) {
        true => "action",
        false => "signal",
    };
    writeln!(
        text,
        "{kind} {} ({}) -> {}",
        query.signal_name(),
        parameters.join(", "),
        query.return_type().type_()
    )
    .unwrap();
}

fn describe() -> String {
    let factory = gst::ElementFactory::find("rtmp2serversrc").expect("the plugin is registered");
    let element = factory.create().build().expect("can be made");
    let mut text = String::new();
    for key in ["long-name", "klass", "description"] {
        writeln!(text, "{key}: {}", factory.metadata(key).unwrap_or_default()).unwrap();
    }
    writeln!(text, "rank: {}", factory.rank()).unwrap();
    writeln!(
        text,
        "uri: {:?} {:?}",
        factory.uri_type(),
        factory.uri_protocols()
    )
    .unwrap();
    for template in factory.static_pad_templates() {
        writeln!(
            text,
            "pad {}: {:?} {:?} {}",
            template.name_template(),
            template.direction(),
            template.presence(),
            template.caps()
        )
        .unwrap();
    }
    let own = element.type_();
    let mut properties: Vec<_> = element.list_properties().to_vec();
    properties.retain(|spec| spec.owner_type() == own);
    properties.sort_by_key(|spec| spec.name().to_owned());
    for spec in &properties {
        describe_property(&mut text, spec);
    }
    for id in signals(own) {
        describe_signal(&mut text, id);
    }
    // Those that are always there; a publisher adds some that describe it.
    let stats: gst::Structure = element.property("stats");
    writeln!(text, "stats: {}", stats.name()).unwrap();
    for (name, value) in stats.iter() {
        writeln!(text, "    {name}: {}", value.type_()).unwrap();
    }
    text
}

#[test]
fn the_interface_is_the_committed_one() {
    init();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/introspection.txt");
    let now = describe();
    if std::env::var_os("RTMP2SERVER_BLESS").is_some() {
        std::fs::write(&path, &now).expect("can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("docs/introspection.txt is there");
    for (number, (was, is)) in committed.lines().zip(now.lines()).enumerate() {
        assert_eq!(was, is, "line {} of docs/introspection.txt", number + 1);
    }
    assert_eq!(committed.lines().count(), now.lines().count());
}
