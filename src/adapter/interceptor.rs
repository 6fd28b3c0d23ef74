//! Looking at every record on its way in, and at what became of it (Java's `ProducerInterceptor`).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::caught::caught;
use super::completion::Delivered;
use super::error::Error;
use super::reports::{Report, Taken};
use super::traces::{Sends, SharedSpan};
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

/// Who looks at the records of one producer: interceptors, and spans if they were asked for.
#[derive(Debug)]
pub(super) struct Interceptors {
    list: Arc<Vec<Arc<dyn Interceptor>>>,
    sends: Sends,
}

impl Interceptors {
    pub(super) fn new(list: Vec<Arc<dyn Interceptor>>, sends: Sends) -> Self {
        Self { list: Arc::new(list), sends }
    }

    /// Whether each record has to come by.
    #[inline]
    pub(super) fn are_there(&self) -> bool {
        !self.list.is_empty() || self.sends.are_wanted()
    }

    /// A record is about to be taken. `None` if nobody looks at it.
    #[inline]
    pub(super) fn begin(&self, record: &Record<'_>) -> Option<Passage> {
        if self.are_there() { self.pass(record) } else { None }
    }

    #[cold]
    fn pass(&self, record: &Record<'_>) -> Option<Passage> {
        let span = self.sends.span(record);
        if self.list.is_empty() && span.is_none() {
            return None;
        }
        let replaced = span.within(|| self.on_send(record));
        if let Some(other) = replaced.as_ref().filter(|other| other.topic != record.topic) {
            span.goes_to(&other.topic);
        }
        let watch = Watch { list: Arc::clone(&self.list), span: span.shared() };
        Some(Passage { watch, replaced, open: true })
    }

    /// The record to take instead, if one of them wants that.
    fn on_send(&self, record: &Record<'_>) -> Option<RecordBuf> {
        let mut replaced: Option<RecordBuf> = None;
        for interceptor in self.list.iter() {
            let next = guarded(|| match &replaced {
                None => interceptor.on_send(record),
                Some(buf) => interceptor.on_send(&buf.record(&buf.headers())),
            });
            replaced = next.flatten().or(replaced);
        }
        replaced
    }
}

/// A record on its way in. Dropped before it has [ended](Self::end), it tells that the send was given up.
pub(super) struct Passage {
    watch: Watch,
    replaced: Option<RecordBuf>,
    open: bool,
}

impl Passage {
    /// The record to take instead.
    pub(super) fn replaced(&self) -> Option<&RecordBuf> {
        self.replaced.as_ref()
    }

    /// What tells them first, as Java does.
    pub(super) fn before<R: Report>(&self, report: R) -> Watched<R> {
        Watched { watch: self.watch.clone(), report }
    }

    /// The record was taken, or refused: then they hear of that.
    pub(super) fn end<T>(mut self, taken: &Result<T, Error>) {
        self.open = false;
        if let Err(error) = taken {
            self.watch.tell(&Err(error.clone()));
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.open {
            self.watch.tell(&Err(Error::Cancelled));
        }
    }
}

/// Who hears of the outcome of one record.
#[derive(Clone)]
struct Watch {
    list: Arc<Vec<Arc<dyn Interceptor>>>,
    span: SharedSpan,
}

impl Watch {
    fn tell(&self, outcome: &Result<Delivered, Error>) {
        self.span.end(outcome);
        for interceptor in self.list.iter() {
            guarded(|| interceptor.on_acknowledgement(outcome));
        }
    }
}

/// They hear of it, then whoever sent it.
pub(super) struct Watched<R> {
    watch: Watch,
    pub(super) report: R,
}

impl<R: Report> Report for Watched<R> {
    type Receipt = R::Receipt;

    fn report(self, mut taken: Taken<'_>) -> R::Receipt {
        let Self { watch, report } = self;
        taken.call(move |outcome| watch.tell(&outcome));
        report.report(taken)
    }
}

fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    caught("an interceptor", call)
}
