//! `milena::threads`: a producer for programs without an async runtime. One I/O thread serves all brokers; calls that wait
//! block the calling thread.
//!
//! ```no_run
//! use milena::{Config, Record, threads::Producer};
//!
//! let producer = Producer::new(Config::new("localhost:9092")?)?;
//! let delivered = producer.send(&Record::new("orders").key("customer-7").value("3 apples"))?;
//! println!("partition {}, offset {:?}", delivered.partition, delivered.offset);
//!
//! let ack = producer.enqueue(&Record::new("orders").value("2 pears"))?; // and go on
//! ack.wait()?;
//! producer.close(std::time::Duration::from_secs(10))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod io;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use super::completion::{Accepted, Callback, Delivered};
use super::engine::{Attempt, Engine};
use super::error::Error;
use super::setup::{Setup, SetupError};
use super::sockets::SocketOptions;
use super::waiter::Wait;
use crate::event::{PartitionInfo, TopicListing};
use crate::producer::Stats;
use crate::record::Record;

std::thread_local! {
    /// Set on the I/O thread, where nothing may wait for it.
    static ON_IO_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// A handle to a producer with a thread of its own. Clones share it; any number of threads may send.
///
/// Dropping the last handle does not block: what is accepted is still sent in the background, as long as the process
/// lives. [`close`](Self::close) is the way to be sure.
#[derive(Clone, Debug)]
pub struct Producer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    thread: Mutex<Option<JoinHandle<()>>>,
    wakeups: Arc<AtomicU64>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.close(false);
    }
}

impl Producer {
    /// Starts a producer. It connects when a topic is first asked for.
    ///
    /// # Errors
    /// If the system refuses a thread, a poll instance or randomness, or TLS can't be set up as the configuration wants it.
    pub fn new(setup: impl Into<Setup>) -> Result<Self, SetupError> {
        let setup = setup.into();
        let sockets = SocketOptions::of(&setup.config);
        let engine = Arc::new(Engine::new(setup)?);
        let wakeups = Arc::new(AtomicU64::new(0));
        let mut thread = io::IoThread::new(Arc::clone(&engine), sockets, Arc::clone(&wakeups))?;
        let handle = std::thread::Builder::new().name("milena-io".into()).spawn(move || {
            ON_IO_THREAD.set(true);
            thread.run();
        })?;
        Ok(Self { shared: Arc::new(Shared { engine, thread: Mutex::new(Some(handle)), wakeups }) })
    }

    /// A producer without a cluster, and what stands in for one: for tests. See [`Mock`](crate::Mock).
    ///
    /// # Errors
    /// If the system has no randomness.
    #[cfg(feature = "cluster")]
    pub fn mock(setup: impl Into<Setup>) -> Result<(Self, crate::Mock), SetupError> {
        let (mock, engine) = crate::Mock::new(setup.into())?;
        let (thread, wakeups) = (Mutex::new(None), Arc::default());
        Ok((Self { shared: Arc::new(Shared { engine, thread, wakeups }) }, mock))
    }

    fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Takes a record, waiting at most `max.block.ms` for its topic's metadata and for memory. The acknowledgement says
    /// later what became of it.
    ///
    /// # Errors
    /// If the record can't be taken; nothing was kept of it.
    pub fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        self.accept(record, None).map(Ack)
    }

    /// Takes a record and waits until it is delivered.
    ///
    /// # Errors
    /// If the record can't be taken, or was not delivered.
    pub fn send(&self, record: &Record<'_>) -> Result<Delivered, Error> {
        self.enqueue(record)?.wait()
    }

    /// Takes a record if that is possible at once.
    ///
    /// # Errors
    /// [`SendError::NotReady`](crate::SendError::NotReady) while the topic is not known, `BufferFull` while there is no
    /// memory, and others.
    pub fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        let take = |record: &Record<'_>, callback| Ok(self.engine().send_now(record, callback)?);
        self.engine().interceptors().around(record, None, take).map(Ack)
    }

    /// Takes many records, as [`enqueue`](Self::enqueue) one by one but for less.
    ///
    /// # Errors
    /// At the first record that can't be taken; the acknowledgements of those before it are lost with it, they are sent
    /// nevertheless.
    pub fn send_all<'a>(&self, records: impl IntoIterator<Item = Record<'a>>) -> Result<Vec<Ack>, Error> {
        if self.engine().interceptors().are_there() {
            return records.into_iter().map(|record| self.enqueue(&record)).collect();
        }
        let mut records = records.into_iter().peekable();
        let mut acks = Vec::with_capacity(records.size_hint().0);
        let mut waited: Option<Wait> = None;
        let mut patience = Patience::new(self.engine());
        loop {
            let sent = self.engine().send_many(&mut records, waited.as_ref(), |accepted| acks.push(Ack(accepted)))?;
            let Some(wait) = sent else { return Ok(acks) };
            let topic = records.peek().map_or("", |record| record.topic);
            patience.wait(self.engine(), topic, &wait)?;
            waited = Some(wait);
        }
    }

    /// Takes a record as [`enqueue`](Self::enqueue) does, and calls `callback` with what became of it: on the I/O thread,
    /// so it must be quick, and may not call what waits. Callbacks of one partition come in the order of its records.
    ///
    /// # Errors
    /// If the record can't be taken; then the callback is not called.
    pub fn send_with(
        &self,
        record: &Record<'_>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        self.accept(record, Some(Box::new(callback)))?;
        Ok(())
    }

    /// A topic's partitions, waiting at most `max.block.ms` for them (Java's `partitionsFor`).
    ///
    /// # Errors
    /// If the topic does not exist or may not be written.
    pub fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, Error> {
        let mut patience = Patience::new(self.engine());
        let mut asked = false;
        loop {
            match self.engine().partitions(topic, asked)? {
                Ok(partitions) => return Ok(partitions),
                Err(wait) => patience.wait(self.engine(), topic, &wait)?,
            }
            asked = true;
        }
    }

    /// Waits until everything taken before is delivered or has failed. Returns how many of those records failed since the
    /// call.
    ///
    /// # Errors
    /// [`Error::InCallback`].
    pub fn flush(&self) -> Result<u64, Error> {
        not_in_callback()?;
        let flush = self.engine().flush();
        loop {
            if let Some(failed) = flush.failed() {
                return Ok(failed);
            }
            flush.waiter.wait(Duration::MAX);
        }
    }

    /// Takes no more records, waits at most `timeout` until all are delivered, fails what is left, and ends the thread.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if something was left; [`Error::InCallback`].
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        not_in_callback()?;
        let mut result = Ok(());
        if let Some(waiter) = self.engine().close(false) {
            if !waiter.wait(timeout) && !self.engine().has_ended() {
                result = Err(Error::TimedOut(timeout));
                if let Some(waiter) = self.engine().close(true) {
                    waiter.wait(Duration::MAX);
                }
            }
        }
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // it catches panics of callbacks, and has none of its own to tell
        }
        result
    }

    /// The topics of the cluster; waits at most `max.block.ms` for the answer of a server.
    ///
    /// # Errors
    /// [`Error::NoMetadata`] if none answers.
    pub fn list_topics(&self) -> Result<Vec<TopicListing>, Error> {
        let mut patience = Patience::new(self.engine());
        loop {
            let listing = self.engine().list_topics()?;
            patience.wait(self.engine(), "", &Wait::Listing(Arc::clone(&listing)))?;
            if let Some(topics) = listing.topics() {
                return Ok(topics);
            }
        }
    }

    /// Takes the credentials, certificates and trust of another setup, from the next connection or re-authentication on.
    ///
    /// # Errors
    /// If they can't be read, or `security.protocol` would change.
    pub fn renew_security(&self, setup: impl Into<Setup>) -> Result<(), SetupError> {
        self.engine().renew(setup.into())
    }

    /// The brokers that are known: node id, host, port.
    pub fn brokers(&self) -> Vec<(i32, String, u16)> {
        self.engine().brokers()
    }

    /// How often the I/O thread was woken, by sockets, time or senders.
    pub fn wakeups(&self) -> u64 {
        self.shared.wakeups.load(Ordering::Relaxed)
    }

    /// Produce requests that wait for an answer, on all connections.
    pub fn in_flight(&self) -> usize {
        self.engine().in_flight()
    }

    /// How long the machine's lock was held, if the setup says [`measure_lock`](Setup::measure_lock).
    pub fn lock_holds(&self) -> Option<crate::LockHolds> {
        self.engine().lock_holds()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    fn accept(&self, record: &Record<'_>, callback: Option<Callback>) -> Result<Accepted, Error> {
        let take = |record: &Record<'_>, callback| self.accept_as_it_is(record, callback);
        self.engine().interceptors().around(record, callback, take)
    }

    fn accept_as_it_is(&self, record: &Record<'_>, mut callback: Option<Callback>) -> Result<Accepted, Error> {
        let mut waited: Option<Wait> = None;
        let mut patience = Patience::new(self.engine());
        loop {
            match self.engine().try_send(record, waited.as_ref(), &mut callback)? {
                Attempt::Accepted(accepted) => return Ok(accepted),
                Attempt::Wait(wait) => {
                    patience.wait(self.engine(), record.topic, &wait)?;
                    waited = Some(wait);
                }
            }
        }
    }
}

