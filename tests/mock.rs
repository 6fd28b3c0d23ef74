//! The mock producer: what Java's MockProducer promises, over the handles that programs use.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::threads::Producer;
use milena::{
    Config, DeliveryError, DeliveryErrorKind, Error, ErrorCode, Header, Mock, Record, RoundRobinPartitioner, SendError,
    Setup,
};

fn config(more: &[(&str, &str)]) -> Config {
    let pairs = [("bootstrap.servers", "nowhere.invalid:9092"), ("max.block.ms", "200")];
    Config::from_properties(pairs.into_iter().chain(more.iter().copied())).unwrap()
}

fn mock() -> (Producer, Mock) {
    Producer::mock(config(&[])).unwrap()
}

#[test]
fn records_are_acknowledged_at_once_and_remembered_as_they_were() {
    let (producer, mock) = mock();
    let headers = [Header::new("h", b"1"), Header::new("h", b"2"), Header::null("n")];
    let record = Record::new("t").key("k").value("v").headers(&headers).timestamp(77);
    let ack = producer.enqueue(&record).unwrap();
    assert!(ack.is_done());
    let delivered = ack.wait().unwrap();
    assert_eq!((&*delivered.topic, delivered.partition, delivered.offset, delivered.timestamp), ("t", 0, Some(0), 77));
    assert_eq!(producer.send(&Record::new("t")).unwrap().offset, Some(1));
    let history = mock.history();
    assert_eq!(history[0], milena::RecordBuf::from(&record).partition(0));
    assert_eq!((&history[1].key, &history[1].value), (&None, &None));
    assert!(history[1].timestamp.is_some());
    mock.clear();
    assert_eq!(mock.history(), []);
    assert_eq!(producer.send(&Record::new("t")).unwrap().offset, Some(2), "the log goes on");
}

#[test]
fn records_are_completed_and_failed_in_order_on_demand() {
    let (producer, mock) = mock();
    mock.auto_complete(false);
    assert!(!mock.complete_next() && !mock.error_next(ErrorCode::INVALID_RECORD), "there is none");
    let acks: Vec<_> = (0..4).map(|n| producer.enqueue(&Record::new("t").value(&[n])).unwrap()).collect();
    assert_eq!(mock.pending(), 4);
    assert_eq!(mock.history().len(), 4, "sent, whatever becomes of them");
    assert!(mock.complete_next());
    assert_eq!([true, false, false, false], [0, 1, 2, 3].map(|n: usize| acks[n].is_done()));
    assert!(mock.error_next(ErrorCode::new(6))); // one that would be tried again, with brokers
    let Err(Error::NotDelivered(error)) = acks[1].wait() else { panic!("it was failed") };
    assert_eq!(error.kind, DeliveryErrorKind::RetriesExhausted(Some(ErrorCode::new(6))));
    assert!(mock.error_next(ErrorCode::new(10)));
    assert!(acks[2].wait().is_err());
    assert!(mock.complete_next());
    assert_eq!(acks[3].wait().unwrap().offset, Some(1), "what failed has no offset");
    assert_eq!(mock.pending(), 0);
    assert!(producer.enqueue(&Record::new("t")).is_ok(), "it goes on after failures");
}

#[test]
fn every_code_fails_one_record_and_no_other() {
    let (producer, mock) = mock();
    mock.auto_complete(false);
    for code in (-1..=136).filter(|code| ![0, 46].contains(code)) {
        let (failed, fine) =
            (producer.enqueue(&Record::new("t")).unwrap(), producer.enqueue(&Record::new("t")).unwrap());
        assert!(mock.error_next(ErrorCode::new(code)), "{code}");
        assert!(matches!(failed.wait_timeout(Duration::ZERO), Err(Error::NotDelivered(_))), "{code}");
        assert!(mock.complete_next(), "{code}");
        assert!(fine.wait_timeout(Duration::ZERO).is_ok(), "{code}");
    }
}

