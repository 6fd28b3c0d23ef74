//! Records that are sent many at a time, against the cluster in memory.

use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use std::collections::BTreeMap;

use milena::Instant;
use milena::cluster::{Cluster, Peer, Settings, StoredRecord};
use milena_capi::milena_result::*;
use milena_capi::*;

const OPTIONS: &str = "bootstrap.servers=one:1\nbatch.size=4096\nbuffer.memory=65536\nlinger.ms=0\n";

/// A record as it is packed.
#[derive(Clone, Default)]
struct Packed {
    partition: Option<i32>,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    padding: usize,
}

impl Packed {
    fn value(value: &[u8]) -> Self {
        Self { partition: Some(0), value: Some(value.to_vec()), ..Self::default() }
    }

    fn bytes(&self) -> Vec<u8> {
        let len = |it: &Option<Vec<u8>>| it.as_ref().map_or(-1, |it| it.len() as i32).to_le_bytes();
        let mut body = Vec::new();
        body.extend(self.partition.unwrap_or(-1).to_le_bytes());
        body.extend(self.timestamp.unwrap_or(-1).to_le_bytes());
        body.extend(len(&self.key));
        body.extend(len(&self.value));
        body.extend((self.headers.len() as u32).to_le_bytes());
        body.extend(self.key.iter().flatten());
        body.extend(self.value.iter().flatten());
        for (name, value) in &self.headers {
            body.extend((name.len() as i32).to_le_bytes());
            body.extend(len(value));
            body.extend(name.as_bytes());
            body.extend(value.iter().flatten());
        }
        body.resize(body.len() + self.padding, 0xee);
        [&(body.len() as u32 + 4).to_le_bytes()[..], &body].concat()
    }
}

fn packed(records: &[Packed]) -> Vec<u8> {
    records.iter().flat_map(Packed::bytes).collect()
}

/// A producer and the cluster that it talks to, at once and without sockets.
struct World {
    handle: milena_handle,
    cluster: Cluster,
    peers: BTreeMap<u32, Peer>,
    now: u64,
    /// By batch and place: the offset.
    delivered: BTreeMap<(u64, u32), i64>,
    /// What was said of topics that the cluster refuses.
    refused: Vec<String>,
}

impl World {
    fn new() -> Self {
        let mut handle = 0;
        let seed = [7; 32];
        let options = OPTIONS.as_ptr().cast();
        let result = unsafe { milena_new(options, OPTIONS.len(), 0, 1_000, seed.as_ptr(), &mut handle, null_mut(), 0) };
        assert_eq!(result, MILENA_OK);
        let mut cluster = Cluster::new(Settings::default().nodes(1));
        cluster.set_address(1, "one", 1);
        cluster.create_topic("t", 2);
        Self { handle, cluster, peers: BTreeMap::new(), now: 0, delivered: BTreeMap::new(), refused: Vec::new() }
    }

    fn why(&self, topic: Option<&str>) -> String {
        let (mut words, mut len) = ([0_u8; 200], 0);
        let (name, name_len) = topic.map_or((null(), 0), |name| (name.as_ptr().cast(), name.len()));
        let to = words.as_mut_ptr().cast();
        let result = unsafe { milena_why(self.handle, self.now, name, name_len, to, words.len(), &mut len) };
        assert_eq!(result, MILENA_OK);
        assert_eq!(words[len], 0);
        String::from_utf8(words[..len].to_vec()).expect("a text")
    }

    fn send(&mut self, bytes: &[u8], room: usize) -> (milena_result, milena_taken, Vec<milena_run>) {
        let mut runs = vec![milena_run::default(); room];
        let mut taken = milena_taken::default();
        let (topic, records) = ("t".as_ptr().cast(), bytes.as_ptr().cast());
        let result = unsafe {
            milena_send_many(self.handle, self.now, topic, 1, records, bytes.len(), runs.as_mut_ptr(), room, &mut taken)
        };
        runs.truncate(taken.runs);
        assert_eq!(runs.iter().map(|run| run.count as usize).sum::<usize>(), taken.records);
        (result, taken, runs)
    }

