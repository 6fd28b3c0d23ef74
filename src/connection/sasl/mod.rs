//! Authentication of one connection by SASL: what the client says first, and what it answers to challenges. One file a
//! mechanism; when which request is sent is the business of `producer/sessions`.

#[cfg(all(test, feature = "scram"))]
pub(crate) mod golden;
pub(crate) mod oauth;
#[cfg(feature = "scram")]
pub(crate) mod scram;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Another mechanism than those built in, such as GSSAPI or AWS_MSK_IAM: begins an exchange on each new connection, and for
/// each re-authentication.
///
/// It may take its time, and ask others: adapters call it on a thread of its own, while everything else goes on. Exchanges are
/// begun one at a time, and go on four at a time: what waits for somebody belongs into an exchange. A panic is an error like others. What is not done within
/// `socket.connection.setup.timeout.ms` is given up, with the connection. `renew_security` with another mechanism replaces it,
/// even one that hangs. A host that drives the machine itself runs these calls in a [`Job`](crate::Job); without
/// [`jobs`](crate::ConfigBuilder::jobs) they are made inline.
pub trait SaslMechanism: fmt::Debug + Send {
    /// Begins an exchange with a broker.
    ///
    /// # Errors
    /// In words, if that is not possible: the connection is given up.
    fn begin(&mut self, host: &str, port: u16) -> Result<Box<dyn SaslExchange>, String>;
}

/// One exchange of a [`SaslMechanism`].
pub trait SaslExchange: fmt::Debug + Send {
    /// What the client says first.
    ///
    /// # Errors
    /// In words: the connection is given up.
    fn first(&mut self) -> Result<Vec<u8>, String>;

    /// What the client answers to a challenge; `None` if it has said all, and believes the server. Called for the last
    /// answer of the server, too, which is empty with some mechanisms.
    ///
    /// # Errors
    /// In words: the connection is given up.
    fn respond(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, String>;
}

/// The client's side of an exchange.
pub(crate) enum Exchange {
    /// PLAIN has one message.
    Plain(Vec<u8>),
    #[cfg(feature = "scram")]
    Scram(Box<scram::Client>),
    OAuth(oauth::Client),
    /// The application's, between its steps.
    Custom(Custom),
}

/// An exchange of a [`SaslMechanism`].
pub(crate) enum Custom {
    /// It is the server's turn.
    Home(Box<dyn SaslExchange>),
    /// It is asked what to say, or waits for that.
    Away,
}

impl fmt::Debug for Exchange {
    /// The mechanism alone: all of them hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            #[cfg(feature = "scram")]
            Self::Scram(_) => "Scram",
            Self::OAuth(_) => "OAuth",
            Self::Custom(_) => "Custom",
        })
    }
}

/// What the client says, or does, next.
pub(crate) enum Reply {
    /// The client says this.
    Send(Vec<u8>),
    /// It has nothing more to say; the server is who it claims to be.
    Done,
    /// It has to compute first, which takes a while.
    #[cfg(feature = "scram")]
    Derive(scram::Derivation),
    /// The application's exchange is to speak.
    Ask(Box<dyn SaslExchange>),
}

impl fmt::Debug for Reply {
    /// The kind alone: what is said holds credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send(_) => "Send",
            Self::Done => "Done",
            #[cfg(feature = "scram")]
            Self::Derive(_) => "Derive",
            Self::Ask(_) => "Ask",
        })
    }
}

impl Exchange {
    /// RFC 4616: no authorization id, the user, the password.
    pub(crate) fn plain(user: &str, password: &str) -> Self {
        Self::Plain([b"\0", user.as_bytes(), b"\0", password.as_bytes()].concat())
    }

    pub(crate) fn first(&mut self) -> Result<Reply, String> {
        match self {
            Self::Plain(message) => Ok(Reply::Send(core::mem::take(message))),
            #[cfg(feature = "scram")]
            Self::Scram(client) => Ok(Reply::Send(client.first())),
            Self::OAuth(client) => Ok(Reply::Send(client.first()?)),
            Self::Custom(custom) => custom.ask(),
        }
    }

    /// Whether the server has asked for much work.
    pub(crate) fn is_costly(&self) -> bool {
        match self {
            #[cfg(feature = "scram")]
            Self::Scram(client) => client.is_costly(),
            Self::Plain(_) | Self::OAuth(_) | Self::Custom(_) => false,
        }
    }

    pub(crate) fn respond(&mut self, challenge: &[u8]) -> Result<Reply, String> {
        match self {
            Self::Plain(_) if challenge.is_empty() => Ok(Reply::Done),
            Self::Plain(_) => Err("PLAIN has no challenges, but the server sent one".into()),
            #[cfg(feature = "scram")]
            Self::Scram(client) => client.respond(challenge),
            Self::OAuth(client) => client.respond(challenge),
            Self::Custom(custom) => custom.ask(),
        }
    }
}

impl Custom {
    fn ask(&mut self) -> Result<Reply, String> {
        match core::mem::replace(self, Self::Away) {
            Self::Home(exchange) => Ok(Reply::Ask(exchange)),
            Self::Away => Err("the server answered what was not said".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_over_after_an_empty_challenge_and_knows_no_other() {
        let mut plain = Exchange::plain("user", "password");
        assert!(matches!(plain.first(), Ok(Reply::Send(message)) if message == b"\0user\0password"));
        assert!(plain.respond(b"more").is_err());
        assert!(matches!(plain.respond(b""), Ok(Reply::Done)));
        assert!(!plain.is_costly());
    }
}
