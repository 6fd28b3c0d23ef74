//! Tokens from an authorization server, for a node that verifies them by that server's keys. Both speak TLS.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use milena::Record;

use crate::broker::{Jars, Kafka, Layout, Listener, free_ports};
use crate::secured::{Certificates, by_each, config, read};
use crate::{dump, scenarios};

type Scenario = fn(&mut Kafka) -> Result<String, String>;

/// Those that the node with an authorization server is for.
pub const OIDC: &[(&str, Scenario)] = &[
    ("oidc_java_properties", java_properties),
    ("oidc_assertions", assertions),
    ("oidc_refusals", refusals),
    ("oidc_refresh", refresh),
];

/// How long tokens live.
const SECONDS: u32 = 10;

/// The node and its authorization server.
pub fn start(jars: &Jars) -> Kafka {
    let ports = free_ports(2);
    let issuers = [ports[0], ports[1]].map(|port| format!("https://127.0.0.1:{port}/kafka"));
    let issuer = &issuers[0];
    let allowed = format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer}/jwks");
    let listeners = [Listener { name: "OAUTH", protocol: "SASL_PLAINTEXT" }];
    let layout = Layout { nodes: 1, listeners: &listeners, java: &allowed, ..Layout::default() };
    let mut servers = Vec::new();
    let mut kafka = Kafka::lay_out(jars, layout, |dir| {
        let file = |name: &str| dir.join(name).display().to_string();
        let trusted = file("authorization.pem");
        std::fs::write(file("url-expired"), &issuers[1]).expect("a file");
        std::fs::write(file("other.pem"), Certificates::new("another authority").authority_pem).expect("a file");
        std::fs::write(file("url"), issuer).expect("a file");
        let claims = |scope: &str, audience: &str| {
            format!(
                r#"{{"requestParam": "scope", "match": "{scope}", "claims": {{"sub": "carol", "aud": ["{audience}"]}}}}"#
            )
        };
        let mut serve = |name: &str, port: u16, dates: &[&str]| {
            let store = file(&format!("{name}.p12"));
            certify(&store, &file(&format!("{name}.pem")), dates);
            let settings = format!(
                r#"{{"httpServer": {{"type": "NettyWrapper", "ssl": {{"keystoreFile": "{store}", "keystoreType": "PKCS12",
                   "keystorePassword": "secret", "keyPassword": "secret"}}}},
                   "tokenCallbacks": [{{"issuerId": "kafka", "tokenExpiry": {SECONDS}, "requestMappings": [{}, {}]}}]}}"#,
                claims("produce", "kafka"),
                claims("elsewhere", "another-service"),
            );
            servers.push(start_server(port, &settings, &file(&format!("{name}.log"))));
        };
        serve("authorization", ports[0], &[]);
        serve("expired", ports[1], &["-startdate", "-10d", "-validity", "5"]);
        format!(
            "sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.oauth.oauthbearer.sasl.server.callback.handler.class=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler\n\
             listener.name.oauth.oauthbearer.sasl.jaas.config=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
             unsecuredLoginStringClaim_sub=\"broker\" ssl.truststore.type=\"PEM\" ssl.truststore.location=\"{trusted}\";\n\
             sasl.oauthbearer.jwks.endpoint.url={issuer}/jwks\nsasl.oauthbearer.expected.audience=kafka\n\
             sasl.oauthbearer.expected.issuer={issuer}\n"
        )
    });
    servers.into_iter().for_each(|server| kafka.keep_company(server));
    kafka.create_topic("oidc", 1, &[]);
    kafka
}

/// A key with its certificate for 127.0.0.1, which is valid from `dates` on, and the authority that has signed it by itself: what
/// stands in a trust store is trusted whatever its dates are, as in Java.
fn certify(store: &str, trusted: &str, dates: &[&str]) {
    let (request, signed) = (format!("{store}.request"), format!("{store}.pem"));
    let key = |alias, name, extension| {
        keytool(&[
            "-genkeypair",
            "-alias",
            alias,
            "-keyalg",
            "RSA",
            "-dname",
            name,
            "-ext",
            extension,
            "-keystore",
            store,
        ]);
    };
    key("authority", "CN=the authority", "bc:c");
    keytool(&["-exportcert", "-rfc", "-alias", "authority", "-file", trusted, "-keystore", store]);
    key("server", "CN=127.0.0.1", "san=ip:127.0.0.1");
    keytool(&["-certreq", "-alias", "server", "-file", &request, "-keystore", store]);
    let sign =
        ["-gencert", "-rfc", "-alias", "authority", "-infile", &request, "-outfile", &signed, "-keystore", store];
    keytool(&[&sign[..], &["-ext", "san=ip:127.0.0.1"], dates].concat());
    keytool(&["-importcert", "-noprompt", "-alias", "server", "-file", &signed, "-keystore", store]);
    keytool(&["-delete", "-alias", "authority", "-keystore", store]);
}

