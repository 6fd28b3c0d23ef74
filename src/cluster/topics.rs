//! Topics and their partitions: replicas, leaders, and reading back what was stored.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use uuid::Uuid;

use super::batch::StoredRecord;
use super::connection::Changed;
use super::log::Log;
use super::{Cluster, NodeState, TopicId, TopicSettings};

#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) settings: TopicSettings,
    pub(super) partitions: Vec<Partition>,
    /// Created by a metadata request a moment ago: the first answer says that it has no leaders yet.
    pub(super) fresh: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) leader: Option<i32>,
    pub(super) epoch: i32,
    /// Leader and epoch before the last change.
    pub(super) before: (Option<i32>, i32),
    pub(super) in_sync: BTreeSet<i32>,
    pub(super) replicas: BTreeMap<i32, Log>,
    /// Nodes that don't know yet that they lead no more.
    pub(super) zombies: BTreeMap<i32, Zombie>,
    /// Everything below is on all in-sync replicas.
    pub(super) high_watermark: i64,
}

/// What a node believes that led once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zombie {
    epoch: i32,
    high_watermark: i64,
}

impl Cluster {
    /// Creates a topic, or another one of the same name if there is one.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> TopicId {
        self.create_topic_with(name, partitions, TopicSettings::default())
    }

    /// Creates a topic with settings of its own.
    pub fn create_topic_with(&mut self, name: &str, partitions: i32, settings: TopicSettings) -> TopicId {
        self.delete_topic(name);
        self.next_topic += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.seed() | 1).to_be_bytes());
        id[8..].copy_from_slice(&self.next_topic.to_be_bytes());
        let mut topic = Topic { id, settings, partitions: Vec::new(), fresh: false };
        self.grow(&mut topic, partitions);
        self.topics.insert(String::from(name), topic);
        id
    }

    /// Deletes a topic, and what groups have committed of it. Its log can still be read by its id.
    pub fn delete_topic(&mut self, name: &str) {
        self.deleted.extend(self.topics.remove(name));
        for group in self.groups.values_mut() {
            group.forget_topic(name);
        }
    }

    /// Adds partitions until there are `count`.
    pub fn add_partitions(&mut self, name: &str, count: i32) {
        if let Some(mut topic) = self.topics.remove(name) {
            self.grow(&mut topic, count);
            self.topics.insert(String::from(name), topic);
        }
    }

    /// Forbids everybody to write to a topic and to read it, or allows it again.
    pub fn set_forbidden(&mut self, name: &str, forbidden: bool) {
        if forbidden {
            self.forbidden.insert(String::from(name));
        } else {
            self.forbidden.remove(name);
        }
    }

    /// Moves a partition's leadership to a node that has a replica in sync. `told`: the old leader knows at once; if not,
    /// it goes on as if it led, until [`Cluster::tell_zombies`].
    pub fn move_leader(&mut self, name: &str, partition: i32, node: i32, told: bool) -> bool {
        let up = self.is_up(node);
        let Some(partition) = self.partition_mut(name, partition) else {
            return false;
        };
        let old = partition.leader;
        let zombie = Zombie { epoch: partition.epoch, high_watermark: partition.high_watermark };
        if !up || old == Some(node) || !partition.in_sync.contains(&node) {
            return false;
        }
        partition.lead(Some(node));
        if let Some(old) = old.filter(|_| !told) {
            partition.zombies.insert(old, zombie);
            partition.in_sync.remove(&old);
        }
        true
    }

    /// All nodes learn who leads what.
    pub fn tell_zombies(&mut self, now: crate::Instant) {
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.zombies.clear();
        }
        self.replicate();
        self.unpark(now, Changed::Anything);
    }

    /// All replicas of a partition forget what they knew of producers, as when retention took all their records.
    pub fn forget_producers(&mut self, name: &str, partition: i32) {
        if let Some(partition) = self.partition_mut(name, partition) {
            for log in partition.replicas.values_mut() {
                log.forget_producers();
            }
        }
    }

    /// The id of the topic that has this name now.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.topics.get(name).map(|topic| topic.id)
    }

    /// All topics' names.
    pub fn topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    /// How many partitions a topic has.
    pub fn partitions(&self, name: &str) -> i32 {
        self.topics.get(name).map_or(0, |topic| topic.partitions.len() as i32)
    }

    /// The node that leads a partition.
    pub fn leader(&self, name: &str, partition: i32) -> Option<i32> {
        self.partition(name, partition)?.leader
    }

    /// The nodes whose replicas are in sync.
    pub fn in_sync(&self, name: &str, partition: i32) -> Vec<i32> {
        let in_sync = self.partition(name, partition).map(|partition| partition.in_sync.iter().copied().collect());
        in_sync.unwrap_or_default()
    }

    /// The records of a partition that consumers may see: those on all in-sync replicas.
    pub fn log(&self, topic: TopicId, partition: i32) -> Vec<StoredRecord> {
        let Some(partition) = self.partition_by_id(topic, partition) else {
            return Vec::new();
        };
        let Some(log) = partition.newest() else {
            return Vec::new();
        };
        log.records(partition.high_watermark).cloned().collect()
    }

    /// The record at an offset of the topic that has this name now.
    pub fn record(&self, name: &str, partition: i32, offset: i64) -> Option<StoredRecord> {
        self.partition(name, partition)?.newest()?.record(offset).cloned()
    }

    /// All records of the replica that leads the partition, or led it last, whether replicated or not.
    pub fn whole_log(&self, topic: TopicId, partition: i32) -> Vec<StoredRecord> {
        let newest = self.partition_by_id(topic, partition).and_then(Partition::newest);
        newest.map(|log| log.records(i64::MAX).cloned().collect()).unwrap_or_default()
    }

    /// Who wrote the batches of that replica: base offset, producer id, epoch, first sequence and number of records.
    pub fn stamps(&self, topic: TopicId, partition: i32) -> Vec<(i64, i64, i16, i32, i32)> {
        let newest = self.partition_by_id(topic, partition).and_then(Partition::newest);
        newest.map(|log| log.stamps().collect()).unwrap_or_default()
    }

    /// The offset after the last record of each partition of a topic.
    pub fn end_offsets(&self, name: &str) -> Vec<i64> {
        let Some(topic) = self.topics.get(name) else {
            return Vec::new();
        };
        topic.partitions.iter().map(|partition| partition.newest().map_or(0, Log::end)).collect()
    }

    /// The name of the topic that has this id now.
    pub(crate) fn name_of(&self, id: Uuid) -> Option<String> {
        self.topics.iter().find(|(_, topic)| topic.id == *id.as_bytes()).map(|(name, _)| name.clone())
    }

    pub(super) fn partition(&self, name: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(name)?.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(super) fn partition_by_id(&self, topic: TopicId, partition: i32) -> Option<&Partition> {
        let topic = self.topics.values().chain(&self.deleted).find(|known| known.id == topic)?;
        topic.partitions.get(usize::try_from(partition).ok()?)
    }

    fn partition_mut(&mut self, name: &str, partition: i32) -> Option<&mut Partition> {
        self.topics.get_mut(name)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    fn grow(&self, topic: &mut Topic, count: i32) {
        let nodes = self.nodes();
        let replicas = topic.settings.replication_factor.unwrap_or(self.settings.replication_factor);
        let replicas = (replicas.max(1) as usize).min(nodes.len());
        while (topic.partitions.len() as i32) < count {
            let first = topic.partitions.len();
            let replicas: Vec<i32> = (0..replicas).map(|place| nodes[(first + place) % nodes.len()]).collect();
            let is_alive = |node: &i32| self.nodes[node].state != NodeState::Down;
            let up: BTreeSet<i32> = replicas.iter().copied().filter(is_alive).collect();
            let leader = replicas.iter().copied().find(|node| up.contains(node));
            // With all replicas away, whichever comes back first leads.
            let in_sync = if up.is_empty() { replicas.iter().copied().collect() } else { up };
            topic.partitions.push(Partition {
                leader,
                epoch: 0,
                before: (leader, 0),
                in_sync,
                replicas: replicas.into_iter().map(|node| (node, Log::default())).collect(),
                zombies: BTreeMap::new(),
                high_watermark: 0,
            });
        }
    }
}

/// Whether a topic may have this name.
pub(super) fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(name, "" | "." | "..") && name.len() <= 249 && name.chars().all(legal)
}

