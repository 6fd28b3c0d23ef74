//! Most records go a short way into an open batch. It leads where the long way leads, and leaves to that whatever it does not know.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{Choice, Header, Partitioner, Record, SendError, TopicView};

use crate::script::{Ask, Facts, Script};

/// Small random numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Records of an application with a partitioner of its own never go the short way. This one chooses as would be chosen without it.
#[derive(Debug)]
struct Same(Arc<Mutex<Option<i32>>>);

impl Partitioner for Same {
    fn partition(&mut self, _: &Record<'_>, _: &TopicView<'_>) -> Choice<'_> {
        self.0.lock().expect("no panic").map_or(Choice::Usual, Choice::To)
    }
}

/// Every batch of every Produce request: partition and bytes.
fn batches(script: &Script) -> Vec<(i32, Vec<u8>)> {
    let mut batches = Vec::new();
    for asked in script.asks() {
        if let Ask::Produce(request) = &asked.ask {
            for data in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
                batches.push((data.index, data.records.as_ref().expect("a batch").to_vec()));
            }
        }
    }
    batches
}

#[test]
fn it_leads_where_the_long_way_leads() {
    let bytes = [b'b'; 30_000];
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let linger = ["0", "5", "50"][numbers.below(3)];
        let size = ["200", "1000", "16384"][numbers.below(3)];
        let options = [("linger.ms", linger), ("batch.size", size), ("max.request.size", "20000")];
        let chosen = Arc::new(Mutex::new(None));
        let mut ways = [(); 2].map(|()| {
            let mut script = Script::new(1, &options, Facts::usual);
            script.facts.topic("t", 1, 3);
            script.facts.topic("other", 2, 1);
            script
        });
        ways[1].producer.set_partitioner(Box::new(Same(Arc::clone(&chosen))));
        let ways = &mut ways;
        for way in ways.iter_mut() {
            way.send(&Record::new("t").value("first"));
            way.send(&Record::new("other").value("first"));
        }
        let base = 1_700_000_000_000i64;
        for _ in 0..300 {
            match numbers.below(12) {
                0 => ways.iter_mut().for_each(|way| way.run(Duration::from_millis(3))),
                1 => ways.iter_mut().for_each(|way| _ = way.tell(|producer, now| producer.flush(now))),
                _ => {
                    let (key, value) = (numbers.below(200), [3, 60, 70, 300, 9000, 30_000][numbers.below(6)]);
                    let header = Header::new("trace", &bytes[..numbers.below(100)]);
                    let headers = [header, Header::null("")];
                    let mut record = Record::new(if numbers.below(9) == 0 { "other" } else { "t" });
                    record = match numbers.below(3) {
                        0 => record.key(&bytes[..key]),
                        _ => record,
                    };
                    record = if numbers.below(20) == 0 { record } else { record.value(&bytes[..value]) };
                    record = record.headers(&headers[..numbers.below(3)]);
                    record = match numbers.below(12) {
                        0 => record.timestamp(base + numbers.below(100_000_000) as i64),
                        1 => record.timestamp(numbers.below(100) as i64),
                        2 => record.timestamp(-1),
                        3 => record.timestamp(i64::MAX),
                        _ => record,
                    };
                    let partition = (record.topic == "t" && numbers.below(4) == 0).then(|| numbers.below(3) as i32);
                    *chosen.lock().expect("no panic") = partition;
                    let short = ways[0].try_send(&partition.map_or(record, |partition| record.partition(partition)));
                    let long = ways[1].try_send(&record);
                    match (&short, &long) {
                        (Ok(short), Ok(long)) => assert_eq!(short, long),
                        (short, long) => assert_eq!(format!("{short:?}"), format!("{long:?}"), "{record:?}"),
                    }
                }
            }
        }
        for way in ways.iter_mut() {
            way.tell(|producer, now| producer.flush(now));
            way.run(Duration::from_secs(1));
        }
        let [short, long] = [batches(&ways[0]), batches(&ways[1])];
        assert_eq!(short.len(), long.len());
        assert!(short == long, "seed {seed}: the same bytes");
        assert_eq!(ways[0].delivered(), ways[1].delivered());
        assert_eq!(ways[0].producer.stats().records_accepted, ways[1].producer.stats().records_accepted);
    }
}

#[test]
fn an_open_batch_takes_nothing_that_would_not_be_taken_without_it() {
    let options = [("linger.ms", "60000"), ("batch.size", "100000"), ("max.request.size", "10000")];
    let mut script = Script::new(1, &options, Facts::usual);
    script.facts.topic("t", 1, 1);
    // The next batch's first chunk will be as large as this batch.
    script.send(&Record::new("t").value(&[b'v'; 9000]));
    script.tell(|producer, now| producer.flush(now));
    script.run(Duration::from_secs(1));
    script.send(&Record::new("t"));
    // 61 + 21 + 1 for no key + 3 for the value's length + 1 for no headers. With the record of 7 bytes it would be a batch of 9,993.
    let largest = vec![b'v'; 10_000 - 87];
    let larger = vec![b'v'; 10_000 - 86];
    let error = script.try_send(&Record::new("t").value(&larger)).expect_err("it is too large alone");
    assert!(matches!(error, SendError::TooLarge { size: 10_001, limit: 10_000, .. }), "{error:?}");
    let error = script.try_send(&Record::new("t").value("v").timestamp(-5)).expect_err("before 1970");
    assert!(matches!(error, SendError::InvalidTimestamp(-5)), "{error:?}");
    let error = script.try_send(&Record::new("t").value("v").partition(-1)).expect_err("there is none");
    assert!(matches!(error, SendError::UnknownPartition { partition: -1, count: 1 }), "{error:?}");
    let error = script.try_send(&Record::new("t").value("v").partition(1)).expect_err("there is none yet");
    assert!(matches!(error, SendError::NotReady { .. }), "{error:?}");
    script.send(&Record::new("t").value("taken"));
    script.tell(|producer, now| producer.close(now));
    let error = script.try_send(&Record::new("t").value("v")).expect_err("it closes");
    assert!(matches!(error, SendError::Closed), "{error:?}");
    script.run(Duration::from_secs(1));
    assert_eq!(script.delivered(), 3);
    let mut script = Script::new(1, &options, Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value(&largest));
}
