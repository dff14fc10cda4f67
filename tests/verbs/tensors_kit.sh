# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Small safetensors files, and the bytes of their tensors; cli_kit.sh is read before.

# le NUMBER BYTES: prints the number, low byte first.
le() {
    local k byte out=
    for ((k = 0; k < $2; k++)); do printf -v byte '\\x%02x' $(($1 >> (8 * k) & 255)) && out+=$byte; done
    # shellcheck disable=SC2059 # the format is escapes
    printf "$out"
}

# safetensors [BYTES]: of lines NAME TYPE BYTES-OF-A-VALUE SHAPE on standard input, prints a file whose values are the bytes of a model: its first ones, or
# those from BYTES before its end on, which are BF16 values.
safetensors() {
    local name type width shape at=0 header='{' bytes k
    while read -r name type width shape; do
        bytes=$width
        for k in ${shape//,/ }; do bytes=$((bytes * k)); done
        header+="\"$name\":{\"dtype\":\"$type\",\"shape\":[$shape],\"data_offsets\":[$at,$((at + bytes))]},"
        at=$((at + bytes))
    done
    header="${header%,}}"
    while ((${#header} % 8)); do header+=' '; done
    le ${#header} 8
    printf %s "$header"
    if (($#)); then cat tiny-qwen2/*.safetensors | tail -c "$1" | head -c $at; else head -c $at tiny-qwen2/model-00001-of-00003.safetensors; fi
}

# bf16 NAME SHAPE...: lines of BF16 tensors for safetensors.
bf16() { printf '%s BF16 2 %s\n' "$@"; }

# untied_base DIRECTORY [NAME SHAPE...]: a Qwen2 of one layer with a head of its own, these tensors besides, and the tokenizer of tiny-qwen2.
untied_base() {
    local of=model.layers.0
    mkdir "$1"
    bf16 model.embed_tokens.weight 2048,16 $of.input_layernorm.weight 16 $of.self_attn.q_proj.weight 16,16 $of.self_attn.q_proj.bias 16 \
        $of.self_attn.k_proj.weight 16,16 $of.self_attn.k_proj.bias 16 $of.self_attn.v_proj.weight 16,16 $of.self_attn.v_proj.bias 16 \
        $of.self_attn.o_proj.weight 16,16 $of.post_attention_layernorm.weight 16 $of.mlp.gate_proj.weight 32,16 $of.mlp.up_proj.weight 32,16 \
        $of.mlp.down_proj.weight 16,32 model.norm.weight 16 lm_head.weight 2048,16 "${@:2}" | safetensors 300000 >"$1/model.safetensors"
    jq '. + {hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2, head_dim: 8,
        tie_word_embeddings: false} | del(.layer_types)' tiny-qwen2/config.json >"$1/config.json"
    cp tiny-qwen2/tokenizer*.json tiny-qwen2/generation_config.json "$1/"
}

# rows DIRECTORY TENSOR WIDTH: its rows of so many bytes, as lines of hexadecimal digits. columns DIRECTORY TENSOR COUNT: lines of its columns, of 2-byte values.
rows() {
    local file at bytes
    read -r file at bytes < <("$organ" inspect "$1" --tensors --json --quiet --select "$2" | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"')
    od -An -v -tx1 -w"$3" -j "$at" -N "$bytes" "$1/$file" | tr -d ' '
}
columns() { rows "$1" "$2" $((2 * $3)) | awk -v n="$3" '{for (k = 0; k < n; k++) c[k] = c[k] substr($0, 4 * k + 1, 4)} END {for (k = 0; k < n; k++) print c[k]}'; }
