#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quantize --mtp-scheme: the block for multi-token prediction has another scheme than the model's layers, in safetensors, GGUF and MLX; its values are
# those of a model that has this scheme everywhere, and verbs read them back. Ends with "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

# made NAME ARGS...: quantises the model `model` to NAME.
made() {
    [[ -e $1 ]] && chmod -R u+w "$1"
    rm -rf "$1"
    ends 0 quantize model -o "$1" "${@:2}"
}
# values NAME FILTER FILE: writes the digests of the tensors of NAME, dequantised, whose names match.
values() {
    local name file offset bytes
    [[ -e plain ]] && chmod -R u+w plain
    rm -rf plain
    ends 0 dequantize "$1" -o plain --quiet
    "$organ" inspect plain --tensors --json | jq -r --arg f "$2" '.tensors[] | select(.name | test($f)) | "\(.name) \(.file) \(.offset) \(.bytes)"' >../tensors
    while read -r name file offset bytes; do echo "$name $(tail -c +$((offset + 1)) "plain/$file" | head -c "$bytes" | md5sum)"; done <../tensors >"$3"
    judge "has no such tensors" test -s "$3"
}
# types FILTER: the types of the tensors of the GGUF file x.gguf whose names match.
types() { "$organ" inspect x.gguf --tensors --json | jq -c --arg f "$1" '[.tensors[] | select(.name | test($f)) | .dtype] | unique'; }

with_block glm4_moe model
# The values of the block are those of its scheme, the others those of theirs; the order of both schemes with a scale for the tensor does not matter.
for pair in "int8-channel int4-group32" "fp8-channel int4-group32" "int4-group32 fp8-channel" "nvfp4 int8-channel" "int8-channel nvfp4"; do
    read -r scheme own <<<"$pair"
    made x -s "$scheme" --mtp-scheme "$own" --quiet
    values x 'layers\.4\.(self_attn|mlp)' x.block
    values x 'layers\.[0-3]\.' x.others
    made y -s "$own" --mtp-scheme same --quiet
    values y 'layers\.4\.(self_attn|mlp)' y.block
    made z -s "$scheme" --quiet
    values z 'layers\.[0-3]\.' z.others
    here="$scheme with a block of $own"
    judge "the block has other values" cmp x.block y.block
    judge "the layers have other values" cmp x.others z.others
    judge "the report has another scheme" test "$(jq -c '[.tensors[] | select(.tensor | test("layers.4")) | .scheme] | unique' x/organ/quantize.json)" = "[\"$own\"]"
    judge "the parameters lack it" test "$(jq -r .parameters.mtp_scheme x/organ/quantize.json)" = "$own"
done
# Verbs read both schemes back.
head -c 3000 "$model/heldout.txt" >text.txt
made x -s int4-group32 --mtp-scheme fp8-channel --quiet
ends 0 evaluate model x --text text.txt --context 32 --mtp --json --quiet
judge "the acceptance of a block is missing" jq -e '[.models[].mtp.blocks] == [1, 1]' ../out
ends 0 compare model x --json --quiet
# A group that does not divide all rows of the block: all of its matrices get a smaller one, in one entry of config.json.
made x -s int8-channel --mtp-scheme int4-group128
says "the matrices of the block for multi-token prediction have int4-group32, whose groups divide the rows of all of them"
judge "sizes of groups differ" test "$(jq -c '[.quantization_config.config_groups[].weights.group_size]' x/config.json)" = '[32,null]'
judge "formats are not those of the groups" test "$(jq -c '[.quantization_config.format, .quantization_config.config_groups[].format]' x/config.json)" = \
    '["mixed-precision","pack-quantized","int-quantized"]'
made x -s int4-group64 --mtp-scheme same --quiet
judge "the block has no entry of its own" test "$(jq -c '[.quantization_config.config_groups.group_0 | .weights.group_size, .targets[0]]' x/config.json)" = \
    '[32,"re:.*\\.layers\\.4\\.(.*\\.)?(mlp|self_attn)\\..*"]'
# keep is the default, and same what --select mtp adds.
made x -s int8-channel --mtp-scheme keep --quiet
made y -s int8-channel --quiet
judge "keep is not the default" cmp x/config.json y/config.json
# GPTQ calibrates the block with its own scheme.
head -c 6000 "$model/calibration.txt" >calibration.txt
gptq=(--method gptq --calibration calibration.txt --samples 8 --context 64 --quiet)
made x -s int4-group32 --mtp-scheme int8-channel "${gptq[@]}"
judge "the block is not calibrated" jq -e '[.tensors[] | select(.tensor | test("layers.4.self_attn.o_proj")) | .calibration_tokens > 0 and .scheme == "int8-channel"] == [true]' \
    x/organ/quantize.json
