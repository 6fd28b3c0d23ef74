#!/usr/bin/env bash
# Apache Kafka 4.4.0, one node (JDK 17): ApiVersions offers Produce from version 0 on, but there is none below 3. A request of version 0, 1 or 2 is
# answered by nothing: the connection is closed, with acks=0 as with acks=1. Where Fetch and the others begin is told truly (Fetch at 4),
# and a version below that ends the connection too. 3.9.2 offers Produce 0 to 11 and serves 0.
# Kafka's own schema (ProduceRequest.json) says why it is offered, for a fault of old librdkafka (KAFKA-18659), and that it is refused
# with UNSUPPORTED_VERSION, which is not what a client sees.
# So a client that has nothing newer than Produce 2 finds a version in common and then loses each connection, which looks like a network
# that fails, and is retried as one: it has to know by itself that 3 is the least, or see that nothing below 3 was ever answered.
#
# Seen: "offered: Produce 0 to 13, Fetch 4 to 18", then "Produce n: closed" for 0 to 2, with acks=1 and with acks=0, and "Produce 3: 0".
# Fails if that changes.
set -euo pipefail
for tool in java mvn python3; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat > pom.xml <<'X'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >/dev/null
cat > offered.py <<'P'
import socket, struct, subprocess, time, zlib

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

def calls(*requests):
    "The answers, without their number, to what is sent on one connection, one after the other; None for the end of the connection."
    answers = []
    with socket.create_connection(("127.0.0.1", port), 100) as s, s.makefile("rb") as f:
        for key, version, body, is_answered in requests:
            frame = struct.pack(">hhi", key, version, 7) + text("by-hand") + body
            try: s.sendall(struct.pack(">i", len(frame)) + frame)
            except OSError: return answers + [None]
            if not is_answered: continue
            try: size = f.read(4)
            except ConnectionResetError: size = b""
            if len(size) < 4: return answers + [None]
            answers.append(f.read(struct.unpack(">i", size)[0])[4:])
    return answers

def create():
    body = struct.pack(">i", 1) + text("t") + struct.pack(">ihiiib", 1, 1, 0, 0, 30000, 0)
    return struct.unpack(">h", calls((19, 2, body, True))[0][8 + 2 + 1:][:2])[0]

table = []
for n in range(256):
    for _ in range(8): n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    table.append(n)

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data: crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

def records(version):
    "One record with the value v, in the format of the version: message sets of magic 0 and 1, or a batch of magic 2."
    now = int(time.time() * 1000)
    if version < 3:
        magic = 0 if version < 2 else 1
        tail = bytes([magic, 0]) + (struct.pack(">q", now) if magic else b"") + struct.pack(">ii", -1, 1) + b"v"
        message = struct.pack(">I", zlib.crc32(tail)) + tail
        return struct.pack(">qi", 0, len(message)) + message
    tail = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + bytes([14, 0, 0, 0, 1, 2]) + b"v" + bytes([0])
    body = struct.pack(">ibI", 0, 2, crc32c(tail)) + tail
    return struct.pack(">qi", 0, len(body)) + body

def produce(version, acks):
    data = records(version)
    body = struct.pack(">hii", acks, 30000, 1) + text("t") + struct.pack(">iii", 1, 0, len(data)) + data
    return 0, version, (struct.pack(">h", -1) if version > 2 else b"") + body, acks != 0

API_VERSIONS = (18, 0, b"", True)
def code(answer): return struct.unpack(">h", answer[4 + 2 + 1 + 4 + 4:][:2])[0]

java = ["java", "-Xmx512m", "-cp", "jars/*"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "node.properties"], check=True, **quiet)
node = subprocess.Popen(java + ["kafka.Kafka", "node.properties"], **quiet)
try:
    until = time.time() + 120
    while True:
        try:
            if create() in (0, 36) and code(calls(produce(3, 1))[0]) == 0: break
        except ConnectionRefusedError: pass
        if time.time() > until: raise SystemExit("the node does not come up")
        time.sleep(0.2)
    answer = calls(API_VERSIONS)[0]
    offered = {}
    for n in range(struct.unpack(">i", answer[2:6])[0]):
        key, least, most = struct.unpack(">hhh", answer[6 + 6 * n:][:6])
        offered[key] = f"{least} to {most}"
    print(f"offered: Produce {offered[0]}, Fetch {offered[1]}")
    for version in range(4):
        answered, silent = calls(produce(version, 1)), calls(produce(version, 0), API_VERSIONS)
        said = "closed" if answered[0] is None else code(answered[0])
        print(f"Produce {version}: {said}, acks=0: {'closed' if silent[0] is None else 'the next request is answered'}")
finally:
    node.kill(); node.wait()
P
seen=$(python3 offered.py)
echo "$seen"
expected="offered: Produce 0 to 13, Fetch 4 to 18
Produce 0: closed, acks=0: closed
Produce 1: closed, acks=0: closed
Produce 2: closed, acks=0: closed
Produce 3: 0, acks=0: the next request is answered"
[ "$seen" = "$expected" ] || { echo "it has changed" >&2; exit 1; }
