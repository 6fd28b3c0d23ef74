import java.io.*;
import java.lang.reflect.Field;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.stream.Collectors;

import javax.security.auth.login.AppConfigurationEntry;

import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.common.security.JaasContext;
import org.apache.kafka.common.utils.Utils;

/**
 * Asks Java's own classes what they make of configurations. One JSON object a line, always the same for the same classes:
 *
 *   java -cp 'tests/kafka/.jars/*' tests/golden/Vectors.java properties > tests/golden/properties.jsonl
 *
 * and alike for servers, values and jaas. `options` prints the lines of kind `option` in config.jsonl, and `cases` the last of
 * those of kind `case`; these are 4.4.0's.
 */
public class Vectors {
    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        switch (arguments[0]) {
            case "properties": properties(out); break;
            case "servers": servers(out); break;
            case "values": values(out); break;
            case "jaas": jaas(out); break;
            case "options": options(out); break;
            case "cases": cases(out); break;
            default: throw new IllegalArgumentException(arguments[0]);
        }
        out.flush();
    }

    // java.util.Properties

    static final String[] TEXTS = {
        "", "a=b", "a:b", "a b", "a\tb", "a\fb", "a", "a=", "=b", ":b", " =b", "a==b", "a=:b", "a = = b", "a : = b", "a  b c",
        "a=b ", "a= b\t \f", "  a=b", "\t\fa=b", "a\\ b=c", "a\\=b=c", "a\\:b:c", "a\\\\=b", "a\\\\\\=b=c", "\\=a=b",
        "#a=b", "!a=b", " # a=b", "a#=b", "a=#b", "a=b#c", "a=b!c", "# c\\\na=b", "! c\\\r\na=b", "#\ra=b", "#\n\n#\n",
        "a=b\nc=d", "a=b\rc=d", "a=b\r\nc=d", "a=b\n\rc=d", "a=b\r\r\nc=d", "a=b\n\n\nc=d", "a=b\\\nc=d", "a=b\\\rc=d",
        "a=b\\\r\nc=d", "a=b\\\n\rc=d", "a=b\\\r\n\nc=d", "a=b\\\n\nc=d", "a=b\\\n  c", "a=b\\\n\t\f c", "a=b\\\n#c", "a=b\\\n!c\nd=e",
        "\\\n#c\na=b", "\\\na=b", "  \\\n  a=b", "\\\n\\\na=b", "a\\\n=b", "a\\\n =b", "a\\\nb=c", "a=\\\n\\\nb", "a=\\\n\n b",
        "a=b\\", "a\\", "\\", "a=b\\\n", "\\\n", "\\\r\n", "\\\r", "a=b\\\r\n", "a=b\\\\", "a=b\\\\\\", "\\\\", "\\\\\n",
        "a=\\t\\n\\r\\f", "a=\\q\\\"\\'", "a=\\0\\x41", "a=\\b", "a=C:\\temp\\new", "a=C:\\\\temp\\\\new", "a=\\\\u0041",
        "a=\\u0041", "a=\\u00e9", "a=\\u00E9", "a=\\u20ac", "\\u0061\\u003d=b", "a\\u003db=c", "a=\\u000ab", "a=\\u005cn",
        "a=\\u", "a=\\u1", "a=\\u12", "a=\\u123", "a=\\u123g", "a=\\u00zz", "a=\\U0041", "a=\\uu0041", "a=\\u 041", "a=\\u+041", "a=\\u-041",
        "a=\\users", "\\u12=b", "a=\\u004\\\n1", "#\\u12\na=b", "a=\\u\uff11\uff11\uff11\uff11",
        "a=\\uD83D\\uDE00", "a=\\ud83d\\ude00", "\\uD83D\\uDE00=b", "a=\\uD83D", "a=\\uDE00", "a=\\uDE00\\uD83D", "a=\\uD83D\\uD83D\\uDE00",
        "a=\\uD83Db", "a=\\uD83D\\\n\\uDE00", "a\\uD83D=\\uDE00", "a=\\uD83D\\n", "a=\\uD83D\\u12", "a=\\uFFFF", "a=\\u0000",
        "a=\u00a0b", "\u00a0a=b", "a\u00a0b", "a\u2003=b", "a\u000bb=c", "a=\u000bb", "a\u0085b=c", "a\u2028b=c", "a=b\u0085c=d", "a=b\u2028c=d",
        "\ufeffa=b", "a=\u00e9\ud83d\ude00", "\u00e9=1", "a=1\na=2", "a=1\nb=2\na=3", "a=1\na", "A=1\na=2",
        "ssl.key.password=pw ", "sasl.jaas.config=a.B required \\\n  username=\"alice\" \\\n  password=\"a\\\\b\";",
        "ssl.truststore.certificates=-----BEGIN CERTIFICATE-----\\\nAAAA\\\n-----END CERTIFICATE-----",
        "ssl.truststore.certificates=-----BEGIN CERTIFICATE-----\\n\\\nAAAA\\n\\\n-----END CERTIFICATE-----",
    };

    /** Pieces that random texts are made of. */
    static final String[] PIECES = {
        "a", "b", "key", "value.ms", "=", ":", " ", "  ", "\t", "\f", "\n", "\n", "\r", "\r\n", "\\", "\\", "\\\\", "\\\n", "\\\r\n",
        "\\\r", "#", "!", "\\t", "\\n", "\\=", "\\:", "\\ ", "\\u0041", "\\u00e9", "\\u12", "\\ud83d", "\\ude00", "\u00a0", "\u00e9",
        "\ud83d\ude00", "\u2028", "\u0085", "u", "12", "\"", ";",
    };

    static void properties(PrintStream out) {
        for (String text : TEXTS) property(out, text);
        Random random = new Random(20261127);
        Set<String> seen = new HashSet<>(Arrays.asList(TEXTS));
        for (int left = 3000; left > 0;) {
            StringBuilder text = new StringBuilder();
            for (int pieces = 1 + random.nextInt(14); pieces > 0; pieces--) text.append(PIECES[random.nextInt(PIECES.length)]);
            if (seen.add(text.toString())) {
                property(out, text.toString());
                left--;
            }
        }
    }

    /** `pairs` in their order, null where Java refuses the text or makes of it what no Unicode text can hold. */
    static void property(PrintStream out, String text) {
        List<String> pairs = new ArrayList<>();
        Properties properties = new Properties() {
            @Override
            public synchronized Object put(Object name, Object value) {
                pairs.add("[" + json((String) name) + "," + json((String) value) + "]");
                if (lone((String) name) || lone((String) value)) throw new Lone();
                return super.put(name, value);
            }
        };
        String outcome = "ok";
        try {
            properties.load(new StringReader(text));
        } catch (Lone lone) {
            outcome = "lone-surrogates";
        } catch (IllegalArgumentException malformed) {
            outcome = "error";
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        String list = outcome.equals("ok") ? "[" + String.join(",", pairs) + "]" : "null";
        out.println("{\"text\":" + json(text) + ",\"outcome\":\"" + outcome + "\",\"pairs\":" + list + "}");
    }

    static class Lone extends RuntimeException {
    }

    static boolean lone(String text) {
        return !StandardCharsets.UTF_16BE.newEncoder().canEncode(text);
    }

    // bootstrap.servers

    static final String[] SERVERS = {
        "", " ", ",", "h", "h:", ":1", ":9092", "h:9092", "h:0", "h:1", "h:65535", "h:65536", "h:99999999999", "h:00001", "h:-1", "h:+1", "h: 1",
        "h :1", " h:1 ", "\th:1\n", "h:1 ,g:2", "h:1,", ",h:1", "h:1,,g:2", "h:1, ,g:2", "h:1,h:1", "h:1,H:1", "h:1;g:2", "h:1 g:2",
        "h:1,g:2,i:3", "h:port", "h:1a", "h:a1", "h:0x1", "h:1.0", "h:\u0661", "h:1:2", "h:1:", "h::1", "::1:9092", "2001:db8::1:9092", "[::1]:9092",
        "[2001:db8::1]:9092", "[::1%1]:9092", "[fe80::1%eth0]:9092", "fe80::1%eth0:9092", "[::1:9092", "::1]:9092", "[h]:1", "[h:1", "h]:1",
        "[[::1]]:9092", "[]:1", "[:1", "]:1", "::1", "::", ":", "[::1]", "[::1]9092", "[::1]:", "[::1] :1", "::ffff:127.0.0.1:9092", "1::2:3:4:5:6:7:8:9092",
        "127.0.0.1:9092", "127.1:9092", "1:9092", "999.1.1.1:9092", "1.2.3.4.5:9092", "localhost.:9092", "my_host:9092", "my-host:9092", "-h:1",
        "h..g:1", ".h:1", "h%20:1", "%:1", "user@h:1", "user:pw@h:1", "h/x:1", "h:1/x", "h:1?x", "h\\:1", "h;h:1", "h|h:1", "h*:1", "h+g:1", "h=g:1",
        "h&g:1", "h~g:1", "h!:1", "h$:1", "h'g:1", "\"h:1\"", "'h:1'", "(h):1", "<h>:1", "{h}:1", "h\u00e9:1", "\u00fcber:1", "\u4e2d:1", "h\u00a0:1",
        "h\u200b:1", "\u00a0h:1", "PLAINTEXT://h:1", "SASL_SSL://h:1", "sasl_ssl://h:1", "://h:1", "//h:1", "x://y://h:1", "http://h:1/",
        "https://user:pw@h:1", "x.y-z%_1://h:1", "x:y://h:1", "x y://h:1", "x+y://h:1", "\u00e9://h:1", "SSL://[::1]:1", "SSL:///h:1", "SSL:/h:1",
        "SSL://h", "SSL://:1", "SSL://h:1,PLAINTEXT://g:2", "kafka1.example.org:9092,kafka2.example.org:9092", "a\nb:1", "a:1\n,b:2", "a:1\r\n,\r\nb:2",
    };

    static final String[] SERVER_PIECES = {
        "h", "kafka-1", "example.org", "::1", "[", "]", ":", ":", ":", "1", "9092", "65536", ",", ", ", " ", "://", "/", "SSL", "PLAINTEXT", "@", "%", "_",
        ".", "-", "+", ";", "\u00e9", "127.0.0.1", "fe80", "%eth0", "\t",
    };

    static final String[] HOSTS = {"h", "kafka-1.example.org", "my_host", "127.0.0.1", "::1", "2001:db8::7", "fe80::1%eth0", "1:2", "::ffff:1.2.3.4", "h%1", "H"};

    static final String[] PORTS = {"1", "9092", "65535", "0", "09092", "9093", "9094", "65536", "x"};

    static void servers(PrintStream out) {
        for (String list : SERVERS) server(out, list);
        Random random = new Random(20261127);
        Set<String> seen = new HashSet<>(Arrays.asList(SERVERS));
        for (int left = 1500; left > 0;) {
            StringBuilder list = new StringBuilder();
            for (int servers = 1 + random.nextInt(3); servers > 0; servers--) {
                if (random.nextInt(4) == 0) list.append(new String[] {"SSL", "sasl_ssl", "x.y", "", "a b"}[random.nextInt(5)]).append("://");
                if (random.nextInt(5) == 0) list.append("[");
                list.append(HOSTS[random.nextInt(HOSTS.length)]);
                if (random.nextInt(5) == 0) list.append("]");
                list.append(":").append(PORTS[random.nextInt(PORTS.length)]);
                if (servers > 1) list.append(random.nextInt(3) == 0 ? " , " : ",");
            }
            if (random.nextInt(4) == 0) list.insert(random.nextInt(list.length()), SERVER_PIECES[random.nextInt(SERVER_PIECES.length)]);
            if (seen.add(list.toString())) {
                server(out, list.toString());
                left--;
            }
        }
    }

    /**
     * What `ProducerConfig` and then `ClientUtils.parseAndValidateAddresses` make of a list, but for resolving names: hosts and
     * ports, or null if it is refused.
     */
    static void server(PrintStream out, String list) {
        String found;
        try {
            List<String> servers = new ArrayList<>();
            for (String url : producer(Map.of("bootstrap.servers", list)).getList("bootstrap.servers")) {
                if (url.isEmpty()) continue;
                String host = Utils.getHost(url);
                Integer port = Utils.getPort(url);
                if (host == null || port == null) throw new IllegalArgumentException(url);
                InetSocketAddress.createUnresolved(host, port);
                servers.add("[" + json(host) + "," + port + "]");
            }
            if (servers.isEmpty()) throw new IllegalArgumentException("none");
            found = "[" + String.join(",", servers) + "]";
        } catch (IllegalArgumentException | org.apache.kafka.common.KafkaException refused) {
            found = "null";
        }
        out.println("{\"list\":" + json(list) + ",\"servers\":" + found + "}");
    }

    static AbstractConfig producer(Map<String, String> options) {
        Map<String, Object> all = new HashMap<>();
        all.put("bootstrap.servers", "h:1");
        all.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        all.put("value.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        all.putAll(options);
        return new ProducerConfig(all);
    }

    // Values of each type: what is cut off, what is read as a number or a truth

    static final String[] AROUND = {"", " ", "  ", "\t", "\n", "\r", "\f", "\u000b", "\u0000", "\u001f", "\u00a0", "\u2003", "\u0085", "\u2028", "\u3000", "\ufeff"};

    static void values(PrintStream out) {
        String[][] plain = {
            {"client.id", "me"}, {"ssl.key.password", "pw"}, {"linger.ms", "7"}, {"retries", "7"}, {"enable.idempotence", "true"},
            {"acks", "all"}, {"compression.type", "none"}, {"sasl.mechanism", "PLAIN"}, {"ssl.truststore.location", "/a.pem"},
        };
        for (String[] option : plain) {
            for (String around : AROUND) {
                value(out, option[0], option[1] + around);
                value(out, option[0], around + option[1]);
            }
            value(out, option[0], "");
        }
        for (String number : new String[] {"+7", "-7", "--7", "+-7", "+", "-", "07", "0x7", "7L", "7.0", "1e3", "1_000", "1,000", "1 000", "\u0667", "\uff17",
            "2147483647", "2147483648", "-2147483648", "9223372036854775807", "9223372036854775808", "99999999999999999999", "-0", "+0", "00"}) {
            value(out, "linger.ms", number);
            value(out, "retries", number);
        }
        for (String truth : new String[] {"TRUE", "True", "tRuE", "false", "FALSE", "yes", "no", "1", "0", "on", "t", "true false"}) {
            value(out, "enable.idempotence", truth);
        }
        for (String words : new String[] {"ALL", "All", "-1", "0", "1", "2", "+1", "01", "-01"}) value(out, "acks", words);
        for (String words : new String[] {"GZIP", "None", "gzip ", "gzip,lz4"}) value(out, "compression.type", words);
        for (String words : new String[] {"plaintext", "Ssl", "SASL_SSL", "sasl-ssl", "TLS"}) value(out, "security.protocol", words);
        for (String words : new String[] {"NONE", "Rebootstrap", "never"}) value(out, "metadata.recovery.strategy", words);
        StringBuilder suites = new StringBuilder("TLS_AES_128_GCM_SHA256");
        for (int n = 0; n < 200; n++) suites.append(",TLS_").append(n);
        value(out, "ssl.cipher.suites", suites.toString());
        value(out, "client.id", "x".repeat(5000));
    }

    /** The value as text, or null if it is refused. */
    static void value(PrintStream out, String option, String given) {
        String found;
        try {
            Object value = producer(Map.of(option, given)).values().get(option);
            if (value instanceof Password) value = ((Password) value).value();
            if (value instanceof List) value = ((List<?>) value).stream().map(String::valueOf).collect(Collectors.joining(","));
            found = json(String.valueOf(value));
        } catch (org.apache.kafka.common.KafkaException refused) {
            found = "null";
        }
        out.println("{\"option\":" + json(option) + ",\"given\":" + json(given) + ",\"value\":" + found + "}");
    }

    // sasl.jaas.config

    static final String[] ENTRIES = {
        "", " ", "M", "M required", "M required;", "M REQUIRED;", "M Requisite;", "M sufficient;", "M optional;", "M wanted;", "M;", "; M required;",
        "M required; ", "M required;;", "M required; N required;", "M required; // end", "M required; /* end */", "M required; x", "required;",
        "a.b.C$D_e-f required;", "\"M\" required;", "'M' 'required';", "\"\" required;", "1M required;", "-M required;", ".M required;", "$M required;",
        "M required a=b;", "M required a = b ;", "M required a=b c=d;", "M required a=b,c=d;", "M required a=b a=c;", "M required a;", "M required a=;",
        "M required =b;", "M required a b;", "M required a==b;", "M required a=b", "M required a=b c;", "M required a:b;", "M required \"a\"=b;",
        "M required 'a b'='c d';", "M required a.b=c;", "M required a-b=c;", "M required a_b=c;", "M required $a=c;", "M required 1=b;", "M required a1=b;",
        "M required a=1;", "M required a=-1;", "M required a=1b;", "M required a=b1;", "M required a=b.1-2_3$;", "M required a=true;", "M required a=-;",
        "M required a=-b;", "M required a=.;", "M required a=.b;", "M required a=b@c;", "M required a=@;", "M required a=b+c;", "M required a=b/c;",
        "M required a=b//c;", "M required a=b/*c*/;", "M required a=b /c\n;", "M required a=b/c\n;", "M required /c\n a=b;", "M required a=b // c\n;",
        "M required a=b // c", "M required /* a=b; */ c=d;", "M required /* a=b;", "M required /**/;", "M required /* * / */;", "M required a=b # c\n;",
        "M required a=\"b\";", "M required a='b';", "M required a=\"b'c\";", "M required a='b\"c';", "M required a=\"\";", "M required a='';",
        "M required a=\"b c\";", "M required a=\"b;c\";", "M required a=\"b=c\";", "M required a=\"b//c\";", "M required a=\"b/*c*/\";",
        "M required a=\"b;", "M required a=\"b", "M required a=\"b\nc\";", "M required a=\"b\n;", "M required a=\"b\r;", "M required a=\"b\\\nc\";",
        "M required a=\"b\"c;", "M required a=\"b\"\"c\";", "M required a=\"b\"c=d;", "M required a=b\"c\"=d;",
        "M required a=\"\\\"\";", "M required a='\\'';", "M required a=\"\\\\\";", "M required a=\"\\n\\t\\r\\f\\b\\a\\v\\q\\/\";",
        "M required a=\"DOMAIN\\bob\";", "M required a=\"\\0\\7\\8\";", "M required a=\"\\101\\1012\\77\\777\\377\\400\\47x\";", "M required a=\"\\1\\12\";",
        "M required a=\"b\\", "M required a=\"b\\;", "M required a=\"b\\\";",
        "M required a=\u00e9;", "M required a=\u00d7;", "M required a=\u0080;", "M required a=\u0085b;", "M required a=\u00a0b;", "M\u00a0required a=b;", "M required a=\u20ac;",
        "M required a=\ud83d\ude00;", "M required a=\u2028b;", "M required a=\"\u00e9\ud83d\ude00\u00a0\";", "\ufeffM required a=b;", "M required a=\u0000b;",
        "M\trequired\na=b\r\nc=d\f;", "M required a=b \\\n c=d;", "M required a=%b;", "M required ${a}=b;", "M required a=${b};", "M required + = b;", "M required ( = b c=d;",
        "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true keyTab=\"/etc/k.keytab\" principal=\"k/h@R\";",
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"a\\\"b\\\\c;=d\" tokenauth=true;",
    };

    static final String[] ENTRY_PIECES = {
        "M", "required", "a", "b", "=", "=", ";", " ", " ", "\"", "'", "\\", "\\\"", "/", "//", "/*", "*/", "\n", "\r", "1", "-", ".", "_", "$", "@", "+", "\u00e9",
        "\u20ac", "\u0085", "\\101", "\\n", "\\b", "user=\"x\"", "pw='y z'", "\t",
    };

    static final String[] WORDS = {"a", "b", "user", "a-b", "c_d", "e.f", "$g", "h1", "\u00e9", "1", "-", "x+y"};

    static void jaas(PrintStream out) {
        for (String entry : ENTRIES) entry(out, entry);
        Random random = new Random(20261127);
        Set<String> seen = new HashSet<>(Arrays.asList(ENTRIES));
        for (int left = 1500; left > 0;) {
            StringBuilder entry = new StringBuilder("M required");
            for (int options = random.nextInt(4); options > 0; options--) {
                entry.append(random.nextInt(10) > 0 ? " " : "\n/* x */").append(WORDS[random.nextInt(WORDS.length)]).append(random.nextInt(6) > 0 ? "=" : " = ");
                String quote = new String[] {"\"", "\"", "'", ""}[random.nextInt(4)];
                entry.append(quote);
                if (quote.isEmpty()) entry.append(WORDS[random.nextInt(WORDS.length)]);
                else for (int pieces = random.nextInt(5); pieces > 0; pieces--) entry.append(ENTRY_PIECES[random.nextInt(ENTRY_PIECES.length)]);
                entry.append(quote);
            }
            if (random.nextInt(12) == 0) entry.insert(random.nextInt(entry.length()), ENTRY_PIECES[random.nextInt(ENTRY_PIECES.length)]);
            if (random.nextInt(16) > 0) entry.append(";");
            if (seen.add(entry.toString())) {
                entry(out, entry.toString());
                left--;
            }
        }
    }

    /** The login module and its options, sorted; null if it is refused. */
    static void entry(PrintStream out, String text) {
        String found;
        try {
            JaasContext context = JaasContext.loadClientContext(Map.of("sasl.jaas.config", new Password(text)));
            AppConfigurationEntry entry = context.configurationEntries().get(0);
            List<String> options = new ArrayList<>();
            Map<String, Object> sorted = new TreeMap<>(Comparator.nullsFirst(Comparator.naturalOrder()));
            sorted.putAll(entry.getOptions());
            sorted.forEach((name, value) -> {
                if (name != null) options.add("[" + json(name) + "," + json((String) value) + "]");
            });
            found = json(entry.getLoginModuleName()) + ",\"options\":[" + String.join(",", options) + "]";
        } catch (IllegalArgumentException | NullPointerException refused) {
            found = "null,\"options\":null";
        }
        out.println("{\"text\":" + json(text) + ",\"module\":" + found + "}");
    }

    // Every option of the producer

    static void options(PrintStream out) throws Exception {
        Field field = ProducerConfig.class.getDeclaredField("CONFIG");
        field.setAccessible(true);
        ConfigDef definition = (ConfigDef) field.get(null);
        for (ConfigDef.ConfigKey key : definition.configKeys().values()) {
            boolean required = key.defaultValue == ConfigDef.NO_DEFAULT_VALUE;
            String valid = key.validator == null ? "\"\"" : json(String.valueOf(key.validator));
            String validator = key.validator == null ? "null" : json(key.validator.getClass().getSimpleName());
            out.println("{\"kind\":\"option\",\"name\":" + json(key.name) + ",\"type\":\"" + key.type + "\",\"required\":" + required
                + ",\"default\":" + (required ? "null" : any(key.defaultValue)) + ",\"importance\":\"" + key.importance
                + "\",\"validValues\":" + valid + ",\"validator\":" + validator + ",\"internal\":" + key.internalConfig + "}");
        }
    }

    static String any(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
        if (value instanceof Class) return json(((Class<?>) value).getName());
        if (value instanceof Password) return json(((Password) value).value());
        if (value instanceof List) {
            List<String> all = new ArrayList<>();
            for (Object one : (List<?>) value) all.add(any(one));
            return "[" + String.join(",", all) + "]";
        }
        return json(String.valueOf(value));
    }

    // Whole producers

    static void cases(PrintStream out) {
        String store = System.getProperty("java.home") + "/lib/security/cacerts";
        Map<String, Map<String, String>> cases = new LinkedHashMap<>();
        cases.put("stores-jks", Map.of("security.protocol", "SSL", "ssl.truststore.type", "JKS", "ssl.truststore.location", store));
        cases.put("stores-jks-password", Map.of("security.protocol", "SSL", "ssl.truststore.location", store, "ssl.truststore.password", "changeit"));
        cases.put("stores-jks-not-there", Map.of("security.protocol", "SSL", "ssl.truststore.type", "JKS", "ssl.keystore.type", "JKS"));
        cases.put("stores-plaintext", Map.of("ssl.truststore.type", "JKS", "ssl.truststore.location", "/no.jks", "ssl.keystore.password", "x"));
        cases.put("stores-pem-password", Map.of("security.protocol", "SSL", "ssl.truststore.type", "PEM", "ssl.truststore.certificates", "x", "ssl.truststore.password", "x"));
        cases.put("bootstrap-no-host", Map.of("bootstrap.servers", ":9092"));
        cases.put("client-rack", Map.of("client.rack", "r"));
        cases.put("metrics-push-off-upper", Map.of("enable.metrics.push", "FALSE"));
        for (String kind : new String[] {"Long", "UUID", "Void", "Boolean", "ByteBuffer"}) {
            cases.put("serializer-" + kind, Map.of("value.serializer", "org.apache.kafka.common.serialization." + kind + "Serializer"));
        }
        cases.forEach((name, options) -> {
            Map<String, Object> all = new TreeMap<>(producer(options).originals());
            if (!options.containsKey("bootstrap.servers")) all.put("bootstrap.servers", "127.0.0.1:9092");
            String outcome = "ok";
            try (org.apache.kafka.clients.producer.KafkaProducer<?, ?> made = new org.apache.kafka.clients.producer.KafkaProducer<>(all)) {
                made.close(java.time.Duration.ZERO);
            } catch (org.apache.kafka.common.KafkaException refused) {
                outcome = "error";
            }
            StringBuilder props = new StringBuilder();
            all.forEach((option, value) -> props.append(props.length() == 0 ? "" : ",").append(json(option)).append(":").append(json((String) value)));
            String effective = outcome.equals("ok") ? ",\"effective\":" + EFFECTIVE : "";
            out.println("{\"kind\":\"case\",\"name\":" + json(name) + ",\"props\":{" + props + "},\"producer\":{\"outcome\":\"" + outcome + "\"" + effective + "}}");
        });
    }

    /** What they all come to, for none of their options is about it. */
    static final String EFFECTIVE = "{\"deliveryTimeoutMs\":120000,\"lingerMs\":5,\"batchSize\":16384,\"acks\":-1,\"retries\":2147483647,\"idempotent\":true}";

    /** A JSON string in ASCII. */
    static String json(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < ' ' || c > '~') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }
}
