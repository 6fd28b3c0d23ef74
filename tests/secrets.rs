//! No text shows what is nobody's business: logs, `Debug` and `Display` of all public types, errors, and what the tool prints show
//! neither passwords, keys and tokens nor the contents of records.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;
mod proxy;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::Buf;
use hosts::{Adapter, Producer, Tasks};
use milena::cluster::{Cluster, Peer, Request, SaslSettings, ServerSettings, Settings, TestCluster};
use milena::{
    Cause, Compressor, Config, ConnId, Header, Input, Instant, Output, Record, RecordBuf, Sasl, SaslExchange,
    SaslMechanism, ScramHash, Secret, SendError, Setup, Token, TokenProvider, UnixTime, parse_properties,
};
use proxy::{Link, Proxy, Room};

const PASSWORD: &str = "Swordfish-hunter2";
const WRONG_PASSWORD: &str = "Marlin-hunter3";
const KEY_PASSWORD: &str = "Barracuda-0451";
const KEY: &str = "key-of-record-8841";
const VALUE: &str = "value-of-record-7353";
const HEADER: &str = "header-of-record-9917";
/// `{"alg":"none"}.{"sub":"alice","jti":"Moray-opensesame"}.`
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImp0aSI6Ik1vcmF5LW9wZW5zZXNhbWUifQ.";
const TOKEN_CLAIMS: &str = "LCJqdGkiOiJNb3JheS1vcGVuc2VzYW1lIn0";
const SEED: [u8; 32] = *b"\xc3\x5a\x11\xc9\x07\xe8\x42\x9d\x31\xf6\x84\x0b\xd7\x6e\xa5\x1c\x93\x28\xfb\x50\xce\x17\x79\xb2\x04\xed\x66\x3f\xa8\x91\xdc\x45";

const HEADERS: &[Header<'static>] = &[Header::new("trace", HEADER.as_bytes())];

fn record() -> Record<'static> {
    Record::new("t").key(KEY).value(VALUE).headers(HEADERS)
}

/// A client's certificate and its key in PEM, and the bytes of the key that are secret.
fn client_key() -> &'static (String, String, Vec<u8>) {
    static MADE: OnceLock<(String, String, Vec<u8>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(["client".to_string()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        // PKCS#8 of a key of P-256: the number itself stands from the 37th byte on.
        (certificate, key.serialize_pem(), key.serialize_der()[36..68].to_vec())
    })
}

/// Everything that may stand nowhere.
fn secrets() -> Vec<(&'static str, Vec<u8>)> {
    let (_, pem, scalar) = client_key();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    vec![
        ("the password", PASSWORD.into()),
        ("the wrong password", WRONG_PASSWORD.into()),
        ("the key's password", KEY_PASSWORD.into()),
        ("the token", TOKEN_CLAIMS.into()),
        ("the token", TOKEN.split('.').nth(1).unwrap().into()),
        ("the seed", SEED.into()),
        ("the private key", scalar.clone()),
        // Without its head, which all such keys have.
        ("the private key's PEM", body.as_bytes()[50..92].into()),
        ("a record's key", KEY.into()),
        ("a record's value", VALUE.into()),
        ("a header's value", HEADER.into()),
    ]
}

