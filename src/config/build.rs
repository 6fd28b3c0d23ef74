//! From names and values to a [`Config`]: each value against its range, then the options against each other.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::batch::Compression;
use crate::config::elsewhere::Answer;
use crate::config::error::Nearest;
use crate::config::options::{self, Entry, Kind, Support};
use crate::config::{
    Acks, Config, ConfigError, Part, Property, Sasl, SecurityProtocol, TlsOptions, elsewhere, sasl, servers,
};
use crate::memory;
use crate::planted::planted;
use crate::producer::KeyPartitioner;

/// Java's other partitioner.
const ROUND_ROBIN: &str = "org.apache.kafka.clients.producer.RoundRobinPartitioner";

/// What one option takes while it is read and checked, in bytes, besides its text.
const OPTION: usize = 512 + 192 * size_of::<usize>();

/// What it takes to put another entry into a table.
fn table_for<T>(table: &Vec<T>) -> usize {
    memory::to_grow(table, 4)
}

/// Checks that there is memory for something.
fn look_for(bytes: usize) -> Result<(), ConfigError> {
    if memory::has(bytes) { Ok(()) } else { Err(ConfigError::NoMemory { needed: bytes }) }
}

/// What is written at once is a bounded number of segments.
const BATCHES_A_REQUEST: usize = 512;

/// Sets options one by one; each method is named for Java's option, where the default stands too.
#[derive(Clone)]
pub struct ConfigBuilder {
    pairs: Vec<Property>,
    typed: Typed,
    /// There was no memory for one of the options.
    lacks: bool,
}

/// What was given as it is, and not as text. It comes before what texts say.
#[derive(Clone, Debug, Default)]
struct Typed {
    sasl: Option<Sasl>,
    tls: Option<TlsOptions>,
}

impl fmt::Debug for ConfigBuilder {
    /// Names only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [self.typed.sasl.as_ref().map(|_| "sasl"), self.typed.tls.as_ref().map(|_| "tls")];
        let names = self.pairs.iter().map(|pair| &*pair.name).chain(typed.into_iter().flatten());
        f.debug_list().entries(names).finish()
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $method:ident($name:literal, $type:ty, $text:expr);)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $method(mut self, value: $type) -> Self {
                let text: fn($type) -> String = $text;
                self.give(($name, text(value)));
                self
            }
        )*
    };
}

impl ConfigBuilder {
    pub(super) fn new(bootstrap_servers: &str) -> Self {
        Self::from_properties([("bootstrap.servers", bootstrap_servers)])
    }

    /// Begins with options by their names, such as [`parse_properties`](crate::parse_properties) reads from a file; what is
    /// set from here on comes before them.
    ///
    /// ```
    /// use milena::{ConfigBuilder, Sasl};
    ///
    /// let file = "bootstrap.servers=h:9093\nsecurity.protocol=SASL_SSL\nlinger.ms=20\n";
    /// let password = "from elsewhere";
    /// let config = ConfigBuilder::from_properties(milena::parse_properties(file)?).sasl(Sasl::plain("alice", password)).build()?;
    /// # let _ = config;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn from_properties(pairs: impl IntoIterator<Item = impl Into<Property>>) -> Self {
        Self { pairs: Vec::new(), typed: Typed::default(), lacks: false }.properties(pairs)
    }

    fn give(&mut self, pair: impl Into<Property>) {
        self.lacks |= !memory::has(OPTION + table_for(&self.pairs));
        if !self.lacks {
            self.pairs.push(pair.into());
        }
    }

    setters! {
        /// `client.id`: what brokers call this producer in logs and quotas. Default `milena-producer`.
        client_id("client.id", &str, str::to_string);
        /// `security.protocol`: whether connections are encrypted, and whether SASL authenticates. Default plaintext.
        security_protocol("security.protocol", SecurityProtocol, |protocol| protocol.name().to_string());
        /// `acks`: how many replicas have to have a record. Default all; fewer turn idempotence off.
        acks("acks", Acks, |acks| acks.code().to_string());
        /// `enable.idempotence`: no duplicates, and order kept, through retries. Default true.
        idempotence("enable.idempotence", bool, |on| on.to_string());
        /// `retries`: times that a batch is sent again. Default 2,147,483,647.
        retries("retries", u32, |times| times.to_string());
        /// `max.in.flight.requests.per.connection`. Default 5, and at most 5 with idempotence.
        max_in_flight("max.in.flight.requests.per.connection", u32, |requests| requests.to_string());
        /// `max.in.flight.adaptive` (ours): fewer where more would only wait behind each other at the broker. Default true.
        adaptive_in_flight("max.in.flight.adaptive", bool, |on| on.to_string());
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
        /// `partitioner` (librdkafka's): how the partition of a key is found. Default as Java, murmur2.
        partitioner("partitioner", KeyPartitioner, |partitioner| partitioner.name().to_string());
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

    /// Who the producer is, in place of `sasl.mechanism`, `sasl.jaas.config` and what else is said of SASL as text.
    #[must_use]
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.typed.sasl = Some(sasl);
        self
    }

    /// Whom it trusts and with which certificate it shows itself, in place of `ssl.*` as text.
    #[must_use]
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.typed.tls = Some(tls);
        self
    }

    /// Any option by its name, as in a properties file. A later value replaces an earlier one.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.give((name, value));
        self
    }

    /// Options by their names, such as [`parse_properties`](crate::parse_properties) reads from a file. They replace those
    /// given before.
    #[must_use]
    pub fn properties(mut self, pairs: impl IntoIterator<Item = impl Into<Property>>) -> Self {
        pairs.into_iter().for_each(|pair| self.give(pair));
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn build(self) -> Result<Config, ConfigError> {
        self.read(Reading::Strict).map(|(config, _)| config)
    }

    /// Checks everything, but leaves out what has no meaning here, as
    /// [`Config::from_properties_lenient`](crate::Config::from_properties_lenient) does, and tells it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn build_lenient(self) -> Result<(Config, Vec<LeftOut>), ConfigError> {
        self.read(Reading::Lenient)
    }

    fn read(self, reading: Reading) -> Result<(Config, Vec<LeftOut>), ConfigError> {
        if self.lacks {
            return Err(ConfigError::NoMemory { needed: memory::PRODUCER });
        }
        let Taken { given, left_out, mut errors, wrong } = Given::from_pairs(self.pairs, reading)?;
        // Names of servers are there three times.
        look_for(memory::PRODUCER + 4 * given.texts.values().map(String::len).sum::<usize>())?;
        match given.config(self.typed) {
            Ok(config) if errors.is_empty() => return Ok((config, left_out)),
            Ok(_) => {}
            Err(more) => {
                // What an option of which something was said above has to do with may be well when that is mended.
                let is_apart = |error: &ConfigError| wrong.iter().all(|option| !error.names(option));
                errors.extend(more.into_iter().filter(is_apart).map(|error| given.place(error)));
            }
        }
        Err(ConfigError::of(errors))
    }
}

