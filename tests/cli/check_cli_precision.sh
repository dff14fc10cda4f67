#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ dequantize and organ quantize: output, reports, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

precision=$(dirname "$model")/precision
# ---- quantize ----
for scheme in fp8-block128 fp8-tensor fp8-channel int4-group32; do
    ends 0 quantize tiny-qwen2 -o $scheme --scheme $scheme
    matches quantize/quantize_$scheme ../out
    ends 0 inspect $scheme
    prints "No problems found"
    sed -n '/"quantization_config"/,$p' $scheme/config.json >../config
    matches quantize/quantize_config_$scheme ../config
    judge "tokenizer.json did not come along" cmp -s tiny-qwen2/tokenizer.json $scheme/tokenizer.json
done
matches quantize/QUANTIZE_REPORT int4-group32/organ/QUANTIZE_REPORT.md
judge "no page beside the report" grep -q "</html>" int4-group32/organ/QUANTIZE_REPORT.html
matches_briefly quantize/quantize_report_json int4-group32/organ/quantize.json
ends 0 quantize tiny-qwen2 -o fp8-block128 --scheme fp8-block128 --force
grep -v '^\[' ../err >../notes
matches quantize/quantize_notes ../notes
ends 0 quantize tiny-qwen2 -o some -s int4-group64 --select '*.o_proj.*,*.down_proj.*' --quiet
matches quantize/quantize_some ../out
[[ -s ../err ]] && bad "--quiet is not quiet" ../err
rm -r some

# ---- FP4, and MLX: same perplexity as the dequantised model, GPTQ lowers it ----
gptq="--method gptq --calibration tiny-qwen2/calibration.txt --samples 4 --context 64"
if in_part; then gptq+=" --select *.0.*_proj.weight"; fi
for scheme in "nvfp4" "mxfp4" "mxfp8" "mxfp8 --format mlx" "int4-group64 --format mlx"; do
    for method in "$gptq" ""; do
        set -f # the words have wildcards
        # shellcheck disable=SC2086
        ends 0 quantize tiny-qwen2 -o small --scheme $scheme $method --force
        set +f
        ends 0 dequantize small -o small-plain --dtype f32 --force --quiet
        ends 0 perplexity small --text tiny-qwen2/calibration.txt --context 64 --max-tokens 256 --compare small-plain --activations off --json
        scores_alike "$scheme $method is read back as other values"
    done
    sed -n '/"quantization/,$p' small/config.json >../config
    matches "quantize/quantize_config_${scheme/ --format /_}" ../config
