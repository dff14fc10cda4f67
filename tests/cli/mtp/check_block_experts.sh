#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Experts of blocks for multi-token prediction: they are scored on the inputs that the block has in use, and cut like those of the layers. Ends with the
# line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

head -c 6000 "$top/fixtures/tiny-moe/calibration.txt" >text.txt
windows=(--calibration text.txt --samples 4 --context 48)
cut() { ends 0 experts "$1" -o "$2" --keep "$3" "${windows[@]}" --quiet "${@:4}"; }
report() { cp "$1/organ/experts.json" report.json; }
names() { "$organ" inspect "$1" --tensors --json | jq -r '.tensors[].name' | sort; }

# family TYPE BLOCK: the name of the block's layer.
for row in qwen3_next:mtp.layers.0 qwen3_5_moe_text:mtp.layers.0 exaone_moe:mtp.layers.0 mellum:mtp.layers.0 \
    exaone_moe-stacked:mtp.layers.0 ernie4_5_moe:model.mtp_block.0 hy_v3:model.layers.4 hy_v3-stacked:model.layers.4 \
    glm4_moe-groups:model.layers.4; do
    type=${row%%:*} block=${row#*:}
    if in_part && [[ $type != @(qwen3_next|exaone_moe-stacked|ernie4_5_moe|glm4_moe-groups) ]]; then continue; fi
    rm -rf cut
    with_block "$type" whole
    here="$type"
    cut whole cut 50%
    report cut
    holds report.json '.layers[4] | .becomes == 4 and (.kept_experts | length) == .experts / 2' \
        '.scores.layers[4] | (.frequency | add) == 4 * 47 * '"$(jq '.num_experts_per_tok // .moe_k' whole/config.json)"' and .power > 0' \
        'has("draft_tensors") or .left_out > 0 | not' '.experts_after * 2 == .experts_before' \
        '.model | has("not_run") | not'
    judge "$type: experts of the block are left or lost" diff \
        <(names whole | grep -F "$block." | sed -E 's/experts\.([0-9]+)\./experts.\1 /' | awk -v n="$(jq .experts_after report.json)" '{ split($1, a, "experts."); if (NF == 1 || a[2] < n) print }' | tr -d ' ' | sort) \
        <(names cut | grep -F "$block." | sed -E 's/experts\.([0-9]+)\./experts.\1/' | sort)
    judge "$type: the router of the block" test "$("$organ" inspect cut --tensors --json | jq -c --arg b "$block." '[.tensors[] | select((.name | startswith($b)) and (.name | test("mlp\\.gate\\.weight$|gate\\.e_score|expert_bias|correction_bias|statics"))) | .shape | if .[0] == 1 and length > 1 then .[1] else .[0] end] | unique')" = "[$(jq .experts_after report.json)]"
    judge "$type: config.json does not count the block" test "$(jq '.num_nextn_predict_layers // .mtp_num_hidden_layers // 1' cut/config.json)" = 1
    judge "$type: a stack of the block has other experts" test "$("$organ" inspect cut --tensors --json | jq -c --arg b "$block.mlp.experts." '[.tensors[] | select((.name | startswith($b)) and (.shape | length) == 3) | .shape[0]] | unique - [4]')" = "[]"
    ends 0 audit whole cut --quiet
    ends 0 evaluate whole cut --mtp --text text.txt --context 48 --quiet
done

# ---- scores of a file, other scores, a prediction, a refit ----
with_block qwen3_next whole
here="qwen3_next"
rm -rf cut again
cut whole cut 2 --scores scores.json
ends 0 experts whole -o again --keep 2 --scores scores.json --quiet
judge "scores of a file keep other experts" cmp cut/model.safetensors again/model.safetensors
for score in reap sum frequency; do
    rm -rf again
    cut whole again 2 --score $score --threads 3 --memory 64M
    report again
    holds report.json '.layers[4].kept_experts | length == 2'
    ends 0 audit whole again --quiet
done
# A file of an earlier version has no scores of the block.
jq 'del(.layers[4])' scores.json >former.json
refused 2 "does not have the scores of all layers" experts whole -o no --keep 2 --scores former.json
cp former.json completed.json
rm -rf again
cut whole again 2 --scores completed.json
judge "the scores of the block differ" diff <(jq -S .layers scores.json) <(jq -S .layers completed.json)
jq '.layers += [.layers[4]]' scores.json >more.json
refused 3 "has 6 layers, but the model has 5" experts whole -o no --keep 2 --scores more.json
ends 0 experts whole --predict --keep 2 "${windows[@]}" --scores scores.json --predict-tokens 96 --json
holds ../out '.points | length == 1' '.model | has("not_run") | not'
rm -rf again
cut whole again 2 --refit
report again
holds report.json '.heal.layers | length == 4' '[.refitted[].tensor | select(startswith("mtp."))] == []'
ends 0 audit whole again --quiet
ends 0 experts whole -o no --keep 2 "${windows[@]}" --dry-run --json
holds ../out '.layers == [] and .losses[4].layer == 4'
refused 2 "must be at least 2" experts whole -o no --keep 2 --calibration text.txt --samples 4 --context 1

# ---- names of modules in a quantised model ----
rm -rf packed cut
ends 0 quantize whole -o packed -s int8-channel --quiet
jq '.quantization_config.ignore += ["mtp.layers.0.mlp.experts.0.up_proj", "re:^mtp\\.layers\\.0\\.mlp\\.experts\\.3\\..*"]' packed/config.json >config.json
chmod u+w packed/config.json && cp config.json packed/config.json
cut packed cut 2
report cut
kept=$(jq -c '.layers[4].kept_experts' report.json)
renumbered='[.[] | capture("^(?<a>.*experts[.\\\\]+)(?<n>[0-9]+)(?<b>.*)$") | . as $m | ($m.n | tonumber) as $n | select($kept | index($n)) | "\($m.a)\($kept | index($n))\($m.b)"] | unique'
judge "the list of modules has removed experts of the block" diff <(jq -c --argjson kept "$kept" ".quantization_config.ignore | $renumbered" packed/config.json) \
    <(jq -c '[.quantization_config.ignore[] | select(test("experts"))] | unique' cut/config.json)
ends 0 audit packed cut --quiet
jq '.quantization_config.ignore += ["re:mtp\\.layers\\.0\\.mlp\\.experts\\.(0|1)\\..*"]' packed/config.json >config.json
cp config.json packed/config.json
refused 3 "whose numbers of layers or experts cannot be adapted to the cut" experts packed -o no --keep 2 "${windows[@]}"

# ---- packed experts of the block ----
for scheme in int4-group32 fp8-block128 nvfp4; do
    if in_part && [[ $scheme == fp8-block128 ]]; then continue; fi
    here="the block in $scheme"
    rm -rf packed cut
    ends 0 quantize whole -o packed -s $scheme --select mtp --quiet
    cut packed cut 2
    judge "$scheme: tensors of removed experts are left" test "$(names cut | grep -c '^mtp.layers.0.mlp.experts.[23]')" = 0
    judge "$scheme: tensors of kept experts are lost" test "$(names cut | grep -c '^mtp.layers.0.mlp.experts')" = $(($(names packed | grep -c '^mtp.layers.0.mlp.experts') / 2))
    ends 0 audit packed cut --quiet
    ends 0 evaluate packed cut --mtp --text text.txt --context 48 --quiet
done

# ---- a GGUF file ----
rm -f whole.gguf cut.gguf
ends 0 convert whole -o whole.gguf --to gguf --quiet
ends 0 experts whole.gguf -o cut.gguf --keep 2 "${windows[@]}" --quiet
judge "the block of the GGUF file has other experts" test "$("$organ" inspect cut.gguf --tensors --json | jq -c '[.tensors[] | select(.name | test("^blk.4.ffn_(gate|up|down)_exps|^blk.4.ffn_gate_inp.weight")) | .shape[0]]')" = "[2,2,2,2]"
judge "the GGUF file counts other experts" test "$(key cut.gguf expert_count)$(key cut.gguf nextn_predict_layers)$(key cut.gguf block_count)" = 215
ends 0 audit whole.gguf cut.gguf --quiet

# ---- blocks without experts, blocks that are not run ----
here="a block without experts"
printf 'tensor\tmtp.layers.0.mlp.%s_proj.weight\t%s\n' gate 96x64 up 96x64 down 64x96 >rows
printf '#!/bin/sh\ngrep -v mlp; cat rows\n' >edit && chmod +x edit
with_block qwen3_next dense ./edit
rm -rf cut
cut dense cut 2
report cut
judge "the block changes" diff <(names dense | grep '^mtp') <(names cut | grep '^mtp')
holds report.json 'has("draft_tensors") | not'
ends 0 audit dense cut --quiet
for row in "enorm:/pre_fc_norm_embedding/d" "router:s/(gate.weight.)4x64/\13x64/"; do
    here="a malformed block: ${row%%:*}"
    with_block qwen3_next odd "sed -E ${row#*:}"
    rm -rf cut
    ends 0 experts odd -o cut --keep 2 "${windows[@]}"
    says "the block for multi-token prediction is removed"
    report cut
    holds report.json '.draft_tensors > 10' '.layers[4].becomes == null'
    judge "the block is left" test "$(names cut | grep -c '^mtp')" = 0
    ends 0 audit odd cut --quiet
done
# Several blocks are cut alike, or, if one of them is not run, removed together.
# twice NAME OTHER [REMOVED]: writes the program `edit`, which repeats the rows of block NAME for OTHER, without those of REMOVED.
twice() { printf '#!/bin/sh\ncat >one; cat one; grep -F %s. one | grep -v %s | sed s/%s/%s/\n' "$1" "${3:-nothing}" "$1" "$2" >edit && chmod +x edit; }
here="two blocks"
twice mtp.layers.0 mtp.layers.1
with_block qwen3_next twin ./edit
rm -rf cut
cut twin cut 2
report cut
holds report.json '[.layers[4, 5].kept_experts | length] == [2, 2]' '.layers[4].kept_experts != .layers[5].kept_experts'
ends 0 audit twin cut --quiet
here="a malformed second block"
twice model.layers.4 model.layers.5 enorm
with_block hy_v3 twin ./edit
sed -i 's/"num_nextn_predict_layers": 1/"num_nextn_predict_layers": 2/' twin/config.json
rm -rf cut
ends 0 experts twin -o cut --keep 4 "${windows[@]}"
says "the forward pass are removed"
report cut
holds report.json '.left_out == 2' '[.layers[4, 5].becomes] == [null, null]'
judge "the blocks are counted" test "$(jq .num_nextn_predict_layers cut/config.json)" = 0
ends 0 audit twin cut --quiet
# A block of two layers, the second of which has experts, is not run.
printf '#!/bin/sh\ngrep -v "mtp.layers.1.mixer"; sed -n "s/model.layers.1.mixer/mtp.layers.1.mixer/p;s/backbone.layers.1.mixer/mtp.layers.1.mixer/p" %s\n' \
    "$top/fixtures/architectures/nemotron_h-moe/model.tsv" >edit
here="nemotron_h-moe"
with_block nemotron_h-moe odd ./edit
rm -rf cut
ends 0 experts odd -o cut --keep 6 "${windows[@]}"
says "the block for multi-token prediction is removed"
report cut
holds report.json '.draft_tensors > 10 and .experts_after == 6'
judge "the block is left" test "$(names odd | grep -c '^mtp.layers.1.mixer.experts')$(names cut | grep -c '^mtp')" = 160
ends 0 audit odd cut --quiet
here="a malformed block of GLM"
with_block glm4_moe-groups odd "grep -v enorm"
rm -rf cut
ends 0 experts odd -o cut --keep 4 "${windows[@]}"
says "the forward pass are removed"
report cut
holds report.json '.left_out == 1 and .layers[4].becomes == null'
judge "the block is counted" test "$(jq .num_nextn_predict_layers cut/config.json)" = 0
ends 0 audit odd cut --quiet
finish
