//! The machine behind a lock, and everybody who waits for it. Nothing here touches a socket.
//!
//! Senders call [`Engine::try_send`] and, where that says so, wait: for a topic (first come, first served), or for memory
//! (one queue; a new record never passes a parked one). The driver calls [`Engine::input`] and [`Engine::drain`].

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZero;
use core::ops::{Deref, DerefMut};
use core::task::Waker;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock::{self, Clock};
use super::completion::{Accepted, Callback, Calls, Completion, Place, gone};
use super::error::Error;
use super::holds::{Holds, LockHolds};
use super::interceptor::Interceptors;
use super::setup::{Setup, SetupError, TokenProvider};
use super::waiter::{Flush, Listing, Wait, Waiter};
use crate::error::{ErrorCode, SendError};
use crate::event::{Event, FlushId, Input, Output, PartitionInfo, TopicIndex};
use crate::producer::{Producer, Stats};
use crate::record::Record;
use crate::time::Instant;

/// How often the time of day is looked at again, so that timestamps follow it.
const TIME_OF_DAY_EVERY: Duration = Duration::from_secs(10);

/// Threads for compression, at most, where `compression.jobs` does not say.
const MOST_JOBS: usize = 4;

/// The shared part of an adapter.
#[derive(Debug)]
pub(super) struct Engine {
    state: Mutex<State>,
    clock: Clock,
    max_block: Duration,
    jobs: usize,
    tokens: Mutex<Option<Box<dyn TokenProvider>>>,
    interceptors: Interceptors,
    holds: Option<Holds>,
    /// For the next connection; `None` if they are not encrypted.
    #[cfg(feature = "tls")]
    tls: Mutex<Option<Arc<rustls::ClientConfig>>>,
}

