#!/usr/bin/env bash
# What frames cost to seal and open, beside libsodium, OpenSSL and RustCrypto; and what a handshake costs both ends, beside
# clatter. In rounds that take turns; the first is thrown away.
#
#   bench/seal.sh [ROUNDS [MILLISECONDS]]
#
# LOAD names our end (default target/release/examples/seal_load).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=${1:-7} time=${2:-300}
load=${LOAD:-$here/../target/release/examples/seal_load}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cc -O2 -Wall -o "$dir/seal" "$here/seal.c" -lsodium -lcrypto
for ((round = 0; round <= rounds; round++)); do
  "$load" "$time" >"$dir/round"
  "$dir/seal" "$time" >>"$dir/round"
  if ((round > 0)); then paste -sd ' ' "$dir/round" >>"$dir/rows"; fi
done
python3 - "$dir/rows" <<'PYTHON'
import statistics, sys
rows = []
for line in open(sys.argv[1]):
    fields = line.split()
    rows.append(dict(zip(fields[::2], map(float, fields[1::2]))))
def spread(values, digits):
    return " ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
print("min, median and max of the rounds; ratios within a round")
targets = {("4096", "libsodium"): 0.60, ("4096", "rustcrypto"): 0.35, ("64", "libsodium"): 0.50}
for size in ("64", "1024", "4096", "16384"):
    print(f"seal and open {size} bytes: couplet {spread([r['couplet/' + size] for r in rows], 0)} ns")
    for peer in ("libsodium", "openssl", "rustcrypto"):
        ratio = spread([r["couplet/" + size] / r[f"{peer}/{size}"] for r in rows], 2)
        target = targets.get((size, peer))
        times = spread([r[f"{peer}/{size}"] for r in rows], 0)
        print(f"  to {peer} ({times} ns): {ratio}" + (f" (target: {target:.2f})" if target else ""))
for name in ("couplet", "clatter"):
    times = spread([r[name + "/handshake"] / 1000 for r in rows], 0)
    print(f"handshake, both ends, {name}: {times} µs" + (" (target: 450)" if name == "couplet" else ""))
PYTHON
