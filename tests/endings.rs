//! How producers end: in time, with the right words, with a driver that is gone, was never polled, or panics.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;

use std::sync::Arc;
use std::time::Duration;

use hosts::{ADAPTERS, Adapter, PATIENCE, Producer, Tasks, each_adapter, guarded, now};
use milena::cluster::{Request, TestCluster};
use milena::{Config, Error, Record, SendError, Setup};

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

#[test]
fn closing_without_patience_is_fine_if_nothing_is_left() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, _: Tasks| {
            assert_eq!(producer.close(Duration::ZERO).await, Ok(0), "nothing was ever sent");
            assert_eq!(producer.close(Duration::ZERO).await, Ok(0), "it is closed");
        });
        adapter.run(config(&cluster, &[]), async |producer: Producer, _: Tasks| {
            producer.send(&Record::new("t").value("v")).await.unwrap();
            assert_eq!(producer.close(Duration::ZERO).await, Ok(0), "all is delivered");
        });
        adapter.run(config(&cluster, &[]), async |producer: Producer, _: Tasks| {
            producer.know("t").await;
            pause(&cluster);
            let ack = producer.enqueue(&Record::new("t").value("v")).await.unwrap();
            let closed = producer.close(Duration::ZERO).await;
            assert!(matches!(closed, Err(Error::Unfinished { failed: 1, .. })), "one record was left: {closed:?}");
            assert!(ack.outcome().await.is_err());
            resume(&cluster);
        });
    });
}

#[test]
fn close_counts_what_failed_while_it_waited() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[("linger.ms", "60000")]), async |producer: Producer, _: Tasks| {
            producer.know("t").await;
            cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 87, 1));
            for n in 0..10 {
                producer.enqueue(&Record::new("t").value("v").partition(n % 2)).await.unwrap();
            }
            assert_eq!(producer.close(Duration::from_secs(60)).await, Ok(5), "those of one partition");
        });
    });
}

/// One closes in a hurry and gives up what the other would have waited for: both say so.
#[test]
fn of_two_closers_the_patient_one_hears_too_that_records_were_given_up() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.know("t").await;
            pause(&cluster);
            let ack = producer.enqueue(&Record::new("t").value("v")).await.unwrap();
            let patient = producer.clone();
            let patient = tasks.spawn(async move { patient.close(Duration::from_secs(60)).await });
            tasks.sleep(Duration::from_millis(300)).await;
            let hasty = producer.close(Duration::from_millis(10)).await;
            assert!(matches!(hasty, Err(Error::Unfinished { failed: 1, .. })), "{hasty:?}");
            assert!(ack.outcome().await.is_err());
            let patient = patient.join().await;
            let unfinished = matches!(patient, Err(Error::Unfinished { failed: 1, .. }));
            assert!(unfinished, "{patient:?}: its record was given up");
        });
    });
}

/// The driver shares a task with what waits for it, or the `select!` that polled it is over.
#[test]
fn close_returns_in_time_although_nobody_polls_the_driver() {
    for left in [false, true] {
        let tokio = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let cluster = TestCluster::start().unwrap();
                let (producer, driver) = milena::tokio::Producer::new(config(&cluster, &[])).unwrap();
                let mut driver = Box::pin(driver);
                if left {
                    tokio::select! {
                        _ = producer.partitions_for("t") => {}
                        () = &mut driver => {}
                    }
                    producer.enqueue(&Record::new("t").value("v")).await.unwrap();
                }
                let closed = producer.close(Duration::from_millis(100)).await;
                let unfinished = matches!(closed, Err(Error::Unfinished { .. }));
                assert!(!left || unfinished, "{closed:?}: one record is left");
                drop(driver);
            });
        };
        guarded(PATIENCE, move || format!("tokio, a record left: {left}"), tokio);
        let smol = move || {
            smol::block_on(async {
                let cluster = TestCluster::start().unwrap();
                let (producer, driver) = milena::smol::Producer::new(config(&cluster, &[])).unwrap();
                let driver = smol::spawn(driver);
                if left {
                    producer.partitions_for("t").await.unwrap();
                    driver.cancel().await;
                    // Gone is not unpolled, and known at once.
                    producer.enqueue(&Record::new("t").value("v")).await.unwrap_err();
                    let _ = producer.close(Duration::from_millis(100)).await;
                } else {
                    drop(driver);
                    let _ = producer.close(Duration::from_millis(100)).await;
                }
            });
        };
        guarded(PATIENCE, move || format!("smol, the driver gone: {left}"), smol);
    }
}

