#!/bin/sh
# What a start costs: the time from exec to the ready line and to the first answer of /health, and the memory that
# stays resident when nothing happens.
#
#   bench/start.sh [ROUNDS]
#
# COUPLET names the binary (default target/release/couplet). The first start makes the state folder and is not
# counted; the others find it, as a service does after a reboot.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec python3 - "${COUPLET:-$here/../target/release/couplet}" "${1:-20}" <<'PYTHON'
import http.client, json, os, statistics, subprocess, sys, tempfile, time
from urllib.parse import urlsplit

binary, rounds = sys.argv[1], int(sys.argv[2])


def start(home, idle):
    """Milliseconds until the ready line and the first answer; KiB resident after so many idle seconds."""
    env = {"HOME": home, "PATH": os.environ["PATH"]}
    command = [binary, "serve", "--json", "--no-input", "--listen", "127.0.0.1:0", "--state-dir", home + "/state"]
    began = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as host:
        try:
            line = host.stdout.readline()
            ready = time.perf_counter()
            at = urlsplit(json.loads(line)["pairing"][0])
            connection = http.client.HTTPConnection(at.hostname, at.port)
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            answered = time.perf_counter()
            assert answer.status == 200
            connection.close()
            time.sleep(idle)
            with open(f"/proc/{host.pid}/status") as status:
                resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        finally:
            host.terminate()
    return (ready - began) * 1000, (answered - began) * 1000, resident


with tempfile.TemporaryDirectory() as home:
    start(home, 0)
    starts = [start(home, 0) for _ in range(rounds)]
    idle = [start(home, 2)[2] for _ in range(3)]


def row(what, unit, values, limit):
    middle, verdict = statistics.median(values), ""
    if limit:
        verdict = f"<= {limit:g} {unit}: " + ("kept" if middle <= limit else "MISSED")
    print(f"{what:24} {middle:8.1f} {unit:3} {min(values):8.1f} {max(values):8.1f}  {verdict}")


print(f"{'':24} {'median':>8}     {'least':>8} {'most':>8}  target (G3)")
row("exec to ready line", "ms", [ready for ready, _, _ in starts], None)
row("exec to first answer", "ms", [answered for _, answered, _ in starts], 50)
row("resident when idle", "MiB", [kib / 1024 for kib in idle], 15)
PYTHON
