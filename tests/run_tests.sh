#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the test suites of each named tree and ends with the line "N passed, N failed". It fails if a suite failed, crashed, hung or ran no test.
# `ninja test`, `test-whole`, `test-quick`, `sanitize`, `neon` and `neon-whole` call it from the root of the repository.
#
#   native    build/, which ninja has just built
#   complete  build/ too, with EFFORT=all; runs the suites of `native` and those of `complete`
#   quick     the suites of build/ whose tier is quick
#   sanitize  build/sanitize/: the same build.ninja with AddressSanitizer and UndefinedBehaviorSanitizer
#   whole     build/whole/: as sanitize, but vector kernels are instrumented too, and suites of the tree `whole` run as well
#   threads   build/threads/: with ThreadSanitizer, the suites in which threads share what they write
#   neon      build/neon/: the same for aarch64, run in qemu
#   neon-whole  build/neon/ too; runs the suites of `neon` and those of `neon-whole`
#   documents build/documents/: the scripts of `native` that use a kit, with a program that copies each document of JSON into the folder $DOCUMENTS
#
# tests/suites.tsv has a row for each suite: its trees, its tier, whether it must run alone, and the seconds that it takes natively. The script
# builds all trees first. Then it runs JOBS suites at a time, the most costly first (default: one more than there are CPUs, since many suites wait
# for a disk or another process). SUITES="kernels cli" selects suites. CONTRIBUTING.md explains EFFORT=all|some|few.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
jobs=${JOBS:-$(($(nproc) + 1))}
[[ $jobs =~ ^[1-9][0-9]{0,2}$ ]] || { echo "$0: JOBS must be a number from 1 to 999, not '$jobs'" >&2 && exit 2; }
scratch=$(mktemp -d) || exit 1
# The program synchronises its outputs, which takes a fifth of the processor time of small runs on a disk, so scripts work in memory if there is much.
# TMPDIR names another place for all suites.
memory=
available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
if [[ -z ${TMPDIR:-} && -w /dev/shm && $(($(stat -f -c '%a*%S' /dev/shm))) -ge $((8 << 30)) && ${available:-0} -ge $((16 << 20)) ]]; then
    memory=$(mktemp -d -p /dev/shm) || exit 1
fi
passed=0
failed=0
failures=()
processor_sum=0
# Queues of suites to run, and the running ones by process. An entry is "TREE|SUITE|DIRECTORY|ENVIRONMENT|COMMAND"; the last two are lists of words.
waiting=() waiting_alone=()
declare -A running=() started=() logs=()
number=0

