//! How tokens are fetched from an authorization server: `sasl.oauthbearer.*`, `sasl.login.*`, and what `sasl.jaas.config` says of it
//! (KIP-768, KIP-1139, KIP-1258), as `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler` takes them.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::config::build::{Given, contradiction};
use crate::config::{ConfigError, Sasl, Secret, TlsOptions, jaas};

/// Java's handler, and its name in versions 3.1 to 3.3.
const HANDLERS: [&str; 2] = [
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler",
];

const PACKAGE: &str = "org.apache.kafka.common.security.oauthbearer.";

pub(crate) const URL: &str = "sasl.oauthbearer.token.endpoint.url";
pub(crate) const ASSERTION: &str = "sasl.oauthbearer.assertion.file";
pub(crate) const KEY: &str = "sasl.oauthbearer.assertion.private.key.file";
pub(crate) const TEMPLATE: &str = "sasl.oauthbearer.assertion.template.file";

/// How tokens are fetched.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Oidc {
    pub(crate) source: Source,
    pub(crate) scope_claim: String,
    pub(crate) sub_claim: String,
    /// SASL extensions (KIP-342), which go with each token.
    pub(crate) extensions: Vec<(String, String)>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
}

impl fmt::Debug for Oidc {
    /// Where tokens come from, and nothing of who asks for them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source: &dyn fmt::Display = match &self.source {
            Source::File(path) => path,
            Source::Server { endpoint, .. } => endpoint,
        };
        f.debug_tuple("Oidc").field(&format_args!("{source}")).finish()
    }
}

/// Where tokens come from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file with a token.
    File(String),
    Server {
        endpoint: Endpoint,
        grant: Grant,
        scope: Option<String>,
        tls: alloc::boxed::Box<TlsOptions>,
    },
}

/// By which right a token is asked for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The client credentials grant (RFC 6749, 4.4) with a secret.
    Secret { id: String, secret: Secret, encoded: bool },
    /// The same, with an assertion in the secret's place (RFC 7523, 2.2).
    Client { id: Option<String>, assertion: Assertion },
    /// The JWT bearer grant (RFC 7523, 2.1).
    Bearer(Assertion),
}

/// A JWT that says who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Assertion {
    /// A file that has it, signed by somebody else.
    File(String),
    Signed(alloc::boxed::Box<Signed>),
}

/// An assertion that is signed here.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    /// ES256, and not RS256.
    pub(crate) elliptic: bool,
    pub(crate) key: String,
    pub(crate) passphrase: Option<Secret>,
    pub(crate) template: Option<String>,
    /// Claims by name.
    pub(crate) claims: Vec<(&'static str, String)>,
    pub(crate) exp_seconds: i64,
    pub(crate) nbf_seconds: i64,
    pub(crate) with_id: bool,
}

/// A URL with `http` or `https`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) encrypted: bool,
    /// A name or an address, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as the URL has them.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl fmt::Display for Endpoint {
    /// Without the query, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", if self.encrypted { "https" } else { "http" }, self.authority)
    }
}

impl Endpoint {
    fn parse(encrypted: bool, rest: &str) -> Result<Self, &'static str> {
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err("client and secret have options of their own, and no place in it");
        }
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('\\') {
            return Err("it has characters that have to be written in percents");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("its IPv6 address has no closing bracket")?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or("its port is no number")?)
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = match port {
            "" if encrypted => 443,
            "" => 80,
            port if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().unwrap_or(0),
            _ => 0,
        };
        if host.is_empty() || port == 0 {
            return Err(if port == 0 { "its port is none from 1 to 65535" } else { "it has no host" });
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            encrypted,
            host: host.to_string(),
            port,
            authority: authority.to_string(),
            target: alloc::format!("{slash}{target}"),
        })
    }
}

/// What a URL says, without the scheme, if it begins with that.
fn after<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (begin, rest) = (url.get(..scheme.len())?, &url[scheme.len()..]);
    if begin.eq_ignore_ascii_case(scheme) { rest.strip_prefix(':') } else { None }
}

/// A class of Kafka's own, without its package.
fn kafkas(class: &str) -> Option<&str> {
    class.strip_prefix(PACKAGE)
}

