//! What a Produce response, or the lack of one, means for each batch that its request carried.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::decode::Section;
use crate::batch::{Class, Compression, Reserve, header};
use crate::connection::{Entry, Request};
use crate::error::{DeliveryError, DeliveryErrorKind, ErrorCode, FatalError, words_of_server};
use crate::event::{Event, Written};
use crate::ids::ConnId;
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::delivery::idempotence::{self, Standing};
use crate::producer::lifecycle::Phase;
use crate::producer::records::batches::State;
use crate::producer::records::topics::Topics;
use crate::producer::timers::Timer;
use crate::sort;
use crate::time::Instant;
use crate::wire::Uuid;
use crate::wire::produce::{self, TopicRef};

/// What brokers before 2.5 say where they know nothing of a producer, and a sequence is not 0.
const UNKNOWN_PRODUCER_ID: i16 = 59;

/// What a broker's error code asks for (Java's table, KIP-360, and the rules of docs/design.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is written, although the offset is not known.
    Duplicate,
    /// Again later; `refresh`: after looking where the leader is.
    Retry { refresh: bool },
    /// Too large: in parts.
    Split,
    /// Out of order: something before it is missing, or its own state was lost.
    OutOfOrder,
    /// A newer epoch of this producer was seen.
    OldEpoch,
    /// Never.
    Refused,
    /// Never, for any batch of this producer.
    Fatal,
}

/// What `code` asks for. Unknown codes are taken as `UNKNOWN_SERVER_ERROR`, as in Java.
pub(crate) fn meaning(code: i16, idempotent: bool) -> Meaning {
    match code {
        46 if !planted("duplicate-is-refused") => Meaning::Duplicate,
        3 | 5 | 6 | 9 | 13 | 56 | 74 | 100 | 103 => Meaning::Retry { refresh: true },
        2 | 7 | 14 | 15 | 16 | 19 | 20 | 51 | 75 | 89 => Meaning::Retry { refresh: false },
        10 | 18 => Meaning::Split,
        45 | 59 if idempotent => Meaning::OutOfOrder,
        47 if idempotent => Meaning::OldEpoch,
        31 | 35 | 49 | 53 | 90 if idempotent => Meaning::Fatal,
        _ => Meaning::Refused,
    }
}

/// Whether a batch that was answered so is certainly not written by that attempt. Every other answer may come after the
/// append. 59, which is not in the rule's list, is said by brokers before 2.5 in place of 45, also before the append. 100 is said
/// where the topic of that id does not exist, or not yet: nothing of the attempt is in the log of a topic that there is.
pub(crate) fn proves_unwritten(code: i16) -> bool {
    matches!(code, 2 | 10 | 17 | 18 | 19 | 21 | 29 | 31 | 32 | 35 | 43 | 45 | 47 | 59 | 76 | 87 | 100)
        || (code == 6 && planted("six-means-not-written"))
}

/// Finds the batches that a response speaks of, in time that depends on the response alone.
#[derive(Default)]
struct Places<'a> {
    /// The topic that was last named, and which one it is.
    last: Option<(&'a str, Option<u32>)>,
    /// The entries by topic id and partition; made when it is first needed.
    by_id: Option<Vec<usize>>,
}

/// A topic of a response.
#[derive(Clone, Copy)]
enum Named {
    Index(Option<u32>),
    Id(Uuid),
}

impl Named {
    fn is_of(self, entry: &Entry) -> bool {
        match self {
            Self::Index(index) => index == Some(entry.topic),
            Self::Id(id) => id == entry.topic_id,
        }
    }
}

impl<'a> Places<'a> {
    /// Which topic is meant. All partitions of a topic come with the same piece of the response as its name.
    fn topic(&mut self, topics: &Topics, topic: TopicRef<'a>) -> Named {
        match (topic, self.last) {
            (TopicRef::Id(id), _) => Named::Id(id),
            (TopicRef::Name(name), Some((last, index))) if core::ptr::eq(name, last) => Named::Index(index),
            (TopicRef::Name(name), _) => {
                let index = topics.look(name);
                self.last = Some((name, index));
                Named::Index(index)
            }
        }
    }

