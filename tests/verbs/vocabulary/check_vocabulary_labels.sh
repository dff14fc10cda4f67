#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests classifiers that organ vocabulary --labels writes: rows, class, labels, audits, GGUF, refusals. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
root=${organ%/build/organ}

# row MODEL TENSOR ROW: the bytes of a row of a tensor, as hexadecimal digits.
row() {
    local file offset width
    read -r file offset width < <("$organ" inspect "$1" --tensors --json --quiet --select "$2" |
        jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes / .shape[0])"')
    [[ -d $1 ]] && file=$1/$file || file=$(dirname "$1")/$file
    od -An -v -tx1 -j $((offset + $3 * width)) -N "$width" "$file" | tr -d ' \n'
}
names() { "$organ" inspect "$1" --tensors --json --quiet --select all | jq -r '.tensors[].name' | sort; }
# holds WHAT-NOT CONDITION FILE: the condition is true of the document.
holds() { judge "$1" test "$(jq "$2" "$3")" = true; }

# ---- a tied head ----
labels=" the, and,ing"
ends 0 vocabulary tiny-qwen2 --labels "$labels" -o scores --quiet
prints "Classifier of tiny-qwen2"
report=scores/organ/labels.json
for k in 0 1 2; do
    judge "row $k is not that of its label" test "$(row scores score.weight $k)" = "$(row tiny-qwen2 model.embed_tokens.weight "$(jq ".labels[$k].id" $report)")"
done
holds "labels of the report" '[.labels[].label] == [" the", " and", "ing"] and .labels[0].token == "Ġthe"' $report
holds "class and labels" '.architectures == ["Qwen2ForSequenceClassification"] and .id2label == {"0": " the", "1": " and", "2": "ing"} and
    .label2id == {" the": 0, " and": 1, "ing": 2} and .pad_token_id == 2047' scores/config.json
judge "other tensors" cmp -s <(names scores) <({ names tiny-qwen2; echo score.weight; } | sort)
for file in tokenizer.json tokenizer_config.json generation_config.json; do
    judge "$file" cmp -s tiny-qwen2/$file scores/$file
done
ends 0 inspect scores --quiet
ends 0 vocabulary tiny-qwen2 --labels "$labels" -o none --dry-run --json
holds "a dry run has other labels" '.dry_run and (.labels | length == 3)' ../out
judge "a dry run writes" test ! -e none
ends 0 report $report -o page.html

# ---- SentencePiece: a label is the text of a token, and only then a text of its own, which gets a blank before it ----
cp -rL tiny-qwen2 pieces && chmod -R u+w pieces && rm -f pieces/{vocab.json,merges.txt,tokenizer_config.json}
cp "$root/fixtures/tokenizers/llama2.json" pieces/tokenizer.json
jq '.model_type = "llama" | .architectures = ["LlamaForCausalLM"]' tiny-qwen2/config.json >pieces/config.json
ends 0 vocabulary pieces --labels "ther, the,s, s,no,</s>" -o parts --quiet
holds "tokens of SentencePiece" '[.labels[].token] == ["ther", "▁the", "s", "▁s", "▁no", "</s>"]' parts/organ/labels.json
ends 0 audit pieces parts --quiet
refused 2 "' no' is the token of the label 'no' too" vocabulary pieces --labels "no, no" -o made

# ---- settings by which vLLM makes rows from a head ----
cp -rL tiny-qwen2 asks && chmod -R u+w asks
jq '. + {classifier_from_token: ["no", "yes"], method: "from_2_way_softmax", is_original_qwen3_reranker: true, speech_config: {method: "fourier"}}' \
    tiny-qwen2/config.json >asks/config.json
ends 0 vocabulary asks --labels "$labels" -o answers --quiet
holds "settings for a head stay" '((has("classifier_from_token") or has("is_original_qwen3_reranker") or .method != null) | not) and .speech_config.method == "fourier"' \
    answers/config.json
holds "the report does not list them" '[.settings[] | select(.after == null) | .key] | sort ==
    ["classifier_from_token", "is_original_qwen3_reranker", "method"]' answers/organ/labels.json
