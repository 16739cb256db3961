//! An encoder that writes any legal chunk, and knows what has to come out of it.
//! Header fields as in RTMP 1.0, section 5.3.1.

use std::collections::BTreeMap;

use gstrtmp2server::rtmp::{MediaKind, UnpublishReason};

use super::driver::Seen;
use super::pieces::Random;

const SET_CHUNK_SIZE: u8 = 1;
const ABORT: u8 = 2;
const USER_CONTROL: u8 = 4;
const WINDOW: u8 = 5;
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const DATA: u8 = 18;
const COMMAND: u8 = 20;
const AGGREGATE: u8 = 22;

/// The 24-bit time that says that 32 bits follow.
const EXTENDED: u32 = 0xFF_FFFF;

/// The chunk streams of the media: basic headers of each width.
const CHUNK_STREAMS: [u32; 8] = [4, 6, 63, 64, 200, 319, 320, 65_599];
/// Those of controls and commands, on which no media come.
const CONTROLS: u32 = 2;
const COMMANDS: u32 = 3;

/// C0, C1 and C2 of the simple handshake.
pub fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
}

/// All that comes before the first tag.
pub fn until_published() -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.introduce();
    [handshake(), encoder.wire].concat()
}

/// What the fuzzer makes up.
#[derive(Debug, arbitrary::Arbitrary)]
pub enum Step {
    /// The first chunk of a message, in place of what is left of another.
    Begin(Begin),
    /// The next chunk of a message.
    GoOn {
        chunk_stream: u8,
        field: Field,
    },
    ChunkSize(ChunkSize),
    Abort {
        chunk_stream: u8,
    },
    Aggregate {
        time: u32,
        parts: Vec<Part>,
    },
    Command(Command),
    Window(u16),
    Ping(u32),
    /// A message of any type that nobody knows.
    Unknown {
        type_id: u8,
        length: u8,
    },
    /// A header that RTMP has no use for, and whatever follows from it.
    Nonsense(Vec<u8>),
}

#[derive(Debug, arbitrary::Arbitrary)]
pub struct Begin {
    chunk_stream: u8,
    format: u8,
    time: Time,
    kind: Kind,
    length: Length,
}

#[derive(Debug, Clone, Copy, arbitrary::Arbitrary)]
pub enum Length {
    /// Small ones are faster, and have as many chunks if those are small.
    Small(u8),
    Medium(u8),
    Large(u16),
}

#[derive(Debug, arbitrary::Arbitrary)]
pub struct Part {
    kind: Kind,
    time: u32,
    length: u8,
}

#[derive(Debug, Clone, Copy, arbitrary::Arbitrary)]
pub enum Time {
    Near(u8),
    Back(u8),
    /// Around where the field becomes an extended one.
    Border(u8),
    Any(u32),
}

#[derive(Debug, Clone, Copy, Default, arbitrary::Arbitrary)]
pub enum Kind {
    #[default]
    Audio,
    Video,
    Data,
}

/// What encoders put where fmt 3 repeats the extended field.
#[derive(Debug, Clone, Copy, arbitrary::Arbitrary)]
pub enum Field {
    Repeated,
    /// The time where the header had a delta.
    Time,
    LeftOut,
}

#[derive(Debug, Clone, Copy, arbitrary::Arbitrary)]
pub enum ChunkSize {
    One,
    Small(u8),
    Large(u16),
}

#[derive(Debug, Clone, Copy, arbitrary::Arbitrary)]
pub enum Command {
    Connect,
    CreateStream,
    Publish,
    PublishAnOddKey,
    FcUnpublish,
    DeleteStream,
    CloseStream,
    Unknown,
}

/// What the receiver remembers of a chunk stream, kept by the sender here.
#[derive(Default)]
struct Stream {
    time: u32,
    delta: u32,
    /// The last header's extended field.
    field: Option<u32>,
    kind: Kind,
    body: Vec<u8>,
    /// Bytes of the body that are out; none if no message has begun.
    sent: Option<usize>,
    /// The message may still become part of a publication.
    publishing: bool,
    used: bool,
}

pub struct Encoder {
    /// All that was sent behind the handshake.
    pub wire: Vec<u8>,
    /// What the server has to report.
    pub expected: Vec<Seen>,
    /// Something was sent that is no RTMP: all that was sent whole before comes
    /// out, and nobody can say what follows.
    pub nonsense: bool,
    streams: BTreeMap<u32, Stream>,
    chunk_size: usize,
    connected: bool,
    publishing: bool,
    /// Something was accepted once: until then, a stranger's bounds are small.
    published: bool,
    random: Random,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            wire: Vec::new(),
            expected: Vec::new(),
            nonsense: false,
            streams: BTreeMap::new(),
            chunk_size: 128,
            connected: false,
            publishing: false,
            published: false,
            random: Random(1),
        }
    }
}

