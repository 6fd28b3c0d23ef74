//! Compressed batches, by hand: every codec, the life of a job, splits, and brokers that know no zstd.

#![cfg(feature = "cluster")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::wildcard_enum_match_arm, clippy::unwrap_used, reason = "tests look at what they are about")]

mod desk;

use std::time::Duration;

use bytes::Bytes;
use desk::Desk;
use milena::cluster::{Request, Settings, TopicSettings, Versions};
use milena::{Compressor, DeliveryErrorKind, Header, Input, Record};

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

fn with(codec: &str, jobs: &str, more: &[(&str, &str)]) -> Desk {
    let options = [("compression.type", codec), ("compression.jobs", jobs), ("linger.ms", "10")];
    Desk::new(&[&options[..], more].concat())
}

/// Sends so many records that compress well to partition 0.
fn fill(desk: &mut Desk, records: usize, size: usize) {
    for n in 0..records {
        let value = format!("{n:0>size$}");
        desk.send(&Record::new("t").value(&value).partition(0)).unwrap();
    }
}

fn assert_all_there(desk: &Desk, records: usize, size: usize) {
    for n in 0..records {
        let stored = desk.cluster.record("t", 0, n as i64).unwrap();
        assert_eq!(stored.value.as_deref(), Some(format!("{n:0>size$}").as_bytes()), "record {n}");
    }
    assert!(desk.cluster.record("t", 0, records as i64).is_none());
    assert_eq!(desk.producer.buffered(), 0, "all memory is back");
}

fn records_delivered(desk: &Desk) -> usize {
    let ok = desk.deliveries().into_iter().filter(|delivery| delivery.outcome.is_ok());
    ok.map(|delivery| delivery.records.len()).sum()
}

#[test]
fn every_codec_arrives_by_job_and_inline() {
    for codec in CODECS {
        // Where memory is small it is looked for first, and there is enough.
        for (jobs, memory) in [("0", "33554432"), ("2", "33554432"), ("0", "600000")] {
            let mut desk = with(codec, jobs, &[("buffer.memory", memory)]);
            fill(&mut desk, 500, 100);
            let headers = [Header::new("h", b"x"), Header::null("n")];
            desk.send(&Record::new("t").key("k").headers(&headers).partition(1)).unwrap();
            desk.run(Duration::from_secs(1));
            assert_all_there(&desk, 500, 100);
            let stats = desk.producer.stats();
            assert!(stats.batches_compressed > 0 && stats.batch_bytes_sent < 25_000, "{codec}: {stats:?}");
            assert_eq!(stats.jobs > 0, jobs != "0", "{codec}");
            let stored = desk.cluster.record("t", 1, 0).unwrap();
            assert_eq!((stored.key.as_deref(), stored.value.as_deref()), (Some(&b"k"[..]), None));
        }
    }
}

#[test]
fn a_job_and_inline_give_the_same_bytes() {
    for codec in CODECS {
        let written = |jobs: &str| {
            let mut desk = with(codec, jobs, &[]);
            fill(&mut desk, 100, 60);
            desk.run(Duration::from_secs(1));
            core::mem::take(&mut desk.written)
        };
        assert!(written("0") == written("1"), "{codec}");
    }
}

