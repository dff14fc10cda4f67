#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ imatrix: help, report, the same bytes in every way, errors; and prune --imatrix: results, reports, options that exclude each other,
# imatrices that do not fit the model. importance has the numbers.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$model/../imatrix" imatrix
new=imatrix/tiny-qwen2.gguf
old=imatrix/tiny-qwen2.dat

# ---- organ imatrix ----
ln -s "${model%/*}/tiny-moe" tiny-moe
head -c 6000 tiny-moe/calibration.txt >few.txt
head -c 200 few.txt >tiny.txt
few=(--calibration few.txt --context 64)
ends 0 help imatrix
matches help/help_imatrix ../out
ends 0 imatrix tiny-moe "${few[@]}" -o made.gguf --quiet --html made.html
matches imatrix/imatrix ../out
judge "the page has no table" grep -q "</table>" made.html
ends 0 imatrix tiny-moe "${few[@]}" -o json.gguf --json --quiet
jq -S 'del(.run)' ../out >../document
matches imatrix/imatrix_json ../document
judge "the second file differs" cmp made.gguf json.gguf
cp ../out saved.json
ends 0 report saved.json -o saved.html
ends 0 imatrix tiny-moe "${few[@]}" -o not-made.gguf --dry-run --json --quiet
judge "the plan has no memory" test "$(jq '.plan.memory_enough > 0 and .plan.products > 0 and .entries == null' ../out)" = true
judge "a dry run made something" test ! -e not-made.gguf

# The bytes do not depend on threads, memory, instructions, the format of the model or an interruption.
least=$("$organ" imatrix tiny-moe "${few[@]}" -o not-made.gguf --dry-run --json --quiet | jq .plan.memory_enough)
ends 0 imatrix tiny-moe "${few[@]}" -o other.gguf --threads 1 --memory "$least" --quiet
judge "threads or memory change the file" cmp made.gguf other.gguf
ORGAN_ISA=scalar ends 0 imatrix tiny-moe "${few[@]}" -o other.gguf --quiet --force
judge "the instructions change the file" cmp made.gguf other.gguf
ends 0 convert tiny-moe -o moe.gguf --to gguf --dtype f32 --quiet
ends 0 imatrix moe.gguf "${few[@]}" -o other.gguf --quiet --force
judge "the names or sums of the GGUF model differ" cmp made.gguf other.gguf
short=(--calibration few.txt --context 16) # more than the 64 chunks of a batch
ends 0 imatrix tiny-moe "${short[@]}" -o short.gguf --quiet
watched=.late.gguf.organ-partial/organ/sums-0 interrupted INT late.gguf imatrix tiny-moe "${short[@]}" -o late.gguf
if ((code == 130)); then good; else bad "ends with $code instead of 130" ../err; fi
says "--resume"
judge "an unfinished file has the final name" test ! -e late.gguf
refused 2 "--resume" imatrix tiny-moe "${short[@]}" -o late.gguf
ends 2 imatrix tiny-moe "${short[@]}" -o late.gguf --chunks 3 --resume
says "parameters"
ends 0 imatrix tiny-moe "${short[@]}" -o late.gguf --resume --json --quiet
judge "the document does not say that the run was resumed" test "$(jq .run.resumed ../out)" = true
judge "a resumed run differs from a whole one" cmp short.gguf late.gguf
judge "something is left" test -z "$(find . -maxdepth 1 -name '.late*')"

