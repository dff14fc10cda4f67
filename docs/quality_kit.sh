# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Functions of docs/make_quality.sh and docs/make_shrinking.sh. They run organ, write each run as a tab-separated line of the file $lines, and
# make the tables of a page from these lines. A script sources this file from the root of the repository, with `lines` set.
organ=$PWD/build/organ
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# There are two sets of models. The methods were developed on the first one and then run on the second one without changes.
first_set=(fixtures/tiny-qwen2 fixtures/tiny-moe)
second_set=(fixtures/tiny-llama fixtures/tiny-qwen2moe)

# Sets the name of a model, its texts, the number of scored tokens, the sparsities of its prunings, and, if they exist, the GGUF file of the same
# weights and the imatrix. A model without texts uses those of the first model of its set.
describe() {
    local texts=$1
    model=$1 base=$(basename "$1" .gguf) levels=(30 50 60 70 80) scored="--max-error 0"
    [[ " ${second_set[*]} " != *" $model "* ]] || { levels=(50 70) scored="--max-tokens 12000" && texts=${second_set[0]}; }
    [[ " ${first_set[*]} " != *" $model "* ]] || texts=${first_set[0]}
    if [[ $model == *.gguf ]]; then
        calibration=${model%.gguf}.calibration.txt heldout=${model%.gguf}.heldout.txt gguf=$model imatrix=${model%.gguf}.imatrix.gguf
    else
        calibration=$model/calibration.txt heldout=$texts/heldout.txt
        [[ -e $calibration ]] || calibration=$texts/calibration.txt
        gguf=$model-gguf/$base-BF16-00001-of-00002.gguf imatrix=$(dirname "$model")/imatrix/$base.gguf
    fi
}

