//! What is told is true, and helps.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use milena::cluster::Request;
use milena::{
    Cause, Config, ConnectionError, DeliveryError, DeliveryErrorKind, ErrorCode, Event, Input, Instant, Output,
    Producer, Record, SendError,
};

use crate::script::{Ask, Asked, Door, Facts, PLAIN, Reply, Script, text};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn errors(script: &Script) -> Vec<DeliveryError> {
    script.deliveries().into_iter().filter_map(|delivery| delivery.outcome.clone().err()).collect()
}

fn failures(script: &Script) -> Vec<ConnectionError> {
    let failure = |event: &Event| match event {
        Event::ConnectionFailed { error, .. } => Some(error.clone()),
        _ => None,
    };
    script.events.iter().filter_map(failure).collect()
}

fn refused(code: i16) -> Reply {
    Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(code).with_producer_id((-1).into()))
}

fn asked(script: &Script, api: ApiKey) -> usize {
    script.asks().filter(|asked| asked.api == api).count()
}

/// A producer that fails for good with a record open.
fn fatal(before: impl FnOnce(&mut Script), after: impl FnOnce(&mut Script)) -> Script {
    let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
        Ask::InitProducerId(_) => refused(53).after(millis(100)),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 2);
    script.send(&Record::new("t").value("v").partition(0));
    script.send(&Record::new("t").value("v").partition(1));
    before(&mut script);
    script.run(seconds(1));
    after(&mut script);
    script.run(seconds(1));
    script
}

#[test]
fn what_a_closing_producer_failed_of_is_told() {
    let close = |script: &mut Script| script.tell(|producer, now| producer.close(now));
    let abort = |script: &mut Script| script.tell(|producer, now| producer.abort(now));
    for script in [fatal(close, |_| {}), fatal(|_| {}, close), fatal(|_| {}, abort), fatal(close, abort)] {
        let kinds: Vec<_> = errors(&script).into_iter().map(|error| error.kind).collect();
        assert_eq!(kinds.len(), 2);
        assert!(
            kinds.iter().all(|kind| matches!(kind, DeliveryErrorKind::Fatal(fatal) if fatal.code.code() == 53)),
            "{kinds:?}"
        );
        assert!(matches!(script.events.last(), Some(Event::Closed)), "{:?}", script.events.last());
        assert!(script.producer.is_closed());
    }
    let script = fatal(abort, |_| {});
    assert!(errors(&script).iter().all(|error| error.kind == DeliveryErrorKind::Aborted), "it was aborted before");
}

