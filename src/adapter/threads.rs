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

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;

use smallvec::SmallVec;

use super::completion::{Accepted, Delivered};
use super::engine::{Attempt, Engine, PULLED};
use super::error::{Error, SendAllError, TrySendError};
use super::line::Sender;
use super::reports::{ByAck, ByCall, Report};
use super::setup::{Setup, SetupError};
use super::sockets::SocketOptions;
use super::sync::thread::{Builder, JoinHandle};
use super::sync::{AtomicU64, Mutex, Ordering, PoisonError, thread_local};
use super::waiter::Wait;
use crate::event::{PartitionInfo, TopicListing};
use crate::metrics::{Metrics, Stats};
use crate::planted::planted;
use crate::record::{Record, RecordBuf};
use crate::status::Status;

thread_local! {
    /// On an I/O thread, the address of the engine that it works for: nothing may wait there for that one. 0 elsewhere.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

/// What tells threads apart.
fn this_thread() -> Sender {
    WORKS_FOR.with(|cell| core::ptr::from_ref(cell).addr())
}

/// The address of the engine that this thread works for, if it is an I/O thread.
fn works_for() -> usize {
    WORKS_FOR.with(Cell::get)
}

/// What tells engines apart.
fn address(engine: &Engine) -> usize {
    core::ptr::from_ref(engine).addr()
}

/// A handle to a producer with a thread of its own. Clones share it; any number of threads may send.
///
/// Dropping the last handle does not block: what is accepted is still sent in the background, as long as the process
/// lives. [`close`](Self::close) is the way to be sure.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

impl core::fmt::Debug for Producer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("threads::Producer").finish_non_exhaustive()
    }
}

struct Shared {
    engine: Arc<Engine>,
    thread: Mutex<Option<JoinHandle<()>>>,
    wakeups: Arc<AtomicU64>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.close();
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
        let engine_address = address(&engine);
        let handle = Builder::new().name("milena-io".into()).spawn(move || {
            WORKS_FOR.with(|cell| cell.set(engine_address));
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

    fn ack(&self, accepted: Accepted) -> Ack {
        Ack { accepted, engine: address(self.engine()) }
    }

    /// Takes a record, waiting at most `max.block.ms` for its topic's metadata and for memory. The acknowledgement says
    /// later what became of it.
    ///
    /// # Errors
    /// If the record can't be taken; nothing was kept of it.
    pub fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        self.accept(record, ByAck).map(|accepted| self.ack(accepted))
    }

    /// Takes a record and waits until it is delivered.
    ///
    /// # Errors
    /// If the record can't be taken, or was not delivered.
    pub fn send(&self, record: &Record<'_>) -> Result<Delivered, Error> {
        self.enqueue(record)?.wait()
    }

    /// As [`send`](Self::send), of a record that owns what it has.
    ///
    /// # Errors
    /// If the record can't be taken, or was not delivered.
    pub fn send_owned(&self, record: RecordBuf) -> Result<Delivered, Error> {
        self.send(&record.record(&record.headers()))
    }

    /// Takes a record if that is possible at once.
    ///
    /// # Errors
    /// [`SendError::NotReady`](crate::SendError::NotReady) while the topic is not known, `BufferFull` while there is no
    /// memory, and others.
    pub fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        match self.engine().send_now(this_thread(), record, ByAck) {
            Ok(accepted) => Ok(self.ack(accepted)),
            Err((error, _)) => Err(error),
        }
    }