done
# --activations: the scale of inputs is the same for matrices with the same inputs, and does not change the codes.
# input_scale MODULE: prints the scale that `active` has for a module of layer 2.
input_scale() {
    local file=active/model.safetensors size at
    size=$(od -An -tu8 -N8 "$file" | xargs)
    at=$(tail -c +9 "$file" | head -c "$size" | jq ".\"model.layers.2.$1.input_global_scale\".data_offsets[0]")
    od -An -tf4 -j $((8 + size + at)) -N4 "$file" | xargs
}
active=(quantize tiny-qwen2 --scheme nvfp4 --activations --calibration tiny-qwen2/calibration.txt --samples 4 --context 64)
ends 0 quantize tiny-qwen2 -o small --scheme nvfp4 --force --quiet
ends 0 "${active[@]}" -o active
prints "Scales of inputs are from 4 windows of 64 tokens of calibration.txt"
sed -n '/"quantization/,$p' active/config.json >../config
matches quantize/quantize_config_activations ../config
q=$(input_scale self_attn.q_proj) gate=$(input_scale mlp.gate_proj) down=$(input_scale mlp.down_proj)
judge "q, k, v have other scales of inputs than q" test "$q $q" = "$(input_scale self_attn.k_proj) $(input_scale self_attn.v_proj)"
judge "up has another scale of inputs than gate" test "$gate" = "$(input_scale mlp.up_proj)"
judge "all scales of inputs are $q" test "$q" != "$gate" -a "$gate" != "$down" -a "$q" != 1
for each in small active; do ends 0 dequantize $each -o $each-plain --force --quiet; done
judge "--activations changes codes" cmp -s small-plain/model.safetensors active-plain/model.safetensors
# A short text and two layers, because scalar kernels take forty times as long.
little=("${active[@]/#64/16}" --samples 1 --select '*.layers.[03].*' --quiet)
ends 0 "${little[@]}" -o vector
ORGAN_ISA=scalar ends 0 "${little[@]}" -o again --threads 1 --memory 64M
judge "scales of inputs differ on scalar code" cmp -s vector/model.safetensors again/model.safetensors
rm -r vector again
ends 0 "${active[@]}" -o again --method gptq --force
judge "gptq has the inputs of the unquantised layers" test "$down" != "$(mv active first && mv again active && input_scale mlp.down_proj)"
interrupted INT again "${active[@]}" -o again --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 0 "${active[@]}" -o again --resume --quiet
judge "a resumed run has other scales of inputs" cmp -s first/model.safetensors again/model.safetensors
rm -r active first again active-plain
# Static scales: the codes stay, a resumed run writes the same scales, and other verbs read the output.
static=(quantize tiny-qwen2 --scheme fp8-channel --activation-scale static --calibration tiny-qwen2/calibration.txt --samples 4 --context 64)
ends 0 quantize tiny-qwen2 -o small --scheme fp8-channel --force --quiet
ends 0 "${static[@]}" -o first
says "note: servers round activations to FP8 E4M3 with a static scale; loaders of fp8-channel with them: vLLM"
holds first/organ/quantize.json '.activations.rounding == "FP8 E4M3 with a static scale"' '.parameters.activation_scale == "static"' \
    '[.tensors[].input_scale] | length == 28 and all(. > 0)' '.definitions.input_scale | test("/ 448")'
interrupted INT again "${static[@]}" -o again --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 2 "${static[@]}" -o again --resume --activation-observer mse
says activation_observer
ends 0 "${static[@]}" -o again --resume --quiet
judge "a resumed run has other static scales" cmp -s first/model.safetensors again/model.safetensors
for each in small first; do ends 0 dequantize $each -o $each-plain --force --quiet; done
judge "static scales change codes" cmp -s small-plain/model.safetensors first-plain/model.safetensors
ends 0 inspect first
prints "No problems found"
rm -r first again first-plain
ends 0 quantize tiny-qwen2 -o first -s int4-group32 --activation-type int8 --quiet
judge "the group has no format" test "$(jq -r .quantization_config.config_groups.group_0.format first/config.json)" = pack-quantized
refused 3 "states that inputs are quantised" convert first -o no --to safetensors --format gptq
rm -r first
refused 2 "--activation-type fp8" "${static[@]}" -o no --activation-type int8
refused 2 "--calibration" quantize tiny-qwen2 -o no -s fp8-channel --activation-scale static
refused 2 "--activation-type" quantize tiny-qwen2 -o no.gguf -s q4_k --activation-type int8
refused 2 "--activation-type" quantize tiny-qwen2 -o no.gguf -s mixed --activation-type int8 --target-size 5MB
moe="${model%/*}/tiny-moe"
refused 3 "no expert of layer 0 gets 8 tokens" quantize "$moe" -o no -s fp8-tensor --activation-scale static --calibration tiny-qwen2/calibration.txt --samples 1 --context 2
ends 0 quantize "$moe" -o some -s fp8-tensor --activation-scale static --calibration tiny-qwen2/calibration.txt --samples 2 --context 16 --select '*.1.mlp.experts.*'
says "matrices of experts get fewer than 8 tokens of the text"
holds some/organ/quantize.json '.inputs.fallback.layers[0].layer == 1' '[.tensors[].input_scale] | unique | length == 2' '[.tensors[].unmeasured_experts | select(.)] | length > 3'
rm -r some
# Scales of a KV cache: a resumed run writes the same ones, scoring rounds by them, and other verbs read the output.
cached=(quantize tiny-qwen2 --scheme int8-channel --calibration tiny-qwen2/calibration.txt --samples 4 --context 64 --kv-cache)
ends 0 "${cached[@]}" tensor -o first
says "note: scales of a KV cache in FP8; loaders: vLLM"
prints "Scales of the KV cache (FP8), one for each layer, are from 4 windows of 64"
holds first/config.json '.quantization_config.kv_cache_scheme == {actorder: null, block_structure: null, dynamic: false, group_size: null, num_bits: 8,
    observer: "static_minmax", observer_kwargs: {}, strategy: "tensor", symmetric: true, type: "float"}'
