#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every input of the conversions and decoders on every table of kernels; checks the instructions in each table; runs whole verbs on emulated
# CPUs with fewer instructions, and on CPUs that organ rejects. `ninja test-exhaustive` calls it. `--renew` writes exhaustive.digests again. It
# names the parts that it skips because a tool is missing. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
renice -n 19 $$ >/dev/null
known=tests/kernels/exhaustive.digests
. tests/kit/counts.sh
# counted COMMAND...: runs it and adds the counts of its last line.
counted() {
    "$@" >"$scratch/log" 2>&1
    local status=$? good bad
    read -r good bad < <(sed -nE '$s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$scratch/log")
    passed=$((passed + ${good:-0}))
    failed=$((failed + ${bad:-0}))
    if [[ -z ${good:-} || $status != $((bad > 0)) ]]; then bad "$* ended with $status" "$scratch/log"; elif ((bad > 0)); then bad "$*" "$scratch/log"; fi
}

# ---- all inputs ----
counted build/tests/exhaustive_long
grep '^digest ' "$scratch/log" >"$scratch/digests"
if [[ ${1:-} == --renew ]]; then
    cp "$scratch/digests" "$known" && cat "$scratch/log"
    exit
fi
grep '^table ' "$scratch/log"
if diff "$known" "$scratch/digests" >"$scratch/difference"; then good; else bad "other digests than the committed ones" "$scratch/difference"; fi
counted build/tests/kernels_long
counted tests/kernels/check_sleef.sh 1

# ---- instructions ----
# none_of OBJECT WHAT PATTERN: checks that the object's code contains no such instruction or register.
none_of() {
    objdump -d --no-show-raw-insn "build/kernels/$1.o" | grep -E "$3" | head -n 5 >"$scratch/found"
    if [[ -s $scratch/found ]]; then bad "$1 has $2" "$scratch/found"; else good; fi
}
of_set() { for object in build/kernels/"$1"_*.o; do none_of "$(basename "$object" .o)" "$2" "$3"; done; }
case $(uname -m) in
x86_64)
    for object in dispatch moments code_plain ggml_parts ggml_plain nofma_math nofma_physarum; do none_of $object "more than SSE2" '%[yz]mm|\bv[a-z0-9]+ .*%xmm'; done
    of_set avx2 "AVX-512" '%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])'
    # The pattern names instructions of VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ, IFMA, BF16, FP16, VP2INTERSECT and GFNI.
    of_set avx512 "more than AVX-512 F, DQ, BW and VL" \
        '\b(vpermb|vperm[it]2b|vpmultishiftqb|vpcompress[bw]|vpexpand[bw]|vpsh[lr]d[vwdq]+|vpdp[a-z]+|vpopcnt[bwdq]|vpshufbitqmb|vpmadd52[lh]uq|vcvtne[a-z0-9]+|vdpbf16ps|v(add|sub|mul|div|sqrt|min|max|cmp|fn?m(add|sub)[0-9]+)[ps]h|vmov(sh|w)|vcvt(t?ph2[udqw]+|[udqw]+2ph|ph2psx|ps2phx)|vp2intersect[dq]|vgf2p8[a-z]+)\b'
    ;;
*) echo "instructions: not looked at on $(uname -m)" ;;
esac

# ---- CPUs with fewer instructions ----
emulator=$(command -v qemu-x86_64-static || command -v qemu-x86_64)
if [[ -n $emulator && $(uname -m) == x86_64 ]]; then
    for cpu in Haswell:avx2: qemu64:scalar:yes; do
        IFS=: read -r model table without <<<"$cpu"
        if grep -q "^kernels  $table, the best" < <($emulator -cpu "$model" build/organ version 2>/dev/null); then good; else bad "$model does not take $table"; fi
        counted $emulator -cpu "$model" build/tests/exhaustive_long 256
        counted env EMULATOR="$emulator -cpu $model" THERE="$PWD/build/organ" WITHOUT_FMA="$without" TMPDIR="$scratch" bash tests/cli/check_bytes.sh
    done
    counted_kernels() { CK_FORK=no EFFORT=few EMULATOR="$emulator" CK_TIMEOUT_MULTIPLIER=100 $emulator -cpu Haswell build/tests/kernels; }
    counted_kernels >"$scratch/log" 2>&1
    if (($? == 0)) && grep -qE '^100%: Checks: [1-9]' "$scratch/log"; then good; else bad "kernels as Haswell" "$scratch/log"; fi
else
    echo "emulated CPUs: skipped, qemu-user-static is missing or this is no x86-64"
fi

# ---- CPUs that organ rejects ----
# refuses WHAT COMPILER...: checks that the program exits with a message.
refuses() {
    if "${@:2}" -std=c11 -I. -Iinclude -fsyntax-only kernels/dispatch.c >"$scratch/log" 2>&1; then bad "$1 compiles"; elif
        grep -q 'organ supports only little-endian machines' "$scratch/log"; then good; else bad "$1 is refused for another reason" "$scratch/log"; fi
}
refuses "a big-endian machine" cc -U__BYTE_ORDER__ -D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__
if command -v s390x-linux-gnu-gcc >/dev/null; then refuses s390x s390x-linux-gnu-gcc; else echo "s390x: skipped, gcc-s390x-linux-gnu is missing"; fi

finish
