//! Everything that can go wrong, in types that say what to do about it.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use thiserror::Error;

use crate::planted::planted;
use crate::why::Why;

/// Characters of a server's words that are shown.
const MOST_WORDS: usize = 1000;

/// A server's words for a text of ours: on one line, not long, and without what a terminal would obey.
pub(crate) fn words_of_server(words: &str) -> String {
    if planted("words-as-they-are") {
        return words.into();
    }
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_WORDS).collect()
}

/// A Kafka error code, as a broker sends it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub(crate) i16);

/// Names and constants, by number.
macro_rules! codes {
    ($($code:literal $name:ident,)*) => {
        /// All codes that Kafka 4.4 knows, by their names.
        impl ErrorCode {
            $(
                #[doc = concat!("Code ", stringify!($code), ".")]
                pub const $name: Self = Self($code);
            )*

            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Kafka's name for it, such as `NOT_ENOUGH_REPLICAS`; `UNKNOWN` for numbers that Kafka 4.4 does not know.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }
        }
    };
}

codes! {
    -1 UNKNOWN_SERVER_ERROR,
    0 NONE,
    1 OFFSET_OUT_OF_RANGE,
    2 CORRUPT_MESSAGE,
    3 UNKNOWN_TOPIC_OR_PARTITION,
    4 INVALID_FETCH_SIZE,
    5 LEADER_NOT_AVAILABLE,
    6 NOT_LEADER_OR_FOLLOWER,
    7 REQUEST_TIMED_OUT,
    8 BROKER_NOT_AVAILABLE,
    9 REPLICA_NOT_AVAILABLE,
    10 MESSAGE_TOO_LARGE,
    11 STALE_CONTROLLER_EPOCH,
    12 OFFSET_METADATA_TOO_LARGE,
    13 NETWORK_EXCEPTION,
    14 COORDINATOR_LOAD_IN_PROGRESS,
    15 COORDINATOR_NOT_AVAILABLE,
    16 NOT_COORDINATOR,
    17 INVALID_TOPIC_EXCEPTION,
    18 RECORD_LIST_TOO_LARGE,
    19 NOT_ENOUGH_REPLICAS,
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    21 INVALID_REQUIRED_ACKS,
    22 ILLEGAL_GENERATION,
    23 INCONSISTENT_GROUP_PROTOCOL,
    24 INVALID_GROUP_ID,
    25 UNKNOWN_MEMBER_ID,
    26 INVALID_SESSION_TIMEOUT,
    27 REBALANCE_IN_PROGRESS,
    28 INVALID_COMMIT_OFFSET_SIZE,
    29 TOPIC_AUTHORIZATION_FAILED,
    30 GROUP_AUTHORIZATION_FAILED,
    31 CLUSTER_AUTHORIZATION_FAILED,
    32 INVALID_TIMESTAMP,
    33 UNSUPPORTED_SASL_MECHANISM,
    34 ILLEGAL_SASL_STATE,
    35 UNSUPPORTED_VERSION,
    36 TOPIC_ALREADY_EXISTS,
    37 INVALID_PARTITIONS,
    38 INVALID_REPLICATION_FACTOR,
    39 INVALID_REPLICA_ASSIGNMENT,
    40 INVALID_CONFIG,
    41 NOT_CONTROLLER,
    42 INVALID_REQUEST,
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT,
    44 POLICY_VIOLATION,
    45 OUT_OF_ORDER_SEQUENCE_NUMBER,
    46 DUPLICATE_SEQUENCE_NUMBER,
    47 INVALID_PRODUCER_EPOCH,
    48 INVALID_TXN_STATE,
    49 INVALID_PRODUCER_ID_MAPPING,
    50 INVALID_TRANSACTION_TIMEOUT,
    51 CONCURRENT_TRANSACTIONS,
    52 TRANSACTION_COORDINATOR_FENCED,
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    54 SECURITY_DISABLED,
    55 OPERATION_NOT_ATTEMPTED,
    56 KAFKA_STORAGE_ERROR,
    57 LOG_DIR_NOT_FOUND,
    58 SASL_AUTHENTICATION_FAILED,
    59 UNKNOWN_PRODUCER_ID,
    60 REASSIGNMENT_IN_PROGRESS,
    61 DELEGATION_TOKEN_AUTH_DISABLED,
    62 DELEGATION_TOKEN_NOT_FOUND,
    63 DELEGATION_TOKEN_OWNER_MISMATCH,
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED,
    66 DELEGATION_TOKEN_EXPIRED,
    67 INVALID_PRINCIPAL_TYPE,
    68 NON_EMPTY_GROUP,
    69 GROUP_ID_NOT_FOUND,
    70 FETCH_SESSION_ID_NOT_FOUND,
    71 INVALID_FETCH_SESSION_EPOCH,
    72 LISTENER_NOT_FOUND,
    73 TOPIC_DELETION_DISABLED,
    74 FENCED_LEADER_EPOCH,
    75 UNKNOWN_LEADER_EPOCH,
    76 UNSUPPORTED_COMPRESSION_TYPE,
    77 STALE_BROKER_EPOCH,
    78 OFFSET_NOT_AVAILABLE,
    79 MEMBER_ID_REQUIRED,
    80 PREFERRED_LEADER_NOT_AVAILABLE,
    81 GROUP_MAX_SIZE_REACHED,
    82 FENCED_INSTANCE_ID,
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE,
    84 ELECTION_NOT_NEEDED,
    85 NO_REASSIGNMENT_IN_PROGRESS,
    86 GROUP_SUBSCRIBED_TO_TOPIC,
    87 INVALID_RECORD,
    88 UNSTABLE_OFFSET_COMMIT,
    89 THROTTLING_QUOTA_EXCEEDED,
    90 PRODUCER_FENCED,
    91 RESOURCE_NOT_FOUND,
    92 DUPLICATE_RESOURCE,
    93 UNACCEPTABLE_CREDENTIAL,
    94 INCONSISTENT_VOTER_SET,
    95 INVALID_UPDATE_VERSION,
    96 FEATURE_UPDATE_FAILED,
    97 PRINCIPAL_DESERIALIZATION_FAILURE,
    98 SNAPSHOT_NOT_FOUND,
    99 POSITION_OUT_OF_RANGE,
    100 UNKNOWN_TOPIC_ID,
    101 DUPLICATE_BROKER_REGISTRATION,
    102 BROKER_ID_NOT_REGISTERED,
    103 INCONSISTENT_TOPIC_ID,
    104 INCONSISTENT_CLUSTER_ID,
    105 TRANSACTIONAL_ID_NOT_FOUND,
    106 FETCH_SESSION_TOPIC_ID_ERROR,
    107 INELIGIBLE_REPLICA,
    108 NEW_LEADER_ELECTED,
    109 OFFSET_MOVED_TO_TIERED_STORAGE,
    110 FENCED_MEMBER_EPOCH,
    111 UNRELEASED_INSTANCE_ID,
    112 UNSUPPORTED_ASSIGNOR,
    113 STALE_MEMBER_EPOCH,
    114 MISMATCHED_ENDPOINT_TYPE,
    115 UNSUPPORTED_ENDPOINT_TYPE,
    116 UNKNOWN_CONTROLLER_ID,
    117 UNKNOWN_SUBSCRIPTION_ID,
    118 TELEMETRY_TOO_LARGE,
    119 INVALID_REGISTRATION,
    120 TRANSACTION_ABORTABLE,
    121 INVALID_RECORD_STATE,
    122 SHARE_SESSION_NOT_FOUND,
    123 INVALID_SHARE_SESSION_EPOCH,
    124 FENCED_STATE_EPOCH,
    125 INVALID_VOTER_KEY,
    126 DUPLICATE_VOTER,
    127 VOTER_NOT_FOUND,
    128 INVALID_REGULAR_EXPRESSION,
    129 REBOOTSTRAP_REQUIRED,
    130 STREAMS_INVALID_TOPOLOGY,
    131 STREAMS_INVALID_TOPOLOGY_EPOCH,
    132 STREAMS_TOPOLOGY_FENCED,
    133 SHARE_SESSION_LIMIT_REACHED,
    134 GROUP_DELETION_FAILED,
    135 STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED,
    136 CONTROLLER_ID_NOT_REGISTERED,
}

