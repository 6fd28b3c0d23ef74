//! Offsets that groups commit, and fetch again.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::answer::Unreadable;
use super::connection::Call;
use super::groups::Committed;
use super::{Cluster, Request};

/// `offset.metadata.max.bytes`.
const LONGEST_METADATA: usize = 4096;

/// Partitions by their topics; `None` for all that were committed.
type Wanted = Option<Vec<(String, Vec<i32>)>>;

impl Cluster {
    pub(super) fn offset_commit(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: OffsetCommitRequest = call.read()?;
        let (id, member, generation) =
            (request.group_id.to_string(), request.member_id, request.generation_id_or_member_epoch);
        let instance = request.group_instance_id.as_ref().map(|instance| instance.as_str());
        let refusal = self.in_group(&call, &id, |group| group.may_commit(member.as_str(), instance, generation));
        let mut response = OffsetCommitResponse::default();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for part in topic.partitions {
                let metadata = part.committed_metadata.map(|text| text.to_string()).unwrap_or_default();
                let known = self.partition(topic.name.as_str(), part.partition_index).is_some();
                let code = match refusal {
                    0 if !known => 3,
                    0 if metadata.len() > LONGEST_METADATA => 12,
                    refusal => refusal,
                };
                if code == 0 {
                    let committed = Committed {
                        offset: part.committed_offset,
                        leader_epoch: part.committed_leader_epoch,
                        metadata,
                    };
                    let group = self.groups.entry(id.clone()).or_default();
                    group.commit(topic.name.as_str(), part.partition_index, committed);
                }
                let answer = OffsetCommitResponsePartition::default().with_partition_index(part.partition_index);
                partitions.push(answer.with_error_code(code));
            }
            response
                .topics
                .push(OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
        }
        if call.version >= 3 {
            response.throttle_time_ms = self.mischief.throttle(Request::OffsetCommit);
        }
        self.answer(&call, &response);
        Ok(())
    }

    pub(super) fn offset_fetch(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: OffsetFetchRequest = call.read()?;
        let mut response = OffsetFetchResponse::default();
        if call.version >= 8 {
            for asked in request.groups {
                let topics = asked.topics.map(|topics| {
                    topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
                });
                let mut answer = OffsetFetchResponseGroup::default();
                answer.error_code = self.in_group(&call, asked.group_id.as_str(), |_| Ok(()));
                if answer.error_code == 0 {
                    for (name, parts) in self.committed_of(asked.group_id.as_str(), topics) {
                        let parts = parts.into_iter().map(|(number, committed)| {
                            let mut part = OffsetFetchResponsePartitions::default().with_partition_index(number);
                            part.committed_offset = committed.offset;
                            part.committed_leader_epoch = committed.leader_epoch;
                            part.with_metadata(Some(StrBytes::from_string(committed.metadata)))
                        });
                        let topic =
                            OffsetFetchResponseTopics::default().with_name(name).with_partitions(parts.collect());
                        answer.topics.push(topic);
                    }
                }
                response.groups.push(answer.with_group_id(asked.group_id));
            }
        } else {
            let topics = request.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
            });
            let code = self.in_group(&call, request.group_id.as_str(), |_| Ok(()));
            if call.version >= 2 {
                response.error_code = code;
            }
            for (name, parts) in self.committed_of(request.group_id.as_str(), topics) {
                let parts = parts.into_iter().map(|(number, committed)| {
                    let mut part = OffsetFetchResponsePartition::default().with_partition_index(number);
                    part.committed_offset = if code == 0 { committed.offset } else { -1 };
                    part.error_code = code;
                    if call.version >= 5 {
                        part.committed_leader_epoch = committed.leader_epoch;
                    }
                    part.with_metadata(Some(StrBytes::from_string(committed.metadata)))
                });
                let topic = OffsetFetchResponseTopic::default().with_name(name).with_partitions(parts.collect());
                response.topics.push(topic);
            }
        }
        if call.version >= 3 {
            response.throttle_time_ms = self.mischief.throttle(Request::OffsetFetch);
        }
        self.answer(&call, &response);
        Ok(())
    }

    /// What a group has committed of these partitions: -1 where there is nothing.
    fn committed_of(&self, group: &str, wanted: Wanted) -> Vec<(TopicName, Vec<(i32, Committed)>)> {
        let group = self.groups.get(group);
        let nothing = Committed { offset: -1, leader_epoch: -1, metadata: String::new() };
        let wanted = wanted.unwrap_or_else(|| {
            let mut all: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for (topic, partition, _) in group.into_iter().flat_map(|group| group.all_committed()) {
                all.entry(topic).or_default().push(partition);
            }
            all.into_iter().map(|(topic, partitions)| (topic.to_string(), partitions)).collect()
        });
        let found = |topic: &str, number: i32| {
            let committed = group.and_then(|group| group.committed(topic, number));
            (number, committed.unwrap_or(&nothing).clone())
        };
        let topics = wanted.into_iter().map(|(topic, numbers)| {
            let parts = numbers.into_iter().map(|number| found(&topic, number)).collect();
            (TopicName(StrBytes::from_string(topic)), parts)
        });
        topics.collect()
    }
}
