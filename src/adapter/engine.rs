//! The machine behind a lock, and everybody who waits for it. Nothing here touches a socket, and nothing of the application's
//! runs with the lock held but a partitioner.
//!
//! Senders call [`Engine::try_send`] and, where that says so, wait: for a topic (first come, first served), or for memory (see
//! [`line`](super::line)). The driver calls [`Engine::input`] and [`Engine::drain`].

use alloc::collections::BTreeMap;
#[cfg(feature = "cluster")]
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZero;
use core::ops::{Deref, DerefMut};
use core::task::Waker;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock::{self, Clock};
use super::completion::Accepted;
use super::effects::Effects;
use super::error::Error;
use super::holds::{Holds, LockHolds};
use super::interceptor::Interceptors;
use super::line::{Line, Sender, Ticket};
use super::observer::{Observation, Observer};
use super::reports::{Batch, ByAck, Report, Taken};
use super::setup::{Setup, SetupError};
use super::tokens::Tokens;
use super::traces;
use super::waiter::{Asked, Closing, Flush, Wait, Waiter};
use crate::config::{Acks, SecurityProtocol};
#[cfg(feature = "cluster")]
use crate::error::{DeliveryError, DeliveryErrorKind};
use crate::error::{ErrorCode, SendError};
#[cfg(feature = "cluster")]
use crate::event::Delivery;
use crate::event::{Event, Input, Output, PartitionInfo, TopicListing};
use crate::ids::{FlushId, TopicIndex};
use crate::metrics::{Metrics, Stats, Waits};
use crate::planted::planted;
use crate::producer::Producer;
use crate::record::Record;
use crate::status::Status;
use crate::time::Instant;

/// How often the time of day is looked at again, so that timestamps follow it.
const TIME_OF_DAY_EVERY: Duration = Duration::from_secs(10);

/// Threads for compression, at most, where `compression.jobs` does not say.
const MOST_JOBS: usize = 4;

/// Of `buffer.memory`, the part that should be free before those who wait for it are let go, so that each of them can send more
/// than a record; and the most that is waited for.
const GOAL: (usize, usize) = (4, 1 << 20);

/// How many records of an iterator are sent under one lock, so that others get it in between.
pub(super) const PULLED: usize = 128;

/// From then on whoever waits in vain is told that the driver was never polled.
const NEW_DRIVER: Duration = Duration::from_millis(100);

/// From then on whoever waits in vain is told that the driver does nothing.
const IDLE_DRIVER: Duration = Duration::from_secs(1);

/// The shared part of an adapter.
pub(super) struct Engine {
    state: Mutex<State>,
    clock: Clock,
    max_block: Duration,
    jobs: usize,
    acks: Acks,
    security_protocol: SecurityProtocol,
    #[cfg(any(feature = "tokio", feature = "smol"))]
    mock: bool,
    tokens: Tokens,
    interceptors: Interceptors,
    holds: Option<Holds>,
    /// For the next connection; `None` if they are not encrypted.
    #[cfg(feature = "tls")]
    tls: Mutex<Option<Arc<rustls::ClientConfig>>>,
}

impl core::fmt::Debug for Engine {
    /// Without the lock, which the caller may hold; and without records.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

struct State {
    producer: Producer,
    /// Who is told of open batches, by slot.
    batches: Vec<Option<Batch>>,
    /// By topic index.
    names: Vec<Option<Arc<str>>>,
    topics: BTreeMap<TopicIndex, Vec<Arc<Waiter>>>,
    listings: Vec<Arc<Asked<Vec<TopicListing>>>>,
    pings: Vec<Arc<Asked<Duration>>>,
    observer: Option<Arc<dyn Observer>>,
    waits: Waits,
    memory: Line,
    /// Whether those in line for memory are to be looked at.
    memory_back: bool,
    /// Free bytes from which on they are let go.
    memory_goal: usize,
    flushes: BTreeMap<FlushId, Arc<Flush>>,
    closing: Vec<Arc<Waiter>>,
    /// Somebody's patience in `close` was over while records were open.
    cut_short: bool,
    /// The driver is not to wait for other sides any more.
    hurry: bool,
    driver: Option<Waker>,
    /// Whether the driver ever came.
    driven: bool,
    /// Since when the driver is wanted and does not come.
    wanted_since: Option<Instant>,
    told_time_at: Instant,
    life: Life,
    /// What a mock was told to make of what comes.
    #[cfg(feature = "cluster")]
    staged: Staged,
}

/// What the test behind a mock has ordered.
#[cfg(feature = "cluster")]
#[derive(Debug, Default)]
struct Staged {
    /// So many records are refused, each for such a reason, in this order.
    refusals: VecDeque<(usize, SendError)>,
    /// What the answer that is being read is to mean.
    failure: Option<DeliveryError>,
}

/// How far the producer is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// The machine is closed; the driver still sees off what it wrote.
    Closed,
    /// The driver has ended after that.
    Ended,
    /// The driver is gone without that, for this reason, and whoever waits is being told.
    Failing(String),
    /// The same, and everybody was told.
    Gone(String),
}

