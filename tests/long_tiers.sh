#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the long targets of ninja that tests/long_tiers.tsv names, one after another, also after a failure. Each row of that table has a tier, its target, its
# time limit in seconds and its settings, which the environment may override. `ninja test-tiers` calls the script.
#
#   TIERS="threads fuzz"   runs these tiers only
#   TIERS_LIST=FILE        another table of tiers
#   TIERS_DIR=DIR          the directory of the results (build)
#
# For each tier it adds a row to DIR/tiers.tsv: date, commit ("+": with changes), CPU, tier, result, passed and failed checks ("-": it counts none),
# seconds, exit status, and why it failed, was stopped or was skipped, or what it left out. The output of a tier is in DIR/tiers/TIER.log. At the end
# it prints the rows. Exits with 1 if a tier failed or was stopped, and with 2 if a name is unknown.
set -uo pipefail
fuzz_seconds=$(printenv SECONDS) # bash counts on from what the environment says, and would hand that to the tiers
cd "$(dirname "$0")/.." || exit 1
list=${TIERS_LIST:-tests/long_tiers.tsv}
place=${TIERS_DIR:-build}
table=$place/tiers.tsv
head=$'date\tcommit\tcpu\ttier\tresult\tpassed\tfailed\tseconds\tstatus\twhy'

# row TIER: prints the row of the tier.
row() { awk -F '\t' -v tier="$1" '/^[^#]/ && $1 == tier' "$list"; }

chosen=${TIERS:-$(grep -v '^#' "$list" | cut -f 1)}
for tier in $chosen; do
    [[ -n $(row "$tier") ]] || { echo "$0: $list has no tier '$tier'" >&2 && exit 2; }
done
[[ -n ${chosen// /} ]] || { echo "$0: no tier is chosen" >&2 && exit 2; }
mkdir -p "$place/tiers" || exit 1
[[ -s $table ]] || echo "$head" >"$table" || exit 1
lines_before=$(wc -l <"$table")

commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || commit=-
[[ $commit == - || -z $(git status --porcelain 2>/dev/null) ]] || commit+=+
cpu=$(lscpu 2>/dev/null | sed -n 's/^Model name: *//p' | head -n 1)
child=
trap '[[ -z $child ]] || kill "$child" 2>/dev/null; exit 130' INT TERM HUP

# Prints "PASSED FAILED", the sums of the last lines of all scripts of the log; "- -" if it has none.
counts() {
    awk '/^[0-9]+ passed, [0-9]+ failed$/ { good += $1; bad += $3; any = 1 } END { print any ? good + 0 " " bad + 0 : "- -" }' "$1"
}
# Prints why a tier did not run, or what it left out.
reason() { grep -aE '^(not run|skipped|left out): ' "$1" | head -n 3 | cut -c -160 | tr '\t' ' ' | paste -sd ';'; }
# Prints the first failure, or else the last line.
fault() { { grep -aE '^FAILED' "$1" || tail -n 1 "$1"; } | head -n 1 | cut -c -160 | tr '\t' ' '; }

# run_tier TIER: runs the tier and adds its row to the table. Fails if the tier failed or was stopped.
run_tier() {
    local target limit settings log=$place/tiers/$1.log start=$EPOCHREALTIME seconds status good bad why result setting
    local -a words=()
    IFS=$'\t' read -r _ target limit settings < <(row "$1")
    for setting in ${settings#-}; do
        [[ -n $(printenv "${setting%%=*}") ]] || words+=("$setting")
    done
    [[ -z $fuzz_seconds ]] || words+=("SECONDS=$fuzz_seconds")
    printf '%s: ninja %s, at most %d s\n' "$1" "$target" "$limit"
    env "${words[@]}" timeout --kill-after=30 "$limit" "${NINJA:-ninja}" "$target" >"$log" 2>&1 </dev/null &
    child=$!
    wait "$child"
    status=$?
    child=
    seconds=$(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 1000000))
    read -r good bad < <(counts "$log")
    why=$(reason "$log")
    if ((status == 124 || status == 137)); then
        result=stopped why="after $limit s"
    elif [[ $good =~ ^(0|-)$ && $bad =~ ^(0|-)$ && -n $why ]]; then
        result=skipped
    elif ((status != 0)) || [[ $bad != - && $bad != 0 ]]; then
        result=failed why=$(fault "$log")
    elif [[ $good == 0 ]]; then
        result=failed why="tested nothing"
    else
        result=passed
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n' "$(date -u +%Y-%m-%dT%H:%MZ)" "$commit" "${cpu:--}" "$1" "$result" "$good" "$bad" \
        "$seconds" "$status" "${why:--}" >>"$table"
    [[ $result == passed || $result == skipped ]]
}

verdict=0
for tier in $chosen; do run_tier "$tier" || verdict=1; done
{ echo "$head" && tail -n +$((lines_before + 1)) "$table"; } | awk -F '\t' '
    { for (k = 1; k <= NF; k++) { cell[NR, k] = $k; if (length($k) > width[k]) width[k] = length($k) } cells[NR] = NF }
    END { for (n = 1; n <= NR; n++) for (k = 1; k <= cells[n]; k++) printf "%-" (k < cells[n] ? width[k] + 2 : 0) "s%s", cell[n, k], k < cells[n] ? "" : "\n" }'
exit $verdict
