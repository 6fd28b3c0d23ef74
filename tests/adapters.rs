//! Both adapters against the cluster in memory on loopback sockets, and against servers that are no Kafka.

#![cfg(all(feature = "cluster", feature = "threads", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use milena::cluster::{Request, Server, Settings};
use milena::{Config, Error, Record, SendError, threads};

fn server() -> Server {
    Server::start(Settings::default().nodes(3)).expect("loopback sockets")
}

fn config(servers: &str, more: &[(&str, &str)]) -> Config {
    let options = [("bootstrap.servers", servers)].into_iter().chain(more.iter().copied());
    Config::from_properties(options).expect("valid options")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn stored(server: &Server, topic: &str) -> i64 {
    server.with(|cluster, _| cluster.end_offsets(topic).iter().sum())
}

#[test]
fn threads_send_waits_for_the_offset() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    for offset in 0..3 {
        let delivered = producer.send(&Record::new("t").value("v").partition(1)).unwrap();
        assert_eq!((&*delivered.topic, delivered.partition, delivered.offset), ("t", 1, Some(offset)));
    }
    producer.close(Duration::from_secs(10)).unwrap();
    assert_eq!(stored(&server, "t"), 3);
}

#[test]
fn tokio_send_waits_for_the_offset() {
    let server = server();
    runtime().block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&server.bootstrap(), &[])).unwrap();
        for offset in 0..3 {
            let delivered = producer.send(&Record::new("t").value("v").partition(1)).await.unwrap();
            assert_eq!((&*delivered.topic, delivered.partition, delivered.offset), ("t", 1, Some(offset)));
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
    assert_eq!(stored(&server, "t"), 3);
}

#[test]
fn threads_many_senders_share_a_producer() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    std::thread::scope(|scope| {
        for sender in 0..20 {
            let producer = producer.clone();
            scope.spawn(move || {
                let key = format!("key-{sender}");
                let acks: Vec<_> =
                    (0..500).map(|_| producer.enqueue(&Record::new("t").key(&key).value("v")).unwrap()).collect();
                let offsets: Vec<_> = acks.iter().map(|ack| ack.wait().unwrap().offset.unwrap()).collect();
                assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "in the order of the sends");
            });
        }
    });
    producer.close(Duration::from_secs(10)).unwrap();
    assert_eq!(stored(&server, "t"), 10_000);
}

#[test]
fn tokio_many_tasks_share_a_producer() {
    let server = server();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&server.bootstrap(), &[])).unwrap();
        let mut tasks = Vec::new();
        for _ in 0..50 {
            let producer = producer.clone();
            tasks.push(tokio::spawn(async move {
                for _ in 0..100 {
                    producer.send(&Record::new("t").value("v")).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
    assert_eq!(stored(&server, "t"), 5000);
}

#[test]
fn threads_callbacks_come_in_order_and_a_panic_in_one_harms_nobody() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for n in 0..100 {
        let noted = Arc::clone(&seen);
        let call = move |result: Result<milena::Delivered, Error>| {
            noted.lock().unwrap().push((n, result.unwrap().offset.unwrap()));
            assert!(n != 50, "a callback panics");
        };
        producer.send_with(&Record::new("t").value("v").partition(0), call).unwrap();
    }
    assert_eq!(producer.flush().unwrap(), 0);
    producer.close(Duration::from_secs(10)).unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    assert_eq!(seen, (0..100).map(|n| (n, n)).collect::<Vec<_>>());
}

#[test]
fn threads_a_call_that_waits_is_refused_in_a_callback() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    let (said, heard) = mpsc::channel();
    let inner = producer.clone();
    let call = move |_| {
        let send = inner.send(&Record::new("t").value("v")).unwrap_err();
        let _ = said.send((inner.flush().unwrap_err(), send, inner.close(Duration::ZERO).unwrap_err()));
    };
    producer.send_with(&Record::new("t").value("v"), call).unwrap();
    let (flush, send, close) = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((flush, send, close), (Error::InCallback, Error::InCallback, Error::InCallback));
    producer.close(Duration::from_secs(10)).unwrap();
}

#[test]
fn threads_try_enqueue_never_waits() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    let first = producer.try_enqueue(&Record::new("t").value("v"));
    assert!(matches!(first, Err(Error::Send(SendError::NotReady { .. }))));
    producer.partitions_for("t").unwrap();
    producer.try_enqueue(&Record::new("t").value("v")).unwrap().wait().unwrap();
}

#[test]
fn send_all_keeps_the_order_on_both() {
    let server = server();
    let values: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let records = |topic: &'static str| values.iter().map(move |value| Record::new(topic).value(value).partition(2));
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    for (n, ack) in producer.send_all(records("a")).unwrap().iter().enumerate() {
        assert_eq!(ack.wait().unwrap().offset, Some(n as i64));
    }
    runtime().block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&server.bootstrap(), &[])).unwrap();
        for (n, ack) in producer.send_all(records("b")).await.unwrap().into_iter().enumerate() {
            assert_eq!(ack.await.unwrap().offset, Some(n as i64));
        }
    });
}

