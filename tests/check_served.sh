#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# README and docs/servers.md have the tables of what servers multiply as one and how they round activations, between marks <!-- NAME --> and <!-- /NAME -->.
# `check_served.sh --write` writes them; otherwise they must be those of the program. Ends with the line "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
. tests/kit/counts.sh

# part FILE NAME WIDTH: the file with the part that the program prints, its lines folded to WIDTH.
part() {
    { build/checks/served_tables "$2" | fold -s -w "$3" | sed 's/ *$//'; } >"$scratch/part"
    sed -e "/^<!-- $2 -->\$/,/^<!-- \/$2 -->\$/{/^<!-- /!d}" -e "/^<!-- $2 -->\$/r $scratch/part" "$1"
}

while read -r file name width; do
    here="$file, $name"
    part "$file" "$name" "$width" >"$scratch/whole"
    judge "the marks are missing" grep -qx "<!-- /$name -->" "$file"
    if [[ ${1:-} == --write ]]; then cp "$scratch/whole" "$file"; fi
    judge "the part is not that of the program: run tests/check_served.sh --write" cmp "$scratch/whole" "$file"
done <<'PARTS'
README.md README 120
docs/servers.md fused 2000
docs/servers.md served 2000
docs/servers.md embeddings 120
PARTS
conclude
