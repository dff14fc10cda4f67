/* SPDX-License-Identifier: MIT
 * Merges an adapter into its base: W + scale B A in FP32, rounded once. */
#ifndef ORGAN_LORA_MERGE_H
#define ORGAN_LORA_MERGE_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_lora_merge_options {
    const char *base, *adapter;
    double scale; /* --scale: factor of the whole adapter, in addition to its own scale; 1: as trained */
    /* Type of merged and dequantised weights: "bf16", "f16", "f32"; NULL: merged weights keep their type, packed ones
     * become BF16. */
    const char *dtype;
    organ_write_options write;
} organ_lora_merge_options;

/* Writes a copy of the base in which every module of the adapter has its change; with DoRA the rows of W + scale B A
 * are then scaled to the stored norms. Tensors that the adapter stores whole (modules_to_save, biases) replace the
 * base's. A base in FP8 or INT4 is dequantised: the output is a plain model. *report has schema organ.lora_merge/1; the
 * caller releases it.
 *
 * If a key of the adapter matches nothing in the base, the function writes nothing and returns ORGAN_BAD_INPUT, and
 * *report lists all such keys; with any other error *report is NULL. Files that remain after an error, and `resume`,
 * are as for organ_quantize_model.
 *
 * Returns - ORGAN_USAGE if the output exists or is an input, the base is behind a URL, or DoRA is given a scale; -
 * ORGAN_BAD_INPUT if files are malformed or changed during the run, factors are not finite, or values exceed the range
 * of the type; - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. With
 * `evaluate`, also returns errors of organ_perplexity. Errors that can be detected early are returned before anything
 * is written. After a later error the complete output remains, *report is set, and it gives the reason why the output
 * was not scored. */
organ_status organ_lora_merge(const organ_lora_merge_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