/// Says if a text shows a part of a secret, as text, as a list of numbers, in hexadecimal or in base64.
fn shown(text: &str) -> Vec<String> {
    static FORMS: OnceLock<Vec<(&str, String)>> = OnceLock::new();
    let forms = FORMS.get_or_init(|| {
        let mut forms = Vec::new();
        for (name, secret) in secrets() {
            for window in secret.windows(8) {
                if let Ok(text) = std::str::from_utf8(window) {
                    forms.push((name, text.to_string()));
                }
                let list =
                    |format: fn(&u8) -> String, between| window.iter().map(format).collect::<Vec<_>>().join(between);
                forms.push((name, list(|byte| byte.to_string(), ", ")));
                forms.push((name, list(|byte| format!("{byte:02x}"), "")));
                forms.push((name, list(|byte| format!("{byte:02X}"), "")));
                forms.push((name, list(|byte| format!("0x{byte:02x}"), ", ")));
            }
            for skip in 0..3 {
                // Base64 of what lies three bytes apart looks the same wherever it stands, but for the last bytes.
                let aligned = &secret[skip..];
                let text = Base64::encode_string(&aligned[..aligned.len() / 3 * 3]);
                forms.push((name, text));
            }
        }
        forms
    });
    // `{:#?}` has a number a line.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found: Vec<_> = forms
        .iter()
        .filter(|(_, form)| text.contains(&**form))
        .map(|(name, form)| format!("{name} ({form})"))
        .collect();
    found.truncate(3);
    found
}

fn assert_hidden(what: &str, text: &str) {
    let shown = shown(text);
    assert!(shown.is_empty(), "{what} shows {}: {text:.3000}", shown.join(", "));
}

/// `{:?}` and `{:#?}`.
fn debug_hides(what: &str, value: &impl Debug) {
    assert_hidden(&format!("Debug of {what}"), &format!("{value:?}"));
    assert_hidden(&format!("Debug of {what}, on many lines,"), &format!("{value:#?}"));
}

fn error_hides(what: &str, error: &(impl Debug + std::fmt::Display)) {
    assert_hidden(&format!("the error of {what}"), &format!("{error}"));
    debug_hides(&format!("the error of {what}"), error);
}

/// Keeps what is logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

fn keep_lines() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// What was logged so far, by whichever test.
fn logged() -> Vec<String> {
    LINES.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[test]
fn the_search_finds_what_it_is_for() {
    let (_, pem, _) = client_key();
    for text in [
        "Swordfish-hunter2".to_string(),
        format!("{:?}", PASSWORD.as_bytes()),
        format!("{:#?}", VALUE.as_bytes()),
        format!("{:?}", bytes::Bytes::from_static(VALUE.as_bytes())),
        format!("{:02x?}", KEY.as_bytes()).replace([',', ' '], ""),
        Base64::encode_string(format!("\0alice\0{PASSWORD}").as_bytes()),
        format!("{SEED:?}"),
        pem.clone(),
        format!("Bearer {TOKEN}"),
    ] {
        assert!(!shown(&text).is_empty(), "{text}");
    }
    assert!(shown("alice, t, header trace, 127.0.0.1:9092").is_empty());
}

fn jaas(module: &str, password: &str) -> String {
    format!("org.apache.kafka.common.security.{module} required username=\"alice\" password=\"{password}\";")
}

/// PLAIN by another hand.
struct Mine;

impl Debug for Mine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mine")
    }
}

impl SaslMechanism for Mine {
    fn begin(&mut self, _: &str, _: u16) -> Result<Box<dyn SaslExchange>, String> {
        Ok(Box::new(Self))
    }
}

impl SaslExchange for Mine {
    fn first(&mut self) -> Result<Vec<u8>, String> {
        Ok(format!("\0alice\0{PASSWORD}").into_bytes())
    }

