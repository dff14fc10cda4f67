#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the test suites in each of the trees named and ends with the line "N passed, N failed"; fails if anything failed, crashed, hung or
# tested nothing. `ninja test`, `ninja sanitize` and `ninja neon` call it from the root of the repository.
#
#   native    build/, which ninja has just built
#   sanitize  build/sanitize/: the same build.ninja with AddressSanitizer and UndefinedBehaviorSanitizer
#   neon      build/neon/: the same for aarch64, run in qemu; "neon?" passes it over where the tools for it are not installed
#
# SUITES="kernels cli" runs only those.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
passed=0
failed=0
failures=()

# The value of a variable or statement of build.ninja, its lines joined.
listed() { sed -e ':join' -e '/\$$/{N;s/\$\n */ /;bjoin' -e '}' build.ninja | sed -n "s/^$1 //p"; }

# Names of the test programs and of the test scripts.
programs() { listed 'build programs: phony' | tr ' ' '\n' | sed -n 's,^build/tests/,,p'; }
scripts() { for s in tests/check_*.sh; do basename "${s#tests/check_}" .sh; done; }

wanted() { [[ -z "${SUITES:-}" || " $SUITES " == *" $1 "* ]]; }

# report TREE SUITE PASSED FAILED START [NOTE]: one line, the log of a failure, the sums.
report() {
    local now=${EPOCHREALTIME/[.,]/} start=${5/[.,]/}
    local tenths=$(((now - start) / 100000))
    printf '%-9s %-10s %6d passed, %d failed %7d.%d s%s\n' "$1" "$2" "$3" "$4" $((tenths / 10)) $((tenths % 10)) "${6:+  ($6)}"
    if (($4 > 0)); then
        tail -n 200 "$scratch/log" | sed 's/^/    /'
        failures+=("$1 $2: $(complaints)")
    fi
    passed=$((passed + $3))
    failed=$((failed + $4))
}

# The first complaints of the log on one line: what Check says of a test, what a script says of a check, else its last line.
complaints() {
    { grep -E '^[^ ]+:[0-9]+:[EF]:|^FAILED|runtime error|ERROR: ' "$scratch/log" || tail -n 1 "$scratch/log"; } |
        head -n 3 | cut -c 1-240 | paste -sd ';'
}

# "PASSED FAILED" of the log: the summaries of Check, or the last line of a script.
counts() {
    awk '/^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$/ { gsub(/[^0-9 ]/, ""); bad += $3 + $4; good += $2 - $3 - $4 }
         { last = $0 }
         END { if (last ~ /^[0-9]+ passed, [0-9]+ failed$/) { split(last, n, " "); good += n[1]; bad += n[3] }
               print good + 0, bad + 0 }' "$scratch/log"
}

# suite TREE NAME COMMAND...: runs one suite. A status that contradicts the counts is a failure too.
suite() {
    local tree=$1 name=$2 start=$EPOCHREALTIME status good bad note=
    shift 2
    # A shell that was itself started in the background hands on an ignored SIGINT; the tests of interruption need it.
    env --default-signal=INT,TERM,QUIT,PIPE timeout --foreground --kill-after=10 1800 "$@" >"$scratch/log" 2>&1 </dev/null
    status=$?
    read -r good bad < <(counts)
    if ((status == 124 || status == 137)); then
        note="stopped after 1800 s or killed" bad=$((bad + 1))
    elif ((status != 0 && bad == 0)); then
        note="ended with status $status" bad=1
    elif ((good + bad == 0)); then
        note="tested nothing" bad=1
    fi
    report "$tree" "$name" "$good" "$bad" "$start" "$note"
}

# elsewhere TREE VARIABLE=VALUE...: builds the same build.ninja in build/TREE, where links stand for the folders of the source.
elsewhere() {
    local tree=$1 start=$EPOCHREALTIME
    shift
    mkdir -p "build/$tree" || return 1
    ln -sfn ../../kernels ../../formats ../../orchestrator ../../tests ../../bench ../../docs ../../fixtures "build/$tree/" || return 1
    printf '%-9s building ...\n' "$tree"
    (cd "build/$tree" && env "$@" "${NINJA:-ninja}" -f ../../build.ninja programs) >"$scratch/log" 2>&1 && return
    report "$tree" build 0 1 "$start"
    return 1
}