fn keytool(arguments: &[&str]) {
    let made = Command::new("keytool").args(arguments).args(["-storepass", "secret"]).output().expect("keytool runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
}

/// Starts it, and waits until it takes connections.
fn start_server(port: u16, settings: &str, log: &str) -> Child {
    let jars = std::env::var("MILENA_AUTHORIZATION_JARS").expect("tests/kafka/run has fetched it");
    let log = std::fs::File::create(log).expect("a log file");
    let mut process = Command::new("java")
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &format!("{jars}/*")])
        .arg("no.nav.security.mock.oauth2.StandaloneMockOAuth2ServerKt")
        .envs([("SERVER_HOSTNAME", "127.0.0.1"), ("SERVER_PORT", &port.to_string()), ("JSON_CONFIG", settings)])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("java runs");
    for _ in 0..300 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return process;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let _ = process.kill();
    let _ = process.wait();
    panic!("the authorization server does not come up");
}

/// Where tokens are to be had.
fn endpoint(kafka: &Kafka) -> String {
    endpoint_in(kafka, "url")
}

/// The same, of the server whose URL is in this file.
fn endpoint_in(kafka: &Kafka, file: &str) -> String {
    std::fs::read_to_string(kafka.file(file)).expect("the URL") + "/token"
}

/// A properties file as one writes it for the Java client.
fn properties(kafka: &Kafka, endpoint: &str, trusted: &str, scope: &str) -> String {
    format!(
        "bootstrap.servers={}\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
         sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
         sasl.oauthbearer.token.endpoint.url={endpoint}\nsasl.login.connect.timeout.ms=5000\nsasl.login.read.timeout.ms=5000\n\
         sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \\\n  clientId=\"service\" \\\n  \
         clientSecret=\"secret\" \\\n  scope=\"{scope}\" \\\n  ssl.truststore.type=\"PEM\" \\\n  ssl.truststore.location=\"{}\";\n",
        kafka.address_of("OAUTH"),
        kafka.file(trusted),
    )
}

fn java_properties(kafka: &mut Kafka) -> Result<String, String> {
    let mut expected = dump::count(kafka, "oidc", 0);
    let text = properties(kafka, &endpoint(kafka), "authorization.pem", "produce");
    let path = kafka.file("client.properties");
    std::fs::write(&path, &text).map_err(|error| error.to_string())?;
    let arguments = ["produce", "--config", &path, "--topic", "oidc", "--json"];
    let (status, out, errors) = scenarios::tool(&arguments, "a\nb\n");
    if status != 0 || out.lines().count() != 2 {
        return Err(format!("the tool: status {status}, {errors}"));
    }
    expected += 2;
    for (adapter, went) in by_each(&read(&text)?, "oidc", 10) {
        went.map_err(|error| format!("{adapter}: {error}"))?;
        expected += 10;
    }
    let stored = dump::count(kafka, "oidc", 0);
    if stored != expected {
        return Err(format!("{stored} records stored of {expected}"));
    }
    Ok("the tool and three adapters".into())
}

/// Options for an assertion that is signed here.
fn signed(kafka: &Kafka, key: &str, algorithm: &str) -> String {
    format!(
        "sasl.oauthbearer.assertion.private.key.file={}/tests/tls/{key}\nsasl.oauthbearer.assertion.algorithm={algorithm}\n\
         sasl.oauthbearer.assertion.claim.iss=service\nsasl.oauthbearer.assertion.claim.sub=service\n\
         sasl.oauthbearer.assertion.claim.aud={}\nsasl.oauthbearer.assertion.claim.jti.include=true\n",
        env!("CARGO_MANIFEST_DIR"),
        endpoint(kafka),
    )
}

