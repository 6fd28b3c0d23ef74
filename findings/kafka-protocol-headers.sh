#!/usr/bin/env bash
# The crate kafka-protocol 0.18.0 (Rust): a record whose headers name one key several times, which Kafka allows and Java's client writes and
# reads (Headers.headers(key) gives all, lastHeader(key) the newest), is decoded with one header a key, the last: its record keeps headers in an
# IndexMap. Encoded again, as a proxy, a mirror or a test's broker does, the others are gone, and nothing says so.
#
# Where it hurts: trace contexts and audit trails that each hop appends under the same key; dead letter queues that count attempts so.
#
# Seen: "Java 4.3.1: trace=a trace=b hop=1 trace=c", "kafka-protocol 0.18.0: trace=c hop=1", and a batch that is encoded again is shorter by
# both. Fails if that changes.
set -euo pipefail
for tool in java mvn cargo; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
for artifact in org.apache.kafka:kafka-clients:4.3.1 org.slf4j:slf4j-api:1.7.36; do
  mvn -q -B dependency:copy -Dartifact=$artifact -DoutputDirectory="$dir/jars" >/dev/null
done
cat > Batch.java <<'J'
import java.io.FileOutputStream;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.internal.*;

public class Batch {
    static Header header(String key, String value) { return new RecordHeader(key, value.getBytes()); }

    public static void main(String[] arguments) throws Exception {
        Header[] headers = {header("trace", "a"), header("trace", "b"), header("hop", "1"), header("trace", "c")};
        var batch = MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(1_700_000_000_000L, null, "value".getBytes(), headers));
        try (var out = new FileOutputStream("batch")) { batch.writeFullyTo(out.getChannel()); }
        var line = new StringBuilder("Java 4.3.1:");
        for (var record : batch.records())
            for (Header header : record.headers()) line.append(' ').append(header.key()).append('=').append(new String(header.value()));
        System.out.println(line);
    }
}
J
mkdir -p decode/src
cat > decode/Cargo.toml <<'T'
[package]
name = "decode"
version = "0.0.0"
edition = "2021"
[dependencies]
bytes = "=1.10.1"
kafka-protocol = { version = "=0.18.0", default-features = false }
T
cat > decode/src/main.rs <<'R'
use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{Compression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};

fn main() {
    let before = Bytes::from(std::fs::read("batch").unwrap());
    let records = RecordBatchDecoder::decode(&mut before.clone()).unwrap().records;
    let header = |(key, value): (&_, &Option<Bytes>)| format!(" {key}={}", String::from_utf8_lossy(value.as_ref().unwrap()));
    println!("kafka-protocol 0.18.0:{}", records[0].headers.iter().map(|(key, value)| header((&**key, value))).collect::<String>());
    let mut after = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut after, &records, &options).unwrap();
    println!("{} bytes, encoded again {}", before.len(), after.len());
}
R
seen=$(java -cp "jars/*" Batch.java 2>/dev/null; cargo run --quiet --manifest-path decode/Cargo.toml)
echo "$seen"
[ "$seen" = "Java 4.3.1: trace=a trace=b hop=1 trace=c
kafka-protocol 0.18.0: trace=c hop=1
103 bytes, encoded again 87" ] || { echo "it has changed" >&2; exit 1; }
