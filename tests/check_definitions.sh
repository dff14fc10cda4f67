#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares the pages of docs/definitions, docs/formats.md and CONTRIBUTING.md with the sources: constants, block types, names of definitions
# and of schemas, members of documents, paths. Run from the root; ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
scratch=$(mktemp -d) || exit 1
definitions=(docs/definitions.md docs/definitions/*.md)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

pass() { passed=$((passed + 1)); }
fail() {
    printf '%s\n' "$*"
    failed=$((failed + 1))
}

# Prints the value of a constant in a source: a #define, a member of an enum, or an initialised variable or array. Prints nothing if none exists.
value_in() {
    sed -E -e ':join' -e '/\\$/{N;s/ *\\\n */ /;bjoin' -e '}' -e 's,/\*.*\*/,,' -e 's,/\*.*$,,' "$2" | awk -v name="$1" '
        function tidy(text) {
            gsub(/\((size_t|uint64_t|uint32_t)\)|UINT64_C/, "", text)
            gsub(/^[ \t]+|[ \t;,]+$/, "", text)
            while (text ~ /^\(.*\)$/) text = substr(text, 2, length(text) - 2)
            return text
        }
        $1 == "#define" && $2 == name { sub(/^#define[ \t]+[A-Za-z0-9_]+[ \t]+/, ""); print tidy($0); exit }
        /^ *enum / && match($0, "[{ ,]" name " = [^,}]*") { text = substr($0, RSTART, RLENGTH); sub(/^[^=]*= /, "", text); print tidy(text); exit }
        match($0, "^static const .*[ *]" name "(\\[[^]]*\\])? = ") { print tidy(substr($0, RSTART + RLENGTH)); exit }'
}

# Reads a table of page, name, value and file, and prints constants that differ from the source. Sets $constants to their number.
differing() {
    constants=0
    local page name value file found
    while IFS=$'\t' read -r page name value file; do
        constants=$((constants + 1))
        found=$([[ -f $file ]] && value_in "$name" "$file")
        [[ $found == "$value" && -f docs/$page.md ]] || echo "$name of $page is $value in the table, but '$found' in $file"
    done < <(tail -n +2 "$1")
}

table=docs/definitions/constants.tsv
differing "$table" >"$scratch/differing"
if [[ -s $scratch/differing ]]; then fail "$(cat "$scratch/differing")"; else pass; fi
if ((constants >= 180)); then pass; else fail "$table has $constants constants, fewer than 180"; fi

# The comparison reports a wrong value, a wrong name and a wrong file.
sed -E 's/\t(HAAR_LEVELS)\t5/\t\1\t6/; s/\tTAU\t/\tTAUX\t/; s/(\tFAR\t.*)autopsy_changes/\1autopsy/' "$table" >"$scratch/wrong.tsv"
differing "$scratch/wrong.tsv" >"$scratch/differing"
if [[ $(wc -l <"$scratch/differing") == 3 ]]; then pass; else fail "three wrong constants give: $(cat "$scratch/differing")"; fi

# docs/formats.md lists the flags of tokenizer_config.json that the source applies.
sed -nE '/ flags\[\] = /,/^};/s/^ *\{"([a-z_]+)",.*/\1/p' formats/tokenizer/config_flags.c | sort >"$scratch/flags"
sed -nE '/change ids in transformers/,/^Tokens that/s/^\|`([a-z_]+)`\|.*/\1/p' docs/formats.md | sort | diff - "$scratch/flags" >"$scratch/differing"
if [[ -s $scratch/flags && ! -s $scratch/differing ]]; then pass; else fail "flags of docs/formats.md and formats/tokenizer/config_flags.c: $(cat "$scratch/differing")"; fi

# The pages contain every definition that a document can name, and the sources contain every schema that the pages name.
grep -rhoE '"[a-z0-9-]+/1"' orchestrator --include='*.[ch]' | tr -d '"' | sort -u >"$scratch/named"
while read -r name; do
    if grep -qF "$name" "${definitions[@]}"; then pass; else fail "docs/definitions does not have the definition $name"; fi
done < <(grep -v '^compensated-pruning/' "$scratch/named")
while read -r schema; do
    if grep -rqF "\"$schema\"" orchestrator formats --include='*.[ch]'; then pass; else fail "no source has the schema $schema"; fi
done < <(grep -ohE 'organ\.[a-z_]+/[0-9]+' "${definitions[@]}" docs/formats.md CONTRIBUTING.md | sort -u)

# Each part of a member "a.b[].c" after "appear in" is a string in the sources.
git grep -hoE '"[A-Za-z_0-9]+"' -- 'orchestrator/*.c' 'orchestrator/*.h' 2>/dev/null | sort -u >"$scratch/texts" ||
    grep -rhoE '"[A-Za-z_0-9]+"' orchestrator --include='*.[ch]' | sort -u >"$scratch/texts"
members() {
    # shellcheck disable=SC2016 # these are awk's and grep's
    awk -v RS= '{ if (match($0, /ppears?[ \n]in/)) print substr($0, RSTART) }' "$@" | grep -oE '`[a-zA-Z_0-9.]+(\[\][a-zA-Z_0-9.]*)*`' |
        grep -vE '\.(jsonl|md|json)`|^`organ\.' | tr '`.[]' '\n\n\n\n' | grep . | sort -u
}
members "${definitions[@]}" >"$scratch/members"
while read -r member; do
    if grep -qxF "\"$member\"" "$scratch/texts"; then pass; else fail "docs/definitions: no document has a member '$member'"; fi
done <"$scratch/members"
if (($(wc -l <"$scratch/members") >= 60)); then pass; else fail "docs/definitions names only $(wc -l <"$scratch/members") members"; fi

# The paths that the pages name exist.
while read -r path; do
    if [[ -e $path ]]; then pass; else fail "a page names $path, which is not there"; fi
done < <(grep -ohE '`(kernels|formats|orchestrator|tests|fixtures|docs)/[A-Za-z0-9_./-]*`' "${definitions[@]}" docs/formats.md CONTRIBUTING.md |
    tr -d '`' | grep -v NAME | sort -u)

# The page of merging has every method.
while read -r method; do
    if grep -qw "$method" docs/definitions/merging.md; then pass; else fail "docs/definitions/merging.md does not have the method $method"; fi
done < <(sed -nE 's/^ *METHOD\(([a-z_]+)\).*/\1/p' include/organ/merge_methods.h)

# The block types of GGUF, rows "| type | name | elements | bytes |", equal the table in the source.
{
    sed -nE 's/^ *\[ORGAN_[A-Z0-9_]+\] = \{"([A-Z0-9_]+)", ([0-9]+), ([0-9]+), [a-z]+, ([0-9]+)\},/| \4 | \1 | \2 | \3 |/p' formats/tensor/tensor.c
    sed -nE 's/^ *X\(([A-Z0-9_]+), ([0-9]+), ([0-9]+), ([0-9]+)\).*/| \4 | \1 | \2 | \3 |/p' include/organ/models.h
} |
    sort >"$scratch/types"
sed -n '/^The list has number/,/^organ rejects/p' docs/formats.md | grep -oE '[0-9]+ [A-Z][A-Z0-9_]* +[0-9]+/[0-9]+' |
    sed -E 's,^([0-9]+) ([^ ]+) +([0-9]+)/([0-9]+)$,| \1 | \2 | \3 | \4 |,' | sort >"$scratch/told"
if diff "$scratch/types" "$scratch/told" >"$scratch/differing" && [[ -s $scratch/types ]]; then
    pass
else
    fail "types of GGUF, source < > docs/formats.md: $(cat "$scratch/differing")"
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
