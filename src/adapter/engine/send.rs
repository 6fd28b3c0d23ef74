//! Records come in, and whoever has to wait before the machine takes one.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::completion::Accepted;
use super::super::error::Error;
use super::super::line::{Sender, Ticket};
use super::super::reports::{Batch, ByAck, Report, Taken};
use super::super::waiter::Wait;
use super::{Calls, Engine, State, make};
use crate::error::SendError;
use crate::record::Record;
use crate::time::Instant;

/// What became of an attempt to send.
pub(in crate::adapter) enum Attempt<T> {
    Accepted(T),
    Wait(Wait),
}

/// How many records of an iterator are sent under one lock, so that others get it in between.
pub(in crate::adapter) const PULLED: usize = 128;

/// What a sender wants to know is taken with its record, once.
fn take<R>(report: &mut Option<R>) -> R {
    report.take().expect("a report is taken with its record alone")
}

impl Engine {
    /// Hands a record to the machine. `waited`: what the caller waited for before, so that it keeps its place. `report` is
    /// taken with the record.
    #[inline]
    pub(in crate::adapter) fn try_send<R: Report>(
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
        let attempt = if state.memory.may_try(sender, ticket) {
            let free = state.producer.free_memory();
            match state.send(now, record, |taken| take(report).report(taken)) {
                Ok(accepted) => {
                    state.has_sent(sender, now, free);
                    Ok(Attempt::Accepted(accepted))
                }
                Err(error) => state.wait_for(sender, ticket, error).map(Attempt::Wait),
            }
        } else {
            state.wait_for_turn(sender, ticket, record).map(Attempt::Wait)
        };
        let calls = state.after_sending(now, ticket, matches!(attempt, Ok(Attempt::Wait(Wait::Memory(_)))));
        drop(state);
        make(calls);
        attempt
    }

    /// Hands a record to the machine, or says why not now, and gives the report back. Interceptors see it.
    pub(in crate::adapter) fn send_now<R: Report>(
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

    pub(super) fn take_now<T>(
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
            let needed = state.producer.size_at_most(record).map_err(Error::Send)?;
            return Err(Error::Send(SendError::BufferFull { needed }));
        }
        let free = state.producer.free_memory();
        let result = state.send(now, record, report).map_err(|error| state.error(error));
        let calls = if result.is_ok() {
            state.has_sent(sender, now, free);
            state.memory.forget_kept(sender);
            state.after_sending(now, ticket.as_ref(), false)
        } else {
            state.wake(now)
        };
        drop(state);
        make(calls);
        result
    }

    /// What to wait for until so many bytes of memory may be taken; `None` if they may be now, or no records are taken any more.
    pub(in crate::adapter) fn room(&self, sender: Sender, needed: usize) -> Option<Wait> {
        let now = self.clock.now();
        let mut state = self.lock();
        let needed = needed.min(state.producer.largest_room());
        let kept = state.memory.kept(sender);
        let has_room = state.memory.may_try(sender, None) && state.producer.free_memory() >= needed;
        if has_room || !state.producer.takes_records() {
            return None;
        }
        let wait = state.wait_for_memory(sender, kept.as_ref(), needed);
        let calls = state.after_sending(now, None, true);
        drop(state);
        make(calls);
        Some(wait)
    }

    /// Whoever waited for room was let go, and is going to try.
    pub(in crate::adapter) fn keep_place(&self, wait: &Wait) {
        if let Some(ticket) = wait.ticket() {
            self.lock().memory.keep(Arc::clone(ticket));
        }
    }

