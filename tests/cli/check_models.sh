#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The verbs on each architecture of fixtures/architectures, and docs/models.md, which lists what works. `check_models.sh --write` writes the page;
# otherwise the page must say what the verbs did, and no verb may end with another status than 0 or, with a message that names the reason, 2 or 3.
# TYPES="llama gpt_oss" tries these alone and does not look at the page. Unless EFFORT is all, each type of the page tries the dry run of prune and one other
# verb, in turn; the other cells are taken from the page. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
page=docs/models.md
text=$PWD/fixtures/tiny-moe/calibration.txt
organ=$PWD/build/organ
short=(--samples 2 --context 32 --quiet)
verbs=(inspect prune perplexity generate wanda gptq layers width experts)
is_in_part=false
if [[ ${EFFORT:-some} != all && ${1:-} != --write && -z ${TYPES:-} ]]; then is_in_part=true; fi

# The cells of the page by "TYPE VERB", and its reasons as they are in $scratch/reasons.
declare -A cells_of reasons_of
while IFS=$'\t' read -r type verb cell; do cells_of["$type $verb"]=$cell; done < <(awk -F ' [|] ' -v verbs="${verbs[*]}" '
    BEGIN { count = split(verbs, verb, " ") }
    /^[|] [A-Za-z0-9]+ [|] [a-z]/ && $2 != "model type" { gsub(/\\/, "", $2); for (k = 1; k <= count; k++) print $2 "\t" verb[k] "\t" $(k + 2) }' "$page")
while IFS=$'\t' read -r type verb reason; do reasons_of["$type $verb"]=$reason; done < <(sed -n 's/^- \([^ ,]*\), \([a-z]*\): /\1\t\2\t/p' "$page")

# left_out TYPE VERB: whether this run takes the verb's cell, and its reason, from the page. The verb `turn` is tried.
left_out() {
    local reason=${reasons_of["$1 $2"]:-}
    $is_in_part && [[ $2 != prune && $2 != "$turn" ]] || return
    cell=${cells_of["$1 $2"]:-}
    [[ -n $cell ]] || return
    if [[ -n $reason ]]; then printf '%s\t%s\t%s\n' "$1" "$2" "$reason" >>"$scratch/reasons"; fi
}

# turn_of NUMBER TYPE: the verb that the type with this number tries besides the dry run.
turn_of() {
    local turns=(wanda gptq layers width generate perplexity)
    if [[ ${cells_of["$2 experts"]:-} != - ]]; then turns+=(experts); fi
    turn=${turns[$1 % ${#turns[@]}]}
}

# try TYPE NAME VERB...: prints yes, or no if the verb refuses the model with a message; anything else fails the suite.
try() {
    local type=$1 name=$2 status
    shift 2
    left_out "$type" "$name" && return
    timeout 300 "$organ" "$@" >"$scratch/out" 2>"$scratch/err"
    status=$?
    cell=no
    if ((status == 0)); then cell=yes; fi
    judge "$type: $name ended with $status: $(tail -n 1 "$scratch/err" | cut -c 1-200)" test "$status" = 0 -o "$status" = 2 -o "$status" = 3
    if ((status)); then
        judge "$type: $name says nothing" grep -q '^organ: ' "$scratch/err"
        echo "$type	$name	$(tail -n 1 "$scratch/err" | sed 's/^organ: //' | sed "s#$scratch/##g")" >>"$scratch/reasons"
    fi
    rm -rf "$scratch/made" "$scratch"/.made*
}

# share FILE: the share of the matrices of linear layers that are targets, as prune's dry run prints it.
share() { grep -oE '[0-9.]+ % of the [0-9,]+ weights in matrices of linear' "$1" | grep -oE '^[0-9.]+' | head -n 1; }

# row TYPE: tries the verbs and prints the row of the table.
row() {
    local type=$1 model=$scratch/$1 out=$scratch/made architecture name gguf=no mixture=no targets cells=()
    build/checks/arch_model "$type" "$model" >"$scratch/out" 2>&1 || { judge "$type: cannot be made" false && return; }
    architecture=$(sed -n '/"architectures"/,/\]/p' "$model/config.json" | grep -oE '"[A-Za-z0-9_]+"' | sed -n 2p | tr -d '"')
    name=${type//_/} name=${name%text}
    if [[ -e fixtures/architectures/$type/gguf.tsv || -e fixtures/forward/$name.gguf || -e fixtures/tiny-$name-gguf ]]; then gguf=yes; fi
    if grep -qE 'experts|block_sparse_moe' "fixtures/architectures/$type/model.tsv"; then mixture=yes; fi
    try "$type" inspect inspect "$model" && cells+=("$cell")
    try "$type" prune prune "$model" -o "$out" --sparsity 50 --dry-run
    targets=$(share "$scratch/out")
    cells+=("${targets:+$targets %}")
    try "$type" perplexity perplexity "$model" --text "$text" --max-tokens 96 --context 48 --quiet && cells+=("$cell")
    try "$type" generate generate "$model" -p "the text" -n 3 && cells+=("$cell")
    try "$type" wanda prune "$model" -o "$out" --sparsity 50 --method wanda --calibration "$text" "${short[@]}" && cells+=("$cell")
    try "$type" gptq quantize "$model" -o "$out" --scheme int8-channel --method gptq --calibration "$text" "${short[@]}" && cells+=("$cell")
    try "$type" layers layers "$model" -o "$out" --drop 1-1 --quiet && cells+=("$cell")
    try "$type" width width "$model" -o "$out" --ffn 50% --multiple-of 8 --calibration "$text" "${short[@]}" && cells+=("$cell")
    if [[ $mixture == yes ]]; then
        try "$type" experts experts "$model" -o "$out" --keep 75% --calibration "$text" "${short[@]}" && cells+=("$cell")
    else
        cells+=(-)
    fi
    printf '| %s | %s | %s | %s |\n' "$architecture" "${type//_/\\_}" "$(printf '%s | ' "${cells[@]}" | sed 's/ | $//')" "$gguf" >>"$scratch/rows"
    rm -rf "$model"
}

: >"$scratch/reasons"
types=${TYPES:-$(cd fixtures/architectures && ls -d */ | tr -d /)}
number=0
for type in $types; do
    turn_of $((number++)) "$type"
    row "$type"
done
{
    cat <<'END'
# Models

Architectures that the forward pass supports, and the verbs that work on them. `tests/cli/check_models.sh --write` makes this page from small models with
random weights (`fixtures/architectures`), each of which has every mechanism of its architecture. A name behind a dash is a variant: other names of tensors
(`stacked`: stacked experts), other settings, or another form of the configuration.

- perplexity: the suite `forward` compares the negative log-likelihoods of 72 tokens with those of transformers 5.23 in FP32: the mean must agree within 1e-5
  nats, each token within 1e-3.
- prune: the share of the weights in linear layers that are targets of `prune`, as its dry run prints it.
- wanda, gptq: a calibrated run of `prune` and of `quantize` ends with a model that opens. The other calibrated methods use the same inputs.
  Default targets leave out a matrix that no layer of the forward pass multiplies (projections of per-layer embeddings); the report lists it.
  Recurrent layers: their input and output projections are targets; `A_log`, `dt_bias`, `D`, convolutions and norms are copied.
- layers: one block is dropped. width: half of the channels of each feed-forward. experts: three quarters of the experts are kept.
- GGUF: the suite `forward` reads the same model from a GGUF file with llama.cpp's names and keys, and compares it in the same way.

Architectures that are not in the table can be inspected, measured, pruned without a text, quantised to the nearest code, and repaired; `organ inspect` lists the
roles of their tensors.

| architecture | model type | inspect | prune | perplexity | generate | wanda | gptq | layers | width | experts | GGUF |
|---|---|---|---|---|---|---|---|---|---|---|---|
END
    LC_ALL=C sort "$scratch/rows"
    if [[ -s $scratch/reasons ]]; then
        printf '\n## Reasons\n\nThe message of each verb that refuses a model:\n\n'
        awk -F '\t' '{ print "- " $1 ", " $2 ": " $3 }' "$scratch/reasons" | LC_ALL=C sort
    fi
} >"$scratch/page"
if [[ ${1:-} == --write ]]; then
    cp "$scratch/page" "$page"
elif [[ -z ${TYPES:-} ]]; then
    judge "$page does not say what the verbs did: tests/cli/check_models.sh --write; $(diff "$page" "$scratch/page" | head -n 5 | tr '\n' ' ')" cmp -s "$page" "$scratch/page"
fi
finish
