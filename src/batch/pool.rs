//! `buffer.memory`: the chunks that batches are written into, charged by capacity when taken, credited when back.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::memory;
use crate::planted::planted;

/// The sizes of chunks, in bytes.
const SIZES: [usize; 7] = [256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10];

/// A size of chunk: an index into [`SIZES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class(u8);

impl Class {
    /// For the first chunk of a partition's first batch: small, so that many quiet partitions cost little.
    pub(crate) const FIRST: Self = Self(2);
    /// The largest.
    pub(crate) const LARGEST: Self = Self(SIZES.len() as u8 - 1);

    /// The smallest class that holds `bytes`, or the largest there is.
    pub(crate) fn holding(bytes: usize) -> Self {
        let index = SIZES.iter().position(|size| *size >= bytes).unwrap_or(SIZES.len() - 1);
        Self(index as u8)
    }

    /// Bytes in a chunk of this class.
    pub(crate) fn size(self) -> usize {
        SIZES[usize::from(self.0)]
    }

    /// The largest class that `bytes` fill, or the smallest there is.
    pub(crate) fn filled_by(bytes: usize) -> Self {
        let index = SIZES.iter().rposition(|size| *size <= bytes).unwrap_or(0);
        Self(index as u8)
    }

    /// The class for the chunk after one of this class: four times as large, or the largest.
    pub(crate) fn up(self) -> Self {
        Self((self.0 + 2).min(Self::LARGEST.0))
    }
}

/// What a batch takes besides its chunks, in bytes: its entry in the table of batches, the table of its chunks, the heads of
/// these.
pub(crate) const ENTRY: usize = 512;

/// All chunks of a producer. What is in use plus what lies free never exceeds the capacity, but for splits (see
/// [`Pool::take_reserve`]).
#[derive(Debug)]
pub(crate) struct Pool {
    capacity: usize,
    /// Memory may lack before the capacity is used up: it is looked for each time.
    small: bool,
    /// Bytes of chunks in use: in batches, or still held by a writer.
    used: usize,
    /// Bytes of the batches' entries.
    entries: usize,
    /// Bytes of chunks in `free`.
    idle: usize,
    free: [Vec<BytesMut>; SIZES.len()],
    /// What has to stay free when a chunk is made.
    pub(crate) spare: usize,
    /// There was no more memory, and nothing has come back since.
    exhausted: bool,
    /// Chunks whose batch is done, but of which a writer still holds a clone, each with what is credited when it comes back.
    lent: VecDeque<(Bytes, usize)>,
}

