//! Batches go out: which partition is ready, on which connection, in which request.

use core::time::Duration;

use bytes::BufMut;

use crate::batch::header;
use crate::batch::{Class, Compression};
use crate::connection::{Entry, RequestKind, Role};
use crate::ids::ConnId;
use crate::memory;
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::control::servers::May;
use crate::producer::delivery::idempotence::{self, Bump, Next, Sequencing, Standing};
use crate::producer::lifecycle::Phase;
use crate::producer::records::batches::{Batch, Stage, State};
use crate::producer::records::partitions::{Partition, Ready};
use crate::producer::timers::Timer;
use crate::sort;
use crate::time::Instant;
use crate::wire::produce;

/// A record section up to this size is copied into the request's head: cheaper than a segment of its own.
const COPIED_UP_TO: usize = 1024;

/// As many bytes of records are copied into a request where memory is tight, and so many batches are in it.
const COPIED_WHERE_TIGHT: usize = 512;
const FEW: usize = 4;

/// How soon a request is formed, or a connection made, for which there was no memory.
pub(in crate::producer) const MEMORY_INTERVAL: Duration = Duration::from_millis(20);

/// Bytes that are taken at once for the heads of requests.
const HEAD: usize = 4096;

/// The last version of Produce that names topics by their names.
const NEWEST_BY_NAME: i16 = 12;

/// The first version of Produce in which brokers take zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// `Partition::listed` for those that wait for a producer id.
const WITHOUT_IDENTITY: u32 = u32::MAX;

impl Producer {
    /// A lingering batch is due: it leaves as soon as its connection can take it, and grows until then.
    pub(in crate::producer) fn make_due(&mut self, slot: u32) {
        self.records.batches.make_due(slot);
        if !planted("due-wakes-nobody") {
            self.nothing_new = false;
        }
        self.list_if_ready(self.records.batches[slot].partition);
    }

    /// The broker's next request has this batch in it: it is held back no longer than the batch lingers, and not at all if that can't
    /// grow. Returns until when.
    fn limit_hold(&mut self, broker: u32, slot: u32) -> Option<Instant> {
        let conn = self.control.brokers[broker].conn?;
        let connection = self.sessions.connections.get_mut(&conn)?;
        let until = connection.pace.held_until(self.now)?;
        let batch = &self.records.batches[slot];
        let most = if batch.state == State::Due {
            if planted("held-beyond-linger") { until } else { batch.created + self.config.linger }
        } else {
            if planted("closed-is-held") { until } else { self.now }
        };
        if most < until {
            connection.pace.hold_until(most);
            self.attend(broker);
        }
        Some(most.min(until))
    }

    /// Somebody waits for all that is there now: what lingers is due, and nothing is held back.
    pub(in crate::producer) fn all_is_due(&mut self) {
        self.records.due_below = self.records.batches.next_serial();
        if self.records.held_until > self.now && !planted("held-though-awaited") {
            self.records.held_until = Instant::ZERO;
            for connection in self.sessions.connections.values_mut() {
                connection.pace.let_go();
            }
            self.attend_all(|_| true);
        }
    }

    /// A due batch takes no more records.
    pub(in crate::producer) fn close_batch(&mut self, slot: u32) {
        let batch = &mut self.records.batches[slot];
        batch.records.close();
        batch.state = State::Closed;
        self.records.partitions[batch.partition].first_chunk = Class::holding(batch.records.own_len());
    }

    /// What the partition has to send now.
    pub(in crate::producer) fn next_of(&self, index: u32) -> Next {
        let partition = &self.records.partitions[index];
        if self.identity.standing != Standing::Off {
            if let Some(next) = self.next_asked(partition) {
                return next;
            }
            return Sequencing::next(partition, &self.records.batches, self.now, self.identity.standing);
        }
        let muted = self.config.max_in_flight == 1 && !partition.sent.is_empty();
        let backing_off = partition.backoff.is_some_and(|until| until > self.now);
        match partition.queued.first() {
            Some(slot) if !muted && !backing_off && self.records.batches[slot].may_leave() => Next::Fresh(slot),
            _ => Next::Nothing,
        }
    }

