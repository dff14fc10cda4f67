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
positive_prompts is not a list of texts|s/positive_prompts: .*2"\]/positive_prompts: x/
experts is not a list with elements|/^ /d; /^experts/s/$/ []/
END
made qwen3
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
