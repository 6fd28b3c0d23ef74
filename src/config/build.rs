//! From names and values to a [`Config`]: each value against its range, then the options against each other.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use thiserror::Error;

use crate::batch::Compression;
use crate::config::options::{self, Entry, Kind, Support};
use crate::config::{Acks, Config};

/// What is written at once is a bounded number of segments.
const BATCHES_A_REQUEST: usize = 512;

/// What is wrong with a configuration. Nothing was made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such option.
    #[error("unknown option {option}{}", Nearest(.nearest))]
    Unknown {
        /// As it was given.
        option: String,
        /// The known name that is least different.
        nearest: Option<&'static str>,
    },
    /// The name that another client has for one of ours.
    #[error("unknown option {option}: it is called {ours} here")]
    CalledOtherwise {
        /// As it was given.
        option: String,
        /// Ours.
        ours: &'static str,
    },
    /// Not a value that the option takes.
    #[error("{option}={value} is not possible: {allowed}")]
    Invalid {
        /// The option.
        option: &'static str,
        /// As it was given.
        value: String,
        /// What would be.
        allowed: String,
    },
    /// It is needed.
    #[error("{option} is missing: {why}")]
    Missing {
        /// The option.
        option: &'static str,
        /// What for.
        why: &'static str,
    },
    /// Two options contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// Java's producer has it, this version has not.
    #[error("{option} is not built in: {instead}")]
    NotBuiltIn {
        /// The option.
        option: String,
        /// What to do instead.
        instead: &'static str,
    },
}

struct Nearest<'a>(&'a Option<&'static str>);

impl core::fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => f.write_str("; docs/configuration.md lists all"),
        }
    }
}

/// Sets options one by one; each method is named for Java's option, where the default stands too.
#[derive(Clone)]
pub struct ConfigBuilder {
    pairs: Vec<(String, String)>,
}

impl core::fmt::Debug for ConfigBuilder {
    /// Names only: values may be secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $method:ident($name:literal, $type:ty, $text:expr);)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $method(mut self, value: $type) -> Self {
                let text: fn($type) -> String = $text;
                self.pairs.push(($name.to_string(), text(value)));
                self
            }
        )*
    };
}

impl ConfigBuilder {
    pub(super) fn new(bootstrap_servers: &str) -> Self {
        Self { pairs: Vec::from([("bootstrap.servers".to_string(), bootstrap_servers.to_string())]) }
    }

    setters! {
        /// `client.id`: what brokers call this producer in logs and quotas. Default `milena-producer`.
        client_id("client.id", &str, str::to_string);
        /// `acks`: how many replicas have to have a record. Default all; fewer turn idempotence off.
        acks("acks", Acks, |acks| acks.code().to_string());
        /// `enable.idempotence`: no duplicates, and order kept, through retries. Default true.
        idempotence("enable.idempotence", bool, |on| on.to_string());
        /// `retries`: times that a batch is sent again. Default 2,147,483,647.
        retries("retries", u32, |times| times.to_string());
        /// `max.in.flight.requests.per.connection`. Default 5, and at most 5 with idempotence.
        max_in_flight("max.in.flight.requests.per.connection", u32, |requests| requests.to_string());
        /// `max.request.size`: bytes of a record, and of a request. Default 1 MiB.
        max_request_size("max.request.size", usize, |bytes| bytes.to_string());
        /// `batch.size`: bytes from which on a batch is due. Default 16 KiB.
        batch_size("batch.size", usize, |bytes| bytes.to_string());
        /// `batch.size.max` (ours): bytes to which a due batch may grow while its connection is busy. Default 256 KiB.
        batch_size_max("batch.size.max", usize, |bytes| bytes.to_string());
        /// `linger.ms`: how long a batch waits for more records. Default 5 ms.
        linger("linger.ms", Duration, millis);
        /// `delivery.timeout.ms`: from the send of a record to its success or failure. Default 2 min.
        delivery_timeout("delivery.timeout.ms", Duration, millis);
        /// `request.timeout.ms`: how long a broker may take for an answer. Default 30 s.
        request_timeout("request.timeout.ms", Duration, millis);
        /// `max.block.ms`: how long a send may wait for metadata and memory. Default 1 min. For adapters.
        max_block("max.block.ms", Duration, millis);
        /// `buffer.memory`: bytes for records that are not delivered yet. Default 32 MiB.
        buffer_memory("buffer.memory", usize, |bytes| bytes.to_string());
        /// `retry.backoff.ms`: the first wait before something is sent again. Default 100 ms.
        retry_backoff("retry.backoff.ms", Duration, millis);
        /// `retry.backoff.max.ms`: the longest such wait. Default 1 s.
        retry_backoff_max("retry.backoff.max.ms", Duration, millis);
        /// `reconnect.backoff.ms`: the first wait before a server is connected to again. Default 50 ms.
        reconnect_backoff("reconnect.backoff.ms", Duration, millis);
        /// `reconnect.backoff.max.ms`: the longest such wait. Default 1 s.
        reconnect_backoff_max("reconnect.backoff.max.ms", Duration, millis);
        /// `socket.connection.setup.timeout.ms`: how long a connection may take to become usable. Default 10 s.
        connection_setup_timeout("socket.connection.setup.timeout.ms", Duration, millis);
        /// `metadata.max.age.ms`: after how long metadata is asked for again. Default 5 min.
        metadata_max_age("metadata.max.age.ms", Duration, millis);
        /// `compression.jobs` (ours): how many jobs may be out; 0 for none. Adapters set it where it is not given.
        jobs("compression.jobs", usize, |jobs| jobs.to_string());
        /// `allow.auto.create.topics` (ours): whether asking for a topic may create it. Default true.
        allow_auto_create_topics("allow.auto.create.topics", bool, |on| on.to_string());
    }

