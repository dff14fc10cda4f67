#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks the share of a model's matrices that are targets, and the kinds that are not, on unknown names in every verb with targets.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$(dirname "$model")/tiny-moe" tiny-moe

# Names without a role in organ, for matrices 64 values wide. Weights outside linear layers do not count.
plain="model.embed_tokens.weight F32 64,64 16384
lm_head.weight F32 64,64 16384
model.layers.0.input_layernorm.weight F32 64 256
model.layers.0.mixer.conv1d.weight F32 64,1,4 1024
model.layers.0.mixer.A_log F32 64,16 4096
model.layers.0.mlp.gate_proj.bias F32 64 256
transformer.wpe.weight F32 64,64 16384
model.layers.0.rel.relative_attention_bias.weight F32 32,8 1024"
targets="model.layers.0.self_attn.q_proj.weight F32 64,64 16384
model.layers.1.self_attn.q_proj.weight F32 64,64 16384"
others="model.layers.0.mixer.blend.weight F32 128,64 32768
model.layers.1.mixer.blend.weight F32 128,64 32768
model.layers.0.mlp.first.weight F32 64,64 16384
model.layers.0.linear_attn.second.weight F32 64,64 16384
model.layers.0.self_attn.third.weight F32 32,64 8192
model.layers.0.moe.experts.fused F32 2,64,64 32768
model.layers.0.moe.experts.0.w9.weight F32 16,64 4096
model.layers.0.moe.experts.1.w9.weight F32 16,64 4096
model.layers.1.moe.experts.0.w9.weight F32 16,64 4096"

