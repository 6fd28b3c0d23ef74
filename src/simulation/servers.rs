//! What goes wrong at the servers, on the dice; and moods, in which one answers in its own way for a while.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::Mutex;

use super::dice::Dice;
use super::faults::Faults;
use crate::cluster::{Mischief, Naming, ProduceAttempt, Request, Treatment, Verdict};
use crate::time::Instant;

/// Codes of the Produce table that concern a producer without transactions, as a broker may refuse a batch with them.
/// (0 and the sequence errors 45 and 47 come from the cluster itself.)
pub(crate) const REFUSALS: &[i16] = &[
    -1, 2, 3, 5, 6, 7, 9, 10, 13, 14, 15, 16, 17, 18, 19, 21, 29, 32, 43, 51, 56, 74, 75, 76, 87, 89, 100, 103, 48,
    120, 999,
];

/// Codes that a broker may answer although it has appended. Not 100: then the topic of that id is gone, with its log.
const AFTER_APPEND: &[i16] = &[-1, 3, 5, 6, 7, 13, 20, 56, 74, 75, 103, 999];

/// Codes of topics in metadata answers; 17 and 29 are definite.
const OF_TOPICS: &[i16] = &[3, 5, 72, -1];

/// Codes for whole Metadata and InitProducerId answers.
const OF_CONTROL: &[i16] = &[7, 14, 15, 16, 129];

/// The codes that a large set of seeds must have answered.
pub const CODES: &[i16] = &[
    -1, 2, 3, 5, 6, 7, 9, 10, 13, 14, 15, 16, 17, 18, 19, 20, 21, 29, 32, 43, 45, 46, 47, 48, 51, 56, 72, 74, 75, 76,
    87, 89, 100, 103, 120, 999,
];

/// How a server answers Metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// As they were once: it is cut off.
    Lagging,
    /// Without brokers.
    Nobody,
    /// Without the topics that were asked about.
    Nothing,
    /// All topics with this error.
    Topics(i16),
    /// With this error.
    Fails(i16),
    /// With a pause of so many milliseconds for whoever asks.
    Throttles(i32),
    /// Every other partition without a leader.
    Leaderless,
    /// Every other partition alone.
    Half,
}

/// How a server answers InitProducerId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    Fails(i16),
    Hangs,
    HangsUp,
}

/// How one server is for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    View(View),
    Ids(Ids),
}

/// The moods that there are; those that stand here twice are twice as frequent.
pub(crate) const MOODS: &[Mood] = &[
    Mood::View(View::Lagging),
    Mood::View(View::Lagging),
    Mood::View(View::Nobody),
    Mood::View(View::Nothing),
    Mood::View(View::Topics(17)),
    Mood::View(View::Topics(29)),
    Mood::View(View::Topics(3)),
    Mood::View(View::Topics(5)),
    Mood::View(View::Fails(7)),
    Mood::View(View::Throttles(60_000)),
    Mood::View(View::Throttles(150_000)),
    Mood::Ids(Ids::Fails(14)),
    Mood::Ids(Ids::Fails(15)),
    Mood::Ids(Ids::Fails(-1)),
    Mood::Ids(Ids::Hangs),
    Mood::Ids(Ids::HangsUp),
];

/// What the world tells its servers.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The faults have ended.
    pub(crate) calm: bool,
    pub(crate) now: Instant,
    /// Moods of servers.
    pub(crate) moods: BTreeMap<i32, Vec<Mood>>,
    /// Topics whose leaders are not elected until the first time, and hesitate until the second.
    pub(crate) young: BTreeMap<String, (Instant, Instant)>,
    /// Until when servers have asked for pauses of minutes.
    pub(crate) throttled: BTreeMap<i32, Instant>,
    /// Until when leaders have.
    pub(crate) long_pause: Instant,
    /// What became of all that, for the table.
    pub(crate) met: BTreeMap<&'static str, u64>,
}

/// Shared by the world and its servers.
pub(crate) type Shared = Arc<Mutex<Orders>>;

/// The cluster's mischief.
#[derive(Debug)]
pub(crate) struct Gremlin {
    pub(crate) faults: Faults,
    pub(crate) dice: Dice,
    /// For what came later, so that seeds still mean what they meant.
    pub(crate) later: Dice,
    pub(crate) orders: Shared,
    /// Who was asked last.
    pub(crate) node: i32,
}

impl Gremlin {
    fn is_on(&self) -> bool {
        !self.orders.lock().expect("nobody panics with it").calm
    }

