#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks what organ convert makes of the files beside the weights: sentence-transformers' pooling, the end of each text, and files that GGUF cannot hold.
# Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

# embedder POOLING: an embedding model as published: names without "model.", modules.json, and a tokenizer that ends each text with EOS.
embedder() {
    rm -rf embedder && cp -rL tiny-qwen2 embedder && chmod -R u+w embedder && mkdir embedder/1_Pooling
    echo "$1" >embedder/1_Pooling/config.json
    jq -n '[{idx: 0, name: "0", path: "", type: "sentence_transformers.models.Transformer"},
        {idx: 1, name: "1", path: "1_Pooling", type: "sentence_transformers.models.Pooling"},
        {idx: 2, name: "2", path: "2_Normalize", type: "sentence_transformers.models.Normalize"}]' >embedder/modules.json
    echo '{"prompts": {"query": "Query: "}}' >embedder/config_sentence_transformers.json
}
key() { "${organ%/*}/checks/gguf_keys" "$1" | tr -d '\0' | awk -F'\t' -v key="$2" '$1 == key { print $NF }'; }
to_gguf() { ends 0 convert embedder -o x.gguf --to gguf --force; }

while read -r mode number; do
    embedder "{\"word_embedding_dimension\": 320, \"pooling_mode_mean_tokens\": false, \"$mode\": true}"
    to_gguf
    judge "$mode is not $number" test "$(key x.gguf qwen2.pooling_type)" = "$number"
    says "normalised"
    says "config_sentence_transformers.json"
    ends 0 convert x.gguf -o back --to safetensors --force
    says "modules.json"
    holds back/1_Pooling/config.json ".$mode" '.word_embedding_dimension == 320' '[to_entries[] | select(.value == true and (.key | startswith("pooling_mode")))] | length == 1'
    holds back/modules.json '.[1].path == "1_Pooling"' '.[1].type == "sentence_transformers.models.Pooling"' '.[0].type | endswith("Transformer")'
    ends 0 convert back -o again.gguf --to gguf --quiet --force
    judge "$mode is lost on the way back" test "$(key again.gguf qwen2.pooling_type)" = "$number"
    ends 0 quantize x.gguf -s q8_0 -o quantised.gguf --quiet --force
    judge "$mode is lost by quantize" test "$(key quantised.gguf qwen2.pooling_type)" = "$number"
done <<'MODES'
pooling_mode_mean_tokens 1
pooling_mode_cls_token 2
pooling_mode_lasttoken 3
MODES
embedder '{"word_embedding_dimension": 320, "pooling_mode": "lasttoken"}' # as newer releases save it
to_gguf
judge "a mode by name is not read" test "$(key x.gguf qwen2.pooling_type)" = 3
embedder '{"word_embedding_dimension": 320}' # the default of sentence-transformers
to_gguf
judge "the default is not the mean" test "$(key x.gguf qwen2.pooling_type)" = 1
for pooling in '{"pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": true}' '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}'; do
    embedder "$pooling"
    to_gguf
    says "1_Pooling/config.json"
    judge "a pooling that GGUF lacks is stored" test -z "$(key x.gguf qwen2.pooling_type)"
done
jq '. + [{idx: 3, name: "3", path: "3_Dense", type: "sentence_transformers.models.Dense"}]' embedder/modules.json >m.json && mv m.json embedder/modules.json
to_gguf
says "'3_Dense'"
echo '[{' >embedder/modules.json
refused 3 "modules.json" convert embedder -o none.gguf --to gguf

# Other verbs copy the files.
embedder '{"pooling_mode_mean_tokens": true}'
ends 0 prune embedder -o pruned --method magnitude --sparsity 10 --quiet
ends 0 quantize embedder -o quantised -s int8-channel --quiet
ends 0 merge embedder tiny-qwen2 --method linear -o merged --quiet
ends 0 layers embedder --drop 2-2 -o fewer --quiet
for made in pruned quantised merged fewer; do
    judge "$made lacks files" cmp <(cat embedder/modules.json embedder/1_Pooling/config.json) <(cat $made/modules.json $made/1_Pooling/config.json)
done

# A single safetensors file has tensors only: a note names every other file of the model, up to 12.
rm quantised/README.md
"$organ" lora sanitize "${model%/*}/tiny-lora" -o lora --base "$model" --quiet >../out || exit 1
ends 0 convert embedder -o x.gguf --to gguf --force --quiet
while read -ra words; do
    ends 0 "${words[@]}" -o single.safetensors --force --json
    find embedder -type f ! -name '*.safetensors*' -printf '%P\n' >../beside
    [[ ${words[1]} == quantised ]] && find quantised -type f ! -path '*/organ/*' ! -name '*.safetensors*' -printf '%P\n' >../beside
    [[ ${words[1]} == x.gguf ]] && printf '%s\n' config.json tokenizer.json tokenizer_config.json >../beside
    grep -o 'single.safetensors has the tensors only; it lacks these files of the model: .* (the name' ../err | sed 's/.*: //; s/ (the name$//' | tr ',' '\n' | tr -d ' ' >../named
    while read -r name; do judge "the note does not name $name: $(<../err)" grep -qxF "$name" ../named; done <../beside
done <<'VERBS'
merge embedder tiny-qwen2 --method linear
dequantize quantised --dtype bf16
merge x.gguf tiny-qwen2 --method linear
graft --source tiny-qwen2 --target embedder --select feed-forward,1
lora merge --base embedder --adapter lora
VERBS
touch embedder/y{1,2,3}.txt
ends 0 merge embedder tiny-qwen2 --method linear -o single.safetensors --force --dry-run
says "3 more"
ends 0 merge embedder tiny-qwen2 --method linear -o whole --quiet
judge "a directory has a note on files" test "$(grep -c 'tensors only' ../err)" -eq 0

# A plain model: files without a place in GGUF are named, those that the conversion reads are not.
ends 0 convert tiny-qwen2 -o plain.gguf --to gguf
says "calibration.txt"
ends 0 convert plain.gguf -o plain --to safetensors --quiet
judge "a pooling is made up" test ! -e plain/modules.json
finish
