//! The rules of docs/design.md, "Order and idempotence", for the batches of one partition: what a client knows, and what it may do then.
//!
//! They stand here once, and are used twice. The model checker (`check/`) has a client that takes every step that is allowed here, and a
//! broker that does its worst. The trace check (`main.rs`) looks whether each step of the real machine is allowed here. So nothing here
//! knows of either.
//!
//! Each rule can be switched off, to see what it is good for. What is not a choice of the client's (a number is given once, an outcome is
//! final) is a rule, too: the trace check needs it.

use std::collections::VecDeque;

/// What a client keeps to. The numbers are those of docs/design.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Batches leave for the first time in the order of their records.
    FreshInOrder,
    /// A batch is not sent twice on one connection, unless it was answered or its leader has changed meanwhile.
    OnceAtATime,
    /// An outcome is final.
    OutcomesAreFinal,
    /// An outcome says what is known: delivered is what was acknowledged, or is proven to be written.
    OutcomesAreTrue,
    /// What may be in the log does not fail as "not written".
    FailedInDoubtIsPossiblyWritten,
    /// 1: until the lowest that has to be sent again is answered, only that one leaves.
    RetriesInOrder,
    /// 1: no more batches are open than brokers remember.
    AsManyAsBrokersRemember,
    /// 1: what an old leader has not answered counts as unanswered.
    OldLeaderCountsAsSilent,
    /// 1: and so it is in doubt.
    SupersededIsInDoubt,
    /// 2: outcomes are told in the order of the batches.
    OutcomesInOrder,
    /// 3: until the first acknowledgement, one batch at a time.
    FirstAlone,
    /// 3: again after long idleness.
    AloneAfterIdleness,
    /// 3: again after a change of leader in idleness.
    AloneAfterLeaderChange,
    /// 3, 7: again under a new topic id.
    AloneUnderNewTopic,
    /// 4: after a gap nothing leaves before the epoch is bumped.
    NothingBeforeTheBump,
    /// 4: which waits until nothing of the partition is on the wire.
    BumpWaitsForTheWire,
    /// 4: out of order asks for a bump only from the lowest, and only if that is not in doubt.
    OnlyTheLowestCertainAsksForABump,
    /// 5: what is in doubt keeps its number.
    InDoubtKeepsItsNumber,
    /// 5: one attempt that may be written is enough for doubt, whatever later ones are answered.
    EveryAttemptCounts,
    /// 5: 3 and 6 may come after the append.
    NotLeaderLeavesDoubt,
    /// 5: what was certainly not written says something of those behind it, not of those before.
    RefusedProvesOnlyBehind,
    /// 5: a success proves those before it, but not beyond one that was certainly not written.
    ProofEndsAtRefused,
    /// 5: nor does it reach what was certainly not written and has left again, and so behind what succeeds.
    ProofEndsAtWhatLeftAgain,
    /// 6: another partition's epoch is taken when nothing is open.
    NewEpochWhenNothingIsOpen,
    /// 7: a number belongs to the topic id under which it was given.
    NewTopicNewNumbers,
    /// 8: 46 is success.
    DuplicateIsSuccess,
    /// 8: 47 does not say that a batch in doubt was not written.
    OldEpochProvesNothing,
    /// 9: 45 does not say that a batch in doubt was written.
    OutOfOrderProvesNothing,
    /// 9: what is behind the lowest is asked for on the connection on which that was answered 45.
    AskedOnOneConnection,
    /// Numbers follow each other; a newer epoch begins at 0.
    NumbersFollow,
    /// A batch is split only if no attempt of it is on its way.
    SplitWhenNothingIsOnItsWay,
    /// Its parts are in doubt if it was.
    PartsInheritDoubt,
    /// They have its sequences.
    PartsKeepTheNumbers,
}

/// All rules, or all but one.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub without: Option<Rule>,
    /// How many batches of a partition may be open.
    pub window: usize,
}

