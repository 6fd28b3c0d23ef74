//! Producers of each adapter go on sending through a proxy to three nodes, to which one thing happens after the other, as a
//! seed has it. In the end all that the nodes have is compared with all that the producers said.

mod faults;
mod streams;
mod verdict;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::broker::{Jars, Kafka, Layout, Listener};
use crate::proxy::{Link, Proxy, Room};
use crate::secured::Certificates;
use faults::{Dice, FAULTS, Scene};
use streams::{STREAMS, Stream};

/// What clients may do to get to a node: each way leads through the proxy.
const LISTENERS: &[Listener] = &[
    Listener { name: "PLAIN", protocol: "PLAINTEXT" },
    Listener { name: "TLS", protocol: "SSL" },
    Listener { name: "USERS", protocol: "SASL_PLAINTEXT" },
];

/// Topics and how many partitions they have at first.
const TOPICS: &[(&str, u32)] =
    &[("steady", 3), ("grown", 2), ("anew", 2), ("rights", 2), ("seldom", 1), ("acks-1", 2), ("plain", 2)];

/// A span of time: a fault and a pause after it.
struct Window {
    name: &'static str,
    began: Instant,
    /// CPU time of the clients' threads, in seconds.
    cpu: f64,
}

/// One round of all faults, or as many as go into the minutes that `tests/kafka/run --minutes` says.
pub fn run(jars: &Jars) -> Result<String, String> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = number("MILENA_CHAOS_MINUTES").unwrap_or(0);
    let seed = number("MILENA_CHAOS_SEED").unwrap_or(1);
    println!("  seed {seed}");
    let proxies = RefCell::new(Vec::new());
    let mut kafka = start(jars, &proxies);
    let proxies = proxies.into_inner();
    let result = on(&mut kafka, &proxies, Duration::from_secs(60 * minutes), seed);
    match &result {
        Err(_) => println!("logs of the brokers: {}", kafka.keep()),
        Ok(words) => println!("  {words}"),
    }
    result
}

/// Three nodes, each listener of which is behind a proxy of its own.
fn start(jars: &Jars, proxies: &RefCell<Vec<(usize, Proxy)>>) -> Kafka {
    let told = |node: usize, _: &'static str, port: u16| {
        let to = [(node as i32, format!("127.0.0.1:{port}"))];
        let proxy = Proxy::before(&to, Room::default(), None, |_| Link::FREE);
        let port = proxy.ports()[0];
        proxies.borrow_mut().push((node, proxy));
        port
    };
    let layout = Layout { nodes: 3, listeners: LISTENERS, rights: true, told: Some(&told), ..Layout::default() };
    let authority = Certificates::new("the cluster's authority");
    let kafka = Kafka::lay_out(jars, layout, |dir| {
        let file = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("a PEM file");
            path.display().to_string()
        };
        file("ca.pem", authority.authority_pem.clone());
        let key = file("node.pem", authority.issue("127.0.0.1", false));
        // A producer id is forgotten when nothing came under it for longer than any record may live.
        format!(
            "auto.create.topics.enable=false\nproducer.id.expiration.ms=45000\n\
             producer.id.expiration.check.interval.ms=1000\n\
             listener.name.tls.ssl.keystore.type=PEM\nlistener.name.tls.ssl.keystore.location={key}\n\
             sasl.enabled.mechanisms=PLAIN\nlistener.name.users.plain.sasl.jaas.config=\
             org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";\n"
        )
    });
    for (topic, partitions) in TOPICS {
        kafka.create_topic(topic, *partitions, &[]);
    }
    kafka.set_allowed("alice", "rights", true);
    kafka
}