ends 0 audit asks answers --quiet

# ---- an untied head goes, and the order of labels is that of the rows ----
(cd "$root" && build/checks/arch_model qwen3 "$scratch/area/qwen3") >../out 2>&1 || bad "qwen3 cannot be made" ../out
jq '.added_tokens = [] | .model.vocab |= with_entries(select(.value < 256)) | .model.merges = []' tiny-qwen2/tokenizer.json >qwen3/tokenizer.json
ends 0 vocabulary qwen3 --labels y,n -o yes --quiet
ends 0 vocabulary qwen3 --labels n,y -o no --quiet
judge "the head stays" cmp -s <(names yes) <({ names qwen3 | grep -v lm_head; echo score.weight; } | sort)
for k in 0 1; do
    judge "row $k" test "$(row yes score.weight $k)" = "$(row qwen3 lm_head.weight "$(jq ".labels[$k].id" yes/organ/labels.json)")"
    judge "order of row $k" test "$(row yes score.weight $k)" = "$(row no score.weight $((1 - k)))"
done
holds "pad_token_id changes" '.pad_token_id == 0 and .architectures == ["Qwen3ForSequenceClassification"]' yes/config.json

# ---- GGUF ----
ends 0 convert qwen3 -o qwen3.gguf --to gguf --quiet
printf 'Query: {query}\nDocument: {document}\nRelevant:' >template.txt
ends 0 vocabulary qwen3.gguf --labels y,n --rerank-template template.txt -o rank.gguf --quiet
for k in 0 1; do
    judge "row $k of GGUF" test "$(row rank.gguf cls.output.weight $k)" = "$(row qwen3.gguf output.weight "$(jq ".labels[$k].id" rank.labels.json)")"
done
key() { "${organ%/*}/checks/gguf_keys" "$1" | tr -d '\0' | awk -F'\t' -v key="$2" '$1 == key { print $NF }'; }
judge "labels of GGUF" test "$(key rank.gguf qwen3.classifier.output_labels)" = '["y","n"]'
judge "pooling" test "$(key rank.gguf qwen3.pooling_type)" = 4
judge "the list of templates" test "$(key rank.gguf tokenizer.chat_templates)" = '["rerank"]'
judge "the template" test "$(key rank.gguf tokenizer.chat_template.rerank | jq -r .)" = "$(cat template.txt)"
judge "tensors of GGUF" cmp -s <(names rank.gguf) <({ names qwen3.gguf | grep -vx output.weight; echo cls.output.weight; } | sort)
ends 0 vocabulary qwen3.gguf --labels y,n -o bare.gguf --quiet
prints "No template for reranking was given"

# ---- audits ----
for pair in "tiny-qwen2 scores" "qwen3 yes" "qwen3 no" "qwen3.gguf rank.gguf" "qwen3.gguf bare.gguf"; do
    # shellcheck disable=SC2086 # two words
    ends 0 audit $pair
    prints "Passed: "
done
ends 0 audit qwen3 yes --json --html audit.html
holds "the audit" '.schema == "organ.audit_labels/1" and ([.checks[].ok] | all) and .labels == ["y", "n"]' ../out
# damaged FILE COMMAND...: a copy of yes in which the command changes the file, whose text it reads, fails the audit, which says the last argument.
damaged() {
    rm -rf damaged && cp -r yes damaged
    "${@:2:$#-2}" <"yes/$1" >"damaged/$1"
    ends 1 audit qwen3 damaged --quiet
    says "${*: -1}"
}
damaged config.json sed 's/"0": "y"/"0": "n"/' "'id2label' is not that of the donor with the labels"
damaged config.json sed 's/Qwen3ForSequenceClassification/Qwen3ForCausalLM/' "'architectures' is not that"
damaged config.json sed 's/"rms_norm_eps": 1e-06/"rms_norm_eps": 1/' "'rms_norm_eps' is not that"
damaged config.json sed 's/^{/{"classifier_from_token": ["y"],/' "'classifier_from_token' is not that"
damaged organ/labels.json jq '.labels |= reverse' "bytes are not those of the labels' tokens"
damaged tokenizer.json jq '.model.vocab |= (to_entries | (.[5].value, .[6].value) |= 11 - . | from_entries)' "the tokenizer of damaged is not that of the donor"
damaged organ/labels.json jq '.labels[1].id += 1' "does not state the token"
# The template and its name are settings, too.
again() {
    sed "$1" rank.gguf >again.gguf && cp rank.labels.json again.labels.json
    ends 1 audit qwen3.gguf again.gguf --quiet
    says "$2"
}
again 's/Query: {query}/Query! {query}/' "'tokenizer.chat_template.rerank' is not that"
again 's/rerank\(.*Query: \)/rerang\1/' "is not that"
rm -rf damaged && cp -r no damaged && cp -f yes/organ/labels.json damaged/organ/
ends 1 audit qwen3 damaged --quiet
says "bytes are not those of the labels' tokens"