#[test]
fn what_does_not_shrink_goes_out_as_it_is() {
    let mut desk = with("zstd", "0", &[]);
    let mut state = 7u32;
    let noise: Vec<u8> = (0..5000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    desk.send(&Record::new("t").value(&noise).partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.cluster.record("t", 0, 0).unwrap().value.as_deref(), Some(&noise[..]));
    assert_eq!(desk.producer.stats().batches_compressed, 0);
}

#[test]
fn batches_hold_more_records_the_better_they_compress() {
    let batches = |codec: &str| {
        let options = [("compression.type", codec), ("linger.ms", "1000"), ("batch.size", "2000")];
        let mut desk = Desk::new(&options);
        for _ in 0..8000 {
            fill(&mut desk, 1, 300);
            // So slow that nothing is held back to grow.
            desk.run(Duration::from_millis(3));
        }
        desk.run(Duration::from_secs(2));
        assert_eq!(records_delivered(&desk), 8000);
        desk.producer.stats().batches_sent
    };
    assert!(batches("gzip") * 2 < batches("none"));
}

#[test]
fn a_job_that_is_dropped_costs_a_second_and_nothing_else() {
    let mut desk = with("lz4", "1", &[]);
    desk.jobs = Some(Vec::new());
    fill(&mut desk, 100, 100);
    desk.run(Duration::from_millis(100));
    let job = desk.jobs.as_mut().unwrap().pop().expect("a job went out");
    assert_eq!(records_delivered(&desk), 0, "it waits for the job");
    drop(job);
    desk.run(Duration::from_millis(1100));
    assert_all_there(&desk, 100, 100);
    assert_eq!(desk.producer.stats().batches_compressed, 0);
}

/// That nobody holds a batch's bytes tells that its job was dropped: the application's own clones of a value are not a job.
#[test]
fn a_dropped_job_is_found_though_the_application_holds_what_it_handed_over() {
    let mut desk = with("lz4", "1", &[]);
    desk.jobs = Some(Vec::new());
    let value = Bytes::from(vec![7; 50_000]);
    desk.send(&Record::new("t").value_bytes(&value).partition(0)).unwrap();
    desk.run(Duration::from_millis(100));
    drop(desk.jobs.as_mut().unwrap().pop().expect("a job went out"));
    desk.run(Duration::from_millis(1100));
    assert_eq!(desk.cluster.record("t", 0, 0).unwrap().value, Some(value));
    assert_eq!((desk.producer.stats().batches_compressed, desk.producer.buffered()), (0, 0));
}

#[test]
fn values_that_are_shared_compress_as_those_that_are_copied() {
    for codec in CODECS {
        for jobs in ["0", "2"] {
            let sent = |shared: bool| {
                let mut desk = with(codec, jobs, &[]);
                for n in 0..20u8 {
                    let value = Bytes::from([n; 3].repeat(1000 + 500 * usize::from(n)));
                    let record = Record::new("t").partition(0);
                    desk.send(&if shared { record.value_bytes(&value) } else { record.value(&value) }).unwrap();
                }
                desk.run(Duration::from_secs(1));
                let stats = desk.producer.stats();
                assert!(stats.batches_compressed > 0 && records_delivered(&desk) == 20, "{codec}: {stats:?}");
                assert_eq!(desk.producer.buffered(), 0, "{codec}");
                core::mem::take(&mut desk.written)
            };
            assert!(sent(true) == sent(false), "{codec}, {jobs} jobs");
        }
    }
}

#[test]
fn a_job_given_back_undone_lets_the_batch_go_as_it_is() {
    let mut desk = with("lz4", "1", &[]);
    desk.jobs = Some(Vec::new());
    fill(&mut desk, 100, 100);
    desk.run(Duration::from_millis(100));
    let job = desk.jobs.as_mut().unwrap().pop().unwrap();
    desk.producer.handle_input(desk.now, Input::Done(job.give_up()));
    desk.run(Duration::from_millis(10));
    assert_all_there(&desk, 100, 100);
}

#[test]
fn a_result_that_comes_after_the_batch_expired_only_gives_memory_back() {
    let mut desk = with("gzip", "1", &[("delivery.timeout.ms", "2000"), ("request.timeout.ms", "1000")]);
    desk.jobs = Some(Vec::new());
    fill(&mut desk, 10, 100);
    desk.run(Duration::from_secs(3));
    let job = desk.jobs.as_mut().unwrap().pop().unwrap();
    let outcome = &desk.deliveries()[0].outcome;
    let error = outcome.as_ref().unwrap_err();
    assert!(matches!(error.kind, DeliveryErrorKind::TimedOut(_)) && !error.possibly_written);
    assert!(desk.producer.buffered() > 0, "the job still has the records");
    // The slot is used again by another batch, which the late result must not touch.
    let value = "another";
    desk.send(&Record::new("t").value(value).partition(0)).unwrap();
    let done = job.run(&mut Compressor::default());
    desk.producer.handle_input(desk.now, Input::Done(done));
    desk.jobs = None;
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.cluster.record("t", 0, 0).unwrap().value.as_deref(), Some(value.as_bytes()));
    assert!(desk.cluster.record("t", 0, 1).is_none());
    assert_eq!(desk.producer.buffered(), 0);
}

