#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ evaluate of models with different vocabularies: figures, windows, reports, errors. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
q8=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
head -c 6000 tiny-qwen2/calibration.txt >text.txt
head -c 3000 tiny-qwen2/heldout.txt >other.txt
cp -rL "${model%/*}/tiny-llama" llama && chmod -R u+w llama
across=(--text other.txt --context 64 --json --quiet)

# holds CONDITION...: each is true of the last document. figure PATH: its value.
holds() { for condition in "$@"; do judge "not: $condition" test "$(jq "$condition" ../out)" = true; done; }
figure() { jq "$1" ../out; }
# alike A B: two figures differ by at most a billionth.
alike() { judge "$1 is not $2" awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d <= 1e-9 && d >= -1e-9) }'; }

# ---- a model with fewer tokens: its logits are those of the donor ----
ends 0 vocabulary tiny-qwen2 --text text.txt -o small --quiet
ends 0 evaluate tiny-qwen2 small "${across[@]}"
cp ../out saved.json
jq 'del(.run)' ../out >../whole
holds '.schema == "organ.vocabularies/1"' '.models[0].comparison == null' '.models[1].comparison.why_not == null' '.experiment.leads' \
    '.models[1].comparison.kept | .kl_divergence == 0 and .top1_agreement == 1 and .dropped > 0.01 and .dropped_most < 1 and .dropped_most > .dropped' \
    '.models[1].comparison | .more_tokens_percent > 0 and .difference_error > 0' \
    '.models[1].comparison.kept.tokens == .models[1].tokenizer.vocabulary' '.experiment.windows > 5'
for option in "--threads 3" "--memory 40M"; do
    # shellcheck disable=SC2086 # two words
    ends 0 evaluate tiny-qwen2 small "${across[@]}" $option
    judge "$option changes the document" cmp -s <(jq 'del(.run)' ../out) ../whole
done
ends 0 evaluate tiny-qwen2 small "${across[@]}" --max-tokens 40
jq 'del(.run)' ../out >../few
ORGAN_ISA=scalar ends 0 evaluate tiny-qwen2 small "${across[@]}" --max-tokens 40
judge "the ISA changes the document" cmp -s <(jq 'del(.run)' ../out) ../few
ends 0 report saved.json -o saved.html
judge "the page has no table" grep -q "</table>" saved.html

# Texts with kept tokens alone have the same tokens; one window of them is that of organ perplexity.
head -c 500 text.txt >known.txt
one=(--text known.txt --context 1024 --json --quiet)
ends 0 evaluate tiny-qwen2 small "${one[@]}"
holds '.experiment.windows == 1' '.models[0].figures.tokens_scored == .models[1].figures.tokens_scored' '.models[1].comparison.more_tokens_percent == 0' \
    '.models[0].figures.bits_per_byte_error == null'
donor=$(figure '.models[0].figures.bits_per_byte') made=$(figure '.models[1].figures.bits_per_byte')
ends 0 perplexity tiny-qwen2 "${one[@]}"
alike "$donor" "$(figure '.models[0].figures.bits_per_byte')"
ends 0 perplexity small "${one[@]}"
alike "$made" "$(figure '.models[0].figures.bits_per_byte')"
judge "a model without the tokens is not surer of the others" awk "BEGIN { exit !($made < $donor) }"

# A GGUF file, and padding rows.
ends 0 vocabulary $q8 --text text.txt -o small.gguf --quiet
ends 0 evaluate $q8 small.gguf "${across[@]}"
holds '.models[1].comparison.kept | .kl_divergence == 0 and .dropped > 0.01'
printf 'merge_method: passthrough\nmodels: [{model: llama}]\ntokenizer: {source: union, pad_to_multiple_of: 5}\n' >pad.yaml
ends 0 merge pad.yaml -o padded --quiet
ends 0 evaluate padded llama "${one[@]}"
holds '.models[1].comparison.kept | .kl_divergence == 0 and .dropped > 0'
padded=$(figure '.models[1].figures.bits_per_byte')
ends 0 perplexity llama "${one[@]}"
alike "$padded" "$(figure '.models[0].figures.bits_per_byte')"

# ---- the donor has fewer tokens; another kind of tokenizer; several models ----
ends 0 evaluate small tiny-qwen2 "${across[@]}"
holds '.models[1].comparison | .kept == null and (.why_not | test("is none of small"))'
alike "$(figure '.models[1].comparison.difference')" "$(jq '-.models[1].comparison.difference' saved.json)"
ends 0 evaluate llama tiny-qwen2 small "${across[@]}"
holds '.models | length == 3' '[.models[].figures.bits_per_byte > 0] | all' '[.models[1:][].comparison.kept == null] | all' \
    '.models[1].figures.tokens_scored != .models[0].figures.tokens_scored'