#[test]
fn senders_wait_for_memory_and_all_get_through() {
    let server = server();
    let options = [("buffer.memory", "65536"), ("batch.size", "2000")];
    let value = "x".repeat(1000);
    let producer = threads::Producer::new(config(&server.bootstrap(), &options)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    producer.enqueue(&Record::new("t").value(&value)).unwrap();
                }
            });
        }
    });
    producer.close(Duration::from_secs(20)).unwrap();
    assert_eq!(stored(&server, "t"), 4000);
    runtime().block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&server.bootstrap(), &options)).unwrap();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let send = async |producer: milena::tokio::Producer| {
                    for _ in 0..500 {
                        producer.enqueue(&Record::new("u").value(&"x".repeat(1000))).await.unwrap();
                    }
                };
                tokio::join!(send(producer.clone()), send(producer.clone()), send(producer.clone()));
            })
            .await;
        producer.close(Duration::from_secs(20)).await.unwrap();
    });
    assert_eq!(stored(&server, "u"), 1500);
}

#[test]
fn memory_that_stays_full_is_told_after_max_block() {
    let server = server();
    let options = [("buffer.memory", "20000"), ("max.block.ms", "200"), ("linger.ms", "0")];
    let producer = threads::Producer::new(config(&server.bootstrap(), &options)).unwrap();
    producer.partitions_for("t").unwrap();
    server.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
    let value = "x".repeat(1000);
    let error = (0..100).find_map(|_| producer.enqueue(&Record::new("t").value(&value)).err()).unwrap();
    assert!(matches!(error, Error::BufferFull { .. }), "{error}");
    assert!(matches!(producer.close(Duration::from_millis(100)), Err(Error::Unfinished { .. })));
}

#[test]
fn a_failed_record_says_why() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    producer.partitions_for("t").unwrap();
    server.with(|cluster, _| cluster.fail_next(Request::Produce, 87, 1));
    let error = producer.send(&Record::new("t").value("v")).unwrap_err();
    let Error::NotDelivered(error) = error else { panic!("{error}") };
    assert_eq!((error.name(), error.possibly_written), ("INVALID_RECORD", false));
    assert!(producer.send(&Record::new("t").value("v")).is_ok());
}

#[test]
fn flush_counts_failures() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[("linger.ms", "5000")])).unwrap();
    producer.partitions_for("t").unwrap();
    server.with(|cluster, _| cluster.fail_next(Request::Produce, 87, 1));
    for _ in 0..10 {
        producer.enqueue(&Record::new("t").value("v").partition(0)).unwrap();
    }
    assert_eq!(producer.flush().unwrap(), 10);
    assert_eq!(producer.flush().unwrap(), 0);
}

#[test]
fn after_close_every_call_says_so() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    producer.close(Duration::from_secs(10)).unwrap();
    producer.close(Duration::from_secs(10)).unwrap();
    assert_eq!(producer.send(&Record::new("t").value("v")), Err(Error::Send(SendError::Closed)));
    assert_eq!(producer.flush(), Ok(0));
}

#[test]
fn dropping_all_handles_sends_what_was_taken() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[("linger.ms", "100")])).unwrap();
    producer.partitions_for("t").unwrap();
    let acks: Vec<_> = (0..100).map(|_| producer.enqueue(&Record::new("t").value("v")).unwrap()).collect();
    drop(producer);
    for ack in acks {
        ack.wait().unwrap();
    }
}

