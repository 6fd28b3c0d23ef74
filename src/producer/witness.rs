//! What is decided and not told yet: for who looks on from outside and wants to know each thing when it is so (`milena::simulation`).

use core::ops::Range;

use crate::connection::Role;
use crate::error::DeliveryError;
use crate::event::{Output, Written};
use crate::ids::{BatchId, ConnId};
use crate::producer::Producer;
use crate::producer::outbox::Item;
use crate::wire::Uuid;

/// What the next outputs will say, as far as it concerns batches.
#[derive(Debug)]
pub(crate) enum Decided<'a> {
    /// What became of these records of a batch.
    Outcome(BatchId, Range<u32>, &'a Result<Written, DeliveryError>),
    /// A connection is given up, with what is unanswered on it.
    Disconnect(ConnId),
    /// Something else.
    Other,
}

impl Producer {
    /// What [`poll_output`](Self::poll_output) hands out next, without any further work.
    pub(crate) fn decided(&self) -> impl Iterator<Item = Decided<'_>> {
        self.outbox.items().map(|item| match item {
            Item::Delivery(slot, outcome) => {
                let batch = &self.records.batches[*slot];
                Decided::Outcome(batch.id(), batch.range(), outcome)
            }
            Item::Output(Output::Disconnect(conn)) => Decided::Disconnect(*conn),
            Item::Output(_) => Decided::Other,
        })
    }

    /// The id of the broker that the connection is for, whoever has its address now.
    pub(crate) fn node_of(&self, conn: ConnId) -> Option<i32> {
        match self.sessions.connections.get(&conn)?.role {
            Role::Broker(broker) => Some(self.control.brokers[broker].id),
            Role::Control => None,
        }
    }

    /// The id of a topic, as far as it is known; zeros where brokers tell none.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Uuid> {
        Some(self.records.topics[self.records.topics.look(topic)?].id)
    }
}
