#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# organ graft --select mtp --refit: the projection of a block is fitted to another trunk. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

awk 'BEGIN { x = 7; for (k = 0; k < 60000; k++) { x = (x * 1103515245 + 12345) % 2147483648; printf "%c", 97 + int(x / 65536) % 26 } }' >letters.txt
text=(--calibration letters.txt --samples 40 --context 64)
refit() { graft "$@" --refit "${text[@]}"; }
graft() { ends 0 graft --source "$1" --target "$2" -o "$3" --select mtp --quiet --force --threads 1 "${@:4}"; }
bytes() {
    local parts=../parts.$BASHPID
    "$organ" extract "$1" -o "$parts" --quiet >/dev/null 2>../err || echo "$1 cannot be extracted"
    jq -r '.tensors | to_entries[] | "\(.key) \(.value.dtype) \(.value.xxh3)"' "$parts/manifest.json" | sort
    rm -rf "$parts"
}
# values MODEL TENSOR: prints the FP32 values of a tensor, one a line.
values() {
    local parts=../values.$BASHPID
    "$organ" extract "$1" -o "$parts" --quiet >/dev/null 2>../err || echo "$1 cannot be extracted"
    od -A n -v -t f4 -w4 "$parts/$(jq -r --arg name "$2" '.tensors[$name].file' "$parts/manifest.json")"
    rm -rf "$parts"
}
nothing_left() { judge "a hidden directory is left" bash -c '! compgen -G ".*organ-refit*"'; }

# ---- a target whose final norm has other signs: the state is that of the source with these signs, and the fit finds them ----
with_block glm4_moe donor
rm -rf parts && ends 0 extract donor -o parts --quiet
norm=parts/$(jq -r '.tensors["model.norm.weight"].file' parts/manifest.json)
chmod -R u+w parts
for ((k = 1; k < 64; k += 2)); do # the sign bit of every second weight
    byte=$(od -A n -t u1 -j $((4 * k + 3)) -N 1 "$norm")
    printf '%b' "\\x$(printf %x $((byte ^ 128)))" | dd of="$norm" bs=1 seek=$((4 * k + 3)) conv=notrunc status=none
done
ends 0 assemble parts -o turned --quiet
refit donor turned made
holds made/organ/graft.json '.refit.projections | length == 1' '.refit.held_windows == 10' '.refit.calibration.samples == 40' \
    '.refit.projections[0] | .tensor == "model.layers.4.eh_proj.weight" and .lambda > 0 and .before > 0 and .after < .before / 1000' \
    '.parameters | .refit and .calibration == "letters.txt" and .samples == 40 and .context == 64'
paste <(values donor model.layers.4.eh_proj.weight) <(values made model.layers.4.eh_proj.weight) |
    awk '{ c = (NR - 1) % 128; s = c > 64 && c % 2 == 1 ? -1 : 1; d = $1 * s - $2; e += d * d; a += $1 * $1 } END { print NR, e / a; exit !(NR == 8192 && e < 0.02 * a) }' >../signs ||
    bad "the projection does not have the signs" ../signs
judge "other tensors than the projection differ" test "$(diff <(bytes turned) <(bytes made) | grep -c '^>')" = 1
nothing_left
for other in "--threads 3" "--scratch ." "--memory 64M"; do
    # shellcheck disable=SC2086
    refit donor turned again $other
    judge "$other gives other bytes" diff <(bytes made) <(bytes again)
done

# ---- the source itself: nothing is to be fitted ----
refit donor donor again
holds again/organ/graft.json '.refit.projections[0] | .lambda == 0 and .before == 0 and .after == 0'
judge "a block on its own trunk changes" diff <(bytes donor) <(bytes again)

# ---- a model without some of its layers, several blocks, and GGUF ----
for type in glm4_moe qwen3_5_text mimo_v2_flash; do
    if in_part && [[ $type == mimo_v2_flash ]]; then continue; fi
    with_block $type donor
    rm -rf cut && ends 0 prune donor -o cut --method magnitude --sparsity 60% --quiet
    refit donor cut made
    cp made/organ/graft.json "$type.json"
    holds "$type.json" '.refit.projections | all(.lambda >= 0 and .after <= .before and .before > 0)'
