#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests quantize --method gptq, and schemes of 2, 3 and 8 bits: results, reports, errors. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
. "${organ%/build/organ}/tests/kit/faults_kit.sh"

ln -s "$model/../imatrix" imatrix
text=tiny-qwen2/calibration.txt
plain=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
short=(--method gptq --calibration $text --samples 4 --context 64 --quiet)
narrow=(--select '*.[02].*_proj.weight') narrow_blocks=(--select 'blk.[02].attn_[qkvo]*.weight,blk.[02].ffn_[gud]*.weight')
one=(--select '*.0.*_proj.weight') one_block=(--select 'blk.0.attn_[kv].weight')
schemes="int8-channel int3-group32 int2-group32" blocks="q4_0 q5_1"
# The suite cli_prune_then covers codes of three bits.
if in_part; then blocks=q4_0 schemes=int2-group32; fi
if sampled; then narrow=(--select '*.self_attn.[qkv]_proj.weight') schemes=int3-group32 blocks=q4_0; fi
scored=(--evaluate tiny-qwen2/heldout.txt --evaluate-context 64 --evaluate-max-tokens 512)

# number KEY FILE: prints the value of the first line that has the key.
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),\{0,1\}$/\1/p" "$2" | head -n 1; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a < b) }'; }

# ---- results and reports ----
ends 0 quantize tiny-qwen2 -o resolved --scheme int4-group32 "${short[@]}" "${narrow[@]}"
sampled || matches quantize/gptq ../out
sampled || matches quantize/gptq_report resolved/organ/QUANTIZE_REPORT.md
judge "the first result is not the error that GPTQ lowers" grep -q ': error of the outputs' <(cards resolved/organ/QUANTIZE_REPORT.html | head -n 1)
judge "the error of the weights is not the second result" grep -q ': relative error of the weights' <(cards resolved/organ/QUANTIZE_REPORT.html | sed -n 2p)
sampled || holds resolved/organ/quantize.json '.definition == "gptq-resolved/3" and .parameters.method == "gptq" and .parameters.resolve' \
    '.totals | .gptq_output_error == 0.040248263 and .output_error == 0.038786578' '.calibration | .tokens == 256 and .text.xxh3 == "6d30ebe3ca2e7bcd"' \
    '.tensors | length == 14' '.tensors[0] | .calibration_tokens == 256 and .block_diagonal == false and .output_error == 0.032843704'
judge "the definition is not gptq-resolved/3" grep -q 'gptq-resolved/3' resolved/organ/quantize.json
judge "outputs are no better than GPTQ's" below "$(number output_error resolved/organ/quantize.json)" "$(number gptq_output_error resolved/organ/quantize.json)"
ends 0 inspect resolved
prints "No problems found"
ends 0 quantize tiny-qwen2 -o plain --scheme int4-group32 "${short[@]}" "${narrow[@]}" --no-refit
judge "the definition is not gptq/3" grep -q '"gptq/3"' plain/organ/quantize.json
judge "solving anew changed nothing" bash -c '! cmp -s plain/model.safetensors resolved/model.safetensors'
sed -n '/"quantization_config"/,$p' resolved/config.json >../config
sampled || matches quantize/gptq_config ../config
ends 0 quantize tiny-qwen2 -o dry --scheme int4-group32 "${short[@]}" "${narrow[@]}" --dry-run
prints "Dry run, nothing was written"
judge "a dry run wrote something" test ! -e dry

