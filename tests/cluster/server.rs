//! The cluster on real sockets: doors that open and close, and connections that end badly.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FetchResponse, MetadataRequest, MetadataResponse, ProduceRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use milena::cluster::{Cluster, SaslSettings, Server, ServerSettings, Settings, TestCluster, TopicId};

use crate::bench::{answer, batch, frame, name};
use crate::fetch::fetch;

/// Long enough for any machine, short enough for whoever waits for a failure.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(server: &str) -> TcpStream {
    let socket = TcpStream::connect(server).expect("the cluster listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn is_refused(server: &str) -> bool {
    TcpStream::connect(server).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn ask<Q: Encodable, A: Decodable>(socket: &mut (impl Read + Write), api: ApiKey, version: i16, request: &Q) -> A {
    socket.write_all(&frame(api, version, request)).expect("the socket takes it");
    hear(socket, api, version)
}

fn hear<A: Decodable>(socket: &mut impl Read, api: ApiKey, version: i16) -> A {
    let mut bytes = vec![0; 4];
    socket.read_exact(&mut bytes).expect("an answer");
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.resize(4 + length as usize, 0);
    socket.read_exact(&mut bytes[4..]).expect("the rest of it");
    answer(&bytes, api, version).expect("an answer")
}

fn is_served(server: &str) -> bool {
    let response: ApiVersionsResponse =
        ask(&mut connect(server), ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    response.error_code == 0
}

fn produce(acks: i16, values: &[&str]) -> Vec<u8> {
    let data = PartitionProduceData::default().with_records(Some(batch(-1, -1, -1, values)));
    let topic = TopicProduceData::default().with_name(name("t")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic]);
    frame(ApiKey::Produce, 9, &request)
}

/// Waits until something is so.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 5 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} did not happen");
}

#[test]
fn a_node_that_is_down_refuses_connections_and_listens_again_on_its_port() {
    let server = Server::start(Settings::default().nodes(2)).expect("loopback sockets");
    let bootstrap = server.bootstrap();
    let nodes: Vec<&str> = bootstrap.split(',').collect();
    let mut open = connect(nodes[0]);
    server.with(|cluster, _| cluster.crash(1));
    assert!(is_refused(nodes[0]));
    assert!(!matches!(open.read(&mut [0]), Ok(1..)), "its connections are broken");
    assert!(is_served(nodes[1]));
    server.with(|cluster, _| cluster.restart(1, false));
    assert!(is_served(nodes[0]));
    assert_eq!(server.bootstrap(), bootstrap);
}

#[test]
fn a_cluster_that_was_stopped_goes_on_with_what_it_had() {
    let cluster = TestCluster::builder().nodes(3).start().expect("loopback sockets");
    let bootstrap = cluster.bootstrap();
    let id = cluster.with(|cluster, _| cluster.create_topic("t", 1));
    let leader = |cluster: &TestCluster| cluster.with(|cluster, _| cluster.leader("t", 0));
    let node = leader(&cluster).expect("it is led");
    let address = bootstrap.split(',').nth(node as usize - 1).expect("a node").to_string();
    connect(&address).write_all(&produce(1, &["kept"])).expect("the socket takes it");
    wait_for("the record", || cluster.records("t").len() == 1);
    for _ in 0..3 {
        cluster.stop();
        assert!(bootstrap.split(',').all(is_refused));
        assert_eq!(cluster.records("t").len(), 1);
        cluster.start_again().expect("the ports are free");
        assert!(bootstrap.split(',').all(is_served));
        assert_eq!(leader(&cluster), Some(node));
    }
    assert_eq!(cluster.with(|cluster, _| cluster.topic_id("t")), Some(id));
    let request = cluster.with(|cluster, _| fetch(cluster, 12, 0));
    let response: FetchResponse = ask(&mut connect(&address), ApiKey::Fetch, 12, &request);
    assert!(response.responses[0].partitions[0].records.as_ref().is_some_and(|records| records.len() > 61));
    cluster.with(|cluster, _| cluster.crash(2));
    cluster.stop();
    cluster.start_again().expect("the ports are free");
    assert!(is_refused(bootstrap.split(',').nth(1).expect("three nodes")), "it was down before");
}

