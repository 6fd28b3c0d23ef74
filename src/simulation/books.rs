//! What was sent, what was said of it, and whether that is true.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;

use super::hand::Simulation;
use super::plan::Plan;
use crate::cluster::{Cluster, StoredRecord, TopicId};
use crate::{BatchId, Delivery, DeliveryErrorKind, Instant, Sent};

/// A record that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Which of its partition's it is.
    pub(crate) place: u64,
    pub(crate) sent: Instant,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
    /// It has to be delivered soon, and as written.
    pub(crate) soon: bool,
    pub(crate) outcome: Option<Outcome>,
}

/// What was said of it.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Written { offset: Option<i64> },
    Failed { possibly_written: bool },
}

/// Keeps the books.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By the number that each record carries as its value.
    pub(crate) records: Vec<Accepted>,
    /// How many each partition has.
    counts: BTreeMap<(String, i32), u64>,
    /// Records of live batches: by batch, their numbers in order.
    open: BTreeMap<BatchId, Vec<u64>>,
    /// For each partition, the number of the last record delivered.
    last: BTreeMap<(String, i32), u64>,
    /// Partitions in which a batch in doubt failed.
    pub(crate) doubtful: BTreeSet<(String, i32)>,
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    /// So many of the first records are not open any more.
    closed: usize,
}

impl Books {
    pub(crate) fn accepted(&mut self, sent: &Sent, mut record: Accepted) -> Result<(), String> {
        let number = self.records.len() as u64;
        let count = self.counts.entry((record.topic.clone(), record.partition)).or_default();
        record.place = core::mem::replace(count, *count + 1);
        self.records.push(record);
        let batch = self.open.entry(sent.id.batch).or_default();
        if batch.len() != sent.id.index as usize {
            return Err(format!("record {number} has index {} in a batch of {}", sent.id.index, batch.len()));
        }
        batch.push(number);
        Ok(())
    }

    /// The first of these records of a batch whose outcome is not told yet.
    pub(crate) fn first_of(&self, batch: BatchId, records: &Range<u32>) -> Option<&Accepted> {
        let number = self.open.get(&batch)?.get(records.start as usize)?;
        self.records.get(*number as usize)
    }

    pub(crate) fn open_batches(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.delivered + self.failed < self.records.len() as u64
    }

    /// A delivery names open records, once each, in the order of their partition. Returns their numbers.
    pub(crate) fn delivery(
        &mut self,
        now: Instant,
        plan: &Plan,
        delivery: &Delivery,
        topic: &str,
        aborted: bool,
    ) -> Result<Vec<u64>, String> {
        let numbers = self.open.get(&delivery.batch).ok_or("a delivery for a batch that is not open")?.clone();
        let range = delivery.records.start as usize..delivery.records.end as usize;
        let named = numbers.get(range.clone()).ok_or("a delivery for records that were not sent")?;
        for (place, number) in named.iter().enumerate() {
            let record = &mut self.records[*number as usize];
            if record.outcome.is_some() {
                return Err(format!("record {number} is delivered twice"));
            }
            if record.partition != delivery.partition || record.topic != topic {
                return Err(format!(
                    "record {number} is delivered for another partition, {topic}-{}",
                    delivery.partition
                ));
            }
            let place = place as i64;
            record.outcome = Some(match &delivery.outcome {
                Ok(written) => {
                    // The topics keep the times that records have.
                    if written.log_append_time.is_some_and(|time| time != record.timestamp) {
                        return Err(format!("TIME: record {number} has {}, told is {written:?}", record.timestamp));
                    }
                    self.delivered += 1;
                    Outcome::Written { offset: written.base_offset.map(|base| base + place) }
                }
                Err(error) => {
                    self.failed += 1;
                    // A topic that nobody sent to for `metadata.max.idle.ms` may be another one, with fewer partitions.
                    let gone = matches!(error.kind, DeliveryErrorKind::PartitionGone)
                        && plan.faults.recreate + plan.faults.grow > 0;
                    let used_up = matches!(error.kind, DeliveryErrorKind::RetriesExhausted(_));
                    if record.soon && !gone && !(used_up && plan.get("retries").is_some()) {
                        return Err(format!("LATE: record {number} failed although all was well: {error:?}"));
                    }
                    if matches!(error.kind, DeliveryErrorKind::TimedOut(_)) {
                        let linger = Duration::from_millis(plan.millis("linger.ms", 5));
                        let full = plan.delivery_timeout();
                        let least = (full * 9 / 10).min(full.saturating_sub(linger));
                        if now.saturating_since(record.sent) < least {
                            return Err(format!(
                                "record {number} timed out {:?} after its send",
                                now.saturating_since(record.sent)
                            ));
                        }
                    }
                    if matches!(error.kind, DeliveryErrorKind::Aborted) && !aborted {
                        return Err(format!("record {number} aborted without an abort"));
                    }
                    Outcome::Failed { possibly_written: error.possibly_written }
                }
            });
            let place = (record.topic.clone(), record.partition);
            if delivery.outcome.as_ref().is_err_and(|error| error.possibly_written) {
                self.doubtful.insert(place.clone());
            }
            if plan.idempotent() {
                if let Some(last) = self.last.insert(place, *number) {
                    if last >= *number {
                        return Err(format!("record {number} is delivered after {last}"));
                    }
                }
            }
        }
        let all = numbers.iter().all(|number| self.records[*number as usize].outcome.is_some());
        let named = named.to_vec();
        if all {
            self.open.remove(&delivery.batch);
        }
        Ok(named)
    }

