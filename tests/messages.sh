#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# messages.sh FOLDER: writes the errors, warnings and notes that the scripts of a test run recorded in the folder (`record` of tests/kit/cli_kit.sh) into
# tests/messages.tsv, whose difference is read before a release. A row has the suite, the words of the command and a line of stderr. Rows of suites that
# did not run stay, and those of a suite that took samples or failed, which need not have all its messages.
set -uo pipefail
export LC_ALL=C
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
table=$(dirname "$0")/messages.tsv

# Replaces numbers that depend on the machine or the moment: memory, ports, processes, and how far a run that was stopped came.
sed -E -e 's/(--memory )[0-9.]+[kMGT]/\1N/g' -e 's/(127\.0\.0\.1:)[0-9]+/\1N/g' -e 's/process [0-9]+/process N/g' -e 's/(organ-outline-)[A-Za-z0-9]{6}/\1N/g' \
    -e '/\t[a-z]+: (continuing|stopped|interrupted)/s/[0-9]+/N/g' "$1"/*.rows | sort -u >"$scratch/said"
cat "$1"/*.whole 2>/dev/null >"$scratch/whole"
awk -F '\t' 'FILENAME == ARGV[1] { ran[$1]; next } !($1 in ran)' "$scratch/whole" "$table" | sort -u - "$scratch/said" >"$scratch/table"
echo "$table: $(comm -13 "$table" "$scratch/table" | wc -l) new rows, $(comm -23 "$table" "$scratch/table" | wc -l) gone"
cp "$scratch/table" "$table"
