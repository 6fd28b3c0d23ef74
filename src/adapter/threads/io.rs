//! The I/O thread: sockets on one side, the machine on the other.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, ToSocketAddrs};

use super::super::channel::{Buffers, Channel, Farewell, Flow, Socket};
use super::super::effects::Effects;
use super::super::engine::{Drained, Engine};
use super::super::sockets::SocketOptions;
use super::super::sync::mio::net::TcpStream;
use super::super::sync::mio::{Events, Interest, Poll, Token, Waker};
use super::super::sync::mpsc::{Receiver, Sender, channel};
use super::super::sync::{AtomicU64, Ordering, thread};
use super::super::tokens::Tokens;
use super::super::workers::Workers;
use crate::event::{Cause, Input, Output};
use crate::ids::ConnId;
use crate::time::Instant;

const WAKE: Token = Token(usize::MAX);

/// Reads of one connection in a row, so that one which never ends to speak does not keep the others waiting.
const READS: usize = 16;

/// Rounds of work without a look at the sockets, so that callbacks which send again and again leave time for them.
const ROUNDS: usize = 16;

/// What the thread works with.
#[derive(Debug)]
pub(super) struct IoThread {
    engine: Arc<Engine>,
    sockets: SocketOptions,
    wakeups: Arc<AtomicU64>,
    poll: Poll,
    streams: BTreeMap<ConnId, Stream>,
    /// Connections that may have more to read.
    unread: Vec<ConnId>,
    /// Connections that are being seen off.
    farewells: Vec<ConnId>,
    /// Who waits for which name.
    lookups: BTreeMap<(String, u16), Vec<ConnId>>,
    resolved: Receiver<Resolution>,
    resolver: Sender<Resolution>,
    waker: Arc<Wake>,
    buffers: Buffers,
    workers: Workers,
}

/// What a name led to.
type Resolution = ((String, u16), io::Result<Vec<SocketAddr>>);

#[derive(Debug)]
enum Stream {
    /// Its name is being resolved.
    Resolving { host: String, attempt: u32 },
    /// One of its addresses is being connected to; the others are still to be tried.
    Connecting { host: String, socket: TcpStream, left: Vec<SocketAddr> },
    /// It stands; `blocked` if there is more to write than the socket takes.
    Open { channel: Channel<TcpStream>, blocked: bool },
    /// The machine has done with it, the other side not yet.
    Leaving(Farewell<TcpStream>),
}

/// Wakes the thread out of its poll, from any other.
#[derive(Debug)]
struct Wake(Waker);

impl alloc::task::Wake for Wake {
    fn wake(self: Arc<Self>) {
        if let Err(error) = self.0.wake() {
            log::error!("the I/O thread can't be woken: {error}");
        }
    }
}

/// Whoever leaves the thread, for whatever reason, tells those who wait.
struct End {
    engine: Arc<Engine>,
    why: String,
}

impl Drop for End {
    fn drop(&mut self) {
        self.engine.end(&self.why);
    }
}

