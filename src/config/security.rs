//! Who the producer is, and whom it trusts: `security.protocol`, `sasl.*`, `ssl.*`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::config::ConfigError;
use crate::config::build::{Given, contradiction};
use crate::config::jaas;

/// `security.protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// TLS; a client certificate authenticates, if one is configured.
    Ssl,
    /// SASL over an unencrypted connection.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Whether connections are encrypted: that is the host's part (adapters do it with feature `tls`).
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether the machine authenticates itself by SASL.
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// A password, key or token. Its `Debug` and `Display` show none of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What is hidden.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// How the producer authenticates itself (`sasl.mechanism` and `sasl.jaas.config`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sasl {
    /// PLAIN (RFC 4616).
    Plain {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// SCRAM (RFC 5802) with SHA-256 or SHA-512. Needs feature `scram`.
    Scram {
        /// The hash function.
        hash: ScramHash,
        /// The user's name, or the id of a delegation token.
        user: String,
        /// The password, or the token's HMAC.
        password: Secret,
        /// Whether these are a delegation token's (`tokenauth=true`).
        token: bool,
    },
    /// OAUTHBEARER (RFC 7628) with tokens from the host, which is asked by `Output::Token`.
    OAuthBearer,
    /// OAUTHBEARER with tokens that nobody signed, as Kafka's login module makes them for tests.
    OAuthBearerUnsecured(UnsecuredToken),
    /// Another mechanism, whose challenges the host answers (`Producer::set_sasl_mechanism`).
    Custom {
        /// Its name, as brokers know it.
        mechanism: String,
    },
}

impl Sasl {
    /// The mechanism's name, as brokers know it.
    pub fn mechanism(&self) -> &str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::Scram { hash: ScramHash::Sha256, .. } => "SCRAM-SHA-256",
            Self::Scram { hash: ScramHash::Sha512, .. } => "SCRAM-SHA-512",
            Self::OAuthBearer | Self::OAuthBearerUnsecured(_) => "OAUTHBEARER",
            Self::Custom { mechanism } => mechanism,
        }
    }
}

/// The hash function of SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// What an unsecured token claims (`unsecuredLogin…` in `sasl.jaas.config`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsecuredToken {
    /// Text claims by name; `sub` is the principal.
    pub(crate) claims: Vec<(String, String)>,
    /// Number claims by name.
    pub(crate) numbers: Vec<(String, String)>,
    /// Extensions by name.
    pub(crate) extensions: Vec<(String, String)>,
    /// Seconds from its making to its end.
    pub(crate) lifetime_seconds: u32,
}

/// `ssl.*`, as far as TLS without a JVM knows it. For hosts, of which the adapters do what it says with feature `tls`; the
/// machine never looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// `ssl.truststore.location`: a PEM file of certificates to trust.
    pub truststore: Option<String>,
    /// `ssl.truststore.certificates`: the same as text.
    pub trusted: Option<Secret>,
    /// `ssl.keystore.location`: a PEM file with the private key and its certificate chain.
    pub keystore: Option<String>,
    /// `ssl.keystore.key`: the private key as text.
    pub key: Option<Secret>,
    /// `ssl.keystore.certificate.chain`: the certificates as text.
    pub chain: Option<Secret>,
    /// `ssl.key.password`.
    pub key_password: Option<Secret>,
    /// Whether TLS 1.2 may be spoken (`ssl.enabled.protocols`, `ssl.protocol`).
    pub tls12: bool,
    /// Whether TLS 1.3 may be spoken.
    pub tls13: bool,
    /// `ssl.cipher.suites`; empty for the library's.
    pub cipher_suites: Vec<String>,
    /// `ssl.endpoint.identification.algorithm` is empty: any name will do.
    pub any_name: bool,
}

/// An example for errors.
const JAAS: &str = "it is written as for Java: org.apache.kafka.common.security.plain.PlainLoginModule required \
                    username=\"…\" password=\"…\";";

