//! A producer without brokers, sockets, threads or time, for the tests of programs that produce (Java's `MockProducer`).
//!
//! It is the real machine behind the real handles. What it writes is read at once, on the thread that sent, by a [`Cluster`]
//! in memory; Produce requests, of one record each, are kept until the test says what becomes of them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestHeader};
use kafka_protocol::protocol::Decodable;

use super::clock;
use super::effects::Effects;
use super::engine::Engine;
use super::setup::{Setup, SetupError};
use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use super::waiter::Waiter;
use crate::batch::{Compression, decode};
use crate::cluster::{Cluster, Peer, Request, Settings};
use crate::config::{Acks, Config, SecurityProtocol};
use crate::error::{DeliveryError, ErrorCode, SendError};
use crate::event::{Cause, Input, Output};
use crate::ids::ConnId;
use crate::planted::planted;
use crate::record::{Record, RecordBuf};
use crate::time::Instant;

/// Timeouts of a mock: none.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// What a mock may buffer at least, however little it is configured with: every record takes a batch of its own.
const MEMORY: usize = 1 << 30;

/// The other side of a producer that was made by its `mock` function: what was sent, and what becomes of it.
///
/// Records are acknowledged as they are sent, or with [`auto_complete(false)`](Self::auto_complete) when the test says so.
/// The configuration counts for what can be seen without a cluster: partitioners, interceptors, `max.request.size`,
/// `max.block.ms`, `client.id`. What is about brokers has no effect: `bootstrap.servers`, `acks` (as `all`), retries (none),
/// idempotence, batching, compression, timeouts, security; nor has `buffer.memory` below 1 GiB, unless the test asks for it by
/// [`Setup::limit_mock_memory`]. There is no time in it: nothing is retried, nothing expires.
/// Callbacks are called on the thread that sends, or that calls a method here.
///
/// Clones share it. Dropping the last one is the end of the producer, as with a driver.
///
/// ```
/// # #[cfg(feature = "threads")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use milena::{Config, DeliveryError, DeliveryErrorKind, ErrorCode, Record, SendError, threads::Producer};
///
/// /// The code under test: it takes the producer that it has in production.
/// fn order(producer: &Producer, what: &str) -> Result<milena::threads::Ack, milena::Error> {
///     producer.enqueue(&Record::new("orders").key("customer-7").value(what))
/// }
///
/// let (producer, mock) = Producer::mock(Config::new("not-used:9092")?)?;
/// assert_eq!(order(&producer, "3 apples")?.wait()?.offset, Some(0));
/// assert_eq!(mock.history()[0].value.as_deref(), Some(&b"3 apples"[..]));
///
/// mock.auto_complete(false);
/// let (pears, plums) = (order(&producer, "2 pears")?, order(&producer, "plums")?);
/// assert!(mock.complete_next());
/// assert!(pears.is_done() && !plums.is_done());
/// assert!(mock.error_next(ErrorCode::INVALID_RECORD));
/// assert!(plums.wait().is_err());
///
/// mock.fail_next(1, DeliveryError::new(DeliveryErrorKind::TimedOut(None)).in_doubt(3)); // or before it is sent
/// let late = order(&producer, "4 figs")?;
/// mock.auto_complete(true);
/// assert!(late.wait().is_err_and(|error| error.possibly_written()));
/// mock.refuse_next(1, SendError::BufferFull { needed: 100 });
/// assert!(matches!(order(&producer, "5 dates"), Err(milena::Error::BufferFull { .. })));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "threads"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Mock {
    shared: Arc<Shared>,
}

impl core::fmt::Debug for Mock {
    /// Nothing of what was sent.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Mock").finish_non_exhaustive()
    }
}

struct Shared {
    engine: Arc<Engine>,
    state: Mutex<State>,
    /// The machine may have something to say.
    wanted: AtomicBool,
    /// Someone listens to it, or runs callbacks.
    busy: AtomicBool,
}

struct State {
    cluster: Cluster,
    connections: BTreeMap<ConnId, Connection>,
    /// Requests that were not answered yet, oldest first.
    held: VecDeque<Held>,
    /// So many records that come are failed, each for such a reason, in this order.
    failures: VecDeque<(usize, DeliveryError)>,
    /// Who waits until so many are held.
    waiting: Vec<(usize, Weak<Waiter>)>,
    /// What is to be done without the lock.
    effects: Effects,
    history: Vec<RecordBuf>,
    auto_complete: bool,
    commands: Vec<Output>,
}

struct Held {
    conn: ConnId,
    frame: Bytes,
    /// What the record was to fail with before it came.
    failure: Option<DeliveryError>,
}

