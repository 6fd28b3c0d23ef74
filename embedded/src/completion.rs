//! Who waits for the records of one batch. One object a batch; an acknowledgement is that object and an index.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use milena::{Delivery, DeliveryError, Sent, Written};

use crate::error::Error;
use crate::shared::Later;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// The offset; `None` where no broker told it (`acks=0`, or a duplicate).
    pub offset: Option<i64>,
    /// The record's timestamp in milliseconds since the Unix epoch: the broker's where it has log append time; −1 if neither the
    /// record nor the device told a time.
    pub timestamp: i64,
}

type Outcome = Result<Written, DeliveryError>;

/// Those who wait for one batch.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of ranges of records, in their order. Mostly one, of all.
    outcomes: Vec<(Range<u32>, Outcome)>,
    /// By record, in their order.
    wakers: Vec<(u32, Waker)>,
    /// Records without an outcome.
    open: u32,
}

impl Completion {
    /// One more record.
    pub(crate) fn accept(&self) {
        self.state.borrow_mut().open += 1;
    }

    /// What became of some. Returns whether all have an outcome.
    pub(crate) fn resolve(&self, delivery: Delivery, later: &mut Later) -> bool {
        let state = &mut *self.state.borrow_mut();
        let records = delivery.records;
        let from = state.wakers.partition_point(|(index, _)| *index < records.start);
        let to = state.wakers.partition_point(|(index, _)| *index < records.end);
        for (_, waker) in state.wakers.drain(from..to) {
            later.wake(waker);
        }
        state.open = state.open.saturating_sub(records.end - records.start);
        let place = state.outcomes.partition_point(|(other, _)| other.start < records.start);
        state.outcomes.insert(place, (records, delivery.outcome));
        state.open == 0
    }
}

/// What becomes of a record that was taken. Dropping it changes nothing for the record.
#[must_use = "a record that was taken may still fail"]
#[derive(Debug)]
pub struct Ack {
    completion: Rc<Completion>,
    index: u32,
    partition: i32,
    timestamp: i64,
}

impl Ack {
    pub(crate) fn new(completion: Rc<Completion>, sent: &Sent) -> Self {
        Self { completion, index: sent.id.index, partition: sent.partition, timestamp: sent.timestamp }
    }

    /// Where the record goes.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// What became of it, if that is known.
    pub fn outcome(&self) -> Option<Result<Delivered, Error>> {
        let state = self.completion.state.borrow();
        let place = state.outcomes.partition_point(|(records, _)| records.end <= self.index);
        let (records, outcome) = state.outcomes.get(place).filter(|(records, _)| records.contains(&self.index))?;
        Some(match outcome {
            Err(error) => Err(Error::NotDelivered(error.clone())),
            Ok(written) => {
                let after = i64::from(self.index - records.start);
                Ok(Delivered {
                    partition: self.partition,
                    offset: written.base_offset.and_then(|base| base.checked_add(after)),
                    timestamp: written.log_append_time.unwrap_or(self.timestamp),
                })
            }
        })
    }
}

impl Future for Ack {
    type Output = Result<Delivered, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let mut later = Later::default();
        {
            let wakers = &mut self.completion.state.borrow_mut().wakers;
            match wakers.binary_search_by_key(&self.index, |(index, _)| *index) {
                Ok(place) => later.replace(&mut wakers[place].1, context.waker()),
                Err(place) => wakers.insert(place, (self.index, context.waker().clone())),
            }
        }
        later.run();
        Poll::Pending
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        let waker = {
            let wakers = &mut self.completion.state.borrow_mut().wakers;
            wakers.binary_search_by_key(&self.index, |(index, _)| *index).ok().map(|place| wakers.remove(place))
        };
        drop(waker); // without the borrow: it may run code of the executor
    }
}
