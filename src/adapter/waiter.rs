//! Someone who waits: a thread on a condition variable, or a task with its waker.

use core::task::Waker;
use std::sync::{Condvar, Mutex, PoisonError};

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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.raised = true;
        let task = state.task.take();
        drop(state);
        self.raised.notify_all();
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
