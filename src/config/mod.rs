//! The producer's options: built once, checked once, then trusted.

mod build;
mod elsewhere;
mod error;
#[cfg(test)]
mod golden;
mod jaas;
#[cfg(feature = "oidc")]
pub(crate) mod oidc;
mod options;
mod parts;
mod properties;
mod sasl;
mod secret;
mod servers;
mod tls;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::Compression;
use crate::producer::KeyPartitioner;

pub use build::{ConfigBuilder, LeftOut};
pub use error::ConfigError;
#[cfg(all(test, feature = "scram"))]
pub(crate) use golden::differences as golden_differences;
#[cfg(feature = "fuzzing")]
pub(crate) use jaas::parse as jaas_entry;
pub use parts::Part;
pub use properties::{PropertiesError, Property, parse_properties};
pub use sasl::{Sasl, ScramHash, SecurityProtocol, UnsecuredToken};
pub use secret::Secret;
pub use tls::{StoreType, TlsOptions};

/// How many acknowledgements a record needs (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// `acks=0`: delivered when written to the socket; no offset, no retry of a frame that was written.
    None,
    /// `acks=1`: the partition's leader has it.
    Leader,
    /// `acks=all`: every in-sync replica has it.
    All,
}

impl Acks {
    /// The number that a Produce request carries.
    pub(crate) const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// What a [`Producer`](crate::Producer) needs to know. Valid by construction. `docs/configuration.md` has all options.
///
/// ```
/// use core::time::Duration;
/// use milena::{Acks, Config};
///
/// let config = Config::new("localhost:9092")?; // Java's defaults
/// let config = Config::builder("localhost:9092").acks(Acks::Leader).linger(Duration::from_millis(20)).build()?;
/// let config = Config::from_properties([("bootstrap.servers", "localhost:9092"), ("acks", "all")])?;
/// # let _ = config;
/// # Ok::<(), milena::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// `bootstrap.servers`: host and port, in the order given, at least one.
    pub(crate) bootstrap_servers: Vec<(String, u16)>,
    /// `client.id`.
    pub(crate) client_id: String,
    /// `acks`.
    pub(crate) acks: Acks,
    /// `enable.idempotence`, after the cross-option rules.
    pub(crate) idempotence: bool,
    /// `retries`: re-sends of a batch after its first attempt.
    pub(crate) retries: u32,
    /// `max.in.flight.requests.per.connection`; with idempotence at most 5.
    pub(crate) max_in_flight: usize,
    pub(crate) adaptive_in_flight: bool,
    /// `max.request.size`, bytes.
    pub(crate) max_request_size: usize,
    /// `batch.size`, bytes: from here on a batch is due.
    pub(crate) batch_size: usize,
    /// `batch.size.max`, bytes (ours): how far a due batch may grow while its connection can't take it.
    pub(crate) batch_size_max: usize,
    /// Batches in one request, at most. No option: only mocks have another than the default.
    pub(crate) batches_a_request: usize,
    /// `linger.ms`.
    pub(crate) linger: Duration,
    /// `delivery.timeout.ms`.
    pub(crate) delivery_timeout: Duration,
    /// `request.timeout.ms`.
    pub(crate) request_timeout: Duration,
    /// `compression.type` with its level.
    pub(crate) compression: Compression,
    /// `compression.jobs` (ours): how many jobs may be out; without it none, everything is done inline.
    pub(crate) jobs: Option<usize>,
    /// `max.block.ms`: for adapters; the machine never waits.
    pub(crate) max_block: Duration,
    /// `buffer.memory`, bytes.
    pub(crate) buffer_memory: usize,
    /// `retry.backoff.ms`.
    pub(crate) retry_backoff: Duration,
    /// `retry.backoff.max.ms`.
    pub(crate) retry_backoff_max: Duration,
    /// `reconnect.backoff.ms`.
    pub(crate) reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`.
    pub(crate) reconnect_backoff_max: Duration,
    /// `socket.connection.setup.timeout.ms`.
    pub(crate) connection_setup_timeout: Duration,
    /// `socket.connection.setup.timeout.max.ms`.
    pub(crate) connection_setup_timeout_max: Duration,
    /// `connections.max.idle.ms`; `None` for never.
    pub(crate) connections_max_idle: Option<Duration>,
    /// `metadata.max.age.ms`.
    pub(crate) metadata_max_age: Duration,
    /// `metadata.max.idle.ms`.
    pub(crate) metadata_max_idle: Duration,
    /// `metadata.recovery.strategy=rebootstrap`.
    pub(crate) rebootstrap: bool,
    /// `allow.auto.create.topics` (ours; Java always asks for creation).
    pub(crate) allow_auto_create_topics: bool,
    /// `receive.message.max.bytes` (ours): the largest frame accepted from a broker.
    pub(crate) receive_message_max: usize,
    /// `partitioner.adaptive.partitioning.enable`.
    pub(crate) adaptive_partitioning: bool,
    /// `partitioner.availability.timeout.ms`; zero for off.
    pub(crate) partitioner_availability_timeout: Duration,
    /// `partitioner`, after `partitioner.ignore.keys`.
    pub(crate) partitioner: KeyPartitioner,
    /// `client.rack`, if `partitioner.rack.aware`.
    pub(crate) rack: Option<String>,
    /// `partitioner.class` is Java's `RoundRobinPartitioner`.
    pub(crate) round_robin: bool,
    /// `security.protocol`.
    pub(crate) security_protocol: SecurityProtocol,
    /// `sasl.*`, where the protocol has SASL.
    pub(crate) sasl: Option<Sasl>,
    /// `ssl.*`, for adapters.
    pub(crate) tls: TlsOptions,
    /// How tokens are fetched, if the options say so; or what is wrong with these, which a token provider of the application's
    /// makes good.
    #[cfg(feature = "oidc")]
    #[cfg_attr(
        not(any(feature = "threads", feature = "tokio", feature = "smol")),
        allow(dead_code, reason = "it is the adapters that fetch tokens")
    )]
    pub(crate) oidc: Option<Result<alloc::sync::Arc<oidc::Oidc>, ConfigError>>,
    /// What options call for that only the application has.
    pub(crate) parts: Vec<(Part, &'static str)>,
    /// `send.buffer.bytes`, for adapters; `None` for the system's default.
    pub(crate) send_buffer: Option<usize>,
    /// `receive.buffer.bytes`, for adapters; `None` for the system's default.
    pub(crate) receive_buffer: Option<usize>,
}

impl Config {
    /// All defaults, which are Java's.
    ///
    /// # Errors
    /// If `bootstrap_servers` is not a list of `host:port`.
    pub fn new(bootstrap_servers: &str) -> Result<Self, ConfigError> {
        Self::builder(bootstrap_servers).build()
    }

    /// Sets options one by one.
    pub fn builder(bootstrap_servers: &str) -> ConfigBuilder {
        ConfigBuilder::new(bootstrap_servers)
    }

    /// From options with Java's names and values, such as [`parse_properties`] reads from a file. A later pair of the same
    /// name replaces an earlier one. White space around values is cut off, as in Java, but for secrets.
    ///
    /// # Errors
    /// For unknown options, values out of range, options that contradict each other, and those that are not built in: all that
    /// can be told apart, at once, each with its line if [`parse_properties`] read it.
    ///
    /// ```
    /// let text = "bootstrap.servers=h:9092\nlinger.ms=soon\n\nmessage.timeout.ms=60000\n";
    /// let error = milena::Config::from_properties(milena::parse_properties(text)?).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "2 things are wrong with the configuration:\n  \
    ///      line 2: linger.ms=soon is not possible: a whole number from 0\n  \
    ///      line 4: unknown option message.timeout.ms: it is called delivery.timeout.ms here"
    /// );
    /// # Ok::<(), milena::PropertiesError>(())
    /// ```
    pub fn from_properties(pairs: impl IntoIterator<Item = impl Into<Property>>) -> Result<Self, ConfigError> {
        ConfigBuilder::from_properties(pairs).build()
    }

