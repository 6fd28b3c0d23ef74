//! Connections of an adapter with TLS, over streams in memory that block, break, end and bring garbage.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, IoSlice, Write};
use std::sync::OnceLock;

use arbitrary::Unstructured;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig, ServerConnection};

use super::channel::{Broken, Buffers, Channel, Flow, Socket};
use super::engine::Engine;
use super::setup::Setup;
use super::tls::client_config;
use crate::cluster::{Cluster, Peer, Settings};
use crate::config::TlsOptions;
use crate::fuzzing::{ENDLESS, bytes, up_to};
use crate::{Config, ConnId, Event, Input, Output, Record, RecordId};

/// The cluster's time of day, in milliseconds since the Unix epoch; the adapter's is the real one.
const TIME: i64 = 1_700_000_000_000;

/// A stream in memory.
#[derive(Debug, Default)]
struct Pipe {
    to_client: VecDeque<u8>,
    to_server: Vec<u8>,
    /// How many bytes the socket takes, and gives, before it blocks.
    takes: usize,
    gives: usize,
    /// The client reads the end when it has read the rest.
    ended: bool,
    broken: bool,
}

/// The client's end.
#[derive(Clone, Debug, Default)]
struct End(Rc<RefCell<Pipe>>);

impl Socket for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if pipe.to_client.is_empty() && pipe.ended {
            return Ok(0);
        }
        let n = buffer.len().min(pipe.gives).min(pipe.to_client.len());
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.gives -= n;
        buffer.iter_mut().zip(pipe.to_client.drain(..n)).for_each(|(to, from)| *to = from);
        Ok(n)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut written = 0;
        for slice in slices {
            let n = slice.len().min(pipe.takes);
            pipe.takes -= n;
            pipe.to_server.extend_from_slice(&slice[..n]);
            written += n;
        }
        if written == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    fn end_writing(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, and the server behind it.
struct Link {
    /// `None` once the machine, or the channel, has done with it.
    channel: Option<Channel<End>>,
    pipe: End,
    server: ServerConnection,
    /// Nothing that comes now is the server's.
    spoiled: bool,
    peer: Peer,
}

struct World {
    engine: Engine,
    cluster: Cluster,
    buffers: Buffers,
    links: BTreeMap<ConnId, Link>,
    sent: BTreeMap<RecordId, String>,
    delivered: BTreeSet<String>,
    faults: bool,
}

/// Records by a connection of an adapter, encrypted: what is said to be delivered has come to the server, and without a fault all of it
/// does.
pub(crate) fn tls(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let acks = ["0", "1"][up_to(&mut input, 1)];
    let config = Config::from_properties([
        ("bootstrap.servers", "localhost:9092"),
        ("security.protocol", "SSL"),
        ("acks", acks),
        ("enable.idempotence", "false"),
        ("linger.ms", "0"),
        ("reconnect.backoff.ms", "0"),
        ("retry.backoff.ms", "0"),
        ("max.request.size", "300000"),
        ("batch.size", "1000"),
    ]);
    let version = up_to(&mut input, 1);
    let setup = Setup::new(config.expect("valid options")).tls(client(version));
    let mut cluster = Cluster::new(Settings::default().instant_elections(true).unix_time(TIME));
    cluster.set_address(1, "localhost", 9092);
    cluster.create_topic("t", 1);
    let mut world = World {
        engine: Engine::new(setup).expect("a producer"),
        cluster,
        buffers: Buffers::new(),
        links: BTreeMap::new(),
        sent: BTreeMap::new(),
        delivered: BTreeSet::new(),
        faults: false,
    };
    drop(world.engine.with_producer(|producer, now| producer.want_topic(now, "t")));
    if up_to(&mut input, 3) > 0 {
        world.flow();
    }
    while !input.is_empty() {
        world.step(&mut input);
        world.drain();
    }
    world.end(acks);
}

/// What a client trusts, with TLS 1.2 or 1.3.
fn client(version: usize) -> Arc<ClientConfig> {
    static CONFIGS: [OnceLock<Arc<ClientConfig>>; 2] = [OnceLock::new(), OnceLock::new()];
    let config = CONFIGS[version].get_or_init(|| {
        let authority = include_str!("../cluster/certificates/authority.pem");
        let options = TlsOptions::new().truststore_certificates(authority).versions(version == 0, version == 1);
        client_config(&options).expect("a truststore")
    });
    Arc::clone(config)
}

fn server() -> ServerConnection {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("../cluster/certificates/node.pem"));
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../cluster/certificates/node-key.pem"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        let chain = Vec::from([certificate.expect("a certificate")]);
        Arc::new(builder.with_single_cert(chain, key.expect("a key")).expect("a key for it"))
    });
    ServerConnection::new(Arc::clone(config)).expect("a server")
}

