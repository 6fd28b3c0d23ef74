//! Our SASL clients against what Kafka's Java classes say and accept.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;

use super::oauth::{self, Token};
use super::{Exchange, Reply};
use crate::config::{ScramHash, Secret};
use crate::golden::{Difference, Differences, hex, names, objects};

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_default()
}

/// The deliberate differences, by their names in docs/differences.md.
const SCRAM: &[Difference<Value>] = &[
    ("scram-nonce-not-extended", |vector| {
        let nonce = String::from_utf8_lossy(&hex(text(vector, "serverFirst"))).into_owned();
        let nonce = nonce.split(',').find_map(|field| field.strip_prefix("r=").map(ToString::to_string));
        nonce.as_deref() == vector["clientNonce"].as_str()
    }),
    ("scram-extension-in-proof", |vector| {
        let first = String::from_utf8_lossy(&hex(text(vector, "serverFirst"))).into_owned();
        first.split(',').count() > 3
    }),
    ("scram-mandatory-extension", |vector| hex(text(vector, "serverFirst")).starts_with(b"m=")),
    ("scram-strict-base64", |vector| text(vector, "name").contains("trailing-bits")),
    ("scram-most-iterations", |vector| {
        let first = String::from_utf8_lossy(&hex(text(vector, "serverFirst"))).into_owned();
        let count = first.split(',').find_map(|field| field.strip_prefix("i=")).and_then(|count| count.parse().ok());
        count.is_some_and(|count: u64| count > 1_000_000)
    }),
];

const BEARER: &[Difference<Value>] = &[("oauth-token-characters", |vector| {
    let token = text(vector, "token");
    token.is_empty() || !token.bytes().all(|byte| (0x21..0x7f).contains(&byte))
})];

pub(crate) fn differences() -> Vec<&'static str> {
    [names(SCRAM), names(BEARER)].concat()
}

fn scram(vector: &Value) -> super::scram::Client {
    let hash = if text(vector, "mechanism").ends_with("512") { ScramHash::Sha512 } else { ScramHash::Sha256 };
    let token = vector["extensions"]["tokenauth"] == "true";
    let (user, password) = (text(vector, "user"), Secret::from(text(vector, "password")));
    super::scram::Client::new(hash, user, password, token, text(vector, "clientNonce").to_string())
}

fn sent(reply: Reply) -> Vec<u8> {
    let Reply::Send(bytes) = reply else { panic!("{reply:?}") };
    bytes
}

/// Runs as much of the exchange as the vector has. What the client said, or why it stopped.
fn run(vector: &Value) -> Result<Vec<Vec<u8>>, String> {
    let mut client = Exchange::Scram(Box::new(scram(vector)));
    let mut said = Vec::from([sent(client.first()?)]);
    for field in ["serverFirst", "serverFinal"] {
        if vector[field].is_null() {
            break;
        }
        match client.respond(&hex(text(vector, field)))? {
            Reply::Send(bytes) => said.push(bytes),
            Reply::Done => {}
            Reply::Ask(_) => unreachable!("SCRAM is built in"),
            Reply::Derive(derivation) => {
                let Exchange::Scram(client) = &mut client else { unreachable!("it is SCRAM") };
                said.push(client.derived(&derivation.run())?);
            }
        }
    }
    Ok(said)
}

#[test]
fn golden_scram_exchanges_are_javas() {
    let differences = Differences::new(SCRAM);
    let mut tried: BTreeMap<String, u32> = BTreeMap::new();
    for vector in objects("scram.jsonl") {
        let kind = text(&vector, "kind");
        // One line tells that the mechanism has an initial response; it has no exchange.
        if !matches!(kind, "scram" | "scram-server-message") || vector["clientNonce"].is_null() {
            continue;
        }
        // An empty password makes no key in Java. (A configuration has none.)
        if text(&vector, "password").is_empty() {
            continue;
        }
        let (ours, java) = (run(&vector), vector["outcome"] == "ok");
        assert!(ours.is_ok() == java || differences.explain(&vector), "{}: {ours:?}, but Java: {java}", vector["name"]);
        if let Ok(said) = &ours {
            for (message, field) in said.iter().zip(["clientFirst", "clientFinal"]) {
                if !vector[field].is_null() {
                    let same = *message == hex(text(&vector, field));
                    assert!(same || differences.explain(&vector), "{field} of {}", vector["name"]);
                }
            }
        }
        *tried.entry(std::format!("{kind}, {}", if ours.is_ok() { "accepted" } else { "refused" })).or_default() += 1;
    }
    std::println!("{tried:?}");
    assert!(tried.len() >= 3);
}

#[test]
fn golden_plain_messages_are_javas() {
    let mut tried = 0;
    for vector in objects("scram.jsonl").into_iter().filter(|vector| vector["kind"] == "plain") {
        if vector["authorizationId"].is_null() {
            let ours = Exchange::plain(text(&vector, "user"), text(&vector, "password")).first();
            assert_eq!(ours.map(sent), Ok(hex(text(&vector, "message"))), "{vector}");
            tried += 1;
        }
    }
    assert!(tried > 0);
}

#[test]
fn golden_bearer_messages_are_javas() {
    let differences = Differences::new(BEARER);
    let mut tried = 0;
    for vector in objects("scram.jsonl") {
        let kind = text(&vector, "kind");
        if !kind.starts_with("oauthbearer") || vector["token"].is_null() {
            continue;
        }
        let mut token = Token::new(text(&vector, "token"), None);
        for extension in vector["extensions"].as_array().into_iter().flatten() {
            token.extensions.push((text(extension, "key").to_string(), text(extension, "value").to_string()));
        }
        let mut client = oauth::Client::new(token);
        let ours = client.first();
        if kind == "oauthbearer" {
            let java = vector["outcome"] == "ok";
            assert!(ours.is_ok() == java || differences.explain(&vector), "{ours:?}: {vector}");
            if let (Ok(ours), true) = (ours, java) {
                assert_eq!(ours, hex(text(&vector, "message")), "{vector}");
            }
        } else {
            assert_eq!(ours, Ok(hex(text(&vector, "message"))));
            let reply = client.respond(&hex(text(&vector, "challenge")));
            match vector["reply"].as_str() {
                None => assert!(matches!(reply, Ok(Reply::Done)), "{reply:?}: {vector}"),
                Some(bytes) => assert!(matches!(reply, Ok(Reply::Send(ours)) if ours == hex(bytes)), "{vector}"),
            }
            assert!(vector["reply"].is_null() || client.respond(&[]).is_err(), "a refused token is not accepted");
        }
        tried += 1;
    }
    assert!(tried > 0);
    differences.are_all_used();
}