    /// As [`from_properties`](Self::from_properties), for files that are not this producer's alone: what has no effect here is
    /// left out and told, where the other refuses it or passes over it. That are options which nobody here knows (Java's
    /// producer warns of them), and those that can be done without: interceptors, metrics reporters, serializers, the JVM's
    /// things. What would change where records go, who the client is, whom it trusts, or what is promised is refused all the
    /// same, as are values that an option does not take.
    ///
    /// ```
    /// let pairs = [("bootstrap.servers", "h:9092"), ("schema.registry.url", "http://r"), ("linger", "5")];
    /// let (config, left_out) = milena::Config::from_properties_lenient(pairs)?;
    /// assert_eq!(left_out.len(), 2);
    /// for option in left_out {
    ///     eprintln!("{option}"); // linger: unknown option linger; did you mean linger.ms?
    /// }
    /// # let _ = config;
    /// # Ok::<(), milena::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As there, but for what can be left out.
    pub fn from_properties_lenient(
        pairs: impl IntoIterator<Item = impl Into<Property>>,
    ) -> Result<(Self, Vec<LeftOut>), ConfigError> {
        ConfigBuilder::from_properties(pairs).build_lenient()
    }

    /// `bootstrap.servers`: host and port.
    pub fn bootstrap_servers(&self) -> &[(String, u16)] {
        &self.bootstrap_servers
    }

