//! One replica of one partition: its batches, and what it remembers of producers, as Kafka keeps it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::BytesMut;

use super::batch::{Batch, StoredRecord};

/// How many batches of a producer a broker remembers, to know them when they come again.
const REMEMBERED: usize = 5;

/// A batch in a log.
#[derive(Clone, Debug)]
struct Appended {
    base_offset: i64,
    leader_epoch: i32,
    /// When it was appended, where that replaces timestamps.
    append_time: Option<i64>,
    /// Shared by all replicas.
    batch: Arc<Batch>,
}

impl Appended {
    /// The offset after its last record.
    fn end(&self) -> i64 {
        self.base_offset + i64::from(self.batch.count)
    }
}

/// What is remembered of one producer.
#[derive(Clone, Debug)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Remembered>,
}

/// A batch by which its next copies are known.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    first: i32,
    last: i32,
    base_offset: i64,
    /// Its largest.
    timestamp: i64,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Append {
    /// It stands at this offset.
    At(i64),
    /// It stood there already.
    Again {
        offset: i64,
        /// Its largest.
        timestamp: i64,
    },
    /// It is refused with this code.
    Refused(i16),
}

/// A replica's log.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    batches: Vec<Appended>,
    start: i64,
    end: i64,
    producers: BTreeMap<i64, Producer>,
}

impl Log {
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// Appends a producer's batch, if its sequence follows (KIP-98, KIP-360). `old_duplicate` is answered where it lies
    /// before everything remembered. `log_append_time` replaces the timestamps.
    pub(super) fn append(
        &mut self,
        mut batch: Batch,
        leader_epoch: i32,
        old_duplicate: i16,
        log_append_time: Option<i64>,
    ) -> Append {
        if batch.producer_id >= 0 {
            if let Some(refusal) = self.check(&batch, old_duplicate) {
                return refusal;
            }
        }
        let base_offset = self.end;
        for record in &mut batch.records {
            record.offset += base_offset;
            if let Some(time) = log_append_time {
                record.timestamp = time;
            }
        }
        self.push(Appended { base_offset, leader_epoch, append_time: log_append_time, batch: Arc::new(batch) });
        Append::At(base_offset)
    }

    /// Whether the last batches of a producer include this one.
    pub(super) fn knows(&self, producer_id: i64, epoch: i16, first: i32, last: i32) -> bool {
        let producer = self.producers.get(&producer_id).filter(|producer| producer.epoch == epoch);
        producer.is_some_and(|producer| producer.batches.iter().any(|known| (known.first, known.last) == (first, last)))
    }

    /// Only counts: there is nothing to read, as if it had been deleted at once.
    pub(super) fn count(&mut self, records: i32) -> i64 {
        let base = self.end;
        self.end += i64::from(records.max(0));
        self.start = self.end;
        base
    }

    /// Becomes a copy of the leader's log: what the two don't have in common is cut off, the rest is fetched.
    pub(super) fn follow(&mut self, leader: &Self) {
        // Two logs with the same batch of the same leader at the same place are the same up to there.
        let same = |place: &usize| {
            let (a, b) = (&self.batches[*place], &leader.batches[*place]);
            (a.base_offset, a.leader_epoch) == (b.base_offset, b.leader_epoch)
        };
        let shorter = self.batches.len().min(leader.batches.len());
        let common = (0..shorter).rev().find(same).map_or(0, |place| place + 1);
        if common < self.batches.len() {
            self.truncate(common);
        }
        for appended in &leader.batches[common..] {
            self.push(appended.clone());
        }
        self.start = leader.start;
        self.end = leader.end;
    }

    /// Loses what lies at and above an offset: it was never synced.
    pub(super) fn lose_from(&mut self, offset: i64) {
        let keep = self.batches.iter().take_while(|appended| appended.base_offset < offset).count();
        if keep < self.batches.len() {
            self.truncate(keep);
        }
    }

    /// A restart: of each producer only the last batch is remembered, as in Kafka's snapshots.
    pub(super) fn forget_windows(&mut self) {
        for producer in self.producers.values_mut() {
            while producer.batches.len() > 1 {
                producer.batches.pop_front();
            }
        }
    }

