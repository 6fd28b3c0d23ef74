//! What the machine's users call.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::{Config, Sasl};
use crate::connection::sasl::SaslMechanism;
use crate::connection::{Phase as ConnectionPhase, RequestKind};
use crate::error::{ErrorCode, SendError};
use crate::event::{Delivery, Event, Input, Output, PartitionInfo, Sent};
use crate::ids::{ConnId, FlushId, TopicIndex};
use crate::memory;
use crate::metrics::Stats;
use crate::planted::planted;
use crate::producer::control::brokers::Broker;
use crate::producer::control::requests::Question;
use crate::producer::lifecycle::Phase;
use crate::producer::outbox::Item;
use crate::producer::records::partitioner::Partitioner;
use crate::producer::records::topics;
#[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
use crate::producer::sessions::mechanism::Over;
use crate::producer::{Producer, Transmit};
use crate::record::Record;
use crate::time::Instant;

impl Producer {
    /// Lets `partitioner` choose for records that name no partition, in place of Java's rules (murmur2 of the key, sticky
    /// without one).
    pub fn set_partitioner(&mut self, partitioner: Box<dyn Partitioner>) {
        self.records.partitioner = Some(partitioner);
    }

    /// Answers the challenges of a SASL mechanism that is not built in (`sasl.mechanism`), in place of one that was given before.
    /// Who waits for the one before is served by this one, once [`security_renewed`](Self::security_renewed) is said.
    pub fn set_sasl_mechanism(&mut self, mechanism: Box<dyn SaslMechanism>) {
        self.sessions.mechanism.give(mechanism);
    }

