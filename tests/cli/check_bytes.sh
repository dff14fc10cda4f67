#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Verbs that compute write the same files and documents with the program of this machine and with that of build/neon, which EMULATOR runs. Ends
# with the line "N passed, N failed". THERE=PROGRAM names another program to compare with. WITHOUT_FMA=yes leaves out verbs that compute
# exponentials, because their last bits differ without fused multiply-add.
. "$(dirname "$0")/../kit/cli_kit.sh"
here_program=$organ
there_program=$scratch/there
printf '#!/bin/sh\nexec %s %s "$@"\n' "${EMULATOR:-}" "${THERE:-${organ%/build/organ}/build/neon/build/organ}" >"$there_program"
chmod +x "$there_program"
mkdir here there
for place in here there; do
    ln -s "$model" "${model%/*}/tiny-lora" $place/
    ln -s "$model-gguf/tiny-qwen2-Q8_0.gguf" $place/packed.gguf
    ln -s "$model-gguf/"*BF16* "${model%/*}/imatrix/tiny-qwen2.gguf" $place/
done

# Prints a document without its last member, which differs from run to run: time, machine, threads and memory.
plain() { sed '/^  "run": {$/,$d' "$1"; }

# run_in PLACE PROGRAM ARGS...: runs the program and stores its output as PLACE.json.
run_in() {
    organ=$2
    cd "$1" || exit 1
    ends 0 "${@:3}" --quiet
    cd ..
    mv out "$1.json"
}

# everywhere ARGS...: runs both programs, each in its own directory.
everywhere() {
    run_in here "$here_program" "$@"
    run_in there "$there_program" "$@"
}

# prints_the_same ARGS...: checks a verb that prints its document.
prints_the_same() {
    everywhere "$@" --json
    judge "the document is empty" test "$(plain here.json | wc -l)" -gt 10
    if diff <(plain here.json) <(plain there.json) >../difference; then good; else bad "another document" ../difference; fi
}

# writes_the_same REPORT OUTPUT ARGS...: checks a verb that writes a directory with the report inside, or a file with the report next to it.
writes_the_same() {
    local report=$1 output=$2 weights=$2
    everywhere "${@:3}" -o "$output"
    [[ -d here/$output ]] && report=$output/$report weights="$output/*.safetensors"
    judge "no document" test "$(plain "here/$report" | wc -l)" -gt 10
    if diff <(plain "here/$report") <(plain "there/$report") >../difference; then good; else bad "another document" ../difference; fi
    # shellcheck disable=SC2086 # the pattern of the shards
    judge "other bytes" cmp <(cat here/$weights) <(cat there/$weights)
}

everywhere prune tiny-qwen2 -o pruned
judge "another prune.jsonl than the golden one" cmp there/pruned/organ/prune.jsonl "$golden/prune/prune_jsonl.golden"
if [[ -n ${WITHOUT_FMA:-} ]]; then
    writes_the_same organ/prune.json magnitude prune tiny-qwen2 --method magnitude --sparsity 40
    writes_the_same organ/quantize.json int4 quantize tiny-qwen2 --scheme int4-group32
    writes_the_same organ/purify.json purified purify tiny-qwen2 --method haar
    finish
    exit
fi
text=tiny-qwen2/heldout.txt
prints_the_same perplexity tiny-qwen2 --text $text --context 16 --max-tokens 64
prints_the_same perplexity tiny-qwen2 --compare pruned --text $text --context 32 --max-tokens 64 --style llama.cpp
prints_the_same evaluate tiny-qwen2 pruned packed.gguf --text $text --context 32 --max-tokens 64
prints_the_same generate tiny-qwen2 --prompt "In the beginning" -n 3
calibrated=(--calibration tiny-qwen2/calibration.txt --samples 2 --context 40)
for method in physarum-v2 sparsegpt wanda alps physarum-v3; do
    writes_the_same organ/prune.json $method prune tiny-qwen2 --sparsity 50 --select '*.0.self_attn.k_proj.weight,*.1.self_attn.v_proj.weight' "${calibrated[@]}" --method $method
done
writes_the_same organ/lora_merge.json merged lora merge --base tiny-qwen2 --adapter tiny-lora --scale 4
writes_the_same organ/lora_extract.json extracted lora extract --base tiny-qwen2 --tuned merged -r 2 --select v_proj
writes_the_same organ/lora_extract.json exact lora extract --base tiny-qwen2 --tuned merged -r 2 --exact --select v_proj
writes_the_same organ/lora_resize.json resized lora resize tiny-lora --rank 2
writes_the_same organ/quantize.json int4 quantize tiny-qwen2 --scheme int4-group32
writes_the_same organ/quantize.json gptq quantize tiny-qwen2 --scheme int3-group32 --method gptq --select o_proj "${calibrated[@]}"
unpacked=tiny-qwen2-BF16-00001-of-00002.gguf
for scheme in q4_0 q5_1 q6_k; do
    writes_the_same $scheme.quantize.json $scheme.gguf quantize $unpacked --scheme $scheme --imatrix tiny-qwen2.gguf
done
writes_the_same q4_k.quantize.json q4_k.gguf quantize $unpacked --scheme q4_k
prints_the_same orthogonality tiny-qwen2 int4 tiny-lora
writes_the_same organ/purify.json purified purify tiny-qwen2 --method haar
prints_the_same measure tiny-qwen2
prints_the_same autopsy int4
finish
