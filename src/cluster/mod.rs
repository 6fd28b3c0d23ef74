//! A Kafka cluster in memory, without sockets or clock: for tests, for demonstrations, and as the world of this crate's own
//! simulation.
//!
//! [`Cluster`] is driven as the producer is: bytes in ([`Cluster::receive`]), bytes out ([`Cluster::take_output`]), time
//! as a number. [`Server`] serves one on sockets, and [`TestCluster`] is that with TLS and users by one word each. It speaks the
//! protocol through the crate kafka-protocol and shares no code with the producer, and refuses what Kafka refuses. What was
//! stored is read with [`Cluster::log`], or by any consumer.
//!
//! # Other clients
//!
//! Java's clients and tools, librdkafka (kcat, confluent-kafka, rdkafka ..), franz-go and kafka-python produce to it and read
//! from it without special options; `tests/kafka` tries them. Served are, in the versions that the [`Versions`] say:
//!
//! | requests | what differs from Kafka |
//! | --- | --- |
//! | ApiVersions, SaslHandshake, SaslAuthenticate | PLAIN, SCRAM (feature `scram`), OAUTHBEARER with unsigned tokens |
//! | Metadata, InitProducerId | no transactions: a `transactional.id` is refused |
//! | Produce | zstd, snappy and lz4 with the features of those names; gzip always |
//! | Fetch | waits as it is told (`fetch.max.wait.ms`, `fetch.min.bytes`); without sessions, which clients make up for; from leaders only; batches come out as they came in |
//! | ListOffsets, OffsetForLeaderEpoch | nothing is ever deleted but whole topics |
//! | FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup | the classic protocol, which is the default of Java 4; `group.protocol=consumer` is not offered; the first rebalance waits for nobody |
//! | OffsetCommit, OffsetFetch | kept for ever, and over [`Cluster::stop`] |
//! | DescribeConfigs, ListGroups, DescribeGroups | of a topic's configuration what counts; nothing of brokers |
//! | CreateTopics, DeleteTopics, CreatePartitions | at any node; of a topic's configuration `max.message.bytes`, `min.insync.replicas` and `message.timestamp.type` count, the rest is taken and ignored; which nodes get replicas is not the client's choice |
//!
//! Everything else is not listed in ApiVersions, and closes the connection.
//!
//! ```
//! use milena::cluster::{Cluster, Settings};
//! use milena::Instant;
//!
//! let mut cluster = Cluster::new(Settings::default());
//! cluster.create_topic("orders", 4);
//! let node = cluster.nodes()[0];
//! let peer = cluster.connect(node).expect("the node is up");
//! cluster.receive(Instant::ZERO, peer, b"bytes from a producer");
//! assert!(cluster.take_output(peer).is_empty());
//! ```

mod admin;
mod answer;
mod api;
mod batch;
pub(crate) mod codec;
mod commits;
mod connection;
mod coordinator;
mod describe;
mod fetch;
mod groups;
pub(crate) mod guard;
mod log;
mod metadata;
mod mischief;
mod offsets;
mod produce;
mod sasl;
#[cfg(not(target_family = "wasm"))]
mod server;
mod settings;
#[cfg(not(target_family = "wasm"))]
mod testing;
mod topics;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

pub use api::{Request, Versions};
pub use batch::StoredRecord;
#[cfg(test)]
pub(crate) use batch::records_of;
pub use connection::Peer;
pub use mischief::{Mischief, Naming, ProduceAttempt, Treatment, Verdict};
#[cfg(not(target_family = "wasm"))]
pub use server::{Server, ServerSettings};
pub use settings::{SaslSettings, Settings, TopicSettings};
#[cfg(not(target_family = "wasm"))]
pub use testing::{TestCluster, TestClusterBuilder};

use crate::time::Instant;
use connection::{Changed, Connection, ConnectionState};
use groups::Group;
use mischief::Peace;
use topics::Topic;

/// A topic's id.
pub type TopicId = [u8; 16];

/// What a cluster counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests, by their kind.
    pub requests: BTreeMap<Request, u64>,
    /// Batches that arrived.
    pub batches: u64,
    /// Bytes of those batches.
    pub batch_bytes: u64,
    /// Records in those batches.
    pub records: u64,
    /// Connections.
    pub connections: u64,
    /// Answers with an error, by its code.
    pub errors: BTreeMap<i16, u64>,
}

