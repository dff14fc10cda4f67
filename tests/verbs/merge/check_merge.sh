#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ merge: recipes, outputs, exit codes, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "${organ%/build/organ}/tests/kit/faults_kit.sh"

tuned() { "$organ" prune tiny-qwen2 -o "$1" --quiet >../out --sparsity "$2" || exit 1; }
tuned a 10 && tuned b 40
for one in a b; do rm -rf "$one/organ"; done

# unwritten CODE THING RECIPE-TEXT [ARGS...]: a recipe that is refused, and leaves nothing.
unwritten() {
    printf '%b' "$3" >r.yaml
    refused "$1" "$2" merge r.yaml -o none "${@:4}"
    judge "something was written" test ! -e none
}

# ---- the command ----
ends 0 merge a b --method linear --weight 0.75,0.25 -o linear --quiet
matches merge/linear ../out
matches merge/recipe linear/organ/recipe.yaml
holds linear/organ/merge.json '.output.merged == 50' '.donors | map(.elements) == [4960832, 4960832]' '.donors | all(.moved > 0)' \
    '[.layers[] | select(.layer == 3)] | length == 2'
judge "the tokenizer is not there" cmp tiny-qwen2/tokenizer.json linear/tokenizer.json
ends 0 merge a b --method linear --weight 1,0 -o one.safetensors --quiet
ends 0 merge a --method passthrough -o same.safetensors --quiet
judge "weight 0 is not without the model" cmp one.safetensors same.safetensors
judge "the recipe is not next to the file" test -s one.recipe.yaml
ends 0 merge a b --method linear --dry-run --json -o none
holds ../out '.dry_run' '.plan.memory_enough > 0' '.donors[0].moved == null'
ends 0 merge linear/organ/recipe.yaml -o again --quiet
judge "the saved recipe gives another model" cmp linear/model.safetensors again/model.safetensors
ends 0 merge linear/organ/recipe.yaml -o again --quiet --force
ends 0 merge a b --method linear --set normalize=false --weight 0.5 -o half.safetensors --quiet
ends 0 merge a b --method linear -o mean.safetensors --quiet
judge "half of the sum is not the mean" cmp half.safetensors mean.safetensors
# mergekit writes flags as numbers.
ends 0 merge a b --method linear --set normalize=0.0 --weight 0.5 -o numbered.safetensors --quiet
judge "0.0 is not false" cmp half.safetensors numbered.safetensors

ends 0 merge a b --method slerp --t 0.5 -o scored --evaluate tiny-qwen2/heldout.txt --evaluate-max-tokens 64 --quiet --html page.html
judge "the evaluation is not printed" grep -q "KL" ../out
judge "the page has no evaluation" grep -q "KL divergence from the donor" page.html
holds scored/organ/merge.json '.evaluation.comparison.kl_divergence > 0'

# ---- any number of threads and ranks, any memory, any CPU ----
for how in "--threads 1" "--threads 3 --memory 16M"; do
    # shellcheck disable=SC2086 # two words
    ends 0 merge a b --method linear --weight 0.75,0.25 -o again --force --quiet $how
    judge "$how changes the model" cmp linear/model.safetensors again/model.safetensors
done
ORGAN_ISA=scalar ends 0 merge a b --method linear --weight 0.75,0.25 -o again --force --quiet
judge "the CPU changes the model" cmp linear/model.safetensors again/model.safetensors

