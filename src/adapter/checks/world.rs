//! A cluster in memory behind connections that a thread serves, and a runtime for tasks whose sockets lead there.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::Future;
use core::task::{Context, Poll, Waker};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::PoisonError;

use super::super::channel::Socket;
use super::super::sockets::SocketOptions;
use super::super::task::{Failure, Runtime, Stream};
use super::primitives::{Condvar, Mutex, MutexGuard, elapsed, sleep_until, thread};
use super::sockets::{Registry, Token};
use crate::cluster::{Cluster, Peer, Settings};
use crate::time::Instant;

std::thread_local! {
    /// That of this execution, all of whose threads are one of the system's.
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// The other side of all connections of an execution.
pub(super) struct World {
    state: Mutex<State>,
    /// For the thread that serves.
    wanted: Condvar,
}

struct State {
    cluster: Cluster,
    links: BTreeMap<usize, Link>,
    last: usize,
    /// Something was sent.
    wanted: bool,
    /// Nobody answers.
    deaf: bool,
    over: bool,
    /// Bytes that a link takes before they are read.
    room: usize,
    poll: Option<Registry>,
}

struct Link {
    peer: Peer,
    sent: Vec<u8>,
    answered: Vec<u8>,
    closed: bool,
    listener: Listener,
    /// Whoever writes was told that there is no room.
    blocked: bool,
    /// Whom to tell when there is.
    writer: Option<Waker>,
}

/// Who is told that there is something to read.
pub(super) enum Listener {
    Nobody,
    Task(Waker),
    Poll(Registry, Token),
}

impl Listener {
    /// `writable`: that there is room again, too.
    fn tell(self, writable: bool) {
        match self {
            Self::Nobody => {}
            Self::Task(waker) => waker.wake(),
            Self::Poll(registry, token) => registry.ready(token, writable),
        }
    }
}

impl World {
    /// Begins anew.
    pub(super) fn start() -> Arc<Self> {
        let mut cluster = Cluster::new(Settings::default().instant_elections(true));
        cluster.create_topic("t", 1);
        let (links, room) = (BTreeMap::new(), usize::MAX);
        let state = State { cluster, links, last: 0, wanted: false, deaf: false, over: false, room, poll: None };
        let world = Arc::new(Self { state: Mutex::new(state), wanted: Condvar::new() });
        CURRENT.replace(Some(Arc::clone(&world)));
        world
    }

    pub(super) fn current() -> Arc<Self> {
        CURRENT.with_borrow(|world| Arc::clone(world.as_ref().expect("a check has started one")))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until [`stop`](Self::stop).
    pub(super) fn serve(self: &Arc<Self>) -> thread::JoinHandle<()> {
        let world = Arc::clone(self);
        thread::spawn(move || {
            while let Some(listeners) = world.answer() {
                listeners.into_iter().for_each(|(listener, writable)| listener.tell(writable));
            }
        })
    }

    /// Waits for requests, and answers them. `None` at the end.
    fn answer(&self) -> Option<Vec<(Listener, bool)>> {
        let idle = |state: &mut State| (!state.wanted || state.deaf) && !state.over;
        let mut state = self.wanted.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.over {
            return None;
        }
        state.wanted = false;
        let State { cluster, links, .. } = &mut *state;
        let mut listeners = Vec::new();
        for link in links.values_mut().filter(|link| !link.sent.is_empty()) {
            cluster.receive(now(), link.peer, &core::mem::take(&mut link.sent));
            link.answered.append(&mut cluster.take_output(link.peer));
            link.closed |= cluster.is_closed(link.peer);
            let listener = match &link.listener {
                Listener::Nobody => Listener::Nobody,
                Listener::Task(waker) => Listener::Task(waker.clone()),
                Listener::Poll(registry, token) => Listener::Poll(registry.clone(), *token),
            };
            listeners.push((listener, core::mem::take(&mut link.blocked)));
            listeners.extend(link.writer.take().map(|writer| (Listener::Task(writer), true)));
        }
        Some(listeners)
    }

    pub(super) fn stop(&self) {
        self.lock().over = true;
        self.wanted.notify_all();
    }

    /// From now on a link takes so many bytes until they are read.
    pub(super) fn narrow(&self, room: usize) {
        self.lock().room = room;
    }

    /// From now on nobody answers.
    pub(super) fn turn_deaf(&self) {
        self.lock().deaf = true;
    }

    pub(super) fn has_poll(&self, registry: &Registry) {
        self.lock().poll = Some(registry.clone());
    }

    /// The system does not let the I/O thread poll any more.
    pub(super) fn break_poll(&self) {
        let poll = self.lock().poll.clone();
        poll.expect("there is an I/O thread").break_it();
    }

    pub(super) fn connect(self: &Arc<Self>, port: u16) -> io::Result<Line> {
        let mut state = self.lock();
        let node = state.cluster.node_at("127.0.0.1", port);
        let peer = node.and_then(|node| state.cluster.connect(node));
        let Some(peer) = peer else { return Err(ErrorKind::ConnectionRefused.into()) };
        state.last += 1;
        let number = state.last;
        let (sent, answered) = (Vec::new(), Vec::new());
        let (listener, writer) = (Listener::Nobody, None);
        let link = Link { peer, sent, answered, closed: false, listener, blocked: false, writer };
        state.links.insert(number, link);
        Ok(Line { world: Arc::clone(self), number })
    }
}

fn now() -> Instant {
    Instant::ZERO + elapsed()
}

/// The producer's end of a connection.
pub(super) struct Line {
    world: Arc<World>,
    number: usize,
}

impl core::fmt::Debug for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// Who is told from now on.
    pub(super) fn tell(&self, listener: Listener) {
        if let Some(link) = self.world.lock().links.get_mut(&self.number) {
            link.listener = listener;
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.world.lock();
        let link = state.links.get_mut(&self.number).expect("it is there as long as its end");
        let length = link.answered.len().min(buffer.len());
        if length == 0 && !link.closed {
            return Err(ErrorKind::WouldBlock.into());
        }
        let rest = link.answered.split_off(length);
        buffer[..length].copy_from_slice(&core::mem::replace(&mut link.answered, rest));
        Ok(length)
    }

    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.world.lock();
        let room = state.room;
        let link = state.links.get_mut(&self.number).expect("it is there as long as its end");
        let before = link.sent.len();
        if before >= room {
            link.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        for slice in slices {
            let fits = slice.len().min(room - link.sent.len());
            link.sent.extend_from_slice(&slice[..fits]);
        }
        let taken = link.sent.len() - before;
        state.wanted = true;
        drop(state);
        self.world.wanted.notify_all();
        Ok(taken)
    }

    fn poll_readable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.world.lock();
        let link = state.links.get_mut(&self.number).expect("it is there as long as its end");
        if link.answered.is_empty() && !link.closed {
            link.listener = Listener::Task(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        if let Some(link) = state.links.remove(&self.number) {
            state.cluster.disconnect(link.peer);
        }
    }
}

/// A runtime in the [`World`].
#[derive(Debug)]
pub(super) struct Checked;

impl Runtime for Checked {
    type Stream = Line;

    async fn open(_host: String, port: u16, _attempt: u32, _options: SocketOptions) -> Result<Line, Failure> {
        World::current().connect(port).map_err(|error| Failure::Connect(error.to_string()))
    }

    fn sleep_until(at: std::time::Instant) -> impl Future<Output = ()> + Send + 'static {
        sleep_until(at)
    }
}

impl Socket for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::read(self, buffer)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::write(self, slices)
    }

    fn end_writing(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Line {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_readable(self, context)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.world.lock();
        let room = state.room;
        let link = state.links.get_mut(&self.number).expect("it is there as long as its end");
        if link.sent.len() < room {
            return Poll::Ready(Ok(()));
        }
        link.writer = Some(context.waker().clone());
        Poll::Pending
    }
}
