//! What a session does on each command (RTMP 1.0, section 7.2).

use std::sync::Arc;

use super::super::Error;
use super::super::command::{self, Call};
use super::super::message::{Message, type_id};
use super::super::publish::{Connect, PublishRequest, UnpublishReason};
use super::answers::COMMAND;
use super::{Event, Name, Phase, Publication, Session};
use crate::amf0::Value;

impl Session {
    pub(super) fn command(&mut self, message: &Message) -> Result<Option<Event>, Error> {
        let limit = self.config.limits.max_stranger_bytes;
        if message.body.len() > limit {
            // No reason to lose a publisher: it is here already, and goes now.
            if self.is_publishing() {
                self.counters.ignored_messages += 1;
                return Ok(None);
            }
            let declared = message.body.len();
            return Err(Error::MessageTooLarge { declared, limit });
        }
        let Some(call) = Call::decode(&message.body, message.type_id == type_id::COMMAND_AMF3)
        else {
            self.counters.ignored_messages += 1;
            return Ok(None);
        };
        let id = call.transaction_id;
        // Nobody is let in on half a request; any other command that can't be
        // read to its end is no reason to lose a publisher.
        if let ("connect" | "publish", Some(damage)) = (call.name.as_str(), call.damage) {
            return Err(damage.into());
        }
        // These are kept, and a byte that is no UTF-8 has become three.
        let text = call.text_len();
        if matches!(call.name.as_str(), "connect" | "publish") && text > limit {
            return Err(Error::TooMuchText { len: text, limit });
        }
        match call.name.as_str() {
            "connect" => return Ok(self.connect(&call)),
            "publish" => return self.publish(&call, message.stream_id),
            "createStream" => {
                self.streams_created = self.streams_created.saturating_add(1);
                let stream = f64::from(self.streams_created);
                self.write_result(id, Value::Null, stream.into());
            }
            "FCPublish" => {
                // FMLE goes on only when it has seen this.
                let info = command::status("status", "NetStream.Publish.Start", "");
                self.write_command(COMMAND, 0, "onFCPublish", 0.0, Value::Null, info.into());
                self.answer(id);
            }
            "FCUnpublish" => return Ok(self.unpublish(UnpublishReason::FcUnpublish)),
            "deleteStream" => {
                let ends = self.deletes_publication(call.argument());
                if ends {
                    return Ok(self.unpublish(UnpublishReason::DeleteStream));
                }
            }
            "closeStream" => return Ok(self.unpublish(UnpublishReason::CloseStream)),
            "getStreamLength" => self.write_result(id, Value::Null, 0.0.into()),
            "play" | "play2" => self.write_status(
                message.stream_id,
                "error",
                "NetStream.Play.StreamNotFound",
                "this server takes publishers only: there is nothing to play",
            ),
            // What answers a call must not be answered: two polite peers would
            // go on for ever.
            "_result" | "_error" | "onStatus" | "close" => {}
            _ => self.answer(id),
        }
        Ok(None)
    }

    fn connect(&mut self, call: &Call) -> Option<Event> {
        let connect = Arc::new(call.object().map(Connect::from_object).unwrap_or_default());
        if let Phase::Connected { publication, .. } = &self.phase
            && !matches!(publication, Publication::Idle)
        {
            // In the middle of a publication it can only be a mistake.
            return None;
        }
        self.phase = Phase::Admitting {
            connect: connect.clone(),
            transaction_id: call.transaction_id,
        };
        Some(Event::Connect(connect))
    }

    fn publish(&mut self, call: &Call, stream_id: u32) -> Result<Option<Event>, Error> {
        let Phase::Connected {
            connect,
            publication,
        } = &mut self.phase
        else {
            return Err(Error::PublishBeforeConnect);
        };
        let name = call.string_argument();
        match publication {
            Publication::Publishing {
                stream_id,
                name: current,
                ..
            } => {
                let stream_id = *stream_id;
                if current.0 == name {
                    // An encoder that asks twice for the same gets the same answer.
                    self.write_publish_start(stream_id);
                } else {
                    self.write_status(
                        stream_id,
                        "error",
                        "NetStream.Publish.BadName",
                        "this connection publishes already",
                    );
                }
                Ok(None)
            }
            _ => {
                let request = PublishRequest::new(connect.clone(), name);
                *publication = Publication::Deciding {
                    stream_id,
                    name: Name(name.to_owned()),
                };
                Ok(Some(Event::Publish(request)))
            }
        }
    }

    /// Whether a deleteStream means the stream that publishes. rtmp2sink gives
    /// its name, others a stream that they never got: only a number that we gave
    /// out, and for another stream than the publishing one, means another one.
    fn deletes_publication(&self, argument: Option<&Value>) -> bool {
        let Phase::Connected {
            publication: Publication::Publishing { stream_id, .. },
            ..
        } = self.phase
        else {
            return false;
        };
        let given = |id: f64| (1.0..=f64::from(self.streams_created)).contains(&id);
        match argument.and_then(Value::as_number) {
            Some(id) => id == f64::from(stream_id) || !given(id) || !given(stream_id.into()),
            None => true,
        }
    }

    fn unpublish(&mut self, reason: UnpublishReason) -> Option<Event> {
        let Phase::Connected { publication, .. } = &mut self.phase else {
            return None;
        };
        let Publication::Publishing { stream_id, .. } = *publication else {
            return None;
        };
        *publication = Publication::Idle;
        self.reader.distrust(&self.config.limits);
        self.write_status(stream_id, "status", "NetStream.Unpublish.Success", "");
        Some(Event::Unpublish(reason))
    }
}
