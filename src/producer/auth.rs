//! Connections prove who the producer is: SASL's handshake and messages, tokens, and doing it all again before the broker's
//! patience ends (KIP-368).

use alloc::string::{String, ToString};
use core::time::Duration;

use crate::config::Sasl;
use crate::connection::sasl::oauth::{self, Token};
#[cfg(feature = "scram")]
use crate::connection::sasl::scram;
use crate::connection::sasl::{Exchange, Reply};
use crate::connection::{Phase, RequestKind, Role};
use crate::error::{ConnectionError, ErrorCode};
use crate::event::{ConnId, Event, Output};
use crate::producer::Producer;
use crate::producer::timers::Timer;
use crate::time::Instant;
use crate::wire::{Api, sasl};

/// The part of a session's life, in hundredths, after which the client authenticates itself again: from 85 to 94, as Java.
const SESSION_PART: (u64, u32) = (85, 10);

/// Brokers let nobody renew a session within a second of the last renewal's beginning; and what is on its way takes a varying
/// time. (Only sessions of about a second come near that; renewing one that has ended is allowed.)
const RENEWAL_INTERVAL: Duration = Duration::from_millis(1100);

/// The part of a token's life, in hundredths, after which another is asked for (Java's refresh window).
const TOKEN_PART: u64 = 80;

/// The token of OAUTHBEARER.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    current: Option<Token>,
    /// When it may no longer be used.
    ends: Option<Instant>,
    /// The host was asked for one, and has until then.
    asked_until: Option<Instant>,
    /// When another is to be asked for.
    refresh_at: Option<Instant>,
}

impl Producer {
    /// The broker's versions are known: either the connection is ready, or the producer has to say who it is.
    pub(super) fn authenticate(&mut self, now: Instant, conn: ConnId) -> Result<(), ConnectionError> {
        let Some(sasl) = &self.config.sasl else {
            self.ready(now, conn);
            return Ok(());
        };
        let exchange = match sasl {
            Sasl::Plain { user, password } => Some(Exchange::plain(user, password.expose())),
            #[cfg(feature = "scram")]
            Sasl::Scram { hash, user, password, token } => {
                self.scram.nonces += 1;
                let nonce = scram::Client::nonce(&self.scram.seed, self.scram.nonces);
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
                self.tokens.usable(now).map(|token| Exchange::OAuth(oauth::Client::new(token.clone())))
            }
            Sasl::Custom { mechanism } => {
                let Some(ours) = &mut self.sasl_mechanism else {
                    return Err(refused(alloc::format!(
                        "sasl.mechanism={mechanism} is not built in: give the producer a milena::SaslMechanism"
                    )));
                };
                let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
                Some(Exchange::Custom(ours.begin(&connection.host, connection.port).map_err(refused)?))
            }
        };
        let setup = self.config.connection_setup_timeout;
        let Some(connection) = self.connections.get_mut(&conn) else { return Ok(()) };
        if exchange.is_none() {
            // It goes on when there is a token. A session that is to be renewed may be used until then.
            connection.wants_token = true;
            if connection.phase != Phase::Ready {
                connection.phase = Phase::Authenticating;
            }
            self.ask_for_token(now);
            self.watch(conn);
            return Ok(());
        }
        if connection.phase == Phase::Ready {
            connection.set_up_until(now + setup);
        }
        connection.phase = Phase::Authenticating;
        connection.authentication_began = now;
        connection.exchange = exchange;
        let (timeout, mechanism) = (self.config.request_timeout, sasl.mechanism());
        let kind = RequestKind::SaslHandshake;
        connection.request(now, Api::SaslHandshake, kind, 1, &self.config.client_id, timeout, |out| {
            sasl::encode_handshake(out, mechanism);
        });
        self.arm(conn);
        self.watch(conn);
        Ok(())
    }

    /// The broker takes the mechanism, or not.
    pub(super) fn mechanism_known(
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
        let exchange = self.connections.get_mut(&conn).and_then(|connection| connection.exchange.as_mut());
        let Some(exchange) = exchange else { return Ok(()) };
        let first = exchange.first().map_err(refused)?;
        self.say(now, conn, &first);
        Ok(())
    }

    /// What the server says in the mechanism's language, or that it is not convinced.
    pub(super) fn challenged(
        &mut self,
        now: Instant,
        conn: ConnId,
        response: &sasl::Authenticate<'_>,
    ) -> Result<(), ConnectionError> {
        if response.error != 0 {
            self.tokens.current = None; // another may do
            let why = response.message.filter(|words| !words.is_empty()).map(ToString::to_string);
            return Err(refused(why.unwrap_or_else(|| ErrorCode(response.error).to_string())));
        }
        let Some(connection) = self.connections.get_mut(&conn) else { return Ok(()) };
        let Some(exchange) = &mut connection.exchange else { return Ok(()) };
        match exchange.respond(response.bytes).map_err(refused)? {
            Reply::Send(bytes) => self.say(now, conn, &bytes),
            Reply::Done => {
                connection.exchange = None;
                let lifetime = u64::try_from(response.lifetime_ms).unwrap_or(0);
                let part = SESSION_PART.0 + u64::from(self.random.below(SESSION_PART.1));
                let span = Duration::from_millis(lifetime.saturating_mul(part) / 100);
                let connection = self.connections.get_mut(&conn).expect("it was there a line ago");
                let earliest = connection.authentication_began + RENEWAL_INTERVAL;
                connection.quiet_from = (lifetime > 0).then(|| now + span);
                connection.reauthenticate_at = connection.quiet_from.map(|quiet| quiet.max(earliest));
                self.ready(now, conn);
            }
            #[cfg(feature = "scram")]
            Reply::Derive(derivation) => self.derive(now, conn, derivation),
        }
        Ok(())
    }

