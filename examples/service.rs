//! An HTTP service on axum that answers only after Kafka has acknowledged: `POST /TOPIC` gives 202 and where the record stands, or a status
//! that says whose fault it is, and why; `/health` for who sends it work, `/metrics` for Prometheus. At SIGINT or SIGTERM it answers what
//! is in flight, and closes the producer. `cargo run --example service --features tokio,cluster [LISTEN_ADDRESS BOOTSTRAP_SERVERS]`; without
//! arguments it asks itself, with a cluster in memory, and ends.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what is left is not the client's fault")]

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use milena::cluster::TestCluster;
use milena::{Config, Record, SendError, tokio::Producer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A client waits for the answer: after these it gets one.
const DEADLINES: [(&str, &str); 3] =
    [("max.block.ms", "2000"), ("request.timeout.ms", "3000"), ("delivery.timeout.ms", "5000")];

/// Records that wait for longer mean that something is wrong; so does a cluster that takes longer to say that it is there.
const MAX_AGE: Duration = Duration::from_millis(500);

/// How long the producer may take to close. What is in flight is answered before that, by its own deadlines.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) fn app(producer: Producer) -> Router {
    Router::new()
        .route("/{topic}", post(send))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(producer)
}

async fn send(State(producer): State<Producer>, Path(topic): Path<String>, body: Bytes) -> (StatusCode, String) {
    match producer.send(&Record::new(&topic).value(&body)).await {
        Ok(at) => (StatusCode::ACCEPTED, format!("partition {}, offset {}\n", at.partition, at.offset.unwrap_or(-1))),
        Err(error) => (status(&error), format!("{error}\n")),
    }
}

/// 4xx: the client's fault. 503: not in Kafka, so that it may be sent again. 504: perhaps in Kafka, and twice if sent again.
fn status(error: &milena::Error) -> StatusCode {
    match error {
        milena::Error::Send(SendError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        milena::Error::Send(SendError::TopicFailed(code)) if code.name() == "TOPIC_AUTHORIZATION_FAILED" => {
            StatusCode::FORBIDDEN
        }
        error if error.is_callers_fault() => StatusCode::BAD_REQUEST,
        error if error.possibly_written() => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether records get through. Without any, a server is asked whether it is there.
async fn health(State(producer): State<Producer>) -> (StatusCode, String) {
    let status = producer.status();
    let why = || status.why.as_ref().map_or("records are late".to_string(), ToString::to_string);
    match producer.ping(MAX_AGE).await {
        Ok(_) if status.is_healthy(MAX_AGE) => (StatusCode::OK, "well\n".into()),
        Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", why())),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn metrics(State(producer): State<Producer>) -> impl IntoResponse {
    let mut text = String::new();
    producer.metrics().write_prometheus(&mut text, &[]).expect("a string takes all");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Serves until `stop` is over, and then until all is answered and delivered.
pub(crate) async fn run(
    listener: TcpListener,
    producer: Producer,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    axum::serve(listener, app(producer.clone())).with_graceful_shutdown(stop).await?;
    producer.close(GRACE).await?;
    let stats = producer.stats();
    println!("stopped: {} records delivered, {} failed", stats.records_delivered, stats.records_failed);
    Ok(())
}

/// SIGINT (Ctrl-C) or SIGTERM.
pub(crate) async fn asked_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    tokio::select! { _ = tokio::signal::ctrl_c() => {}, _ = terminate.recv() => {} }
}

pub(crate) fn spawn(options: impl IntoIterator<Item = (String, String)>) -> Result<Producer, Box<dyn Error>> {
    let deadlines = DEADLINES.map(|(name, value)| (name.to_string(), value.to_string()));
    Ok(Producer::spawn(Config::from_properties(deadlines.into_iter().chain(options))?)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [address, servers] = &arguments[..] {
        let producer = spawn([("bootstrap.servers".to_string(), servers.clone())])?;
        return run(TcpListener::bind(address).await?, producer, asked_to_stop()).await;
    }
    let (cluster, listener) = (TestCluster::start()?, TcpListener::bind("127.0.0.1:0").await?);
    let mut stream = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
    run(listener, spawn(cluster.properties())?, async move {
        let request = b"POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8\r\n\r\n3 apples";
        let mut answer = String::new();
        stream.write_all(request).await.expect("it is written");
        let _ = stream.read_to_string(&mut answer).await.map(|_| println!("{answer}"));
    })
    .await
}
