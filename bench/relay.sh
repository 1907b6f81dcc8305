#!/usr/bin/env bash
# What a relay costs, beside the programs that people would otherwise run: CPU of what it carries, with TLS and without;
# CPU of a message there and back; memory and CPU of hosts that are there and do nothing; and whether those are in the way
# of a command. All on loopback.
#
#   bench/relay.sh [--iroh] [ROUNDS [SECONDS [HOSTS]]]
#
# --iroh: beside iroh-relay too, of which server and client are built for it; the first time that takes some ten minutes.
# COUPLET names the binary (default target/release/couplet); both ends are the example relay_load beside it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
iroh=
if [[ ${1:-} == --iroh ]]; then iroh=1.4.1; shift; fi
rounds=${1:-7} seconds=${2:-2} hosts=${3:-18000}
couplet=${COUPLET:-$here/../target/release/couplet}
load=$(dirname "$couplet")/examples/relay_load
flows=8 few=100
if [[ $iroh ]]; then
  # Both from one compilation: the server as its crate locks it, and a client of the same versions.
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/couplet/iroh
  cargo install --quiet --locked iroh-relay --version "$iroh" --features server --root "$cache" --target-dir "$cache/target"
  cargo build --quiet --locked --release --manifest-path "$here/iroh/Cargo.toml" --target-dir "$cache/target"
fi
# In memory where that can be: a disk is not what is measured.
dir=$(mktemp -d --tmpdir="$([[ -w /dev/shm ]] && echo /dev/shm || echo /tmp)")
chmod 755 "$dir"
pids=()
stop() { kill "${pids[@]}" 2>/dev/null || :; wait; rm -rf "$dir"; }
trap stop EXIT
trap 'exit 1' INT TERM

# Both ends need a file a host, and some.
ulimit -n "$(ulimit -Hn)"
most=$(($(ulimit -n) - 1000))
if ((hosts > most)); then echo "only $most hosts: this user may not have more open files" >&2; hosts=$most; fi
few=$((few < hosts ? few : hosts))

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
fill() { sed "s|@PORT@|$2|g; s|@PLAIN@|${3:-}|g; s|@APP@|$app|g; s|@DIR@|$dir|g" "$here/$1" >"$dir/$1"; }
accepts() { # PORT: waits until it does
  local n
  for ((n = 0; n < 100; n++)); do
    if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    sleep 0.1
  done
  echo "nothing accepts connections on port $1" >&2
  exit 1
}
relay() { # FOLDER: starts one; its process in $pid, DEVICES:HOSTS in $ports
  rm -f "$1.events"
  "$couplet" relay serve --dev --listen 127.0.0.1:0 --hosts-listen 127.0.0.1:0 --state-dir "$1" --json \
    >"$1.events" 2>"$1.log" & pid=$!; pids+=("$pid")
  until [[ -s $1.events ]]; do kill -0 "$pid" || { cat "$1.log" >&2; exit 1; }; sleep 0.1; done
  ports=$(head -n 1 "$1.events" | jq -r '[.public, .hosts] | map(split(":") | last) | join(":")')
}
end() { kill "$1"; wait "$1" || :; }

# Hosts, and the certificates of all, are written by the relay's own registry and CA.
relay "$dir/relay"
end "$pid"
"$load" prepare "$dir/relay" $((hosts + 1)) "$dir"
cp -a "$dir/relay" "$dir/few"
cp -a "$dir/relay" "$dir/many"

