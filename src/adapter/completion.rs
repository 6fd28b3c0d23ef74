//! Who waits for the records of one batch. One object a batch, made when its first record is sent; an acknowledgement is
//! that object and an index, so a record costs no allocation.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::task::Waker;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::error::Error;
use crate::error::{DeliveryError, DeliveryErrorKind};
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
    pub(super) place: Place,
}

/// Where a record goes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) timestamp: i64,
}

impl Place {
    /// The record's outcome, as the application sees it.
    pub(super) fn delivered(&self, outcome: Outcome) -> Result<Delivered, Error> {
        let Written { base_offset, log_append_time } = outcome?;
        let (topic, partition) = (Arc::clone(&self.topic), self.partition);
        Ok(Delivered { topic, partition, offset: base_offset, timestamp: log_append_time.unwrap_or(self.timestamp) })
    }
}

/// What became of a record, as the machine tells it.
pub(super) type Outcome = Result<Written, DeliveryError>;

/// What is called with a record's outcome.
pub(super) type Callback = Box<dyn FnOnce(Result<Delivered, Error>) + Send>;

/// Those who wait for one batch.
#[derive(Default)]
pub(super) struct Completion {
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
    /// Outcomes of ranges of records. Mostly one, of all.
    outcomes: SmallVec<[(Range<u32>, Outcome); 1]>,
    tasks: Vec<(u32, Waker)>,
    /// In the order of the records.
    callbacks: Vec<(u32, Place, Callback)>,
    threads: bool,
}

/// What has to be called once the machine's lock is released.
#[derive(Default)]
pub(super) struct Calls {
    callbacks: Vec<(Callback, Result<Delivered, Error>)>,
    tasks: Vec<Waker>,
}

impl Calls {
    /// Calls everybody. A callback's panic is its own affair.
    pub(super) fn run(&mut self) {
        for (callback, outcome) in self.callbacks.drain(..) {
            let call = core::panic::AssertUnwindSafe(move || callback(outcome));
            if std::panic::catch_unwind(call).is_err() {
                log::error!("a delivery callback panicked");
            }
        }
        for task in self.tasks.drain(..) {
            task.wake();
        }
    }
}

impl Completion {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of some of the records is known.
    pub(super) fn complete(&self, records: Range<u32>, outcome: Outcome, calls: &mut Calls) {
        let mut state = self.lock();
        let before = |end: u32| state.callbacks.partition_point(|(index, ..)| *index < end);
        let named = before(records.start)..before(records.end);
        calls.callbacks.extend(state.callbacks.drain(named).map(|(index, place, callback)| {
            let outcome = place.delivered(of_record(&outcome, index - records.start));
            (callback, outcome)
        }));
        state.tasks.retain(|(index, task)| {
            let named = records.contains(index);
            if named {
                calls.tasks.push(task.clone());
            }
            !named
        });
        let threads = core::mem::take(&mut state.threads);
        state.outcomes.push((records, outcome));
        drop(state);
        if threads {
            self.done.notify_all();
        }
    }

    /// Calls `callback` with the record's outcome, when it is known. To be asked for with the machine's lock held since the
    /// record was taken: then it can't be known yet, and callbacks come in the order of the records.
    pub(super) fn call(&self, index: u32, place: Place, callback: Callback) {
        self.lock().callbacks.push((index, place, callback));
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
        match state.tasks.iter_mut().find(|(known, _)| *known == index) {
            Some((_, task)) => task.clone_from(context.waker()),
            None => state.tasks.push((index, context.waker().clone())),
        }
        core::task::Poll::Pending
    }
}

impl State {
    fn outcome(&self, index: u32) -> Option<Outcome> {
        let (records, outcome) = self.outcomes.iter().find(|(records, _)| records.contains(&index))?;
        Some(of_record(outcome, index - records.start))
    }
}

/// The outcome of the record at `place` in a range that has this one.
fn of_record(range: &Outcome, place: u32) -> Outcome {
    let written = range.as_ref().map_err(DeliveryError::clone)?;
    Ok(Written { base_offset: written.base_offset.map(|base| base + i64::from(place)), ..*written })
}

/// The outcome of what was open when the driver went away.
pub(super) fn gone() -> Outcome {
    Err(DeliveryError { kind: DeliveryErrorKind::Aborted, message: None, possibly_written: true, attempts: 0 })
}
