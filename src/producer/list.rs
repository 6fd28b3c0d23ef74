//! Doubly linked lists threaded through the entries of a table: insertion and removal anywhere in O(1), no allocation.

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

/// An entry's neighbours in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    previous: u32,
    next: u32,
}

impl Links {
    pub(crate) const UNLINKED: Self = Self { previous: NONE, next: NONE };

    /// The entry after this one.
    pub(crate) fn next(self) -> Option<u32> {
        (self.next != NONE).then_some(self.next)
    }
}

/// A table whose entries have links for lists of the kind `K`.
pub(crate) trait Table<K: Copy> {
    /// The entry's links for lists of this kind. An entry is in at most one list of a kind.
    fn links(&mut self, kind: K, entry: u32) -> &mut Links;
}

/// A list: its two ends. Everything else is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(crate) const EMPTY: Self = Self { head: NONE, tail: NONE };

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// The first entry.
    pub(crate) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    pub(crate) fn push_back<K: Copy>(&mut self, table: &mut impl Table<K>, kind: K, entry: u32) {
        let previous = self.tail;
        self.insert_between(table, kind, previous, entry, NONE);
    }

    /// Inserts `entry` before `next`, or at the end if that is `None`.
    pub(crate) fn insert_before<K: Copy>(&mut self, table: &mut impl Table<K>, kind: K, next: Option<u32>, entry: u32) {
        match next {
            None => self.push_back(table, kind, entry),
            Some(next) => {
                let previous = table.links(kind, next).previous;
                self.insert_between(table, kind, previous, entry, next);
            }
        }
    }

    pub(crate) fn remove<K: Copy>(&mut self, table: &mut impl Table<K>, kind: K, entry: u32) {
        let Links { previous, next } = core::mem::replace(table.links(kind, entry), Links::UNLINKED);
        match previous {
            NONE => self.head = next,
            previous => table.links(kind, previous).next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => table.links(kind, next).previous = previous,
        }
    }

    fn insert_between<K: Copy>(&mut self, table: &mut impl Table<K>, kind: K, previous: u32, entry: u32, next: u32) {
        *table.links(kind, entry) = Links { previous, next };
        match previous {
            NONE => self.head = entry,
            previous => table.links(kind, previous).next = entry,
        }
        match next {
            NONE => self.tail = entry,
            next => table.links(kind, next).previous = entry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    impl Table<()> for Vec<Links> {
        fn links(&mut self, (): (), entry: u32) -> &mut Links {
            &mut self[entry as usize]
        }
    }

    fn entries(list: &List, table: &mut Vec<Links>) -> Vec<u32> {
        let mut entries = Vec::new();
        let mut at = list.first();
        while let Some(entry) = at {
            entries.push(entry);
            at = table.links((), entry).next();
        }
        assert_eq!(entries.last().copied(), list.last());
        entries
    }

    #[test]
    fn entries_stay_in_order_through_insertions_and_removals() {
        let mut table = vec![Links::UNLINKED; 6];
        let mut list = List::EMPTY;
        for entry in [0, 1, 2] {
            list.push_back(&mut table, (), entry);
        }
        list.insert_before(&mut table, (), Some(0), 3);
        list.insert_before(&mut table, (), Some(2), 4);
        list.insert_before(&mut table, (), None, 5);
        assert_eq!(entries(&list, &mut table), [3, 0, 1, 4, 2, 5]);
        for (removed, left) in [(3, vec![0, 1, 4, 2, 5]), (5, vec![0, 1, 4, 2]), (1, vec![0, 4, 2])] {
            list.remove(&mut table, (), removed);
            assert_eq!(entries(&list, &mut table), left);
        }
        for entry in [4, 0, 2] {
            list.remove(&mut table, (), entry);
        }
        assert!(list.is_empty());
    }
}