#[test]
fn a_fatal_error_met_by_a_close_before_its_outcomes_were_taken_is_told_too() {
    let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
        Ask::InitProducerId(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(seconds(1));
    let held = script.held()[0].clone();
    script.reply(held.number, refused(49));
    // The answer comes in, and the application closes in the same moment: nothing is drained in between.
    script.latency = Duration::ZERO;
    script.run(millis(1));
    script.tell(|producer, now| producer.close(now));
    script.run(seconds(1));
    assert!(matches!(&errors(&script)[0].kind, DeliveryErrorKind::Fatal(fatal) if fatal.code.code() == 49));
    assert!(script.producer.is_closed());
}

#[test]
fn a_broker_that_was_avoided_comes_back() {
    let options = [
        ("partitioner.availability.timeout.ms", "1000"),
        ("delivery.timeout.ms", "5000"),
        ("request.timeout.ms", "4000"),
        ("batch.size", "1"),
    ];
    for moved in [false, true] {
        let mut script = Script::new(2, &[&options[..], &PLAIN].concat(), Facts::usual);
        script.facts.topic("t", 1, 2).partitions[1].leader = 2;
        script.send(&Record::new("t").value("v").partition(0));
        script.send(&Record::new("t").value("v").partition(1));
        script.run(seconds(1));
        script.take_down(2);
        for _ in 0..40 {
            script.send(&Record::new("t").value("v"));
            script.run(millis(100));
        }
        script.facts.topics.get_mut("t").unwrap().partitions[1].epoch += 1;
        script.run(seconds(10));
        script.server(2).door = Door::Open;
        script.run(seconds(20));
        if moved {
            script.facts.lead("t", 1, 1);
            script.send(&Record::new("t").value("v").partition(1));
            script.run(seconds(5));
            script.facts.lead("t", 1, 2);
            script.send(&Record::new("t").value("v").partition(1));
            script.run(seconds(5));
        }
        let to_it = (0..400).filter(|_| {
            let sent = script.send(&Record::new("t").value("v"));
            script.run(millis(10));
            sent.partition == 1
        });
        let to_it = to_it.count();
        assert!((100..300).contains(&to_it), "{to_it} of 400");
    }
}

/// Which part of records without key goes to brokers that hang, after the first `warm` records.
fn share_of_the_hung(options: &[(&str, &str)], partitions: usize, hung: &[usize]) -> f64 {
    let hung = hung.to_vec();
    let options = [&[("batch.size", "1000"), ("buffer.memory", "64000000")][..], options].concat();
    let mut script = Script::new(2, &options, |facts, asked| match &asked.ask {
        Ask::Produce(_) if asked.node == 2 => Reply::Hold,
        _ => facts.usual(asked),
    });
    let topic = script.facts.topic("t", 1, partitions);
    hung.iter().for_each(|number| topic.partitions[*number].leader = 2);
    let value = "x".repeat(200);
    let mut to_hung = 0;
    for n in 0..4000 {
        let sent = script.send(&Record::new("t").value(&value));
        if n >= 1000 {
            to_hung += usize::from(hung.contains(&(sent.partition as usize)));
        }
        script.run(millis(5));
    }
    to_hung as f64 / 3000.0
}

#[test]
fn records_without_key_leave_a_hung_broker_alone() {
    for options in [&[][..], &PLAIN[..]] {
        for (partitions, hung) in [(2, vec![0]), (3, vec![0, 2]), (10, (0..5).collect()), (40, (1..40).collect())] {
            let share = share_of_the_hung(options, partitions, &hung);
            assert!(share < 0.02, "{} of {partitions} hang, {share} of the records go there", hung.len());
        }
    }
}

#[test]
fn records_without_key_go_to_all_partitions_alike_where_none_hangs() {
    let mut script = Script::new(2, &[("batch.size", "1000")], Facts::usual);
    let topic = script.facts.topic("t", 1, 8);
    topic.partitions.iter_mut().skip(4).for_each(|partition| partition.leader = 2);
    let mut counts = [0; 8];
    for _ in 0..8000 {
        counts[script.send(&Record::new("t").value(&"x".repeat(100))).partition as usize] += 1;
        script.run(millis(5));
    }
    assert!(counts.iter().all(|count| (600..1400).contains(count)), "{counts:?}");
}

/// When the second of two requests leaves, if the answer to the first asks for a pause of a minute.
fn second_after_a_pause(limit: (i16, i16, i16), api: ApiKey) -> Duration {
    let mut script = Script::new(1, &[("metadata.max.age.ms", "5000")], move |facts, asked| {
        let mut reply = facts.usual(asked);
        match &mut reply {
            Reply::Produce(response) if api == ApiKey::Produce => response.throttle_time_ms = 60_000,
            Reply::Metadata(response) if api == ApiKey::Metadata => response.throttle_time_ms = 60_000,
            Reply::InitProducerId(response) if api == ApiKey::InitProducerId => response.throttle_time_ms = 60_000,
            _ => {}
        }
        reply
    });
    script.facts.limit(limit.0, limit.1, limit.2);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(seconds(1));
    let from = script.now;
    let next = if api == ApiKey::Produce { ApiKey::Produce } else { ApiKey::Metadata };
    if next == ApiKey::Produce {
        script.send(&Record::new("t").value("v"));
    }
    script.run(seconds(100));
    let second = script.asks().find(|asked| asked.api == next && asked.at >= from).expect("there is a second");
    second.at.saturating_since(from)
}

#[test]
fn brokers_that_pause_themselves_are_not_waited_for_twice() {
    for (limit, api, pauses) in [
        ((5, 5, 0), ApiKey::Produce, false),
        ((6, 5, 0), ApiKey::Produce, true),
        ((5, 5, 0), ApiKey::Metadata, false),
        ((5, 6, 0), ApiKey::Metadata, true),
        ((5, 5, 0), ApiKey::InitProducerId, false),
        ((5, 5, 1), ApiKey::InitProducerId, true),
    ] {
        let after = second_after_a_pause(limit, api);
        assert_eq!(after > seconds(50), pauses, "{api:?} with {limit:?}: after {after:?}");
    }
}

/// The reason of the outcome of a record whose request is answered with this code, under these options.
fn refusal(code: i16, message: Option<&'static str>, options: &[(&str, &str)]) -> String {
    let mut script = Script::new(1, options, move |facts, asked| match &asked.ask {
        Ask::Produce(_) => match facts.refuse(asked, code) {
            Reply::Produce(mut response) => {
                for topic in &mut response.responses {
                    for answer in &mut topic.partition_responses {
                        answer.error_message = message.map(text);
                    }
                }
                Reply::Produce(response)
            }
            other => other,
        },
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value(&"compressible ".repeat(100)));
    script.run(seconds(5));
    errors(&script)[0].to_string()
}

#[test]
fn a_timestamp_out_of_range_names_the_clock() {
    for message in [None, Some("One or more records have been rejected due to invalid timestamp")] {
        let words = refusal(32, message, &[]);
        assert!(words.contains("INVALID_TIMESTAMP (32)") && words.contains("clock"), "{words}");
        assert!(words.contains("milliseconds"), "{words}");
        assert!(message.is_none_or(|message| words.contains(message)), "{words}");
    }
}

#[test]
#[cfg(feature = "lz4")]
fn an_unknown_error_after_a_frame_of_a_codec_names_the_codec() {
    for message in [None, Some("The server experienced an unexpected error when processing the request.")] {
        let words = refusal(-1, message, &[("compression.type", "lz4")]);
        assert!(words.contains("lz4") && words.contains("compression.type"), "{words}");
        assert!(message.is_none_or(|message| words.contains(message)), "{words}");
    }
    assert!(!refusal(87, None, &[("compression.type", "lz4")]).contains("compression.type"));
}

#[test]
fn an_unknown_error_without_a_codec_names_none() {
    assert!(!refusal(-1, None, &[]).contains("compress"));
}

#[test]
fn a_topic_that_may_not_be_created_says_that_create_is_what_lacks() {
    let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
        Ask::Metadata(request) => {
            let missing = if request.allow_auto_topic_creation { 29 } else { 3 };
            let topics = request.topics.iter().flatten().flat_map(|topic| topic.name.clone());
            let topic = |name| MetadataResponseTopic::default().with_name(Some(name)).with_error_code(missing);
            Reply::Metadata(facts.metadata_of(topics.map(topic).collect()))
        }
        _ => facts.usual(asked),
    });
    script.try_send(&Record::new("missing").value("v")).unwrap_err();
    script.run(seconds(2));
    assert!(script.events.iter().any(|event| matches!(event, Event::TopicFailed { error, .. } if error.code() == 29)));
    let error = script.try_send(&Record::new("missing").value("v")).unwrap_err();
    assert!(matches!(error, SendError::TopicFailed(code) if code.code() == 29), "{error}");
    let words = error.to_string();
    assert!(words.contains("Create") && words.contains("Write"), "{words}");
}

