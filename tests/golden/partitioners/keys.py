"""Keys, and where librdkafka puts them: see make."""

import ctypes
import glob
import json
import os
import random
import sys
import time

import confluent_kafka

NAMES = ["consistent", "consistent_random", "murmur2", "murmur2_random", "fnv1a", "fnv1a_random"]


def keys(count):
    """None, empty, ASCII, UTF-8 and any bytes, of lengths around four; the same each time."""
    draw = random.Random(1)
    yield None
    yield b""
    for n in range(count - 2):
        length = draw.choice([1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 64])
        kind = n % 3
        if kind == 0:
            yield "".join(chr(draw.randrange(32, 127)) for _ in range(length)).encode()
        elif kind == 1:
            yield "".join(chr(draw.choice([0xE9, 0x20AC, 0x1F600, 0x4E2D]) + draw.randrange(8)) for _ in range(length)).encode()
        else:
            yield draw.randbytes(length)


def ask(count):
    draw = random.Random(2)
    for key in keys(count):
        print("-" if key is None else "x" + key.hex(), draw.choice([1, 2, 3, 4, 7, 12, 50, 100, 1000, 99991]))


def library():
    folder = os.path.dirname(os.path.dirname(confluent_kafka.__file__))
    [path] = glob.glob(folder + "/confluent_kafka.libs/librdkafka-*.so*") or glob.glob(folder + "/confluent_kafka.libs/librdkafka*.so*")
    return ctypes.CDLL(path)


def as_without_key(name, probe, count=12):
    """Whether a producer with this partitioner spreads records with this key, as those without: seen on its mock of a cluster."""
    seen = set()
    options = {"bootstrap.servers": "", "test.mock.num.brokers": 1, "partitioner": name, "sticky.partitioning.linger.ms": 1, "linger.ms": 0}
    del options["bootstrap.servers"]
    producer = confluent_kafka.Producer(options)
    for _ in range(count):
        def told(error, message):
            assert error is None, error
            seen.add(message.partition())
        producer.produce("t", key=probe, value=b"v", callback=told)
        producer.flush(30)
        time.sleep(0.005)  # what is stuck to is drawn anew after a millisecond
    return len(seen) > 1


def answer(asked, sarama):
    functions = library()
    spread = {(name, probe): as_without_key(name, probe) for name in NAMES for probe in [None, b""]}
    for line, by_sarama in zip(open(asked), open(sarama), strict=True):
        key, count = line.split()
        key = None if key == "-" else bytes.fromhex(key[1:])
        found = {"key": None if key is None else key.hex(), "count": int(count)}
        for name in NAMES:
            if spread.get((name, key), False):
                found[name] = None
                continue
            function = getattr(functions, "rd_kafka_msg_partitioner_" + name)
            function.restype = ctypes.c_int32
            found[name] = function(None, key, ctypes.c_size_t(len(key or b"")), int(count), None, None)
        by_sarama = by_sarama.strip()
        found["sarama"] = None if by_sarama == "-" else int(by_sarama)
        print(json.dumps(found, separators=(",", ":")))


if sys.argv[1] == "ask":
    ask(int(sys.argv[2]))
else:
    answer(sys.argv[2], sys.argv[3])
