#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests how much of a text perplexity and evaluate score (--max-error, --max-tokens), the plan before the work, the dry runs of evaluate, and the windows
# that progress counts.
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"
ln -s "${model%/*}/tiny-llama" tiny-llama
ln -s "${model%/*}/tasks" tasks
text=tiny-llama/heldout.txt
small=(--text $text --context 16)
# figures FILE: all that does not depend on why the run ended, or on the machine.
figures() { jq 'del(.run, .ended)' "$1"; }

# ---- the end by an error: windows are spread over the whole text; "repeat" gives the same document, whatever threads and memory ----
for _ in {1..7}; do cat $text; done >seven.txt
ends 0 perplexity tiny-llama --text seven.txt --context 16 --max-error 99 --json --quiet --threads 1 --memory 24M
cp ../out error.json
holds error.json '.ended.by == "max_error" and .ended.max_error_percent == 99 and .ended.repeat == "--style hf --context 16 --max-windows 512"' \
    '.experiment.windows == 512 and .experiment.tokens_used == 8192 and .experiment.text_windows > 20000' '.experiment.tokens_scored == 7680' \
    '(.models[0].figures.nll_error * 100 - .ended.error_percent | fabs) < 1e-9' '.definitions.errors | test("figures of the whole text")'
read -ra repeat <<<"$(jq -r .ended.repeat error.json)"
ends 0 perplexity tiny-llama --text seven.txt "${repeat[@]}" --json --quiet --threads 2
holds ../out '.ended.by == "max_windows" and .ended.max_error_percent == null'
judge "the same windows have other figures" diff <(figures error.json) <(figures ../out)
ends 0 perplexity tiny-llama --text seven.txt --context 16 --max-error 99 -n --json --quiet
holds ../out '.run.plan | .windows == 512 and .max_error_percent == 99 and .most_seconds > .seconds'
ends 0 perplexity tiny-llama --text seven.txt --context 16 --max-windows 20 -o twenty
prints "20 of 21,843 windows"
prints "from the variance between windows"
judge "the report has no errors of the whole text" grep -q "The scored windows are spread over the text" twenty/PERPLEXITY_REPORT.md

# ---- a text of unlike parts: a part of the windows has the perplexity of the whole text, within 2 standard errors ----
{
    head -c 24000 $text
    yes "and he said unto him" | head -c 24000
    head -c 44000 $text | tail -c 12000
} >parts.txt
for style in hf llama.cpp lm-eval; do
    ends 0 evaluate tiny-llama tiny-llama --text parts.txt --context 16 --style $style --max-error 0 --kv-cache fp8 --json --quiet
    cp ../out whole.json
    ends 0 evaluate tiny-llama tiny-llama --text parts.txt --context 16 --style $style --max-windows 100 --kv-cache fp8 --json --quiet
    cp ../out part.json
    holds part.json '.ended.by == "max_windows" and .experiment.windows == 100' '.experiment.text_windows == '"$(jq .experiment.windows whole.json)" \
        '.experiment.tokens_used == 1600'
    judge "a part of parts.txt has another perplexity in style $style" test "$(jq -n --slurpfile a part.json --slurpfile b whole.json '
        def near(f; e): [($a[0] | f), ($b[0] | f)] | (.[0] - .[1] | fabs) <= 2 * ($a[0] | e);
        near(.models[0].figures.nll; .models[0].figures.nll_error) and $a[0].models[0].figures.nll_error < 0.2 and
        near(.models[1].comparison.kl_divergence; .models[1].comparison.kl_divergence_error)')" = true
done
ends 0 perplexity tiny-llama --text parts.txt --context 16 --max-tokens 1600 --json --quiet
first=$(jq .models[0].figures.nll ../out)
head -c 24000 $text >first.txt
ends 0 perplexity tiny-llama --text first.txt --context 16 --max-tokens 1600 --json --quiet
judge "--max-tokens does not score the first tokens" test "$first" = "$(jq .models[0].figures.nll ../out)"
ends 0 perplexity tiny-llama --text parts.txt --context 16 --max-tokens 1600 --max-windows 30 --json --quiet
holds ../out '.experiment.windows == 30 and .experiment.text_windows == 100' '.ended.repeat == "--style hf --context 16 --max-windows 30 --max-tokens 1600"'
ends 0 perplexity tiny-llama --text parts.txt --context 16 --max-tokens 1600 --max-windows 100 --json --quiet
holds ../out '.ended.by == "max_tokens" and .ended.repeat == "--style hf --context 16 --max-error 0 --max-tokens 1600"' ".models[0].figures.nll == $first"
refused 2 --max-windows evaluate tiny-llama --tasks tasks/long.jsonl --max-windows 3
refused 2 --max-windows perplexity tiny-llama --text parts.txt --max-windows 0

