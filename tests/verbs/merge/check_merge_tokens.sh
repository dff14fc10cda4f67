#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the tokens of organ merge: unions, rules for tokens, padding, chat templates, refusals. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

# floats NUMBER...: writes whole numbers from 0 as F32.
floats() {
    local v e bits
    for v in "$@"; do
        for ((e = 0, bits = 0; v >> (e + 1); e++)); do :; done
        ((v)) && bits=$(((127 + e) << 23 | (v - (1 << e)) << (23 - e)))
        # shellcheck disable=SC2059 # the bytes are the format
        printf "$(printf '\\x%02x' $((bits & 255)) $((bits >> 8 & 255)) $((bits >> 16 & 255)) $((bits >> 24)))"
    done
}

# small DIR VOCABULARY ADDED ROW...: a model that has only an embedding of two columns, a head of one and its bias, with
# these values in every row; VOCABULARY is an object, ADDED a list of [text, id].
small() {
    local count=$(($# - 3)) bytes header doubled=() v
    bytes=$((4 * count))
    mkdir "$1"
    jq -n --argjson v "$count" '{model_type: "phi", architectures: ["PhiForCausalLM"], vocab_size: $v, hidden_size: 2,
        num_hidden_layers: 0, num_attention_heads: 1, intermediate_size: 2, tie_word_embeddings: false}' >"$1/config.json"
    jq -n --argjson vocab "$2" --argjson added "$3" '{version: "1.0", normalizer: null, pre_tokenizer: null,
        added_tokens: [$added[] | {id: .[1], content: .[0], single_word: false, lstrip: false, rstrip: false, normalized: false, special: true}],
        model: {type: "BPE", vocab: $vocab, merges: [$vocab | keys[] | select(length == 2) | explode | map([.] | implode)]}}' >"$1/tokenizer.json"
    header=$(jq -cn --argjson r "$count" --argjson n "$bytes" '{"model.embed_tokens.weight": {dtype: "F32", shape: [$r, 2], data_offsets: [0, 2 * $n]},
        "lm_head.weight": {dtype: "F32", shape: [$r, 2], data_offsets: [2 * $n, 4 * $n]},
        "lm_head.bias": {dtype: "F32", shape: [$r], data_offsets: [4 * $n, 5 * $n]}}')
    for v in "${@:4}"; do doubled+=("$v" "$v"); done
    {
        # shellcheck disable=SC2059 # the bytes are the format
        printf "$(printf '\\x%02x' $((${#header} & 255)) $((${#header} >> 8)))\\0\\0\\0\\0\\0\\0$header"
        floats "${doubled[@]}" "${doubled[@]}" "${@:4}"
    } >"$1/model.safetensors"
}

# values DIR TENSOR: the values of the tensor.
values() {
    local n at
    n=$(od -An -t u8 -N 8 "$1/model.safetensors")
    at=$(head -c $((n + 8)) "$1/model.safetensors" | tail -c "$n" | jq -r --arg t "$2" '.[$t].data_offsets | "\(.[0]) \(.[1] - .[0])"')
    tail -c +$((9 + n + ${at% *})) "$1/model.safetensors" | head -c "${at#* }" | od -An -v -w4 -t f4 | tr -d ' ' | tr '\n' ' '
}

