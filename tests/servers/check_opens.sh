#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks docs/opens.tsv and docs/opens.md against the tables of `ninja test-servers`, and the commands of these against organ, without network, Python or
# servers. Ends with the line "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
tables=tests/servers
rows() { grep -v '^#' "$tables/$1.tsv"; }

here=docs/opens.md
docs/make_opens.sh --check >"$scratch/out" 2>&1 || bad "docs/make_opens.sh would change it" "$scratch/out"
judge "has no table of a server" grep -q '^|opens' docs/opens.md
sed '2s/\topens\t/\tdiffers\t/' docs/opens.tsv >"$scratch/other.tsv"
judge "the check finds no change" eval '! OPENS_TABLE=$scratch/other.tsv docs/make_opens.sh --check >/dev/null'
while read -r server; do judge "has no part of $server" grep -qxF "<!-- $server -->" docs/opens.md; done < <(rows servers | cut -f 1)

here=docs/opens.tsv
# odd TABLE: prints rows that do not have the columns, verdicts and names of the other tables.
odd() {
    awk -F '\t' '
        FILENAME ~ /servers\.tsv$/ { if (!/^#/) version[$1] = $2; next }
        FILENAME ~ /forms\.tsv$/ { if (!/^#/) { split($3, list, ","); for (k in list) tried[$1, list[k]] = $4 } next }
        FNR == 1 { if ($0 != "output\tmodel\tserver\tversion\tverdict\tfigure\tdate\tnote") print; next }
        NF != 8 || version[$3] != $4 || !(($1, $3) in tried) || (tried[$1, $3] != "*" && index("," tried[$1, $3] ",", "," $2 ",") == 0) { print; next }
        $5 !~ /^(opens|opens, reference kernel|differs|refuses|not run|not written)$/ || $7 !~ /^20[0-9][0-9]-[01][0-9]-[0-3][0-9]$/ { print; next }
        ($5 ~ /^(opens|differs)/) != ($6 ~ /^[-+][0-9]+\.[0-9]+$/) || ($5 ~ /^(refuses|not)/ && $8 == "") || seen[$1, $2, $3]++ { print }' \
        $tables/servers.tsv $tables/forms.tsv "$1"
}
odd docs/opens.tsv >"$scratch/odd"
judge "rows do not fit the tables of tests/servers: $(head -n 3 "$scratch/odd")" test ! -s "$scratch/odd"
sed '2s/\t20[0-9-]*\t/\tyesterday\t/' docs/opens.tsv >"$scratch/other.tsv"
judge "a row without a date passes" test -n "$(odd "$scratch/other.tsv")"

here=$tables/forms.tsv
judge "has no rows" test "$(rows forms | wc -l)" -gt 50
rows forms | awk -F '\t' '{ count = split($3, list, ","); for (k = 1; k <= count; k++) print list[k] "\t" $1 }' >"$scratch/cells"
rows servers | cut -f 1 | sort >"$scratch/names"
judge "names a server that $tables/servers.tsv does not have" test -z "$(cut -f 1 "$scratch/cells" | sort -u | comm -23 - "$scratch/names")"
# Each pair of a server and an output has a bound. Perl's \w is [A-Za-z0-9_] here.
rows bounds | cut -f 1,2 | sed 's/\\w/[A-Za-z0-9_]/g' >"$scratch/bounds"
judge "an output has no bound in $tables/bounds.tsv" awk -F '\t' '
    NR == FNR { server[NR] = $1; pattern[NR] = "^(" $2 ")$"; count = NR; next }
    { for (k = 1; k <= count; k++) if (server[k] == $1 && ($2 " qwen3_moe") ~ pattern[k]) next; print; bad = 1 }
    END { exit bad }' "$scratch/bounds" "$scratch/cells"
# organ knows all options and schemes of the commands: it plans the first command of each row.
mkdir "$scratch/plans"
while IFS=$'\t' read -r name kind _ _ commands; do
    here="$tables/forms.tsv: $name"
    first=${commands%% && *} model=fixtures/tiny-qwen2
    [[ $first != *GGUF* ]] || model=fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
    [[ $first != *ADAPTER* && $first != experts* ]] || continue
    out=$scratch/plans/out
    [[ $kind != gguf || $first != *OUT* ]] || out+=.gguf
    words=()
    read -ra parts <<<"$first"
    for word in "${parts[@]}"; do
        case $word in
        MODEL | GGUF) words+=("$model") ;;
        OUT | STEP | BESIDE) words+=("$out") ;;
        CALIBRATED) words+=(--calibration fixtures/tiny-qwen2/calibration.txt --samples 8 --context 128) ;;
        *) words+=("$word") ;;
        esac
    done
    build/organ "${words[@]}" --dry-run --quiet >"$scratch/out" 2>"$scratch/err"
    status=$?
    # The rows of the fixture may be too short for a scheme, its weights quantised already, and it has no head of its own: such a refusal comes after the
    # options were understood.
    if ((status == 0 || status == 3)) || grep -q "no matrix of .* matches .lm_head" "$scratch/err"; then good; else bad "organ ${words[*]}: ends with $status" "$scratch/err"; fi
done < <(rows forms)
finish
