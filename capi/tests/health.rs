//! How a producer is, as C hosts are told: against the cluster in memory, which goes away and comes back.

use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use std::collections::BTreeMap;

use milena::Instant;
use milena::cluster::{Cluster, Peer, Settings};
use milena_capi::milena_result::*;
use milena_capi::milena_server_state::*;
use milena_capi::*;

const OPTIONS: &str = "bootstrap.servers=one:1\nlinger.ms=0\nbuffer.memory=65536\nbatch.size=4096\n";
const MILLIS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLIS;

/// A producer and the cluster that it talks to, at once and without sockets.
struct World {
    handle: milena_handle,
    cluster: Cluster,
    peers: BTreeMap<u32, Peer>,
    now: u64,
}

/// A `milena_server`, without pointers.
#[derive(Debug)]
struct Server {
    it: milena_server,
    host: String,
    text: String,
}

impl World {
    fn new() -> Self {
        let (mut handle, seed) = (0, [7; 32]);
        let options = OPTIONS.as_ptr().cast();
        let made = unsafe { milena_new(options, OPTIONS.len(), 0, 1_000, seed.as_ptr(), &mut handle, null_mut(), 0) };
        assert_eq!(made, MILENA_OK);
        let mut cluster = Cluster::new(Settings::default().nodes(1));
        cluster.set_address(1, "one", 1);
        cluster.create_topic("t", 1);
        Self { handle, cluster, peers: BTreeMap::new(), now: 0 }
    }

    fn health(&self) -> milena_health {
        let mut health = milena_health::default();
        assert_eq!(unsafe { milena_get_health(self.handle, self.now, &mut health) }, MILENA_OK);
        health
    }

    fn is_healthy(&self, max_age: u64) -> milena_result {
        milena_is_healthy(self.handle, self.now, max_age)
    }

    fn servers(&self) -> Vec<Server> {
        let one = |index| {
            let mut server = MaybeUninit::uninit();
            let result = unsafe { milena_get_server(self.handle, self.now, index, server.as_mut_ptr()) };
            if result != MILENA_OK {
                assert_eq!(result, MILENA_INVALID_ARGUMENT);
                return None;
            }
            let it: milena_server = unsafe { server.assume_init() };
            Some(Server { it, host: words(&it.host), text: words(&it.text) })
        };
        (0..).map_while(one).collect()
    }

    fn send(&self) -> milena_result {
        let none = milena_bytes { data: null(), len: 0 };
        let value = milena_bytes { data: "v".as_ptr().cast(), len: 1 };
        let topic = milena_bytes { data: "t".as_ptr().cast(), len: 1 };
        let record =
            milena_record { topic, key: none, value, headers: null(), header_count: 0, timestamp: -1, partition: -1 };
        unsafe { milena_send(self.handle, self.now, &record, null_mut()) }
    }

    /// Goes on for some milliseconds.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.drain();
            self.now += MILLIS;
            self.cluster.advance(Instant::from_nanos(self.now));
            for (conn, peer) in self.peers.clone() {
                let bytes = self.cluster.take_output(peer);
                let result =
                    unsafe { milena_received(self.handle, self.now, conn, bytes.as_ptr().cast(), bytes.len()) };
                assert_eq!(result, MILENA_OK);
                if self.cluster.is_closed(peer) {
                    self.peers.remove(&conn);
                    let cause = milena_cause::MILENA_CAUSE_CLOSED as u32;
                    let result = unsafe { milena_disconnected(self.handle, self.now, conn, cause, null(), 0) };
                    assert_eq!(result, MILENA_OK);
                }
            }
            assert_eq!(milena_timeout(self.handle, self.now), MILENA_OK);
        }
    }

    fn drain(&mut self) {
        loop {
            let mut output = MaybeUninit::uninit();
            assert_eq!(unsafe { milena_poll(self.handle, output.as_mut_ptr()) }, MILENA_OK);
            let it: milena_output = unsafe { output.assume_init() };
            match it.kind {
                0 => return,
                1 => match self.cluster.connect(1) {
                    Some(peer) => {
                        self.peers.insert(it.conn, peer);
                        assert_eq!(milena_connected(self.handle, self.now, it.conn), MILENA_OK);
                    }
                    None => {
                        let (cause, why) = (milena_cause::MILENA_CAUSE_CONNECT as u32, "refused");
                        let (why, len) = (why.as_ptr().cast(), why.len());
                        let result = unsafe { milena_disconnected(self.handle, self.now, it.conn, cause, why, len) };
                        assert_eq!(result, MILENA_OK);
                    }
                },
                2 => drop(self.peers.remove(&it.conn)),
                3 => self.transmit(it.conn),
                _ => {}
            }
        }
    }

    fn transmit(&mut self, conn: u32) {
        loop {
            let (mut pieces, mut count) = ([milena_bytes { data: null(), len: 0 }; 4], 0);
            let result = unsafe { milena_transmit(self.handle, self.now, conn, pieces.as_mut_ptr(), 4, &mut count) };
            assert_eq!(result, MILENA_OK);
            if count == 0 {
                return;
            }
            let of = |piece: &milena_bytes| unsafe { std::slice::from_raw_parts(piece.data.cast::<u8>(), piece.len) };
            let bytes: Vec<_> = pieces[..count].iter().flat_map(of).copied().collect();
            self.cluster.receive(Instant::from_nanos(self.now), self.peers[&conn], &bytes);
            assert_eq!(milena_written(self.handle, self.now, conn, bytes.len()), MILENA_OK);
        }
    }
}

