//! `milena::smol`: a producer for smol, async-std, and whatever else polls futures: sockets and time are async-io's, which
//! needs no particular executor.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use milena::{Config, Record, smol::Producer};
//!
//! let (producer, driver) = Producer::new(Config::new("localhost:9092")?)?;
//! std::thread::spawn(|| async_io::block_on(driver)); // or smol::spawn(driver).detach()
//! let delivered = producer.send(&Record::new("orders").key("customer-7").value("3 apples")).await?;
//! println!("partition {}, offset {:?}", delivered.partition, delivered.offset);
//! producer.close(std::time::Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::task::{Context, Poll};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};

use async_io::{Async, Timer};

use super::task::{Failure, Runtime, Socket, SocketOptions, Stream, first_of};

pub use super::task::Ack;

/// A producer on async-io: see [`task::Producer`](crate::task::Producer) for what it can do.
pub type Producer = super::task::Producer<Smol>;

/// The future that does a producer's work.
pub type Driver = super::task::Driver<Smol>;

/// async-io's sockets and time.
#[derive(Debug)]
pub struct Smol;

impl Runtime for Smol {
    type Stream = Async<TcpStream>;

    async fn open(host: String, port: u16, attempt: u32, options: SocketOptions) -> Result<Async<TcpStream>, Failure> {
        // Looking a name up may block.
        let look_up = move || (&*host, port).to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>);
        let addresses = blocking::unblock(look_up).await;
        let stream = first_of(addresses, attempt, Async::<TcpStream>::connect).await?;
        options.apply(&stream);
        Ok(stream)
    }

    async fn sleep_until(at: std::time::Instant) {
        Timer::at(at).await;
    }
}

impl Socket for Async<TcpStream> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket: &TcpStream = self.get_ref();
        socket.read(buffer)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut socket: &TcpStream = self.get_ref();
        socket.write_vectored(slices)
    }

    fn end_writing(&mut self) -> io::Result<()> {
        self.get_ref().shutdown(Shutdown::Write)
    }
}

impl Stream for Async<TcpStream> {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Async::poll_readable(self, context)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Async::poll_writable(self, context)
    }
}
