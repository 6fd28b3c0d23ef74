//! Who may connect: SASL as a broker does it, for PLAIN, SCRAM and (unsigned) OAUTHBEARER.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::answer::Unreadable;
use super::connection::Call;
use super::{Cluster, Peer, SaslSettings};
use crate::time::Instant;

/// How far a connection's authentication is.
#[derive(Debug, Default)]
pub(super) enum Session {
    /// Nothing was said yet.
    #[default]
    New,
    /// The mechanism is known.
    Mechanism(String),
    /// The client's first SCRAM message was answered.
    #[cfg(feature = "scram")]
    Scram(scram::Server),
    /// A token was refused; one more message is due.
    BadToken(String),
    /// The user is known, until then.
    Known(Option<Instant>),
}

const MECHANISMS: &[&str] = if cfg!(feature = "scram") {
    &["PLAIN", "OAUTHBEARER", "SCRAM-SHA-256", "SCRAM-SHA-512"]
} else {
    &["PLAIN", "OAUTHBEARER"]
};

/// Kafka takes no re-authentication sooner after the last one.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// What the server says to a message.
enum Step {
    Say(Vec<u8>, Session),
    Accept(Vec<u8>),
    Refuse(String),
}

impl Cluster {
    /// Whether the connection may ask for anything but versions and authentication.
    pub(super) fn is_known(&self, now: Instant, peer: Peer) -> bool {
        if self.settings.sasl.is_none() {
            return true;
        }
        match self.peers.get(&peer).map(|connection| &connection.session) {
            Some(Session::Known(until)) => until.is_none_or(|until| now <= until),
            _ => false,
        }
    }

    pub(super) fn sasl_handshake(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: SaslHandshakeRequest = call.read()?;
        let (now, peer) = (call.now, call.peer);
        let mechanism = request.mechanism.to_string();
        if let Some(connection) = self.peers.get_mut(&peer) {
            if matches!(connection.session, Session::Known(_)) {
                let too_soon = |began: Instant| now.saturating_since(began) < RENEWAL_INTERVAL;
                if connection.renewed_at.replace(now).is_some_and(too_soon) {
                    let response = SaslHandshakeResponse::default().with_error_code(34);
                    self.answer(&call, &response);
                    return Err(Unreadable);
                }
            }
        }
        let known = MECHANISMS.contains(&&*mechanism);
        let names = MECHANISMS.iter().map(|name| StrBytes::from_static_str(name)).collect();
        let response =
            SaslHandshakeResponse::default().with_mechanisms(names).with_error_code(if known { 0 } else { 33 });
        if let Some(connection) = self.peers.get_mut(&peer).filter(|_| known) {
            connection.session = Session::Mechanism(mechanism);
        }
        self.answer(&call, &response);
        if known { Ok(()) } else { Err(Unreadable) }
    }

    pub(super) fn sasl_authenticate(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: SaslAuthenticateRequest = call.read()?;
        let (now, peer) = (call.now, call.peer);
        let seed = self.seed() ^ peer.0;
        let Some(settings) = self.settings.sasl.clone() else { return Err(Unreadable) };
        let Some(connection) = self.peers.get_mut(&peer) else { return Err(Unreadable) };
        let session = core::mem::take(&mut connection.session);
        let step = step(session, &request.auth_bytes, &settings, seed);
        let mut response = SaslAuthenticateResponse::default();
        let mut refused = false;
        match step {
            Step::Say(bytes, session) => {
                response.auth_bytes = bytes.into();
                connection.session = session;
            }
            Step::Accept(bytes) => {
                response.auth_bytes = bytes.into();
                let lifetime = settings.session_lifetime;
                response.session_lifetime_ms = lifetime.map_or(0, |lifetime| lifetime.as_millis() as i64);
                connection.session = Session::Known(lifetime.map(|lifetime| now + lifetime));
            }
            Step::Refuse(words) => {
                response.error_code = 58;
                response.error_message = Some(StrBytes::from_string(words));
                refused = true;
            }
        }
        self.answer(&call, &response);
        if refused { Err(Unreadable) } else { Ok(()) }
    }
}

fn step(session: Session, said: &[u8], settings: &SaslSettings, seed: u64) -> Step {
    let _ = seed;
    match session {
        Session::Mechanism(mechanism) if mechanism == "PLAIN" => plain(said, settings),
        Session::Mechanism(mechanism) if mechanism == "OAUTHBEARER" => bearer(said, settings),
        #[cfg(feature = "scram")]
        Session::Mechanism(mechanism) => match scram::Server::begin(&mechanism, said, settings, seed) {
            Ok((server, message)) => Step::Say(message, Session::Scram(server)),
            Err(words) => Step::Refuse(words),
        },
        #[cfg(feature = "scram")]
        Session::Scram(server) => server.finish(said).map_or_else(Step::Refuse, Step::Accept),
        #[cfg(not(feature = "scram"))]
        Session::Mechanism(_) => Step::Refuse("no such mechanism".to_string()),
        Session::BadToken(words) => Step::Refuse(words),
        Session::New | Session::Known(_) => Step::Refuse("no handshake came before".to_string()),
    }
}