impl Encoder {
    /// Up to the first tag.
    pub fn introduce(&mut self) {
        for command in [Command::Connect, Command::CreateStream, Command::Publish] {
            self.command(command);
        }
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Begin(begin) => self.begin(&begin),
            Step::GoOn {
                chunk_stream,
                field,
            } => self.go_on(media_stream(chunk_stream), field),
            Step::ChunkSize(size) => {
                let size = match size {
                    ChunkSize::One => 1,
                    ChunkSize::Small(size) => size.max(1).into(),
                    ChunkSize::Large(size) => u32::from(size) + 1,
                };
                self.control(SET_CHUNK_SIZE, &size.to_be_bytes());
                self.chunk_size = size as usize;
            }
            Step::Abort { chunk_stream } => {
                let id = media_stream(chunk_stream);
                self.control(ABORT, &id.to_be_bytes());
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.sent = None;
                }
            }
            Step::Aggregate { time, parts } => self.aggregate(time, &parts),
            Step::Command(command) => self.command(command),
            Step::Window(size) => self.control(WINDOW, &u32::from(size).to_be_bytes()),
            Step::Ping(time) => {
                let [a, b, c, d] = time.to_be_bytes();
                self.control(USER_CONTROL, &[0, 6, a, b, c, d]);
            }
            Step::Unknown { type_id, length } => {
                // Those from 24 on are nobody's.
                let body = self.random.bytes(length.into());
                self.message(CONTROLS, type_id | 24, 0, &body);
            }
            Step::Nonsense(bytes) => {
                self.nonsense = true;
                self.wire.extend(bytes);
            }
        }
    }

    /// Ends every message, so that none may wait for a byte after its last.
    pub fn finish(&mut self) {
        const ACKNOWLEDGEMENT: u8 = 3;
        let open: Vec<_> = self.streams.keys().copied().collect();
        for id in open {
            while self.streams[&id].sent.is_some() {
                self.go_on(id, Field::Repeated);
            }
        }
        self.control(ACKNOWLEDGEMENT, &[0; 4]);
    }

    fn begin(&mut self, begin: &Begin) {
        let id = media_stream(begin.chunk_stream);
        let stream = self.streams.entry(id).or_default();
        // A chunk stream begins with a length, and fmt 3 within a message is
        // its next chunk.
        let formats = match (stream.used, stream.sent) {
            (false, _) => 2,
            (true, Some(_)) => 3,
            (true, None) => 4,
        };
        let format = begin.format % formats;
        let time = match begin.time {
            Time::Near(time) => time.into(),
            Time::Back(time) => u32::from(time).wrapping_neg(),
            Time::Border(time) => EXTENDED - 128 + u32::from(time),
            Time::Any(time) => time,
        };
        let mut length = stream.body.len();
        if format < 2 {
            stream.kind = begin.kind;
            length = match begin.length {
                Length::Small(length) => usize::from(length) % 16,
                Length::Medium(length) => length.into(),
                Length::Large(length) => length.into(),
            };
        }
        if !self.published {
            length = length.min(1000);
        }
        if format < 3 {
            stream.delta = time;
            stream.field = (time >= EXTENDED).then_some(time);
        }
        stream.time = match format {
            0 => time,
            _ => stream.time.wrapping_add(stream.delta),
        };
        stream.body = self.random.bytes(length);
        stream.sent = Some(0);
        // What came before the first publish may end in it; what came between two
        // is nobody's.
        stream.publishing = self.publishing || !self.published;
        stream.used = true;
        // The message stream differs to show that nobody cares.
        let shape = (length, stream.kind.type_id());
        let header = header(
            id,
            format,
            time,
            stream.field,
            shape,
            self.random.next() as u32,
        );
        self.wire.extend(header);
        self.payload(id);
    }

    fn go_on(&mut self, id: u32, field: Field) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let Some(sent) = stream.sent else {
            return;
        };
        self.wire.extend(basic_header(id, 3));
        if let Some(extended) = stream.field {
            let known = [extended.to_be_bytes(), stream.time.to_be_bytes()];
            // What follows may be taken for the field, by anybody.
            let payload = &stream.body[sent..stream.body.len().min(sent + self.chunk_size)];
            let unlike =
                payload.len() >= 4 && known.iter().all(|known| !payload.starts_with(known));
            match field {
                Field::LeftOut if unlike => {}
                Field::Time => self.wire.extend(known[1]),
                Field::LeftOut | Field::Repeated => self.wire.extend(known[0]),
            }
        }
        self.payload(id);
    }

    fn payload(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let sent = stream.sent.unwrap_or_default();
        let end = (sent + self.chunk_size).min(stream.body.len());
        self.wire.extend(&stream.body[sent..end]);
        stream.sent = Some(end);
        if end == stream.body.len() {
            stream.sent = None;
            if stream.publishing && self.publishing && !self.nonsense {
                let seen = Seen::Media(stream.kind.media(), stream.time, stream.body.clone());
                self.expected.push(seen);
            }
        }
    }

    fn aggregate(&mut self, time: u32, parts: &[Part]) {
        let most = if self.published { 50 } else { 20 };
        let parts = &parts[..parts.len().min(most)];
        let mut body = Vec::new();
        for part in parts {
            let payload = self.random.bytes(part.length.into());
            let [high, times @ ..] = part.time.to_be_bytes();
            body.push(part.kind.type_id());
            body.extend([0, 0, part.length]);
            body.extend(times);
            body.extend([high, 0, 0, 0]);
            body.extend(&payload);
            body.extend((11 + u32::from(part.length)).to_be_bytes());
            if self.publishing && !self.nonsense {
                let after = part.time.wrapping_sub(parts[0].time);
                let time = time.wrapping_add(after);
                self.expected
                    .push(Seen::Media(part.kind.media(), time, payload));
            }
        }
        self.message(COMMANDS, AGGREGATE, time, &body);
    }

    fn command(&mut self, command: Command) {
        let (name, argument) = match command {
            Command::Connect => ("connect", object("app", "live")),
            Command::CreateStream => ("createStream", vec![]),
            Command::Publish => ("publish", string("test")),
            Command::PublishAnOddKey => ("publish", string("wrong")),
            Command::FcUnpublish => ("FCUnpublish", string("test")),
            Command::DeleteStream => ("deleteStream", string("test")),
            Command::CloseStream => ("closeStream", vec![]),
            Command::Unknown => ("hello", vec![]),
        };
        const NULL: u8 = 5;
        let mut body = string(name);
        body.extend([0; 9]);
        if !matches!(command, Command::Connect) {
            body.push(NULL);
        }
        body.extend(argument);
        self.message(COMMANDS, COMMAND, 0, &body);
        if !self.nonsense {
            self.expect(command);
        }
    }

    fn expect(&mut self, command: Command) {
        let reason = match command {
            Command::Connect if !self.publishing => {
                self.connected = true;
                return self.expected.push(Seen::Connected {
                    app: "live".to_owned(),
                });
            }
            Command::Publish | Command::PublishAnOddKey if !self.connected => {
                // That is the end.
                self.nonsense = true;
                return;
            }
            Command::Publish | Command::PublishAnOddKey if !self.publishing => {
                self.publishing = matches!(command, Command::Publish);
                self.published |= self.publishing;
                let key = if self.publishing { "test" } else { "wrong" };
                return self.expected.push(Seen::Publish {
                    app: "live".to_owned(),
                    key: key.to_owned(),
                });
            }
            Command::FcUnpublish => UnpublishReason::FcUnpublish,
            Command::DeleteStream => UnpublishReason::DeleteStream,
            Command::CloseStream => UnpublishReason::CloseStream,
            _ => return,
        };
        if std::mem::take(&mut self.publishing) {
            self.expected.push(Seen::Unpublish(reason));
            // What is not whole by then is not part of it, and of no other.
            self.streams.values_mut().for_each(|s| s.publishing = false);
        }
    }

    fn control(&mut self, type_id: u8, body: &[u8]) {
        self.message(CONTROLS, type_id, 0, body);
    }

    /// A whole message, without another between its chunks.
    fn message(&mut self, id: u32, type_id: u8, time: u32, body: &[u8]) {
        let field = (time >= EXTENDED).then_some(time);
        let shape = (body.len(), type_id);
        self.wire.extend(header(id, 0, time, field, shape, 0));
        for (n, payload) in body.chunks(self.chunk_size).enumerate() {
            if n > 0 {
                self.wire.extend(basic_header(id, 3));
                self.wire
                    .extend(field.map_or_else(Vec::new, |f| f.to_be_bytes().to_vec()));
            }
            self.wire.extend(payload);
        }
    }
}

