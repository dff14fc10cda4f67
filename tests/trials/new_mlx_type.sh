#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A trial (tests/check_trials.sh): lets `quantize --format mlx` write a model type that mlx-lm loads without changes, as the paragraph "A model type of
# MLX" of CONTRIBUTING.md says. Changes the sources in the current directory, a copy.
set -euo pipefail
type=olmo organ=$PWD/build/organ out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
build/checks/arch_model $type "$out/$type"
mlx=(quantize "$out/$type" -s int4-group32 --format mlx --quiet)
if $organ "${mlx[@]}" -o "$out/none" 2>"$out/err"; then exit 1; fi
grep -q "does not write models of type '$type'" "$out/err"

sed -i "s/^    {.types = \"afmoe dots1\"/    {.types = \"$type\"},\n&/" formats/tensor/mlx_types.c
"${NINJA:-ninja}" build/organ
$organ "${mlx[@]}" -o "$out/made"
jq -e '.quantization.bits == 4 and .quantization.group_size == 32' "$out/made/config.json"
grep -q "MLX INT4, group 32" <($organ inspect "$out/made")
$organ dequantize "$out/made" -o "$out/plain" --quiet
jq -e 'has("quantization") | not' "$out/plain/config.json"
