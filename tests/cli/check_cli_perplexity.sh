#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests perplexity, evaluate and generate: help, results of a model with known perplexity, errors.
. "$(dirname "$0")/../kit/cli_kit.sh"

# number KEY: prints the value of the last line of ../out that has the key.
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),\{0,1\}$/\1/p" ../out | tail -n 1; }
# near VALUE EXPECTED TOLERANCE: succeeds if the relative difference is within the tolerance.
near() { awk -v x="$1" -v y="$2" -v t="$3" 'BEGIN { d = x - y; exit !(x != "" && (d < 0 ? -d : d) <= t * y) }'; }

text=tiny-qwen2/heldout.txt

# expect CONTEXT PERPLEXITY SCORED ARGS...: checks the perplexity of the model on the text.
expect() {
    ends 0 perplexity tiny-qwen2 --text $text --context "$1" --json --quiet "${@:4}"
    judge "perplexity at $1 is $(number perplexity), not $2" near "$(number perplexity)" "$2" 1e-4
    judge "$(number tokens_scored) tokens are scored, not $3" test "$(number tokens_scored)" = "$3"
}

# ---- the perplexity of the whole text is that of reference.json, which takes minutes; every tree computes that of its first part ----
if ! in_part; then
    for context in 128 256; do
        block=$(sed -n "/\"context_$context\"/,/}/p" tiny-qwen2/reference.json)
        expect $context "$(sed -n 's/^ *"perplexity": \([0-9.]*\).*/\1/p' <<<"$block")" "$(sed -n 's/^ *"scored_tokens": \([0-9]*\).*/\1/p' <<<"$block")" --max-error 0
    done
fi
expect 128 20.326574284851052 1488 --max-tokens 1500
expect 256 20.168275825005143 1494 --max-tokens 1500

# ---- reports ----
short=(--text $text --context 64 --max-tokens 1000)
ends 0 perplexity tiny-qwen2 "${short[@]}" -o report
matches perplexity/perplexity ../out
matches perplexity/perplexity_report report/PERPLEXITY_REPORT.md
judge "no page beside the report" grep -q "</html>" report/PERPLEXITY_REPORT.html
cp report/perplexity.json ../one.json
judge "--json differs from the file" diff <(sed '/^  "run": {$/,/^  }$/d' ../one.json) <("$organ" perplexity tiny-qwen2 "${short[@]}" --json --quiet | sed '/^  "run": {$/,/^  }$/d')
# The scalar kernels are slow, and more so under a sanitizer, so this text has fewer windows.
several=(--text $text --context 64 --max-tokens 260)
sampled && several=(--text $text --context 64 --max-tokens 130)
ends 0 perplexity tiny-qwen2 "${several[@]}" --json --quiet
cp ../out ../one.json
# Scalar kernels take forty times as long as the others.
few=(--text $text --context 64 --max-tokens 80)
ends 0 perplexity tiny-qwen2 "${few[@]}" --json --quiet
cp ../out ../few.json
ends 0 version
isas=$(sed -n 's/^usable *//p' ../out)
for isa in $isas; do
    for room in "1 32M" "5 200M"; do
        words=("${several[@]}") expected=../one.json
        if in_part && [[ $isa == scalar ]]; then
            [[ $room == "1 "* ]] && continue
            words=("${few[@]}") expected=../few.json
        fi
        # shellcheck disable=SC2086 # words
        ORGAN_ISA=$isa ends 0 perplexity tiny-qwen2 "${words[@]}" --json --quiet --threads ${room% *} --memory "${room#* }"
        if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' $expected) >../difference; then good; else
            bad "$isa, threads or memory change it" ../difference
        fi
    done
done
for style in llama.cpp lm-eval; do
    ends 0 perplexity tiny-qwen2 "${short[@]}" --style $style --quiet
    matches "perplexity/perplexity_$style" ../out
done

