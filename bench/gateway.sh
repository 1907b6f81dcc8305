#!/bin/sh
# What the gateway costs: CPU-seconds of the whole process per 100,000 small authenticated requests over kept
# connections, against nginx and haproxy proxying the same app without any authentication. All on loopback.
#
#   bench/gateway.sh [ROUNDS [SECONDS]]
#
# COUPLET names the binary (default target/release/couplet). GATEWAY_COMMAND, if set, is run instead with the
# app's address and a listening address, and must know the token in TOKEN.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-5} seconds=${2:-4}
couplet=${COUPLET:-$here/../target/release/couplet}
dir=$(mktemp -d)
pids=
stop() { for pid in $pids; do kill "$pid" 2>/dev/null || :; done; wait; rm -rf "$dir"; }
trap stop EXIT
trap 'exit 1' INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
fill() { sed "s|@PORT@|$2|g; s|@APP@|$app|g; s|@DIR@|$dir|g" "$here/$1" >"$dir/$1"; }
answers() {
    n=0
    until curl -sf -o "$dir/answer" -H "$auth" "$1"; do
        n=$((n + 1)); [ "$n" -lt 100 ] || { echo "nothing answers at $1" >&2; exit 1; }
        sleep 0.1
    done
    grep -q "hello from the app" "$dir/answer"
}
member() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]: value = value[int(key) if key.isdigit() else key]
print(value)' "$@"; }

app=$(free_port) nginx=$(free_port) haproxy=$(free_port)
auth="X-None: 1"
fill app.conf 0; fill nginx.conf "$nginx"; fill haproxy.cfg "$haproxy"
nginx -e stderr -c "$dir/app.conf" & pids="$pids $!"
answers "http://127.0.0.1:$app/"
nginx -e stderr -c "$dir/nginx.conf" & nginx_pid=$!; pids="$pids $!"
haproxy -f "$dir/haproxy.cfg" & haproxy_pid=$!; pids="$pids $!"

if [ -n "${GATEWAY_COMMAND:-}" ]; then
    port=$(free_port)
    $GATEWAY_COMMAND "http://127.0.0.1:$app" "127.0.0.1:$port" & couplet_pid=$!
    couplet_url="http://127.0.0.1:$port/" token=$TOKEN
else
    "$couplet" serve "http://127.0.0.1:$app" --state-dir "$dir/state" --listen 127.0.0.1:0 \
        --gateway 127.0.0.1:0 --json --no-input >"$dir/events" 2>"$dir/log" & couplet_pid=$!
    n=0
    until [ -s "$dir/events" ]; do
        n=$((n + 1)); [ "$n" -lt 100 ] || { cat "$dir/log" >&2; exit 1; }
        sleep 0.1
    done
    head -n 1 "$dir/events" >"$dir/ready"
    couplet_url=$(member gateway 0 url <"$dir/ready")/
    token=$(curl -sf -H "Authorization: Bearer $(cat "$dir/state/admin-token")" -H 'Content-Type: application/json' \
        -d '{"device_name":"bench","kind":"bearer"}' "$(member pairing 0 <"$dir/ready")/api/pair/devices" |
        member device_token)
fi
pids="$pids $couplet_pid"
auth="Authorization: Bearer $token"
answers "http://127.0.0.1:$nginx/"; answers "http://127.0.0.1:$haproxy/"; answers "$couplet_url"

# utime and stime, in ticks, of a process and its children.
ticks() {
    sum=0
    for pid in $1 $(pgrep -P "$1" || :); do
        sum=$((sum + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}')))
    done
    echo "$sum"
}
hertz=$(getconf CLK_TCK)
measure() { # name pid url
    before=$(ticks "$2")
    wrk -t1 -c64 -d"${seconds}s" -H "$auth" "$3" >"$dir/wrk"
    after=$(ticks "$2")
    if grep -q "Non-2xx\|Socket errors" "$dir/wrk"; then cat "$dir/wrk" >&2; exit 1; fi
    requests=$(awk '/requests in/ {print $1}' "$dir/wrk")
    echo "$1 $before $after $requests $hertz" | awk '{printf "%s %.4f %d\n", $1, ($3 - $2) / $5 * 100000 / $4, $4}' >>"$dir/rows"
}
nginx -v 2>&1; haproxy -v | head -n 1; wrk -v 2>&1 | head -n 1
round=0
while [ "$round" -le "$rounds" ]; do
    measure couplet "$couplet_pid" "$couplet_url"
    measure nginx "$nginx_pid" "http://127.0.0.1:$nginx/"
    measure haproxy "$haproxy_pid" "http://127.0.0.1:$haproxy/"
    # The first round warms up.
    [ "$round" -gt 0 ] || : >"$dir/rows"
    round=$((round + 1))
done
python3 - "$dir/rows" "$seconds" <<'PYTHON'
import collections, statistics, sys
rows = collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, cpu, requests = line.split()
    rows[name].append((float(cpu), int(requests) / float(sys.argv[2])))
cpu = {name: [c for c, _ in values] for name, values in rows.items()}
def spread(values, digits=2):
    return f"{min(values):.{digits}f} {statistics.median(values):.{digits}f} {max(values):.{digits}f}"
# Each round's ratio by itself: what else the machine does weighs on all that run close to each other.
def to(name, peer):
    return spread([ours / theirs for ours, theirs in zip(cpu[name], cpu[peer])])
print("min, median and max of the rounds")
print(f"{'':10}{'CPU s/100k':>18}{'to nginx':>18}{'to haproxy':>18}{'req/s':>24}")
for name, values in rows.items():
    rates = spread([r for _, r in values], 0)
    print(f"{name:10}{spread(cpu[name]):>18}{to(name, 'nginx'):>18}{to(name, 'haproxy'):>18}{rates:>24}")
PYTHON
