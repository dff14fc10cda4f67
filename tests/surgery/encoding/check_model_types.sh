#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Outputs for model types that organ does not run: names that transformers and peft find in them, and a warning for types that organ has not compared with
# transformers. The models are those of fixtures/types. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

types=$(cd "$top/fixtures/types" && echo *)
table=$top/tests/surgery/encoding/type_modules.tsv
unchecked="may be wrong, and then the output may not load"

# make TYPE: the model of fixtures/types in a directory of this name.
make() { (cd "$top" && build/checks/arch_model "../types/$1" "$scratch/area/$1") >../out 2>&1 || bad "$1 cannot be made" ../out; }

drop() { chmod -R u+w "$@" && rm -r "$@"; }

# modules TYPE: the linear layers of transformers, as a JSON list.
modules() { sed -nE "s/^$1\t//p" "$table" | jq -Rn '[inputs]'; }

# ---- each type: quantization_config, an adapter and dropped layers ----
for type in $types; do
    make "$type"
    for scheme in int4-group32 int4-group64; do
        ends 0 quantize "$type" -o quantised --scheme $scheme
        judge "$type as $scheme has a warning" test "$(grep -c "$unchecked" ../err)" = 0
        wanted=$(jq -c --arg scheme $scheme '{groups: ([.tensors[] | select(.tensor | test("experts\\.[0-9]") | not) | (.scheme // $scheme) | ltrimstr("int4-group") | tonumber] |
            group_by(.) | map([.[0], length])), unknown: [], unclear: []}' quantised/organ/quantize.json)
        found=$(divided "$(modules "$type")")
        judge "$type as $scheme: $found, not $wanted" test "$found" = "$wanted"
        drop quantised
    done
    ends 0 prune "$type" -o tuned --sparsity 20 --quiet
    ends 0 lora extract --base "$type" --tuned tuned -o adapter --rank 4
    judge "an adapter of $type has a warning" test "$(grep -c "$unchecked" ../err)" = 0
    strange=$("$organ" inspect adapter/adapter_model.safetensors --tensors --json 2>../err |
        jq -c --argjson layers "$(modules "$type")" '[.tensors[].name | ltrimstr("base_model.model.") | select(test("experts(\\.[0-9]|\\.lora|\\.base)") | not) |
            sub("\\.(base_layer\\.)?lora_[AB]\\.weight$"; "") | select(. as $n | $layers | index([$n]) | not)]')
    judge "the adapter of $type has names that are no linear layers: $strange" test "$(jq '[.[] | select(test("\\.gate$|router") | not)] | length' <<<"$strange")" = 0
    if grep -q 'experts\.0\.' "$top/fixtures/types/$type/model.tsv"; then
        judge "peft would ignore the experts of $type" test "$(jq '[.target_parameters[] | select(endswith(".experts.down_proj"))] | length > 0' adapter/adapter_config.json)" = true
    fi
    drop tuned adapter
    run layers "$type" -o shorter --drop 1,
    judge "layers of $type: $(tail -n 1 ../err)" test $code = "$(case $type in beam | diffllama | dory | hy_v4) echo 3 ;; *) echo 0 ;; esac)"
    judge "layers of $type has a warning" test "$(grep -c "$unchecked" ../err)" = 0
    if [[ -d shorter ]]; then drop shorter; fi
    if [[ $type != doge ]]; then drop "$type"; fi
done

# ---- heads and convolutions ----
make modernbert-decoder
ends 0 quantize modernbert-decoder -o quantised --scheme int4-group32
judge "the head is ignored, and transformers opens the output" test "$(jq -c '.quantization_config | [.ignore[-1], .dequantize]' quantised/config.json)" = '["decoder",true]'
says '"dequantize"'
drop quantised
ends 0 quantize modernbert-decoder -o quantised --scheme fp8-channel
judge "FP8 needs no dequantising" test "$(jq -c '.quantization_config.dequantize' quantised/config.json)" = null
drop quantised modernbert-decoder

# ---- a type that organ has not compared ----
mv doge unlisted
sed -i -E 's/"(doge|DogeForCausalLM)"/"unlisted"/' unlisted/config.json
ends 0 prune unlisted -o tuned --sparsity 20 --quiet
judge "prune copies all names" test "$(grep -c "$unchecked" ../err)" = 0
printf 'slices:\n  - sources: [{model: unlisted, layer_range: [0, 1]}]\n  - sources: [{model: unlisted, layer_range: [0, 2]}]\nmerge_method: passthrough\n' >repeated.yaml
while read -r what command; do
    # shellcheck disable=SC2086 # options are words
    ends 0 $command -o made
    judge "no warning of $what" grep -q "model_type unlisted with transformers: .* $unchecked" ../err
    judge "no warning in the report of $what" grep -rqF "$unchecked" made/organ --include='*.md'
    judge "no warning on the page of $what" grep -rqF "$unchecked" made/organ --include='*.html'
    drop made
    # shellcheck disable=SC2086
    ends 0 $command -o made --json --quiet
    judge "no warning in the document of $what" test "$(jq --arg text "$unchecked" '[.warnings[] | select(contains($text))] | length' ../out)" = 1
    drop made
done <<'END'
quantize quantize unlisted --scheme int4-group32
extract lora extract --base unlisted --tuned tuned --rank 4
layers layers unlisted --drop 2,
merge merge repeated.yaml
graft graft --source tuned --target unlisted --select 0 --map 0:1
END
# A merge of layers in their places copies all names.
ends 0 merge unlisted tuned --method linear -o made --quiet
judge "merge in place has a warning" test "$(grep -c "$unchecked" ../err)" = 0
drop made
ends 0 quantize unlisted -o made --scheme int4-group32 --dry-run
says "$unchecked"

finish
