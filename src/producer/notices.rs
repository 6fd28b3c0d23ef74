//! What people are told of what the machine goes through: by the log, and by events for those who asked for them. The log calls
//! topics and servers by their names, says each trouble once and then once a minute (see `alarms`), and when it is over. It never
//! holds anything of a record.

use core::time::Duration;

use crate::connection::{Connection, Entry, Role};
use crate::error::{ConnectionError, DeliveryError, DeliveryErrorKind, ErrorCode};
use crate::event::Event;
use crate::ids::{ConnId, TopicIndex};
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::alarms::Subject;
use crate::producer::delivery::idempotence::{Identity, Standing};
use crate::producer::records::batches::State;
use crate::time::Instant;
use crate::why::{ServerName, Span};
use crate::wire::Api;

/// How long it may take until a new topic is there.
const CREATION: Duration = Duration::from_secs(2);

/// Brokers forget a producer whose records are older, if they have the default for `producer.id.expiration.ms`. In milliseconds.
const PRODUCER_ID_EXPIRATION: i64 = 24 * 3600 * 1000;

/// 2020-01-01, in milliseconds of Unix time: no clock that is right says less. Firmware often begins in 1970, or when it was built.
const EARLIEST: i64 = 1_577_836_800_000;

impl Producer {
    /// From now on (or no longer) also events that change nothing for a host are given: [`Event::Connected`], [`Event::Retried`],
    /// [`Event::LeaderMoved`], [`Event::ProducerIdChanged`].
    pub fn observe(&mut self, wanted: bool) {
        self.observed = wanted;
    }

    /// A connection could not be made, or broke.
    pub(super) fn say_trouble(&mut self, now: Instant, connection: &Connection, error: &ConnectionError) {
        let serial = self.control.servers[connection.server].serial;
        if let Some(tally) = self.alarms.raise(now, Subject::Server(serial)) {
            log::warn!("{}:{}: {error}{tally}", connection.host, connection.port);
        }
    }

    /// A server answered a request.
    pub(super) fn say_answered(&mut self, server: u32) {
        let server = &self.control.servers[server];
        if let Some(lasted) = self.alarms.lower(self.now, |subject, _| subject == Subject::Server(server.serial)) {
            log::info!("{}:{} answers again, after {lasted}", server.host, server.port);
        }
    }

    /// A connection may be used.
    pub(super) fn say_ready(&mut self, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else { return };
        log::debug!("{}:{} is ready ({conn})", connection.host, connection.port);
        if let Some(lasted) = self.alarms.lower(self.now, |subject, _| subject == Subject::Access) {
            log::info!("this client is let in again, after {lasted}");
        }
        if self.observed {
            let node = match connection.role {
                Role::Broker(broker) => Some(self.control.brokers[broker].id),
                Role::Control => None,
            };
            let server = ServerName { node, host: connection.host.clone(), port: connection.port };
            self.outbox.event(Event::Connected { conn, server });
        }
    }

    /// No server lets this client in.
    pub(super) fn say_denied(&mut self, error: &ConnectionError) {
        if let Some(tally) = self.alarms.raise(self.now, Subject::Access) {
            log::error!("no server lets this client in: {error}{tally}");
        }
    }

    /// A broker asked for a pause, in its answer to such a request.
    pub(super) fn say_pause(&mut self, conn: ConnId, api: Api, pause: Duration) {
        let Some(connection) = self.sessions.connections.get(&conn) else { return };
        let subject = Subject::Pause(self.control.servers[connection.server].serial);
        if let Some(tally) = self.alarms.raise_at(self.now, subject, api as u32) {
            let (host, port) = (&connection.host, connection.port);
            log::warn!("{host}:{port} asks for a pause of {} (a quota){tally}", Span(pause));
        }
    }

    /// A broker asked for none. Quotas differ by request, so that of another one is not over.
    pub(super) fn say_no_pause(&mut self, conn: ConnId, api: Api) {
        if self.alarms.is_empty() {
            return;
        }
        let Some(connection) = self.sessions.connections.get(&conn) else { return };
        let of_it = Subject::Pause(self.control.servers[connection.server].serial);
        if let Some(lasted) = self.alarms.lower(self.now, |subject, by| subject == of_it && by == api as u32) {
            log::info!("{}:{} asks for no more pauses, after {lasted}", connection.host, connection.port);
        }
    }

    /// There is another producer id, or another epoch of it.
    pub(super) fn say_producer_id(&mut self) {
        let Standing::Known(Identity { producer_id, epoch }) = self.identity.standing else { return };
        log::debug!("producer id {producer_id}, epoch {epoch}");
        if let Some(lasted) = self.alarms.lower(self.now, |subject, _| subject == Subject::ProducerId) {
            log::info!("there is a producer id again, after {lasted}");
        }
        if self.observed {
            self.outbox.event(Event::ProducerIdChanged { producer_id, epoch });
        }
    }

