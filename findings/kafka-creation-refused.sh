#!/usr/bin/env bash
# Apache Kafka 4.4.0, one node (JDK 17): a topic that may be created on first use, but can't be, is answered UNKNOWN_TOPIC_OR_PARTITION (3)
# for ever, as one that is about to be there; nothing tells the client why. So it is
# - with a_b where there is a.b (names that differ by dots and underscores only meet in the names of metrics),
# - with any topic where default.replication.factor is above the number of brokers, such as a file of three nodes used for one.
# CreateTopics says why in both cases, with a text. With ZooKeeper Metadata did too: 2.8.2 answers 17 and 38; 3.9.2 without it is as 4.4.0.
# So who wants to tell the user why asks CreateTopics with validate_only, which creates nothing.
#
# Here: Java's producer (kafka-clients 4.4.0) has 20 s for what takes one, then its admin client asks for the same topic.
# Seen: "x: created on first use"; "a_b: Topic a_b not present in metadata after 20000 ms. by UnknownTopicOrPartitionException", of which
# CreateTopics says "collides with existing topic: a.b"; the same of y, "Unable to replicate the partition 3 time(s)". Fails if that changes.
set -euo pipefail
for tool in java mvn python3; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat > pom.xml <<'X'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >/dev/null
cat > Refused.java <<'J'
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Refused {
    static String first(Throwable error) {
        while (error instanceof java.util.concurrent.ExecutionException) error = error.getCause();
        return error.getClass().getSimpleName() + ": " + error.getMessage().split(": The target")[0];
    }

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0];
        Map<String, Object> patient = Map.of("bootstrap.servers", address, "default.api.timeout.ms", 120000, "request.timeout.ms", 100000);
        Map<String, Object> options = Map.of("bootstrap.servers", address, "max.block.ms", 20000, "metadata.max.age.ms", 1000);
        try (var admin = Admin.create(patient)) {
            admin.listTopics().names().get(); // the node is there
            for (String topic : List.of(arguments).subList(1, arguments.length)) {
                if (topic.equals("a.b")) {
                    admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
                    continue;
                }
                String line = "created on first use";
                try (var producer = new KafkaProducer<>(options, new ByteArraySerializer(), new ByteArraySerializer())) {
                    producer.partitionsFor(topic);
                } catch (Exception error) {
                    String cause = error.getCause() == null ? "nothing" : error.getCause().getClass().getSimpleName();
                    line = error.getMessage() + " by " + cause;
                    try {
                        var validated = new CreateTopicsOptions().validateOnly(true);
                        admin.createTopics(List.of(new NewTopic(topic, Optional.empty(), Optional.empty())), validated).all().get();
                        line += " CreateTopics: it would be";
                    } catch (Exception refused) { line += "\n  CreateTopics: " + first(refused); }
                }
                System.out.println(topic + ": " + line);
            }
        }
    }
}
J
cat > refused.py <<'P'
import socket, subprocess

def ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets: s.close()
    return found

port, controller = ports(2)
def configure(replicas): open("node.properties", "w").write(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
default.replication.factor={replicas}
offsets.topic.replication.factor=1
""")
java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", "jars/*"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
configure(1)
subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "node.properties"], check=True, **quiet)
for replicas, topics in [(1, ["x", "a.b", "a_b"]), (3, ["y"])]:
    configure(replicas)
    node = subprocess.Popen(java + ["kafka.Kafka", "node.properties"], **quiet)
    try:
        subprocess.run(java + ["Refused.java", f"127.0.0.1:{port}"] + topics, check=True, stderr=subprocess.DEVNULL, timeout=250)
    finally:
        node.kill(); node.wait()
P
seen=$(python3 refused.py)
echo "$seen"
expected="x: created on first use
a_b: Topic a_b not present in metadata after 20000 ms. by UnknownTopicOrPartitionException
  CreateTopics: InvalidTopicException: Topic 'a_b' collides with existing topic: a.b
y: Topic y not present in metadata after 20000 ms. by UnknownTopicOrPartitionException
  CreateTopics: InvalidReplicationFactorException: Unable to replicate the partition 3 time(s)"
[ "$seen" = "$expected" ] || { echo "it has changed" >&2; exit 1; }
