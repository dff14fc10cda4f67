#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What int4 and pruning of a model's layers cost the acceptance of its block for multi-token prediction, and what a refitted projection of the block
# regains. measure_block.sh ORGAN DONOR CALIBRATION HELD DIR makes these models in DIR, or takes those that DIR has, and compares them on HELD:
#   nearest, gptq  the projections of the layers as int4, by the nearest codes and by GPTQ; the block is the donor's
#   v3             half the weights of these projections are zero, by physarum-v3; the block is the donor's
#   ...-refit      the same with the donor's block, whose projection `organ graft --refit` fits to the changed layers
#   ...-block      the same, but the projections in the block are int4 or half zeros too, chosen on the states that the block gets
# Prints a table of the acceptance of the first drafted token on the text, as a draft is accepted by a ratio test (overlap), by sampling (chosen) and at
# temperature 0 (greedy), and of the mean accepted length on greedy continuations, each with its standard error. DIR/block.json has the same figures.
# From the environment: SCHEME (int4-group64, whose groups divide rows of 576), SAMPLES (128) windows of CONTEXT (512) tokens for the calibrations,
# TOKENS (8192) of HELD, CONTINUATIONS (32), THREADS (2). bench/mtp/train_block.py makes a model.
set -euo pipefail
organ=$1 donor=$2 calibration=$3 held=$4 area=$5
mkdir -p "$area"
shared=(--quiet --threads "${THREADS:-2}")
calibrated=(--calibration "$calibration" --samples "${SAMPLES:-128}" --context "${CONTEXT:-512}" "${shared[@]}")
codes=(-s "${SCHEME:-int4-group64}")

# make NAME COMMAND...: runs the command of organ, whose output is DIR/NAME, if there is none.
make() {
    [[ -e $area/$1 ]] || "$organ" "${@:2}" -o "$area/$1" >"$area/$1.log" || { echo "measure_block.sh: $1 cannot be made" >&2 && exit 1; }
}
for part in "" -block; do
    selected=(${part:+--select q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj})
    make nearest$part quantize "$donor" "${codes[@]}" "${selected[@]}" "${shared[@]}"
    make gptq$part quantize "$donor" "${codes[@]}" --method gptq "${selected[@]}" "${calibrated[@]}"
    make v3$part prune "$donor" -s 50 --method physarum-v3 "${selected[@]}" "${calibrated[@]}"
done
models=()
for name in nearest gptq v3; do
    make $name-refit graft --source "$donor" --target "$area/$name" --select mtp --refit "${calibrated[@]}"
    for part in "" -refit -block; do models+=(--experiment "$name$part=$area/$name$part" "$area/$name$part"); done
done
"$organ" evaluate "$donor" "${models[@]}" --text "$held" --mtp --context "${CONTEXT:-512}" --max-tokens "${TOKENS:-8192}" \
    --continuations "${CONTINUATIONS:-32}" --json "${shared[@]}" >"$area/evaluation.json"
jq '[.models | to_entries[] | .value + {row: (if .key == 0 then "donor" else .value.model.name end)}
    | {row, perplexity: .figures.perplexity} + (.mtp.text | del(.drafts)) + (.mtp.continuations | {accepted_length, accepted_length_error})]' \
    "$area/evaluation.json" >"$area/block.json"
echo "| model | perplexity | overlap, % | chosen, % | greedy, % | length |"
echo "|---|---|---|---|---|---|"
jq -r '.[] | [.row, .perplexity, 100 * .overlap, 100 * .overlap_error, 100 * .chosen, 100 * .chosen_error, 100 * .greedy, 100 * .greedy_error,
    .accepted_length, .accepted_length_error] | @tsv' "$area/block.json" |
    awk -F '\t' '{ printf "| %s | %.2f | %.2f +- %.2f | %.2f +- %.2f | %.2f +- %.2f | %.3f +- %.3f |\n", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 }'
