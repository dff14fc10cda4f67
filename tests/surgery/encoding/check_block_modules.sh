#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Lists of modules that servers leave unquantised, for models with a plain block for multi-token prediction: the entries match the names that vLLM 0.33
# and SGLang 0.5.23 give to the modules of the block, fused ones and experts included, and none of the model's layers. Ends with "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

# matches NAME: whether an entry of config.json is the name, or a pattern "re:..." that matches from its beginning.
matches() { jq -e --arg name "$1" '[.quantization_config.ignore[] | if startswith("re:") then (.[3:] as $p | $name | test("^(" + $p + ")")) else . == $name end] | any' made/config.json >../out; }
parts="self_attn.qkv_proj self_attn.o_proj mlp.experts mlp.experts.0.gate_up_proj mlp.shared_experts.gate_up_proj eh_proj"
while read -r type blocks; do
    with_block "$type" model
    rm -rf made
    ends 0 quantize model -o made -s int8-channel --quiet
    for block in ${blocks//,/ }; do
        for part in $parts; do
            here="$type: $block.$part"
            judge "is not left unquantised" matches "$block.$part"
        done
    done
    for layer in model.layers.0 model.layers.1 model.layers.3 model.layers.40 model.layers.14; do
        here="$type: $layer"
        judge "is left unquantised" eval "! matches $layer.self_attn.qkv_proj"
    done
    chmod -R u+w made
done <<'END'
glm4_moe model.layers.4,model.decoder
hy_v3 model.layers.4,model.decoder
qwen3_5_text mtp.layers.0
mimo_v2_flash model.mtp.layers.0
ernie4_5_moe model.mtp_block.0
END
# Entries follow the block when layers are removed, and its number is warned of.
with_block glm4_moe model
rm -rf made
ends 0 quantize model -o q -s int8-channel --quiet
ends 0 layers q --drop 2-2 -o made
says "the block for multi-token prediction is layer 4, and gets the number after the kept layers"
judge "config.json does not count the block" test "$(jq -c '[.num_hidden_layers, .num_nextn_predict_layers]' made/config.json)" = '[3,1]'
judge "entries have another number" matches model.layers.3.mlp.experts
judge "a layer is left unquantised" eval "! matches model.layers.2.mlp.experts"
chmod -R u+w made q

with_block qwen3_next model
rm -rf made
ends 0 quantize model -o made -s int8-channel
says "no entry of config.json can leave only the block unquantised"
judge "vLLM quantises the block" matches mtp.layers.0.self_attn.qkv_proj
chmod -R u+w made

# A block of which --select quantises a part has no pattern: it would match that part, too.
with_block glm4_moe model
rm -rf made
ends 0 quantize model -o made -s int8-channel --select model.layers.3.self_attn.q_proj.weight,model.layers.4.self_attn.q_proj.weight --quiet
judge "a quantised module is left unquantised" eval "! matches model.layers.4.self_attn.q_proj"
judge "the projection is not listed" matches model.layers.4.eh_proj
finish