    /// Authentication is done by jobs, even if `compression.jobs` asks for none: it may wait for others.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn authenticate_by_jobs(&mut self) {
        self.sessions.sasl_by_jobs = true;
    }

    /// Takes other credentials, from the next connection or re-authentication on. Does nothing if `security.protocol` has no
    /// SASL. [`security_renewed`](Self::security_renewed) makes that soon, where the old ones were refused.
    pub fn set_sasl(&mut self, sasl: Sasl) {
        if self.config.sasl.is_some() {
            self.config.sasl = Some(sasl);
        }
    }

    /// Takes a record: copies it into the open batch of its partition, but for a large value that [may be
    /// shared](Record::value_bytes). Never waits.
    ///
    /// # Errors
    /// See [`SendError`]: nothing was kept of the record, and each variant says when to try again, if ever.
    #[inline]
    pub fn send(&mut self, now: Instant, record: &Record<'_>) -> Result<Sent, SendError> {
        self.now = self.now.max(now);
        let sent = self.accept(self.now, record);
        if !matches!(&sent, Ok(sent) if sent.id.index > 0) {
            self.nothing_new = false;
        }
        sent
    }

    /// Asks for a topic's partitions; [`Event::TopicReady`] or [`Event::TopicFailed`] follows. Refreshes what is known.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::Fatal`]; [`SendError::TopicFailed`] for a name that no broker takes;
    /// [`SendError::NoMemory`].
    pub fn want_topic(&mut self, now: Instant, topic: &str) -> Result<TopicIndex, SendError> {
        let now = self.clock(now);
        self.check_running()?;
        if !topics::is_legal(topic) {
            return Err(SendError::TopicFailed(ErrorCode::INVALID_TOPIC_EXCEPTION));
        }
        self.check_memory()?;
        let index = self.records.topics.add(now, topic);
        self.records.topics.ask(now, index);
        self.check_access()?;
        Ok(TopicIndex(index))
    }

    /// Asks which topics the cluster has, for those who want to look; [`Event::TopicsListed`] follows when a server
    /// answers, or [`Event::TopicsNotListed`]. Creates none, and keeps nothing of the answer but the brokers.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Fatal`] or [`SendError::NoMemory`].
    pub fn list_topics(&mut self, now: Instant) -> Result<(), SendError> {
        self.clock(now);
        self.check_running()?;
        self.check_memory()?;
        self.control.listing.want();
        self.check_access()
    }

    /// Nobody waits for the list of topics any more: it is not asked for again, and no event follows. A server that has not
    /// answered is asked after the others from now on.
    pub fn cancel_list_topics(&mut self, now: Instant) {
        self.clock(now);
        if core::mem::take(&mut self.control.listing) != Question::Idle {
            self.give_way(RequestKind::TopicList);
        }
    }

    /// Asks any server whether it is there (ApiVersions, which needs no rights); [`Event::Pong`] follows when one answers, however
    /// long that takes. Said again meanwhile, it asks at once if the last failure is waited out, and else does nothing: one
    /// answer is for all.
    ///
    /// # Errors
    /// [`SendError::Closed`] or [`SendError::Fatal`]; [`SendError::AccessDenied`] if no server lets this client in.
    pub fn ping(&mut self, now: Instant) -> Result<(), SendError> {
        self.clock(now);
        self.check_running()?;
        self.control.ping.want();
        self.check_access()
    }

    /// Nobody waits for the pong any more: no server is asked again, and no event follows. One that has not answered is asked after
    /// the others from now on; if it answers after all, that is the pong of whoever has said [`ping`](Self::ping) again meanwhile.
    pub fn cancel_ping(&mut self, now: Instant) {
        self.clock(now);
        if !planted("ping-is-wanted-for-ever") && core::mem::take(&mut self.control.ping) != Question::Idle {
            self.give_way(RequestKind::Ping);
        }
    }

    /// A topic's partitions as far as they are known (Java's `partitionsFor`); `None` until then.
    pub fn partitions(&self, topic: &str) -> Option<Vec<PartitionInfo>> {
        let topic = &self.records.topics[self.records.topics.look(topic)?];
        let info = |index: &u32| {
            let partition = &self.records.partitions[*index];
            let leader = partition.leader.map(|leader| self.control.brokers[leader].id);
            PartitionInfo { partition: partition.number, leader, leader_epoch: partition.leader_epoch }
        };
        (topic.count > 0).then(|| topic.partitions[..topic.count].iter().map(info).collect())
    }

    /// Makes everything accepted so far leave without lingering. [`Event::Flushed`] follows when each of these records
    /// has been named by a delivery.
    pub fn flush(&mut self, now: Instant) -> FlushId {
        self.clock(now);
        self.all_is_due();
        self.records.flushed_below = self.records.due_below;
        self.life.flushes.begin(self.records.due_below)
    }

    /// Takes no more records, delivers what is open, then closes all connections. [`Event::Closed`] follows.
    pub fn close(&mut self, now: Instant) {
        self.clock(now);
        match &self.life.phase {
            Phase::Running => {
                self.all_is_due();
                self.life.phase = Phase::Closing;
            }
            Phase::Failed(fatal) => self.life.phase = Phase::Ending(fatal.clone()),
            Phase::Closing | Phase::Aborting | Phase::Ending(_) | Phase::Closed => {}
        }
    }

    /// Takes no more records and fails what is open, then closes all connections. [`Event::Closed`] follows.
    pub fn abort(&mut self, now: Instant) {
        self.clock(now);
        match &self.life.phase {
            Phase::Running | Phase::Closing => self.life.phase = Phase::Aborting,
            Phase::Failed(fatal) => self.life.phase = Phase::Ending(fatal.clone()),
            Phase::Aborting | Phase::Ending(_) | Phase::Closed => {}
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
        if !self.sessions.sasl_by_jobs {
            drop(self.sessions.mechanism.take_over());
        }
        loop {
            match self.outbox.take() {
                Some(Item::Output(output)) => return output,
                Some(Item::Delivery(slot, outcome)) => {
                    let batch = &self.records.batches[slot];
                    if outcome.is_err() {
                        // A flush that was asked for before the host hears of it counts it.
                        self.life.flushes.failed(batch.serial, batch.records.count());
                    }
                    let partition = &self.records.partitions[batch.partition];
                    let delivery = Delivery {
                        batch: batch.id(),
                        records: batch.range(),
                        topic: TopicIndex(partition.topic),
                        partition: partition.number,
                        outcome,
                    };
                    self.records.batches.delivered(slot);
                    self.count_entries();
                    self.tell_writable();
                    return Output::Event(Event::Delivered(delivery));
                }
                None if self.step() => {}
                None if self.records.pool.has_lent() && self.reclaim() => {}
                None => {
                    debug_assert!(self.outbox.is_empty() || planted("denied-is-no-news"), "what is said is taken");
                    (self.awake, self.nothing_new) = (false, true);
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

    /// `n` bytes of what [`transmit`](Self::transmit) showed were written: for hosts that wrote clones of its segments. Call
    /// it for a connection that is gone, too, once the clones are dropped: their memory is looked for.
    pub fn written(&mut self, now: Instant, conn: ConnId, n: usize) {
        let now = self.clock(now);
        if let Some(connection) = self.sessions.connections.get_mut(&conn) {
            let before = connection.requests_written;
            let unanswered = connection.written(now, n);
            let (server, requests) = (connection.server, connection.requests_written - before);
            self.measure_written(server, n, requests);
            self.watch(conn);
            if let Some(request) = unanswered {
                self.was_of_use(conn); // nobody will say so
                self.delivered_unanswered(now, request);
            }
        }
        self.reclaim();
    }

    /// Gives a connection up whose socket the host needs for another: for hosts with few of them. What was asked on it is still
    /// answered, nothing more is asked, and [`Output::Disconnect`] follows when no request is open. It counts as
    /// no failure, and the broker is connected to again as soon as there is something for it, and no pause that it asked for lasts. Returns
    /// whether that comes to be: not for a connection that is gone, or not ready yet.
    pub fn release(&mut self, now: Instant, conn: ConnId) -> bool {
        self.clock(now);
        let Some(connection) = self.sessions.connections.get_mut(&conn) else { return false };
        if connection.phase != ConnectionPhase::Ready {
            return false;
        }
        connection.leaving = true;
        self.watch(conn);
        true
    }

    /// True once if a drain would now say something other than the last [`Output::Wait`]: wake the party that drains.
    #[inline]
    pub fn take_wake(&mut self) -> bool {
        if self.awake || self.nothing_new {
            return false;
        }
        self.look_for_more()
    }

    #[cold]
    fn look_for_more(&mut self) -> bool {
        self.nothing_new = true;
        let sooner = match (self.next_deadline(), self.last_wait) {
            (Some(next), Some(last)) => next < last,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.awake = sooner || !self.outbox.is_empty() || (self.has_step() && !planted("steps-wake-nobody"));
        self.awake
    }

    /// The name of a topic. Indices are the producer's that gave them: one of another names nothing (then this is empty), or
    /// some other topic.
    pub fn topic_name(&self, topic: TopicIndex) -> &str {
        self.records.topics.get(topic.0).map_or("", |topic| &topic.name)
    }

    /// The last error that the cluster answered for a topic, such as `UNKNOWN_TOPIC_OR_PARTITION` while it does not
    /// exist; `None` after a success.
    pub fn topic_error(&self, topic: TopicIndex) -> Option<ErrorCode> {
        self.records.topics.get(topic.0)?.last_error
    }

    /// Why the cluster refuses a topic, if that was its last answer.
    pub fn topic_refusal(&self, topic: &str) -> Option<ErrorCode> {
        match self.records.topics[self.records.topics.look(topic)?].standing {
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
        self.records.pool.used()
    }

    /// Produce requests that wait for an answer, on all connections.
    pub fn in_flight(&self) -> usize {
        self.sessions.connections.values().map(|connection| connection.produce_in_flight()).sum()
    }

    /// Whether [`Event::Closed`] was said.
    pub fn is_closed(&self) -> bool {
        self.life.phase == Phase::Closed
    }

    /// What of the application's code is not needed any more: to be dropped where it may do what it likes.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn take_over(&mut self) -> Vec<Over> {
        self.sessions.mechanism.take_over()
    }

    /// Records that were accepted and not delivered, nor have failed.
    pub(crate) fn open_records(&self) -> u64 {
        self.stats.records_accepted - self.stats.records_delivered - self.stats.records_failed
    }

    /// Bytes of `buffer.memory` that a record takes, if a batch has to be begun for it.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] if there may never be as much.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn size_at_most(&self, record: &Record<'_>) -> Result<usize, SendError> {
        let content = crate::batch::Content::new(0, record.key, record.value, record.headers);
        if !planted("too-large-waits") {
            self.check_size(&content)?;
        }
        Ok(crate::batch::ENTRY + content.alone_at_most())
    }

    /// Bytes of `buffer.memory` that are free.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn free_memory(&self) -> usize {
        self.records.pool.available()
    }

    /// Whether it takes records: it was not closed, and has not failed for good.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn takes_records(&self) -> bool {
        self.life.phase == Phase::Running
    }

    /// Bytes of `buffer.memory` that any record may need, at most.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn largest_room(&self) -> usize {
        self.records.pool.capacity()
    }

    /// Makes what lingers leave, and says [`Event::Writable`] when memory comes back and that much is free.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn await_memory(&mut self, bytes: usize) {
        self.records.starved = Some(bytes.min(self.records.pool.capacity()));
        self.all_is_due();
        self.look_again_for_memory();
    }

    /// The brokers of the newest metadata: node id, host, port.
    pub fn brokers(&self) -> Vec<(i32, &str, u16)> {
        let place = |broker: &Broker| {
            let server = &self.control.servers[broker.server];
            (broker.id, &*server.host, server.port)
        };
        self.control.brokers.current().map(|(_, broker)| place(broker)).collect()
    }

    /// What the producer was configured with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn segments(&self, conn: ConnId) -> impl Iterator<Item = &Bytes> {
        self.sessions.connections.get(&conn).into_iter().flat_map(|connection| connection.segments())
    }

    /// Time never goes back.
    #[inline]
    fn clock(&mut self, now: Instant) -> Instant {
        self.nothing_new = false;
        self.now = self.now.max(now);
        self.now
    }

    pub(super) fn check_running(&self) -> Result<(), SendError> {
        match &self.life.phase {
            Phase::Running => Ok(()),
            Phase::Failed(fatal) => Err(SendError::Fatal(fatal.clone())),
            Phase::Closing | Phase::Aborting | Phase::Ending(_) | Phase::Closed => Err(SendError::Closed),
        }
    }

    /// There is memory to ask about another topic: and for connections, if there is none yet.
    pub(super) fn check_memory(&mut self) -> Result<(), SendError> {
        let needed = self.records.pool.spare;
        let lacked = self.sessions.no_memory;
        if lacked.is_none() && self.records.pool.make_room_for_records(0) {
            return Ok(());
        }
        Err(SendError::NoMemory { needed: needed.max(lacked.unwrap_or(0) + memory::LEFT) })
    }

    /// The last servers asked let this client in, or none was asked yet.
    pub(super) fn check_access(&self) -> Result<(), SendError> {
        self.sessions.denied.clone().map_or(Ok(()), |error| Err(SendError::AccessDenied(error)))
    }
}
