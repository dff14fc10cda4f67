#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares the ABI of liborgan.so (its soname, its symbols, and the offsets of members of public structures) with liborgan.abi in this folder;
# `tests/package/check_abi.sh --renew` writes that file again. New symbols and structures may be added at any time; removing or moving one needs a new
# soname (build.ninja, packaging/install.sh, packaging/liborgan.map, debian/). Needs a built tree (ninja), gcc or clang, and binutils. Ends with the
# line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
known=tests/package/liborgan.abi
. tests/kit/counts.sh
variable() { sed -e ':a' -e '/\$$/{N;s/\$\n *//;ba' -e '}' build.ninja | sed -n "s/^$1 = //p"; }

# Prints the structures, unions and enumerations of the public headers, from the debug information of a unit that includes all of them.
layouts() {
    echo "#include <organ/organ.h>" >"$scratch/all.c"
    # shellcheck disable=SC2086 # CC may be a command with words: "ccache gcc"
    ${CC:-cc} -std=c11 -Iinclude -gdwarf-4 -gstrict-dwarf -fno-eliminate-unused-debug-types -c "$scratch/all.c" -o "$scratch/all.o" || return
    readelf --debug-dump=info "$scratch/all.o" 2>/dev/null | awk '
        function value(text) { sub(/^[^:]*: */, "", text); sub(/^\(indirect string, offset: 0x[0-9a-f]+\): /, "", text); sub(/[ \t]+$/, "", text); return text }
        function flush_member() { if (part != "" && inner != "") parts[depth_of] = parts[depth_of] " " inner "@" place; part = inner = place = "" }
        function close_to(level, d) {
            for (d = open; d >= level; d--) if (d in name) {
                if (name[d] ~ /^organ_/) print kind[d], name[d], size[d] ":" parts[d]
                delete name[d]; delete kind[d]; delete size[d]; delete parts[d]
            }
        }
        /^ *<[0-9a-f]+><[0-9a-f]+>: Abbrev/ {
            flush_member()
            match($0, /<[0-9a-f]+>/); level = substr($0, RSTART + 1, RLENGTH - 2) + 0
            close_to(level); open = level; in_type = 0
            if (/DW_TAG_(structure|union|enumeration)_type/) {
                kind[level] = /structure/ ? "struct" : /union/ ? "union" : "enum"; name[level] = ""; size[level] = ""; parts[level] = ""; in_type = 1
            } else if (/DW_TAG_(member|enumerator)/) { part = "yes"; depth_of = level - 1; place = 0 }
            next
        }
        /DW_AT_name/ { if (part != "") inner = value($0); else if (in_type) name[open] = value($0) }
        /DW_AT_byte_size/ { if (in_type) size[open] = value($0) }
        /DW_AT_(data_member_location|const_value)/ { if (part != "") place = value($0) }
        END { flush_member(); close_to(0) }' | LC_ALL=C sort -u
}
interface() {
    readelf -dW build/liborgan.so | sed -nE 's/.*Library soname: \[(.*)\].*/soname \1/p'
    # Prints functions by name, data with its size.
    readelf --dyn-syms -W build/liborgan.so |
        awk '$7 != "UND" && $8 ~ /^organ_/ { print "symbol", $8, $4 == "OBJECT" ? "object " $3 : "function" }' | LC_ALL=C sort
    layouts
}
interface >"$scratch/now" || exit 1
if [[ ${1:-} == --renew ]]; then
    cp "$scratch/now" "$known" || exit
    git --no-pager diff --stat -- "$known" 2>/dev/null
    exit 0
fi
grep -vxFf "$scratch/now" "$known" >"$scratch/gone"
if [[ -s $scratch/gone ]]; then bad "gone or changed, which asks for another soname" "$scratch/gone"; else good; fi
grep -vxFf "$known" "$scratch/now" >"$scratch/new"
if [[ -s $scratch/new ]]; then bad "not in $known (tests/package/check_abi.sh --renew)" "$scratch/new"; else good; fi
# The version in the soname is that of every symbol.
number=$(sed -n 's/^soname liborgan\.so\.//p' "$scratch/now")
for file in packaging/liborgan.map:"ORGAN_$number {" packaging/install.sh:"liborgan.so.$number"; do
    if grep -qF "${file#*:}" "${file%%:*}"; then good; else bad "${file%%:*} has another number than $number"; fi
done
# The list contains a function and a structure that it must have.
for line in '^symbol organ_model_open@@ORGAN_5 function$' '^struct organ_error [0-9]+: .*message@[0-9]+' '^enum organ_status [0-9]+: ORGAN_OK@0 '; do
    if grep -qE "$line" "$scratch/now"; then good; else bad "there is no $line"; fi
done
finish
