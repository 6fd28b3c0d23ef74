//! Who waits for `buffer.memory`, in the order of arrival.
//!
//! Memory comes back a request at a time. Those at the front are let go, each with an allowance, so that there is no wake-up a
//! record; whoever has used it up goes to the end of the line, so that nobody starves. Allowances are as large as lets everybody
//! have a turn soon: where memory comes back slowly they are a record each, where it comes back fast one sender gets all there
//! is. Whoever uses up the last allowance hands over to the next in line, so that nothing stands still between two turns. If nobody
//! waits any more, everybody may send.
//!
//! An allowance that is not used holds up others only for a moment, for a future that nobody polls may have it; and a shorter one
//! once it was begun, for its owner may have something else to wait for. No turn is longer. One who was let
//! go and found nothing left (memory is taken in chunks, so a record may need more than its size) gets its old place back, and
//! is then let go alone, so that nobody loses that race twice. Whoever waits here and tries elsewhere (`writable`, then `try_enqueue`)
//! keeps its place for that until it has sent.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::waiter::Waiter;
use crate::planted::planted;
use crate::time::Instant;

/// How long others wait for those who were let go, also while they send: one who takes little at a time would keep its turn for
/// minutes. A thread that was woken on a busy machine needs some of it.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long they are waited for after a record of theirs: whoever has more sends it sooner.
const PAUSE: Duration = Duration::from_millis(1);

/// How long memory may gather until it is enough for longer turns. It may not become more: what is missing may wait for a
/// broker that is gone.
const GATHER: Duration = Duration::from_millis(5);

/// After that time everybody who waits should have had a turn.
const ROUND: Duration = Duration::from_millis(50);

/// How many who wait and then try elsewhere keep their places; beyond that the oldest sender's number loses its own.
const KEPT: usize = 1000;

/// Who sends: a number that stands for a thread or a task. If two share one, they share an allowance, and no more.
pub(super) type Sender = usize;

/// A place in the line.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    sender: Sender,
    pub(super) waiter: Waiter,
}

#[derive(Debug)]
struct Parked {
    ticket: Arc<Ticket>,
    /// Bytes.
    needs: usize,
    /// It was let go before, and found nothing left.
    again: bool,
}

