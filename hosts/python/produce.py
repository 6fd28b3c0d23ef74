"""Sends numbers to partition 0 of a topic, in order: produce.py BOOTSTRAP TOPIC COUNT [RECORDS_PER_SECOND]."""

import asyncio
import sys
import time

from milena import Producer


async def main(servers, topic, count, rate="0"):
    outcomes = []

    def told(future):
        outcomes.append(future.exception())
        if outcomes[-1] is not None:
            print(outcomes[-1], file=sys.stderr)

    options = {"bootstrap.servers": servers, "client.id": "produce.py"}
    start = time.monotonic()
    async with Producer(options, log=lambda text: print(text, file=sys.stderr)) as producer:
        for number in range(int(count)):
            early = start + number / float(rate) - time.monotonic() if float(rate) > 0 else 0
            if early > 0:
                await asyncio.sleep(early)
            if not producer.writable or number % 1000 == 999:
                await producer.drain()
            producer.send(topic, f"{number:08}", partition=0).add_done_callback(told)
    await asyncio.sleep(0)  # the last callbacks
    failed = sum(outcome is not None for outcome in outcomes)
    print(f"{count} records: {len(outcomes) - failed} delivered, {failed} failed")
    return failed > 0


if len(sys.argv) not in (4, 5):
    sys.exit("usage: produce.py BOOTSTRAP TOPIC COUNT [RECORDS_PER_SECOND]")
sys.exit(asyncio.run(main(*sys.argv[1:])))