/// Assertions in the place of the secret.
fn assertions(kafka: &mut Kafka) -> Result<String, String> {
    let mut expected = dump::count(kafka, "oidc", 0);
    let mut ways = 0;
    for (key, algorithm) in [("rsa.key", "RS256"), ("ec.key", "ES256")] {
        let text = properties(kafka, &endpoint(kafka), "authorization.pem", "produce") + &signed(kafka, key, algorithm);
        let text = text.replace("  clientSecret=\"secret\" \\\n", "");
        for (adapter, went) in by_each(&read(&text)?, "oidc", 10) {
            went.map_err(|error| format!("{algorithm} {adapter}: {error}"))?;
            expected += 10;
            ways += 1;
        }
    }
    let stored = dump::count(kafka, "oidc", 0);
    if stored != expected {
        return Err(format!("{stored} records stored of {expected}"));
    }
    Ok(format!("{ways} ways, 10 records each"))
}

fn refusals(kafka: &mut Kafka) -> Result<String, String> {
    let good = endpoint(kafka);
    let nobody = format!("https://127.0.0.1:{}/token", free_ports(1)[0]);
    let expired = endpoint_in(kafka, "url-expired");
    let with = |endpoint: &str, trusted: &str, scope: &str| properties(kafka, endpoint, trusted, scope);
    // This server wants client authentication with each grant, which Java has none of with this one.
    let bearer =
        "sasl.oauthbearer.jwt.retriever.class=org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever\n";
    let bearer = with(&good, "authorization.pem", "produce") + bearer + &signed(kafka, "rsa.key", "RS256");
    let cases = [
        ("a token for another service", with(&good, "authorization.pem", "elsewhere"), "invalid_token"),
        ("nobody at the endpoint", with(&nobody, "authorization.pem", "produce"), "can't connect to 127.0.0.1"),
        ("an authority that is not trusted", with(&good, "other.pem", "produce"), "TLS: "),
        ("a certificate that has expired", with(&expired, "expired.pem", "produce"), "has expired: it ended at "),
        ("no endpoint", with(&good.replace("/token", "/nothing"), "authorization.pem", "produce"), "it answers 405"),
        ("no client authentication", bearer, "it answers 401: invalid_client: client authentication failed"),
    ];
    for (case, text, words) in &cases {
        let producer = milena::threads::Producer::new(config(&read(text)?)).map_err(|error| error.to_string())?;
        #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
        let start = Instant::now();
        let error = match producer.send(&Record::new("oidc").value("v")) {
            Ok(_) => return Err(format!("{case}: let in")),
            Err(error) => error.to_string(),
        };
        #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
        let seconds = start.elapsed().as_secs_f64();
        println!("  {case}: {seconds:.1} s: {error}");
        if !error.contains(words) || error.contains("secret") {
            return Err(format!("{case}: {error:?} does not say {words:?}"));
        }
        if seconds > 30.0 {
            return Err(format!("{case}: {seconds} s"));
        }
    }
    Ok(format!("{} cases", cases.len()))
}

/// Tokens of ten seconds, for a minute under load: nothing is lost, no connection breaks.
fn refresh(kafka: &mut Kafka) -> Result<String, String> {
    let before = dump::count(kafka, "oidc", 0);
    let text = properties(kafka, &endpoint(kafka), "authorization.pem", "produce");
    let producer = milena::threads::Producer::new(config(&read(&text)?)).map_err(|error| error.to_string())?;
    let mut acks = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
    let start = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
    while start.elapsed() < Duration::from_secs(60) {
        for _ in 0..100 {
            let value = acks.len().to_string();
            acks.push(producer.enqueue(&Record::new("oidc").value(&value)).map_err(|error| error.to_string())?);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for ack in &acks {
        ack.wait().map_err(|error| error.to_string())?;
    }
    let (stats, stored) = (producer.stats(), dump::count(kafka, "oidc", 0) - before);
    let least = 60 / u64::from(SECONDS) - 1;
    if stored != acks.len() || stats.connection_failures > 0 || stats.reauthentications < least {
        return Err(format!("{stored} stored of {}, {stats:?}", acks.len()));
    }
    Ok(format!("{stored} records, {} re-authentications, no connection lost", stats.reauthentications))
}
