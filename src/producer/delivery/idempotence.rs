//! Producer id, epoch and sequences: which batch of a partition may leave next, and what keeps records from being lost,
//! doubled or put out of order. The rules have their numbers from docs/design.md, where their reasons stand.

use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::header::Stamp;
use crate::error::DeliveryError;
use crate::event::Written;
use crate::ids::ConnId;
use crate::planted::planted;
use crate::producer::records::batches::{Batch, Batches, State};
use crate::producer::records::partitions::Partition;
use crate::time::Instant;

/// Batches of a partition between its lowest unresolved and its newest: the window in which brokers know a repeated batch.
pub(crate) const WINDOW: usize = 5;

/// A partition that had nothing open for so long is taken for forgotten by its brokers (rule 3).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A producer id and its epoch (KIP-98, KIP-360).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// Whether the producer has an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Idempotence is off.
    Off,
    /// A producer id has to be asked for.
    Needed,
    /// It has one.
    Known(Identity),
}

impl Standing {
    /// The next epoch of the same producer id, or a new producer id where the epochs are used up (rule 4).
    pub(crate) fn bump(&mut self) {
        *self = match *self {
            Self::Known(Identity { producer_id, epoch }) if epoch < i16::MAX => {
                Self::Known(Identity { producer_id, epoch: epoch + 1 })
            }
            Self::Known(_) | Self::Needed => Self::Needed,
            Self::Off => Self::Off,
        };
    }
}

/// Where a partition's sequence stands. It lives as long as the producer, whatever metadata says (rule 7).
#[derive(Debug, Default)]
pub(crate) struct Sequencing {
    /// The identity under which `next` counts; `None` before the first batch.
    identity: Option<Identity>,
    /// The sequence of the next record.
    next: i32,
    /// Counts the topics that had the name one after the other: a stamp belongs to one of them.
    incarnation: u32,
    /// A batch was acknowledged under this producer id and topic id: more than one may be in flight (rule 3).
    acknowledged: bool,
    /// When the last batch was acknowledged.
    last_acknowledged: Instant,
    /// What the partition waits for before anything else leaves.
    gap: Gap,
    /// The lowest is in doubt and was refused as out of order on this connection: what is behind it is sent again there, to
    /// learn what is written (rule 9).
    asks_on: Option<ConnId>,
    /// The offset behind the last batch that was delivered, of those whose place was told.
    end: Option<i64>,
}

/// Whether a sequence was spent that the log will never hold, so that the epoch has to be bumped (rule 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gap {
    /// No.
    #[default]
    None,
    /// A batch failed, or was refused as out of order. With the identity of a failed batch that was certainly not written
    /// and is out of the list: all that are still in it were behind it, and are not written either (rule 5).
    Batch { refused: Option<Identity> },
    /// The topic was re-created: sequences begin anew (rule 7).
    Topic,
}

/// What a partition has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This batch, which was never sent.
    Fresh(u32),
    /// This batch, again.
    Retry(u32),
    /// Nothing until something else happens: an answer, a producer id, the end of a backoff.
    Nothing,
}

