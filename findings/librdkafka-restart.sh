#!/usr/bin/env bash
# librdkafka 2.16.0 (confluent-kafka from PyPI) with Apache Kafka 4.4.0, one node (JDK 17, Python 3): an idempotent producer fails for good
# when its broker restarts while some of its requests are unanswered (five at most). All are in the log; but after a restart a broker knows
# the newest batch of a producer only, and answers the first of them 45, OUT_OF_ORDER_SEQUENCE_NUMBER. librdkafka takes that for
# "sequence desynchronization with broker", fatal, and purges its queue. It had sent them all again, and the last is answered 0.
#
# Why it is rare: with batches of several records there was never more than one request of a partition on the way, as if its
# limit of five counted records, not requests.
#
# Here: 12 records/s, linger.ms=0, answers held back for 0.4 s by a proxy that loses them when the node is killed.
# Seen: "fatal: OUT_OF_ORDER_SEQUENCE_NUMBER, in the log of those in doubt: all". Fails if that changes.
set -euo pipefail
for tool in java mvn python3; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat > pom.xml <<'X'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >/dev/null
python3 -m venv venv && venv/bin/pip install -q --disable-pip-version-check confluent-kafka==2.16.0
cat > restart.py <<'P'
import collections, glob, socket, subprocess, threading, time
import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

def ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets: s.close()
    return found

port, controller = ports(2)
hold = 0.0

def serve(client):
    try: node = socket.create_connection(("127.0.0.1", port))
    except OSError: return client.close()
    held, ended = collections.deque(), threading.Event()
    def end():
        ended.set()
        for s in (client, node):
            try: s.shutdown(socket.SHUT_RDWR)
            except OSError: pass
    def pump(source, sink):
        try:
            while data := source.recv(65536): sink(data)
        except OSError: pass
        end()
    def hand_out():
        while not ended.is_set():
            if held and held[0][0] <= time.time():
                try: client.sendall(held.popleft()[1])
                except OSError: return end()
            else: time.sleep(0.002)
    threading.Thread(target=pump, args=(client, node.sendall), daemon=True).start()
    threading.Thread(target=pump, args=(node, lambda data: held.append((time.time() + hold, data))), daemon=True).start()
    threading.Thread(target=hand_out, daemon=True).start()

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
offsets.topic.replication.factor=1
""")
java = ["java", "-Xmx512m", "-cp", "jars/*"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "node.properties"], check=True, **quiet)
start = lambda: subprocess.Popen(java + ["kafka.Kafka", "node.properties"], **quiet)
node = start()
try:
    options = {"bootstrap.servers": address, "log_level": 0}
    admin = AdminClient(options)
    admin.create_topics([NewTopic("t", 1, 1)], operation_timeout=50)["t"].result(60)
    open_records, fatal = set(), []
    def told(error):
        if error.code() == ck.KafkaError._FATAL: fatal.append(error)
    def see(n): return lambda error, _: error or open_records.discard(n)
    producer = ck.Producer({**options, "enable.idempotence": True, "linger.ms": 0, "error_cb": told})
    def poll(seconds):
        until = time.time() + seconds
        while time.time() < until and not fatal:
            try: producer.poll(0.01)
            except ck.KafkaException as error: fatal.append(error.args[0].name())
    producer.produce("t", "0"); producer.flush()
    hold = 0.4
    for n in range(1, 40):
        open_records.add(n); producer.produce("t", str(n), on_delivery=see(n)); poll(1 / 12)
    doubt = sorted(open_records)[:5]
    node.kill(); node.wait()
    hold = 0.0
    node = start()
    poll(60)
    log = open(glob.glob("data/t-0/*.log")[0], "rb").read()
    # A record of one batch ends with its value and no headers.
    stored = sum(b"%d\0" % n in log for n in doubt)
    all_there = stored == len(doubt) > 1
    print(f"fatal: {fatal[0] if fatal else None}, in the log of those in doubt: {'all' if all_there else (stored, len(doubt))}")
finally:
    node.kill(); node.wait()
P
seen=$(venv/bin/python restart.py)
echo "$seen"
[ "$seen" = "fatal: OUT_OF_ORDER_SEQUENCE_NUMBER, in the log of those in doubt: all" ] || { echo "it has changed" >&2; exit 1; }