    fn respond(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

#[derive(Debug)]
struct Tokened;

impl TokenProvider for Tokened {
    fn token(&mut self) -> Result<Token, String> {
        Ok(Token::new(TOKEN, Some(Duration::from_secs(3600))))
    }
}

/// Ways to say who one is.
const MECHANISMS: [&str; 5] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "XTEST"];

fn sasl_options(mechanism: &str, password: &str) -> Vec<(String, String)> {
    let module = match mechanism {
        "PLAIN" => jaas("plain.PlainLoginModule", password),
        "OAUTHBEARER" => "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;".to_string(),
        "XTEST" => String::new(),
        _ => jaas("scram.ScramLoginModule", password),
    };
    let mut options = vec![("sasl.mechanism".to_string(), mechanism.to_string())];
    if !module.is_empty() {
        options.push(("sasl.jaas.config".to_string(), module));
    }
    options
}

/// A machine and a cluster, driven by hand; all that has a `Debug` is looked at on the way.
struct Looked {
    producer: milena::Producer,
    cluster: Cluster,
    peers: BTreeMap<ConnId, Peer>,
    compressor: Compressor,
    now: Instant,
    /// What the machine writes does not arrive.
    swallow: bool,
    looks: usize,
}

impl Looked {
    fn new(mechanism: &str, password: &str) -> Self {
        let options = [
            ("bootstrap.servers", "127.0.0.1:9092"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("compression.type", "gzip"),
            ("compression.jobs", "2"),
        ];
        let options = options.map(|(name, value)| (name.to_string(), value.to_string()));
        let config = Config::from_properties(options.into_iter().chain(sasl_options(mechanism, password))).unwrap();
        let mut producer =
            milena::Producer::new(Instant::ZERO, Some(UnixTime::from_millis(1_700_000_000_000)), config, SEED);
        if mechanism == "XTEST" {
            producer.set_sasl(Sasl::Custom { mechanism: "PLAIN".into() });
            producer.set_sasl_mechanism(Box::new(Mine));
        }
        let users = SaslSettings::default().user("alice", PASSWORD);
        let cluster = Cluster::new(Settings::default().sasl(users));
        let (peers, compressor) = (BTreeMap::new(), Compressor::default());
        Self { producer, cluster, peers, compressor, now: Instant::ZERO, swallow: false, looks: 0 }
    }

    fn look(&mut self) {
        self.looks += 1;
        debug_hides("the machine", &self.producer);
    }

    fn input(&mut self, input: Input<'_>) {
        debug_hides("an input", &input);
        self.producer.handle_input(self.now, input);
        self.look();
    }

    fn settle(&mut self) {
        loop {
            let output = self.producer.poll_output();
            debug_hides("an output", &output);
            let mut busy = true;
            match output {
                Output::Connect { conn, host, port, .. } => {
                    match self.cluster.node_at(&host, port).and_then(|node| self.cluster.connect(node)) {
                        Some(peer) => {
                            self.peers.insert(conn, peer);
                            self.input(Input::Connected(conn));
                        }
                        None => self.input(Input::Disconnected(conn, Cause::Connect("refused"))),
                    }
                }
                Output::Disconnect(conn) => drop(self.peers.remove(&conn)),
                Output::Transmit(conn) => self.write(conn),
                Output::Event(event) => debug_hides("an event", &event),
                Output::Job(job) => {
                    debug_hides("a job", &job);
                    let done = job.run(&mut self.compressor);
                    debug_hides("a job's result", &done);
                    self.input(Input::Done(done));
                }
                Output::Token { .. } => {
                    let token = Token::new(TOKEN, Some(Duration::from_secs(3600)));
                    debug_hides("a token", &token);
                    self.input(Input::Token(Ok(token)));
                }
                Output::Wait(_) => busy = false,
            }
            self.cluster.advance(self.now);
            for (conn, peer) in self.peers.clone() {
                let bytes = self.cluster.take_output(peer);
                if !bytes.is_empty() {
                    busy = true;
                    self.input(Input::Data(conn, &bytes));
                }
                if self.cluster.is_closed(peer) {
                    busy = true;
                    self.peers.remove(&conn);
                    self.input(Input::Disconnected(conn, Cause::Closed));
                }
            }
            debug_hides("the cluster", &self.cluster);
            if !busy {
                return;
            }
        }
    }

    fn write(&mut self, conn: ConnId) {
        loop {
            let mut transmit = self.producer.transmit(self.now, conn);
            debug_hides("what is to be written", &transmit);
            // A little at a time, so that messages and batches are half written when they are looked at.
            let bytes = transmit.copy_to_bytes(transmit.remaining().min(40));
            self.look();
            if bytes.is_empty() {
                return;
            }
            if let Some(peer) = self.peers.get(&conn).filter(|_| !self.swallow) {
                self.cluster.receive(self.now, *peer, &bytes);
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.settle();
            self.now = self.now + Duration::from_millis(10);
            self.input(Input::Timeout);
        }
    }

    fn send(&mut self) -> Result<(), SendError> {
        for _ in 0..40 {
            match self.producer.send(self.now, &record()) {
                Ok(sent) => {
                    debug_hides("a record that was taken", &sent);
                    self.look();
                    return Ok(());
                }
                Err(error @ SendError::NotReady { .. }) => {
                    error_hides("a send", &error);
                    self.run(Duration::from_millis(100));
                }
                Err(error) => {
                    error_hides("a send", &error);
                    return Err(error);
                }
            }
        }
        panic!("the topic never gets known");
    }
}

#[test]
fn the_machine_shows_nothing_at_any_step() {
    for mechanism in MECHANISMS {
        let mut looked = Looked::new(mechanism, PASSWORD);
        looked.send().unwrap();
        for _ in 0..20 {
            looked.send().unwrap();
        }
        looked.run(Duration::from_millis(100));
        // On the way, unanswered.
        looked.swallow = true;
        for _ in 0..20 {
            looked.send().unwrap();
        }
        looked.run(Duration::from_millis(100));
        // Broken, and to be sent again.
        for (conn, peer) in std::mem::take(&mut looked.peers) {
            looked.cluster.disconnect(peer);
            looked.input(Input::Disconnected(conn, Cause::Io("reset")));
        }
        looked.swallow = false;
        looked.cluster.fail_next(Request::Produce, 87, 1);
        looked.run(Duration::from_secs(1));
        looked.producer.close(looked.now);
        looked.run(Duration::from_millis(100));
        assert!(looked.producer.is_closed() && looked.looks > 100, "{mechanism}");
    }
}

#[test]
fn a_machine_that_is_not_let_in_shows_nothing() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mut looked = Looked::new(mechanism, WRONG_PASSWORD);
        assert!(matches!(looked.send(), Err(SendError::AccessDenied(_))), "{mechanism}");
        looked.run(Duration::from_millis(500));
    }
}

#[test]
fn what_is_configured_shows_no_secret() {
    let (certificate, pem, _) = client_key();
    let options = [
        ("bootstrap.servers", "127.0.0.1:9092"),
        ("security.protocol", "SASL_SSL"),
        ("ssl.keystore.certificate.chain", certificate),
        ("ssl.keystore.key", pem),
        ("ssl.key.password", KEY_PASSWORD),
    ];
    let options = options.map(|(name, value)| (name.to_string(), value.to_string()));
    for mechanism in MECHANISMS {
        let config = Config::from_properties(options.iter().cloned().chain(sasl_options(mechanism, PASSWORD))).unwrap();
        debug_hides("Config", &config);
        debug_hides("TlsOptions", config.tls());
        let setup = Setup::new(config).sasl_mechanism(Mine).token_provider(Tokened);
        debug_hides("Setup", &setup);
    }
    let mut builder = Config::builder("127.0.0.1:9092");
    for (name, value) in options.into_iter().chain(sasl_options("PLAIN", PASSWORD)) {
        builder = builder.option(&name, &value);
        debug_hides("ConfigBuilder", &builder);
    }
    let secret = Secret::new(PASSWORD);
    debug_hides("Secret", &secret);
    assert_hidden("Display of Secret", &format!("{secret}"));
    debug_hides("Sasl", &Sasl::Plain { user: "alice".into(), password: secret.clone() });
    let scram = Sasl::Scram { hash: ScramHash::Sha256, user: "alice".into(), password: secret, token: true };
    debug_hides("Sasl", &scram);
    debug_hides("Token", &Token::new(TOKEN, None));
}

#[test]
fn records_do_not_show_what_they_hold() {
    debug_hides("Record", &record());
    debug_hides("RecordBuf", &RecordBuf::from(&record()));
    debug_hides("Header", &HEADERS[0]);
    let mut cluster = Cluster::new(Settings::default());
    let conn = {
        // An id of a connection can't be made by hand.
        let config = Config::new("127.0.0.1:9092").unwrap();
        let mut producer = milena::Producer::new(Instant::ZERO, None, config, SEED);
        producer.want_topic(Instant::ZERO, "t").unwrap();
        let Output::Connect { conn, .. } = producer.poll_output() else { panic!("it connects first") };
        conn
    };
    debug_hides("Input::Data", &Input::Data(conn, VALUE.as_bytes()));
    debug_hides("Input::Token", &Input::Token(Ok(Token::new(TOKEN, None))));
    let peer = cluster.connect(1).unwrap();
    cluster.receive(Instant::ZERO, peer, &[&100_u32.to_be_bytes(), VALUE.as_bytes()].concat());
    debug_hides("Cluster", &cluster);
}

#[test]
fn clusters_for_tests_show_neither_passwords_nor_records() {
    let sasl = SaslSettings::default().user("alice", PASSWORD);
    debug_hides("SaslSettings", &sasl);
    let settings = Settings::default().sasl(sasl);
    debug_hides("Settings", &settings);
    debug_hides("ServerSettings", &ServerSettings::default().cluster(settings));
    let builder = TestCluster::builder().user("alice", PASSWORD).tls();
    debug_hides("TestClusterBuilder", &builder);
    let cluster = builder.start().unwrap();
    let producer = milena::threads::Producer::new(Config::from_properties(cluster.properties()).unwrap()).unwrap();
    producer.send(&record()).unwrap();
    debug_hides("TestCluster", &cluster);
    let stored = cluster.records("t");
    assert_eq!(stored.len(), 1);
    debug_hides("StoredRecord", &stored[0].1);
}

#[test]
fn mocks_do_not_show_what_was_sent() {
    let config = Config::new("127.0.0.1:9092").unwrap();
    let (producer, mock) = milena::threads::Producer::mock(config).unwrap();
    mock.auto_complete(false);
    let ack = producer.enqueue(&record()).unwrap();
    debug_hides("Mock", &mock);
    debug_hides("a mocked producer", &producer);
    debug_hides("Ack", &ack);
    assert_eq!(mock.history().len(), 1);
    mock.complete_next();
    debug_hides("Mock", &mock);
}

/// Settings that are wrong in ways in which people get them wrong.
#[test]
fn errors_of_wrong_settings_quote_no_secret() {
    let (certificate, pem, _) = client_key();
    let encrypted = include_str!("encrypted-key.pem");
    let plain = jaas("plain.PlainLoginModule", PASSWORD);
    let one_line = pem.replace('\n', " ");
    let halved = pem.split_at(pem.len() / 2).0.to_string();
    let spoilt = pem.replacen('M', "*", 3);
    let relabelled = pem.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let mislabelled = pem.replace("PRIVATE KEY", "CERTIFICATE");
    let unended = pem.replace("-----END PRIVATE KEY-----", "");
    let indented = pem.replace('\n', "\n   ");
    let sasl = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];
    let tls = [("security.protocol", "SSL"), ("ssl.keystore.certificate.chain", certificate.as_str())];
    let mut wrong: Vec<Vec<(&str, String)>> = Vec::new();
    let entries = [
        plain.replace(';', ""),
        plain.replace("\";", ";"),
        plain.replace("password=\"", "password="),
        plain.replace("password=", "password "),
        plain.replace("required", ""),
        plain.replace("required", "optional"),
        plain.replace("plain.PlainLoginModule", "scram.ScramLoginModule"),
        plain.replace("username=\"alice\"", ""),
        format!("{plain}{plain}"),
        format!("{plain} {PASSWORD}"),
        format!("alice:{PASSWORD}"),
        format!("PlainLoginModule required {PASSWORD};"),
        format!("PlainLoginModule required {PASSWORD}=alice;"),
        format!("KafkaClient {{ {plain} }};"),
        plain.replace("password=", "passwort="),
        PASSWORD.to_string(),
    ];
    for entry in entries {
        wrong.push(
            sasl.iter().map(|(name, value)| (*name, value.to_string())).chain([("sasl.jaas.config", entry)]).collect(),
        );
    }
    let keys = [
        one_line,
        halved,
        spoilt,
        relabelled,
        mislabelled,
        unended,
        indented,
        encrypted.to_string(),
        PASSWORD.to_string(),
        pem.lines().nth(1).unwrap().to_string(),
        pem.replace('-', ""),
        format!("{pem}{pem}"),
        String::new(),
    ];
    for key in keys {
        for password in [None, Some(KEY_PASSWORD)] {
            let mut options: Vec<_> = tls.iter().map(|(name, value)| (*name, value.to_string())).collect();
            options.push(("ssl.keystore.key", key.clone()));
            options.extend(password.map(|password| ("ssl.key.password", password.to_string())));
            wrong.push(options);
        }
        let misplaced = [("security.protocol", "SSL".to_string()), ("ssl.truststore.certificates", key.clone())];
        wrong.push(misplaced.into());
        let misplaced = [("ssl.keystore.certificate.chain", key.clone()), ("ssl.keystore.key", pem.clone())];
        wrong.push([[("security.protocol", "SSL".to_string())].as_slice(), &misplaced].concat());
    }
    for name in [
        "ssl.truststore.password",
        "ssl.keystore.password",
        "ssl.key.passwort",
        "sasl.password",
        "sasl.plain.password",
        "sasl.oauthbearer.client.credentials.client.secret",
        "ssl.keystore.type",
        "ssl.truststore.certificate",
        "sasl.jaas.conf",
        "basic.auth.user.info",
    ] {
        let options = tls.iter().map(|(name, value)| (*name, value.to_string()));
        wrong.push(options.chain([(name, PASSWORD.to_string())]).collect());
    }
    let mut refused = 0;
    for options in wrong {
        let what = format!("{:?}", options.iter().map(|(name, _)| name).collect::<Vec<_>>());
        let options = options.into_iter().chain([("bootstrap.servers", "127.0.0.1:1".to_string())]);
        match Config::from_properties(options) {
            Err(error) => {
                refused += 1;
                error_hides(&what, &error);
            }
            Ok(config) => {
                debug_hides(&what, &config);
                if let Err(error) = milena::threads::Producer::new(config) {
                    refused += 1;
                    error_hides(&what, &error);
                }
            }
        }
    }
    assert!(refused > 30, "{refused}");
}

