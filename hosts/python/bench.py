"""One measurement in a process of its own: bench.py CASE BOOTSTRAP COUNT, where CASE is milena or aiokafka."""

import asyncio
import resource
import sys
import time

VALUE = b"x" * 100
WINDOW = 10_000


async def each(send, count):
    """Sends records, each with its own acknowledgement; so many are open at most."""
    room, failed = asyncio.Semaphore(WINDOW), 0

    def told(future):
        nonlocal failed
        failed += future.exception() is not None
        room.release()

    for number in range(count):
        await room.acquire()
        (await send()).add_done_callback(told) if name == "aiokafka" else send().add_done_callback(told)
        if number % 1000 == 999:
            await asyncio.sleep(0)
    for _ in range(WINDOW):
        await room.acquire()
    assert failed == 0, failed


async def main(servers, count):
    if name == "milena":
        from milena import Producer

        producer = Producer({"bootstrap.servers": servers})
        close = producer.close

        def send():
            return producer.send("t", VALUE)

    else:
        from aiokafka import AIOKafkaProducer

        producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, linger_ms=5)
        await producer.start()
        close = producer.stop

        def send():
            return producer.send("t", VALUE)

    await each(send, count // 10)
    start, before = time.monotonic(), time.process_time()
    await each(send, count)
    cpu, seconds = time.process_time() - before, time.monotonic() - start
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{name:12} {cpu * 1e6 / count:14.2f} {count / seconds:11.0f} {rss:8.0f}", flush=True)
    await close()


name = sys.argv[1]
asyncio.run(main(sys.argv[2], int(sys.argv[3])))
