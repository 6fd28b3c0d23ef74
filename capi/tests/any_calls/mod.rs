//! What bytes say is called: see `calls.rs` and `fuzz/fuzz_targets/capi.rs`.

use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use std::collections::BTreeMap;

use arbitrary::Unstructured;
use milena::Instant;
use milena::cluster::{Cluster, Peer, Settings};
use milena_capi::milena_result::*;
use milena_capi::*;

const OPTIONS: [&str; 4] = [
    "bootstrap.servers=one:1\nbuffer.memory=20000\nlinger.ms=1\n",
    "bootstrap.servers=one:1\nacks=1\nenable.idempotence=false\nbuffer.memory=4096\nbatch.size=512\n",
    "bootstrap.servers=one:1\ncompression.type=lz4\ndelivery.timeout.ms=3000\nrequest.timeout.ms=2000\n",
    "bootstrap.servers=one:1\nlinger.ms=",
];

/// What a run came to, for a test of the test.
#[derive(Debug, Default)]
pub struct Reached {
    pub taken: u64,
    pub delivered: u64,
    pub failed: u64,
    pub refused: u64,
    pub closed: u64,
    pub healthy: u64,
    pub unhealthy: u64,
}

impl Reached {
    #[allow(dead_code, reason = "the fuzz target runs once")]
    pub fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.refused += other.refused;
        self.closed += other.closed;
        self.healthy += other.healthy;
        self.unhealthy += other.unhealthy;
    }
}

struct World<'a> {
    input: Unstructured<'a>,
    /// Handles that are free are asked as well.
    handles: Vec<milena_handle>,
    live: BTreeMap<milena_handle, Producer>,
    cluster: Cluster,
    now: u64,
    reached: Reached,
}

#[derive(Default)]
struct Producer {
    peers: BTreeMap<u32, Peer>,
    taken: u64,
    told: u64,
    closed: bool,
}

/// Runs what the bytes say.
pub fn run(input: &[u8]) -> Reached {
    let mut cluster = Cluster::new(Settings::default().nodes(1));
    cluster.set_address(1, "one", 1);
    cluster.create_topic("t", 2);
    let (handles, live) = (vec![0, u32::MAX], BTreeMap::new());
    let mut world =
        World { input: Unstructured::new(input), handles, live, cluster, now: 0, reached: Reached::default() };
    while !world.input.is_empty() {
        let result = world.call();
        assert_ne!(result, MILENA_BUG, "a fault of the library");
        world.reached.refused += u64::from(result != MILENA_OK);
    }
    for handle in world.live.keys().copied().collect::<Vec<_>>() {
        assert_eq!(milena_abort(handle, world.now), MILENA_OK);
        world.drain(handle);
        let producer = &world.live[&handle];
        assert!(producer.closed, "an aborted producer says that it is closed");
        assert_eq!(producer.told, producer.taken, "every record that was taken is told of once");
        assert_eq!(milena_free(handle), MILENA_OK);
        assert_eq!(milena_free(handle), MILENA_INVALID_HANDLE);
    }
    world.reached
}

