//! What handles and runner share: the machine, and who waits for it.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::mem;
use core::task::Waker;

use milena::{Event, FlushId, Input, Instant, Producer, TopicIndex};

use crate::clock::Clock;
use crate::completion::{Ack, Completion};
use crate::error::Trouble;
use crate::line::Line;

/// Names one who waits.
pub(crate) type Ticket = u64;

/// Wakers to be woken or dropped once nothing is borrowed any more: either may run code of the executor, and that a task's.
#[derive(Debug, Default)]
pub(crate) struct Later {
    wake: Vec<Waker>,
    drop: Vec<Waker>,
}

impl Later {
    pub(crate) fn wake(&mut self, waker: Waker) {
        self.wake.push(waker);
    }

    pub(crate) fn drop(&mut self, waker: Waker) {
        self.drop.push(waker);
    }

    /// Another waker in place of one.
    pub(crate) fn replace(&mut self, old: &mut Waker, new: &Waker) {
        if !old.will_wake(new) {
            self.drop.push(mem::replace(old, new.clone()));
        }
    }

    pub(crate) fn run(self) {
        drop(self.drop);
        self.wake.into_iter().for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(crate) fn woken(&self) -> usize {
        self.wake.len()
    }
}

/// Handles and runner have it.
#[derive(Debug)]
pub(crate) struct Shared<C> {
    pub(crate) clock: C,
    inner: RefCell<Inner>,
}

/// The machine, and who waits for it.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) machine: Producer,
    /// By their slots.
    batches: Vec<Option<Rc<Completion>>>,
    pub(crate) line: Line,
    /// Who waits for a topic.
    pub(crate) topics: Vec<(Ticket, Waker)>,
    flushes: Vec<(FlushId, Option<u64>, Option<Waker>)>,
    /// Who waits for the end.
    closers: Vec<(Ticket, Waker)>,
    tickets: Ticket,
    runner: Option<Waker>,
    /// The runner has something to do.
    woken: bool,
    /// The runner is gone.
    pub(crate) gone: bool,
    pub(crate) trouble: Option<Trouble>,
}

impl<C: Clock> Shared<C> {
    pub(crate) fn new(clock: C, machine: Producer) -> Self {
        let inner = Inner {
            machine,
            batches: Vec::new(),
            line: Line::default(),
            topics: Vec::new(),
            flushes: Vec::new(),
            closers: Vec::new(),
            tickets: 0,
            runner: None,
            woken: true,
            gone: false,
            trouble: None,
        };
        Self { clock, inner: RefCell::new(inner) }
    }

    /// Looks at what is shared, or changes it. Not to be called inside itself.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Inner, Instant, &mut Later) -> T) -> T {
        let mut later = Later::default();
        let now = self.clock.now();
        let result = change(&mut self.inner.borrow_mut(), now, &mut later);
        later.run();
        result
    }

    /// Tells the machine, and wakes the runner, which drains.
    pub(crate) fn input(&self, input: Input<'_>) {
        self.with(|inner, now, later| {
            inner.machine.handle_input(now, input);
            inner.wake_runner(later);
        });
    }

    pub(crate) fn wake_runner(&self) {
        self.with(|inner, _, later| inner.wake_runner(later));
    }
}

impl Inner {
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    /// Something changed that the runner has to look at.
    pub(crate) fn wake_runner(&mut self, later: &mut Later) {
        self.woken = true;
        if let Some(runner) = &self.runner {
            later.wake(runner.clone());
        }
    }

    /// Someone called the machine: the runner is woken if it has to do something about it.
    pub(crate) fn called(&mut self, later: &mut Later) {
        if self.machine.take_wake() {
            self.wake_runner(later);
        }
    }

    /// Whether the runner was woken since this was last asked. This is its task's waker.
    pub(crate) fn take_woken(&mut self, waker: &Waker, later: &mut Later) -> bool {
        match &mut self.runner {
            Some(runner) => later.replace(runner, waker),
            None => self.runner = Some(waker.clone()),
        }
        mem::take(&mut self.woken)
    }

    /// A record was taken.
    pub(crate) fn accepted(&mut self, sent: &milena::Sent) -> Ack {
        let slot = sent.id.batch.slot();
        if self.batches.len() <= slot {
            self.batches.resize_with(slot + 1, || None);
        }
        let batch = &mut self.batches[slot];
        if sent.id.index == 0 {
            *batch = None;
        }
        let completion = batch.get_or_insert_default();
        completion.accept();
        Ack::new(Rc::clone(completion), sent)
    }

    pub(crate) fn begin_flush(&mut self, now: Instant, later: &mut Later) -> FlushId {
        let id = self.machine.flush(now);
        self.flushes.push((id, None, None));
        self.called(later);
        id
    }

