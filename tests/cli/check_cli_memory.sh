#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every verb with --memory names in its error the least memory that it needs: the run works with it and fails with less. A dry run plans the same
# memory and is not refused. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$model/../tiny-lora" tiny-lora
ln -s "$model/../imatrix" imatrix
ln -s "$model/../precision" precision
ln -s "$model/../tiny-moe" tiny-moe
text=tiny-qwen2/heldout.txt

# of_plan MEMBER: prints the member of the plan in the JSON document of a dry run.
of_plan() { sed -nE "/^  \"plan\": /,/^  }/s/^    \"$1\": ([a-z0-9]+),?\$/\1/p" ../out; }

# plans ARGS...: a dry run of the verb calls $named enough, whatever --memory it is given. Verbs without --dry-run are left out, and scheme mixed,
# whose dry run measures.
plans() {
    local given unit=1024 enough more
    [[ $1 != generate && $1 != evaluate && $1 != measure && " $* " != *" mixed "* ]] || return 0
    [[ $named == *M ]] && unit=1048576
    for given in 8M "$named"; do
        rm -rf new new.*
        ends 0 "$@" --quiet --dry-run --json --memory "$given"
        enough=$(of_plan memory_enough) more=$((${named%[KM]} * unit - ${enough:-0}))
        judge "--memory $given: the plan's memory is $enough, not $named" test $more -ge 0 -a $more -lt $unit
        judge "--memory $given: whether that is too little" test "$(of_plan memory_short)" = "$([[ $given == 8M ]] && echo true || echo false)"
    done
}

# enough ARGS...: the verb fails with 8M, runs with the memory that the error names, and fails with one unit (K or M) less. Only
# `ninja test-whole` runs verbs that read a whole text or generate a long one; other trees check the error alone. Sets $named to the memory.
enough() {
    local spared sentence='^error: .*--memory 8M is too little for ..*; --memory [0-9]*[KM] is enough\(, or [0-9]*[KM] with --scratch DIR\)\?$'
    refused 2 "--memory 8M" "$@" --quiet --memory 8M
    if grep -q "$sentence" < <(head -n 1 ../err); then good; else bad "is not the sentence of all verbs" ../err; fi
    named=$(sed -n '1s/.*; --memory \([0-9]*[KM]\) is enough.*/\1/p' ../err)
    spared=$(sed -n '1s/.* is enough, or \([0-9]*[KM]\) with --scratch DIR$/\1/p' ../err)
    plans "$@"
    rm -rf new new.*
    if ! in_part || [[ " $* " != *" --calibration "* && " $* " != *" -n 2000 "* ]]; then ends 0 "$@" --quiet --memory "${named:-none}"; fi
    rm -rf new new.*
    refused 2 "--memory $named" "$@" --quiet --memory "$((${named%[KM]} - 1))${named: -1}"
    [[ -n $spared ]] || return
    if ! in_part; then ends 0 "$@" --quiet --memory "$spared" --scratch .; fi
    rm -rf new new.*
    refused 2 "--memory $spared" "$@" --quiet --scratch . --memory "$((${spared%[KM]} - 1))${spared: -1}"
}

ends 0 prune tiny-qwen2 -o pruned --quiet
small=(--text $text --context 64 --max-tokens 200)
# Every layer has one of the widest matrices.
two=(--select '*.[02].*_proj.weight')
enough prune tiny-qwen2 -o new --calibration $text --samples 4 --context 64 --method physarum-v2 "${two[@]}"
enough prune tiny-qwen2 -o new --calibration $text --samples 4 --context 64 --method sparsegpt --sparsity 50
enough prune tiny-qwen2 -o new --calibration $text --samples 4 --context 64 --allocate-tokens 64 --method magnitude --sparsity 50 --allocate global
enough prune tiny-qwen2 -o new --calibration $text --samples 4 --context 64 --method alps --sparsity 50 "${two[@]}"
enough prune tiny-qwen2 -o new --calibration $text --samples 4 --context 64 --method physarum-v3 --sparsity 50 "${two[@]}"
enough prune tiny-qwen2 -o new --calibration $text --samples 4 --context 64 --allocate-tokens 64 --method wanda --sparsity 50 --allocate global --rounds 1 "${two[@]}"
# All experts of a projection share a sparsity; measuring two layers at once would take more memory.
experts=(prune tiny-moe -o new --calibration $text --samples 2 --context 64 --allocate-tokens 64 --method magnitude --sparsity 50 --allocate global
    --select '*.1.mlp.experts.*')
