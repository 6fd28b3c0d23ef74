//! What applications ask besides sending, what they wait for in that, and why they wait in vain.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::super::error::Error;
use super::super::waiter::{Asked, Closing, Flush, Wait, Waiter};
use super::{Engine, Life, State, make};
use crate::error::{ErrorCode, SendError};
use crate::event::{PartitionInfo, TopicListing};
use crate::ids::TopicIndex;
use crate::planted::planted;
use crate::producer::Producer;
use crate::time::Instant;

/// Takes out the one who waited there, if it still did.
fn forget<T>(asked: &mut Vec<Arc<Asked<T>>>, waiter: &Arc<Waiter>) -> bool {
    let before = asked.len();
    asked.retain(|other| !Arc::ptr_eq(&other.waiter, waiter));
    asked.len() < before
}

/// The topic is known, so it is the record's partition that is not.
fn only(partitions: usize) -> String {
    std::format!("it has {partitions} partitions, and none of the number that the record names")
}

/// From then on whoever waits in vain is told that the driver was never polled.
const NEW_DRIVER: Duration = Duration::from_millis(100);

/// From then on whoever waits in vain is told that the driver does nothing.
const IDLE_DRIVER: Duration = Duration::from_secs(1);

impl Engine {
    /// Whoever waited does so no longer, without having sent.
    pub(in crate::adapter) fn give_up(&self, wait: &Wait) {
        let now = self.clock.now();
        let mut state = self.lock();
        let calls = match wait {
            Wait::Memory(ticket) => state.after_sending(now, Some(ticket), false),
            Wait::Asked(waiter) => {
                let State { producer, listings, pings, .. } = &mut *state;
                // For those that are left another server is asked: this one's answer may come too late for them, too.
                if forget(listings, waiter) {
                    producer.cancel_list_topics(now);
                    if !listings.is_empty() {
                        let _ = producer.list_topics(now); // whoever waits is told by an event
                    }
                }
                if forget(pings, waiter) {
                    producer.cancel_ping(now);
                    if !pings.is_empty() && !planted("who-is-left-waits-on") {
                        let _ = producer.ping(now);
                    }
                }
                state.wake(now)
            }
            Wait::Topic(topic, waiter) => {
                if let Some(waiters) = state.topics.get_mut(topic) {
                    waiters.retain(|other| !Arc::ptr_eq(other, waiter));
                }
                None
            }
        };
        drop(state);
        make(calls);
    }

    /// The error for a wait that took all of `max.block.ms`.
    pub(in crate::adapter) fn too_long(&self, topic: &str, wait: &Wait) -> Error {
        let now = self.clock.now();
        let state = self.lock();
        if let Life::Gone(why) | Life::Failing(why) = &state.life {
            return Error::Gone { why: why.clone() };
        }
        let after = self.max_block;
        let why = || state.idle_driver(now).or_else(|| Some(state.producer.why_unasked(now)?.to_string()));
        let full = || state.idle_driver(now).or_else(|| Some(state.producer.why_full(now)?.to_string()));
        match wait {
            Wait::Memory(_) => Error::BufferFull { after, why: full() },
            Wait::Asked(_) => Error::NoMetadata { after, why: why() },
            Wait::Topic(index, _) => {
                let said =
                    state.producer.topic_error(*index).map(|code: ErrorCode| std::format!("the cluster says {code}"));
                let others = || state.producer.partitions(topic).map(|partitions| only(partitions.len()));
                Error::TopicUnknown { topic: topic.to_string(), after, why: said.or_else(others).or_else(why) }
            }
        }
    }

    /// The error for a list of topics that can't be had. `until`: how long the caller would have waited.
    pub(in crate::adapter) fn not_listed(&self, until: Option<Instant>, why: String) -> Error {
        let left = until.map_or(Duration::ZERO, |until| until.saturating_since(self.clock.now()));
        Error::NoMetadata { after: self.max_block.saturating_sub(left), why: Some(why) }
    }

