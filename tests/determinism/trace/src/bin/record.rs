//! Records a session with the cluster in memory: sends, answers in pieces, a broker that restarts, leaders that move, errors,
//! connections that break. `record FILE` writes the session, and says what the machine said.

use std::collections::BTreeMap;

use milena::Instant;
use milena::cluster::{Cluster, Peer, Request, Settings};
use milena_trace::{Asked, Machine, Step, write};

struct Recorder<'a> {
    machine: Machine<'a>,
    cluster: Cluster,
    peers: BTreeMap<u32, Peer>,
    session: Vec<u8>,
    now: u64,
    wait: Option<Instant>,
}

impl Recorder<'_> {
    fn step(&mut self, step: Step) {
        write(&mut self.session, self.now, &step);
        for asked in self.machine.step(self.now, &step) {
            match asked {
                Asked::Connect(conn, port) => {
                    let node = self.cluster.node_at("node", port);
                    match node.and_then(|node| self.cluster.connect(node)) {
                        Some(peer) => {
                            self.peers.insert(conn, peer);
                            self.step(Step::Connected(conn));
                        }
                        None => self.step(Step::Disconnected(conn)),
                    }
                }
                Asked::Disconnect(conn) => {
                    self.peers.remove(&conn).into_iter().for_each(|peer| self.cluster.disconnect(peer));
                }
                Asked::Write(conn, bytes) => {
                    if let Some(peer) = self.peers.get(&conn) {
                        self.cluster.receive(Instant::from_nanos(self.now), *peer, &bytes);
                    }
                }
                Asked::Wait(until) => self.wait = until,
            }
        }
    }

    /// So many milliseconds go by, one after the other.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1_000_000;
            let now = Instant::from_nanos(self.now);
            self.cluster.advance(now);
            for (conn, peer) in self.peers.clone() {
                let bytes = self.cluster.take_output(peer);
                // In two pieces, cut anywhere.
                let cut = bytes.len() * (self.now / 1_000_000 % 7) as usize / 7;
                for piece in [&bytes[..cut], &bytes[cut..]] {
                    if !piece.is_empty() {
                        self.step(Step::Data(conn, piece.to_vec()));
                    }
                }
                if self.cluster.is_closed(peer) && self.peers.remove(&conn).is_some() {
                    self.step(Step::Disconnected(conn));
                }
            }
            if self.wait.is_some_and(|until| until <= now) {
                self.step(Step::Timeout);
            }
        }
    }

    fn send(&mut self, count: usize) {
        for n in 0..count {
            let value = format!("{n:04}").repeat(1 + n % 50).into_bytes();
            self.step(Step::Send(n as i32 % 4, value));
        }
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: record FILE");
    let mut say = |line: std::fmt::Arguments<'_>| println!("{line}");
    let mut cluster = Cluster::new(Settings::default().nodes(2).seed(3));
    cluster.set_address(1, "node", 9092);
    cluster.set_address(2, "node", 9093);
    cluster.create_topic("t", 4);
    let machine = Machine::new(&mut say);
    let (peers, session) = (BTreeMap::new(), Vec::new());
    let mut it = Recorder { machine, cluster, peers, session, now: 0, wait: Some(Instant::ZERO) };
    it.send(1); // not known yet
    it.run(200);
    it.send(300);
    it.run(100);
    it.cluster.fail_next(Request::Produce, 19, 3);
    it.send(50);
    it.run(1_000);
    it.cluster.crash(1);
    it.send(50);
    it.run(800);
    it.cluster.restart(1, false);
    it.run(2_000);
    it.cluster.move_leader("t", 2, 1, true);
    it.send(50);
    it.run(500);
    it.cluster.forget_producers("t", 0);
    it.run(3_000);
    it.send(20);
    it.step(Step::Flush);
    it.run(500);
    let peers: Vec<u32> = it.peers.keys().copied().collect();
    for conn in peers {
        it.peers.remove(&conn);
        it.step(Step::Disconnected(conn));
    }
    it.send(20);
    it.run(2_000);
    it.step(Step::Close);
    it.run(2_000);
    assert!(it.machine.producer.is_closed(), "a session ends with a close");
    let session = it.session;
    std::fs::write(path, session).expect("the session can be written");
}
