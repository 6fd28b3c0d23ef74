//! A Kafka cluster in memory, without sockets or clock: for tests, for demonstrations, and as the world of this crate's own
//! simulation.
//!
//! [`Cluster`] is driven as the producer is: bytes in ([`Cluster::receive`]), bytes out ([`Cluster::take_output`]), time
//! as a number. [`Server`] serves one on loopback sockets. It speaks the protocol through the crate kafka-protocol and
//! shares no code with the producer, answers what a producer asks, and refuses what Kafka refuses. Consumers are not
//! served: what was stored is read with [`Cluster::log`].
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

mod answer;
mod batch;
mod log;
mod mischief;
mod produce;
mod sasl;
mod server;
mod testing;
mod topics;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use core::time::Duration;

pub use batch::StoredRecord;
pub use mischief::{Mischief, ProduceAttempt, Request, Treatment, Verdict};
pub use sasl::SaslSettings;
pub use server::{Server, ServerSettings};
pub use testing::{TestCluster, TestClusterBuilder};
pub use topics::TopicSettings;

use crate::time::Instant;
use mischief::Peace;
use topics::{Partition, Topic};

/// A topic's id.
pub type TopicId = [u8; 16];

/// The versions that nodes offer, by the kind of request: oldest and newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Produce.
    pub produce: (i16, i16),
    /// Metadata.
    pub metadata: (i16, i16),
    /// ApiVersions.
    pub api_versions: (i16, i16),
    /// InitProducerId; `None` for brokers that don't know it.
    pub init_producer_id: Option<(i16, i16)>,
}

impl Versions {
    /// What Kafka 4.3 offers. (It says that it takes Produce from 0 on, for the sake of old clients, and refuses below 3.)
    pub const KAFKA_4_3: Self =
        Self { produce: (0, 13), metadata: (0, 13), api_versions: (0, 4), init_producer_id: Some((0, 5)) };
    /// What Kafka 3.0 offers: no topic ids in Produce, no leader hints.
    pub const KAFKA_3_0: Self =
        Self { produce: (0, 9), metadata: (0, 12), api_versions: (0, 3), init_producer_id: Some((0, 4)) };
    /// What Kafka 2.1 offers: no topic ids at all, nothing flexible.
    pub const KAFKA_2_1: Self =
        Self { produce: (0, 7), metadata: (0, 7), api_versions: (0, 2), init_producer_id: Some((0, 1)) };
}

/// What a cluster is like. All fields may be changed from [`Settings::default`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes; their ids count from 1.
    pub nodes: i32,
    /// Partitions of a topic that is created on first use.
    pub default_partitions: i32,
    /// Replicas of each partition; at most as many as there are nodes.
    pub replication_factor: i32,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// Whether topics are created on first use.
    pub auto_create_topics: bool,
    /// Whether a topic that is created on first use has its leaders in the first answer already. Kafka takes a moment, and
    /// says `LEADER_NOT_AVAILABLE` until then.
    pub instant_elections: bool,
    /// `max.message.bytes` of topics that don't set their own.
    pub max_message_bytes: usize,
    /// How long followers take to copy what a leader has; zero for at once.
    pub replication_lag: Duration,
    /// What nodes offer.
    pub versions: Versions,
    /// The code for a batch that comes again after the broker has forgotten it: 45 as today's Kafka, or 46.
    pub old_duplicate: i16,
    /// The epoch that a new producer id comes with; Kafka's is 0.
    pub producer_epoch: i16,
    /// Only count what arrives: no checks, no logs. For measuring producers.
    pub discard: bool,
    /// Who may connect; `None` for everybody.
    pub sasl: Option<SaslSettings>,
    /// The time of day at `Instant::ZERO`, in milliseconds since the Unix epoch.
    pub unix_time: i64,
    /// Topic ids and producer ids follow from it.
    pub seed: u64,
}

impl Default for Settings {
    /// One node of Kafka 4.3, four partitions a topic.
    fn default() -> Self {
        Self {
            nodes: 1,
            default_partitions: 4,
            replication_factor: 3,
            min_insync_replicas: 1,
            auto_create_topics: true,
            instant_elections: false,
            max_message_bytes: 1_048_588,
            replication_lag: Duration::ZERO,
            versions: Versions::KAFKA_4_3,
            old_duplicate: 45,
            producer_epoch: 0,
            discard: false,
            sasl: None,
            unix_time: 1_700_000_000_000,
            seed: 1,
        }
    }
}

/// One client's connection to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(u64);

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
#[derive(Debug)]
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Up,
    /// Takes bytes and does nothing with them.
    Paused,
    Down,
}

#[derive(Debug)]
struct Connection {
    node: i32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The request that waits for replicas: nothing else of the connection is looked at until it is answered.
    parked: Option<produce::Parked>,
    state: ConnectionState,
    session: sasl::Session,
    /// When the client last began to authenticate itself again.
    renewed_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    Open,
    /// Answers nothing any more.
    Hung,
    /// Closes when its output is taken.
    Closing,
}

impl Cluster {
    /// A cluster without topics, all nodes up.
    pub fn new(settings: Settings) -> Self {
        let node = |id: i32| {
            let host = String::from("127.0.0.1");
            (id, Node { host, port: 9092 + id as u16 - 1, state: NodeState::Up, versions: settings.versions })
        };
        Self {
            nodes: (1..=settings.nodes).map(node).collect(),
            next_producer_id: (settings.seed % 1000) as i64 * 1000,
            settings,
            topics: BTreeMap::new(),
            deleted: Vec::new(),
            forbidden: BTreeSet::new(),
            peers: BTreeMap::new(),
            next_peer: 0,
            next_topic: 0,
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
        let (input, output) = (Vec::new(), Vec::new());
        self.peers.insert(
            peer,
            Connection {
                node,
                input,
                output,
                parked: None,
                state: ConnectionState::Open,
                session: sasl::Session::New,
                renewed_at: None,
            },
        );
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
        let parked = self.peers.values().filter_map(|connection| connection.parked.as_ref());
        parked.map(|parked| parked.deadline).chain(self.replicate_at).min()
    }

    /// Time has passed: followers copy, requests time out.
    pub fn advance(&mut self, now: Instant) {
        if self.replicate_at.is_some_and(|at| at <= now) {
            self.replicate_at = None;
            self.replicate();
        }
        self.unpark(now);
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
        self.unpark(now);
    }

    /// Whether the node is neither down nor paused.
    pub fn is_up(&self, node: i32) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.state == NodeState::Up)
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

impl Partition {
    /// The epoch in which a node leads the partition, or believes that it does.
    fn epoch_of(&self, node: i32) -> Option<i32> {
        if self.leader == Some(node) { Some(self.epoch) } else { self.zombies.get(&node).copied() }
    }
}