impl Pool {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            small: memory::is_small(capacity),
            used: 0,
            entries: 0,
            idle: 0,
            spare: memory::spare(0),
            exhausted: false,
            free: Default::default(),
            lent: VecDeque::new(),
        }
    }

    /// A chunk, or `None` if that would exceed the capacity. Its bytes are all there, with any values.
    pub(crate) fn take(&mut self, class: Class) -> Option<BytesMut> {
        if self.used() + class.size() > self.capacity {
            return None;
        }
        let size = class.size();
        if let Some(idle) = self.free[usize::from(class.0)].pop() {
            // What lies idle is no use if nothing is left to send it with.
            self.idle -= size;
            self.used += size;
            if !self.small || self.make_room_for_records(0) {
                return Some(idle);
            }
            drop(idle);
            self.used -= size;
            return None;
        }
        if !self.make_room_for_records(size) {
            return None;
        }
        Some(self.take_reserve(class))
    }

    /// Gives memory that lies idle back to the allocator until that has so many bytes in one piece. Whether it has.
    pub(crate) fn make_room(&mut self, bytes: usize) -> bool {
        self.make_room_beside(bytes, 0)
    }

    /// As [`Pool::make_room`], with what has to stay free.
    pub(crate) fn make_spare_room(&mut self, bytes: usize) -> bool {
        self.make_room_beside(bytes, self.spare)
    }

    /// As [`Pool::make_room`], with `spare` in whatever pieces.
    pub(crate) fn make_room_beside(&mut self, bytes: usize, spare: usize) -> bool {
        while !memory::has_beside(bytes, spare) {
            if !self.drop_one_idle() {
                return false;
            }
        }
        true
    }

    /// As [`Pool::make_spare_room`], for records. If there is not as much, all counts as used up until something
    /// comes back.
    pub(crate) fn make_room_for_records(&mut self, bytes: usize) -> bool {
        let room = self.make_spare_room(bytes);
        self.exhausted |= !room;
        room
    }

    /// Whether memory may lack before `buffer.memory` is used up.
    pub(crate) fn is_small(&self) -> bool {
        self.small
    }

    /// Whether requests may be as large as they like.
    pub(crate) fn is_plentiful(&self) -> bool {
        !self.small || memory::is_plentiful()
    }

    /// Whether nothing is in use: then nothing will come back.
    pub(crate) fn is_unused(&self) -> bool {
        self.used() == 0
    }

    /// A chunk, whatever the capacity: for the parts of a batch that has to be split. They take what they need and less than
    /// a smallest chunk more each; their parent's chunks come back right after.
    pub(crate) fn take_reserve(&mut self, class: Class) -> BytesMut {
        let size = class.size();
        self.used += size;
        if let Some(chunk) = self.free[usize::from(class.0)].pop() {
            self.idle -= size;
            return chunk;
        }
        while self.used() + self.idle > self.capacity && self.drop_one_idle() {}
        // A byte more than asked for: splitting it off makes the buffer reference-counted from the start, so that
        // freezing, cloning and taking it back never allocate.
        let mut chunk = BytesMut::zeroed(size + 1);
        drop(chunk.split_off(size));
        chunk
    }

    /// Counts memory that is not the pool's. False if that would exceed the capacity, or if there is no more for what it takes to
    /// send it.
    pub(crate) fn charge(&mut self, bytes: usize) -> bool {
        let room = self.used() + bytes <= self.capacity && (!self.small || self.make_room_for_records(0));
        if room {
            self.used += bytes;
            while self.used() + self.idle > self.capacity && self.drop_one_idle() {}
        }
        room
    }

    /// It does not count any more.
    pub(crate) fn credit(&mut self, bytes: usize) {
        self.exhausted = false;
        self.used -= bytes;
    }

    /// Takes a chunk back. It counts as used until no writer holds a clone of it any more, and so does what was
    /// [charged](Self::charge) `beside` it.
    pub(crate) fn give_back(&mut self, chunk: Bytes, beside: usize) {
        match chunk.try_into_mut() {
            Ok(chunk) => {
                self.credit(beside);
                self.recycle(chunk);
            }
            Err(_) if planted("lent-is-forgotten") => self.credit(beside),
            Err(chunk) => self.lent.push_back((chunk, beside)),
        }
    }

    /// Takes a chunk back that was never frozen.
    pub(crate) fn recycle(&mut self, mut chunk: BytesMut) {
        self.exhausted = false;
        let class = Class::holding(chunk.capacity() - 1);
        if chunk.capacity() > class.size() {
            // The byte that was split off when it was made came back with the rest.
            drop(chunk.split_off(class.size()));
        }
        debug_assert_eq!(chunk.len(), class.size(), "chunks come back whole");
        self.used -= class.size();
        let free = &mut self.free[usize::from(class.0)];
        // Where there is no memory to remember it, it goes back to the allocator.
        if free.try_reserve(1).is_ok() {
            self.idle += class.size();
            free.push(chunk);
        }
    }

    /// Looks whether writers have let go of lent chunks: at most `limit` of them. Returns whether one came back.
    pub(crate) fn reclaim(&mut self, limit: usize) -> bool {
        let mut back = false;
        for _ in 0..limit.min(self.lent.len()) {
            let Some((chunk, beside)) = self.lent.pop_front() else { break };
            match chunk.try_into_mut() {
                Ok(chunk) => {
                    self.credit(beside);
                    self.recycle(chunk);
                    back = true;
                }
                Err(chunk) => self.lent.push_back((chunk, beside)),
            }
        }
        back
    }

    /// Whether a writer still holds clones of chunks that are done.
    pub(crate) fn has_lent(&self) -> bool {
        !self.lent.is_empty()
    }

    /// So many batches are in their table.
    pub(crate) fn count_entries(&mut self, batches: usize) {
        self.entries = batches * ENTRY;
    }

    /// Bytes in use.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        self.used + self.entries
    }

    /// Bytes that may still be taken.
    pub(crate) fn available(&self) -> usize {
        if self.exhausted { 0 } else { self.capacity.saturating_sub(self.used()) }
    }

    /// All that there are.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The largest record that chunks can hold, in bytes.
    pub(crate) fn largest(&self) -> usize {
        let chunks = self.capacity.saturating_sub(ENTRY);
        chunks - chunks % SIZES[0]
    }

    /// Gives one chunk that lies idle back to the allocator. False if there is none.
    pub(crate) fn drop_one_idle(&mut self) -> bool {
        for (list, size) in self.free.iter_mut().zip(SIZES).rev() {
            if list.pop().is_some() {
                self.idle -= size;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_charged_by_its_size_and_credited_when_back() {
        let mut pool = Pool::new(20 << 10);
        let chunk = pool.take(Class::LARGEST).unwrap();
        assert_eq!(pool.used(), 16 << 10);
        assert!(pool.take(Class::LARGEST).is_none());
        assert!(pool.take(Class::holding(4096)).is_some());
        pool.give_back(chunk.freeze(), 0);
        assert_eq!(pool.used(), 4 << 10);
    }

    #[test]
    fn a_chunk_that_a_writer_holds_stays_charged() {
        let mut pool = Pool::new(64 << 10);
        let chunk = pool.take(Class::FIRST).unwrap().freeze();
        let clone = chunk.clone();
        pool.give_back(chunk, 0);
        assert_eq!(pool.used(), 1 << 10);
        assert!(!pool.reclaim(10));
        drop(clone);
        assert!(pool.reclaim(10));
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn idle_chunks_give_way_to_other_sizes() {
        let mut pool = Pool::new(16 << 10);
        let small: Vec<_> = (0..16).map(|_| pool.take(Class::FIRST).unwrap()).collect();
        for chunk in small {
            pool.recycle(chunk);
        }
        assert_eq!(pool.idle, 16 << 10);
        let _large = pool.take(Class::LARGEST).unwrap();
        assert_eq!(pool.idle, 0);
        assert_eq!(pool.used(), 16 << 10);
    }

    #[test]
    fn taking_back_gives_the_same_memory_again() {
        let mut pool = Pool::new(64 << 10);
        let chunk = pool.take(Class::FIRST).unwrap();
        let address = chunk.as_ptr();
        let mut frozen = chunk.freeze();
        drop(frozen.split_to(0));
        pool.give_back(frozen, 0);
        assert_eq!(pool.take(Class::FIRST).unwrap().as_ptr(), address);
    }

    #[test]
    fn idle_chunks_stay_where_there_is_room_beside_them_and_are_counted() {
        let mut pool = Pool::new(64 << 10);
        let small = pool.take(Class::FIRST).unwrap();
        pool.recycle(small);
        let large = pool.take(Class::LARGEST).unwrap();
        assert_eq!((pool.idle, pool.used()), (1 << 10, 16 << 10));
        let small = pool.take(Class::FIRST).unwrap();
        assert_eq!((pool.idle, pool.used()), (0, 17 << 10));
        pool.recycle(small);
        pool.recycle(large);
        assert_eq!((pool.idle, pool.used()), (17 << 10, 0));
        assert!(pool.charge(48 << 10));
        assert_eq!((pool.idle, pool.used()), (1 << 10, 48 << 10), "the large one went, and no more");
        assert!(!pool.charge((16 << 10) + 1) && pool.charge(16 << 10));
        assert_eq!((pool.idle, pool.used()), (0, 64 << 10));
    }
}
