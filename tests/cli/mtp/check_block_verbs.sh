#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Verbs on models with blocks for multi-token prediction: what changes in the block, what config.json states afterwards, and --select mtp. Ends with the
# line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

# bytes MODEL: prints name, type and digest of each tensor.
bytes() {
    local parts=../parts.$BASHPID
    "$organ" extract "$1" -o "$parts" --quiet >/dev/null 2>&1 || echo "$1 cannot be extracted"
    jq -r '.tensors | to_entries[] | "\(.key) \(.value.dtype) \(.value.xxh3)"' "$parts/manifest.json" | sort
    rm -rf "$parts"
}
block() { bytes "$1" | grep -E 'layers\.4\.|^mtp\.'; }
counts() { jq -c '[.num_hidden_layers, .num_nextn_predict_layers // .mtp_num_hidden_layers]' "$1/config.json"; }
# changed A B: prints the names of the tensors with other bytes.
changed() { diff <(bytes "$1") <(bytes "$2") | sed -n 's/^> \([^ ]*\) .*/\1/p'; }
projections='layers\.[04]\.(self_attn\.[qkvo]_proj|mlp\.(experts\.[0-9]+\.|shared_experts\.)?(gate|up|down)_proj)\.weight$'

# ---- merge: the block is the base's, whatever the format ----
# blocks MODEL: prints the number of tensors that belong to a block in GGUF.
blocks() { "$organ" inspect "$1" --tensors --json | jq '[.tensors[].name | select(contains("nextn"))] | length'; }
for type in glm4_moe qwen3_5_text; do
    rm -rf ./*.gguf tuned merged ./*.json ./*REPORT*
    with_block $type whole
    ends 0 prune whole -o tuned --sparsity 30 --method magnitude --quiet
    ends 0 convert whole -o whole.gguf --to gguf --quiet
    ends 0 convert tuned -o tuned.gguf --to gguf --quiet
    ends 0 convert tuned -o none.gguf --to gguf --mtp none --quiet
    for pair in "whole.gguf tuned.gguf" "whole.gguf tuned" "whole tuned.gguf" "whole.gguf none.gguf"; do
        read -r base other <<<"$pair"
        ends 0 merge "$base" "$other" --base "$base" -o merged.gguf --method linear --quiet --force
        judge "$type, $pair: the block is lost" test "$(blocks merged.gguf)" = 4
    done
    ends 0 merge whole.gguf tuned.gguf -o merged --method linear --quiet
    judge "$type: the block is not the base's" diff <("$organ" convert whole.gguf -o back --to safetensors --quiet >/dev/null && block back) <(block merged)
    ends 0 merge none.gguf whole.gguf -o without.gguf --method linear --force
    says "of whole.gguf are left out: none.gguf has none"
    judge "$type: a block without a base" test "$(blocks without.gguf)" = 0
    rm -rf back merged
done

for type in glm4_moe qwen3_5_text; do
    rm -rf tuned adapter merged packed plain pure sparse some
    with_block $type whole
    here="$type"

    ends 0 prune whole -o tuned --sparsity 30 --method magnitude --quiet
    ends 0 lora extract --base whole --tuned tuned -o adapter --rank 4 --quiet
    ends 0 lora merge --base whole --adapter adapter -o merged --quiet
    judge "$type: lora merge changes the block" diff <(block tuned) <(block merged)
    judge "$type: lora merge changes nothing" test "$(changed whole merged | wc -l)" -gt 8
    judge "$type: lora merge states other counts" test "$(counts merged)" = '[4,1]'

    ends 0 purify whole -o pure --method haar --quiet
    judge "$type: purify loses a tensor" diff <(bytes whole | cut -d ' ' -f 1) <(bytes pure | cut -d ' ' -f 1)
    judge "$type: purify changes the projection or norms" test "$(changed whole pure | grep -vcE 'proj\.weight$|linear_attn')" = 0
    judge "$type: purify states other counts" test "$(counts pure)" = '[4,1]'

    ends 0 quantize whole -o packed -s fp8-channel --quiet
    judge "$type: quantize changes the block" diff <(block whole) <(block packed)
    ends 0 dequantize packed -o plain --quiet
    judge "$type: dequantize changes the block" diff <(block whole) <(block plain)
    judge "$type: dequantize loses a tensor" diff <(bytes whole | cut -d ' ' -f 1) <(bytes plain | cut -d ' ' -f 1)
    judge "$type: dequantize states other counts" test "$(counts plain)" = '[4,1]'

    # ---- --select mtp ----
    ends 0 prune whole -o sparse --sparsity 50 --method magnitude --select mtp --quiet
    judge "$type: other tensors than the block's projections are pruned" test "$(changed whole sparse | grep -vcE "$projections")" = 0
    judge "$type: a projection of the block is not pruned" test "$(changed whole sparse | wc -l)" = "$(block whole | cut -d ' ' -f 1 | grep -cE "$projections")"
    judge "$type: the trunk is pruned" test "$(changed whole sparse | grep -c '^model\.layers\.0')" = 0
    ends 0 quantize whole -o some -s fp8-channel --select mtp --quiet
    judge "$type: other tensors than the block's projections are quantised" diff <(block whole | cut -d ' ' -f 1 | grep -E "$projections") <(bytes some | awk '$2 == "F8_E4M3" { print $1 }')
    ends 0 dequantize some -o plain --quiet --force
    judge "$type: a quantised block loses a tensor" diff <(bytes whole | cut -d ' ' -f 1) <(bytes plain | cut -d ' ' -f 1)
    judge "$type: inspect selects other tensors" test "$("$organ" inspect whole --tensors --select mtp --json | jq '.tensors | length')" = "$(block whole | wc -l)"
    for verb in "measure whole --select mtp" "autopsy whole --select mtp"; do
        # shellcheck disable=SC2086
        run $verb --quiet --json
        judge "$verb fails" test "$code" -le 1 # autopsy has findings
        judge "$verb: other tensors" test "$(grep -oE '"(mtp|model\.layers\.4)\.[a-z0-9_.]*' ../out | wc -l)" -gt 0
        judge "$verb: tensors of the trunk" test "$(grep -cE '"model\.layers\.[0-3]\.' ../out)" = 0
    done
    ends 0 purify whole -o pure --method haar --select mtp --quiet --force
    judge "$type: purify changes the trunk" test "$(changed whole pure | grep -vcE 'layers\.4\.|^mtp\.')" = 0
    judge "$type: purify changes nothing of the block" test "$(changed whole pure | wc -l)" -gt 3
done

# ---- width: blocks are narrowed like layers ----
head -c 6000 "$top/fixtures/tiny-moe/calibration.txt" >text.txt
widths() { "$organ" inspect "$1" --tensors --json | jq -c --arg b "$2" '[.tensors[] | select((.name | startswith($b)) and (.name | test("down_proj|o_proj"))) | .shape[-1]] | unique'; }
for row in qwen3_next:ffn qwen3_5_text:ffn exaone_moe:heads mimo_v2_flash:ffn ernie4_5_moe:ffn; do
    type=${row%%:*} option=${row#*:} layer=3
    [[ $type == mimo* ]] && layer=0 # the first layer is dense, as the block is
    if in_part && [[ $type == @(qwen3_5_text|ernie4_5_moe) ]]; then continue; fi
    with_block $type whole
    here="$type"
    rm -rf thin again
    more=(--multiple-of 8)
    [[ $option == heads ]] && more=()
    ends 0 width whole -o thin --$option 50% "${more[@]}" --calibration text.txt --samples 4 --context 48 --quiet --threads 1
    ends 0 width whole -o again --$option 50% "${more[@]}" --calibration text.txt --samples 4 --context 48 --quiet --threads 3 --scratch .
    judge "$type: other bytes with 3 threads" cmp thin/model.safetensors again/model.safetensors
    judge "$type: width loses a tensor" diff <(bytes whole | cut -d ' ' -f 1) <(bytes thin | cut -d ' ' -f 1)
    judge "$type: the block has another width than the layers" test "$(widths thin model.layers.$layer)" = "$(widths thin "$(block_rows $type | grep -oE '^tensor.[a-z_.]*(layers|mtp_block)\.[0-9]+' | head -n 1 | cut -f 2)")"
    ends 0 audit whole thin --refitted --quiet
    judge "$type: width states other counts" test "$(jq '.num_nextn_predict_layers // .mtp_num_hidden_layers // 1' thin/config.json)" = 1
done
with_block qwen3_next odd "grep -v pre_fc_norm_embedding"
here="a malformed block"
rm -rf thin
ends 0 width odd -o thin --ffn 50% --multiple-of 8 --calibration text.txt --samples 4 --context 48
says "the block for multi-token prediction is removed"
judge "the block is left" test "$(bytes thin | grep -c '^mtp')" = 0
ends 0 audit odd thin --refitted --quiet

# ---- words for groups select no router and no projection of a block ----
routers='(mlp\.gate|eh_proj|mtp\.fc|shared_expert_gate)\.weight'
for type in glm4_moe qwen3_next; do
    with_block $type whole
    here="$type"
    for word in feed-forward other all attention,feed-forward,other; do
        if in_part && [[ $word == all && $type == glm4_moe ]]; then continue; fi
        rm -rf some sparse
        # neither model has other matrices
        if [[ $word == other ]]; then
            refused 2 "none of its matrices is among those" quantize whole -o some -s fp8-channel --select $word
            continue
        fi
        ends 0 quantize whole -o some -s fp8-channel --select $word --quiet
        judge "$type, $word: a router or a projection of the block is quantised" test "$(bytes some | awk '$2 == "F8_E4M3"' | grep -cE "$routers")" = 0
        judge "$type, $word: nothing is quantised" test "$(bytes some | grep -c F8_E4M3)" -gt 3
        ends 0 inspect some
        prints "No problems found"
        ends 0 prune whole -o sparse --sparsity 50 --method magnitude --select $word --quiet
        judge "$type, $word: a router or a projection of the block is pruned" test "$(changed whole sparse | grep -cE "$routers")" = 0
        ends 0 audit whole sparse --select $word --quiet
        rm -rf pure
        ends 0 purify whole -o pure --method haar --select $word --quiet
        judge "$type, $word: purify changes a router or a projection of the block" test "$(changed whole pure | grep -cE "$routers")" = 0
    done
    rm -rf sparse
    ends 0 prune whole -o sparse --sparsity 50 --method magnitude --select router,mtp --quiet
    judge "$type: routers selected by their role are not pruned" test "$(changed whole sparse | grep -cE 'mlp\.gate\.weight')" -ge 3
done
# ---- words for groups and roles select in a block outside the layers what they select in the layer that it is a copy of ----
# tails FILE PREFIX: prints the ends of the names of the tensors in a document of inspect that begin with PREFIX.
tails() { jq -r --arg p "$2." '.tensors[].name | select(startswith($p)) | ltrimstr($p)' "$1" | sort; }
for row in qwen3_next:mtp.layers.0:model.layers.3 mimo_v2_flash:model.mtp.layers.1:model.layers.1 mimo_v2_flash:model.mtp.layers.0:model.layers.0 \
    ernie4_5_moe:model.mtp_block.0:model.layers.3 nemotron_h-moe:mtp.layers.0:backbone.layers.2 nemotron_h-moe:mtp.layers.1:backbone.layers.3; do
    IFS=: read -r type block layer <<<"$row"
    with_block $type whole
    here="$row"
    "$organ" inspect whole --tensors --json >all.json
    words=$(jq -r --arg p "$layer." '[.tensors[] | select(.name | startswith($p)) | .role, {skeleton: "attention", organ: "feed-forward"}[.group] // .group] | unique[]' all.json)
    judge "$row: has no words" test "$(wc -w <<<"$words")" -gt 2
    for word in $words; do
        ends 0 inspect whole --tensors --json --select "$word"
        cp ../out some.json
        diff <(tails some.json "$layer" | grep -Fxf <(tails all.json "$block")) <(tails some.json "$block" | grep -Fxf <(tails all.json "$layer")) >../out
        judge "$row: $word selects other tensors of the block" test ! -s ../out
    done
done
with_block qwen3_next whole
judge "norms of the block are not selected" test "$("$organ" inspect whole --tensors --json --select norm | jq -r '.tensors[].name | select(test("^mtp"))' | grep -vc 'layers.0')" = 3
judge "the projection is selected as a norm" test "$("$organ" inspect whole --tensors --json --select norm,lm_head | jq '[.tensors[] | select(.name == "mtp.fc.weight")] | length')" = 0
v4_model whole "sed \$s/.*/&\ntensor\tmtp.0.head.weight\t256x64/"
judge "the head of the block is not selected" test "$("$organ" inspect whole --tensors --json --select lm_head | jq -r '[.tensors[].name] | join(" ")')" = "head.weight mtp.0.head.weight"
# quantize and prune: attention selects that of both blocks, config.json names their other matrices.
with_block mimo_v2_flash whole
here=mimo_v2_flash
rm -rf some sparse
ends 0 quantize whole -o some -s fp8-channel --select attention --quiet
bytes some | awk '$2 == "F8_E4M3" { print $1 }' | grep mtp >some.txt
bytes whole | cut -d ' ' -f 1 | grep -E 'mtp.*[qkvo]_proj.weight' >all.txt
judge "quantize --select attention has other matrices of the blocks" cmp some.txt all.txt
judge "config.json leaves out other modules of the blocks" test "$(jq -r '.quantization_config.ignore[]' some/config.json | grep -E 'mtp|decoder' | sed 's/.*\.//' | sort -u | xargs)" = \
    "down_proj eh_proj gate_proj up_proj"
ends 0 prune whole -o sparse --sparsity 50 --method magnitude --select attention --quiet
changed whole sparse | grep mtp >some.txt
judge "prune --select attention changes other matrices of the blocks" cmp some.txt all.txt
with_block glm4_moe lost "sed d"
refused 2 "none of its matrices is among those" prune lost -o no --sparsity 50 --method magnitude --select mtp
refused 2 "has no tensor that" inspect lost --select mtp
finish
