//! The state machine. This file: the public type, its contract, and what its calls do.
//!
//! The parts of the machine are rooms that don't know each other: `topics`, `partitions`, `batches`, `brokers`, `timers`,
//! `outbox`, `idempotence`, `jobs`, `mechanism`, `tokens`, `lifecycle`, `partitioner`. They are joined in `impl Producer` blocks, one file for each way
//! that things flow: `accept` (a record comes in), `compress`, `drain` (batches go out), `answer` (a response says what became of
//! them), `sessions` (connections and control requests), `auth` (who the producer is), `metadata` (who leads what).

mod accept;
mod answer;
mod auth;
mod backoff;
mod batches;
mod brokers;
mod compress;
mod drain;
mod idempotence;
mod jobs;
mod lifecycle;
mod list;
mod mechanism;
mod metadata;
mod outbox;
mod partitioner;
mod partitions;
mod random;
mod sessions;
mod stats;
mod timers;
mod tokens;
mod topics;
mod transmit;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

pub use jobs::{Job, JobDone};
#[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
pub(crate) use mechanism::Over;
pub use partitioner::{Partitioner, RoundRobinPartitioner, TopicView, partition_for_key};
pub use stats::Stats;
pub use transmit::Transmit;

use crate::batch::{Compression, Compressor, Pool};
use crate::config::{Config, Sasl};
use crate::connection::sasl::SaslMechanism;
use crate::connection::{Connection, Entry};
use crate::error::{ConnectionError, DeliveryErrorKind, ErrorCode, SendError};
use crate::event::{ConnId, Delivery, Event, FlushId, Input, Output, PartitionInfo, Sent, TopicIndex};
use crate::record::Record;
use crate::time::{Instant, UnixTime};

use backoff::Backoff;
use batches::Batches;
use brokers::Brokers;
use idempotence::Standing;
use jobs::Jobs;
use lifecycle::{Flushes, Phase};
use list::List;
use outbox::{Item, Outbox};
use partitions::Partitions;
use random::Random;
use timers::Timers;
use topics::{Sizes, Topics};

/// A Kafka producer without sockets, clock, threads or randomness of its own.
///
/// It is told what happens ([`handle_input`](Self::handle_input), [`send`](Self::send) and the other commands), and says
/// what to do ([`poll_output`](Self::poll_output), [`transmit`](Self::transmit)). The crate documentation shows the loop.
///
/// # The contract
///
/// 1. After anything that takes `&mut self`, drain `poll_output` until [`Output::Wait`], when convenient. Not draining
///    delays, it never breaks. Any number of sends and inputs may come in between. One party drains; others that only
///    send ask [`take_wake`](Self::take_wake) under the same lock, and wake it if true.
/// 2. `now` need not be exact and may repeat; an earlier one counts as the last one. Hand in all bytes that can be read
///    before [`Input::Timeout`]: nothing expires except there.
/// 3. [`Output::Transmit`] is an edge. After it, call `transmit` until it is empty or the socket blocks; when blocked,
///    call again once it is writable, without a new edge. An empty `transmit` arms the edge again. One writer a
///    connection; `transmit` shows the same bytes until they are consumed or [`written`](Self::written).
/// 4. Input for a connection that is gone is ignored. Connection ids are never used again.
/// 5. Every record accepted is named by exactly one [`Delivery`], also after [`abort`](Self::abort); after
///    [`Event::Closed`] none is open. With idempotence, the deliveries of a partition come in the order of its sends.
/// 6. Work a call is O(1), plus the size of its input, plus what it takes off lists that earlier calls filled.
/// 7. The same inputs with the same seed give the same outputs.
/// 8. No input can make it panic, loop, or hold memory beyond `buffer.memory` plus a bounded amount a connection, a topic
///    asked for, and a partition of those.
pub struct Producer {
    config: Config,
    now: Instant,
    /// A moment on the monotonic clock, and the time of day at it.
    wall: Option<(Instant, UnixTime)>,
    random: Random,
    phase: Phase,
    outbox: Outbox,
    timers: Timers,
    topics: Topics,
    partitions: Partitions,
    batches: Batches,
    pool: Pool,
    brokers: Brokers,
    connections: BTreeMap<ConnId, Connection>,
    next_conn: u32,
    standing: Standing,
    producer_id: sessions::ProducerIdRequest,
    /// Partitions that can send as soon as there is a producer id.
    without_identity: List,
    jobs: Jobs,
    mechanism: mechanism::Mechanism,
    /// Authentication is done by jobs, also if compression is not.
    sasl_by_jobs: bool,
    tokens: tokens::Tokens,
    #[cfg(feature = "scram")]
    scram: auth::Scram,
    /// Why no server lets this client in.
    denied: Option<ConnectionError>,
    /// Partitions whose next batch waits for a job.
    without_job: List,
    /// For what is compressed here.
    compressor: Compressor,
    partitioner: Option<Box<dyn Partitioner>>,
    /// How long after its first record a batch may take more.
    growth: Duration,
    /// The largest record that can be taken, in bytes.
    largest_record: usize,
    retry_backoff: Backoff,
    reconnect_backoff: Backoff,
    refusal_backoff: Backoff,
    setup_backoff: Backoff,
    flushes: Flushes,
    /// Lingering batches with smaller serials are due: a flush, a close, or someone waits for memory.
    due_below: u64,
    /// Lingering batches that were due by then are due, and open ones that should be delivered by then have expired.
    timeout_at: Instant,
    /// Someone waits for that many bytes of memory.
    starved: Option<usize>,
    /// Spare tables for the entries of requests.
    spare_entries: Vec<Vec<Entry>>,
    last_wait: Option<Instant>,
    /// The draining party was woken and has not come to `Wait` yet.
    awake: bool,
    listing: sessions::Listing,
    stats: Stats,
}

