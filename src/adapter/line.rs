//! Who waits for `buffer.memory`, in the order of arrival.
//!
//! Memory comes back a request at a time, so all whose records it holds are let go at once, and whoever finds room may then
//! send on, until it is used up again: a wake-up for each record would cost more than the record. Nothing is set aside for
//! those who were let go, so none of them holds up others by not coming. One who came and found nothing left goes back to its
//! old place, and is then let go alone, so that nobody loses that race twice; if it does not come for a while, others go on.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::waiter::Waiter;
use crate::time::Instant;

/// How long others wait for those who were let go. A thread that was woken on a busy machine needs some of it; a future that
/// nobody polls must not hold up the rest.
const PATIENCE: Duration = Duration::from_millis(50);

/// A place in the line.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    pub(super) waiter: Waiter,
}

#[derive(Debug)]
struct Parked {
    ticket: Arc<Ticket>,
    /// Bytes.
    needs: usize,
    /// It was let go before, and came too late.
    again: bool,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Line {
    next: u64,
    parked: BTreeMap<u64, Parked>,
    /// The one who was let go alone.
    alone: Option<u64>,
    /// When to look whether more can be let go, although no memory came back: those who were may not come.
    look_again: Option<Instant>,
}

impl Line {
    /// Whether this one may try to send: whoever was let go, and whoever is new if nobody is parked.
    pub(super) fn may_try(&self, ticket: Option<&Arc<Ticket>>) -> bool {
        match ticket {
            Some(ticket) => !self.parked.contains_key(&ticket.number),
            None => self.parked.is_empty() && self.alone.is_none(),
        }
    }

    /// Gives a place at the end; or, to one who was let go and found nothing left, its old place.
    pub(super) fn park(&mut self, ticket: Option<&Arc<Ticket>>, needs: usize) -> Arc<Ticket> {
        let again = ticket.is_some();
        let ticket = ticket.map_or_else(|| self.new_ticket(), Arc::clone);
        if self.alone == Some(ticket.number) {
            self.alone = None;
        }
        self.parked.entry(ticket.number).or_insert(Parked { ticket: Arc::clone(&ticket), needs, again });
        ticket
    }

    fn new_ticket(&mut self) -> Arc<Ticket> {
        self.next += 1;
        Arc::new(Ticket { number: self.next, waiter: Waiter::default() })
    }

    /// This one waits no longer: it has sent, or given up. Returns whether others may be let go for it.
    pub(super) fn leave(&mut self, ticket: &Arc<Ticket>) -> bool {
        let was_parked = self.parked.remove(&ticket.number).is_some();
        let was_alone = self.alone == Some(ticket.number);
        if was_alone {
            self.alone = None;
        }
        (was_parked || was_alone) && !self.parked.is_empty()
    }

    /// Lets go whoever can be served by `free` bytes. They are still to be raised, without the machine's lock.
    pub(super) fn let_go(&mut self, free: usize, now: Instant, raised: &mut Vec<Arc<Ticket>>) {
        if self.look_again.is_some_and(|at| at <= now) {
            (self.alone, self.look_again) = (None, None);
        }
        if self.alone.is_some() {
            return;
        }
        let mut left = free;
        while let Some(first) = self.parked.first_entry() {
            let (needs, again) = (first.get().needs, first.get().again);
            if needs > left || (again && left < free) {
                break;
            }
            let (number, parked) = first.remove_entry();
            raised.push(parked.ticket);
            left -= needs;
            if again {
                self.alone = Some(number);
                break;
            }
        }
        let waits = self.alone.is_some() || (left < free && !self.parked.is_empty());
        self.look_again = waits.then_some(now + PATIENCE);
    }

    /// Lets everybody go, to look for themselves.
    pub(super) fn release(&mut self, raised: &mut Vec<Arc<Ticket>>) {
        (self.alone, self.look_again) = (None, None);
        raised.extend(core::mem::take(&mut self.parked).into_values().map(|parked| parked.ticket));
    }

    /// What the first one needs.
    pub(super) fn first_needs(&self) -> Option<usize> {
        self.parked.first_key_value().map(|(_, parked)| parked.needs)
    }

    /// When to look again although no memory came back.
    pub(super) fn look_again(&self) -> Option<Instant> {
        self.look_again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn let_go(line: &mut Line, free: usize, now: Instant) -> Vec<u64> {
        let mut raised = Vec::new();
        line.let_go(free, now, &mut raised);
        raised.iter().map(|ticket| ticket.number).collect()
    }

    #[test]
    fn all_whom_the_memory_serves_are_let_go_in_their_order() {
        let mut line = Line::default();
        let tickets: Vec<_> = (0..4).map(|_| line.park(None, 100)).collect();
        assert!(!line.may_try(None) && !line.may_try(Some(&tickets[0])));
        assert_eq!(let_go(&mut line, 250, NOW), [1, 2]);
        assert!(!line.may_try(None), "two are still parked");
        assert!(line.may_try(Some(&tickets[1])) && !line.may_try(Some(&tickets[2])));
        assert_eq!(let_go(&mut line, 1000, NOW), [3, 4]);
        assert!(line.may_try(None));
    }

    #[test]
    fn who_came_too_late_is_first_and_alone_until_it_has_sent_or_does_not_come() {
        let mut line = Line::default();
        let (first, second) = (line.park(None, 100), line.park(None, 100));
        assert_eq!(let_go(&mut line, 1000, NOW), [1, 2]);
        line.park(None, 100);
        line.park(Some(&second), 100);
        line.park(Some(&first), 100);
        assert_eq!(let_go(&mut line, 1000, NOW), [1], "alone, in its old place");
        assert_eq!(let_go(&mut line, 1000, NOW), [0_u64; 0], "the others wait for it");
        assert!(line.leave(&first), "it has sent");
        assert_eq!(let_go(&mut line, 1000, NOW), [2]);
        assert!(!line.may_try(None));
        let later = line.look_again().expect("the others do not wait for ever");
        assert_eq!(let_go(&mut line, 1000, later), [3], "it did not come");
        assert!(line.may_try(None) && line.may_try(Some(&second)));
    }

    #[test]
    fn one_who_needs_more_than_there_is_is_not_passed() {
        let mut line = Line::default();
        let large = line.park(None, 5000);
        line.park(None, 10);
        assert_eq!(let_go(&mut line, 1000, NOW), [0_u64; 0]);
        assert!(line.leave(&large), "it gave up: the next one may be let go");
        assert_eq!(let_go(&mut line, 1000, NOW), [2]);
    }
}
