//! Whoever waits for memory, for an iterator or for an acknowledgement holds up nobody else.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use hosts::{Adapter, PATIENCE, Producer, Tasks, each_adapter, guarded, now, poll_once};
use milena::cluster::TestCluster;
use milena::{Config, Error, Record, RecordBuf, SendError, Setup, TrySendError};

/// Memory for a handful of records of 3,000 bytes.
const LITTLE: [(&str, &str); 3] = [("buffer.memory", "20000"), ("batch.size", "4000"), ("linger.ms", "0")];

fn config(cluster: &TestCluster, more: &[(&str, &str)]) -> Config {
    let more = more.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Config::from_properties(cluster.properties().into_iter().chain(more)).expect("valid options")
}

fn pause(cluster: &TestCluster) {
    cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
}

fn resume(cluster: &TestCluster) {
    cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
}

fn value(n: usize) -> String {
    format!("{n:03000}")
}

/// Takes records until there is no memory for another one, with the cluster paused.
async fn fill(producer: &Producer, cluster: &TestCluster) -> usize {
    producer.know("t").await;
    pause(cluster);
    let value = value(0);
    let record = Record::new("t").value(&value).partition(0);
    let mut taken = 0;
    let refusal = loop {
        match producer.try_enqueue(&record) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    // A batch's first chunk is as large as the last batch was: one record may have all there is.
    assert!(taken > 0, "{refusal}");
    taken
}

/// Waits until everything that was taken is delivered: all memory is free again.
async fn empty(producer: &Producer, tasks: &Tasks) {
    let began = now();
    while producer.stats().records_delivered < producer.stats().records_accepted {
        assert!(now() - began < Duration::from_secs(60), "{:?}", producer.stats());
        tasks.sleep(Duration::from_millis(5)).await;
    }
}

/// What a future gives within a time that is far below `max.block.ms`.
async fn soon<T>(tasks: &Tasks, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut sleep) = (pin!(future), pin!(tasks.sleep(Duration::from_secs(20))));
    std::future::poll_fn(|context| {
        use std::task::Poll::{Pending, Ready};
        match future.as_mut().poll(context) {
            Ready(result) => Ready(Some(result)),
            Pending => sleep.as_mut().poll(context).map(|()| None),
        }
    })
    .await
}

/// A send that waits, and is never polled again unless the test does.
type Parked<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

fn words(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// All kinds of sends.
fn park<'a>(producer: &'a Producer, kind: usize, record: &'a Record<'a>) -> Parked<'a> {
    match (kind % 4, producer) {
        (0, _) => Box::pin(async move { producer.enqueue(record).await.map(drop).map_err(words) }),
        (1, _) => Box::pin(async move { producer.send(record).await.map(drop).map_err(words) }),
        (2, _) => Box::pin(async move { producer.send_with(record, |_| {}).await.map_err(words) }),
        (_, Producer::Tokio(producer)) => {
            Box::pin(async move { producer.send_all([*record, *record]).await.map(drop).map_err(words) })
        }
        (_, Producer::Smol(producer)) => {
            Box::pin(async move { producer.send_all([*record, *record]).await.map(drop).map_err(words) })
        }
        (_, Producer::Threads(_)) => unreachable!("calls of threads can't be parked"),
    }
}

