//! What the examples do when things go wrong: they are copied.

#![cfg(all(feature = "cluster", feature = "threads", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

#[allow(dead_code, reason = "an example's own main")]
#[path = "../examples/service.rs"]
mod service_example;
#[allow(dead_code, reason = "an example's own main")]
#[path = "../examples/tail.rs"]
mod tail_example;

use std::time::Duration;

use milena::Config;
use milena::cluster::TestCluster;

mod service {
    use milena::cluster::{Mischief, ProduceAttempt, Request, Settings, Verdict};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::service_example as example;
    use super::*;

    struct Service {
        address: std::net::SocketAddr,
        stop: oneshot::Sender<()>,
        run: JoinHandle<()>,
    }

    impl Service {
        async fn start(cluster: &TestCluster) -> Self {
            let producer = example::spawn(cluster.properties()).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel();
            let run = tokio::spawn(async move {
                example::run(listener, producer, async move { stopped.await.unwrap() }).await.unwrap();
            });
            Self { address, stop, run }
        }

        async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
            read(self.client(method, path, body).await).await
        }

        /// A client that has sent its request.
        async fn client(&self, method: &str, path: &str, body: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let length = body.len();
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            // It may have answered before it has read all.
            let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
            stream
        }

        /// Until `/health` says so: the words with it.
        async fn until(&self, code: u16) -> String {
            let said = async {
                loop {
                    let (said, words) = self.ask("GET", "/health", "").await;
                    if said == code {
                        return words;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), said).await.unwrap()
        }

        async fn stop(self) {
            self.stop.send(()).unwrap();
            self.run.await.unwrap();
        }
    }

