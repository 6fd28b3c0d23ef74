#!/usr/bin/env bash
# Apache Kafka 4.4.0, one node (JDK 17): the name and the version of a client in ApiVersions 3 and newer are for metrics only, but not any text will
# do: letters, digits, dots and hyphens, and neither of the last two at an end. Else the whole request is INVALID_REQUEST (42), and no
# version of anything is told. So a version as SemVer and PEP 440 have it ("1.4.0+9f2c1ab", what a build from a work tree is called by Go and
# setuptools-scm), or a name with a blank, keeps a client out of all clusters (2.8.2 and 3.9.2 did the same when tried), on the day
# when somebody builds it so; and a client that asks for an older version after a 35 only has no way on. The connection stays
# open: ApiVersions 0, which has neither, is answered behind it.
#
# Seen: 0 for "1.4.0" and "v1.4.0-rc.1", 42 for "1.4.0+9f2c1ab", "1.4_0", "1.4.0-", "" and the name "my client"; then each time 0 for version 0.
# Fails if that changes.
set -euo pipefail
for tool in java mvn python3; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat > pom.xml <<'X'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies></project>
X
mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >/dev/null
cat > named.py <<'P'
import socket, struct, subprocess, time

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
        for key, version, body in requests:
            frame = struct.pack(">hhi", key, version, 7) + text("by-hand") + body
            try: s.sendall(struct.pack(">i", len(frame)) + frame)
            except OSError: return answers + [None]
            try: size = f.read(4)
            except ConnectionResetError: size = b""
            if len(size) < 4: return answers + [None]
            answers.append(f.read(struct.unpack(">i", size)[0])[4:])
    return answers

def compact(s): return bytes([len(s) + 1]) + s.encode()
def said(answer): return "closed" if answer is None else struct.unpack(">h", answer[:2])[0]

java = ["java", "-Xmx512m", "-cp", "jars/*"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "node.properties"], check=True, **quiet)
node = subprocess.Popen(java + ["kafka.Kafka", "node.properties"], **quiet)
try:
    until = time.time() + 120
    while True:
        try:
            calls((18, 0, b""))
            break
        except ConnectionRefusedError:
            if time.time() > until: raise
            time.sleep(0.2)
    for name, version in [("rust", "1.4.0"), ("rust", "v1.4.0-rc.1"), ("rust", "1.4.0+9f2c1ab"), ("rust", "1.4_0"), ("rust", "1.4.0-"),
                          ("rust", ""), ("my client", "1.4.0")]:
        # No tagged fields: neither in the header nor in the body.
        answers = calls((18, 3, b"\0" + compact(name) + compact(version) + b"\0"), (18, 0, b""))
        print(f"{name}, {version}:", *map(said, answers))
finally:
    node.kill(); node.wait()
P
seen=$(python3 named.py)
echo "$seen"
expected="rust, 1.4.0: 0 0
rust, v1.4.0-rc.1: 0 0
rust, 1.4.0+9f2c1ab: 42 0
rust, 1.4_0: 42 0
rust, 1.4.0-: 42 0
rust, : 42 0
my client, 1.4.0: 42 0"
[ "$seen" = "$expected" ] || { echo "it has changed" >&2; exit 1; }
