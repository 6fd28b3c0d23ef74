//! Findings of a review of the adapters.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;
mod proxy;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use hosts::{Adapter, PATIENCE, Producer, Tasks, each_adapter, guarded, now};
use milena::cluster::TestCluster;
use milena::{Config, Record, SaslExchange, SaslMechanism, Setup};
use proxy::{Link, Proxy, Room};

fn config(cluster: &TestCluster, more: &[(&str, &str)]) -> Config {
    let more = more.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Config::from_properties(cluster.properties().into_iter().chain(more)).expect("valid options")
}

/// A broker is gone and most of the memory waits for it; the records of the other one come and go.
#[test]
fn what_memory_there_is_beside_a_dead_broker_is_given() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::builder().nodes(2).start().unwrap();
        cluster.with(|cluster, _| cluster.create_topic("t", 2));
        let (dead, well) = cluster.with(|cluster, _| (cluster.leader("t", 0).unwrap(), cluster.leader("t", 1).unwrap()));
        assert_ne!(dead, well);
        let options = [("buffer.memory", "400000"), ("batch.size", "4000"), ("linger.ms", "0"), ("max.block.ms", "10000")];
        adapter.run(config(&cluster, &options), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            producer.send(&Record::new("t").value("v").partition(1)).await.unwrap();
            cluster.with(|cluster, _| cluster.pause(dead));
            cluster.with(|cluster, _| cluster.pause(well));
            let value = "v".repeat(3000);
            let to = |partition| Record::new("t").value(&value).partition(partition);
            for _ in 0..105 {
                producer.try_enqueue(&to(0)).unwrap();
            }
            let mut taken = 0;
            while producer.try_enqueue(&to(1)).is_ok() {
                taken += 1;
            }
            assert!(taken > 5, "{taken}");
            let (other, theirs) = (producer.clone(), value.clone());
            let waits = tasks.spawn(async move {
                other.enqueue(&Record::new("t").value(&theirs).partition(1)).await.map(drop)
            });
            tasks.sleep(Duration::from_millis(200)).await;
            cluster.with(|cluster, now| cluster.resume(now, well));
            let began = now();
            while producer.stats().records_delivered < taken + 1 {
                assert!(now() - began < Duration::from_secs(20), "{:?}", producer.stats());
                tasks.sleep(Duration::from_millis(5)).await;
            }
            // So many records' memory is free, and one record waits for it.
            assert_eq!(waits.join().await, Ok(()), "the memory of {taken} records is free");
        });
    });
}

/// `flush` says that callbacks were told.
#[test]
fn a_flush_beside_a_close_waits_for_callbacks() {
    for adapter in [Adapter::Threads, Adapter::TokioMany] {
        guarded(PATIENCE, move || format!("{adapter:?}"), move || {
            let cluster = TestCluster::start().unwrap();
            adapter.run(config(&cluster, &[("linger.ms", "10")]), async |producer: Producer, tasks: Tasks| {
                producer.know("t").await;
                let pause = |cluster: &mut milena::cluster::Cluster, _: milena::Instant| {
                    cluster.nodes().into_iter().for_each(|node| cluster.pause(node));
                };
                cluster.with(pause);
                let (began, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
                let (begins, ends) = (Arc::clone(&began), Arc::clone(&over));
                let record = Record::new("t").value("v").partition(0);
                let slow = move |_| {
                    begins.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_secs(1));
                };
                producer.send_with(&record, slow).await.unwrap();
                producer.send_with(&record, move |_| ends.store(true, Ordering::SeqCst)).await.unwrap();
                let closer = producer.clone();
                let close = tasks.spawn(async move { closer.close(Duration::from_secs(60)).await });
                while producer.try_enqueue(&record).is_ok() {
                    tasks.sleep(Duration::from_millis(1)).await;
                }
                cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
                while !began.load(Ordering::SeqCst) {
                    tasks.sleep(Duration::from_millis(1)).await;
                }
                producer.flush().await.unwrap();
                assert!(over.load(Ordering::SeqCst), "{adapter:?}: the second callback was not told yet");
                close.join().await.unwrap();
            });
        });
    }
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
            println!("{adapter:?}: {before}, {meanwhile}");
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

#[derive(Clone, Debug, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>, Arc<AtomicUsize>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, Duration::from_secs(60), |open| !*open).unwrap());
    }
}

