//! Who waits for records, for hosts that drive the machine themselves.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::error::DeliveryError;
use crate::event::Delivery;
use crate::ids::RecordId;

/// Values of records that were accepted, until their [`Delivery`]: callbacks, channels, numbers of one's own. For hosts that drive
/// a [`Producer`](crate::Producer) themselves; one table for each.
///
/// ```
/// use milena::{Completions, Event, Output, Producer, Record, SendError};
///
/// fn send(producer: &mut Producer, open: &mut Completions<String>, now: milena::Instant) -> Result<(), SendError> {
///     let sent = producer.send(now, &Record::new("orders").value("3 apples"))?;
///     open.insert(sent.id, "apples".to_string());
///     Ok(())
/// }
///
/// fn tell(output: Output, open: &mut Completions<String>) {
///     if let Output::Event(Event::Delivered(delivery)) = output {
///         for (name, outcome) in open.take(&delivery) {
///             println!("{name}: {outcome:?}"); // Ok(Some(offset)), or why not
///         }
///     }
/// }
/// ```
///
/// Values are kept in tables by the batch's slot, so that both calls take constant time a record. Those of records that were not
/// inserted cost nothing but a place where a later one of the same batch was.
pub struct Completions<T> {
    /// By slot.
    batches: Vec<Batch<T>>,
    len: usize,
}

struct Batch<T> {
    generation: u32,
    /// By the record's index.
    values: Vec<Option<T>>,
    len: usize,
}

impl<T> Default for Completions<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Completions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T> Completions<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { batches: Vec::new(), len: 0 }
    }

    /// How many values are kept.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is kept.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps `value` for a record that [`send`](crate::Producer::send) has just accepted. Returns what was kept for it before.
    pub fn insert(&mut self, id: RecordId, value: T) -> Option<T> {
        let (slot, index) = (id.batch.slot(), id.index as usize);
        if self.batches.len() <= slot {
            self.batches.resize_with(slot + 1, || Batch { generation: 0, values: Vec::new(), len: 0 });
        }
        let batch = &mut self.batches[slot];
        if batch.generation != id.batch.generation() {
            // The one before was named by its deliveries; if the host did not hand them in, nobody asks for these any more.
            self.len -= batch.len;
            *batch = Batch { generation: id.batch.generation(), values: Vec::new(), len: 0 };
        }
        if batch.values.len() <= index {
            batch.values.resize_with(index + 1, || None);
        }
        let before = batch.values[index].replace(value);
        if before.is_none() {
            batch.len += 1;
            self.len += 1;
        }
        before
    }

    /// Takes the values of the records that a delivery names, in the order in which they were sent, each with the record's offset
    /// (`None` where no broker told it) or the error. They are out of the table, whether the iterator is used up or not.
    pub fn take<'d>(
        &mut self,
        delivery: &'d Delivery,
    ) -> impl Iterator<Item = (T, Result<Option<i64>, &'d DeliveryError>)> + use<'d, T> {
        let taken = self.batches.get_mut(delivery.batch.slot());
        let taken = taken.filter(|batch| batch.generation == delivery.batch.generation());
        let taken = taken.map(|batch| batch.take(&delivery.records)).unwrap_or_default();
        self.len -= taken.iter().flatten().count();
        taken.into_iter().enumerate().filter_map(move |(place, value)| {
            let offset = |base: i64| base.checked_add(place as i64);
            let outcome = delivery.outcome.as_ref().map(|written| written.base_offset.and_then(offset));
            Some((value?, outcome))
        })
    }

    /// Takes all that is kept, in no particular order: for a producer that is given up without being closed.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.len = 0;
        core::mem::take(&mut self.batches).into_iter().flat_map(|batch| batch.values).flatten()
    }
}

impl<T> Batch<T> {
    fn take(&mut self, records: &Range<u32>) -> Vec<Option<T>> {
        let end = (records.end as usize).min(self.values.len());
        let start = (records.start as usize).min(end);
        let taken: Vec<Option<T>> = if start == 0 && end == self.values.len() {
            core::mem::take(&mut self.values) // mostly all at once
        } else {
            self.values[start..end].iter_mut().map(Option::take).collect()
        };
        self.len -= taken.iter().flatten().count();
        if self.len == 0 {
            self.values = Vec::new();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DeliveryErrorKind;
    use crate::event::Written;
    use crate::ids::{BatchId, TopicIndex};

    fn id(slot: u32, generation: u32, index: u32) -> RecordId {
        RecordId { batch: BatchId { slot, generation }, index }
    }

    fn delivery(of: RecordId, records: Range<u32>, base_offset: Option<i64>) -> Delivery {
        let outcome = Ok(Written { base_offset, log_append_time: None });
        Delivery { batch: of.batch, records, topic: TopicIndex(0), partition: 0, outcome }
    }

    fn taken(table: &mut Completions<&'static str>, delivery: &Delivery) -> Vec<(&'static str, Option<i64>)> {
        table.take(delivery).map(|(value, outcome)| (value, outcome.expect("delivered"))).collect()
    }

    #[test]
    fn values_come_back_with_the_offsets_of_their_records() {
        let mut table = Completions::new();
        for (index, value) in [(0, "a"), (1, "b"), (3, "d")] {
            assert_eq!(table.insert(id(2, 7, index), value), None);
        }
        assert_eq!(table.len(), 3);
        let whole = delivery(id(2, 7, 0), 0..4, Some(100));
        assert_eq!(taken(&mut table, &whole), [("a", Some(100)), ("b", Some(101)), ("d", Some(103))]);
        assert!(table.is_empty());
        assert_eq!(taken(&mut table, &whole), [], "each once");
    }

    #[test]
    fn parts_of_a_batch_that_was_split_come_one_by_one() {
        let mut table = Completions::new();
        for (index, value) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
            table.insert(id(0, 0, index), value);
        }
        let of = id(0, 0, 0);
        assert_eq!(taken(&mut table, &delivery(of, 2..4, Some(50))), [("c", Some(50)), ("d", Some(51))]);
        assert_eq!(table.len(), 2);
        let error = DeliveryError::new(DeliveryErrorKind::Aborted);
        let failed = Delivery { outcome: Err(error.clone()), ..delivery(of, 0..2, None) };
        let outcomes: Vec<_> = table.take(&failed).collect();
        assert_eq!(outcomes, [("a", Err(&error)), ("b", Err(&error))]);
        assert!(table.is_empty() && table.batches[0].values.capacity() == 0, "nothing is held for it");
    }

    #[test]
    fn slots_that_are_used_again_do_not_mix_batches() {
        let mut table = Completions::new();
        table.insert(id(0, 1, 0), "old");
        table.insert(id(0, 2, 1), "new");
        assert_eq!(table.len(), 1, "the host did not hand in the first one's delivery");
        assert_eq!(taken(&mut table, &delivery(id(0, 1, 0), 0..1, Some(0))), []);
        assert_eq!(taken(&mut table, &delivery(id(9, 1, 0), 0..1, Some(0))), []);
        drop(table.take(&delivery(id(0, 2, 0), 0..9, Some(0))));
        assert!(table.is_empty(), "though nobody looked");
        table.insert(id(3, 0, 0), "left");
        assert_eq!(table.drain().collect::<Vec<_>>(), ["left"]);
        assert!(table.is_empty());
    }
}
