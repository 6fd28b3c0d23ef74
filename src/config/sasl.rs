//! Who the producer is: `security.protocol` and `sasl.*`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::config::build::{Given, contradiction};
use crate::config::{ConfigError, Part, Secret, jaas, options};

/// `security.protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Its name in Java.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Whether connections are encrypted: that is the host's part (adapters do it with feature `tls`).
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether the machine authenticates itself by SASL.
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How the producer authenticates itself: what `sasl.mechanism` and `sasl.jaas.config` say, or given as it is to
/// [`ConfigBuilder::sasl`](crate::ConfigBuilder::sasl).
///
/// In a properties file it is, as for Java, one of
///
/// ```properties
/// sasl.mechanism=PLAIN
/// sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="alice" password="secret";
///
/// sasl.mechanism=SCRAM-SHA-512
/// sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret";
///
/// sasl.mechanism=OAUTHBEARER
/// sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
/// ```
///
/// and in a program
///
/// ```
/// use milena::{Config, Sasl, SecurityProtocol};
///
/// let config = Config::builder("kafka.example.org:9093")
///     .security_protocol(SecurityProtocol::SaslSsl)
///     .sasl(Sasl::plain("alice", "secret"))
///     .build()?;
/// # let _ = config;
/// # Ok::<(), milena::ConfigError>(())
/// ```
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
    /// PLAIN.
    pub fn plain(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::Plain { user: user.into(), password: password.into() }
    }

    /// SCRAM-SHA-256 with a user's name and password. Needs feature `scram`.
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::scram(ScramHash::Sha256, user.into(), password.into())
    }

    /// SCRAM-SHA-512 with a user's name and password. Needs feature `scram`.
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::scram(ScramHash::Sha512, user.into(), password.into())
    }

    /// OAUTHBEARER with tokens from the host: in adapters from the `TokenProvider` of a `Setup`, otherwise by `Output::Token`.
    pub fn oauthbearer() -> Self {
        Self::OAuthBearer
    }

    fn scram(hash: ScramHash, user: String, password: Secret) -> Self {
        Self::Scram { hash, user, password, token: false }
    }

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

    /// Whether it is complete, and built in.
    pub(super) fn check(self, protocol: SecurityProtocol) -> Result<Self, ConfigError> {
        if !protocol.has_sasl() {
            let words = alloc::format!(
                "credentials for SASL were given, which security.protocol={} does not use: set SASL_SSL or SASL_PLAINTEXT",
                protocol.name()
            );
            return contradiction(&words);
        }
        match &self {
            Self::Plain { user, password } | Self::Scram { user, password, .. }
                if user.is_empty() || password.expose().is_empty() =>
            {
                contradiction("SASL needs a user's name and a password, neither of them empty")
            }
            Self::Scram { .. } if cfg!(not(feature = "scram")) => {
                let option = alloc::format!("sasl.mechanism={}", self.mechanism());
                Err(ConfigError::NotBuiltIn { option, instead: "compile milena with features = [\"scram\"]" })
            }
            Self::Custom { mechanism } if !is_a_mechanism(mechanism) => contradiction(NO_MECHANISM),
            Self::Plain { .. }
            | Self::Scram { .. }
            | Self::OAuthBearer
            | Self::OAuthBearerUnsecured(_)
            | Self::Custom { .. } => Ok(self),
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

/// What an unsecured token claims (`unsecuredLogin...` in `sasl.jaas.config`).
#[derive(Clone, PartialEq, Eq)]
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

impl fmt::Debug for UnsecuredToken {
    /// Names only: what they claim is all that there is to such a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [&self.claims, &self.numbers, &self.extensions].into_iter().flatten().map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

const BUILT_IN: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

/// The value is not shown: it may be a login module with its password, on the wrong line.
const NO_MECHANISM: &str = "sasl.mechanism is the name of a mechanism, which has letters, digits, hyphens and underscores: PLAIN, \
                            SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, or one that a milena::SaslMechanism of yours does";

/// RFC 4422 has at most 20 characters.
fn is_a_mechanism(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
}

/// The built-in mechanism of this name, if only case, hyphens and underscores are looked away from.
pub(super) fn built_in(name: &str) -> Option<&'static str> {
    let letters =
        |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    BUILT_IN.into_iter().find(|known| letters(known) == letters(name))
}

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
        if mechanism.is_empty() {
            let why =
                "a security.protocol with SASL needs one, such as PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
            return Err(ConfigError::Missing { option: "sasl.mechanism", why: why.to_string() });
        }
        if !is_a_mechanism(mechanism) {
            return contradiction(NO_MECHANISM);
        }
        if let Some(known) = built_in(mechanism).filter(|known| *known != mechanism) {
            let (value, allowed) = (mechanism.to_string(), alloc::format!("it is written {known}"));
            return Err(ConfigError::Invalid { option: "sasl.mechanism", value, allowed });
        }
        if let Some((Part::SaslMechanism, _)) = self.handler() {
            return Ok(Some(Sasl::Custom { mechanism: mechanism.to_string() }));
        }
        let sasl = match mechanism {
            "PLAIN" => {
                let (user, password, _) = self.credentials(mechanism, "PlainLoginModule")?;
                Sasl::Plain { user, password }
            }
            "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
                let hash = if mechanism.ends_with("256") { ScramHash::Sha256 } else { ScramHash::Sha512 };
                let (user, password, token) = self.credentials(mechanism, "ScramLoginModule")?;
                Sasl::Scram { hash, user, password, token }
            }
            "OAUTHBEARER" => self.oauth()?,
            mechanism => {
                self.is_not_forgotten(mechanism)?;
                Sasl::Custom { mechanism: mechanism.to_string() }
            }
        };
        sasl.check(self.security_protocol()).map(Some)
    }

    /// The option by which Java is told to answer a built-in mechanism with classes of the application's own.
    pub(super) fn handler(&self) -> Option<(Part, &'static str)> {
        let client = ["sasl.client.callback.handler.class", "sasl.login.callback.handler.class", "sasl.login.class"];
        let (part, options) = match self.text("sasl.mechanism") {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => (Part::SaslMechanism, &client[..]),
            "OAUTHBEARER" => (Part::TokenProvider, &[&client[1..], &client[..1]].concat()[..]),
            _ => return None,
        };
        let handler = options.iter().copied().find(|option| !self.text(option).is_empty());
        let tokens = (part == Part::TokenProvider && self.has_token_options()).then_some(options::TOKENS);
        handler.or(tokens).map(|option| (part, option))
    }

    /// User and password, and whether they are a delegation token's.
    fn credentials(&self, mechanism: &str, module: &str) -> Result<(String, Secret, bool), ConfigError> {
        let Some(entry) = self.jaas(mechanism)? else {
            return Err(ConfigError::Missing { option: "sasl.jaas.config", why: as_in_java(mechanism) });
        };
        if entry.module.rsplit('.').next() != Some(module) {
            return contradiction(&alloc::format!(
                "sasl.mechanism={mechanism} needs a {module} in sasl.jaas.config, which has another login module: {}",
                as_in_java(mechanism)
            ));
        }
        let option = |name| entry.option(name).filter(|value| !value.is_empty());
        let (Some(user), Some(password)) = (option("username"), option("password")) else {
            let words = alloc::format!("sasl.jaas.config needs a username and a password: {}", as_in_java(mechanism));
            return contradiction(&words);
        };
        let token = entry.option("tokenauth").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok((user.to_string(), Secret::from(password), token))
    }

    pub(super) fn jaas(&self, mechanism: &str) -> Result<Option<jaas::Entry>, ConfigError> {
        let text = self.text("sasl.jaas.config");
        if text.is_empty() {
            return Ok(None);
        }
        let read = jaas::parse(text).map(Some);
        read.map_err(|why| {
            ConfigError::Contradiction(alloc::format!(
                "sasl.jaas.config can't be read: {why}; {}",
                as_in_java(mechanism)
            ))
        })
    }

    /// Credentials of a built-in mechanism under the name of another one: GSSAPI, where no name was given.
    fn is_not_forgotten(&self, mechanism: &str) -> Result<(), ConfigError> {
        let entry = jaas::parse(self.text("sasl.jaas.config")).ok();
        let module = entry.as_ref().and_then(|entry| entry.module.rsplit('.').next());
        let wanted = match module {
            Some("PlainLoginModule") => "PLAIN",
            Some("ScramLoginModule") => "SCRAM-SHA-256 or SCRAM-SHA-512",
            Some("OAuthBearerLoginModule") => "OAUTHBEARER",
            _ => return Ok(()),
        };
        if mechanism != "GSSAPI" {
            return Ok(());
        }
        let words = if self.is_given("sasl.mechanism") {
            alloc::format!("the login module in sasl.jaas.config is not GSSAPI's: set sasl.mechanism={wanted}")
        } else {
            alloc::format!("sasl.mechanism is not given, and would be GSSAPI: for this sasl.jaas.config set {wanted}")
        };
        contradiction(&words)
    }

    /// Tokens come from the host, unless the login module's options say what an unsecured one claims.
    fn oauth(&self) -> Result<Sasl, ConfigError> {
        let Some(entry) = self.jaas("OAUTHBEARER")? else {
            return Ok(Sasl::OAuthBearer);
        };
        let named = |prefix: &str| -> Vec<(String, String)> {
            let of = |(name, value): &(String, String)| Some((name.strip_prefix(prefix)?.to_string(), value.clone()));
            entry.options.iter().filter_map(of).collect()
        };
        let claims = named("unsecuredLoginStringClaim_");
        if claims.is_empty() || self.handler().is_some() {
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
        if numbers.iter().any(|(_, number)| !is_number(number)) {
            return contradiction("an unsecuredLoginNumberClaim_ in sasl.jaas.config is no number");
        }
        let extensions = named("unsecuredLoginExtension_");
        Ok(Sasl::OAuthBearerUnsecured(UnsecuredToken { claims, numbers, extensions, lifetime_seconds }))
    }
}

