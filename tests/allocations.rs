//! How often the machine allocates once it runs: never for a record, at most twice for a request. And how much, whatever is
//! sent and whatever servers answer.

#![allow(unsafe_code, reason = "a global allocator can't be written otherwise")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

#[path = "../benches/host/mod.rs"]
mod host;
#[allow(unreachable_pub, reason = "as in its own program")]
#[allow(clippy::wildcard_enum_match_arm, reason = "as in its own program")]
#[path = "core/script.rs"]
mod script;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use host::Host;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    NodeEndpoint, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::protocol::Encodable;
use milena::{Config, Input, Instant, Output, Producer, Record};
use script::{Ask, Asked, Facts, Reply, Script, id, text};

/// Counts allocations while it is told to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The most that ever were since this was set.
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let result = call();
    COUNTS.store(false, Ordering::Relaxed);
    (result, ALLOCATIONS.load(Ordering::Relaxed) - before)
}

/// One test, because the counters are the process's.
#[test]
fn memory_is_bounded_and_allocations_are_rare() {
    a_new_producer_takes_little_whatever_it_may_take_later();
    memory_is_bounded_also_with_one_record_a_batch();
    nothing_is_allocated_for_a_record_and_little_for_a_request();
    answers_take_memory_as_they_are_long();
    a_frame_that_never_ends_takes_what_came_of_it();
}

/// How many more bytes there are in the middle of this and after it.
fn taken<T>(call: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = call();
    let more = |bytes: usize| bytes.saturating_sub(before);
    (result, more(PEAK.load(Ordering::Relaxed)), more(LIVE.load(Ordering::Relaxed)))
}

/// Not even for a moment: allocators remember that.
fn a_new_producer_takes_little_whatever_it_may_take_later() {
    let options = [("bootstrap.servers", "one:9092"), ("buffer.memory", "33554432")];
    let config = Config::from_properties(options).expect("valid options");
    let (_producer, peak, _) = taken(|| Producer::new(Instant::ZERO, None, config, [3; 32]));
    assert!(peak < 100 << 10, "{peak} bytes");
}

/// The largest response that is accepted, here.
const LONGEST: usize = 1 << 20;

/// A server that holds the first request of one kind back, and that request.
fn held(holds: fn(&Ask) -> bool) -> (Script, Asked) {
    let mut script = Script::new(1, &[("receive.message.max.bytes", "1048576")], move |facts: &mut Facts, asked| {
        if holds(&asked.ask) { Reply::Hold } else { facts.usual(asked) }
    });
    script.facts.topic("t", 1, 1);
    let _ = script.try_send(&Record::new("t").value("v"));
    script.run(Duration::from_millis(20));
    let _ = script.try_send(&Record::new("t").value("v"));
    script.run(Duration::from_millis(20));
    let asked = script.held()[0].clone();
    (script, asked)
}

/// The frame of an answer that is as long as one may be: `answer` makes one of so many elements.
fn longest(asked: &Asked, answer: impl Fn(i32, &mut BytesMut)) -> Vec<u8> {
    let body = |n| {
        let mut body = BytesMut::new();
        answer(n, &mut body);
        body
    };
    let (few, more) = (body(20_000), body(21_000));
    let each = (more.len() - few.len()).div_ceil(1000);
    let body = body(((LONGEST - 1000) / each) as i32);
    assert!((LONGEST * 3 / 4..LONGEST - 5).contains(&body.len()), "{} bytes", body.len());
    let head = [&(body.len() as u32 + 5).to_be_bytes()[..], &asked.correlation.to_be_bytes(), &[0]].concat();
    [head, body.to_vec()].concat()
}

