#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Boots a machine of 48 CPUs on 4 memory nodes in QEMU, prunes the fixture there, and checks from outside that each worker runs on the CPU that
# `organ topology` plans, that each page of its buffers is on the node of that CPU, and that the output has the same bytes as on this host. Then runs the
# work of `ninja bench-scaling` (prune, quantize, a calibrated method, the forward pass) there with 1, 7, 48 and 96 threads, and compares the bytes.
# Ends with the line "N passed, N failed". If QEMU or a kernel is missing it prints "skipped" and succeeds.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/numa/guest.sh
obstacle=$(guest_obstacle)
[[ -z $obstacle ]] || { echo "skipped: $obstacle" && echo "0 passed, 0 failed" && exit 0; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0
judge() {
    if "${@:2}"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED $1"; fi
}

guest_put "$scratch/guest" "$PWD/build/organ" || exit 1
cp -r fixtures/tiny-qwen2 "$scratch/guest/tiny-qwen2" || exit 1
# work NAME OUT ARGS...: runs the work NAME of the benchmark on the fixture in the working directory; OUT gets its result. The guest runs this function too,
# by busybox's shell.
cat >"$scratch/guest/work" <<'WORK'
work() {
    name=$1 out=$2
    shift 2
    case $name in
        prune) organ prune tiny-qwen2 -o "$out" --iterations 10 --quiet "$@" ;;
        quantize) organ quantize tiny-qwen2 -o "$out" --scheme int4-group32 --quiet "$@" ;;
        sparsegpt) organ prune tiny-qwen2 -o "$out" --method sparsegpt --sparsity 50 --calibration tiny-qwen2/calibration.txt --samples 2 --context 64 --quiet "$@" ;;
        forward) mkdir "$out" && organ perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256 --quiet --json "$@" >"$out/forward" ;;
    esac >/dev/null
}
# Prints one digest of all files that do not vary: reports have times, and names of threads.
digest() {
    [ ! -e "$1/forward" ] || { sed '/^  "run": {$/,/^  }$/d' "$1/forward" >"$1/likelihoods" && rm "$1/forward"; }
    (cd "$1" && find . -type f ! -path './organ/*' | sort | xargs sha256sum) | sha256sum | cut -d ' ' -f 1
}
WORK
names="prune quantize sparsegpt forward" counts="1 7 48 96"
mapfile -t nodes < <(node 0 768M 0-11; node 1 768M 12-23; node 2 768M 24-35; node 3 768M 36-47)