/// PLAIN by another hand.
#[derive(Debug, Clone)]
struct Mine {
    door: Option<(u16, Door)>,
}

impl SaslMechanism for Mine {
    fn begin(&mut self, _: &str, port: u16) -> Result<Box<dyn SaslExchange>, String> {
        if let Some((_, door)) = self.door.as_ref().filter(|(at, _)| *at == port) {
            door.wait();
        }
        Ok(Box::new(self.clone()))
    }
}

impl SaslExchange for Mine {
    fn first(&mut self) -> Result<Vec<u8>, String> {
        Ok(b"\0alice\0secret".to_vec())
    }

    fn respond(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

fn secured(nodes: i32) -> (TestCluster, Proxy) {
    let cluster = TestCluster::builder().nodes(nodes).user("alice", "secret").start().unwrap();
    let proxy =
        Proxy::new(&cluster, Room::default(), None, |_| Link { renames: Some(("XTEST", "PLAIN")), ..Link::FREE });
    (cluster, proxy)
}

fn options(bootstrap: &str, more: &[(&str, &str)]) -> Config {
    let options = [
        ("bootstrap.servers", bootstrap),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "XTEST"),
        ("linger.ms", "0"),
    ];
    let options = options.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
    Config::from_properties(options).expect("valid options")
}

/// A mechanism hangs; others wait for it. Another one takes its place: those who waited are served.
#[test]
fn who_waits_for_a_hanging_mechanism_is_served_by_its_successor() {
    each_adapter(|adapter, progress| {
        let (cluster, proxy) = secured(3);
        cluster.with(|cluster, _| cluster.create_topic("t", 3));
        let leaders: Vec<u16> = cluster.with(|cluster, _| {
            let leader = |partition| cluster.leader("t", partition).and_then(|node| cluster.address(node));
            (0..3).map(|partition| leader(partition).unwrap().1).collect()
        });
        let first = format!("127.0.0.1:{}", leaders[0]);
        let more = [("socket.connection.setup.timeout.ms", "60000"), ("socket.connection.setup.timeout.max.ms", "60000")];
        let door = Door::default();
        let hangs = Mine { door: Some((leaders[2], door.clone())) };
        let setup = Setup::new(options(&first, &more)).sasl_mechanism(hangs);
        adapter.run(setup, async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.send(&Record::new("t").value("v").partition(0)).await.unwrap();
            let hung = producer.enqueue(&Record::new("t").value("v").partition(2)).await.unwrap();
            while door.1.load(Ordering::SeqCst) == 0 {
                tasks.sleep(Duration::from_millis(5)).await;
            }
            let behind = producer.enqueue(&Record::new("t").value("v").partition(1)).await.unwrap();
            tasks.sleep(Duration::from_millis(500)).await;
            let setup = Setup::new(options(&first, &more)).sasl_mechanism(Mine { door: None });
            producer.renew_security(setup).unwrap();
            let began = now();
            while !behind.is_done() && now() - began < Duration::from_secs(15) {
                tasks.sleep(Duration::from_millis(20)).await;
            }
            assert!(behind.is_done(), "{adapter:?}: the one that waited in line still waits; the one that hung: {}", hung.is_done());
            door.open();
            drop((hung, &proxy));
        });
    });
}

#[derive(Debug)]
struct Silent(Door);

impl milena::TokenProvider for Silent {
    fn token(&mut self) -> Result<milena::Token, String> {
        self.0.wait();
        Err("it was silent".into())
    }
}