impl fmt::Debug for Producer {
    /// How much there is of everything, but nothing of records and credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("phase", &self.phase)
            .field("buffered", &self.pool.used())
            .field("connections", &self.connections.len())
            .field("in_flight", &self.in_flight())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Producer {
    /// A producer that has done nothing yet. It connects when a topic is first asked for.
    ///
    /// `now` is the present on the caller's monotonic clock; `unix_time` the time of day at that moment, for the stamps of
    /// records that bring none (without it they get −1, «no timestamp», until [`Input::WallClock`]). `seed` drives all
    /// choices (partitions, jitter): fresh from the system's randomness in production, a constant in tests.
    pub fn new(now: Instant, unix_time: Option<UnixTime>, config: Config, seed: [u8; 32]) -> Self {
        let mut random = Random::new(seed);
        let start = random.below(config.bootstrap_servers.len() as u32) as usize;
        let retry_backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max);
        let batch_limit = (config.max_request_size / 2).max(config.batch_size).min(config.max_request_size);
        let pool = Pool::new(config.buffer_memory);
        let largest_record = pool.largest().min(config.max_request_size);
        let batch_limit = batch_limit.min(config.batch_size_max.max(config.batch_size));
        let jobs = config.jobs.unwrap_or(0);
        let sizes = Sizes {
            due: config.batch_size,
            limit: batch_limit,
            raw_limit: config.max_request_size,
            compressed: config.compression != Compression::None,
        };
        Self {
            now,
            wall: unix_time.map(|time| (now, time)),
            random,
            phase: Phase::Running,
            outbox: Outbox::default(),
            timers: Timers::default(),
            topics: Topics::new(sizes, config.metadata_max_age, retry_backoff),
            partitions: Partitions::default(),
            batches: Batches::new(Self::first_stage(config.compression, jobs)),
            pool,
            brokers: Brokers::new(config.bootstrap_servers.clone(), start),
            connections: BTreeMap::new(),
            next_conn: 0,
            standing: if config.idempotence { Standing::Needed } else { Standing::Off },
            producer_id: sessions::ProducerIdRequest::default(),
            without_identity: List::EMPTY,
            jobs: Jobs::new(jobs),
            mechanism: mechanism::Mechanism::default(),
            sasl_by_jobs: false,
            tokens: tokens::Tokens::default(),
            #[cfg(feature = "scram")]
            scram: auth::Scram::new(seed),
            denied: None,
            without_job: List::EMPTY,
            compressor: Compressor::default(),
            partitioner: config.round_robin.then(|| Box::new(RoundRobinPartitioner::default()) as Box<dyn Partitioner>),
            growth: growth_time(&config),
            largest_record,
            retry_backoff,
            reconnect_backoff: Backoff::new(config.reconnect_backoff, config.reconnect_backoff_max),
            refusal_backoff: Backoff::new(config.reconnect_backoff_max, config.reconnect_backoff_max * 10),
            setup_backoff: Backoff::new(config.connection_setup_timeout, config.connection_setup_timeout_max),
            flushes: Flushes::default(),
            due_below: 0,
            timeout_at: Instant::ZERO,
            starved: None,
            spare_entries: Vec::new(),
            last_wait: None,
            awake: false,
            listing: sessions::Listing::default(),
            stats: Stats::default(),
            config,
        }
    }