#[derive(Debug)]
struct State {
    producer: Producer,
    /// By slot.
    completions: Vec<Option<Arc<Completion>>>,
    /// By topic index.
    names: Vec<Option<Arc<str>>>,
    topics: BTreeMap<TopicIndex, Vec<Arc<Waiter>>>,
    listings: Vec<Arc<Listing>>,
    memory: VecDeque<Arc<Waiter>>,
    flushes: BTreeMap<FlushId, Arc<Flush>>,
    closing: Vec<Arc<Waiter>>,
    driver: Option<Waker>,
    /// Why a server could last not be talked to.
    trouble: Option<String>,
    told_time_at: Instant,
    ended: bool,
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
pub(super) enum Attempt {
    Accepted(Accepted),
    Wait(Wait),
}

/// Things to do once the lock is released.
#[derive(Default)]
pub(super) struct Effects {
    calls: Calls,
    waiters: Vec<Arc<Waiter>>,
    flushes: Vec<Arc<Flush>>,
    listings: Vec<Arc<Listing>>,
}

impl Effects {
    pub(super) fn run(&mut self) {
        for waiter in self.waiters.drain(..) {
            waiter.raise();
        }
        for flush in self.flushes.drain(..) {
            flush.waiter.raise();
        }
        for listing in self.listings.drain(..) {
            listing.waiter.raise();
        }
        self.calls.run();
    }
}

impl Engine {
    pub(super) fn new(setup: Setup) -> Result<Self, SetupError> {
        setup.check()?;
        #[cfg(feature = "tls")]
        let tls = Mutex::new(setup.tls_config()?);
        #[cfg(not(feature = "tls"))]
        setup.check_tls()?;
        let Setup { mut config, partitioner, mechanism, tokens, interceptors, measure_lock, .. } = setup;
        let clock = Clock::start();
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = *config.jobs.get_or_insert_with(|| cores().min(MOST_JOBS));
        let max_block = config.max_block();
        let mut producer = Producer::new(clock.now(), Some(clock::time_of_day()), config, clock::seed()?);
        if let Some(partitioner) = partitioner {
            producer.set_partitioner(partitioner);
        }
        if let Some(mechanism) = mechanism {
            producer.set_sasl_mechanism(mechanism);
        }
        let state = State {
            producer,
            completions: Vec::new(),
            names: Vec::new(),
            topics: BTreeMap::new(),
            listings: Vec::new(),
            memory: VecDeque::new(),
            flushes: BTreeMap::new(),
            closing: Vec::new(),
            driver: None,
            trouble: None,
            told_time_at: Instant::ZERO,
            ended: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            clock,
            max_block,
            jobs,
            tokens: Mutex::new(tokens),
            interceptors: Interceptors::new(interceptors),
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

    /// Hands a record to the machine. `waited`: what the caller waited for before, so that it keeps its place. `callback` is
    /// taken with the record.
    pub(super) fn try_send(
        &self,
        record: &Record<'_>,
        waited: Option<&Wait>,
        callback: &mut Option<Callback>,
    ) -> Result<Attempt, SendError> {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.must_queue(waited) {
            return Ok(Attempt::Wait(state.wait_for_memory(waited)));
        }
        let attempt = match state.send(now, record, callback) {
            Ok(accepted) => Ok(Attempt::Accepted(accepted)),
            Err(SendError::NotReady { topic }) => Ok(Attempt::Wait(state.wait_for_topic(topic))),
            Err(SendError::BufferFull { .. }) => Ok(Attempt::Wait(state.wait_for_memory(waited))),
            Err(error) => Err(error),
        };
        let next = match &attempt {
            Ok(Attempt::Wait(Wait::Memory(_))) => None,
            _ => state.leave_memory(waited),
        };
        let wake = state.wake();
        drop(state);
        finish(next, wake);
        attempt
    }

    /// Hands a record to the machine, or says why not now.
    pub(super) fn send_now(&self, record: &Record<'_>, mut callback: Option<Callback>) -> Result<Accepted, SendError> {
        let now = self.clock.now();
        let mut state = self.lock();
        if !state.memory.is_empty() {
            return Err(SendError::BufferFull { needed: 0 });
        }
        let result = state.send(now, record, &mut callback);
        let wake = state.wake();
        drop(state);
        finish(None, wake);
        result
    }

    /// Hands many records to the machine under one lock, until one can't be taken now. Calls `accepted` for each.
    pub(super) fn send_many<'a>(
        &self,
        records: &mut core::iter::Peekable<impl Iterator<Item = Record<'a>>>,
        waited: Option<&Wait>,
        mut accepted: impl FnMut(Accepted),
    ) -> Result<Option<Wait>, SendError> {
        let mut left = 256; // so that others get the lock in between
        while left > 0 {
            let now = self.clock.now();
            let mut state = self.lock();
            if state.must_queue(waited) {
                return Ok(Some(state.wait_for_memory(waited)));
            }
            let mut outcome = None;
            while let Some(record) = records.peek().filter(|_| left > 0) {
                match state.send(now, record, &mut None) {
                    Ok(sent) => accepted(sent),
                    Err(SendError::NotReady { topic }) => {
                        outcome = Some(Ok(Some(state.wait_for_topic(topic))));
                        break;
                    }
                    Err(SendError::BufferFull { .. }) => {
                        outcome = Some(Ok(Some(state.wait_for_memory(waited))));
                        break;
                    }
                    Err(error) => {
                        outcome = Some(Err(error));
                        break;
                    }
                }
                records.next();
                left -= 1;
            }
            let next = match &outcome {
                Some(Ok(Some(Wait::Memory(_)))) => None,
                _ => state.leave_memory(waited),
            };
            let wake = state.wake();
            drop(state);
            finish(next, wake);
            if let Some(outcome) = outcome {
                return outcome;
            }
            if records.peek().is_none() {
                return Ok(None);
            }
            left = 256;
        }
        Ok(None)
    }

    /// Whoever waited does so no longer, without having sent.
    pub(super) fn give_up(&self, wait: &Wait) {
        let mut state = self.lock();
        let next = match wait {
            Wait::Memory(_) => state.leave_memory(Some(wait)),
            Wait::Listing(listing) => {
                state.listings.retain(|other| !Arc::ptr_eq(other, listing));
                None
            }
            Wait::Topic(topic, waiter) => {
                if let Some(waiters) = state.topics.get_mut(topic) {
                    waiters.retain(|other| !Arc::ptr_eq(other, waiter));
                }
                None
            }
        };
        drop(state);
        finish(next, None);
    }

    /// The error for a wait that took all of `max.block.ms`.
    pub(super) fn too_long(&self, topic: &str, wait: &Wait) -> Error {
        let state = self.lock();
        let after = self.max_block;
        match wait {
            Wait::Memory(_) => Error::BufferFull { after, why: state.trouble.clone() },
            Wait::Listing(_) => Error::NoMetadata { after, why: state.trouble.clone() },
            Wait::Topic(index, _) => {
                let said =
                    state.producer.topic_error(*index).map(|code: ErrorCode| std::format!("the cluster says {code}"));
                Error::TopicUnknown { topic: topic.to_string(), after, why: said.or_else(|| state.trouble.clone()) }
            }
        }
    }

    /// The topic's partitions, or what to wait for.
    pub(super) fn partitions(&self, topic: &str, asked: bool) -> Result<Result<Vec<PartitionInfo>, Wait>, SendError> {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(partitions) = state.producer.partitions(topic) {
            return Ok(Ok(partitions));
        }
        if let Some(code) = state.producer.topic_refusal(topic).filter(|_| asked) {
            return Err(SendError::TopicFailed(code));
        }
        let index = state.producer.want_topic(now, topic)?;
        let wait = state.wait_for_topic(index);
        let wake = state.wake();
        drop(state);
        finish(None, wake);
        Ok(Err(wait))
    }

    /// Asks for the list of topics.
    pub(super) fn list_topics(&self) -> Result<Arc<Listing>, SendError> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.producer.list_topics(now)?;
        let listing = Arc::new(Listing::default());
        state.listings.push(Arc::clone(&listing));
        let wake = state.wake();
        drop(state);
        finish(None, wake);
        Ok(listing)
    }

