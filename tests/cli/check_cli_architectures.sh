#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Verbs that run a model, on the small models of fixtures/architectures. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

root=${organ%/build/organ}
text=$root/fixtures/tiny-moe/calibration.txt
short=(--calibration "$text" --samples 2 --context 32 --quiet)

# make TYPE...: the models of these types, in directories of their names.
make() {
    local type
    for type; do (cd "$root" && build/checks/arch_model "$type" "$scratch/area/$type") >../out 2>&1 || bad "$type cannot be made" ../out; done
}

# scores OUT NLL: checks the mean negative log-likelihood of 72 tokens, and removes the model.
scores() {
    ends 0 perplexity "$1" --text "$text" --max-tokens 72 --context 72 --json --quiet --activations off
    judge "$1: $(likelihoods) nats a token, not $2" awk -v a="$(likelihoods)" -v b="$2" 'BEGIN { d = a - b; exit !(a > 0 && d < 1e-5 && d > -1e-5) }'
    chmod -R u+w "$1" && rm -r "$1"
}

# ---- default targets of calibrated verbs: matrices without inputs are left out, counted and named ----
make gemma3n_text
ends 0 prune gemma3n_text -o pruned --method wanda --sparsity 50 "${short[@]:0:6}"
says "model.altup_projections.0.weight"
judge "other matrices are left out" test "$(jq -c '[.matrices.left[] | [.name, .tensors]]' pruned/organ/prune.json)" = \
    '[["model.altup_projections.N",3],["model.altup_unembed_projections.N",3],["model.per_layer_model_projection",1]]'
refused 2 "'model.per_layer_model_projection.weight'" \
    prune gemma3n_text -o no --method wanda --sparsity 50 "${short[@]}" --select '*.per_layer_model_projection.weight'
ends 0 prune gemma3n_text -o divided --sparsity 50 --allocate global --allocate-tokens 64 --allocate-layers 2 --method physarum-v1 "${short[@]}"
judge "a matrix without inputs is pruned" test "$(jq .matrices.target_tensors divided/organ/prune.json)" = 106
refused 2 "'model.altup_projections.1.weight'" \
    quantize gemma3n_text -o no --scheme int8-channel --method gptq "${short[@]}" --select '*.altup_projections.1.weight'
ends 0 quantize gemma3n_text -o codes --scheme int8-channel --method gptq "${short[@]}"
judge "the report does not list what stays" test "$(jq -c '[.left_alone[] | select(.why | test("no inputs")) | .tensor] | length' codes/organ/quantize.json)" = 7
# altup.correct_output_scale is a parameter, not the scale of an activation
ends 0 perplexity codes --text "$text" --max-tokens 40 --context 32 --quiet
ends 0 dequantize codes -o plain --quiet
judge "a tensor is dropped" test "$("$organ" inspect plain --json | jq .model.tensors)" = "$("$organ" inspect gemma3n_text --json | jq .model.tensors)"
chmod -R u+w plain && rm -r plain
chmod -R u+w pruned divided codes && rm -r pruned divided codes

# ---- stacks of experts stored as in_features x out_features: gate and up alternate in gpt-oss, and are halves in Llama 4 ----
# audit finds the kept channels in gate and up, and then expects the donor's bytes at them in down.
make gpt_oss llama4_text
for type in gpt_oss llama4_text; do
    ends 0 width $type -o narrow --ffn 50% --multiple-of 8 "${short[@]}"
    ends 0 audit $type narrow --refitted --quiet
    ends 0 perplexity narrow --text "$text" --max-tokens 40 --context 32 --quiet
    ends 0 width $type -o same --ffn 50% --multiple-of 8 --no-refit --calibration "$text" --samples 1 --context 4 --quiet
    prints "got no token of the text"
    ends 0 audit $type same --quiet
    # A matrix of 64 outputs does not divide into groups of three, one of 96 inputs does.
    ends 0 prune $type -o groups --method wanda --pattern 2:3 "${short[@]}" --select '*.experts.down_proj'
    judge "$type: not a third is pruned" test "$(jq .totals.target.percent groups/organ/prune.json)" = 33.333333
    refused 2 "--pattern" \
        prune $type -o no --method magnitude --pattern 2:4 --quiet
    chmod -R u+w narrow same groups && rm -r narrow same groups
done