    /// Lets `partitioner` choose for records that name no partition, in place of Java's rules (murmur2 of the key, sticky
    /// without one).
    pub fn set_partitioner(&mut self, partitioner: Box<dyn Partitioner>) {
        self.partitioner = Some(partitioner);
    }

    /// Answers the challenges of a SASL mechanism that is not built in (`sasl.mechanism`), in place of one that was given before.
    /// Who waits for the one before is served by this one, once [`security_renewed`](Self::security_renewed) is said.
    pub fn set_sasl_mechanism(&mut self, mechanism: Box<dyn SaslMechanism>) {
        self.mechanism.give(mechanism);
    }

    /// Authentication is done by jobs, even if `compression.jobs` asks for none: it may wait for others.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn authenticate_by_jobs(&mut self) {
        self.sasl_by_jobs = true;
    }

    /// Takes other credentials, from the next connection or re-authentication on. Does nothing if `security.protocol` has no
    /// SASL. [`security_renewed`](Self::security_renewed) makes that soon, where the old ones were refused.
    pub fn set_sasl(&mut self, sasl: Sasl) {
        if self.config.sasl.is_some() {
            self.config.sasl = Some(sasl);
        }
    }

    /// Takes a record: copies it into the open batch of its partition. Never waits.
    ///
    /// # Errors
    /// See [`SendError`]: nothing was kept of the record, and each variant says when to try again, if ever.
    #[inline]
    pub fn send(&mut self, now: Instant, record: &Record<'_>) -> Result<Sent, SendError> {
        let now = self.clock(now);
        self.accept(now, record)
    }

    /// Asks for a topic's partitions; [`Event::TopicReady`] or [`Event::TopicFailed`] follows. Refreshes what is known.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::Fatal`].
    pub fn want_topic(&mut self, now: Instant, topic: &str) -> Result<TopicIndex, SendError> {
        let now = self.clock(now);
        self.check_running()?;
        let index = self.topics.add(now, topic);
        self.topics.ask(now, index);
        self.check_access()?;
        Ok(TopicIndex(index))
    }

    /// Asks which topics the cluster has, for those who want to look; [`Event::TopicsListed`] follows when a server
    /// answers. Creates none, and keeps nothing of the answer but the brokers.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::Fatal`].
    pub fn list_topics(&mut self, now: Instant) -> Result<(), SendError> {
        self.clock(now);
        self.check_running()?;
        self.listing.want();
        self.check_access()
    }

    /// A topic's partitions as far as they are known (Java's `partitionsFor`); `None` until then.
    pub fn partitions(&self, topic: &str) -> Option<Vec<PartitionInfo>> {
        let topic = &self.topics[self.topics.look(topic)?];
        let info = |index: &u32| {
            let partition = &self.partitions[*index];
            let leader = partition.leader.map(|leader| self.brokers[leader].id);
            PartitionInfo { partition: partition.number, leader, leader_epoch: partition.leader_epoch }
        };
        (topic.count > 0).then(|| topic.partitions[..topic.count].iter().map(info).collect())
    }

    /// Makes everything accepted so far leave without lingering. [`Event::Flushed`] follows when each of these records
    /// has been named by a delivery.
    pub fn flush(&mut self, now: Instant) -> FlushId {
        self.clock(now);
        self.due_below = self.batches.next_serial();
        self.flushes.begin(self.due_below)
    }

    /// Takes no more records, delivers what is open, then closes all connections. [`Event::Closed`] follows.
    pub fn close(&mut self, now: Instant) {
        self.clock(now);
        match self.phase {
            Phase::Running => {
                self.due_below = self.batches.next_serial();
                self.phase = Phase::Closing;
            }
            Phase::Failed(_) => self.phase = Phase::Aborting,
            Phase::Closing | Phase::Aborting | Phase::Closed => {}
        }
    }

    /// Takes no more records and fails what is open, then closes all connections. [`Event::Closed`] follows.
    pub fn abort(&mut self, now: Instant) {
        self.clock(now);
        if self.phase != Phase::Closed {
            self.phase = Phase::Aborting;
        }
    }

    /// Tells the machine what happened. Infallible: what it thinks of it, it says by [`poll_output`](Self::poll_output).
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        let now = self.clock(now);
        match input {
            Input::Connected(conn) => self.connected(now, conn),
            Input::Disconnected(conn, cause) => self.disconnected(now, conn, cause),
            Input::Data(conn, bytes) => self.received(now, conn, bytes),
            Input::Done(done) => self.job_done(now, done),
            Input::Token(token) => self.token_known(now, token.map_err(ToString::to_string)),
            Input::Timeout => self.timed_out(now),
            Input::WallClock(time) => self.wall = Some((now, time)),
        }
    }

    /// The next thing to do. Drain until [`Output::Wait`].
    pub fn poll_output(&mut self) -> Output {
        if !self.sasl_by_jobs {
            drop(self.mechanism.take_over());
        }
        loop {
            match self.outbox.take() {
                Some(Item::Output(output)) => return output,
                Some(Item::Delivery(slot, outcome)) => {
                    let batch = &self.batches[slot];
                    let partition = &self.partitions[batch.partition];
                    let delivery = Delivery {
                        batch: batch.id(),
                        records: batch.range(),
                        topic: TopicIndex(partition.topic),
                        partition: partition.number,
                        outcome,
                    };
                    self.batches.delivered(slot);
                    return Output::Event(Event::Delivered(delivery));
                }
                None if self.step() => {}
                None if self.pool.has_lent() && self.reclaim() => {}
                None => {
                    self.awake = false;
                    self.last_wait = self.next_deadline();
                    return Output::Wait(self.last_wait);
                }
            }
        }
    }

    /// What to write on a connection now. Produce requests are formed here, as late as can be.
    pub fn transmit(&mut self, now: Instant, conn: ConnId) -> Transmit<'_> {
        let now = self.clock(now);
        self.lay_out(now, conn);
        Transmit { producer: self, conn, now }
    }

    /// `n` bytes of what [`transmit`](Self::transmit) showed were written: for hosts that wrote clones of its segments.
    /// Does nothing for a connection that is gone.
    pub fn written(&mut self, now: Instant, conn: ConnId, n: usize) {
        let now = self.clock(now);
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let unanswered = connection.written(now, n);
        self.watch(conn);
        if let Some(request) = unanswered {
            self.delivered_unanswered(now, request);
        }
        self.reclaim();
    }

    /// True once if a drain would now say something other than the last [`Output::Wait`]: wake the party that drains.
    #[inline]
    pub fn take_wake(&mut self) -> bool {
        if self.awake {
            return false;
        }
        let sooner = match (self.next_deadline(), self.last_wait) {
            (Some(next), Some(last)) => next < last,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.awake = sooner || !self.outbox.is_empty() || self.has_step();
        self.awake
    }

    /// The name of a topic.
    pub fn topic_name(&self, topic: TopicIndex) -> &str {
        &self.topics[topic.0].name
    }

    /// The last error that the cluster answered for a topic, such as `UNKNOWN_TOPIC_OR_PARTITION` while it does not
    /// exist; `None` after a success.
    pub fn topic_error(&self, topic: TopicIndex) -> Option<ErrorCode> {
        self.topics[topic.0].last_error
    }

    /// Why the cluster refuses a topic, if that was its last answer.
    pub fn topic_refusal(&self, topic: &str) -> Option<ErrorCode> {
        match self.topics[self.topics.look(topic)?].standing {
            topics::Standing::Refused(code) => Some(code),
            topics::Standing::Unknown | topics::Standing::Known => None,
        }
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes of `buffer.memory` in use.
    pub fn buffered(&self) -> usize {
        self.pool.used()
    }

    /// Produce requests that wait for an answer, on all connections.
    pub fn in_flight(&self) -> usize {
        self.connections.values().map(Connection::produce_in_flight).sum()
    }

    /// Whether [`Event::Closed`] was said.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The last trouble with a server that has not answered since: where, what, how long ago. `None` if all is well.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn trouble(&self) -> Option<alloc::string::String> {
        self.brokers.trouble(self.now)
    }

    /// Why a batch may not have been delivered: the trouble with its leader, or with finding one.
    fn trouble_of(&self, slot: u32) -> Option<alloc::string::String> {
        match self.partitions[self.batches[slot].partition].leader {
            Some(leader) => self.brokers.trouble_of(leader, self.now),
            None => self.brokers.trouble(self.now),
        }
    }

    /// What of the application's code is not needed any more: to be dropped where it may do what it likes.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn take_over(&mut self) -> Vec<Over> {
        self.mechanism.take_over()
    }

    /// Records that were accepted and not delivered, nor have failed.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn open_records(&self) -> u64 {
        self.stats.records_accepted - self.stats.records_delivered - self.stats.records_failed
    }

    /// Bytes that a record takes at most, of `buffer.memory` and of a request.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn size_at_most(record: &Record<'_>) -> usize {
        crate::batch::Content::new(0, record.key, record.value, record.headers).alone_at_most()
    }

    /// Bytes of `buffer.memory` that are free.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn free_memory(&self) -> usize {
        self.pool.available()
    }

    /// Makes what lingers leave, and says [`Event::Writable`] when memory comes back and that much is free.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn await_memory(&mut self, bytes: usize) {
        self.due_below = self.batches.next_serial();
        self.starved = Some(bytes.min(self.pool.largest()));
    }

    /// The brokers of the newest metadata: node id, host, port.
    pub fn brokers(&self) -> Vec<(i32, &str, u16)> {
        let brokers = (0..self.brokers.len()).map(|index| &self.brokers[index]);
        brokers.filter(|broker| broker.current).map(|broker| (broker.id, &*broker.host, broker.port)).collect()
    }

    /// What the producer was configured with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn segments(&self, conn: ConnId) -> impl Iterator<Item = &Bytes> {
        self.connections.get(&conn).into_iter().flat_map(|connection| connection.segments())
    }

    /// Time never goes back.
    #[inline]
    fn clock(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    fn check_running(&self) -> Result<(), SendError> {
        match &self.phase {
            Phase::Running => Ok(()),
            Phase::Failed(fatal) => Err(SendError::Fatal(fatal.clone())),
            Phase::Closing | Phase::Aborting | Phase::Closed => Err(SendError::Closed),
        }
    }

    /// The last servers asked let this client in, or none was asked yet.
    fn check_access(&self) -> Result<(), SendError> {
        self.denied.clone().map_or(Ok(()), |error| Err(SendError::AccessDenied(error)))
    }

    /// The next moment at which something has to happen without an input.
    #[inline]
    fn next_deadline(&self) -> Option<Instant> {
        let lingering = self.batches.oldest_lingering().map(|slot| self.linger_ends(slot));
        let oldest = self.batches.oldest().map(|slot| self.expires(slot));
        [lingering, oldest, self.timers.first()].into_iter().flatten().min()
    }

    fn linger_ends(&self, slot: u32) -> Instant {
        self.batches[slot].created + self.config.linger
    }

    fn expires(&self, slot: u32) -> Instant {
        self.batches[slot].created + self.config.delivery_timeout
    }

    /// `Input::Timeout`: everything whose time has come. Batches are marked by a watermark, and met one at a time.
    fn timed_out(&mut self, now: Instant) {
        self.timeout_at = now;
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                timers::Timer::Connection(conn) => self.check_connection(now, conn),
                timers::Timer::Broker(broker) => self.attend(broker),
                timers::Timer::Partition(partition) => {
                    self.partitions[partition].backoff = None;
                    self.list_if_ready(partition);
                }
                timers::Timer::Token => self.look_after_token(now),
                timers::Timer::Jobs => self.look_after_jobs(now),
                // Seen by the next step.
                timers::Timer::Metadata | timers::Timer::ProducerId | timers::Timer::Control => {}
            }
        }
        self.reclaim();
    }

    fn job_done(&mut self, now: Instant, done: JobDone) {
        match done.result {
            jobs::Outcome::Compressed { id, compressed, chunks } => {
                drop(chunks); // so that their memory comes back at once
                self.compression_done(id, compressed);
                self.reclaim(); // also if the batch has gone meanwhile
            }
            #[cfg(feature = "scram")]
            jobs::Outcome::Derived { conn, derivation, keys } => self.derived(now, conn, derivation, keys),
            jobs::Outcome::Stepped { conn, stepped } => self.stepped(now, conn, stepped),
            #[cfg(feature = "scram")]
            jobs::Outcome::Nothing => {}
        }
    }

    /// Whether [`step`](Self::step) has something to do.
    fn has_step(&self) -> bool {
        let doomed = matches!(self.phase, Phase::Failed(_) | Phase::Aborting);
        match self.batches.oldest() {
            Some(slot) if doomed || self.expires(slot) <= self.timeout_at => return true,
            Some(_) => {}
            None if matches!(self.phase, Phase::Closing | Phase::Aborting) => return true,
            None => {}
        }
        self.batches.oldest_lingering().is_some_and(|slot| self.is_due(slot))
            || (self.jobs.has_room() && !self.without_job.is_empty())
            || self.flush_is_complete()
            || self.control_is_due()
    }

    /// One piece of work that earlier calls left; false if there is none.
    fn step(&mut self) -> bool {
        if let Some(slot) = self.batches.oldest() {
            let kind = match &self.phase {
                Phase::Failed(fatal) => Some(DeliveryErrorKind::Fatal(fatal.clone())),
                Phase::Aborting => Some(DeliveryErrorKind::Aborted),
                _ if self.expires(slot) <= self.timeout_at => {
                    Some(DeliveryErrorKind::TimedOut(self.batches[slot].last_error))
                }
                Phase::Running | Phase::Closing | Phase::Closed => None,
            };
            if let Some(kind) = kind {
                let waited = matches!(kind, DeliveryErrorKind::TimedOut(_) | DeliveryErrorKind::Aborted);
                let why = if waited { self.trouble_of(slot).map(alloc::string::String::into_boxed_str) } else { None };
                self.fail(slot, kind, why);
                return true;
            }
        }
        if let Some(slot) = self.batches.oldest_lingering().filter(|slot| self.is_due(*slot)) {
            self.make_due(slot);
            return true;
        }
        if self.start_job() {
            return true;
        }
        let oldest = self.batches.oldest().map(|slot| self.batches[slot].serial);
        if let Some((id, failed)) = self.flushes.take_complete(oldest) {
            self.outbox.event(Event::Flushed { id, failed });
            return true;
        }
        if oldest.is_none() && matches!(self.phase, Phase::Closing | Phase::Aborting) {
            self.close_one();
            return true;
        }
        self.pursue_control()
    }

    fn is_due(&self, lingering: u32) -> bool {
        self.batches[lingering].serial < self.due_below || self.linger_ends(lingering) <= self.timeout_at
    }

    fn flush_is_complete(&self) -> bool {
        let oldest = self.batches.oldest().map(|slot| self.batches[slot].serial);
        self.flushes.is_complete(oldest)
    }

    /// Nothing is open any more: closes a connection, or is closed.
    fn close_one(&mut self) {
        match self.connections.pop_first() {
            Some((conn, _)) => {
                self.timers.clear(timers::Timer::Connection(conn));
                self.outbox.output(Output::Disconnect(conn));
            }
            None => {
                self.phase = Phase::Closed;
                self.timers = Timers::default();
                self.outbox.event(Event::Closed);
            }
        }
    }

    /// Looks for memory that writers let go of, and tells who waits for it. Returns whether some came back.
    fn reclaim(&mut self) -> bool {
        let back = self.pool.has_lent() && self.pool.reclaim(8);
        self.tell_writable();
        back
    }

    fn tell_writable(&mut self) {
        if self.starved.is_some_and(|needed| needed <= self.pool.available()) {
            self.starved = None;
            self.outbox.event(Event::Writable { bytes: self.pool.available() });
        }
    }

    /// The margin by which a request may be late beyond what the broker was told.
    fn request_patience(&self) -> Duration {
        self.config.request_timeout + (self.config.request_timeout / 8).min(Duration::from_secs(2))
    }
}

/// How long after its first record a batch may take more, at most: so that growth never makes a late record expire before
/// nine tenths of its own `delivery.timeout.ms` (where `linger.ms` leaves that much).
fn growth_time(config: &Config) -> Duration {
    let tenth = config.delivery_timeout / 10;
    (config.linger + tenth.min(Duration::from_secs(1))).min(config.linger.max(tenth))
}
