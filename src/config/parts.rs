//! Parts of the application's own that stand in for the classes that Java loads by name.

use crate::config::{Config, Sasl};

/// A part that an option calls for, and that only the application can bring. Java loads a class of that name; here it is a
/// trait that the application implements. See [`Config::parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// A [`Partitioner`](crate::Partitioner), for `partitioner.class`.
    Partitioner,
    /// A `milena::Interceptor`, for `interceptor.classes`.
    Interceptor,
    /// A [`SaslMechanism`](crate::SaslMechanism), for a `sasl.mechanism` that is not built in and for
    /// `sasl.client.callback.handler.class`.
    SaslMechanism,
    /// A `milena::TokenProvider`, for `sasl.mechanism=OAUTHBEARER`, `sasl.login.callback.handler.class` and
    /// `sasl.oauthbearer.*`; who drives the machine by hand answers [`Output::Token`](crate::Output::Token).
    TokenProvider,
    /// A `rustls::ClientConfig`, for `ssl.engine.factory.class`.
    TlsConfig,
}

impl Part {
    /// What to do about it.
    pub(crate) const fn instead(self) -> &'static str {
        match self {
            Self::Partitioner => {
                "give the producer a milena::Partitioner (Setup::partitioner); Java's DefaultPartitioner is what is done without \
                 the option, and UniformStickyPartitioner is partitioner.ignore.keys=true"
            }
            Self::Interceptor => "give the producer a milena::Interceptor (Setup::interceptor)",
            Self::SaslMechanism => "give the producer a milena::SaslMechanism (Setup::sasl_mechanism)",
            Self::TokenProvider => {
                "give the producer a milena::TokenProvider (Setup::token_provider), which fetches tokens your way"
            }
            Self::TlsConfig => "give the producer a rustls::ClientConfig (Setup::tls)",
        }
    }
}

impl Config {
    /// The parts that the options call for and that the application has to bring, each with the option that does so. The
    /// adapters' `Setup` checks that they are there when a producer is made; who drives a [`Producer`](crate::Producer) by hand
    /// looks here.
    ///
    /// ```
    /// use milena::{Config, Part};
    ///
    /// let config = Config::builder("localhost:9092").option("partitioner.class", "com.example.Mine").build()?;
    /// assert_eq!(config.parts(), [(Part::Partitioner, "partitioner.class")]);
    /// # Ok::<(), milena::ConfigError>(())
    /// ```
    pub fn parts(&self) -> alloc::vec::Vec<(Part, &'static str)> {
        let mut parts = self.parts.clone();
        parts.retain(|(part, _)| match part {
            Part::SaslMechanism | Part::TokenProvider => self.sasl.is_some(),
            Part::TlsConfig => self.security_protocol.has_tls(),
            Part::Partitioner | Part::Interceptor => true,
        });
        let by_mechanism = match &self.sasl {
            Some(Sasl::Custom { .. }) => Some(Part::SaslMechanism),
            Some(Sasl::OAuthBearer) => Some(Part::TokenProvider),
            Some(Sasl::Plain { .. } | Sasl::Scram { .. } | Sasl::OAuthBearerUnsecured(_)) | None => None,
        };
        if let Some(part) = by_mechanism.filter(|part| parts.iter().all(|(known, _)| known != part)) {
            parts.push((part, "sasl.mechanism"));
        }
        parts
    }
}
