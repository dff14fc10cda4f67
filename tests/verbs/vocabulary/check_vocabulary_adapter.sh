#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests adapters for a base with fewer tokens (organ vocabulary ADAPTER --tokens): trimming after merging gives the bytes of merging after trimming; rows,
# forms, refusals. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/verbs/tensors_kit.sh"
holds() { judge "$1" test "$(jq "$2" "$3")" = true; }

# chosen REPORT: of lines on standard input those of the kept ids.
chosen() { awk 'NR == FNR {kept[$1 + 1]; next} FNR in kept' <(jq '.kept[]' "$1") -; }

# ---- a small model with a head of its own, and an adapter of its embedding and head ----
head -c 6000 tiny-qwen2/calibration.txt >text.txt
untied_base base
mkdir adapter
of=base_model.model.model
bf16 $of.embed_tokens.lora_embedding_A 4,2048 $of.embed_tokens.lora_embedding_B 16,4 $of.layers.0.self_attn.q_proj.lora_A.weight 4,16 \
    $of.layers.0.self_attn.q_proj.lora_B.weight 16,4 base_model.model.lm_head.lora_A.weight 4,16 base_model.model.lm_head.lora_B.weight 2048,4 |
    safetensors 90000 >adapter/adapter_model.safetensors
cat >adapter/adapter_config.json <<'JSON'
{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["embed_tokens", "q_proj", "lm_head"], "base_model_name_or_path": "base"}
JSON
cp tiny-qwen2/tokenizer.json adapter/ && echo '{}' >adapter/special.json

# ---- merged and trimmed is trimmed and merged ----
ends 0 vocabulary base --text text.txt -o small --quiet
list=small/organ/vocabulary.json count=$(jq '.kept | length' small/organ/vocabulary.json)
ends 0 vocabulary adapter --tokens $list --target base -o little --quiet
prints "Trimmed adapter"
report=little/organ/adapter_rows.json
holds "the tensors with rows" '[.tensors[] | [.use, .rows_before, .rows]] | sort == [["embedding", 2048, '"$count"'], ["head", 2048, '"$count"']]' $report
holds "the others" '.copied == 4 and .rows == '"$count"' and .rows_before == 2048' $report
ends 0 lora merge --base base --adapter adapter -o merged --quiet
ends 0 vocabulary merged --tokens $list -o merged-small --quiet
ends 0 lora merge --base small --adapter little -o small-merged --quiet
ends 0 compare merged-small small-merged --json --quiet
judge "merged and trimmed is not trimmed and merged" test "$(jq -c '.pairs[0] | [.tensors, .distance, .equal]' ../out)" = "[9,0,1]"
judge "and their sizes" test "$(jq -c '[.models[].values] | unique | length' ../out)" = 1
ends 0 compare merged-small small --json --quiet
judge "the adapter does not change embedding and head" test "$(jq '[.pairs[0].roles[] | select(.equal < 1)] | length' ../out)" -ge 3

# ---- the values, by themselves ----
name=$of.embed_tokens.lora_embedding_A
judge "columns of the embedding" cmp -s <(columns adapter $name 2048 | chosen $list) <(columns little $name "$count")
judge "rows of the head" cmp -s <(rows adapter base_model.model.lm_head.lora_B.weight 8 | chosen $list) <(rows little base_model.model.lm_head.lora_B.weight 8)
for name in $of.embed_tokens.lora_embedding_B $of.layers.0.self_attn.q_proj.lora_A.weight $of.layers.0.self_attn.q_proj.lora_B.weight \
    base_model.model.lm_head.lora_A.weight; do
    judge "$name" cmp -s <(rows adapter $name 8) <(rows little $name 8)
done
judge "the settings" cmp -s <(jq -S . adapter/adapter_config.json) <(jq -S . little/adapter_config.json)
judge "the tokenizer of more tokens is copied" test ! -e little/tokenizer.json -a -e little/special.json
ends 0 lora merge --base small --adapter little -o none --dry-run --quiet
ends 0 report $report -o page.html

# ---- audits ----
ends 0 audit adapter little --json
holds "the audit" '.schema == "organ.audit_rows/1" and .kind == "adapter" and .tensors == 6 and .identical == 6 and ([.checks[].ok] | all)' ../out
# damaged SAYS COMMAND...: a copy that the command changes fails.
damaged() {
    rm -rf damaged && cp -r little damaged
    "${@:2}"
    ends 1 audit adapter damaged --quiet
    says "$1"
}
changed() { jq "$2" "little/$1" >"damaged/$1"; }
swapped() { { head -c -2 little/adapter_model.safetensors && printf '\1\2'; } >damaged/adapter_model.safetensors; }
damaged "bytes are not those of" swapped
damaged "adapter_config.json of damaged is not that of the donor" changed adapter_config.json '.lora_alpha = 9'
damaged "has another type or shape" changed organ/adapter_rows.json '.kept |= .[1:]'
damaged "bytes are not those of the kept rows" changed organ/adapter_rows.json ".kept = ([range(2048)] - [.kept[7]] | .[:$count])"

