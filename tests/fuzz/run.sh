#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fuzzes parsers with clang's libFuzzer. Each word below is a target of ninja.
#
#   fuzz       runs TARGET, or each target of targets.c in turn, for SECONDS each (default 60), from fixtures/fuzz and the inputs of earlier runs. A
#              memory error, undefined behaviour, a leak, an allocation above 256 MiB, 1 GiB in all or 10 s for one input ends the run of a target;
#              the input is kept in $FUZZ_DIR/faults. Add it to fixtures/fuzz when the fault is fixed. The next target runs all the same.
#   totals     prints executions, edges and faults of each target over all runs: those in totals.tsv and those in $FUZZ_DIR/runs.tsv. FOLD=yes
#              moves the latter into totals.tsv.
#   coverage   replays all inputs and prints the lines and branches of each file that they reach (llvm-cov); $FUZZ_DIR/coverage.txt has the count
#              of each source line. TARGET and FUZZ_DIR work as above.
#   memory     fuzzes with MemorySanitizer, which reports the use of uninitialised memory. Memory that libraries allocate counts as initialised
#              (library_memory.c explains it). Kernels are the scalar ones; the targets http_answers and http_requests are left out, because
#              their libraries call back into organ.
#   corpora    minimises the inputs that fuzzing found into fixtures/fuzz/TARGET.pack.gz, at most 185 KB each before gzip.
#
# FUZZ_DIR (build/fuzz) contains corpora, logs and faults; CLANG is the compiler.
set -euo pipefail
seconds=$SECONDS # bash goes on from what the environment says
cd "$(dirname "$0")/../.."
place=${FUZZ_DIR:-$PWD/build/fuzz}
clang=${CLANG:-clang}
mkdir -p "$place/faults" "$place/corpus" "$place/logs"

# built TREE CFLAGS WHAT: builds WHAT with clang in a separate tree.
built() {
    local tree=build/$1
    mkdir -p "$tree"
    ln -sfn ../../{packaging,include,kernels,formats,orchestrator,tests,bench,docs,fixtures} "$tree/"
    # Checking vectors in the SIMD tables would take minutes; undefined behaviour of a body shows in the scalar table.
    (cd "$tree" && CC=$clang CFLAGS="-g1 $2" CFLAGS_SCALAR=-O2 CFLAGS_SIMD="-fno-sanitize=undefined -O2" "${NINJA:-ninja}" -f ../../build.ninja "$3" >"$place/logs/build" 2>&1) || {
        tail -n 40 "$place/logs/build" >&2
        echo "the targets were not built: clang and libclang-rt-dev are needed, and what organ itself needs" >&2
        exit 1
    }
}

# _FORTIFY_SOURCE is switched off, because its checks would hide errors from the sanitizers.
build_targets() {
    built fuzzing "-O1 -U_FORTIFY_SOURCE -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all" build/fuzz_targets
    targets=build/fuzzing/build/fuzz_targets
}

build_memory() {
    built memory "-O1 -U_FORTIFY_SOURCE -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,memory -fsanitize-memory-track-origins -fno-sanitize-recover=all" build/fuzz_memory
    targets=build/memory/build/fuzz_memory
    export MSAN_OPTIONS=poison_in_malloc=0:poison_in_free=0 ORGAN_ISA=scalar
}

# Prints the table of targets.c, or the row of TARGET: name, longest input, dictionary.
table() {
    local rows
    rows=$(TARGET=list "$targets" | awk -v name="${TARGET:-}" 'name == "" || $1 == name')
    [[ -n $rows ]] || { echo "there is no target ${TARGET:-}" >&2 && exit 2; }
    echo "$rows"
}

# folders NAME: prints the folders of its inputs: those found by fuzzing, those written by hand, those of the pack.
folders() {
    mkdir -p "$place/corpus/$1" "$place/packed/$1"
    if [[ -e fixtures/fuzz/$1.pack.gz ]]; then build/fuzz_pack unpack "$place/packed/$1" "fixtures/fuzz/$1.pack.gz"; fi
    echo "$place/corpus/$1 fixtures/fuzz/$1 $place/packed/$1"
}

# run NAME LONGEST DICTIONARY OPTION...: runs libFuzzer with our limits; the target's files are in memory.
run() {
    local name=$1 longest=$2 words=$3
    shift 3
    TARGET=$name TMPDIR=$files "$targets" -max_len="$longest" ${words:+-dict="$words"} -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 "$@"
}

# note NAME SECONDS FAULTS LOG: prints a row: target, executions, edges, features, seconds, faults.
note() {
    awk -v name="$1" -v seconds="$2" -v faults="$3" '
        match($0, /cov: [0-9]+/) { edges = substr($0, RSTART + 5, RLENGTH - 5) }
        match($0, /ft: [0-9]+/) { features = substr($0, RSTART + 4, RLENGTH - 4) }
        /^stat::number_of_executed_units:/ { executions = $2 }
        END { print name "\t" executions + 0 "\t" edges + 0 "\t" features + 0 "\t" seconds "\t" faults }' "$place/logs/$1" | tee -a "$4"
}

