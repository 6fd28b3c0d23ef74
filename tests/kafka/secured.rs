//! A node that wants to know who connects: SASL in each mechanism, TLS, client certificates, and what is said when something
//! is wrong.

use std::time::{Duration, Instant};

use milena::{Config, Record, Setup};

use crate::broker::{Jars, Kafka, Layout, Listener};
use crate::dump;

type Scenario = fn(&mut Kafka) -> Result<String, String>;

/// Those that the secured node is for.
pub const SECURED: &[(&str, Scenario)] = &[
    ("every_mechanism", every_mechanism),
    ("client_keys", client_keys),
    ("java_stores", java_stores),
    ("java_properties", java_properties),
    ("refusals", refusals),
    ("reauthentication", reauthentication),
];

const PLAIN: &str =
    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";";
const SCRAM: &str =
    "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"bob\" password=\"secret\";";
const BEARER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                      unsecuredLoginStringClaim_sub=\"carol\";";

/// An authority, and what it vouches for.
pub struct Certificates {
    authority: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub authority_pem: String,
}

impl Certificates {
    pub fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new([]).expect("no names");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self { authority_pem: certificate.pem(), authority: rcgen::Issuer::new(parameters, key) }
    }

    /// A private key and its certificate, in PEM.
    pub fn issue(&self, name: &str, expired: bool) -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new([name.to_string()]).expect("a name");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        if expired {
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = parameters.signed_by(&key, &self.authority).expect("a certificate");
        format!("{}{}{}", key.serialize_pem(), certificate.pem(), self.authority_pem)
    }
}

/// The node, with its certificates in its folder.
pub fn start(jars: &Jars) -> Kafka {
    let mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER";
    let listeners = [
        Listener { name: "CERT", protocol: "SSL" },
        Listener { name: "EXPIRED", protocol: "SSL" },
        Listener { name: "OTHER", protocol: "SSL" },
        Listener { name: "SECURE", protocol: "SASL_SSL" },
        Listener { name: "OPEN", protocol: "SASL_PLAINTEXT" },
        Listener { name: "BRIEF", protocol: "SASL_PLAINTEXT" },
    ];
    let ours = Certificates::new("the cluster's authority");
    let layout = Layout { nodes: 1, listeners: &listeners, ..Layout::default() };
    let kafka = Kafka::lay_out(jars, layout, |dir| {
        let file = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("a PEM file");
            path.display().to_string()
        };
        file("ca.pem", ours.authority_pem.clone());
        // The clients' own certificates, which nobody vouches for.
        let known: String = CLIENTS.iter().map(|(_, chain, _)| pem(chain)).collect();
        let authorities = pem("stores/authority-one.crt") + &pem("stores/authority-two.crt");
        let clients = file("clients.pem", format!("{}{known}{authorities}", ours.authority_pem));
        file("other-ca.pem", Certificates::new("another authority").authority_pem);
        file("client.pem", ours.issue("client", false));
        let good = file("good.pem", ours.issue("127.0.0.1", false));
        let expired = file("expired.pem", ours.issue("127.0.0.1", true));
        let other = file("other.pem", ours.issue("example.org", false));
        let mut text = format!(
            "sasl.enabled.mechanisms={mechanisms}\nssl.keystore.type=PEM\nssl.keystore.location={good}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={clients}\nssl.enabled.protocols=TLSv1.2,TLSv1.3\n\
             listener.name.cert.ssl.client.auth=required\n"
        );
        for (listener, store) in [("expired", &expired), ("other", &other)] {
            text += &format!(
                "listener.name.{listener}.ssl.keystore.type=PEM\nlistener.name.{listener}.ssl.keystore.location={store}\n"
            );
        }
        let module = "org.apache.kafka.common.security";
        for listener in ["secure", "open", "brief"] {
            text += &format!(
                "listener.name.{listener}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_alice=\"secret\";\n\
                 listener.name.{listener}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
                 listener.name.{listener}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
                 listener.name.{listener}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;\n"
            );
        }
        for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
            text += &format!("listener.name.brief.{mechanism}.connections.max.reauth.ms=1000\n");
        }
        text
    });
    kafka.create_topic("secured", 1, &[]);
    kafka.create_topic("brief", 4, &[]);
    kafka
}

