#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ experts --refit: output, reports, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/ranks_kit.sh"

ln -s "$(dirname "$model")/tiny-moe" tiny-moe
along=(--calibration tiny-moe/calibration.txt --samples 16 --context 64 --scores scores.json)

ends 0 experts tiny-moe --score loss -o plain --keep 50% "${along[@]}" --quiet
ends 0 experts tiny-moe --score loss -o healed --keep 50% "${along[@]}" --refit --quiet
matches experts/heal ../out
matches experts/HEAL_REPORT healed/organ/EXPERTS_REPORT.md
judge "no picture of what layers miss" grep -q "Error of each layer before and after its refit" healed/organ/EXPERTS_REPORT.html
judge "the bars of the layers have no names" grep -q ">layer 3</text>" healed/organ/EXPERTS_REPORT.html
judge "other experts stay" test "$(jq -c '[.layers[].kept_experts]' plain/organ/experts.json)" = "$(jq -c '[.layers[].kept_experts]' healed/organ/experts.json)"
judge "a healed layer misses more" test "$(jq '[.heal.layers[] | select(.healed and .after >= .before)] | length' healed/organ/experts.json)" = 0
ends 0 audit tiny-moe healed --quiet
prints "compared with the digests of organ/experts.json"
refits_are_audited tiny-moe healed model.layers.3.mlp.experts.7.down_proj.weight
ends 0 inspect healed
prints "No problems found"
perplexity_of() { "$organ" perplexity "$1" --text tiny-qwen2/heldout.txt --max-tokens 4000 --context 128 --json 2>/dev/null | jq '.models[0].figures.perplexity'; }
plain=$(perplexity_of plain)
judge "heals nothing on another text: $plain" test "$(jq -n "$plain > 1.02 * $(perplexity_of healed)")" = true

# ---- interrupted and resumed ----
interrupted KILL resumed experts tiny-moe --score loss -o resumed --keep 50% "${along[@]}" --refit --threads 1
judge "a half model is under the final name" test ! -e resumed
ends 2 experts tiny-moe --score loss -o resumed --keep 50% "${along[@]}" --resume
says "unfinished run"
ends 0 experts tiny-moe --score loss -o resumed --keep 50% "${along[@]}" --refit --resume
judge "a resumed run differs from a whole one" cmp -s healed/model.safetensors resumed/model.safetensors
judge "the report of a resumed run differs" test "$(jq -c .heal healed/organ/experts.json)" = "$(jq -c .heal resumed/organ/experts.json)"
ends 0 experts tiny-moe --score loss -o scratched --keep 50% "${along[@]}" --refit --scratch . --memory 96M --quiet
judge "--scratch and --memory change bytes" cmp -s healed/model.safetensors scratched/model.safetensors

# ---- dry runs, and errors before the measurement ----
ends 0 experts tiny-moe --score loss -o dry --keep 50% "${along[@]}" --refit --dry-run --json
judge "a dry run does not say what memory the heal takes" test "$(jq '.plan.memory_enough > 8388608' ../out)" = true
refused 2 "--calibration" experts tiny-moe --score loss -o no --keep 50% --scores scores.json --refit
(cd "${organ%/build/organ}" && build/checks/arch_model hy_v4 "$scratch/area/hy_v4") >../out 2>&1 || bad "hy_v4 cannot be made" ../out # its layers pass on streams
refused 2 "192 numbers per token" experts hy_v4 -o no --keep 75% "${along[@]:0:6}" --refit
refused 2 "--samples" \
    experts tiny-moe --score loss -o no --keep 50% --calibration tiny-moe/calibration.txt --samples 3 --context 64 --refit
refused 2 "--memory" experts tiny-moe --score loss -o no --keep 50% "${along[@]}" --refit --memory 16M
ends 0 quantize tiny-moe -o packed --scheme fp8-channel --quiet
refused 2 "F8_E4M3" \
    experts packed -o no --keep 50% --calibration tiny-moe/calibration.txt --samples 4 --context 64 --refit

# ---- by several processes ----
need_launcher
ranks 3 0 experts tiny-moe --score loss -o ranked --keep 50% "${along[@]}" --refit --quiet
judge "three processes make other bytes" cmp -s healed/model.safetensors ranked/model.safetensors
judge "three processes tell something else" test "$(jq -c .heal healed/organ/experts.json)" = "$(jq -c .heal ranked/organ/experts.json)"

finish