# ---- importance matrices have the names of the GGUF file, also where several architectures share one of GGUF ----
make olmo2 solar_open
for type in olmo2 solar_open; do
    ends 0 perplexity $type --text "$text" --max-tokens 100 --context 32 -o sums --write-imatrix --quiet
    ends 0 convert $type -o made.gguf --to gguf --mmproj none --quiet
    ends 0 prune made.gguf -o pruned.gguf --method wanda --sparsity 50 --imatrix sums/imatrix.gguf --quiet
    rm -r sums made.* pruned.*
done

# ---- width: shared experts with a width member of their own stay; those with the width of routed experts are narrowed with them ----
make laguna hunyuan_v1_moe
ends 0 width laguna -o narrow --ffn 50% --multiple-of 8 "${short[@]}"
judge "the shared expert is narrowed" test "$(jq -c '[.moe_intermediate_size, .shared_expert_intermediate_size]' narrow/config.json)" = '[16,32]'
ends 0 width hunyuan_v1_moe -o together --ffn 50% --multiple-of 8 "${short[@]}"
ends 0 audit hunyuan_v1_moe together --refitted --quiet
ends 0 perplexity together --text "$text" --max-tokens 40 --context 32 --quiet

# ---- experts whose inputs are multiplied by the router's factors. The figures of layer 1 are those of transformers 5.23 in FP32: the routed output of
# the layer for 32 tokens, and its difference from that of a router without expert 0 ----
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b * 0.99999 && a < b * 1.00001) }'; }
ends 0 experts llama4_text -o fewer --keep 75% --score loss --calibration "$text" --samples 1 --context 32 --quiet
of_layer_1() { jq -c ".scores.layers[] | select(.layer == 1) | $1" fewer/organ/experts.json; }
judge "other frequencies" test "$(of_layer_1 .frequency)" = '[2,26,22,14]'
judge "another sum of expert 1" near "$(of_layer_1 '.sum[1]')" 27.7105980
judge "another power" near "$(of_layer_1 .power)" 112.804482
judge "another expert is removed first" test "$(of_layer_1 '.removed[0]')" = 0
judge "another loss" near "$(of_layer_1 '.loss[0]')" 0.00251010945
ends 0 experts llama4_text -o reap --keep 75% --score reap --calibration "$text" --samples 1 --context 32 --quiet
judge "another sum without the loss" test "$(jq -c .scores.layers[1].sum reap/organ/experts.json)" = "$(jq -c .scores.layers[1].sum fewer/organ/experts.json)"
refused 2 "--refit" \
    experts llama4_text -o no --keep 75% --refit --calibration "$text" --samples 8 --context 32 --quiet

# ---- DeepSeek-V2-Lite has n_group, which its greedy router does not use ----
make deepseek_v2-lite
ends 0 experts deepseek_v2-lite -o lite --keep 75% "${short[@]}"
judge "n_group is changed" test "$(jq -c '[.n_group, .n_routed_experts]' lite/config.json)" = '[4,6]'
ends 0 audit deepseek_v2-lite lite --quiet
ends 0 perplexity lite --text "$text" --max-tokens 40 --context 32 --quiet

# ---- layers: the kinds of the dropped blocks, and config.json of models whose layers differ ----
# Columns: type, blocks to drop, mean negative log-likelihood of 72 tokens that transformers 5.23 computes for the output, which is also that of the
# model with these layers replaced by the identity.
while read -r type drop nll; do
    [[ -e $type ]] || make "$type"
    ends 0 layers "$type" -o shorter --drop "$drop" --quiet
    scores shorter "$nll"
done <<'END'
jamba 1-1 9.7124335
jamba 0-0 9.9575061
nemotron_h 1-1 9.7674781
nemotron_h 2,3 9.8996983
ernie4_5_moe-stacked 0-1 15.1561564
cohere2_moe-pattern 1-1 8.3629080
gemma3n_text 5,6 11.2353005
gemma4_text-dense 1-1 9.1770691
gemma4_text-shared 1-1 23.6864093
glm_moe_dsa-shared 1-1 8.8928252
hunyuan_v1_moe-stacked 1-1 8.7237762
laguna 1-1 9.4337048
mpt 1-1 14.8802413
qwen3_next 1-1 17.1986517
kimi_linear 2-2 9.3545455
kimi_linear-hub 1-1 9.0579810
nemotron_h-moe 1-1 9.6599742
nemotron_h-latent 3-3 9.4160983
olmo_hybrid 2-2 9.2427931
longcat_flash 1-1 9.3285541
END
ends 0 layers jamba -o no --drop 1,2 --dry-run --json
judge "the kinds of blocks" test "$(jq -c .kinds ../out)" = \
    '[{"kind":"Mamba, dense","layers":2,"dropped":1},{"kind":"attention, mixture","layers":2,"dropped":1}]'
