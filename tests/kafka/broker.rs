//! Nodes of Apache Kafka, ended by their own process ids.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A Kafka cluster in KRaft mode.
pub struct Kafka {
    jars: String,
    dir: PathBuf,
    nodes: Vec<Node>,
    /// Ports of other listeners of the first node.
    listeners: Vec<(&'static str, u16)>,
    kept: bool,
}

/// Another listener of a node, beside the open one.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub name: &'static str,
    /// `SSL`, `SASL_SSL` or `SASL_PLAINTEXT`.
    pub protocol: &'static str,
}

struct Node {
    port: u16,
    process: Option<Child>,
}

impl Kafka {
    /// Formats and starts so many nodes, and waits until they answer.
    pub fn start(jars: &str, nodes: usize) -> Self {
        Self::start_with(jars, nodes, &[], |_| String::new())
    }

    /// One node with more listeners; `properties` gets the folder for files, and says what else the node is to know. The
    /// user `bob` has the password `secret` for SCRAM.
    pub fn start_secured(jars: &str, listeners: &[Listener], properties: impl FnOnce(&Path) -> String) -> Self {
        Self::start_with(jars, 1, listeners, properties)
    }

    fn start_with(jars: &str, nodes: usize, others: &[Listener], properties: impl FnOnce(&Path) -> String) -> Self {
        let secured = if others.is_empty() { "" } else { "-secured" };
        let dir = std::env::temp_dir().join(format!("milena-kafka-{}-{nodes}{secured}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder for logs");
        let ports = free_ports(2 * nodes + others.len());
        let (other_ports, ports) = ports.split_at(others.len());
        let (clients, controllers) = ports.split_at(nodes);
        let listeners: Vec<(&'static str, u16)> =
            others.iter().zip(other_ports).map(|(listener, port)| (listener.name, *port)).collect();
        let more: String = listeners.iter().map(|(name, port)| format!(",{name}://127.0.0.1:{port}")).collect();
        let map: String = others.iter().map(|listener| format!(",{}:{}", listener.name, listener.protocol)).collect();
        let extra = properties(&dir);
        let voters: Vec<String> =
            controllers.iter().enumerate().map(|(n, port)| format!("{}@127.0.0.1:{port}", n + 1)).collect();
        let replicas = nodes.min(3);
        for (n, (port, controller)) in clients.iter().zip(controllers).enumerate() {
            let properties = format!(
                "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={voters}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{more}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more}\ncontroller.listener.names=CONTROLLER\n\
                 inter.broker.listener.name=PLAINTEXT\n\
                 listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{map}\nlog.dirs={data}\n\
                 num.partitions=4\ndefault.replication.factor={replicas}\nmin.insync.replicas={isr}\n\
                 offsets.topic.replication.factor={replicas}\ntransaction.state.log.replication.factor={replicas}\n\
                 transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
                 broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n{extra}",
                id = n + 1,
                voters = voters.join(","),
                data = dir.join(format!("data{}", n + 1)).display(),
                isr = if nodes == 3 { 2 } else { 1 },
            );
            std::fs::write(dir.join(format!("node{}.properties", n + 1)), properties).expect("a properties file");
        }
        let nodes = clients.iter().map(|port| Node { port: *port, process: None }).collect();
        let mut kafka = Self { jars: jars.to_string(), dir, nodes, listeners, kept: false };
        let id = kafka.java("kafka.tools.StorageTool", &["random-uuid"]);
        let id = id.lines().last().expect("an id").trim().to_string();
        for node in 0..kafka.nodes.len() {
            let file = kafka.properties(node);
            let mut arguments = vec!["format", "-t", &id, "-c", &file];
            if !others.is_empty() {
                arguments.extend(["--add-scram", "SCRAM-SHA-256=[name=bob,password=secret]"]);
                arguments.extend(["--add-scram", "SCRAM-SHA-512=[name=bob,password=secret]"]);
            }
            kafka.java("kafka.tools.StorageTool", &arguments);
            kafka.start_node(node);
        }
        for node in 0..kafka.nodes.len() {
            kafka.wait_for(node);
        }
        kafka
    }

    /// `bootstrap.servers` of all nodes.
    pub fn bootstrap(&self) -> String {
        let servers: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        servers.join(",")
    }

    /// The address of another listener.
    pub fn address_of(&self, listener: &str) -> String {
        let found = self.listeners.iter().find(|(name, _)| *name == listener);
        format!("127.0.0.1:{}", found.expect("the listener is there").1)
    }

    /// A file in the cluster's folder.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Where Kafka's classes are.
    pub fn class_path(&self) -> String {
        format!("{}/*", self.jars)
    }

    /// Runs one of Kafka's classes, or a source of our own, to its end; what it printed.
    pub fn java(&self, class: &str, arguments: &[&str]) -> String {
        let output = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &self.class_path(), class])
            .args(arguments)
            .stderr(Stdio::piped())
            .output()
            .expect("java runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} {arguments:?} failed:\n{printed}\n{errors}");
        printed
    }