#[test]
fn a_server_without_metadata_is_named_at_once() {
    let mut script = Script::new(2, &[], Facts::usual);
    script.facts.versions = script.facts.versions.without(Request::Metadata);
    script.try_send(&Record::new("t").value("v")).unwrap_err();
    script.run(seconds(1));
    let words = script.events.iter().find_map(|event| match event {
        Event::AccessDenied(error) => Some(error.to_string()),
        _ => None,
    });
    assert!(words.as_deref().is_some_and(|words| words.contains("does not offer Metadata")), "{words:?}");
}

#[test]
fn a_server_without_producer_ids_is_named_at_once_with_the_option_that_helps() {
    for offered in [false, true] {
        let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) => refused(35),
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        if !offered {
            script.facts.versions = script.facts.versions.without(Request::InitProducerId);
        }
        script.send(&Record::new("t").value("v"));
        script.run(seconds(1));
        let words = errors(&script)[0].to_string();
        assert!(words.contains("no InitProducerId") && words.contains("set enable.idempotence=false"), "{words}");
        assert!(!errors(&script)[0].possibly_written);
    }
}

/// As Java's: the records fail, and whoever is given the right meanwhile goes on.
#[test]
fn a_producer_id_that_is_not_allowed_fails_the_records_and_is_asked_for_again() {
    let allowed = Rc::new(Cell::new(false));
    let mut script = Script::new(1, &[], {
        let allowed = allowed.clone();
        move |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) if !allowed.get() => refused(31),
            _ => facts.usual(asked),
        }
    });
    script.facts.topic("t", 1, 2);
    let flush = script.tell(|producer, now| producer.flush(now));
    for partition in [0, 1] {
        script.send(&Record::new("t").value("v").partition(partition));
    }
    script.run(seconds(1));
    for error in errors(&script) {
        let words = error.to_string();
        assert!(words.contains("CLUSTER_AUTHORIZATION_FAILED (31)") && words.contains("IdempotentWrite"), "{words}");
        assert!(!error.possibly_written);
    }
    assert_eq!(script.failed(), 2);
    assert!(script.events.iter().any(|event| matches!(event, Event::Flushed { id, .. } if *id == flush)));
    let before = asked(&script, ApiKey::InitProducerId);
    script.run(seconds(60));
    assert_eq!(asked(&script, ApiKey::InitProducerId), before, "nobody needs one");
    for _ in 0..20 {
        script.send(&Record::new("t").value("v"));
        script.run(millis(500));
    }
    assert!(script.failed() > 10 && asked(&script, ApiKey::InitProducerId) < before + 25);
    allowed.set(true);
    script.run(seconds(2));
    let (failed, delivered) = (script.failed(), script.delivered());
    script.send(&Record::new("t").value("v"));
    script.run(seconds(2));
    assert_eq!((script.failed(), script.delivered()), (failed, delivered + 1));
}