fn millis(span: Duration) -> String {
    span.as_millis().to_string()
}

/// An option that [`Config::from_properties_lenient`] did without.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its name.
    pub option: String,
    /// The line that it stood in, if it came from [`parse_properties`](crate::parse_properties).
    pub line: Option<usize>,
    /// Why, and what to do if it is missed. The value is not in it.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.option, self.why)
    }
}

/// What is made of options that have no effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Strict,
    Lenient,
}

/// Whether it may be an option's name, of whichever client: lower case, or with dots in it. A line of base64 is neither.
fn is_a_name(name: &str) -> bool {
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_base64 = !name.contains('.') && name.contains(|c: char| c.is_ascii_uppercase());
    begins && name.len() <= 100 && name.chars().all(is_of_names) && !is_base64
}

/// White space as Java's `String.trim` has it: blanks and control characters, and no other.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Values that were checked one by one, by option. Not given: not there. It has no `Debug`: some values are secrets.
#[derive(Default)]
pub(super) struct Given {
    texts: BTreeMap<&'static str, String>,
    lines: BTreeMap<&'static str, usize>,
}

/// What was made of names and values.
struct Taken {
    given: Given,
    left_out: Vec<LeftOut>,
    errors: Vec<ConfigError>,
    /// The options of ours that the errors are about.
    wrong: Vec<String>,
}

