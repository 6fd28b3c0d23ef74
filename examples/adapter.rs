//! An adapter of one's own, over plain blocking sockets: one thread a connection reads, the calling thread does the rest. It
//! is what docs/writing-an-adapter.md goes through. `cargo run --example adapter --features cluster [HOST:PORT]`; without an
//! address it produces to a cluster in memory.

#![allow(clippy::std_instead_of_core, clippy::disallowed_methods, reason = "a host has a clock")]

use std::collections::HashMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use milena::{Cause, Config, ConnId, Event, Input, Instant, Output, Producer, Record, SendError, UnixTime};

/// What a reading thread has to say: some bytes, or how its connection ended.
type News = (ConnId, Result<Vec<u8>, Option<std::io::Error>>);

struct Adapter {
    producer: Producer,
    clock: std::time::Instant,
    sockets: HashMap<ConnId, TcpStream>,
    news: Receiver<News>,
    readers: Sender<News>,
    delivered: u64,
}

impl Adapter {
    fn new(config: Config) -> Result<Self, Box<dyn Error>> {
        let mut seed = [0; 32]; // fresh for every producer, from the system
        std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let (readers, news) = channel();
        let producer = Producer::new(Instant::ZERO, Some(UnixTime::from_millis(unix as i64)), config, seed);
        Ok(Self { producer, clock: std::time::Instant::now(), sockets: HashMap::new(), news, readers, delivered: 0 })
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.clock.elapsed().as_nanos() as u64)
    }

    /// Rule 1: drains until `Wait`. Returns until when there is nothing to do.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, .. } => match TcpStream::connect((&*host, port)) {
                    Ok(socket) => self.connected(conn, socket),
                    Err(error) => {
                        let (now, words) = (self.now(), error.to_string());
                        self.producer.handle_input(now, Input::Disconnected(conn, Cause::Connect(&words)));
                    }
                },
                Output::Disconnect(conn) => {
                    if let Some(socket) = self.sockets.remove(&conn) {
                        let _ = socket.shutdown(std::net::Shutdown::Both); // ends its reading thread
                    }
                }
                Output::Transmit(conn) => self.write(conn),
                Output::Event(Event::Delivered(delivery)) => self.delivered += delivery.records.len() as u64,
                Output::Event(event) => eprintln!("{event:?}"),
                Output::Job(_) | Output::Token { .. } => unreachable!("neither jobs nor OAUTHBEARER were asked for"),
                Output::Wait(until) => return until,
            }
        }
    }

    fn connected(&mut self, conn: ConnId, socket: TcpStream) {
        let (mut reader, news) = (socket.try_clone().expect("a second handle"), self.readers.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                let read = match reader.read(&mut buffer) {
                    Ok(0) => Err(None),
                    Ok(n) => Ok(buffer[..n].to_vec()),
                    Err(error) => Err(Some(error)),
                };
                let over = read.is_err();
                if news.send((conn, read)).is_err() || over {
                    return;
                }
            }
        });
        let _ = socket.set_nodelay(true);
        self.sockets.insert(conn, socket);
        self.producer.handle_input(self.now(), Input::Connected(conn));
    }

    /// Rule 3: until there is nothing more. A write that blocks keeps the whole adapter: good enough for a blocking one.
    fn write(&mut self, conn: ConnId) {
        loop {
            let now = self.now();
            let segment = self.producer.transmit(now, conn).segments().next().cloned();
            let (Some(segment), Some(socket)) = (segment, self.sockets.get_mut(&conn)) else { return };
            match socket.write(&segment) {
                Ok(n) => self.producer.written(now, conn, n),
                Err(error) => return self.ended(conn, Some(&error)),
            }
        }
    }

    fn ended(&mut self, conn: ConnId, error: Option<&std::io::Error>) {
        self.sockets.remove(&conn);
        let words = error.map(ToString::to_string);
        let cause = words.as_deref().map_or(Cause::Closed, Cause::Io);
        self.producer.handle_input(self.now(), Input::Disconnected(conn, cause));
    }

    /// Works for a while: what is due, what comes in, what has to wait. Rule 2: all bytes before `Timeout`.
    fn work(&mut self, patience: Duration) {
        let until = self.drain();
        let wait = until.map_or(patience, |until| until.saturating_since(self.now()).min(patience));
        let first = self.news.recv_timeout(wait).ok();
        for (conn, read) in first.into_iter().chain(self.news.try_iter()).collect::<Vec<News>>() {
            match read {
                Ok(bytes) => self.producer.handle_input(self.now(), Input::Data(conn, &bytes)),
                Err(error) => self.ended(conn, error.as_ref()),
            }
        }
        self.producer.handle_input(self.now(), Input::Timeout);
    }

    fn send(&mut self, record: &Record<'_>) -> Result<(), SendError> {
        loop {
            let now = self.now();
            match self.producer.send(now, record) {
                Ok(_) => return Ok(()),
                Err(SendError::NotReady { .. } | SendError::BufferFull { .. }) => self.work(Duration::from_millis(100)),
                Err(error) => return Err(error),
            }
        }
    }

    fn close(mut self) -> u64 {
        self.producer.close(self.now());
        while !self.producer.is_closed() {
            self.work(Duration::from_millis(100));
        }
        self.delivered
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = milena::cluster::Server::start(milena::cluster::Settings::default())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| server.bootstrap());
    let mut adapter = Adapter::new(Config::new(&address)?)?;
    for n in 0..10_000 {
        adapter.send(&Record::new("numbers").value(&n.to_string()))?;
    }
    let delivered = adapter.close();
    println!("{delivered} records delivered to {address}");
    assert_eq!(delivered, 10_000);
    Ok(())
}
