//! Fetch: what consumers read, waiting for it if there is not enough yet.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;

use super::answer::Unreadable;
use super::connection::{Call, Waits};
use super::log::Log;
use super::topics::Partition;
use super::{Cluster, Request};

/// From this version on topics go by their ids, and not by their names.
const BY_ID: i16 = 13;
/// Who leads is told with an error from this version on, and where that is from [`ENDPOINTS`] on.
const LEADERS: i16 = 12;
const ENDPOINTS: i16 = 16;

/// What is answered for one partition.
struct Readable<'a> {
    number: i32,
    code: i16,
    /// The partition, its log and which of its batches; `None` with an error.
    found: Option<(&'a Partition, &'a Log, Range<usize>)>,
}

impl Cluster {
    pub(super) fn fetch(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: FetchRequest = call.read()?;
        let code = match self.demanded(Request::Fetch) {
            // Sessions (KIP-227) are not kept: every answer says so, and clients go on to name all partitions each time.
            None if request.session_id != 0 => Some(70),
            demanded => demanded,
        };
        if let Some(code) = code {
            let before = self.output_len(call.peer);
            self.refuse_fetch(&call, request, code);
            self.finish(call.peer, before, call.treatment);
            return Ok(());
        }
        let patience = u64::try_from(request.max_wait_ms).unwrap_or(0);
        let deadline = call.now + Duration::from_millis(patience);
        self.park(call, Some(deadline), Waits::Fetch(request));
        Ok(())
    }

    /// Answers if there is enough to read, or something to say, or it is too late to wait. Says whether it did.
    pub(super) fn answer_fetch(&mut self, call: &Call, request: &FetchRequest, late: bool) -> bool {
        let (topics, bytes) = self.readable(call, request);
        let mut parts = topics.iter().flat_map(|(_, parts)| parts);
        let enough = bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
        let nothing_asked = topics.iter().all(|(_, parts)| parts.is_empty());
        if !(late || enough || nothing_asked || parts.any(|part| part.code != 0)) {
            return false;
        }
        let mut response = FetchResponse::default();
        let mut errors = Vec::new();
        for (asked, parts) in &topics {
            let mut answer = FetchableTopicResponse::default();
            if call.version >= BY_ID {
                answer.topic_id = asked.topic_id;
            } else {
                answer.topic = asked.topic.clone();
            }
            let name = self.name_in(call, asked);
            for part in parts {
                let mut data = part.answer(call.node, request.isolation_level);
                errors.push(part.code);
                if part.code == 6 && call.version >= LEADERS {
                    let known = name.as_deref().and_then(|name| self.partition(name, part.number));
                    if let Some((leader, epoch)) = known.and_then(|known| Some((known.leader?, known.epoch))) {
                        let hint = LeaderIdAndEpoch::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
                        data.current_leader = hint;
                        if call.version >= ENDPOINTS {
                            let node = &self.nodes[&leader];
                            let host = StrBytes::from_string(node.host.clone());
                            let endpoint = NodeEndpoint::default().with_node_id(leader.into()).with_host(host);
                            response.node_endpoints.push(endpoint.with_port(i32::from(node.port)));
                        }
                    }
                }
                answer.partitions.push(data);
            }
            response.responses.push(answer);
        }
        for code in errors {
            self.count_error(code);
        }
        response.throttle_time_ms = self.mischief.throttle(Request::Fetch);
        self.answer(call, &response);
        true
    }

    /// What there is of everything that was asked for, within the limits, and how many bytes it is.
    fn readable<'a, 'r>(
        &'a self,
        call: &Call,
        request: &'r FetchRequest,
    ) -> (Vec<(&'r FetchTopic, Vec<Readable<'a>>)>, usize) {
        let mut left = usize::try_from(request.max_bytes).unwrap_or(0);
        let mut total = 0;
        let mut topics = Vec::new();
        for topic in &request.topics {
            let name = self.name_in(call, topic);
            let mut parts = Vec::new();
            for asked in &topic.partitions {
                // One batch is handed out whatever the limits say, or the consumer would never get past it.
                let (part, bytes) = match &name {
                    Some(name) => self.readable_part(call.node, name, asked, left, total == 0),
                    None => (Readable { number: asked.partition, code: 100, found: None }, 0),
                };
                left = left.saturating_sub(bytes);
                total += bytes;
                parts.push(part);
            }
            topics.push((topic, parts));
        }
        (topics, total)
    }

