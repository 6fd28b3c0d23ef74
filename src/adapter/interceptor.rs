//! Looking at every record on its way in, and at what became of it (Java's `ProducerInterceptor`).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::panic::AssertUnwindSafe;

use super::completion::Delivered;
use super::error::Error;
use super::reports::{Report, Taken};
use crate::record::{Record, RecordBuf};

/// Looks at records and outcomes. Several are called in the order in which they were given to the
/// [`Setup`](crate::Setup). A panic of one is logged, and changes nothing for the record or the others.
pub trait Interceptor: Debug + Send + Sync {
    /// A record is about to be taken, on the caller's thread. What is returned takes its place.
    fn on_send(&self, record: &Record<'_>) -> Option<RecordBuf> {
        let _ = record;
        None
    }

    /// A record was delivered, or failed, or was not even taken ([`Error::Cancelled`] if its send was given up): once for each
    /// record that `on_send` saw. Before the record's callback, and before whoever waits for it. Mostly called on the thread that
    /// does the input and output, so it must be quick.
    fn on_acknowledgement(&self, outcome: &Result<Delivered, Error>) {
        let _ = outcome;
    }
}

/// Those of one producer.
#[derive(Clone, Debug, Default)]
pub(super) struct Interceptors(Arc<Vec<Arc<dyn Interceptor>>>);

impl Interceptors {
    pub(super) fn new(list: Vec<Arc<dyn Interceptor>>) -> Self {
        Self(Arc::new(list))
    }

    pub(super) fn are_there(&self) -> bool {
        !self.0.is_empty()
    }

    /// The record to take instead, if one of them wants that.
    pub(super) fn on_send(&self, record: &Record<'_>) -> Option<RecordBuf> {
        let mut replaced: Option<RecordBuf> = None;
        for interceptor in self.0.iter() {
            let next = guarded(|| match &replaced {
                None => interceptor.on_send(record),
                Some(buf) => interceptor.on_send(&buf.record(&buf.headers())),
            });
            replaced = next.flatten().or(replaced);
        }
        replaced
    }

    /// What tells them first, as Java does.
    pub(super) fn before<R: Report>(&self, report: R) -> Intercepted<R> {
        Intercepted { them: self.clone(), report }
    }

    /// If the record was not taken, they hear of that.
    pub(super) fn refused<T>(&self, taken: &Result<T, Error>) {
        if let Err(error) = taken {
            self.tell(&Err(error.clone()));
        }
    }

    /// Tells them, if it is dropped, that the record was given up.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn if_dropped(&self) -> IfDropped<'_> {
        IfDropped(Some(self))
    }

    fn tell(&self, outcome: &Result<Delivered, Error>) {
        for interceptor in self.0.iter() {
            guarded(|| interceptor.on_acknowledgement(outcome));
        }
    }
}

/// Interceptors hear of it, then whoever sent it.
pub(super) struct Intercepted<R> {
    them: Interceptors,
    pub(super) report: R,
}

impl<R: Report> Report for Intercepted<R> {
    type Receipt = R::Receipt;

    fn report(self, mut taken: Taken<'_>) -> R::Receipt {
        let Self { them, report } = self;
        taken.call(move |outcome| them.tell(&outcome));
        report.report(taken)
    }
}

/// A send on its way.
#[cfg(any(feature = "tokio", feature = "smol"))]
pub(super) struct IfDropped<'a>(Option<&'a Interceptors>);

#[cfg(any(feature = "tokio", feature = "smol"))]
impl IfDropped<'_> {
    /// It has arrived, one way or the other.
    pub(super) fn not(mut self) {
        self.0 = None;
    }
}

#[cfg(any(feature = "tokio", feature = "smol"))]
impl Drop for IfDropped<'_> {
    fn drop(&mut self) {
        if let Some(interceptors) = self.0 {
            interceptors.tell(&Err(Error::Cancelled));
        }
    }
}

fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(call));
    if result.is_err() {
        log::error!("an interceptor panicked");
    }
    result.ok()
}