impl Given {
    /// How tokens are fetched, if the mechanism wants some, and if neither a class of the application's own fetches them nor
    /// nothing is said of it.
    pub(super) fn oidc(&self, sasl: Option<&Sasl>) -> Option<Result<Arc<Oidc>, ConfigError>> {
        let handler = self.text("sasl.login.callback.handler.class");
        let others = ["sasl.login.class", "sasl.client.callback.handler.class"];
        let is_wanted = sasl == Some(&Sasl::OAuthBearer)
            && others.iter().all(|option| self.text(option).is_empty())
            && (HANDLERS.contains(&handler) || (handler.is_empty() && !self.text(URL).trim().is_empty()))
            && self.retriever().is_some()
            && matches!(
                kafkas(self.text("sasl.oauthbearer.jwt.validator.class")),
                Some("DefaultJwtValidator" | "ClientJwtValidator")
            );
        is_wanted.then(|| self.read_oidc().map(Arc::new).map_err(|error| self.place(error)))
    }

    /// Which of Kafka's classes fetches.
    fn retriever(&self) -> Option<&str> {
        kafkas(self.text("sasl.oauthbearer.jwt.retriever.class")).filter(|class| {
            matches!(
                *class,
                "DefaultJwtRetriever" | "ClientCredentialsJwtRetriever" | "JwtBearerJwtRetriever" | "FileJwtRetriever"
            )
        })
    }