    /// As [`try_enqueue`](Self::try_enqueue), with a callback as in [`send_with`](Self::send_with).
    ///
    /// # Errors
    /// As [`try_enqueue`](Self::try_enqueue); the callback comes back in the error, and was not called.
    pub fn try_send_with<F>(&self, record: &Record<'_>, callback: F) -> Result<(), TrySendError<F>>
    where
        F: FnOnce(Result<Delivered, Error>) + Send + 'static,
    {
        let taken = self.engine().send_now(this_thread(), record, ByCall(callback));
        taken.map_err(|(error, ByCall(callback))| TrySendError { error, callback })
    }

    /// Waits until there may be room for `needed` bytes of `buffer.memory`, which is what [`SendError::BufferFull`](crate::SendError)
    /// says, and for nothing else: not for topics. Then try again: others don't get in first, and who finds that it was not
    /// enough (memory is taken in chunks) and waits again has its old place. That holds for the thread that waited.
    /// Returns too if the producer takes no more records; the next attempt says so.
    ///
    /// # Errors
    /// [`Error::BufferFull`] if there is none within `timeout`; [`Error::InCallback`].
    pub fn wait_writable(&self, needed: usize, timeout: Duration) -> Result<(), Error> {
        let mut waiting = Waiting::new(self.engine());
        let Some(wait) = self.engine().room(this_thread(), needed) else { return Ok(()) };
        waiting.until = Some(self.engine().clock().now() + timeout);
        waiting.wait_for("", wait).map_err(|error| error.of_a_wait_of(timeout))?;
        waiting.has_room();
        Ok(())
    }

    /// Takes many records, as [`enqueue`](Self::enqueue) one by one but for less.
    ///
    /// # Errors
    /// At the first record that can't be taken, with the acknowledgements of those before it, which are sent nevertheless. Up
    /// to 128 records more may have been taken from the iterator.
    pub fn send_all<'a>(&self, records: impl IntoIterator<Item = Record<'a>>) -> Result<Vec<Ack>, SendAllError<Ack>> {
        let records = records.into_iter();
        let mut accepted = Vec::with_capacity(records.size_hint().0.min(PULLED)); // a hint is no promise
        match self.send_all_into(records, &mut accepted) {
            Ok(()) => Ok(accepted),
            Err(error) => Err(SendAllError { accepted, error }),
        }
    }

