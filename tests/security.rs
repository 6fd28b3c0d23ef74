//! Who the producer is and whom it trusts: SASL by hand, and SASL and TLS over sockets with every adapter.

#![cfg(all(feature = "cluster", feature = "scram"))]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::wildcard_enum_match_arm, clippy::unwrap_used, reason = "tests look at what they are about")]

mod desk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use desk::Desk;
use milena::cluster::{Request, SaslSettings, Server, ServerSettings, Settings};
use milena::{
    Config, ConnectionError, Event, Input, Record, Sasl, SaslExchange, SaslMechanism, SendError, Setup, SetupError,
    Token, TokenProvider,
};

const PLAIN: &str =
    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";";
const SCRAM: &str =
    "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"secret\";";
const BEARER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                      unsecuredLoginStringClaim_sub=\"alice\";";

/// Tokens come from the host.
const ASKED: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";

const MECHANISMS: [(&str, &str); 4] =
    [("PLAIN", PLAIN), ("SCRAM-SHA-256", SCRAM), ("SCRAM-SHA-512", SCRAM), ("OAUTHBEARER", BEARER)];

fn users() -> SaslSettings {
    SaslSettings::default().user("alice", "secret")
}

fn desk(mechanism: &str, jaas: &str, settings: SaslSettings) -> Desk {
    let options = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", mechanism),
        ("sasl.jaas.config", jaas),
        ("linger.ms", "1"),
    ];
    Desk::with(&options, Settings::default().sasl(settings))
}

/// The first send of a producer that is not let in.
fn denied(desk: &mut Desk) -> ConnectionError {
    for _ in 0..50 {
        match desk.producer.send(desk.now, &Record::new("t").value("v")) {
            Err(SendError::AccessDenied(error)) => return error,
            Err(SendError::NotReady { .. }) => desk.run(Duration::from_millis(100)),
            other => panic!("{other:?}"),
        }
    }
    panic!("nothing is said for five seconds");
}

#[test]
fn every_mechanism_is_let_in_with_jobs_and_without() {
    for (mechanism, jaas) in MECHANISMS {
        for jobs in ["0", "1"] {
            let options = [
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", jaas),
                ("compression.jobs", jobs),
            ];
            let mut desk = Desk::with(&options, Settings::default().nodes(3).sasl(users()));
            for partition in 0..4 {
                desk.send(&Record::new("t").value("v").partition(partition)).unwrap();
            }
            desk.run(Duration::from_secs(1));
            assert_eq!(desk.offsets(), [Some(0); 4], "{mechanism}");
            assert_eq!(desk.producer.stats().connection_failures, 0, "{mechanism}");
        }
    }
}

#[test]
fn who_is_not_let_in_is_told_why_and_does_not_hammer() {
    for (mechanism, jaas) in MECHANISMS {
        for wrong in [jaas.replace("secret", "wrong"), jaas.replace("alice", "mallory")] {
            if wrong == jaas {
                continue;
            }
            let mut desk = desk(mechanism, &wrong, users());
            let error = denied(&mut desk);
            assert!(matches!(error, ConnectionError::Authentication(_)), "{mechanism}: {error}");
            assert!(!error.to_string().contains("wrong"), "no password in {error}");
            let before = desk.producer.stats().connections;
            desk.run(Duration::from_secs(60));
            let attempts = desk.producer.stats().connections - before;
            assert!((3..=20).contains(&attempts), "{mechanism}: {attempts} attempts in a minute");
        }
    }
}

#[test]
fn other_credentials_are_used_from_the_next_connection_on() {
    let mut desk = desk("PLAIN", &PLAIN.replace("secret", "old"), users());
    denied(&mut desk);
    desk.producer.set_sasl(Sasl::Plain { user: "alice".into(), password: "secret".into() });
    desk.run(Duration::from_secs(15));
    desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.offsets(), [Some(0)]);
}

#[test]
fn a_mechanism_that_the_server_has_not_is_named_with_those_it_has() {
    #[derive(Debug)]
    struct Mine;
    impl SaslMechanism for Mine {
        fn begin(&mut self, _: &str, _: u16) -> Result<Box<dyn SaslExchange>, String> {
            Err("not needed".into())
        }
    }
    let mut without = desk("GSSAPI", "", users());
    assert!(denied(&mut without).to_string().contains("SaslMechanism"));
    let mut with = desk("GSSAPI", "", users());
    with.producer.set_sasl_mechanism(Box::new(Mine));
    assert!(denied(&mut with).to_string().contains("not needed"));
}