/// The first in the queue for memory is not polled any more, as in a `select!` whose other arm goes on: with all memory free,
/// everybody else sends as ever.
#[test]
fn a_send_that_is_parked_holds_up_nobody() {
    for parked in [1, 50] {
        each_adapter(move |adapter, progress| {
            if adapter == Adapter::Threads {
                return;
            }
            let cluster = TestCluster::start().unwrap();
            adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
                progress.watch(&producer);
                for kind in 0..4 {
                    progress.at(format!("{parked} parked, kind {kind}"));
                    fill(&producer, &cluster).await;
                    let value = value(1);
                    let record = Record::new("t").value(&value).partition(1);
                    let mut waiting: Vec<_> = (0..parked).map(|n| park(&producer, kind + n, &record)).collect();
                    for parked in &mut waiting {
                        assert!(poll_once(parked).await.is_none());
                    }
                    resume(&cluster);
                    empty(&producer, &tasks).await;
                    // All memory is free, and those who were first do not come.
                    let others: Vec<_> = (0..20)
                        .map(|n| {
                            let producer = producer.clone();
                            tasks.spawn(
                                async move { producer.send(&Record::new("t").value("v").partition(n % 4)).await },
                            )
                        })
                        .collect();
                    for other in others {
                        let sent = soon(&tasks, other.join()).await;
                        assert!(matches!(sent, Some(Ok(_))), "{sent:?} with {parked} parked, kind {kind}");
                    }
                    let tried = producer.try_enqueue(&Record::new("t").value("v").partition(2)).map(drop);
                    assert_eq!(tried, Ok(()), "with {parked} parked, kind {kind}");
                    // Those who waited get through when they come back, or leave no trace if they don't.
                    for (n, mut waited) in waiting.into_iter().enumerate() {
                        if n % 2 == 0 {
                            let sent = soon(&tasks, &mut waited).await;
                            assert_eq!(sent, Some(Ok(())));
                        }
                    }
                    producer.flush().await.unwrap();
                }
                progress.at("closing");
                producer.close(Duration::from_secs(60)).await.unwrap();
            });
        });
    }
}

/// The bytes that a refused record needs.
fn needed(error: &Error) -> usize {
    let Error::Send(SendError::BufferFull { needed }) = error else { panic!("{error:?}") };
    *needed
}

#[test]
fn what_can_not_be_taken_at_once_gives_its_callback_back() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            let (told, heard) = mpsc::channel();
            let value = value(1);
            let record = Record::new("t").value(&value).partition(0);
            let callback =
                move |outcome: Result<milena::Delivered, Error>| told.send(outcome.map(|at| at.offset)).unwrap();
            let TrySendError { error, callback, .. } = producer.try_send_with(&record, callback).unwrap_err();
            assert!(matches!(error, Error::Send(SendError::NotReady { .. })), "{error:?}");
            let taken = fill(&producer, &cluster).await;
            let TrySendError { error, callback, .. } = producer.try_send_with(&record, callback).unwrap_err();
            assert!(needed(&error) > 0, "{error:?}");
            resume(&cluster);
            empty(&producer, &tasks).await;
            producer.try_send_with(&record, callback).unwrap();
            assert_eq!(producer.flush().await, Ok(0));
            assert_eq!(
                heard.try_iter().collect::<Vec<_>>(),
                [Ok(Some(taken as i64))],
                "once, of the one that was taken"
            );
            let owned = producer.send_owned(RecordBuf::new("t").value("v").partition(0)).await.unwrap();
            assert_eq!(owned.offset, Some(taken as i64 + 1));
        });
    });
}

#[test]
fn room_is_waited_for_and_nothing_else() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            let moment = Duration::from_millis(50);
            assert_eq!(
                producer.wait_writable(3000, Duration::ZERO).await,
                Ok(()),
                "no topic is known, but there is room"
            );
            fill(&producer, &cluster).await;
            let value = value(1);
            let record = Record::new("t").value(&value).partition(0);
            let needs = needed(&producer.try_enqueue(&record).map(drop).unwrap_err());
            let waited = producer.wait_writable(needs, moment).await;
            assert!(matches!(waited, Err(Error::BufferFull { after, .. }) if after == moment), "{waited:?}");
            let own = producer.clone();
            let waiting = tasks.spawn(async move { own.wait_writable(needs, Duration::from_secs(60)).await });
            tasks.sleep(moment).await;
            resume(&cluster);
            assert_eq!(waiting.join().await, Ok(()));
            empty(&producer, &tasks).await;
            assert_eq!(producer.wait_writable(usize::MAX, Duration::from_secs(60)).await, Ok(()), "all memory is free");
            assert_eq!(producer.try_enqueue(&record).map(drop), Ok(()));
            producer.close(Duration::from_secs(60)).await.unwrap();
            assert_eq!(
                producer.wait_writable(1, Duration::ZERO).await,
                Ok(()),
                "the next attempt says that it is closed"
            );
            assert_eq!(producer.try_enqueue(&record).map(drop), Err(Error::Send(SendError::Closed)));
        });
    });
}

