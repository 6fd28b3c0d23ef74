//! Heaps of a few kilobytes: the machine gets one of its own, first fit, as programs without an operating system have it. Whatever its
//! size, records are delivered or the machine says that memory lacks: it never asks for memory that there is not where it can't do
//! without. A failed allocation ends the process, so each size has one.

#![allow(unsafe_code, reason = "a global allocator can't be written otherwise")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::process::Command;
use std::ptr::NonNull;
use std::time::Duration;

use linked_list_allocator::Heap;
use milena::cluster::{Cluster, Peer, Settings};
use milena::{Cause, Config, ConfigError, ConnId, Event, Input, Instant, Output, Producer, Record, SendError};

/// What the machine asks for comes from its heap, all else from the system.
struct Split;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static HEAP: RefCell<Heap> = const { RefCell::new(Heap::empty()) };
    /// Where the heap lies.
    static PLACE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// The most that was taken of it, what is only looked for included.
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything to one of two allocators, and back to the one that it came from.
unsafe impl GlobalAlloc for Split {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !INSIDE.get() {
            // SAFETY: the caller's promises are passed on.
            return unsafe { System.alloc(layout) };
        }
        HEAP.with_borrow_mut(|heap| {
            let got = heap.allocate_first_fit(layout);
            PEAK.set(PEAK.get().max(heap.used()));
            got.map_or(std::ptr::null_mut(), NonNull::as_ptr)
        })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let (from, to) = PLACE.get();
        match NonNull::new(pointer) {
            // SAFETY: it came from this heap, for that is where it lies.
            Some(of_heap) if (from..to).contains(&(pointer as usize)) => unsafe {
                HEAP.with_borrow_mut(|heap| heap.deallocate(of_heap, layout));
            },
            // SAFETY: the caller's promises are passed on.
            _ => unsafe { System.dealloc(pointer, layout) },
        }
    }
}

#[global_allocator]
static ALLOCATOR: Split = Split;

/// Calls the machine.
fn inside<T>(call: impl FnOnce() -> T) -> T {
    INSIDE.set(true);
    let result = call();
    INSIDE.set(false);
    result
}

fn give_heap(size: usize) {
    let memory = Box::leak(vec![0u64; size / 8].into_boxed_slice());
    let start = memory.as_mut_ptr().cast::<u8>();
    PLACE.set((start as usize, start as usize + size));
    // SAFETY: the memory is leaked, and nobody else's.
    HEAP.with_borrow_mut(|heap| unsafe { heap.init(start, size) });
}

type Row = (&'static str, &'static [(&'static str, &'static str)], i32, usize);

/// What is measured: its name, the options, how many partitions the topic has, and the heap from which on all records have to be
/// delivered (on a machine of 64 bits; with 32 it is less). Below it depends on how the heap is cut up.
const ROWS: [Row; 6] = [
    ("buffer.memory=4096", &[("buffer.memory", "4096")], 1, 14 << 10),
    ("buffer.memory=8192", &[("buffer.memory", "8192")], 1, 16 << 10),
    ("buffer.memory=8192, no idempotence", &[("buffer.memory", "8192"), ("enable.idempotence", "false")], 1, 17 << 10),
    ("buffer.memory=8192, 12 partitions", &[("buffer.memory", "8192")], 12, 16 << 10),
    ("buffer.memory=16384", &[("buffer.memory", "16384")], 1, 17 << 10),
    ("defaults", &[], 1, 14 << 10),
];

/// Heaps up to this size are tried.
const LARGEST: usize = 40 << 10;

const SMALL: [(&str, &str); 4] = [
    ("bootstrap.servers", "127.0.0.1:9092"),
    ("batch.size", "512"),
    ("batch.size.max", "512"),
    ("max.request.size", "1024"),
];

const RECORDS: usize = 400;

/// How often in a row a send may be refused.
const PATIENCE: u32 = 2000;

/// How a run ends that does not end in a failed allocation.
const DELIVERED: i32 = 10;
const REFUSED: i32 = 11;

/// Not a test of its own: one size of heap, in a process of its own.
#[test]
fn one_size() {
    let Ok(told) = std::env::var("MILENA_SMALL") else { return };
    let (row, size) = told.split_once(' ').expect("two numbers");
    let (row, size): (usize, usize) = (row.parse().expect("a row"), size.parse().expect("a size"));
    give_heap(size);
    let refusal = run(ROWS[row].1, ROWS[row].2).err().map(|error| error.to_string());
    println!("peak {}, {refusal:?}", PEAK.get());
    if let Some(words) = &refusal {
        assert!(words.contains("memory") && words.contains("give it a larger heap"), "{words}");
    }
    std::process::exit(if refusal.is_some() { REFUSED } else { DELIVERED });
}

