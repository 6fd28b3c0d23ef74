//! Every adapter over links that are slow, narrow, stop, cut and add bytes, in plain text and with TLS: what was reported is
//! compared with the log, record by record.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

#[allow(dead_code, reason = "an example's own main")]
#[path = "../examples/adapter.rs"]
mod adapter_example;
mod hosts;
mod proxy;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hosts::{ADAPTERS, Adapter, PATIENCE, Producer, Progress, Tasks, each_adapter, guarded, now, until};
use milena::cluster::{StoredRecord, TestCluster};
use milena::{Config, Delivered, Error, Record};
use proxy::{Arrival, Event, Link, Proxy, Room, TlsEnd};

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
    request_timeout: &'static str,
    /// The first so many connections have the link's event; `usize::MAX` for all.
    breaks: usize,
    /// The proxy speaks TLS itself.
    ends_tls: bool,
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
            request_timeout: "30000",
            breaks: usize::MAX,
            ends_tls: false,
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
        let builder = if self.tls && !self.ends_tls { builder.tls() } else { builder };
        let cluster = builder.start().expect("loopback sockets");
        cluster.with(|cluster, _| cluster.create_topic("t", PARTITIONS as i32));
        cluster
    }

    /// The proxy, and what the producer has to be told because of it.
    fn proxy(self, cluster: &TestCluster) -> (Proxy, Vec<(String, String)>) {
        let link = move |arrival: Arrival| match arrival.number < self.breaks {
            true => self.link,
            false => Link { event: None, ..self.link },
        };
        let (tls, properties) = if self.ends_tls {
            let (config, authority) = TlsEnd::certificate();
            let trust = [("security.protocol", "SSL"), ("ssl.truststore.certificates", &*authority)];
            (Some(config), trust.map(|(name, value)| (name.to_string(), value.to_string())).into())
        } else {
            (None, Vec::new())
        };
        (Proxy::new(cluster, Room(self.narrow.unwrap_or(128 << 10)), tls, link), properties)
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
            ("request.timeout.ms", self.request_timeout),
            ("reconnect.backoff.max.ms", "200"),
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
        let (proxy, security) = case.proxy(&cluster);
        let options = proxy.properties(&cluster).into_iter().chain(security).chain(case.options());
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
        assert!(case.breaks == usize::MAX || proxy.accepted() > 2, "{case:?}: no connection was broken");
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
            Acks::One | Acks::All | Acks::Idempotent => assert_eq!(delivered.offset, Some(place.1), "{case:?} {who:?}"),
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

/// Links that each have their own way of being slow, with how many bytes are worth waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// 8 MB/s.
    Broadband,
    /// 64 KiB/s.
    Modem,
    /// Seven bytes a read.
    Dribble,
    /// Stops in mid-record, and goes on later.
    Pause,
    /// Has so little room that the producer's socket is always full.
    Narrow,
}

impl Way {
    fn link(self) -> Link {
        match self {
            Self::Broadband | Self::Narrow => Link::BROADBAND,
            Self::Modem => Link::MODEM,
            Self::Dribble => Link::DRIBBLE,
            Self::Pause => Link::BROADBAND.with(20_003, Event::Pause(Duration::from_millis(1500))),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Broadband => 4_000_000,
            Self::Modem => 100_000,
            Self::Dribble => 150_000,
            Self::Pause => 1_000_000,
            Self::Narrow => 500_000,
        }
    }
}

/// Of all combinations so many that each two values meet: every adapter, acknowledgement, link, size and number of senders, with
/// and without TLS, with and without a full memory.
fn matrix(way: Way) {
    const SIZES: [usize; 4] = [1_000, 10, 20_000, 200];
    let mut cases = Vec::new();
    for (row, acks) in [Acks::Zero, Acks::One, Acks::All, Acks::Idempotent].into_iter().enumerate() {
        for (column, tls) in [(0, false), (1, false), (2, true), (3, true)] {
            let turn = row + column + way as usize;
            let (adapter, size) = (ADAPTERS[turn % 4], SIZES[(turn + row) % 4]);
            let senders = if (turn / 2 + row) % 2 == 0 { (way.bytes() / size).min(64) } else { 1 };
            let records = (way.bytes() / (size + 20)).clamp(senders, 4000);
            let mut case = Case::new(adapter, tls, acks, way.link()).load(records, size, senders);
            if (turn + way as usize) % 3 != 0 {
                case = case.memory(if size > 10_000 { 200_000 } else { 40_000 });
            }
            if way == Way::Narrow {
                case = case.narrow(4096);
            }
            cases.push(case);
        }
    }
    all(cases);
}

#[test]
fn eight_megabytes_a_second() {
    matrix(Way::Broadband);
}

#[test]
fn sixty_four_kib_a_second() {
    matrix(Way::Modem);
}

#[test]
fn seven_bytes_a_read() {
    matrix(Way::Dribble);
}

#[test]
fn a_stop_in_mid_record() {
    matrix(Way::Pause);
}

#[test]
fn a_socket_that_is_always_full() {
    matrix(Way::Narrow);
}