/// Others take whatever memory comes back, as fast as they can, and wait for more in line.
#[test]
fn who_waits_for_room_and_tries_is_not_overtaken_for_ever() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            fill(&producer, &cluster).await;
            let done = Arc::new(AtomicUsize::new(0));
            let greedy: Vec<_> = (0..3)
                .map(|_| {
                    let (producer, done, value) = (producer.clone(), Arc::clone(&done), value(2));
                    tasks.spawn(async move {
                        while done.load(Ordering::Relaxed) == 0 {
                            producer.enqueue(&Record::new("t").value(&value).partition(1)).await.unwrap();
                        }
                    })
                })
                .collect();
            let own = producer.clone();
            let polite = tasks.spawn(async move {
                let (value, mut sent, mut waits) = (value(3), 0, 0);
                while sent < 30 {
                    match own.try_enqueue(&Record::new("t").value(&value).partition(2)) {
                        Ok(_) => sent += 1,
                        Err(error) => {
                            own.wait_writable(needed(&error), Duration::from_secs(60)).await.unwrap();
                            waits += 1;
                        }
                    }
                }
                waits
            });
            resume(&cluster);
            let waits = polite.join().await;
            assert!(waits > 0, "there was room all the time");
            done.store(1, Ordering::Relaxed);
            for greedy in greedy {
                greedy.join().await;
            }
            assert_eq!(producer.close(Duration::from_secs(60)).await, Ok(0));
        });
    });
}

/// The same in the words of a program: one arm of a `select!` ends, and what it led to sends as well.
#[test]
fn a_select_whose_other_arm_sends_goes_on() {
    guarded(
        PATIENCE,
        || "waiting".into(),
        || {
            let cluster = TestCluster::start().unwrap();
            Adapter::TokioOne.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
                fill(&producer, &cluster).await;
                let value = value(1);
                let record = Record::new("t").value(&value);
                let mut first = pin!(producer.enqueue(&record));
                tokio::select! {
                    _ = &mut first => panic!("there is no memory"),
                    () = tasks.sleep(Duration::from_millis(50)) => {
                        resume(&cluster);
                        let second = soon(&tasks, producer.enqueue(&record)).await;
                        assert!(matches!(second, Some(Ok(_))), "{second:?}");
                    }
                }
                first.await.unwrap();
            });
        },
    );
}

/// `try_enqueue` alone, with nobody else waiting.
#[test]
fn beside_a_parked_send_a_try_succeeds() {
    each_adapter(|adapter, _| {
        if adapter == Adapter::Threads {
            return;
        }
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            fill(&producer, &cluster).await;
            let value = value(1);
            let record = Record::new("t").value(&value);
            let mut parked = Box::pin(producer.enqueue(&record));
            assert!(poll_once(&mut parked).await.is_none());
            resume(&cluster);
            empty(&producer, &tasks).await;
            let (began, mut tries) = (now(), 0);
            while let Err(error) = producer.try_enqueue(&record) {
                tries += 1;
                assert!(now() - began < Duration::from_secs(20), "{error} after {tries} tries");
                tasks.sleep(Duration::from_millis(10)).await;
            }
            drop(parked);
        });
    });
}