/// Who waited under the old credentials goes on with the new ones, and does not hear of the old.
#[test]
fn a_send_that_waited_for_old_credentials_goes_on_with_new_ones() {
    let runs: Vec<_> = (0..5).map(|kind| std::thread::spawn(move || renewed_while_waiting(kind))).collect();
    let failed: Vec<_> = runs.into_iter().enumerate().filter_map(|(kind, run)| run.join().err().map(|_| kind)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn renewed_while_waiting(kind: usize) {
    let (cluster, proxy) = secured(1);
    let port = cluster.with(|cluster, _| cluster.address(cluster.nodes()[0]).unwrap().1);
    let door = Door::default();
    let hangs = || Mine { door: Some((port, door.clone())) };
    let plain = |mechanism: &'static str| {
        let login = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";";
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"secret\";";
        let login = if mechanism == "PLAIN" { login } else { scram };
        let bootstrap = proxy.bootstrap();
        let all = [
            ("bootstrap.servers", &*bootstrap),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
            ("sasl.jaas.config", login),
        ];
        Setup::new(Config::from_properties(all.map(|(name, value)| (name.to_string(), value.to_string()))).unwrap())
    };
    let oauth = || {
        let bootstrap = proxy.bootstrap();
        let all = [
            ("bootstrap.servers", &*bootstrap),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.jaas.config", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"),
        ];
        let config = Config::from_properties(all.map(|(name, value)| (name.to_string(), value.to_string()))).unwrap();
        Setup::new(config).token_provider(Silent(door.clone()))
    };
    let custom = |mechanism| Setup::new(options(&proxy.bootstrap(), &[])).sasl_mechanism(mechanism);
    // What there was, what takes its place, and whether the old one answers after that.
    let (old, new, answers) = match kind {
        0 => (custom(hangs()), custom(Mine { door: None }), false),
        1 => (custom(hangs()), plain("PLAIN"), false),
        2 => (oauth(), plain("PLAIN"), false),
        3 => (custom(hangs()), plain("SCRAM-SHA-256"), true),
        _ => (custom(Mine { door: None }), plain("SCRAM-SHA-256"), false),
    };
    let producer = milena::threads::Producer::new(old).unwrap();
    let sender = producer.clone();
    if kind == 4 {
        // To see that the setups are right.
        producer.send(&Record::new("t").value("v")).unwrap();
        producer.close(Duration::from_secs(10)).unwrap();
        let producer = milena::threads::Producer::new(new).unwrap();
        producer.send(&Record::new("t").value("v")).unwrap();
        return;
    }
    let sent = std::thread::spawn(move || {
        let began = now();
        (sender.send(&Record::new("t").value("v")).map(drop), now() - began)
    });
    while door.1.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    producer.renew_security(new).unwrap();
    if answers {
        door.open();
    }
    let sent = sent.join().unwrap();
    door.open();
    assert!(sent.0.is_ok(), "kind {kind}: {sent:?}");
    println!("kind {kind}: {sent:?}");
}

/// A mechanism, or an exchange, that looks at the producer when it is dropped.
#[derive(Debug)]
struct Looks(Arc<Mutex<Option<milena::threads::Producer>>>, bool);

impl SaslMechanism for Looks {
    fn begin(&mut self, _: &str, _: u16) -> Result<Box<dyn SaslExchange>, String> {
        Ok(Box::new(Self(Arc::clone(&self.0), !self.1)))
    }
}

impl SaslExchange for Looks {
    fn first(&mut self) -> Result<Vec<u8>, String> {
        Ok(b"\0alice\0secret".to_vec())
    }

    fn respond(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        if self.1 {
            let producer = self.0.lock().unwrap().clone();
            let _ = producer.map(|producer| producer.stats());
        }
    }
}

fn within<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(run()));
    hear.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{what}: does not return"))
}

/// The mechanism's `drop` is the application's code as well.
#[test]
fn a_replaced_mechanism_is_dropped_without_the_lock() {
    let (_cluster, proxy) = secured(1);
    let slot = Arc::default();
    let setup = |mechanism| Setup::new(options(&proxy.bootstrap(), &[])).sasl_mechanism(mechanism);
    let producer = milena::threads::Producer::new(setup(Looks(Arc::clone(&slot), true))).unwrap();
    *slot.lock().unwrap() = Some(producer.clone());
    let next = setup(Looks(Arc::default(), false));
    within("renew_security", move || producer.renew_security(next)).unwrap();
}

#[test]
fn an_exchange_is_dropped_without_the_lock() {
    let (_cluster, proxy) = secured(1);
    let slot = Arc::default();
    let setup = |mechanism| Setup::new(options(&proxy.bootstrap(), &[])).sasl_mechanism(mechanism);
    let producer = milena::threads::Producer::new(setup(Looks(Arc::clone(&slot), false))).unwrap();
    *slot.lock().unwrap() = Some(producer.clone());
    within("send", move || producer.send(&Record::new("t").value("v"))).unwrap();
}

