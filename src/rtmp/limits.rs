/// What one peer may make the session hold or do.
///
/// Every bound is on something that the peer alone decides, so each is checked
/// against what arrived, never against what was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest audio, video or data message of an accepted publisher, in bytes.
    /// Default and maximum 16 MiB − 1, all that the 24-bit length can say.
    pub max_message_size: usize,
    /// Bytes of messages begun and not finished, over all chunk streams of an
    /// accepted publisher. Must hold one message of `max_message_size`.
    pub max_unfinished: usize,
    /// The same two bounds until a publish was accepted, and for every command, the
    /// texts of `connect` and `publish` (which are kept), and the answers that wait
    /// for a stranger: it may cost a few times this much and no more. Real `connect`
    /// commands stay below 5 KiB even with signed tokens in several places.
    pub max_stranger_bytes: usize,
    /// Bytes that a peer may send in all until a publish was accepted. What a
    /// stranger says is cheap to refuse and not free; a message is a byte at
    /// least, so this bounds their number, too. Real encoders have published
    /// within 10 KiB, the handshake included.
    pub max_stranger_total: usize,
    /// Chunk streams that a connection may have used, for the last header of each is
    /// kept. Real encoders use 2 to 6; each one costs about 100 bytes.
    pub max_chunk_streams: usize,
    /// Bytes of answers that may wait for a publisher which asks and never reads.
    /// Few ask for more than their handshake and four or five answers.
    pub max_output: usize,
}

impl Limits {
    /// The largest message that the 24-bit length field can declare.
    pub const LARGEST_MESSAGE: usize = 0xFF_FFFF;

    /// Limits for a publisher whose messages have at most `size` bytes.
    pub fn with_max_message_size(size: usize) -> Self {
        let size = size.min(Self::LARGEST_MESSAGE);
        Self {
            max_message_size: size,
            // One message of full size and, interleaved with it, ordinary ones.
            max_unfinished: size.saturating_add(1 << 20),
            max_stranger_bytes: 8 << 10,
            max_stranger_total: 256 << 10,
            max_chunk_streams: 128,
            max_output: 64 << 10,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_max_message_size(Self::LARGEST_MESSAGE)
    }
}
