//! How a producer is, for health checks and dashboards.

use alloc::vec::Vec;
use core::time::Duration;

use crate::error::{ConnectionError, FatalError};
use crate::why::{ServerName, Why};

/// How a producer is at one moment, as far as it knows without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The brokers of the newest metadata, by node id; before there are any, and where one can't be reached, also the addresses of
    /// `bootstrap.servers`.
    pub servers: Vec<ServerStatus>,
    /// Records that were accepted, and whose outcome is not known.
    pub open_records: u64,
    /// How long the oldest of them has waited: the number that tells whether records get through.
    pub oldest_record: Option<Duration>,
    /// What keeps the oldest from being delivered, if that is known; without records, what keeps the cluster from being asked.
    pub why: Option<Why>,
    /// How long ago a record was last delivered.
    pub last_delivery: Option<Duration>,
    /// Bytes of `buffer.memory` in use, and how many there are.
    pub buffered: usize,
    /// See [`buffered`](Self::buffered).
    pub buffer_memory: usize,
    /// Produce requests that wait for an answer.
    pub in_flight: usize,
    /// The producer id and its epoch; `None` before there is one, and without idempotence.
    pub producer_id: Option<(i64, i16)>,
    /// No server lets this client in (authentication, TLS), for this reason.
    pub denied: Option<ConnectionError>,
    /// The producer can never deliver again.
    pub fatal: Option<FatalError>,
    /// It takes no records any more: it is closing, or closed.
    pub closing: bool,
}

impl Status {
    /// Whether records get through, as far as is known: the producer is not closing, has not failed and is not refused; the oldest
    /// record waits for no longer than `max_age`; and of the servers that were tried not all are down.
    ///
    /// A producer that has nothing to send tells nothing of a cluster that went away meanwhile: for that ask a server (`ping` of the
    /// adapters).
    pub fn is_healthy(&self, max_age: Duration) -> bool {
        let is_down = |server: &ServerStatus| matches!(server.state, ServerState::Down { .. });
        let works = !self.closing && self.fatal.is_none() && self.denied.is_none();
        works && gets_through(self.oldest_record, max_age, self.servers.iter().map(is_down))
    }
}

/// Whether records don't wait for too long, and of the servers (whether each is down) not all are down.
pub(crate) fn gets_through(oldest: Option<Duration>, max_age: Duration, down: impl Iterator<Item = bool>) -> bool {
    let mut down = down.peekable();
    oldest.is_none_or(|age| age <= max_age) && (down.peek().is_none() || !down.all(|is_down| is_down))
}

/// How it stands with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Which server.
    pub server: ServerName,
    /// Whether it is connected.
    pub state: ServerState,
    /// Requests of all kinds that wait for an answer.
    pub in_flight: usize,
    /// How long the oldest of them has waited.
    pub silent_for: Option<Duration>,
    /// How long the last answer took, from the last byte of its request on.
    pub last_round_trip: Option<Duration>,
    /// What is left of a pause that it asked for (KIP-219).
    pub throttled_for: Option<Duration>,
}

/// Whether a server is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerState {
    /// It is not connected, for it is not needed now.
    Idle,
    /// It is being connected to, or asked for its versions, or convinced of who this client is.
    Connecting {
        /// Since when.
        lasts: Duration,
    },
    /// Requests can be sent to it.
    Up {
        /// Since when.
        lasts: Duration,
    },
    /// Its last connection could not be made, or broke; it is tried again.
    Down {
        /// Since it last answered, or since it was first tried.
        lasts: Duration,
        /// What happened to the last connection.
        error: ConnectionError,
    },
}
