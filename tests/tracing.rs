//! Spans of sends, as tracing-subscriber and tracing-opentelemetry have them: names, parents, outcomes, ends, the context in a
//! record's headers; nothing of records; no memory where nobody wants them.

#![allow(unsafe_code, reason = "a global allocator can't be written otherwise")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};

use milena::cluster::{Request, TestCluster};
use milena::{Config, Error, ErrorCode, Header, Interceptor, Mock, Record, RecordBuf, Setup};
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber, info_span, subscriber::NoSubscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::{Context as In, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Counts allocations by thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the subscriber of all tests has seen. A test knows its own by topics.
#[derive(Default)]
struct Seen {
    /// In the order in which they ended.
    spans: Vec<Ended>,
    events: Vec<(String, Fields)>,
}

#[derive(Clone, Debug)]
struct Ended {
    name: String,
    level: String,
    parent: Option<String>,
    fields: Fields,
}

static SEEN: OnceLock<Arc<Mutex<Seen>>> = OnceLock::new();
static EXPORTED: Mutex<Vec<SpanData>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.into());
    }
}

struct Watching(Arc<Mutex<Seen>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Watching {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: In<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: In<'_, S>) {
        values.record(context.span(id).unwrap().extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_close(&self, id: Id, context: In<'_, S>) {
        let span = context.span(&id).unwrap();
        let fields = span.extensions_mut().remove::<Fields>().unwrap();
        let metadata = span.metadata();
        let (name, level) = (format!("{} {}", metadata.target(), metadata.name()), metadata.level().to_string());
        let parent = span.parent().map(|parent| parent.name().to_string());
        self.0.lock().unwrap().spans.push(Ended { name, level, parent, fields });
    }

    fn on_event(&self, event: &Event<'_>, _: In<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.0.lock().unwrap().events.push((format!("{} {}", metadata.level(), metadata.target()), fields));
    }
}

#[derive(Debug)]
struct Exporter;

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        EXPORTED.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// The subscriber of all threads.
fn seen() -> &'static Mutex<Seen> {
    SEEN.get_or_init(|| {
        let seen = Arc::<Mutex<Seen>>::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(Exporter).build();
        let layers = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
            .with(Watching(Arc::clone(&seen)));
        tracing::subscriber::set_global_default(layers).unwrap();
        seen
    })
}

/// The spans of a topic that have ended.
fn ended(topic: &str) -> Vec<Ended> {
    let of_topic = |span: &&Ended| span.fields.0.get("messaging.destination.name").is_some_and(|name| name == topic);
    seen().lock().unwrap().spans.iter().filter(of_topic).cloned().collect()
}

/// The one span of this name, as it was exported.
fn exported(name: &str) -> SpanData {
    let exported = EXPORTED.lock().unwrap().clone();
    let mut all = exported.into_iter().filter(|span| span.name == name);
    let one = all.next().unwrap_or_else(|| panic!("no span {name}"));
    assert_eq!(all.count(), 0, "{name}");
    one
}

fn fields(own: &[(&'static str, &str)], topic: &str) -> Fields {
    let name = format!("send {topic}");
    let all = [
        ("otel.kind", "producer"),
        ("otel.name", &name),
        ("messaging.system", "kafka"),
        ("messaging.system.name", "kafka"),
        ("messaging.operation.name", "send"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", topic),
        ("messaging.client.id", "shop"),
    ];
    Fields(all.iter().chain(own).map(|(name, value)| (*name, value.to_string())).collect())
}

/// A partition and an offset.
fn place<'a>(partition: &'a str, offset: &'a str) -> [(&'static str, &'a str); 3] {
    [("messaging.destination.partition.id", partition), ("messaging.kafka.offset", offset), ("kafka.offset", offset)]
}

fn config(cluster: &TestCluster) -> Config {
    let own = [("linger.ms", "0"), ("client.id", "shop"), ("max.block.ms", "10000"), ("retry.backoff.ms", "1")];
    let own = own.map(|(name, value)| (name.to_string(), value.to_string()));
    Config::from_properties(cluster.properties().into_iter().chain(own)).unwrap()
}

fn mock(setup: impl FnOnce(Setup) -> Setup) -> (milena::threads::Producer, Mock) {
    let config = Config::builder("nowhere.invalid:9092").client_id("shop").build().unwrap();
    milena::threads::Producer::mock(setup(Setup::new(config))).unwrap()
}

/// One record is sent within a span of the application's, and its span looks as it has to.
fn looks_right(topic: &str, offset: &str) {
    let spans = ended(topic);
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!((&*spans[0].name, &*spans[0].level), ("milena::send send", "INFO"));
    assert_eq!(spans[0].parent.as_deref(), Some("request"));
    let partition = spans[0].fields.0["messaging.destination.partition.id"].clone();
    assert_eq!(spans[0].fields, fields(&place(&partition, offset), topic));
    let span = exported(&format!("send {topic}"));
    assert_eq!((span.span_kind, span.status), (SpanKind::Producer, Status::Unset));
    assert!(span.parent_span_id != opentelemetry::trace::SpanId::INVALID);
}

#[test]
fn a_send_of_threads_is_a_producer_span_that_is_over_when_it_returns() {
    seen();
    let cluster = TestCluster::start().unwrap();
    let producer = milena::threads::Producer::new(Setup::new(config(&cluster)).trace_sends()).unwrap();
    info_span!("request").in_scope(|| producer.send(&Record::new("of-threads").key("k").value("v"))).unwrap();
    looks_right("of-threads", "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_of_tokio_is_one_too() {
    seen();
    let cluster = TestCluster::start().unwrap();
    let producer = milena::tokio::Producer::spawn(Setup::new(config(&cluster)).trace_sends()).unwrap();
    let (record, span) = (Record::new("of-tokio").value("v"), info_span!("request"));
    let mut send = pin!(producer.send(&record));
    std::future::poll_fn(|context| span.in_scope(|| send.as_mut().poll(context))).await.unwrap();
    looks_right("of-tokio", "0");
}

#[test]
fn a_send_of_smol_is_one_too() {
    seen();
    let cluster = TestCluster::start().unwrap();
    smol::block_on(async {
        let (producer, driver) = milena::smol::Producer::new(Setup::new(config(&cluster)).trace_sends()).unwrap();
        smol::spawn(driver).detach();
        let (record, span) = (Record::new("of-smol").value("v"), info_span!("request"));
        let mut send = pin!(producer.send(&record));
        std::future::poll_fn(|context| span.in_scope(|| send.as_mut().poll(context))).await.unwrap();
    });
    looks_right("of-smol", "0");
}

#[test]
fn each_way_to_send_makes_one_span_which_is_over_before_the_callback() {
    seen();
    let topic = "each-way";
    let (producer, mock) = mock(Setup::trace_sends);
    mock.auto_complete(false);
    let known = Arc::new(Mutex::new(Vec::new()));
    let callback = || {
        let known = Arc::clone(&known);
        move |_| known.lock().unwrap().push(ended(topic).len())
    };
    let record = Record::new(topic).value("v");
    let first = producer.enqueue(&record).unwrap();
    producer.send_with(&record, callback()).unwrap();
    producer.try_enqueue(&record).unwrap();
    producer.try_send_with(&record, callback()).unwrap();
    producer.send_all([record, record]).unwrap();
    assert_eq!(ended(topic).len(), 0, "nothing is known yet");
    for n in 1..=6 {
        assert!(mock.complete_next());
        assert_eq!(ended(topic).len(), n);
    }
    assert!(!mock.complete_next());
    first.wait().unwrap();
    assert_eq!(*known.lock().unwrap(), [2, 4]);
    for (offset, span) in ended(topic).iter().enumerate() {
        assert_eq!(span.fields, fields(&place("0", &offset.to_string()), topic));
    }
    mock.auto_complete(true);
    producer.send_with(&record, callback()).unwrap();
    assert_eq!(*known.lock().unwrap(), [2, 4, 7], "also where the outcome is there before the call returns");
}

#[test]
fn what_went_wrong_is_the_spans_status() {
    seen();
    let (producer, mock) = mock(Setup::trace_sends);
    let failed = |topic: &str, own: &[(&'static str, &str)], error: &Error| {
        let words = error.to_string();
        let status = [("otel.status_code", "ERROR"), ("otel.status_description", &*words)];
        let spans = ended(topic);
        assert_eq!(spans.len(), 1, "{spans:?}");
        assert_eq!(spans[0].fields, fields(&[own, &status].concat(), topic));
        assert_eq!(exported(&format!("send {topic}")).status, Status::error(words));
    };
    mock.fail_next(1, ErrorCode::INVALID_RECORD);
    let error = producer.send(&Record::new("refused-by-broker").value("v")).unwrap_err();
    let own = [("messaging.destination.partition.id", "0"), ("error.type", "INVALID_RECORD")];
    failed("refused-by-broker", &own, &error);

    let large = vec![0; 2 << 20];
    let error = producer.enqueue(&Record::new("too-large").value(&large)).unwrap_err();
    failed("too-large", &[("error.type", "RECORD_TOO_LARGE")], &error);

    producer.close(std::time::Duration::from_secs(10)).unwrap();
    let error = producer.enqueue(&Record::new("closed")).unwrap_err();
    failed("closed", &[("kafka.message.tombstone", "true"), ("error.type", "CLOSED")], &error);

    // The driver was never polled, so the topic is not known.
    let config = Config::builder("nowhere.invalid:9092").client_id("shop").build().unwrap();
    let (producer, _driver) = milena::tokio::Producer::new(Setup::new(config).trace_sends()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let record = Record::new("given-up").value("v");
        let mut send = pin!(producer.enqueue(&record));
        assert!(send.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(ended("given-up").len(), 0);
    });
    failed("given-up", &[("error.type", "CANCELLED")], &Error::Cancelled);
}

/// Puts the current span's context into each record.
#[derive(Debug)]
struct Propagate(TraceContextPropagator);

struct Headers<'a>(&'a mut RecordBuf);

impl Injector for Headers<'_> {
    fn set(&mut self, name: &str, value: String) {
        self.0.headers.push((name.into(), Some(value.into())));
    }
}

impl Interceptor for Propagate {
    fn on_send(&self, record: &Record<'_>) -> Option<RecordBuf> {
        let mut with_context = RecordBuf::from(record);
        self.0.inject_context(&tracing::Span::current().context(), &mut Headers(&mut with_context));
        with_context.topic = with_context.topic.replace("-first", "-second");
        Some(with_context)
    }
}

#[test]
fn interceptors_see_records_within_the_span_and_carry_its_context() {
    seen();
    let propagate = || Arc::new(Propagate(TraceContextPropagator::new()));
    let (producer, mock) = mock(|setup| setup.trace_sends().interceptor(propagate()));
    info_span!("carrying").in_scope(|| producer.send(&Record::new("carried-first").value("v"))).unwrap();
    // Where an interceptor sends it elsewhere, the name is still that of the caller's topic.
    let span = exported("send carried-first");
    let context = &span.span_context;
    assert_eq!(span.parent_span_id, exported("carrying").span_context.span_id());
    let sampled = context.trace_flags().to_u8();
    let header = format!("00-{}-{}-{sampled:02x}", context.trace_id(), context.span_id());
    let headers = &mock.history()[0].headers;
    assert!(headers.contains(&("traceparent".into(), Some(header.clone().into()))), "{header}");
    let name = [("otel.name", "send carried-first")];
    let expected = fields(&[&place("0", "0")[..], &name].concat(), "carried-second");
    assert_eq!(ended("carried-second")[0].fields, expected);
    assert_eq!(ended("carried-first").len(), 0);
}

#[test]
fn keys_are_there_only_if_they_were_asked_for_and_are_text() {
    seen();
    let keys = |topic: &str| -> Vec<Option<String>> {
        ended(topic).iter().map(|span| span.fields.0.get("kafka.message.key").cloned()).collect()
    };
    let send = |producer: &milena::threads::Producer, topic: &str| {
        producer.send(&Record::new(topic).key("customer-7").value("v")).unwrap();
        producer.send(&Record::new(topic).key(&[0xff, 0xfe]).value("v")).unwrap();
        producer.send(&Record::new(topic).value("v")).unwrap();
    };
    send(&mock(Setup::trace_sends).0, "without-keys");
    assert_eq!(keys("without-keys"), [None, None, None]);
    send(&mock(|setup| setup.trace_sends().trace_keys()).0, "with-keys");
    assert_eq!(keys("with-keys"), [Some("customer-7".into()), None, None]);
    send(&mock(Setup::trace_keys).0, "keys-alone");
    assert_eq!(ended("keys-alone").len(), 0, "spans were not asked for");
}

#[test]
fn nothing_of_a_record_is_in_spans_or_events() {
    seen();
    let secret = "secret-of-a-record";
    let cluster = TestCluster::start().unwrap();
    let setup = Setup::new(config(&cluster)).trace_sends().trace_events();
    let producer = milena::threads::Producer::new(setup).unwrap();
    let headers = [Header::new("secret-of-a-record-name", secret.as_bytes())];
    let record = Record::new("secretive").key(secret).value(secret).headers(&headers);
    producer.send(&record).unwrap();
    cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 19, 1));
    producer.send(&record).unwrap();
    cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 87, 1));
    producer.send(&record).unwrap_err();
    assert_eq!(ended("secretive").len(), 3);
    let seen = seen().lock().unwrap();
    let of_topic = |fields: &&(String, Fields)| fields.1.0.values().any(|value| value == "secretive");
    let events: Vec<_> = seen.events.iter().filter(of_topic).map(|(name, fields)| (&**name, fields)).collect();
    let about = |name: &str, error: &str| {
        events.iter().filter(|(event, fields)| *event == name && fields.0["error.type"] == error).count()
    };
    assert_eq!(about("WARN milena::events", "NOT_ENOUGH_REPLICAS"), 1, "{events:?}");
    assert_eq!(about("WARN milena::events", "INVALID_RECORD"), 1, "{events:?}");
    let all = format!("{:?} {:?} {:?}", seen.spans, seen.events, EXPORTED.lock().unwrap());
    assert!(!all.contains(secret), "{all}");
}

#[test]
fn nothing_is_allocated_for_spans_that_nobody_wants() {
    let allocations = |setup: fn(Setup) -> Setup| {
        tracing::subscriber::with_default(NoSubscriber::new(), || {
            let (producer, _mock) = mock(setup);
            let record = Record::new("nobody-looks").key("k").value("v");
            let send = || {
                producer.try_enqueue(&record).map(drop).or_else(|_| producer.send(&record).map(drop)).unwrap();
            };
            (0..100).for_each(|_| send()); // until everything has the size that it needs
            let before = ALLOCATIONS.get();
            (0..100).for_each(|_| send());
            ALLOCATIONS.get() - before
        })
    };
    let plain = allocations(|setup| setup);
    assert!(plain > 0, "it counts");
    assert_eq!(allocations(|setup| setup.trace_sends().trace_keys().trace_events()), plain);
    assert_eq!(ended("nobody-looks").len(), 0);
}