impl IoThread {
    pub(super) fn new(engine: Arc<Engine>, sockets: SocketOptions, wakeups: Arc<AtomicU64>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Wake(Waker::new(poll.registry(), WAKE)?));
        engine.set_driver(&Arc::clone(&waker).into());
        engine.drives_itself();
        let (resolver, resolved) = channel();
        Ok(Self {
            workers: Workers::new(Arc::clone(&engine)),
            engine,
            sockets,
            wakeups,
            poll,
            streams: BTreeMap::new(),
            unread: Vec::new(),
            farewells: Vec::new(),
            lookups: BTreeMap::new(),
            resolved,
            resolver,
            waker,
            buffers: Buffers::new(),
        })
    }

    /// Works until the producer is closed.
    pub(super) fn run(&mut self) {
        let mut end = End { engine: Arc::clone(&self.engine), why: String::from("its I/O thread has panicked") };
        if let Err(error) = self.work() {
            log::error!("the I/O thread has ended: {error}");
            end.why = std::format!("its I/O thread has ended: {error}");
        }
    }

    fn work(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut commands = Vec::new();
        let mut effects = Effects::default();
        let mut rounds = 0;
        loop {
            let Drained { until, closed, hurry, .. } = self.engine.drain(&mut commands, &mut effects);
            let idle = commands.is_empty();
            for command in commands.drain(..) {
                self.obey(command);
            }
            effects.run();
            rounds += 1;
            if !idle && rounds < ROUNDS {
                continue; // what was done may have led to more
            }
            rounds = 0;
            self.drop_farewells();
            if idle && closed && (hurry || self.farewells.is_empty()) {
                return Ok(());
            }
            let unread = core::mem::take(&mut self.unread);
            // Up to a millisecond late, which is the clock of the poll: earlier would only spin.
            let wait = |until: Instant| until.saturating_since(self.engine.clock().now());
            let more = !idle || !unread.is_empty();
            let timeout = if more { Some(Duration::ZERO) } else { self.next_deadline(until).map(wait) };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                other => other?,
            }
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            for event in &events {
                if event.token() != WAKE {
                    let conn = ConnId(event.token().0 as u32);
                    self.ready(conn, event.is_readable() || event.is_read_closed(), event.is_writable());
                }
            }
            for conn in unread {
                self.read(conn);
            }
            while let Ok((name, addresses)) = self.resolved.try_recv() {
                for conn in self.lookups.remove(&name).unwrap_or_default() {
                    self.addresses_known(conn, &addresses);
                }
            }
            if until.is_some_and(|until| until <= self.engine.clock().now()) {
                self.engine.input(Input::Timeout);
            }
        }
    }

    /// When there is something to do without an event, at the latest.
    fn next_deadline(&self, until: Option<Instant>) -> Option<Instant> {
        let farewell = |conn| match self.streams.get(conn) {
            Some(Stream::Leaving(farewell)) => Some(farewell.until()),
            Some(Stream::Resolving { .. } | Stream::Connecting { .. } | Stream::Open { .. }) | None => None,
        };
        self.farewells.iter().filter_map(farewell).chain(until).min()
    }

    fn obey(&mut self, command: Output) {
        match command {
            Output::Connect { conn, host, port, attempt } => {
                self.streams.insert(conn, Stream::Resolving { host: host.clone(), attempt });
                self.resolve(conn, host, port);
            }
            Output::Disconnect(conn) => self.disconnect(conn),
            Output::Transmit(conn) => self.write(conn),
            Output::Job(job) => self.workers.run(job),
            Output::Token { .. } => Tokens::fetch(&self.engine),
            Output::Event(_) | Output::Wait(_) => unreachable!("the engine keeps these"),
        }
    }

    /// Addresses are used as they are; names are looked up on a thread of their own, for that may take long. Whoever needs a
    /// name that is being looked up already waits for the same answer: a resolver that hangs holds one thread a name.
    fn resolve(&mut self, conn: ConnId, host: String, port: u16) {
        if let Ok(address) = host.parse() {
            self.addresses_known(conn, &Ok(std::vec![SocketAddr::new(address, port)]));
            return;
        }
        let name = (host, port);
        if let Some(waiting) = self.lookups.get_mut(&name) {
            waiting.retain(|conn| self.streams.contains_key(conn));
            waiting.push(conn);
            return;
        }
        self.lookups.insert(name.clone(), std::vec![conn]);
        let (answer, waker) = (self.resolver.clone(), Arc::clone(&self.waker));
        let asked = name.clone();
        let look_up = move || {
            let addresses = (&*asked.0, asked.1).to_socket_addrs().map(Iterator::collect);
            let _ = answer.send((asked, addresses)); // nobody waits any more: as well
            alloc::task::Wake::wake(waker);
        };
        if let Err(error) = thread::Builder::new().name("milena-dns".into()).spawn(look_up) {
            self.lookups.remove(&name);
            self.fail(conn, Cause::Resolve(&error.to_string()));
        }
    }

    fn addresses_known(&mut self, conn: ConnId, addresses: &io::Result<Vec<SocketAddr>>) {
        let Some(Stream::Resolving { host, attempt }) = self.streams.get(&conn) else {
            return;
        };
        let host = host.clone();
        match addresses {
            Err(error) => self.fail(conn, Cause::Resolve(&error.to_string())),
            Ok(addresses) if addresses.is_empty() => self.fail(conn, Cause::Resolve("no addresses")),
            Ok(addresses) => {
                // Another attempt begins with another address. Taken from the end.
                let mut addresses = addresses.clone();
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

    fn ready(&mut self, conn: ConnId, readable: bool, writable: bool) {
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
                Ok(channel) => self.streams.insert(conn, Stream::Open { channel, blocked: true }), // TLS begins with us
                Err(broken) => return self.fail(conn, broken.cause()),
            };
        }
        if readable {
            self.read(conn);
        }
        // With each event comes that it may be written, too.
        if writable && matches!(self.streams.get(&conn), Some(Stream::Open { blocked: true, .. })) {
            self.write(conn);
        }
    }

    /// Edge-triggered, so it reads until the socket blocks: no other edge would tell of what is left.
    fn read(&mut self, conn: ConnId) {
        for _ in 0..READS {
            let flow = match self.streams.get_mut(&conn) {
                Some(Stream::Open { channel, .. }) => channel.read(&self.engine, &mut self.buffers),
                Some(Stream::Leaving(farewell)) => match farewell.read(self.engine.clock().now(), &mut self.buffers) {
                    Some(flow) => Ok(flow),
                    None => return self.forget(conn),
                },
                Some(Stream::Resolving { .. } | Stream::Connecting { .. }) | None => return,
            };
            match flow {
                Ok(Flow::Done) => {}
                Ok(Flow::Blocked) => {
                    if matches!(self.streams.get(&conn), Some(Stream::Open { channel, .. }) if channel.wants_write()) {
                        self.write(conn);
                    }
                    return;
                }
                Err(broken) => return self.fail(conn, broken.cause()),
            }
        }
        self.unread.push(conn);
    }

    /// Writes until there is nothing or the socket blocks; then the poll says when it is ready again.
    fn write(&mut self, conn: ConnId) {
        if let Some(Stream::Open { channel, blocked }) = self.streams.get_mut(&conn) {
            match channel.write(&self.engine, &mut self.buffers) {
                Ok(flow) => *blocked = flow == Flow::Blocked,
                Err(broken) => self.fail(conn, broken.cause()),
            }
        }
    }

    fn fail(&mut self, conn: ConnId, cause: Cause<'_>) {
        self.forget(conn);
        self.engine.input(Input::Disconnected(conn, cause));
    }

    /// The machine has done with the connection.
    fn disconnect(&mut self, conn: ConnId) {
        if !matches!(self.streams.get(&conn), Some(Stream::Open { .. })) {
            return self.forget(conn);
        }
        let Some(Stream::Open { channel, .. }) = self.streams.remove(&conn) else { return };
        match channel.finish(&self.engine) {
            Ok(farewell) => {
                self.streams.insert(conn, Stream::Leaving(farewell));
                self.farewells.push(conn);
                self.unread.push(conn); // what came before may have been seen, and is no edge any more
            }
            Err(mut socket) => drop(self.poll.registry().deregister(&mut socket)),
        }
    }

    /// Closes what was seen off for long enough.
    fn drop_farewells(&mut self) {
        if self.farewells.is_empty() {
            return;
        }
        let now = self.engine.clock().now();
        for conn in core::mem::take(&mut self.farewells) {
            match self.streams.get(&conn) {
                Some(Stream::Leaving(farewell)) if farewell.until() > now => self.farewells.push(conn),
                Some(_) => self.forget(conn),
                None => {}
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        match self.streams.remove(&conn) {
            Some(Stream::Connecting { mut socket, .. }) => drop(self.poll.registry().deregister(&mut socket)),
            Some(Stream::Open { mut channel, .. }) => drop(self.poll.registry().deregister(channel.socket())),
            Some(Stream::Leaving(mut farewell)) => drop(self.poll.registry().deregister(farewell.socket())),
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

    fn end_writing(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}
