//! A producer on any adapter behind the same futures, what runs its tasks, and a guard against tests that hang.

#![allow(dead_code, unreachable_pub, reason = "shared by several test programs, each of which uses a part")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use milena::{Delivered, Error, Record, RecordBuf, Setup, Stats, TrySendError};

/// Where a producer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    Threads,
    /// A runtime of one thread, which also runs the test.
    TokioOne,
    /// A runtime of two threads.
    TokioMany,
    Smol,
}

pub const ADAPTERS: [Adapter; 4] = [Adapter::Threads, Adapter::TokioOne, Adapter::TokioMany, Adapter::Smol];

/// A producer of one of the adapters. With threads, what is awaited blocks.
#[derive(Clone, Debug)]
pub enum Producer {
    Threads(milena::threads::Producer),
    Tokio(milena::tokio::Producer),
    Smol(milena::smol::Producer),
}

/// What will become of a record.
#[derive(Debug)]
pub enum Ack {
    Thread(milena::threads::Ack),
    Task(milena::task::Ack),
}

/// What runs tasks, and keeps the producer's driver.
#[derive(Clone, Debug)]
pub struct Tasks {
    runs: Runs,
    driver: Arc<Mutex<Option<Driver>>>,
    /// Threads of the runtime, where it has several; [`note_thread`] adds others.
    pub threads: Threads,
}

/// Threads by their number in the system.
pub type Threads = Arc<Mutex<Vec<u32>>>;

#[derive(Clone, Debug)]
enum Runs {
    Threads,
    Tokio(tokio::runtime::Handle),
    Smol(Arc<smol::Executor<'static>>),
}

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

#[derive(Debug)]
enum Driver {
    Tokio(tokio::task::JoinHandle<()>),
    Smol(smol::Task<()>),
}

/// A task that was begun.
#[derive(Debug)]
pub struct Task<T> {
    joins: Joins,
    result: Arc<Mutex<Option<T>>>,
}

#[derive(Debug)]
enum Joins {
    Thread(std::thread::JoinHandle<()>),
    Tokio(tokio::task::JoinHandle<()>),
    Smol(smol::Task<()>),
}

impl Adapter {
    /// Runs a test with a producer of this adapter. The producer's driver goes on beside it, and ends with it.
    pub fn run<T>(self, setup: impl Into<Setup>, test: impl AsyncFnOnce(Producer, Tasks) -> T) -> T {
        self.bare(async |tasks: Tasks| {
            let producer = tasks.producer(setup).expect("the setup is right");
            test(producer, tasks).await
        })
    }

    /// Runs a test that makes its producers itself, by [`Tasks::producer`].
    pub fn bare<T>(self, test: impl AsyncFnOnce(Tasks) -> T) -> T {
        let mut result = None;
        self.run_boxed(Box::new(|tasks| Box::pin(async { result = Some(test(tasks).await) })));
        result.expect("the test has returned")
    }

    /// The runtimes are compiled for this one type, and not for each test.
    fn run_boxed<'a>(self, test: Box<dyn FnOnce(Tasks) -> Running<'a> + 'a>) {
        let (driver, threads) = (Arc::default(), Threads::default());
        match self {
            Self::Threads => smol::block_on(test(Tasks { runs: Runs::Threads, driver, threads })),
            Self::TokioOne | Self::TokioMany => {
                let mut builder = match self {
                    Self::TokioOne => tokio::runtime::Builder::new_current_thread(),
                    Self::TokioMany | Self::Threads | Self::Smol => tokio::runtime::Builder::new_multi_thread(),
                };
                let noted = Arc::clone(&threads);
                builder.worker_threads(2).enable_all().on_thread_start(move || note_thread(&noted));
                let runtime = builder.build().expect("a runtime");
                let runs = Runs::Tokio(runtime.handle().clone());
                runtime.block_on(test(Tasks { runs, driver, threads }));
                runtime.shutdown_timeout(Duration::from_secs(5));
            }
            Self::Smol => {
                let executor = Arc::new(smol::Executor::new());
                let runs = Runs::Smol(Arc::clone(&executor));
                smol::block_on(executor.run(test(Tasks { runs, driver, threads })));
            }
        }
    }
}