# ---- a text of less than 10^12 multiply-adds is scored whole, whatever the error; --max-error 0 never ends before the text ----
ends 0 perplexity tiny-llama "${small[@]}" --max-error 99 -n --json --quiet
holds ../out '.experiment.windows == .run.plan.windows and .plan.products < 2e12' '.run.plan | has("max_error_percent") | not'
head -c 1500 $text >short.txt
ends 0 perplexity tiny-llama --text short.txt --context 16 --max-error 99 --json --quiet
holds ../out '.ended.by == "text" and .experiment.tokens_used == .experiment.text.tokens' '.ended.repeat == "--style hf --context 16 --max-error 0"'
ends 0 perplexity tiny-llama --text short.txt --context 16 --max-error 0 --json --quiet
holds ../out '.ended == {by: "text", max_error_percent: null, error_percent: .ended.error_percent, repeat: .ended.repeat}' \
    '.definitions.errors | test("independent samples")'
ends 0 perplexity tiny-llama --text short.txt --json --quiet
holds ../out '.experiment.windows == 1 and .models[0].figures.nll_error == null' '.ended.error_percent == null'
ends 0 perplexity tiny-llama "${small[@]}" -n --max-error 0
prints "Time: about"
judge "a whole text is expected to end earlier" bash -c '! grep -q max-error ../out'
refused 2 --max-error perplexity tiny-llama --text short.txt --max-error -1
refused 2 --max-error perplexity tiny-llama --text short.txt --max-error much
ends 0 evaluate tiny-llama tiny-llama --text short.txt --context 16 --json --quiet
holds ../out '.ended | del(.repeat) == {by: "text", max_error_percent: 0.5, error_percent: 0}'

# ---- the plan of a long run is a note before the work begins, but not with --json ----
# begun ARGS...: interrupts a run after its stage has begun; what it has shown until then is in ../err.
begun() {
    here="organ $*, interrupted"
    : >../err # the log of an earlier run has the same line
    env --default-signal=INT "$organ" "$@" --progress json >../out 2>../err </dev/null &
    runner=$!
    has_begun() { grep -q '"event":"begin"' ../err || is_over; }
    await has_begun
    kill -INT $runner
    wait $runner
    code=$?
    judge "ends with $code instead of 130" test $code = 130
}
begun perplexity tiny-llama --text seven.txt --context 16 --max-error 0.1
jq -s . ../err >../events
holds ../events '.[0].event == "note" and (.[0].text | test("^plan: 1 model, .*--max-error.* memory$"))'
begun perplexity tiny-llama "${small[@]}" --max-error 0 --json
jq -s . ../err >../events
holds ../events '[.[] | select(.event == "note")] == []'

# ---- dry runs of evaluate ----
ends 0 evaluate tiny-llama tiny-llama --text seven.txt --context 16 -o none -n
prints "Dry run, nothing was scored."
prints "tiny-llama (LlamaForCausalLM"
prints "is enough"
prints "a standard error of 0.5 % is expected"
judge "a dry run wrote something" test ! -e none
ends 0 evaluate tiny-llama tiny-llama --text short.txt --context 16 -n --json --quiet
holds ../out '.dry_run and .plan.products > 0 and .plan.memory_enough > 0 and .run.plan.seconds > 0' '.experiment.windows == .run.plan.windows' '.models | length == 2'
ends 0 evaluate tiny-llama tiny-llama --text short.txt --context 16 -n --memory 8M
prints "--memory 8M is too little: the run would end with an"
ends 0 evaluate tiny-llama --tasks tasks/long.jsonl -n
prints "Dry run, nothing was scored."
prints "tokens to score"
for kind in --text:short.txt --tasks:tasks/long.jsonl; do
    words=(evaluate tiny-llama tiny-llama "${kind%%:*}" "${kind#*:}" --context 64)
    refused 4 missing "${words[@]}" -o missing/none -n
    refused 4 gone.txt "${words[@]:0:4}" gone.txt -n
    refused 4 gone "${words[@]:0:2}" gone "${words[@]:3}" -n
