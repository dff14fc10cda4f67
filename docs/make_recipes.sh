#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make_recipes.sh [/FILE]: makes docs/recipes.tsv, or /FILE: what each command of README's table of recipes needs for Qwen3-30B-A3B, by its dry run on a
# model of the published shapes without data. Needs build/organ and build/bench/make_model.
# The hours are those of $threads threads of $cpu: there a thread does $products operations and copies $bytes bytes in a second. They follow from the
# plan as run.plan.seconds does (docs/definitions/counts.md), once with memory_enough and once with memory_good, so they are the same on every
# machine.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-docs/recipes.tsv}
organ=$PWD/build/organ make_model=$PWD/build/bench/make_model
cpu="AMD EPYC (Zen 5)" threads=2 products=236e9 bytes=63e9
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The commands of the table, one a line, with the number of their row.
commands() {
    awk '/^<!-- recipes -->$/ { inside = 1; next }
        !inside { next }
        !/^\|/ { exit }
        {
            row++
            for (text = $0; row > 2 && match(text, /`organ [^`]*`/); text = substr(text, RSTART + RLENGTH))
                print row - 2 "\t" substr(text, RSTART + 1, RLENGTH - 2)
        }' README.md
}

# planned MEMORY: prints the report of a dry run of the command in $words.
planned() { (cd "$scratch/area" && "$organ" "${words[@]:1}" --dry-run --json --quiet --threads $threads --memory "$1" </dev/null); }

commands >"$scratch/commands"
[[ -s $scratch/commands ]] || { echo "$0: README.md has no table of recipes" >&2 && exit 1; }
mkdir "$scratch/area"
"$make_model" "$scratch/area/MODEL" 48 experts holes
"$make_model" "$scratch/area/HALF" 48 experts=64 holes
cat fixtures/tiny-qwen2/{calibration,heldout}.txt >"$scratch/area/TEXT"
{
    printf '# made by docs/make_recipes.sh; hours of %d threads of %s\n' $threads "$cpu"
    printf '# row\toutput_bytes\tmemory_enough\tmemory_good\tproducts\tbytes\thours_enough\thours\tcommand\n'
    while IFS=$'\t' read -r row command; do
        read -ra words <<<"$command"
        made=$(sed 's/.* -o \([^ ]*\).*/\1/' <<<"$command")
        if [[ -e $scratch/area/$made ]]; then mv "$scratch/area/$made" "$scratch/aside"; fi
        planned 64G >"$scratch/plan.json"
        least=$(jq '.plan | select(.memory_enough < .memory_good).memory_enough' "$scratch/plan.json")
        if [[ -n $least ]]; then planned "$least"; else cat "$scratch/plan.json"; fi >"$scratch/least.json"
        if [[ -e $scratch/aside ]]; then mv "$scratch/aside" "$scratch/area/$made"; fi
        jq -r --arg row "$row" --arg command "$command" --argjson speed $products --argjson copied $bytes --argjson threads $threads \
            --slurpfile least "$scratch/least.json" \
            'def hours: (.products / (0.75 * $speed) + 6 * .bytes / $copied) / $threads / 36 | round / 100;
             .plan | [$row, .output_bytes, .memory_enough, .memory_good, .products, .bytes, ($least[0].plan | hours), hours, $command] | @tsv' \
            "$scratch/plan.json"
    done <"$scratch/commands"
} >"$scratch/recipes.tsv"
mv "$scratch/recipes.tsv" "$out"
