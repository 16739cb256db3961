//! The hand-over from a connection to the streaming thread: bounded by bytes,
//! asynchronous on the producer's side, blocking on the consumer's.
//!
//! Nothing is ever dropped. A full queue makes [`Queue::push`] wait, the
//! connection stops reading its socket, and TCP tells the publisher.
//!
//! To wake a thread costs more than to hand over an item: producers say when they are
//! done for now ([`Queue::wake`]) instead of waking the consumer for each item.

#[cfg(all(test, queue_loom))]
mod loom;

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
    bytes: usize,
    high_water: usize,
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
/// at any time, each counted for itself and all read under one lock. Marks do
/// not count.
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

/// What the consumer found.
#[derive(Debug, PartialEq, Eq)]
pub enum Pop<T> {
    Item(T),
    /// Unlocked, for this number of times. Items stay where they are.
    Flushing(u64),
    /// Closed, and everything that was in it has been handed out.
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

    /// Wakes the consumer, if it sleeps: whoever has put in what there was for now
    /// says so before it waits for more.
    pub fn wake(&self) {
        let mut state = self.lock();
        let sleeps = std::mem::take(&mut state.consumer_waits);
        drop(state);
        if sleeps {
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

    /// The next item, waiting for one. Only for the one consumer.
    pub fn pop(&self) -> Pop<T> {
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
            return Pop::Flushing(state.unlocked);
        }
        let Some(entry) = state.items.pop_front() else {
            return Pop::Closed;
        };
        state.bytes -= entry.weight;
        // At once, and not when there is more room: a pipeline that stalls would leave
        // that much of its queue unused, for it takes nothing more that could wake them.
        let drained = std::mem::take(&mut state.producer_waits);
        drop(state);
        if drained {
            self.drained.notify_waiters();
        }
        Pop::Item(entry.item)
    }

    /// The consumer passed on an item that it had popped.
    pub fn passed(&self) {
        let mut state = self.lock();
        state.tally.queued -= 1;
        state.tally.passed += 1;
    }

    /// The consumer keeps back an item that it had popped.
    pub fn withheld(&self) {
        let mut state = self.lock();
        state.tally.queued -= 1;
        state.tally.withheld += 1;
    }

    /// Where the items are.
    pub fn tally(&self) -> Tally {
        self.lock().tally
    }

    /// From now on [`pop`](Self::pop) returns [`Pop::Flushing`], at once.
    pub fn unlock(&self) {
        self.lock().unlocked += 1;
        self.filled.notify_all();
    }

    /// Takes back every [`unlock`](Self::unlock) so far.
    pub fn unlock_stop(&self) {
        let mut state = self.lock();
        state.locked = state.unlocked;
    }

    /// Takes back the unlocks up to the one that [`Pop::Flushing`] told of. One
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

#[cfg(all(test, not(queue_loom)))]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap()
    }

    #[test]
    fn one_item_always_fits_and_the_next_waits() {
        let queue = Queue::new(10);
        assert_eq!(queue.try_push(1, 1000), Ok(None));
        assert_eq!(queue.try_push(2, 0), Ok(Some(2)));
        assert_eq!(queue.pop(), Pop::Item(1));
        assert_eq!(queue.try_push(2, 0), Ok(None));
    }

    #[test]
    fn an_unlock_before_the_wait_is_not_lost_and_keeps_the_items() {
        let queue = Queue::new(1 << 20);
        queue.try_push(1, 1).unwrap();
        queue.unlock();
        assert_eq!(queue.pop(), Pop::Flushing(1));
        assert_eq!(queue.pop(), Pop::Flushing(1));
        queue.unlock_stop();
        assert_eq!(queue.pop(), Pop::Item(1));
    }

    #[test]
    fn an_unlock_while_another_is_answered_is_not_lost() {
        let queue = Queue::new(1 << 20);
        queue.try_push(1, 1).unwrap();
        queue.unlock();
        let Pop::Flushing(first) = queue.pop() else {
            panic!("unlocked")
        };
        queue.unlock();
        queue.resume(first);
        assert_eq!(queue.pop(), Pop::Flushing(2));
        queue.resume(2);
        assert_eq!(queue.pop(), Pop::Item(1));
    }