# While organ prunes, each sample has the affinity of every thread, and all memory mappings with their policies and nodes.
guest_run "$scratch" "$scratch/guest" -smp 48,sockets=4,cores=12 -m 3G "${nodes[@]}" >"$scratch/log" <<'GUEST' || exit 1
organ topology --json | sed 's/^/plan /'
organ prune /tiny-qwen2 -o /tmp/out --iterations 10 --quiet >/dev/null &
pid=$!
sample=0
while [ -d /proc/$pid/task ] && kill -0 $pid 2>/dev/null; do
    sample=$((sample + 1))
    sed -n "s/^Cpus_allowed_list:/thread $sample/p" /proc/$pid/task/*/status 2>/dev/null
    sed "s/^/map $sample /" /proc/$pid/maps 2>/dev/null
    sed "s/prefer (many)/prefer-many/; s/^/numa $sample /" /proc/$pid/numa_maps 2>/dev/null
done
wait $pid
echo "status $?"
cd /tmp/out && find . -type f ! -name '*.html' ! -name '*.md' ! -name prune.json | sort | xargs sha256sum | sed 's/^/digest /'
GUEST

# Without samples, which take most of the time: a machine for each work, because each machine has 10 minutes.
for name in $names; do
    guest_run "$scratch" "$scratch/guest" -smp 48,sockets=4,cores=12 -m 3G "${nodes[@]}" >>"$scratch/work_log" < <(
        echo "cd / && . /work"
        for threads in $counts; do
            echo "work $name /tmp/out --threads $threads --memory 256M && echo \"bytes $name $threads \$(digest /tmp/out)\"; rm -rf /tmp/out"
        done
    ) || exit 1
done

# ---- the plan ----
sed -n 's/^plan //p' "$scratch/log" >"$scratch/plan.json"
judge "the plan has 48 workers on 48 CPUs" test "$(jq '[.workers[].cpu] | unique | length' "$scratch/plan.json")" = 48
judge "each worker of the plan has the node of its CPU" jq -e 'all(.workers[]; .node == (.cpu / 12 | floor))' "$scratch/plan.json" >/dev/null

# ---- threads bound to one CPU, in the sample that has most of them ----
awk '$1 == "thread" && $3 ~ /^[0-9]+$/ { cpus[$2] = cpus[$2] $3 "\n"; if (++count[$2] > most) { most = count[$2]; best = $2 } }
     END { printf "%s", cpus[best] }' "$scratch/log" | sort -n >"$scratch/threads"
jq '.workers[].cpu' "$scratch/plan.json" | sort -n >"$scratch/planned"
judge "each CPU of the plan has the one thread that is bound to it" cmp -s "$scratch/threads" "$scratch/planned"

# ---- memory: a line "SAMPLE NODE BYTES PAGES-THERE PAGES-ELSEWHERE" for each mapping that is bound to one node ----
awk 'function hex(digits, k, n) { for (k = 1; k <= length(digits); k++) n = n * 16 + index("0123456789abcdef", substr(digits, k, 1)) - 1; return n }
     $1 == "map" { split($3, ends, "-"); size[$2 " " ends[1]] = hex(ends[2]) - hex(ends[1]) }
     $1 == "numa" && match($4, /^(bind|prefer|prefer-many)(=static)?:[0-9]+$/) {
         node = $4; sub(/.*:/, "", node); there = 0; elsewhere = 0
         for (k = 5; k <= NF; k++) if ($k ~ /^N[0-9]+=/) { split(substr($k, 2), on, "="); if (on[1] == node) there += on[2]; else elsewhere += on[2] }
         print $2, node, size[$2 " " $3], there, elsewhere }' "$scratch/log" >"$scratch/memory"
judge "buffers were seen" test -s "$scratch/memory"
judge "no page of a buffer is on another node than its own" awk '$5 > 0 { bad = 1; print } END { exit bad }' "$scratch/memory"
# Takes the sample with the most pages on their nodes.
awk '{ pages[$1] += $4; if (pages[$1] > most) { most = pages[$1]; best = $1 } } END { print best + 0 }' "$scratch/memory" >"$scratch/best"
best=$(<"$scratch/best")
awk -v best="$best" '$1 == best { bytes[$2] += $3; pages[$2] += $4 } END { for (n in bytes) print n, bytes[n], pages[n] }' "$scratch/memory" |
    sort -n >"$scratch/nodes"
echo "node, bytes reserved there, pages in use there:"
cat "$scratch/nodes"
judge "every node has buffers with pages in use" test "$(awk '$3 > 0' "$scratch/nodes" | wc -l)" = 4
# 48 workers and 48 bands have scratch buffers, 12 of each on every node.
judge "nodes with the same number of workers have the same bytes" \
    awk '{ b[$1] = $2 } END { exit !(NR == 4 && b[0] > 0 && b[0] == b[1] && b[0] == b[2] && b[0] == b[3]) }' "$scratch/nodes"

# ---- the result ----
judge "organ ends well in the guest" grep -q '^status 0$' "$scratch/log"
sed -n 's/^digest //p' "$scratch/log" >"$scratch/there"
build/organ prune fixtures/tiny-qwen2 -o "$scratch/out" --iterations 10 --quiet >/dev/null &&
    (cd "$scratch/out" && find . -type f ! -name '*.html' ! -name '*.md' ! -name prune.json | sort | xargs sha256sum) >"$scratch/here"
judge "the output has the bytes that this host makes" cmp "$scratch/here" "$scratch/there"

# ---- the work of the benchmark ----
mkdir "$scratch/bin" && ln -s "$PWD/build/organ" "$scratch/bin/organ" && ln -s "$PWD/fixtures/tiny-qwen2" "$scratch/tiny-qwen2"
PATH=$scratch/bin:$PATH
. "$scratch/guest/work"
for name in $names; do
    (cd "$scratch" && work "$name" same) && here=$(digest "$scratch/same")
    rm -rf "$scratch/same"
    for threads in $counts; do
        judge "$name with $threads threads has other bytes than on this host" grep -qx "bytes $name $threads $here" "$scratch/work_log"
    done
done
echo "$passed passed, $failed failed"
((failed == 0))
