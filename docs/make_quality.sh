#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures what each method of prune and each scheme of quantize costs on trained models, and draws it.
#   docs/make_quality.sh [--draw] [MODEL...]
# Models: fixtures/tiny-qwen2 and fixtures/tiny-moe if none is named. Each run of the table below is made, scored against its donor on the text
# that no model was trained on, and becomes a line of docs/quality.tsv, which is where it is looked up the next time: what has its line already is
# not run again; delete lines to measure them anew. Then docs/quality.svg is drawn and the tables of docs/quality.md are written; --draw does only
# that. Needs jq and gnuplot, and for all lines about 20 minutes of two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
organ=$PWD/build/organ
heldout=$PWD/fixtures/tiny-qwen2/heldout.txt
lines=docs/quality.tsv
levels=(30 50 60 70 80)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# name | verb and options. LEVEL runs through the levels; CALIBRATED names the text and how it is cut.
prunings() {
    cat <<'END'
magnitude|prune --method magnitude --sparsity LEVEL
physarum-v1|prune --method physarum-v1 --sparsity LEVEL
wanda|prune --method wanda --sparsity LEVEL CALIBRATED
sparsegpt|prune --method sparsegpt --sparsity LEVEL CALIBRATED
alps|prune --method alps --sparsity LEVEL CALIBRATED
physarum-v2|prune --method physarum-v2 --sparsity LEVEL CALIBRATED
physarum-v3|prune --method physarum-v3 --sparsity LEVEL CALIBRATED
physarum-v3, allocated|prune --method physarum-v3 --sparsity LEVEL --allocate global --allocation ALLOCATION CALIBRATED
END
}
quantisations() {
    cat <<'END'
fp8-channel|quantize --scheme fp8-channel
int8-channel|quantize --scheme int8-channel
int8-channel, gptq|quantize --scheme int8-channel --method gptq CALIBRATED
int4-group32|quantize --scheme int4-group32
int4-group32, gptq|quantize --scheme int4-group32 --method gptq CALIBRATED
int3-group32|quantize --scheme int3-group32
int3-group32, gptq|quantize --scheme int3-group32 --method gptq CALIBRATED
int2-group32|quantize --scheme int2-group32
int2-group32, gptq|quantize --scheme int2-group32 --method gptq CALIBRATED
END
}