# ---- codes with their adapter ----
repair=(quantize tiny-qwen2 --scheme int2-group32 "${short[@]/--quiet/--threads=1}" "${one[@]}" --repair-rank 8)
ends 0 "${repair[@]}" -o coded
holds coded/organ/quantize.json '.repair | .rank == 8 and .adapter == "coded-adapter" and .outputs_after < 0.9 * .outputs_before' '.parameters.repair_rank == 8'
holds coded/config.json '.organ_repair_adapter == "coded-adapter"'
holds coded/config.json '.quantization_config.dequantize == true' # peft's ordinary call needs plain weights
holds coded-adapter/adapter_config.json '.base_model_name_or_path == "coded" and .r == 8'
prints "needs the adapter coded-adapter"
# transformers dequantises by one group of encodings only: peft then needs a forward pass of the base first
ends 0 quantize tiny-qwen2 -o groups --scheme int4-group128 "${short[@]}" --select '*.0.*o_proj*,*.0.*down_proj*' --repair-rank 2
holds groups/config.json '.quantization_config | (has("dequantize") | not) and (.config_groups | length == 2)'
holds groups/organ/quantize.json '.repair.forward_first == true'
prints "run a forward pass"
holds coded/organ/quantize.json '.repair.forward_first == false'
ends 0 lora merge --base coded --adapter coded-adapter/ -o repaired
judge "merge says that the adapter is needed" test "$(grep -c '^warning: .*-adapter' ../err)" = 0
judge "the merged model names the adapter" jq -e '.organ_repair_adapter == null' repaired/config.json >../null
ends 0 lora merge --base coded --adapter "$model/../tiny-lora" -o other
says "coded-adapter"
judge "a model merged with another adapter does not need its own any more" jq -e '.organ_repair_adapter == "coded-adapter"' other/config.json >../null
ends 0 perplexity coded --text tiny-qwen2/heldout.txt --context 64 --max-tokens 64
says "coded-adapter"
ends 0 perplexity tiny-qwen2 --compare repaired --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --json --quiet
jq '.models[1].comparison.kl_divergence' ../out >../repaired_kl
ends 0 quantize tiny-qwen2 -o uncoded --scheme int2-group32 "${short[@]}" "${one[@]}"
holds uncoded/config.json '.quantization_config | has("dequantize") | not'
ends 0 perplexity tiny-qwen2 --compare uncoded --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --json --quiet
judge "the adapter does not help" below "$(cat ../repaired_kl)" "$(jq '.models[1].comparison.kl_divergence * 0.95' ../out)"
ends 0 "${repair[@]/--threads=1/--threads=3}" -o recoded --memory 300M
judge "other threads make another model" cmp -s coded/model.safetensors recoded/model.safetensors
judge "other threads make another adapter" cmp -s coded-adapter/adapter_model.safetensors recoded-adapter/adapter_model.safetensors
interrupted INT cut "${repair[@]}" -o cut
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 0 "${repair[@]}" -o cut --resume
judge "a resumed run makes another model" cmp -s coded/model.safetensors cut/model.safetensors
judge "a resumed run makes another adapter" cmp -s coded-adapter/adapter_model.safetensors cut-adapter/adapter_model.safetensors
ends 0 "${repair[@]}" -o no --dry-run
judge "a dry run wrote something" test ! -e no -a ! -e no-adapter
refused 2 "coded-adapter" "${repair[@]}" -o coded
refused 2 "--method gptq" quantize tiny-qwen2 -o no --scheme int4-group32 --repair-rank 8
refused 2 "--evaluate" "${repair[@]}" -o no --evaluate tiny-qwen2/heldout.txt
ends 0 quantize $plain -o blocks.gguf --scheme q4_0 "${short[@]}" --select 'blk.0.attn_[kv].weight' --repair-rank 4
ends 0 inspect blocks.gguf
prints "the model needs the adapter blocks-adapter"
judge "the adapter does not name its base" grep -qa 'general.base_model.0.name.*blocks.gguf' blocks-adapter/adapter_model.gguf
ends 0 lora merge --base blocks.gguf --adapter blocks-adapter/adapter_model.gguf -o joined.gguf
judge "merge says that the adapter is needed" test "$(grep -c '^warning: .*-adapter' ../err)" = 0
judge "the merged model names the adapter" bash -c '! grep -qa quantize.repair_adapter joined.gguf'

# ---- a model and an adapter of different runs ----
# replaced AT: another run replaces both outputs and is killed before its change AT of files.
small=(quantize tiny-qwen2 --scheme int2-group32 "${short[@]/--quiet/--threads=1}" --select '*.0.self_attn.o_proj.weight' --repair-rank)
other=("${small[@]}" 4 --force)
replaced() {
    rm -rf torn torn-adapter .torn*
    cp -r kept/torn* .
    killed_at "$1" "${other[@]}" -o torn
}
new_adapter() { ! cmp -s {kept/,}torn-adapter/adapter_model.safetensors && cmp -s {kept/,}torn/model.safetensors; }
mkdir kept
ends 0 "${small[@]}" 8 -o torn
cp -r torn torn-adapter kept
count_changes "${other[@]}" -o torn
for ((at = changes - 1; at > changes - 80; at--)); do
    replaced $at
    if new_adapter; then break; fi
