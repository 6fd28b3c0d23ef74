//! Who waits for `buffer.memory`, in the order of arrival. The first one alone may try; when it has sent, the next may.
//!
//! A future that is woken may never be polled again, nor dropped. So one who was woken and does not come goes to the end of the line.

use alloc::collections::VecDeque;
use core::task::Waker;
use core::time::Duration;

use milena::Instant;

use crate::shared::{Later, Ticket};

/// How long the others wait for one who was woken.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Parked {
    ticket: Ticket,
    waker: Waker,
    woken: Option<Instant>,
}

/// The line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    parked: VecDeque<Parked>,
}

impl Line {
    /// Whether this one may try to send: the first in line, and anybody if nobody waits.
    pub(crate) fn may_try(&self, ticket: Ticket) -> bool {
        self.parked.front().is_none_or(|first| first.ticket == ticket)
    }

    /// This one waits: at its place if it has one, else at the end.
    pub(crate) fn park(&mut self, ticket: Ticket, waker: &Waker, later: &mut Later) {
        match self.parked.iter_mut().find(|parked| parked.ticket == ticket) {
            Some(parked) => {
                parked.woken = None;
                later.replace(&mut parked.waker, waker);
            }
            None => self.parked.push_back(Parked { ticket, waker: waker.clone(), woken: None }),
        }
    }

    /// This one waits no longer: it has sent, or given up.
    pub(crate) fn leave(&mut self, ticket: Ticket, now: Instant, later: &mut Later) {
        let Some(place) = self.parked.iter().position(|parked| parked.ticket == ticket) else { return };
        if let Some(parked) = self.parked.remove(place) {
            later.drop(parked.waker);
        }
        if place == 0 {
            self.wake_first(now, later);
        }
    }

    /// There may be memory for the first one.
    pub(crate) fn wake_first(&mut self, now: Instant, later: &mut Later) {
        if let Some(first) = self.parked.front_mut() {
            first.woken.get_or_insert(now);
            later.wake(first.waker.clone());
        }
    }

    /// All may look for themselves: the producer takes nothing more.
    pub(crate) fn release(&mut self, later: &mut Later) {
        for parked in self.parked.drain(..) {
            later.wake(parked.waker);
        }
    }

    /// Lets the others pass one who was woken and did not come. Returns when to look again.
    pub(crate) fn look_again(&mut self, now: Instant, later: &mut Later) -> Option<Instant> {
        if self.parked.len() < 2 {
            return None;
        }
        let until = self.parked.front()?.woken? + PATIENCE;
        if until > now {
            return Some(until);
        }
        if let Some(mut first) = self.parked.pop_front() {
            first.woken = None;
            self.parked.push_back(first);
        }
        self.wake_first(now, later);
        Some(now + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tickets: &[Ticket]) -> (Line, Later) {
        let (mut line, mut later) = (Line::default(), Later::default());
        for ticket in tickets {
            line.park(*ticket, Waker::noop(), &mut later);
        }
        (line, later)
    }

    #[test]
    fn nobody_passes_and_who_leaves_wakes_the_next() {
        let (mut line, mut later) = line(&[1, 2, 3]);
        assert!(line.may_try(1) && !line.may_try(2) && !line.may_try(9));
        line.leave(2, Instant::ZERO, &mut later);
        assert_eq!(later.woken(), 0, "it was not the first");
        line.leave(1, Instant::ZERO, &mut later);
        assert_eq!(later.woken(), 1);
        assert!(line.may_try(3) && !line.may_try(9));
        line.leave(3, Instant::ZERO, &mut later);
        assert!(line.may_try(9));
    }

    #[test]
    fn who_was_woken_and_does_not_come_goes_to_the_end() {
        let (mut line, mut later) = line(&[1, 2]);
        assert_eq!(line.look_again(Instant::from_millis(900), &mut later), None, "it was not woken");
        line.wake_first(Instant::from_millis(1000), &mut later);
        let until = line.look_again(Instant::from_millis(1049), &mut later).expect("it may come");
        assert!(line.may_try(1) && !line.may_try(2));
        line.look_again(until, &mut later);
        assert!(line.may_try(2) && !line.may_try(1));
        assert_eq!(later.woken(), 2);
    }

    #[test]
    fn who_comes_and_finds_nothing_keeps_its_place() {
        let (mut line, mut later) = line(&[1, 2]);
        line.wake_first(Instant::from_millis(1000), &mut later);
        line.park(1, Waker::noop(), &mut later);
        assert_eq!(line.look_again(Instant::from_millis(5000), &mut later), None);
        assert!(line.may_try(1) && !line.may_try(2));
    }
}
