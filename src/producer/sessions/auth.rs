//! Connections prove who the producer is: SASL's handshake and messages, tokens, and doing it all again before the broker's
//! patience ends (KIP-368).

use alloc::string::{String, ToString};
use core::time::Duration;

use crate::config::Sasl;
use crate::connection::sasl::oauth::{self, Token};
#[cfg(feature = "scram")]
use crate::connection::sasl::scram;
use crate::connection::sasl::{Custom, Exchange, Reply};
use crate::connection::{Phase, RequestKind, Role};
use crate::error::{ConnectionError, ErrorCode, words_of_server};
use crate::event::{Event, Output};
use crate::ids::ConnId;
use crate::job::Job;
use crate::job::{Said, Stepped};
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::timers::Timer;
use crate::time::Instant;
use crate::wire::{Api, sasl};

/// The part of a session's life, in hundredths, after which the client authenticates itself again: from 85 to 94, as Java.
const SESSION_PART: (u64, u32) = (85, 10);

/// Brokers let nobody renew a session within a second of the last renewal's beginning; and what is on its way takes a varying
/// time. (Only sessions of about a second come near that; renewing one that has ended is allowed.)
const RENEWAL_INTERVAL: Duration = Duration::from_millis(1100);

/// How long one waits for whatever it takes to say who the producer is.
const PATIENCE: &str = "within socket.connection.setup.timeout.ms";

impl Producer {
    /// The broker's versions are known: either the connection is ready, or the producer has to say who it is.
    pub(in crate::producer) fn authenticate(&mut self, now: Instant, conn: ConnId) -> Result<(), ConnectionError> {
        let Some(sasl) = &self.config.sasl else {
            self.ready(now, conn);
            return Ok(());
        };
        let exchange = match sasl {
            Sasl::Plain { user, password } => Some(Exchange::plain(user, password.expose())),
            #[cfg(feature = "scram")]
            Sasl::Scram { hash, user, password, token } => {
                self.sessions.scram.nonces += 1;
                let nonce = scram::Client::nonce(&self.sessions.scram.seed, self.sessions.scram.nonces);
                let client = scram::Client::new(*hash, user, password.clone(), *token, nonce);
                Some(Exchange::Scram(alloc::boxed::Box::new(client)))
            }
            #[cfg(not(feature = "scram"))]
            Sasl::Scram { .. } => return Err(refused("SCRAM needs feature scram")),
            Sasl::OAuthBearerUnsecured(claims) => {
                let Some(unix) = self.unix_seconds(now) else {
                    return Err(refused("an unsecured token needs the time of day, which the host does not tell"));
                };
                Some(Exchange::OAuth(oauth::Client::new(Token::unsecured(claims, unix))))
            }
            Sasl::OAuthBearer => {
                self.sessions.tokens.usable(now).map(|token| Exchange::OAuth(oauth::Client::new(token.clone())))
            }
            Sasl::Custom { mechanism } => {
                if !self.sessions.mechanism.is_given() {
                    return Err(refused(alloc::format!(
                        "sasl.mechanism={mechanism} is not built in: give the producer a milena::SaslMechanism"
                    )));
                }
                Some(Exchange::Custom(Custom::Away))
            }
        };
        let setup = self.config.connection_setup_timeout;
        let Some(connection) = self.sessions.connections.get_mut(&conn) else { return Ok(()) };
        if connection.phase == Phase::Ready {
            connection.begin_renewal(now, setup); // it may not be used any more: its session is about to end
        }
        connection.phase = Phase::Authenticating;
        connection.authentication_began = now;
        connection.exchange = exchange;
        match &connection.exchange {
            None => {
                connection.wants_token = true;
                self.sessions.tokens.wanted = true;
            }
            Some(Exchange::Custom(_)) => {
                self.sessions.mechanism.begin(conn, &connection.host, connection.port);
                self.ask_mechanism(now);
            }
            Some(_) => self.shake_hands(now, conn),
        }
        self.look_after_token(now);
        self.watch(conn);
        Ok(())
    }

    /// Tells the broker by which mechanism the producer says who it is.
    fn shake_hands(&mut self, now: Instant, conn: ConnId) {
        let (Some(sasl), Some(connection)) = (&self.config.sasl, self.sessions.connections.get_mut(&conn)) else {
            return;
        };
        let (kind, timeout, mechanism) = (RequestKind::SaslHandshake, self.config.request_timeout, sasl.mechanism());
        connection.request(now, Api::SaslHandshake, kind, 1, &self.config.client_id, timeout, |out| {
            sasl::encode_handshake(out, mechanism);
        });
        self.arm(conn);
        self.watch(conn);
    }