impl ErrorCode {
    /// The code with this number; any number will do, brokers may know more than this crate.
    pub const fn new(code: i16) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn code(self) -> i16 {
        self.0
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// What to do about a code, where that is not plain from its name.
struct Hint<'a>(&'a ErrorCode);

const ALLOW_IDEMPOTENCE: &str = "allow this user IdempotentWrite on the cluster (or Write on the topic, from Kafka 2.8), or set enable.idempotence=false";

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0.0 {
            29 => "this user needs Write (with Describe) on it; if the topic is not there yet, it is Create that lacks",
            31 => ALLOW_IDEMPOTENCE,
            32 => {
                "too far from the time on the broker's clock; are both clocks right, and are timestamps in milliseconds?"
            }
            _ => return Ok(()),
        };
        write!(f, ": {words}")
    }
}

/// Why [`send`](crate::Producer::send) did not take a record. Nothing was kept of it; the variant says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The topic's partitions are not known yet (or not the one asked for), or were forgotten because nothing was sent to it for
    /// `metadata.max.idle.ms`. They are asked for: try again after [`Event::TopicReady`](crate::Event::TopicReady); `TopicFailed`
    /// says that it will not come. A topic that there is not is asked about for `max.block.ms` or `metadata.max.idle.ms` (the longer)
    /// after the last send to it; then no event follows, and another send asks anew.
    #[error("the topic's partitions are not known yet")]
    NotReady {
        /// The topic.
        topic: crate::ids::TopicIndex,
    },
    /// `buffer.memory` is used up: try again after [`Event::Writable`](crate::Event::Writable).
    #[error("buffer.memory is used up: {needed} bytes needed")]
    BufferFull {
        /// Bytes that this record needs.
        needed: usize,
    },
    /// The allocator has not so much memory, although `buffer.memory` would allow it, and nothing of this producer's will come back:
    /// the heap is too small, or something else has to give memory back first.
    #[error(
        "{needed} bytes of memory are needed, and there are not so many: give it a larger heap, or options that take less"
    )]
    NoMemory {
        /// Bytes that there have to be, those included that stay free.
        needed: usize,
    },
    /// The record is larger than `max.request.size` or `buffer.memory` allows (both count it uncompressed).
    #[error("the record takes {size} bytes, more than the {limit} that {option} allows")]
    TooLarge {
        /// Its size with all overhead, in bytes.
        size: usize,
        /// The limit that it breaks, in bytes.
        limit: usize,
        /// The option that sets the limit.
        option: &'static str,
    },
    /// The partition is negative, or the host's partitioner named one that does not exist.
    #[error("partition {partition} does not exist: the topic has {count}")]
    UnknownPartition {
        /// The partition asked for.
        partition: i32,
        /// How many the topic has.
        count: usize,
    },
    /// The record's own timestamp is negative.
    #[error("the timestamp {0} is negative")]
    InvalidTimestamp(i64),
    /// The cluster refuses the topic: its name is not valid, or the user may not write to it.
    #[error("the cluster refuses the topic: {0}{hint}", hint = Hint(.0))]
    TopicFailed(ErrorCode),
    /// No server lets this client in: authentication or TLS fails. The topic is still asked for, slowly; a later send tells
    /// whether that has changed.
    #[error("no server lets this client in: {0}")]
    AccessDenied(ConnectionError),
    /// The producer is closing or closed.
    #[error("the producer is closed")]
    Closed,
    /// The producer can never deliver again.
    #[error(transparent)]
    Fatal(FatalError),
}

