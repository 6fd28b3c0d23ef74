//! JSON web tokens (RFC 7519): what a token says of itself, as Kafka's `ClientJwtValidator` looks at it; and assertions, made and signed as
//! Kafka's `DefaultAssertionCreator` does.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use pkcs8::der::asn1::UintRef;
use pkcs8::der::{Decode, Reader, SliceReader};
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use serde_json::{Map, Value, json};

use crate::adapter::{clock, tls};
use crate::config::oidc::{Assertion, KEY, Signed, TEMPLATE};

/// A header or a payload.
type Part = Map<String, Value>;

/// How long a token may still be used.
///
/// # Errors
/// In words that have nothing of the token.
pub(super) fn lifetime(token: &str, scope_claim: &str, sub_claim: &str, now_ms: i64) -> Result<Duration, String> {
    let claims = claims(token)?;
    let number = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_i64().or_else(|| number.as_f64().map(|number| number as i64))),
        Some(_) => Err(format!("the token's claim {name} is no number")),
    };
    match claims.get(sub_claim) {
        Some(Value::String(subject)) if !subject.trim().is_empty() => {}
        _ => return Err(format!("the token has no subject (claim {sub_claim}; see sasl.oauthbearer.sub.claim.name)")),
    }
    let is_scope = |scope: &Value| scope.as_str().is_some_and(|scope| !scope.trim().is_empty());
    let are_scopes = match claims.get(scope_claim) {
        None | Some(Value::Null) => true,
        Some(Value::Array(scopes)) => scopes.iter().all(is_scope),
        Some(scope) => is_scope(scope),
    };
    if !are_scopes {
        return Err(format!("the token's claim {scope_claim} has no scopes (see sasl.oauthbearer.scope.claim.name)"));
    }
    number("iat")?;
    let Some(end) = number("exp")? else {
        return Err("the token does not say when it ends (claim exp)".to_string());
    };
    match u64::try_from(end.saturating_mul(1000).saturating_sub(now_ms)) {
        Ok(left) if left > 0 => Ok(Duration::from_millis(left)),
        _ => Err(format!(
            "the token is over already: since {} s, by this machine's clock",
            now_ms.saturating_sub(end.saturating_mul(1000)) / 1000
        )),
    }
}

/// What stands in a token's middle.
fn claims(token: &str) -> Result<Part, String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts[..] else {
        return Err(format!("the token is no JWT: it has {} parts, and not 3", parts.len()));
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err("the token is no signed JWT: one of its parts is empty".to_string());
    }
    let payload = Base64UrlUnpadded::decode_vec(payload.trim_end_matches('='));
    let claims = payload.ok().and_then(|payload| serde_json::from_slice(&payload).ok());
    claims.ok_or_else(|| "the token is no JWT: its middle part is no JSON in base64url".to_string())
}

/// The assertion to show now: its file's, or a new one.
pub(super) fn assertion(assertion: &Assertion) -> Result<String, String> {
    match assertion {
        Assertion::File(path) => text(path, crate::config::oidc::ASSERTION),
        Assertion::Signed(how) => sign(how),
    }
}

/// What a file has, without the white space around it.
pub(super) fn text(path: &str, option: &'static str) -> Result<String, String> {
    let bytes = tls::read(path, option).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).unwrap_or_default().trim().to_string();
    if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(format!("{option}: {path} has no token, or more than one"));
    }
    Ok(text)
}

fn sign(how: &Signed) -> Result<String, String> {
    let now = clock::time_of_day().as_millis() / 1000;
    let (mut header, mut payload) = match &how.template {
        None => (Map::new(), Map::new()),
        Some(path) => template(path)?,
    };
    for (name, value) in &how.claims {
        payload.insert((*name).to_string(), json!(value));
    }
    header.insert("alg".to_string(), json!(if how.elliptic { "ES256" } else { "RS256" }));
    header.insert("typ".to_string(), json!("JWT"));
    payload.insert("iat".to_string(), json!(now));
    payload.insert("exp".to_string(), json!(now + how.exp_seconds));
    payload.insert("nbf".to_string(), json!(now - how.nbf_seconds));
    if how.with_id {
        payload.insert("jti".to_string(), json!(id()?));
    }
    let encode =
        |part: Map<String, Value>| Base64UrlUnpadded::encode_string(Value::Object(part).to_string().as_bytes());
    let signed = format!("{}.{}", encode(header), encode(payload));
    let signature = signature(how, signed.as_bytes())?;
    Ok(format!("{signed}.{}", Base64UrlUnpadded::encode_string(&signature)))
}