    /// The broker takes the mechanism, or not.
    pub(in crate::producer) fn mechanism_known(
        &mut self,
        now: Instant,
        conn: ConnId,
        response: &sasl::Handshake<'_>,
    ) -> Result<(), ConnectionError> {
        let mechanism = self.config.sasl.as_ref().map_or("", Sasl::mechanism);
        match response.error {
            0 => {}
            33 => {
                let theirs = response.mechanisms.join(", ");
                return Err(refused(alloc::format!("the server has no SASL mechanism {mechanism}, but {theirs}")));
            }
            code => return Err(refused(alloc::format!("the SASL handshake was answered {}", ErrorCode(code)))),
        }
        let exchange = self.sessions.connections.get_mut(&conn).and_then(|connection| connection.exchange.as_mut());
        let Some(exchange) = exchange else { return Ok(()) };
        let reply = exchange.first().map_err(refused)?;
        self.reply(now, conn, reply, 0, None);
        Ok(())
    }

    /// What the server says in the mechanism's language, or that it is not convinced.
    pub(in crate::producer) fn challenged(
        &mut self,
        now: Instant,
        conn: ConnId,
        response: &sasl::Authenticate<'_>,
    ) -> Result<(), ConnectionError> {
        if response.error != 0 {
            self.sessions.tokens.refused(); // another may do
            let why = response.message.filter(|words| !words.is_empty()).map(words_of_server);
            return Err(refused(why.unwrap_or_else(|| ErrorCode(response.error).to_string())));
        }
        let Some(connection) = self.sessions.connections.get_mut(&conn) else { return Ok(()) };
        let Some(exchange) = &mut connection.exchange else { return Ok(()) };
        let reply = exchange.respond(response.bytes).map_err(refused)?;
        self.reply(now, conn, reply, response.lifetime_ms, Some(response.bytes));
        Ok(())
    }

    /// The exchange goes on, or is over. `lifetime_ms`: how long the server will believe this client then; 0 for ever.
    fn reply(&mut self, now: Instant, conn: ConnId, reply: Reply, lifetime_ms: i64, challenge: Option<&[u8]>) {
        match reply {
            Reply::Send(bytes) => self.say(now, conn, &bytes),
            Reply::Done => self.authenticated(now, conn, lifetime_ms),
            #[cfg(feature = "scram")]
            Reply::Derive(derivation) => self.derive(now, conn, derivation),
            Reply::Ask(exchange) => {
                let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
                connection.session_lifetime_ms = lifetime_ms;
                self.sessions.mechanism.speak(conn, exchange, challenge);
                self.ask_mechanism(now);
            }
        }
    }

    /// The server is convinced, and so is the client.
    fn authenticated(&mut self, now: Instant, conn: ConnId, lifetime_ms: i64) {
        let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
        if let Some(Exchange::Custom(Custom::Home(exchange))) = connection.exchange.take() {
            self.sessions.mechanism.bury(exchange);
        }
        let lifetime = u64::try_from(lifetime_ms).unwrap_or(0);
        let part = SESSION_PART.0 + u64::from(self.random.below(SESSION_PART.1));
        let span = Duration::from_millis(lifetime.saturating_mul(part) / 100);
        if lifetime > 0 && span.is_zero() {
            let words = "the server ends each session within a millisecond (see its connections.max.reauth.ms)";
            return self.give_up(now, conn, ConnectionError::Protocol(words.to_string()));
        }
        let earliest = connection.authentication_began + RENEWAL_INTERVAL;
        connection.quiet_from = (lifetime > 0).then(|| now + span);
        connection.reauthenticate_at = connection.quiet_from.map(|quiet| quiet.max(earliest));
        self.ready(now, conn);
    }

    /// Steps of the application's mechanism: each a job, if the host takes those.
    fn ask_mechanism(&mut self, now: Instant) {
        loop {
            let connections = &self.sessions.connections;
            let Some((conn, step)) = self.sessions.mechanism.next(|conn| connections.contains_key(&conn)) else {
                return;
            };
            if self.authenticates_by_jobs() {
                self.outbox.output(Output::Job(Job::sasl(conn, step)));
            } else {
                self.stepped(now, conn, step.run());
            }
        }
    }