#[test]
fn a_mechanism_of_the_hosts_own_answers_challenges() {
    /// PLAIN, by another hand.
    #[derive(Debug)]
    struct Mine;
    impl SaslMechanism for Mine {
        fn begin(&mut self, host: &str, _: u16) -> Result<Box<dyn SaslExchange>, String> {
            assert_eq!(host, "127.0.0.1");
            Ok(Box::new(Mine))
        }
    }
    impl SaslExchange for Mine {
        fn first(&mut self) -> Result<Vec<u8>, String> {
            Ok(b"\0alice\0secret".to_vec())
        }
        fn respond(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, String> {
            assert!(challenge.is_empty());
            Ok(None)
        }
    }
    let mut desk = desk("PLAIN", PLAIN, users());
    desk.producer.set_sasl(Sasl::Custom { mechanism: "PLAIN".into() });
    desk.producer.set_sasl_mechanism(Box::new(Mine));
    desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.offsets(), [Some(0)]);
}

/// A token for `alice`, as the cluster takes it: it does not look at signatures.
fn token(lifetime: Option<Duration>) -> Token {
    // {"alg":"none"}.{"sub":"alice"}.
    Token::new("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", lifetime)
}

#[test]
fn a_token_is_asked_for_once_and_again_before_its_life_is_over() {
    let mut desk = desk("OAUTHBEARER", ASKED, users());
    desk.token = Some(Ok(token(Some(Duration::from_secs(100)))));
    for partition in 0..4 {
        desk.send(&Record::new("t").value("v").partition(partition)).unwrap();
    }
    desk.run(Duration::from_secs(1));
    assert_eq!((desk.offsets().len(), desk.tokens_asked), (4, 1));
    desk.run(Duration::from_secs(78));
    assert_eq!(desk.tokens_asked, 1);
    desk.run(Duration::from_secs(8));
    assert_eq!(desk.tokens_asked, 2, "in the last fifth of its life");
}

#[test]
fn a_host_without_a_token_is_quoted() {
    let mut desk = desk("OAUTHBEARER", ASKED, users());
    desk.token = Some(Err("the identity provider sleeps"));
    assert!(denied(&mut desk).to_string().contains("the identity provider sleeps"));
}

#[test]
fn a_host_that_never_gives_a_token_costs_the_setup_timeout() {
    let mut desk = desk("OAUTHBEARER", ASKED, users());
    assert!(matches!(desk.producer.send(desk.now, &Record::new("t").value("v")), Err(SendError::NotReady { .. })));
    desk.run(Duration::from_secs(15));
    assert!(desk.tokens_asked >= 1);
    let late = |event: &Event| {
        let Event::ConnectionFailed { error: ConnectionError::Authentication(words), .. } = event else { return false };
        words.contains("the TokenProvider has not answered")
    };
    assert!(desk.events.iter().any(late), "{:?}", desk.events);
    desk.token = Some(Ok(token(None)));
    desk.producer.handle_input(desk.now, Input::Token(Ok(token(None))));
    desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.offsets(), [Some(0)]);
}

#[test]
fn sessions_are_renewed_under_load_and_nothing_is_lost() {
    for (mechanism, jaas) in MECHANISMS {
        let mut desk = desk(mechanism, jaas, users().session_lifetime(Duration::from_secs(1)));
        let mut sent = 0;
        for n in 0..600 {
            for _ in 0..5 {
                desk.send(&Record::new("t").value("v").partition(n % 4)).unwrap();
                sent += 1;
            }
            desk.run(Duration::from_millis(100));
        }
        desk.run(Duration::from_secs(2));
        let delivered: usize = desk.deliveries().iter().filter(|d| d.outcome.is_ok()).map(|d| d.records.len()).sum();
        assert_eq!(delivered, sent, "{mechanism}");
        let stats = desk.producer.stats();
        assert_eq!((stats.connection_failures, stats.records_failed), (0, 0), "{mechanism}: {stats:?}");
        assert!(stats.reauthentications >= 55, "{mechanism}: {stats:?}");
        let logins = desk.cluster.counters().requests[&Request::SaslHandshake];
        assert!(logins >= 57, "{mechanism}: {logins}");
    }
}

/// Certificates for tests: an authority, and what it vouches for.
struct Certificates {
    authority: rcgen::Issuer<'static, rcgen::KeyPair>,
    authority_pem: String,
}

