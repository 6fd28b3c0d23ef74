#!/usr/bin/env bash
# Apache Kafka 4.4.0, one node (JDK 17): what a broker knows of an idempotent producer ages by the timestamps of the producer's records,
# not by the clock. Where the newest record is older than producer.id.expiration.ms (a day), the broker forgets the producer when it
# starts again, after kill -9 as after a clean end, and each producer.id.expiration.check.interval.ms (ten minutes) while it runs. Then it
# takes the same batch a second time as a new one, and one with a gap before it too: nothing is refused, and the record stands in
# the log twice. So whoever sends old events with their own time (a replay, a device without a clock) has no idempotence at these moments.
# With message.timestamp.type=LogAppendTime the topic has the broker's time, and the batch is known again.
#
# Here: one batch, sent by hand (Produce 3), again at once, again after the node was killed and started, and again after a
# while, with producer.id.expiration.check.interval.ms=1000.
# Seen, as offsets that the same batch was given:
#   now: 0, 0, killed and started: 0, later: 0
#   two days ago: 0, 0, killed and started: 1, later: 2, with a gap: 3
#   two days ago, LogAppendTime: 0, 0, killed and started: 0, later: 0
# Fails if that changes.
set -euo pipefail
for tool in java mvn python3; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat > pom.xml <<'X'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >/dev/null
cat > again.py <<'P'
import socket, struct, subprocess, time

def ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets: s.close()
    return found

port, controller = ports(2)
PROPERTIES = f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
offsets.topic.replication.factor=1
"""
def configure(more): open("node.properties", "w").write(PROPERTIES + more)
configure("")

def text(s): return struct.pack(">h", len(s)) + s.encode()

def call(key, version, body):
    frame = struct.pack(">hhi", key, version, 7) + text("by-hand") + body
    until = time.time() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as s, s.makefile("rwb") as f:
                f.write(struct.pack(">i", len(frame)) + frame); f.flush()
                return f.read(struct.unpack(">i", f.read(4))[0])[4:]
        except (OSError, struct.error):
            if time.time() > until: raise
            time.sleep(0.2)

def create(topic, options):
    pairs = b"".join(text(k) + text(v) for k, v in options.items())
    body = struct.pack(">i", 1) + text(topic) + struct.pack(">ihi", 1, 1, 0) + struct.pack(">i", len(options)) + pairs
    until = time.time() + 60
    while True:
        answer = call(19, 2, body + struct.pack(">ib", 10000, 0))
        error = struct.unpack(">h", answer[8 + 2 + len(topic):][:2])[0]
        if error in (0, 36): return
        if time.time() > until: raise SystemExit(f"CreateTopics: {error}")
        time.sleep(0.2)

def producer_id():
    until = time.time() + 60
    while True:
        _, error, id, _ = struct.unpack(">ihqh", call(22, 1, struct.pack(">hi", -1, 60000)))
        if error == 0: return id
        if time.time() > until: raise SystemExit(f"InitProducerId: {error}")
        time.sleep(0.2)

table = []
for n in range(256):
    for _ in range(8): n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    table.append(n)

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data: crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

# Length 7: no attributes, no timestamp delta, no offset delta, no key, one byte, no headers.
RECORD = bytes([14, 0, 0, 0, 1, 2]) + b"v" + bytes([0])

def send(topic, id, sequence, timestamp):
    tail = struct.pack(">hiqqqhii", 0, 0, timestamp, timestamp, id, 0, sequence, 1) + RECORD
    batch = struct.pack(">ibI", 0, 2, crc32c(tail)) + tail
    batch = struct.pack(">qi", 0, len(batch)) + batch
    body = struct.pack(">hhii", -1, -1, 30000, 1) + text(topic) + struct.pack(">iii", 1, 0, len(batch)) + batch
    until = time.time() + 60
    while True:
        answer = call(0, 3, body)
        _, error, offset = struct.unpack(">ihq", answer[4 + 2 + len(topic) + 4:][:14])
        if error == 0: return offset
        # Not the leader yet, after a start.
        if error not in (3, 5, 6) or time.time() > until: return f"error {error}"
        time.sleep(0.2)

java = ["java", "-Xmx512m", "-cp", "jars/*"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "node.properties"], check=True, **quiet)
start = lambda: subprocess.Popen(java + ["kafka.Kafka", "node.properties"], **quiet)
node = start()
try:
    now = int(time.time() * 1000)
    old = now - 2 * 24 * 3600 * 1000
    rows = [("now", "new", now, {}), ("two days ago", "old", old, {}),
            ("two days ago, LogAppendTime", "append", old, {"message.timestamp.type": "LogAppendTime"})]
    seen = {}
    for _, topic, time_of_event, options in rows:
        create(topic, options)
        id = producer_id()
        seen[topic] = [id, send(topic, id, 0, time_of_event), send(topic, id, 0, time_of_event)]
    node.kill(); node.wait()
    configure("producer.id.expiration.check.interval.ms=1000\n")
    node = start()
    for _, topic, time_of_event, _ in rows: seen[topic].append(send(topic, seen[topic][0], 0, time_of_event))
    time.sleep(5)
    for words, topic, time_of_event, _ in rows:
        id, first, second, third = seen[topic]
        line = f"{words}: {first}, {second}, killed and started: {third}, later: {send(topic, id, 0, time_of_event)}"
        if topic == "old":
            time.sleep(5)
            line += f", with a gap: {send(topic, id, 40, time_of_event)}"
        print(line)
finally:
    node.kill(); node.wait()
P
seen=$(python3 again.py)
echo "$seen"
expected="now: 0, 0, killed and started: 0, later: 0
two days ago: 0, 0, killed and started: 1, later: 2, with a gap: 3
two days ago, LogAppendTime: 0, 0, killed and started: 0, later: 0"
[ "$seen" = "$expected" ] || { echo "it has changed" >&2; exit 1; }