done
refused 3 tiny-qwen2 evaluate tiny-llama tiny-qwen2 --tasks tasks/long.jsonl --context 64 -n
printf 'merge_method: passthrough\nmodels: [{model: tiny-llama}]\ntokenizer: {source: union, pad_to_multiple_of: 5}\n' >pad.yaml
ends 0 merge pad.yaml -o padded --quiet
for dry in "" -n; do
    # shellcheck disable=SC2086 # no word for no option
    refused 3 "logits per token" perplexity tiny-llama --compare padded --text short.txt --context 16 $dry
done

# ---- progress counts windows and chunks ----
ends 0 perplexity tiny-llama --text short.txt --context 64 --progress json --threads 1
windows=$(jq -r 'select(.event == "begin") | "\(.unit) \(.tensors)"' ../err)
judge "the stage counts '$windows'" test "$windows" = "windows $(jq -r 'select(.event == "advance" and .tensor == "window") | 1' ../err | wc -l)"
ends 0 imatrix tiny-llama --calibration short.txt --context 64 -o sums.gguf --progress json
windows=$(jq -r 'select(.event == "begin") | "\(.unit) \(.tensors)"' ../err)
judge "the stage counts '$windows'" test "$windows" = "chunks $(jq -r 'select(.event == "advance" and (.tensor // "" | startswith("chunk"))) | 1' ../err | wc -l)"
# ---- --kv-cache: keys and values as servers keep them in FP8 ----
cache=(--text short.txt --context 16 --json --quiet)
ends 0 perplexity tiny-llama "${cache[@]}"
plain=$(likelihoods)
ends 0 perplexity tiny-llama "${cache[@]}" --kv-cache off
judge "off has other figures or a member" bash -c "[[ '$(likelihoods)' == '$plain' ]] && ! grep -q kv_cache ../out"
ends 0 perplexity tiny-llama "${cache[@]}" --kv-cache fp8
judge "fp8 has the figures of no rounding" test "$(likelihoods)" != "$plain"
holds ../out '.models[0].kv_cache == {rounded: true, declared: null, why_not: null, codes: "E4M3", scales: "1", layers: .models[0].kv_cache.layers,
    layers_without_scales: .models[0].kv_cache.layers}' '.definitions.kv_cache | test("E4M3")'
ends 0 evaluate tiny-llama tiny-llama "${cache[@]}" --kv-cache fp8
holds ../out '.models | map(has("kv_cache")) == [false, true]' '.models[0].figures.nll == '"$plain" '.models[1].comparison.kl_divergence > 0'
ends 0 evaluate tiny-llama tiny-llama "${cache[@]:0:4}" --kv-cache fp8 --quiet
prints "KV cache of tiny-llama: keys and values are rounded to FP8 E4M3, with scale 1."
refused 2 "--kv-cache is 'int8', but must be one of fp8, off" perplexity tiny-llama "${cache[@]}" --kv-cache int8

# ---- a cache that the model declares, with scales or another kind; MLA and models without attention ----
root=${organ%/build/organ}
made() { (cd "$root" && build/checks/arch_model "$1" "$scratch/area/$1") >../out 2>&1 || bad "$1 cannot be made" ../out; }
cp -rL tiny-llama declared && chmod -R u+w declared
declares() {
    jq --argjson scheme "$1" '.quantization_config = {quant_method: "compressed-tensors", config_groups: {}, kv_cache_scheme: $scheme}' \
        tiny-llama/config.json >declared/config.json
}
declares '{"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": true, "dynamic": false}'
ends 0 perplexity declared "${cache[@]}"
holds ../out '.models[0].kv_cache | .rounded and .declared == "quantization_config.kv_cache_scheme"' '.models[0].figures.nll != '"$plain"
ends 0 perplexity declared "${cache[@]}" --kv-cache off
holds ../out '.models[0].kv_cache == {rounded: false, declared: "quantization_config.kv_cache_scheme", why_not: "--kv-cache off"}' \
    '.models[0].figures.nll == '"$plain"
