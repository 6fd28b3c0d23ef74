//! Requests that are not for records: metadata, producer ids, the list of topics. For each it is seen anew which server is
//! asked: of the brokers that are known the one that lost its turn longest ago and is nearest at hand, but none that asked
//! for a pause or backs off; the bootstrap servers when no other is left. A server whose answer was an error, or brought
//! nothing new although something is wanted, loses its turn.

use core::time::Duration;

use smallvec::SmallVec;

use crate::connection::{Phase as ConnectionPhase, RequestKind, Role};
use crate::error::{ConnectionError, FatalError};
use crate::event::Event;
use crate::ids::ConnId;
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::control::producer_id::ProducerIdRequest;
use crate::producer::control::servers::{May, Rank, Server, Task};
use crate::producer::delivery::drain::MEMORY_INTERVAL;
use crate::producer::lifecycle::Phase;
use crate::producer::machine::Control;
use crate::time::Instant;
use crate::wire::{Api, api_versions, init_producer_id, metadata};

/// The patience with a server: with a connection that is not ready, and at first with a request that is not answered; that is
/// doubled while servers stay silent, up to `request.timeout.ms`. Another server may know at once what a stopped one will never
/// say.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nothing is looked at again sooner than after this, and an answer that is owed for longer is none that comes at once.
const MOMENT: Duration = Duration::from_millis(300);

/// How many connections are opened at a time while those before are silent.
const MOST_OPENING: usize = 3;

/// How many of them may go to addresses that only other servers have named.
const MOST_HEARSAY: usize = 2;

/// How many control connections are kept.
const MOST_KEPT: usize = 3;

/// How often the list of topics may break a connection, until it is given up.
const MOST_BROKEN_LISTS: u32 = 3;

/// Something that the application wants to be asked: the list of all topics, or whether anybody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Question {
    /// Nobody wants it.
    #[default]
    Idle,
    /// It is to be asked for, not before this time; after so many failures.
    Wanted(Instant, u32),
    /// It was asked for, after so many failures.
    InFlight(u32),
}

impl Question {
    /// Someone wants it; whoever wants it while it is on its way gets the same. A newcomer does not wait for the backoff of one
    /// who may have more time.
    pub(crate) fn want(&mut self) {
        match *self {
            Self::Idle => *self = Self::Wanted(Instant::ZERO, 0),
            Self::Wanted(_, failures) => *self = Self::Wanted(Instant::ZERO, failures),
            Self::InFlight(_) => {}
        }
    }

    /// What was asked for has failed: it is wanted again after the backoff, if anybody still wants it.
    fn failed(&mut self, until: Instant) {
        if let Self::InFlight(failures) = *self {
            *self = Self::Wanted(until, failures.saturating_add(1));
        }
    }

    /// When it is to be asked, if it is not under way.
    fn due(self) -> Option<Instant> {
        match self {
            Self::Wanted(at, _) => Some(at),
            Self::Idle | Self::InFlight(_) => None,
        }
    }

    fn failures(self) -> u32 {
        match self {
            Self::Idle => 0,
            Self::Wanted(_, failures) | Self::InFlight(failures) => failures,
        }
    }
}

/// How to come to ask a server.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Now, on this connection.
    Ready(ConnId),
    /// Its connection is not ready yet.
    Opening,
    /// It has to be connected to.
    Connect,
}

/// Who is to be asked, as far as was looked.
#[derive(Debug, Default)]
struct Choice {
    /// For what.
    task: Task,
    best: Option<(Rank, u32, Way)>,
    /// The best that is known by more than hearsay.
    vouched: Option<(Rank, u32, Way)>,
    /// The best of those that can be asked at once.
    ready: Option<(Rank, ConnId)>,
    /// The best of those that are no brokers, if it is not connected.
    stranger: Option<(Rank, u32)>,
    /// Connections that are not ready: each once, however many brokers are at its address.
    opening: SmallVec<[ConnId; MOST_OPENING]>,
    /// Those among them to addresses that only other servers have named.
    hearsay: usize,
    /// Until when one of them is waited for.
    patient_until: Option<Instant>,
    /// When the first that backs off, or has asked for a pause, may be asked.
    not_before: Option<Instant>,
    /// A server that did not let this client in.
    refused: Option<u32>,
    /// There is no memory for another connection.
    no_room: bool,
    /// Until when those are asked that are connected, for they are as many as are kept, and another was connected to just now.
    enough_until: Option<Instant>,
}

