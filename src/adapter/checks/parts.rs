//! Small things in every order that there is, and the mock.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use shuttle::future::block_on;

use super::super::completion::Completion;
use super::super::error::Error;
use super::super::setup::Setup;
use super::super::threads::Producer;
use super::super::waiter::{Flush, Waiter};
use super::handles::{Handle, Tasks};
use super::primitives::{elapsed, thread};
use super::schedules::{USUAL, check, check_all};
use super::world::World;
use crate::config::Config;
use crate::error::{DeliveryError, DeliveryErrorKind};
use crate::event::Written;
use crate::record::Record;

/// More orders than any of these has.
const MOST: usize = 200_000;

#[test]
fn a_flag_that_is_raised_is_seen_by_a_thread() {
    check_all(MOST, || {
        let waiter = Arc::new(Waiter::default());
        let raiser = thread::spawn({
            let waiter = Arc::clone(&waiter);
            move || waiter.raise()
        });
        assert!(waiter.wait(Duration::MAX));
        raiser.join().expect("no panic");
        assert!(!waiter.wait(Duration::ZERO), "it is lowered again");
    });
}

#[test]
fn a_flag_that_is_raised_is_seen_by_a_task() {
    check_all(MOST, || {
        let waiter = Arc::new(Waiter::default());
        let raisers = [0, 1].map(|_| {
            let waiter = Arc::clone(&waiter);
            thread::spawn(move || waiter.raise())
        });
        block_on(core::future::poll_fn(|context| waiter.poll(context)));
        raisers.into_iter().for_each(|raiser| raiser.join().expect("no panic"));
    });
}

#[test]
fn a_flush_that_ends_says_how_many_failed() {
    check_all(MOST, || {
        let flush = Arc::new(Flush::default());
        let ender = thread::spawn({
            let flush = Arc::clone(&flush);
            move || flush.end(3)
        });
        let failed = loop {
            if let Some(failed) = flush.failed() {
                break failed;
            }
            flush.waiter.wait(Duration::MAX);
        };
        assert_eq!(failed, 3);
        ender.join().expect("no panic");
    });
}

fn written(offset: i64) -> Result<Written, DeliveryError> {
    Ok(Written { base_offset: Some(offset), log_append_time: None })
}

/// A batch whose records are told of in two parts, the second one first, while threads wait for both.
#[test]
fn outcomes_that_come_are_seen_by_threads() {
    check_all(MOST, || {
        let completion = Arc::new(Completion::new("t".into(), 0));
        let waiter = thread::spawn({
            let completion = Arc::clone(&completion);
            move || {
                completion.wait(0, None);
                assert!(completion.is_known(0));
            }
        });
        completion.publish(1..2, written(1));
        completion.publish(0..1, written(0));
        waiter.join().expect("no panic");
    });
}

#[test]
fn outcomes_that_come_are_seen_by_tasks() {
    check_all(MOST, || {
        let completion = Arc::new(Completion::new("t".into(), 0));
        let waiter = thread::spawn({
            let completion = Arc::clone(&completion);
            move || {
                completion.forget(0);
                let waits = |context: &mut Context<'_>| match completion.await_record(1, context) {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                };
                block_on(core::future::poll_fn(waits));
                assert!(completion.is_known(1));
            }
        });
        completion.publish(0..1, written(0));
        completion.abandon(&DeliveryError::new(DeliveryErrorKind::Aborted));
        waiter.join().expect("no panic");
    });
}

/// Whoever comes while another one does the mock's work leaves it to that one, and is told all the same.
#[test]
fn a_mock_that_two_threads_use_answers_both() {
    check(USUAL * 2, || {
        let config = Config::new("nowhere.invalid:9092").expect("valid options");
        let (producer, mock) = Producer::mock(config).expect("the checker refuses nothing");
        let senders = [0, 1].map(|_| {
            let producer = producer.clone();
            thread::spawn(move || {
                let offsets: Vec<_> =
                    (0..2).map(|_| producer.send(&Record::new("t")).expect("a mock").offset).collect();
                assert_eq!(producer.flush(), Ok(0));
                offsets
            })
        });
        let mut offsets: Vec<_> = senders.into_iter().flat_map(|sender| sender.join().expect("no panic")).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(producer.close(Duration::from_secs(60)), Ok(0));
        assert_eq!(mock.history().len(), 4);
        assert_eq!(elapsed(), Duration::ZERO, "somebody was not woken");
    });
}

