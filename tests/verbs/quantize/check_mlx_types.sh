#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quantize --format mlx for models of several types: members of config.json that mlx-lm needs, and notes on what it refuses or computes otherwise. Ends with
# "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

# quantised TYPE [MESSAGE]: makes a model of the type and quantises it for mlx-lm.
quantised() {
    (cd "$top" && build/checks/arch_model "$1" "$scratch/area/model") >../out 2>&1 || bad "$1 cannot be made" ../out
    ends 0 quantize model -o small -s int8-group32 --format mlx
    if [[ -n ${2:-} ]]; then says "mlx-lm 0.32 $2"; else judge "there is a note on mlx-lm" test "$(grep -c 'mlx-lm 0.32' ../err)" = 0; fi
}
# has TYPE FILTER: config.json of the quantised model has these members.
has() {
    quantised "$1"
    judge "config.json of $1 lacks what mlx-lm needs" jq -e "$2" small/config.json >/dev/null
    chmod -R u+w model small && rm -r model small
}
has qwen3_moe '.head_dim == 16 and .rope_theta == 10000'
has lfm2 '.block_dim == 64'
has minimax_m2 '.shared_intermediate_size == 0 and .rotary_dim == 8'
has glm4_moe '.head_dim == 16 and has("rope_scaling")'
has solar_open '.first_k_dense_replace == 0 and .intermediate_size == .moe_intermediate_size and .partial_rotary_factor == 1'
has hunyuan_v1_dense '.rope_scaling.type == "dynamic" and .rope_scaling.alpha == 50'
has qwen3_5 '.text_config.full_attention_interval == 2'
has qwen3_5_moe '.text_config.full_attention_interval == 2'
has exaone4 '.sliding_window_pattern == "LLLG"'
has olmo3 '.rope_scaling.type == "yarn" and .rope_theta == 20000'

while read -r type message; do
    quantised "$type" "$message"
    chmod -R u+w model small && rm -r model small
done <<'LIST'
afmoe refuses this model, also unquantised (attention_bias)
mixtral-stacked refuses this model, also unquantised (experts.gate_up_proj)
llama-relu computes other values than transformers (hidden_act)
gemma2 computes other values than transformers (sliding_window)
glm computes other values than transformers (partial_rotary_factor)
gpt_oss computes other values than transformers (swiglu_limit)
gpt_oss computes other values than transformers (truncate)
minicpm3 computes other values than transformers (dim_model_base)
minicpm3 computes other values than transformers (short_factor)
minicpm3-plain refuses this model, also unquantised (long_factor)
minicpm3-plain refuses this model, also unquantised (q_lora_rank)
deepseek_v2-lite refuses this model, also unquantised (mlp.down_proj.bias)
laguna-elements refuses this model, also unquantised (self_attn.g_proj.weight)
LIST

# a period of layers that mlx-lm cannot repeat, and settings with which it computes what transformers computes
(cd "$top" && build/checks/arch_model qwen3_5 "$scratch/area/model") >../out 2>&1
jq '.text_config.layer_types = ["linear_attention", "full_attention", "full_attention", "linear_attention"]' model/config.json >../set && cp ../set model/config.json
run quantize model -o small -s int8-group32 --format mlx
says "(layer_types)"
rm -rf model small
(cd "$top" && build/checks/arch_model glm "$scratch/area/model") >../out 2>&1
jq '.rope_parameters.partial_rotary_factor = 1' model/config.json >../set && cp ../set model/config.json
ends 0 quantize model -o small -s int8-group32 --format mlx
judge "a note without a cause" test "$(grep -c 'mlx-lm 0.32' ../err)" = 0
finish
