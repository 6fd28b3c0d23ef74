//! The command line tool: produce records, measure, serve a cluster in memory, look at metadata.

#![forbid(unsafe_code)]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

mod cluster;
mod layout;
mod lines;
mod metadata;
mod outcomes;
mod perf;
mod produce;
mod progress;
mod settings;
mod simulate;
mod status;
mod stop;
mod warnings;

use std::fmt::Display;
use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A Kafka producer.
#[derive(Debug, Parser)]
#[command(name = "milena", version, about = "Produces records to Apache Kafka, or to a Kafka cluster in memory")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send each line of the standard input (or of a file) as a record, as it comes
    Produce(produce::Arguments),
    /// Send records as fast as possible, and measure
    Perf(perf::Arguments),
    /// Serve a Kafka cluster in memory until interrupted
    Cluster(cluster::Arguments),
    /// Show brokers, topics, partitions and leaders
    Metadata(metadata::Arguments),
    /// Show which brokers answer, and how fast
    Status(status::Arguments),
    /// Run the producer in a virtual world with faults, on many seeds or on one, and check that no record is lost or doubled
    Simulate(simulate::Arguments),
}

/// Why a command did not do what it should. Usage and configuration end with status 2, the rest with 1.
#[derive(Debug)]
enum Failure {
    /// The arguments or the configuration are wrong.
    Usage(String),
    /// Something failed on the way; it may have been said already.
    Run(Option<String>),
}

impl Failure {
    fn run(error: impl Display) -> Self {
        Self::Run(Some(error.to_string()))
    }

    /// The producer could not be made: because of the configuration (stores that can't be read), or of the system.
    fn start(error: milena::SetupError) -> Self {
        match error {
            milena::SetupError::Config(error) => error.into(),
            error @ (milena::SetupError::Io(_) | _) => Self::run(error),
        }
    }

    /// Writing results failed. Whoever reads them has had enough: that is no news.
    fn output(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Run(None);
        }
        Self::Run(Some(format!("can't write results: {error}")))
    }
}

impl From<milena::ConfigError> for Failure {
    fn from(error: milena::ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Says something on the standard error, if there is one: that it is closed is no reason to stop.
fn say(words: impl Display) {
    let _ = writeln!(stderr().lock(), "milena: {words}");
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Simulate(_)) {
        warnings::show();
    }
    let result = match cli.command {
        Command::Produce(arguments) => produce::run(&arguments),
        Command::Perf(arguments) => perf::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Metadata(arguments) => metadata::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Simulate(arguments) => simulate::run_worlds(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(words)) => {
            say(words);
            ExitCode::from(2)
        }
        Err(Failure::Run(words)) => {
            if let Some(words) = words {
                say(words);
            }
            ExitCode::FAILURE
        }
    }
}
