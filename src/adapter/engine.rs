//! The machine behind a lock, and everybody who waits for it. Nothing here touches a socket, and nothing of the application's
//! runs with the lock held but a partitioner.
//!
//! Senders call [`Engine::try_send`] (room [`send`]) and, where that says so, wait: for a topic (first come, first served), or for
//! memory (see [`line`](super::line)). What else applications ask and wait for is in [`ask`]; the driver calls [`Engine::input`] and
//! [`Engine::drain`] ([`drive`]); `staged` is what a test orders of a mock.

mod ask;
mod drive;
mod send;
#[cfg(feature = "cluster")]
mod staged;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZero;
use core::ops::{Deref, DerefMut};
use core::task::Waker;
use core::time::Duration;

use super::callbacks::Spares;
use super::clock::{self, Clock};
use super::error::Error;
use super::holds::{Holds, LockHolds};
use super::interceptor::Interceptors;
use super::line::{Line, Ticket};
use super::observer::Observer;
use super::reports::Batch;
use super::setup::{Setup, SetupError};
use super::sync::{Mutex, MutexGuard, PoisonError};
use super::tokens::Tokens;
use super::traces;
use super::waiter::{Asked, Flush, Waiter};
use crate::config::{Acks, SecurityProtocol};
use crate::error::SendError;
use crate::event::TopicListing;
use crate::ids::{FlushId, TopicIndex};
use crate::metrics::{Metrics, Stats, Waits};
use crate::producer::Producer;
use crate::status::Status;
use crate::time::Instant;

pub(super) use drive::Drained;
pub(super) use send::{Attempt, PULLED};
#[cfg(feature = "cluster")]
use staged::Staged;

/// Threads for compression, at most, where `compression.jobs` does not say.
const MOST_JOBS: usize = 4;

/// Of `buffer.memory`, the part that should be free before those who wait for it are let go, so that each of them can send more
/// than a record; and the most that is waited for.
const GOAL: (usize, usize) = (4, 1 << 20);

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
    spares: Spares,
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
    /// Until when the driver was told that there is nothing to do.
    idle_until: Option<Instant>,
    told_time_at: Instant,
    life: Life,
    /// What a mock was told to make of what comes.
    #[cfg(feature = "cluster")]
    staged: Staged,
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
    /// Dropped before the lock is released.
    _measured: Option<Measured<'a>>,
    state: MutexGuard<'a, State>,
}

/// Notes how long the lock was held.
struct Measured<'a> {
    holds: &'a Holds,
    clock: Clock,
    since: Instant,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.holds.note(self.clock.now().as_nanos().saturating_sub(self.since.as_nanos()));
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
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
            spares: Spares::default(),
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
            idle_until: None,
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

    #[inline]
    fn lock(&self) -> Locked<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { _measured: self.holds.as_ref().map(|holds| self.measured(holds)), state }
    }

    #[cold]
    fn measured<'a>(&self, holds: &'a Holds) -> Measured<'a> {
        Measured { holds, clock: self.clock, since: self.clock.now() }
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

    /// There are no brokers behind it, so that a runtime's time is as good as the real one, and no driver that has an eye on time.
    #[cfg(feature = "cluster")]
    pub(super) fn into_mock(self) -> Self {
        self.lock().memory = Line::without_time();
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

    /// Whether the driver has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended()
    }

    /// Whether the machine is closed.
    #[cfg(feature = "cluster")]
    pub(super) fn is_closed(&self) -> bool {
        self.lock().life != Life::Running
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

    /// The brokers that are known.
    pub(super) fn brokers(&self) -> Vec<(i32, String, u16)> {
        let state = self.lock();
        state.producer.brokers().into_iter().map(|(id, host, port)| (id, host.to_string(), port)).collect()
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
}

/// Who is to be called once the lock is released: mostly nobody.
struct Calls {
    driver: Option<Waker>,
    released: Vec<Arc<Ticket>>,
}

/// Not to be called with the lock held.
#[inline]
fn make(calls: Option<Calls>) {
    if let Some(calls) = calls {
        calls.make();
    }
}

impl Calls {
    #[cold]
    fn make(self) {
        if let Some(waker) = self.driver {
            waker.wake();
        }
        for ticket in self.released {
            ticket.waiter.raise();
        }
    }
}

impl State {
    #[cold]
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
        self.producer.take_wake().then(|| self.wanted(now))
    }

    #[cold]
    fn wanted(&mut self, now: Instant) -> Calls {
        self.wanted_since.get_or_insert(now);
        Calls { driver: self.driver.clone(), released: Vec::new() }
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
}
