//! A [`SaslMechanism`] of the application's, and the exchanges that it began. Whatever they do, they do it in a job: one call
//! of the mechanism at a time, and a bounded number of exchanges. One that hangs is got rid of by giving another.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::connection::sasl::{SaslExchange, SaslMechanism};
use crate::event::ConnId;

/// Steps that may be out at a time. Those that hang keep their place, so that what hangs is bounded, too.
pub(crate) const SASL_JOBS: usize = 4;

/// One call, or two, of the application's.
pub(crate) struct Step {
    /// Which of the mechanisms that there were it was taken under.
    generation: u32,
    call: Call,
}

enum Call {
    /// An exchange begins, and says the first.
    Begin { mechanism: Box<dyn SaslMechanism>, host: String, port: u16 },
    /// An exchange answers.
    Respond { exchange: Box<dyn SaslExchange>, challenge: Vec<u8> },
}

/// What came of it.
pub(crate) struct Stepped {
    generation: u32,
    /// Back from where it was called.
    mechanism: Option<Box<dyn SaslMechanism>>,
    /// `None` after a failure.
    pub(crate) exchange: Option<Box<dyn SaslExchange>>,
    /// What is to be sent; `None` if the client has said all.
    pub(crate) said: Result<Option<Vec<u8>>, String>,
}

impl Step {
    pub(crate) fn run(self) -> Stepped {
        let generation = self.generation;
        match self.call {
            Call::Begin { mut mechanism, host, port } => {
                let begun = guarded(|| {
                    let mut exchange = mechanism.begin(&host, port)?;
                    let first = exchange.first()?;
                    Ok((exchange, first))
                });
                let (exchange, said) = match begun {
                    Ok((exchange, first)) => (Some(exchange), Ok(Some(first))),
                    Err(words) => (None, Err(words)),
                };
                Stepped { generation, mechanism: Some(mechanism), exchange, said }
            }
            Call::Respond { mut exchange, challenge } => {
                let said = guarded(|| exchange.respond(&challenge));
                let exchange = said.is_ok().then_some(exchange);
                Stepped { generation, mechanism: None, exchange, said }
            }
        }
    }

