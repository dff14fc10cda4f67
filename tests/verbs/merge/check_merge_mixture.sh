#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests mixtures that organ merge composes of dense models: their names and settings, that equal experts give the base, gates, bad recipes, audits,
# GGUF files and interrupted runs. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "${organ%/build/organ}/tests/kit/faults_kit.sh"
fixtures=${model%/*}
ln -s "$fixtures/tiny-llama" base
for share in 10 40; do
    "$organ" prune base -o t$share --sparsity $share --quiet >../out || exit 1
done
made() { (cd "$top" && build/checks/arch_model "$1" "$scratch/area/$1") >../out 2>&1 || bad "$1 cannot be made" ../out; }

# recipe NAME GATE MODEL...: a recipe of these experts, each with prompts of its own; $head has further lines.
head=
recipe() {
    local k=0 one
    {
        printf 'base_model: %s\ngate_mode: %s\n%s' "$3" "$2" "${head:+$head$'\n'}"
        echo "experts:"
        for one in "${@:4}"; do
            k=$((k + 1))
            printf '  - source_model: %s\n    positive_prompts: ["prompt number %d", "SELECT %d"]\n' "$one" $k $k
        done
    } >"$1.yaml"
}
# same_text A B: both models have the same perplexity, to 1e-5 of it.
figure() { "$organ" perplexity "$1" --text base/heldout.txt --context 32 --max-tokens 512 --json --quiet 2>../err | jq '[.. | objects | .perplexity | numbers][0]'; }
same_text() {
    local a b
    a=$(figure "$1") b=$(figure "$2")
    judge "perplexity $a of $1 and $b of $2" awk -v a="$a" -v b="$b" 'BEGIN { exit !(a > 1 && (a - b) < 1e-5 * a && (b - a) < 1e-5 * a) }'
}

# ---- Mixtral: names, settings, equal experts ----
recipe same uniform_random base base base base base
ends 0 merge same.yaml -o same --json
says "all experts are base"
holds ../out '.parameters.method == "mixture"' '.mixture.architecture == "MixtralForCausalLM"' '.mixture.used == 2' '.mixture.experts | length == 4'
holds same/config.json '.architectures == ["MixtralForCausalLM"]' '.model_type == "mixtral"' '.num_local_experts == 4' '.num_experts_per_tok == 2' \
    '.rope_theta == 10000' '.num_key_value_heads == 3' '.head_dim == 32 or .head_dim == null'
ends 0 inspect same --tensors --json
holds ../out '[.tensors[].name] | contains(["model.layers.0.block_sparse_moe.gate.weight", "model.layers.5.block_sparse_moe.experts.3.w2.weight"])'
same_text base same
ends 0 audit --recipe same/organ/recipe.yaml same --tensors 0 --json
holds ../out '.ok' '.different == 0' '.recomputed == .tensors'

# ---- experts are the models' ----
recipe two uniform_random base t10 t40
ends 0 merge two.yaml -o two --quiet
for share in 10 40; do
    n=$((share / 40))
    for pair in w1:gate_proj w2:down_proj w3:up_proj; do
        "$organ" inspect two --tensors --json --select "model.layers.2.block_sparse_moe.experts.$n.${pair%:*}.weight" | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"' >../place
        read -r shard offset bytes <../place
        tail -c +$((offset + 1)) "two/$shard" | head -c "$bytes" >../mine
        "$organ" inspect t$share --tensors --json --select "model.layers.2.mlp.${pair#*:}.weight" | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"' >../place
        read -r shard offset bytes <../place
        tail -c +$((offset + 1)) "t$share/$shard" | head -c "$bytes" >../its
        judge "expert $n: another ${pair#*:}" cmp -s ../mine ../its
    done
done

# ---- seeds, noise and factors ----
head=$'dtype: float32'
recipe random random base t10 t40
head=
for seed in 1 2; do ends 0 merge random.yaml -o random-$seed --seed $seed --quiet; done
ends 0 merge random.yaml -o random-again --seed 1 --quiet --threads 1 --memory 64M
judge "a seed gives two routers" diff -rq -x organ random-1 random-again
judge "two seeds give one router" test -n "$(diff -rq -x organ random-1 random-2)"
ends 0 audit --recipe random-2/organ/recipe.yaml random-2 --tensors 0
recipe noisy uniform_random base t10 t40
sed -i '0,/- source_model: t10/s//- source_model: t10\n    noise_scale: 0.01\n    residual_scale: 0.5/' noisy.yaml
ends 0 merge noisy.yaml -o noisy --quiet
ends 0 audit --recipe noisy/organ/recipe.yaml noisy --tensors 0
ORGAN_ISA=scalar ends 0 merge noisy.yaml -o noisy-scalar --quiet --threads 1
judge "instructions change the noise" diff -rq -x organ noisy noisy-scalar
read -r shard offset < <("$organ" inspect noisy --tensors --json --select model.layers.1.block_sparse_moe.gate.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
printf '\377' | dd of="noisy/$shard" bs=1 seek="$offset" conv=notrunc status=none
ends 1 audit --recipe noisy/organ/recipe.yaml noisy --tensors 0

# ---- gates of prompts: mergekit's, in FP32 ----
cat >prompts.yaml <<'END'
base_model: base
gate_mode: hidden
dtype: float32
experts:
  - source_model: base
    positive_prompts: ["SELECT a FROM b", "CREATE TABLE: a statement of several words"]
    negative_prompts: [a server]
  - {source_model: t10, positive_prompts: [the server starts]}
  - source_model: t40
    positive_prompts: ["0.5 + 1", x, an index of type btree is the default]
    negative_prompts: [columns, two rows and a view]
END
# rows_of MODEL: every 16th value of each row of the routers, as in mixture_gates.tsv.
rows_of() {
    local shard offset layer
    for layer in 0 1 2 3 4 5; do
        read -r shard offset < <("$organ" inspect "$1" --tensors --json --select "model.layers.$layer.block_sparse_moe.gate.weight" | jq -r '.tensors[0] | "\(.file) \(.offset)"')
        tail -c +$((offset + 1)) "$1/$shard" | head -c $((3 * 192 * 4)) | od -An -v -w4 -tf4 |
            awk -v layer=$layer '{ e = int((NR - 1) / 192) } (NR - 1) % 192 == 0 { line = e "\t" layer } (NR - 1) % 16 == 0 { line = line "\t" $1 } NR % 192 == 0 { print line }'
    done
}
for gate in hidden hidden_avg hidden_last cheap_embed; do
    sed "s/^gate_mode.*/gate_mode: $gate/" prompts.yaml >gate.yaml
    ends 0 merge gate.yaml -o gate-$gate --quiet
    rows_of gate-$gate >../rows
    awk -v gate=${gate/hidden_last/hidden} '$1 == gate' "$top/tests/verbs/merge/mixture_gates.tsv" | cut -f 2- >../golden
    judge "$gate: the rows are not mergekit's" awk '
        NR == FNR { for (k = 1; k <= NF; k++) row[FNR, k] = $k; next }
        { for (k = 1; k <= NF; k++) { d = $k - row[FNR, k]; if (d > 1e-5 || d < -1e-5) bad++ } lines++ }
        END { exit !(lines == 18 && !bad) }' ../golden ../rows
done
ends 0 merge gate.yaml -o gate-again --quiet --threads 1 --memory 32M
judge "threads or memory change the routers" diff -rq -x organ gate-cheap_embed gate-again
ends 0 audit --recipe gate-hidden_avg/organ/recipe.yaml gate-hidden_avg --tensors 0

# ---- texts: fit, and the share of held-out tokens ----
head -c 60000 tiny-qwen2/calibration.txt >first.txt
head -c 60000 base/calibration.txt >second.txt
recipe text fit base t10 t40
sed -i -e 's/- source_model: t10/&\n    text: first.txt/' -e 's/- source_model: t40/&\n    text: second.txt/' text.yaml
windows=(--samples 16 --context 32)
ends 0 merge text.yaml -o text "${windows[@]}" --json
says "prompts are not used by gate_mode fit"
holds ../out '.mixture.held_out.tokens == 2 * 4 * 31' '.mixture.held_out.by_chance == 0.5' '.mixture.held_out.share > 0.6' '.mixture.held_out.layers | length == 6' \
    '.parameters.mixture.samples == 16'
ends 0 audit --recipe text/organ/recipe.yaml text --tensors 0
prints "6 tensors depend on calibration texts"
ORGAN_ISA=scalar ends 0 merge text.yaml -o text-again "${windows[@]}" --quiet --threads 1 --memory 40M
judge "instructions, threads or memory change a fit" diff -rq -x organ text text-again
sed 's/gate_mode: fit/gate_mode: hidden/' text.yaml >judged.yaml
ends 0 merge judged.yaml -o judged "${windows[@]}" --json --quiet
holds ../out '.mixture.held_out.share >= 0' '.mixture.gate_mode == "hidden"'
ends 0 merge text.yaml -o none "${windows[@]}" --dry-run --json
holds ../out '.plan.memory_enough > 0' '.mixture.held_out == null'
head -c 300 first.txt >short.txt
sed 's/first.txt/short.txt/' text.yaml >bad.yaml
refused 3 "short.txt" merge bad.yaml -o none --context 128
sed 's/first.txt/nowhere.txt/' text.yaml >bad.yaml
refused 4 "nowhere.txt" merge bad.yaml -o none

# ---- the other architectures ----
sed 's/^experts:/architecture: deepseek\nshared_experts: [{source_model: base}]\nexperts:/' two.yaml >shared.yaml
ends 0 merge shared.yaml -o shared --quiet
holds shared/config.json '.architectures == ["GraniteMoeSharedForCausalLM"]' '.shared_intermediate_size == 480' '.embedding_multiplier == 1'
ends 0 audit --recipe shared/organ/recipe.yaml shared --tensors 0
printf '%s\n' "base_model: base" "gate_mode: random" "architecture: deepseek" "experts: [{source_model: base}, {source_model: base}, {source_model: base}]" >same.yaml
ends 0 merge same.yaml -o same-stacked --quiet
same_text base same-stacked
printf '%s\n' "base_model: base" "gate_mode: random" "architecture: qwen moe" "shared_experts: [{source_model: base, residual_scale: 0}]" \
    "experts: [{source_model: base}, {source_model: base}, {source_model: base}]" >same.yaml
ends 0 merge same.yaml -o same-gated --quiet
same_text base same-gated
holds same-gated/config.json '.model_type == "qwen2_moe"' '.norm_topk_prob' '.moe_intermediate_size == 480'
ends 0 inspect same-gated --tensors --json
holds ../out '[.tensors[].name] | contains(["model.layers.0.self_attn.q_proj.bias", "model.layers.0.mlp.shared_expert_gate.weight"])'
ends 0 audit --recipe same-gated/organ/recipe.yaml same-gated --tensors 0
made qwen3
printf '%s\n' "base_model: qwen3" "gate_mode: random" "experts: [{source_model: qwen3}, {source_model: qwen3}]" >same.yaml
ends 0 merge same.yaml -o same-qwen3 --quiet
holds same-qwen3/config.json '.model_type == "qwen3_moe"' '.head_dim == 16' '.num_experts == 2'
ends 0 inspect same-qwen3
ends 0 audit --recipe same-qwen3/organ/recipe.yaml same-qwen3 --tensors 0

# ---- GGUF and packed inputs, GGUF and quantised outputs ----
ends 0 convert two --to gguf -o steps.gguf --quiet
ends 0 merge two.yaml -o two.gguf --quiet
judge "other bytes than in two steps" cmp two.gguf steps.gguf
ends 0 convert base --to gguf -o base.gguf --quiet
ends 0 convert t40 --to gguf -o t40.gguf --quiet
sed -E 's/: (base|t40)$/: \1.gguf/' two.yaml >files.yaml
ends 0 merge files.yaml -o files --quiet
ends 0 compare two files --json
holds ../out '.pairs[0].distance == 0' '.pairs[0].equal == 1'
sed 's/: base$/: base.gguf/' prompts.yaml >files.yaml
ends 0 merge files.yaml -o gate-gguf --quiet
rows_of gate-hidden >../rows
rows_of gate-gguf >../golden
judge "a GGUF base gives other routers" cmp ../rows ../golden
ends 0 quantize t40 -o t40-int4 -s int4-group32 --quiet
ends 0 dequantize t40-int4 -o t40-plain --quiet
for kind in int4 plain; do
    sed "s/: t40\$/: t40-$kind/" two.yaml >packed.yaml
    ends 0 merge packed.yaml -o packed-$kind --quiet
done
judge "a packed expert has other values" diff -rq -x organ packed-int4 packed-plain
ends 0 merge two.yaml --then q4_0 -o two-q4.gguf --quiet
ends 0 inspect two-q4.gguf
refused 3 "norm_topk_prob" merge same-gated/organ/recipe.yaml -o none.gguf

# ---- ranks, interrupted and killed runs ----
if command -v mpirun >/dev/null; then
    mpirun --allow-run-as-root --oversubscribe -n 2 "$organ" merge gate.yaml -o ranks --quiet >../out 2>../err
    judge "two ranks write another mixture" diff -rq -x organ gate-cheap_embed ranks
fi
interrupted TERM stopped merge two.yaml -o stopped --quiet
ends 0 merge two.yaml -o stopped --resume --quiet
judge "an interrupted run goes on to other bytes" diff -rq -x organ two stopped
kills=20
if in_part; then kills=4; fi
count_changes merge noisy.yaml --threads 1 -o killed
rm -rf killed
for ((k = 1; k <= kills; k++)); do
    killed_at $((changes * k / (kills + 1))) merge noisy.yaml --threads 1 -o killed
    if [[ -e .killed.organ-partial ]]; then ends 0 merge noisy.yaml -o killed --resume --quiet; elif [[ ! -e killed ]]; then ends 0 merge noisy.yaml -o killed --quiet; fi
    judge "killed run $k goes on to other bytes" diff -rq -x organ noisy-scalar killed
    rm -rf killed
done

# ---- dry runs ----
ends 0 merge two.yaml -o none --dry-run --json
holds ../out '.dry_run' '.mixture.experts | length == 2' '.mixture.held_out == null'
judge "a dry run wrote something" test ! -e none

# ---- bad recipes: each line has what the error names, and edits of two.yaml ----
while IFS='|' read -r thing edit; do
    sed -E "$edit" two.yaml >bad.yaml
    refused 3 "$thing" merge bad.yaml -o none
done <<'END'
gate_mode is 'hiden', which is no gate; did you mean 'hidden'?|s/uniform_random/hiden/
architecture is 'gemma'|1i architecture: gemma
no mixture can be made of base_model base, a LlamaForCausalLM: Qwen3 MoE is made of Qwen3ForCausalLM|1i architecture: Qwen3 MoE
has 1 shared expert, but shared_experts lists 0|1i architecture: qwen2-moe
experts_per_token is 3, but there are 2 experts|1i experts_per_token: 3
experts_per_token is not a whole number from 1 on|1i experts_per_token: 0
positive_prompts are missing|s/uniform_random/hidden/; /prompt number 2/d
all experts have the same prompts|s/uniform_random/cheap_embed/; s/(number|SELECT) [12]/\1/g
base_model is missing|/^base_model/d
source_model is missing|s/- source_model: t40/- residual_scale: 1/
unknown key 'postive_prompts'|s/positive_prompts: .*2"/postive_prompts: ["x"/
unknown key 'merge_method'|1i merge_method: linear
text is missing|s/uniform_random/fit/
noise_scale is below 0|s/- source_model: t40/- source_model: t40\n    noise_scale: -1/
residual_scale is not a number|s/- source_model: t40/- source_model: t40\n    residual_scale: much/
residual_scale is not a number|s/- source_model: t40/- source_model: t40\n    residual_scale: 1e39/
positive_prompts is not a list of texts|s/positive_prompts: .*2"\]/positive_prompts: x/
experts is not a list with elements|/^ /d; /^experts/s/$/ []/
END
made gemma3_text
made phi3
made llama
for kind in gemma3_text phi3; do
    recipe other uniform_random $kind $kind $kind
    refused 3 "no mixture can be made of base_model $kind" merge other.yaml -o none
done
recipe other uniform_random base t10 llama
refused 3 "base and llama have different vocabularies" merge other.yaml -o none
cp -rL base tokens && cp tiny-qwen2/tokenizer.json tokens
recipe other uniform_random base t10 tokens
refused 3 "have different vocabularies" merge other.yaml -o none
ends 0 width base -o narrow --ffn 75% --calibration base/calibration.txt --samples 4 --context 64 --quiet
recipe other uniform_random base t10 narrow
refused 3 "its shape is" merge other.yaml -o none
recipe other uniform_random base t10 tiny-qwen2
refused 3 "tiny-qwen2" merge other.yaml -o none
finish
