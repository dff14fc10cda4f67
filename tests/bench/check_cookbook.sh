#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs each command that README.md, the tutorial, the cookbook and the troubleshooting print outside sessions and outside README's table of recipes:
# indented lines and `code` that begin with `organ`. They run as printed in a directory that has only small stand-ins for MODEL, TEXT and the other names;
# sizes in GB are scaled to MODEL. Commands with a calibration text run only with EFFORT=all, since the verbs' own suites run their like; then dry runs of
# the same commands on a model of Qwen3-30B-A3B's shapes without data must end well, too. tests/check_pages.sh runs the sessions, check_recipes.sh the table.
# Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"
fixtures=${model%/*}
export PATH=$top/build:$PATH OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
pages=(README.md docs/tutorial.md docs/cookbook.md docs/mtp.md docs/troubleshooting.md)

# commands PAGE: prints the commands of a page, each with at least one argument behind the verb. Sessions ("    $ ...") and tables are left out, and so
# is code with the placeholder "VERB" or "...".
# shellcheck disable=SC2016
commands() {
    awk '/^    (organ|mpirun) / { print substr($0, 5); next } /^(    |\||```)/ { next } { prose = prose " " $0 }
        END { while (match(prose, /`(organ|mpirun) [^`]*`/)) { print substr(prose, RSTART + 1, RLENGTH - 2); prose = substr(prose, RSTART + RLENGTH) } }' "$top/$1" |
        tr -s ' ' | grep -E '^(organ|mpirun) [^ ]+ [^ ]' | grep -vE 'VERB|\.\.\.'
}
# verb_of COMMAND: the word behind `organ`.
verb_of() { sed -E 's/^(.* )?organ ([a-z]+).*/\2/' <<<"$1"; }
# is_elsewhere VERB: whether a verb needs a network or serves until it is stopped; the suites cli_fetch and cli_serve run these.
is_elsewhere() { [[ $1 == fetch || $1 == serve ]]; }

# stand_ins COMMAND: makes MODEL a fixture that suits the command, and FILE what the option before it names.
stand_ins() {
    local verb is tuned=TUNED.dense matrix=IMATRIX
    verb=$(verb_of "$1") is=DENSE
    [[ $verb == experts ]] && is=$fixtures/tiny-moe
    [[ $verb == dequantize ]] && is=QUANTISED
    [[ $1 == *mtp* ]] && is=BLOCK tuned=TUNED.block matrix=IMATRIX.block
    ln -sfn "$is" MODEL
    ln -sfn "$tuned" TUNED
    if [[ $1 == *"--tasks FILE"* ]]; then ln -sfn FILE.jsonl FILE; elif [[ $1 != *"-o FILE"* ]]; then ln -sfn $matrix FILE; fi
}
# scaled COMMAND: the command with sizes scaled to MODEL as if that had 30 GB, half of what it is for: of a small model the embeddings are a larger part.
scaled() {
    local bytes
    bytes=$(du -sbL MODEL | cut -f 1)
    awk -v bytes="$bytes" '{ for (k = 1; k <= NF; k++) if ($k ~ /^[0-9.]+GB$/) $k = int($k * bytes / 30 / 1000) "kB"; print }' <<<"$1"
}

ln -s "$fixtures/tiny-llama" DENSE
head -c 8000 "$fixtures/tiny-llama/calibration.txt" >TEXT
head -c 8000 "$fixtures/tiny-llama/heldout.txt" >HELDOUT
head -n 6 "$fixtures/tasks/tasks.jsonl" >FILE.jsonl
ends 0 convert DENSE -o MODEL.gguf --to gguf --quiet
ends 0 prune DENSE -o TUNED.dense --sparsity 10 --quiet
ln -s TUNED.dense TUNED
with_block glm4_moe BLOCK
with_block glm4_moe TUNED.block "sed d"
ends 0 convert BLOCK -o WHOLE.gguf --to gguf --quiet
ends 0 convert TUNED.block -o TUNED.gguf --to gguf --quiet
ends 0 prune DENSE -o SECOND --sparsity 20 --quiet
ln -s TUNED FIRST
ends 0 prune DENSE -o PRUNED --sparsity 50 --quiet
ends 0 quantize DENSE -o QUANTISED -s int4-group32 --quiet
ends 0 imatrix DENSE -o IMATRIX --calibration TEXT --quiet
ends 0 imatrix BLOCK -o IMATRIX.block --calibration TEXT --quiet
ends 0 lora extract --base DENSE --tuned TUNED -o ADAPTER --rank 8 --quiet
ends 0 lora resize ADAPTER -o OTHER --rank 4 --quiet
ends 0 patch extract --base DENSE --tuned TUNED -o PATCH --quiet
printf 'models:\n  - model: MODEL\n    parameters: {weight: 0.5}\n  - model: TUNED\n    parameters: {weight: 0.5}\nmerge_method: linear\ndtype: bfloat16\n' >recipe.yaml
printf 'base_model: MODEL\ngate_mode: fit\nexperts:\n  - {source_model: FIRST, text: TEXT}\n  - {source_model: SECOND, text: HELDOUT}\n' >experts.yaml

for page in "${pages[@]}"; do
    count=0
    while read -r command; do
        is_elsewhere "$(verb_of "$command")" && continue
        [[ $command == *"--calibration"* ]] && in_part && continue
        count=$((count + 1))
        stand_ins "$command"
        here="$page: $command"
        made=$(sed -nE 's/.* -o ([^ ]+).*/\1/p' <<<"$command")
        rm -rf ${made:+"$made" "${made%.gguf}".*}
        [[ -n $made || $command != *" OUT"* || -e OUT ]] || cp -r PRUNED OUT
        [[ $(verb_of "$command") != audit ]] || { rm -rf OUT && cp -r PRUNED OUT; }
        bash -c "$(scaled "$command")" >../out 2>../err </dev/null
        code=$?
        if ((code == 0)); then good; else bad "ends with $code" ../err; fi
        [[ -z $made ]] || judge "makes no $made" test -e "$made"
    done < <(commands "$page" | sort -u)
    here=$page
    # The tutorial prints its commands in sessions.
    [[ $page == *tutorial* || $page == *troubleshooting* ]] || judge "has $count commands" test "$count" -ge 3
done

if ! in_part; then
    rm -rf MODEL MODEL.gguf OUT* PLAIN ADAPTER FILE
    "$top/build/bench/make_model" MODEL 48 experts holes
    "$top/build/bench/make_model" MODEL.gguf 48 experts holes
    cat tiny-qwen2/{calibration,heldout}.txt >TEXT
    for page in "${pages[@]}"; do
        while read -r command; do
            verb=$(verb_of "$command")
            is_elsewhere "$verb" && continue
            [[ $command == *mtp* ]] && continue # the model has no block
            grep -q -- '--dry-run' < <("$organ" "$verb" --help) || continue
            # These read what only a run on the whole model makes.
            [[ $command != *" "@(ADAPTER|TUNED|FIRST|PATCH|QUANTISED|OUT|recipe.yaml|FILE)* || $command == *" -o "* && $command != *" "@(ADAPTER|TUNED|FIRST|QUANTISED|recipe.yaml|--imatrix)* ]] || continue
            echo "$command"
        done < <(commands "$page")
    done | sort -u >../dry
    while read -r command; do
        here="$command --dry-run"
        bash -c "$command --dry-run --memory 64G" >../out 2>../err </dev/null
        code=$?
        if ((code == 0)); then good; else bad "ends with $code" ../err; fi
    done <../dry
    here=
    judge "no dry runs" test "$(wc -l <../dry)" -ge 8
fi
finish
