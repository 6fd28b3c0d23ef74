//! The driver's side: what happened goes in, what is to be done and who is to be told come out; and what becomes of everybody when
//! the driver is gone.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;
use core::time::Duration;

use super::super::clock;
use super::super::effects::Effects;
use super::super::observer::Observation;
use super::{Engine, Life, State, make};
use crate::event::{Event, Input, Output};
use crate::planted::planted;
use crate::time::Instant;

/// How often the time of day is looked at again, so that timestamps follow it.
const TIME_OF_DAY_EVERY: Duration = Duration::from_secs(10);

/// How things are after a drain.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::adapter) struct Drained {
    /// Until when there is nothing to do.
    pub(in crate::adapter) until: Option<Instant>,
    /// The machine is closed, so the driver may end.
    pub(in crate::adapter) closed: bool,
    /// It is not to wait for other sides before that.
    pub(in crate::adapter) hurry: bool,
    /// The driver was given up.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(in crate::adapter) ended: bool,
}

impl Engine {
    /// Who is woken when there is something to do.
    pub(in crate::adapter) fn set_driver(&self, waker: &Waker) {
        let mut state = self.lock();
        if state.driver.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            state.driver = Some(waker.clone());
        }
    }

    /// The driver is a thread of the adapter's own: nobody has to poll it.
    #[cfg(feature = "threads")]
    pub(in crate::adapter) fn drives_itself(&self) {
        self.lock().driven = true;
    }

    /// Tells the machine what happened.
    pub(in crate::adapter) fn input(&self, input: Input<'_>) {
        let now = self.clock.now();
        self.lock().producer.handle_input(now, input);
    }

    /// As [`input`](Self::input), from any thread: the driver is woken if it has to act on it.
    pub(in crate::adapter) fn input_from_outside(&self, input: Input<'_>) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.producer.handle_input(now, input);
        let calls = state.wake(now);
        drop(state);
        make(calls);
    }

    /// Drains the machine: commands go to `commands`, events to those who wait for them. `effects` are to be run afterwards, without
    /// the lock.
    pub(in crate::adapter) fn drain(&self, commands: &mut Vec<Output>, effects: &mut Effects) -> Drained {
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
                Output::Wait(until) => {
                    if state.memory.look_again().is_some_and(|at| at <= now) {
                        state.memory_back = true;
                    }
                    state.let_go(now, &mut effects.memory);
                    // For those who still wait, more may have to leave.
                    if !state.producer.take_wake() {
                        break until;
                    }
                }
                command @ (Output::Connect { .. }
                | Output::Disconnect(_)
                | Output::Transmit(_)
                | Output::Job(_)
                | Output::Token { .. }) => commands.push(command),
            }
        };
        effects.over.append(&mut state.producer.take_over());
        state.spares.keep(effects.spare.drain(..));
        state.idle_until = [until, state.memory.look_again()].into_iter().flatten().min();
        Drained {
            until: state.idle_until,
            closed: state.life != Life::Running,
            hurry: state.hurry,
            #[cfg(any(feature = "tokio", feature = "smol"))]
            ended: state.has_ended(),
        }
    }

    /// The driver is gone, for this reason: whoever waits for it is told. Says nothing new if it ended because it was closed.
    pub(in crate::adapter) fn end(&self, why: &str) {
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
    pub(in crate::adapter) fn give_up_the_driver(&self, why: &str) {
        self.fail_what_is_open(why);
        self.say_that_it_has_ended();
    }

    pub(super) fn fail_what_is_open(&self, why: &str) {
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
    pub(super) fn say_that_it_has_ended(&self) {
        let mut effects = Effects::default();
        let mut state = self.lock();
        effects.waiters.append(&mut state.closing);
        if planted("late-closers-are-forgotten") {
            drop(state);
            state = self.lock();
        }
        state.life = match core::mem::replace(&mut state.life, Life::Ended) {
            Life::Failing(why) | Life::Gone(why) => Life::Gone(why),
            Life::Running | Life::Closed | Life::Ended => Life::Ended,
        };
        effects.flushes.extend(core::mem::take(&mut state.flushes).into_values().map(|flush| (flush, 0)));
        drop(state);
        effects.run();
    }
}

impl State {
    /// Whoever waits for metadata looks again.
    pub(super) fn release_metadata(&mut self, effects: &mut Effects) {
        effects.waiters.extend(self.listings.drain(..).map(|asked| Arc::clone(&asked.waiter)));
        effects.waiters.extend(self.pings.drain(..).map(|asked| Arc::clone(&asked.waiter)));
        effects.waiters.extend(core::mem::take(&mut self.topics).into_values().flatten());
    }

    /// It is over for senders: all of them look again.
    pub(super) fn release_all(&mut self, effects: &mut Effects) {
        self.memory.release(&mut effects.memory);
        self.release_metadata(effects);
    }

    pub(super) fn event(&mut self, event: Event, effects: &mut Effects) {
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

    pub(super) fn observed(&self, what: Observation, effects: &mut Effects) {
        if let Some(observer) = &self.observer {
            effects.observations.add(observer, what);
        }
    }
}