impl Rules {
    pub fn hold(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn need(self, rule: Rule, is_so: bool) -> Result<(), Rule> {
        if is_so || !self.hold(rule) { Ok(()) } else { Err(rule) }
    }

    /// Whether this answer proves that the attempt was not written.
    fn not_written(self, code: i16) -> bool {
        matches!(code, 2 | 10 | 17 | 18 | 19 | 21 | 29 | 31 | 32 | 35 | 43 | 45 | 47 | 59 | 76 | 87 | 100)
            || (matches!(code, 3 | 6) && !self.hold(Rule::NotLeaderLeavesDoubt))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub identity: Identity,
    pub sequence: i32,
}

/// A batch on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Tells the attempts of a batch apart that are on their way.
    pub number: u64,
    pub conn: u32,
    pub node: i32,
    /// Of the topics that had the name one after the other: the one that it was sent to.
    pub topic: u32,
}

/// A batch that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The place of its first record among those of the partition.
    pub first: u64,
    pub count: u32,
    /// `None` where it takes a new number when it is sent next.
    pub stamp: Option<Stamp>,
    /// The attempt that is not answered.
    pub on_wire: Option<Attempt>,
    /// Attempts that are not answered, but count as unanswered.
    pub superseded: Vec<u64>,
    /// How often it was sent: 0, 1, or 2 for more.
    pub attempts: u8,
    /// An attempt under this number may have been written.
    pub in_doubt: bool,
    /// It may have been written under another topic id.
    elsewhere: bool,
    /// A later one of the same identity was acknowledged.
    proven: bool,
    /// An attempt under this number named the topic by its name.
    by_name: bool,
    /// The topic under whose id it has its number.
    topic: u32,
    /// The last answer was 45.
    out_of_order: bool,
    /// So it was since the partition asks what is written.
    refused: bool,
    /// The offset, or whether it may have been written.
    pub outcome: Option<Result<Option<i64>, bool>>,
}

impl Batch {
    fn identity(&self) -> Option<Identity> {
        self.stamp.map(|stamp| stamp.identity)
    }

    /// That of one that never went by name.
    fn identity_by_id(&self) -> Option<Identity> {
        self.identity().filter(|_| !self.by_name)
    }

    /// It has to be sent again.
    pub fn waits(&self) -> bool {
        self.outcome.is_none() && self.on_wire.is_none()
    }

    fn was_sent_again(&self) -> bool {
        self.on_wire.is_some() && self.attempts > 1
    }

    fn is_certainly_not_written(&self) -> bool {
        match self.outcome {
            None => self.on_wire.is_none() && !self.in_doubt && !self.proven,
            Some(outcome) => outcome == Err(false),
        }
    }

    fn may_be_written(&self) -> bool {
        self.in_doubt || self.elsewhere || self.proven || self.on_wire.is_some()
    }

    fn renumber(&mut self) {
        (self.stamp, self.in_doubt, self.by_name, self.proven) = (None, false, false, false);
    }

    /// Its current attempt does not count any more.
    fn supersede(&mut self, rules: Rules) {
        if let Some(attempt) = self.on_wire.take() {
            self.superseded.push(attempt.number);
            self.in_doubt |= rules.hold(Rule::SupersededIsInDoubt);
        }
    }
}

/// An outcome that is known, and that all before it have, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settled {
    pub first: u64,
    pub count: u32,
    /// The offset, or whether it may have been written.
    pub outcome: Result<Option<i64>, bool>,
}

/// A number was spent that the log will never hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Gap {
    new_topic: bool,
    /// The identity of a batch that has failed as certainly not written, and is out of the list.
    refused: Option<Identity>,
}

/// A batch that is put into a request.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    pub first: u64,
    pub count: u32,
    pub stamp: Stamp,
    pub by_name: bool,
    pub attempt: Attempt,
}

/// What a client knows of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Partition {
    /// What was sent and is open, or waits for earlier ones, by sequence.
    pub sent: Vec<Batch>,
    /// What is to be told next.
    pub settled: VecDeque<Settled>,
    /// The first record that no batch that was sent has.
    fresh: u64,
    /// That of the last number that was given.
    pub identity: Option<Identity>,
    /// The next number is of a newer epoch.
    pub bumped: bool,
    pub next: i32,
    gap: Option<Gap>,
    /// More than one may be on the wire.
    acknowledged: bool,
    pub leader: Option<i32>,
    /// The lowest was answered 45 on this connection: what is behind it is sent again there.
    pub asks_on: Option<u32>,
    /// The offset behind the last batch that was delivered, of those whose place was told.
    end: Option<i64>,
    topic: u32,
}