/// What becomes of a record.
enum Answer {
    /// What was said before it came; otherwise it is written.
    AsStaged,
    Code(ErrorCode),
    Failure(DeliveryError),
}

struct Connection {
    peer: Peer,
    /// What was written, up to the end of a frame.
    written: Vec<u8>,
}

/// Whoever wakes the driver does its work.
struct Wake(Weak<Shared>);

impl alloc::task::Wake for Wake {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.pump();
        }
    }
}

impl Mock {
    /// The mock, and the engine for a handle.
    pub(super) fn new(mut setup: Setup) -> Result<(Self, Arc<Engine>), SetupError> {
        let cluster = Cluster::new(Settings {
            default_partitions: 1,
            instant_elections: true,
            unix_time: clock::time_of_day().as_millis(),
            ..Settings::default()
        });
        let servers = cluster.nodes().into_iter().filter_map(|node| cluster.address(node));
        setup.config = Config {
            bootstrap_servers: servers.map(|(host, port)| (host.into(), port)).collect(),
            acks: Acks::All,
            idempotence: false,
            retries: 0,
            max_in_flight: usize::MAX,
            batch_size: 1,
            batch_size_max: 1,
            batches_a_request: 1,
            linger: Duration::ZERO,
            delivery_timeout: FOR_EVER,
            request_timeout: FOR_EVER,
            compression: Compression::None,
            jobs: Some(0),
            buffer_memory: setup.config.buffer_memory.max(if setup.mock_memory { 0 } else { MEMORY }),
            security_protocol: SecurityProtocol::Plaintext,
            sasl: None,
            ..setup.config
        };
        let engine = Arc::new(Engine::new(setup)?.into_mock());
        let state = State {
            cluster,
            connections: BTreeMap::new(),
            held: VecDeque::new(),
            failures: VecDeque::new(),
            waiting: Vec::new(),
            effects: Effects::default(),
            history: Vec::new(),
            auto_complete: true,
            commands: Vec::new(),
        };
        let shared = Arc::new(Shared {
            engine: Arc::clone(&engine),
            state: Mutex::new(state),
            wanted: AtomicBool::new(false),
            busy: AtomicBool::new(false),
        });
        engine.set_driver(&Arc::new(Wake(Arc::downgrade(&shared))).into());
        Ok((Self { shared }, engine))
    }

    /// Whether records are acknowledged as they are sent, which is so at first. What was kept until now is acknowledged too.
    pub fn auto_complete(&self, yes: bool) {
        self.shared.lock().auto_complete = yes;
        self.shared.pump();
    }

    /// Acknowledges the oldest record that was not answered yet, or fails it if [`fail_next`](Self::fail_next) said so before it
    /// came; false if there is none.
    pub fn complete_next(&self) -> bool {
        self.answer_next(Answer::AsStaged)
    }

    /// Fails the oldest record that was not answered yet, as if a broker answered `error`; false if there is none.
    pub fn error_next(&self, error: ErrorCode) -> bool {
        self.answer_next(Answer::Code(error))
    }

    /// As [`error_next`](Self::error_next), with whatever a delivery may fail with: a timeout, a record in doubt.
    pub fn fail(&self, error: impl Into<DeliveryError>) -> bool {
        self.answer_next(Answer::Failure(error.into()))
    }

    /// Fails the next so many records that are sent from now on, when it is their turn to be answered: also where they are
    /// acknowledged as they are sent. Topic and partition are the record's, unless the error has its own. Later calls are for the
    /// records after those.
    pub fn fail_next(&self, times: usize, error: impl Into<DeliveryError>) {
        if times > 0 {
            self.shared.lock().failures.push_back((times, error.into()));
        }
    }

    /// Refuses the next so many records: they are not even taken. Calls that would wait for what is missing (`NotReady`,
    /// `BufferFull`) say at once what they say after `max.block.ms`; `try_enqueue` and `try_send_with` say the error itself.
    pub fn refuse_next(&self, times: usize, error: SendError) {
        self.shared.engine.refuse_next(times, error);
    }

    /// Waits until so many records are [`pending`](Self::pending): for tests whose code under test sends in another task. With
    /// [`auto_complete(false)`](Self::auto_complete).
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub async fn wait_pending(&self, records: usize) {
        while let Some(waiter) = self.wait_for(records) {
            core::future::poll_fn(|context| waiter.poll(context)).await;
        }
    }

