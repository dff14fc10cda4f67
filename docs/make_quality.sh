#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures the loss of quality of each method of prune and each scheme of quantize on trained models, and plots it.
#   docs/make_quality.sh [--draw] [MODEL...]
# Without MODEL it uses the published models of docs/quality_published.sh and the small ones of docs/quality_kit.sh. A directory DIR is
# calibrated on DIR/calibration.txt and scored on DIR/heldout.txt, or on the texts of the first model of its set; X.gguf on X.calibration.txt
# and X.heldout.txt next to it. The script makes each run of the tables below, scores its output against the donor on the held-out text and
# adds a line to docs/quality.tsv. It skips runs that have a line there; delete lines to measure them again. Then it writes docs/quality.svg
# and the tables of docs/quality.md; --draw does only that. Needs jq and gnuplot, for published models GNU time, and about 25 minutes of two
# cores for the lines of the small models, 90 minutes of one for the published ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lines=${LINES_FILE:-docs/quality.tsv}
. docs/quality_kit.sh
. docs/quality_published.sh

# Columns: name | verb and options. LEVEL is replaced by each sparsity, CALIBRATED by the text and the options for its windows.
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
# Columns: name, which is a scheme and the way its codes are chosen | verb and options. Each way becomes one line of the plot.
quantisations() {
    cat <<'END'
fp8-channel|quantize --scheme fp8-channel
int8-channel|quantize --scheme int8-channel
int8-channel, gptq|quantize --scheme int8-channel --method gptq CALIBRATED
int4-group32|quantize --scheme int4-group32
int4-group32, gptq|quantize --scheme int4-group32 --method gptq CALIBRATED
int4-group32, 50 % zeros|prune --method physarum-v3 --sparsity 50 --then int4-group32 CALIBRATED
int3-group32|quantize --scheme int3-group32
int3-group32, gptq|quantize --scheme int3-group32 --method gptq CALIBRATED
int3-group32, 50 % zeros|prune --method physarum-v3 --sparsity 50 --then int3-group32 CALIBRATED
int2-group32|quantize --scheme int2-group32
int2-group32, gptq|quantize --scheme int2-group32 --method gptq CALIBRATED
mixed-4.5bpw, allocated|quantize --scheme mixed --method gptq --allocate global --budget 4.5bpw --allocation BITS CALIBRATED
mixed-3.5bpw, allocated|quantize --scheme mixed --method gptq --allocate global --budget 3.5bpw --allocation BITS CALIBRATED
mixed-2.5bpw, allocated|quantize --scheme mixed --method gptq --allocate global --budget 2.5bpw --allocation BITS CALIBRATED
END
}
# The types of GGUF, for models in GGUF. Rows with IMATRIX are run for models that have an imatrix.
blocks() {
    local scheme
    for scheme in q8_0 q6_k q4_k q4_0; do
        echo "$scheme|quantize --scheme $scheme"
        echo "$scheme, imatrix|quantize --scheme $scheme --imatrix IMATRIX"
    done
}

measure_all() {
    local name command level model base calibration heldout gguf imatrix
    for model in "$@"; do
        if [[ " ${published[*]} " == *" $model "* ]]; then
            measure_published "$model"
            continue
        fi
        describe "$model"
        while IFS='|' read -r name command; do
            for level in "${levels[@]}"; do
                measure "$model" "$name" "$level" "$command" </dev/null
            done
        done < <(prunings)
        [[ $model == *.gguf ]] || while IFS='|' read -r name command; do
            measure "$model" "$name" - "$command" </dev/null
        done < <(quantisations)
        [[ ! -e $gguf ]] || while IFS='|' read -r name command; do
            measure "$gguf" "$name" - "$command" </dev/null
        done < <(blocks)
    done
}

both_sets() { { prunings; quantisations; } | cut -d '|' -f 1 | side_by_side "50 70 -"; }

