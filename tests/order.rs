//! In which order things become known: callbacks and interceptors first, then acknowledgements, `flush` and `close`, as with Java.
//! And who hears of a record that was cut short.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use hosts::{Producer, Tasks, each_adapter, poll_once};
use milena::cluster::{Request, TestCluster};
use milena::{Config, Delivered, Error, Interceptor, Record, RecordBuf, Setup, threads};

fn config(cluster: &TestCluster, more: &[(&str, &str)]) -> Config {
    let more = more.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Config::from_properties(cluster.properties().into_iter().chain(more)).expect("valid options")
}

/// No node does anything until [`resume`].
fn pause(cluster: &TestCluster) {
    cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
}

fn resume(cluster: &TestCluster) {
    cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
}

/// Counts calls, which may take their time.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn callback(&self, takes: Duration) -> impl FnOnce(Result<Delivered, Error>) + Send + 'static {
        let counter = self.clone();
        move |_| {
            if !takes.is_zero() {
                std::thread::sleep(takes);
            }
            counter.count();
        }
    }
}

/// Notes what it hears, after a while.
#[derive(Debug, Default)]
struct Listener {
    takes: Duration,
    sent: AtomicUsize,
    /// Partitions and offsets that were delivered.
    delivered: Mutex<Vec<(i32, i64)>>,
    failed: Mutex<Vec<Error>>,
}

impl Listener {
    fn slow() -> Arc<Self> {
        Arc::new(Self { takes: Duration::from_millis(1), ..Self::default() })
    }

    fn heard(&self) -> usize {
        self.delivered.lock().unwrap().len() + self.failed.lock().unwrap().len()
    }

    fn heard_of(&self, delivered: &Delivered) -> bool {
        self.delivered.lock().unwrap().contains(&(delivered.partition, delivered.offset.unwrap()))
    }
}

impl Interceptor for Listener {
    fn on_send(&self, _: &Record<'_>) -> Option<RecordBuf> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        None
    }

    fn on_acknowledgement(&self, outcome: &Result<Delivered, Error>) {
        std::thread::sleep(self.takes);
        match outcome {
            Ok(delivered) => {
                let offset = delivered.offset.unwrap_or(-1);
                self.delivered.lock().unwrap().push((delivered.partition, offset));
            }
            Err(error) => self.failed.lock().unwrap().push(error.clone()),
        }
    }
}

#[test]
fn flush_and_close_return_after_all_callbacks() {
    for (records, takes) in [(1000, Duration::ZERO), (200, Duration::from_millis(1))] {
        for close in [false, true] {
            each_adapter(move |adapter, progress| {
                let cluster = TestCluster::start().unwrap();
                adapter.run(config(&cluster, &[]), async |producer: Producer, _: Tasks| {
                    progress.watch(&producer);
                    let counter = Counter::default();
                    for n in 0..records {
                        let value = format!("{n}");
                        producer.send_with(&Record::new("t").value(&value), counter.callback(takes)).await.unwrap();
                    }
                    let failed = match close {
                        true => producer.close(Duration::from_secs(60)).await,
                        false => producer.flush().await,
                    };
                    assert_eq!((counter.get(), failed), (records, Ok(0)), "close: {close}, {takes:?} each");
                });
            });
        }
    }
}

/// Several flushes at once, each with records of its own before it.
#[test]
fn each_of_several_flushes_returns_after_the_callbacks_of_its_records() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            let mut flushers = Vec::new();
            for _ in 0..8 {
                let producer = producer.clone();
                flushers.push(tasks.spawn(async move {
                    for _ in 0..10 {
                        let counter = Counter::default();
                        for _ in 0..10 {
                            let callback = counter.callback(Duration::from_micros(100));
                            producer.send_with(&Record::new("t").value("v"), callback).await.unwrap();
                        }
                        producer.flush().await.unwrap();
                        assert_eq!(counter.get(), 10);
                    }
                }));
            }
            for flusher in flushers {
                flusher.join().await;
            }
        });
    });
}

#[test]
fn failures_are_told_to_callbacks_before_flush_counts_them() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[("linger.ms", "60000")]), async |producer: Producer, _: Tasks| {
            producer.know("t").await;
            cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 87, 1));
            let counter = Counter::default();
            for _ in 0..100 {
                let record = Record::new("t").value("v").partition(0);
                producer.send_with(&record, counter.callback(Duration::from_millis(1))).await.unwrap();
            }
            assert_eq!(producer.flush().await, Ok(100));
            assert_eq!(counter.get(), 100);
        });
    });
}