/// Parked sends that are dropped leave their place to those behind them, who are polled and need all the memory there is.
#[test]
fn parked_sends_that_are_dropped_free_their_place() {
    each_adapter(|adapter, progress| {
        if adapter == Adapter::Threads {
            return;
        }
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            for drop_first in [true, false] {
                fill(&producer, &cluster).await;
                let value = value(1);
                let record = Record::new("t").value(&value).partition(1);
                let mut parked: Vec<_> = (0..20).map(|kind| park(&producer, kind, &record)).collect();
                for parked in &mut parked {
                    assert!(poll_once(parked).await.is_none());
                }
                let behind: Vec<_> = (0..10)
                    .map(|_| {
                        let (producer, value) = (producer.clone(), value.clone());
                        tasks.spawn(async move { producer.send(&Record::new("t").value(&value)).await.map(drop) })
                    })
                    .collect();
                tasks.sleep(Duration::from_millis(50)).await;
                if drop_first {
                    parked.clear();
                }
                resume(&cluster);
                if !drop_first {
                    tasks.sleep(Duration::from_millis(20)).await;
                    parked.clear();
                }
                for behind in behind {
                    let sent = soon(&tasks, behind.join()).await;
                    assert_eq!(sent, Some(Ok(())), "dropped before the memory came back: {drop_first}");
                }
            }
            producer.close(Duration::from_secs(60)).await.unwrap();
        });
    });
}

/// While memory is scarce, parked sends do not keep the others from sharing it.
#[test]
fn beside_parked_sends_a_crowd_gets_through() {
    each_adapter(|adapter, progress| {
        if adapter == Adapter::Threads {
            return;
        }
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            fill(&producer, &cluster).await;
            let value = value(1);
            let record = Record::new("t").value(&value).partition(1);
            let mut parked: Vec<_> = (0..20).map(|kind| park(&producer, kind, &record)).collect();
            for parked in &mut parked {
                assert!(poll_once(parked).await.is_none());
            }
            resume(&cluster);
            let crowd: Vec<_> = (0..8)
                .map(|_| {
                    let (producer, value) = (producer.clone(), value.clone());
                    tasks.spawn(async move {
                        for _ in 0..25 {
                            producer.enqueue(&Record::new("t").value(&value)).await?;
                        }
                        Ok::<(), Error>(())
                    })
                })
                .collect();
            for one in crowd {
                assert_eq!(one.join().await, Ok(()));
            }
            drop(parked);
        });
    });
}

/// Those who wait for memory get it in the order in which they came.
#[test]
fn memory_is_given_in_the_order_of_arrival() {
    for adapter in [Adapter::TokioOne, Adapter::Smol] {
        guarded(
            PATIENCE,
            move || format!("{adapter:?}"),
            move || {
                let cluster = TestCluster::start().unwrap();
                adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
                    let taken = fill(&producer, &cluster).await;
                    let mut waiting = Vec::new();
                    for n in 0..30 {
                        let producer = producer.clone();
                        waiting.push(tasks.spawn(async move {
                            let value = value(1000 + n);
                            producer.send(&Record::new("t").value(&value).partition(0)).await.map(drop)
                        }));
                        tasks.sleep(Duration::from_millis(1)).await;
                    }
                    resume(&cluster);
                    for one in waiting {
                        one.join().await.unwrap();
                    }
                    let arrived: Vec<_> = cluster.records("t").into_iter().skip(taken).collect();
                    assert_eq!(arrived.len(), 30);
                    for (n, (_, record)) in arrived.into_iter().enumerate() {
                        let expected = value(1000 + n);
                        assert!(record.value.as_deref() == Some(expected.as_bytes()), "{adapter:?}: not {n} at {n}");
                    }
                });
            },
        );
    }
}

/// What would be refused anyway does not wait for memory that there never is, before others.
#[test]
fn a_record_that_is_too_large_holds_up_nobody() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            fill(&producer, &cluster).await;
            let sender = |n| {
                let producer = producer.clone();
                tasks.spawn(
                    async move { producer.send(&Record::new("t").value(&value(n)).partition(0)).await.map(drop) },
                )
            };
            let first = sender(1);
            tasks.sleep(Duration::from_millis(50)).await;
            let record = Record::new("t").value(LARGER).partition(0);
            let is_refused = |outcome: Result<(), Error>| {
                assert!(matches!(outcome, Err(Error::Send(SendError::TooLarge { .. }))), "{outcome:?}");
            };
            is_refused(producer.try_enqueue(&record).map(drop));
            is_refused(soon(&tasks, producer.enqueue(&record)).await.expect("at once").map(drop));
            let all = soon(&tasks, send_all(&producer, std::iter::once(Record::new("t").value(LARGER)))).await;
            is_refused(all.expect("at once").map(drop));
            let second = sender(2);
            resume(&cluster);
            assert_eq!((first.join().await, second.join().await), (Ok(()), Ok(())));
        });
    });
}

