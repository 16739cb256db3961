//! The last tags of a publisher that says goodbye.

use std::collections::VecDeque;

use crate::flv::{self, AudioPacket};
use crate::rtmp::{Media, MediaKind};
use crate::server::Item;

/// How many ends of sequence may wait, one for each track, and how long they are: real ones have 2 to 7 bytes.
const MOST: usize = 16;
const LONGEST: usize = 64;

/// Lets a codec's end of sequence wait for what comes behind it: another tag, or the end of the publication.
///
/// flvdemux of GStreamer 1.28 takes it for the end of everything. If it went out at once, the pipeline would have ended
/// while the publisher still says that it ends, and the publisher be told of an error.
#[derive(Default)]
pub(super) struct Farewell {
    waiting: Vec<Item>,
    /// Nothing is before these.
    released: VecDeque<Item>,
}

impl Farewell {
    /// The next item of those that `pop` has, and that waited.
    pub fn next(&mut self, mut pop: impl FnMut() -> Option<Item>) -> Option<Item> {
        loop {
            if let Some(item) = self.released.pop_front() {
                return Some(item);
            }
            let item = pop()?;
            if self.waiting.len() < MOST && is_end_of_sequence(&item) {
                self.waiting.push(item);
            } else if self.waiting.is_empty() {
                return Some(item);
            } else {
                self.release();
                self.released.push_back(item);
            }
        }
    }

    /// Nothing comes behind them. Whether there are any.
    pub fn release(&mut self) -> bool {
        self.released.extend(self.waiting.drain(..));
        !self.released.is_empty()
    }
}

fn is_end_of_sequence(item: &Item) -> bool {
    match item {
        Item::Media(Media { kind, body, .. }) if body.len() <= LONGEST => match kind {
            MediaKind::Video => flv::inspect_video(body).is_end_of_sequence(),
            MediaKind::Audio => matches!(flv::inspect_audio(body).packet, AudioPacket::SequenceEnd),
            MediaKind::Script => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::Body;

    fn video(timestamp: u32, body: &[u8]) -> Item {
        Item::Media(Media {
            kind: MediaKind::Video,
            timestamp,
            body: Body::copy_of(body, 0, 0),
        })
    }

    /// Times of all that come out before there is nothing more to take.
    fn drained(farewell: &mut Farewell, items: Vec<Item>) -> Vec<u32> {
        let mut items = items.into_iter();
        let next = || match farewell.next(|| items.next())? {
            Item::Media(media) => Some(media.timestamp),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(next).collect()
    }

    const FRAME: &[u8] = b"\x27\x01\0\0\0frame";
    const END: &[u8] = b"\x17\x02\0\0\0";

    #[test]
    fn ends_wait_for_what_is_behind_them_and_stay_in_their_place() {
        let mut farewell = Farewell::default();
        let items = vec![video(1, FRAME), video(2, END), video(3, END)];
        assert_eq!(drained(&mut farewell, items), [1]);
        assert_eq!(drained(&mut farewell, vec![video(4, FRAME)]), [2, 3, 4]);
        assert_eq!(drained(&mut farewell, vec![video(5, END)]), [0; 0]);
        assert!(farewell.release());
        assert_eq!(drained(&mut farewell, vec![]), [5]);
        assert!(!farewell.release());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut farewell = Farewell::default();
        let many = MOST as u32 + 1;
        let items = (0..many).map(|time| video(time, END)).collect();
        let all: Vec<u32> = (0..many).collect();
        assert_eq!(drained(&mut farewell, items), all);
        let long = [END, &[0; LONGEST]].concat();
        assert_eq!(drained(&mut farewell, vec![video(1, &long)]), [1]);
    }
}