impl Producer {
    /// When the connection has its turn, if it was made to ask something that is still to be asked, and was not used yet. As long as that
    /// waits for its time, the connection is not idle: who was asked meanwhile, for this one was slow, may be of no help.
    pub(in crate::producer) fn has_its_turn_at(&self, conn: ConnId) -> Option<Instant> {
        let connection = self.sessions.connections.get(&conn)?;
        let is_new = connection.role == Role::Control && !connection.proven && !connection.leaving;
        let due = self.other_request_due().filter(|_| is_new && !planted("turns-are-forgotten"))?;
        Some(due.max(self.now + MOMENT)) // what is due by now may wait for another server
    }

    /// The next moment at which a server has to be asked, or at least looked for. `None` if nothing is to be asked, or what is
    /// waits for something that will be told, such as that a connection is ready.
    #[inline]
    pub(in crate::producer) fn control_deadline(&self) -> Option<Instant> {
        let asked_until = self.control.looks_again?;
        let refresh = self.records.topics.refresh.due();
        let wanted = match (refresh, self.other_request_due()) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other)?,
        };
        if planted("no-control-deadline") && wanted.max(asked_until) > self.now {
            return None;
        }
        self.may_ask().then(|| wanted.max(asked_until))
    }

    /// When a producer id is to be asked for, or what the application wants to know.
    #[inline]
    fn other_request_due(&self) -> Option<Instant> {
        let Control { listing, ping, .. } = &self.control;
        [self.producer_id_due(), listing.due(), ping.due()].into_iter().flatten().min()
    }

    fn may_ask(&self) -> bool {
        matches!(self.life.phase, Phase::Running | Phase::Closing)
    }

    /// Something has changed that may let a server be asked.
    pub(in crate::producer) fn look_again(&mut self) {
        self.control.looks_again = Some(Instant::ZERO);
    }

    /// Sends the control requests that are due, or asks for the connection that they need. False if there is nothing to do now;
    /// then [`control_deadline`](Self::control_deadline) says when there will be.
    pub(in crate::producer) fn pursue_control(&mut self) -> bool {
        let now = self.now;
        if self.control_deadline().is_none_or(|at| at > now) {
            return false;
        }
        let choice = self.choose_server(now);
        let Some((_, server, way)) = choice.best else {
            self.control.looks_again = choice.not_before;
            return self.say_if_denied(&choice);
        };
        // One that has failed is not waited for while another can be asked.
        let failing = self.control.servers[server].attempts.failures > 0;
        let ready = choice.ready.map(|(_, conn)| conn).filter(|conn| self.asks_anything_of(*conn, choice.task));
        match way {
            Way::Ready(conn) => self.send_control(conn, choice.task),
            Way::Connect if choice.patient_until.is_none() && choice.opening.len() < MOST_OPENING => {
                // The next look finds it, and sees how long it is waited for.
                self.connect_control(server);
                if let Some(conn) = ready.filter(|_| failing) {
                    self.send_control(conn, choice.task);
                }
            }
            Way::Opening | Way::Connect => match ready.filter(|_| failing || choice.patient_until.is_none()) {
                Some(conn) => self.send_control(conn, choice.task),
                None if choice.patient_until.is_some() => self.control.looks_again = choice.patient_until,
                // Enough brokers are silent already.
                None => match choice.stranger {
                    Some((_, server)) => self.connect_control(server),
                    // One of them will be given up, or be ready after all.
                    None => self.control.looks_again = None,
                },
            },
        }
        true
    }

    /// Whether anything would be sent there: not if it owes an answer to all that is due.
    fn asks_anything_of(&self, conn: ConnId, task: Task) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let owes = |kind: RequestKind| self.sessions.connections.get(&conn).is_some_and(|it| it.awaits(kind));
        planted("who-owes-is-ready")
            || self.metadata_is_due()
            || self.asks_for_an_id(task)
            || (is_due(self.control.listing.due()) && !owes(RequestKind::TopicList))
            || (is_due(self.control.ping.due()) && !owes(RequestKind::Ping))
    }

    /// Whether a producer id is asked for along with this. Once someone has given none, that is asked of whose turn it is, not of whoever
    /// is good for metadata.
    fn asks_for_an_id(&self, task: Task) -> bool {
        let may = task == Task::ProducerId || self.control.producer_id.failures() == 0 || planted("ids-go-along");
        may && self.producer_id_due().is_some_and(|at| at <= self.now)
    }

    /// Looks for the server to be asked.
    fn choose_server(&mut self, now: Instant) -> Choice {
        let is_due = |question: Question| question.due().is_some_and(|at| at <= now);
        let only_an_id = !self.metadata_is_due() && !is_due(self.control.listing) && !is_due(self.control.ping);
        let task = if only_an_id { Task::ProducerId } else { Task::Metadata };
        let enough_until = self.has_enough_until(now);
        let mut choice = Choice { task, no_room: !self.has_room_to_connect(), enough_until, ..Choice::default() };
        let mut known: SmallVec<[u32; 16]> = SmallVec::new();
        for (_, broker) in self.control.brokers.current() {
            known.push(broker.server);
            self.consider(&mut choice, now, broker.server, broker.conn, false);
        }
        if self.config.rebootstrap || known.is_empty() {
            // A server may know of no other one, and be wrong.
            let stranger = !known.iter().all(|server| self.control.servers.is_no_help(*server)) || known.is_empty();
            for server in self.control.servers.bootstrap().filter(|server| !known.contains(server)) {
                self.consider(&mut choice, now, server, None, stranger);
            }
        }
        if let Some((Rank { hearsay: true, .. }, _, Way::Connect)) = choice.best {
            if choice.hearsay >= MOST_HEARSAY {
                choice.best = choice.vouched;
            }
        }
        let none_left = choice.best.is_none_or(|(rank, ..)| rank.stranger);
        if none_left && self.config.rebootstrap && !known.is_empty() && !self.is_let_in() {
            // As Java's rebootstrap: the cluster may be another one by now, or be back from long ago.
            self.control.era += u32::from(!planted("rebootstrap-forgets-nothing"));
        }
        choice
    }

    /// What is asked again and again is to cost no handshake each time. So once as many servers are connected to as are kept, and owe
    /// nothing, the next is connected to only a while after the last: until when.
    fn has_enough_until(&self, now: Instant) -> Option<Instant> {
        let until = self.control.connected_at? + PATIENCE;
        let at_hand = |server: &Server| {
            let connection = server.control.and_then(|conn| self.sessions.connections.get(&conn));
            connection.is_some_and(|connection| connection.is_usable(now) && connection.in_flight() == 0)
        };
        let is_enough = || self.control.servers.in_use().filter(|(_, server)| at_hand(server)).count() >= MOST_KEPT;
        (until > now && is_enough() && !planted("each-question-connects")).then_some(until)
    }

    /// Whether any server lets this client in.
    pub(in crate::producer) fn is_let_in(&self) -> bool {
        self.sessions.connections.values().any(|connection| connection.phase == ConnectionPhase::Ready)
    }

    /// `data`: the connection for records, if it is a broker; `stranger`: it is none, as far as is known.
    fn consider(&self, choice: &mut Choice, now: Instant, index: u32, data: Option<ConnId>, stranger: bool) {
        let server = &self.control.servers[index];
        if server.refusal.is_some() {
            choice.refused = Some(index);
        }
        let mut later = |at: Instant| choice.not_before = Some(choice.not_before.map_or(at, |before| before.min(at)));
        let connection = server.control.and_then(|conn| Some((conn, self.sessions.connections.get(&conn)?)));
        let (way, distance) = match connection {
            Some((conn, connection)) if connection.is_usable(now) => (Way::Ready(conn), 0),
            Some((_, connection)) if connection.throttled_until.is_some_and(|until| until > now) => {
                return later(connection.throttled_until.unwrap_or(now));
            }
            Some((conn, connection)) => {
                if !choice.opening.contains(&conn) || planted("each-broker-counts") {
                    choice.opening.push(conn);
                    choice.hearsay += usize::from(self.control.servers.is_hearsay(index));
                }
                let patient_until = match connection.phase {
                    ConnectionPhase::Opening | ConnectionPhase::Negotiating(_) => connection.opened + PATIENCE,
                    ConnectionPhase::Authenticating | ConnectionPhase::Ready => {
                        connection.authentication_began + PATIENCE
                    }
                };
                // It may be up to the application to say who it is: then nothing of this is on the wire.
                let waits_for_server = connection.phase == ConnectionPhase::Opening || connection.in_flight() > 0;
                let silent = waits_for_server && patient_until <= now;
                if silent {
                    return;
                }
                let until = patient_until.max(now + MOMENT);
                choice.patient_until = Some(choice.patient_until.map_or(until, |before| before.min(until)));
                (Way::Opening, 1)
            }
            None => match self.control.servers.may_connect(index, true, now) {
                May::AfterAnother => return,
                May::NotBefore(at) => return later(at),
                May::Now if choice.no_room => return later(now + MEMORY_INTERVAL),
                May::Now => match choice.enough_until {
                    Some(until) => return later(until),
                    None => (Way::Connect, 2),
                },
            },
        };
        let data = data.and_then(|conn| self.sessions.connections.get(&conn));
        let distance =
            if distance == 2 && data.is_none_or(|data| data.phase != ConnectionPhase::Ready) { 3 } else { distance };
        let load = data.map_or(0, |data| data.in_flight());
        let debtor = connection.filter(|_| distance == 0 && !planted("debts-are-ignored"));
        let owed_since = debtor.and_then(|(_, connection)| connection.silent_since());
        let mut rank = self.control.servers.rank(index, choice.task, stranger, distance, load);
        rank.owes = owed_since.is_some();
        if let (Way::Connect, true) = (way, stranger && choice.stranger.is_none_or(|(best, _)| rank < best)) {
            choice.stranger = Some((rank, index));
        }
        if choice.best.is_none_or(|(best, ..)| rank < best) {
            choice.best = Some((rank, index, way));
        }
        if !rank.hearsay && choice.vouched.is_none_or(|(best, ..)| rank < best) {
            choice.vouched = Some((rank, index, way));
        }
        // Behind an answer that is owed for long, it would not be asked at once.
        let owes_for_long = owed_since.is_some_and(|since| since + MOMENT <= now);
        if let (Way::Ready(conn), false) = (way, owes_for_long) {
            if choice.ready.is_none_or(|(best, _)| rank < best) {
                choice.ready = Some((rank, conn));
            }
        }
    }

    /// No server can be asked now: all were tried. If one of them did not let this client in, and none does, whoever waits is
    /// told. Whether that is news.
    fn say_if_denied(&mut self, choice: &Choice) -> bool {
        let refused = choice.refused.filter(|_| choice.opening.is_empty() && !self.is_let_in());
        let refusal = refused.and_then(|server| self.control.servers[server].refusal.clone());
        refusal.is_some_and(|refusal| self.deny(refusal)) && !planted("denied-is-no-news")
    }

    fn connect_control(&mut self, server: u32) {
        let conn = self.connect(Role::Control, server);
        self.control.connected_at = Some(self.now);
        self.control.servers[server].control = Some(conn);
        let ready = |conn: &ConnId| {
            let connection = self.sessions.connections.get(conn);
            connection.is_some_and(|connection| connection.phase == ConnectionPhase::Ready)
        };
        let kept = |(index, server): (u32, &Server)| Some((index, server.control.filter(ready)?));
        let kept: SmallVec<[(u32, ConnId); 8]> = self.control.servers.in_use().filter_map(kept).collect();
        if kept.len() < MOST_KEPT {
            return;
        }
        // The one that will be asked last.
        let idle = |(_, conn): &(u32, ConnId)| self.sessions.connections[conn].in_flight() == 0;
        let last = kept.into_iter().filter(idle).max_by_key(|(index, _)| self.control.servers.lost_turn(*index));
        if let Some((_, conn)) = last {
            self.drop_connection(self.now, conn);
        }
    }

    fn send_control(&mut self, conn: ConnId, task: Task) {
        let now = self.now;
        self.look_again();
        let Some(connection) = self.sessions.connections.get(&conn) else { return };
        let versions = connection.versions;
        let patience = |kind: RequestKind| {
            let doublings = self.control.servers.silences(kind).min(16);
            (PATIENCE * (1 << doublings)).min(self.request_patience())
        };
        let [for_metadata, for_list, for_pong, for_id] =
            [RequestKind::Metadata, RequestKind::TopicList, RequestKind::Ping, RequestKind::InitProducerId]
                .map(patience);
        let client = &*self.config.client_id;
        if let (true, Some(version)) = (self.metadata_is_due(), versions.metadata) {
            let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
            let partitions = &self.records.partitions;
            self.records.topics.take_wanted(now, |partition| !partitions[partition].is_idle());
            let names = Some(self.records.topics.asked_names());
            let create = self.config.allow_auto_create_topics;
            connection.request(now, Api::Metadata, RequestKind::Metadata, version, client, for_metadata, |out| {
                metadata::encode(out, version, names, create);
            });
            self.stats.metadata_requests += 1;
        }
        if let (true, Some(version)) = (self.control.listing.due().is_some_and(|at| at <= now), versions.metadata) {
            let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
            self.control.listing = Question::InFlight(self.control.listing.failures());
            // One that was given up there is as good.
            if !connection.awaits(RequestKind::TopicList) {
                let all = None::<core::iter::Empty<&str>>;
                connection.request(now, Api::Metadata, RequestKind::TopicList, version, client, for_list, |out| {
                    metadata::encode(out, version, all, false);
                });
                self.stats.metadata_requests += 1;
            }
        }
        if self.control.ping.due().is_some_and(|at| at <= now) {
            let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
            self.control.ping = Question::InFlight(self.control.ping.failures());
            if !connection.awaits(RequestKind::Ping) || planted("pings-pile-up") {
                connection.request(now, Api::ApiVersions, RequestKind::Ping, 0, client, for_pong, |out| {
                    api_versions::encode(out, 0, "", "");
                });
            }
        }
        if self.asks_for_an_id(task) {
            let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
            let Some(version) = versions.init_producer_id else {
                self.fail_for_good(FatalError::NO_PRODUCER_IDS);
                return;
            };
            self.control.producer_id = ProducerIdRequest::InFlight(self.control.producer_id.failures());
            connection.request(now, Api::InitProducerId, RequestKind::InitProducerId, version, client, for_id, |out| {
                init_producer_id::encode(out, version, &init_producer_id::Request::NEW);
            });
        }
        self.arm(conn);
        self.watch(conn);
    }

    fn metadata_is_due(&self) -> bool {
        self.records.topics.refresh.due().is_some_and(|at| at <= self.now)
    }

    /// A server has answered a ping. That may be one that was given up: whoever wants to know now knows, too.
    pub(in crate::producer) fn ponged(&mut self, server: u32) {
        if core::mem::take(&mut self.control.ping) != Question::Idle {
            let round_trip = self.control.servers[server].round_trip.unwrap_or_default();
            self.outbox.event(Event::Pong { round_trip });
        }
    }

    /// The ping was not answered: another server is asked.
    pub(in crate::producer) fn ping_failed(&mut self, now: Instant) {
        let until = now + self.retry_backoff.after(self.control.ping.failures(), &mut self.random);
        self.control.ping.failed(until);
    }

    /// Nobody waits any more for the answers to such requests: servers that owe one are asked after the others.
    pub(in crate::producer) fn give_way(&mut self, kind: RequestKind) {
        let owing = self.sessions.connections.values().filter(|connection| connection.awaits(kind));
        let owing: SmallVec<[u32; 4]> = owing.map(|connection| connection.server).collect();
        owing.into_iter().for_each(|server| self.control.servers.give_way(server, Task::Metadata));
        self.look_again();
    }

    /// The list of topics was answered with an error, or not at all. `broke`: in a way that broke the connection.
    pub(in crate::producer) fn listing_failed(&mut self, now: Instant, broke: Option<&ConnectionError>) {
        let failures = self.control.listing.failures();
        match broke {
            Some(error) if failures + 1 >= MOST_BROKEN_LISTS && self.control.listing != Question::Idle => {
                self.control.listing = Question::Idle;
                self.outbox.event(Event::TopicsNotListed(error.clone()));
            }
            _ => {
                let until = now + self.retry_backoff.after(failures, &mut self.random);
                self.control.listing.failed(until);
            }
        }
    }
}
