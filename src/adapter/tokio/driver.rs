//! The driver future: sockets on one side, the machine on the other.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind, IoSlice};

use ::tokio::net::{TcpStream, lookup_host};
use ::tokio::time::{Instant as TokioInstant, Sleep, sleep_until};
use bytes::Bytes;

use super::super::engine::{Effects, Engine};
use super::super::sockets::SocketOptions;
use super::super::workers::Workers;
use crate::event::{Cause, ConnId, Input, Output};
use crate::time::Instant;

/// Segments that are written by one call, at most.
const SEGMENTS: usize = 64;

/// Bytes that are read by one call, at most.
const READ: usize = 64 << 10;

/// Rounds of work in one poll, so that other tasks of the runtime get their turn.
const ROUNDS: usize = 32;

/// Does a producer's work when polled. Ends when the producer is closed.
#[must_use = "a producer does nothing unless its driver is spawned or polled"]
pub struct Driver {
    engine: Arc<Engine>,
    sockets: SocketOptions,
    streams: BTreeMap<ConnId, Stream>,
    /// Made at the first wait: only then there surely is a runtime.
    sleep: Option<Pin<Box<Sleep>>>,
    until: Option<Instant>,
    commands: Vec<Output>,
    effects: Effects,
    buffer: Vec<u8>,
    segments: Vec<Bytes>,
    workers: Workers,
}

impl core::fmt::Debug for Driver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Driver").field("connections", &self.streams.len()).finish_non_exhaustive()
    }
}

enum Stream {
    Opening(Pin<Box<dyn Future<Output = Result<TcpStream, Failure>> + Send>>),
    /// It stands; `blocked` if there is more to write than the socket takes.
    Open {
        socket: TcpStream,
        blocked: bool,
    },
}

/// Why no connection could be made.
enum Failure {
    Resolve(String),
    Connect(String),
}

/// Resolves the name and tries its addresses, another one first at each attempt.
async fn open(host: String, port: u16, attempt: u32, sockets: SocketOptions) -> Result<TcpStream, Failure> {
    let addresses = lookup_host((&*host, port)).await.map_err(|error| Failure::Resolve(error.to_string()))?;
    let mut addresses: Vec<_> = addresses.collect();
    if addresses.is_empty() {
        return Err(Failure::Resolve(String::from("no addresses")));
    }
    let first = attempt as usize % addresses.len();
    addresses.rotate_left(first);
    let mut last = String::new();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                sockets.apply(&socket);
                return Ok(socket);
            }
            Err(error) => last = error.to_string(),
        }
    }
    Err(Failure::Connect(last))
}

impl Driver {
    pub(super) fn new(engine: Arc<Engine>, sockets: SocketOptions) -> Self {
        Self {
            workers: Workers::new(Arc::clone(&engine)),
            engine,
            sockets,
            streams: BTreeMap::new(),
            sleep: None,
            until: None,
            commands: Vec::new(),
            effects: Effects::default(),
            buffer: std::vec![0; READ],
            segments: Vec::new(),
        }
    }

    /// Drains the machine and does what it says. Returns whether it said anything.
    fn obey(&mut self, context: &mut Context<'_>) -> bool {
        let mut commands = core::mem::take(&mut self.commands);
        self.until = self.engine.drain(&mut commands, &mut self.effects);
        let said = !commands.is_empty();
        for command in commands.drain(..) {
            match command {
                Output::Connect { conn, host, port, attempt } => {
                    let opening = Stream::Opening(Box::pin(open(host, port, attempt, self.sockets)));
                    self.streams.insert(conn, opening);
                }
                Output::Disconnect(conn) => {
                    self.streams.remove(&conn);
                }
                Output::Transmit(conn) => self.write(conn, context),
                Output::Job(job) => self.workers.run(job),
                Output::Event(_) | Output::Wait(_) => unreachable!("the engine keeps these"),
            }
        }
        self.commands = commands;
        self.effects.run();
        said
    }

