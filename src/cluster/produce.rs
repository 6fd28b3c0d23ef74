//! Produce requests: appended, parked until replicas have them, answered.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use core::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::answer::Unreadable;
use super::batch::{self, Limits};
use super::connection::{Call, Changed, Waits};
use super::log::Append;
use super::mischief::{ProduceAttempt, Verdict};
use super::{Cluster, NodeState, Request, TopicId};

/// What is answered for a topic's partitions, as soon as nothing waits any more.
#[derive(Debug)]
pub(super) struct AnsweredTopic {
    name: String,
    id: TopicId,
    partitions: Vec<Answered>,
}

/// The answer for one partition, or what it waits for.
#[derive(Debug)]
struct Answered {
    partition: i32,
    code: i16,
    message: Option<&'static str>,
    base_offset: i64,
    log_append_time: i64,
    log_start: i64,
    /// Last offset and leader epoch of what was appended, while that is not on all in-sync replicas.
    waits: Option<(i64, i32)>,
    /// The code to answer in place of success.
    instead: Option<i16>,
    times: usize,
}

impl Cluster {
    pub(super) fn produce(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: ProduceRequest = call.read()?;
        let mut topics = Vec::new();
        for topic in request.topic_data {
            let (name, id) = if call.version >= 13 {
                (self.name_of(topic.topic_id).unwrap_or_default(), *topic.topic_id.as_bytes())
            } else {
                let name = topic.name.0.as_str().to_string();
                let id = self.topic_id(&name).unwrap_or_default();
                (name, id)
            };
            let mut partitions = Vec::new();
            for data in topic.partition_data {
                let records = data.records.unwrap_or_default();
                self.counters.batches += 1;
                self.counters.batch_bytes += records.len() as u64;
                self.counters.records += batch::count(&records).map_or(0, |count| count.max(0) as u64);
                let answered = if self.settings.discard {
                    self.count_only(&name, data.index, &records)
                } else {
                    self.append(&call, &name, data.index, &records, request.acks)
                };
                self.count_error(answered.code);
                partitions.push(answered);
            }
            topics.push(AnsweredTopic { name, id, partitions });
        }
        let (now, written) =
            (call.now, topics.iter().flat_map(|topic| &topic.partitions).any(|it| it.base_offset >= 0));
        let deadline = now + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let failed = topics.iter().flat_map(|topic| &topic.partitions).any(|answered| answered.code != 0);
        if request.acks != 0 {
            self.park(call, Some(deadline), Waits::Produce(topics));
        }
        if written {
            self.unpark(now, Changed::Logs);
        }
        // Closing is the only way to say that something is wrong to those who want no answer.
        if request.acks == 0 && failed { Err(Unreadable) } else { Ok(()) }
    }

    fn count_only(&mut self, name: &str, partition: i32, records: &Bytes) -> Answered {
        let count = batch::count(records).unwrap_or(0);
        let topic = self.topics.get_mut(name);
        let partition_of = |number: i32| usize::try_from(number).ok();
        let found = topic.and_then(|topic| topic.partitions.get_mut(partition_of(partition)?));
        let Some(found) = found else {
            return Answered::refused(partition, 3, None);
        };
        let Some(log) = found.leader.and_then(|leader| found.replicas.get_mut(&leader)) else {
            return Answered::refused(partition, 3, None);
        };
        let base = log.count(count);
        found.high_watermark = log.end();
        Answered::at(partition, base)
    }

    fn append(&mut self, call: &Call, name: &str, number: i32, records: &Bytes, acks: i16) -> Answered {
        let (now, node, version) = (call.now, call.node, call.version);
        let claimed = batch::count(records).unwrap_or(0);
        let found = usize::try_from(number).ok().and_then(|number| self.topics.get(name)?.partitions.get(number));
        let stamp = batch::stamp(records).filter(|stamp| stamp.0 >= 0);
        let known = found.zip(stamp).is_some_and(|(partition, stamp)| {
            partition.replicas.values().any(|log| log.knows(stamp.0, stamp.1, stamp.2, stamp.3))
        });
        let attempt = ProduceAttempt { node, topic: name, partition: number, records: claimed, known, version };
        if let Some(code) = self.demanded(Request::Produce) {
            return Answered::refused(number, code, Some("on demand"));
        }
        let verdict = self.mischief.produce(&attempt);
        if let Verdict::Refuse(code) = verdict {
            return Answered::refused(number, code, Some("on demand"));
        }
        if !matches!(acks, -1..=1) {
            return Answered::refused(number, 21, None);
        }
        if self.forbidden.contains(name) {
            return Answered::refused(number, 29, None);
        }
        let time = self.time_of_day(now);
        let limits = Limits {
            max_message_bytes: self.settings.max_message_bytes,
            latest_timestamp: Some(time.saturating_add(3_600_000)),
        };
        let old_duplicate = self.settings.old_duplicate;
        let at_once = self.settings.replication_lag.is_zero();
        let unknown = if version >= 13 { 100 } else { 3 };
        let Some(topic) = self.topics.get_mut(name) else {
            return Answered::refused(number, unknown, None);
        };
        let settings = topic.settings;
        let min_in_sync = settings.min_insync_replicas.unwrap_or(self.settings.min_insync_replicas);
        let found = usize::try_from(number).ok().and_then(|number| topic.partitions.get_mut(number));
        let Some(partition) = found else {
            return Answered::refused(number, 3, None);
        };
        let Some(epoch) = partition.epoch_of(node) else {
            return Answered::refused(number, 6, None);
        };
        let leads = partition.leader == Some(node);
        if acks == -1 && leads && partition.in_sync.len() < min_in_sync {
            return Answered::refused(number, 19, None);
        }
        let limits =
            Limits { max_message_bytes: settings.max_message_bytes.unwrap_or(limits.max_message_bytes), ..limits };
        let limits = if settings.log_append_time { Limits { latest_timestamp: None, ..limits } } else { limits };
        let read = match batch::read(records, limits) {
            Ok(read) => read,
            Err((code, message)) => return Answered::refused(number, code, Some(message)),
        };
        let count = i64::from(read.count);
        let Some(log) = partition.replicas.get_mut(&node) else {
            return Answered::refused(number, 6, None);
        };
        let appended = log.append(read, epoch, old_duplicate, settings.log_append_time.then_some(time));
        let log_start = log.start();
        let (offset, log_append_time) = match appended {
            Append::At(offset) => (offset, if settings.log_append_time { time } else { -1 }),
            // As Kafka does, whoever's time that is.
            Append::Again { offset, timestamp } => (offset, timestamp),
            Append::Refused(code) => return Answered::refused(number, code, None),
        };
        let waits = Some((offset + count - 1, epoch));
        let mut answered = Answered { waits, log_start, log_append_time, ..Answered::at(number, offset) };
        if acks != -1 {
            answered.waits = None;
        }
        match verdict {
            Verdict::ApplyThen(code) => {
                (answered.instead, answered.waits, answered.message) = (Some(code), None, Some("on demand"));
            }
            Verdict::LeaveOut => answered.times = 0,
            Verdict::AnswerTwice => answered.times = 2,
            Verdict::Serve | Verdict::Refuse(_) => {}
        }
        if leads {
            if at_once {
                let states = &self.nodes;
                let up = states.iter().filter(|(_, node)| node.state == NodeState::Up).map(|(id, _)| *id).collect();
                partition.replicate(&up);
            } else {
                partition.raise_watermark();
                self.replicate_at.get_or_insert(now + self.settings.replication_lag);
            }
        }
        answered
    }