/// What the client does.
impl Partition {
    /// A batch leaves, for the first time or again.
    pub fn send(&mut self, rules: Rules, leaving: &Leaving) -> Result<(), Rule> {
        self.cut(rules, leaving.first, leaving.count)?;
        let place = match self.sent.iter().position(|batch| batch.first == leaving.first) {
            Some(place) => {
                self.may_leave_again(rules, place, leaving)?;
                place
            }
            None => {
                self.may_leave(rules, leaving)?;
                self.fresh = leaving.first + u64::from(leaving.count);
                self.sent.push(self.new_batch(leaving));
                self.sent.len() - 1
            }
        };
        self.number(rules, place, leaving)?;
        let batch = &mut self.sent[place];
        batch.supersede(rules);
        batch.on_wire = Some(leaving.attempt);
        batch.attempts = (batch.attempts + 1).min(2);
        batch.by_name |= leaving.by_name;
        Ok(())
    }

    /// A batch fails: its time is over, it was refused, the client is closed.
    pub fn give_up(&mut self, rules: Rules, place: usize) {
        let batch = &mut self.sent[place];
        let may_be = batch.may_be_written() && rules.hold(Rule::FailedInDoubtIsPossiblyWritten);
        batch.supersede(rules);
        batch.outcome = Some(Err(may_be));
        if batch.stamp.is_some() {
            self.open_gap();
        }
        self.settle(rules);
    }

    /// An outcome is told.
    pub fn tell(&mut self, rules: Rules, told: &Settled) -> Result<(), Rule> {
        let of = |it: &Settled| (it.first, it.count) == (told.first, told.count);
        if !self.settled.front().is_some_and(of) {
            self.cut(rules, told.first, told.count)?;
            let place = self.sent.iter().position(|batch| batch.first == told.first);
            rules.need(Rule::OutcomesInOrder, self.settled.is_empty() && place.unwrap_or(self.sent.len()) == 0)?;
            rules.need(Rule::OutcomesAreTrue, told.outcome.is_err())?;
            match place {
                Some(place) => self.give_up(rules, place),
                None => {
                    // It was never sent.
                    rules.need(Rule::OutcomesAreFinal, told.first >= self.fresh)?;
                    self.fresh = told.first + u64::from(told.count);
                    return Ok(());
                }
            }
        }
        let known = self.settled.pop_front().ok_or(Rule::OutcomesInOrder)?;
        rules.need(Rule::OutcomesInOrder, of(&known))?;
        match (known.outcome, told.outcome) {
            (Err(may_be), Err(said)) => rules.need(Rule::FailedInDoubtIsPossiblyWritten, said || !may_be),
            (known, said) => rules.need(Rule::OutcomesAreTrue, known == said),
        }
    }

    /// Rules 1, 3, 4 and 6, for a batch that was never sent.
    fn may_leave(&self, rules: Rules, leaving: &Leaving) -> Result<(), Rule> {
        let identity = leaving.stamp.identity;
        let is_other = self.identity != Some(identity) && !self.bumped;
        let same_id = self.identity.is_some_and(|before| before.producer_id == identity.producer_id);
        let acknowledged = self.acknowledged && same_id;
        rules.need(Rule::FreshInOrder, leaving.first >= self.fresh)?;
        rules.need(Rule::NothingBeforeTheBump, self.gap.is_none())?;
        rules.need(Rule::NewEpochWhenNothingIsOpen, !is_other || self.sent.is_empty())?;
        rules.need(Rule::FirstAlone, acknowledged || self.sent.is_empty())?;
        rules.need(Rule::AsManyAsBrokersRemember, self.sent.len() < rules.window)?;
        let in_the_way = |batch: &Batch| batch.waits() || batch.was_sent_again();
        rules.need(Rule::RetriesInOrder, !self.sent.iter().any(in_the_way))
    }

    /// Rules 1, 4 and 9, for one that was.
    fn may_leave_again(&self, rules: Rules, place: usize, leaving: &Leaving) -> Result<(), Rule> {
        let batch = &self.sent[place];
        rules.need(Rule::OutcomesAreFinal, batch.outcome.is_none())?;
        let conn = batch.on_wire.map(|attempt| attempt.conn);
        rules.need(Rule::OnceAtATime, conn != Some(leaving.attempt.conn))?;
        rules.need(Rule::NothingBeforeTheBump, self.gap.is_none())?;
        if self.next_asked(rules.window) == Some(place) && self.asks_on.is_some() {
            let is_there = self.asks_on == Some(leaving.attempt.conn);
            if is_there || !rules.hold(Rule::AskedOnOneConnection) {
                return Ok(());
            }
        }
        if batch.attempts == 0 {
            // A part of one that was split.
            let on_wire = self.sent.iter().filter(|batch| batch.on_wire.is_some()).count();
            rules.need(Rule::FirstAlone, self.acknowledged || on_wire == 0)?;
            rules.need(Rule::AsManyAsBrokersRemember, on_wire < rules.window)?;
        }
        let in_the_way = |batch: &Batch| batch.waits() || batch.was_sent_again();
        rules.need(Rule::RetriesInOrder, !self.sent[..place].iter().any(in_the_way))
    }