impl Tasks {
    /// A producer whose driver runs here.
    pub fn producer(&self, setup: impl Into<Setup>) -> std::io::Result<Producer> {
        Ok(match &self.runs {
            Runs::Threads => Producer::Threads(milena::threads::Producer::new(setup)?),
            Runs::Tokio(handle) => {
                let (producer, driver) = milena::tokio::Producer::new(setup)?;
                self.keep(Driver::Tokio(handle.spawn(driver)));
                Producer::Tokio(producer)
            }
            Runs::Smol(executor) => {
                let (producer, driver) = milena::smol::Producer::new(setup)?;
                self.keep(Driver::Smol(executor.spawn(driver)));
                Producer::Smol(producer)
            }
        })
    }

    fn keep(&self, driver: Driver) {
        if let Some(Driver::Smol(earlier)) = self.lock().replace(driver) {
            earlier.detach();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Driver>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the driver of the last producer, wherever it is. There is none with threads.
    pub async fn drop_driver(&self) {
        let driver = self.lock().take();
        match driver {
            None => {}
            Some(Driver::Tokio(driver)) => {
                driver.abort();
                let _ = driver.await;
            }
            Some(Driver::Smol(driver)) => {
                driver.cancel().await;
            }
        }
    }

    /// Whether the last producer's driver has nothing more to do. With threads it is not known.
    pub fn driver_has_ended(&self) -> bool {
        match &*self.lock() {
            None => true,
            Some(Driver::Tokio(driver)) => driver.is_finished(),
            Some(Driver::Smol(driver)) => driver.is_finished(),
        }
    }

    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        let result = Arc::new(Mutex::new(None));
        let place = Arc::clone(&result);
        let future = async move {
            let result = future.await;
            *place.lock().expect("nobody else has it") = Some(result);
        };
        Task { joins: self.spawn_boxed(Box::pin(future)), result }
    }

    /// The runtimes are compiled for this one type, and not for each task.
    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Joins {
        match &self.runs {
            Runs::Threads => Joins::Thread(std::thread::spawn(move || smol::block_on(future))),
            Runs::Tokio(handle) => Joins::Tokio(handle.spawn(future)),
            Runs::Smol(executor) => Joins::Smol(executor.spawn(future)),
        }
    }

    pub async fn sleep(&self, span: Duration) {
        match &self.runs {
            Runs::Threads => std::thread::sleep(span),
            Runs::Tokio(_) => tokio::time::sleep(span).await,
            Runs::Smol(_) => {
                smol::Timer::after(span).await;
            }
        }
    }
}

impl<T> Task<T> {
    /// What the task returned; its panic is passed on.
    pub async fn join(self) -> T {
        let ended: Result<(), Box<dyn std::any::Any + Send>> = match self.joins {
            Joins::Thread(thread) => thread.join(),
            Joins::Tokio(task) => task.await.map_err(tokio::task::JoinError::into_panic),
            Joins::Smol(task) => {
                task.await;
                Ok(())
            }
        };
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let result = self.result.lock().expect("the task has returned").take();
        result.expect("the task has returned")
    }
}

impl Producer {
    pub async fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        match self {
            Self::Threads(producer) => producer.enqueue(record).map(Ack::Thread),
            Self::Tokio(producer) => producer.enqueue(record).await.map(Ack::Task),
            Self::Smol(producer) => producer.enqueue(record).await.map(Ack::Task),
        }
    }

