#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Selected embeddings in schemes of compressed-tensors: codes where vLLM looks them up, refused where it does not. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
for name in tiny-moe tiny-blocks tiny-llama; do ln -s "${model%/*}/$name" $name; done

# types MODEL NAME: the types of tensors.
types() { "$organ" inspect "$1" --tensors --json --select "$2" | jq -c '[.tensors[].dtype] | unique'; }
# nll MODEL: mean -ln p of a text.
nll() { "$organ" perplexity "$1" --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --activations off --json 2>/dev/null | jq .models[0].figures.nll; }

# A model whose head is a tensor of its own, with the values of the embedding.
cp -rL tiny-qwen2 own && chmod -R u+w own
sed -i 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' own/config.json
read -r file offset bytes < <("$organ" inspect own --tensors --json --select model.embed_tokens.weight | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"')
header="{\"lm_head.weight\":{\"dtype\":\"BF16\",\"shape\":[2048,320],\"data_offsets\":[0,$bytes]}}"
{
    printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0%s" "$header"
    tail -c "+$((offset + 1))" "own/$file" | head -c "$bytes"
} >own/head.safetensors
"$organ" inspect own --tensors --json | jq '{metadata: {}, weight_map: ([.tensors[] | {(.name): .file}] | add)} | .weight_map["lm_head.weight"] = "head.safetensors"' >index.json
mv index.json own/model.safetensors.index.json

# ---- codes, the group and its targets ----
for scheme in int4-group32 int8-group32 int2-group32; do
    ends 0 quantize own -o out -s $scheme --select 'embed_tokens,lm_head,*_proj*' --force
    says 'config.json has "dequantize"'
    judge "$scheme: the embedding stays" test "$(types out model.embed_tokens.weight_packed)" = '["I32"]'
    holds out/config.json '.quantization_config | .dequantize and .ignore == [] and .format == "pack-quantized"' \
        '.quantization_config.config_groups | .group_1.targets == ["re:.*embed_tokens$", "VocabParallelEmbedding"] and .group_0.targets == ["Linear", "lm_head"]' \
        '.quantization_config.config_groups | .group_1.weights == .group_0.weights and .group_1.input_activations == null'
done
ends 0 quantize own -o out -s int8-group64 --select 'embed_tokens,*_proj*' --force
says "it opens quantised embeddings only if all tensors have groups of one size"
holds out/config.json '.quantization_config | has("dequantize") | not' '.quantization_config.config_groups | length == 3'
ends 0 quantize own -o out -s int8-group32 --select embed_tokens --force --quiet
holds out/config.json '.quantization_config.config_groups | length == 1' '.quantization_config.ignore | index("lm_head")'
holds out/organ/quantize.json '.totals.tensors == 1'
ends 0 dequantize out -o back --dtype f32 --quiet
judge "perplexity $(nll out) is not that of the dequantised model, $(nll back)" test "$(nll out)" = "$(nll back)"
judge "the codes change nothing" test "$(nll out)" != "$(nll own)"
ends 0 convert out -o out.gguf --to gguf --dtype f32 --quiet
ends 0 convert out -o codes.gguf --to gguf --dtype codes --quiet --force
judge "no codes in GGUF" test "$(types codes.gguf token_embd.weight)" = '["Q8_0"]'
ends 0 quantize own -o out -s int4-group64 --activation-type int8 --select 'embed_tokens,*_proj*' --force --quiet
holds out/config.json '.quantization_config.config_groups | [.[] | select(.targets[1] == "VocabParallelEmbedding")] | length == 1 and .[0].input_activations == null'
text=(--calibration tiny-qwen2/calibration.txt --samples 2 --context 32)
ends 0 quantize own -o out -s int4-group32 --method gptq "${text[@]}" --select 'embed_tokens,*_proj*' --force --quiet
judge "with GPTQ the embedding stays" test "$(types out model.embed_tokens.weight_packed)" = '["I32"]'
ends 0 quantize own -o out -s int4-group32 --format mlx --select 'embed_tokens,*_proj*' --force --quiet
holds out/config.json '.quantization["model.embed_tokens"] != false'

# ---- an embedding that --select names, and that no server reads ----
for scheme in fp8-tensor fp8-channel fp8-block128 int8-channel mxfp4 mxfp8 nvfp4 int3-group32; do
    refused 2 "--select selects 'model.embed_tokens.weight', which cannot be $scheme: vLLM reads embeddings only in int2, int4 or int8 with groups" \
        quantize own -o no -s $scheme --select 'embed_tokens,*_proj*'
done
refused 2 "which cannot be int4-group32: it is also the output head" quantize tiny-qwen2 -o no -s int4-group32 --select 'embed_tokens,*_proj*'
refused 2 "it is also the output head" quantize tiny-llama -o no -s int8-group64 --select '*embed*' --dry-run
refused 2 "scheme mixed chooses bits only for matrices that layers multiply" quantize own -o no -s mixed --allocate global --budget 5bpw --method gptq "${text[@]}" --select 'embed_tokens,*_proj*'
cp -r "${model%/*}/forward/gemma2" gemma2 && chmod -R u+w gemma2
refused 2 "vLLM reads no quantised embeddings in models of this type" quantize gemma2 -o no -s int8-group32 --select 'model.embed_tokens.weight,*_proj*'

# ---- an embedding that a word or a pattern merely includes ----
for which in all '*' embed; do
    [[ $which == embed ]] && which=embed,feed-forward
    ends 0 quantize own -o out -s fp8-channel --select "$which" --force
    says "copied unchanged: model.embed_tokens.weight is the first"
    judge "the embedding is quantised" test "$(types out model.embed_tokens.weight)" = '["BF16"]'
    holds out/organ/quantize.json '.left_alone | any(.tensor == "model.embed_tokens.weight")'
done
finish
