//! A proxy on loopback between a producer and the cluster in memory: a link that is slow, stops, cuts, adds bytes or answers by
//! itself, as a test says. Two plain threads a connection; what is encrypted passes as it is, unless the proxy is given
//! the end of TLS.

#![allow(dead_code, unreachable_pub, reason = "shared by several test programs, each of which uses a part")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod tls_end;

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use milena::cluster::TestCluster;
use socket2::SockRef;

pub use tls_end::TlsEnd;

/// How bytes go one way.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Bytes that are read at a time.
    pub bytes: usize,
    /// A pause after so many reads.
    pub every: usize,
    pub pause: Duration,
    /// They are read and thrown away.
    pub swallows: bool,
}

impl Pace {
    /// As fast as the machine goes.
    pub const FREE: Self = Self::new(65_536, 1, Duration::ZERO);
    /// 8 KiB each millisecond, some 8 MB/s.
    pub const EIGHT_MEGABYTES: Self = Self::new(8192, 1, Duration::from_millis(1));
    /// 64 KiB/s.
    pub const SIXTY_FOUR_KIB: Self = Self::new(1024, 1, Duration::from_millis(16));
    /// Seven bytes a read, with pauses.
    pub const DRIBBLE: Self = Self::new(7, 64, Duration::from_millis(1));
    /// Nothing arrives.
    pub const SWALLOWED: Self = Self { swallows: true, ..Self::FREE };

    pub const fn new(bytes: usize, every: usize, pause: Duration) -> Self {
        Self { bytes, every, pause, swallows: false }
    }
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.swallows {
            write!(f, "swallowed")
        } else if self.pause.is_zero() {
            write!(f, "{}", if self.bytes == Self::FREE.bytes { "free" } else { "in pieces" })
        } else {
            write!(f, "{}x{} B/{:?}", self.every, self.bytes, self.pause)
        }
    }
}

/// What happens to a connection after so many bytes of the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing is read from the producer for a while.
    Pause(Duration),
    /// Nothing is read from the producer any more, and the connection stays.
    Stall,
    /// The producer is told that nothing more comes (FIN). What it says is still passed on.
    EndToProducer,
    /// The cluster is told that nothing more comes. What it says is still passed on.
    EndToCluster,
    /// The producer's connection is reset once the next answer was passed on to it.
    ResetAfterAnswer,
    /// The producer's connection is reset at once.
    Reset,
    /// Bytes that mean nothing are sent to the producer, as fast as it takes them, until it closes the connection.
    Flood,
}

/// A connection that was just made.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The node that it is to.
    pub node: i32,
    /// How many came before, to all nodes.
    pub number: usize,
}

/// How one connection is treated.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// From the producer to the cluster.
    pub up: Pace,
    /// From the cluster to the producer.
    pub down: Pace,
    /// After so many bytes of the producer, once.
    pub event: Option<(u64, Event)>,
    /// Each Produce request is answered by the proxy: what servers do that don't know that `acks=0` wants no answer. Only where
    /// the cluster does not answer, and where the proxy reads what it passes on.
    pub answers: bool,
    /// These words of the producer reach the cluster as those, which are as many bytes.
    pub renames: Option<(&'static str, &'static str)>,
}

impl Link {
    pub const FREE: Self = Self { up: Pace::FREE, down: Pace::FREE, event: None, answers: false, renames: None };
    /// 8 MB/s.
    pub const BROADBAND: Self = Self { up: Pace::EIGHT_MEGABYTES, ..Self::FREE };
    /// 64 KiB/s.
    pub const MODEM: Self = Self { up: Pace::SIXTY_FOUR_KIB, ..Self::FREE };
    /// A few bytes at a time, both ways.
    pub const DRIBBLE: Self = Self { up: Pace::DRIBBLE, down: Pace::DRIBBLE, ..Self::FREE };

    pub const fn with(self, after: u64, event: Event) -> Self {
        Self { event: Some((after, event)), ..self }
    }
}

/// How much the proxy's sockets keep of what it did not read yet, in bytes. The less it is, the earlier the producer's socket is
/// full.
#[derive(Clone, Copy, Debug)]
pub struct Room(pub usize);

impl Default for Room {
    fn default() -> Self {
        Self(128 << 10)
    }
}

