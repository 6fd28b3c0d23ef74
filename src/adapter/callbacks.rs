//! The callbacks of a batch's records, without an allocation for each: those of one type, which are mostly all, lie in one table.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::any::Any;
use core::ops::Range;

use smallvec::SmallVec;

use super::caught::caught;
use super::completion::{Delivered, Outcome, Told};
use super::error::Error;
use crate::planted::planted;

/// What is called with a record's outcome.
pub(super) trait Callback: FnOnce(Result<Delivered, Error>) + Send + 'static {}

impl<F: FnOnce(Result<Delivered, Error>) + Send + 'static> Callback for F {}

/// Callbacks of many types are put in boxes, so that no batch has more tables than this.
const MOST_TABLES: usize = 4;

/// Bytes of empty tables that are kept for other batches, at most.
const SPARE_BYTES: usize = 1 << 20;

type Boxed = Box<dyn FnOnce(Result<Delivered, Error>) + Send>;

/// The callbacks of a batch, to be called in the order of the records, and for one record in the order in which they were given.
#[derive(Default)]
pub(super) struct Callbacks {
    /// Where one record has callbacks of two types, that of the first stands first.
    tables: SmallVec<[Box<dyn Table>; 1]>,
}

/// Tables without callbacks, as large as the last batches made them, for the next ones.
#[derive(Default)]
pub(super) struct Spares {
    kept: Vec<Callbacks>,
    bytes: usize,
}

/// What became of some of the records.
pub(super) struct Resolution<'a> {
    pub(super) told: Told<'a>,
    pub(super) records: &'a Range<u32>,
    pub(super) outcome: &'a Outcome,
}

/// Callbacks of one type.
struct Of<F> {
    entries: VecDeque<Entry<F>>,
}

struct Entry<F> {
    index: u32,
    timestamp: i64,
    callback: F,
}

trait Table: Send {
    /// The first and the last record that has one.
    fn span(&self) -> Option<(u32, u32)>;

    /// Calls those of the records before `end`.
    fn call_before(&mut self, end: u32, resolution: &Resolution<'_>);

    /// Those of these records, which it has no longer.
    fn take(&mut self, records: &Range<u32>) -> Box<dyn Table>;

    /// What its entries take, with room for more.
    fn bytes(&self) -> usize;

    fn as_any(&mut self) -> &mut dyn Any;
}

impl Callbacks {
    /// Records come in order.
    #[inline]
    pub(super) fn push<F: Callback>(&mut self, index: u32, timestamp: i64, callback: F) {
        let entry = Entry { index, timestamp, callback };
        match self.tables.first_mut().and_then(|first| first.as_any().downcast_mut::<Of<F>>()) {
            Some(table) => table.entries.push_back(entry),
            None => self.push_beside(entry),
        }
    }

    /// Not to the first table.
    #[cold]
    fn push_beside<F: Callback>(&mut self, entry: Entry<F>) {
        if let Some(table) = self.table() {
            return table.entries.push_back(entry);
        }
        // One that was kept, for callbacks of another type.
        self.tables.retain(|table| table.span().is_some());
        if self.tables.len() < MOST_TABLES - 1 {
            return self.tables.push(Box::new(Of { entries: VecDeque::from([entry]) }));
        }
        let Entry { index, timestamp, callback } = entry;
        let entry = Entry { index, timestamp, callback: Box::new(callback) as Boxed };
        match self.table() {
            Some(table) => table.entries.push_back(entry),
            None => self.tables.push(Box::new(Of { entries: VecDeque::from([entry]) })),
        }
    }

    fn table<F: Callback>(&mut self) -> Option<&mut Of<F>> {
        self.tables.iter_mut().find_map(|table| table.as_any().downcast_mut())
    }

    /// Those of these records, which it has no longer.
    pub(super) fn take(&mut self, records: &Range<u32>) -> Self {
        let within = |(first, last): (u32, u32)| records.contains(&first) && records.contains(&last);
        if self.tables.iter().filter_map(|table| table.span()).all(within) {
            return core::mem::take(self);
        }
        Self { tables: self.tables.iter_mut().map(|table| table.take(records)).collect() }
    }

    /// Calls all, and has none then. Not to be called with the machine's lock held, for they may do anything.
    pub(super) fn call(&mut self, resolution: &Resolution<'_>) {
        if let [only] = &mut self.tables[..] {
            return only.call_before(u32::MAX, resolution);
        }
        while let Some((next, end)) = self.next() {
            self.tables[next].call_before(end, resolution);
        }
    }

