#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ topology: output, documents, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"
machines=$(dirname "$model")/topologies

for name in 2x24 4x12 no_memory hybrid; do ln -s "$machines/$name.xml" "$name.xml"; done
ends 0 topology --import no_memory.xml
matches topology/topology ../out
ends 0 topology --import hybrid.xml --threads 9 --json
matches_briefly topology/topology_json ../out
ends 0 topology --import 4x12.xml --threads 6 --html page.html
prints "  6 workers"
judge "the page has no table of workers" grep -q "buffers on" page.html

# ---- this machine: the plan uses the CPUs of the affinity mask ----
cpus=$(sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status)
one=${cpus%%[,-]*}
here="taskset -c $one organ topology"
taskset -c "$one" "$organ" topology --json >../out 2>../err
judge "ends with $?" test $? = 0
judge "the plan is not that CPU alone" test "$(jq -c '[.machine.cores, .threads, [.workers[].cpu]]' ../out)" = "[1,1,[$one]]"

# ---- errors ----
refused 2 "--threads" topology --threads 0
refused 2 "'--import'" topology --imports x
refused 4 "nowhere.xml" topology --import nowhere.xml
refused 3 "directory" topology --import .
# hwloc 2.9 leaks the object that it was reading when a file is truncated.
head -c 3000 2x24.xml >cut.xml
printf 'leak:%s\n' hwloc_alloc_setup_object hwloc_bitmap_alloc >../hwloc.supp
LSAN_OPTIONS="${LSAN_OPTIONS:-}:suppressions=$PWD/../hwloc.supp:print_suppressions=0" \
    refused 3 "cut.xml" topology --import cut.xml
: >empty.xml
refused 3 "empty.xml" topology --import empty.xml
refused 3 "tiny-qwen2/config.json" topology --import tiny-qwen2/config.json
finish
