//! The element `rtmp2serversrc`.

mod bitrate;
mod compat;
mod farewell;
mod imp;
mod limiter;
mod observer;
mod output;
mod policy;
mod properties;
mod settings;
mod signals;
mod stats;
mod stream_headers;
mod stream_info;
mod time;
mod uri;

use std::sync::LazyLock;

pub use compat::Compat;
pub use policy::PublisherPolicy;
pub use settings::ProxyProtocol;
pub use time::TimestampMode;

use gst::glib;
use gst::prelude::*;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "rtmp2serversrc",
        gst::DebugColorFlags::empty(),
        Some("RTMP server source"),
    )
});

glib::wrapper! {
    pub struct Rtmp2ServerSrc(ObjectSubclass<imp::Rtmp2ServerSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object,
        @implements gst::URIHandler;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    Compat::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    PublisherPolicy::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    ProxyProtocol::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    TimestampMode::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "rtmp2serversrc",
        gst::Rank::NONE,
        Rtmp2ServerSrc::static_type(),
    )
}