impl World<'_> {
    fn up_to(&mut self, most: u32) -> u32 {
        self.input.int_in_range(0..=most).unwrap_or(0)
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        let size = self.up_to(most) as usize;
        self.input.bytes(size.min(self.input.len())).unwrap_or_default().to_vec()
    }

    /// A text, mostly.
    fn words(&mut self) -> Vec<u8> {
        match self.up_to(7) {
            0 => self.bytes(20),
            1 => Vec::new(),
            2 => b"no such topic".to_vec(),
            _ => b"t".to_vec(),
        }
    }

    /// Pointer and length of bytes: sometimes null, sometimes with a length that no memory has.
    fn pair(&mut self, bytes: &[u8]) -> (*const c_void, usize) {
        match self.up_to(30) {
            0 => (null(), 0),
            1 => (null(), bytes.len()),
            2 => (bytes.as_ptr().cast(), usize::MAX), // refused by its length alone
            _ => (bytes.as_ptr().cast(), bytes.len()),
        }
    }

    fn seldom(&mut self) -> bool {
        self.up_to(30) == 0
    }

    fn conn(&mut self, handle: milena_handle) -> u32 {
        let nth = self.up_to(3) as usize;
        let known = self.live.get(&handle).and_then(|producer| producer.peers.keys().nth(nth).copied());
        known.unwrap_or(nth as u32)
    }

    fn call(&mut self) -> milena_result {
        let nth = self.up_to(15) as usize % self.handles.len();
        // The newest most of the time.
        let handle = self.handles[self.handles.len() - 1 - nth.saturating_sub(12).min(self.handles.len() - 1)];
        match self.up_to(26) {
            0 => self.make(),
            1..=6 => self.send(handle),
            7 => self.send_many(handle),
            8..=13 => {
                // Often enough for a conversation.
                let mut result = MILENA_OK;
                for _ in 0..self.up_to(8) {
                    self.drain(handle);
                    result = self.answer(handle);
                }
                result
            }
            14 => {
                self.now += [1, 10, 100, 3_000][self.up_to(3) as usize] * 1_000_000;
                self.cluster.advance(Instant::from_nanos(self.now));
                milena_timeout(handle, self.now)
            }
            15 => {
                let (conn, bytes) = (self.conn(handle), self.bytes(30));
                let (data, len) = self.pair(&bytes);
                unsafe { milena_received(handle, self.now, conn, data, len) }
            }
            16 => {
                let (conn, cause, words) = (self.conn(handle), self.up_to(7), self.words());
                let (data, len) = self.pair(&words);
                let result = unsafe { milena_disconnected(handle, self.now, conn, cause, data.cast(), len) };
                if let (MILENA_OK, Some(producer)) = (result, self.live.get_mut(&handle)) {
                    producer.peers.remove(&conn);
                }
                result
            }
            17 => {
                let (words, null) = (self.words(), self.seldom());
                let (name, len) = self.pair(&words);
                let mut topic = 0;
                let to = if null { null_mut() } else { &raw mut topic };
                let result = unsafe { milena_want_topic(handle, self.now, name.cast(), len, to) };
                let (mut count, mut bytes) = (0, milena_bytes { data: core::ptr::null(), len: 0 });
                unsafe { milena_partition_count(handle, name.cast(), len, &mut count) };
                if unsafe { milena_topic_name(handle, topic + self.up_to(2), &mut bytes) } == MILENA_OK {
                    read(&bytes);
                }
                result
            }
            18 => {
                let mut id = 0;
                unsafe { milena_flush(handle, self.now, if self.seldom() { null_mut() } else { &mut id }) }
            }
            19 => match self.up_to(20) {
                0 => milena_abort(handle, self.now),
                1 => milena_close(handle, self.now),
                2 => self.free(handle),
                _ => MILENA_OK,
            },
            20 => {
                let words = self.words();
                let (data, len) = self.pair(&words);
                match self.up_to(2) {
                    0 => unsafe { milena_token(handle, self.now, data.cast(), len, u64::from(self.up_to(9))) },
                    1 => unsafe { milena_no_token(handle, self.now, data.cast(), len) },
                    _ => milena_time_of_day(handle, self.now, i64::from(self.up_to(9)) - 3),
                }
            }
            21 => {
                let (conn, bytes) = (self.conn(handle), self.up_to(500) as usize);
                // More than was shown is the host's fault, and must be taken as such.
                milena_written(handle, self.now, conn, bytes)
            }
            22 => {
                let mut status = MaybeUninit::uninit();
                let result = unsafe { milena_get_status(handle, status.as_mut_ptr()) };
                if let (MILENA_OK, Some(producer)) = (result, self.live.get(&handle)) {
                    let status: milena_status = unsafe { status.assume_init() };
                    assert_eq!(status.records_accepted, producer.taken);
                }
                result
            }
            23 => {
                let (mut words, mut len) = ([b'#'; 40], 0);
                let room = self.up_to(40) as usize;
                let result = unsafe { milena_last_error(handle, words.as_mut_ptr().cast(), room, &mut len) };
                assert!(words[room..].iter().all(|byte| *byte == b'#'), "nothing is written behind the room");
                assert!(result != MILENA_OK || room == 0 || words[..room].contains(&0), "there is a NUL");
                result
            }
            24 => {
                let name = self.words();
                let (name, name_len) = self.pair(&name);
                let (mut words, mut len) = ([b'#'; 40], 0);
                let room = self.up_to(40) as usize;
                let to = words.as_mut_ptr().cast();
                let result = unsafe { milena_why(handle, self.now, name.cast(), name_len, to, room, &mut len) };
                assert!(words[room..].iter().all(|byte| *byte == b'#'), "nothing is written behind the room");
                assert!(result != MILENA_OK || room == 0 || words[..room].contains(&0), "there is a NUL");
                result
            }
            25 => self.look(handle),
            _ => {
                let mut wake = 0;
                unsafe { milena_take_wake(handle, if self.seldom() { null_mut() } else { &mut wake }) }
            }
        }
    }

    fn make(&mut self) -> milena_result {
        if self.live.len() > 5 {
            return MILENA_TOO_MANY;
        }
        let options = OPTIONS[self.up_to(3) as usize].as_bytes();
        let (options, len) = self.pair(options);
        let (mut handle, seed, mut words) = (77, [7; 32], [b'#'; 64]);
        let (seed, room) = (if self.seldom() { null() } else { seed.as_ptr() }, self.up_to(64) as usize);
        let words = words.as_mut_ptr().cast::<c_char>();
        let day = i64::from(self.up_to(3)) - 1;
        let result = unsafe { milena_new(options.cast(), len, self.now, day, seed, &mut handle, words, room) };
        assert_eq!(result == MILENA_OK, handle != 0);
        if result == MILENA_OK {
            assert!(self.live.insert(handle, Producer::default()).is_none(), "a handle is used again");
            assert!(!self.handles.contains(&handle), "a handle that was freed comes again");
            self.handles.push(handle);
        }
        result
    }

    fn free(&mut self, handle: milena_handle) -> milena_result {
        let result = milena_free(handle);
        assert_eq!(result == MILENA_OK, self.live.remove(&handle).is_some());
        result
    }

    fn send(&mut self, handle: milena_handle) -> milena_result {
        let (topic, key, value) = (self.words(), self.bytes(4), vec![7; self.up_to(900) as usize]);
        let [topic, key, value] = [&topic, &key, &value].map(|bytes| {
            let (data, len) = self.pair(bytes);
            milena_bytes { data, len }
        });
        let name = milena_bytes { data: b"h".as_ptr().cast(), len: 1 };
        let headers: Vec<_> = (0..self.up_to(10)).map(|_| milena_header { name, value }).collect();
        let header_count = headers.len() * usize::from(!self.seldom());
        let headers = if self.seldom() { null() } else { headers.as_ptr() };
        let (timestamp, partition) = (i64::from(self.up_to(3)) - 2, self.up_to(4) as i32 - 2);
        let record = milena_record { topic, key, value, headers, header_count, timestamp, partition };
        let mut sent = MaybeUninit::uninit();
        let to = if self.seldom() { null_mut() } else { sent.as_mut_ptr() };
        let result = unsafe { milena_send(handle, self.now, if self.seldom() { null() } else { &record }, to) };
        self.took(handle, u64::from(result == MILENA_OK));
        result
    }

    fn send_many(&mut self, handle: milena_handle) -> milena_result {
        let (topic, mut records) = (self.words(), Vec::new());
        for _ in 0..self.up_to(10) {
            let body = vec![7; self.up_to(40) as usize];
            let key = self.up_to(6) as i32 - 1;
            records.extend((28 + body.len() as u32).to_le_bytes());
            records.extend((self.up_to(4) as i32 - 2).to_le_bytes());
            records.extend((-1_i64).to_le_bytes());
            records.extend(key.to_le_bytes());
            records.extend((body.len() as i32 - key.max(0)).to_le_bytes());
            records.extend(0_u32.to_le_bytes());
            records.extend(body);
        }
        if self.up_to(3) == 0 {
            records.extend(self.bytes(60));
        }
        let (topic, topic_len) = self.pair(&topic);
        let (data, len) = self.pair(&records);
        let (mut runs, mut taken) = ([milena_run::default(); 4], milena_taken::default());
        let room = self.up_to(4) as usize;
        let runs = runs.as_mut_ptr();
        let result =
            unsafe { milena_send_many(handle, self.now, topic.cast(), topic_len, data, len, runs, room, &mut taken) };
        assert!(taken.runs <= room && taken.bytes <= records.len());
        self.took(handle, taken.records as u64);
        result
    }

    /// How it is, by all three functions, which have to agree.
    fn look(&mut self, handle: milena_handle) -> milena_result {
        let mut health = milena_health::default();
        let to = if self.seldom() { null_mut() } else { &raw mut health };
        let max_age = u64::from(self.up_to(3_000)) * 1_000_000;
        let result = unsafe { milena_get_health(handle, self.now, to) };
        let healthy = milena_is_healthy(handle, self.now, max_age);
        let (mut index, mut brokers, mut others) = (0, Vec::new(), Vec::new());
        loop {
            let mut server = MaybeUninit::uninit();
            match unsafe { milena_get_server(handle, self.now, index, server.as_mut_ptr()) } {
                MILENA_OK => {}
                error => {
                    let known = self.live.contains_key(&handle);
                    assert_eq!(error, if known { MILENA_INVALID_ARGUMENT } else { MILENA_INVALID_HANDLE });
                    break;
                }
            }
            let server: milena_server = unsafe { server.assume_init() };
            assert!(!read(&server.host).is_empty());
            let is_down = server.state == milena_server_state::MILENA_SERVER_DOWN as u32;
            assert_eq!(is_down, !read(&server.text).is_empty(), "words for what is wrong, and for nothing else");
            if server.node >= 0 { &mut brokers } else { &mut others }.push(is_down);
            index += 1;
        }
        if let (MILENA_OK, Some(producer)) = (result, self.live.get(&handle)) {
            assert!(health.open_records <= producer.taken - producer.told);
            assert_eq!(health.open_records == 0, health.oldest_record == MILENA_FOREVER);
            let young = health.oldest_record == MILENA_FOREVER || health.oldest_record <= max_age;
            let count = if brokers.is_empty() { &others } else { &brokers };
            let reachable = count.is_empty() || count.contains(&false);
            let well = health.denied + health.failed + health.closing == 0 && young && reachable;
            assert_eq!(healthy, if well { MILENA_OK } else { MILENA_UNHEALTHY }, "{health:?}");
            self.reached.healthy += u64::from(well);
            self.reached.unhealthy += u64::from(!well);
        }
        result
    }

    fn took(&mut self, handle: milena_handle, records: u64) {
        if let Some(producer) = self.live.get_mut(&handle) {
            producer.taken += records;
            self.reached.taken += records;
        } else {
            assert_eq!(records, 0);
        }
    }

    /// Does what the producer asks for, until it asks for nothing.
    fn drain(&mut self, handle: milena_handle) {
        for _ in 0..10_000 {
            let mut output = MaybeUninit::uninit();
            let result = unsafe { milena_poll(handle, output.as_mut_ptr()) };
            let Some(producer) = self.live.get_mut(&handle) else {
                assert_eq!(result, MILENA_INVALID_HANDLE);
                return;
            };
            assert_eq!(result, MILENA_OK);
            let it: milena_output = unsafe { output.assume_init() };
            for bytes in [&it.host, &it.text, &it.name] {
                read(bytes);
            }
            match it.kind {
                kind if kind == milena_kind::MILENA_WAIT as u32 => return,
                kind if kind == milena_kind::MILENA_CONNECT as u32 => {
                    if let Some(peer) = self.cluster.connect(1) {
                        producer.peers.insert(it.conn, peer);
                        assert_eq!(milena_connected(handle, self.now, it.conn), MILENA_OK);
                    }
                }
                kind if kind == milena_kind::MILENA_DISCONNECT as u32 => drop(producer.peers.remove(&it.conn)),
                kind if kind == milena_kind::MILENA_TRANSMIT as u32 => self.transmit(handle, it.conn),
                kind if kind == milena_kind::MILENA_DELIVERED as u32 => {
                    producer.told += it.count;
                    self.reached.delivered += it.count;
                }
                kind if kind == milena_kind::MILENA_NOT_DELIVERED as u32 => {
                    producer.told += it.count;
                    self.reached.failed += it.count;
                }
                kind if kind == milena_kind::MILENA_CLOSED as u32 => {
                    producer.closed = true;
                    self.reached.closed += 1;
                }
                kind => assert!(kind <= milena_kind::MILENA_OTHER as u32),
            }
        }
        panic!("a drain without end");
    }

    fn transmit(&mut self, handle: milena_handle, conn: u32) {
        loop {
            let (mut pieces, mut count) = ([milena_bytes { data: null(), len: 0 }; 3], 0);
            let result = unsafe { milena_transmit(handle, self.now, conn, pieces.as_mut_ptr(), 3, &mut count) };
            assert_eq!(result, MILENA_OK);
            if count == 0 {
                return;
            }
            let mut all: Vec<u8> = pieces[..count].iter().flat_map(read).copied().collect();
            let written = 1 + self.up_to(2_000) as usize;
            all.truncate(written);
            if let Some(peer) = self.live[&handle].peers.get(&conn) {
                self.cluster.receive(Instant::from_nanos(self.now), *peer, &all);
            }
            assert_eq!(milena_written(handle, self.now, conn, all.len()), MILENA_OK);
        }
    }

    /// What the cluster has to say.
    fn answer(&mut self, handle: milena_handle) -> milena_result {
        let Some(producer) = self.live.get_mut(&handle) else { return MILENA_INVALID_HANDLE };
        for (conn, peer) in producer.peers.clone() {
            let bytes = self.cluster.take_output(peer);
            let result = unsafe { milena_received(handle, self.now, conn, bytes.as_ptr().cast(), bytes.len()) };
            assert_eq!(result, MILENA_OK);
            if self.cluster.is_closed(peer) {
                producer.peers.remove(&conn);
                let cause = milena_cause::MILENA_CAUSE_CLOSED as u32;
                let result = unsafe { milena_disconnected(handle, self.now, conn, cause, null(), 0) };
                assert_eq!(result, MILENA_OK);
            }
        }
        MILENA_OK
    }
}

/// What a pointer of the machine's points to: it has to be there, all of it.
fn read(bytes: &milena_bytes) -> &[u8] {
    if bytes.data.is_null() {
        assert_eq!(bytes.len, 0);
        return &[];
    }
    let bytes = unsafe { core::slice::from_raw_parts(bytes.data.cast::<u8>(), bytes.len) };
    core::hint::black_box(bytes.iter().fold(0_u8, |sum, byte| sum ^ byte));
    bytes
}