    /// What is sent again to learn what is written, while that goes on: on the connection on which it began, no other.
    fn next_asked(&self, partition: &Partition) -> Option<Next> {
        let conn = partition.sequencing.asks_on()?;
        let leads = self.control.brokers[partition.leader?].conn;
        if leads != Some(conn) && !planted("asked-on-another-connection") {
            return None;
        }
        match idempotence::next_asked(partition, &self.records.batches) {
            Some(slot) => Some(Next::Retry(slot)),
            None if partition.on_wire > 0 => Some(Next::Nothing),
            None => None,
        }
    }

    /// Something about the partition has changed: if it can send now, its leader's connection learns of it.
    pub(in crate::producer) fn list_if_ready(&mut self, index: u32) {
        self.list_for_job(index);
        self.offer(index);
        let next = match self.next_of(index) {
            Next::Fresh(slot) | Next::Retry(slot) => Some(slot),
            Next::Nothing => None,
        };
        match self.records.partitions[index].listed {
            Some(WITHOUT_IDENTITY) if !self.waits_for_identity(index) => self.unlist(index),
            Some(WITHOUT_IDENTITY) => return,
            Some(_) if next.is_none() => self.unlist(index),
            Some(broker) => {
                if let Some(slot) = next {
                    self.limit_hold(broker, slot);
                }
                return;
            }
            None => {}
        }
        let Some(slot) = next else {
            self.list_without_identity(index);
            return;
        };
        let Some(leader) = self.records.partitions[index].leader else {
            self.records.topics.want(self.records.partitions[index].topic);
            return;
        };
        self.records.partitions[index].listed = Some(leader);
        let broker = &mut self.control.brokers[leader];
        broker.ready.push_back(&mut self.records.partitions, Ready, index);
        // What is held back to grow is not stuck.
        let held_until = self.limit_hold(leader, slot).unwrap_or(self.now);
        self.control.brokers[leader].stuck_since.get_or_insert(held_until);
        self.attend(leader);
    }

    /// Takes the partition off the list that it is in.
    pub(in crate::producer) fn unlist(&mut self, index: u32) {
        match self.records.partitions[index].listed.take() {
            None => {}
            Some(WITHOUT_IDENTITY) => {
                self.identity.without_identity.remove(&mut self.records.partitions, Ready, index);
            }
            Some(broker) => {
                let broker = &mut self.control.brokers[broker];
                broker.ready.remove(&mut self.records.partitions, Ready, index);
                if broker.ready.is_empty() {
                    let since = broker.stuck_since.take();
                    self.recovered(since);
                }
            }
        }
    }

    /// Nothing waits for a broker any more, or something has left.
    fn recovered(&mut self, stuck_since: Option<Instant>) {
        let patience = self.config.partitioner_availability_timeout;
        let silent = stuck_since.map(|since| self.now.saturating_since(since));
        if !patience.is_zero() && silent.is_some_and(|silent| silent > patience) {
            self.records.recovered_brokers += 1;
        }
    }

    /// Whether the partition has something that can't leave without a producer id.
    fn waits_for_identity(&self, index: u32) -> bool {
        let partition = &self.records.partitions[index];
        let first = partition.queued.first();
        self.identity.standing == Standing::Needed
            && (partition.sequencing.has_gap()
                || !partition.sent.is_empty()
                || first.is_some_and(|slot| self.records.batches[slot].state != State::Open))
    }

    /// If the partition waits for nothing but a producer id, it is remembered until there is one.
    fn list_without_identity(&mut self, index: u32) {
        if self.waits_for_identity(index) {
            self.records.partitions[index].listed = Some(WITHOUT_IDENTITY);
            self.identity.without_identity.push_back(&mut self.records.partitions, Ready, index);
        }
    }

