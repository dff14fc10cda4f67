#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests prune --method and audit --refitted: results, reports, errors, an interruption.
. "$(dirname "$0")/../kit/cli_kit.sh"

text=tiny-qwen2/calibration.txt
short=(--calibration $text --samples 4 --context 64 --quiet)
some=()
if in_part; then some=(--select '*.self_attn.[kv]_proj.weight'); fi

# number KEY FILE: prints the value of the first line that has the key.
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),\{0,1\}$/\1/p" "$2" | head -n 1; }

# ---- results and reports ----
ends 0 prune tiny-qwen2 -o v2 --method physarum-v2 "${short[@]}" --sparsity 50
matches prune/calibrated ../out
matches prune/calibrated_report v2/organ/REPORT.md
judge "the definition is not physarum-v2/2" grep -q 'physarum-v2/2' v2/organ/prune.json
ends 0 audit tiny-qwen2 v2 --refitted --quiet
matches prune/calibrated_audit ../out
ends 1 audit tiny-qwen2 v2 --quiet
says '--refitted'
ends 0 audit tiny-qwen2 v2 --refitted --json --quiet
judge "audit and prune count differently" test "$(number compensated ../out)" = "$(number compensated v2/organ/prune.json)"
judge "audit and prune kill differently" test "$(number killed ../out)" = "$(number killed v2/organ/prune.json)"

