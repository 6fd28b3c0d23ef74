//! What a server says in SCRAM.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::sync::OnceLock;

use arbitrary::Unstructured;
use base64ct::{Base64, Encoding};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

use super::{bytes, up_to};
use crate::config::{ScramHash, Secret};
use crate::connection::sasl::scram::{Client, Derivation, Keys};
use crate::connection::sasl::{Exchange, Reply};

const NONCE: &str = "abcDEF123";

/// What the server would say, and what it has to be told.
struct Server {
    hash: ScramHash,
    /// What it said first, if the client took it.
    first: Option<String>,
    /// Keys of the password as the client was given them, and the signature that follows.
    salted: Vec<u8>,
    signature: Option<Vec<u8>>,
    bare: String,
}

/// Nobody is believed without the signature that only the password gives; no more than a million rounds are asked for; and a client's
/// proof is one.
pub fn scram(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let hash = [ScramHash::Sha256, ScramHash::Sha512][up_to(&mut input, 1)];
    let user = String::from_utf8_lossy(bytes(&mut input, 12)).into_owned();
    let client = Client::new(hash, &user, Secret::new("hunter2"), up_to(&mut input, 1) == 1, NONCE.to_string());
    let mut exchange = Exchange::Scram(Box::new(client));
    let Ok(Reply::Send(first)) = exchange.first() else { panic!("the client speaks first") };
    let first = String::from_utf8(first).expect("text");
    let bare = first.strip_prefix("n,,").expect("no channel binding, no authorization id").to_string();
    let fields: Vec<&str> = bare.split(',').collect();
    let no_more = fields.len() == 2 || fields[2..] == ["tokenauth=true"];
    assert!(fields[0].starts_with("n=") && fields[1] == alloc::format!("r={NONCE}") && no_more, "{first}");
    let mut server = Server { hash, first: None, salted: Vec::new(), signature: None, bare };
    let mut done = false;
    for _ in 0..6 {
        let message = server.message(&mut input);
        match exchange.respond(&message) {
            Ok(Reply::Derive(derivation)) => {
                assert!(server.first.is_none(), "one derivation an exchange");
                assert!((4096..=1_000_000).contains(&derivation.iterations));
                server.first = Some(String::from_utf8(message).expect("it was read as text"));
                if input.is_empty() {
                    return; // the keys never come
                }
                let keys = server.keys(&derivation);
                let Exchange::Scram(client) = &mut exchange else { panic!("it is SCRAM's") };
                assert!(client.awaits(&derivation));
                let last = client.derived(&keys).expect("it waits for them");
                assert!(client.derived(&keys).is_err(), "once");
                server.hear(&String::from_utf8(last).expect("text"));
            }
            Ok(Reply::Done) => {
                let said = core::str::from_utf8(&message).expect("it was read as text");
                let value = said.strip_prefix("v=").and_then(|rest| rest.split(',').next()).unwrap_or_default();
                assert!(!done && server.signature.is_some(), "believed before it proved anything, or twice");
                assert_eq!(Base64::decode_vec(value).ok(), server.signature, "believed without its signature");
                done = true;
            }
            Ok(other) => panic!("{other:?} is no answer here"),
            Err(words) => {
                let shown = words.contains("hunter2") && !String::from_utf8_lossy(&message).contains("hunter2");
                assert!(!shown && words.len() < 1000, "{words}");
                let awaits_signature = server.signature.as_ref().is_some_and(|_| !done);
                let honest =
                    server.signature.as_ref().map(|signature| alloc::format!("v={}", Base64::encode_string(signature)));
                assert!(!awaits_signature || honest.is_none_or(|honest| honest.as_bytes() != message), "{words}");
            }
        }
    }
}

impl Server {
    /// The next message: right, nearly right, or anything.
    fn message(&self, input: &mut Unstructured<'_>) -> Vec<u8> {
        match up_to(input, 5) {
            0 => bytes(input, 90).to_vec(),
            1 if self.signature.is_some() => self.last(input),
            2 => self.first(input),
            _ if self.signature.is_some() => self.last(input),
            _ => self.first(input),
        }
    }

