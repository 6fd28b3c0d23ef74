//! How soon after a request another one leaves, where records come as a stream.
//!
//! A batch is due when `batch.size` is reached. If its broker answers within microseconds, a fast sender's batches would each leave in a
//! request of their own, and each costs the broker and this side as much as one of ten times its size. So behind a request with
//! such a batch the next one waits for a part of `linger.ms`, while what is due grows on. No record waits for longer than `linger.ms`
//! because of that, nothing waits that can't grow, and nobody waits in vain: who sends nothing until answers come is noticed, for
//! nothing comes in the time that is waited.

use core::time::Duration;

use crate::planted::planted;
use crate::time::Instant;

/// The part of `linger.ms` that is waited.
const PART: u32 = 4;

/// The most that is waited: more would save next to nothing.
const LONGEST: Duration = Duration::from_millis(2);

/// If nothing came in the last of so many parts of the time, the sender waits for answers.
const QUIET: u32 = 2;

/// So many times in a row that is seen before it is believed.
const STALLS: u32 = 2;

/// For how long it is believed: first, and at most.
const FIRST_REST: Duration = Duration::from_millis(100);
const LAST_REST: Duration = Duration::from_secs(10);

/// After so many requests for which it was good to wait, what was seen before counts no more.
const PROVEN: u32 = 64;

/// The pace of one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    gap: Duration,
    last: Instant,
    until: Instant,
    stalls: u32,
    streams: u32,
    rest_until: Instant,
    rest: Duration,
}

impl Pace {
    pub(crate) fn new(linger: Duration) -> Self {
        Self {
            gap: (linger / PART).min(LONGEST),
            last: Instant::ZERO,
            until: Instant::ZERO,
            stalls: 0,
            streams: 0,
            rest_until: Instant::ZERO,
            rest: FIRST_REST,
        }
    }

    /// Whether the next request has to wait.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.until > now
    }

    /// It waits until then at most.
    pub(crate) fn hold_until(&mut self, most: Instant) {
        self.until = self.until.min(most);
    }

    /// A request leaves. `stream`: it has a batch that was due by its size, and the newest of its records came then. Returns until when
    /// the next one waits, if it does.
    pub(crate) fn left(&mut self, now: Instant, stream: Option<Instant>) -> Option<Instant> {
        let newest = stream?;
        let waited = self.until > self.last && self.until <= now;
        if waited {
            let quiet = now.saturating_since(newest);
            let is_stalled = quiet * QUIET > now.saturating_since(self.last) && quiet * QUIET > self.gap;
            self.see(now, is_stalled);
        }
        self.last = now;
        if self.gap.is_zero() || self.rest_until > now {
            return None;
        }
        self.until = now + self.gap;
        Some(self.until)
    }

    fn see(&mut self, now: Instant, is_stalled: bool) {
        if !is_stalled {
            (self.stalls, self.streams) = (0, self.streams + 1);
            if self.streams >= PROVEN {
                self.rest = FIRST_REST;
            }
            return;
        }
        (self.stalls, self.streams) = (self.stalls + 1, 0);
        if self.stalls >= STALLS && !planted("circle-is-a-stream") {
            self.stalls = 0;
            self.rest_until = now + self.rest;
            self.rest = (self.rest * 2).min(LAST_REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_micros(1250);

    fn micros(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    #[test]
    fn the_next_request_waits_for_a_part_of_the_linger_and_never_long() {
        for (linger, gap) in [(0, 0), (1000, 250), (5000, 1250), (100_000, 2000)] {
            let mut pace = Pace::new(Duration::from_micros(linger));
            let until = pace.left(micros(10), Some(micros(10)));
            assert_eq!(until, (gap > 0).then(|| micros(10 + gap)));
            assert_eq!(pace.holds(micros(9 + gap)), gap > 0);
            assert!(!pace.holds(micros(10 + gap)));
        }
    }

    #[test]
    fn what_was_not_due_by_its_size_is_no_stream() {
        let mut pace = Pace::new(4 * GAP);
        assert_eq!(pace.left(micros(10), None), None);
        assert!(!pace.holds(micros(11)));
    }

    /// Requests for which the next one has to wait, of so many that each leave as soon as they may.
    fn held(pace: &mut Pace, requests: u64, from: u64, newest: impl Fn(u64) -> u64) -> usize {
        let waits = (0..requests).filter(|n| {
            let now = from + n * 1250;
            pace.left(micros(now), Some(micros(newest(now)))).is_some()
        });
        waits.count()
    }

    #[test]
    fn who_sends_nothing_until_answers_come_is_noticed_and_looked_at_ever_less_often() {
        let mut pace = Pace::new(4 * GAP);
        let quiet = held(&mut pace, 8000, 1_000_000, |now| now - 1000);
        assert!((2..40).contains(&quiet), "{quiet} of 8,000 in 10 s");
        // A stream of some time, and it is believed again.
        let stream = held(&mut pace, 8000, 30_000_000, |now| now - 5);
        assert!(stream > 7900, "{stream} of 8,000");
        assert_eq!(pace.rest, FIRST_REST);
    }

    #[test]
    fn a_pause_now_and_then_is_not_believed() {
        let mut pace = Pace::new(4 * GAP);
        let held = held(&mut pace, 1000, 0, |now| if now / 1250 % 3 == 0 { now.saturating_sub(1000) } else { now });
        assert_eq!(held, 1000);
    }
}