    /// Looks after every connection. Returns whether the machine was told anything.
    fn serve(&mut self, context: &mut Context<'_>) -> bool {
        let mut told = false;
        let conns: smallvec::SmallVec<[ConnId; 16]> = self.streams.keys().copied().collect();
        for conn in conns {
            if let Some(Stream::Opening(opening)) = self.streams.get_mut(&conn) {
                match opening.as_mut().poll(context) {
                    Poll::Pending => continue,
                    Poll::Ready(Ok(socket)) => {
                        self.streams.insert(conn, Stream::Open { socket, blocked: false });
                        self.engine.input(Input::Connected(conn));
                    }
                    Poll::Ready(Err(Failure::Resolve(words))) => self.fail(conn, Cause::Resolve(&words)),
                    Poll::Ready(Err(Failure::Connect(words))) => self.fail(conn, Cause::Connect(&words)),
                }
                told = true;
            }
            told |= self.read(conn, context);
            if let Some(Stream::Open { blocked: true, .. }) = self.streams.get(&conn) {
                self.write(conn, context);
            }
        }
        told
    }

    fn read(&mut self, conn: ConnId, context: &mut Context<'_>) -> bool {
        let mut told = false;
        loop {
            let Some(Stream::Open { socket, .. }) = self.streams.get_mut(&conn) else {
                return told;
            };
            match socket.poll_read_ready(context) {
                Poll::Pending => return told,
                Poll::Ready(Err(error)) => {
                    self.fail(conn, Cause::Io(&error.to_string()));
                    return true;
                }
                Poll::Ready(Ok(())) => {}
            }
            match socket.try_read(&mut self.buffer) {
                Ok(0) => {
                    self.fail(conn, Cause::Closed);
                    return true;
                }
                Ok(n) => {
                    self.engine.input(Input::Data(conn, &self.buffer[..n]));
                    told = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.fail(conn, Cause::Io(&error.to_string()));
                    return true;
                }
            }
        }
    }

    /// Writes until there is nothing or the socket blocks. The machine's lock is not held while writing.
    fn write(&mut self, conn: ConnId, context: &mut Context<'_>) {
        match self.try_write(conn, context) {
            Poll::Ready(Err(error)) => self.fail(conn, Cause::Io(&error.to_string())),
            written @ (Poll::Ready(Ok(())) | Poll::Pending) => {
                self.segments.clear();
                if let Some(Stream::Open { blocked, .. }) = self.streams.get_mut(&conn) {
                    *blocked = written.is_pending();
                }
            }
        }
    }

    fn try_write(&mut self, conn: ConnId, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(Stream::Open { socket, .. }) = self.streams.get_mut(&conn) else {
            return Poll::Ready(Ok(()));
        };
        let mut written = 0;
        loop {
            let segments = &mut self.segments;
            segments.clear(); // the machine takes the memory back once these clones are gone
            self.engine.with_producer(|producer, now| {
                if written > 0 {
                    producer.written(now, conn, written);
                }
                segments.extend(producer.transmit(now, conn).segments().take(SEGMENTS).cloned());
            });
            written = 0;
            if segments.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut slices = [IoSlice::new(&[]); SEGMENTS];
            for (slice, segment) in slices.iter_mut().zip(segments.iter()) {
                *slice = IoSlice::new(segment);
            }
            ready!(socket.poll_write_ready(context))?;
            match socket.try_write_vectored(&slices[..segments.len()]) {
                Ok(n) => written = n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn fail(&mut self, conn: ConnId, cause: Cause<'_>) {
        self.segments.clear();
        self.streams.remove(&conn);
        self.engine.input(Input::Disconnected(conn, cause));
    }

    /// Whether the time that the machine waits for has come.
    fn time_is_up(&mut self, context: &mut Context<'_>) -> bool {
        let Some(until) = self.until else { return false };
        if until > self.engine.clock().now() {
            let until = TokioInstant::from_std(self.engine.clock().to_std(until));
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return false;
            }
        }
        true
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        driver.engine.set_driver(context.waker());
        for _ in 0..ROUNDS {
            let mut busy = driver.serve(context);
            if driver.time_is_up(context) {
                driver.engine.input(Input::Timeout);
                busy = true;
            }
            busy |= driver.obey(context);
            if driver.engine.has_ended() {
                return Poll::Ready(());
            }
            if !busy && !driver.time_is_up(context) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.engine.end();
    }
}