declares '{"num_bits": 8, "type": "int"}'
ends 0 perplexity declared "${cache[@]:0:4}" --json
judge "there is no note about another kind" grep -q "declares a quantised KV cache (quantization_config.kv_cache_scheme), which organ does not round" ../err
holds ../out '.models[0].kv_cache.rounded == false'
for word in FP8 fp8_e4m3 NVFP4; do
    declares "\"$word\""
    ends 0 perplexity declared "${cache[@]}"
    holds ../out '.models[0].kv_cache | .declared == "'$word'" and .rounded == ("'$word'" != "NVFP4")'
done
for nothing in null false '{}' '""' '"none"'; do
    declares "$nothing"
    ends 0 perplexity declared "${cache[@]}"
    holds ../out '.models[0].kv_cache == null' '.models[0].figures.nll == '"$plain"
done
declares 8
refused 3 "kv_cache_scheme is 8, not an object or a word" perplexity declared "${cache[@]}"
declares null
echo '{"quantization": {"kv_cache_quant_algo": "NVFP4"}}' >declared/hf_quant_config.json
ends 0 perplexity declared "${cache[@]}"
holds ../out '.models[0].kv_cache | .declared == "NVFP4" and (.rounded | not)'
cp tiny-llama/config.json declared
for algorithm in FP8 NVFP4; do
    echo "{\"quantization\": {\"kv_cache_quant_algo\": \"$algorithm\"}}" >declared/hf_quant_config.json
    ends 0 perplexity declared "${cache[@]}"
    holds ../out '.models[0].kv_cache | .declared == "'$algorithm'" and .rounded == ("'$algorithm'" == "FP8")'
done
for type in deepseek_v3 mamba; do
    made $type
    printf 'abcdefgh %.0s' {1..20} >letters.txt
    refused 2 "$([[ $type == mamba ]] && echo "has no attention" || echo "multi-head latent attention (MLA)")" \
        perplexity $type --text letters.txt --context 8 --kv-cache fp8
done
jq '.quantization_config = {quant_method: "compressed-tensors", config_groups: {}, kv_cache_scheme: {num_bits: 8, type: "float"}}' \
    deepseek_v3/config.json >config.json && mv config.json deepseek_v3/
ends 0 perplexity deepseek_v3 --text letters.txt --context 8 --json
judge "there is no note about MLA" grep -q "which organ does not round: it has multi-head latent attention" ../err

# ---- --mtp: blocks for multi-token prediction ----
made qwen3_5_text-mtp
made qwen3_5_text
drafts=(--text letters.txt --context 16 --json --quiet)
ends 0 evaluate qwen3_5_text-mtp qwen3_5_text "${drafts[@]}" --mtp --continuations 2
cp ../out mtp.json
holds mtp.json '.models[1].mtp == null' '.models[0].mtp | .blocks == 1 and .head == "model" and .state == "normed"' \
    '.models[0].mtp.text | .drafts > 50 and .overlap > 0 and .overlap < 1 and .chosen_error > 0' \
    '.models[0].mtp.continuations | .count == 2 and .tokens == 128 and (.positions | length) == 8' \
    '.models[0].mtp.continuations | .positions[0].drafts == .drafts and .positions[0].accepted == .positions[0].greedy' \
    '.models[0].mtp.continuations | .accepted_length >= 1 and .accepted_length == 1 + ([.positions[].accepted] | add)' '.definitions.mtp != null' \
    '.models[0].model | has("not_run") | not'