impl Sequencing {
    /// What may leave next (rules 1, 3, 4 and 6).
    pub(crate) fn next(partition: &Partition, batches: &Batches, now: Instant, standing: Standing) -> Next {
        let sequencing = &partition.sequencing;
        if sequencing.gap != Gap::None {
            return Next::Nothing; // the bump comes first
        }
        let same = |identity: Identity| sequencing.identity == Some(identity) || planted("epoch-taken-in-flight");
        let acknowledged = |identity: Identity| sequencing.acknowledged && same(identity);
        let window = |identity: Identity| if acknowledged(identity) || planted("gate-open") { WINDOW } else { 1 };
        let mut at = partition.sent.first();
        while let Some(slot) = at {
            let batch = &batches[slot];
            match batch.state {
                State::Waiting if partition.backoff.is_some_and(|until| until > now) => {
                    if !planted("retry-overtakes") {
                        return Next::Nothing;
                    }
                }
                State::Waiting if batch.stamp.is_none() && !matches!(standing, Standing::Known(_)) => {
                    return Next::Nothing;
                }
                // A part of a split batch that was not sent yet.
                State::Waiting if batch.attempt == 0 => {
                    let current = if let Standing::Known(identity) = standing { Some(identity) } else { None };
                    let identity = batch.stamp.map(identity_of).or(current);
                    let fits = identity.is_some_and(|identity| partition.on_wire < window(identity));
                    return if fits { Next::Retry(slot) } else { Next::Nothing };
                }
                State::Waiting => return Next::Retry(slot),
                // Until the lowest that was sent again is answered, nothing may overtake it.
                State::InFlight(_) if batch.attempt > 1 && !planted("retry-overtakes") => return Next::Nothing,
                State::InFlight(_) | State::Resolved(_) => {}
                State::Free | State::Open | State::Due | State::Closed | State::Delivering | State::Split => {
                    unreachable!("a sent batch is on the wire, waits or is resolved")
                }
            }
            at = batches.next_in_partition(slot);
        }
        let Some(slot) = partition.queued.first() else {
            return Next::Nothing;
        };
        let Standing::Known(identity) = standing else {
            return Next::Nothing;
        };
        let window = if planted("nine-in-the-window") { 9 } else { window(identity) };
        if batches[slot].may_leave() && partition.sent_count < window { Next::Fresh(slot) } else { Next::Nothing }
    }

    /// A batch leaves, with its old stamp or the next of the partition.
    pub(crate) fn stamp(&mut self, standing: Standing, batch: &mut Batch, by_name: bool) {
        batch.by_name = by_name || (batch.by_name && !planted("last-attempt-tells-names"));
        let (None, Standing::Known(identity)) = (batch.stamp, standing) else {
            return;
        };
        if self.identity != Some(identity) {
            self.adopt(identity);
        }
        let sequence = self.next;
        self.next = after(sequence, batch.records.count());
        batch.stamp = Some(Stamp { producer_id: identity.producer_id, epoch: identity.epoch, sequence });
        batch.incarnation = self.incarnation;
    }

    /// A batch was acknowledged: by the topic that has the name now, or by one before.
    pub(crate) fn acknowledged(&mut self, now: Instant, batch: &Batch) {
        let producer_id = batch.stamp.map(|stamp| stamp.producer_id);
        let of_now = batch.incarnation == self.incarnation || planted("gate-open-after-re-creation");
        if of_now && self.identity.is_some_and(|identity| Some(identity.producer_id) == producer_id) {
            self.acknowledged = true;
        }
        self.last_acknowledged = now;
    }

    /// Nothing of the partition is open and a record comes: after long idleness its brokers may have forgotten the
    /// producer, and then accept any first sequence (rule 3).
    pub(crate) fn awake(&mut self, now: Instant) {
        if now.saturating_since(self.last_acknowledged) >= FORGOTTEN_AFTER && !planted("idleness-overlooked") {
            self.acknowledged = false;
        }
    }

    /// A new leader, while nothing of the partition is open: it may not know the producer (rule 3).
    pub(crate) fn distrust(&mut self) {
        self.acknowledged &= planted("new-leader-trusted");
    }

    /// A batch that had spent a sequence failed, or was refused as out of order although nothing before it is missing.
    pub(crate) fn open_gap(&mut self) {
        self.asks_on = None;
        if self.gap == Gap::None {
            self.gap = Gap::Batch { refused: None };
        }
    }

    /// A batch leaves the list, as its first.
    pub(crate) fn settled(&mut self, batch: &Batch, outcome: &Result<Written, DeliveryError>) {
        match outcome {
            Ok(Written { base_offset: Some(base), .. }) => {
                self.end = Some(base.saturating_add(i64::from(batch.records.count())));
            }
            Ok(_) => {}
            Err(error) => {
                if let (false, Gap::Batch { refused }) = (error.possibly_written, &mut self.gap) {
                    *refused = identity_by_id(batch).or(*refused);
                }
            }
        }
    }