impl World {
    fn step(&mut self, input: &mut Unstructured<'_>) {
        let operation = up_to(input, 15);
        let conn = self.links.keys().nth(up_to(input, 3)).copied();
        let size = |input: &mut Unstructured<'_>| match up_to(input, 3) {
            0 => up_to(input, 60),
            1 => up_to(input, 3000),
            _ => up_to(input, 100_000),
        };
        match (operation, conn) {
            (0..=2, _) => {
                let length = size(input);
                self.send(length);
            }
            (3..=4, Some(conn)) => {
                let takes = size(input);
                self.write(conn, takes);
            }
            (5..=6, Some(conn)) => {
                let gives = size(input);
                self.read(conn, gives);
            }
            (7..=8, Some(conn)) => self.serve(conn),
            (9, Some(conn)) => {
                let garbage = bytes(input, 60).to_vec();
                self.spoil(conn, |pipe| pipe.to_client.extend(&garbage));
            }
            (10, Some(conn)) => {
                let (place, bit) = (up_to(input, 2000), 1 << up_to(input, 7));
                self.spoil(conn, |pipe| pipe.to_client.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= bit));
            }
            (11, Some(conn)) => {
                let length = up_to(input, 2000);
                self.spoil(conn, |pipe| {
                    pipe.to_client.truncate(length);
                    pipe.ended = true;
                });
            }
            (12, Some(conn)) => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.server.send_close_notify();
                }
                self.serve(conn);
                self.faults = true;
            }
            (13, Some(conn)) => self.spoil(conn, |pipe| pipe.broken = true),
            _ => self.flow(),
        }
    }

    fn send(&mut self, length: usize) {
        let mut value = self.sent.len().to_string();
        value.extend(core::iter::repeat_n('x', length));
        let record = Record::new("t").value(&value).partition(0).timestamp(TIME);
        let sent = self.engine.with_producer(|producer, now| producer.send(now, &record));
        if let Ok(sent) = sent {
            assert!(self.sent.insert(sent.id, value).is_none(), "a record's name is used again");
        }
    }

    fn drain(&mut self) {
        for _ in 0..ENDLESS {
            match self.engine.with_producer(|producer, _| producer.poll_output()) {
                Output::Connect { conn, .. } => self.connect(conn),
                Output::Disconnect(conn) => {
                    let channel = self.links.get_mut(&conn).and_then(|link| link.channel.take());
                    drop(channel.map(|channel| channel.finish(&self.engine)));
                }
                Output::Transmit(conn) => self.write(conn, 0),
                Output::Event(Event::Delivered(delivery)) => {
                    for index in delivery.records.clone() {
                        let id = RecordId { batch: delivery.batch, index };
                        let value = self.sent.remove(&id).expect("named once");
                        if delivery.outcome.is_ok() {
                            self.delivered.insert(value);
                        }
                    }
                }
                Output::Event(_) => {}
                Output::Job(_) | Output::Token { .. } => panic!("nothing to compute or to show was asked for"),
                Output::Wait(_) => return,
            }
        }
        panic!("a drain without end");
    }

    fn connect(&mut self, conn: ConnId) {
        let pipe = End::default();
        let peer = self.cluster.connect(1).expect("it is up");
        match Channel::new(&self.engine, conn, pipe.clone(), "localhost") {
            Ok(channel) => {
                let link = Link { channel: Some(channel), pipe, server: server(), spoiled: false, peer };
                self.links.insert(conn, link);
            }
            Err(broken) => panic!("{broken:?}"),
        }
    }

    fn write(&mut self, conn: ConnId, takes: usize) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.pipe.0.borrow_mut().takes += takes;
        let Some(channel) = &mut link.channel else { return };
        let flow = channel.write(&self.engine, &mut self.buffers);
        self.flowed(conn, flow);
    }

    fn read(&mut self, conn: ConnId, gives: usize) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.pipe.0.borrow_mut().gives += gives;
        for _ in 0..ENDLESS {
            let Some(channel) = self.links.get_mut(&conn).and_then(|link| link.channel.as_mut()) else { return };
            match channel.read(&self.engine, &mut self.buffers) {
                Ok(Flow::Done) => {}
                Ok(Flow::Blocked) if channel.wants_write() => return self.write(conn, 0),
                Ok(Flow::Blocked) => return,
                Err(broken) => return self.flowed(conn, Err(broken)),
            }
        }
        panic!("bytes without end");
    }

    fn flowed(&mut self, conn: ConnId, flow: Result<Flow, Broken>) {
        if let Err(broken) = flow {
            self.links.get_mut(&conn).and_then(|link| link.channel.take());
            self.engine.input(Input::Disconnected(conn, broken.cause()));
        }
    }

    /// The server reads what has come, and answers.
    fn serve(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let now = self.engine.clock().now();
        let wire = core::mem::take(&mut link.pipe.0.borrow_mut().to_server);
        let mut wire = &wire[..];
        let mut plain = Vec::new();
        while !wire.is_empty() {
            let read = link.server.read_tls(&mut wire);
            let good = link.server.process_new_packets().is_ok();
            let mut reader = link.server.reader();
            while let Ok(bytes @ [_, ..]) = reader.fill_buf() {
                let length = bytes.len();
                plain.extend_from_slice(bytes);
                reader.consume(length);
            }
            if !good || !read.is_ok_and(|n| n > 0) {
                assert!(link.spoiled || link.channel.is_none(), "the client says nothing wrong");
                break;
            }
        }
        self.cluster.receive(now, link.peer, &plain);
        let answers = self.cluster.take_output(link.peer);
        // One that was told that it is wrong writes nothing any more.
        let taken = link.server.writer().write_all(&answers);
        assert!(taken.is_ok() || link.spoiled || link.channel.is_none(), "memory takes it: {taken:?}");
        let mut wire = Vec::new();
        while link.server.wants_write() {
            link.server.write_tls(&mut wire).expect("memory takes it");
        }
        link.pipe.0.borrow_mut().to_client.extend(wire);
    }

    fn spoil(&mut self, conn: ConnId, how: impl FnOnce(&mut Pipe)) {
        if let Some(link) = self.links.get_mut(&conn) {
            how(&mut link.pipe.0.borrow_mut());
            (link.spoiled, self.faults) = (true, true);
        }
    }

    /// Nothing blocks for a while.
    fn flow(&mut self) {
        for _ in 0..12 {
            self.drain();
            for conn in self.links.keys().copied().collect::<Vec<_>>() {
                self.write(conn, 1 << 20);
                self.serve(conn);
                self.read(conn, 1 << 20);
            }
        }
        self.drain();
    }

    fn end(mut self, acks: &str) {
        self.flow();
        if !self.faults {
            // By now all of it is there, if it was ever taken.
            assert!(self.sent.is_empty(), "{} records are stuck", self.sent.len());
        }
        self.engine.with_producer(|producer, now| producer.abort(now));
        self.drain();
        assert!(self.sent.is_empty(), "every record is named");
        // What was written before an end comes before it.
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            self.serve(conn);
        }
        let topic = self.cluster.topic_id("t").expect("it was made");
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let log = self.cluster.whole_log(topic, 0).into_iter();
        let log: BTreeSet<String> = log.filter_map(|record| record.value.map(|value| text(&value))).collect();
        let missing = self.delivered.iter().filter(|value| !log.contains(*value)).count();
        assert_eq!(missing, 0, "delivered with acks={acks}, and never come");
    }
}