#[test]
fn interceptors_hear_of_a_record_before_its_sender_does() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        let listener = Listener::slow();
        let setup = Setup::new(config(&cluster, &[])).interceptor(Arc::<Listener>::clone(&listener));
        adapter.run(setup, async |producer: Producer, _: Tasks| {
            progress.watch(&producer);
            for _ in 0..20 {
                let delivered = producer.send(&Record::new("t").value("v")).await.unwrap();
                assert!(listener.heard_of(&delivered), "send returned first");
            }
            let mut acks = Vec::new();
            for _ in 0..200 {
                acks.push(producer.enqueue(&Record::new("t").value("v")).await.unwrap());
            }
            for ack in acks {
                let delivered = ack.outcome().await.unwrap();
                assert!(listener.heard_of(&delivered), "the acknowledgement was first");
            }
            for n in 0..50 {
                producer.enqueue(&Record::new("t").value(&format!("{n}"))).await.unwrap();
            }
            producer.flush().await.unwrap();
            assert_eq!(listener.heard(), 270, "flush returned first");
            for n in 0..50 {
                producer.enqueue(&Record::new("t").value(&format!("{n}"))).await.unwrap();
            }
            producer.close(Duration::from_secs(60)).await.unwrap();
            assert_eq!(listener.heard(), 320, "close returned first");
        });
    });
}

/// Java calls all callbacks of a batch before any of its futures is done.
#[test]
fn an_acknowledgement_comes_after_the_callbacks_of_earlier_records() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[("linger.ms", "50")]), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            let counter = Counter::default();
            let mut waiting = Vec::new();
            for n in 0..200 {
                let record = Record::new("t").value("v").partition(0);
                producer.send_with(&record, counter.callback(Duration::from_micros(200))).await.unwrap();
                let ack = producer.enqueue(&record).await.unwrap();
                let (counter, sleeper) = (counter.clone(), tasks.clone());
                // Who waits, and who only looks.
                waiting.push(tasks.spawn(async move {
                    while n % 10 == 0 && !ack.is_done() {
                        sleeper.sleep(Duration::from_millis(1)).await;
                    }
                    ack.outcome().await.unwrap();
                    assert!(counter.get() > n, "record {n} is acknowledged, {} callbacks were called", counter.get());
                }));
            }
            for waiting in waiting {
                waiting.join().await;
            }
        });
    });
}

/// The end of a producer in mid-flight: its driver is dropped, or `close` does not wait.
#[test]
fn at_the_end_every_callback_is_called_once_and_before_acknowledgements() {
    for close in [false, true] {
        each_adapter(move |adapter, progress| {
            if adapter == hosts::Adapter::Threads && !close {
                return; // its thread can't be dropped
            }
            let cluster = TestCluster::start().unwrap();
            let listener = Listener::slow();
            let setup = Setup::new(config(&cluster, &[])).interceptor(Arc::<Listener>::clone(&listener));
            adapter.run(setup, async |producer: Producer, tasks: Tasks| {
                progress.watch(&producer);
                producer.know("t").await;
                pause(&cluster);
                let calls = Arc::new(Mutex::new(BTreeMap::<usize, usize>::new()));
                let mut acks = Vec::new();
                for n in 0..300 {
                    let record = Record::new("t").value("v").partition((n % 4) as i32);
                    let calls = Arc::clone(&calls);
                    let note = move |outcome: Result<Delivered, Error>| {
                        assert!(outcome.is_err());
                        *calls.lock().unwrap().entry(n).or_default() += 1;
                    };
                    producer.send_with(&record, note).await.unwrap();
                    acks.push((n, producer.enqueue(&record).await.unwrap()));
                }
                let watched: Vec<_> = acks
                    .into_iter()
                    .map(|(n, ack)| {
                        let (calls, listener) = (Arc::clone(&calls), Arc::clone(&listener));
                        tasks.spawn(async move {
                            ack.outcome().await.unwrap_err();
                            let called = calls.lock().unwrap().get(&n).copied();
                            assert_eq!(called, Some(1), "the acknowledgement after record {n} was before its callback");
                            assert!(listener.heard() > 0);
                        })
                    })
                    .collect();
                progress.at("ending");
                match close {
                    true => drop(producer.close(Duration::ZERO).await),
                    false => tasks.drop_driver().await,
                }
                progress.at("ended, waiting for acknowledgements");
                for watched in watched {
                    watched.join().await;
                }
                let calls = calls.lock().unwrap();
                assert!(calls.len() == 300 && calls.values().all(|times| *times == 1), "{calls:?}");
                assert_eq!((listener.sent.load(Ordering::SeqCst), listener.heard()), (600, 600));
            });
        });
    }
}

