#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks that outputs contain no sparsity_config that was left over in the donor's config.json. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

cp -rL tiny-qwen2 left && chmod -R u+w left
jq '.sparsity_config = {format: "dense", sparsity_structure: "2:4"} | .compression_config = {format: "dense", sparsity_config: {format: "dense"}}' \
    tiny-qwen2/config.json >left/config.json
jq 'del(.sparsity_config) | del(.compression_config.sparsity_config)' left/config.json >without
cp -rL "$(dirname "$model")/tiny-moe" moe && chmod -R u+w moe
sed 's/^{/{\n  "sparsity_config": {"format": "dense"},/' "$(dirname "$model")/tiny-moe/config.json" >moe/config.json

# leaves OUT DOCUMENT FILTER ARGS...: runs the verb; after FILTER undoes its other changes, config.json must be the donor's without the member.
leaves() {
    ends 0 "${@:4}"
    says "sparsity_config"
    judge "sparsity_config is in $1/config.json" test "$(grep -c sparsity_config "$1/config.json")" = 0
    judge "the document does not name it" test "$(jq -c .left_out_settings "$2")" = '["sparsity_config"]'
    judge "config.json has changed elsewhere" cmp -s <(jq -S "$3" without) <(jq -S "$3" "$1/config.json")
    rm -r "$1"
}
leaves pruned pruned/organ/prune.json . prune left -o pruned --method magnitude --sparsity 50
leaves pure pure/organ/purify.json . purify left -o pure --method haar
leaves codes codes/organ/quantize.json 'del(.quantization_config)' quantize left -o codes -s fp8-tensor
leaves plain plain/organ/dequantize.json 'del(.compression_config)' dequantize left -o plain
ends 0 graft --target left --source tiny-qwen2 --select 1 -o grafted --json
says "sparsity_config"
judge "the document of a graft does not name it" test "$(jq -c .left_out_settings ../out)" = '["sparsity_config"]'
judge "sparsity_config is in a graft" test "$(grep -c sparsity_config grafted/config.json)" = 0
ends 0 experts moe -o fewer --keep 8 --calibration moe/calibration.txt --samples 4 --context 32
says "sparsity_config"
judge "sparsity_config is in a cut" test "$(grep -c sparsity_config fewer/config.json)" = 0
ends 0 audit moe fewer --quiet

# A dry run reports the removal and writes nothing.
ends 0 prune left -o pruned --method magnitude --sparsity 50 --dry-run --json
says "sparsity_config"
judge "a dry run does not name it" test "$(jq -c .left_out_settings ../out)" = '["sparsity_config"]'

# The report of a model without the member does not mention it.
ends 0 prune tiny-qwen2 -o pruned --method magnitude --sparsity 50
if grep -q sparsity_config ../err; then bad "a note without cause" ../err; else good; fi
judge "the document names what is not there" test "$(jq -c .left_out_settings pruned/organ/prune.json)" = null
judge "config.json has changed" cmp -s tiny-qwen2/config.json pruned/config.json
# The run does not write to the donor.
judge "the donor has changed" grep -q sparsity_config left/config.json

finish
