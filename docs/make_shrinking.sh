#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures the loss of quality from cutting experts, blocks and widths out of trained models, and plots it together with quantisation.
#   docs/make_shrinking.sh [--draw | --speed PYTHON] [MODEL...]
# Without MODEL it uses those of docs/quality_kit.sh. The script makes each run of the tables below, scores its output against the donor on the
# held-out text and adds a line to docs/shrinking.tsv. It skips runs that have a line there; delete lines to measure them again. --speed
# makes the outputs and measures their speed in llama.cpp by bench/llama_speed.py with this Python (the script names its packages), into
# docs/shrinking_speed.tsv. Then it writes docs/shrinking.svg and the tables of docs/shrinking.md; --draw does only that. Needs jq and gnuplot.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lines=${LINES_FILE:-docs/shrinking.tsv}
speeds=docs/shrinking_speed.tsv
. docs/quality_kit.sh

# Columns: kind of model | name | shares to keep, in percent | verb and options. THEN separates runs; each reads the output of the one before.
ways() {
    cat <<'END'
experts|experts, reap|75 50 25|experts --score reap --keep LEVEL% CALIBRATED
experts|experts, sum|75 50 25|experts --score sum --keep LEVEL% CALIBRATED
experts|experts, loss|75 50 25|experts --score loss --keep LEVEL% CALIBRATED
experts|experts, loss, refitted|75 50 25|experts --score loss --refit --keep LEVEL% CALIBRATED
experts|experts, loss, refitted, int4|75 50|experts --score loss --refit --keep LEVEL% CALIBRATED THEN quantize --scheme int4-group32 --method gptq CALIBRATED
all|layers|75 50|layers --drop DROPPED CALIBRATED
all|layers, refitted|75 50|layers --drop DROPPED --refit CALIBRATED
dense|width of the feed-forward|75 50|width --ffn LEVEL% CALIBRATED
dense|width of the feed-forward, int4|75|width --ffn LEVEL% CALIBRATED THEN quantize --scheme int4-group32 --method gptq CALIBRATED
experts|width of the experts|75 67 50|width --ffn LEVEL% --multiple-of 8 CALIBRATED
experts|width of the experts, int4|67|width --ffn LEVEL% CALIBRATED THEN quantize --scheme int4-group32 --method gptq CALIBRATED
all|heads|50|width --heads LEVEL% CALIBRATED
END
}

# Calls the given command with "NAME LEVEL COMMAND" for each run of a model.
for_ways() {
    local kind name level levels command model_kind=dense
    if [[ $(jq '.num_experts_per_tok // 0' "$model/config.json") != 0 ]]; then model_kind=experts; fi
    while IFS='|' read -r kind name levels command; do
        [[ $kind == all || $kind == "$model_kind" ]] || continue
        for level in $levels; do
            # A share of the blocks that is no whole number of blocks is skipped.
            [[ $command != *DROPPED* ]] || jq -e ".num_hidden_layers * $level % 100 == 0" "$model/config.json" >/dev/null || continue
            "$1" "$name" "$level" "${command//DROPPED/$(jq ".num_hidden_layers * (100 - $level) / 100 | floor" "$model/config.json")}" </dev/null
        done
    done < <(ways)
}

measure_one() { measure "$model" "$@"; }

made=()
make_one() {
    [[ $3 != *THEN* ]] || return 0
    made+=("$scratch/$base/$1 $2")
    run_steps "$model" "${made[-1]}" "${3//LEVEL/$2}"
}

# Prints, for a model and each of its outputs, the bytes as GGUF and the tokens per second of prompt and generation.
measure_speed() {
    local name first=1
    made=()
    mkdir "$scratch/$base"
    for_ways make_one
    "$python" bench/llama_speed.py --rounds 40 "$model" "${made[@]}" >"$scratch/speeds"
    grep -v "^$base"$'\t' "$speeds" >"$scratch/others" || true
    while IFS=$'\t' read -r name rest; do
        if ((first)); then name=donor; fi
        first=0
        printf '%s\t%s\t%s\n' "$base" "${name##*/}" "$rest"
    done <"$scratch/speeds" | cat "$scratch/others" - >"$speeds"
}

table() {
    awk -F'\t' -v base="$1" -v speeds="$speeds" '
        FILENAME == speeds { if ($1 == base) { prompt[$2] = $4; generation[$2] = $5 }; next }
        $1 != base { next }
        !told++ { printf "| way | kept | tensors | perplexity | KL | prompt, tokens/s | generation, tokens/s |\n|---|--:|--:|--:|--:|--:|--:|\n"
            if ("donor" in prompt) printf "| the donor | | | | | %d | %d |\n", prompt["donor"], generation["donor"] }
        { key = $2 " " $3
          printf "| %s | %s %% | %.2f MB | %+.2f %% | %.4f | %s | %s |\n", $2, $3, $4 / 1e6, $6, $7, prompt[key], generation[key] }' "$speeds" "$lines"
}

both_sets() { ways | cut -d '|' -f 2 | side_by_side "75 67 50 25"; }

# Draws KL by bytes: a panel for each model, a line for each way of cutting and for quantisation alone.
draw() {
    local bases base corner
    mapfile -t bases < <(cut -f1 "$lines" | awk '!seen[$0]++')
    {
        begin_plot docs/shrinking.svg 1000 $((480 * ${#bases[@]})) 1 "${#bases[@]}"
        echo "set key outside right top; set xlabel 'megabytes of tensors'; set offsets graph 0.04, graph 0.04, 0, 0"
        for base in "${bases[@]}"; do
            echo "set title '$base'"
            rm -f "$scratch/$base."*
            awk -F'\t' -v base="$base" -v to="$scratch/$base." '
                function put(way) { print $4 / 1e6, $7 >(to way); if (!seen[way]++) print way >(to "names") }
                $1 != base { next }
                FILENAME ~ /quality/ { if ($3 == "-" && $2 ~ /^int[0-9]-group32$/) put("quantised, nearest"); if ($3 == "-" && $2 ~ /^int[0-9]-group32, gptq$/) put("quantised, gptq"); next }
                { put($2) }' docs/quality.tsv "$lines"
            plots "$base"
        done
    } >"$scratch/plot"
    gnuplot "$scratch/plot"
}

touch "$lines" "$speeds"
python=
only_draw=
case ${1:-} in
--draw) only_draw=yes && shift ;;
--speed) python=$2 && shift 2 ;;
esac
(($#)) || set -- "${first_set[@]}" "${second_set[@]}"
for model in "$@"; do
    [[ -z $only_draw ]] || break
    describe "$model"
    for_ways measure_one
    if [[ -n $python ]]; then measure_speed; fi
done
put_tables docs/shrinking.md table
draw
