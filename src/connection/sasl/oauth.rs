//! OAUTHBEARER (RFC 7628): the client shows a token. Which token, the host says.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::config::{Secret, UnsecuredToken};
use crate::connection::sasl::Reply;

/// A bearer token, from whoever gives tokens.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// The token itself, as it goes into the header: a JWT, mostly.
    pub value: Secret,
    /// How long it may still be used; a new one is asked for after four fifths of that. `None`: until a broker refuses it.
    pub lifetime: Option<Duration>,
    /// SASL extensions (KIP-342): names of letters, with their values.
    pub extensions: Vec<(String, String)>,
}

impl core::fmt::Debug for Token {
    /// How long it lives, and the names of its extensions.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let names: Vec<&String> = self.extensions.iter().map(|(name, _)| name).collect();
        f.debug_struct("Token").field("lifetime", &self.lifetime).field("extensions", &names).finish_non_exhaustive()
    }
}

impl Token {
    /// A token without extensions. `lifetime` counts from now; `None` if it is not known.
    pub fn new(value: impl Into<String>, lifetime: Option<Duration>) -> Self {
        Self { value: Secret::new(value), lifetime, extensions: Vec::new() }
    }

    /// Adds a SASL extension (KIP-342).
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions.push((name.into(), value.into()));
        self
    }

    /// A token that nobody signed, as Kafka's login module makes it. `now`: seconds since the Unix epoch.
    pub(crate) fn unsecured(from: &UnsecuredToken, now: i64) -> Self {
        let mut claims: Vec<String> = Vec::new();
        for (name, value) in &from.claims {
            claims.push(alloc::format!("{}:{}", json(name), json(value)));
        }
        for (name, number) in &from.numbers {
            claims.push(alloc::format!("{}:{number}", json(name)));
        }
        claims.push(alloc::format!("\"iat\":{now}"));
        claims.push(alloc::format!("\"exp\":{}", now + i64::from(from.lifetime_seconds)));
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let value =
            alloc::format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(&alloc::format!("{{{}}}", claims.join(","))));
        let lifetime = Some(Duration::from_secs(u64::from(from.lifetime_seconds)));
        Self { value: Secret::new(value), lifetime, extensions: from.extensions.clone() }
    }

    /// What is wrong with it, if anything: the server would say so less clearly.
    fn check(&self) -> Result<(), String> {
        let token = self.value.expose();
        if token.is_empty() || !token.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
            return Err("the token is empty, or has characters that no bearer token has".to_string());
        }
        for (name, value) in &self.extensions {
            if name.is_empty() || name == "auth" || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err(alloc::format!("the SASL extension {name:?} is not named in letters, or is «auth»"));
            }
            let printable = |byte: u8| (0x20..0x7f).contains(&byte) || matches!(byte, b'\t' | b'\r' | b'\n');
            if value.is_empty() || !value.bytes().all(printable) {
                return Err(alloc::format!("the SASL extension {name} has an impossible value"));
            }
        }
        Ok(())
    }
}

/// A JSON string.
fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&alloc::format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The client's side.
#[derive(Debug)]
pub(crate) struct Client {
    token: Token,
    /// What the server found wrong, in its own words; it says so again after the client's next message.
    refused: bool,
}

impl Client {
    pub(crate) fn new(token: Token) -> Self {
        Self { token, refused: false }
    }

    pub(super) fn first(&self) -> Result<Vec<u8>, String> {
        self.token.check()?;
        let mut message = alloc::format!("n,,\u{1}auth=Bearer {}", self.token.value.expose());
        for (name, value) in &self.token.extensions {
            message.push_str(&alloc::format!("\u{1}{name}={value}"));
        }
        message.push_str("\u{1}\u{1}");
        Ok(message.into_bytes())
    }

    /// An empty challenge ends it. Anything else is an error, to which the client has to send one more byte, so that the
    /// server can refuse properly.
    pub(super) fn respond(&mut self, challenge: &[u8]) -> Result<Reply, String> {
        if challenge.is_empty() {
            return if self.refused { Err("the token was refused".to_string()) } else { Ok(Reply::Done) };
        }
        if core::mem::replace(&mut self.refused, true) {
            return Err("the token was refused, twice".to_string());
        }
        Ok(Reply::Send([1].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsecured_token_says_who_one_is_and_how_long() {
        let from = UnsecuredToken {
            claims: [("sub".into(), "a\"b".into()), ("s".into(), "\u{1f}\n c".into())].into(),
            numbers: [("n".into(), "1".into())].into(),
            extensions: Vec::new(),
            lifetime_seconds: 60,
        };
        let token = Token::unsecured(&from, 1000);
        let parts: Vec<&str> = token.value.expose().split('.').collect();
        let decode = |text: &str| String::from_utf8(Base64UrlUnpadded::decode_vec(text).unwrap()).unwrap();
        assert_eq!(decode(parts[0]), "{\"alg\":\"none\"}");
        assert_eq!(
            decode(parts[1]),
            "{\"sub\":\"a\\\"b\",\"s\":\"\\u001f\\u000a c\",\"n\":1,\"iat\":1000,\"exp\":1060}"
        );
        assert_eq!((parts.len(), parts[2]), (3, ""));
    }

    #[test]
    fn impossible_tokens_and_extensions_are_named() {
        let first = |token: Token| Client::new(token).first();
        assert!(first(Token::new("", None)).is_err());
        assert!(first(Token::new("a\u{1}b", None)).is_err());
        let mut token = Token::new("a", None);
        token.extensions.push(("auth".into(), "x".into()));
        assert!(first(token).unwrap_err().contains("auth"));
    }
}