/// What is delivered is not told as failed because a callback is slow and somebody closes.
#[test]
fn a_close_beside_a_slow_callback_tells_the_truth() {
    guarded(PATIENCE, || "tokio".into(), || {
        let cluster = TestCluster::start().unwrap();
        Adapter::TokioMany.run(config(&cluster, &[("linger.ms", "50")]), async |producer: Producer, tasks: Tasks| {
            producer.know("t").await;
            cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
            let record = Record::new("t").value("v").partition(0);
            producer.send_with(&record, |_| std::thread::sleep(Duration::from_secs(4))).await.unwrap();
            let ack = producer.enqueue(&record).await.unwrap();
            let closer = producer.clone();
            let close = tasks.spawn(async move { closer.close(Duration::from_secs(1)).await });
            while producer.try_enqueue(&record).is_ok() {
                tasks.sleep(Duration::from_millis(1)).await;
            }
            cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
            let closed = close.join().await;
            let outcome = ack.outcome().await;
            println!("{closed:?} {outcome:?} {:?}", producer.stats());
            let stats = producer.stats();
            assert!(
                closed.is_err() || outcome.is_ok(),
                "close says {closed:?}, {stats:?}, the record {outcome:?}, in the log are {}",
                cluster.records("t").len()
            );
        });
    });
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
                    let patience = if ending == 1 { Duration::from_millis(dice.roll(20)) } else { Duration::from_secs(60) };
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
            println!("{adapter:?} seed {seed} ending {ending} memory {memory} linger {linger}: {} good, {} bad, {} called, {closed:?}", book.good.lock().unwrap().len(), book.bad.lock().unwrap().len(), called.len());
        });
    });
}

/// Many senders, little memory, a cluster that stops and goes on, closers, a driver that goes: nobody waits for ever, callbacks
/// are called once, and what is reported is in the log.
#[test]
fn everything_at_once_ends_well() {
    let rounds = std::env::var("ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
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

/// Whoever closes or flushes while a dropped driver tells callbacks waits for them, too.
#[test]
fn beside_a_driver_that_is_dropped_close_and_flush_wait_for_callbacks() {
    for (adapter, flushes) in [(Adapter::TokioMany, false), (Adapter::TokioMany, true)] {
        guarded(PATIENCE, move || format!("{adapter:?}"), move || {
            let cluster = TestCluster::start().unwrap();
            adapter.run(config(&cluster, &[("linger.ms", "10")]), async |producer: Producer, tasks: Tasks| {
                producer.know("t").await;
                cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
                let (began, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
                let (begins, ends) = (Arc::clone(&began), Arc::clone(&over));
                let record = Record::new("t").value("v").partition(0);
                let slow = move |_| {
                    begins.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_secs(1));
                };
                producer.send_with(&record, slow).await.unwrap();
                producer.send_with(&record, move |_| ends.store(true, Ordering::SeqCst)).await.unwrap();
                let own = tasks.clone();
                let dropping = tasks.spawn(async move { own.drop_driver().await });
                while !began.load(Ordering::SeqCst) {
                    tasks.sleep(Duration::from_millis(1)).await;
                }
                if flushes {
                    producer.flush().await.unwrap();
                } else {
                    let closed = producer.close(Duration::from_secs(10)).await;
                    println!("{closed:?}");
                }
                assert!(over.load(Ordering::SeqCst), "flushes: {flushes}: the second callback was not told yet");
                dropping.join().await;
            });
        });
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
    for adapter in [Adapter::TokioOne, Adapter::TokioMany, Adapter::Smol] {
        if adapter == Adapter::Smol {
            continue; // a panic there is the executor's
        }
        guarded(PATIENCE, move || format!("{adapter:?}"), move || {
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
                for (n, ack) in acks.into_iter().enumerate() {
                    println!("{adapter:?} {n}: {:?}", ack.await.map(|delivered| delivered.offset));
                }
                println!("{:?}", producer.close(Duration::from_secs(10)).await);
            });
        });
    }
}
