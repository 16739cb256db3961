//! One client's session, from C0 to the last message.

mod answers;
mod commands;
mod verdicts;

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;

use answers::CONTROL;

use super::aggregate::Aggregate;
use super::chunk::{ChunkReader, ChunkWriter, DEFAULT_CHUNK_SIZE, Read};
use super::handshake::{Progress, ServerHandshake};
use super::message::{Media, MediaKind, Message, type_id};
use super::publish::{Connect, PublishRequest, UnpublishReason};
use super::{Error, Limits};
use crate::amf0;

/// Announced before the answer to `connect`: ffmpeg copies it, which saves most
/// chunk headers, and OBS up to 26 keeps its former size until it hears one.
const CHUNK_SIZE: u32 = 65_536;
/// Window that we ask the peer to acknowledge by, in bytes. What we send stays
/// far below it, so it costs nobody a message.
const WINDOW: u32 = 2_500_000;

/// Where a session's message bodies and limits come from.
#[derive(Debug, Clone, Default)]
pub struct SessionConfig {
    pub limits: Limits,
    /// Spare bytes in front of each media body, for the layer that frames it.
    pub headroom: usize,
    /// Spare capacity behind each media body.
    pub tailroom: usize,
}

/// What one call of [`Session::poll`] came to.
#[derive(Debug, PartialEq)]
pub enum Step {
    Event(Event),
    /// All of the input that can be used has been, or as many answers wait as
    /// may. Write [`Session::output`]; if there was any, poll again at once. Then
    /// keep what is left of the input and poll again with more behind it.
    NeedMore,
}

/// What happened in a session.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A client waits for [`Session::accept_connect`] or
    /// [`Session::reject_connect`]; until then, polling consumes nothing.
    Connect(Arc<Connect>),
    /// A publisher waits for [`Session::accept_publish`] or
    /// [`Session::reject_publish`]; until then, polling consumes nothing.
    Publish(PublishRequest),
    Media(Media),
    /// The publication ended by the peer's word. Another may follow.
    Unpublish(UnpublishReason),
}

/// Figures of a session, as `stats` shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Payload bytes per chunk, received and sent.
    pub in_chunk_size: u32,
    pub out_chunk_size: u32,
    /// The peer's window in bytes; 0 = it announced none and gets no Acknowledgement.
    pub in_window_ack_size: u32,
    pub out_window_ack_size: u32,
    /// Bytes consumed, and how many of them were acknowledged.
    pub in_bytes_total: u64,
    pub in_bytes_acked: u64,
    /// The peer's last Acknowledgement (modulo 2³²).
    pub out_bytes_acked: u32,
    /// Messages of unknown or unused types.
    pub ignored_messages: u64,
    /// Media outside a publication.
    pub stray_media: u64,
    /// Messages given up half-way by the peer.
    pub restarted_messages: u64,
}

/// A server's side of one RTMP connection. See the [module](super) for how it is driven.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    phase: Phase,
    reader: ChunkReader,
    writer: ChunkWriter,
    output: BytesMut,
    /// The output was above its bound when polling last stopped.
    output_overdue: bool,
    counters: Counters,
    streams_created: u32,
    /// Bytes that may still come until a publish is accepted; none = one was.
    allowance: Option<usize>,
}

/// What exists in one phase only lives in it.
///
/// ```text
///   Handshake ──C2──▶ Connecting ──connect──▶ Admitting ──accept──▶ Connected
///                         ▲                       │
///                         └────────reject─────────┘
///
///   Connected:  Idle ──publish──▶ Deciding ──accept──▶ Publishing
///                ▲                    │                     │
///                ├───────reject───────┘                     │
///                └─────────────────unpublish────────────────┘
/// ```
#[derive(Debug)]
enum Phase {
    Handshake(Box<ServerHandshake>),
    Connecting,
    Admitting {
        connect: Arc<Connect>,
        transaction_id: f64,
    },
    Connected {
        connect: Arc<Connect>,
        publication: Publication,
    },
}

#[derive(Debug)]
enum Publication {
    Idle,
    Deciding {
        stream_id: u32,
        name: Name,
    },
    Publishing {
        stream_id: u32,
        name: Name,
        aggregate: Option<Aggregate>,
    },
}

