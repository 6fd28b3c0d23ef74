//! One connection of an adapter: a socket that does not block, with TLS on it or not, between the network and the machine.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice};

use bytes::Bytes;
use smallvec::SmallVec;

use super::engine::Engine;
use crate::event::{Cause, Input};
use crate::ids::ConnId;
use crate::planted::planted;
use crate::time::Instant;

/// What is written by one call, at most: segments (systems take 1024), and bytes, but for the last segment.
const SEGMENTS: usize = 256;
const BYTES: usize = 256 << 10;

/// Bytes that are read by one call, at most.
const READ: usize = 64 << 10;

/// A stream that says `WouldBlock` rather than wait.
#[cfg_attr(not(any(feature = "tokio", feature = "smol")), allow(unreachable_pub, reason = "public by milena::task"))]
pub trait Socket {
    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; others if the stream is broken.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as is taken.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is taken; others if the stream is broken.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends the writing side: the other side reads what was written, and then the end. Reading goes on.
    ///
    /// # Errors
    /// If the stream is broken.
    fn end_writing(&mut self) -> io::Result<()>;
}

/// How far reading or writing got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Reading: something came, and more may be there. Writing: there is nothing more to write now.
    Done,
    /// The socket blocks: go on when it is ready again.
    Blocked,
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Broken {
    Closed,
    Io(String),
    #[cfg(feature = "tls")]
    Tls(String),
}

impl Broken {
    /// The same for the machine.
    pub(super) fn cause(&self) -> Cause<'_> {
        match self {
            Self::Closed => Cause::Closed,
            Self::Io(words) => Cause::Io(words),
            #[cfg(feature = "tls")]
            Self::Tls(words) => Cause::Tls(words),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Memory for reading and writing, one for all channels of a driver.
pub(super) struct Buffers {
    input: Vec<u8>,
    segments: Vec<Bytes>,
}

impl core::fmt::Debug for Buffers {
    /// Without what is in them.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { input: std::vec![0; READ], segments: Vec::new() }
    }
}

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Channel<S> {
    socket: S,
    conn: ConnId,
    /// The machine knows that it stands: with TLS, only after the handshake.
    announced: bool,
    /// Bytes of the machine that have left, and of which it was not told yet.
    left: usize,
    #[cfg(feature = "tls")]
    tls: Option<alloc::boxed::Box<super::tls::Session>>,
}

impl<S: Socket> Channel<S> {
    /// Takes a socket that has just been connected to `host`.
    pub(super) fn new(engine: &Engine, conn: ConnId, socket: S, host: &str) -> Result<Self, Broken> {
        #[cfg(feature = "tls")]
        let tls = match engine.tls() {
            None => None,
            Some(config) => {
                let session = super::tls::Session::new(config, host).map_err(Broken::Tls)?;
                Some(alloc::boxed::Box::new(session))
            }
        };
        let mut channel = Self {
            socket,
            conn,
            announced: false,
            left: 0,
            #[cfg(feature = "tls")]
            tls,
        };
        let _ = host;
        channel.announce(engine);
        Ok(channel)
    }

    pub(super) fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    fn announce(&mut self, engine: &Engine) {
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            return;
        }
        if !core::mem::replace(&mut self.announced, true) {
            engine.input(Input::Connected(self.conn));
        }
    }

