//! The world: everything around the producer, in virtual time. What each part does is in the file of its name.

mod acts;
mod application;
mod by_hand;
mod clock;
mod driver;
mod network;
mod nodes;
mod observer;
mod watch;
mod wiretap;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::panic::catch_unwind;
use std::sync::Mutex;

use bytes::Bytes;

use super::books::Books;
use super::dice::Dice;
use super::plan::Plan;
use super::runs::Report;
use super::servers::{Gremlin, Mood, Orders, Shared, View};
use super::violation::{Violation, words_of};
use crate::cluster::{Cluster, Request, TopicId};
use crate::{
    Compressor, Config, ConnId, Delivery, DeliveryError, DeliveryErrorKind, Event, Instant, Job, Producer, UnixTime,
};
use acts::Acts;
use application::Pending;
use network::Wire;
use observer::Observer;
use watch::{Watch, moment};
use wiretap::{Limits, Wiretap};

pub(super) use watch::Who;

/// Whether a broker may work off bytes of a connection that the client has given up.
pub(super) fn has_late_copies(plan: &Plan) -> bool {
    let f = &plan.faults;
    f.half_open
        + f.reset
        + f.pause
        + f.crash
        + f.move_leader
        + f.blackhole
        + f.apply_then
        + f.hang_up_after
        + f.leave_out
        > 0
        || f.delay > 0
}

/// So long after the last fault the application may go on trying to send.
const LAST_TRY: Duration = Duration::from_secs(300);

/// Moments of a run, at most.
const MOST_STEPS: u64 = 400_000;

/// So long it may take until it tries again.
const NEXT_TRY: Duration = Duration::from_secs(40);

/// Numbers of the plan that every step needs.
#[derive(Debug)]
struct Numbers {
    memory: usize,
    age: Duration,
    /// How long a topic is asked about that nobody sends to.
    idle: Duration,
}

#[derive(Debug)]
pub(super) struct World {
    plan: Plan,
    watch: Watch,
    observer: Option<Observer>,
    /// Somebody's own code sends, and is told what happened.
    by_hand: bool,
    told: Vec<Event>,
    /// A law that was broken where nobody could be told.
    broken: Option<String>,
    /// The names of the topics that things happen to.
    topics: Vec<String>,
    now: Instant,
    dice: Dice,
    pub(super) producer: Producer,
    pub(super) cluster: Cluster,
    orders: Shared,
    /// Which servers answer in their own way, and until when.
    moods: Vec<(Instant, i32, Mood)>,
    wires: BTreeMap<ConnId, Wire>,
    wiretap: Wiretap,
    books: Books,
    /// Compression jobs that are out, with the time of their end.
    jobs: Vec<(Instant, Job)>,
    compressor: Compressor,
    wait: Option<Instant>,
    /// How many drains in a row ended in a wait that was over already.
    idle_drains: u32,
    /// How many had nothing to do, and ended in a wait of less than a millisecond.
    in_vain: u32,
    flushes: Vec<Pending>,
    names: BTreeMap<usize, String>,
    /// Every id that each topic had.
    ids: BTreeMap<String, Vec<TopicId>>,
    /// Large values, of which it keeps clones after it has sent them.
    handed_over: Vec<Bytes>,
    sent: u64,
    next_send: Instant,
    stalled_until: Instant,
    back_at: BTreeMap<i32, Instant>,
    tell_at: Option<Instant>,
    /// Topics that are not there, and when they are created again.
    vanished: Vec<(Instant, String, i32)>,
    calm: Option<Instant>,
    /// When the last fault ended.
    trouble_until: Instant,
    acts: Acts,
    /// Bumps of the epoch, and records that failed, when the last fault was over for some time.
    settled: Option<(u64, u64)>,
    /// Dice for what came later, so that seeds still mean what they meant.
    odd: Dice,
    later: Dice,
    large: Dice,
    ending: bool,
    closed: bool,
    connects: VecDeque<Instant>,
    sometimes: BTreeMap<&'static str, u64>,
    fingerprint: u64,
    events: VecDeque<String>,
    waits_for_room: bool,
    waits_for_topic: BTreeMap<String, Instant>,
    numbers: Numbers,
    /// When each name was sent to last.
    used: BTreeMap<String, Instant>,
}

