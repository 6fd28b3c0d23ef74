#!/usr/bin/env bash
# Apache Kafka's Java client, kafka-clients 4.3.1 (JDK 17): of a PEM truststore whose certificates stand on one line, separated by
# blanks, only the LAST certificate is trusted; the others are dropped without a word. So it is with a key's certificate chain.
# Line breaks become blanks in environment variables, YAML's folded strings and secrets of cloud consoles; one certificate is
# read well in that form, which hides it.
#
# Why: PemParser's pattern begins with "-+BEGIN\s*.*CERTIFICATE", whose ".*" runs over all that is on the line.
#
# Seen: "lines.pem: 3 certificates: CN=first CN=second CN=third" and "line.pem: 1 certificates: CN=third". Fails if that changes.
set -euo pipefail
for tool in java mvn openssl; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
for artifact in org.apache.kafka:kafka-clients:4.3.1 org.slf4j:slf4j-api:1.7.36; do
  mvn -q -B dependency:copy -Dartifact=$artifact -DoutputDirectory="$dir/jars" >/dev/null
done
for name in first second third; do
  openssl req -x509 -newkey rsa:2048 -nodes -keyout key -subj /CN=$name -days 30 -out $name.pem 2>/dev/null
done
cat first.pem second.pem third.pem > lines.pem
tr '\n' ' ' < lines.pem > line.pem
cat > Truststore.java <<'J'
import java.nio.file.*;
import java.security.cert.X509Certificate;
import java.util.*;
import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.common.security.ssl.DefaultSslEngineFactory;

public class Truststore {
    public static void main(String[] files) throws Exception {
        for (String file : files) {
            Map<String, Object> options = new HashMap<>(Map.of("ssl.protocol", "TLSv1.3", "ssl.enabled.protocols", List.of("TLSv1.3"),
                "ssl.cipher.suites", List.of(), "ssl.truststore.type", "PEM",
                "ssl.truststore.certificates", new Password(Files.readString(Path.of(file)))));
            DefaultSslEngineFactory factory = new DefaultSslEngineFactory();
            factory.configure(options);
            var store = factory.truststore();
            var names = new ArrayList<String>();
            for (String alias : Collections.list(store.aliases())) names.add(((X509Certificate) store.getCertificate(alias)).getSubjectX500Principal().getName());
            Collections.sort(names);
            System.out.println(file + ": " + store.size() + " certificates: " + String.join(" ", names));
        }
    }
}
J
seen=$(java -cp "jars/*" Truststore.java lines.pem line.pem 2>/dev/null)
echo "$seen"
[ "$seen" = "lines.pem: 3 certificates: CN=first CN=second CN=third
line.pem: 1 certificates: CN=third" ] || { echo "it has changed" >&2; exit 1; }