    /// Whether TLS has something to say by itself, such as the next step of its handshake.
    pub(super) fn wants_write(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.wants_write();
        }
        false
    }

    /// Reads once, and tells the machine.
    pub(super) fn read(&mut self, engine: &Engine, buffers: &mut Buffers) -> Result<Flow, Broken> {
        let n = match self.socket.read(&mut buffers.input) {
            Ok(0) => return Err(self.closed()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flow::Blocked),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Flow::Done),
            Err(error) => return Err(error.into()),
        };
        let bytes = &buffers.input[..n];
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let conn = self.conn;
            let read = tls.received(bytes, |plain| engine.input(Input::Data(conn, plain)));
            match read {
                Ok(super::tls::Peer::Speaks) => self.announce(engine),
                Ok(super::tls::Peer::Done) => return Err(self.closed()),
                Err(words) => {
                    // The other side learns why, if it listens.
                    let _ = tls.flush(|slices| self.socket.write(slices), &mut 0);
                    return Err(Broken::Tls(words));
                }
            }
            return Ok(Flow::Done);
        }
        engine.input(Input::Data(self.conn, bytes));
        Ok(Flow::Done)
    }

    fn closed(&self) -> Broken {
        #[cfg(feature = "tls")]
        if !self.announced && self.tls.is_some() {
            return Broken::Tls("closed by the other side during the handshake; does the port speak TLS?".to_string());
        }
        Broken::Closed
    }

    /// Writes until there is nothing or the socket blocks. The machine's lock is not held while writing.
    pub(super) fn write(&mut self, engine: &Engine, buffers: &mut Buffers) -> Result<Flow, Broken> {
        let flow = self.try_write(engine, &mut buffers.segments);
        buffers.segments.clear(); // the machine takes the memory back once these clones are gone
        // Whatever stops the writing, what has left has left.
        if planted("left-is-forgotten") {
            self.left = 0;
        }
        if self.left > 0 {
            engine.with_producer(|producer, now| producer.written(now, self.conn, core::mem::take(&mut self.left)));
        }
        flow
    }

    fn try_write(&mut self, engine: &Engine, segments: &mut Vec<Bytes>) -> Result<Flow, Broken> {
        loop {
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut self.tls {
                if !tls.flush(|slices| self.socket.write(slices), &mut self.left)? {
                    return Ok(Flow::Blocked);
                }
            }
            if !self.announced {
                return Ok(Flow::Done);
            }
            segments.clear();
            let (conn, left) = (self.conn, core::mem::take(&mut self.left));
            engine.with_producer(|producer, now| {
                if left > 0 {
                    producer.written(now, conn, left);
                }
                let mut bytes = 0;
                for segment in producer.transmit(now, conn).segments().take(SEGMENTS) {
                    bytes += segment.len();
                    segments.push(segment.clone());
                    if bytes >= BYTES {
                        break;
                    }
                }
            });
            if segments.is_empty() {
                return Ok(Flow::Done);
            }
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut self.tls {
                // All that TLS took before has left, so what the machine shows is new to it.
                tls.send(segments.iter().map(|segment| &segment[..]))?;
                continue;
            }
            let slices: SmallVec<[IoSlice<'_>; 64]> = segments.iter().map(|segment| IoSlice::new(segment)).collect();
            match self.socket.write(&slices) {
                Ok(0) => return Err(Broken::Io(ErrorKind::WriteZero.to_string())),
                Ok(n) => self.left = n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flow::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The machine has done with the connection. What it trusts to be on its way must not be taken along: a socket that is
    /// closed while something in it is unread makes the system throw away what it has not sent yet. So, if that matters, only
    /// the writing side ends, and the rest is read until the other side has ended too.
    pub(super) fn finish(mut self, engine: &Engine) -> Result<Farewell<S>, S> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye();
            let _ = tls.flush(|slices| self.socket.write(slices), &mut 0);
        }
        if !engine.trusts_the_wire() || !self.announced || self.socket.end_writing().is_err() {
            return Err(self.socket);
        }
        let now = engine.clock().now();
        Ok(Farewell { socket: self.socket, ends: now + LONGEST_FAREWELL, silent_until: now + SILENCE })
    }
}

/// How long the other side may say nothing before a connection that the machine has done with is closed all the same.
const SILENCE: Duration = Duration::from_secs(1);

/// And how long altogether.
const LONGEST_FAREWELL: Duration = Duration::from_secs(10);

/// A connection that the machine has done with, until the other side has read everything.
#[derive(Debug)]
pub(super) struct Farewell<S> {
    socket: S,
    ends: Instant,
    silent_until: Instant,
}

impl<S: Socket> Farewell<S> {
    pub(super) fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// When it is closed at the latest.
    pub(super) fn until(&self) -> Instant {
        self.ends.min(self.silent_until)
    }

    /// Reads once, and throws away what came. `None` if it is over.
    pub(super) fn read(&mut self, now: Instant, buffers: &mut Buffers) -> Option<Flow> {
        match self.socket.read(&mut buffers.input) {
            Ok(0) => None,
            Ok(_) => {
                self.silent_until = now + SILENCE;
                Some(Flow::Done)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(Flow::Blocked),
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(Flow::Done),
            Err(_) => None,
        }
        .filter(|_| self.until() > now)
    }
}