/// Whatever becomes of a send's future, interceptors hear of each record twice: on its way in, and at its end.
#[test]
fn interceptors_hear_of_sends_that_are_dropped() {
    each_adapter(|adapter, progress| {
        if adapter == hosts::Adapter::Threads {
            return; // its calls can't be dropped
        }
        let cluster = TestCluster::start().unwrap();
        let listener = Arc::new(Listener::default());
        let options = [("buffer.memory", "20000"), ("batch.size", "4000")];
        let setup = Setup::new(config(&cluster, &options)).interceptor(Arc::<Listener>::clone(&listener));
        adapter.run(setup, async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            let value = "v".repeat(3000);
            let record = Record::new("t").value(&value);
            for polls in 0..10 {
                for _ in 0..10 {
                    // Some end while they wait for the topic or for memory, some for the delivery, some are never begun.
                    let mut send = pin!(producer.send(&record));
                    let mut with = pin!(producer.send_with(&record, |_| {}));
                    for _ in 0..polls {
                        if poll_once(&mut send).await.is_some() {
                            break;
                        }
                        if poll_once(&mut with).await.is_some() {
                            break;
                        }
                        tasks.sleep(Duration::from_millis(1)).await;
                    }
                }
            }
            producer.close(Duration::from_secs(60)).await.unwrap();
            let sent = listener.sent.load(Ordering::SeqCst);
            assert!(sent > 100, "{sent}");
            assert_eq!(listener.heard(), sent, "heard at the end, and on the way in");
        });
    });
}

/// Records that nobody takes while their senders give up: all of them are told, at once.
#[test]
fn interceptors_hear_of_sends_that_were_never_taken() {
    each_adapter(|adapter, _| {
        if adapter == hosts::Adapter::Threads {
            return;
        }
        let cluster = TestCluster::start().unwrap();
        pause(&cluster);
        let listener = Arc::new(Listener::default());
        let setup = Setup::new(config(&cluster, &[])).interceptor(Arc::<Listener>::clone(&listener));
        adapter.run(setup, async |producer: Producer, _: Tasks| {
            for n in 1..=10 {
                let record = Record::new("t").value("v");
                assert!(poll_once(&mut Box::pin(producer.send(&record))).await.is_none());
                assert_eq!((listener.sent.load(Ordering::SeqCst), listener.heard()), (n, n));
            }
            assert!(listener.failed.lock().unwrap().iter().all(|error| *error == Error::Cancelled));
        });
    });
}

/// Dead letters: what a callback can't do with its own producer it can do with another one.
#[test]
fn a_callback_may_wait_for_another_producer() {
    hosts::guarded(
        hosts::PATIENCE,
        || "waiting".into(),
        || {
            let (cluster, others) = (TestCluster::start().unwrap(), TestCluster::start().unwrap());
            let producer = threads::Producer::new(config(&cluster, &[])).unwrap();
            let letters = threads::Producer::new(config(&others, &[])).unwrap();
            let (tell, hear) = mpsc::channel();
            let (own, other) = (producer.clone(), letters.clone());
            let callback = move |_| {
                let record = Record::new("unknown-yet").value("v");
                let enqueued = other.enqueue(&Record::new("letters").value("v")).map(drop);
                let sent = other.send(&Record::new("more-letters").value("v")).map(drop);
                let known = other.partitions_for("even-more").map(drop);
                let listed = other.list_topics().map(drop);
                let flushed = other.flush().map(drop);
                let closed = other.close(Duration::from_secs(30)).is_ok();
                let own = (own.enqueue(&record).map(drop), own.send(&record).map(drop), own.flush().map(drop));
                tell.send(([enqueued, sent, known, listed, flushed], closed, own)).unwrap();
            };
            producer.send_with(&Record::new("t").value("v"), callback).unwrap();
            let (other, closed, own) = hear.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(other, [Ok(()), Ok(()), Ok(()), Ok(()), Ok(())]);
            assert!(closed);
            let refused = || Err(Error::InCallback);
            assert_eq!(own, (refused(), refused(), refused()));
            assert_eq!((others.records("letters").len(), others.records("more-letters").len()), (1, 1));
            // And on threads that only once were in a callback, everything is as ever.
            producer.send(&Record::new("u").value("v")).unwrap();
            producer.close(Duration::from_secs(30)).unwrap();
            let _ = letters;
        },
    );
}

/// A callback of a callback: the flag of the inner producer's thread is not the outer one's.
#[test]
fn a_callback_of_the_other_producer_may_wait_for_the_first() {
    hosts::guarded(
        hosts::PATIENCE,
        || "waiting".into(),
        || {
            let (cluster, others) = (TestCluster::start().unwrap(), TestCluster::start().unwrap());
            let first = threads::Producer::new(config(&cluster, &[])).unwrap();
            let second = threads::Producer::new(config(&others, &[])).unwrap();
            let (tell, hear) = mpsc::channel();
            let (inner, outer) = (first.clone(), second.clone());
            let callback = move |_| {
                let tell = tell.clone();
                let within = move |_| {
                    let refused = outer.enqueue(&Record::new("new-there").value("v")).map(drop);
                    let taken = inner.enqueue(&Record::new("new-here").value("v")).map(drop);
                    tell.send((refused, taken)).unwrap();
                };
                second.send_with(&Record::new("t").value("v"), within).unwrap();
            };
            first.send_with(&Record::new("t").value("v"), callback).unwrap();
            let (refused, taken) = hear.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!((refused, taken), (Err(Error::InCallback), Ok(())));
            resume(&cluster);
        },
    );
}
