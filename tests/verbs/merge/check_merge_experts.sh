#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ merge of mixtures: experts in another order are matched, routers have a weight of their own. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/experts_kit.sh"
fixtures=${model%/*}
ln -s "$fixtures/tiny-moe" moe

# same A B: the models' tensors have the same bytes.
same() { judge "$1 and $2 differ" cmp "$1/model.safetensors" "$2/model.safetensors"; }

# ---- numbered experts: tiny-moe, and a copy of it in one file whose values differ ----
ends 0 prune moe -o pruned --sparsity 50 --quiet
ends 0 merge pruned --method passthrough -o one.safetensors --quiet
mkdir noisy && cp moe/{config.json,tokenizer.json} noisy && cp one.safetensors noisy/model.safetensors
turn noisy turned 16 1 3
for how in "linear --weight 0.75,0.25" "dare_ties --base moe --density 0.5" "ties --base moe"; do
    # shellcheck disable=SC2086 # words
    set -- merge moe noisy --method $how --quiet
    ends 0 "$@" -o straight --force
    ends 0 "${@/%noisy/turned}" -o matched --force
    holds straight/organ/merge.json '.experts | map(.reordered) == [0, 0, 0, 0]'
    holds matched/organ/merge.json '.experts | map(.reordered) == [16, 16, 16, 16] and all(.distance < 0.3 and .in_order > 1.2)'
    for file in straight/*.safetensors; do judge "$how of turned experts is another model" cmp "$file" "matched/${file#*/}"; done
done
prints "Experts of turned: 64 of 64 reordered"
ends 0 audit --recipe matched/organ/recipe.yaml matched --tensors 0 --quiet
sed -i 's/"match_experts": "auto"/"match_experts": "off"/' matched/organ/merge.json
ends 1 audit --recipe matched/organ/recipe.yaml matched --tensors 0 --quiet
ends 0 merge moe turned --method linear --match-experts off -o unmatched --quiet
holds unmatched/organ/merge.json '.experts == []' '.donors | all(.experts == null)'
prints "linear of 2 models"
ends 0 audit --recipe unmatched/organ/recipe.yaml unmatched --tensors 0 --quiet
ends 0 merge moe turned --method linear --dry-run --json -o none
holds ../out '.donors[1].experts == {"layers": 4, "experts": 64}' '.experts == null'

# the first model, or the base, gives the order
ends 0 merge turned moe --method linear -o first --quiet
ends 0 merge turned noisy --method linear -o first-noisy --quiet
holds first/organ/merge.json '.experts | map([.model, .reordered]) == [["moe", 16], ["moe", 16], ["moe", 16], ["moe", 16]]'
holds first-noisy/organ/merge.json '.experts | all(.distance == 0 and .reordered == 16)'
ends 0 merge turned --method passthrough -o alone --quiet
same first-noisy alone

# any CPU, ranks, after an interruption
ends 0 merge moe turned --method linear -o whole --quiet --threads 2
ORGAN_ISA=scalar ends 0 merge moe turned --method linear -o again --quiet --threads 1
for file in whole/*.safetensors; do judge "the CPU changes the model" cmp "$file" "again/${file#*/}"; done
interrupted TERM stopped merge moe turned --method linear -o stopped --quiet
ends 0 merge moe turned --method linear -o stopped --resume --quiet
for file in whole/*.safetensors; do judge "a resumed run has other bytes" cmp "$file" "stopped/${file#*/}"; done
if command -v mpirun >/dev/null; then
    mpirun --allow-run-as-root --oversubscribe -n 2 "$organ" merge moe turned --method linear -o ranks --quiet --threads 1 >../out 2>../err
    for file in whole/*.safetensors; do judge "two ranks write another model" cmp "$file" "ranks/${file#*/}"; done
fi

# a GGUF file has stacks
ends 0 convert turned --to gguf --dtype bf16 -o turned.gguf --quiet
ends 0 merge moe turned.gguf --method linear -o of-gguf --quiet
for file in whole/*.safetensors; do judge "a GGUF twin of turned experts is another model" cmp "$file" "of-gguf/${file#*/}"; done
rm -rf straight matched unmatched alone first* again stopped ranks of-gguf whole

# ---- stacks: thresholds over the whole tensor depend on no order ----
cp -rL "$fixtures/forward/qwen3moe-stacked" stacked && chmod -R u+w stacked
"$organ" prune stacked -o stacked-noisy --sparsity 30 --quiet >../out || exit 1
turn stacked-noisy stacked-turned 6 1 1
for how in "ties --base stacked --density 0.5" "sce --base stacked --set select_topk=0.5"; do
    # shellcheck disable=SC2086 # words
    set -- merge stacked stacked-noisy --method $how --quiet
    ends 0 "$@" -o straight --force
    ends 0 "${@/%stacked-noisy/stacked-turned}" -o matched --force
    holds matched/organ/merge.json '.experts | map(.reordered) == [6, 6, 6]'
    same straight matched
done
ends 0 audit --recipe matched/organ/recipe.yaml matched --tensors 0 --quiet

