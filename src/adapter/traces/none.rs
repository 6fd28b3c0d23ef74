//! Without the feature `tracing`: nobody is told anything.

use super::completion::Delivered;
use super::error::Error;
use crate::record::Record;

/// None are made.
#[derive(Clone, Debug)]
pub(super) struct Sends;

impl Sends {
    pub(super) fn are_wanted(&self) -> bool {
        false
    }

    pub(super) fn span(&self, _: &Record<'_>) -> SendSpan {
        SendSpan
    }
}

/// Nothing.
#[derive(Debug)]
pub(super) struct SendSpan;

impl SendSpan {
    pub(super) fn is_none(&self) -> bool {
        true
    }

    pub(super) fn within<T>(&self, call: impl FnOnce() -> T) -> T {
        call()
    }

    pub(super) fn goes_to(&self, _: &str) {}

    pub(super) fn shared(self) -> SharedSpan {
        SharedSpan
    }
}

/// Nothing.
#[derive(Clone, Debug)]
pub(super) struct SharedSpan;

impl SharedSpan {
    pub(super) fn end(&self, _: &Result<Delivered, Error>) {}
}
