//! PEM as Java's client reads it, and words for what is none. No error shows anything of the text: it may be a key.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64ct::{Base64Unpadded, Encoding};
use rustls::pki_types::CertificateDer;

use super::certificate::trimmed;

/// What stands between a BEGIN and an END.
pub(super) struct Section {
    /// Such as `CERTIFICATE`, its words separated by one blank.
    pub(super) label: String,
    /// Encrypted by its headers (`Proc-Type: 4,ENCRYPTED`), the way of old OpenSSL versions.
    pub(super) has_headers: bool,
    /// What it holds; nothing if it is encrypted that way.
    pub(super) der: Vec<u8>,
}

impl Section {
    pub(super) fn is_certificate(&self) -> bool {
        self.label.ends_with("CERTIFICATE")
    }

    pub(super) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }
}

/// All sections of a text. Around and between them anything may stand (OpenSSL's "Bag Attributes", keytool's aliases), line
/// breaks in them may be blanks, or not be there at all.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section>, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut sections = Vec::new();
    let mut rest = &*text;
    while let Some(at) = rest.find("-BEGIN") {
        rest = &rest[at + "-BEGIN".len()..];
        // Anything else has its dashes on both sides of the label.
        let Some((label, body)) = rest.split_once('-') else { break };
        let label = words_of(label);
        let number = sections.len() + 1;
        let body = body.trim_start_matches('-');
        let Some((inside, end)) = body.split_once("-END").filter(|(inside, _)| !inside.contains("-BEGIN")) else {
            return Err(format!("section {number} ({label}) has no line -----END {label}-----: it is cut off"));
        };
        let inside = inside.trim_end_matches('-');
        let (end_label, after) = end.split_once('-').unwrap_or((end, ""));
        if words_of(end_label) != label {
            return Err(format!("section {number} ({label}) is ended as another one"));
        }
        let (der, has_headers) = decode(inside).map_err(|why| format!("section {number} ({label}) {why}"))?;
        sections.push(Section { label, has_headers, der });
        rest = after;
    }
    Ok(sections)
}

/// A label, printable and not long, whatever is in the text.
fn words_of(label: &str) -> String {
    let words: Vec<&str> = label.split_whitespace().collect();
    let words = words.join(" ");
    words.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').take(40).collect()
}

/// The bytes, and whether they are encrypted by headers.
fn decode(inside: &str) -> Result<(Vec<u8>, bool), &'static str> {
    if inside.contains(':') && inside.contains("ENCRYPTED") {
        return Ok((Vec::new(), true));
    }
    // Other headers are lines with a colon, as Java has it.
    let lines: Cow<'_, str> = match inside.contains(':') {
        true => inside.lines().filter(|line| !line.contains(':')).collect::<String>().into(),
        false => inside.into(),
    };
    let letters: String = lines.chars().filter(|c| !c.is_whitespace()).collect();
    if letters.contains('\\') {
        return Err("has backslashes: where \\n stands there have to be line breaks or blanks");
    }
    if !letters.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=')) {
        return Err("has characters that base64 has not");
    }
    if letters.is_empty() {
        return Err("is empty");
    }
    let bytes = Base64Unpadded::decode_vec(letters.trim_end_matches('='));
    bytes.map(|bytes| (bytes, false)).map_err(|_| "is damaged or cut off: its base64 has no end")
}

/// The certificates in a text, or why there are none.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let sections = sections(bytes)?;
    let certificates: Vec<_> = sections
        .iter()
        .filter(|section| section.is_certificate())
        // OpenSSL's TRUSTED CERTIFICATE goes on after the certificate.
        .map(|section| CertificateDer::from(trimmed(&section.der).to_vec()))
        .collect();
    if certificates.is_empty() { Err(no_certificate(bytes, &sections)) } else { Ok(certificates) }
}