/// Stands between a producer and all nodes of a cluster. Ends when dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    ports: Vec<u16>,
    listeners: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    /// Nothing is read from producers while this is set.
    held: AtomicBool,
    accepted: AtomicUsize,
    link: Box<dyn Fn(Arrival) -> Link + Send + Sync>,
    /// How all connections are treated now, whatever they began as.
    for_now: Mutex<Option<Link>>,
    connections: Mutex<Vec<Arc<Connection>>>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// A producer's connection, and the one to the cluster that belongs to it.
pub struct Connection {
    client: TcpStream,
    cluster: TcpStream,
    link: Link,
    tls: Option<TlsEnd>,
    /// Bytes that came from the producer.
    pub received: AtomicU64,
    /// Threads at work on it.
    pumps: AtomicUsize,
    over: AtomicBool,
    reset: AtomicBool,
    /// Nothing is read from it any more, not even its end.
    stalled: AtomicBool,
}

impl Proxy {
    /// Stands in front of a cluster, which from now on tells clients the proxy's addresses. With `tls`, it speaks TLS to the
    /// producer and plain text to the cluster; without, it passes on what there is. `link` says how to treat each connection.
    pub fn new(
        cluster: &TestCluster,
        room: Room,
        tls: Option<Arc<rustls::ServerConfig>>,
        link: impl Fn(Arrival) -> Link + Send + Sync + 'static,
    ) -> Self {
        let nodes = cluster.with(|cluster, _| cluster.nodes());
        let address =
            |node| cluster.with(|cluster, _| cluster.address(node).map(|(host, port)| format!("{host}:{port}")));
        let nodes: Vec<(i32, String)> =
            nodes.into_iter().map(|node| (node, address(node).expect("the node has an address"))).collect();
        let proxy = Self::before(&nodes, room, tls, link);
        for ((node, _), port) in nodes.iter().zip(&proxy.ports) {
            cluster.with(|cluster, _| cluster.set_address(*node, "127.0.0.1", *port));
        }
        proxy
    }