    /// Begins a flush.
    pub(super) fn flush(&self) -> Arc<Flush> {
        let now = self.clock.now();
        let mut state = self.lock();
        let flush = Arc::new(Flush::default());
        let id = state.producer.flush(now);
        if state.ended {
            flush.end(0);
            flush.waiter.raise();
        } else {
            state.flushes.insert(id, Arc::clone(&flush));
        }
        state.wake();
        let wake = state.driver.clone(); // even if the machine has nothing new to say: a mock does more in a flush
        drop(state);
        finish(None, wake);
        flush
    }

    /// Begins to close. `None` if it is over already.
    pub(super) fn close(&self, abort: bool) -> Option<Arc<Waiter>> {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.ended {
            return None;
        }
        if abort {
            state.producer.abort(now)
        } else {
            state.producer.close(now)
        }
        let waiter = Arc::new(Waiter::default());
        state.closing.push(Arc::clone(&waiter));
        let wake = state.wake();
        drop(state);
        finish(None, wake);
        Some(waiter)
    }

    /// Whether the driver has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
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
        let wake = state.wake();
        drop(state);
        finish(None, wake);
    }

    /// Asks the application for a token and hands it in, or why there is none.
    pub(super) fn fetch_token(&self) {
        let token = match &mut *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Err("sasl.mechanism=OAUTHBEARER needs a milena::TokenProvider".to_string()),
            Some(tokens) => tokens.token(),
        };
        match token {
            Ok(token) => self.input_from_outside(Input::Token(Ok(token))),
            Err(words) => self.input_from_outside(Input::Token(Err(&words))),
        }
    }

    /// The TLS configuration for the next connection.
    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the credentials, certificates and trust of another configuration, from the next connection on.
    pub(super) fn renew(&self, setup: Setup) -> Result<(), SetupError> {
        #[cfg(feature = "tls")]
        {
            let made = setup.tls_config()?;
            let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
            if tls.is_some() != made.is_some() {
                return Err(std::io::Error::other("security.protocol can't be changed while the producer runs").into());
            }
            *tls = made;
        }
        let Setup { config, tokens, .. } = setup;
        if let Some(tokens) = tokens {
            *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokens);
        }
        if let Some(sasl) = config.sasl {
            self.lock().producer.set_sasl(sasl);
        }
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
        if now.saturating_since(state.told_time_at) > TIME_OF_DAY_EVERY {
            state.told_time_at = now;
            state.producer.handle_input(now, Input::WallClock(clock::time_of_day()));
        }
        loop {
            match state.producer.poll_output() {
                Output::Event(event) => state.event(event, effects),
                Output::Wait(until) => return until,
                command @ (Output::Connect { .. }
                | Output::Disconnect(_)
                | Output::Transmit(_)
                | Output::Job(_)
                | Output::Token { .. }) => commands.push(command),
            }
        }
    }

    /// The driver is gone: whoever waits for it is told.
    pub(super) fn end(&self) {
        let mut effects = Effects::default();
        let now = self.clock.now();
        let mut state = self.lock();
        state.ended = true;
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
        for (_, flush) in core::mem::take(&mut state.flushes) {
            flush.end(0);
            effects.flushes.push(flush);
        }
        for completion in state.completions.drain(..).flatten() {
            completion.complete(0..u32::MAX, gone(), &mut effects.calls);
        }
        drop(state);
        effects.run();
    }
}

fn finish(next: Option<Arc<Waiter>>, wake: Option<Waker>) {
    if let Some(waker) = wake {
        waker.wake();
    }
    if let Some(next) = next {
        next.raise();
    }
}