# ---- without the tokenizer, a dry run, an interrupted run ----
ends 0 vocabulary adapter --tokens $list -o untold --quiet
judge "without --target: other bytes" cmp -s little/adapter_model.safetensors untold/adapter_model.safetensors
was=$(inventory)
ends 0 vocabulary adapter --tokens $list -n --json
holds "a dry run" '.dry_run and (.tensors | length == 2)' ../out
judge "a dry run writes" test "$(inventory)" = "$was"
refused 2 "little" vocabulary adapter --tokens $list -o little
refused 2 "adapter" vocabulary adapter --tokens $list -o adapter --force
interrupted INT resumed vocabulary adapter --tokens $list -o resumed
judge "the run was not interrupted" test "$code" = 130
ends 0 vocabulary adapter --tokens $list -o resumed --resume --quiet
judge "a resumed run writes other bytes" cmp -s little/adapter_model.safetensors resumed/adapter_model.safetensors

# ---- tensors that are stored whole; other forms ----
# variant NAME SHAPE...: an adapter of q_proj and of these tensors.
variant() {
    rm -rf variant && mkdir variant
    bf16 $of.layers.0.self_attn.q_proj.lora_A.weight 4,16 $of.layers.0.self_attn.q_proj.lora_B.weight 16,4 "$@" |
        safetensors 200000 >variant/adapter_model.safetensors
    cp adapter/adapter_config.json variant/
}
whole=base_model.model.lm_head.modules_to_save.default.weight
variant $whole 2048,16 base_model.model.lm_head.bias 2048
ends 0 vocabulary variant --tokens $list -o saved --quiet
judge "rows of a head that is stored whole" cmp -s <(rows variant $whole 32 | chosen $list) <(rows saved $whole 32)
judge "values of a bias" cmp -s <(rows variant base_model.model.lm_head.bias 2 | chosen $list) <(rows saved base_model.model.lm_head.bias 2)
holds "their uses" '[.tensors[].use] | sort == ["head", "head bias"]' saved/organ/adapter_rows.json
mkdir turned
bf16 model.embed_tokens.lora_a 2048,4 model.embed_tokens.lora_b 4,16 lm_head.lora_a 16,4 lm_head.lora_b 4,2048 | safetensors 200000 >turned/adapters.safetensors
echo '{"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 4, "scale": 2.0, "dropout": 0.0}}' >turned/adapter_config.json
ends 0 vocabulary turned --tokens $list -o turned-small --quiet
judge "mlx-lm: rows of the embedding" cmp -s <(rows turned model.embed_tokens.lora_a 8 | chosen $list) <(rows turned-small model.embed_tokens.lora_a 8)
judge "mlx-lm: columns of the head" cmp -s <(columns turned lm_head.lora_b 2048 | chosen $list) <(columns turned-small lm_head.lora_b "$count")
judge "mlx-lm: settings" cmp -s <(jq -S . turned/adapter_config.json) <(jq -S . turned-small/adapter_config.json)
ends 0 audit turned turned-small --quiet
ends 0 convert base -o base.gguf --to gguf --quiet
ends 0 convert small -o small.gguf --to gguf --quiet
ends 0 lora sanitize adapter --base base.gguf -o gguf --to gguf --quiet
ends 0 vocabulary gguf/adapter_model.gguf --tokens $list -o gguf-small --quiet
ends 0 lora sanitize little --base small.gguf -o small-gguf --to gguf --quiet
judge "GGUF: other bytes" cmp gguf-small/adapter_model.gguf small-gguf/adapter_model.gguf
ends 0 audit gguf gguf-small --quiet

# ---- refusals ----
refused 2 "is an adapter: --tokens names the report" vocabulary adapter --text text.txt -o none
refused 2 "is an adapter, which has no tokens of its own: it excludes --text" vocabulary adapter --tokens $list --text text.txt -o none
refused 2 "it excludes --keep-all" vocabulary adapter --tokens $list --keep-all -o none
refused 2 "is an adapter: --output is missing" vocabulary adapter --tokens $list
refused 2 "an adapter is a directory" vocabulary adapter --tokens $list -o none.gguf
variant $of.embed_tokens.lora_embedding_A 4,2048 $of.embed_tokens.lora_embedding_B 16,4 $of.embed_tokens.lora_magnitude_vector 16
refused 3 "DoRA of an embedding has norms over all tokens" vocabulary variant --tokens $list -o none
variant
refused 3 "fits the smaller model as it is" vocabulary variant --tokens $list -o none
echo '{"kept": [0, 1]}' >bare.json
refused 3 "has no number of rows" vocabulary adapter --tokens bare.json -o none
jq 'del(.kept)' $list >none.json
refused 3 "has no list 'kept'" vocabulary adapter --tokens none.json -o none
jq '.kept |= reverse' $list >wrong.json
refused 3 "ids ascend" vocabulary adapter --tokens wrong.json -o none
jq '.vocabulary.rows = 2000 | .kept |= map(select(. < 2000))' $list >other.json
refused 3 "is a matrix of 2048 x 16, but the model of other.json has 2000 tokens" vocabulary adapter --tokens other.json -o none
cp -r base strange
jq '.model.vocab |= (to_entries | (.[5].value, .[6].value) |= 11 - . | from_entries)' base/tokenizer.json >strange/tokenizer.json
refused 3 "is a list of another tokenizer" vocabulary adapter --tokens $list --target strange -o none
variant base_model.model.other.weight 2048,16
refused 3 "may have a row for each of the 2048 tokens, but is not known" vocabulary variant --tokens $list -o none
jq '.trainable_token_indices = [5]' adapter/adapter_config.json >variant/adapter_config.json
refused 3 "trainable_token_indices names tokens by ids" vocabulary variant --tokens $list -o none
finish
