#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Opens two published models, which bench/published.sh fetches, with the verbs of organ and compares tokens, perplexity and a generated text
# with tests/real/references.json. ORGAN_PUBLISHED is the directory of the models (head of bench/published.sh). Without network, or if PyPI or
# Debian lacks a package, it prints why, tests nothing and ends with 0. Needs 4 GB in TMPDIR and jq. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
store=${ORGAN_PUBLISHED:-${XDG_CACHE_HOME:-$HOME/.cache}/organ-published}
top=$PWD organ=$PWD/build/organ real=$PWD/tests/real
env -u no_proxy -u NO_PROXY ORGAN_PUBLISHED="$store" bench/published.sh
case $? in
0) ;;
77) echo "skipped: test-real, because a model or the text cannot be fetched" && finish ;;
*) bad "bench/published.sh fails" && finish ;;
esac
cd "$scratch" || exit 1
held=$store/held.txt
calibrated=(--calibration "$store/calib.txt" --samples 4 --context 256)

# runs ARGS...: organ ends with 0; its output is in the file out.
runs() {
    here="organ $*"
    "$organ" "$@" --quiet >out 2>err </dev/null
    local status=$?
    if ((status == 0)); then good; else bad "ends with $status" err; fi
}
# is FILTER VALUE: the filter of jq yields the value for the document in the file out.
is() { judge "$1 is $(jq -c "$1" out 2>&1), not $2" test "$(jq -c "$1" out 2>/dev/null)" = "$2"; }
# near VALUE REFERENCE BOUND: the relative difference is at most the bound.
near() {
    judge "$1 is not within $3 of $2" awk -v a="$1" -v b="$2" -v bound="$3" 'BEGIN { exit !(a > 0 && b > 0 && (a - b) / b <= bound && (b - a) / b <= bound) }'
}
reference() { jq -c ".$name.$1" "$real/references.json"; }
# score MODEL [STYLE TOKENS]: sets $perplexity.
score() {
    runs perplexity "$1" --text "$held" --style "${2:-hf}" --context 512 --max-tokens "${3:-1024}" --json
    perplexity=$(jq '.models[0].figures.perplexity' out)
}
# loses MODEL LEAST MOST: the rise of the perplexity over that of the donor is between these percentages. The bounds are about half of and
# twice what was measured.
loses() {
    score "$1"
    judge "the perplexity rises from $donor to $perplexity, not by $2 % to $3 %" awk -v a="$perplexity" -v b="$donor" -v least="$2" -v most="$3" \
        'BEGIN { rise = (a / b - 1) * 100; exit !(a > 0 && rise >= least && rise <= most) }'
}

# What both models go through. $name is the model.
opens() {
    local k count
    name=$1
    runs inspect "$store/$name.gguf" --json
    is .config.num_hidden_layers "$2"
    is '.problems | length' 0
    runs inspect --untrusted "$store/$name.gguf" --json
    runs autopsy "$store/$name.gguf" --json
    is .healthy true

    count=$(jq length "$real/texts.json")
    for ((k = 0; k < count; k++)); do
        jq -j ".[$k]" "$real/texts.json" >text
        runs tokenize "$store/$name.gguf" --text text --ids
        here="$name: $(jq -c ".[$k]" "$real/texts.json")"
        judge "the ids are $(jq -sc . out)" test "$(jq -sc . out)" = "$(reference "tokens[$k]")"
    done
    { [[ $name != gemma3 ]] || echo 2; } >ids # BOS
    runs tokenize "$store/$name.gguf" --text "$held" --ids
    cat out >>ids
    judge "held.txt has other ids" test "$(sha256sum <ids | cut -d ' ' -f 1)" = "$(reference held.sha256 | tr -d '"')"

    # transformers computes in FP32 like organ; llama.cpp rounds activations to 8 bits.
    score "$store/$name.gguf"
    near "$perplexity" "$(reference hf)" 1e-6
    score "$store/$name.gguf" llama.cpp 2048
    near "$perplexity" "$(reference '"llama.cpp"')" 0.01
    runs generate "$store/$name.gguf" --prompt "$(reference prompt | tr -d '"')" -n 12 --json
    is .generated.ids "$(reference generated)"

    runs convert "$store/$name.gguf" -o $name --to safetensors
    runs convert $name -o $name.gguf --to gguf
    runs convert $name.gguf -o $name-back --to safetensors
    runs convert $name-back -o $name-back.gguf --to gguf
    here="$name: safetensors, GGUF and back"
    for file in model.safetensors tokenizer.json tokenizer_config.json generation_config.json; do
        judge "$file differs" cmp $name/$file $name-back/$file
    done
    judge "config.json differs" cmp <(jq -S . $name/config.json) <(jq -S . $name-back/config.json)
    judge "the second GGUF file differs" cmp $name.gguf $name-back.gguf
    rm -r $name-back $name-back.*
    runs tokenize $name --text "$held" --ids
    judge "the converted tokenizer finds other ids" test "$(sha256sum <out)" = "$(grep -vx "$([[ $name != gemma3 ]] || echo 2)" ids | sha256sum)"
    score $name
    donor=$perplexity
    near "$donor" "$(reference hf)" 0.005

    runs extract "$store/$name.gguf" -o parts
    runs assemble parts -o whole.gguf
    judge "the assembled file differs" cmp "$store/$name.gguf" whole.gguf
    rm -r parts whole*
    runs measure "$store/$name.gguf" --json
}

