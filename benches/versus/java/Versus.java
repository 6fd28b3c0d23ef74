import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's Java producer as a contender: told what to do by arguments name=value, prints what it has cost as a line of JSON. */
public final class Versus {
    /** Outcomes that are out while they come back as futures; then the oldest is waited for. */
    private static final int WINDOW = 20_000;

    private final Map<String, String> task = new HashMap<>();
    private final KafkaProducer<byte[], byte[]> producer;
    private final List<byte[]> values = new ArrayList<>();
    private final String topic;
    private AtomicIntegerArray latencies;

    private Versus(String[] arguments) throws Exception {
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            task.put(parts[0], parts[1]);
        }
        topic = task.get("topic");
        if (task.get("data").isEmpty()) {
            byte[] value = new byte[(int) number("size")];
            Arrays.fill(value, (byte) 'v');
            values.add(value);
        } else {
            for (String line : Files.readAllLines(Path.of(task.get("data")))) {
                values.add(line.getBytes(StandardCharsets.UTF_8));
            }
        }
        producer = new KafkaProducer<>(properties(), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private long number(String name) {
        return Long.parseLong(task.get(name));
    }

    private Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", task.get("bootstrap"));
        properties.put("acks", "all");
        properties.put("enable.idempotence", "true");
        properties.put("max.in.flight.requests.per.connection", "5");
        properties.put("linger.ms", task.get("linger"));
        // With memory for few batches they have to be smaller.
        properties.put("batch.size", Long.toString(Math.min(262_144, number("memory") / 16)));
        properties.put("buffer.memory", task.get("memory"));
        properties.put("compression.type", task.get("codec"));
        properties.put("compression.zstd.level", "3");
        if (!task.get("ca").isEmpty()) {
            properties.put("security.protocol", "SSL");
            properties.put("ssl.truststore.type", "PEM");
            properties.put("ssl.truststore.location", task.get("ca"));
        }
        return properties;
    }

    private ProducerRecord<byte[], byte[]> record(long number) {
        return new ProducerRecord<>(topic, values.get((int) (number % values.size())));
    }

    private long byCallback(long records) throws Exception {
        AtomicLong delivered = new AtomicLong();
        int count = (int) number("senders");
        List<Thread> senders = new ArrayList<>();
        for (int sender = 0; sender < count; sender++) {
            Thread thread = new Thread(() -> {
                for (long n = 0; n < records / count; n++) {
                    producer.send(record(n), (metadata, error) -> {
                        if (error == null) {
                            delivered.incrementAndGet();
                        }
                    });
                }
            });
            thread.start();
            senders.add(thread);
        }
        for (Thread thread : senders) {
            thread.join();
        }
        producer.flush();
        return delivered.get();
    }

    private long byFuture(long records) throws Exception {
        ArrayDeque<Future<RecordMetadata>> open = new ArrayDeque<>(WINDOW);
        long delivered = 0;
        for (long n = 0; n < records; n++) {
            if (open.size() == WINDOW) {
                open.poll().get();
                delivered++;
            }
            open.add(producer.send(record(n)));
        }
        for (Future<RecordMetadata> future : open) {
            future.get();
            delivered++;
        }
        return delivered;
    }

    private void note(int record, long since) {
        latencies.set(record, (int) ((System.nanoTime() - since) / 1000));
    }

    private long paced(long records) {
        AtomicLong delivered = new AtomicLong();
        latencies = new AtomicIntegerArray((int) records);
        long began = System.nanoTime();
        long every = 1_000_000_000L / number("rate");
        for (int n = 0; n < records; n++) {
            int record = n;
            long at = began + every * n;
            for (long early = at - System.nanoTime(); early > 0; early = at - System.nanoTime()) {
                LockSupport.parkNanos(early);
            }
            producer.send(record(n), (metadata, error) -> {
                note(record, at);
                if (error == null) {
                    delivered.incrementAndGet();
                }
            });
        }
        producer.flush();
        return delivered.get();
    }

    private long oneByOne(long records) throws Exception {
        latencies = new AtomicIntegerArray((int) records);
        for (int n = 0; n < records; n++) {
            long since = System.nanoTime();
            producer.send(record(n)).get();
            note(n, since);
        }
        return records;
    }

    private long run(long records) throws Exception {
        switch (task.get("shape")) {
            case "acks": return byFuture(records);
            case "paced": return paced(records);
            case "one": return oneByOne(records);
            default: return byCallback(records);
        }
    }

    private String percentiles() {
        if (latencies == null) {
            return "null";
        }
        int[] sorted = new int[latencies.length()];
        Arrays.setAll(sorted, latencies::get);
        Arrays.sort(sorted);
        List<String> found = new ArrayList<>();
        for (double share : new double[] {0.5, 0.99, 0.999, 1}) {
            found.add(Integer.toString(sorted[(int) Math.round((sorted.length - 1) * share)]));
        }
        return found.toString();
    }

    private static double cpu() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1e9;
    }

    private static long peakRss() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        return 0;
    }

    public static void main(String[] arguments) throws Exception {
        Versus versus = new Versus(arguments);
        versus.producer.partitionsFor(versus.topic);
        versus.run(versus.number("warmup"));
        long records = versus.number("records");
        long began = System.nanoTime();
        double used = cpu();
        long delivered = versus.run(records);
        double wall = (System.nanoTime() - began) / 1e9;
        used = cpu() - used;
        if (delivered != records) {
            System.err.println(delivered + " records acknowledged of " + records);
            System.exit(1);
        }
        System.out.printf(Locale.ROOT,
            "{\"acknowledged\":%d,\"cpu\":%f,\"wall\":%f,\"rss_kib\":%d,\"latency\":%s}%n",
            delivered, used, wall, peakRss(), versus.percentiles());
        versus.producer.close();
    }
}
