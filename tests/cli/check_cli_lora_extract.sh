#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ lora extract: output, reports, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "${model%/*}/tiny-lora" tiny-lora
"$organ" lora merge --base tiny-qwen2 --adapter tiny-lora --keep-tied -o tuned --scale 4 --quiet >../out 2>../err || bad "no tuned model" ../err

some=()
if in_part; then some=(--select 'q_proj,v_proj'); fi

# ---- results ----
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o adapter -r 4 --quiet
matches lora/lora_extract ../out
judge "there is a word on stderr" test ! -s ../err
judge "the report is not there" test -s adapter/organ/LORA_REPORT.md -a -s adapter/organ/LORA_REPORT.html -a -s adapter/organ/lora_extract.json
ends 0 lora merge --base tiny-qwen2 --adapter adapter -o no --dry-run # every key finds its place
if in_part; then ends 0 lora extract --base tiny-qwen2 --tuned tuned -o adapter --force -r 4 --quiet "${some[@]}"; fi
cp adapter/adapter_model.safetensors ../first
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o adapter --force -r 4 --json --quiet --threads 3 --memory 8M "${some[@]}"
prints '"schema": "organ.lora_extract/1"'
if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' adapter/organ/lora_extract.json) >../difference; then good; else
    bad "--json differs from the file" ../difference
fi
judge "other threads and memory make another adapter" cmp -s ../first adapter/adapter_model.safetensors
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o by-energy --rank-by energy 0.9 -r 32 --dtype f32 --quiet "${some[@]}"
judge "no rank is its own" grep -q '"model\\\\.layers\\\\.' by-energy/adapter_config.json
ends 0 lora sanitize by-energy --check
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o exact --exact --select q_proj,v_proj -r 4 --quiet
prints "Changed, without factors"
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o no --dry-run
matches lora/lora_extract_dry ../out
judge "a dry run left something" test ! -e no
ends 0 quantize tiny-qwen2 -o fp8 --scheme fp8-block128 --quiet
ends 0 lora extract --base fp8 --tuned tuned -o mended -r 16 --quiet --select down_proj
prints "Method B: the base is quantised"

# ---- repair of a damaged base by a calibration text ----
text=(--calibration tiny-qwen2/calibration.txt --samples 8 --context 64)
ends 0 quantize tiny-qwen2 -o int3 --scheme int3-group32 --quiet
ends 0 lora extract --base int3 --tuned tiny-qwen2 -o plain -r 8 --quiet
ends 0 lora extract --repair tiny-qwen2 int3 -o repaired -r 8 "${text[@]}" --quiet --threads 1
prints "outputs, base"
report=repaired/organ/lora_extract.json
judge "no factor lowers the error of the outputs" jq -e '[.modules[] | select(.outputs_after > .outputs_before * 0.95)] == []' $report
judge "the report does not name the text" jq -e '.definition == "lora-repair/1" and .parameters.samples == 8 and .calibration' $report >../null
for which in plain repaired; do
    ends 0 lora merge --base int3 --adapter $which -o with-$which --quiet
    ends 0 perplexity tiny-qwen2 --compare with-$which --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --json --quiet
    jq '.models[1].comparison.kl_divergence' ../out >>../kl
done
judge "the text does not help" jq -es '.[1] < 0.95 * .[0]' ../kl
ends 0 lora extract --base int3 --tuned tiny-qwen2 -o again -r 8 "${text[@]}" --quiet --threads 3 --memory 64M
judge "other threads and memory make another repair" cmp -s repaired/adapter_model.safetensors again/adapter_model.safetensors
interrupted INT resumed lora extract --repair tiny-qwen2 int3 -o resumed -r 8 "${text[@]}" --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 2 lora extract --repair tiny-qwen2 int3 -o resumed -r 8 "${text[@]/8/9}" --resume --quiet
says "unfinished run"
ends 0 lora extract --repair tiny-qwen2 int3 -o resumed -r 8 "${text[@]}" --resume
judge "a resumed repair differs from a whole one" cmp -s repaired/adapter_model.safetensors resumed/adapter_model.safetensors
ends 0 lora extract --repair tiny-qwen2 int3 -o no -r 8 "${text[@]}" --dry-run
judge "a dry run left something" test ! -e no
refused 2 "--rank-by" lora extract --repair tiny-qwen2 int3 -o no "${text[@]}" --rank-by energy=0.9
refused 2 "--exact" lora extract --repair tiny-qwen2 int3 -o no "${text[@]}" --exact
refused 2 "--repair" lora extract --repair tiny-qwen2 int3 -o no "${text[@]}" --base int3
refused 2 "--repair" lora extract --repair tiny-qwen2 -o no "${text[@]}"
refused 2 "--calibration" lora extract --repair tiny-qwen2 int3 -o no
refused 2 "'model.layers.0.self_attn.q_proj.weight'" lora extract --repair int3 tiny-qwen2 -o no "${text[@]}"
# Equal models are noticed before a text is run or a change decomposed.
refused 3 "nothing to extract" lora extract --base tiny-qwen2 --tuned tiny-qwen2 -o no --calibration tiny-qwen2/calibration.txt --progress none
run lora extract --base tiny-qwen2 --tuned tiny-qwen2 -o no --calibration tiny-qwen2/calibration.txt --progress json
jq -s . ../err >../events
holds ../events '[.[] | select(.event == "advance" and .tensor != null)] == []'
refused 4 "nothing.txt" lora extract --repair tiny-qwen2 int3 -o no --calibration nothing.txt

