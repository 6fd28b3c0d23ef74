#!/usr/bin/env bash
# Apache Kafka 4.4.0, one node, and its own producer, kafka-clients 4.4.0 (JDK 17): a batch that comes a second time, since its first answer was
# lost, is answered 0 and with its old offset, as it should be, but also with a log_append_time, on a topic whose message.timestamp.type is
# CreateTime, where that field is -1 otherwise. It holds the batch's largest timestamp, which is what the broker remembers of a batch.
# Clients take any log_append_time for the broker's: Java's RecordMetadata.timestamp() is then one and the same for all records of the
# batch, and not what is in the log. Whoever stores these times, or computes latencies of them, meets it after a broken connection only.
#
# What a client can do: of a batch that was sent more than once, not to believe a log_append_time that is its own largest timestamp.
#
# Here: three records in a batch, with times of their own, twice; the answer to the second batch is lost by a proxy.
# Seen: "answered: sent 0 5000 1000, told 0 5000 1000" and "answer lost: sent 0 5000 1000, told 5000 5000 5000, in the log 0 5000 1000".
# Fails if that changes.
set -euo pipefail
for tool in java mvn python3; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat > pom.xml <<'X'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >/dev/null
cat > Times.java <<'J'
import java.io.File;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

public class Times {
    static final long START = 1_790_000_000_000L;
    static final long[] SENT = {0, 5000, 1000};

    static String told(KafkaProducer<byte[], byte[]> producer) throws Exception {
        var line = new StringJoiner(" ");
        var futures = new ArrayList<Future<RecordMetadata>>();
        for (long time : SENT) futures.add(producer.send(new ProducerRecord<>("t", 0, START + time, null, new byte[1])));
        for (var future : futures) line.add("" + (future.get().timestamp() - START));
        return line.toString();
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> options = Map.of("bootstrap.servers", arguments[0], "linger.ms", 1000, "request.timeout.ms", 60000,
            "delivery.timeout.ms", 200000, "max.block.ms", 200000, "default.api.timeout.ms", 200000, "group.id", "g");
        try (var admin = Admin.create(options)) {
            admin.createTopics(List.of(new NewTopic("t", 1, (short) 1))).all().get();
        }
        try (var producer = new KafkaProducer<>(options, new ByteArraySerializer(), new ByteArraySerializer())) {
            System.out.println("answered: sent 0 5000 1000, told " + told(producer));
            new File("lose").createNewFile();
            System.out.print("answer lost: sent 0 5000 1000, told " + told(producer));
        }
        try (var consumer = new KafkaConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            var partition = new TopicPartition("t", 0);
            consumer.assign(List.of(partition));
            consumer.seek(partition, 3);
            var line = new StringJoiner(" ");
            for (int seen = 0; seen < 3; )
                for (var record : consumer.poll(Duration.ofSeconds(1))) { line.add("" + (record.timestamp() - START)); seen++; }
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            System.out.println(", in the log " + line + (end == 6 ? "" : ", which has " + end + " records"));
        }
    }
}
J
cat > lose.py <<'P'
import os, socket, struct, subprocess, threading

def ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets: s.close()
    return found

port, controller = ports(2)

def serve(client):
    try: node = socket.create_connection(("127.0.0.1", port))
    except OSError: return client.close()
    lost = set() # the numbers of requests whose answers are not handed on
    def pump(source, sink, see):
        frames = source.makefile("rb")
        try:
            while len(size := frames.read(4)) == 4:
                frame = frames.read(struct.unpack(">i", size)[0])
                if not see(frame): break
                sink.sendall(size + frame)
        except OSError: pass
        for s in (client, node):
            try: s.shutdown(socket.SHUT_RDWR)
            except OSError: pass
    def request(frame):
        key, _, number = struct.unpack(">hhi", frame[:8])
        if key == 0 and os.path.exists("lose"):
            os.remove("lose")
            lost.add(number)
        return True
    threading.Thread(target=pump, args=(client, node, request), daemon=True).start()
    threading.Thread(target=pump, args=(node, client, lambda frame: struct.unpack(">i", frame[:4])[0] not in lost), daemon=True).start()

proxy = socket.create_server(("127.0.0.1", 0))
def accept():
    while True: serve(proxy.accept()[0])
threading.Thread(target=accept, daemon=True).start()
address = "127.0.0.1:%d" % proxy.getsockname()[1]
open("node.properties", "w").write(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{address}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
log.retention.ms=-1
offsets.topic.replication.factor=1
""")
java = ["java", "-Xmx512m", "-cp", "jars/*"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "node.properties"], check=True, **quiet)
node = subprocess.Popen(java + ["kafka.Kafka", "node.properties"], **quiet)
try:
    subprocess.run(java + ["Times.java", address], check=True, stderr=subprocess.DEVNULL, timeout=250)
finally:
    node.kill(); node.wait()
P
seen=$(python3 lose.py)
echo "$seen"
expected="answered: sent 0 5000 1000, told 0 5000 1000
answer lost: sent 0 5000 1000, told 5000 5000 5000, in the log 0 5000 1000"
[ "$seen" = "$expected" ] || { echo "it has changed" >&2; exit 1; }