fn words(bytes: &milena_bytes) -> String {
    let bytes = unsafe { std::slice::from_raw_parts(bytes.data.cast::<u8>(), bytes.len) };
    String::from_utf8(bytes.to_vec()).expect("a text")
}

#[test]
fn a_cluster_that_goes_away_and_comes_back_is_seen() {
    let mut world = World::new();
    let before = world.health();
    let nothing = milena_health {
        oldest_record: MILENA_FOREVER,
        last_delivery: MILENA_FOREVER,
        buffer_memory: 65_536,
        producer_id: -1,
        producer_epoch: -1,
        ..milena_health::default()
    };
    assert_eq!((before, world.is_healthy(SECOND)), (nothing, MILENA_OK));
    let servers = world.servers();
    assert_eq!((servers.len(), &*servers[0].host, &*servers[0].text), (1, "one", ""));
    let it = &servers[0].it;
    assert_eq!((it.node, it.port, it.state, it.in_flight), (-1, 1, MILENA_SERVER_IDLE as u32, 0));
    assert_eq!((it.lasts, it.last_round_trip, it.silent_for), (0, MILENA_FOREVER, MILENA_FOREVER));

    assert_eq!(world.send(), MILENA_NOT_READY);
    world.run(100);
    assert_eq!(world.send(), MILENA_OK);
    assert!(world.health().open_records == 1 && world.health().buffered > 0);
    world.run(100);
    let delivered = world.health();
    assert_eq!((delivered.open_records, delivered.oldest_record), (0, MILENA_FOREVER));
    assert!(delivered.last_delivery <= 100 * MILLIS, "{delivered:?}");
    assert!(delivered.producer_id >= 0 && delivered.producer_epoch == 0, "{delivered:?}");
    let servers = world.servers();
    assert_eq!((servers.len(), servers[0].it.node, servers[0].it.state), (1, 1, MILENA_SERVER_UP as u32));
    assert!(servers[0].it.lasts > 100 * MILLIS && servers[0].it.last_round_trip <= 10 * MILLIS, "{servers:?}");

    world.cluster.stop();
    world.run(10);
    assert_eq!(world.send(), MILENA_OK);
    world.run(3_000);
    let down = world.health();
    assert_eq!((down.open_records, down.oldest_record), (1, 3 * SECOND));
    assert!(down.last_delivery > 3 * SECOND, "{down:?}");
    assert_eq!((world.is_healthy(2 * SECOND), world.is_healthy(4 * SECOND)), (MILENA_UNHEALTHY, MILENA_UNHEALTHY));
    let servers = world.servers();
    assert!(servers.iter().all(|server| server.it.state == MILENA_SERVER_DOWN as u32), "{servers:?}");
    assert_eq!(servers[0].text, "can't connect: refused");
    assert!(servers[0].it.lasts > 2 * SECOND, "{servers:?}");

    world.cluster.start_again();
    world.run(3_000);
    assert_eq!((world.health().open_records, world.is_healthy(SECOND)), (0, MILENA_OK));

    assert_eq!(milena_close(world.handle, world.now), MILENA_OK);
    assert_eq!((world.health().closing, world.is_healthy(SECOND)), (1, MILENA_UNHEALTHY));
    assert_eq!(milena_free(world.handle), MILENA_OK);
}