    pub fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        match self {
            Self::Threads(producer) => producer.try_enqueue(record).map(Ack::Thread),
            Self::Tokio(producer) => producer.try_enqueue(record).map(Ack::Task),
            Self::Smol(producer) => producer.try_enqueue(record).map(Ack::Task),
        }
    }

    pub async fn send(&self, record: &Record<'_>) -> Result<Delivered, Error> {
        match self {
            Self::Threads(producer) => producer.send(record),
            Self::Tokio(producer) => producer.send(record).await,
            Self::Smol(producer) => producer.send(record).await,
        }
    }

    pub async fn send_with(
        &self,
        record: &Record<'_>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        match self {
            Self::Threads(producer) => producer.send_with(record, callback),
            Self::Tokio(producer) => producer.send_with(record, callback).await,
            Self::Smol(producer) => producer.send_with(record, callback).await,
        }
    }

    pub fn try_send_with<F>(&self, record: &Record<'_>, callback: F) -> Result<(), TrySendError<F>>
    where
        F: FnOnce(Result<Delivered, Error>) + Send + 'static,
    {
        match self {
            Self::Threads(producer) => producer.try_send_with(record, callback),
            Self::Tokio(producer) => producer.try_send_with(record, callback),
            Self::Smol(producer) => producer.try_send_with(record, callback),
        }
    }

    pub async fn wait_writable(&self, needed: usize, timeout: Duration) -> Result<(), Error> {
        match self {
            Self::Threads(producer) => producer.wait_writable(needed, timeout),
            Self::Tokio(producer) => producer.wait_writable(needed, timeout).await,
            Self::Smol(producer) => producer.wait_writable(needed, timeout).await,
        }
    }

    pub async fn send_owned(&self, record: RecordBuf) -> Result<Delivered, Error> {
        match self {
            Self::Threads(producer) => producer.send_owned(record),
            Self::Tokio(producer) => producer.send_owned(record).await,
            Self::Smol(producer) => producer.send_owned(record).await,
        }
    }

    pub async fn flush(&self) -> Result<u64, Error> {
        match self {
            Self::Threads(producer) => producer.flush(),
            Self::Tokio(producer) => producer.flush().await,
            Self::Smol(producer) => producer.flush().await,
        }
    }

    /// How many records failed while it waited.
    pub async fn close(&self, timeout: Duration) -> Result<u64, Error> {
        match self {
            Self::Threads(producer) => producer.close(timeout),
            Self::Tokio(producer) => producer.close(timeout).await,
            Self::Smol(producer) => producer.close(timeout).await,
        }
    }

    /// Sends many. With the error there are the acknowledgements of those that were taken before.
    pub async fn send_all<'a>(
        &self,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<Vec<Ack>, (Vec<Ack>, Error)> {
        let threads = |acks: Vec<_>| acks.into_iter().map(Ack::Thread).collect();
        let tasks = |acks: Vec<_>| acks.into_iter().map(Ack::Task).collect();
        match self {
            Self::Threads(producer) => {
                producer.send_all(records).map(threads).map_err(|error| (threads(error.accepted), error.error))
            }
            Self::Tokio(producer) => {
                producer.send_all(records).await.map(tasks).map_err(|error| (tasks(error.accepted), error.error))
            }
            Self::Smol(producer) => {
                producer.send_all(records).await.map(tasks).map_err(|error| (tasks(error.accepted), error.error))
            }
        }
    }

    /// Waits until a topic is known.
    pub async fn know(&self, topic: &str) {
        match self {
            Self::Threads(producer) => producer.partitions_for(topic),
            Self::Tokio(producer) => producer.partitions_for(topic).await,
            Self::Smol(producer) => producer.partitions_for(topic).await,
        }
        .expect("the topic gets known");
    }

    pub fn stats(&self) -> Stats {
        match self {
            Self::Threads(producer) => producer.stats(),
            Self::Tokio(producer) => producer.stats(),
            Self::Smol(producer) => producer.stats(),
        }
    }

    pub fn renew_security(&self, setup: impl Into<Setup>) -> Result<(), milena::SetupError> {
        match self {
            Self::Threads(producer) => producer.renew_security(setup),
            Self::Tokio(producer) => producer.renew_security(setup),
            Self::Smol(producer) => producer.renew_security(setup),
        }
    }
}

impl Ack {
    /// Waits for what becomes of the record.
    pub async fn outcome(self) -> Result<Delivered, Error> {
        match self {
            Self::Thread(ack) => ack.wait(),
            Self::Task(ack) => ack.await,
        }
    }