# ---- --write-imatrix: pruning with the file keeps the same weights as pruning with --calibration on the same two windows ----
ln -s "${model%/*}/tiny-moe" tiny-moe
head -c 1520 tiny-qwen2/calibration.txt >two
for donor in tiny-qwen2 tiny-moe; do
    ends 0 perplexity $donor --text two --style llama.cpp --context 206 -o sums --write-imatrix --quiet
    ends 0 prune $donor -o by_text --method wanda --calibration two --samples 2 --context 206 -s 50 --select 'model.layers.0.*' --quiet
    ends 0 prune $donor -o by_sums --method wanda --imatrix sums/imatrix.gguf -s 50 --select 'model.layers.0.*' --quiet
    for file in by_text/*.safetensors; do judge "${file##*/} of $donor differs" cmp -s "$file" "by_sums/${file##*/}"; done
    [[ $donor == tiny-moe ]] || mv sums/imatrix.gguf ../of_safetensors
    chmod -R u+w sums by_text by_sums && rm -r sums by_text by_sums
done
ends 0 perplexity tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --text two --style llama.cpp --context 206 -o sums --write-imatrix --memory 40M --quiet
judge "the importance matrix of the GGUF file differs" cmp -s sums/imatrix.gguf ../of_safetensors
refused 2 "-o DIR" perplexity tiny-qwen2 "${short[@]}" --write-imatrix

# ---- --compute: a supported type gives the same result with any threads and memory; an error names a type that this CPU does not support ----
ORGAN_ISA=scalar refused 2 "--compute bf16" perplexity tiny-qwen2 "${short[@]}" --compute bf16
says AVX-512
ORGAN_ISA=scalar refused 2 "--compute split" generate tiny-qwen2 --prompt "In the" --compute split
ORGAN_ISA=scalar refused 2 "--evaluate-compute split" prune tiny-qwen2 -o not-made --evaluate $text --evaluate-compute split
refused 2 --evaluate prune tiny-qwen2 -o not-made --evaluate-compute bf16
refused 2 "'fast'" perplexity tiny-qwen2 "${short[@]}" --compute fast
exact=$(sed -n 's/^ *"perplexity": //p' report/perplexity.json | head -n 1)
for compute in split bf16; do
    run perplexity tiny-qwen2 "${short[@]}" --compute $compute --json --quiet --threads 1 --memory 32M
    if [[ $code != 0 ]]; then
        judge "$compute is refused without a reason" grep -q -- "--compute $compute" ../err
        echo "skipped: figures of --compute $compute: $(sed 's/.*had here: //' ../err)"
        continue
    fi
    cp ../out ../first.json
    ends 0 perplexity tiny-qwen2 "${short[@]}" --compute $compute --json --quiet --threads 5 --memory 200M
    judge "threads or memory change $compute" diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' ../first.json)
    judge "the report does not say $compute" grep -q "\"compute\": \"$compute\"" ../out
    judge "nor by what" grep -qE '"compute_isa": "(amx|avx512-bf16)"' ../out
    found=$(sed -n 's/^ *"perplexity": \([0-9.]*\).*/\1/p' ../out | head -n 1)
    judge "$compute has $found where exact has $exact" near "$found" "${exact%,}" 2e-3
    judge "$compute has the bits of exact" test "$found" != "${exact%,}"
    ends 0 perplexity tiny-qwen2 "${short[@]}" --compute $compute --quiet -o "by-$compute"
    for file in ../out by-$compute/PERPLEXITY_REPORT.md; do judge "$file does not say it" grep -qE "compute $compute by" <(tr '\n' ' ' <$file); done
    judge "the page does not say it" grep -qE "$compute by (amx|avx512-bf16)" by-$compute/PERPLEXITY_REPORT.html
    ends 0 generate tiny-qwen2 --prompt "In the beginning" -n 4 --compute $compute --json --quiet
    judge "the generated text does not say $compute" grep -q "\"compute\": \"$compute\"" ../out
    ends 0 evaluate tiny-qwen2 tiny-qwen2 "${short[@]}" --compute $compute --json --quiet
    judge "evaluate does not say $compute" grep -q "\"compute\": \"$compute\"" ../out
done

ends 0 prune tiny-qwen2 -o pruned --sparsity 50 --quiet
ends 0 perplexity tiny-qwen2 --compare pruned "${short[@]}" --quiet
matches perplexity/perplexity_compare ../out
ends 0 perplexity tiny-qwen2 --compare tiny-qwen2 "${short[@]}" --json --quiet
for key in difference difference_error kl_divergence; do judge "a model differs from itself: $key $(number $key)" test "$(number $key)" = 0.0; done
for key in ratio top1_agreement; do judge "a model differs from itself: $key $(number $key)" test "$(number $key)" = 1.0; done

ends 0 evaluate tiny-qwen2 pruned tiny-qwen2 "${short[@]}" -o evaluation --quiet
matches evaluate/evaluate ../out
matches evaluate/evaluation_report evaluation/EVALUATION_REPORT.md
judge "no page beside the report" grep -q "</html>" evaluation/EVALUATION_REPORT.html
ends 0 evaluate tiny-qwen2 pruned "${short[@]}" --select '*.mlp.*' --json --quiet
prints '"elements": 3317760,'
ends 0 evaluate tiny-qwen2 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf "${short[@]}" --quiet
prints 'tiny-qwen2-Q8_0.gguf  Q8_0        8.50'
judge "a copy that was not pruned has a line about its sparsity" test "$(grep -c 'No sparsity' ../out)" = 0

printf 'In the \377\376 beginning was the word' >bytes.txt
ends 0 perplexity tiny-qwen2 --text bytes.txt --quiet --json
prints '"utf8": false,'
ends 0 perplexity tiny-qwen2 --text bytes.txt --quiet -o bytes
judge "the report does not say that it is not UTF-8" grep -q 'Bytes that are not UTF-8' bytes/PERPLEXITY_REPORT.md

# ---- generate ----
ends 0 generate tiny-qwen2 --prompt "In the beginning" -n 12 --quiet
matches generate/generate ../out
ends 0 generate tiny-qwen2 --prompt "In the beginning" -n 12 --json --quiet --threads 1
matches generate/generate_json ../out

# ---- errors ----
mkdir strange
ln -s "$PWD"/tiny-qwen2/* strange
rm strange/config.json
sed 's/Qwen2ForCausalLM/KlingonForCausalLM/' tiny-qwen2/config.json >strange/config.json
refused 3 "'KlingonForCausalLM'" \
    perplexity strange --text $text
rm -r strange
refused 2 "--text" perplexity tiny-qwen2
refused 2 "MODEL" perplexity
refused 2 "PRUNED" evaluate tiny-qwen2 --text $text
ends 0 generate tiny-qwen2 --prompt "In the beginning" -n 3 --html ../spoken.html --quiet
judge "the page does not show what was asked" grep -q "In the beginning" ../spoken.html
refused 2 "-p TEXT" generate tiny-qwen2
refused 2 "'--style'" perplexity tiny-qwen2 --text $text --stile hf
refused 2 "'gpt'" perplexity tiny-qwen2 --text $text --style gpt
refused 2 "--context" perplexity tiny-qwen2 --text $text --context 3
# A tokenizer with a token that the model does not have. The check is a part of the dry run.
cp -rL tiny-qwen2 mixed
size=$(jq .vocab_size tiny-qwen2/config.json)
jq ".added_tokens += [{id: $size, content: \"<beyond>\", special: false, single_word: false, lstrip: false, rstrip: false, normalized: false}]" \
    tiny-qwen2/tokenizer.json >mixed/tokenizer.new
mv mixed/tokenizer.new mixed/tokenizer.json
{ head -c 20000 $text && echo "<beyond>" && head -c 20000 $text; } >beyond.txt
for run in "" --dry-run; do
    refused 3 "$size" perplexity mixed --text beyond.txt $run
done
refused 3 "$size" \
    prune mixed -o new --method wanda -s 50 --calibration beyond.txt --dry-run
rm -r mixed beyond.txt
printf x >letter.txt
refused 3 "letter.txt" \
    perplexity tiny-qwen2 --text letter.txt
mkdir there && touch there/file
refused 2 "--memory 8M" perplexity tiny-qwen2 --text $text --memory 8M
cp -rL tiny-qwen2 narrow
sed -i 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 3/' narrow/config.json
refused 2 "--context" perplexity narrow --text $text --max-tokens 100
ends 0 perplexity narrow --text $text --max-tokens 100 --context 4 --quiet
rm -r narrow
# The memory that the error names is enough.
for others in "" "--compare tiny-qwen2"; do
    # shellcheck disable=SC2086 # words
    refused 2 "--memory" perplexity tiny-qwen2 --text $text --context 64 --max-tokens 100 $others --memory 8M
    enough=$(sed -n 's/.*; --memory \([0-9]*M\) is enough.*/\1/p' ../err)
    # shellcheck disable=SC2086
    ends 0 perplexity tiny-qwen2 --text $text --context 64 --max-tokens 100 $others --memory "$enough" --quiet
done
refused 2 "--memory 8M" generate tiny-qwen2 --prompt x -n 3000 --memory 8M
refused 2 "there" perplexity tiny-qwen2 --text $text -o there
refused 2 "tiny-qwen2" perplexity tiny-qwen2 --text $text -o tiny-qwen2 --force
refused 4 "nowhere" perplexity nowhere --text $text
refused 4 "no.txt" perplexity tiny-qwen2 --text no.txt
refused 3 "tiny-qwen2" perplexity tiny-qwen2 --text tiny-qwen2
: >empty.txt
refused 3 "empty.txt" perplexity tiny-qwen2 --text empty.txt
printf 'In the beginning' >short.txt
refused 3 "1024 tokens" perplexity tiny-qwen2 --text short.txt --style llama.cpp -o out
cp -rL tiny-qwen2 other && chmod -R u+w other
jq '.model.vocab["!"] as $id | .model.vocab["!"] = .model.vocab["#"] | .model.vocab["#"] = $id' tiny-qwen2/tokenizer.json >other/tokenizer.json
refused 3 "tokenizer" perplexity tiny-qwen2 --compare other "${short[@]}" -o out
sed -i 's/Qwen2ForCausalLM/UnheardOfModel/; s/"qwen2"/"unheard"/' other/config.json
refused 3 "UnheardOfModel" perplexity other "${short[@]}" -o out
refused 3 "UnheardOfModel" generate other --prompt x
mv pruned/tokenizer.json ../
refused 3 "tokenizer" evaluate tiny-qwen2 pruned "${short[@]}" -o out
mv ../tokenizer.json pruned/
printf '{"schema": "organ.else/1"}' >pruned/organ/prune.json
refused 3 "'organ.else/1'" evaluate tiny-qwen2 pruned "${short[@]}" -o out
rm pruned/organ/prune.json

# ---- Ctrl-C ----
here="organ perplexity, interrupted"
# The first event finds the pipe full, so the run waits before its first window. SigCgt has bit 1 (SIGINT) once the program handles the signal.
handles_it() { [[ $(sed -n 's/^SigCgt:.*\(.\)$/\1/p' "/proc/$runner/status" 2>/dev/null) == [2367abefABEF] ]] || is_over; }
log_room=0 hold perplexity tiny-qwen2 --text $text --context 512 -o out --progress json
await handles_it
kill -INT "$runner"
let_go
judge "ends with $code instead of 130" test $code -eq 130
judge "something was left behind" test -z "$(find . -maxdepth 1 -name '*out*')"
[[ -s ../out ]] && bad "something is on stdout" ../out
# ---- a dry run ----
ends 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --max-tokens 2000 --context 64 --dry-run -o no --json
judge "no plan" test "$(jq -c '[.dry_run, (.plan | keys), (.run.plan.seconds > 0), (.models[0] | keys)]' ../out)" = \
    '[true,["bytes","memory_auto","memory_enough","memory_given","memory_good","memory_short","output_bytes","products"],true,["model"]]'
judge "a dry run wrote something" test ! -e no
enough=$(jq .plan.memory_enough ../out)
ends 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --max-tokens 2000 --context 64 --memory "$enough" --quiet
ends 0 perplexity tiny-qwen2 --compare tiny-qwen2 --text tiny-qwen2/heldout.txt --max-tokens 2000 --context 64 --dry-run --quiet
prints "Dry run, nothing was scored."
prints "is enough"

finish
