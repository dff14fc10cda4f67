#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs two builds of organ on small models and compares what they write, for a change that must not change results:
#   tests/compare_builds.sh BEFORE AFTER [PATTERN]
# The commands are in compare_builds.txt; with a PATTERN only those that match it (extended regular expression; a command that reads the output of an
# earlier one needs that one as well). Compared are the exit code, errors, warnings and notes, the document on stdout and each file that the
# command wrote. JSON is compared without times, memory, dates and what else depends on the run, and reports for readers are left out. Ends with the line "N passed, N failed".
top=$(realpath "$(dirname "$0")/..")
if (($# < 2 || $# > 3)); then
    sed -n 's/^#   /usage: /p' "$0" >&2
    exit 2
fi
declare -A program
program[before]=$(realpath -e "$1") && program[after]=$(realpath -e "$2") || exit 2
pattern=${3:-}
. "$top/tests/kit/counts.sh"

# comparable FILE: prints a JSON file without the members that depend on the run, or without what states the bytes of reports; other files as they are.
comparable() {
    local depends='second|elapsed|wall|processor|time|date|started|memory|peak|activity|rate|host|threads|version|commit|uuid|created|_ns$|inode|^seal$'
    jq -S --arg depends "$depends" 'walk(if type == "object" then with_entries(select(.key | test($depends) | not)) else . end)
        | if type == "object" then del(.run) | .files? |= (if type == "object" then with_entries(select(.key | test("_REPORT|^organ/") | not))
            elif type == "array" then map(select(tostring | test("_REPORT|^organ/") | not)) else . end) else . end' "$1" 2>/dev/null || cat "$1"
}

# The directory of a build: the fixtures by short names, and its outputs.
for build in before after; do
    mkdir -p "$scratch/$build/o"
    ln -s "$top/fixtures" "$scratch/$build/fixtures"
    for model in "$top"/fixtures/tiny-*/; do
        model=$(basename "$model")
        ln -s "fixtures/$model" "$scratch/$build/${model#tiny-}"
    done
    ln -s fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf "$scratch/$build/q8.gguf"
done

# run BUILD ARGS...: runs a build in its directory; prints all that is compared but the files.
run() {
    local build=$1
    shift
    (
        cd "$scratch/$build" || exit 1
        "${program[$build]}" "$@" >../document 2>../messages </dev/null
        echo "exit code $?"
        grep -E '^(error|warning|note): ' ../messages | sed -E 's/[0-9.]+ (ms|s|seconds|minutes)\b/TIME/g'
        comparable ../document | sed -E 's/ *[0-9.]+ (ms|s|seconds|minutes|MB\/s|GB\/s)\b/ TIME/g'
    ) >"$scratch/$build.said"
}

# files BUILD: prints the files that this build has written so far.
files() { (cd "$scratch/$build" && find o -type f | LC_ALL=C sort); }

while IFS= read -r line; do
    [[ -z $line || $line == '#'* ]] && continue
    [[ -n $pattern && ! $line =~ $pattern ]] && continue
    here="organ $line"
    read -ra arguments <<<"$line"
    for build in before after; do
        files >"$scratch/$build.old"
        run "$build" "${arguments[@]}"
        files | LC_ALL=C comm -13 "$scratch/$build.old" - >"$scratch/$build.new"
    done
    same "says something else" "$scratch/before.said" "$scratch/after.said"
    same "writes files of other names" "$scratch/before.new" "$scratch/after.new"
    while IFS= read -r file; do
        cmp -s "$scratch/before/$file" "$scratch/after/$file" && continue
        case $file in
            *REPORT.html | *REPORT.md) ;; # made of the document, with times
            *.json) same "writes another $file" <(comparable "$scratch/before/$file") <(comparable "$scratch/after/$file") ;;
            *) bad "writes another $file" ;;
        esac
    done <"$scratch/before.new"
done <"$top/tests/compare_builds.txt"
finish