ends 0 layers qwen3_next -o no --drop 1 --calibration "$text" --context 32 --dry-run --json
judge "kinds that are not known yet" test "$(jq -c .kinds ../out)" = null
refused 3 "num_kv_shared_layers" \
    layers gemma4_text-shared -o no --drop 2-2 --quiet

# The search tries only sets of layers that config.json can describe: of ten layers, four use keys and values of an earlier one.
[[ -e gemma3n_text ]] || make gemma3n_text
ends 0 layers gemma3n_text -o shorter --drop 3 --calibration "$text" --context 32 --search-tokens 64 --rounds 2 --json --quiet
judge "the search judged too few sets" test "$(jq '.search.judged > 8' ../out)" = true
ends 0 perplexity shorter --text "$text" --max-tokens 40 --context 32 --quiet
chmod -R u+w shorter && rm -r shorter
ends 0 layers jamba -o shorter --drop 2 --calibration "$text" --context 32 --search-tokens 64 --json --quiet
judge "not all sets of two of four layers were judged" test "$(jq -c '[.search.judged, .search.whole]' ../out)" = '[6,true]'
chmod -R u+w shorter && rm -r shorter

# ---- quantize: stacks of experts stay unquantised and are counted; quantization_config excludes them and the output head ----
make gpt_neox
ends 0 quantize gpt_oss -o codes --scheme fp8-channel
says "fp8-channel"
judge "the share of quantised weights" test "$(jq '.matrices | [.percent > 14.2, .percent < 14.3, .few] | all' codes/organ/quantize.json)" = true
judge "experts are ignored" test "$(jq -c '[.quantization_config.ignore[] | select(test("^model.layers.[0-9].mlp.experts$"))] | length' codes/config.json)" = 4
chmod -R u+w codes && rm -r codes
ends 0 quantize llama4_text -o codes --scheme int8-group32
says "int8-group32"
chmod -R u+w codes && rm -r codes
make mamba2
for scheme in int8-group32 fp8-channel; do
    ends 0 quantize mamba2 -o codes --scheme $scheme
    judge "the note on Mamba-2 as $scheme" test $(grep -c "opens Mamba2ForCausalLM as int8-group32 only if it dequantises" ../err) = $([[ $scheme = int8* ]] && echo 1 || echo 0)
    judge "config.json of Mamba-2 as $scheme" test "$(jq .quantization_config.dequantize codes/config.json)" = $([[ $scheme = int8* ]] && echo true || echo null)
    chmod -R u+w codes && rm -r codes
done
# ---- quantize: targets and ignore list the modules that transformers builds, whatever names the file has ----
# matched MODEL: divides its linear layers.
matched() {
    divided "$(sed -nE "s/^${1}\t(.*)/\1/p" "$root/tests/cli/linear_modules.tsv" | while read -r row; do eval "printf '%s\n' $row"; done | jq -Rn '[inputs]')"
}
while read -r type schemes; do
    [[ -d $type ]] || make "$type"
    if in_part; then schemes=${schemes##* }; fi
    for scheme in $schemes; do
        ends 0 quantize "$type" -o quantised --scheme "$scheme" --quiet
        others='experts\.[0-9]' # routed experts have targets of their own
        if [[ $type == minimax_m3_vl ]]; then others+='|\.up_proj'; fi # transformers joins it with gate_proj
        wanted=$(jq -c --arg others "$others" '{groups: ([.tensors[] | select(.tensor | test($others) | not) | (.scheme // "int4-group32") | ltrimstr("int4-group") | tonumber] |
            group_by(.) | map([.[0], length])), unknown: [], unclear: []}' quantised/organ/quantize.json)
        found=$(matched "$type")
        judge "$type as $scheme: $found, not $wanted" test "$found" = "$wanted"
        chmod -R u+w quantised && rm -r quantised
    done
    chmod -R u+w "$type" && rm -r "$type"