    #[test]
    fn marks_of_the_peers_making_are_bounded_too() {
        let queue = Queue::new(10 * ITEM_OVERHEAD);
        let runtime = runtime();
        runtime.block_on(async {
            let taken = std::cell::Cell::new(0);
            let flood = async {
                loop {
                    queue.push_mark_when_there_is_room((), 0).await.unwrap();
                    taken.set(taken.get() + 1);
                }
            };
            let mut flood = std::pin::pin!(flood);
            // Polled until it waits, and no further.
            std::future::poll_fn(|context| {
                assert!(flood.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            assert_eq!(taken.get(), 10);
        });
        assert_eq!(queue.tally(), Tally::default());
    }

    #[test]
    fn closing_hands_out_what_is_left() {
        let queue = Queue::new(1 << 20);
        queue.try_push(1, 1).unwrap();
        queue.push_mark(2).unwrap();
        queue.close();
        assert_eq!(queue.try_push(3, 1), Err(Closed));
        assert_eq!(queue.push_mark(3), Err(Closed));
        assert_eq!(queue.pop(), Pop::Item(1));
        assert_eq!(queue.pop(), Pop::Item(2));
        assert_eq!(queue.pop(), Pop::Closed);
    }

    #[test]
    fn the_tally_accounts_for_every_item() {
        let queue = Queue::new(1 << 20);
        for n in 0..3 {
            queue.try_push(n, 1).unwrap();
        }
        queue.push_mark(9).unwrap();
        queue.pop();
        queue.passed();
        queue.pop();
        queue.withheld();
        queue.pop();
        let expected = Tally {
            received: 3,
            queued: 1,
            passed: 1,
            withheld: 1,
        };
        assert_eq!(queue.tally(), expected);
    }

    #[test]
    fn a_slow_consumer_gets_everything_in_order_within_the_bound() {
        const ITEMS: u32 = 20_000;
        const MAX: usize = 64 * (100 + ITEM_OVERHEAD);
        let queue = Arc::new(Queue::new(MAX));
        let runtime = runtime();
        let producer = runtime.spawn({
            let queue = queue.clone();
            async move {
                for n in 0..ITEMS {
                    queue.push(n, 100).await.unwrap();
                    // In batches that the queue's size is no multiple of.
                    if n % 7 == 0 {
                        queue.wake();
                    }
                }
                queue.close();
            }
        });
        // An impatient streaming thread: unlocked now and then, and the queue
        // always full.
        let unlocker = thread::spawn({
            let queue = queue.clone();
            move || {
                while !queue.is_closed() {
                    queue.unlock();
                    queue.unlock_stop();
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        loop {
            match queue.pop() {
                Pop::Item(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                Pop::Flushing(_) => {}
                Pop::Closed => break,
            }
        }
        assert_eq!(next, ITEMS);
        assert!(queue.levels().1 <= MAX);
        runtime.block_on(producer).unwrap();
        unlocker.join().unwrap();
    }

    #[test]
    fn a_producer_uses_what_room_there_is() {
        let weight = 100 + ITEM_OVERHEAD;
        let queue = Queue::new(16 * weight);
        let runtime = runtime();
        runtime.block_on(async {
            for n in 0..16 {
                assert_eq!(queue.try_push(n, 100), Ok(None));
            }
            let mut push = std::pin::pin!(queue.push(16, 100));
            let mut is_done = async || {
                std::future::poll_fn(|context| {
                    std::task::Poll::Ready(push.as_mut().poll(context).is_ready())
                })
                .await
            };
            assert!(!is_done().await);
            queue.pop();
            // The consumer may take no more for ever.
            assert!(is_done().await);
        });
        assert_eq!(queue.levels().0, 16 * weight);
    }

    #[test]
    fn a_consumer_sleeps_until_it_is_woken() {
        let queue = Arc::new(Queue::new(1 << 20));
        let consumer = thread::spawn({
            let queue = queue.clone();
            move || [queue.pop(), queue.pop()]
        });
        while !queue.lock().consumer_waits {
            thread::yield_now();
        }
        queue.try_push(1, 1).unwrap();
        queue.try_push(2, 1).unwrap();
        assert!(queue.lock().consumer_waits);
        queue.wake();
        assert_eq!(consumer.join().unwrap(), [Pop::Item(1), Pop::Item(2)]);
    }

    #[test]
    fn closing_frees_a_producer_that_waits() {
        let queue = Arc::new(Queue::new(1));
        queue.try_push(1, 1).unwrap();
        let runtime = runtime();
        let producer = runtime.spawn({
            let queue = queue.clone();
            async move { queue.push(2, 1).await }
        });
        queue.close();
        assert_eq!(runtime.block_on(producer).unwrap(), Err(Closed));
    }
}