ends 0 prune tiny-qwen2 -o kept --method physarum-v2 --no-refit "${short[@]}" "${some[@]}"
ends 0 audit tiny-qwen2 kept --quiet "${some[@]}"
ends 0 prune tiny-qwen2 -o magnitude --method magnitude --sparsity 50 --quiet
matches prune/calibrated_magnitude ../out
ends 0 audit tiny-qwen2 magnitude --quiet
ends 0 prune tiny-qwen2 -o wanda --method wanda --pattern 2:4 "${short[@]}"
prints '50.00 %  50.00 %  50.00 %'
ends 0 audit tiny-qwen2 wanda --quiet
ends 0 prune tiny-qwen2 -o sweep --method sparsegpt --pattern 4:8 --select '*.0.mlp.*_proj.weight' "${short[@]}"
prints "Proof:   organ audit tiny-qwen2 sweep --select '*.0.mlp.*_proj.weight' --refitted"
ends 0 audit tiny-qwen2 sweep --select '*.0.mlp.*_proj.weight' --refitted --quiet
gguf=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
for definition in alps/3 physarum-v3/4; do
    method=${definition%/*}
    ends 0 prune tiny-qwen2 -o $method --method $method "${short[@]}" --sparsity 50 "${some[@]}"
    judge "the definition is not $definition" grep -q "\"definition\": \"$definition\"" $method/organ/prune.json
    judge "nothing is compensated" test "$(number compensated $method/organ/prune.json)" -gt 0
    ends 0 audit tiny-qwen2 $method --refitted --quiet "${some[@]}"
done
first='*.0.self_attn.*_proj.weight'
if sampled; then first='*.0.self_attn.k_proj.weight'; fi
for method in physarum-v3 physarum-v2 alps sparsegpt wanda; do
    ends 0 prune tiny-qwen2 -o patterned --force --method $method "${short[@]}" --pattern 12:16 --select "$first"
    prints '25.00 %  25.00 %  25.00 %'
done
holds physarum-v3/organ/prune.json '[.. | objects | select(has("effort"))] != []'
holds alps/organ/prune.json '[.. | objects | select(has("effort"))] == []'
judge "v3 does not tell its products" grep -q '"products":24' <(tr -d ' ' <physarum-v3/organ/prune.jsonl)
if in_part; then some=(--select 'blk.*.attn_[kv].weight'); fi
ends 0 prune $gguf -o gguf --method physarum-v2 "${short[@]}" --sparsity 50 "${some[@]}"
ends 0 audit $gguf gguf --refitted --quiet "${some[@]}"
ends 0 prune tiny-qwen2 -o nothing --method wanda --sparsity 50 "${short[@]}" --dry-run
refused 2 "--sparsity" prune tiny-qwen2 -o nothing --method magnitude --sparsity 0.5 --dry-run
judge "a dry run made something" test ! -e nothing

# ---- hidden states on a disk ----
mkdir disk
plain() { sed '/^  "run": {$/,$d' "$1"; }
same() { judge "$1 and $2 differ" cmp -s <(cat "$1"/*.safetensors && plain "$1/organ/$3") <(cat "$2"/*.safetensors && plain "$2/organ/$3"); }
spilling=(--calibration $text --samples 20 --context 64 --select '*.[01].self_attn.[qkv]_proj.weight' --quiet --sparsity 50)
ways=(wanda 'physarum-v3 --then int4-group32' physarum-v2 'magnitude --allocate global --allocate-tokens 64 --rounds 1')
if in_part; then ways=(wanda 'physarum-v3 --then int4-group32' 'magnitude --allocate global --allocate-tokens 64 --rounds 1'); fi
if sampled; then ways=(wanda 'physarum-v3 --then int4-group32'); fi
for way in "${ways[@]}"; do
    report=prune.json
    [[ $way == *--then* ]] && report=quantize.json
    read -ra way <<<"$way"
    ends 0 prune tiny-qwen2 -o held --force "${spilling[@]}" --method "${way[@]}" --threads 1
    ends 0 prune tiny-qwen2 -o spilled --force "${spilling[@]}" --method "${way[@]}" --threads 3 --scratch disk
    same held spilled $report
done
judge "something is left in the scratch directory" test -z "$(ls -A disk)"
# Neither --memory nor --scratch decides whether second moments are whole; without memory for them the run ends.
tight=(prune tiny-qwen2 --method sparsegpt --calibration $text --context 64 --quiet -s 50 --select '*.0.mlp.*_proj.weight' --force -o tight --samples 150 --threads 2)
if ! sampled; then
    ends 0 "${tight[@]}"
    judge "second moments are in blocks" test "$(number block_diagonal_tensors tight/organ/prune.json)" = 0
    whole=$(cat tight/*.safetensors | sha256sum)
    memories=("--memory auto" "--memory 512M" "--memory 48M" "--memory 36M --scratch disk")
    if in_part; then memories=("--memory 48M" "--memory 36M --scratch disk"); fi
    for way in "${memories[@]}"; do
        read -ra way <<<"$way"
        ends 0 "${tight[@]}" "${way[@]}"
        judge "the memory decides bytes" test "$(cat tight/*.safetensors | sha256sum)" = "$whole"
    done
    refused 2 '--moments' "${tight[@]}" --memory 38M
    ends 0 "${tight[@]}" --memory 38M --moments blocks
    judge "all second moments are whole" test "$(number block_diagonal_tensors tight/organ/prune.json)" -gt 0
    judge "blocks give the bytes of whole moments" test "$(cat tight/*.safetensors | sha256sum)" != "$whole"
fi

# ---- --compute: the same bits with any threads, memory and scratch; named in the report; refused where the CPU has no instructions for it ----
ORGAN_ISA=scalar refused 2 "--compute bf16" prune tiny-qwen2 -o new --method wanda -s 50 "${short[@]}" --compute bf16
says AVX-512
ORGAN_ISA=scalar refused 2 "--compute split" quantize tiny-qwen2 -o new -s int4-group32 --method gptq "${short[@]}" --compute split
ORGAN_ISA=scalar refused 2 "--compute bf16" quantize tiny-qwen2 -o new -s int8-channel --smooth auto "${short[@]}" --compute bf16
ORGAN_ISA=scalar refused 2 "--compute bf16" width tiny-qwen2 -o new --ffn 50% "${short[@]}" --compute bf16
ORGAN_ISA=scalar refused 2 "--compute bf16" layers tiny-qwen2 -o new --drop 1 --calibration $text --context 64 --quiet --compute bf16
ln -s "${model%/*}/tiny-moe" tiny-moe
ORGAN_ISA=scalar refused 2 "--compute bf16" experts tiny-moe -o new --keep 50% "${short[@]}" --compute bf16
refused 2 "'fast'" prune tiny-qwen2 -o new --method wanda -s 50 "${short[@]}" --compute fast
refused 2 '--method magnitude' prune tiny-qwen2 -o new --method magnitude -s 50 --compute bf16
refused 2 '--evaluate' prune tiny-qwen2 -o new --method magnitude -s 50 --evaluate-compute bf16
computing=(--calibration $text --samples 20 --context 64 --quiet --json)
first_layers="--select *.[01].*_proj.weight"
ways=("prune -s 50 --method physarum-v3 $first_layers" "quantize -s int4-group32 --method gptq $first_layers")
ways+=('quantize -s int8-channel --activation-type int8 --activation-scale static')
ways+=("prune -s 50 --method physarum-v3 --then int4-group32 $first_layers" "prune --method magnitude --allocate global --budget 50% --allocate-tokens 64 $first_layers")
if sampled; then ways=("prune -s 50 --method physarum-v3 $first_layers"); fi
for compute in split bf16; do
    for way in "${ways[@]}"; do
        set -f && read -ra way <<<"$way" && set +f
        run "${way[0]}" tiny-qwen2 -o computed --force "${way[@]:1}" "${computing[@]}" --compute $compute --threads 1
        if [[ $code != 0 ]]; then
            judge "$compute is refused without a reason" grep -q -- "--compute $compute" ../err
            echo "skipped: outputs of --compute $compute: $(sed 's/.*had here: //' ../err)"
            break
        fi
        judge "the report of ${way[0]} does not say $compute" test "$(jq -r '[.. | .compute? // empty] | unique | join(" ")' ../out)" = $compute
        judge "the schema of ${way[0]} does not have it" jq -e 'any(.. | objects; has("compute_isa"))' <("$organ" schema "$(jq -r .schema ../out)")
        judge "nor by what" grep -qE '"compute_isa": "(amx|avx512-bf16)"' ../out
        ends 0 "${way[0]}" tiny-qwen2 -o computed-3 --force "${way[@]:1}" "${computing[@]}" --compute $compute --threads 3 --scratch disk --memory 200M
        judge "threads or memory change $compute of ${way[*]}" cmp -s <(cat computed/*.safetensors) <(cat computed-3/*.safetensors)
        ends 0 "${way[0]}" tiny-qwen2 -o computed-3 --force "${way[@]:1}" "${computing[@]}"
        # The largest inputs, and a division of a budget, may be those of exact.
        [[ ${way[*]} == *static* || ${way[*]} == *magnitude* ]] || judge "$compute of ${way[*]} has the bits of exact" test "$(cat computed/*.safetensors | sha256sum)" != "$(cat computed-3/*.safetensors | sha256sum)"
        judge "exact is named" test "$(jq '[.. | .compute? // empty] | length' ../out)" = 0
    done
done

# Measurements in one arithmetic are not used with another one.
if [[ $code == 0 ]] && ! sampled; then
    costs=(prune tiny-qwen2 -o new --method magnitude --allocate global --budget 50% --allocate-tokens 64 --calibration $text --samples 4 --context 64 --quiet)
    ends 0 "${costs[@]}" -o reduced --compute bf16 --allocation reduced.json
    refused 2 'compute' "${costs[@]}" --allocation reduced.json
    ends 0 "${costs[@]}" -o exact --allocation exact.json
    run "${costs[@]}" --compute bf16 --allocation exact.json
    judge "measurements in FP32 are used for bf16" test "$code" != 0
    says 'compute'
    experts=(experts tiny-moe -o new --keep 50% "${short[@]}")
    ends 0 "${experts[@]}" -o fewer --compute bf16 --scores scores.json
    refused 2 'compute' "${experts[@]}" --scores scores.json
    ends 0 experts tiny-moe -o kept-by-scores --keep 50% --scores scores.json --quiet
fi

# ---- errors ----
v2=(prune tiny-qwen2 -o new --method physarum-v2)
refused 2 "'wanda'" prune tiny-qwen2 -o new --method wand
for method in physarum-v2 wanda sparsegpt alps physarum-v3; do
    refused 2 "--calibration" prune tiny-qwen2 -o new --method $method --sparsity 50
done
refused 2 '--sparsity' prune tiny-qwen2 -o new --method wanda "${short[@]}"
refused 2 '--sparsity' prune tiny-qwen2 -o new --method magnitude
refused 2 '--pattern' prune tiny-qwen2 -o new --pattern 2:4
refused 2 '--calibration' prune tiny-qwen2 -o new --method physarum-v1 --calibration $text
refused 2 '--method magnitude' prune tiny-qwen2 -o new --method magnitude -s 50 --samples 3
refused 2 '--method wanda' prune tiny-qwen2 -o new --method wanda -s 50 "${short[@]}" --no-refit
refused 2 '--method alps' prune tiny-qwen2 -o new --method alps -s 50 "${short[@]}" --effort 2
refused 2 '--seed' prune tiny-qwen2 -o new --method physarum-v3 -s 50 "${short[@]}" --seed 2
refused 2 '--no-refit' prune tiny-qwen2 -o new --method physarum-v3 "${short[@]}" --no-refit
refused 2 '--sparsity' prune tiny-qwen2 -o new --method alps "${short[@]}"
refused 2 '--effort' prune tiny-qwen2 -o new --method sparsegpt -s 50 "${short[@]}" --effort 2
refused 2 '--effort' "${v2[@]}" "${short[@]}" --no-refit --effort 2
refused 2 '--seed' prune tiny-qwen2 -o new --seed 3
refused 2 '--beta' "${v2[@]}" "${short[@]}" --beta 3
refused 2 '--method wanda' prune tiny-qwen2 -o new --method wanda -s 50 "${short[@]}" --block-size 64
for pattern in 0:4 4:4 5:4 8:17 2:4:8 2/4 ' 2:4' 2: 2:-4 002:4; do
    refused 2 "--pattern" "${v2[@]}" "${short[@]}" --pattern "$pattern"
done
refused 2 "--pattern 3" "${v2[@]}" "${short[@]}" --pattern 3:7
refused 2 '--sparsity' "${v2[@]}" "${short[@]}" --pattern 2:4 -s 50
head -c 6000 $text >../little.txt
ends 0 prune tiny-qwen2 -o new --calibration ../little.txt --context 64 -s 50 --dry-run --json
says '--samples'
judge "a calibration text does not make physarum-v3 the method" test "$(jq -r '[.parameters.method, .calibration.samples] | join(" ")' ../out)" = "physarum-v3 25"
enough=$(jq .plan.memory_enough ../out) plenty=$(jq .plan.memory_good ../out)
judge "a dry run does not say how much memory is enough, and how much is good" test "$enough" -gt 8388608 -a "$plenty" -ge "$enough"
ends 0 prune tiny-qwen2 -o least --calibration ../little.txt --context 64 -s 50 --memory "$enough" --select '*.0.mlp.*' --quiet
ends 0 prune tiny-qwen2 -o good --calibration ../little.txt --context 64 -s 50 --memory "$plenty" --select '*.0.mlp.*' --quiet --json
judge "the memory that a dry run calls good leaves second moments in blocks" test "$(jq .calibration.block_diagonal_tensors ../out)" = 0
refused 3 '--context' "${v2[@]}" --calibration ../little.txt --context 4096
refused 2 '--memory 8M' "${v2[@]}" --calibration $text --samples 100 --memory 8M
refused 2 "'model.embed_tokens.weight'" "${v2[@]}" "${short[@]}" --select '*embed_tokens*'
refused 3 'Q8_0' prune tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o new --method wanda -s 50 "${short[@]}"
refused 2 "v2" prune tiny-qwen2 -o v2 --method magnitude -s 50
refused 4 'missing.txt' "${v2[@]}" --calibration missing.txt
refused 2 '--method magnitude' prune tiny-qwen2 -o new --method magnitude -s 50 --moments blocks
refused 2 '--scratch' prune tiny-qwen2 -o new --scratch disk
refused 2 '--method magnitude' prune tiny-qwen2 -o new --method magnitude -s 50 --scratch disk
refused 2 '--scratch' prune tiny-qwen2 -o new --method wanda -s 50 --imatrix nothing.gguf --scratch disk
refused 4 "absent" "${v2[@]}" "${short[@]}" --scratch absent
refused 4 'v2/config.json' "${v2[@]}" "${short[@]}" --scratch v2/config.json
refused 4 "absent" "${v2[@]}" "${short[@]}" --scratch absent --dry-run
# A limit on the size of files stands for a quota; the states of these windows take 10.5 MB twice.
(trap '' XFSZ && ulimit -f 8192 && exec "$organ" "${v2[@]}" --calibration $text --samples 128 --context 64 --quiet --scratch disk) >../out 2>../err
judge "ends with another code than 4" test $? = 4
says "10485760 bytes"
judge "something is left" test -z "$(ls -A disk)$(compgen -G '.new*')$(compgen -G 'new*')"
: >nothing.txt
refused 3 'nothing.txt' "${v2[@]}" --calibration nothing.txt

# ---- the tokenizer of another model, and no tokenizer ----
cp -rL tiny-qwen2 other
rm other/tokenizer.json
refused 3 'tokenizer' prune other -o new --method wanda -s 50 "${short[@]}"

# ---- interrupted ----
resumed=(--method sparsegpt -s 50 --calibration $text --samples 8 --context 64 --threads 1)
if in_part; then resumed+=(--select '*.[02].*_proj.weight'); fi
interrupted INT resumed prune tiny-qwen2 -o resumed "${resumed[@]}" --scratch disk --memory 300M
judge "ends with another code than 130" test $code = 130
judge "something is left in the scratch directory" test -z "$(ls -A disk)"
ends 2 prune tiny-qwen2 -o resumed "${resumed[@]}" --moments blocks --resume --quiet
says "moments"
run prune tiny-qwen2 -o resumed "${resumed[@]}" --compute bf16 --resume --quiet
judge "--resume with another arithmetic ends with $code" test $code = 2
says "compute"
ends 0 prune tiny-qwen2 -o resumed "${resumed[@]}" --resume --quiet
ends 0 prune tiny-qwen2 -o undisturbed "${resumed[@]}" --quiet
judge "it goes on to other bytes" cmp -s <(cat resumed/*.safetensors) <(cat undisturbed/*.safetensors)

here="organ prune --method physarum-v2, interrupted"
# Interrupts the run before its first matrix. If this script is delayed until a matrix is done, it tries again.
for tries in 1 2 3 4 5; do
    rm -rf stopped .stopped*
    env --default-signal=INT "$organ" prune tiny-qwen2 -o stopped --method physarum-v2 --calibration $text --samples 128 >../out 2>../err &
    pid=$!
    await compgen -G '.stopped*' >../names
    kill -INT "$pid"
    wait "$pid"
    code=$?
    [[ -z $(compgen -G '.stopped*')$(compgen -G 'stopped*') ]] && break
    echo "try $tries: something was done before the signal"
done
judge "ends with another code than 130" test $code = 130
judge "something is left" test -z "$(compgen -G '.stopped*')$(compgen -G 'stopped*')"
judge "it does not say that it was stopped" grep -q 'stopped\|interrupted' ../err
judge "it offers to go on, which cannot be" test "$(grep -c -- '--resume' ../err)" = 0

finish
