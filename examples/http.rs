//! An HTTP service that answers only after Kafka has acknowledged: `POST /TOPIC` with a body gives `202` and where the record
//! stands, or a status that says whose fault it is. At SIGINT or SIGTERM it accepts no more, answers what is in flight, and
//! closes the producer. (A real service has a framework for HTTP: `deliver`, `status` and `run` are what it takes from here.)
//! `cargo run --example http --features tokio,cluster [LISTEN_ADDRESS BOOTSTRAP_SERVERS]`; without arguments it asks itself
//! once, with a cluster in memory, and ends.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::error::Error;
use std::time::Duration;

use milena::cluster::TestCluster;
use milena::{Config, DeliveryErrorKind, Record, SendError, tokio::Producer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bytes of a request's head, and of its body.
const LARGEST_HEAD: usize = 8 << 10;
const LARGEST_BODY: usize = 1 << 20;
/// How long a client may take to send its request, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients at a time: each may have a body in memory.
const MOST_CLIENTS: usize = 256;
/// How long stopping may take: for the requests in flight, and again for the producer. Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(10);

/// A client waits for the answer: after these it gets one.
const DEADLINES: [(&str, &str); 3] =
    [("max.block.ms", "2000"), ("request.timeout.ms", "3000"), ("delivery.timeout.ms", "5000")];

/// Sends a request's body, and says what to answer.
async fn deliver(producer: &Producer, topic: &str, body: &[u8]) -> (&'static str, String) {
    match producer.send(&Record::new(topic).value(body)).await {
        Ok(delivered) => ("202 Accepted", format!("partition {}, offset {:?}", delivered.partition, delivered.offset)),
        Err(error) => (status(&error), error.to_string()),
    }
}

/// 4xx: the client's fault. 503: not in Kafka, so that it may be sent again. 504: perhaps in Kafka, and twice if sent again.
fn status(error: &milena::Error) -> &'static str {
    const INVALID_TOPIC: i16 = 17;
    const INVALID_RECORD: i16 = 87;
    if let milena::Error::Send(SendError::TooLarge { .. }) = error {
        return "413 Content Too Large";
    }
    if let milena::Error::Send(SendError::TopicFailed(code)) = error {
        return if code.code() == INVALID_TOPIC { "400 Bad Request" } else { "403 Forbidden" };
    }
    if let milena::Error::NotDelivered(error) = error {
        if matches!(error.kind, DeliveryErrorKind::Refused(code) if code.code() == INVALID_RECORD) {
            return "422 Unprocessable Content";
        }
        if error.possibly_written {
            return "504 Gateway Timeout";
        }
    }
    "503 Service Unavailable"
}

