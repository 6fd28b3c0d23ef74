//! The token provider that is built in: it asks an authorization server, as the options say (`sasl.oauthbearer.*`). [`http`] is the
//! one request, [`jwt`] what comes, and what is shown for it.

mod http;
mod jwt;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use base64ct::{Base64, Encoding};
use rustls::ClientConfig;
use serde_json::{Map, Value};

use self::http::{Answer, Failure, Times};
use super::clock::{self, Clock};
use super::setup::TokenProvider;
use super::tls;
use crate::config::oidc::{Assertion, Endpoint, Grant, Oidc, Source, URL};
use crate::config::{Config, ConfigError, Sasl, Secret};
use crate::connection::sasl::oauth::Token;
use crate::planted::planted;

const BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CLIENT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Characters of a server's own words that are repeated.
const WORDS: usize = 300;

/// Asks for tokens.
#[derive(Debug)]
pub(super) struct Fetcher {
    oidc: Arc<Oidc>,
    tls: Option<Arc<ClientConfig>>,
    /// How long whoever needs a token waits, less what it takes to tell why there is none.
    patience: Duration,
}

/// The provider that the options ask for, if they do.
///
/// # Errors
/// What is wrong with them.
pub(super) fn provider(config: &Config) -> Result<Option<Box<dyn TokenProvider>>, ConfigError> {
    let oidc = match (&config.oidc, &config.sasl) {
        (Some(oidc), Some(Sasl::OAuthBearer)) => Arc::clone(oidc.as_ref().map_err(ConfigError::clone)?),
        _ => return Ok(None),
    };
    let tls = match &oidc.source {
        Source::Server { endpoint, tls, .. } if endpoint.encrypted => {
            let words =
                |error| ConfigError::Contradiction(format!("in sasl.jaas.config, for the token endpoint: {error}"));
            Some(tls::client_config(tls).map_err(words)?)
        }
        Source::Server { endpoint, .. } => {
            log::warn!(
                "{endpoint}: the client's secret and the tokens are not encrypted on their way; https would do so"
            );
            None
        }
        Source::File(_) => None,
    };
    let patience = config.connection_setup_timeout * 3 / 4;
    Ok(Some(Box::new(Fetcher { oidc, tls, patience })))
}

impl TokenProvider for Fetcher {
    fn token(&mut self) -> Result<Token, String> {
        let value = match &self.oidc.source {
            Source::File(path) => jwt::text(path, URL)?,
            Source::Server { endpoint, grant, scope, .. } => {
                let request = Request::new(grant, scope.as_deref())?;
                self.ask(endpoint, &request).map_err(|words| format!("{endpoint}: {}", request.hide(words)))?
            }
        };
        let now = clock::time_of_day().as_millis();
        let lifetime = jwt::lifetime(&value, &self.oidc.scope_claim, &self.oidc.sub_claim, now);
        let lifetime = lifetime.map_err(|words| match &self.oidc.source {
            Source::File(path) => format!("{path}: {words}"),
            Source::Server { endpoint, .. } => format!("{endpoint}: {words}"),
        })?;
        let token = Token::new(value, Some(lifetime));
        Ok(self.oidc.extensions.iter().fold(token, |token, (name, value)| token.extension(name, value)))
    }
}

impl Fetcher {
    /// Asks until there is an answer, or none can be hoped for; with pauses that double, as Kafka's `Retry`.
    fn ask(&self, endpoint: &Endpoint, request: &Request) -> Result<String, String> {
        let clock = Clock::start();
        let given = self.oidc.connect_timeout.unwrap_or_default() + self.oidc.read_timeout.unwrap_or_default();
        let times = Times {
            clock,
            connect: self.oidc.connect_timeout,
            read: self.oidc.read_timeout,
            deadline: clock.now() + self.patience.max(given),
        };
        let last_begin = clock.now() + self.oidc.retry_backoff_max.min(self.patience);
        let mut pause = self.oidc.retry_backoff;
        let mut attempts = 0_u32;
        loop {
            attempts += 1;
            let authorization = request.authorization.as_ref().map(Secret::expose);
            let answer = http::post(endpoint, self.tls.as_ref(), times, authorization, request.form.expose());
            let failure = match answer.and_then(read) {
                Ok(token) => return Ok(token),
                Err(failure) => failure,
            };
            let left = last_begin.saturating_since(clock.now());
            if !(failure.is_passing || planted("oidc-asks-on")) || pause.is_zero() || left <= pause {
                let times = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
                return Err(failure.words + &times);
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2);
        }
    }
}

