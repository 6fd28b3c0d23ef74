//! What the crate `tracing` is told (feature `tracing`): a span for each record that is sent, and an event for each observation,
//! if the [`Setup`](crate::Setup) asks for them. Names are those of OpenTelemetry's semantic conventions for messaging, version
//! 1.45.0, with `messaging.system` and `messaging.kafka.offset` of those before it, which most of what reads spans still looks for.
//!
//! Nothing of a record is in them but, where [`trace_keys`](crate::Setup::trace_keys) asks for that, its key.

use alloc::string::{String, ToString};
use alloc::sync::Arc;

use ::tracing::field::{Empty, display};
use ::tracing::{Level, Span, debug, error, info_span, level_enabled, warn};

use super::completion::Delivered;
use super::error::Error;
use super::observer::{Observation, Observer};
use super::sync::{Mutex, PoisonError};
use crate::config::Config;
use crate::error::{ConnectionError, DeliveryError, DeliveryErrorKind, ErrorCode, SendError};
use crate::planted::planted;
use crate::record::Record;

/// What a setup asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) events: bool,
    pub(super) sends: bool,
    pub(super) keys: bool,
}

/// How spans of sends are made.
#[derive(Clone, Debug)]
pub(super) struct Sends(Option<Made>);

#[derive(Clone, Debug)]
struct Made {
    client_id: Arc<str>,
    keys: bool,
}

impl Sends {
    pub(super) fn new(asked: Asked, config: &Config) -> Self {
        Self(asked.sends.then(|| Made { client_id: config.client_id().into(), keys: asked.keys }))
    }

    /// Whether somebody may want them: they were asked for, and there is a subscriber.
    pub(super) fn are_wanted(&self) -> bool {
        self.0.is_some() && level_enabled!(Level::INFO)
    }

    /// The span of a record that is about to be sent, a child of the current one; that of nothing if nobody wants it.
    pub(super) fn span(&self, record: &Record<'_>) -> SendSpan {
        let Some(made) = &self.0 else { return SendSpan(Span::none()) };
        let span = info_span!(
            target: "milena::send",
            "send",
            "otel.kind" = "producer",
            "otel.name" = %format_args!("send {}", record.topic),
            "otel.status_code" = Empty,
            "otel.status_description" = Empty,
            "messaging.system" = "kafka",
            "messaging.system.name" = "kafka",
            "messaging.operation.name" = "send",
            "messaging.operation.type" = "send",
            "messaging.destination.name" = record.topic,
            "messaging.destination.partition.id" = Empty,
            "messaging.client.id" = &*made.client_id,
            "messaging.kafka.offset" = Empty,
            "kafka.offset" = Empty,
            "kafka.message.key" = Empty,
            "kafka.message.tombstone" = Empty,
            "error.type" = Empty,
        );
        // The conventions want it left out where it is false, and a key where it is no text.
        if record.value.is_none() {
            span.record("kafka.message.tombstone", true);
        }
        if made.keys || planted("key-in-span") {
            if let Some(key) = record.key.and_then(|key| core::str::from_utf8(key).ok()) {
                span.record("kafka.message.key", key);
            }
        }
        SendSpan(span)
    }
}

/// The span of a record that nobody has taken yet.
#[derive(Debug)]
pub(super) struct SendSpan(Span);

impl SendSpan {
    /// Whether nobody wants it.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_disabled()
    }

    /// Calls something with the span as the current one.
    pub(super) fn within<T>(&self, call: impl FnOnce() -> T) -> T {
        self.0.in_scope(call)
    }

    /// An interceptor has sent the record elsewhere. The span's name stays: tracing-opentelemetry can't change it once it was within.
    pub(super) fn goes_to(&self, topic: &str) {
        self.0.record("messaging.destination.name", topic);
    }

    /// For those of whom one will know what became of the record.
    pub(super) fn shared(self) -> SharedSpan {
        SharedSpan((!self.is_none()).then(|| Arc::new(Mutex::new(self.0))))
    }
}

