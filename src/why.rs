//! Why records don't leave: what is wrong at this moment, with whom, and for how long.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::error::{ConnectionError, ErrorCode};

/// What keeps records from being delivered, or the cluster from being asked, at this moment.
///
/// It never tells of a trouble that is over: who has answered since is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// A server can't be reached: connections to it can't be made, or break.
    Unreachable {
        /// Which server.
        server: ServerName,
        /// What happened to the last connection.
        error: ConnectionError,
        /// Since it last answered, or since it was first tried.
        lasts: Duration,
    },
    /// A server is connected, or is being connected to, and does not answer.
    Silent {
        /// Which server.
        server: ServerName,
        /// Since the oldest request that it has, or since it was connected to.
        lasts: Duration,
    },
    /// A broker asked for a pause (a quota of the cluster, KIP-219), which is kept.
    Throttled {
        /// Which broker.
        server: ServerName,
        /// How much of the pause is left.
        left: Duration,
    },
    /// The partition's leader answers with an error after which the records are sent again.
    Refusing {
        /// Which broker.
        server: ServerName,
        /// Its last answer.
        code: ErrorCode,
    },
    /// The cluster names no leader for the partition.
    NoLeader {
        /// For how long.
        lasts: Duration,
    },
    /// No broker gives a producer id, which idempotence needs.
    NoProducerId {
        /// The last answer.
        code: ErrorCode,
    },
}

impl Why {
    /// The server that it is about, if it is about one.
    pub const fn server(&self) -> Option<&ServerName> {
        match self {
            Self::Unreachable { server, .. }
            | Self::Silent { server, .. }
            | Self::Throttled { server, .. }
            | Self::Refusing { server, .. } => Some(server),
            Self::NoLeader { .. } | Self::NoProducerId { .. } => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { server, error, lasts } => write!(f, "{server}: {error}{}", For(*lasts)),
            Self::Silent { server, lasts } => write!(f, "{server} does not answer{}", For(*lasts)),
            Self::Throttled { server, left } => {
                write!(f, "{server} asked for a pause (a quota), {} of which are left", Span(*left))
            }
            Self::Refusing { server, code } => write!(f, "its leader {server} answers {code}"),
            Self::NoLeader { lasts } => write!(f, "the cluster names no leader for it{}", For(*lasts)),
            Self::NoProducerId { code } => write!(f, "no broker gives a producer id: {code}"),
        }
    }
}

/// A server, as it is called by the configuration or by the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ServerName {
    /// Its node id; `None` for an address of `bootstrap.servers` that is no broker as far as is known.
    pub node: Option<i32>,
    /// A host name or an address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How long something lasts, where that is worth a word.
struct For(Duration);

impl fmt::Display for For {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            return Ok(());
        }
        write!(f, ", for {}", Span(self.0))
    }
}

/// A span as people say it.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.subsec_millis()),
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds @ ..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn words() {
        let server = ServerName { node: Some(1), host: "localhost".into(), port: 9092 };
        let error = ConnectionError::Connect("connection refused".into());
        let why = |lasts| Why::Unreachable { server: server.clone(), error: error.clone(), lasts }.to_string();
        assert_eq!(why(Duration::from_secs(12)), "localhost:9092: can't connect: connection refused, for 12 s");
        assert_eq!(why(Duration::from_millis(999)), "localhost:9092: can't connect: connection refused");
        assert_eq!(why(Duration::from_secs(360)), "localhost:9092: can't connect: connection refused, for 6 min");
        assert_eq!(why(Duration::from_secs(7200)), "localhost:9092: can't connect: connection refused, for 2 h");
        let silent = Why::Silent { server: server.clone(), lasts: Duration::from_secs(3) };
        assert_eq!(silent.to_string(), "localhost:9092 does not answer, for 3 s");
        let refusing = Why::Refusing { server, code: ErrorCode::new(19) };
        assert_eq!(refusing.to_string(), "its leader localhost:9092 answers NOT_ENOUGH_REPLICAS (19)");
    }
}
