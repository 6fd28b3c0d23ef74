//! The provider against servers of the tests' own.

use alloc::vec;
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{BufRead, BufReader, Read, Write};

use super::*;

const HANDLER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
const SECRET: &str = "hunter2/?&é";

/// What a client has sent: the head's lines, and the body.
type Asked = (Vec<String>, String);

/// What a server says to the request of this number; `None` to say nothing and wait until the client goes.
type Says = dyn Fn(usize) -> Option<String> + Send + Sync;

/// An authorization server.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(tls: Option<Arc<rustls::ServerConfig>>, says: Box<Says>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, over) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let (told, end) = (Arc::clone(&asked), Arc::clone(&over));
        let serve = move || {
            for socket in listener.incoming() {
                let socket = socket.unwrap();
                if end.load(Ordering::SeqCst) {
                    break;
                }
                // A client that does not trust the server leaves.
                let _ = match &tls {
                    None => answer(socket, &told, &*says),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        answer(rustls::StreamOwned::new(connection, socket), &told, &*says)
                    }
                };
            }
        };
        Self { port, asked, over, thread: Some(std::thread::spawn(serve)) }
    }

    fn plain(says: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::start(None, Box::new(says))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: impl Read + Write, asked: &Mutex<Vec<Asked>>, says: &Says) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_string());
    }
    let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    let number = {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((head, String::from_utf8(body).unwrap()));
        asked.len()
    };
    match says(number) {
        Some(text) => {
            stream.get_mut().write_all(text.as_bytes())?;
            stream.get_mut().flush()
        }
        None => stream.read(&mut [0]).map(|_| ()),
    }
}