    /// As [`send_all`](Self::send_all), with the acknowledgements put at the end of `acks`, one by one.
    ///
    /// # Errors
    /// At the first record that can't be taken.
    pub fn send_all_into<'a>(
        &self,
        records: impl IntoIterator<Item = Record<'a>>,
        acks: &mut Vec<Ack>,
    ) -> Result<(), Error> {
        let mut records = records.into_iter();
        if self.engine().interceptors().are_there() {
            return records.try_for_each(|record| {
                acks.push(self.enqueue(&record)?);
                Ok(())
            });
        }
        let mut waiting = Waiting::new(self.engine());
        loop {
            // The iterator is the caller's: it may take its time, and use this producer.
            let mut pull = || records.by_ref().take(PULLED).collect::<SmallVec<[Record<'_>; PULLED]>>();
            let pulled =
                if planted("iterator-under-the-lock") { self.engine().with_producer(|_, _| pull()) } else { pull() };
            let mut left = &pulled[..];
            if left.is_empty() {
                return Ok(());
            }
            while let Some(first) = left.first() {
                let mut taken = 0;
                let sent = self.engine().send_many(this_thread(), left, waiting.wait.as_ref(), |accepted| {
                    acks.push(self.ack(accepted));
                    taken += 1;
                });
                left = &left[taken..];
                match sent? {
                    None => waiting.wait = None,
                    Some(wait) => waiting.wait_for(left.first().unwrap_or(first).topic, wait)?,
                }
            }
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
        self.accept(record, ByCall(callback))
    }

    /// A topic's partitions, waiting at most `max.block.ms` for them (Java's `partitionsFor`).
    ///
    /// # Errors
    /// If the topic does not exist or may not be written.
    pub fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, Error> {
        let mut waiting = Waiting::new(self.engine());
        loop {
            match self.engine().partitions(topic, waiting.until.is_some())? {
                Ok(partitions) => {
                    waiting.wait = None;
                    return Ok(partitions);
                }
                Err(wait) => waiting.wait_for(topic, wait)?,
            }
        }
    }

    /// Waits until everything taken before is delivered or has failed, and callbacks were told. Returns how many of those
    /// records failed since the call.
    ///
    /// # Errors
    /// [`Error::InCallback`].
    pub fn flush(&self) -> Result<u64, Error> {
        not_in_callback(self.engine())?;
        let flush = self.engine().flush();
        loop {
            if let Some(failed) = flush.failed() {
                return Ok(failed);
            }
            flush.waiter.wait(Duration::MAX);
        }
    }

    /// Takes no more records, waits at most `timeout` until all are delivered, fails what is left, and ends the thread. Callbacks
    /// were told then. Returns how many records failed since the call.
    ///
    /// With `acks=0`, some time more passes until the brokers have read everything: of `timeout` no more than is left, a second at
    /// most for one that says nothing, and ten at most for one that goes on answering.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if something was left when this or another call's time was over; [`Error::Gone`] if the I/O thread went away meanwhile;
    /// [`Error::InCallback`].
    pub fn close(&self, timeout: Duration) -> Result<u64, Error> {
        not_in_callback(self.engine())?;
        let closing = self.engine().close();
        if !closing.waiter.wait(timeout) && !self.engine().has_ended() {
            self.engine().abort();
            closing.waiter.wait(Duration::MAX);
        }
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // it catches panics of callbacks; one of its own is told by the engine
        }
        self.engine().closed(&closing)
    }

    /// The topics of the cluster; waits at most `max.block.ms` for the answer of a server.
    ///
    /// # Errors
    /// [`Error::NoMetadata`] if none answers, or none in a way that can be read.
    pub fn list_topics(&self) -> Result<Vec<TopicListing>, Error> {
        let mut waiting = Waiting::new(self.engine());
        loop {
            let asked = self.engine().list_topics()?;
            waiting.wait_for("", Wait::Asked(Arc::clone(&asked.waiter)))?;
            if let Some(answer) = asked.answer() {
                waiting.wait = None;
                return answer.map_err(|why| self.engine().not_listed(waiting.until, why));
            }
        }
    }

    /// Asks any server of the cluster whether it is there (ApiVersions, which needs no rights); how long the answer took, from the
    /// last byte of its request on.
    ///
    /// Pings at the same time share one request and its answer, each with its own timeout: who comes later may be told a longer time
    /// than it has waited. One that is given up (its time is over, or its future is dropped) lets another server be asked next, also
    /// for those that wait on; when nobody waits any more, no server is asked again.
    ///
    /// # Errors
    /// [`Error::NoMetadata`] if none answers in time, with the reason.
    pub fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        let mut waiting = Waiting::new(self.engine());
        waiting.until = Some(self.engine().clock().now() + timeout);
        loop {
            let asked = self.engine().ping()?;
            let waited = waiting.wait_for("", Wait::Asked(Arc::clone(&asked.waiter)));
            waited.map_err(|error| self.engine().no_pong(error, timeout))?;
            if let Some(Ok(round_trip)) = asked.answer() {
                waiting.wait = None;
                return Ok(round_trip);
            }
        }
    }

    /// Takes the credentials, certificates and trust of another setup, from the next connection or re-authentication on.
    ///
    /// # Errors
    /// If they can't be read, `security.protocol` would change, or the setup has interceptors or a partitioner: those stay as they
    /// are. So make it of a [`Config`](crate::Config), and of a token provider or mechanism if there is one.
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

    /// How the producer is, without asking anybody: servers, the oldest record, what is wrong.
    /// [`is_healthy`](Status::is_healthy) makes a readiness check of it.
    pub fn status(&self) -> Status {
        self.engine().status()
    }

    /// All that was measured: for once a second or so. [`Metrics::write_prometheus`] makes a page of it.
    pub fn metrics(&self) -> Metrics {
        self.engine().metrics()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    fn accept<R: Report>(&self, record: &Record<'_>, report: R) -> Result<R::Receipt, Error> {
        let Some(passage) = self.engine().interceptors().begin(record) else {
            return self.accept_as_it_is(record, report);
        };
        let report = passage.before(report);
        let taken = match passage.replaced() {
            None => self.accept_as_it_is(record, report),
            Some(other) => self.accept_as_it_is(&other.record(&other.headers()), report),
        };
        passage.end(&taken);
        taken
    }

    #[inline]
    fn accept_as_it_is<R: Report>(&self, record: &Record<'_>, report: R) -> Result<R::Receipt, Error> {
        let mut report = Some(report);
        match self.engine().try_send(this_thread(), record, None, &mut report)? {
            Attempt::Accepted(receipt) => Ok(receipt),
            Attempt::Wait(wait) => self.accept_later(record, &mut report, wait),
        }
    }

    /// The record has to wait.
    #[cold]
    fn accept_later<R: Report>(
        &self,
        record: &Record<'_>,
        report: &mut Option<R>,
        mut wait: Wait,
    ) -> Result<R::Receipt, Error> {
        let mut waiting = Waiting::new(self.engine());
        loop {
            waiting.wait_for(record.topic, wait)?;
            match self.engine().try_send(this_thread(), record, waiting.wait.as_ref(), report)? {
                Attempt::Accepted(receipt) => {
                    waiting.wait = None;
                    return Ok(receipt);
                }
                Attempt::Wait(next) => wait = next,
            }
        }
    }
}