# make NAME LINES [BYTE]: writes a safetensors model whose bytes are all '?' (values of 0.747) or BYTE.
make() {
    local header='' offset=0 name dtype shape bytes length
    mkdir "$1"
    while read -r name dtype shape bytes; do
        header+=",\"$name\":{\"dtype\":\"$dtype\",\"shape\":[$shape],\"data_offsets\":[$offset,$((offset + bytes))]}"
        offset=$((offset + bytes))
    done <<<"$2"
    header="{${header:1}}"
    length=$(printf '%016x' ${#header})
    {
        for k in 14 12 10 8 6 4 2 0; do printf "\\x${length:k:2}"; done
        printf '%s' "$header"
        head -c "$offset" /dev/zero | tr '\0' "${3:-?}"
    } >"$1/model.safetensors"
    echo '{"architectures":["X"],"model_type":"x"}' >"$1/config.json"
}
make unknown "$plain
$targets
$others"
make known "$plain
$targets"
make tuned "$plain
$targets
$others" '>'

kinds='[{"name": "model.layers.N.mixer.blend", "tensors": 2, "elements": 16384, "percent": 35.555556},
 {"name": "model.layers.N.moe.experts.fused", "tensors": 1, "elements": 8192, "percent": 17.777778},
 {"name": "model.layers.N.linear_attn.second", "tensors": 1, "elements": 4096, "percent": 8.888889},
 {"name": "model.layers.N.mlp.first", "tensors": 1, "elements": 4096, "percent": 8.888889},
 {"name": "model.layers.N.moe.experts.N.w9", "tensors": 3, "elements": 3072, "percent": 6.666667},
 {"name": "model.layers.N.self_attn.third", "tensors": 1, "elements": 2048, "percent": 4.444444}]'
# The sums of the kinds above and of the two targets of 4,096 values.
expected="{tensors: 11, elements: 46080, target_tensors: 2, target_elements: 8192, percent: 17.777778, few: true, left: $kinds}"
small="of the weights in matrices are"
few() { echo "Only 17.78 % $small $1."; }

for how in "targets prune unknown -o pruned --iterations 2" "quantised quantize unknown -o codes --scheme int8-channel"; do
    what=${how%% *}
    # shellcheck disable=SC2086 # words
    ends 0 ${how#* } --quiet
    prints "Matrices: ${what/quantised/quantised weights} are 17.78 % of the 46,080 weights in"
    prints "$(few "$what")"
    prints "model.layers.N.moe.experts.N.w9"
done
ends 0 audit unknown pruned --quiet
prints "$(few targets)"
ends 0 audit unknown pruned --json --quiet
cp ../out audit.json
for document in pruned/organ/prune.json audit.json codes/organ/quantize.json; do
    judge "$document: other matrices" jq -e "(.matrices | .left |= map(.)) == $expected" "$document"
done
for report in pruned/organ/REPORT codes/organ/QUANTIZE_REPORT; do
    what=targets
    [[ $report != codes* ]] || what=quantised
    judge "$report.md does not warn" grep -qF "$(few $what)" $report.md
    judge "$report.md does not list the kinds" grep -q 'blend.*35.56' $report.md
    judge "$report.html does not warn" grep -qF "$(few $what)" $report.html
done

# If no or few matrices are left out, the report states the share without a warning.
ends 0 prune known -o all --iterations 2 --quiet
prints "Matrices: targets are 100.00 % of the 8,192 weights in matrices of"
judge "a warning about nothing" test "$(grep -c "$small" ../out)" = 0
ends 0 prune tiny-moe -o moe --iterations 2 --quiet
judge "a warning about routers" test "$(grep -c "$small" ../out)" = 0
judge "the routers are not listed" jq -e '.matrices.left == [{name: "model.layers.N.mlp.gate", tensors: 4, elements: 12288, percent: .matrices.left[0].percent}]' moe/organ/prune.json
# Targets named by --select count, also an embedding.
ends 0 prune known -o some --iterations 2 --select '*embed_tokens*,*.0.*q_proj*' --quiet
judge "named targets are not counted" jq -e '.matrices | .elements == 12288 and .target_elements == 8192 and .target_tensors == 2' some/organ/prune.json

# Verbs without --select count the matrices that they work on. The roles of --select attention include kv_b_proj.
counts() {
    local document=$1 of=$2 wanted=$3 kinds=$4
    judge "$document: other matrices" jq -e "($of | .left |= map(.name)) | [.target_elements, .elements, .few, .left] == [$wanted, 46080, true, $kinds]" "$document" >../judged
}
told() {
    judge "does not print the share" grep -qF "Matrices: $1 17.78 % of the 46,080 weights" <(tr -s '\n ' '  ' <../out)
    prints "model.layers.N.moe.experts.N.w9"
}
all_kinds=$(jq -c 'map(.name)' <<<"$kinds")
ends 0 purify unknown -o purified --method haar --quiet
told "purified weights are"
prints "Only 17.78 % of the weights in matrices are purified."
counts purified/organ/purify.json .matrices 8192 "$all_kinds"
ends 0 measure unknown --select attention -o measured --quiet
prints "model.layers.N.moe.experts.N.w9"
counts measured/z_report.json ".models[0].matrices" 8192 "$all_kinds"
ends 0 measure unknown --quiet
prints "Matrices: measured weights are 100.00 % of the 46,080 weights in matrices of"
ends 1 autopsy unknown --select '*q_proj*' -o examined --quiet
told "examined weights are"
counts examined/autopsy.json .matrices 8192 "$all_kinds"
ends 0 dequantize codes -o plainer --quiet
told "packed weights are"
counts plainer/organ/dequantize.json .matrices 8192 "$all_kinds"
ends 0 dequantize known -o same --quiet
judge "a share of packed matrices where none is" bash -c '! grep -q Matrices: ../out'
ends 0 lora extract --base unknown --tuned tuned -o adapter -r 2 --quiet
told "modules with factors are"
prints "Only 17.78 % of the weights in matrices are in the adapter."
counts adapter/organ/lora_extract.json .matrices 8192 "$all_kinds"
ends 0 lora merge --base unknown --adapter adapter -o merged --quiet
told "changed weights are"
counts merged/organ/lora_merge.json .matrices 8192 "$all_kinds"
ends 0 orthogonality unknown codes adapter -o noise --quiet
told "compared weights are"
counts noise/orthogonality.json .matrices 8192 "$all_kinds"
ends 0 quantize tuned -o tuned_codes --scheme int8-channel --quiet
ends 0 orthogonality --pair unknown codes --pair tuned tuned_codes -o pairs --quiet
told "compared weights are"
counts pairs/noise_pairs.json .matrices 8192 "$all_kinds"
for report in purified/organ/PURIFY_REPORT measured/Z_MEASURE_REPORT examined/AUTOPSY_REPORT plainer/organ/DEQUANTIZE_REPORT adapter/organ/LORA_REPORT \
    merged/organ/LORA_MERGE_REPORT noise/ORTHOGONALITY_REPORT pairs/NOISE_PAIRS_REPORT; do
    for page in $report.md $report.html; do
        judge "$page does not tell the share" grep -q '\(17.78\|22.22\) % of the 46,080 weights' "$page"
        judge "$page does not list the kinds" grep -qF 'N.mixer.blend' "$page"
    done
done

# evaluate prints the share once for models with equal targets.
for name in every wanted; do
    ends 0 prune "$model" -o "$name" --iterations 2 --quiet
done
scored=(--text "$model/heldout.txt" --context 32 --max-tokens 64 --quiet --experiment every=every --experiment wanted=wanted)
ends 0 evaluate "$model" every wanted "${scored[@]}" -o evaluated
prints "Matrices: targets are 100.00 % of the 4,300,800 weights in matrices of"
judge "a share for each of two models" jq -e '.coverage | length == 1 and .[0].models == ["every", "wanted"] and .[0].matrices.percent == 100' evaluated/evaluate.json
judge "a share in a model's sparsity" jq -e '[.models[].sparsity | has("matrices")?] | any | not' evaluated/evaluate.json
ends 0 evaluate "$model" wanted "${scored[@]:0:7}" --select '*q_proj*,*k_proj*,*v_proj*,*o_proj*' -o evaluated --force
prints "Only 22.86 % of the weights in matrices are targets."
judge "other matrices" jq -e '.coverage[0].matrices | .few and ([.left[].name] == ["model.layers.N.mlp.down_proj", "model.layers.N.mlp.gate_proj", "model.layers.N.mlp.up_proj"])' evaluated/evaluate.json
for page in evaluated/EVALUATION_REPORT.md evaluated/EVALUATION_REPORT.html; do
    judge "$page does not tell the share" grep -q '22.86 % of the 4,300,800 weights' $page
    judge "$page does not list the kinds" grep -qF 'N.mlp.gate_proj' $page
done

# Names that differ in more than numbers make a thousand kinds; the document has one kind for all others.
lines=$targets
for ((k = 0; k < 1100; k++)); do lines+=$'\n'"x$k.q$k.weight F32 2,2 16"; done
make names "$lines"
ends 0 measure names --select attention --json --quiet
judge "kinds beyond a thousand" jq -e '.models[0].matrices.left | length == 1001 and .[0] == {name: "other names", tensors: 100, elements: 400, percent: .[0].percent}' ../out

# The projections of an MTP layer, which has an eh_proj, are targets only if --select names them; so are those of towers and of prefixed MTP layers.
drafts="model.layers.2.eh_proj.weight F32 64,128 32768
model.layers.2.self_attn.q_proj.weight F32 64,64 16384
mtp.layers.0.mlp.up_proj.weight F32 64,64 16384
model.visual.blocks.0.mlp.up_proj.weight F32 64,64 16384"
make drafted "$targets
$drafts"
ends 0 prune drafted -o drafted_pruned --json --quiet
judge "towers and drafts are not run" jq -e '.donor.not_run == [{role: "vision", tensors: 1, bytes: 16384}, {role: "mtp", tensors: 2, bytes: 49152}]' ../out
judge "targets without the drafts" jq -e '[.tensors[].name] == ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight"]' ../out
ends 0 prune drafted -o drafts_pruned --select '*.layers.2.self_attn.q_proj.weight' --json --quiet
judge "a draft that is named" jq -e '[.tensors[].name] == ["model.layers.2.self_attn.q_proj.weight"]' ../out
finish
