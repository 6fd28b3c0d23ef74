//! What goes wrong inside the cluster, on the dice.

use std::sync::{Arc, Mutex};

use milena::cluster::{Mischief, ProduceAttempt, Request, Treatment, Verdict};

use crate::plan::{Dice, Faults};

/// Codes of the Produce table that concern a producer without transactions, as a broker may refuse a batch with them.
/// (0 and the sequence errors 45 and 47 come from the cluster itself.)
pub const REFUSALS: &[i16] = &[
    -1, 2, 3, 5, 6, 7, 9, 10, 13, 14, 15, 16, 17, 18, 19, 21, 29, 32, 43, 51, 56, 74, 75, 76, 87, 89, 100, 103, 48,
    120, 999,
];

/// Codes that a broker may answer although it has appended.
const AFTER_APPEND: &[i16] = &[-1, 3, 5, 6, 7, 13, 20, 56, 74, 75, 100, 103, 999];

/// Codes of topics in metadata answers; 17 and 29 are definite.
const OF_TOPICS: &[i16] = &[3, 5, 72, -1];

/// Codes for whole Metadata and InitProducerId answers.
const OF_CONTROL: &[i16] = &[7, 14, 15, 16, 129];

/// The codes that a large set of seeds must have answered.
pub const CODES: &[i16] = &[
    -1, 2, 3, 5, 6, 7, 9, 10, 13, 14, 15, 16, 17, 18, 19, 20, 21, 29, 32, 43, 45, 48, 51, 56, 72, 74, 75, 76, 87, 89,
    100, 103, 120, 999,
];

/// Shared with the world, which ends it.
pub type Switch = Arc<Mutex<bool>>;

/// The cluster's mischief.
#[derive(Debug)]
pub struct Gremlin {
    pub faults: Faults,
    pub dice: Dice,
    pub on: Switch,
}

impl Gremlin {
    fn is_on(&self) -> bool {
        *self.on.lock().expect("nobody panics with it")
    }
}

impl Mischief for Gremlin {
    fn request(&mut self, _: i32, request: Request) -> Treatment {
        let odd = self.faults.odd_versions && request == Request::ApiVersions;
        if odd && self.dice.once_in(2) {
            return Treatment::Odd; // not a fault that ends
        }
        if !self.is_on() {
            return Treatment::Serve;
        }
        let (f, d) = (&self.faults, &mut self.dice);
        let control = matches!(request, Request::Metadata | Request::InitProducerId);
        if d.once_in(f.hang) {
            Treatment::Hang
        } else if d.once_in(f.hang_up) {
            Treatment::HangUp
        } else if d.once_in(f.hang_up_after) {
            Treatment::HangUpAfter
        } else if d.once_in(f.garbage) {
            if d.once_in(2) { Treatment::Garbage } else { Treatment::WrongCorrelation }
        } else if control && d.once_in(f.control_error) {
            Treatment::Error(d.pick(OF_CONTROL))
        } else if request == Request::Metadata && d.once_in(f.stale_metadata) {
            Treatment::Odd
        } else {
            Treatment::Serve
        }
    }

    fn produce(&mut self, attempt: &ProduceAttempt<'_>) -> Verdict {
        if !self.is_on() {
            return Verdict::Serve;
        }
        let (f, d) = (&self.faults, &mut self.dice);
        if d.once_in(f.refuse_code) {
            match d.pick(REFUSALS) {
                // What a broker has taken it does not find too large when it comes again.
                10 | 18 if attempt.known => Verdict::Serve,
                code => Verdict::Refuse(code),
            }
        } else if d.once_in(f.apply_then) {
            Verdict::ApplyThen(d.pick(AFTER_APPEND))
        } else if d.once_in(f.leave_out) {
            Verdict::LeaveOut
        } else if d.once_in(f.twice) {
            Verdict::AnswerTwice
        } else {
            Verdict::Serve
        }
    }

    fn topic(&mut self, _: &str) -> Option<i16> {
        (self.is_on() && self.dice.once_in(self.faults.control_error)).then(|| self.dice.pick(OF_TOPICS))
    }

    fn throttle(&mut self, _: Request) -> i32 {
        let throttled = self.is_on() && self.dice.once_in(self.faults.throttle);
        if throttled { self.dice.range(1, 200) as i32 } else { 0 }
    }
}