done
judge "no kill leaves the old model next to the new adapter" new_adapter
refused 3 "torn" lora merge --base torn --adapter torn-adapter -o no
refused 3 "torn" perplexity torn --text tiny-qwen2/heldout.txt --context 64 --max-tokens 64
refused 3 "torn" merge torn+torn-adapter tiny-qwen2 --method linear -o no
ends 0 merge coded+coded-adapter tiny-qwen2 --method linear -o mean
judge "a merged model names the adapter" jq -e '.organ_repair_adapter == null and .organ_repair_pair == null' mean/config.json >../null
ends 0 "${other[@]}" -o torn --resume
ends 0 lora merge --base torn --adapter torn-adapter -o whole
refused 3 "coded" lora merge --base coded --adapter torn-adapter -o no
ends 0 lora resize torn-adapter --rank 2 -o lower
refused 3 "coded" lora merge --base coded --adapter lower -o no
ends 0 dequantize torn -o plain-torn
ends 0 lora merge --base plain-torn --adapter torn-adapter -o joined
refused 3 "tiny-qwen2" lora merge --base tiny-qwen2 --adapter torn-adapter -o no

# ---- hidden states on a disk ----
mkdir disk
long=(--method gptq --calibration $text --samples 20 --context 64 --quiet --force) # two chunks of windows
ends 0 quantize tiny-qwen2 -o held --scheme int3-group32 "${long[@]}" --select '*.[01].self_attn.[qkv]_proj.weight'
ends 0 quantize tiny-qwen2 -o spilled --scheme int3-group32 "${long[@]}" --select '*.[01].self_attn.[qkv]_proj.weight' --scratch disk
judge "a scratch file changes the codes" cmp -s <(cat held/*.safetensors) <(cat spilled/*.safetensors)
if ! in_part; then
    ends 0 quantize $plain -o held.gguf --scheme q4_0 "${long[@]}" --select 'blk.[01].attn_[qk].weight'
    ends 0 quantize $plain -o spilled.gguf --scheme q4_0 "${long[@]}" --select 'blk.[01].attn_[qk].weight' --scratch disk
    judge "a scratch file changes the blocks" cmp -s held.gguf spilled.gguf
fi
judge "something is left in the scratch directory" test -z "$(ls -A disk)"
refused 2 '--scratch' quantize tiny-qwen2 -o new --scheme int3-group32 --scratch disk
refused 4 "absent" quantize tiny-qwen2 -o new --scheme int3-group32 "${short[@]}" --scratch absent

# ---- the other widths, read back with dequantize ----
for scheme in $schemes; do
    ends 0 quantize tiny-qwen2 -o $scheme --scheme $scheme --quiet --json "${scored[@]}"
    cp ../out ../nearest
    ends 0 inspect $scheme
    prints "No problems found"
    sed -n '/"quantization_config"/,$p' $scheme/config.json >../config
    matches quantize/quantize_config_$scheme ../config
    ends 0 quantize tiny-qwen2 -o $scheme --scheme $scheme --force --json "${short[@]}" "${scored[@]}"
    judge "$scheme: $(number kl_divergence ../out) by a text, $(number kl_divergence ../nearest) without" \
        below "$(number kl_divergence ../out)" "$(number kl_divergence ../nearest)"
done
for scheme in fp8-block128 fp8-channel int8-channel; do
    [[ " $schemes " == *" $scheme "* ]] && continue
    ends 0 quantize tiny-qwen2 -o $scheme --scheme $scheme --json "${short[@]}" --select '*.0.mlp.down_proj.weight'
    judge "$scheme: outputs are no better than GPTQ's" below "$(number output_error ../out)" "$(number gptq_output_error ../out)"
    ends 0 inspect $scheme
    prints "No problems found"
done

# ---- mixed widths: one budget, divided by measured KL divergence ----
mixed=(quantize tiny-qwen2 -s mixed "${short[@]}" --allocate global --allocate-tokens 256)
some=(--select '*.[03].self_attn.[qkv]_proj.weight')
ends 0 "${mixed[@]}" "${some[@]}" -o mixed --budget 3.5bpw --allocation mixed.curves --json "${scored[@]}"
judge "the widths cost more than the same for each" below "$(number cost ../out)" "$(number uniform_cost ../out)"
judge "more bits are spent than there are" below "$(number bits_per_weight ../out)" 3.5001
judge "all tensors got one scheme" test "$(grep -o '"scheme": "int[^"]*"' ../out | sort -u | wc -l)" -gt 1
sed -n '/"quantization_config"/,$p' mixed/config.json >../config
matches quantize/quantize_config_mixed ../config
ends 0 quantize tiny-qwen2 -o uniform -s int3-group32 "${short[@]}" "${some[@]}" --json "${scored[@]}"
judge "mixed widths are as far off as one" below "$(number kl_divergence mixed/organ/quantize.json)" "$(number kl_divergence ../out)"
judge "mixed widths take more bytes" test "$(number bytes_after mixed/organ/quantize.json)" -le "$(number bytes_after ../out)"
ends 0 inspect mixed
prints "No problems found"
ends 0 dequantize mixed -o mixed-plain --quiet
ends 0 perplexity mixed --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --compare mixed-plain
ends 0 "${mixed[@]}" "${some[@]}" -o mixed-again --budget 3.5bpw --allocation mixed.curves --threads 3 --activation-type int8
judge "curves that are there, or rounded inputs, make other bytes" cmp -s mixed/model.safetensors mixed-again/model.safetensors
holds mixed-again/config.json '.quantization_config.config_groups | length > 1 and ([.[].targets | length] | add) == 6' \
    '.quantization_config.config_groups | all(.[].input_activations; .num_bits == 8 and .type == "int" and .strategy == "token" and .dynamic)'
holds mixed/config.json '.quantization_config.config_groups | all(.[]; .input_activations == null)'
ends 0 evaluate tiny-qwen2 mixed mixed-again --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --json --quiet
holds ../out '.models[1].activations == null and .models[2].activations == {inputs: "INT8 per token", rounded: true}' \
    '.models[2].weights_alone.comparison.kl_divergence == .models[1].comparison.kl_divergence' \
    '.models[2].comparison.kl_divergence != .models[1].comparison.kl_divergence'
ends 0 "${mixed[@]/--quiet/--threads=1}" "${some[@]}" -o mixed-told --budget 3.5bpw --allocation mixed.curves
says vLLM
ends 0 "${mixed[@]/--quiet/--threads=1}" "${some[@]}" -o mixed-alike --budget 4bpw --one-width
judge "it warns of widths that are alike" bash -c '! grep -q vLLM ../err'
# layer_schemes LAYER: prints the schemes of its q, k and v, each once.
layer_schemes() { jq -r ".tensors[] | select(.layer == $1) | .scheme" mixed-alike/organ/quantize.json | sort -u; }
judge "q, k and v have not the same" test "$(layer_schemes 0 | wc -l) $(layer_schemes 3 | wc -l)" = "1 1"
judge "all layers got one scheme" test "$(layer_schemes 0)" != "$(layer_schemes 3)"
refused 2 "--one-width" quantize tiny-qwen2 -o no -s int4-group32 "${short[@]}" --one-width
refused 2 "one_width" "${mixed[@]}" "${some[@]}" -o no --budget 4bpw --allocation mixed.curves --one-width
# All routed experts get one scheme, because transformers reads one scheme for all of them.
if ! sampled; then
    ln -s "$(dirname "$model")/tiny-moe" tiny-moe
    of_moe=(tiny-moe "${short[@]:2}" --select '*.layers.0.*_proj.weight')
    ends 0 quantize "${of_moe[@]}" --method gptq -o mixed-experts -s mixed --allocate global --allocate-tokens 64 --budget 3.8bpw --json
    judge "experts have several schemes" test "$(jq -r '.tensors[] | select(.tensor | contains(".experts.")) | .scheme' ../out | sort -u | wc -l)" = 1
    judge "all tensors have one scheme" test "$(jq -r '.tensors[].scheme' ../out | sort -u | wc -l)" -gt 1
    judge "the division costs more than one width" below "$(number cost ../out)" "$(number uniform_cost ../out)"
    ends 0 quantize "${of_moe[@]}" --method gptq -o regrouped -s int4-group64 --json
    judge "experts and attention have other groups than 32 and 64" test "$(jq -r '.tensors[].scheme' ../out | sort | uniq -c | xargs)" = "48 int4-group32 4 int4-group64"
    ends 0 quantize "${of_moe[@]}" --method gptq -o paired -s int4-group32 --repair-rank 2
    judge "peft gets no stacks of experts" test "$(jq -r '[.target_parameters[] | select(contains("experts"))] | sort | join(" ")' \
        paired-adapter/adapter_config.json)" = "model.layers.0.mlp.experts.down_proj model.layers.0.mlp.experts.gate_up_proj"
    ends 0 prune "${of_moe[@]}" -o pruned --method sparsegpt --sparsity 50 --then int4-group64 --json
    judge "pruned experts have other groups" test "$(jq -r '.tensors[].scheme' ../out | sort | uniq -c | xargs)" = "48 int4-group32 4 int4-group64"
fi
exchanging=("${mixed[@]}" --select '*.[01].self_attn.[kqv]_proj.weight' --allocation exchanging.curves)
ends 0 "${exchanging[@]}" -o mixed-rounds --budget 3bpw --rounds 3 --json
judge "no exchange is tried" test "$(number tried ../out)" -gt 0
judge "an exchange made it worse" below "$(number after ../out)" "$(jq '.allocation.exchanges.before * 1.0000001' ../out)"
judge "exchanges spend more bits than there are" below "$(number bits_per_weight ../out)" 3.0001
judge "what is told is not what is written" test "$(jq '[.tensors[].bytes_after] | add' ../out)" = "$(number bytes_after ../out)"
if ! in_part; then
    ends 0 "${exchanging[@]}" -o mixed-rounds-again --budget 3bpw --rounds 3 --threads 3
    judge "exchanges make other bytes with other threads" cmp -s mixed-rounds/model.safetensors mixed-rounds-again/model.safetensors
fi
ends 0 "${mixed[@]}" "${some[@]}" -o mixed-bytes --budget 9M --allocation mixed.curves
judge "the tensors take more than the budget" test "$(number total_size mixed-bytes/organ/quantize.json)" -le 9437184
ends 0 "${mixed[@]}" "${some[@]}" -o mixed-none --budget 13bpw --allocation mixed.curves --json
stay=$(jq '[.allocation.tensors[] | select(.bits == 16 and (.quantised | not))] | length' ../out)
judge "$stay of 6 are copied unchanged" test "$stay" -gt 0 -a "$stay" -lt 6
judge "unquantised matrices are not listed under ignore" test "$(jq '[.quantization_config.ignore[] | select(test("layers.[03].self_attn.[qkv]_proj"))] | length' mixed-none/config.json)" -eq "$stay"
ends 0 inspect mixed-none
prints "No problems found"
ends 0 "${mixed[@]}" "${some[@]}" -o mixed-dry --budget 4bpw --allocation mixed.curves --dry-run
prints "Dry run, nothing was written"
judge "a dry run wrote something" test ! -e mixed-dry
refused 2 "--budget" quantize tiny-qwen2 -o no -s mixed "${short[@]}"
refused 2 "--method gptq" quantize tiny-qwen2 -o no -s mixed --allocate global --budget 4bpw
refused 2 "--allocate" quantize tiny-qwen2 -o no -s int4-group32 "${short[@]}" --allocate global --budget 4bpw
refused 2 "--budget" quantize tiny-qwen2 -o no -s int4-group32 "${short[@]}" --budget 4bpw
refused 2 "--budget 50%" "${mixed[@]}" -o no --budget 50%
refused 2 "--budget 2bpw" "${mixed[@]}" "${some[@]}" -o no --budget 2bpw
refused 2 "--budget 1M" "${mixed[@]}" "${some[@]}" -o no --budget 1M
ends 0 "${mixed[@]/--quiet/--threads=1}" "${some[@]}" -o mixed-whole --budget 16bpw --allocation mixed.curves --dry-run --json
says "--budget 16bpw"
judge "more than one target is quantised" jq -e '.allocation | .fits_unquantised and .unquantised == 5 and (.tensors | map(select(.quantised)) | length == 1)' ../out
# A larger budget never costs more, and equal widths never cost less.
costs=
budgets="2.3 2.9 3.17 4.21 5 6.6 8.4 8.9 10.3 12.7 13 14.9 15.9 15.99999 16 17 40"
if in_part; then budgets="2.3 4.21 8.4 13 15.99999 40"; fi
for budget in $budgets; do
    ends 0 "${mixed[@]}" "${some[@]}" -o no --budget ${budget}bpw --allocation mixed.curves --dry-run --json
    costs+="$(jq -c '.allocation | [.cost, .uniform_cost]' ../out) "
done
judge "a larger budget costs more: $costs" jq -ne "[$(tr ' ' , <<<"${costs% }")] | . as \$all | all(.[0] <= .[1]) and ([range(1; length) | \$all[.][0] <= \$all[. - 1][0]] | all)"
refused 2 "method" "${mixed[@]}" "${some[@]}" -o no --budget 4bpw --allocation mixed.curves --no-refit

# ---- interrupted and resumed; the same bytes with other threads and memory ----
interrupted INT resumed quantize tiny-qwen2 -o resumed --scheme int4-group32 "${short[@]/--quiet/--threads=1}" "${narrow[@]}"
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 2 quantize tiny-qwen2 -o resumed --scheme int4-group32 "${short[@]}" "${narrow[@]}" --no-refit --resume
says "unfinished run"
ends 2 quantize tiny-qwen2 -o resumed --scheme int4-group32 "${short[@]}" "${narrow[@]}" --moments blocks --resume
says "unfinished run"
ends 0 quantize tiny-qwen2 -o resumed --scheme int4-group32 "${short[@]/--quiet/--threads=3}" "${narrow[@]}" --memory 300M --resume
says "intact"
judge "a resumed run differs from a whole one" cmp -s resolved/model.safetensors resumed/model.safetensors
ends 0 quantize tiny-qwen2 -o little --scheme int4-group32 "${short[@]}" --select '*.0.self_attn.o_proj.weight' --moments blocks
prints "second moments in blocks of 256 inputs"

# ---- mixed widths, interrupted while codes are computed and while curves are measured ----
if ! in_part; then # as the codes of one width, above
    interrupted INT mixed-resumed "${mixed[@]/--quiet/--threads=1}" "${some[@]}" -o mixed-resumed --budget 3.5bpw --allocation mixed.curves
    judge "SIGINT ends it with $code instead of 130" test $code -eq 130
    ends 2 "${mixed[@]}" "${some[@]}" -o mixed-resumed --budget 3bpw --allocation mixed.curves --resume
    says "unfinished run"
    ends 0 "${mixed[@]/--quiet/--threads=3}" "${some[@]}" -o mixed-resumed --budget 3.5bpw --resume
    says "intact"
    judge "a resumed run of mixed widths differs from a whole one" cmp -s mixed/model.safetensors mixed-resumed/model.safetensors
fi
watched=cut.curves interrupted INT mixed-cut "${mixed[@]/--quiet/--threads=1}" "${some[@]}" -o mixed-cut --budget 3.5bpw --allocation cut.curves
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
known=$(jq '[.tensors[].cost | values] | length' cut.curves)
judge "$known curves are kept" test "$known" -gt 0 -a "$known" -lt 6
ends 0 "${mixed[@]/--quiet/--threads=3}" "${some[@]}" -o mixed-cut --budget 3.5bpw --allocation cut.curves --resume
judge "it does not measure the other curves" grep -qF "$((6 - known)) tensors at 2 levels" ../err
judge "curves are not the same" cmp -s mixed.curves cut.curves
judge "an interrupted measurement makes other bytes" cmp -s mixed/model.safetensors mixed-cut/model.safetensors

# ---- blocks of GGUF ----
ends 0 quantize $plain -o by_text.gguf --scheme q4_1 "${short[@]}" "${narrow_blocks[@]}" --threads 1
matches quantize/gguf_gptq ../out
matches quantize/GGUF_GPTQ_REPORT by_text.QUANTIZE_REPORT.md
holds by_text.quantize.json '.definition == "gptq-gguf-resolved/2" and .imatrix == null' '.tensors | length == 14' \
    '.totals | .gptq_output_error == 0.034971546 and .output_error == 0.033203214' '.types[0] | .type == "Q4_1" and .bits_per_weight == 5' \
    '.tensors[0] | .stored_as == "Q4_1" and .calibration_tokens == 256 and .output_error == 0.026984819'
judge "outputs are no better than GPTQ's" below "$(number output_error by_text.quantize.json)" "$(number gptq_output_error by_text.quantize.json)"
ends 0 inspect by_text.gguf
prints "No problems found"
for scheme in $blocks; do
    ends 0 quantize $plain -o $scheme.gguf --scheme $scheme --quiet --json "${narrow_blocks[@]}" "${scored[@]}"
    cp ../out ../nearest
    ends 0 quantize $plain -o $scheme.gguf --scheme $scheme --force --json "${short[@]}" "${narrow_blocks[@]}" --samples 16 "${scored[@]}"
    judge "$scheme: $(number kl_divergence ../out) by a text, $(number kl_divergence ../nearest) without" \
        below "$(number kl_divergence ../out)" "$(number kl_divergence ../nearest)"
done
ends 0 quantize $plain -o both.gguf --scheme q4_1 "${short[@]}" "${narrow_blocks[@]}" --imatrix imatrix/tiny-qwen2.gguf
prints "Columns weighted by tiny-qwen2.gguf"
judge "the imatrix changes nothing" test "$(cmp -s both.gguf by_text.gguf; echo $?)" = 1
ends 0 quantize $plain -o plain.gguf --scheme q4_1 "${short[@]}" "${narrow_blocks[@]}" --no-refit
judge "the definition is not gptq-gguf/2" grep -q '"gptq-gguf/2"' plain.quantize.json
judge "solving anew changed nothing" test "$(cmp -s plain.gguf by_text.gguf; echo $?)" = 1
ends 0 quantize $plain -o dry.gguf --scheme q4_1 "${short[@]}" "${narrow_blocks[@]}" --dry-run
judge "a dry run wrote something" test ! -e dry.gguf
interrupted INT resumed.gguf quantize $plain -o resumed.gguf --scheme q4_1 "${short[@]/--quiet/--threads=1}" "${narrow_blocks[@]}"
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 2 quantize $plain -o resumed.gguf --scheme q4_1 --resume
says "unfinished run"
ends 0 quantize $plain -o resumed.gguf --scheme q4_1 "${short[@]/--quiet/--threads=3}" "${narrow_blocks[@]}" --resume
says "intact"
judge "a resumed run differs from a whole one" cmp -s by_text.gguf resumed.gguf
judge "a resumed run tells of another error" test "$(number output_error resumed.quantize.json)" = "$(number output_error by_text.quantize.json)"
ends 0 quantize $plain -o little.gguf --scheme q4_1 "${short[@]}" "${one_block[@]}" --moments blocks
prints "second moments in blocks of 256 inputs"

# ---- errors ----
refused 2 "--calibration" quantize tiny-qwen2 -o no -s int4-group32 --method gptq
refused 2 "'best'" quantize tiny-qwen2 -o no -s int4-group32 --method best
refused 2 "--calibration" quantize tiny-qwen2 -o no -s int4-group32 --calibration $text
refused 2 "--samples" quantize tiny-qwen2 -o no -s int4-group32 --samples 3
refused 2 "--context" quantize tiny-qwen2 -o no -s int4-group32 --context 32
refused 2 "--no-refit" quantize tiny-qwen2 -o no -s int4-group32 --no-refit
ends 0 quantize tiny-qwen2 -o no -s int4-group32 --method gptq --calibration $text --samples 4000 --dry-run
says "--samples"
refused 2 "--calibration" quantize $plain -o no.gguf -s q4_k --method gptq
refused 2 "--method gptq" quantize $plain -o no.gguf -s q4_0 "${short[@]}" --select 'token_embd.weight'
refused 3 "'blk.3.attn_k.weight'" \
    quantize "$model/../forward/llama.gguf" -o no.gguf -s q8_0 "${short[@]}" --imatrix imatrix/tiny-qwen2.gguf
refused 2 "--samples" quantize $plain -o no.gguf -s q4_k --samples 3
# A NaN in the last matrix of the last layer reaches no other matrix, so no calibrated input shows it.
cp -rL tiny-qwen2 odd && chmod -R u+w odd
shard=odd/model-00003-of-00003.safetensors
header=$(od -An -t u8 -N 8 "$shard" | tr -d ' ')
begin=$(tail -c +9 "$shard" | head -c "$header" | jq '."model.layers.3.mlp.down_proj.weight".data_offsets[0]')
printf '\xc0\x7f' | dd of="$shard" bs=1 seek=$((8 + header + begin + 200)) conv=notrunc status=none
refused 3 "'model.layers.3.mlp.down_proj.weight'" \
    quantize odd -o no -s int4-group32 --method gptq --calibration $text --samples 4 --context 64 --quiet --select '*.3.mlp.*'
finish