impl SendError {
    /// Whether the same record may be taken later.
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::NotReady { .. } | Self::BufferFull { .. } | Self::NoMemory { .. } | Self::AccessDenied(_))
    }

    /// Whether the record is what is wrong: it will never be taken.
    pub const fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::UnknownPartition { .. }
                | Self::InvalidTimestamp(_)
                | Self::TopicFailed(ErrorCode::INVALID_TOPIC_EXCEPTION)
        )
    }
}

/// Why records were not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{kind}{}{}", Place(.topic, *.partition), Detail(.message), Behind(.why))]
#[non_exhaustive]
pub struct DeliveryError {
    /// What happened.
    pub kind: DeliveryErrorKind,
    /// Where they were to go; empty where nobody can say so any more.
    pub topic: Box<str>,
    /// Where they were to go.
    pub partition: i32,
    /// A broker's own words, where it sent some.
    pub message: Option<Box<str>>,
    /// Of records that waited in vain (`delivery.timeout.ms`, `retries`, or a close whose time was over): what kept them from being
    /// delivered at the end, if that is known.
    pub why: Option<Box<Why>>,
    /// Whether the records may be in the log nevertheless: some attempt was not answered, or by an error that can come
    /// after the append. `false` is a promise: they are in no log, and sending them again can't double them.
    pub possibly_written: bool,
    /// How often the batch was sent.
    pub attempts: u32,
}