cuts_and_adapters() {
    here=graft
    runs prune $name -o magnitude --method magnitude --sparsity 30
    runs audit $name magnitude --json
    loses magnitude 20 90
    runs graft --source magnitude --target $name --select feed-forward -o mixed
    judge "the graft changes nothing" test "$(sha256sum <mixed/model.safetensors)" != "$(sha256sum <$name/model.safetensors)"
    runs graft --source $name --target mixed --select feed-forward -o unmixed
    judge "grafting back does not give the donor" cmp $name/model.safetensors unmixed/model.safetensors
    rm -r unmixed

    runs layers $name -o shorter --drop 20,
    runs audit $name shorter
    runs inspect shorter --json
    is .config.num_hidden_layers 29
    loses shorter 20 110
    runs width $name -o narrower --ffn 75% "${calibrated[@]}"
    runs audit $name narrower
    runs inspect narrower --json
    is .config.intermediate_size 1152
    loses narrower 20 400

    # An adapter of the difference, added to the donor, gives a model whose difference the same rank describes.
    runs lora extract --base $name --tuned mixed --rank 16 -o adapter
    runs lora sanitize adapter --check
    runs lora merge --base $name --adapter adapter -o merged
    judge "the adapter changes nothing" test "$(sha256sum <merged/model.safetensors)" != "$(sha256sum <$name/model.safetensors)"
    runs lora extract --base $name --tuned merged --rank 16 -o again
    runs lora merge --base $name --adapter again -o merged_again
    score merged
    expected=$perplexity
    score merged_again
    near "$perplexity" "$expected" 0.002
}

# Calibrated prunings and schemes, on the donor in $name and $name.gguf.
prunes_and_quantises() {
    runs prune $name -o sparse --method sparsegpt --sparsity 30 "${calibrated[@]}"
    runs audit $name sparse --compensated
    loses sparse "$1" "$2"
    runs quantize $name -o eight --scheme int8-channel
    loses eight -1.5 1.5
    runs quantize $name.gguf -o eight.gguf --scheme q8_0
    loses eight.gguf -0.2 0.2
    runs quantize $name.gguf -o four.gguf --scheme q4_k
    loses four.gguf "$3" "$4"
    runs dequantize four.gguf -o plain.gguf --dtype f32
    score four.gguf
    expected=$perplexity
    score plain.gguf
    near "$perplexity" "$expected" 1e-9
    runs evaluate $name sparse eight four.gguf --text "$held" --context 512 --max-tokens 1024 --json
    is '.models | length' 4
    is '[.models[1:][].comparison.kl_divergence] | .[1] < .[0] and .[1] < .[2] and min > 0' true
}

opens smollm2 30
prunes_and_quantises 1 30 0.5 8
cuts_and_adapters
rm -rf "${scratch:?}"/*
opens gemma3 18
prunes_and_quantises 1 40 0.5 10
# The sessions fetch the model and the texts themselves, as a new user's do, unless the store is all that there is.
sessions=$store
env -u no_proxy -u NO_PROXY ORGAN_PUBLISHED="$scratch/fresh" "$top/bench/published.sh" text && sessions=none
here="the sessions of README.md and docs/tutorial.md"
judge "print something else" env ORGAN_PUBLISHED="$sessions" "$top/tests/check_pages.sh" README.md docs/tutorial.md
finish
