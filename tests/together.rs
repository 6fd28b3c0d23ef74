//! Everything at once: many senders, little memory, a cluster that stops and goes on, closers, flushers, drivers that go.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hosts::{Adapter, PATIENCE, Producer, Tasks, each_adapter, guarded};
use milena::cluster::TestCluster;
use milena::{Config, Record};

fn config(cluster: &TestCluster, more: &[(&str, &str)]) -> Config {
    let more = more.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Config::from_properties(cluster.properties().into_iter().chain(more)).expect("valid options")
}

/// Stands before a broker: Produce requests are read at once and go nowhere, everything else is passed on.
fn sink(cluster: &TestCluster, node: i32) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = cluster.with(|cluster, _| {
        let behind = cluster.address(node).map(|(host, port)| format!("{host}:{port}")).unwrap();
        cluster.set_address(node, "127.0.0.1", port);
        behind
    });
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), Ok(mut broker)) = (client, std::net::TcpStream::connect(&behind)) else { return };
            let (mut answers, mut back) = (broker.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            std::thread::spawn(move || {
                let mut whole = vec![0; 1 << 16];
                loop {
                    let mut head = [0; 6];
                    client.read_exact(&mut head).ok()?;
                    if head[4..] == [0, 0] {
                        // From the first Produce request on, nothing else comes here.
                        while client.read(&mut whole).ok()? > 0 {}
                        return None::<()>;
                    }
                    let mut body = vec![0; u32::from_be_bytes(*head.first_chunk().unwrap()) as usize - 2];
                    client.read_exact(&mut body).ok()?;
                    broker.write_all(&[&head[..], &body].concat()).ok()?;
                }
            });
        }
    });
}

/// Each callback sends the next record, as programs do that keep a window open. The other work goes on.
#[test]
fn callbacks_that_send_do_not_starve_the_rest() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::builder().nodes(2).start().unwrap();
        let leader = cluster.with(|cluster, _| {
            cluster.create_topic("t", 1);
            cluster.create_topic("other", 1);
            cluster.leader("t", 0).unwrap()
        });
        let options = [("acks", "0"), ("enable.idempotence", "false"), ("linger.ms", "0"), ("max.block.ms", "10000")];
        let another = cluster.with(|cluster, _| {
            let another = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
            cluster.address(another).map(|(host, port)| format!("{host}:{port}")).unwrap()
        });
        sink(&cluster, leader);
        let options = options.into_iter().chain([("bootstrap.servers", &*another)]);
        let options = options.map(|(name, value)| (name.to_string(), value.to_string()));
        adapter.run(Config::from_properties(options).unwrap(), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            for _ in 0..64 {
                chain(producer.clone(), Arc::clone(&stop), Arc::clone(&count));
            }
            tasks.sleep(Duration::from_millis(500)).await;
            let before = count.load(Ordering::SeqCst);
            let partitions = match &producer {
                Producer::Threads(producer) => producer.partitions_for("other"),
                Producer::Tokio(producer) => producer.partitions_for("other").await,
                Producer::Smol(producer) => producer.partitions_for("other").await,
            };
            let meanwhile = count.load(Ordering::SeqCst) - before;
            stop.store(true, Ordering::SeqCst);
            assert!(partitions.is_ok(), "{adapter:?}: {partitions:?} while {meanwhile} callbacks sent");
            producer.close(Duration::from_secs(20)).await.unwrap();
        });
    });
}

/// Sends a record, and at its end the next.
fn chain(producer: Producer, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    if stop.load(Ordering::SeqCst) {
        return;
    }
    count.fetch_add(1, Ordering::SeqCst);
    let next = producer.clone();
    let record = Record::new("t").value("v").partition(0);
    let future = async move { producer.send_with(&record, move |_| chain(next, stop, count)).await };
    let mut future = pin!(future);
    let polled = future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(polled.is_ready(), "it is taken at once");
}

/// Numbers without pattern.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll(2);
        dice
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What senders did, and heard.
#[derive(Debug, Default)]
struct Book {
    /// Values whose acknowledgement was good.
    good: Mutex<Vec<String>>,
    bad: Mutex<Vec<String>>,
    /// Calls of callbacks by value.
    called: Mutex<std::collections::BTreeMap<String, usize>>,
    expected: Mutex<Vec<String>>,
    waits: Mutex<std::collections::BTreeMap<String, String>>,
}

impl Book {
    fn waits(&self, who: &str, what: String) {
        self.waits.lock().unwrap().insert(who.to_string(), what);
    }
}

