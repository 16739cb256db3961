//! The one buffer between a socket and its session.

/// What a connection starts and idles with, in bytes. Holds a whole handshake
/// packet, the largest thing that a session leaves unconsumed.
const MIN: usize = 16 << 10;
/// What it grows to while the socket always has more: with the bodies that it is
/// copied to, it stays in a core's own cache.
const MAX: usize = 256 << 10;
/// Reads below a quarter of the buffer, in a row, after which it halves.
const PATIENCE: u8 = 16;

/// Bytes read and not yet consumed, in a buffer that follows the socket's pace:
/// fewer calls for a burst, little memory for a trickle.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    small_reads: u8,
}

impl ReadBuffer {
    /// Costs nothing before the first read.
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            small_reads: 0,
        }
    }

    /// What waits to be consumed.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Keeps only the last `left` bytes of [`unread`](Self::unread).
    pub fn keep(&mut self, left: usize) {
        debug_assert!(left <= self.end - self.start);
        self.start = self.end - left;
    }

    /// Whether there is no room for another read.
    pub fn is_full(&self) -> bool {
        self.unread().len() >= self.bytes.len().max(MIN)
    }

    /// Gives all memory back that [`unread`](Self::unread) does not need.
    pub fn release(&mut self) {
        if self.unread().len() < self.bytes.len() {
            let bytes = self.unread().to_vec();
            *self = Self {
                start: 0,
                end: bytes.len(),
                bytes,
                small_reads: 0,
            };
        }
    }

    /// Room for the next read; none if the buffer [is full](Self::is_full).
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.bytes.len() < MIN {
            self.bytes.reserve_exact(MIN - self.bytes.len());
            self.bytes.resize(MIN, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// `n` bytes were read into [`room`](Self::room).
    pub fn filled(&mut self, n: usize, may_grow: bool) {
        let room = self.bytes.len() - self.end;
        self.end += n.min(room);
        if may_grow && n == room && self.bytes.len() < MAX {
            let size = self.bytes.len() * 2;
            self.bytes.resize(size, 0);
            self.small_reads = 0;
        } else if n < self.bytes.len() / 4 && self.bytes.len() > MIN {
            self.small_reads += 1;
        } else {
            self.small_reads = 0;
        }
        if self.small_reads >= PATIENCE && self.end <= self.bytes.len() / 2 {
            self.bytes.truncate(self.bytes.len() / 2);
            self.bytes.shrink_to_fit();
            self.small_reads = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffer: &mut ReadBuffer, bytes: &[u8]) -> usize {
        let room = buffer.room();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        buffer.filled(n, true);
        n
    }

    #[test]
    fn nothing_is_lost_between_reads() {
        let sent: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let (mut buffer, mut rest, mut got) = (ReadBuffer::new(), &sent[..], Vec::new());
        while !rest.is_empty() {
            let n = read(&mut buffer, rest);
            rest = &rest[n..];
            // Leave a header's worth behind, as a session does.
            let left = if rest.is_empty() { 0 } else { 13 };
            let unread = buffer.unread();
            got.extend_from_slice(&unread[..unread.len() - left]);
            buffer.keep(left);
        }
        assert!(got == sent);
    }

    #[test]
    fn no_growth_where_none_may_be() {
        let mut buffer = ReadBuffer::new();
        for _ in 0..20 {
            let n = buffer.room().len();
            buffer.filled(n, false);
            buffer.keep(0);
        }
        assert_eq!(buffer.bytes.capacity(), MIN);
    }

    #[test]
    fn an_empty_buffer_costs_nothing() {
        let mut buffer = ReadBuffer::new();
        assert!(!buffer.is_full());
        read(&mut buffer, &[7; 100]);
        buffer.keep(0);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
        read(&mut buffer, &[8; 100]);
        assert_eq!(buffer.unread(), [8; 100]);
    }

    #[test]
    fn releasing_loses_nothing() {
        let mut buffer = ReadBuffer::new();
        for _ in 0..10 {
            let room = buffer.room().len();
            read(&mut buffer, &vec![0; room]);
            buffer.keep(0);
        }
        let sent: Vec<u8> = (0..=255).cycle().take(MIN + 1000).collect();
        read(&mut buffer, &sent);
        for left in [MIN, 5] {
            buffer.keep(left);
            buffer.release();
            assert_eq!(buffer.unread(), &sent[sent.len() - left..]);
            assert_eq!(buffer.bytes.capacity(), left);
            assert_eq!(buffer.is_full(), left == MIN);
        }
        assert_eq!(buffer.room().len(), MIN - 5);
        assert_eq!(buffer.unread(), &sent[sent.len() - 5..]);
    }

    #[test]
    fn the_size_follows_the_pace() {
        let mut buffer = ReadBuffer::new();
        for _ in 0..20 {
            let room = buffer.room().len();
            read(&mut buffer, &vec![0; room]);
            buffer.keep(0);
        }
        assert_eq!(buffer.bytes.len(), MAX);
        for _ in 0..20 * u32::from(PATIENCE) {
            read(&mut buffer, &[0; 100]);
            buffer.keep(0);
        }
        assert_eq!(buffer.bytes.capacity(), MIN);
    }
}