#[test]
fn a_hint_that_supersedes_its_own_attempt_leaves_its_error() {
    for idempotent in ["true", "false"] {
        let options = [
            ("delivery.timeout.ms", "5000"),
            ("request.timeout.ms", "4000"),
            ("enable.idempotence", idempotent),
            ("metadata.max.age.ms", "300000"),
        ];
        let mut script = Script::new(2, &options, |facts, asked| match &asked.ask {
            Ask::Produce(_) if asked.node == 2 => Reply::Hold,
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("first"));
        script.run(seconds(1));
        script.facts.lead("t", 0, 2);
        let before = asked(&script, ApiKey::Metadata);
        script.send(&Record::new("t").value("second"));
        script.run(seconds(1));
        assert!(asked(&script, ApiKey::Metadata) > before, "a hint is no metadata");
        script.run(seconds(10));
        let error = &errors(&script)[0];
        assert_eq!(error.kind, DeliveryErrorKind::TimedOut(Some(ErrorCode::new(6))), "{idempotent}");
    }
}

/// A server that closes the connection once it has read the size of a request above `limit`.
fn picky(limit: usize) -> impl FnMut(&mut Facts, &Asked) -> Reply + 'static {
    move |facts, asked| if asked.size > limit { Reply::Drop } else { facts.usual(asked) }
}

fn large(error: &ConnectionError) -> bool {
    let words = error.to_string();
    words.contains("closed after a request of")
        && words.contains("is max.request.size above the server's socket.request.max.bytes?")
}

