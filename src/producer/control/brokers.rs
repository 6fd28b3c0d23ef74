//! The brokers: node ids, where they are, what they lead, and the connections for records.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::ConnId;
use crate::memory;
use crate::producer::list::List;
use crate::time::Instant;

/// One broker of the cluster.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Its node id.
    pub(crate) id: i32,
    /// Its address, in the table of servers.
    pub(crate) server: u32,
    /// Whether the newest metadata names it.
    pub(crate) current: bool,
    /// The connection for records.
    pub(crate) conn: Option<ConnId>,
    /// Whether the newest metadata puts it into `client.rack`.
    pub(crate) in_rack: bool,
    /// How many partitions it leads, as far as is known.
    pub(crate) leads: usize,
    /// Partitions that have something to send and may, in turn.
    pub(crate) ready: List,
    /// Since when something has been ready and nothing could be sent; for `partitioner.availability.timeout.ms`.
    pub(crate) stuck_since: Option<Instant>,
    /// The size of the largest Produce request that it has answered.
    pub(crate) largest_answered: usize,
}

/// All brokers.
#[derive(Debug, Default)]
pub(crate) struct Brokers {
    entries: Vec<Broker>,
    by_id: BTreeMap<i32, u32>,
    /// Entries of brokers that are gone.
    free: Vec<u32>,
}

impl core::ops::Index<u32> for Brokers {
    type Output = Broker;

    #[inline]
    fn index(&self, index: u32) -> &Broker {
        &self.entries[index as usize]
    }
}

impl core::ops::IndexMut<u32> for Brokers {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Broker {
        &mut self.entries[index as usize]
    }
}

impl Brokers {
    /// The index of the broker with this node id.
    pub(crate) fn find(&self, id: i32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// As [`Brokers::find`], if the newest metadata names it.
    pub(crate) fn find_current(&self, id: i32) -> Option<u32> {
        self.find(id).filter(|index| self[*index].current)
    }

    /// Adds a broker; its index.
    pub(crate) fn add(&mut self, id: i32, server: u32) -> u32 {
        let broker = Broker {
            id,
            server,
            current: true,
            conn: None,
            in_rack: false,
            leads: 0,
            ready: List::EMPTY,
            stuck_since: None,
            largest_answered: 0,
        };
        let index = match self.free.pop() {
            Some(free) => {
                self[free] = broker;
                free
            }
            None => {
                memory::push(&mut self.entries, broker);
                self.entries.len() as u32 - 1
            }
        };
        self.by_id.insert(id, index);
        index
    }

    /// The broker is gone: no partition names it, and there is no connection to it.
    pub(crate) fn remove(&mut self, index: u32) {
        let id = self[index].id;
        self.by_id.remove(&id);
        self[index].current = false;
        self.free.push(index);
    }

    /// New metadata is about to be learnt: no broker is part of it yet.
    pub(crate) fn begin_update(&mut self) {
        for index in self.by_id.values() {
            self.entries[*index as usize].current = false;
        }
    }

    /// All brokers that are known, with their indices.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, &Broker)> {
        self.by_id.values().map(|index| (*index, &self[*index]))
    }

    /// Those that the newest metadata names.
    pub(crate) fn current(&self) -> impl Iterator<Item = (u32, &Broker)> {
        self.all().filter(|(_, broker)| broker.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_are_gone_make_room_for_others() {
        let mut brokers = Brokers::default();
        let stays = brokers.add(-1, 0);
        for id in 0..5000 {
            brokers.begin_update();
            let index = brokers.add(id, 0);
            assert_eq!(brokers.find_current(id), Some(index));
            assert_eq!(brokers.find_current(-1), None);
            brokers.remove(index);
            assert_eq!(brokers.find(id), None);
        }
        assert_eq!((brokers.entries.len(), brokers.find(-1)), (2, Some(stays)));
    }
}
