//! What the examples do when things go wrong: they are copied.

#![cfg(all(feature = "cluster", feature = "threads", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

#[allow(dead_code, reason = "an example's own main")]
#[path = "../examples/http.rs"]
mod http_example;
#[allow(dead_code, reason = "an example's own main")]
#[path = "../examples/tail.rs"]
mod tail_example;

use std::time::Duration;

use milena::Config;
use milena::cluster::TestCluster;

mod http {
    use milena::cluster::{Mischief, ProduceAttempt, Verdict};
    use milena::tokio::Producer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::http_example as example;
    use super::*;

    struct Service {
        address: std::net::SocketAddr,
        stop: oneshot::Sender<()>,
        run: JoinHandle<()>,
    }

    impl Service {
        async fn start(producer: Producer) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel();
            let run = tokio::spawn(async move {
                let stop = async move {
                    stopped.await.unwrap();
                    Ok(())
                };
                example::run(listener, producer, stop).await.unwrap();
            });
            Self { address, stop, run }
        }

        /// A client that has sent something.
        async fn client(&self, request: impl AsRef<[u8]>) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // The service may have answered before it has read all.
            let _ = stream.write_all(request.as_ref()).await;
            stream
        }

        /// What is answered, up to the end of the connection.
        async fn answer(&self, request: impl AsRef<[u8]>) -> String {
            read(self.client(request).await).await
        }

        async fn stop(self) {
            self.stop.send(()).unwrap();
            self.run.await.unwrap();
        }
    }

    async fn read(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn config(cluster: &TestCluster, more: &[(&str, &str)]) -> Config {
        let more = more.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Config::from_properties(cluster.properties().into_iter().chain(more)).unwrap()
    }

    async fn service(cluster: &TestCluster) -> Service {
        Service::start(
            Producer::spawn(config(cluster, &[("delivery.timeout.ms", "3000"), ("request.timeout.ms", "1000")]))
                .unwrap(),
        )
        .await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_is_what_was_sent_whatever_the_head_has() {
        let cluster = TestCluster::start().unwrap();
        let service = service(&cluster).await;
        let requests: [&[u8]; 4] = [
            b"POST /t HTTP/1.1\r\nX-Name: \xff\xfe\xfd\r\nContent-Length: 5\r\n\r\n\xffbody",
            b"POST /t HTTP/1.1\r\ncontent-LENGTH:  5 \r\nContent-Length: 5\r\n\r\nbody2 and more",
            b"POST /t HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            b"POST /t HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        ];
        for request in requests {
            let answer = service.answer(request).await;
            assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        }
        let mut values: Vec<_> = cluster.records("t").into_iter().map(|(_, record)| record.value.unwrap()).collect();
        values.sort();
        assert_eq!(values, [&b""[..], b"\r\n\r\n", b"body2", b"\xffbody"]);
        service.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statuses_say_whose_fault_it_is() {
        let cluster = TestCluster::start().unwrap();
        cluster.with(|cluster, _| cluster.set_forbidden("forbidden", true));
        let service = service(&cluster).await;
        let large = format!("POST /t HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n{}", "x".repeat(1 << 20));
        let head = format!("POST /t HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10_000));
        for (request, status) in [
            ("GET /t HTTP/1.1\r\n\r\n", "405"),
            ("\r\n\r\n", "405"),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "404"),
            ("POST t HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "404"),
            ("POST /t HTTP/1.1\r\n\r\n", "411"),
            ("POST /t HTTP/1.1\r\nnonsense\r\n\r\n", "400"),
            ("POST /t HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", "400"),
            ("POST /t HTTP/1.1\r\nContent-Length:\r\n\r\nx", "400"),
            ("POST /t HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "400"),
            ("POST /t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"),
            ("POST /t HTTP/1.1\r\nContent-Length: 1048577\r\n\r\nx", "413"),
            ("POST /t HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\nx", "413"),
            (&large, "413"), // Kafka's limit: the producer says so
            (&head, "431"),
            ("POST /a%20b HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "400"),
            ("POST /forbidden HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "403"),
            ("POST /t HTTP/1.1\r\n", "408"),
            ("POST /t HTTP/1.1\r\nContent-Length: 2\r\n\r\nx", "408"),
        ] {
            let answer = service.answer(request).await;
            let short = request.get(..80).unwrap_or(request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{short}: {answer}");
        }
        assert_eq!(cluster.records("t").len(), 0);
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
    async fn statuses_say_whether_it_may_be_in_kafka() {
        let cluster = TestCluster::start().unwrap();
        cluster.with(|cluster, _| cluster.set_mischief(Box::new(Doubtful)));
        let one = service(&cluster).await;
        let answer = one.answer("POST /t HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        let answer = one.answer("POST /invalid HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").await;
        assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
        one.stop().await;
        // Nobody is there.
        cluster.with(|cluster, _| cluster.pause(1));
        let other = Service::start(Producer::spawn(config(&cluster, &[("max.block.ms", "300")])).unwrap()).await;
        let answer = other.answer("POST /t HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        other.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_hangs_up_is_forgotten() {
        let cluster = TestCluster::start().unwrap();
        let producer = Producer::spawn(config(&cluster, &[])).unwrap();
        for request in ["", "POST /t HTTP/1.1\r\n", "POST /t HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            drop(client);
            // By itself, not by the time that clients have.
            let served = tokio::time::timeout(Duration::from_secs(4), example::serve(accepted, producer.clone())).await;
            assert!(served.is_ok(), "{request:?}");
        }
        assert_eq!(cluster.records("t").len(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_in_flight_is_answered_before_the_end() {
        let cluster = TestCluster::start().unwrap();
        let service = service(&cluster).await;
        assert!(service.answer("POST /t HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").await.starts_with("HTTP/1.1 202 "));
        cluster.with(|cluster, _| cluster.pause(1));
        let client = service.client("POST /t HTTP/1.1\r\nContent-Length: 1\r\n\r\ny").await;
        let address = service.address;
        tokio::time::sleep(Duration::from_millis(100)).await; // so that it was accepted
        let stopping = tokio::spawn(service.stop());
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!stopping.is_finished(), "it waits for the answer");
        cluster.with(|cluster, now| cluster.resume(now, 1));
        let answer = read(client).await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        stopping.await.unwrap();
        assert_eq!(cluster.records("t").len(), 2);
    }

    #[cfg(unix)]
    #[tokio::test(flavor = "multi_thread")]
    async fn sigterm_stops_it() {
        let cluster = TestCluster::start().unwrap();
        let producer = Producer::spawn(config(&cluster, &[])).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Service {
            address: listener.local_addr().unwrap(),
            stop: oneshot::channel().0,
            run: tokio::spawn(async move {
                example::run(listener, producer, example::asked_to_stop()).await.unwrap();
            }),
        };
        // Whoever is served knows that signals are listened for.
        assert!(service.answer("POST /t HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").await.starts_with("HTTP/1.1 202 "));
        let id = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        service.run.await.unwrap();
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
