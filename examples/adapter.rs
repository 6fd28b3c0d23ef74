//! An adapter of one's own, over plain blocking sockets and one thread: docs/writing-an-adapter.md goes through it.
//! `cargo run --example adapter --features cluster [HOST:PORT]`; without an address it produces to a cluster in memory.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "a host has a clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use milena::{
    Cause, Completions, Config, ConnId, Event, Input, Instant, Output, Producer, Record, SendError, UnixTime,
};

/// How long a socket is listened to before it is the next one's turn. A better adapter polls all of them at once.
const TURN: Duration = Duration::from_millis(1);

pub(crate) struct Adapter {
    pub(crate) producer: Producer,
    clock: std::time::Instant,
    sockets: BTreeMap<ConnId, TcpStream>,
    /// Who waits for which record: here, the number that is in it.
    pub(crate) open: Completions<u64>,
    delivered: u64,
}

impl Adapter {
    pub(crate) fn new(config: Config) -> Result<Self, Box<dyn Error>> {
        let mut seed = [0; 32]; // fresh for every producer, from the system
        std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let producer = Producer::new(Instant::ZERO, Some(UnixTime::from_millis(unix as i64)), config, seed);
        Ok(Self {
            producer,
            clock: std::time::Instant::now(),
            sockets: BTreeMap::new(),
            open: Completions::new(),
            delivered: 0,
        })
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.clock.elapsed().as_nanos() as u64)
    }

    fn tell(&mut self, input: Input<'_>) {
        self.producer.handle_input(self.now(), input);
    }

    /// Works for a turn: does what the machine says until it says `Wait`, then hands in what came, then the time.
    pub(crate) fn work(&mut self) {
        loop {
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, .. } => match TcpStream::connect((&*host, port)) {
                    Ok(socket) => {
                        // Or who reads nothing stops all others, and the clock.
                        let _ = socket.set_write_timeout(Some(TURN));
                        self.sockets.insert(conn, socket);
                        self.tell(Input::Connected(conn));
                    }
                    Err(error) => self.tell(Input::Disconnected(conn, Cause::Connect(&error.to_string()))),
                },
                Output::Disconnect(conn) => drop(self.sockets.remove(&conn)),
                Output::Transmit(_) => {} // below, with those that took no more last time
                Output::Event(Event::Delivered(delivery)) => {
                    for (n, outcome) in self.open.take(&delivery) {
                        match outcome {
                            Ok(_offset) => self.delivered += 1,
                            Err(error) => eprintln!("record {n}: {error}"),
                        }
                    }
                }
                Output::Event(event) => eprintln!("{event:?}"),
                Output::Job(_) | Output::Token { .. } => unreachable!("neither jobs nor OAUTHBEARER were asked for"),
                Output::Wait(_) => break, // a better adapter sleeps until then, if nothing comes
            }
        }
        for conn in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.write(conn);
            self.read(conn);
        }
        if self.sockets.is_empty() {
            std::thread::sleep(TURN); // there is nobody to listen to
        }
        self.tell(Input::Timeout);
    }

    fn read(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        let mut buffer = [0; 16 << 10];
        match socket.set_read_timeout(Some(TURN)).and_then(|()| socket.read(&mut buffer)) {
            Ok(0) => self.ended(conn, Cause::Closed),
            Ok(n) => self.tell(Input::Data(conn, &buffer[..n])),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => self.ended(conn, Cause::Io(&error.to_string())),
        }
    }

    /// Until there is nothing more to write, or the socket takes no more.
    fn write(&mut self, conn: ConnId) {
        let now = self.now();
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        if let Err(error) = self.producer.transmit(now, conn).write_to(socket) {
            self.ended(conn, Cause::Io(&error.to_string()));
        }
    }

    fn ended(&mut self, conn: ConnId, cause: Cause<'_>) {
        self.sockets.remove(&conn);
        self.tell(Input::Disconnected(conn, cause));
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let server = milena::cluster::Server::start(milena::cluster::Settings::default())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| server.bootstrap());
    let mut adapter = Adapter::new(Config::new(&address)?)?;
    for n in 0..10_000 {
        let value = n.to_string();
        loop {
            match adapter.producer.send(adapter.now(), &Record::new("numbers").value(&value)) {
                Ok(sent) => {
                    adapter.open.insert(sent.id, n);
                    break;
                }
                Err(SendError::NotReady { .. } | SendError::BufferFull { .. }) => adapter.work(),
                Err(error) => return Err(error.into()),
            }
        }
    }
    adapter.producer.close(adapter.now());
    while !adapter.producer.is_closed() {
        adapter.work();
    }
    println!("{} records delivered to {address}", adapter.delivered);
    assert_eq!((adapter.delivered, adapter.open.len()), (10_000, 0));
    Ok(())
}

fn main() {
    // `main() -> Result` would show an error by `{:?}`, which is for developers.
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
