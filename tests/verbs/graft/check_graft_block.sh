#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# organ graft --select mtp: blocks for multi-token prediction come back into models that have lost them, and go into others. Ends with the line
# "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

# tensors MODEL [WORD]: prints name, type, shape and digest of the values of each tensor.
tensors() { "$organ" inspect "$1" --tensors --json --select "${2:-all}" 2>../err | jq -r '.tensors[] | "\(.name) \(.dtype) \(.shape)"' | sort; }
# bytes MODEL: prints name and digest of each tensor, of files of either format.
bytes() {
    local parts=../parts.$BASHPID
    "$organ" extract "$1" -o "$parts" --quiet >/dev/null 2>../err || echo "$1 cannot be extracted"
    jq -r '.tensors | to_entries[] | "\(.key) \(.value.dtype) \(.value.xxh3)"' "$parts/manifest.json" | sort
    rm -rf "$parts"
}
# counts FILE: prints the keys of a GGUF file that count layers and blocks.
counts() { echo "$(key "$1" block_count) $(key "$1" nextn_predict_layers)"; }
# mismatch REASON SOURCE TARGET: the graft is refused with the reason, and leaves nothing.
mismatch() {
    COLUMNS=300 ends 3 graft --source "$2" --target "$3" -o refused."${4:-gguf}" --select mtp
    prints "$1"
    record "$(grep '^error' ../err)"
    judge "something is written" test ! -e "refused.${4:-gguf}"
}
graft() { ends 0 graft --source "$1" --target "$2" -o "$3" --select mtp --quiet --force; }

# ---- safetensors: the block of a model comes back into the model that has lost it ----
for type in glm4_moe qwen3_5_text hy_v3 mimo_v2_flash nemotron_h-moe-gguf ernie4_5_moe exaone_moe; do
    if in_part && [[ $type != @(glm4_moe|qwen3_5_text|mimo_v2_flash) ]]; then continue; fi
    with_block $type whole
    with_block $type lost "sed d"
    here="$type"
    graft whole lost made
    judge "$type: other tensors than those of the donor" diff <(bytes whole) <(bytes made)
    judge "$type: another config.json" diff <(jq -S . whole/config.json) <(jq -S . made/config.json)
    graft whole whole again
    judge "$type: a block in its own place changes files" diff -r -x organ -x README.md whole again
done

# ---- GGUF: the whole file, the file without the block, and the file mtp-NAME.gguf ----
for type in mimo_v2_flash glm4_moe qwen3_5_text qwen3_next hy_v3 deepseek_v3 deepseek_v32 nemotron_h-moe-gguf; do
    if in_part && [[ $type != @(glm4_moe|qwen3_5_text|mimo_v2_flash) ]]; then continue; fi
    with_block $type model
    ends 0 convert model -o whole.gguf --to gguf --dtype bf16 --quiet --force
    ends 0 convert model -o lost.gguf --to gguf --dtype bf16 --quiet --force --mtp none
    ends 0 convert model -o mtp-only.gguf --to gguf --dtype bf16 --quiet --force --mtp only
    here="$type in GGUF"
    for source in whole.gguf mtp-only.gguf; do
        graft $source lost.gguf made.gguf
        judge "$source: other tensors than those of the donor" diff <(bytes whole.gguf) <(bytes made.gguf)
        judge "$source: other counts" test "$(counts made.gguf)" = "$(counts whole.gguf)"
    done
    # a draft of the block alone: embeddings, final norm and head are those of the model
    "$top/build/checks/gguf_keys" mtp-only.gguf bare.gguf -token_embd -output >../out 2>&1 || bad "the draft cannot be made" ../out
    judge "the draft has other tensors than its block" test "$(bytes bare.gguf | grep -vc '^blk')" = 0
    graft bare.gguf lost.gguf made.gguf
    judge "bare.gguf: other tensors than those of the donor" diff <(bytes whole.gguf) <(bytes made.gguf)
    judge "bare.gguf: other counts" test "$(counts made.gguf)" = "$(counts whole.gguf)"
    graft mtp-only.gguf whole.gguf again.gguf
    judge "a block in its own place changes the file" cmp whole.gguf again.gguf
    if [[ $type != deepseek_v32 ]]; then
        ends 0 convert made.gguf -o back --to safetensors --quiet --force
        ends 0 convert whole.gguf -o straight --to safetensors --quiet --force
        judge "other settings than those of the donor" diff back/config.json straight/config.json
        judge "other safetensors than those of the donor" diff <(bytes back) <(bytes straight)
    fi
    ends 0 assemble whole.gguf --select mtp -o split.gguf --quiet --force
    judge "the file with the block alone is another than that of convert" diff <(bytes mtp-only.gguf) <(bytes split.gguf)
    judge "the block alone has other counts" test "$(counts split.gguf)" = "$(counts whole.gguf)"