/// The machine and its waiters, while the lock is held.
struct Locked<'a> {
    measured: Option<(&'a Holds, Clock, Instant)>,
    state: MutexGuard<'a, State>,
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some((holds, clock, since)) = self.measured {
            holds.note(clock.now().as_nanos().saturating_sub(since.as_nanos()));
        }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// What became of an attempt to send.
pub(super) enum Attempt<T> {
    Accepted(T),
    Wait(Wait),
}

impl Engine {
    pub(super) fn new(mut setup: Setup) -> Result<Self, SetupError> {
        setup.check()?;
        let tokens = setup.take_tokens()?;
        #[cfg(feature = "tls")]
        let tls = Mutex::new(setup.tls_config()?);
        #[cfg(not(feature = "tls"))]
        setup.check_tls()?;
        #[cfg(feature = "tracing")]
        let sends = {
            setup.observer = traces::observer(setup.traces, &setup.config, setup.observer);
            traces::Sends::new(setup.traces, &setup.config)
        };
        #[cfg(not(feature = "tracing"))]
        let sends = traces::Sends;
        let Setup { mut config, partitioner, mechanism, interceptors, observer, measure_lock, .. } = setup;
        let clock = Clock::start();
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = *config.jobs.get_or_insert_with(|| cores().min(MOST_JOBS));
        let (max_block, acks, security_protocol) = (config.max_block(), config.acks(), config.security_protocol());
        let memory_goal = (config.buffer_memory() / GOAL.0).min(GOAL.1);
        let mut producer = Producer::new(clock.now(), Some(clock::time_of_day()), config, clock::seed()?);
        producer.authenticate_by_jobs();
        producer.observe(observer.is_some());
        producer.measure(true);
        if let Some(partitioner) = partitioner {
            producer.set_partitioner(partitioner);
        }
        if let Some(mechanism) = mechanism {
            producer.set_sasl_mechanism(mechanism);
        }
        let state = State {
            producer,
            batches: Vec::new(),
            names: Vec::new(),
            topics: BTreeMap::new(),
            listings: Vec::new(),
            pings: Vec::new(),
            observer,
            waits: Waits::default(),
            memory: Line::default(),
            memory_back: false,
            memory_goal,
            flushes: BTreeMap::new(),
            closing: Vec::new(),
            cut_short: false,
            hurry: false,
            driver: None,
            driven: false,
            wanted_since: None,
            told_time_at: Instant::ZERO,
            life: Life::Running,
            #[cfg(feature = "cluster")]
            staged: Staged::default(),
        };
        Ok(Self {
            state: Mutex::new(state),
            clock,
            max_block,
            jobs,
            acks,
            security_protocol,
            #[cfg(any(feature = "tokio", feature = "smol"))]
            mock: false,
            tokens: Tokens::new(tokens),
            interceptors: Interceptors::new(interceptors, sends),
            holds: measure_lock.then(Holds::new),
            #[cfg(feature = "tls")]
            tls,
        })
    }

    fn lock(&self) -> Locked<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { measured: self.holds.as_ref().map(|holds| (holds, self.clock, self.clock.now())), state }
    }

    /// How long the lock was held, if that is measured.
    pub(super) fn lock_holds(&self) -> Option<LockHolds> {
        self.holds.as_ref().map(Holds::snapshot)
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// `max.block.ms`.
    pub(super) fn max_block(&self) -> Duration {
        self.max_block
    }

    /// Who looks at records and outcomes.
    pub(super) fn interceptors(&self) -> &Interceptors {
        &self.interceptors
    }

    /// Who gives tokens.
    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// There are no brokers behind it, so that a runtime's time is as good as the real one.
    #[cfg(feature = "cluster")]
    pub(super) fn into_mock(self) -> Self {
        Self {
            #[cfg(any(feature = "tokio", feature = "smol"))]
            mock: true,
            ..self
        }
    }

    /// Whether it is a mock's.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn is_mock(&self) -> bool {
        self.mock
    }

    /// Whether records count as delivered once they are written, so that what is on its way must not be lost by closing.
    pub(super) fn trusts_the_wire(&self) -> bool {
        self.acks == Acks::None
    }

    /// Hands a record to the machine. `waited`: what the caller waited for before, so that it keeps its place. `report` is
    /// taken with the record.
    pub(super) fn try_send<R: Report>(
        &self,
        sender: Sender,
        record: &Record<'_>,
        waited: Option<&Wait>,
        report: &mut Option<R>,
    ) -> Result<Attempt<R::Receipt>, Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        let ticket = waited.and_then(Wait::ticket);
        #[cfg(feature = "cluster")]
        if let Some(error) = state.staged.refusal() {
            return Err(self.as_after_waiting(record, error));
        }
        if !state.memory.may_try(sender, ticket) {
            return Ok(Attempt::Wait(state.wait_for_memory(sender, ticket, Producer::size_at_most(record))));
        }
        let attempt = match state.send(now, record, |taken| take(report).report(taken)) {
            Ok(accepted) => {
                state.memory.sent(sender, || Producer::size_at_most(record));
                Ok(Attempt::Accepted(accepted))
            }
            Err(error) => state.wait_for(sender, ticket, error).map(Attempt::Wait),
        };
        let calls = state.after_sending(now, ticket, matches!(attempt, Ok(Attempt::Wait(Wait::Memory(_)))));
        drop(state);
        make(calls);
        attempt
    }

    /// Hands a record to the machine, or says why not now, and gives the report back. Interceptors see it.
    pub(super) fn send_now<R: Report>(
        &self,
        sender: Sender,
        record: &Record<'_>,
        report: R,
    ) -> Result<R::Receipt, (Error, R)> {
        let Some(passage) = self.interceptors.begin(record) else {
            let mut report = Some(report);
            let taken = self.take_now(sender, record, |taken| take(&mut report).report(taken));
            return taken.map_err(|error| (error, take(&mut report)));
        };
        let mut report = Some(passage.before(report));
        let with_report = |taken: Taken<'_>| take(&mut report).report(taken);
        let taken = match passage.replaced() {
            None => self.take_now(sender, record, with_report),
            Some(other) => self.take_now(sender, &other.record(&other.headers()), with_report),
        };
        passage.end(&taken);
        taken.map_err(|error| (error, take(&mut report).report))
    }

    fn take_now<T>(
        &self,
        sender: Sender,
        record: &Record<'_>,
        report: impl FnOnce(Taken<'_>) -> T,
    ) -> Result<T, Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        #[cfg(feature = "cluster")]
        if let Some(error) = state.staged.refusal() {
            return Err(Error::Send(error));
        }
        let ticket = state.memory.use_kept(sender);
        if !state.memory.may_try(sender, ticket.as_ref()) {
            return Err(Error::Send(SendError::BufferFull { needed: Producer::size_at_most(record) }));
        }
        let result = state.send(now, record, report).map_err(|error| state.error(error));
        let calls = if result.is_ok() {
            state.memory.sent(sender, || Producer::size_at_most(record));
            state.memory.forget_kept(sender);
            state.after_sending(now, ticket.as_ref(), false)
        } else {
            state.wake(now)
        };
        drop(state);
        make(calls);
        result
    }

    /// The next so many records are refused for this reason.
    #[cfg(feature = "cluster")]
    pub(super) fn refuse_next(&self, times: usize, error: SendError) {
        if times > 0 {
            self.lock().staged.refusals.push_back((times, error));
        }
    }

    /// What a call that waits says after it has waited in vain: a test need not wait for that.
    #[cfg(feature = "cluster")]
    fn as_after_waiting(&self, record: &Record<'_>, error: SendError) -> Error {
        let after = self.max_block;
        if let SendError::NotReady { .. } = error {
            return Error::TopicUnknown { topic: record.topic.to_string(), after, why: None };
        }
        if let SendError::BufferFull { .. } = error {
            return Error::BufferFull { after, why: None };
        }
        Error::Send(error)
    }

    /// Drains as [`drain`](Self::drain) does, after an answer that refuses a record ([`ErrorCode::INVALID_RECORD`]) and is to mean
    /// this.
    #[cfg(feature = "cluster")]
    pub(super) fn drain_failure(&self, error: DeliveryError, commands: &mut Vec<Output>, effects: &mut Effects) {
        self.lock().staged.failure = Some(error);
        self.drain(commands, effects);
        self.lock().staged.failure = None;
    }

    /// What to wait for until so many bytes of memory may be taken; `None` if they may be now, or no records are taken any more.
    pub(super) fn room(&self, sender: Sender, needed: usize) -> Option<Wait> {
        let now = self.clock.now();
        let mut state = self.lock();
        let needed = needed.min(state.producer.largest_room());
        let kept = state.memory.kept(sender);
        let has_room = state.memory.may_try(sender, None) && state.producer.free_memory() >= needed;
        if has_room || !state.producer.takes_records() {
            return None;
        }
        let wait = state.wait_for_memory(sender, kept.as_ref(), needed);
        let calls = state.wake(now);
        drop(state);
        make(calls);
        Some(wait)
    }

    /// Whoever waited for room was let go, and is going to try.
    pub(super) fn keep_place(&self, wait: &Wait) {
        if let Some(ticket) = wait.ticket() {
            self.lock().memory.keep(Arc::clone(ticket));
        }
    }

    /// Hands many records to the machine under one lock, until one can't be taken now. Calls `accepted` for each that is, in
    /// order. Returns what to wait for, if anything.
    pub(super) fn send_many(
        &self,
        sender: Sender,
        records: &[Record<'_>],
        waited: Option<&Wait>,
        mut accepted: impl FnMut(Accepted),
    ) -> Result<Option<Wait>, Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        let ticket = waited.and_then(Wait::ticket);
        let mut outcome = Ok(None);
        for (place, record) in records.iter().enumerate() {
            #[cfg(feature = "cluster")]
            if let Some(error) = state.staged.refusal() {
                outcome = Err(self.as_after_waiting(record, error));
                break;
            }
            // One that got something in has had its turn, and queues anew.
            let ticket = ticket.filter(|_| place == 0);
            if !state.memory.may_try(sender, ticket) {
                outcome = Ok(Some(state.wait_for_memory(sender, ticket, Producer::size_at_most(record))));
                break;
            }
            match state.send(now, record, |taken| ByAck.report(taken)) {
                Ok(sent) => {
                    state.memory.sent(sender, || Producer::size_at_most(record));
                    accepted(sent);
                }
                Err(error) => {
                    outcome = state.wait_for(sender, ticket, error).map(Some);
                    break;
                }
            }
        }
        let again =
            matches!((&outcome, ticket), (Ok(Some(Wait::Memory(other))), Some(ticket)) if Arc::ptr_eq(other, ticket));
        let calls = state.after_sending(now, ticket, again);
        drop(state);
        make(calls);
        outcome
    }

    /// Whoever waited does so no longer, without having sent.
    pub(super) fn give_up(&self, wait: &Wait) {
        let now = self.clock.now();
        let mut state = self.lock();
        let calls = match wait {
            Wait::Memory(ticket) => state.after_sending(now, Some(ticket), false),
            Wait::Asked(waiter) => {
                let State { producer, listings, pings, .. } = &mut *state;
                // For those that are left another server is asked: this one's answer may come too late for them, too.
                if forget(listings, waiter) {
                    producer.cancel_list_topics(now);
                    if !listings.is_empty() {
                        let _ = producer.list_topics(now); // whoever waits is told by an event
                    }
                }
                if forget(pings, waiter) {
                    producer.cancel_ping(now);
                    if !pings.is_empty() && !planted("who-is-left-waits-on") {
                        let _ = producer.ping(now);
                    }
                }
                state.wake(now)
            }
            Wait::Topic(topic, waiter) => {
                if let Some(waiters) = state.topics.get_mut(topic) {
                    waiters.retain(|other| !Arc::ptr_eq(other, waiter));
                }
                None
            }
        };
        drop(state);
        make(calls);
    }

    /// The error for a wait that took all of `max.block.ms`.
    pub(super) fn too_long(&self, topic: &str, wait: &Wait) -> Error {
        let now = self.clock.now();
        let state = self.lock();
        if let Life::Gone(why) | Life::Failing(why) = &state.life {
            return Error::Gone { why: why.clone() };
        }
        let after = self.max_block;
        let why = || state.idle_driver(now).or_else(|| Some(state.producer.why_unasked(now)?.to_string()));
        let full = || state.idle_driver(now).or_else(|| Some(state.producer.why_full(now)?.to_string()));
        match wait {
            Wait::Memory(_) => Error::BufferFull { after, why: full() },
            Wait::Asked(_) => Error::NoMetadata { after, why: why() },
            Wait::Topic(index, _) => {
                let said =
                    state.producer.topic_error(*index).map(|code: ErrorCode| std::format!("the cluster says {code}"));
                let others = || state.producer.partitions(topic).map(|partitions| only(partitions.len()));
                Error::TopicUnknown { topic: topic.to_string(), after, why: said.or_else(others).or_else(why) }
            }
        }
    }

    /// The error for a list of topics that can't be had. `until`: how long the caller would have waited.
    pub(super) fn not_listed(&self, until: Option<Instant>, why: String) -> Error {
        let left = until.map_or(Duration::ZERO, |until| until.saturating_since(self.clock.now()));
        Error::NoMetadata { after: self.max_block.saturating_sub(left), why: Some(why) }
    }

    /// The topic's partitions, or what to wait for.
    pub(super) fn partitions(&self, topic: &str, asked: bool) -> Result<Result<Vec<PartitionInfo>, Wait>, Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(partitions) = state.producer.partitions(topic) {
            return Ok(Ok(partitions));
        }
        if let Some(code) = state.producer.topic_refusal(topic).filter(|_| asked) {
            return Err(Error::Send(SendError::TopicFailed(code)));
        }
        let index = state.producer.want_topic(now, topic).map_err(|error| state.error(error))?;
        let wait = state.wait_for_topic(index);
        let calls = state.wake(now);
        drop(state);
        make(calls);
        Ok(Err(wait))
    }

    /// Asks for the list of topics.
    pub(super) fn list_topics(&self) -> Result<Arc<Asked<Vec<TopicListing>>>, Error> {
        self.ask(Producer::list_topics, |state| &mut state.listings)
    }

    /// Asks whether a server is there.
    pub(super) fn ping(&self) -> Result<Arc<Asked<Duration>>, Error> {
        self.ask(Producer::ping, |state| &mut state.pings)
    }

    fn ask<T>(
        &self,
        what: impl FnOnce(&mut Producer, Instant) -> Result<(), SendError>,
        who: impl FnOnce(&mut State) -> &mut Vec<Arc<Asked<T>>>,
    ) -> Result<Arc<Asked<T>>, Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        what(&mut state.producer, now).map_err(|error| state.error(error))?;
        let asked = Arc::new(Asked::default());
        who(&mut state).push(Arc::clone(&asked));
        let calls = state.wake(now);
        drop(state);
        make(calls);
        Ok(asked)
    }

    /// The error for servers of which none answered in time.
    pub(super) fn no_pong(&self, error: Error, after: Duration) -> Error {
        if !matches!(error, Error::NoMetadata { .. }) {
            return error;
        }
        let now = self.clock.now();
        let state = self.lock();
        let why = || Some(state.producer.why_unasked(now)?.to_string());
        Error::NoMetadata { after, why: state.idle_driver(now).or_else(why) }
    }

    /// Begins a flush.
    pub(super) fn flush(&self) -> Arc<Flush> {
        let now = self.clock.now();
        let mut state = self.lock();
        let flush = Arc::new(Flush::default());
        let id = state.producer.flush(now);
        let over = state.has_ended();
        if !over {
            state.flushes.insert(id, Arc::clone(&flush));
        }
        state.wake(now);
        let calls = state.driver(); // even if the machine has nothing new to say: a mock does more in a flush
        drop(state);
        make(calls);
        if over {
            flush.end(0);
        }
        flush
    }

    /// Begins to close. The waiter is raised once the driver has ended.
    pub(super) fn close(&self) -> Closing {
        let now = self.clock.now();
        let mut state = self.lock();
        state.producer.close(now);
        let waiter = Arc::new(Waiter::default());
        let failed_before = state.producer.stats().records_failed;
        let over = state.has_ended();
        let too_late = over || matches!(state.life, Life::Failing(_));
        if !over {
            state.closing.push(Arc::clone(&waiter));
        }
        let calls = state.wake(now);
        drop(state);
        make(calls);
        if over {
            waiter.raise();
        }
        Closing { waiter, began: now, too_late, failed_before }
    }

    /// Somebody's patience with a close is over: what is open fails, and the driver waits for nothing more.
    pub(super) fn abort(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.has_ended() {
            return;
        }
        state.cut_short |= state.producer.open_records() > 0;
        state.hurry = true;
        state.producer.abort(now);
        state.wake(now);
        let calls = state.driver();
        drop(state);
        make(calls);
    }

    /// How a close went.
    pub(super) fn closed(&self, closing: &Closing) -> Result<u64, Error> {
        let now = self.clock.now();
        let state = self.lock();
        let failed = state.producer.stats().records_failed - closing.failed_before;
        match &state.life {
            _ if closing.too_late => Ok(0), // whose records failed was told
            _ if state.cut_short => Err(Error::Unfinished { after: now.saturating_since(closing.began), failed }),
            Life::Gone(why) | Life::Failing(why) => Err(Error::Gone { why: why.clone() }),
            Life::Running | Life::Closed | Life::Ended => Ok(failed),
        }
    }

    /// Whether the driver has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended()
    }

    /// Whether the driver may end: the machine is closed. Whether it has to, now.
    pub(super) fn is_closed(&self) -> (bool, bool) {
        let state = self.lock();
        (state.life != Life::Running, state.hurry)
    }

    /// Produce requests without an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.lock().producer.in_flight()
    }

    /// Whether someone waits for a flush.
    #[cfg(feature = "cluster")]
    pub(super) fn is_flushing(&self) -> bool {
        !self.lock().flushes.is_empty()
    }

    /// The machine's counters.
    pub(super) fn stats(&self) -> Stats {
        self.lock().producer.stats()
    }

    /// How the producer is.
    pub(super) fn status(&self) -> Status {
        let now = self.clock.now();
        self.lock().producer.status(now)
    }

    /// What was measured.
    pub(super) fn metrics(&self) -> Metrics {
        let now = self.clock.now();
        let state = self.lock();
        let mut metrics = state.producer.metrics(now);
        let waiting = state.topics.values().map(Vec::len).sum::<usize>() + state.memory.len();
        metrics.waits = Waits { waiting, ..state.waits };
        metrics
    }

    /// A call has waited so long.
    pub(super) fn has_waited(&self, wait: &Wait, span: Duration) {
        let waits = &mut self.lock().waits;
        match wait {
            Wait::Memory(_) => waits.memory = waits.memory.saturating_add(span),
            Wait::Topic(..) => waits.metadata = waits.metadata.saturating_add(span),
            Wait::Asked(_) => {}
        }
    }

    /// The brokers that are known.
    pub(super) fn brokers(&self) -> Vec<(i32, String, u16)> {
        let state = self.lock();
        state.producer.brokers().into_iter().map(|(id, host, port)| (id, host.to_string(), port)).collect()
    }

    /// Who is woken when there is something to do.
    pub(super) fn set_driver(&self, waker: &Waker) {
        let mut state = self.lock();
        if state.driver.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            state.driver = Some(waker.clone());
        }
    }

    /// The driver is a thread of the adapter's own: nobody has to poll it.
    #[cfg(feature = "threads")]
    pub(super) fn drives_itself(&self) {
        self.lock().driven = true;
    }

    /// Tells the machine what happened.
    pub(super) fn input(&self, input: Input<'_>) {
        let now = self.clock.now();
        self.lock().producer.handle_input(now, input);
    }

    /// As [`input`](Self::input), from any thread: the driver is woken if it has to act on it.
    pub(super) fn input_from_outside(&self, input: Input<'_>) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.producer.handle_input(now, input);
        let calls = state.wake(now);
        drop(state);
        make(calls);
    }

    /// The TLS configuration for the next connection.
    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the credentials, certificates and trust of another setup, from the next connection on; what was refused until now
    /// is tried again at once.
    pub(super) fn renew(&self, mut setup: Setup) -> Result<(), SetupError> {
        let refused = |words: &str| Err(SetupError::from(std::io::Error::new(std::io::ErrorKind::InvalidInput, words)));
        if setup.config.security_protocol() != self.security_protocol {
            return refused("security.protocol can't be changed while the producer runs: close it and make another");
        }
        if setup.partitioner.is_some() || !setup.interceptors.is_empty() {
            return refused(
                "credentials and certificates are all that is renewed: partitioners and interceptors stay as they are",
            );
        }
        let tokens = setup.take_tokens()?;
        #[cfg(feature = "tls")]
        {
            let made = setup.tls_config()?;
            *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = made;
        }
        let Setup { config, mechanism, .. } = setup;
        if let Some(tokens) = tokens {
            self.tokens.replace(tokens);
        }
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(mechanism) = mechanism {
            state.producer.set_sasl_mechanism(mechanism);
        }
        if let Some(sasl) = config.sasl {
            state.producer.set_sasl(sasl);
        }
        state.producer.security_renewed(now);
        let over = state.producer.take_over();
        let calls = state.wake(now);
        drop(state);
        drop(over); // without the lock: it is the application's
        make(calls);
        Ok(())
    }

    /// How many jobs are out at most.
    pub(super) fn jobs(&self) -> usize {
        self.jobs
    }

    /// Hands `use_producer` the machine and the time, for reading and writing.
    pub(super) fn with_producer<T>(&self, use_producer: impl FnOnce(&mut Producer, Instant) -> T) -> T {
        let now = self.clock.now();
        use_producer(&mut self.lock().producer, now)
    }

    /// Drains the machine: commands go to `commands`, events to those who wait for them. Says until when there is nothing
    /// to do. `effects` are to be run afterwards, without the lock.
    pub(super) fn drain(&self, commands: &mut Vec<Output>, effects: &mut Effects) -> Option<Instant> {
        let now = self.clock.now();
        let mut state = self.lock();
        (state.driven, state.wanted_since) = (true, None);
        if now.saturating_since(state.told_time_at) > TIME_OF_DAY_EVERY {
            state.told_time_at = now;
            state.producer.handle_input(now, Input::WallClock(clock::time_of_day()));
        }
        let until = loop {
            match state.producer.poll_output() {
                Output::Event(event) => state.event(event, effects),
                Output::Wait(until) => break until,
                command @ (Output::Connect { .. }
                | Output::Disconnect(_)
                | Output::Transmit(_)
                | Output::Job(_)
                | Output::Token { .. }) => commands.push(command),
            }
        };
        if state.memory.look_again().is_some_and(|at| at <= now) {
            state.memory_back = true;
        }
        state.let_go(now, &mut effects.memory);
        effects.over.append(&mut state.producer.take_over());
        [until, state.memory.look_again()].into_iter().flatten().min()
    }

    /// The driver is gone, for this reason: whoever waits for it is told. Says nothing new if it ended because it was closed.
    pub(super) fn end(&self, why: &str) {
        self.fail_what_is_open(why);
        let mut effects = Effects::default();
        let mut state = self.lock();
        // Nothing more will be heard of any batch, whatever has become of the machine.
        effects.abandoned.extend(state.batches.drain(..).flatten());
        drop(state);
        effects.run();
        self.say_that_it_has_ended();
    }

    /// The driver does not come, for this reason. What it has in its hands already it will tell when it does.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn give_up_the_driver(&self, why: &str) {
        self.fail_what_is_open(why);
        self.say_that_it_has_ended();
    }

    fn fail_what_is_open(&self, why: &str) {
        let mut effects = Effects::default();
        let now = self.clock.now();
        let mut state = self.lock();
        if state.life == Life::Running {
            state.life = Life::Failing(why.to_string());
        }
        state.producer.abort(now);
        loop {
            match state.producer.poll_output() {
                Output::Event(event) => state.event(event, &mut effects),
                Output::Wait(_) => break,
                Output::Connect { .. }
                | Output::Disconnect(_)
                | Output::Transmit(_)
                | Output::Job(_)
                | Output::Token { .. } => {}
            }
        }
        state.release_all(&mut effects);
        drop(state);
        effects.run();
    }

    /// After everything else was told.
    fn say_that_it_has_ended(&self) {
        let mut effects = Effects::default();
        let mut state = self.lock();
        state.life = match core::mem::replace(&mut state.life, Life::Ended) {
            Life::Failing(why) | Life::Gone(why) => Life::Gone(why),
            Life::Running | Life::Closed | Life::Ended => Life::Ended,
        };
        effects.waiters.append(&mut state.closing);
        effects.flushes.extend(core::mem::take(&mut state.flushes).into_values().map(|flush| (flush, 0)));
        drop(state);
        effects.run();
    }
}

