//! One call of the application's SASL mechanism, or of an exchange that it began.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::connection::sasl::{SaslExchange, SaslMechanism};

/// One call of the application's.
pub(crate) struct Step {
    /// Which of the mechanisms that there were it was taken under.
    pub(crate) generation: u32,
    pub(crate) call: Call,
}

pub(crate) enum Call {
    /// An exchange begins.
    Begin { mechanism: Box<dyn SaslMechanism>, host: String, port: u16 },
    /// It speaks: first, or to answer a challenge.
    Speak { exchange: Box<dyn SaslExchange>, challenge: Option<Vec<u8>> },
}

/// What came of it.
pub(crate) struct Stepped {
    pub(crate) generation: u32,
    /// Back from where it was called.
    pub(crate) mechanism: Option<Box<dyn SaslMechanism>>,
    /// `None` after a failure.
    pub(crate) exchange: Option<Box<dyn SaslExchange>>,
    pub(crate) said: Result<Said, String>,
}

/// What an exchange says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing yet: it has begun.
    Begun,
    /// This is to be sent.
    Bytes(Vec<u8>),
    /// It has said all.
    Done,
}

impl Step {
    pub(crate) fn run(self) -> Stepped {
        let generation = self.generation;
        match self.call {
            Call::Begin { mut mechanism, host, port } => {
                let (exchange, said) = match guarded(|| mechanism.begin(&host, port)) {
                    Ok(exchange) => (Some(exchange), Ok(Said::Begun)),
                    Err(words) => (None, Err(words)),
                };
                Stepped { generation, mechanism: Some(mechanism), exchange, said }
            }
            Call::Speak { mut exchange, challenge } => {
                let said = guarded(|| match &challenge {
                    None => exchange.first().map(Said::Bytes),
                    Some(challenge) => Ok(exchange.respond(challenge)?.map_or(Said::Done, Said::Bytes)),
                });
                let exchange = said.is_ok().then_some(exchange);
                Stepped { generation, mechanism: None, exchange, said }
            }
        }
    }

    pub(crate) fn give_up(self) -> Stepped {
        let mechanism = match self.call {
            Call::Begin { mechanism, .. } => Some(mechanism),
            Call::Speak { .. } => None,
        };
        let said = Err("the host has no thread to ask the SaslMechanism on".into());
        Stepped { generation: self.generation, mechanism, exchange: None, said }
    }
}

/// Without the standard library nothing catches a panic; with it, it is an error like others.
#[cfg(feature = "std")]
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(core::panic::AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("the SaslMechanism panicked".into()))
}

#[cfg(not(feature = "std"))]
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    call()
}
