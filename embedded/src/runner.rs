//! Does a producer's work: sockets on one side, the machine on the other.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::convert::Infallible;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use embassy_futures::join::join_array;
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::yield_now;
use embedded_io_async::{Read, Write};
use milena::{Cause, Compressor, ConnId, Input, Instant, Output};

use crate::clock::Clock;
#[cfg(feature = "embassy-time")]
use crate::clock::EmbassyTime;
use crate::net::{Connector, Failure, Socket};
use crate::shared::Shared;
use crate::slot::{Dial, Slot};

/// Bytes that are read at a time.
const READ: usize = 512;

/// Reads or writes of one connection in a row, before others get their turn.
const TURN: usize = 16;

/// How long a connection takes at most to be closed in good order.
const FAREWELL: Duration = Duration::from_secs(1);

/// How soon to look again for a socket where no connection could leave.
const AGAIN: Duration = Duration::from_millis(100);

/// Does a producer's work, when it is [run](Self::run). If it is dropped before the producer is closed, everything that is open fails, as
/// possibly written where it is on its way, and nobody waits for it any more.
#[cfg(feature = "embassy-time")]
#[must_use = "a producer does nothing unless its runner runs"]
pub struct Runner<C: Clock = EmbassyTime> {
    shared: Rc<Shared<C>>,
}

/// Does a producer's work, when it is [run](Self::run). If it is dropped before the producer is closed, everything that is open fails, as
/// possibly written where it is on its way, and nobody waits for it any more.
#[cfg(not(feature = "embassy-time"))]
#[must_use = "a producer does nothing unless its runner runs"]
pub struct Runner<C: Clock> {
    shared: Rc<Shared<C>>,
}

impl<C: Clock> fmt::Debug for Runner<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

impl<C: Clock> Drop for Runner<C> {
    fn drop(&mut self) {
        self.shared.with(|inner, now, later| {
            if !inner.machine.is_closed() {
                inner.give_up(now, later);
            }
        });
    }
}

/// Why a stream ended by itself.
enum End {
    /// The other side has closed it.
    Closed,
    Io(String),
}

impl<C: Clock> Runner<C> {
    pub(crate) fn new(shared: Rc<Shared<C>>) -> Self {
        Self { shared }
    }

    /// Does the producer's work with these sockets, until it is closed. See the [crate](crate#how-many-sockets) for how many.
    pub async fn run<K: Connector, const N: usize>(self, connectors: [K; N]) {
        const { assert!(N > 0, "a producer needs a socket") };
        let slots: [Slot; N] = core::array::from_fn(|_| Slot::default());
        let mut place = 0;
        let serving = connectors.map(|connector| {
            place += 1;
            self.serve(&slots[place - 1], connector)
        });
        // Sockets first: what can be read is read before it counts as late.
        select(join_array(serving), self.steer(&slots, K::ENCRYPTED)).await;
    }

    /// Serves one connection after the other.
    async fn serve<K: Connector>(&self, slot: &Slot, mut connector: K) -> Infallible {
        loop {
            let dial = slot.assigned().await;
            self.connection(slot, &mut connector, dial).await;
            slot.free();
            self.shared.wake_runner();
        }
    }

    async fn connection<K: Connector>(&self, slot: &Slot, connector: &mut K, dial: Dial) {
        let Dial { conn, host, port, attempt } = dial;
        let mut socket = match select(slot.disconnected(), connector.connect(&host, port, attempt)).await {
            Either::First(()) => return,
            Either::Second(Ok(socket)) => socket,
            Either::Second(Err(failure)) => {
                slot.disconnect();
                let cause = match &failure {
                    Failure::Resolve(words) => Cause::Resolve(words),
                    Failure::Connect(words) => Cause::Connect(words),
                    Failure::Tls(words) => Cause::Tls(words),
                };
                return self.shared.input(Input::Disconnected(conn, cause));
            }
        };
        slot.connected(self.shared.clock.now());
        self.shared.input(Input::Connected(conn));
        let (mut reader, mut writer) = socket.split();
        // A socket that only writes while it does not read, or the other way round, may wait for a broker that waits for it.
        let end = select3(slot.disconnected(), self.read(slot, conn, &mut reader), self.write(slot, conn, &mut writer));
        let end = end.await;
        drop((reader, writer));
        match end {
            Either3::First(()) => {}
            Either3::Second(end) | Either3::Third(end) => {
                slot.disconnect();
                let cause = match &end {
                    End::Closed => Cause::Closed,
                    End::Io(words) => Cause::Io(words),
                };
                self.shared.input(Input::Disconnected(conn, cause));
            }
        }
        select(socket.close(), self.shared.clock.wait_until(self.shared.clock.now() + FAREWELL)).await;
    }

    async fn read(&self, slot: &Slot, conn: ConnId, reader: &mut impl Read) -> End {
        let mut buffer = [0; READ];
        loop {
            for _ in 0..TURN {
                match reader.read(&mut buffer).await {
                    Ok(0) => return End::Closed,
                    Ok(n) => {
                        slot.used(self.shared.clock.now());
                        self.shared.input(Input::Data(conn, &buffer[..n.min(READ)]));
                    }
                    Err(error) => return End::Io(error.to_string()),
                }
            }
            yield_now().await;
        }
    }

