//! `milena metadata`: who leads what.

use std::io::{Write, stdout};

use clap::Args;
use milena::cluster::Settings;
use milena::threads::Producer;

use crate::Failure;
use crate::settings::{ProducerArguments, Target};

/// Shows brokers, topics, partitions and leaders.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A topic to show; may be given several times. Without one, all are shown
    #[arg(long)]
    topic: Vec<String>,
    #[command(flatten)]
    producer: ProducerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Looking must not create what is looked for.
    let more = [("allow.auto.create.topics", "false"), ("max.block.ms", "10000")];
    let Target { config, server } = arguments.producer.resolve(Settings::default(), &more)?;
    let producer = Producer::new(config).map_err(Failure::start)?;
    let mut out = stdout().lock();
    let mut failed = None;
    let mut topics = Vec::new();
    for topic in &arguments.topic {
        match producer.partitions_for(topic) {
            Ok(partitions) => topics.push((topic.clone(), partitions)),
            Err(error) => failed = Some(Failure::Run(Some(error.to_string()))),
        }
    }
    if arguments.topic.is_empty() {
        let all = producer.list_topics().map_err(Failure::run)?;
        topics.extend(all.into_iter().map(|topic| (topic.name, topic.partitions)));
    }
    let printed = (|| {
        for (id, host, port) in producer.brokers() {
            writeln!(out, "broker {id} {host}:{port}")?;
        }
        for (topic, partitions) in topics {
            for partition in partitions {
                let leader = partition.leader.map_or("none".to_string(), |leader| leader.to_string());
                let epoch = partition.leader_epoch;
                writeln!(out, "topic {topic} partition {} leader {leader} epoch {epoch}", partition.partition)?;
            }
        }
        Ok(())
    })();
    drop(server);
    printed.map_err(|error| Failure::output(&error))?;
    failed.map_or(Ok(()), Err)
}
