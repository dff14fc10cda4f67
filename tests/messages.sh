#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# messages.sh FOLDER: compares the errors, warnings and notes that the scripts of a test run recorded in the folder (`record` of tests/kit/cli_kit.sh) with
# tests/messages.tsv. A row has the suite, the words of the command and a line of stderr. Rows of suites that did not run are not compared, and a suite
# that took samples or failed need not have all its rows. With BLESS=yes the script writes what differs into the table. Ends with the line
# "N passed, N failed".
set -uo pipefail
export LC_ALL=C
. "$(dirname "$0")/kit/counts.sh"
table=$(dirname "$0")/messages.tsv

# Replaces numbers that depend on the machine or the moment: memory, ports, processes, and how far a run that was stopped came.
sed -E -e 's/(--memory )[0-9.]+[kMGT]/\1N/g' -e 's/(127\.0\.0\.1:)[0-9]+/\1N/g' -e 's/process [0-9]+/process N/g' -e 's/(organ-outline-)[A-Za-z0-9]{6}/\1N/g' \
    -e '/\t[a-z]+: (continuing|stopped|interrupted)/s/[0-9]+/N/g' "$1"/*.rows | sort -u >"$scratch/said"
cat "$1"/*.whole 2>/dev/null >"$scratch/whole"
# rows FILE: prints the rows of the table whose suite is in the first column of the file.
rows() { awk -F '\t' 'FNR == NR { ran[$1]; next } $1 in ran' "$1" "$table"; }
rows "$scratch/said" | comm -13 - "$scratch/said" >"$scratch/new"
rows "$scratch/whole" | comm -23 - "$scratch/said" >"$scratch/gone"
if [[ ${BLESS:-} == yes ]]; then
    sort -u "$table" "$scratch/new" | comm -23 - "$scratch/gone" >"$scratch/table"
    cp "$scratch/table" "$table"
    : | tee "$scratch/new" >"$scratch/gone"
fi
awk -F '\t' '{ key = $1 ": " $2; lines[key] = lines[key] "\n    " (FILENAME == ARGV[1] ? "+ " : "- ") $3 }
             END { for (key in lines) print "FAILED " key lines[key] }' "$scratch/new" "$scratch/gone"
failed=$(cut -f 1,2 "$scratch/new" "$scratch/gone" | sort -u | wc -l)
passed=$(comm -23 "$scratch/said" "$scratch/new" | wc -l)
conclude