fn no_certificate(bytes: &[u8], sections: &[Section]) -> String {
    let is_there = |label: &str| sections.iter().any(|section| section.label.ends_with(label));
    if is_there("PKCS7") {
        return "its certificates are in PKCS#7: openssl pkcs7 -print_certs -in FILE -out NEW converts it".to_string();
    }
    if is_there("CERTIFICATE REQUEST") {
        return "it is a request for a certificate: what the issuer made of it is wanted".to_string();
    }
    if is_there("PRIVATE KEY") {
        return "it has a private key and no certificate; both are wanted".to_string();
    }
    none(bytes, sections, "CERTIFICATE")
}

/// Why a text has no section of a kind that is wanted.
pub(super) fn none(bytes: &[u8], sections: &[Section], wanted: &str) -> String {
    match sections {
        [] => format!(
            "it is no PEM{}: a section that begins with -----BEGIN {wanted}----- is wanted",
            recognise(bytes).map(|is| format!(", but {is}")).unwrap_or_default()
        ),
        [first, ..] => format!("it has no section {wanted}, but {}", first.label),
    }
}

/// What a file without any section is, as far as its first bytes tell.
pub(super) fn recognise(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    Some(match bytes {
        [] => "empty",
        [0xce, 0xce, 0xce, 0xce, ..] => {
            "a JCEKS store of Java's: keytool -importkeystore -srckeystore FILE -srcstoretype JCEKS -destkeystore NEW.p12 \
             -deststoretype PKCS12 converts it"
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'-', 0, ..] | [0, b'-', ..] => {
            "UTF-16 (as PowerShell's > writes it): save it as UTF-8 or ASCII"
        }
        [0x30, ..] => match der_content(bytes) {
            Some([0x02, ..]) => "a private key in DER: openssl pkey -inform DER -in FILE -out NEW.pem converts it",
            Some([0x06, ..]) => {
                "PKCS#7 in DER: openssl pkcs7 -inform DER -print_certs -in FILE -out NEW.pem converts it"
            }
            _ => {
                "DER: openssl x509 -inform DER -in FILE -out NEW.pem converts a certificate, openssl pkcs8 -inform DER -in FILE \
                 -out NEW.pem an encrypted private key"
            }
        },
        _ if text.starts_with(b"LS0tLS1C") => {
            "base64 of PEM (as values of Kubernetes' secrets are): decode it once, such as by base64 -d"
        }
        _ if text.starts_with(b"/u3+7Q") => "base64 of a JKS store: decode it by base64 -d",
        _ if text.starts_with(b"MI") => {
            "base64 without its lines -----BEGIN ...----- and -----END ...-----: put it between them"
        }
        _ if text.starts_with(b"PuTTY-") => "a key of PuTTY's, which is for SSH",
        _ if text.starts_with(b"ssh-") => "a key for SSH",
        _ if text.starts_with(b"${") => "a variable that nobody has expanded (there are no config.providers)",
        _ if text.starts_with(b"/") || text.starts_with(b"./") || text.get(1..3) == Some(b":\\") => {
            "a path, as it seems: files are named by ssl.keystore.location and ssl.truststore.location"
        }
        _ => return None,
    })
}