    /// The application's mechanism has something to say.
    pub(in crate::producer) fn stepped(&mut self, now: Instant, conn: ConnId, mut stepped: Stepped) {
        self.sessions.mechanism.done(&mut stepped);
        let mut exchange = stepped.exchange;
        if let Some(connection) = self.sessions.connections.get_mut(&conn) {
            let lifetime_ms = connection.session_lifetime_ms;
            match (stepped.said, &mut exchange, &mut connection.exchange) {
                (Err(words), _, Some(Exchange::Custom(_))) => self.give_up(now, conn, refused(words)),
                (Ok(Said::Done), _, Some(Exchange::Custom(_))) => self.authenticated(now, conn, lifetime_ms),
                (Ok(said), exchange @ Some(_), Some(Exchange::Custom(custom))) => {
                    *custom = exchange.take().map_or(Custom::Away, Custom::Home);
                    match said {
                        Said::Bytes(bytes) => self.say(now, conn, &bytes),
                        Said::Begun | Said::Done => self.shake_hands(now, conn),
                    }
                }
                _ => {} // it authenticates itself otherwise by now
            }
        }
        exchange.into_iter().for_each(|exchange| self.sessions.mechanism.bury(exchange));
        self.ask_mechanism(now);
    }

    /// Whether what authentication takes is done elsewhere.
    fn authenticates_by_jobs(&self) -> bool {
        self.sessions.sasl_by_jobs || self.config.jobs.unwrap_or(0) > 0
    }

    /// Why a connection that has still to say who the producer is took too long, if it is not the server's fault.
    pub(in crate::producer) fn why_not_authenticated(&mut self, conn: ConnId) -> Option<ConnectionError> {
        let connection = self.sessions.connections.get(&conn)?;
        if connection.wants_token {
            let silent = || alloc::format!("the TokenProvider has not answered {PATIENCE}");
            return Some(refused(self.sessions.tokens.trouble.get_or_insert_with(silent)));
        }
        let away = matches!(connection.exchange, Some(Exchange::Custom(Custom::Away)));
        away.then(|| refused(alloc::format!("the SaslMechanism has not answered {PATIENCE}")))
    }

    /// What kept servers from letting this client in is over: they are tried again at once.
    fn forget_refusals(&mut self, now: Instant) {
        self.sessions.denied = None;
        self.control.servers.forget_refusals(now);
        self.look_again();
        self.attend_all(|_| true);
    }

    /// Credentials, the mechanism, certificates or the provider of tokens are others: who did not let the producer in is tried
    /// again at once, and nobody is told the old refusal any more. For hosts that have called
    /// [`set_sasl`](Self::set_sasl), or have changed their own part.
    pub fn security_renewed(&mut self, now: Instant) {
        self.nothing_new = false;
        // Whoever was about to show the old ones begins anew.
        let at_it =
            self.sessions.connections.iter().filter(|(_, connection)| connection.phase == Phase::Authenticating);
        let at_it: alloc::vec::Vec<ConnId> = at_it.map(|(conn, _)| *conn).collect();
        for conn in at_it {
            self.drop_connection(now, conn);
        }
        self.forget_refusals(now);
        self.ask_mechanism(now);
        if self.config.sasl == Some(Sasl::OAuthBearer) {
            self.sessions.tokens.renewed();
        }
    }

    /// The connection may be used, for the first time or again.
    fn ready(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
        connection.phase = Phase::Ready;
        connection.ready_since.get_or_insert(now);
        let (role, index) = (connection.role, connection.server);
        let server = &mut self.control.servers[index];
        server.attempts.negotiated();
        server.refusal = None;
        self.sessions.denied = None;
        self.probed(conn, index);
        if let Role::Broker(broker) = role {
            self.attend(broker);
        }
        self.look_again();
        self.arm(conn);
        self.watch(conn);
        self.say_ready(conn);
    }

    /// A session is about to end: the producer says again who it is. What is on the wire is answered meanwhile.
    pub(in crate::producer) fn authenticate_again(&mut self, now: Instant, conn: ConnId) {
        if let Some(connection) = self.sessions.connections.get_mut(&conn) {
            connection.reauthenticate_at = None;
        }
        self.stats.reauthentications += 1;
        if let Err(error) = self.authenticate(now, conn) {
            self.give_up(now, conn, error);
        }
    }

    fn say(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.sessions.connections.get_mut(&conn) else { return };
        let Some(version) = connection.versions.sasl_authenticate else { return };
        let (kind, timeout) = (RequestKind::SaslAuthenticate, self.config.request_timeout);
        connection.request(now, Api::SaslAuthenticate, kind, version, &self.config.client_id, timeout, |out| {
            sasl::encode_authenticate(out, version, bytes);
        });
        self.arm(conn);
        self.watch(conn);
    }

