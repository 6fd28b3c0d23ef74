//! What an adapter's producer is made of: a configuration, and parts of the application's own.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Debug};
use std::io;

use thiserror::Error as ThisError;

use super::interceptor::Interceptor;
use super::observer::Observer;
use crate::config::{Config, ConfigError, Part, Sasl};
use crate::connection::sasl::SaslMechanism;
use crate::connection::sasl::oauth::Token;
use crate::producer::Partitioner;

/// For the mechanism that Java takes where none is named.
const GSSAPI: &str = "it is what sasl.mechanism is where it is not given: did you forget \
    sasl.mechanism=PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER? For Kerberos give the producer a milena::SaslMechanism \
    (Setup::sasl_mechanism)";

/// For a mechanism that nobody here knows.
const MECHANISM: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are; for another one give the producer a \
    milena::SaslMechanism (Setup::sasl_mechanism)";

/// For options that this build knows nothing of.
const OIDC: &str = "compile milena with features = [\"oidc\"], which does what OAuthBearerLoginCallbackHandler does in Java, or give the \
    producer a milena::TokenProvider (Setup::token_provider), which fetches tokens your way";

/// Gives tokens for `sasl.mechanism=OAUTHBEARER`.
pub trait TokenProvider: Debug + Send {
    /// A token that is good from now on. Called on a thread of its own, so it may wait for an identity provider; but whoever
    /// needs the token waits at most for `socket.connection.setup.timeout.ms`, and is then told that there was no answer. One
    /// call at a time; a second after the last one at the earliest, and after failures later. It is asked again in the last
    /// fifth of a token's life (as Java: at least five minutes before its end, if it lives that long).
    ///
    /// # Errors
    /// In words, if there is none. A panic is one, too, and so is a token that is over already. If an older token is still good, it
    /// is used on.
    fn token(&mut self) -> Result<Token, String>;
}

/// Why a producer could not be made.
///
/// `Debug` says the same as `Display`, so that a `main` that returns it says something.
#[derive(ThisError)]
#[non_exhaustive]
pub enum SetupError {
    /// The configuration is wrong: an option, a file of certificates, or a part that has to be brought is not there.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused a thread, a poll instance or randomness.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Debug for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SetupError> for io::Error {
    /// A wrong configuration is invalid input.
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Config(error) => Self::new(io::ErrorKind::InvalidInput, error),
            SetupError::Io(error) => error,
        }
    }
}

/// A [`Config`], with parts that have no name in a properties file. Each adapter's `Producer::new` takes either.
///
/// ```
/// use milena::{Choice, Config, Partitioner, Record, Setup, TopicView};
///
/// #[derive(Debug)]
/// struct First;
///
/// impl Partitioner for First {
///     fn partition(&mut self, record: &Record<'_>, _: &TopicView<'_>) -> Choice<'_> {
///         if record.key == Some(b"first".as_slice()) { Choice::To(0) } else { Choice::Usual }
///     }
/// }
///
/// let setup = Setup::new(Config::new("localhost:9092")?).partitioner(First);
/// # let _ = setup;
/// # Ok::<(), milena::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Setup {
    pub(super) config: Config,
    pub(super) partitioner: Option<Box<dyn Partitioner>>,
    pub(super) mechanism: Option<Box<dyn SaslMechanism>>,
    pub(super) tokens: Option<Box<dyn TokenProvider>>,
    pub(super) interceptors: Vec<Arc<dyn Interceptor>>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) measure_lock: bool,
    #[cfg(feature = "tracing")]
    pub(super) traces: super::traces::Asked,
    #[cfg(feature = "cluster")]
    pub(super) mock_memory: bool,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

impl From<Config> for Setup {
    fn from(config: Config) -> Self {
        Self::new(config)
    }
}

