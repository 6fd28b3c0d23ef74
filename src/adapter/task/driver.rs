//! The driver future: sockets on one side, the machine on the other.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use super::super::channel::{Broken, Buffers, Channel, Farewell, Flow};
use super::super::effects::Effects;
use super::super::engine::{Drained, Engine};
use super::super::sockets::SocketOptions;
use super::super::tokens::Tokens;
use super::super::workers::Workers;
use super::runtime::{Failure, Runtime, Stream};
use crate::event::{Cause, Input, Output};
use crate::ids::ConnId;
use crate::time::Instant;

/// Rounds of work in one poll, so that other tasks of the runtime get their turn.
const ROUNDS: usize = 32;

/// Reads of one connection in a row, so that one which never ends to speak does not keep the others waiting.
const READS: usize = 16;

/// Does a producer's work when polled. Ends when the producer is closed.
#[must_use = "a producer does nothing unless its driver is spawned or polled"]
pub struct Driver<R: Runtime> {
    engine: Arc<Engine>,
    sockets: SocketOptions,
    streams: BTreeMap<ConnId, Connection<R>>,
    /// Until when a sleep was begun; made at the first wait, for only then there surely is a runtime.
    sleep: Option<(Instant, Sleep)>,
    /// How things were after the last drain.
    drained: Drained,
    /// What the engine knows to wake.
    waker: Option<Waker>,
    commands: Vec<Output>,
    effects: Effects,
    buffers: Buffers,
    workers: Workers,
    /// It is being polled. If it still is when it is dropped, that was a panic.
    polled: bool,
}

impl<R: Runtime> core::fmt::Debug for Driver<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Driver").field("connections", &self.streams.len()).finish_non_exhaustive()
    }
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

type Opening<R> = Pin<Box<dyn Future<Output = Result<<R as Runtime>::Stream, Failure>> + Send>>;

enum Connection<R: Runtime> {
    Opening {
        host: String,
        opening: Opening<R>,
    },
    /// It stands; `blocked` if there is more to write than the socket takes.
    Open {
        channel: Channel<R::Stream>,
        blocked: bool,
    },
    /// The machine has done with it, the other side not yet.
    Leaving(Farewell<R::Stream>),
}

impl<R: Runtime> Driver<R> {
    pub(super) fn new(engine: Arc<Engine>, sockets: SocketOptions) -> Self {
        Self {
            workers: Workers::new(Arc::clone(&engine)),
            engine,
            sockets,
            streams: BTreeMap::new(),
            sleep: None,
            drained: Drained::default(),
            waker: None,
            commands: Vec::new(),
            effects: Effects::default(),
            buffers: Buffers::new(),
            polled: false,
        }
    }

    /// Drains the machine and does what it says, until it says nothing more. Returns whether connections have to be looked after.
    fn obey(&mut self, context: &mut Context<'_>) -> bool {
        let mut commands = core::mem::take(&mut self.commands);
        let mut look = false;
        for _ in 0..ROUNDS {
            self.drained = self.engine.drain(&mut commands, &mut self.effects);
            let silent = commands.is_empty();
            for command in commands.drain(..) {
                look |= self.follow(command, context);
            }
            self.effects.run();
            if silent {
                self.commands = commands;
                return look;
            }
        }
        self.commands = commands;
        true
    }

    /// Returns whether a connection has to be looked after.
    fn follow(&mut self, command: Output, context: &mut Context<'_>) -> bool {
        match command {
            Output::Connect { conn, host, port, attempt } => {
                let opening = Box::pin(R::open(host.clone(), port, attempt, self.sockets));
                self.streams.insert(conn, Connection::Opening { host, opening });
                return true;
            }
            Output::Disconnect(conn) => {
                if let Some(Connection::Open { channel, .. }) = self.streams.remove(&conn) {
                    if let Ok(farewell) = channel.finish(&self.engine) {
                        self.streams.insert(conn, Connection::Leaving(farewell));
                    }
                }
                return true;
            }
            Output::Transmit(conn) => self.write(conn, context),
            Output::Job(job) => self.workers.run(job),
            Output::Token { .. } => Tokens::fetch(&self.engine),
            Output::Event(_) | Output::Wait(_) => unreachable!("the engine keeps these"),
        }
        false
    }

    /// Looks after every connection. Returns whether there may be more to do.
    fn serve(&mut self, context: &mut Context<'_>) -> bool {
        let mut more = false;
        let conns: smallvec::SmallVec<[ConnId; 16]> = self.streams.keys().copied().collect();
        for conn in conns {
            if let Some(Connection::Opening { host, opening }) = self.streams.get_mut(&conn) {
                let Poll::Ready(opened) = opening.as_mut().poll(context) else { continue };
                let host = core::mem::take(host);
                more = true;
                match opened {
                    Err(Failure::Resolve(words)) => self.fail(conn, Cause::Resolve(&words)),
                    Err(Failure::Connect(words)) => self.fail(conn, Cause::Connect(&words)),
                    Ok(socket) => match Channel::new(&self.engine, conn, socket, &host) {
                        Err(broken) => self.fail(conn, broken.cause()),
                        Ok(channel) => {
                            self.streams.insert(conn, Connection::Open { channel, blocked: false });
                            self.write(conn, context); // a handshake begins with the client
                        }
                    },
                }
            }
            more |= self.read(conn, context) || self.see_off(conn, context);
            if let Some(Connection::Open { blocked: true, .. }) = self.streams.get(&conn) {
                self.write(conn, context);
            }
        }
        more
    }

