//! What `poll_output` hands out, in order.

use alloc::collections::VecDeque;

use crate::error::DeliveryError;
use crate::event::{Event, Output, Written};
use crate::ids::ConnId;

/// Something for the host. Deliveries are made into events only when they are taken, for then their slot is free.
#[derive(Debug)]
pub(crate) enum Item {
    /// As it is.
    Output(Output),
    /// The outcome of the batch in this slot.
    Delivery(u32, Result<Written, DeliveryError>),
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    items: VecDeque<Item>,
}

/// For few batches; where there are many, there is memory.
fn room(batches: usize) -> usize {
    batches.min(32) + 4
}

impl Outbox {
    /// Bytes that it takes to have room for the outcomes of so many batches.
    pub(crate) fn to_grow(&self, batches: usize) -> usize {
        let room = room(batches);
        if room <= self.items.capacity() { 0 } else { room * size_of::<Item>() }
    }

    /// Makes that room, for nothing can be refused once outcomes are known.
    pub(crate) fn make_room(&mut self, batches: usize) {
        self.items.reserve_exact(room(batches).saturating_sub(self.items.len()));
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.items.push_back(Item::Output(Output::Event(event)));
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.items.push_back(Item::Output(output));
    }

    /// The host has said that the connection is gone, so there is nothing to close.
    pub(crate) fn withdraw(&mut self, conn: ConnId) {
        self.items.retain(|item| !matches!(item, Item::Output(Output::Disconnect(other)) if *other == conn));
    }

    pub(crate) fn transmit(&mut self, conn: ConnId) {
        self.items.push_back(Item::Output(Output::Transmit(conn)));
    }

    pub(crate) fn delivery(&mut self, slot: u32, outcome: Result<Written, DeliveryError>) {
        self.items.push_back(Item::Delivery(slot, outcome));
    }

    pub(crate) fn take(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_to_have_room_for_outcomes_is_said_where_there_is_none() {
        let mut outbox = Outbox::default();
        for batches in [1, 5, 30] {
            assert!(outbox.to_grow(batches) >= (batches + 4) * size_of::<Item>());
            outbox.make_room(batches);
            assert_eq!(outbox.to_grow(batches), 0);
        }
    }
}