    pub(crate) fn give_up(self) -> Stepped {
        let mechanism = match self.call {
            Call::Begin { mechanism, .. } => Some(mechanism),
            Call::Respond { .. } => None,
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

/// The mechanism, and who waits for it.
#[derive(Default)]
pub(crate) struct Mechanism {
    /// Not there while it is called.
    home: Option<Box<dyn SaslMechanism>>,
    /// Whether there is one at all.
    given: bool,
    /// Counts the mechanisms that there were: what an earlier one still does is not waited for.
    generation: u32,
    /// Steps of this one that are out.
    out: usize,
    /// Steps that wait, in order: for the mechanism to come back, or for a place.
    line: VecDeque<(ConnId, Waiting)>,
}

/// A step that can't be taken yet.
enum Waiting {
    Begin { host: String, port: u16 },
    Respond { exchange: Box<dyn SaslExchange>, challenge: Vec<u8> },
}

impl fmt::Debug for Mechanism {
    /// Without the mechanism and its exchanges, which hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mechanism").field("given", &self.given).field("out", &self.out).finish_non_exhaustive()
    }
}

impl Mechanism {
    /// Takes the application's, in place of one that it gave before.
    pub(crate) fn give(&mut self, mechanism: Box<dyn SaslMechanism>) {
        (self.home, self.given) = (Some(mechanism), true);
        (self.generation, self.out) = (self.generation.wrapping_add(1), 0);
    }

    /// Whether the application gave one.
    pub(crate) fn is_given(&self) -> bool {
        self.given
    }

    /// A connection wants to begin an exchange.
    pub(crate) fn begin(&mut self, conn: ConnId, host: &str, port: u16) {
        self.line.push_back((conn, Waiting::Begin { host: host.into(), port }));
    }

    /// A server has answered.
    pub(crate) fn respond(&mut self, conn: ConnId, exchange: Box<dyn SaslExchange>, challenge: Vec<u8>) {
        self.line.push_back((conn, Waiting::Respond { exchange, challenge }));
    }

    /// The next step that may be taken. `lives`: whether a connection is still there.
    pub(crate) fn next(&mut self, lives: impl Fn(ConnId) -> bool) -> Option<(ConnId, Step)> {
        self.line.retain(|(conn, _)| lives(*conn));
        if self.out >= SASL_JOBS {
            return None;
        }
        let may = |waiting: &Waiting| matches!(waiting, Waiting::Respond { .. }) || self.home.is_some();
        let place = self.line.iter().position(|(_, waiting)| may(waiting))?;
        let (conn, waiting) = self.line.remove(place)?;
        let call = match waiting {
            Waiting::Begin { host, port } => Call::Begin { mechanism: self.home.take()?, host, port },
            Waiting::Respond { exchange, challenge } => Call::Respond { exchange, challenge },
        };
        self.out += 1;
        Some((conn, Step { generation: self.generation, call }))
    }

    /// A step is done.
    pub(crate) fn done(&mut self, stepped: &mut Stepped) {
        if stepped.generation != self.generation {
            return;
        }
        self.out -= 1;
        if let Some(mechanism) = stepped.mechanism.take() {
            self.home = Some(mechanism);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Echo(&'static str);

    impl SaslMechanism for Echo {
        fn begin(&mut self, _: &str, _: u16) -> Result<Box<dyn SaslExchange>, String> {
            Ok(Box::new(Self(self.0)))
        }
    }

    impl SaslExchange for Echo {
        fn first(&mut self) -> Result<Vec<u8>, String> {
            Ok(self.0.as_bytes().to_vec())
        }

        fn respond(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, String> {
            Ok(Some(challenge.to_vec()))
        }
    }

    fn next(mechanism: &mut Mechanism) -> Option<(ConnId, Step)> {
        mechanism.next(|_| true)
    }

    fn first(mechanism: &mut Mechanism, step: Step) -> Vec<u8> {
        let mut stepped = step.run();
        mechanism.done(&mut stepped);
        stepped.said.expect("it says something").expect("at first")
    }

    #[test]
    fn the_mechanism_is_called_once_at_a_time() {
        let mut mechanism = Mechanism::default();
        mechanism.give(Box::new(Echo("one")));
        for conn in 0..2 {
            mechanism.begin(ConnId(conn), "h", 1);
        }
        let (conn, step) = next(&mut mechanism).expect("the first may begin");
        assert!(conn == ConnId(0) && next(&mut mechanism).is_none());
        first(&mut mechanism, step);
        assert!(next(&mut mechanism).is_some_and(|(conn, _)| conn == ConnId(1)));
    }

    #[test]
    fn one_that_was_replaced_while_it_was_called_does_not_come_back() {
        let mut mechanism = Mechanism::default();
        mechanism.give(Box::new(Echo("old")));
        mechanism.begin(ConnId(0), "h", 1);
        let (_, old) = next(&mut mechanism).expect("it may begin");
        mechanism.give(Box::new(Echo("new")));
        assert_eq!(first(&mut mechanism, old), b"old");
        mechanism.begin(ConnId(1), "h", 1);
        let (_, new) = next(&mut mechanism).expect("it may begin");
        assert_eq!(first(&mut mechanism, new), b"new");
    }

    #[test]
    fn what_hangs_is_bounded() {
        let mut mechanism = Mechanism::default();
        for conn in 0..10 {
            mechanism.respond(ConnId(conn), Box::new(Echo("")), Vec::new());
        }
        let out: Vec<_> = core::iter::from_fn(|| next(&mut mechanism)).collect();
        assert_eq!(out.len(), SASL_JOBS);
    }

    #[test]
    #[cfg(feature = "std")]
    fn a_panic_is_an_error_and_the_mechanism_stays() {
        #[derive(Debug)]
        struct Panics;
        impl SaslMechanism for Panics {
            fn begin(&mut self, _: &str, _: u16) -> Result<Box<dyn SaslExchange>, String> {
                panic!("on purpose")
            }
        }
        let mut mechanism = Mechanism::default();
        mechanism.give(Box::new(Panics));
        mechanism.begin(ConnId(0), "h", 1);
        let (_, step) = next(&mut mechanism).expect("it may begin");
        let mut stepped = step.run();
        mechanism.done(&mut stepped);
        assert_eq!(stepped.said, Err("the SaslMechanism panicked".into()));
        mechanism.begin(ConnId(1), "h", 1);
        assert!(next(&mut mechanism).is_some());
    }
}
