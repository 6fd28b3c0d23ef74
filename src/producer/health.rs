//! How the producer is: what it knows of servers and records, put together. Nothing here changes anything.

use alloc::vec::Vec;
use core::time::Duration;

use crate::connection::{Connection, Role};
use crate::producer::Producer;
use crate::producer::control::servers::{May, Trouble};
use crate::producer::delivery::idempotence::Standing;
use crate::producer::lifecycle::Phase;
use crate::status::{ServerState, ServerStatus, Status, gets_through};
use crate::time::Instant;
use crate::why::{ServerName, Why};

/// A server that has not answered for so long is called silent.
const SILENCE: Duration = Duration::from_secs(1);

/// A trouble is told for so long after it was last seen, or as long as the server is tried again.
const RECENT: Duration = Duration::from_secs(10);

/// A [`ServerState`], of moments.
enum ServerStanding<'a> {
    Idle,
    Connecting(Instant),
    Up(Instant),
    Down(&'a Trouble),
}

impl Producer {
    /// How the producer is at this moment. Asks nobody; work in proportion to brokers and connections.
    pub fn status(&self, now: Instant) -> Status {
        let now = self.now.max(now);
        let servers = self.servers_that_count().map(|(server, node)| self.server_status(now, server, node)).collect();
        Status { servers, why: self.why(now), ..self.status_in_brief(now) }
    }

    /// [`status`](Self::status) without `servers` and `why`, which take memory and work: for hosts with little of both, which ask
    /// [`server`](Self::server), [`why`](Self::why) and [`is_healthy`](Self::is_healthy) when they want to know.
    pub fn status_in_brief(&self, now: Instant) -> Status {
        let now = self.now.max(now);
        let fatal = match &self.life.phase {
            Phase::Failed(fatal) | Phase::Ending(fatal) => Some(fatal.clone()),
            Phase::Running | Phase::Closing | Phase::Aborting | Phase::Closed => None,
        };
        let producer_id = match self.identity.standing {
            Standing::Known(identity) => Some((identity.producer_id, identity.epoch)),
            Standing::Off | Standing::Needed => None,
        };
        Status {
            servers: Vec::new(),
            open_records: self.open_records(),
            oldest_record: self.oldest_age(now),
            why: None,
            last_delivery: self.delivered_at.map(|at| now.saturating_since(at)),
            buffered: self.records.pool.used(),
            buffer_memory: self.config.buffer_memory,
            in_flight: self.in_flight(),
            producer_id,
            denied: self.sessions.denied.clone(),
            fatal,
            closing: !matches!(self.life.phase, Phase::Running | Phase::Failed(_)),
        }
    }

    /// What stands in the way at this moment: of the oldest record, or, where none is open, of asking the cluster at all. `None` if
    /// nothing does. The same as [`Status::why`], for less work.
    pub fn why(&self, now: Instant) -> Option<Why> {
        let now = self.now.max(now);
        let oldest = self.records.batches.oldest();
        oldest.map_or_else(|| self.why_unasked(now), |slot| self.why_undelivered(now, slot))
    }

    /// One of [`Status::servers`], by its place there; `None` behind the last. For hosts with little memory, which is taken for one server
    /// alone: two calls see the same list only if nothing else was called in between.
    pub fn server(&self, now: Instant, place: usize) -> Option<ServerStatus> {
        let (server, node) = self.servers_that_count().nth(place)?;
        Some(self.server_status(self.now.max(now), server, node))
    }

    /// [`Status::is_healthy`] at this moment, without a `Status`: it takes no memory.
    pub fn is_healthy(&self, now: Instant, max_age: Duration) -> bool {
        let now = self.now.max(now);
        let running = self.life.phase == Phase::Running;
        let server = |(server, node): (u32, Option<i32>)| {
            (node.is_some(), matches!(self.standing_of(now, server), ServerStanding::Down(_)))
        };
        running
            && self.sessions.denied.is_none()
            && gets_through(self.oldest_age(now), max_age, self.servers_that_count().map(server))
    }

    /// How long the oldest open record has waited.
    fn oldest_age(&self, now: Instant) -> Option<Duration> {
        let oldest = self.records.batches.oldest();
        oldest.map(|slot| now.saturating_since(self.records.batches[slot].created))
    }

    /// The brokers of the newest metadata, with their node ids; and addresses of `bootstrap.servers` that tell more than they do.
    fn servers_that_count(&self) -> impl Iterator<Item = (u32, Option<i32>)> {
        let brokers = || self.control.brokers.current().map(|(_, broker)| (broker.server, Some(broker.id)));
        let counts = move |server: u32| {
            self.control.servers[server].any_trouble().is_some()
                || self.connections_of(server).next().is_some()
                || brokers().next().is_none()
        };
        let others = self
            .control
            .servers
            .bootstrap()
            .filter(move |server| counts(*server) && !brokers().any(|(other, _)| other == *server));
        brokers().chain(others.map(|server| (server, None)))
    }

