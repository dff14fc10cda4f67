/* SPDX-License-Identifier: MIT
 * An adapter put into its base: W + scale B A in FP32, rounded once. */
#ifndef ORGAN_LORA_MERGE_H
#define ORGAN_LORA_MERGE_H

#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_lora_merge_options {
    const char *base, *adapter;
    double scale;      /* of the whole adapter, besides its own; 1 as trained */
    const char *dtype; /* "bf16", "f16", "f32", of what is merged or was packed; NULL: merged weights keep their type,
                          packed ones get BF16 */
    organ_write_options write;
} organ_lora_merge_options;

/* Makes a model like the base in which every module of the adapter has its change (with DoRA the rows of W + scale B A
 * are then brought to the norms that it has for them), and tensors that the adapter brings whole (modules_to_save,
 * biases) replace the base's. A base in FP8 or INT4 is dequantised on the way: the output is a plain model. *report is
 * schema organ.lora_merge/1, for the caller to release. If a key of the adapter finds no place in the base,
 * ORGAN_BAD_INPUT: nothing is written, and *report lists all such keys; with any other error it is NULL. What is left
 * after an error, and `resume`, are as of organ_quantize_model. Errors: ORGAN_USAGE (output exists or is an input, base
 * in GGUF or behind a URL, a scale with DoRA), ORGAN_BAD_INPUT (malformed or changed files, factors that are not
 * finite, values that leave the range of the type), ORGAN_IO, ORGAN_INTERRUPTED. With `evaluate` also those of
 * organ_perplexity: before anything is written where they can be known; an output that is whole stays, *report is set
 * and says why it was not scored. */
organ_status organ_lora_merge(const organ_lora_merge_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