#[test]
fn a_driver_that_nobody_polls_is_named() {
    guarded(
        PATIENCE,
        || "waiting for max.block.ms".into(),
        || {
            let cluster = TestCluster::start().unwrap();
            let options = [("max.block.ms", "300")];
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (enqueued, listed, known) = runtime.block_on(async {
                let (producer, _driver) = milena::tokio::Producer::new(config(&cluster, &options)).unwrap();
                let enqueued = producer.enqueue(&Record::new("t").value("v")).await.map(drop);
                let listed = producer.list_topics().await.map(drop);
                (enqueued, listed, producer.partitions_for("t").await.map(drop))
            });
            let smol = smol::block_on(async {
                let (producer, _driver) = milena::smol::Producer::new(config(&cluster, &options)).unwrap();
                producer.enqueue(&Record::new("t").value("v")).await.map(drop)
            });
            for error in [enqueued, listed, known, smol] {
                let words = error.unwrap_err().to_string();
                assert!(words.contains("driver"), "{words}");
            }
        },
    );
}

/// What is said of a producer whose driver is gone: not that somebody closed it.
fn says_that_it_is_gone(producer: &Producer) -> String {
    let error = producer.try_enqueue(&Record::new("t").value("v")).map(drop).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error:?}: nobody closed it");
    error.to_string()
}

#[test]
fn after_the_driver_was_dropped_sends_say_so() {
    each_adapter(|adapter, _| {
        if adapter == Adapter::Threads {
            return;
        }
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, tasks: Tasks| {
            producer.send(&Record::new("t").value("v")).await.unwrap();
            // One waits for a topic meanwhile, which will never be known.
            pause(&cluster);
            let waiting = producer.clone();
            let waiting = tasks.spawn(async move { waiting.enqueue(&Record::new("other").value("v")).await.map(drop) });
            tasks.sleep(Duration::from_millis(100)).await;
            tasks.drop_driver().await;
            let words = says_that_it_is_gone(&producer);
            assert!(words.contains("driver"), "{words}");
            let error = producer.send(&Record::new("t").value("v")).await.unwrap_err();
            assert!(matches!(error, Error::Gone { .. }), "{error:?}");
            let error = waiting.join().await.unwrap_err();
            assert!(matches!(error, Error::Gone { .. }), "{error:?}");
            assert_eq!(producer.flush().await, Ok(0));
            producer.close(Duration::from_secs(1)).await.unwrap();
        });
    });
}

#[test]
fn after_the_runtime_has_ended_sends_say_so() {
    guarded(
        PATIENCE,
        || "waiting".into(),
        || {
            let cluster = TestCluster::start().unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let producer = runtime.block_on(async {
                let producer = milena::tokio::Producer::spawn(config(&cluster, &[])).unwrap();
                producer.send(&Record::new("t").value("v")).await.unwrap();
                producer
            });
            runtime.shutdown_timeout(Duration::from_secs(10));
            says_that_it_is_gone(&Producer::Tokio(producer));
            let executor = smol::Executor::new();
            let (producer, driver) = milena::smol::Producer::new(config(&cluster, &[])).unwrap();
            executor.spawn(driver).detach();
            smol::block_on(executor.run(async { producer.send(&Record::new("t").value("v")).await.unwrap() }));
            drop(executor);
            says_that_it_is_gone(&Producer::Smol(producer));
        },
    );
}

