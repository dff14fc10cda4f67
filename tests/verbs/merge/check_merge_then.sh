#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ merge to GGUF and to quantised weights, and GGUF files as the base. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "${organ%/build/organ}/tests/kit/faults_kit.sh"

mkdir ../tmp && export TMPDIR=$PWD/../tmp
small=${model%/*}/forward/qwen2 # two layers
for share in 10 40; do
    "$organ" prune "$small" -o t$share --sparsity $share --quiet >../out || exit 1
    rm -r t$share/organ
done
"$organ" prune tiny-qwen2 -o tiny --sparsity 20 --quiet >../out || exit 1
two=(merge t10 t40 --method slerp --t 0.3 --quiet)
clean() { judge "something is left: $(ls -A "$1")" test -z "$(find "$1" -maxdepth 1 -name '.*organ*')"; }

# ---- the bytes are those of a merge and a conversion or quantisation of its directory ----
mkdir steps
names="bf16 f16 q4_0 recipe:q4_k_m int4-group32" methods="slerp dare_ties" kills=12
if in_part; then names="bf16 q4_0 int4-group32" methods=dare_ties kills=4; fi
for name in $names; do
    out=${name#*:} then=(--then "$name") last=(quantize --scheme "$name") dtype=bf16 ending=.gguf
    [[ $name == *16 ]] && then=() last=(convert --to gguf) dtype=$name
    [[ $name == int4* ]] && ending=
    ends 0 "${two[@]}" --dtype $dtype "${then[@]}" -o "$out$ending"
    clean .
    ends 0 "${two[@]}" --dtype $dtype -o "steps/$out"
    ends 0 "${last[0]}" "steps/$out" "${last[@]:1}" -o "steps/$out-made$ending" --quiet
    if [[ -n $ending ]]; then
        judge "$name: other bytes than in two steps" cmp "$out.gguf" "steps/$out-made.gguf"
        judge "$name: another recipe" cmp "$out.recipe.yaml" "steps/$out/organ/recipe.yaml"
    else
        judge "$name: other files than in two steps" diff -rq -x organ "$out" "steps/$out-made"
        judge "$name: another recipe" cmp "$out/organ/donor/recipe.yaml" "steps/$out/organ/recipe.yaml"
    fi
done
holds bf16.convert.json '.merge.schema == "organ.merge/1"' '.merge.donors | length == 2' '.merge.run == null' '.run != null'
holds int4-group32/organ/quantize.json '.merge.parameters.method == "slerp"'
ends 0 inspect int4-group32
mkdir again
ends 0 merge bf16.recipe.yaml -o again/bf16.gguf --quiet
judge "the saved recipe gives another model" cmp bf16.gguf again/bf16.gguf

# ---- reports, dry runs, evaluation ----
ends 0 merge tiny-qwen2 tiny --method linear --then q4_0 -o scored.gguf --evaluate tiny-qwen2/heldout.txt --evaluate-max-tokens 16 --json
holds ../out '.schema == "organ.merge/1"' '.then.scheme == "q4_0"' '.then.bytes > 0' '.then.relative_error > 0' '.run.output == "scored.gguf"' \
    '.then.report.schema == "organ.quantize/1"' '.evaluation.before.is == "base"' '.evaluation.before.model.name == "tiny-qwen2"' '.evaluation.comparison.kl_divergence > 0'
ends 0 "${two[@]}" --then q4_0 -o dry.gguf --dry-run --json
holds ../out '.dry_run' '.then.report.dry_run' '.plan.temporary_bytes > .plan.output_bytes' '.plan.memory_enough > 0' '.run.plan.seconds > 0'
ends 0 "${two[@]}" -o dry.gguf --dry-run
prints "Then converted to GGUF"
prints "more during the run, next to the output"
judge "a dry run wrote something" test ! -e dry.gguf
clean .
refused 2 "bf16.gguf" audit --recipe bf16.recipe.yaml bf16.gguf

# ---- any number of threads and ranks, any CPU ----
ORGAN_ISA=scalar ends 0 "${two[@]}" --dtype bf16 --then q4_0 -o q4_0.gguf --force --threads 3 --memory 16M
judge "threads or CPU change the model" cmp q4_0.gguf steps/q4_0-made.gguf
if command -v mpirun >/dev/null; then
    for last in "--then q4_0 -o q4_0.gguf" "-o bf16.gguf"; do
        # shellcheck disable=SC2086 # several words
        mpirun --allow-run-as-root --oversubscribe -n 2 "$organ" "${two[@]}" --dtype bf16 $last --force >../out 2>../err
        judge "two ranks write another model" cmp "${last##* }" "steps/$(basename "${last##* }" .gguf)-made.gguf"
    done
    clean .
fi

# ---- GGUF files as the base ----
for share in 10 40; do ends 0 convert t$share --to gguf --dtype bf16 -o t$share.gguf --quiet; done
for method in $methods; do
    settings=(--base t10 --method $method --set t=0.3 --density 0.5 --quiet)
    [[ $method == slerp ]] && settings=(--method slerp --t 0.3 --quiet)
    ends 0 merge t10 t40 "${settings[@]}" -o plain.safetensors
    ends 0 merge t10.gguf t40 "${settings[@]/%t10/t10.gguf}" -o twin.safetensors
    judge "$method: a GGUF base gives other values" cmp plain.safetensors twin.safetensors
    rm -f plain.* twin.*
done
ends 0 merge t10.gguf t40.gguf --method slerp --t 0.3 -o steps/twins --quiet
ends 0 merge t10.gguf t40.gguf --method slerp --t 0.3 -o twins.gguf --quiet
ends 0 convert steps/twins --to gguf -o steps/twins.gguf --quiet
judge "two GGUF files: other bytes than in two steps" cmp twins.gguf steps/twins.gguf
holds twins.convert.json '.merge.donors | all(.model.format == "GGUF")'
ends 0 compare twins.gguf bf16.gguf
prints "All values are equal"
ends 0 audit --recipe steps/twins/organ/recipe.yaml steps/twins --quiet --tensors 0
if ! in_part; then
    cp -rL "${model%/*}/forward/qwen3moe" moe && chmod -R u+w moe
    "$organ" prune moe -o moe-tuned --quiet >../out || exit 1
    for one in moe moe-tuned; do ends 0 convert $one --to gguf --dtype bf16 -o $one.gguf --quiet; done
    ends 0 merge moe moe-tuned --method linear -o experts --quiet
    ends 0 merge moe.gguf moe-tuned.gguf --method linear -o experts-twins --quiet
    judge "experts of GGUF files are matched otherwise" cmp <(jq '[.experts[] | del(.model)]' experts/organ/merge.json) <(jq '[.experts[] | del(.model)]' experts-twins/organ/merge.json)
    ends 0 compare experts experts-twins
    prints "All values are equal"
    ends 0 merge tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf tiny --method linear -o based --evaluate tiny-qwen2/heldout.txt --evaluate-max-tokens 16 --quiet
    holds based/organ/merge.json '.evaluation.before.model.format == "GGUF"' '.evaluation.comparison.kl_divergence > 0' '.donors[0].moved < 0.2'
    holds based/config.json '(.torch_dtype // .dtype) == "bfloat16"' '.quantization_config == null'
fi
ends 0 lora sanitize "${model%/*}/tiny-lora" -o lora --base "$model" --quiet
refused 3 "tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf" merge tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf+lora --method passthrough -o none.gguf
refused 2 "t10.gguf" merge t10.gguf t40 --method linear -o t10.gguf --force

# ---- URLs and names of the hub, also as the base ----
remote() {
    mkdir -p ../hub/tiny/t10 ../hub/tiny/t40 ../hub/tiny/q && cp t10/* ../hub/tiny/t10 && cp t40/* ../hub/tiny/t40 && cp tiny-qwen2/*.* ../hub/tiny/q
    unset http_proxy HF_TOKEN HF_TOKEN_PATH HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_DISABLE_IMPLICIT_TOKEN
    "$golden/../../build/checks/hub_server" ../hub >../where &
    server=$!
    says_where ../where || bad "the server does not start" ../where
    export HF_ENDPOINT=http://127.0.0.1:$port HF_HUB_CACHE=$PWD/cache
    ends 0 "${two[@]}" --dtype bf16 -o local
    printf 'merge_method: slerp\nbase_model: hf:tiny/t10\nmodels: [{model: "hf:tiny/t10"}, {model: "hf:tiny/t40@main"}]\nparameters: {t: 0.3}\nout_dtype: bfloat16\n' >r.yaml
    ends 0 merge r.yaml -o remote --quiet
    judge "models of the hub give another one" cmp local/model.safetensors remote/model.safetensors
    judge "config.json is another one" cmp local/config.json remote/config.json
    ends 0 audit --recipe remote/organ/recipe.yaml remote --quiet --tensors 0
    ends 0 merge t10 hf:tiny/t40 --method slerp --t 0.3 --dtype bf16 -o steps/bf16.gguf --quiet
    judge "a URL gives other bytes" cmp bf16.gguf steps/bf16.gguf
    ends 0 merge hf:tiny/q+lora --method passthrough -o of-hub.safetensors --quiet
    ends 0 merge tiny-qwen2+lora --method passthrough -o of-disk.safetensors --quiet
    judge "base and adapter of the hub give another model" cmp of-hub.safetensors of-disk.safetensors
    holds of-hub.merge.json '.donors[0].name == "hf:tiny/q+lora"'
    refused 2 "password" merge t10 "http://u:p@127.0.0.1:$port/tiny/t40/resolve/main" --method linear -o none
    refused 2 "hf:tiny/none" merge t10 hf:tiny/none --method linear -o none
    HF_HUB_OFFLINE=1 refused 2 "HF_HUB_OFFLINE" merge t10 hf:tiny/t40 --method linear -o none
    kill $server
    wait $server 2>/dev/null
    refused 4 "hf:tiny/t40" merge t10 hf:tiny/t40 --method linear -o none
    unset HF_ENDPOINT HF_HUB_CACHE
}
in_part || remote

judge "outlines are left: $(ls ../tmp)" test -z "$(ls ../tmp)"

# ---- killed and unfinished runs ----
# A run is killed before some of its changes of files, from the outline to the last names.
mkdir killed
killed=("${two[@]}" --dtype bf16 --then q4_0 --threads 1 -o killed/q4_0.gguf)
count_changes "${killed[@]}"
rm -f killed/*
left=0
for ((k = 1; k <= kills; k++)); do
    killed_at $((changes * k / (kills + 1))) "${killed[@]}"
    [[ -d killed/.q4_0.gguf.organ-merged ]] && left=$((left + 1))
    [[ -e killed/q4_0.gguf ]] || ends 0 "${two[@]}" --dtype bf16 --then q4_0 -o killed/q4_0.gguf --resume
    judge "killed run $k goes on to other bytes" cmp killed/q4_0.gguf steps/q4_0-made.gguf
    clean killed
    rm -rf killed && mkdir killed
done
judge "only $left runs were killed after the merge began" test $left -ge $((kills / 2))
mkdir -p .left.gguf.organ-merged/0123456789abcdef
refused 2 ".left.gguf.organ-merged" "${two[@]}" -o left.gguf
refused 2 "--force" "${two[@]}" -o left.gguf --resume
ends 0 "${two[@]}" -o left.gguf --force
clean .
mkdir -p .left.gguf.organ-merged/0123456789abcdef
run "${two[@]}" -o left.gguf
says "left.gguf"
clean .

# ---- refusals leave nothing ----
refused 2 "--then mixed" "${two[@]}" --then mixed -o none.gguf
refused 2 "--format mlx" "${two[@]}" --then int6-group64 -o none
refused 2 "--then" "${two[@]}" --then f16 -o none.gguf
refused 2 ".gguf" "${two[@]}" --then q4_0 -o none
refused 2 "config.json" "${two[@]}" --then int4-group32 -o none.gguf
refused 4 "nowhere" "${two[@]}" -o none.gguf --evaluate nowhere
cp -r t40 nan
read -r shard offset < <("$organ" inspect nan --tensors --json --select model.layers.1.mlp.up_proj.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
printf '\300\177\300\177' | dd of="nan/$shard" bs=1 seek=$((offset + 4)) conv=notrunc status=none
refused 3 "NaN" merge t10 nan --method linear --then q4_0 -o none.gguf
judge "something was written" test ! -e none -a ! -e none.gguf
clean .
finish