app=$(free_port) nginx=$(free_port) nginx_plain=$(free_port) haproxy=$(free_port) haproxy_plain=$(free_port)
bridge=$(free_port) mosquitto=$(free_port)
fill relay.conf "$nginx" "$nginx_plain"; fill relay.cfg "$haproxy" "$haproxy_plain"; fill mosquitto.conf "$mosquitto"
nginx -e stderr -c "$dir/relay.conf" & nginx_pid=$!; pids+=($!)
haproxy -f "$dir/relay.cfg" & haproxy_pid=$!; pids+=($!)
# With as many threads as the others have workers.
TOKIO_WORKER_THREADS=2 "$load" bridge "$bridge" "$app" & bridge_pid=$!; pids+=($!)
relay "$dir/relay"
relay_pid=$pid
for port in "$nginx" "$haproxy" "$bridge" "${ports%:*}"; do accepts "$port"; done
if [[ $iroh ]]; then
  # Plain HTTP, and nothing but the relay.
  iroh_port=$(free_port)
  printf 'http_bind_addr = "127.0.0.1:%s"\nenable_metrics = false\n' "$iroh_port" >"$dir/iroh.toml"
  TOKIO_WORKER_THREADS=2 RUST_LOG=error "$cache/bin/iroh-relay" --dev --config-path "$dir/iroh.toml" & iroh_pid=$!; pids+=($!)
  accepts "$iroh_port"
fi

carry() { # NAME BETWEEN PID BYTES
  "$load" carry "$1" "$2" "$3" "$dir" "$flows" "$4" "$seconds"
}
rounds() { # NAME BETWEEN PID
  "$load" rounds "$1" "$2" "$3" "$dir" "$seconds"
}
nginx -v 2>&1; haproxy -v | sed -n 1p; mosquitto -h | sed -n 1p || :
for ((round = 0; round <= rounds; round++)); do
  for bytes in 4096 65536; do
    carry couplet "relay:$ports" "$relay_pid" "$bytes"
    carry haproxy "tls:$haproxy:$app" "$haproxy_pid" "$bytes"
    carry nginx "tls:$nginx:$app" "$nginx_pid" "$bytes"
    carry couplet-plain "plain:$bridge:$app" "$bridge_pid" "$bytes"
    carry nginx-plain "plain:$nginx_plain:$app" "$nginx_pid" "$bytes"
    carry haproxy-plain "plain:$haproxy_plain:$app" "$haproxy_pid" "$bytes"
    if [[ $iroh && $bytes == 4096 ]]; then
      "$cache/target/release/iroh-load" iroh-plain "$iroh_port" "$iroh_pid" "$flows" "$bytes" "$seconds"
    fi
  done
  rounds couplet "relay:$ports" "$relay_pid"
  rounds haproxy "tls:$haproxy:$app" "$haproxy_pid"
done >"$dir/rows"
end "$relay_pid"

# Hosts that are there: each set is held by a process of its own, which is told what to do and answers with a line.
hold() { # NAME PORTS PID
  mkfifo "$dir/$1.told" "$dir/$1.said"
  "$load" hosts "$2" "$3" "$dir" <"$dir/$1.told" >"$dir/$1.said" & pids+=($!)
  exec {told[$1]}>"$dir/$1.told" {said[$1]}<"$dir/$1.said"
}
ask() { # NAME WHAT...: its answer, behind what was asked
  local answer
  echo "${*:2}" >&"${told[$1]}"
  read -r answer <&"${said[$1]}" || { echo "the hosts of $1 are gone" >&2; exit 1; }
  echo "$1 ${*:2} $answer"
}
declare -A told said
mosquitto -c "$dir/mosquitto.conf" & mosquitto_pid=$!; pids+=($!)
accepts "$mosquitto"
relay "$dir/few"; hold few "$ports" "$pid"
relay "$dir/many"; hold many "$ports" "$pid"
hold mosquitto "$mosquitto" "$mosquitto_pid"
{
  ask few come "$few"
  step=$((hosts < 6000 ? hosts : 3000))
  for ((n = step; n <= hosts; n += step)); do ask many come "$n"; ask mosquitto come "$n"; done
  ask many idle "$((hosts < 1000 ? 2 : 16))"; ask mosquitto idle "$((hosts < 1000 ? 2 : 16))"
  # No more than a host may change its rooms at a time: each command has one of its own.
  for ((round = 0; round <= rounds; round++)); do ask few deliver 60; ask many deliver 60; done
} >"$dir/idle"
python3 - "$dir/rows" "$dir/idle" <<'PYTHON'
import collections, statistics, sys
rows, idle = collections.defaultdict(list), collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, *values = line.split()
    rows[name].append([float(value) for value in values])
