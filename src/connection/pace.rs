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

/// If nothing came in the last of so many parts of the time that something was held back, the sender waits for answers.
const QUIET: u32 = 2;

/// What was held back for less than one of so many parts of the gap tells nothing.
const BRIEF: u32 = 8;

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
    until: Instant,
    /// Since when something would have left but for that.
    held_since: Option<Instant>,
    stalls: u32,
    streams: u32,
    rest_until: Instant,
    rest: Duration,
}

impl Pace {
    pub(crate) fn new(linger: Duration) -> Self {
        Self {
            gap: (linger / PART).min(LONGEST),
            until: Instant::ZERO,
            held_since: None,
            stalls: 0,
            streams: 0,
            rest_until: Instant::ZERO,
            rest: FIRST_REST,
        }
    }

    /// Until when the next request has to wait, if it does.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }

    /// It waits until then at most.
    pub(crate) fn hold_until(&mut self, most: Instant) {
        self.until = self.until.min(most);
    }

    /// It does not wait any more.
    pub(crate) fn let_go(&mut self) {
        (self.until, self.held_since) = (Instant::ZERO, None);
    }

    /// Something would leave now, but is held back.
    pub(crate) fn held_back(&mut self, now: Instant) {
        self.held_since.get_or_insert(now);
    }

    /// A request leaves. `stream`: it has a batch that was due by its size, and the newest of its records came then. `may_hold`: nobody
    /// waits for the next one, and nothing is there yet for it. Returns until when it is held back, if it is.
    pub(crate) fn left(&mut self, now: Instant, stream: Option<Instant>, may_hold: bool) -> Option<Instant> {
        let held = self.held_since.take().map(|since| now.saturating_since(since));
        let newest = stream?;
        if let Some(held) = held.filter(|held| *held * BRIEF > self.gap) {
            self.see(now, now.saturating_since(newest) * QUIET > held);
        }
        if self.gap.is_zero() || self.rest_until > now || !may_hold {
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
            let until = pace.left(micros(10), Some(micros(10)), true);
            assert_eq!(until, (gap > 0).then(|| micros(10 + gap)));
            assert_eq!(pace.held_until(micros(9 + gap)), until);
            assert_eq!(pace.held_until(micros(10 + gap)), None);
        }
    }

    #[test]
    fn what_was_not_due_by_its_size_is_no_stream() {
        let mut pace = Pace::new(4 * GAP);
        assert_eq!(pace.left(micros(10), None, true), None);
        assert_eq!(pace.held_until(micros(11)), None);
    }

    #[test]
    fn where_somebody_waits_or_something_is_left_over_nothing_is_held_back() {
        let mut pace = Pace::new(4 * GAP);
        assert_eq!(pace.left(micros(10), Some(micros(10)), false), None);
        assert_eq!(pace.held_until(micros(11)), None);
    }

    /// Requests for which the next one has to wait, of so many that each leave as soon as they may; for each something is there 200 us
    /// after the one before.
    fn held(pace: &mut Pace, requests: u64, from: u64, newest: impl Fn(u64) -> u64) -> usize {
        let waits = (0..requests).filter(|n| {
            let now = from + n * 1250;
            let waits = pace.left(micros(now), Some(micros(newest(now))), true).is_some();
            if waits {
                pace.held_back(micros(now + 200));
            }
            waits
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
    fn what_was_held_back_for_a_moment_tells_nothing() {
        let mut pace = Pace::new(4 * GAP);
        for n in 1..100 {
            let now = n * 1250;
            assert!(pace.left(micros(now), Some(micros(now - 100)), true).is_some());
            pace.held_back(micros(now + 1150));
        }
    }

    #[test]
    fn a_pause_now_and_then_is_not_believed() {
        let mut pace = Pace::new(4 * GAP);
        let held = held(&mut pace, 1000, 0, |now| if now / 1250 % 3 == 0 { now.saturating_sub(1000) } else { now });
        assert_eq!(held, 1000);
    }
}
