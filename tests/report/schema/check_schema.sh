#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs `organ schema`: the list, each schema, and names that it refuses. Every document that the sources name has its schema, and documents of some verbs
# have the members of theirs. `ninja test-schemas` validates those of all suites.
. "$(dirname "$0")/../../kit/cli_kit.sh"
here="organ schema"
tests=$top/tests/report/schema

# Files for organ alone: its journals, the record of a run, and of a job of the server.
inner=" organ.journal/1 organ.measure-journal/2 organ.fleet-state/2 organ.run/1 organ.job/1 "

ends 0 schema
prints "organ.prune/1"
ends 0 schema --json
mapfile -t names < <(jq -r '.schemas[].name' ../out)
holds ../out '.schema == "organ.schemas/1"' '.schemas | length > 40' 'all(.schemas[]; .title | length > 4)' '[.schemas[].name] | . == (sort | unique)'
mkdir schemas
for name in "${names[@]}"; do
    ends 0 schema "$name"
    cp ../out "schemas/${name//\//.}"
done
ends 0 schema organ.prune/1 --json
judge "--json changes a schema" cmp ../out schemas/organ.prune.1
here="all schemas"
jq -e -s 'all(.[]; .["$schema"] == "https://json-schema.org/draft/2020-12/schema" and .type == "object")' schemas/* >../held
judge "a schema is of another draft, or of no object" test "$(<../held)" = true
jq -r '.properties.schema.const // "organ.progress/1"' schemas/* | LC_ALL=C sort >../ids
judge "a schema is of documents that name another" diff <(printf '%s\n' "${names[@]}" | LC_ALL=C sort) ../ids
# none WHAT FILTER: the filter prints nothing about any schema.
none() {
    jq -r ". as \$schema | $2 | input_filename + \" \" + ." schemas/* >../found
    judge "$1: $(head -n 1 ../found)" test ! -s ../found
}
# shellcheck disable=SC2016 # $ is jq's
{
    none "a reference leads nowhere" '[.. | objects | .["$ref"] // empty] | unique[] | select(ltrimstr("#/$defs/") as $name | $schema["$defs"][$name] | not)'
    none "an object with fixed members allows others" \
        '.. | objects | select(.type == "object" and (.properties | type == "object") and (has("additionalProperties") | not)) | .properties | keys | tojson'
    none "a required member is not described" '.. | objects | select(.type == "object" and has("required")) | .required - (.properties // {} | keys) | .[]'
}

here="the sources"
grep -rhoE '"organ\.[a-z_-]+/[0-9]+"' "$top/orchestrator" "$top/formats" --include='*.[ch]' | tr -d '"' | LC_ALL=C sort -u >../named
while read -r name; do
    [[ $inner == *" $name "* ]] || judge "$name has no schema" grep -qxF "$name" ../ids
done <../named

# Every part of sentences that the sources name is in the text of the document or in common.txt.
find "$top/orchestrator/" -name '*.c' -exec cat {} + | tr -s '\n ' ' ' | grep -oE '(SET_|organ_)(SENTENCES|sentences)\( ?"organ\.[a-z_]+/[0-9]+", "[a-z_]+"' |
    sed -E 's,.*"organ\.([a-z_]+)/[0-9]+"\, "([a-z_]+)",\1 \2,' | LC_ALL=C sort -u >../parts
judge "only $(wc -l <../parts) parts of sentences" test "$(wc -l <../parts)" -ge 25
while read -r name part; do
    judge "$name has no sentences $part" grep -rqE --include="$name.txt" --include=common.txt "^\\\$$part  sentences" "$top/orchestrator/report/schema/documents"
done <../parts

# Five members that stand twice in the texts are a part of kind "members" (schema_text.h).
twice() {
    awk 'FNR == 1 { number = 0 }
        { match($0, /^ */); indent[++number] = RLENGTH; line[number] = substr($0, RLENGTH + 1) }
        number >= 5 {
            text = ""
            for (k = number - 4; k <= number; k++) text = text (indent[k] - indent[number - 4]) " " line[k] "\n"
            if (text in seen) print FILENAME ", line " number - 4 ": as " seen[text]
            seen[text] = FILENAME ", line " number - 4
        }' "$@"
}
twice "$top"/orchestrator/report/schema/documents/{,audits/}*.txt >../found
judge "members stand twice: $(head -n 1 ../found)" test ! -s ../found

refused 2 "did you mean 'organ.prune/1'?" schema prune
refused 2 "did you mean 'organ.lora_merge/1'?" schema organ.lora-merge/1
refused 2 "'organ schema' lists all" schema bread
refused 2 "--html" schema organ.prune/1 --html page.html
ends 0 schema --html page.html
judge "the page lacks a schema" grep -q organ.prune/1 page.html

# is_valid FILE: the document has the form that its schema states.
is_valid() {
    local name
    name=$(jq -r .schema "$1")
    jq -rn --slurpfile schema "schemas/${name//\//.}" --slurpfile document "$1" -f "$tests/faults.jq" >../faults
    judge "$1 breaks $name: $(head -n 1 ../faults)" test ! -s ../faults
}
here="documents"
ends 0 schema --json
is_valid ../out
ends 0 inspect tiny-qwen2 --json
is_valid ../out
jq '.totals.surprise = 1' ../out >other && jq -rn --slurpfile schema schemas/organ.inspect.1 --slurpfile document other -f "$tests/faults.jq" >../faults
judge "a member without a schema is not found" grep -q 'totals: has surprise' ../faults
jq 'del(.totals.bytes) | .organ = 1' ../out >other && jq -rn --slurpfile schema schemas/organ.inspect.1 --slurpfile document other -f "$tests/faults.jq" >../faults
judge "a missing member is not found" grep -q 'totals: lacks bytes' ../faults
judge "another type is not found" grep -q 'organ: is integer, not string' ../faults
ends 0 quantize tiny-qwen2 -o small --scheme int4-group32 --select 0 --quiet
is_valid small/organ/quantize.json
is_valid small/organ/files.json
ends 0 convert small -o small.gguf --to gguf --json --quiet
is_valid ../out
is_valid small.convert.json
ends 0 topology --json
is_valid ../out
finish