/// Header and payload to begin with.
fn template(path: &str) -> Result<(Part, Part), String> {
    let bytes = tls::read(path, TEMPLATE).map_err(|error| error.to_string())?;
    let mut whole: Part =
        serde_json::from_slice(&bytes).map_err(|_| format!("{TEMPLATE}: {path} is no JSON object"))?;
    let mut part = |name: &str| match whole.remove(name) {
        None => Ok(Map::new()),
        Some(Value::Object(part)) => Ok(part),
        Some(_) => Err(format!("{TEMPLATE}: {name} in {path} is no JSON object")),
    };
    Ok((part("header")?, part("payload")?))
}

/// A random UUID (RFC 9562, version 4).
fn id() -> Result<String, String> {
    let seed = clock::seed().map_err(|error| error.to_string())?;
    let mut bits = u128::from_be_bytes(core::array::from_fn(|place| seed[place]));
    bits = bits & !(0xf << 76) | 4 << 76;
    bits = bits & !(0b11 << 62) | 0b10 << 62;
    let text = format!("{bits:032x}");
    Ok(format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]))
}

fn signature(how: &Signed, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let key = tls::read(&how.key, KEY).map_err(|error| error.to_string())?;
    let told = |words: String| {
        format!("{KEY}: {}", words.replace("ssl.key.password", "sasl.oauthbearer.assertion.private.key.passphrase"))
    };
    let key: Arc<dyn SigningKey> = tls::signing_key(&key, how.passphrase.as_ref()).map_err(told)?;
    let (scheme, name) = match how.elliptic {
        true => (SignatureScheme::ECDSA_NISTP256_SHA256, "ES256, which is for EC keys on P-256"),
        false => (SignatureScheme::RSA_PKCS1_SHA256, "RS256, which is for RSA keys"),
    };
    let signer = key.choose_scheme(&[scheme]);
    let signer =
        signer.ok_or_else(|| format!("{KEY}: the key can't sign by sasl.oauthbearer.assertion.algorithm={name}"))?;
    let signature = signer.sign(bytes).map_err(|error| format!("{KEY}: {error}"))?;
    match how.elliptic {
        true => fixed(&signature).ok_or_else(|| format!("{KEY}: the signature is damaged")),
        false => Ok(signature),
    }
}

