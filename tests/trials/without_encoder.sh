#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Before the trial new_encoder.sh: removes the encoder of Q2_0 from the sources in the current directory, a copy, so that organ only reads this type.
set -euo pipefail
sed -i '/^    X(set, Q2_0, q2_0)/d' kernels/encoders.h
sed -i '/few_kind of_q2_0 = /d; /^FIT_FEW(q2_0, /d' kernels/few_encoders.c
sed -i '/^static const organ_levels levels_of_q2_0 = /,/;$/d; /^    ROW(Q2_0, /d' kernels/ggml_parts.c
sed -i '/^    X("q2_0", /d; /^    X(Q2_0, /d' include/organ/schemes.h
sed -i 's/ | OF(Q2_0)//' orchestrator/verbs/quantize/gguf/quantize_recipe.c
if grep -n "of_q2_0\|\"q2_0\"\|Q2_0, q2_0\|ROW(Q2_0\|OF(Q2_0)" kernels/*encoders* kernels/ggml_parts.c include/organ/schemes.h orchestrator/verbs/quantize/gguf/*.c; then exit 1; fi