done <<'TYPES'
gemma3 int4-group32 int4-group128
gemma3-flat int4-group128
mistral3 int4-group128
mistral3-mistral4 int4-group128
qwen2_5_vl int4-group32 int4-group128
qwen2_5_vl-top int4-group128
qwen3_vl int4-group128
kimi_k25 int4-group32 int4-group128
exaone int4-group128
nemotron_h int4-group128
nemotron_h-moe int4-group128
hy_v3 int4-group128
laguna int4-group128
sarvam_moe int4-group32 int4-group128
phimoe int4-group32 int4-group128
mixtral int4-group128
llama int4-group128 int4-group32
gemma4 int4-group128
gemma4_unified int4-group128
qwen2_vl int4-group128
internvl int4-group128
glm4v_moe int4-group128
glm4v int4-group128
step3p7 int4-group128
minimax_m3_vl int4-group128
TYPES

# ---- quantize: outputs that transformers opens only if it dequantises them, or not at all ----
[[ -d kimi_linear ]] || make kimi_linear
make gpt_bigcode nanochat falcon
while read -r type scheme count words; do
    ends 0 quantize "$type" -o codes --scheme "$scheme"
    judge "the note on $type as $scheme" test $(grep -c "$words" ../err) = "$count"
    judge "config.json of $type as $scheme" test "$(jq .quantization_config.dequantize codes/config.json)" = "$([[ $words == opens* ]] && echo true || echo null)"
    chmod -R u+w codes && rm -r codes
done <<'NOTES'
gpt_bigcode int4-group32 1 opens GPTBigCodeForCausalLM as int4-group32 only if it dequantises
gpt_bigcode int4-group128 1 does not open GPTBigCodeForCausalLM as int4-group128: beside other encodings it opens FP8 schemes only
gpt_bigcode int8-channel 0 GPTBigCodeForCausalLM as
nanochat int4-group32 1 opens NanoChatForCausalLM as int4-group32 only if it dequantises
nanochat fp8-channel 0 NanoChatForCausalLM as
falcon int4-group32 1 opens FalconForCausalLM as int4-group32 only if it dequantises
kimi_linear int4-group32 1 does not open KimiLinearForCausalLM as int4-group32: it seeks the convolutions of q, k and v, which it joins, as packed weights; it opens FP8 schemes
kimi_linear int8-channel 1 does not open KimiLinearForCausalLM as int8-channel
kimi_linear fp8-channel 0 KimiLinearForCausalLM as
NOTES
rm -r gpt_bigcode nanochat falcon kimi_linear

ends 0 quantize gpt_neox -o codes --scheme int8-channel --quiet
judge "the output head, and its name in transformers, are ignored" test "$(jq -c .quantization_config.ignore codes/config.json)" = '["lm_head","embed_out"]'
chmod -R u+w codes && rm -r codes
ends 0 quantize gpt_neox -o codes --scheme int8-channel --select '*' --quiet
judge "a quantised output head is not ignored" test "$(jq -c .quantization_config.ignore codes/config.json)" = '[]'
chmod -R u+w codes && rm -r codes

# ---- width and experts: the mean negative log-likelihood of the output is that of transformers 5.23 ----
while read -r type option nll; do
    [[ -e $type ]] || make "$type"
    ends 0 width "$type" -o narrower --"$option" 50% --multiple-of 8 "${short[@]}"
    ends 0 audit "$type" narrower --refitted --quiet
    scores narrower "$nll"
done <<'END'
cohere2_moe ffn 7.8997286
gemma3n_text ffn 11.7240413
gemma4_text-equal ffn 23.9276860
gemma4_text-moe ffn 21.0211348
granitemoehybrid-dense ffn 6.6170312
lfm2-adjusted ffn 13.5924555
END
while read -r type option nll; do
    [[ -e $type ]] || make "$type"
    ends 0 width "$type" -o narrower --"$option" 50% "${short[@]}"
    scores narrower "$nll"
done <<'END'
lfm2 heads 14.5405860
jamba heads 9.6853271
nemotron_h heads 9.6920784
granitemoehybrid heads 6.6756869
END
make qwen3_vl_moe bloom deepseek_v3 falcon_h1
ends 0 width qwen3_vl_moe -o narrower --ffn 50% --multiple-of 8 "${short[@]}"
ends 0 audit qwen3_vl_moe narrower --refitted --quiet
chmod -R u+w narrower && rm -r narrower
refused 3 'model_type' \
    width bloom -o no --ffn 50% --multiple-of 8 "${short[@]}"
