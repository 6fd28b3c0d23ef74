//! How far the control requests other than metadata are.

use crate::time::Instant;

/// Whether a producer id was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProducerIdRequest {
    /// It may be.
    #[default]
    Idle,
    /// It was, after so many failures.
    InFlight(u32),
    /// Not before this time; after so many failures.
    BackingOff(Instant, u32),
}

/// Whether the list of all topics was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Nobody wants it.
    #[default]
    Idle,
    /// It is to be asked for.
    Wanted,
    /// It was.
    InFlight,
}

impl Listing {
    /// Someone wants it; whoever wants it while it is on its way gets the same.
    pub(crate) fn want(&mut self) {
        if *self == Self::Idle {
            *self = Self::Wanted;
        }
    }
}