/// More than all memory of [`LITTLE`].
const LARGER: &[u8] = &[b'v'; 30_000];

/// Nobody starves: sixty-four senders share 200 kB, and each gets about as much through as the others.
#[test]
fn sixty_four_senders_share_little_memory_fairly() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::builder().delay(Duration::from_millis(2)).start().unwrap();
        let options = [("buffer.memory", "200000"), ("linger.ms", "0")];
        adapter.run(config(&cluster, &options), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            let until = now() + Duration::from_secs(4);
            let senders: Vec<_> = (0..64)
                .map(|n| {
                    let (producer, tasks) = (producer.clone(), tasks.clone());
                    tasks.clone().spawn(async move {
                        let (value, mut sent) = (value(n), 0_usize);
                        while now() < until {
                            producer.enqueue(&Record::new("t").value(&value)).await.unwrap();
                            sent += 1;
                            if sent % 64 == 0 {
                                tasks.sleep(Duration::from_millis(1)).await; // others of the runtime have their turn
                            }
                        }
                        sent
                    })
                })
                .collect();
            let mut sent = Vec::new();
            for sender in senders {
                sent.push(sender.join().await);
            }
            producer.close(Duration::from_secs(60)).await.unwrap();
            let (least, most) = (*sent.iter().min().unwrap(), *sent.iter().max().unwrap());
            let all: usize = sent.iter().sum();
            println!("{adapter:?}: {all} sent, {least} to {most} each");
            assert!(least > 0 && most <= least * 10 + 50, "{adapter:?}: from {least} to {most} of {all}: {sent:?}");
            assert_eq!(cluster.with(|cluster, _| cluster.counters().records), all as u64);
        });
    });
}

async fn send_all(producer: &Producer, records: impl Iterator<Item = Record<'static>>) -> Result<usize, Error> {
    producer.send_all(records).await.map(|acks| acks.len()).map_err(|(_, error)| error)
}

/// An iterator may take its time: meanwhile others send, and their records are delivered.
#[test]
fn a_slow_iterator_holds_up_nobody() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, _: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            let (inside, entered) = mpsc::channel();
            let (go, wait) = mpsc::channel::<()>();
            let other = producer.clone();
            // Sends while the iterator is at work, on a thread of its own: no runtime may be in the way.
            let others = std::thread::spawn(move || {
                while entered.recv().is_ok() {
                    other.stats();
                    other.try_enqueue(&Record::new("t").value("other")).unwrap();
                    if go.send(()).is_err() {
                        return;
                    }
                }
            });
            let records = (0..5).map(move |_| {
                inside.send(()).unwrap();
                let others = wait.recv_timeout(Duration::from_secs(30));
                assert!(others.is_ok(), "nobody else can send while the iterator is at work");
                Record::new("t").value("mine")
            });
            assert_eq!(send_all(&producer, records).await, Ok(5));
            others.join().unwrap();
            producer.close(Duration::from_secs(60)).await.unwrap();
            assert_eq!(cluster.records("t").len(), 10);
        });
    });
}

/// On the I/O thread, too, work goes on: what was enqueued before is delivered while the iterator waits for that.
#[test]
fn records_are_delivered_while_an_iterator_is_at_work() {
    guarded(
        PATIENCE,
        || "waiting for a delivery".into(),
        || {
            let cluster = TestCluster::start().unwrap();
            let producer = milena::threads::Producer::new(config(&cluster, &[])).unwrap();
            producer.partitions_for("t").unwrap();
            let other = producer.clone();
            let records = (0..3).map(|_| {
                other.send(&Record::new("t").value("other")).unwrap();
                Record::new("t").value("mine")
            });
            assert_eq!(producer.send_all(records).unwrap().len(), 3);
            producer.close(Duration::from_secs(60)).unwrap();
            assert_eq!(cluster.records("t").len(), 6);
        },
    );
}

