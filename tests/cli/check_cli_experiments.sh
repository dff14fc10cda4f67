#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every file of prune, audit, evaluate and fleet that shows the share of zeros also shows the settings that decide it; the terminal has the figures alone. A
# table shows two experiments only under two names.
. "$(dirname "$0")/../kit/cli_kit.sh"

scored=(--text tiny-qwen2/heldout.txt --context 64 --max-tokens 100 --quiet)
print=$(printf 'fingerprint [0-9a-f]\\{16\\}')
# Checks that a file states the method, that it is not activation-aware, the experiment, the denominators with their values, and the coverage.
errata() {
    local what
    for what in "Physarum v1 is a static flow" "it is not the activation-aware v2" "$print" "Do not mix experiments" \
        "means nothing without its denominator"; do
        judge "$1 does not say '$what'" grep -q "$what" <(tr '\n' ' ' <"$1" | tr -s ' ')
    done
}
# Checks that the terminal has no notes.
brief() { judge "the terminal has notes" test -z "$(grep -E 'Notes on|Do not mix|static flow' ../out)"; }
values() {
    local what
    for what in "target, the 4,300,800 weights of the target tensors" "full, all 4,960,832 weights of the model"; do
        judge "$1 does not say '$what'" grep -q "$what" <(tr '\n' ' ' <"$1" | tr -s ' ')
    done
}

# ---- every view ----
ends 0 prune tiny-qwen2 -o v1 --quiet
brief
for view in v1/organ/REPORT.md v1/organ/REPORT.html v1/organ/prune.json; do
    errata $view
    values $view
    judge "$view has no coverage" grep -q "coverage of the targets is 100 %" <(tr '\n' ' ' <$view | tr -s ' ')
done
ends 0 audit tiny-qwen2 v1 --quiet --html ../page.html
brief
errata ../page.html && values ../page.html
ends 0 audit tiny-qwen2 v1 --quiet --json
errata ../out && values ../out
ends 0 evaluate tiny-qwen2 v1 "${scored[@]}" -o scored
matches evaluate/experiments_one ../out
brief
for view in scored/EVALUATION_REPORT.md scored/EVALUATION_REPORT.html scored/evaluate.json; do
    errata $view
    judge "$view has no coverage" grep -q "coverage of the targets is 100 %" <(tr '\n' ' ' <$view | tr -s ' ')
done

# ---- one experiment: runs that differ in sparsity alone ----
ends 0 prune tiny-qwen2 -o v1-50 -s 50 --quiet
# Models that were not pruned: how they were made and are stored, and nothing about sparsity.
ends 0 quantize tiny-qwen2 -o int8 --scheme int8-channel --quiet
ends 0 width tiny-qwen2 -o slim --ffn 75% --calibration tiny-qwen2/calibration.txt --samples 4 --context 32 --quiet
ends 0 merge tiny-qwen2 v1 --method linear -o mean --quiet
ends 0 merge tiny-qwen2 v1 --method linear -o mean4 --then int4-group32 --quiet
ends 0 graft --source tiny-qwen2 --target v1 --select 1 -o grafted --quiet # the target's own reports are those of a pruning
ends 0 graft --source tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --target tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --select 1 -o part.gguf --quiet
judge "the reports of the target are not kept" test -e grafted/organ/donor/prune.json
ends 0 evaluate tiny-qwen2 mean mean4 part.gguf "${scored[@]}" --json
judge "merged and grafted models have no method" test "$(jq -c '[.models[1:][].made | [.by, .method]]' ../out)" = \
    '[["merge","linear"],["quantize","merge linear, nearest"],["graft",null]]'
ends 0 evaluate tiny-qwen2 grafted "${scored[@]}"
judge "a grafted model has no method" grep -qE 'grafted +graft +' ../out
ends 0 evaluate tiny-qwen2 int8 slim tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf "${scored[@]}" -o stored
judge "the first table does not have the figures that decide" grep -qE '^  model +method +KL +weights +top-1 % +perplexity +rise %$' ../out
judge "a line is wider than 80 columns" test "$(wc -L <../out)" -le 80
judge "the perplexity has an error beside the column weights" grep -qE '^  int8 +nearest( +[0-9.]+){4} +[+-]?[0-9.]+$' ../out
jq '.models += .models[1:]' stored/evaluate.json >six.json && "$organ" report six.json -o six.html
judge "not each of six outputs has a result" test "$(cards six.html | grep -c ': KL divergence of')" = 6
for view in ../out stored/EVALUATION_REPORT.md; do
    for row in 'tiny-qwen2`?[ |]+BF16[ |]+16\.00' 'int8`?[ |]+nearest' 'int8`?[ |]+INT8 channel[ |]+8\.04' 'slim`?[ |]+width' \
        'slim`?[ |]+BF16[ |]+16\.00' 'Q8_0[ |]+8\.50'; do
        judge "$view has no row $row" grep -qE "$row" $view
    done
    judge "$view has no rise in percent" grep -qE 'rise %' $view
    judge "$view speaks of sparsity" test "$(grep -c 'No sparsity' $view)" = 0
done
judge "the rise is not that of the ratio" test "$(jq '.models[2].comparison | (.rise_percent - 100 * (.ratio - 1) | fabs) < 1e-9 and .rise_percent > 1' \
    stored/evaluate.json)" = true

ends 0 evaluate tiny-qwen2 v1 v1-50 tiny-qwen2 "${scored[@]}"

