#!/usr/bin/env bash
# What a sealed session costs: time and throughput of requests through one, beside plain HTTP to the gateway with a
# bearer credential, both through one host to the same app; and the host's memory for each session that is open and idle.
# All on loopback.
#
#   bench/session.sh [ROUNDS [REQUESTS [MIB [SESSIONS]]]]
#
# COUPLET names the binary (default target/release/couplet); the device's end is the example session_load beside it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=${1:-7} requests=${2:-2000} mib=${3:-512} sessions=${4:-200}
couplet=${COUPLET:-$here/../target/release/couplet}
load=$(dirname "$couplet")/examples/session_load
dir=$(mktemp -d)
pids=()
stop() { kill "${pids[@]}" 2>/dev/null || :; wait; rm -rf "$dir"; }
trap stop EXIT
trap 'exit 1' INT TERM

app=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed "s|@APP@|$app|g; s|@DIR@|$dir|g" "$here/app.conf" >"$dir/app.conf"
chmod 755 "$dir"
truncate -s "${mib}M" "$dir/large"
nginx -e stderr -c "$dir/app.conf" & pids+=($!)
until curl -sfo /dev/null "http://127.0.0.1:$app/"; do sleep 0.1; done

COUPLET_LIMITS__MAX_SESSIONS=1000 COUPLET_LIMITS__MAX_DEVICES=2000 COUPLET_LIMITS__GENERATE_PER_MINUTE=100000 \
  COUPLET_LIMITS__EXCHANGE_PER_MINUTE=100000 COUPLET_LIMITS__MAX_CONNECTIONS=10000 \
  "$couplet" serve "http://127.0.0.1:$app" --state-dir "$dir/state" --listen 127.0.0.1:0 --gateway 127.0.0.1:0 \
  --json --no-input >"$dir/events" 2>"$dir/log" & host=$!; pids+=("$host")
until [[ -s $dir/events ]]; do kill -0 "$host" || { cat "$dir/log" >&2; exit 1; }; sleep 0.1; done
pairing=$(head -n 1 "$dir/events" | jq -r '.pairing[0]') gateway=$(head -n 1 "$dir/events" | jq -r '.gateway[0].url')
owner=(curl -sf -H "Authorization: Bearer $(<"$dir/state/admin-token")")
link() { "${owner[@]}" -X POST "$pairing/api/pair/generate" | jq -r .link; }
token=$("${owner[@]}" --json '{"device_name":"plain"}' "$pairing/api/pair/devices" | jq -r .device_token)

"$load" speed "$(link)" "${gateway#http://}" "$token" "$requests" "$rounds" >"$dir/rows"

resident() { awk '/^VmRSS:/ { print $2 }' "/proc/$host/status"; }
hold() { # SESSIONS: opens so many, tells what is resident then, and lets them go
  mkfifo "$dir/links"
  "$load" hold <"$dir/links" >"$dir/opened" & local holder=$!
  exec {links}>"$dir/links"
  for ((n = 1; n <= $1; n++)); do
    link >&"$links"
    until grep -q "^open $n\$" "$dir/opened"; do kill -0 "$holder"; sleep 0.02; done
  done
  sleep 1
  resident
  exec {links}>&-
  wait "$holder"
  rm "$dir/links"
}
# Ten to begin with, so that what a first session brings with it is not counted.
few=$(hold 10)
many=$(hold $((10 + sessions)))
python3 - "$dir/rows" "$few" "$many" "$sessions" <<'PYTHON'
import statistics, sys
rows = [[float(field) for field in line.split()] for line in open(sys.argv[1])]
few, many, sessions = map(int, sys.argv[2:])
def spread(values, unit, digits):
    return f"{min(values):.{digits}f} {statistics.median(values):.{digits}f} {max(values):.{digits}f} {unit}"
print("min, median and max of the rounds")
print("small request, plain   ", spread([r[1] for r in rows], "µs (p50)", 0))
print("small request, session ", spread([r[0] for r in rows], "µs (p50)", 0))
print("added by the session   ", spread([r[0] - r[1] for r in rows], "µs (target: 150)", 0))
print("download, plain        ", spread([r[3] for r in rows], "MiB/s", 0))
print("download, session      ", spread([r[2] for r in rows], "MiB/s", 0))
print("session to plain       ", spread([r[2] / r[3] for r in rows], "(target: 0.5)", 2))
print(f"host memory per idle session: {(many - few) / sessions:.1f} KiB of {sessions} (target: 40)")
PYTHON
