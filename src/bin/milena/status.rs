//! `milena status`: which brokers there are, which of them answer, and how fast.

use std::io::{Write, stdout};
use std::time::Duration;

use clap::Args;
use milena::cluster::Settings;
use milena::threads::Producer;

use crate::Failure;
use crate::settings::{ProducerArguments, Target};
use crate::stop::now;

/// Brokers that are asked at the same time, at most.
const AT_ONCE: usize = 16;

/// Servers that can be asked for the brokers within the time, if all of them are silent.
const SERVERS: u64 = 5;

/// Shows which brokers there are, which of them answer, and how fast.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Milliseconds that the cluster, and then each broker, has to answer
    #[arg(long, default_value_t = 5000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout: u64,
    #[command(flatten)]
    producer: ProducerArguments,
}

/// How long the answer took, and how long it took to get as far as asking; or why there is none.
type Answer = Result<(Duration, Duration), String>;

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let timeout = Duration::from_millis(arguments.timeout);
    let block = arguments.timeout.to_string();
    // A server that is silent must not use up the time in which others can be asked who there is.
    let part = (arguments.timeout / SERVERS).max(1).to_string();
    let more = [
        ("allow.auto.create.topics", "false"),
        ("max.block.ms", &*block),
        ("request.timeout.ms", &*part),
        ("socket.connection.setup.timeout.ms", &*part),
        ("socket.connection.setup.timeout.max.ms", &*part),
    ];
    let Target { config, server } = arguments.producer.resolve(Settings::default(), &more)?;
    let more = [("max.block.ms", &*block)];
    let producer = Producer::new(config).map_err(Failure::start)?;
    let topics = producer.list_topics().map_err(Failure::run)?;
    let brokers = producer.brokers();
    let mut silent = 0;
    let mut out = stdout().lock();
    for some in brokers.chunks(AT_ONCE) {
        let ask = |(_, host, port): &(i32, String, u16)| {
            let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            let config = arguments.producer.config_for(&at, &more);
            (at, std::thread::spawn(move || answer(config?, timeout)))
        };
        let asked: Vec<_> = some.iter().map(ask).collect();
        for ((node, ..), (at, thread)) in some.iter().zip(asked) {
            let answer = thread.join().unwrap_or_else(|_| Err("asking it failed".to_string()));
            silent += usize::from(answer.is_err());
            let words = match answer {
                Ok((took, before)) => format!("answers in {took:.1?}, connected in {before:.1?}"),
                Err(why) => format!("does not answer: {why}"),
            };
            writeln!(out, "broker {node} {at} {words}").map_err(|error| Failure::output(&error))?;
        }
    }
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let (all, leaderless) =
        partitions.fold((0, 0), |(all, none), partition| (all + 1, none + usize::from(partition.leader.is_none())));
    let topics = topics.len();
    writeln!(out, "topics {topics}, partitions {all}, without leader {leaderless}")
        .map_err(|error| Failure::output(&error))?;
    drop(server);
    if silent + leaderless > 0 {
        let brokers = brokers.len();
        return Err(Failure::Run(Some(format!(
            "{silent} of {brokers} brokers don't answer, {leaderless} of {all} partitions have no leader"
        ))));
    }
    Ok(())
}

/// Asks the one server that the configuration names.
fn answer(config: milena::Config, timeout: Duration) -> Answer {
    let producer = Producer::new(config).map_err(|error| error.to_string())?;
    let began = now();
    let took = producer.ping(timeout).map_err(|error| error.to_string())?;
    Ok((took, now().saturating_duration_since(began).saturating_sub(took)))
}
