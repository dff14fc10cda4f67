#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests settings by layer: organ merge repeats layers in models whose config.json says of single layers what they are; organ layers drops layers of GGUF
# files. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
root=${organ%/build/organ}

# make TYPE [FILTER]: the model $made of fixtures/architectures; jq changes its config.json by the filter.
make() {
    rm -rf made
    (cd "$root" && build/checks/arch_model "$1" "$scratch/area/made") >../out 2>&1 || bad "$1 cannot be made" ../out
    [[ -z ${2:-} ]] || { jq "$2" made/config.json >../config && cp ../config made/config.json; }
}

# recipe FROM-TO...: a passthrough of these layers of the model; FROM-TO@MODEL: of another one.
recipe() {
    local slice model
    echo "merge_method: passthrough"
    echo "slices:"
    for slice in "$@"; do
        model=made
        [[ $slice != *@* ]] || model=${slice#*@}
        slice=${slice%@*}
        echo "  - sources: [{model: $model, layer_range: [${slice%-*}, ${slice#*-}]}]"
    done
}

# becomes TYPE FILTER SLICES TEST...: config.json of the merged model passes the tests.
becomes() {
    make "$1" "$2"
    # shellcheck disable=SC2086 # words
    recipe $3 >r.yaml
    ends 0 merge r.yaml -o out --quiet --force
    holds out/config.json "${@:4}"
}

# stops TYPE FILTER SLICES THING: the merge is refused before anything is written.
stops() {
    make "$1" "$2"
    # shellcheck disable=SC2086 # words
    recipe $3 >r.yaml
    refused 3 "$4" merge r.yaml -o none --quiet
    judge "something was written" test ! -e none
}

twice="0-4 1-4" first="0-1 0-4"

# ---- lists, and rules that lists replace ----
becomes llama '' "$twice" '.num_hidden_layers == 7'
becomes gemma2 'del(.layer_types)' "$first" '.layer_types | map(.[0:1]) == ["s", "s", "f", "s", "f"]'
becomes gemma2 'del(.layer_types)' "0-4 0-4" '.layer_types == null' '.num_hidden_layers == 8'
becomes gemma3 'del(.text_config.layer_types)' "$twice" '.text_config.layer_types == null or (.text_config.layer_types | length == 7)'
becomes smollm3 'del(.no_rope_layers, .layer_types)' "$twice" '.no_rope_layers == [1, 1, 1, 0, 1, 1, 0]'
becomes smollm3 'del(.no_rope_layers, .layer_types) | .use_sliding_window = true | .sliding_window = 8' "$twice" '.no_rope_layers == [1, 1, 1, 0, 1, 1, 0]'
becomes llama4_text 'del(.moe_layers, .no_rope_layers, .layer_types)' "$first" '.moe_layers == [2, 4]' '.no_rope_layers == [1, 1, 1, 1, 0]'
becomes qwen2 'del(.layer_types) | .use_sliding_window = true | .sliding_window = 8 | .max_window_layers = 2' "$twice" \
    '.layer_types | map(.[0:1]) == ["f", "f", "s", "s", "f", "s", "s"]'
becomes cohere2_moe-pattern '.sliding_window_pattern = 2' "$twice" '.mlp_layer_types | map(.[0:1]) == ["d", "d", "s", "s", "d", "s", "s"]' '.layer_types | length == 7'
becomes kimi_linear-hub '' "$twice" '.linear_attn_config.full_attn_layers == [2, 4, 5, 7]' '.first_k_dense_replace == 1'
becomes gpt_neo '' "$twice" '.attention_layers | map(.[0:1]) == ["g", "l", "g", "l", "l", "g", "l"]' '.attention_types[0][0] == .attention_layers'
becomes lfm2 'del(.layer_types) | .full_attn_idxs = [1, 3]' "$first" '.full_attn_idxs == [2, 4]'
becomes bamba '' "$first" '.attn_layer_indices == [2, 4]'

# ---- leading layers, experts, periods ----
becomes deepseek_v2 '' "$first" '.first_k_dense_replace == 2'
stops deepseek_v2 '' "0-2 0-4" first_k_dense_replace
becomes lfm2_moe '' "$first" '.num_dense_layers == 2'
becomes qwen3_moe-dense '' "$twice" '.mlp_only_layers == [0, 4, 5] or (.mlp_only_layers | length > 0)' '.num_hidden_layers == 7'
becomes qwen3_moe 'del(.mlp_only_layers) | .decoder_sparse_step = 1' "$twice" '.decoder_sparse_step == 1'
becomes ernie4_5_moe '' "0-4 0-4" '.moe_layer_interval == 2' '.moe_layer_end_index == 7'
stops ernie4_5_moe '' "$twice" moe_layer_interval
becomes jamba '' "0-4 0-4" '.attn_layer_period == 2' '.num_hidden_layers == 8'
becomes jamba '' "0-1 3-4" '.expert_layer_period == 2' '.attn_layer_offset == 1'
stops jamba '' "$twice" attn_layer_period
becomes gemma4_text-dense '' "$twice" '.per_layer_config | keys == ["3", "6"]'

# ---- settings that depend on the number of layers, or on other layers ----
becomes minicpm3 '' "0-4 0-4 0-4 0-4" '.scale_depth == 2.8'
stops minimax '' "$twice" decays
stops gpt2 '.scale_attn_by_inverse_layer_idx = true' "$twice" scores
stops glm_moe_dsa-shared '' "$twice" indexer_types
stops gemma3n_text '' "0-10 1-10" num_kv_shared_layers
stops gemma4_text-equal '' "0-4 0-1" "last layer"

# ---- per-layer embeddings: their parts move with the layers ----
becomes gemma3n_text-gguf '' "0-1 0-10" '.num_hidden_layers == 11' '.num_kv_shared_layers == 2'
ends 0 layers out --drop 0-0 -o back --quiet --force
ends 0 compare made back
prints "All values are equal."
becomes gemma4_text-moe '' "0-2 1-4" '.num_hidden_layers == 5'
ends 0 layers out --drop 2-2 -o back --quiet --force
ends 0 compare made back
prints "All values are equal."
ends 0 convert made -o made.gguf --to gguf --quiet --force
sed 's/made/made.gguf/' r.yaml >r2.yaml
ends 0 merge r2.yaml -o of-gguf --quiet --force
ends 0 compare out of-gguf
prints "All values are equal."
sed 's/passthrough/linear/; s/layer_range/parameters: {weight: 1}, layer_range/' r.yaml >r2.yaml
refused 3 "passthrough" merge r2.yaml -o none --quiet
sed 's/layer_range/parameters: {scale: 0.5}, layer_range/' r.yaml >r2.yaml
refused 3 "'model.embed_tokens_per_layer.weight'" merge r2.yaml -o none --quiet

# ---- members that organ does not know ----
stops llama '.scales_of_layers = [1, 2, 3, 4]' "$twice" scales_of_layers
stops llama '.some_list = [1, 2, 3, 4]' "$twice" some_list
stops llama '.skip_interval = 2' "$twice" skip_interval
becomes llama '.skip_interval = 2 | .eos_token_id = [1, 2, 3, 4]' "0-2 2-4" '.skip_interval == 2' '.eos_token_id == [1, 2, 3, 4]'

# ---- layers of several models ----
make smollm3 'del(.no_rope_layers, .layer_types)'
mv made other
make smollm3 'del(.layer_types) | .no_rope_layers = [0, 1, 0, 1]'
recipe 0-2 2-4@other >r.yaml
ends 0 merge r.yaml -o out --quiet --force
holds out/config.json '.no_rope_layers == [0, 1, 1, 0]'
refused 3 "queries and keys" merge made other --method linear -o none --quiet
jq '.no_rope_layers = [1, 1, 1, 0]' made/config.json >../config && cp ../config made/config.json
ends 0 merge made other --method linear -o out --quiet --force

# ---- GGUF: organ layers, and merges of GGUF files ----
# converted TYPE [FILTER]: made.gguf.
converted() {
    make "$@"
    ends 0 convert made -o made.gguf --to gguf --quiet --force
}

# back FILE TEST...: config.json of its conversion to safetensors passes the tests.
back() {
    ends 0 convert "$1" -o out --to safetensors --quiet --force
    holds out/config.json "${@:2}"
}

converted afmoe
refused 3 "layer 3" layers made.gguf --drop 0-0 -o none.gguf
ends 0 layers made.gguf --drop 3-3 -o cut.gguf --quiet --force
converted apertus
ends 0 layers made.gguf --drop 1-1 -o cut.gguf --quiet --force
back cut.gguf '.num_hidden_layers == 3'
converted cwm
ends 0 layers made.gguf --drop 0-0 -o cut.gguf --quiet --force
back cut.gguf '.num_hidden_layers == 1' '.layer_types == ["sliding_attention"]'
converted minimax-gguf
refused 3 "layers" layers made.gguf --drop 3-3 -o none.gguf
converted hy_v3
ends 0 layers made.gguf --drop 0-0 -o cut.gguf --quiet --force
back cut.gguf '.mlp_layer_types == ["sparse", "sparse", "sparse"]'
sed 's/made/made.gguf/' <(recipe 0-1 0-4) >r.yaml
ends 0 merge r.yaml -o out --quiet --force
holds out/config.json '.mlp_layer_types == ["dense", "dense", "sparse", "sparse", "sparse"]'
# without dense layers the shared experts show that feed-forwards have biases
converted hy_v3-stacked
ends 0 layers made.gguf --drop 0-0 -o cut.gguf --quiet --force
back cut.gguf '.mlp_bias' '.num_hidden_layers == 3'
# merge and convert write the same numbers: A_log of ssm_a, and the parameters of xIELU, which GGUF has as key-values
for type in mamba-gguf mamba2 kimi_linear-gguf apertus; do
    converted $type
    sed 's/made/made.gguf/' <(recipe 0-4) >r.yaml
    ends 0 merge r.yaml -o out --quiet --force
    ends 0 convert made.gguf -o whole --to safetensors --quiet --force
    ends 0 compare out whole
    prints "All values are equal."
done
# keys that organ does not know
edited() { "$root/build/checks/gguf_keys" made.gguf odd.gguf "$1" || bad "the key cannot be set: $1" ../out; }
converted qwen3
sed 's/made/odd.gguf/' <(recipe 0-4 1-4) >r.yaml
for key in qwen3.odd_interval=u32:2 qwen3.first_odd=f32:1.5 odd.sizes=u32:[1,2,3,4] qwen3.odd_layers=i32:[3]; do
    edited "$key"
    refused 3 "'${key%%=*}'" layers odd.gguf --drop 1-1 -o none.gguf
    refused 3 "'${key%%=*}'" merge r.yaml -o none --quiet
    for to in 4 2; do # an added layer, and another number
        ends 3 graft --source made.gguf --target odd.gguf -o none.gguf --select 3 --map 3:$to
        says "'${key%%=*}'"
    done
    ends 3 graft --source odd.gguf --target made.gguf -o none.gguf --select 3 --map 3:2
    says "'${key%%=*}'"
    sed 's/made/odd.gguf/' <(recipe 0-4) >whole.yaml
    ends 0 merge whole.yaml -o out --quiet --force
done
for key in qwen3.odd_flag=bool:true general.odd_layers=u32:4 qwen3.odd_size=u32:4 qwen3.block_size=u32:4; do
    edited "$key"
    ends 0 layers odd.gguf --drop 1-1 -o cut.gguf --quiet --force
done
converted smollm3 'del(.no_rope_layers, .layer_types)'
ends 0 merge made made.gguf --method linear -o out --quiet --force
jq '.no_rope_layers = [1, 0, 1, 0]' made/config.json >../config && cp ../config made/config.json
refused 3 "layer 1 of made.gguf" merge made made.gguf --method linear -o none

# ---- graft: a layer of another kind ----
# grafted TYPE FROM TO FILTER TEST...: the graft is the model that a passthrough makes; the edited config.json passes the tests.
grafted() {
    make "$1" "$4"
    rm -rf grafted
    cp -r made grafted
    # shellcheck disable=SC2046 # no word for layer 0
    recipe $( (($3 == 0)) || echo "0-$3") "$2-$(($2 + 1))@grafted" "$(($3 + 1))-4" >r.yaml
    ends 0 merge r.yaml -o out --quiet --force
    ends 0 graft --source grafted --target made -o got --select "$2" --map "$2:$3" --quiet --force
    ends 0 compare out got
    prints "All values are equal."
    holds got/config.json "${@:5}"
    judge "config.json differs from that of the merge" cmp -s <(jq -S . out/config.json) <(jq -S . got/config.json)
}
grafted smollm3 3 0 'del(.layer_types)' '.no_rope_layers == [0, 1, 1, 0]'
grafted gemma2 1 0 'del(.layer_types)' '.layer_types | map(.[0:1]) == ["f", "f", "s", "f"]'
grafted qwen3_moe-dense 1 0 '' '.mlp_only_layers == [0, 1]'
grafted deepseek_v2 0 1 '' '.first_k_dense_replace == 2'
grafted jamba 0 1 '' '.attn_layer_period > 0'
grafted laguna 0 1 '' '.mlp_layer_types[1] == "dense"'
grafted ernie4_5_moe 0 1 '' '.moe_layer_start_index == 3'
ends 3 graft --source grafted --target made -o none --select 1 --map 1:0 # 1 and 3 have experts
says "moe_layer_interval"
make qwen3_moe-dense
ends 0 graft --source made --target made -o got --select 1 --map 1:0 --quiet --force
recipe 0-4 >r.yaml
ends 0 merge r.yaml -o parts --max-shard-size 60KB --quiet --force
ends 0 extract parts -o taken --quiet --force
for target in parts taken; do
    ends 0 graft --source made --target $target -o out --select 1 --map 1:0 --quiet --force
    whole=out
    [[ $target == parts ]] || { whole=whole && ends 0 assemble out -o whole --quiet --force; }
    ends 0 compare $whole got
    prints "All values are equal."
    holds $whole/config.json '.mlp_only_layers == [0, 1]'
    judge "the index of the target stays" test ! -e $whole/model.safetensors.index.json
done
ends 3 graft --source made --target made -o none.safetensors --select 1 --map 1:0
prints "name a directory as the"
ends 3 graft --source made --target made -o none --select feed-forward,1 --map 1:0
prints "graft whole layers"
for odd in '.odd_interval = 2' '.odd_list = [1, 2, 3, 4]'; do
    make llama "$odd"
    ends 0 graft --source made --target made -o out --select 1 --quiet --force
    for select in 1 attention,1; do
        ends 3 graft --source made --target made -o none --select $select --map 1:2
        says "odd_"
    done
done
make smollm3
rm -rf grafted && cp -r made grafted
ends 0 graft --source grafted --target made -o out --select 2 --map 2:0 --force --quiet
ends 0 graft --source grafted --target made -o out --select feed-forward,3 --map 3:0 --force --quiet
ends 3 graft --source grafted --target made -o none --select attention,3 --map 3:0
says "layer 3"
converted smollm3
ends 3 graft --source made.gguf --target made.gguf -o none.gguf --select 3 --map 3:4
says "target"
converted deepseek_v2-gguf
ends 0 graft --source made.gguf --target made.gguf -o more.gguf --select 3 --map 3:4 --force --quiet
back more.gguf '.num_hidden_layers == 5' '.first_k_dense_replace == 1'
converted cwm
ends 3 graft --source made.gguf --target made.gguf -o none.gguf --select 1 --map 1:2
says "organ.config"

finish
