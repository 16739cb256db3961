//! RTMP ingest for GStreamer: the element `rtmp2serversrc`, and what it is made of.
//!
//! The modules are layers, each using only those before it: [`amf0`], [`rtmp`]
//! and [`flv`] know neither a runtime nor GStreamer and are all there is with
//! `--no-default-features`; `queue` and `server` come with the feature `server`,
//! the element with `element`, the default.
//!
//! A program in Rust needs no plugin file; it registers the element:
//!
//! ```no_run
//! # #[cfg(feature = "element")]
//! use gst::prelude::*;
//!
//! # #[cfg(feature = "element")]
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     gst::init()?;
//!     gstrtmp2server::plugin_register_static()?;
//!
//!     let pipeline = gst::parse::launch("rtmp2serversrc port=1935 ! filesink location=output.flv")?;
//!     pipeline.set_state(gst::State::Playing)?;
//!     let bus = pipeline.bus().expect("a pipeline has a bus");
//!     for message in bus.iter_timed(gst::ClockTime::NONE) {
//!         match message.view() {
//!             gst::MessageView::Eos(_) => break,
//!             gst::MessageView::Error(error) => return Err(error.error().into()),
//!             _ => (),
//!         }
//!     }
//!     pipeline.set_state(gst::State::Null)?;
//!     Ok(())
//! }
//! # #[cfg(not(feature = "element"))]
//! # fn main() {}
//! ```

#[forbid(unsafe_code)]
pub mod amf0;
#[forbid(unsafe_code)]
pub mod flv;
#[forbid(unsafe_code)]
pub mod rtmp;

// For tests and benchmarks; no promise (docs/releasing.md).
#[cfg(feature = "server")]
#[forbid(unsafe_code)]
#[doc(hidden)]
pub mod queue;
#[cfg(feature = "server")]
#[forbid(unsafe_code)]
#[doc(hidden)]
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
