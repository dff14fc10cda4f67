#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two runs of a verb write the same output at the same time: one is held before a call on the output, the other before one of its own, then the first
# goes on to its end and the second too (tests/faults/races.c). One of them must write its output completely, the other must end with 0 after it or
# with 2 or 4, and no other files may remain. Tries new outputs, unfinished ones of a run that was killed, and existing ones with --force.
#
#   tests/faults/check_race_verbs.sh           some pairs of calls of some verbs; FAULT_RUNS=all, as in `ninja test-races`: all pairs of all verbs;
#                                              FAULT_RUNS=N: every N-th pair. FAULT_VERBS selects verbs
if [[ -w /dev/shm && $(($(stat -f -c '%a*%S' /dev/shm))) -ge $((1 << 30)) ]]; then export TMPDIR=/dev/shm; fi
. "$(dirname "$0")/sweep_kit.sh"
races=$root/build/checks/races

# pairs NAME COUNT FROM OUT WORDS...: tries the pairs of two runs that write OUT; WORDS: those of both, "--", those of the first, "--", those of the
# second. COUNT: of `ninja test`.
pairs() {
    local name=$1 count=$2 begin=$3 out=$4 both=() first=() second=() lines
    shift 4
    while [[ $1 != -- ]]; do both+=("$1") && shift; done
    shift
    while [[ $1 != -- ]]; do first+=("$1") && shift; done
    shift
    second=("$@")
    [[ $begin == - ]] || both+=(--force)
    here="organ ${both[*]} ${first[*]} beside ${second[*]}"
    case ${FAULT_RUNS:-} in '') ;; all) count=all ;; *) count=/$FAULT_RUNS ;; esac
    "$races" "$scratch/race" "$out" "$count" "$begin" "$organ" "${both[@]}" -o "$out" "${first[@]}" -- "$organ" "${both[@]}" -o "$out" "${second[@]}" \
        >../out 2>&1
    lines=$(tail -n 1 ../out)
    if [[ $lines =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        printf 'races   %-26s %s\n' "$name" "$(tail -n 2 ../out | head -n 1)"
        if ((BASH_REMATCH[2])); then head -n 20 ../out | cut -c -300; fi
    else
        bad "was not tried" ../out
    fi
}

# race NAME COUNT OUT WORDS...: as pairs, for a new output, over an unfinished one, and over an existing one. COUNT 0: not in `ninja test`.
race() {
    local name=$1 count=$2 out=$3 words=("${@:4}") one=() seen=0 word state
    [[ -z ${FAULT_VERBS:-} || " $FAULT_VERBS " == *" $name "* ]] || return
    [[ -z ${FAULT_RUNS:-} && -z ${FAULT_VERBS:-} && $count == 0 ]] && return
    pairs "$name" "$count" - "$out" "${words[@]}"
    state=$scratch/unfinished-$name
    mkdir -p "$state/.$out.organ-partial" && touch "$state/.$out.organ-partial/.organ-growing"
    echo "of a run that was killed" >"$state/.$out.organ-partial/other.safetensors"
    pairs "$name, unfinished" "$count" "$state" "$out" "${words[@]}"
    for word in "${words[@]}"; do # the words of the first run
        [[ $word == -- ]] && ((seen++)) && break
        [[ $word == -- ]] || one+=("$word")
    done
    state=$scratch/existing-$name
    mkdir "$state"
    (cd "$state" && "$organ" "${one[@]}" -o "$out" --quiet >../out 2>&1) || bad "no output to replace" "$scratch/out"
    pairs "$name, existing" "$count" "$state" "$out" "${words[@]}"
}

prepare
made other-parts extract "$area/pruned"
race prune 16 p prune "$q" "${t1[@]}" --method magnitude -- -s 30 -- -s 60
race prune-gguf 12 p.gguf prune "${q%/*}/llama.gguf" "${t1[@]}" --method magnitude -- -s 30 -- -s 60
race extract 8 parts extract -- "$q" -- "$area/pruned"
race lora-resize 8 l lora resize "$adapter" "${t1[@]}" -- --rank 2 -- --rank 1
race purify 0 p purify "$q" "${t1[@]}" --method haar -- --select all -- --select feed-forward
race quantize 0 x quantize "$q" "${t1[@]}" -- --scheme int4-group32 -- --scheme int8-channel
race quantize-gguf 0 x.gguf quantize "$moe" "${t1[@]}" -- --scheme q4_0 -- --scheme q8_0
race quantize-source 8 x.gguf quantize "$q" "${t1[@]}" -- --scheme q4_0 -- --scheme q8_0
race merge-gguf 0 m.gguf merge "$q" "$area/pruned" "${t1[@]}" --method linear -- --dtype f16 -- --dtype f32
race merge-then 0 m.gguf merge "$q" "$area/pruned" "${t1[@]}" --method linear -- --then q4_0 -- --then q8_0
race dequantize 0 d dequantize "$packed" "${t1[@]}" -- --dtype bf16 -- --dtype f32
race convert 0 c.gguf convert "$q" "${t1[@]}" --to gguf -- --dtype f16 -- --dtype f32
race convert-back 0 c convert "$moe" "${t1[@]}" --to safetensors -- --dtype f16 -- --dtype f32
race assemble 0 b.safetensors assemble -- "$parts" -- "$area/other-parts"
race graft 0 g graft --source "$area/pruned" --target "$q" --select feed-forward -- --select 1 -- --select 0
race lora-merge 0 m lora merge --base "$model" --adapter "$adapter" "${t1[@]}" -- --scale 1 -- --scale 2
race lora-extract 0 l lora extract --base "$model" --tuned "$area/tuned" "${t1[@]}" --select '*.self_attn.v_proj' -- --rank 4 -- --rank 2
race layers 0 l layers "$q" "${t1[@]}" -- --drop 1-1 -- --drop 2-2
race width 0 w width "$model" "${t1[@]}" --heads 1 --calibration "$area/longer" --samples 2 --context 32 -- --ffn 50% -- --ffn 75%
race experts 0 e experts "$mixture" "${t1[@]}" --calibration "$mixture/calibration.txt" --samples 2 --context 32 -- --keep 4 -- --keep 8
finish