#[test]
fn a_port_that_was_taken_meanwhile_is_an_error_and_can_be_tried_again() {
    let cluster = TestCluster::builder().nodes(2).start().expect("loopback sockets");
    let bootstrap = cluster.bootstrap();
    let second = bootstrap.split(',').nth(1).expect("two nodes");
    cluster.stop();
    let thief = TcpListener::bind(second).expect("the port is free");
    assert!(cluster.start_again().is_err());
    assert!(is_refused(bootstrap.split(',').next().expect("two nodes")), "nothing was started");
    drop(thief);
    cluster.start_again().expect("the ports are free");
    assert!(bootstrap.split(',').all(is_served));
}

#[test]
fn a_node_whose_port_is_taken_comes_when_it_is_free() {
    let server = Server::start(Settings::default()).expect("loopback sockets");
    server.with(|cluster, _| cluster.crash(1));
    let thief = TcpListener::bind(server.bootstrap()).expect("the port is free");
    server.with(|cluster, _| cluster.restart(1, false));
    drop(thief);
    wait_for("the node", || !is_refused(&server.bootstrap()));
    assert!(is_served(&server.bootstrap()));
}

#[test]
fn each_server_has_topic_ids_of_its_own_unless_it_is_told_a_seed() {
    let id = |settings: &Settings| -> TopicId {
        let server = Server::start(settings.clone()).expect("loopback sockets");
        server.with(|cluster, _| cluster.create_topic("t", 1))
    };
    let (usual, told) = (Settings::default(), Settings::default().seed(7));
    assert_ne!(id(&usual), id(&usual));
    assert_eq!(id(&told), id(&told));
    let without_sockets = || Cluster::new(Settings::default()).create_topic("t", 1);
    assert_eq!(without_sockets(), without_sockets(), "a run without sockets can be repeated");
}

#[test]
fn clients_are_told_the_host_that_is_advertised() {
    let told = |settings: ServerSettings| {
        let server = Server::start_with(settings).expect("loopback sockets");
        let port = server.bootstrap().rsplit_once(':').expect("a port").1.to_string();
        let request = MetadataRequest::default().with_topics(Some(vec![]));
        let mut socket = connect(&format!("127.0.0.1:{port}"));
        let response: MetadataResponse = ask(&mut socket, ApiKey::Metadata, 9, &request);
        let broker = &response.brokers[0];
        assert_eq!(broker.port.to_string(), port);
        assert_eq!(server.bootstrap(), format!("{}:{port}", broker.host));
        broker.host.to_string()
    };
    let everywhere = ServerSettings::default().listen("0.0.0.0:0".parse::<std::net::SocketAddr>().expect("an address"));
    assert_eq!(told(ServerSettings::default()), "127.0.0.1");
    assert_eq!(told(everywhere.clone()), "127.0.0.1");
    assert_eq!(told(everywhere.advertise("kafka.test")), "kafka.test");
}

#[test]
fn a_consumer_that_waits_gets_what_another_connection_writes() {
    let server = Server::start(Settings::default()).expect("loopback sockets");
    server.with(|cluster, _| cluster.create_topic("t", 1));
    let request = server.with(|cluster, _| fetch(cluster, 12, 0).with_max_wait_ms(60_000));
    let mut consumer = connect(&server.bootstrap());
    consumer.write_all(&frame(ApiKey::Fetch, 12, &request)).expect("the socket takes it");
    std::thread::sleep(Duration::from_millis(20));
    connect(&server.bootstrap()).write_all(&produce(1, &["a"])).expect("the socket takes it");
    let response: FetchResponse = hear(&mut consumer, ApiKey::Fetch, 12);
    assert!(response.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()));
}

#[test]
fn what_was_on_its_way_when_the_client_ended_arrives() {
    let delay = Duration::from_millis(50);
    let server = Server::start_with(ServerSettings::default().delay(delay)).expect("loopback sockets");
    server.with(|cluster, _| cluster.create_topic("t", 1));
    let mut socket = connect(&server.bootstrap());
    for _ in 0..20 {
        socket.write_all(&produce(0, &["a"])).expect("the socket takes it");
    }
    drop(socket);
    wait_for("the last record", || server.with(|cluster, _| cluster.end_offsets("t")) == [20]);
}

#[test]
fn a_server_that_is_dropped_says_goodbye() {
    let server =
        Server::start_with(ServerSettings::default().delay(Duration::from_secs(60))).expect("loopback sockets");
    let mut socket = connect(&server.bootstrap());
    socket.write_all(&vec![0; 100_000]).expect("the socket takes it");
    wait_for("the connection", || server.with(|cluster, _| cluster.counters().connections) == 1);
    drop(server);
    assert_eq!(socket.read(&mut [0; 10]).expect("an end, and no reset"), 0);
}

