//! A host for WASI 0.2: the machine over `std::net`, which is `wasi:sockets` there. One thread, sockets that do not block.
//!
//! ```text
//! PROGRAM HOST:PORT TOPIC COUNT [RECORDS_PER_SECOND]
//! ```

#![allow(clippy::disallowed_methods, reason = "a host has a clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use milena::{Cause, Config, ConnId, Event, Input, Instant, Output, Producer, Record, SendError, UnixTime};

/// How long to sleep where nothing could be read or written: WASI 0.2 tells no program that a socket is ready but by its own
/// `poll`, which `std` does not show.
const TURN: Duration = Duration::from_millis(1);

struct Host {
    producer: Producer,
    start: std::time::Instant,
    sockets: BTreeMap<ConnId, TcpStream>,
    delivered: u64,
    failed: u64,
}

impl Host {
    fn new(config: Config) -> Result<Self, Box<dyn Error>> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let producer = Producer::new(Instant::ZERO, Some(UnixTime::from_millis(unix as i64)), config, seed);
        Ok(Self { producer, start: std::time::Instant::now(), sockets: BTreeMap::new(), delivered: 0, failed: 0 })
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.start.elapsed().as_nanos() as u64)
    }

    fn tell(&mut self, input: Input<'_>) {
        self.producer.handle_input(self.now(), input);
    }

    /// One turn: what the machine wants done, what came in, and the time. Sleeps if there was nothing of that.
    fn work(&mut self) {
        let mut busy = self.drain();
        for conn in self.sockets.keys().copied().collect::<Vec<_>>() {
            busy |= self.read(conn);
            busy |= self.write(conn);
        }
        self.tell(Input::Timeout);
        if !busy && !self.producer.take_wake() {
            std::thread::sleep(TURN);
        }
    }

    fn drain(&mut self) -> bool {
        let mut busy = false;
        loop {
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, .. } => self.connect(conn, &host, port),
                Output::Disconnect(conn) => drop(self.sockets.remove(&conn)),
                Output::Transmit(conn) => drop(self.write(conn)),
                Output::Event(Event::Delivered(delivery)) => {
                    let count = delivery.records.len() as u64;
                    match delivery.outcome {
                        Ok(_) => self.delivered += count,
                        Err(error) => {
                            self.failed += count;
                            eprintln!("{count} records failed: {error}");
                        }
                    }
                }
                Output::Event(Event::TopicReady { .. } | Event::Writable { .. } | Event::Closed) => {}
                Output::Event(event) => eprintln!("{event:?}"),
                Output::Job(job) => self.tell(Input::Done(job.give_up())), // none was asked for
                Output::Token { .. } => self.tell(Input::Token(Err("this host has no tokens"))),
                Output::Wait(_) => return busy,
            }
            busy = true;
        }
    }

    /// Waits until the connection stands: `std` has no other way.
    fn connect(&mut self, conn: ConnId, host: &str, port: u16) {
        match TcpStream::connect((host, port)).and_then(|socket| socket.set_nonblocking(true).map(|()| socket)) {
            Ok(socket) => {
                self.sockets.insert(conn, socket);
                self.tell(Input::Connected(conn));
            }
            Err(error) => self.tell(Input::Disconnected(conn, Cause::Connect(&error.to_string()))),
        }
    }

    fn read(&mut self, conn: ConnId) -> bool {
        let Some(socket) = self.sockets.get_mut(&conn) else { return false };
        let mut buffer = [0; 16 << 10];
        match socket.read(&mut buffer) {
            Ok(0) => self.ended(conn, Cause::Closed),
            Ok(n) => self.tell(Input::Data(conn, &buffer[..n])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return false,
            Err(error) => self.ended(conn, Cause::Io(&error.to_string())),
        }
        true
    }

    /// Writes until there is nothing more, or the socket takes no more. Whether anything was written.
    fn write(&mut self, conn: ConnId) -> bool {
        let mut busy = false;
        loop {
            let now = self.now();
            let segment = self.producer.transmit(now, conn).segments().next().cloned();
            let (Some(segment), Some(socket)) = (segment, self.sockets.get_mut(&conn)) else { return busy };
            match socket.write(&segment) {
                Ok(n) => {
                    drop(segment);
                    self.producer.written(now, conn, n);
                    busy = true;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return busy,
                Err(error) => {
                    self.ended(conn, Cause::Io(&error.to_string()));
                    return true;
                }
            }
        }
    }

    fn ended(&mut self, conn: ConnId, cause: Cause<'_>) {
        self.sockets.remove(&conn);
        self.tell(Input::Disconnected(conn, cause));
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, servers, topic, count, ..] = &args[..] else {
        return Err("usage: PROGRAM HOST:PORT TOPIC COUNT [RECORDS_PER_SECOND]".into());
    };
    let count: u64 = count.parse()?;
    let rate: u64 = args.get(4).map_or(Ok(0), |rate| rate.parse())?;
    let mut host = Host::new(Config::builder(servers).option("linger.ms", "5").build()?)?;
    for sent in 0..count {
        let due = 1_000_000_000 * sent / rate.max(1) * u64::from(rate > 0);
        let value = format!("{sent:08}");
        loop {
            let now = host.now();
            if now.as_nanos() < due {
                host.work();
                continue;
            }
            match host.producer.send(now, &Record::new(topic).value(&value).partition(0)) {
                Ok(_) => break,
                Err(SendError::NotReady { .. } | SendError::BufferFull { .. }) => host.work(),
                Err(error) => return Err(error.into()),
            }
        }
        if host.producer.take_wake() && (rate > 0 || sent % 1000 == 0) {
            host.work();
        }
    }
    host.producer.close(host.now());
    while !host.producer.is_closed() {
        host.work();
    }
    println!("{count} records: {} delivered, {} failed", host.delivered, host.failed);
    Ok(host.failed == 0)
}

fn main() {
    match run() {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