done
holds glm4_moe.json '.refit.projections[0] | .after < .before'
with_block glm4_moe donor
ends 0 convert donor -o donor.gguf --to gguf --dtype f32 --quiet --force
rm -f cut.gguf && ends 0 prune donor.gguf -o cut.gguf --method magnitude --sparsity 60% --quiet
refit donor.gguf cut.gguf made.gguf --json
cp ../out gguf.json
holds gguf.json '.refit.projections[0] | .tensor == "blk.4.nextn.eh_proj.weight" and .after < .before' \
    '[.refit.projections[0].after, '"$(jq '.refit.projections[0].after' glm4_moe.json)"'] | (.[0] - .[1] | fabs) < 1e-3 * .[1]'

ends 0 quantize donor.gguf -o small.gguf --scheme q8_0 --quiet
refit small.gguf cut.gguf made.gguf --json
holds ../out '.tensors | map(select(.name == "blk.4.nextn.eh_proj.weight").dtype) == ["Q8_0"]' '.refit.projections[0] | .after < .before'

# ---- what the terminal says, and the plan of a dry run ----
ends 0 graft --source donor.gguf --target cut.gguf -o said.gguf --select mtp --refit "${text[@]}"
prints "blk.4.nextn.eh_proj.weight" "40 windows of 64 tokens"
ends 0 graft --source donor.gguf --target cut.gguf -o no.gguf --select mtp --refit "${text[@]}" --dry-run --json
holds ../out '.dry_run and .plan.products > 1e6 and .plan.memory_enough > 1e6' '.refit.projections[0] | .lambda == null and .after == null'
judge "a dry run writes" test ! -e no.gguf
nothing_left

# ---- errors ----
refused 2 "--refit needs a text: --calibration FILE" graft --source donor.gguf --target cut.gguf -o no.gguf --select mtp --refit
refused 2 "--calibration has no meaning without --refit" graft --source donor.gguf --target cut.gguf -o no.gguf --select mtp --calibration letters.txt
refused 2 "--refit fits blocks for multi-token prediction: it needs --select mtp" graft --source donor.gguf --target cut.gguf -o no.gguf --select norm --refit "${text[@]}"
refused 2 "of 128 tokens (--context) in both models" graft --source donor.gguf --target cut.gguf -o no.gguf --select mtp --refit --calibration letters.txt \
    --samples 400 --context 128 --memory 16M
refused 3 "at least 4 are needed" graft --source donor.gguf --target cut.gguf -o no.gguf --select mtp --refit --calibration letters.txt --context 16384
refused 2 "made.gguf exists" graft --source donor.gguf --target cut.gguf -o made.gguf --select mtp --refit "${text[@]}"
refused 4 "missing.txt" graft --source donor.gguf --target cut.gguf -o no.gguf --select mtp --refit --calibration missing.txt
rm -rf cut && ends 0 prune donor -o cut --method magnitude --sparsity 60% --quiet
for model in donor cut; do
    ends 0 quantize $model -o $model.fp8 -s fp8-channel --select model.layers.4.eh_proj.weight,model.layers.3.self_attn.o_proj.weight --quiet
done
refused 2 "is packed: --refit needs a projection of BF16, F16 or F32" graft --source donor.fp8 --target cut.fp8 -o no --select mtp --refit "${text[@]}"
refused 2 "which must have one format" graft --source donor.gguf --target cut -o no --select mtp --refit "${text[@]}"
ends 0 convert donor -o mtp-donor.gguf --to gguf --dtype f32 --mtp only --quiet --force
ends 3 graft --source mtp-donor.gguf --target cut.gguf -o no.gguf --select mtp --refit "${text[@]}"
judge "something is written" test ! -e no.gguf
nothing_left
finish