    fn readable_part(
        &self,
        node: i32,
        name: &str,
        asked: &FetchPartition,
        left: usize,
        one_at_least: bool,
    ) -> (Readable<'_>, usize) {
        let number = asked.partition;
        let refused = |code| (Readable { number, code, found: None }, 0);
        let (partition, log) = match self.led(node, name, number, asked.current_leader_epoch) {
            Ok(found) => found,
            Err(code) => return refused(code),
        };
        if !(log.start()..=log.end()).contains(&asked.fetch_offset) {
            return refused(1);
        }
        let until = partition.watermark_of(node);
        let most = left.min(usize::try_from(asked.partition_max_bytes).unwrap_or(0));
        let (batches, bytes) = log.readable(asked.fetch_offset, until, most, one_at_least);
        (Readable { number, code: 0, found: Some((partition, log, batches)) }, bytes)
    }

    /// A partition that a node leads, or believes to lead, and its log there; or the code that Kafka answers. A client that
    /// knows an epoch says it (KIP-320).
    pub(super) fn led(&self, node: i32, name: &str, number: i32, epoch: i32) -> Result<(&Partition, &Log), i16> {
        if self.forbidden.contains(name) {
            return Err(29);
        }
        let partition = self.partition(name, number).ok_or(3i16)?;
        let led_in = partition.epoch_of(node);
        match led_in {
            Some(led_in) if epoch >= 0 && epoch < led_in => return Err(74),
            Some(led_in) if epoch > led_in => return Err(75),
            _ => {}
        }
        let log = led_in.and_then(|_| partition.replicas.get(&node)).ok_or(6i16)?;
        Ok((partition, log))
    }

    fn name_in(&self, call: &Call, topic: &FetchTopic) -> Option<String> {
        if call.version >= BY_ID { self.name_of(topic.topic_id) } else { Some(topic.topic.as_str().into()) }
    }

    /// Answers a code: for the whole request, or for each partition where the version has no such field.
    fn refuse_fetch(&mut self, call: &Call, request: FetchRequest, code: i16) {
        let mut response = FetchResponse::default();
        self.count_error(code);
        if call.version >= 7 {
            response.error_code = code;
        } else {
            for asked in request.topics {
                let refused = |part: &FetchPartition| {
                    let refused = Readable { number: part.partition, code, found: None };
                    refused.answer(call.node, request.isolation_level)
                };
                let partitions = asked.partitions.iter().map(refused).collect();
                let answer = FetchableTopicResponse::default().with_topic(asked.topic).with_partitions(partitions);
                response.responses.push(answer);
            }
        }
        self.answer(call, &response);
    }
}

impl Readable<'_> {
    fn answer(&self, node: i32, isolation_level: i8) -> PartitionData {
        let mut data = PartitionData::default().with_partition_index(self.number).with_error_code(self.code);
        (data.high_watermark, data.last_stable_offset, data.log_start_offset) = (-1, -1, -1);
        // Nobody has transactions, so none are aborted, and all that is replicated is stable.
        data.aborted_transactions = (isolation_level == 1).then(Vec::new);
        data.records = Some(Bytes::new());
        if let Some((partition, log, batches)) = &self.found {
            let watermark = partition.watermark_of(node);
            (data.high_watermark, data.last_stable_offset, data.log_start_offset) = (watermark, watermark, log.start());
            let mut records = BytesMut::new();
            log.write(batches.clone(), &mut records);
            data.records = Some(records.freeze());
        }
        data
    }
}
