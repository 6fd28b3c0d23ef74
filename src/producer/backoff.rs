//! Exponential backoff with jitter (KIP-580), as Java's `ExponentialBackoff`.

use core::time::Duration;

use crate::planted::planted;
use crate::producer::random::Random;

/// How long to wait after the n-th failure in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial: initial.min(max), max }
    }

    /// The wait after `failures` failures before this one: `initial` doubled that often, ±20 %, at most `max`. Without
    /// jitter where `initial` is not below `max`.
    pub(crate) fn after(&self, failures: u32, random: &mut Random) -> Duration {
        if self.initial >= self.max {
            return self.initial;
        }
        let base = self.initial.as_nanos() as u64;
        let failures = if planted("backoff-stays") { 0 } else { failures.min(40) };
        let doubled = base.saturating_mul(1 << failures).min(self.max.as_nanos() as u64);
        // 0.8 to 1.2 in steps of a thousandth.
        let factor = 800 + u64::from(random.below(400));
        Duration::from_nanos((doubled / 1000).saturating_mul(factor)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_with_jitter_up_to_the_maximum() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1000));
        let mut random = Random::new([7; 32]);
        for (failures, expected) in [(0, 100), (1, 200), (2, 400), (3, 800), (9, 1000), (4_000_000_000, 1000)] {
            for _ in 0..200 {
                let wait = backoff.after(failures, &mut random).as_micros();
                assert!(wait >= expected * 800 && wait <= (expected * 1200).min(1_000_000), "{failures}: {wait}");
            }
        }
    }

    #[test]
    fn an_initial_wait_at_the_maximum_is_constant() {
        let backoff = Backoff::new(Duration::from_millis(300), Duration::from_millis(200));
        let mut random = Random::new([7; 32]);
        assert_eq!(backoff.after(5, &mut random), Duration::from_millis(200));
    }

    #[test]
    fn golden_backoffs_stay_within_javas_bounds() {
        let mut tried = 0;
        let mut random = Random::new([7; 32]);
        for vector in crate::golden::objects("backoff.jsonl") {
            let millis = |field: &str| Duration::from_millis(vector[field].as_u64().expect("milliseconds"));
            let backoff = Backoff::new(millis("initialMs"), millis("maxMs"));
            for attempt in vector["attempts"].as_array().expect("attempts") {
                let failures = u32::try_from(attempt["attempt"].as_u64().expect("a number")).unwrap_or(u32::MAX);
                let bounds = attempt["min"].as_u64().expect("min")..=attempt["max"].as_u64().expect("max");
                for _ in 0..100 {
                    let wait = backoff.after(failures, &mut random).as_millis() as u64;
                    assert!(bounds.contains(&wait), "{wait} after {failures}: {vector}");
                }
                tried += 1;
            }
        }
        assert!(tried > 0);
    }
}
