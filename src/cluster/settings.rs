//! What a cluster is told to be like.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::Versions;

/// A setter for each field, so that fields can be added without breaking whoever builds the struct. Behind the semicolon are those
/// that may be `None`.
macro_rules! setters {
    ($($field:ident: $kind:ty),* $(; $($optional:ident: $inner:ty),*)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, $field: $kind) -> Self {
                self.$field = $field;
                self
            }
        )*
        $($(
            #[doc = concat!("Sets [`", stringify!($optional), "`](Self#structfield.", stringify!($optional), "): a value or an option.")]
            #[must_use]
            pub fn $optional(mut self, $optional: impl Into<Option<$inner>>) -> Self {
                self.$optional = $optional.into();
                self
            }
        )*)?
    };
}
#[cfg(not(target_family = "wasm"))]
pub(super) use setters;

/// What a cluster is like.
///
/// ```
/// use milena::cluster::{Cluster, Settings};
///
/// let cluster = Cluster::new(Settings::default().nodes(3).min_insync_replicas(2));
/// assert_eq!(cluster.nodes(), [1, 2, 3]);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How many nodes; their ids count from 1. 1 by default.
    pub nodes: i32,
    /// `broker.rack` of each node, in their order; those beyond the list have none. Empty by default.
    pub racks: Vec<String>,
    /// Partitions of a topic that is created on first use. 4 by default.
    pub default_partitions: i32,
    /// Replicas of each partition; at most as many as there are nodes. 3 by default.
    pub replication_factor: i32,
    /// `min.insync.replicas`. 1 by default.
    pub min_insync_replicas: usize,
    /// Whether topics are created on first use. They are by default.
    pub auto_create_topics: bool,
    /// Whether a topic that is created on first use has its leaders in the first answer already. Kafka takes a moment, and
    /// says `LEADER_NOT_AVAILABLE` until then; so does this cluster by default.
    pub instant_elections: bool,
    /// `max.message.bytes` of topics that don't set their own. Kafka's 1,048,588 by default.
    pub max_message_bytes: usize,
    /// How long followers take to copy what a leader has; zero, the default, for at once.
    pub replication_lag: Duration,
    /// What nodes offer. That of Kafka 4.3 by default.
    pub versions: Versions,
    /// The code for a batch that comes again after the broker has forgotten it: 45 as today's Kafka, or 46.
    pub old_duplicate: i16,
    /// The epoch that a new producer id comes with; Kafka's is 0.
    pub producer_epoch: i16,
    /// Only count what arrives: no checks, no logs. For measuring producers.
    pub discard: bool,
    /// Who may connect; `None`, the default, for everybody.
    pub sasl: Option<SaslSettings>,
    /// The time of day at `Instant::ZERO`, in milliseconds since the Unix epoch.
    pub unix_time: i64,
    /// Topic ids and producer ids follow from it. With `None`, the default, [`Cluster::new`](super::Cluster::new) always takes
    /// the same one, and each [`Server`](super::Server) one of its own, so that clients see another cluster.
    pub seed: Option<u64>,
}

impl Default for Settings {
    /// One node of Kafka 4.3, four partitions a topic.
    fn default() -> Self {
        Self {
            nodes: 1,
            racks: Vec::new(),
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
            seed: None,
        }
    }
}

impl Settings {
    setters! {
        nodes: i32,
        racks: Vec<String>,
        default_partitions: i32,
        replication_factor: i32,
        min_insync_replicas: usize,
        auto_create_topics: bool,
        instant_elections: bool,
        max_message_bytes: usize,
        replication_lag: Duration,
        versions: Versions,
        old_duplicate: i16,
        producer_epoch: i16,
        discard: bool,
        unix_time: i64;
        sasl: SaslSettings,
        seed: u64
    }
}

/// A topic's own settings.
///
/// ```
/// use milena::cluster::{Cluster, Settings, TopicSettings};
///
/// let mut cluster = Cluster::new(Settings::default());
/// cluster.create_topic_with("orders", 4, TopicSettings::default().max_message_bytes(2000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSettings {
    /// `max.message.bytes`; `None` for the cluster's.
    pub max_message_bytes: Option<usize>,
    /// `min.insync.replicas`; `None` for the cluster's.
    pub min_insync_replicas: Option<usize>,
    /// How many replicas each partition has; `None` for as many as the cluster's topics have.
    pub replication_factor: Option<i32>,
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
}

impl TopicSettings {
    setters! { log_append_time: bool; max_message_bytes: usize, min_insync_replicas: usize, replication_factor: i32 }
}

/// Users, and how long they are believed.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SaslSettings {
    /// Names and passwords; for OAUTHBEARER the names are those in the claim `sub`.
    pub users: Vec<(String, String)>,
    /// Which tokens are good for OAUTHBEARER, whoever they are for; `None`, the default, for unsigned ones of a user.
    pub tokens: Option<fn(&str) -> bool>,
    /// `connections.max.reauth.ms`: how long a session lasts; `None`, the default, for as long as the connection.
    pub session_lifetime: Option<Duration>,
}

impl SaslSettings {
    /// One more user.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_string(), password.to_string()));
        self
    }

    setters! {; tokens: fn(&str) -> bool, session_lifetime: Duration }

    pub(super) fn password(&self, user: &str) -> Option<&str> {
        self.users.iter().find(|(name, _)| name == user).map(|(_, password)| &**password)
    }
}

/// Passwords are left out.
impl core::fmt::Debug for SaslSettings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let users: Vec<&String> = self.users.iter().map(|(name, _)| name).collect();
        f.debug_struct("SaslSettings").field("users", &users).field("session_lifetime", &self.session_lifetime).finish()
    }
}
