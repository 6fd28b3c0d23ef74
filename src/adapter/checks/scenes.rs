//! What programs do with a producer from several threads.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::super::error::Error;
use super::super::setup::Setup;
use super::super::threads;
use super::handles::{Handle, Tasks};
use super::primitives::{elapsed, thread};
use super::schedules::{USUAL, check};
use super::world::World;
use crate::config::Config;
use crate::error::{DeliveryErrorKind, SendError};
use crate::record::Record;

/// More than anything takes here that is not lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one scene with both kinds of producers.
macro_rules! scenes {
    ($($name:ident: $times:expr),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn threads() {
                check(USUAL * $times, super::$name::<threads::Producer>);
            }

            #[test]
            fn tasks() {
                check(USUAL * $times, super::$name::<Tasks>);
            }
        }
    )*};
}

scenes! {
    what_is_told_comes_in_order: 2,
    records_are_waited_for: 2,
    links_that_take_little: 1,
    all_get_memory: 2,
    places_are_kept: 1,
    a_close_while_others_send: 2,
    a_driver_that_ends: 2,
    a_close_whose_time_is_over: 1,
    handles_that_are_dropped: 1,
    servers_that_are_asked: 1,
    jobs_of_compression: 1,
}

fn setup(more: &[(&str, &str)]) -> Setup {
    let usual = [("bootstrap.servers", "127.0.0.1:9092"), ("linger.ms", "0"), ("compression.jobs", "0")];
    Setup::new(Config::from_properties(usual.into_iter().chain(more.iter().copied())).expect("valid options"))
}

/// What was told, in the order in which it was. Not the checker's: nobody waits for it.
type Told<T> = Arc<std::sync::Mutex<Vec<T>>>;

fn tell<T>(told: &Told<T>, what: T) {
    told.lock().expect("no panic").push(what);
}

fn all_told<T: Clone>(told: &Told<T>) -> Vec<T> {
    told.lock().expect("no panic").clone()
}

/// A producer in a world, and its end: every thread has to be over by then.
fn with<H: Handle>(more: &[(&str, &str)], scene: impl FnOnce(&Arc<World>, H, super::handles::Kill)) {
    let world = World::start();
    let server = world.serve();
    let (producer, kill, driver) = H::start(&world, setup(more));
    scene(&world, producer, kill);
    if let Some(driver) = driver {
        driver.join().expect("the driver does not panic");
    }
    world.stop();
    server.join().expect("the server does not panic");
}

