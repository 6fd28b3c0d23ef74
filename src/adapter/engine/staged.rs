//! What the test behind a mock orders: records that are refused, answers that mean something else.

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::super::effects::Effects;
use super::super::error::Error;
use super::{Engine, State};
use crate::error::{DeliveryError, DeliveryErrorKind, ErrorCode, SendError};
use crate::event::{Delivery, Output};
use crate::record::Record;

/// What the test behind a mock has ordered.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// So many records are refused, each for such a reason, in this order.
    refusals: VecDeque<(usize, SendError)>,
    /// What the answer that is being read is to mean.
    failure: Option<DeliveryError>,
}

impl Engine {
    /// The next so many records are refused for this reason.
    pub(in crate::adapter) fn refuse_next(&self, times: usize, error: SendError) {
        if times > 0 {
            self.lock().staged.refusals.push_back((times, error));
        }
    }

    /// What a call that waits says after it has waited in vain: a test need not wait for that.
    pub(super) fn as_after_waiting(&self, record: &Record<'_>, error: SendError) -> Error {
        let after = self.max_block;
        if let SendError::NotReady { .. } = error {
            return Error::TopicUnknown { topic: record.topic.to_string(), after, why: None };
        }
        if let SendError::BufferFull { .. } = error {
            return Error::BufferFull { after, why: None };
        }
        Error::Send(error)
    }

    /// Drains as [`drain`](Self::drain) does, after an answer that refuses a record ([`ErrorCode::INVALID_RECORD`]) and is to mean
    /// this.
    pub(in crate::adapter) fn drain_failure(
        &self,
        error: DeliveryError,
        commands: &mut Vec<Output>,
        effects: &mut Effects,
    ) {
        self.lock().staged.failure = Some(error);
        self.drain(commands, effects);
        self.lock().staged.failure = None;
    }
}

impl State {
    /// The delivery, with the error that the test wants for the one that it stands for.
    pub(super) fn staged(&mut self, mut delivery: Delivery) -> Delivery {
        if let Err(error) = &mut delivery.outcome {
            if error.kind == DeliveryErrorKind::Refused(ErrorCode::INVALID_RECORD) {
                if let Some(staged) = self.staged.failure.take() {
                    let place = (core::mem::take(&mut error.topic), error.partition);
                    *error = staged;
                    if error.topic.is_empty() {
                        (error.topic, error.partition) = place;
                    }
                }
            }
        }
        delivery
    }
}

impl Staged {
    /// Why this record is refused, if one was to be.
    #[inline]
    pub(super) fn refusal(&mut self) -> Option<SendError> {
        if self.refusals.is_empty() { None } else { self.next() }
    }

    #[cold]
    fn next(&mut self) -> Option<SendError> {
        let (times, error) = self.refusals.front_mut()?;
        let error = error.clone();
        *times -= 1;
        if *times == 0 {
            self.refusals.pop_front();
        }
        Some(error)
    }
}
