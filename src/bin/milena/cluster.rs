//! `milena cluster`: a Kafka cluster in memory.

use std::io::{Write, stdout};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use milena::cluster::{Server, ServerSettings, Settings};

use crate::stop::Stop;
use crate::{Failure, say};

/// Serves a Kafka cluster in memory.
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
    let mut settings = ServerSettings::default().cluster(cluster).listen(arguments.listen).delay(delay);
    if let Some(host) = &arguments.advertise {
        settings = settings.advertise(host);
    } else if arguments.listen.ip().is_unspecified() {
        say(format_args!(
            "clients are told to connect to loopback: for those on other machines, give --advertise HOST"
        ));
    }
    let server = Server::start_with(settings)
        .map_err(|error| Failure::Run(Some(format!("can't listen on {}: {error}", arguments.listen))))?;
    let bootstrap = server.bootstrap();
    writeln!(stdout(), "{bootstrap}").map_err(|error| Failure::output(&error))?;
    while !stop.is_asked() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let counters = server.with(|cluster, _| cluster.counters().clone());
    say(format_args!("{} records in {} batches", counters.records, counters.batches));
    Ok(())
}

fn host(text: &str) -> Result<String, &'static str> {
    let is_address = text.parse::<IpAddr>().is_ok();
    let is_name = !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || "-._".contains(char));
    if is_address || is_name { Ok(text.to_string()) } else { Err("a host's name or address is wanted, without a port") }
}
