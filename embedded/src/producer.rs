//! The handle.

use alloc::rc::Rc;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use embassy_futures::select::{Either, select};
use milena::{Record, SendError, Stats, TopicIndex, UnixTime};

use crate::clock::Clock;
#[cfg(feature = "embassy-time")]
use crate::clock::EmbassyTime;
use crate::completion::{Ack, Delivered};
use crate::error::Error;
use crate::shared::{Inner, Shared, Ticket};

/// How soon a record is tried again for which the allocator had no memory.
const NO_MEMORY_INTERVAL: Duration = Duration::from_millis(100);

/// How long a runner that is not polled is waited for.
const GRACE: Duration = Duration::from_secs(1);

/// A handle to a producer. Clones share it; any number of tasks of one executor may send.
///
/// When the last handle is dropped, the producer takes no more, what was taken is still delivered, and the runner ends.
/// [`close`](Self::close) is the way to know.
#[cfg(feature = "embassy-time")]
pub struct Producer<C: Clock = EmbassyTime> {
    handle: Rc<Handle<C>>,
}

/// A handle to a producer. Clones share it; any number of tasks of one executor may send.
///
/// When the last handle is dropped, the producer takes no more, what was taken is still delivered, and the runner ends.
/// [`close`](Self::close) is the way to know.
#[cfg(not(feature = "embassy-time"))]
pub struct Producer<C: Clock> {
    handle: Rc<Handle<C>>,
}

struct Handle<C: Clock> {
    shared: Rc<Shared<C>>,
}

impl<C: Clock> Drop for Handle<C> {
    fn drop(&mut self) {
        self.shared.with(|inner, now, later| {
            inner.machine.close(now);
            inner.wake_runner(later);
        });
    }
}

impl<C: Clock> Clone for Producer<C> {
    fn clone(&self) -> Self {
        Self { handle: Rc::clone(&self.handle) }
    }
}

impl<C: Clock> fmt::Debug for Producer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl<C: Clock> Producer<C> {
    pub(crate) fn new(shared: Rc<Shared<C>>) -> Self {
        Self { handle: Rc::new(Handle { shared }) }
    }

    fn shared(&self) -> &Shared<C> {
        &self.handle.shared
    }

    /// Takes a record and waits until it is delivered or has failed. See [`enqueue`](Self::enqueue) for what is waited for before it is
    /// taken. If this future is dropped, the record is not sent if it was not taken yet, and is sent nevertheless if it was.
    ///
    /// # Errors
    /// If the record can't be taken or is not delivered.
    pub async fn send(&self, record: &Record<'_>) -> Result<Delivered, Error> {
        self.enqueue(record).await?.await
    }

    /// Takes a record, waiting at most `max.block.ms` for its topic's metadata and for memory. The acknowledgement is a future. If this
    /// one is dropped before it is done, the record is not sent, and whoever else waits goes on.
    ///
    /// # Errors
    /// If the record can't be taken; nothing was kept of it.
    pub async fn enqueue(&self, record: &Record<'_>) -> Result<Ack, Error> {
        let shared = self.shared();
        let mut waiting = Waiting { shared, ticket: None, why: None };
        let (began, max_block) = shared.with(|inner, now, _| (now, inner.machine.config().max_block()));
        let until = began + max_block;
        loop {
            match select(poll_fn(|context| waiting.poll(record, context)), shared.clock.wait_until(until)).await {
                Either::First(Some(tried)) => return tried,
                Either::First(None) => {
                    let now = shared.clock.now();
                    if now >= until {
                        return Err(waiting.given_up(max_block));
                    }
                    shared.clock.wait_until((now + NO_MEMORY_INTERVAL).min(until)).await;
                }
                Either::Second(()) => return Err(waiting.given_up(max_block)),
            }
        }
    }

    /// Takes a record if that is possible without waiting.
    ///
    /// # Errors
    /// If it is not: [`SendError`] says why, and whether it is worth trying again. Nothing was kept of the record.
    pub fn try_enqueue(&self, record: &Record<'_>) -> Result<Ack, SendError> {
        self.shared().with(|inner, now, later| {
            let sent = inner.machine.send(now, record);
            inner.called(later);
            sent.map(|sent| inner.accepted(&sent))
        })
    }

    /// Waits until everything that was taken before is delivered or has failed. Returns how many of those records failed since the call.
    ///
    /// # Errors
    /// [`Error::Gone`] if the runner goes away meanwhile.
    pub async fn flush(&self) -> Result<u64, Error> {
        let id = self.shared().with(|inner, now, later| inner.begin_flush(now, later));
        let shared = self.shared();
        let _end = OnDrop(|| shared.with(|inner, _, later| inner.end_flush(id, later)));
        poll_fn(|context| {
            shared.with(|inner, _, later| match inner.poll_flush(id, context.waker(), later) {
                Some(failed) => Poll::Ready(Ok(failed)),
                None if inner.gone => Poll::Ready(Err(Error::Gone)),
                None => Poll::Pending,
            })
        })
        .await
    }

