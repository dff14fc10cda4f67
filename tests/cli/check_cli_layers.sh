#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ layers: output, reports, exit codes, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

fixtures=$(dirname "$model")
ln -s "$fixtures/tiny-moe" tiny-moe
gguf=$fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
text=tiny-qwen2/calibration.txt
searched=(--calibration "$text" --context 64 --search-tokens 640)
short=(--refit --calibration "$text" --samples 8 --context 64)

# Succeeds if a tensor of the output has the bytes of a tensor of the donor.
same_bytes() { # MODEL OUT NAME_BEFORE NAME_AFTER
    test "$($organ inspect "$1" --tensors --json | jq -c --arg n "$3" '.tensors[] | select(.name == $n) | [.dtype, .shape]')" = \
        "$($organ inspect "$2" --tensors --json | jq -c --arg n "$4" '.tensors[] | select(.name == $n) | [.dtype, .shape]')"
}

# ---- blocks named by --drop ----
ends 0 layers tiny-qwen2 -o named --drop 1,3 --quiet
matches layers/layers_named ../out
matches layers/LAYERS_REPORT named/organ/LAYERS_REPORT.md
judge "no page beside the report" grep -q "</html>" named/organ/LAYERS_REPORT.html
judge "words of the page were not filled in" test "$(grep -cE '\{[a-z_.]+[?]' named/organ/LAYERS_REPORT.html)" = 0
judge "config.json has another number of layers" test "$(jq .num_hidden_layers named/config.json)" = 2
judge "tokenizer.json did not come along" cmp -s tiny-qwen2/tokenizer.json named/tokenizer.json
judge "layer 2 has another type or shape" same_bytes tiny-qwen2 named model.layers.2.mlp.up_proj.weight model.layers.1.mlp.up_proj.weight
judge "the wrong blocks stay" test "$(jq -c '[.layers[].becomes]' named/organ/layers.json)" = '[0,null,1,null]'
ends 0 inspect named
prints "No problems found"
ends 0 perplexity named --text "$text" --max-tokens 200 --context 64 --quiet
prints perplexity
ends 0 layers tiny-qwen2 -o range --drop 1-2 --quiet
prints "2 of 4 blocks were dropped: 1-2."
ends 0 layers tiny-qwen2 -o one --drop 1, --quiet
prints "1 of 4 blocks were dropped: 1."
ends 0 layers tiny-qwen2 -o same --drop 1-1 --quiet
judge "1, and 1-1 are not the same" cmp -s one/model.safetensors same/model.safetensors
ends 0 layers "$gguf" -o small.gguf --drop 0-1 --quiet
prints "qwen2.block_count"
ends 0 inspect small.gguf
prints "No problems found"
ends 0 layers tiny-moe -o moe --drop 2-2 --quiet
judge "config.json of the mixture has another number of layers" test "$(jq .num_hidden_layers moe/config.json)" = 3

# ---- blocks found by the search ----
ends 0 layers tiny-qwen2 -o found --drop 2 "${searched[@]}" --scores scores.json --quiet
matches layers/layers_found ../out
judge "the bars of the blocks have no names" grep -q ">block 3</text>" found/organ/LAYERS_REPORT.html
judge "not all sets of two blocks were judged" test "$(jq '.search.sets | length' found/organ/layers.json)" = 6
judge "another set is nearer" \
    test "$(jq '.search.divergence == ([.search.sets[].divergence] | min)' found/organ/layers.json)" = true
judge "scores are not those of the report" \
    test "$(jq -c '[.sets[].divergence] | sort' scores.json)" = "$(jq -c '[.search.sets[].divergence] | sort' found/organ/layers.json)"
cp scores.json kept.json
ends 0 layers tiny-qwen2 -o again --drop 2 "${searched[@]}" --scores scores.json --threads 1 --json
judge "another document by a file of scores" \
    test "$(jq -c .search ../out)" = "$(jq -c .search found/organ/layers.json)"
judge "what was known was measured again" cmp -s kept.json scores.json
if ! in_part; then
    ends 0 layers tiny-qwen2 -o three --drop 3 "${searched[@]}" --scores scores.json --memory 64M --quiet
    judge "sets of three were not added" test "$(jq '.sets | length' scores.json)" = 10
