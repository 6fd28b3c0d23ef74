//! Another stack: the machine that the tests run on, by tokio, at a cluster on real sockets. Nothing of embassy-net is needed for that.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use embedded_io_adapters::tokio_1::FromTokio;
use milena_embedded::milena::cluster::TestCluster;
use milena_embedded::milena::{Config, Instant, Record};
use milena_embedded::{Clock, Connector, Failure, Socket};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

struct TokioTime(tokio::time::Instant);

impl Clock for TokioTime {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.elapsed().as_nanos() as u64)
    }

    async fn wait_until(&self, at: Instant) {
        tokio::time::sleep_until(self.0 + std::time::Duration::from_nanos(at.as_nanos())).await;
    }
}

struct Tokio;

struct Stream(TcpStream);

impl Connector for Tokio {
    type Socket<'s> = Stream;

    async fn connect(&mut self, host: &str, port: u16, _attempt: u32) -> Result<Stream, Failure> {
        TcpStream::connect((host, port)).await.map(Stream).map_err(|error| Failure::Connect(error.to_string()))
    }
}

impl Socket for Stream {
    type Reader<'h> = FromTokio<ReadHalf<'h>>;
    type Writer<'h> = FromTokio<WriteHalf<'h>>;

    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        let (reader, writer) = self.0.split();
        (FromTokio::new(reader), FromTokio::new(writer))
    }

    async fn close(&mut self) {
        let _ = self.0.shutdown().await;
    }
}

#[test]
fn records_arrive_over_the_sockets_of_this_machine() {
    let cluster = TestCluster::builder().nodes(3).user("alice", "secret").start().expect("sockets");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = Config::from_properties(cluster.properties()).expect("valid options");
        let (producer, runner) = milena_embedded::new(TokioTime(tokio::time::Instant::now()), None, config, [5; 32]);
        let sending = async {
            for n in 0..20 {
                let key = format!("key {n}");
                producer.send(&Record::new("orders").key(&key).value("v")).await.expect("it is delivered");
            }
            producer.close(std::time::Duration::from_secs(10)).await.expect("nothing is left");
        };
        embassy_futures::join::join(runner.run([Tokio, Tokio]), sending).await;
    });
    assert_eq!(cluster.records("orders").len(), 20);
}