# ---- stacks of experts, as peft's parameters ----
# applied TYPE ARGS...: extracts the change by pruning in part, merges it, and compares the likelihoods with those of the pruned model.
applied() {
    local type=$1
    rm -rf experts applied
    ends 0 lora extract --base "$type" --tuned pruned -o experts -r 64 --dtype f32 --quiet "${@:2}"
    ends 0 lora merge --base "$type" --adapter experts -o applied --dtype f32 --quiet
    ends 0 perplexity pruned --compare applied --text tiny-qwen2/heldout.txt --context 16 --max-tokens 64 --json --quiet
    judge "the adapter for $type makes another model" jq -e '[.models[].figures.nll] | ((.[0] - .[1]) | fabs) < 1e-5 * .[0]' ../out
}
keys() { "$organ" inspect experts/adapter_model.safetensors --tensors --json | jq -r '.tensors[].name' | sort; }
experts=base_model.model.model.layers.0.mlp.experts
for type in qwen3_moe-stacked gpt_oss; do
    (cd "${organ%/build/organ}" && build/checks/arch_model $type "$scratch/area/$type") >../out 2>&1 || bad "$type cannot be made" ../out
    ends 0 prune $type -o pruned --sparsity 50 --quiet --force
    applied $type
    judge "$type has not both parameters" test "$(jq '.target_parameters | length' experts/adapter_config.json)" = 8
    judge "$type has other wrappers" test "$(keys | grep -cE "^$experts(\.base_layer)?\.lora_[AB]\.weight$")" = 4
    ends 0 lora extract --base $type --tuned pruned -o alone -r 64 --dtype f32 --quiet --select gate_up_proj --force
    judge "a single parameter of $type has two wrappers" test "$(jq '.target_parameters | length' alone/adapter_config.json)" = 4
    judge "its wrapper is inside of another one" test -z "$("$organ" inspect alone/adapter_model.safetensors --tensors | grep base_layer)"
    ends 0 prune $type -o pruned --sparsity 50 --select '*down_proj' --quiet --force
    applied $type
    judge "an unchanged parameter of $type has no zeros of rank 1" test "$(jq '.rank_pattern["model\\.layers\\.0\\.mlp\\.experts\\.gate_up_proj"]' experts/adapter_config.json)" = 1
    judge "target_modules has parameters" test "$(jq -c .target_modules experts/adapter_config.json)" = '[]'
    # vLLM 0.32 loads stacks of GPT-OSS, but of Qwen3-MoE only factors of each expert.
    served='(.vllm_max_lora_rank > 0) and ($warns == 0)' && [[ $type == qwen3_moe-stacked ]] && served='(.vllm_max_lora_rank == null) and ($warns == 1)'
    judge "$type: another verdict on vLLM" jq -e "([.warnings[] | select(contains(\"GPT-OSS\"))] | length) as \$warns | .adapter | $served" experts/organ/lora_extract.json
done

# ---- matrices that transformers joins: they are left out, and named ----
(cd "${organ%/build/organ}" && build/checks/arch_model minimax_m3_vl "$scratch/area/minimax_m3_vl") >../out 2>&1 || bad "minimax_m3_vl cannot be made" ../out
ends 0 prune minimax_m3_vl -o pruned --sparsity 50 --quiet --force
ends 0 lora extract --base minimax_m3_vl --tuned pruned -o joined -r 4 --quiet
judge "joined matrices have factors" test -z "$("$organ" inspect joined/adapter_model.safetensors --tensors | grep gate_up_proj)"
judge "the report does not say why" grep -q "transformers joins it with another matrix" joined/organ/lora_extract.json
ends 0 lora extract --base minimax_m3_vl --tuned pruned -o joined -r 4 --quiet --save-full --force
judge "a joined matrix is stored whole" test -z "$("$organ" inspect joined/adapter_model.safetensors --tensors | grep gate_up_proj)"

# ---- errors ----
mkdir taken && echo x >taken/x
refused 2 "--tuned" lora extract --base tiny-qwen2 -o no
refused 2 "'--tuned'" lora extract --base tiny-qwen2 --tune tuned -o no
refused 2 "taken" lora extract --base tiny-qwen2 --tuned tuned -o taken
refused 2 "tiny-qwen2" lora extract --base tiny-qwen2 --tuned tuned -o tiny-qwen2/inside
refused 2 "--rank-by" lora extract --base tiny-qwen2 --tuned tuned -o no --rank-by energy 1.5
refused 2 "'0.9'" lora extract --base tiny-qwen2 --tuned tuned -o no 0.9
refused 2 "'x_proj'" lora extract --base tiny-qwen2 --tuned tuned -o no --select q_proj,x_proj
refused 2 "'f64'" lora extract --base tiny-qwen2 --tuned tuned -o no --dtype f64
refused 2 "organ convert" lora extract --base tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --tuned tuned -o no
refused 3 "tiny-qwen2" lora extract --base tiny-qwen2 --tuned tiny-qwen2 -o no --quiet "${some[@]}"
refused 4 "nowhere" lora extract --base tiny-qwen2 --tuned nowhere -o no
finish