#[test]
fn records_of_a_megabyte() {
    let megabyte = |adapter, tls, acks| Case::new(adapter, tls, acks, Link::BROADBAND).load(3, 1_000_000, 1);
    all(vec![
        megabyte(Adapter::Threads, true, Acks::Idempotent),
        megabyte(Adapter::TokioOne, true, Acks::One).memory(1_200_000),
        megabyte(Adapter::TokioMany, false, Acks::Zero).memory(1_200_000),
        megabyte(Adapter::Smol, true, Acks::Zero),
    ]);
}

/// Connections that end in the middle, in each way: with idempotence, every record arrives once all the same.
#[test]
fn connections_that_end_in_the_middle_lose_nothing_and_double_nothing() {
    let ends =
        [Event::EndToProducer, Event::EndToCluster, Event::ResetAfterAnswer, Event::Reset, Event::Stall, Event::Flood];
    let mut cases = Vec::new();
    for (row, end) in ends.into_iter().enumerate() {
        for column in 0..4 {
            // Not before TLS is agreed upon and versions are told, and not each time.
            let (adapter, tls) = (ADAPTERS[(row + column) % 4], column % 2 == 1);
            let link = Link::BROADBAND.with(60_001, end);
            let case =
                Case::new(adapter, tls, Acks::Idempotent, link).load(960, 1000, if row % 2 == 0 { 64 } else { 1 });
            cases.push(Case { request_timeout: "1500", breaks: 6, batch: 30_000, ..case });
        }
    }
    all(cases);
}

/// Servers that answer `acks=0` nevertheless: an answer that finds the socket closed, or lies in it unread when it is closed,
/// makes the kernel reset the connection, and what had not left yet is lost.
fn everything_has_left_when_it_is_closed(tls: bool) {
    let case = |adapter| {
        let link = Link { answers: true, ..Link::BROADBAND };
        let case = Case::new(adapter, tls, Acks::Zero, link).load(2000, 100, 1).narrow(16_384).batch(8_000);
        Case { ends_tls: tls, ..case }
    };
    for _ in 0..5 {
        all(ADAPTERS.map(case).into());
    }
}

#[test]
fn without_acknowledgements_everything_has_left_when_the_producer_is_closed() {
    everything_has_left_when_it_is_closed(false);
}

#[test]
fn without_acknowledgements_everything_has_left_over_tls_when_the_producer_is_closed() {
    everything_has_left_when_it_is_closed(true);
}

/// A producer of each adapter behind a proxy that speaks TLS itself, after its first record.
fn at_the_end_of_tls(test: impl AsyncFn(&Producer, &Tasks, &Proxy) + Send + Sync + 'static) {
    each_adapter(move |adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        let (tls, authority) = TlsEnd::certificate();
        let proxy = Proxy::new(&cluster, Room::default(), Some(tls), |_| Link::FREE);
        let security = [("security.protocol", "SSL"), ("ssl.truststore.certificates", &*authority)];
        let options = security.map(|(name, value)| (name.to_string(), value.to_string()));
        let options = proxy.properties(&cluster).into_iter().chain(options);
        adapter.run(Config::from_properties(options).unwrap(), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.send(&Record::new("t").value("first")).await.unwrap();
            progress.at("the first record is sent");
            test(&producer, &tasks, &proxy).await;
        });
    });
}

/// Ends TLS on all connections, with something said after that, and no FIN.
fn end_tls(proxy: &Proxy, then: &[u8]) {
    for connection in &proxy.live() {
        let (tls, socket) = connection.tls();
        tls.close_notify(socket, then);
    }
}

/// What comes after TLS's end is not looked at: the connection is over, another one is made, nobody spins.
fn after_the_end_of_tls(then: &'static [u8]) {
    at_the_end_of_tls(async move |producer: &Producer, tasks: &Tasks, proxy: &Proxy| {
        // The threads that the driver works on.
        let driver = Arc::clone(&tasks.threads);
        let heard = Arc::clone(&driver);
        producer.send_with(&Record::new("t").value("v"), move |_| hosts::note_thread(&heard)).await.unwrap();
        producer.flush().await.unwrap();
        until("the callback was called", || !hosts::noted(&driver).is_empty());
        let (before, made) = (proxy.live(), proxy.accepted());
        assert!(!before.is_empty());
        end_tls(proxy, then);
        let (began, used) = (now(), hosts::cpu_time(&driver));
        tasks.sleep(Duration::from_secs(2)).await;
        let (passed, used) = (now() - began, hosts::cpu_time(&driver) - used);
        assert!(used < passed / 4, "{used:?} of computing in {passed:?} of idleness");
        let over = || before.iter().all(|connection| proxy.live().iter().all(|live| !Arc::ptr_eq(live, connection)));
        assert!(over(), "the producer keeps connections on which nothing comes any more");
        producer.send(&Record::new("t").value("second")).await.unwrap();
        assert!(proxy.accepted() > made);
        let began = now();
        producer.close(Duration::from_secs(1)).await.unwrap();
        assert!(now() - began < Duration::from_secs(20));
    });
}

