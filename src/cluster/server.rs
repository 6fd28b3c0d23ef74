//! A cluster on loopback sockets: one thread for all nodes.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use core::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::{Cluster, Peer, Settings};
use crate::time::Instant;

const WAKE: Token = Token(usize::MAX);

/// How a [`Server`] serves.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// The cluster. Its time of day is set to the real one.
    pub cluster: Settings,
    /// The address of the first node, the others on the ports after it; `None` for loopback and any free ports.
    pub listen: Option<SocketAddr>,
    /// How long bytes take on their way, each way.
    pub delay: Duration,
    /// Connections are encrypted with this.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A cluster that listens. Stops when dropped.
#[derive(Debug)]
pub struct Server {
    cluster: Arc<Mutex<Cluster>>,
    addresses: Vec<SocketAddr>,
    waker: Arc<Waker>,
    stop: Arc<core::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
    clock: Clock,
}

#[derive(Clone, Copy, Debug)]
struct Clock(std::time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a server on real sockets lives in real time")]
    fn new() -> Self {
        Self(std::time::Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "a server on real sockets lives in real time")]
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

#[expect(clippy::disallowed_methods, reason = "a server on real sockets lives in real time")]
fn unix_time() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Server {
    /// Serves on loopback with a free port for each node.
    ///
    /// # Errors
    /// If no socket or thread can be had.
    pub fn start(cluster: Settings) -> io::Result<Self> {
        Self::start_with(ServerSettings { cluster, ..ServerSettings::default() })
    }

    /// Serves as the settings say.
    ///
    /// # Errors
    /// If an address is taken, or no socket or thread can be had.
    pub fn start_with(settings: ServerSettings) -> io::Result<Self> {
        let nodes = settings.cluster.nodes;
        let mut cluster = Cluster::new(Settings { unix_time: unix_time(), ..settings.cluster });
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for node in 1..=nodes {
            let mut address = settings.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
            if address.port() != 0 {
                let port = i32::from(address.port()) + node - 1;
                address.set_port(u16::try_from(port).map_err(|_| io::Error::other("ports end at 65535"))?);
            }
            let listener = TcpListener::bind(address)?;
            let address = listener.local_addr()?;
            cluster.set_address(node, &address.ip().to_string(), address.port());
            addresses.push(address);
            listeners.push(listener);
        }
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let cluster = Arc::new(Mutex::new(cluster));
        let stop = Arc::new(core::sync::atomic::AtomicBool::new(false));
        let clock = Clock::new();
        let mut served = Served {
            cluster: Arc::clone(&cluster),
            stop: Arc::clone(&stop),
            poll,
            listeners,
            streams: BTreeMap::new(),
            next: 0,
            delay: settings.delay,
            #[cfg(feature = "tls")]
            tls: settings.tls,
            clock,
            buffer: Box::new([0; 65_536]),
        };
        let thread = std::thread::Builder::new().name("milena-cluster".into()).spawn(move || {
            if let Err(error) = served.run() {
                ::log::error!("the cluster in memory has stopped: {error}");
            }
        })?;
        Ok(Self { cluster, addresses, waker, stop, thread: Some(thread), clock })
    }

    /// `bootstrap.servers` for a client: all nodes.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        addresses.join(",")
    }

    /// Looks at the cluster, or changes it; the present on its clock is handed along.
    pub fn with<T>(&self, change: impl FnOnce(&mut Cluster, Instant) -> T) -> T {
        let result = change(&mut lock(&self.cluster), self.clock.now());
        // The change may have made answers possible.
        let _ = self.waker.wake();
        result
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, core::sync::atomic::Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A panic of whoever held the lock does not make the cluster unusable for others.
fn lock(cluster: &Mutex<Cluster>) -> MutexGuard<'_, Cluster> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's state.
struct Served {
    cluster: Arc<Mutex<Cluster>>,
    stop: Arc<core::sync::atomic::AtomicBool>,
    poll: Poll,
    listeners: Vec<TcpListener>,
    streams: BTreeMap<usize, Stream>,
    next: usize,
    delay: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
    clock: Clock,
    buffer: Box<[u8; 65_536]>,
}

struct Stream {
    socket: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<rustls::ServerConnection>>,
    peer: Peer,
    /// Bytes on their way to the cluster, with the time of their arrival.
    incoming: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes on their way to the client.
    outgoing: VecDeque<(Instant, Vec<u8>)>,
    written: usize,
    /// The socket takes no more for now.
    blocked: bool,
    ended: bool,
}

impl Served {
    fn run(&mut self) -> io::Result<()> {
        for (node, listener) in self.listeners.iter_mut().enumerate() {
            self.poll.registry().register(listener, Token(node), Interest::READABLE)?;
        }
        self.next = self.listeners.len();
        let mut events = Events::with_capacity(256);
        while !self.stop.load(core::sync::atomic::Ordering::Relaxed) {
            let timeout = self.wait();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    Token(node) if node < self.listeners.len() => self.accept(node)?,
                    Token(stream) if event.is_readable() || event.is_read_closed() => self.read(stream),
                    Token(_) => {}
                }
            }
            self.deliver();
        }
        Ok(())
    }

    fn wait(&self) -> Option<Duration> {
        let now = self.clock.now();
        let queued = |stream: &Stream| {
            // What the socket does not take waits for the socket, not for time.
            let outgoing = stream.outgoing.front().filter(|_| !stream.blocked);
            [stream.incoming.front(), outgoing].into_iter().flatten().map(|(at, _)| *at).min()
        };
        let due = self.streams.values().filter_map(queued);
        let next = due.chain(lock(&self.cluster).next_deadline()).min()?;
        Some(next.saturating_since(now))
    }

    fn accept(&mut self, node: usize) -> io::Result<()> {
        loop {
            let mut socket = match self.listeners[node].accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let _ = socket.set_nodelay(true);
            let Some(peer) = lock(&self.cluster).connect(node as i32 + 1) else {
                continue;
            };
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(self.next), interest)?;
            let (incoming, outgoing) = (VecDeque::new(), VecDeque::new());
            #[cfg(feature = "tls")]
            let tls = match &self.tls {
                None => None,
                Some(config) => Some(Box::new(
                    rustls::ServerConnection::new(Arc::clone(config))
                        .map_err(|error| io::Error::other(error.to_string()))?,
                )),
            };
            let stream = Stream {
                socket,
                #[cfg(feature = "tls")]
                tls,
                peer,
                incoming,
                outgoing,
                written: 0,
                blocked: false,
                ended: false,
            };
            self.streams.insert(self.next, stream);
            self.next += 1;
        }
    }

    fn read(&mut self, token: usize) {
        let Some(stream) = self.streams.get_mut(&token) else {
            return;
        };
        let arrival = self.clock.now() + self.delay;
        loop {
            match stream.socket.read(&mut self.buffer[..]) {
                Ok(0) => {
                    stream.ended = true;
                    return;
                }
                Ok(n) => {
                    let Ok(plain) = stream.decrypt(&self.buffer[..n]) else {
                        stream.ended = true;
                        return;
                    };
                    if self.delay.is_zero() {
                        lock(&self.cluster).receive(arrival, stream.peer, &plain);
                    } else {
                        stream.incoming.push_back((arrival, plain.into_owned()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    stream.ended = true;
                    return;
                }
            }
        }
    }

    /// Moves bytes whose time has come.
    fn deliver(&mut self) {
        let now = self.clock.now();
        let mut cluster = lock(&self.cluster);
        cluster.advance(now);
        let mut over = Vec::new();
        for (token, stream) in &mut self.streams {
            while stream.incoming.front().is_some_and(|(at, _)| *at <= now) {
                if let Some((_, bytes)) = stream.incoming.pop_front() {
                    cluster.receive(now, stream.peer, &bytes);
                }
            }
            let output = cluster.take_output(stream.peer);
            if !output.is_empty() {
                stream.outgoing.push_back((now + self.delay, output));
            }
            let broken = stream.write(now).is_err();
            let closed = cluster.is_closed(stream.peer) && stream.outgoing.is_empty();
            if broken || closed || stream.ended {
                cluster.disconnect(stream.peer);
                over.push(*token);
            }
        }
        drop(cluster);
        for token in over {
            if let Some(mut stream) = self.streams.remove(&token) {
                let _ = self.poll.registry().deregister(&mut stream.socket);
            }
        }
    }
}

impl Stream {
    /// What the client said, out of what came over the socket.
    #[cfg_attr(not(feature = "tls"), allow(clippy::needless_pass_by_ref_mut, reason = "TLS has state"))]
    fn decrypt<'a>(&mut self, bytes: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let (mut bytes, mut plain) = (bytes, Vec::new());
            while !bytes.is_empty() {
                tls.read_tls(&mut bytes)?;
                let state = tls.process_new_packets().map_err(|error| io::Error::other(error.to_string()));
                let length = match state {
                    Ok(state) => state.plaintext_bytes_to_read(),
                    Err(error) => {
                        let _ = tls.write_tls(&mut self.socket); // why, as an alert
                        return Err(error);
                    }
                };
                let at = plain.len();
                plain.resize(at + length, 0);
                tls.reader().read_exact(&mut plain[at..])?;
            }
            return Ok(Cow::Owned(plain));
        }
        Ok(Cow::Borrowed(bytes))
    }

    #[cfg(feature = "tls")]
    fn write_encrypted(&mut self, now: Instant) -> io::Result<()> {
        self.blocked = false;
        let Some(tls) = &mut self.tls else { return Ok(()) };
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.blocked = true;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some((_, bytes)) = self.outgoing.front().filter(|(at, _)| *at <= now) else { return Ok(()) };
            self.written += tls.writer().write(&bytes[self.written..])?;
            if self.written == bytes.len() {
                self.outgoing.pop_front();
                self.written = 0;
            }
        }
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.write_encrypted(now);
        }
        self.blocked = false;
        while let Some((at, bytes)) = self.outgoing.front() {
            if *at > now {
                return Ok(());
            }
            match self.socket.write(&bytes[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    if self.written == bytes.len() {
                        self.outgoing.pop_front();
                        self.written = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
