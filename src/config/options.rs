//! The table of options: names, kinds, defaults, ranges. Everything that is said about an option is said here once.

use crate::config::Part;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number in this range.
    Number(i64, i64),
    /// −1, or a whole number in this range.
    Level(i64, i64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// Any text, which is not to be shown.
    Secret,
    /// `host:port`, separated by commas.
    Servers,
}

/// What this crate does with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It has its effect.
    Built,
    /// It has none here, and none is missed: these values are taken, any if the list is empty.
    Ignored(&'static [&'static str]),
    /// The application has to bring a part of its own, unless it is the default.
    Part(Part),
    /// Refused but for its default; with what to do instead. A lenient reading leaves it out: records are sent as they should be
    /// without it.
    Dispensable(&'static str),
    /// Refused but for its default; with what to do instead.
    NotBuiltIn(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it is written in a properties file; empty for none.
    pub(crate) default: &'static str,
    pub(crate) support: Support,
    pub(crate) about: &'static str,
}

const fn built(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Entry {
    Entry { name, kind, default, support: Support::Built, about: told(about) }
}

/// Without `std`, on machines with little flash, what options are good for is left to the documentation.
const fn told(about: &'static str) -> &'static str {
    if cfg!(any(feature = "std", test)) { about } else { "" }
}

const fn ignored(
    name: &'static str,
    default: &'static str,
    taken: &'static [&'static str],
    about: &'static str,
) -> Entry {
    Entry { name, kind: Kind::Text, default, support: Support::Ignored(taken), about: told(about) }
}

const fn missing(name: &'static str, default: &'static str, instead: &'static str) -> Entry {
    Entry { name, kind: Kind::Text, default, support: Support::NotBuiltIn(instead), about: "" }
}

const fn part(name: &'static str, default: &'static str, part: Part, about: &'static str) -> Entry {
    Entry { name, kind: Kind::Text, default, support: Support::Part(part), about }
}

const fn dispensable(name: &'static str, default: &'static str, instead: &'static str) -> Entry {
    Entry { name, kind: Kind::Text, default, support: Support::Dispensable(instead), about: "" }
}

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
/// All of Java's serializers: who sends bytes makes theirs with `milena::serializer`, or otherwise.
const SERIALIZERS: &[&str] = &[
    "org.apache.kafka.common.serialization.BooleanSerializer",
    "org.apache.kafka.common.serialization.ByteArraySerializer",
    "org.apache.kafka.common.serialization.ByteBufferSerializer",
    "org.apache.kafka.common.serialization.BytesSerializer",
    "org.apache.kafka.common.serialization.DoubleSerializer",
    "org.apache.kafka.common.serialization.FloatSerializer",
    "org.apache.kafka.common.serialization.IntegerSerializer",
    "org.apache.kafka.common.serialization.ListSerializer",
    "org.apache.kafka.common.serialization.LongSerializer",
    "org.apache.kafka.common.serialization.ShortSerializer",
    "org.apache.kafka.common.serialization.StringSerializer",
    "org.apache.kafka.common.serialization.UUIDSerializer",
    "org.apache.kafka.common.serialization.VoidSerializer",
];
const BYTES: &str =
    "Records are bytes here: Java's serializers are in `milena::serializer`, others are the application's.";
/// What stands for options that begin so.
pub(crate) const TOKENS: &str = "sasl.oauthbearer.*";
/// How the names of those options begin.
pub(crate) const TOKENS_BEGIN: &str = "sasl.oauthbearer.";
/// What is for brokers alone, to verify tokens by.
const BROKERS: [&str; 4] = ["jwks.endpoint.", "expected.", "clock.skew.seconds", "allow.unverified."];
const REFRESH: &str = "A new token is asked for after 80 % of the old one's life.";
const TRANSACTIONS: &str = "this version has no transactions; without them the producer is idempotent per partition";

/// All options of Java's producer that mean something here or that users bring along, and ours.
pub(crate) static OPTIONS: &[Entry] = &[
    built("bootstrap.servers", Kind::Servers, "", "Servers to ask first, `host:port`, separated by commas. Required."),
    built("client.id", Kind::Text, "milena-producer", "What brokers call this producer in logs and quotas."),
    built("acks", Kind::Choice(&["all", "-1", "0", "1"]), "all", "How many replicas have to have a record."),
    built("enable.idempotence", Kind::Boolean, "true", "No duplicates, and order kept, through retries."),
    built(
        "retries",
        Kind::Number(0, INT),
        "2147483647",
        "Times that a batch is sent again; `delivery.timeout.ms` is the better limit.",
    ),
    built(
        "max.in.flight.requests.per.connection",
        Kind::Number(1, INT),
        "5",
        "Unanswered requests on a connection; at most 5 with idempotence.",
    ),
    built(
        "max.in.flight.adaptive",
        Kind::Boolean,
        "true",
        "Fewer where more would only wait behind each other at the broker. Ours.",
    ),
    built("max.request.size", Kind::Number(0, INT), "1048576", "Bytes of a record, and of a request."),
    built(
        "batch.size",
        Kind::Number(0, INT),
        "16384",
        "Bytes from which on a batch is due. In a fast stream it grows on for a quarter of `linger.ms`, at most 2 ms, behind the request before.",
    ),
    built(
        "batch.size.max",
        Kind::Number(0, INT),
        "262144",
        "Bytes to which a due batch may grow while its connection is busy. Ours.",
    ),
    built("linger.ms", Kind::Number(0, LONG), "5", "How long a batch waits for more records."),
    built(
        "delivery.timeout.ms",
        Kind::Number(0, INT),
        "120000",
        "From the send of a record to its success or failure.",
    ),
    built("request.timeout.ms", Kind::Number(0, INT), "30000", "How long a broker may take for an answer."),
    built(
        "max.block.ms",
        Kind::Number(0, LONG),
        "60000",
        "How long a send may wait for metadata and memory (adapters).",
    ),
    built(
        "compression.type",
        Kind::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
        "none",
        "The codec for batches. Each needs the feature of its name.",
    ),
    built("compression.gzip.level", Kind::Level(1, 9), "-1", "1 is fast, 9 is small; -1 for the usual 6."),
    built(
        "compression.lz4.level",
        Kind::Number(1, 17),
        "9",
        "Accepted, without effect: there is one compressor, Java's fast one (9).",
    ),
    built("compression.zstd.level", Kind::Number(-131_072, 22), "3", "Negative ones are fast, 22 is small."),
    built(
        "compression.jobs",
        Kind::Number(0, 1024),
        "",
        "How many batches are compressed at a time on other threads; 0 for none, then they are compressed as they are sent. \
         Ours; adapters take the number of cores, up to 4, where it is not given.",
    ),
    built("buffer.memory", Kind::Number(0, LONG), "33554432", "Bytes for records that are not delivered yet."),
    built(
        "retry.backoff.ms",
        Kind::Number(0, LONG),
        "100",
        "The first wait before a batch or a metadata request is sent again; doubles.",
    ),
    built("retry.backoff.max.ms", Kind::Number(0, LONG), "1000", "The longest such wait."),
    built(
        "reconnect.backoff.ms",
        Kind::Number(0, LONG),
        "50",
        "The first wait before a server is connected to again; doubles.",
    ),
    built("reconnect.backoff.max.ms", Kind::Number(0, LONG), "1000", "The longest such wait."),
    built(
        "socket.connection.setup.timeout.ms",
        Kind::Number(1, LONG),
        "10000",
        "How long a connection may take to become usable; doubles.",
    ),
    built("socket.connection.setup.timeout.max.ms", Kind::Number(1, LONG), "30000", "The longest such time."),
    built(
        "connections.max.idle.ms",
        Kind::Number(-1, LONG),
        "540000",
        "After how long an unused connection is closed; -1 for never (librdkafka: 0).",
    ),
    built(
        "send.buffer.bytes",
        Kind::Number(-1, INT),
        "131072",
        "The socket's send buffer (adapters); -1 for the system's default.",
    ),
    built(
        "receive.buffer.bytes",
        Kind::Number(-1, INT),
        "32768",
        "The socket's receive buffer (adapters); -1 for the system's default.",
    ),
    built("receive.message.max.bytes", Kind::Number(1024, INT), "16777216", "The largest response accepted. Ours."),
    built("metadata.max.age.ms", Kind::Number(0, LONG), "300000", "After how long metadata is asked for again."),
    built(
        "metadata.max.idle.ms",
        Kind::Number(5000, LONG),
        "300000",
        "After how long without a send a topic is no longer asked about.",
    ),
    built(
        "metadata.recovery.strategy",
        Kind::Choice(&["rebootstrap", "none"]),
        "rebootstrap",
        "Whether the bootstrap servers are asked again when no known broker answers.",
    ),
    built(
        "allow.auto.create.topics",
        Kind::Boolean,
        "true",
        "Whether asking for a topic may create it. Ours; Java's producer always asks for creation.",
    ),
    built(
        "partitioner.class",
        Kind::Text,
        "",
        "Java's `org.apache.kafka.clients.producer.RoundRobinPartitioner`; any other class calls for a milena::Partitioner.",
    ),
    built(
        "partitioner",
        Kind::Choice(&[
            "murmur2_random",
            "murmur2",
            "consistent_random",
            "consistent",
            "fnv1a_random",
            "fnv1a",
            "random",
        ]),
        "murmur2_random",
        "How the partition of a key is found. librdkafka's names; its default is consistent_random (CRC-32), Java's is \
         murmur2_random, sarama's fnv1a_random.",
    ),
    built(
        "security.protocol",
        Kind::Choice(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        "PLAINTEXT",
        "Whether connections are encrypted (feature `tls`) and authenticated.",
    ),
    built(
        "sasl.mechanism",
        Kind::Text,
        "GSSAPI",
        "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (feature `scram`), OAUTHBEARER; others by a milena::SaslMechanism.",
    ),
    built("sasl.jaas.config", Kind::Secret, "", "The login module with user and password, in Java's syntax."),
    built(
        "sasl.login.connect.timeout.ms",
        Kind::Number(0, INT),
        "",
        "How long connecting to the token endpoint may take; without it, and with 0, what is left of the call's time, see below.",
    ),
    built(
        "sasl.login.read.timeout.ms",
        Kind::Number(0, INT),
        "",
        "How long the token endpoint may take from the connection to the end of its answer; without it, and with 0, the same.",
    ),
    built(
        "sasl.login.retry.backoff.ms",
        Kind::Number(0, LONG),
        "100",
        "The first wait before the token endpoint is asked again, doubled each time; 0 not to ask again.",
    ),
    built(
        "sasl.login.retry.backoff.max.ms",
        Kind::Number(0, LONG),
        "10000",
        "How long after the first attempt another may begin.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.token.endpoint.url",
        Kind::Secret,
        "",
        "Where tokens are fetched (feature `oidc`): `https`, `http`, or `file` for a file that has one.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.client.credentials.client.id",
        Kind::Text,
        "",
        "Who asks for tokens; before `clientId` in `sasl.jaas.config`.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.client.credentials.client.secret",
        Kind::Secret,
        "",
        "The client's secret; before `clientSecret` in `sasl.jaas.config`.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.scope", Kind::Text, "", "What tokens are asked for; before `scope` in `sasl.jaas.config`."),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.header.urlencode",
        Kind::Boolean,
        "false",
        "Client id and secret are URL-encoded before base64, as RFC 6749 wants it and few servers.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.scope.claim.name", Kind::Text, "scope", "The claim of a token that has its scopes."),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.sub.claim.name",
        Kind::Text,
        "sub",
        "The claim of a token that has its subject, which it must have.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.jwt.retriever.class",
        Kind::Text,
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
        "One of Kafka's own: `Default`-, `ClientCredentials`-, `JwtBearer`- or `FileJwtRetriever`; another one is a milena::TokenProvider.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.jwt.validator.class",
        Kind::Text,
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator",
        "`DefaultJwtValidator` or `ClientJwtValidator`; another one is a milena::TokenProvider.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.assertion.file", Kind::Text, "", "A file with a signed assertion, read for each token."),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.assertion.algorithm",
        Kind::Choice(&["RS256", "ES256"]),
        "RS256",
        "How assertions are signed here.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.assertion.private.key.file", Kind::Text, "", "The key that signs assertions, in PEM."),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.assertion.private.key.passphrase", Kind::Secret, "", "For an encrypted key."),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.assertion.template.file",
        Kind::Text,
        "",
        "JSON with a `header` and a `payload` that assertions begin with.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.assertion.claim.aud", Kind::Text, "", "The assertions' audience."),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.assertion.claim.iss", Kind::Text, "", "Their issuer."),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.assertion.claim.sub", Kind::Text, "", "Their subject."),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        Kind::Number(0, 86_400),
        "300",
        "Seconds from their making to their end.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built(
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        Kind::Number(0, 3_600),
        "60",
        "Seconds before their making from which on they hold.",
    ),
    #[cfg(any(feature = "oidc", test))]
    built("sasl.oauthbearer.assertion.claim.jti.include", Kind::Boolean, "false", "Each has an id of its own."),
    built("ssl.protocol", Kind::Choice(&["TLSv1.3", "TLSv1.2", "TLS"]), "TLSv1.3", "The newest version of TLS to use."),
    built("ssl.enabled.protocols", Kind::Text, "TLSv1.2,TLSv1.3", "The versions of TLS that may be used."),
    built(
        "ssl.cipher.suites",
        Kind::Text,
        "",
        "Names of cipher suites, separated by commas; without it the usual ones.",
    ),
    built("ssl.truststore.type", Kind::Text, "", "JKS, PKCS12 or PEM; without it the file itself tells."),
    built("ssl.truststore.location", Kind::Text, "", "A file of certificates to trust; without it the system's."),
    built("ssl.truststore.certificates", Kind::Secret, "", "The same as text, in PEM."),
    built("ssl.truststore.password", Kind::Secret, "", "For JKS and PKCS12; PEM has none."),
    built("ssl.keystore.type", Kind::Text, "", "JKS, PKCS12 or PEM; without it the file itself tells."),
    built(
        "ssl.keystore.location",
        Kind::Text,
        "",
        "A file with the client's private key and certificates; JKS and PKCS12 may have several.",
    ),
    built("ssl.keystore.key", Kind::Secret, "", "The private key as text, in PEM."),
    built("ssl.keystore.certificate.chain", Kind::Secret, "", "The certificates as text."),
    built("ssl.keystore.password", Kind::Secret, "", "For JKS and PKCS12; PEM has none."),
    built(
        "ssl.key.password",
        Kind::Secret,
        "",
        "For an encrypted private key; in JKS and PKCS12 without it the store's password.",
    ),
    built(
        "ssl.endpoint.identification.algorithm",
        Kind::Choice(&["https", "HTTPS", ""]),
        "https",
        "Empty to trust a certificate whatever name it is for.",
    ),
    built(
        "partitioner.adaptive.partitioning.enable",
        Kind::Boolean,
        "true",
        "Records without key go where less is queued.",
    ),
    built(
        "partitioner.availability.timeout.ms",
        Kind::Number(0, LONG),
        "0",
        "After how long without progress a leader is avoided by records without key; 0 for never.",
    ),
    built("partitioner.ignore.keys", Kind::Boolean, "false", "Records with a key are spread as those without."),
    built("client.rack", Kind::Text, "", "Where the producer is, as brokers call it in `broker.rack`."),
    built(
        "partitioner.rack.aware",
        Kind::Boolean,
        "false",
        "Records without key go to leaders in `client.rack`, while there are any.",
    ),
    ignored("key.serializer", "", SERIALIZERS, BYTES),
    ignored("value.serializer", "", SERIALIZERS, BYTES),
    ignored("client.dns.lookup", "use_all_dns_ips", &["use_all_dns_ips"], "All addresses of a name are tried."),
    ignored(
        "metadata.recovery.rebootstrap.trigger.ms",
        "300000",
        &[],
        "The bootstrap servers are in turn with the known brokers from the first failure on.",
    ),
    ignored("metadata.cluster.check.enable", "true", &[], "Part of ApiVersions 5, which is not spoken."),
    ignored("bootstrap.resolve.timeout.ms", "0", &[], "Names are resolved when connecting, as often as needed."),
    ignored("metrics.sample.window.ms", "30000", &[], "See `Producer::metrics`."),
    ignored("metrics.num.samples", "2", &[], "See `Producer::metrics`."),
    ignored("metrics.recording.level", "INFO", &[], "See `Producer::metrics`."),
    ignored("auto.include.jmx.reporter", "true", &[], "There is no JMX."),
    dispensable("metric.reporters", "org.apache.kafka.common.metrics.JmxReporter", "read Producer::metrics"),
    missing("transactional.id", "", TRANSACTIONS),
    missing("transaction.timeout.ms", "60000", TRANSACTIONS),
    missing("transaction.two.phase.commit.enable", "false", TRANSACTIONS),
    part("interceptor.classes", "", Part::Interceptor, "Who looks at each record and its outcome."),
    missing("config.providers", "", "expand the values before they are given to the producer"),
    ignored("security.providers", "", &[], "TLS is not the JVM's."),
    ignored("ssl.provider", "", &[], "TLS is not the JVM's."),
    ignored("ssl.keymanager.algorithm", "SunX509", &[], "TLS is not the JVM's."),
    ignored("ssl.trustmanager.algorithm", "PKIX", &[], "TLS is not the JVM's."),
    ignored("ssl.secure.random.implementation", "", &[], "TLS is not the JVM's."),
    part("ssl.engine.factory.class", "", Part::TlsConfig, "Where TLS comes from."),
    part("sasl.client.callback.handler.class", "", Part::SaslMechanism, "Who answers a server's challenges."),
    part(
        "sasl.login.callback.handler.class",
        "",
        Part::TokenProvider,
        "Who fetches tokens for OAUTHBEARER; with PLAIN and SCRAM who brings the credentials, by a milena::SaslMechanism.",
    ),
    part("sasl.login.class", "", Part::TokenProvider, "The same."),
    part(
        TOKENS,
        "",
        Part::TokenProvider,
        "How tokens are fetched: all options that begin so, where the mechanism is OAUTHBEARER. Feature `oidc` has what they ask \
         for built in, see above.",
    ),
    ignored("sasl.kerberos.service.name", "", &[], "For GSSAPI, which a milena::SaslMechanism of yours has to do."),
    ignored("sasl.kerberos.kinit.cmd", "/usr/bin/kinit", &[], "For GSSAPI."),
    ignored("sasl.kerberos.ticket.renew.window.factor", "0.8", &[], "For GSSAPI."),
    ignored("sasl.kerberos.ticket.renew.jitter", "0.05", &[], "For GSSAPI."),
    ignored("sasl.kerberos.min.time.before.relogin", "60000", &[], "For GSSAPI."),
    ignored("sasl.login.refresh.window.factor", "0.8", &[], REFRESH),
    ignored("sasl.login.refresh.window.jitter", "0.05", &[], REFRESH),
    ignored("sasl.login.refresh.min.period.seconds", "60", &[], REFRESH),
    ignored("sasl.login.refresh.buffer.seconds", "300", &[], REFRESH),
    ignored("enable.metrics.push", "true", &[], "Nothing is pushed to brokers. See `Producer::metrics`."),
    dispensable("buffer.memory.allocation.strategy", "full", "memory is always taken in chunks, as needed"),
];