    /// As `wait_pending`, for code under test that sends in another thread; false if they are not so many within `timeout`.
    #[cfg(feature = "threads")]
    pub fn wait_pending_at_most(&self, records: usize, timeout: Duration) -> bool {
        let until = self.shared.engine.clock().now() + timeout;
        while let Some(waiter) = self.wait_for(records) {
            let left = until.saturating_since(self.shared.engine.clock().now());
            if left.is_zero() || !waiter.wait(left) {
                return self.pending() >= records;
            }
        }
        true
    }

    /// What to wait for until so many records are held, if they are not.
    #[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
    fn wait_for(&self, records: usize) -> Option<Arc<Waiter>> {
        let mut state = self.shared.lock();
        if state.held.len() >= records {
            return None;
        }
        let waiter = Arc::new(Waiter::default());
        state.waiting.retain(|(_, other)| other.strong_count() > 0);
        state.waiting.push((records, Arc::downgrade(&waiter)));
        Some(waiter)
    }

    fn answer_next(&self, answer: Answer) -> bool {
        self.shared.pump();
        let answered = self.shared.lock().answer_next(&self.shared.engine, answer);
        self.shared.pump();
        answered
    }

    /// How many records were sent and not answered yet.
    pub fn pending(&self) -> usize {
        self.shared.lock().held.len()
    }

    /// What was sent since the beginning or the last [`clear`](Self::clear), in order, whatever became of it. Partition and
    /// timestamp are those that the record was sent with.
    pub fn history(&self) -> Vec<RecordBuf> {
        self.shared.lock().history.clone()
    }

    /// Forgets the history. What was not answered yet still waits for that.
    pub fn clear(&self) {
        self.shared.lock().history.clear();
    }

    /// Whether the producer was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.engine.has_ended()
    }

    /// Looks at the cluster that takes the records, or changes it: topics with more than one partition, topics that may not
    /// be written to, codes to answer metadata requests with.
    pub fn with<T>(&self, change: impl FnOnce(&mut Cluster, Instant) -> T) -> T {
        let now = self.shared.engine.clock().now();
        change(&mut self.shared.lock().cluster, now)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.end("its mock was dropped");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the machine says until it says no more. Whoever comes while another thread, or a callback, is at it leaves
    /// the work to that one.
    fn pump(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        while self.wanted.load(Ordering::SeqCst) {
            if self.busy.swap(true, Ordering::SeqCst) {
                return;
            }
            while self.wanted.swap(false, Ordering::SeqCst) {
                let mut state = self.lock();
                state.work(&self.engine);
                let mut effects = core::mem::take(&mut state.effects);
                let waiting = state.satisfied();
                drop(state);
                run(&self.engine, &mut effects);
                waiting.iter().for_each(|waiter| waiter.raise());
                if self.engine.is_closed() {
                    self.engine.end("");
                }
            }
            self.busy.store(false, Ordering::SeqCst);
            if planted("pump-does-not-look-again") {
                return;
            }
        }
    }
}

/// Callbacks may not wait, as anywhere.
#[cfg_attr(not(feature = "threads"), allow(unused_variables, reason = "only there can anything wait in a callback"))]
fn run(engine: &Engine, effects: &mut Effects) {
    #[cfg(feature = "threads")]
    super::threads::as_io_thread(engine, || effects.run());
    #[cfg(not(feature = "threads"))]
    effects.run();
}

impl State {
    /// Those who waited for as many records as are held now.
    fn satisfied(&mut self) -> Vec<Arc<Waiter>> {
        let held = self.held.len();
        let mut satisfied = Vec::new();
        self.waiting.retain(|(records, waiter)| match waiter.upgrade() {
            Some(waiter) if *records <= held => {
                satisfied.push(waiter);
                false
            }
            other => other.is_some(),
        });
        satisfied
    }

    /// What a record that comes now was to fail with.
    fn failure(&mut self) -> Option<DeliveryError> {
        let (times, error) = self.failures.front_mut()?;
        let error = error.clone();
        *times -= 1;
        if *times == 0 {
            self.failures.pop_front();
        }
        Some(error)
    }

    fn work(&mut self, engine: &Engine) {
        loop {
            let mut commands = core::mem::take(&mut self.commands);
            engine.drain(&mut commands, &mut self.effects);
            let idle = commands.is_empty();
            for command in commands.drain(..) {
                self.obey(engine, command);
            }
            self.commands = commands;
            let complete = self.auto_complete || engine.is_flushing();
            if idle && !(complete && self.answer_next(engine, Answer::AsStaged)) {
                return;
            }
        }
    }