    /// Hands many records to the machine under one lock, until one can't be taken now. Calls `accepted` for each that is, in
    /// order. Returns what to wait for, if anything.
    pub(in crate::adapter) fn send_many(
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
                outcome = state.wait_for_turn(sender, ticket, record).map(Some);
                break;
            }
            let free = state.producer.free_memory();
            match state.send(now, record, |taken| ByAck.report(taken)) {
                Ok(sent) => {
                    state.has_sent(sender, now, free);
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
}

impl State {
    /// `report` is called if the record is taken.
    pub(super) fn send<T>(
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
            self.batches[slot] = Some(Batch::new(topic, sent.partition, self.spares.take()));
        }
        let batch = self.batches[slot].as_mut();
        let batch =
            batch.expect("a batch's first record makes its entry, and only the next batch of the slot takes it");
        Ok(report(Taken { batch, index: sent.id.index, timestamp: sent.timestamp }))
    }

    /// What to wait for after this error, if that helps.
    pub(super) fn wait_for(
        &mut self,
        sender: Sender,
        ticket: Option<&Arc<Ticket>>,
        error: SendError,
    ) -> Result<Wait, Error> {
        if let SendError::NotReady { topic } = error {
            return Ok(self.wait_for_topic(topic));
        }
        if let SendError::BufferFull { needed } = error {
            return Ok(self.wait_for_memory(sender, ticket, needed));
        }
        Err(self.error(error))
    }

    /// Others are before this one. A record that will be refused anyway does not join them.
    fn wait_for_turn(
        &mut self,
        sender: Sender,
        ticket: Option<&Arc<Ticket>>,
        record: &Record<'_>,
    ) -> Result<Wait, Error> {
        let needs = self.producer.size_at_most(record).map_err(|error| self.error(error))?;
        Ok(self.wait_for_memory(sender, ticket, needs))
    }

    pub(super) fn wait_for_memory(&mut self, sender: Sender, ticket: Option<&Arc<Ticket>>, needs: usize) -> Wait {
        let ticket = self.memory.park(sender, ticket, needs);
        self.memory_back |= self.memory.turns_are_over();
        self.await_memory(needs);
        Wait::Memory(ticket)
    }

    /// Lets the machine send what it holds, if memory is short: not for those who only wait for their turn.
    fn await_memory(&mut self, needs: usize) {
        if self.producer.free_memory() < needs.max(self.memory_goal) {
            self.producer.await_memory(needs);
        }
    }

    /// `free`: bytes that were free before. Memory is taken in chunks, so most records take none.
    #[inline]
    fn has_sent(&mut self, sender: Sender, now: Instant, free: usize) {
        let State { producer, memory, .. } = self;
        if memory.sent(sender, now, || free.saturating_sub(producer.free_memory())) {
            self.memory_back = true;
        }
    }

    /// After an attempt to send, or in its place: unless the caller waits on (`again`), it leaves the line for memory. Whoever waits
    /// there may be let go for one of both.
    #[inline]
    pub(super) fn after_sending(&mut self, now: Instant, ticket: Option<&Arc<Ticket>>, again: bool) -> Option<Calls> {
        if let Some(ticket) = ticket.filter(|_| !again) {
            self.memory_back |= self.memory.leave(ticket);
        }
        if self.memory_back { Some(self.hand_over(now)) } else { self.wake(now) }
    }

    #[cold]
    fn hand_over(&mut self, now: Instant) -> Calls {
        let mut released = Vec::new();
        self.let_go(now, &mut released);
        let calls = self.wake(now).unwrap_or(Calls { driver: None, released: Vec::new() });
        let sooner = match (self.memory.look_again(), self.idle_until) {
            (Some(look), Some(until)) => look < until,
            (look, _) => look.is_some(),
        };
        let driver = calls.driver.or_else(|| self.driver.clone().filter(|_| sooner));
        Calls { driver, released }
    }

    /// Lets those go who wait for memory, if some came back.
    pub(super) fn let_go(&mut self, now: Instant, released: &mut Vec<Arc<Ticket>>) {
        if core::mem::take(&mut self.memory_back) {
            self.memory.let_go(self.producer.free_memory(), self.memory_goal, now, released);
        }
        if let Some(needs) = self.memory.first_needs() {
            self.await_memory(needs);
        }
    }
}
