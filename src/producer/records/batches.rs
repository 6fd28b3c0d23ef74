//! The table of live batches, and the two lists of all of them: by age, and of those that linger.

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use crate::batch::header::Stamp;
use crate::batch::{Compression, Records};
use crate::error::{DeliveryError, ErrorCode};
use crate::event::Written;
use crate::ids::{BatchId, ConnId};
use crate::planted::planted;
use crate::producer::list::{Links, List, Table};
use crate::time::Instant;

/// The lists that a batch may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Its partition's: queued, or sent.
    Partition,
    /// All live batches, oldest first.
    Age,
    /// Open batches that are not due, oldest first.
    Linger,
}

/// Where a batch is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The slot is free.
    Free,
    /// Takes records; not due yet.
    Open,
    /// Takes records; leaves as soon as its connection can take it.
    Due,
    /// Takes no more records, and was not sent yet, or (without idempotence) waits to be sent again.
    Closed,
    /// Its current attempt is on the wire.
    InFlight(ConnId),
    /// Was sent, and has to be sent again.
    Waiting,
    /// Its outcome is known, but earlier batches of its partition are open (rule 2).
    Resolved(Result<Written, DeliveryError>),
    /// Its outcome is in the outbox.
    Delivering,
    /// Was split; waits for the deliveries of its parts.
    Split,
}

/// Whether a batch has to be compressed before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It may leave as it is.
    Ready,
    /// It is compressed when it leaves.
    Inline,
    /// It waits for a job.
    Wanted,
    /// A job has it.
    Out,
}

impl Stage {
    /// The one in which batches begin, if there may be so many jobs.
    pub(crate) fn first(compression: Compression, jobs: usize) -> Self {
        match (compression, jobs) {
            (Compression::None, _) => Self::Ready,
            (_, 0) => Self::Inline,
            (_, _) => Self::Wanted,
        }
    }
}

/// One batch.
#[derive(Debug)]
pub(crate) struct Batch {
    generation: u32,
    links: [Links; 3],
    pub(crate) state: State,
    pub(crate) stage: Stage,
    /// Index of its partition.
    pub(crate) partition: u32,
    /// Order of creation; the parts of a split batch keep their parent's.
    pub(crate) serial: u64,
    /// When its first record was sent.
    pub(crate) created: Instant,
    /// How long after that its last record was sent, in nanoseconds, as far as that goes.
    took: u32,
    pub(crate) records: Records,
    /// What the host knows it by: its own id, or its parent's.
    origin: BatchId,
    /// The place of its first record in `origin`.
    first_record: u32,
    /// For a batch that is another's origin: deliveries still to come.
    parts: u32,
    /// Producer id, epoch and sequence, from the first sending on, until it is to be renumbered.
    pub(crate) stamp: Option<Stamp>,
    /// Which of the topics that had the name one after the other the stamp belongs to: it was given under that one's id.
    pub(crate) incarnation: u32,
    /// An attempt under this stamp went by name (Produce below 13): nobody can say which of those topics got it.
    pub(crate) by_name: bool,
    /// While its partition is asked what is written: it was sent again, and refused as out of order.
    pub(crate) refused: bool,
    /// Number of the current attempt, counted from 1; 0 before the first.
    pub(crate) attempt: u32,
    /// Attempts that counted against `retries`.
    pub(crate) retries: u32,
    /// Attempts of it (current or superseded) that a connection still has.
    pub(crate) outstanding: u32,
    /// An earlier attempt ended without a proof that it was not written: it must keep its stamp (rule 5).
    pub(crate) tainted: bool,
    /// It may be in a log under an earlier topic id; to be said if it fails, no hindrance to renumbering (rule 7).
    pub(crate) maybe_written: bool,
    /// A later batch of the same producer id and epoch was acknowledged: it is written (rule 5).
    pub(crate) proven: bool,
    /// The last error that a broker answered.
    pub(crate) last_error: Option<ErrorCode>,
}

impl Batch {
    /// A record was sent to it.
    #[inline]
    pub(crate) fn note_record(&mut self, now: Instant) {
        let took = now.as_nanos().saturating_sub(self.created.as_nanos());
        self.took = u32::try_from(took).unwrap_or(u32::MAX);
    }