    pub fn is_done(&self) -> bool {
        match self {
            Self::Thread(ack) => ack.is_done(),
            Self::Task(ack) => ack.is_done(),
        }
    }
}

/// Adds the current thread.
pub fn note_thread(threads: &Threads) {
    // Its name is PID/task/TID.
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
    let number = thread.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
    let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
    if !threads.contains(&number) {
        threads.push(number);
    }
}

pub fn noted(threads: &Threads) -> Vec<u32> {
    threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// How long the threads have computed so far, those of them that still live.
pub fn cpu_time(threads: &Threads) -> Duration {
    let ticks = |thread: u32| {
        let line = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
    };
    // A hundred ticks a second, whatever the kernel's own clock does.
    Duration::from_millis(noted(threads).into_iter().filter_map(ticks).sum::<u64>() * 10)
}

/// Runs a test on a thread of its own, and panics with `state` if it is not over in time. Its own panic is passed on. This is
/// no bound on how fast anything is: it keeps a hang from looking like a long test.
pub fn guarded<T: Send + 'static>(
    patience: Duration,
    state: impl Fn() -> String,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    let test = Box::new(move || *place.lock().expect("nobody else has it") = Some(test()));
    let over = begin(test).recv_timeout(patience);
    match over {
        Ok(Ok(())) => {
            let result = result.lock().expect("the test has returned").take();
            result.expect("the test has returned")
        }
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => panic!("not over after {patience:?}: {}", state()),
    }
}

/// Runs it on a thread of its own, and says how it ended.
fn begin(test: Box<dyn FnOnce() + Send>) -> mpsc::Receiver<std::thread::Result<()>> {
    let (done, over) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(std::panic::catch_unwind(AssertUnwindSafe(test)));
    });
    over
}

/// Runs a test once for each adapter, beside each other, each guarded. Says which of them failed.
pub fn each_adapter(test: impl Fn(Adapter, &Progress) + Send + Sync + 'static) {
    each_adapter_of(&(Arc::new(test) as Arc<Test>));
}

type Test = dyn Fn(Adapter, &Progress) + Send + Sync;

fn each_adapter_of(test: &Arc<Test>) {
    let run = |adapter: Adapter| {
        let (progress, test) = (Progress::default(), Arc::clone(test));
        let told = progress.clone();
        let state = move || format!("{adapter:?}: {}", told.state());
        std::thread::spawn(move || guarded(PATIENCE, state, move || test(adapter, &progress)))
    };
    let runs = ADAPTERS.map(|adapter| (adapter, run(adapter)));
    let failed: Vec<_> = runs.into_iter().filter_map(|(adapter, run)| run.join().err().map(|_| adapter)).collect();
    assert!(failed.is_empty(), "failed with {failed:?}: see above");
}

/// Long enough for a busy machine, short enough to notice a hang.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// How far a test is, for the guard to say.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<(String, Option<Producer>)>>);

impl Progress {
    pub fn at(&self, words: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = words.into();
    }

    pub fn watch(&self, producer: &Producer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(producer.clone());
    }

    /// Where it is, and the producer's counters unless its lock is never given back.
    pub fn state(&self) -> String {
        let (words, producer) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(producer) = producer else { return words };
        let (tell, hear) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = tell.send(producer.stats());
        });
        match hear.recv_timeout(Duration::from_secs(5)) {
            Ok(stats) => format!("{words}; {stats:?}"),
            Err(_) => format!("{words}; stats() does not return either"),
        }
    }
}

/// Polls a future once, as `select!` and a future that nobody goes on with do.
pub async fn poll_once<T>(future: &mut Pin<impl std::ops::DerefMut<Target: Future<Output = T>>>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(result) => std::task::Poll::Ready(Some(result)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

/// The time on the wall, for tests that let it pass.
#[expect(clippy::disallowed_methods, reason = "tests on real sockets live in real time")]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Waits until something holds, for a minute at most.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = now();
    while !holds() {
        assert!(now() - began < Duration::from_secs(60), "{what}: not after a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}