    async fn read(mut stream: TcpStream) -> (u16, String) {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statuses_say_whose_fault_it_is() {
        let cluster = TestCluster::start().unwrap();
        cluster.with(|cluster, _| cluster.set_forbidden("forbidden", true));
        let service = Service::start(&cluster).await;
        let (code, words) = service.ask("POST", "/t", "3 apples").await;
        assert_eq!(code, 202, "{words}");
        assert!(words.starts_with("partition ") && words.contains(", offset 0"), "{words}");
        let large = "x".repeat(1 << 20);
        for (path, body, expected) in
            [("/forbidden", "x", 403), ("/a%20b", "x", 400), ("/t", &*large, 413), ("/a/b", "x", 404)]
        {
            assert_eq!(service.ask("POST", path, body).await.0, expected, "{path}");
        }
        assert_eq!(cluster.records("t")[0].1.value.as_deref(), Some(&b"3 apples"[..]));
        service.stop().await;
    }

    /// Kafka does what it is asked to, and says that it did not.
    #[derive(Debug)]
    struct Doubtful;

    impl Mischief for Doubtful {
        fn produce(&mut self, attempt: &ProduceAttempt<'_>) -> Verdict {
            const INVALID_RECORD: i16 = 87;
            const REQUEST_TIMED_OUT: i16 = 7;
            if attempt.topic == "invalid" {
                Verdict::Refuse(INVALID_RECORD)
            } else {
                Verdict::ApplyThen(REQUEST_TIMED_OUT)
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statuses_say_whether_it_may_be_in_kafka_and_why() {
        let cluster = TestCluster::start().unwrap();
        cluster.with(|cluster, _| cluster.set_mischief(Box::new(Doubtful)));
        let service = Service::start(&cluster).await;
        let (code, words) = service.ask("POST", "/t", "x").await;
        assert_eq!(code, 504, "{words}");
        assert!(words.starts_with("topic t, partition ") && words.contains("REQUEST_TIMED_OUT"), "{words}");
        assert_eq!(service.ask("POST", "/invalid", "x").await.0, 400);
        cluster.stop();
        let (code, words) = service.ask("POST", "/t", "x").await;
        assert_eq!(code, 503, "{words}");
        assert!(words.contains("can't connect") && words.contains(", for "), "{words}");
        service.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn health_is_red_while_records_do_not_get_through_and_green_again_by_itself() {
        let cluster = TestCluster::start().unwrap();
        let service = Service::start(&cluster).await;
        assert_eq!(service.ask("POST", "/t", "x").await.0, 202);
        service.until(200).await;
        // Too few replicas, which only records tell.
        cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 19, 5));
        let waiting = service.client("POST", "/t", "x").await;
        let words = service.until(503).await;
        assert!(words.contains("answers NOT_ENOUGH_REPLICAS"), "{words}");
        service.until(200).await;
        assert_eq!(read(waiting).await.0, 202);
        // Brokers that stand still, and none at all, without a record.
        cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
        service.until(503).await;
        cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
        service.until(200).await;
        cluster.stop();
        let words = service.until(503).await;
        assert!(words.contains("127.0.0.1:"), "{words}");
        cluster.start_again().unwrap();
        service.until(200).await;
        service.stop().await;
    }

    /// Longer than the service waits, with which it has to be red a second after something went wrong.
    const A_SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(flavor = "multi_thread")]
    async fn health_is_red_within_a_second_whatever_is_wrong() {
        let settings = Settings::default().nodes(3).replication_factor(3).min_insync_replicas(2);
        let cluster = TestCluster::builder().settings(settings).start().unwrap();
        cluster.with(|cluster, _| cluster.create_topic("t", 1));
        let service = Service::start(&cluster).await;
        assert_eq!(service.ask("POST", "/t", "x").await.0, 202);
        service.until(200).await;
        let nodes = cluster.with(|cluster, _| cluster.nodes());
        let leader = cluster.with(|cluster, _| cluster.leader("t", 0).unwrap());

        // Two of three replicas are gone: the leader refuses, and only who has sent knows.
        let followers = nodes.iter().filter(|node| **node != leader);
        cluster.with(|cluster, _| followers.clone().for_each(|node| cluster.crash(*node)));
        let waiting = service.client("POST", "/t", "x").await;
        tokio::time::sleep(A_SECOND).await;
        let (code, words) = service.ask("GET", "/health", "").await;
        assert!(code == 503 && words.contains("NOT_ENOUGH_REPLICAS"), "{code} {words}");
        cluster.with(|cluster, _| followers.for_each(|node| cluster.restart(*node, false)));
        assert_eq!(read(waiting).await.0, 202);
        service.until(200).await;

        // All stand still, with a record on its way.
        cluster.with(|cluster, _| nodes.iter().for_each(|node| cluster.pause(*node)));
        let waiting = service.client("POST", "/t", "x").await;
        tokio::time::sleep(A_SECOND).await;
        assert_eq!(service.ask("GET", "/health", "").await.0, 503);
        cluster.with(|cluster, now| nodes.iter().for_each(|node| cluster.resume(now, *node)));
        assert_eq!(read(waiting).await.0, 202);
        service.until(200).await;

        // Connections are refused, with a record that waits and without one.
        cluster.stop();
        let waiting = service.client("POST", "/t", "x").await;
        tokio::time::sleep(A_SECOND).await;
        let (code, words) = service.ask("GET", "/health", "").await;
        assert!(code == 503 && words.contains("127.0.0.1:"), "{code} {words}");
        cluster.start_again().unwrap();
        assert_eq!(read(waiting).await.0, 202);
        service.until(200).await;
        cluster.stop();
        tokio::time::sleep(A_SECOND).await;
        assert_eq!(service.ask("GET", "/health", "").await.0, 503);
        cluster.start_again().unwrap();
        service.until(200).await;
        assert_eq!(cluster.records("t").len(), 4);

        // One of three that stands still is no reason to be red for longer than one ping takes.
        for node in nodes {
            cluster.with(|cluster, _| cluster.pause(node));
            let mut red = Vec::new();
            loop {
                let (code, words) = service.ask("GET", "/health", "").await;
                if code == 200 {
                    break;
                }
                red.push(words);
            }
            assert!(red.len() <= 1, "node {node}: {red:?}");
            cluster.with(|cluster, now| cluster.resume(now, node));
            service.until(200).await;
        }
        service.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn metrics_are_those_of_the_producer() {
        let cluster = TestCluster::start().unwrap();
        let service = Service::start(&cluster).await;
        for _ in 0..3 {
            assert_eq!(service.ask("POST", "/orders", "x").await.0, 202);
        }
        let (code, text) = service.ask("GET", "/metrics", "").await;
        assert_eq!(code, 200);
        let delivered =
            |line: &&str| line.starts_with("kafka_producer_topic_record_delivered_total{") && line.ends_with(" 3");
        // For tests/prometheus, which has others read it.
        std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/metrics.txt"), &text).unwrap();
        assert!(text.lines().any(|line| delivered(&line) && line.contains("topic=\"orders\"")), "{text}");
        service.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_in_flight_is_answered_before_the_end() {
        let cluster = TestCluster::start().unwrap();
        let service = Service::start(&cluster).await;
        assert_eq!(service.ask("POST", "/t", "x").await.0, 202);
        cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
        let client = service.client("POST", "/t", "y").await;
        let address = service.address;
        tokio::time::sleep(Duration::from_millis(100)).await; // so that it was accepted
        let stopping = tokio::spawn(service.stop());
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!stopping.is_finished(), "it waits for the answer");
        cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
        assert_eq!(read(client).await.0, 202);
        stopping.await.unwrap();
        assert_eq!(cluster.records("t").len(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn at_sigterm_all_that_is_in_flight_is_answered() {
        let cluster = TestCluster::start().unwrap();
        let producer = example::spawn(cluster.properties()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Service {
            address: listener.local_addr().unwrap(),
            stop: oneshot::channel().0,
            run: tokio::spawn(async move {
                example::run(listener, producer, example::asked_to_stop()).await.unwrap();
            }),
        };
        // Whoever is served knows that signals are listened for.
        assert_eq!(service.ask("POST", "/t", "x").await.0, 202);
        cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(service.client("POST", "/t", "x").await);
        }
        let open = |text: &str| {
            text.lines().any(|line| line.starts_with("kafka_producer_records_open{") && line.ends_with(" 5"))
        };
        while !open(&service.ask("GET", "/metrics", "").await.1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let id = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        while TcpStream::connect(service.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!service.run.is_finished(), "it waits for the answers");
        cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
        for client in waiting {
            assert_eq!(read(client).await.0, 202);
        }
        service.run.await.unwrap();
        assert_eq!(cluster.records("t").len(), 6);
    }
}

mod tail {
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    use milena::threads::Producer;

    use super::*;

    /// A file of a test, deleted in the end.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, content: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("milena-tail-{name}-{}", std::process::id()));
            std::fs::write(&path, content).unwrap();
            Self(path)
        }

        fn append(&self, content: &[u8]) {
            std::fs::OpenOptions::new().append(true).open(&self.0).unwrap().write_all(content).unwrap();
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Follows a file while `change` changes it, which is told when a number of lines was sent. Returns the lines sent.
    fn followed(file: &File, lines: u64, change: impl FnOnce(&dyn Fn(u64))) -> Vec<Vec<u8>> {
        let cluster = TestCluster::start().unwrap();
        cluster.with(|cluster, _| cluster.create_topic("lines", 1));
        let producer = Producer::new(Config::from_properties(cluster.properties()).unwrap()).unwrap();
        let records = || cluster.records("lines");
        let in_vain = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let follow = scope.spawn(|| {
                tail_example::follow(&file.0, "lines", &producer, |sent| {
                    sent == lines || in_vain.load(Ordering::Relaxed)
                })
                .map_err(|error| error.to_string())
            });
            change(&|count| {
                for _ in 0..1000 {
                    if records().len() as u64 >= count {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                in_vain.store(true, Ordering::Relaxed);
            });
            for _ in 0..1000 {
                if follow.is_finished() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            in_vain.store(true, Ordering::Relaxed);
            assert_eq!(follow.join().unwrap(), Ok((lines, 0)));
        });
        records().into_iter().map(|(_, record)| record.value.unwrap().to_vec()).collect()
    }

    #[test]
    fn a_line_is_what_stands_in_the_file() {
        let file = File::new("bytes", b" one  \n\ttwo\r\n\n\xff\xfe\nhal");
        let lines = followed(&file, 5, |wait| {
            wait(4);
            file.append(b"f \n");
        });
        assert_eq!(lines, [&b" one  "[..], b"\ttwo\r", b"", b"\xff\xfe", b"half "]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_replaced_is_read_to_its_end_and_the_new_one_from_its_beginning() {
        let file = File::new("rotated", b"one\n");
        let old = File(file.0.with_extension("1"));
        let lines = followed(&file, 5, |wait| {
            wait(1);
            std::fs::rename(&file.0, &old.0).unwrap();
            old.append(b"two\n"); // a program writes on where it wrote
            wait(2);
            old.append(b"three\nno end");
            std::fs::write(&file.0, b"five\n").unwrap();
        });
        assert_eq!(lines, [&b"one"[..], b"two", b"three", b"no end", b"five"]);
    }

    #[test]
    fn a_file_that_is_cut_off_is_read_from_its_beginning() {
        let file = File::new("cut", b"one\ntwo\nthr");
        let lines = followed(&file, 3, |wait| {
            wait(2);
            std::fs::write(&file.0, b"1\n").unwrap();
        });
        assert_eq!(lines, [&b"one"[..], b"two", b"1"]);
    }
}