# The line of one run, tab-separated: model, name, level, bytes of the tensors, perplexity, its rise in percent, KL.
measure() {
    local model=$1 name=$2 level=$3 command=$4 base out=$scratch/out
    base=$(basename "$model")
    cut -f1-3 "$lines" | grep -qxF "$base"$'\t'"$name"$'\t'"$level" && return
    command=${command//LEVEL/$level}
    command=${command//ALLOCATION/$scratch/$base.allocation}
    command=${command//CALIBRATED/--calibration $model/calibration.txt --samples 64 --context 256}
    echo "$base: ${command//$scratch\//}"
    # shellcheck disable=SC2086 # the command is words
    "$organ" ${command%% *} "$model" -o "$out" ${command#* } --force --quiet >/dev/null
    "$organ" evaluate "$model" "$out" --text "$heldout" --context 256 --json --quiet |
        jq -r --arg base "$base" --arg name "$name" --arg level "$level" '.models[1]
            | [$base, $name, $level, .model.bytes, .figures.perplexity, (.comparison.ratio - 1) * 100, .comparison.kl_divergence] | @tsv' >>"$lines"
    rm -rf "$out"
}

measure_all() {
    local model name command level
    for model in "$@"; do
        while IFS='|' read -r name command; do
            for level in "${levels[@]}"; do
                measure "$model" "$name" "$level" "$command" </dev/null
            done
        done < <(prunings)
        while IFS='|' read -r name command; do
            measure "$model" "$name" - "$command" </dev/null
        done < <(quantisations)
    done
}

# Rise of the perplexity by method and level, as Markdown.
table() {
    awk -F'\t' -v base="$1" -v levels="${levels[*]}" '
        $1 == base && $3 != "-" { if (!($2 in seen)) { seen[$2] = 1; order[++n] = $2 } rise[$2, $3] = sprintf("%.2f (%.4f)", $6, $7) }
        $1 == base && $3 == "-" { quantised = quantised sprintf("| %s | %.2f MB | %+.3f %% | %.5f |\n", $2, $4 / 1e6, $6, $7) }
        END {
            m = split(levels, level, " ")
            printf "| method |"; for (k = 1; k <= m; k++) printf " %s %% |", level[k]
            printf "\n|---|"; for (k = 1; k <= m; k++) printf "--:|"
            print ""
            for (j = 1; j <= n; j++) { printf "| %s |", order[j]; for (k = 1; k <= m; k++) printf " %s |", rise[order[j], level[k]]; print "" }
            printf "\n| scheme | tensors | perplexity | KL |\n|---|--:|--:|--:|\n%s", quantised
        }' "$lines"
}

write_tables() {
    local base
    for base in $(cut -f1 "$lines" | awk '!seen[$0]++'); do
        table "$base" >"$scratch/table"
        awk -v name="$base" -v table="$scratch/table" '
            $0 == "<!-- /" name " -->" { inside = 0 }
            !inside { print }
            $0 == "<!-- " name " -->" { inside = 1; while ((getline line < table) > 0) print line }' docs/quality.md >"$scratch/page"
        cp "$scratch/page" docs/quality.md
    done
}

# A row of panels for each model: KL by sparsity, a line for a method; and by bytes, a line for a way of choosing codes.
draw() {
    local bases base
    mapfile -t bases < <(cut -f1 "$lines" | awk '!seen[$0]++')
    {
        echo "set terminal svg size 1300,$((400 * ${#bases[@]})) font 'sans-serif,13' background '#ffffff'"
        echo "set output 'docs/quality.svg'; set multiplot layout ${#bases[@]},2; set logscale y; set grid; set key outside right top Left reverse samplen 2"
        echo "set ylabel 'KL against the donor, nats a token'; set format y '10^{%L}'; set offsets graph 0.04, graph 0.14, 0, 0"
        for base in "${bases[@]}"; do
            panel "$base" share '{ print $3, $7 >(to $2); if (!($2 in seen)) { seen[$2] = 1; print $2 >(to "names") } }' '$3 != "-"'
            echo "set title '$base: weights set to zero'; set xlabel 'percent of the targets'"
            plots "$base.share" ''
            panel "$base" bytes '{ scheme = $2; way = sub(/, gptq$/, "", scheme) ? "gptq" : scheme ~ /^fp8/ ? "fp8" : "nearest"
                print $4 / 1e6, $7, way == "gptq" ? "" : scheme >(to way); if (!(way in seen)) { seen[way] = 1; print way >(to "names") } }' '$3 == "-"'
            echo "set title '$base: fewer bits'; set xlabel 'megabytes of tensors'"
            plots "$base.bytes" labelled
        done
    } >"$scratch/plot"
    gnuplot "$scratch/plot"
}
# panel MODEL NAME ACTION CONDITION: the lines of the model go into files of $scratch, a series each, which "names" lists.
panel() { awk -F'\t' -v base="$1" -v to="$scratch/$1.$2." "\$1 == base && $4 $3" "$lines"; }
plots() {
    local from=$scratch/$1 name list=()
    while IFS= read -r name; do
        list+=("'$from.$name' using 1:2 with linespoints pointtype 7 pointsize 0.6 linewidth 1.6 title '$name'")
        [[ -z $2 || $name == gptq ]] || list+=("'$from.$name' using 1:2:3 with labels left offset 0.8,0.4 font ',11' notitle")
    done <"$from.names"
    (IFS=,; echo "plot ${list[*]}")
}

[[ -e $lines ]] || : >"$lines"
if [[ ${1:-} != --draw ]]; then
    (($#)) || set -- fixtures/tiny-qwen2 fixtures/tiny-moe
    measure_all "$@"
fi
write_tables
draw