# The head is one entry more; the older format by its ending or by --format; an older file can be replaced.
# A block of Nemotron-H is not run, and its matrices are listed.
mkdir fixture
cp "$model"/../architectures/nemotron_h-moe/{config.json,model.tsv} fixture
printf 'tensor\tmtp.layers.%s\n' $'0.eh_proj.weight\t64x128' $'1.mixer.experts.0.up_proj.weight\t32x64' $'1.mixer.experts.1.up_proj.weight\t32x64' >>fixture/model.tsv
(cd "${organ%/build/organ}" && build/checks/arch_model "../../../../../../../../../..$scratch/area/fixture" "$scratch/area/nemotron") >../out 2>&1 || bad "the model cannot be made" ../out
ends 0 imatrix nemotron --calibration few.txt --context 32 --chunks 1 -o nemotron.gguf --json --quiet
judge "the report does not list matrices without entries" test "$(jq -c .uncovered ../out)" = '{"matrices":3,"names":["mtp.layers.0.eh_proj.weight","mtp.layers.1.mixer.experts.*.up_proj.weight"]}'
ends 0 imatrix nemotron --calibration few.txt --context 32 --chunks 1 -o nemotron.gguf --force
prints "3 matrices for multi-token prediction have no entry"
rm -r fixture nemotron nemotron.gguf
ends 0 imatrix tiny-moe "${few[@]}" -o head.gguf --process-output --json --quiet
judge "the head has no entry" test "$(jq -r '.entries | map(.name) | index("token_embd.weight") != null and length == 33' ../out)" = true
ends 0 imatrix tiny-moe "${few[@]}" -o made.dat --quiet
ends 0 imatrix tiny-moe "${few[@]}" -o made.dat --quiet --force
ends 0 imatrix tiny-moe "${few[@]}" -o by-format --format dat --quiet
judge "--format dat differs from .dat" cmp made.dat by-format
ends 0 prune tiny-moe -o by-gguf --method wanda --imatrix made.gguf -s 50 --quiet
ends 0 perplexity tiny-moe --text few.txt --style llama.cpp --context 64 -o sums --write-imatrix --quiet
judge "perplexity --write-imatrix writes another file" cmp made.gguf sums/imatrix.gguf
chmod -R u+w by-gguf sums && rm -r by-gguf sums

# errors
refused 2 "--calibration" imatrix tiny-moe -o new.gguf
refused 2 "FILE" imatrix tiny-moe "${few[@]}"
refused 2 "made.gguf" imatrix tiny-moe "${few[@]}" -o made.gguf
refused 2 "'gguf'" imatrix tiny-moe "${few[@]}" -o new.gguf --format GGUF
refused 2 "input moe.gguf" imatrix moe.gguf "${few[@]}" -o moe.gguf --force
refused 2 "--chunks" imatrix tiny-moe "${few[@]}" -o new.gguf --chunks 0
refused 2 "4294967295" imatrix tiny-moe "${few[@]}" -o new.gguf --chunks 4294967295
refused 2 "--memory" imatrix tiny-moe "${few[@]}" -o new.gguf --memory 8M
refused 4 "nowhere" imatrix nowhere "${few[@]}" -o new.gguf
refused 4 "nowhere" imatrix tiny-moe --calibration nowhere -o new.gguf
refused 3 "128 tokens" imatrix tiny-moe --calibration tiny.txt --context 64 -o new.gguf
echo note >note.txt
refused 2 "note.txt" imatrix tiny-moe "${few[@]}" -o note.txt --force
cp -rL tiny-moe odd && chmod -R u+w odd
sed -i -e 's/Qwen3MoeForCausalLM/UnheardOfForCausalLM/' -e 's/"qwen3_moe"/"unheard-of"/' odd/config.json
refused 3 "'UnheardOfForCausalLM'" imatrix odd "${few[@]}" -o new.gguf
cp tiny-moe/config.json odd/config.json
read -r shard offset < <("$organ" inspect odd --tensors --json --select model.layers.1.input_layernorm.weight | jq -r '.tensors[0] | "\(.file) \(.offset)"')
printf '\xc0\x7f' | dd of="odd/$shard" bs=1 seek="$offset" conv=notrunc status=none
refused 3 "nan" imatrix odd "${few[@]}" -o new.gguf
rm -r odd

