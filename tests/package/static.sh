#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests build/organ-static: a file without an interpreter that runs in an empty root, uses the best kernel table of the CPU, writes the bytes of the dynamic
# program, and names unsupported features in its errors. `ninja test-static` builds it first. The part in another root needs root (chroot). Names the
# parts that it skips. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
static=$PWD/build/organ-static dynamic=$PWD/build/organ
. tests/kit/counts.sh

# ---- the file ----
readelf -hldW "$static" >"$scratch/elf" 2>&1
for line in 'Type: +DYN ' '^  GNU_RELRO ' '\(FLAGS_1\).*\bNOW PIE\b'; do
    if grep -qE "$line" "$scratch/elf"; then good; else bad "there is no $line"; fi
done
for line in '^  INTERP ' '\(NEEDED\)' ' RWE +0x'; do
    if grep -qE "$line" "$scratch/elf"; then bad "there is $line"; else good; fi
done

# ---- in a root that contains nothing else; without /proc/meminfo the program asks for --memory ----
jail=$scratch/jail
mkdir -p "$jail/out" && cp "$static" "$jail/organ" && cp -r fixtures/tiny-qwen2 "$jail" || exit 1
inside() { chroot "$jail" /organ "$@"; }
if ((EUID != 0)); then
    echo "an empty root: skipped, chroot needs root"
    inside() { (cd "$jail" && ./organ "${@//\/}"); }
fi
same "another table than the dynamic program takes" <(inside version | sed -n 2,3p) <("$dynamic" version | sed -n 2,3p)
mkdir "$scratch/out" && cp -r fixtures/tiny-qwen2 "$scratch"
# makes NAME ARGS...: checks that both programs write the same weights.
makes() {
    if (cd "$scratch" && "$dynamic" "${@:2}" -o "$1" --quiet) >"$scratch/log" 2>&1; then good; else bad "the dynamic program: $*" "$scratch/log"; fi
    if inside "${@:2}" -o "$1" --memory 1G --quiet >"$scratch/log" 2>&1; then good; else bad "the static program: $*" "$scratch/log"; fi
    for file in "$scratch/$1"/*.safetensors; do
        if cmp "$file" "$jail/$1/${file##*/}"; then good; else bad "$1: other bytes in ${file##*/}"; fi
    done
}
makes pruned prune tiny-qwen2
makes int4 quantize tiny-qwen2 --scheme int4-group32
makes purified purify tiny-qwen2 --method fft
makes calibrated prune tiny-qwen2 --method sparsegpt --sparsity 50 --select '*.0.self_attn.k_proj.weight' --calibration tiny-qwen2/calibration.txt --samples 2 --context 40
for verb in "perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --context 32 --max-tokens 64 --memory 1G" "measure tiny-qwen2 --memory 1G" "tokenize tiny-qwen2 --text tiny-qwen2/heldout.txt"; do
    # shellcheck disable=SC2086 # lists of words
    (cd "$scratch" && "$dynamic" $verb --json) 2>"$scratch/log" | sed '/^  "run": {$/,$d' >"$scratch/there"
    # shellcheck disable=SC2086
    inside $verb --json 2>"$scratch/log" | sed '/^  "run": {$/,$d' >"$scratch/here"
    if [[ -s $scratch/there ]]; then same "organ $verb" "$scratch/there" "$scratch/here"; else bad "organ $verb prints nothing" "$scratch/log"; fi
done

# ---- features that it lacks, and its components ----
refuses() {
    inside "${@:2}" >"$scratch/log" 2>&1
    if (($? == 4)) && grep -q "$1: this program is linked statically" "$scratch/log"; then good; else bad "organ ${*:2}" "$scratch/log"; fi
}
refuses libcurl.so.4 inspect http://127.0.0.1:1/model.gguf
refuses libmicrohttpd.so.12 serve --root out --listen 127.0.0.1:0
packaging/sbom.sh build/organ-static >"$scratch/sbom"
same "not everything is linked statically" <(jq -r '.relationships[] | select(.relationshipType == "STATIC_LINK") | .relatedSpdxElement' "$scratch/sbom" | sort) \
    <(awk -F '\t' '!/^#/ && $2 == "linked" { print "SPDXRef-Package-" $5 }' packaging/libraries.tsv | sort)

# ---- other CPUs ----
emulator=$(command -v qemu-x86_64-static || command -v qemu-x86_64)
if [[ -n $emulator && $(uname -m) == x86_64 ]]; then
    for cpu in Haswell:avx2 qemu64:scalar; do
        if grep -q "^kernels  ${cpu#*:}, the best" < <($emulator -cpu "${cpu%:*}" "$static" version 2>/dev/null); then good; else bad "${cpu%:*} does not take ${cpu#*:}"; fi
        $emulator -cpu "${cpu%:*}" "$static" prune fixtures/tiny-qwen2 -o "$scratch/${cpu%:*}" --quiet >"$scratch/log" 2>&1
        for file in "$scratch/pruned"/*.safetensors; do
            if cmp "$file" "$scratch/${cpu%:*}/${file##*/}"; then good; else bad "${cpu%:*}: other bytes in ${file##*/}"; fi
        done
    done
else
    echo "emulated CPUs: skipped, qemu-user-static is missing or this is no x86-64"
fi
finish