impl Given {
    /// Takes the last value of each name.
    fn from_pairs(pairs: Vec<Property>, reading: Reading) -> Result<Taken, ConfigError> {
        let mut last: Vec<Property> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for mut pair in pairs {
            // What some editors put before a file's first character.
            if let Some(name) = pair.name.strip_prefix('\u{feff}') {
                pair.name = name.to_string();
            }
            match places.get(&pair.name) {
                Some(place) => last[*place] = pair,
                None => {
                    look_for(OPTION + table_for(&last) + pair.name.len())?;
                    places.insert(pair.name.clone(), last.len());
                    last.push(pair);
                }
            }
        }
        let value_of = |name: &str| places.get(name).map(|place| trim(&last[*place].value));
        let mechanism = value_of("sasl.mechanism").or_else(|| value_of("sasl.mechanisms")).and_then(sasl::built_in);
        let mechanism = mechanism.unwrap_or("PLAIN");
        let both = value_of("sasl.username").is_some();
        let mut taken = Taken { given: Self::default(), left_out: Vec::new(), errors: Vec::new(), wrong: Vec::new() };
        // Lines of a key, or of another long value, that were not joined: they are not shown, and no reading does without them.
        let strange: Vec<&Property> = last.iter().filter(|pair| !is_a_name(&pair.name)).collect();
        if !strange.is_empty() {
            let error = ConfigError::Contradiction(alloc::format!(
                "{} of the options have no names of options, and are not shown, for they may be pieces of a key: a value goes on in \
                 the next line only after a backslash at the end of the one before; a PEM text may stand on one line, with blanks \
                 for its line breaks",
                strange.len()
            ));
            taken.errors.push(error.at(strange.iter().filter_map(|pair| pair.line).collect()));
        }
        for Property { name, value, line } in last.iter().filter(|pair| is_a_name(&pair.name)) {
            if name == "sasl.password" && both {
                continue; // one answer for the two
            }
            look_for(OPTION + table_for(&taken.errors) + 2 * (name.len() + value.len()))?;
            match taken.given.take(name, value, mechanism, reading) {
                Ok(None) => {}
                Ok(Some(why)) => taken.left_out.push(LeftOut { option: name.clone(), line: *line, why }),
                Err(error) => {
                    taken.wrong.push(ours(name).to_string());
                    let other = (name == "sasl.username").then(|| places.get("sasl.password")).flatten();
                    let lines = line.iter().copied().chain(other.and_then(|place| last[*place].line));
                    taken.errors.push(error.at(lines.collect()));
                }
            }
            if let (Some(line), Some(entry)) = (line, options::find(ours(name))) {
                taken.given.lines.insert(entry.name, *line);
            }
        }
        // What was carried over from another client's option was not wrong.
        taken.wrong.retain(|option| !taken.given.texts.contains_key(&**option));
        Ok(taken)
    }

    /// The error with the lines of those options that it names.
    pub(super) fn place(&self, error: ConfigError) -> ConfigError {
        let mut lines: Vec<usize> =
            self.lines.iter().filter(|(name, _)| error.names(name)).map(|(_, line)| *line).collect();
        crate::sort::by_key(&mut lines, |line| *line);
        error.at(lines)
    }

    /// Takes one, or says why it is left out.
    fn take(
        &mut self,
        name: &str,
        value: &str,
        mechanism: &str,
        reading: Reading,
    ) -> Result<Option<String>, ConfigError> {
        let lenient = reading == Reading::Lenient;
        let Some(entry) = options::find(name) else {
            let option = name.to_string();
            // Who the client is and whom it trusts is not left out.
            let is_security = ["ssl.", "sasl.", "enable.ssl."].iter().any(|begin| name.starts_with(begin));
            return match (elsewhere::answer(name, mechanism), options::nearest(name)) {
                (Some(instead), _) if lenient && (!is_security || planted("security-left-out")) => Ok(Some(instead)),
                (Some(mut instead), _) => {
                    instead += &self.carry_over(name, value);
                    Err(ConfigError::Foreign { option, instead })
                }
                (None, nearest) if lenient => Ok(Some(alloc::format!("it is not known{}", Nearest(&nearest)))),
                (None, nearest) => Err(ConfigError::Unknown { option, nearest }),
            };
        };
        // Java cuts off what is around secrets too.
        let value = if entry.kind == Kind::Secret { value } else { trim(value) };
        let is_default = value.eq_ignore_ascii_case(entry.default);
        match entry.support {
            Support::Built => {
                check(&entry, value)?;
                self.texts.insert(entry.name, value.to_string());
            }
            // The default is no wish that could be missed.
            Support::Ignored(taken) if taken.is_empty() || taken.contains(&value) => {
                return Ok((lenient && !is_default).then(|| entry.about.to_string()));
            }
            Support::Ignored(_) if lenient => return Ok(Some(entry.about.to_string())),
            Support::Ignored(_) => {
                let words = alloc::format!("{} Taken: {}", entry.about, options::taken(&entry));
                return Err(ConfigError::Invalid { option: entry.name, value: value.to_string(), allowed: words });
            }
            // What Java does without the option is what is done here.
            Support::Part(_) | Support::Dispensable(_) | Support::NotBuiltIn(_) if is_default => {}
            Support::Part(part @ Part::Interceptor) if lenient => return Ok(Some(part.instead().to_string())),
            Support::Part(_) => {
                self.texts.insert(entry.name, value.to_string());
            }
            Support::Dispensable(instead) if lenient => return Ok(Some(instead.to_string())),
            // The value is not repeated: it may be a secret.
            Support::Dispensable(instead) | Support::NotBuiltIn(instead) => {
                return Err(ConfigError::NotBuiltIn { option: name.to_string(), instead });
            }
        }
        Ok(None)
    }