ends 0 "${cached[@]}" head -o heads --quiet
holds heads/organ/quantize.json '.parameters.kv_cache == "head"' '.kv_cache.tensors == 8 and .kv_cache.zero == 0 and (.kv_cache.layers | length == 4)' \
    'all(.kv_cache.layers[]; (.keys | length == 2) and (.values | length == 2))'
greatest() { jq -c '[.kv_cache.layers[] | .keys, .values | max]' "$1/organ/quantize.json"; }
judge "the scale of a layer is not that of its greatest head" test "$(greatest first)" = "$(greatest heads)"
interrupted INT again "${cached[@]}" head -o again --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 2 "${cached[@]}" tensor -o again --resume
says kv_cache
ends 0 "${cached[@]}" head -o again --resume --quiet
judge "a resumed run has other scales of the cache" cmp -s heads/model.safetensors again/model.safetensors
# One run of the text measures inputs, keys and values: as much work as for inputs alone, and the same scales. --memory counts its buffers.
both=("${static[@]}" --activation-observer mse)
ends 0 "${both[@]}" -o alone --json --quiet
mv ../out ../alone
ends 0 "${both[@]}" --kv-cache head -o again --json --quiet --force
judge "one run measures other inputs" test "$(jq -c '[.tensors[].input_scale]' ../out)" = "$(jq -c '[.tensors[].input_scale]' ../alone)"
judge "one run measures other keys and values" test "$(jq -c .kv_cache.layers ../out)" = "$(jq -c .kv_cache.layers heads/organ/quantize.json)"
planned() { "$organ" "$@" -o no --dry-run --json --quiet | jq -c '[.plan.products, .plan.memory_enough]'; }
judge "keys and values need a run of their own, or no memory" jq -en --argjson alone "$(planned "${both[@]}")" \
    --argjson both "$(planned "${both[@]}" --kv-cache head)" '$both[0] == $alone[0] and $both[1] > $alone[1]'
rm -r alone
ends 0 perplexity heads --text tiny-qwen2/heldout.txt --context 64 --max-tokens 300 --json --quiet
holds ../out '.models[0].kv_cache == {rounded: true, declared: "quantization_config.kv_cache_scheme", why_not: null, codes: "E4M3", scales: "head", layers: 4,
    layers_without_scales: 0}'
ends 0 dequantize heads -o plain --quiet
ends 0 inspect heads
prints "No problems found"
rm -r first heads again plain
root=${organ%/build/organ}
printf 'abcdefgh %.0s' {1..400} >letters.txt
for type in gemma3n_text deepseek_v3 mamba; do
    (cd "$root" && build/checks/arch_model $type "$scratch/area/$type") >../out 2>&1 || bad "$type cannot be made" ../out
