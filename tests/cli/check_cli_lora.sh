#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ lora sanitize, merge and resize: output, reports, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files
# again.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "${model%/*}/tiny-lora" tiny-lora

# ---- sanitize ----
ends 1 lora sanitize tiny-lora --check
matches lora/lora_check ../out
says "tiny-lora"
ends 0 lora sanitize tiny-lora -o servable --base tiny-qwen2 --quiet
matches lora/lora_sanitize ../out
matches lora/LORA_SANITIZE_REPORT servable/organ/LORA_SANITIZE_REPORT.md
judge "no page beside the report" grep -q "</html>" servable/organ/LORA_SANITIZE_REPORT.html
matches lora/lora_sanitize_config servable/adapter_config.json
ends 0 lora sanitize servable --check --base tiny-qwen2
matches lora/lora_check_clean ../out
ends 1 lora sanitize servable --check --max-rank 3 --json
prints '"schema": "organ.lora_sanitize/1"'
prints '"rule": "rank"'
ends 0 lora sanitize tiny-lora -o cut --max-rank 2 --threads 1
matches lora/lora_sanitize_cut ../out
ends 0 lora sanitize cut --check --max-rank 2 --quiet

# ---- merge ----
ends 0 lora merge --base tiny-qwen2 --adapter tiny-lora -o merged --quiet
matches lora/lora_merge ../out
matches lora/LORA_MERGE_REPORT merged/organ/LORA_MERGE_REPORT.md
judge "no page beside the report" grep -q "</html>" merged/organ/LORA_MERGE_REPORT.html
judge "the tokenizer is not there" cmp -s tiny-qwen2/tokenizer.json merged/tokenizer.json
ends 0 inspect merged
prints "No problems found"
ends 0 lora merge --base tiny-qwen2 --adapter tiny-lora -o merged --force --json --quiet --threads 1 --memory 32M
if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' merged/organ/lora_merge.json) >../difference; then good; else
    bad "--json differs from the file" ../difference
fi
ends 0 lora merge --base tiny-qwen2 --adapter servable -o no --dry-run --scale 0.5 --html dry.html
matches lora/lora_merge_dry ../out
judge "a dry run left something" test ! -e no
ends 0 lora merge --base tiny-qwen2 --adapter servable -o one.safetensors --quiet
judge "no report beside the file" test -s one.lora_merge.json -a -s one.LORA_MERGE_REPORT.md -a -s one.LORA_MERGE_REPORT.html
rm one.*
cp -r tiny-lora/. lost
sed -i 's/layers\.1\./layers.7./g' lost/adapter_model.safetensors
before=$(inventory)
ends 3 lora merge --base tiny-qwen2 --adapter lost -o no
matches lora/lora_merge_unplaced ../out
says "lost"
judge "something was left behind" test "$(inventory)" == "$before"
ends 0 quantize tiny-qwen2 -o fp8 --scheme fp8-block128 --quiet
ends 0 lora merge --base fp8 --adapter tiny-lora -o from-fp8 --quiet
matches lora/lora_merge_fp8 ../out
judge "quantization_config is still there" bash -c '! grep -q quantization_config from-fp8/config.json'
rm -r fp8 from-fp8

# ---- lists of many tensors are cut on a terminal ----
mkdir many && cp tiny-lora/adapter_config.json many
header=$(jq -ncj '[range(30) as $k | ["some_norm.weight", [3], 0, 12], ["none.lora_A.weight", [4, 5], 12, 92], ["none.lora_B.weight", [7, 4], 92, 204] |
    {key: "base_model.model.model.layers.\($k).\(.[0])", value: {dtype: "F32", shape: .[1], data_offsets: [$k * 204 + .[2], $k * 204 + .[3]]}}] | from_entries')
{ for ((k = 0; k < 8; k++)); do printf "\\x$(printf %02x $((${#header} >> 8 * k & 255)))"; done && printf %s "$header" && head -c $((30 * 204)) /dev/zero; } >many/adapter_model.safetensors
ends 3 lora merge --base tiny-qwen2 --adapter many -o no
judge "lora merge prints a line for each of 90 tensors" test "$(grep -c "NO MATCH" ../out)" = 9
prints "and 82 more"
ends 1 lora sanitize many --check
judge "lora sanitize --check prints a line for each of 30 tensors" test "$(grep -c "REFUSED.*norm" ../out)" = 1
prints "(30 in all)"
ends 0 lora sanitize many -o fewer
judge "lora sanitize prints a line for each of 30 tensors" test "$(grep -c REMOVED ../out)" = 9
prints "and 22 more"
judge "the report lacks removed tensors" test "$(grep -c some_norm fewer/organ/LORA_SANITIZE_REPORT.md)" = 30
rm -r many fewer