impl Partition {
    /// The epoch in which a node leads the partition, or believes that it does.
    pub(super) fn epoch_of(&self, node: i32) -> Option<i32> {
        if self.leader == Some(node) { Some(self.epoch) } else { Some(self.zombies.get(&node)?.epoch) }
    }

    /// What such a node takes for the high watermark.
    pub(super) fn watermark_of(&self, node: i32) -> i64 {
        let believed = self.zombies.get(&node).map(|zombie| zombie.high_watermark);
        if self.leader == Some(node) { self.high_watermark } else { believed.unwrap_or(self.high_watermark) }
    }

    /// A node is gone: it is out of sync, and if it led, another in-sync replica does. The last one in sync stays so.
    pub(super) fn node_lost(&mut self, node: i32) {
        self.zombies.remove(&node);
        if self.in_sync.len() > 1 {
            self.in_sync.remove(&node);
        }
        if self.leader == Some(node) {
            let next = self.in_sync.iter().copied().find(|other| *other != node);
            self.lead(next);
        }
        self.raise_watermark();
    }

    /// A node is back: as a follower, or as the leader if only it was in sync.
    pub(super) fn node_back(&mut self, node: i32, lose_tail: bool) {
        let watermark = self.high_watermark;
        let Some(log) = self.replicas.get_mut(&node) else {
            return;
        };
        if lose_tail {
            log.lose_from(watermark);
        }
        log.forget_windows();
        if self.leader.is_none() && self.in_sync.contains(&node) {
            self.lead(Some(node));
        }
    }

    /// Followers that are up become copies of the leader, and are in sync.
    pub(super) fn replicate(&mut self, up: &BTreeSet<i32>) {
        let Some(leader) = self.leader.filter(|leader| up.contains(leader)) else {
            return;
        };
        let Some(log) = self.replicas.remove(&leader) else {
            return;
        };
        for (node, replica) in &mut self.replicas {
            if up.contains(node) && !self.zombies.contains_key(node) {
                replica.follow(&log);
                self.in_sync.insert(*node);
            } else {
                self.in_sync.remove(node);
            }
        }
        self.replicas.insert(leader, log);
        self.raise_watermark();
    }

    /// The replica of the leader, or of one in sync.
    pub(super) fn newest(&self) -> Option<&Log> {
        let node = self.leader.or(self.in_sync.first().copied())?;
        self.replicas.get(&node)
    }

    pub(super) fn lead(&mut self, node: Option<i32>) {
        if let Some(node) = node {
            self.zombies.remove(&node);
        }
        self.before = (self.leader, self.epoch);
        self.leader = node;
        self.epoch += 1;
        self.raise_watermark();
    }

    pub(super) fn raise_watermark(&mut self) {
        let ends = self.in_sync.iter().filter_map(|node| self.replicas.get(node)).map(Log::end);
        if let (Some(lowest), Some(_)) = (ends.min(), self.leader) {
            self.high_watermark = self.high_watermark.max(lowest);
        }
    }
}
