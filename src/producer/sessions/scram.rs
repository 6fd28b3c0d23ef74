//! Nonces and keys of SCRAM.

use crate::connection::sasl::scram;

/// What SCRAM needs beyond one connection.
pub(crate) struct Scram {
    /// Where nonces come from.
    pub(crate) seed: [u8; 32],
    pub(crate) nonces: u64,
    /// The last keys derived: all brokers have the same salt for a user.
    pub(crate) keys: Option<(scram::Derivation, scram::Keys)>,
}

impl Scram {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, nonces: 0, keys: None }
    }
}
