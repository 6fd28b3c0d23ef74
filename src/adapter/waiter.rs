//! Those who wait, each a thread on a condition variable or a task with its waker, and what they wait for.

use alloc::string::String;
use alloc::sync::Arc;
use core::task::Waker;

use super::line::Ticket;
use super::sync::{Condvar, Mutex, PoisonError};
use crate::ids::TopicIndex;
use crate::planted::planted;
use crate::time::Instant;

/// A flag that is raised once in a while. Raising it before anyone waits is not lost.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    state: Mutex<State>,
    raised: Condvar,
}

#[derive(Debug, Default)]
struct State {
    raised: bool,
    task: Option<Waker>,
}

impl Waiter {
    /// Raises the flag. Not to be called with the machine's lock held, for a waker may do anything.
    pub(super) fn raise(&self) {
        if planted("notice-before-the-flag") {
            self.raised.notify_all();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.raised = true;
        let task = state.task.take();
        drop(state);
        if !planted("notice-before-the-flag") {
            self.raised.notify_all();
        }
        if let Some(task) = task {
            task.wake();
        }
    }

    #[cfg(feature = "threads")]
    /// Waits for the flag and lowers it; false if `patience` ran out first.
    pub(super) fn wait(&self, patience: core::time::Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.raised.wait_timeout_while(state, patience, |state| !state.raised);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        core::mem::take(&mut state.raised)
    }

    /// As [`Waiter::wait`], for a task.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn poll(&self, context: &core::task::Context<'_>) -> core::task::Poll<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if core::mem::take(&mut state.raised) {
            return core::task::Poll::Ready(());
        }
        state.task = Some(context.waker().clone());
        core::task::Poll::Pending
    }
}

/// A flush that someone waits for.
#[derive(Debug, Default)]
pub(super) struct Flush {
    pub(super) waiter: Waiter,
    failed: Mutex<Option<u64>>,
}

impl Flush {
    /// How many records failed, once it is over.
    pub(super) fn failed(&self) -> Option<u64> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is over: callbacks of what it covers have run.
    pub(super) fn end(&self, failed: u64) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failed);
        self.waiter.raise();
    }
}

/// What someone asks any server, and waits for.
#[derive(Debug)]
pub(super) struct Asked<T> {
    pub(super) waiter: Arc<Waiter>,
    answer: Mutex<Option<Result<T, String>>>,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self { waiter: Arc::default(), answer: Mutex::new(None) }
    }
}

impl<T> Asked<T> {
    /// The answer, or why there is none, once that came: then the wait is over.
    pub(super) fn answer(&self) -> Option<Result<T, String>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// It came, or never will. The waiter is still to be raised, without the machine's lock.
    pub(super) fn set(&self, answer: Result<T, String>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// A close that someone waits for.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) waiter: Arc<Waiter>,
    pub(super) began: Instant,
    /// The driver had ended before.
    pub(super) too_late: bool,
    /// Records that had failed before.
    pub(super) failed_before: u64,
}

/// What a caller has to wait for.
#[derive(Clone, Debug)]
pub(super) enum Wait {
    Topic(TopicIndex, Arc<Waiter>),
    Asked(Arc<Waiter>),
    Memory(Arc<Ticket>),
}

impl Wait {
    /// The ticket, if it is for memory.
    pub(super) fn ticket(&self) -> Option<&Arc<Ticket>> {
        match self {
            Self::Memory(ticket) => Some(ticket),
            Self::Topic(..) | Self::Asked(_) => None,
        }
    }

    pub(super) fn waiter(&self) -> &Waiter {
        match self {
            Self::Topic(_, waiter) => waiter,
            Self::Memory(ticket) => &ticket.waiter,
            Self::Asked(waiter) => waiter,
        }
    }
}