    /// How many records of a flush failed, if it is over.
    pub(crate) fn poll_flush(&mut self, id: FlushId, waker: &Waker, later: &mut Later) -> Option<u64> {
        let (_, failed, waiting) = self.flushes.iter_mut().find(|(other, ..)| *other == id)?;
        if failed.is_none() {
            match waiting {
                Some(waiting) => later.replace(waiting, waker),
                None => *waiting = Some(waker.clone()),
            }
        }
        *failed
    }

    /// Nobody waits for the flush any more.
    pub(crate) fn end_flush(&mut self, id: FlushId, later: &mut Later) {
        if let Some(place) = self.flushes.iter().position(|(other, ..)| *other == id) {
            self.flushes.swap_remove(place).2.into_iter().for_each(|waker| later.drop(waker));
        }
    }

    pub(crate) fn park_closer(&mut self, ticket: Ticket, waker: &Waker, later: &mut Later) {
        park(&mut self.closers, ticket, waker, later);
    }

    pub(crate) fn forget_closer(&mut self, ticket: Ticket, later: &mut Later) {
        forget(&mut self.closers, ticket, later);
    }

    pub(crate) fn park_for_topic(&mut self, ticket: Ticket, waker: &Waker, later: &mut Later) {
        park(&mut self.topics, ticket, waker, later);
    }

    /// Nobody of this ticket waits to send any more.
    pub(crate) fn forget_sender(&mut self, ticket: Ticket, now: Instant, later: &mut Later) {
        forget(&mut self.topics, ticket, later);
        self.line.leave(ticket, now, later);
    }

    /// What the machine said to the application.
    pub(crate) fn event(&mut self, event: Event, now: Instant, later: &mut Later) {
        match event {
            Event::Delivered(delivery) => {
                if delivery.outcome.is_ok() {
                    self.trouble = None;
                }
                let slot = delivery.batch.slot();
                if let Some(batch) = self.batches.get_mut(slot)
                    && batch.as_ref().is_some_and(|completion| completion.resolve(delivery, later))
                {
                    *batch = None;
                }
            }
            Event::Flushed { id, failed } => {
                if let Some((_, over, waker)) = self.flushes.iter_mut().find(|(other, ..)| *other == id) {
                    *over = Some(failed);
                    waker.take().into_iter().for_each(|waker| later.wake(waker));
                }
            }
            Event::TopicReady { .. } => {
                self.trouble = None;
                self.release_topics(later);
            }
            Event::TopicFailed { .. } | Event::AccessDenied(_) => self.release_topics(later),
            Event::Writable { .. } => self.line.wake_first(now, later),
            Event::Closed | Event::Fatal(_) => self.release_all(later),
            Event::ConnectionFailed { host, port, error, .. } => self.trouble = Some(Trouble { host, port, error }),
            // Lists of topics are not asked for, pauses are the machine's affair, and so is what it may say one day.
            Event::TopicsListed(_) | Event::TopicsNotListed(_) | Event::Throttled { .. } | _ => {}
        }
    }

    fn release_topics(&mut self, later: &mut Later) {
        self.topics.drain(..).for_each(|(_, waker)| later.wake(waker));
    }

    /// Everybody looks for themselves.
    pub(crate) fn release_all(&mut self, later: &mut Later) {
        self.release_topics(later);
        self.line.release(later);
        self.closers.drain(..).for_each(|(_, waker)| later.wake(waker));
        if self.gone {
            self.flushes.iter_mut().filter_map(|(.., waker)| waker.take()).for_each(|waker| later.wake(waker));
        }
    }

    /// Fails what is open: nobody will deliver it.
    pub(crate) fn give_up(&mut self, now: Instant, later: &mut Later) {
        self.gone = true;
        self.machine.abort(now);
        loop {
            match self.machine.poll_output() {
                milena::Output::Event(event) => self.event(event, now, later),
                milena::Output::Wait(_) => break,
                milena::Output::Job(job) => self.machine.handle_input(now, Input::Done(job.give_up())),
                milena::Output::Connect { .. }
                | milena::Output::Disconnect(_)
                | milena::Output::Transmit(_)
                | milena::Output::Token { .. } => {}
            }
        }
        self.release_all(later);
    }

    /// What the cluster last said of a topic.
    pub(crate) fn topic_error(&self, topic: TopicIndex) -> Option<milena::ErrorCode> {
        self.machine.topic_error(topic)
    }
}

fn park(waiting: &mut Vec<(Ticket, Waker)>, ticket: Ticket, waker: &Waker, later: &mut Later) {
    match waiting.iter_mut().find(|(other, _)| *other == ticket) {
        Some((_, old)) => later.replace(old, waker),
        None => waiting.push((ticket, waker.clone())),
    }
}

fn forget(waiting: &mut Vec<(Ticket, Waker)>, ticket: Ticket, later: &mut Later) {
    if let Some(place) = waiting.iter().position(|(other, _)| *other == ticket) {
        later.drop(waiting.swap_remove(place).1);
    }
}
