#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests prune --then, which prunes and quantises each layer in one pass. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

text=tiny-qwen2/calibration.txt
short=(--calibration $text --samples 4 --context 64 --quiet)
scored=(--evaluate tiny-qwen2/heldout.txt --evaluate-context 64 --evaluate-max-tokens 512)
whole=(--method physarum-v3 --sparsity 50)
targets=(--select '*.[02].self_attn.*_proj.weight')
masked=245760 # half of them
if sampled; then
    targets=(--select '*.self_attn.o_proj.weight')
    masked=$((4 * 320 * 320 / 2))
fi
half=("${whole[@]}" "${targets[@]}")

# number KEY FILE: prints the value of the first line that has the key.
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),\{0,1\}$/\1/p" "$2" | head -n 1; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a < b) }'; }

# ---- results and reports ----
ends 0 prune tiny-qwen2 -o both "${half[@]}" "${short[@]}" --then int4-group32
sampled || matches prune/then ../out
sampled || matches prune/then_report both/organ/QUANTIZE_REPORT.md
judge "the definition is not sparse-gptq-resolved/3" grep -q '"definition": "sparse-gptq-resolved/3"' both/organ/quantize.json
judge "the codes are no better than GPTQ's" below "$(number output_error both/organ/quantize.json)" "$(number gptq_output_error both/organ/quantize.json)"
ends 0 inspect both
prints "No problems found"
ends 0 quantize tiny-qwen2 -o dense --scheme int4-group32 --method gptq "${short[@]}" "${targets[@]}"
judge "config.json is another one than quantize writes" cmp -s both/config.json dense/config.json

# ---- zeros of the packed weights, counted after dequantize of donor and output ----
ends 0 dequantize tiny-qwen2 -o donor --quiet
methods="sparsegpt alps physarum-v2 physarum-v3" schemes="fp8-block128 fp8-tensor int8-channel" first='*.0.mlp.*_proj.weight'
some=(--select '*.[02].*_proj.weight') half_of_some=1075200
if in_part; then methods="sparsegpt physarum-v3" some=("${targets[@]}") half_of_some=$masked; fi
if sampled; then schemes=fp8-block128 first='*.0.mlp.down_proj.weight'; fi
for method in $methods; do
    ends 0 prune tiny-qwen2 -o $method --method $method --pattern 2:4 "${short[@]}" "${some[@]}" --then int3-group32
    ends 0 dequantize $method -o $method-plain --quiet
    ends 0 audit donor $method-plain --refitted --json --quiet "${some[@]}"
    judge "$method: the report has other zeros than the audit" test "$(number killed ../out)" = "$(number zeros $method/organ/quantize.json)"
    judge "$method: less than half is zero" test "$(number killed ../out)" -ge "$(number masked $method/organ/quantize.json)"
    judge "$method: half was not left out" test "$(number masked $method/organ/quantize.json)" = $half_of_some
done
for scheme in $schemes; do
    ends 0 prune tiny-qwen2 -o $scheme "${whole[@]}" "${short[@]}" --then $scheme --select "$first"
    ends 0 dequantize $scheme -o $scheme-plain --quiet
    ends 0 audit donor $scheme-plain --refitted --json --quiet --select "$first"
    judge "$scheme: the report has other zeros than the audit" test "$(number killed ../out)" = "$(number zeros $scheme/organ/quantize.json)"
done

# ---- two runs instead of one: calibrated codes change zeros, codes without calibration lose more ----
if ! in_part; then # numbers, of a whole model
    ends 0 prune tiny-qwen2 -o scored "${whole[@]}" "${short[@]}" --then int3-group32 --json "${scored[@]}"
    cp ../out ../together
    ends 0 prune tiny-qwen2 -o first "${whole[@]}" "${short[@]}"
    ends 0 quantize first -o second --scheme int4-group32 --method gptq "${short[@]}"
    ends 0 dequantize second -o second-plain --quiet
    ends 0 audit donor second-plain --refitted --json --quiet
    judge "GPTQ on a pruned model keeps its zeros" below "$(number killed ../out)" 2150400
    ends 0 quantize first -o nearest --scheme int3-group32 --quiet
    ends 0 perplexity nearest --compare tiny-qwen2 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --json --quiet
    judge "together $(number kl_divergence ../together), to the nearest codes $(number kl_divergence ../out)" \
        below "$(number kl_divergence ../together)" "$(number kl_divergence ../out)"
fi