/// The two numbers of a signature by P-256, which TLS has in DER and JWTs in 32 bytes each (RFC 7518, 3.4).
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(der).ok()?;
    let numbers = reader.sequence(|reader| Ok([UintRef::decode(reader)?, UintRef::decode(reader)?])).ok()?;
    let mut fixed = Vec::with_capacity(64);
    for number in numbers {
        let bytes = number.as_bytes();
        fixed.resize(fixed.len() + 32_usize.checked_sub(bytes.len())?, 0);
        fixed.extend_from_slice(bytes);
    }
    Some(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", Base64UrlUnpadded::encode_string(claims.to_string().as_bytes()))
    }

    fn left(claims: &Value) -> Result<u64, String> {
        lifetime(&token(claims), "scope", "sub", 1_000_000).map(|left| left.as_secs())
    }

    #[test]
    fn a_token_lives_until_its_exp() {
        assert_eq!(left(&json!({"sub": "a", "exp": 1060})), Ok(60));
        assert_eq!(left(&json!({"sub": "a", "exp": 1060.9, "iat": 900, "scope": ["a", "b"]})), Ok(60));
        assert!(left(&json!({"sub": "a", "exp": i64::MAX, "scope": "a b"})).is_ok());
        let named = token(&json!({"client_id": "a", "exp": 1060, "scp": "x"}));
        assert!(lifetime(&named, "scp", "client_id", 1_000_000).is_ok());
    }

    #[test]
    fn what_a_token_lacks_is_told_without_showing_it() {
        for (claims, words) in [
            (json!({"sub": "hunter2"}), "when it ends"),
            (json!({"sub": "hunter2", "exp": null}), "when it ends"),
            (json!({"sub": "hunter2", "exp": "hunter2"}), "exp is no number"),
            (json!({"sub": "hunter2", "exp": 1060, "iat": "hunter2"}), "iat is no number"),
            (json!({"sub": "hunter2", "exp": 990}), "over already: since 10 s"),
            (json!({"sub": "hunter2", "exp": i64::MIN}), "over already"),
            (json!({"exp": 1060}), "no subject"),
            (json!({"sub": " ", "exp": 1060}), "no subject"),
            (json!({"sub": ["hunter2"], "exp": 1060}), "no subject"),
            (json!({"sub": "a", "exp": 1060, "scope": ["a", " "]}), "no scopes"),
            (json!({"sub": "a", "exp": 1060, "scope": 7}), "no scopes"),
            (json!(["hunter2"]), "no JSON"),
        ] {
            let error = left(&claims).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{claims}: {error}");
        }
        for (token, words) in [
            ("hunter2", "1 parts"),
            ("a.hunter2", "2 parts"),
            ("a.b.c.hunter2", "4 parts"),
            ("a.e30.", "is empty"),
            ("a.hunter2.c", "no JSON"),
            ("a.h\u{fc}nter2.c", "no JSON"),
        ] {
            let error = lifetime(token, "scope", "sub", 0).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{token}: {error}");
        }
    }

    fn signed(key: &str, elliptic: bool) -> Signed {
        Signed {
            elliptic,
            key: format!("{}/tests/tls/{key}", env!("CARGO_MANIFEST_DIR")),
            passphrase: Some("secret".into()),
            template: None,
            claims: [("iss", "me".to_string()), ("aud", "you".to_string())].into(),
            exp_seconds: 300,
            nbf_seconds: 60,
            with_id: true,
        }
    }

    /// The signature is verified by rustls' own library, from the certificate that belongs to the key.
    fn verify(jwt: &str, certificate: &str, scheme: SignatureScheme) -> bool {
        let (message, signature) = jwt.rsplit_once('.').unwrap();
        let mut signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
        if scheme == SignatureScheme::ECDSA_NISTP256_SHA256 {
            assert_eq!(signature.len(), 64);
            let number = |bytes: &[u8]| {
                let bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
                let sign = bytes[0] >> 7; // a leading zero, so that it is positive
                [&[2, bytes.len() as u8 + sign][..], &[0][..sign as usize], &bytes].concat()
            };
            let both = [number(&signature[..32]), number(&signature[32..])].concat();
            signature = [&[0x30, both.len() as u8][..], &both].concat();
        }
        let path = format!("{}/tests/tls/{certificate}", env!("CARGO_MANIFEST_DIR"));
        tls::verify(&std::fs::read(path).unwrap(), scheme, message.as_bytes(), &signature)
    }

    #[test]
    fn assertions_are_signed_as_their_key_can() {
        for (key, certificate, elliptic, scheme) in [
            ("rsa.key", "rsa.crt", false, SignatureScheme::RSA_PKCS1_SHA256),
            ("ec.key", "ec.crt", true, SignatureScheme::ECDSA_NISTP256_SHA256),
            ("ec-aes256.key", "ec.crt", true, SignatureScheme::ECDSA_NISTP256_SHA256),
        ] {
            // The two numbers of a signature have leading zeros once in 128 times.
            for _ in 0..if elliptic { 300 } else { 3 } {
                let jwt = sign(&signed(key, elliptic)).unwrap();
                assert!(verify(&jwt, certificate, scheme), "{key}: {jwt}");
                assert!(!verify(&jwt.replacen("ey", "eY", 1), certificate, scheme));
            }
        }
    }

    #[test]
    fn assertions_claim_what_the_options_and_the_template_say() {
        let path = std::env::temp_dir().join(format!("milena-template-{}.json", std::process::id()));
        std::fs::write(
            &path,
            r#"{"header": {"kid": "k1", "alg": "none"}, "payload": {"iss": "them", "x": [1], "exp": 1}}"#,
        )
        .unwrap();
        let with = Signed { template: Some(path.display().to_string()), ..signed("ec.key", true) };
        let jwt = sign(&with).unwrap();
        std::fs::remove_file(&path).unwrap();
        let claims = claims(&jwt).unwrap();
        let header = Base64UrlUnpadded::decode_vec(jwt.split('.').next().unwrap()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&header).unwrap(),
            json!({"kid": "k1", "alg": "ES256", "typ": "JWT"})
        );
        assert_eq!((&claims["iss"], &claims["aud"], &claims["x"]), (&json!("me"), &json!("you"), &json!([1])));
        let (iat, exp, nbf) = (claims["iat"].as_i64(), claims["exp"].as_i64(), claims["nbf"].as_i64());
        assert_eq!((exp, nbf), (iat.map(|iat| iat + 300), iat.map(|iat| iat - 60)));
        let id = claims["jti"].as_str().unwrap();
        assert!(id.len() == 36 && &id[14..15] == "4" && "89ab".contains(&id[19..20]), "{id}");
        let again = sign(&signed("ec.key", true)).unwrap();
        assert_ne!(self::claims(&again).unwrap()["jti"], claims["jti"]);
    }

    #[test]
    fn a_key_that_does_not_do_is_told() {
        let wrong = Signed { passphrase: Some("hunter2".into()), ..signed("ec-aes256.key", true) };
        let none = Signed { passphrase: None, ..signed("ec-aes256.key", true) };
        for (how, words) in [
            (signed("rsa.key", true), "ES256"),
            (signed("ec.key", false), "RS256"),
            (signed("ed25519.key", false), "RS256"),
            (signed("nowhere.key", false), "can't read"),
            (signed("ec.crt", true), "no private key"),
            (wrong, "sasl.oauthbearer.assertion.private.key.passphrase does not open"),
            (none, "set sasl.oauthbearer.assertion.private.key.passphrase"),
        ] {
            let error = sign(&how).unwrap_err();
            assert!(error.contains(KEY) && error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}