impl Certificates {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([]).unwrap();
        let name = format!("authority {:?}", key.public_key_raw().last_chunk::<8>());
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { authority_pem: certificate.pem(), authority: rcgen::Issuer::new(parameters, key) }
    }

    /// A certificate for a name, and its key, in PEM.
    fn issue(&self, name: &str, expired: bool) -> (String, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([name.to_string()]).unwrap();
        if expired {
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        (parameters.signed_by(&key, &self.authority).unwrap().pem(), key)
    }

    fn server(&self, name: &str, expired: bool, clients: bool) -> Arc<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let (certificate, key) = self.issue(name, expired);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.unwrap();
        let builder = if clients {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(self.authority_pem.as_bytes()).unwrap()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

fn server(tls: Option<Arc<rustls::ServerConfig>>, sasl: Option<SaslSettings>) -> Server {
    let cluster = Settings::default().nodes(3).sasl(sasl);
    Server::start_with(ServerSettings::default().cluster(cluster).tls(tls)).unwrap()
}

fn config(server: &Server, options: &[(&str, &str)]) -> Config {
    let servers = server.bootstrap();
    Config::from_properties([("bootstrap.servers", &*servers)].into_iter().chain(options.iter().copied())).unwrap()
}

/// One record by every adapter; how each went.
fn send_by_each(setup: impl Fn() -> Setup) -> Vec<Result<(), String>> {
    let record = Record::new("t").key("k").value("v");
    let wait = Duration::from_secs(5);
    let threads = (|| {
        let producer = milena::threads::Producer::new(setup()).map_err(|error| error.to_string())?;
        producer.send(&record).map_err(|error| error.to_string())?;
        producer.close(wait).map(drop).map_err(|error| error.to_string())
    })();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tokio = runtime.block_on(async {
        let producer = milena::tokio::Producer::spawn(setup()).map_err(|error| error.to_string())?;
        producer.send(&record).await.map_err(|error| error.to_string())?;
        producer.close(wait).await.map(drop).map_err(|error| error.to_string())
    });
    let smol = smol::block_on(async {
        let (producer, driver) = milena::smol::Producer::new(setup()).map_err(|error| error.to_string())?;
        smol::spawn(driver).detach();
        producer.send(&record).await.map_err(|error| error.to_string())?;
        producer.close(wait).await.map(drop).map_err(|error| error.to_string())
    });
    vec![threads, tokio, smol]
}

#[test]
fn every_adapter_speaks_sasl_over_tls() {
    let certificates = Certificates::new();
    for (mechanism, jaas) in MECHANISMS {
        let server = server(Some(certificates.server("127.0.0.1", false, false)), Some(users()));
        let options = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("sasl.jaas.config", jaas),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.certificates", &*certificates.authority_pem),
        ];
        let went = send_by_each(|| config(&server, &options).into());
        assert_eq!(went, vec![Ok(()); 3], "{mechanism}");
        assert_eq!(server.with(|cluster, _| cluster.counters().records), 3);
    }
}

#[test]
fn tls_1_2_is_spoken_too() {
    let certificates = Certificates::new();
    let server = server(Some(certificates.server("127.0.0.1", false, false)), None);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let options = [
            ("security.protocol", "SSL"),
            ("ssl.protocol", protocol),
            ("ssl.enabled.protocols", protocol),
            ("ssl.truststore.certificates", &*certificates.authority_pem),
        ];
        assert_eq!(send_by_each(|| config(&server, &options).into()), vec![Ok(()); 3], "{protocol}");
    }
}