/// Runs what the engine's I/O thread runs: callbacks, which may not wait for it.
#[cfg(feature = "cluster")]
pub(super) fn as_io_thread(engine: &Engine, run: impl FnOnce()) {
    let before = WORKS_FOR.with(|cell| cell.replace(address(engine)));
    run();
    WORKS_FOR.with(|cell| cell.set(before));
}

fn not_in_callback(engine: &Engine) -> Result<(), Error> {
    if works_for() == address(engine) { Err(Error::InCallback) } else { Ok(()) }
}

/// The waits of one call: together at most `max.block.ms`. The clock is read only if something has to be waited for. Dropped,
/// also by a panic of the caller's, it leaves every queue.
struct Waiting<'a> {
    engine: &'a Engine,
    wait: Option<Wait>,
    until: Option<crate::time::Instant>,
}

impl<'a> Waiting<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self { engine, wait: None, until: None }
    }

    fn wait_for(&mut self, topic: &str, wait: Wait) -> Result<(), Error> {
        let wait = self.wait.insert(wait);
        not_in_callback(self.engine)?;
        let now = self.engine.clock().now();
        let until = *self.until.get_or_insert(now + self.engine.max_block());
        let left = until.saturating_since(now);
        let raised = !left.is_zero() && wait.waiter().wait(left);
        self.engine.has_waited(wait, self.engine.clock().now().saturating_since(now));
        if raised { Ok(()) } else { Err(self.engine.too_long(topic, wait)) }
    }

    /// What was waited for has come, and is used in another call.
    fn has_room(mut self) {
        if let Some(wait) = self.wait.take() {
            self.engine.keep_place(&wait);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(wait) = &self.wait {
            self.engine.give_up(wait);
        }
    }
}

/// What will become of one record.
#[derive(Debug)]
pub struct Ack {
    accepted: Accepted,
    /// The engine's address.
    engine: usize,
}

impl Ack {
    /// The partition that the record went to.
    pub fn partition(&self) -> i32 {
        self.accepted.completion.partition
    }

    /// Whether it is known what became of the record. Then its callback has run.
    pub fn is_done(&self) -> bool {
        self.accepted.completion.is_known(self.accepted.index)
    }

    /// Waits until it is known what became of the record.
    ///
    /// # Errors
    /// If it was not delivered; [`Error::InCallback`] if it is not known yet in a callback of the same producer.
    pub fn wait(&self) -> Result<Delivered, Error> {
        self.wait_at_most(None)
    }

    /// As [`wait`](Self::wait), but not for ever.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if nothing is known yet; the record may still be delivered.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Delivered, Error> {
        self.wait_at_most(Some(timeout))
    }

    #[inline]
    fn wait_at_most(&self, timeout: Option<Duration>) -> Result<Delivered, Error> {
        match self.accepted.outcome() {
            Some(outcome) => outcome,
            None => self.wait_for_it(timeout),
        }
    }

    #[cold]
    fn wait_for_it(&self, timeout: Option<Duration>) -> Result<Delivered, Error> {
        if works_for() == self.engine {
            return Err(Error::InCallback);
        }
        self.accepted.completion.wait(self.accepted.index, timeout);
        self.accepted.outcome().unwrap_or_else(|| Err(Error::TimedOut(timeout.unwrap_or(Duration::MAX))))
    }
}
