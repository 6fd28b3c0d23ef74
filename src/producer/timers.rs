//! The few deadlines that have no constant span: backoffs, refreshes, connections. One entry a timer, never a dead one.
//! (`linger.ms` and `delivery.timeout.ms` are lists in the batch table.)

use alloc::collections::{BTreeMap, BTreeSet};

use crate::ids::ConnId;
use crate::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A connection's set-up, request or idle time is over.
    Connection(ConnId),
    /// A broker (by its index) may be connected to, or written to, again.
    Broker(u32),
    /// A partition (by its index) may retry.
    Partition(u32),
    /// It is to be seen whether a job was dropped.
    Jobs,
    /// Another token is to be asked for.
    Token,
    /// It is to be seen whether writers have let go of memory that someone waits for.
    Memory,
}

/// All timers that are set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    ordered: BTreeSet<(Instant, Timer)>,
    set: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets the timer, in place of what was set for it before.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        match self.set.insert(timer, at) {
            Some(before) if before == at => return,
            Some(before) => {
                self.ordered.remove(&(before, timer));
            }
            None => {}
        }
        self.ordered.insert((at, timer));
    }

    /// Sets the timer unless it is set for an earlier time: whoever is called too early looks again. For deadlines that move
    /// away with every request, this spares two changes of the tree each.
    pub(crate) fn set_if_sooner(&mut self, timer: Timer, at: Instant) {
        if self.set.get(&timer).is_none_or(|set| *set > at) {
            self.set(timer, at);
        }
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.set.remove(&timer) {
            self.ordered.remove(&(at, timer));
        }
    }

    /// The earliest deadline.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.ordered.first().map(|(at, _)| *at)
    }

    /// Takes a timer whose time has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.ordered.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_again_moves_and_clearing_removes() {
        let mut timers = Timers::default();
        let at = Instant::from_millis;
        timers.set(Timer::Jobs, at(10));
        timers.set(Timer::Token, at(20));
        timers.set(Timer::Jobs, at(30));
        assert_eq!(timers.first(), Some(at(20)));
        timers.clear(Timer::Token);
        assert_eq!(timers.take_due(at(29)), None);
        assert_eq!(timers.take_due(at(30)), Some(Timer::Jobs));
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn a_later_time_does_not_move_what_is_set_sooner() {
        let mut timers = Timers::default();
        let at = Instant::from_millis;
        timers.set_if_sooner(Timer::Token, at(20));
        timers.set_if_sooner(Timer::Token, at(30));
        assert_eq!(timers.first(), Some(at(20)));
        timers.set_if_sooner(Timer::Token, at(10));
        assert_eq!(timers.take_due(at(10)), Some(Timer::Token));
        assert_eq!(timers.first(), None);
    }
}