#[test]
fn a_client_certificate_is_shown_and_asked_for() {
    let certificates = Certificates::new();
    let server = server(Some(certificates.server("127.0.0.1", false, true)), None);
    let (chain, key) = certificates.issue("client", false);
    let key = key.serialize_pem();
    let trust = [("security.protocol", "SSL"), ("ssl.truststore.certificates", &*certificates.authority_pem)];
    let with = [("ssl.keystore.certificate.chain", &*chain), ("ssl.keystore.key", &*key)];
    let with = [&trust[..], &with].concat();
    assert_eq!(send_by_each(|| config(&server, &with).into()), vec![Ok(()); 3]);
    let without = [&trust[..], &[("max.block.ms", "8000")]].concat();
    for went in send_by_each(|| config(&server, &without).into()) {
        let words = went.unwrap_err();
        assert!(words.to_lowercase().contains("certificate"), "{words}");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_or_a_port_is_said_soon_and_without_a_storm() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let good = || Some(certificates.server("127.0.0.1", false, false));
    let trust = |by: &Certificates| by.authority_pem.clone();
    let cases = [
        ("wrong authority", good(), "SSL", trust(&others), "issuer"),
        ("expired", Some(certificates.server("127.0.0.1", true, false)), "SSL", trust(&certificates), "expired"),
        ("another name", Some(certificates.server("example.org", false, false)), "SSL", trust(&certificates), "name"),
        ("plaintext to a TLS port", good(), "PLAINTEXT", trust(&certificates), "TLS"),
        ("TLS to a plaintext port", None, "SSL", trust(&certificates), "TLS"),
    ];
    for (case, tls, protocol, trust, words) in cases {
        let server = server(tls, None);
        let options = [("security.protocol", protocol), ("ssl.truststore.certificates", &*trust)];
        #[expect(clippy::disallowed_methods, reason = "how long a user waits")]
        let start = Instant::now();
        for went in send_by_each(|| config(&server, &options).into()) {
            let error = went.unwrap_err();
            assert!(error.contains(words), "{case}: {error}");
        }
        #[expect(clippy::disallowed_methods, reason = "how long a user waits")]
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(30), "{case}: within the set-up timeout, three times");
        let connections = server.with(|cluster, _| cluster.counters().connections);
        assert!(connections <= 3 * 12, "{case}: {connections} connections");
    }
}

#[test]
fn any_name_will_do_if_that_is_asked_for() {
    let certificates = Certificates::new();
    let server = server(Some(certificates.server("example.org", false, false)), None);
    let options = [
        ("security.protocol", "SSL"),
        ("ssl.endpoint.identification.algorithm", ""),
        ("ssl.truststore.certificates", &*certificates.authority_pem),
    ];
    assert_eq!(send_by_each(|| config(&server, &options).into()), vec![Ok(()); 3]);
}

#[test]
fn a_rustls_configuration_of_ones_own_is_used() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let certificates = Certificates::new();
    let server = server(Some(certificates.server("127.0.0.1", false, false)), None);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates.authority_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let ready = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let setup = || Setup::new(config(&server, &[("security.protocol", "SSL")])).tls(Arc::clone(&ready));
    assert_eq!(send_by_each(setup), vec![Ok(()); 3]);
}

#[test]
fn certificates_and_credentials_are_replaced_while_running() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = server(Some(certificates.server("127.0.0.1", false, false)), Some(users()));
    let options = |trust: &Certificates, jaas: &str| {
        let options = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", jaas),
            ("ssl.truststore.certificates", &*trust.authority_pem),
            ("reconnect.backoff.max.ms", "100"),
        ];
        config(&server, &options)
    };
    let producer = milena::threads::Producer::new(options(&others, PLAIN)).unwrap();
    assert!(producer.send(&Record::new("t").value("v")).is_err());
    producer.renew_security(options(&certificates, PLAIN)).unwrap();
    let sent = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        producer.send(&Record::new("t").value("v")).is_ok()
    });
    assert!(sent);
}

#[test]
fn a_token_provider_gives_tokens_to_every_adapter() {
    #[derive(Debug)]
    struct Provider;
    impl TokenProvider for Provider {
        fn token(&mut self) -> Result<Token, String> {
            Ok(token(Some(Duration::from_secs(3600))))
        }
    }
    let server = server(None, Some(users()));
    let options = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "OAUTHBEARER")];
    let setup = || Setup::new(config(&server, &options)).token_provider(Provider);
    assert_eq!(send_by_each(setup), vec![Ok(()); 3]);
    // The options by which Java fetches tokens are no hindrance then.
    let javas = [
        (
            "sasl.login.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
        ),
        ("sasl.oauthbearer.token.endpoint.url", "https://example.org/token"),
        ("sasl.jaas.config", ASKED),
    ];
    let options = [&options[..], &javas].concat();
    let setup = || Setup::new(config(&server, &options)).token_provider(Provider);
    assert_eq!(send_by_each(setup), vec![Ok(()); 3]);
}