fi
ends 0 layers tiny-qwen2 -o least --drop 2 "${searched[@]}" --rounds 0 --json
judge "influence alone judges more than one set" test "$(jq .search.judged ../out)" = 1
judge "the blocks of least influence did not go" test "$(jq -c .dropped ../out)" = '[1,2]'

# A killed search has stored its rounds; the next run continues and finds the same blocks.
$organ layers tiny-qwen2 -o killed --drop 2 "${searched[@]}" --scores part.json --threads 1 >../out 2>../err &
pid=$!
await test -s part.json
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
judge "a killed search has kept nothing" test -s part.json
rm -rf killed .killed.organ-partial
ends 0 layers tiny-qwen2 -o killed --drop 2 "${searched[@]}" --scores part.json --json
judge "a killed search ends elsewhere" test "$(jq -c .search ../out)" = "$(jq -c .search found/organ/layers.json)"

# ---- healed blocks ----
ends 0 layers tiny-qwen2 -o healed --drop 1-1 "${short[@]}" --threads 1 --quiet
sampled || matches layers/layers_healed ../out
if ! sampled; then # with --scratch a sanitized program heals blocks of GGUF
    ends 0 layers tiny-qwen2 -o threads --drop 1-1 "${short[@]}" --scratch . --threads 3 --quiet
    judge "other bytes by more threads and with --scratch" cmp -s healed/model.safetensors threads/model.safetensors
fi
judge "nothing was healed" test "$(jq '[.heal.parts[] | select(.step > 0)] | length > 0' healed/organ/layers.json)" = true
ends 0 audit tiny-qwen2 healed --refitted
prints "Passed: the copy"
ends 0 audit tiny-qwen2 healed
prints "Refitted weights were compared with the digests of organ/layers.json"
prints "Passed: the copy equals the donor without the removed parts, with"
refits_are_audited tiny-qwen2 healed model.norm.weight
ends 0 audit tiny-qwen2 one
prints "Passed: the copy"
judge "healed weights are those of the donor" test ! "$(cmp -s healed/model.safetensors one/model.safetensors && echo same)"
if ! sampled; then
    ends 0 perplexity healed --compare one --text tiny-qwen2/heldout.txt --max-tokens 3000 --context 128 --json
    judge "healing made it worse" test "$(jq '.models[0].figures.perplexity < .models[1].figures.perplexity' ../out)" = true
fi
ends 0 layers tiny-moe -o moe_healed --drop 1-1 --refit --calibration tiny-moe/calibration.txt --samples 8 --context 64 --json
judge "nothing of the mixture was healed" test "$(jq '[.heal.parts[] | select(.step > 0)] | length > 0' ../out)" = true

# Judging takes a bounded time: with more blocks or less text, solutions are judged on fewer tokens (256 were held out).
ends 0 layers "$fixtures/tiny-llama" -o no --drop 1-1 --refit --calibration "$fixtures/tiny-llama/calibration.txt" --samples 16 --context 64 --dry-run --json
judge "judging takes more than three passes of the text" test "$(jq .heal.judged_tokens ../out)" = 128

# ---- norms behind the projections ----
# A norm of the outputs is solved through (Gemma 3, OLMo 2), a factor too (Granite); behind a mixture of experts it is not.
for type in gemma3_text olmo2 granite flex_olmo; do
    (cd "${organ%/build/organ}" && build/checks/arch_model $type "$scratch/area/$type") >../out 2>&1 || bad "$type cannot be made" ../out
    ends 0 layers $type -o $type-healed --drop 1-1 --refit --calibration "$text" --samples 8 --context 48
    grep -q "3 output projections stayed as in the model, because a norm" ../out
    judge "$type: the report says something else of projections that are not refitted" test $? = "$([[ $type == flex_olmo ]]; echo $?)"
    judge "$type: nothing was healed" test "$(jq '.heal.kl < 0.9 * .heal.kl_before' $type-healed/organ/layers.json)" = true
    judge "$type: no output projection was refitted" test "$(jq '[.heal.parts[] | select(.step > 0 and (.part | test("output")))] | length > 0' \
        $type-healed/organ/layers.json)" = true
    judge "$type: other parts are skipped" test "$(jq -c '[.heal.parts[] | select(.skipped) | .part] | unique' $type-healed/organ/layers.json)" = \
        "$([[ $type == flex_olmo ]] && echo '["feed-forward output"]' || echo '[]')"
    rm -rf $type $type-healed
