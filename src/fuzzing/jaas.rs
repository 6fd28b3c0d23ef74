//! Login modules' entries.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use arbitrary::Unstructured;

use super::{bytes, up_to};
use crate::config::{Config, jaas_entry};

/// A value that no error may show.
const SECRET: &str = "hunter2";

/// Pieces that entries are made of.
const PIECES: [&str; 24] = [
    "org.apache.kafka.common.security.plain.PlainLoginModule",
    "org.apache.kafka.common.security.scram.ScramLoginModule",
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
    "required",
    "SUFFICIENT",
    "username",
    "password",
    "unsecuredLoginStringClaim_sub",
    "tokenauth",
    "=",
    ";",
    "\"hunter2\"",
    "'hunter2'",
    "hunter2",
    "\"hunter2",
    "\\\"",
    "\\101",
    "/* ",
    " */",
    "//",
    "\n",
    "12.5",
    "-",
    "\"",
];

/// What is read and written back in quotes is read again as the same; what is refused is refused without its values.
pub fn jaas(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let mechanism = ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"][up_to(&mut input, 2)];
    let mut text = String::new();
    if up_to(&mut input, 1) == 0 {
        let rest = input.len();
        text = String::from_utf8_lossy(input.bytes(rest).unwrap_or_default()).to_string();
    }
    while !input.is_empty() {
        match up_to(&mut input, PIECES.len() + 4).checked_sub(5) {
            Some(piece) => text.push_str(PIECES[piece]),
            None => text.push_str(&String::from_utf8_lossy(bytes(&mut input, 6))),
        }
        if up_to(&mut input, 3) > 0 {
            text.push(' ');
        }
    }
    if let Ok(entry) = jaas_entry(&text) {
        let mut canonical = quoted(&entry.module) + " required";
        for (name, value) in &entry.options {
            canonical += &alloc::format!(" {}={}", quoted(name), quoted(value));
        }
        canonical.push(';');
        assert!(jaas_entry(&canonical) == Ok(entry), "{text:?} is {canonical:?}");
    }
    let pairs: Vec<(&str, &str)> = Vec::from([
        ("bootstrap.servers", "h:1"),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", mechanism),
        ("sasl.jaas.config", &text),
    ]);
    match Config::from_properties(pairs) {
        Ok(config) => assert!(!alloc::format!("{config:?}").contains(SECRET)),
        Err(error) => assert!(!alloc::format!("{error} {error:?}").contains(SECRET), "{error}"),
    }
}

/// In quotes, with octal escapes for what would end them.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '\n' | '\r' => out += &alloc::format!("\\{:03o}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}