    fn first(&self, input: &mut Unstructured<'_>) -> Vec<u8> {
        let prefix = ["", "", "", "m=x,", "e=", " "][up_to(input, 5)];
        let nonce = [NONCE, NONCE, NONCE, "abcDEF124", ""][up_to(input, 4)];
        let more = String::from_utf8_lossy(bytes(input, 5)).into_owned();
        let salt = match up_to(input, 2) {
            0 => Base64::encode_string(bytes(input, 20)),
            1 => "c2FsdA==".to_string(),
            _ => String::from_utf8_lossy(bytes(input, 12)).into_owned(),
        };
        let iterations = match up_to(input, 3) {
            0 => ["0", "4095", "1000000", "1000001", "4294967296", "-4096", "+4096", "99999999999999999999999", ""]
                [up_to(input, 8)]
            .to_string(),
            1 => up_to(input, 1_100_000).to_string(),
            _ => "4096".to_string(),
        };
        let end = ["", "", ",x=y", ",", ",xy=z", ",x="][up_to(input, 5)];
        alloc::format!("{prefix}r={nonce}{more},s={salt},i={iterations}{end}").into_bytes()
    }

    fn last(&self, input: &mut Unstructured<'_>) -> Vec<u8> {
        let mut signature = self.signature.clone().unwrap_or_default();
        match up_to(input, 4) {
            0 => signature.truncate(up_to(input, signature.len())),
            1 => {
                let place = up_to(input, signature.len().saturating_sub(1));
                signature.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1);
            }
            2 => signature.push(0),
            _ => {}
        }
        let prefix = ["v=", "v=", "e=", "V=", "v"][up_to(input, 4)];
        let end = ["", "", ",x=y", ",", "="][up_to(input, 4)];
        alloc::format!("{prefix}{}{end}", Base64::encode_string(&signature)).into_bytes()
    }

    /// The real ones of one salt, for they take milliseconds; of others any that follow from the salt.
    fn keys(&mut self, derivation: &Derivation) -> Keys {
        static REAL: [OnceLock<Keys>; 2] = [OnceLock::new(), OnceLock::new()];
        let keys = if (derivation.iterations, &derivation.salt[..]) == (4096, b"salt") {
            REAL[usize::from(self.hash == ScramHash::Sha512)].get_or_init(|| derivation.run()).clone()
        } else {
            Keys { salted: Sha256::digest(&derivation.salt).to_vec() }
        };
        self.salted = keys.salted.clone();
        keys
    }

    /// The client's last message, as RFC 5802 has a server check it.
    fn hear(&mut self, last: &str) {
        let first = self.first.as_ref().expect("it was said");
        let nonce = first.split(',').next().and_then(|field| field.strip_prefix("r=")).expect("it was taken");
        assert!(nonce.starts_with(NONCE) && nonce.len() > NONCE.len(), "the server added nothing to the nonce");
        let (without_proof, proof) = last.split_once(",p=").expect("a proof");
        assert_eq!(without_proof, alloc::format!("c=biws,r={nonce}"));
        let message = alloc::format!("{},{first},{without_proof}", self.bare);
        let client_key = self.mac(&self.salted, "Client Key");
        let stored = self.digest(&client_key);
        let signature = self.mac(&stored, &message);
        let proof = Base64::decode_vec(proof).expect("base64");
        let shown: Vec<u8> = proof.iter().zip(&signature).map(|(proof, signature)| proof ^ signature).collect();
        assert_eq!(self.digest(&shown), stored, "the proof shows the client's key");
        self.signature = Some(self.mac(&self.mac(&self.salted, "Server Key"), &message));
    }

    fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        match self.hash {
            ScramHash::Sha256 => Sha256::digest(bytes).to_vec(),
            ScramHash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn mac(&self, key: &[u8], message: &str) -> Vec<u8> {
        const ANY: &str = "HMAC takes keys of any length";
        let message = message.as_bytes();
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