#[test]
fn tokio_dropping_the_driver_resolves_every_ack() {
    let server = server();
    runtime().block_on(async {
        let (producer, driver) = milena::tokio::Producer::new(config(&server.bootstrap(), &[])).unwrap();
        let driver = tokio::spawn(driver);
        producer.partitions_for("t").await.unwrap();
        server.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
        let ack = producer.enqueue(&Record::new("t").value("v")).await.unwrap();
        driver.abort();
        let error = ack.await.unwrap_err();
        let Error::NotDelivered(error) = error else { panic!("{error}") };
        assert_eq!(error.name(), "ABORTED");
        assert!(producer.enqueue(&Record::new("t").value("v")).await.is_err());
        assert_eq!(producer.flush().await, Ok(0));
    });
}

#[test]
fn tokio_a_send_that_is_dropped_while_it_waits_sends_nothing_and_blocks_nobody() {
    let server = server();
    runtime().block_on(async {
        let options = [("buffer.memory", "20000"), ("linger.ms", "0")];
        let producer = milena::tokio::Producer::spawn(config(&server.bootstrap(), &options)).unwrap();
        producer.partitions_for("t").await.unwrap();
        server.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
        let value = "x".repeat(1000);
        let record = Record::new("t").value(&value);
        let mut taken = 0;
        while tokio::time::timeout(Duration::from_millis(100), producer.enqueue(&record)).await.is_ok() {
            taken += 1;
        }
        let waiting = producer.clone();
        let second = tokio::spawn(async move { waiting.enqueue(&Record::new("t").value("second")).await.map(drop) });
        let dropped = tokio::time::timeout(Duration::from_millis(100), producer.enqueue(&record)).await;
        assert!(dropped.is_err());
        server.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
        second.await.unwrap().unwrap();
        producer.close(Duration::from_secs(20)).await.unwrap();
        assert_eq!(stored(&server, "t"), taken + 1);
    });
}

#[test]
fn nodes_may_go_and_come_back() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[("linger.ms", "1")])).unwrap();
    let mut acks = Vec::new();
    for n in 0..300 {
        acks.push(producer.enqueue(&Record::new("t").key(&format!("{n}")).value("v")).unwrap());
        if n == 100 {
            server.with(|cluster, _| cluster.crash(2));
        }
        if n == 200 {
            server.with(|cluster, _| cluster.restart(2, false));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    for ack in acks {
        ack.wait().unwrap();
    }
    assert_eq!(stored(&server, "t"), 300);
}

/// A server that is no Kafka: answers whatever it is told to, on every connection. Counts connections.
fn no_kafka(says: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for socket in listener.incoming().take(500) {
            let Ok(mut socket) = socket else { return };
            counted.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 1000];
            let _ = socket.read(&mut request);
            let _ = socket.write_all(says);
            kept.push(socket);
        }
    });
    (address, count)
}

fn refusal(servers: &str) -> String {
    let options = [("max.block.ms", "1500"), ("socket.connection.setup.timeout.ms", "400")];
    let producer = threads::Producer::new(config(servers, &options)).unwrap();
    let error = producer.send(&Record::new("t").value("v")).unwrap_err();
    producer.close(Duration::from_secs(5)).unwrap();
    error.to_string()
}