    /// The topic has a new id: sequences begin anew (rule 7), and so does rule 3.
    pub(crate) fn new_topic(&mut self) {
        self.incarnation = self.incarnation.wrapping_add(1);
        (self.asks_on, self.end) = (None, None);
        if self.identity.is_some() {
            self.gap = Gap::Topic;
        }
        self.acknowledged &= planted("gate-open-after-re-creation");
    }

    /// Whether the batch may be in the log of an earlier topic of the name.
    pub(crate) fn may_stand_elsewhere(&self, batch: &Batch) -> bool {
        match batch.state {
            State::InFlight(_) | State::Waiting => {
                batch.maybe_written || (batch.in_doubt() && batch.incarnation != self.incarnation)
            }
            State::Free
            | State::Open
            | State::Due
            | State::Closed
            | State::Resolved(_)
            | State::Delivering
            | State::Split => false,
        }
    }

    /// The connection on which it is asked what is written, while that goes on.
    pub(crate) fn asks_on(&self) -> Option<ConnId> {
        self.asks_on
    }

    /// What was learnt by asking holds no longer, or nothing is left to be asked.
    pub(crate) fn ask_no_more(&mut self) {
        self.asks_on = None;
    }

    /// Whether the partition waits for a bump.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap != Gap::None
    }
}

/// A batch in doubt was refused as out of order, so its broker knows the producer. As the lowest it makes the partition ask: what is
/// behind it is sent again too, in order, on the same connection (rule 9). Returns whether something is still to be learnt so.
pub(crate) fn ask(partition: &mut Partition, batches: &mut Batches, slot: u32, conn: ConnId) -> bool {
    if partition.sent.first() == Some(slot) {
        let mut at = Some(slot);
        while let Some(slot) = at {
            batches[slot].refused = false;
            at = batches.next_in_partition(slot);
        }
        partition.sequencing.asks_on = Some(conn);
    } else if partition.sequencing.asks_on != Some(conn) {
        return false;
    }
    batches[slot].refused = true;
    partition.on_wire > 0 || next_asked(partition, batches).is_some()
}

/// The broker knows nothing of the producer, and takes only a first sequence: nothing that waits is in its log. The topic is another
/// one, whose ids such brokers don't tell, or retention took everything. So all is renumbered, and what was in doubt stays possibly
/// written, elsewhere or earlier (rule 7).
pub(crate) fn unknown(partition: &Partition, batches: &mut Batches) {
    let mut at = partition.sent.first();
    while let Some(slot) = at {
        let batch = &mut batches[slot];
        if batch.state == State::Waiting && batch.stamp.is_some() && !batch.proven {
            batch.maybe_written |= batch.tainted && !planted("doubt-ends-with-the-log");
            batch.renumber();
        }
        at = batches.next_in_partition(slot);
    }
}

/// What is sent again next while a partition asks: the lowest that was not refused as out of order yet, of the same identity, and of
/// those that brokers know (after a split there may be more).
pub(crate) fn next_asked(partition: &Partition, batches: &Batches) -> Option<u32> {
    let mut at = partition.sent.first();
    let identity = batches[at?].stamp.map(identity_of)?;
    for _ in 0..WINDOW {
        let slot = at?;
        let batch = &batches[slot];
        if batch.stamp.map(identity_of) != Some(identity) || batch.attempt == 0 {
            return None;
        }
        if batch.state == State::Waiting && !batch.refused {
            return Some(slot);
        }
        at = batches.next_in_partition(slot);
    }
    None
}