    /// The place of a partition's batch among the entries, which are in order of topic index and partition.
    fn find(&mut self, entries: &[Entry], topic: Named, number: i32) -> Option<usize> {
        match topic {
            Named::Index(index) => {
                let wanted = (index?, number);
                entries.binary_search_by_key(&wanted, |entry| (entry.topic, entry.number)).ok()
            }
            Named::Id(id) => {
                let key = |place: &usize| (entries[*place].topic_id, entries[*place].number);
                let by_id = self.by_id.get_or_insert_with(|| {
                    let mut places: Vec<usize> = (0..entries.len()).collect();
                    sort::by_key(&mut places, key);
                    places
                });
                by_id.binary_search_by_key(&(id, number), key).ok().map(|found| by_id[found])
            }
        }
    }
}

/// Whether an answer about a topic that is another one by now says something nevertheless.
fn counts_for_any_topic(meaning: Meaning) -> bool {
    matches!(meaning, Meaning::Duplicate | Meaning::Fatal) || planted("errors-of-old-topic-count")
}

impl Producer {
    /// A response: each partition that it names resolves the batch that the request carried for it. What it leaves out was
    /// not answered.
    pub(in crate::producer) fn answered(
        &mut self,
        now: Instant,
        mut request: Request,
        response: &produce::Response<'_>,
    ) {
        let mut entries = core::mem::take(&mut request.entries);
        if response.tells_endpoints() {
            self.endpoints_hinted(now, entries.len(), response);
        }
        let (mut expected, mut strangers) = (0, 0);
        let mut places = Places::default();
        response.for_each(|partition| {
            let topic = places.topic(&self.records.topics, partition.topic);
            // Brokers answer in the request's order, mostly.
            let found = match entries.get(expected) {
                Some(entry) if topic.is_of(entry) && entry.number == partition.index => Some(expected),
                _ => places.find(&entries, topic, partition.index),
            };
            let Some(place) = found else {
                strangers += 1;
                return;
            };
            expected = place + 1;
            if core::mem::replace(&mut entries[place].answered, true) {
                return; // answered twice: the first counts
            }
            let entry = entries[place];
            self.resolve(now, &entry, &partition);
        });
        if strangers > 0 {
            log::warn!("an answer for {strangers} partitions that were not asked about");
        }
        for entry in entries.iter().filter(|entry| !entry.answered) {
            self.unanswered(now, entry);
        }
        entries.clear();
        self.sessions.spare_entries.push(entries);
    }

    /// Where the leaders are that a response names instead of the broker that was asked (KIP-951). Other addresses are not taken,
    /// and no more than there were `asked` partitions: nobody else would forget them.
    fn endpoints_hinted(&mut self, now: Instant, asked: usize, response: &produce::Response<'_>) {
        let mut leaders = BTreeSet::new();
        response.for_each(|partition| {
            if let (6 | 74, Some((leader, _)), true) = (partition.error, partition.leader, leaders.len() < asked) {
                leaders.insert(leader);
            }
        });
        response.for_each_endpoint(|id, host, port| {
            let Ok(port) = u16::try_from(port) else { return };
            // Of what is told twice the first counts.
            if leaders.remove(&id) || planted("all-endpoints-learnt") {
                self.endpoint_hinted(now, id, host, port);
            }
        });
    }

    /// The request will never be answered: its connection is gone.
    pub(in crate::producer) fn lost(&mut self, now: Instant, mut entries: Vec<Entry>) {
        for entry in &entries {
            self.unanswered(now, entry);
        }
        entries.clear();
        self.sessions.spare_entries.push(entries);
    }

    /// acks=0: the last byte of the request was written, and that is all there is to know.
    pub(in crate::producer) fn delivered_unanswered(&mut self, now: Instant, request: Request) {
        let mut entries = request.entries;
        for entry in &entries {
            if self.take_current(entry) {
                self.succeed(now, entry.slot, Written { base_offset: None, log_append_time: None });
            }
        }
        entries.clear();
        self.sessions.spare_entries.push(entries);
    }

