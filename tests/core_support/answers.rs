//! What a server answered, decoded by an independent crate.

use std::collections::HashMap;

use rml_rtmp::chunk_io::ChunkDeserializer;
use rml_rtmp::messages::{PeerBandwidthLimitType, RtmpMessage, UserControlEventType};
use rml_rtmp::rml_amf0::Amf0Value;

/// S0, S1 and S2.
pub const HANDSHAKE: usize = 1 + 1536 + 1536;

/// One message of the server.
#[derive(Debug)]
pub struct Answer {
    pub stream_id: u32,
    pub message: RtmpMessage,
}

/// Everything after the handshake. Panics if there is half a message at the end.
pub fn decode(sent: &[u8]) -> Vec<Answer> {
    assert!(sent.len() >= HANDSHAKE, "S0, S1 and S2 come first");
    assert_eq!(sent[0], 3, "S0");
    decode_messages(&sent[HANDSHAKE..])
}

fn decode_messages(mut bytes: &[u8]) -> Vec<Answer> {
    let mut decoder = ChunkDeserializer::new();
    let mut answers = Vec::new();
    while let Some(payload) = decoder.get_next_message(bytes).expect("chunks") {
        bytes = &[];
        let message = payload.to_rtmp_message().expect("a message");
        if let RtmpMessage::SetChunkSize { size } = message {
            decoder.set_max_chunk_size(size as usize).expect("a size");
        }
        answers.push(Answer {
            stream_id: payload.message_stream_id,
            message,
        });
    }
    answers
}

/// Everything after the handshake, a line for each message.
pub fn lines(sent: &[u8]) -> Vec<String> {
    decode(sent).iter().map(Answer::line).collect()
}

/// The lines behind the answer to the first `connect`.
pub fn lines_after_connect(sent: &[u8]) -> Vec<String> {
    let mut lines = lines(sent);
    let connected = lines.iter().position(|l| l.contains("Connect.Success"));
    lines.split_off(connected.expect("connect was answered") + 1)
}

impl Answer {
    /// The message in a few words, such as `_result 4 = 1`.
    pub fn line(&self) -> String {
        match &self.message {
            RtmpMessage::SetChunkSize { size } => format!("chunk size {size}"),
            RtmpMessage::Acknowledgement { sequence_number } => format!("ack {sequence_number}"),
            RtmpMessage::WindowAcknowledgement { size } => format!("window {size}"),
            RtmpMessage::SetPeerBandwidth { size, limit_type } => {
                assert_eq!(*limit_type, PeerBandwidthLimitType::Dynamic);
                format!("bandwidth {size}")
            }
            RtmpMessage::UserControl {
                event_type: UserControlEventType::StreamBegin,
                stream_id,
                ..
            } => format!("begin {}", stream_id.expect("a stream")),
            RtmpMessage::UserControl {
                event_type: UserControlEventType::PingResponse,
                timestamp,
                ..
            } => format!("pong {}", timestamp.expect("a time").value),
            RtmpMessage::Amf0Command {
                command_name,
                transaction_id,
                additional_arguments,
                ..
            } => match (command_name.as_str(), &additional_arguments[..]) {
                ("onStatus", [Amf0Value::Object(info)]) => {
                    assert_eq!(*transaction_id, 0.0);
                    format!("onStatus {} on {}", text(info, "code"), self.stream_id)
                }
                (name, [Amf0Value::Number(number)]) => {
                    format!("{name} {transaction_id} = {number}")
                }
                (name, [Amf0Value::Undefined]) => format!("{name} {transaction_id}"),
                (name, [Amf0Value::Object(info)]) => {
                    format!("{name} {transaction_id} {}", text(info, "code"))
                }
                other => panic!("unexpected command {other:?}"),
            },
            other => panic!("unexpected message {other:?}"),
        }
    }

    /// The properties and the information of a command's answer.
    pub fn objects(&self) -> (HashMap<String, Amf0Value>, HashMap<String, Amf0Value>) {
        let RtmpMessage::Amf0Command {
            command_object,
            additional_arguments,
            ..
        } = &self.message
        else {
            panic!("no command: {self:?}");
        };
        let object = |value: &Amf0Value| match value {
            Amf0Value::Object(properties) => properties.clone(),
            _ => HashMap::new(),
        };
        let info = additional_arguments.first().map(object);
        (object(command_object), info.unwrap_or_default())
    }
}

fn text<'a>(object: &'a HashMap<String, Amf0Value>, name: &str) -> &'a str {
    match object.get(name) {
        Some(Amf0Value::Utf8String(text)) => text,
        other => panic!("{name} is {other:?}"),
    }
}
