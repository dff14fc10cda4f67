# SPDX-License-Identifier: MIT
# What docs/make_quality.sh and docs/make_shrinking.sh share: a run of organ becomes a line of $lines (tab-separated), and lines become tables of a page.
# To be sourced from the root of the repository, with `lines` set.
organ=$PWD/build/organ
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What belongs to a model: its name, its texts, the GGUF of the same weights and the imatrix where there are such.
describe() {
    model=$1 base=$(basename "$1" .gguf)
    if [[ $model == *.gguf ]]; then
        calibration=${model%.gguf}.calibration.txt heldout=${model%.gguf}.heldout.txt gguf=$model imatrix=${model%.gguf}.imatrix.gguf
    else
        calibration=$model/calibration.txt heldout=fixtures/tiny-qwen2/heldout.txt
        gguf=$model-gguf/$base-BF16-00001-of-00002.gguf imatrix=$(dirname "$model")/imatrix/$base.gguf
    fi
}

# run_steps FROM OUT COMMANDS: the runs that THEN separates, each on what the one before made. CALIBRATED names the text and how it is cut.
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

# The line of one run, tab-separated: model, name, level, bytes of the tensors, perplexity, its rise in percent, KL.
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
    "$organ" evaluate "$from" "$out" --text "$heldout" --context 256 --json --quiet |
        jq -r --arg base "$base" --arg name "$name" --arg level "$level" '.models[1]
            | [$base, $name, $level, .model.bytes, .figures.perplexity, (.comparison.ratio - 1) * 100, .comparison.kl_divergence] | @tsv' >>"$lines"
    rm -rf "$out" "$scratch"/out.*
}

# put_tables PAGE TABLE: for each model the function TABLE prints what stands between <!-- MODEL --> and <!-- /MODEL --> of the page.
put_tables() {
    local base
    for base in $(cut -f1 "$lines" | awk '!seen[$0]++'); do
        "$2" "$base" >"$scratch/table"
        awk -v name="$base" -v table="$scratch/table" '
            $0 == "<!-- /" name " -->" { inside = 0 }
            !inside { print }
            $0 == "<!-- " name " -->" { inside = 1; while ((getline line < table) > 0) print line }' "$1" >"$scratch/page"
        cp "$scratch/page" "$1"
    done
}

# panel MODEL PROGRAM: the lines of the model go into files of $scratch, a series each, which "names" lists.
panel() {
    rm -f "$scratch/$1."*
    awk -F'\t' -v base="$1" -v to="$scratch/$1." "\$1 == base && $2" "$lines"
}
declare -A colours=()
plots() {
    local name list=() data
    while IFS= read -r name; do
        : "${colours[$name]:=$((${#colours[@]} % ${shade_count:-8} + 1))}"
        data=$'\n'$(sort -n "$scratch/$1.$name")$'\n'
        echo "\$data${#list[@]} << END$data""END"
        list+=("\$data${#list[@]} using 1:2 with linespoints linetype ${colours[$name]} title '$name'")
        [[ -z ${2:-} ]] || list+=("\$data$((${#list[@]} - 1)) using 1:2:3 with labels left offset 0.8,0.4 font ',11' noenhanced notitle")
    done <"$scratch/$1.names"
    (IFS=,; echo "plot ${list[*]}")
}
