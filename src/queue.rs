//! The hand-over from a connection to the streaming thread: bounded by bytes,
//! asynchronous on the producer's side, blocking on the consumer's.
//!
//! Nothing is ever dropped. A full queue makes [`Queue::push`] wait, the
//! connection stops reading its socket, and TCP tells the publisher.
//!
//! To wake a thread costs more than to hand over an item: producers say when they are
//! done for now ([`Queue::wake`]) instead of waking the consumer for each item. And the
//! consumer takes what there is by the handful ([`Hand`]), under one lock.

#[cfg(all(test, queue_loom))]
mod loom;
#[cfg(all(test, not(queue_loom)))]
mod tests;

use std::collections::VecDeque;
use std::sync::PoisonError;
#[cfg(not(all(test, queue_loom)))]
use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(not(all(test, queue_loom)))]
use tokio::sync::Notify;

#[cfg(all(test, queue_loom))]
use self::loom::{Condvar, Mutex, MutexGuard, Notify};

/// What an item costs beyond its bytes, so that a flood of empty messages is
/// bounded as well.
const ITEM_OVERHEAD: usize = 128;

/// A handful: so many items at the most, and, but for the first, this share of the queue. Room for the others is made
/// when the last is handed out, so that is the share that a pipeline which stalls may leave unused.
const HAND_ITEMS: usize = 64;
// Loom's queues hold two or three items.
const HAND_SHARE: usize = if cfg!(all(test, queue_loom)) { 1 } else { 64 };

/// A byte-bounded queue with one consumer.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    /// Wakes the consumer: items, the end, or an unlock.
    filled: Condvar,
    /// Wakes producers: room, or the end.
    drained: Notify,
    max_bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<Entry<T>>,
    /// Of the items, and of the last handful until all of it is handed out.
    bytes: usize,
    in_hand: usize,
    high_water: usize,
    /// Without what the consumer has yet to tell.
    tally: Tally,
    /// How often the consumer was unlocked, and up to which of those it has been
    /// locked again. Read under the lock that guards the items: an unlock before
    /// the wait is not lost, nor one that comes while another is being answered.
    unlocked: u64,
    locked: u64,
    /// The consumer sleeps, and nobody has woken it yet.
    consumer_waits: bool,
    /// A producer found no room.
    producer_waits: bool,
    closed: bool,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    weight: usize,
}

/// Every item is in exactly one of these: `received = queued + passed + withheld`
/// at any time. What is queued is what was put in and is not known to have gone:
/// when nothing is, nothing was lost. Marks do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Put in.
    pub received: u64,
    /// In the queue or in the consumer's hands.
    pub queued: u64,
    /// Passed on by the consumer.
    pub passed: u64,
    /// Kept back by the consumer for a reason of its own.
    pub withheld: u64,
}

/// What the consumer has taken, and what it has done since then.
#[derive(Debug)]
pub struct Hand<T> {
    items: VecDeque<T>,
    /// Some of them still count as the queue's, until the last is handed out.
    fills_room: bool,
    passed: u64,
    withheld: u64,
}

/// What the consumer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Something to [take](Queue::take).
    Items,
    /// Unlocked, for this number of times. Items stay where they are.
    Flushing(u64),
    /// Closed, and everything that was in it has been taken.
    Closed,
}

/// The queue takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed")]
pub struct Closed;