for line in open(sys.argv[2]):
    name, what, about, *values = line.split()
    idle[name, what].append((int(about), [float(value) for value in values]))
# The first round warms up.
cpu = {name: [value[0] for value in values[1:]] for name, values in rows.items()}
def spread(values, digits=2):
    return f"{min(values):.{digits}f} {statistics.median(values):.{digits}f} {max(values):.{digits}f}"
def kept(value, most):
    return f"target {most}: {'kept' if value <= most else 'MISSED'}"
# Each round's ratio by itself: what else the machine does weighs on all that run close to each other.
def against(name, peer, most=None):
    ratios = [ours / theirs for ours, theirs in zip(cpu[name], cpu[peer])]
    verdict = "" if most is None else f"   {kept(statistics.median(ratios), most)}"
    print(f"  {name} to {peer:24}{spread(ratios)}{verdict}")
print("min, median and max of the rounds")
for way, peers in [("", {"haproxy": {4096: 0.65, 65536: 0.85}, "nginx": {4096: 0.7, 65536: 0.7}}),
                   ("-plain", {"nginx": {4096: 0.9, 65536: 0.9}, "haproxy": {}, "iroh": {4096: 0.2}})]:
    for size in 4096, 65536:
        print(f"CPU s per GB, {'without TLS' if way else 'TLS on both legs'}, messages of {size}")
        for name in "couplet", "haproxy", "nginx", "iroh":
            row = f"{name}{way}/{size}"
            if row not in rows:
                continue
            rate = statistics.median([value[1] for value in rows[row][1:]])
            print(f"  {name:28}{spread(cpu[row])}   ({rate:.0f} MB/s)")
        for peer, most in peers.items():
            if f"{peer}{way}/{size}" in rows:
                against(f"couplet{way}/{size}", f"{peer}{way}/{size}", most.get(size))
print("CPU µs for 1 KiB there and back, TLS on both legs")
for name in "couplet", "haproxy":
    times = [value[1] for value in rows[f"{name}/rounds"][1:]]
    print(f"  {name:28}{spread(cpu[f'{name}/rounds'])}   (takes {statistics.median(times):.0f} µs)")
against("couplet/rounds", "haproxy/rounds", 1.0)
print("hosts that are there: KiB resident for each, CPU µs for each that came")
for name in "many", "mosquitto":
    shown = {"many": "couplet"}.get(name, name)
    for hosts, (kib, connect) in idle[name, "come"]:
        print(f"  {shown:10}{hosts:8}{kib:8.2f}{connect:8.0f}")
    [(span, (percent, kib))] = idle[name, "idle"]
    print(f"  {shown:10} after {span} s more: {kib:.2f} KiB each, {percent:.2f} % of a core")
hosts, (kib, _) = idle["many", "come"][-1]
came = {name: statistics.median([values[1] for _, values in idle[name, "come"]]) for name in ("many", "mosquitto")}
print(f"  KiB for each of {hosts}: {kib:.2f}   {kept(kib, 14.6)}")
ratio = came["many"] / came["mosquitto"]
print(f"  CPU to come, to mosquitto: {ratio:.2f}   {kept(ratio, 0.8)}")
times = {name: [values[0] for _, values in idle[name, "deliver"]][1:] for name in ("few", "many")}
ratios = [many / few for many, few in zip(times["many"], times["few"])]
print("command to a host, µs from a device's question (p50)")
print(f"  among {idle['few', 'come'][0][0]:<22}{spread(times['few'], 0)}")
print(f"  among {hosts:<22}{spread(times['many'], 0)}")
print(f"  ratio                       {spread(ratios)}   {kept(statistics.median(ratios), 1.2)}")
PYTHON