done

# ---- the block alone: extract, assemble, and back ----
with_block glm4_moe whole
with_block glm4_moe lost "sed d"
rm -rf alone joined && ends 0 extract whole --select mtp -o alone --quiet
judge "other tensors are extracted" diff <(bytes whole | grep 'layers\.4\.') <(bytes alone)
graft alone lost made
judge "an organ directory gives other tensors" diff <(bytes whole) <(bytes made)
rm -rf joined && ends 0 assemble alone -o joined --quiet
graft joined lost made
judge "a directory with the block alone gives other tensors" diff <(bytes whole) <(bytes made)
ends 0 convert whole -o whole.gguf --to gguf --dtype bf16 --quiet --force
ends 0 convert whole -o lost.gguf --to gguf --dtype bf16 --quiet --force --mtp none
rm -rf alone && ends 0 extract whole.gguf --select mtp -o alone --quiet
judge "the header has another name" test -e alone/header/mtp-whole.gguf
ends 0 assemble alone -o split.gguf --quiet --force
ends 0 inspect split.gguf
prints "The block for multi-token prediction is named as in"
graft alone lost.gguf made.gguf
cp split.gguf mtp-whole.gguf
judge "an organ directory of GGUF gives other tensors" diff <(bytes whole.gguf) <(bytes made.gguf)
rm -rf parts && ends 0 extract lost.gguf -o parts --quiet
rm -rf made.parts && ends 0 graft --source split.gguf --target parts -o made.parts --select mtp --quiet
ends 0 assemble made.parts -o made.gguf --quiet --force
judge "an organ directory as the target gives other tensors" diff <(bytes whole.gguf) <(bytes made.gguf)
refused 3 "the model has none for multi-token prediction" extract lost.gguf --select mtp -o no
refused 3 "the model has no tensor of one" assemble lost --select mtp -o no
refused 3 "organ knows no blocks" assemble "$model" --select mtp -o no
refused 2 "must be one of all, mtp" extract whole --select attention -o no

# ---- models that do not fit ----
mismatch "the source has none for multi-token prediction" lost.gguf whole.gguf
mismatch "num_nextn_predict_layers of the source states 1 for multi-token prediction, but the source has no tensor" lost whole dir
mismatch "organ knows no blocks for multi-token prediction of the source" "$model" whole dir
mismatch "format: the source is GGUF and the target is safetensors" alone lost dir
refused 2 "without other words, layers" graft --source whole --target lost -o no --select mtp,norm
refused 2 "without other words, layers" graft --source whole --target lost -o no --select mtp --map 4:3
ends 3 graft --source whole --target lost -o no.safetensors --select mtp
prints "config.json of the output must count the block"
edit() { cp -r "$1" "$2" && chmod -R u+w "$2" && sed -i "$3" "$2/config.json"; }
edit whole other 's/"hidden_size": 64/"hidden_size": 96/'
mismatch "width (hidden size): 96 in the source, 64 in the target" other lost dir
mismatch "width (hidden size): 64 in the source, 96 in the target" whole.gguf other dir
judge "a converted block is left" test "$(find . -maxdepth 1 -name '.*organ*' | wc -l)" = 0
rm -rf other && edit whole other 's/"vocab_size": 256/"vocab_size": 512/'
mismatch "vocabulary: 512 in the source, 256 in the target" other lost dir
rm -rf other && edit whole other 's/"rope_theta": [0-9.e]*/"rope_theta": 12345.0/'
mismatch "rotary settings: rope_theta (source: 12345, target: " other lost dir
rm -rf other && edit whole other 's/"partial_rotary_factor": 0.5/"partial_rotary_factor": 1.0/'
mismatch "rotary settings: rotated dimensions" other lost dir
for count in 0 2; do
    rm -rf other && edit whole other "s/\"num_nextn_predict_layers\": 1/\"num_nextn_predict_layers\": $count/"
    mismatch "source has tensors of 1 block for multi-token prediction, but num_nextn_predict_layers states $count" other lost dir
    mismatch "target has tensors of 1 block for multi-token prediction, but num_nextn_predict_layers states $count" whole other dir