async fn sender(producer: Producer, book: Arc<Book>, who: usize, seed: u64, stop: Arc<AtomicBool>, tasks: Tasks) {
    let (mut dice, mut acks, mut number) = (Dice::new(seed), Vec::new(), 0);
    let name = format!("{who}");
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let mut value = format!("{who}-{number}-");
        let (key, text) = (value.clone(), value.clone());
        value.push_str(&"v".repeat(dice.roll(4000) as usize));
        let record = Record::new("t").value(&value).key(&key).partition(dice.roll(4) as i32);
        let what = dice.roll(6);
        book.waits(&name, format!("{what} at {number}"));
        match what {
            0 => {
                if let Ok(ack) = producer.try_enqueue(&record) {
                    acks.push((text, ack));
                }
            }
            1 => {
                let (theirs, told) = (Arc::clone(&book), text.clone());
                let call = move |_| *theirs.called.lock().unwrap().entry(told).or_default() += 1;
                if producer.send_with(&record, call).await.is_ok() {
                    book.expected.lock().unwrap().push(text);
                }
            }
            2 if !matches!(producer, Producer::Threads(_)) => {
                // Polled once or twice, and dropped; or goes on.
                let mut future = Box::pin(producer.enqueue(&record));
                let mut first = hosts::poll_once(&mut future).await;
                if first.is_none() && dice.roll(2) == 0 {
                    tasks.sleep(Duration::from_millis(dice.roll(80))).await;
                    if dice.roll(2) == 0 {
                        first = hosts::poll_once(&mut future).await;
                    }
                }
                match first {
                    Some(Ok(ack)) => acks.push((text, ack)),
                    Some(Err(_)) => {}
                    None if dice.roll(2) == 0 => {
                        if let Ok(ack) = future.await {
                            acks.push((text, ack));
                        }
                    }
                    None => drop(future),
                }
            }
            3 => {
                let Ok(ack) = producer.enqueue(&record).await else { continue };
                match ack.outcome().await {
                    Ok(_) => book.good.lock().unwrap().push(text),
                    Err(_) => book.bad.lock().unwrap().push(text),
                }
            }
            4 if dice.roll(10) == 0 => drop(producer.flush().await),
            _ => {
                if let Ok(ack) = producer.enqueue(&record).await {
                    acks.push((text, ack));
                }
            }
        }
        if dice.roll(20) == 0 {
            tasks.sleep(Duration::from_millis(dice.roll(10))).await;
        }
        if acks.len() > 100 {
            acks.retain(|(_, ack)| !ack.is_done() || dice.roll(50) != 0);
        }
    }
    book.waits(&name, "acks".into());
    for (text, ack) in acks {
        match ack.outcome().await {
            Ok(_) => book.good.lock().unwrap().push(text),
            Err(_) => book.bad.lock().unwrap().push(text),
        }
    }
    book.waits(&name, "over".into());
}