    /// `compression.type` and its level: the codec for batches. Default none.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        let builder = self.option("compression.type", compression.name());
        match compression {
            Compression::Gzip { level } => builder.option("compression.gzip.level", &level.to_string()),
            Compression::Zstd { level } => builder.option("compression.zstd.level", &level.to_string()),
            Compression::None | Compression::Snappy | Compression::Lz4 => builder,
        }
    }

    /// Any option by its name, as in a properties file.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_string(), value.to_string()));
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn build(self) -> Result<Config, ConfigError> {
        from_properties(self.pairs)
    }
}

fn millis(span: Duration) -> String {
    span.as_millis().to_string()
}

pub(super) fn from_properties<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Config, ConfigError>
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let mut given = Given::default();
    for (name, value) in pairs {
        given.take(name.as_ref(), value.as_ref().trim())?;
    }
    given.config()
}

/// Values that were checked one by one, by option. Not given: not there.
#[derive(Debug, Default)]
pub(super) struct Given {
    texts: BTreeMap<&'static str, String>,
}

impl Given {
    fn take(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(entry) = options::find(name) else {
            let elsewhere = options::ELSEWHERE.iter().find(|(other, _)| *other == name);
            return Err(match elsewhere {
                Some((_, ours)) => ConfigError::CalledOtherwise { option: name.to_string(), ours },
                None => ConfigError::Unknown { option: name.to_string(), nearest: options::nearest(name) },
            });
        };
        match entry.support {
            Support::Built => {
                check(&entry, value)?;
                self.texts.insert(entry.name, value.to_string());
            }
            Support::Ignored([]) => {}
            Support::Ignored(taken) if taken.contains(&value) => {}
            Support::Ignored(taken) => {
                let allowed = alloc::format!("{} Taken: {}", entry.about, taken.join(", "));
                return Err(ConfigError::Invalid { option: entry.name, value: value.to_string(), allowed });
            }
            // What Java does without the option is what is done here.
            Support::NotBuiltIn(_) if value.eq_ignore_ascii_case(entry.default) && !entry.name.is_empty() => {}
            // The value is not repeated: it may be a secret.
            Support::NotBuiltIn(instead) => {
                return Err(ConfigError::NotBuiltIn { option: name.to_string(), instead });
            }
        }
        Ok(())
    }

    pub(super) fn text(&self, name: &'static str) -> &str {
        self.texts.get(name).map_or_else(|| options::find(name).map_or("", |entry| entry.default), String::as_str)
    }

    fn number(&self, name: &'static str) -> i64 {
        self.text(name).parse().expect("it was checked, and defaults are numbers")
    }

    fn size(&self, name: &'static str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    fn span(&self, name: &'static str) -> Duration {
        Duration::from_millis(u64::try_from(self.number(name)).unwrap_or(0))
    }