# in_tree TREE DIRECTORY SUITES [EMULATOR]: runs those suites in the tree.
in_tree() {
    local name emulator=${4:-}
    for name in $3; do
        wanted "$name" || continue
        pushd "$2" >/dev/null || exit 1
        if [[ -f tests/check_$name.sh ]]; then
            suite "$1" "$name" bash "tests/check_$name.sh"
        else
            # shellcheck disable=SC2086 # the emulator is a command with its options, or nothing
            suite "$1" "$name" $emulator "build/tests/$name"
        fi
        popd >/dev/null || exit 1
    done
}

native() {
    export CK_TIMEOUT_MULTIPLIER=5
    in_tree native . "$(programs) $(scripts)"
}

# Faults end a program with status 99, which none of its own exit codes is. A refused allocation is NULL, as it is outside the sanitizer.
sanitize() {
    # What was freed stays in quarantine for a while: little enough for the tests that look at how memory grows.
    export ASAN_OPTIONS=detect_leaks=1:exitcode=99:allocator_may_return_null=1:quarantine_size_mb=32 LSAN_OPTIONS=exitcode=99
    export UBSAN_OPTIONS=print_stacktrace=1:exitcode=99 CK_TIMEOUT_MULTIPLIER=20
    # At -O2 the instrumented scalar kernels alone would compile for minutes; -g1 is what a stack trace needs.
    local flags="-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    elsewhere sanitize CFLAGS="${CFLAGS:-} $flags" || return
    # What fails each call of the system once in every verb takes minutes here; it runs only where it is named.
    in_tree sanitize build/sanitize "$(programs | grep -vxE -e "${SUITES:+-}names") $(scripts | grep -vxE "house|install")"
}

# Says what keeps this machine from building and running programs for aarch64, or nothing.
neon_obstacle() {
    # shellcheck disable=SC2046,SC2086 # lists of words
    echo 'int main(void) { return 0; }' |
        "$1" -x c - -o "$scratch/probe" $(listed 'libs =') $(listed 'testlibs =') 2>&1 | grep -m 1 . && return
    # shellcheck disable=SC2086
    $2 "$scratch/probe" 2>&1 || echo "'$2' does not run programs for aarch64"
}

neon() {
    local optional=$1 cc=aarch64-linux-gnu-gcc ar=aarch64-linux-gnu-ar emulator=qemu-aarch64-static obstacle
    if [[ $(uname -m) == aarch64 ]]; then
        cc=${CC:-cc} ar=${AR:-ar} emulator=
    fi
    obstacle=$(neon_obstacle "$cc" "$emulator")
    if [[ -n $obstacle && -n $optional ]]; then
        printf '%-9s not run: %s\n' neon "$obstacle"
        return
    elif [[ -n $obstacle ]]; then
        echo "$obstacle" >"$scratch/log"
        report neon build 0 1 "$EPOCHREALTIME"
        return
    fi
    # qemu-user 7.2 can hang in fork() of a program with shared libraries; tests that fork by themselves do it seldom enough.
    export CK_TIMEOUT_MULTIPLIER=100 CK_FORK=no
    elsewhere neon CC="$cc" AR="$ar" || return
    # What is emulated for minutes although all it stands on is emulated too (forward, physarum_v2, prune, html) runs there only where it is named.
    in_tree neon build/neon "$(programs | grep -vxE -e "${SUITES:+-}(prune_calibrated|prune_imatrix|prune_bands|html_quality|names|evaluation|measure_packed)")" "$emulator"
    # The digests of the pruned fixture are those that x86-64 gives.
    if wanted bytes; then
        suite neon bytes bash -c "$emulator build/neon/build/organ prune fixtures/tiny-qwen2 -o '$scratch/neon' --quiet >/dev/null &&
            cmp '$scratch/neon/organ/prune.jsonl' tests/cli/prune_jsonl.golden && echo '1 passed, 0 failed'"
    fi
}

unset ORGAN_ISA
for tree in "$@"; do
    case $tree in
    native | sanitize) "$tree" ;;
    neon) neon "" ;;
    "neon?") neon optional ;;
    *) echo "$0: no tree '$tree'" >&2 && exit 2 ;;
    esac
done
# A log is often seen by its end alone.
if ((failed > 0)); then printf 'FAILED %s\n' "${failures[@]}"; fi
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
