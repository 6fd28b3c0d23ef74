//! Where to produce, and with which options: shared by the commands that produce.

use std::path::PathBuf;

use clap::Args;
use milena::cluster::{Server, ServerSettings, Settings};
use milena::{Config, ConfigError, Property, SecurityProtocol, parse_properties};

use crate::{Failure, say};

/// Options of the producer.
#[derive(Debug, Args)]
pub(crate) struct ProducerArguments {
    /// Kafka servers, HOST:PORT separated by commas; without it a cluster in memory is started
    #[arg(long, value_name = "H:P,..")]
    bootstrap_server: Option<String>,
    /// A properties file, as for the Java client
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An option of the producer, as in a properties file; replaces the file's
    #[arg(short = 'X', value_name = "name=value")]
    option: Vec<String>,
}

impl ProducerArguments {
    /// Whether a server was named, here or in the file.
    fn pairs(&self) -> Result<Vec<Property>, Failure> {
        let mut pairs = Vec::new();
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| Failure::Usage(format!("can't read {}: {error}", path.display())))?;
            let read = parse_properties(&text);
            pairs.extend(read.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?);
        }
        for option in &self.option {
            // What stands there is not repeated: it may be a password.
            let pair = option.split_once('=');
            let (name, value) = pair.ok_or_else(|| Failure::Usage("-X wants name=value".to_string()))?;
            pairs.push((name.trim(), value).into());
        }
        if let Some(servers) = &self.bootstrap_server {
            pairs.push(("bootstrap.servers", servers).into());
        }
        Ok(pairs)
    }

    /// The same configuration for this server alone, in words if that is wrong.
    pub(crate) fn config_for(&self, server: &str, more: &[(&str, &str)]) -> Result<Config, String> {
        let mut pairs = self.pairs().map_err(|_| "its configuration can't be read any more".to_string())?;
        for (name, value) in more {
            if !pairs.iter().any(|given| given.name == *name) {
                pairs.push((*name, *value).into());
            }
        }
        pairs.push(("bootstrap.servers", server).into());
        Config::from_properties(pairs).map_err(|error| error.to_string())
    }

    /// The configuration, and the cluster in memory if no server was named. `more` are options that the command wants
    /// unless the user says otherwise.
    pub(crate) fn resolve(&self, cluster: Settings, more: &[(&str, &str)]) -> Result<Target, Failure> {
        let mut pairs = self.pairs()?;
        for (name, value) in more {
            if !pairs.iter().any(|given| given.name == *name) {
                pairs.push((*name, *value).into());
            }
        }
        let server = if pairs.iter().any(|given| given.name == "bootstrap.servers") {
            None
        } else {
            // Wrong options are said before anything is started.
            let config = Config::from_properties(pairs.iter().cloned().chain([placeholder()]))?;
            if config.security_protocol() != SecurityProtocol::Plaintext {
                let words = "the cluster in memory is neither encrypted nor authenticated: name a --bootstrap-server, or \
                             leave security.protocol out";
                return Err(Failure::Usage(words.to_string()));
            }
            let settings = ServerSettings::default().cluster(cluster);
            let server = Server::start_with(settings).map_err(Failure::run)?;
            let at = server.bootstrap();
            say(format_args!("no --bootstrap-server: producing to a cluster in memory at {at}"));
            pairs.push(("bootstrap.servers", server.bootstrap()).into());
            Some(server)
        };
        let config = Config::from_properties(pairs).map_err(with_hint)?;
        Ok(Target { config, server })
    }
}

fn placeholder() -> Property {
    ("bootstrap.servers", "localhost:9092").into()
}

fn with_hint(error: ConfigError) -> Failure {
    Failure::Usage(error.to_string())
}

/// What to produce to.
pub(crate) struct Target {
    pub(crate) config: Config,
    /// The cluster in memory, if that is it.
    pub(crate) server: Option<Server>,
}
