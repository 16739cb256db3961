//! The property `publisher-policy`.

use gst::glib;

use crate::server;

/// What a publisher gets that comes while another one publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstRtmp2ServerSrcPublisherPolicy")]
pub enum PublisherPolicy {
    /// It is turned away.
    #[enum_value(name = "The new one is turned away", nick = "reject")]
    Reject,
    /// The other one is disconnected.
    #[enum_value(name = "The new one replaces the other", nick = "takeover")]
    Takeover,
    /// The other one is disconnected if it is silent.
    #[default]
    #[enum_value(
        name = "The new one replaces the other if that has been silent for 2 s, and is turned \
                away if not",
        nick = "takeover-if-idle"
    )]
    TakeoverIfIdle,
}

impl From<PublisherPolicy> for server::PublisherPolicy {
    fn from(policy: PublisherPolicy) -> Self {
        match policy {
            PublisherPolicy::Reject => Self::Reject,
            PublisherPolicy::Takeover => Self::Takeover,
            PublisherPolicy::TakeoverIfIdle => Self::TakeoverIfIdle,
        }
    }
}
