//! A producer that is given more than the network takes: `cargo bench --features cluster,threads --bench saturation`.
//!
//! Against a cluster that only counts, with 10 ms of delay each way: how large batches grow, how many requests are in flight,
//! how often the I/O thread wakes. And how much memory 10,000 keyed partitions take.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod heap;

use std::time::{Duration, Instant};

use milena::cluster::{Server, ServerSettings, Settings};
use milena::threads::Producer;
use milena::{Config, Record};

fn server(partitions: i32, delay: u64) -> Server {
    let cluster = Settings::default().discard(true).default_partitions(partitions);
    let delay = Duration::from_millis(delay);
    Server::start_with(ServerSettings::default().cluster(cluster).delay(delay)).expect("loopback sockets")
}

fn row(what: &str, value: String, budget: &str) {
    println!("{what:<52} {value:>14}   {budget}");
}

fn main() {
    row("what", "measured".into(), "budget");
    saturated();
    many_partitions();
}

fn saturated() {
    const RECORDS: u64 = 2_000_000;
    let server = server(4, 10);
    let producer = Producer::new(Config::new(&server.bootstrap()).expect("an address")).expect("a producer");
    producer.partitions_for("t").expect("the topic");
    let value = [b'v'; 100];
    let start = Instant::now();
    let (mut in_flight, mut samples) = (0, 0);
    for n in 0..RECORDS {
        producer.enqueue(&Record::new("t").value(&value)).expect("the record is taken");
        if n % 1000 == 0 && n > RECORDS / 10 {
            in_flight += producer.in_flight();
            samples += 1;
        }
    }
    producer.flush().expect("it is flushed");
    let seconds = start.elapsed().as_secs_f64();
    let (stats, wakeups) = (producer.stats(), producer.wakeups());
    producer.close(Duration::from_secs(10)).expect("it closes");
    let batch = stats.batch_bytes_sent / stats.batches_sent;
    row("records a second, 10 ms each way", format!("{:.0}", RECORDS as f64 / seconds), "");
    row("bytes of a batch, on average", batch.to_string(), "above 65,536");
    row(
        "produce requests in flight, on average (limit 5)",
        format!("{:.1}", f64::from(in_flight as u32) / f64::from(samples)),
        "5",
    );
    row(
        "wake-ups of the I/O thread for 1,000 sends",
        format!("{:.2}", wakeups as f64 * 1000.0 / RECORDS as f64),
        "below 20",
    );
}

fn many_partitions() {
    const PARTITIONS: i32 = 10_000;
    let server = server(PARTITIONS, 0);
    let config = Config::new(&server.bootstrap()).expect("an address");
    let memory = config.buffer_memory();
    let producer = Producer::new(config).expect("a producer");
    producer.partitions_for("t").expect("the topic");
    let before = heap::live();
    heap::forget_most();
    let value = [b'v'; 100];
    for n in 0..1_000_000u64 {
        producer.enqueue(&Record::new("t").key(&n.to_le_bytes()).value(&value)).expect("the record is taken");
    }
    producer.flush().expect("it is flushed");
    let most = heap::most() - before;
    producer.close(Duration::from_secs(10)).expect("it closes");
    let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    row(
        "peak heap, 10,000 keyed partitions, cluster included",
        mib(most),
        &format!("buffer.memory is {}", mib(memory)),
    );
}
