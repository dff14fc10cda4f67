# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # variables are for the scripts that read this in
# What the scripts share that test the program as its users see it: tests/cli/check_cli.sh and its like begin with
# `. "$(dirname "$0")/../kit/cli_kit.sh"`, are then in an empty directory with links to the fixtures, and end with `finish`. Golden files
# stand in tests/cli/VERB/; `--bless` writes them anew.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
organ=$PWD/build/organ
golden=$PWD/tests/cli
model=$PWD/fixtures/tiny-qwen2
bless=false
[[ ${1:-} == --bless ]] && bless=true
. tests/kit/counts.sh
# Not in a subshell that a signal ends.
trap '[[ $BASHPID == "$$" ]] && chmod -R u+w "$scratch" && rm -rf "$scratch"' EXIT
export LC_ALL=C.UTF-8 COLUMNS=80 TERM=dumb
unset ORGAN_ISA NO_COLOR
here=
mkdir "$scratch/area" && cd "$scratch/area" || exit 1
ln -s "$model" tiny-qwen2
ln -s "$model-gguf" tiny-qwen2-gguf

# docs/testing.md has the meaning of EFFORT. sampled: whether this tree takes samples of what the native tree does whole; its first success prints a line that
# says so. in_part: whether this run leaves out what only `ninja test-whole` does.
sampled() {
    [[ ${EFFORT:-some} == few ]] || return
    [[ -n ${sampled_before:-} ]] || echo "EFFORT=few: samples of what the native tree does whole"
    sampled_before=yes
}
in_part() { [[ ${EFFORT:-some} != all ]]; }

# run ARGS...: the program's output is in ../out and ../err, its exit code in $code.
run() {
    here="organ $*"
    "$organ" "$@" >../out 2>../err </dev/null
    code=$?
}

# ends CODE ARGS...: runs, and checks how it ends. A table that names a member which its document does not have shows it so.
ends() {
    run "${@:2}"
    if grep -qF "(no member)" ../out; then bad "a field of a table names what the document does not have" ../out; fi
    if ((code == $1)); then good; else bad "ends with $code instead of $1" ../err; fi
}

# make_never DIRECTORY: fixtures/tiny-moe with an expert that the router never chooses. In layer 1, experts 0 to 3 get the router's row of expert 5:
# of equal ones the lower numbers are chosen, four of them.
make_never() {
    local shard offset row=$((192 * 2)) e
    cp -rL "${model%/*}/tiny-moe" "$1" && chmod -R u+w "$1"
    read -r shard offset < <("$organ" inspect "$1" --tensors --json --match model.layers.1.mlp.gate.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
    dd if="$1/$shard" of=../row bs=1 skip=$((offset + 5 * row)) count=$row status=none
    for e in 0 1 2 3; do dd if=../row of="$1/$shard" bs=1 seek=$((offset + e * row)) conv=notrunc status=none; done
}

# says TEXT: on stderr; prints TEXT: on stdout.
says() { if grep -qF -- "$1" ../err; then good; else bad "stderr does not say '$1'" ../err; fi; }
prints() { if grep -qF -- "$1" ../out; then good; else bad "stdout does not have '$1'" ../out; fi; }

# Everything in the directory of the test, with sizes and times: what must not change when a run is refused.
inventory() { find . -mindepth 1 -printf '%p %y %s %T@ %i\n' | sort; }

# refused CODE TEXT ARGS...: ends with that code, says the text in one line, prints nothing, changes nothing.
refused() {
    local before
    before=$(inventory)
    ends "$1" "${@:3}"
    says "$2"
    [[ -s ../out ]] && bad "something is on stdout" ../out
    if [[ $(head -n 1 ../err) == "organ: "* ]]; then good; else bad "the message is not the first line of stderr" ../err; fi
    if [[ $(inventory) == "$before" ]]; then good; else bad "something was left behind or changed" <(inventory); fi
}

# hold ARGS...: begins a run, $runner. Its log goes into a pipe that has room for $log_room bytes only: the run waits there and cannot end, however fast
# it is and however long this script is held up. `let_go` reads the log into ../err, and waits for the end, which is in $code.
hold() {
    local most
    mkfifo ../pipe && exec 3<>../pipe || return
    most=$(LC_ALL=C dd if=/dev/zero of=../pipe bs=512 oflag=nonblock 2>&1 | sed -n 's/^\([0-9]*\) bytes.*/\1/p') # of pages, which may be few, or larger
    head -c "$most" <&3 >/dev/null
    head -c $((most - ${log_room:-300})) /dev/zero >&3
    env --default-signal=INT,TERM,HUP "$organ" "$@" >../out 2>&3 &
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

# interrupted SIGNAL OUTPUT ARGS...: holds a verb that writes OUTPUT and sends it the signal when more of it is done than was before. What grows as it
# is done is its journal, or the file that $watched names.
interrupted() {
    local signal=$1 journal=${watched:-.$2.organ-partial/organ/journal.jsonl} done_before runner
    shift 2
    here="organ $*, interrupted"
    units() { wc -l 2>/dev/null <"$journal" || echo 1; } # the first line is the head
    more_units() { (($(units) > done_before)) || is_over; }
    done_before=$(units)
    hold "$@"
    await more_units
    kill -"$signal" $runner
    let_go
}

# says_where FILE: the process $server has written there where it serves; $port is where. It is waited for as long as the process lives.
says_where() {
    port=
    says_port() {
        port=$(sed -nE 's,.*https?://[^ ]*:([0-9]+)/.*,\1,p' "$1" | head -n 1)
        [[ -n $port ]] || ! kill -0 "$server" 2>/dev/null
    }
    await says_port "$1"
    [[ -n $port ]]
}

# What differs from run to run and from machine to machine.
steady() {
    sed -e "s,$scratch/area,@AREA@,g" -e '/^  "run": {$/,/^  }$/d' -e '/^## Run$/,$d' -e 's/^  Time: .*/  Time: .../' \
        -e '/^\[[0-9]*\/[0-9]*\] /s/  [0-9.]* [kMGT]*B\/s$//' "$1"
}

# matches NAME FILE: the file is the golden file of that name.
matches() {
    if $bless; then
        mkdir -p "$(dirname "$golden/$1")" && steady "$2" >"$golden/$1.golden"
    elif diff -u "$golden/$1.golden" <(steady "$2") >../difference 2>&1; then
        good
    else
        bad "differs from tests/cli/$1.golden" ../difference
    fi
}

finish() {
    here="the reports that were written"
    if grep -rlF --include='*.md' --include='*.html' "(no member)" "$scratch/area" >../out; then
        bad "a field of a table names what the document does not have" ../out
    else good; fi
    conclude
}