done
ends 0 quantize gemma3n_text -o shared -s int8-channel --kv-cache tensor --calibration letters.txt --samples 2 --context 16 --quiet
holds shared/organ/quantize.json '(.kv_cache.layers | length) * 2 == .kv_cache.tensors' '.kv_cache.layers | length > (unique_by(.keys) | length)'
refused 2 "multi-head latent attention (MLA)" quantize deepseek_v3 -o no -s int8-channel --kv-cache tensor --calibration letters.txt --samples 2 --context 16
refused 2 "has no attention" quantize mamba -o no -s int8-channel --kv-cache head --calibration letters.txt --samples 2 --context 16
refused 2 "--calibration" quantize tiny-qwen2 -o no -s int8-channel --kv-cache tensor
refused 3 "is 0 windows of 4096" "${cached[@]/tiny-qwen2\/calibration.txt/tiny-qwen2\/config.json}" tensor -o no --context 4096
refused 2 "--kv-cache" quantize tiny-qwen2 -o no -s fp8-block128 --kv-cache tensor --calibration letters.txt
refused 2 "--kv-cache" quantize tiny-qwen2 -o no.gguf -s q4_k --kv-cache tensor --calibration letters.txt
refused 2 "--kv-cache" quantize tiny-qwen2 -o no -s int4-group32 --format mlx --kv-cache tensor --calibration letters.txt
rm -r shared gemma3n_text deepseek_v3 mamba
refused 2 "--calibration" quantize tiny-qwen2 -o no -s nvfp4 --activations
refused 2 "--activations" "${active[@]/nvfp4/int4-group32}" -o no
refused 2 "--format mlx" "${active[@]}" -o no --format mlx
refused 2 "--activations" "${active[@]}" -o no.gguf
refused 2 "--activations" "${active[@]/nvfp4/mixed}" -o no.gguf
refused 2 "--format mlx" quantize tiny-qwen2 -o no -s q4_k --format mlx
refused 2 "--format mlx" quantize tiny-qwen2 -o no.gguf -s nvfp4 --format mlx
refused 2 "--format mlx" quantize tiny-qwen2 -o no -s int5-group32
refused 2 "--format mlx" quantize tiny-qwen2 -o no -s fp8-channel --format mlx
# Experts of tiny-qwen2moe have rows of another length than the rest, so that config.json lists them, by mlx-lm's names.
ln -s "$(dirname "$model")/tiny-qwen2moe" tiny-qwen2moe
ends 0 quantize tiny-qwen2moe -o small -s int4-group128 --format mlx --force --quiet
judge "config.json lists no joined experts" grep -q '"model.layers.1.mlp.switch_mlp.down_proj": {' small/config.json
ends 0 dequantize small -o small-plain --dtype f32 --force --quiet
ends 0 perplexity small --text tiny-qwen2/calibration.txt --context 64 --max-tokens 128 --compare small-plain --json
scores_alike "experts of MLX are read back as other values"
cp -r "$model/../forward/dots1" opt
sed -i 's/"model_type": "dots1"/"model_type": "opt"/' opt/config.json
refused 3 "'opt'" quantize opt -o no -s int4-group64 --format mlx
rm -r opt
# mlx-lm joins no codes of Qwen3-MoE, so that the output has a tensor for all experts of a layer.
ln -s "$(dirname "$model")/tiny-moe" tiny-moe
mlx=(quantize tiny-moe -s int4-group32 --format mlx --quiet)
for method in "" "--method gptq --calibration tiny-moe/calibration.txt --samples 2 --context 32"; do
    # shellcheck disable=SC2086 # $method is several words
    ends 0 "${mlx[@]}" -o small $method --force
    ends 0 dequantize small -o small-plain --dtype f32 --force --quiet
    ends 0 perplexity small --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --compare small-plain --json
    scores_alike "stacked experts of MLX are read back as other values"
    ends 0 perplexity small --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --compare tiny-moe --json
    judge "stacked experts of MLX are not those of the model" jq -e '(.models[0].figures.nll - .models[1].figures.nll) | fabs < 0.1' ../out >/dev/null
done
judge "experts are not stacked" test "$(grep -ao '"[^"]*switch_mlp[^"]*"' small/model.safetensors | wc -l)" -eq 36
judge "config.json lacks names of transformers 4" jq -e '.num_experts == 16 and .rope_theta == 10000' small/config.json >/dev/null
rm -r small small-plain

