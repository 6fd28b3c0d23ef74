//! `milena cluster`: a Kafka cluster in memory.

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use milena::cluster::{Server, ServerSettings, Settings};

use crate::Failure;
use crate::stop::Stop;

/// Serves a Kafka cluster in memory.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The first node's address; the others get the ports after it. With port 0, all get free ones
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=100))]
    nodes: i32,
    /// Partitions of a topic that is created on first use
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// Only count records, don't keep them
    #[arg(long)]
    discard: bool,
    /// Milliseconds that bytes take, each way
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let cluster =
        Settings::default().nodes(arguments.nodes).default_partitions(arguments.partitions).discard(arguments.discard);
    let delay = Duration::from_millis(arguments.delay);
    let server = Server::start_with(ServerSettings::default().cluster(cluster).listen(arguments.listen).delay(delay));
    let server =
        server.map_err(|error| Failure::Run(Some(format!("can't listen on {}: {error}", arguments.listen))))?;
    writeln!(stdout(), "{}", server.bootstrap()).map_err(|error| Failure::output(&error))?;
    while !stop.is_asked() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let counters = server.with(|cluster, _| cluster.counters().clone());
    eprintln!("milena: {} records in {} batches", counters.records, counters.batches);
    Ok(())
}
