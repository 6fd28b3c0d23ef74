//! Who waits for the records of one batch. One object a batch, made for the first that wants to wait; an acknowledgement is
//! that object and an index, so a record costs no allocation.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::task::Waker;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::error::Error;
use crate::error::DeliveryError;
use crate::event::Written;

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
    /// The record's outcome, as the application sees it.
    pub(super) fn delivered(&self, outcome: Outcome) -> Result<Delivered, Error> {
        delivered(&self.completion.topic, self.completion.partition, self.timestamp, outcome)
    }
}

/// A record's outcome, as the application sees it.
pub(super) fn delivered(
    topic: &Arc<str>,
    partition: i32,
    timestamp: i64,
    outcome: Outcome,
) -> Result<Delivered, Error> {
    let Written { base_offset, log_append_time } = outcome?;
    let (topic, timestamp) = (Arc::clone(topic), log_append_time.unwrap_or(timestamp));
    Ok(Delivered { topic, partition, offset: base_offset, timestamp })
}

/// What became of a record, as the machine tells it.
pub(super) type Outcome = Result<Written, DeliveryError>;

/// Those who wait for one batch.
pub(super) struct Completion {
    topic: Arc<str>,
    pub(super) partition: i32,
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
    /// Outcomes of ranges of records, in the order of the records. Mostly one, of all.
    outcomes: SmallVec<[(Range<u32>, Outcome); 1]>,
    /// Tasks that wait, by record.
    tasks: Vec<Option<Waker>>,
    threads: bool,
}

impl Completion {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Self {
        Self { topic, partition, state: Mutex::default(), done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of some of the records may be seen from now on.
    pub(super) fn publish(&self, records: Range<u32>, outcome: Outcome) {
        let mut state = self.lock();
        let waiting = state.tasks.len();
        let named = (records.start as usize).min(waiting)..(records.end as usize).min(waiting);
        let mut tasks: Vec<Waker> = Vec::new();
        for task in state.tasks[named].iter_mut().filter_map(Option::take) {
            // Many records of one batch are mostly waited for by one task.
            if !tasks.last().is_some_and(|last| last.will_wake(&task)) {
                tasks.push(task);
            }
        }
        let threads = core::mem::take(&mut state.threads);
        let place = state.outcomes.partition_point(|(known, _)| known.start < records.start);
        state.outcomes.insert(place, (records, outcome));
        drop(state);
        if threads {
            self.done.notify_all();
        }
        for task in tasks {
            task.wake();
        }
    }

    /// What has no outcome yet fails with this.
    pub(super) fn abandon(&self, error: &DeliveryError) {
        let gaps = self.lock().gaps();
        for records in gaps {
            self.publish(records, Err(error.clone()));
        }
    }

    /// The record's outcome, if it is known.
    pub(super) fn outcome(&self, index: u32) -> Option<Outcome> {
        self.lock().outcome(index)
    }

    #[cfg(feature = "threads")]
    /// Waits for the record's outcome.
    pub(super) fn wait(&self, index: u32, patience: Option<core::time::Duration>) -> Option<Outcome> {
        let mut state = self.lock();
        state.threads = true;
        let open = |state: &mut State| {
            let open = state.outcome(index).is_none();
            state.threads |= open;
            open
        };
        let state = match patience {
            None => self.done.wait_while(state, open).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                self.done.wait_timeout_while(state, patience, open).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.outcome(index)
    }

    /// As [`Completion::wait`], for a task.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn poll(&self, index: u32, context: &core::task::Context<'_>) -> core::task::Poll<Outcome> {
        let mut state = self.lock();
        if let Some(outcome) = state.outcome(index) {
            return core::task::Poll::Ready(outcome);
        }
        let place = index as usize;
        if state.tasks.len() <= place {
            state.tasks.resize(place + 1, None);
        }
        let before = match &mut state.tasks[place] {
            Some(task) if task.will_wake(context.waker()) => None,
            other => other.replace(context.waker().clone()),
        };
        drop(state);
        drop(before); // without the lock: it may run code of a runtime
        core::task::Poll::Pending
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
    fn gaps(&self) -> SmallVec<[Range<u32>; 1]> {
        let mut gaps = SmallVec::new();
        let mut from = 0;
        for (records, _) in &self.outcomes {
            if from < records.start {
                gaps.push(from..records.start);
            }
            from = records.end;
        }
        gaps.push(from..u32::MAX);
        gaps
    }

    fn outcome(&self, index: u32) -> Option<Outcome> {
        let place = self.outcomes.partition_point(|(records, _)| records.end <= index);
        let (records, outcome) = self.outcomes.get(place).filter(|(records, _)| records.contains(&index))?;
        Some(of_record(outcome, index - records.start))
    }
}

/// The outcome of the record at `place` in a range that has this one.
pub(super) fn of_record(range: &Outcome, place: u32) -> Outcome {
    let written = range.as_ref().map_err(DeliveryError::clone)?;
    let base_offset = written.base_offset.and_then(|base| base.checked_add(i64::from(place)));
    Ok(Written { base_offset, ..*written })
}