# ---- widths that no group size divides: tiny-moe is 192 wide, its experts 96 ----
# expert_groups MODEL: prints the group sizes of all matrices of experts.
expert_groups() { jq -r '.tensors[] | select(.tensor | contains(".experts.")) | .scheme' "$1/organ/quantize.json" | sort | uniq -c | xargs; }
ends 0 quantize tiny-moe -o regrouped -s int4-group64
says "model.layers.0.mlp.experts.0.down_proj.weight"
matches quantize/quantize_regrouped ../out
judge "experts have $(expert_groups regrouped)" test "$(expert_groups regrouped)" = "192 int4-group32"
sed -n '/"quantization_config"/,$p' regrouped/config.json >../config
matches quantize/quantize_config_regrouped ../config
ends 0 dequantize regrouped -o regrouped-plain --dtype f32 --quiet
ends 0 perplexity regrouped --text tiny-moe/calibration.txt --context 64 --max-tokens 512 --compare regrouped-plain --json
scores_alike "two schemes are read back as other values"
refused 3 "24 values" quantize "$model/../forward/qwen3moe" -o no -s int4-group32
refused 2 "projections" quantize tiny-moe -o no -s fp8-tensor --select '*.down_proj.weight'
ends 0 quantize tiny-moe -o channels -s int8-channel
says "int8-channel"
rm -r regrouped regrouped-plain channels
ends 0 quantize tiny-qwen2 -o dry -s fp8-channel --dry-run --quiet
matches quantize/quantize_dry ../out
judge "a dry run wrote something" test ! -e dry

# ---- interrupted and resumed ----
interrupted INT resumed quantize tiny-qwen2 -o resumed --scheme fp8-channel --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
says "--resume"
says "organ quantize --resume tiny-qwen2 -o resumed --scheme fp8-channel --threads 1"
judge "a half model is under the final name" test ! -e resumed
refused 2 "--resume" quantize tiny-qwen2 -o resumed --scheme fp8-channel
ends 2 quantize tiny-qwen2 -o resumed --scheme fp8-tensor --resume
says "parameters"
ends 0 quantize tiny-qwen2 -o resumed --scheme fp8-channel --resume
says "tensors"
judge "a resumed run differs from a whole one" cmp -s fp8-channel/model.safetensors resumed/model.safetensors
judge "something hidden was left behind" test -z "$(find . -name '.?*')"
rm -r resumed

# The bytes are the same with other threads, memory and instruction sets.
here="organ quantize by another way"
for scheme in fp8-block128 int4-group32; do
    ends 0 quantize tiny-qwen2 -o vector --scheme $scheme --select '*.layers.[03].*' --quiet
    ORGAN_ISA=scalar ends 0 quantize tiny-qwen2 -o again --scheme $scheme --select '*.layers.[03].*' --threads 1 --memory 32M --quiet
    judge "$scheme differs" cmp -s vector/model.safetensors again/model.safetensors
    rm -r vector again
done

# ---- dequantize ----
for scheme in fp8-block128 fp8-tensor fp8-channel int4-group32; do
    ends 0 dequantize $scheme -o plain --quiet
    [[ -s ../err ]] && bad "--quiet is not quiet" ../err
    matches dequantize/dequantize_$scheme ../out
    judge "config.json is not what it was" cmp -s tiny-qwen2/config.json plain/config.json
    ends 0 inspect plain
    prints "No problems found"
    rm -r plain
done
ends 0 dequantize int4-group32 -o plain --dtype f32 --max-shard-size 4M
matches dequantize/dequantize_f32 ../out
matches dequantize/DEQUANTIZE_REPORT plain/organ/DEQUANTIZE_REPORT.md
judge "no page beside the report" grep -q "</html>" plain/organ/DEQUANTIZE_REPORT.html
matches_briefly dequantize/dequantize_report_json plain/organ/dequantize.json
judge "the report about the quantisation is gone" cmp -s int4-group32/organ/quantize.json plain/organ/donor/quantize.json
judge "the type is not told" grep -q '"torch_dtype": "float32"' plain/config.json
judge "the shards are not cut" test -e plain/model-00005-of-00005.safetensors
ends 0 dequantize int4-group32 -o plain --dtype f32 --max-shard-size 4M --force --json --quiet --threads 1
if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' plain/organ/dequantize.json) >../difference; then good; else
    bad "--json differs from the file" ../difference