    /// There is a producer id: whoever waited for one goes on. Those that need another one at once wait again.
    pub(in crate::producer) fn identity_known(&mut self) {
        let last = self.identity.without_identity.last();
        while let Some(index) = self.identity.without_identity.first() {
            self.unlist(index);
            self.bump_if_needed(index);
            self.list_if_ready(index);
            let all = Some(index) == last || matches!(self.identity.standing, Standing::Needed | Standing::Off);
            if all && !planted("identity-loop") {
                return;
            }
        }
    }

    /// Bumps the epoch if the partition waits for that and nothing of it is on the wire.
    pub(in crate::producer) fn bump_if_needed(&mut self, index: u32) {
        if !self.records.partitions[index].sequencing.has_gap() {
            return;
        }
        let before = self.identity.standing;
        match idempotence::bump(
            &mut self.records.partitions[index],
            &mut self.records.batches,
            &mut self.identity.standing,
        ) {
            Bump::Done if before != self.identity.standing => {
                self.stats.epoch_bumps += 1;
                self.say_producer_id();
            }
            Bump::Done | Bump::NotNow | Bump::NeedsProducerId => {}
        }
    }

    /// The broker has something to send, or may again: its connection is told, or one is asked for.
    pub(in crate::producer) fn attend(&mut self, index: u32) {
        let broker = &self.control.brokers[index];
        if broker.ready.is_empty() {
            return;
        }
        let server = broker.server;
        match (broker.conn, self.control.servers.may_connect(server, false, self.now)) {
            (Some(conn), _) => {
                self.arm(conn);
                self.look_when_over(index, conn);
            }
            (None, May::Now) if self.has_room_to_connect() => self.connect_broker(index),
            (None, May::Now) => self.timers.set(Timer::Broker(index), self.now + MEMORY_INTERVAL),
            (None, May::NotBefore(at)) => self.timers.set(Timer::Broker(index), at),
            (None, May::AfterAnother) => {}
        }
    }

    /// If what the broker is to get waits for a time to be over, it is looked at then.
    fn look_when_over(&mut self, index: u32, conn: ConnId) {
        let now = self.now;
        let Some(connection) = self.sessions.connections.get_mut(&conn).filter(|connection| !connection.armed) else {
            return;
        };
        let held_until = connection.pace.held_until(now).filter(|_| !planted("held-for-ever"));
        if held_until.is_some() && connection.has_window(now) {
            connection.pace.held_back(now);
        }
        let over = held_until.max(connection.throttled_until);
        if let Some(at) = over.filter(|at| *at > now) {
            self.timers.set(Timer::Broker(index), at);
        }
    }

    /// Tells the host to transmit, if there is something to and it was not told yet.
    pub(in crate::producer) fn arm(&mut self, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else {
            return;
        };
        if connection.armed {
            return;
        }
        let formed = !connection.segments().is_empty();
        let can_form = match connection.role {
            Role::Control => false,
            Role::Broker(broker) => !self.control.brokers[broker].ready.is_empty() && self.has_window(conn),
        };
        if formed || can_form {
            let connection = self.sessions.connections.get_mut(&conn).expect("it was there a line ago");
            connection.armed = true;
            self.outbox.transmit(conn);
        }
    }

    /// Whether another Produce request may be sent on the connection.
    fn has_window(&self, conn: ConnId) -> bool {
        let connection = self.sessions.connections.get(&conn);
        connection
            .is_some_and(|connection| connection.has_window(self.now) && connection.pace.held_until(self.now).is_none())
    }

