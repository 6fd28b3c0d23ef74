//! Producers of futures, for any runtime: the handle, and the driver that does its work. A runtime's adapter adds sockets
//! and time ([`Runtime`]).

mod driver;
mod runtime;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::marker::PhantomData;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use super::completion::{Accepted, Delivered};
use super::engine::{Attempt, Engine, PULLED};
use super::error::{Error, SendAllError, TrySendError};
use super::line::Sender;
use super::reports::{ByAck, ByCall, Report};
use super::setup::{Setup, SetupError};
use super::waiter::Wait;
use crate::event::{PartitionInfo, TopicListing};
use crate::metrics::{Metrics, Stats};
use crate::record::{Record, RecordBuf};
use crate::status::Status;
use crate::time::Instant;

pub use driver::Driver;
pub(super) use runtime::first_of;
pub use runtime::{Failure, Runtime, Stream};

pub use super::channel::Socket;
pub use super::sockets::SocketOptions;

/// A handle to a producer. Clones share it; any number of tasks may send.
///
/// Dropping the last handle does not block: what is accepted is still sent, as long as the driver runs.
/// [`close`](Self::close) is the way to be sure. Dropping the driver resolves every acknowledgement, as possibly written.
pub struct Producer<R: Runtime> {
    shared: Arc<Shared>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> core::fmt::Debug for Producer<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("task::Producer").finish_non_exhaustive()
    }
}

impl<R: Runtime> Clone for Producer<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), runtime: PhantomData }
    }
}

struct Shared {
    engine: Arc<Engine>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.close();
    }
}

impl<R: Runtime> Producer<R> {
    /// A producer, and the driver that does its work: spawn it, or poll it beside other things. It ends when the producer
    /// is closed.
    ///
    /// # Errors
    /// If the system has no randomness, or TLS can't be set up as the configuration wants it.
    pub fn new(setup: impl Into<Setup>) -> Result<(Self, Driver<R>), SetupError> {
        let setup = setup.into();
        let sockets = SocketOptions::of(&setup.config);
        let engine = Arc::new(Engine::new(setup)?);
        let driver = Driver::new(Arc::clone(&engine), sockets);
        Ok((Self { shared: Arc::new(Shared { engine }), runtime: PhantomData }, driver))
    }

    /// A producer without a cluster, and what stands in for one: for tests. See [`Mock`](crate::Mock).
    ///
    /// # Errors
    /// If the system has no randomness.
    #[cfg(feature = "cluster")]
    pub fn mock(setup: impl Into<Setup>) -> Result<(Self, crate::Mock), SetupError> {
        let (mock, engine) = crate::Mock::new(setup.into())?;
        Ok((Self { shared: Arc::new(Shared { engine }), runtime: PhantomData }, mock))
    }

    fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Takes a record, waiting at most `max.block.ms` for its topic's metadata and for memory. The acknowledgement is a
    /// future. If this one is dropped before it is done, the record is not sent.
    ///
    /// # Errors
    /// If the record can't be taken; nothing was kept of it.
    pub async fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        self.accept(record, ByAck).await.map(Ack::new)
    }

    /// Takes a record and waits until it is delivered.
    ///
    /// # Errors
    /// If the record can't be taken, or was not delivered.
    pub async fn send(&self, record: &Record<'_>) -> Result<Delivered, Error> {
        self.enqueue(record).await?.await
    }

    /// As [`send`](Self::send), of a record that owns what it has: a future of its own, which may be spawned.
    ///
    /// ```
    /// # #[cfg(all(feature = "tokio", feature = "cluster"))]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use milena::{Config, Record, RecordBuf, cluster::TestCluster, tokio::Producer};
    ///
    /// let cluster = TestCluster::start()?;
    /// let producer = Producer::spawn(Config::from_properties(cluster.properties())?)?;
    /// let sent = tokio::spawn(producer.send_owned(RecordBuf::new("orders").key("customer-7").value("3 apples")));
    ///
    /// let (own, what) = (producer.clone(), String::from("2 pears")); // or with the handle in the task
    /// let other = tokio::spawn(async move { own.send(&Record::new("orders").value(&what)).await });
    ///
    /// println!("{:?}, {:?}", sent.await??, other.await??);
    /// # assert_eq!(cluster.records("orders").len(), 2);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(all(feature = "tokio", feature = "cluster")))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// If the record can't be taken, or was not delivered.
    pub fn send_owned(
        &self,
        record: RecordBuf,
    ) -> impl Future<Output = Result<Delivered, Error>> + Send + 'static + use<R> {
        let producer = self.clone();
        async move { producer.send(&record.record(&record.headers())).await }
    }

    /// Takes a record if that is possible at once.
    ///
    /// # Errors
    /// [`SendError::NotReady`](crate::SendError::NotReady) while the topic is not known, `BufferFull` while there is no
    /// memory, and others.
    pub fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        match self.engine().send_now(NO_TASK, record, ByAck) {
            Ok(accepted) => Ok(Ack::new(accepted)),
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
        let taken = self.engine().send_now(NO_TASK, record, ByCall(callback));
        taken.map_err(|(error, ByCall(callback))| TrySendError { error, callback })
    }

    /// Waits until there may be room for `needed` bytes of `buffer.memory`, which is what [`SendError::BufferFull`](crate::SendError)
    /// says, and for nothing else: not for topics. Then try again: others don't get in first, and who finds that it was not
    /// enough (memory is taken in chunks) and waits again has its old place. Tasks share these
    /// places: where several wait, the first that tries has the oldest.
    /// Returns too if the producer takes no more records; the next attempt says so. Dropping the future leaves the line.
    pub async fn writable(&self, needed: usize) {
        let mut waiting = Waiting::<R>::new(self.engine());
        let Some(wait) = self.engine().room(NO_TASK, needed) else { return };
        let wait = waiting.wait.insert(wait).clone();
        let began = self.engine().clock().now();
        poll_fn(|context| wait.waiter().poll(context)).await;
        self.engine().has_waited(&wait, self.engine().clock().now().saturating_since(began));
        waiting.has_room();
    }

    /// As [`writable`](Self::writable), for `timeout` at most.
    ///
    /// # Errors
    /// [`Error::BufferFull`] if there is none by then.
    pub async fn wait_writable(&self, needed: usize, timeout: Duration) -> Result<(), Error> {
        let mut waiting = Waiting::<R>::new(self.engine());
        let Some(wait) = self.engine().room(NO_TASK, needed) else { return Ok(()) };
        waiting.until = Some(self.engine().clock().now() + timeout.min(FOR_EVER));
        waiting.wait_for("", wait).await.map_err(|error| error.of_a_wait_of(timeout))?;
        waiting.has_room();
        Ok(())
    }

    /// Takes many records, as [`enqueue`](Self::enqueue) one by one but for less.
    ///
    /// # Errors
    /// At the first record that can't be taken, with the acknowledgements of those before it, which are sent nevertheless. Up
    /// to 128 records more may have been taken from the iterator. If this future is dropped before it is done, some of the
    /// records are sent and some are not: where that matters, [`send_all_into`](Self::send_all_into) tells which.
    pub async fn send_all<'a>(
        &self,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<Vec<Ack>, SendAllError<Ack>> {
        let records = records.into_iter();
        let mut accepted = Vec::with_capacity(records.size_hint().0.min(PULLED)); // a hint is no promise
        match self.send_all_into(records, &mut accepted).await {
            Ok(()) => Ok(accepted),
            Err(error) => Err(SendAllError { accepted, error }),
        }
    }

    /// As [`send_all`](Self::send_all), with the acknowledgements put at the end of `acks`, one by one: they tell what was
    /// taken, also if this future is dropped before it is done.
    ///
    /// # Errors
    /// At the first record that can't be taken.
    pub async fn send_all_into<'a>(
        &self,
        records: impl IntoIterator<Item = Record<'a>>,
        acks: &mut Vec<Ack>,
    ) -> Result<(), Error> {
        let mut records = records.into_iter();
        if self.engine().interceptors().are_there() {
            for record in records {
                acks.push(self.enqueue(&record).await?);
            }
            return Ok(());
        }
        let mut waiting = Waiting::<R>::new(self.engine());
        loop {
            // The iterator is the caller's: it may take its time, and use this producer.
            let pulled: Vec<Record<'_>> = records.by_ref().take(PULLED).collect();
            let mut left = &pulled[..];
            if left.is_empty() {
                return Ok(());
            }
            while let Some(first) = left.first() {
                let mut taken = 0;
                let sender = this_task().await;
                let sent = self.engine().send_many(sender, left, waiting.wait.as_ref(), |accepted| {
                    acks.push(Ack::new(accepted));
                    taken += 1;
                });
                left = &left[taken..];
                match sent? {
                    None => waiting.wait = None,
                    Some(wait) => waiting.wait_for(left.first().unwrap_or(first).topic, wait).await?,
                }
            }
        }
    }

    /// Takes a record as [`enqueue`](Self::enqueue) does, and calls `callback` with what became of it: in the driver, so it
    /// must be quick. Callbacks of one partition come in the order of its records.
    ///
    /// # Errors
    /// If the record can't be taken; then the callback is not called.
    pub async fn send_with(
        &self,
        record: &Record<'_>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        self.accept(record, ByCall(callback)).await
    }

    /// A topic's partitions, waiting at most `max.block.ms` for them (Java's `partitionsFor`).
    ///
    /// # Errors
    /// If the topic does not exist or may not be written.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, Error> {
        let mut waiting = Waiting::<R>::new(self.engine());
        loop {
            match self.engine().partitions(topic, waiting.until.is_some())? {
                Ok(partitions) => {
                    waiting.wait = None;
                    return Ok(partitions);
                }
                Err(wait) => waiting.wait_for(topic, wait).await?,
            }
        }
    }

    /// Waits until everything taken before is delivered or has failed, and callbacks were told. Returns how many of those
    /// records failed since the call.
    ///
    /// # Errors
    /// None today.
    pub async fn flush(&self) -> Result<u64, Error> {
        let flush = self.engine().flush();
        loop {
            if let Some(failed) = flush.failed() {
                return Ok(failed);
            }
            poll_fn(|context| flush.waiter.poll(context)).await;
        }
    }

    /// Takes no more records, waits at most `timeout` until all are delivered, and fails what is left. Callbacks were told then.
    /// Returns how many records failed since the call.
    ///
    /// With `acks=0`, some time more passes until the brokers have read everything: of `timeout` no more than is left, a second at
    /// most for one that says nothing, and ten at most for one that goes on answering.
    /// A driver that is not polled is given up a second after the timeout.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if something was left when this or another call's time was over; [`Error::TimedOut`] if nothing was,
    /// but the driver did not come to tell its callbacks; [`Error::Gone`] if the driver went away meanwhile.
    pub async fn close(&self, timeout: Duration) -> Result<u64, Error> {
        let closing = self.engine().close();
        let by = |patience: Duration| {
            let until = self.engine().clock().now() + patience.min(FOR_EVER);
            by::<R>(self.engine(), until, |context| closing.waiter.poll(context))
        };
        if !by(timeout).await && !self.engine().has_ended() {
            self.engine().abort();
            if !by(GRACE).await {
                self.engine().give_up_the_driver("it was closed, but its driver was not polled");
                self.engine().closed(&closing)?;
                return Err(Error::TimedOut(timeout)); // nothing has failed, but callbacks may not have been told
            }
        }
        self.engine().closed(&closing)
    }

    /// The topics of the cluster; waits at most `max.block.ms` for the answer of a server.
    ///
    /// # Errors
    /// [`Error::NoMetadata`] if none answers, or none in a way that can be read.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, Error> {
        let mut waiting = Waiting::<R>::new(self.engine());
        loop {
            let asked = self.engine().list_topics()?;
            waiting.wait_for("", Wait::Asked(Arc::clone(&asked.waiter))).await?;
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
    pub async fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        let mut waiting = Waiting::<R>::new(self.engine());
        waiting.until = Some(self.engine().clock().now() + timeout.min(FOR_EVER));
        loop {
            let asked = self.engine().ping()?;
            let waited = waiting.wait_for("", Wait::Asked(Arc::clone(&asked.waiter))).await;
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

    async fn accept<P: Report>(&self, record: &Record<'_>, report: P) -> Result<P::Receipt, Error> {
        let Some(passage) = self.engine().interceptors().begin(record) else {
            return self.accept_as_it_is(record, report).await;
        };
        let report = passage.before(report);
        let taken = match passage.replaced() {
            None => self.accept_as_it_is(record, report).await,
            Some(other) => self.accept_as_it_is(&other.record(&other.headers()), report).await,
        };
        passage.end(&taken);
        taken
    }

    async fn accept_as_it_is<P: Report>(&self, record: &Record<'_>, report: P) -> Result<P::Receipt, Error> {
        let mut report = Some(report);
        let sender = this_task().await;
        let mut wait = match self.engine().try_send(sender, record, None, &mut report)? {
            Attempt::Accepted(receipt) => return Ok(receipt),
            Attempt::Wait(wait) => wait,
        };
        let mut waiting = Waiting::<R>::new(self.engine());
        loop {
            waiting.wait_for(record.topic, wait).await?;
            match self.engine().try_send(sender, record, waiting.wait.as_ref(), &mut report)? {
                Attempt::Accepted(receipt) => {
                    waiting.wait = None;
                    return Ok(receipt);
                }
                Attempt::Wait(next) => wait = next,
            }
        }
    }
}

/// Who calls what is no future.
const NO_TASK: Sender = 0;

/// What tells tasks apart: where their waker points to.
async fn this_task() -> Sender {
    poll_fn(|context| Poll::Ready(context.waker().data().addr())).await
}

/// The waits of one call: together at most `max.block.ms`. Dropped, it leaves every queue.
struct Waiting<'a, R: Runtime> {
    engine: &'a Engine,
    wait: Option<Wait>,
    until: Option<Instant>,
    runtime: PhantomData<fn() -> R>,
}

