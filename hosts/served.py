"""Runs a program that sends numbers against the cluster in memory, and looks at what arrived: served.py SCRIPT PROGRAM. The script is
one of a shell, in which $1 is the program and $2 the servers."""

import base64
import json
import os
import subprocess
import sys

COUNT = 3000

with subprocess.Popen(
    [os.environ["MILENA_SERVER"], "partitions=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
) as cluster:
    options = json.loads(cluster.stdout.readline())
    command = ["bash", "-c", sys.argv[1], "run", sys.argv[2], options["bootstrap.servers"]]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
    cluster.stdin.write("records numbers\n")
    cluster.stdin.flush()
    records = json.loads(cluster.stdout.readline())
    cluster.stdin.close()
assert told == f"{COUNT} records: {COUNT} delivered, 0 failed\n", told
assert [base64.b64decode(record["value"]) for record in records] == [b"%08d" % number for number in range(COUNT)]
print(told, end="")