    /// Stands before these nodes, by their ids and addresses. Whoever runs them sees to it that they tell clients the proxy's
    /// [ports](Self::ports).
    pub fn before(
        nodes: &[(i32, String)],
        room: Room,
        tls: Option<Arc<rustls::ServerConfig>>,
        link: impl Fn(Arrival) -> Link + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            held: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            link: Box::new(link),
            for_now: Mutex::new(None),
            connections: Mutex::default(),
            tls,
        });
        let (mut ports, mut listeners) = (Vec::new(), Vec::new());
        for (node, to) in nodes.iter().cloned() {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
            // Accepted sockets inherit it; set later, it would be too late for the window.
            SockRef::from(&listener).set_recv_buffer_size(room.0).expect("a buffer");
            ports.push(listener.local_addr().expect("it is bound").port());
            let shared = Arc::clone(&shared);
            listeners.push(std::thread::spawn(move || shared.listen(&listener, node, &to)));
        }
        Self { shared, ports, listeners }
    }

    /// `bootstrap.servers`: the way through the proxy.
    pub fn bootstrap(&self) -> String {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// A cluster's properties, with the way through the proxy.
    pub fn properties(&self, cluster: &TestCluster) -> Vec<(String, String)> {
        let mut properties = cluster.properties();
        for (name, value) in &mut properties {
            if name == "bootstrap.servers" {
                *value = self.bootstrap();
            }
        }
        properties
    }

    /// Where it listens, in the order of the nodes.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Treats all connections so, those that there are and those to come; `None` as they were meant to be. What is to happen to
    /// them still does.
    pub fn treat_all(&self, link: Option<Link>) {
        *lock(&self.shared.for_now) = link;
    }

    /// Resets the connections that there are.
    pub fn reset_all(&self) {
        for connection in lock(&self.shared.connections).iter() {
            connection.reset.store(true, Ordering::SeqCst);
            connection.over.store(true, Ordering::SeqCst);
        }
    }

    /// How many connections were taken so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are neither over nor stalled.
    pub fn live(&self) -> Vec<Arc<Connection>> {
        let mut connections = lock(&self.shared.connections);
        connections.retain(|connection| connection.pumps.load(Ordering::SeqCst) > 0);
        connections.iter().filter(|connection| !connection.stalled.load(Ordering::SeqCst)).map(Arc::clone).collect()
    }

    /// Waits until all that producers wrote before they closed has arrived at the cluster.
    pub fn drained(&self) {
        let began = now();
        while !self.live().is_empty() {
            assert!(now() - began < Duration::from_secs(60), "connections are still open after a minute");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Nothing is read from producers until [`go_on`](Self::go_on).
    pub fn hold(&self) {
        self.shared.held.store(true, Ordering::SeqCst);
    }

    pub fn go_on(&self) {
        self.shared.held.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for port in &self.ports {
            let _ = TcpStream::connect(("127.0.0.1", *port)); // wakes the listener
        }
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("received", &self.received).field("pumps", &self.pumps).finish()
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &TcpListener, node: i32, to: &str) {
        for client in listener.incoming() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(client), Ok(cluster)) = (client, TcpStream::connect(to)) else { continue };
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            for socket in [&client, &cluster] {
                let _ = socket.set_nodelay(true);
                // So that each thread looks now and then whether its connection is over.
                let _ = socket.set_read_timeout(Some(TICK));
                let _ = socket.set_write_timeout(Some(TICK));
            }
            let tls = self.tls.as_ref().map(TlsEnd::new);
            let connection = Arc::new(Connection {
                client,
                cluster,
                link: (self.link)(Arrival { node, number }),
                tls,
                received: AtomicU64::new(0),
                pumps: AtomicUsize::new(2),
                over: AtomicBool::new(false),
                reset: AtomicBool::new(false),
                stalled: AtomicBool::new(false),
            });
            lock(&self.connections).push(Arc::clone(&connection));
            for direction in [Direction::Up, Direction::Down] {
                let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
                std::thread::spawn(move || {
                    if shared.pump(&connection, direction).is_none() {
                        connection.over.store(true, Ordering::SeqCst);
                    }
                    if connection.pumps.fetch_sub(1, Ordering::SeqCst) == 1 {
                        connection.finish();
                        lock(&shared.connections).retain(|other| !Arc::ptr_eq(other, &connection));
                    }
                });
            }
        }
    }

    /// Passes bytes on until there are no more. `None` if the connection is over in both directions.
    fn pump(&self, connection: &Connection, direction: Direction) -> Option<()> {
        let mut from = match direction {
            Direction::Up => &connection.client,
            Direction::Down => &connection.cluster,
        };
        let mut buffer = Vec::new();
        let mut frames = Frames::default();
        let mut event = connection.link.event;
        for reads in 1.. {
            while direction == Direction::Up && self.held.load(Ordering::SeqCst) && !self.is_over(connection) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if self.is_over(connection) {
                return None;
            }
            let link = (*lock(&self.for_now)).unwrap_or(connection.link);
            let link = if direction == Direction::Up { link.up } else { link.down };
            buffer.resize(link.bytes, 0);
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if is_tick(&error) => continue,
                Err(_) => return None,
            };
            match direction {
                _ if link.swallows => {}
                Direction::Up => {
                    let received = connection.received.fetch_add(n as u64, Ordering::SeqCst) + n as u64;
                    let plain = self.pass_up(connection, &buffer[..n])?;
                    if connection.link.answers {
                        for correlation in frames.produce_requests(&plain) {
                            self.answer(connection, correlation)?;
                        }
                    }
                    if let Some((_, what)) = event.take_if(|(after, _)| *after <= received) {
                        self.happen(connection, what)?;
                    }
                }
                Direction::Down => {
                    self.pass_down(connection, &buffer[..n])?;
                    if connection.reset.load(Ordering::SeqCst) {
                        return None;
                    }
                }
            }
            if reads % link.every == 0 && !link.pause.is_zero() {
                std::thread::sleep(link.pause);
            }
        }
        let other = if direction == Direction::Up { &connection.cluster } else { &connection.client };
        let _ = other.shutdown(Shutdown::Write);
        Some(())
    }

    /// Passes on what the producer said, and returns it.
    fn pass_up<'a>(&self, connection: &Connection, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let mut plain = match &connection.tls {
            None => Cow::Borrowed(bytes),
            Some(tls) => tls.in_order(|tls| {
                let (plain, answer) = tls.receive(bytes)?;
                self.write(connection, &connection.client, &answer)?;
                Some(Cow::Owned(plain))
            })?,
        };
        if let Some((from, to)) = connection.link.renames {
            if let Some(at) = plain.windows(from.len()).position(|window| window == from.as_bytes()) {
                plain.to_mut()[at..at + from.len()].copy_from_slice(to.as_bytes());
            }
        }
        self.write(connection, &connection.cluster, &plain)?;
        Some(plain)
    }

    fn pass_down(&self, connection: &Connection, bytes: &[u8]) -> Option<()> {
        match &connection.tls {
            None => self.write(connection, &connection.client, bytes),
            Some(tls) => tls.in_order(|tls| {
                let encrypted = tls.encrypt(bytes)?;
                self.write(connection, &connection.client, &encrypted)
            }),
        }
    }

    /// Writes everything, unless the connection ends before.
    fn write(&self, connection: &Connection, mut to: &TcpStream, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            if self.is_over(connection) {
                return None;
            }
            match to.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if is_tick(&error) => {}
                // Only one direction may be over: what the other side does not take is thrown away.
                Err(_) => return Some(()),
            }
        }
        Some(())
    }

    /// What a server says that answers although it was asked not to: a partition's offset, or anything else.
    fn answer(&self, connection: &Connection, correlation: i32) -> Option<()> {
        let mut answer = Vec::new();
        answer.extend_from_slice(&36_u32.to_be_bytes());
        answer.extend_from_slice(&correlation.to_be_bytes());
        answer.extend_from_slice(&[0; 32]);
        self.pass_down(connection, &answer)
    }

    fn happen(&self, connection: &Connection, event: Event) -> Option<()> {
        match event {
            Event::Pause(span) => std::thread::sleep(span),
            Event::Stall => {
                connection.stalled.store(true, Ordering::SeqCst);
                while !self.is_over(connection) {
                    std::thread::sleep(TICK);
                }
                return None;
            }
            Event::EndToProducer => drop(connection.client.shutdown(Shutdown::Write)),
            Event::EndToCluster => drop(connection.cluster.shutdown(Shutdown::Write)),
            Event::ResetAfterAnswer => connection.reset.store(true, Ordering::SeqCst),
            Event::Flood => {
                while !self.is_over(connection) {
                    match (&connection.client).write(&[0xab; 65_536]) {
                        Ok(_) => {}
                        Err(error) if is_tick(&error) => {}
                        Err(_) => return None,
                    }
                }
            }
            Event::Reset => {
                connection.reset.store(true, Ordering::SeqCst);
                return None;
            }
        }
        Some(())
    }

    fn is_over(&self, connection: &Connection) -> bool {
        self.stop.load(Ordering::SeqCst) || connection.over.load(Ordering::SeqCst)
    }
}