/// The options of a client for one of the listeners.
fn options(kafka: &Kafka, listener: &str, protocol: &str, mechanism: &str, jaas: &str) -> Vec<(String, String)> {
    let mut options = vec![
        ("bootstrap.servers", kafka.address_of(listener)),
        ("security.protocol", protocol.to_string()),
        ("ssl.truststore.type", "PEM".to_string()),
        ("ssl.truststore.location", kafka.file("ca.pem")),
    ];
    if !mechanism.is_empty() {
        options.push(("sasl.mechanism", mechanism.to_string()));
        options.push(("sasl.jaas.config", jaas.to_string()));
    }
    if protocol == "SSL" {
        options.push(("ssl.keystore.type", "PEM".to_string()));
        options.push(("ssl.keystore.location", kafka.file("client.pem")));
    }
    options.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// The options of a properties file.
fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let read = milena::parse_properties(text).map_err(|error| error.to_string())?;
    Ok(read.into_iter().map(|property| (property.name, property.value)).collect())
}

fn config(options: &[(String, String)]) -> Config {
    Config::from_properties(options.iter().map(|(name, value)| (name, value))).expect("valid options")
}

/// Some records by each adapter; how each went.
fn by_each(options: &[(String, String)], count: usize) -> [(&'static str, Result<(), String>); 3] {
    let values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let records = || values.iter().map(|value| Record::new("secured").value(value));
    let words = |error: milena::Error| error.to_string();
    let setup = || Setup::from(config(options));
    let threads = (|| {
        let producer = milena::threads::Producer::new(setup()).map_err(|error| error.to_string())?;
        for ack in producer.send_all(records()).map_err(|error| words(error.error))? {
            ack.wait().map_err(words)?;
        }
        Ok(())
    })();
    let tokio = tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let producer = milena::tokio::Producer::spawn(setup()).map_err(|error| error.to_string())?;
        for ack in producer.send_all(records()).await.map_err(|error| words(error.error))? {
            ack.await.map_err(words)?;
        }
        Ok(())
    });
    let smol = smol::block_on(async {
        let (producer, driver) = milena::smol::Producer::new(setup()).map_err(|error| error.to_string())?;
        smol::spawn(driver).detach();
        for ack in producer.send_all(records()).await.map_err(|error| words(error.error))? {
            ack.await.map_err(words)?;
        }
        Ok(())
    });
    [("threads", threads), ("tokio", tokio), ("smol", smol)]
}

fn every_mechanism(kafka: &mut Kafka) -> Result<String, String> {
    let mut expected = dump::count(kafka, "secured", 0);
    let mut ways = 0;
    let sasl = [("PLAIN", PLAIN), ("SCRAM-SHA-256", SCRAM), ("SCRAM-SHA-512", SCRAM), ("OAUTHBEARER", BEARER)];
    let sasl = sasl.iter().flat_map(|(mechanism, jaas)| {
        [("SECURE", "SASL_SSL"), ("OPEN", "SASL_PLAINTEXT")]
            .map(|(listener, protocol)| (listener, protocol, *mechanism, *jaas))
    });
    for (listener, protocol, mechanism, jaas) in sasl.chain([("CERT", "SSL", "", "")]) {
        for (adapter, went) in by_each(&options(kafka, listener, protocol, mechanism, jaas), 100) {
            went.map_err(|error| format!("{protocol} {mechanism} {adapter}: {error}"))?;
            expected += 100;
            ways += 1;
        }
    }
    let stored = dump::count(kafka, "secured", 0);
    if stored != expected {
        return Err(format!("{stored} records stored of {expected}"));
    }
    Ok(format!("{ways} ways, 100 records each"))
}

/// Keys as keytool and openssl make them, with their certificates and passwords (tests/tls).
const CLIENTS: &[(&str, &str, &str)] = &[
    ("keytool-ec256.pem", "keytool-ec256.pem", ""),
    ("keytool-ec256-pkcs8.key", "keytool-ec256.crt", ""),
    ("keytool-ec384.pem", "keytool-ec384.pem", ""),
    ("keytool-rsa.pem", "keytool-rsa.pem", ""),
    ("ec-sec1.key", "ec.crt", ""),
    ("ec-sec1-no-public.key", "ec.crt", ""),
    ("rsa-pkcs1.key", "rsa.crt", ""),
    ("ed25519.key", "ed25519.crt", ""),
    ("ec-aes256.key", "ec.crt", "secret"),
    ("ec-PBE-SHA1-3DES.key", "ec.crt", "secret"),
    ("ec-blank.key", "ec.crt", "secret "),
];

