//! Every adapter over links that are slow, narrow, stop, cut and add bytes, in plain text and with TLS: what was reported is
//! compared with the log, record by record.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;
mod proxy;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hosts::{ADAPTERS, Adapter, Producer, Progress, Tasks, guarded, now};
use milena::cluster::{StoredRecord, TestCluster};
use milena::{Config, Delivered, Error, Record};
use proxy::{Event, Link, Proxy};

/// Long enough for a busy machine, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(100);

/// Partitions of the topic; each sender writes to one.
const PARTITIONS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    Zero,
    One,
    All,
    /// All, each record exactly once.
    Idempotent,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    adapter: Adapter,
    tls: bool,
    acks: Acks,
    /// Bytes of a record's value.
    size: usize,
    senders: usize,
    /// Records of all senders.
    records: usize,
    /// `buffer.memory`, where it is to be full all the time.
    memory: Option<usize>,
    link: Link,
    /// The receive buffer of the proxy, if it is to be small.
    narrow: Option<usize>,
    /// `batch.size.max`, where requests have to stay small.
    batch: usize,
}

impl Case {
    fn new(adapter: Adapter, tls: bool, acks: Acks, link: Link) -> Self {
        Self {
            adapter,
            tls,
            acks,
            size: 1000,
            senders: 1,
            records: 1000,
            memory: None,
            link,
            narrow: None,
            batch: 262_144,
        }
    }

    fn load(self, records: usize, size: usize, senders: usize) -> Self {
        Self { records, size, senders, ..self }
    }

    fn memory(self, bytes: usize) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    fn narrow(self, bytes: usize) -> Self {
        Self { narrow: Some(bytes), ..self }
    }

    fn batch(self, bytes: usize) -> Self {
        Self { batch: bytes, ..self }
    }

    fn cluster(self) -> TestCluster {
        let builder = TestCluster::builder();
        let builder = if self.tls { builder.tls() } else { builder };
        let cluster = builder.start().expect("loopback sockets");
        cluster.with(|cluster, _| cluster.create_topic("t", PARTITIONS as i32));
        cluster
    }

    /// No retries where a doubled record would be theirs.
    fn options(self) -> Vec<(String, String)> {
        let memory = self.memory.unwrap_or(64 << 20).to_string();
        let batch = self.batch.to_string();
        let (acks, idempotence, retries) = match self.acks {
            Acks::Zero => ("0", "false", "0"),
            Acks::One => ("1", "false", "0"),
            Acks::All => ("all", "false", "0"),
            Acks::Idempotent => ("all", "true", "1000"),
        };
        let options = [
            ("acks", acks),
            ("enable.idempotence", idempotence),
            ("retries", retries),
            ("buffer.memory", &*memory),
            ("batch.size.max", &*batch),
            ("send.buffer.bytes", "32768"),
            ("delivery.timeout.ms", "60000"),
        ];
        options.map(|(name, value)| (name.to_string(), value.to_string())).into()
    }
}

/// What became of one record, by its sender and its number there.
type Outcomes = BTreeMap<(usize, usize), Result<Delivered, Error>>;

/// A value that no other record has.
fn value(sender: usize, number: usize, size: usize) -> Vec<u8> {
    let text = format!("{sender}-{number}-");
    text.bytes().chain((0..).map(|n| (n + sender * 31 + number * 7) as u8)).take(size.max(text.len())).collect()
}

fn key(sender: usize, number: usize) -> String {
    format!("{sender}-{number}")
}

/// Sends what the case says through the proxy, and closes the producer. What was reported, and what is in the log.
fn run(case: Case) -> (Outcomes, Vec<(i32, StoredRecord)>, Duration) {
    let progress = Progress::default();
    let told = progress.clone();
    let state = move || format!("{case:?}, {}", told.state());
    guarded(PATIENCE, state, move || {
        let cluster = case.cluster();
        let link = case.link;
        let proxy = Proxy::narrow(&cluster, case.narrow.unwrap_or(128 << 10), move |_| link);
        let options = proxy.properties(&cluster).into_iter().chain(case.options());
        let config = Config::from_properties(options).expect("valid options");
        let began = now();
        let outcomes = case.adapter.run(config, async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            progress.at("sending");
            let each = case.records / case.senders;
            let senders: Vec<_> =
                (0..case.senders).map(|sender| tasks.spawn(send(producer.clone(), sender, each, case.size))).collect();
            let mut outcomes = Outcomes::new();
            for sender in senders {
                outcomes.extend(sender.join().await);
            }
            progress.at("closing");
            let closed = producer.close(Duration::from_secs(60)).await;
            assert!(closed.is_ok(), "{closed:?}");
            outcomes
        });
        let took = now() - began;
        progress.at("closed, waiting for the rest to arrive");
        proxy.drained();
        (outcomes, cluster.records("t"), took)
    })
}

