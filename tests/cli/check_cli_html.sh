#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests HTML reports: --html, the pages written with other reports, and organ report. Ends with the line "N passed, N failed"; `--bless` writes the
# golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

# page FILE: checks that the page is complete.
page() {
    if [[ $(head -n 1 "$1") == "<!doctype html>" && $(tail -n 2 "$1") =~ ^"</html>"$'\n'"<!-- organ: "[0-9a-f]{16}" -->"$ ]]; then good; else bad "$1 is no whole page" "$1"; fi
}

# ---- a pruning and its audit ----
ends 0 prune tiny-qwen2 -o out --html prune.html --quiet
page prune.html
judge "the page beside the report is another" cmp -s prune.html out/organ/REPORT.html
ends 0 report out/organ/prune.json -o again.html
judge "the saved report has another page" cmp -s prune.html again.html
judge "organ report prints" test ! -s ../out
ends 0 audit tiny-qwen2 out --html audit.html --quiet
page audit.html
prints "Passed: the copy"
ends 0 audit tiny-qwen2 out --json --quiet
cp ../out audit.json
judge "the page has no verdict" grep -q 'class="lead">Passed' audit.html
judge "the time of the run has no unit" grep -qE '>seconds</th><td>[0-9.]+ (ms|s)<' audit.html

# Runs differ only in the last section.
ends 0 prune tiny-qwen2 -o other --threads 1 --memory 8M --quiet
judge "another run has another page" cmp -s <(sed '/id="s[0-9]*-run"/,$d' out/organ/REPORT.html) <(sed '/id="s[0-9]*-run"/,$d' other/organ/REPORT.html)
judge "the last section is not the run" test "$(grep -c '<section' <(sed -n '/aria-labelledby="s[0-9]*-run"/,$p' out/organ/REPORT.html))" = 1

# A pruning that fails its audit has a page as well.
printf '\0\0\0\1' | dd of=other/model-00002-of-00003.safetensors bs=1 seek=9000 conv=notrunc 2>/dev/null
ends 1 audit tiny-qwen2 other --html failed.html --quiet
page failed.html
judge "what does not hold is not on the page" grep -q 'Failed checks' failed.html
judge "no check is marked" grep -q 'class="no"' failed.html

# A dry run has a page as well.
ends 0 prune tiny-qwen2 -o third --dry-run --html dry.html --quiet
page dry.html
judge "a dry run left something" test ! -e third
judge "a dry run does not say so" grep -q 'A dry run' dry.html

# ---- the page's script reads nothing but the page ----
sed -n '/<script>/,/<\/script>/p' prune.html | sed -e '1s/^<script>//' -e '$s/<\/script>$//' | sed '$d' >script
hash=$(openssl dgst -sha256 -binary script 2>/dev/null | base64)
if [[ -n $hash ]]; then judge "the policy names another script" grep -qF "script-src 'sha256-$hash'" prune.html; fi
judge "a page names an address" test -z "$(sed 's,http://www.w3.org/2000/svg,,g' prune.html audit.html failed.html dry.html | grep -o 'https*://.*')"

# ---- files that exist already ----
cp prune.html page.html
ends 0 audit tiny-qwen2 out --html page.html --quiet
judge "an old page was not replaced" grep -q '<title>Audit' page.html
: >empty.html
ends 0 report audit.json -o empty.html
page empty.html
echo "notes" >notes.html
cp tiny-qwen2/model-00001-of-00003.safetensors weights.html
mkdir directory
ln -s nowhere/at/all dangling
for command in "audit tiny-qwen2 out --html" "prune tiny-qwen2 -o new --html" "report audit.json -o"; do
    # shellcheck disable=SC2086 # words
    {
        refused 2 "notes.html" $command notes.html
        refused 2 "weights.html" $command weights.html
        refused 2 "directory" $command directory
        refused 4 "nowhere/page.html" $command nowhere/page.html
    }
done
refused 2 "--html" audit tiny-qwen2 out --html
refused 2 "--print-ranges" autopsy --print-ranges --html page.html

# ---- CSV ----
# csv_of DOCUMENT ROWS: what --csv must print of rows whose members are numbers, texts without commas, null, or arrays of numbers.
csv_of() {
    jq -r "$2 | (.[0] | keys_unsorted | join(\",\")), (.[] | [.[] | if type == \"array\" then \"\\\"\" + tojson + \"\\\"\" else . // \"\" | tostring end] | join(\",\"))" "$1"
}
ends 0 report audit.json --csv
judge "a line does not end with CR LF" test "$(grep -c $'\r$' ../out)" = "$(wc -l <../out)"
judge "the rows are not those of the document" cmp -s <(tr -d '\r' <../out | sed 's/\.0$//') <(csv_of audit.json .tensors)
cp ../out saved.csv
ends 0 audit tiny-qwen2 out --csv --quiet
judge "the verb prints other rows than its saved report" cmp -s ../out saved.csv
refused 2 "--csv and --json" audit tiny-qwen2 out --csv --json
refused 2 "--csv and --html" audit tiny-qwen2 out --csv --html page.html
refused 2 "--csv and --output" report audit.json --csv -o page.html
refused 2 "--output PAGE (-o) or --csv" report audit.json
echo '{"schema": "organ.unheard-of/3"}' >unknown.json
refused 3 "organ.unheard-of/3" report unknown.json --csv

# ---- organ report ----
echo '{"schema": "organ.prune/1",' >broken.json
printf '{"schema": "organ.prune/1", "schema": "organ.audit/1"}' >twice.json
echo '{"schema": "organ.unheard-of/3"}' >unknown.json
echo '[1, 2, 3]' >list.json
refused 3 "broken.json" report broken.json -o new.html
refused 3 "twice.json" report twice.json -o new.html
refused 3 "'organ.unheard-of/3'" report unknown.json -o new.html
says "organ.prune/1"
refused 3 "schema" report list.json -o new.html
refused 3 "directory" report directory -o new.html
refused 4 "missing.json" report missing.json -o new.html
refused 2 "PAGE" report audit.json
refused 2 "FILE" report -o new.html
refused 2 "'more'" report audit.json more -o new.html
ln -s /dev/full full.html
refused 2 "full.html" report audit.json -o full.html
finish