# ---- refusals leave nothing ----
refused 3 "'a b' has 3 tokens: a label is exactly one token" vocabulary qwen3 --labels "y,a b" -o made
refused 2 "'y' is the token of the label 'y' too" vocabulary qwen3 --labels y,n,y -o made
refused 2 "label 1 is no text in UTF-8" vocabulary qwen3 --labels $'y,\xff' -o made
refused 2 "has an empty label" vocabulary qwen3 --labels y,,n -o made
refused 2 "is one label" vocabulary qwen3 --labels y -o made
refused 2 "--output" vocabulary qwen3 --labels y,n
refused 2 "--text" vocabulary qwen3 --labels y,n --text template.txt -o made
refused 2 "--keep-all" vocabulary qwen3 --labels y,n --keep-all -o made
refused 2 "--multiple-of" vocabulary qwen3 --labels y,n --multiple-of 8 -o made
refused 2 "--rerank-template" vocabulary qwen3 --labels y,n --rerank-template template.txt -o made
refused 2 "--rerank-template" vocabulary tiny-qwen2 --text template.txt --rerank-template template.txt
refused 2 "config.json" vocabulary qwen3 --labels y,n -o made.safetensors
refused 3 "has a classifier already" vocabulary yes --labels y,n -o made
refused 3 "has a classifier already: tensor 'cls.output.weight'" vocabulary rank.gguf --labels y,n -o made.gguf
refused 3 "of the architectures qwen3 and qwen3vl, not of 'qwen2'" vocabulary tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --labels " the, and" -o made.gguf
printf 'no places' >wrong.txt
refused 3 "wrong.txt: is no text in UTF-8 with {query} and {document}" vocabulary qwen3.gguf --labels y,n --rerank-template wrong.txt -o made.gguf
# changed FILTER: a model with another config.json.
changed() {
    rm -rf changed && cp -r qwen3 changed
    jq "$1" qwen3/config.json >changed/config.json
}
changed '.architectures = ["CohereForCausalLM"] | .model_type = "cohere"'
refused 3 "no class with labels for CohereForCausalLM" vocabulary changed --labels y,n -o made
changed '.quantization_config = {quant_method: "fp8"}'
refused 3 "has packed weights (fp8)" vocabulary changed --labels y,n -o made
changed 'del(.pad_token_id, .eos_token_id)'
refused 3 "has no token that fills or ends texts" vocabulary changed --labels y,n -o made
(cd "$root" && build/checks/arch_model gemma2 "$scratch/area/gemma2") >../out 2>&1 || bad "gemma2 cannot be made" ../out
cp qwen3/tokenizer.json gemma2/
refused 3 "limits (final_logit_softcapping)" vocabulary gemma2 --labels y,n -o made
jq '.model.unk_token = "!" | .model.byte_fallback = false | .pre_tokenizer = null | .normalizer = null' qwen3/tokenizer.json >changed/tokenizer.json
cp qwen3/config.json changed/
refused 3 "'界' is no token of changed" vocabulary changed --labels y,界 -o made
finish
