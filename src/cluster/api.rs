//! Kinds of requests, and the versions of each that brokers of several ages offer.

use kafka_protocol::messages::ApiKey;

/// A kind of request that a node answers. Its number is Kafka's API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(i16)]
pub enum Request {
    /// Produce.
    Produce = 0,
    /// Fetch.
    Fetch = 1,
    /// ListOffsets.
    ListOffsets = 2,
    /// Metadata.
    Metadata = 3,
    /// OffsetCommit.
    OffsetCommit = 8,
    /// OffsetFetch.
    OffsetFetch = 9,
    /// FindCoordinator.
    FindCoordinator = 10,
    /// JoinGroup.
    JoinGroup = 11,
    /// Heartbeat.
    Heartbeat = 12,
    /// LeaveGroup.
    LeaveGroup = 13,
    /// SyncGroup.
    SyncGroup = 14,
    /// DescribeGroups.
    DescribeGroups = 15,
    /// ListGroups.
    ListGroups = 16,
    /// SaslHandshake.
    SaslHandshake = 17,
    /// ApiVersions.
    ApiVersions = 18,
    /// CreateTopics.
    CreateTopics = 19,
    /// DeleteTopics.
    DeleteTopics = 20,
    /// InitProducerId.
    InitProducerId = 22,
    /// OffsetForLeaderEpoch.
    OffsetForLeaderEpoch = 23,
    /// DescribeConfigs.
    DescribeConfigs = 32,
    /// SaslAuthenticate.
    SaslAuthenticate = 36,
    /// CreatePartitions.
    CreatePartitions = 37,
}

impl Request {
    /// All kinds, by their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::FindCoordinator,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::ListGroups,
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::InitProducerId,
        Self::OffsetForLeaderEpoch,
        Self::DescribeConfigs,
        Self::SaslAuthenticate,
        Self::CreatePartitions,
    ];

    /// Kafka's number for it.
    pub const fn key(self) -> i16 {
        self as i16
    }

    pub(super) fn of(key: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|request| request.key() == key)
    }

    pub(super) fn api(self) -> ApiKey {
        ApiKey::try_from(self.key()).expect("kafka-protocol knows all requests of Kafka")
    }
}

/// One more than the largest key of a [`Request`].
const KEYS: usize = Request::CreatePartitions as usize + 1;

/// The versions that a node offers, by the kind of request: oldest and newest. Start from one of the constants and change what
/// the test is about.
///
/// ```
/// use milena::cluster::{Request, Versions};
///
/// let versions = Versions::KAFKA_4_3.with(Request::Produce, 0, 12).without(Request::CreateTopics);
/// assert_eq!(versions.range(Request::Produce), Some((0, 12)));
/// assert_eq!(versions.range(Request::CreateTopics), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    ranges: [Option<(i16, i16)>; KEYS],
}