    /// When its last record was sent.
    pub(crate) fn newest(&self) -> Instant {
        self.created + Duration::from_nanos(self.took.into())
    }

    /// Bytes that it takes in a request: header and records.
    pub(crate) fn size(&self) -> usize {
        crate::batch::header::SIZE + self.records.len()
    }

    /// Whether it may take more records: for so many nanoseconds from its first one on, and until a flush covers it.
    #[inline]
    pub(crate) fn may_grow(&self, now: Instant, growth: u64, flushed_below: u64) -> bool {
        let age = now.as_nanos().saturating_sub(self.created.as_nanos());
        (age < growth || planted("grows-for-ever")) && (self.serial >= flushed_below || planted("flush-covers-later"))
    }

    /// Whether it may leave for the first time: it is due, and no job has to compress it first.
    pub(crate) fn may_leave(&self) -> bool {
        matches!(self.state, State::Due | State::Closed) && matches!(self.stage, Stage::Ready | Stage::Inline)
    }

    /// The id by which the host knows it.
    #[inline]
    pub(crate) fn id(&self) -> BatchId {
        self.origin
    }

    /// Its records, as places in the batch that the host knows.
    pub(crate) fn range(&self) -> Range<u32> {
        self.first_record..self.first_record + self.records.count()
    }

    /// It takes a new number when it is sent next.
    pub(crate) fn renumber(&mut self) {
        self.stamp = None;
        (self.tainted, self.by_name) = (false, false);
        self.proven &= planted("proof-outlives-its-topic");
    }

    /// Whether every attempt under its stamp was answered with a proof that it was not written; but for one that has left again, and
    /// so behind all that was on the wire then.
    pub(crate) fn is_certainly_not_written(&self) -> bool {
        match &self.state {
            State::Waiting => !self.tainted && !self.proven,
            State::InFlight(_) if self.attempt > 1 => {
                !self.tainted && !self.proven && !planted("proof-reaches-what-left-again")
            }
            State::Resolved(Err(error)) => !error.possibly_written,
            State::Free
            | State::Open
            | State::Due
            | State::Closed
            | State::InFlight(_)
            | State::Resolved(Ok(_))
            | State::Delivering
            | State::Split => false,
        }
    }

    /// Whether some attempt may have been written: one is on the wire, or ended without a proof of the contrary.
    pub(crate) fn in_doubt(&self) -> bool {
        self.tainted || matches!(self.state, State::InFlight(_))
    }
}

/// A table with more slots than that is given up when nothing is in it: there were many small batches, and the next may be few.
const KEPT: usize = 4096;

/// All batches.
#[derive(Debug)]
pub(crate) struct Batches {
    slots: Vec<Batch>,
    free: Vec<u32>,
    /// The generation of slots that have held nothing yet: newer than all before the table was last given up.
    unused: u32,
    age: List,
    linger: List,
    next_serial: u64,
    /// The stage in which batches begin.
    first_stage: Stage,
}

impl Table<Chain> for Batches {
    fn links(&mut self, chain: Chain, slot: u32) -> &mut Links {
        &mut self.slots[slot as usize].links[chain as usize]
    }
}

impl core::ops::Index<u32> for Batches {
    type Output = Batch;

    #[inline]
    fn index(&self, slot: u32) -> &Batch {
        &self.slots[slot as usize]
    }
}

impl core::ops::IndexMut<u32> for Batches {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Batch {
        &mut self.slots[slot as usize]
    }
}

impl Batches {
    pub(crate) fn new(first_stage: Stage) -> Self {
        let (age, linger) = (List::EMPTY, List::EMPTY);
        Self { slots: Vec::new(), free: Vec::new(), unused: 0, age, linger, next_serial: 0, first_stage }
    }

    /// A new open batch, the youngest of all. `records` already holds its first record.
    pub(crate) fn open(&mut self, now: Instant, partition: u32) -> u32 {
        let slot = self.allocate(partition, self.next_serial, now, State::Open);
        self.next_serial += 1;
        let mut age = self.age;
        age.push_back(self, Chain::Age, slot);
        self.age = age;
        let mut linger = self.linger;
        linger.push_back(self, Chain::Linger, slot);
        self.linger = linger;
        slot
    }

