//! Connections: made, negotiated, lost; and the requests that are not for records: metadata and producer ids.

use alloc::string::{String, ToString};

use crate::connection::sasl::{Custom, Exchange};
use crate::connection::{Connection, Phase, Request, RequestKind, Role};
use crate::error::{ConnectionError, ErrorCode, FatalError};
use crate::event::{Cause, Event, Output};
use crate::ids::ConnId;
use crate::producer::Producer;
use crate::producer::control::brokers::{Attempts, Link};
use crate::producer::control::requests::{Listing, ProducerIdRequest};
use crate::producer::delivery::idempotence::{Identity, Standing};
use crate::producer::lifecycle;
use crate::producer::timers::Timer;
use crate::time::Instant;
use crate::wire::{self, Api, api_versions, init_producer_id, metadata, produce, sasl};

use core::time::Duration;

/// The first patience with a control request; doubled while servers stay silent, up to `request.timeout.ms`. Another
/// server may know at once what a stopped one will never say.
const CONTROL_PATIENCE: Duration = Duration::from_secs(3);

/// How often a server may close a connection at its first request before that counts as a refusal.
const CHANCE: u32 = 2;

/// The codes after which a producer id is not asked for again: no such version, nonsense. After others, among them some that
/// Java gives up on, it is, with backoff: the records that wait have their own deadline.
const DEFINITE: [i16; 5] = [35, 42, 49, 53, 90];

/// `CLUSTER_AUTHORIZATION_FAILED`: no producer id for this user, until someone allows it.
const NOT_ALLOWED: i16 = 31;

impl Producer {
    /// Asks for a connection to a broker.
    pub(in crate::producer) fn connect_broker(&mut self, index: u32) {
        let broker = &self.control.brokers[index];
        let (server, attempts) = ((broker.host.clone(), broker.port), broker.attempts);
        let conn = self.connect(Role::Broker(index), server, attempts);
        self.control.brokers[index].attempts.link = Link::Up(conn);
    }

    fn connect_control(&mut self) {
        let server = self.control.brokers.control_server(!self.config.rebootstrap);
        let conn = self.connect(Role::Control, server, self.control.brokers.control.attempts);
        self.control.brokers.control.attempts.link = Link::Up(conn);
    }

    fn connect(&mut self, role: Role, (host, port): (String, u16), attempts: Attempts) -> ConnId {
        self.sessions.next_conn += 1;
        let conn = ConnId(self.sessions.next_conn);
        let setup = self.sessions.setup_backoff.after(attempts.setup_timeouts, &mut self.random);
        let attempt = attempts.failures;
        self.outbox.output(Output::Connect { conn, host: host.clone(), port, attempt });
        self.sessions.connections.insert(conn, Connection::new(self.now, role, (host, port), setup));
        self.stats.connections += 1;
        self.watch(conn);
        conn
    }

    pub(in crate::producer) fn attempts(&mut self, role: Role) -> &mut Attempts {
        match role {
            Role::Broker(index) => &mut self.control.brokers[index].attempts,
            Role::Control => &mut self.control.brokers.control.attempts,
        }
    }