#[test]
fn closing_just_after_a_large_request_says_so() {
    for acks in ["all", "1", "0"] {
        let idempotence = if acks == "all" { "true" } else { "false" };
        let options = [
            ("max.request.size", "10000000"),
            ("batch.size", "1000000"),
            ("delivery.timeout.ms", "20000"),
            ("request.timeout.ms", "10000"),
            ("acks", acks),
            ("enable.idempotence", idempotence),
        ];
        let mut script = Script::new(1, &options, picky(100_000));
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value(&"x".repeat(50_000)));
        script.run(seconds(1));
        script.send(&Record::new("t").value(&"x".repeat(200_000)));
        script.run(seconds(30));
        let failures = failures(&script);
        assert!(!failures.is_empty() && failures.iter().all(large), "{failures:?}");
        assert!(failures[0].to_string().contains(" of 200"), "{failures:?}");
        if acks != "0" {
            let words = errors(&script)[0].to_string();
            assert!(words.contains("closed after a request of 200"), "{words}");
        }
    }
}

#[test]
fn other_closings_say_nothing_of_sizes() {
    let options = [("max.request.size", "10000000"), ("batch.size", "1000000")];
    // A larger one was answered.
    let mut script = Script::new(1, &options, Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value(&"x".repeat(300_000)));
    script.run(seconds(1));
    script.answer(picky(100_000));
    script.send(&Record::new("t").value(&"x".repeat(200_000)));
    script.run(seconds(1));
    assert!(!failures(&script).is_empty() && !failures(&script).iter().any(large), "{:?}", failures(&script));
    // A larger one was not answered, for none is, but the connection has stood for long after it.
    let unanswered = [("max.request.size", "10000000"), ("batch.size", "1000000"), ("acks", "0")];
    let mut script = Script::new(1, &unanswered, Facts::usual);
    script.facts.topic("t", 1, 1);
    for length in [300_000, 10] {
        script.send(&Record::new("t").value(&"x".repeat(length)));
        script.run(seconds(5));
    }
    script.answer(picky(100_000));
    script.send(&Record::new("t").value(&"x".repeat(200_000)));
    script.run(seconds(1));
    assert!(!failures(&script).is_empty() && !failures(&script).iter().any(large), "{:?}", failures(&script));
    // A small one.
    let mut script = Script::new(1, &options, picky(1000));
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value(&"x".repeat(2000)));
    script.run(seconds(1));
    assert!(!failures(&script).is_empty() && !failures(&script).iter().any(large), "{:?}", failures(&script));
    // Much later.
    let mut script = Script::new(1, &options, |facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Drop.after(seconds(20)),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value(&"x".repeat(200_000)));
    script.run(seconds(25));
    assert!(!failures(&script).is_empty() && !failures(&script).iter().any(large), "{:?}", failures(&script));
}

#[test]
fn sasl_is_not_guessed_where_the_address_has_worked() {
    let mut script = Script::new(1, &[], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(seconds(1));
    script.break_connections(1);
    script.answer(|facts, asked| match &asked.ask {
        Ask::ApiVersions(_) => facts.usual(asked),
        _ => Reply::Drop,
    });
    script.send(&Record::new("t").value("v"));
    script.run(seconds(30));
    let failures = failures(&script);
    assert!(
        failures.contains(&ConnectionError::Closed) && !failures.contains(&ConnectionError::ClosedEarly),
        "{failures:?}"
    );
    // Where it has not, it is.
    let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
        Ask::ApiVersions(_) => facts.usual(asked),
        _ => Reply::Drop,
    });
    script.try_send(&Record::new("t").value("v")).unwrap_err();
    script.run(seconds(30));
    assert!(self::failures(&script).contains(&ConnectionError::ClosedEarly));
}

#[test]
fn a_server_that_closes_early_twice_may_have_been_restarted_and_then_it_refuses() {
    let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
        Ask::ApiVersions(_) => facts.usual(asked),
        _ => Reply::Drop,
    });
    script.try_send(&Record::new("t").value("v")).unwrap_err();
    let mut seen = Vec::new();
    while failures(&script).len() < 5 {
        script.run(Duration::from_millis(1));
        let denied = script.producer.status(script.now).denied.is_some();
        if seen.last() != Some(&(failures(&script).len(), denied)) {
            seen.push((failures(&script).len(), denied));
        }
    }
    let denied: Vec<usize> = seen.iter().filter(|(_, denied)| *denied).map(|(closed, _)| *closed).collect();
    assert_eq!(denied[..2], [3, 4], "{seen:?}");
}