#[test]
fn the_end_of_tls_is_the_end_of_the_connection() {
    after_the_end_of_tls(b"");
}

#[test]
fn a_byte_after_the_end_of_tls_is_nothing() {
    after_the_end_of_tls(b"x");
}

#[test]
fn kilobytes_after_the_end_of_tls_are_nothing() {
    after_the_end_of_tls(&[0x17; 5000]);
}

/// The connection ends while records are on their way: they arrive by another one.
#[test]
fn records_on_their_way_at_the_end_of_tls_arrive_once() {
    at_the_end_of_tls(async move |producer: &Producer, tasks: &Tasks, proxy: &Proxy| {
        let mut acks = Vec::new();
        for round in 0..20 {
            for n in 0..50 {
                let value = format!("{round}-{n}");
                acks.push(producer.enqueue(&Record::new("t").value(&value)).await.unwrap());
            }
            if round % 5 == 2 {
                end_tls(proxy, b"and more");
            }
            tasks.sleep(Duration::from_millis(10)).await;
        }
        for ack in acks {
            ack.outcome().await.unwrap();
        }
        assert_eq!(producer.close(Duration::from_secs(10)).await.unwrap(), 0);
    });
}

/// Nor is there an end to what may come after it.
#[test]
fn a_flood_after_the_end_of_tls_is_nothing() {
    at_the_end_of_tls(async move |producer: &Producer, tasks: &Tasks, proxy: &Proxy| {
        let floods: Vec<_> = proxy
            .live()
            .into_iter()
            .map(|connection| {
                std::thread::spawn(move || {
                    let (tls, socket) = connection.tls();
                    tls.close_notify(socket, b"");
                    tls.flood(socket, Duration::from_secs(60))
                })
            })
            .collect();
        tasks.sleep(Duration::from_millis(100)).await;
        for n in 0..20 {
            producer.send(&Record::new("t").value("v").partition(n % 4)).await.unwrap();
        }
        producer.close(Duration::from_secs(1)).await.unwrap();
        for flood in floods {
            assert!(flood.join().unwrap(), "the producer listens for ever");
        }
    });
}

/// A node that floods its clients with nonsense does not keep the driver from the others, or from ending.
#[test]
fn a_flood_does_not_drown_other_connections() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::builder().nodes(3).start().unwrap();
        cluster.with(|cluster, _| cluster.create_topic("t", 3));
        let leader = |partition| cluster.with(|cluster, _| cluster.leader("t", partition)).unwrap();
        let flooder = leader(0);
        let proxy = Proxy::new(&cluster, Room::default(), None, move |arrival| match arrival.node == flooder {
            true => Link::FREE.with(1, Event::Flood),
            false => Link::FREE,
        });
        let more = [("reconnect.backoff.max.ms", "50"), ("linger.ms", "0")];
        let more = more.map(|(name, value)| (name.to_string(), value.to_string()));
        let options = proxy.properties(&cluster).into_iter().chain(more);
        adapter.run(Config::from_properties(options).unwrap(), async |producer: Producer, _: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            let drowned = producer.enqueue(&Record::new("t").value("v").partition(0)).await.unwrap();
            let (began, mut sent) = (now(), 0);
            while now() - began < Duration::from_secs(2) {
                for partition in (0..3).filter(|partition| leader(*partition) != flooder) {
                    progress.at(format!("{sent} sent to nodes that are well"));
                    producer.send(&Record::new("t").value("v").partition(partition)).await.unwrap();
                    sent += 1;
                }
            }
            assert!(sent > 20, "{sent} in {:?}", now() - began);
            progress.at("closing");
            assert!(producer.close(Duration::from_secs(1)).await.is_err(), "one record is left");
            assert!(drowned.outcome().await.is_err());
        });
    });
}

/// The example is copied: a server that reads nothing any more holds up neither the clock nor what is told of records.
#[test]
fn an_adapter_as_the_example_goes_on_where_a_server_reads_nothing() {
    let cluster = TestCluster::start().unwrap();
    cluster.with(|cluster, _| cluster.create_topic("t", 4));
    let proxy = Proxy::new(&cluster, Room::default(), None, |_| Link::FREE.with(100_000, Event::Stall));
    let mut properties = proxy.properties(&cluster);
    for (name, value) in [("request.timeout.ms", "500"), ("delivery.timeout.ms", "2000"), ("linger.ms", "0")] {
        properties.push((name.into(), value.into()));
    }
    let config = Config::from_properties(properties).unwrap();
    guarded(PATIENCE, String::new, move || {
        let mut adapter = adapter_example::Adapter::new(config).unwrap();
        let value = vec![7; 20_000];
        let mut taken = 0;
        while taken < 1000 {
            match adapter.producer.send(adapter.now(), &Record::new("t").value(&value)) {
                Ok(sent) => {
                    adapter.open.insert(sent.id, taken);
                    taken += 1;
                }
                Err(error) if error.is_retriable() => adapter.work(),
                Err(error) => panic!("{error}"),
            }
        }
        while !adapter.open.is_empty() {
            adapter.work();
        }
    });
    drop(proxy);
}
