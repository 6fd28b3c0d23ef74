//! Options of librdkafka and of consumers, which people bring along: what each is here.

use alloc::format;
use alloc::string::{String, ToString};

use crate::config::options::{self, Entry};
use crate::config::sasl::as_in_java;

/// What to do about such an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is called otherwise.
    Called(&'static str),
    /// Another way, or none.
    Instead(&'static str),
    /// User or password, which stand in `sasl.jaas.config`.
    Credentials,
}

use Answer::{Called, Credentials, Instead};

const UNNEEDED: Answer = Instead("leave it out: there is nothing to set");
const RESOLVED: Answer = Instead("leave it out: the system resolves names, and all addresses of a name are tried");
const VERSIONS: Answer =
    Instead("leave it out: each broker is asked for the versions that it speaks; they may be 2.1 to 4.4");
const LOGGING: Answer = Instead("use any logger of the crate log, such as env_logger with RUST_LOG=milena=debug");
const CALLBACK: Answer = Instead("each record's outcome comes by its acknowledgement, or by send_with's callback");
const FIRST_COME: Answer = Instead("leave it out: records leave in the order of their sends");
const OWN_TLS: Answer = Instead("give the producer a rustls::ClientConfig (Setup::tls)");
const TOKENS: Answer = Instead("tokens are fetched by a milena::TokenProvider of yours (Setup::token_provider)");
const SOCKETS: Answer =
    Instead("who opens sockets otherwise drives milena::Producer by hand (docs/writing-an-adapter.md)");
const KERBEROS: Answer = Instead("for Kerberos give the producer a milena::SaslMechanism (Setup::sasl_mechanism)");
const CONSUMER: Answer = Instead("it is for consumers: leave it out");
const REGISTRY: Answer =
    Instead("records are bytes here: serialize them before the send, with a schema registry's client if you use one");
pub(crate) static ELSEWHERE: &[(&str, Answer)] = &[
    ("metadata.broker.list", Called("bootstrap.servers")),
    ("sasl.username", Credentials),
    ("sasl.password", Credentials),
    ("sasl.mechanisms", Called("sasl.mechanism")),
    ("ssl.ca.location", Called("ssl.truststore.location")),
    ("ssl.ca.pem", Called("ssl.truststore.certificates")),
    ("ssl_ca", Instead("put the certificates as PEM into ssl.truststore.certificates")),
    ("ssl_certificate", Instead("put the certificates as PEM into ssl.keystore.certificate.chain")),
    ("ssl_key", Instead("put the private key as PEM into ssl.keystore.key")),
    ("ssl.certificate.verify_cb", OWN_TLS),
    ("ssl_engine_callback_data", OWN_TLS),
    ("https.ca.location", TOKENS),
    ("https.ca.pem", TOKENS),
    ("oauthbearer_token_refresh_cb", TOKENS),
    (
        "ssl.certificate.location",
        Instead("put the certificates and the private key into one PEM file, and name that by ssl.keystore.location"),
    ),
    (
        "ssl.key.location",
        Instead("put the private key and its certificates into one PEM file, and name that by ssl.keystore.location"),
    ),
    ("ssl.certificate.pem", Called("ssl.keystore.certificate.chain")),
    ("ssl.key.pem", Called("ssl.keystore.key")),
    ("ssl.crl.location", OWN_TLS),
    ("ssl.curves.list", OWN_TLS),
    ("ssl.sigalgs.list", OWN_TLS),
    ("ssl.ca.certificate.stores", Instead("leave it out: without ssl.truststore.location the system's store is used")),
    ("ssl.providers", OWN_TLS),
    ("ssl.engine.location", OWN_TLS),
    ("ssl.engine.id", OWN_TLS),
    (
        "enable.ssl.certificate.verification",
        Instead(
            "leave it out: certificates are always verified. Put the server's own into ssl.truststore.location if nobody vouches for it; \
             ssl.endpoint.identification.algorithm with an empty value lets any name pass",
        ),
    ),
    ("message.timeout.ms", Called("delivery.timeout.ms")),
    ("message.send.max.retries", Called("retries")),
    ("message.max.bytes", Called("max.request.size")),
    ("message.copy.max.bytes", UNNEEDED),
    ("queue.buffering.max.ms", Called("linger.ms")),
    ("queue.buffering.max.kbytes", Called("buffer.memory (in bytes)")),
    (
        "queue.buffering.max.messages",
        Instead(
            "it is called buffer.memory here, in bytes: the number of messages times the size of one with some 100 bytes added",
        ),
    ),
    (
        "queue.buffering.backpressure.threshold",
        Instead("leave it out: batches grow up to batch.size.max while a broker is busy"),
    ),
    ("batch.num.messages", Instead("leave it out: batch.size bounds a batch, in bytes; no option counts its records")),
    (
        "sticky.partitioning.linger.ms",
        Instead("leave it out: records without key change partition every batch.size bytes, as in Java"),
    ),
    ("compression.codec", Called("compression.type")),
    (
        "compression.level",
        Instead("each codec has its own: compression.gzip.level, compression.zstd.level; lz4 and snappy have none"),
    ),
    ("request.required.acks", Called("acks")),
    ("max.in.flight", Called("max.in.flight.requests.per.connection")),
    ("enable.gapless.guarantee", Instead("leave it out: later records of a partition may follow one that failed")),
    ("queuing.strategy", FIRST_COME),
    ("msg_order_cmp", FIRST_COME),
    ("delivery.report.only.error", CALLBACK),
    ("produce.offset.report", CALLBACK),
    ("dr_cb", CALLBACK),
    ("dr_msg_cb", CALLBACK),
    ("error_cb", LOGGING),
    ("throttle_cb", UNNEEDED),
    ("socket.timeout.ms", Called("request.timeout.ms")),
    ("socket.send.buffer.bytes", Called("send.buffer.bytes (-1 for the system's default)")),
    ("socket.receive.buffer.bytes", Called("receive.buffer.bytes (-1 for the system's default)")),
    ("socket.connection.setup.timeout", Called("socket.connection.setup.timeout.ms")),
    (
        "socket.keepalive.enable",
        Instead(
            "leave it out: a connection that is silent is noticed by request.timeout.ms and closed by connections.max.idle.ms",
        ),
    ),
    ("socket.nagle.disable", Instead("leave it out: it is always disabled")),
    ("socket.max.fails", UNNEEDED),
    ("socket.blocking.max.ms", UNNEEDED),
    (
        "reconnect.backoff.jitter.ms",
        Instead("leave it out: waits are always varied by a fifth; reconnect.backoff.ms is the first of them"),
    ),
    ("broker.address.ttl", RESOLVED),
    ("broker.address.family", RESOLVED),
    ("broker.version.fallback", VERSIONS),
    ("api.version.request", VERSIONS),
    ("api.version.request.timeout.ms", VERSIONS),
    ("api.version.fallback.ms", VERSIONS),
    ("topic.metadata.refresh.interval.ms", Called("metadata.max.age.ms")),
    ("topic.metadata.refresh.fast.interval.ms", Called("retry.backoff.ms")),
    ("topic.metadata.refresh.fast.cnt", UNNEEDED),
    ("topic.metadata.refresh.sparse", Instead("leave it out: only topics in use are asked for")),
    (
        "topic.metadata.propagation.max.ms",
        Instead("leave it out: a topic that is not there yet is waited for up to max.block.ms"),
    ),
    ("topic.blacklist", UNNEEDED),
    ("statistics.interval.ms", Instead("call the producer's metrics() as often as you like")),
    ("stats_cb", Instead("call the producer's metrics() as often as you like")),
    ("debug", LOGGING),
    ("log_level", LOGGING),
    ("log_cb", LOGGING),
    ("log.queue", LOGGING),
    ("log.thread.name", LOGGING),
    ("log.connection.close", LOGGING),
    ("sasl.kerberos.principal", KERBEROS),
    ("sasl.kerberos.keytab", KERBEROS),
    (
        "enable.sasl.oauthbearer.unsecure.jwt",
        Instead("for tests write unsecuredLoginStringClaim_sub=\"...\" into sasl.jaas.config, as for Java"),
    ),
    ("sasl.oauthbearer.client.id", Called("sasl.oauthbearer.client.credentials.client.id")),
    ("sasl.oauthbearer.client.secret", Called("sasl.oauthbearer.client.credentials.client.secret")),
    ("sasl.oauthbearer.assertion.jwt.template.file", Called("sasl.oauthbearer.assertion.template.file")),
    (
        "sasl.oauthbearer.assertion.private.key.pem",
        Instead("name a file in sasl.oauthbearer.assertion.private.key.file"),
    ),
    ("sasl.oauthbearer.method", Instead("leave it out: sasl.oauthbearer.token.endpoint.url is enough")),
    (
        "sasl.oauthbearer.grant.type",
        Instead(
            "leave it out for client credentials; for jwt-bearer name Java's JwtBearerJwtRetriever in sasl.oauthbearer.jwt.retriever.class",
        ),
    ),
    ("sasl.oauthbearer.extensions", Instead("write extension_NAME=\"...\" into sasl.jaas.config, as for Java")),
    (
        "sasl.oauthbearer.config",
        Instead("for tests write unsecuredLoginStringClaim_sub=\"...\" into sasl.jaas.config, as for Java"),
    ),
    ("sasl.oauthbearer.metadata.authentication.type", TOKENS),
    ("plugin.library.paths", Instead("give the producer a milena::Interceptor (Setup::interceptor)")),
    ("builtin.features", UNNEEDED),
    ("enabled_events", UNNEEDED),
    ("background_event_cb", CALLBACK),
    ("interceptors", Instead("give the producer a milena::Interceptor (Setup::interceptor)")),
    ("partitioner_cb", Instead("give the producer a milena::Partitioner (Setup::partitioner)")),
    ("default_topic_conf", Instead("leave it out: options are the producer's, for all topics")),
    ("internal.termination.signal", UNNEEDED),
    ("enable.random.seed", UNNEEDED),
    ("socket_cb", SOCKETS),
    ("connect_cb", SOCKETS),
    ("closesocket_cb", SOCKETS),
    ("open_cb", SOCKETS),
    ("resolve_cb", SOCKETS),
    ("opaque", UNNEEDED),
    ("schema.registry.url", REGISTRY),
    ("group.id", CONSUMER),
    ("group.instance.id", CONSUMER),
    ("auto.offset.reset", CONSUMER),
    ("enable.auto.commit", CONSUMER),
    ("auto.commit.interval.ms", CONSUMER),
    ("session.timeout.ms", CONSUMER),
    ("heartbeat.interval.ms", CONSUMER),
    ("max.poll.interval.ms", CONSUMER),
    ("max.poll.records", CONSUMER),
    ("isolation.level", CONSUMER),
    ("key.deserializer", CONSUMER),
    ("value.deserializer", CONSUMER),
    ("partition.assignment.strategy", CONSUMER),
    ("group.protocol.type", CONSUMER),
    ("group.protocol", CONSUMER),
    ("group.remote.assignor", CONSUMER),
    ("coordinator.query.interval.ms", CONSUMER),
    ("enable.auto.offset.store", CONSUMER),
    ("queued.min.messages", CONSUMER),
    ("queued.max.messages.kbytes", CONSUMER),
    ("fetch.wait.max.ms", CONSUMER),
    ("fetch.queue.backoff.ms", CONSUMER),
    ("fetch.message.max.bytes", CONSUMER),
    ("max.partition.fetch.bytes", CONSUMER),
    ("fetch.max.bytes", CONSUMER),
    ("fetch.min.bytes", CONSUMER),
    ("fetch.error.backoff.ms", CONSUMER),
    ("offset.store.method", CONSUMER),
    ("consume_cb", CONSUMER),
    ("rebalance_cb", CONSUMER),
    ("offset_commit_cb", CONSUMER),
    ("enable.partition.eof", CONSUMER),
    ("check.crcs", CONSUMER),
    ("auto.commit.enable", CONSUMER),
    ("offset.store.path", CONSUMER),
    ("offset.store.sync.interval.ms", CONSUMER),
    ("consume.callback.max.messages", CONSUMER),
    ("fetch.max.wait.ms", CONSUMER),
    ("exclude.internal.topics", CONSUMER),
    ("default.api.timeout.ms", CONSUMER),
];

/// What is known of an option. Without `std`, on machines that have no files of other clients, nothing is: the words take 9 KiB.
pub(super) fn find(name: &str) -> Option<Answer> {
    if !cfg!(any(feature = "std", test)) {
        return None;
    }
    let known = ELSEWHERE.iter().find(|(known, _)| *known == name).map(|(_, answer)| *answer);
    known.or_else(|| name.starts_with("schema.registry.").then_some(REGISTRY))
}

/// The option of ours that takes the same values.
pub(super) fn called(name: &str) -> Option<Entry> {
    match find(name)? {
        Called(ours) => options::find(ours),
        Instead(_) | Credentials => None,
    }
}

/// What an option is here, for a configuration with this mechanism.
pub(super) fn answer(name: &str, mechanism: &str) -> Option<String> {
    Some(match find(name)? {
        Called(ours) => format!("it is called {ours} here"),
        Instead(words) => words.to_string(),
        Credentials => format!(
            "user and password stand in sasl.jaas.config (in a program ConfigBuilder::sasl takes them): {}",
            as_in_java(mechanism)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};
    #[cfg(feature = "scram")]
    use crate::config::{Sasl, parse_properties};
    #[cfg(feature = "scram")]
    use alloc::vec::Vec;

    /// All of librdkafka's options are ours, or are answered.
    #[test]
    fn no_option_of_librdkafka_is_a_dead_end() {
        let mut tried = 0;
        for name in include_str!("../../tests/golden/librdkafka-options.txt").lines() {
            let read = Config::from_properties([("bootstrap.servers", "h:1"), (name, "x")]);
            let is_unknown = |error: &ConfigError| matches!(error, ConfigError::Unknown { .. });
            assert!(!read.is_err_and(|error| error.each().iter().any(is_unknown)), "{name}");
            tried += 1;
        }
        assert_eq!(tried, 190);
    }

    /// A file that was written for librdkafka, and what its owner makes of it by the errors alone: each line is treated as the
    /// error with its number says.
    #[cfg(feature = "scram")]
    #[test]
    fn a_file_for_librdkafka_is_corrected_by_its_errors_in_one_go() {
        let file = "bootstrap.servers=kafka.example.org:9093\nmessage.timeout.ms=5000\nqueue.buffering.max.ms=20\n\
                    queue.buffering.max.messages=100000\ncompression.codec=none\nstatistics.interval.ms=5000\n\
                    security.protocol=sasl_ssl\nsasl.mechanisms=SCRAM-SHA-512\nsasl.username=alice\nsasl.password=hunter2\n\
                    ssl.ca.location=/etc/ca.pem\nacks=all\ndebug=all\nsocket.keepalive.enable=true\n";
        let error = Config::from_properties(parse_properties(file).unwrap()).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let mut lines: Vec<String> = file.lines().map(ToString::to_string).collect();
        let mut told = Vec::new();
        for error in error.each() {
            let ConfigError::At { lines: places, error } = error else { panic!("a line of its own: {error}") };
            told.extend(places.iter().copied());
            let words = error.to_string();
            let (name, value) = lines[places[0] - 1].split_once('=').unwrap();
            lines[places[0] - 1] = if let Some((_, rest)) = words.split_once(": it is called ") {
                format!("{}={value}", rest.split(' ').next().unwrap())
            } else if let Some((_, jaas)) = words.split_once("sasl.jaas.config=") {
                assert_eq!(places[..], [9, 10], "both are told of");
                lines[9].clear();
                format!("sasl.jaas.config={}", jaas.replacen("...", "alice", 1).replacen("...", "hunter2", 1))
            } else if words.contains("raise it") {
                format!("{name}=30020") // linger.ms + request.timeout.ms
            } else {
                String::new()
            };
        }
        // Of the two at line 2, its name and its value, the value is corrected last: under its new name.
        assert_eq!(told, [2, 2, 3, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14]);
        let config = Config::from_properties(parse_properties(&lines.join("\n")).unwrap()).unwrap();
        assert_eq!((config.delivery_timeout().as_millis(), config.linger().as_millis()), (30_020, 20));
        assert_eq!(config.sasl(), Some(&Sasl::scram_sha_512("alice", "hunter2")));
        assert_eq!(config.tls().truststore.as_deref(), Some("/etc/ca.pem"));
    }

    #[test]
    fn none_of_them_is_an_option_of_ours_and_each_is_there_once() {
        for (place, (name, answer)) in ELSEWHERE.iter().enumerate() {
            // Without the feature nothing is known of options that begin so.
            let is_hidden = cfg!(not(feature = "oidc")) && name.starts_with(options::TOKENS_BEGIN);
            assert!(is_hidden || options::find(name).is_none(), "{name}");
            assert!(ELSEWHERE[..place].iter().all(|(other, _)| other != name), "{name}");
            if let Called(ours) = answer {
                let name = ours.split(' ').next().unwrap_or_default();
                assert!(options::find(name).is_some(), "{ours}");
            }
        }
    }
}
