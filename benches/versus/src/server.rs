//! The server for all contenders, in a process of its own: milena's cluster in memory, which counts and stores nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use milena::cluster::{Request, Server, ServerSettings, Settings};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};

/// What arrived there, of a whole run: warming up too.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Arrived {
    pub records: u64,
    pub batches: u64,
    pub batch_bytes: u64,
    pub produce_requests: u64,
}

/// A server that the driver has started.
pub struct Served {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub bootstrap: String,
}

impl Served {
    /// Each way of a round trip takes `delay`. With a folder it speaks TLS 1.3, and its authority is put there as `ca.pem`.
    pub fn start(delay: Duration, tls: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("--serve").arg(delay.as_micros().to_string()).args(tls);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let input = process.stdin.take();
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut bootstrap = String::new();
        output.read_line(&mut bootstrap).expect("the server says where it listens");
        Self { process, input, output, bootstrap: bootstrap.trim().into() }
    }

    pub fn stop(mut self) -> Arrived {
        drop(self.input.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said).expect("the server says what arrived");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// The server's process: serves until its input ends.
pub fn run(arguments: &[String]) {
    let delay = arguments.first().and_then(|delay| delay.parse().ok()).expect("microseconds");
    let cluster = Settings::default().discard(true).instant_elections(true);
    let mut settings = ServerSettings::default().cluster(cluster).delay(Duration::from_micros(delay));
    if let Some(folder) = arguments.get(1) {
        settings = settings.advertise("localhost").tls(Some(tls(Path::new(folder))));
    }
    let server = Server::start_with(settings).expect("loopback sockets");
    let bootstrap = server.bootstrap();
    println!("{bootstrap}");
    std::io::stdout().flush().expect("the driver reads");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let arrived = server.with(|cluster, _| {
        let counters = cluster.counters();
        Arrived {
            records: counters.records,
            batches: counters.batches,
            batch_bytes: counters.batch_bytes,
            produce_requests: counters.requests.get(&Request::Produce).copied().unwrap_or(0),
        }
    });
    println!("{}", serde_json::to_string(&arrived).expect("numbers are JSON"));
}

/// TLS 1.3 with one cipher suite, so that clients' preferences make no difference.
fn tls(folder: &Path) -> Arc<rustls::ServerConfig> {
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    // Not the usual name, which the server's certificate has: OpenSSL would take that for one that signed itself.
    authority.distinguished_name.push(DnType::CommonName, "versus authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).expect("an authority");
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("ca.pem"), certificate.pem()).expect("a file");
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
    let chain = vec![params.signed_by(&key, &issuer).expect("a certificate").der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).expect("a certificate and its key"))
}
