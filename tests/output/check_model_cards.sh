#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the model cards of outputs: their members are those of fixtures/hub_card.tsv, and the donor's licence and text are kept.
. "$(dirname "$0")/../kit/cli_kit.sh"
fields=$golden/../../fixtures/hub_card.tsv

# front CARD: the lines of YAML of a card. paths CARD: its members, a path a line, from the indentation of the lines.
front() { awk 'NR == 1 { if ($0 != "---") exit; next } /^---/ { exit } { print }' "$1"; }
paths() {
    front "$1" | awk '
        { match($0, /^ *(- +)*/); depth = RLENGTH; text = substr($0, depth + 1); if (text !~ /^[a-z0-9_-]+:/) next
          sub(/:.*/, "", text); while (count && at[count] >= depth) count--
          at[++count] = depth; name[count] = text
          path = name[1]; for (k = 2; k <= count; k++) path = path "." name[k]; print path }' | sed -E 's/(\.args)\..*/\1/' | sort -u
}
# card_holds CARD LINE...: whether the card has only members of the hub, allowed values, and these lines.
card_holds() {
    local line path relation
    while read -r path; do
        judge "$1: $path is no member of the hub" grep -qE "^${path//./\\.}(	|\.)" "$fields"
    done < <(paths "$1")
    relation=$(front "$1" | sed -n 's/^base_model_relation: //p')
    [[ -z $relation ]] || judge "$1: '$relation' is no relation of the hub" grep -qE "(^|\||	)$relation(\||	|$)" <(grep ^base_model_relation "$fields")
    for line in "${@:2}"; do judge "$1 has no line $line" grep -qxF -e "$line" <(front "$1"); done
}

# A model in a folder like that of the cache of Hugging Face, with a card.
donor=hub/models--Org--Tiny/snapshots/0123456789abcdef0123456789abcdef01234567
mkdir -p ${donor%/*}
cp -rL tiny-qwen2 $donor
printf '%s\n' --- 'license: other' 'license_name: own-licence' 'license_link: LICENSE' language: '- en' 'tags: [chat]' 'base_model: A/Parent' \
    model-index: '- name: Tiny' '  results: []' --- '' '# Tiny' '' 'Kept --- text' >$donor/README.md
few=(--select '*.1.*.o_proj.weight' --quiet)
kept=('license: other' 'license_name: own-licence' 'license_link: LICENSE' '- en' '- "chat"' 'base_model: "Org/Tiny"' 'library_name: "transformers"')

ends 0 quantize $donor -o coded --scheme int4-group32 "${few[@]}" --evaluate tiny-qwen2/heldout.txt --evaluate-context 64 --evaluate-max-tokens 100
card_holds coded/README.md "${kept[@]}" 'base_model_relation: quantized' '- "quantized"' '- "int4-group32"' 'pipeline_tag: text-generation' \
    '- name: "Tiny-quantized"' '    - type: kl_divergence'
for path in $(awk -F'\t' '$3 == "required" { print $1 }' "$fields"); do
    judge "the figures lack $path" grep -qx "$path" <(paths coded/README.md)
done
judge "the card has another perplexity than the report" test "$(front coded/README.md | sed -n 's/^      value: //p' | head -n 1)" = \
    "$(jq '.evaluation.after.figures.perplexity' coded/organ/quantize.json)"
judge "the donor's text is not kept" cmp -s <(sed '1,/^---$/d' coded/README.md | sed '1,/^---$/d') <(sed '1,/^---$/d' $donor/README.md | sed '1,/^---$/d')

ends 0 prune $donor -o thin --pattern 2:4 --method magnitude "${few[@]}"
card_holds thin/README.md "${kept[@]}" 'base_model_relation: finetune' '- "pruned"' '- "magnitude"' '- "2:4"'
judge "the donor's figures are on the card" test "$(front thin/README.md | grep -c model-index)" = 0
ends 0 prune $donor -o again --pattern 2:4 --method magnitude "${few[@]}" --threads 1
judge "a second run has another card" cmp -s thin/README.md again/README.md
ends 0 quantize thin -o both --scheme fp8-channel "${few[@]}"
card_holds both/README.md "${kept[@]}" 'base_model_relation: quantized' '- "pruned"' '- "fp8-channel"'
ends 0 merge $donor tiny-qwen2 --method linear -o mean --quiet
card_holds mean/README.md 'base_model: "Org/Tiny"' 'base_model_relation: merge' '- "merge"' '- "linear"'
ends 0 prune $donor -o thin --force --pattern 2:4 --method magnitude "${few[@]}"

# A donor without a card, without a name at the hub.
ends 0 quantize tiny-qwen2 -o bare --scheme int4-group64 --format mlx --quiet
card_holds bare/README.md 'library_name: "mlx"' '- "quantized"'
judge "a name is made up" test "$(front bare/README.md | grep -c base_model)" = 0
judge "the card has no text" grep -q '^`organ quantize` has made this model' bare/README.md
cp -rL tiny-qwen2 saved
jq '. + {_name_or_path: "Org/Base"}' tiny-qwen2/config.json >saved/config.json
ends 0 quantize saved -o named --scheme int8-channel "${few[@]}"
card_holds named/README.md 'base_model: "Org/Base"' 'base_model_relation: quantized'

# A card that cannot be edited is copied, with a note.
printf -- '---\nlicense: [mit\n---\n' >saved/README.md
ends 0 quantize saved -o odd --scheme int8-channel --select '*.1.*.o_proj.weight'
says "README.md is copied without new members"
judge "the card is another" cmp -s saved/README.md odd/README.md
finish
