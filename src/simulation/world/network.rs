//! The network: connections, bytes on their way, and what breaks them.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Buf;

use super::{Who, World};
use crate::cluster::Peer;
use crate::{Cause, ConnId, Input, Instant};

/// One connection's two directions.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) node: i32,
    pub(super) peer: Option<Peer>,
    /// When it is up; until then nothing may be sent.
    pub(super) up_at: Instant,
    pub(super) announced: bool,
    pub(super) refused: bool,
    pub(super) to_broker: VecDeque<(Instant, Vec<u8>)>,
    pub(super) to_client: VecDeque<(Instant, Vec<u8>)>,
    pub(super) blackhole: bool,
    /// The client's end is closed; the broker's may not be.
    pub(super) client_gone: bool,
    /// The host wants to write and the socket was blocked until then.
    pub(super) blocked_until: Option<Instant>,
}

impl World {
    /// Bytes arrive.
    pub(super) fn deliver(&mut self) -> Result<(), String> {
        let now = self.now;
        let conns: Vec<ConnId> = self.wires.keys().copied().collect();
        for conn in conns {
            let Some(wire) = self.wires.get_mut(&conn) else {
                continue;
            };
            while wire.to_broker.front().is_some_and(|(at, _)| *at <= now) {
                let (_, bytes) = wire.to_broker.pop_front().expect("it is there");
                if let (Some(peer), false) = (wire.peer, wire.blackhole) {
                    self.cluster.receive(now, peer, &bytes);
                }
            }
            if let Some(peer) = wire.peer {
                let bytes = self.cluster.take_output(peer);
                let closed = self.cluster.is_closed(peer);
                if !bytes.is_empty() && !wire.blackhole && !wire.client_gone {
                    let delay = Duration::from_millis(self.dice.range(0, self.plan.faults.delay));
                    let last = wire.to_client.back().map_or(now, |(at, _)| *at);
                    wire.to_client.push_back(((now + delay).max(last), bytes));
                }
                if closed && wire.to_client.is_empty() && !wire.blackhole {
                    wire.peer = None;
                    if !wire.client_gone {
                        self.input(conn, Input::Disconnected(conn, Cause::Closed));
                        self.wires.remove(&conn);
                        continue;
                    }
                }
            }
            let Some(wire) = self.wires.get_mut(&conn) else {
                continue;
            };
            if wire.client_gone && wire.to_broker.is_empty() {
                if let Some(peer) = wire.peer.take() {
                    self.cluster.disconnect(peer);
                }
                self.wires.remove(&conn);
            }
        }
        Ok(())
    }

