import java.io.*;
import java.net.Socket;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.*;
import javax.net.ssl.*;

import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.common.security.ssl.DefaultSslEngineFactory;

/** Asks Java about certificates and keys: reads a question a line from the standard input, and answers each with a line. */
public class Tls {
    public static void main(String[] arguments) throws Exception {
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in, java.nio.charset.StandardCharsets.UTF_8));
        for (String line; (line = questions.readLine()) != null;) {
            String[] words = line.split("\t", -1);
            String answer;
            try {
                switch (words[0]) {
                    case "shake": shake(words[1], Integer.parseInt(words[2]), words[3], words[4]); break;
                    case "key": key(words[1], words[2], words[3]); break;
                    default: throw new IllegalArgumentException(line);
                }
                answer = "ok";
            } catch (IllegalArgumentException wrong) {
                throw wrong;
            } catch (Exception refused) {
                Throwable cause = refused;
                while (cause.getCause() != null) cause = cause.getCause();
                answer = "refused: " + cause;
            }
            System.out.println(answer.replace('\n', ' '));
            System.out.flush();
        }
    }

    /** Shakes hands as Kafka's client does: with a server by a name, trusting the certificates in a file. */
    static void shake(String host, int port, String trusted, String version) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        int count = 0;
        try (InputStream in = Files.newInputStream(Path.of(trusted))) {
            for (java.security.cert.Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                store.setCertificateEntry("kafka" + count++, one);
            }
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(store);
        SSLContext context = SSLContext.getInstance(version);
        context.init(null, factory.getTrustManagers(), null);
        try (Socket raw = new Socket("127.0.0.1", port); SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(raw, host, port, true)) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("https");
            parameters.setProtocols(new String[] {version});
            socket.setSSLParameters(parameters);
            socket.setSoTimeout(10_000);
            socket.startHandshake();
        }
    }

    /** Loads a key and its certificates as Kafka's client does. */
    static void key(String key, String chain, String password) throws Exception {
        Map<String, Object> options = new HashMap<>();
        options.put("ssl.protocol", "TLSv1.3");
        options.put("ssl.enabled.protocols", List.of("TLSv1.3"));
        options.put("ssl.cipher.suites", List.of());
        options.put("ssl.keystore.type", "PEM");
        options.put("ssl.keystore.key", new Password(Files.readString(Path.of(key))));
        options.put("ssl.keystore.certificate.chain", new Password(Files.readString(Path.of(chain))));
        if (!password.isEmpty()) options.put("ssl.key.password", new Password(password));
        try (DefaultSslEngineFactory factory = new DefaultSslEngineFactory()) {
            factory.configure(options);
        }
    }
}