/// Takes out the one who waited there, if it still did.
fn forget<T>(asked: &mut Vec<Arc<Asked<T>>>, waiter: &Arc<Waiter>) -> bool {
    let before = asked.len();
    asked.retain(|other| !Arc::ptr_eq(&other.waiter, waiter));
    asked.len() < before
}

/// The topic is known, so it is the record's partition that is not.
fn only(partitions: usize) -> String {
    std::format!("it has {partitions} partitions, and none of the number that the record names")
}

/// What a sender wants to know is taken with its record, once.
fn take<R>(report: &mut Option<R>) -> R {
    report.take().expect("a report is taken with its record alone")
}

/// Who is to be called once the lock is released: mostly nobody.
struct Calls {
    driver: Option<Waker>,
    released: Vec<Arc<Ticket>>,
}

/// Not to be called with the lock held.
#[inline]
fn make(calls: Option<Calls>) {
    let Some(Calls { driver, released }) = calls else { return };
    if let Some(waker) = driver {
        waker.wake();
    }
    for ticket in released {
        ticket.waiter.raise();
    }
}

#[cfg(feature = "cluster")]
impl Staged {
    fn refusal(&mut self) -> Option<SendError> {
        let (times, error) = self.refusals.front_mut()?;
        let error = error.clone();
        *times -= 1;
        if *times == 0 {
            self.refusals.pop_front();
        }
        Some(error)
    }
}