/// A record's span, which is over as soon as one of its holders says so.
#[derive(Clone, Debug)]
pub(super) struct SharedSpan(Option<Arc<Mutex<Span>>>);

impl SharedSpan {
    /// It is known what became of the record. Not to be called with the machine's lock held: the subscriber is the application's.
    pub(super) fn end(&self, outcome: &Result<Delivered, Error>) {
        let Some(shared) = &self.0 else { return };
        let taken = |held: &mut Span| match planted("span-outlives-outcome") {
            false => core::mem::replace(held, Span::none()),
            true => held.clone(),
        };
        let span = taken(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
        // A text, say the conventions.
        let partition = |number: i32| span.record("messaging.destination.partition.id", display(number));
        match outcome {
            Ok(delivered) => {
                partition(delivered.partition);
                if let Some(offset) = delivered.offset {
                    span.record("messaging.kafka.offset", offset);
                    span.record("kafka.offset", offset);
                }
            }
            Err(error) => {
                if let Error::NotDelivered(DeliveryError { partition: number @ 0.., .. }) = error {
                    partition(*number);
                }
                span.record("error.type", error_type(error));
                span.record("otel.status_code", "ERROR");
                span.record("otel.status_description", display(error));
            }
        }
    }
}

/// The observer to be told, which tells `tracing` first if that was asked for.
pub(super) fn observer(asked: Asked, config: &Config, own: Option<Arc<dyn Observer>>) -> Option<Arc<dyn Observer>> {
    if !asked.events {
        return own;
    }
    Some(Arc::new(Events { client_id: config.client_id().to_string(), next: own }))
}

/// Tells observations as events, on the levels that the log has for them.
#[derive(Debug)]
struct Events {
    client_id: String,
    next: Option<Arc<dyn Observer>>,
}

/// An event with what all of them have.
macro_rules! told {
    ($level:ident, $self:ident, $what:ident, $($fields:tt)*) => {
        $level!(
            target: "milena::events",
            {
                "messaging.system" = "kafka",
                "messaging.system.name" = "kafka",
                "messaging.client.id" = &*$self.client_id,
                $($fields)*
            },
            "{}",
            $what
        )
    };
}

/// Records were not delivered.
macro_rules! failed {
    ($level:ident, $self:ident, $what:ident, $records:expr, $error:ident) => {
        told!(
            $level,
            $self,
            $what,
            "messaging.operation.name" = "send",
            "messaging.operation.type" = "send",
            "messaging.destination.name" = Some(&*$error.topic).filter(|topic| !topic.is_empty()),
            "messaging.destination.partition.id" = Some($error.partition).filter(|number| *number >= 0).map(display),
            "messaging.batch.message_count" = $records,
            "error.type" = $error.name(),
        )
    };
}

impl Observer for Events {
    fn observe(&self, what: &Observation) {
        match what {
            Observation::Connected { server } => {
                told!(debug, self, what, "server.address" = &*server.host, "server.port" = server.port,);
            }
            Observation::ConnectionFailed { host, port, error } => {
                let kind = connection_error(error);
                told!(warn, self, what, "server.address" = &**host, "server.port" = port, "error.type" = kind,);
            }
            Observation::Throttled { .. } => told!(warn, self, what,),
            Observation::Retried { topic, partition, code, records, .. } => told!(
                warn,
                self,
                what,
                "messaging.operation.name" = "send",
                "messaging.operation.type" = "send",
                "messaging.destination.name" = &**topic,
                "messaging.destination.partition.id" = %partition,
                "messaging.batch.message_count" = records,
                "error.type" = code.map_or("NETWORK_EXCEPTION", ErrorCode::name),
            ),
            Observation::LeaderMoved { topic, partition, .. } => told!(
                debug,
                self,
                what,
                "messaging.destination.name" = &**topic,
                "messaging.destination.partition.id" = %partition,
            ),
            Observation::ProducerIdChanged { .. } => told!(debug, self, what,),
            // Who closes in a hurry knows.
            Observation::NotDelivered { records, error } if error.kind == DeliveryErrorKind::Aborted => {
                failed!(debug, self, what, *records, error);
            }
            Observation::NotDelivered { records, error } => failed!(warn, self, what, *records, error),
            Observation::AccessDenied { error } => {
                told!(error, self, what, "error.type" = connection_error(error),);
            }
            Observation::Fatal { error } => told!(error, self, what, "error.type" = error.name(),),
        }
        if let Some(next) = &self.next {
            next.observe(what);
        }
    }
}

/// One of few names: Kafka's for what a broker answered, ours in the same style for the rest.
fn error_type(error: &Error) -> &'static str {
    match error {
        Error::Send(error) => match error {
            SendError::NotReady { .. } => "TOPIC_NOT_READY",
            SendError::BufferFull { .. } => "BUFFER_FULL",
            SendError::NoMemory { .. } => "NO_MEMORY",
            SendError::TooLarge { .. } => "RECORD_TOO_LARGE",
            SendError::UnknownPartition { .. } => "UNKNOWN_PARTITION",
            SendError::InvalidTimestamp(_) => "INVALID_TIMESTAMP",
            SendError::TopicFailed(code) => code.name(),
            SendError::AccessDenied(error) => connection_error(error),
            SendError::Closed => "CLOSED",
            SendError::Fatal(error) => error.name(),
        },
        Error::NotDelivered(error) => error.name(),
        Error::TopicUnknown { .. } => "TOPIC_UNKNOWN",
        Error::NoMetadata { .. } => "NO_METADATA",
        Error::BufferFull { .. } => "BUFFER_FULL",
        Error::InCallback => "IN_CALLBACK",
        Error::TimedOut(_) | Error::Unfinished { .. } => "TIMED_OUT",
        Error::Gone { .. } => "GONE",
        Error::Cancelled => "CANCELLED",
    }
}

