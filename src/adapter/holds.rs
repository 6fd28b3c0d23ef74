//! How long the machine's lock is held, measured where that is asked for: nobody who sends waits longer for it than that.

use alloc::vec::Vec;
use core::time::Duration;

use super::sync::{AtomicU64, Ordering};

/// Steps of the histogram from one power of two to the next.
const STEPS: u32 = 4;

/// Up to 2^40 ns, which is 18 minutes.
const BUCKETS: usize = 40 * STEPS as usize;

/// What is counted while the producer runs.
#[derive(Debug)]
pub(super) struct Holds {
    counts: [AtomicU64; BUCKETS],
    longest: AtomicU64,
}

impl Holds {
    pub(super) fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], longest: AtomicU64::new(0) }
    }

    pub(super) fn note(&self, nanos: u64) {
        self.counts[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> LockHolds {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        LockHolds { counts, longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)) }
    }
}

/// How often the lock around the machine was held how long: a histogram in steps of a quarter of a power of two. See
/// [`Setup::measure_lock`](crate::Setup::measure_lock).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolds {
    counts: Vec<u64>,
    longest: Duration,
}

impl LockHolds {
    /// How often it was held.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest hold.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The time below which this share of the holds lasted, 0 to 1; zero if there were none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted.max(1)
        });
        found.map_or(Duration::ZERO, |bucket| end_of(bucket).min(self.longest))
    }

    /// The steps that were seen, shortest first: each ends before this time, and counts so many holds.
    pub fn steps(&self) -> impl Iterator<Item = (Duration, u64)> {
        let seen = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        seen.map(|(bucket, count)| (end_of(bucket), *count))
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(u64::from(STEPS));
    let power = nanos.ilog2();
    let step = (nanos >> (power - STEPS.ilog2())) as u32 & (STEPS - 1);
    ((power * STEPS + step) as usize).min(BUCKETS - 1)
}

fn end_of(bucket: usize) -> Duration {
    let (power, step) = (bucket as u32 / STEPS, bucket as u64 % u64::from(STEPS));
    Duration::from_nanos(((u64::from(STEPS) + step + 1) << power) >> STEPS.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_its_step() {
        for nanos in (0..10_000).chain([1 << 20, (1 << 20) + (1 << 18), 999_999, 1 << 39]) {
            let bucket = bucket(nanos);
            assert!(u128::from(nanos) < end_of(bucket).as_nanos(), "{nanos}");
            assert!(nanos <= 4 || u128::from(nanos) >= end_of(bucket - 1).as_nanos(), "{nanos}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_the_ends_of_steps() {
        let holds = Holds::new();
        assert_eq!(holds.snapshot().quantile(0.5), Duration::ZERO);
        for _ in 0..999 {
            holds.note(100);
        }
        holds.note(1_000_000);
        let holds = holds.snapshot();
        assert_eq!((holds.count(), holds.longest()), (1000, Duration::from_millis(1)));
        assert_eq!(holds.quantile(0.999), Duration::from_nanos(112));
        assert_eq!(holds.quantile(1.0), Duration::from_millis(1));
        assert_eq!(holds.steps().count(), 2);
    }
}