# ---- organ imatrix --merge: the bytes of llama-imatrix, errors ----
ln -s imatrix/tiny-moe-llama.gguf once.gguf
ends 0 imatrix --merge once.gguf once.gguf -o twice.gguf --quiet
matches imatrix/merge ../out
ends 0 imatrix --merge once.gguf once.gguf -o twice.dat --quiet
ends 0 imatrix once.gguf --merge -o kept.gguf --quiet
judge "a single file changes" cmp once.gguf kept.gguf
ends 0 imatrix --merge twice.dat once.gguf -o mixed.gguf --json --quiet
judge "the report names no files" test "$(jq -c '[.merged[].context, .context, .chunks, .totals.files]' ../out)" = '[null,64,64,6,2]'
ends 0 imatrix --merge once.gguf twice.dat -o turned.dat --quiet
judge "llama-imatrix merges to other bytes" sha256sum --quiet -c imatrix/merged.sha256
ends 0 imatrix --merge once.gguf twice.gguf -o planned.gguf --dry-run --quiet
judge "a dry run made something" test ! -e planned.gguf
ends 0 imatrix --merge $new $old -o both.dat --context 128 --quiet --html both.html
judge "the page has no table" grep -q "</table>" both.html
ends 0 imatrix --merge twice.dat -o coarse.gguf --json --quiet # chunks of 512 tokens if no file states them
judge "another chunk" test "$(jq -c '[.context, .chunks]' ../out)" = '[512,4]'
refused 3 "'blk.0.attn_k.weight'" imatrix --merge once.gguf $new -o new.gguf -c 64
sed 's/blk\.2\.ffn_up/blk.7.ffn_up/' $old >other.dat
refused 3 "'blk.2.ffn_up.weight'" imatrix --merge $old other.dat -o new.gguf
refused 3 "'blk.2.ffn_up.weight'" imatrix --merge other.dat $old -o new.gguf
cp $old odd.dat && chmod u+w odd.dat
printf '\0\0\xc0\x7f' | dd of=odd.dat bs=1 seek=$((4 + 4 + 19 + 8 + 4 * 2)) conv=notrunc status=none
refused 3 "'blk.0.attn_k.weight'" imatrix --merge $old odd.dat -o new.gguf
sed -e 's/blk\.2\.ffn_gate/blk.2.ffn_else/' -e 's/blk\.2\.ffn_down/blk.2.ffn_gate/' -e 's/blk\.2\.ffn_else/blk.2.ffn_down/' $old >shape.dat
refused 3 "'blk.2.ffn_down.weight'" imatrix --merge $old shape.dat -o new.gguf
refused 2 "--context" \
    imatrix --merge $new once.gguf -o new.gguf
refused 2 "input twice.gguf" imatrix --merge twice.gguf once.gguf -o twice.gguf --force
refused 2 "twice.gguf" imatrix --merge once.gguf -o twice.gguf
refused 2 "MODEL" imatrix --merge -o new.gguf
refused 2 "'once.gguf'" imatrix tiny-moe once.gguf "${few[@]}" -o new.gguf
refused 2 "--calibration" imatrix --merge once.gguf "${few[@]}" -o new.gguf
refused 2 "--resume" imatrix --merge once.gguf --resume -o new.gguf
refused 2 "FILE" imatrix --merge once.gguf
refused 4 "nowhere.gguf" imatrix --merge once.gguf nowhere.gguf -o new.gguf
refused 3 "'general.type'" imatrix --merge once.gguf moe.gguf -o new.gguf

# ---- prune: results and reports ----
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

COLUMNS=120 ends 0 evaluate tiny-qwen2 wanda v2 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256 --quiet \
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
refused 2 '--calibration' "${v2[@]}" --calibration tiny-qwen2/calibration.txt
refused 2 '--samples' "${v2[@]}" --samples 4
refused 2 '--context' "${v2[@]}" --context 64
refused 2 '--effort' "${v2[@]}" --effort 2
refused 2 '--seed' "${v2[@]}" --seed 3
for method in sparsegpt alps physarum-v3; do
    refused 2 "--method" prune tiny-qwen2 -o new --method $method -s 50 --imatrix $new
done
refused 2 '--method magnitude' prune tiny-qwen2 -o new --method magnitude -s 50 --imatrix $new
refused 2 '--imatrix' prune tiny-qwen2 -o new --imatrix $new
refused 2 '--sparsity' prune tiny-qwen2 -o new --method wanda --imatrix $new

# ---- imatrices that do not fit the model ----
wanda=(prune tiny-qwen2 -o new --method wanda -s 50)
refused 4 'missing.gguf' "${wanda[@]}" --imatrix missing.gguf
refused 3 "is a text" "${wanda[@]}" --imatrix tiny-qwen2/calibration.txt
refused 3 "'general.type'" "${wanda[@]}" --imatrix tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
refused 3 "'model.embed_tokens.weight'" "${wanda[@]}" --imatrix $new --select '*embed_tokens*'
head -c 40000 $old >cut.dat
refused 3 "39372" "${wanda[@]}" --imatrix cut.dat
refused 3 "'model.layers.2.mlp.up_proj.weight'" "${wanda[@]}" --imatrix other.dat
sed -e 's/blk\.2\.ffn_gate/blk.2.ffn_else/' -e 's/blk\.2\.ffn_down/blk.2.ffn_gate/' -e 's/blk\.2\.ffn_else/blk.2.ffn_down/' $old >shape.dat
refused 3 "'blk.2.ffn_gate.weight'" \
    "${wanda[@]}" --imatrix shape.dat
cp -rL tiny-qwen2 there
ends 2 prune tiny-qwen2 -o there --method wanda -s 50 --imatrix $new
says "there"

finish