# ---- numbered experts with stacks, of one format: the output has the layout of the base ----
ln -s "$fixtures/forward/qwen3moe" numbered
"$organ" prune numbered -o numbered-noisy --sparsity 30 --quiet >../out || exit 1
for how in "linear --weight 0.75,0.25" "ties --base numbered --density 0.5"; do
    # shellcheck disable=SC2086 # words
    set -- merge numbered numbered-noisy --method $how --quiet --missing error
    ends 0 "$@" -o straight --force
    "$organ" convert numbered-noisy --to gguf -o noisy.gguf --quiet --force >../out || exit 1
    for other in stacked-of noisy.gguf; do
        [[ -e stacked-of ]] || ends 0 merge stacked numbered-noisy --method linear --weight 0,1 -o stacked-of --quiet
        ends 0 "${@/%numbered-noisy/$other}" -o mixed --force
        same straight mixed
    done
done
ends 0 audit --recipe mixed/organ/recipe.yaml mixed --tensors 0 --quiet
turn stacked-of stacked-of-turned 6 1 1
ends 0 merge numbered stacked-of-turned --method linear --weight 0.75,0.25 -o matched --quiet --force
holds matched/organ/merge.json '.experts | map(.reordered) == [6, 6, 6]'
ends 0 merge numbered numbered-noisy --method linear --weight 0.75,0.25 -o straight --quiet --force
same straight matched
ends 0 merge stacked numbered-noisy stacked-of --method linear -o three --quiet
holds three/organ/merge.json '.donors[1].moved == .donors[2].moved' '.lacking == []'
rm -rf straight matched mixed three

# ---- moments: stacks, those of gpt-oss stored as in_features x out_features, with more than the 512 rows that are read at a time ----
for type in qwen3_moe-stacked gpt_oss; do
    mkdir shape && cp "$fixtures/architectures/$type"/{config.json,model.tsv} shape
    sed -i -E 's/("moe_intermediate_size"): 32/\1: 320/; s/("intermediate_size"): 96/\1: 640/' shape/config.json
    sed -i -E 's/(gate_up_proj\t4x)64x64/\1640x64/; s/(down_proj\t4x64)x32/\1x320/; s/(gate_up_proj(_bias)?\t4x(64x)?)192/\11280/; s/(down_proj\t4x)96x64/\1640x64/' shape/model.tsv
    (cd "${organ%/build/organ}" && build/checks/arch_model "../../../../../../../../../..$scratch/area/shape" "$scratch/area/made") >../out 2>&1 ||
        bad "$type cannot be made" ../out
    ends 0 merge made --method passthrough --dtype bf16 -o plain --quiet
    "$organ" prune plain -o plain-noisy --sparsity 30 --quiet >../out || exit 1
    cp plain/{config,tokenizer}.json plain-noisy
    turn plain-noisy plain-turned 4 1 1
    for drift in false true; do
        set -- merge plain plain-noisy --method moments --set drift=$drift --samples 2 --context 32 --quiet \
            --calibration moe/calibration.txt --calibration tiny-qwen2/heldout.txt
        ends 0 "$@" -o straight --force
        ends 0 "${@/%plain-noisy/plain-turned}" -o matched --force
        holds straight/organ/merge.json '.fit.means < .fit.matrices' '.fit.left < 1'
        holds matched/organ/merge.json '.experts | map(.reordered) == [4, 4, 4, 0]'
        same straight matched
    done
    ends 0 audit --recipe matched/organ/recipe.yaml matched --tensors 0 --quiet
    chmod -R u+w plain* && rm -r plain* shape made
done

# ---- groups of experts, a bias of the router: groups stay together ----
cp -rL "$fixtures/forward/glm4moe" groups && chmod -R u+w groups
turn groups swapped 6 3
ends 0 merge groups swapped --method linear -o both --quiet
holds both/organ/merge.json '.experts | map([.reordered, .distance]) == [[6, 0], [6, 0]]' '.warnings == []'
ends 0 merge groups --method passthrough -o alone --quiet
turn groups apart 6 1
ends 0 merge groups apart --method linear -o mixed --quiet
holds mixed/organ/merge.json '.warnings | length == 2 and all(test("experts of apart are in other groups"))'
LC_ALL=C sed -i 's/layers\.1\.mlp\.experts\.5\./layers.1.mlp.experts.9./g' groups/model.safetensors swapped/model.safetensors
ends 0 merge groups swapped --method linear -o gap --quiet
holds gap/organ/merge.json '.experts | map([.layer, .reordered]) == [[2, 6]]' \
    '.warnings[0] | test("^experts of layer 1 are not matched.*: the router has another number of experts than there are$")'

