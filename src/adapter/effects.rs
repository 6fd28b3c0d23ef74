//! What has to be done once the machine's lock is released, in the order in which applications may rely on it: the observer; callbacks and
//! interceptors of each record, then whoever waits for that record; after all of them whoever waits in `flush`; at the end
//! whoever waits for metadata, memory or the end of the producer.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::callbacks::Callbacks;
use super::line::Ticket;
use super::observer::Observations;
use super::reports::{Batch, Resolved};
use super::waiter::{Flush, Waiter};
use crate::planted::planted;
use crate::producer::Over;

/// Things to do without the lock. Dropping does them: nobody is to wait for ever because a driver was.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) observations: Observations,
    pub(super) resolved: Vec<Resolved>,
    /// What is left of them and worth keeping, for other batches.
    pub(super) spare: Vec<Callbacks>,
    /// Batches of which nothing more will be heard.
    pub(super) abandoned: Vec<Batch>,
    /// With the number of records that failed.
    pub(super) flushes: Vec<(Arc<Flush>, u64)>,
    pub(super) waiters: Vec<Arc<Waiter>>,
    pub(super) memory: Vec<Arc<Ticket>>,
    /// To be dropped without the lock.
    pub(super) over: Vec<Over>,
}

impl Effects {
    pub(super) fn run(&mut self) {
        if planted("waiters-before-callbacks") {
            self.flushes.drain(..).for_each(|(flush, failed)| flush.end(failed));
        }
        self.observations.tell();
        for resolved in self.resolved.drain(..) {
            self.spare.extend(Some(resolved.tell()).filter(Callbacks::is_worth_keeping));
        }
        for batch in self.abandoned.drain(..) {
            batch.abandon();
        }
        for (flush, failed) in self.flushes.drain(..) {
            flush.end(failed);
        }
        for waiter in self.waiters.drain(..) {
            waiter.raise();
        }
        for ticket in self.memory.drain(..) {
            ticket.waiter.raise();
        }
        self.over.clear();
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        self.run();
    }
}
