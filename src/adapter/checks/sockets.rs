//! What `threads` takes from mio, for a [`World`]: a poll whose sockets lead into it. Edges, as mio's: what became ready since the
//! last poll, and is told once.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::BitOr;
use core::time::Duration;
use std::io;
use std::sync::PoisonError;

use super::primitives::{Condvar, Mutex};

/// Names a source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Token(pub(in super::super) usize);

/// What is asked for; all is told.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Interest;

impl Interest {
    pub(in super::super) const READABLE: Self = Self;
    pub(in super::super) const WRITABLE: Self = Self;
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, _other: Self) -> Self {
        self
    }
}

/// That something became ready.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Event {
    token: Token,
    writable: bool,
}

impl Event {
    pub(in super::super) fn token(&self) -> Token {
        self.token
    }

    pub(in super::super) fn is_readable(&self) -> bool {
        true
    }

    pub(in super::super) fn is_read_closed(&self) -> bool {
        false
    }

    pub(in super::super) fn is_writable(&self) -> bool {
        self.writable
    }
}

/// What a poll has found.
#[derive(Debug)]
pub(in super::super) struct Events(Vec<Event>);

impl Events {
    pub(in super::super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(in super::super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a Event;
    type IntoIter = core::slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// What a thread waits at.
#[derive(Debug)]
pub(in super::super) struct Poll {
    registry: Registry,
}

/// Where sources are put down.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Registry(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: BTreeMap<Token, Event>,
    broken: bool,
}

impl Poll {
    pub(in super::super) fn new() -> io::Result<Self> {
        let registry = Registry::default();
        super::world::World::current().has_poll(&registry);
        Ok(Self { registry })
    }

    pub(in super::super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(in super::super) fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let Registry(shared) = &self.registry;
        let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |state: &mut State| state.ready.is_empty() && !state.broken;
        let waited = shared.changed.wait_timeout_while(state, timeout.unwrap_or(Duration::MAX), nothing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        events.clear();
        if state.broken {
            return Err(io::Error::other("the poll is broken"));
        }
        events.0.extend(core::mem::take(&mut state.ready).into_values());
        Ok(())
    }
}

impl Registry {
    pub(in super::super) fn register(&self, socket: &mut net::TcpStream, token: Token, _: Interest) -> io::Result<()> {
        socket.0.tell(super::world::Listener::Poll(self.clone(), token));
        self.ready(token, true); // it is connected
        Ok(())
    }

    pub(in super::super) fn deregister(&self, socket: &mut net::TcpStream) -> io::Result<()> {
        socket.0.tell(super::world::Listener::Nobody);
        Ok(())
    }

    /// Something became ready.
    pub(super) fn ready(&self, token: Token, writable: bool) {
        let Self(shared) = self;
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ready.entry(token).or_insert(Event { token, writable }).writable |= writable;
        drop(state);
        shared.changed.notify_all();
    }

    /// The system refuses to poll.
    pub(super) fn break_it(&self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).broken = true;
        self.0.changed.notify_all();
    }
}

/// Ends a poll, also the next one.
#[derive(Debug)]
pub(in super::super) struct Waker(Registry, Token);

impl Waker {
    pub(in super::super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self(registry.clone(), token))
    }

    pub(in super::super) fn wake(&self) -> io::Result<()> {
        self.0.ready(self.1, false);
        Ok(())
    }
}

pub(in super::super) mod net {
    use core::net::SocketAddr;
    use std::io::{self, IoSlice};
    use std::net::Shutdown;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::LazyLock;

    use super::super::world::{Line, World};

    /// A socket that leads into the [`World`].
    #[derive(Debug)]
    pub(in super::super::super) struct TcpStream(pub(super) Line);

    impl TcpStream {
        pub(in super::super::super) fn connect(address: SocketAddr) -> io::Result<Self> {
            World::current().connect(address.port()).map(Self)
        }

        pub(in super::super::super) fn take_error(&self) -> io::Result<Option<io::Error>> {
            Ok(None)
        }

        pub(in super::super::super) fn peer_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([127, 0, 0, 1], 0)))
        }

        pub(in super::super::super) fn shutdown(&self, _: Shutdown) -> io::Result<()> {
            Ok(())
        }
    }

    impl io::Read for TcpStream {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl io::Write for TcpStream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.0.write(slices)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsFd for TcpStream {
        /// Something that takes no option of a socket, which is no error to anybody.
        fn as_fd(&self) -> BorrowedFd<'_> {
            static INPUT: LazyLock<io::Stdin> = LazyLock::new(io::stdin);
            INPUT.as_fd()
        }
    }
}
