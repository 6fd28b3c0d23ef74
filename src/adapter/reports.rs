//! How what became of a record gets to whoever sent it: by a callback, or by an acknowledgement that is waited for. What there is
//! of both is kept by batch, and changes with the machine's lock held alone.

use alloc::sync::Arc;
use core::ops::Range;

use super::callbacks::{Callback, Callbacks, Resolution};
use super::completion::{Accepted, Completion, Outcome, Told};
use crate::error::{DeliveryError, DeliveryErrorKind};

/// What a sender wants to know of a record, and how.
pub(super) trait Report {
    /// What it gets as soon as the record is taken.
    type Receipt;

    fn report(self, taken: Taken<'_>) -> Self::Receipt;
}

/// By an acknowledgement.
pub(super) struct ByAck;

impl Report for ByAck {
    type Receipt = Accepted;

    fn report(self, mut taken: Taken<'_>) -> Accepted {
        taken.ack()
    }
}

/// By a callback.
pub(super) struct ByCall<F>(pub(super) F);

impl<F: Callback> Report for ByCall<F> {
    type Receipt = ();

    fn report(self, mut taken: Taken<'_>) {
        taken.call(self.0);
    }
}

/// A record that was taken just now; the machine's lock is held since.
pub(super) struct Taken<'a> {
    pub(super) batch: &'a mut Batch,
    pub(super) index: u32,
    pub(super) timestamp: i64,
}

impl Taken<'_> {
    /// Calls this when it is known what became of the record; before whoever waits for it, and after what was given earlier.
    #[inline]
    pub(super) fn call(&mut self, callback: impl Callback) {
        self.batch.callbacks.push(self.index, self.timestamp, callback);
    }

    #[inline]
    fn ack(&mut self) -> Accepted {
        let Batch { topic, partition, completion, .. } = self.batch;
        let completion = completion.get_or_insert_with(|| Arc::new(Completion::new(Arc::clone(topic), *partition)));
        Accepted { completion: Arc::clone(completion), index: self.index, timestamp: self.timestamp }
    }
}

/// Who wants to know of the records of a batch.
pub(super) struct Batch {
    topic: Arc<str>,
    partition: i32,
    callbacks: Callbacks,
    /// There is one if somebody waits.
    completion: Option<Arc<Completion>>,
}

impl Batch {
    /// `callbacks` has none yet; it may have served another batch.
    pub(super) fn new(topic: Arc<str>, partition: i32, callbacks: Callbacks) -> Self {
        Self { topic, partition, callbacks, completion: None }
    }

    /// It is known what became of some of the records.
    pub(super) fn resolve(&mut self, records: Range<u32>, outcome: Outcome) -> Resolved {
        let (topic, partition) = (Arc::clone(&self.topic), self.partition);
        let (callbacks, completion) = (self.callbacks.take(&records), self.completion.clone());
        Resolved { topic, partition, callbacks, completion, records, outcome }
    }

    /// The driver is gone: what has no outcome yet will have none from the machine.
    pub(super) fn abandon(self) {
        let Self { topic, partition, mut callbacks, completion } = self;
        let kind = DeliveryErrorKind::Aborted;
        let error = DeliveryError { possibly_written: true, ..DeliveryError::new(kind) };
        let (records, outcome) = (0..u32::MAX, Err(error.clone()));
        let told = Told { topic: &topic, partition };
        callbacks.call(&Resolution { told, records: &records, outcome: &outcome });
        if let Some(completion) = completion {
            completion.abandon(&error);
        }
    }
}

/// What became of some records of a batch, before anybody was told.
pub(super) struct Resolved {
    topic: Arc<str>,
    partition: i32,
    callbacks: Callbacks,
    completion: Option<Arc<Completion>>,
    records: Range<u32>,
    outcome: Outcome,
}

impl Resolved {
    /// Tells everybody: callbacks and interceptors first, in the order of the records, then whoever waits for a record. Not to
    /// be called with the machine's lock held, for all of them may do anything. What remains has no callbacks any more.
    pub(super) fn tell(self) -> Callbacks {
        let Self { topic, partition, mut callbacks, completion, records, outcome } = self;
        let told = Told { topic: &topic, partition };
        callbacks.call(&Resolution { told, records: &records, outcome: &outcome });
        if let Some(completion) = completion {
            completion.publish(records, outcome);
        }
        callbacks
    }
}