impl World {
    pub(super) fn new(plan: Plan, by_hand: bool) -> Self {
        let nodes = (0..plan.cluster.nodes).map(|node| format!("node{}:{}", node + 1, 9092 + node)).collect::<Vec<_>>();
        let servers = ("bootstrap.servers", nodes.join(","));
        let options = plan.options.iter().cloned().chain([servers]);
        let config = Config::from_properties(options).expect("the plan draws valid options");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&plan.seed.to_be_bytes());
        let mut cluster = Cluster::new(plan.cluster.clone());
        for node in cluster.nodes() {
            cluster.set_address(node, &format!("node{node}"), 9092 + node as u16 - 1);
        }
        let orders: Shared = Arc::new(Mutex::new(Orders::default()));
        let (faults, dice) = (plan.faults.clone(), Dice::new(plan.seed ^ 77));
        let later = Dice::new(plan.seed ^ 0x1a7e_5e17);
        let gremlin = Gremlin { faults, dice, later, orders: Arc::clone(&orders), node: 0 };
        cluster.set_mischief(Box::new(gremlin));
        let numbers = Numbers {
            memory: plan.millis("buffer.memory", 33_554_432) as usize,
            age: Duration::from_millis(plan.millis("metadata.max.age.ms", 300_000)),
            // Whoever waits for a topic waits for `max.block.ms` at most.
            idle: Duration::from_millis(plan.millis("metadata.max.idle.ms", 300_000).max(60_000)),
        };
        let limits = Limits {
            in_flight: plan.millis("max.in.flight.requests.per.connection", 5) as usize,
            idempotent: plan.idempotent(),
            acks: plan.acks().parse().unwrap_or(-1),
            backoff: Duration::from_millis(plan.millis("retry.backoff.ms", 100)),
        };
        let unix = UnixTime::from_millis(plan.cluster.unix_time);
        if plan.odd_topics > 0 {
            cluster.create_topic("forbidden", 1);
            cluster.set_forbidden("forbidden", true);
        }
        let mut world = Self {
            producer: Producer::new(Instant::ZERO, Some(unix), config, seed),
            dice: Dice::new(plan.seed ^ 0xabcd),
            odd: Dice::new(plan.seed ^ 0x0dd),
            later: Dice::new(plan.seed ^ 0x01a7_e0dd),
            large: Dice::new(plan.seed ^ 0x1a59e),
            topics: if by_hand { Vec::new() } else { (0..plan.topics).map(|topic| format!("topic-{topic}")).collect() },
            plan,
            watch: Watch::default(),
            observer: None,
            by_hand,
            told: Vec::new(),
            broken: None,
            now: Instant::ZERO,
            cluster,
            orders,
            moods: Vec::new(),
            wires: BTreeMap::new(),
            wiretap: Wiretap::new(limits),
            books: Books::default(),
            jobs: Vec::new(),
            compressor: Compressor::default(),
            wait: Some(Instant::ZERO),
            idle_drains: 0,
            in_vain: 0,
            flushes: Vec::new(),
            names: BTreeMap::new(),
            ids: BTreeMap::new(),
            handed_over: Vec::new(),
            sent: 0,
            next_send: Instant::ZERO,
            stalled_until: Instant::ZERO,
            back_at: BTreeMap::new(),
            tell_at: None,
            vanished: Vec::new(),
            calm: None,
            trouble_until: Instant::ZERO,
            acts: Acts::new(),
            settled: None,
            ending: false,
            closed: false,
            connects: VecDeque::new(),
            sometimes: BTreeMap::new(),
            fingerprint: 0xcbf2_9ce4_8422_2325,
            events: VecDeque::new(),
            waits_for_room: false,
            waits_for_topic: BTreeMap::new(),
            used: BTreeMap::new(),
            numbers,
        };
        // On some: it must change nothing but what is told.
        world.producer.observe(world.plan.seed % 3 == 0);
        world.producer.measure(world.plan.seed % 3 == 0);
        if world.plan.young.is_none() {
            world.create_topics();
        }
        world
    }

    fn report(&self) -> Report {
        Report {
            accepted: self.books.records.len() as u64,
            delivered: self.books.delivered,
            failed: self.books.failed,
            time: self.now.saturating_since(Instant::ZERO),
            errors: self.cluster.counters().errors.clone(),
            reached: self.sometimes.clone(),
            fingerprint: self.fingerprint,
        }
    }

    pub(super) fn violation(&self, words: String) -> Violation {
        Violation { plan: Box::new(self.plan.clone()), words, last: self.events.iter().cloned().collect() }
    }

    fn note(&mut self, who: Who, what: impl FnOnce() -> String) {
        let event = moment(self.now, who, &what());
        for byte in event.bytes() {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(watch) = &mut self.watch.0 {
            watch(&event);
        }
        self.events.push_back(event);
        if self.events.len() > 60 {
            self.events.pop_front();
        }
    }

    /// Something that only who watches wants to know.
    fn aside(&mut self, who: Who, what: impl FnOnce() -> String) {
        if let Some(watch) = &mut self.watch.0 {
            watch(&moment(self.now, who, &what()));
        }
    }

    fn tell_what_was_overheard(&mut self) {
        for (who, what) in self.wiretap.take_overheard() {
            self.aside(who, || what);
        }
    }

    /// Does this, and tells what law it broke, or that it panicked.
    fn lawful<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, Violation> {
        match catch_unwind(AssertUnwindSafe(|| what(self))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(words)) => Err(self.violation(words)),
            Err(panic) => Err(self.violation(format!("panic: {}", words_of(&*panic)))),
        }
    }

    /// From now on every moment is told.
    pub(super) fn watch(&mut self, watch: impl FnMut(&str) + 'static) {
        self.watch.0 = Some(Box::new(watch));
        self.wiretap.listen();
    }

    /// What happens, and when, is decided by these, as far as they go.
    pub(super) fn choose(&mut self, choices: &[u8]) {
        self.dice = Dice::with_choices(self.plan.seed, choices.into());
    }

    pub(super) fn run_whole(mut self) -> Result<Report, Violation> {
        self.lawful(Self::run)?;
        Ok(self.report())
    }

    fn sometimes(&mut self, what: &'static str) {
        *self.sometimes.entry(what).or_default() += 1;
    }

    /// From the first send to the audit.
    fn run(&mut self) -> Result<(), String> {
        let patience = self.plan.delivery_timeout() + Duration::from_secs(60);
        let mut end = None;
        for step in 0..MOST_STEPS {
            self.step()?;
            if self.closed {
                return self.finish();
            }
            if self.calm.is_some() {
                let end = end.get_or_insert(self.trouble_until + patience);
                let sent = self.books.records.last().map_or(Instant::ZERO, |last| last.sent);
                let acts = self.act_deadline().unwrap_or(Instant::ZERO);
                let tried = self.used.values().max().copied().unwrap_or_default();
                *end = (*end).max(sent.max(acts).max((tried + NEXT_TRY).min(self.trouble_until + LAST_TRY)) + patience);
            }
            if end.is_some_and(|end| self.now > end) {
                return Err(self.stall());
            }
            if !self.step_time() {
                return Err(format!("STUCK: nothing will ever happen again (step {step})"));
            }
        }
        Err("too many steps".into())
    }

    /// What happens at this moment.
    fn step(&mut self) -> Result<(), String> {
        if let Some(words) = self.broken.take() {
            return Err(words);
        }
        self.orders.lock().expect("nobody panics with it").now = self.now;
        self.deliver()?;
        if self.calm.is_none() && self.now >= Instant::from_millis(self.plan.fault_phase) {
            self.calm_down();
        }
        if self.calm.is_none() {
            self.misbehave();
        }
        if self.now >= self.stalled_until {
            self.work()?;
            self.drive()?;
            self.check_in_time()?;
        }
        self.cluster.advance(self.now);
        self.deliver()?; // what it answers now is on its way before time goes on
        self.check_steps()
    }

    fn stall(&self) -> String {
        let Books { delivered, failed, records, .. } = &self.books;
        let all = records.len();
        format!("STALL: still open long after the faults ended: {delivered} of {all} delivered, {failed} failed")
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.books.is_open() {
            return Err("closed with open records".into());
        }
        if !self.flushes.is_empty() {
            return Err(format!("flushes never ended: {:?}", self.flushes));
        }
        self.jobs.clear(); // the latest of all; they held memory
        self.poll();
        if self.producer.buffered() > 0 {
            return Err(format!("{} bytes of memory never came back", self.producer.buffered()));
        }
        let stats = self.producer.stats();
        let counted = (stats.records_accepted, stats.records_delivered, stats.records_failed);
        if counted != (self.books.records.len() as u64, self.books.delivered, self.books.failed) {
            return Err(format!("the counters {counted:?} are wrong"));
        }
        for (count, what) in [
            (stats.records_delivered, "a record was delivered"),
            (stats.records_failed, "a record failed"),
            (stats.retries, "a batch was retried"),
            (stats.splits, "a batch was split"),
            (stats.batches_compressed, "a batch was compressed"),
            (stats.jobs, "a compression job went out"),
            (stats.epoch_bumps, "an epoch was bumped"),
            (stats.buffer_full, "a send found the buffer full"),
            (stats.late_answers, "an answer came too late"),
            (stats.reauthentications, "a session was renewed"),
            (if self.plan.session.is_some() { stats.connections } else { 0 }, "a user was let in"),
            (stats.connection_failures, "a connection failed"),
        ] {
            if count > 0 {
                self.sometimes(what);
            }
        }
        for (what, times) in core::mem::take(&mut self.orders.lock().expect("nobody panics with it").met) {
            *self.sometimes.entry(what).or_default() += times;
        }
        self.note_ids();
        self.books.audit(&self.plan, &self.cluster, &self.ids, self.trouble_until)
    }

    /// What the laws say of every moment.
    fn check_steps(&mut self) -> Result<(), String> {
        if self.now >= self.stalled_until {
            self.wiretap.check()?;
        }
        self.check_calm()?;
        let memory = self.numbers.memory;
        // A batch of one small record takes memory, too.
        let open = self.books.open_batches();
        if 300 * open > memory && self.producer.stats().splits == 0 {
            return Err(format!("MEMORY: {open} open batches in {memory} bytes"));
        }
        // The parts of split batches may take a little more than their parents, and so may batches that hardly shrink; and each
        // part has an entry of its own in the table of batches.
        let stats = self.producer.stats();
        let chunks = if stats.splits + stats.batches_compressed > 0 { 256 * self.books.records.len() } else { 0 };
        let entries = if stats.splits > 0 { 512 * self.books.records.len() } else { 0 };
        let reserve = chunks + entries;
        if self.producer.buffered() > memory + reserve {
            return Err(format!("{} bytes buffered, of {memory}", self.producer.buffered()));
        }
        Ok(())
    }

    /// What became of a record is told within `delivery.timeout.ms`, whatever happens, to a host that does what it is told.
    fn check_in_time(&mut self) -> Result<(), String> {
        match self.books.oldest_open() {
            Some((number, sent)) if sent + self.plan.delivery_timeout() <= self.now => {
                Err(format!("OVERDUE: nothing is told of record {number}, which was sent at {sent:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What holds some time after the last fault.
    fn check_calm(&mut self) -> Result<(), String> {
        const SETTLED: Duration = Duration::from_secs(15);
        if self.calm.is_none() || self.now < self.trouble_until + SETTLED {
            self.settled = None;
            return Ok(());
        }
        let idle = self.numbers.idle;
        for (name, used) in &self.used {
            let asked = self.wiretap.asked.get(name).copied().unwrap_or_default();
            if asked > (*used).max(self.trouble_until) + idle + SETTLED && self.books.open_since(name).is_none() {
                return Err(format!("FOREVER: {name:.20} is asked about at {asked:?}, and was sent to at {used:?}"));
            }
        }
        let bumps = self.producer.stats().epoch_bumps;
        let (before, failed) = *self.settled.get_or_insert((bumps, self.books.failed));
        let bound = 20 + 2 * (self.books.failed - failed);
        if bumps - before > bound {
            return Err(format!("BUMPLOOP: {} bumps of the epoch after the faults have ended", bumps - before));
        }
        let age = self.numbers.age;
        for topic in &self.topics {
            let Some(open) = self.books.open_since(topic) else { continue };
            let asked = self.wiretap.asked.get(topic).copied().unwrap_or_default();
            if self.now > open.max(asked).max(self.trouble_until) + age + SETTLED {
                return Err(format!("FORGOTTEN: {topic} has records since {open:?}, and was asked about at {asked:?}"));
            }
        }
        Ok(())
    }

    /// Without ids an answer that is old looks like a topic that is another one, with fewer partitions: what counts is what
    /// several in a row say. A server that lags for good says it again and again, or keeps others from being believed.
    fn is_blind(&self) -> bool {
        let lags = matches!(self.plan.lasting, Some((.., Mood::View(View::Lagging))));
        lags && self.plan.faults.recreate + self.plan.faults.grow > 0 && !self.plan.by_id()
    }

    /// After the faults have ended, what is open succeeds, unless its time was up soon after or an earlier batch of the
    /// partition failed in doubt.
    fn check_late_failure(&self, delivery: &Delivery, error: &DeliveryError) -> Result<(), String> {
        use DeliveryErrorKind as Kind;
        let calm = self.trouble_until;
        // Decided while there were faults, told when the batches before it were resolved.
        // Old versions have no words with an error.
        let wordless = self.plan.newest(Request::Produce) < 8 && matches!(error.kind, Kind::Refused(_));
        let decided = error.message.as_deref().is_some_and(|words| words.starts_with("on demand")) || wordless;
        // By name, what stands behind a refused batch can't be known not to be written: it ends at its own deadline.
        let by_name = !self.plan.by_id() && matches!(&error.kind, Kind::TimedOut(Some(code)) if code.code() == 45);
        let excused = decided
            || by_name
            || self.is_blind()
            // Its batch was out with a job for longer than it had time.
            || (error.attempts == 0 && !self.jobs.is_empty() && matches!(error.kind, Kind::TimedOut(None)))
            || match &error.kind {
                Kind::TimedOut(_) => {
                    let soon = self.now < calm + Duration::from_secs(15);
                    let place = (self.producer.topic_name(delivery.topic).to_string(), delivery.partition);
                    soon || self.books.doubtful.contains(&place)
                }
                // The topic was created again with fewer; that may be seen late.
                Kind::PartitionGone => self.plan.faults.recreate > 0,
                Kind::Aborted => self.ending,
                Kind::RetriesExhausted(_) => self.plan.get("retries").is_some(),
                // Too large for the topic, each record by itself.
                Kind::Refused(code) => matches!(code.code(), 10 | 47) || self.now < calm + Duration::from_secs(15),
                _ => self.now < calm + Duration::from_secs(15),
            };
        if excused { Ok(()) } else { Err(format!("AVOIDABLE: {delivery:?} long after the faults ended")) }
    }
}