# ---- two experiments ----
ends 0 prune tiny-qwen2 -o magnitude --method magnitude -s 50 --quiet
judge "what magnitude is does not stand in its report" grep -q "Magnitude: the smallest weights" magnitude/organ/REPORT.md
ends 0 prune tiny-qwen2 -o pattern --method magnitude --pattern 2:4 --quiet
ends 0 evaluate tiny-qwen2 magnitude pattern --experiment a=magnitude --experiment b=pattern "${scored[@]}" --json
judge "what is true of both is said twice" test "$(tr '\n' ' ' <../out | tr -s ' ' | grep -o "Magnitude: the smallest weights" | wc -l)" = 1
ends 0 prune tiny-qwen2 -o blocks --block-size 64 --quiet
ends 0 prune tiny-qwen2 -o narrow --select '*.mlp.*_proj.weight' --quiet
ends 0 prune v1-50 -o twice -s 60 --quiet
# models of different methods get the names of these; models of one method need names
ends 0 evaluate tiny-qwen2 v1 magnitude "${scored[@]}" --json
holds ../out '[.models[1:][].experiment.name] == ["physarum-v1", "magnitude"]'
refused 2 "v1 and blocks" evaluate tiny-qwen2 v1 blocks "${scored[@]}"
says "--experiment NAME=v1 --experiment OTHER=blocks"
refused 2 "v1 and narrow" evaluate tiny-qwen2 v1 narrow "${scored[@]}"
ends 0 evaluate tiny-qwen2 v1 narrow "${scored[@]}" --select '*.mlp.*_proj.weight'
refused 2 "twice" evaluate tiny-qwen2 v1 twice "${scored[@]}"
refused 2 "twice" evaluate tiny-qwen2 twice "${scored[@]}"
ends 0 evaluate tiny-qwen2 twice "${scored[@]}" --experiment again=twice
for text in a b; do
    head -c 20000 tiny-qwen2/calibration.txt >$text.txt && echo $text >>$text.txt
    ends 0 prune tiny-qwen2 -o wanda-$text --method wanda -s 50 --calibration $text.txt --samples 4 --context 64 --quiet
done
ends 0 evaluate tiny-qwen2 wanda-a wanda-b "${scored[@]}" --json
holds ../out '[.models[1:][].experiment.name] == ["wanda a.txt", "wanda b.txt"]'
rm -r wanda-b/organ # nobody tells what killed its weights
refused 2 "wanda-a and wanda-b" evaluate tiny-qwen2 wanda-a wanda-b "${scored[@]}"

# ---- under two names ----
names=(--experiment 'flow=v1*' --experiment small=magnitude)
ends 0 evaluate tiny-qwen2 v1 magnitude v1-50 "${scored[@]}" "${names[@]}" -o named
matches evaluate/experiments_named ../out
matches evaluate/experiments_named_report named/EVALUATION_REPORT.md
judge "the page does not name them" grep -q "small: magnitude" named/EVALUATION_REPORT.html
judge "the JSON does not name them" grep -q '"name": "flow"' named/evaluate.json
ends 0 report named/evaluate.json -o ../page.html
errata ../page.html
refused 2 "'one'" evaluate tiny-qwen2 v1 magnitude \
    "${scored[@]}" --experiment 'one=*'
ends 0 evaluate tiny-qwen2 v1 magnitude "${scored[@]}" --experiment flow=v1 --json
holds ../out '[.models[1:][].experiment.name] == ["flow", "magnitude"]'
refused 2 "'flow=other'" evaluate tiny-qwen2 v1 "${scored[@]}" --experiment flow=other
refused 2 "NAME=MODEL" evaluate tiny-qwen2 v1 "${scored[@]}" --experiment flow

# ---- a log without a fingerprint, as earlier versions wrote it ----
sed -i -z 's/,\n *"fingerprint": "[0-9a-f]*"//g' v1-50/organ/prune.json
ends 0 evaluate tiny-qwen2 v1 v1-50 "${scored[@]}"

# ---- fleet: a table for each experiment ----
mkdir zoo && cp -r v1 magnitude zoo/ && cp -rL tiny-qwen2 zoo/donor
ends 0 fleet zoo -o fleet --no-extract --quiet
prints "Pruned, experiment 1: donor tiny-qwen2 (fingerprint"
prints "Pruned, experiment 2: donor tiny-qwen2 (fingerprint"
brief
for view in fleet/Z_MEASURE_REPORT.md fleet/Z_MEASURE_REPORT.html fleet/dissection_report.json; do
    errata $view
    judge "$view does not have both tables" test "$(grep -o '2,150,400\|941,591\|"killed": 2150400\|"killed": 941591' $view | sort -u | wc -l)" -ge 2
done
ends 0 fleet zoo -o fleet --no-extract --quiet
prints "Unchanged since the last run: 3 of 3."
prints "Pruned, experiment 2"
sed -i '/"pruning": {/,/^ *}$/d' fleet/fleet.json # whatever is left of it, it is found again
ends 0 fleet zoo -o fleet --no-extract --quiet
prints "Pruned, experiment 2"
# The reason stands in place of a log that cannot be read.
echo '{"schema": ' >zoo/v1/organ/prune.json
ends 0 fleet zoo -o damaged --no-extract --quiet
holds damaged/dissection_report.json '[.models[].pruning | select(.) | keys] | sort == [["experiment", "full", "target"], ["fault"]]' \
    '.models[] | .pruning.fault // empty | test("prune.json")'
finish