    /// `client.id`.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// `acks`.
    pub fn acks(&self) -> Acks {
        self.acks
    }

    /// Whether the producer is idempotent, after all rules.
    pub fn idempotence(&self) -> bool {
        self.idempotence
    }

    /// `max.block.ms`.
    pub fn max_block(&self) -> Duration {
        self.max_block
    }

    /// `linger.ms`.
    pub fn linger(&self) -> Duration {
        self.linger
    }

    /// `batch.size`, in bytes.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// `buffer.memory`, in bytes.
    pub fn buffer_memory(&self) -> usize {
        self.buffer_memory
    }

    /// `max.request.size`, in bytes.
    pub fn max_request_size(&self) -> usize {
        self.max_request_size
    }

    /// `delivery.timeout.ms`.
    pub fn delivery_timeout(&self) -> Duration {
        self.delivery_timeout
    }

    /// `request.timeout.ms`.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// How the producer authenticates itself by SASL; `None` where `security.protocol` has none.
    pub fn sasl(&self) -> Option<&Sasl> {
        self.sasl.as_ref()
    }

    /// `security.protocol`: whether the host has to encrypt connections.
    pub fn security_protocol(&self) -> SecurityProtocol {
        self.security_protocol
    }

    /// `ssl.*`: what a host that encrypts connections has to know.
    pub fn tls(&self) -> &TlsOptions {
        &self.tls
    }

    /// `compression.type`, with its level.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// `max.in.flight.requests.per.connection`.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// `send.buffer.bytes`; `None` for the system's default.
    pub fn send_buffer(&self) -> Option<usize> {
        self.send_buffer
    }

    /// `receive.buffer.bytes`; `None` for the system's default.
    pub fn receive_buffer(&self) -> Option<usize> {
        self.receive_buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_what_was_given() {
        let given = Config::from_properties([
            ("bootstrap.servers", "a:1,b:2"),
            ("client.id", "me"),
            ("acks", "1"),
            ("max.block.ms", "11"),
            ("linger.ms", "12"),
            ("batch.size", "1300"),
            ("buffer.memory", "14000"),
            ("max.request.size", "15000"),
            ("request.timeout.ms", "17"),
            ("delivery.timeout.ms", "160"),
            ("max.in.flight.requests.per.connection", "18"),
            ("send.buffer.bytes", "19000"),
            ("receive.buffer.bytes", "20000"),
        ])
        .expect("valid options");
        let servers: Vec<(&str, u16)> = given.bootstrap_servers().iter().map(|(host, port)| (&**host, *port)).collect();
        assert_eq!((servers, given.client_id()), (alloc::vec![("a", 1), ("b", 2)], "me"));
        assert_eq!((given.acks(), given.idempotence()), (Acks::Leader, false));
        let spans = [given.max_block(), given.linger(), given.request_timeout(), given.delivery_timeout()];
        assert_eq!(spans.map(|span| span.as_millis()), [11, 12, 17, 160]);
        let sizes = [given.batch_size(), given.buffer_memory(), given.max_request_size(), given.max_in_flight()];
        assert_eq!(sizes, [1300, 14_000, 15_000, 18]);
        assert_eq!((given.send_buffer(), given.receive_buffer()), (Some(19_000), Some(20_000)));
        // A size of 0 would be one of the system's, and a small one.
        let options = [("bootstrap.servers", "h:1"), ("send.buffer.bytes", "-1"), ("receive.buffer.bytes", "-1")];
        let usual = Config::from_properties(options).expect("valid options");
        assert_eq!((usual.send_buffer(), usual.receive_buffer(), usual.idempotence()), (None, None, true));
        assert_eq!((usual.sasl().is_none(), usual.security_protocol()), (true, SecurityProtocol::Plaintext));
    }
}