/// What a producer does in its life, with every mechanism, on every adapter, by TLS where there is no proxy in between.
fn live(adapter: Adapter, mechanism: &'static str) {
    let (certificate, pem, _) = client_key();
    let builder = TestCluster::builder().nodes(2).user("alice", PASSWORD);
    let cluster = if mechanism == "XTEST" { builder } else { builder.tls() }.start().unwrap();
    let proxy =
        Proxy::new(&cluster, Room::default(), None, |_| Link { renames: Some(("XTEST", "PLAIN")), ..Link::FREE });
    let setup = |password: &str| {
        let mut options = proxy.properties(&cluster);
        options.retain(|(name, _)| !name.starts_with("sasl."));
        let more = [
            ("ssl.keystore.certificate.chain", certificate.as_str()),
            ("ssl.keystore.key", pem),
            ("compression.type", "gzip"),
            ("compression.jobs", "2"),
            ("buffer.memory", "60000"),
            ("max.block.ms", "2000"),
            ("max.request.size", "30000"),
        ];
        options.extend(more.map(|(name, value)| (name.to_string(), value.to_string())));
        options.extend(sasl_options(mechanism, password));
        let setup = Setup::new(Config::from_properties(options).unwrap());
        match mechanism {
            "OAUTHBEARER" => setup.token_provider(Tokened),
            "XTEST" => setup.sasl_mechanism(Mine),
            _ => setup,
        }
    };
    let what = format!("{adapter:?} with {mechanism}");
    adapter.run(setup(PASSWORD), async |producer: Producer, tasks: Tasks| {
        producer.send(&record()).await.unwrap();
        debug_hides(&what, &producer);
        // Failures of all kinds, and their words.
        cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 87, 1));
        error_hides("a record that is refused", &producer.send(&record()).await.unwrap_err());
        cluster.with(|cluster, _| cluster.fail_next(Request::Produce, 6, 2));
        producer.send(&record()).await.unwrap();
        let large = VALUE.repeat(3000);
        error_hides("a large record", &producer.send(&record().value(&large)).await.unwrap_err());
        error_hides("a record of the past", &producer.send(&record().timestamp(-5)).await.unwrap_err());
        error_hides("a record for nowhere", &producer.send(&record().partition(99)).await.unwrap_err());
        cluster.with(|cluster, _| cluster.set_forbidden("secret", true));
        let elsewhere = Record::new("secret").key(KEY).value(VALUE).headers(HEADERS);
        error_hides("a record for a forbidden topic", &producer.send(&elsewhere).await.unwrap_err());
        // In mid-flight, with memory used up.
        cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
        let mut acks = Vec::new();
        let full = loop {
            match producer.try_enqueue(&record()) {
                Ok(ack) => acks.push(ack),
                Err(error) => break error,
            }
        };
        error_hides("a full memory", &full);
        match producer.enqueue(&record()).await {
            Ok(ack) => acks.push(ack), // what is compressed meanwhile makes room
            Err(error) => error_hides("a memory that stays full", &error),
        }
        debug_hides(&format!("{what}, in mid-flight"), &producer);
        debug_hides("Ack", &acks);
        debug_hides("the counters", &producer.stats());
        cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
        for ack in acks.drain(..) {
            debug_hides("an outcome", &ack.outcome().await.unwrap());
        }
        cluster.with(|cluster, _| cluster.nodes().into_iter().for_each(|node| cluster.pause(node)));
        let given_up = producer.enqueue(&record()).await.unwrap();
        error_hides("a close that leaves records", &producer.close(Duration::from_millis(100)).await.unwrap_err());
        error_hides("a record that is given up", &given_up.outcome().await.unwrap_err());
        error_hides("a send after the end", &producer.send(&record()).await.unwrap_err());
        debug_hides(&format!("{what}, closed"), &producer);
        tasks.drop_driver().await;
    });
    cluster.with(|cluster, now| cluster.nodes().into_iter().for_each(|node| cluster.resume(now, node)));
    if mechanism != "OAUTHBEARER" && mechanism != "XTEST" {
        adapter.run(setup(WRONG_PASSWORD), async |producer: Producer, _: Tasks| {
            let error = producer.send(&record()).await.unwrap_err();
            error_hides("a wrong password", &error);
            debug_hides(&what, &producer);
        });
    }
}