fn with_status(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A token with this payload, in the answer of an authorization server.
fn token(payload: &str) -> String {
    let payload = base64ct::Base64UrlUnpadded::encode_string(payload.as_bytes());
    with_status(
        "200 OK",
        &format!(r#"{{"access_token": "e30.{payload}.c2ln", "token_type": "Bearer", "expires_in": 300}}"#),
    )
}

fn good() -> String {
    let end = clock::time_of_day().as_millis() / 1000 + 300;
    token(&format!(r#"{{"sub": "me", "exp": {end}}}"#))
}

fn jaas(options: &str) -> String {
    format!("org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required {options};")
}

const CLIENT_OPTIONS: &str = "clientId=\"me\" clientSecret=\"hunter2/?&é\" scope=\"a b\"";

fn config(url: &str, options: &[(&str, &str)]) -> Config {
    let jaas = jaas(CLIENT_OPTIONS);
    let all = [
        ("bootstrap.servers", "h:1"),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.login.callback.handler.class", HANDLER),
        ("sasl.jaas.config", &*jaas),
        ("sasl.oauthbearer.token.endpoint.url", url),
    ];
    Config::from_properties(all.iter().chain(options).copied()).unwrap()
}

/// The error, in which nothing secret stands.
fn words(error: impl ToString) -> String {
    let error = error.to_string();
    assert!(!error.contains("hunter2") && !error.contains("aHVudGVyM") && !error.contains("e30."), "{error}");
    error
}

fn fetch(url: &str, options: &[(&str, &str)]) -> Result<Token, String> {
    let config = config(url, options);
    assert!(!format!("{config:?}").contains("hunter2"));
    let mut provider = provider(&config).map_err(words)?.unwrap();
    assert!(!format!("{provider:?}").contains("hunter2"));
    provider.token().map_err(words)
}

fn url(server: &Server) -> String {
    format!("http://127.0.0.1:{}/token?key=hunter2", server.port)
}

/// Quick enough for tests.
const QUICK: [(&str, &str); 2] = [("sasl.login.retry.backoff.ms", "1"), ("sasl.login.retry.backoff.max.ms", "300")];

#[test]
fn a_client_asks_with_its_credentials_as_java_does() {
    let server = Server::plain(|_| Some(good()));
    let more = jaas(&format!("{CLIENT_OPTIONS} extension_traceId=\"x1\""));
    let token = fetch(&url(&server), &[("sasl.jaas.config", &more)]).unwrap();
    let lifetime = token.lifetime.unwrap().as_secs();
    assert!((290..=300).contains(&lifetime), "{lifetime}");
    assert_eq!(token.extensions, [("traceId".to_string(), "x1".to_string())]);
    let (head, body) = server.asked().remove(0);
    let basic = |text: &str| format!("Authorization: Basic {}", Base64::encode_string(text.as_bytes()));
    assert_eq!(head[0], "POST /token?key=hunter2 HTTP/1.1");
    for line in [
        &*basic(&format!("me:{SECRET}")),
        &format!("Host: 127.0.0.1:{}", server.port),
        "Accept: application/json",
        "Content-Type: application/x-www-form-urlencoded",
    ] {
        assert!(head.iter().any(|known| known == line), "{line}: {head:?}");
    }
    assert_eq!(body, "grant_type=client_credentials&scope=a+b");
    // Options of their own come first; and the header may be encoded.
    let options = [
        ("sasl.oauthbearer.client.credentials.client.id", "you there"),
        ("sasl.oauthbearer.client.credentials.client.secret", SECRET),
        ("sasl.oauthbearer.scope", "c"),
        ("sasl.oauthbearer.header.urlencode", "true"),
    ];
    fetch(&url(&server), &options).unwrap();
    let (head, body) = server.asked().remove(1);
    assert!(head.contains(&basic("you+there:hunter2%2F%3F%26%C3%A9")), "{head:?}");
    assert_eq!(body, "grant_type=client_credentials&scope=c");
}

#[test]
fn a_client_asks_with_an_assertion() {
    let path = std::env::temp_dir().join(format!("milena-assertion-{}.jwt", std::process::id()));
    std::fs::write(&path, "e30.hunter2.c2ln\n").unwrap();
    let path_text = path.display().to_string();
    let server = Server::plain(|_| Some(good()));
    let bearer =
        ("sasl.oauthbearer.jwt.retriever.class", "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever");
    let file = ("sasl.oauthbearer.assertion.file", &*path_text);
    fetch(&url(&server), &[bearer, file, ("sasl.oauthbearer.scope", "c")]).unwrap();
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=e30.hunter2.c2ln";
    assert_eq!(server.asked()[0].1, format!("{grant}&scope=c"));
    assert!(server.asked()[0].0.iter().all(|line| !line.starts_with("Authorization")));
    // The scope in sasl.jaas.config is for client credentials alone.
    fetch(&url(&server), &[bearer, file]).unwrap();
    assert_eq!(server.asked()[1].1, grant);
    // In place of a secret.
    fetch(&url(&server), &[file]).unwrap();
    let (head, body) = server.asked().remove(2);
    assert_eq!(
        body,
        "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion=e30.hunter2.c2ln&client_id=me&scope=a+b"
    );
    assert!(head.iter().all(|line| !line.starts_with("Authorization")));
    // Signed here.
    let key = format!("{}/tests/tls/ec.key", env!("CARGO_MANIFEST_DIR"));
    let signed = [
        bearer,
        ("sasl.oauthbearer.assertion.private.key.file", &*key),
        ("sasl.oauthbearer.assertion.algorithm", "ES256"),
        ("sasl.oauthbearer.assertion.claim.sub", "me"),
    ];
    fetch(&url(&server), &signed).unwrap();
    let body = server.asked().remove(3).1;
    assert_eq!(body.split('.').count(), 3, "{body}");
    // It is read anew each time.
    std::fs::remove_file(&path).unwrap();
    let error = fetch(&url(&server), &[bearer, file]).unwrap_err();
    assert!(error.contains("sasl.oauthbearer.assertion.file") && error.contains("can't read"), "{error}");
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_token_may_stand_in_a_file() {
    let path = std::env::temp_dir().join(format!("milena-token-{}.jwt", std::process::id()));
    let url = format!("file://{}", path.display());
    let answer = good();
    let (_, token) = answer.split_once("\"access_token\": \"").unwrap();
    std::fs::write(&path, format!("{}\n", token.split('"').next().unwrap())).unwrap();
    assert!(fetch(&url, &[]).unwrap().lifetime.unwrap().as_secs() > 290);
    for (text, words) in [("", "no token"), ("hunter2 hunter2", "no token"), ("hunter2", "no JWT")] {
        std::fs::write(&path, text).unwrap();
        let error = fetch(&url, &[]).unwrap_err();
        assert!(error.contains(words) && error.contains(&path.display().to_string()), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(fetch(&url, &[]).unwrap_err().contains("can't read"));
}

#[test]
fn what_lasts_is_told_at_once_and_in_the_servers_words() {
    let long = "x".repeat(100_000);
    let cases: [(String, &str); 16] = [
        (
            with_status("401 Unauthorized", r#"{"error": "invalid_client", "error_description": "Wrong\n secret"}"#),
            "it answers 401: invalid_client: Wrong  secret",
        ),
        (with_status("400 Bad Request", r#"{"error": "invalid_scope"}"#), "it answers 400: invalid_scope"),
        (with_status("400 Bad Request", r#"{"errorCode": "E7", "errorSummary": "no"}"#), "it answers 400: E7: no"),
        (with_status("403 Forbidden", "<html>hunter2</html>"), "it answers 403"),
        // A server that repeats what it was sent.
        (with_status("400 Bad Request", r#"{"error": "no hunter2/?&é"}"#), "no [hidden]"),
        (with_status("400 Bad Request", &format!(r#"{{"error": "{long}"}}"#)), "it answers 400: xxx"),
        (with_status("404 Not Found", ""), "it answers 404"),
        (with_status("501 Not Implemented", ""), "it answers 501"),
        (with_status("302 Found", ""), "a redirection, which is not followed"),
        (with_status("200 OK", "<html>hunter2</html>"), "no JSON"),
        (with_status("200 OK", r#"["hunter2"]"#), "no JSON object"),
        (with_status("200 OK", r#"{"token": "hunter2"}"#), "no access_token"),
        (with_status("200 OK", r#"{"access_token": 7, "error": "odd"}"#), "no access_token: odd"),
        (with_status("200 OK", r#"{"access_token": "hunter2"}"#), "no JWT"),
        (token(r#"{"sub": "hunter2"}"#), "when it ends"),
        (token(r#"{"sub": "hunter2", "exp": 1}"#), "over already"),
    ];
    for (says, expected) in cases {
        let server = Server::plain(move |_| Some(says.clone()));
        let error = fetch(&url(&server), &QUICK).unwrap_err();
        let place = format!("http://127.0.0.1:{}/token: ", server.port);
        assert!(error.starts_with(&place) && error.contains(expected) && error.len() < 500, "{expected}: {error}");
        assert_eq!(server.asked().len(), 1, "{error}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    for says in [
        with_status("500 Internal Server Error", ""),
        with_status("503 Service Unavailable", "busy"),
        with_status("429 Too Many Requests", r#"{"error": "slow_down"}"#),
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_string(),
        String::new(),
    ] {
        let before = says.clone();
        let server = Server::plain(move |number| Some(if number < 4 { before.clone() } else { good() }));
        fetch(&url(&server), &QUICK).unwrap();
        assert_eq!(server.asked().len(), 4, "{says}");
        // Not for ever: the pauses are 1, 2, 4 ms and so on, and the last attempt begins within 300 ms.
        let server = Server::plain(move |_| Some(says.clone()));
        let error = fetch(&url(&server), &QUICK).unwrap_err();
        let asked = server.asked().len();
        assert!((2..=9).contains(&asked) && error.ends_with(&format!("({asked} attempts)")), "{asked}: {error}");
        // And not at all.
        let error = fetch(&url(&server), &[("sasl.login.retry.backoff.ms", "0")]).unwrap_err();
        assert!(server.asked().len() == asked + 1 && !error.contains("attempts"), "{error}");
    }
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let clock = Clock::start();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch(&format!("http://{nobody}/token"), &QUICK).unwrap_err();
    assert!(error.contains(&format!("can't connect to {nobody}")) && error.contains("attempts"), "{error}");
    let silent = Server::plain(|_| None);
    let error = fetch(&url(&silent), &[QUICK[0], QUICK[1], ("sasl.login.read.timeout.ms", "50")]).unwrap_err();
    assert!(error.contains("no answer in time"), "{error}");
    // Without that option, as long as somebody waits for the token: three quarters of the patience with a connection.
    let error = fetch(&url(&silent), &[("socket.connection.setup.timeout.ms", "200")]).unwrap_err();
    assert!(error.contains("no answer in time"), "{error}");
    // A byte now and then is no answer either.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let drip = std::thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        while socket.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let error = fetch(
        &format!("http://{address}/"),
        &[QUICK[0], ("sasl.login.retry.backoff.max.ms", "1"), ("sasl.login.read.timeout.ms", "100")],
    );
    let error = error.unwrap_err();
    assert!(error.contains("no HTTP") || error.contains("in time"), "{error}");
    drip.join().unwrap();
    let error = fetch("http://no-such-host.invalid/token", &[("sasl.login.retry.backoff.ms", "0")]).unwrap_err();
    assert!(error.contains("can't resolve its name"), "{error}");
    assert!(clock.now() < crate::time::Instant::from_millis(60_000), "all of it in bounds");
}

/// An authority's certificate, and a server that shows one of its.
fn secured(name: &str, expired: bool) -> (String, Arc<rustls::ServerConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new([name.to_string()]).unwrap();
    if expired {
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }
    let chain = vec![parameters.signed_by(&key, &issuer).unwrap().der().clone()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (certificate.pem(), Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

#[test]
fn the_endpoint_is_trusted_by_what_the_login_modules_options_say() {
    let trusting = |pem: &str| {
        let options = format!("{CLIENT_OPTIONS} ssl.truststore.type=\"PEM\" ssl.truststore.certificates=\"{pem}\"");
        jaas(&options.replace('\n', " "))
    };
    let (ours, good_server) = secured("127.0.0.1", false);
    let fetch = |server: &Server, jaas: &str| {
        let url = format!("https://127.0.0.1:{}/token", server.port);
        fetch(&url, &[("sasl.jaas.config", jaas), ("sasl.login.retry.backoff.ms", "50")])
    };
    let server = Server::start(Some(good_server), Box::new(|_| Some(good())));
    fetch(&server, &trusting(&ours)).unwrap();
    assert_eq!(server.asked().len(), 1);
    let (expired_authority, expired) = secured("127.0.0.1", true);
    let (other_authority, other) = secured("example.org", false);
    let start = |config| Server::start(Some(config), Box::new(|_| Some(good())));
    let (expired, other) = (start(expired), start(other));
    for (server, authority, expected) in [
        (&server, &other_authority, "issuer"),
        (&expired, &expired_authority, "expired"),
        (&other, &other_authority, "the URLs that are used have to have names"),
    ] {
        let before = server.asked().len();
        let error = fetch(server, &trusting(authority)).unwrap_err();
        assert!(
            error.contains("TLS: ") && error.contains(expected) && !error.contains("attempts"),
            "{expected}: {error}"
        );
        assert!(!error.contains("broker") && !error.contains("bootstrap"), "it is about the endpoint: {error}");
        assert_eq!(server.asked().len(), before, "no secret was sent");
    }
    // As Java: what is said of the brokers is not for the endpoint.
    let any =
        format!("{} ssl.endpoint.identification.algorithm=\"\"", trusting(&other_authority).trim_end_matches(';'));
    fetch(&other, &(any + ";")).unwrap();
    let error = fetch(&server, &jaas(&format!("{CLIENT_OPTIONS} ssl.truststore.location=\"/nowhere\""))).unwrap_err();
    assert!(error.contains("in sasl.jaas.config") && error.contains("/nowhere"), "{error}");
}

#[test]
fn what_is_wrong_with_the_options_is_told_when_the_producer_is_made() {
    let none = jaas("");
    let bearer =
        ("sasl.oauthbearer.jwt.retriever.class", "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 17] = [
        ("", &[], "sasl.oauthbearer.token.endpoint.url is missing"),
        ("hunter2", &[], "begins with https, http or file"),
        ("ftp://hunter2/", &[], "begins with https, http or file"),
        ("https:hunter2", &[], "two slashes"),
        ("https://me:hunter2@h/", &[], "no place in it"),
        ("https://h:hunter2/", &[], "port"),
        ("https://h:70000/", &[], "port"),
        ("https:///hunter2", &[], "no host"),
        ("https://[::1/hunter2", &[], "bracket"),
        ("https://h/a hunter2", &[], "percents"),
        ("https://h/\r\nX: hunter2", &[], "percents"),
        ("file:hunter2", &[], "file:///PATH"),
        ("https://h/", &[("sasl.jaas.config", &none)], "sasl.oauthbearer.client.credentials.client.id is missing"),
        ("https://h/", &[bearer], "sasl.oauthbearer.assertion.private.key.file is missing"),
        ("file:///a", &[bearer], "takes http and https"),
        ("https://h/", &[("sasl.login.retry.backoff.ms", "20000")], "at least sasl.login.retry.backoff.ms"),
        ("https://h/", &[("sasl.oauthbearer.sub.claim.name", "")], "name of a claim"),
    ];
    for (url, options, expected) in cases {
        let setup = crate::Setup::from(config(url, options));
        let error = words(setup.check().unwrap_err());
        assert!(error.contains(expected), "{url}: {error}");
        // Whoever brings a provider needs none of it.
        #[derive(Debug)]
        struct Mine;
        impl TokenProvider for Mine {
            fn token(&mut self) -> Result<Token, String> {
                Err("not needed".into())
            }
        }
        setup.token_provider(Mine).check().unwrap();
    }
    // Classes of the application's own are parts that it brings.
    for option in [
        "sasl.login.callback.handler.class",
        "sasl.oauthbearer.jwt.retriever.class",
        "sasl.oauthbearer.jwt.validator.class",
    ] {
        let error = crate::Setup::from(config("https://h/", &[(option, "com.example.Mine")])).check().unwrap_err();
        assert!(error.to_string().contains("TokenProvider"), "{option}: {error}");
    }
    // No option of this kind is misspelt without a word; those of brokers are known.
    let with = |name| Config::from_properties([("bootstrap.servers", "h:1"), (name, "x")]);
    let error = with("sasl.oauthbearer.scop").unwrap_err().to_string();
    assert!(error.contains("did you mean sasl.oauthbearer.scope?"), "{error}");
    assert!(with("sasl.oauthbearer.jwks.endpoint.url").is_ok());
}

#[test]
fn urls_are_read() {
    let (authority, _) = secured("h", false);
    for (url, shown) in [
        ("https://h", "https://h/"),
        ("HTTPS://H:8443/a/b?c=hunter2#d", "https://H:8443/a/b"),
        ("https://[::1]:8443?c", "https://[::1]:8443/"),
        ("http://h:80/", "http://h:80/"),
        ("  http://h/  ", "http://h/"),
    ] {
        let trusting =
            jaas(&format!("{CLIENT_OPTIONS} ssl.truststore.certificates=\"{authority}\"").replace('\n', " "));
        let config = config(url, &[("sasl.jaas.config", &trusting)]);
        let Some(Ok(oidc)) = &config.oidc else { panic!("{url}: {:?}", config.oidc) };
        assert_eq!(format!("{oidc:?}"), format!("Oidc({shown})"));
        assert!(provider(&config).unwrap().is_some());
    }
}