    /// The batch just opened got no record after all.
    pub(crate) fn undo_open(&mut self, slot: u32) {
        self.make_due(slot);
        self.forget_age(slot);
        self.release_slot(slot);
    }

    /// A part of `parent`, which begins with the parent's record number `first`, counted within the parent.
    pub(crate) fn open_part(&mut self, parent: u32, first: u32) -> u32 {
        let of = &self.slots[parent as usize];
        let (partition, serial, created) = (of.partition, of.serial, of.created);
        let (origin, first_record) = (of.origin, of.first_record + first);
        let slot = self.allocate(partition, serial, created, State::Closed);
        let of = &self.slots[parent as usize];
        let (retries, last_error) = (of.retries, of.last_error);
        // Where its parent is in doubt, its attempts go on from there: it leaves as a retry does, alone.
        let attempt = if of.tainted { of.attempt } else { 0 };
        let (tainted, maybe_written, by_name) = (of.tainted, of.maybe_written, of.by_name);
        let incarnation = of.incarnation;
        let part = &mut self.slots[slot as usize];
        (part.origin, part.first_record) = (origin, first_record);
        (part.attempt, part.retries, part.last_error) = (attempt, retries, last_error);
        (part.tainted, part.maybe_written, part.by_name) = (tainted, maybe_written, by_name);
        part.incarnation = incarnation;
        if planted("doubt-is-not-inherited") {
            (part.attempt, part.tainted) = (0, false);
        }
        let mut age = self.age;
        age.insert_before(self, Chain::Age, Some(parent), slot);
        self.age = age;
        self.slots[origin.slot as usize].parts += 1;
        slot
    }

    /// The parent of some parts has none of its own any more.
    pub(crate) fn retire_parent(&mut self, parent: u32) {
        self.forget_age(parent);
        let origin = self.slots[parent as usize].origin;
        self.slots[parent as usize].state = State::Split;
        if origin.slot == parent {
            self.slots[parent as usize].parts -= 1;
        } else {
            self.slots[origin.slot as usize].parts -= 1;
            self.release_slot(parent);
        }
    }

    /// The batch's outcome goes to the host: it is no longer alive.
    pub(crate) fn deliver(&mut self, slot: u32) {
        self.forget_age(slot);
        self.slots[slot as usize].state = State::Delivering;
    }

    /// The host has taken the outcome of the batch in `slot`.
    pub(crate) fn delivered(&mut self, slot: u32) {
        let origin = self.slots[slot as usize].origin;
        let whole = &mut self.slots[origin.slot as usize];
        whole.parts -= 1;
        let last = whole.parts == 0;
        if slot != origin.slot {
            self.release_slot(slot);
        }
        if last {
            self.release_slot(origin.slot);
        }
    }

    /// The batch is due: it lingers no longer.
    pub(crate) fn make_due(&mut self, slot: u32) {
        debug_assert_eq!(self.slots[slot as usize].state, State::Open);
        let mut linger = self.linger;
        linger.remove(self, Chain::Linger, slot);
        self.linger = linger;
        self.slots[slot as usize].state = State::Due;
    }