# Each suite is the leader of a process group, which is killed with it; its files are in $scratch.
clean_up() {
    if ((${#running[@]})); then kill -TERM "${!running[@]}" 2>/dev/null; fi
    wait
    chmod -R u+w "$scratch" ${memory:+"$memory"} 2>/dev/null
    rm -rf "$scratch" ${memory:+"$memory"}
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Prints the value of a variable or the list of a statement of the build files with its lines joined.
listed() { sed -e ':join' -e '/\$$/{N;s/\$\n */ /;bjoin' -e '}' build.ninja tests/build.ninja | sed -n "s/^$1 //p"; }

# The table of suites.
table=tests/suites.tsv
# Prints a column (1: suite, 2: trees, 3: tier, 4: exclusive, 5: cost) of the row of a suite.
column() { awk -F '\t' -v suite="$1" -v column="$2" '$1 == suite { print $column }' "$table"; }

# suites_of TREE: prints the suites whose row names the tree, or those of SUITES. Under sanitizers it leaves out a suite of SUITES whose row names
# neither `sanitize` nor `whole`, because such a suite examines the native build.
suites_of() {
    local name trees
    if [[ -z ${SUITES:-} ]]; then
        awk -F '\t' -v tree="$1" '/^[^#]/ && ","$2"," ~ ","tree","' "$table" | cut -f 1
        return
    fi
    for name in $SUITES; do
        trees=$(column "$name" 2)
        if [[ -z $trees ]]; then echo "$0: $table has no suite '$name'" >&2 && return 2; fi
        [[ $1 == sanitize && ! $trees =~ sanitize|whole ]] || echo "$name"
    done
}

# report TREE SUITE PASSED FAILED START LOG [NOTE]: prints the result of a suite and the log of a failure, and adds up. It prints processor time because
# wall time depends on other load.
report() {
    local now=${EPOCHREALTIME/[.,]/} start=${5/[.,]/} processor
    local tenths=$(((now - start) / 100000))
    processor=$(processor_time "${6%.log}.times")
    printf '%-9s %-16s %6d passed, %d failed %6d.%d s, %6.1f s of processor%s\n' "$1" "$2" "$3" "$4" $((tenths / 10)) $((tenths % 10)) \
        "$processor" "${7:+  ($7)}"
    processor_sum=$(awk "BEGIN { print $processor_sum + $processor }")
    printf '%6.1f s  %s %s\n' "$processor" "$1" "$2" >>"$scratch/costs"
    if (($4 > 0)); then
        tail -n 2000 "$6" | sed 's/^/    /'
        failures+=("$1 $2: $(complaints "$6")")
    fi
    passed=$((passed + $3))
    failed=$((failed + $4))
}

# Prints the seconds of processor of finished children, from the second line of bash's `times`.
processor_time() {
    [[ -f $1 ]] || { echo 0 && return; }
    tr 'ms' '  ' <"$1" | awk 'NR == 2 { sum = 60 * $1 + $2 + 60 * $3 + $4 } END { print sum + 0 }'
}

# Prints the first failures of a log on one line: those of Check, of a script, or else the last line.
complaints() {
    { grep -aE '^[^ ]+:[0-9]+:[EF]:|^FAILED|runtime error|ERROR: ' "$1" || tail -n 1 "$1"; } |
        head -n 3 | cut -c 1-240 | paste -sd ';'
}

# Prints "PASSED FAILED" from the summaries of Check in the log, or from the last line of a script.
counts() {
    awk '/^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$/ { gsub(/[^0-9 ]/, ""); bad += $3 + $4; good += $2 - $3 - $4 }
         { last = $0 }
         END { if (last ~ /^[0-9]+ passed, [0-9]+ failed$/) { split(last, n, " "); good += n[1]; bad += n[3] }
               print good + 0, bad + 0 }' "$1"
}

# later TREE SUITE DIRECTORY ENVIRONMENT COMMAND: adds a suite to the queue.
later() {
    local entry
    printf -v entry '%s|%s|%s|%s|%s' "$@"
    if [[ $(column "$2" 4) == alone ]]; then waiting_alone+=("$entry"); else waiting+=("$entry"); fi
}

# start ENTRY: starts a suite with its own temporary directory.
start() {
    local tree name directory environment command place files
    IFS='|' read -r tree name directory environment command <<<"$1"
    place=$scratch/$((++number)) files=$scratch/$number
    if [[ -n $memory && $command == *"bash "* ]]; then files=$memory/$number; fi
    mkdir "$files" || exit 1
    # bash makes background processes ignore SIGINT, but the tests of interruption need its default.
    # shellcheck disable=SC2086 # lists of words
    (cd "$directory" && TMPDIR=$files exec env --default-signal=INT,TERM,QUIT,PIPE $environment timeout --kill-after=10 1800 \
        bash -c '"$@"; status=$?; times >"$0"; exit $status' "$place.times" $command) \
        >"$place.log" 2>&1 </dev/null &
    running[$!]=$1
    started[$!]=$EPOCHREALTIME
    logs[$!]=$place.log
}

# finish_one: waits for a suite and reports it. An exit status that contradicts the counts is a failure as well.
finish_one() {
    local process status good bad tree name log files note=
    wait -n -p process "${!running[@]}"
    status=$?
    if [[ -z ${process:-} ]]; then # bash forgets those that a signal ended while it was busy
        for process in "${!running[@]}"; do kill -0 "$process" 2>/dev/null || break; done
        wait "$process"
        status=$?
    fi
    IFS='|' read -r tree name _ <<<"${running[$process]}"
    unset "running[$process]"
    log=${logs[$process]}
    read -r good bad < <(counts "$log")
    if ((status == 124 || status == 137)); then
        note="stopped after 1800 s or killed" bad=$((bad + 1))
    elif ((status != 0 && bad == 0)); then
        note="ended with status $status" bad=1
    elif ((good + bad == 0)); then
        note="tested nothing" bad=1
    fi
    report "$tree" "$name" "$good" "$bad" "${started[$process]}" "$log" "$note"
    files=${log%.log}
    [[ -d $files || -z $memory ]] || files=$memory/${files##*/}
    chmod -R u+w "$files" 2>/dev/null
    rm -rf "$files"
}

# pool COUNT ENTRY...: runs the suites, COUNT at a time.
pool() {
    local most=$1 entry
    shift
    for entry in "$@"; do
        while ((${#running[@]} >= most)); do finish_one; done
        start "$entry"
    done
    while ((${#running[@]})); do finish_one; done
}

# Prints the queue, the most costly suite first.
in_order() {
    local entry name
    for entry in "$@"; do
        name=${entry#*|} name=${name%%|*}
        printf '%s|%s\n' "$(column "$name" 5)" "$entry"
    done | sort -s -n -r -t '|' -k 1,1 | cut -d '|' -f 2-
}

# script_of SUITE: its script, or nothing for a suite that is a program.
script_of() { find tests/ -name "check_$1.sh"; }

# tested_by SUITE: what the first sentence of the comment of its source says.
tested_by() {
    { script_of "$1" | grep . || find tests/ -name "check_$1.c"; } | head -n 1 |
        xargs -r sed -nE '/^(#| \*) [^!]/{/SPDX/!{s/^(#| \*) //;s/\. .*//;p;q}}' | cut -c -160
}

# targets TREE: the programs of the tree, or those that SUITES names.
targets() {
    local name
    [[ -n ${SUITES:-} ]] || { echo "programs-$1" && return; }
    echo tools
    for name in $SUITES; do [[ -n $(script_of "$name") ]] || echo "build/tests/$name"; done
}

# elsewhere FOLDER TREE VARIABLE=VALUE...: builds the programs of the tree by the same build.ninja in build/FOLDER, with links to the source folders.
elsewhere() {
    local folder=$1 tree=$2 start=$EPOCHREALTIME
    shift 2
    mkdir -p "build/$folder" || return 1
    ln -sfn ../../packaging ../../include ../../kernels ../../formats ../../orchestrator ../../tests ../../bench ../../docs ../../fixtures "build/$folder/" || return 1
    printf '%-9s building ...\n' "$tree"
    # shellcheck disable=SC2086 # a list of words
    (targets=$(targets "$tree") && cd "build/$folder" && env "$@" "${NINJA:-ninja}" -f ../../build.ninja $targets) >"$scratch/log" 2>&1 && return
    report "$tree" build 0 1 "$start" "$scratch/log"
    return 1
}

# in_tree TREE DIRECTORY SUITES ENVIRONMENT [EMULATOR]: queues the suites for the tree. An emulated tree runs programs. It runs a script only if the
# script's row names the tree; the script then starts the emulator itself, since an emulated program cannot start another one.
in_tree() {
    local name script emulator=${5:-}
    for name in $3; do
        script=$(script_of "$name")
        if [[ -n $script && $emulator == *qemu* ]]; then
            [[ ,$(column "$name" 2), == *",$1,"* ]] && later "$1" "$name" . "$4" "bash $script"
        elif [[ -n $script ]]; then
            later "$1" "$name" "$2" "$4" "${emulator:+$emulator }bash $script"
        else
            later "$1" "$name" "$2" "$4" "${emulator:+$emulator }build/tests/$name"
        fi
    done
}

# Queues the suites of the trees `native` and `complete`.
native() {
    local suites effort=some
    [[ $1 == native ]] || effort=all
    suites=$({ suites_of native && { [[ $1 == native || -n ${SUITES:-} ]] || suites_of complete; }; }) || exit 2
    # The programs of the tree are built. SUITES may name one of another tree.
    # shellcheck disable=SC2046 # a list of words
    [[ -z ${SUITES:-} ]] || "${NINJA:-ninja}" $(targets "$1") || exit
    in_tree "$1" . "$suites" "CK_TIMEOUT_MULTIPLIER=30 EFFORT=${EFFORT:-$effort}"
}

quick() { in_tree native . "$(awk -F '\t' '$3 == "quick" { print $1 }' "$table")" "CK_TIMEOUT_MULTIPLIER=30 EFFORT=few"; }

# The sanitizers exit with status 99, which the program itself never uses. A refused allocation returns NULL, as it does without a sanitizer.
sanitize() {
    local environment suites
    suites=$({ suites_of sanitize && { [[ $1 != whole || -n ${SUITES:-} ]] || suites_of whole; }; }) || exit 2
    # A small quarantine of freed memory, because some tests measure how memory grows.
    environment=ASAN_OPTIONS=detect_leaks=1:exitcode=99:allocator_may_return_null=1:quarantine_size_mb=32
    # With strict_memcmp the sanitizer checks both areas to their ends even if their first bytes differ. This takes most of the time of `audit`, which
    # compares rows.
    [[ $1 == whole ]] || environment+=:strict_memcmp=0
    # CK_FORK=no runs all tests in one process, which searches for leaks once at its end. Searching after each test takes longer than most tests.
    environment+=" LSAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=print_stacktrace=1:exitcode=99 CK_TIMEOUT_MULTIPLIER=60 CK_FORK=no EFFORT=${EFFORT:-few}"
    # The sanitizers check more than _FORTIFY_SOURCE and the stack protector do. At -O2 instrumented code takes half as long again to compile, which pays
    # off for the kernels only.
    local flags="-Og -U_FORTIFY_SOURCE -fno-stack-protector -fno-stack-clash-protection -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    # The vector tables are the bodies of the scalar table over intrinsics, so undefined behaviour of a body shows in the scalar table. Checking
    # addresses of tables would double the time to compile and run the tree; the suites of the kernels place inaccessible pages around each array, also
    # without a sanitizer.
    local vectors="-fno-sanitize=undefined,address -O2" scalar="-fno-sanitize=address -O2" tables=
    if [[ $1 == whole ]]; then vectors="-fno-sanitize=undefined -O2" scalar=-O2; else environment+=" KERNEL_TABLES=scalar"; fi
    # Tables without sanitizers are copied from build/ if they are up to date there.
    if [[ $1 != whole && $("${NINJA:-ninja}" -n build/kernels.a) == *"no work to do"* ]]; then tables=$PWD/build/kernels; fi
    # Half a million addresses in the descriptions of checks would be relocated at each start of a program whose own address is random, which takes a third of
    # the time of `organ --version`.
    elsewhere "$1" "$1" CFLAGS="${CFLAGS:-} $flags" CFLAGS_SCALAR="$scalar" CFLAGS_SIMD="$vectors" LDFLAGS="${LDFLAGS:-} -no-pie" TABLES="$tables" || return
    in_tree "$1" "build/$1" "$suites" "$environment"
}

threads() {
    # ThreadSanitizer does not start if addresses are more random than it expects, so the address space is not randomised. It covers C only, since threads
    # share data only above the kernels.
    local environment="TSAN_OPTIONS=exitcode=99:allocator_may_return_null=1 CK_TIMEOUT_MULTIPLIER=60 EFFORT=${EFFORT:-few}" suites
    suites=$(suites_of threads) || exit 2
    elsewhere threads threads CFLAGS="${CFLAGS:-} -O1 -U_FORTIFY_SOURCE -fsanitize=thread -fno-omit-frame-pointer" CFLAGS_SCALAR=-O2 \
        CFLAGS_SIMD="-fno-sanitize=thread -O2" || return
    in_tree threads build/threads "$suites" "$environment" "setarch -R"
}

# The tree has a program of its own and links to everything else of build/, for the scripts.
documents() {
    local part name script suites=
    "${NINJA:-ninja}" programs-native build/documents/build/organ build/liborgan.so build/man/organ.1 build/completion/organ || exit
    for part in packaging include kernels formats orchestrator tests bench docs fixtures *.md *.cff LICENSE debian build.ninja; do
        ln -sfn "$PWD/$part" "build/documents/$part" || exit 1
    done
    for part in build/*; do
        [[ $part =~ ^build/(organ|documents|sanitize|whole|threads|neon)$ ]] || ln -sfn "$PWD/$part" "build/documents/$part" || exit 1
    done
    for name in $(suites_of native); do
        script=$(script_of "$name")
        [[ -z $script ]] || ! grep -q '/kit/[a-z]*_kit\.sh"' "$script" || suites+=" $name"
    done
    in_tree documents build/documents "$suites" "EFFORT=${EFFORT:-some} DOCUMENTS=$DOCUMENTS MESSAGES="
}

# Prints the reason if this machine cannot build and run programs for aarch64, else nothing.
neon_obstacle() {
    # shellcheck disable=SC2046,SC2086 # lists of words
    grep -m 1 . < <("$1" -x c - -o "$scratch/probe" $(listed 'libs =') $(listed 'testlibs =') 2>&1 <<<'int main(void) { return 0; }') && return
    # shellcheck disable=SC2086
    $2 "$scratch/probe" 2>&1 || echo "'$2' does not run programs for aarch64"
}

neon() {
    local cc=aarch64-linux-gnu-gcc ar=aarch64-linux-gnu-ar emulator=qemu-aarch64-static obstacle suites environment
    if [[ $(uname -m) == aarch64 ]]; then
        cc=${CC:-cc} ar=${AR:-ar} emulator=
    fi
    obstacle=$(neon_obstacle "$cc" "$emulator")
    if [[ -n $obstacle ]]; then
        echo "$obstacle" >"$scratch/log"
        report neon build 0 1 "$EPOCHREALTIME" "$scratch/log"
        return
    fi
    # Emulated programs are not debugged, so they have no debug information. The MPI compiler builds for this machine only.
    elsewhere neon "$1" CC="$cc" AR="$ar" CFLAGS="${CFLAGS:-} ${emulator:+-g0}" ${emulator:+MPICC=none} || return
    suites=$({ suites_of neon && { [[ $1 == neon || -n ${SUITES:-} ]] || suites_of neon-whole; }; }) || exit 2
    # qemu-user 7.2 can hang in fork() of a program with shared libraries, so Check does not fork; tests that fork themselves do so rarely enough. If the
    # emulator computed pointer authentication as a CPU does, that would take most of its time.
    environment="CK_TIMEOUT_MULTIPLIER=100 CK_FORK=no EFFORT=${EFFORT:-${emulator:+few}} EMULATOR=$emulator"
    in_tree neon build/neon "$suites" "${emulator:+QEMU_CPU=max,pauth-impdef=on }$environment" "$emulator"
}

unset ORGAN_ISA
export MESSAGES=$scratch/messages
mkdir "$MESSAGES"
for tree in "$@"; do
    case $tree in
    native | complete) native "$tree" ;;
    sanitize | whole) sanitize "$tree" ;;
    quick | threads | documents) "$tree" ;;
    neon | neon-whole) neon "$tree" ;;
    *) echo "$0: no tree '$tree'" >&2 && exit 2 ;;
    esac
done
# Lists the files in the root and in fixtures/. Suites may write into their TMPDIR only.
standing() { find . fixtures/ -maxdepth 2 -path ./build -prune -o -path ./.git -prune -o -print | LC_ALL=C sort -u; }
standing >"$scratch/standing"
began=$EPOCHREALTIME
mapfile -t sorted < <(in_order "${waiting[@]}")
pool "$jobs" "${sorted[@]}"
mapfile -t sorted < <(in_order "${waiting_alone[@]}")
pool "$jobs" "${sorted[@]}"
# Suites check exit codes and words. With BLESS=yes, as for a release, the whole messages that scripts recorded are written into a table for review.
if [[ ${BLESS:-} == yes ]] && compgen -G "$MESSAGES/*.rows" >/dev/null; then tests/messages.sh "$MESSAGES"; fi
standing | LC_ALL=C comm -13 "$scratch/standing" - >"$scratch/left.log"
sed -i 's/^/left behind: /' "$scratch/left.log"
report all left-overs $(($(wc -l <"$scratch/left.log") == 0)) $(($(wc -l <"$scratch/left.log") > 0)) "$began" "$scratch/left.log"
# Prints the failures again at the end, since only the end of a log may be visible.
if ((failed > 0)); then printf 'FAILED %s\n' "${failures[@]}"; fi
echo "The 20 suites that took most processor time:"
sort -n -r "$scratch/costs" | head -n 20 | while read -r seconds _ tree name; do
    printf '%6.1f s  %-9s %-16s %s\n' "$seconds" "$tree" "$name" "$(tested_by "$name")"
done
printf '%.0f s, %.0f s of processor\n' "$SECONDS" "$processor_sum"
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