# A scale for the tensor and, in another scheme, for each row: threads do not change a byte.
made x -s fp8-channel --mtp-scheme int8-channel --threads 1 --quiet
made y -s fp8-channel --mtp-scheme int8-channel --threads 3 --quiet
judge "threads change the output" cmp x/model.safetensors y/model.safetensors

# GGUF: the matrices have the type, the projection at least Q8_0; other tensors are as without the option.
ends 0 quantize model -o x.gguf -s q4_0 --mtp-scheme q5_1 --quiet
judge "matrices of the block count as unquantised" jq -e '.matrices.percent > 95' x.quantize.json
judge "types of the block" test "$(types '^blk.4.(attn_[qkv]|attn_output|ffn_.*_exps|ffn_.*_shexp).weight')" = '["Q5_1"]'
judge "type of the projection" test "$(types eh_proj)" = '["Q8_0"]'
judge "types of other layers" test "$(types '^blk.[123].(attn_[qkv]|ffn_.*_exps).weight')" = '["Q4_0"]'
judge "the reason is missing" jq -e '[.tensors[] | select(.tensor == "blk.4.attn_q.weight") | .why] == ["--mtp-scheme"]' x.quantize.json
rm -f x.gguf
ends 0 quantize model -o x.gguf -s q4_0 --mtp-scheme keep --quiet --force
judge "keep quantises" test "$(types '^blk.4.(attn_q|ffn_up_exps|nextn.eh_proj).weight')" = "$(types '^blk.4.attn_q.weight')"
judge "keep quantises a matrix" test "$(types '^blk.4.attn_q.weight')" != '["Q4_0"]'
rm -f x.gguf
ends 0 quantize model -o x.gguf -s recipe:q4_0 --mtp-scheme bf16 --type-of 'blk.4.attn_q.weight=q8_0' --quiet --force
judge "--type-of does not come first" test "$(types '^blk.4.attn_[qk].weight')" = '["BF16","Q8_0"]'

# --select: a tensor that it does not select is not quantised, whatever --mtp-scheme says; those of the block that it selects have the scheme.
schemes() { jq -c '[.tensors[] | [(.tensor | sub("\\.weight$"; "")), .scheme]] | sort' x/organ/quantize.json; }
q=model.layers.4.self_attn.o_proj
for scheme in int8-channel fp8-block128; do
    made x -s "$scheme" --mtp-scheme same --select "$q.weight" --quiet
    judge "another tensor is quantised" test "$(jq -c '[.tensors[].tensor]' x/organ/quantize.json)" = "[\"$q.weight\"]"
    judge "the ignored modules are not the others" jq -e --arg q "$q" '.quantization_config | (.ignore // .modules_to_not_convert) as $i
        | all(($q | sub("o_proj"; "k_proj", "v_proj", "q_proj")), "model.decoder.self_attn.k_proj", "model.layers.4.mlp.experts.3.up_proj", "model.layers.3.self_attn.o_proj";
              IN($i[])) and (any($q, "model.decoder.self_attn.o_proj"; IN($i[])) | not)' x/config.json
done
# Servers multiply some of the block's matrices as one, too.
for own in int4-group32 fp8-channel same; do
    refused 2 "q_proj, k_proj and v_proj of 'model.layers.4.self_attn'" quantize model -o no -s int8-channel --mtp-scheme $own --select o_proj,model.layers.4.self_attn.q_proj
    refused 2 "gate_proj and up_proj of 'model.layers.4.mlp.shared_experts'" quantize model -o no -s int8-channel --mtp-scheme $own \
        --select o_proj,model.layers.4.mlp.shared_experts.up_proj
done
refused 2 "q_proj, k_proj and v_proj of 'model.layers.3.self_attn'" quantize model -o no -s int8-channel --mtp-scheme keep --select '3,4,q_proj'
made x -s int8-channel --mtp-scheme keep --select o_proj,model.layers.4.self_attn.q_proj --quiet
judge "keep quantises the block" test "$(jq -c '[.tensors[].tensor | select(test("layers.4"))]' x/organ/quantize.json)" = '[]'
made x -s int8-channel --mtp-scheme same --select 0-2 --quiet
made y -s int8-channel --select 0-2 --quiet
judge "same adds something to layers that do not have the block" cmp x/config.json y/config.json
judge "same adds something to layers that do not have the block" cmp x/model.safetensors y/model.safetensors
made y -s int8-channel --mtp-scheme keep --select 0-2 --quiet
judge "keep differs without the block" cmp x/config.json y/config.json
made x -s int8-channel --mtp-scheme int4-group32 --select o_proj --quiet
values x "^$q.weight" x.block
values x 'layers\.[0-3]\.' x.others
judge "schemes of selected tensors" test "$(schemes)" = "$(jq -nc '[range(5) | ["model.layers.\(.).self_attn.o_proj", if . == 4 then "int4-group32" else "int8-channel" end]]')"
judge "targets of the block" test "$(jq -c '.quantization_config.config_groups.group_0.targets' x/config.json)" = \
    '["re:.*\\.layers\\.4\\.(.*\\.)?(self_attn)\\..*","re:^model\\.decoder\\.(.*\\.)?(self_attn)\\..*"]'