    /// Retention took everything, and with it all that was known of producers.
    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
        self.start = self.end;
    }

    /// The records below `until`, oldest first. Those before the log's start are still told: nothing is deleted here.
    pub(super) fn records(&self, until: i64) -> impl Iterator<Item = &StoredRecord> {
        let below = self.batches.iter().take_while(move |appended| appended.base_offset < until);
        below.flat_map(|appended| &appended.batch.records)
    }

    /// The record at an offset.
    pub(super) fn record(&self, offset: i64) -> Option<&StoredRecord> {
        let place = self.batches.partition_point(|appended| appended.base_offset <= offset).checked_sub(1)?;
        let appended = &self.batches[place];
        appended.batch.records.get(usize::try_from(offset - appended.base_offset).ok()?)
    }

    /// Which batches a consumer gets that reads from `offset` on: those that begin below `until`, as long as they are not more
    /// than `most` bytes together, or one in any case if so told. And how many bytes they are.
    pub(super) fn readable(&self, offset: i64, until: i64, most: usize, one_at_least: bool) -> (Range<usize>, usize) {
        let first = self.batches.partition_point(|appended| appended.end() <= offset);
        let (mut last, mut bytes) = (first, 0);
        for appended in self.batches[first..].iter().take_while(|appended| appended.base_offset < until) {
            let size = appended.batch.size();
            if bytes + size > most && !(one_at_least && last == first) {
                break;
            }
            bytes += size;
            last += 1;
        }
        (first..last, bytes)
    }

    /// Those batches, as consumers get them.
    pub(super) fn write(&self, batches: Range<usize>, out: &mut BytesMut) {
        for appended in &self.batches[batches] {
            appended.batch.write(appended.base_offset, appended.leader_epoch, appended.append_time, out);
        }
    }

    /// Records that are not deleted, with the leader's epoch of each.
    pub(super) fn records_with_epochs(&self, until: i64) -> impl Iterator<Item = (&StoredRecord, i32)> {
        let below = self.batches.iter().take_while(move |appended| appended.base_offset < until);
        let records = below.flat_map(|appended| {
            let epoch = appended.leader_epoch;
            appended.batch.records.iter().map(move |record| (record, epoch))
        });
        records.filter(|(record, _)| record.offset >= self.start)
    }

    /// The largest epoch that is not above this one, and where it ends; `None` if all records are of later ones.
    pub(super) fn end_of_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let behind = self.batches.partition_point(|appended| appended.leader_epoch <= epoch);
        let last = self.batches[..behind].last()?;
        Some((last.leader_epoch, last.end()))
    }

    /// Who wrote each batch: base offset, producer id, epoch, first sequence, count.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (i64, i64, i16, i32, i32)> {
        self.batches.iter().map(|appended| {
            let batch = &appended.batch;
            (appended.base_offset, batch.producer_id, batch.epoch, batch.first_sequence, batch.count)
        })
    }

    fn check(&self, batch: &Batch, old_duplicate: i16) -> Option<Append> {
        let producer = self.producers.get(&batch.producer_id)?; // whoever is not known may begin anywhere
        let (first, last) = (batch.first_sequence, batch.last_sequence());
        if batch.epoch < producer.epoch {
            return Some(Append::Refused(47));
        }
        if batch.epoch > producer.epoch {
            return (first != 0).then_some(Append::Refused(45));
        }
        if let Some(known) = producer.batches.iter().find(|known| (known.first, known.last) == (first, last)) {
            return Some(Append::Again { offset: known.base_offset, timestamp: known.timestamp });
        }
        let expected = producer.batches.back()?.last.wrapping_add(1) & i32::MAX;
        if first == expected {
            return None;
        }
        // Half of the circle of sequences lies before what is expected.
        let behind = (expected as u32).wrapping_sub(first as u32) & 0x7fff_ffff;
        Some(Append::Refused(if behind < 1 << 30 { old_duplicate } else { 45 }))
    }

    fn push(&mut self, appended: Appended) {
        let batch = &appended.batch;
        if batch.producer_id >= 0 {
            let fresh = Producer { epoch: batch.epoch, batches: VecDeque::new() };
            let producer = self.producers.entry(batch.producer_id).or_insert(fresh);
            if producer.epoch != batch.epoch {
                producer.epoch = batch.epoch;
                producer.batches.clear();
            }
            producer.batches.push_back(Remembered {
                first: batch.first_sequence,
                last: batch.last_sequence(),
                base_offset: appended.base_offset,
                timestamp: batch.records.iter().map(|record| record.timestamp).max().unwrap_or(-1),
            });
            if producer.batches.len() > REMEMBERED {
                producer.batches.pop_front();
            }
        }
        self.end = appended.end();
        self.batches.push(appended);
    }

    fn truncate(&mut self, keep: usize) {
        let kept = self.batches.drain(..keep).collect::<Vec<_>>();
        let start = self.start;
        *self = Self::default();
        for appended in kept {
            self.push(appended);
        }
        self.start = start.min(self.end);
    }
}