/// What was asked to be published, key and all: not for `{:?}`.
struct Name(String);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Session {
    /// A session that awaits C0. `seed` makes up the random part of S1.
    pub fn new(config: SessionConfig, seed: [u8; 32]) -> Self {
        let reader = ChunkReader::new(&config.limits, config.headroom, config.tailroom);
        let allowance = Some(config.limits.max_stranger_total);
        Self {
            config,
            phase: Phase::Handshake(Box::new(ServerHandshake::new(seed))),
            reader,
            writer: ChunkWriter::default(),
            output: BytesMut::new(),
            output_overdue: false,
            counters: Counters {
                in_chunk_size: DEFAULT_CHUNK_SIZE,
                out_chunk_size: DEFAULT_CHUNK_SIZE,
                ..Counters::default()
            },
            streams_created: 0,
            allowance,
        }
    }

    /// The next event of `input`, consuming what it takes.
    ///
    /// On an error what the peer should still read is in [`output`](Self::output):
    /// write it, then close.
    pub fn poll(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        let limit = self.max_output();
        let overdue = std::mem::take(&mut self.output_overdue);
        let full = self.output.len() > limit;
        // Only who has had the chance to write it and could not has a peer that
        // does not read: how much came in one read must not decide.
        if full && overdue {
            return Err(Error::OutputFull { limit });
        }
        let offered = input.len();
        let step = match full {
            true => Ok(Step::NeedMore),
            false => self.step_within_allowance(input),
        };
        let consumed = offered - input.len();
        self.counters.in_bytes_total += consumed as u64;
        if let Some(allowance) = &mut self.allowance {
            *allowance -= consumed;
        }
        match step {
            Ok(Step::NeedMore) => {
                self.acknowledge();
                self.output_overdue = self.output.len() > limit;
            }
            Ok(Step::Event(_)) => {}
            Err(ref error) => {
                self.farewell(error);
                // The connection lingers so that the peer can read that.
                self.reader.clear();
            }
        }
        step
    }

    /// Bytes to send to the peer. What was sent is to be taken off its front.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// See [`output`](Self::output).
    pub fn output_mut(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Whether the peer has sent C0 and C1 and was answered: it speaks RTMP, and the
    /// rest of the handshake is a matter of one round trip.
    pub fn has_greeted(&self) -> bool {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.has_answered(),
            Phase::Connecting | Phase::Admitting { .. } | Phase::Connected { .. } => true,
        }
    }

    /// Bytes held of messages that are not whole yet.
    pub fn unfinished_bytes(&self) -> usize {
        self.reader.unfinished()
    }

    /// Chunk streams that the peer has used.
    pub fn chunk_streams(&self) -> usize {
        self.reader.chunk_streams()
    }

    /// Whether the handshake was completed.
    pub fn is_past_handshake(&self) -> bool {
        !matches!(self.phase, Phase::Handshake(_))
    }

    /// Whether a publish request was accepted and has not ended.
    pub fn is_publishing(&self) -> bool {
        matches!(
            self.phase,
            Phase::Connected {
                publication: Publication::Publishing { .. },
                ..
            }
        )
    }

    /// Answers that may wait.
    fn max_output(&self) -> usize {
        let limits = &self.config.limits;
        match self.allowance {
            Some(_) => limits.max_output.min(limits.max_stranger_bytes),
            None => limits.max_output,
        }
    }

    fn is_deciding(&self) -> bool {
        matches!(
            self.phase,
            Phase::Connected {
                publication: Publication::Deciding { .. },
                ..
            }
        )
    }

    /// Figures up to now.
    pub fn counters(&self) -> Counters {
        Counters {
            in_chunk_size: self.reader.chunk_size(),
            out_chunk_size: self.writer.chunk_size(),
            restarted_messages: self.reader.restarted(),
            ..self.counters
        }
    }