#[test]
fn an_iterator_may_look_at_the_producer() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, _: Tasks| {
            progress.at("in an iterator that looks at the producer");
            producer.know("t").await;
            let other = producer.clone();
            let records = (0..600).map(move |_| {
                assert!(other.stats().records_accepted < 10_000);
                other.try_enqueue(&Record::new("t").value("other")).unwrap();
                Record::new("t").value("mine")
            });
            assert_eq!(send_all(&producer, records).await, Ok(600));
            producer.close(Duration::from_secs(60)).await.unwrap();
            assert_eq!(cluster.records("t").len(), 1200);
        });
    });
}

/// An iterator panics while the call waits for memory: the panic is its caller's, and nobody else's.
#[test]
fn an_iterator_that_panics_leaves_nobody_stuck() {
    static VALUE: [u8; 3000] = [b'v'; 3000];
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        let options = [LITTLE.as_slice(), &[("max.block.ms", "10000")]].concat();
        adapter.run(config(&cluster, &options), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            for good in [0, 1, 2, 20] {
                progress.at(format!("an iterator that panics after {good} records"));
                fill(&producer, &cluster).await;
                let mine = producer.clone();
                let mut given = 0;
                let records = std::iter::from_fn(move || {
                    given += 1;
                    assert!(given <= good, "a clumsy iterator");
                    Some(Record::new("t").value(&VALUE))
                });
                let call = tasks.spawn(async move {
                    let mut call = Box::pin(send_all(&mine, records));
                    std::future::poll_fn(move |context| {
                        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)));
                        match polled {
                            Err(_) => std::task::Poll::Ready(true),
                            Ok(polled) => polled.map(|_| false),
                        }
                    })
                    .await
                });
                tasks.sleep(Duration::from_millis(200)).await;
                resume(&cluster);
                assert!(call.join().await, "the caller gets its panic");
                empty(&producer, &tasks).await;
                for n in 0..20 {
                    let sent = producer.enqueue(&Record::new("t").value(&VALUE).partition(n % 4)).await.map(drop);
                    assert_eq!(sent, Ok(()), "with all memory free, after {good} records and a panic");
                }
                producer.flush().await.unwrap();
            }
        });
    });
}

/// What an iterator says of its length is no order of memory: it may have no end before the first error.
#[test]
fn an_iterator_may_promise_more_than_there_is_memory() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, _: Tasks| {
            let records = (0..).map(|n| match n {
                100 => Record::new("t").value("v").timestamp(-5), // refused
                _ => Record::new("t").value("v"),
            });
            let (accepted, _) = producer.send_all(records).await.unwrap_err();
            assert_eq!(accepted.len(), 100);
            for ack in accepted {
                ack.outcome().await.unwrap();
            }
            producer.close(Duration::from_secs(60)).await.unwrap();
            assert_eq!(cluster.records("t").len(), 100);
        });
    });
}

/// Passes everything on.
#[derive(Debug)]
struct Idle;

impl milena::Interceptor for Idle {}

/// Whoever sends many and meets an error learns what became of those that were taken, so that the others can be sent again.
#[test]
fn what_was_taken_before_an_error_is_handed_back() {
    for intercepted in [false, true] {
        each_adapter(move |adapter, _| {
            let cluster = TestCluster::start().unwrap();
            let options = [LITTLE.as_slice(), &[("max.block.ms", "300"), ("max.request.size", "8000")]].concat();
            let mut setup = Setup::new(config(&cluster, &options));
            if intercepted {
                setup = setup.interceptor(Arc::new(Idle));
            }
            adapter.run(setup, async |producer: Producer, tasks: Tasks| {
                let (small, large) = (value(1), "v".repeat(9000));
                let record = Record::new("t").partition(0);
                let records = [record.value(&small), record.value(&large), record.value(&small)];
                let (accepted, error) = producer.send_all(records).await.unwrap_err();
                assert!(matches!(error, Error::Send(SendError::TooLarge { .. })), "{error:?}");
                let [first] = <[hosts::Ack; 1]>::try_from(accepted).unwrap();
                assert_eq!(first.outcome().await.unwrap().offset, Some(0));
                // Memory is used up in the middle, and stays so.
                fill(&producer, &cluster).await;
                resume(&cluster);
                empty(&producer, &tasks).await;
                pause(&cluster);
                let (accepted, error) = producer.send_all([record.value(&small); 50]).await.unwrap_err();
                assert!(matches!(error, Error::BufferFull { .. }), "{error:?}");
                assert!((1..50).contains(&accepted.len()), "{}", accepted.len());
                resume(&cluster);
                for ack in accepted {
                    ack.outcome().await.unwrap();
                }
                assert_eq!(producer.close(Duration::from_secs(60)).await, Ok(0));
                let stats = producer.stats();
                assert_eq!(stats.records_accepted, stats.records_delivered);
            });
        });
    }
}