done
rm -rf other && edit whole other '/num_nextn_predict_layers/d'
mismatch "but num_nextn_predict_layers states nothing" other lost dir
for part in enorm eh_proj shared_head.norm self_attn.k_proj mlp.shared_experts.up_proj mlp.gate.weight; do
    with_block glm4_moe other "sed /layers.4.$part/d"
    mismatch "is not complete: it has no $part" other lost dir
done
with_block glm4_moe other "sed /layers.4.mlp.gate.weight/s/[0-9]*x64/9x64/"
mismatch "shape of model.layers.4.mlp.gate.weight" other lost dir
with_block glm4_moe other "sed /layers.4.eh_proj/s/64x128/64x64/"
mismatch "shape of model.layers.4.eh_proj.weight: [64, 64], not [64, 128]" other lost dir
with_block hy_v3 other
mismatch "family: the source has a block of HY-3, the target is a model like GLM-4.5" other lost dir
with_block qwen3_5_text other
mismatch "norm offset: norms multiply by 1 + weight (source: yes, target: no)" other lost dir
with_block mimo_v2_flash other
ends 0 convert other -o other.gguf --to gguf --dtype bf16 --quiet --force
ends 0 convert other -o bare.gguf --to gguf --dtype bf16 --quiet --force --mtp none
sed 's/blk.4.attn_qkv/blk.4.ffn_dowN/; s/blk.4.ffn_down/blk.4.attn_qkv/; s/blk.4.ffn_dowN/blk.4.ffn_down/' other.gguf >odd.gguf
mismatch "blk.4.attn_qkv.weight of the block has no counterpart in the target's layers" odd.gguf bare.gguf
sed 's/blk.5.attn_qkv/blk.5.attn_kvq/' other.gguf >odd.gguf
mismatch "the source's block 1 is not complete: it has no attn_k.weight" odd.gguf bare.gguf
mismatch "state: the source's block reads the state before the model's final norm, the target's after it" other lost dir
{
    printf 'tensor\tmodel.mtp_layers.0.%s.weight\t64\n' token_layernorm hidden_layernorm final_layernorm
    printf 'tensor\tmodel.mtp_layers.0.input_proj.weight\t64x128\n'
    grep '^tensor	model\.layers\.1\.' "$top/fixtures/architectures/qwen2/model.tsv" | sed 's/model\.layers\.1\./model.mtp_layers.0./'
} >mimo.rows
with_block qwen2 other "cat ../area/mimo.rows"
sed -i 's/"model_type": "qwen2"/"model_type": "mimo"/' other/config.json
mismatch "order: the projection of the source's block reads the state first, that of the target's the embedding" other lost dir
head -c 20000 split.gguf >short.gguf
refused 3 "short.gguf" graft --source short.gguf --target lost.gguf -o no.gguf --select mtp

# ---- quantised targets: the block keeps its precision, and config.json says so ----
# matches NAME: whether an entry of made/config.json is the name, or a pattern "re:..." that matches from its beginning.
matches() { jq -e --arg name "$1" '[.quantization_config | (.ignore // .modules_to_not_convert)[] | if startswith("re:") then (.[3:] as $p | $name | test("^(" + $p + ")")) else . == $name end] | any' made/config.json >../out; }
listed() { jq -c '.quantization_config | (.ignore // .modules_to_not_convert) | sort' "$1/config.json"; }
for type in glm4_moe qwen3_5_text; do
    with_block $type whole
    with_block $type lost "sed d"
    for scheme in int8-channel fp8-channel fp8-block128 int4-group32; do
        if in_part && [[ $type$scheme != glm4_moe@(fp8-channel|fp8-block128) && $scheme != int8-channel ]]; then continue; fi
        rm -rf packed both && ends 0 quantize lost -o packed -s $scheme --quiet
        graft whole packed made
        here="$type in $scheme"
        judge "the block changes" diff <(bytes whole | grep -E 'layers\.4\.|^mtp\.') <(bytes made | grep -E 'layers\.4\.|^mtp\.')
        judge "the trunk changes" diff <(bytes packed) <(bytes made | grep -vE 'layers\.4\.|^mtp\.')
        ends 0 quantize whole -o both -s $scheme --quiet
        judge "quantize of the whole model lists other modules" diff <(listed both) <(listed made)
        ends 0 inspect made
        graft made packed again
        judge "a second graft changes the list" diff <(listed made) <(listed again)
        ends 0 quantize whole -o both -s $scheme --quiet --force --select all
        COLUMNS=300 ends 3 graft --source both --target lost -o no --select mtp
        says "organ dequantize both -o OUT"
    done
