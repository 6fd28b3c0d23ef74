//! A [`SaslMechanism`] of the application's, and the exchanges that it began. Whatever they do, they do it in a job: one call
//! of the mechanism at a time, and a bounded number of exchanges. One that hangs is got rid of by giving another.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::connection::sasl::{SaslExchange, SaslMechanism};
use crate::ids::ConnId;
use crate::job::{Call, Step, Stepped};

/// Steps that may be out at a time. Those that hang keep their place, so that what hangs is bounded, too.
pub(crate) const SASL_JOBS: usize = 4;

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
    /// What is not needed any more. To drop it is a call of the application's code, too.
    over: Vec<Over>,
}

/// Something of the application's that is not needed any more.
#[expect(dead_code, reason = "it is only to be dropped, by whom it suits")]
pub(crate) enum Over {
    Mechanism(Box<dyn SaslMechanism>),
    Exchange(Box<dyn SaslExchange>),
}

/// A step that can't be taken yet.
enum Waiting {
    Begin { host: String, port: u16 },
    Speak { exchange: Box<dyn SaslExchange>, challenge: Option<Vec<u8>> },
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
        let before = self.home.replace(mechanism);
        self.over.extend(before.map(Over::Mechanism));
        self.given = true;
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

    /// It is the exchange's turn: at first, or since a server has answered.
    pub(crate) fn speak(&mut self, conn: ConnId, exchange: Box<dyn SaslExchange>, challenge: Option<&[u8]>) {
        self.line.push_back((conn, Waiting::Speak { exchange, challenge: challenge.map(<[u8]>::to_vec) }));
    }

    /// The next step that may be taken. `lives`: whether a connection is still there.
    pub(crate) fn next(&mut self, lives: impl Fn(ConnId) -> bool) -> Option<(ConnId, Step)> {
        if self.line.is_empty() {
            return None;
        }
        let (line, over) = core::mem::take(&mut self.line).into_iter().partition(|(conn, _)| lives(*conn));
        self.line = line;
        for (_, waiting) in over {
            if let Waiting::Speak { exchange, .. } = waiting {
                self.bury(exchange);
            }
        }
        if self.out >= SASL_JOBS {
            return None;
        }
        let may = |waiting: &Waiting| matches!(waiting, Waiting::Speak { .. }) || self.home.is_some();
        let place = self.line.iter().position(|(_, waiting)| may(waiting))?;
        let (conn, waiting) = self.line.remove(place)?;
        let call = match waiting {
            Waiting::Begin { host, port } => Call::Begin { mechanism: self.home.take()?, host, port },
            Waiting::Speak { exchange, challenge } => Call::Speak { exchange, challenge },
        };
        self.out += 1;
        Some((conn, Step { generation: self.generation, call }))
    }

    /// A step is done.
    pub(crate) fn done(&mut self, stepped: &mut Stepped) {
        let mechanism = stepped.mechanism.take();
        if stepped.generation != self.generation {
            self.over.extend(mechanism.map(Over::Mechanism));
            return;
        }
        self.out -= 1;
        if mechanism.is_some() {
            self.home = mechanism;
        }
    }

    /// An exchange is over.
    pub(crate) fn bury(&mut self, exchange: Box<dyn SaslExchange>) {
        self.over.push(Over::Exchange(exchange));
    }

    /// What is not needed any more, for whoever may drop it.
    pub(crate) fn take_over(&mut self) -> Vec<Over> {
        core::mem::take(&mut self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Said;

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

    /// The exchange that a step began, and what it says first.
    fn first(mechanism: &mut Mechanism, step: Step) -> Said {
        let mut stepped = step.run();
        mechanism.done(&mut stepped);
        assert_eq!(stepped.said, Ok(Said::Begun));
        mechanism.speak(ConnId(9), stepped.exchange.expect("it has begun"), None);
        let place = mechanism.line.len() - 1;
        mechanism.line.swap(0, place);
        let (_, step) = next(mechanism).expect("it may speak");
        let mut stepped = step.run();
        mechanism.done(&mut stepped);
        stepped.said.expect("it speaks")
    }

    fn bytes(text: &str) -> Said {
        Said::Bytes(text.as_bytes().to_vec())
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
        assert_eq!(first(&mut mechanism, old), bytes("old"));
        mechanism.begin(ConnId(1), "h", 1);
        let (_, new) = next(&mut mechanism).expect("it may begin");
        assert_eq!(first(&mut mechanism, new), bytes("new"));
    }

    #[test]
    fn what_is_done_makes_room_for_the_next_however_often() {
        let mut mechanism = Mechanism::default();
        mechanism.give(Box::new(Echo("one")));
        for conn in 0..3 * SASL_JOBS as u32 {
            mechanism.begin(ConnId(conn), "h", 1);
            let (_, step) = next(&mut mechanism).expect("nothing is out");
            assert_eq!(first(&mut mechanism, step), bytes("one"));
        }
    }

    #[test]
    fn what_hangs_is_bounded() {
        let mut mechanism = Mechanism::default();
        for conn in 0..10 {
            mechanism.speak(ConnId(conn), Box::new(Echo("")), None);
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