    /// The attempt is over. Whether it is the batch's current one: if not, the answer only informs.
    fn take_current(&mut self, entry: &Entry) -> bool {
        if self.records.batches.generation(entry.slot) != entry.generation {
            self.stats.late_answers += 1;
            return false;
        }
        let batch = &mut self.records.batches[entry.slot];
        batch.outstanding = batch.outstanding.saturating_sub(1);
        let current = batch.attempt == entry.attempt && matches!(batch.state, State::InFlight(_));
        if !current {
            self.stats.late_answers += 1;
        }
        current
    }

    fn resolve(&mut self, now: Instant, entry: &Entry, answer: &produce::Partition<'_>) {
        let current = self.take_current(entry);
        if current {
            log::trace!("{} is answered {}", self.describe(entry.slot), ErrorCode(answer.error));
        }
        if current && answer.error != 0 {
            // Before a hint: it may supersede this very attempt.
            self.records.batches[entry.slot].last_error = Some(ErrorCode(answer.error));
        }
        let mut at_once = false;
        if let (6 | 74, Some((leader, epoch))) = (answer.error, answer.leader) {
            at_once = self.leader_hint(entry, leader, epoch);
            self.records.topics.refresh.want(); // the hint is of one partition
        }
        if !current {
            return;
        }
        let mut slot = entry.slot;
        if planted("answer-to-the-oldest") {
            slot = self.records.partitions[entry.partition].sent.first().unwrap_or(slot);
        }
        // The hint may have superseded this very attempt: its answer still is one.
        if !matches!(self.records.batches[slot].state, State::InFlight(_)) {
            if !planted("hints-for-ever") {
                self.retry_hinted(now, slot, at_once);
                self.say_if_retried(now, entry, Some(ErrorCode(answer.error)));
                self.settle(entry.partition);
            }
            return;
        }
        let topic = &mut self.records.topics[entry.topic];
        // It is about the topic that had the name when the batch left.
        let of_before = entry.topic_id != topic.id && entry.topic_id != [0; 16];
        if answer.error == 0 {
            if !of_before {
                topic.trust_id();
                topic.trust_partition(entry.number);
            }
            let known = |value: i64| (value >= 0).then_some(value);
            let (base_offset, mut log_append_time) = (known(answer.base_offset), known(answer.log_append_time));
            let batch = &self.records.batches[slot];
            // A batch that was there already is answered with its largest timestamp, whoever's times the topic has: that says nothing.
            let newest = Some(batch.records.max_timestamp());
            if batch.attempt > 1 && log_append_time == newest && !planted("duplicates-tell-times") {
                log_append_time = None;
            } else if base_offset.is_some() {
                topic.has_brokers_time = log_append_time.is_some();
            }
            self.succeed(now, slot, Written { base_offset, log_append_time });
            return;
        }
        if matches!(answer.error, 3 | 6 | 100) && !of_before {
            topic.doubt_id();
        }
        if answer.error == 3 {
            topic.doubt_partition(entry.number);
        }
        if !proves_unwritten(answer.error) {
            self.records.batches[slot].tainted = true;
        }
        let message = answer.error_message.or(answer.first_record_error.and_then(|(_, message)| message));
        let State::InFlight(conn) = self.records.batches[slot].state else {
            return;
        };
        self.off_the_wire(slot);
        if of_before && !counts_for_any_topic(meaning(answer.error, self.identity.standing != Standing::Off)) {
            self.retry(now, slot, false);
        } else if at_once {
            self.retry_hinted(now, slot, at_once);
        } else {
            self.act(now, conn, slot, answer.error, message);
        }
        self.say_if_retried(now, entry, Some(ErrorCode(answer.error)));
        self.settle(entry.partition);
    }