    /// The host can write: if nothing is left of the last request, the next is formed.
    pub(in crate::producer) fn lay_out(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else {
            return;
        };
        if connection.segments().is_empty() {
            if let Role::Broker(broker) = connection.role {
                if self.has_window(conn) {
                    self.form_produce(now, conn, broker);
                }
            }
        }
        let connection = self.sessions.connections.get_mut(&conn).expect("forming a request closes no connection");
        if connection.segments().is_empty() {
            connection.armed = planted("lost-edge") && self.stats.produce_requests % 7 == 3;
            // What came while the host was writing may have to wait for a time, of which nobody else knows.
            if let (Role::Broker(broker), false) = (connection.role, planted("put-down-and-forgotten")) {
                if !self.control.brokers[broker].ready.is_empty() {
                    self.look_when_over(broker, conn);
                }
            }
        }
    }

    /// Takes batches from the broker's ready partitions in turn, one of each, up to `max.request.size`.
    fn form_produce(&mut self, now: Instant, conn: ConnId, broker: u32) {
        let Some(versions) = self.sessions.connections.get(&conn).map(|connection| connection.versions) else {
            return;
        };
        let Some(newest) = versions.produce else { return };
        // How many batches a request has, and how many bytes of their records are copied into its head.
        let (most, copies) = if self.records.pool.is_plentiful() {
            (self.config.batches_a_request, usize::MAX)
        } else if self.records.pool.make_room(memory::REQUEST) {
            (self.config.batches_a_request.min(FEW), COPIED_WHERE_TIGHT)
        } else if self.records.pool.make_room(memory::LEFT) {
            (1, 0)
        } else {
            // Answers, or whoever else uses memory, will give some back.
            self.timers.set(Timer::Broker(broker), now + MEMORY_INTERVAL);
            return;
        };
        // Of a request's topics either all go by id or all by name.
        let mut version = newest;
        let mut entries = self.sessions.spare_entries.pop().unwrap_or_default();
        let mut size = produce::head_size(self.config.client_id.len());
        // When the newest record came of what was due by its size.
        let mut stream = None;
        while let Some(index) = self.control.brokers[broker].ready.first() {
            let slot = match self.next_of(index) {
                Next::Fresh(slot) | Next::Retry(slot) => slot,
                Next::Nothing => {
                    self.unlist(index);
                    self.list_if_ready(index);
                    continue;
                }
            };
            let partition = &self.records.partitions[index];
            let topic = &self.records.topics[partition.topic];
            let unknown_id = topic.id == [0; 16];
            if unknown_id && newest > NEWEST_BY_NAME && !versions.produce_by_name {
                // The broker takes ids only, and this topic's is not known yet.
                self.unlist(index);
                self.records.topics.refresh.want();
                continue;
            }
            let fits = if unknown_id { newest.min(NEWEST_BY_NAME) } else { newest };
            if entries.is_empty() {
                version = fits;
            } else if version != fits {
                break;
            }
            // Before it is compressed, and not if it is sent again.
            let batch = &self.records.batches[slot];
            let newest = (batch.attempt == 0 && batch.size() >= topic.due_at).then(|| batch.newest());
            self.make_ready(slot, version);
            let partition = &self.records.partitions[index];
            let topic = &self.records.topics[partition.topic];
            let more = self.records.batches[slot].size() + produce::entry_size(topic.name.len());
            let full = size + more > self.config.max_request_size || entries.len() == most;
            if full && !entries.is_empty() {
                break;
            }
            size += more;
            stream = stream.max(newest);
            let (topic_index, topic_id, number) = (partition.topic, topic.id, partition.number);
            self.unlist(index);
            self.leave(conn, index, slot);
            let batch = &self.records.batches[slot];
            entries.push(Entry {
                topic: topic_index,
                topic_id,
                number,
                partition: index,
                slot,
                generation: self.records.batches.generation(slot),
                attempt: batch.attempt,
                answered: false,
            });
        }
        if entries.is_empty() {
            self.sessions.spare_entries.push(entries);
            return;
        }
        let since = self.control.brokers[broker].stuck_since.take();
        self.recovered(since);
        // A request has each topic once.
        sort::by_key(&mut entries, |entry| (entry.topic, entry.number));
        for entry in &entries {
            let batch = &mut self.records.batches[entry.slot];
            let sequencing = &mut self.records.partitions[entry.partition].sequencing;
            if self.identity.standing != Standing::Off {
                sequencing.stamp(self.identity.standing, batch, version <= NEWEST_BY_NAME);
            }
            log::trace!("{} leaves on {conn}", self.describe(entry.slot));
            self.stats.batches_sent += 1;
            self.stats.batch_bytes_sent += self.records.batches[entry.slot].size() as u64;
            self.measure_leaving(now, entry.slot);
        }
        self.stats.produce_requests += 1;
        let correlation = self.write_produce(conn, version, &entries, copies);
        let unanswered = self.config.acks.code() == 0;
        let kind = if unanswered { RequestKind::ProduceUnanswered } else { RequestKind::Produce };
        let patience = self.request_patience();
        for entry in &entries {
            self.list_if_ready(entry.partition); // it may have another batch, for the next request
        }
        let is_awaited =
            self.records.starved.is_some() || self.life.flushes.is_open() || self.life.phase != Phase::Running;
        // What found no room has waited already.
        let is_all = self.control.brokers[broker].ready.is_empty() || planted("rest-is-held");
        let connection = self.sessions.connections.get_mut(&conn).expect("nothing closed it meanwhile");
        if let Some(until) = connection.pace.left(now, stream, is_all && !is_awaited) {
            self.records.held_until = self.records.held_until.max(until);
        }
        connection.await_answer(now, correlation, kind, version, patience, entries);
        self.watch(conn);
    }