/// The caller's own list has what was taken, whatever ends the call.
#[test]
fn what_was_taken_before_a_call_is_dropped_stays_with_the_caller() {
    fn check<R: milena::task::Runtime>(producer: &milena::task::Producer<R>) -> Vec<milena::task::Ack> {
        let small = value(1);
        let (mut acks, record) = (Vec::new(), Record::new("t").value(&small).partition(0));
        {
            let mut call = pin!(producer.send_all_into([record; 50], &mut acks));
            let context = &mut Context::from_waker(Waker::noop());
            assert!(call.as_mut().poll(context).is_pending(), "memory is used up in the middle");
        }
        assert!((1..50).contains(&acks.len()), "{}", acks.len());
        acks
    }
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &LITTLE), async |producer: Producer, tasks: Tasks| {
            producer.know("t").await;
            pause(&cluster);
            let acks = match &producer {
                Producer::Tokio(producer) => check(producer),
                Producer::Smol(producer) => check(producer),
                Producer::Threads(producer) => {
                    resume(&cluster);
                    let (mut acks, record) = (Vec::new(), Record::new("t").value("v"));
                    let result = producer.send_all_into([record, record.timestamp(-5), record], &mut acks);
                    assert!(result.is_err());
                    assert_eq!(acks.len(), 1);
                    acks[0].wait().unwrap();
                    producer.send_all_into([record, record], &mut acks).unwrap();
                    assert_eq!(acks.len(), 3, "added to what is there");
                    return;
                }
            };
            let taken = producer.stats().records_accepted;
            assert_eq!(taken, acks.len() as u64);
            tasks.sleep(Duration::from_millis(20)).await;
            resume(&cluster);
            for ack in acks {
                ack.await.unwrap();
            }
            producer.close(Duration::from_secs(60)).await.unwrap();
            assert_eq!(cluster.records("t").len() as u64, taken, "and no more of the call that was dropped");
        });
    });
}

/// Counts how often it wakes, and how many own it.
#[derive(Debug, Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One batch that stays open, with acknowledgements of this many of its records.
async fn one_batch(producer: &Producer, records: usize) -> Vec<milena::task::Ack> {
    producer.know("t").await;
    let mut acks = Vec::new();
    for _ in 0..records {
        match producer.try_enqueue(&Record::new("t").partition(0)) {
            Ok(hosts::Ack::Task(ack)) => acks.push(ack),
            other => panic!("{other:?}"),
        }
    }
    acks
}

/// Batches of a hundred thousand records.
const HUGE: [(&str, &str); 4] = [
    ("batch.size", "8000000"),
    ("batch.size.max", "8000000"),
    ("max.request.size", "9000000"),
    ("linger.ms", "600000"),
];

fn huge_batches() -> TestCluster {
    let settings = milena::cluster::Settings::default().max_message_bytes(10_000_000);
    TestCluster::builder().settings(settings).start().unwrap()
}

