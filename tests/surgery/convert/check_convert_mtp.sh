#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# organ convert and blocks for multi-token prediction: --mtp keep, only and none in both directions. llama.cpp and transformers compute the same logits
# of step 1 from such files (docs/verbs/convert.md). Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

names() { "$organ" inspect "$1" --tensors --json 2>../err | jq -r '.tensors[].name' | sort; }
# first MODEL TENSOR: prints the first value of an F32 tensor of a file, or of the single file of a directory.
first() {
    local file=$1 offset
    [[ -d $1 ]] && file=$(echo "$1"/*.safetensors)
    offset=$("$organ" inspect "$1" --tensors --json --select "$2" | jq '.tensors[0].offset')
    od -A n -t f4 -j "$offset" -N 4 "$file"
}
to_gguf() { ends 0 convert "$1" -o "$2" --to gguf --dtype "${3:-bf16}" --quiet --force "${@:4}"; }
to_safetensors() { ends 0 convert "$1" -o "$2" --to safetensors --quiet --force "${@:3}"; }

# ---- families that both formats have: back and forth with the same names, counts and bytes ----
# Values become BF16 first, because 1 + weight rounds FP32 norms.
for type in glm4_moe glm4_moe_lite deepseek_v3 deepseek_v32 hy_v3 qwen3_next qwen3_5_text nemotron_h-moe-gguf; do
    if in_part && [[ $type != @(glm4_moe|qwen3_5_text|nemotron*) ]]; then continue; fi
    with_block $type model
    here="$type to GGUF and back"
    to_gguf model a.gguf
    to_safetensors a.gguf back
    to_gguf back b.gguf
    to_safetensors b.gguf again
    judge "$type: other values come back" cmp back/*.safetensors again/*.safetensors
    judge "$type: another GGUF file is made of the output" diff <(names a.gguf) <(names b.gguf)
    judge "$type: other tensors come back" diff <(names model | grep -vE 'layers\.4\.(embed_tokens|shared_head\.head)\.') <(names back)
    judge "$type: the keys do not count the block" test "$(key a.gguf block_count) $(key a.gguf nextn_predict_layers)" = "5 1"
    if [[ $type != nemotron* ]]; then
        judge "$type: config.json does not count the block" test "$(jq -c '[.num_hidden_layers, .num_nextn_predict_layers // .mtp_num_hidden_layers]' back/config.json)" = '[4,1]'
    fi
    to_gguf model none.gguf bf16 --mtp none
    judge "$type: --mtp none has other keys" test "$(key none.gguf block_count) $(key none.gguf nextn_predict_layers)" = "4 null"
    judge "$type: --mtp none keeps tensors" test "$(names none.gguf | grep -c 'blk\.4')" = 0
    to_gguf model mtp-only.gguf bf16 --mtp only
    judge "$type: --mtp only has other tensors" diff <(names a.gguf | grep -E '^(blk\.4\.|token_embd|output)') <(names mtp-only.gguf)
    judge "$type: --mtp only has other counts" test "$(key mtp-only.gguf block_count) $(key mtp-only.gguf nextn_predict_layers)" = "5 1"
    ends 0 inspect mtp-only.gguf
    prints "The block for multi-token prediction is named as in"
    refused 3 "without the layers of the model" convert mtp-only.gguf -o no --to safetensors
done
# A draft is quantised as the block of a model. llama-quantize of llama-cpp-python 0.3.36 gives the types of the recipe, with and without embeddings.
types() { "$organ" inspect "$1" --tensors --json 2>../err | jq -r '.tensors[] | select(.dtype != "F32") | "\(.name) \(.dtype)"' | sort; }
with_block glm4_moe model
to_gguf model mtp-only.gguf f32 --mtp only
"$top/build/checks/gguf_keys" mtp-only.gguf bare.gguf -token_embd -output >../out 2>&1 || bad "the draft cannot be made" ../out
for draft in mtp-only bare; do
    ends 0 quantize $draft.gguf -o q.gguf -s recipe:q4_k_m --quiet --force
    {
        [[ $draft == bare ]] || printf '%s\n' "output.weight Q8_0" "token_embd.weight Q5_0"
        printf 'blk.4.%s.weight Q8_0\n' attn_v ffn_down_exps ffn_down_shexp
        printf 'blk.4.%s.weight Q5_0\n' attn_k attn_output attn_q ffn_gate_exps ffn_gate_shexp ffn_up_exps ffn_up_shexp nextn.eh_proj
    } | sort >types
    judge "$draft: the recipe gives other types" diff types <(types q.gguf)
    ends 0 quantize $draft.gguf -o q.gguf -s q4_0 --quiet --force
    judge "$draft: a matrix of the block has another type than the scheme's" test "$(types q.gguf | grep '^blk' | grep -v eh_proj | cut -d' ' -f2 | sort -u)" = Q4_0
    judge "$draft: the projection has another type" test "$(types q.gguf | grep eh_proj)" = "blk.4.nextn.eh_proj.weight Q8_0"
done
with_block qwen3_5_text model
to_gguf model a.gguf f32
here="norms of Qwen3.5"
for pair in enorm:pre_fc_norm_embedding hnorm:pre_fc_norm_hidden shared_head_norm:norm; do
    judge "$pair is not 1 + weight" awk -v a="$(first a.gguf "blk.4.nextn.${pair%:*}.weight")" -v b="$(first model "mtp.${pair#*:}.weight")" 'BEGIN { exit !(a - b > 0.999999 && a - b < 1.000001) }'
done
judge "the recurrent layers have no entry for the block" test "$(key a.gguf attention.recurrent_layers 4)" = 5
with_block glm4_moe model
to_gguf model a.gguf f32
judge "a norm of GLM changes" test "$(first a.gguf blk.4.nextn.enorm.weight)" = "$(first model model.layers.4.enorm.weight)"
ends 0 convert model -o a.gguf --to gguf --force
says "2 tensors of the block for multi-token prediction, copies of embedding and head, are left out"
says "vLLM gives the next step the outputs before the norm"
says "vLLM replaces the embedding in the block's first row by zeros"
ends 0 inspect model
prints "named as in GLM-4.5."
prints "Programs run it differently: vLLM gives the next step"
for type in deepseek_v3:vLLM ernie4_5_moe:"vLLM and SGLang" mimo:"vLLM and SGLang"; do
    with_block "${type%%:*}" other
    ends 0 inspect other --json
    holds ../out ".mtp.dispute | startswith(\"${type#*:} replace\")"
done
judge "the report does not name the block" test "$(jq -c '.mtp | [.family, .blocks, .only, .copies_left_out]' a.convert.json)" = '["GLM-4.5",1,false,2]'

# ---- quantised GGUF: matrices of the block get the type of the scheme, its projection at least Q8_0 ----
types() { "$organ" inspect "$1" --tensors --json | jq -r --arg name "blk.4.$2.weight" '.tensors[] | select(.name == $name) | .dtype'; }
for scheme in q8_0 q4_0 recipe:q4_0; do
    ends 0 quantize a.gguf -o q.gguf -s "$scheme" --quiet --force
    type=${scheme#*:} type=${type^^}
    judge "$scheme: other types of the block" test "$(types q.gguf attn_q) $(types q.gguf ffn_up_exps) $(types q.gguf ffn_gate_inp) $(types q.gguf nextn.enorm)" = "$type $type F32 F32"
done
judge "a recipe does not quantise the projection as llama-quantize does" test "$(types q.gguf nextn.eh_proj)" = Q4_0
ends 0 quantize a.gguf -o q.gguf -s q4_0 --quiet --force
judge "the projection has few bits" test "$(types q.gguf nextn.eh_proj)" = Q8_0
ends 0 quantize a.gguf -o q.gguf -s q4_0 --quiet --force --select 0-3
judge "--select quantises the block, too" test "$(types q.gguf attn_q) $(types q.gguf nextn.eh_proj)" = "F32 F32"

# ---- MiMo-V2: blocks have q, k and v in one tensor of a GGUF file, layers have them apart ----
# values MODEL: prints name and digest of each tensor.
values() {
    local parts=../parts.$BASHPID
    "$organ" extract "$1" -o "$parts" --quiet >/dev/null 2>&1 || echo "$1 cannot be extracted"
    jq -r '.tensors | to_entries[] | "\(.key) \(.value.xxh3)"' "$parts/manifest.json" | sort
    rm -rf "$parts"
}
# attention FILE: prints name and shape of each tensor of q, k and v.
attention() { "$organ" inspect "$1" --tensors --json 2>../err | jq -r '.tensors[] | select(.name | test("attn_(q|k|v|qkv)\\.")) | "\(.name) \(.shape | join("x"))"' | sort; }
# biased: prints rows of model.tsv with biases of q, k and v.
biased() { awk -F '\t' -v OFS='\t' '{ print } $2 ~ /self_attn\.[qkv]_proj\.weight/ { sub(/weight/, "bias", $2); sub(/x.*/, "", $3); print }'; }
with_block mimo_v2_flash model
to_gguf model a.gguf
judge "the joined tensors" diff <(printf 'blk.%s 256x64\n' 4.attn_qkv.weight 5.attn_qkv.weight) <(attention a.gguf | grep -E 'blk\.[45]')
judge "layers have joined tensors" test "$(attention a.gguf | grep -cE 'blk\.[0-3]\.attn_[qkv]\.weight') $(attention a.gguf | grep -cE 'blk\.[0-3]\.attn_qkv')" = "12 0"
to_safetensors a.gguf back
to_gguf back b.gguf
to_safetensors b.gguf again
judge "MiMo-V2: other values come back" cmp back/*.safetensors again/*.safetensors
judge "MiMo-V2: other tensors come back" diff <(names model) <(names back)
judge "MiMo-V2: the keys do not count the blocks" test "$(key a.gguf block_count) $(key a.gguf nextn_predict_layers)" = "6 2"
judge "MiMo-V2: settings of layers lack the blocks" test "$(key a.gguf attention.sliding_window_pattern 4) $(key a.gguf attention.head_count_kv 4)" = "6 6"
to_gguf model none.gguf bf16 --mtp none
judge "MiMo-V2: --mtp none keeps a block" test "$(key none.gguf block_count) $(key none.gguf nextn_predict_layers) $(names none.gguf | grep -c 'blk\.[45]')" = "4 null 0"
to_gguf model mtp-only.gguf bf16 --mtp only
judge "MiMo-V2: --mtp only has other tensors" diff <(names a.gguf | grep -E '^(blk\.[45]\.|token_embd|output)') <(names mtp-only.gguf)
to_safetensors a.gguf back --mtp only
judge "MiMo-V2: --mtp only has other safetensors" diff <(names model | grep mtp) <(names back)
to_gguf model a.gguf f32
to_safetensors a.gguf back
judge "MiMo-V2: FP32 values change" diff <(values model) <(values back)
# The forward pass reads the joined tensor: the same acceptance, and the same importance matrix.
head -c 3000 "$top/fixtures/tiny-qwen2/heldout.txt" >text.txt
for of in model a.gguf; do
    ends 0 evaluate model $of --mtp --text text.txt --context 64 --json
    jq -c '[.. | .mtp? // empty | objects]' ../out >"$of.accepted"
    ends 0 imatrix $of -o $of.imatrix --calibration text.txt --context 64 --quiet
done
judge "no acceptance" test "$(jq '.[1].blocks' model.accepted)" = 2
judge "another acceptance of the GGUF file" cmp model.accepted a.gguf.accepted
judge "another importance matrix of the GGUF file" cmp model.imatrix a.gguf.imatrix
for scheme in q8_0 q4_0; do
    ends 0 quantize a.gguf -o q.gguf -s $scheme --quiet --force
    ends 0 quantize model -o p.gguf -s $scheme --quiet --force
    judge "$scheme: another type of the joined tensor" test "$("$organ" inspect q.gguf --tensors --json | jq -r '.tensors[] | select(.name == "blk.4.attn_qkv.weight").dtype')" = ${scheme^^}
    judge "$scheme: safetensors give another block" diff <(values q.gguf) <(values p.gguf)
done
# layers of a GGUF file that were joined in the model, as in MiMo-V2.5, come back as three tensors
rm -rf fixture && cp -r "$top/fixtures/architectures/mimo_v2_flash" fixture && chmod -R u+w fixture
awk -F '\t' -v OFS='\t' '$1 == "tensor" { skip = $2 ~ /attn_[kv]\.weight/ } skip { next }
    $2 ~ /attn_q\.weight/ { split($2, name, "."); sub(/attn_q/, "attn_qkv", $2); $3 = name[2] % 3 ? "256x64" : "176x64"; print; joined = 1; next }
    { print } joined { for (k = 0; k < 2; k++) { sub(/[qk]_proj/, k ? "v_proj" : "k_proj", $2); print } joined = 0 }' \
    "$top/fixtures/architectures/mimo_v2_flash/gguf.tsv" >fixture/gguf.tsv
for row in "../../../../../../../../../..$scratch/area/fixture:joined" mimo_v2_flash:apart; do
    (cd "$top" && build/checks/arch_model "${row%:*}" "$scratch/area/${row##*:}.gguf") >../out 2>&1 || bad "the file cannot be made" ../out
    to_safetensors "${row##*:}.gguf" "${row##*:}"
done
judge "the layers are not joined" test "$(attention joined.gguf | grep -c attn_qkv) $(attention joined.gguf | wc -l)" = "4 4"
judge "joined layers give other tensors" diff <(values apart) <(values joined)
# biases are joined, too, although llama.cpp ignores them
with_block mimo_v2_flash model
biased <fixture/model.tsv >rows && mv rows fixture/model.tsv && sed -i 's/"attention_bias": false/"attention_bias": true/' fixture/config.json
rm -rf model && (cd "$top" && build/checks/arch_model "../../../../../../../../../..$scratch/area/fixture" "$scratch/area/model") >../out 2>&1 || bad "the model cannot be made" ../out
ends 0 convert model -o a.gguf --to gguf --dtype f32 --force
says "it does not add the biases of q, k and v"
judge "no joined bias" test "$(attention a.gguf | grep -c 'blk.[45].attn_qkv.bias 256')" = 2
to_safetensors a.gguf back
judge "other biases come back" diff <(values model) <(values back)
# blocks that do not fit
for part in q k v; do
    with_block mimo_v2_flash model "sed /layers.1.self_attn.${part}_proj/d"
    refused 3 "tensors are missing: 'blk.5.attn_qkv.weight'" convert model -o no.gguf --to gguf
    refused 3 "tensors are missing: 'blk.5.attn_qkv.weight'" convert model -o no.gguf --to gguf --mtp only
done
with_block mimo_v2_flash model "sed /layers.1.self_attn.[qkv]_proj/d"
refused 3 "no tensor gives 'blk.5.attn_qkv.weight'" convert model -o no.gguf --to gguf
refused 3 "no tensor gives 'blk.5.attn_qkv.weight'" convert model -o no.gguf --to gguf --mtp only
with_block mimo_v2_flash model "sed /layers.1.self_attn.k_proj/s/96x64/48x64/"
refused 3 "'model.mtp.layers.1.self_attn.k_proj.weight' does not have the rows of the heads" convert model -o no.gguf --to gguf
with_block mimo_v2_flash model "sed s/layers.1/layers.3/"
refused 3 "it has 4, and llama.cpp runs 3" convert model -o no.gguf --to gguf --mtp keep
with_block mimo_v2_flash model
to_gguf model a.gguf f32
# edited FILE FROM TO: makes FILE of a.gguf with another name of the same length.
edited() { sed "s/$2/$3/" a.gguf >"$1"; }
edited twice.gguf blk.4.ffn_up.weight blk.4.attn_q.weight
refused 3 "tensors have the same rows of the output: 'model.mtp.layers.0.self_attn.q_proj.weight' would have 192 of 96 rows" convert twice.gguf -o no --to safetensors
edited lacks.gguf blk.4.attn_qkv.weight blk.4.attn_k_b.weight
refused 3 "'blk.4.attn_k_b.weight' is of latent attention" convert lacks.gguf -o no --to safetensors
sed 's/blk.4.attn_qkv/blk.4.ffn_dowN/; s/blk.4.ffn_down/blk.4.attn_qkv/; s/blk.4.ffn_dowN/blk.4.ffn_down/' a.gguf >short.gguf
refused 3 "'blk.4.attn_qkv.weight' does not have the rows of the heads" convert short.gguf -o no --to safetensors

# ---- families that llama.cpp does not run: left out with a note, and an explicit keep is refused ----
for row in "ernie4_5_moe:has no graph for the block" "exaone_moe:stores the block of EXAONE"; do
    if in_part && [[ $row != exaone* ]]; then continue; fi
    with_block "${row%%:*}" model
    ends 0 convert model -o a.gguf --to gguf --force
    says "${row#*:}"
    judge "${row%%:*}: the output has a block" test "$(names a.gguf | grep -c nextn) $(key a.gguf nextn_predict_layers)" = "0 null"
    refused 3 "${row#*:}" convert model -o no.gguf --to gguf --mtp keep
    refused 3 "${row#*:}" convert model -o no.gguf --to gguf --mtp only
done

# ---- a GGUF file with a block that has names in safetensors ----
(cd "$top" && build/checks/arch_model qwen3_5_text-mtp "$scratch/area/draft.gguf") >../out 2>&1 || bad "the file cannot be made" ../out
to_safetensors draft.gguf back
judge "the block does not come back" test "$(names back | grep -c '^mtp\.') $(jq .mtp_num_hidden_layers back/config.json)" = "15 1"
to_safetensors draft.gguf back --mtp none
judge "--mtp none keeps the block" test "$(names back | grep -c '^mtp\.') $(jq .mtp_num_hidden_layers back/config.json)" = "0 0"
to_safetensors draft.gguf back --mtp only
judge "--mtp only has other tensors" test "$(names back | grep -c '^mtp\.') $(names back | wc -l) $(jq -c '[.num_hidden_layers, .mtp_num_hidden_layers]' back/config.json)" = "15 15 [4,1]"

rm -rf fixture && cp -r "$top/fixtures/architectures/qwen3_5_text-mtp" fixture && chmod -R u+w fixture
sed -i '/^tensor\tblk\.4\.attn_output/,+1d' fixture/gguf.tsv
(cd "$top" && build/checks/arch_model "../../../../../../../../../..$scratch/area/fixture" "$scratch/area/lacks.gguf") >../out 2>&1 || bad "the file cannot be made" ../out
for only in "" "--mtp only"; do
    # shellcheck disable=SC2086 # words
    refused 3 "no tensor gives 'blk.4.attn_output.weight'" convert lacks.gguf -o no --to safetensors $only
done

# ---- counts and tensors that do not fit ----
with_block glm4_moe model "sed d"
ends 0 convert model -o a.gguf --to gguf --force
says "num_nextn_predict_layers states a block for multi-token prediction, of which the model has no tensor"
judge "the output states a block" test "$(key a.gguf block_count) $(key a.gguf nextn_predict_layers)" = "4 null"
refused 3 "it has no tensor of one" convert model -o no.gguf --to gguf --mtp keep
for count in 0 2; do
    with_block glm4_moe model
    sed -i "s/\"num_nextn_predict_layers\": 1/\"num_nextn_predict_layers\": $count/" model/config.json
    refused 3 "has tensors of 1 block for multi-token prediction, but num_nextn_predict_layers states $count" convert model -o no.gguf --to gguf
    ends 0 convert model -o a.gguf --to gguf --mtp none --quiet --force
done
for part in enorm eh_proj shared_head.norm self_attn.k_proj mlp.shared_experts.up_proj mlp.gate.weight; do
    if in_part && [[ $part != @(enorm|self_attn.k_proj|mlp.gate.weight) ]]; then continue; fi
    with_block glm4_moe model "sed /layers.4.$part/d"
    refused 3 "block for multi-token prediction is not complete" convert model -o no.gguf --to gguf
    refused 3 "block for multi-token prediction is not complete" convert model -o no.gguf --to gguf --mtp only
done
with_block glm4_moe model "sed s/layers.4.enorm/layers.4.pre_fc_norm_embedding/"
refused 3 "'model.layers.4.pre_fc_norm_embedding.weight' has no known name in GGUF" convert model -o no.gguf --to gguf
with_block glm4_moe model "sed s/layers.4/layers.5/"
refused 3 "has tensors of 2 blocks" convert model -o no.gguf --to gguf
refused 3 "organ knows no such blocks" convert "$model" -o no.gguf --to gguf --mtp keep
judge "something is written" test ! -e no.gguf -a ! -e no
finish
