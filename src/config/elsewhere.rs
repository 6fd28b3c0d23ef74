//! Options of librdkafka and of consumers, which people bring along: what each is here.

use alloc::format;
use alloc::string::{String, ToString};

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
const KERBEROS: Answer = Instead("for Kerberos give the producer a milena::SaslMechanism (Setup::sasl_mechanism)");
const CONSUMER: Answer = Instead("it is for consumers: leave it out");
const REGISTRY: Answer =
    Instead("records are bytes here: serialize them before the send, with a schema registry's client if you use one");
const PARTITIONER: Answer = Instead(
    "keys are hashed by murmur2, as by Java and by librdkafka's murmur2_random: leave it out if it has that value. \
     librdkafka's own default, consistent_random, is CRC32 and puts the same keys on OTHER partitions: to keep those, give the \
     producer a milena::Partitioner (Setup::partitioner)",
);

pub(crate) static ELSEWHERE: &[(&str, Answer)] = &[
    ("partitioner", PARTITIONER),
    ("metadata.broker.list", Called("bootstrap.servers")),
    ("sasl.username", Credentials),
    ("sasl.password", Credentials),
    ("sasl.mechanisms", Called("sasl.mechanism")),
    ("ssl.ca.location", Called("ssl.truststore.location")),
    ("ssl.ca.pem", Called("ssl.truststore.certificates")),
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
            "certificates are always verified: put the server's own into ssl.truststore.location if nobody vouches for it; \
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
    ("batch.num.messages", Called("batch.size (in bytes)")),
    (
        "sticky.partitioning.linger.ms",
        Instead("leave it out: records without key change partition every batch.size bytes, as in Java"),
    ),
    ("compression.codec", Called("compression.type")),
    ("compression.level", Instead("each codec has its own: compression.gzip.level, compression.zstd.level")),
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
    ("socket.send.buffer.bytes", Called("send.buffer.bytes")),
    ("socket.receive.buffer.bytes", Called("receive.buffer.bytes")),
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
    ("broker.address.ttl", RESOLVED),
    ("broker.address.family", RESOLVED),
    ("broker.version.fallback", VERSIONS),
    ("api.version.request", VERSIONS),
    ("api.version.request.timeout.ms", VERSIONS),
    ("api.version.fallback.ms", VERSIONS),
    ("topic.metadata.refresh.interval.ms", Called("metadata.max.age.ms")),
    ("topic.metadata.refresh.fast.interval.ms", Called("retry.backoff.ms")),
    ("topic.metadata.refresh.sparse", Instead("leave it out: only topics in use are asked for")),
    (
        "topic.metadata.propagation.max.ms",
        Instead("leave it out: a topic that is not there yet is waited for up to max.block.ms"),
    ),
    ("topic.blacklist", UNNEEDED),
    ("statistics.interval.ms", Instead("call the producer's stats() as often as you like")),
    ("stats_cb", Instead("call the producer's stats() as often as you like")),
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
    ("plugin.library.paths", Instead("give the producer a milena::Interceptor (Setup::interceptor)")),
    ("builtin.features", UNNEEDED),
    ("enabled_events", UNNEEDED),
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
];

/// What an option is here, for a configuration with this mechanism.
pub(super) fn answer(name: &str, mechanism: &str) -> Option<String> {
    let known = ELSEWHERE.iter().find(|(known, _)| *known == name).map(|(_, answer)| *answer);
    let known = known.or_else(|| name.starts_with("schema.registry.").then_some(REGISTRY));
    Some(match known? {
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

    use crate::config::options;

    #[test]
    fn none_of_them_is_an_option_of_ours_and_each_is_there_once() {
        for (place, (name, answer)) in ELSEWHERE.iter().enumerate() {
            assert!(options::find(name).is_none(), "{name}");
            assert!(ELSEWHERE[..place].iter().all(|(other, _)| other != name), "{name}");
            if let Called(ours) = answer {
                let name = ours.split(' ').next().unwrap_or_default();
                assert!(options::find(name).is_some(), "{ours}");
            }
        }
    }
}
