//! The thread that serves all connections.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::sync::Mutex;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::stream::Stream;
use super::{Clock, ServerSettings, Shared, lock};

/// Somebody has changed the cluster.
pub(super) const WAKE: Token = Token(usize::MAX);

pub(super) struct Served {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    poll: Poll,
    streams: BTreeMap<usize, Stream>,
    /// The next stream's token; doors have the first ones.
    next: usize,
    doors: usize,
    clock: Clock,
    settings: ServerSettings,
    buffer: Box<[u8; 65_536]>,
}

impl Served {
    pub(super) fn new(
        shared: Arc<Mutex<Shared>>,
        stop: Arc<AtomicBool>,
        poll: Poll,
        clock: Clock,
        settings: ServerSettings,
    ) -> Self {
        let doors = lock(&shared).doors.len();
        let (streams, buffer) = (BTreeMap::new(), Box::new([0; 65_536]));
        Self { shared, stop, poll, streams, next: doors, doors, clock, settings, buffer }
    }

    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        while !self.stop.load(Ordering::Relaxed) {
            let timeout = self.wait();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    Token(door) if door < self.doors => self.accept(door),
                    Token(stream) if event.is_readable() || event.is_read_closed() => self.read(stream),
                    Token(_) => {}
                }
            }
            self.try_doors_again();
            self.deliver();
        }
        #[cfg(feature = "tls")]
        self.streams.values_mut().for_each(Stream::say_goodbye);
        Ok(())
    }

    fn wait(&self) -> Option<Duration> {
        let now = self.clock.now();
        let shared = lock(&self.shared);
        let due = self.streams.values().filter_map(Stream::next_deadline);
        let next = due.chain(shared.cluster.next_deadline()).chain(shared.doors.next_deadline()).min()?;
        Some(next.saturating_since(now))
    }

    fn accept(&mut self, door: usize) {
        loop {
            let mut shared = lock(&self.shared);
            let Some((node, socket)) = shared.doors.accept(self.clock.now(), door) else {
                return;
            };
            let Some(peer) = shared.cluster.connect(node) else {
                continue;
            };
            drop(shared);
            match self.stream(socket, peer) {
                Ok(stream) => {
                    self.streams.insert(self.next, stream);
                    self.next += 1;
                }
                Err(error) => {
                    ::log::warn!("the cluster in memory drops a connection that it can't serve: {error}");
                    lock(&self.shared).cluster.disconnect(peer);
                }
            }
        }
    }

    fn stream(&self, mut socket: TcpStream, peer: crate::cluster::Peer) -> io::Result<Stream> {
        let _ = socket.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(self.next), interest)?;
        Stream::new(socket, peer, &self.settings)
    }

    fn try_doors_again(&mut self) {
        let now = self.clock.now();
        let mut shared = lock(&self.shared);
        let due = shared.doors.due(now);
        if due.is_empty() {
            return;
        }
        let _ = shared.open_and_close(now); // said when it failed first
        drop(shared);
        for door in due {
            self.accept(door);
        }
    }

    fn read(&mut self, token: usize) {
        let Some(stream) = self.streams.get_mut(&token) else {
            return;
        };
        let delay = self.settings.delay;
        while let Some(bytes) = stream.read(&mut self.buffer[..]) {
            let arrival = self.clock.now() + delay;
            if delay.is_zero() {
                lock(&self.shared).cluster.receive(arrival, stream.peer, &bytes);
            } else {
                stream.incoming.push_back((arrival, bytes.into_owned()));
            }
        }
    }

    /// Moves bytes whose time has come.
    fn deliver(&mut self) {
        let now = self.clock.now();
        let mut shared = lock(&self.shared);
        let cluster = &mut shared.cluster;
        cluster.advance(now);
        for stream in self.streams.values_mut() {
            while stream.incoming.front().is_some_and(|(at, _)| *at <= now) {
                if let Some((_, bytes)) = stream.incoming.pop_front() {
                    cluster.receive(now, stream.peer, &bytes);
                }
            }
        }
        // What one said may be what another waits for, so answers are looked at last.
        let mut over = Vec::new();
        for (token, stream) in &mut self.streams {
            let output = cluster.take_output(stream.peer);
            if !output.is_empty() {
                stream.outgoing.push_back((now + self.settings.delay, output));
            }
            stream.write(now);
            let closed = cluster.is_closed(stream.peer) && stream.outgoing.is_empty();
            if closed || stream.is_over() {
                cluster.disconnect(stream.peer);
                over.push(*token);
            }
        }
        drop(shared);
        for token in over {
            if let Some(mut stream) = self.streams.remove(&token) {
                let _ = self.poll.registry().deregister(&mut stream.socket);
            }
        }
    }
}
