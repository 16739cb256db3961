//! The rate of what was put out lately.

use std::time::{Duration, Instant};

const SLOTS: usize = 8;
const SLOT: Duration = Duration::from_millis(250);

/// Bytes of the last two seconds, in slots of a quarter of a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bitrate {
    since: Option<Instant>,
    bytes: [u64; SLOTS],
    /// The slot that was written last, counted from `since`.
    latest: u64,
}

impl Bitrate {
    pub fn add(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        let slot = slot(now - since);
        for stale in self.latest + 1..=slot.min(self.latest + SLOTS as u64) {
            self.bytes[index(stale)] = 0;
        }
        self.latest = self.latest.max(slot);
        self.bytes[index(slot)] += bytes as u64;
    }

    /// Bits per second: 0 when nothing has come for two seconds.
    pub fn at(&self, now: Instant) -> u64 {
        let Some(since) = self.since else {
            return 0;
        };
        let elapsed = now.saturating_duration_since(since);
        let current = slot(elapsed).max(self.latest);
        let oldest = (current + 1).saturating_sub(SLOTS as u64);
        let bytes: u64 = (oldest..=self.latest)
            .map(|slot| self.bytes[index(slot)])
            .sum();
        // What the slots cover. At the very start, not the burst that it may be.
        let covered = elapsed.saturating_sub(SLOT * oldest as u32).max(SLOT);
        (bytes as f64 * 8.0 / covered.as_secs_f64()) as u64
    }
}

fn slot(elapsed: Duration) -> u64 {
    (elapsed.as_millis() / SLOT.as_millis()) as u64
}

fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_steady_stream() {
        let start = Instant::now();
        let mut rate = Bitrate::default();
        assert_eq!(rate.at(start), 0);
        // 1000 bytes every 10 ms are 800 kbit/s.
        for i in 0..1000 {
            rate.add(start + ms(10 * i), 1000);
            if i > 100 {
                let now = rate.at(start + ms(10 * i + 9));
                assert!((795_000..=805_000).contains(&now), "{now} at {i}");
            }
        }
        // Half of it after a second of nothing.
        let end = start + ms(10_000);
        assert!((395_000..=405_000).contains(&rate.at(end + ms(999))));
        assert_eq!(rate.at(end + ms(2001)), 0);
        assert_eq!(rate.at(end + ms(3_600_000)), 0);
    }

    #[test]
    fn after_a_gap_the_old_is_forgotten() {
        let start = Instant::now();
        let mut rate = Bitrate::default();
        rate.add(start, 1_000_000);
        assert_eq!(rate.at(start), 32_000_000);
        for gap in [ms(2000), ms(60_000)] {
            rate.add(start + gap, 2_000);
            let now = rate.at(start + gap);
            assert!(now <= 16_000, "{now}");
        }
    }
}
