//! Aggregate messages: several media messages in one (RTMP 1.0, section 7.1.6).

use super::message::{Body, Message, type_id};

/// Type, length, time and message stream id in front of each part.
const PART_HEADER: usize = 11;
/// Length of the part before, behind each part.
const BACK_POINTER: usize = 4;

/// Hands out the parts of one aggregate message in order.
#[derive(Debug)]
pub(crate) struct Aggregate {
    message: Message,
    position: usize,
    /// Time of the first part, from which the others are counted.
    first: Option<u32>,
}

impl Aggregate {
    pub fn new(message: Message) -> Self {
        Self {
            message,
            position: 0,
            first: None,
        }
    }

    /// The next part as a message of its own, its time moved to the aggregate's:
    /// the parts carry a time base of the sender's own.
    ///
    /// A part cut short ends the aggregate: what is whole before it stays.
    pub fn next(&mut self, headroom: usize, tailroom: usize) -> Option<Message> {
        let rest = self.message.body.get(self.position..)?;
        let (header, rest) = rest.split_first_chunk::<PART_HEADER>()?;
        let [kind, l2, l1, l0, t2, t1, t0, t3, ..] = *header;
        let length = u32::from_be_bytes([0, l2, l1, l0]) as usize;
        let time = u32::from_be_bytes([t3, t2, t1, t0]);
        let payload = rest.get(..length)?;

        self.position += PART_HEADER + length + BACK_POINTER;
        let first = *self.first.get_or_insert(time);
        Some(Message {
            timestamp: self
                .message
                .timestamp
                .wrapping_add(time.wrapping_sub(first)),
            type_id: kind,
            stream_id: self.message.stream_id,
            body: Body::copy_of(payload, headroom, tailroom),
        })
    }

    /// Only media may be a part. An aggregate in an aggregate would be recursion
    /// at the peer's will; commands and controls have no business in one.
    pub fn is_part(kind: u8) -> bool {
        matches!(
            kind,
            type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF0 | type_id::DATA_AMF3
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: u8, time: u32, payload: &[u8]) -> Vec<u8> {
        let [t3, t2, t1, t0] = time.to_be_bytes();
        let [_, l2, l1, l0] = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![kind, l2, l1, l0, t2, t1, t0, t3, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(&(11 + payload.len() as u32).to_be_bytes());
        bytes
    }

    fn split(timestamp: u32, body: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        let mut aggregate = Aggregate::new(Message {
            timestamp,
            type_id: type_id::AGGREGATE,
            stream_id: 1,
            body: Body::copy_of(body, 0, 0),
        });
        std::iter::from_fn(|| aggregate.next(11, 4))
            .map(|m| (m.type_id, m.timestamp, m.body.to_vec()))
            .collect()
    }

    #[test]
    fn parts_are_rebased_to_the_aggregate() {
        let body = [
            part(8, 70_000, b"a"),
            part(9, 70_040, b"bc"),
            part(8, 69_990, b""),
        ]
        .concat();
        let expected = vec![
            (8, 5, b"a".to_vec()),
            (9, 45, b"bc".to_vec()),
            (8, 5u32.wrapping_sub(10), vec![]),
        ];
        assert_eq!(split(5, &body), expected);
    }

    #[test]
    fn the_time_has_its_high_byte_last() {
        let body = [part(8, 0x0100_0000, b"a"), part(8, 0x0200_0001, b"b")].concat();
        assert_eq!(split(0, &body)[1].1, 0x0100_0001);
    }

    #[test]
    fn a_cut_at_any_byte_keeps_the_whole_parts() {
        let one = part(8, 0, b"abc");
        let body = [one.clone(), part(9, 1, b"def")].concat();
        for n in 0..=body.len() {
            // The last back pointer may be missing: some encoders leave it out.
            let whole = match n {
                _ if n >= body.len() - 4 => 2,
                _ if n >= one.len() - 4 => 1,
                _ => 0,
            };
            assert_eq!(split(0, &body[..n]).len(), whole, "cut at {n}");
        }
    }
}