/// Whether Rust reads it as a number with a fraction: told by its form alone, for reading it takes 25 KiB of code.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = |text: &str| -> usize { usize::from(text.starts_with(['+', '-'])) };
    let text = &text[unsigned(text)..];
    if ["inf", "infinity", "nan"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return true;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = &exponent[unsigned(exponent)..];
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !exponent.is_empty()
        && digits(exponent)
}

/// What to write.
pub(super) fn as_in_java(mechanism: &str) -> String {
    alloc::format!("for {mechanism} it is written as for Java, sasl.jaas.config={}", jaas::example(mechanism))
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
    fn numbers_are_told_by_their_form_as_the_standard_library_tells_them() {
        let texts =
            "0 1. .5 . -.5e3 1e 1e+ 1e-7 +1.5E+08 e5 inf -Infinity NaN +nan 1_0 0x1 1.2.3 --1 1e5.0 ٣".split(' ');
        for text in texts.chain(["", "+", " 1", "1 ", "1e+-5"]) {
            assert_eq!(is_number(text), text.parse::<f64>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_java_users_sasl_options_are_read() {
        let plain = Sasl::Plain { user: "u".into(), password: "hunter2".into() };
        assert_eq!(sasl("PLAIN", PLAIN), Ok(plain));
        let token = "o.a.k.c.s.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"hunter2\";";
        let Ok(Sasl::OAuthBearerUnsecured(unsecured)) = sasl("OAUTHBEARER", token) else { panic!("unsecured") };
        assert_eq!((unsecured.claims.len(), unsecured.lifetime_seconds), (1, 3600));
        assert!(!alloc::format!("{unsecured:?}").contains("hunter2"));
        let asked = "o.a.k.c.s.oauthbearer.OAuthBearerLoginModule required;";
        assert_eq!(sasl("OAUTHBEARER", asked), Ok(Sasl::OAuthBearer));
        for custom in ["GSSAPI", "AWS_MSK_IAM"] {
            let module = "com.sun.security.auth.module.Krb5LoginModule required;";
            assert_eq!(sasl(custom, module), Ok(Sasl::Custom { mechanism: custom.into() }));
        }
    }

    #[test]
    fn a_mechanism_that_is_misspelt_or_forgotten_is_told() {
        for (mechanism, jaas, words) in [
            ("plain", PLAIN, "it is written PLAIN"),
            ("scram-sha-512", SCRAM, "it is written SCRAM-SHA-512"),
            ("SCRAM_SHA_256", SCRAM, "it is written SCRAM-SHA-256"),
            ("SCRAM-SHA256", SCRAM, "it is written SCRAM-SHA-256"),
            ("OAuthBearer", "", "it is written OAUTHBEARER"),
            ("GSSAPI", SCRAM, "set sasl.mechanism=SCRAM-SHA-256 or SCRAM-SHA-512"),
            (PLAIN, PLAIN, "sasl.mechanism is the name of a mechanism"),
            ("PLAIN hunter2", PLAIN, "sasl.mechanism is the name of a mechanism"),
        ] {
            let error = sasl(mechanism, jaas).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{mechanism}: {error}");
        }
        let forgotten =
            with(&[("security.protocol", "SASL_SSL"), ("sasl.jaas.config", PLAIN)]).unwrap_err().to_string();
        assert!(forgotten.contains("sasl.mechanism is not given") && forgotten.contains("set PLAIN"), "{forgotten}");
        // Whether somebody brings Kerberos is not known here.
        let gssapi = with(&[("security.protocol", "SASL_SSL")]).unwrap();
        assert_eq!(gssapi.parts(), [(Part::SaslMechanism, "sasl.mechanism")]);
    }

    #[test]
    fn classes_of_the_applications_own_are_parts_that_it_brings() {
        let parts = |pairs: &[(&str, &str)]| {
            let pairs = [&[("security.protocol", "SASL_PLAINTEXT")], pairs].concat();
            with(&pairs).map(|config| (config.parts(), config.sasl.map(|sasl| sasl.mechanism().to_string())))
        };
        let (client, login) = ("sasl.client.callback.handler.class", "sasl.login.callback.handler.class");
        let url = ("sasl.oauthbearer.token.endpoint.url", "https://h/token");
        for (pairs, part, mechanism) in [
            (&[("sasl.mechanism", "PLAIN"), (client, "c.C")][..], (Part::SaslMechanism, client), "PLAIN"),
            (&[("sasl.mechanism", "SCRAM-SHA-256"), (login, "c.C")], (Part::SaslMechanism, login), "SCRAM-SHA-256"),
            (
                &[("sasl.mechanism", "OAUTHBEARER"), (login, "c.C"), (client, "c.C")],
                (Part::TokenProvider, login),
                "OAUTHBEARER",
            ),
            (&[("sasl.mechanism", "OAUTHBEARER"), url], (Part::TokenProvider, "sasl.oauthbearer.*"), "OAUTHBEARER"),
            (&[("sasl.mechanism", "OAUTHBEARER")], (Part::TokenProvider, "sasl.mechanism"), "OAUTHBEARER"),
            (
                &[("sasl.mechanism", "AWS_MSK_IAM"), (client, "c.C")],
                (Part::SaslMechanism, "sasl.mechanism"),
                "AWS_MSK_IAM",
            ),
        ] {
            assert_eq!(parts(pairs), Ok((Vec::from([part]), Some(mechanism.to_string()))), "{pairs:?}");
        }
        // Options of a mechanism that is not used.
        let plain = [("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", PLAIN), url];
        assert_eq!(parts(&plain).unwrap().0, []);
        assert_eq!(with(&[(client, "c.C"), (login, "c.C"), url]).unwrap().parts(), []);
    }

    #[test]
    fn credentials_may_be_given_as_they_are() {
        let builder = || Config::builder("h:1").security_protocol(SecurityProtocol::SaslSsl);
        let given = Sasl::plain("us\"er", "hun\\ter2;");
        let config = builder().sasl(given.clone()).build().unwrap();
        assert_eq!((config.sasl(), config.security_protocol()), (Some(&given), SecurityProtocol::SaslSsl));
        // They come before what is said as text.
        let pairs = [("sasl.mechanism", "GSSAPI"), ("sasl.jaas.config", "nonsense")];
        assert_eq!(builder().properties(pairs).sasl(given.clone()).build().unwrap().sasl(), Some(&given));
        for (builder, words) in [
            (Config::builder("h:1").sasl(given), "SASL_SSL or SASL_PLAINTEXT"),
            (builder().sasl(Sasl::plain("", "p")), "neither of them empty"),
            (builder().sasl(Sasl::plain("u", "")), "neither of them empty"),
            (builder().sasl(Sasl::Custom { mechanism: "a b".into() }), "name of a mechanism"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        #[cfg(feature = "scram")]
        assert!(builder().sasl(Sasl::scram_sha_256("u", "p")).build().is_ok());
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
            ("PLAIN", SCRAM, "needs a PlainLoginModule"),
            ("PLAIN", "hunter2 required username=u password=p;", "needs a PlainLoginModule"),
            ("PLAIN", "hunter2", "org.apache.kafka.common.security.plain.PlainLoginModule required username="),
            ("PLAIN", "a.PlainLoginModule required username=u;", "password"),
            ("PLAIN", "a.PlainLoginModule required username=u password=hunter2", "semicolon"),
            ("", PLAIN, "sasl.mechanism"),
        ] {
            let error = sasl(mechanism, jaas).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}