judge "an unselected matrix of the block is not ignored" jq -e '[.quantization_config.ignore[] | select(test("^model.(layers.4|decoder).self_attn"))] | map(sub(".*\\."; "")) | sort ==
    ["k_proj", "k_proj", "q_proj", "q_proj", "v_proj", "v_proj"]' x/config.json
made y -s int4-group32 --select o_proj --quiet
values y "^$q.weight" y.block
judge "the selected matrix has other values" cmp x.block y.block
made y -s int8-channel --select o_proj --quiet
values y 'layers\.[0-3]\.' y.others
judge "the layers have other values" cmp x.others y.others
made x -s int8-channel --mtp-scheme keep --select o_proj,model.layers.4.eh_proj --quiet
judge "keep quantises a selected matrix of the block" test "$(jq -c '[.tensors[].tensor | select(test("layers.4"))]' x/organ/quantize.json)" = '[]'
judge "keep leaves out others" test "$(jq '.tensors | length' x/organ/quantize.json)" = 4
# The projection is no part of a module of the block's layer: config.json has its whole names.
made x -s int8-channel --mtp-scheme int4-group32 --select o_proj,model.layers.4.eh_proj --quiet
judge "the projection has another scheme" jq -e '[.tensors[] | select(.tensor == "model.layers.4.eh_proj.weight") | .scheme] == ["int4-group32"]' x/organ/quantize.json
judge "the projection is not in the group of the block" test "$(jq -c '.quantization_config.config_groups.group_0.targets[2:]' x/config.json)" = \
    '["model.layers.4.eh_proj","model.decoder.eh_proj"]'
ends 0 compare model x --json --quiet
values x 'eh_proj' x.block
made y -s int4-group32 --select eh_proj --quiet
values y 'eh_proj' y.block
judge "the projection is read back with other values" cmp x.block y.block
# config.json has no group that matches no stored tensor, and the format is that of the one group.
groups() { jq -c '.quantization_config | [.format, (.config_groups[] | [.weights.num_bits, .weights.group_size, (.targets | index("Linear") != null)])]' x/config.json; }
made x -s int8-channel --mtp-scheme int4-group32 --select mtp --quiet
judge "a group of --scheme matches nothing" test "$(groups)" = '["pack-quantized",[4,32,false]]'
values x '^model.layers.4.self_attn' x.block
made y -s int4-group32 --select mtp --quiet
values y '^model.layers.4.self_attn' y.block
judge "the block alone has other values" cmp x.block y.block
made x -s int4-group64 --mtp-scheme same --select 0-2 --quiet
judge "a group of the block matches nothing" test "$(jq '[.quantization_config.config_groups[] | select((.targets | length) == 0)] | length' x/config.json)" = 0
judge "there is no group" test "$(jq '.quantization_config.config_groups | length' x/config.json)" -ge 1

