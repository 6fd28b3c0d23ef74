//! Metadata: who is there, and who leads what.

use alloc::string::ToString;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::answer::Unreadable;
use super::api::Request;
use super::connection::Call;
use super::mischief::Treatment;
use super::topics::is_legal;
use super::{Cluster, NodeState};

impl Cluster {
    pub(super) fn metadata(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: MetadataRequest = call.read()?;
        let stale = call.treatment == Treatment::Odd;
        let alive = self.nodes.iter().filter(|(_, node)| node.state != NodeState::Down);
        let controller = alive.map(|(id, _)| *id).next().unwrap_or(-1);
        let mut response = MetadataResponse::default().with_controller_id(controller.into());
        response.throttle_time_ms = self.mischief.throttle(Request::Metadata);
        response.cluster_id = Some(StrBytes::from_static_str("milena-in-memory"));
        if let Treatment::Error(code) = call.treatment {
            response.error_code = code;
        } else {
            for (id, node) in self.nodes.iter().filter(|(_, node)| node.state != NodeState::Down) {
                let host = StrBytes::from_string(node.host.clone());
                let broker = MetadataResponseBroker::default().with_node_id((*id).into()).with_host(host);
                response.brokers.push(broker.with_port(i32::from(node.port)));
            }
            let all = request.topics.as_ref().is_none_or(|topics| call.version == 0 && topics.is_empty());
            if all {
                for name in self.topics() {
                    response.topics.push(self.topic_answer(&name, false, stale));
                }
            } else {
                for asked in request.topics.into_iter().flatten() {
                    let create = call.version < 4 || request.allow_auto_topic_creation;
                    match asked.name {
                        Some(name) => response.topics.push(self.topic_answer(&name, create, stale)),
                        None => match self.name_of(asked.topic_id) {
                            Some(name) => response.topics.push(self.topic_answer(&name, false, stale)),
                            None => response.topics.push(
                                MetadataResponseTopic::default().with_error_code(100).with_topic_id(asked.topic_id),
                            ),
                        },
                    }
                }
            }
        }
        for topic in &response.topics {
            self.count_error(topic.error_code);
        }
        self.answer(&call, &response);
        Ok(())
    }

    fn topic_answer(&mut self, name: &str, create: bool, stale: bool) -> MetadataResponseTopic {
        let named = TopicName(StrBytes::from_string(name.to_string()));
        let answer = MetadataResponseTopic::default().with_name(Some(named));
        if !is_legal(name) {
            return answer.with_error_code(17);
        }
        if self.forbidden.contains(name) {
            return answer.with_error_code(29);
        }
        if let Some(code) = self.demanded(Request::Metadata).or_else(|| self.mischief.topic(name)) {
            return answer.with_error_code(code);
        }
        if !self.topics.contains_key(name) {
            if !(create && self.settings.auto_create_topics) {
                return answer.with_error_code(3);
            }
            self.create_topic(name, self.settings.default_partitions);
            if let Some(topic) = self.topics.get_mut(name) {
                topic.fresh = !self.settings.instant_elections;
            }
        }
        let Some(topic) = self.topics.get_mut(name) else {
            return answer.with_error_code(3);
        };
        if core::mem::take(&mut topic.fresh) {
            return answer.with_error_code(5); // elections take a moment
        }
        let partitions = topic.partitions.iter().enumerate().map(|(number, partition)| {
            let (leader, epoch) = if stale { partition.before } else { (partition.leader, partition.epoch) };
            MetadataResponsePartition::default()
                .with_error_code(if leader.is_some() { 0 } else { 5 })
                .with_partition_index(number as i32)
                .with_leader_id(leader.unwrap_or(-1).into())
                .with_leader_epoch(epoch)
                .with_replica_nodes(partition.replicas.keys().map(|node| BrokerId(*node)).collect())
                .with_isr_nodes(partition.in_sync.iter().map(|node| BrokerId(*node)).collect())
        });
        let partitions = partitions.collect();
        answer.with_topic_id(Uuid::from_bytes(topic.id)).with_partitions(partitions)
    }
}