fn stress(adapter: Adapter, seed: u64, ending: u64, spans: u64) {
    let book = Arc::new(Book::default());
    let told = Arc::clone(&book);
    let state = move || format!("{adapter:?}, seed {seed}, ending {ending}: {:?}", told.waits.lock().unwrap());
    guarded(PATIENCE, state, move || {
        let mut dice = Dice::new(seed);
        let cluster = TestCluster::builder().nodes(2).delay(Duration::from_millis(1)).start().unwrap();
        cluster.with(|cluster, _| cluster.create_topic("t", 4));
        let memory = ["20000", "60000", "300000"][dice.roll(3) as usize];
        let linger = ["0", "5", "1000000"][dice.roll(3) as usize];
        let options = [
            ("buffer.memory", memory),
            ("batch.size", "4000"),
            ("linger.ms", linger),
            ("max.block.ms", "50000"),
            ("delivery.timeout.ms", "2000000"),
        ];
        adapter.run(config(&cluster, &options), async |producer: Producer, tasks: Tasks| {
            producer.know("t").await;
            let stop = Arc::new(AtomicBool::new(false));
            let senders: Vec<_> = (0..12)
                .map(|who| {
                    let (seed, stop) = (seed * 100 + who as u64, Arc::clone(&stop));
                    let one = sender(producer.clone(), Arc::clone(&book), who, seed, stop, tasks.clone());
                    tasks.spawn(one)
                })
                .collect();
            for _ in 0..spans {
                let node = cluster.with(|cluster, _| cluster.nodes()[dice.roll(2) as usize]);
                cluster.with(|cluster, _| cluster.pause(node));
                tasks.sleep(Duration::from_millis(dice.roll(200))).await;
                cluster.with(|cluster, now| cluster.resume(now, node));
                tasks.sleep(Duration::from_millis(dice.roll(60))).await;
            }
            let closers: Vec<_> = (0..3)
                .map(|n| {
                    let (producer, wait, tasks) = (producer.clone(), dice.roll(30), tasks.clone());
                    let patience =
                        if ending == 1 { Duration::from_millis(dice.roll(20)) } else { Duration::from_secs(60) };
                    let own = tasks.clone();
                    let book = Arc::clone(&book);
                    tasks.spawn(async move {
                        own.sleep(Duration::from_millis(wait)).await;
                        book.waits(&format!("closer {n}"), "closing".into());
                        let closed = producer.close(patience).await;
                        book.waits(&format!("closer {n}"), "closed".into());
                        drop(producer.flush().await);
                        book.waits(&format!("closer {n}"), "over".into());
                        closed
                    })
                })
                .collect();
            if ending == 2 {
                tasks.sleep(Duration::from_millis(dice.roll(60))).await;
                tasks.drop_driver().await;
            }
            let mut closed = Vec::new();
            for closer in closers {
                closed.push(closer.join().await);
            }
            stop.store(true, Ordering::SeqCst);
            for sender in senders {
                sender.join().await;
            }
            if ending == 0 {
                assert!(closed.iter().all(|closed| matches!(closed, Ok(0))), "{closed:?}");
                assert_eq!(*book.bad.lock().unwrap(), [""; 0], "nothing failed");
            }
            let called = book.called.lock().unwrap();
            for text in book.expected.lock().unwrap().iter() {
                assert_eq!(called.get(text), Some(&1), "{text}");
            }
            let mut log = std::collections::BTreeMap::<String, usize>::new();
            for (_, record) in cluster.records("t") {
                *log.entry(String::from_utf8(record.key.unwrap().to_vec()).unwrap()).or_default() += 1;
            }
            assert!(log.values().all(|times| *times == 1), "twice in the log");
            for text in book.good.lock().unwrap().iter() {
                assert!(log.contains_key(text), "{text} is not in the log");
            }
            let stats = producer.stats();
            assert_eq!(stats.records_accepted, stats.records_delivered + stats.records_failed, "{stats:?}");
        });
    });
}

/// Many senders, little memory, a cluster that stops and goes on, closers, a driver that goes: nobody waits for ever, callbacks
/// are called once, and what is reported is in the log.
#[test]
fn everything_at_once_ends_well() {
    for round in 0..3 {
        for ending in 0..3 {
            let runs: Vec<_> = hosts::ADAPTERS
                .into_iter()
                .filter(|adapter| ending != 2 || *adapter != Adapter::Threads)
                .map(|adapter| std::thread::spawn(move || stress(adapter, 1 + round * 3 + ending, ending, 10)))
                .collect();
            let failed = runs.into_iter().filter_map(|run| run.join().err()).count();
            assert_eq!(failed, 0);
        }
    }
}

/// A task's waker panics, in the middle of what a driver tells: everybody else hears what became of their records.
#[test]
fn a_waker_that_panics_takes_no_outcome_with_it() {
    struct Bad;
    impl std::task::Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a clumsy waker");
        }
    }
    for adapter in [Adapter::TokioOne, Adapter::TokioMany] {
        guarded(
            Duration::from_secs(30),
            move || format!("{adapter:?}"),
            move || {
                let cluster = TestCluster::start().unwrap();
                cluster.with(|cluster, _| cluster.create_topic("t", 8));
                adapter.run(config(&cluster, &[("linger.ms", "100")]), async |producer: Producer, _: Tasks| {
                    producer.know("t").await;
                    let mut acks = Vec::new();
                    for partition in 0..8 {
                        let record = Record::new("t").value("v").partition(partition);
                        match &producer {
                            Producer::Tokio(producer) => acks.push(producer.enqueue(&record).await.unwrap()),
                            Producer::Smol(_) | Producer::Threads(_) => unreachable!(),
                        }
                    }
                    let waker = std::task::Waker::from(Arc::new(Bad));
                    let mut context = std::task::Context::from_waker(&waker);
                    assert!(std::pin::Pin::new(&mut acks[0]).poll(&mut context).is_pending());
                    let first = acks.remove(0); // whose waker stays
                    for ack in acks {
                        let _ = ack.await; // with an offset, or as possibly written: the driver is gone
                    }
                    while !first.is_done() {
                        std::thread::yield_now();
                    }
                    let closed = producer.close(Duration::from_secs(10)).await;
                    println!("{closed:?} {:?}", producer.send(&Record::new("t").value("v")).await);
                });
            },
        );
    }
}
