#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ compare: figures, base and nearest relative, formats, clashes, adapters, layouts of experts, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden
# files again.
. "$(dirname "$0")/../../kit/experts_kit.sh"

fixtures=${model%/*}
# Two tunes with independent changes: an adapter, and a pruning.
"$organ" lora merge --base tiny-qwen2 --adapter "$fixtures/tiny-lora" -o tune --keep-tied --quiet >../out || exit 1
"$organ" prune tiny-qwen2 -o pruned --sparsity 10 --quiet >../out || exit 1

ends 0 help compare
matches help/help_compare ../out

# ---- the base among three, in any order ----
ends 0 compare tune tiny-qwen2 pruned --quiet
matches compare/base ../out
prints "B is the base of the others"
ends 0 compare tune tiny-qwen2 pruned --json --quiet --html page.html
cp ../out saved.json
holds saved.json '.lineage.base == "B"' '.lineage.related' '.lineage.near == []' '.differences | length == 1' '.differences[0].pair == "A C"' \
    '.differences[0].cosine | fabs < 0.1' '[.nearest[] | .nearest] == ["B", "C", "B"] or [.nearest[] | .nearest] == ["B", "A", "B"]' \
    '.pairs | length == 3' '.pairs[0].cells | map(select(.layer == 3)) | length > 5' '.clashes == []' '.only == []' \
    '.vocabularies | all(.different == 0)'
judge "the page has no map for each pair" test "$(grep -c 'Distance of [A-C] [A-C]' page.html)" -ge 3
ends 0 report saved.json -o saved.html
ends 0 compare pruned tune --base tiny-qwen2 --json --quiet
holds ../out '.lineage.base == "C"' '.lineage.given' '.models | length == 3' '.differences[0].pair == "A B"'
jq .differences[0].cosine ../out >../cosine
judge "the base has another place, and another cosine" test "$(<../cosine)" = "$(jq .differences[0].cosine saved.json)"

# ---- figures of the pair, from one tensor: A - B of a pruned model are the pruned values ----
ends 0 compare tiny-qwen2 pruned --json --quiet
holds ../out '.pairs[0] | .same_signs == 1 and .distance > 0' '.pairs[0].roles | map(select(.role == "norm"))[0].distance == 0' \
    '(.pairs[0].cosine - (1 - .pairs[0].distance * .pairs[0].distance / 2)) | fabs < 1e-4' '.lineage.base == null'
killed=$(jq .totals.full.killed pruned/organ/prune.json)
judge "the values that differ are not those that were pruned" test "$(jq '.pairs[0] | .values * (1 - .equal) + 0.5 | floor' ../out)" = "$killed"

# ---- any number of threads, any memory, any CPU ----
jq 'del(.run)' saved.json >../whole
for how in "--threads 1" "--threads 3 --memory 16M"; do
    # shellcheck disable=SC2086 # two words
    ends 0 compare tune tiny-qwen2 pruned --json --quiet $how
    judge "$how changes the figures" cmp -s <(jq 'del(.run)' ../out) ../whole
done
ORGAN_ISA=scalar ends 0 compare tune tiny-qwen2 pruned --json --quiet
judge "the CPU changes the figures" cmp -s <(jq 'del(.run)' ../out) ../whole

# ---- formats: a twin is equal, a quantised copy has its ancestor ----
ends 0 compare tiny-qwen2 tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --quiet
prints "All values are equal."
"$organ" quantize tune -o int4 --scheme int4-group32 --quiet >../out || exit 1
"$organ" convert tune --to gguf --dtype f16 -o tune.gguf --quiet >../out && "$organ" quantize tune.gguf -o q4.gguf --scheme q4_0 --quiet >../out || exit 1
for copy in int4 q4.gguf; do
    ends 0 compare "$copy" tiny-qwen2 tune pruned --json --quiet
    holds ../out '.models[0].quantised' '.nearest[0] | .nearest == "C" and .next == "D" and (.position | fabs < 0.3)' '.lineage.base == "B"' \
        '.only == []' '.shapes == []'
done

ends 0 compare int4 q4.gguf tiny-qwen2 tune pruned --json --quiet # copies have no vote
holds ../out '.lineage.base == "C" and .lineage.near == []'
ends 0 compare int4 tiny-qwen2 tune --json --quiet
holds ../out '.lineage.base == null'

# ---- clashes: vocabularies, shapes, layers, tensors ----
cp -rL tiny-qwen2 words && chmod -R u+w words
jq '.model.vocab["Ġha"] = 302 | .model.vocab["Ġl"] = 301' tiny-qwen2/tokenizer.json >words/tokenizer.json
ends 0 compare tiny-qwen2 words --json --quiet
holds ../out '.vocabularies[0] | .different == 2 and .first == 301 and .token == " ha" and .other_token == " l"' '.clashes[0].what == "vocabulary"'
"$organ" layers tiny-qwen2 -o short --drop 3, --quiet >../out || exit 1
jq '.rope_theta = 5000 | .rope_parameters.rope_theta = 5000' short/config.json >../config && cp ../config short/config.json
ends 0 compare tiny-qwen2 short --json --quiet
holds ../out '.only | length == 12 and all(.models == "A")' '[.clashes[].what] | contains(["num_hidden_layers", "rope_theta"])' '.pairs[0].distance == 0'
ends 0 compare tiny-qwen2 short --quiet
prints "Not in all models: 12 tensors, the first is"
"$organ" width tiny-qwen2 -o narrow --ffn 50% --no-refit --score wanda --calibration tiny-qwen2/calibration.txt --samples 1 --quiet >../out 2>../err || exit 1
ends 0 compare tiny-qwen2 narrow --json --quiet
holds ../out '.shapes | length == 12' '.clashes | map(.what) | contains(["intermediate_size"])'

# ---- routers: rows that changed places without their experts make another model ----
cp -rL "$fixtures/tiny-moe" moe && chmod -R u+w moe
read -r shard offset < <("$organ" inspect moe --tensors --json --select model.layers.1.mlp.gate.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
row=$((192 * 2))
for rows in "2 7" "7 2"; do
    dd if="$fixtures/tiny-moe/$shard" of="moe/$shard" bs=1 skip=$((offset + ${rows% *} * row)) seek=$((offset + ${rows#* } * row)) count=$row conv=notrunc status=none
done
ends 0 compare "$fixtures/tiny-moe" moe --json --quiet
holds ../out '.routers | length == 4 and all(.moved == 0)' '.routers | map(select(.layer == 1))[0] | .cosine < 1 and .cosine_in_order == .cosine' \
    '.routers | map(select(.layer != 1)) | all(.cosine == 1)' '.pairs[0].distance > 0'

# ---- an adapter: the figures are those of the model that lora merge writes ----
# figures MODEL...: the report's figures, in an order that the types of the tensors do not decide.
figures() {
    ends 0 compare "$@" --json --quiet "${how[@]}"
    jq -S 'del(.run, .models, .clashes) | .pairs[].cells |= sort_by(.layer, .role) | .differences[].cells |= sort_by(.layer, .role)' ../out
}
how=()
"$organ" lora sanitize "$fixtures/tiny-lora" -o lora --base tiny-qwen2 --quiet >../out || exit 1
"$organ" lora merge --base tiny-qwen2 --adapter lora -o f32 --dtype f32 --quiet >../out || exit 1
mkdir a+b && ln -s ../tiny-qwen2 a+b/c+d && cp -r lora ad+apter && ln -s "$PWD/tiny-qwen2" a+b/c
for name in a+b/c+d+lora a+b/c+d+ad+apter a+b/c+ad+apter tiny-qwen2+ad+apter; do # the model is the longest path before a '+'
    ends 0 compare "$name" tiny-qwen2 --json --quiet
    holds ../out '.models[0].model.adapter.pairs > 5'
done
ends 0 compare a+b/c+d tiny-qwen2 --json --quiet
holds ../out '.models[0].model.adapter == null'
ends 4 compare a+b/c+none tiny-qwen2 --quiet
says "none"
rm -r a+b ad+apter
ends 0 compare tiny-qwen2+lora f32 --json --quiet --html page.html
holds ../out '.models[0].model | .name == "tiny-qwen2+lora" and .adapter.pairs > 5' '.models[1].model.adapter == null' '.run.models == ["tiny-qwen2+lora", "f32"]' \
    '.lineage.says == "All values are equal."' '.pairs[0].distance == 0 and .pairs[0].equal == 1'
judge "the page lacks the adapter" grep -q "tiny-qwen2+lora" page.html
ends 0 compare "$PWD/f32" "$PWD/tiny-qwen2/+$PWD/lora" --quiet
prints "tiny-qwen2+lora"
figures f32 tiny-qwen2 pruned >../whole
figures tiny-qwen2+lora tiny-qwen2 pruned >../adapted
judge "an adapter has other figures than the merged model" cmp ../whole ../adapted
judge "the adapter changes nothing" test "$(jq '.pairs[0].distance > 0.01' ../adapted)" = true
for threads in 1 3; do
    how=(--threads "$threads" --memory 16M)
    figures tiny-qwen2+lora tiny-qwen2 pruned >../again
    judge "${how[*]} changes the figures of an adapter" cmp ../again ../adapted
done
how=()
ORGAN_ISA=scalar figures tiny-qwen2+lora tiny-qwen2 pruned >../again
judge "the CPU changes the figures of an adapter" cmp ../again ../adapted
ends 0 compare tune pruned --base tiny-qwen2+lora --json --quiet
holds ../out '.lineage.base == "C"' '.models[2].model.name == "tiny-qwen2+lora"'
ends 0 compare tiny-qwen2+lora f32 tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --json --quiet
holds ../out '.pairs[0].distance == 0' '.pairs[1].distance == .pairs[2].distance' '.pairs[1].distance > 0.01' '.only == []'
for misfit in "$fixtures/tiny-lora" "$fixtures/tiny-qwen2" nowhere; do
    run merge "tiny-qwen2+$misfit" --method passthrough -o none
    ended=$code
    cp ../err ../refusal
    ends "$ended" compare tiny-qwen2 "tiny-qwen2+$misfit"
    judge "$misfit has another error than for merge" cmp ../err ../refusal
    judge "$misfit is no error" test "$ended" -gt 2
done
refused 3 "tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf" compare tiny-qwen2 tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf+lora
refused 2 "--memory" compare tiny-qwen2 tiny-qwen2+lora --memory 1M

# ---- layouts of experts: numbered, stacked, GGUF ----
for name in qwen3moe qwen3moe-stacked qwen3moe.gguf; do ln -s "$fixtures/forward/$name" "$name"; done
for set in "qwen3moe qwen3moe-stacked" "qwen3moe-stacked qwen3moe" "qwen3moe-stacked qwen3moe.gguf qwen3moe" "qwen3moe.gguf qwen3moe qwen3moe-stacked"; do
    # shellcheck disable=SC2086 # words
    ends 0 compare $set --json --quiet
    holds ../out '.lineage.says == "All values are equal."' '.only == []' '.shapes == []' '[.pairs[].values] | unique == [66624]' \
        '[.routers[] | .moved] | length >= 3 and all(. == 0)'
done
for base in qwen3moe qwen3moe-stacked; do
    "$organ" prune "$base" -o "$base-sparse" --sparsity 30 --quiet >../out || exit 1
    "$organ" lora extract --base "$base" --tuned "$base-sparse" -o "$base-lora" --rank 4 --quiet >../out 2>../err || exit 1
    "$organ" lora merge --base "$base" --adapter "$base-lora" -o "$base-with" --dtype f32 --quiet >../out || exit 1
    figures qwen3moe qwen3moe-stacked "$base+$base-lora" | jq '[.pairs[] | .distance, .cosine, .equal], .only' >../adapted
    figures qwen3moe qwen3moe-stacked "$base-with" | jq '[.pairs[] | .distance, .cosine, .equal], .only' >../whole
    judge "$base-lora has other figures than the merged model" cmp ../adapted ../whole
    judge "$base-lora changes nothing" test "$(jq -c 'numbers, arrays | .[3] // empty | . > 0.01' ../whole)" = true
done
# ---- experts in another order are matched first, whatever the layouts and the order of the models ----
turn qwen3moe-stacked turned-stacked 6 1 1
turn qwen3moe-sparse turned 6 1 1
"$organ" convert qwen3moe-sparse --to gguf -o sparse.gguf --quiet >../out 2>../err || exit 1
"$organ" convert turned --to gguf -o turned.gguf --quiet >../out 2>../err || exit 1
ends 0 compare qwen3moe-stacked qwen3moe-sparse --json --quiet
plain=$(jq -c '[.pairs[0] | .distance, .cosine, .equal, .same_signs]' ../out)
for set in "qwen3moe turned" "turned qwen3moe" "qwen3moe-stacked turned" "turned qwen3moe-stacked" "qwen3moe.gguf turned" "qwen3moe turned.gguf" "qwen3moe-stacked turned.gguf" \
    "qwen3moe.gguf turned.gguf" "turned.gguf qwen3moe.gguf" "turned-stacked qwen3moe-sparse" "turned-stacked sparse.gguf"; do
    # shellcheck disable=SC2086 # words
    ends 0 compare $set --json --quiet
    holds ../out "[.pairs[0] | .distance, .cosine, .equal, .same_signs] == $plain" '.only == []' '.shapes == []' '.routers | map(.moved) == [6, 6, 6]' \
        'all(.routers[]; .cosine > 0.5 and .cosine_in_order < 0.3)'
done
for set in "qwen3moe turned-stacked" "turned-stacked qwen3moe-stacked" "turned-stacked qwen3moe.gguf" "sparse.gguf turned" "turned.gguf sparse.gguf"; do
    # shellcheck disable=SC2086 # words
    ends 0 compare $set --json --quiet
    holds ../out '.pairs[0].distance == 0' '.lineage.says == "All values are equal."' '.routers | map(.moved) == [6, 6, 6]'
done
ends 0 compare turned qwen3moe-sparse qwen3moe turned-stacked --json --quiet # the first is like the second, the last like the third
holds ../out '.pairs | map(select(.distance == 0) | .pair) == ["A B", "C D"]' '[.pairs[] | select(.distance > 0) | .distance] | unique | length == 1' \
    '.routers | map(select(.pair == "A D")) | all(.moved == 0)'
ends 0 compare qwen3moe turned --quiet
prints "Figures are of matched experts: 18 of 18 have another"
for threads in 1 2; do
    ends 0 compare qwen3moe turned --json --quiet --threads "$threads" --memory 16M
    holds ../out "[.pairs[0] | .distance, .cosine, .equal, .same_signs] == $plain"
done

# ---- the layouts without an order ----
figures qwen3moe-stacked qwen3moe-sparse >../whole
how=(--threads 1)
ORGAN_ISA=scalar figures qwen3moe-stacked qwen3moe-sparse >../again
judge "CPU and threads change the figures of other layouts" cmp ../again ../whole
how=()
refused 3 "layout" compare qwen3moe+qwen3moe-lora qwen3moe-stacked+qwen3moe-stacked-lora
refused 3 "layout" merge qwen3moe qwen3moe-stacked+qwen3moe-stacked-lora --method linear -o none
sed 's/Qwen3MoeForCausalLM/NoSuchForCausalLM/' qwen3moe/config.json >../config && cp -rL qwen3moe strange && chmod -R u+w strange && cp ../config strange/config.json
cp -rL qwen3moe-stacked strange-stacked && chmod -R u+w strange-stacked && cp ../config strange-stacked/config.json
ends 0 compare strange strange-stacked --json --quiet
holds ../out '.only | length == 60'

# ---- refusals ----
refused 2 "MODEL" compare
refused 2 "two models" compare tiny-qwen2
refused 2 "8 models" compare a b c d e f g h i
refused 4 "nowhere" compare tiny-qwen2 nowhere
refused 3 "name and shape" compare tiny-qwen2 "$fixtures/tiny-llama"
mkdir bare && echo '{}' >bare/config.json
refused 3 "bare" compare tiny-qwen2 bare
refused 2 "--memory" compare tiny-qwen2 pruned --memory 1M
# --patch: the bytes of the changes are those that organ patch extract writes.
ends 0 prune tiny-qwen2 -o cut --sparsity 10 --quiet
ends 0 patch extract --base tiny-qwen2 --tuned cut -o cut-patch --quiet
ends 0 compare tiny-qwen2 cut --patch --json
cp ../out patched.json
judge "a patch costs other bytes" test "$(jq '.patches[0].patch_bytes' patched.json)" = "$(jq '[.tensors[].patch_bytes] | add' cut-patch/organ/patch.json)"
judge "the pair, counts and bytes" test "$(jq '.patches[0] | .pair == "A B" and .changed > 0 and .whole == 0 and .same + .changed == 50 and
    .changed_bytes < .bytes' patched.json)" = true
ends 0 compare cut --base tiny-qwen2 --patch
prints "B A"
ends 0 compare tiny-qwen2 cut --json
judge "a patch without --patch" test "$(jq -c .patches ../out)" = "[]"
refused 2 "has an adapter, which no patch has: merge it first" compare qwen3moe+qwen3moe-lora qwen3moe --patch
finish
