//! Who the brokers are, who leads what, and under which producer id.

pub(crate) mod brokers;
pub(crate) mod metadata;
pub(crate) mod requests;
