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
    let mut consumer = Consumer::default();
    let queue = Queue::new(10);
    assert_eq!(queue.try_push(1, 1000), Ok(None));
    assert_eq!(queue.try_push(2, 0), Ok(Some(2)));
    assert_eq!(consumer.pop(&queue), Ok(1));
    assert_eq!(queue.try_push(2, 0), Ok(None));
}

#[test]
fn an_unlock_before_the_wait_is_not_lost_and_keeps_the_items() {
    let mut consumer = Consumer::default();
    let queue = Queue::new(1 << 20);
    queue.try_push(1, 1).unwrap();
    queue.unlock();
    assert_eq!(consumer.pop(&queue), Err(Found::Flushing(1)));
    assert_eq!(consumer.pop(&queue), Err(Found::Flushing(1)));
    queue.unlock_stop();
    assert_eq!(consumer.pop(&queue), Ok(1));
}

#[test]
fn an_unlock_while_another_is_answered_is_not_lost() {
    let mut consumer = Consumer::default();
    let queue = Queue::new(1 << 20);
    queue.try_push(1, 1).unwrap();
    queue.unlock();
    let Err(Found::Flushing(first)) = consumer.pop(&queue) else {
        panic!("unlocked")
    };
    queue.unlock();
    queue.resume(first);
    assert_eq!(consumer.pop(&queue), Err(Found::Flushing(2)));
    queue.resume(2);
    assert_eq!(consumer.pop(&queue), Ok(1));
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
    assert_eq!(queue.tally(&Hand::default()), Tally::default());
}

#[test]
fn closing_hands_out_what_is_left() {
    let mut consumer = Consumer::default();
    let queue = Queue::new(1 << 20);
    queue.try_push(1, 1).unwrap();
    queue.push_mark(2).unwrap();
    queue.close();
    assert_eq!(queue.try_push(3, 1), Err(Closed));
    assert_eq!(queue.push_mark(3), Err(Closed));
    assert_eq!(consumer.pop(&queue), Ok(1));
    assert_eq!(consumer.pop(&queue), Ok(2));
    assert_eq!(consumer.pop(&queue), Err(Found::Closed));
}

#[test]
fn the_tally_accounts_for_every_item() {
    let mut consumer = Consumer::default();
    let queue = Queue::new(1 << 20);
    for n in 0..3 {
        queue.try_push(n, 1).unwrap();
    }
    queue.push_mark(9).unwrap();
    for _ in 0..3 {
        consumer.pop(&queue).unwrap();
    }
    consumer.hand.passed();
    consumer.hand.withheld();
    let expected = Tally {
        received: 3,
        queued: 1,
        passed: 1,
        withheld: 1,
    };
    assert_eq!(queue.tally(&consumer.hand), expected);
    // The queue has been told.
    queue.try_push(3, 1).unwrap();
    assert_eq!(consumer.pop(&queue), Ok(9));
    assert_eq!(consumer.pop(&queue), Ok(3));
    let expected = Tally {
        received: 4,
        queued: 2,
        ..expected
    };
    assert_eq!(queue.tally(&consumer.hand), expected);
    assert_eq!(queue.tally(&Hand::default()), expected);
}

#[test]
fn a_slow_consumer_gets_everything_in_order_within_the_bound() {
    let mut consumer = Consumer::default();
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
        match consumer.pop(&queue) {
            Ok(n) => {
                assert_eq!(n, next);
                next += 1;
            }
            Err(Found::Flushing(_)) => {}
            Err(_) => break,
        }
    }
    assert_eq!(next, ITEMS);
    assert!(queue.levels().1 <= MAX);
    runtime.block_on(producer).unwrap();
    unlocker.join().unwrap();
}

#[test]
fn a_producer_uses_what_room_there_is() {
    let mut consumer = Consumer::default();
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
        consumer.pop(&queue).unwrap();
        // The consumer may take no more for ever.
        assert!(is_done().await);
    });
    assert_eq!(queue.levels().0, 16 * weight);
}

#[test]
fn a_consumer_sleeps_until_it_is_woken() {
    let mut consumer = Consumer::default();
    let queue = Arc::new(Queue::new(1 << 20));
    let consumer = thread::spawn({
        let queue = queue.clone();
        move || [consumer.pop(&queue), consumer.pop(&queue)]
    });
    while !queue.lock().consumer_waits {
        thread::yield_now();
    }
    // For nothing.
    for _ in 0..100 {
        queue.wake();
        assert!(queue.lock().consumer_waits);
    }
    queue.try_push(1, 1).unwrap();
    queue.try_push(2, 1).unwrap();
    assert!(queue.lock().consumer_waits);
    queue.wake();
    assert_eq!(consumer.join().unwrap(), [Ok(1), Ok(2)]);
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

#[test]
fn a_hand_is_bounded_by_items_and_by_bytes() {
    let queue = Queue::new(2 * HAND_ITEMS * HAND_SHARE * ITEM_OVERHEAD);
    let small = HAND_ITEMS + 10;
    for n in 0..small {
        assert_eq!(queue.try_push(n, 0), Ok(None));
    }
    assert_eq!(
        queue.try_push(small, 2 * HAND_ITEMS * ITEM_OVERHEAD),
        Ok(None)
    );
    let mut next = 0..;
    for taken in [HAND_ITEMS, 10, 1] {
        let mut hand = Hand::default();
        assert_eq!(queue.wait(), Found::Items);
        queue.take(&mut hand);
        assert!(std::iter::from_fn(|| queue.pop(&mut hand)).eq(next.by_ref().take(taken)));
    }
}

#[test]
fn room_is_made_for_the_first_of_a_hand_at_once_and_for_the_others_when_they_are_gone() {
    let weight = 100 + ITEM_OVERHEAD;
    let queue = Queue::new(2 * HAND_SHARE * weight);
    for n in 0..2 * HAND_SHARE {
        assert_eq!(queue.try_push(n, 100), Ok(None));
    }
    assert_eq!(queue.try_push(0, 100), Ok(Some(0)));
    let mut hand = Hand::default();
    assert_eq!(queue.wait(), Found::Items);
    queue.take(&mut hand);
    let left = |queue: &Queue<usize>| queue.levels().0 / weight;
    assert_eq!(left(&queue), 2 * HAND_SHARE - 1);
    for still in [1, 1, 3] {
        assert!(queue.pop(&mut hand).is_some());
        assert_eq!(left(&queue), 2 * HAND_SHARE - still);
    }
    assert_eq!(queue.pop(&mut hand), None);
}