/// Whatever fills an answer, what is made of it is no more than so many times as much, and soon gone.
fn answers_take_memory_as_they_are_long() {
    const TIMES: usize = 24;
    let broker = |node: i32, host: &str| {
        let broker = MetadataResponseBroker::default().with_node_id(node.into());
        broker.with_host(text(host)).with_port(9091)
    };
    let partition = |index: i32, leader: i32| {
        MetadataResponsePartition::default().with_partition_index(index).with_leader_id(leader.into())
    };
    let topic = |name: &str, topic_id: u128, partitions| {
        let topic = MetadataResponseTopic::default().with_name(Some(text(name).into()));
        topic.with_topic_id(id(topic_id)).with_partitions(partitions)
    };
    let metadata = |kind: usize, n: i32| {
        let mut told = MetadataResponse::default();
        told.brokers.push(broker(1, "server1"));
        match kind {
            0 => told.topics.push(topic("t", 1, (0..n).map(|n| partition(n, 1)).collect())),
            1 => told.topics.push(topic("t", 1, (0..n).map(|n| partition(n, n)).collect())),
            2 => told.topics = (0..n).map(|n| topic("s", n as u128, Vec::new())).collect(),
            3 => told.brokers.extend((0..n).map(|n| broker(5 + n, ""))),
            4 => told.brokers.extend((0..n).map(|n| broker(5, &format!("{n:0>9}")))),
            _ => told.brokers.extend((0..n).map(|n| broker(5 + n, &format!("{n:0>9}")))),
        }
        told
    };
    for kind in 0..6 {
        let (mut script, asked) = held(|ask| matches!(ask, Ask::Metadata(_)));
        let frame = longest(&asked, |n, body| metadata(kind, n).encode(body, asked.version).expect("an answer"));
        let ((), most, left) = taken(|| script.input(Input::Data(asked.conn, &frame)));
        println!("metadata {kind}: {} bytes, then {most} and {left}", frame.len());
        assert!(most < TIMES * frame.len(), "metadata {kind}: {most} bytes for {}", frame.len());
    }
    let produced = |kind: usize, n: i32| {
        let answer = |n: i32| PartitionProduceResponse::default().with_index(n).with_error_code(6);
        let topic = |topic_id: u128, answers| {
            TopicProduceResponse::default().with_topic_id(id(topic_id)).with_partition_responses(answers)
        };
        let mut told = ProduceResponse::default();
        match kind {
            0 => told.responses.push(topic(1, (0..n).map(answer).collect())),
            1 => told.responses = (0..n).map(|n| topic(n as u128, Vec::new())).collect(),
            _ => {
                let endpoint = |n: i32| NodeEndpoint::default().with_node_id(n.into()).with_port(1);
                told.responses.push(topic(1, vec![answer(0)]));
                told.node_endpoints = (0..n).map(endpoint).collect();
            }
        }
        told
    };
    for kind in 0..3 {
        let (mut script, asked) = held(|ask| matches!(ask, Ask::Produce(_)));
        let frame = longest(&asked, |n, body| produced(kind, n).encode(body, asked.version).expect("an answer"));
        let ((), most, left) = taken(|| script.input(Input::Data(asked.conn, &frame)));
        println!("produce {kind}: {} bytes, then {most} and {left}", frame.len());
        assert!(most < TIMES * frame.len(), "produce {kind}: {most} bytes for {}", frame.len());
        assert!(left < frame.len(), "produce {kind}: {left} bytes are left");
    }
}

/// What a length says is not set aside before it is there, and no longer frame than allowed is begun.
fn a_frame_that_never_ends_takes_what_came_of_it() {
    let (mut script, asked) = held(|ask| matches!(ask, Ask::Metadata(_)));
    let announced = (LONGEST as u32).to_be_bytes();
    let ((), most, _) = taken(|| script.input(Input::Data(asked.conn, &[&announced[..], &[0; 60]].concat())));
    assert!(most < 4096, "{most} bytes for 64");
    let piece = Bytes::from_static(&[0; 1024]);
    let (left, _, after) = taken(|| {
        let ((), most, left) = taken(|| {
            for _ in 1..LONGEST / piece.len() {
                script.input(Input::Data(asked.conn, &piece));
            }
        });
        // Twice while it is copied to where there is more room.
        assert!(most < 2 * LONGEST && left < LONGEST + 4096, "{most} and {left} bytes");
        script.run(Duration::from_secs(60));
        left
    });
    println!("a frame without end: {left} bytes, {after} after a minute");
    assert!(left > LONGEST / 2 && after < LONGEST / 4, "{left} bytes, {after} after a minute");
}

