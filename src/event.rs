//! What goes into the machine ([`Input`]) and what comes out of it ([`Output`], [`Event`], [`Delivery`]).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use crate::connection::sasl::oauth::Token;
use crate::error::{ConnectionError, DeliveryError, ErrorCode, FatalError};
use crate::ids::{BatchId, ConnId, FlushId, RecordId, TopicIndex};
use crate::job::{Job, JobDone};
use crate::record::Hidden;
use crate::time::{Instant, UnixTime};
use crate::why::ServerName;

/// What [`send`](crate::Producer::send) says of a record that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Names the record in a later [`Delivery`].
    pub id: RecordId,
    /// The topic.
    pub topic: TopicIndex,
    /// The partition chosen.
    pub partition: i32,
    /// The record's timestamp, in milliseconds since the Unix epoch; −1 if neither the record nor the host told a time.
    pub timestamp: i64,
}

/// What the world tells the machine.
pub enum Input<'a> {
    /// The connection asked for by [`Output::Connect`] stands.
    Connected(ConnId),
    /// The connection is gone, or could not be made. Also the answer to [`Output::Disconnect`], but not required there.
    Disconnected(ConnId, Cause<'a>),
    /// Bytes that were read from the connection, cut anywhere.
    Data(ConnId, &'a [u8]),
    /// The time of the last [`Output::Wait`] has come. Hand in all bytes that can be read first: nothing expires
    /// except here. Harmless when early.
    Timeout,
    /// What came out of an [`Output::Job`].
    Done(JobDone),
    /// A token for OAUTHBEARER, or why there is none: the answer to [`Output::Token`].
    Token(Result<Token, &'a str>),
    /// The time of day at this moment. Corrects the stamps of records sent from now on.
    WallClock(UnixTime),
}

impl fmt::Debug for Input<'_> {
    /// Neither what was read nor the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(conn) => f.debug_tuple("Connected").field(conn).finish(),
            Self::Disconnected(conn, cause) => f.debug_tuple("Disconnected").field(conn).field(cause).finish(),
            Self::Data(conn, bytes) => f.debug_tuple("Data").field(conn).field(&Hidden(bytes.len())).finish(),
            Self::Timeout => f.write_str("Timeout"),
            Self::Done(done) => f.debug_tuple("Done").field(done).finish(),
            Self::Token(token) => f.debug_tuple("Token").field(token).finish(),
            Self::WallClock(time) => f.debug_tuple("WallClock").field(time).finish(),
        }
    }
}