    pub(in crate::producer) fn connected(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get(&conn) else {
            return;
        };
        if connection.phase != Phase::Opening {
            return;
        }
        let version = self.attempts(self.sessions.connections[&conn].role).api_versions();
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
        let at_large = self.sessions.connections.get(&conn).and_then(|connection| match connection.role {
            Role::Broker(index) => connection.closed_at(now, self.control.brokers[index].largest_answered),
            Role::Control => None,
        });
        let error = match (cause, at_large) {
            (Cause::Closed | Cause::Io(_), Some(bytes)) => ConnectionError::ClosedAtLargeRequest { bytes },
            (Cause::Closed, None) => match self.sessions.connections.get(&conn) {
                Some(connection)
                    if connection.is_unproven()
                        && self.config.sasl.is_none()
                        && !self.control.brokers.is_proven(&connection.host, connection.port) =>
                {
                    ConnectionError::ClosedEarly
                }
                _ => ConnectionError::Closed,
            },
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
        self.timers.clear(Timer::Connection(conn));
        if let Some(Exchange::Custom(Custom::Home(exchange))) = connection.exchange.take() {
            self.sessions.mechanism.bury(exchange);
        }
        if close {
            self.outbox.output(Output::Disconnect(conn));
        }
        let idle = error == ConnectionError::Idle;
        let (role, phase) = (connection.role, connection.phase);
        // Once it may be a broker that has just started, or stops.
        let refusal = error.is_refusal()
            || (error == ConnectionError::ClosedEarly && self.attempts(role).closed_early() > CHANCE);
        if role == Role::Control && refusal {
            self.control.brokers.control.refusal = Some(error.clone());
        }
        let round_over = match role {
            Role::Control if !idle => self.control.brokers.control_failed(),
            Role::Control | Role::Broker(_) => true,
        };
        let attempts = self.attempts(role);
        let retry_at = if idle {
            now
        } else {
            match phase {
                // In silence, too: some servers don't answer a version of ApiVersions that they don't know.
                Phase::Negotiating(_) => attempts.negotiation_broke(),
                Phase::Opening | Phase::Authenticating | Phase::Ready => {}
            }
            if error == ConnectionError::SetupTimeout {
                attempts.setup_timeouts += 1;
            }
            let (failures, refusals) = (attempts.failures, attempts.refusals);
            attempts.refusals = if refusal { refusals.saturating_add(1) } else { 0 };
            if round_over {
                attempts.failures += 1;
            }
            if refusal && round_over {
                // Another attempt will hardly help: brokers are not to be hammered.
                now + self.sessions.refusal_backoff.after(refusals, &mut self.random)
            } else if round_over {
                now + self.sessions.reconnect_backoff.after(failures, &mut self.random)
            } else {
                now
            }
        };
        self.attempts(role).link = Link::Down(retry_at);
        if role == Role::Control && round_over && !idle {
            if let Some(refusal) = self.control.brokers.control.refusal.take() {
                self.deny(refusal);
            }
        }
        if !idle {
            log::warn!("{}:{}: {error}", connection.host, connection.port);
            self.stats.connection_failures += 1;
            let (host, port) = (connection.host.clone(), connection.port);
            self.control.brokers.note_trouble(role, now, (&host, port), &error);
            self.outbox.event(Event::ConnectionFailed { conn, host, port, error });
        }
        for request in connection.take_requests() {
            self.forget(now, request);
            if role == Role::Control {
                self.control.brokers.control.unanswered = self.control.brokers.control.unanswered.saturating_add(1);
            }
        }
        if let Role::Broker(index) = role {
            if !idle {
                self.records.topics.refresh.want(); // it may lead nothing any more
            }
            self.attend(index);
        }
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
        let Some(request) = connection.take_answered(now, correlation)? else {
            return Ok(());
        };
        let api = match request.kind {
            RequestKind::ApiVersions => Api::ApiVersions,
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
        match request.kind {
            RequestKind::ApiVersions => {
                let response = api_versions::decode(version, body).map_err(malformed)?;
                self.versions_known(now, conn, version, &response)?;
            }
            RequestKind::Metadata | RequestKind::TopicList => {
                let response = match metadata::decode(version, body) {
                    Ok(response) => response,
                    Err(error) => return self.give_back(now, request, malformed(error)),
                };
                self.throttle(conn, api, version, response.throttle_ms);
                self.control.brokers.control.unanswered = 0;
                if request.kind == RequestKind::TopicList {
                    if let Err(error) = self.topics_listed(now, &response) {
                        return self.give_back(now, request, error);
                    }
                    self.control.listing = Listing::Idle;
                } else {
                    self.metadata_known(now, conn, &response);
                }
            }
            RequestKind::InitProducerId => {
                let response = match init_producer_id::decode(version, body) {
                    Ok(response) => response,
                    Err(error) => return self.give_back(now, request, malformed(error)),
                };
                self.throttle(conn, api, version, response.throttle_ms);
                self.control.brokers.control.unanswered = 0;
                self.producer_id_known(now, &response);
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
            if !matches!(api, Api::ApiVersions | Api::SaslHandshake | Api::SaslAuthenticate) {
                self.was_of_use(role);
                if let Some(connection) =
                    self.sessions.connections.get_mut(&conn).filter(|connection| !connection.proven)
                {
                    connection.proven = true;
                    self.control.brokers.note_proven(&connection.host, connection.port);
                }
            }
            if let Role::Broker(broker) = role {
                self.attend(broker);
            }
        }
        self.watch(conn);
        Ok(())
    }

    /// A server answered a request, or took one that is not answered (`acks=0`): what was before is over.
    pub(in crate::producer) fn was_of_use(&mut self, role: Role) {
        self.attempts(role).answered();
        self.control.brokers.forget_trouble(role);
    }

    /// The answer to a request can't be read: it counts as unanswered, with all others on the connection.
    fn give_back(&mut self, now: Instant, request: Request, error: ConnectionError) -> Result<(), ConnectionError> {
        self.forget(now, request);
        Err(error)
    }

    /// No answer will be had to a request.
    fn forget(&mut self, now: Instant, request: Request) {
        match request.kind {
            RequestKind::Produce | RequestKind::ProduceUnanswered => self.lost(now, request.entries),
            RequestKind::Metadata => self.records.topics.refresh.failed(now, &mut self.random),
            RequestKind::TopicList => self.control.listing = Listing::Wanted,
            RequestKind::InitProducerId => self.control.producer_id = ProducerIdRequest::Idle,
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
            return;
        };
        let pause = Duration::from_millis(millis);
        let until = self.now + pause;
        let Some(connection) = self.sessions.connections.get_mut(&conn) else {
            return;
        };
        let until = match connection.throttled_until {
            before if api.pauses_itself(version) => before,
            before => Some(before.map_or(until, |before| before.max(until))),
        };
        connection.throttled_until = until;
        let (timer, node) = match connection.role {
            Role::Broker(index) => (Timer::Broker(index), self.control.brokers[index].id),
            Role::Control => (Timer::Control, -1),
        };
        if let Some(until) = until {
            self.timers.set(timer, until);
        }
        self.outbox.event(Event::Throttled { node, pause });
    }

    /// Whether [`pursue_control`](Self::pursue_control) has something to do.
    pub(in crate::producer) fn control_is_due(&self) -> bool {
        if !self.may_ask() || !self.wants_control() {
            return false;
        }
        match self.control.brokers.control.attempts.link {
            Link::Down(until) => until <= self.now,
            Link::Up(conn) => self.control_is_ready(conn),
        }
    }

    /// Sends the control requests that are due, or asks for the connection that they need. False if there is nothing to
    /// do now; then the timers know when there will be.
    pub(in crate::producer) fn pursue_control(&mut self) -> bool {
        if self.control_is_due() {
            match self.control.brokers.control.attempts.link {
                Link::Down(_) => self.connect_control(),
                Link::Up(conn) => self.send_control(conn),
            }
            return true;
        }
        if !self.may_ask() {
            return false;
        }
        if let Some(at) = self.records.topics.refresh.due().filter(|at| *at > self.now) {
            self.timers.set(Timer::Metadata, at);
        }
        if let ProducerIdRequest::BackingOff(until, _) = self.control.producer_id {
            if until > self.now {
                self.timers.set(Timer::ProducerId, until);
            }
        }
        if let Link::Down(until) = self.control.brokers.control.attempts.link {
            if until > self.now && self.wants_control() {
                self.timers.set(Timer::Control, until);
            }
        }
        false
    }

    fn may_ask(&self) -> bool {
        matches!(self.life.phase, lifecycle::Phase::Running | lifecycle::Phase::Closing)
    }

    /// Whether there is something to ask a server for.
    fn wants_control(&self) -> bool {
        self.metadata_is_due() || self.producer_id_is_due() || self.control.listing == Listing::Wanted
    }

    fn metadata_is_due(&self) -> bool {
        self.records.topics.refresh.due().is_some_and(|at| at <= self.now)
    }

    fn producer_id_is_due(&self) -> bool {
        let may = match self.control.producer_id {
            ProducerIdRequest::Idle => true,
            ProducerIdRequest::InFlight(_) => false,
            ProducerIdRequest::BackingOff(until, _) => until <= self.now,
        };
        may && self.identity.standing == Standing::Needed && !self.identity.without_identity.is_empty()
    }

    fn control_is_ready(&self, conn: ConnId) -> bool {
        self.sessions.connections.get(&conn).is_some_and(|connection| connection.is_usable(self.now))
    }

    fn send_control(&mut self, conn: ConnId) {
        let now = self.now;
        let doublings = self.control.brokers.control.unanswered.min(16);
        let patience = (CONTROL_PATIENCE * (1 << doublings)).min(self.request_patience());
        if self.metadata_is_due() {
            let wanted = self.records.topics.take_wanted(now, self.config.metadata_max_idle);
            self.records.topics.refresh.sent(now);
            let names = Some(wanted.iter().map(|index| &*self.records.topics[*index].name));
            let Some(connection) = self.sessions.connections.get_mut(&conn) else {
                return;
            };
            let Some(version) = connection.versions.metadata else {
                return;
            };
            let create = self.config.allow_auto_create_topics;
            let (client, kind) = (&*self.config.client_id, RequestKind::Metadata);
            connection.request(now, Api::Metadata, kind, version, client, patience, |out| {
                metadata::encode(out, version, names, create);
            });
            self.stats.metadata_requests += 1;
        }
        if self.control.listing == Listing::Wanted {
            let Some(connection) = self.sessions.connections.get_mut(&conn) else {
                return;
            };
            let Some(version) = connection.versions.metadata else {
                return;
            };
            self.control.listing = Listing::InFlight;
            let (client, kind, all) =
                (&*self.config.client_id, RequestKind::TopicList, None::<core::iter::Empty<&str>>);
            connection.request(now, Api::Metadata, kind, version, client, patience, |out| {
                metadata::encode(out, version, all, false);
            });
            self.stats.metadata_requests += 1;
        }
        if self.producer_id_is_due() {
            let Some(connection) = self.sessions.connections.get_mut(&conn) else {
                return;
            };
            let Some(version) = connection.versions.init_producer_id else {
                self.fail_for_good(FatalError::NO_PRODUCER_IDS);
                return;
            };
            let failures = match self.control.producer_id {
                ProducerIdRequest::BackingOff(_, failures) => failures,
                ProducerIdRequest::Idle | ProducerIdRequest::InFlight(_) => 0,
            };
            self.control.producer_id = ProducerIdRequest::InFlight(failures);
            let (client, kind) = (&*self.config.client_id, RequestKind::InitProducerId);
            connection.request(now, Api::InitProducerId, kind, version, client, patience, |out| {
                init_producer_id::encode(out, version, &init_producer_id::Request::NEW);
            });
        }
        self.arm(conn);
        self.watch(conn);
    }

    fn producer_id_known(&mut self, now: Instant, response: &init_producer_id::Response) {
        match response.error {
            0 if response.producer_id >= 0 && response.epoch >= 0 && self.identity.is_new(response.producer_id) => {
                self.control.producer_id = ProducerIdRequest::Idle;
                let (producer_id, epoch) = (response.producer_id, response.epoch);
                log::debug!("producer id {producer_id}, epoch {epoch}");
                self.identity.given = Some(producer_id);
                self.identity.standing = Standing::Known(Identity { producer_id, epoch });
                self.identity_known();
            }
            code if !DEFINITE.contains(&code) => {
                if code == NOT_ALLOWED {
                    // As Java's: what is open fails, and whoever needs a producer id later asks again.
                    self.life.refused_below = (self.records.batches.next_serial(), ErrorCode(code));
                }
                let failures = match self.control.producer_id {
                    ProducerIdRequest::InFlight(failures) | ProducerIdRequest::BackingOff(_, failures) => failures,
                    ProducerIdRequest::Idle => 0,
                };
                let until = now + self.retry_backoff.after(failures, &mut self.random);
                self.control.producer_id = ProducerIdRequest::BackingOff(until, failures.saturating_add(1));
            }
            35 => self.fail_for_good(FatalError::NO_PRODUCER_IDS),
            code => self.fail_for_good(FatalError::new(ErrorCode(code))),
        }
    }
}

fn malformed(why: impl core::fmt::Display) -> ConnectionError {
    ConnectionError::Protocol(why.to_string())
}