fn connection_error(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::Resolve(_) => "RESOLVE",
        ConnectionError::Connect(_) => "CONNECT",
        ConnectionError::SetupTimeout => "SETUP_TIMEOUT",
        ConnectionError::Closed | ConnectionError::ClosedAtLargeRequest { .. } | ConnectionError::ClosedEarly => {
            "CLOSED"
        }
        ConnectionError::Io(_) => "IO",
        ConnectionError::RequestTimeout => "REQUEST_TIMEOUT",
        ConnectionError::Idle => "IDLE",
        ConnectionError::Authentication(_) => "AUTHENTICATION",
        ConnectionError::Tls(_) | ConnectionError::SpeaksTls => "TLS",
        ConnectionError::Protocol(_) => "PROTOCOL",
        ConnectionError::NoMemory { .. } => "NO_MEMORY",
        ConnectionError::UnsupportedVersion { .. } => "UNSUPPORTED_VERSION",
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use core::fmt;
    use core::time::Duration;

    use ::tracing::field::{Field, Visit};
    use ::tracing::span::{Attributes, Id, Record as Values};
    use ::tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::error::FatalError;
    use crate::why::ServerName;

    #[derive(Default)]
    struct Fields(BTreeMap<&'static str, String>);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.insert(field.name(), std::format!("{value:?}"));
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.into());
        }
    }

    /// An event's level, target and fields.
    type Told = (Level, &'static str, Fields);

    /// Keeps events.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Told>>>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Values<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push((*event.metadata().level(), event.metadata().target(), fields));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[derive(Debug, Default)]
    struct Own(Mutex<Vec<String>>);

    impl Observer for Own {
        fn observe(&self, what: &Observation) {
            self.0.lock().unwrap().push(what.to_string());
        }
    }

    #[test]
    fn each_observation_is_an_event_on_the_level_of_the_log_and_goes_on_to_the_applications_observer() {
        let server = ServerName { node: Some(1), host: "h".into(), port: 9092 };
        let refused = || ConnectionError::Authentication("no".into());
        let delivery = |kind: DeliveryErrorKind| DeliveryError::new(kind).place("orders", 3);
        let place = [("messaging.destination.name", "orders"), ("messaging.destination.partition.id", "3")];
        let operation = [("messaging.operation.name", "send"), ("messaging.operation.type", "send")];
        let address = [("server.address", "h"), ("server.port", "9092")];
        let count = [("messaging.batch.message_count", "5")];
        let kind = |name| [("error.type", name)];
        let topic: Arc<str> = "orders".into();
        let code = Some(ErrorCode::NOT_ENOUGH_REPLICAS);
        let retried = |code| Observation::Retried { topic: topic.clone(), partition: 3, code, attempt: 2, records: 5 };
        let failed = |error| Observation::NotDelivered { records: 5, error };
        let table = [
            (Observation::Connected { server }, Level::DEBUG, address.to_vec()),
            (
                Observation::ConnectionFailed { host: "h".into(), port: 9092, error: ConnectionError::RequestTimeout },
                Level::WARN,
                [&address[..], &kind("REQUEST_TIMEOUT")].concat(),
            ),
            (Observation::Throttled { node: 1, pause: Duration::from_secs(1) }, Level::WARN, Vec::new()),
            (retried(code), Level::WARN, [&place[..], &operation, &count, &kind("NOT_ENOUGH_REPLICAS")].concat()),
            (retried(None), Level::WARN, [&place[..], &operation, &count, &kind("NETWORK_EXCEPTION")].concat()),
            (
                Observation::LeaderMoved { topic: topic.clone(), partition: 3, leader: None },
                Level::DEBUG,
                place.to_vec(),
            ),
            (Observation::ProducerIdChanged { producer_id: 7, epoch: 1 }, Level::DEBUG, Vec::new()),
            (
                failed(delivery(DeliveryErrorKind::TimedOut(None))),
                Level::WARN,
                [&place[..], &operation, &count, &kind("DELIVERY_TIMEOUT")].concat(),
            ),
            (
                failed(DeliveryError::new(DeliveryErrorKind::Aborted)),
                Level::DEBUG,
                [&operation[..], &count, &kind("ABORTED")].concat(),
            ),
            (Observation::AccessDenied { error: refused() }, Level::ERROR, kind("AUTHENTICATION").to_vec()),
            (
                Observation::Fatal { error: FatalError::new(ErrorCode::PRODUCER_FENCED) },
                Level::ERROR,
                kind("PRODUCER_FENCED").to_vec(),
            ),
        ];
        let (kept, own) = (Kept::default(), Arc::new(Own::default()));
        let config = Config::builder("h:9092").client_id("shop").build().unwrap();
        assert!(observer(Asked::default(), &config, None).is_none(), "nobody asked");
        let asked = Asked { events: true, ..Asked::default() };
        let events = observer(asked, &config, Some(Arc::clone(&own) as Arc<dyn Observer>)).unwrap();
        ::tracing::subscriber::with_default(kept.clone(), || table.iter().for_each(|(what, ..)| events.observe(what)));
        let kept = core::mem::take(&mut *kept.0.lock().unwrap());
        assert_eq!((kept.len(), own.0.lock().unwrap().len()), (table.len(), table.len()));
        for ((what, level, fields), (told_level, target, told)) in table.iter().zip(kept) {
            let words = what.to_string();
            let system = [("messaging.system", "kafka"), ("messaging.system.name", "kafka")];
            let all = [("messaging.client.id", "shop"), ("message", &*words)];
            let fields: BTreeMap<_, _> =
                fields.iter().chain(&system).chain(&all).map(|(name, value)| (*name, value.to_string())).collect();
            assert_eq!((told_level, target, told.0), (*level, "milena::events", fields), "{words}");
        }
    }
}
