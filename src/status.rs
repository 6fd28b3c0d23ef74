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
    /// record waits for no longer than `max_age`; and not every broker is down (while no broker is known: not every address of
    /// `bootstrap.servers`).
    ///
    /// A broker that is not connected, or is just being connected to, counts as one that is there: one that restarts is no reason
    /// to take a service out of its balancer. What answers at an address of `bootstrap.servers` and is no broker does not count
    /// once brokers are known: no record gets through by it.
    ///
    /// A producer that has nothing to send tells nothing of a cluster that went away meanwhile: for that ask a server (`ping` of the
    /// adapters).
    pub fn is_healthy(&self, max_age: Duration) -> bool {
        let server = |it: &ServerStatus| (it.server.node.is_some(), matches!(it.state, ServerState::Down { .. }));
        let works = !self.closing && self.fatal.is_none() && self.denied.is_none();
        works && gets_through(self.oldest_record, max_age, self.servers.iter().map(server))
    }
}

/// Whether records don't wait for too long, and of the servers (whether it is a broker, and whether it is down) not all are down to which
/// records go: the brokers; while none is known the addresses that stand for them.
pub(crate) fn gets_through(
    oldest: Option<Duration>,
    max_age: Duration,
    servers: impl Iterator<Item = (bool, bool)>,
) -> bool {
    let (mut brokers, mut others) = (None, None);
    for (is_broker, is_down) in servers {
        let all_down = if is_broker { &mut brokers } else { &mut others };
        *all_down = Some(all_down.unwrap_or(true) && is_down);
    }
    oldest.is_none_or(|age| age <= max_age) && brokers.or(others) != Some(true)
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

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn down() -> ServerState {
        ServerState::Down { lasts: SECOND, error: ConnectionError::Closed }
    }

    fn up() -> ServerState {
        ServerState::Up { lasts: SECOND }
    }

    /// A producer that has nothing to send, with these servers: node id, state.
    fn idle(servers: Vec<(Option<i32>, ServerState)>) -> Status {
        let server = |(node, state)| ServerStatus {
            server: ServerName { node, host: "host".to_string(), port: 9092 },
            state,
            in_flight: 0,
            silent_for: None,
            last_round_trip: None,
            throttled_for: None,
        };
        Status {
            servers: servers.into_iter().map(server).collect(),
            open_records: 0,
            oldest_record: None,
            why: None,
            last_delivery: None,
            buffered: 0,
            buffer_memory: 0,
            in_flight: 0,
            producer_id: None,
            denied: None,
            fatal: None,
            closing: false,
        }
    }

    #[test]
    fn healthy_is_who_has_a_broker_that_may_be_there() {
        let connecting = || ServerState::Connecting { lasts: SECOND };
        let cases = [
            (vec![], true),
            (vec![(None, ServerState::Idle)], true),
            (vec![(None, down())], false),
            (vec![(None, down()), (None, ServerState::Idle)], true),
            (vec![(None, down()), (None, connecting())], true),
            (vec![(Some(1), down()), (Some(2), ServerState::Idle)], true),
            (vec![(Some(1), down()), (Some(2), connecting())], true),
            (vec![(Some(1), down()), (Some(2), up())], true),
            (vec![(Some(1), down()), (Some(2), down())], false),
            // Brokers that are told by addresses that lead nowhere: the balancer before them answers.
            (vec![(Some(1), down()), (Some(2), down()), (None, up())], false),
            (vec![(Some(1), up()), (None, down())], true),
        ];
        for (servers, healthy) in cases {
            let status = idle(servers);
            assert_eq!(status.is_healthy(SECOND), healthy, "{:?}", status.servers);
        }
    }

    #[test]
    fn nothing_else_may_be_wrong() {
        let well = || idle(vec![(Some(1), up())]);
        assert!(well().is_healthy(SECOND));
        let wrong: [fn(&mut Status); 4] = [
            |status| status.closing = true,
            |status| status.fatal = Some(FatalError::NO_PRODUCER_IDS),
            |status| status.denied = Some(ConnectionError::Closed),
            |status| status.oldest_record = Some(2 * SECOND),
        ];
        for wrong in wrong {
            let mut status = well();
            wrong(&mut status);
            assert!(!status.is_healthy(SECOND), "{status:?}");
        }
        assert!(Status { oldest_record: Some(SECOND), ..well() }.is_healthy(SECOND));
    }
}