#[test]
fn a_flush_completes_what_is_pending() {
    let (producer, mock) = mock();
    mock.auto_complete(false);
    let acks: Vec<_> = (0..3).map(|_| producer.enqueue(&Record::new("t")).unwrap()).collect();
    assert!(mock.error_next(ErrorCode::INVALID_RECORD));
    assert_eq!(producer.flush().unwrap(), 0, "what failed before the call is not counted");
    assert_eq!(mock.pending(), 0);
    assert!(acks.iter().all(milena::threads::Ack::is_done));
    let pending = producer.enqueue(&Record::new("t")).unwrap();
    assert!(!pending.is_done(), "the flush is over");
    mock.auto_complete(true);
    assert!(pending.is_done());
}

#[test]
fn partitioners_and_topics_are_as_the_test_makes_them() {
    let setup = Setup::new(config(&[])).partitioner(RoundRobinPartitioner::default());
    let (producer, mock) = Producer::mock(setup).unwrap();
    mock.with(|cluster, _| cluster.create_topic("many", 12));
    assert_eq!(producer.partitions_for("many").unwrap().len(), 12);
    let mut partitions: Vec<i32> = (0..12).map(|_| producer.send(&Record::new("many")).unwrap().partition).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, (0..12).collect::<Vec<_>>());
    let (producer, mock) = self::mock();
    mock.with(|cluster, _| cluster.create_topic("many", 12));
    let partition = milena::partition_for_key(b"k", 12);
    assert_eq!(producer.send(&Record::new("many").key("k")).unwrap().partition, partition);
    assert_eq!(mock.history()[0].partition, Some(partition));
    assert_eq!(producer.list_topics().unwrap().len(), 1);
    mock.with(|cluster, _| cluster.set_forbidden("secret", true));
    assert_eq!(
        producer.send(&Record::new("secret")).unwrap_err(),
        Error::Send(SendError::TopicFailed(ErrorCode::new(29)))
    );
    let too_large = vec![0; 2 << 20];
    assert!(matches!(
        producer.send(&Record::new("many").value(&too_large)),
        Err(Error::Send(SendError::TooLarge { option: "max.request.size", .. }))
    ));
}

#[test]
fn callbacks_may_send_but_not_wait_and_may_ask_the_mock() {
    let (producer, mock) = mock();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (again, noted, asked) = (producer.clone(), Arc::clone(&seen), mock.clone());
    producer
        .send_with(&Record::new("t").value("first"), move |outcome| {
            assert_eq!(outcome.unwrap().offset, Some(0));
            assert_eq!(asked.history().len(), 1);
            assert!(matches!(again.send(&Record::new("t").value("second")), Err(Error::InCallback)));
            noted.lock().unwrap().push("first");
            let noted = Arc::clone(&noted);
            again.send_with(&Record::new("t").value("third"), move |_| noted.lock().unwrap().push("third")).unwrap();
        })
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), ["first", "third"]);
    assert_eq!(mock.history().len(), 3, "the second was sent, though not waited for");
}

#[test]
fn after_close_every_call_says_so() {
    let (producer, mock) = mock();
    mock.auto_complete(false);
    let pending = producer.enqueue(&Record::new("t")).unwrap();
    assert!(!mock.is_closed());
    assert!(
        matches!(producer.close(Duration::from_millis(10)), Err(Error::Unfinished { failed: 1, .. })),
        "it was never answered"
    );
    assert!(mock.is_closed());
    assert!(pending.wait().is_err());
    assert!(matches!(producer.enqueue(&Record::new("t")), Err(Error::Send(SendError::Closed))));
    assert_eq!(producer.flush().unwrap(), 0);
    assert!(!mock.complete_next());
}

#[test]
fn dropping_the_mock_is_the_end_of_its_producer() {
    let (producer, mock) = mock();
    mock.auto_complete(false);
    let pending = producer.enqueue(&Record::new("t")).unwrap();
    drop(mock.clone());
    assert!(!pending.is_done(), "another one is left");
    drop(mock);
    assert!(pending.wait().is_err());
    assert!(producer.send(&Record::new("t")).is_err());
}

