//! `milena::tokio`: a producer for the tokio runtime. A driver future serves all brokers; calls that wait are futures.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use milena::{Config, Record, tokio::Producer};
//!
//! let producer = Producer::spawn(Config::new("localhost:9092")?)?;
//! let delivered = producer.send(&Record::new("orders").key("customer-7").value("3 apples")).await?;
//! println!("partition {}, offset {:?}", delivered.partition, delivered.offset);
//!
//! let ack = producer.enqueue(&Record::new("orders").value("2 pears")).await?; // and go on
//! ack.await?;
//! producer.close(std::time::Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};
use std::net::Shutdown;

use ::tokio::net::{TcpStream, lookup_host};
use socket2::SockRef;

use super::clock;
use super::setup::{Setup, SetupError};
use super::task::{Failure, Runtime, Socket, SocketOptions, Stream, first_of};

pub use super::task::Ack;

/// A producer on tokio: see [`task::Producer`](crate::task::Producer) for what it can do.
pub type Producer = super::task::Producer<Tokio>;

/// The future that does a producer's work.
pub type Driver = super::task::Driver<Tokio>;

/// tokio's sockets and time.
#[derive(Debug)]
pub struct Tokio;

impl Producer {
    /// As `new`, with the driver spawned on the current runtime.
    ///
    /// # Errors
    /// As `new`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(setup: impl Into<Setup>) -> Result<Self, SetupError> {
        let (producer, driver) = Self::new(setup)?;
        ::tokio::spawn(driver);
        Ok(producer)
    }
}

impl Runtime for Tokio {
    type Stream = TcpStream;

    async fn open(host: String, port: u16, attempt: u32, options: SocketOptions) -> Result<TcpStream, Failure> {
        let addresses = lookup_host((&*host, port)).await.map(Iterator::collect::<Vec<_>>);
        let stream = first_of(addresses, attempt, TcpStream::connect).await?;
        options.apply(&stream);
        Ok(stream)
    }

    /// From tokio's present on, which in tests with paused time is another than the real one, and may be far ahead of it.
    fn sleep_until(at: std::time::Instant) -> impl Future<Output = ()> + Send + 'static {
        ::tokio::time::sleep(at.saturating_duration_since(clock::now()))
    }
}

impl Socket for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }

    fn end_writing(&mut self) -> io::Result<()> {
        SockRef::from(&*self).shutdown(Shutdown::Write)
    }
}

impl Stream for TcpStream {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(context)
    }
}
