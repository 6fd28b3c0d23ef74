//! What is asked of any server: who the brokers are, who leads what, and under which producer id batches leave.

pub(crate) mod brokers;
pub(crate) mod metadata;
pub(crate) mod producer_id;
pub(crate) mod refresh;
pub(crate) mod requests;
pub(crate) mod servers;