impl<'a, R: Runtime> Waiting<'a, R> {
    fn new(engine: &'a Engine) -> Self {
        Self { engine, wait: None, until: None, runtime: PhantomData }
    }

    async fn wait_for(&mut self, topic: &str, wait: Wait) -> Result<(), Error> {
        let max = self.engine.max_block().min(FOR_EVER);
        let until = *self.until.get_or_insert_with(|| self.engine.clock().now() + max);
        let wait = self.wait.insert(wait);
        let began = self.engine.clock().now();
        let raised = by::<R>(self.engine, until, |context| wait.waiter().poll(context)).await;
        self.engine.has_waited(wait, self.engine.clock().now().saturating_since(began));
        if raised { Ok(()) } else { Err(self.engine.too_long(topic, wait)) }
    }

    /// What was waited for has come, and is used in another call.
    fn has_room(mut self) {
        if let Some(wait) = self.wait.take() {
            self.engine.keep_place(&wait);
        }
    }
}

/// Waits for `done`, until a time at most. Whether it was done.
async fn by<R: Runtime>(engine: &Engine, until: Instant, mut done: impl FnMut(&Context<'_>) -> Poll<()>) -> bool {
    // Made when it is polled: what is over already needs no runtime to be awaited in.
    let sleep = || async { R::sleep_until(engine.clock().to_std(until)).await };
    let mut sleeping = pin!(sleep());
    poll_fn(|context| {
        if done(context).is_ready() {
            return Poll::Ready(true);
        }
        if sleeping.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        if until <= engine.clock().now() || engine.is_mock() {
            return Poll::Ready(false);
        }
        // The runtime's time is not the real one, in which brokers live: tests may pause and turn it.
        sleeping.set(sleep());
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// How long a driver may take to end once it has to.
const GRACE: Duration = Duration::from_secs(1);

/// Longer than any program runs, and short enough to be added to a clock.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl<R: Runtime> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        if let Some(wait) = &self.wait {
            self.engine.give_up(wait);
        }
    }
}

/// What will become of one record: a future. Dropping it changes nothing for the record.
#[derive(Debug)]
pub struct Ack {
    accepted: Accepted,
    /// The completion knows who waits.
    waits: bool,
}

impl Ack {
    fn new(accepted: Accepted) -> Self {
        Self { accepted, waits: false }
    }

    /// The partition that the record went to.
    pub fn partition(&self) -> i32 {
        self.accepted.completion.partition
    }

    /// Whether it is known what became of the record. Then its callback has run.
    pub fn is_done(&self) -> bool {
        self.accepted.completion.is_known(self.accepted.index)
    }
}

impl Future for Ack {
    type Output = Result<Delivered, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.accepted.outcome() {
            self.waits = false;
            return Poll::Ready(outcome);
        }
        let Accepted { completion, index, .. } = &self.accepted;
        self.waits = completion.await_record(*index, context);
        if self.waits {
            return Poll::Pending;
        }
        self.accepted.outcome().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if self.waits {
            self.accepted.completion.forget(self.accepted.index);
        }
    }
}
