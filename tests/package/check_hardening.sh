#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks the hardening of the ELF files by reading the files, not the compiler's options. Needs a built tree (ninja); BUILD=DIRECTORY names another one.
# Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
. tests/kit/counts.sh
# has WHAT PATTERN FILE: a line of the file matches; has_not: no line does.
has() { judge "$1" grep -qE -- "$2" "$3"; }
has_not() { if ! grep -m 3 -E -- "$2" "$3"; then good; else bad "$1"; fi; }

# ---- flags of the linker ----
for file in organ liborgan.so liborgan_mpi.so; do
    # Without an MPI compiler this file does not exist.
    [[ $file == liborgan_mpi.so && ! -f $build/$file ]] && continue
    readelf -hldW "$build/$file" >"$scratch/elf" 2>&1
    nm -D "$build/$file" >"$scratch/names" 2>&1
    has "$file: its address is fixed" 'Type: +DYN ' "$scratch/elf"
    has "$file: no part is made read-only after relocation" '^  GNU_RELRO ' "$scratch/elf"
    has "$file: functions are bound when they are first called" '\(FLAGS_1\).*\bNOW\b' "$scratch/elf"
    has "$file: nothing is said of the stack" '^  GNU_STACK ' "$scratch/elf"
    has_not "$file: a segment is written to and executed" '^  [A-Z_]+ +0x.* (RWE|WE) +0x' "$scratch/elf"
    has_not "$file: libraries are looked for in places of its own" '\((RPATH|RUNPATH)\)' "$scratch/elf"
    has_not "$file: code is relocated" 'TEXTREL' "$scratch/elf"
    has "$file: no stack protector" ' __stack_chk_fail(@|$)' "$scratch/names"
    readelf -nW "$build/$file" >"$scratch/notes" 2>&1
    has "$file: no build id" 'Build ID: [0-9a-f]{40}' "$scratch/notes"
done
readelf -dW "$build/organ" >"$scratch/elf"
has "organ: not a position independent executable" '\(FLAGS_1\).*\bPIE\b' "$scratch/elf"
nm -D "$build/organ" | grep -oE '__[a-z]+_chk\b' | sort -u >"$scratch/fortified"
has "organ: memcpy into known room is not checked" '^__memcpy_chk$' "$scratch/fortified"
has "organ: vsnprintf is not checked" '^__vsnprintf_chk$' "$scratch/fortified"

# ---- flags of the compiler in every object ----
machine=$(readelf -hW "$build/organ" | sed -n 's/ *Machine: *//p')
case $machine in
*X86-64) feature='x86 feature: IBT, SHSTK' ;;
AArch64) feature='AArch64 feature: BTI, PAC' ;;
*) feature="no $machine" ;;
esac
for archive in liborgan cli serve; do
    readelf -nW "$build/$archive.a" 2>/dev/null |
        awk -v feature="$feature" '/^File: / { if (name && !seen) print name; name = $2; seen = 0 } index($0, feature) { seen = 1 }
            END { if (name && !seen) print name; if (!name) print "no objects" }' >"$scratch/without"
    has_not "$archive.a: objects whose jumps and returns the processor cannot check" . "$scratch/without"
done
# Only gcc writes its options into the debug information.
readelf -p .debug_str "$build/organ" 2>/dev/null | grep -o 'GNU C11 .*' >"$scratch/producers"
if [[ -s $scratch/producers ]]; then
    for option in -fstack-protector-strong -fstack-clash-protection; do
        # Only tables of kernels have no stack protector (build.ninja gives the reason).
        grep -v -e "$option" -e "-fno-var-tracking .*-fno-stack-protector" "$scratch/producers" >"$scratch/without"
        has_not "organ: objects without $option" . "$scratch/without"
    done
fi
# Level 3 of _FORTIFY_SOURCE also checks buffers whose size is known only at run time.
variable() { sed -n "s/^$1 = //p" build.ninja; }
fortify=$(variable hardening | grep -oE -- '-[UD]_FORTIFY_SOURCE[^ ]*')
cat >"$scratch/room.c" <<'END'
#include <stdlib.h>
#include <string.h>
char *copied(const char *from, size_t room, size_t n);
char *copied(const char *from, size_t room, size_t n)
{
    char *to = malloc(room);
    return to ? memcpy(to, from, n) : to;
}
END
# shellcheck disable=SC2086 # lists of words
${CC:-cc} -O2 $fortify -S "$scratch/room.c" -o "$scratch/room.s"
has "room that is counted at run time is not checked" '__memcpy_chk' "$scratch/room.s"

# ---- no path of this machine ----
for file in organ liborgan.so liborgan.a; do
    grep -qaF -- "$PWD" "$build/$file" && echo "$file"
done >"$scratch/names"
has_not "files that name where they were built" . "$scratch/names"

finish