    async fn write(&self, slot: &Slot, conn: ConnId, writer: &mut impl Write) -> End {
        loop {
            slot.writable().await;
            let mut turns = 0;
            loop {
                let segment =
                    self.shared.with(|inner, now, _| inner.machine.transmit(now, conn).segments().next().cloned());
                let Some(segment) = segment else { break };
                match writer.write(&segment).await {
                    Ok(0) => return End::Io("it takes nothing more".to_string()),
                    Ok(n) => {
                        let n = n.min(segment.len());
                        drop(segment); // so that its memory comes back at once
                        slot.used(self.shared.clock.now());
                        self.shared.with(|inner, now, later| {
                            inner.machine.written(now, conn, n);
                            inner.wake_runner(later);
                        });
                    }
                    Err(error) => return End::Io(error.to_string()),
                }
                turns += 1;
                if turns % TURN == 0 {
                    yield_now().await;
                }
            }
            if let Err(error) = writer.flush().await {
                return End::Io(error.to_string());
            }
        }
    }

    /// Does what the machine says, and tells it the time.
    async fn steer(&self, slots: &[Slot], encrypted: bool) {
        let mut waiting = VecDeque::new();
        let mut compressor = Compressor::default();
        loop {
            let (until, told) = self.drain(slots, &mut waiting, &mut compressor, encrypted);
            let (look_again, placed) = self.place(slots, &mut waiting);
            if told || placed {
                yield_now().await; // the sockets have been polled before
                continue;
            }
            let (closed, line) =
                self.shared.with(|inner, now, later| (inner.machine.is_closed(), inner.line.look_again(now, later)));
            if closed && slots.iter().all(Slot::is_free) {
                return;
            }
            if until.is_some_and(|until| until <= self.shared.clock.now()) {
                yield_now().await; // the sockets come first
                self.shared.with(|inner, now, _| inner.machine.handle_input(now, Input::Timeout));
                continue;
            }
            let next = [until, look_again, line].into_iter().flatten().min();
            let woken = poll_fn(|context| {
                let woken = self.shared.with(|inner, _, later| inner.take_woken(context.waker(), later));
                if woken { Poll::Ready(()) } else { Poll::Pending }
            });
            match next {
                Some(next) => {
                    select(woken, self.shared.clock.wait_until(next)).await;
                }
                None => woken.await,
            }
        }
    }

    /// Drains the machine. Returns until when it has nothing to do, and whether sockets were told something.
    fn drain(
        &self,
        slots: &[Slot],
        waiting: &mut VecDeque<Dial>,
        compressor: &mut Compressor,
        encrypted: bool,
    ) -> (Option<Instant>, bool) {
        let serving = |conn| slots.iter().find(|slot| slot.serves(conn));
        let mut told = false;
        self.shared.with(|inner, now, later| {
            loop {
                match inner.machine.poll_output() {
                    Output::Connect { conn, host, port, attempt } => {
                        if inner.machine.config().security_protocol().has_tls() == encrypted {
                            waiting.push_back(Dial { conn, host, port, attempt });
                        } else {
                            let words = "security.protocol and the runner's Connector::ENCRYPTED disagree";
                            inner.machine.handle_input(now, Input::Disconnected(conn, Cause::Tls(words)));
                        }
                    }
                    Output::Disconnect(conn) => {
                        waiting.retain(|dial| dial.conn != conn);
                        if let Some(slot) = serving(conn) {
                            slot.disconnect();
                            told = true;
                        }
                    }
                    Output::Transmit(conn) => {
                        if let Some(slot) = serving(conn) {
                            slot.transmit();
                            told = true;
                        }
                    }
                    Output::Job(job) => inner.machine.handle_input(now, Input::Done(job.run(compressor))),
                    Output::Token { .. } => {
                        inner.machine.handle_input(now, Input::Token(Err("this adapter gets none")))
                    }
                    Output::Event(event) => inner.event(event, now, later),
                    Output::Wait(until) => return (until, told),
                }
            }
        })
    }

    /// Gives sockets to connections that wait for one, and takes them from others. Returns when to look again, and whether anything was
    /// done.
    fn place(&self, slots: &[Slot], waiting: &mut VecDeque<Dial>) -> (Option<Instant>, bool) {
        let mut done = false;
        for slot in slots.iter().filter(|slot| slot.is_free()) {
            let Some(dial) = waiting.pop_front() else { break };
            slot.assign(dial);
            done = true;
        }
        let mut missing = waiting.len().saturating_sub(slots.iter().filter(|slot| slot.will_be_free()).count());
        let mut refused = false;
        let now = self.shared.clock.now();
        while missing > 0 {
            let candidates = slots.iter().filter_map(|slot| Some((slot.leaves_from()?, slot)));
            let first = candidates.filter(|((from, _), _)| !refused || *from > now).min_by_key(|((from, _), _)| *from);
            let Some(((from, conn), slot)) = first else { break };
            if from > now {
                return (Some(if refused { from.min(now + AGAIN) } else { from }), done);
            }
            if self.shared.with(|inner, now, _| inner.machine.release(now, conn)) {
                slot.leave();
                missing -= 1;
                done = true;
            } else {
                refused = true;
            }
        }
        (refused.then_some(now + AGAIN), done)
    }
}
