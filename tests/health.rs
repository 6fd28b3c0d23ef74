//! Each adapter tells how it is: status, ping, an observer, errors with reasons; against the cluster in memory that goes away.

#![cfg(all(feature = "cluster", feature = "threads", feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "a host has a clock")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use milena::cluster::{Cluster, Request, TestCluster};
use milena::metrics::Metrics;
use milena::{Config, Error, Observation, Observer, Record, ServerState, Setup, Status};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn observe(&self, what: &Observation) {
        self.0.lock().unwrap().push(what.to_string());
        assert!(!what.to_string().contains("told to panic"), "an observer's panic is its own");
    }
}

impl Heard {
    fn has(&self, words: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(words))
    }
}

fn setup(cluster: &TestCluster, heard: &Arc<Heard>) -> Setup {
    let options = [("linger.ms", "0"), ("delivery.timeout.ms", "3000"), ("request.timeout.ms", "2000")];
    let own = options.map(|(name, value)| (name.to_string(), value.to_string()));
    let config = Config::from_properties(cluster.properties().into_iter().chain(own)).unwrap();
    let observer: Arc<dyn Observer> = Arc::clone(heard) as _;
    Setup::new(config).observer(observer)
}

/// An adapter's producer, as this test uses it.
struct Calls<'a> {
    send: &'a dyn Fn() -> Result<(), Error>,
    /// Sends without waiting for the outcome.
    begin: &'a dyn Fn(),
    ping: &'a dyn Fn(Duration) -> Result<Duration, Error>,
    status: &'a dyn Fn() -> Status,
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn goes_away_and_comes_back(cluster: &TestCluster, heard: &Heard, calls: &Calls<'_>) {
    let Calls { send, begin, ping, status } = calls;
    send().unwrap();
    assert!(status().is_healthy(SECOND), "{:?}", status());
    assert!(status().last_delivery.is_some() && status().producer_id.is_some());
    assert!(ping(20 * SECOND).unwrap() < 20 * SECOND);
    assert!(heard.has("connected to 127.0.0.1:"), "{heard:?}");

    cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 19, 2));
    send().unwrap();
    assert!(heard.has("1 records again after attempt 1: NOT_ENOUGH_REPLICAS"), "{heard:?}");

    cluster.stop();
    begin();
    until("it is not well", || !status().is_healthy(SECOND / 2));
    let now = status();
    assert!(now.servers.iter().any(|server| matches!(server.state, ServerState::Down { .. })), "{now:?}");
    assert!(now.oldest_record.is_some() && now.why.is_some(), "{now:?}");
    let error = send().unwrap_err();
    assert!(error.is_retriable() && !error.is_callers_fault() && error.topic() == Some("t"), "{error:?}");
    assert!(error.to_string().contains("can't connect"), "{error}");
    let error = ping(SECOND / 5).unwrap_err();
    assert!(matches!(error, Error::NoMetadata { after, .. } if after == SECOND / 5), "{error:?}");
    assert!(error.to_string().contains("can't connect"), "{error}");
    assert!(heard.has("records failed: topic t, partition "), "{heard:?}");

    cluster.start_again().unwrap();
    until("it is well", || send().is_ok() && status().is_healthy(SECOND));
    assert!(status().why.is_none(), "{:?}", status());
}

/// A producer's pings, and what it has measured.
struct Pings<'a> {
    ping: &'a (dyn Fn(Duration) -> Result<Duration, Error> + Sync),
    /// Begins one with much time and gives it up soon; not with threads, which can't.
    drop: Option<&'a dyn Fn()>,
    metrics: &'a (dyn Fn() -> Metrics + Sync),
}

/// For each server of which something is known: requests that it has not answered.
fn owed(metrics: &Metrics) -> Vec<u64> {
    metrics.servers.iter().map(|server| server.traffic.requests - server.traffic.responses).collect()
}

/// Of two nodes the one that is pinged stands still.
fn pings_do_not_hold_up_each_other(cluster: &TestCluster, pings: &Pings<'_>) {
    let Pings { ping, drop, metrics } = pings;
    ping(20 * SECOND).unwrap();
    let each = |change: &dyn Fn(&mut Cluster, milena::Instant, i32)| {
        cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| change(cluster, now, node)));
    };
    each(&|cluster, _, node| cluster.pause(node));
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| ping(20 * SECOND));
        until("a server owes an answer", || owed(&metrics()).iter().sum::<u64>() > 0);
        let asked = metrics();
        let silent = asked.servers.iter().find(|it| it.traffic.requests > it.traffic.responses).unwrap().server.port;
        each(&|cluster, now, node| {
            if cluster.address(node).unwrap().1 != silent {
                cluster.resume(now, node);
            }
        });
        // One with little time gives up by itself, or is given up; then whoever waits on is answered by the other node.
        match drop {
            Some(drop) => drop(),
            None => assert!(matches!(ping(SECOND / 5), Err(Error::NoMetadata { .. }))),
        }
        patient.join().unwrap().unwrap();
        assert_eq!(metrics().stats.connection_failures, 0, "it took no patience with the one that stands still");
    });
    ping(20 * SECOND).unwrap();
    assert_eq!(metrics().stats.connection_failures, 0);
    each(&|cluster, now, node| cluster.resume(now, node));
    until("all is answered", || owed(&metrics()).iter().all(|owed| *owed == 0));
    ping(20 * SECOND).unwrap();

    // Nobody is asked for those that gave up.
    cluster.stop();
    until("the connections are gone", || metrics().connections == 0);
    assert!(matches!(ping(SECOND / 5), Err(Error::NoMetadata { .. })));
    drop.iter().for_each(|drop| drop());
    let quiet = || {
        let before = metrics().stats.connections;
        std::thread::sleep(3 * SECOND / 2);
        before == metrics().stats.connections
    };
    until("it stops to try", quiet);
    cluster.start_again().unwrap();
    ping(20 * SECOND).unwrap();
}