#[derive(Debug)]
struct Turn {
    /// Bytes.
    left: usize,
    /// Until when its owner is waited for.
    until: Instant,
    /// Until when at most.
    ends: Instant,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Line {
    last: u64,
    parked: BTreeMap<u64, Parked>,
    /// What those who were let go may still take while others wait.
    turns: BTreeMap<Sender, Turn>,
    /// The one who was let go alone, and until when it is waited for.
    alone: Option<(u64, Instant)>,
    /// Until when memory gathers.
    gathers: Option<Instant>,
    /// When some were last let go.
    last_let_go: Option<Instant>,
    /// Places of those who were let go to try elsewhere, and have not sent since.
    kept: BTreeMap<Sender, Kept>,
    /// Nobody looks again when a time has come, so nobody is waited for: all go for whom there is enough.
    timeless: bool,
}

#[derive(Debug)]
struct Kept {
    ticket: Arc<Ticket>,
    /// It was let go, and did not try since.
    may_try: bool,
}

impl Line {
    /// A line that nobody looks after but when memory comes back.
    #[cfg(feature = "cluster")]
    pub(super) fn without_time() -> Self {
        Self { timeless: true, ..Self::default() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether this one may try to send: whoever was let go, and anybody if nobody waits.
    #[inline]
    pub(super) fn may_try(&self, sender: Sender, ticket: Option<&Arc<Ticket>>) -> bool {
        match ticket {
            Some(ticket) => !self.parked.contains_key(&ticket.number),
            None => (self.parked.is_empty() && self.alone.is_none()) || self.turns.contains_key(&sender),
        }
    }

    /// This one has sent a record, which took so many bytes. Returns whether that was the last allowance, and others wait for theirs.
    #[inline]
    pub(super) fn sent(&mut self, sender: Sender, now: Instant, bytes: impl FnOnce() -> usize) -> bool {
        !self.turns.is_empty() && self.used(sender, now, bytes())
    }

    #[cold]
    fn used(&mut self, sender: Sender, now: Instant, bytes: usize) -> bool {
        let Some(turn) = self.turns.get_mut(&sender) else { return false };
        if turn.left > bytes {
            let until = now + PAUSE;
            let until = if planted("turn-has-no-end") { until } else { until.min(turn.ends) };
            (turn.left, turn.until) = (turn.left - bytes, until);
            return false;
        }
        self.turns.remove(&sender);
        self.turns_are_over() && !planted("turn-is-not-handed-over")
    }

    /// Whether nobody has a turn, and some wait for theirs.
    pub(super) fn turns_are_over(&self) -> bool {
        self.alone.is_none() && self.turns.is_empty() && !self.parked.is_empty()
    }

    /// Gives a place at the end; or, to one who was let go and found nothing left, its old place.
    pub(super) fn park(&mut self, sender: Sender, ticket: Option<&Arc<Ticket>>, needs: usize) -> Arc<Ticket> {
        let again = ticket.is_some();
        let ticket = ticket.map_or_else(|| self.new_ticket(sender), Arc::clone);
        if self.is_alone(&ticket) {
            self.alone = None;
        }
        self.turns.remove(&sender);
        self.parked.entry(ticket.number).or_insert(Parked { ticket: Arc::clone(&ticket), needs, again });
        ticket
    }

    /// This one was let go, and is going to try without its ticket. Where several share a number, the oldest place counts.
    pub(super) fn keep(&mut self, ticket: Arc<Ticket>) {
        if planted("place-is-not-kept") {
            return;
        }
        let sender = ticket.sender;
        let older = self.kept.remove(&sender).filter(|kept| kept.ticket.number < ticket.number);
        let ticket = older.map_or(ticket, |kept| kept.ticket);
        if self.kept.len() >= KEPT {
            self.kept.pop_first();
        }
        self.kept.insert(sender, Kept { ticket, may_try: true });
    }

    /// The place that it kept.
    pub(super) fn kept(&self, sender: Sender) -> Option<Arc<Ticket>> {
        self.kept.get(&sender).map(|kept| Arc::clone(&kept.ticket))
    }

    /// The place that it kept, to try with: once.
    pub(super) fn use_kept(&mut self, sender: Sender) -> Option<Arc<Ticket>> {
        let kept = self.kept.get_mut(&sender)?;
        core::mem::take(&mut kept.may_try).then(|| Arc::clone(&kept.ticket))
    }

    /// It has sent: it needs its place no longer.
    pub(super) fn forget_kept(&mut self, sender: Sender) {
        self.kept.remove(&sender);
    }

    fn new_ticket(&mut self, sender: Sender) -> Arc<Ticket> {
        self.last += 1;
        Arc::new(Ticket { number: self.last, sender, waiter: Waiter::default() })
    }

    /// This one waits no longer: it has sent, or given up. Returns whether others may be let go for it.
    pub(super) fn leave(&mut self, ticket: &Arc<Ticket>) -> bool {
        let was_parked = self.parked.remove(&ticket.number).is_some();
        let was_alone = self.is_alone(ticket);
        if was_alone {
            self.alone = None;
        }
        (was_parked || was_alone) && !self.parked.is_empty()
    }

    fn is_alone(&self, ticket: &Ticket) -> bool {
        self.alone.is_some_and(|(number, _)| number == ticket.number)
    }

    /// Lets go whoever can be served by `free` bytes, which may wait a moment to become `goal`. They are still to be raised,
    /// without the machine's lock.
    pub(super) fn let_go(&mut self, free: usize, goal: usize, now: Instant, raised: &mut Vec<Arc<Ticket>>) {
        if !planted("turn-kept-for-ever") {
            self.turns.retain(|_, turn| turn.until > now);
            self.alone = self.alone.filter(|(_, until)| *until > now);
        }
        if self.alone.is_some() {
            self.gathers = None;
            return;
        }
        // What is promised is not given twice, however little of it was taken yet.
        let mut left = free.saturating_sub(self.turns.values().map(|turn| turn.left).sum());
        let timeless = self.timeless && !planted("mock-memory-takes-time");
        if left < goal && !timeless && self.gathers.is_none_or(|until| until > now) {
            if self.first_needs().is_some_and(|needs| needs <= left) {
                self.gathers.get_or_insert(now + GATHER);
            }
            return;
        }
        self.gathers = None;
        let turn = self.turn(left, now);
        while let Some(first) = self.parked.first_entry() {
            let (needs, again) = (first.get().needs, first.get().again);
            if needs > left || (again && !self.turns.is_empty()) {
                break;
            }
            let (number, parked) = first.remove_entry();
            let sender = parked.ticket.sender;
            raised.push(parked.ticket);
            if timeless {
                continue;
            }
            self.last_let_go = Some(now);
            let ends = now + PATIENCE;
            if again {
                self.alone = Some((number, ends));
                break;
            }
            let allowance = if planted("turn-of-one-record") { needs } else { turn.clamp(needs, left) };
            left -= allowance;
            let turn = self.turns.entry(sender).or_insert(Turn { left: 0, until: ends, ends });
            (turn.left, turn.until, turn.ends) = (turn.left + allowance, ends, ends);
        }
        if self.parked.is_empty() {
            self.turns.clear(); // nobody needs one now
        }
    }

    /// Bytes for each, if so many came back since some were last let go.
    fn turn(&self, bytes: usize, now: Instant) -> usize {
        let since = self.last_let_go.map_or(ROUND, |last| now.saturating_since(last)).as_nanos().max(1);
        let a_round = (bytes as u128).saturating_mul(ROUND.as_nanos()) / since;
        usize::try_from(a_round / (self.parked.len().max(1) as u128)).unwrap_or(usize::MAX)
    }

    /// Lets everybody go, to look for themselves.
    pub(super) fn release(&mut self, raised: &mut Vec<Arc<Ticket>>) {
        (self.alone, self.gathers) = (None, None);
        self.turns.clear();
        raised.extend(core::mem::take(&mut self.parked).into_values().map(|parked| parked.ticket));
    }

    /// What the first one needs.
    pub(super) fn first_needs(&self) -> Option<usize> {
        self.parked.first_key_value().map(|(_, parked)| parked.needs)
    }

    /// When to look again although no memory came back.
    pub(super) fn look_again(&self) -> Option<Instant> {
        let turns = self.turns.values().map(|turn| turn.until);
        turns.chain(self.alone.map(|(_, until)| until)).chain(self.gathers).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn let_go(line: &mut Line, free: usize, now: Instant) -> Vec<u64> {
        let mut raised = Vec::new();
        line.let_go(free, 0, now, &mut raised);
        raised.iter().map(|ticket| ticket.number).collect()
    }

    fn line(senders: usize, needs: usize) -> (Line, Vec<Arc<Ticket>>) {
        let mut line = Line::default();
        let tickets = (0..senders).map(|sender| line.park(sender, None, needs)).collect();
        (line, tickets)
    }

    const NOBODY: [u64; 0] = [];

    #[test]
    fn those_at_the_front_are_let_go_with_an_allowance_and_nobody_passes_the_others() {
        let (mut line, tickets) = line(4, 100);
        assert!(!line.may_try(9, None) && !line.may_try(0, Some(&tickets[0])));
        assert_eq!(let_go(&mut line, 250, NOW), [1, 2]);
        assert!(line.may_try(1, Some(&tickets[1])) && !line.may_try(2, Some(&tickets[2])));
        assert!(!line.may_try(9, None), "two still wait");
        line.sent(0, NOW, || 60);
        assert!(line.may_try(0, None), "it may go on");
        line.sent(0, NOW, || 60);
        assert!(!line.may_try(0, None), "until that is used up");
        assert_eq!(let_go(&mut line, 350, Instant::from_millis(1000)), [3, 4]);
        assert!(line.may_try(9, None), "nobody waits");
    }

    #[test]
    fn a_turn_is_a_record_where_memory_is_slow_and_all_there_is_where_it_is_fast() {
        let after = |millis: u64| {
            let (mut line, _) = line(70, 100);
            assert_eq!(let_go(&mut line, 100, NOW).len(), 1);
            line.sent(0, NOW, || 100);
            let_go(&mut line, 6400, Instant::from_millis(millis)).len()
        };
        assert_eq!(after(1000), 64, "each of them a record");
        assert_eq!(after(10), 14, "each nearly five records, so that all 69 have had a turn after 50 ms");
        assert_eq!(after(0), 1);
    }

    #[test]
    fn whoever_uses_up_the_last_turn_hands_over() {
        let (mut line, _) = line(3, 100);
        assert_eq!(let_go(&mut line, 250, NOW), [1, 2]);
        assert!(!line.sent(9, NOW, || 1000), "it has none");
        assert!(!line.sent(0, NOW, || 1000), "another has one yet");
        assert!(!line.sent(1, NOW, || 99), "there is some left of it");
        assert!(line.sent(1, NOW, || 1) && line.turns_are_over());
        assert_eq!(let_go(&mut line, 100, NOW), [3]);
        assert!(!line.turns_are_over(), "nobody waits");
    }

    #[test]
    fn what_is_promised_is_not_there_for_others() {
        let (mut line, _) = line(4, 100);
        assert_eq!(let_go(&mut line, 100, NOW), [1]);
        assert!(line.sent(0, NOW, || 100));
        let mut raised = Vec::new();
        let mut let_go = |free: usize, millis: u64| {
            line.let_go(free, 400, Instant::from_millis(millis), &mut raised);
            raised.len()
        };
        assert_eq!(let_go(900, 0), 1, "memory comes fast: all of it for the second");
        assert_eq!(let_go(1200, 1), 1, "of 1200 bytes 900 are promised, and 300 are too few for a turn");
        assert_eq!(let_go(1200, 2), 1);
        assert_eq!(let_go(1300, 3), 2, "now there are enough");
        assert_eq!(let_go(1300, 4), 2, "of which nothing is left");
    }

    #[test]
    fn who_has_begun_is_waited_for_only_shortly() {
        let (mut line, _) = line(3, 100);
        assert_eq!(let_go(&mut line, 250, NOW), [1, 2]);
        assert_eq!(line.look_again(), Some(NOW + PATIENCE));
        let then = Instant::from_millis(10);
        line.sent(0, then, || 1);
        assert_eq!(line.look_again(), Some(then + PAUSE));
        assert_eq!(let_go(&mut line, 250, then + PAUSE), [3], "the first does not go on");
        assert!(line.look_again().is_none(), "nobody waits");
    }

    #[test]
    fn a_turn_is_over_after_its_time_however_little_was_taken() {
        let (mut line, _) = line(3, 100);
        assert_eq!(let_go(&mut line, 100, NOW), [1]);
        assert!(line.sent(0, NOW, || 100));
        assert_eq!(let_go(&mut line, 1 << 20, NOW), [2], "memory comes fast: all of it");
        let half = |n: u32| NOW + PAUSE * n / 2;
        let records = (1..1000).take_while(|n| {
            assert!(!line.sent(1, half(*n), || 0), "it goes into a chunk that is there");
            let_go(&mut line, 1 << 20, half(*n)) == NOBODY
        });
        assert_eq!(half(records.count() as u32 + 1), NOW + PATIENCE, "the third waits no longer for its turn");
    }

    #[test]
    fn what_was_allowed_and_is_not_taken_is_not_given_twice_but_soon_given_to_others() {
        let (mut line, _) = line(3, 100);
        assert_eq!(let_go(&mut line, 100, NOW), [1]);
        assert_eq!(let_go(&mut line, 100, NOW), NOBODY);
        let later = line.look_again().expect("the others do not wait for ever");
        assert_eq!(let_go(&mut line, 100, later), [2]);
    }

    #[test]
    fn who_came_too_late_is_first_and_alone_until_it_has_sent_or_does_not_come() {
        let (mut line, tickets) = line(2, 100);
        assert_eq!(let_go(&mut line, 200, NOW), [1, 2]);
        line.park(3, None, 100);
        line.park(1, Some(&tickets[1]), 100);
        line.park(0, Some(&tickets[0]), 100);
        assert_eq!(let_go(&mut line, 1000, NOW), [1], "alone, in its old place");
        assert_eq!(let_go(&mut line, 1000, NOW), NOBODY, "the others wait for it");
        assert!(line.leave(&tickets[0]), "it has sent");
        assert_eq!(let_go(&mut line, 1000, NOW), [2]);
        assert!(!line.may_try(9, None));
        let later = line.look_again().expect("the others do not wait for ever");
        assert_eq!(let_go(&mut line, 1000, later), [3], "it did not come");
        assert!(line.may_try(9, None) && line.may_try(1, Some(&tickets[1])));
    }

    #[test]
    fn who_tries_elsewhere_and_comes_too_late_has_its_old_place_once() {
        let (mut line, tickets) = line(2, 100);
        assert_eq!(let_go(&mut line, 200, NOW), [1, 2]);
        line.keep(Arc::clone(&tickets[1]));
        assert!(line.use_kept(0).is_none() && line.use_kept(1).is_some());
        assert!(line.use_kept(1).is_none(), "it tried, and found nothing left");
        line.park(3, None, 100);
        let old = line.kept(1);
        line.park(1, old.as_ref(), 100);
        assert_eq!(let_go(&mut line, 1000, NOW), [2], "alone, in its old place");
        line.keep(Arc::clone(&tickets[1]));
        let ticket = line.use_kept(1);
        assert!(line.may_try(1, ticket.as_ref()) && !line.may_try(9, None));
        line.forget_kept(1);
        assert!(line.leave(&tickets[1]), "it has sent: the next one may be let go");
        assert!(line.kept(1).is_none());
    }

    #[test]
    fn places_that_are_kept_and_never_used_are_not_kept_without_end() {
        let mut line = Line::default();
        for sender in 0..5000 {
            let ticket = line.new_ticket(sender);
            line.keep(ticket);
        }
        assert_eq!(line.kept.len(), KEPT);
        let (old, new) = (line.new_ticket(1), line.new_ticket(1));
        line.keep(Arc::clone(&old));
        line.keep(new);
        assert_eq!(
            line.kept(1).map(|ticket| ticket.number),
            Some(old.number),
            "two share a number: the oldest place counts"
        );
    }

    #[test]
    fn memory_may_gather_for_a_moment_and_is_given_then_as_little_as_it_is() {
        let (mut line, _) = line(2, 100);
        let mut raised = Vec::new();
        line.let_go(50, 1000, NOW, &mut raised);
        assert!(raised.is_empty() && line.look_again().is_none(), "it is enough for nobody");
        line.let_go(150, 1000, NOW, &mut raised);
        assert!(raised.is_empty());
        let later = line.look_again().expect("a moment later");
        line.let_go(150, 1000, later, &mut raised);
        assert_eq!(raised.len(), 1);
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn without_time_all_go_for_whom_there_is_enough() {
        let mut line = Line::without_time();
        let tickets: Vec<_> = [100, 100, 500, 100].into_iter().map(|needs| line.park(1, None, needs)).collect();
        let mut raised = Vec::new();
        line.let_go(150, 1000, NOW, &mut raised);
        assert_eq!(raised.iter().map(|ticket| ticket.number).collect::<Vec<_>>(), [1, 2], "however little it is");
        line.park(1, Some(&tickets[1]), 200);
        assert_eq!(let_go(&mut line, 200, NOW), [2], "it found nothing left");
        assert!(line.look_again().is_none() && !line.may_try(1, None), "nobody has a turn");
        assert!(line.leave(&tickets[2]), "it gave up: the next one may be let go");
        assert_eq!(let_go(&mut line, 200, NOW), [4]);
    }

    #[test]
    fn one_who_needs_more_than_there_is_is_not_passed() {
        let (mut line, tickets) = line(1, 50_000);
        line.park(2, None, 10);
        assert_eq!(let_go(&mut line, 40_000, NOW), NOBODY);
        assert!(line.leave(&tickets[0]), "it gave up: the next one may be let go");
        assert_eq!(let_go(&mut line, 40_000, NOW), [2]);
    }
}