#[test]
fn a_server_that_speaks_http_is_named() {
    let (address, count) = no_kafka(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let words = refusal(&address);
    assert!(words.contains("HTTP"), "{words}");
    assert!(count.load(Ordering::Relaxed) < 40, "no storm of attempts");
}

#[test]
fn a_silent_server_is_named() {
    let words = refusal(&no_kafka(b"").0);
    assert!(words.contains("socket.connection.setup.timeout.ms"), "{words}");
}

#[test]
fn a_server_that_speaks_garbage_is_named() {
    let words = refusal(&no_kafka(b"\x00\x00\x00\x06\x00\x00\x00\x00\xff\xff").0);
    assert!(words.contains("not a Kafka broker") || words.contains("ApiVersions was answered"), "{words}");
}

#[test]
fn a_frame_of_two_gigabytes_is_refused_at_once() {
    let words = refusal(&no_kafka(b"\x7f\xff\xff\xff\x00\x00\x00\x00").0);
    assert!(words.contains("2147483647"), "{words}");
}

#[test]
fn a_server_that_speaks_tls_is_named() {
    let words = refusal(&no_kafka(b"\x15\x03\x01\x00\x02\x02\x46").0);
    assert!(words.contains("TLS"), "{words}");
}

/// An address where nobody listens, and nobody else can while the socket is kept.
fn closed_port() -> (::tokio::net::TcpSocket, String) {
    let socket = ::tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[test]
fn an_unreachable_server_is_named() {
    let (_kept, closed) = closed_port();
    let words = refusal(&closed);
    assert!(words.contains(&closed) && words.contains("refused"), "{words}");
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let words = refusal("no-such-host.invalid:9092");
    assert!(words.contains("no-such-host.invalid") && words.contains("does not resolve"), "{words}");
}

#[test]
fn a_dead_bootstrap_server_is_passed_over() {
    let server = server();
    let (_kept, closed) = closed_port();
    for _ in 0..4 {
        let servers = format!("{closed},{}", server.bootstrap());
        let producer = threads::Producer::new(config(&servers, &[("max.block.ms", "5000")])).unwrap();
        producer.send(&Record::new("t").value("v")).unwrap();
    }
}

#[test]
fn tokio_an_unreachable_server_is_named() {
    let (_kept, closed) = closed_port();
    runtime().block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&closed, &[("max.block.ms", "500")])).unwrap();
        let words = producer.send(&Record::new("t").value("v")).await.unwrap_err().to_string();
        assert!(words.contains(&closed) && words.contains("refused"), "{words}");
        let words = producer.list_topics().await.unwrap_err().to_string();
        assert!(words.contains("no metadata"), "{words}");
    });
}

#[test]
fn what_two_adapters_say_of_a_topic_is_the_same() {
    let server = server();
    let producer = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    let threads = producer.partitions_for("t").unwrap();
    let tokio = runtime().block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&server.bootstrap(), &[])).unwrap();
        let partitions = producer.partitions_for("t").await.unwrap();
        let listed = producer.list_topics().await.unwrap();
        assert_eq!((listed.len(), &*listed[0].name, &listed[0].partitions), (1, "t", &partitions));
        partitions
    });
    assert_eq!(threads, tokio);
    assert_eq!(producer.list_topics().unwrap()[0].partitions, threads);
    assert_eq!((threads.len(), producer.brokers().len()), (4, 3));
}

#[test]
fn compression_runs_on_other_threads_in_every_adapter() {
    let server = server();
    let options = [("compression.type", "zstd"), ("compression.jobs", "2"), ("linger.ms", "1")];
    let value = "compress me ".repeat(50);
    let threads = threads::Producer::new(config(&server.bootstrap(), &options)).unwrap();
    for _ in 0..500 {
        threads.enqueue(&Record::new("t").value(&value)).unwrap();
    }
    threads.flush().unwrap();
    let tokio = runtime().block_on(async {
        let producer = milena::tokio::Producer::spawn(config(&server.bootstrap(), &options)).unwrap();
        for _ in 0..500 {
            producer.enqueue(&Record::new("t").value(&value)).await.unwrap();
        }
        producer.flush().await.unwrap();
        producer.stats()
    });
    for stats in [threads.stats(), tokio] {
        assert_eq!(stats.records_delivered, 500);
        assert!(stats.jobs > 0 && stats.batch_bytes_sent < 100_000, "{stats:?}");
    }
}

/// Adds a header, and counts what became of records.
#[derive(Debug, Default)]
struct Stamp {
    delivered: AtomicUsize,
    failed: AtomicUsize,
}

impl milena::Interceptor for Stamp {
    fn on_send(&self, record: &Record<'_>) -> Option<milena::RecordBuf> {
        let mut stamped = milena::RecordBuf::from(record);
        stamped.headers.push(("stamp".into(), Some(b"x".to_vec())));
        Some(stamped)
    }