impl DeliveryError {
    /// An error of this kind, of records that were never sent: for tests of what an application does about it. `kind` may be an
    /// [`ErrorCode`] that a broker refuses records with. What follows, and the fields, say more.
    ///
    /// ```
    /// use milena::{DeliveryError, DeliveryErrorKind, ErrorCode};
    /// let late = DeliveryError::new(DeliveryErrorKind::TimedOut(None)).place("orders", 3).in_doubt(2);
    /// assert_eq!(late.to_string(), "topic orders, partition 3: not delivered within delivery.timeout.ms");
    /// assert!(late.is_retriable() && late.possibly_written);
    /// assert!(DeliveryError::new(ErrorCode::INVALID_RECORD).is_callers_fault());
    /// ```
    pub fn new(kind: impl Into<DeliveryErrorKind>) -> Self {
        let kind = kind.into();
        Self { kind, topic: "".into(), partition: -1, message: None, why: None, possibly_written: false, attempts: 0 }
    }

    /// Of records that were to go there.
    #[must_use]
    pub fn place(mut self, topic: &str, partition: i32) -> Self {
        (self.topic, self.partition) = (topic.into(), partition);
        self
    }

    /// Of records that were sent so often, and may be in the log ([`possibly_written`](Self::possibly_written)).
    #[must_use]
    pub const fn in_doubt(mut self, attempts: u32) -> Self {
        (self.possibly_written, self.attempts) = (true, attempts);
        self
    }

    /// With a broker's words.
    #[must_use]
    pub fn message(mut self, words: &str) -> Self {
        self.message = Some(words.into());
        self
    }

    /// Whether the records may get through when they are sent again: they failed for want of time or of attempts. They may be in the
    /// log already, see [`possibly_written`](Self::possibly_written).
    pub const fn is_retriable(&self) -> bool {
        matches!(self.kind, DeliveryErrorKind::TimedOut(_) | DeliveryErrorKind::RetriesExhausted(_))
    }

    /// Whether a broker refused the records for what they are (`RECORD_TOO_LARGE`'s kin, a timestamp, a record without the key that
    /// a compacted topic needs): the same records will never get through.
    pub const fn is_callers_fault(&self) -> bool {
        matches!(self.kind, DeliveryErrorKind::Refused(ErrorCode(10 | 18 | 32 | 87)))
    }

    /// Kafka's name for what went wrong, such as `NOT_ENOUGH_REPLICAS`, or one of ours in the same style
    /// (`DELIVERY_TIMEOUT`, `ABORTED`, `PARTITION_GONE`).
    pub fn name(&self) -> &'static str {
        match &self.kind {
            DeliveryErrorKind::Refused(code) => code.name(),
            DeliveryErrorKind::RetriesExhausted(Some(code)) => code.name(),
            DeliveryErrorKind::RetriesExhausted(None) => "NETWORK_EXCEPTION",
            DeliveryErrorKind::TimedOut(_) => "DELIVERY_TIMEOUT",
            DeliveryErrorKind::PartitionGone => "PARTITION_GONE",
            DeliveryErrorKind::Aborted => "ABORTED",
            DeliveryErrorKind::Fatal(fatal) => fatal.name(),
        }
    }
}

struct Place<'a>(&'a str, i32);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            topic => write!(f, "topic {topic}, partition {}: ", self.1),
        }
    }
}

struct Behind<'a>(&'a Option<Box<Why>>);

impl fmt::Display for Behind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

struct Detail<'a>(&'a Option<Box<str>>);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

/// The kinds of [`DeliveryError`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeliveryErrorKind {
    /// A broker refused the records for good.
    #[error("refused by the broker: {0}{hint}", hint = Hint(.0))]
    Refused(ErrorCode),
    /// `retries` are used up; the code of the last answer, or `None` if the connection was lost.
    #[error("retries are used up{}", LastAnswer(.0))]
    RetriesExhausted(Option<ErrorCode>),
    /// `delivery.timeout.ms` passed; the code of the last answer, if there was one.
    #[error("not delivered within delivery.timeout.ms{}", LastAnswer(.0))]
    TimedOut(Option<ErrorCode>),
    /// The topic was re-created with fewer partitions.
    #[error("the partition no longer exists")]
    PartitionGone,
    /// [`abort`](crate::Producer::abort) was called, or the host went away.
    #[error("aborted before it was delivered")]
    Aborted,
    /// The producer failed for good.
    #[error(transparent)]
    Fatal(FatalError),
}

