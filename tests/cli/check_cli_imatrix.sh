#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests prune --imatrix: results, reports, options that exclude each other, imatrices that do not fit the model.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$model/../imatrix" imatrix
new=imatrix/tiny-qwen2.gguf
old=imatrix/tiny-qwen2.dat

# ---- results and reports ----
ends 0 prune tiny-qwen2 -o wanda --method wanda --imatrix $new -s 50 --quiet
matches prune/imatrix ../out
matches prune/imatrix_report wanda/organ/REPORT.md
judge "prune.jsonl does not name the entries" grep -q '"imatrix_entry":"blk.3.ffn_down.weight","calibration_tokens":2048' wanda/organ/prune.jsonl
ends 0 audit tiny-qwen2 wanda --quiet
ends 0 prune tiny-qwen2 -o older --method wanda --imatrix $old -s 50 --quiet
prints 'Importances from an imatrix, which does not allow a refit:'
prints '8bd80d158b3dbe1f), 28 entries, 16 chunks, made with calibration.txt.'
judge "the older format gives other weights" cmp -s wanda/model-00002-of-00003.safetensors older/model-00002-of-00003.safetensors
judge "the older format says what it does not know" grep -q '16, tokens per chunk not stated' older/organ/REPORT.md
ends 0 prune tiny-qwen2 -o v2 --method physarum-v2 --imatrix $new --pattern 2:4 --quiet
prints 'Importances from an imatrix, which does not allow a refit:'
judge "the definition is that of physarum v2 by a text" grep -q '"definition": "physarum-v2-imatrix/2"' v2/organ/prune.json
judge "compensation is told" grep -q '"compensate": false' v2/organ/prune.json
ends 0 audit tiny-qwen2 v2 --quiet
ends 0 prune tiny-qwen2 -o nothing --method physarum-v2 --imatrix $new --dry-run
judge "a dry run made something" test ! -e nothing

ends 0 evaluate tiny-qwen2 wanda v2 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256 --quiet \
    --experiment wanda=wanda --experiment flow=v2
prints 'wanda by imatrix'
prints 'physarum-v2 2:4 by imatrix'

# GGUF donors, and donors without a tokenizer or a forward pass
ends 0 prune tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf -o gguf --method wanda --imatrix $new -s 50 --quiet
ends 0 audit tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf gguf --quiet
cp -rL tiny-qwen2 odd
rm odd/tokenizer* odd/vocab.json odd/merges.txt
sed -i -e 's/Qwen2ForCausalLM/UnheardOfForCausalLM/' -e 's/"qwen2"/"unheard-of"/' odd/config.json
ends 0 prune odd -o alone --method wanda --imatrix $new -s 50 --quiet
judge "the architecture changes the weights" cmp -s wanda/model-00002-of-00003.safetensors alone/model-00002-of-00003.safetensors

# ---- options that exclude each other ----
v2=(prune tiny-qwen2 -o new --method physarum-v2 --imatrix $new)
refused 2 '--calibration and --imatrix exclude each other' "${v2[@]}" --calibration tiny-qwen2/calibration.txt
refused 2 '--samples has no meaning with --imatrix' "${v2[@]}" --samples 4
refused 2 '--context has no meaning with --imatrix' "${v2[@]}" --context 64
refused 2 '--effort has no meaning with --imatrix' "${v2[@]}" --effort 2
refused 2 '--seed has no meaning with --imatrix' "${v2[@]}" --seed 3
for method in sparsegpt alps physarum-v3; do
    refused 2 "--method $method needs the correlations of the inputs, which an imatrix does not have" prune tiny-qwen2 -o new --method $method -s 50 --imatrix $new
done
refused 2 '--imatrix has no meaning for --method magnitude' prune tiny-qwen2 -o new --method magnitude -s 50 --imatrix $new
refused 2 '--imatrix has no meaning for --method physarum-v1' prune tiny-qwen2 -o new --imatrix $new
refused 2 '--method wanda needs --sparsity or --pattern' prune tiny-qwen2 -o new --method wanda --imatrix $new

# ---- imatrices that do not fit the model ----
wanda=(prune tiny-qwen2 -o new --method wanda -s 50)
refused 4 'missing.gguf' "${wanda[@]}" --imatrix missing.gguf
refused 3 "calibration.txt: header: magic is" "${wanda[@]}" --imatrix tiny-qwen2/calibration.txt
refused 3 "is not an importance matrix: 'general.type' is" "${wanda[@]}" --imatrix tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
refused 3 "tensor 'model.embed_tokens.weight': tiny-qwen2.gguf has no entry for it among its 28" "${wanda[@]}" --imatrix $new --select '*embed_tokens*'
head -c 40000 $old >cut.dat
refused 3 '864 values at byte 39372 are past the end of the file (40000)' "${wanda[@]}" --imatrix cut.dat
sed 's/blk\.2\.ffn_up/blk.7.ffn_up/' $old >other.dat
refused 3 "tensor 'model.layers.2.mlp.up_proj.weight': other.dat has no entry for it" "${wanda[@]}" --imatrix other.dat
sed -e 's/blk\.2\.ffn_gate/blk.2.ffn_else/' -e 's/blk\.2\.ffn_down/blk.2.ffn_gate/' -e 's/blk\.2\.ffn_else/blk.2.ffn_down/' $old >shape.dat
refused 3 "entry 'blk.2.ffn_gate.weight' has 864 values, but tensor 'model.layers.2.mlp.gate_proj.weight' has 1 x 320 inputs" \
    "${wanda[@]}" --imatrix shape.dat
cp -rL tiny-qwen2 there
ends 2 prune tiny-qwen2 -o there --method wanda -s 50 --imatrix $new
says 'there exists'

finish