/// Why a connection ended or could not be made, as far as the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// The other side closed it.
    Closed,
    /// The name could not be resolved, with the resolver's words.
    Resolve(&'a str),
    /// It could not be made, with the system's words («connection refused»).
    Connect(&'a str),
    /// The TLS handshake failed, with the reason: the producer does not try again soon.
    Tls(&'a str),
    /// Reading or writing failed, with the system's words.
    Io(&'a str),
    /// The host closed it, because it was told to or of its own will.
    Local,
}

/// What the host has to do next. Exhaustive on purpose: a new duty for hosts is a breaking change.
#[derive(Debug)]
pub enum Output {
    /// Open a stream to `host:port` and answer [`Input::Connected`] or [`Input::Disconnected`]. Where the name has several
    /// addresses, `attempt` (from 0, for this node) says which to try first.
    Connect {
        /// Names the connection from now on.
        conn: ConnId,
        /// A host name or an address.
        host: String,
        /// A TCP port.
        port: u16,
        /// How many attempts for this node failed before.
        attempt: u32,
    },
    /// Close the connection, whatever its state. The machine has already forgotten it. Never one that the host has said to be gone
    /// ([`Input::Disconnected`]). With `acks=0`, first end only the writing
    /// side and read on until the other side has ended too, for a second or so at most: a socket that is closed while something
    /// in it is unread takes along what it has not sent yet.
    Disconnect(ConnId),
    /// There is something to write: call [`transmit`](crate::Producer::transmit) until it is empty or the socket blocks.
    Transmit(ConnId),
    /// Get a token for OAUTHBEARER and answer [`Input::Token`], until this time; whoever waits for it gives up then. Only with
    /// `sasl.mechanism=OAUTHBEARER`, and again before a token's life is over.
    Token {
        /// When it is too late.
        until: Instant,
    },
    /// Run this job on some thread, then answer [`Input::Done`]. Only if
    /// [`ConfigBuilder::jobs`](crate::ConfigBuilder::jobs) asked for jobs.
    Job(Job),
    /// Something that the application wants to know.
    Event(Event),
    /// Nothing to do until this time, or for ever, unless a call or an input comes. Always the last output of a drain.
    Wait(Option<Instant>),
}

/// What the application may want to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// What became of some records.
    Delivered(Delivery),
    /// A [`flush`](crate::Producer::flush) is complete: every record accepted before it has been named by a `Delivered`.
    Flushed {
        /// The flush.
        id: FlushId,
        /// How many of the records it covers failed after it was asked for.
        failed: u64,
    },
    /// The topic's partitions are known: sends that got [`SendError::NotReady`](crate::SendError::NotReady) may be tried again.
    TopicReady {
        /// The topic.
        topic: TopicIndex,
    },
    /// The answer to [`list_topics`](crate::Producer::list_topics), in the cluster's order.
    TopicsListed(Vec<TopicListing>),
    /// There is no answer to [`list_topics`](crate::Producer::list_topics) that could be read, from any of the servers asked: it is
    /// larger than `receive.message.max.bytes`, most likely.
    TopicsNotListed(ConnectionError),
    /// A server has answered a [`ping`](crate::Producer::ping).
    Pong {
        /// How long it took, from the last byte of the request on.
        round_trip: Duration,
    },
    /// The cluster refuses the topic. Sends to it fail until it is asked for again and found.
    TopicFailed {
        /// The topic.
        topic: TopicIndex,
        /// `INVALID_TOPIC_EXCEPTION` or `TOPIC_AUTHORIZATION_FAILED`.
        error: ErrorCode,
    },
    /// All servers were tried, and at least one does not let this client in (authentication, TLS): whoever waits for a topic
    /// should give up. Records that were accepted wait on, and the machine goes on trying, slowly.
    AccessDenied(ConnectionError),
    /// There is room again after a [`SendError::BufferFull`](crate::SendError::BufferFull).
    Writable {
        /// Free bytes of `buffer.memory`.
        bytes: usize,
    },
    /// [`close`](crate::Producer::close) or [`abort`](crate::Producer::abort) is complete: no record is open, no connection left.
    Closed,
    /// The producer can never deliver again; what was open fails.
    Fatal(FatalError),
    /// A connection could not be made or broke. The machine goes on by itself; this is for logs and error texts.
    ConnectionFailed {
        /// The connection.
        conn: ConnId,
        /// Where it went.
        host: String,
        /// Where it went.
        port: u16,
        /// Why.
        error: ConnectionError,
    },
    /// A connection is ready for requests. Only if [`observe`](crate::Producer::observe) asked for it, as those that follow.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Where it goes.
        server: ServerName,
    },
    /// Records will be sent again.
    Retried {
        /// The topic.
        topic: TopicIndex,
        /// The partition.
        partition: i32,
        /// The broker's answer; `None` if it did not answer.
        code: Option<ErrorCode>,
        /// How often the batch was sent.
        attempt: u32,
        /// How many records it has.
        records: u32,
    },
    /// A partition has another leader, or none. Not said of the first one.
    LeaderMoved {
        /// The topic.
        topic: TopicIndex,
        /// The partition.
        partition: i32,
        /// The node id of the new leader; `None` if there is none.
        leader: Option<i32>,
    },
    /// Sequence numbers begin anew under another epoch, for records were lost (KIP-360), or under a first producer id.
    ProducerIdChanged {
        /// The producer id.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
    },
    /// A broker asked for a pause (KIP-219); the machine keeps to it.
    Throttled {
        /// The broker's node id; negative for a bootstrap address.
        node: i32,
        /// How long.
        pause: Duration,
    },
}

/// A topic of the cluster, as [`list_topics`](crate::Producer::list_topics) finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionInfo {
    /// Its number.
    pub partition: i32,
    /// The node id of its leader, if it has one.
    pub leader: Option<i32>,
    /// The leader's epoch; −1 where brokers don't tell.
    pub leader_epoch: i32,
}

/// What became of some neighbouring records of one batch. Every accepted record is named by exactly one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The batch.
    pub batch: BatchId,
    /// Which of its records. A batch that had to be split is named by several deliveries with disjoint ranges.
    pub records: Range<u32>,
    /// The topic.
    pub topic: TopicIndex,
    /// The partition.
    pub partition: i32,
    /// Where they are, or why not.
    pub outcome: Result<Written, DeliveryError>,
}

/// Where delivered records stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The offset of the first record of the range; the others follow one by one. `None` where no broker told it: with
    /// `acks=0`, or when a broker only confirmed that it had the batch already.
    pub base_offset: Option<i64>,
    /// The broker's timestamp for the batch, in milliseconds since the Unix epoch, where the topic has
    /// `message.timestamp.type=LogAppendTime`.
    pub log_append_time: Option<i64>,
}