    /// Answers if all in-sync replicas have everything, or it is too late for that. Says whether it did.
    pub(super) fn answer_produce(&mut self, call: &Call, topics: &mut [AnsweredTopic], late: bool) -> bool {
        let node = call.node;
        let mut waits = false;
        for topic in &mut *topics {
            let settings = self.topics.get(&topic.name).map(|topic| topic.settings).unwrap_or_default();
            let min_in_sync = settings.min_insync_replicas.unwrap_or(self.settings.min_insync_replicas);
            for answered in &mut topic.partitions {
                let Some((last, epoch)) = answered.waits else { continue };
                let code = match self.partition_by_id(topic.id, answered.partition) {
                    _ if self.topic_id(&topic.name) != Some(topic.id) => Some(3),
                    None => Some(3),
                    Some(partition) if partition.epoch_of(node) != Some(epoch) => Some(6),
                    Some(partition) if partition.leader == Some(node) && partition.high_watermark > last => {
                        let enough = partition.in_sync.len() >= min_in_sync;
                        Some(if enough { 0 } else { 20 })
                    }
                    Some(_) if late => Some(7),
                    Some(_) => None,
                };
                match code {
                    Some(0) => answered.waits = None,
                    Some(code) => {
                        (answered.code, answered.base_offset, answered.waits) = (code, -1, None);
                        self.count_error(code);
                    }
                    None => waits = true,
                }
            }
        }
        if !waits {
            self.say_produced(call, topics);
        }
        !waits
    }

    fn say_produced(&mut self, call: &Call, topics: &[AnsweredTopic]) {
        let mut response = ProduceResponse::default();
        response.throttle_time_ms = self.mischief.throttle(Request::Produce);
        for topic in topics {
            let mut partitions = Vec::new();
            for answered in &topic.partitions {
                let code = answered.instead.unwrap_or(answered.code);
                let offset = if code == 0 { answered.base_offset } else { -1 };
                let mut partition = PartitionProduceResponse::default()
                    .with_index(answered.partition)
                    .with_error_code(code)
                    .with_base_offset(offset)
                    .with_log_append_time_ms(if code == 0 { answered.log_append_time } else { -1 })
                    .with_log_start_offset(answered.log_start);
                if call.version >= 8 {
                    partition.error_message = answered.message.map(StrBytes::from_static_str);
                }
                if code == 6 && call.version >= 10 {
                    let hint = match &self.nodes[&call.node].view {
                        Some(view) => view.leader(&topic.name, answered.partition),
                        None => self
                            .partition_by_id(topic.id, answered.partition)
                            .and_then(|known| Some((known.leader?, known.epoch))),
                    };
                    if let Some((leader, epoch)) = hint {
                        let hint = LeaderIdAndEpoch::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
                        partition.current_leader = hint;
                        let node = &self.nodes[&leader];
                        let host = StrBytes::from_string(node.host.clone());
                        let endpoint = NodeEndpoint::default().with_node_id(leader.into()).with_host(host);
                        response.node_endpoints.push(endpoint.with_port(i32::from(node.port)));
                    }
                }
                for _ in 0..answered.times {
                    partitions.push(partition.clone());
                }
            }
            let mut answer = TopicProduceResponse::default().with_partition_responses(partitions);
            if call.version >= 13 {
                answer.topic_id = Uuid::from_bytes(topic.id);
            } else {
                answer.name = TopicName(StrBytes::from_string(topic.name.clone()));
            }
            response.responses.push(answer);
        }
        self.answer(call, &response);
    }
}

impl Answered {
    fn at(partition: i32, base_offset: i64) -> Self {
        Self {
            partition,
            code: 0,
            message: None,
            base_offset,
            log_append_time: -1,
            log_start: 0,
            waits: None,
            instead: None,
            times: 1,
        }
    }

    fn refused(partition: i32, code: i16, message: Option<&'static str>) -> Self {
        Self { code, message, ..Self::at(partition, -1) }
    }
}