    fn standing_of(&self, now: Instant, index: u32) -> ServerStanding<'_> {
        let server = &self.control.servers[index];
        let trouble = server.any_trouble().filter(|trouble| self.is_recent(now, index, trouble));
        let up = self.reached_since(index, trouble.map_or(Instant::ZERO, |trouble| trouble.at));
        match (up, trouble, self.connections_of(index).next()) {
            (Some(since), ..) => ServerStanding::Up(since),
            (None, Some(trouble), _) => ServerStanding::Down(trouble),
            (None, None, Some(connection)) => ServerStanding::Connecting(connection.opened),
            (None, None, None) => ServerStanding::Idle,
        }
    }

    fn server_status(&self, now: Instant, index: u32, node: Option<i32>) -> ServerStatus {
        let server = &self.control.servers[index];
        let lasts = |since: Instant| now.saturating_since(since);
        let state = match self.standing_of(now, index) {
            ServerStanding::Up(since) => ServerState::Up { lasts: lasts(since) },
            ServerStanding::Down(trouble) => {
                ServerState::Down { lasts: lasts(trouble.since), error: trouble.error.clone() }
            }
            ServerStanding::Connecting(since) => ServerState::Connecting { lasts: lasts(since) },
            ServerStanding::Idle => ServerState::Idle,
        };
        ServerStatus {
            server: ServerName { node, host: server.host.clone(), port: server.port },
            state,
            in_flight: self.connections_of(index).map(Connection::in_flight).sum(),
            silent_for: self.connections_of(index).filter_map(Connection::silent_since).min().map(lasts),
            last_round_trip: server.round_trip,
            throttled_for: server.paused_until().filter(|until| *until > now).map(|until| until.saturating_since(now)),
        }
    }

    /// Since when there is a connection that is ready, of those that were opened after a moment.
    fn reached_since(&self, server: u32, after: Instant) -> Option<Instant> {
        let newer = self.connections_of(server).filter(|connection| connection.opened >= after);
        newer.filter_map(|connection| connection.ready_since).min()
    }

    fn connections_of(&self, server: u32) -> impl Iterator<Item = &Connection> {
        self.sessions.connections.values().map(|it| &**it).filter(move |connection| connection.server == server)
    }

    /// Why a batch has not been delivered yet.
    pub(super) fn why_undelivered(&self, now: Instant, slot: u32) -> Option<Why> {
        let batch = &self.records.batches[slot];
        let partition = &self.records.partitions[batch.partition];
        let Some(leader) = partition.leader else {
            let lasts = now.saturating_since(partition.led_since);
            return self.why_unasked(now).or(Some(Why::NoLeader { lasts }));
        };
        let broker = &self.control.brokers[leader];
        let server = || self.name_of(broker.server, Some(broker.id));
        if let Some(until) = self.control.servers[broker.server].records_paused_until().filter(|until| *until > now) {
            return Some(Why::Throttled { server: server(), left: until.saturating_since(now) });
        }
        if let Some(trouble) = self.control.servers[broker.server].trouble() {
            if self.is_recent(now, broker.server, trouble) {
                return Some(unreachable(now, server(), trouble));
            }
        }
        let connection = broker.conn.and_then(|conn| self.sessions.connections.get(&conn));
        if let Some(connection) = connection {
            if let Some(lasts) = silence(now, connection) {
                return Some(Why::Silent { server: server(), lasts });
            }
        }
        if let Some(code) = batch.last_error {
            return Some(Why::Refusing { server: server(), code });
        }
        if self.identity.standing == Standing::Needed {
            let unasked = self.why_unasked(now);
            return unasked.or_else(|| Some(Why::NoProducerId { code: self.control.producer_id_error? }));
        }
        None
    }

    /// Why no server can be asked for what it knows.
    pub(crate) fn why_unasked(&self, now: Instant) -> Option<Why> {
        let asking = self.control.servers.trouble();
        // That of connections for records counts where nobody could be asked, or nobody can be reached at all.
        let counts = asking.is_some() || !self.is_let_in();
        let brokers = self.control.brokers.current().filter(|_| counts);
        let of_records = brokers.filter_map(|(_, broker)| self.control.servers[broker.server].trouble());
        if let Some(newest) = of_records.chain(asking).max_by_key(|trouble| trouble.at) {
            let index = self.control.servers.find(&newest.host, newest.port);
            let is_recent = match index {
                Some(index) => self.is_recent(now, index, newest) && self.reached_since(index, newest.at).is_none(),
                None => now.saturating_since(newest.at) <= RECENT,
            };
            if is_recent {
                let node = index.and_then(|index| self.node_at(index));
                let server = ServerName { node, host: newest.host.clone(), port: newest.port };
                return Some(unreachable(now, server, newest));
            }
        }
        let control = self.sessions.connections.values().filter(|connection| connection.role == Role::Control);
        let silent = control.filter_map(|connection| Some((silence(now, connection)?, connection)));
        let (lasts, connection) = silent.max_by_key(|(lasts, _)| *lasts)?;
        Some(Why::Silent { server: self.name_of(connection.server, self.node_at(connection.server)), lasts })
    }

    /// Why memory does not come back: what keeps the oldest record.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn why_full(&self, now: Instant) -> Option<Why> {
        self.records.batches.oldest().and_then(|slot| self.why_undelivered(now, slot))
    }

    /// Whether it was seen a moment ago, or the server is being tried again: not a trouble of yesterday.
    fn is_recent(&self, now: Instant, server: u32, trouble: &Trouble) -> bool {
        now.saturating_since(trouble.at) <= RECENT || self.control.servers.may_connect(server, false, now) != May::Now
    }

    fn name_of(&self, index: u32, node: Option<i32>) -> ServerName {
        let server = &self.control.servers[index];
        ServerName { node, host: server.host.clone(), port: server.port }
    }

    fn node_at(&self, server: u32) -> Option<i32> {
        self.control.brokers.current().find(|(_, broker)| broker.server == server).map(|(_, broker)| broker.id)
    }
}

fn unreachable(now: Instant, server: ServerName, trouble: &Trouble) -> Why {
    Why::Unreachable { server, error: trouble.error.clone(), lasts: now.saturating_since(trouble.since) }
}

fn silence(now: Instant, connection: &Connection) -> Option<Duration> {
    let lasts = now.saturating_since(connection.silent_since()?);
    (lasts >= SILENCE).then_some(lasts)
}