/// Options as in a Java client's file, and an authorization server that answers with this status and text.
#[cfg(feature = "oidc")]
fn with_authorization(status: &'static str, text: impl Fn() -> String + Send + 'static) -> [(&'static str, String); 5] {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let head: Vec<String> =
                socket.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            socket.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
            let text = text();
            write!(socket.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        }
    });
    let client = ASKED.replace(';', " clientId=\"service\" clientSecret=\"hunter2\";");
    [
        ("security.protocol", "SASL_PLAINTEXT".to_string()),
        ("sasl.mechanism", "OAUTHBEARER".to_string()),
        (
            "sasl.login.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler".to_string(),
        ),
        ("sasl.oauthbearer.token.endpoint.url", format!("http://127.0.0.1:{port}/token")),
        ("sasl.jaas.config", client),
    ]
}

#[cfg(feature = "oidc")]
#[test]
fn an_authorization_server_gives_tokens_to_every_adapter() {
    use base64ct::{Base64UrlUnpadded, Encoding};
    #[expect(clippy::disallowed_methods, reason = "tokens end in real time")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let answer = move || {
        let claims = format!(r#"{{"sub":"alice","exp":{}}}"#, now + 3600);
        let claims = Base64UrlUnpadded::encode_string(claims.as_bytes());
        format!(r#"{{"access_token": "e30.{claims}.c2ln"}}"#)
    };
    let server = server(None, Some(users()));
    let options = |given: &[(&'static str, String)]| -> Setup {
        let given: Vec<_> = given.iter().map(|(name, value)| (*name, &**value)).collect();
        Setup::new(config(&server, &given))
    };
    let good = with_authorization("200 OK", answer);
    assert_eq!(send_by_each(|| options(&good)), vec![Ok(()); 3]);
    // Whoever is refused is told at the first send.
    let refusal = r#"{"error": "invalid_client", "error_description": "Who is hunter2?"}"#;
    let bad = with_authorization("401 Unauthorized", || refusal.to_string());
    for went in send_by_each(|| options(&bad)) {
        let error = went.unwrap_err();
        let words = "/token: it answers 401: invalid_client: Who is [hidden]?";
        assert!(error.contains("no token: http://127.0.0.1:") && error.contains(words), "{error}");
    }
    // Credentials are replaced while the producer runs.
    let producer = milena::threads::Producer::new(options(&bad)).unwrap();
    producer.send(&Record::new("t").value("v")).unwrap_err();
    producer.renew_security(options(&good)).unwrap();
    let is_let_in = || {
        std::thread::sleep(Duration::from_millis(100));
        producer.send(&Record::new("t").value("v")).is_ok()
    };
    assert!((0..100).any(|_| is_let_in()));
}

/// Makes a producer by every adapter, and sends nothing.
fn make_by_each(setup: impl Fn() -> Setup) -> Vec<Result<(), String>> {
    let words = |error: SetupError| {
        assert!(matches!(error, SetupError::Config(_)), "{error}");
        error.to_string()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    vec![
        milena::threads::Producer::new(setup()).map(|_| ()).map_err(words),
        runtime.block_on(async { milena::tokio::Producer::spawn(setup()).map(|_| ()).map_err(words) }),
        milena::smol::Producer::new(setup()).map(|_| ()).map_err(words),
    ]
}

#[test]
fn parts_that_only_the_application_has_are_missed_when_the_producer_is_made() {
    #[derive(Clone, Debug)]
    struct Mine;
    impl SaslMechanism for Mine {
        fn begin(&mut self, _: &str, _: u16) -> Result<Box<dyn SaslExchange>, String> {
            Err("not needed".into())
        }
    }
    impl TokenProvider for Mine {
        fn token(&mut self) -> Result<Token, String> {
            Err("not needed".into())
        }
    }
    impl milena::Partitioner for Mine {
        fn partition(&mut self, _: &Record<'_>, _: &milena::TopicView<'_>) -> milena::Choice<'_> {
            milena::Choice::To(0)
        }
    }
    impl milena::Interceptor for Mine {}
    let sasl = ("security.protocol", "SASL_PLAINTEXT");
    let tls = ("security.protocol", "SSL");
    let rustls = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let roots = rustls::RootCertStore::empty();
        Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
    };
    type Give = fn(Setup) -> Setup;
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], Give);
    let mechanism: Give = |setup| setup.sasl_mechanism(Mine);
    let tokens: Give = |setup| setup.token_provider(Mine);
    let cases: [Case<'_>; 8] = [
        (&[sasl], &["sasl.mechanism=GSSAPI", "did you forget", "SaslMechanism"], mechanism),
        (&[sasl, ("sasl.mechanism", "GSSAPI")], &["sasl.mechanism=GSSAPI", "Kerberos"], mechanism),
        (&[sasl, ("sasl.mechanism", "AWS_MSK_IAM")], &["AWS_MSK_IAM", "SCRAM-SHA-256", "SaslMechanism"], mechanism),
        (&[sasl, ("sasl.mechanism", "OAUTHBEARER")], &["OAUTHBEARER", "TokenProvider"], tokens),
        (
            &[sasl, ("sasl.mechanism", "PLAIN"), ("sasl.client.callback.handler.class", "a.B")],
            &["sasl.client.callback.handler.class", "SaslMechanism"],
            mechanism,
        ),
        (&[("partitioner.class", "a.B")], &["partitioner.class", "Partitioner"], |setup| setup.partitioner(Mine)),
        (&[("interceptor.classes", "a.B")], &["interceptor.classes", "Interceptor"], |setup| {
            setup.interceptor(Arc::new(Mine))
        }),
        (&[tls, ("ssl.engine.factory.class", "a.B")], &["ssl.engine.factory.class", "Setup::tls"], |setup| setup),
    ];
    for (options, words, give) in cases {
        let builder = || Config::builder("127.0.0.1:1").properties(options.iter().copied());
        for went in make_by_each(|| builder().build().unwrap().into()) {
            let said = went.unwrap_err();
            assert!(words.iter().all(|words| said.contains(words)), "{options:?}: {said}");
        }
        let given = || {
            let setup = give(Setup::new(builder().build().unwrap()));
            if options.contains(&tls) { setup.tls(rustls()) } else { setup }
        };
        assert_eq!(make_by_each(given), vec![Ok(()); 3], "{options:?}");
    }
}