# ---- resize ----
ends 0 lora resize tiny-lora --rank 2 -o small --quiet
matches lora/lora_resize ../out
matches lora/LORA_RESIZE_REPORT small/organ/LORA_RESIZE_REPORT.md
judge "no page beside the report" grep -q "</html>" small/organ/LORA_RESIZE_REPORT.html
ends 0 lora resize tiny-lora --rank 64 -o same --quiet
matches lora/lora_resize_larger ../out
ends 0 lora resize tiny-lora --rank 4 --energy 0.75 -o energy --quiet --json
prints '"schema": "organ.lora_resize/1"'
ends 0 lora merge --base tiny-qwen2 --adapter small -o no --dry-run

# ---- fields of the config ----
with_field() { rm -rf "$1" && cp -r tiny-lora/. "$1" && jq "$2" tiny-lora/adapter_config.json >"$1/adapter_config.json"; }
with_field unknown '.twist = true'
with_field first '.layers_to_transform = [1]'
with_field pissa '.init_lora_weights = "pissa_niter_4"'
with_field olora '.init_lora_weights = "OLoRA"'
with_field biased '.lora_bias = true'
for words in "sanitize unknown --check" "merge --base tiny-qwen2 --adapter unknown -o no --dry-run" "resize unknown --rank 2 -o resized"; do
    read -ra words <<<"$words"
    run lora "${words[@]}"
    says "'twist'"
done
ends 0 lora merge --base tiny-qwen2 --adapter first -o no --dry-run
says "'model.embed_tokens'"
for verb in "resize pissa --rank 2" "merge --base tiny-qwen2 --adapter pissa" "sanitize pissa"; do
    read -ra words <<<"$verb"
    refused 3 "init_lora_weights" lora "${words[@]}" -o no
done
refused 3 "init_lora_weights" lora merge --base tiny-qwen2 --adapter olora -o no
refused 3 "lora_bias" lora resize biased --rank 2 -o no

# ---- errors ----
mkdir taken && echo x >taken/x
mkdir pickle && cp tiny-lora/adapter_config.json pickle && echo x >pickle/adapter_model.bin
cp -r tiny-lora/. zero
sed -i 's/"r": 4/"r": 0/' zero/adapter_config.json
refused 2 "merge" lora
refused 2 "'lora merge'" lora merg
refused 2 "'lora resize'" resize tiny-lora -o no
for words in "help lora" "lora --help" "lora -h"; do
    # shellcheck disable=SC2086
    ends 0 $words
    prints "  lora sanitize  make a LoRA adapter that servers accept"
    prints "'organ help lora VERB' explains one with examples."
done
refused 2 "--base" lora merge --adapter tiny-lora -o no
refused 2 "--adapter" lora merge --base tiny-qwen2 -o no
refused 2 "'--scale'" lora merge --base tiny-qwen2 --adapter tiny-lora -o no --scal 2
refused 2 "'fp8'" lora merge --base tiny-qwen2 --adapter tiny-lora -o no --dtype fp8
refused 2 "-o OUT" lora sanitize tiny-lora
refused 2 "--check" lora sanitize tiny-lora --check -o no
refused 2 "--rank" lora resize tiny-lora -o no
refused 2 "energy" lora resize tiny-lora --rank 2 --energy 2 -o no
for verb in "sanitize tiny-lora" "resize tiny-lora --rank 2" "merge --base tiny-qwen2 --adapter tiny-lora"; do
    read -ra words <<<"$verb"
    refused 2 "taken" lora "${words[@]}" -o taken
    refused 2 "tiny-lora" lora "${words[@]}" -o tiny-lora --force
    refused 4 "nowhere" lora "${words[@]}" -o nowhere/no
done
refused 2 "tiny-qwen2" lora merge --base tiny-qwen2 --adapter tiny-lora -o tiny-qwen2 --force
refused 3 "adapter_model.bin" lora sanitize pickle --check
refused 3 "adapter_config.json: r" lora resize zero --rank 2 -o no
refused 3 "adapter_model.safetensors" lora sanitize tiny-qwen2 --check
refused 3 "'model.layers.7.mlp.down_proj'" lora sanitize lost -o no --base tiny-qwen2
refused 4 "nothing" lora sanitize nothing --check
refused 4 "nothing" lora merge --base nothing --adapter tiny-lora -o no

# ---- a chat template of the adapter ----
cp -rL tiny-lora chats && chmod -R u+w chats
echo '{{ messages[0].content }} of the adapter' >chats/chat_template.jinja
ends 0 lora merge --base tiny-qwen2 --adapter chats -o templated
says "keeps the chat template of tiny-qwen2, not that of the adapter"
cp -rL tiny-qwen2 chatting && chmod -R u+w chatting && cp chats/chat_template.jinja chatting
ends 0 lora merge --base chatting --adapter chats -o templated --force
judge "the same template is warned of" test "$(grep -c 'chat template' ../err)" = 0
finish
