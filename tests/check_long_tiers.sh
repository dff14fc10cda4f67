#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs tests/long_tiers.sh with tiers and a ninja of this script. Ends with the line "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
. tests/kit/counts.sh
export TIERS_DIR=$scratch/results TIERS_LIST=$scratch/list NINJA=$scratch/ninja
unset TIERS DEPTH
export SECONDS=600
cat >"$NINJA" <<'END'
#!/usr/bin/env bash
case $1 in
good) echo "depth $DEPTH" && tr '\0' '\n' </proc/$$/environ | grep '^SECONDS=' ;;&
good) echo "3 passed, 0 failed" && echo "4 passed, 0 failed" ;;
bad) echo "FAILED the first check" && echo "2 passed, 1 failed" && exit 1 ;;
quiet) echo "no counts" ;;
broken) echo "ninja: stopped" && exit 1 ;;
empty) echo "0 passed, 0 failed" ;;
lacking) echo "not run: needs root" && exit 1 ;;
partly) echo "left out: xfs: no mkfs.xfs" && echo "1 passed, 0 failed" ;;
slow) exec sleep 600 ;;
esac
END
chmod +x "$NINJA"
for target in slow lacking bad broken empty quiet partly; do
    limit=60
    [[ $target == slow ]] && limit=1
    printf '%s\t%s\t%d\t-\n' "the-$target" $target $limit
done >"$TIERS_LIST"
printf '# tier\ttarget\tlimit\tsettings\nthe-good\tgood\t60\tDEPTH=few\n' >>"$TIERS_LIST"

tiers() { tests/long_tiers.sh >"$scratch/out" 2>"$scratch/err"; }
# ends STATUS: runs the script and checks how it ends.
ends() {
    tiers
    local status=$?
    if [[ $status == "$1" ]]; then good; else bad "ends with $status instead of $1" "$scratch/err"; fi
}
# rows: prints result, passed, failed, status and reason of each tier of the table.
rows() { cut -f 4-7,9- "$TIERS_DIR/tiers.tsv" | tail -n +2; }

here="unknown names"
for TIERS in nothing "the-good nothing" "the-good the-goo" " "; do
    export TIERS
    ends 2
    judge "'$TIERS' writes something" test ! -e "$TIERS_DIR"
done
TIERS="the-good nothing" tiers
judge "the message does not name it" grep -qF "has no tier 'nothing'" "$scratch/err"

here="all tiers"
unset TIERS
ends 1
rows >"$scratch/rows"
printf '%s\t%s\t%s\t%s\t%s\t%s\n' the-slow stopped - - 124 "after 1 s" the-lacking skipped - - 1 "not run: needs root" \
    the-bad failed 2 1 1 "FAILED the first check" the-broken failed - - 1 "ninja: stopped" the-empty failed 0 0 0 "tested nothing" \
    the-quiet passed - - 0 - the-partly passed 1 0 0 "left out: xfs: no mkfs.xfs" the-good passed 7 0 0 - >"$scratch/expected"
same "the table is another" "$scratch/expected" "$scratch/rows"
judge "the rows are not printed" test "$(grep -c '^20[0-9-]*T' "$scratch/out")" = 8
judge "the setting of the tier is not used" grep -qx "depth few" "$TIERS_DIR/tiers/the-good.log"

judge "SECONDS grows" grep -qx "SECONDS=600" "$TIERS_DIR/tiers/the-good.log"

here="some tiers"
TIERS="the-good the-lacking" DEPTH=all ends 0
judge "the table does not grow by two rows" test "$(rows | wc -l)" = 10
judge "earlier rows are printed" test "$(grep -c '^20[0-9-]*T' "$scratch/out")" = 2
judge "the environment does not override the setting" grep -qx "depth all" "$TIERS_DIR/tiers/the-good.log"

here="tests/long_tiers.tsv"
lost=$(grep -v '^#' tests/long_tiers.tsv | cut -f 2 | while read -r target; do grep -q "^build $target: run" build.ninja || echo "$target"; done)
judge "build.ninja has no target $lost" test -z "$lost"
judge "a row has not four columns" test -z "$(awk -F '\t' 'NF != 4 || (!/^#/ && $3 !~ /^[1-9][0-9]*$/)' tests/long_tiers.tsv)"
finish