    /// Tells apart the batches that use a slot one after the other.
    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(self.unused, |batch| batch.generation)
    }

    /// By how many slots the table grows: by half at first, for there are machines with little memory, but later by an eighth:
    /// what is counted for an entry (see `Pool`) has to hold.
    fn growth(&self) -> usize {
        (self.slots.len() / 2).clamp(1, 16).max(self.slots.len() / 8)
    }

    /// Bytes that it takes to open another batch: the table's, if it has to grow.
    pub(crate) fn to_open(&self) -> usize {
        if !self.free.is_empty() || self.slots.len() < self.slots.capacity() {
            return 0;
        }
        (self.slots.len() + self.growth()) * size_of::<Batch>()
    }

    /// How many entries are taken: by live batches, and by those whose outcome the host has not taken.
    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The oldest live batch.
    pub(crate) fn oldest(&self) -> Option<u32> {
        self.age.first()
    }

    /// The oldest batch that lingers.
    pub(crate) fn oldest_lingering(&self) -> Option<u32> {
        self.linger.first()
    }

    /// The serial that the next batch will have: all live ones have smaller ones.
    pub(crate) fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// The batch after `slot` in the list of its partition.
    pub(crate) fn next_in_partition(&self, slot: u32) -> Option<u32> {
        self.slots[slot as usize].links[Chain::Partition as usize].next()
    }

    fn forget_age(&mut self, slot: u32) {
        let mut age = self.age;
        age.remove(self, Chain::Age, slot);
        self.age = age;
    }

    fn allocate(&mut self, partition: u32, serial: u64, created: Instant, state: State) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len() as u32;
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(self.growth());
            }
            self.slots.push(Batch {
                generation: self.unused,
                links: [Links::UNLINKED; 3],
                state: State::Free,
                stage: Stage::Ready,
                partition: 0,
                serial: 0,
                created: Instant::ZERO,
                took: 0,
                records: Records::default(),
                origin: BatchId { slot, generation: 0 },
                first_record: 0,
                parts: 0,
                stamp: None,
                incarnation: 0,
                by_name: false,
                refused: false,
                attempt: 0,
                retries: 0,
                outstanding: 0,
                tainted: false,
                maybe_written: false,
                proven: false,
                last_error: None,
            });
            slot
        });
        let stage = if state == State::Open { self.first_stage } else { Stage::Ready };
        let batch = &mut self.slots[slot as usize];
        batch.generation = batch.generation.wrapping_add(1);
        batch.records.restart();
        batch.origin = BatchId { slot, generation: batch.generation };
        (batch.state, batch.partition, batch.serial, batch.created) = (state, partition, serial, created);
        (batch.stage, batch.took) = (stage, 0);
        (batch.first_record, batch.parts, batch.stamp) = (0, 1, None);
        (batch.incarnation, batch.by_name, batch.refused) = (0, false, false);
        (batch.attempt, batch.retries, batch.outstanding) = (0, 0, 0);
        (batch.tainted, batch.maybe_written, batch.proven, batch.last_error) = (false, false, false, None);
        slot
    }

    fn release_slot(&mut self, slot: u32) {
        let batch = &mut self.slots[slot as usize];
        batch.state = State::Free;
        // Late answers for this batch must not be taken for the slot's next one.
        self.free.push(slot);
        if self.free.len() > KEPT {
            self.give_up();
        }
    }

    /// Gives the table back to the allocator if nothing is in it. Whether it was.
    pub(crate) fn give_up(&mut self) -> bool {
        if self.free.len() != self.slots.len() || self.slots.is_empty() {
            return false;
        }
        let newest = self.slots.iter().map(|batch| batch.generation).max();
        self.unused = newest.unwrap_or(0).wrapping_add(1);
        (self.slots, self.free) = (Vec::new(), Vec::new());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_to_open_a_batch_is_said_where_the_table_grows() {
        let mut batches = Batches::new(Stage::Ready);
        for opened in 0..200 {
            let (before, said) = (batches.slots.capacity(), batches.to_open());
            batches.open(Instant::ZERO, 0);
            let grown = if batches.slots.capacity() > before { batches.slots.capacity() } else { 0 };
            assert_eq!(said, grown * size_of::<Batch>(), "with {opened} open");
        }
        let slot = batches.oldest().expect("one of them");
        batches.undo_open(slot);
        assert_eq!(batches.to_open(), 0, "there is a free one");
    }

    #[test]
    fn a_large_table_is_given_up_when_nothing_is_in_it_and_not_before() {
        let mut batches = Batches::new(Stage::Ready);
        let slots: Vec<u32> = (0..KEPT as u32 + 2).map(|_| batches.open(Instant::ZERO, 0)).collect();
        let generation = batches.generation(slots[0]);
        for slot in &slots[1..] {
            batches.undo_open(*slot);
        }
        assert_eq!((batches.oldest(), batches.in_use()), (Some(slots[0]), 1));
        assert_eq!(batches.generation(slots[0]), generation);
        batches.undo_open(slots[0]);
        assert_eq!((batches.slots.capacity(), batches.in_use(), batches.oldest()), (0, 0, None));
        assert_ne!(batches.generation(slots[0]), generation, "late answers are not for who comes now");
    }
}
