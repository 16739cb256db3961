//! RTMP ingest for GStreamer: the element `rtmp2serversrc`, and what it is made of.
//!
//! The modules are layers, each using only those before it: [`amf0`], [`rtmp`]
//! and [`flv`] know neither a runtime nor GStreamer and are all there is with
//! `--no-default-features`; `queue` and `server` come with the feature `server`,
//! the element with `element`, the default.

#[forbid(unsafe_code)]
pub mod amf0;
#[forbid(unsafe_code)]
pub mod flv;
#[forbid(unsafe_code)]
pub mod rtmp;

#[cfg(feature = "server")]
#[forbid(unsafe_code)]
pub mod queue;
#[cfg(feature = "server")]
#[forbid(unsafe_code)]
pub mod server;

#[cfg(feature = "element")]
#[forbid(unsafe_code)]
mod rtmp2serversrc;

#[cfg(feature = "element")]
fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    rtmp2serversrc::register(plugin)
}

#[cfg(feature = "element")]
gst::plugin_define!(
    rtmp2server,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL-2.0",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("BUILD_REL_DATE")
);