/// Too many open files: the rest of the test below, in a process with a small limit.
#[test]
#[ignore = "started by the next test"]
fn with_few_files() {
    let server = Server::start(Settings::default()).expect("loopback sockets");
    let mut clients = Vec::new();
    let error = loop {
        match TcpStream::connect(server.bootstrap()) {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(24), "no more files: {error}");
    std::thread::sleep(Duration::from_millis(120)); // the server has no more either, and tries twice
    let mut last = clients.pop().expect("some were connected");
    clients.clear();
    last.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let response: ApiVersionsResponse = ask(&mut last, ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    assert_eq!(response.error_code, 0);
    assert!(is_served(&server.bootstrap()));
    println!("served with few files");
}

#[test]
#[cfg(target_os = "linux")]
fn a_cluster_without_files_goes_on_when_there_are_some() {
    let this = std::env::current_exe().expect("a path");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$0\" --ignored --exact --nocapture server::with_few_files"])
        .arg(this)
        .output()
        .expect("a shell");
    let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains("served with few files"), "{words}");
}

#[test]
fn passwords_are_in_no_debug_text() {
    let sasl = SaslSettings::default().user("alice", "confidential");
    let settings = ServerSettings::default().cluster(Settings::default().sasl(sasl));
    assert!(!format!("{settings:?}").contains("confidential"));
    let cluster = TestCluster::builder().user("alice", "confidential").start().expect("loopback sockets");
    assert!(!format!("{cluster:?}").contains("confidential"));
    let server = Server::start_with(settings).expect("loopback sockets");
    assert!(!format!("{server:?}").contains("confidential"));
    assert!(!server.with(|cluster, _| format!("{cluster:?}")).contains("confidential"));
}

#[cfg(feature = "tls")]
mod tls {
    use std::net::Shutdown;
    use std::sync::Arc;

    use milena::cluster::TestCluster;
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;

    fn secured(cluster: &TestCluster) -> StreamOwned<ClientConnection, TcpStream> {
        let properties = cluster.properties();
        let authority =
            properties.iter().find(|(name, _)| name == "ssl.truststore.certificates").expect("whom to trust");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.1.as_bytes()).expect("a certificate")).expect("it is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let host = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(config), host).expect("a client");
        StreamOwned::new(client, connect(&cluster.bootstrap()))
    }

    /// On a thread of its own: a cluster that turns in circles can't be dropped.
    #[test]
    fn a_byte_after_the_end_of_tls_ends_the_connection_and_nothing_else() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            say_something_after_the_end();
            let _ = done.send(()); // nobody waits any more if it took too long
        });
        is_done.recv_timeout(3 * PATIENCE).expect("it ends well, and in time");
    }

    #[test]
    fn a_server_that_is_dropped_ends_tls_first() {
        let cluster = TestCluster::builder().tls().start().expect("loopback sockets");
        let mut stream = secured(&cluster);
        let response: ApiVersionsResponse = ask(&mut stream, ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
        assert_eq!(response.error_code, 0);
        drop(cluster);
        assert_eq!(stream.read(&mut [0; 10]).expect("an end in order"), 0);
    }

    fn say_something_after_the_end() {
        let cluster = TestCluster::builder().tls().start().expect("loopback sockets");
        cluster.with(|cluster, _| cluster.create_topic("t", 1));
        let mut stream = secured(&cluster);
        let response: ApiVersionsResponse = ask(&mut stream, ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
        assert_eq!(response.error_code, 0);
        stream.write_all(&produce(0, &["last"])).expect("the socket takes it");
        stream.conn.send_close_notify();
        let mut behind = Vec::new();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut behind).expect("a vector takes all");
        }
        behind.extend_from_slice(&[0x17; 60_000]);
        let _ = stream.sock.write_all(&behind); // it may be closed before that is all written
        let _ = stream.sock.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.sock.read_to_end(&mut rest); // an end or a reset; a timeout would be neither
        wait_for("the last record", || cluster.records("t").len() == 1);
        // Another is served, so the thread is well.
        let response: ApiVersionsResponse =
            ask(&mut secured(&cluster), ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
        assert_eq!(response.error_code, 0);
    }
}
