#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the names that a run writes: runs with hidden steps or several outputs are refused while another process holds an output, before any work; what
# they make before the output lies next to it, not in TMPDIR; and no name may be that of an input or of another output.
. "$(dirname "$0")/../kit/cli_kit.sh"
root=${organ%/build/organ}
small=$root/fixtures/forward/qwen2
export TMPDIR=/nonexistent
"$organ" prune "$small" -o cut --quiet >../out || exit 1
head -c 1200 tiny-qwen2/heldout.txt >text
gptq=(--method gptq --calibration text --samples 1 --context 32)

merge_gguf=(merge "$small" cut --method linear -o o.gguf)
merge_then=(merge "$small" cut --method linear --then q4_0 -o o.gguf)
quantize=(quantize "$small" --scheme q4_0 -o o.gguf)
sizes=(quantize tiny-qwen2 --scheme mixed --target-size "9.9MB,10MB" --calibration text --samples 1 --context 32 --allocate-tokens 64
    --select blk.1.ffn_up.weight -o o.gguf)
repair=(quantize tiny-qwen2 --scheme int4-group32 "${gptq[@]}" --repair-rank 2 -o o)
width=(width tiny-qwen2 -o o --ffn 50% --heads 1 --calibration text --samples 1 --context 32)

# is_clean LINES...: checks the names of the output that are left, hidden ones too.
is_clean() {
    judge "is left: $(find . -maxdepth 1 \( -name 'o*' -o -name '.o*' \) -printf '%f ')" test \
        "$(find . -maxdepth 1 \( -name 'o*' -o -name '.o*' \) -printf '%f ')" = "${1:-}"
}
# held FOLDER WORDS...: another process holds the lock of FOLDER.
held() {
    mkdir "$1"
    here="organ ${*:2} while $1 is locked"
    flock -n "$1" "$organ" "${@:2}" --quiet >../out 2>../err
    judge "ends with $?" test $? -eq 4
    judge "does not name the other process: $(<../err)" grep -Eq 'another process \([0-9]+\)' ../err
    is_clean "$1 "
    rmdir "$1"
}
for words in merge_gguf merge_then quantize sizes repair width; do
    declare -n of=$words
    lock=.${of[-1]}.organ-partial
    [[ $words == width || $words == repair ]] && lock=.o.organ-partial
    [[ $words == sizes ]] && lock=.o-9.9MB.gguf.organ-partial
    held $lock "${of[@]}"
    held $lock "${of[@]}" --resume
done
held .o-adapter.organ-partial "${repair[@]}"

# ---- the outline lies next to the output; the next run removes a killed one's ----
for words in merge_gguf merge_then quantize; do
    declare -n of=$words
    mkdir -p .o.gguf.organ-merge-outline/o .o.gguf.organ-source-outline/o
    ends 0 "${of[@]}" --dry-run
    ends 0 "${of[@]}"
    rm -rf .o.gguf.organ-merge-outline .o.gguf.organ-source-outline
    judge "hidden files are left" test -z "$(find . -maxdepth 1 -name '.o*')"
    rm -f o.*
    # A file or a link that has the name of a hidden directory stays.
    mkdir elsewhere
    ln -s elsewhere .o.gguf.organ-merge-outline
    ln -s elsewhere .o.gguf.organ-source-outline
    refused 2 "symbolic link" "${of[@]}"
    judge "the link was followed" test -z "$(ls elsewhere)"
    rm -r elsewhere .o.gguf.organ-merge-outline .o.gguf.organ-source-outline
done

# ---- a finished output that waits for its name: --force starts over, although the run makes its hidden model or its measurements again ----
# waiting NAME WORDS...: the name of an output is taken while the run writes it, and free again after the run.
waiting() {
    hold_at ".$1.organ-partial/organ/journal.jsonl" "${@:2}"
    echo mine >"$1"
    go_on
    judge "ends with $code" test $code -eq 4
    judge "the file is lost" test "$(<"$1")" = mine
    rm "$1"
    judge "no finished output waits" test -f ".$1.organ-finished"
}
for words in merge_gguf merge_then quantize sizes; do
    declare -n of=$words
    name=o.gguf
    [[ $words == sizes ]] && name=o-9.9MB.gguf
    # The same command changes nothing that --resume needs.
    interrupted KILL $name "${of[@]}"
    ends 2 "${of[@]}"
    says "--resume"
    ends 0 "${of[@]}" --resume
    judge "hidden files are left" test -z "$(find . -maxdepth 1 -name '.o*')"
    rm -f o.* o-*
    waiting $name "${of[@]}"
    ends 0 "${of[@]}" --force
    judge "hidden files are left" test -z "$(find . -maxdepth 1 -name '.o*')"
    rm -f o.* o-*
done
# The same command gives the output its name.
waiting o.gguf "${quantize[@]}"
ends 0 "${quantize[@]}"
judge "hidden files are left" test -z "$(find . -maxdepth 1 -name '.o*')"
rm o.*

# ---- names that are inputs or other outputs ----
touch o-9.9MB.gguf
refused 2 "o-9.9MB.gguf" "${sizes[@]}" --imatrix o-9.9MB.gguf
refused 2 "o-9.9MB.gguf" "${sizes[@]}" --allocation o-9.9MB.gguf
refused 2 "o.sizes.json" "${sizes[@]}" --allocation o.sizes.json
rm o-9.9MB.gguf
refused 2 "o-adapter" "${repair[@]}" --html o-adapter
ends 0 merge "$small" cut --method linear -o m
refused 2 "m/organ/recipe.yaml" merge m/organ/recipe.yaml -o m --force
judge "the recipe is gone" test -f m/organ/recipe.yaml
finish
