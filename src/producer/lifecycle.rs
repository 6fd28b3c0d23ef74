//! Flush, close and abort: watermarks that batches meet one at a time, never a walk over all of them.

use alloc::collections::VecDeque;

use crate::error::FatalError;
use crate::ids::FlushId;
use crate::planted::planted;

/// Where the producer's life is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes records.
    Running,
    /// Failed for good: what is open fails, nothing is taken.
    Failed(FatalError),
    /// Takes no more records; what is open is still delivered.
    Closing,
    /// Takes no more records; what is open fails.
    Aborting,
    /// Failed for good and was closed: what is open fails for that reason, and then it is over.
    Ending(FatalError),
    /// Over.
    Closed,
}

/// Flushes that are not complete.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    open: VecDeque<Flush>,
    next_id: u64,
    /// Failures counted in all open flushes together.
    counted: u64,
}

/// A flush covers the batches with serials below its watermark. They are resolved oldest first or not, but it is over
/// when the oldest live batch is at the watermark.
///
/// A failure is counted once, in the first flush that covers it, and handed on when that flush is over, so that counting
/// is O(log flushes).
#[derive(Debug)]
struct Flush {
    id: FlushId,
    watermark: u64,
    failed: u64,
    /// Failures handed on by earlier flushes that happened before this one was asked for.
    before: u64,
}

impl Flushes {
    /// A flush of all batches with serials below `watermark`.
    pub(crate) fn begin(&mut self, watermark: u64) -> FlushId {
        let id = FlushId(self.next_id);
        self.next_id += 1;
        self.open.push_back(Flush { id, watermark, failed: 0, before: self.counted });
        id
    }

    /// `records` records of the batch with this serial failed.
    pub(crate) fn failed(&mut self, serial: u64, records: u32) {
        let first = self.open.partition_point(|flush| flush.watermark <= serial);
        if let Some(flush) = self.open.get_mut(first) {
            flush.failed += u64::from(records);
            self.counted += u64::from(records);
        }
    }

    /// Takes a flush that is over, with its number of failures, where the oldest live batch has this serial.
    pub(crate) fn take_complete(&mut self, oldest: Option<u64>) -> Option<(FlushId, u64)> {
        if !self.is_complete(oldest) {
            return None;
        }
        let flush = self.open.pop_front()?;
        match self.open.front_mut() {
            Some(next) => next.failed += flush.failed,
            None => self.counted = 0,
        }
        Some((flush.id, flush.failed - flush.before))
    }

    /// Whether somebody waits for one.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether [`take_complete`](Self::take_complete) would take one.
    pub(crate) fn is_complete(&self, oldest: Option<u64>) -> bool {
        self.open.front().is_some_and(|first| {
            oldest.is_none_or(|serial| serial + u64::from(planted("flush-ends-early")) >= first.watermark)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_over_when_the_oldest_batch_is_younger() {
        let mut flushes = Flushes::default();
        let id = flushes.begin(5);
        assert!(!flushes.is_complete(Some(4)));
        assert_eq!(flushes.take_complete(Some(4)), None);
        assert!(flushes.is_complete(Some(5)));
        assert_eq!(flushes.take_complete(Some(5)), Some((id, 0)));
        let id = flushes.begin(9);
        assert_eq!(flushes.take_complete(None), Some((id, 0)));
        assert!(!flushes.is_complete(None));
    }

    #[test]
    fn failures_count_for_every_flush_that_covers_them_and_was_asked_for_before() {
        let mut flushes = Flushes::default();
        let first = flushes.begin(5);
        flushes.failed(3, 10); // both cover it, but only the first was there
        let second = flushes.begin(8);
        flushes.failed(4, 1); // both
        flushes.failed(6, 100); // the second alone
        flushes.failed(8, 1000); // none
        assert_eq!(flushes.take_complete(None), Some((first, 11)));
        assert_eq!(flushes.take_complete(None), Some((second, 101)));
        let third = flushes.begin(20);
        flushes.failed(19, 2);
        assert_eq!(flushes.take_complete(None), Some((third, 2)));
    }
}
