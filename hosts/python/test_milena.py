"""Tests against the cluster in memory, hosts/server.rs: hosts/run python."""

import asyncio
import base64
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import unittest

from milena import ConfigError, DeliveryError, Producer, SendError

HERE = os.path.dirname(os.path.abspath(__file__))


class Cluster:
    def __init__(self, *words):
        self.child = subprocess.Popen(
            [os.environ["MILENA_SERVER"], *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.options = json.loads(self.child.stdout.readline())

    def tell(self, *words):
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def records(self, topic):
        def plain(text):
            return None if text is None else base64.b64decode(text)

        return [
            {
                **it,
                "key": plain(it["key"]),
                "value": plain(it["value"]),
                "headers": [(name, plain(value)) for name, value in it["headers"]],
            }
            for it in self.tell("records", topic)
        ]

    def end(self):
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()


class Tests(unittest.IsolatedAsyncioTestCase):
    def cluster(self, *words):
        cluster = Cluster(*words)
        self.addCleanup(cluster.end)
        return cluster

    def producer(self, cluster, **options):
        producer = Producer({**cluster.options, **{name.replace("_", "."): value for name, value in options.items()}})
        self.addAsyncCleanup(producer.close, 0)
        return producer

    async def test_10_000_records_stand_in_order_at_the_offsets_that_were_told(self):
        cluster = self.cluster("partitions=2")
        producer = self.producer(cluster)
        told = await asyncio.gather(
            *(producer.send("numbers", str(number), partition=number % 2) for number in range(10_000))
        )
        stored = {(it["partition"], it["offset"]): it["value"] for it in cluster.records("numbers")}
        self.assertEqual(len(stored), 10_000)
        for number, (topic, partition, offset, _timestamp) in enumerate(told):
            self.assertEqual((topic, partition, offset), ("numbers", number % 2, number // 2))
            self.assertEqual(stored[partition, offset], b"%d" % number)

    async def test_keys_values_headers_and_timestamps_arrive_as_they_were_given(self):
        cluster = self.cluster("partitions=1")
        producer = self.producer(cluster)
        before = time.time_ns() // 1_000_000
        given = [
            ("näh 🙂", {"key": "ключ", "headers": {"a": "ü", "b": None}, "timestamp": 1_700_000_000_000}),
            (None, {}),
            ("", {"key": "", "headers": [("a", ""), ("a", b"\0\xff")]}),
            (bytearray(b"\0\xff\n"), {"key": memoryview(b"\0"), "timestamp": 0}),
            (b"x" * 200_000, {"headers": [(f"h{number}", str(number)) for number in range(40)]}),
        ]
        told = await asyncio.gather(*(producer.send("t", value, **more) for value, more in given))

        def plain(content):
            return content if content is None else content.encode() if isinstance(content, str) else bytes(content)

        for (value, more), record, delivered in zip(given, cluster.records("t"), told, strict=True):
            self.assertEqual((record["key"], record["value"]), (plain(more.get("key")), plain(value)))
            headers = more.get("headers", [])
            pairs = headers.items() if isinstance(headers, dict) else headers
            self.assertEqual(record["headers"], [(name, plain(content)) for name, content in pairs])
            self.assertEqual(record["timestamp"], delivered.timestamp)
            self.assertTrue(
                record["timestamp"] == more.get("timestamp") or before <= record["timestamp"] <= time.time() * 1000
            )

    async def test_a_server_that_restarts_in_the_middle_loses_and_doubles_nothing(self):
        cluster = self.cluster("nodes=2")
        cluster.tell("create", "t", 1)
        producer = self.producer(cluster, linger_ms=1, reconnect_backoff_ms=20)
        told = []
        for number in range(2_000):
            told.append(producer.send("t", str(number)))
            if number % 10 == 0:
                await asyncio.sleep(0.001)
            if number in (700, 1_200):
                cluster.tell("stop" if number == 700 else "start")
        self.assertEqual([it.offset for it in await asyncio.gather(*told)], list(range(2_000)))
        self.assertEqual([int(it["value"]) for it in cluster.records("t")], list(range(2_000)))

    async def test_wrong_options_are_told_in_words(self):
        with self.assertRaisesRegex(ConfigError, "linger.ms"):
            Producer({"bootstrap.servers": "h:1", "linger.ms": "soon"})
        with self.assertRaisesRegex(ConfigError, "bootstrap.servers"):
            Producer({})
        with self.assertRaisesRegex(ConfigError, "max.block.ms"):
            Producer({"bootstrap.servers": "h:1", "max.block.ms": "soon"})
        for value in ("é" * 5_000, "aé" * 5_000):  # the words are cut somewhere
            with self.assertRaisesRegex(ConfigError, "linger.ms"):
                Producer({"bootstrap.servers": "h:1", "linger.ms": value})
        with self.assertRaisesRegex(ConfigError, "ssl"):
            Producer(
                {
                    "bootstrap.servers": "h:1",
                    "security.protocol": "SSL",
                    "ssl.truststore.type": "PEM",
                    "ssl.truststore.location": "/none",
                }
            )

    async def test_what_is_no_record_is_an_error_and_the_next_is_sent(self):
        producer = self.producer(self.cluster())
        for value, more, error in [
            (7, {}, TypeError),
            ("v", {"key": 1}, TypeError),
            ("v", {"headers": {"h": 3}}, TypeError),
            ("v", {"headers": [(None, b"")]}, TypeError),
            ("v", {"partition": -1}, ValueError),
            ("v", {"timestamp": -1}, ValueError),
            ("v", {"partition": 1 << 40}, ValueError),
        ]:
            with self.assertRaises(error):
                await producer.send("t", value, **more)
        self.assertEqual((await producer.send("t", "v")).offset, 0)

    async def test_refusals_have_a_name_and_a_code_and_hold_up_nobody_else(self):
        cluster = self.cluster()
        for topic in ("one", "forbidden"):
            cluster.tell("create", topic, 1)
        cluster.tell("refuse", "forbidden")
        producer = self.producer(
            cluster, max_block_ms=1_500, delivery_timeout_ms=2_000, request_timeout_ms=1_500, linger_ms=0
        )

        async def error(kind, topic, value="", **more):
            with self.assertRaises(kind) as caught:
                await producer.send(topic, value, **more)
            return caught.exception

        self.assertEqual((await error(SendError, "a/b")).name, "TOPIC_REFUSED")
        forbidden = await error(SendError, "forbidden")
        self.assertEqual((forbidden.name, forbidden.code), ("TOPIC_AUTHORIZATION_FAILED", 29))
        self.assertRegex(str(forbidden), "topic forbidden: .*this user needs Write")
        self.assertEqual((await error(SendError, "one", "x" * 2_000_000)).name, "RECORD_TOO_LARGE")
        apart = producer.send("one", "", partition=5)
        self.assertEqual((await producer.send("one", "passes by")).offset, 0)
        with self.assertRaises(SendError) as caught:
            await apart
        self.assertEqual((caught.exception.name, caught.exception.retriable), ("TOPIC_UNKNOWN", True))
        self.assertRegex(str(caught.exception), "topic one: .*: it has 1 partitions")
        cluster.tell("fail", 87, 1)
        refused = await error(DeliveryError, "one")
        self.assertEqual(
            (refused.name, refused.code, refused.retriable, refused.possibly_written),
            ("INVALID_RECORD", 87, False, False),
        )
        cluster.tell("stop")
        late = await error(DeliveryError, "one")
        self.assertEqual((late.name, late.retriable), ("DELIVERY_TIMEOUT", True))

    async def test_nobody_is_there_so_send_waits_max_block_ms(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        said = []
        async with Producer(
            {"bootstrap.servers": f"127.0.0.1:{port}", "max.block.ms": 200}, log=said.append
        ) as producer:
            for pause in (0, 0.5):  # the second one comes after a pause that is longer than that
                await asyncio.sleep(pause)
                start = time.monotonic()
                why = f"TOPIC_UNKNOWN: topic t: .*max.block.ms: 127.0.0.1:{port}: can't connect"
                with self.assertRaisesRegex(SendError, why):
                    await producer.send("t", "v")
                self.assertGreater(time.monotonic() - start, 0.19)
        self.assertIn("can't connect", " ".join(said))

    async def test_a_partition_that_comes_later_gets_what_waited_for_it(self):
        cluster = self.cluster()
        cluster.tell("create", "t", 1)
        producer = self.producer(cluster, metadata_max_age_ms=100)
        told = [producer.send("t", str(number), partition=1) for number in range(2)]
        flushed = asyncio.create_task(producer.flush())
        await producer.send("t", "", partition=0)
        cluster.tell("grow", "t", 2)
        await flushed
        self.assertTrue(all(it.done() for it in told))
        self.assertEqual([it.result().offset for it in told], [0, 1])

    async def test_full_memory_makes_send_wait(self):
        cluster = self.cluster()
        producer = self.producer(cluster, buffer_memory=65_536, batch_size=4_096)
        await producer.send("u", "")  # what follows waits for memory, not for a topic
        told, waits = [], 0
        for number in range(2_000):
            if not producer.writable:
                waits += 1
                await producer.drain()
            told.append(producer.send("t", bytes(1_000), partition=0))
        self.assertEqual([it.offset for it in await asyncio.gather(*told)], list(range(2_000)))
        self.assertGreater(waits, 5)
        more = await asyncio.gather(*(producer.send("t", bytes(1_000), partition=0) for _ in range(1_000)))
        self.assertEqual([it.offset for it in more], list(range(2_000, 3_000)))

    async def test_flush_does_not_linger_and_close_delivers_what_is_open(self):
        cluster = self.cluster()
        producer = self.producer(cluster, linger_ms=60_000, delivery_timeout_ms=120_000)
        first = producer.send("t", "0")
        await producer.flush()
        self.assertEqual(first.result().offset, 0)
        told = [producer.send("u", str(number), partition=0) for number in range(100)]
        closed = asyncio.create_task(producer.close())
        await asyncio.sleep(0)
        with self.assertRaisesRegex(SendError, "CLOSED"):
            await producer.send("t", "late")
        await closed
        self.assertEqual([it.result().offset for it in told], list(range(100)))
        await producer.close()
        await producer.flush()

    async def test_close_with_a_timeout_fails_what_is_open(self):
        cluster = self.cluster()
        producer = self.producer(cluster)
        await producer.send("t", "")
        cluster.tell("stop")
        told = [producer.send("t", ""), producer.send("unknown", "")]
        await producer.close(0.2)
        self.assertEqual([it.exception().name for it in told], ["ABORTED", "ABORTED"])

    async def test_a_flush_that_waits_for_a_topic_ends_with_the_producer(self):
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        producer = Producer({"bootstrap.servers": "127.0.0.1:%d" % silent.getsockname()[1]})
        told = producer.send("t", "")
        flush = asyncio.create_task(producer.flush())
        await asyncio.sleep(0)
        await producer.close(0.1)
        self.assertEqual(told.exception().name, "ABORTED")
        await asyncio.wait_for(flush, 1)

    async def test_a_future_that_is_cancelled_disturbs_nobody(self):
        producer = self.producer(self.cluster())
        told = [producer.send("t", "", partition=0) for _ in range(3)]
        told[1].cancel()
        self.assertEqual((await told[2]).offset, 2)

    async def test_users_and_tls(self):
        for words in (['user=alice:se"cret='], ['user=alice:se"cret=', "tls"], ["tls"]):
            cluster = self.cluster(*words)
            for mechanism, module in (
                ("PLAIN", "plain.Plain"),
                ("SCRAM-SHA-256", "scram.Scram"),
                ("SCRAM-SHA-512", "scram.Scram"),
            ):

                def options(password):
                    if "sasl.mechanism" not in cluster.options:
                        return {}
                    jaas = f'org.apache.kafka.common.security.{module}LoginModule required username="alice" password="{password}";'
                    return {"sasl_mechanism": mechanism, "sasl_jaas_config": jaas}

                async with self.producer(cluster, **options('se\\"cret=')) as producer:
                    await producer.send("t", "v")
                if options(""):
                    with self.assertRaises(SendError) as caught:
                        await self.producer(cluster, **options("guessed")).send("t", "v")
                    self.assertEqual(caught.exception.name, "ACCESS_DENIED")
                    self.assertNotIn("guessed", str(caught.exception))
            if "tls" in words and len(words) == 1:
                stranger = Producer(
                    {"bootstrap.servers": cluster.options["bootstrap.servers"], "security.protocol": "SSL"}
                )
                with self.assertRaisesRegex(SendError, "ACCESS_DENIED"):
                    await stranger.send("t", "v")
                await stranger.close()

    async def test_a_broker_that_goes_away_in_the_handshake_is_tried_again(self):
        cluster = self.cluster("tls")
        host, port = cluster.options["bootstrap.servers"].split(":")
        resets, passing = 0, []

        async def pass_on(reader, writer):
            while data := await reader.read(65_536):
                writer.write(data)
            writer.close()

        async def between(reader, writer):
            nonlocal resets
            if resets < 2:
                resets += 1
                await reader.read(1)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            other_reader, other_writer = await asyncio.open_connection(host, port)
            both = pass_on(reader, other_writer), pass_on(other_reader, writer)
            passing.append(asyncio.gather(*both, return_exceptions=True))
            await passing[-1]

        server = await asyncio.start_server(between, "127.0.0.1", 0)
        self.addCleanup(server.close)
        options = {**cluster.options, "bootstrap.servers": "127.0.0.1:%d" % server.sockets[0].getsockname()[1]}
        async with Producer(options) as producer:
            self.assertEqual((await producer.send("t", "v")).offset, 0)
        await asyncio.gather(*passing)
        self.assertEqual(resets, 2)

    async def test_tokens_are_the_applications(self):
        cluster = self.cluster("user=alice:secret")
        now = int(time.time())
        claims = {"alg": "none"}, {"sub": "alice", "iat": now, "exp": now + 600}
        parts = (base64.urlsafe_b64encode(json.dumps(it, separators=(",", ":")).encode()).decode().rstrip("=") for it in claims)
        token = ".".join(parts) + "."
        options = {
            "bootstrap.servers": cluster.options["bootstrap.servers"],
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
        }

        def giving(answer):
            async def give():
                return answer

            return Producer(options, token=give)

        for lifetime in (600, None, float("inf")):
            async with giving((token, lifetime)) as producer:
                self.assertEqual((await producer.send("t", "v")).topic, "t")
        for nothing in (None, (None, 600), (token, -1), (token, float("nan")), (token, "soon")):
            async with giving(nothing) as producer:
                with self.assertRaisesRegex(SendError, "ACCESS_DENIED: .*no token"):
                    await producer.send("t", "v")

    async def test_codecs(self):
        for codec in ("gzip", "lz4"):
            cluster = self.cluster()
            producer = self.producer(cluster, compression_type=codec)
            values = [f"the same words again and again, number {number}" for number in range(500)]
            await asyncio.gather(*(producer.send("t", value, partition=0) for value in values))
            self.assertEqual([it["value"].decode() for it in cluster.records("t")], values)

    async def test_acks_0_loses_nothing_at_close(self):
        cluster = self.cluster()
        producer = self.producer(cluster, acks=0, enable_idempotence=False)
        told = await asyncio.gather(*(producer.send("t", "v") for _ in range(1_000)))
        self.assertEqual({it.offset for it in told}, {-1})
        await producer.close()
        for _ in range(100):
            if len(cluster.records("t")) == 1_000:
                break
            await asyncio.sleep(0.05)
        self.assertEqual(len(cluster.records("t")), 1_000)

    def program(self, path, *arguments):
        child = subprocess.run(
            [sys.executable, path, *arguments], cwd=HERE, stdout=subprocess.PIPE, text=True, timeout=30, check=True
        )
        return child.stdout

    async def test_the_program(self):
        cluster = self.cluster("partitions=1")
        told = self.program("produce.py", cluster.options["bootstrap.servers"], "numbers", "3000", "10000")
        self.assertEqual(told, "3000 records: 3000 delivered, 0 failed\n")
        self.assertEqual(
            [it["value"] for it in cluster.records("numbers")], [b"%08d" % number for number in range(3_000)]
        )

    async def test_the_readme_runs(self):
        cluster = self.cluster()
        with open(os.path.join(HERE, "README.md"), encoding="utf-8") as page:
            listings = re.findall(r"```python\n(.*?)```", page.read(), re.DOTALL)
        self.assertGreater(len(listings), 1)
        for listing in listings:
            child = subprocess.run(
                [sys.executable, "-c", listing.replace("localhost:9092", cluster.options["bootstrap.servers"])],
                cwd=HERE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                timeout=30,
            )
            self.assertEqual(child.returncode, 0, child.stderr)
            self.assertIn("offset", child.stdout)


if __name__ == "__main__":
    unittest.main()
