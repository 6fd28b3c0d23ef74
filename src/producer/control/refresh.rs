//! When metadata is asked for.

use core::time::Duration;

use crate::planted::planted;
use crate::producer::backoff::Backoff;
use crate::producer::random::Random;
use crate::time::Instant;

/// When metadata is asked for.
#[derive(Debug)]
pub(crate) struct Refresh {
    state: State,
    /// All topics in use are to be asked about.
    all: bool,
    /// There are topics that were never asked about.
    fresh: bool,
    /// There are topics to be asked about once more.
    again: bool,
    /// Requests that failed, in a row.
    failures: u32,
    /// Answers in a row that brought nothing new although something was wanted.
    equivalent: u32,
    not_before: Instant,
    /// When an answer about all topics last came.
    last_success: Option<Instant>,
    max_age: Duration,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// A request is on its way. `all`: it asks about all topics in use; `wanted`: for another reason than age.
    InFlight {
        all: bool,
        wanted: bool,
    },
}

impl Refresh {
    pub(crate) fn new(max_age: Duration, backoff: Backoff) -> Self {
        Self {
            state: State::Idle,
            all: false,
            fresh: false,
            again: false,
            failures: 0,
            equivalent: 0,
            not_before: Instant::ZERO,
            last_success: None,
            max_age,
            backoff,
        }
    }

    /// When all topics in use were last asked about and answered.
    pub(crate) fn last_success(&self) -> Option<Instant> {
        self.last_success
    }

    /// Something known turned out to be wrong.
    pub(crate) fn want(&mut self) {
        self.all = true;
    }

    /// A topic was never asked about: that does not wait for the backoff of others.
    pub(crate) fn want_fresh(&mut self) {
        self.fresh = true;
    }

    /// Some topic is to be asked about once more.
    pub(crate) fn want_again(&mut self) {
        self.again = true;
    }

    /// Whether something is asked about that is not new: it was answered, and is missing or wrong.
    pub(crate) fn is_wanted(&self) -> bool {
        self.all || self.again
    }

    /// When the next request is due; `None` while one is in flight.
    #[inline]
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.state != State::Idle {
            return None;
        }
        if self.fresh && self.failures == 0 {
            return Some(Instant::ZERO);
        }
        if self.fresh || self.again || self.all {
            return Some(self.not_before);
        }
        self.last_success.map(|at| (at + self.max_age).max(self.not_before))
    }

    /// Whether the next request is about all topics in use.
    pub(crate) fn wants_all(&self, now: Instant) -> bool {
        let old = self.last_success.is_some_and(|at| at + self.max_age <= now);
        self.not_before <= now && (self.all || old)
    }

    pub(crate) fn sent(&mut self, now: Instant) {
        let all = self.wants_all(now);
        let wanted = self.all || self.again || self.fresh;
        self.state = State::InFlight { all, wanted };
        if all {
            self.all = false;
        }
        (self.fresh, self.again) = (false, false);
    }

    /// No usable answer.
    pub(crate) fn failed(&mut self, now: Instant, random: &mut Random) {
        if let State::InFlight { all: true, .. } = self.state {
            self.all = true;
        }
        self.state = State::Idle;
        self.not_before = now + self.backoff.after(self.failures, random);
        self.failures = self.failures.saturating_add(1);
    }

    /// An answer. `news`: it brought a leader, an epoch or a topic that was not known, and may help. Returns whether it was of use: false if
    /// something was wanted and it brought nothing new.
    pub(crate) fn succeeded(&mut self, now: Instant, news: bool, random: &mut Random) -> bool {
        let State::InFlight { all, wanted } = core::mem::replace(&mut self.state, State::Idle) else {
            return true;
        };
        self.failures = 0;
        if all || self.last_success.is_none() {
            self.last_success = Some(now);
        }
        self.equivalent = if news { 0 } else { self.equivalent.saturating_add(1) };
        let wait = self.backoff.after(self.equivalent.saturating_sub(1), random);
        self.not_before = now + if planted("metadata-without-backoff") { Duration::ZERO } else { wait };
        news || !wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_waits_for_the_backoff_too() {
        let mut random = Random::new([7; 32]);
        let second = Duration::from_secs(1);
        let mut refresh = Refresh::new(Duration::from_millis(1), Backoff::new(second / 10, second));
        refresh.want_fresh();
        assert_eq!(refresh.due(), Some(Instant::ZERO));
        refresh.sent(Instant::ZERO);
        assert_eq!(refresh.due(), None);
        assert!(refresh.succeeded(Instant::ZERO, true, &mut random));
        assert!(refresh.due() >= Some(Instant::from_millis(80)));
    }

    #[test]
    fn a_failed_request_for_new_topics_asks_about_no_others() {
        let mut random = Random::new([7; 32]);
        let second = Duration::from_secs(1);
        let mut refresh = Refresh::new(second * 300, Backoff::new(second / 10, second));
        refresh.want_fresh();
        refresh.sent(Instant::ZERO);
        refresh.failed(Instant::ZERO, &mut random);
        assert!(!refresh.wants_all(Instant::ZERO + second));
        refresh.want();
        refresh.sent(Instant::ZERO + second);
        refresh.failed(Instant::ZERO + second, &mut random);
        assert!(refresh.wants_all(Instant::ZERO + second * 2));
    }
}
