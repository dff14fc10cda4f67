#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ quantize --smooth: the function of the smoothed model, its report, codes of it, errors, --resume.
. "$(dirname "$0")/../../kit/cli_kit.sh"
text=(--calibration tiny-llama/calibration.txt --samples 4 --context 64)
ln -s "$model/../tiny-llama" .
[[ -e tiny-moe ]] || ln -s "$model/../tiny-moe" .

# ---- the smoothed model ----
for donor in tiny-llama tiny-moe; do
    ends 0 quantize $donor -o $donor.smooth -s none --smooth .8 "${text[@]}"
    prints "have a factor other than 1"
    holds $donor.smooth/organ/smooth.json '.schema == "organ.smooth/1" and .parameters.scales == "exact" and .totals.changed > 1000' \
        'all(.folds[]; (.producer | length) > 0 and (.readers | length) > 0)' \
        'all(.folds[] | .least, .greatest; . == (log2 | floor | exp2))' '[.folds[].changed] | add > 1000'
    ends 0 perplexity $donor --compare $donor.smooth --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256 --json --quiet
    scores_alike "the smoothed $donor has another likelihood"
done
holds tiny-moe.smooth/organ/smooth.json '[.folds[] | select(.fold == "norm before the feed-forward")] | length > 0 and all(.readers | any(test("gate.weight$")))'
ends 0 quantize tiny-llama -o any -s none --smooth .8 --smooth-scales any "${text[@]}" --quiet
judge "real factors are powers of two" test "$(jq '.folds[0].greatest | log2 | . == floor' any/organ/smooth.json)" = false

# ---- factors of the least predicted error ----
few=("${text[@]}") text=(--calibration tiny-llama/calibration.txt --samples 6 --context 128)
for donor in tiny-llama tiny-moe; do
    ends 0 quantize $donor -o $donor.auto -s none --smooth auto "${text[@]}" --quiet
    holds $donor.auto/organ/smooth.json '.parameters.alpha == "auto" and .parameters.rounding.weight_levels == 127.5' \
        'all(.folds[]; .predicted_error <= 1) and ([.folds[].predicted_error] | add / length < 0.999)' \
        'all(.folds[] | .least, .greatest; . == (log2 | floor | exp2))'
    ends 0 audit $donor $donor.auto
done
ends 0 quantize tiny-llama -o alone -s none --smooth auto "${text[@]}" --quiet --threads 1 --memory 40M
for file in alone/*.safetensors; do
    judge "$file is another one with one thread and less memory" cmp -s "$file" "tiny-llama.auto/${file#*/}"
done
ends 0 quantize tiny-llama -o any.auto -s int8-channel --smooth auto --smooth-scales any "${text[@]}" --quiet
holds any.auto/organ/quantize.json '.smoothed.parameters.alpha == "auto" and .smoothed.parameters.scales == "any"'
ends 0 quantize tiny-llama -o grouped -s int4-group32 --activation-type int8 --smooth auto "${text[@]}" --quiet
holds grouped/organ/quantize.json '.smoothed.parameters.rounding | .weight_levels == 7.5 and .group == 32 and .input_levels == 127'
ends 0 quantize tiny-llama -o fixed -s int8-channel --activation-scale static --smooth auto "${text[@]}" --quiet
holds fixed/organ/quantize.json '.smoothed.parameters.rounding.input_scale == "static"'
refused 2 floating-point quantize tiny-llama -o bad -s fp8-channel --smooth auto "${text[@]}"
refused 2 "auto or" quantize tiny-llama -o bad -s int8-channel --smooth automatic "${text[@]}"

text=("${few[@]}")

# ---- the audit ----
ends 0 audit tiny-llama tiny-llama.smooth --json
ends 0 audit tiny-moe tiny-moe.smooth
judge "the verdict does not name the function" grep -q "has the donor's function" ../out
cp -r tiny-llama.smooth forgotten
file=forgotten/model-00002-of-00003.safetensors
printf '\123\123' | dd of=$file bs=1 seek=$(($(stat -c %s $file) / 4 * 2)) conv=notrunc status=none
ends 1 audit tiny-llama forgotten
judge "the changed tensor is not named" grep -q "is not the donor's times the factors of its folds" ../err
ends 1 audit tiny-llama any
judge "real factors pass" grep -q "no power of two" ../err

# ---- codes of the smoothed model ----
ends 0 quantize tiny-llama -o codes -s int8-channel --smooth .8 "${text[@]}"
says "tiny-llama"
ends 0 quantize tiny-llama -o nearest -s int8-channel --quiet
ends 0 quantize tiny-llama.auto -o chosen -s int8-channel --quiet
ends 0 evaluate tiny-llama nearest codes chosen --text tiny-llama/heldout.txt --context 128 --max-tokens 1024 --json --quiet
holds ../out '[.models[1:][].comparison.kl_divergence] | .[2] < .[1] and .[2] < 1.2 * .[0]' # no channel of the model is an outlier
ends 0 quantize tiny-llama.smooth -o apart -s int8-channel --quiet
for file in codes/*.safetensors codes/config.json; do
    judge "$file is not that of the smoothed model" cmp -s "$file" "apart/${file#*/}"
done
holds codes/organ/quantize.json '.smoothed.schema == "organ.smooth/1" and .smoothed.totals.folds == 24 and (.smoothed | has("run") | not)'
judge "the temporary model is left" test -z "$(find . -maxdepth 1 -name '.*organ*')"
ends 0 quantize tiny-llama -o gptq -s int4-group32 --method gptq --smooth .5 "${text[@]}" --evaluate tiny-llama/heldout.txt --context 64 --quiet
holds gptq/organ/quantize.json '.smoothed.parameters.alpha == 0.5 and .evaluation and .calibration'
ends 0 quantize tiny-llama -o planned -s int8-channel --smooth .8 "${text[@]}" --dry-run
judge "a dry run writes" test ! -e planned

# ---- errors ----
refused 2 1.5 quantize tiny-llama -o bad -s int8-channel --smooth 1.5 "${text[@]}"
refused 2 --calibration quantize tiny-llama -o bad -s int8-channel --smooth .5
refused 2 --smooth quantize tiny-llama -o bad -s none
refused 2 --smooth-scales quantize tiny-llama -o bad -s int8-channel --smooth-scales any
refused 2 --method quantize tiny-llama -o bad -s none --smooth .5 --method gptq "${text[@]}"
refused 2 q4_k quantize tiny-llama -o bad.gguf -s q4_k --smooth .5 "${text[@]}"
refused 2 GGUF quantize tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf -o bad -s none --smooth .5 "${text[@]}"
refused 3 codes quantize codes -o bad -s none --smooth .5 "${text[@]}"
refused 3 codes quantize codes -o bad -s int8-channel --smooth .5 "${text[@]}"

# ---- interrupted ----
interrupted INT cut quantize tiny-llama -o cut -s none --smooth .8 "${text[@]}"
ends 0 quantize tiny-llama -o cut -s none --smooth .8 "${text[@]}" --resume --quiet
for file in cut/*.safetensors; do
    judge "$file is another one after --resume" cmp -s "$file" "tiny-llama.smooth/${file#*/}"
done
finish
