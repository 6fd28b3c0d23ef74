//! One face for the producers of both kinds, threads and tasks.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use shuttle::future::block_on;

use super::super::completion::Delivered;
use super::super::error::Error;
use super::super::setup::Setup;
use super::super::task::Driver;
use super::super::{task, threads};
use super::primitives::{AtomicBool, Mutex, thread};
use super::world::{Checked, World};
use crate::event::{PartitionInfo, TopicListing};
use crate::record::Record;

/// Waits for what became of a record.
pub(super) type Ack = Box<dyn FnOnce() -> Result<Delivered, Error> + Send>;

/// A producer, whose calls wait in the thread that makes them.
pub(super) trait Handle: Clone + Send + Sync + 'static {
    /// A producer of this world; what kills its driver, and the driver's thread, if there is one to wait for.
    fn start(world: &Arc<World>, setup: Setup) -> (Self, Kill, Option<thread::JoinHandle<()>>);

    fn send_with(
        &self,
        record: &Record<'_>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), Error>;

    fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error>;

    fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, Error>;

    fn send_all(&self, records: &[Record<'_>]) -> Result<Vec<Ack>, Error>;

    fn wait_writable(&self, needed: usize, timeout: Duration) -> Result<(), Error>;

    fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, Error>;

    fn list_topics(&self) -> Result<Vec<TopicListing>, Error>;

    fn ping(&self, timeout: Duration) -> Result<Duration, Error>;

    fn flush(&self) -> Result<u64, Error>;

    fn close(&self, timeout: Duration) -> Result<u64, Error>;

    fn send(&self, record: &Record<'_>) -> Result<Delivered, Error> {
        self.enqueue(record)?()
    }
}

/// Ends a driver before its time.
pub(super) type Kill = Box<dyn FnOnce() + Send>;

impl Handle for threads::Producer {
    fn start(world: &Arc<World>, setup: Setup) -> (Self, Kill, Option<thread::JoinHandle<()>>) {
        let producer = Self::new(setup).expect("the checker refuses nothing");
        let world = Arc::clone(world);
        (producer, Box::new(move || world.break_poll()), None)
    }

    fn send_with(
        &self,
        record: &Record<'_>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        self.send_with(record, callback)
    }

    fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        let ack = self.enqueue(record)?;
        Ok(Box::new(move || ack.wait()))
    }

    fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        let ack = self.try_enqueue(record)?;
        Ok(Box::new(move || ack.wait()))
    }

    fn send_all(&self, records: &[Record<'_>]) -> Result<Vec<Ack>, Error> {
        let acks = self.send_all(records.iter().cloned()).map_err(|error| error.error)?;
        Ok(acks.into_iter().map(|ack| Box::new(move || ack.wait()) as Ack).collect())
    }

    fn wait_writable(&self, needed: usize, timeout: Duration) -> Result<(), Error> {
        self.wait_writable(needed, timeout)
    }

    fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, Error> {
        self.partitions_for(topic)
    }

    fn list_topics(&self) -> Result<Vec<TopicListing>, Error> {
        self.list_topics()
    }

    fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        self.ping(timeout)
    }

    fn flush(&self) -> Result<u64, Error> {
        self.flush()
    }

    fn close(&self, timeout: Duration) -> Result<u64, Error> {
        self.close(timeout)
    }
}

/// The producer for tasks.
pub(super) type Tasks = task::Producer<Checked>;

impl Handle for Tasks {
    fn start(_: &Arc<World>, setup: Setup) -> (Self, Kill, Option<thread::JoinHandle<()>>) {
        let (producer, driver) = Self::new(setup).expect("the checker refuses nothing");
        let stop = Arc::new(Stop { stopped: AtomicBool::new(false), waker: Mutex::new(None) });
        let driver = Stoppable { driver: Some(driver), stop: Arc::clone(&stop) };
        let thread = thread::spawn(move || block_on(driver));
        (producer, Box::new(move || stop.stop()), Some(thread))
    }

    fn send_with(
        &self,
        record: &Record<'_>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        block_on(self.send_with(record, callback))
    }

    fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        let ack = block_on(self.enqueue(record))?;
        Ok(Box::new(move || block_on(ack)))
    }

    fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        let ack = self.try_enqueue(record)?;
        Ok(Box::new(move || block_on(ack)))
    }

    fn send_all(&self, records: &[Record<'_>]) -> Result<Vec<Ack>, Error> {
        let acks = block_on(self.send_all(records.iter().cloned())).map_err(|error| error.error)?;
        Ok(acks.into_iter().map(|ack| Box::new(move || block_on(ack)) as Ack).collect())
    }

    fn wait_writable(&self, needed: usize, timeout: Duration) -> Result<(), Error> {
        block_on(self.wait_writable(needed, timeout))
    }

    fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>, Error> {
        block_on(self.partitions_for(topic))
    }

    fn list_topics(&self) -> Result<Vec<TopicListing>, Error> {
        block_on(self.list_topics())
    }

    fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        block_on(self.ping(timeout))
    }

    fn flush(&self) -> Result<u64, Error> {
        block_on(self.flush())
    }

    fn close(&self, timeout: Duration) -> Result<u64, Error> {
        block_on(self.close(timeout))
    }
}

struct Stop {
    stopped: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Stop {
    fn stop(&self) {
        self.stopped.store(true, core::sync::atomic::Ordering::SeqCst);
        let waker = self.waker.lock().expect("no panic").take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A driver that is dropped when that is asked for.
struct Stoppable {
    driver: Option<Driver<Checked>>,
    stop: Arc<Stop>,
}

impl Future for Stoppable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *self.stop.waker.lock().expect("no panic") = Some(context.waker().clone());
        if self.stop.stopped.load(core::sync::atomic::Ordering::SeqCst) {
            self.driver = None;
        }
        match &mut self.driver {
            None => Poll::Ready(()),
            Some(driver) => Pin::new(driver).poll(context),
        }
    }
}
