//! Connections, and who the producer is on them.

pub(crate) mod auth;
pub(crate) mod connections;
pub(crate) mod mechanism;
#[cfg(feature = "scram")]
pub(crate) mod scram;
pub(crate) mod tokens;