    /// Reads until the stream is empty, or it is the others' turn. Returns whether there may be more to do.
    fn read(&mut self, conn: ConnId, context: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            let Some(Connection::Open { channel, .. }) = self.streams.get_mut(&conn) else {
                return false;
            };
            let read = match channel.socket().poll_readable(context) {
                Poll::Pending => {
                    if channel.wants_write() {
                        self.write(conn, context);
                    }
                    return false;
                }
                Poll::Ready(Err(error)) => Err(Broken::from(error)),
                Poll::Ready(Ok(())) => channel.read(&self.engine, &mut self.buffers),
            };
            if let Err(broken) = read {
                self.fail(conn, broken.cause());
                return true;
            }
        }
        true
    }

    /// Reads what a connection still says that is being seen off. Returns whether there may be more.
    fn see_off(&mut self, conn: ConnId, context: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            let Some(Connection::Leaving(farewell)) = self.streams.get_mut(&conn) else { return false };
            let now = self.engine.clock().now();
            let over = farewell.until() <= now
                || match farewell.socket().poll_readable(context) {
                    Poll::Pending => return false,
                    Poll::Ready(Err(_)) => true,
                    Poll::Ready(Ok(())) => farewell.read(now, &mut self.buffers).is_none(),
                };
            if over {
                self.streams.remove(&conn);
                return false;
            }
        }
        true
    }

    fn write(&mut self, conn: ConnId, context: &mut Context<'_>) {
        let Some(Connection::Open { channel, blocked }) = self.streams.get_mut(&conn) else {
            return;
        };
        loop {
            let flow = match channel.write(&self.engine, &mut self.buffers) {
                Ok(Flow::Blocked) => match channel.socket().poll_writable(context) {
                    Poll::Pending => Ok(Flow::Blocked),
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => Err(Broken::from(error)),
                },
                other => other,
            };
            match flow {
                Ok(flow) => *blocked = flow == Flow::Blocked,
                Err(broken) => self.fail(conn, broken.cause()),
            }
            return;
        }
    }

    fn fail(&mut self, conn: ConnId, cause: Cause<'_>) {
        self.streams.remove(&conn);
        self.engine.input(Input::Disconnected(conn, cause));
    }

    /// Until when there is nothing to do: for the machine, and for the connections that are being seen off.
    fn next_deadline(&self) -> Option<Instant> {
        let farewell = |connection: &Connection<R>| match connection {
            Connection::Leaving(farewell) => Some(farewell.until()),
            Connection::Opening { .. } | Connection::Open { .. } => None,
        };
        self.streams.values().filter_map(farewell).chain(self.drained.until).min()
    }

    /// Whether the time that the machine waits for has come.
    fn time_is_up(&self) -> bool {
        self.next_deadline().is_some_and(|until| until <= self.engine.clock().now())
    }

    /// Sleeps until that time; false if it has come. One sleep a call: where the runtime's time is not the real one (it may stand
    /// still, and jump in tests), a sleep ends too early, and then it is for the runtime to say when to look again.
    fn sleeps(&mut self, context: &mut Context<'_>) -> bool {
        let Some(until) = self.next_deadline() else { return true };
        if until <= self.engine.clock().now() {
            return false;
        }
        // A sleep that ends too early is as good: deadlines mostly move away, and new sleeps cost.
        let (_, sleep) = match &mut self.sleep {
            Some(sleep) if sleep.0 <= until => sleep,
            sleep => sleep.insert((until, Box::pin(R::sleep_until(self.engine.clock().to_std(until))))),
        };
        if sleep.as_mut().poll(context).is_pending() {
            return true;
        }
        self.sleep = None;
        let early = until > self.engine.clock().now();
        if early {
            context.waker().wake_by_ref();
        }
        early
    }

    fn is_done(&self) -> bool {
        let Drained { closed, hurry, ended, .. } = self.drained;
        let leaving = || self.streams.values().any(|connection| matches!(connection, Connection::Leaving(_)));
        ended || (closed && (hurry || !leaving()))
    }
}

impl<R: Runtime> Future for Driver<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        driver.polled = true;
        let result = driver.work(context);
        driver.polled = false;
        result
    }
}

impl<R: Runtime> Driver<R> {
    fn work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            self.engine.set_driver(context.waker());
            self.waker = Some(context.waker().clone());
        }
        for _ in 0..ROUNDS {
            let mut busy = self.serve(context);
            if self.time_is_up() {
                self.engine.input(Input::Timeout);
            }
            busy |= self.obey(context);
            if self.is_done() {
                self.engine.end("it was closed");
                return Poll::Ready(());
            }
            if !busy && self.sleeps(context) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime> Drop for Driver<R> {
    fn drop(&mut self) {
        self.effects.run();
        if self.polled {
            log::error!("a producer's driver has panicked");
        }
        self.engine.end(if self.polled { "its driver has panicked" } else { "its driver was dropped" });
    }
}
