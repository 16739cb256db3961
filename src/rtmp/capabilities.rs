//! What both sides say of Enhanced RTMP in `connect` (E-RTMP v2, section
//! "Enhancing NetConnection connect Command").

use crate::amf0::{Object, Value};

/// Bits of `capsEx`.
mod caps_ex {
    pub const RECONNECT: u32 = 1;
    pub const MULTITRACK: u32 = 2;
    pub const MOD_EX: u32 = 4;
}

/// Bit of a FourCC's mask: the codec is passed on as it is.
const CAN_FORWARD: f64 = 4.0;

/// What the peer announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It sent any of the Enhanced RTMP properties and expects an answer to them.
    pub enhanced: bool,
    /// `capsEx`, 0 if absent.
    pub caps_ex: u32,
}

impl Capabilities {
    pub(crate) fn from_connect(object: &Object) -> Self {
        let caps_ex = object.get("capsEx").and_then(Value::as_number);
        let listed = ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap"]
            .iter()
            .any(|name| object.get(name).is_some());
        Self {
            enhanced: listed || caps_ex.is_some(),
            // Saturates: a peer may send any double.
            caps_ex: caps_ex.unwrap_or(0.0) as u32,
        }
    }

    /// The peer acts on a ReconnectRequest.
    pub fn reconnect(&self) -> bool {
        self.caps_ex & caps_ex::RECONNECT != 0
    }

    /// Adds what this server can do, and no more: every codec is forwarded
    /// untouched, multitrack and ModEx headers are understood, and a publisher may
    /// be asked to reconnect.
    pub(crate) fn answer(&self, object: &mut Object) {
        if !self.enhanced {
            return;
        }
        let any = || Object::from_iter([("*", CAN_FORWARD)]);
        object.insert("fourCcList", Value::StrictArray(vec![Value::from("*")]));
        object.insert("videoFourCcInfoMap", any());
        object.insert("audioFourCcInfoMap", any());
        let caps_ex = caps_ex::RECONNECT | caps_ex::MULTITRACK | caps_ex::MOD_EX;
        object.insert("capsEx", f64::from(caps_ex));
    }
}