ends 0 evaluate qwen3_5_text-mtp qwen3_5_text "${drafts[@]}"
judge "--mtp changes other figures" diff <(jq '.models | map(del(.mtp))' mtp.json) <(jq '.models | map(del(.model.not_run))' ../out)
holds ../out '.models[0].model.not_run | map(.role) == ["mtp"]'
ends 0 perplexity qwen3_5_text-mtp "${drafts[@]}" --mtp --continuations 0
holds ../out '.models[0].mtp.continuations == null' '.models[0].mtp.text == '"$(jq .models[0].mtp.text mtp.json)"
ends 0 perplexity qwen3_5_text-mtp "${drafts[@]}" --mtp -n
holds ../out '.dry_run and (.models[0] | has("mtp") | not)'
ends 0 evaluate qwen3_5_text-mtp qwen3_5_text --text letters.txt --context 16 --mtp --continuations 1 -o drafted
judge "the terminal has no acceptance" grep -qE '^ +qwen3_.*-mtp +[0-9.]+ \+- [0-9.]+ +[0-9.]+ \+- ' ../out
judge "a model without a block has one" grep -qE '^ +qwen3_5_text +- +- +- +- *$' ../out
judge "the report has no positions" grep -qE '^\| *8 \|' drafted/EVALUATION_REPORT.md
ends 0 evaluate qwen3_5_text-mtp qwen3_5_text-mtp "${drafts[@]}" --mtp --continuations 0 -n
least=$(jq .plan.memory_enough ../out)
judge "the least memory is not below the good one" test "$least" -lt "$(jq .plan.memory_good ../out)"
for memory in "$least" 2G; do
    ends 0 evaluate qwen3_5_text-mtp qwen3_5_text-mtp "${drafts[@]}" --mtp --continuations 0 --memory "$memory" --threads 1
    jq '.models | map({figures, mtp: .mtp.text})' ../out >"mtp-$memory.json"
done
judge "the memory changes the acceptance" diff "mtp-$least.json" mtp-2G.json
judge "a model compared with itself has another acceptance" test "$(jq '.[0].mtp == .[1].mtp and .[0].mtp == '"$(jq .models[0].mtp.text mtp.json)" mtp-2G.json)" = true
judge "programs agree on Qwen's block" test "$(jq .models[0].mtp.dispute mtp.json)" = null
# --draft-tokens: all tokens are as none listed; of a block that proposes one token, q is 1, so that both rates are p of that token.
rows=$(jq .vocab_size qwen3_5_text-mtp/config.json)
jq -n --argjson n "$rows" '{kept: [range($n)]}' >all.json
echo '{"kept": [5]}' >one.json
ends 0 perplexity qwen3_5_text-mtp "${drafts[@]}" --mtp --continuations 2 --draft-tokens all.json
holds ../out ".models[0].mtp.proposes == $rows" '(.models[0].mtp | del(.proposes)) == '"$(jq -c '.models[0].mtp | del(.proposes)' mtp.json)"
ends 0 perplexity qwen3_5_text-mtp "${drafts[@]}" --mtp --continuations 2 --draft-tokens one.json
holds ../out '.models[0].mtp.text | (.overlap - .chosen | fabs) < 1e-6 and .overlap > 0' \
    '.models[0].mtp.text.overlap < '"$(jq .models[0].mtp.text.overlap mtp.json)" '.models[0].mtp.continuations.accepted_length < 2'
ends 0 perplexity qwen3_5_text-mtp --text letters.txt --context 16 --mtp --continuations 0 --draft-tokens one.json
prints "the block proposes only 1 token."
refused 2 "--draft-tokens has a meaning only with --mtp" perplexity qwen3_5_text-mtp "${drafts[@]}" --draft-tokens one.json
echo '{"kept": []}' >empty.json
refused 3 "empty.json: has no list 'kept'" perplexity qwen3_5_text-mtp "${drafts[@]}" --mtp --draft-tokens empty.json
echo "{\"kept\": [5, $rows]}" >beyond.json
refused 3 "beyond.json: kept[1] is $rows" perplexity qwen3_5_text-mtp "${drafts[@]}" --mtp --draft-tokens beyond.json
with_block glm4_moe glm
ends 0 perplexity glm --text letters.txt --context 16 --mtp --continuations 0 -o disputed
prints "Programs run the block differently: vLLM gives"
judge "the report names no other program" grep -q "^glm: programs run the block differently: vLLM" disputed/PERPLEXITY_REPORT.md
refused 3 "--mtp: the model has no block for multi-token prediction" perplexity qwen3_5_text "${drafts[@]}" --mtp
refused 2 "--mtp belongs to --text" evaluate qwen3_5_text-mtp --tasks letters.txt --mtp
finish