fuzz() {
    build_targets
    run_all "$place/runs.tsv" "$(table)"
}

memory() {
    build_memory
    run_all "$place/memory_runs.tsv" "$(table | grep -v '^http_')"
}

# run_all LOG ROWS: runs each target for its seconds.
run_all() {
    local name longest words began status faults=0
    ((seconds > 0)) || seconds=60
    while read -r name longest words; do
        began=$SECONDS status=0
        # shellcheck disable=SC2046
        run "$name" "$longest" "$words" -max_total_time="$seconds" -artifact_prefix="$place/faults/$name-" -print_final_stats=1 $(folders "$name") \
            >"$place/logs/$name" 2>&1 </dev/null || status=$?
        note "$name" $((SECONDS - began)) $((status != 0)) "$1"
        ((status == 0)) && continue
        faults=$((faults + 1))
        grep -E -m 5 -A 12 'ERROR: |SUMMARY: |runtime error|does not hold|ALARM' "$place/logs/$name" | head -n 60
        echo "$name: a fault: $place/logs/$name, its input: $(sed -n 's/.*Test unit written to //p' "$place/logs/$name")"
    done <<<"$2"
    ((faults == 0))
}

coverage() {
    local name longest words
    built coverage "-O1 -fprofile-instr-generate -fcoverage-mapping -fsanitize=fuzzer-no-link" build/fuzz_targets
    targets=build/coverage/build/fuzz_targets
    rm -f "$place"/*.profraw
    export LLVM_PROFILE_FILE=/dev/null
    while read -r name longest words; do
        # shellcheck disable=SC2046
        LLVM_PROFILE_FILE=$place/$name.profraw run "$name" "$longest" "$words" -runs=0 $(folders "$name") >"$place/logs/$name-coverage" 2>&1 </dev/null
    done < <(table)
    "${LLVM_PROFDATA:-llvm-profdata}" merge -o "$place/coverage.profdata" "$place"/*.profraw
    local options=(-instr-profile="$place/coverage.profdata" -ignore-filename-regex='(^|/)(fuzz|cli|surgery|forward|ranks|machine|command)/')
    "${LLVM_COV:-llvm-cov}" show "$targets" "${options[@]}" >"$place/coverage.txt"
    "${LLVM_COV:-llvm-cov}" report "$targets" "${options[@]}" |
        awk 'NF == 13 && ($10 ~ /%/) { printf "%-50s %9s of %6d lines %9s of %6d branches\n", $1, $10, $8, $13, $11 }'
}

# Prints one row for all runs of a target: the sums of executions and seconds, the maxima of edges and features.
sums() {
    cat tests/fuzz/totals.tsv "$place/runs.tsv" 2>/dev/null | awk -F '\t' '
        $1 == "target" || NF < 6 { next }
        { executions[$1] += $2; seconds[$1] += $5; faults[$1] += $6 }
        $3 > edges[$1] { edges[$1] = $3 }
        $4 > features[$1] { features[$1] = $4 }
        END { for (name in executions) printf "%s\t%.0f\t%d\t%d\t%d\t%d\n", name, executions[name], edges[name], features[name], seconds[name], faults[name] }' | LC_ALL=C sort
}

totals() {
    { printf 'target\texecutions\tedges\tfeatures\tseconds\tfaults\n' && sums; } >"$place/totals"
    awk -F '\t' '{ printf "%-16s %14s %7s %9s %9s %7s\n", $1, $2, $3, $4, $5, $6; executions += $2; seconds += $5; faults += $6 }
        END { printf "%-16s %14.0f %7s %9s %9d %7d\n", "all", executions, "", "", seconds, faults }' "$place/totals"
    if [[ ${FOLD:-} == yes ]]; then mv "$place/totals" tests/fuzz/totals.tsv && rm -f "$place/runs.tsv"; fi
}

corpora() {
    local name longest words
    build_targets
    while read -r name longest words; do
        rm -rf "$place/least" && mkdir "$place/least"
        # shellcheck disable=SC2046
        run "$name" "$longest" "$words" -merge=1 "$place/least" $(folders "$name") >"$place/logs/$name-merge" 2>&1 </dev/null || {
            tail -n 20 "$place/logs/$name-merge" >&2
            exit 1
        }
        rm -rf "$place/corpus/$name" && mv "$place/least" "$place/corpus/$name"
        build/fuzz_pack pack 185000 "$place/corpus/$name" "fixtures/fuzz/$name.pack"
        gzip -9nf "fixtures/fuzz/$name.pack"
    done < <(table)
}

files=$(mktemp -d -p /dev/shm organ-fuzz.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$files"' EXIT
trap 'exit 143' TERM INT
case ${1:-} in
fuzz | totals | coverage | memory | corpora) "$1" ;;
*) echo "$0: fuzz, totals, coverage, memory or corpora" >&2 && exit 2 ;;
esac