    fn read_oidc(&self) -> Result<Oidc, ConfigError> {
        let jaas = self.jaas("OAUTHBEARER")?;
        let jaas = jaas.as_ref();
        // Without a number, or with 0, there is no limit.
        let millis = |option| self.text(option).parse().ok().filter(|millis| *millis > 0).map(Duration::from_millis);
        let (base, max) = (self.span("sasl.login.retry.backoff.ms"), self.span("sasl.login.retry.backoff.max.ms"));
        if max < base {
            return contradiction("sasl.login.retry.backoff.max.ms is at least sasl.login.retry.backoff.ms");
        }
        let name = |option: &'static str| match self.text(option) {
            "" => contradiction(&alloc::format!("{option} is the name of a claim, and not empty")),
            name => Ok(name.to_string()),
        };
        let options = jaas.map_or(&[][..], |entry| &entry.options);
        let extension =
            |(name, value): &(String, String)| Some((name.strip_prefix("extension_")?.to_string(), value.clone()));
        Ok(Oidc {
            source: self.source(jaas)?,
            scope_claim: name("sasl.oauthbearer.scope.claim.name")?,
            sub_claim: name("sasl.oauthbearer.sub.claim.name")?,
            extensions: options.iter().filter_map(extension).collect(),
            connect_timeout: millis("sasl.login.connect.timeout.ms"),
            read_timeout: millis("sasl.login.read.timeout.ms"),
            retry_backoff: base,
            retry_backoff_max: max,
        })
    }

    fn source(&self, jaas: Option<&jaas::Entry>) -> Result<Source, ConfigError> {
        let (url, retriever) = (self.text(URL).trim(), self.retriever().unwrap_or_default());
        if url.is_empty() {
            let why =
                "OAuthBearerLoginCallbackHandler fetches tokens there, such as https://idp.example.org/oauth2/token";
            return Err(ConfigError::Missing { option: URL, why: why.to_string() });
        }
        let wrong = |why: &str| {
            // The value is not shown: people put secrets there.
            contradiction(&alloc::format!("{URL} is a URL such as https://idp.example.org/oauth2/token: {why}"))
        };
        if let Some(rest) = after(url, "file") {
            if matches!(retriever, "ClientCredentialsJwtRetriever" | "JwtBearerJwtRetriever") {
                return wrong("this sasl.oauthbearer.jwt.retriever.class takes http and https");
            }
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let path = path.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Source::File(path.to_string()))
            } else {
                wrong("a file's is file:///PATH")
            };
        }
        let (encrypted, rest) = match (after(url, "https"), after(url, "http")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return wrong("it begins with https, http or file"),
        };
        if retriever == "FileJwtRetriever" {
            return wrong("FileJwtRetriever takes file");
        }
        let endpoint = match rest
            .strip_prefix("//")
            .ok_or("after the colon stand two slashes")
            .and_then(|rest| Endpoint::parse(encrypted, rest))
        {
            Ok(endpoint) => endpoint,
            Err(why) => return wrong(why),
        };
        let scope = if retriever == "JwtBearerJwtRetriever" {
            Some(self.text("sasl.oauthbearer.scope").to_string()) // as Java, which looks nowhere else
        } else {
            self.or_jaas("sasl.oauthbearer.scope", jaas, "scope").map(|scope| scope.expose().to_string())
        };
        let scope = scope.map(|scope| scope.trim().to_string()).filter(|scope| !scope.is_empty());
        let grant = if retriever == "JwtBearerJwtRetriever" {
            Grant::Bearer(self.assertion()?)
        } else {
            self.credentials_grant(jaas)?
        };
        let tls = alloc::boxed::Box::new(endpoint_tls(jaas)?);
        Ok(Source::Server { endpoint, grant, scope, tls })
    }

    /// An option, or what stands in its place in `sasl.jaas.config`, as before Kafka 4.1.
    fn or_jaas(&self, option: &'static str, jaas: Option<&jaas::Entry>, name: &str) -> Option<Secret> {
        let given = Some(self.text(option)).filter(|text| !text.trim().is_empty());
        let given = given.or_else(|| jaas?.option(name).filter(|text| !text.trim().is_empty()));
        given.map(Secret::from)
    }

    /// The client credentials grant: with an assertion if there is one, as in Java.
    fn credentials_grant(&self, jaas: Option<&jaas::Entry>) -> Result<Grant, ConfigError> {
        let id = "sasl.oauthbearer.client.credentials.client.id";
        let client = self.or_jaas(id, jaas, "clientId").map(|id| id.expose().trim().to_string());
        if [ASSERTION, "sasl.oauthbearer.assertion.claim.iss"].iter().any(|option| !self.text(option).is_empty()) {
            return Ok(Grant::Client { id: client, assertion: self.assertion()? });
        }
        let secret = "sasl.oauthbearer.client.credentials.client.secret";
        let missing = |option, name: &str| ConfigError::Missing {
            option,
            why: alloc::format!("the authorization server is asked in a client's name (or {name} in sasl.jaas.config)"),
        };
        Ok(Grant::Secret {
            id: client.ok_or_else(|| missing(id, "clientId"))?,
            secret: self.or_jaas(secret, jaas, "clientSecret").ok_or_else(|| missing(secret, "clientSecret"))?,
            encoded: self.boolean("sasl.oauthbearer.header.urlencode"),
        })
    }

    fn assertion(&self) -> Result<Assertion, ConfigError> {
        let text = |option| Some(self.text(option)).filter(|text| !text.is_empty()).map(ToString::to_string);
        if let Some(file) = text(ASSERTION) {
            return Ok(Assertion::File(file));
        }
        let Some(key) = text(KEY) else {
            let why = alloc::format!("an assertion comes from a file ({ASSERTION}) or is signed with a key");
            return Err(ConfigError::Missing { option: KEY, why });
        };
        let claims = [
            ("aud", "sasl.oauthbearer.assertion.claim.aud"),
            ("iss", "sasl.oauthbearer.assertion.claim.iss"),
            ("sub", "sasl.oauthbearer.assertion.claim.sub"),
        ];
        let passphrase = self.text("sasl.oauthbearer.assertion.private.key.passphrase");
        Ok(Assertion::Signed(alloc::boxed::Box::new(Signed {
            elliptic: self.text("sasl.oauthbearer.assertion.algorithm") == "ES256",
            key,
            passphrase: Some(passphrase).filter(|text| !text.is_empty()).map(Secret::from),
            template: text(TEMPLATE),
            claims: claims.into_iter().filter_map(|(name, option)| Some((name, text(option)?))).collect(),
            exp_seconds: self.number("sasl.oauthbearer.assertion.claim.exp.seconds"),
            nbf_seconds: self.number("sasl.oauthbearer.assertion.claim.nbf.seconds"),
            with_id: self.boolean("sasl.oauthbearer.assertion.claim.jti.include"),
        })))
    }
}

/// Whom the client trusts at the endpoint: `ssl.*` in `sasl.jaas.config`, as in Java, and not that of the brokers.
fn endpoint_tls(jaas: Option<&jaas::Entry>) -> Result<TlsOptions, ConfigError> {
    let options = jaas.map_or(&[][..], |entry| &entry.options);
    let options = options.iter().filter(|(name, _)| name.starts_with("ssl."));
    let read = Given::within(options.cloned()).and_then(|given| {
        if given.is_given("ssl.engine.factory.class") {
            return contradiction(
                "ssl.engine.factory.class is not taken there: give the producer a milena::TokenProvider",
            );
        }
        given.tls()
    });
    read.map_err(|error| {
        ConfigError::Contradiction(alloc::format!("in sasl.jaas.config, for the token endpoint: {error}"))
    })
}