# ---- interrupted and resumed, dry runs, little memory ----
interrupted INT resumed prune tiny-qwen2 -o resumed "${half[@]}" "${short[@]/--quiet/--threads=1}" --then int4-group32
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 2 prune tiny-qwen2 -o resumed --method alps --sparsity 50 "${short[@]}" --then int4-group32 --resume
says "unfinished run"
ends 0 prune tiny-qwen2 -o resumed "${half[@]}" "${short[@]/--quiet/--threads=3}" --then int4-group32 --resume
says "intact"
judge "a resumed run differs from a whole one" cmp -s both/model.safetensors resumed/model.safetensors
judge "a resumed run counts otherwise" test "$(number zeros both/organ/quantize.json)" = "$(number zeros resumed/organ/quantize.json)"
ends 0 prune tiny-qwen2 -o dry "${half[@]}" "${short[@]}" --then int4-group32 --dry-run
prints "Dry run, nothing was written"
judge "a dry run wrote something" test ! -e dry

# ---- one budget of zeros, of bits, of bytes ----
divided=(prune tiny-qwen2 --method physarum-v2 --then=int4-group32 "${short[@]/--quiet/--allocate-tokens=256}" --allocate global
    --select '*.self_attn.o_proj.weight,*.2.mlp.down_proj.weight')
ends 0 "${divided[@]}" -o shared --budget 60% --allocation curves --threads 1
matches prune/then_allocated ../out
says "5 tensors at 2 levels"
masked=$(number masked shared/organ/quantize.json) # 60 % of 686,080 weights; each tensor rounds its share
judge "the budget was not met" test "$((masked > 411648 ? masked - 411648 : 411648 - masked))" -le 16
judge "no map of what each tensor got" grep -q 'Allocation by layer and projection' shared/organ/QUANTIZE_REPORT.html
ends 0 "${divided[@]/--then=int4-group32/--quiet}" -o alone --budget 60% --allocation curves
for tensor in layers.0.self_attn.o_proj layers.2.mlp.down_proj; do
    judge "$tensor got another share than without --then" test \
        "$(grep -A 4 "name.*$tensor" shared/organ/quantize.json | number sparsity /dev/stdin)" = \
        "$(grep -A 4 "name.*$tensor" alone/organ/prune.json | number sparsity /dev/stdin)"
done
ends 0 "${divided[@]}" -o bits --budget 3.1bpw --allocation curves --threads 3
says "--budget 3.1bpw"
prints 'The budget was 3.1bpw: codes of kept weights'
judge "curves that are there are measured again" bash -c '! grep -q "tensors at 2 levels" ../err'
judge "60 % and what they take are not the same" cmp -s shared/model.safetensors bits/model.safetensors
ends 0 "${divided[@]}" -o bytes --budget 8620K --allocation curves --dry-run
says "--budget 8620K"
prints 'Allocation: one budget of 56.6652 % over'
if ! in_part; then # as cli_allocate and cli_gptq have it
    interrupted INT stopped "${divided[@]}" -o stopped --budget 60% --rounds 1
    judge "SIGINT ends it with $code instead of 130" test $code -eq 130
    judge "no curve is in the journal" grep -q curve_of .stopped.organ-partial/organ/journal.jsonl
    ends 0 "${divided[@]}" -o stopped --budget 60% --rounds 1 --resume
    judge "curves were measured again" bash -c '! grep -q "tensors at 2 levels" ../err'
    ends 0 "${divided[@]}" -o undisturbed --budget 60% --rounds 1 --quiet
    judge "a resumed run differs from a whole one" cmp -s undisturbed/model.safetensors stopped/model.safetensors
fi

# ---- errors ----
refused 2 "--then" prune tiny-qwen2 -o no --then int4-group32
refused 2 --then prune tiny-qwen2 -o no --method magnitude -s 50 --then int4-group32
refused 2 --then prune tiny-qwen2 -o no --method wanda -s 50 "${short[@]}" --then int4-group32
refused 2 --then prune tiny-qwen2 -o no --method physarum-v2 --no-refit "${short[@]}" --then int4-group32
refused 2 "'q4_k'" prune tiny-qwen2 -o no "${half[@]}" "${short[@]}" --then q4_k
refused 2 "--budget 1.7bpw" "${divided[@]}" -o no --budget 1.7bpw
refused 2 "--budget 8M" "${divided[@]}" -o no --budget 8M
refused 2 "97 %" "${divided[@]}" -o no --budget 97%
refused 2 "--sparsity" "${divided[@]}" -o no --budget 3bpw -s 50
refused 2 "--pattern" "${divided[@]}" -o no --budget 3bpw --pattern 2:4
refused 2 "--budget 3bpw" "${divided[@]/--then=int4-group32/--quiet}" -o no --budget 3bpw
refused 2 "--memory" "${divided[@]}" -o no --budget 3bpw --memory 10M
refused 4 "missing/curves" "${divided[@]}" -o no --budget 50% --allocation missing/curves
refused 2 "3:7" prune tiny-qwen2 -o no --method alps --pattern 3:7 "${short[@]}" --then int4-group32
refused 2 "GGUF" prune tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf -o no "${half[@]}" \
    "${short[@]}" --then int4-group32
finish
