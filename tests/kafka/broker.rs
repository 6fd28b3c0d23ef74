//! Nodes of Apache Kafka, ended by their own process ids.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::admin;
use crate::gate::Gate;

/// Where Kafka's classes are, and which Kafka the nodes are of.
#[derive(Clone, Debug)]
pub struct Jars {
    /// The command-line tools and the Java client, of one version whatever the nodes are.
    pub tools: String,
    /// The nodes.
    pub broker: String,
    /// The nodes' version.
    pub version: (u32, u32),
}

impl Jars {
    /// What `tests/kafka/run` has fetched.
    pub fn fetched() -> Option<Self> {
        let (tools, broker) = (std::env::var("MILENA_KAFKA_JARS").ok()?, std::env::var("MILENA_KAFKA_BROKER").ok()?);
        let version = std::env::var("MILENA_KAFKA_VERSION").ok()?;
        let mut numbers = version.split('.').map(|number| number.parse().expect("a version such as 4.4.0"));
        let version = (numbers.next()?, numbers.next()?);
        Some(Self { tools, broker, version })
    }

    /// Kafka before 3 needs a ZooKeeper.
    fn needs_zookeeper(&self) -> bool {
        self.version < (3, 0)
    }
}

/// How a cluster is laid out.
#[derive(Clone, Copy, Default)]
pub struct Layout<'a> {
    pub nodes: usize,
    /// Other listeners of each node, beside the open one.
    pub listeners: &'a [Listener],
    /// Each node has a listener more, and reaches the controllers (or ZooKeeper), which are in a process of their own,
    /// through gates of its own.
    pub gates: bool,
    /// Users that are not anonymous may do only what they are allowed.
    pub rights: bool,
    /// Another option of the nodes' Java.
    pub java: &'a str,
    /// The port that clients are told, by the node (counted from 0), the name of another listener of its, and that one's port.
    pub told: Option<&'a Told<'a>>,
}

type Told<'a> = dyn Fn(usize, &'static str, u16) -> u16 + 'a;

/// Another listener of a node, beside the open one.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub name: &'static str,
    /// `SSL`, `SASL_SSL` or `SASL_PLAINTEXT`.
    pub protocol: &'static str,
}

/// A Kafka cluster: in KRaft mode, or with a ZooKeeper if it is that old.
pub struct Kafka {
    jars: Jars,
    dir: PathBuf,
    nodes: Vec<Node>,
    /// What ends with the nodes: ZooKeeper, the controller of nodes with gates, authorization servers.
    company: Vec<Child>,
    java: String,
    kept: bool,
}

struct Node {
    port: u16,
    /// Ports of its other listeners, as clients are told.
    listeners: Vec<(&'static str, u16)>,
    process: Option<Child>,
    gates: Option<Gates>,
}

struct Gates {
    clients: Gate,
    controllers: Gate,
}

impl Kafka {
    /// Formats and starts so many nodes, and waits until they answer.
    pub fn start(jars: &Jars, nodes: usize) -> Self {
        Self::lay_out(jars, Layout { nodes, ..Layout::default() }, |_| String::new())
    }

    /// `properties` gets the folder for files, and says what else the nodes are to know. The user `bob` has the password
    /// `secret` for SCRAM.
    pub fn lay_out(jars: &Jars, layout: Layout<'_>, properties: impl FnOnce(&Path) -> String) -> Self {
        let kind = format!("{}{}", layout.listeners.len(), if layout.gates { "-gates" } else { "" });
        let name = format!("milena-kafka-{}-{}-{kind}", std::process::id(), layout.nodes);
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder for logs");
        let extra = properties(&dir);
        let mut kafka = Self {
            jars: jars.clone(),
            dir,
            nodes: Vec::new(),
            company: Vec::new(),
            java: layout.java.to_string(),
            kept: false,
        };
        if layout.nodes == 0 {
            return kafka;
        }
        let keeper = free_ports(1)[0];
        if jars.needs_zookeeper() {
            kafka.company.push(kafka.start_zookeeper(keeper));
        } else if layout.gates {
            kafka.company.push(kafka.start_controller(keeper));
        }
        let controllers = free_ports(layout.nodes);
        for n in 0..layout.nodes {
            let node = kafka.write_properties(n, layout, keeper, &controllers, &extra);
            kafka.nodes.push(node);
        }
        for n in 0..layout.nodes {
            if !jars.needs_zookeeper() {
                kafka.format(&kafka.properties(n), !layout.listeners.is_empty());
            }
            kafka.start_node(n);
        }
        for n in 0..layout.nodes {
            kafka.wait_for(n);
        }
        kafka
    }