fn run(options: &[(&str, &str)], partitions: i32) -> Result<(), Box<dyn core::error::Error>> {
    let mut cluster = Cluster::new(Settings::default());
    cluster.create_topic("readings", partitions);
    let mut producer = inside(|| {
        let small = if options.is_empty() { &SMALL[..1] } else { &SMALL };
        let config = Config::from_properties(small.iter().chain(options).copied())?;
        Ok::<_, ConfigError>(Producer::new(Instant::ZERO, None, config, [3; 32]))
    })?;
    let mut peers: BTreeMap<ConnId, Peer> = BTreeMap::new();
    let mut now = Instant::ZERO;
    let (mut sent, mut delivered, mut failed, mut step, mut refused) = (0, 0, 0, 0, 0);
    let value = [b'v'; 60];
    while delivered + failed < RECORDS {
        while sent < RECORDS {
            match inside(|| producer.send(now, &Record::new("readings").value(&value))) {
                Ok(_) => (sent, refused) = (sent + 1, 0),
                Err(SendError::NotReady { .. } | SendError::BufferFull { .. }) => break,
                // Connections may be the ones that need it just now.
                Err(SendError::NoMemory { .. }) if refused < PATIENCE => {
                    refused += 1;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            match inside(|| producer.poll_output()) {
                Output::Connect { conn, host, port, .. } => {
                    let node = cluster.node_at(&host, port).expect("a node");
                    peers.insert(conn, cluster.connect(node).expect("it is up"));
                    inside(|| producer.handle_input(now, Input::Connected(conn)));
                }
                Output::Disconnect(conn) => drop(peers.remove(&conn)),
                Output::Transmit(conn) => loop {
                    let Some(segment) = inside(|| producer.transmit(now, conn).segments().next().cloned()) else {
                        break;
                    };
                    cluster.receive(now, peers[&conn], &segment);
                    let written = segment.len();
                    drop(segment);
                    inside(|| producer.written(now, conn, written));
                },
                Output::Event(Event::Delivered(delivery)) => match delivery.outcome {
                    Ok(_) => delivered += delivery.records.len(),
                    Err(_) => failed += delivery.records.len(),
                },
                Output::Event(_) => {}
                Output::Job(_) | Output::Token { .. } => unreachable!("neither jobs nor OAUTHBEARER were asked for"),
                Output::Wait(_) => break,
            }
        }
        step += 1;
        assert!(step < 400_000, "it hangs: {sent} sent, {delivered} delivered");
        for (conn, peer) in &peers {
            // As a UART gives them.
            for piece in cluster.take_output(*peer).chunks(16) {
                inside(|| producer.handle_input(now, Input::Data(*conn, piece)));
            }
        }
        // From time to time a connection breaks, or nonsense comes in.
        if step % 41 == 40 {
            if let Some((conn, _)) = peers.pop_last() {
                inside(|| producer.handle_input(now, Input::Disconnected(conn, Cause::Closed)));
            }
        } else if step % 47 == 46 {
            for conn in peers.keys() {
                let nonsense: Vec<u8> =
                    (0..300u32).map(|n| (n * 77 + step) as u8 & if n < 2 { 0 } else { 255 }).collect();
                inside(|| producer.handle_input(now, Input::Data(*conn, &nonsense)));
            }
        }
        now = now + Duration::from_millis(20);
        inside(|| producer.handle_input(now, Input::Timeout));
    }
    assert_eq!(failed, 0, "the rest is delivered");
    inside(|| producer.close(now));
    drop(peers);
    inside(|| drop(producer));
    Ok(())
}

/// How it ends with such a heap.
fn ends(row: usize, size: usize) -> i32 {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    let output =
        command.args(["one_size", "--exact", "--nocapture"]).env("MILENA_SMALL", format!("{row} {size}")).output();
    let output = output.expect("it starts");
    match output.status.code() {
        Some(code @ (DELIVERED | REFUSED)) => code,
        _ => panic!(
            "{}, a heap of {size} bytes: {} {}{}",
            ROWS[row].0,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[test]
fn with_little_memory_records_are_delivered_or_refused() {
    for (row, (name, .., enough)) in ROWS.iter().enumerate() {
        let sizes: Vec<usize> = (512..LARGEST).step_by(512).collect();
        let works: Vec<bool> = sizes.iter().map(|size| ends(row, *size) == DELIVERED).collect();
        let first = sizes[works.iter().position(|works| *works).expect("some size is enough")];
        let last = works.iter().rposition(|works| !*works).expect("512 bytes are not enough");
        let always = sizes.get(last + 1).copied().unwrap_or(LARGEST);
        println!("{name}: may work from {first} bytes on, works from {always} on");
        assert!(always <= *enough, "{name}: {always} bytes are needed");
    }
}
