/* SPDX-License-Identifier: MIT
 * Merges an adapter into its base: W + scale B A in FP32, rounded once. */
#ifndef ORGAN_LORA_MERGE_H
#define ORGAN_LORA_MERGE_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

/* Options of organ lora merge. */
typedef struct organ_lora_merge_options {
    const char *base, *adapter; /* paths */
    double scale; /* --scale: factor of the adapter's change, in addition to the adapter's own scale; 1: as trained */
    /* Type of all merged and dequantised weights: "bf16", "f16", "f32". NULL: merged weights keep their F32, BF16 or
     * F16, packed weights become BF16. */
    const char *dtype;
    organ_write_options write;
    /* --feedback: merged weights of BF16 and F16 are rounded so that the errors of a row cancel in the directions of
     * the adapter; false: each value to the nearest */
    bool feedback;
} organ_lora_merge_options;

/* Writes a copy of the base in which the weight W of every module of the adapter is W + scale B A; with DoRA, the rows
 * of this sum are then scaled to the stored norms. Tensors that the adapter stores whole (modules_to_save, biases)
 * replace those of the base. A packed base (FP8, INT4) is dequantised: the output is a plain model. *report has schema
 * organ.lora_merge/1; the caller releases it.
 *
 * If a tensor of the adapter fits no weight of the base, the function writes nothing and returns ORGAN_BAD_INPUT, and
 * *report lists all such tensors. A run that ends with ORGAN_INTERRUPTED or ORGAN_IO after some of the tensors keeps
 * them, and `resume` continues it to the same bytes. After other errors nothing of the output remains, except after
 * errors of the evaluation.
 *
 * Returns
 *   - ORGAN_USAGE if the output exists or is an input, the base is behind a URL, or an adapter with DoRA is merged with
 *     a scale other than 1;
 *   - ORGAN_BAD_INPUT if files are malformed or changed during the run, factors are not finite, or values exceed the
 *     range of the type;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested;
 *   - errors of organ_perplexity if write.evaluate is set.
 *
 * *report is NULL after an error, with two exceptions: adapters that do not fit, and errors of the evaluation. After an
 * error of the evaluation the complete output remains, and *report gives the reason why the output was not scored. */
organ_status organ_lora_merge(const organ_lora_merge_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