/// Serves until `stop` is over, and then until all is answered and delivered.
pub(crate) async fn run(
    listener: TcpListener,
    producer: Producer,
    stop: impl Future<Output = std::io::Result<()>>,
) -> Result<(), Box<dyn Error>> {
    tokio::pin!(stop);
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            stopped = &mut stop => break stopped?,
            accepted = listener.accept(), if clients.len() < MOST_CLIENTS => match accepted {
                Ok((stream, _)) => drop(clients.spawn(serve(stream, producer.clone()))),
                Err(error) => { // such as too many open files: perhaps not for long
                    eprintln!("can't accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
    drop(listener);
    println!("stopping, with {} clients to answer", clients.len());
    if timeout(GRACE, async { while clients.join_next().await.is_some() {} }).await.is_err() {
        println!("{} of them were not answered in time", clients.len());
        clients.shutdown().await;
    }
    producer.close(GRACE).await?;
    let stats = producer.stats();
    println!("stopped: {} records delivered, {} failed", stats.records_delivered, stats.records_failed);
    Ok(())
}

/// One request a client.
pub(crate) async fn serve(mut stream: TcpStream, producer: Producer) {
    let (status, words) = match timeout(PATIENCE, read(&mut stream)).await {
        Err(_) => ("408 Request Timeout", "the request did not come in time".to_string()),
        Ok(Err(None)) => return, // the client has hung up
        Ok(Err(Some(status))) => (status, status.to_string()),
        Ok(Ok(request)) => deliver(&producer, &request.topic, request.body()).await,
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    // Whether the client takes the answer or not, the record stands. What it still sends is read for a while: a connection
    // that is closed with bytes unread is reset, and the client may lose the answer.
    let written =
        timeout(PATIENCE, async { stream.write_all(answer.as_bytes()).await.and(stream.shutdown().await) }).await;
    if matches!(written, Ok(Ok(()))) {
        let _ = timeout(Duration::from_secs(1), tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
}

struct Request {
    topic: String,
    bytes: Vec<u8>,
    body: std::ops::Range<usize>,
}

impl Request {
    fn body(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }
}

/// Reads a request, or says with which status it is refused: with none if the client has hung up.
async fn read(stream: &mut TcpStream) -> Result<Request, Option<&'static str>> {
    let mut bytes = Vec::new();
    let head = loop {
        let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if end.unwrap_or(bytes.len()) > LARGEST_HEAD {
            return Err(Some("431 Request Header Fields Too Large"));
        }
        if let Some(end) = end {
            break end;
        }
        more(stream, &mut bytes).await?;
    };
    // A head is bytes: nothing says that they are text.
    let mut lines = bytes[..head].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != b"POST" {
        return Err(Some("405 Method Not Allowed"));
    }
    let topic = std::str::from_utf8(target).ok().and_then(|target| target.strip_prefix('/'));
    let topic = topic.filter(|topic| !topic.is_empty()).ok_or(Some("404 Not Found"))?.to_string();
    let mut length = None;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Some("400 Bad Request"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(Some("501 Not Implemented"));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
            let value = value.filter(|value| !value.is_empty()).ok_or(Some("400 Bad Request"))?;
            let number = value.parse().unwrap_or(usize::MAX); // more digits than fit
            if length.replace(number).is_some_and(|before| before != number) {
                return Err(Some("400 Bad Request"));
            }
        }
    }
    let length = length.ok_or(Some("411 Length Required"))?;
    if length > LARGEST_BODY {
        return Err(Some("413 Content Too Large"));
    }
    let body = head + 4..head + 4 + length;
    while bytes.len() < body.end {
        more(stream, &mut bytes).await?;
    }
    Ok(Request { topic, bytes, body })
}

/// Reads on. That nothing comes any more is an error: the client has hung up in the middle.
async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), Option<&'static str>> {
    match stream.read_buf(bytes).await {
        Ok(0) | Err(_) => Err(None),
        Ok(_) => Ok(()),
    }
}

/// SIGINT (Ctrl-C), or SIGTERM where there is one.
pub(crate) async fn asked_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        Ok(())
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// A request of our own.
async fn ask(address: std::net::SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n3 apples").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn start() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let deadlines = DEADLINES.map(|(name, value)| (name.to_string(), value.to_string()));
    if let [address, servers] = &arguments[..] {
        let servers = [("bootstrap.servers".to_string(), servers.clone())];
        let producer = Producer::spawn(Config::from_properties(servers.into_iter().chain(deadlines))?)?;
        return run(TcpListener::bind(address).await?, producer, asked_to_stop()).await;
    }
    let cluster = TestCluster::start()?;
    let producer = Producer::spawn(Config::from_properties(cluster.properties().into_iter().chain(deadlines))?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // It stops itself once it was answered, as a signal would stop it.
    run(listener, producer, async {
        let answer = tokio::spawn(ask(address)).await??;
        println!("{answer}");
        assert!(answer.starts_with("HTTP/1.1 202"));
        Ok(())
    })
    .await?;
    assert_eq!(cluster.records("orders")[0].1.value.as_deref(), Some(&b"3 apples"[..]));
    Ok(())
}

#[tokio::main]
async fn main() {
    // `main() -> Result` would show an error by `{:?}`, which is for developers.
    if let Err(error) = start().await {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