#[test]
fn who_drops_api_versions_in_silence_is_asked_with_a_lower_version_next() {
    for understood in [3, 0] {
        let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
            Ask::ApiVersions(_) if asked.version > understood => Reply::Hold,
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.try_send(&Record::new("t").value("v")).unwrap_err();
        script.run(seconds(60));
        script.send(&Record::new("t").value("v"));
        script.run(seconds(60));
        assert_eq!(script.delivered(), 1, "{understood}");
        // What it understands is remembered.
        let from = script.now;
        script.break_connections(1);
        script.send(&Record::new("t").value("v"));
        script.run(seconds(5));
        assert_eq!(script.delivered(), 2, "{understood}, from {from:?} on");
    }
}

#[test]
fn a_flush_counts_what_was_not_told_yet_when_it_was_asked_for() {
    let mut script = Script::new(1, &[("enable.idempotence", "false"), ("retries", "0")], Facts::hold_produce);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(Duration::from_millis(100));
    // It is decided, and the application has not heard of it.
    let (now, conn) = (script.now, script.held()[0].conn);
    script.producer.handle_input(now, Input::Disconnected(conn, Cause::Closed));
    script.producer.flush(now);
    script.wake();
    script.run(Duration::from_millis(100));
    let failures = script.events.iter().filter_map(|event| match event {
        Event::Flushed { failed, .. } => Some(*failed),
        _ => None,
    });
    assert_eq!(failures.collect::<Vec<_>>(), [1]);
}

/// Both may give a connection up at the same moment.
#[test]
fn a_host_that_has_said_that_a_connection_is_gone_is_not_told_to_close_it() {
    let closed = |said: bool| {
        let config = Config::from_properties([("bootstrap.servers", "h:1")]).expect("valid options");
        let mut producer = Producer::new(Instant::ZERO, None, config, [0; 32]);
        let _ = producer.send(Instant::ZERO, &Record::new("t").value("v"));
        let Output::Connect { conn, .. } = producer.poll_output() else { panic!("it has to connect first") };
        let late = Instant::ZERO + seconds(60);
        producer.handle_input(late, Input::Timeout); // socket.connection.setup.timeout.ms
        if said {
            producer.handle_input(late, Input::Disconnected(conn, Cause::Connect("refused")));
        }
        loop {
            match producer.poll_output() {
                Output::Disconnect(which) if which == conn => return true,
                Output::Wait(_) => return false,
                _ => {}
            }
        }
    };
    assert!(closed(false));
    assert!(!closed(true));
}

/// Kafka answers a copy of a batch that it has with the batch's largest timestamp as its log append time, whoever's times the topic has.
#[test]
fn a_batch_that_was_there_already_keeps_its_own_times() {
    let base = 1_700_000_000_000;
    let newest = base + 5000;
    // What was answered at once has the time that it is told, whichever that is.
    let cases = [(true, newest, None), (true, newest + 1000, Some(newest + 1000)), (false, newest, Some(newest))];
    for (is_lost, answered, told) in cases {
        let mut script = Script::new(1, &[("linger.ms", "50")], Facts::usual);
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("v").timestamp(base));
        script.run(seconds(1));
        let before = script.events.len();
        let mut loses = is_lost;
        script.answer(move |facts, asked| match facts.usual(asked) {
            Reply::Produce(_) if core::mem::take(&mut loses) => Reply::Drop,
            Reply::Produce(mut answer) => {
                answer.responses[0].partition_responses[0].log_append_time_ms = answered;
                Reply::Produce(answer)
            }
            reply => reply,
        });
        for time in [base, newest, base + 1000] {
            script.send(&Record::new("t").value("v").timestamp(time));
        }
        script.run(seconds(60));
        let deliveries = script.events[before..].iter().filter_map(|event| match event {
            Event::Delivered(delivery) => {
                Some((delivery.records.clone(), delivery.outcome.clone().unwrap().log_append_time))
            }
            _ => None,
        });
        assert_eq!(deliveries.collect::<Vec<_>>(), [(0..3, told)]);
    }
}
