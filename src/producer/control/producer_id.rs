//! Asking for a producer id.

use crate::error::{ErrorCode, FatalError};
use crate::producer::Producer;
use crate::producer::control::servers::Task;
use crate::producer::delivery::idempotence::{Identity, Standing};
use crate::time::Instant;
use crate::wire::init_producer_id;

/// The codes after which a producer id is not asked for again: no such version, nonsense. After others, among them some that
/// Java gives up on, it is, with backoff: the records that wait have their own deadline.
const DEFINITE: [i16; 5] = [35, 42, 49, 53, 90];

/// `CLUSTER_AUTHORIZATION_FAILED`: no producer id for this user, until someone allows it.
const NOT_ALLOWED: i16 = 31;

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

impl ProducerIdRequest {
    pub(crate) fn failures(self) -> u32 {
        match self {
            Self::Idle => 0,
            Self::InFlight(failures) | Self::BackingOff(_, failures) => failures,
        }
    }
}

impl Producer {
    /// When a producer id is to be asked for; `None` if none is needed, or one is on its way.
    #[inline]
    pub(in crate::producer) fn producer_id_due(&self) -> Option<Instant> {
        if self.identity.standing != Standing::Needed || self.identity.without_identity.is_empty() {
            return None;
        }
        match self.control.producer_id {
            ProducerIdRequest::Idle => Some(Instant::ZERO),
            ProducerIdRequest::InFlight(_) => None,
            ProducerIdRequest::BackingOff(until, _) => Some(until),
        }
    }

    /// A server's answer. An error may be its own: it cannot reach the controllers, say. So another is asked.
    pub(in crate::producer) fn producer_id_known(
        &mut self,
        now: Instant,
        server: u32,
        response: &init_producer_id::Response,
    ) {
        match response.error {
            0 if response.producer_id >= 0 && response.epoch >= 0 && self.identity.is_new(response.producer_id) => {
                self.control.producer_id = ProducerIdRequest::Idle;
                self.control.producer_id_error = None;
                self.control.servers.helped(server);
                let (producer_id, epoch) = (response.producer_id, response.epoch);
                self.identity.note_given(producer_id);
                self.identity.standing = Standing::Known(Identity { producer_id, epoch });
                self.say_producer_id();
                self.identity_known();
            }
            code if !DEFINITE.contains(&code) => {
                self.control.producer_id_error = (code != 0).then_some(ErrorCode(code));
                self.say_no_producer_id(now, server, ErrorCode(code));
                if code == NOT_ALLOWED {
                    // As Java's: what is open fails, and whoever needs a producer id later asks again.
                    self.life.refused_below = (self.records.batches.next_serial(), ErrorCode(code));
                }
                self.producer_id_failed(now);
                self.control.servers.lose_turn(server, Some(Task::ProducerId));
            }
            35 => self.fail_for_good(FatalError::NO_PRODUCER_IDS),
            code => self.fail_for_good(FatalError::new(ErrorCode(code))),
        }
    }

    /// The request was answered with an error, or not at all: it is asked again later, whoever is asked.
    pub(in crate::producer) fn producer_id_failed(&mut self, now: Instant) {
        let failures = self.control.producer_id.failures();
        let until = now + self.retry_backoff.after(failures, &mut self.random);
        self.control.producer_id = ProducerIdRequest::BackingOff(until, failures.saturating_add(1));
    }
}
