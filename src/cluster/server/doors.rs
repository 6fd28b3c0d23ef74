//! The sockets that nodes listen on, opened and closed as nodes come and go.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::time::Instant;

/// When something is tried again that failed for want of means.
const PAUSE: Duration = Duration::from_millis(50);

/// All nodes' doors. Their tokens are their places.
#[derive(Debug)]
pub(super) struct Doors {
    registry: Registry,
    doors: Vec<Door>,
}

#[derive(Debug)]
struct Door {
    node: i32,
    address: SocketAddr,
    /// `None` while the node is down.
    listener: Option<TcpListener>,
    /// What failed is tried again then: to listen, or to accept.
    again: Option<Instant>,
}

impl Doors {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, doors: Vec::new() }
    }

    /// Opens the door of another node. The address with its port.
    pub(super) fn add(&mut self, node: i32, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = self.listen(self.doors.len(), address)?;
        let address = listener.local_addr()?;
        self.doors.push(Door { node, address, listener: Some(listener), again: None });
        Ok(address)
    }

    pub(super) fn len(&self) -> usize {
        self.doors.len()
    }

    /// Opens and closes doors. Whoever can't be opened is tried again; the first such error.
    pub(super) fn open_and_close(&mut self, now: Instant, is_down: impl Fn(i32) -> bool) -> io::Result<()> {
        let mut result = Ok(());
        for place in 0..self.doors.len() {
            let door = &mut self.doors[place];
            if is_down(door.node) {
                door.again = None;
                if let Some(mut listener) = door.listener.take() {
                    let _ = self.registry.deregister(&mut listener);
                }
            } else if door.listener.is_none() {
                let opened = self.listen(place, self.doors[place].address);
                let door = &mut self.doors[place];
                door.again = opened.is_err().then(|| now + PAUSE);
                match opened {
                    Ok(listener) => door.listener = Some(listener),
                    Err(error) => result = result.and(Err(error)),
                }
            }
        }
        result
    }

    /// The next connection to a door, with its node; `None` if there is none for now.
    pub(super) fn accept(&mut self, now: Instant, place: usize) -> Option<(i32, TcpStream)> {
        let door = self.doors.get_mut(place)?;
        loop {
            match door.listener.as_ref()?.accept() {
                Ok((socket, _)) => return Some((door.node, socket)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // About this connection alone.
                Err(error) if is_of_the_connection(&error) => {}
                // No file descriptors or no memory. There will be no other event for those who wait.
                Err(error) => {
                    ::log::warn!("node {} of the cluster in memory can't accept, and tries again: {error}", door.node);
                    door.again = Some(now + PAUSE);
                    return None;
                }
            }
        }
    }

    /// When something is tried again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.doors.iter().filter_map(|door| door.again).min()
    }

    /// Those where it is time to accept again.
    pub(super) fn due(&mut self, now: Instant) -> Vec<usize> {
        let due = self.doors.iter_mut().enumerate().filter(|(_, door)| door.again.is_some_and(|again| again <= now));
        due.map(|(place, door)| {
            door.again = None;
            place
        })
        .collect()
    }

    fn listen(&self, place: usize, address: SocketAddr) -> io::Result<TcpListener> {
        let mut listener = TcpListener::bind(address)?;
        self.registry.register(&mut listener, Token(place), Interest::READABLE)?;
        Ok(listener)
    }
}

/// Whether an error of accept(2) says nothing about the next call.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_gone_already_is_no_reason_to_pause() {
        assert!(is_of_the_connection(&ErrorKind::ConnectionAborted.into()));
        assert!(is_of_the_connection(&ErrorKind::Interrupted.into()));
        #[cfg(target_os = "linux")]
        assert!(!is_of_the_connection(&io::Error::from_raw_os_error(24)), "EMFILE: too many open files");
        assert!(!is_of_the_connection(&ErrorKind::OutOfMemory.into()));
    }
}