    /// Whether it would serve another batch without an allocation.
    pub(super) fn is_worth_keeping(&self) -> bool {
        matches!(&self.tables[..], [only] if only.span().is_none())
    }

    fn bytes(&self) -> usize {
        self.tables.iter().map(|table| table.bytes()).sum()
    }

    /// The table of the next callback, and the record at which it is another's turn.
    fn next(&self) -> Option<(usize, u32)> {
        let firsts = || {
            let spans = self.tables.iter().map(|table| table.span()).enumerate();
            spans.filter_map(|(place, span)| Some((span?.0, place)))
        };
        let (_, next) = firsts().min()?;
        // Of one record, who stands first comes first.
        let turn = |(first, place): (u32, usize)| if place > next { first + 1 } else { first };
        let end = firsts().filter(|(_, place)| *place != next).map(turn).min();
        Some((next, end.filter(|_| !planted("one-type-after-the-other")).unwrap_or(u32::MAX)))
    }
}

impl Spares {
    /// Callbacks that are none yet.
    pub(super) fn take(&mut self) -> Callbacks {
        let taken = self.kept.pop().unwrap_or_default();
        self.bytes -= taken.bytes();
        taken
    }

    /// Those that [are worth it](Callbacks::is_worth_keeping), as far as there is room.
    pub(super) fn keep(&mut self, callbacks: impl Iterator<Item = Callbacks>) {
        for callbacks in callbacks {
            let bytes = self.bytes + callbacks.bytes();
            if bytes <= SPARE_BYTES {
                self.bytes = bytes;
                self.kept.push(callbacks);
            }
        }
    }
}

impl<F: Callback> Of<F> {
    /// The next one that is to be called, of a record before `end`.
    #[inline]
    fn next_before(&mut self, end: u32) -> Option<Entry<F>> {
        if end < u32::MAX {
            self.entries.front().filter(|entry| entry.index < end)?;
        }
        self.entries.pop_front()
    }

    fn call_until_panic(&mut self, end: u32, Resolution { told, records, outcome }: &Resolution<'_>) {
        match outcome {
            Ok(written) => {
                while let Some(Entry { index, timestamp, callback }) = self.next_before(end) {
                    callback(Ok(told.written(written, index - records.start, timestamp)));
                }
            }
            Err(error) => {
                while let Some(Entry { callback, .. }) = self.next_before(end) {
                    callback(Err(error.clone().into()));
                }
            }
        }
    }
}

impl<F: Callback> Table for Of<F> {
    fn span(&self) -> Option<(u32, u32)> {
        Some((self.entries.front()?.index, self.entries.back()?.index))
    }

    fn call_before(&mut self, end: u32, resolution: &Resolution<'_>) {
        // To catch is not free, so it is done for all up to the first that panics, and again for those after it.
        while caught("a delivery callback", || self.call_until_panic(end, resolution)).is_none() {}
    }

    fn take(&mut self, records: &Range<u32>) -> Box<dyn Table> {
        let before = |end: u32| self.entries.partition_point(|entry| entry.index < end);
        let named = before(records.start)..before(records.end);
        Box::new(Self { entries: self.entries.drain(named).collect() })
    }

    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<F>>()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Written;
    use alloc::sync::Arc;
    use std::sync::Mutex;