/// A cluster.
pub struct Cluster {
    settings: Settings,
    nodes: BTreeMap<i32, Node>,
    topics: BTreeMap<String, Topic>,
    /// Topics that were deleted, for whoever reads back.
    deleted: Vec<Topic>,
    forbidden: BTreeSet<String>,
    peers: BTreeMap<Peer, Connection>,
    next_peer: u64,
    next_producer_id: i64,
    next_topic: u64,
    next_member: u64,
    /// Consumer groups, by their names.
    groups: BTreeMap<String, Group>,
    /// Nodes that are down because all were stopped.
    stopped: Vec<i32>,
    /// When followers copy next.
    replicate_at: Option<Instant>,
    mischief: Box<dyn Mischief>,
    /// Codes to answer, one after the other.
    demanded: BTreeMap<Request, VecDeque<i16>>,
    counters: Counters,
}

#[derive(Debug)]
struct Node {
    host: String,
    port: u16,
    state: NodeState,
    versions: Versions,
    /// What it takes for the metadata, if it lags.
    view: Option<metadata::View>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Up,
    /// Takes bytes and does nothing with them.
    Paused,
    Down,
}

/// What the seed is where none was asked for.
const USUAL_SEED: u64 = 1;

impl Cluster {
    /// A cluster without topics, all nodes up.
    pub fn new(settings: Settings) -> Self {
        let node = |id: i32| {
            let host = String::from("127.0.0.1");
            let port = 9092 + id as u16 - 1;
            (id, Node { host, port, state: NodeState::Up, versions: settings.versions, view: None })
        };
        Self {
            nodes: (1..=settings.nodes).map(node).collect(),
            next_producer_id: (settings.seed.unwrap_or(USUAL_SEED) % 1000) as i64 * 1000,
            settings,
            topics: BTreeMap::new(),
            deleted: Vec::new(),
            forbidden: BTreeSet::new(),
            stopped: Vec::new(),
            peers: BTreeMap::new(),
            next_peer: 0,
            next_topic: 0,
            next_member: 0,
            groups: BTreeMap::new(),
            replicate_at: None,
            mischief: Box::new(Peace),
            demanded: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// A connection to a node; `None` if it is down.
    pub fn connect(&mut self, node: i32) -> Option<Peer> {
        if self.nodes.get(&node)?.state == NodeState::Down {
            return None;
        }
        self.next_peer += 1;
        let peer = Peer(self.next_peer);
        self.peers.insert(peer, Connection::new(node));
        self.counters.connections += 1;
        Some(peer)
    }

    /// Bytes from a client, cut anywhere.
    pub fn receive(&mut self, now: Instant, peer: Peer, bytes: &[u8]) {
        let Some(connection) = self.peers.get_mut(&peer) else {
            return;
        };
        connection.input.extend_from_slice(bytes);
        self.work(now, peer);
    }

    /// What the node has to say on the connection.
    pub fn take_output(&mut self, peer: Peer) -> Vec<u8> {
        self.peers.get_mut(&peer).map(|connection| core::mem::take(&mut connection.output)).unwrap_or_default()
    }

    /// Whether the node has closed the connection, or will when its output is taken.
    pub fn is_closed(&self, peer: Peer) -> bool {
        self.peers.get(&peer).is_none_or(|connection| connection.state == ConnectionState::Closing)
    }

    /// The client is gone. What it sent before and was not looked at yet is lost.
    pub fn disconnect(&mut self, peer: Peer) {
        self.peers.remove(&peer);
    }

    /// When something happens without new bytes.
    pub fn next_deadline(&self) -> Option<Instant> {
        let parked = self.peers.values().filter_map(|connection| connection.parked.as_ref()?.deadline);
        parked.chain(self.groups.values().filter_map(Group::next_deadline)).chain(self.replicate_at).min()
    }

    /// Time has passed: followers copy, requests time out, members of groups that were silent are gone.
    pub fn advance(&mut self, now: Instant) {
        if self.replicate_at.is_some_and(|at| at <= now) {
            self.replicate_at = None;
            self.replicate();
        }
        self.advance_groups(now);
        self.unpark(now, Changed::Anything);
    }

    /// The node's connections break, and its partitions get other leaders. What it has synced it keeps.
    pub fn crash(&mut self, node: i32) {
        let Some(crashed) = self.nodes.get_mut(&node) else {
            return;
        };
        crashed.state = NodeState::Down;
        self.peers.retain(|_, connection| connection.node != node);
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.node_lost(node);
        }
    }

    /// The node is back. `lose_tail`: what was not replicated is gone from its logs. Of each producer it remembers the last
    /// batch only.
    pub fn restart(&mut self, node: i32, lose_tail: bool) {
        let Some(restarted) = self.nodes.get_mut(&node) else {
            return;
        };
        restarted.state = NodeState::Up;
        self.stopped.retain(|stopped| *stopped != node);
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.node_back(node, lose_tail);
        }
        self.replicate();
    }

