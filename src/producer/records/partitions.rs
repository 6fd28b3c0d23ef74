//! The table of partitions: what is queued, what is sent, and where each stands with its leader and its sequence.

use alloc::vec::Vec;

use crate::batch::Class;
use crate::memory;
use crate::planted::planted;
use crate::producer::delivery::idempotence::Sequencing;
use crate::producer::list::{Links, List, Table};
use crate::producer::records::batches::{Batches, Chain, State};
use crate::time::Instant;

/// A kind of list that partitions are in: those ready to be sent, of one broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready;

/// Those whose next batch waits to be compressed by a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting;

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Index of its topic.
    pub(crate) topic: u32,
    /// Its number in the topic.
    pub(crate) number: i32,
    /// Index of the broker that leads it, if known.
    pub(crate) leader: Option<u32>,
    /// When the leader was last learnt, or lost.
    pub(crate) led_since: Instant,
    /// The newest leader epoch seen; −1 for none.
    pub(crate) leader_epoch: i32,
    /// How often in a row metadata told an older one.
    pub(crate) older_epochs: u32,
    /// The same, whatever was told between, since it was idle or a batch was acknowledged.
    pub(crate) older_in_all: u32,
    /// Only a hint has told that epoch, no metadata yet.
    pub(crate) hinted: bool,
    /// The server that last told something new of it while it had records, if none was delivered since.
    pub(crate) told_by: Option<u32>,
    /// Batches not sent yet, oldest first; the last may be open. Without idempotence also those to be sent again.
    pub(crate) queued: List,
    /// How many batches are in `queued`.
    pub(crate) queued_count: usize,
    /// Batches that were sent and are not resolved, oldest first. With idempotence also those that are resolved but wait
    /// for earlier ones: the list is in order of sequence.
    pub(crate) sent: List,
    /// How many batches are in `sent`.
    pub(crate) sent_count: usize,
    /// How many of them are on the wire.
    pub(crate) on_wire: usize,
    /// Retries wait until then.
    pub(crate) backoff: Option<Instant>,
    /// The broker in whose ready list it is.
    pub(crate) listed: Option<u32>,
    ready: Links,
    /// Whether it is in line for a job.
    pub(crate) waits_for_job: bool,
    waiting: Links,
    /// Whether its topic has it among those that may take records without key.
    pub(crate) offered: bool,
    /// The class of the first chunk of its next batch: as large as the last batch was.
    pub(crate) first_chunk: Class,
    /// Producer id, epoch and sequence.
    pub(crate) sequencing: Sequencing,
}

/// All partitions of all topics.
#[derive(Debug)]
pub(crate) struct Partitions {
    entries: Vec<Partition>,
    /// The class of the first chunk of a partition's first batch.
    first_chunk: Class,
}

impl Table<Ready> for Partitions {
    fn links(&mut self, _: Ready, index: u32) -> &mut Links {
        &mut self.entries[index as usize].ready
    }
}

impl Table<Waiting> for Partitions {
    fn links(&mut self, _: Waiting, index: u32) -> &mut Links {
        &mut self.entries[index as usize].waiting
    }
}

impl core::ops::Index<u32> for Partitions {
    type Output = Partition;

    #[inline]
    fn index(&self, index: u32) -> &Partition {
        &self.entries[index as usize]
    }
}

impl core::ops::IndexMut<u32> for Partitions {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Partition {
        &mut self.entries[index as usize]
    }
}

impl Partitions {
    pub(crate) fn new(first_chunk: Class) -> Self {
        Self { entries: Vec::new(), first_chunk }
    }

    /// Bytes that it takes to add so many.
    pub(crate) fn to_grow(&self, more: usize) -> usize {
        memory::to_grow(&self.entries, more)
    }

    /// Makes room for so many more.
    pub(crate) fn make_room(&mut self, more: usize) {
        memory::make_room(&mut self.entries, more);
    }

