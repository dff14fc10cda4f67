# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # variables are for the scripts that read this in
# Functions for scripts that run the program and check its output. Such a script begins with `. "$(dirname "$0")/../kit/cli_kit.sh"`, then works in
# an empty directory with links to the fixtures, and ends with `finish`. The golden files are in tests/cli/VERB/; `--bless` writes them again.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
top=$PWD
organ=$top/build/organ
golden=$PWD/tests/cli
model=$PWD/fixtures/tiny-qwen2
suite=${0##*/check_} suite=${suite%.sh}
bless=false
[[ ${1:-} == --bless ]] && bless=true
. tests/kit/counts.sh
# Only the script itself removes $scratch, not a subshell that a signal ends.
trap '[[ $BASHPID == "$$" ]] && chmod -R u+w "$scratch" && rm -rf "$scratch"' EXIT
export LC_ALL=C.UTF-8 COLUMNS=80 TERM=dumb
unset ORGAN_ISA NO_COLOR
here=
mkdir "$scratch/area" && cd "$scratch/area" || exit 1
ln -s "$model" tiny-qwen2
ln -s "$model-gguf" tiny-qwen2-gguf

# CONTRIBUTING.md has the meaning of EFFORT. sampled: whether this tree takes samples of what the native tree does whole; its first success prints a line that
# says so. in_part: whether this run leaves out what only `ninja test-whole` does.
sampled() {
    [[ ${EFFORT:-some} == few ]] || return
    [[ -n ${sampled_before:-} ]] || echo "EFFORT=few: samples of what the native tree does whole"
    sampled_before=yes
}
in_part() { [[ ${EFFORT:-some} != all ]] && partly=yes; }

# run ARGS...: the program's output is in ../out and ../err, its exit code in $code.
run() {
    here="organ $*"
    "$organ" "$@" >../out 2>../err </dev/null
    code=$?
}

# mentions TEXT FILE: whether the file contains the text. A builtin searches short files, since a process takes longer to start.
mentions() {
    local begin=
    IFS= read -rN 8192 begin <"$2"
    if ((${#begin} < 8192)); then [[ $begin == *"$1"* ]]; else grep -qF -- "$1" "$2"; fi
}

# ends CODE ARGS...: runs, and checks how it ends. A table that names a member which its document does not have shows it so.
ends() {
    run "${@:2}"
    if mentions "(no member)" ../out; then bad "a field of a table names what the document does not have" ../out; fi
    if ((code == $1)); then good; else bad "ends with $code instead of $1" ../err; fi
}

# make_never DIRECTORY: fixtures/tiny-moe with an expert that the router never chooses. In layer 1, experts 0 to 3 get the router's row of expert 5:
# of equal ones the lower numbers are chosen, four of them.
make_never() {
    local shard offset row=$((192 * 2)) e
    cp -rL "${model%/*}/tiny-moe" "$1" && chmod -R u+w "$1"
    read -r shard offset < <("$organ" inspect "$1" --tensors --json --select model.layers.1.mlp.gate.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
    dd if="$1/$shard" of=../row bs=1 skip=$((offset + 5 * row)) count=$row status=none
    for e in 0 1 2 3; do dd if=../row of="$1/$shard" bs=1 seek=$((offset + e * row)) conv=notrunc status=none; done
}

# refits_are_audited DONOR OUT TENSOR: an audit without --refitted fails if a byte of a refitted tensor of the copy OUT changes afterwards, and if its
# report has no digests.
refits_are_audited() {
    local shard offset byte report
    cp -r "$2" audited
    read -r shard offset < <("$organ" inspect audited --tensors --json --select "$3" | jq -r '.tensors[0] | "\(.file) \(.offset)"')
    byte=$(od -An -tu1 -j "$offset" -N 1 "audited/$shard")
    # shellcheck disable=SC2059 # the format is one escape
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="audited/$shard" bs=1 seek="$offset" conv=notrunc status=none
    ends 1 audit "$1" audited --quiet
    prints "1 problem"
    says "tensor '$3': its bytes have the XXH3"
    rm -r audited && cp -r "$2" audited
    for report in audited/organ/{layers,experts,width}.json; do
        if [[ -e $report ]]; then jq 'del(.refitted)' "$report" >../report && cp ../report "$report"; fi
    done
    COLUMNS=300 ends 1 audit "$1" audited --quiet
    prints "(a refit changes such weights: --refitted counts them)"
    ends 0 audit "$1" audited --quiet --refitted
    rm -r audited
}

# record LINE: adds an error, a warning or a note to those that tests/messages.sh may write into tests/messages.tsv after a run of suites. Lines of
# progress differ from run to run.
record() {
    local row=${here//[$'\n\t']/ }$'\t'$1
    [[ -n ${MESSAGES:-} && $1 =~ ^(error|warning|note):\  ]] || return 0
    row=${row//"$scratch"/@SCRATCH@}
    printf '%s\t%s\n' "$suite" "${row//"$top"/@TREE@}" >>"$MESSAGES/$suite.rows"
}

# says THING: checks that a line of stderr names the thing: a path, an option, a tensor, a key, a value. Its sentence is in tests/messages.tsv.
says() {
    local line
    if line=$(grep -m 1 -F -- "$1" ../err); then good; else bad "stderr does not name '$1'" ../err; fi
    record "$line"
}
# prints TEXT: checks that stdout contains the text.
prints() { if mentions "$1" ../out; then good; else bad "stdout does not have '$1'" ../out; fi; }

# Prints every path in the test's directory with size and times, in the order of the directories. A rejected run must not change it.
# cards PAGE: prints the results at the top of a page, a line "VALUE: MEANING" for each.
cards() { grep -o '<li><b>[^<]*</b> <span>[^<]*' "$1" | sed -E 's/<li><b>(.*)<\/b> <span>/\1: /'; }
inventory() { find . -mindepth 1 -printf '%p %y %s %T@ %i\n'; }

# refused CODE THING ARGS...: the run exits with CODE, its error names the thing (as in `says`), it prints nothing else and changes no file.
refused() {
    local before line
    before=$(inventory)
    ends "$1" "${@:3}"
    [[ -s ../out ]] && bad "something is on stdout" ../out
    while IFS= read -r line && [[ $line == "warning: "* || $line == "note: "* ]]; do :; done <../err
    if [[ $line == "error: "*"$2"* ]]; then good; else bad "after notes stderr does not begin with an error that names '$2'" ../err; fi
    record "$line"
    if [[ $(inventory) == "$before" ]]; then good; else bad "something was left behind or changed" <(inventory); fi
}

# hold ARGS...: starts a run as process $runner. Its log, with a line for each tensor, is written to a pipe with room for $log_room bytes: the run waits
# there and cannot end, whatever the speed of the run and of this script. `let_go` reads the log into ../err and waits for the end; the exit code is in $code.
hold() {
    local most progress=(--progress lines)
    [[ " $* " == *" --progress "* || $1 == serve ]] && progress=() # serve shows no progress
    mkfifo ../pipe && exec 3<>../pipe || return
    most=$(LC_ALL=C dd if=/dev/zero of=../pipe bs=512 oflag=nonblock 2>&1 | sed -n 's/^\([0-9]*\) bytes.*/\1/p') # of pages, which may be few, or larger
    head -c "$most" <&3 >/dev/null
    head -c $((most - ${log_room:-300})) /dev/zero >&3
    env --default-signal=INT,TERM,HUP "$organ" "$@" "${progress[@]}" >../out 2>&3 &
    runner=$!
}
let_go() {
    exec 4<../pipe 3>&-
    cat <&4 | tr -d '\0' >../err
    wait $runner
    code=$?
    exec 4<&-
    rm ../pipe
}
is_over() { ! kill -0 $runner 2>/dev/null; }

# hold_at JOURNAL ARGS...: starts a verb and holds it with tests/kit/log_gate.c after the journal has grown. The verb runs with one thread: the log is in the
# order of the tensors, so while one thread is late with the next tensor of the log, others can process all later ones, and the held run has only its end
# left. A run without a log could not be held, so --quiet is left out. `go_on` lets it end; the exit code is in $code, its process is in ../err.pid.
hold_at() {
    local journal=$1 word words=() progress=(--progress lines)
    for word in "${@:2}"; do [[ $word == --quiet ]] || words+=("$word"); done
    set -- "${words[@]}"
    [[ " $* " == *" --threads"[\ =]* ]] || set -- "$@" --threads 1
    [[ " $* " == *" --progress "* ]] && progress=()
    here="organ $*, held"
    rm -f ../err.pid ../err.held ../err.go
    "${organ%/*}/checks/log_gate" ../err "$journal" "$organ" "$@" "${progress[@]}" >../out &
    gate=$!
    is_held() { [[ -s ../err.held ]] || ! kill -0 $gate 2>/dev/null; }
    await is_held
}
go_on() {
    touch ../err.go
    wait $gate
    code=$?
}

# interrupted SIGNAL OUTPUT ARGS...: runs a verb that writes OUTPUT and sends it the signal after the run has made progress: growth of the journal, or of
# the file that $watched names.
interrupted() {
    hold_at "${watched:-.$2.organ-partial/organ/journal.jsonl}" "${@:3}"
    here="organ ${*:3}, interrupted"
    kill -"$1" "$(<../err.pid)"
    go_on
}

# says_where FILE: waits until the process $server has written its address into the file, or ends; $port is the port.
says_where() {
    port=
    says_port() {
        port=$(sed -nE 's,.*https?://[^ ]*:([0-9]+)/.*,\1,p' "$1" | head -n 1)
        [[ -n $port ]] || ! kill -0 "$server" 2>/dev/null
    }
    await says_port "$1"
    [[ -n $port ]]
}

# Replaces the parts of a text that differ from run to run and from machine to machine. The line of the time wraps if the processor has a long name.
steady() {
    sed -e "s,$scratch/area,@AREA@,g" -e '/^  "run": {$/,/^  }$/d' -e '/^<!-- organ: [0-9a-f]\{16\} -->$/d' -e '/^## Run$/,$d' -e '/^  Time: /{:a;/\.$/!{$!{N;ba}};s/.*/  Time: .../}' -e '/^  --memory auto: /d' -e '/^Bound by /d' \
        -e '/^\[[0-9]*\/[0-9]*\] /s/  [0-9.]* [kMGT]*B\/s$//' "$1"
}

# matches NAME FILE: checks that the file equals the golden file of that name.
matches() {
    if $bless; then
        mkdir -p "$(dirname "$golden/$1")" && steady "$2" >"$golden/$1.golden"
    elif diff -u "$golden/$1.golden" <(steady "$2") >../difference 2>&1; then
        good
    else
        bad "differs from tests/cli/$1.golden" ../difference
    fi
}

# holds FILE FILTER...: checks that each filter of jq is true for a document. One jq, which takes longer to start than to read, tries all of them.
holds() {
    local filter all
    printf -v all ' and (%s)' "${@:2}"
    if jq -e "true$all" "$1" >../held 2>&1; then passed=$((passed + $# - 1)) && return; fi
    for filter in "${@:2}"; do judge "$1: not true: $filter" jq -e "$filter" "$1"; done
}

# likelihoods: prints the figure nll of each model in the JSON document of perplexity in ../out.
likelihoods() { sed -nE 's/^        "nll": (.*),$/\1/p' ../out; }
# scores_alike WHAT: both models of this document have the same likelihood, else WHAT is a failure.
scores_alike() {
    local of=()
    mapfile -t of < <(likelihoods)
    judge "$1: ${of[*]}" test -n "${of[0]:-}" -a "${of[0]:-}" = "${of[1]:-}"
}

# matches_briefly NAME FILE [INDENT]: as `matches`, for a document of JSON. Of neighbouring objects whose lines begin with at least INDENT blanks (4), the
# golden file has the first two, and one digest of all others.
matches_briefly() {
    steady "$2" | awk -v rest=../rest -v least="${3:-4}" '
        { indent = match($0, /[^ ]/) - 1 }
        left { print >rest; if (indent == left) left = 0; next }
        /^ +("[^"]*": )?\{$/ && indent >= least && ++count[indent] > 2 { left = indent; print >rest; next }
        { for (deeper = indent + 1; deeper < 40; deeper++) count[deeper] = 0; print }
        BEGIN { printf "" >rest }' >../brief
    echo "and $(wc -l <../rest) lines, SHA-256 $(sha256sum <../rest | cut -c -64)" >>../brief
    matches "$1" ../brief
}

# divided LAYERS: how quantization_config of quantised/config.json divides the linear layers that transformers has (a JSON list). Prints a row for each
# group size with the number of layers, the names that are no layer of transformers, and the layers that are both ignored and targets of one group, or
# neither.
divided() {
    jq -c --argjson layers "$1" '
        def selects($name): . == $name or . == "Linear" or (startswith("re:") and (.[3:] as $pattern | $name | test("^(?:" + $pattern + ")")));
        .quantization_config | .ignore as $ignore | [.config_groups[]] as $groups |
        [$layers[] | . as $name | {name: $name, ignored: any($ignore[]; selects($name)), groups: [$groups[] | select(any(.targets[]; selects($name))).weights.group_size]}] |
        {groups: ([.[] | select(.ignored | not).groups[0]] | group_by(.) | map([.[0], length])),
         unknown: [($groups[].targets[] | select(startswith("re:") or . == "Linear" | not)) | select(. as $n | $layers | index([$n]) | not)],
         unclear: [.[] | select(.ignored | not) | select(.groups | length != 1).name]}' quantised/config.json
}

finish() {
    here="the reports that were written"
    if grep -rlF --include='*.md' --include='*.html' "(no member)" "$scratch/area" >../out; then
        bad "a field of a table names what the document does not have" ../out
    else good; fi
    if [[ -n ${MESSAGES:-} && ${EFFORT:-some} != few && -z ${partly:-} ]] && ((failed == 0)); then echo "$suite" >"$MESSAGES/$suite.whole"; fi
    conclude
}
