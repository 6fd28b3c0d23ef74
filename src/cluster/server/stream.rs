//! One connection: bytes on their way, with TLS if wanted.

use alloc::borrow::Cow;
#[cfg(feature = "tls")]
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::ServerSettings;
use crate::cluster::Peer;
use crate::time::Instant;

pub(super) struct Stream {
    pub(super) socket: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<rustls::ServerConnection>>,
    pub(super) peer: Peer,
    /// Bytes on their way to the cluster, with the time of their arrival.
    pub(super) incoming: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes on their way to the client.
    pub(super) outgoing: VecDeque<(Instant, Vec<u8>)>,
    written: usize,
    /// The socket takes no more for now.
    blocked: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The client will say no more. What it said is still on its way.
    Ended,
    /// Nothing can be read or written any more.
    Broken,
}

impl Stream {
    #[cfg_attr(not(feature = "tls"), allow(clippy::unnecessary_wraps, reason = "TLS can fail"))]
    pub(super) fn new(socket: TcpStream, peer: Peer, settings: &ServerSettings) -> io::Result<Self> {
        #[cfg(not(feature = "tls"))]
        let _ = settings;
        Ok(Self {
            socket,
            #[cfg(feature = "tls")]
            tls: match &settings.tls {
                None => None,
                Some(config) => {
                    let tls = rustls::ServerConnection::new(alloc::sync::Arc::clone(config));
                    Some(Box::new(tls.map_err(io::Error::other)?))
                }
            },
            peer,
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            written: 0,
            blocked: false,
            state: State::Open,
        })
    }

    /// When bytes arrive, here or there.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        // What the socket does not take waits for the socket, not for time.
        let outgoing = self.outgoing.front().filter(|_| !self.blocked);
        [self.incoming.front(), outgoing].into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Whether there is nothing left to do for it.
    pub(super) fn is_over(&self) -> bool {
        match self.state {
            State::Open => false,
            State::Ended => self.incoming.is_empty(),
            State::Broken => true,
        }
    }

    /// What the client said; `None` if that is all for now.
    pub(super) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Option<Cow<'a, [u8]>> {
        if self.state != State::Open {
            return None;
        }
        loop {
            match self.socket.read(buffer) {
                Ok(0) => {
                    self.state = State::Ended;
                    return None;
                }
                Ok(n) => {
                    let plain = self.decrypt(&buffer[..n]);
                    if plain.is_err() {
                        self.state = State::Broken;
                    }
                    return plain.ok();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.state = State::Broken;
                    return None;
                }
            }
        }
    }

    /// Writes what is due.
    pub(super) fn write(&mut self, now: Instant) {
        self.blocked = false;
        match self.try_write(now) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
            Err(_) => self.state = State::Broken,
        }
    }

    /// The end of TLS, before the end of the connection: without it a client has to take that for an attack.
    #[cfg(feature = "tls")]
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            while tls.wants_write() && tls.write_tls(&mut self.socket).is_ok() {}
        }
    }

    /// What the client said, out of what came over the socket.
    #[cfg_attr(
        not(feature = "tls"),
        allow(clippy::unnecessary_wraps, clippy::needless_pass_by_ref_mut, reason = "TLS")
    )]
    fn decrypt<'a>(&mut self, bytes: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            let (mut bytes, mut plain) = (bytes, Vec::new());
            while !bytes.is_empty() && self.state == State::Open {
                tls.read_tls(&mut bytes)?;
                let state = match tls.process_new_packets() {
                    Ok(state) => state,
                    Err(error) => {
                        let _ = tls.write_tls(&mut self.socket); // why, as an alert
                        return Err(io::Error::other(error));
                    }
                };
                let at = plain.len();
                plain.resize(at + state.plaintext_bytes_to_read(), 0);
                tls.reader().read_exact(&mut plain[at..])?;
                if state.peer_has_closed() {
                    self.state = State::Ended; // nothing that comes after it is taken
                }
            }
            return Ok(Cow::Owned(plain));
        }
        Ok(Cow::Borrowed(bytes))
    }

    fn try_write(&mut self, now: Instant) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            loop {
                while tls.wants_write() {
                    tls.write_tls(&mut self.socket)?;
                }
                let Some((_, bytes)) = self.outgoing.front().filter(|(at, _)| *at <= now) else { return Ok(()) };
                self.written += tls.writer().write(&bytes[self.written..])?;
                if self.written == bytes.len() {
                    self.outgoing.pop_front();
                    self.written = 0;
                }
            }
        }
        while let Some((_, bytes)) = self.outgoing.front().filter(|(at, _)| *at <= now) {
            match self.socket.write(&bytes[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    if self.written == bytes.len() {
                        self.outgoing.pop_front();
                        self.written = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
