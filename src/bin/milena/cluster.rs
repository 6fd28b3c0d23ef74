//! `milena cluster`: a Kafka cluster in memory.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write, stdin, stdout};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use milena::cluster::{Settings, StoredRecord, TestCluster};
use serde_json::{Value, json};

use crate::stop::Stop;
use crate::{Failure, say};

/// How often what has arrived is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Records that are taken out of the cluster at once, to be printed.
const AT_ONCE: usize = 1000;

/// The longest command that is read.
const LINE: u64 = 1000;

const COMMANDS: &str = "crash N, restart N, pause N, resume N (N is a node's number), stop, start";

/// Serves a Kafka cluster in memory. Commands on its standard input, a line each: crash N, restart N, pause N, resume N, stop,
/// start.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The first node's address; the others get the ports after it. With port 0, all get free ones
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The host that clients are told to connect to, where that is not the one listened on: this machine's name in their
    /// network. If all addresses are listened on, it is loopback by default
    #[arg(long, value_name = "HOST", value_parser = host)]
    advertise: Option<String>,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=100))]
    nodes: i32,
    /// Partitions of a topic that is created on first use
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// Encrypt connections, with a certificate for localhost and 127.0.0.1 whose key everybody has: --properties writes what
    /// trusts it
    #[arg(long)]
    tls: bool,
    /// Let in only users with a password, by PLAIN or SCRAM; may be given several times
    #[arg(long, value_name = "name=password", value_parser = user)]
    user: Vec<(String, String)>,
    /// Write what a client has to be configured with into this file, in the form of Java's properties files
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// Print each record that arrives, as a JSON object a line
    #[arg(long, conflicts_with = "discard")]
    print: bool,
    /// Only count records, don't keep them
    #[arg(long)]
    discard: bool,
    /// Milliseconds that bytes take, each way
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let settings =
        Settings::default().nodes(arguments.nodes).default_partitions(arguments.partitions).discard(arguments.discard);
    let delay = Duration::from_millis(arguments.delay);
    let mut builder = TestCluster::builder().settings(settings).delay(delay).listen(arguments.listen);
    if let Some(host) = &arguments.advertise {
        builder = builder.advertise(host);
    } else if arguments.listen.ip().is_unspecified() {
        say(format_args!(
            "clients are told to connect to loopback: for those on other machines, give --advertise HOST"
        ));
    }
    for (name, password) in &arguments.user {
        builder = builder.user(name, password);
    }
    if arguments.tls {
        builder = builder.tls();
    }
    let cluster = builder
        .start()
        .map_err(|error| Failure::Run(Some(format!("can't listen on {}: {error}", arguments.listen))))?;
    let cluster = Arc::new(cluster);
    if let Some(path) = &arguments.properties {
        let failed = |error| Failure::Run(Some(format!("can't write {}: {error}", path.display())));
        std::fs::write(path, properties(&cluster)).map_err(failed)?;
    }
    let mut out = stdout().lock();
    writeln!(out, "{}", cluster.bootstrap()).map_err(|error| Failure::output(&error))?;
    obey_the_input(&cluster)?;
    let mut seen = Seen::default();
    let mut last = false;
    loop {
        if arguments.print {
            seen.print_new(&cluster, &mut out).map_err(|error| Failure::output(&error))?;
        }
        if last {
            break;
        }
        std::thread::sleep(LOOK);
        last = stop.is_asked();
    }
    let counters = cluster.with(|cluster, _| cluster.counters().clone());
    say(format_args!("{} records in {} batches", counters.records, counters.batches));
    Ok(())
}

/// The client's properties, as a file that Java reads.
fn properties(cluster: &TestCluster) -> String {
    let line = |(name, value): (String, String)| {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n");
        format!("{name}={value}\n")
    };
    cluster.properties().into_iter().map(line).collect()
}

/// Does what the lines of the standard input say, on a thread of its own. That they end is not the cluster's end.
fn obey_the_input(cluster: &Arc<TestCluster>) -> Result<(), Failure> {
    let cluster = Arc::downgrade(cluster);
    let obey = move || {
        let mut input = stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(LINE).read_until(b'\n', &mut line);
            let (Ok(1..), Some(cluster)) = (read, cluster.upgrade()) else { return };
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                say(command(&cluster, &line).unwrap_or_else(|words| words));
            }
        }
    };
    std::thread::Builder::new().name("commands".into()).spawn(obey).map_err(Failure::run)?;
    Ok(())
}

/// Says what was done, or why not.
fn command(cluster: &TestCluster, line: &str) -> Result<String, String> {
    let unknown = || format!("unknown command; there are {COMMANDS}");
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["stop"] => {
            cluster.stop();
            Ok("all nodes are stopped".to_string())
        }
        ["start"] => {
            cluster.start_again().map_err(|error| format!("can't start: {error}"))?;
            Ok("all nodes are started".to_string())
        }
        [verb, node] => {
            let node = node.parse::<i32>().map_err(|_| unknown())?;
            cluster.with(|cluster, now| {
                if !cluster.nodes().contains(&node) {
                    return Err(format!("there is no node {node}"));
                }
                let done = match verb {
                    "crash" => {
                        cluster.crash(node);
                        "has crashed"
                    }
                    "restart" => {
                        cluster.restart(node, false);
                        "is up again"
                    }
                    "pause" => {
                        cluster.pause(node);
                        "is paused"
                    }
                    "resume" => {
                        cluster.resume(now, node);
                        "goes on"
                    }
                    _ => return Err(unknown()),
                };
                Ok(format!("node {node} {done}"))
            })
        }
        _ => Err(unknown()),
    }
}

/// Up to which offset each partition was printed.
#[derive(Debug, Default)]
struct Seen(BTreeMap<(String, i32), i64>);

impl Seen {
    /// Prints what has come since.
    fn print_new(&mut self, cluster: &TestCluster, out: &mut impl Write) -> std::io::Result<()> {
        loop {
            let new = cluster.with(|cluster, _| {
                let mut new = Vec::new();
                for topic in cluster.topics() {
                    for (partition, end) in (0..).zip(cluster.end_offsets(&topic)) {
                        let next = self.0.entry((topic.clone(), partition)).or_default();
                        *next = (*next).min(end); // what a leader lost is written anew
                        while *next < end && new.len() < AT_ONCE {
                            if let Some(record) = cluster.record(&topic, partition, *next) {
                                new.push((topic.clone(), partition, record));
                            }
                            *next += 1;
                        }
                    }
                }
                new
            });
            for (topic, partition, record) in &new {
                writeln!(out, "{}", object(topic, *partition, record))?;
            }
            if new.len() < AT_ONCE {
                return out.flush();
            }
        }
    }
}

/// Bytes are shown as text; those that are none become replacement characters.
fn object(topic: &str, partition: i32, record: &StoredRecord) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| json!([name, text(value.as_deref())])).collect();
    json!({
        "topic": topic, "partition": partition, "offset": record.offset, "timestamp": record.timestamp,
        "key": text(record.key.as_deref()), "value": text(record.value.as_deref()), "headers": headers,
    })
}

fn host(text: &str) -> Result<String, &'static str> {
    let is_address = text.parse::<IpAddr>().is_ok();
    let is_name = !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || "-._".contains(char));
    if is_address || is_name { Ok(text.to_string()) } else { Err("a host's name or address is wanted, without a port") }
}

/// What stands there is not repeated: it is a password.
fn user(text: &str) -> Result<(String, String), &'static str> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, password)| (name.to_string(), password.to_string())).ok_or("name=password is wanted")
}
