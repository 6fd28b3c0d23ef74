//! Every adapter under load and cut short: many senders that wait for each record, futures dropped at each of their polls,
//! runtimes shut down in mid-flight.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::future::{Future, poll_fn};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use milena::cluster::{Server, Settings};
use milena::task::{Ack, Producer, Runtime};
use milena::{Config, Error, Record, threads};

/// How many tasks or threads send, and how many records each: fewer in a build without optimisation.
const SENDERS: usize = 100;
const RECORDS: usize = if cfg!(debug_assertions) { 200 } else { 10_000 };

fn server() -> Server {
    Server::start(Settings::default().nodes(3)).expect("loopback sockets")
}

fn config(server: &Server, more: &[(&str, &str)]) -> Config {
    let servers = server.bootstrap();
    let options = [("bootstrap.servers", &*servers)].into_iter().chain(more.iter().copied());
    Config::from_properties(options).expect("valid options")
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn all_arrived(server: &Server) {
    assert_eq!(server.with(|cluster, _| cluster.counters().records), (SENDERS * RECORDS) as u64);
}

/// What each of the tasks does.
async fn send_each<R: Runtime>(producer: Producer<R>, task: usize) {
    for n in 0..RECORDS {
        let value = format!("{task}-{n}");
        producer.send(&Record::new("t").value(&value)).await.unwrap();
    }
}

#[test]
fn a_hundred_tasks_on_tokio_await_every_record() {
    let server = server();
    tokio_runtime().block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&server, &[])).unwrap();
        let tasks: Vec<_> = (0..SENDERS).map(|task| tokio::spawn(send_each(producer.clone(), task))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
    all_arrived(&server);
}