enough "${experts[@]}"
rm -rf new
ends 0 "${experts[@]}" --memory 48M --quiet
rm -rf new
enough perplexity tiny-qwen2 "${small[@]}"
enough perplexity tiny-qwen2 --compare pruned "${small[@]}"
enough perplexity tiny-qwen2 --text $text --style llama.cpp --max-tokens 2000
enough evaluate tiny-qwen2 pruned "${small[@]}"
# A text whose tokens take more memory than the layers; of a text longer than --memory, the run reads only the tokens that it scores.
for ((k = 0; k < 30; k++)); do cat tiny-qwen2/calibration.txt; done | head -c 7600000 >long
enough perplexity tiny-qwen2 --text long --context 64 --max-tokens 200
if ! in_part; then
    enough width tiny-qwen2 -o new --ffn 75% --multiple-of 8 --calibration long --samples 2 --context 64
    refused 2 "2068249" perplexity tiny-qwen2 --text long --context 64 --quiet --memory 17M
fi
head -c 1500000 long >>long
refused 2 "9100000" perplexity tiny-qwen2 --text long --context 64 --max-tokens 200 --quiet --memory 8M
rm long
# The output needs other memory than the donor; the memory that the error names is enough to score the output as well.
scored=(--evaluate $text --evaluate-context 64 --evaluate-max-tokens 200)
for scheme in fp8-block128 int4-group32; do
    enough quantize tiny-qwen2 -o new --scheme $scheme "${scored[@]}"
done
plain=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
enough quantize $plain -o new.gguf --scheme q4_k --imatrix imatrix/tiny-qwen2.gguf "${scored[@]}"
enough prune tiny-qwen2 -o new --method physarum-v3 -s 50 --then int4-group32 --calibration $text --samples 4 --context 64 "${two[@]}"
enough prune tiny-qwen2 -o new --method physarum-v3 -s 50 --then int4-group32 --calibration $text --samples 4 --context 64 --allocate global \
    --allocate-tokens 64 --select '*.[03].mlp.down_proj.weight'
enough quantize tiny-qwen2 -o new --scheme int4-group32 --method gptq --calibration $text --samples 4 --context 64
enough quantize tiny-qwen2 -o new --scheme mixed --method gptq --calibration $text --samples 4 --context 64 --allocate global --budget 4bpw --allocate-tokens 64 --select '*.[03].mlp.down_proj.weight'
enough quantize tiny-qwen2 -o new --scheme mixed --method gptq --calibration $text --samples 4 --context 64 --allocate global --budget 4bpw --allocate-tokens 64 --rounds 1 --select '*.[03].mlp.down_proj.weight'
enough quantize $plain -o new.gguf --scheme q4_0 --method gptq --calibration $text --samples 4 --context 64
ends 0 quantize tiny-qwen2 -o int4 --scheme int4-group32 --quiet
for type in bf16 f32; do
    enough dequantize int4 -o new --dtype $type "${scored[@]}"
done
# The factors of an adapter and their copy for --feedback.
ends 0 lora merge --base tiny-qwen2 --adapter tiny-lora -o tuned --quiet
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o wide --rank 320 --dtype f32 --select '*.1.mlp.*' --quiet
enough lora merge --base tiny-qwen2 --adapter wide -o new
plain_merge=$named
enough lora merge --base tiny-qwen2 --adapter wide -o new --feedback
judge "--feedback needs no memory of its own" test "${named%M}" -gt "${plain_merge%M}"
rm -rf tuned wide new
enough generate tiny-qwen2 --prompt x -n 2000
enough generate tiny-qwen2 --prompt x -n 4 --threads 16
enough measure tiny-qwen2 --threads 64
enough prune tiny-qwen2 -o new --threads 64
enough purify tiny-qwen2 -o new --method haar --threads 64
enough purify tiny-qwen2 -o new --method fft --threads 64
finish