    /// The number of the oldest record that is open, and when it was sent.
    pub(crate) fn oldest_open(&mut self) -> Option<(usize, Instant)> {
        while self.records.get(self.closed).is_some_and(|record| record.outcome.is_some()) {
            self.closed += 1;
        }
        self.records.get(self.closed).map(|record| (self.closed, record.sent))
    }

    /// Since when a record of the topic is open, if one is.
    pub(crate) fn open_since(&mut self, topic: &str) -> Option<Instant> {
        self.oldest_open()?;
        let open = self.records[self.closed..].iter().filter(|record| record.outcome.is_none());
        open.filter(|record| record.topic == topic).map(|record| record.sent).next()
    }

    /// Everything accepted before `number` was delivered; returns how many of them failed since `failed_before`.
    pub(crate) fn all_delivered_before(&self, number: u64) -> bool {
        self.records[..number as usize].iter().all(|record| record.outcome.is_some())
    }

    /// The books against the logs.
    pub(crate) fn audit(
        &self,
        plan: &Plan,
        cluster: &Cluster,
        ids: &BTreeMap<String, Vec<TopicId>>,
        calm: Instant,
    ) -> Result<(), String> {
        let mut found: BTreeMap<u64, Vec<(TopicId, i64)>> = BTreeMap::new();
        for (topic, ids) in ids {
            for id in ids {
                for partition in 0..16 {
                    self.audit_partition(plan, cluster, topic, *id, partition, ids.len() > 1, &mut found)?;
                }
            }
        }
        let none = Vec::new();
        for (number, record) in self.records.iter().enumerate() {
            let places = found.get(&(number as u64)).unwrap_or(&none);
            match &record.outcome {
                None => return Err(format!("record {number} was never delivered: {record:?}")),
                Some(Outcome::Written { offset }) => {
                    let must = plan.acks() == "all" || (plan.acks() == "1" && record.sent >= calm);
                    if must && places.is_empty() {
                        return Err(format!("LOST: record {number} was acknowledged: {record:?}"));
                    }
                    let there = |offset: &i64| places.iter().any(|(_, place)| place == offset);
                    if must && offset.as_ref().is_some_and(|offset| !there(offset)) {
                        return Err(format!("OFFSET: record {number} was said to be at {offset:?}, is at {places:?}"));
                    }
                }
                Some(Outcome::Failed { possibly_written: false }) if !places.is_empty() => {
                    return Err(format!("PW: record {number} was said not to be written, is at {places:?}"));
                }
                Some(Outcome::Failed { .. }) => {}
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the books, a log, and where to note what is found")]
    fn audit_partition(
        &self,
        plan: &Plan,
        cluster: &Cluster,
        topic: &str,
        id: TopicId,
        partition: i32,
        recreated: bool,
        found: &mut BTreeMap<u64, Vec<(TopicId, i64)>>,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        let mut last = None;
        for (place, stored) in cluster.whole_log(id, partition).iter().enumerate() {
            if stored.offset != place as i64 {
                return Err(format!("{topic}-{partition} has offset {} at {place}", stored.offset));
            }
            let number = number_of(stored).ok_or("a record without a number")?;
            let record = self.records.get(number as usize).ok_or("a record that was never sent")?;
            let same = record.topic == topic
                && record.partition == partition
                && record.value.as_deref() == stored.value.as_deref()
                && record.key.as_deref() == stored.key.as_deref()
                && record.headers == stored.headers
                && record.timestamp == stored.timestamp;
            if !same {
                return Err(format!(
                    "CONTENT: record {number} is stored as {stored:?} in {topic}-{partition}, was {record:?}"
                ));
            }
            found.entry(number).or_default().push((id, stored.offset));
            let first = seen.insert(number);
            if plan.idempotent() && !first {
                return Err(format!(
                    "DUP: record {number} stands twice in {topic}-{partition}, also at {}: {:?}",
                    stored.offset,
                    cluster.stamps(id, partition)
                ));
            }
            // The order across a new producer id can't be kept.
            let one_id = plan.cluster.producer_epoch == 0
                || cluster.stamps(id, partition).iter().all(|stamp| stamp.1 == cluster.stamps(id, partition)[0].1);
            let in_order = one_id
                && if plan.idempotent() {
                    // By topic name alone a client can't know that a topic is another one.
                    !recreated || plan.by_id()
                } else {
                    plan.millis("max.in.flight.requests.per.connection", 5) == 1 && first && plan.acks() == "all"
                };
            // Without idempotence a late copy may come in between whatever the client does.
            let in_order = in_order && (plan.idempotent() || !super::world::has_late_copies(plan));
            if in_order && last.is_some_and(|last| last > number) && (plan.idempotent() || first) {
                return Err(format!("ORDER: record {number} stands behind {last:?} in {topic}-{partition}"));
            }
            if first {
                last = last.max(Some(number));
            }
        }
        Ok(())
    }
}

/// The number that a record was sent under: in a header, or else at the beginning of its value.
fn number_of(stored: &StoredRecord) -> Option<u64> {
    let header = stored.headers.iter().rfind(|(name, _)| name == Simulation::HEADER);
    let number = header.map_or(&stored.value, |(_, number)| number);
    Some(u64::from_be_bytes(*number.as_ref()?.first_chunk()?))
}
