//! Connections: made, negotiated, lost; and who is told what comes in on them.

use alloc::boxed::Box;
use alloc::string::ToString;

use smallvec::SmallVec;

use crate::connection::pace::Pace;
use crate::connection::sasl::{Custom, Exchange};
use crate::connection::window::{Answer, Window};
use crate::connection::{Connection, Phase, Request, RequestKind, Role};
use crate::error::{ConnectionError, ErrorCode};
use crate::event::{Cause, Event, Output};
use crate::ids::ConnId;
use crate::memory;
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::control::brokers::Broker;
use crate::producer::control::servers::May;
use crate::producer::timers::Timer;
use crate::time::Instant;
use crate::wire::{self, Api, api_versions, init_producer_id, metadata, produce, sasl};

use core::time::Duration;

/// How often a server may close a connection at its first request before that counts as a refusal.
const CHANCE: u32 = 2;

/// Pauses are kept that long, and as long as a record may live. Brokers have no bound for them; but nothing that is under way is
/// wanted any more by then, and by nonsense of one answer a broker would be lost for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl Producer {
    /// Asks for a connection to a broker.
    pub(in crate::producer) fn connect_broker(&mut self, index: u32) {
        let conn = self.connect(Role::Broker(index), self.control.brokers[index].server);
        self.control.brokers[index].conn = Some(conn);
    }

    /// Whether there is memory for another connection, where that may lack.
    pub(in crate::producer) fn has_room_to_connect(&mut self) -> bool {
        !self.records.pool.is_small()
            || self.records.pool.make_spare_room(0)
            || self.records.pool.make_room_beside(0, memory::CONNECTION)
    }

    /// Asks for a connection to a broker to which nothing is to be sent yet.
    pub(in crate::producer) fn connect_early(&mut self, index: u32) {
        let Broker { conn, server, .. } = self.control.brokers[index];
        let may = conn.is_none() && self.control.servers.may_connect(server, false, self.now) == May::Now;
        if may && self.has_room_to_connect() && !planted("connects-late") {
            self.connect_broker(index);
        }
    }

    pub(in crate::producer) fn connect(&mut self, role: Role, index: u32) -> ConnId {
        self.sessions.next_conn += 1;
        let conn = ConnId(self.sessions.next_conn);
        self.control.servers.stay(index);
        let server = &mut self.control.servers[index];
        let setup = self.sessions.setup_backoff.after(server.attempts.setup_timeouts, &mut self.random);
        let (host, port, attempt) = (server.host.clone(), server.port, server.attempts.failures);
        server.attempts.begin(self.now, conn);
        self.outbox.output(Output::Connect { conn, host: host.clone(), port, attempt });
        let window = Window::new(self.config.max_in_flight, self.config.adaptive_in_flight);
        let pace = Pace::new(self.config.linger);
        let connection = Connection::new(self.now, role, index, (host, port), setup, window, pace);
        self.sessions.connections.insert(conn, Box::new(connection));
        self.records.pool.spare = memory::spare(self.sessions.connections.len());
        self.stats.connections += 1;
        self.watch(conn);
        conn
    }

    /// It is known how the connection goes: who waited for that may try, too.
    pub(in crate::producer) fn probed(&mut self, conn: ConnId, index: u32) {
        if self.control.servers[index].attempts.probed(conn) {
            self.attend_all(|broker| broker.server == index);
        }
    }

    /// Whatever these brokers have to send leaves, if it may.
    pub(in crate::producer) fn attend_all(&mut self, of: impl Fn(&Broker) -> bool) {
        let brokers = self.control.brokers.all().filter(|(_, broker)| !broker.ready.is_empty() && of(broker));
        let brokers: SmallVec<[u32; 16]> = brokers.map(|(index, _)| index).collect();
        for index in brokers {
            self.attend(index);
        }
    }

    pub(in crate::producer) fn connected(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else {
            return;
        };
        if connection.phase != Phase::Opening {
            return;
        }
        let version = self.control.servers[connection.server].attempts.api_versions();
        self.negotiate(now, conn, version);
    }

    fn negotiate(&mut self, now: Instant, conn: ConnId, version: i16) {
        let timeout = self.config.request_timeout;
        let Some(connection) = self.sessions.connections.get_mut(&conn) else {
            return;
        };
        connection.negotiate(now, version, &self.config.client_id, timeout);
        self.arm(conn);
        self.watch(conn);
    }

    pub(in crate::producer) fn disconnected(&mut self, now: Instant, conn: ConnId, cause: Cause<'_>) {
        let Some(connection) = self.sessions.connections.get(&conn) else {
            if !planted("closes-what-is-gone") {
                self.outbox.withdraw(conn);
            }
            return;
        };
        let at_large = match connection.role {
            Role::Broker(index) => connection.closed_at(now, self.control.brokers[index].largest_answered),
            Role::Control => None,
        };
        let is_early =
            connection.is_unproven() && self.config.sasl.is_none() && !self.control.servers[connection.server].proven;
        let error = match (cause, at_large) {
            (Cause::Closed | Cause::Io(_), Some(bytes)) => ConnectionError::ClosedAtLargeRequest { bytes },
            (Cause::Closed, None) if is_early => ConnectionError::ClosedEarly,
            (Cause::Closed, None) => ConnectionError::Closed,
            (Cause::Resolve(words), _) => ConnectionError::Resolve(words.to_string()),
            (Cause::Connect(words), _) => ConnectionError::Connect(words.to_string()),
            (Cause::Io(words), _) => ConnectionError::Io(words.to_string()),
            (Cause::Tls(words), _) => ConnectionError::Tls(words.to_string()),
            (Cause::Local, _) => ConnectionError::Io("closed by the host".to_string()),
        };
        self.lose(now, conn, error, false);
    }

    /// A connection's deadline may have come.
    pub(in crate::producer) fn check_connection(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else {
            return;
        };
        match connection.deadline(self.config.connections_max_idle) {
            Some(at) if at <= now => {
                if connection.phase == Phase::Ready && connection.reauthenticate_at.is_some_and(|at| at <= now) {
                    self.authenticate_again(now, conn);
                    return;
                }
                let mut why = connection.why_late();
                if why == ConnectionError::SetupTimeout {
                    why = self.why_not_authenticated(conn).unwrap_or(why);
                }
                if let (ConnectionError::Idle, Some(until)) = (&why, self.has_its_turn_at(conn)) {
                    if let Some(connection) = self.sessions.connections.get_mut(&conn) {
                        connection.wait_longer(until);
                    }
                    return self.watch(conn);
                }
                self.lose(now, conn, why, true);
            }
            _ => self.watch(conn),
        }
    }

    /// Sets the connection's timer to its deadline.
    pub(in crate::producer) fn watch(&mut self, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else {
            return;
        };
        match connection.deadline(self.config.connections_max_idle) {
            Some(at) => self.timers.set_if_sooner(Timer::Connection(conn), at),
            None => self.timers.clear(Timer::Connection(conn)),
        }
    }

    /// The connection is gone, or given up (`close`: the host has to close it). What it carried is unanswered.
    fn lose(&mut self, now: Instant, conn: ConnId, error: ConnectionError, close: bool) {
        let Some(mut connection) = self.sessions.connections.remove(&conn) else {
            return;
        };
        self.records.pool.spare = memory::spare(self.sessions.connections.len());
        self.timers.clear(Timer::Connection(conn));
        let custom = connection.exchange.take_if(|exchange| matches!(exchange, Exchange::Custom(_)));
        if let Some(Exchange::Custom(Custom::Home(exchange))) = custom {
            self.sessions.mechanism.bury(exchange);
        }
        if close {
            self.outbox.output(Output::Disconnect(conn));
        }
        let idle = error == ConnectionError::Idle;
        if let ConnectionError::NoMemory { bytes } = error {
            self.sessions.no_memory = Some(bytes);
        }
        let (role, index) = (connection.role, connection.server);
        match role {
            Role::Broker(broker) => self.control.brokers[broker].conn = None,
            Role::Control => self.control.servers[index].control = None,
        }
        let requests = connection.take_requests();
        if !idle {
            self.count_failure(now, conn, &connection, &error);
            // Brokers close what is not used for long, and when they restart: nothing was lost, and nobody is to worry.
            let ended = matches!(error, ConnectionError::Closed | ConnectionError::Io(_));
            let unused = ended && connection.proven && requests.is_empty();
            if unused {
                log::debug!("{}:{}: {error}, unused", connection.host, connection.port);
            } else {
                self.say_trouble(now, &connection, &error);
            }
            self.stats.connection_failures += 1;
            let (host, port) = (connection.host.clone(), connection.port);
            if !unused || planted("unused-is-trouble") {
                self.control.servers.note_trouble(index, role == Role::Control, now, &error);
            }
            self.outbox.event(Event::ConnectionFailed { conn, host, port, error: error.clone() });
        }
        if let (Role::Control, Some(first)) = (role, requests.front()) {
            self.control.servers.was_silent(first.kind); // what was asked later had to wait for it
        }
        for request in requests {
            self.forget(now, request, &error);
        }
        self.look_again();
        self.probed(conn, index);
        self.control.servers.leave(index);
        if let Role::Broker(broker) = role {
            if !idle && !planted("loss-is-no-news") {
                self.records.topics.refresh.want(); // it may lead nothing any more
            }
            self.attend(broker);
        }
    }

    /// A connection failed: its server is left alone for a while, and others are asked first.
    fn count_failure(&mut self, now: Instant, conn: ConnId, connection: &Connection, error: &ConnectionError) {
        let index = connection.server;
        self.control.servers.lose_turn(index, None);
        let newest = ConnId(self.sessions.next_conn);
        let server = &mut self.control.servers[index];
        let attempts = &mut server.attempts;
        // Once it may be a broker that has just started, or stops.
        let refusal =
            error.is_refusal() || (*error == ConnectionError::ClosedEarly && attempts.closed_early() > CHANCE);
        server.refusal = refusal.then(|| error.clone());
        // However it ends after much work, the work is not done again soon.
        let costly = connection.exchange.as_ref().is_some_and(Exchange::is_costly) && !planted("much-work-is-cheap");
        let rarely = refusal || (costly && connection.phase == Phase::Authenticating);
        if !attempts.failed(conn, newest) {
            return;
        }
        match connection.phase {
            // In silence, too: some servers don't answer a version of ApiVersions that they don't know.
            Phase::Negotiating(_) => attempts.negotiation_broke(),
            Phase::Opening | Phase::Authenticating | Phase::Ready => {}
        }
        if *error == ConnectionError::SetupTimeout {
            attempts.setup_timeouts += 1;
        }
        let (failures, refusals) = (attempts.failures, attempts.refusals);
        attempts.refusals = if rarely { refusals.saturating_add(1) } else { 0 };
        attempts.failures = failures.saturating_add(1);
        attempts.not_before = now
            + match rarely {
                // Another attempt will hardly help: brokers are not to be hammered.
                true => self.sessions.refusal_backoff.after(refusals, &mut self.random),
                false if planted("reconnects-at-once") => Duration::ZERO,
                false => self.sessions.reconnect_backoff.after(failures, &mut self.random),
            };
    }

    /// Gives a connection up, because of what the other side said.
    pub(in crate::producer) fn give_up(&mut self, now: Instant, conn: ConnId, error: ConnectionError) {
        self.lose(now, conn, error, true);
    }

    /// Gives a connection up that is not needed any more.
    pub(in crate::producer) fn drop_connection(&mut self, now: Instant, conn: ConnId) {
        self.lose(now, conn, ConnectionError::Idle, true);
    }

    /// Bytes came in.
    pub(in crate::producer) fn received(&mut self, now: Instant, conn: ConnId, mut bytes: &[u8]) {
        if let Some(connection) = self.sessions.connections.get(&conn) {
            self.control.servers[connection.server].traffic.bytes_received += bytes.len() as u64;
        }
        loop {
            let max = self.config.receive_message_max;
            let Some(connection) = self.sessions.connections.get_mut(&conn) else {
                return;
            };
            if connection.phase == Phase::Opening {
                return; // the host has not said that it stands
            }
            let taken = match connection.next_frame(&mut bytes, max) {
                Ok(None) => return,
                Ok(Some(frame)) => self.respond(now, conn, frame.bytes()),
                Err(ConnectionError::NoMemory { .. }) if self.records.pool.drop_one_idle() => continue,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                self.lose(now, conn, error, true);
                return;
            }
        }
    }

    /// A whole response came in.
    fn respond(&mut self, now: Instant, conn: ConnId, frame: &[u8]) -> Result<(), ConnectionError> {
        let correlation = wire::correlation(frame).ok_or_else(|| malformed("a response shorter than its header"))?;
        let Some(connection) = self.sessions.connections.get_mut(&conn) else {
            return Ok(());
        };
        let (previous, unanswered) = (connection.last_answer(), connection.in_flight());
        let Some(request) = connection.take_answered(now, correlation)? else {
            return Ok(());
        };
        let server = connection.server;
        self.measure_answer(now, server, &request);
        let api = match request.kind {
            RequestKind::ApiVersions | RequestKind::Ping => Api::ApiVersions,
            RequestKind::Metadata | RequestKind::TopicList => Api::Metadata,
            RequestKind::InitProducerId => Api::InitProducerId,
            RequestKind::SaslHandshake => Api::SaslHandshake,
            RequestKind::SaslAuthenticate => Api::SaslAuthenticate,
            RequestKind::Produce | RequestKind::ProduceUnanswered => Api::Produce,
        };
        let version = request.version;
        let (_, header) = match wire::response_header(api, version, frame) {
            Ok(header) => header,
            Err(error) => return self.give_back(now, request, malformed(error)),
        };
        let body = &frame[header..];
        let (request_kind, written) = (request.kind, request.written);
        match request_kind {
            RequestKind::ApiVersions => {
                let response = api_versions::decode(version, body).map_err(malformed)?;
                self.versions_known(now, conn, version, &response)?;
            }
            RequestKind::Ping => {
                let response = match api_versions::decode(version, body) {
                    Ok(response) => response,
                    Err(error) => return self.give_back(now, request, malformed(error)),
                };
                self.throttle(conn, api, version, response.throttle_ms);
                self.ponged(server);
            }
            RequestKind::Metadata | RequestKind::TopicList => {
                let response = match metadata::decode(version, body) {
                    Ok(response) => response,
                    Err(error) => return self.give_back(now, request, malformed(error)),
                };
                let bytes = self.memory_for(&response);
                if bytes > 0 && !self.records.pool.make_room(bytes + memory::LEFT) {
                    return self.give_back(now, request, ConnectionError::NoMemory { bytes });
                }
                self.throttle(conn, api, version, response.throttle_ms);
                if request.kind == RequestKind::TopicList {
                    self.topics_listed(now, server, &response);
                } else {
                    self.metadata_known(now, conn, server, &response);
                }
            }
            RequestKind::InitProducerId => {
                let response = match init_producer_id::decode(version, body) {
                    Ok(response) => response,
                    Err(error) => return self.give_back(now, request, malformed(error)),
                };
                self.throttle(conn, api, version, response.throttle_ms);
                self.producer_id_known(now, server, &response);
            }
            RequestKind::SaslHandshake => {
                let response = sasl::decode_handshake(body).map_err(malformed)?;
                self.mechanism_known(now, conn, &response)?;
            }
            RequestKind::SaslAuthenticate => {
                let response = sasl::decode_authenticate(version, body).map_err(malformed)?;
                self.challenged(now, conn, &response)?;
            }
            RequestKind::Produce | RequestKind::ProduceUnanswered => {
                let response = match produce::decode(version, body) {
                    Ok(response) => response,
                    Err(error) => return self.give_back(now, request, malformed(error)),
                };
                self.throttle(conn, api, version, response.throttle_ms);
                if let Some(Role::Broker(broker)) =
                    self.sessions.connections.get(&conn).map(|connection| connection.role)
                {
                    let largest = &mut self.control.brokers[broker].largest_answered;
                    *largest = request.size.max(*largest);
                }
                self.answered(now, request, &response);
            }
        }
        if let Some(role) = self.sessions.connections.get(&conn).map(|connection| connection.role) {
            if !request_kind.makes_ready() {
                self.was_of_use(conn);
                self.control.servers.was_answered(request_kind);
                if let Some(connection) = self.sessions.connections.get_mut(&conn) {
                    connection.proven = true;
                    self.control.servers[connection.server].proven = true;
                }
            }
            if let Role::Broker(broker) = role {
                if let (RequestKind::Produce, Some(written)) = (request_kind, written) {
                    self.pace(conn, broker, Answer { now, written, previous, unanswered });
                }
                self.attend(broker);
            }
        }
        self.watch(conn);
        Ok(())
    }

    /// How many requests pay is seen by when answers come, where something waits to be sent.
    fn pace(&mut self, conn: ConnId, broker: u32, answer: Answer) {
        let waiting = !self.control.brokers[broker].ready.is_empty();
        if let Some(connection) = self.sessions.connections.get_mut(&conn) {
            let waiting =
                waiting && connection.is_usable(answer.now) && connection.pace.held_until(answer.now).is_none();
            connection.window.answered(answer, waiting);
        }
    }

    /// A server answered a request, or took one that is not answered (`acks=0`): what was before is over.
    pub(in crate::producer) fn was_of_use(&mut self, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else { return };
        let (role, index) = (connection.role, connection.server);
        self.control.servers[index].attempts.answered(conn);
        self.control.servers.forget_trouble(index, role == Role::Control);
        if !self.alarms.is_empty() {
            self.say_answered(index);
        }
    }

    /// The answer to a request can't be read: it counts as unanswered, with all others on the connection.
    fn give_back(&mut self, now: Instant, request: Request, error: ConnectionError) -> Result<(), ConnectionError> {
        self.forget(now, request, &error);
        Err(error)
    }

    /// No answer will be had to a request.
    fn forget(&mut self, now: Instant, request: Request, error: &ConnectionError) {
        match request.kind {
            RequestKind::Produce | RequestKind::ProduceUnanswered => self.lost(now, request.entries),
            RequestKind::Metadata => self.metadata_failed(now),
            RequestKind::TopicList => {
                let broke = matches!(error, ConnectionError::Protocol(_));
                self.listing_failed(now, broke.then_some(error));
            }
            RequestKind::InitProducerId => self.producer_id_failed(now),
            RequestKind::Ping => self.ping_failed(now),
            RequestKind::ApiVersions | RequestKind::SaslHandshake | RequestKind::SaslAuthenticate => {}
        }
    }

    fn versions_known(
        &mut self,
        now: Instant,
        conn: ConnId,
        version: i16,
        response: &api_versions::Response,
    ) -> Result<(), ConnectionError> {
        match response.error {
            0 => {}
            35 if version > 0 => {
                self.negotiate(now, conn, 0);
                return Ok(());
            }
            code => {
                return Err(ConnectionError::Protocol(alloc::format!("ApiVersions was answered {}", ErrorCode(code))));
            }
        }
        let Some(connection) = self.sessions.connections.get_mut(&conn) else {
            return Ok(());
        };
        connection.negotiated(response, self.config.sasl.is_some())?;
        self.throttle(conn, Api::ApiVersions, version, response.throttle_ms);
        self.authenticate(now, conn)
    }

    /// The broker asks for a pause (KIP-219). It never gets shorter. In old versions of requests it has made the pause already.
    fn throttle(&mut self, conn: ConnId, api: Api, version: i16, millis: i32) {
        let Ok(millis @ 1..) = u64::try_from(millis) else {
            self.say_no_pause(conn, api);
            return;
        };
        let pause = Duration::from_millis(millis);
        let longest = LONGEST_PAUSE.max(self.config.delivery_timeout);
        let until = self.now + if planted("pause-without-end") { pause } else { pause.min(longest) };
        let Some(connection) = self.sessions.connections.get_mut(&conn) else {
            return;
        };
        let until = match connection.throttled_until {
            before if api.pauses_itself(version) => before,
            before => Some(before.map_or(until, |before| before.max(until))),
        };
        connection.throttled_until = until;
        // The next connection is to know of it.
        self.control.servers[connection.server].pause(connection.role == Role::Control, until);
        let node = match (connection.role, until) {
            (Role::Broker(index), Some(until)) => {
                self.timers.set(Timer::Broker(index), until);
                self.control.brokers[index].id
            }
            (Role::Broker(index), None) => self.control.brokers[index].id,
            (Role::Control, _) => -1,
        };
        self.say_pause(conn, api, pause);
        if let Some(measured) = &mut self.distributions {
            measured.throttle_time.record_span(pause, 1);
        }
        self.outbox.event(Event::Throttled { node, pause });
    }
}

fn malformed(why: impl core::fmt::Display) -> ConnectionError {
    ConnectionError::Protocol(why.to_string())
}
