//! How often the machine allocates once it runs: never for a record, at most twice for a request.

#![allow(unsafe_code, reason = "a global allocator can't be written otherwise")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

#[path = "../benches/host/mod.rs"]
mod host;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use host::Host;
use milena::{Input, Output, Record};

/// Counts allocations while it is told to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
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
    memory_is_bounded_also_with_one_record_a_batch();
    nothing_is_allocated_for_a_record_and_little_for_a_request();
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
                        transmit.segments().map(bytes::Bytes::len).sum::<usize>()
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
