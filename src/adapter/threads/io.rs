//! The I/O thread: sockets on one side, the machine on the other.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::ToSocketAddrs;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::super::channel::{Buffers, Channel, Flow, Socket};
use super::super::engine::{Effects, Engine};
use super::super::sockets::SocketOptions;
use super::super::workers::Workers;
use crate::event::{Cause, ConnId, Input, Output};
use crate::time::Instant;

const WAKE: Token = Token(usize::MAX);

/// What the thread works with.
#[derive(Debug)]
pub(super) struct IoThread {
    engine: Arc<Engine>,
    sockets: SocketOptions,
    wakeups: Arc<AtomicU64>,
    poll: Poll,
    streams: BTreeMap<ConnId, Stream>,
    resolved: Receiver<(ConnId, io::Result<Vec<SocketAddr>>)>,
    resolver: Sender<(ConnId, io::Result<Vec<SocketAddr>>)>,
    waker: Arc<Wake>,
    buffers: Buffers,
    workers: Workers,
}

#[derive(Debug)]
enum Stream {
    /// Its name is being resolved.
    Resolving { host: String, attempt: u32 },
    /// One of its addresses is being connected to; the others are still to be tried.
    Connecting { host: String, socket: TcpStream, left: Vec<SocketAddr> },
    /// It stands.
    Open(Channel<TcpStream>),
}

/// Wakes the thread out of its poll, from any other.
#[derive(Debug)]
struct Wake(mio::Waker);

impl alloc::task::Wake for Wake {
    fn wake(self: Arc<Self>) {
        if let Err(error) = self.0.wake() {
            log::error!("the I/O thread can't be woken: {error}");
        }
    }
}

