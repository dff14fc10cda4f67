#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ width: results, reports, errors, interruptions during calibration and during writing.
. "$(dirname "$0")/../kit/cli_kit.sh"

ln -s "$model/../tiny-moe" tiny-moe
ln -s "$model/../forward" forward
text=tiny-qwen2/calibration.txt
gguf=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
short=(--calibration $text --samples 4 --context 64 --quiet)

# number KEY FILE: prints the value of the first line that has the key.
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),\{0,1\}$/\1/p" "$2" | head -n 1; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a < b) }'; }
# shape MODEL TENSOR: prints the shape that inspect reports.
shape() { "$organ" inspect "$1" --tensors --quiet 2>&1 | grep -F "$2" | grep -oE '\[[0-9, ]*\]' | head -n 1; }
plain() { sed '/^  "run": {$/,$d' "$1"; }
same() { judge "$1 and $2 differ" cmp -s <(cat "$1"/*.safetensors "$1"/config.json && plain "$1/organ/width.json") <(cat "$2"/*.safetensors "$2"/config.json && plain "$2/organ/width.json"); }

# ---- results and reports ----
ends 0 width tiny-qwen2 -o narrow "${short[@]}" --ffn 75% --heads 50%
matches width/width ../out
matches width/WIDTH_REPORT narrow/organ/WIDTH_REPORT.md
matches width/config narrow/config.json
ends 0 inspect narrow
prints "No problems found"
prints "intermediate 640, 5 heads, 1 KV heads, head 32"
ends 0 audit tiny-qwen2 narrow --refitted --quiet
prints "removed parts, with 8 refitted"
ends 0 audit tiny-qwen2 narrow --quiet
prints "removed parts, with 8 refitted"
refits_are_audited tiny-qwen2 narrow model.layers.2.self_attn.o_proj.weight
ends 0 perplexity narrow --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --quiet
if ! sampled; then
    ends 0 width tiny-qwen2 -o counted "${short[@]}" --ffn 640 --heads 1
    judge "a share and its number differ" cmp -s <(cat narrow/*.safetensors) <(cat counted/*.safetensors)
fi
ends 0 width tiny-qwen2 -o dry "${short[@]}" --ffn 75% --dry-run
prints "640 of 864 channels of each feed-forward are kept"
prints "Dry run, nothing was written"
judge "a dry run made something" test ! -e dry -a ! -e .dry.organ-partial
ends 0 width tiny-qwen2 -o fine "${short[@]}" --ffn 70% --multiple-of 1 --dry-run --json
judge "605 channels do not stay" test "$(number after ../out)" = 605
judge "something lies beside the outputs" test -z "$(find . -maxdepth 1 -name '.*organ*')"

# ---- methods compared: the losses of the layers and of the whole model ----
if ! in_part; then
    scored=(--evaluate tiny-qwen2/heldout.txt --evaluate-context 128 --evaluate-max-tokens 2048 --json --force)
    lost=() cost=()
    for way in "" --no-refit "--score wanda" "--score wanda --no-refit"; do
        # shellcheck disable=SC2086 # options
        ends 0 width tiny-qwen2 -o ways --calibration $text --samples 8 --context 256 --quiet --ffn 50% $way "${scored[@]}"
        lost+=("$(number lost_percent ../out)") cost+=("$(number kl_divergence ../out)")
    done
    here="organ width by ways"
    judge "solving anew loses no less: ${lost[*]}" below "${lost[0]}" "${lost[1]}"
    judge "the loss chooses no better: ${lost[*]}" below "${lost[0]}" "${lost[2]}"
    judge "the model is no nearer solved anew: ${cost[*]}" below "${cost[0]}" "${cost[1]}"
    judge "the model is no nearer than by wanda: ${cost[*]}" below "${cost[0]}" "${cost[3]}"
fi

# ---- other models ----
ends 0 width $gguf -o narrow.gguf "${short[@]}" --ffn 75%
judge "the shape is not that of the fewer channels" test "$(shape narrow.gguf blk.0.ffn_down.weight)" = "[320, 640]"
if ! sampled; then
    ends 0 width tiny-qwen2 -o plain "${short[@]}" --ffn 75%
    ends 0 perplexity plain --compare narrow.gguf --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --quiet --json
    judge "GGUF and safetensors are not the same model" below "$(number kl_divergence ../out)" 1e-6
fi
ends 0 width tiny-moe -o moe --calibration tiny-moe/calibration.txt --samples 4 --context 64 --quiet --heads 1
ends 0 inspect moe
prints "3 heads, 1 KV heads"

# ---- experts: each expert keeps its own channels ----
mixed=(width tiny-moe --calibration tiny-moe/calibration.txt --samples 16 --context 64 --ffn 75% --multiple-of 8)
ends 0 "${mixed[@]}" -o fewer --quiet --threads 1
prints "72 of 96 channels of each expert are kept"
prints "Every expert got at least "
judge "config.json says another width" grep -q '"moe_intermediate_size": 72' fewer/config.json
judge "config.json says another width of layers without experts" grep -q '"intermediate_size": 192' fewer/config.json
ends 0 audit tiny-moe fewer --quiet
prints "72 of 96"
prints "removed parts, with 64 refitted"
ends 0 inspect fewer
prints "No problems found"
ends 0 perplexity fewer --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --quiet
ends 0 "${mixed[@]}" -o dry --dry-run --json --threads 2
least=$(number memory_enough ../out)
judge "a dry run does not tell the memory" test "${least:-0}" -gt 1000000
judge "a dry run does not tell what experts take" test "$(number expert_moments ../out)" -gt 1000000
ends 0 "${mixed[@]}" -o tight --quiet --threads 2 --memory $((least / 1024 + 1))K
same fewer tight
ends 0 "${mixed[@]}" -o seldom --quiet --samples 1 --context 16
prints "experts got no token of the text: their channels are chosen by the"
judge "the report does not name them" grep -q "got no token of the text" seldom/organ/WIDTH_REPORT.md
judge "no picture of the experts" grep -q "Output lost by layer and expert" seldom/organ/WIDTH_REPORT.html
ends 0 audit tiny-moe seldom --refitted --quiet
if ! in_part; then
    ends 0 "${mixed[@]}" -o both --heads 1 --quiet
    prints "72 of 96 channels of each expert are kept, and 1 of 2 heads of K and V"
    ends 0 audit tiny-moe both --refitted --quiet
fi

# ---- hidden states on a disk, threads ----
mkdir disk
windows=(--samples 20 --context 64)
if in_part; then windows=(--samples 20 --context 32); fi
few=(--calibration $text "${windows[@]}" --quiet --ffn 50%)
ends 0 width tiny-qwen2 -o held "${few[@]}" --threads 1
ends 0 width tiny-qwen2 -o spilled "${few[@]}" --threads 3 --scratch disk
same held spilled
judge "something is left in the scratch directory" test -z "$(ls -A disk)"

# ---- errors ----
new=(width tiny-qwen2 -o new "${short[@]}")
refused 2 "--calibration" width tiny-qwen2 -o new --ffn 75%
refused 2 "--ffn" "${new[@]}"
refused 2 "--multiple-of" "${new[@]}" --heads 1 --multiple-of 8
refused 2 "'--heads'" "${new[@]}" --haeds 1
refused 2 "'wanda'" "${new[@]}" --ffn 50% --score wand
refused 2 "--ffn 'most'" "${new[@]}" --ffn most
refused 2 "--ffn '7.5'" "${new[@]}" --ffn 7.5
refused 2 "'75 %'" "${new[@]}" --ffn '75 %'
refused 2 "--ffn 0%" "${new[@]}" --ffn 0%
refused 2 "--ffn 100%" "${new[@]}" --ffn 100%
refused 2 "--ffn 1%" "${new[@]}" --ffn 1%
refused 2 "--ffn 99%" "${new[@]}" --ffn 99%
refused 2 "--ffn 650" "${new[@]}" --ffn 650
refused 2 "--ffn 864" "${new[@]}" --ffn 864
refused 2 "--heads 10%" "${new[@]}" --heads 10%
refused 2 "--heads 2" "${new[@]}" --heads 2
refused 2 "'0'" "${new[@]}" --ffn 50% --multiple-of 0
refused 3 "--context" width tiny-qwen2 -o new --calibration $text --samples 64 --context 1048576 --ffn 50%
refused 2 "--memory 16M" "${new[@]}" --ffn 50% --memory 16M
refused 2 "--ffn 100" width tiny-moe -o new "${short[@]}" --ffn 100
refused 2 "--ffn 20%" width tiny-moe -o new "${short[@]}" --ffn 20% --multiple-of 96
refused 2 "'qwen2'" width $gguf -o new.gguf "${short[@]}" --heads 1
refused 3 "'blk.0.ffn_down.weight'" width tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o new.gguf "${short[@]}" --ffn 50%
refused 2 "exists" width tiny-qwen2 -o narrow "${short[@]}" --ffn 50%
refused 2 ".gguf" width $gguf -o new "${short[@]}" --ffn 50%
refused 4 "absent.txt" width tiny-qwen2 -o new --calibration absent.txt --ffn 50%

# ---- interruptions during calibration and during writing ----
long=(width tiny-qwen2 -o killed --calibration $text "${windows[@]}" --ffn 50%)
journal=.killed.organ-partial/organ/journal.jsonl values=.killed.organ-partial/organ/choices
interrupted KILL killed "${long[@]}"
judge "the killed run left nothing to go on with" grep -q '"kept"' $journal
refused 2 "--resume" "${long[@]}"
ends 2 "${long[@]}" --resume --score wanda
says "parameters"
interrupted INT killed "${long[@]}" --resume
judge "an interruption does not end with 130" test "$code" = 130
says "--resume"
# The pipe for the log has room for some lines only, so that a run can be killed while it writes.
for ((k = 0; k < 9; k++)); do
    grep -q '"unit"' $journal && break
    interrupted KILL killed "${long[@]}" --resume
done
judge "no tensor was written" grep -q '"unit"' $journal
judge "what was chosen is gone before the output is whole" test -s $values
ends 0 "${long[@]}" --resume --quiet
same held killed
judge "something is left of the runs" test -z "$(find . -maxdepth 1 -name '.*organ*')"
# If another program makes the output while a run chooses, the complete output keeps its hidden name.
here="organ width, overtaken"
hold width tiny-qwen2 -o overtaken "${short[@]}" --ffn 75%
await test -s .overtaken.organ-partial/organ/journal.jsonl
mkdir overtaken && echo x >overtaken/x
let_go
judge "an overtaken run does not end with 4" test $code = 4
judge "an overtaken run leaves its choices" test -s .overtaken.organ-partial/model.safetensors -a ! -e .overtaken.organ-partial/organ/choices
rm -r overtaken .overtaken.organ-*
# The choice for each expert is read from the files of the first run.
values=.fewest.organ-partial/organ/choices
interrupted KILL fewest "${mixed[@]}" -o fewest
judge "the killed run left no expert to go on with" grep -q '"kept"' .fewest.organ-partial/organ/journal.jsonl
printf 'x' | dd of=$values bs=1 seek=1000 conv=notrunc status=none
ends 0 "${mixed[@]}" -o fewest --resume --quiet
same fewer fewest
if sampled; then finish; fi
# A file of values that is shorter than its size in the journal is written again.
interrupted KILL fewest "${mixed[@]}" -o fewest --force
truncate -s 1000 $values
ends 0 "${mixed[@]}" -o fewest --resume --force --quiet
same fewer fewest
if in_part; then finish; fi
values=.killed.organ-partial/organ/choices
# The files are checked on resume: a value that differs from the written one is computed again.
interrupted KILL killed "${long[@]}" --force
printf 'x' | dd of=$values bs=1 seek=1000 conv=notrunc status=none
ends 0 "${long[@]}" --resume --force --quiet
same held killed
finish