# Prints, as Markdown and in the order of the lists above, the rise of the perplexity by method and sparsity, and by scheme.
table() {
    if [[ " ${published[*]} " == *" $1 "* ]]; then
        published_table "$1"
        return
    fi
    { prunings; quantisations; blocks; } | cut -d '|' -f 1 | awk -F'\t' -v base="$1" -v levels="$(awk -F'\t' -v base="$1" '$1 == base && $3 != "-" { print $3 }' "$lines" | sort -nu | tr '\n' ' ')" '
        FILENAME == "-" { order[++n] = $1; next }
        $1 == base { bytes[$2, $3] = $4; rise[$2, $3] = $6; kl[$2, $3] = $7; alone[$2, $3] = $11; if ($3 == "-") schemes[$2]; else methods[$2] }
        END {
            m = split(levels, level, " ")
            printf "| method |"; for (k = 1; k <= m; k++) printf " %s %% |", level[k]
            printf "\n|---|"; for (k = 1; k <= m; k++) printf "--:|"
            print ""
            for (j = 1; j <= n; j++) if (order[j] in methods) {
                printf "| %s |", order[j]
                for (k = 1; k <= m; k++) if ((order[j], level[k]) in kl) printf " %.2f (%.4f) |", rise[order[j], level[k]], kl[order[j], level[k]]; else printf " |"
                print ""
            }
            printf "\n| scheme | tensors | perplexity | KL | KL, weights alone |\n|---|--:|--:|--:|--:|\n"
            for (j = 1; j <= n; j++) if (order[j] in schemes)
                printf "| %s | %.*f MB | %+.3f %% | %.5f | %s |\n", order[j], bytes[order[j], "-"] < 1e6 ? 3 : 2, bytes[order[j], "-"] / 1e6, rise[order[j], "-"], kl[order[j], "-"], alone[order[j], "-"] == "" ? "" : sprintf("%.5f", alone[order[j], "-"])
        }' - "$lines"
}

# Draws a row of panels for each model: KL by sparsity with a line for each method, and KL by bytes with a line for each way of choosing codes.
draw() {
    local bases base corner
    mapfile -t bases < <(cut -f1 "$lines" | awk '!seen[$0]++')
    {
        begin_plot docs/quality.svg 1400 $((430 * ${#bases[@]})) 2 "${#bases[@]}"
        for base in "${bases[@]}"; do
            corner='left top' # where no line is; a model that loses much at once leaves the other one
            awk -F'\t' -v base="$base" '$1 == base && $3 == 30 && $7 > 0.1 { found = 1 } END { exit !found }' "$lines" && corner='right bottom'
            echo "set title '$base: weights set to zero'; set xlabel 'percent of the targets'; set xrange [25:85]; set yrange [1e-3:1e2]; set offsets 0, 0, 0, 0; set key inside $corner"
            panel "$base" '$3 != "-" { print $3, $7 >(to $2); if (!seen[$2]++) print $2 >(to "names") }'
            plots "$base"
            echo "set title '$base: fewer bits'; set xlabel 'megabytes of tensors'; set xrange [*:*]; set yrange [1e-5:1e1]; set offsets graph 0.04, graph 0.16, 0, 0; set key inside right top"
            panel "$base" '$3 == "-" { way = split($2, part, ", ") > 1 ? part[2] : part[1] ~ /^q/ ? "GGUF, nearest" : part[1] ~ /^fp8/ ? "fp8" : "nearest"
                if (way == "imatrix") way = "GGUF, imatrix"; if (way == "allocated") way = "gptq, mixed widths"; if (part[1] ~ /^q/ && way == "gptq") way = "GGUF, gptq"; if ($2 ~ /^(width|layers)/) way = "cuts"
                print $4 / 1e6, $7, way ~ /nearest|fp8/ && !met[$4, $7]++ ? part[1] : "" >(to way); if (!seen[way]++) print way >(to "names") }'
            plots "$base" labelled
        done
    } >"$scratch/plot"
    gnuplot "$scratch/plot"
}
[[ -e $lines ]] || : >"$lines"
if [[ ${1:-} != --draw ]]; then
    (($#)) || set -- "${published[@]}" "${first_set[@]}" "${second_set[@]}"
    measure_all "$@"
fi
put_tables docs/quality.md table
draw
