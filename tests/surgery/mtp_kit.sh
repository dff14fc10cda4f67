# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Small models with blocks for multi-token prediction, made from those of fixtures/architectures; cli_kit.sh is read before.

# block_rows TYPE: prints the rows of model.tsv of the block that a model of the type gets. Its layers have the shapes of the model's.
block_rows() {
    local rows=$top/fixtures/architectures/$1/model.tsv
    [[ -e $rows ]] || rows=$top/fixtures/drafts/$1/model.tsv
    # layer FROM TO: the rows of layer FROM of the model under the name TO. parts PREFIX NAME...: rows of a projection and of norms.
    layer() { grep "^tensor	[a-z]*\.layers\.$1\." "$rows" | sed -E "s/\t[a-z]+\.layers\.$1\./\t$2./"; }
    parts() {
        printf 'tensor\t%s.weight\t64x128\n' "$1$2"
        printf "tensor\t$1%s.weight\t64\n" "${@:3}"
    }
    case $1 in
    glm* | deepseek*)
        layer 3 model.layers.4
        parts model.layers.4. eh_proj enorm hnorm shared_head.norm
        printf 'tensor\tmodel.layers.4.%s.weight\t256x64\n' embed_tokens shared_head.head
        ;;
    hy_v3*)
        layer 3 model.layers.4
        parts model.layers.4. eh_proj enorm hnorm final_layernorm
        ;;
    qwen* | mellum* | exaone_moe*)
        layer 3 mtp.layers.0
        parts mtp. fc pre_fc_norm_embedding pre_fc_norm_hidden norm
        ;;
    mimo_v2_flash)
        for k in 0 1; do
            layer 1 "model.mtp.layers.$k" | grep -v 'mlp' | sed 's/post_attention_layernorm/pre_mlp_layernorm/'
            layer 0 "model.mtp.layers.$k" | grep mlp
            parts "model.mtp.layers.$k." eh_proj enorm hnorm final_layernorm
        done
        ;;
    nemotron_h*)
        layer 2 mtp.layers.0
        layer 3 mtp.layers.1
        parts mtp.layers.0. eh_proj enorm hnorm
        printf 'tensor\tmtp.layers.1.final_layernorm.weight\t64\n'
        ;;
    ernie4_5_moe*)
        layer 3 model.mtp_block.0
        parts model. mtp_linear_proj.0 mtp_emb_norm.0 mtp_hidden_norm.0
        ;;
    esac
}

# with_block TYPE DIRECTORY [EDIT]: makes the model of fixtures/architectures/TYPE with a block, which config.json counts. EDIT is a command that edits
# the rows of the block, as `sed /enorm/d`.
with_block() {
    local count=num_nextn_predict_layers number=1
    case $1 in
    qwen3_5*) count=mtp_num_hidden_layers ;;
    qwen3_next | mimo_v2_flash) count= ;;
    mimo) number=2 ;; # those of fixtures/drafts
    esac
    [[ -e $2 ]] && chmod -R u+w "$2"
    rm -rf fixture "$2" && mkdir fixture
    local of=$top/fixtures/architectures/$1
    [[ -e $of ]] || of=$top/fixtures/drafts/$1
    cat "$of/model.tsv" <(block_rows "$1" | ${3:-cat}) >fixture/model.tsv
    # jq would write 1.0 as 1, which transformers refuses for some members
    sed "/\"num_nextn_predict_layers\": 0/d; ${count:+1s/{/{\n \"$count\": $number,/}" "$of/config.json" >fixture/config.json
    (cd "$top" && build/checks/arch_model "../../../../../../../../../..$scratch/area/fixture" "$scratch/area/$2") >../out 2>&1 || bad "$1 cannot be made" ../out
}

# v4_rows: prints the rows of model.tsv of a model with the names of DeepSeek-V4, of which the last are those of its block.
v4_rows() {
    local layer e
    printf 'tensor\t%s\t%s\n' embed.weight 256x64 head.weight 256x64 norm.weight 64 hc_head_fn 2x128 hc_head_base 2 hc_head_scale 1
    for layer in layers.0 layers.1 layers.2 mtp.0; do
        printf "tensor\t$layer.%s\t%s\n" attn_norm.weight 64 ffn_norm.weight 64 attn.wq_a.weight 24x64 attn.wq_b.weight 96x24 \
            attn.wkv.weight 24x64 attn.wo_a.weight 32x96 attn.wo_b.weight 64x32 attn.attn_sink 4 hc_attn_fn 8x128 ffn.gate.weight 4x64
        for e in 0 1 2 3; do printf "tensor\t$layer.ffn.experts.$e.%s.weight\t%s\n" w1 32x64 w2 64x32 w3 32x64; done
    done
    printf 'tensor\tmtp.0.%s\t%s\n' e_proj.weight 64x64 h_proj.weight 64x64 enorm.weight 64 hnorm.weight 64 norm.weight 64 hc_head_fn 2x128 hc_head_base 2
}

# v4_model DIRECTORY [EDIT]: makes the model of v4_rows. EDIT is a command that edits the rows.
v4_model() {
    [[ -e $1 ]] && chmod -R u+w "$1"
    rm -rf fixture "$1" && mkdir fixture
    v4_rows | ${2:-cat} >fixture/model.tsv
    jq '. + {model_type: "deepseek_v4", architectures: ["DeepseekV4ForCausalLM"], num_hidden_layers: 3, num_nextn_predict_layers: 1}' \
        "$top/fixtures/architectures/deepseek_v3/config.json" >fixture/config.json
    (cd "$top" && build/checks/arch_model "../../../../../../../../../..$scratch/area/fixture" "$scratch/area/$1") >../out 2>&1 || bad "DeepSeek-V4 cannot be made" ../out
}

# key FILE NAME [SKIP]: prints the number of a key of a GGUF file, "null" if it has no such key. SKIP: 4 for the length of an array.
key() {
    local at
    at=$(LC_ALL=C grep -abo -m 1 -E "[a-z0-9_-]+\\.$2" "$1" | head -n 1)
    if [[ $at ]]; then od -A n -t u4 -j $((${at%%:*} + $(printf %s "${at#*:}" | wc -c) + 4 + ${3:-0})) -N 4 "$1" | tr -d ' '; else echo null; fi
}