    fn unanswered(&mut self, now: Instant, entry: &Entry) {
        if !self.take_current(entry) {
            return;
        }
        log::trace!("{} is not answered", self.describe(entry.slot));
        self.records.batches[entry.slot].tainted = true;
        self.off_the_wire(entry.slot);
        self.records.topics.refresh.want();
        self.retry(now, entry.slot, true);
        self.say_if_retried(now, entry, None);
        self.settle(entry.partition);
    }

    /// The current attempt is over, without success: the batch has to be sent again, unless more is decided.
    fn off_the_wire(&mut self, slot: u32) {
        let index = self.records.batches[slot].partition;
        self.records.partitions[index].on_wire -= 1;
        self.records.batches[slot].state = State::Waiting;
        if self.identity.standing == Standing::Off {
            self.records.partitions[index].remove_sent(&mut self.records.batches, slot);
            self.records.partitions[index].requeue(&mut self.records.batches, slot);
            self.records.batches[slot].state = State::Closed;
        }
    }

    /// Does what the broker's error asks for.
    fn act(&mut self, now: Instant, conn: ConnId, slot: u32, code: i16, message: Option<&str>) {
        let index = self.records.batches[slot].partition;
        let message = message.map(|words| Box::from(words_of_server(words)));
        let refused = DeliveryErrorKind::Refused(ErrorCode(code));
        match meaning(code, self.identity.standing != Standing::Off) {
            Meaning::Duplicate => self.succeed_waiting(now, slot),
            Meaning::Retry { refresh } => {
                if refresh {
                    self.records.topics.refresh.want();
                }
                self.retry(now, slot, true);
            }
            Meaning::Split => {
                if self.records.batches[slot].records.count() == 1 {
                    self.fail(slot, refused, message);
                } else if self.records.batches[slot].outstanding > 0 {
                    self.retry(now, slot, false); // a superseded attempt of it is still on its way
                } else {
                    self.split(slot);
                }
            }
            Meaning::OutOfOrder if self.records.batches[slot].proven => self.succeed_waiting(now, slot),
            Meaning::OutOfOrder => {
                let partition = &mut self.records.partitions[index];
                let lowest = partition.sent.first() == Some(slot);
                let tainted = self.records.batches[slot].tainted;
                if planted("probe-without-proof") && lowest && tainted {
                    return self.succeed_waiting(now, slot);
                }
                if code == UNKNOWN_PRODUCER_ID && lowest && tainted {
                    idempotence::unknown(partition, &mut self.records.batches);
                    partition.sequencing.open_gap();
                } else if (lowest || planted("bump-from-any")) && (!tainted || planted("bump-in-doubt")) {
                    partition.sequencing.open_gap();
                } else if code == 45 && idempotence::ask(partition, &mut self.records.batches, slot, conn) {
                    self.stats.retries += 1;
                    return;
                }
                self.retry(now, slot, planted("out-of-order-counts"));
            }
            Meaning::OldEpoch if self.records.batches[slot].proven => self.succeed_waiting(now, slot),
            // It keeps its epoch, which no broker takes any more: nothing can be learnt about it by asking again.
            Meaning::OldEpoch if self.records.batches[slot].tainted && !planted("old-epoch-tried-again") => {
                self.fail(slot, refused, message);
            }
            Meaning::OldEpoch => {
                self.records.partitions[index].sequencing.open_gap();
                self.retry(now, slot, false);
            }
            Meaning::Refused => {
                let codec = self.records.batches[slot].records.codec();
                let message = if code == -1 { suspect(codec, message) } else { message };
                self.fail(slot, refused, message);
            }
            Meaning::Fatal => {
                let fatal = FatalError::new(ErrorCode(code));
                self.fail(slot, DeliveryErrorKind::Fatal(fatal.clone()), message);
                self.fail_for_good(fatal);
            }
        }
    }

    /// The batch is on the wire and was acknowledged.
    fn succeed(&mut self, now: Instant, slot: u32, written: Written) {
        let index = self.records.batches[slot].partition;
        let partition = &mut self.records.partitions[index];
        partition.on_wire -= 1;
        partition.older_in_all = 0;
        self.records.batches[slot].state = State::Waiting;
        self.succeed_with(now, slot, written);
        self.records.topics.recover_batch_limit(self.records.partitions[index].topic);
        self.settle(index);
    }