impl State {
    fn send(
        &mut self,
        now: Instant,
        record: &Record<'_>,
        callback: &mut Option<Callback>,
    ) -> Result<Accepted, SendError> {
        let sent = self.producer.send(now, record)?;
        let slot = sent.id.batch.slot();
        if sent.id.index == 0 {
            if self.completions.len() <= slot {
                self.completions.resize(slot + 1, None);
            }
            self.completions[slot] = Some(Arc::new(Completion::default()));
        }
        let completion = self.completions[slot].as_ref().map(Arc::clone);
        let completion =
            completion.expect("a batch's first record makes its completion, and only its last delivery takes it");
        let topic = self.name(sent.topic);
        let place = Place { topic, partition: sent.partition, timestamp: sent.timestamp };
        if let Some(callback) = callback.take() {
            completion.call(sent.id.index, place.clone(), callback);
        }
        Ok(Accepted { completion, index: sent.id.index, place })
    }

    fn name(&mut self, topic: TopicIndex) -> Arc<str> {
        let index = topic.get();
        if self.names.len() <= index {
            self.names.resize(index + 1, None);
        }
        let producer = &self.producer;
        Arc::clone(self.names[index].get_or_insert_with(|| Arc::from(producer.topic_name(topic))))
    }

    fn wake(&mut self) -> Option<Waker> {
        if self.producer.take_wake() { self.driver.clone() } else { None }
    }

    /// Others wait for memory, and were there before.
    fn must_queue(&self, waited: Option<&Wait>) -> bool {
        match (self.memory.front(), waited) {
            (None, _) => false,
            (Some(first), Some(Wait::Memory(waiter))) => !Arc::ptr_eq(first, waiter),
            (Some(_), _) => true,
        }
    }

    fn wait_for_memory(&mut self, waited: Option<&Wait>) -> Wait {
        if let Some(wait @ Wait::Memory(waiter)) = waited {
            if self.memory.iter().any(|other| Arc::ptr_eq(other, waiter)) {
                return wait.clone();
            }
        }
        let waiter = Arc::new(Waiter::default());
        self.memory.push_back(Arc::clone(&waiter));
        Wait::Memory(waiter)
    }

    /// Leaves the queue for memory; the next one in it may try.
    fn leave_memory(&mut self, waited: Option<&Wait>) -> Option<Arc<Waiter>> {
        let Some(Wait::Memory(waiter)) = waited else {
            return None;
        };
        let place = self.memory.iter().position(|other| Arc::ptr_eq(other, waiter))?;
        self.memory.remove(place);
        if place == 0 { self.memory.front().cloned() } else { None }
    }

    fn wait_for_topic(&mut self, topic: TopicIndex) -> Wait {
        let waiter = Arc::new(Waiter::default());
        self.topics.entry(topic).or_default().push(Arc::clone(&waiter));
        Wait::Topic(topic, waiter)
    }

    /// Whoever waits for metadata looks again.
    fn release_metadata(&mut self, effects: &mut Effects) {
        effects.listings.append(&mut self.listings);
        effects.waiters.extend(core::mem::take(&mut self.topics).into_values().flatten());
    }

    /// It is over: everybody looks again.
    fn release_all(&mut self, effects: &mut Effects) {
        effects.waiters.append(&mut self.closing);
        effects.waiters.extend(self.memory.drain(..));
        self.release_metadata(effects);
    }

    fn event(&mut self, event: Event, effects: &mut Effects) {
        match event {
            Event::Delivered(delivery) => {
                let slot = delivery.batch.slot();
                if let Some(Some(completion)) = self.completions.get(slot) {
                    completion.complete(delivery.records, delivery.outcome, &mut effects.calls);
                }
            }
            Event::Flushed { id, failed } => {
                if let Some(flush) = self.flushes.remove(&id) {
                    flush.end(failed);
                    effects.flushes.push(flush);
                }
            }
            Event::TopicReady { topic } | Event::TopicFailed { topic, .. } => {
                effects.waiters.extend(self.topics.remove(&topic).into_iter().flatten());
            }
            Event::TopicsListed(topics) => {
                for listing in &self.listings {
                    listing.answer(topics.clone());
                }
                effects.listings.append(&mut self.listings);
            }
            Event::Writable { .. } => effects.waiters.extend(self.memory.front().cloned()),
            Event::Closed => {
                self.ended = true;
                self.release_all(effects);
            }
            Event::Fatal(error) => {
                self.trouble = Some(error.to_string());
                self.release_metadata(effects);
                effects.waiters.extend(self.memory.front().cloned());
            }
            Event::ConnectionFailed { host, port, error, .. } => {
                self.trouble = Some(std::format!("{host}:{port}: {error}"));
            }
            Event::AccessDenied(error) => {
                self.trouble = Some(error.to_string());
                self.release_metadata(effects);
            }
            Event::Throttled { .. } => {}
        }
    }
}