impl Given {
    pub(super) fn security_protocol(&self) -> SecurityProtocol {
        match &*self.text("security.protocol").to_ascii_uppercase() {
            "SSL" => SecurityProtocol::Ssl,
            "SASL_PLAINTEXT" => SecurityProtocol::SaslPlaintext,
            "SASL_SSL" => SecurityProtocol::SaslSsl,
            _ => SecurityProtocol::Plaintext,
        }
    }

    /// How to authenticate, where the protocol wants that.
    pub(super) fn sasl(&self) -> Result<Option<Sasl>, ConfigError> {
        if !self.security_protocol().has_sasl() {
            return Ok(None);
        }
        let mechanism = self.text("sasl.mechanism");
        let why = "a security.protocol with SASL needs one, such as PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
        if mechanism.is_empty() {
            return Err(ConfigError::Missing { option: "sasl.mechanism", why });
        }
        let hash = match mechanism {
            "PLAIN" => None,
            "SCRAM-SHA-256" => Some(ScramHash::Sha256),
            "SCRAM-SHA-512" => Some(ScramHash::Sha512),
            "OAUTHBEARER" => return self.oauth().map(Some),
            mechanism => return Ok(Some(Sasl::Custom { mechanism: mechanism.to_string() })),
        };
        let Some(entry) = self.jaas()? else {
            return Err(ConfigError::Missing { option: "sasl.jaas.config", why: JAAS });
        };
        let wanted = if hash.is_some() { "ScramLoginModule" } else { "PlainLoginModule" };
        if !entry.module.ends_with(wanted) {
            let words = alloc::format!(
                "sasl.mechanism={mechanism} needs a {wanted} in sasl.jaas.config, which has {}",
                entry.module
            );
            return contradiction(&words);
        }
        let option = |name| entry.option(name).filter(|value| !value.is_empty());
        let (Some(user), Some(password)) = (option("username"), option("password")) else {
            return contradiction("sasl.jaas.config needs a username and a password");
        };
        let (user, password) = (user.to_string(), Secret::from(password));
        let Some(hash) = hash else {
            return Ok(Some(Sasl::Plain { user, password }));
        };
        if cfg!(not(feature = "scram")) {
            let option = alloc::format!("sasl.mechanism={mechanism}");
            return Err(ConfigError::NotBuiltIn { option, instead: "compile milena with feature scram" });
        }
        let token = entry.option("tokenauth").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Some(Sasl::Scram { hash, user, password, token }))
    }

    fn jaas(&self) -> Result<Option<jaas::Entry>, ConfigError> {
        if !self.is_given("sasl.jaas.config") {
            return Ok(None);
        }
        let entry = jaas::parse(self.text("sasl.jaas.config"));
        entry
            .map(Some)
            .map_err(|why| ConfigError::Contradiction(alloc::format!("sasl.jaas.config can't be read: {why}")))
    }

    /// Tokens come from the host, unless the login module's options say what an unsecured one claims.
    fn oauth(&self) -> Result<Sasl, ConfigError> {
        let Some(entry) = self.jaas()? else {
            return Ok(Sasl::OAuthBearer);
        };
        let named = |prefix: &str| -> Vec<(String, String)> {
            let of = |(name, value): &(String, String)| Some((name.strip_prefix(prefix)?.to_string(), value.clone()));
            entry.options.iter().filter_map(of).collect()
        };
        let claims = named("unsecuredLoginStringClaim_");
        if claims.is_empty() {
            return Ok(Sasl::OAuthBearer);
        }
        let lifetime_seconds = match entry.option("unsecuredLoginLifetimeSeconds").map(str::parse) {
            None => 3600,
            Some(Ok(seconds)) => seconds,
            Some(Err(_)) => {
                return contradiction("unsecuredLoginLifetimeSeconds in sasl.jaas.config is a number of seconds");
            }
        };
        let numbers = named("unsecuredLoginNumberClaim_");
        if numbers.iter().any(|(_, number)| number.parse::<f64>().is_err()) {
            return contradiction("an unsecuredLoginNumberClaim_ in sasl.jaas.config is no number");
        }
        let extensions = named("unsecuredLoginExtension_");
        Ok(Sasl::OAuthBearerUnsecured(UnsecuredToken { claims, numbers, extensions, lifetime_seconds }))
    }

    /// Stores and protocols, checked as far as that goes without reading files.
    pub(super) fn tls(&self) -> Result<TlsOptions, ConfigError> {
        let text = |name| Some(self.text(name)).filter(|text| !text.is_empty());
        let owned = |name| text(name).map(ToString::to_string);
        let secret = |name| text(name).map(Secret::from);
        for store in ["ssl.truststore", "ssl.keystore"] {
            let name = |end: &str| alloc::format!("{store}.{end}");
            let kind = self.find_text(&name("type")).unwrap_or_default();
            if !kind.is_empty() && !kind.eq_ignore_ascii_case("PEM") {
                let words = alloc::format!(
                    "{store}.type={kind} can't be read: export it as PEM (keytool -exportcert -rfc, openssl pkcs12), and \
                     set {store}.type=PEM"
                );
                return contradiction(&words);
            }
            if self.find_text(&name("password")).is_some_and(|password| !password.is_empty()) {
                let words = alloc::format!(
                    "{store}.password is for JKS and PKCS12: a PEM file has none (a key may have \
                     ssl.key.password)"
                );
                return contradiction(&words);
            }
        }
        let options = TlsOptions {
            truststore: owned("ssl.truststore.location"),
            trusted: secret("ssl.truststore.certificates"),
            keystore: owned("ssl.keystore.location"),
            key: secret("ssl.keystore.key"),
            chain: secret("ssl.keystore.certificate.chain"),
            key_password: secret("ssl.key.password"),
            cipher_suites: list(self.text("ssl.cipher.suites")).map(ToString::to_string).collect(),
            any_name: self.text("ssl.endpoint.identification.algorithm").is_empty(),
            ..TlsOptions::default()
        };
        if options.truststore.is_some() && options.trusted.is_some() {
            return contradiction("ssl.truststore.location and ssl.truststore.certificates exclude each other");
        }
        if options.keystore.is_some() && (options.key.is_some() || options.chain.is_some()) {
            return contradiction("ssl.keystore.location excludes ssl.keystore.key and ssl.keystore.certificate.chain");
        }
        if options.key.is_some() != options.chain.is_some() {
            return contradiction("ssl.keystore.key and ssl.keystore.certificate.chain need each other");
        }
        self.tls_versions(options)
    }

    fn tls_versions(&self, mut options: TlsOptions) -> Result<TlsOptions, ConfigError> {
        for version in list(self.text("ssl.enabled.protocols")) {
            match version {
                "TLSv1.3" => options.tls13 = true,
                "TLSv1.2" => options.tls12 = true,
                other => {
                    let words =
                        alloc::format!("ssl.enabled.protocols has {other}: only TLSv1.2 and TLSv1.3 are spoken");
                    return contradiction(&words);
                }
            }
        }
        // The newest version to be used.
        if self.text("ssl.protocol") == "TLSv1.2" {
            options.tls13 = false;
        }
        if !options.tls12 && !options.tls13 {
            return contradiction("ssl.protocol and ssl.enabled.protocols leave no version of TLS");
        }
        Ok(options)
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const PLAIN: &str =
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hunter2\";";
    const SCRAM: &str =
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"u\" password=\"hunter2\";";

    fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_properties([("bootstrap.servers", "h:1")].iter().chain(pairs).copied())
    }

    fn sasl(mechanism: &str, jaas: &str) -> Result<Sasl, String> {
        let options = [("security.protocol", "sasl_ssl"), ("sasl.mechanism", mechanism), ("sasl.jaas.config", jaas)];
        with(&options).map(|config| config.sasl.expect("it has SASL")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_java_users_sasl_options_are_read() {
        let plain = Sasl::Plain { user: "u".into(), password: "hunter2".into() };
        assert_eq!(sasl("PLAIN", PLAIN), Ok(plain));
        let token = "o.a.k.c.s.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"me\";";
        let Ok(Sasl::OAuthBearerUnsecured(unsecured)) = sasl("OAUTHBEARER", token) else { panic!("unsecured") };
        assert_eq!((unsecured.claims.len(), unsecured.lifetime_seconds), (1, 3600));
        let asked = "o.a.k.c.s.oauthbearer.OAuthBearerLoginModule required;";
        assert_eq!(sasl("OAUTHBEARER", asked), Ok(Sasl::OAuthBearer));
        assert_eq!(sasl("GSSAPI", PLAIN), Ok(Sasl::Custom { mechanism: "GSSAPI".into() }));
    }

    #[test]
    #[cfg(feature = "scram")]
    fn scram_is_read_with_its_hash() {
        let Ok(Sasl::Scram { hash, token, .. }) = sasl("SCRAM-SHA-512", SCRAM) else { panic!("scram") };
        assert_eq!((hash, token), (ScramHash::Sha512, false));
    }

    #[test]
    #[cfg(not(feature = "scram"))]
    fn scram_needs_its_feature() {
        assert!(sasl("SCRAM-SHA-512", SCRAM).unwrap_err().contains("feature scram"));
    }

    #[test]
    fn what_is_wrong_with_sasl_is_said_without_the_password() {
        for (mechanism, jaas, words) in [
            ("PLAIN", "", "sasl.jaas.config"),
            ("PLAIN", SCRAM, "PlainLoginModule"),
            ("PLAIN", "a.PlainLoginModule required username=u;", "password"),
            ("PLAIN", "a.PlainLoginModule required username=u password=hunter2", "semicolon"),
            ("", PLAIN, "sasl.mechanism"),
        ] {
            let error = sasl(mechanism, jaas).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", PLAIN),
            ("ssl.key.password", "hunter2"),
        ];
        let config = with(&options).unwrap();
        assert!(!alloc::format!("{config:?}").contains("hunter2"));
        let builder = Config::builder("h:1").option("sasl.jaas.config", PLAIN);
        assert!(!alloc::format!("{builder:?}").contains("hunter2"));
    }

    #[test]
    fn stores_are_pem() {
        let jks =
            with(&[("ssl.truststore.type", "JKS"), ("ssl.truststore.location", "/a.jks")]).unwrap_err().to_string();
        assert!(jks.contains("keytool"), "{jks}");
        let password = with(&[("ssl.keystore.password", "hunter2")]).unwrap_err().to_string();
        assert!(password.contains("ssl.keystore.password") && !password.contains("hunter2"), "{password}");
        assert!(with(&[("ssl.keystore.key", "k")]).is_err());
        let pem = with(&[("ssl.truststore.type", "PEM"), ("ssl.truststore.location", "/a.pem")]).unwrap();
        assert_eq!(pem.tls.truststore.as_deref(), Some("/a.pem"));
    }

    #[test]
    fn versions_of_tls_are_those_enabled_up_to_the_protocol() {
        let versions = |pairs: &[(&str, &str)]| with(pairs).map(|config| (config.tls.tls12, config.tls.tls13)).ok();
        assert_eq!(versions(&[]), Some((true, true)));
        assert_eq!(versions(&[("ssl.protocol", "TLSv1.2")]), Some((true, false)));
        assert_eq!(versions(&[("ssl.enabled.protocols", "TLSv1.3")]), Some((false, true)));
        assert_eq!(versions(&[("ssl.enabled.protocols", "TLSv1.1,TLSv1.2")]), None);
        assert_eq!(versions(&[("ssl.enabled.protocols", "TLSv1.3"), ("ssl.protocol", "TLSv1.2")]), None);
    }
}