    type Calls = Arc<Mutex<Vec<(&'static str, i64, i64)>>>;

    /// A closure of a type of its own for each place in the program where this stands.
    macro_rules! note {
        ($calls:expr, $name:literal) => {{
            let calls: Calls = Arc::clone($calls);
            move |outcome: Result<Delivered, Error>| {
                let delivered = outcome.expect("it is delivered");
                calls.lock().expect("no panic").push((
                    $name,
                    delivered.offset.expect("an offset"),
                    delivered.timestamp,
                ));
            }
        }};
    }

    fn call(mut callbacks: Callbacks, records: Range<u32>) {
        let outcome = Ok(Written { base_offset: Some(100 + i64::from(records.start)), log_append_time: None });
        let told = Told { topic: &"t".into(), partition: 0 };
        callbacks.call(&Resolution { told, records: &records, outcome: &outcome });
    }

    #[test]
    fn they_are_called_in_order_whatever_their_types_and_however_they_are_cut() {
        for cuts in [&[0, 40][..], &[0, 7, 8, 23, 40], &[0, 1, 39, 40]] {
            let calls = Calls::default();
            let mut callbacks = Callbacks::default();
            let mut expected = Vec::new();
            for index in 0..40_u32 {
                let time = i64::from(index) * 10;
                callbacks.push(index, time, note!(&calls, "each"));
                expected.push(("each", 100 + i64::from(index), time));
                let name = match index % 7 {
                    0 => (callbacks.push(index, time, note!(&calls, "a")), "a").1,
                    1 => (callbacks.push(index, time, note!(&calls, "b")), "b").1,
                    2 => (callbacks.push(index, time, note!(&calls, "c")), "c").1,
                    3 => (callbacks.push(index, time, note!(&calls, "d")), "d").1,
                    4 => (callbacks.push(index, time, note!(&calls, "e")), "e").1,
                    _ => continue,
                };
                expected.push((name, 100 + i64::from(index), time));
            }
            assert!(callbacks.tables.len() <= MOST_TABLES, "{}", callbacks.tables.len());
            for cut in cuts.windows(2) {
                call(callbacks.take(&(cut[0]..cut[1])), cut[0]..cut[1]);
            }
            assert_eq!(*calls.lock().expect("no panic"), expected, "{cuts:?}");
        }
    }

    #[test]
    fn parts_may_be_told_out_of_order() {
        let calls = Calls::default();
        let mut callbacks = Callbacks::default();
        (0..4).for_each(|index| callbacks.push(index, 0, note!(&calls, "each")));
        for records in [2..4, 0..2] {
            call(callbacks.take(&records), records);
        }
        let offsets: Vec<i64> = calls.lock().expect("no panic").iter().map(|(_, offset, _)| *offset).collect();
        assert_eq!(offsets, [102, 103, 100, 101]);
    }

    #[test]
    fn what_is_left_serves_another_batch_of_callbacks_of_any_type() {
        let calls = Calls::default();
        let mut callbacks = Callbacks::default();
        let resolve = |callbacks: &mut Callbacks| {
            let outcome = Ok(Written { base_offset: Some(0), log_append_time: None });
            let told = Told { topic: &"t".into(), partition: 0 };
            callbacks.call(&Resolution { told, records: &(0..2), outcome: &outcome });
        };
        assert!(!callbacks.is_worth_keeping(), "there is no table yet");
        (0..2).for_each(|index| callbacks.push(index, 0, note!(&calls, "first")));
        assert!(!callbacks.is_worth_keeping(), "they were not called yet");
        resolve(&mut callbacks);
        assert!(callbacks.is_worth_keeping());
        let mut spares = Spares::default();
        spares.keep(core::iter::once(callbacks));
        let mut callbacks = spares.take();
        assert_eq!((callbacks.tables.len(), spares.bytes), (1, 0));
        (0..2).for_each(|index| callbacks.push(index, 0, note!(&calls, "second")));
        assert_eq!(callbacks.tables.len(), 1, "the empty one made room");
        resolve(&mut callbacks);
        let names: Vec<&str> = calls.lock().expect("no panic").iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["first", "first", "second", "second"]);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let empty = || {
            let mut entries = VecDeque::with_capacity(SPARE_BYTES / size_of::<Entry<Boxed>>() / 3);
            entries.push_back(Entry { index: 0, timestamp: 0, callback: Box::new(|_| ()) as Boxed });
            entries.clear();
            Callbacks { tables: SmallVec::from_iter([Box::new(Of { entries }) as Box<dyn Table>]) }
        };
        let mut spares = Spares::default();
        spares.keep((0..5).map(|_| empty()));
        assert_eq!(spares.kept.len(), 3);
        drop(spares.take());
        spares.keep((0..5).map(|_| empty()));
        assert_eq!(spares.kept.len(), 3);
    }

    #[test]
    fn a_panic_is_its_own_affair() {
        let calls = Calls::default();
        let mut callbacks = Callbacks::default();
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("this test wants another");
            }
        }
        callbacks.push(0, 0, |_| std::panic::panic_any(Bomb));
        callbacks.push(1, 0, note!(&calls, "after"));
        call(callbacks.take(&(0..2)), 0..2);
        assert_eq!(*calls.lock().expect("no panic"), [("after", 101, 0)]);
    }
}