    /// What is sent again next while the partition asks: the lowest that was not refused as out of order yet, of the same identity, and
    /// of those that brokers know.
    fn next_asked(&self, window: usize) -> Option<usize> {
        let identity = self.sent.first()?.identity()?;
        for (place, batch) in self.sent.iter().take(window).enumerate() {
            if batch.identity() != Some(identity) || batch.attempts == 0 {
                return None;
            }
            if batch.waits() && !batch.refused {
                return Some(place);
            }
        }
        None
    }

    /// It keeps its number, or takes the next.
    fn number(&mut self, rules: Rules, place: usize, leaving: &Leaving) -> Result<(), Rule> {
        let Leaving { stamp, count, .. } = *leaving;
        if let Some(before) = self.sent[place].stamp {
            return rules.need(Rule::InDoubtKeepsItsNumber, before == stamp);
        }
        if self.identity != Some(stamp.identity) {
            let is_newer = |before: Identity| {
                before.producer_id != stamp.identity.producer_id || before.epoch < stamp.identity.epoch
            };
            rules.need(Rule::NumbersFollow, self.identity.is_none_or(is_newer))?;
            self.acknowledged &= self.identity.is_some_and(|it| it.producer_id == stamp.identity.producer_id);
            (self.identity, self.next, self.bumped) = (Some(stamp.identity), 0, false);
        }
        rules.need(Rule::NumbersFollow, !self.bumped && stamp.sequence == self.next)?;
        self.next = after(stamp.sequence, count);
        (self.sent[place].stamp, self.sent[place].topic) = (Some(stamp), self.topic);
        Ok(())
    }

    /// If these are some of the records of a larger batch, that was split.
    fn cut(&mut self, rules: Rules, first: u64, count: u32) -> Result<(), Rule> {
        let within = |batch: &Batch| batch.first == first && batch.count > count;
        let Some(place) = self.sent.iter().position(within) else { return Ok(()) };
        self.split(rules, place, count)
    }

    /// A batch is sent in two parts from now on.
    pub fn split(&mut self, rules: Rules, place: usize, count: u32) -> Result<(), Rule> {
        let batch = &mut self.sent[place];
        let is_away = batch.on_wire.is_none() && batch.superseded.is_empty();
        rules.need(Rule::SplitWhenNothingIsOnItsWay, is_away)?;
        if !batch.in_doubt || !rules.hold(Rule::PartsInheritDoubt) {
            (batch.attempts, batch.in_doubt) = (0, false);
        }
        let mut rest = batch.clone();
        (rest.first, rest.count) = (batch.first + u64::from(count), batch.count - count);
        let taken = if rules.hold(Rule::PartsKeepTheNumbers) { count } else { batch.count };
        rest.stamp = rest.stamp.map(|stamp| Stamp { sequence: after(stamp.sequence, taken), ..stamp });
        batch.count = count;
        self.sent.insert(place + 1, rest);
        Ok(())
    }

    fn new_batch(&self, leaving: &Leaving) -> Batch {
        Batch {
            first: leaving.first,
            count: leaving.count,
            stamp: None,
            on_wire: None,
            superseded: Vec::new(),
            attempts: 0,
            in_doubt: false,
            elsewhere: false,
            proven: false,
            by_name: false,
            topic: self.topic,
            out_of_order: false,
            refused: false,
            outcome: None,
        }
    }
}

/// What the client is told.
impl Partition {
    /// The answer for an attempt has come.
    pub fn answered(&mut self, rules: Rules, number: u64, code: i16, offset: Option<i64>) {
        let Some((place, attempt)) = self.take_current(number) else { return };
        let batch = &mut self.sent[place];
        batch.out_of_order = code == 45;
        if code == 0 || (code == 46 && rules.hold(Rule::DuplicateIsSuccess)) {
            self.acknowledge(rules, place, offset.filter(|_| code == 0));
            return self.settle(rules);
        }
        if !rules.not_written(code) {
            batch.in_doubt = true;
        } else if !rules.hold(Rule::EveryAttemptCounts) {
            batch.in_doubt = false;
        }
        let of_before = attempt.topic != self.topic;
        match code {
            _ if of_before => self.asks_on = None,
            45 | 47 | 59 if batch.proven => batch.outcome = Some(Ok(None)),
            45 | 59 => self.out_of_order(rules, place, attempt.conn, code),
            47 if batch.in_doubt && rules.hold(Rule::OldEpochProvesNothing) => return self.give_up(rules, place),
            47 => {
                batch.in_doubt = false;
                self.open_gap();
            }
            // It is split.
            10 | 18 if batch.count > 1 && batch.superseded.is_empty() => {}
            _ => self.asks_on = None,
        }
        self.settle(rules);
    }