impl Connection {
    /// Both threads are done with it.
    fn finish(&self) {
        let client = SockRef::from(&self.client);
        if self.reset.load(Ordering::SeqCst) {
            let _ = client.set_linger(Some(Duration::ZERO));
        }
        // The rest is closed when the last `Arc` goes: with linger 0, by a reset.
    }

    /// TLS to the producer, and the producer's socket.
    pub fn tls(&self) -> (&TlsEnd, &TcpStream) {
        (self.tls.as_ref().expect("the proxy speaks TLS"), &self.client)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How often threads look whether their connection is over.
const TICK: Duration = Duration::from_millis(20);

fn is_tick(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a proxy on real sockets lives in real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Finds requests in a stream of bytes.
#[derive(Default)]
struct Frames {
    /// The beginning of the frame, up to its correlation id.
    head: Vec<u8>,
    /// Bytes of the frame that are still to come and are of no interest.
    rest: usize,
}

impl Frames {
    /// The correlation ids of Produce requests that are complete with these bytes.
    fn produce_requests(&mut self, mut bytes: &[u8]) -> Vec<i32> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            if self.head.len() < 12 {
                let n = bytes.len().min(12 - self.head.len());
                self.head.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                if self.head.len() == 12 {
                    self.rest = u32::from_be_bytes(self.head[..4].try_into().unwrap()) as usize - 8;
                }
            } else {
                let n = bytes.len().min(self.rest);
                self.rest -= n;
                bytes = &bytes[n..];
            }
            if self.head.len() == 12 && self.rest == 0 {
                if self.head[4..6] == [0, 0] {
                    found.push(i32::from_be_bytes(self.head[8..].try_into().unwrap()));
                }
                self.head.clear();
            }
        }
        found
    }
}