    fn on_acknowledgement(&self, outcome: &Result<milena::Delivered, Error>) {
        let counter = if outcome.is_ok() { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Panics wherever it can.
#[derive(Debug)]
struct Clumsy;

impl milena::Interceptor for Clumsy {
    fn on_send(&self, _: &Record<'_>) -> Option<milena::RecordBuf> {
        panic!("on send")
    }

    fn on_acknowledgement(&self, _: &Result<milena::Delivered, Error>) {
        panic!("on acknowledgement")
    }
}

#[test]
fn interceptors_change_records_hear_of_outcomes_and_may_panic() {
    let server = server();
    let stamp = Arc::new(Stamp::default());
    let setup = || {
        let setup = milena::Setup::new(config(&server.bootstrap(), &[]));
        setup.interceptor(Arc::new(Clumsy)).interceptor(Arc::<Stamp>::clone(&stamp)).interceptor(Arc::new(Clumsy))
    };
    let record = Record::new("t").value("v").partition(0);
    let threads = threads::Producer::new(setup()).unwrap();
    threads.send(&record).unwrap();
    threads.try_enqueue(&record).unwrap().wait().unwrap();
    for ack in threads.send_all([record, record]).unwrap() {
        ack.wait().unwrap();
    }
    assert!(threads.send(&record.timestamp(-5)).is_err());
    threads.close(Duration::from_secs(10)).unwrap();
    runtime().block_on(async {
        let tokio = milena::tokio::Producer::spawn(setup()).unwrap();
        tokio.send(&record).await.unwrap();
        tokio.try_enqueue(&record).unwrap().await.unwrap();
        assert!(tokio.send(&record.timestamp(-5)).await.is_err());
        tokio.close(Duration::from_secs(10)).await.unwrap();
    });
    assert_eq!((stamp.delivered.load(Ordering::Relaxed), stamp.failed.load(Ordering::Relaxed)), (6, 2));
    for offset in 0..6 {
        let stored = server.with(|cluster, _| cluster.record("t", 0, offset)).unwrap();
        assert_eq!(stored.headers.len(), 1, "each has its stamp");
    }
}

#[test]
fn typed_producers_write_javas_bytes_over_every_adapter() {
    use milena::serializer::{IntegerSerializer, StringSerializer};
    let server = server();
    let threads = threads::Producer::new(config(&server.bootstrap(), &[])).unwrap();
    let typed = milena::Typed::new(threads, StringSerializer, IntegerSerializer);
    typed.send("t", "k", &7).unwrap();
    typed.send("t", "k", &None::<i32>).unwrap();
    assert_eq!(typed.flush().unwrap(), 0, "none has failed");
    let partition = runtime().block_on(async {
        let tokio = milena::tokio::Producer::spawn(config(&server.bootstrap(), &[])).unwrap();
        let typed = milena::Typed::new(tokio, StringSerializer, IntegerSerializer);
        typed.send("t", "k", &-1).await.unwrap().partition
    });
    let value = |offset| server.with(|cluster, _| cluster.record("t", partition, offset)).unwrap().value;
    assert_eq!(value(0).as_deref(), Some(&[0, 0, 0, 7][..]));
    assert_eq!(value(1), None, "a tombstone");
    assert_eq!(value(2).as_deref(), Some(&[0xff, 0xff, 0xff, 0xff][..]));
}

#[test]
fn a_partition_that_is_not_there_is_named() {
    let server = server();
    server.with(|cluster, _| cluster.create_topic("three", 3));
    let producer = threads::Producer::new(config(&server.bootstrap(), &[("max.block.ms", "300")])).unwrap();
    assert_eq!(producer.partitions_for("three").unwrap().len(), 3);
    assert_eq!(producer.enqueue(&Record::new("three").partition(2)).unwrap().partition(), 2);
    let words = producer.enqueue(&Record::new("three").partition(9)).map(drop).unwrap_err().to_string();
    assert!(words.contains("it has 3 partitions"), "{words}");
}

#[test]
fn threads_are_not_told_to_poll_anything() {
    let server = server();
    for _ in 0..20 {
        let producer = threads::Producer::new(config(&server.bootstrap(), &[("max.block.ms", "0")])).unwrap();
        let words = producer.enqueue(&Record::new("t").value("v")).map(drop).unwrap_err().to_string();
        assert!(!words.contains("driver"), "{words}");
    }
}