/// Whoever leaves the thread, for whatever reason, tells those who wait.
struct End(Arc<Engine>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl IoThread {
    pub(super) fn new(engine: Arc<Engine>, sockets: SocketOptions, wakeups: Arc<AtomicU64>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Wake(mio::Waker::new(poll.registry(), WAKE)?));
        engine.set_driver(&Arc::clone(&waker).into());
        let (resolver, resolved) = channel();
        Ok(Self {
            workers: Workers::new(Arc::clone(&engine)),
            engine,
            sockets,
            wakeups,
            poll,
            streams: BTreeMap::new(),
            resolved,
            resolver,
            waker,
            buffers: Buffers::new(),
        })
    }

    /// Works until the producer is closed.
    pub(super) fn run(&mut self) {
        let _end = End(Arc::clone(&self.engine));
        if let Err(error) = self.work() {
            log::error!("the I/O thread has ended: {error}");
        }
    }

    fn work(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut commands = Vec::new();
        let mut effects = Effects::default();
        loop {
            let until = self.engine.drain(&mut commands, &mut effects);
            let idle = commands.is_empty();
            for command in commands.drain(..) {
                self.obey(command);
            }
            effects.run();
            if !idle {
                continue; // what was done may have led to more
            }
            if self.engine.has_ended() {
                return Ok(());
            }
            let now = self.engine.clock().now();
            // Up to a millisecond late, which is the clock of the poll: earlier would only spin.
            let timeout = until.map(|until: Instant| until.saturating_since(now));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            for event in &events {
                if event.token() != WAKE {
                    let conn = ConnId(event.token().0 as u32);
                    self.ready(conn, event.is_readable(), event.is_read_closed(), event.is_writable());
                }
            }
            while let Ok((conn, addresses)) = self.resolved.try_recv() {
                self.addresses_known(conn, addresses);
            }
            if until.is_some_and(|until| until <= self.engine.clock().now()) {
                self.engine.input(Input::Timeout);
            }
        }
    }

    fn obey(&mut self, command: Output) {
        match command {
            Output::Connect { conn, host, port, attempt } => {
                self.streams.insert(conn, Stream::Resolving { host: host.clone(), attempt });
                self.resolve(conn, host, port);
            }
            Output::Disconnect(conn) => self.forget(conn),
            Output::Transmit(conn) => self.write(conn),
            Output::Job(job) => self.workers.run(job),
            Output::Token { .. } => self.workers.fetch_token(),
            Output::Event(_) | Output::Wait(_) => unreachable!("the engine keeps these"),
        }
    }

    /// Addresses are used as they are; names are looked up on a thread of their own, for that may take long.
    fn resolve(&mut self, conn: ConnId, host: String, port: u16) {
        if let Ok(address) = host.parse() {
            self.addresses_known(conn, Ok(std::vec![SocketAddr::new(address, port)]));
            return;
        }
        let (answer, waker) = (self.resolver.clone(), Arc::clone(&self.waker));
        let look_up = move || {
            let addresses = (&*host, port).to_socket_addrs().map(Iterator::collect);
            let _ = answer.send((conn, addresses)); // nobody waits any more: as well
            alloc::task::Wake::wake(waker);
        };
        if let Err(error) = std::thread::Builder::new().name("milena-dns".into()).spawn(look_up) {
            self.fail(conn, Cause::Resolve(&error.to_string()));
        }
    }

    fn addresses_known(&mut self, conn: ConnId, addresses: io::Result<Vec<SocketAddr>>) {
        let Some(Stream::Resolving { host, attempt }) = self.streams.get(&conn) else {
            return;
        };
        let host = host.clone();
        match addresses {
            Err(error) => self.fail(conn, Cause::Resolve(&error.to_string())),
            Ok(addresses) if addresses.is_empty() => self.fail(conn, Cause::Resolve("no addresses")),
            Ok(mut addresses) => {
                // Another attempt begins with another address. Taken from the end.
                let first = *attempt as usize % addresses.len();
                addresses.rotate_left(first);
                addresses.reverse();
                self.connect_next(conn, host, addresses, None);
            }
        }
    }

    /// Tries the next address; when none is left, that was it.
    fn connect_next(&mut self, conn: ConnId, host: String, mut left: Vec<SocketAddr>, mut last: Option<io::Error>) {
        while let Some(address) = left.pop() {
            match self.connect(conn, address) {
                Ok(socket) => {
                    self.streams.insert(conn, Stream::Connecting { host, socket, left });
                    return;
                }
                Err(error) => last = Some(error),
            }
        }
        let words = last.map_or_else(|| String::from("no address"), |error| error.to_string());
        self.fail(conn, Cause::Connect(&words));
    }

    fn connect(&self, conn: ConnId, address: SocketAddr) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(address)?;
        self.sockets.apply(&socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(conn.get() as usize), interest)?;
        Ok(socket)
    }

    fn ready(&mut self, conn: ConnId, readable: bool, closed: bool, writable: bool) {
        if let Some(Stream::Connecting { socket, .. }) = self.streams.get(&conn) {
            let failure = match (socket.take_error(), socket.peer_addr()) {
                (Ok(Some(error)), _) | (Err(error), _) => Some(error),
                (Ok(None), Ok(_)) => None,
                (Ok(None), Err(_)) => return, // not yet
            };
            let Some(Stream::Connecting { host, socket, left }) = self.streams.remove(&conn) else {
                return;
            };
            if let Some(error) = failure {
                self.connect_next(conn, host, left, Some(error));
                return;
            }
            match Channel::new(&self.engine, conn, socket, &host) {
                Ok(channel) => self.streams.insert(conn, Stream::Open(channel)),
                Err(broken) => return self.fail(conn, broken.cause()),
            };
        }
        if readable || closed {
            self.read(conn, closed);
        }
        if writable {
            self.write(conn);
        }
    }

    /// Edge-triggered, so it reads on; a short read has emptied the socket, unless the other side has `closed` it: then its end
    /// is still to be read, and no other edge will tell.
    fn read(&mut self, conn: ConnId, closed: bool) {
        loop {
            let Some(Stream::Open(channel)) = self.streams.get_mut(&conn) else {
                return;
            };
            match channel.read(&self.engine, &mut self.buffers) {
                Ok(Flow::Done) => {}
                Ok(Flow::Drained) if closed => {}
                Ok(Flow::Drained | Flow::Blocked) if channel.wants_write() => return self.write(conn),
                Ok(Flow::Drained | Flow::Blocked) => return,
                Err(broken) => return self.fail(conn, broken.cause()),
            }
        }
    }

    /// Writes until there is nothing or the socket blocks; then the poll says when it is ready again.
    fn write(&mut self, conn: ConnId) {
        if let Some(Stream::Open(channel)) = self.streams.get_mut(&conn) {
            if let Err(broken) = channel.write(&self.engine, &mut self.buffers) {
                self.fail(conn, broken.cause());
            }
        }
    }

    fn fail(&mut self, conn: ConnId, cause: Cause<'_>) {
        self.forget(conn);
        self.engine.input(Input::Disconnected(conn, cause));
    }

    fn forget(&mut self, conn: ConnId) {
        match self.streams.remove(&conn) {
            Some(Stream::Connecting { mut socket, .. }) => drop(self.poll.registry().deregister(&mut socket)),
            Some(Stream::Open(mut channel)) => drop(self.poll.registry().deregister(channel.socket())),
            Some(Stream::Resolving { .. }) | None => {}
        }
    }
}

impl Socket for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(slices)
    }
}
