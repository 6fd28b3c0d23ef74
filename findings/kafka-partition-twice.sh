#!/usr/bin/env bash
# Apache Kafka 4.4.0, one node (JDK 17): a Produce request that names one partition twice, each time with a batch, is answered for it once, with
# code 0. The last batch is in the log; the others are nowhere, and nothing says so. It is the same whether the topic is named once or twice,
# with a producer id too: of the sequence numbers 0 and 1 the broker knows 1 alone, so not even the gap is seen.
# The schema has arrays there, and two batches in ONE records field are refused (87), which makes this look like the way to send two.
# 2.8.2 and 3.9.2 did the same when tried; 2.1.1 refused the one with a producer id (59), and lost the other one all the same.
#
# A client has to see to it that a partition is in a request once.
#
# Seen: each time "answers: one, code 0; in the log: second". Fails if that changes.
set -euo pipefail
for tool in java mvn python3; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat > pom.xml <<'X'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >/dev/null
cat > twice.py <<'P'
import glob, socket, struct, subprocess, time

def ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets: s.close()
    return found

port, controller = ports(2)
open("node.properties", "w").write(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data
offsets.topic.replication.factor=1
""")

def text(s): return struct.pack(">h", len(s)) + s.encode()

def call(key, version, body):
    frame = struct.pack(">hhi", key, version, 7) + text("by-hand") + body
    until = time.time() + 120
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 60) as s, s.makefile("rwb") as f:
                f.write(struct.pack(">i", len(frame)) + frame); f.flush()
                return f.read(struct.unpack(">i", f.read(4))[0])[4:]
        except ConnectionRefusedError:
            if time.time() > until: raise
            time.sleep(0.2)

def again(ask, until=None):
    "Asks until it is no more told to wait: a fresh node, a fresh topic."
    until = time.time() + 120
    while True:
        error, result = ask()
        if error == 0: return result
        if error not in (3, 5, 6, 14, 15) or time.time() > until: raise SystemExit(f"error {error}")
        time.sleep(0.2)

def create():
    answer = call(19, 2, struct.pack(">i", 1) + text("t") + struct.pack(">ihiiib", 3, 1, 0, 0, 30000, 0))
    error = struct.unpack(">h", answer[8 + 2 + 1:][:2])[0]
    return 0 if error == 36 else error, None

def producer_id():
    _, error, id, _ = struct.unpack(">ihqh", call(22, 1, struct.pack(">hi", -1, 60000)))
    return error, id

table = []
for n in range(256):
    for _ in range(8): n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    table.append(n)

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data: crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

def batch(value, id=-1, sequence=-1):
    # No attributes, no timestamp delta, no offset delta, no key, the value, no headers: below 64 bytes, so lengths are of one byte.
    record = bytes([0, 0, 0, 1, 2 * len(value)]) + value + bytes([0])
    now = int(time.time() * 1000)
    tail = struct.pack(">hiqqqhii", 0, 0, now, now, id, -1 if id < 0 else 0, sequence, 1) + bytes([2 * len(record)]) + record
    body = struct.pack(">ibI", 0, 2, crc32c(tail)) + tail
    return struct.pack(">qi", 0, len(body)) + body

def produce(topics):
    "Version 3; of topics, each a list of (partition, batch). The answer as a list of (partition, code)."
    body = struct.pack(">hhii", -1, -1, 30000, len(topics))
    for partitions in topics:
        body += text("t") + struct.pack(">i", len(partitions))
        for partition, data in partitions: body += struct.pack(">ii", partition, len(data)) + data
    answer = call(0, 3, body)
    found, at = [], 4
    for _ in range(struct.unpack(">i", answer[:4])[0]):
        many = struct.unpack(">i", answer[at + 3:][:4])[0]
        at += 7
        for _ in range(many):
            found.append(struct.unpack(">ih", answer[at:][:6]))
            at += 22
    return found

java = ["java", "-Xmx512m", "-cp", "jars/*"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "node.properties"], check=True, **quiet)
node = subprocess.Popen(java + ["kafka.Kafka", "node.properties"], **quiet)
try:
    again(create)
    def all_three():
        found = produce([[(n, batch(b"warm")) for n in range(3)]])
        return max(code for _, code in found), found
    again(all_three)
    id = again(producer_id)
    for words, name, id in [("plain", b"plain", -1), ("with a producer id", b"known", id)]:
        for where in ["in one topic entry", "in two"]:
            name += b"-" + where[-3:].encode()
            values = [b"first." + name, b"second." + name]
            # Of each producer id a new partition, so that sequences begin at 0.
            partition = 0 if id < 0 else 1 if where == "in one topic entry" else 2
            entries = [(partition, batch(value, id, -1 if id < 0 else n)) for n, value in enumerate(values)]
            found = produce([entries] if where == "in one topic entry" else [[entry] for entry in entries])
            log = open(glob.glob(f"data/t-{partition}/*.log")[0], "rb").read()
            stored = [value.split(b".")[0].decode() for value in values if value in log]
            one = "one" if len(found) == 1 else len(found)
            print(f"{words}, {where}: answers: {one}, code {found[0][1]}; in the log: {' '.join(stored)}")
finally:
    node.kill(); node.wait()
P
seen=$(python3 twice.py)
echo "$seen"
expected="plain, in one topic entry: answers: one, code 0; in the log: second
plain, in two: answers: one, code 0; in the log: second
with a producer id, in one topic entry: answers: one, code 0; in the log: second
with a producer id, in two: answers: one, code 0; in the log: second"
[ "$seen" = "$expected" ] || { echo "it has changed" >&2; exit 1; }