# ---- what is refused, and what is only said ----
"$organ" experts moe -o fewer --keep 8 --score frequency --calibration moe/calibration.txt --samples 2 --context 64 --quiet >../out 2>../err || exit 1
refused 3 "experts.10.down_proj.weight" merge moe fewer --method linear -o none
refused 3 "mlp.gate.weight" merge moe fewer --method linear --missing any -o none
refused 2 "match-experts" merge moe noisy --method linear --match-experts always -o none
refused 2 "--router-weight" merge moe noisy --method slerp --t 0.5 --router-weight 1,0 -o none
refused 2 "--router-weight" merge moe noisy --method linear --router-weight 1,0,1 -o none
refused 3 "router" merge tiny-qwen2 tiny-qwen2/. --method linear --router-weight 1,0 -o none
cp -rL moe unknown && chmod -R u+w unknown && sed -i 's/Qwen3MoeForCausalLM/NoSuchForCausalLM/; s/qwen3_moe/no_such/' unknown/config.json
ends 0 merge unknown noisy --method linear -o of-unknown --other-architecture --quiet
holds of-unknown/organ/merge.json '.experts == []' '.warnings | any(startswith("experts are not matched: "))'

# ---- a weight of routers, by their names in each layout ----
# value_of MODEL TENSOR: the bytes of a tensor.
value_of() {
    from=$1
    read -r shard offset bytes < <(of "$2" '\(.file) \(.offset) \(.bytes)')
    tail -c +$((offset + 1)) "$1/$shard" | head -c "$bytes"
}
ends 0 merge moe turned --method linear --weight 1,0 --router-weight 0,1 --match-experts off -o routed --quiet
for tensor in model.layers.1.mlp.gate.weight:turned model.layers.1.mlp.experts.3.gate_proj.weight:moe model.layers.1.mlp.experts.3.down_proj.weight:moe; do
    judge "${tensor%:*} is not that of ${tensor#*:}" cmp <(value_of routed "${tensor%:*}") <(value_of "${tensor#*:}" "${tensor%:*}")
done
ends 0 merge routed/organ/recipe.yaml -o routed-again --match-experts off --quiet
for file in routed/*.safetensors; do judge "the saved recipe gives another model" cmp "$file" "routed-again/${file#*/}"; done
cp -rL "$fixtures/forward/mixtral" mixtral && chmod -R u+w mixtral
printf 'merge_method: passthrough\nmodels: [{model: mixtral, parameters: {scale: [{filter: router, value: 2}, {value: 1}]}}]\n' >r.yaml
ends 0 merge r.yaml -o doubled --quiet
value_of mixtral model.layers.0.block_sparse_moe.gate.weight >../router
judge "filter: router does not fit the router of Mixtral" test "$(cmp -l ../router <(value_of doubled model.layers.0.block_sparse_moe.gate.weight) | wc -l)" -gt 100
judge "filter: router fits an expert" cmp <(value_of mixtral model.layers.0.block_sparse_moe.experts.0.w1.weight) <(value_of doubled model.layers.0.block_sparse_moe.experts.0.w1.weight)

# ---- filters fit the names of each layout, and those without a use are named ----
# filtered FILTER TENSOR...: with the value 2 under the filter these tensors of Mixtral change, and the attention does not.
filtered() {
    local tensor
    printf 'merge_method: passthrough\nmodels: [{model: mixtral, parameters: {scale: [{filter: %s, value: 2}, {value: 1}]}}]\n' "$1" >r.yaml
    ends 0 merge r.yaml -o doubled --force --quiet
    holds doubled/organ/merge.json '.warnings == []'
    for tensor in "${@:2}"; do
        judge "filter $1 does not fit $tensor" test "$(cmp -l <(value_of mixtral "$tensor") <(value_of doubled "$tensor") | wc -l)" -gt 100
    done
    tensor=model.layers.0.self_attn.q_proj.weight
    judge "filter $1 fits $tensor" cmp <(value_of mixtral $tensor) <(value_of doubled $tensor)
}
experts=model.layers.0.block_sparse_moe.experts
for filter in mlp block_sparse_moe; do
    filtered $filter $experts.0.w1.weight $experts.1.w2.weight $experts.1.w3.weight model.layers.1.block_sparse_moe.gate.weight
done
filtered mlp.experts $experts.0.w1.weight
filtered gate_proj $experts.0.w1.weight
filtered mlp.experts.gate_up_proj $experts.0.w1.weight $experts.1.w3.weight
judge "gate_up_proj fits down" cmp <(value_of mixtral $experts.1.w2.weight) <(value_of doubled $experts.1.w2.weight)
cat >r.yaml <<'END'
merge_method: passthrough
modules:
  vision_tower:
    models:
      - model: mixtral
        parameters:
          scale: [{filter: feedforward, value: 3}, {filter: mlp, value: 2}, {value: 1}]
parameters:
  scale: 5
END
ends 0 merge r.yaml -o unused --json
for warning in "module 'vision_tower' (line 3)" "filter 'feedforward' of scale (line 7)" "scale (line 9)"; do
    says "$warning"
    judge "the document does not say $warning" jq -e --arg warning "$warning" '[.warnings[] | select(startswith($warning))] | length == 1' ../out
done
judge "there is another warning" jq -e '.warnings | length == 3' ../out
finish
