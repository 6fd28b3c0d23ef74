//! Everything that Kafka's documentation does with a producer, on plain threads: send and forget, send and wait, send with a
//! callback, a partitioner of one's own, partitionsFor. Configured by a properties file as one writes it for the Java client:
//! `cargo run --example threads --features threads,cluster,tls [client.properties]`; without one it starts a cluster in memory
//! that wants SASL over TLS.

#![allow(clippy::std_instead_of_core, reason = "a program with std")]

use std::error::Error;
use std::time::Duration;

use milena::cluster::TestCluster;
use milena::{Choice, Config, Partitioner, Record, Setup, TopicView, parse_properties, threads::Producer};

/// VIPs go to the first partition, whatever their keys' hashes; the others as usual.
#[derive(Debug)]
struct VipFirst;

impl Partitioner for VipFirst {
    fn partition(&mut self, record: &Record<'_>, _: &TopicView<'_>) -> Choice<'_> {
        if record.key == Some(b"vip".as_slice()) { Choice::To(0) } else { Choice::Usual }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let cluster = TestCluster::builder().nodes(3).user("alice", "secret").tls().start()?;
    let properties = match std::env::args().nth(1) {
        Some(path) => parse_properties(&std::fs::read_to_string(path)?)?,
        None => cluster.properties().into_iter().map(Into::into).collect(),
    };
    let config = Config::from_properties(properties)?;
    let producer = Producer::new(config.clone())?;

    // Send and forget: what becomes of it is not looked at.
    producer.enqueue(&Record::new("orders").key("customer-7").value("3 apples"))?;

    // Send and wait.
    let delivered = producer.send(&Record::new("orders").key("customer-7").value("2 pears"))?;
    println!("partition {}, offset {:?}", delivered.partition, delivered.offset);

    // Send with a callback, which runs on the I/O thread.
    producer.send_with(&Record::new("orders").value("1 plum"), |outcome| match outcome {
        Ok(delivered) => println!("a callback: offset {:?}", delivered.offset),
        Err(error) => eprintln!("a callback: {error}"),
    })?;

    // Many at once, each with an acknowledgement.
    let values: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let acks = producer.send_all(values.iter().map(|value| Record::new("orders").value(value)))?;
    for ack in acks {
        ack.wait()?;
    }

    for partition in producer.partitions_for("orders")? {
        println!("partition {} is led by {:?}", partition.partition, partition.leader);
    }
    producer.close(Duration::from_secs(10))?;

    let choosy = Producer::new(Setup::new(config).partitioner(VipFirst))?;
    assert_eq!(choosy.send(&Record::new("orders").key("vip").value("a yacht"))?.partition, 0);
    choosy.close(Duration::from_secs(10))?;
    Ok(())
}

fn main() {
    // `main() -> Result` would show an error by `{:?}`, which is for developers.
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