    /// The host hands in what the network has for it. Reads may be cut anywhere.
    pub(super) fn read(&mut self) {
        let now = self.now;
        let conns: Vec<ConnId> = self.wires.keys().copied().collect();
        for conn in conns {
            let Some(wire) = self.wires.get_mut(&conn) else {
                continue;
            };
            if wire.client_gone {
                continue;
            }
            if !wire.announced && wire.up_at <= now {
                wire.announced = true;
                if wire.refused {
                    self.input(conn, Input::Disconnected(conn, Cause::Connect("refused")));
                    self.wires.remove(&conn);
                    continue;
                }
                self.input(conn, Input::Connected(conn));
            }
            while let Some(wire) = self.wires.get_mut(&conn) {
                if wire.to_client.front().is_none_or(|(at, _)| *at > now) {
                    break;
                }
                let (_, bytes) = wire.to_client.pop_front().expect("it is there");
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let most = rest.len() as u64;
                    let cut = if self.plan.faults.cut_reads { self.dice.range(1, most.min(50)) } else { most };
                    let (read, later) = rest.split_at(cut as usize);
                    self.input(conn, Input::Data(conn, read));
                    rest = later;
                }
            }
        }
    }

    pub(super) fn input(&mut self, conn: ConnId, input: Input<'_>) {
        self.look();
        match input {
            Input::Data(_, bytes) => {
                self.wiretap.heard(conn, bytes);
                self.note(Who::Network, || format!("{} bytes arrive on {conn}", bytes.len()));
                self.tell_what_was_overheard();
            }
            Input::Disconnected(..) => {
                self.wiretap.gone(conn);
                self.note(Who::Network, || format!("{conn} is gone: {input:?}"));
            }
            Input::Connected(conn) => self.note(Who::Network, || format!("{conn} is up")),
            _ => self.note(Who::Network, || format!("{input:?}")),
        }
        self.hand_in(input);
    }

    pub(super) fn connect(&mut self, conn: ConnId, host: &str, port: u16) -> Result<(), String> {
        self.note(Who::Producer, || format!("connects {conn} to {host}:{port}"));
        let now = self.now;
        self.connects.push_back(now);
        while self.connects.front().is_some_and(|at| *at + Duration::from_secs(1) < now) {
            self.connects.pop_front();
        }
        let bound = 110 * (self.plan.cluster.nodes as usize + 1);
        if self.connects.len() > bound {
            return Err(format!("STORM: {} connection attempts in a second", self.connects.len()));
        }
        let node = self.cluster.node_at(host, port).unwrap_or(1);
        let calm = self.calm.is_some();
        let refused = !calm && self.dice.once_in(self.plan.faults.refuse_connect);
        let peer = if refused { None } else { self.cluster.connect(node) };
        let delay = Duration::from_millis(self.dice.range(0, self.plan.faults.delay));
        let wire = Wire {
            node,
            refused: peer.is_none(),
            peer,
            up_at: now + delay,
            announced: false,
            to_broker: VecDeque::new(),
            to_client: VecDeque::new(),
            blackhole: !calm && self.dice.once_in(self.plan.faults.blackhole / 20),
            client_gone: false,
            blocked_until: None,
        };
        self.wires.insert(conn, wire);
        self.wiretap.connected(conn, node);
        if let Some(observer) = &mut self.observer {
            observer.connected(conn);
        }
        Ok(())
    }

    /// Writes until it is empty or the socket blocks.
    pub(super) fn write(&mut self, conn: ConnId) -> Result<(), String> {
        let now = self.now;
        loop {
            self.look_at_what_leaves(conn);
            let Some(wire) = self.wires.get_mut(&conn) else { return Ok(()) };
            let mut transmit = self.producer.transmit(now, conn);
            let length = transmit.remaining();
            if length == 0 {
                wire.blocked_until = None;
                return Ok(());
            }
            let takes = if self.plan.faults.short_writes { self.dice.range(1, length as u64) as usize } else { length };
            let mut bytes = Vec::with_capacity(takes);
            let mut shared = false;
            while bytes.len() < takes {
                let chunk = transmit.chunk();
                shared |= chunk.len() >= 5000 && self.handed_over.iter().any(|value| value.as_ptr() == chunk.as_ptr());
                let n = chunk.len().min(takes - bytes.len());
                bytes.extend_from_slice(&chunk[..n]);
                transmit.advance(n);
            }
            if let Some(observer) = &mut self.observer {
                observer.left(conn, takes);
            }
            let delay = Duration::from_millis(self.dice.range(0, self.plan.faults.delay));
            let last = wire.to_broker.back().map_or(now, |(at, _)| *at);
            self.wiretap.said(now, conn, &bytes, &self.cluster)?;
            wire.to_broker.push_back(((now + delay).max(last), bytes));
            let blocks = takes < length && self.dice.once_in(2);
            if blocks {
                wire.blocked_until = Some(now + Duration::from_millis(self.dice.range(1, 30)));
            }
            self.note(Who::Network, || format!("{takes} of {length} bytes leave on {conn}"));
            self.tell_what_was_overheard();
            if shared {
                self.sometimes("a value was written as it was handed over");
            }
            if blocks {
                return Ok(());
            }
        }
    }
}
