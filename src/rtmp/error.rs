use super::handshake::HandshakeError;

/// Why a session can't go on. Each ends the connection; whatever was whole
/// before it has been delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the peer set a chunk size of 0")]
    ChunkSizeZero,
    #[error(
        "chunk stream {0} continues a message that never began: the byte stream is out of step"
    )]
    NoSuchMessage(u32),
    #[error("a message of {declared} bytes is larger than the {limit} allowed here")]
    MessageTooLarge { declared: usize, limit: usize },
    #[error("a command with {len} bytes of text is larger than the {limit} allowed here")]
    TooMuchText { len: usize, limit: usize },
    #[error("{limit} bytes of unfinished messages are all that a connection may have")]
    TooMuchUnfinished { limit: usize },
    #[error("{limit} bytes came and no publish was accepted")]
    TooMuchBeforePublish { limit: usize },
    #[error("more than {limit} chunk streams at once")]
    TooManyChunkStreams { limit: usize },
    #[error("protocol control message {type_id} has {len} bytes, too few")]
    ShortControlMessage { type_id: u8, len: usize },
    #[error("a command that can't be decoded: {0}")]
    Command(#[from] crate::amf0::Error),
    #[error("the peer published before it connected")]
    PublishBeforeConnect,
    #[error("{limit} bytes of answers wait and the peer does not read them")]
    OutputFull { limit: usize },
}