    /// The batch proves to be written, by an answer that does not say where.
    fn succeed_waiting(&mut self, now: Instant, slot: u32) {
        if self.identity.standing == Standing::Off {
            // Without idempotence it has gone back to the queue.
            let index = self.records.batches[slot].partition;
            self.records.partitions[index].dequeue(&mut self.records.batches, slot);
            self.deliver(slot, Ok(Written { base_offset: None, log_append_time: None }));
            return;
        }
        self.succeed_with(now, slot, Written { base_offset: None, log_append_time: None });
    }

    fn succeed_with(&mut self, now: Instant, slot: u32, written: Written) {
        let index = self.records.batches[slot].partition;
        self.records.partitions[index].told_by = None;
        if self.identity.standing == Standing::Off {
            self.records.partitions[index].remove_sent(&mut self.records.batches, slot);
            self.deliver(slot, Ok(written));
            return;
        }
        let partition = &mut self.records.partitions[index];
        partition.sequencing.acknowledged(now, &self.records.batches[slot]);
        let proves = idempotence::prove_earlier(partition, &mut self.records.batches, slot, written.base_offset);
        partition.sequencing.ask_no_more();
        if proves {
            self.resolve_proven(index);
        }
        self.records.batches[slot].records.release(&mut self.records.pool);
        self.tell_writable();
        self.records.batches[slot].state = State::Resolved(Ok(written));
    }

    /// What proves to be written and was answered as out of order is done: the broker has forgotten where it is. (What was not
    /// asked for yet is, for its offset.)
    fn resolve_proven(&mut self, index: u32) {
        let mut next = self.records.partitions[index].sent.first();
        while let Some(slot) = next {
            let batch = &mut self.records.batches[slot];
            let asked = batch.last_error == Some(ErrorCode(45));
            if batch.proven && asked && batch.state == State::Waiting {
                batch.records.release(&mut self.records.pool);
                batch.state = State::Resolved(Ok(Written { base_offset: None, log_append_time: None }));
            }
            next = self.records.batches.next_in_partition(slot);
        }
    }

    /// Sends the batch again where a hint says: at once, unless such hints come one after the other.
    fn retry_hinted(&mut self, now: Instant, slot: u32, at_once: bool) {
        if !at_once {
            self.retry(now, slot, true);
        } else if self.may_retry(slot, true) {
            self.stats.retries += 1;
        }
    }

    /// Counts an attempt that has failed. If that was the last, the batch fails.
    fn may_retry(&mut self, slot: u32, counted: bool) -> bool {
        if !counted {
            return true;
        }
        if self.records.batches[slot].retries >= self.config.retries && !planted("retries-without-end") {
            let kind = DeliveryErrorKind::RetriesExhausted(self.records.batches[slot].last_error);
            self.fail(slot, kind, None);
            return false;
        }
        self.records.batches[slot].retries += 1;
        true
    }

    /// Sends the batch again later. `counted`: against `retries`.
    fn retry(&mut self, now: Instant, slot: u32, counted: bool) {
        if !self.may_retry(slot, counted) {
            return;
        }
        let batch = &self.records.batches[slot];
        let failures = batch.attempt.saturating_sub(1);
        self.stats.retries += 1;
        let index = batch.partition;
        let partition = &mut self.records.partitions[index];
        partition.sequencing.ask_no_more();
        if partition.backoff.is_none_or(|until| until <= now) {
            let wait = self.retry_backoff.after(failures, &mut self.random);
            let until = now + if planted("retry-at-once") { Duration::ZERO } else { wait };
            partition.backoff = Some(until);
            self.timers.set(Timer::Partition(index), until);
        }
    }

