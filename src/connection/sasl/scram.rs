//! SCRAM (RFC 5802, RFC 7677), the client's side. As Java's: names and passwords are plain UTF-8, without SASLprep. Unlike
//! Java's, a nonce that the server did not extend, mandatory extensions and absurd iteration counts are refused.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

use crate::config::{ScramHash, Secret};
use crate::connection::sasl::Reply;
use crate::error::words_of_server;
use crate::planted::planted;

/// Fewer are refused, as Kafka does.
const LEAST_ITERATIONS: u32 = 4096;
/// More are refused: a second of work or so, which a hostile server must not be able to ask for again and again. (Kafka
/// lets nobody set more than 16,384.)
const MOST_ITERATIONS: u32 = 1_000_000;
/// The most that Kafka lets anybody set.
const USUAL_ITERATIONS: u32 = 16_384;

/// One exchange.
#[derive(Debug)]
pub(crate) struct Client {
    hash: ScramHash,
    password: Secret,
    first_bare: String,
    nonce: String,
    state: State,
    costly: bool,
}

#[derive(Debug)]
enum State {
    /// The server's first message is awaited.
    First,
    /// The keys are being derived, for this server-first message and nonce.
    Deriving {
        of: Derivation,
        server_first: String,
        nonce: String,
    },
    /// The server's last message is awaited, with this signature.
    Final {
        signature: Vec<u8>,
    },
    Done,
}

/// What the keys are derived from: some thousand rounds of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Derivation {
    hash: ScramHash,
    password: Secret,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

/// The keys of one password, salt and iteration count.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) salted: Vec<u8>,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[hidden]")
    }
}

impl Derivation {
    /// The work: Hi(), which is PBKDF2.
    pub(crate) fn run(&self) -> Keys {
        let (password, salt, rounds) = (self.password.expose().as_bytes(), &self.salt, self.iterations);
        let salted = match self.hash {
            ScramHash::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, rounds).to_vec(),
            ScramHash::Sha512 => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, salt, rounds).to_vec(),
        };
        Keys { salted }
    }
}

impl Client {
    /// `nonce`: printable, without commas, never used before. `token`: the user is the id of a delegation token.
    pub(crate) fn new(hash: ScramHash, user: &str, password: Secret, token: bool, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let extension = if token { ",tokenauth=true" } else { "" };
        let first_bare = alloc::format!("n={user},r={nonce}{extension}");
        Self { hash, password, first_bare, nonce, state: State::First, costly: false }
    }

    /// A nonce out of randomness that is used for nothing else.
    pub(crate) fn nonce(seed: &[u8; 32], counter: u64) -> String {
        let hash =
            Sha256::new().chain_update(b"milena scram nonce").chain_update(seed).chain_update(counter.to_be_bytes());
        Base64::encode_string(&hash.finalize()[..18])
    }

    /// Whether the server has asked for more work than any Kafka does.
    pub(super) fn is_costly(&self) -> bool {
        self.costly
    }

    pub(super) fn first(&self) -> Vec<u8> {
        alloc::format!("n,,{}", self.first_bare).into_bytes()
    }

    pub(super) fn respond(&mut self, challenge: &[u8]) -> Result<Reply, String> {
        let text =
            core::str::from_utf8(challenge).map_err(|_| "the server's SCRAM message is not UTF-8".to_string())?;
        match &self.state {
            State::First => {
                let ServerFirst { nonce, salt, iterations } = server_first(text)?;
                if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
                    return Err("the server's nonce does not continue the client's".to_string());
                }
                if !(LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
                    return Err(alloc::format!(
                        "the server asks for {iterations} iterations; {LEAST_ITERATIONS} to {MOST_ITERATIONS} are accepted"
                    ));
                }
                self.costly = iterations > USUAL_ITERATIONS;
                let of = Derivation { hash: self.hash, password: self.password.clone(), salt, iterations };
                let (server_first, nonce) = (text.to_string(), nonce.to_string());
                self.state = State::Deriving { of: of.clone(), server_first, nonce };
                Ok(Reply::Derive(of))
            }
            State::Final { signature } => {
                let theirs = server_final(text)?;
                let is_part = planted("part-of-a-signature-will-do") && signature.starts_with(&theirs);
                if theirs != *signature && !is_part {
                    return Err("the server does not know the password either: its signature is wrong".to_string());
                }
                self.state = State::Done;
                Ok(Reply::Done)
            }
            State::Deriving { .. } | State::Done => Err("the server sent a SCRAM message out of turn".to_string()),
        }
    }

    /// Whether it waits for the keys of this derivation: they may come late, when another exchange is under way.
    pub(crate) fn awaits(&self, derivation: &Derivation) -> bool {
        matches!(&self.state, State::Deriving { of, .. } if of == derivation)
    }

    /// The keys were derived: the client's last message.
    pub(crate) fn derived(&mut self, keys: &Keys) -> Result<Vec<u8>, String> {
        let State::Deriving { server_first, nonce, .. } = &self.state else {
            return Err("keys that nobody waits for".to_string());
        };
        let without_proof = alloc::format!("c=biws,r={nonce}");
        let message = alloc::format!("{},{server_first},{without_proof}", self.first_bare);
        let client_key = self.hmac(&keys.salted, b"Client Key");
        let stored_key = match self.hash {
            ScramHash::Sha256 => Sha256::digest(&client_key).to_vec(),
            ScramHash::Sha512 => Sha512::digest(&client_key).to_vec(),
        };
        let signature = self.hmac(&stored_key, message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = self.hmac(&keys.salted, b"Server Key");
        let signature = self.hmac(&server_key, message.as_bytes());
        self.state = State::Final { signature };
        Ok(alloc::format!("{without_proof},p={}", Base64::encode_string(&proof)).into_bytes())
    }

    fn hmac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        const ANY: &str = "HMAC takes keys of any length";
        match self.hash {
            ScramHash::Sha256 => {
                Hmac::<Sha256>::new_from_slice(key).expect(ANY).chain_update(message).finalize().into_bytes().to_vec()
            }
            ScramHash::Sha512 => {
                Hmac::<Sha512>::new_from_slice(key).expect(ANY).chain_update(message).finalize().into_bytes().to_vec()
            }
        }
    }
}

struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

/// `r=nonce,s=salt,i=iterations` and extensions.
fn server_first(text: &str) -> Result<ServerFirst<'_>, String> {
    let bad = |what: &str| Err(alloc::format!("the server's first SCRAM message {what}"));
    if text.starts_with("m=") {
        return bad("has a mandatory extension (m=), which is not known");
    }
    if let Some(error) = text.strip_prefix("e=") {
        return bad(&alloc::format!("is an error: {}", words_of_server(error)));
    }
    let mut fields = text.split(',');
    let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name));
    let (Some(nonce), Some(salt), Some(iterations)) = (field("r="), field("s="), field("i=")) else {
        return bad("is not r=…,s=…,i=…");
    };
    if nonce.is_empty() || !nonce.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return bad("has a nonce that is empty or not printable");
    }
    let Ok(salt) = Base64::decode_vec(salt) else {
        return bad("has a salt that is not base64");
    };
    if iterations.is_empty() || !iterations.bytes().all(|byte| byte.is_ascii_digit()) {
        return bad("has an iteration count that is no number");
    }
    let iterations = iterations.parse().unwrap_or(u32::MAX);
    extensions(fields)
        .map_or_else(|| bad("has a malformed extension"), |()| Ok(ServerFirst { nonce, salt, iterations }))
}

/// `v=signature` and extensions, or `e=error`.
fn server_final(text: &str) -> Result<Vec<u8>, String> {
    if let Some(error) = text.strip_prefix("e=") {
        return Err(alloc::format!("the server refuses: {}", words_of_server(error)));
    }
    let mut fields = text.split(',');
    let signature = fields.next().and_then(|field| field.strip_prefix("v=")).map(Base64::decode_vec);
    match (signature, extensions(fields)) {
        (Some(Ok(signature)), Some(())) => Ok(signature),
        _ => Err("the server's last SCRAM message is not v=…".to_string()),
    }
}

/// What no one needs: a letter, `=`, a value, all in ASCII.
fn extensions<'a>(fields: impl Iterator<Item = &'a str>) -> Option<()> {
    for field in fields {
        let (name, value) = field.split_once('=')?;
        let letter = name.len() == 1 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !letter || value.is_empty() || !value.bytes().all(|byte| (1..0x80).contains(&byte)) {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deriving(iterations: u32) -> (Client, Derivation) {
        let mut client = Client::new(ScramHash::Sha256, "user", Secret::new("password"), false, "nonce".to_string());
        match client.respond(alloc::format!("r=nonceMore,s=c2FsdA==,i={iterations}").as_bytes()) {
            Ok(Reply::Derive(derivation)) => (client, derivation),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_of_another_exchange_are_not_waited_for() {
        let (mut client, derivation) = deriving(4096);
        let (_, of_another) = deriving(8192);
        assert!(client.awaits(&derivation) && !client.awaits(&of_another));
        client.derived(&derivation.run()).expect("the last message");
        assert!(!client.awaits(&derivation), "they came");
    }

    #[test]
    fn more_rounds_than_kafka_lets_anybody_set_are_costly() {
        assert!(!deriving(4096).0.is_costly());
        assert!(!deriving(USUAL_ITERATIONS).0.is_costly());
        assert!(deriving(USUAL_ITERATIONS + 1).0.is_costly());
    }

    #[test]
    fn extensions_are_a_letter_and_a_value() {
        let read = |fields: &str| extensions(fields.split(',')).is_some();
        assert!(read("x=1") && read("x=1,Y=a=b"));
        for bad in ["", "x", "x=", "=1", "xy=1", "7=1", "x=1,y", "x=\u{e9}", "x=\0"] {
            assert!(!read(bad), "{bad:?}");
        }
    }
}
