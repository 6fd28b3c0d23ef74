#!/usr/bin/env bash
# embassy-net 0.9.1 (smoltcp 0.13.1): a TcpSocket that is dropped while it is connected tells its peer nothing: neither FIN nor RST leaves, so a
# server keeps the connection until its own timeouts (Kafka: connections.max.idle.ms, ten minutes). So it is with the TcpConnection of its
# TcpClient, which has no close at all: drop is the only way to end one.
#
# What helps: close() or abort(), then flush() until the stack has sent it, before the socket goes.
#
# Seen: "dropped: 0 with FIN, 0 with RST", "closed: 1 with FIN, 0 with RST", "aborted: 0 with FIN, 1 with RST". Fails if that changes.
set -euo pipefail
command -v cargo >/dev/null || { echo "cargo is missing" >&2; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
mkdir src
cat > Cargo.toml <<'T'
[package]
name = "drop"
version = "0.0.0"
edition = "2024"
[dependencies]
embassy-net = { version = "=0.9.1", features = ["std", "tcp", "proto-ipv4", "medium-ip"] }
embassy-time = { version = "=0.5.1", features = ["std", "generic-queue-16"] }
smoltcp = { version = "=0.13.1", default-features = false }
embedded-io-async = "=0.7.0"
futures-executor = "=0.3.31"
futures-util = "=0.3.31"
[workspace]
T
cat > src/main.rs <<'R'
use std::{cell::RefCell, collections::VecDeque, rc::Rc, task::{Context, Waker}};

use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4, tcp::TcpSocket};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::Write;
use futures_util::task::LocalSpawnExt;

/// Two lanes of packets, whoever waits for one, and of all packets so far those with FIN and RST.
#[derive(Default)]
struct Wire { lanes: [(VecDeque<Vec<u8>>, Option<Waker>); 2], fin: usize, rst: usize }

struct End(Rc<RefCell<Wire>>, usize);
struct Received(Vec<u8>);
struct Sending(Rc<RefCell<Wire>>, usize);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R { f(&mut self.0) }
}
impl TxToken for Sending {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        let mut wire = self.0.borrow_mut();
        let flags = packet[usize::from(packet[0] & 15) * 4 + 13];
        if self.1 == 0 { // those of the side that drops
            wire.fin += usize::from(flags & 1 != 0);
            wire.rst += usize::from(flags & 4 != 0);
        }
        wire.lanes[self.1].0.push_back(packet);
        let waker = wire.lanes[self.1].1.take();
        drop(wire);
        waker.into_iter().for_each(Waker::wake);
        result
    }
}
impl Driver for End {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending;
    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Received, Sending)> {
        let mut wire = self.0.borrow_mut();
        let lane = &mut wire.lanes[1 - self.1];
        lane.1 = Some(context.waker().clone());
        Some((Received(lane.0.pop_front()?), Sending(self.0.clone(), self.1)))
    }
    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Sending> { Some(Sending(self.0.clone(), self.1)) }
    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState { LinkState::Up }
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
    fn hardware_address(&self) -> HardwareAddress { HardwareAddress::Ip }
}

fn buffer() -> &'static mut [u8] { vec![0; 1024].leak() }

fn main() {
    let mut pool = futures_executor::LocalPool::new();
    let (spawner, wire) = (pool.spawner(), Rc::new(RefCell::new(Wire::default())));
    let stacks: [Stack<'static>; 2] = [0, 1].map(|end| {
        let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, end as u8 + 1), 24);
        let config = Config::ipv4_static(StaticConfigV4 { address, gateway: None, dns_servers: Default::default() });
        let resources = Box::leak(Box::new(StackResources::<8>::new()));
        let (stack, mut runner) = embassy_net::new(End(wire.clone(), end), config, resources, 7);
        spawner.spawn_local(async move { runner.run().await }).unwrap();
        stack
    });
    let task = async move {
        for how in ["dropped", "closed", "aborted"] {
            let mut server = TcpSocket::new(stacks[1], buffer(), buffer());
            let mut client = TcpSocket::new(stacks[0], buffer(), buffer());
            let port = 9000 + how.len() as u16;
            let (accepted, connected) = futures_util::join!(server.accept(port), client.connect((Ipv4Address::new(10, 0, 0, 2), port)));
            (accepted.unwrap(), connected.unwrap());
            client.write_all(b"hello").await.unwrap();
            client.flush().await.unwrap();
            let before = (wire.borrow().fin, wire.borrow().rst);
            match how {
                "closed" => client.close(),
                "aborted" => client.abort(),
                _ => {}
            }
            if how != "dropped" { let _ = with_timeout(Duration::from_millis(200), client.flush()).await; }
            drop(client);
            Timer::after_millis(1000).await;
            let wire = wire.borrow();
            println!("{how}: {} with FIN, {} with RST", wire.fin - before.0, wire.rst - before.1);
        }
    };
    pool.run_until(task);
}
R
cargo run --quiet --release > seen
cat seen
diff seen - <<'S'
dropped: 0 with FIN, 0 with RST
closed: 1 with FIN, 0 with RST
aborted: 0 with FIN, 1 with RST
S
