#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests --evaluate of the verbs that write a model: figures in every view, dry runs, and errors before anything is written.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$model/../tiny-lora" tiny-lora

text=tiny-qwen2/heldout.txt
eval=(--evaluate $text --evaluate-context 64 --evaluate-max-tokens 300 --quiet)
# section FILE: prints the section Evaluation of a Markdown report.
section() { sed -n '/^## Evaluation$/,/^## [^E]/p' "$1"; }
# views NAME: checks the views of the report in NAME/organ.
views() {
    judge "$1: no section in its Markdown" grep -q "^| before: " "$1"/organ/*.md
    judge "$1: nothing of the comparison in its page" grep -q "KL divergence, nats per token" "$1"/organ/*.html
    judge "$1: no provenance in its page" grep -q 27cb235213128aac "$1"/organ/*.html
    judge "$1: no figures in its JSON" grep -q '"kl_divergence_error": [0-9]' "$1"/organ/*.json
}

ends 0 prune tiny-qwen2 -o pruned "${eval[@]}"
matches evaluate/evaluate_prune ../out
views pruned
section pruned/organ/REPORT.md >../section
matches evaluate/evaluate_prune_section ../section
ends 0 prune tiny-qwen2 -o calibrated --method magnitude -s 50 "${eval[@]}" --json
prints '"is": "donor",'
views calibrated
ends 0 purify tiny-qwen2 -o pure --method fft "${eval[@]}"
prints 'before: model tiny-qwen2'
views pure
ends 0 quantize tiny-qwen2 -o packed --scheme int4-group32 "${eval[@]}"
matches evaluate/evaluate_quantize ../out
views packed
ends 0 dequantize packed -o plain "${eval[@]}"
prints 'before: model packed'
views plain
ends 0 lora merge --base tiny-qwen2 --adapter tiny-lora -o merged "${eval[@]}"
prints 'before: base tiny-qwen2'
views merged
ends 0 graft --source pruned --target tiny-qwen2 -o grafted --select 1 --html ../grafted.html "${eval[@]}"
matches evaluate/evaluate_graft ../out
judge "nothing of the comparison in the page" grep -q "KL divergence, nats per token" ../grafted.html
q8=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
ends 0 graft --source $q8 --target $q8 --select feed-forward,2 --map 2:1 -o chimera.gguf --json "${eval[@]}"
prints '"is": "target",'
prints '"kl_divergence_error": '

# perplexity gives the same figures.
ends 0 perplexity tiny-qwen2 --compare pruned --text $text --context 64 --max-tokens 300 --json --quiet
for key in perplexity_error kl_divergence top1_agreement; do
    value=$(sed -n "s/^ *\"$key\": \([^,]*\),*$/\1/p" ../out | tail -n 1)
    judge "$key is not $value in the report" grep -q "\"$key\": $value" pruned/organ/prune.json
done

# A file named organ next to a GGUF model, such as the program, is not the folder of its reports.
mkdir beside && cp $q8 beside/model.gguf && echo program >beside/organ
ends 0 evaluate $q8 beside/model.gguf --text $text --context 64 --max-tokens 100 --json --quiet
judge "the models differ" test "$(jq ".models[1].comparison.ratio == 1" ../out)" = true
rm -r beside

# ---- models whose activations servers round ----
for scheme in fp8-tensor fp8-channel int8-channel fp8-block128; do
    ends 0 quantize tiny-qwen2 -o served -s $scheme --force --evaluate $text --evaluate-context 64 --evaluate-max-tokens 100 --quiet
    prints "Inputs of the output's linear layers are rounded as servers round them: "
    judge "$scheme: no loss of the weights alone" jq -e '.evaluation | .after.activations.rounded and
        .after.weights_alone.comparison.kl_divergence != .comparison.kl_divergence' served/organ/quantize.json
    judge "$scheme: no line in the report" grep -q 'KL divergence, weights alone' served/organ/QUANTIZE_REPORT.md
done
ends 0 quantize tiny-qwen2 -o plain8 -s int8-group64 --quiet --evaluate $text --evaluate-context 64 --evaluate-max-tokens 100
judge "int8-group64 is marked" bash -c "! grep -q ‡ ../out && ! grep -q rounded_activations plain8/organ/quantize.json"
ends 0 evaluate tiny-qwen2 served plain8 --text $text --context 64 --max-tokens 100 --quiet -o both --json
judge "another model has the members" jq -e '.models | map(has("activations") and has("weights_alone")) == [false, true, false]' both/evaluate.json
alone=$(jq '.models[1].weights_alone | .figures, .comparison' both/evaluate.json)
judge "no column of weights alone" grep -qE '[|] *weights *[|]' both/EVALUATION_REPORT.md
for threads in 1 3; do
    ends 0 evaluate tiny-qwen2 served plain8 --text $text --context 64 --max-tokens 100 --quiet --activations on --json --threads $threads
    judge "$threads threads: other figures as served" test "$(jq -c '[.models[] | .figures, .comparison]' ../out)" = \
        "$(jq -c '[.models[] | .figures, .comparison]' both/evaluate.json)"
done
judge "weights alone without --activations both" jq -e '.models | map(has("weights_alone")) | any | not' ../out
ends 2 evaluate tiny-qwen2 served --text $text --activations some
ends 0 evaluate tiny-qwen2 served --text $text --context 64 --max-tokens 100 -n --json
rm -r both
ends 0 evaluate tiny-qwen2 served plain8 --text $text --context 64 --max-tokens 100 --quiet -o three --activations off
judge "weights alone are not those without rounding" test "$(jq '.models[1] | .figures, .comparison' three/evaluate.json)" = "$alone"
prints "‡ The file of served declares"
judge "the row has no mark, or others have one" test "$(grep -c '^  [a-z0-9]*  .*[0-9] ‡' ../out)" = 1
judge "the reports have no mark" grep -q ‡ three/EVALUATION_REPORT.md
judge "the page has no mark" grep -q ‡ three/EVALUATION_REPORT.html
judge "another model has the member" jq -e '.models | map(has("rounded_activations")) == [false, true, false]' three/evaluate.json
ends 0 perplexity served --compare plain8 --text $text --context 64 --max-tokens 100 --quiet --activations off
prints "‡ The file of served declares"
ends 0 perplexity served --text $text --context 64 --max-tokens 100 --quiet
prints "Inputs of served's linear layers are rounded as servers round them: FP8 E4M3"
ends 0 perplexity served --text $text --context 64 --max-tokens 100 --quiet --activations both
prints "perplexity, weights alone"
rm -r served plain8 three

# ---- dry runs ----
ends 0 prune tiny-qwen2 -o out "${eval[@]}" --dry-run
matches evaluate/evaluate_dry ../out
for verb in "purify tiny-qwen2 --method haar" "quantize tiny-qwen2 --scheme fp8-tensor" "dequantize packed" \
    "lora merge --base tiny-qwen2 --adapter tiny-lora" "graft --source pruned --target tiny-qwen2"; do
    # shellcheck disable=SC2086 # words
    ends 0 $verb -o out "${eval[@]}" --dry-run
    prints "Would be evaluated before and after, on the same tokens. Text heldout.txt:"
    judge "a dry run wrote something" test ! -e out
done

# ---- errors ----
refused 2 "--evaluate-context" prune tiny-qwen2 -o out --evaluate-context 64
refused 2 "--evaluate-style" graft --source pruned --target tiny-qwen2 -o out --evaluate-style hf
refused 2 "'--evaluate-style'" purify tiny-qwen2 --method haar -o out --evaluate $text --evaluate-stile hf
refused 4 "no.txt" purify tiny-qwen2 --method haar -o out --evaluate no.txt
: >empty.txt
refused 3 "empty.txt" quantize tiny-qwen2 --scheme fp8-tensor -o out --evaluate empty.txt
refused 2 "--memory 16M" graft --source pruned \
    --target tiny-qwen2 -o out "${eval[@]}" --memory 16M
cp -rL tiny-qwen2 other && chmod -R u+w other
sed -i 's/Qwen2ForCausalLM/UnheardOfModel/; s/"qwen2"/"unheard"/' other/config.json
for verb in "prune other" "purify other --method haar" "quantize other --scheme fp8-tensor" "dequantize other" \
    "lora merge --base other --adapter tiny-lora" "graft --source other --target other --select 1"; do
    # shellcheck disable=SC2086
    refused 3 "'UnheardOfModel'" $verb -o out "${eval[@]}"
done
cp tiny-qwen2/config.json other/ && rm other/tokenizer.json
refused 3 "tokenizer.json" prune other -o out "${eval[@]}"
ends 0 assemble tiny-qwen2 -o packed.safetensors --quiet
cp packed/model.safetensors packed.safetensors && cp packed/config.json tiny-qwen2/tokenizer.json tiny-qwen2/tokenizer_config.json .
refused 2 "out.safetensors" dequantize packed.safetensors -o out.safetensors "${eval[@]}"
finish