#[test]
fn no_more_jobs_are_out_than_allowed_and_one_a_partition() {
    let mut desk = with("snappy", "2", &[("batch.size", "1000")]);
    desk.jobs = Some(Vec::new());
    for n in 0..100 {
        let value = format!("{n:0>300}");
        desk.send(&Record::new("t").value(&value).partition(n % 4)).unwrap();
    }
    desk.run(Duration::from_millis(100));
    let jobs = desk.jobs.take().unwrap();
    assert_eq!(jobs.len(), 2);
    let mut compressor = Compressor::default();
    for job in jobs {
        let done = job.run(&mut compressor);
        desk.producer.handle_input(desk.now, Input::Done(done));
    }
    desk.run(Duration::from_secs(1));
    assert_eq!(records_delivered(&desk), 100);
}

#[test]
fn abort_and_close_do_not_wait_for_jobs() {
    let mut desk = with("snappy", "1", &[]);
    desk.jobs = Some(Vec::new());
    fill(&mut desk, 10, 100);
    desk.run(Duration::from_millis(100));
    assert_eq!(desk.jobs.as_ref().unwrap().len(), 1);
    desk.producer.abort(desk.now);
    desk.settle();
    assert!(desk.producer.is_closed());
    assert!(desk.deliveries().iter().all(|delivery| delivery.outcome.is_err()));
    desk.jobs = None; // the last to hold the records
    desk.settle();
    assert_eq!(desk.producer.buffered(), 0);
}

#[test]
fn a_compressed_batch_that_is_too_large_is_split_and_nothing_is_lost() {
    for codec in CODECS {
        for jobs in ["0", "1"] {
            let mut desk = with(codec, jobs, &[("batch.size", "60000"), ("batch.size.max", "60000")]);
            let settings = TopicSettings::default().max_message_bytes(700);
            desk.cluster.create_topic_with("t", 1, settings);
            // Numbers that compress to a third or so.
            for n in 0..1500usize {
                let value = format!("{:x}-{n}", n.wrapping_mul(2_654_435_761) & 0xffff);
                desk.send(&Record::new("t").value(&value).partition(0)).unwrap();
            }
            desk.run(Duration::from_secs(20));
            assert_eq!(records_delivered(&desk), 1500, "{codec} {jobs}");
            for n in 0..1500usize {
                let stored = desk.cluster.record("t", 0, n as i64).unwrap();
                let value = format!("{:x}-{n}", n.wrapping_mul(2_654_435_761) & 0xffff);
                assert_eq!(stored.value.as_deref(), Some(value.as_bytes()), "{codec}");
            }
            assert!(desk.producer.stats().splits > 0);
            assert_eq!(desk.producer.buffered(), 0);
        }
    }
}

#[test]
fn zstd_goes_out_uncompressed_to_a_broker_that_does_not_know_it() {
    let versions = Versions::KAFKA_2_1.with(Request::Produce, 0, 6);
    let options = [("compression.type", "zstd"), ("linger.ms", "10")];
    let mut desk = Desk::with(&options, Settings::default().versions(versions));
    fill(&mut desk, 100, 100);
    desk.run(Duration::from_secs(1));
    assert_all_there(&desk, 100, 100);
    assert!(desk.producer.stats().batch_bytes_sent > 10_000);
}