/// Runs what the I/O thread runs: callbacks, which may not wait.
#[cfg(feature = "cluster")]
pub(super) fn as_io_thread(run: impl FnOnce()) {
    let before = ON_IO_THREAD.replace(true);
    run();
    ON_IO_THREAD.set(before);
}

fn not_in_callback() -> Result<(), Error> {
    if ON_IO_THREAD.get() { Err(Error::InCallback) } else { Ok(()) }
}

/// What is left of `max.block.ms`, over all waits of one call. The clock is read only if something has to be waited for.
struct Patience {
    until: Option<crate::time::Instant>,
    max: Duration,
}

impl Patience {
    fn new(engine: &Engine) -> Self {
        Self { until: None, max: engine.max_block() }
    }

    fn wait(&mut self, engine: &Engine, topic: &str, wait: &Wait) -> Result<(), Error> {
        if let Err(error) = not_in_callback() {
            engine.give_up(wait);
            return Err(error);
        }
        let now = engine.clock().now();
        let until = *self.until.get_or_insert(now + self.max);
        let left = until.saturating_since(now);
        if left.is_zero() || !wait.waiter().wait(left) {
            engine.give_up(wait);
            return Err(engine.too_long(topic, wait));
        }
        Ok(())
    }
}

/// What will become of one record.
#[derive(Debug)]
pub struct Ack(Accepted);

impl Ack {
    /// The partition that the record went to.
    pub fn partition(&self) -> i32 {
        self.0.place.partition
    }

    /// Whether it is known what became of the record.
    pub fn is_done(&self) -> bool {
        self.0.completion.outcome(self.0.index).is_some()
    }

    /// Waits until it is known what became of the record.
    ///
    /// # Errors
    /// If it was not delivered; [`Error::InCallback`].
    pub fn wait(&self) -> Result<Delivered, Error> {
        not_in_callback()?;
        let outcome = self.0.completion.wait(self.0.index, None);
        self.0.place.delivered(outcome.ok_or(Error::Gone)?)
    }

    /// As [`wait`](Self::wait), but not for ever.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if nothing is known yet; the record may still be delivered.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Delivered, Error> {
        not_in_callback()?;
        let outcome = self.0.completion.wait(self.0.index, Some(timeout));
        self.0.place.delivered(outcome.ok_or(Error::TimedOut(timeout))?)
    }
}
