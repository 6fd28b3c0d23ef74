//! Where things meet: a dead broker and full memory, a flush and a close, credentials that change while somebody waits, code of the
//! application's that is dropped, drivers that go while they call.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;
mod proxy;

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
        let (dead, well) =
            cluster.with(|cluster, _| (cluster.leader("t", 0).unwrap(), cluster.leader("t", 1).unwrap()));
        assert_ne!(dead, well);
        let options =
            [("buffer.memory", "400000"), ("batch.size", "4000"), ("linger.ms", "0"), ("max.block.ms", "10000")];
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
            let waits = tasks
                .spawn(async move { other.enqueue(&Record::new("t").value(&theirs).partition(1)).await.map(drop) });
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
        guarded(
            PATIENCE,
            move || format!("{adapter:?}"),
            move || {
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
            },
        );
    }
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
        let more =
            [("socket.connection.setup.timeout.ms", "60000"), ("socket.connection.setup.timeout.max.ms", "60000")];
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
            assert!(
                behind.is_done(),
                "{adapter:?}: the one that waited in line still waits; the one that hung: {}",
                hung.is_done()
            );
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
    let failed: Vec<_> =
        runs.into_iter().enumerate().filter_map(|(kind, run)| run.join().err().map(|_| kind)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn renewed_while_waiting(kind: usize) {
    let (cluster, proxy) = secured(1);
    let port = cluster.with(|cluster, _| cluster.address(cluster.nodes()[0]).unwrap().1);
    let door = Door::default();
    let hangs = || Mine { door: Some((port, door.clone())) };
    let plain = |mechanism: &'static str| {
        let login =
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";";
        let scram =
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"secret\";";
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
    guarded(
        PATIENCE,
        || "tokio".into(),
        || {
            let cluster = TestCluster::start().unwrap();
            Adapter::TokioMany.run(
                config(&cluster, &[("linger.ms", "50")]),
                async |producer: Producer, tasks: Tasks| {
                    producer.know("t").await;
                    cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
                    let record = Record::new("t").value("v").partition(0);
                    producer.send_with(&record, |_| std::thread::sleep(Duration::from_secs(4))).await.unwrap();
                    let ack = producer.enqueue(&record).await.unwrap();
                    let closer = producer.clone();
                    // In a runtime of its own, whose time nobody blocks.
                    let close = std::thread::spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        let Producer::Tokio(closer) = closer else { unreachable!() };
                        runtime.block_on(closer.close(Duration::from_secs(1)))
                    });
                    while producer.try_enqueue(&record).is_ok() {
                        tasks.sleep(Duration::from_millis(1)).await;
                    }
                    cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
                    let closed = close.join().unwrap();
                    let outcome = ack.outcome().await;
                    println!("{closed:?} {outcome:?} {:?}", producer.stats());
                    let stats = producer.stats();
                    assert!(
                        closed.is_err() || outcome.is_ok(),
                        "close says {closed:?}, {stats:?}, the record {outcome:?}, in the log are {}",
                        cluster.records("t").len()
                    );
                },
            );
        },
    );
}

/// Whoever closes or flushes while a dropped driver tells callbacks waits for them, too.
#[test]
fn beside_a_driver_that_is_dropped_close_and_flush_wait_for_callbacks() {
    for (adapter, flushes) in [(Adapter::TokioMany, false), (Adapter::TokioMany, true)] {
        guarded(
            PATIENCE,
            move || format!("{adapter:?}"),
            move || {
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
            },
        );
    }
}
