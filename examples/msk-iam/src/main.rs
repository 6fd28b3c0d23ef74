//! A producer for AWS MSK with IAM: each token is a request to AWS that is signed here and sent by the broker (SASL/OAUTHBEARER, port
//! 9098). `cargo run --manifest-path examples/msk-iam/Cargo.toml -- BOOTSTRAP_SERVERS REGION TOPIC` sends one record, with the
//! credentials of the environment variables that AWS's own tools read.

#![allow(clippy::disallowed_methods, reason = "a program has a clock")]

mod signer;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use milena::threads::Producer;
use milena::{Config, Record, Setup};

use signer::MskIam;

/// What a client of MSK with IAM is configured with, besides servers; certificates are those of the system.
const OPTIONS: [(&str, &str); 2] = [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")];

fn produce(servers: &str, region: &str, topic: &str) -> Result<(), Box<dyn Error>> {
    let options = [("bootstrap.servers", servers)].into_iter().chain(OPTIONS);
    let config = Config::from_properties(options.map(|(name, value)| (name.to_string(), value.to_string())))?;
    let producer = Producer::new(Setup::new(config).token_provider(MskIam::new(region, signer::from_environment)))?;
    let delivered = producer.send(&Record::new(topic).value("3 apples"))?;
    println!("partition {}, offset {:?}", delivered.partition, delivered.offset);
    producer.close(Duration::from_secs(10))?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, region, topic] = &arguments[..] else {
        eprintln!("arguments: BOOTSTRAP_SERVERS REGION TOPIC");
        return ExitCode::from(2);
    };
    match produce(servers, region, topic) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