impl State {
    /// `report` is called if the record is taken.
    fn send<T>(
        &mut self,
        now: Instant,
        record: &Record<'_>,
        report: impl FnOnce(Taken<'_>) -> T,
    ) -> Result<T, SendError> {
        let sent = self.producer.send(now, record)?;
        let slot = sent.id.batch.slot();
        if sent.id.index == 0 {
            if self.batches.len() <= slot {
                self.batches.resize_with(slot + 1, || None);
            }
            let topic = self.name(sent.topic);
            self.batches[slot] = Some(Batch::new(topic, sent.partition));
        }
        let batch = self.batches[slot].as_mut();
        let batch =
            batch.expect("a batch's first record makes its entry, and only the next batch of the slot takes it");
        Ok(report(Taken { batch, index: sent.id.index, timestamp: sent.timestamp }))
    }

    fn name(&mut self, topic: TopicIndex) -> Arc<str> {
        let index = topic.get();
        if self.names.len() <= index {
            self.names.resize(index + 1, None);
        }
        let producer = &self.producer;
        Arc::clone(self.names[index].get_or_insert_with(|| Arc::from(producer.topic_name(topic))))
    }

    /// The driver, if it is wanted and does not know yet.
    #[inline]
    fn wake(&mut self, now: Instant) -> Option<Calls> {
        if !self.producer.take_wake() {
            return None;
        }
        self.wanted_since.get_or_insert(now);
        self.driver()
    }

    fn driver(&self) -> Option<Calls> {
        Some(Calls { driver: self.driver.clone(), released: Vec::new() })
    }

    fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended | Life::Gone(_))
    }

    /// Why the machine refuses, as the application has to know it.
    fn error(&self, error: SendError) -> Error {
        match (&self.life, error) {
            (Life::Gone(why) | Life::Failing(why), SendError::Closed) => Error::Gone { why: why.clone() },
            (_, error) => Error::Send(error),
        }
    }

    /// If the driver is not at work, and that is why somebody waits.
    fn idle_driver(&self, now: Instant) -> Option<String> {
        let since = now.saturating_since(self.wanted_since?);
        if !self.driven && since > NEW_DRIVER {
            return Some(
                "the producer's driver was never polled: spawn it, or poll it beside other things".to_string(),
            );
        }
        let idle = since > IDLE_DRIVER;
        idle.then(|| {
            std::format!(
                "the producer's driver has not run for {} s; is it polled, and does every callback return?",
                since.as_secs()
            )
        })
    }

    /// What to wait for after this error, if that helps.
    fn wait_for(&mut self, sender: Sender, ticket: Option<&Arc<Ticket>>, error: SendError) -> Result<Wait, Error> {
        if let SendError::NotReady { topic } = error {
            return Ok(self.wait_for_topic(topic));
        }
        if let SendError::BufferFull { needed } = error {
            return Ok(self.wait_for_memory(sender, ticket, needed));
        }
        Err(self.error(error))
    }

    fn wait_for_memory(&mut self, sender: Sender, ticket: Option<&Arc<Ticket>>, needs: usize) -> Wait {
        let ticket = self.memory.park(sender, ticket, needs);
        self.producer.await_memory(needs);
        Wait::Memory(ticket)
    }

    /// After an attempt to send, or in its place: unless the caller waits on (`again`), it leaves the line for memory.
    #[inline]
    fn after_sending(&mut self, now: Instant, ticket: Option<&Arc<Ticket>>, again: bool) -> Option<Calls> {
        let calls = self.wake(now);
        match ticket {
            Some(ticket) if !again && self.memory.leave(ticket) => Some(self.left_the_line(now, calls)),
            _ => calls,
        }
    }

    fn left_the_line(&mut self, now: Instant, calls: Option<Calls>) -> Calls {
        let mut calls = calls.unwrap_or(Calls { driver: None, released: Vec::new() });
        self.memory_back = true;
        self.let_go(now, &mut calls.released);
        if self.memory.look_again().is_some() {
            calls.driver = self.driver.clone(); // it has to look again in time, whether some were let go or not
        }
        calls
    }

    /// Lets those go who wait for memory, if some came back.
    fn let_go(&mut self, now: Instant, released: &mut Vec<Arc<Ticket>>) {
        if core::mem::take(&mut self.memory_back) {
            self.memory.let_go(self.producer.free_memory(), self.memory_goal, now, released);
        }
        if let Some(needs) = self.memory.first_needs() {
            self.producer.await_memory(needs);
        }
    }

    fn wait_for_topic(&mut self, topic: TopicIndex) -> Wait {
        let waiter = Arc::new(Waiter::default());
        self.topics.entry(topic).or_default().push(Arc::clone(&waiter));
        Wait::Topic(topic, waiter)
    }

    /// Whoever waits for metadata looks again.
    fn release_metadata(&mut self, effects: &mut Effects) {
        effects.waiters.extend(self.listings.drain(..).map(|asked| Arc::clone(&asked.waiter)));
        effects.waiters.extend(self.pings.drain(..).map(|asked| Arc::clone(&asked.waiter)));
        effects.waiters.extend(core::mem::take(&mut self.topics).into_values().flatten());
    }

    /// It is over for senders: all of them look again.
    fn release_all(&mut self, effects: &mut Effects) {
        self.memory.release(&mut effects.memory);
        self.release_metadata(effects);
    }

    fn event(&mut self, event: Event, effects: &mut Effects) {
        match event {
            Event::Delivered(delivery) => {
                #[cfg(feature = "cluster")]
                let delivery = self.staged(delivery);
                if let (Err(error), true) = (&delivery.outcome, self.observer.is_some()) {
                    let records = delivery.records.len() as u32;
                    self.observed(Observation::NotDelivered { records, error: error.clone() }, effects);
                }
                if let Some(Some(batch)) = self.batches.get_mut(delivery.batch.slot()) {
                    effects.resolved.push(batch.resolve(delivery.records, delivery.outcome));
                }
            }
            Event::Flushed { id, failed } => {
                effects.flushes.extend(self.flushes.remove(&id).map(|flush| (flush, failed)))
            }
            Event::TopicReady { topic } | Event::TopicFailed { topic, .. } => {
                effects.waiters.extend(self.topics.remove(&topic).into_iter().flatten());
            }
            Event::TopicsListed(topics) => {
                for listing in &self.listings {
                    listing.set(Ok(topics.clone()));
                }
                effects.waiters.extend(self.listings.drain(..).map(|asked| Arc::clone(&asked.waiter)));
            }
            Event::TopicsNotListed(error) => {
                for listing in &self.listings {
                    listing.set(Err(error.to_string()));
                }
                effects.waiters.extend(self.listings.drain(..).map(|asked| Arc::clone(&asked.waiter)));
            }
            Event::Pong { round_trip } => {
                for ping in &self.pings {
                    ping.set(Ok(round_trip));
                }
                effects.waiters.extend(self.pings.drain(..).map(|asked| Arc::clone(&asked.waiter)));
            }
            Event::Writable { .. } => self.memory_back = true,
            Event::Closed => {
                if self.life == Life::Running {
                    self.life = Life::Closed;
                }
                self.release_all(effects);
            }
            Event::Fatal(error) => {
                self.observed(Observation::Fatal { error }, effects);
                self.release_all(effects);
            }
            Event::AccessDenied(error) => {
                self.observed(Observation::AccessDenied { error }, effects);
                self.release_metadata(effects);
            }
            Event::ConnectionFailed { host, port, error, .. } => {
                self.observed(Observation::ConnectionFailed { host, port, error }, effects);
            }
            Event::Throttled { node, pause } => self.observed(Observation::Throttled { node, pause }, effects),
            Event::Connected { server, .. } => self.observed(Observation::Connected { server }, effects),
            Event::Retried { topic, partition, code, attempt, records } => {
                let topic = self.name(topic);
                self.observed(Observation::Retried { topic, partition, code, attempt, records }, effects);
            }
            Event::LeaderMoved { topic, partition, leader } => {
                let topic = self.name(topic);
                self.observed(Observation::LeaderMoved { topic, partition, leader }, effects);
            }
            Event::ProducerIdChanged { producer_id, epoch } => {
                self.observed(Observation::ProducerIdChanged { producer_id, epoch }, effects);
            }
        }
    }

    /// The delivery, with the error that the test wants for the one that it stands for.
    #[cfg(feature = "cluster")]
    fn staged(&mut self, mut delivery: Delivery) -> Delivery {
        if let Err(error) = &mut delivery.outcome {
            if error.kind == DeliveryErrorKind::Refused(ErrorCode::INVALID_RECORD) {
                if let Some(staged) = self.staged.failure.take() {
                    let place = (core::mem::take(&mut error.topic), error.partition);
                    *error = staged;
                    if error.topic.is_empty() {
                        (error.topic, error.partition) = place;
                    }
                }
            }
        }
        delivery
    }

    fn observed(&self, what: Observation, effects: &mut Effects) {
        if let Some(observer) = &self.observer {
            effects.observations.add(observer, what);
        }
    }
}
