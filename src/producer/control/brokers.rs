//! Who the brokers are, which of them is connected, and the one control connection for metadata and producer ids.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::connection::Role;
use crate::error::ConnectionError;
use crate::ids::ConnId;
use crate::producer::list::List;
use crate::time::Instant;

/// The versions of ApiVersions to try, one after the other, where a server breaks the connection instead of answering
/// (some gateways do so for a version that they don't know).
const API_VERSIONS_LADDER: [i16; 3] = [4, 3, 0];

/// How many addresses are remembered as those of brokers.
const MOST_PROVEN: usize = 1000;

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// None; none may be tried before this time.
    Down(Instant),
    /// Being opened, negotiating, or ready.
    Up(ConnId),
}

/// How connecting to one server went so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempts {
    pub(crate) link: Link,
    /// Failures since it last answered a request.
    pub(crate) failures: u32,
    /// Refusals (authentication, TLS) in a row.
    pub(crate) refusals: u32,
    /// Set-up timeouts in a row.
    pub(crate) setup_timeouts: u32,
    /// Connections that broke, or were too slow, while negotiating.
    broken_negotiations: usize,
    /// Connections that were closed at their first request, since one was answered.
    closed_early: u32,
}

impl Attempts {
    const NONE: Self = Self {
        link: Link::Down(Instant::ZERO),
        failures: 0,
        refusals: 0,
        setup_timeouts: 0,
        broken_negotiations: 0,
        closed_early: 0,
    };

    /// The version of ApiVersions to start with.
    pub(crate) fn api_versions(&self) -> i16 {
        API_VERSIONS_LADDER[self.broken_negotiations % API_VERSIONS_LADDER.len()]
    }

    /// The connection broke while negotiating.
    pub(crate) fn negotiation_broke(&mut self) {
        self.broken_negotiations += 1;
    }

    /// The connection was closed at its first request. How often that has happened by now.
    pub(crate) fn closed_early(&mut self) -> u32 {
        self.closed_early = self.closed_early.saturating_add(1);
        self.closed_early
    }

    /// The connection is ready. With which version of ApiVersions it was had is remembered.
    pub(crate) fn negotiated(&mut self) {
        (self.setup_timeouts, self.refusals) = (0, 0);
    }

    /// A request was answered. Only this ends the backoff: a server that takes connections and breaks them at the first
    /// request is not to be asked a hundred times a second.
    pub(crate) fn answered(&mut self) {
        (self.failures, self.closed_early) = (0, 0);
    }
}

/// One broker of the cluster.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Its node id.
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether the newest metadata names it.
    pub(crate) current: bool,
    pub(crate) attempts: Attempts,
    /// Partitions that have something to send and may, in turn.
    pub(crate) ready: List,
    /// Since when something has been ready and nothing could be sent; for `partitioner.availability.timeout.ms`.
    pub(crate) stuck_since: Option<Instant>,
    /// What happened to its last connection, unless it has answered since.
    trouble: Option<Trouble>,
    /// The size of the largest Produce request that it has answered.
    pub(crate) largest_answered: usize,
}

/// What went wrong with a server, and when.
#[derive(Clone, Debug)]
struct Trouble {
    at: Instant,
    host: String,
    port: u16,
    error: ConnectionError,
}

impl Trouble {
    fn words(&self, now: Instant) -> String {
        let Self { at, host, port, error } = self;
        match now.saturating_since(*at).as_secs() {
            0 => alloc::format!("{host}:{port}: {error}"),
            age => alloc::format!("{host}:{port}: {error} ({age} s ago)"),
        }
    }
}

/// The control connection: to any server, the known brokers first, then the bootstrap servers, in turn.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) attempts: Attempts,
    /// The server of the current or next attempt: counts through brokers and bootstrap servers.
    cursor: usize,
    /// Failures since the last round through all servers began.
    in_round: usize,
    /// A server of this round did not let the client in.
    pub(crate) refusal: Option<ConnectionError>,
    /// Requests that got no answer in time, in a row.
    pub(crate) unanswered: u32,
    /// What happened to the last connection, unless a server has answered since.
    trouble: Option<Trouble>,
}

/// All brokers.
#[derive(Debug)]
pub(crate) struct Brokers {
    entries: Vec<Broker>,
    by_id: BTreeMap<i32, u32>,
    bootstrap: Vec<(String, u16)>,
    /// Addresses where a request was answered once: those speak what this client speaks.
    proven: Vec<(String, u16)>,
    pub(crate) control: Control,
}

impl core::ops::Index<u32> for Brokers {
    type Output = Broker;

    #[inline]
    fn index(&self, index: u32) -> &Broker {
        &self.entries[index as usize]
    }
}

impl core::ops::IndexMut<u32> for Brokers {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Broker {
        &mut self.entries[index as usize]
    }
}