    /// The host gives a token, or says why it has none.
    pub(in crate::producer) fn token_known(&mut self, now: Instant, token: Result<Token, String>) {
        let waiting: alloc::vec::Vec<ConnId> = self
            .sessions
            .connections
            .iter()
            .filter(|(_, connection)| connection.wants_token)
            .map(|(conn, _)| *conn)
            .collect();
        let troubled = self.sessions.tokens.trouble.is_some();
        let failure = self.sessions.tokens.answered(now, token, &mut self.random).err();
        match &failure {
            Some(words) => log::warn!("{words}"),
            None if troubled => self.forget_refusals(now),
            None => {}
        }
        self.look_after_token(now);
        for conn in waiting {
            if let Some(connection) = self.sessions.connections.get_mut(&conn) {
                connection.wants_token = false;
            }
            let result = match &failure {
                None => self.authenticate(now, conn),
                // A session that is to be renewed goes on until it ends, and a better token may come until then.
                Some(_) if self.sessions.tokens.usable(now).is_some() => self.authenticate(now, conn),
                Some(words) => Err(refused(words)),
            };
            if let Err(error) = result {
                self.give_up(now, conn, error);
            }
        }
        if let Some(words) = failure.filter(|_| self.sessions.tokens.usable(now).is_none() && !self.is_let_in()) {
            // Without a token every server is as good as one that refuses: whoever waits need not wait until all were tried.
            if !planted("no-token-is-one-servers-matter") {
                self.deny(refused(words));
            }
        }
    }

    /// Asks for a token, if one is wanted or the one at hand gets old, and it is time; else the timer says when.
    pub(in crate::producer) fn look_after_token(&mut self, now: Instant) {
        let in_use = !self.sessions.connections.is_empty();
        if self.sessions.tokens.begin(now, in_use, self.config.connection_setup_timeout) {
            self.outbox.output(Output::Token { until: now + self.config.connection_setup_timeout });
        }
        if let Some(at) = self.sessions.tokens.next(in_use) {
            self.timers.set(Timer::Token, at);
        }
    }

    /// All servers were tried, and at least one does not let this client in: whoever waits for metadata is told. Whether that is
    /// news.
    pub(in crate::producer) fn deny(&mut self, error: ConnectionError) -> bool {
        let news = self.sessions.denied.is_none();
        if news {
            self.say_denied(&error);
            self.outbox.event(Event::AccessDenied(error.clone()));
        }
        self.sessions.denied = Some(error);
        news
    }

    fn unix_seconds(&self, now: Instant) -> Option<i64> {
        let (at, time) = self.wall?;
        let since = now.saturating_since(at).as_secs();
        Some(time.as_millis() / 1000 + i64::try_from(since).unwrap_or(0))
    }
}

fn refused(why: impl ToString) -> ConnectionError {
    ConnectionError::Authentication(why.to_string())
}

#[cfg(feature = "scram")]
impl Producer {
    /// Keys are derived by a job, if the host takes jobs.
    fn derive(&mut self, now: Instant, conn: ConnId, derivation: scram::Derivation) {
        if let Some((known, keys)) = &self.sessions.scram.keys {
            if *known == derivation {
                let keys = keys.clone();
                self.derived(now, conn, derivation, keys);
                return;
            }
        }
        if self.authenticates_by_jobs() {
            self.outbox.output(Output::Job(Job::derive(conn, derivation)));
        } else {
            let keys = derivation.run();
            self.derived(now, conn, derivation, keys);
        }
    }

    /// The keys are there.
    pub(in crate::producer) fn derived(
        &mut self,
        now: Instant,
        conn: ConnId,
        derivation: scram::Derivation,
        keys: scram::Keys,
    ) {
        let exchange = self.sessions.connections.get_mut(&conn).and_then(|connection| connection.exchange.as_mut());
        let said = match exchange {
            Some(Exchange::Scram(client)) if client.awaits(&derivation) => client.derived(&keys),
            // Another exchange is under way by now, or none.
            Some(Exchange::Scram(_) | Exchange::Plain(_) | Exchange::OAuth(_) | Exchange::Custom(_)) | None => return,
        };
        self.sessions.scram.keys = Some((derivation, keys));
        match said {
            Ok(bytes) => self.say(now, conn, &bytes),
            Err(words) => self.give_up(now, conn, refused(words)),
        }
    }
}