    /// Keeps the value of an option that has another name here under that one, so that what is wrong with it is told in the same
    /// breath; or says that the value is not possible here.
    fn carry_over(&mut self, name: &str, value: &str) -> String {
        let Some(entry) = elsewhere::called(name).filter(|entry| !self.texts.contains_key(entry.name)) else {
            return String::new();
        };
        let value = if entry.kind == Kind::Secret { value } else { trim(value) };
        match check(&entry, value) {
            Ok(()) => {
                self.texts.insert(entry.name, value.to_string());
                String::new()
            }
            // The value is not shown: nobody knows what it is.
            Err(ConfigError::Invalid { allowed, .. }) => {
                alloc::format!(", but its value is not possible here: {allowed}")
            }
            Err(_) => ", but its value is not possible here".to_string(),
        }
    }

    pub(super) fn text(&self, name: &'static str) -> &str {
        self.texts.get(name).map_or_else(|| options::find(name).map_or("", |entry| entry.default), String::as_str)
    }

    pub(super) fn number(&self, name: &'static str) -> i64 {
        self.text(name).parse().expect("it was checked, and defaults are numbers")
    }

    fn size(&self, name: &'static str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    pub(super) fn span(&self, name: &'static str) -> Duration {
        Duration::from_millis(u64::try_from(self.number(name)).unwrap_or(0))
    }

    pub(super) fn boolean(&self, name: &'static str) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }

    /// Whether any of `sasl.oauthbearer.*` is given.
    pub(super) fn has_token_options(&self) -> bool {
        self.texts.iter().any(|(name, value)| name.starts_with(options::TOKENS_BEGIN) && !value.is_empty())
    }

    pub(super) fn is_given(&self, name: &'static str) -> bool {
        self.texts.contains_key(name)
    }

    /// What is given as text in another text, such as `ssl.*` in `sasl.jaas.config`.
    #[cfg(feature = "oidc")]
    pub(super) fn within(pairs: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let taken = Self::from_pairs(pairs.map(Into::into).collect(), Reading::Strict)?;
        if taken.errors.is_empty() { Ok(taken.given) } else { Err(ConfigError::of(taken.errors)) }
    }

    /// The options against each other, in Java's order.
    fn config(&self, typed: Typed) -> Result<Config, Vec<ConfigError>> {
        let servers = match self.texts.get("bootstrap.servers") {
            Some(servers) => servers::parse(servers),
            None => {
                let why = "the producer has to begin somewhere, such as bootstrap.servers=localhost:9092".to_string();
                Err(ConfigError::Missing { option: "bootstrap.servers", why })
            }
        };
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
        let batch_size = self.size("batch.size").max(1);
        let idle = u64::try_from(self.number("connections.max.idle.ms")).ok().map(Duration::from_millis);
        let security_protocol = self.security_protocol();
        let parts = self.parts(typed.sasl.is_none());
        let sasl = match typed.sasl {
            Some(sasl) => sasl.check(security_protocol).map(Some),
            None => self.sasl(),
        };
        let tls = match typed.tls {
            Some(tls) => tls.check(),
            None if security_protocol.has_tls() && !self.is_given("ssl.engine.factory.class") => self.tls(),
            None => Ok(TlsOptions::default()), // nobody looks at them, in Java neither
        };
        #[cfg(feature = "oidc")]
        let oidc = self.oidc(sasl.as_ref().ok().and_then(Option::as_ref));
        let mut errors = Vec::new();
        let servers = kept(servers, &mut errors);
        let delivery_timeout = kept(self.delivery_timeout(needed), &mut errors);
        let idempotence = kept(self.idempotence(acks), &mut errors);
        let compression = kept(self.compression(), &mut errors);
        let partitioner = kept(self.partitioner(), &mut errors);
        let (sasl, tls) = (kept(sasl, &mut errors), kept(tls, &mut errors));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Config {
            bootstrap_servers: servers.expect(GOOD),
            client_id: self.text("client.id").to_string(),
            acks,
            idempotence: idempotence.expect(GOOD),
            retries: u32::try_from(self.number("retries")).unwrap_or(u32::MAX),
            max_in_flight: self.size("max.in.flight.requests.per.connection"),
            adaptive_in_flight: self.boolean("max.in.flight.adaptive"),
            max_request_size: self.size("max.request.size"),
            batch_size,
            batch_size_max: self.size("batch.size.max").max(batch_size),
            batches_a_request: BATCHES_A_REQUEST,
            linger,
            delivery_timeout: delivery_timeout.expect(GOOD),
            request_timeout,
            compression: compression.expect(GOOD),
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
            partitioner: partitioner.expect(GOOD),
            rack: self.rack(),
            round_robin: self.text("partitioner.class") == ROUND_ROBIN,
            security_protocol,
            sasl: sasl.expect(GOOD),
            tls: tls.expect(GOOD),
            #[cfg(feature = "oidc")]
            oidc,
            parts,
            send_buffer: usize::try_from(self.number("send.buffer.bytes")).ok(),
            receive_buffer: usize::try_from(self.number("receive.buffer.bytes")).ok(),
        })
    }

