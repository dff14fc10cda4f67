/* SPDX-License-Identifier: MIT
 * A model without quantisation: what packed tensors and their scales mean, written under plain names. */
#ifndef ORGAN_DEQUANTIZE_H
#define ORGAN_DEQUANTIZE_H

#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_dequantize_options {
    const char *model;
    const char *dtype; /* "bf16", "f16" or "f32": of what was packed */
    organ_write_options write;
} organ_dequantize_options;

/* Writes the model anew with every packed weight as numbers of `dtype`, whatever it was packed in. Tensors that are
 * plain keep type and bytes, also in a model that has no others (then the copy is only re-sharded, and a note says so).
 * Packed tensors and their companions are gone, also from index and config.json, whose torch_dtype becomes `dtype`
 * where something was packed; quantize_config.json and the like are left out, all other files come along. A GGUF model
 * becomes one GGUF file. Values that are infinite or NaN in the output are counted for each weight. *report is schema
 * organ.dequantize/1 and lies with a DEQUANTIZE_REPORT.md in the output's organ/ folder, beside a single file under its
 * name; the caller releases it; NULL on error. What is left after an error, and `resume`, are as of
 * organ_quantize_model. Errors: ORGAN_USAGE, ORGAN_BAD_INPUT (the model is malformed, packed in a way that is not
 * known, or was changed), ORGAN_IO, ORGAN_INTERRUPTED. With `evaluate` also those of organ_perplexity: before anything
 * is written where they can be known; an output that is whole stays, *report is set and says why it was not scored. */
organ_status organ_dequantize_model(const organ_dequantize_options *options, const organ_engine *engine,
                                    const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