#[test]
fn the_configuration_of_production_works_unchanged() {
    let secured = config(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"a\" password=\"b\";",
        ),
        ("acks", "0"),
        ("linger.ms", "5000"),
    ]);
    let (producer, _mock) = Producer::mock(secured).unwrap();
    assert_eq!(producer.send(&Record::new("t")).unwrap().offset, Some(0));
}

#[test]
fn many_threads_may_send() {
    let (producer, mock) = mock();
    mock.auto_complete(false);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let (producer, failed) = (&producer, &failed);
            scope.spawn(move || {
                for n in 0..200u8 {
                    let outcome = producer.send(&Record::new(&format!("t{}", n % 5)).value(&[thread, n]));
                    failed.fetch_add(usize::from(outcome.is_err()), Ordering::Relaxed);
                }
            });
        }
        let mut answered = 0;
        while answered < 8 * 200 {
            let next =
                if answered % 10 == 3 { mock.error_next(ErrorCode::INVALID_RECORD) } else { mock.complete_next() };
            answered += usize::from(next);
        }
    });
    assert_eq!(failed.into_inner(), 160);
    assert_eq!(mock.history().len(), 1600);
}

#[tokio::test]
async fn a_producer_of_futures_has_one_too() {
    let (producer, mock) = milena::tokio::Producer::mock(config(&[])).unwrap();
    assert_eq!(producer.send(&Record::new("t").value("v")).await.unwrap().offset, Some(0));
    mock.auto_complete(false);
    let ack = producer.enqueue(&Record::new("t")).await.unwrap();
    let waiting = tokio::spawn(ack);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert!(mock.error_next(ErrorCode::INVALID_RECORD));
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(producer.flush().await.unwrap(), 0);
    producer.close(Duration::from_secs(1)).await.unwrap();
    assert!(mock.is_closed());
}

#[test]
fn smol_needs_no_driver_either() {
    let (producer, mock) = milena::smol::Producer::mock(config(&[])).unwrap();
    smol::block_on(async {
        for n in 0..100 {
            assert_eq!(producer.send(&Record::new("t")).await.unwrap().offset, Some(n));
        }
    });
    assert_eq!(mock.history().len(), 100);
}

#[derive(Debug)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl milena::Interceptor for Notes {
    fn on_acknowledgement(&self, outcome: &Result<milena::Delivered, Error>) {
        self.0.lock().unwrap().push(format!("interceptor {}", outcome.is_ok()));
    }
}

#[test]
fn interceptors_hear_of_an_outcome_before_the_callback() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let setup = Setup::new(config(&[])).interceptor(Arc::new(Notes(Arc::clone(&notes))));
    let (producer, mock) = Producer::mock(setup).unwrap();
    let noted = Arc::clone(&notes);
    let note = move |outcome: Result<_, _>| noted.lock().unwrap().push(format!("callback {}", outcome.is_ok()));
    producer.send_with(&Record::new("t"), note.clone()).unwrap();
    mock.auto_complete(false);
    producer.send_with(&Record::new("t"), note).unwrap();
    mock.error_next(ErrorCode::INVALID_RECORD);
    let told = ["interceptor true", "callback true", "interceptor false", "callback false"];
    assert_eq!(*notes.lock().unwrap(), told);
}