/// Bumps the epoch for a partition with a gap, as soon as nothing of it is on the wire (rule 4), and takes the numbers
/// of those batches that were certainly not written (rule 5). Returns whether a new producer id has to be asked for.
pub(crate) fn bump(partition: &mut Partition, batches: &mut Batches, standing: &mut Standing) -> Bump {
    let sequencing = &mut partition.sequencing;
    if sequencing.gap == Gap::None || partition.on_wire > 0 {
        return Bump::NotNow;
    }
    let Standing::Known(current) = *standing else {
        return Bump::NeedsProducerId;
    };
    let newest = if sequencing.identity == Some(current) {
        standing.bump();
        match *standing {
            Standing::Known(bumped) => bumped,
            Standing::Needed | Standing::Off => return Bump::NeedsProducerId,
        }
    } else {
        current // another partition's bump serves this one too
    };
    let mut refused = match sequencing.gap {
        Gap::Batch { refused } => refused,
        Gap::Topic | Gap::None => None,
    };
    let new_topic = sequencing.gap == Gap::Topic;
    let mut at = partition.sent.first();
    while let Some(slot) = at {
        let batch = &mut batches[slot];
        let identity = identity_by_id(batch);
        match &batch.state {
            // It was stamped under an id that the topic has left, and never sent by name: it is not in the log of this one.
            State::Waiting
                if new_topic
                    && batch.incarnation != sequencing.incarnation
                    && (!batch.by_name || planted("renumbered-by-name")) =>
            {
                batch.maybe_written |= (batch.tainted || batch.proven) && !planted("earlier-id-forgotten");
                batch.renumber();
            }
            State::Waiting if !batch.tainted || planted("in-doubt-renumbered") => {
                refused = identity.or(refused);
                batch.renumber();
            }
            // It is behind one that was not written, so it was refused too: brokers take sequences in order. That
            // holds for one topic id only, so not where a batch went by name.
            State::Waiting if identity.is_some() && identity == refused => batch.renumber(),
            State::Resolved(Err(error)) if !error.possibly_written => refused = identity.or(refused),
            // In doubt: it keeps its number (rule 5). Resolved otherwise: it has no part in this.
            State::Waiting | State::Resolved(_) => {}
            State::Open
            | State::Due
            | State::Closed
            | State::InFlight(_)
            | State::Delivering
            | State::Split
            | State::Free => unreachable!("nothing is on the wire, and sent batches wait or are resolved"),
        }
        at = batches.next_in_partition(slot);
    }
    sequencing.gap = Gap::None;
    sequencing.adopt(newest);
    Bump::Done
}

/// What became of a [`bump`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bump {
    /// Nothing to do, or something is still on the wire.
    NotNow,
    /// The epochs are used up: a new producer id has to come first.
    NeedsProducerId,
    /// The partition goes on in a newer epoch.
    Done,
}

/// A success proves that what was sent before it under the same identity is written too (rule 5): brokers take sequences in order.
/// Not beyond one that is certainly not written. Where one of them went by name, the topic may be another one than the earlier were
/// sent to, which accepts any first sequence: there the offset has to leave room for all that is said to lie before it. Returns
/// whether anything was proven.
pub(crate) fn prove_earlier(partition: &Partition, batches: &mut Batches, slot: u32, base_offset: Option<i64>) -> bool {
    let (mut from, mut by_name, mut records) = (None, batches[slot].by_name, 0);
    let identity = batches[slot].stamp.map(identity_of);
    let mut at = partition.sent.first();
    while let Some(earlier) = at.filter(|earlier| *earlier != slot) {
        let batch = &batches[earlier];
        if identity.is_some() && batch.stamp.map(identity_of) == identity {
            if batch.is_certainly_not_written() && !planted("proven-beyond-a-refused") {
                (from, by_name, records) = (None, batches[slot].by_name, 0);
            } else {
                from.get_or_insert(earlier);
                by_name |= batch.by_name;
                records += i64::from(batch.records.count());
            }
        }
        at = batches.next_in_partition(earlier);
    }
    let room = |base: i64| partition.sequencing.end.is_some_and(|end| base.saturating_sub(records) >= end);
    if by_name && !base_offset.is_some_and(room) && !planted("proven-by-name") {
        return false;
    }
    let mut at = from;
    while let Some(earlier) = at.filter(|earlier| *earlier != slot) {
        let batch = &mut batches[earlier];
        if batch.stamp.map(identity_of) == identity {
            batch.proven = true;
        }
        at = batches.next_in_partition(earlier);
    }
    from.is_some()
}

