//! How often strangers may make the element speak.

use std::time::{Duration, Instant};

/// Lets through a number at once, and from then on one per interval: what a peer can
/// cause without end must neither fill a log nor a bus that nobody reads.
#[derive(Debug)]
pub(super) struct Limiter {
    at_once: u32,
    interval: Duration,
    passed: u32,
    last: Option<Instant>,
    held_back: u64,
}

impl Limiter {
    pub fn new(at_once: u32, interval: Duration) -> Self {
        Self {
            at_once,
            interval,
            passed: 0,
            last: None,
            held_back: 0,
        }
    }

    /// Whether one more may pass at `now`, and how many were held back since the last.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        let too_soon = self.last.is_some_and(|last| now < last + self.interval);
        if self.passed >= self.at_once && too_soon {
            self.held_back += 1;
            return None;
        }
        self.passed = self.passed.saturating_add(1);
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_pass_at_once_and_then_one_per_interval() {
        let mut limiter = Limiter::new(3, Duration::from_secs(10));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for ms in 0..3 {
            assert_eq!(limiter.pass(at(ms)), Some(0));
        }
        for ms in [3, 5_000, 10_001] {
            assert_eq!(limiter.pass(at(ms)), None);
        }
        assert_eq!(limiter.pass(at(10_002)), Some(3));
        assert_eq!(limiter.pass(at(20_000)), None);
        assert_eq!(limiter.pass(at(90_000)), Some(1));
    }
}