# The same in GGUF: types.
for own in same:Q4_0 q5_1:Q5_1 keep:; do
    rm -f x.gguf
    ends 0 quantize model -o x.gguf -s q4_0 --mtp-scheme "${own%:*}" --select q_proj --quiet --force
    judge "types of the selected matrices with ${own%:*}" test "$("$organ" inspect x.gguf --tensors --json | jq -c '[.tensors[] | select(.dtype | test("^Q")) | [.name, .dtype]] | sort')" = \
        "$(jq -nc --arg own "${own#*:}" '[range(4) | ["blk.\(.).attn_q.weight", "Q4_0"]] + if $own == "" then [] else [["blk.4.attn_q.weight", $own]] end')"
done
rm -f x.gguf
ends 0 quantize model -o x.gguf -s q4_0 --mtp-scheme q5_1 --select 'router,*attn_q.weight' --quiet --force
judge "types of routers with their role" test "$(types '^blk.4.ffn_gate_inp.weight')$(types '^blk.[1-3].ffn_gate_inp.weight')" = '["Q5_1"]["Q4_0"]'
judge "the reason for the router is missing" jq -e '[.tensors[] | select(.tensor == "blk.4.ffn_gate_inp.weight") | .why] == ["--mtp-scheme"]' x.quantize.json
rm -f x.gguf
ends 0 quantize model -o x.gguf -s q4_0 --mtp-scheme same --select 0-2 --quiet --force
judge "the block is quantised" test "$(types '^blk.4.attn_q.weight')" = "$(types '^blk.3.attn_q.weight')"
judge "the selected layers are not quantised" test "$(types '^blk.[0-2].attn_q.weight')" = '["Q4_0"]'

# MLX: settings of single modules.
made x -s int4-group32 --format mlx --mtp-scheme int8-group32
says "mlx-lm leaves out the block for multi-token prediction when it loads the model"
judge "settings of the block are missing" test "$(jq -c '.quantization["model.layers.4.self_attn.q_proj"]' x/config.json)" = '{"group_size":32,"bits":8,"mode":"affine"}'
judge "settings of others are listed" test "$(jq -c '.quantization["model.layers.1.self_attn.q_proj"]' x/config.json)" = null
made x -s int4-group32 --format mlx --mtp-scheme int8-group32 --select q_proj --quiet
judge "settings of the selected matrix of the block" test "$(jq -c --arg q "${q/o_proj/q_proj}" '.quantization[$q]' x/config.json)" = '{"group_size":32,"bits":8,"mode":"affine"}'
judge "another matrix is quantised" test "$(jq -c '[.tensors[].tensor | sub("layers.[0-4]"; "")] | unique' x/organ/quantize.json)" = '["model..self_attn.q_proj.weight"]'

# What the option cannot do is refused, and nothing is written.
no() {
    ends 2 quantize model -o no "${@:2}"
    says "$1"
    judge "an output is left" test ! -e no
}
no "it can be keep, same, or a scheme of the same format" -s int8-channel --mtp-scheme q4_0
no "config.json states one scheme for all matrices" -s fp8-block128 --mtp-scheme int8-channel
no "config.json states one scheme for all matrices" -s int8-channel --mtp-scheme fp8-block128
no "which measures inputs for one scheme" -s int8-channel --mtp-scheme int4-group32 --activation-scale static --calibration calibration.txt
no "with which transformers loads one scheme" -s int4-group32 --mtp-scheme int8-channel --repair-rank 4 --method gptq --calibration calibration.txt
no "--mtp-scheme has no meaning with scheme none" -s none --smooth 0.5 --calibration calibration.txt --mtp-scheme keep
for format in int8-channel:int4-group32 "int4-group32 --format mlx:int8-group32"; do
    no "--select selects no matrix of the block for multi-token prediction, for which --mtp-scheme ${format#*:} is" -s ${format%:*} --mtp-scheme "${format#*:}" --select 0-2
    no "which --mtp-scheme keep leaves unquantised" -s ${format%:*} --mtp-scheme keep --select mtp
done
for own in same int4-group32; do
    no "--select selects some experts of layer 4, but not 'model.layers.4.mlp.experts.0.down_proj.weight'" -s int8-channel --mtp-scheme $own --select o_proj,model.layers.4.mlp.experts.0.up_proj
done
ends 2 quantize model -o no.gguf -s q4_0 --mtp-scheme q5_1 --select 0-2
says "model: --select selects no matrix of the block for multi-token prediction, for which --mtp-scheme q5_1 is"
ends 2 quantize model -o no.gguf -s q4_0 --mtp-scheme keep --select mtp
says "model: --select selects only matrices of the block for multi-token prediction, which --mtp-scheme keep leaves unquantised"
judge "an output is left" test -z "$(compgen -G '*no.*')"
no "mixed chooses the width or type of each matrix" -s mixed --allocate global --budget 4bpw --method gptq --calibration calibration.txt --mtp-scheme keep
with_block qwen3_next model
no "mlx-lm does not run blocks for multi-token prediction" -s int4-group32 --format mlx --mtp-scheme int8-group32
made x -s int4-group32 --mtp-scheme int8-channel
says "SGLang names the block for multi-token prediction of Qwen3-Next like layer 0, and would load it as int4-group32"
made x -s int8-channel --mtp-scheme same --select o_proj --quiet
judge "a block outside the layers" test "$(jq -c '[.tensors[].tensor]' x/organ/quantize.json)" = \
    '["model.layers.1.self_attn.o_proj.weight","model.layers.3.self_attn.o_proj.weight","mtp.layers.0.self_attn.o_proj.weight"]'
no "--select selects some experts of layer 4, but not 'mtp.layers.0.mlp.experts.0.down_proj.weight'" -s int8-channel --select '*mtp.layers.0.mlp.experts.0.gate_proj*,*mtp.layers.0.mlp.experts.0.up_proj*'
no "mlx-lm does not run blocks for multi-token prediction" -s int4-group32 --format mlx --mtp-scheme int8-group32 --select q_proj
with_block glm4_moe model "grep -v layers.4"
no "has no block for multi-token prediction, for which" -s int8-channel --mtp-scheme keep
finish
