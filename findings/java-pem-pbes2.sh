#!/usr/bin/env bash
# Apache Kafka's Java client, kafka-clients 4.3.1 on JDK 17: an encrypted private key in PEM (ssl.keystore.key with
# ssl.key.password) is refused if it is encrypted by PBES2, which is what openssl writes by default (pkcs8 -topk8, genpkey -aes256):
# "PBES2 SecretKeyFactory not available". The old PKCS#12 way (openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES) is read. So a key that one
# client library reads the other may not; and the safer form is the one that is refused.
#
# Seen: "PBES2: refused: java.security.NoSuchAlgorithmException: PBES2 SecretKeyFactory not available" and "PBE-SHA1-3DES: read".
# Fails if that changes; other JDKs may differ.
set -euo pipefail
for tool in java mvn openssl; do command -v $tool >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
java -version 2>&1 | grep -q 'version "17' || { echo "made for JDK 17, this is $(java -version 2>&1 | head -1)" >&2; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
for artifact in org.apache.kafka:kafka-clients:4.3.1 org.slf4j:slf4j-api:1.7.36; do
  mvn -q -B dependency:copy -Dartifact=$artifact -DoutputDirectory="$dir/jars" >/dev/null
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key 2>/dev/null
openssl req -x509 -new -key key -subj /CN=client -days 30 -out chain
openssl pkcs8 -topk8 -in key -passout pass:secret -v2 aes256 -out PBES2
openssl pkcs8 -topk8 -in key -passout pass:secret -v1 PBE-SHA1-3DES -out PBE-SHA1-3DES
cat > Keystore.java <<'J'
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.common.security.ssl.DefaultSslEngineFactory;

public class Keystore {
    public static void main(String[] files) throws Exception {
        for (String file : files) {
            Map<String, Object> options = new HashMap<>(Map.of("ssl.protocol", "TLSv1.3", "ssl.enabled.protocols", List.of("TLSv1.3"),
                "ssl.cipher.suites", List.of(), "ssl.keystore.type", "PEM", "ssl.key.password", new Password("secret"),
                "ssl.keystore.key", new Password(Files.readString(Path.of(file))),
                "ssl.keystore.certificate.chain", new Password(Files.readString(Path.of("chain")))));
            String outcome = "read";
            try {
                new DefaultSslEngineFactory().configure(options);
            } catch (Exception refused) {
                Throwable cause = refused;
                while (cause.getCause() != null) cause = cause.getCause();
                outcome = "refused: " + cause;
            }
            System.out.println(file + ": " + outcome);
        }
    }
}
J
seen=$(java -cp "jars/*" Keystore.java PBES2 PBE-SHA1-3DES 2>/dev/null)
echo "$seen"
[ "$seen" = "PBES2: refused: java.security.NoSuchAlgorithmException: PBES2 SecretKeyFactory not available
PBE-SHA1-3DES: read" ] || { echo "it has changed" >&2; exit 1; }
