use std::io::{ErrorKind, Read};
use std::{collections::BTreeMap, net::TcpStream, time::Duration};
use milena::{Cause, Config, ConnId, Input, Instant, Output, Producer, Record, SendError, UnixTime};

fn run(servers: &str, now: impl Fn() -> Instant, unix: UnixTime, seed: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
    let mut producer = Producer::new(now(), Some(unix), Config::new(servers)?, seed);
    let mut sockets: BTreeMap<ConnId, TcpStream> = BTreeMap::new();
    let mut unsent = Some(Record::new("orders").value("3 apples"));
    while !producer.is_closed() {
        if let Some(record) = unsent.take() {
            match producer.send(now(), &record) {
                Ok(_) => producer.close(now()),                              // one record is all we have
                Err(SendError::NotReady { .. }) => unsent = Some(record),    // its topic was asked for
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            match producer.poll_output() {
                Output::Connect { conn, host, port, .. } => match TcpStream::connect((&*host, port)) {
                    Ok(socket) => {
                        socket.set_read_timeout(Some(Duration::from_millis(10)))?;
                        socket.set_write_timeout(Some(Duration::from_millis(10)))?; // or who reads nothing stops all others
                        sockets.insert(conn, socket);
                        producer.handle_input(now(), Input::Connected(conn));
                    }
                    Err(error) => producer.handle_input(now(), Input::Disconnected(conn, Cause::Connect(&error.to_string()))),
                },
                Output::Disconnect(conn) => drop(sockets.remove(&conn)),
                Output::Transmit(_conn) => {} // below, with those that took no more last time
                Output::Event(event) => println!("{event:?}"),
                Output::Job(_) | Output::Token { .. } => unreachable!("neither jobs nor OAUTHBEARER were asked for"),
                Output::Wait(_until) => break,
            }
        }
        sockets.retain(|conn, socket| match producer.transmit(now(), *conn).write_to(socket) {
            Ok(_) => true,
            Err(error) => {
                producer.handle_input(now(), Input::Disconnected(*conn, Cause::Io(&error.to_string())));
                false
            }
        });
        let mut buffer = [0; 4096];
        sockets.retain(|conn, socket| match socket.read(&mut buffer) {
            Ok(0) => {
                producer.handle_input(now(), Input::Disconnected(*conn, Cause::Closed));
                false
            }
            Ok(n) => {
                producer.handle_input(now(), Input::Data(*conn, &buffer[..n]));
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => true,
            Err(error) => {
                producer.handle_input(now(), Input::Disconnected(*conn, Cause::Io(&error.to_string())));
                false
            }
        });
        if sockets.is_empty() {
            std::thread::sleep(Duration::from_millis(10)); // there is nobody to listen to
        }
        producer.handle_input(now(), Input::Timeout); // harmless when early
    }
    Ok(())
}