    fn obey(&mut self, engine: &Engine, command: Output) {
        match command {
            Output::Connect { conn, host, port, .. } => {
                let node = self.cluster.node_at(&host, port);
                match node.and_then(|node| self.cluster.connect(node)) {
                    Some(peer) => {
                        self.connections.insert(conn, Connection { peer, written: Vec::new() });
                        engine.input(Input::Connected(conn));
                    }
                    None => engine.input(Input::Disconnected(conn, Cause::Connect("the node is down"))),
                }
            }
            Output::Disconnect(conn) => {
                if let Some(connection) = self.connections.remove(&conn) {
                    self.cluster.disconnect(connection.peer);
                }
                self.held.retain(|held| held.conn != conn);
            }
            Output::Transmit(conn) => self.transmit(engine, conn),
            Output::Job(_) | Output::Token { .. } | Output::Event(_) | Output::Wait(_) => {
                unreachable!("a mock neither compresses nor authenticates, and the engine keeps the others")
            }
        }
    }

    /// Takes all that the machine has for a connection.
    fn transmit(&mut self, engine: &Engine, conn: ConnId) {
        loop {
            let Some(connection) = self.connections.get_mut(&conn) else { return };
            let before = connection.written.len();
            engine.with_producer(|producer, now| {
                for segment in producer.transmit(now, conn).segments() {
                    connection.written.extend_from_slice(segment);
                }
                producer.written(now, conn, connection.written.len() - before);
            });
            if connection.written.len() == before {
                return;
            }
            while let Some(frame) = self.connections.get_mut(&conn).and_then(Connection::take_frame) {
                let Some(peer) = self.connections.get(&conn).map(|connection| connection.peer) else { return };
                if frame.starts_with(&(ApiKey::Produce as i16).to_be_bytes()) {
                    self.history.extend(sent(&frame, &self.cluster));
                    let failure = self.failure();
                    self.held.push_back(Held { conn, frame, failure });
                } else {
                    serve(&mut self.cluster, peer, engine, conn, &frame);
                }
            }
        }
    }

    fn answer_next(&mut self, engine: &Engine, answer: Answer) -> bool {
        let Some(Held { conn, frame, failure }) = self.held.pop_front() else { return false };
        let (code, failure) = match answer {
            Answer::AsStaged => (failure.is_some().then_some(ErrorCode::INVALID_RECORD), failure),
            Answer::Code(code) => (Some(code), None),
            Answer::Failure(error) => (Some(ErrorCode::INVALID_RECORD), Some(error)),
        };
        if let Some(code) = code {
            self.cluster.fail_next(Request::Produce, code.code(), 1);
        }
        if let Some(connection) = self.connections.get(&conn) {
            serve(&mut self.cluster, connection.peer, engine, conn, &frame);
        }
        if let Some(error) = failure {
            engine.drain_failure(error, &mut self.commands, &mut self.effects);
        }
        true
    }
}

impl Connection {
    /// A whole frame, without its length.
    fn take_frame(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(*self.written.first_chunk::<4>()?) as usize;
        if self.written.len() < 4 + length {
            return None;
        }
        let rest = self.written.split_off(4 + length);
        Some(Bytes::from(core::mem::replace(&mut self.written, rest)).slice(4..))
    }
}

/// The cluster gets a request, and the machine the answer.
fn serve(cluster: &mut Cluster, peer: Peer, engine: &Engine, conn: ConnId, frame: &[u8]) {
    let now = engine.clock().now();
    cluster.receive(now, peer, &(frame.len() as u32).to_be_bytes());
    cluster.receive(now, peer, frame);
    engine.input(Input::Data(conn, &cluster.take_output(peer)));
    if cluster.is_closed(peer) {
        engine.input(Input::Disconnected(conn, Cause::Closed));
    }
}

/// The records of a Produce request.
fn sent(frame: &Bytes, cluster: &Cluster) -> Vec<RecordBuf> {
    let mut records = Vec::new();
    let (mut body, version) = (frame.clone(), (&frame[2..]).get_i16());
    RequestHeader::decode(&mut body, ApiKey::Produce.request_header_version(version)).expect("the machine wrote it");
    let request = ProduceRequest::decode(&mut body, version).expect("the machine wrote it");
    for topic in request.topic_data {
        let name = if version < 13 { Some(topic.name.0.to_string()) } else { cluster.name_of(topic.topic_id) };
        let name = name.unwrap_or_default();
        for partition in topic.partition_data {
            let batch = partition.records.unwrap_or_default();
            decode::for_each_of_batch(&batch, |content| {
                records.push(RecordBuf::from(&Record {
                    topic: &name,
                    partition: Some(partition.index),
                    key: content.key,
                    value: content.value,
                    headers: content.headers,
                    timestamp: Some(content.timestamp),
                    owner: None,
                }));
            });
        }
    }
    records
}