/// What is sent: secrets, all of it.
struct Request {
    authorization: Option<Secret>,
    form: Secret,
    /// What no text may have.
    secrets: Vec<Secret>,
}

impl Request {
    fn new(grant: &Grant, scope: Option<&str>) -> Result<Self, String> {
        let mut secrets = Vec::new();
        let mut shown = |from: &Assertion| {
            let assertion = jwt::assertion(from)?;
            secrets.push(Secret::from(&*assertion));
            Ok::<_, String>(assertion)
        };
        let mut fields: Vec<(&str, String)> = Vec::new();
        let mut authorization = None;
        match grant {
            Grant::Secret { id, secret, encoded } => {
                let (name, password) = match encoded {
                    true => (encode(id), encode(secret.expose())),
                    false => (id.clone(), secret.expose().to_string()),
                };
                let both = Base64::encode_string(format!("{name}:{password}").as_bytes());
                secrets.extend([secret.clone(), Secret::from(password), Secret::from(&*both)]);
                authorization = Some(Secret::from(format!("Basic {both}")));
                fields.push(("grant_type", "client_credentials".to_string()));
            }
            Grant::Client { id, assertion } => {
                fields.push(("grant_type", "client_credentials".to_string()));
                fields.push(("client_assertion_type", CLIENT.to_string()));
                fields.push(("client_assertion", shown(assertion)?));
                fields.extend(id.clone().map(|id| ("client_id", id)));
            }
            Grant::Bearer(assertion) => {
                fields.push(("grant_type", BEARER.to_string()));
                fields.push(("assertion", shown(assertion)?));
            }
        }
        fields.extend(scope.map(|scope| ("scope", scope.to_string())));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        Ok(Self { authorization, form: Secret::from(fields.join("&")), secrets })
    }

    /// The words without any secret, should a server have repeated one.
    fn hide(&self, words: String) -> String {
        let secrets = self.secrets.iter().map(Secret::expose).filter(|secret| !secret.is_empty());
        secrets.fold(words, |words, secret| words.replace(secret, "[hidden]"))
    }
}

/// As forms have it: Java's `URLEncoder`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The token in an answer.
fn read(answer: Answer) -> Result<String, Failure> {
    let fields: Option<Map<String, Value>> = serde_json::from_slice(&answer.body).ok();
    let text = |name: &str| fields.as_ref()?.get(name)?.as_str().filter(|text| !text.trim().is_empty());
    let said = match (text("error"), text("error_description")) {
        (Some(error), Some(description)) => format!(": {error}: {description}"),
        (Some(error), None) => format!(": {error}"),
        // As Okta says it.
        (None, _) => match (text("errorCode"), text("errorSummary")) {
            (Some(code), Some(summary)) => format!(": {code}: {summary}"),
            (Some(code), None) => format!(": {code}"),
            (None, _) => String::new(),
        },
    };
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect();
    match answer.status {
        200 | 201 => {}
        status @ 300..=399 => {
            return Err(Failure::lasting(format!(
                "it answers {status}, a redirection, which is not followed: set {URL} to where it leads"
            )));
        }
        status => {
            // As in Java.
            let is_passing = matches!(status, 408 | 429 | 500 | 502..=504 | 506..);
            return Err(Failure { words: format!("it answers {status}{said}"), is_passing });
        }
    }
    let token = text("access_token").or_else(|| text("id_token"));
    match (token, fields.is_some()) {
        (Some(token), _) => Ok(token.trim().to_string()),
        (None, true) => Err(Failure::lasting(format!("its answer has no access_token{said}"))),
        (None, false) => Err(Failure::lasting("its answer is no JSON object: is it a token endpoint?")),
    }
}