    /// A leader that was elected a moment ago does not know it yet, or names itself.
    fn hesitates(&mut self, topic: &str) -> Option<i16> {
        let mut orders = self.orders.lock().expect("nobody panics with it");
        let hesitates = orders.young.get(topic).is_some_and(|(_, until)| *until > orders.now);
        hesitates.then(|| {
            *orders.met.entry("a leader refused at first").or_default() += 1;
            self.dice.pick(&[3, 6])
        })
    }

    fn view(&self) -> Option<View> {
        let orders = self.orders.lock().expect("nobody panics with it");
        orders
            .moods
            .get(&self.node)?
            .iter()
            .find_map(|mood| if let Mood::View(view) = mood { Some(*view) } else { None })
    }

    /// What the server's mood makes of a request.
    fn mood(&self, request: Request) -> Option<Treatment> {
        let mut orders = self.orders.lock().expect("nobody panics with it");
        let moods = orders.moods.get(&self.node)?.clone();
        let (treatment, what) = moods.iter().find_map(|mood| match (request, mood) {
            (Request::Metadata, Mood::View(view)) => Some(match view {
                View::Lagging => (Treatment::Serve, "a server lagged"),
                View::Nobody => (Treatment::Nobody, "a server named no brokers"),
                View::Nothing => (Treatment::Nothing, "a server left topics out"),
                View::Topics(17 | 29) => (Treatment::Serve, "a server refused topics"),
                View::Topics(_) => (Treatment::Serve, "a server did not know topics"),
                View::Fails(code) => (Treatment::Error(*code), "a server had no metadata"),
                View::Throttles(_) => (Treatment::Serve, "a server throttled for minutes"),
                View::Leaderless => (Treatment::Serve, "a server knew no leaders"),
                View::Half => (Treatment::Serve, "a server left partitions out"),
            }),
            (Request::InitProducerId, Mood::Ids(ids)) => Some(match ids {
                Ids::Fails(code) => (Treatment::Error(*code), "a server had no producer ids"),
                Ids::Hangs => (Treatment::Hang, "a server said nothing of producer ids"),
                Ids::HangsUp => (Treatment::HangUp, "a server hung up when asked for a producer id"),
            }),
            _ => None,
        })?;
        *orders.met.entry(what).or_default() += 1;
        Some(treatment)
    }
}

impl Mischief for Gremlin {
    fn request(&mut self, node: i32, request: Request) -> Treatment {
        self.node = node;
        let odd = self.faults.odd_versions && request == Request::ApiVersions;
        if odd && self.dice.once_in(2) {
            return Treatment::Odd; // not a fault that ends
        }
        if let Some(treatment) = self.mood(request) {
            return treatment;
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
        if let Some(code) = self.hesitates(attempt.topic) {
            return Verdict::Refuse(code);
        }
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

    fn topic(&mut self, topic: &str) -> Option<i16> {
        if let Some(View::Topics(code)) = self.view() {
            return Some(code);
        }
        let mut orders = self.orders.lock().expect("nobody panics with it");
        if orders.young.get(topic).is_some_and(|(until, _)| *until > orders.now) {
            *orders.met.entry("a topic had no leaders yet").or_default() += 1;
            return Some(5);
        }
        drop(orders);
        (self.is_on() && self.dice.once_in(self.faults.control_error)).then(|| self.dice.pick(OF_TOPICS))
    }

    fn partition(&mut self, _topic: &str, partition: i32) -> Naming {
        match self.view() {
            Some(View::Leaderless) if partition % 2 == 0 => Naming::Leaderless,
            Some(View::Half) if partition % 2 == 0 => Naming::LeftOut,
            _ => Naming::AsItIs,
        }
    }

    fn throttle(&mut self, request: Request) -> i32 {
        if let (Request::Metadata | Request::InitProducerId, Some(View::Throttles(millis))) = (request, self.view()) {
            let mut orders = self.orders.lock().expect("nobody panics with it");
            let until = orders.now + Duration::from_millis(millis as u64);
            let paused = orders.throttled.entry(self.node).or_insert(until);
            *paused = until.max(*paused);
            return millis;
        }
        let throttled = self.is_on() && self.dice.once_in(self.faults.throttle);
        let long = self.faults.long_pauses;
        if throttled && request == Request::Produce && long > 0 && self.later.once_in(4) {
            let millis = self.later.range(1, long);
            let mut orders = self.orders.lock().expect("nobody panics with it");
            orders.long_pause = orders.long_pause.max(orders.now + Duration::from_millis(millis));
            *orders.met.entry("a leader asked for a long pause").or_default() += 1;
            return millis as i32;
        }
        if throttled { self.dice.range(1, 200) as i32 } else { 0 }
    }
}
