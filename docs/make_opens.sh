#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes the tables of docs/opens.md from docs/opens.tsv, which `ninja test-servers` writes.
#   docs/make_opens.sh [--check]
# A block between "<!-- NAME -->" and "<!-- /NAME -->" has the rows of the server NAME: outputs with the same verdict and message are one row. --check
# writes nothing, and fails if the page would change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
table=${OPENS_TABLE:-docs/opens.tsv}
page=${OPENS_PAGE:-docs/opens.md}

# rows SERVER: prints the rows of the server's table. Models in which an output has another verdict than in the others are named.
# shellcheck disable=SC2016
rows() {
    awk -F '\t' -v server="$1" '
        BEGIN { split("opens|opens, reference kernel|differs|refuses|not run", order, "|") }
        NR == 1 || $3 != server || $5 == "not written" { next }
        {
            group = $5 "\t" ($5 ~ /^opens/ ? "" : $8)
            if (!(group in seen)) { seen[group] = 1; groups[++count] = group }
            if (!((group, $1) in models)) outputs[group] = outputs[group] "\n" $1
            models[group, $1] = models[group, $1] (models[group, $1] == "" ? "" : ", ") $2
            tried[$1] = tried[$1] (tried[$1] == "" ? "" : ", ") $2
            size = $6 < 0 ? -$6 : +$6
            if (size > most[group]) most[group] = size
        }
        # The outputs of a group, by the models for which they have its verdict.
        function listed(group,    k, n, names, part, text, m, parts, lists) {
            n = split(substr(outputs[group], 2), names, "\n")
            for (k = 1; k <= n; k++) {
                part = models[group, names[k]] == tried[names[k]] ? "" : models[group, names[k]]
                if (!(part in lists)) parts[++m] = part
                lists[part] = lists[part] (lists[part] == "" ? "" : ", ") "`" names[k] "`"
            }
            for (k = 1; k <= m; k++) text = text (k > 1 ? "; " : "") lists[parts[k]] (parts[k] == "" ? "" : " of " parts[k])
            return text
        }
        END {
            print "|verdict|outputs|largest difference, nats|message|"
            print "|---|---|--:|---|"
            for (o = 1; o <= 5; o++)
                for (g = 1; g <= count; g++) {
                    split(groups[g], part, "\t")
                    if (part[1] != order[o]) continue
                    gsub(/\|/, "/", part[2])
                    message = length(part[2]) > 90 ? substr(part[2], 1, 87) "..." : part[2]
                    printf "|%s|%s|%s|%s|\n", part[1], listed(groups[g]), part[1] ~ /^(opens|differs)/ ? sprintf("%.4f", most[groups[g]]) : "", message
                }
        }' "$table"
}

# Prints the page with new tables.
written() {
    local line inside=
    while IFS= read -r line; do
        if [[ -n $inside ]]; then
            [[ $line != "<!-- /$inside -->" ]] || { echo "$line" && inside=; }
            continue
        fi
        echo "$line"
        [[ $line =~ ^\<!--\ ([a-z.-]+)\ --\>$ ]] || continue
        inside=${BASH_REMATCH[1]}
        rows "$inside"
    done <"$page"
}

made=$(mktemp)
trap 'rm -f "$made"' EXIT
written >"$made"
if [[ ${1:-} == --check ]]; then
    diff "$page" "$made"
else
    cat "$made" >"$page"
fi