/// The stamps of the parts of a split batch: consecutive parts of its sequences.
pub(crate) fn stamps_of_parts(parent: Option<Stamp>, counts: &[u32]) -> Vec<Option<Stamp>> {
    let mut stamp = parent;
    let next = |count: &u32| {
        let part = stamp;
        stamp = stamp.map(|stamp| Stamp {
            sequence: after(stamp.sequence, if planted("split-child-sequence") { 1 } else { *count }),
            ..stamp
        });
        part
    };
    counts.iter().map(next).collect()
}

impl Sequencing {
    fn adopt(&mut self, identity: Identity) {
        if self.identity.is_some_and(|before| before.producer_id != identity.producer_id) {
            self.acknowledged = false;
        }
        self.identity = Some(identity);
        self.next = 0;
    }
}

fn identity_of(stamp: Stamp) -> Identity {
    Identity { producer_id: stamp.producer_id, epoch: stamp.epoch }
}

/// The identity of a batch that never went by name.
fn identity_by_id(batch: &Batch) -> Option<Identity> {
    batch.stamp.map(identity_of).filter(|_| !batch.by_name || planted("refused-by-name-proves"))
}

/// The sequence `count` records after `sequence`: 2^31 − 1 is followed by 0.
fn after(sequence: i32, count: u32) -> i32 {
    let next = (sequence as u32).wrapping_add(count) as i32;
    if planted("sequence-never-wraps") { next } else { next & i32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::records::batches::Stage;
    use crate::producer::records::partitions::Partitions;

    #[test]
    fn five_of_a_partition_are_in_the_window() {
        let (mut partitions, mut batches) = (Partitions::new(crate::batch::Class::FIRST), Batches::new(Stage::Ready));
        let index = partitions.add(Instant::ZERO, 0, 0);
        let standing = Standing::Known(Identity { producer_id: 7, epoch: 0 });
        for sent in 0..=WINDOW {
            let slot = batches.open(Instant::ZERO, index);
            batches.make_due(slot);
            let partition = &mut partitions[index];
            partition.enqueue(&mut batches, slot);
            let next = Sequencing::next(partition, &batches, Instant::ZERO, standing);
            assert_eq!(next, if sent < WINDOW { Next::Fresh(slot) } else { Next::Nothing });
            partition.move_to_sent(&mut batches, slot);
            partition.sequencing.stamp(standing, &mut batches[slot], false);
            partition.sequencing.acknowledged(Instant::ZERO, &batches[slot]); // of those before: the gate is open
            (batches[slot].state, batches[slot].attempt) = (State::InFlight(ConnId(1)), 1);
            partition.on_wire += 1;
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(i32::MAX - 2, 5), 2);
        assert_eq!(after(0, 3), 3);
    }

    #[test]
    fn a_used_up_epoch_asks_for_a_new_producer_id() {
        let mut standing = Standing::Known(Identity { producer_id: 7, epoch: i16::MAX - 1 });
        standing.bump();
        assert_eq!(standing, Standing::Known(Identity { producer_id: 7, epoch: i16::MAX }));
        standing.bump();
        assert_eq!(standing, Standing::Needed);
    }

    #[test]
    fn parts_take_consecutive_sequences() {
        let parent = Stamp { producer_id: 1, epoch: 2, sequence: i32::MAX - 1 };
        let sequences: Vec<_> =
            stamps_of_parts(Some(parent), &[2, 3, 1]).into_iter().flatten().map(|stamp| stamp.sequence).collect();
        assert_eq!(sequences, [i32::MAX - 1, 0, 3]);
        assert_eq!(stamps_of_parts(None, &[1, 1]), [None, None]);
    }
}