fn on(kafka: &mut Kafka, proxies: &[(usize, Proxy)], span: Duration, seed: u64) -> Result<String, String> {
    let (window, over, began) = (AtomicUsize::new(0), AtomicBool::new(false), now());
    let expired = AtomicUsize::new(0);
    let configs: Vec<_> = STREAMS.iter().map(|plan| plan.config(kafka)).collect();
    let servers: Vec<String> = (0..3).map(|node| kafka.server(node)).collect();
    let mut scene = Scene::new(kafka, proxies, Dice::new(seed));
    let mut windows: Vec<Window> = Vec::new();
    let sent: Vec<Result<Stream, String>> = std::thread::scope(|scope| {
        let streams: Vec<_> = STREAMS
            .iter()
            .zip(configs)
            .map(|(plan, config)| {
                let (window, over, servers, expired) = (&window, &over, &servers, &expired);
                let work = move || streams::run(plan, config, window, over, &|| forgotten(servers, expired));
                let name = format!("client-{}", plan.name);
                std::thread::Builder::new().name(name).spawn_scoped(scope, work).expect("a thread")
            })
            .collect();
        let mut cpu = CpuTime::default();
        let mut next = |name: &'static str| {
            let used = cpu.since_last();
            if let Some(last) = windows.last_mut() {
                last.cpu = used;
            }
            window.store(windows.len(), Ordering::SeqCst);
            windows.push(Window { name, began: now(), cpu: 0.0 });
        };
        let happened = catch_unwind(AssertUnwindSafe(|| {
            next("nothing");
            std::thread::sleep(Duration::from_secs(3));
            loop {
                for at in scene.dice.order(FAULTS.len()) {
                    let (name, fault) = FAULTS[at];
                    println!("  {:>5.1} s  {name}", (now() - began).as_secs_f64());
                    next(name);
                    fault(&mut scene);
                    scene.sleep_ms(1000, 2500);
                    if !span.is_zero() && now() - began > span {
                        break;
                    }
                }
                if now() - began > span {
                    break;
                }
            }
            next("nothing");
            std::thread::sleep(Duration::from_secs(6));
        }));
        scene.calm();
        over.store(true, Ordering::SeqCst);
        let sent = streams.into_iter().map(|stream| stream.join().unwrap_or_else(|_| Err("a stream panicked".into())));
        let sent: Vec<_> = sent.collect();
        next("nothing");
        if happened.is_err() {
            return vec![Err("the cluster does not do what it is told".into())];
        }
        sent
    });
    let seconds = (now() - began).as_secs_f64();
    let anew = scene.anew;
    let partitions: Vec<(&'static str, u32)> =
        TOPICS.iter().map(|(topic, n)| (*topic, if *topic == "grown" { scene.grown } else { *n })).collect();
    let sent: Vec<Stream> = sent.into_iter().collect::<Result<_, _>>()?;
    let verdict = verdict::reached(kafka, &partitions, &sent, windows.len(), anew);
    println!("{}", verdict.table(&sent, &windows));
    let expired = expired.load(Ordering::SeqCst);
    let words = verdict.words();
    if expired == 0 {
        return Err(format!("no producer id expired; {words}"));
    }
    let words = format!("{words}; {expired} producer ids expired, {seconds:.0} s, seed {seed}");
    if verdict.is_good() { Ok(words) } else { Err(words) }
}

/// Counts it if the leader of the topic that is seldom written to has forgotten who wrote.
fn forgotten(servers: &[String], expired: &AtomicUsize) {
    let known = servers.iter().find_map(|server| crate::admin::known_producers(server, "seldom", 0));
    expired.fetch_add(usize::from(known == Some(0)), Ordering::SeqCst);
}

/// CPU time of the threads that a program with these producers would have.
#[derive(Default)]
struct CpuTime(BTreeMap<String, f64>);

impl CpuTime {
    /// In seconds, since it was asked last.
    fn since_last(&mut self) -> f64 {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let read = |thread: std::fs::DirEntry| {
            let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
            let ours = ["client-", "milena-io", "smol-", "async-io"].iter().any(|start| name.starts_with(start));
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok().filter(|_| ours)?;
            let nanos: f64 = text.split_whitespace().next()?.parse().ok()?;
            Some((thread.file_name().to_string_lossy().into_owned(), nanos / 1e9))
        };
        let now: BTreeMap<String, f64> = threads.filter_map(read).collect();
        let grown = |(thread, seconds): (&String, &f64)| seconds - self.0.get(thread).copied().unwrap_or(0.0);
        let sum = now.iter().map(grown).sum();
        self.0 = now;
        sum
    }
}

#[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
fn now() -> Instant {
    Instant::now()
}