    /// Takes no more records, waits at most `timeout` until all are delivered, and fails what is left. Returns how many records failed
    /// since the call. A runner that is not polled is given up a second after the timeout.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if something was left when the time was over; [`Error::Gone`] if the runner went away before everything
    /// was delivered, or did not come to close the connections.
    pub async fn close(&self, timeout: Duration) -> Result<u64, Error> {
        let shared = self.shared();
        let (ticket, failed_before, began) = shared.with(|inner, now, later| {
            inner.machine.close(now);
            inner.wake_runner(later);
            (inner.ticket(), inner.machine.stats().records_failed, now)
        });
        let _end = OnDrop(|| shared.with(|inner, _, later| inner.forget_closer(ticket, later)));
        let failed = |inner: &Inner| inner.machine.stats().records_failed - failed_before;
        let closed = |context: &mut Context<'_>| {
            shared.with(|inner, _, later| {
                if inner.machine.is_closed() || inner.gone {
                    return Poll::Ready(());
                }
                inner.park_closer(ticket, context.waker(), later);
                Poll::Pending
            })
        };
        if let Either::Second(()) = select(poll_fn(closed), shared.clock.wait_until(began + timeout)).await {
            shared.with(|inner, now, later| {
                inner.machine.abort(now);
                inner.wake_runner(later);
            });
            if let Either::Second(()) = select(poll_fn(closed), shared.clock.wait_until(began + timeout + GRACE)).await
            {
                shared.with(|inner, now, later| inner.give_up(now, later));
            }
            let failed = shared.with(|inner, _, _| failed(inner));
            if failed > 0 {
                return Err(Error::Unfinished { after: timeout, failed });
            }
        }
        shared.with(|inner, _, _| match failed(inner) {
            _ if inner.gone => Err(Error::Gone),
            failed => Ok(failed),
        })
    }

    /// The time of day at this moment, for the stamps of records that bring none: of those sent from now on.
    pub fn set_time(&self, time: UnixTime) {
        self.shared().input(milena::Input::WallClock(time));
    }

    /// Takes other credentials, from the next connection or re-authentication on; soon where the old ones were refused.
    pub fn set_sasl(&self, sasl: milena::Sasl) {
        self.shared().with(|inner, now, later| {
            inner.machine.set_sasl(sasl);
            inner.machine.security_renewed(now);
            inner.wake_runner(later);
        });
    }

    /// Bytes of `buffer.memory` in use.
    pub fn buffered(&self) -> usize {
        self.shared().with(|inner, _, _| inner.machine.buffered())
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.shared().with(|inner, _, _| inner.machine.stats())
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What a record waits for.
#[derive(Debug)]
enum Why {
    Topic(TopicIndex),
    Memory,
    NoMemory(SendError),
}

/// One who sends, and may have to wait.
struct Waiting<'a, C: Clock> {
    shared: &'a Shared<C>,
    ticket: Option<Ticket>,
    why: Option<Why>,
}

impl<C: Clock> Waiting<'_, C> {
    /// Tries to send. `None`: the allocator has no memory, and nobody will say when it has.
    fn poll(&mut self, record: &Record<'_>, context: &Context<'_>) -> Poll<Option<Result<Ack, Error>>> {
        let Self { shared, ticket, why } = self;
        let waker = context.waker();
        shared.with(|inner, now, later| {
            if inner.gone {
                return Poll::Ready(Some(Err(Error::Gone)));
            }
            let ticket = *ticket.get_or_insert_with(|| inner.ticket());
            if !inner.line.may_try(ticket) {
                *why = Some(Why::Memory);
                inner.line.park(ticket, waker, later);
                inner.wake_runner(later); // it looks after the line
                return Poll::Pending;
            }
            let sent = inner.machine.send(now, record);
            inner.called(later);
            match sent {
                Ok(sent) => Poll::Ready(Some(Ok(inner.accepted(&sent)))),
                Err(SendError::BufferFull { .. }) => {
                    *why = Some(Why::Memory);
                    inner.line.park(ticket, waker, later);
                    Poll::Pending
                }
                Err(error) => {
                    inner.line.leave(ticket, now, later);
                    if let SendError::NotReady { topic } = error {
                        *why = Some(Why::Topic(topic));
                        inner.park_for_topic(ticket, waker, later);
                        Poll::Pending
                    } else if matches!(error, SendError::NoMemory { .. }) {
                        *why = Some(Why::NoMemory(error));
                        Poll::Ready(None)
                    } else {
                        Poll::Ready(Some(Err(Error::Send(error))))
                    }
                }
            }
        })
    }

    /// `max.block.ms` is over.
    fn given_up(&mut self, after: Duration) -> Error {
        self.shared.with(|inner, _, _| match self.why.take() {
            Some(Why::Topic(topic)) => {
                Error::NoMetadata { after, code: inner.topic_error(topic), trouble: inner.trouble.clone() }
            }
            Some(Why::NoMemory(error)) => Error::Send(error),
            Some(Why::Memory) | None => Error::BufferFull { after, trouble: inner.trouble.clone() },
        })
    }
}

impl<C: Clock> Drop for Waiting<'_, C> {
    /// Whether it has sent or not: who waits behind it goes on.
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.with(|inner, now, later| inner.forget_sender(ticket, now, later));
        }
    }
}