/// `buffer.memory` and two MiB, whatever it is filled with, and less when it is empty again.
fn memory_is_bounded_also_with_one_record_a_batch() {
    const MEMORY: usize = 32 << 20;
    const MORE: usize = 2 << 20;
    let options = [("batch.size", "1"), ("batch.size.max", "1"), ("linger.ms", "0")];
    for (value, least) in [(1, 40_000), (200, 40_000), (300, 30_000), (20_000, 800)] {
        let before = LIVE.load(Ordering::Relaxed);
        let mut host = Host::new(1, &options);
        host.finish(); // what it sent to begin with
        let value = vec![7; value];
        let (mut taken, delivered) = (0, host.delivered);
        while host.producer.send(host.now, &Record::new("t").value(&value)).is_ok() {
            taken += 1;
        }
        let grown = LIVE.load(Ordering::Relaxed) - before;
        println!("{taken} batches of one record of {} bytes: {} MiB", value.len(), grown as f64 / (1 << 20) as f64);
        assert!(taken > least && grown < MEMORY + MORE, "{taken} batches, {grown} bytes");
        host.finish();
        assert_eq!((host.delivered - delivered, host.producer.buffered()), (taken, 0));
    }
}

fn nothing_is_allocated_for_a_record_and_little_for_a_request() {
    let mut host = Host::new(10, &[("linger.ms", "10000")]);
    host.load(100_000, 100, true); // until everything has the size that it needs
    let value = [7; 100];
    let mut sends = 0;
    for n in 0..20_000u32 {
        let key = n.to_le_bytes();
        let record = Record::new("t").key(&key).value(&value);
        let (sent, allocations) = counted(|| host.producer.send(host.now, &record));
        sent.expect("there is room");
        sends += allocations;
        if n % 64 == 0 {
            host.drain();
        }
    }
    assert_eq!(sends, 0, "allocations in 20,000 sends");

    // Drains, requests and answers, each call counted.
    let (mut others, mut requests) = (0, 0);
    let mut unanswered = Vec::new();
    for round in 0..200u32 {
        host.now = host.now + Duration::from_millis(5);
        for n in 0..640u32 {
            let key = (round * 640 + n).to_le_bytes();
            let record = Record::new("t").key(&key).value(&value);
            if host.producer.send(host.now, &record).is_err() {
                break;
            }
        }
        loop {
            let (output, allocations) = counted(|| host.producer.poll_output());
            others += allocations;
            match output {
                Output::Transmit(conn) => loop {
                    let (segments, allocations) = counted(|| {
                        let transmit = host.producer.transmit(host.now, conn);
                        transmit.segments().map(Bytes::len).sum::<usize>()
                    });
                    others += allocations;
                    if segments == 0 {
                        break;
                    }
                    requests += 1;
                    let bytes: Vec<u8> = host
                        .producer
                        .transmit(host.now, conn)
                        .segments()
                        .flat_map(|segment| segment.to_vec())
                        .collect();
                    unanswered.push((conn, bytes));
                    let ((), allocations) = counted(|| host.producer.written(host.now, conn, segments));
                    others += allocations;
                },
                Output::Wait(Some(until)) if unanswered.is_empty() && until <= host.now => {
                    let ((), allocations) = counted(|| host.producer.handle_input(host.now, Input::Timeout));
                    others += allocations;
                }
                Output::Wait(_) if unanswered.is_empty() => break,
                Output::Wait(_) => {
                    for (conn, bytes) in unanswered.drain(..) {
                        let answer = host.serve(conn, &bytes);
                        let ((), allocations) =
                            counted(|| host.producer.handle_input(host.now, Input::Data(conn, &answer)));
                        others += allocations;
                    }
                }
                Output::Event(_)
                | Output::Connect { .. }
                | Output::Disconnect(_)
                | Output::Job(_)
                | Output::Token { .. } => {}
            }
        }
    }
    assert!(requests > 100, "{requests}");
    println!("{others} allocations for {requests} requests");
    assert!(others <= 2 * requests, "{others} allocations for {requests} requests");
}
