//! A cluster for tests of programs that produce: real sockets on loopback, TLS and SASL if wanted, and what arrived to look at.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use super::{Cluster, SaslSettings, Server, ServerSettings, Settings, StoredRecord};
use crate::time::Instant;

/// The authority whose certificate the nodes of a [`TestCluster`] have. Its key is thrown away, the nodes' is public: for tests
/// alone.
#[cfg(feature = "tls")]
const AUTHORITY: &str = include_str!("certificates/authority.pem");

/// A cluster that listens, and stops when dropped. Any adapter, and any other Kafka producer, may produce to it.
///
/// ```
/// # #[cfg(feature = "threads")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use milena::cluster::TestCluster;
/// use milena::{Config, Record, threads::Producer};
///
/// let cluster = TestCluster::builder().user("alice", "secret").start()?;
/// let producer = Producer::new(Config::from_properties(cluster.properties())?)?;
/// producer.send(&Record::new("orders").key("customer-7").value("3 apples"))?;
/// assert_eq!(cluster.records("orders")[0].1.value.as_deref(), Some(&b"3 apples"[..]));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "threads"))]
/// # fn main() {}
/// ```
pub struct TestCluster {
    server: Server,
    properties: Vec<(String, String)>,
}

/// What a [`TestCluster`] is to be like.
#[derive(Clone, Debug, Default)]
pub struct TestClusterBuilder {
    settings: Settings,
    sasl: SaslSettings,
    delay: Duration,
    tls: bool,
    listen: Option<SocketAddr>,
    advertise: Option<String>,
}

impl TestCluster {
    /// One node, open to everybody.
    ///
    /// # Errors
    /// If no socket or thread can be had.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// More nodes, users, TLS.
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder::default()
    }

    /// `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.server.bootstrap()
    }

    /// All that a client has to be configured with, under Java's names: the first user, and whom to trust.
    pub fn properties(&self) -> Vec<(String, String)> {
        self.properties.clone()
    }

    /// Everything that a topic holds, with the partition of each record, by partition and offset. Empty if there is no such
    /// topic.
    pub fn records(&self, topic: &str) -> Vec<(i32, StoredRecord)> {
        self.server.with(|cluster, _| {
            let whole = |partition| cluster.topic_id(topic).map(|id| cluster.whole_log(id, partition));
            let of = |partition| whole(partition).into_iter().flatten().map(move |record| (partition, record));
            (0..cluster.partitions(topic)).flat_map(of).collect()
        })
    }

    /// Ends all nodes: their ports are closed, and connections refused, until [`TestCluster::start_again`]. What arrived is kept.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Starts the nodes again, on the same ports, with all that was stored.
    ///
    /// # Errors
    /// If another program has taken a port meanwhile. Nothing is started then.
    pub fn start_again(&self) -> io::Result<()> {
        self.server.start_again()
    }

    /// Looks at the cluster, or makes something go wrong.
    pub fn with<T>(&self, change: impl FnOnce(&mut Cluster, Instant) -> T) -> T {
        self.server.with(change)
    }
}

impl TestClusterBuilder {
    /// How many nodes; 1 by default.
    #[must_use]
    pub fn nodes(mut self, nodes: i32) -> Self {
        self.settings.nodes = nodes;
        self
    }

    /// Everything about the cluster but its users; [`TestClusterBuilder::nodes`] said before is lost.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How long bytes take, each way.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The address of the first node, the others on the ports after it; loopback and free ports by default.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Tells clients to connect to this host, as [`ServerSettings::advertise`] does.
    #[must_use]
    pub fn advertise(mut self, host: impl Into<String>) -> Self {
        self.advertise = Some(host.into());
        self
    }

    /// Lets in only users with a password: by PLAIN, by SCRAM (feature `scram`), or with an unsigned token for that name.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.sasl = self.sasl.user(name, password);
        self
    }

    /// Lets in whoever shows a token by OAUTHBEARER that `is_good`: of a form of its own, or signed.
    /// [`properties`](TestCluster::properties) name the mechanism, unless there is a user as well; the client brings its tokens.
    #[must_use]
    pub fn tokens(mut self, is_good: fn(&str) -> bool) -> Self {
        self.sasl.tokens = Some(is_good);
        self
    }

    /// `connections.max.reauth.ms`: how long a user is believed.
    #[must_use]
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.sasl.session_lifetime = Some(lifetime);
        self
    }

    /// Encrypts connections, with a certificate for `localhost` and `127.0.0.1` that [`TestCluster::properties`] trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// If no socket or thread can be had.
    pub fn start(self) -> io::Result<TestCluster> {
        let user = self.sasl.users.first().cloned();
        let by_token = self.sasl.tokens.is_some() && user.is_none();
        let sasl = (user.is_some() || by_token).then_some(self.sasl);
        let cluster = Settings { sasl, ..self.settings };
        #[cfg(feature = "tls")]
        let tls = if self.tls { Some(server_config()?) } else { None };
        let mut settings = ServerSettings::default().cluster(cluster).delay(self.delay);
        (settings.listen, settings.advertise) = (self.listen, self.advertise);
        #[cfg(feature = "tls")]
        let settings = settings.tls(tls);
        let server = Server::start_with(settings)?;
        let mut properties = Vec::from([("bootstrap.servers", server.bootstrap())]);
        let protocol = match (self.tls, user.is_some() || by_token) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        };
        properties.push(("security.protocol", protocol.to_string()));
        if let Some((user, password)) = user {
            let quoted = |text: String| text.replace('\\', "\\\\").replace('"', "\\\"");
            let (user, password) = (quoted(user), quoted(password));
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
            properties.push(("sasl.mechanism", "PLAIN".to_string()));
            let entry = alloc::format!("{module} required username=\"{user}\" password=\"{password}\";");
            properties.push(("sasl.jaas.config", entry));
        }
        if by_token {
            properties.push(("sasl.mechanism", "OAUTHBEARER".to_string()));
        }
        #[cfg(feature = "tls")]
        if self.tls {
            properties.push(("ssl.truststore.type", "PEM".to_string()));
            properties.push(("ssl.truststore.certificates", AUTHORITY.to_string()));
        }
        let properties = properties.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Ok(TestCluster { server, properties })
    }
}

/// Without what is stored, and without passwords.
impl core::fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TestCluster").field("bootstrap", &self.bootstrap()).finish_non_exhaustive()
    }
}

#[cfg(feature = "tls")]
fn server_config() -> io::Result<alloc::sync::Arc<rustls::ServerConfig>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let other = |error: &dyn core::fmt::Display| io::Error::other(error.to_string());
    let certificate = CertificateDer::from_pem_slice(include_bytes!("certificates/node.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificates/node-key.pem"));
    let (certificate, key) = (certificate.map_err(|error| other(&error))?, key.map_err(|error| other(&error))?);
    let provider = alloc::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| other(&error))?.with_no_client_auth();
    let config = builder.with_single_cert(Vec::from([certificate]), key).map_err(|error| other(&error))?;
    Ok(alloc::sync::Arc::new(config))
}