refused 2 "--heads" \
    width deepseek_v3 -o no --heads 50% "${short[@]}"
refused 2 "q_proj" width qwen3_next -o no --heads 50% "${short[@]}"
refused 2 "attention" width falcon_h1 -o no --heads 50% "${short[@]}"

# Routers that choose groups of four experts keep three of each group.
while read -r type nll; do
    make "$type"
    ends 0 experts "$type" -o fewer-experts --keep 75% --calibration "$text" --samples 4 --context 64 --quiet
    judge "$type: a group keeps more than another" test "$(jq -c '[.layers[].kept_experts | select(.) | [map(select(. < 4)), map(select(. > 3))] | map(length)] | unique' \
        fewer-experts/organ/experts.json)" = '[[3,3]]'
    scores fewer-experts "$nll"
done <<'END'
deepseek_v2-groups 9.1244287
deepseek_v3-groups 8.5588865
dots1-groups 9.2295859
glm4_moe-groups 8.9431760
mimo_v2_flash-groups 9.4636667
END

# ---- a layer of LongCat-Flash is two layers of the forward pass, one with the experts. Each matrix is pruned alone by the inputs of the first 64 tokens;
# Wanda in torch, with the inputs of the matrix in transformers 5.24, has the same mask and likelihood. The int8 codes have the likelihood that transformers computes for their values ----
[[ -e longcat_flash ]] || make longcat_flash
while read -r target nll; do
    ends 0 prune longcat_flash -o masked --method wanda --sparsity 50 --calibration "$text" --samples 1 --context 64 --quiet --select "*.layers.$target.weight"
    scores masked "$nll"
