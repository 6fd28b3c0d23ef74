"""Produces to a cluster with a Python client in each way, then reads all of it back in a group, a line a record.

clients.py confluent|kafka-python BOOTSTRAP COUNT TOPIC=ACKS,IDEMPOTENT,CODEC..
"""

import sys
import time

library, bootstrap, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ways = [argument.split("=") for argument in sys.argv[4:]]
ways = [(topic, *way.split(",")) for topic, way in ways]
topics = [way[0] for way in ways]
deadline = time.monotonic() + 60
failures = []


def records(topic):
    return ((str(n % 20).encode(), f"{topic}:{n}".encode()) for n in range(count))


def confluent():
    from confluent_kafka import Consumer, Producer

    def told(error, _):
        if error is not None:
            failures.append(str(error))

    for topic, acks, idempotent, codec in ways:
        options = {"bootstrap.servers": bootstrap, "acks": acks, "compression.type": codec, "linger.ms": 5}
        if idempotent == "true":
            options["enable.idempotence"] = True
        producer = Producer(options)
        for key, value in records(topic):
            producer.produce(topic, value, key, on_delivery=told)
            producer.poll(0)
        if producer.flush(30):
            sys.exit(f"{topic}: not all were delivered")
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "confluent", "auto.offset.reset": "earliest"})
    consumer.subscribe(topics)
    seen = 0
    while seen < count * len(topics) and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.5):
            if message.error():
                sys.exit(str(message.error()))
            yield message.key(), message.value()
            seen += 1
    consumer.commit(asynchronous=False)
    consumer.close()


def kafka_python():
    from kafka import KafkaConsumer, KafkaProducer

    servers = bootstrap.split(",")
    for topic, acks, idempotent, codec in ways:
        producer = KafkaProducer(
            bootstrap_servers=servers,
            acks=acks if acks == "all" else int(acks),
            enable_idempotence=idempotent == "true",
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
        )
        futures = [producer.send(topic, value, key) for key, value in records(topic)]
        producer.flush(30)
        failures.extend(str(future.exception) for future in futures if future.failed())
        producer.close()
    consumer = KafkaConsumer(
        *topics, bootstrap_servers=servers, group_id="kafka-python", auto_offset_reset="earliest"
    )
    seen = 0
    while seen < count * len(topics) and time.monotonic() < deadline:
        for batch in consumer.poll(500).values():
            for record in batch:
                yield record.key, record.value
                seen += 1
    consumer.close()


for key, value in {"confluent": confluent, "kafka-python": kafka_python}[library]():
    sys.stdout.write(f"{key.decode()}\t{value.decode()}\n")
if failures:
    sys.exit(f"{len(failures)} failed, the first: {failures[0]}")