fn pem(file: &str) -> String {
    let path = format!("{}/tests/tls/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Client certificates: as one file, and as texts on one line in a properties file.
fn client_keys(kafka: &mut Kafka) -> Result<String, String> {
    let mut expected = dump::count(kafka, "secured", 0);
    let mut ways = 0;
    for (key, chain, password) in CLIENTS {
        let store = kafka.file("one-client.pem");
        let both = if key == chain { pem(key) } else { pem(key) + &pem(chain) };
        std::fs::write(&store, both).map_err(|error| error.to_string())?;
        let one_line = |text: String| text.replace('\n', " ");
        let texts = format!(
            "ssl.keystore.key={}\nssl.keystore.certificate.chain={}\n",
            one_line(pem(key)),
            one_line(pem(chain))
        );
        for keystore in [format!("ssl.keystore.location={store}\n"), texts] {
            let text = format!(
                "bootstrap.servers={}\nsecurity.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
                 ssl.keystore.type=PEM\nssl.key.password={password}\n{keystore}",
                kafka.address_of("CERT"),
                kafka.file("ca.pem"),
            );
            let options = read(&text)?;
            for (adapter, went) in by_each(&options, 10) {
                went.map_err(|error| format!("{key} {adapter}: {error}"))?;
                expected += 10;
                ways += 1;
            }
        }
    }
    let stored = dump::count(kafka, "secured", 0);
    if stored != expected {
        return Err(format!("{stored} records stored of {expected}"));
    }
    Ok(format!("{ways} ways, 10 records each"))
}

/// Java's stores: keystores of tests/tls, and truststores that keytool makes of the cluster's authority.
fn java_stores(kafka: &mut Kafka) -> Result<String, String> {
    let mut expected = dump::count(kafka, "secured", 0);
    let mut ways = 0;
    for (form, kind, legacy) in [("modern", "PKCS12", false), ("legacy", "PKCS12", true), ("jks", "JKS", false)] {
        let truststore = kafka.file(&format!("{form}.truststore"));
        let _ = std::fs::remove_file(&truststore);
        let mut keytool = std::process::Command::new("keytool");
        if legacy {
            keytool.arg("-J-Dkeystore.pkcs12.legacy");
        }
        keytool.args(["-importcert", "-noprompt", "-alias", "ca", "-storepass", "secret", "-storetype", kind]);
        keytool.args(["-file", &kafka.file("ca.pem"), "-keystore", &truststore]);
        let made = keytool.output().map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(format!("keytool: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let mut keystores = vec![(format!("{form}-key"), ""), (format!("{form}-several"), "")];
        if !legacy {
            keystores.push((format!("{form}-other-password"), "ssl.key.password=another\n"));
        }
        for (keystore, more) in keystores {
            let text = format!(
                "bootstrap.servers={}\nsecurity.protocol=SSL\nssl.truststore.type={kind}\nssl.truststore.location={truststore}\n\
                 ssl.truststore.password=secret\nssl.keystore.type={kind}\nssl.keystore.location={}/tests/tls/stores/{keystore}.store\n\
                 ssl.keystore.password=secret\n{more}",
                kafka.address_of("CERT"),
                env!("CARGO_MANIFEST_DIR"),
            );
            for (adapter, went) in by_each(&read(&text)?, 10) {
                went.map_err(|error| format!("{keystore} {adapter}: {error}"))?;
                expected += 10;
                ways += 1;
            }
        }
    }
    let stored = dump::count(kafka, "secured", 0);
    if stored != expected {
        return Err(format!("{stored} records stored of {expected}"));
    }
    Ok(format!("{ways} ways, 10 records each"))
}

/// A properties file as one writes it for the Java client, through the tool and through every adapter.
fn java_properties(kafka: &mut Kafka) -> Result<String, String> {
    let text = format!(
        "# a Java client's\nbootstrap.servers={}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config={}\nssl.protocol=TLSv1.3\nssl.enabled.protocols=TLSv1.3\n\
         ssl.endpoint.identification.algorithm=https\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         key.serializer=org.apache.kafka.common.serialization.StringSerializer\n\
         value.serializer=org.apache.kafka.common.serialization.StringSerializer\ncompression.type=zstd\n",
        kafka.address_of("SECURE"),
        SCRAM.replace("required ", "required \\\n    "),
        kafka.file("ca.pem"),
    );
    let path = kafka.file("client.properties");
    std::fs::write(&path, &text).map_err(|error| error.to_string())?;
    let arguments = ["produce", "--config", &path, "--topic", "secured", "--json"];
    let (status, out, errors) = crate::scenarios::tool(&arguments, "a\nb\n");
    if status != 0 || out.lines().count() != 2 {
        return Err(format!("the tool: status {status}, {errors}"));
    }
    for (adapter, went) in by_each(&read(&text)?, 10) {
        went.map_err(|error| format!("{adapter}: {error}"))?;
    }
    Ok("the tool and three adapters".into())
}

fn refusals(kafka: &mut Kafka) -> Result<String, String> {
    let secure = |jaas: &str| options(kafka, "SECURE", "SASL_SSL", "PLAIN", jaas);
    let scram = |jaas: &str| options(kafka, "SECURE", "SASL_SSL", "SCRAM-SHA-256", jaas);
    let mut strangers = secure(PLAIN);
    strangers.push(("ssl.truststore.location".into(), kafka.file("other-ca.pem")));
    let mut nobody = options(kafka, "CERT", "SSL", "", "");
    nobody.retain(|(name, _)| !name.starts_with("ssl.keystore"));
    // This one a broker does not explain, so it looks like a broker that is ill.
    let mut hasty = options(kafka, "OPEN", "PLAINTEXT", "", "");
    hasty.push(("max.block.ms".into(), "3000".into()));
    let cases = [
        ("wrong password", secure(&PLAIN.replace("secret", "wrong")), "Invalid username or password"),
        ("unknown user", secure(&PLAIN.replace("alice", "mallory")), "Invalid username or password"),
        ("wrong password, SCRAM", scram(&SCRAM.replace("secret", "wrong")), "invalid credentials"),
        ("unknown user, SCRAM", scram(&SCRAM.replace("bob", "mallory")), "invalid credentials"),
        (
            "a token for nobody",
            options(kafka, "SECURE", "SASL_SSL", "OAUTHBEARER", &BEARER.replace("_sub", "_nobody")),
            "invalid_token",
        ),
        ("wrong authority", strangers, "issuer"),
        ("expired", options(kafka, "EXPIRED", "SSL", "", ""), "expired"),
        ("another name", options(kafka, "OTHER", "SSL", "", ""), "name"),
        ("no client certificate", nobody, "ertificate"),
        ("plaintext to a TLS port", options(kafka, "SECURE", "PLAINTEXT", "", ""), "TLS"),
        ("TLS to a plaintext port", options(kafka, "OPEN", "SASL_SSL", "PLAIN", PLAIN), "TLS"),
        ("no SASL to a SASL port", hasty, "SASL"),
    ];
    let mut rows = Vec::new();
    for (case, options, words) in &cases {
        #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
        let start = Instant::now();
        let producer = milena::threads::Producer::new(config(options)).map_err(|error| error.to_string())?;
        let error = match producer.send(&Record::new("secured").value("v")) {
            Ok(_) => return Err(format!("{case}: let in")),
            Err(error) => error.to_string(),
        };
        #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
        let seconds = start.elapsed().as_secs_f64();
        let attempts = producer.stats().connections;
        rows.push(format!("{case}: {seconds:.1} s, {attempts} connections: {error}"));
        println!("  {}", rows[rows.len() - 1]);
        if !error.contains(words) || error.contains("wrong\"") {
            return Err(format!("{case}: {error:?} does not say {words:?}"));
        }
        if seconds > 10.0 || attempts > 12 {
            return Err(format!("{case}: {seconds} s, {attempts} attempts"));
        }
    }
    Ok(format!("{} cases", cases.len()))
}

/// A session of a second, for a minute under load: nothing is lost, no connection breaks.
fn reauthentication(kafka: &mut Kafka) -> Result<String, String> {
    let producer =
        milena::threads::Producer::new(config(&options(kafka, "BRIEF", "SASL_PLAINTEXT", "SCRAM-SHA-256", SCRAM)));
    let producer = producer.map_err(|error| error.to_string())?;
    let mut acks = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
    let start = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
    while start.elapsed() < Duration::from_secs(60) {
        for _ in 0..100 {
            let value = acks.len().to_string();
            acks.push(producer.enqueue(&Record::new("brief").value(&value)).map_err(|error| error.to_string())?);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for ack in &acks {
        ack.wait().map_err(|error| error.to_string())?;
    }
    let stats = producer.stats();
    let stored: usize = (0..4).map(|partition| dump::count(kafka, "brief", partition)).sum();
    if stored != acks.len() || stats.connection_failures > 0 || stats.reauthentications < 50 {
        return Err(format!("{stored} stored of {}, {stats:?}", acks.len()));
    }
    Ok(format!("{stored} records, {} re-authentications, no connection lost", stats.reauthentications))
}
