#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two runs on one output: each verb with hidden steps or several outputs against each, with and without --resume. The first run is held while it writes the
# output; the second one must be refused at once by the name of the process that holds the output, and change no name. Then the first one ends as if alone.
#
#   tests/output/check_run_pairs.sh    each verb against itself and the next; with EFFORT=all, or PAIRS=table, which prints a table: each against each
. "$(dirname "$0")/../kit/cli_kit.sh"
some=false
in_part && [[ ${PAIRS:-} != table ]] && some=true
small=${organ%/build/organ}/fixtures/forward/qwen2
"$organ" prune "$small" -o cut --quiet >../out || exit 1
"$organ" convert tiny-qwen2 -o wide.gguf --to gguf --quiet >../out || exit 1
head -c 1200 tiny-qwen2/heldout.txt >text
calibrated=(--calibration text --samples 1 --context 32)
kinds=(merge then quantize sizes repair width)

# command KIND OTHER: sets $words to the command, $names to its outputs, and $grown to the one that is written while the run is held. Both runs have an output
# of the same name, except that a GGUF file and a model with an adapter have none in common.
command() {
    local to=o.gguf donor=tiny-qwen2
    [[ $2 == sizes ]] && to=o-10MB.gguf
    names=("$to")
    case $1 in
        merge) words=(merge "$small" cut --method linear -o "$to") ;;
        then) words=(merge "$small" cut --method linear --then q4_0 -o "$to") ;;
        quantize) words=(quantize "$small" --scheme q4_0 -o "$to") ;;
        sizes)
            words=(quantize tiny-qwen2 --scheme mixed --target-size "9.9MB,10MB" "${calibrated[@]}" --allocate-tokens 64 --select blk.1.ffn_up.weight
                -o o.gguf)
            names=(o-9.9MB.gguf o-10MB.gguf)
            ;;
        repair)
            words=(quantize tiny-qwen2 --scheme int4-group32 --method gptq "${calibrated[@]}" --repair-rank 2 -o o)
            names=(o o-adapter)
            ;;
        width)
            [[ $2 == repair || $2 == width ]] && to=o
            [[ $to == o ]] || donor=wide.gguf
            words=(width $donor -o "$to" --ffn 50% "${calibrated[@]}")
            names=("$to")
            ;;
    esac
    grown=${names[0]}
}
# entries: all names next to the outputs.
entries() { find . -maxdepth 1 -name '*o*' -printf '%f %y\n' | sort; }
is_whole() { "$organ" inspect "$1" >../shown 2>&1; }

# pair FIRST SECOND [--resume]: $cell is what happened.
pair() {
    local first second name left shares=true
    command "$2" "$1" && second=("${words[@]}" "${@:3}")
    command "$1" "$2" && first=("${words[@]}" "${@:3}")
    case $1-$2 in *repair*) [[ "$1$2" =~ ^(repair|width)(repair|width)$ ]] || shares=false ;; esac
    hold_at ".$grown.organ-partial/organ/journal.jsonl" "${first[@]}"
    judge "is not held" test -s ../err.held
    left=$(entries)
    "$organ" "${second[@]}" --quiet >../out2 2>../err2
    cell=$?
    here="organ ${second[*]}, while this is held: organ ${first[*]}"
    if $shares; then
        judge "ends with $cell: $(head -n 1 ../err2)" test $cell -eq 4
        judge "does not name the process $(<../err.pid): $(<../err2)" grep -q "another process ($(<../err.pid))" ../err2
        judge "changed names: $(entries)" test "$left" = "$(entries)"
    else
        judge "ends with $cell: $(head -n 1 ../err2)" test $cell -eq 0
    fi
    go_on
    here="organ ${first[*]}, while this was tried: organ ${second[*]}"
    judge "ends with $code" test $code -eq 0
    for name in "${names[@]}"; do judge "$name is not whole" is_whole "$name"; done
    left=$(find . -maxdepth 1 -name '.*o*' -printf '%f ')
    judge "is left: $left" test -z "$left"
    rm -rf o o.* o-* .o*
    [[ ${PAIRS:-} != table ]] || printf '%-8s %-8s %-8s first %d, second %d, left: %s\n' "$1" "$2" "${3:-}" $code $cell "${left:-nothing}"
}

for ((a = 0; a < ${#kinds[@]}; a++)); do
    for ((b = 0; b < ${#kinds[@]}; b++)); do
        if $some && ((a != b && (a + 1) % ${#kinds[@]} != b)); then continue; fi
        pair "${kinds[a]}" "${kinds[b]}"
        $some || pair "${kinds[a]}" "${kinds[b]}" --resume
    done
done
finish