    /// The node stops doing anything, with its connections open.
    pub fn pause(&mut self, node: i32) {
        if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.state == NodeState::Up) {
            node.state = NodeState::Paused;
        }
    }

    /// The node goes on where it stopped.
    pub fn resume(&mut self, now: Instant, node: i32) {
        if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.state == NodeState::Paused) {
            node.state = NodeState::Up;
        }
        let peers: Vec<Peer> = self.peers.iter().filter(|(_, c)| c.node == node).map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.work(now, peer);
        }
        self.replicate();
        self.unpark(now, Changed::Anything);
    }

    /// All nodes end as in an orderly shutdown: what leaders have is replicated, connections break, and everything is kept.
    pub fn stop(&mut self) {
        self.replicate();
        for (id, node) in self.nodes.iter_mut().filter(|(_, node)| node.state != NodeState::Down) {
            node.state = NodeState::Down;
            self.stopped.push(*id);
        }
        self.peers.clear();
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.zombies.clear();
        }
    }

    /// The nodes that [`Cluster::stop`] has stopped are back, and lead what they led, in new epochs. Of each producer they
    /// remember the last batch only.
    pub fn start_again(&mut self) {
        for id in core::mem::take(&mut self.stopped) {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.state = NodeState::Up;
            }
            for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
                if partition.leader == Some(id) {
                    partition.lead(Some(id));
                }
                partition.node_back(id, false);
            }
        }
        self.replicate();
    }

    /// Whether the node is neither down nor paused.
    pub fn is_up(&self, node: i32) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.state == NodeState::Up)
    }

    /// Whether the node is down, and would refuse connections.
    pub fn is_down(&self, node: i32) -> bool {
        self.nodes.get(&node).is_none_or(|node| node.state == NodeState::Down)
    }

    /// All nodes' ids.
    pub fn nodes(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    /// Where clients find a node.
    pub fn set_address(&mut self, node: i32, host: &str, port: u16) {
        if let Some(node) = self.nodes.get_mut(&node) {
            (node.host, node.port) = (String::from(host), port);
        }
    }

    /// The node at an address.
    pub fn node_at(&self, host: &str, port: u16) -> Option<i32> {
        self.nodes.iter().find(|(_, node)| node.host == host && node.port == port).map(|(id, _)| *id)
    }

    /// Where clients find a node.
    pub fn address(&self, node: i32) -> Option<(&str, u16)> {
        self.nodes.get(&node).map(|node| (&*node.host, node.port))
    }

    /// Changes what one node offers; those connected find out when they connect again.
    pub fn set_versions(&mut self, node: i32, versions: Versions) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.versions = versions;
        }
    }

    /// Lets things go wrong.
    pub fn set_mischief(&mut self, mischief: Box<dyn Mischief>) {
        self.mischief = mischief;
    }

    /// Answers `code` to the next `times` requests of this kind: for Produce, to that many batches, which are not
    /// appended.
    pub fn fail_next(&mut self, request: Request, code: i16, times: usize) {
        self.demanded.entry(request).or_default().extend(core::iter::repeat_n(code, times));
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn seed(&self) -> u64 {
        self.settings.seed.unwrap_or(USUAL_SEED)
    }

    fn time_of_day(&self, now: Instant) -> i64 {
        self.settings.unix_time + (now.as_nanos() / 1_000_000) as i64
    }

    fn replicate(&mut self) {
        let up: BTreeSet<i32> =
            self.nodes.iter().filter(|(_, node)| node.state == NodeState::Up).map(|(id, _)| *id).collect();
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.replicate(&up);
        }
    }
}

/// Without what is stored, and without secrets.
impl core::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (nodes, topics) = (&self.nodes, self.topics());
        f.debug_struct("Cluster").field("nodes", nodes).field("topics", &topics).finish_non_exhaustive()
    }
}
