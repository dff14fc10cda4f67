#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that each verb whose workers run reports where their time went: "activity" in the member "run" of --json and of every report that it writes, and
# the last line on the terminal. Figures are compared with each other, never with a time.
# shellcheck source=tests/faults/sweep_kit.sh
. "$(dirname "$0")/../faults/sweep_kit.sh"
prepare

# Shares have four decimals, so the sum of five may differ from 1 by their rounding.
# shellcheck disable=SC2016 # jq's variables
figures='.run.activity | (.computing_share + .reading_share + .writing_share + .waiting_share + .one_thread_share) as $all
    | ($all - 1 | fabs) < 0.0004 and .bound_share == ([.computing_share, .reading_share, .writing_share, .waiting_share, .one_thread_share] | max)
    and .bound_share == (if .bound == "processor" then .computing_share else .[.bound + "_share"] end)
    and .one_thread_bytes <= .read_bytes + .written_bytes and .read_bytes > 0 and .processor_seconds >= 0
    and .one_thread_processor_share >= 0 and .one_thread_processor_share <= 1.02
    and ((.phases // {}) | map(.share) | add // 0) <= 1.0004 and all(.phases // {} | .[]; .computing_share >= 0 and .computing_share <= 1.02)'
last='^Bound by (the processor|reading|writing|one thread|workers that wait for each other) \([0-9]+ %\)\.$'

# reports NAME: runs the verb twice, for the terminal and with --json.
reports() {
    local file
    verb "$1"
    touch ../begun # after inputs that it has made
    words=("${words[@]/#fewer/cut}") && words=("${words[@]/#parts/apart}") # these names are inputs
    ends 0 "${words[@]}" --quiet
    if [[ $1 == generate ]]; then # its output is the text, for other programs
        judge "the text has a line about the run" test "$(grep -c '^Bound by' ../out)" = 0
    elif [[ $(tail -n 1 ../out) =~ $last ]]; then good; else bad "the last line does not name the bound" ../out; fi
    # Manifests, lists of files and scores have no member "run".
    while read -r file; do
        judge "no figures in $file" jq -e "$figures" "$file" >../judged
    done < <(find . -maxdepth 3 -name '*.json' -newer ../begun -exec grep -l '^  "run": {' {} +)
    find . -mindepth 1 -maxdepth 1 -newer ../begun -exec rm -rf {} +
    ends 0 "${words[@]}" --quiet --json
    judge "no figures in --json" jq -e "$figures" ../out >../judged
    find . -mindepth 1 -maxdepth 1 -newer ../begun -exec rm -rf {} +
}
scores_of_experts
touch ../begun
for name in prune prune-gguf purify width layers quantize quantize-gguf convert dequantize extract assemble graft graft-part measure autopsy audit evaluate fleet \
    orthogonality perplexity generate experts experts-measured audit-cut lora-merge lora-extract lora-resize lora-combine lora-sanitize; do
    reports $name
done

# The forward pass has its phases, which take most of the time of perplexity.
ends 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --max-tokens 64 --quiet --json
judge "phases of the forward pass are missing" jq -e '.run.activity.phases | keys == ["attention_scores", "feed_forward", "head", "loading",
    "mixer_products", "mixers", "norms"] and (map(.share) | add) > 0' ../out >../judged
ends 0 measure "$q" --quiet --json
judge "measure has phases of a forward pass" jq -e '.run.activity | has("phases") | not' ../out >../judged

# A verb without workers has neither, nor has a dry run.
ends 0 inspect "$q" --quiet
judge "inspect names a bound" test "$(grep -c '^Bound by' ../out)" = 0
ends 0 quantize "$q" --scheme int4-group32 -o dry --dry-run --quiet
judge "a dry run names a bound" test "$(grep -c '^Bound by' ../out)" = 0
finish