impl Brokers {
    /// Knows only where to ask; `start` spreads many producers over the servers.
    pub(crate) fn new(bootstrap: Vec<(String, u16)>, start: usize) -> Self {
        let control = Control {
            attempts: Attempts::NONE,
            cursor: start,
            in_round: 0,
            refusal: None,
            unanswered: 0,
            trouble: None,
        };
        Self { entries: Vec::new(), by_id: BTreeMap::new(), bootstrap, proven: Vec::new(), control }
    }

    /// The index of the broker with this node id.
    pub(crate) fn find(&self, id: i32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Learns of a broker. Returns its index, and its connection if that now goes to the wrong place.
    pub(crate) fn learn(&mut self, id: i32, host: &str, port: u16) -> (u32, Option<ConnId>) {
        let Some(index) = self.find(id) else {
            let index = self.entries.len() as u32;
            self.entries.push(Broker {
                id,
                host: host.to_string(),
                port,
                current: true,
                attempts: Attempts::NONE,
                ready: List::EMPTY,
                stuck_since: None,
                trouble: None,
                largest_answered: 0,
            });
            self.by_id.insert(id, index);
            return (index, None);
        };
        let broker = &mut self.entries[index as usize];
        broker.current = true;
        if broker.host == host && broker.port == port {
            return (index, None);
        }
        (broker.host, broker.port) = (host.to_string(), port);
        let stale = match broker.attempts.link {
            Link::Up(conn) => Some(conn),
            Link::Down(_) => None,
        };
        (index, stale)
    }

    /// New metadata is about to be learnt: no broker is part of it yet.
    pub(crate) fn begin_update(&mut self) {
        for broker in &mut self.entries {
            broker.current = false;
        }
    }

    /// The server for the next control connection. `known_only`: not a bootstrap server, if any broker is known.
    pub(crate) fn control_server(&self, known_only: bool) -> (String, u16) {
        let known = self.entries.iter().filter(|broker| broker.current).map(|broker| (&broker.host, broker.port));
        let any_known = self.entries.iter().any(|broker| broker.current);
        let bootstrap = self.bootstrap.iter().map(|(host, port)| (host, *port));
        let servers: Vec<_> = known.chain(bootstrap.filter(|_| !(known_only && any_known))).collect();
        let (host, port) = servers[self.control.cursor % servers.len()];
        (host.clone(), port)
    }

    /// The control connection failed. Returns whether all servers were tried since the last time it returned that, so
    /// that it is time for a pause.
    pub(crate) fn control_failed(&mut self) -> bool {
        self.control.cursor = self.control.cursor.wrapping_add(1);
        self.control.in_round += 1;
        let servers = self.bootstrap.len() + self.entries.iter().filter(|broker| broker.current).count();
        let round_over = self.control.in_round >= servers;
        if round_over {
            self.control.in_round = 0;
        }
        round_over
    }

    /// A request was answered at this address.
    pub(crate) fn note_proven(&mut self, host: &str, port: u16) {
        if self.proven.len() >= MOST_PROVEN {
            self.proven.clear(); // addresses that come and go
        }
        if !self.is_proven(host, port) {
            self.proven.push((host.to_string(), port));
        }
    }

    /// Whether a request was ever answered at this address.
    pub(crate) fn is_proven(&self, host: &str, port: u16) -> bool {
        self.proven.iter().any(|(known, at)| known == host && *at == port)
    }

    /// A connection was lost or could not be made.
    pub(crate) fn note_trouble(&mut self, role: Role, at: Instant, (host, port): (&str, u16), error: &ConnectionError) {
        let trouble = Some(Trouble { at, host: host.to_string(), port, error: error.clone() });
        match role {
            Role::Broker(index) => self[index].trouble = trouble,
            Role::Control => self.control.trouble = trouble,
        }
    }

    /// A request was answered: what was before is over.
    pub(crate) fn forget_trouble(&mut self, role: Role) {
        match role {
            Role::Broker(index) => self[index].trouble = None,
            Role::Control => self.control.trouble = None,
        }
    }

    /// The newest trouble with any server that counts.
    pub(crate) fn trouble(&self, now: Instant) -> Option<String> {
        let brokers = self.entries.iter().filter(|broker| broker.current).filter_map(|broker| broker.trouble.as_ref());
        let newest = brokers.chain(&self.control.trouble).max_by_key(|trouble| trouble.at)?;
        Some(newest.words(now))
    }

    /// The trouble with one broker.
    pub(crate) fn trouble_of(&self, index: u32, now: Instant) -> Option<String> {
        self[index].trouble.as_ref().map(|trouble| trouble.words(now))
    }

    /// Whoever did not let the client in may be asked again at once.
    pub(crate) fn forget_refusals(&mut self, now: Instant) {
        self.control.refusal = None;
        let all = self.entries.iter_mut().map(|broker| &mut broker.attempts);
        for attempts in all.chain([&mut self.control.attempts]) {
            if core::mem::take(&mut attempts.refusals) > 0 {
                attempts.failures = 0;
                if let Link::Down(until) = &mut attempts.link {
                    *until = now.min(*until);
                }
            }
        }
    }

    /// How many brokers were ever learnt of.
    pub(crate) fn len(&self) -> u32 {
        self.entries.len() as u32
    }
}