# ---- strips of a large tensor are written by the threads that merge them ----
header='{"model.layers.0.mlp.up_proj.weight":{"dtype":"BF16","shape":[4096,1100],"data_offsets":[0,9011200]}}'
for file in large.safetensors other.safetensors; do
    { printf '%b\0\0\0\0\0\0\0%s' "\\x$(printf %02x ${#header})" "$header"; } >$file
    truncate -s $((8 + ${#header} + 9011200)) $file
done
ends 0 merge large.safetensors other.safetensors --method linear -o whole.safetensors --threads 4 --quiet --json
holds ../out '.run.activity | .written_bytes > 9011200 and .one_thread_bytes < 450560'

# ---- audit ----
ends 0 merge a b --base tiny-qwen2 --method dare_ties --density 0.5 --seed 7 -o random --quiet
ends 0 audit --recipe random/organ/recipe.yaml random --quiet --json --tensors 0
holds ../out '.ok' '.recomputed == 50' '.different == 0' '.elements == 4960832'
cp -r random changed
read -r shard offset < <("$organ" inspect changed --tensors --json --select model.layers.2.mlp.up_proj.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
printf '\001' | dd of="changed/$shard" bs=1 seek=$((offset + 4)) conv=notrunc status=none
ends 1 audit --recipe random/organ/recipe.yaml changed --quiet --tensors 0
says "'model.layers.2.mlp.up_proj.weight': 1 of 276480 values"
sed 's/density: "0.5"/density: "0.4"/' random/organ/recipe.yaml >other.yaml
ends 1 audit --recipe other.yaml random --quiet
sed -i 's/"seed": 7/"seed": 8/' changed/organ/merge.json
ends 1 audit --recipe random/organ/recipe.yaml changed --quiet
refused 2 "PRUNED" audit random
refused 2 "one model" audit --recipe other.yaml a b
rm -rf random changed

# ---- slices ----
cat >slices.yaml <<'YAML'
slices:
  - sources: [{model: a, layer_range: [0, 3]}]
  - sources: [{model: b, layer_range: [1, 4], parameters: {scale: [1, 0.5]}}]
merge_method: passthrough
dtype: float32
YAML
ends 0 merge slices.yaml -o slices --quiet
holds slices/config.json '.num_hidden_layers == 6' '.torch_dtype == "float32"'
holds slices/organ/merge.json '.output.layers == 6' '.output.tensors == 74'
ends 0 audit --recipe slices.yaml slices --quiet --tensors 0
ends 0 perplexity slices --text tiny-qwen2/heldout.txt --max-tokens 64 --quiet

# ---- formats ----
cp -r tiny-qwen2/. base && chmod -R u+w base && rm -f base/generation_config.json
ends 0 convert b --to gguf --dtype bf16 -o b.gguf --quiet
for method in slerp dare_ties; do
    set -- merge a b --base a --method $method --set t=0.3 --density 0.5 --quiet
    [[ $method == slerp ]] && set -- merge a b --method slerp --t 0.3 --quiet
    ends 0 "$@" -o twin.safetensors
    ends 0 "${@/%b/b.gguf}" -o gguf.safetensors
    judge "$method of a GGUF twin is another model" cmp twin.safetensors gguf.safetensors
    rm -f twin.* gguf.*
done
llama=${model%/*}/tiny-llama
ends 0 convert "$llama" --to gguf --dtype bf16 -o l.gguf --quiet
ends 0 merge "$llama" l.gguf --method linear -o l.safetensors --quiet
ends 0 merge "$llama" --method passthrough -o m.safetensors --quiet
judge "the mean of a model and its GGUF twin is another model" cmp l.safetensors m.safetensors
ends 0 quantize a --scheme fp8-channel -o packed --quiet
ends 0 merge packed b --method linear -o of-packed --quiet
holds of-packed/config.json '.quantization_config == null' '.torch_dtype == "bfloat16"'
holds of-packed/organ/merge.json '.output.merged == 50'

# ---- base + adapter ----
lora=${model%/*}/tiny-lora
ends 0 lora sanitize "$lora" -o lora --base tiny-qwen2 --quiet
ends 0 lora merge --base tiny-qwen2 --adapter lora -o l.safetensors --quiet --force
ends 0 merge tiny-qwen2+lora --method passthrough -o changed.safetensors --quiet
judge "a base and its adapter are not what lora merge writes" cmp l.safetensors changed.safetensors
printf 'merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: tiny-qwen2+lora}]\nparameters: {t: 0.5}\n' >r.yaml
ends 0 merge r.yaml -o of-adapter --quiet
holds of-adapter/organ/merge.json '.donors[1].name == "tiny-qwen2+lora"' '.donors[1].moved > 0'
refused 3 "organ lora merge --base tiny-qwen2 --adapter $lora" merge "tiny-qwen2+$lora" --method passthrough -o none
refused 4 "nowhere" merge tiny-qwen2+nowhere --method passthrough -o none

# ---- heads and tensors that only some models have ----
cp -r "${model%/*}/forward/mistral" untied && chmod -R u+w untied && cp -r untied tied
sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' tied/config.json
ends 0 merge tied untied --method linear -o heads --quiet # the head of `tied` is another one than its embedding, so transformers uses it
holds heads/config.json '.tie_word_embeddings == false'
ends 0 merge untied tied --method linear -o heads --force --quiet
holds heads/config.json '.tie_word_embeddings == false'
# Gemma shares its head unless config.json says otherwise, at the top or in text_config.
for one in tied untied; do
    jq '.model_type = "gemma" | .architectures = ["GemmaForCausalLM"] | del(.tie_word_embeddings)' $one/config.json >c.json && mv c.json $one/config.json
done
ends 0 merge tied untied --method linear -o heads --force --quiet
holds heads/config.json '.tie_word_embeddings == false'
jq '.tie_word_embeddings = false' untied/config.json >c.json && mv c.json untied/config.json
# The vision tower stands in for a file without a head.
LC_ALL=C sed -i 's/"lm_head\.weight"/"visual.aweight"/' tied/model.safetensors
ends 0 merge tied untied --method linear --untie -o heads --force --quiet # an option of older versions, now the default
holds heads/config.json '.tie_word_embeddings == false'
ends 0 merge tied untied --method linear -o heads --force --quiet
holds heads/config.json '.tie_word_embeddings == false'
holds heads/organ/merge.json '.output.merged == 30'
for one in tied untied; do
    jq '.model_type = "gemma3_text" | {model_type: "gemma3", architectures: ["Gemma3ForConditionalGeneration"], text_config: .}' \
        $one/config.json >nested.json && mv nested.json $one/config.json
done
ends 0 merge tied untied --method linear -o heads --force --quiet
holds heads/config.json '.tie_word_embeddings == false' '.text_config.tie_word_embeddings == false'
cp -r b renamed && LC_ALL=C sed -i 's/"model\.norm\.weight"/"model.morm.weight"/' renamed/*.safetensors renamed/*.index.json
refused 3 "'model.norm.weight'" merge a renamed --method linear -o none
for policy in base any; do
    ends 0 merge a renamed --method linear --missing $policy -o lacking --force --quiet
    holds lacking/organ/merge.json '.lacking | length == 2'
    holds lacking/organ/merge.json "if \"$policy\" == \"any\" then .output.tensors == 51 else .output.tensors == 50 end"
done

cp -r "${model%/*}/forward/qwen2" one && cp -r "${model%/*}/forward/qwen2" other && chmod -R u+w one other
read -r shard offset bytes < <("$organ" inspect other --tensors --json --select lm_head.weight | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"')
head -c $((bytes / 2)) /dev/zero | tr '\0' '\77' | dd of="other/$shard" bs=1 seek="$offset" conv=notrunc status=none
ends 0 merge other --base one --method task_arithmetic -o strange --quiet
holds strange/organ/merge.json '.warnings | any(test("the base is hardly its ancestor"))'
ends 0 merge a --base tiny-qwen2 --method task_arithmetic -o usual --quiet
holds usual/organ/merge.json '.warnings == []'

# ---- interrupted runs, ranks, NaN ----
begin=("$organ" merge a b --method linear --weight "0.75,0.25" --quiet --threads 1)
count_changes "${begin[@]:1}" -o killed
for share in 3 6 9; do
    rm -rf killed .killed*
    killed_at $((changes * share / 10)) "${begin[@]:1}" -o killed
    if [[ -e .killed.organ-partial ]]; then ends 0 "${begin[@]:1}" -o killed --resume; elif [[ ! -e killed ]]; then ends 0 "${begin[@]:1}" -o killed; fi
    judge "a killed run goes on to other bytes" cmp linear/model.safetensors killed/model.safetensors
done
rm -rf killed .killed*
if command -v mpirun >/dev/null; then
    mpirun --allow-run-as-root --oversubscribe -n 2 "${begin[@]}" -o ranks >../out 2>../err
    judge "two ranks write another model" cmp linear/model.safetensors ranks/model.safetensors
fi
cp -r b nan
read -r shard offset < <("$organ" inspect nan --tensors --json --select model.layers.2.mlp.up_proj.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
printf '\300\177' | dd of="nan/$shard" bs=1 seek=$((offset + 4)) conv=notrunc status=none
refused 3 "'model.layers.2.mlp.up_proj.weight'" merge a nan --method linear -o none
refused 3 "'model.layers.2.mlp.up_proj.weight'" merge nan --base a --method slerp --t 0.5 -o none
judge "something was written" test ! -e none -a ! -e .none.organ-partial
# The difference between the largest values of BF16 and their negatives is finite.
printf '\177\177' | dd of="nan/$shard" bs=1 seek=$((offset + 4)) conv=notrunc status=none
ends 0 merge nan --method passthrough --set scale=-1 -o negative --quiet
holds negative/organ/merge.json '.donors[0].moved == 2'

# ---- moments ----
# Two of four layers, because each of these runs solves an equation for each matrix. u is a with an output head of its own, a copy of the embedding
mkdir whole && mv a b b.* whole && cp -r whole/a whole/u
read -r shard offset bytes < <("$organ" inspect whole/a --tensors --json --select model.embed_tokens.weight | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"')
header="{\"lm_head.weight\":{\"dtype\":\"BF16\",\"shape\":[2048,320],\"data_offsets\":[0,$bytes]}}"
{
    printf '%b%s' "\\x$(printf %02x ${#header})\\0\\0\\0\\0\\0\\0\\0" "$header"
    tail -c "+$((offset + 1))" "whole/a/$shard" | head -c "$bytes"
} >whole/u/head.safetensors
jq '.weight_map["lm_head.weight"] = "head.safetensors"' whole/a/model.safetensors.index.json >whole/u/model.safetensors.index.json
jq '.tie_word_embeddings = false' whole/a/config.json >whole/u/config.json
for each in u a b; do ends 0 layers whole/$each -o $each --drop 2-3 --quiet; done
ends 0 convert b --to gguf --dtype bf16 -o b.gguf --quiet
fit=(merge u b --method moments --samples 2 --context 32 --quiet)
texts=(--calibration tiny-qwen2/calibration.txt --calibration tiny-qwen2/heldout.txt)
ends 0 "${fit[@]}" "${texts[@]}" -o fitted
holds fitted/organ/merge.json '.fit.matrices == 15' '.fit.means == 0' '.fit.left > 0 and .fit.left < 1' '[.fit.tensors[].tokens] | unique == [128]' \
    'all(.fit.tensors[]; .after < .before)' '[.parameters.calibration[].text.name] == ["calibration.txt", "heldout.txt"]' '.output.merged == 27'
ends 0 merge u b --method linear -o mean --quiet
ends 0 compare mean fitted --json
holds ../out '[.pairs[0].roles[] | select(.role == "norm" or .role == "bias") | .distance] == [0, 0]' 'all(.pairs[0].roles[] | select(.role | test("proj|lm_head")); .distance > 0)'
count_changes "${fit[@]}" "${texts[@]}" --threads 1 -o killed
rm -rf killed
killed_at $((changes / 2)) "${fit[@]}" "${texts[@]}" --threads 1 -o killed
judge "nothing to go on with" test "$(wc -l <.killed.organ-partial/organ/journal.jsonl)" -gt 1
[[ -e killed ]] || ends 0 "${fit[@]}" "${texts[@]}" -o killed --resume
judge "a killed run goes on to another model" cmp fitted/model.safetensors killed/model.safetensors
judge "the report of a run that went on is another" diff <(jq .fit fitted/organ/merge.json) <(jq .fit killed/organ/merge.json)
ends 0 merge fitted/organ/recipe.yaml --samples 2 --context 32 -o again --force --quiet --threads 3 --memory 100M
judge "the saved recipe, threads or memory fit another model" cmp fitted/model.safetensors again/model.safetensors
ends 0 audit --recipe fitted/organ/recipe.yaml fitted --quiet --json --tensors 0
holds ../out '.ok' '.not_recomputed == 16' '.recomputed == 11'
ends 0 audit --recipe fitted/organ/recipe.yaml fitted
judge "what the audit leaves out is not said" grep -q "16 tensors depend on calibration texts" ../out
cp -r fitted changed
read -r shard offset < <("$organ" inspect changed --tensors --json --select model.norm.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
printf '\001' | dd of="changed/$shard" bs=1 seek=$((offset + 4)) conv=notrunc status=none
ends 1 audit --recipe fitted/organ/recipe.yaml --tensors 0 changed --quiet
says "'model.norm.weight': 1 of 320 values"
ends 0 merge u b.gguf --method moments --samples 2 --context 32 --quiet "${texts[@]}" -o again --force
judge "a GGUF twin is fitted to another model" cmp fitted/model.safetensors again/model.safetensors
ends 0 "${fit[@]}" --calibration tiny-qwen2/calibration.txt --set drift=false --set ridge=0.1 --weight 2,1 -o again --force --dry-run --json
holds ../out '.plan.memory_enough > 0' '.plan.products > 1e9' '.fit == null'
moe=${model%/*}/tiny-moe
cp -r "$moe" twin
ends 0 merge "$moe" twin --method moments --samples 1 --context 64 --calibration "$moe/calibration.txt" --set drift=false -o experts --quiet
holds experts/organ/merge.json '.fit.matrices == 208' '.fit.means > 0 and .fit.means < 150' '.fit.left == 0'
ends 0 merge "$moe" --method passthrough -o passed --quiet
judge "a model and its copy do not give the model" cmp passed/model.safetensors experts/model.safetensors
# matrices that are stored as in_features x out_features, with more of these rows than are read at a time
mkdir shape && cp "${model%/*}"/architectures/gpt2/{config.json,model.tsv} shape
sed -i 's/"n_inner": 96/"n_inner": 600/' shape/config.json && sed -i -E 's/(mlp\.c_fc\.bias\t|64x)96$/\1600/; s/\t96x64$/\t600x64/' shape/model.tsv
(cd "${organ%/build/organ}" && build/checks/arch_model "../../../../../../../../../..$scratch/area/shape" "$scratch/area/conv") >../out 2>&1 || bad "the model cannot be made" ../out
cp -r conv conv-twin
ends 0 merge conv conv-twin --method moments --samples 2 --context 32 --set drift=false --calibration tiny-qwen2/calibration.txt --quiet -o conv-fitted
holds conv-fitted/organ/merge.json '.fit.matrices == 16' '.fit.means == 0' '.fit.left == 0' '.donors | all(.moved == 0)'
ends 0 merge conv --method passthrough -o conv-passed --quiet
judge "transposed matrices of a model and its copy do not give the model" cmp conv-passed/model.safetensors conv-fitted/model.safetensors
rm -rf mean again experts twin passed changed shape conv*
refused 2 "text of u" "${fit[@]}" -o none
refused 2 "--calibration" "${fit[@]}" "${texts[@]}" --calibration x -o none
refused 4 "nowhere.txt" "${fit[@]}" --calibration nowhere.txt -o none
refused 2 "moments" merge a b --method linear "${texts[@]}" -o none
refused 2 "none.safetensors" "${fit[@]}" "${texts[@]}" -o none.safetensors
refused 2 "--calibration" merge fitted/organ/recipe.yaml "${texts[@]}" -o none
refused 2 "--memory" "${fit[@]}" "${texts[@]}" --memory 8M -o none
if command -v mpirun >/dev/null; then
    mpirun --allow-run-as-root --oversubscribe -n 2 "$organ" "${fit[@]}" "${texts[@]}" -o none >../out 2>../err
    judge "ranks are not refused" grep -q moments ../err
fi
rm -r a b b.* && mv whole/[ab] whole/b.* . && rm -r whole
refused 2 "drift=false" merge a tiny-qwen2+lora --method moments "${texts[@]}" -o none
unwritten 3 "text of b" 'merge_method: moments\nmodels: [{model: a, calibration: tiny-qwen2/heldout.txt}, {model: b}]\n'
unwritten 3 slices 'merge_method: moments\nslices: [{sources: [{model: a, layer_range: [0, 4]}, {model: b, layer_range: [0, 4]}]}]\n'
unwritten 3 ridge 'merge_method: moments\nmodels: [{model: a}]\nparameters: {ridge: 0}\n'
judge "something was written" test ! -e none -a ! -e .none.organ-partial

# ---- refusals ----
models='models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n'
refused 2 "MODEL" merge
refused 2 "--method" merge a b -o none
refused 2 "'linear'" merge a b --method lineer -o none
refused 2 "--weight" merge a b --method linear --weight 1,2,3 -o none
refused 2 "NAME=VALUE" merge a b --method linear --set 3 -o none
refused 2 "method, parameters and types" merge slices.yaml --method linear -o none
refused 2 "input a" merge a b --method linear -o a
refused 2 "exists" merge a b --method linear -o linear
unwritten 3 "'merge_method'" "$models""merge_metod: linear\n"
unwritten 3 "'lineer'" "$models""merge_method: lineer\n"
sed -n 's/.*(methods: \(.*\))$/\1/p' ../err | tr -d ' ' | tr , '\n' | sort >../methods
"$organ" help merge | tr '\n' ' ' | sed 's/.*needed without a recipe *(//; s/).*//' | tr -d ' ' | tr , '\n' | sort >../helped
judge "the help has other methods" diff ../methods ../helped
unwritten 3 "models or slices" 'merge_method: linear\n'
unwritten 3 models 'merge_method: linear\nmodels: []\n'
unwritten 3 "'dtype'" 'merge_method: linear\ndtype: float16\ndtype: float16\n'
unwritten 3 "line 2" 'merge_method: linear\n---\nmerge_method: linear\n'
unwritten 3 "alias 'x'" 'merge_method: *x\n'
unwritten 3 anchor 'models: &x [*x]\n'
unwritten 3 65536 "a: &a [1,1,1,1,1,1,1,1]\nb: &b [$(printf '*a,%.0s' {1..99})1]\nc: &c [$(printf '*b,%.0s' {1..99})1]\n"
unwritten 3 nested "a: $(printf '[%.0s' {1..70})"
unwritten 3 "merge keys" '<<: {a: 1}\n'
unwritten 3 "tag" 'merge_method: !!str linear\n'
unwritten 3 empty ''
unwritten 3 "'x'" "${models/weight: 1/weight: x}""merge_method: linear\n"
unwritten 3 "'wait'" "$models""merge_method: linear\nparameters: {wait: 1}\n"
unwritten 3 "weight of a" 'models: [{model: a}, {model: b}]\nmerge_method: linear\n'
unwritten 3 "line 1" 'models: [{model: a}, {model: a}]\nmerge_method: linear\n'
unwritten 3 "to 0" "${models/weight: 1/weight: -1}""merge_method: linear\n"
unwritten 3 passthrough "$models""merge_method: passthrough\n"
unwritten 3 "'int4'" "$models""merge_method: linear\nout_dtype: int4\n"
unwritten 3 float64 "$models""merge_method: linear\ndtype: float64\n"
unwritten 3 out_dtype "$models""merge_method: linear\ndtype: float64\nout_dtype: float64\n"
unwritten 3 "layer_range ends at 5" 'slices: [{sources: [{model: a, layer_range: [0, 5]}]}]\nmerge_method: passthrough\n'
unwritten 3 layer_range 'slices: [{sources: [{model: a, layer_range: [2, 2]}]}]\nmerge_method: passthrough\n'
unwritten 4 "nowhere" 'models: [{model: nowhere}]\nmerge_method: passthrough\n'
refused 3 "token 256" merge a "$model/../tiny-llama" --method linear -o none --other-architecture
cp -r b bare && rm bare/tokenizer.json
ends 0 merge a b --method linear -o tokens --quiet # a model without a tokenizer is taken to have the rows of the others, with a warning
ends 0 merge a bare --method linear -o assumed
holds assumed/organ/merge.json '.warnings == ["bare has no tokenizer: row by row, its tokens are taken to be those of a"]'
says "bare"
judge "a tokenizer decides values" cmp tokens/model.safetensors assumed/model.safetensors
judge "the output has no tokenizer" cmp a/tokenizer.json assumed/tokenizer.json
ends 0 merge bare a b --method linear -o assumed --force --quiet
holds assumed/organ/merge.json '.warnings | length == 1 and (.[0] | test("the output has no tokenizer either: `tokenizer_source: a` in a recipe"))'
judge "a tokenizer from nowhere" test ! -e assumed/tokenizer.json
printf 'models: [{model: bare, parameters: {weight: 1}}, {model: a, parameters: {weight: 1}}]\nmerge_method: linear\ntokenizer_source: a\n' >r.yaml
ends 0 merge r.yaml -o assumed --force --quiet
holds assumed/organ/merge.json '.warnings | any(. == "bare has no tokenizer: row by row, its tokens are taken to be those of a")'
for file in model.safetensors tokenizer.json; do judge "tokenizer_source: $file differs" cmp "tokens/$file" "assumed/$file"; done
recipe='models: [{model: a, parameters: {weight: 1}}, {model: bare, parameters: {weight: 1}}]\nmerge_method: linear\ntokenizer_source: '
printf "${recipe}base\n" >r.yaml
ends 0 merge r.yaml -o assumed --force --quiet
judge "tokenizer_source: base: other values" cmp tokens/model.safetensors assumed/model.safetensors
for source in union bare; do
    printf "$recipe$source\n" >r.yaml
    refused 3 "bare" merge r.yaml -o none
done
cp -r bare other && jq '.model.vocab["Ġha"] = 302 | .model.vocab["Ġl"] = 301' a/tokenizer.json >other/tokenizer.json
refused 3 "token 301" merge bare a other --method linear -o none
"$organ" layers b -o short --drop 2, --quiet >../out || exit 1
refused 3 "short has 3 layers" merge a short --method linear -o none
printf '%b' "$models""merge_method: linear\nparameters: {int8_mask: true, t: 0.5}\n" >r.yaml
ends 0 merge r.yaml -o warned
says "t is not used"
says int8_mask
finish
