//! What happens by itself: deadlines, and one piece of work after the other that earlier calls left.

use core::time::Duration;

use crate::error::DeliveryErrorKind;
use crate::event::{Event, Output};
use crate::job::{JobDone, Outcome};
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::lifecycle::Phase;
use crate::producer::timers::{Timer, Timers};
use crate::time::Instant;

/// While someone waits for memory that writers hold, they are looked at so often, and so many chunks at a time.
const MEMORY_INTERVAL: Duration = Duration::from_millis(10);
const LOOKED_AT: usize = 64;

impl Producer {
    /// The next moment at which something has to happen without an input.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let lingering = self.records.batches.oldest_lingering().map(|slot| self.linger_ends(slot));
        let oldest = self.records.batches.oldest().map(|slot| self.expires(slot));
        let in_vain = (oldest.is_some() && planted("rings-in-vain")).then(|| self.now + Duration::from_micros(10));
        [lingering, oldest, self.timers.first(), self.control_deadline(), in_vain].into_iter().flatten().min()
    }

    fn linger_ends(&self, slot: u32) -> Instant {
        self.records.batches[slot].created + self.config.linger
    }

    fn expires(&self, slot: u32) -> Instant {
        let patience = self.config.delivery_timeout;
        let patience = if planted("expires-early") { patience * 4 / 5 } else { patience };
        let patience = if planted("expires-late") { patience * 5 / 4 } else { patience };
        self.records.batches[slot].created + patience
    }

    /// `Input::Timeout`: everything whose time has come. Batches are marked by a watermark, and met one at a time.
    pub(super) fn timed_out(&mut self, now: Instant) {
        self.timeout_at = now;
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Connection(conn) => self.check_connection(now, conn),
                Timer::Broker(broker) => self.attend(broker),
                Timer::Partition(partition) => {
                    self.records.partitions[partition].backoff = None;
                    self.list_if_ready(partition);
                }
                Timer::Token => self.look_after_token(now),
                Timer::Jobs => self.look_after_jobs(now),
                Timer::Memory => {
                    while self.records.pool.has_lent() && self.records.pool.reclaim(LOOKED_AT) {}
                    self.tell_writable();
                    self.look_again_for_memory();
                }
            }
        }
        self.reclaim();
    }

    pub(super) fn job_done(&mut self, now: Instant, done: JobDone) {
        match done.result {
            Outcome::Compressed { id, compressed, chunks } => {
                drop(chunks); // so that their memory comes back at once
                self.compression_done(id, compressed);
                self.reclaim(); // also if the batch has gone meanwhile
            }
            #[cfg(feature = "scram")]
            Outcome::Derived { conn, derivation, keys } => self.derived(now, conn, derivation, keys),
            Outcome::Stepped { conn, stepped } => self.stepped(now, conn, stepped),
            #[cfg(feature = "scram")]
            Outcome::Nothing => {}
        }
    }

    /// Whether [`step`](Self::step) has something to do that no [deadline](Self::next_deadline) tells.
    pub(super) fn has_step(&self) -> bool {
        let doomed = matches!(self.life.phase, Phase::Failed(_) | Phase::Aborting | Phase::Ending(_));
        match self.records.batches.oldest() {
            Some(slot) if doomed || self.is_refused(slot) || self.expires(slot) <= self.timeout_at => return true,
            Some(_) => {}
            None if self.is_closing() => return true,
            None => {}
        }
        self.records.batches.oldest_lingering().is_some_and(|slot| self.is_due(slot))
            || (self.records.jobs.has_room() && !self.records.without_job.is_empty())
            || self.flush_is_complete()
    }

    /// One piece of work that earlier calls left; false if there is none.
    pub(super) fn step(&mut self) -> bool {
        if let Some(slot) = self.records.batches.oldest() {
            let kind = match &self.life.phase {
                Phase::Failed(fatal) | Phase::Ending(fatal) => Some(DeliveryErrorKind::Fatal(fatal.clone())),
                Phase::Aborting => Some(DeliveryErrorKind::Aborted),
                _ if self.is_refused(slot) => Some(DeliveryErrorKind::Refused(self.life.refused_below.1)),
                _ if self.expires(slot) <= self.timeout_at => {
                    Some(DeliveryErrorKind::TimedOut(self.records.batches[slot].last_error))
                }
                Phase::Running | Phase::Closing | Phase::Closed => None,
            };
            if let Some(kind) = kind {
                self.fail(slot, kind, None);
                return true;
            }
        }
        if let Some(slot) = self.records.batches.oldest_lingering().filter(|slot| self.is_due(*slot)) {
            self.make_due(slot);
            return true;
        }
        if self.start_job() {
            return true;
        }
        let oldest = self.records.batches.oldest().map(|slot| self.records.batches[slot].serial);
        if let Some((id, failed)) = self.life.flushes.take_complete(oldest) {
            self.outbox.event(Event::Flushed { id, failed });
            return true;
        }
        if oldest.is_none() && self.is_closing() {
            self.close_one();
            return true;
        }
        self.pursue_control()
    }

    /// Whether it is among those that no producer id was given for.
    fn is_refused(&self, slot: u32) -> bool {
        self.records.batches[slot].serial < self.life.refused_below.0
    }

    /// Whether it is over as soon as nothing is open.
    fn is_closing(&self) -> bool {
        matches!(self.life.phase, Phase::Closing | Phase::Aborting | Phase::Ending(_))
    }

    fn is_due(&self, lingering: u32) -> bool {
        (self.records.batches[lingering].serial < self.records.due_below && !planted("flush-lingers"))
            || self.linger_ends(lingering) <= self.timeout_at
    }

    fn flush_is_complete(&self) -> bool {
        let oldest = self.records.batches.oldest().map(|slot| self.records.batches[slot].serial);
        self.life.flushes.is_complete(oldest)
    }

    /// Nothing is open any more: closes a connection, or is closed.
    fn close_one(&mut self) {
        match self.sessions.connections.pop_first() {
            Some((conn, _)) => {
                self.timers.clear(Timer::Connection(conn));
                self.outbox.output(Output::Disconnect(conn));
            }
            None => {
                self.life.phase = Phase::Closed;
                self.timers = Timers::default();
                self.outbox.event(Event::Closed);
            }
        }
    }

    /// Nobody says when a writer lets go of a chunk: while someone waits for memory, it is looked for again and again.
    pub(super) fn look_again_for_memory(&mut self) {
        self.nothing_new = false;
        if self.records.starved.is_some() && self.records.pool.has_lent() {
            self.timers.set_if_sooner(Timer::Memory, self.now + MEMORY_INTERVAL);
        }
    }

    /// Looks for memory that writers let go of, and tells who waits for it. Returns whether some came back.
    pub(super) fn reclaim(&mut self) -> bool {
        let back = self.records.pool.has_lent() && self.records.pool.reclaim(8);
        self.tell_writable();
        back
    }

    pub(super) fn tell_writable(&mut self) {
        if self.records.starved.is_some_and(|needed| needed <= self.records.pool.available()) {
            self.records.starved = None;
            self.outbox.event(Event::Writable { bytes: self.records.pool.available() });
        }
    }

    /// The margin by which a request may be late beyond what the broker was told.
    pub(super) fn request_patience(&self) -> Duration {
        self.config.request_timeout + (self.config.request_timeout / 8).min(Duration::from_secs(2))
    }
}