#[test]
fn records_fail_with_whatever_the_test_says_before_they_are_sent() {
    let (producer, mock) = mock();
    let late = DeliveryError::new(DeliveryErrorKind::TimedOut(None)).in_doubt(2).message("slow");
    mock.fail_next(2, late.clone());
    mock.fail_next(1, ErrorCode::INVALID_RECORD);
    let failed: Vec<_> = (0..4).map(|n| producer.send(&Record::new("t").value(&[n]))).collect();
    let here = late.place("t", 0);
    assert_eq!(failed[0], Err(Error::NotDelivered(here.clone())));
    assert_eq!(failed[1], Err(Error::NotDelivered(here)));
    let Err(Error::NotDelivered(error)) = &failed[2] else { panic!("{:?}", failed[2]) };
    assert_eq!(error.kind, DeliveryErrorKind::Refused(ErrorCode::INVALID_RECORD));
    assert_eq!(failed[3].as_ref().map(|at| at.offset), Ok(Some(0)), "the others are written");
    assert_eq!(mock.history().len(), 4, "all were sent");
    assert_eq!(producer.stats().records_failed, 3);
    mock.auto_complete(false);
    mock.fail_next(1, DeliveryErrorKind::PartitionGone);
    let (staged, fine) = (producer.enqueue(&Record::new("t")).unwrap(), producer.enqueue(&Record::new("t")).unwrap());
    assert!(!staged.is_done(), "in its turn, not before");
    assert!(mock.complete_next() && mock.fail(DeliveryErrorKind::Aborted) && !mock.fail(DeliveryErrorKind::Aborted));
    let kind = |ack: &milena::threads::Ack| match ack.wait() {
        Err(Error::NotDelivered(error)) => error.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!((kind(&staged), kind(&fine)), (DeliveryErrorKind::PartitionGone, DeliveryErrorKind::Aborted));
}

#[test]
fn records_are_refused_as_the_test_says_and_without_waiting() {
    let (producer, mock) = Producer::mock(config(&[("max.block.ms", "3600000")])).unwrap();
    let record = Record::new("t").value("v");
    let after = Duration::from_secs(3600);
    mock.refuse_next(2, SendError::BufferFull { needed: 9 });
    mock.refuse_next(1, SendError::Closed);
    assert_eq!(producer.send(&record), Err(Error::BufferFull { after, why: None }));
    let refused = producer.try_enqueue(&record).map(drop);
    assert_eq!(refused, Err(Error::Send(SendError::BufferFull { needed: 9 })));
    assert_eq!(producer.send(&record), Err(Error::Send(SendError::Closed)));
    assert_eq!(producer.send(&record).map(|at| at.offset), Ok(Some(0)), "nobody is left to be refused");
    mock.refuse_next(1, SendError::NotReady { topic: milena::TopicIndex::new(0) });
    let sent = producer.send_all([record, record]).unwrap_err();
    assert!(matches!(sent.error, Error::TopicUnknown { .. }) && sent.accepted.is_empty());
    assert_eq!(mock.history().len(), 1);
}

#[test]
fn pending_records_are_waited_for() {
    let (producer, mock) = mock();
    mock.auto_complete(false);
    assert!(mock.wait_pending_at_most(0, Duration::ZERO) && !mock.wait_pending_at_most(1, Duration::ZERO));
    let sender = std::thread::spawn(move || {
        let acks: Vec<_> = (0..3).map(|_| producer.enqueue(&Record::new("t")).unwrap()).collect();
        acks.iter().filter(|ack| ack.wait().is_ok()).count()
    });
    assert!(mock.wait_pending_at_most(3, Duration::from_secs(60)));
    while mock.complete_next() {}
    assert_eq!(sender.join().unwrap(), 3);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (producer, mock) = milena::tokio::Producer::mock(config(&[])).unwrap();
        mock.auto_complete(false);
        let sent = tokio::spawn(producer.send_owned(milena::RecordBuf::new("t").value("v")));
        mock.wait_pending(1).await;
        assert!(mock.error_next(ErrorCode::INVALID_RECORD));
        assert!(sent.await.unwrap().is_err_and(|error| error.is_callers_fault()));
    });
}

