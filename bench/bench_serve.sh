#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Loads the server: bench_serve.sh ORGAN MAKE_MODEL CLIENTS DIR. Needs ab (apache2-utils), curl, jq and 3 GB in DIR. Runs 64 clients with 1,000
# requests each during a prune job and the same job alone, then 10,000 malformed requests and slow clients, and prints the growth of the
# server's memory.
set -euo pipefail
organ=$1 make_model=$2 clients=$3 area=$4
for tool in ab curl jq; do
    command -v $tool >/dev/null || { echo "bench_serve.sh needs $tool, which is not installed (packages apache2-utils, curl, jq)" >&2; exit 2; }
done
port=${PORT:-18936}
base=http://127.0.0.1:$port
mkdir -p "$area/served"
[[ -d $area/served/model ]] || "$make_model" "$area/served/model" 1 70000
"$organ" serve --root "$area/served" --listen "127.0.0.1:$port" --timeout 5 2>"$area/log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server' EXIT
until curl -sf "$base/healthz" >/dev/null; do sleep 0.1; done

memory() { awk '/^VmRSS/ { print $2 }' "/proc/$server/status"; }
# load PATH [REQUESTS]: prints the results of ab in one line.
load() {
    ${client:-} ab -q -k -n "${2:-64000}" -c 64 "$base$1" 2>/dev/null | awk -v path="$1" '
        /^Complete requests/ { n = $3 } /^Failed requests/ { bad = $3 } /^Non-2xx/ { bad += $3 } /^Requests per second/ { rate = $4 }
        $1 == "50%" { half = $2 } $1 == "99%" { most = $2 } /longest/ { longest = $2 }
        END { printf "%-28s %6d requests, %d failed, %8.0f a second; ms: median %s, 99 %% %s, longest %s\n", path, n, bad, rate, half, most, longest }'
}
# job: runs a prune job to its end and prints its seconds.
job() {
    local id view
    rm -rf "$area/served/pruned"
    id=$(curl -sf -H 'Content-Type: application/json' -d '{"verb": "prune", "arguments": {"DONOR": "model", "output": "pruned", "iterations": 400}}' "$base/api/v1/jobs" | jq -r .id)
    while view=$(curl -sf "$base/api/v1/jobs/$id") && [[ $(jq -r .state <<<"$view") == @(queued|running) ]]; do sleep 0.1; done
    jq -r '"\(.state), \(.seconds * 10 | round / 10) s"' <<<"$view"
}

echo "64 clients, keep-alive:"
load /healthz 6400 >"$area/warm"
echo "  memory before: $(memory) kB"
load /healthz
load '/api/v1/models/model/tensors?limit=5'
load /api/v1/models
load /files/model/config.json
echo "  memory after:  $(memory) kB"
# Real clients run on other machines, so here they get a low priority and do not take the processors from the job.
echo "a job alone, and one while 64 clients of lowest priority send 1,000 requests each, in turn:"
for _ in 1 2 3 4 5; do
    alone=$(job)
    (sleep 0.5 && client="nice -n 19" load /healthz >"$area/full") &
    full=$!
    beside=$(job)
    wait $full
    echo "  $alone; $beside"
done | tee "$area/pairs"
echo "  with clients / alone, median of the pairs: $(awk '{ printf "%.2f\n", $5 / $2 }' "$area/pairs" | sort -n | sed -n 3p)"
cat "$area/full"
echo "10,000 malformed requests:"
"$clients" malformed "$port" 10000 1
echo "150 slow clients, 5 seconds allowed, and 16 others meanwhile:"
"$clients" slow "$port" 150 10 &
slow=$!
sleep 1
ab -q -n 3200 -c 16 "$base/healthz" 2>/dev/null | grep -E 'Complete|Failed|longest'
wait $slow
echo "  memory at last: $(memory) kB; the server says $(curl -sf "$base/healthz")"