    /// The batch fails, wherever it is.
    pub(in crate::producer) fn fail(&mut self, slot: u32, kind: DeliveryErrorKind, message: Option<Box<str>>) {
        let batch = &self.records.batches[slot];
        let index = batch.partition;
        let gone = kind == DeliveryErrorKind::PartitionGone && planted("gone-is-not-written");
        let possibly_written = (batch.in_doubt() || batch.maybe_written || batch.proven) && !gone;
        let waited = |kind: &DeliveryErrorKind| {
            use DeliveryErrorKind::{Aborted, RetriesExhausted, TimedOut};
            matches!(kind, TimedOut(_) | RetriesExhausted(_) | Aborted)
        };
        let why = if waited(&kind) { self.why_undelivered(self.now, slot).map(Box::new) } else { None };
        let partition = &self.records.partitions[index];
        let topic = Box::from(&*self.records.topics[partition.topic].name);
        let (partition, attempts) = (partition.number, batch.attempt);
        let error = DeliveryError { kind, topic, partition, message, why, possibly_written, attempts };
        self.say_failed(slot, &error);
        let batch = &self.records.batches[slot];
        match batch.state {
            State::Open | State::Due | State::Closed => {
                if batch.state == State::Open {
                    self.records.batches.make_due(slot);
                }
                self.records.partitions[index].dequeue(&mut self.records.batches, slot);
                self.deliver(slot, Err(error));
                self.settle(index);
            }
            State::InFlight(_) | State::Waiting => {
                if matches!(batch.state, State::InFlight(_)) {
                    self.records.partitions[index].on_wire -= 1;
                }
                if self.identity.standing == Standing::Off || planted("failure-does-not-wait") {
                    self.records.partitions[index].remove_sent(&mut self.records.batches, slot);
                    self.deliver(slot, Err(error));
                } else {
                    if batch.stamp.is_some() {
                        self.records.partitions[index].sequencing.open_gap();
                    }
                    self.records.batches[slot].state = State::Resolved(Err(error));
                    self.records.batches[slot].records.release(&mut self.records.pool);
                    self.tell_writable();
                }
                self.settle(index);
            }
            State::Resolved(_) => {
                // Its outcome is known, but an earlier one's is not: that one fails first.
                unreachable!("the oldest live batch of a partition is never resolved")
            }
            State::Free | State::Delivering | State::Split => unreachable!("only live batches fail"),
        }
    }

    /// Outcomes leave in the order of the partition (rule 2); then it is seen what may follow.
    pub(in crate::producer) fn settle(&mut self, index: u32) {
        while let Some(slot) = self.records.partitions[index].sent.first() {
            let State::Resolved(outcome) = &mut self.records.batches[slot].state else {
                break;
            };
            let outcome = core::mem::replace(outcome, Ok(Written { base_offset: None, log_append_time: None }));
            let partition = &mut self.records.partitions[index];
            partition.remove_sent(&mut self.records.batches, slot);
            partition.sequencing.settled(&self.records.batches[slot], &outcome);
            self.deliver(slot, outcome);
        }
        self.bump_if_needed(index);
        self.list_if_ready(index);
        if let Some(leader) = self.records.partitions[index].leader {
            self.attend(leader);
        }
    }

    /// The outcome goes into the outbox, the memory back.
    fn deliver(&mut self, slot: u32, outcome: Result<Written, DeliveryError>) {
        let batch = &mut self.records.batches[slot];
        let count = u64::from(batch.records.count());
        match &outcome {
            Ok(_) => {
                self.stats.records_delivered += count;
                self.delivered_at = Some(self.now);
                if !self.alarms.is_empty() {
                    let partition = batch.partition;
                    self.say_delivered(partition);
                }
            }
            Err(_) => self.stats.records_failed += count,
        }
        self.measure_outcome(slot, outcome.is_ok());
        let batch = &mut self.records.batches[slot];
        batch.records.release(&mut self.records.pool);
        self.records.batches.deliver(slot);
        self.outbox.delivery(slot, outcome);
        self.tell_writable();
    }