/// All of what producers do, and all that they write about it: at the end, since lines of all tests are in one log.
#[test]
fn producers_their_errors_and_the_log_show_nothing() {
    keep_lines();
    let runs: Vec<_> = [Adapter::Threads, Adapter::TokioOne, Adapter::Smol]
        .into_iter()
        .map(|adapter| {
            std::thread::spawn(move || {
                MECHANISMS.map(|mechanism| std::panic::catch_unwind(|| live(adapter, mechanism)).is_ok())
            })
        })
        .collect();
    let well: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
    let lines = logged();
    assert!(lines.len() > 50 && lines.iter().any(|line| line.contains("DEBUG")), "{} lines", lines.len());
    for line in &lines {
        assert_hidden("a line of the log", line);
    }
    assert_eq!(well, [[true; 5]; 3], "by adapter and mechanism: see above");
}

#[test]
fn drivers_show_nothing() {
    let cluster = TestCluster::builder().user("alice", PASSWORD).start().unwrap();
    let config = || Config::from_properties(cluster.properties()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (producer, driver) = milena::tokio::Producer::new(config()).unwrap();
        let mut driver = Box::pin(driver);
        let record = record();
        tokio::select! {
            sent = producer.send(&record) => drop(sent.unwrap()),
            () = &mut driver => {}
        }
        producer.try_enqueue(&record).unwrap();
        debug_hides("tokio's driver", &driver);
        debug_hides("the producer of a driver that is not polled", &producer);
    });
    let (producer, driver) = milena::smol::Producer::new(config()).unwrap();
    debug_hides("smol's driver", &driver);
    debug_hides("smol's producer", &producer);
}

