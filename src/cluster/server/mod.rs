//! A cluster on real sockets: one thread for all nodes.

mod doors;
mod serve;
mod stream;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mio::{Poll, Waker};

use super::settings::setters;
use super::{Cluster, Settings};
use crate::time::Instant;
use doors::Doors;
use serve::{Served, WAKE};

/// How a [`Server`] serves.
///
/// ```
/// use milena::cluster::{Server, ServerSettings, Settings};
///
/// let settings = ServerSettings::default().cluster(Settings::default().nodes(3)).advertise("localhost");
/// let server = Server::start_with(settings)?;
/// assert!(server.bootstrap().starts_with("localhost:"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerSettings {
    /// The cluster. Its time of day is set to the real one, and its seed drawn unless there is one.
    pub cluster: Settings,
    /// The address of the first node, the others on the ports after it; `None`, the default, for loopback and any free ports.
    pub listen: Option<SocketAddr>,
    /// The host that nodes tell clients to connect to, with the ports that they listen on: `advertised.listeners`. `None`, the
    /// default, for the address that they listen on, or loopback where that is all addresses (`0.0.0.0`, `::`).
    pub advertise: Option<String>,
    /// How long bytes take on their way, each way; no time by default.
    pub delay: Duration,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

impl ServerSettings {
    setters! { cluster: Settings, delay: Duration; listen: SocketAddr }

    /// Tells clients to connect to this host, which may be a name. For clients that reach the cluster under another address than
    /// the one it listens on, such as those in other containers.
    #[must_use]
    pub fn advertise(mut self, host: impl Into<String>) -> Self {
        self.advertise = Some(host.into());
        self
    }

    /// Encrypts connections with this.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<Option<Arc<rustls::ServerConfig>>>) -> Self {
        self.tls = config.into();
        self
    }

    /// Where clients find the node that listens there.
    fn host_of(&self, address: SocketAddr) -> String {
        let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let ip: IpAddr = if address.ip().is_unspecified() { loopback } else { address.ip() };
        self.advertise.clone().unwrap_or_else(|| ip.to_string())
    }
}

/// A cluster that listens. Stops when dropped.
///
/// A node that is down ([`Cluster::crash`]) refuses connections, and listens on its port again after [`Cluster::restart`].
#[derive(Debug)]
pub struct Server {
    shared: Arc<Mutex<Shared>>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    clock: Clock,
}

/// What the thread and the handle both use.
#[derive(Debug)]
struct Shared {
    cluster: Cluster,
    doors: Doors,
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

/// Another number for each server, so that its topics have ids that no client has seen.
fn fresh_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

impl Server {
    /// Serves on loopback with a free port for each node.
    ///
    /// # Errors
    /// If no socket or thread can be had.
    pub fn start(cluster: Settings) -> io::Result<Self> {
        Self::start_with(ServerSettings::default().cluster(cluster))
    }

    /// Serves as the settings say.
    ///
    /// # Errors
    /// If an address is taken, or no socket or thread can be had.
    pub fn start_with(settings: ServerSettings) -> io::Result<Self> {
        let mut inner = settings.cluster.clone().unix_time(unix_time());
        inner.seed.get_or_insert_with(fresh_seed);
        let mut cluster = Cluster::new(inner);
        let poll = Poll::new()?;
        let mut doors = Doors::new(poll.registry().try_clone()?);
        for (place, node) in cluster.nodes().into_iter().enumerate() {
            let mut address = settings.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            if address.port() != 0 {
                let port = usize::from(address.port()) + place;
                address.set_port(u16::try_from(port).map_err(|_| io::Error::other("ports end at 65535"))?);
            }
            let address = doors.add(node, address)?;
            cluster.set_address(node, &settings.host_of(address), address.port());
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let shared = Arc::new(Mutex::new(Shared { cluster, doors }));
        let stop = Arc::new(AtomicBool::new(false));
        let clock = Clock::new();
        let mut served = Served::new(Arc::clone(&shared), Arc::clone(&stop), poll, clock, settings);
        let thread = std::thread::Builder::new().name("milena-cluster".into()).spawn(move || {
            if let Err(error) = served.run() {
                ::log::error!("the cluster in memory has stopped: {error}");
            }
        })?;
        Ok(Self { shared, waker, stop, thread: Some(thread), clock })
    }

    /// `bootstrap.servers` for a client: all nodes.
    pub fn bootstrap(&self) -> String {
        let shared = lock(&self.shared);
        let nodes = shared.cluster.nodes().into_iter().filter_map(|node| shared.cluster.address(node));
        let addresses: Vec<String> = nodes
            .map(|(host, port)| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
            .collect();
        addresses.join(",")
    }

    /// Looks at the cluster, or changes it; the present on its clock is handed along. Nodes that are down afterwards have closed
    /// their ports, and those that are up listen.
    pub fn with<T>(&self, change: impl FnOnce(&mut Cluster, Instant) -> T) -> T {
        let mut shared = lock(&self.shared);
        let now = self.clock.now();
        let result = change(&mut shared.cluster, now);
        if let Err(error) = shared.open_and_close(now) {
            ::log::warn!("a node of the cluster in memory can't listen, and tries again: {error}");
        }
        drop(shared);
        // The change may have made answers possible.
        let _ = self.waker.wake();
        result
    }

    /// Stops all nodes: their ports are closed, and connections to them refused, until [`Server::start_again`]. Logs, topics and
    /// groups are kept.
    pub fn stop(&self) {
        self.with(|cluster, _| cluster.stop());
    }

    /// Starts what [`Server::stop`] has stopped, on the same ports.
    ///
    /// # Errors
    /// If another program has taken a port meanwhile. Nothing is started then.
    pub fn start_again(&self) -> io::Result<()> {
        let mut shared = lock(&self.shared);
        let now = self.clock.now();
        shared.cluster.start_again();
        let opened = shared.open_and_close(now);
        if opened.is_err() {
            shared.cluster.stop();
            let _ = shared.open_and_close(now); // closing does not fail
        }
        drop(shared);
        let _ = self.waker.wake();
        opened
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Makes each node listen if it is up, and only then. The first error, if one can't.
    fn open_and_close(&mut self, now: Instant) -> io::Result<()> {
        let cluster = &self.cluster;
        self.doors.open_and_close(now, |node| cluster.is_down(node))
    }
}

/// A panic of whoever held the lock does not make the cluster unusable for others.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
