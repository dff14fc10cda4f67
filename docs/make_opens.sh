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

# rows SERVER: prints the rows of the server's table. They name the models of an output, unless all that it is tried with have the verdict.
# shellcheck disable=SC2016
rows() {
    awk -F '\t' -v server="$1" '
        BEGIN { split("opens|opens, reference kernel|differs|refuses|not run", order, "|") }
        FILENAME ~ /forms\.tsv$/ { models_of[$1] = $4 == "*" ? 5 : split($4, list, ","); next }
        FNR == 1 || $3 != server { next }
        $5 == "not written" { models_of[$1]--; next }
        {
            message = $8
            sub(/^; /, "", message)
            gsub(/\|/, "/", message)
            if (length(message) > 90) message = substr(message, 1, 87) "..."
            group = $5 "\t" ($5 ~ /^opens/ ? "" : message)
            if (!(group in seen)) { seen[group] = 1; groups[++count] = group }
            if (!((group, $1) in models)) outputs[group] = outputs[group] "\n" $1
            models[group, $1] = models[group, $1] (models[group, $1] == "" ? "" : ", ") $2
            count_of[group, $1]++
            size = $6 < 0 ? -$6 : +$6
            if (size > most[group]) most[group] = size
        }
        # The outputs of a group, by the models for which they have its verdict.
        function listed(group,    k, n, names, part, text, m, parts, lists) {
            n = split(substr(outputs[group], 2), names, "\n")
            for (k = 1; k <= n; k++) {
                part = count_of[group, names[k]] == models_of[names[k]] ? "" : models[group, names[k]]
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
                    printf "|%s|%s|%s|%s|\n", part[1], listed(groups[g]), part[1] ~ /^(opens|differs)/ ? sprintf("%.4f", most[groups[g]]) : "", part[2]
                }
        }' tests/servers/forms.tsv "$table"
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
