#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests prune --allocate: the sparsity of each tensor, curves that are stored and read again, errors, an interruption.
. "$(dirname "$0")/../kit/cli_kit.sh"

text=tiny-qwen2/calibration.txt
targets=(--select '*.self_attn.[kv]_proj.weight,*.2.mlp.up_proj.weight')
short=(--calibration $text --samples 4 --context 64 --allocate-tokens 256)
methods="physarum-v1 magnitude wanda sparsegpt"
if in_part; then methods="magnitude sparsegpt"; fi
if sampled; then short[-1]=64 methods=magnitude; fi
prune=(prune tiny-qwen2 "${targets[@]}" "${short[@]}" --allocate global)

# same A B: checks that both outputs have the same weights.
same() { judge "$1 and $2 differ" cmp -s <(cat "$1"/*.safetensors) <(cat "$2"/*.safetensors); }
differ() { judge "$1 and $2 are the same" bash -c '! cmp -s <(cat "$1"/*.safetensors) <(cat "$2"/*.safetensors)' - "$1" "$2"; }

# ---- every method; curves are measured, stored and read again ----
ends 0 "${prune[@]}" -o v2 --method physarum-v2 --budget 50% --allocation v2.curves --quiet
sampled || matches prune/allocated ../out
sampled || matches prune/allocated_report v2/organ/REPORT.md
judge "no map of what each tensor got" grep -q 'Allocation by layer and projection' v2/organ/REPORT.html
judge "the curves were not kept" grep -q '"schema": "organ.allocation/1"' v2.curves
before=$(inventory | grep curves)
ends 0 "${prune[@]}" -o again --method physarum-v2 --budget 50% --allocation v2.curves
judge "curves that are there are measured again" bash -c '! grep -q "tensors at 2 levels" ../err'
same v2 again
ends 0 "${prune[@]}" -o other --method physarum-v2 --sparsity 65 --allocation v2.curves --quiet
judge "the curves were written anew" test "$(inventory | grep curves)" = "$before"
prints 'one budget of 65 %'
prints '  65.00 %'
ends 0 "${prune[@]}" -o plain --method physarum-v2 --budget 50% --allocate-way 0.01 --allocation v2.curves --quiet
differ v2 plain
ends 0 audit tiny-qwen2 v2 "${targets[@]}" --refitted --quiet
for member in definition method text allocate_tokens levels tensors 'tensors[0].name' 'tensors[0].cost'; do
    jq "del(.$member)" v2.curves | sed 's/"effort": 1,/"effort": 1.0,/' >lacking.curves
    refused 3 "${member#*.}" "${prune[@]}" -o no --method physarum-v2 --budget 50% --allocation lacking.curves --dry-run
done
rm lacking.curves
for method in $methods; do
    ends 0 "${prune[@]}" -o $method --method $method --budget 40% --json --quiet
    judge "$method: no tensor got another share" test "$(grep -c '"sparsity": ' ../out)" -gt 9
    ends 0 prune tiny-qwen2 "${targets[@]}" -o $method-plain --method $method --sparsity 40 $([[ $method == [ws]* ]] && printf '%s ' "${short[@]:0:6}") --quiet
    differ $method $method-plain
done
of_three=(prune tiny-qwen2 --select '*.self_attn.[kv]_proj.weight' "${short[@]}" --allocate global --method wanda --budget 50% --allocate-layers 3)
ends 0 "${of_three[@]}" -o three --json --quiet
judge "other layers were measured" test "$(grep -c '"between": true' ../out)" = 2

# ---- exchanges: equal for any number of threads; their results are stored and not measured again ----
ends 0 "${prune[@]}" -o exchanged --method physarum-v2 --budget 50% --allocation v2.curves --rounds 2 --threads 1
says "round 2 of 2"
prints 'Exchanges between pairs of tensors: '
prints '  50.00 %'
if ! in_part; then
    ends 0 "${prune[@]}" -o other-threads --method physarum-v2 --budget 50% --allocation v2.curves --rounds 2 --threads 5 --memory 1G --quiet
    same exchanged other-threads
fi
differ v2 exchanged

# ---- dry runs ----
ends 0 "${prune[@]}" -o none --method wanda --budget 50% --dry-run --quiet
prints 'Allocation: one budget of 50 % over 9 tensors; 9 curves would be measured, on'
ends 0 "${of_three[@]}" -o none --dry-run --quiet
prints 'Allocation: one budget of 50 % over 8 tensors; 6 curves would be measured, on'
ends 0 "${prune[@]}" -o none --method wanda --budget 50% --allocate-layers 3 --dry-run --quiet # up_proj is in none of the three
prints 'Allocation: one budget of 50 % over 9 tensors; 7 curves would be measured, on'
ends 0 "${prune[@]}" -o none --method physarum-v2 --budget 50% --allocation v2.curves --dry-run --quiet
prints 'their curves are read'
judge "a dry run made something" test ! -e none

# ---- errors ----
v2=(prune tiny-qwen2 -o new --method physarum-v2 "${targets[@]}")
for option in --budget=50% --allocation=curves --rounds=3 --allocate-tokens=100 --allocate-layers=3 --allocate-way=0.5; do
    refused 2 "${option%%=*}" "${v2[@]}" --calibration $text "$option"
    refused 2 "${option%%=*}" prune tiny-qwen2 -o new "$option"
done
all=("${v2[@]}" "${short[@]}" --allocate global)
refused 2 "one of global" "${v2[@]}" "${short[@]}" --allocate local
refused 2 "--budget" "${all[@]}"
refused 2 "--budget '50'" "${all[@]}" --budget 50
refused 2 '--budget 3.5bpw' "${all[@]}" --budget 3.5bpw
refused 2 '--budget 9GB' "${all[@]}" --budget 9GB
refused 2 '--budget 50%' "${all[@]}" --budget 50% --sparsity 60
refused 2 "10 %" "${all[@]}" --budget 10%
refused 2 "97 %" "${all[@]}" --sparsity 97
refused 2 '--pattern' "${all[@]}" --pattern 2:4
refused 2 '--allocate' prune tiny-qwen2 -o new --method wanda --allocate global --budget 50% --imatrix x
refused 2 '--calibration' prune tiny-qwen2 -o new --method magnitude --allocate global --budget 50%
refused 2 '--calibration' prune tiny-qwen2 -o new --allocate global --budget 50%
refused 2 '--block-size' prune tiny-qwen2 -o new --method physarum-v1 "${short[@]}" --allocate global --budget 50% --block-size 64
refused 3 '--allocate-tokens' "${all[@]}" --budget 50% --samples 200 --context 300 --allocate-tokens 80000 --memory 16G
ends 0 "${v2[@]}" --calibration $text --samples 1000 --context 72 --allocate global --budget 50% --dry-run --json
says '--samples'
judge "the windows of a text leave too little for the allocation" test "$(jq '.calibration.samples > 500 and .allocation.tokens >= 1024' ../out)" = true
refused 2 '--allocate-layers' "${all[@]}" --budget 50% --allocate-layers 1
refused 2 "physarum-v2/2" prune tiny-qwen2 -o new --method wanda "${targets[@]}" "${short[@]}" --allocate global --budget 50% --allocation v2.curves
refused 2 "samples" "${all[@]}" --budget 50% --samples 5 --allocation v2.curves
refused 2 "text" "${v2[@]}" "${short[@]/calibration.txt/heldout.txt}" --allocate global --budget 50% --allocation v2.curves
refused 2 "v2.curves" "${all[@]}" --budget 50% --select '*.self_attn.[qv]_proj.weight,*.2.mlp.up_proj.weight' --allocation v2.curves
refused 2 "v2.curves" "${all[@]}" --budget 50% --select '*.self_attn.v_proj.weight' --allocation v2.curves
echo '{"schema": "organ.prune/1"}' >wrong.curves
refused 3 "'organ.prune/1'" "${all[@]}" --budget 50% --allocation wrong.curves
head -c 300 v2.curves >cut.curves
refused 3 'cut.curves' "${all[@]}" --budget 50% --allocation cut.curves
refused 4 'missing/curves' "${all[@]}" --budget 50% --allocation missing/curves

# ---- interrupted while curves are measured: they are not measured again ----
whole=(prune tiny-qwen2 "${short[@]}" --allocate global --method wanda --budget 50%) curves=28
if in_part; then whole+=(--select '*.self_attn.[kv]_proj.weight') curves=8; fi
ends 0 "${whole[@]}" -o undisturbed --quiet
interrupted INT stopped "${whole[@]}" -o stopped
judge "ends with $code, not 130" test "$code" = 130
judge "it does not offer to go on" grep -q -- '--resume continues' ../err
known=$(grep -c curve_of .stopped.organ-partial/organ/journal.jsonl)
judge "no curve is in the journal" test "$known" -gt 0
ends 0 "${whole[@]}" -o stopped --resume
if ((known < curves)); then judge "it does not measure the other curves" grep -qF "$((curves - known)) tensors at 2 levels" ../err; fi
same undisturbed stopped

finish
