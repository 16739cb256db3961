//! What the host decides: who may connect and publish, and when that ends.

use super::answers::COMMAND;
use super::{Phase, Publication, Session};
use crate::amf0::Value;
use crate::rtmp::command;

impl Session {
    /// A client may go on: answers the `connect` that waits.
    pub fn accept_connect(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Connecting) {
            Phase::Admitting {
                connect,
                transaction_id,
            } => {
                self.write_connect_result(&connect, transaction_id);
                self.phase = Phase::Connected {
                    connect,
                    publication: Publication::Idle,
                };
            }
            other => self.phase = other,
        }
    }

    /// A client may not: tells it why. `code` is one that clients know:
    /// `NetConnection.Connect.Rejected`. They look into `description` for what they
    /// have to do to be let in.
    pub fn reject_connect(&mut self, code: &str, description: &str) {
        if let Phase::Admitting { transaction_id, .. } = self.phase {
            self.phase = Phase::Connecting;
            self.write_error(transaction_id, code, description);
        }
    }

    /// A publisher may send: answers the request that waits.
    pub fn accept_publish(&mut self) {
        let Phase::Connected { publication, .. } = &mut self.phase else {
            return;
        };
        match std::mem::replace(publication, Publication::Idle) {
            Publication::Deciding { stream_id, name } => {
                *publication = Publication::Publishing {
                    stream_id,
                    name,
                    aggregate: None,
                };
                self.reader.trust(&self.config.limits);
                self.allowance = None;
                self.write_publish_start(stream_id);
            }
            other => *publication = other,
        }
    }

    /// A publisher may not: tells it why. `code` is one that encoders know, such
    /// as `NetStream.Publish.BadName`; `description` is for the person behind it.
    pub fn reject_publish(&mut self, code: &str, description: &str) {
        if let Phase::Connected { publication, .. } = &mut self.phase
            && let Publication::Deciding { stream_id, .. } = *publication
        {
            *publication = Publication::Idle;
            self.write_status(stream_id, "error", code, description);
        }
    }

    /// Ends a publication from the server's side, telling the publisher why.
    pub fn end_publish(&mut self, code: &str, description: &str) {
        if let Phase::Connected { publication, .. } = &mut self.phase
            && let Publication::Publishing { stream_id, .. } = *publication
        {
            *publication = Publication::Idle;
            self.reader.distrust(&self.config.limits);
            self.write_status(stream_id, "error", code, description);
        }
    }

    /// Asks the peer to connect again, to `tc_url` if given (E-RTMP v2, "Reconnect
    /// Request"). It is served until it leaves. False, and nothing sent, if it did
    /// not say that it understands.
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        match &self.phase {
            Phase::Connected { connect, .. } if connect.capabilities.reconnect() => {}
            _ => return false,
        }
        let code = "NetConnection.Connect.ReconnectRequest";
        let mut info = command::status("status", code, description);
        if let Some(tc_url) = tc_url {
            info.insert("tcUrl", tc_url);
        }
        self.write_command(COMMAND, 0, "onStatus", 0.0, Value::Null, info.into());
        true
    }
}