    /// The connection may be used, for the first time or again.
    fn ready(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.phase = Phase::Ready;
        let role = connection.role;
        let attempts = self.attempts(role);
        attempts.negotiated();
        match role {
            Role::Broker(index) => self.attend(index),
            Role::Control => self.denied = None,
        }
        self.arm(conn);
        self.watch(conn);
        log::debug!("{conn} is ready at {now:?}");
    }

    /// A session is about to end: the producer says again who it is. What is on the wire is answered meanwhile.
    pub(super) fn authenticate_again(&mut self, now: Instant, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.reauthenticate_at = None;
        }
        self.stats.reauthentications += 1;
        if let Err(error) = self.authenticate(now, conn) {
            self.give_up(now, conn, error);
        }
    }

    fn say(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Some(version) = connection.versions.sasl_authenticate else { return };
        let (kind, timeout) = (RequestKind::SaslAuthenticate, self.config.request_timeout);
        connection.request(now, Api::SaslAuthenticate, kind, version, &self.config.client_id, timeout, |out| {
            sasl::encode_authenticate(out, version, bytes);
        });
        self.arm(conn);
        self.watch(conn);
    }

    /// The host gives a token, or says why it has none.
    pub(super) fn token_known(&mut self, now: Instant, token: Result<Token, String>) {
        self.tokens.asked_until = None;
        let waiting: alloc::vec::Vec<ConnId> =
            self.connections.iter().filter(|(_, connection)| connection.wants_token).map(|(conn, _)| *conn).collect();
        let failure = match token {
            Ok(token) => {
                self.tokens.ends = token.lifetime.map(|lifetime| now + lifetime);
                self.tokens.refresh_at = token.lifetime.map(|lifetime| {
                    let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
                    now + Duration::from_millis(millis.saturating_mul(TOKEN_PART) / 100)
                });
                if let Some(at) = self.tokens.refresh_at {
                    self.timers.set(Timer::Token, at);
                }
                self.tokens.current = Some(token);
                None
            }
            Err(words) => Some(refused(alloc::format!("no token: {words}"))),
        };
        for conn in waiting {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.wants_token = false;
            }
            let result = failure.clone().map_or_else(|| self.authenticate(now, conn), Err);
            if let Err(error) = result {
                self.give_up(now, conn, error);
            }
        }
    }

    fn ask_for_token(&mut self, now: Instant) {
        if self.tokens.asked_until.is_some_and(|until| until > now) {
            return;
        }
        let until = now + self.config.connection_setup_timeout;
        self.tokens.asked_until = Some(until);
        self.outbox.output(Output::Token { until });
    }

    /// The token is old: another is asked for, while this one is still good.
    pub(super) fn refresh_token(&mut self, now: Instant) {
        if self.tokens.refresh_at.is_some_and(|at| at <= now) && !self.connections.is_empty() {
            self.tokens.refresh_at = None;
            self.ask_for_token(now);
        }
    }

    /// All servers were tried, and at least one does not let this client in: whoever waits for metadata is told.
    pub(super) fn deny(&mut self, error: ConnectionError) {
        self.outbox.event(Event::AccessDenied(error.clone()));
        self.denied = Some(error);
    }

    fn unix_seconds(&self, now: Instant) -> Option<i64> {
        let (at, time) = self.wall?;
        let since = now.saturating_since(at).as_secs();
        Some(time.as_millis() / 1000 + i64::try_from(since).unwrap_or(0))
    }
}

impl Tokens {
    fn usable(&self, now: Instant) -> Option<&Token> {
        self.current.as_ref().filter(|_| self.ends.is_none_or(|ends| ends > now))
    }
}

fn refused(why: impl ToString) -> ConnectionError {
    ConnectionError::Authentication(why.to_string())
}

/// What SCRAM needs beyond one connection.
#[cfg(feature = "scram")]
#[derive(Debug)]
pub(crate) struct Scram {
    /// Where nonces come from.
    seed: [u8; 32],
    nonces: u64,
    /// The last keys derived: all brokers have the same salt for a user.
    keys: Option<(scram::Derivation, scram::Keys)>,
}

#[cfg(feature = "scram")]
impl Scram {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, nonces: 0, keys: None }
    }
}

#[cfg(feature = "scram")]
impl Producer {
    /// Keys are derived by a job, if the host takes jobs.
    fn derive(&mut self, now: Instant, conn: ConnId, derivation: scram::Derivation) {
        if let Some((known, keys)) = &self.scram.keys {
            if *known == derivation {
                let keys = keys.clone();
                self.derived(now, conn, derivation, keys);
                return;
            }
        }
        if self.config.jobs.unwrap_or(0) == 0 {
            let keys = derivation.run();
            self.derived(now, conn, derivation, keys);
        } else {
            self.outbox.output(Output::Job(crate::producer::jobs::Job::derive(conn, derivation)));
        }
    }

    /// The keys are there.
    pub(super) fn derived(&mut self, now: Instant, conn: ConnId, derivation: scram::Derivation, keys: scram::Keys) {
        let exchange = self.connections.get_mut(&conn).and_then(|connection| connection.exchange.as_mut());
        let said = match exchange {
            Some(Exchange::Scram(client)) => client.derived(&keys),
            Some(Exchange::Plain(_) | Exchange::OAuth(_) | Exchange::Custom(_)) | None => return,
        };
        self.scram.keys = Some((derivation, keys));
        match said {
            Ok(bytes) => self.say(now, conn, &bytes),
            Err(words) => self.give_up(now, conn, refused(words)),
        }
    }
}