    /// Adds a partition without leader; its index.
    pub(crate) fn add(&mut self, now: Instant, topic: u32, number: i32) -> u32 {
        let index = self.entries.len() as u32;
        let first_chunk = self.first_chunk;
        let partition = Partition {
            topic,
            number,
            leader: None,
            led_since: now,
            leader_epoch: -1,
            older_epochs: 0,
            older_in_all: 0,
            hinted: false,
            told_by: None,
            queued: List::EMPTY,
            queued_count: 0,
            sent: List::EMPTY,
            sent_count: 0,
            on_wire: 0,
            backoff: None,
            listed: None,
            ready: Links::UNLINKED,
            waits_for_job: false,
            waiting: Links::UNLINKED,
            offered: false,
            first_chunk,
            sequencing: Sequencing::default(),
        };
        memory::push(&mut self.entries, partition);
        index
    }
}

impl Partition {
    /// Whether nothing of it is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.sent.is_empty()
    }

    /// Whether something of it waits to leave: it goes out more slowly than it comes in.
    pub(crate) fn is_burdened(&self, batches: &Batches) -> bool {
        self.queued.first().is_some_and(|slot| batches[slot].state != State::Open)
    }

    /// The batch that takes records, if there is one.
    #[inline]
    pub(crate) fn open_batch(&self, batches: &Batches) -> Option<u32> {
        let last = self.queued.last()?;
        matches!(batches[last].state, State::Open | State::Due).then_some(last)
    }

    /// A new batch is the last in the queue.
    pub(crate) fn enqueue(&mut self, batches: &mut Batches, slot: u32) {
        self.queued.push_back(batches, Chain::Partition, slot);
        self.queued_count += 1;
    }

    /// Takes a batch out of the queue.
    pub(crate) fn dequeue(&mut self, batches: &mut Batches, slot: u32) {
        self.queued.remove(batches, Chain::Partition, slot);
        self.queued_count -= 1;
    }

    /// A batch leaves for the first time, or (without idempotence) again: from the queue to the sent ones.
    pub(crate) fn move_to_sent(&mut self, batches: &mut Batches, slot: u32) {
        self.dequeue(batches, slot);
        self.sent.push_back(batches, Chain::Partition, slot);
        self.sent_count += 1;
    }

    /// Takes a batch out of the sent ones.
    pub(crate) fn remove_sent(&mut self, batches: &mut Batches, slot: u32) {
        self.sent.remove(batches, Chain::Partition, slot);
        self.sent_count -= 1;
    }

    /// Puts a batch into the queue by its age, for a retry without idempotence. Parts of a split batch are of one age: they stand
    /// by their first records.
    pub(crate) fn requeue(&mut self, batches: &mut Batches, slot: u32) {
        let place = |slot: u32| {
            let batch = &batches[slot];
            (batch.serial, if planted("parts-out-of-order") { 0 } else { batch.range().start })
        };
        let place_of_it = place(slot);
        let mut next = self.queued.first();
        while let Some(queued) = next {
            if place(queued) > place_of_it {
                break;
            }
            next = batches.next_in_partition(queued);
        }
        self.queued.insert_before(batches, Chain::Partition, next, slot);
        self.queued_count += 1;
    }

    /// Puts the parts of a split batch in its place; they are in order.
    pub(crate) fn replace_by_parts(&mut self, batches: &mut Batches, parent: u32, parts: &[u32]) {
        let in_sent = matches!(batches[parent].state, State::InFlight(_) | State::Waiting);
        for part in parts {
            let list = if in_sent { &mut self.sent } else { &mut self.queued };
            list.insert_before(batches, Chain::Partition, Some(parent), *part);
            *(if in_sent { &mut self.sent_count } else { &mut self.queued_count }) += 1;
        }
        if in_sent {
            self.remove_sent(batches, parent);
        } else {
            self.dequeue(batches, parent);
        }
    }
}