    /// A time that is given has to be enough; the default becomes so.
    fn delivery_timeout(&self, needed: Duration) -> Result<Duration, ConfigError> {
        let delivery_timeout = self.span("delivery.timeout.ms");
        if delivery_timeout >= needed {
            return Ok(delivery_timeout);
        }
        if self.is_given("delivery.timeout.ms") {
            return contradiction(
                "delivery.timeout.ms must be at least linger.ms + request.timeout.ms: raise it, or lower one of those",
            );
        }
        log::warn!("delivery.timeout.ms is raised to linger.ms + request.timeout.ms");
        Ok(needed)
    }

    /// What the application has to bring, beside what the mechanism needs.
    fn parts(&self, sasl_is_text: bool) -> Vec<(Part, &'static str)> {
        let mut parts = Vec::new();
        if !matches!(self.text("partitioner.class"), "" | ROUND_ROBIN) {
            parts.push((Part::Partitioner, "partitioner.class"));
        }
        if self.is_given("interceptor.classes") {
            parts.push((Part::Interceptor, "interceptor.classes"));
        }
        let protocol = self.security_protocol();
        if protocol.has_tls() && self.is_given("ssl.engine.factory.class") {
            parts.push((Part::TlsConfig, "ssl.engine.factory.class"));
        }
        if protocol.has_sasl() && sasl_is_text {
            parts.extend(self.handler());
        }
        parts
    }

    /// Nobody else looks at it.
    fn rack(&self) -> Option<String> {
        let rack = self.text("client.rack");
        if !self.boolean("partitioner.rack.aware") {
            return None;
        }
        if rack.is_empty() {
            log::warn!("partitioner.rack.aware has no effect without client.rack");
            return None;
        }
        Some(rack.to_string())
    }

