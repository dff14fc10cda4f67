#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tests/trials/new_architecture.sh: adds the architecture `novel`, Qwen2 with scaled embeddings, as "An architecture" in
# CONTRIBUTING.md describes, builds it, makes a small model of it and tries the verbs. tests/check_trials.sh runs it in a copy of the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

# ---- the two files ----
family='{.architecture = "NovelForCausalLM", .gguf = "novel", .theta = 1e4, QKV_BIAS, .scaled_embeddings = true},'
sed -i "s/^    {\.architecture = \"Qwen2ForCausalLM\",.*/    $family\n&/" formats/architecture/families.c
pairing='{"NovelForCausalLM", "novel", "vocab_size", "novel", NULL, "{" SILU "}", 0},'
sed -i "s/^    {\"Qwen2ForCausalLM\", \"qwen2\",.*/    $pairing\n&/" formats/architecture/pairing_rows.c
"${NINJA:-ninja}" build/organ

# ---- a model: the test model of Qwen2 with another configuration, which names no class ----
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
organ=build/organ like=fixtures/tiny-qwen2 text=fixtures/tiny-qwen2/calibration.txt
quiet=(--quiet --threads 2)
mkdir "$scratch/novel"
cp "$like"/* "$scratch/novel"
jq 'del(.architectures, .sliding_window, .max_window_layers, .use_sliding_window) | .model_type = "novel"' "$like/config.json" \
    >"$scratch/novel/config.json"
cd "$scratch"
organ=$OLDPWD/$organ like=$OLDPWD/$like text=$OLDPWD/$text
# perplexity MODEL: the perplexity of a short text, with three decimals.
perplexity() { "$organ" perplexity "$1" --text "$text" --context 64 --max-tokens 256 --json "${quiet[@]}" | jq '.models[0].figures.perplexity * 1000 | round'; }

# ---- the verbs ----
"$organ" inspect novel --json --quiet | jq -e '.model.architecture == "NovelForCausalLM" and .model.model_type == "novel"' >/dev/null
own=$(perplexity novel)
[[ $own != "$(perplexity "$like")" ]] # the row's features are read
"$organ" convert novel -o novel.gguf --to gguf "${quiet[@]}"
"$organ" inspect novel.gguf --json --quiet | jq -e '.model.architecture == "novel"' >/dev/null
[[ $own == "$(perplexity novel.gguf)" ]]
"$organ" convert novel.gguf -o back --to safetensors "${quiet[@]}"
[[ $own == "$(perplexity back)" ]]
jq -e '.model_type == "novel" and .num_key_value_heads == 2 and .architectures == ["NovelForCausalLM"]' back/config.json >/dev/null
"$organ" prune novel -o pruned --method magnitude --sparsity 50% "${quiet[@]}"
"$organ" layers novel -o shorter --drop 1-1 "${quiet[@]}"
"$organ" layers novel.gguf -o shorter.gguf --drop 1-1 "${quiet[@]}"
[[ $(perplexity shorter) == "$(perplexity shorter.gguf)" ]]
"$organ" width novel -o narrower --ffn 50% --calibration "$text" --samples 2 --context 32 "${quiet[@]}"
"$organ" quantize novel -o small --scheme int8-channel "${quiet[@]}"
"$organ" quantize novel.gguf -o small.gguf --scheme q8_0 "${quiet[@]}"
for made in pruned narrower small small.gguf; do perplexity $made >/dev/null; done