fn plain(said: &[u8], settings: &SaslSettings) -> Step {
    let fields: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
    let [_, user, password] = fields[..] else {
        return Step::Refuse("Invalid SASL/PLAIN response: expected 3 tokens".to_string());
    };
    let right = core::str::from_utf8(user).ok().and_then(|user| settings.password(user));
    match right {
        Some(right) if right.as_bytes() == password => Step::Accept(Vec::new()),
        _ => Step::Refuse("Authentication failed: Invalid username or password".to_string()),
    }
}

/// The token is looked at by the test, or is not signed; then what counts is who it is for.
fn bearer(said: &[u8], settings: &SaslSettings) -> Step {
    let bad = |words: &str| {
        let answer = b"{\"status\":\"invalid_token\"}".to_vec();
        Step::Say(answer, Session::BadToken(words.to_string()))
    };
    let text = String::from_utf8_lossy(said);
    let Some(token) = text.split('\u{1}').find_map(|field| field.strip_prefix("auth=Bearer ")) else {
        return bad("no token");
    };
    if let Some(is_good) = settings.tokens {
        return if is_good(token) { Step::Accept(Vec::new()) } else { bad("{\"status\":\"invalid_token\"}") };
    }
    let claims = token.split('.').nth(1).and_then(|claims| Base64UrlUnpadded::decode_vec(claims).ok());
    let claims = claims.map(|claims| String::from_utf8_lossy(&claims).into_owned()).unwrap_or_default();
    let subject =
        claims.split_once("\"sub\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(subject, _)| subject);
    match subject {
        Some(subject) if settings.password(subject).is_some() => Step::Accept(Vec::new()),
        _ => bad("{\"status\":\"invalid_token\"}"),
    }
}

#[cfg(feature = "scram")]
mod scram {
    //! The server's side of SCRAM, written apart from the client's.

    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use base64ct::{Base64, Encoding};
    use hmac::{Hmac, Mac};
    use sha2::{Digest, Sha256, Sha512};

    use super::SaslSettings;

    const ITERATIONS: u32 = 4096;

    #[derive(Debug)]
    pub(in super::super) struct Server {
        sha512: bool,
        salted: Vec<u8>,
        first_bare: String,
        server_first: String,
        nonce: String,
    }

    impl Server {
        pub(super) fn begin(
            mechanism: &str,
            said: &[u8],
            settings: &SaslSettings,
            seed: u64,
        ) -> Result<(Self, Vec<u8>), String> {
            let sha512 = mechanism.ends_with("512");
            let text = core::str::from_utf8(said).map_err(|_| "not UTF-8".to_string())?;
            let first_bare = text.strip_prefix("n,,").ok_or("channel binding is not supported")?.to_string();
            let field = |name: &str| first_bare.split(',').find_map(|field| field.strip_prefix(name));
            let (Some(user), Some(client)) = (field("n="), field("r=")) else { return Err("malformed".to_string()) };
            let user = user.replace("=2C", ",").replace("=3D", "=");
            let failed = "Authentication failed during authentication due to invalid credentials with SASL mechanism";
            let password = settings.password(&user).ok_or_else(|| alloc::format!("{failed} {mechanism}"))?;
            let salt = Sha256::digest(user.as_bytes())[..16].to_vec();
            let nonce = alloc::format!("{client}{seed:016x}");
            let salted = if sha512 {
                pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password.as_bytes(), &salt, ITERATIONS).to_vec()
            } else {
                pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), &salt, ITERATIONS).to_vec()
            };
            let server_first = alloc::format!("r={nonce},s={},i={ITERATIONS}", Base64::encode_string(&salt));
            let message = server_first.clone().into_bytes();
            Ok((Self { sha512, salted, first_bare, server_first, nonce }, message))
        }

        pub(super) fn finish(self, said: &[u8]) -> Result<Vec<u8>, String> {
            let failed = "Authentication failed during authentication due to invalid credentials with SASL mechanism";
            let failed = || alloc::format!("{failed} {}", if self.sha512 { "SCRAM-SHA-512" } else { "SCRAM-SHA-256" });
            let text = core::str::from_utf8(said).map_err(|_| failed())?;
            let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(failed)?;
            if without_proof != alloc::format!("c=biws,r={}", self.nonce) {
                return Err(failed());
            }
            let message = alloc::format!("{},{},{without_proof}", self.first_bare, self.server_first);
            let client_key = self.hmac(&self.salted, b"Client Key");
            let stored =
                if self.sha512 { Sha512::digest(&client_key).to_vec() } else { Sha256::digest(&client_key).to_vec() };
            let signature = self.hmac(&stored, message.as_bytes());
            let expected: Vec<u8> = client_key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
            if Base64::decode_vec(proof).ok() != Some(expected) {
                return Err(failed());
            }
            let server_key = self.hmac(&self.salted, b"Server Key");
            let signature = Base64::encode_string(&self.hmac(&server_key, message.as_bytes()));
            Ok(alloc::format!("v={signature}").into_bytes())
        }

        fn hmac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
            const ANY: &str = "HMAC takes keys of any length";
            if self.sha512 {
                return Hmac::<Sha512>::new_from_slice(key)
                    .expect(ANY)
                    .chain_update(message)
                    .finalize()
                    .into_bytes()
                    .to_vec();
            }
            Hmac::<Sha256>::new_from_slice(key).expect(ANY).chain_update(message).finalize().into_bytes().to_vec()
        }
    }
}