#[test]
fn a_mock_asks_for_what_records_meet_and_for_no_more() {
    let options = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("ssl.engine.factory.class", "a.B"),
        ("ssl.truststore.location", "/nowhere.pem"),
    ];
    let with =
        |more: &[(&str, &str)]| Config::builder("h:1").properties(options.iter().chain(more).copied()).build().unwrap();
    assert!(milena::threads::Producer::mock(with(&[])).is_ok());
    let error = milena::threads::Producer::mock(with(&[("partitioner.class", "a.B")])).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("Partitioner"), "{error}");
}

#[test]
fn a_broken_store_is_told_when_the_producer_is_made_and_an_io_error_can_hold_it() {
    let options = [("security.protocol", "SSL"), ("ssl.truststore.location", "/nowhere.pem")];
    let setup = || Setup::from(Config::builder("h:1").properties(options).build().unwrap());
    for went in make_by_each(setup) {
        assert!(went.unwrap_err().contains("ssl.truststore.location: can't read /nowhere.pem"));
    }
    let made = || -> std::io::Result<()> {
        milena::threads::Producer::new(setup())?;
        Ok(())
    };
    let error = made().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("/nowhere.pem"));
}

/// As `openssl req -x509` makes it: marked as an issuer's, and its own truststore. Java trusts that.
#[test]
fn a_server_whose_certificate_is_the_truststore_is_trusted_by_every_adapter() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["127.0.0.1".to_string()]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let server = server(Some(Arc::new(tls)), None);
    let pem = certificate.pem().replace('\n', " ");
    let options = [("security.protocol", "SSL"), ("ssl.truststore.certificates", &*pem)];
    assert_eq!(send_by_each(|| config(&server, &options).into()), vec![Ok(()); 3]);
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let certificates = Certificates::new();
    let (chain, _) = certificates.issue("client", false);
    // Made with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkcs8 -topk8 -passout pass:secret
    let key = include_str!("encrypted-key.pem");
    let server = server(None, None);
    let options = |password: &'static str| {
        let options = [
            ("security.protocol", "SSL"),
            ("ssl.keystore.key", key),
            ("ssl.keystore.certificate.chain", &*chain),
            ("ssl.truststore.certificates", &*certificates.authority_pem),
            ("ssl.key.password", password),
        ];
        config(&server, &options)
    };
    let refusal = |password| milena::threads::Producer::new(options(password)).err().map(|error| error.to_string());
    assert!(refusal("").unwrap().contains("set ssl.key.password"));
    assert!(refusal("wrong").unwrap().contains("does not open"));
    // It opens, and is found not to belong to the certificate.
    let opened = refusal("secret").unwrap_or_default();
    assert!(!opened.contains("password"), "{opened}");
}