done

judge "the final norm is not the last that was healed" test "$(jq -c '.heal.parts[-1] | [.layer, .part, .times > 0.5 and .times <= 1]' healed/organ/layers.json)" = \
    '[null,"final norm",true]'
judge "a part made the whole model worse" test "$(jq '[.heal.kl_before, .heal.parts[].kl] | . == (sort | reverse)' healed/organ/layers.json)" = true
# Block 1 adds nothing to the hidden states, so healing cannot improve the model without it.
ends 0 prune tiny-qwen2 -o idle --method magnitude --sparsity 99.9999 --select 'model.layers.1.*.[od]*_proj.weight' --quiet
ends 0 layers idle -o idle_plain --drop 1-1 --quiet
ends 0 layers idle -o idle_healed --drop 1-1 --refit --calibration "$text" --samples 4 --context 32 --quiet
prints "lowered the divergence from the whole model, 0 nats"
judge "a heal that lowers nothing says something else" test "$(jq '.heal | .lower == false and .kl_before == 0 and .kl == 0' idle_healed/organ/layers.json)" = true
judge "a heal that lowers nothing was written" cmp -s idle_plain/model.safetensors idle_healed/model.safetensors

# ---- healed blocks of GGUF ----
perplexity_of() { "$organ" perplexity "$1" --text tiny-qwen2/heldout.txt --max-tokens 3000 --context 128 --json 2>/dev/null | jq '.models[0].figures.perplexity'; }
ends 0 quantize tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf -o q4.gguf --scheme q4_0 --quiet
ln -s "$gguf" q8.gguf
names="q8 q4" kept=
if in_part; then names=q8; fi
if sampled; then kept="--scratch ."; fi
for name in $names; do
    ends 0 layers $name.gguf -o $name-plain.gguf --drop 1-1 --quiet
    # shellcheck disable=SC2086 # words
    ends 0 layers $name.gguf -o $name-healed.gguf --drop 1-1 "${short[@]}" $kept --threads 1 --quiet
    if ! sampled; then
        plain=$(perplexity_of $name-plain.gguf)
        judge "healing $name made it worse than $plain" test "$(jq -n "$plain > 1.05 * $(perplexity_of $name-healed.gguf)")" = true
    fi
    ends 0 audit $name.gguf $name-healed.gguf --quiet
    prints "compared with the digests of $name-healed.layers.json"
    prints "Passed: the copy"
done
if ! in_part; then # as the healed layers of safetensors
    ends 0 layers q8.gguf -o q8-threads.gguf --drop 1-1 "${short[@]}" --threads 3 --scratch . --quiet
    judge "other blocks by more threads and with --scratch" cmp q8-healed.gguf q8-threads.gguf
    interrupted KILL q8-resumed.gguf layers q8.gguf -o q8-resumed.gguf --drop 1-1 "${short[@]}" --threads 1
    ends 0 layers q8.gguf -o q8-resumed.gguf --drop 1-1 "${short[@]}" --resume --quiet
    judge "a resumed run has other blocks" cmp q8-healed.gguf q8-resumed.gguf
    judge "a resumed run tells something else" test "$(jq -c .heal q8-healed.layers.json)" = "$(jq -c .heal q8-resumed.layers.json)"
fi

# ---- interrupted and resumed ----
interrupted INT resumed layers tiny-qwen2 -o resumed --drop 1-1 "${short[@]}" --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
judge "a half model is under the final name" test ! -e resumed
refused 2 "--resume" layers tiny-qwen2 -o resumed --drop 1-1 "${short[@]}"
ends 2 layers tiny-qwen2 -o resumed --drop 2-2 "${short[@]}" --resume
says "unfinished run"
ends 0 layers tiny-qwen2 -o resumed --drop 1-1 "${short[@]}" --resume
judge "a resumed run differs from a whole one" cmp -s healed/model.safetensors resumed/model.safetensors
judge "a resumed run tells something else of what it healed" test "$(jq -c .heal healed/organ/layers.json)" = "$(jq -c .heal resumed/organ/layers.json)"
judge "something hidden was left behind" test -z "$(find . -name '.?*')"