async fn send(producer: Producer, sender: usize, records: usize, size: usize) -> Outcomes {
    let mut acks = Vec::new();
    for number in 0..records {
        let (key, value) = (key(sender, number), value(sender, number, size));
        let record = Record::new("t").key(&key).value(&value).partition((sender % PARTITIONS) as i32);
        acks.push(((sender, number), producer.enqueue(&record).await));
    }
    let mut outcomes = Outcomes::new();
    for (who, ack) in acks {
        let outcome = match ack {
            Ok(ack) => ack.outcome().await,
            Err(error) => Err(error),
        };
        outcomes.insert(who, outcome);
    }
    outcomes
}

/// Where each record is in the log, by sender and number. All values have to be what was sent.
fn places(case: Case, log: &[(i32, StoredRecord)]) -> BTreeMap<(usize, usize), Vec<(i32, i64)>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for (partition, record) in log {
        let key = String::from_utf8(record.key.as_deref().unwrap().to_vec()).unwrap();
        let (sender, number) = key.split_once('-').unwrap();
        let (sender, number): (usize, usize) = (sender.parse().unwrap(), number.parse().unwrap());
        assert_eq!(record.value.as_deref(), Some(&*value(sender, number, case.size)), "{case:?}: the value of {key}");
        places.entry((sender, number)).or_default().push((*partition, record.offset));
    }
    places
}

/// Everything was delivered, and is in the log once, where it was said to be.
fn all_delivered_once(case: Case) -> Duration {
    let (outcomes, log, took) = run(case);
    let places = places(case, &log);
    let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    let first = failed.first();
    assert!(failed.is_empty(), "{case:?}: {} of {} failed, first {first:?}", failed.len(), outcomes.len());
    let doubled: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    let first = doubled.first();
    assert!(doubled.is_empty(), "{case:?}: {} of {} doubled, first {first:?}", doubled.len(), outcomes.len());
    assert_eq!(outcomes.len(), case.records / case.senders * case.senders);
    let missing: Vec<_> = outcomes.keys().filter(|who| !places.contains_key(*who)).collect();
    let first = missing.first();
    assert!(
        missing.is_empty(),
        "{case:?}: {} of {} are not in the log, first {first:?}",
        missing.len(),
        outcomes.len()
    );
    for ((who, places), (next, after)) in places.iter().zip(places.iter().skip(1)) {
        let in_order = who.0 != next.0 || places[0].1 < after[0].1;
        assert!(in_order, "{case:?}: {who:?} at {places:?}, {next:?} at {after:?}");
    }
    for (who, outcome) in &outcomes {
        let delivered = outcome.as_ref().unwrap();
        let place = places[who][0];
        assert_eq!(delivered.partition, place.0, "{case:?} {who:?}");
        match case.acks {
            Acks::Zero => assert_eq!(delivered.offset, None, "{case:?} {who:?}"),
            _ => assert_eq!(delivered.offset, Some(place.1), "{case:?} {who:?}"),
        }
    }
    println!("{took:?} for {case:?}");
    took
}

/// Runs cases beside each other: they mostly wait for their links.
fn all(cases: Vec<Case>) {
    std::thread::scope(|scope| {
        let runs: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || all_delivered_once(case))).collect();
        for run in runs {
            if let Err(panic) = run.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// TLS takes more than the socket does; what it took must not be sent again. Requests fit into TLS's own buffer here, so that
/// each goes out whole.
#[test]
fn tls_over_a_slow_link_doubles_nothing() {
    let case =
        |adapter, acks| Case::new(adapter, true, acks, Link::BROADBAND).load(600, 7000, 1).batch(40_000).narrow(32_768);
    all(ADAPTERS.iter().flat_map(|adapter| [case(*adapter, Acks::One), case(*adapter, Acks::Zero)]).collect());
}

/// The same with requests that TLS takes in pieces.
#[test]
fn tls_over_a_slow_link_delivers_what_plain_text_delivers() {
    let case = |adapter, tls| Case::new(adapter, tls, Acks::Idempotent, Link::BROADBAND).load(80, 50_000, 1);
    all(ADAPTERS.iter().flat_map(|adapter| [case(*adapter, false), case(*adapter, true)]).collect());
}