# run_steps FROM OUT COMMANDS: does the runs that THEN separates, each on the output of the one before. CALIBRATED stands for the text options.
run_steps() {
    local from=$1 out=$2 step steps=${3//CALIBRATED/--calibration $calibration --samples 64 --context 256}
    while IFS= read -r step; do
        [[ $from != "$out" ]] || { mv "$out" "$out.before" && from=$out.before; }
        # shellcheck disable=SC2086 # a step is words
        "$organ" ${step%% *} "$from" -o "$out" ${step#* } --force --quiet >/dev/null </dev/null
        from=$out
    done <<<"${steps// THEN /$'\n'}"
    rm -rf "$out.before"
}

# The figures of a model in the JSON of organ evaluate: bytes of the tensors, perplexity, its rise in percent, KL; then rise and KL of the weights
# alone if its servers also round activations.
jq_figures='[.model.bytes, .figures.perplexity, (.comparison.ratio - 1) * 100, .comparison.kl_divergence]'
jq_alone='(.weights_alone.comparison | if . then [(.ratio - 1) * 100, .kl_divergence] else [] end)'

# Prints the line of one run, tab-separated: model, name, level, the figures, two empty columns, the figures of the weights alone.
measure() {
    local from=$1 name=$2 level=$3 command=$4 out=$scratch/out
    grep -qxF "$base"$'\t'"$name"$'\t'"$level" < <(cut -f1-3 "$lines") && return
    [[ $command != *IMATRIX* || -e $imatrix ]] || return 0
    [[ $from != *.gguf ]] || out=$out.gguf
    command=${command//LEVEL/$level}
    command=${command//ALLOCATION/$scratch/$base.allocation}
    command=${command//BITS/$scratch/$base.bits}
    command=${command//IMATRIX/$imatrix}
    echo "$base: ${command//$scratch\//}"
    run_steps "$from" "$out" "$command"
    # shellcheck disable=SC2086 # $scored is words
    "$organ" evaluate "$from" "$out" --text "$heldout" --context 256 $scored --json --quiet |
        jq -r --arg base "$base" --arg name "$name" --arg level "$level" ".models[1] | $jq_alone as \$alone
            | [\$base, \$name, \$level] + $jq_figures + (if \$alone == [] then [] else [\"\", \"\"] + \$alone end) | @tsv" >>"$lines"
    rm -rf "$out" "$scratch"/out.*
}

# put_table PAGE NAME COMMAND...: replaces the text between <!-- NAME --> and <!-- /NAME --> of the page by the output of the command.
put_table() {
    local page=$1 name=$2
    shift 2
    "$@" | sed -E '/^\|/s/ *\| */|/g' >"$scratch/table"
    awk -v name="$name" -v table="$scratch/table" '
        $0 == "<!-- /" name " -->" { inside = 0 }
        !inside { print }
        $0 == "<!-- " name " -->" { inside = 1; while ((getline line < table) > 0) print line }' "$page" >"$scratch/page"
    cp "$scratch/page" "$page"
}

# put_tables PAGE TABLE: does the same for each model with the function TABLE, and for both sets with the function both_sets.
put_tables() {
    local base
    for base in $(cut -f1 "$lines" | awk '!seen[$0]++'); do
        put_table "$1" "$base" "$2" "$base"
    done
    put_table "$1" "both sets" both_sets
}

# side_by_side LEVELS < NAMES: prints the rise of the perplexity by name and level ("-" for runs without a level), a column for each model of
# the two sets. It prints only rows that were measured on a model of each set.
side_by_side() {
    awk -F'\t' -v models="${first_set[*]##*/} ${second_set[*]##*/}" -v first="${#first_set[@]}" -v levels="$1" '
        FILENAME == "-" { names[++n] = $1; next }
        { rise[$2, $3, $1] = sprintf("%.2f (%.4f)", $6, $7); known[$2, $3, $1] }
        END {
            m = split(models, model, " "); l = split(levels, level, " ")
            printf "| |"; for (k = 1; k <= m; k++) printf " %s%s |", model[k], (k > first ? ", unseen" : "")
            printf "\n|---|"; for (k = 1; k <= m; k++) printf "--:|"
            print ""
            for (j = 1; j <= n; j++) for (v = 1; v <= l; v++) {
                old = new = 0; row = "| " names[j] (level[v] == "-" ? "" : ", " level[v] " %") " |"
                for (k = 1; k <= m; k++) {
                    key = names[j] SUBSEP level[v] SUBSEP model[k]
                    if (key in known) { if (k > first) new = 1; else old = 1 }
                    row = row (key in known ? " " rise[key] " |" : " |")
                }
                if (old && new) print row
            }
        }' - "$lines"
}

# panel MODEL PROGRAM: writes each series of the model into a file of $scratch; the file "names" lists the series.
panel() {
    rm -f "$scratch/$1."*
    awk -F'\t' -v base="$1" -v to="$scratch/$1." "\$1 == base && $2" "$lines"
}
# begin_plot SVG WIDTH HEIGHT COLUMNS ROWS: prints gnuplot's settings for a page of panels in the style of organ's own charts. The colours are
# those of the charts' style sheet; markers, dashes and their order are those of organ_svg_marker, organ_svg_line_end and organ_svg_shape. It
# uses the light scheme only, because gnuplot writes colours as attributes.
chart_colours=6
begin_plot() {
    local style=orchestrator/report/svg/svg_parts.c kind shape points=(7 5 9 13 11 1) dashes=(solid '(7,3)' '(2,4)' '(9,3,2,3)' '(4,2)' '(1,3)')
    colour_of() { grep -o "\.oc-$1{[a-z]*:#[0-9a-f]*" "$style" | head -n 1 | cut -d : -f 2; }
    echo "set terminal svg size $2,$3 font 'system-ui,Segoe UI,Roboto,DejaVu Sans,sans-serif,12' background '$(colour_of paper)'"
    echo "set output '$1'; set multiplot layout $5,$4; set key noenhanced Left reverse samplen 4 textcolor '$(colour_of text)'"
    echo "set grid linetype 1 linewidth 1 linecolor '$(colour_of grid)'; set border 3 linecolor '$(colour_of axis)'; set tics nomirror scale 0.5 font ',11' textcolor '$(colour_of faint)'"
    echo "set title font ',14' textcolor '$(colour_of text)' noenhanced; set xlabel textcolor '$(colour_of text)'; set ylabel textcolor '$(colour_of text)'"
    for kind in {0..17}; do
        shape=$(((kind + kind / chart_colours * 2) % chart_colours))
        echo "set linetype $((kind + 1)) linecolor rgb '$(colour_of "s$((kind % chart_colours))")' dashtype ${dashes[shape]} pointtype ${points[shape]} pointsize 0.55 linewidth 1.8"
    done
    echo "set logscale y; set ylabel 'KL against the donor, nats a token'; set format y '10^{%L}'"
}
declare -A kinds=() # of each name that was drawn: the same name looks the same in all panels
plots() {
    local name list=() data
    while IFS= read -r name; do
        : "${kinds[$name]:=$((${#kinds[@]} + 1))}"
        data=$'\n'$(sort -n "$scratch/$1.$name")$'\n'
        echo "\$data${#list[@]} << END$data""END"
        list+=("\$data${#list[@]} using 1:2 with linespoints linetype ${kinds[$name]} title '$name'")
        [[ -z ${2:-} ]] || list+=("\$data$((${#list[@]} - 1)) using 1:2:3 with labels left offset 0.8,0.4 font ',11' noenhanced notitle")
    done <"$scratch/$1.names"
    (IFS=,; echo "plot ${list[*]}")
}
