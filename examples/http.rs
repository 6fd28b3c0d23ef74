//! An HTTP service that answers only after Kafka has acknowledged: `POST /TOPIC` with a body gives `202` and where the record
//! stands, or `503` and why not. (A real service has a framework for HTTP; what matters here is one await.)
//! `cargo run --example http --features tokio,cluster`, which asks itself once and ends.

#![allow(clippy::std_instead_of_core, reason = "a program with std")]

use std::error::Error;

use milena::cluster::TestCluster;
use milena::{Config, Record, tokio::Producer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve(mut stream: TcpStream, producer: Producer) -> std::io::Result<()> {
    let mut request = Vec::new();
    let (head, length) = loop {
        stream.read_buf(&mut request).await?;
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).into_owned();
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            break (head, end + 4 + length.unwrap_or(0_usize).min(1 << 20));
        }
    };
    while request.len() < length {
        stream.read_buf(&mut request).await?;
    }
    let topic = head.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_string();
    let body = &request[head.len() + 4..length];
    let answer = match producer.send(&Record::new(&topic).value(body)).await {
        Ok(delivered) => format!("202 Accepted\r\n\r\n{} {:?}\n", delivered.partition, delivered.offset),
        Err(error) => format!("503 Service Unavailable\r\n\r\n{error}\n"),
    };
    stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = TestCluster::start()?;
    let producer = Producer::spawn(Config::from_properties(cluster.properties())?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, producer.clone()));
        }
    });
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"POST /orders HTTP/1.1\r\nContent-Length: 8\r\n\r\n3 apples").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("{answer}");
    assert!(answer.starts_with("HTTP/1.1 202"));
    assert_eq!(cluster.records("orders")[0].1.value.as_deref(), Some(&b"3 apples"[..]));
    Ok(())
}