    /// A broker refused to give a producer id.
    pub(super) fn say_no_producer_id(&mut self, now: Instant, server: u32, code: ErrorCode) {
        if let Some(tally) = self.alarms.raise(now, Subject::ProducerId) {
            let server = &self.control.servers[server];
            log::warn!("{}:{} gives no producer id: {code}{tally}", server.host, server.port);
        }
    }

    /// The cluster has told something of a topic, or an error.
    pub(super) fn say_topic(&mut self, index: u32) {
        let topic = &self.records.topics[index];
        match topic.last_error {
            Some(code) => {
                // A topic that is being created is unknown, or without leaders, for a moment.
                let patience = if matches!(code.code(), 3 | 5) { CREATION } else { Duration::ZERO };
                let subject = Subject::Topic(index, code.code());
                if let Some(tally) = self.alarms.raise_after(patience, self.now, subject, 0) {
                    log::warn!("topic {}: {code}{tally}", topic.name);
                }
            }
            None if self.alarms.is_empty() => {}
            None => {
                let of_it = |subject, _| matches!(subject, Subject::Topic(topic, _) if topic == index);
                if let Some(lasted) = self.alarms.lower(self.now, of_it) {
                    log::info!("topic {} is known, after {lasted}", topic.name);
                }
            }
        }
    }

    /// An attempt is over: whether its batch will be sent again, which is told. `code`: the answer, if there was one.
    pub(super) fn say_if_retried(&mut self, now: Instant, entry: &Entry, code: Option<ErrorCode>) {
        let batch = match self.records.batches.generation(entry.slot) == entry.generation {
            true => &self.records.batches[entry.slot],
            false => return,
        };
        if !matches!(batch.state, State::Waiting | State::Closed | State::Due) {
            return;
        }
        let (attempt, records, place) = (batch.attempt, batch.records.count(), batch.partition);
        let newest = batch.records.max_timestamp();
        // What is not answered is told by the server's trouble.
        if let Some(code) = code {
            if let Some(tally) = self.alarms.raise_at(now, Subject::Answers(entry.topic, code.code()), place) {
                let name = &self.records.topics[entry.topic].name;
                log::warn!("topic {name}, partition {}: {code}: sent again{tally}", entry.number);
            }
        } else {
            self.say_if_aged(now, entry, newest);
        }
        if self.observed {
            let (topic, partition) = (TopicIndex(entry.topic), entry.number);
            self.outbox.event(Event::Retried { topic, partition, code, attempt, records });
        }
    }

    /// A batch is sent again, without an answer to the attempt before; `newest` is its latest timestamp. What a broker knows of a
    /// producer ages by the timestamps of its records: where they are too old, and it was started in between, it takes them twice.
    fn say_if_aged(&mut self, now: Instant, entry: &Entry, newest: i64) {
        let topic = &self.records.topics[entry.topic];
        let age = self.time_of_day(now).saturating_sub(newest);
        // Where there is no right clock here, the brokers have one.
        let before_all_clocks = newest < EARLIEST && !planted("any-clock-is-right");
        let is_aged = age >= PRODUCER_ID_EXPIRATION || before_all_clocks;
        if self.identity.standing == Standing::Off || topic.has_brokers_time || !is_aged {
            return;
        }
        if let Some(tally) = self.alarms.raise(now, Subject::Aged(entry.topic)) {
            log::warn!(
                "topic {}, partition {}: records whose timestamps are more than a day old are sent again, as no answer came. A broker \
                 that was started in between may have them twice, unless the topic has message.timestamp.type=LogAppendTime{tally}",
                self.records.topics[entry.topic].name,
                entry.number,
            );
        }
    }

    /// Records of a partition were delivered. That says nothing of the topic's other partitions.
    pub(super) fn say_delivered(&mut self, partition: u32) {
        let index = self.records.partitions[partition].topic;
        let of_topic =
            |subject| matches!(subject, Subject::Answers(topic, _) | Subject::Failures(topic) if topic == index);
        let here = |place| place == partition || planted("any-partition-is-the-topic");
        let of_it = |subject, place| of_topic(subject) && here(place);
        if let Some(lasted) = self.alarms.lower(self.now, of_it) {
            log::info!("topic {}: records are delivered again, after {lasted}", self.records.topics[index].name);
        }
    }

    /// A batch failed.
    pub(super) fn say_failed(&mut self, slot: u32, error: &DeliveryError) {
        let batch = &self.records.batches[slot];
        let records = batch.records.count();
        if error.kind == DeliveryErrorKind::Aborted {
            log::debug!("{records} records failed: {error}");
            return;
        }
        let place = batch.partition;
        let topic = self.records.partitions[place].topic;
        let subject = if error.is_callers_fault() { Subject::Refused(topic) } else { Subject::Failures(topic) };
        if let Some(tally) = self.alarms.raise_at(self.now, subject, place) {
            log::warn!("{records} records failed: {error}{tally}");
        }
    }
}