    /// The file of a node that is to be, and the node.
    fn write_properties(&self, n: usize, layout: Layout<'_>, keeper: u16, controllers: &[u16], extra: &str) -> Node {
        let Layout { nodes, listeners: others, gates, rights, told, .. } = layout;
        let old = self.jars.needs_zookeeper();
        let ports = free_ports(2 + others.len());
        let (port, gated, other_ports) = (ports[0], ports[1], &ports[2..]);
        let named = others.iter().map(|listener| listener.name).zip(other_ports.iter().copied());
        let told = |(name, port)| (name, told.map_or(port, |told| told(n, name, port)));
        let listeners: Vec<(&'static str, u16)> = named.clone().map(told).collect();
        let text = |(name, port): (&str, u16)| format!(",{name}://127.0.0.1:{port}");
        let mut more: String = named.map(text).collect();
        let mut advertised: String = listeners.iter().copied().map(text).collect();
        let mut map: String =
            others.iter().map(|listener| format!(",{}:{}", listener.name, listener.protocol)).collect();
        let gates = gates.then(|| Gates {
            clients: Gate::new(gated),
            controllers: Gate::at(Ipv4Addr::new(127, 0, 0, n as u8 + 2), keeper, keeper),
        });
        if let Some(gates) = &gates {
            more += &format!(",GATED://127.0.0.1:{gated}");
            advertised += &format!(",GATED://127.0.0.1:{}", gates.clients.port());
            map += ",GATED:PLAINTEXT";
        }
        // Controllers name themselves to nodes, so that each has to find another gate under the same name.
        let controller = gates.as_ref().map(|_| {
            let hosts = format!("127.0.0.{} controller\n127.0.0.1 localhost {}\n", n + 2, host_name());
            std::fs::write(self.file(&format!("hosts{}", n + 1)), hosts).expect("a file of hosts");
            format!("controller:{keeper}")
        });
        let (replicas, isr, id) = (nodes.min(3), if nodes == 3 { 2 } else { 1 }, n + 1);
        let data = self.dir.join(format!("data{id}"));
        let mut text = format!(
            "advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\ninter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{map}\nlog.dirs={data}\n\
             num.partitions=4\ndefault.replication.factor={replicas}\nmin.insync.replicas={isr}\n\
             offsets.topic.replication.factor={replicas}\ntransaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n{extra}",
            data = data.display(),
        );
        if old {
            let server = controller.unwrap_or_else(|| format!("127.0.0.1:{keeper}"));
            text += &format!(
                "broker.id={id}\nlisteners=PLAINTEXT://127.0.0.1:{port}{more}\n\
                 zookeeper.connect={server}\nzookeeper.session.timeout.ms=4000\n\
                 zookeeper.connection.timeout.ms=60000\n"
            );
        } else {
            text += &format!("node.id={id}\ncontroller.listener.names=CONTROLLER\n{SESSIONS}");
            text += &match controller {
                Some(controller) => format!(
                    "process.roles=broker\nlisteners=PLAINTEXT://127.0.0.1:{port}{more}\n\
                     controller.quorum.voters={CONTROLLER}@{controller}\n"
                ),
                None => {
                    let voters = controllers.iter().enumerate().map(|(n, port)| format!("{}@127.0.0.1:{port}", n + 1));
                    let (voters, own) = (voters.collect::<Vec<_>>().join(","), controllers[n]);
                    format!(
                        "process.roles=broker,controller\ncontroller.quorum.voters={voters}\n\
                         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{own}{more}\n"
                    )
                }
            };
        }
        if rights {
            text += &self.authorizer();
        }
        std::fs::write(self.properties(n), text).expect("a properties file");
        Node { port, listeners, process: None, gates }
    }

    fn authorizer(&self) -> String {
        let class = match self.jars.version {
            (3.., _) => "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            (2, 4..) => "kafka.security.authorizer.AclAuthorizer",
            _ => "kafka.security.auth.SimpleAclAuthorizer",
        };
        format!("authorizer.class.name={class}\nsuper.users=User:ANONYMOUS\n")
    }

    fn start_zookeeper(&self, port: u16) -> Child {
        let (file, data) = (self.file("zookeeper.properties"), self.file("zookeeper"));
        let text = format!(
            "dataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\ntickTime=500\n\
             admin.enableServer=false\n"
        );
        std::fs::write(&file, text).expect("a properties file");
        self.spawn("org.apache.zookeeper.server.quorum.QuorumPeerMain", &file, "zookeeper.log", &["-Xmx256m"])
    }

    fn start_controller(&self, port: u16) -> Child {
        let file = self.file("controller.properties");
        let text = format!(
            "process.roles=controller\nnode.id={CONTROLLER}\ncontroller.quorum.voters={CONTROLLER}@127.0.0.1:{port}\n\
             listeners=CONTROLLER://127.0.0.1:{port}\nadvertised.listeners=CONTROLLER://controller:{port}\n\
             controller.listener.names=CONTROLLER\nlistener.security.protocol.map=CONTROLLER:PLAINTEXT\nlog.dirs={data}\n{SESSIONS}{rights}",
            data = self.file("controller"),
            rights = self.authorizer(),
        );
        std::fs::write(&file, text).expect("a properties file");
        self.format(&file, false);
        self.spawn("kafka.Kafka", &file, "controller.log", &["-Xmx256m"])
    }

    fn format(&self, file: &str, users: bool) {
        let mut arguments = vec!["format", "-t", CLUSTER, "-c", file];
        if users {
            arguments.extend(["--add-scram", "SCRAM-SHA-256=[name=bob,password=secret]"]);
            arguments.extend(["--add-scram", "SCRAM-SHA-512=[name=bob,password=secret]"]);
        }
        self.broker_class("kafka.tools.StorageTool", &arguments);
    }

    /// The nodes' version.
    pub fn version(&self) -> (u32, u32) {
        self.jars.version
    }

    /// `bootstrap.servers` of all nodes.
    pub fn bootstrap(&self) -> String {
        let servers: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        servers.join(",")
    }

    /// The addresses of another listener.
    pub fn address_of(&self, listener: &str) -> String {
        let port = |node: &Node| node.listeners.iter().find(|(name, _)| *name == listener).map(|(_, port)| *port);
        let port = |node| port(node).expect("the listener is there");
        let servers: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(node))).collect();
        servers.join(",")
    }