#[test]
fn a_hundred_tasks_on_smol_await_every_record() {
    let server = server();
    smol::block_on(async {
        let (producer, driver) = milena::smol::Producer::new(config(&server, &[])).unwrap();
        smol::spawn(driver).detach();
        let tasks: Vec<_> = (0..SENDERS).map(|task| smol::spawn(send_each(producer.clone(), task))).collect();
        for task in tasks {
            task.await;
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
    all_arrived(&server);
}

#[test]
fn a_hundred_tasks_on_async_std_await_every_record() {
    let server = server();
    async_std::task::block_on(async {
        let (producer, driver) = milena::smol::Producer::new(config(&server, &[])).unwrap();
        async_std::task::spawn(driver);
        let spawn = |task| async_std::task::spawn(send_each(producer.clone(), task));
        let tasks: Vec<_> = (0..SENDERS).map(spawn).collect();
        for task in tasks {
            task.await;
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
    all_arrived(&server);
}

#[test]
fn a_hundred_threads_wait_for_every_record() {
    let server = server();
    let producer = threads::Producer::new(config(&server, &[])).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..SENDERS {
            let producer = &producer;
            scope.spawn(move || {
                for n in 0..RECORDS {
                    let value = format!("{thread}-{n}");
                    producer.send(&Record::new("t").value(&value)).unwrap();
                }
            });
        }
    });
    producer.close(Duration::from_secs(10)).unwrap();
    all_arrived(&server);
}

/// Polls a future so many times, then drops it. Whether it was done before that.
async fn dropped_after<R: Runtime>(polls: usize, future: impl Future) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return true;
        }
        #[expect(clippy::disallowed_methods, reason = "the runtime's sleep wants a time")]
        R::sleep_until(std::time::Instant::now() + Duration::from_millis(1)).await;
    }
    false
}

/// Drops futures of all kinds, each after 0, 1, 2, … polls, where sends have to wait for a topic and for memory.
async fn drop_at_every_poll<R: Runtime>(producer: Producer<R>) {
    let value = "v".repeat(3000);
    let record = Record::new("t").value(&value);
    let mut finished = 0;
    for polls in 0..40 {
        for _ in 0..10 {
            finished += usize::from(dropped_after::<R>(polls, producer.send(&record)).await);
            finished += usize::from(dropped_after::<R>(polls, producer.flush()).await);
            finished += usize::from(dropped_after::<R>(polls, producer.partitions_for("t")).await);
            finished += usize::from(dropped_after::<R>(polls, producer.list_topics()).await);
            finished += usize::from(dropped_after::<R>(polls, producer.send_all([record; 4])).await);
        }
    }
    assert!(finished > 100, "{finished}");
    // Whoever comes after them is served as ever.
    for _ in 0..50 {
        producer.send(&record).await.unwrap();
    }
    let _ = dropped_after::<R>(1, producer.close(Duration::from_secs(10))).await;
    producer.close(Duration::from_secs(10)).await.unwrap();
    let stats = producer.stats();
    assert_eq!(stats.records_accepted, stats.records_delivered, "what was taken is sent, heard or not");
}

/// So little that sends wait.
const LITTLE_MEMORY: [(&str, &str); 2] = [("buffer.memory", "20000"), ("batch.size", "4000")];

#[test]
fn a_future_dropped_at_any_poll_hangs_nobody_and_leaks_nothing_on_tokio() {
    let server = server();
    tokio_runtime().block_on(async {
        drop_at_every_poll(milena::tokio::Producer::spawn(config(&server, &LITTLE_MEMORY)).unwrap()).await;
    });
}

#[test]
fn a_future_dropped_at_any_poll_hangs_nobody_and_leaks_nothing_on_smol() {
    let server = server();
    smol::block_on(async {
        let (producer, driver) = milena::smol::Producer::new(config(&server, &LITTLE_MEMORY)).unwrap();
        smol::spawn(driver).detach();
        drop_at_every_poll(producer).await;
    });
}

#[test]
fn a_future_dropped_at_any_poll_hangs_nobody_and_leaks_nothing_on_async_std() {
    let server = server();
    async_std::task::block_on(async {
        let (producer, driver) = milena::smol::Producer::new(config(&server, &LITTLE_MEMORY)).unwrap();
        async_std::task::spawn(driver);
        drop_at_every_poll(producer).await;
    });
}

/// Sends until the producer is gone, and hands the acknowledgements to a thread of another world.
async fn send_until_gone<R: Runtime>(producer: Producer<R>, acks: mpsc::Sender<Ack>) {
    while let Ok(ack) = producer.enqueue(&Record::new("t").value("v")).await {
        if acks.send(ack).is_err() {
            return;
        }
    }
}

/// The runtime is gone: whatever was asked for before is answered, and so is whatever is asked for now.
fn all_return<R: Runtime>(producer: &Producer<R>, acks: &mpsc::Receiver<Ack>) {
    let (mut delivered, mut failed) = (0, 0);
    for ack in acks.try_iter() {
        match smol::block_on(ack) {
            Ok(_) => delivered += 1,
            Err(Error::NotDelivered(error)) => {
                assert_eq!(error.name(), "ABORTED");
                failed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{delivered} delivered, {failed} cut off");
    let stats = producer.stats();
    assert!(stats.records_accepted >= delivered + failed);
    assert_eq!(smol::block_on(producer.flush()), Ok(0));
    assert!(producer.try_enqueue(&Record::new("t").value("v")).is_err());
    assert!(smol::block_on(producer.close(Duration::ZERO)).is_ok());
}

const MOMENTS: [u64; 8] = [0, 1, 2, 3, 5, 8, 13, 30];

#[test]
fn tokio_shut_down_in_mid_flight_answers_everybody() {
    for millis in MOMENTS {
        let server = server();
        let (sender, acks) = mpsc::channel();
        let runtime = tokio_runtime();
        let producer = {
            let _inside = runtime.enter();
            milena::tokio::Producer::spawn(config(&server, &[])).unwrap()
        };
        for _ in 0..10 {
            runtime.spawn(send_until_gone(producer.clone(), sender.clone()));
        }
        std::thread::sleep(Duration::from_millis(millis));
        runtime.shutdown_timeout(Duration::from_secs(10));
        all_return(&producer, &acks);
    }
}

#[test]
fn smol_shut_down_in_mid_flight_answers_everybody() {
    for millis in MOMENTS {
        let server = server();
        let (sender, acks) = mpsc::channel();
        let executor = smol::Executor::new();
        let (producer, driver) = milena::smol::Producer::new(config(&server, &[])).unwrap();
        executor.spawn(driver).detach();
        for _ in 0..10 {
            executor.spawn(send_until_gone(producer.clone(), sender.clone())).detach();
        }
        smol::block_on(executor.run(smol::Timer::after(Duration::from_millis(millis))));
        drop(executor);
        all_return(&producer, &acks);
    }
}

#[test]
fn async_std_shut_down_in_mid_flight_answers_everybody() {
    for millis in MOMENTS {
        let server = server();
        let (sender, acks) = mpsc::channel();
        let (producer, driver) = milena::smol::Producer::new(config(&server, &[])).unwrap();
        async_std::task::block_on(async {
            // Its executor lives as long as the process; tasks can be cancelled.
            let driver = async_std::task::spawn(driver);
            let spawn = |_| async_std::task::spawn(send_until_gone(producer.clone(), sender.clone()));
            let tasks: Vec<_> = (0..10).map(spawn).collect();
            async_std::task::sleep(Duration::from_millis(millis)).await;
            driver.cancel().await;
            for task in tasks {
                task.await; // they hear of it
            }
        });
        all_return(&producer, &acks);
    }
}

#[test]
fn threads_closed_in_mid_flight_answer_everybody() {
    for millis in MOMENTS {
        let server = server();
        let producer = threads::Producer::new(config(&server, &[])).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                let producer = &producer;
                scope.spawn(move || {
                    while let Ok(ack) = producer.enqueue(&Record::new("t").value("v")) {
                        match ack.wait() {
                            Ok(_) => {}
                            Err(Error::NotDelivered(error)) => assert_eq!(error.name(), "ABORTED"),
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(millis));
            let _ = producer.close(Duration::ZERO); // in time or not: nobody is left behind
        });
        assert_eq!(producer.flush(), Ok(0));
    }
}