/// A test that answers while the code under test sends, waits for memory and closes.
#[test]
fn a_mock_that_is_told_what_to_answer_leaves_nobody_waiting() {
    check(USUAL * 2, || {
        let options =
            [("bootstrap.servers", "nowhere.invalid:9092"), ("buffer.memory", "20000"), ("batch.size", "4000")];
        let setup = Setup::new(Config::from_properties(options).expect("valid options")).limit_mock_memory();
        let (producer, mock) = Producer::mock(setup).expect("the checker refuses nothing");
        mock.auto_complete(false);
        let senders = [0, 1].map(|_| {
            let producer = producer.clone();
            thread::spawn(move || {
                let acks: Vec<_> = (0..4)
                    .map(|_| producer.enqueue(&Record::new("t").value(&[7; 3000])).expect("it gets memory"))
                    .collect();
                acks.into_iter().for_each(|ack| assert!(ack.wait().is_ok()));
            })
        });
        for n in 0..8 {
            assert!(mock.wait_pending_at_most(1, Duration::from_secs(60)), "{n}");
            assert!(mock.complete_next());
        }
        senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
        assert_eq!(producer.close(Duration::from_secs(60)), Ok(0));
        assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
    });
}

/// Polls a future so often, and drops it then.
async fn give_up<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    core::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Whoever stands in the line for memory and gives up holds up nobody.
#[test]
fn a_send_that_is_dropped_in_the_line_lets_others_go() {
    check(USUAL * 2, || {
        let world = World::start();
        let server = world.serve();
        let options = [("bootstrap.servers", "127.0.0.1:9092"), ("linger.ms", "0"), ("compression.jobs", "0")];
        let little = [("buffer.memory", "20000"), ("batch.size", "4000")];
        let config = Config::from_properties(options.into_iter().chain(little)).expect("valid options");
        let (producer, _, driver) = <Tasks as Handle>::start(&world, Setup::new(config));
        let senders = [0, 1, 2].map(|number| {
            let producer = producer.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    let value = [7; 3000];
                    let record = Record::new("t").value(&value);
                    let sent = producer.send_with(&record, |_| ());
                    if number == 0 {
                        block_on(give_up(sent, 1)).unwrap_or(Ok(())).expect("it gets memory");
                    } else {
                        block_on(sent).expect("it gets memory");
                    }
                }
            })
        });
        senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
        assert_eq!(Handle::close(&producer, Duration::from_secs(60)), Ok(0));
        driver.expect("a thread").join().expect("the driver does not panic");
        world.stop();
        server.join().expect("the server does not panic");
        assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
    });
}

/// A driver that nobody polls, and that is dropped in the end: whoever closes gives it up, and nobody waits for it any more.
#[test]
fn a_driver_that_nobody_polls_is_given_up_by_whoever_closes() {
    check(USUAL * 2, || {
        World::start();
        let config = Config::new("127.0.0.1:9092").expect("valid options");
        let (producer, driver) = Tasks::new(config).expect("the checker refuses nothing");
        let sender = thread::spawn({
            let producer = producer.clone();
            move || assert!(Handle::send(&producer, &Record::new("t")).is_err())
        });
        let flusher = thread::spawn({
            let producer = producer.clone();
            move || assert_eq!(Handle::flush(&producer), Ok(0))
        });
        let closers = [1, 2].map(|seconds| {
            let producer = producer.clone();
            thread::spawn(move || match Handle::close(&producer, Duration::from_secs(seconds)) {
                Ok(0) | Err(Error::Gone { .. } | Error::TimedOut(_)) => {}
                other => panic!("{other:?}"),
            })
        });
        sender.join().expect("no panic");
        let dropper = thread::spawn(move || drop(driver));
        closers.into_iter().for_each(|closer| closer.join().expect("no panic"));
        flusher.join().expect("no panic");
        dropper.join().expect("no panic");
        assert_eq!(Handle::close(&producer, Duration::from_secs(60)), Ok(0), "all was told before");
        assert!(elapsed() <= Duration::from_secs(3), "{:?}", elapsed());
    });
}
