//! The queue under loom, which runs its threads in every order there is.
//!
//! ThreadSanitizer would want a standard library that is built for it, which no
//! stable toolchain has. Nothing here is unsafe, so what can go wrong is not a
//! data race but a wakeup that is lost, and loom finds that as a deadlock.
//!
//! Locks are loom's. `Notify` is tokio's own: loom can't look into it, and need not
//! (tokio runs it under loom itself), but it must know that two threads meet there,
//! and be able to run another one before each call. An atomic that is touched each
//! time tells it.

use std::pin::Pin;
use std::task::{Context, Poll};

pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{Closed, Consumer, Found, ITEM_OVERHEAD, Queue};

#[derive(Debug)]
pub(super) struct Notify {
    tokio: tokio::sync::Notify,
    met: AtomicUsize,
}

pub(super) struct Notified<'a> {
    future: Pin<Box<tokio::sync::futures::Notified<'a>>>,
    notify: &'a Notify,
}

impl Notify {
    pub fn new() -> Self {
        Self {
            tokio: tokio::sync::Notify::new(),
            met: AtomicUsize::new(0),
        }
    }

    fn meet(&self) {
        self.met.fetch_add(1, Ordering::SeqCst);
    }

    pub fn notify_waiters(&self) {
        self.meet();
        self.tokio.notify_waiters();
    }

    pub fn notified(&self) -> Notified<'_> {
        self.meet();
        Notified {
            future: Box::pin(self.tokio.notified()),
            notify: self,
        }
    }
}

impl Notified<'_> {
    pub fn enable(self: Pin<&mut Self>) -> bool {
        self.notify.meet();
        self.get_mut().future.as_mut().enable()
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.notify.meet();
        self.get_mut().future.as_mut().poll(context)
    }
}

/// A queue that has room for one item of no bytes.
fn narrow() -> Arc<Queue<u32>> {
    Arc::new(Queue::new(ITEM_OVERHEAD))
}

/// Takes everything until the queue is closed.
fn drain(queue: &Queue<u32>) -> Vec<u32> {
    let (mut consumer, mut items) = (Consumer::default(), Vec::new());
    loop {
        match consumer.pop(queue) {
            Ok(item) => items.push(item),
            Err(Found::Flushing(unlocked)) => queue.resume(unlocked),
            Err(_) => return items,
        }
    }
}

#[test]
fn a_producer_that_waits_for_room_is_woken() {
    loom::model(|| {
        let queue = narrow();
        let producer = thread::spawn({
            let queue = queue.clone();
            move || {
                for n in 0..3 {
                    block_on(queue.push(n, 0)).unwrap();
                }
                queue.close();
            }
        });
        assert_eq!(drain(&queue), [0, 1, 2]);
        producer.join().unwrap();
    });
}

/// Room is made twice for a handful: for the first item, and for the others.
#[test]
fn a_producer_that_waits_for_a_handful_is_woken() {
    loom::model(|| {
        let queue = Arc::new(Queue::new(2 * ITEM_OVERHEAD));
        for n in 0..2 {
            block_on(queue.push(n, 0)).unwrap();
        }
        let producer = thread::spawn({
            let queue = queue.clone();
            move || {
                for n in 2..4 {
                    block_on(queue.push(n, 0)).unwrap();
                }
                queue.close();
            }
        });
        assert_eq!(drain(&queue), [0, 1, 2, 3]);
        assert_eq!(queue.levels().0, 0);
        producer.join().unwrap();
    });
}

/// One publisher's last item and the mark behind it, while the next one waits.
#[test]
fn two_producers_and_a_mark() {
    loom::model(|| {
        let queue = narrow();
        let producers = [1, 2].map(|n| {
            let queue = queue.clone();
            thread::spawn(move || {
                block_on(queue.push(n, 0)).unwrap();
                if n == 1 {
                    queue.push_mark(10).unwrap();
                }
                queue.wake();
            })
        });
        let mut consumer = Consumer::default();
        let mut items: Vec<u32> = (0..3)
            .map(|_| consumer.pop(&queue).expect("neither unlocked nor closed"))
            .collect();
        let order = |item| items.iter().position(|i| *i == item);
        assert!(order(1) < order(10));
        items.sort();
        assert_eq!(items, [1, 2, 10]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn closing_frees_a_producer_and_loses_nothing() {
    loom::model(|| {
        let queue = narrow();
        block_on(queue.push(0, 0)).unwrap();
        let producer = thread::spawn({
            let queue = queue.clone();
            move || block_on(queue.push(1, 0))
        });
        let closer = thread::spawn({
            let queue = queue.clone();
            move || queue.close()
        });
        let items = drain(&queue);
        closer.join().unwrap();
        // What was taken comes out, and what was not is said to be not.
        match producer.join().unwrap() {
            Ok(()) => assert_eq!(items, [0, 1]),
            Err(Closed) => assert_eq!(items, [0]),
        }
    });
}

/// Nobody pops: only the end can end the wait.
#[test]
fn closing_alone_frees_a_producer() {
    loom::model(|| {
        let queue = narrow();
        block_on(queue.push(0, 0)).unwrap();
        let producer = thread::spawn({
            let queue = queue.clone();
            move || block_on(queue.push(1, 0))
        });
        queue.close();
        assert_eq!(producer.join().unwrap(), Err(Closed));
    });
}

/// Nobody is there to send anything: only the unlock can end the wait.
#[test]
fn an_unlock_is_never_lost() {
    loom::model(|| {
        let queue = narrow();
        let unlocker = thread::spawn({
            let queue = queue.clone();
            move || {
                queue.unlock();
                queue.unlock();
            }
        });
        let Found::Flushing(first) = queue.wait() else {
            panic!("there is nothing else");
        };
        queue.resume(first);
        // The second, if the first was answered before it came.
        if first == 1 {
            assert_eq!(queue.wait(), Found::Flushing(2));
        }
        unlocker.join().unwrap();
    });
}

#[test]
fn an_unlock_beside_an_item_keeps_it() {
    loom::model(|| {
        let queue = narrow();
        let unlocker = thread::spawn({
            let queue = queue.clone();
            move || queue.unlock()
        });
        let producer = thread::spawn({
            let queue = queue.clone();
            move || {
                block_on(queue.push(1, 0)).unwrap();
                block_on(queue.push(2, 0)).unwrap();
                queue.close();
            }
        });
        assert_eq!(drain(&queue), [1, 2]);
        unlocker.join().unwrap();
        producer.join().unwrap();
    });
}