/// Each acknowledgement of a batch costs the same to wait for, however many there are.
#[test]
fn waiting_for_all_records_of_a_batch_is_linear() {
    for adapter in [Adapter::TokioOne, Adapter::Smol] {
        let run = move || {
            let cluster = huge_batches();
            adapter.run(config(&cluster, &HUGE), async |producer: Producer, _: Tasks| {
                let mut best = [Duration::MAX; 2];
                // 32 is linear, 1,024 is quadratic.
                let is_linear = |best: &[Duration; 2]| best[1] < best[0] * 200;
                // The best of a few runs, and of more where other programs are in the way.
                for round in 0..30 {
                    if round >= 3 && is_linear(&best) {
                        break;
                    }
                    for (best, records) in best.iter_mut().zip([2_000, 64_000]) {
                        let mut acks = one_batch(&producer, records).await;
                        let waker = Waker::from(Arc::new(CountingWaker::default()));
                        let began = now();
                        for ack in &mut acks {
                            assert!(Pin::new(ack).poll(&mut Context::from_waker(&waker)).is_pending());
                        }
                        *best = (*best).min(now() - began);
                        producer.flush().await.unwrap();
                        for ack in acks {
                            ack.await.unwrap();
                        }
                    }
                }
                println!("{adapter:?}: {best:?} for 2,000 and 64,000");
                assert!(is_linear(&best), "{adapter:?}: {best:?} for 2,000 and 64,000");
            });
        };
        guarded(PATIENCE, move || format!("{adapter:?}"), run);
    }
}

#[test]
fn an_acknowledgement_that_is_dropped_drops_its_waker() {
    for adapter in [Adapter::TokioOne, Adapter::Smol] {
        let cluster = huge_batches();
        adapter.run(config(&cluster, &HUGE), async |producer: Producer, _: Tasks| {
            let mut acks = one_batch(&producer, 100).await;
            let counting = Arc::new(CountingWaker::default());
            let waker = Waker::from(Arc::clone(&counting));
            for _ in 0..3 {
                for ack in &mut acks {
                    assert!(Pin::new(ack).poll(&mut Context::from_waker(&waker)).is_pending());
                }
            }
            assert!(Arc::strong_count(&counting) <= 102, "one a record, however often it is polled");
            // Another task goes on with some: the first one's waker is not kept.
            let other = Arc::new(CountingWaker::default());
            let others = Waker::from(Arc::clone(&other));
            for ack in &mut acks[..10] {
                assert!(Pin::new(ack).poll(&mut Context::from_waker(&others)).is_pending());
            }
            assert_eq!((Arc::strong_count(&counting), Arc::strong_count(&other)), (92, 12), "{adapter:?}");
            acks.truncate(10);
            assert_eq!(Arc::strong_count(&counting), 2, "{adapter:?}: of dropped acknowledgements wakers are left");
            acks.truncate(4);
            assert_eq!(Arc::strong_count(&other), 6, "{adapter:?}");
            producer.flush().await.unwrap();
            assert_eq!(counting.0.load(Ordering::SeqCst), 0);
            assert!(other.0.load(Ordering::SeqCst) > 0, "once is enough for one task");
            for ack in acks {
                ack.await.unwrap();
            }
            assert_eq!(Arc::strong_count(&other), 2);
        });
    }
}

/// Dropped by many tasks at once, while the batch ends.
#[test]
fn acknowledgements_may_be_dropped_while_their_batch_ends() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[("linger.ms", "1")]), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            let senders: Vec<_> = (0..20)
                .map(|sender| {
                    let producer = producer.clone();
                    tasks.spawn(async move {
                        for n in 0..100 {
                            let ack = producer.enqueue(&Record::new("t").value("v").partition(n % 4)).await.unwrap();
                            match (ack, sender % 2) {
                                (ack, 0) => drop(ack.outcome().await.unwrap()),
                                (hosts::Ack::Task(ack), _) => drop(poll_once(&mut Box::pin(ack)).await),
                                (ack, _) => drop(ack),
                            }
                        }
                    })
                })
                .collect();
            for sender in senders {
                sender.join().await;
            }
            producer.close(Duration::from_secs(60)).await.unwrap();
            assert_eq!(cluster.records("t").len(), 2000);
        });
    });
}