    /// Creates a topic.
    pub fn create_topic(&self, topic: &str, partitions: u32, config: &[&str]) {
        let (servers, partitions) = (self.bootstrap(), partitions.to_string());
        let replicas = self.nodes.len().to_string();
        let mut arguments =
            vec!["--bootstrap-server", &servers, "--create", "--topic", topic, "--partitions", &partitions];
        arguments.extend(["--replication-factor", &replicas]);
        for option in config {
            arguments.extend(["--config", option]);
        }
        self.java("org.apache.kafka.tools.TopicCommand", &arguments);
    }

    /// The node (counted from 0) that leads a partition.
    pub fn leader(&self, topic: &str, partition: u32) -> usize {
        let printed = self.java(
            "org.apache.kafka.tools.TopicCommand",
            &["--bootstrap-server", &self.bootstrap(), "--describe", "--topic", topic],
        );
        let wanted = format!("Partition: {partition}\t");
        let line = printed.lines().find(|line| line.contains(&wanted)).expect("the partition is described");
        let leader = line.split("Leader: ").nth(1).expect("it has a leader").split_whitespace().next();
        leader.and_then(|id| id.parse::<usize>().ok()).expect("the leader is a node") - 1
    }

    /// Moves a partition's leadership to a node, by giving that node the first place among the replicas.
    pub fn move_leader(&self, topic: &str, partition: u32, node: usize) {
        let all: Vec<usize> = (0..self.nodes.len()).map(|n| (node + n) % self.nodes.len() + 1).collect();
        let plan = format!(
            r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":{partition},"replicas":{all:?}}}]}}"#
        );
        let file = self.dir.join("move.json");
        std::fs::write(&file, plan).expect("a plan");
        let file = file.display().to_string();
        let servers = self.bootstrap();
        let reassign = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
        self.java(reassign, &["--bootstrap-server", &servers, "--reassignment-json-file", &file, "--execute"]);
        let elect = "org.apache.kafka.tools.LeaderElectionCommand";
        let partition = partition.to_string();
        let which = ["--election-type", "PREFERRED", "--topic", topic, "--partition", &partition];
        self.java(elect, &[&["--bootstrap-server", &servers][..], &which].concat());
    }

    /// The log segments of a partition, on the node that leads it.
    pub fn segments(&self, topic: &str, partition: u32) -> Vec<PathBuf> {
        let leader = if self.nodes.len() == 1 { 0 } else { self.leader(topic, partition) };
        let dir = self.dir.join(format!("data{}", leader + 1)).join(format!("{topic}-{partition}"));
        let mut segments: Vec<PathBuf> = std::fs::read_dir(&dir)
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        segments.sort();
        segments
    }

    /// Kills a node at once.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts a node that was killed, and waits until it answers.
    pub fn restart(&mut self, node: usize) {
        self.start_node(node);
        self.wait_for(node);
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
        let file = self.dir.join(format!("node{}.log", node + 1));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(file).expect("a log file");
        let process = Command::new("java")
            .args(["-Xmx512m", "-cp", &format!("{}/*", self.jars), "kafka.Kafka", &self.properties(node)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("java runs");
        self.nodes[node].process = Some(process);
    }

    fn wait_for(&self, node: usize) {
        let server = format!("127.0.0.1:{}", self.nodes[node].port);
        for _ in 0..300 {
            let options = [("bootstrap.servers", server.as_str()), ("max.block.ms", "500")];
            let config = milena::Config::from_properties(options).expect("valid options");
            let producer = milena::threads::Producer::new(config).expect("a producer");
            let answers = producer.list_topics().is_ok() && producer.brokers().len() == self.nodes.len();
            if answers {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("node {} does not come up", node + 1);
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
        if !self.kept && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Ports that nobody listens on just now.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