/// What is inside of the first DER element.
pub(super) fn der_content(bytes: &[u8]) -> Option<&[u8]> {
    let (_, length) = (bytes.first()?, *bytes.get(1)?);
    let skipped = if length < 0x80 { 2 } else { 2 + usize::from(length & 0x7f) };
    bytes.get(skipped..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "TUlJQmhlbGxvIHdvcmxkLCB0aGlzIGlzIG5vIGNlcnRpZmljYXRlIGJ1dCBieXRlcw==";

    fn labels(text: &str) -> Vec<String> {
        sections(text.as_bytes()).unwrap().into_iter().map(|section| section.label).collect()
    }

    #[test]
    fn line_breaks_may_be_blanks_or_missing_and_text_may_stand_around() {
        let (first, second) = BODY.split_at(40);
        let wanted = sections(format!("-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\n").as_bytes());
        let wanted = &wanted.unwrap()[0].der;
        for text in [
            format!("-----BEGIN CERTIFICATE----- {first} {second} -----END CERTIFICATE-----"),
            format!("-----BEGIN CERTIFICATE-----{BODY}-----END CERTIFICATE-----"),
            format!("\u{feff}-----BEGIN CERTIFICATE-----\r\n{first}\r\n{second}\r\n-----END CERTIFICATE-----\r\n"),
            format!("-----BEGIN CERTIFICATE-----\r{first}\r{second}\r-----END CERTIFICATE-----"),
            format!("-----BEGIN CERTIFICATE-----\n\n  {first}\t\n\n{second}  \n-----END CERTIFICATE-----"),
            format!(
                "Bag Attributes\n    friendlyName: a\nKey Attributes: <No Attributes>\n-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\nx"
            ),
            format!("\"-----BEGIN  CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\""),
            format!("-----BEGIN CERTIFICATE-----\nComment: none\n\n{BODY}\n-----END CERTIFICATE-----"),
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", BODY.trim_end_matches('=')),
            format!("--BEGIN CERTIFICATE-- {BODY} --END CERTIFICATE--"),
        ] {
            let found = sections(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(found.len() == 1 && found[0].der == *wanted && found[0].label == "CERTIFICATE", "{text}");
        }
    }

    #[test]
    fn several_sections_are_found_even_in_one_line() {
        let text = format!(
            "-----BEGIN PRIVATE KEY-----{BODY}-----END PRIVATE KEY----- -----BEGIN CERTIFICATE----- {BODY} -----END \
             CERTIFICATE----- -----BEGIN CERTIFICATE----- {BODY} -----END CERTIFICATE-----"
        );
        assert_eq!(labels(&text), ["PRIVATE KEY", "CERTIFICATE", "CERTIFICATE"]);
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_shown() {
        let secret = "TUlJc2VjcmV0";
        for (text, words) in [
            (format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"), "cut off"),
            (format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----BEGIN CERTIFICATE-----"), "cut off"),
            (format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END CERTIFICATE-----"), "another one"),
            (format!("-----BEGIN PRIVATE KEY-----\\n{secret}\\n-----END PRIVATE KEY-----"), "line breaks or blanks"),
            (format!("-----BEGIN PRIVATE KEY-----\n{secret}%\n-----END PRIVATE KEY-----"), "base64 has not"),
            (format!("-----BEGIN PRIVATE KEY-----\n{secret}A\n-----END PRIVATE KEY-----"), "damaged or cut off"),
            ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----".to_string(), "empty"),
        ] {
            let error = sections(text.as_bytes()).err().unwrap();
            assert!(error.contains(words) && !error.contains(secret), "{text}: {error}");
        }
    }

    #[test]
    fn other_forms_are_recognised() {
        for (bytes, words) in [
            (&b""[..], "empty"),
            (b"\xce\xce\xce\xce\0\0\0\x02", "JCEKS"),
            (b"\xff\xfe-\0-\0", "UTF-16"),
            (b"-\0-\0-\0", "UTF-16"),
            (b"\x30\x81\x87\x02\x01\x00\x30", "openssl pkey"),
            (b"\x30\x82\x01\x01\x30\x82", "openssl x509"),
            (b"\x30\x82\x01\x01\x06\x09", "PKCS#7"),
            (b"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t", "Kubernetes"),
            (b"/u3+7QAAAAI", "base64 of a JKS"),
            (b"MIIBkTCB+wIJAL", "between them"),
            (b"/etc/kafka/client.pem", "a path"),
            (b"C:\\kafka\\client.pem", "a path"),
            (b"${file:/etc/secrets:key}", "variable"),
            (b"hello", "it is no PEM"),
        ] {
            let error = certificates(bytes).unwrap_err();
            assert!(error.contains(words) && !error.contains("etc/"), "{error}");
        }
        let key = format!("-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----");
        assert!(certificates(key.as_bytes()).unwrap_err().contains("no certificate"));
        let request = key.replace("PRIVATE KEY", "CERTIFICATE REQUEST");
        assert!(certificates(request.as_bytes()).unwrap_err().contains("request"));
        assert!(certificates(key.replace("PRIVATE KEY", "PKCS7").as_bytes()).unwrap_err().contains("-print_certs"));
    }
}