    /// A batch, for logs: where it goes, its stamp, its attempt.
    pub(in crate::producer) fn describe(&self, slot: u32) -> impl core::fmt::Display + '_ {
        let batch = &self.records.batches[slot];
        let partition = &self.records.partitions[batch.partition];
        Description {
            topic: &self.records.topics[partition.topic].name,
            partition: partition.number,
            serial: batch.serial,
            records: batch.records.count(),
            attempt: batch.attempt,
            stamp: batch.stamp,
        }
    }

    /// The batch is in its final form for a Produce request of this version.
    fn make_ready(&mut self, slot: u32, version: i16) {
        if self.records.batches[slot].stage == Stage::Inline {
            if self.records.batches[slot].state == State::Due {
                self.close_batch(slot);
            }
            self.compress_inline(slot);
        }
        let zstd = matches!(self.records.batches[slot].records.codec(), Compression::Zstd { .. });
        if zstd && version < ZSTD_FROM {
            self.decompress(slot);
        }
    }

    /// The batch goes on the wire, for the first time or again.
    fn leave(&mut self, conn: ConnId, index: u32, slot: u32) {
        let partition = &mut self.records.partitions[index];
        match self.records.batches[slot].state {
            State::Due => {
                self.close_batch(slot);
                self.records.partitions[index].move_to_sent(&mut self.records.batches, slot);
            }
            State::Closed => partition.move_to_sent(&mut self.records.batches, slot),
            State::Waiting => {}
            State::Open | State::InFlight(_) | State::Resolved(_) | State::Delivering | State::Split | State::Free => {
                unreachable!("only due, closed and waiting batches are next")
            }
        }
        self.records.partitions[index].on_wire += 1;
        let batch = &mut self.records.batches[slot];
        batch.state = State::InFlight(conn);
        batch.attempt += 1;
        batch.outstanding += 1;
    }

    /// The room for a request's head: that of several requests, where memory allows.
    fn head_room(&self, entries: &[Entry], mut copies: usize) -> usize {
        let plenty = copies > COPIED_WHERE_TIGHT;
        let mut room = produce::head_size(self.config.client_id.len());
        for entry in entries {
            let batch = &self.records.batches[entry.slot];
            room += produce::entry_size(self.records.topics[entry.topic].name.len()) + header::SIZE;
            room += if is_copied(batch, &mut copies) { batch.records.len() } else { 0 };
        }
        if plenty { room.max(HEAD) } else { room }
    }

    /// Lays the request as segments: heads and headers, and between them the record sections, shared.
    fn write_produce(&mut self, conn: ConnId, version: i16, entries: &[Entry], mut copies: usize) -> i32 {
        // What is copied is there twice until it is written.
        let room = self.head_room(entries, copies);
        let connection = self.sessions.connections.get_mut(&conn).expect("the caller looked it up");
        let correlation = connection.correlation();
        let mut head = core::mem::take(&mut connection.head);
        head.reserve(room);
        let mut frame = 0;
        // The first piece has the frame's length, which is known at the end.
        let mut first = None;
        let timeout = i32::try_from(self.config.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let topics = || entries.chunk_by(|a, b| a.topic == b.topic);
        let (client, acks) = (Some(&*self.config.client_id), self.config.acks.code());
        produce::begin(&mut head, version, correlation, client, None, acks, timeout, topics().count());
        for entries in topics() {
            let topic = entries[0].topic;
            produce::topic(&mut head, version, &self.records.topics[topic].name, &entries[0].topic_id, entries.len());
            for entry in entries {
                let batch = &self.records.batches[entry.slot];
                produce::partition(&mut head, version, entry.number, batch.size());
                let stamp = batch.stamp.unwrap_or(header::Stamp::NONE);
                head.put_slice(&header::encode(&batch.records, stamp));
                if is_copied(batch, &mut copies) {
                    batch.records.for_each_chunk(|chunk| head.put_slice(chunk));
                } else {
                    let piece = head.split();
                    frame += piece.len() + batch.records.len();
                    match first {
                        None => first = Some(piece),
                        Some(_) => connection.push_segment(piece.freeze()),
                    }
                    batch.records.for_each_segment(|segment| connection.push_segment(segment));
                }
                produce::partition_end(&mut head, version);
            }
            produce::topic_end(&mut head, version);
        }
        produce::end(&mut head, version);
        let mut last = head.split();
        frame += last.len();
        connection.head = head;
        match first {
            None => {
                produce::patch_length(&mut last, frame - 4);
                connection.push_segment(last.freeze());
            }
            Some(mut piece) => {
                produce::patch_length(&mut piece, frame - 4);
                connection.push_segment_first(piece.freeze());
                connection.push_segment(last.freeze());
            }
        }
        correlation
    }
}