done <<'END'
1.self_attn.1.o_proj 9.3980991
0.mlps.1.gate_proj 9.4253169
1.mlps.0.down_proj 9.3755946
1.mlp.experts.3.gate_proj 9.3855186
END
ends 0 quantize longcat_flash -o codes --scheme int8-channel --method gptq "${short[@]}"
scores codes 9.3864525
ends 0 prune longcat_flash -o shares --sparsity 50 --allocate global --allocate-tokens 64 --method physarum-v1 "${short[@]}"
ends 0 audit longcat_flash shares --quiet
chmod -R u+w shares && rm -r shares
for verb in "experts --keep 50%" "width --ffn 50% --multiple-of 8" "layers --drop 1"; do
    # shellcheck disable=SC2086
    refused 2 "layers" ${verb%% *} longcat_flash -o no ${verb#* } "${short[@]}"
done

# ---- layers of multi-token prediction keep their bytes, and reports say that they are not run ----
# digest MODEL: prints a digest of its prediction layer's tensors in the order of names.
digest() {
    local file=$1/model.safetensors length begin end
    length=$(od -An -t u8 -N 8 "$file" | tr -d ' ')
    head -c $((8 + length)) "$file" | tail -c +9 |
        jq -r 'to_entries | map(select(.key | startswith("mtp."))) | sort_by(.key)[].value.data_offsets | @tsv' |
        while read -r begin end; do
            dd if="$file" iflag=skip_bytes,count_bytes bs=1M skip=$((8 + length + begin)) count=$((end - begin)) status=none
        done | sha256sum
}
for type in qwen3_next-mtp qwen3_5_text-mtp; do
    make "$type"
    count=$("$organ" inspect "$type" --tensors --json | jq '[.tensors[] | select(.role == "mtp")] | length')
    judge "$type has no prediction layer" test "$count" -ge 15
    wanted=$(digest "$type")
    ends 0 prune "$type" -o magnitude --sparsity 50 --method magnitude --quiet
    ends 0 prune "$type" -o wanda --sparsity 50 --method wanda "${short[@]}"
    ends 0 quantize "$type" -o gptq --scheme int8-channel --method gptq "${short[@]}"
    ends 0 width "$type" -o thin --ffn 50% --multiple-of 8 "${short[@]}"
    ends 0 layers "$type" -o shorter --drop 2-2
    prints "not run: mtp, $count tensors"
    judge "thin of $type: the prediction layer has other tensors" test "$("$organ" inspect thin --tensors --json | jq '[.tensors[] | select(.role == "mtp")] | length')" = "$count"
    ends 0 audit "$type" thin --refitted --quiet
    for made in magnitude wanda gptq shorter; do
        judge "$made of $type: the prediction layer has other bytes" test "$(digest "$made")" = "$wanted"
    done
    chmod -R u+w magnitude wanda gptq thin shorter && rm -r magnitude wanda gptq thin shorter
done
# The 4 experts of the model and of its prediction layer become 2; transformers 5.23, which does not load that layer, reads the output with the mean
# negative log-likelihood below.
ends 0 experts qwen3_next-mtp -o half --keep 50% --calibration "$text" --samples 4 --context 64
judge "the prediction layer has other experts" test "$("$organ" inspect half --tensors --json | jq -c '[.tensors[] | select(.name | test("^mtp.layers.0.mlp.experts.*up_proj")).name] | length')" = 2
judge "the report does not list them" test "$(jq -c '[.draft_tensors, .experts_before, .experts_after, (.layers[4].kept_experts | length)]' half/organ/experts.json)" = "[null,4,2,2]"
ends 0 audit qwen3_next-mtp half --quiet
scores half 15.7973307

# An importance matrix has the entries of the prediction layer, also under the names of DeepSeek and GLM, and of a head of its own; errors.
# rename MODEL SCRIPT: edits the names of its tensors with sed.
rename() {
    local file=$1/model.safetensors length header k
    length=$(od -An -t u8 -N 8 "$file" | tr -d ' ')
    header=$(head -c $((8 + length)) "$file" | tail -c +9 | sed "$2")
    for ((k = 0; k < 8; k++)); do printf "\\x$(printf %02x $((${#header} >> 8 * k & 255)))"; done >renamed
    printf %s "$header" >>renamed
    tail -c +$((9 + length)) "$file" >>renamed && mv renamed "$file"
}
few=(--calibration "$text" -c 32 --chunks 2 --quiet)
for type in qwen3_next-mtp qwen3_5_text-mtp; do
    ends 0 imatrix "$type" "${few[@]}" -o apart.gguf --force
    ends 0 imatrix "$type" "${few[@]}" -o apart.gguf --threads 1 --memory 12M --force
    cp -r "$type" numbered && chmod -R u+w numbered
    rename numbered 's/mtp\.layers\.0/model.layers.4/g; s/mtp\.fc/model.layers.4.eh_proj/; s/mtp\.norm/model.layers.4.shared_head.norm/
        s/mtp\.pre_fc_norm_hidden/model.layers.4.hnorm/; s/mtp\.pre_fc_norm_embedding/model.layers.4.enorm/'
    ends 0 imatrix numbered "${few[@]}" -o numbered.gguf --force
    # The two blocks of qwen3_next-mtp have fc and norms in common, which numbered blocks have one by one.
    [[ $type == qwen3_next-mtp ]] ||
        judge "$type: the names of the prediction layer change its sums" cmp apart.gguf numbered.gguf
    rename numbered 's/lm_head/model.layers.4.shared_head.head/'
    jq '.tie_word_embeddings = true' "$type/config.json" >numbered/config.json
    ends 0 imatrix numbered "${few[@]}" -o numbered.gguf --json --force
    judge "its head has no entry" test "$(jq -c '.entries[] | select(.name == "blk.4.nextn.shared_head_head.weight") | [.inputs, .least_tokens]' ../out)" = '[64,62]'
    rename numbered 's/model.layers.4.hnorm/model.layers.4.other/'
    refused 3 "'model.layers.4.hnorm.weight'" imatrix numbered "${few[@]}" -o no.gguf
    rename numbered 's/model.layers.4.other/model.layers.4.hnorm/; s/model.layers.4.self_attn.k_proj/model.layers.4.self_attn.other/'
    refused 3 "'model.layers.4.self_attn.k_proj.weight'" imatrix numbered "${few[@]}" -o no.gguf
    chmod -R u+w numbered && rm -r numbered
done

# ---- a file for mlx-lm: the report counts norms that are changed and tensors that are left out ----
ends 0 quantize qwen3_next-mtp -o mlx -s int4-group32 --format mlx
prints "13 norms, 2.6 kB, are stored as 1 + weight"
prints "$("$organ" inspect qwen3_next-mtp --tensors --json | jq '[.tensors[] | select(.role == "mtp")] | length') tensors of multi-token prediction, of rotary"
judge "the Markdown report lacks the norms" grep -q "^13 norms, 2.6 kB, are stored as 1 + weight" mlx/organ/QUANTIZE_REPORT.md

finish
