//! What Java's classes say of configurations, keys and certificates, against what is written down of it and what milena does.
//! No broker is needed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use milena::cluster::{Server, ServerSettings};
use milena::{Config, SecurityProtocol, TlsOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::broker::Kafka;

type Scenario = fn(&mut Kafka) -> Result<String, String>;

/// Those that need Java alone.
pub const JAVA: &[(&str, Scenario)] =
    &[("java_vectors", java_vectors), ("java_trust", java_trust), ("java_keys", java_keys)];

fn file(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The vectors that the quick tests read are what the classes say.
fn java_vectors(kafka: &mut Kafka) -> Result<String, String> {
    let mut rows = Vec::new();
    for kind in ["properties", "servers", "values", "jaas"] {
        let said = kafka.java(&file("golden/Vectors.java"), &[kind]);
        let path = file(&format!("golden/{kind}.jsonl"));
        let known = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let wrong: Vec<_> = said.lines().zip(known.lines()).filter(|(said, known)| said != known).collect();
        let (count, wanted) = (said.lines().count(), known.lines().count());
        if !wrong.is_empty() || count != wanted || count < 100 {
            return Err(format!("{kind}: {count} lines, {wanted} known, {} differ: {:?}", wrong.len(), wrong.first()));
        }
        rows.push(format!("{count} {kind}"));
    }
    Ok(rows.join(", "))
}

/// A Java program that is asked one question after the other.
struct Java {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Java {
    fn start(kafka: &Kafka) -> Self {
        let mut process = Command::new("java")
            .args(["-cp", &kafka.class_path(), &file("kafka/Tls.java")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("java runs");
        let questions = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, questions, answers }
    }

    /// Whether Java takes it, and what it says if not.
    fn ask(&mut self, question: &[&str]) -> Result<(), String> {
        writeln!(self.questions, "{}", question.join("\t")).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        match answer.trim() {
            "ok" => Ok(()),
            refused if refused.starts_with("refused: ") => Err(refused.to_string()),
            other => panic!("Java says {other:?} to {question:?}"),
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whom both trust, and whom Java alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Both,
    JavaAlone,
    Nobody,
}

/// Servers with the certificates of tests/tls: what Java and milena make of each, by TLS 1.2 and 1.3.
fn java_trust(kafka: &mut Kafka) -> Result<String, String> {
    use Who::{Both, JavaAlone, Nobody};
    let itself = ["self-v1", "self-cn", "self-san", "server-v1", "server-cn", "server-authority", "server-client-only"];
    let itself = itself.iter().chain(&["server-sha1", "server-expired", "server-future", "server-by-ca1024"]);
    let itself = itself.flat_map(|name| [(*name, *name, "localhost", Both), (*name, *name, "127.0.0.1", Nobody)]);
    let cases = [
        ("ca", "server-good", "localhost", Both),
        ("ca", "server-good", "127.0.0.1", Nobody),
        ("ca-v1", "server-by-ca-v1", "localhost", Both),
        ("self-other", "self-other", "localhost", Nobody),
        ("ca", "server-v1", "localhost", JavaAlone),
        ("ca", "server-cn", "localhost", JavaAlone),
        ("ca", "server-cn", "127.0.0.1", Nobody),
        ("ca", "server-authority", "localhost", JavaAlone),
        ("ca", "server-sha1", "localhost", JavaAlone),
        ("ca1024", "server-by-ca1024", "localhost", JavaAlone),
        ("ca", "server-client-only", "localhost", Nobody),
        ("ca", "server-expired", "localhost", Nobody),
        ("ca", "server-future", "localhost", Nobody),
        ("ca", "self-san", "localhost", Nobody),
    ];
    let mut java = Java::start(kafka);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (trusted, certificate, host, who) in itself.chain(cases) {
        let server = server(certificate);
        let address = server.bootstrap();
        let port = address.split(',').next().and_then(|first| first.rsplit_once(':')).expect("an address").1;
        let trusted = file(&format!("tls/{trusted}.crt"));
        for version in ["TLSv1.2", "TLSv1.3"] {
            let says = java.ask(&["shake", host, port, &trusted, version]);
            let ours = trusts(&trusted, host, port, version == "TLSv1.3");
            let found = match (&says, &ours) {
                (Ok(()), Ok(())) => Some(Both),
                (Ok(()), Err(_)) => Some(JavaAlone),
                (Err(_), Err(_)) => Some(Nobody),
                (Err(_), Ok(())) => None,
            };
            count += 1;
            if found != Some(who) {
                wrong.push(format!("{certificate} as {host} by {version}: Java {says:?}, milena {ours:?}"));
            }
        }
    }
    if wrong.is_empty() { Ok(format!("{count} handshakes")) } else { Err(wrong.join("\n")) }
}

/// A cluster in memory that shows a certificate, whatever rustls thinks of it.
fn server(certificate: &str) -> Server {
    let provider = rustls::crypto::ring::default_provider();
    let chain = CertificateDer::from_pem_file(file(&format!("tls/{certificate}.crt"))).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file("tls/rsa.key")).expect("a key");
    let key = provider.key_provider.load_private_key(key).expect("a key that rustls knows");
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![chain], key));
    let tls = builder.expect("versions").with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    Server::start_with(ServerSettings { tls: Some(Arc::new(tls)), ..ServerSettings::default() }).expect("a server")
}

fn trusts(trusted: &str, host: &str, port: &str, tls13: bool) -> Result<(), String> {
    let config = Config::builder(&format!("{host}:{port}"))
        .security_protocol(SecurityProtocol::Ssl)
        .tls(TlsOptions::new().truststore_location(trusted).versions(!tls13, tls13))
        .build();
    let producer = milena::threads::Producer::new(config.map_err(|error| error.to_string())?);
    let producer = producer.map_err(|error| error.to_string())?;
    producer.list_topics().map(|_| ()).map_err(|error| error.to_string())
}

/// Each key of tests/tls that Java's client takes is taken here, or refused by the name of its form.
fn java_keys(kafka: &mut Kafka) -> Result<String, String> {
    let mut java = Java::start(kafka);
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    let mut keys: Vec<String> = std::fs::read_dir(file("tls"))
        .expect("tests/tls is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.ends_with(".key") || (name.starts_with("keytool-") && !name.contains("list") && name.ends_with(".pem"))
        })
        .collect();
    keys.sort();
    for key in &keys {
        let chain = match key.split_once(['-', '.']).map(|(first, _)| first) {
            Some("keytool") => key.replace("-pkcs8", "").replace(".key", ".crt"),
            Some(_) if std::path::Path::new(&file(&format!("tls/{}", key.replace(".key", ".crt")))).exists() => {
                key.replace(".key", ".crt")
            }
            Some(kind) => format!("{kind}.crt"),
            None => return Err(format!("{key} has no name")),
        };
        let (key_file, chain_file) = (file(&format!("tls/{key}")), file(&format!("tls/{chain}")));
        let text = std::fs::read_to_string(&key_file).map_err(|error| error.to_string())?;
        let password = match key {
            _ if !text.contains("ENCRYPTED") => "",
            _ if key.contains("unicode") => "sécret€",
            _ if key.contains("blank") => "secret ",
            _ => "secret",
        };
        let says = java.ask(&["key", &key_file, &chain_file, password]);
        let chain = std::fs::read_to_string(&chain_file).map_err(|error| format!("{chain_file}: {error}"))?;
        let mut tls = TlsOptions::new().truststore_location(file("tls/ca.crt")).keystore(text, chain);
        if !password.is_empty() {
            tls = tls.key_password(password);
        }
        let config = Config::builder("localhost:1").security_protocol(SecurityProtocol::Ssl).tls(tls).build();
        let ours = milena::threads::Producer::new(config.map_err(|error| error.to_string())?);
        let ours = ours.map(|_| ()).map_err(|error| error.to_string());
        let by_name =
            ["PBES1", "PKCS#12's encryption", "DSA", "RSA of 1024 bits", "P-521", "PSS", "Ed448", "in numbers"];
        if let (Ok(()), Err(words)) = (&says, &ours) {
            if !by_name.iter().any(|name| words.contains(name)) {
                wrong.push(format!("{key}: Java takes it; {words}"));
            }
        }
        rows.push(format!("  {key}: Java {}, milena {}", says.is_ok(), ours.is_ok()));
    }
    println!("{}", rows.join("\n"));
    if wrong.is_empty() { Ok(format!("{} keys", keys.len())) } else { Err(wrong.join("\n")) }
}