    /// The address of a node's open listener.
    pub fn server(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[node].port)
    }

    /// `bootstrap.servers` of all nodes, through their gates.
    pub fn gated(&self) -> String {
        let servers: Vec<String> = (0..self.nodes.len()).map(|node| self.gated_of(node)).collect();
        servers.join(",")
    }

    /// The address of a node, through its gate.
    pub fn gated_of(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.gate(node).port())
    }

    /// The gate between clients and a node.
    pub fn gate(&self, node: usize) -> &Gate {
        &self.nodes[node].gates.as_ref().expect("the node has gates").clients
    }

    /// The gate between a node and the controllers, or ZooKeeper.
    pub fn controllers(&self, node: usize) -> &Gate {
        &self.nodes[node].gates.as_ref().expect("the node has gates").controllers
    }

    /// Whatever a scenario has left closed is open again.
    pub fn open_gates(&self) {
        for gates in self.nodes.iter().filter_map(|node| node.gates.as_ref()) {
            gates.clients.open();
            gates.clients.hold_answers(Duration::ZERO);
            gates.clients.refuse_producer_ids(0);
            gates.controllers.open();
        }
    }

    /// Ends this process with the nodes.
    pub fn keep_company(&mut self, process: Child) {
        self.company.push(process);
    }

    /// A file in the cluster's folder.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Where Kafka's classes are.
    pub fn class_path(&self) -> String {
        format!("{}/*", self.jars.tools)
    }

    /// Runs one of the tools, or a source of our own, to its end; what it printed.
    pub fn java(&self, class: &str, arguments: &[&str]) -> String {
        Self::run(&self.class_path(), class, arguments)
    }

    /// Runs one of the classes that come with the nodes.
    fn broker_class(&self, class: &str, arguments: &[&str]) -> String {
        Self::run(&format!("{}/*", self.jars.broker), class, arguments)
    }

    fn run(class_path: &str, class: &str, arguments: &[&str]) -> String {
        let output = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path, class])
            .args(arguments)
            .stderr(Stdio::piped())
            .output()
            .expect("java runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} {arguments:?} failed:\n{printed}\n{errors}");
        printed
    }

    /// Creates a topic with a replica on each node.
    pub fn create_topic(&self, topic: &str, partitions: u32, config: &[&str]) {
        self.create_topic_with(topic, partitions, self.nodes.len() as u32, config);
    }

    /// Creates a topic with so many replicas.
    pub fn create_topic_with(&self, topic: &str, partitions: u32, replicas: u32, config: &[&str]) {
        admin::create_topic(&self.servers(), topic, partitions, replicas, config);
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, topic: &str) {
        admin::delete_topic(&self.servers(), topic);
    }

    /// The node that leads a partition, as a node has it that may know nothing new.
    pub fn leader_as_seen_by(&self, node: usize, topic: &str, partition: u32) -> Option<usize> {
        let leaders = admin::leaders(&[self.server(node)], topic)?;
        usize::try_from(leaders[partition as usize] - 1).ok()
    }

    /// The node (counted from 0) that leads a partition, once one does.
    pub fn leader(&self, topic: &str, partition: u32) -> usize {
        admin::until(|| {
            let leaders = admin::leaders(&self.servers(), topic)?;
            usize::try_from(leaders.get(partition as usize)? - 1).ok()
        })
    }

    /// Moves a partition's leadership to a node, by giving that node the first place among the replicas.
    pub fn move_leader(&self, topic: &str, partition: u32, node: usize) {
        let replicas: Vec<i32> = (0..self.nodes.len()).map(|n| ((node + n) % self.nodes.len() + 1) as i32).collect();
        admin::move_leader(&self.servers(), topic, partition, &replicas);
    }

    /// A user may write to a topic, or not.
    pub fn set_allowed(&self, user: &str, topic: &str, allowed: bool) {
        let set = if allowed { admin::allow_write } else { admin::forbid_write };
        set(&self.servers(), user, topic);
    }

    /// A user may have a producer id.
    pub fn allow_idempotence(&self, user: &str) {
        admin::allow_idempotence(&self.servers(), user);
    }

    /// The open listeners of the nodes that run and know what happens.
    fn servers(&self) -> Vec<String> {
        let cut_off = |node: &Node| node.gates.as_ref().is_some_and(|gates| gates.controllers.is_closed());
        let good = |node: &usize| self.nodes[*node].process.is_some() && !cut_off(&self.nodes[*node]);
        (0..self.nodes.len()).filter(good).map(|node| self.server(node)).collect()
    }

    /// The log segments of a partition, on the node that leads it.
    pub fn segments(&self, topic: &str, partition: u32) -> Vec<PathBuf> {
        let leader = if self.nodes.len() == 1 { 0 } else { self.leader(topic, partition) };
        let dir = self.dir.join(format!("data{}", leader + 1)).join(format!("{topic}-{partition}"));
        // A new topic's folder comes a little later.
        let mut segments: Vec<PathBuf> = admin::until(|| std::fs::read_dir(&dir).ok())
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        segments.sort();
        segments
    }

    /// The node that is the active controller, where the nodes are controllers.
    pub fn controller(&self) -> usize {
        admin::until(|| usize::try_from(admin::quorum_leader(&self.servers())? - 1).ok())
    }

    /// Gives a topic so many partitions.
    pub fn add_partitions(&self, topic: &str, partitions: u32) {
        admin::add_partitions(&self.servers(), topic, partitions);
    }

    /// How many bytes a second a client may produce at each node; `None` ends that.
    pub fn limit_rate(&self, client: &str, rate: Option<f64>) {
        admin::limit_rate(&self.servers(), client, rate);
    }

    /// From now on no file of this node may get larger than this, which is for it as if the disk were full. Ends with the process.
    pub fn limit_files(&self, node: usize, bytes: u64) {
        let id = self.nodes[node].process.as_ref().expect("it runs").id().to_string();
        let status = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={bytes}")]).status();
        assert!(status.is_ok_and(|status| status.success()), "prlimit");
    }

    /// Whether the process of a node has ended by itself.
    pub fn has_ended(&mut self, node: usize) -> bool {
        let process = self.nodes[node].process.as_mut();
        process.is_some_and(|process| process.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// Kills a node at once.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Lets a node end as it likes to.
    pub fn stop(&mut self, node: usize) {
        self.signal(node, "-TERM");
        if let Some(mut process) = self.nodes[node].process.take() {
            let _ = process.wait();
        }
    }

    /// Starts a node that was killed, and waits until it answers.
    pub fn restart(&mut self, node: usize) {
        self.start_node(node);
        self.wait_for(node);
    }

    /// Starts all nodes, which were killed, and waits until they answer.
    pub fn restart_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start_node(node);
        }
        for node in 0..self.nodes.len() {
            self.wait_for(node);
        }
    }

    /// Starts a node that was killed, and waits until it answers the first request of a client.
    pub fn restart_quickly(&mut self, node: usize) {
        self.start_node(node);
        let port = self.nodes[node].port;
        let which_versions = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0, 0];
        let answers = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            stream.write_all(&which_versions).ok()?;
            stream.read_exact(&mut [0; 8]).ok()
        };
        for _ in 0..6000 {
            if answers().is_some() {
                return;
            }
            self.start_again_if_it_ended(node);
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("node {} does not come up", node + 1);
    }

    /// Stops a node as a debugger would, or lets it go on.
    pub fn signal(&self, node: usize, signal: &str) {
        let id = self.nodes[node].process.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Keeps the logs; where they are.
    pub fn keep(&mut self) -> String {
        self.kept = true;
        self.dir.display().to_string()
    }

    fn properties(&self, node: usize) -> String {
        self.dir.join(format!("node{}.properties", node + 1)).display().to_string()
    }

    fn start_node(&mut self, node: usize) {
        let hosts = format!("-Djdk.net.hosts.file={}", self.file(&format!("hosts{}", node + 1)));
        let mut options = vec!["-Xmx512m"];
        options.extend(self.nodes[node].gates.as_ref().map(|_| &*hosts));
        options.extend(Some(&*self.java).filter(|option| !option.is_empty()));
        let process = self.spawn("kafka.Kafka", &self.properties(node), &format!("node{}.log", node + 1), &options);
        self.nodes[node].process = Some(process);
    }

    fn spawn(&self, class: &str, properties: &str, log: &str, options: &[&str]) -> Child {
        let log = self.dir.join(log);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        Command::new("java")
            .args(options)
            .args([
                "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
                &format!("{}/*", self.jars.broker),
                class,
                properties,
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("java runs")
    }

    /// Kafka 2.1 ends at its start as long as ZooKeeper believes that the node is still there.
    fn start_again_if_it_ended(&mut self, node: usize) {
        let ended = |process: &mut Child| process.try_wait().is_ok_and(|status| status.is_some());
        if self.jars.needs_zookeeper() && self.nodes[node].process.as_mut().is_some_and(ended) {
            self.start_node(node);
        }
    }

    fn wait_for(&mut self, node: usize) {
        let server = format!("127.0.0.1:{}", self.nodes[node].port);
        for _ in 0..300 {
            let options = [("bootstrap.servers", server.as_str()), ("max.block.ms", "500")];
            let config = milena::Config::from_properties(options).expect("valid options");
            let producer = milena::threads::Producer::new(config).expect("a producer");
            let answers = producer.list_topics().is_ok() && producer.brokers().len() == self.nodes.len();
            if answers {
                return;
            }
            self.start_again_if_it_ended(node);
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("node {} does not come up", node + 1);
    }
}

/// The id of each cluster.
const CLUSTER: &str = "AAAAAAAAQACAAAAAAAAAAQ";

/// The id of a controller that is no broker.
const CONTROLLER: usize = 100;

/// How soon a node that says nothing is taken for dead.
const SESSIONS: &str = "broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n";

impl Drop for Kafka {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
        for mut process in self.company.drain(..) {
            let _ = process.kill();
            let _ = process.wait();
        }
        if !self.kept && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// This machine's name, which Java likes to look up.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "localhost".to_string(), |name| name.trim().to_string())
}

/// Ports that nobody listens on just now.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