done
# A target of several files: they stay, and the block gets a file of its own in the index.
with_block glm4_moe whole
with_block glm4_moe lost "sed d"
rm -rf packed shards
ends 0 quantize lost -o packed -s fp8-channel --max-shard-size 100K --quiet
judge "the target has one file" test "$(find packed -name 'model-0*.safetensors' | wc -l)" -gt 3
graft whole packed made
here="a target of several files"
judge "the block changes" diff <(bytes whole | grep 'layers\.4\.') <(bytes made | grep 'layers\.4\.')
judge "the trunk changes" diff <(bytes packed) <(bytes made | grep -v 'layers\.4\.')
for file in packed/model-0*.safetensors; do judge "$file changes" cmp "$file" "made/${file#*/}"; done
judge "the index has other files" diff <(jq -S .weight_map packed/model.safetensors.index.json) <(jq -S '.weight_map | with_entries(select(.value != "model-mtp.safetensors"))' made/model.safetensors.index.json)
judge "the index has another size" test "$(jq .metadata.total_size made/model.safetensors.index.json)" = "$("$organ" inspect made --tensors --json | jq '[.tensors[].bytes] | add')"
ends 0 inspect made
prints "No problems found"
graft made made again
judge "a block in its own place changes files" diff -r -x organ -x README.md made again
graft whole made again
judge "a second graft changes the trunk" diff <(bytes made) <(bytes again)
interrupted KILL shards graft --source whole --target packed -o shards --select mtp
ends 0 graft --source whole --target packed -o shards --select mtp --quiet --resume
judge "a continued run writes other bytes" diff -r -x organ -x README.md made shards
# A block that is quantised like the target: its codes and scales are copied.
with_block glm4_moe whole
with_block glm4_moe lost "sed d"
rm -rf packed both
ends 0 quantize lost -o packed -s fp8-channel --quiet
ends 0 quantize whole -o both -s fp8-channel --quiet --select model.layers.3.self_attn.o_proj.weight,model.layers.4.self_attn.o_proj.weight
graft both packed made
here="a quantised block"
judge "other tensors than those of the donor" diff <(bytes both | grep 'layers\.4\.') <(bytes made | grep 'layers\.4\.')
judge "its quantised module is listed" eval "! matches model.layers.4.self_attn.o_proj"
judge "its projection is not listed" matches model.layers.4.eh_proj
ends 0 dequantize made -o plain --quiet --force
judge "it cannot be dequantised" test "$("$organ" inspect plain --tensors --json --select model.layers.4.self_attn.o_proj | jq -r '.tensors[0].dtype')" = BF16
# The entries of a block that the target had go with it.
rm -rf odd && ends 0 quantize whole -o odd -s fp8-channel --quiet
graft both odd made
here="a quantised block"
judge "its module stays listed" eval "! matches model.layers.4.self_attn.o_proj"
judge "its projection is no longer listed" matches model.layers.4.eh_proj
jq '.quantization_config.config_groups.group_0.targets = ["re:.*self_attn.*"]' odd/config.json >../config && cp ../config odd/config.json
mismatch "config.json of the target names its quantised modules" both odd dir
jq '.quantization_config |= {quant_method: "fbgemm_fp8", modules_to_not_convert: .ignore}' packed/config.json >../config && cp ../config packed/config.json
mismatch "precision: the target is quantised by 'fbgemm_fp8'" whole packed dir
# wide DIRECTORY: makes the model of the last with_block four times as wide, so that rows are whole blocks of Q4_K.
wide() {
    local pair
    for pair in 128:512 32:128 64:256 96:384; do # twice, because 64x64 has one x
        sed -E -i "s/([	x])${pair%:*}(x|\$)/\1${pair#*:}\2/g; s/([	x])${pair%:*}(x|\$)/\1${pair#*:}\2/g" fixture/model.tsv
    done
    sed -E -i 's/("hidden_size": )64/\1256/; s/("moe_intermediate_size": )32/\1128/; s/("intermediate_size": )96/\1384/; s/("num_attention_heads": )4/\116/; s/("num_key_value_heads": )2/\18/' fixture/config.json
    rm -rf "$1"
    (cd "$top" && build/checks/arch_model "../../../../../../../../../..$scratch/area/fixture" "$scratch/area/$1") >../out 2>&1 || bad "the wide model cannot be made" ../out
}
with_block glm4_moe whole && wide whole
with_block glm4_moe lost "sed d" && wide lost
ends 0 convert whole -o whole.gguf --to gguf --dtype bf16 --quiet --force
ends 0 convert lost -o lost.gguf --to gguf --dtype bf16 --quiet --force
for type in q8_0 q4_k; do
    ends 0 quantize lost.gguf -o packed.gguf -s $type --quiet --force
    graft whole.gguf packed.gguf made.gguf
    here="GGUF in $type"
    judge "the target has no such type" test "$("$organ" inspect packed.gguf --tensors --json | jq "[.tensors[] | select(.dtype == \"${type^^}\")] | length")" -gt 20
    judge "the block changes" diff <(bytes whole.gguf | grep '^blk\.4\.') <(bytes made.gguf | grep '^blk\.4\.')
    judge "the trunk changes" diff <(bytes packed.gguf) <(bytes made.gguf | grep -v '^blk\.4\.')
done

with_block glm4_moe whole
with_block glm4_moe lost "sed d"

# ---- from the other format: the block is converted first ----
for type in glm4_moe qwen3_5_text hy_v3 deepseek_v3 nemotron_h-moe-gguf qwen3_next; do
    if in_part && [[ $type != @(glm4_moe|qwen3_5_text) ]]; then continue; fi
    with_block $type model
    rm -rf whole lost
    ends 0 convert model -o whole.gguf --to gguf --dtype bf16 --quiet --force
    ends 0 convert whole.gguf -o whole --to safetensors --quiet --force
    ends 0 convert whole.gguf -o lost --to safetensors --mtp none --quiet --force
    ends 0 convert whole -o whole.gguf --to gguf --quiet --force
    ends 0 convert whole -o lost.gguf --to gguf --mtp none --quiet --force
    graft whole lost.gguf made.gguf
    judge "$type to GGUF: other tensors than convert makes" diff <(bytes whole.gguf) <(bytes made.gguf)
    judge "$type to GGUF: other counts" test "$(counts made.gguf)" = "$(counts whole.gguf)"
    graft whole.gguf lost made
    judge "$type to safetensors: other tensors than convert makes" diff <(bytes whole) <(bytes made)
    judge "$type to safetensors: another config.json" diff whole/config.json made/config.json
    ends 0 convert whole -o mtp-only.gguf --to gguf --mtp only --quiet --force
    graft mtp-only.gguf lost made
    judge "$type, mtp-NAME.gguf to safetensors: other tensors" diff <(bytes whole) <(bytes made)
    judge "$type, mtp-NAME.gguf to safetensors: another config.json" diff whole/config.json made/config.json
    judge "a converted block is left" test "$(find . -maxdepth 1 -name '.*organ*' | wc -l)" = 0
done
# GGUF files of GLM-4.7-Flash have the architecture of DeepSeek-V3.
with_block glm4_moe_lite model
with_block glm4_moe_lite bare "sed d"
ends 0 convert model -o whole.gguf --to gguf --dtype f32 --quiet --force
graft whole.gguf bare made
judge "GLM-4.7-Flash: other tensors than those of the donor" diff <(bytes model | grep -vE 'layers\.4\.(embed_tokens|shared_head\.head)\.') <(bytes made)
with_block glm4_moe model
rm -rf whole lost
ends 0 convert model -o whole.gguf --to gguf --dtype bf16 --quiet --force
ends 0 convert whole.gguf -o whole --to safetensors --quiet --force
ends 0 convert whole.gguf -o lost --to safetensors --mtp none --quiet --force
ends 0 convert whole -o lost.gguf --to gguf --mtp none --quiet --force
rm -rf dry dry.gguf
ends 0 graft --source whole.gguf --target lost -o dry --select mtp --dry-run
prints "into a copy of lost"
ends 0 graft --source whole --target lost.gguf -o dry.gguf --select mtp --dry-run
judge "a dry run leaves something" test "$(find . -maxdepth 1 -name '*dry*' | wc -l)" = 0
for signal in INT KILL; do
    rm -rf made again
    graft whole.gguf lost again
    interrupted $signal made graft --source whole.gguf --target lost -o made --select mtp
    judge "an interrupted run publishes its output" test ! -e made
    judge "the converted block does not stay" test "$(find . -maxdepth 1 -name '.made.organ-block-*' | wc -l)" = 1
    ends 0 graft --source whole.gguf --target lost -o made --select mtp --quiet --resume
    judge "a continued run writes other bytes" diff -r -x organ -x README.md made again
    judge "the converted block stays" test "$(find . -maxdepth 1 -name '.*organ*' | wc -l)" = 0
done
with_block glm4_moe whole
with_block glm4_moe lost "sed d"
ends 0 convert whole -o whole.gguf --to gguf --dtype bf16 --quiet --force
ends 0 convert whole -o lost.gguf --to gguf --dtype bf16 --mtp none --quiet --force

# ---- interrupted runs ----
for signal in INT KILL; do
    rm -rf made again
    graft whole lost again
    interrupted $signal made graft --source whole --target lost -o made --select mtp
    judge "an interrupted run publishes its output" test ! -e made
    ends 0 graft --source whole --target lost -o made --select mtp --quiet --resume
    judge "a continued run writes other bytes" diff -r -x organ -x README.md made again
    rm -f split.gguf
    interrupted $signal split.gguf assemble whole.gguf --select mtp -o split.gguf
    judge "an interrupted run publishes its output" test ! -e split.gguf
    ends 2 assemble whole.gguf -o split.gguf --resume
    says 'its select was "mtp" and is now null'
    ends 0 assemble whole.gguf --select mtp -o split.gguf --quiet --resume
    judge "a continued run writes another block" diff <(bytes mtp-whole.gguf) <(bytes split.gguf)
done

# ---- GGUF files whose counts are wrong ----
with_block glm4_moe whole
keys_of() { "$top/build/checks/gguf_keys" "$@" >../out 2>&1 || bad "a key cannot be set: $*" ../out; }
keys_of whole.gguf odd.gguf glm4moe.nextn_predict_layers=u32:0
mismatch "source has tensors of a block for multi-token prediction, but glm4moe.nextn_predict_layers states 0" odd.gguf lost.gguf
keys_of whole.gguf odd.gguf glm4moe.nextn_predict_layers=u32:2
mismatch "block is not complete: it has no nextn.eh_proj.weight" odd.gguf lost.gguf
keys_of whole.gguf odd.gguf glm4moe.nextn_predict_layers=
mismatch "source has tensors of a block for multi-token prediction, but glm4moe.nextn_predict_layers states nothing" odd.gguf lost.gguf
mismatch "target has tensors of a block for multi-token prediction, but glm4moe.nextn_predict_layers states nothing" whole.gguf odd.gguf
refused 3 "glm4moe.nextn_predict_layers states nothing" extract odd.gguf --select mtp -o no
keys_of lost.gguf odd.gguf glm4moe.nextn_predict_layers=u32:1 glm4moe.block_count=u32:5
mismatch "glm4moe.nextn_predict_layers of the source states 1 for multi-token prediction, but the source has no tensor" odd.gguf lost.gguf
graft whole.gguf odd.gguf made.gguf
judge "a target that states the block gets other tensors" diff <(bytes whole.gguf) <(bytes made.gguf)
judge "a target that states the block gets other counts" test "$(counts made.gguf)" = "$(counts whole.gguf)"
# DeepSeek-V4's block has the projection in two tensors, and a copy of tensors outside the layers.
v4_model v4
v4_model v4lost "sed /mtp/d"
here="DeepSeek-V4"
graft v4 v4lost made
judge "other tensors than those of the donor" diff <(bytes v4) <(bytes made)
for part in e_proj h_proj hnorm; do
    v4_model v4other "sed /mtp.0.$part/d"
    mismatch "is not complete: it has no mtp.0.$part" v4other v4lost dir
done
v4_model v4other "sed /mtp.0.h_proj/s/64x64/64x128/"
mismatch "shape of mtp.0.h_proj.weight: [64, 128], not [64, 64]" v4other v4lost dir
v4_model v4other "sed /mtp.0.hc_head_fn/s/2x128/2x64/"
mismatch "shape of mtp.0.hc_head_fn" v4other v4lost dir
ends 0 quantize v4 -o v4made -s int8-channel --quiet --force
judge "the block changes" diff <(bytes v4 | grep '^mtp') <(bytes v4made | grep '^mtp')
judge "the block is not listed" jq -e '[.quantization_config.ignore[] | select(startswith("re:")) | .[3:] as $p | "mtp.0.e_proj" | test("^(" + $p + ")")] | any' v4made/config.json
rm -rf v4made
ends 0 layers v4 -o v4made --drop 1-1 --quiet --force
judge "the block changes" diff <(bytes v4 | grep '^mtp') <(bytes v4made | grep '^mtp')
ends 0 inspect v4
prints "named as in DeepSeek-V4."
refused 3 "organ has no rules for llama.cpp's 'deepseek4'" convert v4 -o no.gguf --to gguf --mtp keep

finish
