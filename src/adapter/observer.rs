//! Who is told what the producer goes through: see [`Observer`].

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Debug};
use core::time::Duration;

use super::caught::caught;
use crate::error::{ConnectionError, DeliveryError, ErrorCode, FatalError};
use crate::why::ServerName;

/// Is told what the producer goes through: connections, retries, pauses, failures. For metrics, alerts and logs of one's own.
///
/// Called by what drives the producer, in the order of events, and without its lock: it should be quick. A panic is logged.
pub trait Observer: Debug + Send + Sync {
    /// Something happened.
    fn observe(&self, what: &Observation);
}

/// Something that an [`Observer`] is told. `Display` says it in words.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Observation {
    /// A connection is ready for requests. Servers have one for records and one for other requests.
    Connected {
        /// Where it goes.
        server: ServerName,
    },
    /// A connection could not be made, or broke.
    ConnectionFailed {
        /// A host name or an address.
        host: String,
        /// A TCP port.
        port: u16,
        /// Why.
        error: ConnectionError,
    },
    /// A broker asked for a pause (a quota, KIP-219), which is kept.
    Throttled {
        /// The broker's node id; negative for a bootstrap address.
        node: i32,
        /// How long.
        pause: Duration,
    },
    /// Records will be sent again.
    Retried {
        /// Their topic.
        topic: Arc<str>,
        /// Their partition.
        partition: i32,
        /// The broker's answer; `None` if it did not answer.
        code: Option<ErrorCode>,
        /// How often the batch was sent.
        attempt: u32,
        /// How many records it has.
        records: u32,
    },
    /// A partition has another leader, or none.
    LeaderMoved {
        /// Its topic.
        topic: Arc<str>,
        /// Its number.
        partition: i32,
        /// The node id of the new leader; `None` if there is none.
        leader: Option<i32>,
    },
    /// Sequence numbers begin anew under this producer id and epoch.
    ProducerIdChanged {
        /// The producer id.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
    },
    /// Records were not delivered. Also those that expired: [`TimedOut`](crate::DeliveryErrorKind::TimedOut).
    NotDelivered {
        /// How many.
        records: u32,
        /// Why, and where they were to go.
        error: DeliveryError,
    },
    /// No server lets this client in. It is tried on, slowly.
    AccessDenied {
        /// Why.
        error: ConnectionError,
    },
    /// The producer can never deliver again.
    Fatal {
        /// Why.
        error: FatalError,
    },
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { server } => write!(f, "connected to {server}"),
            Self::ConnectionFailed { host, port, error } => write!(f, "{host}:{port}: {error}"),
            Self::Throttled { node, pause } => write!(f, "node {node} asks for a pause of {pause:?}"),
            Self::Retried { topic, partition, code, attempt, records } => {
                let answer = code.map_or("no answer", ErrorCode::name);
                write!(
                    f,
                    "topic {topic}, partition {partition}: {records} records again after attempt {attempt}: {answer}"
                )
            }
            Self::LeaderMoved { topic, partition, leader: Some(leader) } => {
                write!(f, "topic {topic}, partition {partition}: its leader is node {leader}")
            }
            Self::LeaderMoved { topic, partition, leader: None } => {
                write!(f, "topic {topic}, partition {partition} has no leader")
            }
            Self::ProducerIdChanged { producer_id, epoch } => write!(f, "producer id {producer_id}, epoch {epoch}"),
            Self::NotDelivered { records, error } => write!(f, "{records} records failed: {error}"),
            Self::AccessDenied { error } => write!(f, "no server lets this client in: {error}"),
            Self::Fatal { error } => write!(f, "{error}"),
        }
    }
}

/// What the observer has still to be told.
#[derive(Debug, Default)]
pub(super) struct Observations {
    observer: Option<Arc<dyn Observer>>,
    untold: Vec<Observation>,
}

impl Observations {
    pub(super) fn add(&mut self, observer: &Arc<dyn Observer>, what: Observation) {
        self.observer.get_or_insert_with(|| Arc::clone(observer));
        self.untold.push(what);
    }

    /// Tells it, without the machine's lock.
    pub(super) fn tell(&mut self) {
        let Some(observer) = &self.observer else { return };
        for what in self.untold.drain(..) {
            let _ = caught("an observer", || observer.observe(&what));
        }
    }
}