fi
rm -r plain
ends 0 dequantize tiny-qwen2 -o plain
says "tiny-qwen2"
matches dequantize/dequantize_plain ../out
rm -r plain
ends 0 dequantize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o plain.gguf --dtype f16
matches dequantize/dequantize_gguf ../out
judge "no report beside the file" test -s plain.dequantize.json -a -s plain.DEQUANTIZE_REPORT.md -a -s plain.DEQUANTIZE_REPORT.html
ends 0 inspect plain.gguf
prints "No problems found"
ends 0 dequantize fp8-tensor -o one.safetensors --quiet
judge "no report beside the file" test -s one.dequantize.json
rm -f plain.* one.*

# MLX: experts in one tensor, a router with other bits; the output has no quantization_config.
ln -s "$precision/mlx-experts" mlx
ends 0 dequantize mlx -o plain --quiet
matches dequantize/dequantize_mlx ../out
judge "the config still tells of the quantisation" test "$(grep -c quantization plain/config.json)" = 0
ends 0 inspect plain
prints "No problems found"
COLUMNS=160 ends 0 inspect mlx --tensors
prints "MLX INT6, group 32, BF16 scales and biases"
prints "weight scales biases"
ends 0 autopsy mlx plain
prints "no finding"
rm -r plain

# ---- verbs never compute with codes or scales of packed weights as if they were weights ----
mkdir packed
for directory in "$precision"/*/; do
    name=packed/$(basename "$directory")
    [[ $name == packed/plain-types ]] && continue
    ln -s "$directory" "$name"
    advice="organ dequantize $name -o OUT"
    refused 3 "$advice" prune "$name" -o no
    refused 3 "$advice" purify "$name" -o no --method haar
done
for name in packed/{awq-gemm-32,ct-packed-group,fp8-block128,mlx-affine}; do
    advice="organ dequantize $name -o OUT"
    refused 3 "$advice" prune "$name" -o no --method magnitude -s 50 --select '*'
    refused 3 "$advice" purify "$name" -o no --method fft --select all
    refused 3 "$advice" quantize "$name" -o no -s fp8-channel
done
refused 3 "q_proj.weight_scale_inv" \
    prune packed/fp8-block128 -o no --select '*scale*'
refused 3 "q_proj.scales" prune packed/awq-gemm-32 -o no --select '*scales'
ends 3 graft --source int4-group32 --target fp8-channel -o no
says "int4-group32"
says "organ dequantize int4-group32 -o OUT"
ends 3 graft --source tiny-qwen2 --target fp8-channel --select feed-forward -o no
says "organ dequantize fp8-channel -o OUT"
ends 3 graft --source fp8-tensor --target fp8-channel -o no
says "organ dequantize fp8-tensor -o OUT"
ends 0 graft --source fp8-channel --target fp8-channel --select feed-forward -o same --quiet
judge "codes and scales did not go together" cmp -s fp8-channel/model.safetensors same/model.safetensors
rm -r packed same
refused 3 "organ dequantize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o OUT.gguf" prune tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o no

# ---- what bitsandbytes, torchao, Quark, ModelOpt and AutoRound write: no tensor of a packed weight stays ----
for form in bnb-nf4-double bnb-int8 torchao-int4-asym quark-int4 modelopt-int4-awq auto-round-mxint4; do
    ends 0 dequantize "$precision/$form" -o opened --dtype f32 --force --quiet
    ends 0 inspect opened --json --tensors
    judge "$form leaves tensors" jq -e 'all(.tensors[]; .name | test("_proj.weight$"))' ../out
    judge "$form stays declared" jq -e 'has("quantization_config") | not' opened/config.json
done
# An adapter of a model of bitsandbytes (QLoRA) is merged into its values.
ends 0 lora extract --base "$precision/bnb-nf4" --tuned "$precision/bnb-int8" -o adapter --rank 4 --quiet
ends 0 lora merge --base "$precision/bnb-nf4" --adapter adapter -o merged --dtype f32 --quiet
ends 0 dequantize "$precision/bnb-nf4" -o opened --dtype f32 --force --quiet
ends 0 lora merge --base opened --adapter adapter -o again --quiet
judge "an adapter is merged into other values" cmp -s merged/model.safetensors again/model.safetensors
ends 0 inspect "$precision/bnb-nf4" --tensors --json
judge "inspect does not name the tensors of NF4" \
    jq -e '.quantization.weights[0] | .levels and .state and .scale and (.nested_scale | not) and (.text | startswith("bitsandbytes NF4"))' ../out
rm -r opened adapter merged again
# {} says nothing about sparsity.
ends 0 quantize tiny-qwen2 -o quiet --scheme int4-group32 --quiet
sed -i 's/"quantization_config": {/&"sparsity_config": {},/' quiet/config.json
ends 0 dequantize quiet -o quieter
judge "an empty sparsity_config is noted" bash -c '! grep -q sparsity_config ../err'
rm -r quiet quieter

# ---- errors ----
mkdir taken && echo x >taken/x
cp -r fp8-block128 broken
sed -i 's/^      128,$/      0,/' broken/config.json
cp -r fp8-channel lost
sed -i 's/q_proj\.weight_scale"/q_proj.weight_scalx"/' lost/model.safetensors
# Types have any case.
ends 0 dequantize int4-group32 -o cased --dtype F32 --max-shard-size 4M --quiet
judge "F32 is not f32" grep -q '"torch_dtype": "float32"' cased/config.json
ends 0 convert tiny-qwen2 -o cased.gguf --to gguf --dtype Q8_0 --quiet
ends 0 convert tiny-qwen2 -o lower.gguf --to gguf --dtype q8_0 --quiet
judge "Q8_0 is not q8_0" cmp -s cased.gguf lower.gguf
for type in BF16 Same; do ends 0 convert tiny-qwen2 -o no.gguf --to gguf --dtype $type --dry-run; done
refused 3 "--dtype" convert tiny-qwen2 -o no.gguf --to gguf --dtype Codes
refused 2 "'f8'" dequantize tiny-qwen2 -o no --dtype f8
refused 2 "taken" dequantize fp8-tensor -o taken
refused 2 "tiny-qwen2" dequantize tiny-qwen2 -o tiny-qwen2 --force
refused 2 "-o OUT" dequantize tiny-qwen2
refused 2 "max-shard-size" dequantize tiny-qwen2 -o no --max-shard-size big
refused 2 "'--dtype'" dequantize tiny-qwen2 -o no --dtyp f16
refused 2 ".gguf" dequantize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o no
refused 3 "weight_block_size" dequantize broken -o no
refused 3 "model.layers.0.self_attn.q_proj" dequantize lost -o no
refused 4 "nothing" dequantize nothing -o no
refused 4 "nowhere" dequantize fp8-tensor -o nowhere/no
refused 2 "'fp8'" quantize tiny-qwen2 -o no --scheme fp8
refused 2 "-s SCHEME" quantize tiny-qwen2 -o no
refused 2 "'*.x'" quantize tiny-qwen2 -o no -s fp8-tensor --select '*.x'
refused 3 "organ dequantize fp8-block128 -o OUT" quantize fp8-block128 -o no -s int4-group32
refused 3 "compressed-tensors" quantize int4-group32 -o no -s int4-group32
refused 2 "GGUF" quantize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o no -s fp8-tensor
refused 2 "no.safetensors" quantize tiny-qwen2 -o no.safetensors -s fp8-tensor
refused 2 "taken" quantize tiny-qwen2 -o taken -s fp8-tensor
refused 2 "it is also the output head" quantize tiny-qwen2 -o no -s int4-group128 --select '*embed*'
refused 4 "nothing" quantize nothing -o no -s fp8-tensor

finish