    fn boolean(&self, name: &'static str) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }

    /// The value of an option, if it was given.
    pub(super) fn find_text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    pub(super) fn is_given(&self, name: &'static str) -> bool {
        self.texts.contains_key(name)
    }

    /// The options against each other, in Java's order.
    fn config(&self) -> Result<Config, ConfigError> {
        if !self.is_given("bootstrap.servers") {
            return Err(ConfigError::Missing {
                option: "bootstrap.servers",
                why: "the producer has to begin somewhere",
            });
        }
        let (base, mut max) = (self.span("reconnect.backoff.ms"), self.span("reconnect.backoff.max.ms"));
        if self.is_given("reconnect.backoff.ms") && !self.is_given("reconnect.backoff.max.ms") {
            max = base; // as Java: who sets only the one gets a constant wait
        }
        for (base, max) in [
            ("retry.backoff.ms", "retry.backoff.max.ms"),
            ("socket.connection.setup.timeout.ms", "socket.connection.setup.timeout.max.ms"),
        ] {
            if self.number(base) > self.number(max) {
                log::warn!("{base} is above {max}, which is used alone");
            }
        }
        let acks = match self.text("acks") {
            "0" => Acks::None,
            "1" => Acks::Leader,
            _ => Acks::All,
        };
        // Java cuts it there.
        let linger = self.span("linger.ms").min(Duration::from_millis(i32::MAX as u64));
        let request_timeout = self.span("request.timeout.ms");
        let needed = (linger + request_timeout).min(Duration::from_millis(i32::MAX as u64));
        let mut delivery_timeout = self.span("delivery.timeout.ms");
        if delivery_timeout < needed {
            if self.is_given("delivery.timeout.ms") {
                return contradiction(
                    "delivery.timeout.ms must be at least linger.ms + request.timeout.ms: raise it, or lower one of those",
                );
            }
            log::warn!("delivery.timeout.ms is raised to linger.ms + request.timeout.ms");
            delivery_timeout = needed;
        }
        let batch_size = self.size("batch.size").max(1);
        let idle = u64::try_from(self.number("connections.max.idle.ms")).ok().map(Duration::from_millis);
        Ok(Config {
            bootstrap_servers: servers(self.text("bootstrap.servers"))?,
            client_id: self.text("client.id").to_string(),
            acks,
            idempotence: self.idempotence(acks)?,
            retries: u32::try_from(self.number("retries")).unwrap_or(u32::MAX),
            max_in_flight: self.size("max.in.flight.requests.per.connection"),
            max_request_size: self.size("max.request.size"),
            batch_size,
            batch_size_max: self.size("batch.size.max").max(batch_size),
            batches_a_request: BATCHES_A_REQUEST,
            linger,
            delivery_timeout,
            request_timeout,
            compression: self.compression()?,
            jobs: self.texts.get("compression.jobs").and_then(|jobs| jobs.parse().ok()),
            max_block: self.span("max.block.ms"),
            buffer_memory: self.size("buffer.memory"),
            retry_backoff: self.span("retry.backoff.ms"),
            retry_backoff_max: self.span("retry.backoff.max.ms"),
            reconnect_backoff: base,
            reconnect_backoff_max: max,
            connection_setup_timeout: self.span("socket.connection.setup.timeout.ms"),
            connection_setup_timeout_max: self.span("socket.connection.setup.timeout.max.ms"),
            connections_max_idle: idle,
            metadata_max_age: self.span("metadata.max.age.ms"),
            metadata_max_idle: self.span("metadata.max.idle.ms"),
            rebootstrap: self.text("metadata.recovery.strategy").eq_ignore_ascii_case("rebootstrap"),
            allow_auto_create_topics: self.boolean("allow.auto.create.topics"),
            receive_message_max: self.size("receive.message.max.bytes"),
            adaptive_partitioning: self.boolean("partitioner.adaptive.partitioning.enable"),
            partitioner_availability_timeout: self.span("partitioner.availability.timeout.ms"),
            partitioner_ignore_keys: self.boolean("partitioner.ignore.keys"),
            round_robin: self.text("partitioner.class").ends_with("RoundRobinPartitioner"),
            security_protocol: self.security_protocol(),
            sasl: self.sasl()?,
            tls: self.tls()?,
            send_buffer: usize::try_from(self.number("send.buffer.bytes")).ok(),
            receive_buffer: usize::try_from(self.number("receive.buffer.bytes")).ok(),
        })
    }

    fn compression(&self) -> Result<Compression, ConfigError> {
        let level = |name| self.number(name) as i32;
        let compression = match self.text("compression.type") {
            "gzip" => Compression::Gzip { level: level("compression.gzip.level") },
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd { level: level("compression.zstd.level") },
            _ => Compression::None,
        };
        if compression.is_built_in() {
            return Ok(compression);
        }
        let option = alloc::format!("compression.type={}", compression.name());
        Err(ConfigError::NotBuiltIn { option, instead: "compile milena with the feature of that name" })
    }

    /// Idempotence is on unless switched off, or unless an option that it can't go with was given.
    fn idempotence(&self, acks: Acks) -> Result<bool, ConfigError> {
        if !self.boolean("enable.idempotence") {
            return Ok(false);
        }
        let explicit = self.is_given("enable.idempotence");
        if self.number("retries") == 0 {
            if explicit {
                return contradiction(
                    "enable.idempotence=true needs retries: leave retries out, or switch idempotence off",
                );
            }
            log::info!("retries=0 switches idempotence off");
            return Ok(false);
        }
        if acks != Acks::All {
            if explicit {
                return contradiction(
                    "enable.idempotence=true needs acks=all: leave acks out, or switch idempotence off",
                );
            }
            log::info!("acks other than all switch idempotence off");
            return Ok(false);
        }
        if self.number("max.in.flight.requests.per.connection") > 5 {
            return contradiction(
                "max.in.flight.requests.per.connection must be at most 5 with idempotence: lower it, or set \
                 enable.idempotence=false",
            );
        }
        Ok(true)
    }
}

pub(super) fn contradiction<T>(words: &str) -> Result<T, ConfigError> {
    Err(ConfigError::Contradiction(words.to_string()))
}

fn check(entry: &Entry, value: &str) -> Result<(), ConfigError> {
    let allowed = match entry.kind {
        Kind::Boolean => {
            let known = value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
            if known { None } else { Some("true or false".to_string()) }
        }
        Kind::Number(least, most) => match value.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => None,
            _ if most == i64::MAX => Some(alloc::format!("a whole number from {least}")),
            _ => Some(alloc::format!("a whole number from {least} to {most}")),
        },
        Kind::Level(least, most) => match value.parse::<i64>() {
            Ok(number) if number == -1 || (least..=most).contains(&number) => None,
            _ => Some(alloc::format!("-1, or a whole number from {least} to {most}")),
        },
        Kind::Choice(words) => {
            // Java compares most of them as they are written.
            let any_case = matches!(entry.name, "metadata.recovery.strategy" | "security.protocol");
            let known = words.iter().any(|word| *word == value || (any_case && word.eq_ignore_ascii_case(value)));
            let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
            if known { None } else { Some(alloc::format!("one of {}. {}", words.join(", "), entry.about)) }
        }
        Kind::Text if value.len() > 1000 => Some("at most 1000 bytes".to_string()),
        Kind::Text | Kind::Secret => None,
        Kind::Servers => return servers(value).map(|_| ()),
    };
    match allowed {
        None => Ok(()),
        Some(allowed) => Err(ConfigError::Invalid { option: entry.name, value: value.to_string(), allowed }),
    }
}