    /// No answer will come for an attempt.
    pub fn lost(&mut self, rules: Rules, number: u64) {
        let Some((place, _)) = self.take_current(number) else { return };
        self.sent[place].in_doubt = true;
        self.asks_on = None;
        self.settle(rules);
    }

    /// The client learns who leads the partition, or that the leader was elected again.
    pub fn led(&mut self, rules: Rules, leader: Option<i32>, is_news: bool) {
        let moved = self.leader != leader;
        self.leader = leader;
        if (moved || is_news) && self.sent.is_empty() && rules.hold(Rule::AloneAfterLeaderChange) {
            self.acknowledged = false;
        }
        if moved {
            self.asks_on = None;
            let node = leader.filter(|_| rules.hold(Rule::OldLeaderCountsAsSilent));
            for batch in self.sent.iter_mut().filter(|_| node.is_some()) {
                if batch.on_wire.is_some_and(|attempt| Some(attempt.node) != node) {
                    batch.supersede(rules);
                }
            }
        }
        self.settle(rules);
    }

    /// Nothing was open for long.
    pub fn idle(&mut self, rules: Rules) {
        if self.sent.is_empty() && rules.hold(Rule::AloneAfterIdleness) {
            self.acknowledged = false;
        }
    }

    /// The topic has another id.
    pub fn new_topic(&mut self, rules: Rules) {
        self.topic += 1;
        (self.asks_on, self.end) = (None, None);
        self.acknowledged &= !rules.hold(Rule::AloneUnderNewTopic);
        if self.identity.is_some() && rules.hold(Rule::NewTopicNewNumbers) {
            self.gap = Some(Gap { new_topic: true, refused: None });
        }
        self.settle(rules);
    }

    /// The topic that has the name, as attempts name it.
    pub fn topic(&self) -> u32 {
        self.topic
    }

    /// What becomes of one that is out of order.
    fn out_of_order(&mut self, rules: Rules, place: usize, conn: u32, code: i16) {
        let in_doubt = self.sent[place].in_doubt;
        let any = !rules.hold(Rule::OnlyTheLowestCertainAsksForABump);
        if code == 59 && place == 0 && in_doubt {
            // The broker knows nothing of the producer, and has nothing of what waits.
            for batch in self.sent.iter_mut().filter(|batch| batch.waits() && batch.stamp.is_some() && !batch.proven) {
                batch.elsewhere |= batch.in_doubt;
                batch.renumber();
            }
            return self.open_gap();
        }
        if in_doubt && place == 0 && !rules.hold(Rule::OutOfOrderProvesNothing) {
            self.sent[place].outcome = Some(Ok(None));
            return;
        }
        if any || (place == 0 && !in_doubt) {
            return self.open_gap();
        }
        if code == 45 && place == 0 {
            self.sent.iter_mut().for_each(|batch| batch.refused = false);
            self.asks_on = Some(conn);
        }
        if code == 45 && self.asks_on == Some(conn) {
            self.sent[place].refused = true;
            let goes_on = self.sent.iter().any(|batch| batch.on_wire.is_some());
            if goes_on || self.next_asked(rules.window).is_some() {
                return;
            }
        }
        self.asks_on = None;
    }

    /// A batch is written, at this offset.
    fn acknowledge(&mut self, rules: Rules, place: usize, offset: Option<i64>) {
        let batch = &mut self.sent[place];
        batch.outcome = Some(Ok(offset));
        let id = batch.identity().map(|identity| identity.producer_id);
        if batch.topic == self.topic && self.identity.is_some_and(|identity| Some(identity.producer_id) == id) {
            self.acknowledged = true;
        }
        self.prove(rules, place, offset);
        self.asks_on = None;
        for batch in self.sent.iter_mut().filter(|batch| batch.proven && batch.out_of_order && batch.waits()) {
            batch.outcome = Some(Ok(None));
        }
    }

