/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_MODEL_LINE_H
#define ORGAN_MODEL_LINE_H

#include <jansson.h>
#include <stdio.h>

/* "tiny-qwen2 (Qwen2ForCausalLM, safetensors, 3 files, 9.9 MB)" from an object like report.donor. */
void organ_model_line(FILE *out, const json_t *model);

#endif