# ---- dry runs ----
ends 0 layers tiny-qwen2 -o dry --drop 2 "${searched[@]}" --dry-run --quiet
matches layers/layers_dry ../out
ends 0 layers tiny-qwen2 -o dry --drop 1-2 "${short[@]}" --dry-run --json
judge "a dry run does not tell which blocks would go" test "$(jq -c .dropped ../out)" = '[1,2]'
judge "a dry run wrote something" test ! -e dry

# ---- errors ----
jq -c '.model = "0123456789abcdef"' scores.json >other.json
jq -c '.sets[0].dropped = [9]' scores.json >beyond.json
jq -c '.sets[0].divergence = "x"' scores.json >words.json
jq -c '.influence = [1]' scores.json >short.json
mkdir taken && echo x >taken/x
refused 2 "-o OUT" layers tiny-qwen2
refused 2 "--drop" layers tiny-qwen2 -o no
refused 2 "block 4" layers tiny-qwen2 -o no --drop 2-4
refused 2 "'two'" layers tiny-qwen2 -o no --drop two
refused 2 "tiny-qwen2" layers tiny-qwen2 -o no --drop 0-3
refused 2 "tiny-qwen2" layers tiny-qwen2 -o no --drop 4 "${searched[@]}"
refused 2 "block 2" layers tiny-qwen2 -o no --drop 2,1-3
refused 2 "2-2" layers tiny-qwen2 -o no --drop 2
refused 2 "--calibration" layers tiny-qwen2 -o no --drop 2-2 --refit
refused 2 "--calibration" layers tiny-qwen2 -o no --drop 2-2 --calibration "$text"
refused 2 "--scores" layers tiny-qwen2 -o no --drop 2-2 --scores scores.json
refused 2 "other.json" layers tiny-qwen2 -o no --drop 2 "${searched[@]}" --scores other.json
refused 2 "context" \
    layers tiny-qwen2 -o no --drop 2 --calibration "$text" --context 32 --search-tokens 640 --scores scores.json
refused 3 "sets[0].dropped[0]" layers tiny-qwen2 -o no --drop 2 "${searched[@]}" --scores beyond.json
refused 3 "sets[0]" \
    layers tiny-qwen2 -o no --drop 2 "${searched[@]}" --scores words.json
refused 3 "influence" layers tiny-qwen2 -o no --drop 2 "${searched[@]}" --scores short.json
refused 3 "schema" layers tiny-qwen2 -o no --drop 2 "${searched[@]}" --scores tiny-qwen2/config.json
head -c 3000 "$text" >../little.txt
ends 0 layers tiny-qwen2 -o no --drop 2 --calibration ../little.txt --search-tokens 200000 --context 256 --dry-run
says "--search-tokens"
refused 3 "--context" layers tiny-qwen2 -o no --drop 2-2 --refit --calibration ../little.txt --context 256
refused 2 "--refit" layers tiny-qwen2 -o no --drop 2-2 "${short[@]}" --samples 3
refused 2 "--memory" layers tiny-qwen2 -o no --drop 2 "${searched[@]}" --search-tokens 30000 --memory 16M
refused 2 "--memory" layers tiny-qwen2 -o no --drop 2-2 "${short[@]}" --memory 8M
ends 0 quantize tiny-qwen2 -o packed --scheme fp8-channel --quiet
refused 2 "F8_E4M3" layers packed -o no --drop 2-2 "${short[@]}"
ends 0 quantize tiny-qwen2 -o int4 --scheme int4-group32 --quiet
refused 2 "--refit" layers int4 -o no --drop 2-2 "${short[@]}"
refused 2 "taken" layers tiny-qwen2 -o taken --drop 2-2
refused 2 "tiny-qwen2" layers tiny-qwen2 -o tiny-qwen2 --drop 2-2 --force
refused 4 "nothing" layers nothing -o no --drop 2-2

finish