# ---- windows: some, the first tokens, a plan ----
all=$(jq .experiment.windows saved.json)
ends 0 evaluate tiny-qwen2 small "${across[@]}" --max-windows 4
holds '.experiment | .windows == 4 and .text_windows == '"$all" '.definitions.errors | test("spread")' '.models[1].comparison.kept.kl_divergence == 0'
ends 0 evaluate tiny-qwen2 small "${across[@]}" --max-tokens 200
holds '.experiment.bytes_scored < 1000' '.models[0].figures.tokens_scored <= 200'
ends 0 evaluate tiny-qwen2 small "${across[@]}" -n
holds '.dry_run and .plan.products > 0 and .plan.memory_enough > 0' '.models | length == 2' '.models[0].figures == null'
ends 0 evaluate tiny-qwen2 small --text other.txt --context 64 -n --quiet
prints "Dry run, nothing was scored."

# ---- reports ----
ends 0 evaluate tiny-qwen2 small --text other.txt --context 64 -o out --quiet
prints "bits/byte"
prints "dropped %"
judge "the report is another one" cmp -s <(jq 'del(.run, .seal)' out/vocabularies.json) <(jq 'del(.run, .seal)' saved.json)
judge "Markdown" grep -q "Tokens of the donor" out/VOCABULARIES_REPORT.md
ends 0 evaluate tiny-qwen2 small --text other.txt --context 64
judge "there is no note" grep -q "small has another tokenizer than tiny-qwen2.*the models are compared by bits per byte" ../err
ends 0 evaluate tiny-qwen2 small --text other.txt --context 64 --csv --quiet
judge "CSV" test "$(wc -l <../out)" = 3

# ---- refusals ----
words=(evaluate tiny-qwen2 small --text other.txt --context 64)
refused 2 "--mtp compares models with one vocabulary" "${words[@]}" --mtp
refused 2 "--select compares models with one vocabulary" "${words[@]}" --select '*'
refused 2 "--experiment compares models with one vocabulary" "${words[@]}" --experiment a=small
refused 2 "--style llama.cpp compares models with one vocabulary" "${words[@]}" --style llama.cpp
refused 2 "--max-error compares models with one vocabulary" "${words[@]}" --max-error 1
refused 3 "has another tokenizer than tiny-qwen2" perplexity tiny-qwen2 --compare small --text other.txt
printf 'a text \xff with other bytes\n' >binary.txt
refused 3 "binary.txt: is no text in UTF-8 (byte 7 is 0xff)" evaluate tiny-qwen2 small --text binary.txt
printf 'x' >short.txt
refused 3 "short.txt: is too short" evaluate tiny-qwen2 small --text short.txt
cp -rL small bare && rm bare/tokenizer.json
refused 3 "bare" evaluate tiny-qwen2 bare --text other.txt
refused 3 "another tokenizer" evaluate tiny-qwen2 small --tasks "${model%/*}/tasks/tasks.jsonl"
# BOS is a token of padding, which no token of the first model is.
ends 0 vocabulary $q8 --text text.txt -o named.gguf --quiet
jq -c '[(.model.vocab | to_entries[]), (.added_tokens[] | {key: .content, value: .id})] | unique_by(.value) | map(.key) | .[-1] = "[PAD\(length - 1)]"' \
    small/tokenizer.json >tokens.json
jq -c 'map(1) | .[-1] = 5' tokens.json >types.json
ends 0 gguf edit named.gguf -o padded.gguf --metadata tokenizer.ggml.tokens=@tokens.json --metadata tokenizer.ggml.token_type=@types.json \
    --metadata tokenizer.ggml.bos_token_id:uint32="$(jq 'length - 1' tokens.json)" --metadata tokenizer.ggml.add_bos_token=true --quiet
ends 0 evaluate $q8 padded.gguf --text other.txt --context 64 --json
judge "windows with a token of padding are compared" test "$(jq -r '.models[1].comparison.why_not' ../out)" = "its windows have a token without a text"
# A tokenizer that changes the text.
cp -rL llama lower && rm lower/tokenizer_config.json
jq '.normalizer = {type: "Lowercase"}' llama/tokenizer.json >lower/tokenizer.json
refused 3 "other.txt: the tokens of lower do not spell its bytes" evaluate tiny-qwen2 lower --text other.txt -o none
judge "an output is left" test ! -e none
finish
