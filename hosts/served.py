"""Runs a program that sends numbers against the cluster in memory, and looks at what arrived: served.py [WAY..] SCRIPT PROGRAM. The
script is one of a shell, in which $1 is the program and $2 the servers. Ways in which that is made hard, or is looked at:

--restart   all nodes stop in the middle, and start again a second later
--damaged   something on the way damages bytes: records may fail, but those that are said to be delivered arrive, and no others
--from-1970 the program's clock begins in 1970, and it is told the time of day in the middle
"""

import base64
import json
import os
import re
import subprocess
import sys
import time

COUNT = 3000
DAY = 86_400_000
*ways, script, program = sys.argv[1:]


def ask(line):
    cluster.stdin.write(line + "\n")
    cluster.stdin.flush()
    return json.loads(cluster.stdout.readline())


with subprocess.Popen(
    [os.environ["MILENA_SERVER"], "partitions=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
) as cluster:
    options = json.loads(cluster.stdout.readline())
    command = ["bash", "-c", script, "run", program, options["bootstrap.servers"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        if "--restart" in ways:
            while not COUNT / 6 < len(ask("records numbers")) and host.poll() is None:
                time.sleep(0.05)
            ask("stop")
            before = len(ask("records numbers"))
            time.sleep(1)
            ask("start")
            assert before < COUNT, "all was there before the restart"
        told = host.communicate(timeout=120)[0]
        assert host.returncode == 0, host.returncode
    records = ask("records numbers")
    cluster.stdin.close()
numbers = [int(base64.b64decode(record["value"])) for record in records]
delivered, failed = map(int, re.fullmatch(f"{COUNT} records: (\\d+) delivered, (\\d+) failed\n", told).groups())
if "--damaged" in ways:
    assert numbers == sorted(set(numbers)), "records are there twice, or out of order"
    assert delivered == len(numbers) and delivered + failed == COUNT, (told, len(numbers))
    assert delivered > COUNT * 9 // 10, told
else:
    assert delivered == COUNT and numbers == list(range(COUNT)), (told, len(numbers))
if "--from-1970" in ways:
    for record, number in zip(records, numbers):
        early = record["timestamp"] < DAY
        assert early == (number < COUNT // 2), record
        assert early or abs(record["timestamp"] - time.time() * 1000) < DAY, record
print(told, end="")