fn two_nodes() -> (TestCluster, Setup) {
    let cluster = TestCluster::builder().nodes(2).start().unwrap();
    let config = Config::from_properties(cluster.properties()).unwrap();
    (cluster, Setup::new(config))
}

#[test]
fn pings_of_threads_do_not_hold_up_each_other() {
    let (cluster, setup) = two_nodes();
    let producer = milena::threads::Producer::new(setup).unwrap();
    let (ping, metrics) = (|timeout| producer.ping(timeout), || producer.metrics());
    pings_do_not_hold_up_each_other(&cluster, &Pings { ping: &ping, drop: None, metrics: &metrics });
    producer.close(20 * SECOND).unwrap();
}

#[test]
fn pings_of_tasks_do_not_hold_up_each_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (cluster, setup) = two_nodes();
    let producer = {
        let _guard = runtime.enter();
        milena::tokio::Producer::spawn(setup).unwrap()
    };
    let (ping, metrics) = (|timeout| runtime.block_on(producer.ping(timeout)), || producer.metrics());
    let drop = || {
        let given_up = async { tokio::time::timeout(SECOND / 5, producer.ping(20 * SECOND)).await };
        assert!(runtime.block_on(given_up).is_err());
    };
    pings_do_not_hold_up_each_other(&cluster, &Pings { ping: &ping, drop: Some(&drop), metrics: &metrics });
    runtime.block_on(producer.close(20 * SECOND)).unwrap();
}

#[test]
fn threads() {
    let (cluster, heard) = (TestCluster::start().unwrap(), Arc::new(Heard::default()));
    let producer = milena::threads::Producer::new(setup(&cluster, &heard)).unwrap();
    let record = Record::new("t").value("v");
    let calls = Calls {
        send: &|| producer.send(&record).map(drop),
        begin: &|| drop(producer.enqueue(&record)),
        ping: &|timeout| producer.ping(timeout),
        status: &|| producer.status(),
    };
    goes_away_and_comes_back(&cluster, &heard, &calls);
    producer.close(20 * SECOND).unwrap();
    assert!(status_of_closed(&producer.status()));
    assert!(matches!(producer.ping(SECOND), Err(Error::Send(_))));
}

#[test]
fn tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (cluster, heard) = (TestCluster::start().unwrap(), Arc::new(Heard::default()));
    let producer = {
        let _guard = runtime.enter();
        milena::tokio::Producer::spawn(setup(&cluster, &heard)).unwrap()
    };
    let record = Record::new("t").value("v");
    let calls = Calls {
        send: &|| runtime.block_on(producer.send(&record)).map(drop),
        begin: &|| drop(runtime.block_on(producer.enqueue(&record))),
        ping: &|timeout| runtime.block_on(producer.ping(timeout)),
        status: &|| producer.status(),
    };
    goes_away_and_comes_back(&cluster, &heard, &calls);
    runtime.block_on(producer.close(20 * SECOND)).unwrap();
    assert!(status_of_closed(&producer.status()));
}

#[test]
fn smol() {
    let (cluster, heard) = (TestCluster::start().unwrap(), Arc::new(Heard::default()));
    let (producer, driver) = milena::smol::Producer::new(setup(&cluster, &heard)).unwrap();
    let driver = smol::spawn(driver);
    let record = Record::new("t").value("v");
    let calls = Calls {
        send: &|| smol::block_on(producer.send(&record)).map(drop),
        begin: &|| drop(smol::block_on(producer.enqueue(&record))),
        ping: &|timeout| smol::block_on(producer.ping(timeout)),
        status: &|| producer.status(),
    };
    goes_away_and_comes_back(&cluster, &heard, &calls);
    smol::block_on(producer.close(20 * SECOND)).unwrap();
    assert!(status_of_closed(&producer.status()));
    smol::block_on(driver);
}

fn status_of_closed(status: &Status) -> bool {
    status.closing && !status.is_healthy(SECOND) && status.open_records == 0
}