/// `host:port`, separated by commas; IPv6 addresses in brackets; a protocol before `://` is dropped, as in Java.
fn servers(list: &str) -> Result<Vec<(String, u16)>, ConfigError> {
    let bad = |value: &str| ConfigError::Invalid {
        option: "bootstrap.servers",
        value: value.to_string(),
        allowed: "host:port, separated by commas, such as kafka1:9092,kafka2:9092".to_string(),
    };
    let mut servers: Vec<(String, u16)> = Vec::new();
    for element in list.split(',').map(str::trim) {
        let address = element.split_once("://").map_or(element, |(_, address)| address);
        let (host, port) = address.rsplit_once(':').ok_or_else(|| bad(element))?;
        let port = port.parse().map_err(|_| bad(element))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || (bracketed.is_none() && host.contains(':')) || host.contains(char::is_whitespace) {
            return Err(bad(element));
        }
        let server = (host.to_string(), port);
        if servers.contains(&server) {
            log::warn!("bootstrap.servers names {element} twice");
        } else {
            servers.push(server);
        }
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_properties([("bootstrap.servers", "h:1")].iter().chain(pairs).copied())
    }

    fn error(pairs: &[(&str, &str)]) -> String {
        with(pairs).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_javas() {
        let config = Config::new("h:1").unwrap();
        assert!(config.idempotence);
        assert_eq!(config.acks, Acks::All);
        assert_eq!(config.linger, Duration::from_millis(5));
        assert_eq!(config.batch_size, 16_384);
        assert_eq!(config.delivery_timeout, Duration::from_secs(120));
        assert_eq!(config.max_in_flight, 5);
    }

    #[test]
    fn bootstrap_servers_are_required_and_checked() {
        let none: [(&str, &str); 0] = [];
        assert!(matches!(Config::from_properties(none), Err(ConfigError::Missing { .. })));
        for bad in ["", "host", "host:", "host:port", "a:1,", ":9092", "host:70000", "a b:1", "::1:9092"] {
            assert!(Config::new(bad).is_err(), "{bad:?}");
        }
        let servers = Config::new("a:1, PLAINTEXT://b:2,[::1]:3,a:1").unwrap().bootstrap_servers;
        assert_eq!(servers, [("a".into(), 1), ("b".into(), 2), ("::1".into(), 3)]);
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        assert!(error(&[("linger.m", "5")]).contains("did you mean linger.ms?"));
        assert!(error(&[("nonsense", "5")]).contains("docs/configuration.md"));
    }

    #[test]
    fn another_clients_option_names_ours() {
        assert!(error(&[("message.timeout.ms", "5")]).contains("delivery.timeout.ms"));
        assert!(error(&[("queue.buffering.max.ms", "5")]).contains("linger.ms"));
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        assert!(error(&[("acks", "2")]).contains("all, -1, 0, 1"));
        assert!(error(&[("retries", "-1")]).contains("from 0 to 2147483647"));
        assert!(error(&[("linger.ms", "soon")]).contains("from 0"));
        assert!(error(&[("enable.idempotence", "yes")]).contains("true or false"));
        assert!(error(&[("metadata.max.idle.ms", "4999")]).contains("from 5000"));
    }

    #[test]
    fn values_are_trimmed_and_may_have_a_plus() {
        assert_eq!(with(&[("linger.ms", " +7 ")]).unwrap().linger, Duration::from_millis(7));
    }

    #[test]
    fn what_is_not_built_in_is_refused_unless_it_is_the_default() {
        assert!(with(&[("compression.type", "none"), ("security.protocol", "plaintext")]).is_ok());
        let built_in = with(&[("compression.type", "zstd")]).is_ok();
        assert_eq!(built_in, cfg!(feature = "zstd"));
        assert!(error(&[("interceptor.classes", "x")]).contains("not built in"));
        assert!(error(&[("transactional.id", "t")]).contains("not built in"));
        assert!(error(&[("partitioner.class", "x")]).contains("milena::Partitioner"));
    }

    #[test]
    fn serializers_of_bytes_and_strings_are_taken() {
        let string = "org.apache.kafka.common.serialization.StringSerializer";
        assert!(with(&[("key.serializer", string)]).is_ok());
        assert!(with(&[("key.serializer", "com.example.Avro")]).is_err());
    }

    #[test]
    fn acks_or_retries_switch_idempotence_off_unless_it_was_asked_for() {
        assert!(!with(&[("acks", "1")]).unwrap().idempotence);
        assert!(!with(&[("retries", "0")]).unwrap().idempotence);
        let on = ("enable.idempotence", "true");
        assert!(error(&[("acks", "1"), on]).contains("acks=all"));
        assert!(error(&[("retries", "0"), on]).contains("retries"));
    }

    #[test]
    fn more_than_five_in_flight_is_refused_with_idempotence_even_by_default() {
        let six = ("max.in.flight.requests.per.connection", "6");
        assert!(error(&[six]).contains("at most 5"));
        assert!(with(&[six, ("enable.idempotence", "false")]).is_ok());
        assert!(with(&[six, ("acks", "0")]).is_ok());
    }

    #[test]
    fn a_short_delivery_timeout_is_refused_if_given_and_raised_if_not() {
        assert!(error(&[("delivery.timeout.ms", "30000")]).contains("linger.ms + request.timeout.ms"));
        let raised = with(&[("request.timeout.ms", "200000")]).unwrap();
        assert_eq!(raised.delivery_timeout, Duration::from_millis(200_005));
    }

    #[test]
    fn the_first_reconnect_backoff_alone_is_also_the_last() {
        let config = with(&[("reconnect.backoff.ms", "2000")]).unwrap();
        assert_eq!(config.reconnect_backoff_max, Duration::from_secs(2));
    }

    #[test]
    fn minus_one_means_never_or_the_systems_default() {
        let config = with(&[("connections.max.idle.ms", "-1"), ("send.buffer.bytes", "-1")]).unwrap();
        assert_eq!((config.connections_max_idle, config.send_buffer), (None, None));
    }

    #[test]
    fn a_batch_size_of_zero_works_as_one() {
        assert_eq!(with(&[("batch.size", "0")]).unwrap().batch_size, 1);
    }

    #[test]
    fn the_builder_goes_through_the_same_rules() {
        let builder = Config::builder("h:1").acks(Acks::Leader).idempotence(true);
        assert!(matches!(builder.build(), Err(ConfigError::Contradiction(_))));
        let config = Config::builder("h:1").linger(Duration::from_millis(50)).client_id("me").build().unwrap();
        assert_eq!((config.linger, config.client_id()), (Duration::from_millis(50), "me"));
    }
}
