#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests how much of a text perplexity and evaluate score (--max-error, --max-tokens), the plan before the work, the dry runs of evaluate, and the windows
# that progress counts.
. "$(dirname "$0")/../../kit/cli_kit.sh"
ln -s "${model%/*}/tiny-llama" tiny-llama
ln -s "${model%/*}/tasks" tasks
text=tiny-llama/heldout.txt
small=(--text $text --context 16)
# figures FILE: all that does not depend on why the run ended, or on the machine.
figures() { jq 'del(.run, .ended)' "$1"; }

# ---- the end by an error: after whole blocks of 8192 tokens; --max-tokens of the used tokens gives the same document ----
ends 0 perplexity tiny-llama "${small[@]}" --max-error 2.1 --json --quiet --threads 1 --memory 16M
cp ../out error.json
holds error.json '.ended == {by: "max_error", max_error_percent: 2.1, error_percent: .ended.error_percent}' \
    '.ended.error_percent <= 2.1 and .ended.error_percent > 1.5' '.experiment.tokens_used == 16384' '.experiment.windows == 1024' \
    '.experiment.text.tokens > 40000' '(.models[0].figures.nll_error * 100 - .ended.error_percent | fabs) < 1e-9'
ends 0 perplexity tiny-llama "${small[@]}" --max-tokens 16384 --json --quiet
holds ../out '.ended.by == "max_tokens" and .ended.max_error_percent == null' '.ended.error_percent <= 2.1'
judge "the same tokens have other figures" diff <(figures error.json) <(figures ../out)
ends 0 perplexity tiny-llama "${small[@]}" --style lm-eval --max-error 99 --quiet --json
cp ../out error.json
holds error.json '.ended.by == "max_error" and .experiment.tokens_used == 8192'
ends 0 perplexity tiny-llama "${small[@]}" --style lm-eval --max-tokens 8192 --quiet --json
judge "the same tokens have other figures in style lm-eval" diff <(figures error.json) <(figures ../out)

# ---- a text shorter than a block is used whole, whatever the error; --max-error 0 never ends before the text ----
head -c 1500 $text >short.txt
ends 0 perplexity tiny-llama --text short.txt --context 16 --max-error 99 --json --quiet
holds ../out '.ended.by == "text" and .experiment.tokens_used == .experiment.text.tokens'
ends 0 perplexity tiny-llama --text short.txt --context 16 --max-error 0 --json --quiet
holds ../out '.ended == {by: "text", max_error_percent: null, error_percent: .ended.error_percent}'
ends 0 perplexity tiny-llama "${small[@]}" -n --max-error 0
prints "Time: about"
judge "a whole text is expected to end earlier" bash -c '! grep -q max-error ../out'
refused 2 --max-error perplexity tiny-llama --text short.txt --max-error -1
refused 2 --max-error perplexity tiny-llama --text short.txt --max-error much
ends 0 evaluate tiny-llama tiny-llama --text short.txt --context 16 --json --quiet
holds ../out '.ended == {by: "text", max_error_percent: 0.5, error_percent: 0}'

# ---- the plan of a long run is a note before the work begins, but not with --json ----
# begun ARGS...: interrupts a run after its stage has begun; what it has shown until then is in ../err.
begun() {
    here="organ $*, interrupted"
    env --default-signal=INT "$organ" "$@" --progress json >../out 2>../err </dev/null &
    runner=$!
    has_begun() { grep -q '"event":"begin"' ../err || is_over; }
    await has_begun
    kill -INT $runner
    wait $runner
    code=$?
    judge "ends with $code instead of 130" test $code = 130
}
begun perplexity tiny-llama "${small[@]}" --max-error 0.1
jq -s . ../err >../events
holds ../events '.[0].event == "note" and (.[0].text | test("^plan: 1 model, .*--max-error.* memory$"))'
begun perplexity tiny-llama "${small[@]}" --max-error 0 --json
jq -s . ../err >../events
holds ../events '[.[] | select(.event == "note")] == []'

# ---- dry runs of evaluate ----
ends 0 evaluate tiny-llama tiny-llama "${small[@]}" -o none -n
prints "Dry run, nothing was scored."
prints "tiny-llama (LlamaForCausalLM"
prints "is enough"
prints "a standard error of 0.5 % is expected"
judge "a dry run wrote something" test ! -e none
ends 0 evaluate tiny-llama tiny-llama --text short.txt --context 16 -n --json --quiet
holds ../out '.dry_run and .plan.products > 0 and .plan.memory_enough > 0 and .run.plan.seconds > 0' '.experiment.windows == .run.plan.windows' '.models | length == 2'
ends 0 evaluate tiny-llama tiny-llama --text short.txt --context 16 -n --memory 8M
prints "--memory 8M is too little: the run would end with an"
ends 0 evaluate tiny-llama --tasks tasks/long.jsonl -n
prints "Dry run, nothing was scored."
prints "tokens to score"
for kind in --text:short.txt --tasks:tasks/long.jsonl; do
    words=(evaluate tiny-llama tiny-llama "${kind%%:*}" "${kind#*:}" --context 64)
    refused 4 missing "${words[@]}" -o missing/none -n
    refused 4 gone.txt "${words[@]:0:4}" gone.txt -n
    refused 4 gone "${words[@]:0:2}" gone "${words[@]:3}" -n
    refused 3 tiny-qwen2 "${words[@]:0:2}" tiny-qwen2 "${words[@]:3}" -n
done
printf 'merge_method: passthrough\nmodels: [{model: tiny-llama}]\ntokenizer: {source: union, pad_to_multiple_of: 5}\n' >pad.yaml
ends 0 merge pad.yaml -o padded --quiet
for dry in "" -n; do
    # shellcheck disable=SC2086 # no word for no option
    refused 3 "logits per token" evaluate tiny-llama padded --text short.txt --context 16 $dry
done

# ---- progress counts windows and chunks ----
ends 0 perplexity tiny-llama --text short.txt --context 64 --progress json --threads 1
windows=$(jq -r 'select(.event == "begin") | "\(.unit) \(.tensors)"' ../err)
judge "the stage counts '$windows'" test "$windows" = "windows $(jq -r 'select(.event == "advance" and .tensor == "window") | 1' ../err | wc -l)"
ends 0 imatrix tiny-llama --calibration short.txt --context 64 -o sums.gguf --progress json
windows=$(jq -r 'select(.event == "begin") | "\(.unit) \(.tensors)"' ../err)
judge "the stage counts '$windows'" test "$windows" = "chunks $(jq -r 'select(.event == "advance" and (.tensor // "" | startswith("chunk"))) | 1' ../err | wc -l)"
finish
