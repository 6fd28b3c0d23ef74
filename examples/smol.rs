//! Everything that Kafka's documentation does with a producer, on smol: send and forget, send and wait, send with a
//! callback, a partitioner of one's own, partitionsFor. Configured by a properties file as one writes it for the Java client:
//! `cargo run --example smol --features smol,cluster,tls [client.properties]`; without one it starts a cluster in memory
//! that wants SASL over TLS.

#![allow(clippy::std_instead_of_core, reason = "a program with std")]

use std::error::Error;
use std::time::Duration;

use milena::cluster::TestCluster;
use milena::{Choice, Config, Partitioner, Record, Setup, TopicView, parse_properties, smol::Producer};

/// VIPs go to the first partition, whatever their keys' hashes; the others as usual.
#[derive(Debug)]
struct VipFirst;

impl Partitioner for VipFirst {
    fn partition(&mut self, record: &Record<'_>, _: &TopicView<'_>) -> Choice<'_> {
        if record.key == Some(b"vip".as_slice()) { Choice::To(0) } else { Choice::Usual }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let cluster = TestCluster::builder().nodes(3).user("alice", "secret").tls().start()?;
    let properties = match std::env::args().nth(1) {
        Some(path) => parse_properties(&std::fs::read_to_string(path)?)?,
        None => cluster.properties().into_iter().map(Into::into).collect(),
    };
    let config = Config::from_properties(properties)?;
    let (producer, driver) = Producer::new(config.clone())?;
    smol::spawn(driver).detach();

    // Send and forget: what becomes of it is not looked at.
    producer.enqueue(&Record::new("orders").key("customer-7").value("3 apples")).await?;

    // Send and wait.
    let delivered = producer.send(&Record::new("orders").key("customer-7").value("2 pears")).await?;
    println!("partition {}, offset {:?}", delivered.partition, delivered.offset);

    // Send with a callback, which runs in the driver.
    producer
        .send_with(&Record::new("orders").value("1 plum"), |outcome| match outcome {
            Ok(delivered) => println!("a callback: offset {:?}", delivered.offset),
            Err(error) => eprintln!("a callback: {error}"),
        })
        .await?;

    // Many at once, each with an acknowledgement.
    let values: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let acks = producer.send_all(values.iter().map(|value| Record::new("orders").value(value))).await?;
    for ack in acks {
        ack.await?;
    }

    for partition in producer.partitions_for("orders").await? {
        println!("partition {} is led by {:?}", partition.partition, partition.leader);
    }
    producer.close(Duration::from_secs(10)).await?;

    let (choosy, driver) = Producer::new(Setup::new(config).partitioner(VipFirst))?;
    smol::spawn(driver).detach();
    assert_eq!(choosy.send(&Record::new("orders").key("vip").value("a yacht")).await?.partition, 0);
    choosy.close(Duration::from_secs(10)).await?;
    Ok(())
}

fn main() {
    // `main() -> Result` would show an error by `{:?}`, which is for developers.
    if let Err(error) = smol::block_on(run()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