    /// Goes on until nothing is to be done before a time that lies ahead.
    fn settle(&mut self) {
        // Milliseconds; Miri takes a thousand times as long for each.
        for _ in 0..if cfg!(miri) { 100 } else { 1_000 } {
            self.drain();
            self.now += 1_000_000;
            self.cluster.advance(Instant::from_nanos(self.now));
            for (conn, peer) in &self.peers {
                let bytes = self.cluster.take_output(*peer);
                let result =
                    unsafe { milena_received(self.handle, self.now, *conn, bytes.as_ptr().cast(), bytes.len()) };
                assert_eq!(result, MILENA_OK);
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
                1 => {
                    let peer = self.cluster.connect(1).expect("it is up");
                    self.peers.insert(it.conn, peer);
                    assert_eq!(milena_connected(self.handle, self.now, it.conn), MILENA_OK);
                }
                2 => drop(self.peers.remove(&it.conn)),
                3 => self.transmit(it.conn),
                5 => (0..it.count as u32).for_each(|place| {
                    let before = self.delivered.insert((it.batch, it.index + place), it.offset + i64::from(place));
                    assert_eq!(before, None);
                }),
                6 => panic!("not delivered"),
                9 => {
                    let text = unsafe { std::slice::from_raw_parts(it.text.data.cast::<u8>(), it.text.len) };
                    self.refused.push(String::from_utf8(text.to_vec()).expect("a text"));
                }
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

    /// The topic is known from here on.
    fn ready(mut self) -> Self {
        let (result, taken, _) = self.send(&packed(&[Packed::value(b"")]), 1);
        assert_eq!((result, taken.records), (MILENA_NOT_READY, 0));
        self.settle();
        self
    }

    fn log(&self, partition: i32) -> Vec<StoredRecord> {
        self.cluster.whole_log(self.cluster.topic_id("t").expect("a topic"), partition)
    }

    /// What the runs say is where the records are.
    fn check(&self, records: &[Packed], runs: &[milena_run]) {
        let places =
            runs.iter().flat_map(|run| (0..run.count).map(|place| (run.partition, run.batch, run.index + place)));
        for (record, (partition, batch, index)) in records.iter().zip(places) {
            let offset = self.delivered[&(batch, index)];
            let log = self.log(partition);
            let stored = log.iter().find(|stored| stored.offset == offset).expect("it is there");
            assert_eq!(stored.value.as_deref(), record.value.as_deref());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        assert_eq!(milena_free(self.handle), MILENA_OK);
    }
}

#[test]
fn all_of_a_record_arrives_and_runs_say_where() {
    let mut world = World::new().ready();
    let mut records: Vec<_> = (0..40_i32).map(|number| Packed::value(&number.to_le_bytes())).collect();
    records[3].key = Some(b"key".to_vec());
    records[4].key = Some(Vec::new());
    records[5].value = None;
    records[6].timestamp = Some(77);
    records[7].headers = vec![("a".into(), Some(b"1".to_vec())), ("a".into(), None), (String::new(), Some(Vec::new()))];
    records[8].headers = (0..30).map(|number| (format!("h{number}"), Some(vec![number]))).collect();
    records[9].padding = 5;
    records[20].partition = Some(1);
    let bytes = packed(&records);
    let (result, taken, runs) = world.send(&bytes, 8);
    assert_eq!((result, taken.records, taken.bytes), (MILENA_OK, 40, bytes.len()));
    let shape: Vec<_> = runs.iter().map(|run| (run.partition, run.index, run.count)).collect();
    assert_eq!(shape, [(0, 0, 20), (1, 0, 1), (0, 20, 19)]);
    assert_eq!(runs[0].batch, runs[2].batch);
    world.settle();
    world.check(&records, &runs);
    let log = world.log(0);
    assert_eq!(log.len(), 39);
    for (place, (record, stored)) in records.iter().filter(|it| it.partition == Some(0)).zip(&log).enumerate() {
        assert_eq!(stored.key.as_deref(), record.key.as_deref(), "{place}");
        assert_eq!(stored.value.as_deref(), record.value.as_deref(), "{place}");
        assert_eq!(stored.timestamp, record.timestamp.unwrap_or(taken.timestamp), "{place}");
        let plain =
            |(name, value): &(String, Option<bytes::Bytes>)| (name.clone(), value.as_ref().map(|it| it.to_vec()));
        let headers: Vec<_> = stored.headers.iter().map(plain).collect();
        assert_eq!(headers, record.headers, "{place}");
    }
}

#[test]
fn what_is_refused_stops_and_those_before_are_taken() {
    let mut world = World::new().ready();
    let records = [Packed::value(b"0"), Packed::value(&[0; 70_000]), Packed::value(b"2")];
    let bytes = packed(&records);
    let (result, taken, runs) = world.send(&bytes, 8);
    assert_eq!((result, taken.records, taken.bytes), (MILENA_TOO_LARGE, 1, records[0].bytes().len()));
    assert_eq!(runs.len(), 1);
    let behind = &bytes[taken.bytes + records[1].bytes().len()..];
    assert_eq!(world.send(behind, 8).1.records, 1);
    let (result, taken, _) = world.send(&packed(&vec![Packed::value(&[1; 1_000]); 100]), 100);
    assert_eq!(result, MILENA_BUFFER_FULL);
    assert!((10..70).contains(&taken.records), "{}", taken.records);
    assert_eq!(taken.bytes, taken.records * Packed::value(&[1; 1_000]).bytes().len());
    world.settle();
    assert_eq!(world.log(0).len(), 2 + taken.records);
}

#[test]
fn full_runs_stop_and_the_rest_goes_by_another_call() {
    let mut world = World::new().ready();
    let mut records: Vec<_> = (0..9_u8).map(|number| Packed::value(&[number])).collect();
    records.iter_mut().enumerate().for_each(|(place, record)| record.partition = Some(place as i32 / 2 % 2));
    let bytes = packed(&records);
    let (mut at, mut all, mut calls) = (0, Vec::new(), 0);
    while at < bytes.len() {
        let (result, taken, runs) = world.send(&bytes[at..], 1);
        assert_eq!(result, MILENA_OK);
        assert!(taken.bytes > 0);
        at += taken.bytes;
        all.extend(runs);
        calls += 1;
    }
    assert!(calls > 3);
    assert_eq!(world.send(&bytes, 0).1, milena_taken { timestamp: -1, ..milena_taken::default() });
    world.settle();
    world.check(&records, &all);
    assert_eq!(world.log(0).len() + world.log(1).len(), 9);
}

#[test]
fn what_is_not_packed_well_is_an_error_and_nothing_else() {
    let mut world = World::new().ready();
    let mut whole = Packed::value(b"value");
    whole.key = Some(b"key".to_vec());
    whole.headers = vec![("name".into(), Some(b"content".to_vec())); 3];
    let bytes = whole.bytes();
    for cut in 1..bytes.len() {
        assert_eq!(world.send(&bytes[..cut], 4).0, MILENA_INVALID_ARGUMENT, "{cut}");
        // Shorter, and saying so: the fields don't fit.
        let mut less = bytes[..cut].to_vec();
        if cut >= 4 {
            less[..4].copy_from_slice(&(cut as u32).to_le_bytes());
            assert_eq!(world.send(&less, 4).0, MILENA_INVALID_ARGUMENT, "{cut}");
        }
    }
    // A length or a count of anything, in each place that has one.
    for place in [0, 16, 20, 24, 36, 40] {
        for number in [-2, -1, i32::MIN, i32::MAX, 1_000] {
            let mut wrong = bytes.clone();
            wrong[place..place + 4].copy_from_slice(&number.to_le_bytes());
            let (result, taken, _) = world.send(&wrong, 4);
            let null = number == -1 && matches!(place, 16 | 20 | 40);
            assert!(null || result == MILENA_INVALID_ARGUMENT, "{place}: {number}: {result:?}");
            assert!(taken.records <= 1);
        }
    }
    let mut no_text = bytes.clone();
    no_text[44] = 0xff;
    assert_eq!(world.send(&no_text, 4).0, MILENA_INVALID_ARGUMENT);
    let mut negative = Packed::value(b"");
    negative.timestamp = Some(-2);
    assert_eq!(world.send(&negative.bytes(), 4).0, MILENA_INVALID_TIMESTAMP);
    negative = Packed::value(b"");
    negative.partition = Some(-2);
    assert_eq!(world.send(&negative.bytes(), 4).0, MILENA_UNKNOWN_PARTITION);
    let (handle, topic) = (world.handle, "t".as_ptr().cast());
    let (mut taken, mut runs) = (milena_taken::default(), [milena_run::default()]);
    let data = bytes.as_ptr().cast();
    unsafe {
        assert_eq!(milena_send_many(handle, 0, topic, 1, data, bytes.len(), null_mut(), 1, &mut taken), MILENA_NULL);
        assert_eq!(milena_send_many(handle, 0, topic, 1, null(), 1, runs.as_mut_ptr(), 1, &mut taken), MILENA_NULL);
        assert_eq!(milena_send_many(handle, 0, null(), 1, data, 0, runs.as_mut_ptr(), 1, &mut taken), MILENA_NULL);
        assert_eq!(milena_send_many(handle, 0, topic, 1, data, 0, runs.as_mut_ptr(), 1, null_mut()), MILENA_NULL);
        assert_eq!(milena_send_many(0, 0, topic, 1, data, 0, runs.as_mut_ptr(), 1, &mut taken), MILENA_INVALID_HANDLE);
        assert_eq!(milena_send_many(handle, 0, topic, 1, null(), 0, null_mut(), 0, &mut taken), MILENA_OK);
    }
}

#[test]
fn why_a_record_waits_is_told_in_words() {
    let mut world = World::new();
    let (result, ..) = world.send(&packed(&[Packed::value(b"")]), 1);
    assert_eq!(result, MILENA_NOT_READY);
    assert_eq!(world.why(Some("t")), "", "nothing was tried yet");
    let mut output = MaybeUninit::uninit();
    assert_eq!(unsafe { milena_poll(world.handle, output.as_mut_ptr()) }, MILENA_OK);
    let it: milena_output = unsafe { output.assume_init() };
    assert_eq!(it.kind, 1);
    let words = "no route";
    let result = unsafe { milena_disconnected(world.handle, 0, it.conn, 2, words.as_ptr().cast(), words.len()) };
    assert_eq!(result, MILENA_OK);
    assert!(world.why(Some("t")).starts_with("one:1: can't connect: no route"), "{}", world.why(Some("t")));
    assert!(world.why(None).starts_with("one:1: can't connect: no route"), "{}", world.why(None));
    world.settle();
    assert_eq!(world.why(None), "", "it is over");
    let beyond = Packed { partition: Some(7), ..Packed::value(b"") };
    assert_eq!(world.send(&packed(&[beyond]), 1).0, MILENA_NOT_READY);
    assert_eq!(world.why(Some("t")), "it has 2 partitions, and none of the number that the record names");
    assert!(world.why(Some("a/b")).contains("INVALID_TOPIC_EXCEPTION"), "{}", world.why(Some("a/b")));
}

#[test]
fn a_topic_that_the_cluster_refuses_is_told_in_words() {
    let mut world = World::new();
    world.cluster.set_forbidden("t", true);
    let (result, ..) = world.send(&packed(&[Packed::value(b"")]), 1);
    assert_eq!(result, MILENA_NOT_READY);
    world.settle();
    assert_eq!(world.refused.len(), 1);
    assert!(world.refused[0].contains("TOPIC_AUTHORIZATION_FAILED (29): this user needs Write"), "{:?}", world.refused);
}