/// The option of this name.
pub(crate) fn find(name: &str) -> Option<Entry> {
    let name = match name.strip_prefix(TOKENS_BEGIN) {
        // Whoever gives tokens knows what they are.
        Some(_) if cfg!(not(feature = "oidc")) => TOKENS,
        Some(rest) if BROKERS.iter().any(|begin| rest.starts_with(begin)) => TOKENS,
        Some(_) | None => name,
    };
    OPTIONS.iter().find(|entry| entry.name == name).copied()
}

/// The values that an option without effect may have.
pub(crate) fn taken(entry: &Entry) -> alloc::string::String {
    match entry.support {
        Support::Ignored(SERIALIZERS) => "org.apache.kafka.common.serialization.*Serializer".into(),
        Support::Ignored(taken) => taken.join(", "),
        Support::Built | Support::Part(_) | Support::Dispensable(_) | Support::NotBuiltIn(_) => Default::default(),
    }
}

/// The known name that is least different, if it is not too different.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let nearest = OPTIONS.iter().map(|entry| (distance(name, entry.name), entry.name)).min()?;
    (nearest.0 <= name.len() / 3 + 1).then_some(nearest.1)
}

/// Edits from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: alloc::vec::Vec<char> = b.chars().collect();
    let mut row: alloc::vec::Vec<usize> = (0..=b.len()).collect();
    for (line, x) in a.chars().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], line + 1);
        for (column, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_option() {
        assert_eq!(nearest("linger"), Some("linger.ms"));
        assert_eq!(nearest("batchsize"), Some("batch.size"));
        assert_eq!(nearest("boostrap.server"), Some("bootstrap.servers"));
        assert_eq!(nearest("something.entirely.different"), None);
    }

    #[test]
    fn names_are_listed_once() {
        for (place, entry) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[..place].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
    }

    /// The document of all options, as it has to be.
    fn document() -> alloc::string::String {
        use core::fmt::Write;

        use crate::config::elsewhere::{Answer, ELSEWHERE};
        use crate::config::jaas;

        let mut text = alloc::string::String::from(
            "# Options\n\nWith Java's names and meanings, as `Config::from_properties` and the tool's `-X` take them; `Config::builder` \
             has a method\nfor the usual ones. This page is made from the table that the code uses.\n\n| option | default | values | \
             what for |\n| --- | --- | --- | --- |\n",
        );
        for entry in OPTIONS.iter().filter(|entry| entry.support == Support::Built) {
            let values = match entry.kind {
                Kind::Boolean => "true, false".into(),
                Kind::Number(least, most) if most == i64::MAX => alloc::format!("from {least}"),
                Kind::Number(least, most) => alloc::format!("{least} to {most}"),
                Kind::Level(least, most) => alloc::format!("-1, {least} to {most}"),
                Kind::Choice(words) => words.join(", "),
                Kind::Text => "text".into(),
                Kind::Secret => "text, never shown".into(),
                Kind::Servers => "host:port,...".into(),
            };
            let default = if entry.default.is_empty() { "" } else { entry.default };
            let _ = writeln!(text, "| `{}` | {default} | {values} | {} |", entry.name, entry.about);
        }
        text.push_str(
            "\n## Rules between options\n\nAs in Java: `acks` other than all, or `retries=0`, switch idempotence off unless \
             `enable.idempotence=true` was\ngiven, which then is an error; with idempotence \
             `max.in.flight.requests.per.connection` is at most 5; a given\n`delivery.timeout.ms` is at least `linger.ms` + \
             `request.timeout.ms`; `reconnect.backoff.ms` alone is also the maximum.\n\nWhite space around values is cut off, but for \
             those that are never shown. What is wrong with the options is told all at once, each with \
             its line.\n\n## Credentials\n\nAs in Java, user and \
             password stand in `sasl.jaas.config`; its login module has to fit `sasl.mechanism`:\n\n```properties\n\
             security.protocol=SASL_SSL\n",
        );
        for mechanism in ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"] {
            let _ = writeln!(text, "\nsasl.mechanism={mechanism}\nsasl.jaas.config={}", jaas::example(mechanism));
        }
        text.push_str(
            "```\n\nIn a program `Config::builder(..).security_protocol(..).sasl(Sasl::plain(user, password))` needs no such text. For \
             OAUTHBEARER a\n`TokenProvider` brings the tokens, or the authorization server does that the options name.\n\n\
             AWS MSK with IAM is such a provider: `examples/msk-iam` has it whole (`src/signer.rs`, to be copied), with the crate \
             `aws-sigv4`, which only\nsigns. Credentials come from a function of yours, so from the AWS SDK or from the \
             environment; a token is refreshed before it or its credentials\nend. It is no feature of this library, so that \
             AWS's crates are in nobody's lock file; and it does not use the crate `aws-msk-iam-sasl-signer`\n(1.0.1), which \
             brings 196 crates with an HTTP client and AWS-LC in C, and calls a token good for 15 minutes when its \
             credentials end before.\n\n\
             ## Tokens from an authorization server\n\nWith feature `oidc`, and unless the application brings a `TokenProvider`, tokens \
             are fetched as by Java's\n`OAuthBearerLoginCallbackHandler` (KIP-768, KIP-1139, KIP-1258). Its name may be given or left \
             out; where it is, `token.endpoint.url` is\nrequired.\n\n```properties\nsecurity.protocol=SASL_SSL\n\
             sasl.mechanism=OAUTHBEARER\n\
             sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
             sasl.oauthbearer.token.endpoint.url=https://idp.example.org/oauth2/token\n\
             sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \\\n  \
             clientId=\"service\" clientSecret=\"...\" scope=\"kafka\" \\\n  ssl.truststore.location=\"idp.pem\" \
             ssl.truststore.type=\"PEM\";\n```\n\nThe grant is client credentials, by secret, or by an assertion where \
             `assertion.file` or `assertion.claim.iss` is given; with\n`jwt.retriever.class` ...`JwtBearerJwtRetriever` it is the JWT \
             bearer grant. An assertion comes from its file, or is signed with the key of\n`assertion.private.key.file`. `ssl.*` in the login module's options is \
             for the endpoint, `ssl.*` elsewhere for brokers; without it\nthe system's certificates are trusted. `extension_...` there are SASL \
             extensions. A token is a JWT with `exp` and a subject; its\nsignature is the brokers' to verify.\n\nOne call takes at most three quarters of \
             `socket.connection.setup.timeout.ms`, or\n`sasl.login.connect.timeout.ms` + `sasl.login.read.timeout.ms` if those are more \
             (resolving the name apart, which the system\ndoes); within it an endpoint that can't be reached, or answers 408, 429 or 5xx but 501 and 505, is asked again. \
             Redirections are\nnot followed, answers have at most 256 KiB, no proxy is used. Errors have the server's `error` and \
             `error_description`, and no secret.\n\n## Certificates and keys\n\nStores are files in PEM, \
             PKCS12 or JKS, as keytool and openssl make them, or PEM texts in the options themselves, also on one line with blanks where \
             line breaks were.\nA private key is RSA (2048 to 4096 bits), EC (P-256, P-384) or Ed25519; in PEM it is PKCS#8, PKCS#1 or \
             SEC1, an encrypted one\nPKCS#8, by PBES2 (OpenSSL's default) or PBE-SHA1-3DES (what Java reads). Other stores of Java's (JCEKS, \
             BCFKS) are converted by\n`keytool -importkeystore`; certificates in PEM are put into a store by `keytool -importcert -noprompt -alias \
             NAME -file FILE -keystore\nSTORE`, if it has to be one.\n\nA server's certificate that is itself in the truststore, byte for byte, is trusted whoever issued it and whenever it \
             ends, as in\nJava; its name is checked, by its common name if it has no DNS names.\n\n## Parts that the application \
             brings\n\nWhere Java loads a class by name, the producer is given a part of the application's own. Without it the option is \
             refused when\nthe producer is made; Java's default needs none.\n\n| option | for | what to do |\n| --- | --- | --- |\n",
        );
        for entry in OPTIONS {
            if let Support::Part(part) = entry.support {
                let _ = writeln!(text, "| `{}` | {} | {} |", entry.name, entry.about, part.instead());
            }
        }
        text.push_str("\n## Accepted without effect\n\n| option | why |\n| --- | --- |\n");
        for entry in OPTIONS {
            if let Support::Ignored(_) = entry.support {
                let _ = writeln!(text, "| `{}` | {} |", entry.name, entry.about);
            }
        }
        text.push_str(
            "\n## Not built in\n\nRefused with an error, unless it is Java's default. `Config::from_properties_lenient` leaves out those \
             that can be done without\n(and all that it does not know), and says which.\n\n| option | instead | can be left out |\n| --- \
             | --- | --- |\n",
        );
        for entry in OPTIONS {
            match entry.support {
                Support::NotBuiltIn(instead) => {
                    let _ = writeln!(text, "| `{}` | {instead} | no |", entry.name);
                }
                Support::Dispensable(instead) => {
                    let _ = writeln!(text, "| `{}` | {instead} | yes |", entry.name);
                }
                Support::Built | Support::Ignored(_) | Support::Part(_) => {}
            }
        }
        text.push_str(
            "\n## Coming from librdkafka\n\nThe trap first: a program that never set `partitioner` has its keys on partitions by \
             librdkafka's `consistent_random`, which is\nCRC-32. Here, as in Java, it is murmur2: the same keys would go to other \
             partitions, and nothing would say so. Set\n`partitioner=consistent_random` to keep them where they are.\n\nOther defaults differ as well: `linger.ms` (5 there, too), `message.timeout.ms` (5 minutes there, 2 \
             here, and at least\n`linger.ms` + `request.timeout.ms`), `enable.idempotence` (false there, true here), `compression.codec` \
             (none in both).\n\n| there | here |\n| --- | --- |\n",
        );
        for (name, answer) in ELSEWHERE {
            let _ = match answer {
                Answer::Called(ours) => writeln!(text, "| `{name}` | `{ours}` |"),
                Answer::Instead(words) => writeln!(text, "| `{name}` | {words} |"),
                Answer::Credentials => writeln!(text, "| `{name}` | in `sasl.jaas.config`, see above |"),
            };
        }
        text
    }

    #[test]
    fn the_document_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        if std::env::var_os("MILENA_BLESS").is_some() {
            std::fs::write(&path, document()).expect("the file can be written");
        }
        let text = std::fs::read_to_string(&path).expect("docs/configuration.md is there");
        assert!(text == document(), "MILENA_BLESS=1 cargo test document writes it anew");
    }
}