impl<T> Queue<T> {
    /// A queue for `max_bytes`; one item always fits, whatever its size.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                in_hand: 0,
                high_water: 0,
                tally: Tally::default(),
                unlocked: 0,
                locked: 0,
                consumer_waits: false,
                producer_waits: false,
                closed: false,
            }),
            filled: Condvar::new(),
            drained: Notify::new(),
            max_bytes,
        }
    }

    /// Puts an item of `bytes` bytes behind the others, waiting for room.
    ///
    /// The consumer may sleep on until [`wake`](Self::wake), or until this waits.
    ///
    /// Cancel safe: an item is in the queue when the future completes, and not
    /// before.
    pub async fn push(&self, item: T, bytes: usize) -> Result<(), Closed> {
        self.put_when_there_is_room(item, bytes, true).await
    }

    /// The same for a mark that a peer can have as many of as it likes. Wakes the
    /// consumer.
    pub async fn push_mark_when_there_is_room(&self, item: T, bytes: usize) -> Result<(), Closed> {
        self.put_when_there_is_room(item, bytes, false).await?;
        self.wake();
        Ok(())
    }

    async fn put_when_there_is_room(
        &self,
        mut item: T,
        bytes: usize,
        counted: bool,
    ) -> Result<(), Closed> {
        loop {
            match self.put_if_there_is_room(item, bytes, counted)? {
                None => return Ok(()),
                Some(back) => item = back,
            }
            let mut room = std::pin::pin!(self.drained.notified());
            // Registered before the last look, or room made in between is missed.
            room.as_mut().enable();
            match self.put_if_there_is_room(item, bytes, counted)? {
                None => return Ok(()),
                Some(back) => item = back,
            }
            // Only the consumer makes room.
            self.wake();
            room.await;
        }
    }

    /// Puts an item in if there is room, else gives it back. The consumer may sleep
    /// on until [`wake`](Self::wake).
    pub fn try_push(&self, item: T, bytes: usize) -> Result<Option<T>, Closed> {
        self.put_if_there_is_room(item, bytes, true)
    }

    fn put_if_there_is_room(
        &self,
        item: T,
        bytes: usize,
        counted: bool,
    ) -> Result<Option<T>, Closed> {
        let weight = bytes + ITEM_OVERHEAD;
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if state.bytes > 0 && state.bytes + weight > self.max_bytes {
            state.producer_waits = true;
            return Ok(Some(item));
        }
        state.put(item, weight, counted);
        Ok(None)
    }

    /// Wakes the consumer, if it sleeps and there is something for it: whoever has put in
    /// what there was for now says so before it waits for more.
    pub fn wake(&self) {
        let mut state = self.lock();
        let wanted = !state.items.is_empty() && std::mem::take(&mut state.consumer_waits);
        drop(state);
        if wanted {
            self.filled.notify_one();
        }
    }

    /// Puts a mark behind the items without waiting, and wakes the consumer: where a
    /// publication ends must be said even when the queue is full.
    pub fn push_mark(&self, item: T) -> Result<(), Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.put(item, ITEM_OVERHEAD, false);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Waits for items. Only for the one consumer, when its hand is empty.
    pub fn wait(&self) -> Found {
        let mut state = self.lock();
        while !state.is_flushing() && !state.closed && state.items.is_empty() {
            state.consumer_waits = true;
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.consumer_waits = false;
        if state.is_flushing() {
            Found::Flushing(state.unlocked)
        } else if state.items.is_empty() {
            Found::Closed
        } else {
            Found::Items
        }
    }

    /// Fills the empty hand with what [`wait`](Self::wait) found, and takes into account what was done with what it held
    /// before.
    pub fn take(&self, hand: &mut Hand<T>) {
        let mut state = self.lock();
        state.tally = hand.tell(state.tally);
        (hand.passed, hand.withheld) = (0, 0);
        let mut room = false;
        while hand.items.len() < HAND_ITEMS
            && let Some(entry) = state.items.front()
            && (hand.items.is_empty()
                || state.in_hand + entry.weight <= self.max_bytes / HAND_SHARE)
        {
            state.in_hand += entry.weight;
            if hand.items.is_empty() {
                // This one is as good as gone. At once, and not when there is more room: a pipeline that stalls would
                // leave that much of its queue unused, for it takes nothing more that could wake the producers.
                room = state.make_room();
            }
            hand.items
                .extend(state.items.pop_front().map(|entry| entry.item));
        }
        hand.fills_room = state.in_hand > 0;
        drop(state);
        if room {
            self.drained.notify_waiters();
        }
    }

    /// The next item of those in hand.
    pub fn pop(&self, hand: &mut Hand<T>) -> Option<T> {
        let item = hand.items.pop_front()?;
        if hand.items.is_empty() && std::mem::take(&mut hand.fills_room) {
            let room = self.lock().make_room();
            if room {
                self.drained.notify_waiters();
            }
        }
        Some(item)
    }

    /// Where the items are, of which the consumer has these in hand.
    pub fn tally(&self, hand: &Hand<T>) -> Tally {
        hand.tell(self.lock().tally)
    }

    /// From now on [`wait`](Self::wait) returns [`Found::Flushing`], at once.
    pub fn unlock(&self) {
        self.lock().unlocked += 1;
        self.filled.notify_all();
    }

    /// Takes back every [`unlock`](Self::unlock) so far.
    pub fn unlock_stop(&self) {
        let mut state = self.lock();
        state.locked = state.unlocked;
    }

    /// Takes back the unlocks up to the one that [`Found::Flushing`] told of. One
    /// that came since stays.
    pub fn resume(&self, unlocked: u64) {
        let mut state = self.lock();
        state.locked = state.locked.max(unlocked);
    }

    /// No more items: producers get [`Closed`], the consumer what is left.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_waiters();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Bytes in the queue now, and the most there ever were; each item counts
    /// 128 bytes more than it has.
    pub fn levels(&self) -> (usize, usize) {
        let state = self.lock();
        (state.bytes, state.high_water)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// What was in the consumer's hand is gone. Whether somebody waits for that.
    fn make_room(&mut self) -> bool {
        let room = std::mem::take(&mut self.in_hand);
        self.bytes -= room;
        room > 0 && std::mem::take(&mut self.producer_waits)
    }

    fn is_flushing(&self) -> bool {
        self.unlocked > self.locked
    }

    fn put(&mut self, item: T, weight: usize, counted: bool) {
        self.items.push_back(Entry { item, weight });
        self.bytes += weight;
        self.tally.received += u64::from(counted);
        self.tally.queued += u64::from(counted);
        self.high_water = self.high_water.max(self.bytes);
    }
}

impl<T> Hand<T> {
    /// An item was passed on.
    pub fn passed(&mut self) {
        self.passed += 1;
    }

    /// An item was kept back.
    pub fn withheld(&mut self) {
        self.withheld += 1;
    }

    /// What the queue does not know yet.
    fn tell(&self, known: Tally) -> Tally {
        Tally {
            received: known.received,
            queued: known.queued - self.passed - self.withheld,
            passed: known.passed + self.passed,
            withheld: known.withheld + self.withheld,
        }
    }
}

impl<T> Default for Hand<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            fills_room: false,
            passed: 0,
            withheld: 0,
        }
    }
}

/// What the streaming thread does, one item at a time.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    pub hand: Hand<T>,
}

#[cfg(test)]
impl<T> Consumer<T> {
    /// The next item, or why there is none.
    pub fn pop(&mut self, queue: &Queue<T>) -> Result<T, Found> {
        loop {
            if let Some(item) = queue.pop(&mut self.hand) {
                return Ok(item);
            }
            match queue.wait() {
                Found::Items => queue.take(&mut self.hand),
                other => return Err(other),
            }
        }
    }
}

#[cfg(test)]
impl<T> Default for Consumer<T> {
    fn default() -> Self {
        Self {
            hand: Hand::default(),
        }
    }
}