impl Kind {
    fn type_id(self) -> u8 {
        match self {
            Self::Audio => AUDIO,
            Self::Video => VIDEO,
            Self::Data => DATA,
        }
    }

    fn media(self) -> MediaKind {
        match self {
            Self::Audio => MediaKind::Audio,
            Self::Video => MediaKind::Video,
            Self::Data => MediaKind::Script,
        }
    }
}

fn media_stream(number: u8) -> u32 {
    CHUNK_STREAMS[usize::from(number) % CHUNK_STREAMS.len()]
}

fn basic_header(id: u32, format: u8) -> Vec<u8> {
    let high = format << 6;
    match id {
        ..64 => vec![high | id as u8],
        64..320 => vec![high, (id - 64) as u8],
        _ => {
            let [low, middle, ..] = (id - 64).to_le_bytes();
            vec![high | 1, low, middle]
        }
    }
}

/// `shape` is length and type, `field` the extended time if there is one.
fn header(
    id: u32,
    format: u8,
    time: u32,
    field: Option<u32>,
    shape: (usize, u8),
    message_stream: u32,
) -> Vec<u8> {
    let mut bytes = basic_header(id, format);
    if format < 3 {
        bytes.extend(&time.min(EXTENDED).to_be_bytes()[1..]);
    }
    if format < 2 {
        bytes.extend(&(shape.0 as u32).to_be_bytes()[1..]);
        bytes.push(shape.1);
    }
    if format == 0 {
        bytes.extend(message_stream.to_le_bytes());
    }
    bytes.extend(field.map_or_else(Vec::new, |field| field.to_be_bytes().to_vec()));
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [&[2, 0, text.len() as u8], text.as_bytes()].concat()
}

fn object(name: &str, value: &str) -> Vec<u8> {
    [&[3], &string(name)[1..], &string(value), &[0, 0, 9]].concat()
}