impl From<ErrorCode> for DeliveryErrorKind {
    /// A broker refused the records for good.
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

impl From<ErrorCode> for DeliveryError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl From<DeliveryErrorKind> for DeliveryError {
    fn from(kind: DeliveryErrorKind) -> Self {
        Self::new(kind)
    }
}

struct LastAnswer<'a>(&'a Option<ErrorCode>);

impl fmt::Display for LastAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(code) => write!(f, " (last answer: {code})"),
            None => Ok(()),
        }
    }
}

/// Why a producer can never deliver again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the producer has failed for good: {code}: {hint}")]
#[non_exhaustive]
pub struct FatalError {
    /// The broker's answer.
    pub code: ErrorCode,
    /// What to do about it.
    pub hint: &'static str,
}

impl FatalError {
    pub(crate) const fn new(code: ErrorCode) -> Self {
        let hint = match code.0 {
            31 => ALLOW_IDEMPOTENCE,
            35 => "the brokers are too old for this configuration",
            _ => "close this producer and make a new one",
        };
        Self { code, hint }
    }

    /// The brokers give no producer ids, or in no version that this producer speaks.
    pub(crate) const NO_PRODUCER_IDS: Self =
        Self { code: ErrorCode(35), hint: "no InitProducerId: set enable.idempotence=false" };

    /// Kafka's name for the broker's answer.
    pub const fn name(&self) -> &'static str {
        self.code.name()
    }
}

/// Why a connection could not be made or broke.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The name could not be resolved.
    #[error("the name does not resolve: {0}")]
    Resolve(String),
    /// It could not be made.
    #[error("can't connect: {0}")]
    Connect(String),
    /// It was not usable within `socket.connection.setup.timeout.ms`.
    #[error("not usable within socket.connection.setup.timeout.ms: no answer in Kafka's protocol")]
    SetupTimeout,
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// The other side closed it just after a request that was larger than any that it has answered: as a broker does that finds
    /// it too large.
    #[error(
        "closed after a request of {bytes} bytes: is max.request.size above the server's socket.request.max.bytes?"
    )]
    ClosedAtLargeRequest {
        /// The request's size.
        bytes: usize,
    },
    /// The other side closed it at the first request after the versions: as a broker does that wants SASL.
    #[error("closed by the other side at the first request; does the port want SASL (security.protocol)?")]
    ClosedEarly,
    /// Reading or writing failed.
    #[error("broken: {0}")]
    Io(String),
    /// A request was not answered within `request.timeout.ms`.
    #[error("a request was not answered within request.timeout.ms")]
    RequestTimeout,
    /// It was closed because it was not used for `connections.max.idle.ms`, or is not needed any more.
    #[error("closed: not needed any more")]
    Idle,
    /// The broker is not convinced of who this client is, or the client of who the broker is.
    #[error("authentication failed: {0}")]
    Authentication(String),
    /// The TLS handshake failed: a certificate, a version, or the other side does not speak TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The other side speaks TLS, and this client does not.
    #[error("the server speaks TLS: set security.protocol=SSL or SASL_SSL")]
    SpeaksTls,
    /// What came in is not what a Kafka broker says.
    #[error("not a Kafka broker, or a broken one: {0}")]
    Protocol(String),
    /// There was no memory for an answer.
    #[error("no memory for an answer: {bytes} bytes are needed")]
    NoMemory {
        /// Bytes that it takes.
        bytes: usize,
    },
    /// The broker and this producer have no version of a request in common.
    #[error("{}", NoVersion(.api, *.min, *.max))]
    UnsupportedVersion {
        /// The request's name.
        api: &'static str,
        /// The broker's lowest version; −1 for none.
        min: i16,
        /// The broker's highest version; −1 for none.
        max: i16,
    },
}

impl ConnectionError {
    /// Whether the server does not let the client in, the client does not trust the server, or they have no language in
    /// common: trying again soon is of no use.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Authentication(_) | Self::Tls(_) | Self::SpeaksTls | Self::UnsupportedVersion { .. })
    }
}

struct NoVersion<'a>(&'a str, i16, i16);

impl fmt::Display for NoVersion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(api, min, max) = self;
        if *min < 0 {
            return write!(f, "the broker does not offer {api}");
        }
        write!(f, "the broker has no version of {api} in common with this producer (it offers {min} to {max})")
    }
}
