//! Metadata: who is there, and who leads what.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::answer::Unreadable;
use super::api::Request;
use super::connection::Call;
use super::mischief::{Naming, Treatment};
use super::topics::is_legal;
use super::{Cluster, Node, NodeState};

/// Metadata as one node has them, from some moment on.
#[derive(Clone, Debug)]
pub(super) struct View {
    brokers: Vec<MetadataResponseBroker>,
    topics: BTreeMap<String, MetadataResponseTopic>,
}

impl View {
    /// The leader of a partition, and its epoch.
    pub(super) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let partition = self.topics.get(topic)?.partitions.iter().find(|known| known.partition_index == partition)?;
        (partition.leader_id.0 >= 0).then_some((partition.leader_id.0, partition.leader_epoch))
    }
}

impl Cluster {
    /// A node that lags answers Metadata, and names leaders to whoever asks the wrong one, as they are now, whatever changes:
    /// as one does that is cut off from the controllers. Said again, it has caught up until now.
    pub fn set_lagging(&mut self, node: i32, lags: bool) {
        let view = lags.then(|| {
            let topics = self.topics().into_iter().map(|name| {
                let answer = self.true_answer(&name, false);
                (name, answer)
            });
            View { topics: topics.collect(), brokers: self.brokers() }
        });
        if let Some(node) = self.nodes.get_mut(&node) {
            node.view = view;
        }
    }

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
            let view = self.nodes[&call.node].view.clone();
            response.brokers = match (&view, call.treatment) {
                (_, Treatment::Nobody) => Vec::new(),
                (Some(view), _) => view.brokers.clone(),
                (None, _) => self.brokers(),
            };
            let all = request.topics.as_ref().is_none_or(|topics| call.version == 0 && topics.is_empty());
            if call.treatment == Treatment::Nothing {
                // Not one of those that were asked about.
            } else if all {
                let names = view.as_ref().map_or_else(|| self.topics(), |view| view.topics.keys().cloned().collect());
                for name in names {
                    response.topics.push(self.topic_answer(&name, false, stale, view.as_ref()));
                }
            } else {
                for asked in request.topics.into_iter().flatten() {
                    let create = call.version < 4 || request.allow_auto_topic_creation;
                    let name = match asked.name {
                        Some(name) => Some((name.to_string(), create)),
                        None => self.name_of(asked.topic_id).map(|name| (name, false)),
                    };
                    response.topics.push(match name {
                        Some((name, create)) => self.topic_answer(&name, create, stale, view.as_ref()),
                        None => MetadataResponseTopic::default().with_error_code(100).with_topic_id(asked.topic_id),
                    });
                }
            }
        }
        for topic in &mut response.topics {
            self.misname(topic);
            self.count_error(topic.error_code);
        }
        self.answer(&call, &response);
        Ok(())
    }

    fn brokers(&self) -> Vec<MetadataResponseBroker> {
        let alive = self.nodes.iter().filter(|(_, node)| node.state != NodeState::Down);
        let broker = |(id, node): (&i32, &Node)| {
            let host = StrBytes::from_string(node.host.clone());
            let broker = MetadataResponseBroker::default().with_node_id((*id).into()).with_host(host);
            let place = usize::try_from(*id - 1).ok();
            let rack = place.and_then(|place| self.settings.racks.get(place)).cloned().map(StrBytes::from_string);
            broker.with_port(i32::from(node.port)).with_rack(rack)
        };
        alive.map(broker).collect()
    }

    fn topic_answer(&mut self, name: &str, create: bool, stale: bool, view: Option<&View>) -> MetadataResponseTopic {
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
        if let Some(view) = view {
            return view.topics.get(name).cloned().unwrap_or_else(|| answer.with_error_code(3));
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
        self.true_answer(name, stale)
    }

    fn misname(&mut self, topic: &mut MetadataResponseTopic) {
        let Some(name) = topic.name.clone() else { return };
        topic.partitions.retain_mut(|partition| match self.mischief.partition(&name, partition.partition_index) {
            Naming::AsItIs => true,
            Naming::Leaderless => {
                (partition.error_code, partition.leader_id) = (5, BrokerId(-1));
                true
            }
            Naming::LeftOut => false,
        });
    }

    /// What is so of a topic that there is; `stale`: with the leaders before the last change.
    fn true_answer(&self, name: &str, stale: bool) -> MetadataResponseTopic {
        let topic = &self.topics[name];
        let named = TopicName(StrBytes::from_string(name.to_string()));
        let answer = MetadataResponseTopic::default().with_name(Some(named));
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
