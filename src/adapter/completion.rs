//! Who waits for the records of one batch. One object a batch, made for the first that wants to wait; an acknowledgement is
//! that object and an index, so a record costs no allocation.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::task::Waker;

use super::error::Error;
use super::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::error::DeliveryError;
use crate::event::Written;
use crate::planted::planted;

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; `None` where no broker told it (`acks=0`, or a duplicate).
    pub offset: Option<i64>,
    /// The record's timestamp in milliseconds since the Unix epoch: the broker's where it has log append time.
    pub timestamp: i64,
}

/// A record that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) completion: Arc<Completion>,
    pub(super) index: u32,
    pub(super) timestamp: i64,
}

impl Accepted {
    /// The record's outcome, as the application sees it, if it is known.
    #[inline]
    pub(super) fn outcome(&self) -> Option<Result<Delivered, Error>> {
        let Self { completion, index, timestamp } = self;
        let told = Told { topic: &completion.topic, partition: completion.partition };
        if let Some((records, outcome)) = completion.first.get() {
            if records.contains(index) {
                return Some(told.of(outcome, index - records.start, *timestamp));
            }
        }
        completion.later_outcome(*index, *timestamp)
    }
}

/// What applications are told besides the outcome.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) partition: i32,
}

impl Told<'_> {
    /// What became of the record at `place` in a range of records.
    #[inline]
    pub(super) fn of(self, outcome: &Outcome, place: u32, timestamp: i64) -> Result<Delivered, Error> {
        match outcome {
            Ok(written) => Ok(self.written(written, place, timestamp)),
            Err(error) => Err(error.clone().into()),
        }
    }

    /// The same, if it is written.
    #[inline]
    pub(super) fn written(self, written: &Written, place: u32, timestamp: i64) -> Delivered {
        Delivered {
            topic: Arc::clone(self.topic),
            partition: self.partition,
            offset: written.base_offset.and_then(|base| base.checked_add(i64::from(place))),
            timestamp: written.log_append_time.unwrap_or(timestamp),
        }
    }
}

/// What became of a record, as the machine tells it.
pub(super) type Outcome = Result<Written, DeliveryError>;

/// Those who wait for one batch.
pub(super) struct Completion {
    topic: Arc<str>,
    pub(super) partition: i32,
    /// The outcome that came first, which mostly is that of all records: to be read without the lock. Changes with it alone.
    first: OnceLock<(Range<u32>, Outcome)>,
    state: Mutex<State>,
    done: Condvar,
}

impl core::fmt::Debug for Completion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// Outcomes of other ranges of records than the first, in the order of the records.
    outcomes: Vec<(Range<u32>, Outcome)>,
    /// Tasks that wait, by record.
    tasks: Vec<Option<Waker>>,
    threads: bool,
}

impl Completion {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Self {
        Self { topic, partition, first: OnceLock::new(), state: Mutex::default(), done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of some of the records may be seen from now on.
    pub(super) fn publish(&self, records: Range<u32>, outcome: Outcome) {
        let mut state = self.lock();
        let waiting = state.tasks.len();
        let named = (records.start as usize).min(waiting)..(records.end as usize).min(waiting);
        let tasks: Vec<Option<Waker>> = if named.len() == waiting {
            core::mem::take(&mut state.tasks)
        } else {
            state.tasks[named].iter_mut().map(Option::take).collect()
        };
        let threads = core::mem::take(&mut state.threads);
        if let Err((records, outcome)) = self.first.set((records, outcome)) {
            let place = state.outcomes.partition_point(|(known, _)| known.start < records.start);
            state.outcomes.insert(place, (records, outcome));
        }
        drop(state);
        if threads && !planted("threads-wait-on") {
            self.done.notify_all();
        }
        // Many records of one batch are mostly waited for by one task.
        let mut tasks = tasks.into_iter().flatten().peekable();
        while let Some(task) = tasks.next() {
            if !tasks.peek().is_some_and(|next| next.will_wake(&task)) {
                task.wake();
            }
        }
    }

    /// What has no outcome yet fails with this.
    pub(super) fn abandon(&self, error: &DeliveryError) {
        let gaps = self.lock().gaps(self.first.get());
        for records in gaps {
            self.publish(records, Err(error.clone()));
        }
    }

    /// Whether the record's outcome is known.
    pub(super) fn is_known(&self, index: u32) -> bool {
        self.is_of_first(index) || self.lock().place(index).is_some()
    }

    fn is_of_first(&self, index: u32) -> bool {
        self.first.get().is_some_and(|(records, _)| records.contains(&index))
    }

    /// The outcome of a record that is not of those whose outcome came first.
    #[cold]
    fn later_outcome(&self, index: u32, timestamp: i64) -> Option<Result<Delivered, Error>> {
        self.first.get()?;
        let state = self.lock();
        let (records, outcome) = &state.outcomes[state.place(index)?];
        let told = Told { topic: &self.topic, partition: self.partition };
        Some(told.of(outcome, index - records.start, timestamp))
    }

    #[cfg(feature = "threads")]
    /// Waits until the record's outcome is known, or patience is over.
    pub(super) fn wait(&self, index: u32, patience: Option<core::time::Duration>) {
        let state = self.lock();
        let open = |state: &mut State| {
            let open = !self.is_of_first(index) && state.place(index).is_none();
            state.threads |= open;
            open
        };
        match patience {
            None => drop(self.done.wait_while(state, open)),
            Some(patience) => drop(self.done.wait_timeout_while(state, patience, open)),
        }
    }

    /// The task of this context is to be woken once the record's outcome is known; false if it is.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn await_record(&self, index: u32, context: &core::task::Context<'_>) -> bool {
        let mut state = self.lock();
        if self.is_of_first(index) || state.place(index).is_some() {
            return false;
        }
        if planted("task-is-noted-too-late") {
            drop(state);
            state = self.lock();
        }
        let place = index as usize;
        let before = match state.tasks.get_mut(place) {
            Some(Some(task)) if task.will_wake(context.waker()) => None,
            Some(task) => task.replace(context.waker().clone()),
            None => {
                state.tasks.resize_with(place, || None);
                state.tasks.push(Some(context.waker().clone()));
                None
            }
        };
        drop(state);
        drop(before); // without the lock: it may run code of a runtime
        true
    }

    /// Nobody waits for the record any more: its waker, and with it maybe a task's memory, is not kept.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn forget(&self, index: u32) {
        let waker = self.lock().tasks.get_mut(index as usize).and_then(Option::take);
        drop(waker); // without the lock: it may run code of a runtime
    }
}

impl State {
    /// Ranges of records without an outcome; the last one has no end.
    fn gaps(&self, first: Option<&(Range<u32>, Outcome)>) -> Vec<Range<u32>> {
        let mut known: Vec<&Range<u32>> = self.outcomes.iter().chain(first).map(|(records, _)| records).collect();
        known.sort_unstable_by_key(|records| records.start);
        let mut gaps = Vec::new();
        let mut from = 0;
        for records in known {
            if from < records.start {
                gaps.push(from..records.start);
            }
            from = records.end;
        }
        gaps.push(from..u32::MAX);
        gaps
    }

    /// Where the record's outcome is.
    fn place(&self, index: u32) -> Option<usize> {
        let place = self.outcomes.partition_point(|(records, _)| records.end <= index);
        self.outcomes.get(place).filter(|(records, _)| records.contains(&index)).map(|_| place)
    }
}
