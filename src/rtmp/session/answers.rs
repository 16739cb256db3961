//! What a session says to its peer.

use super::super::Error;
use super::super::command;
use super::super::message::type_id;
use super::{CHUNK_SIZE, Phase, Publication, Session, WINDOW};
use crate::amf0::{self, Value};
use crate::rtmp::publish::Connect;

/// Chunk streams of our messages; 2 is given by section 5.4, the rest is custom.
pub(super) const CONTROL: u8 = 2;
pub(super) const COMMAND: u8 = 3;
const STATUS: u8 = 5;

impl Session {
    /// Acknowledgements only for a peer that announced a window, one per window
    /// (section 5.4.3). Unread bytes in the socket of a client that never reads,
    /// ffmpeg for one, turn its close into a reset which discards what it still
    /// had to send.
    pub(super) fn acknowledge(&mut self) {
        let window = u64::from(self.counters.in_window_ack_size);
        let total = self.counters.in_bytes_total;
        if window > 0 && total - self.counters.in_bytes_acked >= window {
            self.counters.in_bytes_acked = total;
            // The sequence number is modulo 2³².
            let number = (total as u32).to_be_bytes();
            self.write(CONTROL, type_id::ACKNOWLEDGEMENT, 0, &number);
        }
    }

    /// The last words to a peer whose session failed.
    pub(super) fn farewell(&mut self, error: &Error) {
        match (&self.phase, error) {
            (_, Error::Handshake(error)) => self.output.extend_from_slice(error.farewell()),
            (Phase::Connected { publication, .. }, _) => {
                let stream_id = match publication {
                    Publication::Publishing { stream_id, .. }
                    | Publication::Deciding { stream_id, .. } => *stream_id,
                    Publication::Idle => 0,
                };
                let reason = error.to_string();
                self.write_status(stream_id, "error", "NetStream.Failed", &reason);
            }
            (Phase::Connecting | Phase::Admitting { .. }, _) => {
                let reason = error.to_string();
                self.write_status(0, "error", "NetConnection.Connect.Rejected", &reason);
            }
            (Phase::Handshake(_), _) => {}
        }
    }

    /// A null result, for calls that only want to hear that they arrived.
    pub(super) fn answer(&mut self, transaction_id: f64) {
        if transaction_id != 0.0 {
            self.write_result(transaction_id, Value::Null, Value::Undefined);
        }
    }

    pub(super) fn write_connect_result(&mut self, connect: &Connect, transaction_id: f64) {
        self.counters.out_window_ack_size = WINDOW;
        self.write(CONTROL, type_id::WINDOW_ACK_SIZE, 0, &WINDOW.to_be_bytes());
        let [a, b, c, d] = WINDOW.to_be_bytes();
        const DYNAMIC: u8 = 2;
        let bandwidth = [a, b, c, d, DYNAMIC];
        self.write(CONTROL, type_id::SET_PEER_BANDWIDTH, 0, &bandwidth);
        let size = CHUNK_SIZE.to_be_bytes();
        self.write(CONTROL, type_id::SET_CHUNK_SIZE, 0, &size);
        self.writer.set_chunk_size(CHUNK_SIZE);

        // Clients look for the E-RTMP properties in either object: the text says
        // one, Adobe's servers have always used the other.
        let mut properties = amf0::Object::new();
        properties.insert("fmsVer", "FMS/3,5,7,7009");
        properties.insert("capabilities", 31.0);
        connect.capabilities.answer(&mut properties);
        let mut info = command::status(
            "status",
            "NetConnection.Connect.Success",
            "Connection succeeded.",
        );
        info.insert("objectEncoding", connect.object_encoding);
        connect.capabilities.answer(&mut info);
        self.write_result(transaction_id, properties.into(), info.into());
    }

    pub(super) fn write_publish_start(&mut self, stream_id: u32) {
        const STREAM_BEGIN: [u8; 2] = [0, 0];
        let begin = [&STREAM_BEGIN[..], &stream_id.to_be_bytes()].concat();
        self.write(CONTROL, type_id::USER_CONTROL, 0, &begin);
        let text = "the stream is published";
        self.write_status(stream_id, "status", "NetStream.Publish.Start", text);
    }

    pub(super) fn write_status(
        &mut self,
        stream_id: u32,
        level: &str,
        code: &str,
        description: &str,
    ) {
        let info = command::status(level, code, description);
        self.write_command(STATUS, stream_id, "onStatus", 0.0, Value::Null, info.into());
    }

    pub(super) fn write_result(&mut self, transaction_id: f64, object: Value, info: Value) {
        self.write_command(COMMAND, 0, "_result", transaction_id, object, info);
    }

    pub(super) fn write_error(&mut self, transaction_id: f64, code: &str, description: &str) {
        // librtmp reads on behind the description until it finds a zero: the end of
        // the object gives it one, as long as nothing else follows.
        let info = command::status("error", code, description);
        self.write_command(
            COMMAND,
            0,
            "_error",
            transaction_id,
            Value::Null,
            info.into(),
        );
    }

    pub(super) fn write_command(
        &mut self,
        chunk_stream: u8,
        stream_id: u32,
        name: &str,
        transaction_id: f64,
        object: Value,
        info: Value,
    ) {
        let body = command::encode(name, transaction_id, object, info);
        self.write(chunk_stream, type_id::COMMAND_AMF0, stream_id, &body);
    }

    pub(super) fn write(&mut self, chunk_stream: u8, type_id: u8, stream_id: u32, payload: &[u8]) {
        self.writer
            .write(chunk_stream, type_id, stream_id, payload, &mut self.output);
    }
}