    /// The producer can never deliver again: what is open fails, one a step.
    pub(in crate::producer) fn fail_for_good(&mut self, fatal: FatalError) {
        if matches!(self.life.phase, Phase::Running | Phase::Closing) {
            log::error!("{fatal}");
            let closing = self.life.phase == Phase::Closing;
            self.life.phase = if closing { Phase::Ending(fatal.clone()) } else { Phase::Failed(fatal.clone()) };
            if closing && planted("fatal-is-aborted") {
                self.life.phase = Phase::Aborting;
            }
            self.outbox.event(Event::Fatal(fatal));
        }
    }

    /// Sends the batch in parts (as Java: of `batch.size`, or half of it where it is not larger), in its place and with its
    /// sequences.
    fn split(&mut self, parent: u32) {
        let batch = &self.records.batches[parent];
        let index = batch.partition;
        let (size, raw_size) = (batch.size(), header::SIZE + batch.records.raw_len());
        let smaller = |size: usize| if size > self.config.batch_size { self.config.batch_size } else { size / 2 };
        let (limit, target) = (smaller(size), smaller(raw_size));
        self.records.topics.found_too_large(self.records.partitions[index].topic, limit);
        self.stats.splits += 1;
        let mut whole = core::mem::take(&mut self.records.batches[parent].records);
        let section = Section::of(&whole);
        let sizes = section.parts(target);
        let mut parts: Vec<u32> = Vec::new();
        let (mut done, mut left) = (0, 0);
        section.for_each(|content| {
            if left == 0 {
                left = sizes[parts.len()].records;
                parts.push(self.records.batches.open_part(parent, done));
            }
            let records = &mut self.records.batches[parts[parts.len() - 1]].records;
            let all = sizes[parts.len() - 1].bytes;
            let appended = records.append(content, &mut self.records.pool, Class::FIRST, Reserve::Used { all });
            appended.expect("the reserve always has room");
            (done, left) = (done + 1, left - 1);
        });
        let counts: Vec<u32> = parts.iter().map(|part| self.records.batches[*part].records.count()).collect();
        let stamps = idempotence::stamps_of_parts(self.records.batches[parent].stamp, &counts);
        let state = self.records.batches[parent].state.clone();
        for (part, stamp) in parts.iter().zip(stamps) {
            self.records.batches[*part].records.close();
            self.records.batches[*part].stamp = stamp;
            self.records.batches[*part].state = state.clone();
            // Parts are sent as retries are, ahead of others: no time for jobs.
            if whole.codec() != Compression::None {
                self.compress_inline(*part);
            }
        }
        self.records.partitions[index].replace_by_parts(&mut self.records.batches, parent, &parts);
        if planted("split-keeps-memory") {
            core::mem::forget(core::mem::take(&mut whole));
        }
        whole.release(&mut self.records.pool);
        self.records.batches[parent].records = whole;
        self.records.batches.retire_parent(parent);
        self.count_entries();
        self.tell_writable();
    }
}

/// A broker that can't unpack what a codec made says -1, and not why.
fn suspect(codec: Compression, message: Option<Box<str>>) -> Option<Box<str>> {
    if codec == Compression::None {
        return message;
    }
    let name = codec.name();
    let advice = alloc::format!(
        "the records are compressed by {name}: if the broker can't unpack them, another compression.type (or none) helps"
    );
    Some(match message {
        Some(message) => alloc::format!("{message} ({advice})").into(),
        None => advice.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_after_which_a_batch_may_be_written_leave_doubt() {
        for code in [-1, 3, 5, 6, 7, 9, 13, 20, 46, 56, 74, 75, 89, 103, 500] {
            assert!(!proves_unwritten(code), "{code}");
        }
    }

    #[test]
    fn without_idempotence_nothing_is_fatal_and_sequences_mean_nothing() {
        for code in [31, 35, 45, 47, 49, 59, 90] {
            assert_eq!(meaning(code, false), Meaning::Refused, "{code}");
        }
    }

    #[test]
    fn unknown_codes_are_refusals() {
        assert_eq!(meaning(12_345, true), Meaning::Refused);
        assert_eq!(meaning(-1, true), Meaning::Refused);
    }
}