    fn partitioner(&self) -> Result<KeyPartitioner, ConfigError> {
        let named = KeyPartitioner::of_name(self.text("partitioner")).unwrap_or_default();
        if !self.is_given("partitioner") {
            return Ok(if self.boolean("partitioner.ignore.keys") { KeyPartitioner::Random } else { named });
        }
        if !self.text("partitioner.class").is_empty() {
            return contradiction("partitioner.class and partitioner exclude each other: leave one of them out");
        }
        if self.boolean("partitioner.ignore.keys") && named != KeyPartitioner::Random {
            return contradiction("partitioner.ignore.keys=true is partitioner=random: leave one of them out");
        }
        Ok(named)
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
        let instead = match compression {
            _ if compression.is_built_in() => return Ok(compression),
            Compression::None => return Ok(compression),
            Compression::Gzip { .. } => "compile milena with the codec's feature: features = [\"gzip\"]",
            Compression::Snappy => "compile milena with the codec's feature: features = [\"snappy\"]",
            Compression::Lz4 => "compile milena with the codec's feature: features = [\"lz4\"]",
            Compression::Zstd { .. } => "compile milena with the codec's feature: features = [\"zstd\"]",
        };
        Err(ConfigError::NotBuiltIn { option: alloc::format!("compression.type={}", compression.name()), instead })
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

/// The option of ours that another client's is: of that name, or of its answer's.
fn ours(name: &str) -> &str {
    match elsewhere::find(name) {
        Some(Answer::Called(ours)) => ours.split(' ').next().unwrap_or(name),
        Some(Answer::Credentials) => "sasl.jaas.config",
        Some(Answer::Instead(_)) | None => name,
    }
}

/// Why a value is there.
const GOOD: &str = "without errors each of them is good";

/// What is good, or one error more.
fn kept<T>(result: Result<T, ConfigError>, errors: &mut Vec<ConfigError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
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
        // It goes into a field of requests that holds no more.
        Kind::Text if entry.name == "client.id" && value.len() > i16::MAX as usize => {
            let allowed = alloc::format!("it has {} bytes, of which brokers take {}", value.len(), i16::MAX);
            return Err(ConfigError::Invalid { option: entry.name, value: "[long]".to_string(), allowed });
        }
        Kind::Text | Kind::Secret => None,
        Kind::Servers => return servers::parse(value).map(|_| ()),
    };
    match allowed {
        None => Ok(()),
        Some(allowed) => Err(ConfigError::Invalid { option: entry.name, value: value.to_string(), allowed }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The texts that are kept of options, or why they are not taken.
    pub(crate) fn texts(pairs: &[(&str, &str)]) -> Result<BTreeMap<&'static str, String>, ConfigError> {
        let taken = Given::from_pairs(pairs.iter().copied().map(Into::into).collect(), Reading::Strict)?;
        if taken.errors.is_empty() { Ok(taken.given.texts) } else { Err(ConfigError::of(taken.errors)) }
    }

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
        for bad in ["", "host", "host:", "host:port", "a:1,", ":9092", "host:70000", "a b:1"] {
            assert!(Config::new(bad).is_err(), "{bad:?}");
        }
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
        assert!(error(&[("metric.reporters", "x")]).contains("not built in"));
        assert!(error(&[("transactional.id", "t")]).contains("not built in"));
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

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let pairs = [("linger.ms", "soon"), ("acks", "7"), ("nonsense", "1"), ("linger.ms", "later"), ("retries", "3")];
        let error = error(&pairs);
        assert!(error.starts_with("3 things"), "{error}");
        assert!(["linger.ms=later", "acks=7", "nonsense"].iter().all(|words| error.contains(words)), "{error}");
        assert!(matches!(with(&[("acks", "7")]), Err(ConfigError::Invalid { .. })), "one is that one");
        let pairs = [
            ("delivery.timeout.ms", "1"),
            ("enable.idempotence", "true"),
            ("acks", "0"),
            ("security.protocol", "SASL_SSL"),
        ];
        let error = self::error(&[&pairs[..], &[("sasl.mechanism", "PLAIN"), ("ssl.keystore.key", "x")]].concat());
        assert!(error.starts_with("4 things"), "{error}");
    }

    #[test]
    fn options_of_librdkafka_are_answered() {
        for (name, words) in [
            ("message.timeout.ms", "it is called delivery.timeout.ms here"),
            ("statistics.interval.ms", "metrics()"),
            ("stats_cb", "metrics()"),
            ("debug", "RUST_LOG"),
            ("compression.level", "compression.zstd.level; lz4 and snappy have none"),
            // A number of messages is no number of bytes, and 0 is the system's default there only.
            ("batch.num.messages", "leave it out"),
            ("socket.send.buffer.bytes", "-1 for the system's default"),
            ("socket.receive.buffer.bytes", "-1 for the system's default"),
            ("enable.ssl.certificate.verification", "leave it out"),
            ("ssl.certificate.location", "one PEM file"),
            ("ssl.key.location", "one PEM file"),
            ("group.id", "for consumers"),
            ("schema.registry.url", "serialize them before"),
            ("schema.registry.basic.auth.user.info", "serialize them before"),
        ] {
            let error = error(&[(name, "hunter2")]);
            assert!(error.contains(words) && error.contains(name) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_codec_that_is_not_there_is_told_by_the_name_of_its_own_feature() {
        for codec in
            [Compression::Gzip { level: -1 }, Compression::Snappy, Compression::Lz4, Compression::Zstd { level: 3 }]
        {
            let read = with(&[("compression.type", codec.name())]);
            assert_eq!(read.is_ok(), codec.is_built_in());
            let feature = alloc::format!("features = [\"{}\"]", codec.name());
            assert!(read.is_ok() || read.is_err_and(|error| error.to_string().contains(&feature)), "{}", codec.name());
        }
    }

    #[test]
    fn user_and_password_are_answered_with_the_whole_line_for_the_mechanism() {
        for (mechanism, module) in [
            ("SCRAM-SHA-512", "org.apache.kafka.common.security.scram.ScramLoginModule"),
            ("scram-sha-256", "org.apache.kafka.common.security.scram.ScramLoginModule"),
            ("PLAIN", "org.apache.kafka.common.security.plain.PlainLoginModule"),
            ("hunter2", "org.apache.kafka.common.security.plain.PlainLoginModule"),
        ] {
            for name in ["sasl.mechanism", "sasl.mechanisms"] {
                let pairs = [("sasl.username", "alice"), ("sasl.password", "hunter2"), (name, mechanism)];
                let error = error(&pairs);
                let line = alloc::format!("sasl.jaas.config={module} required username=\"...\" password=\"...\";");
                assert!(error.contains(&line) && !error.contains("hunter2"), "{error}");
                assert!(!error.contains("unknown option sasl.password"), "{error}");
            }
        }
    }

    #[test]
    fn a_lenient_reading_leaves_out_what_can_be_done_without_and_says_so() {
        let lenient = |pairs: &[(&str, &str)]| {
            Config::from_properties_lenient([("bootstrap.servers", "h:1")].iter().chain(pairs).copied())
        };
        let avro = "io.confluent.kafka.serializers.KafkaAvroSerializer";
        let string = "org.apache.kafka.common.serialization.StringSerializer";
        let pairs = [
            ("schema.registry.url", "http://hunter2"),
            ("group.id", "hunter2"),
            ("linger", "5"),
            ("message.timeout.ms", "5"),
            ("value.serializer", avro),
            ("key.serializer", string),
            ("interceptor.classes", "hunter2"),
            ("metric.reporters", "hunter2"),
            ("client.dns.lookup", "resolve_canonical_bootstrap_servers_only"),
        ];
        let (config, left_out) = lenient(&[&pairs[..], &[("linger.ms", "7"), ("acks", "all")]].concat()).unwrap();
        assert_eq!((config.linger, config.parts()), (Duration::from_millis(7), Vec::new()));
        let names: Vec<&str> = left_out.iter().map(|left| &*left.option).collect();
        assert_eq!(names, pairs.map(|(name, _)| name));
        let said: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        assert!(said.iter().all(|said| !said.contains("hunter2")), "{said:?}");
        assert_eq!(said[2], "linger: it is not known; did you mean linger.ms?");
        assert!(said[3].contains("delivery.timeout.ms"), "{said:?}");
        // The default is nothing to be missed.
        assert_eq!(lenient(&[("client.dns.lookup", "use_all_dns_ips"), ("metrics.num.samples", "2")]).unwrap().1, []);
        // What would change what happens to records, or who the client is, is no less refused.
        for (name, value) in [
            ("transactional.id", "t"),
            ("config.providers", "file"),
            ("linger.ms", "soon"),
            ("ssl.ca.location", "/ca.pem"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "u"),
            ("enable.ssl.certificate.verification", "true"),
        ] {
            assert!(lenient(&[(name, value)]).is_err(), "{name}");
        }
        let mine = lenient(&[("partitioner.class", "com.example.Mine")]).unwrap();
        assert_eq!((mine.0.parts(), mine.1), (Vec::from([(Part::Partitioner, "partitioner.class")]), Vec::new()));
    }

    #[test]
    fn partitioners_have_librdkafkas_names() {
        assert_eq!(with(&[]).unwrap().partitioner, KeyPartitioner::Murmur2Random);
        assert_eq!(with(&[("partitioner.ignore.keys", "true")]).unwrap().partitioner, KeyPartitioner::Random);
        let crc = with(&[("partitioner", "consistent_random")]).unwrap();
        assert_eq!(crc.partitioner, KeyPartitioner::ConsistentRandom);
        let typed = Config::builder("h:1").partitioner(KeyPartitioner::Fnv1a).build().unwrap();
        assert_eq!(typed.partitioner, KeyPartitioner::Fnv1a);
        let random = [("partitioner", "random"), ("partitioner.ignore.keys", "true")];
        assert!(with(&random).is_ok());
        let ignored = error(&[("partitioner", "murmur2"), random[1]]);
        assert!(ignored.contains("partitioner=random"), "{ignored}");
        assert!(error(&[random[0], ("partitioner.class", ROUND_ROBIN)]).contains("exclude each other"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_lines() {
        let told = |text: &str| {
            let read = crate::config::parse_properties(text).unwrap();
            Config::from_properties(read).unwrap_err().to_string()
        };
        assert!(
            told("# me\n\nbootstrap.servers=h:1\nlinger.ms=\\\n  soon\n").starts_with("line 4: linger.ms=soon is not")
        );
        // The later one counts, and none of them where the default is meant.
        assert!(told("acks=7\nbootstrap.servers=h:1\nacks=8\n").starts_with("line 3: acks=8"));
        let idempotent = told("bootstrap.servers=h:1\nacks=1\nenable.idempotence=true\n");
        assert!(idempotent.starts_with("lines 2 and 3: enable.idempotence=true needs acks=all"), "{idempotent}");
        assert!(told("linger.ms=5\n").starts_with("bootstrap.servers is missing"));
        // What is wrong with one of two is not told of both.
        let one = told("bootstrap.servers=h:1\ndelivery.timeout.ms=5000\nrequest.timeout.ms=soon\n");
        assert!(one.starts_with("line 3: request.timeout.ms=soon"), "{one}");
        // Pairs from a program have no lines; typed values come before a file's.
        let file = crate::config::parse_properties("bootstrap.servers=h:1\nlinger.ms=soon\n").unwrap();
        let config = ConfigBuilder::from_properties(file).linger(Duration::from_millis(7)).build().unwrap();
        assert_eq!(config.linger, Duration::from_millis(7));
        assert!(error(&[("linger.ms", "soon")]).starts_with("linger.ms=soon"));
    }

    #[test]
    fn a_value_under_another_clients_name_is_looked_at_as_ours() {
        let words = error(&[("message.timeout.ms", "5000")]);
        assert!(words.contains("delivery.timeout.ms must be at least"), "{words}");
        let words = error(&[("queue.buffering.max.ms", "0.5")]);
        assert!(
            words.ends_with("linger.ms here, but its value is not possible here: a whole number from 0"),
            "{words}"
        );
        let both = error(&[("message.timeout.ms", "5000"), ("delivery.timeout.ms", "60000")]);
        assert!(both.starts_with("unknown option message.timeout.ms") && !both.contains("at least"), "{both}");
        let reverse = error(&[("delivery.timeout.ms", "60000"), ("message.timeout.ms", "5000")]);
        assert_eq!(both, reverse);
    }

    #[test]
    fn parts_of_the_applications_own_are_remembered() {
        for (name, value, part) in [
            ("partitioner.class", "com.example.Mine", Some(Part::Partitioner)),
            ("partitioner.class", ROUND_ROBIN, None),
            ("partitioner.class", "com.example.RoundRobinPartitioner", Some(Part::Partitioner)),
            ("partitioner.rack.aware", "true", None),
            ("interceptor.classes", "com.example.Mine", Some(Part::Interceptor)),
            ("interceptor.classes", " ", None),
            ("ssl.engine.factory.class", "com.example.Mine", None),
        ] {
            let parts = with(&[(name, value)]).unwrap().parts();
            assert_eq!(parts, part.map(|part| (part, name)).into_iter().collect::<Vec<_>>(), "{name}={value}");
        }
        let tls = with(&[("ssl.engine.factory.class", "com.example.Mine"), ("security.protocol", "SSL")]).unwrap();
        assert_eq!(tls.parts(), [(Part::TlsConfig, "ssl.engine.factory.class")]);
    }

    #[test]
    fn texts_may_be_as_long_as_in_java() {
        let long = "x".repeat(20_000);
        assert_eq!(with(&[("client.id", &long)]).unwrap().client_id(), long);
        assert!(with(&[("ssl.cipher.suites", &long), ("security.protocol", "SSL")]).is_ok());
        let servers: Vec<String> = (1..2000).map(|port| alloc::format!("kafka.example.org:{port}")).collect();
        assert_eq!(with(&[("bootstrap.servers", &servers.join(","))]).unwrap().bootstrap_servers().len(), 1999);
        assert!(error(&[("client.id", &"x".repeat(40_000))]).contains("32767"));
    }

    /// A PEM text that was pasted into a properties file as it is: each line becomes an option of its own.
    #[test]
    fn lines_of_a_key_that_became_options_are_not_shown() {
        let key = "MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCCFHpnQWpIYB2u3DkVP";
        let text = alloc::format!(
            "bootstrap.servers=h:1\nssl.keystore.key=-----BEGIN PRIVATE KEY-----\n{key}\nFS6xPgjnwxeo7Ap12EbO7hFatw==\n\
             short==\n-----END PRIVATE KEY-----\nlinger=5\n"
        );
        let pairs = crate::config::parse_properties(&text).unwrap();
        for error in [
            Config::from_properties(pairs.clone()).unwrap_err().to_string(),
            Config::from_properties_lenient(pairs.clone()).unwrap_err().to_string(),
        ] {
            assert!(error.contains("3 of the options") && error.contains("backslash"), "{error}");
            assert!(!error.contains("MEECA") && !error.contains("FS6x") && !error.contains("-----"), "{error}");
        }
        let marked = crate::config::parse_properties("\u{feff}bootstrap.servers=h:1\n").unwrap();
        assert!(Config::from_properties(marked).is_ok(), "a byte order mark is no part of a name");
        for name in ["debug", "linger.ms", "log_level", "schema.registry.basic.auth.user.info", "a.B", "x-y"] {
            assert!(is_a_name(name), "{name}");
        }
    }

    /// Nothing in this part of the crate shows a secret, whatever is printed of it.
    #[test]
    fn secrets_are_not_shown() {
        let jaas =
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hunter2\";";
        let pairs = [
            ("bootstrap.servers", "h:1"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", jaas),
            ("ssl.key.password", "hunter2"),
            ("ssl.keystore.key", "hunter2"),
            ("ssl.keystore.certificate.chain", "hunter2"),
            ("ssl.truststore.certificates", "hunter2"),
        ];
        let config = Config::from_properties(pairs).unwrap();
        let builder = Config::builder("h:1").properties(pairs).sasl(Sasl::plain("u", "hunter2"));
        let builder = builder.tls(TlsOptions::new().keystore("hunter2", "hunter2").key_password("hunter2"));
        let typed = builder.clone().build().unwrap();
        let mut shown =
            alloc::format!("{config:?} {config:#?} {typed:?} {builder:?} {:?} {:?}", config.sasl(), config.tls());
        // Errors, for every option that holds a secret.
        for entry in options::OPTIONS.iter().filter(|entry| entry.kind == Kind::Secret) {
            for value in ["hunter2", "hunter2\n", "M required password=hunter2;"] {
                for protocol in ["SASL_SSL", "SSL", "SASL_PLAINTEXT"] {
                    let pairs = [("security.protocol", protocol), ("sasl.mechanism", "PLAIN"), (entry.name, value)];
                    shown += &alloc::format!("{:?}", with(&pairs));
                }
            }
        }
        assert!(shown.contains("[hidden]") && !shown.contains("hunter2"), "{shown}");
    }
}