# rows_are WHAT DIR ROW...: embedding, head and bias have these rows.
rows_are() {
    local pairs="" v
    for v in "${@:3}"; do pairs+="$v $v "; done
    judge "$1: embedding: $(values "$2" model.embed_tokens.weight)" test "$(values "$2" model.embed_tokens.weight)" = "$pairs"
    judge "$1: head: $(values "$2" lm_head.weight)" test "$(values "$2" lm_head.weight)" = "$pairs"
    judge "$1: bias: $(values "$2" lm_head.bias)" test "$(values "$2" lm_head.bias)" = "${*:3} "
    judge "$1: vocab_size" test "$(jq .vocab_size "$2/config.json")" = $(($# - 2))
}

# merged NAME RECIPE-TEXT: merges base, one and two to NAME.
merged() {
    printf 'models: [{model: base, parameters: {weight: 1}}, {model: one, parameters: {weight: 1}}, {model: two, parameters: {weight: 2}}]\n' >r.yaml
    printf 'merge_method: linear\nbase_model: base\n%b' "$2" >>r.yaml
    ends 0 merge r.yaml -o "$1"
}

# Base: two rows of padding. One: the same letters in another order, a merge, an added token. Two: another name for an added token of the base.
small base '{"a": 0, "b": 1, "c": 2}' '[["<x>", 3]]' 4 8 12 16 20 24
small one '{"c": 0, "a": 1, "b": 2, "ab": 3, "bc": 4}' '[["<x>", 5]]' 4 8 12 36 40 44
small two '{"a": 0, "b": 1, "c": 2}' '[["<y>", 3], ["<z>", 4]]' 4 8 12 52 64

# ---- sources ----
merged based 'tokenizer_source: base\n'
# a: (4 + 8 + 2 * 4) / 4; <x>: two gets the row of the base; padding: one has tokens there, two a token in row 4 and no row 5
rows_are base based 5 9 10 23 20 24
judge "the tokenizer is not the base's" cmp base/tokenizer.json based/tokenizer.json
merged union 'tokenizer_source: union\n'
# ab and bc are only in one, <y> and <z> only in two: all models get their row
rows_are union union 5 9 10 23 36 40 52 64
judge "new tokens have other ids" test "$(jq -c '.model.vocab | to_entries | sort_by(.value) | map(.key)' union/tokenizer.json)" = \
    '["a","b","c","<x>","ab","bc","<y>","<z>"]'
judge "added tokens have other ids" test "$(jq -c '.added_tokens | map([.content, .id])' union/tokenizer.json)" = '[["<x>",3],["<y>",6],["<z>",7]]'
says "splits texts of base"
says "3 from '<x>' to '<y>'"
printf 'abcb<x><z>' >text
ends 0 tokenize union --text text --ids --special --quiet
judge "the merges of one are not used: $(tr '\n' ' ' <../out)" test "$(tr '\n' ' ' <../out)" = "4 2 1 3 7 "
jq '.eos_token_id = 5' one/config.json >c.json && mv c.json one/config.json
merged of_one 'tokenizer_source: one\n'
holds of_one/config.json '.eos_token_id == 5'
# the order of one: c, a, b, ab, bc, <x>
rows_are model of_one 10 5 9 36 40 23
judge "the tokenizer is not that of one" cmp one/tokenizer.json of_one/tokenizer.json


# ---- settings with ids ----
# base: <x> is 3, b is 1; one: <x> is 5, b is 2
jq '.image_token_index = 3 | .bos_token_id = 1 | .vision = {"mark_id": 2}' base/config.json >c.json && mv c.json base/config.json
merged same_ids 'tokenizer_source: union\n'
holds same_ids/config.json '.image_token_index == 3 and .bos_token_id == 1 and .vision.mark_id == 2'
unnamed() {
    printf 'models: [{model: base, parameters: {weight: 1}}, {model: one, parameters: {weight: 1}}]\nmerge_method: linear\nbase_model: base\ntokenizer_source: one\n' >r.yaml
    ends 3 merge r.yaml -o refused
    says "$1"
    judge "$1: an output was left" test ! -e refused
}
unnamed 'vision.mark_id is 2: it may be the id of a token, but is not known to be one'
jq 'del(.vision) | .boi_token_id = 4' base/config.json >c.json && mv c.json base/config.json
unnamed 'boi_token_id is 4: the vocabulary has no such token'
jq '.boi_token_id = 2' base/config.json >c.json && mv c.json base/config.json
merged other_ids 'tokenizer_source: one\n'
holds other_ids/config.json '.image_token_index == 5 and .bos_token_id == 2 and .boi_token_id == 0 and .eos_token_id == 5'
jq 'del(.boi_token_id, .image_token_index, .bos_token_id)' base/config.json >c.json && mv c.json base/config.json

# ---- rules ----
merged ruled 'tokenizer:\n  source: base\n  tokens:\n    a: {source: one, force: true}\n    b: {source: {kind: zero}}\n    <n>: {source: {kind: model_token, model: two, token: <z>}}\n    <m>: {source: {kind: model_token, model: one, token_id: 4}}\n    <o>: {source: {kind: zero}}\n'
rows_are rules ruled 8 9 10 23 64 40 0
judge "a token of a rule is not added" test "$(jq -c '.added_tokens | map(.content)' ruled/tokenizer.json)" = '["<x>","<n>","<m>","<o>"]'
judge "the saved recipe gives another model" test "$(ends 0 merge ruled/organ/recipe.yaml -o ruled2 --quiet && cmp ruled/model.safetensors ruled2/model.safetensors && echo same)" = same

# ---- padding ----
merged padded 'tokenizer: {source: union, pad_to_multiple_of: 5}\n'
# rows of padding are the mean of the rows before them in each model: 31, 32, 30.5 with weights 1, 1, 2
judge "padding: $(values padded lm_head.bias)" test "$(values padded lm_head.bias)" = "5 9 10 23 36 40 52 64 29.875 29.875 "
judge "padding: vocab_size" test "$(jq .vocab_size padded/config.json)" = 10

# ---- two models that have a token which the base lacks: the mean of both ----
small three '{"a": 0, "b": 1, "c": 2, "ab": 3}' '[]' 4 8 12 60
printf 'models: [{model: one, parameters: {weight: 1}}, {model: three, parameters: {weight: 1}}]\nmerge_method: task_arithmetic\nbase_model: base\ntokenizer_source: union\n' >r.yaml
ends 0 merge r.yaml -o vectors --quiet
# ab: the base gets (36 + 60) / 2 = 48, so 48 + (36 - 48) + (60 - 48) = 48; bc: nothing moves
judge "mean: $(values vectors lm_head.bias)" test "$(values vectors lm_head.bias | cut -d ' ' -f 5,6)" = "48 40"

# ---- the same bytes ----
for how in "--threads 1" "--threads 3 --memory 16M"; do
    # shellcheck disable=SC2086 # two words
    ends 0 merge padded/organ/recipe.yaml -o again --force --quiet $how
    judge "$how changes the model" cmp padded/model.safetensors again/model.safetensors
done
ORGAN_ISA=scalar ends 0 merge padded/organ/recipe.yaml -o again --force --quiet
judge "the CPU changes the model" cmp padded/model.safetensors again/model.safetensors
ends 0 merge padded/organ/recipe.yaml -o none --dry-run --json
holds ../out '.dry_run' '.plan.memory_enough > 0'

# ---- vocabularies of byte-level BPE ----
cp -rL tiny-qwen2 bytes && cp "$model/../tiny-llama/tokenizer.json" bytes && rm bytes/vocab.json bytes/merges.txt
printf 'models: [{model: tiny-qwen2, parameters: {weight: 1}}, {model: bytes, parameters: {weight: 0}}]\nmerge_method: linear\ntokenizer: {source: union}\n' >r.yaml
ends 0 merge r.yaml -o both --quiet
judge "the base's merges are not first" test "$(jq -c '.model.merges[:1791]' both/tokenizer.json)" = "$(jq -c '.model.merges | map(. / " ")' tiny-qwen2/tokenizer.json)"
judge "vocab.json of the base is there" test ! -e both/vocab.json
# each token ends where a token of the base ends
for one in tiny-qwen2 both; do
    ends 0 tokenize "$one" --text tiny-qwen2/heldout.txt --ids --quiet
    jq -rn --slurpfile t "$one/tokenizer.json" --rawfile ids ../out \
        '($t[0].model.vocab | with_entries({key: (.value | tostring), value: (.key | length)})) as $n | foreach ($ids / "\n" | .[] | select(. != "")) as $id (0; . + $n[$id])' >"../$one.ends"
done
judge "no new token is used" test "$(wc -l <../both.ends)" -lt "$(wc -l <../tiny-qwen2.ends)"
judge "a text is cut where the base does not cut it" test -z "$(comm -13 <(sort ../tiny-qwen2.ends) <(sort ../both.ends))"
ends 0 perplexity both --text tiny-qwen2/heldout.txt --max-tokens 64 --quiet

# ---- a vocabulary of another kind ----
# (in models of a type whose tokenizer transformers reads as the file has it)
cp -rL "$model/../tiny-llama" llama && cp -r llama pieces && chmod -R u+w pieces && cp "$model/../tokenizers/llama2.json" pieces/tokenizer.json
sed 's/bytes/pieces/; s/tiny-qwen2/llama/' r.yaml >pieces.yaml
ends 0 merge pieces.yaml -o kinds
says pieces
judge "they are no added tokens" test "$(jq '.added_tokens | length > 100' kinds/tokenizer.json)" = true

# ---- a token whose example in a warning is cut within a character ----
mkdir long && cp -r one/. long
long=$(printf 'é%.0s' {1..40})
jq --arg t "a$long" '.model.vocab[$t] = 4 | del(.model.vocab.bc) | .model.merges = []' one/tokenizer.json >long/tokenizer.json
printf 'models: [{model: base, parameters: {weight: 1}}, {model: long, parameters: {weight: 1}}]\nmerge_method: linear\ntokenizer_source: union\n' >r.yaml
ends 0 merge r.yaml -o cut
says "'aé"

# ---- chat templates ----
templated() { printf "models: [{model: base}]\nmerge_method: passthrough\nchat_template: %s\n" "$1" >r.yaml; }
templated chatml
ends 0 merge r.yaml -o chat --quiet
judge "chatml is not there" grep -q '<|im_start|>' chat/chat_template.jinja
judge "tokenizer_config.json has another template" test "$(jq -r .chat_template chat/tokenizer_config.json)" = "$(cat chat/chat_template.jinja)"
judge "the tokenizer is changed" cmp base/tokenizer.json chat/tokenizer.json
table=${model%/*}/chat_templates.json # fixtures/make_chat_templates.py compares what they render
for name in chatml llama3 mistral alpaca exaone; do
    merged "named-$name" "tokenizer_source: base\nchat_template: $name\n"
    judge "$name is another template" test "$(cat "named-$name/chat_template.jinja")" = "$(jq -r ".$name.template" "$table")"
done
judge "the system text of mistral is not before the first user's" test "$(jq -r .mistral.renders.suav "$table")" = \
    $'<s> [INST] Be brief.\n\nOne? [/INST] Yes.</s> [INST] Two? [/INST]'
for k in one two; do printf ' {{ messages }} of both\n' >$k/chat_template.jinja; done
printf '{{ messages }} of base' >base/chat_template.jinja
merged auto 'tokenizer_source: union\nchat_template: auto\n'
judge "auto is not the most common" test "$(cat auto/chat_template.jinja)" = "{{ messages }} of both"
templated "'{% for m in messages %}{{ m }}{% endfor %}'"
ends 0 merge r.yaml -o chat --quiet --force
judge "the template is not the text" test "$(cat chat/chat_template.jinja)" = "{% for m in messages %}{{ m }}{% endfor %}"

# ---- refusals ----
unwritten() {
    printf 'models: [{model: base, parameters: {weight: 1}}, {model: one, parameters: {weight: 1}}]\nmerge_method: linear\nbase_model: base\n%b' "$2" >r.yaml
    refused 3 "$1" merge r.yaml -o none "${@:3}"
    judge "something was written" test ! -e none
}
unwritten "tokenizer_source" 'tokenizer: {source: base}\ntokenizer_source: base\n'
unwritten "'source'" 'tokenizer: {sources: base}\n'
unwritten pad_to_multiple_of 'tokenizer: {pad_to_multiple_of: 0}\n'
unwritten source 'tokenizer: {source: [base]}\n'
unwritten tokens 'tokenizer: {tokens: [a]}\n'
unwritten source 'tokenizer: {tokens: {a: {force: true}}}\n'
unwritten force 'tokenizer: {tokens: {a: {source: base, force: maybe}}}\n'
unwritten kind 'tokenizer: {tokens: {a: {source: {kind: one}}}}\n'
unwritten model 'tokenizer: {tokens: {a: {source: {kind: model_token, token: a}}}}\n'
unwritten "token or token_id" 'tokenizer: {tokens: {a: {source: {kind: model_token, model: one}}}}\n'
unwritten token_id 'tokenizer: {tokens: {a: {source: {kind: model_token, model: one, token_id: -1}}}}\n'
unwritten "token 'a'" 'tokenizer: {tokens: {a: {source: {kind: model_token, model: one, token_id: 6}}}}\n'
unwritten "token '<n>'" 'tokenizer: {tokens: {<n>: {source: one}}}\n'
unwritten "'chat'" 'tokenizer_source: base\nchat_template: chat\n'
printf 'models: [{model: base}]\nmerge_method: passthrough\nchat_template: chatml\n' >r.yaml
refused 2 "one.safetensors" merge r.yaml -o one.safetensors
cp -r one bare && rm bare/tokenizer.json
printf 'models: [{model: base, parameters: {weight: 1}}, {model: bare, parameters: {weight: 1}}]\nmerge_method: linear\ntokenizer_source: union\n' >r.yaml
refused 3 "bare" merge r.yaml -o none

# ---- models that no vocabulary unites: refused before the vocabularies are united ----
printf 'models: [{model: tiny-qwen2}, {model: %s}]\nmerge_method: linear\nparameters: {weight: 0.5}\ntokenizer_source: union\n' "${model%/*}/tiny-llama" >r.yaml
refused 3 "cannot be merged" merge r.yaml -o none
refused 3 "[2048, 192]" merge r.yaml -o none --other-architecture
finish