    /// The topic's partitions, or what to wait for.
    pub(in crate::adapter) fn partitions(
        &self,
        topic: &str,
        asked: bool,
    ) -> Result<Result<Vec<PartitionInfo>, Wait>, Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(partitions) = state.producer.partitions(topic) {
            return Ok(Ok(partitions));
        }
        if let Some(code) = state.producer.topic_refusal(topic).filter(|_| asked) {
            return Err(Error::Send(SendError::TopicFailed(code)));
        }
        let index = state.producer.want_topic(now, topic).map_err(|error| state.error(error))?;
        let wait = state.wait_for_topic(index);
        let calls = state.wake(now);
        drop(state);
        make(calls);
        Ok(Err(wait))
    }

    /// Asks for the list of topics.
    pub(in crate::adapter) fn list_topics(&self) -> Result<Arc<Asked<Vec<TopicListing>>>, Error> {
        self.ask(Producer::list_topics, |state| &mut state.listings)
    }

    /// Asks whether a server is there.
    pub(in crate::adapter) fn ping(&self) -> Result<Arc<Asked<Duration>>, Error> {
        self.ask(Producer::ping, |state| &mut state.pings)
    }

    pub(super) fn ask<T>(
        &self,
        what: impl FnOnce(&mut Producer, Instant) -> Result<(), SendError>,
        who: impl FnOnce(&mut State) -> &mut Vec<Arc<Asked<T>>>,
    ) -> Result<Arc<Asked<T>>, Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        what(&mut state.producer, now).map_err(|error| state.error(error))?;
        let asked = Arc::new(Asked::default());
        who(&mut state).push(Arc::clone(&asked));
        let calls = state.wake(now);
        drop(state);
        make(calls);
        Ok(asked)
    }

    /// The error for servers of which none answered in time.
    pub(in crate::adapter) fn no_pong(&self, error: Error, after: Duration) -> Error {
        if !matches!(error, Error::NoMetadata { .. }) {
            return error;
        }
        let now = self.clock.now();
        let state = self.lock();
        let why = || Some(state.producer.why_unasked(now)?.to_string());
        Error::NoMetadata { after, why: state.idle_driver(now).or_else(why) }
    }

    /// Begins a flush.
    pub(in crate::adapter) fn flush(&self) -> Arc<Flush> {
        let now = self.clock.now();
        let mut state = self.lock();
        let flush = Arc::new(Flush::default());
        let id = state.producer.flush(now);
        let over = state.has_ended();
        if !over {
            state.flushes.insert(id, Arc::clone(&flush));
        }
        state.wake(now);
        let calls = state.driver(); // even if the machine has nothing new to say: a mock does more in a flush
        drop(state);
        make(calls);
        if over {
            flush.end(0);
        }
        flush
    }

    /// Begins to close. The waiter is raised once the driver has ended.
    pub(in crate::adapter) fn close(&self) -> Closing {
        let now = self.clock.now();
        let mut state = self.lock();
        state.producer.close(now);
        let waiter = Arc::new(Waiter::default());
        let failed_before = state.producer.stats().records_failed;
        let over = state.has_ended();
        let too_late = over || matches!(state.life, Life::Failing(_));
        if !over {
            state.closing.push(Arc::clone(&waiter));
        }
        let calls = state.wake(now);
        drop(state);
        make(calls);
        if over {
            waiter.raise();
        }
        Closing { waiter, began: now, too_late, failed_before }
    }

    /// Somebody's patience with a close is over: what is open fails, and the driver waits for nothing more.
    pub(in crate::adapter) fn abort(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.has_ended() {
            return;
        }
        state.cut_short |= state.producer.open_records() > 0;
        state.hurry = true;
        state.producer.abort(now);
        state.wake(now);
        let calls = state.driver();
        drop(state);
        make(calls);
    }

    /// How a close went.
    pub(in crate::adapter) fn closed(&self, closing: &Closing) -> Result<u64, Error> {
        let now = self.clock.now();
        let state = self.lock();
        let failed = state.producer.stats().records_failed - closing.failed_before;
        match &state.life {
            _ if closing.too_late => Ok(0), // whose records failed was told
            _ if state.cut_short => Err(Error::Unfinished { after: now.saturating_since(closing.began), failed }),
            Life::Gone(why) | Life::Failing(why) => Err(Error::Gone { why: why.clone() }),
            Life::Running | Life::Closed | Life::Ended => Ok(failed),
        }
    }

    /// A call has waited so long.
    pub(in crate::adapter) fn has_waited(&self, wait: &Wait, span: Duration) {
        let waits = &mut self.lock().waits;
        match wait {
            Wait::Memory(_) => waits.memory = waits.memory.saturating_add(span),
            Wait::Topic(..) => waits.metadata = waits.metadata.saturating_add(span),
            Wait::Asked(_) => {}
        }
    }
}

impl State {
    /// If the driver is not at work, and that is why somebody waits.
    pub(super) fn idle_driver(&self, now: Instant) -> Option<String> {
        let since = now.saturating_since(self.wanted_since?);
        if !self.driven && since > NEW_DRIVER {
            return Some(
                "the producer's driver was never polled: spawn it, or poll it beside other things".to_string(),
            );
        }
        let idle = since > IDLE_DRIVER;
        idle.then(|| {
            std::format!(
                "the producer's driver has not run for {} s; is it polled, and does every callback return?",
                since.as_secs()
            )
        })
    }

    pub(super) fn wait_for_topic(&mut self, topic: TopicIndex) -> Wait {
        let waiter = Arc::new(Waiter::default());
        self.topics.entry(topic).or_default().push(Arc::clone(&waiter));
        Wait::Topic(topic, waiter)
    }
}