impl Versions {
    /// What Kafka 4.3 offers, as far as the cluster serves it: what Kafka has beyond ListOffsets 10, OffsetCommit 9 and
    /// OffsetFetch 9 is left out. (Kafka says that it takes Produce from 0 on, for the sake of old clients, and refuses below 3.)
    pub const KAFKA_4_3: Self = Self::of(&[
        (Request::Produce, 0, 13),
        (Request::Fetch, 4, 18),
        (Request::ListOffsets, 1, 10),
        (Request::Metadata, 0, 13),
        (Request::OffsetCommit, 2, 9),
        (Request::OffsetFetch, 1, 9),
        (Request::FindCoordinator, 0, 6),
        (Request::JoinGroup, 0, 9),
        (Request::Heartbeat, 0, 4),
        (Request::LeaveGroup, 0, 5),
        (Request::SyncGroup, 0, 5),
        (Request::DescribeGroups, 0, 6),
        (Request::ListGroups, 0, 5),
        (Request::SaslHandshake, 0, 1),
        (Request::ApiVersions, 0, 4),
        (Request::CreateTopics, 2, 7),
        (Request::DeleteTopics, 1, 6),
        (Request::InitProducerId, 0, 5),
        (Request::OffsetForLeaderEpoch, 2, 4),
        (Request::DescribeConfigs, 1, 4),
        (Request::SaslAuthenticate, 0, 2),
        (Request::CreatePartitions, 0, 3),
    ]);
    /// What Kafka 3.0 offers: no topic ids in Produce and Fetch, no leader hints.
    pub const KAFKA_3_0: Self = Self::of(&[
        (Request::Produce, 0, 9),
        (Request::Fetch, 4, 12),
        (Request::ListOffsets, 1, 7),
        (Request::Metadata, 0, 12),
        (Request::OffsetCommit, 2, 8),
        (Request::OffsetFetch, 1, 8),
        (Request::FindCoordinator, 0, 4),
        (Request::JoinGroup, 0, 7),
        (Request::Heartbeat, 0, 4),
        (Request::LeaveGroup, 0, 4),
        (Request::SyncGroup, 0, 5),
        (Request::DescribeGroups, 0, 5),
        (Request::ListGroups, 0, 4),
        (Request::SaslHandshake, 0, 1),
        (Request::ApiVersions, 0, 3),
        (Request::CreateTopics, 2, 7),
        (Request::DeleteTopics, 1, 6),
        (Request::InitProducerId, 0, 4),
        (Request::OffsetForLeaderEpoch, 2, 4),
        (Request::DescribeConfigs, 1, 4),
        (Request::SaslAuthenticate, 0, 2),
        (Request::CreatePartitions, 0, 3),
    ]);
    /// What Kafka 2.1 offers: no topic ids at all, nothing flexible.
    pub const KAFKA_2_1: Self = Self::of(&[
        (Request::Produce, 0, 7),
        (Request::Fetch, 4, 10),
        (Request::ListOffsets, 1, 4),
        (Request::Metadata, 0, 7),
        (Request::OffsetCommit, 2, 6),
        (Request::OffsetFetch, 1, 5),
        (Request::FindCoordinator, 0, 2),
        (Request::JoinGroup, 0, 3),
        (Request::Heartbeat, 0, 2),
        (Request::LeaveGroup, 0, 2),
        (Request::SyncGroup, 0, 2),
        (Request::DescribeGroups, 0, 2),
        (Request::ListGroups, 0, 2),
        (Request::SaslHandshake, 0, 1),
        (Request::ApiVersions, 0, 2),
        (Request::CreateTopics, 2, 3),
        (Request::DeleteTopics, 1, 3),
        (Request::InitProducerId, 0, 1),
        (Request::OffsetForLeaderEpoch, 2, 2),
        (Request::DescribeConfigs, 1, 2),
        (Request::SaslAuthenticate, 0, 0),
        (Request::CreatePartitions, 0, 1),
    ]);

    /// The oldest and the newest version of a request; `None` if nodes don't know it.
    pub const fn range(&self, request: Request) -> Option<(i16, i16)> {
        self.ranges[request as usize]
    }

    /// The same with another range for a request. Versions that the cluster can't read are offered, if so told, and their
    /// connections closed.
    #[must_use]
    pub const fn with(mut self, request: Request, oldest: i16, newest: i16) -> Self {
        self.ranges[request as usize] = Some((oldest, newest));
        self
    }

    /// The same without a request.
    #[must_use]
    pub const fn without(mut self, request: Request) -> Self {
        self.ranges[request as usize] = None;
        self
    }

    const fn of(known: &[(Request, i16, i16)]) -> Self {
        let mut versions = Self { ranges: [None; KEYS] };
        let mut next = 0;
        while next < known.len() {
            let (request, oldest, newest) = known[next];
            versions = versions.with(request, oldest, newest);
            next += 1;
        }
        versions
    }
}

impl Default for Versions {
    /// Those of Kafka 4.3.
    fn default() -> Self {
        Self::KAFKA_4_3
    }
}