/// The threads that these are done by, at the same time.
fn at_once(does: Vec<alloc::boxed::Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = does.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

macro_rules! at_once {
    ($($does:expr),* $(,)?) => { at_once(alloc::vec![$(alloc::boxed::Box::new($does) as alloc::boxed::Box<dyn FnOnce() + Send>),*]) };
}

/// Callbacks come in the order of the records, each once; a flush comes after those of the records before it, a close after all.
fn what_is_told_comes_in_order<H: Handle>() {
    with::<H>(&[], |_, producer, _| {
        let told = Told::<(u32, u32, i64)>::default();
        let sender = |number: u32| {
            let (producer, told) = (producer.clone(), Arc::clone(&told));
            move || {
                for n in 0..2 {
                    let told = Arc::clone(&told);
                    let callback = move |outcome: Result<super::super::Delivered, Error>| {
                        tell(&told, (number, n, outcome.map_or(-1, |delivered| delivered.offset.unwrap_or(-2))));
                    };
                    producer.send_with(&Record::new("t").value("v"), callback).expect("it is taken");
                }
                assert_eq!(producer.flush(), Ok(0));
                let own = all_told(&told).into_iter().filter(|(sender, ..)| *sender == number);
                assert_eq!(own.map(|(_, n, _)| n).collect::<Vec<_>>(), [0, 1], "a flush came before callbacks");
            }
        };
        let (first, second) = (sender(1), sender(2));
        at_once![first, second];
        assert_eq!(producer.close(PATIENCE), Ok(0));
        let offsets: Vec<i64> = all_told(&told).into_iter().map(|(_, _, offset)| offset).collect();
        assert_eq!(offsets, [0, 1, 2, 3]);
    });
    assert_eq!(elapsed(), Duration::ZERO, "somebody was not woken");
}

/// Whoever waits for a record is told, however many wait for one batch, also if others don't wait any more.
fn records_are_waited_for<H: Handle>() {
    with::<H>(&[], |_, producer, _| {
        let sender = || {
            let producer = producer.clone();
            move || {
                let records = [1, 2, 3].map(|_| Record::new("t").value("v"));
                let mut acks = producer.send_all(&records).expect("they are taken").into_iter();
                let [first, second, third] = core::array::from_fn(|_| acks.next().expect("one each"));
                drop(second);
                let other = thread::spawn(move || third().map(|delivered| delivered.offset));
                let first = first().expect("it is delivered").offset.expect("an offset");
                let third = other.join().expect("no panic").expect("it is delivered").expect("an offset");
                assert!(first < third);
            }
        };
        let (first, second) = (sender(), sender());
        at_once![first, second];
        assert_eq!(producer.send(&Record::new("t")).map(|delivered| delivered.offset), Ok(Some(6)));
        assert_eq!(producer.close(PATIENCE), Ok(0));
    });
    assert_eq!(elapsed(), Duration::ZERO, "somebody was not woken");
}

/// Links that take a few bytes at a time hold nobody up for longer than it takes to read those.
fn links_that_take_little<H: Handle>() {
    with::<H>(&LITTLE, |world, producer, _| {
        world.narrow(700);
        let sender = || {
            let producer = producer.clone();
            move || {
                let value = [7; 1500];
                let acks: Vec<_> =
                    (0..3).map(|_| producer.enqueue(&Record::new("t").value(&value)).expect("it is taken")).collect();
                acks.into_iter().for_each(|ack| assert!(ack().is_ok()));
            }
        };
        let (first, second) = (sender(), sender());
        at_once![first, second];
        assert_eq!(producer.close(PATIENCE), Ok(0));
    });
    assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
}

/// Memory for a handful of records of 3,000 bytes.
const LITTLE: [(&str, &str); 2] = [("buffer.memory", "20000"), ("batch.size", "4000")];

/// Those who wait for memory all get some; what nobody ends is ended by nothing but long waits.
fn all_get_memory<H: Handle>() {
    with::<H>(&LITTLE, |_, producer, _| {
        let sender = || {
            let producer = producer.clone();
            move || {
                let value = [7; 3000];
                for _ in 0..4 {
                    producer.send_with(&Record::new("t").value(&value), |_| ()).expect("it gets memory");
                }
            }
        };
        let (first, second, third) = (sender(), sender(), sender());
        at_once![first, second, third];
        assert_eq!(producer.flush(), Ok(0));
        assert_eq!(producer.close(PATIENCE), Ok(0));
    });
    assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
}

/// Whoever waits for room and then tries gets its record in, or its place back.
fn places_are_kept<H: Handle>() {
    with::<H>(&LITTLE, |_, producer, _| {
        producer.partitions_for("t").expect("the topic is there");
        let sender = || {
            let producer = producer.clone();
            move || {
                let value = [7; 3000];
                let record = Record::new("t").value(&value);
                let mut acks = Vec::new();
                while acks.len() < 4 {
                    match producer.try_enqueue(&record) {
                        Ok(ack) => acks.push(ack),
                        Err(Error::Send(SendError::BufferFull { needed })) => {
                            producer.wait_writable(needed, PATIENCE).expect("there is room in the end");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                acks.into_iter().for_each(|ack| assert!(ack().is_ok()));
            }
        };
        let (first, second) = (sender(), sender());
        at_once![first, second];
        assert_eq!(producer.close(PATIENCE), Ok(0));
    });
    assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
}

/// What is taken before a close is delivered before it returns; what comes later is refused.
fn a_close_while_others_send<H: Handle>() {
    with::<H>(&[], |_, producer, _| {
        let told = Told::<bool>::default();
        let sender = || {
            let (producer, told) = (producer.clone(), Arc::clone(&told));
            move || {
                let mut taken = 0;
                while taken < 3 {
                    let told = Arc::clone(&told);
                    let callback = move |outcome: Result<_, Error>| tell(&told, outcome.is_ok());
                    match producer.send_with(&Record::new("t"), callback) {
                        Ok(()) => taken += 1,
                        Err(Error::Send(SendError::Closed)) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                assert_eq!(producer.close(PATIENCE), Ok(0));
                assert!(all_told(&told).len() >= taken, "a close came before callbacks");
            }
        };
        let closer = {
            let producer = producer.clone();
            move || assert_eq!(producer.close(PATIENCE), Ok(0))
        };
        let (first, second) = (sender(), sender());
        at_once![first, closer, second];
        assert!(all_told(&told).into_iter().all(|delivered| delivered));
        assert!(matches!(producer.enqueue(&Record::new("t")).map(drop), Err(Error::Send(SendError::Closed))));
    });
    assert_eq!(elapsed(), Duration::ZERO, "somebody was not woken");
}

/// A driver that goes away leaves nobody waiting: for a topic, memory, a record, a flush or the end.
fn a_driver_that_ends<H: Handle>() {
    with::<H>(&LITTLE, |_, producer, kill| {
        let told = Told::<()>::default();
        let sender = |producer: H, told: Told<()>| {
            let mut taken = 0;
            for _ in 0..4 {
                let told = Arc::clone(&told);
                match producer.send_with(&Record::new("t").value(&[7; 3000]), move |_| tell(&told, ())) {
                    Ok(()) => taken += 1,
                    Err(Error::Gone { .. } | Error::Send(SendError::Closed)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            taken
        };
        let other = thread::spawn({
            let (producer, told) = (producer.clone(), Arc::clone(&told));
            move || sender(producer, told)
        });
        let flusher = {
            let producer = producer.clone();
            move || assert!(producer.flush().is_ok())
        };
        let waiter = {
            let producer = producer.clone();
            move || match producer.send(&Record::new("t")) {
                Ok(_) | Err(Error::Gone { .. } | Error::Send(SendError::Closed)) => {}
                Err(Error::NotDelivered(error)) => assert_eq!(error.kind, DeliveryErrorKind::Aborted),
                Err(error) => panic!("{error}"),
            }
        };
        at_once![flusher, kill, waiter];
        let taken = sender(producer.clone(), Arc::clone(&told)) + other.join().expect("no panic");
        assert!(matches!(producer.close(PATIENCE), Ok(0) | Err(Error::Gone { .. })));
        assert_eq!(all_told(&told).len(), taken, "each callback once");
    });
    assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
}

/// Servers that say nothing hold up a close for its time, and then everybody is told.
fn a_close_whose_time_is_over<H: Handle>() {
    with::<H>(&LITTLE, |world, producer, _| {
        producer.partitions_for("t").expect("the topic is there");
        world.turn_deaf();
        let sender = || {
            let producer = producer.clone();
            move || {
                let mut acks = Vec::new();
                let refused = loop {
                    match producer.enqueue(&Record::new("t").value(&[7; 3000])) {
                        Ok(ack) => acks.push(ack),
                        Err(error) => break error,
                    }
                };
                assert_eq!(refused, Error::Send(SendError::Closed));
                for ack in acks {
                    assert!(
                        matches!(ack(), Err(Error::NotDelivered(error)) if error.kind == DeliveryErrorKind::Aborted)
                    );
                }
            }
        };
        let closer = {
            let producer = producer.clone();
            move || match producer.close(Duration::from_secs(1)) {
                Ok(0) => {}
                Err(Error::Unfinished { failed, .. }) => assert!(failed > 0),
                other => panic!("{other:?}"),
            }
        };
        let (first, second) = (sender(), sender());
        at_once![first, second, closer];
    });
    assert!(elapsed() < Duration::from_millis(1500), "somebody was not woken: {:?}", elapsed());
}

/// Dropping the last handle loses nothing, and ends the driver.
fn handles_that_are_dropped<H: Handle>() {
    let told = Told::<bool>::default();
    with::<H>(&[], |_, producer, _| {
        let sender = || {
            let (producer, told) = (producer.clone(), Arc::clone(&told));
            move || {
                let callback = move |outcome: Result<_, Error>| tell(&told, outcome.is_ok());
                producer.send_with(&Record::new("t"), callback).expect("it is taken");
                let ack = producer.enqueue(&Record::new("t")).expect("it is taken");
                drop(producer);
                assert!(ack().is_ok());
            }
        };
        let (first, second) = (sender(), sender());
        drop(producer);
        at_once![first, second];
    });
    assert_eq!(all_told(&told), [true; 2]);
    assert_eq!(elapsed(), Duration::ZERO, "somebody was not woken");
}

/// Whoever asks is answered, also while others ask and give up.
fn servers_that_are_asked<H: Handle>() {
    with::<H>(&[], |_, producer, _| {
        let patient = {
            let producer = producer.clone();
            move || assert!(producer.ping(PATIENCE).is_ok())
        };
        let hasty = {
            let producer = producer.clone();
            move || drop(producer.ping(Duration::ZERO))
        };
        let curious = {
            let producer = producer.clone();
            move || {
                assert_eq!(producer.list_topics().map(|topics| topics.len()), Ok(1));
                assert_eq!(producer.partitions_for("t").map(|partitions| partitions.len()), Ok(1));
            }
        };
        at_once![patient, hasty, curious];
        assert_eq!(producer.close(PATIENCE), Ok(0));
    });
    assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
}

/// Threads that compress come to an end with the driver, and every batch leaves.
fn jobs_of_compression<H: Handle>() {
    let options = [("compression.type", "lz4"), ("compression.jobs", "2"), ("batch.size", "4000"), ("linger.ms", "5")];
    with::<H>(&options, |_, producer, _| {
        let sender = || {
            let producer = producer.clone();
            move || {
                for _ in 0..6 {
                    producer.send_with(&Record::new("t").value(&[7; 1500]), |_| ()).expect("it is taken");
                }
            }
        };
        let (first, second) = (sender(), sender());
        at_once![first, second];
        assert_eq!(producer.flush(), Ok(0));
        assert_eq!(producer.close(PATIENCE), Ok(0));
    });
    assert!(elapsed() < Duration::from_millis(500), "somebody was not woken: {:?}", elapsed());
}