/// Exit status, and what is printed, both ways.
fn tool(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_milena"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_tool_prints_no_secret() {
    let cluster = TestCluster::builder().user("alice", PASSWORD).tls().start().unwrap();
    cluster.with(|cluster, _| cluster.create_topic("t", 1));
    let (certificate, pem, _) = client_key();
    let folder = std::env::temp_dir().join(format!("milena-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("client.properties");
    // Text as it has to stand in such a file.
    let written = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n\\\n  ");
    let write = |more: &[(&str, &str)]| {
        let mut options: BTreeMap<String, String> = cluster.properties().into_iter().collect();
        options.insert("max.block.ms".into(), "5000".into());
        options.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let text: String = options.iter().map(|(name, value)| format!("{name}={}\n", written(value))).collect();
        let again = parse_properties(&text);
        drop(again);
        std::fs::write(&file, text).unwrap();
    };
    let config = file.to_str().unwrap();
    let input = format!("{KEY}:{VALUE}\n").repeat(20);
    let wrong = jaas("plain.PlainLoginModule", WRONG_PASSWORD);
    let (one_line, broken) = (pem.replace('\n', " "), pem.replacen('M', "*", 3));
    let with_key = [("ssl.keystore.certificate.chain", certificate.as_str()), ("ssl.keystore.key", pem)];
    let cases = [
        ("the right password", Vec::new(), true),
        ("a client's key", with_key.to_vec(), true),
        ("a wrong password", vec![("sasl.jaas.config", &wrong)], false),
        ("a password as the entry", vec![("sasl.jaas.config", PASSWORD)], false),
        ("a key that is none", [with_key.as_slice(), &[("ssl.keystore.key", &broken)]].concat(), false),
        ("a password that is not taken", vec![("ssl.truststore.password", PASSWORD)], false),
        ("a key without its certificate", vec![("ssl.keystore.key", &one_line)], false),
    ];
    for (what, more, well) in cases {
        write(&more);
        for command in [
            vec!["produce", "--config", config, "--topic", "t", "--key-separator", ":", "--json"],
            vec!["produce", "--config", config, "--topic", "t", "--key-separator", ":"],
            vec!["metadata", "--config", config],
            vec!["perf", "--config", config, "--records", "100", "--details"],
        ] {
            let (status, out, errors) = tool(&command, &input);
            assert_eq!(status == Some(0), well, "{what}: {command:?} ended with {status:?}: {errors}");
            assert_hidden(&format!("{} with {what}, on its standard output,", command[0]), &out);
            assert_hidden(&format!("{} with {what}, among its errors,", command[0]), &errors);
        }
    }
    // Arguments that are no options.
    let entry = jaas("plain.PlainLoginModule", PASSWORD);
    for option in [
        format!("ssl.key.password:{PASSWORD}"),
        format!("ssl.key.password {PASSWORD}"),
        format!("sasl.jaas.config={}", entry.replace(';', "")),
        format!("sasl.jaas.conf={entry}"),
        format!("ssl.truststore.password={PASSWORD}"),
    ] {
        let (_, out, errors) = tool(&["produce", "--topic", "t", "-X", &option], "");
        assert_hidden("the tool's standard output", &out);
        assert_hidden("the tool's words for a wrong option", &errors);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
