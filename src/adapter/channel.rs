//! One connection of an adapter: a socket that does not block, with TLS on it or not, between the network and the machine.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::io::{self, ErrorKind, IoSlice};

use bytes::Bytes;

use super::engine::Engine;
use crate::event::{Cause, ConnId, Input};

/// Segments that are written by one call, at most.
const SEGMENTS: usize = 64;

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
}

/// How far reading or writing got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// There is nothing more to do now.
    Done,
    /// Less came than was asked for: there is nothing more to read now.
    Drained,
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
#[derive(Debug)]
pub(super) struct Buffers {
    input: Vec<u8>,
    segments: Vec<Bytes>,
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
        let flow = if n < buffers.input.len() { Flow::Drained } else { Flow::Done };
        let bytes = &buffers.input[..n];
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let (conn, socket) = (self.conn, &mut self.socket);
            let read = tls.received(bytes, |plain| engine.input(Input::Data(conn, plain)));
            if let Err(words) = read {
                let _ = tls.flush(&mut Sink(socket)); // the other side learns why, if it listens
                return Err(Broken::Tls(words));
            }
            self.announce(engine);
            return Ok(flow);
        }
        engine.input(Input::Data(self.conn, bytes));
        Ok(flow)
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
        flow
    }

    fn try_write(&mut self, engine: &Engine, segments: &mut Vec<Bytes>) -> Result<Flow, Broken> {
        let mut written = 0;
        loop {
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut self.tls {
                if !tls.flush(&mut Sink(&mut self.socket))? {
                    return Ok(Flow::Blocked);
                }
            }
            if !self.announced {
                return Ok(Flow::Done);
            }
            segments.clear();
            let conn = self.conn;
            engine.with_producer(|producer, now| {
                if written > 0 {
                    producer.written(now, conn, written);
                }
                segments.extend(producer.transmit(now, conn).segments().take(SEGMENTS).cloned());
            });
            written = 0;
            if segments.is_empty() {
                return Ok(Flow::Done);
            }
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut self.tls {
                for segment in segments.iter() {
                    let taken = tls.send(segment)?;
                    written += taken;
                    if taken < segment.len() {
                        break;
                    }
                }
                continue;
            }
            let mut slices = [IoSlice::new(&[]); SEGMENTS];
            for (slice, segment) in slices.iter_mut().zip(segments.iter()) {
                *slice = IoSlice::new(segment);
            }
            match self.socket.write(&slices[..segments.len()]) {
                Ok(n) => written = n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flow::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A socket as TLS wants to write to it.
#[cfg(feature = "tls")]
struct Sink<'a, S>(&'a mut S);

#[cfg(feature = "tls")]
impl<S: Socket> io::Write for Sink<'_, S> {
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