    /// A success proves those before it under the same identity, from behind the last that was certainly not written (rule 5). Where one
    /// of them went by name, only if its offset leaves room for them.
    fn prove(&mut self, rules: Rules, place: usize, offset: Option<i64>) {
        let Some(identity) = self.sent[place].identity() else { return };
        let of_it = |batch: &Batch| batch.identity() == Some(identity);
        let earlier = &self.sent[..place];
        let ends = |batch: &Batch| {
            let left_again = batch.was_sent_again() && !batch.in_doubt && !batch.proven;
            batch.is_certainly_not_written() && rules.hold(Rule::ProofEndsAtRefused)
                || left_again && rules.hold(Rule::ProofEndsAtWhatLeftAgain)
        };
        let from = earlier.iter().rposition(|batch| of_it(batch) && ends(batch));
        let from = from.map_or(0, |refused| refused + 1);
        let proven = || earlier[from..].iter().filter(|batch| of_it(batch));
        let records: i64 = proven().map(|batch| i64::from(batch.count)).sum();
        let by_name = self.sent[place].by_name || proven().any(|batch| batch.by_name);
        let room = |offset: i64| self.end.is_some_and(|end| offset - records >= end);
        if by_name && !offset.is_some_and(room) {
            return;
        }
        for batch in self.sent[from..place].iter_mut().filter(|batch| of_it(batch)) {
            batch.proven = true;
        }
    }

    /// The place of the batch whose current attempt this is.
    fn take_current(&mut self, number: u64) -> Option<(usize, Attempt)> {
        for (place, batch) in self.sent.iter_mut().enumerate() {
            if let Some(attempt) = batch.on_wire.take_if(|attempt| attempt.number == number) {
                return Some((place, attempt));
            }
            batch.superseded.retain(|superseded| *superseded != number);
        }
        None
    }

    fn open_gap(&mut self) {
        self.asks_on = None;
        self.gap.get_or_insert(Gap { new_topic: false, refused: None });
    }

    /// What has an outcome leaves the list, in order (rule 2); then the epoch is bumped, if that is wanted (rule 4).
    fn settle(&mut self, rules: Rules) {
        let in_order = rules.hold(Rule::OutcomesInOrder);
        let mut place = 0;
        while let Some(batch) = self.sent.get(place) {
            let Some(outcome) = batch.outcome else {
                if in_order {
                    break;
                }
                place += 1;
                continue;
            };
            let batch = self.sent.remove(place);
            let (first, count) = (batch.first, batch.count);
            match (outcome, &mut self.gap) {
                (Ok(Some(offset)), _) => self.end = Some(offset + i64::from(count)),
                (Err(false), Some(Gap { new_topic: false, refused })) => *refused = batch.identity_by_id().or(*refused),
                _ => {}
            }
            self.settled.push_back(Settled { first, count, outcome });
        }
        let on_wire = self.sent.iter().any(|batch| batch.on_wire.is_some());
        if !on_wire || !rules.hold(Rule::BumpWaitsForTheWire) {
            if let Some(gap) = self.gap.take() {
                self.bump(rules, gap);
            }
        }
    }

    /// The next number is of a newer epoch. So are those of batches that were certainly not written, and of those behind one such of the same
    /// identity (rule 5), and of those that another topic has given, if they never went by name (rule 7).
    fn bump(&mut self, rules: Rules, gap: Gap) {
        self.bumped = true;
        let mut refused = gap.refused;
        if !rules.hold(Rule::RefusedProvesOnlyBehind) {
            let certain = self.sent.iter().find(|batch| batch.is_certainly_not_written());
            refused = certain.and_then(Batch::identity_by_id).or(refused);
        }
        for batch in &mut self.sent {
            let identity = batch.identity_by_id();
            if batch.outcome == Some(Err(false)) {
                refused = identity.or(refused);
            } else if !batch.waits() {
                // Without rule 4 it is still on the wire.
            } else if gap.new_topic && batch.topic != self.topic && !batch.by_name {
                batch.elsewhere |= batch.in_doubt || batch.proven;
                batch.renumber();
            } else if !batch.in_doubt || !rules.hold(Rule::InDoubtKeepsItsNumber) {
                refused = identity.or(refused);
                batch.renumber();
            } else if identity.is_some() && identity == refused {
                batch.renumber();
            }
        }
    }
}

/// The sequence of what comes `count` records later: 2^31 - 1 is followed by 0.
pub fn after(sequence: i32, count: u32) -> i32 {
    (sequence as u32).wrapping_add(count) as i32 & i32::MAX
}