    /// Shows the session no more than a stranger may send, so that how much came in
    /// one read decides nothing.
    fn step_within_allowance(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        let (mut allowed, beyond) = match self.allowance {
            Some(allowance) => input.split_at(allowance.min(input.len())),
            None => (*input, &[][..]),
        };
        let step = self.step(&mut allowed);
        *input = &input[input.len() - beyond.len() - allowed.len()..];
        let waits_for_us = self.is_deciding() || self.output.len() > self.max_output();
        if step == Ok(Step::NeedMore) && !beyond.is_empty() && !waits_for_us {
            let limit = self.config.limits.max_stranger_total;
            return Err(Error::TooMuchBeforePublish { limit });
        }
        step
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        loop {
            match &mut self.phase {
                Phase::Handshake(handshake) => match handshake.read(input, &mut self.output)? {
                    Progress::NeedMore => return Ok(Step::NeedMore),
                    Progress::Done => self.phase = Phase::Connecting,
                },
                Phase::Admitting { .. }
                | Phase::Connected {
                    publication: Publication::Deciding { .. },
                    ..
                } => return Ok(Step::NeedMore),
                Phase::Connected {
                    publication:
                        Publication::Publishing {
                            aggregate: parts @ Some(_),
                            ..
                        },
                    ..
                } => {
                    let (headroom, tailroom) = (self.config.headroom, self.config.tailroom);
                    match parts.as_mut().and_then(|p| p.next(headroom, tailroom)) {
                        None => *parts = None,
                        Some(part) if !Aggregate::is_part(part.type_id) => {
                            self.counters.ignored_messages += 1;
                        }
                        Some(part) => {
                            if let Some(event) = self.media(part) {
                                return Ok(Step::Event(event));
                            }
                        }
                    }
                }
                Phase::Connecting | Phase::Connected { .. } => match self.reader.read(input)? {
                    Read::NeedMore => return Ok(Step::NeedMore),
                    Read::Stray => self.counters.stray_media += 1,
                    Read::Message(message) => {
                        if let Some(event) = self.message(message)? {
                            return Ok(Step::Event(event));
                        }
                    }
                },
            }
            // A flood of requests in one read must not outgrow the bound either.
            if self.output.len() > self.max_output() {
                return Ok(Step::NeedMore);
            }
        }
    }

    fn message(&mut self, message: Message) -> Result<Option<Event>, Error> {
        match message.type_id {
            type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF0 | type_id::DATA_AMF3 => {
                Ok(self.media(message))
            }
            type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 => self.command(&message),
            type_id::AGGREGATE => {
                match &mut self.phase {
                    Phase::Connected {
                        publication: Publication::Publishing { aggregate, .. },
                        ..
                    } => *aggregate = Some(Aggregate::new(message)),
                    _ => self.counters.stray_media += 1,
                }
                Ok(None)
            }
            _ => self.control(&message).map(|()| None),
        }
    }

    /// Protocol control and user control messages (sections 5.4 and 6.2).
    fn control(&mut self, message: &Message) -> Result<(), Error> {
        let number = || {
            message
                .body
                .first_chunk::<4>()
                .map(|bytes| u32::from_be_bytes(*bytes))
                .ok_or(Error::ShortControlMessage {
                    type_id: message.type_id,
                    len: message.body.len(),
                })
        };
        match message.type_id {
            type_id::SET_CHUNK_SIZE => self.reader.set_chunk_size(number()?)?,
            type_id::ABORT => self.reader.abort(number()?),
            type_id::ACKNOWLEDGEMENT => self.counters.out_bytes_acked = number()?,
            // 0 would be an acknowledgement per nothing: as if none was announced.
            type_id::WINDOW_ACK_SIZE => self.counters.in_window_ack_size = number()?,
            // It limits what we send, and that is next to nothing.
            type_id::SET_PEER_BANDWIDTH => {}
            type_id::USER_CONTROL => {
                const PING_REQUEST: [u8; 2] = [0, 6];
                const PING_RESPONSE: [u8; 2] = [0, 7];
                if let Some((&PING_REQUEST, rest)) = message.body.split_first_chunk::<2>()
                    && let Some(time) = rest.first_chunk::<4>()
                {
                    let answer = [&PING_RESPONSE[..], time].concat();
                    self.write(CONTROL, type_id::USER_CONTROL, 0, &answer);
                }
            }
            _ => self.counters.ignored_messages += 1,
        }
        Ok(())
    }

    fn media(&mut self, mut message: Message) -> Option<Event> {
        if !self.is_publishing() {
            self.counters.stray_media += 1;
            return None;
        }
        let kind = match message.type_id {
            type_id::AUDIO => MediaKind::Audio,
            type_id::VIDEO => MediaKind::Video,
            _ => {
                if message.type_id == type_id::DATA_AMF3 {
                    message.body.strip_front(1);
                }
                // The wrapper is for the server: a file begins with what it sets.
                if let Some((b"@setDataFrame", length)) = amf0::skip_string(&message.body) {
                    message.body.strip_front(length);
                }
                MediaKind::Script
            }
        };
        Some(Event::Media(Media {
            kind,
            timestamp: message.timestamp,
            body: message.body,
        }))
    }
}