impl Setup {
    /// The configuration alone.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            partitioner: None,
            mechanism: None,
            tokens: None,
            interceptors: Vec::new(),
            observer: None,
            measure_lock: false,
            #[cfg(feature = "tracing")]
            traces: super::traces::Asked::default(),
            #[cfg(feature = "cluster")]
            mock_memory: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Chooses partitions for records that name none, in place of Java's rules.
    #[must_use]
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.partitioner = Some(Box::new(partitioner));
        self
    }

    /// Answers the challenges of a SASL mechanism that is not built in.
    #[must_use]
    pub fn sasl_mechanism(mut self, mechanism: impl SaslMechanism + 'static) -> Self {
        self.mechanism = Some(Box::new(mechanism));
        self
    }

    /// Gives tokens for OAUTHBEARER.
    #[must_use]
    pub fn token_provider(mut self, tokens: impl TokenProvider + 'static) -> Self {
        self.tokens = Some(Box::new(tokens));
        self
    }

    /// Looks at every record and at what becomes of it, after those given before.
    #[must_use]
    pub fn interceptor(mut self, interceptor: Arc<dyn Interceptor>) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    /// Is told what the producer goes through, in place of one that was given before.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Each thing that an [`Observer`] would be told becomes an event of the crate `tracing`, too, on the level that the log has for
    /// it: target `milena::events`, fields by OpenTelemetry's names (`docs/observing.md` lists them), `Display` of the
    /// [`Observation`](crate::Observation) for a message. An observer of the application's own is told after that. Feature `tracing`.
    ///
    /// The log says the same in fewer lines (a trouble once, then once a minute): who has the log in the same place, as by
    /// tracing-subscriber's `tracing-log`, needs only one of the two.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn trace_events(mut self) -> Self {
        self.traces.events = true;
        self
    }

    /// Each record that is sent has a span of the crate `tracing`: a child of the one that is current where it is sent, from
    /// that call until its outcome is known, or until it was refused or given up. Level INFO, target `milena::send`, fields by
    /// OpenTelemetry's names (`docs/observing.md` lists them): tracing-opentelemetry makes a span of kind PRODUCER of it, named
    /// `send` and the topic, with the status of an error. Nothing of the record is in it but whether its value is null. Feature
    /// `tracing`.
    ///
    /// It is over before the record's callback, and before whoever waits for the record goes on. Interceptors see
    /// records within it: so they can put its context into the record's headers, as this one does for a trace that goes on in consumers.
    ///
    /// ```
    /// use milena::{Config, Interceptor, Record, RecordBuf, Setup};
    /// use opentelemetry::propagation::{Injector, TextMapPropagator};
    /// use opentelemetry_sdk::propagation::TraceContextPropagator;
    /// use tracing_opentelemetry::OpenTelemetrySpanExt;
    ///
    /// /// Writes `traceparent` and `tracestate` (W3C).
    /// #[derive(Debug)]
    /// struct Propagate(TraceContextPropagator);
    ///
    /// struct Headers<'a>(&'a mut RecordBuf);
    ///
    /// impl Injector for Headers<'_> {
    ///     fn set(&mut self, name: &str, value: String) {
    ///         self.0.headers.push((name.into(), Some(value.into())));
    ///     }
    /// }
    ///
    /// impl Interceptor for Propagate {
    ///     fn on_send(&self, record: &Record<'_>) -> Option<RecordBuf> {
    ///         let mut with_context = RecordBuf::from(record);
    ///         self.0.inject_context(&tracing::Span::current().context(), &mut Headers(&mut with_context));
    ///         Some(with_context)
    ///     }
    /// }
    ///
    /// let setup = Setup::new(Config::new("localhost:9092")?)
    ///     .trace_sends()
    ///     .interceptor(std::sync::Arc::new(Propagate(TraceContextPropagator::new())));
    /// # let _ = setup;
    /// # Ok::<(), milena::ConfigError>(())
    /// ```
    ///
    /// Without a subscriber that wants such spans this costs next to nothing, and no memory. With one, `send_all` takes records one
    /// by one.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn trace_sends(mut self) -> Self {
        self.traces.sends = true;
        self
    }

    /// The spans of [`trace_sends`](Self::trace_sends) have the record's key, too, where it is UTF-8: `kafka.message.key`. A key is
    /// content, and spans leave the program: so this has to be asked for. Feature `tracing`.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn trace_keys(mut self) -> Self {
        self.traces.keys = true;
        self
    }

    /// Measures how long the machine's lock is held, for the producer's `lock_holds`. It costs two looks at the clock a send.
    #[must_use]
    pub fn measure_lock(mut self) -> Self {
        self.measure_lock = true;
        self
    }

    /// A [`Mock`](crate::Mock) of it keeps to `buffer.memory`, so that a test can use it up: records that are not answered hold
    /// some. In a mock each record takes a batch of its own, some kilobytes at least. Means nothing to a producer with brokers.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn limit_mock_memory(mut self) -> Self {
        self.mock_memory = true;
        self
    }

    /// Uses this for TLS instead of what `ssl.*` says.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Looks whether all parts are there that the options call for ([`Config::parts`]). Every `new` does so.
    ///
    /// # Errors
    /// [`ConfigError::NotBuiltIn`], with what to do.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (part, option) in self.config.parts() {
            let is_there = match part {
                Part::Partitioner => self.partitioner.is_some(),
                Part::Interceptor => !self.interceptors.is_empty(),
                Part::SaslMechanism => self.mechanism.is_some(),
                Part::TokenProvider => self.tokens.is_some() || self.fetches_tokens()?,
                Part::TlsConfig => self.has_tls_config(),
            };
            if !is_there {
                return Err(self.missing(part, option));
            }
        }
        Ok(())
    }

    fn missing(&self, part: Part, option: &'static str) -> ConfigError {
        match &self.config.sasl {
            Some(sasl) if option == "sasl.mechanism" => {
                let instead = match sasl {
                    Sasl::Custom { mechanism } if mechanism == "GSSAPI" => GSSAPI,
                    Sasl::Custom { .. } => MECHANISM,
                    Sasl::Plain { .. } | Sasl::Scram { .. } | Sasl::OAuthBearer | Sasl::OAuthBearerUnsecured(_) => {
                        part.instead()
                    }
                };
                ConfigError::NotBuiltIn { option: std::format!("sasl.mechanism={}", sasl.mechanism()), instead }
            }
            // What Java's options and handler ask for can be had.
            _ if part == Part::TokenProvider && cfg!(not(feature = "oidc")) => {
                ConfigError::NotBuiltIn { option: option.into(), instead: OIDC }
            }
            _ => ConfigError::NotBuiltIn { option: option.into(), instead: part.instead() },
        }
    }

    /// Whether the options say how tokens are fetched.
    #[cfg(feature = "oidc")]
    fn fetches_tokens(&self) -> Result<bool, ConfigError> {
        match &self.config.oidc {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) => Err(error.clone()),
        }
    }

    #[cfg(not(feature = "oidc"))]
    #[allow(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
    fn fetches_tokens(&self) -> Result<bool, ConfigError> {
        Ok(false)
    }

    /// Who gives tokens: the application's provider, or the one that the options ask for.
    pub(super) fn take_tokens(&mut self) -> Result<Option<Box<dyn TokenProvider>>, ConfigError> {
        #[cfg(feature = "oidc")]
        if self.tokens.is_none() {
            return super::oidc::provider(&self.config);
        }
        Ok(self.tokens.take())
    }

    #[cfg(feature = "tls")]
    fn has_tls_config(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls_config(&self) -> bool {
        false
    }

    /// The TLS configuration to begin with; `None` if connections are not encrypted.
    #[cfg(feature = "tls")]
    pub(super) fn tls_config(&self) -> Result<Option<Arc<rustls::ClientConfig>>, ConfigError> {
        if !self.config.security_protocol.has_tls() {
            return Ok(None);
        }
        self.tls.clone().map_or_else(|| super::tls::client_config(&self.config.tls), Ok).map(Some)
    }

    /// Refuses what was not compiled in.
    #[cfg(not(feature = "tls"))]
    pub(super) fn check_tls(&self) -> Result<(), ConfigError> {
        if self.config.security_protocol.has_tls() {
            let option = std::format!("security.protocol={}", self.config.security_protocol.name());
            return Err(ConfigError::NotBuiltIn { option, instead: "compile milena with features = [\"tls\"]" });
        }
        Ok(())
    }
}
