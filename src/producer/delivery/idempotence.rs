//! Producer id, epoch and sequences: which batch of a partition may leave next, and what keeps records from being lost,
//! doubled or put out of order. The rules have their numbers from docs/design.md, where their reasons stand.

use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::header::Stamp;
use crate::planted::planted;
use crate::producer::records::batches::{Batches, State};
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
    /// A batch was acknowledged under this producer id and topic id: more than one may be in flight (rule 3).
    acknowledged: bool,
    /// When the last batch was acknowledged.
    last_acknowledged: Instant,
    /// What the partition waits for before anything else leaves.
    gap: Gap,
    /// The last batches went out by topic name (Produce below 13).
    by_name: bool,
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
        let acknowledged = |identity: Identity| sequencing.acknowledged && sequencing.identity == Some(identity);
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
        if batches[slot].may_leave() && partition.sent_count < window(identity) {
            Next::Fresh(slot)
        } else {
            Next::Nothing
        }
    }

    /// The stamp with which a batch leaves: its old one, or the next of the partition.
    pub(crate) fn stamp(&mut self, standing: Standing, old: Option<Stamp>, count: u32, by_name: bool) -> Stamp {
        self.by_name = by_name;
        if let Some(stamp) = old {
            return stamp;
        }
        let Standing::Known(identity) = standing else {
            return Stamp::NONE;
        };
        if self.identity != Some(identity) {
            self.adopt(identity);
        }
        let sequence = self.next;
        self.next = after(sequence, count);
        Stamp { producer_id: identity.producer_id, epoch: identity.epoch, sequence }
    }

    /// A batch was acknowledged.
    pub(crate) fn acknowledged(&mut self, now: Instant, stamp: Stamp) {
        if self.identity.is_some_and(|identity| identity.producer_id == stamp.producer_id) {
            self.acknowledged = true;
        }
        self.last_acknowledged = now;
    }

    /// Nothing of the partition is open and a record comes: after long idleness its brokers may have forgotten the
    /// producer, and then accept any first sequence (rule 3).
    pub(crate) fn awake(&mut self, now: Instant) {
        if now.saturating_since(self.last_acknowledged) >= FORGOTTEN_AFTER {
            self.acknowledged = false;
        }
    }

    /// A new leader, while nothing of the partition is open: it may not know the producer (rule 3).
    pub(crate) fn distrust(&mut self) {
        self.acknowledged = false;
    }

    /// A batch that had spent a sequence failed, or was refused as out of order although nothing before it is missing.
    pub(crate) fn open_gap(&mut self) {
        if self.gap == Gap::None {
            self.gap = Gap::Batch { refused: None };
        }
    }

    /// A failed batch that was certainly not written leaves the list, as its first.
    pub(crate) fn refused_is_gone(&mut self, stamp: Stamp) {
        if let Gap::Batch { refused } = &mut self.gap {
            *refused = Some(identity_of(stamp));
        }
    }

    /// The topic has a new id: sequences begin anew (rule 7).
    pub(crate) fn new_topic(&mut self) {
        if self.identity.is_some() {
            self.gap = Gap::Topic;
        }
        self.acknowledged = false;
    }

    /// Whether the partition waits for a bump.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap != Gap::None
    }
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
    let new_topic = sequencing.gap == Gap::Topic && !sequencing.by_name;
    let mut at = partition.sent.first();
    while let Some(slot) = at {
        let batch = &mut batches[slot];
        let identity = batch.stamp.map(identity_of);
        match &batch.state {
            State::Waiting if new_topic => {
                batch.maybe_written |= batch.tainted;
                (batch.tainted, batch.stamp) = (false, None);
            }
            State::Waiting if !batch.tainted || planted("in-doubt-renumbered") => {
                refused = identity.or(refused);
                batch.stamp = None;
            }
            // It is behind one that was not written, so it was refused too: brokers take sequences in order. That
            // holds for one topic id only, so not where batches go by name.
            State::Waiting if identity.is_some() && identity == refused && !sequencing.by_name => {
                (batch.tainted, batch.stamp) = (false, None);
            }
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

/// A success proves that what was sent before it under the same identity is written (rule 5). Not by name: there the topic
/// may be another one than the earlier batches were sent to, and accept any first sequence.
pub(crate) fn prove_earlier(partition: &Partition, batches: &mut Batches, slot: u32) {
    let Some(stamp) = batches[slot].stamp.filter(|_| !partition.sequencing.by_name) else {
        return;
    };
    let mut at = partition.sent.first();
    while let Some(earlier) = at.filter(|earlier| *earlier != slot) {
        let batch = &mut batches[earlier];
        if batch.stamp.map(identity_of) == Some(identity_of(stamp)) {
            batch.proven = true;
        }
        at = batches.next_in_partition(earlier);
    }
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

/// The sequence `count` records after `sequence`: 2^31 − 1 is followed by 0.
fn after(sequence: i32, count: u32) -> i32 {
    (sequence as u32).wrapping_add(count) as i32 & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

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