/// Whether the batch's records are copied into the request's head, where so many bytes may be: then there are fewer.
fn is_copied(batch: &Batch, left: &mut usize) -> bool {
    let length = batch.records.len();
    let copied = length <= COPIED_UP_TO.min(*left);
    if copied {
        *left -= length;
    }
    copied
}

struct Description<'a> {
    topic: &'a str,
    partition: i32,
    serial: u64,
    records: u32,
    attempt: u32,
    stamp: Option<header::Stamp>,
}

impl core::fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { topic, partition, serial, records, attempt, .. } = self;
        write!(f, "topic {topic} partition {partition} batch {serial} ({records} records, attempt {attempt}")?;
        if let Some(header::Stamp { producer_id, epoch, sequence }) = self.stamp {
            write!(f, ", producer {producer_id}.{epoch}, sequence {sequence}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_batch_in_a_log_says_where_it_goes_and_what_it_is() {
        let mut batch = Description { topic: "t", partition: 3, serial: 7, records: 2, attempt: 1, stamp: None };
        assert_eq!(batch.to_string(), "topic t partition 3 batch 7 (2 records, attempt 1)");
        batch.stamp = Some(header::Stamp { producer_id: 5, epoch: 6, sequence: 9 });
        assert_eq!(batch.to_string(), "topic t partition 3 batch 7 (2 records, attempt 1, producer 5.6, sequence 9)");
    }
}