/// Who closed a producer hears that it is closed, whatever became of the driver since.
#[test]
fn a_producer_that_was_closed_says_closed() {
    each_adapter(|adapter, _| {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[]), async |producer: Producer, tasks: Tasks| {
            producer.send(&Record::new("t").value("v")).await.unwrap();
            producer.close(Duration::from_secs(30)).await.unwrap();
            tasks.drop_driver().await;
            let error = producer.send(&Record::new("t").value("v")).await.unwrap_err();
            assert_eq!(error, Error::Send(SendError::Closed));
        });
    });
}

/// The application's own code in the driver: it may panic, and then everybody hears why.
#[derive(Debug)]
struct Clumsy;

impl rustls::client::danger::ServerCertVerifier for Clumsy {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        panic!("a clumsy verifier")
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("no certificate is believed")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("no certificate is believed")
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn a_panic_on_the_drivers_thread_is_told_to_senders() {
    each_adapter(|adapter, progress| {
        let cluster = TestCluster::builder().tls().start().unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().dangerous().with_custom_certificate_verifier(Arc::new(Clumsy));
        let tls = Arc::new(builder.with_no_client_auth());
        let setup = Setup::new(config(&cluster, &[("max.block.ms", "2000")])).tls(tls);
        adapter.run(setup, async |producer: Producer, _: Tasks| {
            progress.watch(&producer);
            let error = producer.send(&Record::new("t").value("v")).await.unwrap_err();
            assert!(error.to_string().contains("panicked"), "{error}");
            let error = producer.send(&Record::new("t").value("v")).await.unwrap_err();
            assert!(error.to_string().contains("panicked"), "{error}");
            progress.at("closing");
            producer.close(Duration::from_secs(1)).await.unwrap();
        });
    });
}

/// tokio's time may stand still, as tests like it: whoever sleeps is woken as soon as nobody has anything to do.
#[test]
fn a_paused_sleep_ends_beside_an_idle_driver() {
    guarded(
        PATIENCE,
        || "the sleep does not end".into(),
        || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let cluster = TestCluster::start().unwrap();
                let producer = milena::tokio::Producer::spawn(config(&cluster, &[])).unwrap();
                tokio::time::sleep(Duration::from_secs(600)).await;
                // It has connections and metadata to look after, but nothing to send.
                for n in 0..3 {
                    producer.send(&Record::new("t").value("v").partition(n)).await.unwrap();
                    tokio::time::sleep(Duration::from_secs(600)).await;
                }
                producer.close(Duration::from_secs(10)).await.unwrap();
                assert_eq!(cluster.records("t").len(), 3);
            });
        },
    );
}

#[tokio::test(start_paused = true)]
async fn sends_succeed_in_a_test_whose_time_is_paused() {
    let cluster = TestCluster::builder().nodes(3).start().unwrap();
    let producer = milena::tokio::Producer::spawn(config(&cluster, &[("linger.ms", "100")])).unwrap();
    let mut acks = Vec::new();
    for n in 0..100 {
        acks.push(producer.enqueue(&Record::new("t").value("v").partition(n % 4)).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    producer.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(cluster.records("t").len(), 100);
}

/// The last handle goes: what was taken still leaves, and the driver ends.
#[test]
fn without_handles_the_driver_ends_by_itself() {
    for adapter in ADAPTERS {
        let cluster = TestCluster::start().unwrap();
        adapter.run(config(&cluster, &[("linger.ms", "50")]), async |producer: Producer, tasks: Tasks| {
            producer.know("t").await;
            let ack = producer.enqueue(&Record::new("t").value("v")).await.unwrap();
            drop(producer);
            ack.outcome().await.unwrap();
            let began = now();
            while !tasks.driver_has_ended() {
                assert!(now() - began < Duration::from_secs(60), "{adapter:?}");
                tasks.sleep(Duration::from_millis(10)).await;
            }
        });
    }
}
