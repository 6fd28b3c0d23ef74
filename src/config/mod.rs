//! The producer's options: built once, checked once, then trusted.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

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

/// What a [`Producer`](crate::Producer) needs to know. Valid by construction.
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
    /// `max.request.size`, bytes.
    pub(crate) max_request_size: usize,
    /// `batch.size`, bytes: from here on a batch is due.
    pub(crate) batch_size: usize,
    /// `batch.size.max`, bytes (ours): how far a due batch may grow while its connection can't take it.
    pub(crate) batch_size_max: usize,
    /// `linger.ms`.
    pub(crate) linger: Duration,
    /// `delivery.timeout.ms`.
    pub(crate) delivery_timeout: Duration,
    /// `request.timeout.ms`.
    pub(crate) request_timeout: Duration,
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
    /// `metadata.recovery.rebootstrap.trigger.ms`.
    pub(crate) rebootstrap_trigger: Duration,
    /// `allow.auto.create.topics` (ours; Java always asks for creation).
    pub(crate) allow_auto_create_topics: bool,
    /// `receive.message.max.bytes` (ours): the largest frame accepted from a broker.
    pub(crate) receive_message_max: usize,
    /// `partitioner.adaptive.partitioning.enable`.
    pub(crate) adaptive_partitioning: bool,
    /// `partitioner.availability.timeout.ms`; zero for off.
    pub(crate) partitioner_availability_timeout: Duration,
    /// `partitioner.ignore.keys`.
    pub(crate) partitioner_ignore_keys: bool,
    /// `send.buffer.bytes`, for adapters; `None` for the system's default.
    pub(crate) send_buffer: Option<usize>,
    /// `receive.buffer.bytes`, for adapters; `None` for the system's default.
    pub(crate) receive_buffer: Option<usize>,
}

impl Default for Config {
    /// Java's defaults, with `localhost:9092`. (Placeholder until the builder stands.)
    fn default() -> Self {
        Self {
            bootstrap_servers: alloc::vec![(String::from("localhost"), 9092)],
            client_id: String::from("milena"),
            acks: Acks::All,
            idempotence: true,
            retries: i32::MAX as u32,
            max_in_flight: 5,
            max_request_size: 1 << 20,
            batch_size: 16 << 10,
            batch_size_max: 256 << 10,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_millis(120_000),
            request_timeout: Duration::from_millis(30_000),
            max_block: Duration::from_millis(60_000),
            buffer_memory: 32 << 20,
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_millis(1_000),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_millis(1_000),
            connection_setup_timeout: Duration::from_millis(10_000),
            connection_setup_timeout_max: Duration::from_millis(30_000),
            connections_max_idle: Some(Duration::from_millis(540_000)),
            metadata_max_age: Duration::from_millis(300_000),
            metadata_max_idle: Duration::from_millis(300_000),
            rebootstrap: true,
            rebootstrap_trigger: Duration::from_millis(300_000),
            allow_auto_create_topics: true,
            receive_message_max: 16 << 20,
            adaptive_partitioning: true,
            partitioner_availability_timeout: Duration::ZERO,
            partitioner_ignore_keys: false,
            send_buffer: Some(131_072),
            receive_buffer: Some(32_768),
        }
    }
}