#[test]
fn a_mock_keeps_to_its_memory_if_asked() {
    let little = config(&[("buffer.memory", "20000"), ("batch.size", "4000")]);
    let (producer, mock) = Producer::mock(Setup::new(little).limit_mock_memory()).unwrap();
    mock.auto_complete(false);
    producer.partitions_for("t").unwrap();
    let value = [0; 1000];
    let record = Record::new("t").value(&value);
    let mut taken = 0;
    let full = loop {
        match producer.try_enqueue(&record) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 20, "more than there is memory for");
    };
    let Error::Send(SendError::BufferFull { needed }) = full else { panic!("{full:?}") };
    assert_eq!(mock.pending(), taken);
    assert!(matches!(producer.send(&record), Err(Error::BufferFull { .. })), "after max.block.ms");
    while mock.complete_next() {}
    producer.wait_writable(needed, Duration::from_secs(60)).unwrap();
    assert_eq!(producer.try_enqueue(&record).map(drop), Ok(()));
}

/// In a mock no time goes by for the line that waits for memory, so nobody in it may wait for some.
#[test]
fn whoever_waits_for_a_mocks_memory_goes_on_as_soon_as_there_is_enough() {
    let little = config(&[("buffer.memory", "40000"), ("batch.size", "4000"), ("max.block.ms", "10000")]);
    let (producer, mock) = Producer::mock(Setup::new(little).limit_mock_memory()).unwrap();
    mock.auto_complete(false);
    producer.partitions_for("t").unwrap();
    let value = [0; 3000];
    let record = Record::new("t").value(&value);
    while producer.try_enqueue(&record).is_ok() {}
    let full = mock.pending();
    std::thread::scope(|scope| {
        let senders = [0, 1].map(|_| {
            scope.spawn(|| {
                // One record each, and the memory of each one that is answered is enough for one.
                producer.send_with(&record, drop).map_err(|error| error.to_string())
            })
        });
        let waiting = || producer.metrics().waits.waiting;
        let until = |done: &dyn Fn() -> bool| {
            while !done() {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        until(&|| waiting() == 2);
        for left in [1, 0] {
            assert!(mock.complete_next());
            until(&|| waiting() <= left);
        }
        senders.into_iter().for_each(|sender| assert_eq!(sender.join().unwrap(), Ok(())));
    });
    assert_eq!(mock.pending(), full);
}

/// A value that is handed over is a value like any other to all who look at records, and large ones of typed producers are handed over.
#[test]
fn values_that_are_handed_over_are_seen_by_all() {
    #[derive(Debug, Default)]
    struct Sees(Mutex<Vec<Option<Vec<u8>>>>);
    impl milena::Interceptor for Sees {
        fn on_send(&self, record: &Record<'_>) -> Option<milena::RecordBuf> {
            self.0.lock().unwrap().push(record.value.map(<[u8]>::to_vec));
            (record.key == Some(b"other")).then(|| milena::RecordBuf::from(record).value(vec![9; 9000]))
        }
    }
    let sees = Arc::new(Sees::default());
    let setup =
        Setup::new(config(&[])).interceptor(Arc::clone(&sees) as _).partitioner(RoundRobinPartitioner::default());
    let (producer, mock) = Producer::mock(setup).unwrap();
    let value = bytes::Bytes::from(vec![7; 50_000]);
    producer.send(&Record::new("t").value_bytes(&value)).unwrap();
    producer.send(&Record::new("t").key("other").value_bytes(&value)).unwrap();
    let typed = milena::Typed::new(
        producer.clone(),
        milena::serializer::StringSerializer,
        milena::serializer::StringSerializer,
    );
    let text = "text".repeat(3000);
    typed.send("t", "k", &*text).unwrap();
    typed.send("t", "k", "short").unwrap();
    let values: Vec<Vec<u8>> = mock.history().into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [value.to_vec(), vec![9; 9000], text.clone().into_bytes(), b"short".to_vec()]);
    let seen: Vec<_> = sees.0.lock().unwrap().iter().flatten().map(Vec::len).collect();
    assert_eq!(seen, [50_000, 50_000, 12_000, 5]);
    assert!(value.is_unique(), "nothing is held once they are delivered");
}
