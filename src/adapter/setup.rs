//! What an adapter's producer is made of: a configuration, and parts of the application's own.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;
use std::io;

use super::interceptor::Interceptor;
use crate::config::Config;
use crate::connection::sasl::SaslMechanism;
use crate::connection::sasl::oauth::Token;
use crate::producer::Partitioner;

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

/// A [`Config`], with parts that have no name in a properties file. Each adapter's `Producer::new` takes either.
///
/// ```
/// use milena::{Config, Partitioner, Record, Setup, TopicView};
///
/// #[derive(Debug)]
/// struct First;
///
/// impl Partitioner for First {
///     fn partition(&mut self, _: &Record<'_>, _: &TopicView<'_>) -> i32 {
///         0
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
    pub(super) measure_lock: bool,
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
            measure_lock: false,
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

    /// Measures how long the machine's lock is held, for the producer's `lock_holds`. It costs two looks at the clock a send.
    #[must_use]
    pub fn measure_lock(mut self) -> Self {
        self.measure_lock = true;
        self
    }

    /// Uses this for TLS instead of what `ssl.*` says.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// The TLS configuration to begin with; `None` if connections are not encrypted.
    #[cfg(feature = "tls")]
    pub(super) fn tls_config(&self) -> io::Result<Option<Arc<rustls::ClientConfig>>> {
        if !self.config.security_protocol.has_tls() {
            return Ok(None);
        }
        let made = self.tls.clone().map_or_else(|| super::tls::client_config(&self.config.tls), Ok);
        made.map(Some).map_err(|words| io::Error::new(io::ErrorKind::InvalidInput, words))
    }

    /// Refuses what was not compiled in.
    #[cfg(not(feature = "tls"))]
    pub(super) fn check_tls(&self) -> io::Result<()> {
        let words = "security.protocol with SSL is not built in: compile milena with feature tls";
        if self.config.security_protocol.has_tls() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, words));
        }
        Ok(())
    }
}
